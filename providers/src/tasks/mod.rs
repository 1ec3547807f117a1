//! One-shot tasks in OpenAI's words (reranking: Cohere's): a body spliced or a form written again, and answers passed on as they
//! came while what they cost is read beside them.

mod bound;
mod decoder;
mod form;
mod sound_file;
#[cfg(test)]
mod tests;
mod usage;

use http::{Method, header};

use crate::dialect::{Aim, Decoder, HttpRequest, Unsupported};
use crate::json;
use crate::request::{ModelRequest, Shape};
use crate::splice::Splice;
use crate::translate::unserved;

pub(crate) use bound::{heard_seconds, unwritten_input};

/// The request for a server of OpenAI's words.
pub(crate) fn encode(request: &ModelRequest, aim: &Aim<'_>) -> Result<HttpRequest, Unsupported> {
    let path = path(request.shape())?;
    // What cannot be metered is refused, never forwarded.
    if let Some(name) = request.features().surcharge {
        return Err(Unsupported::at(name, format!("'{name}' is billed at a rate that the gateway has no price for")));
    }
    let mut headers = aim.header_map()?;
    let body = if request.files().is_empty() {
        match request.shape() {
            Shape::Completions => crate::openai::spliced(request, aim),
            _ => {
                let mut splice = Splice::new(request);
                splice.set("model", &json::quote(aim.model));
                splice.remove("fallbacks");
                splice.finish()
            }
        }
    } else {
        let (body, content_type) = form::write(request, aim.model);
        headers.insert(header::CONTENT_TYPE, content_type);
        body
    };
    Ok(HttpRequest { method: Method::POST, url: aim.url(path), headers, body })
}

/// A reader for the answer.
pub(crate) fn decoder(request: &ModelRequest, content_type: &str) -> Box<dyn Decoder> {
    Box::new(decoder::TaskDecoder::new(request, content_type))
}

fn path(shape: Shape) -> Result<&'static str, Unsupported> {
    match shape {
        Shape::Completions => Ok("completions"),
        Shape::Embeddings => Ok("embeddings"),
        Shape::Moderations => Ok("moderations"),
        Shape::Images => Ok("images/generations"),
        Shape::ImageEdits => Ok("images/edits"),
        Shape::Speech => Ok("audio/speech"),
        Shape::Transcriptions => Ok("audio/transcriptions"),
        Shape::Translations => Ok("audio/translations"),
        Shape::Rerank => Ok("rerank"),
        Shape::OpenAi | Shape::Responses | Shape::Anthropic | Shape::Gemini | Shape::Realtime => Err(unserved(shape)),
    }
}
