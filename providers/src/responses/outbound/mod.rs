//! OpenAI Responses as a target: some models are served nowhere else.
//!
//! | caller | request | answer |
//! |---|---|---|
//! | Responses | spliced | passes as it came |
//! | any other | the hub, then [`encode`] | [`chunks`], then the caller's outlet |
//!
//! [`encode`] lists what is refused and what is let go; [`chunks`] says what of an answer has no words in chat completions.

mod azure;
mod chunks;
mod decoder;
mod encode;
mod explain;
mod input;
mod items;
mod parts;
mod seal;
mod tools;
mod usage;
mod wire;
mod words;

use http::{HeaderMap, Method};

use crate::dialect::{Aim, Decoder, Dialect, HttpRequest, Unsupported};
use crate::error::ProviderError;
use crate::gather::Assembly;
use crate::openai::{CompletionAssembly, OpenAiDialect};
use crate::request::{ModelRequest, Shape};
use crate::responses;
use crate::translate::as_chat;

pub(crate) use azure::AzureResponsesDialect;
pub(crate) use seal::unseal;

/// Servers that speak the Responses API.
pub struct ResponsesDialect;

impl Dialect for ResponsesDialect {
    fn own_shape(&self) -> Option<Shape> {
        Some(Shape::Responses)
    }

    fn assembly(&self, request: &ModelRequest) -> Option<Box<dyn Assembly>> {
        let own = request.shape() == Shape::Responses;
        own.then(|| responses::assembly(Box::new(CompletionAssembly::default())))
    }

    fn encode(&self, request: &ModelRequest, aim: &Aim<'_>) -> Result<HttpRequest, Unsupported> {
        // What cannot be metered is refused, never forwarded.
        if let Some(name) = request.features().surcharge {
            let why = format!("'{name}' is billed at a rate that the gateway has no price for");
            return Err(Unsupported::at(name, why));
        }
        let body = match request.shape() {
            Shape::Responses => return responses::encode(request, aim),
            _ => encode::from_chat(&*as_chat(request)?, aim, request.max_output())?,
        };
        Ok(HttpRequest { method: Method::POST, url: aim.url("responses"), headers: aim.header_map()?, body })
    }

    fn decoder(&self, request: &ModelRequest, _content_type: &str) -> Box<dyn Decoder> {
        let chunks = Box::new(decoder::ResponsesDecoder::new(request));
        if request.shape() == Shape::Responses { responses::decoder(request, chunks) } else { chunks }
    }

    fn explain(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        OpenAiDialect.explain(status, headers, body)
    }
}

#[cfg(test)]
mod tests;
