//! Anthropic Messages, both directions.
//!
//! | caller | target | request | answer |
//! |---|---|---|---|
//! | Anthropic | Anthropic | spliced: model, cap, gateway's own members | passes as it came |
//! | OpenAI | Anthropic | [`to_anthropic`] | [`chunks`], then the OpenAI outlet |
//! | Anthropic | OpenAI | [`to_openai`](mod@to_openai) | the OpenAI decoder, then [`outlet`](self::outlet()) |
//!
//! A translation refuses what it cannot tell, by name; [`to_anthropic`] and [`to_openai`](mod@to_openai) list what they let go.

mod assembly;
mod chunks;
mod content;
mod decoder;
mod explain;
mod outlet;
mod surcharge;
mod to_anthropic;
mod to_openai;
mod usage;
mod wire;

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Method};

use crate::dialect::{Aim, Decoder, Dialect, HttpRequest, Outlet, Unsupported};
use crate::error::ProviderError;
use crate::gather::Assembly;
use crate::json;
use crate::request::{ModelRequest, Shape};
use crate::splice::Splice;
use crate::translate::{chat_body, refuse_what_is_stored};

use assembly::MessageAssembly;
pub(crate) use outlet::{begin, cut};
pub(crate) use to_openai::to_openai;
pub(crate) use usage::anthropic as usage_object;

/// The version of the API that is spoken here, unless the configuration names another.
const VERSION: HeaderValue = HeaderValue::from_static("2023-06-01");
const VERSION_HEADER: HeaderName = HeaderName::from_static("anthropic-version");
const BETA_HEADER: HeaderName = HeaderName::from_static("anthropic-beta");
/// More than any client asks for at once.
const LONGEST_BETAS: usize = 1_024;

/// Servers that speak Anthropic Messages.
pub struct AnthropicDialect;

impl Dialect for AnthropicDialect {
    fn own_shape(&self) -> Option<Shape> {
        Some(Shape::Anthropic)
    }

    fn assembly(&self, _request: &ModelRequest) -> Option<Box<dyn Assembly>> {
        Some(Box::new(MessageAssembly::default()))
    }

    fn encode(&self, request: &ModelRequest, aim: &Aim<'_>) -> Result<HttpRequest, Unsupported> {
        let cap = request.max_output().map_or(aim.cap, |asked| asked.min(aim.cap));
        let body = match request.shape() {
            Shape::Anthropic => {
                surcharge::refuse(request)?;
                refuse_what_is_stored(request, aim)?;
                spliced(request, aim, cap)
            }
            _ => to_anthropic::from_openai(&chat_body(request)?, aim.model, cap)?,
        };
        Ok(HttpRequest { method: Method::POST, url: aim.url("messages"), headers: headers(request, aim)?, body })
    }

    fn list_models(&self, aim: &Aim<'_>) -> Option<Result<HttpRequest, Unsupported>> {
        Some(aim.get("models").map(|mut request| {
            request.url.query_pairs_mut().append_pair("limit", "1000");
            request.headers.entry(VERSION_HEADER).or_insert(VERSION);
            request
        }))
    }

    fn counting(&self, request: &ModelRequest, aim: &Aim<'_>) -> Option<Result<HttpRequest, Unsupported>> {
        (request.shape() == Shape::Anthropic).then(|| {
            refuse_what_is_stored(request, aim)?;
            let (url, headers) = (aim.url("messages/count_tokens"), headers(request, aim)?);
            Ok(HttpRequest { method: Method::POST, url, headers, body: to_count(request, aim) })
        })
    }

    fn decoder(&self, request: &ModelRequest, _content_type: &str) -> Box<dyn Decoder> {
        decoder::decoder(request)
    }

    fn explain(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        explain::explain(status, headers, body)
    }
}

/// Writes Anthropic frames from OpenAI chunks.
pub(crate) fn outlet(request: &ModelRequest) -> Box<dyn Outlet> {
    Box::new(outlet::AnthropicOutlet::new(request))
}

/// Key, version, and the betas of a caller who speaks Anthropic, beside those that the configuration names. Whatever they let a body
/// say that is billed otherwise is refused there.
fn headers(request: &ModelRequest, aim: &Aim<'_>) -> Result<HeaderMap, Unsupported> {
    let mut headers = aim.header_map()?;
    headers.entry(VERSION_HEADER).or_insert(VERSION);
    let Some(betas) = request.betas().filter(|_| request.shape() == Shape::Anthropic) else { return Ok(headers) };
    let is_a_name = |b: u8| b.is_ascii_alphanumeric() || b"-_., ".contains(&b);
    let unreadable = || Unsupported::at("anthropic-beta", "the header anthropic-beta must be a list of names");
    if betas.len() > LONGEST_BETAS || !betas.bytes().all(is_a_name) {
        return Err(unreadable());
    }
    let all = match headers.get(BETA_HEADER).and_then(|own| own.to_str().ok()) {
        Some(own) => format!("{own},{betas}"),
        None => betas.to_owned(),
    };
    headers.insert(BETA_HEADER, HeaderValue::from_str(&all).map_err(|_| unreadable())?);
    Ok(headers)
}

/// Everything stays but the model, the cap and what is the gateway's own. Anthropic takes no other metadata than
/// `user_id`; attribution is read by the gateway and stays here.
fn spliced(request: &ModelRequest, aim: &Aim<'_>, cap: u64) -> Bytes {
    let mut splice = Splice::new(request);
    splice.set("model", &json::quote(aim.model));
    splice.set("max_tokens", &cap.to_string());
    splice.remove("fallbacks");
    if request.metadata().iter().any(|(name, _)| name != "user_id") {
        match request.user() {
            Some(user) => splice.set("metadata", &format!(r#"{{"user_id":{}}}"#, json::quote(user))),
            None => splice.remove("metadata"),
        }
    }
    splice.finish()
}

/// What is to be counted: without what would cap, stream or attribute an answer, which that path does not take.
fn to_count(request: &ModelRequest, aim: &Aim<'_>) -> Bytes {
    let mut splice = Splice::new(request);
    splice.set("model", &json::quote(aim.model));
    for name in ["max_tokens", "stream", "metadata", "fallbacks"] {
        splice.remove(name);
    }
    splice.finish()
}

#[cfg(test)]
mod tests;
