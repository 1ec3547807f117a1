//! Cohere's v2 API as a target: chat from the hub, embeddings from OpenAI's words, rerank in its own.
//!
//! | caller | request | answer |
//! |---|---|---|
//! | a conversation | [`to_cohere`] | [`chunks`], then the caller's outlet |
//! | embeddings | [`embed`]: `input` → `texts`, and `input_type`, which is `search_document` unless the caller says | OpenAI's list |
//! | rerank | spliced: the model, the gateway's own members | passes as it came |
//!
//! What Cohere bills is `billed_units`, not the tokens that the model saw: those count, wherever they are told.

mod chunks;
mod decoder;
mod embed;
mod rerank;
mod to_cohere;
mod usage;
mod wire;

use http::{HeaderMap, Method};

use crate::dialect::{Aim, Decoder, Dialect, HttpRequest, Unsupported};
use crate::error::{Class, ProviderError};
use crate::openai::OpenAiDialect;
use crate::request::{ModelRequest, Shape};
use crate::translate::{as_chat, unserved};

/// Servers that speak Cohere's v2 API.
pub struct CohereDialect;

impl Dialect for CohereDialect {
    fn own_shape(&self) -> Option<Shape> {
        None
    }

    fn encode(&self, request: &ModelRequest, aim: &Aim<'_>) -> Result<HttpRequest, Unsupported> {
        if let Some(name) = request.features().surcharge {
            return Err(Unsupported::at(name, format!("{name} is nothing that this target does")));
        }
        let (path, body) = match request.shape() {
            Shape::Embeddings => ("embed", embed::to_cohere(request.body(), aim.model)?),
            Shape::Rerank => ("rerank", rerank::spliced(request, aim.model)),
            shape if shape.is_chat() => {
                let cap = request.max_output().map_or(aim.cap, |asked| asked.min(aim.cap));
                ("chat", to_cohere::from_openai(as_chat(request)?.body(), aim.model, cap)?)
            }
            other => return Err(unserved(other)),
        };
        Ok(HttpRequest { method: Method::POST, url: aim.url(path), headers: aim.header_map()?, body })
    }

    fn list_models(&self, aim: &Aim<'_>) -> Option<Result<HttpRequest, Unsupported>> {
        Some(aim.get("models").map(|mut request| {
            // The list has stayed at the version before.
            let path = request.url.path().replace("/v2/models", "/v1/models");
            request.url.set_path(&path);
            request.url.query_pairs_mut().append_pair("page_size", "1000");
            request
        }))
    }

    fn decoder(&self, request: &ModelRequest, _content_type: &str) -> Box<dyn Decoder> {
        match request.shape() {
            Shape::Embeddings => Box::new(embed::EmbedDecoder::new(request)),
            Shape::Rerank => Box::new(rerank::RerankDecoder::default()),
            _ => Box::new(decoder::ChatDecoder::new(request)),
        }
    }

    /// Its errors have a `message` and nothing else to sort them by, as those of other servers have.
    fn explain(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        OpenAiDialect.explain(status, headers, body)
    }
}

/// A body that is made whole, and is not a stream.
#[derive(Default)]
struct Body(Vec<u8>);

impl Body {
    /// The largest whole answer that is taken.
    const LARGEST: usize = 64 << 20;

    fn take(&mut self, bytes: &[u8]) -> Result<(), ProviderError> {
        if self.0.len() + bytes.len() > Body::LARGEST {
            return Err(ProviderError::new(Class::TooLarge, "the provider's answer is too large"));
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn unreadable() -> ProviderError {
    ProviderError::broken("the provider's answer cannot be read")
}

#[cfg(test)]
mod tests;
