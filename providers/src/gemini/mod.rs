//! Google Gemini's generateContent, at AI Studio and at Vertex.
//!
//! | caller | request | answer |
//! |---|---|---|
//! | Gemini | [`spliced`](inbound::spliced): cap, gateway's own members | [`passage`]: as it came |
//! | every other conversation | [`encode`](encode::from_openai) | [`chunks`], then the caller's outlet |
//! | embeddings | [`embeddings`] | OpenAI's list |
//!
//! Callers who speak it, whatever the target, are [`inbound`]'s.
//!
//! A translation refuses what it cannot tell, by name; [`encode`] lists what it lets go.

mod address;
mod assembly;
mod chunks;
mod decoder;
mod embeddings;
mod encode;
mod explain;
mod inbound;
mod passage;
mod sources;
mod time;
mod told;
mod usage;
mod wire;

use http::{HeaderMap, Method};

use crate::dialect::{Aim, Decoder, Dialect, HttpRequest, Unsupported};
use crate::error::ProviderError;
use crate::gather::Assembly;
use crate::request::{ModelRequest, Shape};
use crate::translate::{chat_body, unserved};

use assembly::ResponseAssembly;
pub(crate) use inbound::{cut, outlet, to_openai, usage_object};

/// Servers that speak Gemini's generateContent.
pub struct GeminiDialect;

impl Dialect for GeminiDialect {
    fn own_shape(&self) -> Option<Shape> {
        Some(Shape::Gemini)
    }

    fn assembly(&self, _request: &ModelRequest) -> Option<Box<dyn Assembly>> {
        Some(Box::new(ResponseAssembly::default()))
    }

    fn encode(&self, request: &ModelRequest, aim: &Aim<'_>) -> Result<HttpRequest, Unsupported> {
        let cap = request.max_output().map_or(aim.cap, |asked| asked.min(aim.cap));
        // What cannot be metered is refused, never forwarded.
        if let Some(name) = request.features().surcharge {
            let why = format!("'{name}' is billed at a rate that the gateway has no price for");
            return Err(Unsupported::at(name, why));
        }
        let (method, body) = match request.shape() {
            Shape::Gemini => (method(request), inbound::spliced(request, aim, cap)),
            Shape::Embeddings => embeddings::encode(request.body(), aim.model, address::is_vertex(aim))?,
            shape if shape.is_chat() => (method(request), encode::from_openai(&chat_body(request)?, aim.model, cap)?),
            shape => return Err(unserved(shape)),
        };
        let url = address::address(aim, method)?;
        Ok(HttpRequest { method: Method::POST, url, headers: aim.header_map()?, body })
    }

    fn list_models(&self, aim: &Aim<'_>) -> Option<Result<HttpRequest, Unsupported>> {
        // Vertex lists what a project has tuned, not what it may call.
        let mut list = (!address::is_vertex(aim)).then(|| aim.get("models"));
        if let Some(Ok(list)) = &mut list {
            list.url.query_pairs_mut().append_pair("pageSize", "1000");
        }
        list
    }

    fn decoder(&self, request: &ModelRequest, _content_type: &str) -> Box<dyn Decoder> {
        match request.shape() {
            Shape::Embeddings => embeddings::decoder(request),
            _ => decoder::decoder(request),
        }
    }

    fn explain(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        explain::explain(status, headers, body)
    }
}

fn method(request: &ModelRequest) -> &'static str {
    if request.stream() { "streamGenerateContent" } else { "generateContent" }
}

#[cfg(test)]
mod tests;
