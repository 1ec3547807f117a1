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
mod to_cohere;
mod usage;
mod wire;

use bytes::Bytes;
use http::{HeaderMap, Method};

use crate::dialect::{Aim, Decoder, Dialect, HttpRequest, Unsupported};
use crate::error::{Class, ProviderError};
use crate::json;
use crate::openai::OpenAiDialect;
use crate::request::{ModelRequest, Shape};
use crate::splice::Splice;
use crate::translate::{chat_body, unserved};

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
            Shape::Rerank => ("rerank", reranked(request, aim.model)),
            shape if shape.is_chat() => {
                let cap = request.max_output().map_or(aim.cap, |asked| asked.min(aim.cap));
                ("chat", to_cohere::from_openai(&chat_body(request)?, aim.model, cap)?)
            }
            other => return Err(unserved(other)),
        };
        Ok(HttpRequest { method: Method::POST, url: aim.url(path), headers: aim.header_map()?, body })
    }

    /// The list is still where the first version had it.
    fn list_models(&self, aim: &Aim<'_>) -> Option<Result<HttpRequest, Unsupported>> {
        let mut base_url = aim.base_url.clone();
        if let Some(base) = aim.base_url.path().trim_end_matches('/').strip_suffix("/v2") {
            base_url.set_path(&format!("{base}/v1"));
        }
        base_url.set_query(Some("page_size=1000"));
        Some(Aim { base_url: &base_url, ..*aim }.get("models"))
    }

    fn decoder(&self, request: &ModelRequest, content_type: &str) -> Box<dyn Decoder> {
        match request.shape() {
            Shape::Embeddings => Box::new(embed::EmbedDecoder::new(request)),
            Shape::Rerank => crate::tasks::decoder(request, content_type),
            _ => Box::new(decoder::ChatDecoder::new(request)),
        }
    }

    /// Its errors have a `message` and nothing else to sort them by, as those of other servers have.
    fn explain(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        OpenAiDialect.explain(status, headers, body)
    }
}

/// Rerank: the caller speaks Cohere's words already, so all passes but what is the gateway's own.
fn reranked(request: &ModelRequest, model: &str) -> Bytes {
    let mut splice = Splice::new(request);
    splice.set("model", &json::quote(model));
    ["fallbacks", "metadata", "user"].iter().for_each(|name| splice.remove(name));
    splice.finish()
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
