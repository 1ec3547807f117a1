//! AWS Bedrock: Converse and ConverseStream for every conversation, InvokeModel for embeddings, signed or with a Bedrock API key.
//!
//! | direction | file |
//! |---|---|
//! | the hub's chat → Converse | [`encode`] |
//! | frames of a stream, or a body → the hub's chunks | [`frames`], [`decoder`], [`chunks`] |
//! | embeddings → each maker's own words, and back | [`embeddings`] |
//! | signature, address, region | [`sign`], [`place`] |
//!
//! No caller speaks Converse, so nothing is spliced. A translation refuses what it cannot tell, by name; [`encode`] lists what it
//! lets go. Guardrails are the operator's: a request that names one is refused.

mod chunks;
mod decoder;
mod embeddings;
mod encode;
mod explain;
pub(crate) mod frames;
pub(crate) mod place;
mod sign;
mod usage;
mod wire;

use http::Method;
use http::header::{ACCEPT, HeaderMap, HeaderValue};

use crate::dialect::{Aim, Decoder, Dialect, HttpRequest, Unsupported};
use crate::error::ProviderError;
use crate::request::{ModelRequest, Shape};
use crate::translate::{chat_body, unserved};

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const EVENTS: HeaderValue = HeaderValue::from_static("application/vnd.amazon.eventstream");

/// Amazon's runtime for models.
pub struct BedrockDialect;

impl Dialect for BedrockDialect {
    fn own_shape(&self) -> Option<Shape> {
        None
    }

    fn encode(&self, request: &ModelRequest, aim: &Aim<'_>) -> Result<HttpRequest, Unsupported> {
        // What cannot be metered is refused, never forwarded.
        if let Some(name) = request.features().surcharge {
            return Err(Unsupported::at(name, format!("{name} is billed at a rate that the gateway has no price for")));
        }
        let (verb, accepted, body) = match request.shape() {
            Shape::Embeddings => ("invoke", JSON, embeddings::from_openai(request.body(), aim.model)?),
            shape if !shape.is_chat() => return Err(unserved(shape)),
            _ => {
                let cap = request.max_output().map_or(aim.cap, |asked| asked.min(aim.cap));
                let body = encode::from_hub(&chat_body(request)?, aim.model, cap)?;
                let (verb, accepted) = if request.stream() { ("converse-stream", EVENTS) } else { ("converse", JSON) };
                (verb, accepted, body)
            }
        };
        let url = aim.url(&format!("model/{}/{verb}", place::segment(aim.model)));
        let mut headers = aim.header_map()?;
        headers.entry(ACCEPT).or_insert(accepted);
        let mut encoded = HttpRequest { method: Method::POST, url, headers, body };
        if let Some(keys) = aim.aws {
            let keys =
                keys.get().ok_or_else(|| Unsupported::new("the keys that sign for it are not known at present"))?;
            let region = place::signing_region(aim.settings, aim.base_url);
            sign::sign(&mut encoded, &keys, &region, sign::SERVICE, aim.now)?;
        }
        Ok(encoded)
    }

    /// The list of models is another service's, at another address.
    fn list_models(&self, _aim: &Aim<'_>) -> Option<Result<HttpRequest, Unsupported>> {
        None
    }

    fn decoder(&self, request: &ModelRequest, _content_type: &str) -> Box<dyn Decoder> {
        match request.shape() {
            Shape::Embeddings => Box::new(embeddings::EmbeddingsDecoder::new(request)),
            _ => decoder::decoder(request),
        }
    }

    fn explain(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        explain::explain(status, headers, body)
    }
}

#[cfg(test)]
mod tests;
