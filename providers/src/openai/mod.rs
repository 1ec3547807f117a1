//! Servers that speak OpenAI's chat completions: OpenAI itself and everything compatible.

mod assembly;
mod azure;
mod decoder;
mod explain;
mod history;
mod outlet;
mod parts;
mod usage;
mod wire;

use http::{HeaderMap, Method};

use crate::catalog::Quirks;
use crate::dialect::{Aim, Decoder, Dialect, HttpRequest, Unsupported};
use crate::error::ProviderError;
use crate::gather::Assembly;
use crate::json;
use crate::request::{ModelRequest, Shape};
use crate::responses;
use crate::splice::Splice;
use crate::translate::{as_chat, plain, refuse_what_is_stored};

pub(crate) use assembly::CompletionAssembly;
pub(crate) use azure::AzureDialect;
pub(crate) use explain::in_answer as failure_in_answer;
pub(crate) use outlet::{OpenAiOutlet, cut};
pub(crate) use usage::write as usage_object;
pub(crate) use wire::{member as member_of, with as with_member};

/// Servers that speak OpenAI's chat completions.
pub struct OpenAiDialect;

impl Dialect for OpenAiDialect {
    fn own_shape(&self) -> Option<Shape> {
        Some(Shape::OpenAi)
    }

    fn assembly(&self, request: &ModelRequest) -> Option<Box<dyn Assembly>> {
        let chat = Box::new(CompletionAssembly::default());
        Some(if request.shape() == Shape::Responses { responses::assembly(chat) } else { chat })
    }

    fn encode(&self, request: &ModelRequest, aim: &Aim<'_>) -> Result<HttpRequest, Unsupported> {
        // Routers search the web for a name that ends so, and bill each search; no other place of the request tells.
        if aim.model.ends_with(":online") {
            return Err(Unsupported::at(
                "model",
                "'model' asks for web searches, which the gateway has no price for".to_owned(),
            ));
        }
        if !request.shape().is_chat() {
            return crate::tasks::encode(request, aim);
        }
        // What cannot be metered is refused, never forwarded.
        if let Some(name) = request.features().surcharge {
            return Err(Unsupported::at(
                name,
                format!("'{name}' is billed at a rate that the gateway has no price for"),
            ));
        }
        if request.shape() == Shape::Responses && responses::is_native(aim) {
            return responses::encode(request, aim);
        }
        let body = match request.shape() {
            Shape::OpenAi => {
                refuse_what_is_stored(request, aim)?;
                spliced(request, aim)
            }
            _ => spliced(&plain(&*as_chat(request)?)?, aim),
        };
        Ok(HttpRequest { method: Method::POST, url: aim.url("chat/completions"), headers: aim.header_map()?, body })
    }

    fn decoder(&self, request: &ModelRequest, content_type: &str) -> Box<dyn Decoder> {
        if !request.shape().is_capped() {
            return crate::tasks::decoder(request, content_type);
        }
        let chat = Box::new(decoder::OpenAiDecoder::new(request, content_type));
        if request.shape() == Shape::Responses { responses::decoder(request, chat) } else { chat }
    }

    fn realtime(&self, aim: &Aim<'_>) -> Option<Result<HttpRequest, Unsupported>> {
        Some(aim.get("realtime").map(|mut it| {
            it.url.query_pairs_mut().append_pair("model", aim.model);
            it
        }))
    }

    fn explain(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError {
        explain::explain(status, headers, body)
    }
}

/// Model, cap, stream options; the gateway's own members out. All other bytes stay.
pub(crate) fn spliced(request: &ModelRequest, aim: &Aim<'_>) -> bytes::Bytes {
    let view = request.view();
    let mut splice = Splice::new(request);
    splice.set("model", &json::quote(aim.model));
    splice.remove("fallbacks");

    let newer = if request.shape() == Shape::Completions {
        false
    } else if aim.quirks.needs_max_completion_tokens {
        true
    } else {
        !aim.quirks.needs_max_tokens && view.max_completion_tokens.is_some()
    };
    let (cap, other) =
        if newer { ("max_completion_tokens", "max_tokens") } else { ("max_tokens", "max_completion_tokens") };
    let least = request.max_output().map_or(aim.cap, |asked| asked.min(aim.cap));
    splice.set(cap, &least.to_string());
    splice.remove(other);
    other_words(&mut splice, request, aim.quirks);

    if !request.stream() {
        return splice.finish();
    }
    if aim.quirks.no_stream_options {
        splice.remove("stream_options");
        return splice.finish();
    }
    // Usage is asked for whether or not the caller wants it; the decoder keeps it from those who do not.
    match (&view.include_usage, request.member("stream_options")) {
        (Some(_), _) if view.wants_usage => {}
        (Some(span), _) => splice.inside(span.clone(), "true"),
        (None, None) => splice.set("stream_options", "{\"include_usage\":true}"),
        (None, Some(object)) => {
            let rest = object[1..].trim_start();
            let comma = if rest.starts_with('}') { "" } else { "," };
            splice.set("stream_options", &format!("{{\"include_usage\":true{comma}{}", &object[1..]));
        }
    }
    splice.finish()
}

/// Hints, of which no answer depends, with the values that say nothing; none: any.
const HINTS: [(&str, Option<&[&str]>); 9] = [
    ("user", None),
    ("safety_identifier", None),
    ("prompt_cache_key", None),
    ("prompt_cache_options", None),
    ("prompt_cache_retention", None),
    ("store", Some(&["false"])),
    ("logit_bias", Some(&["{}"])),
    ("service_tier", Some(&["\"auto\"", "\"default\""])),
    ("verbosity", Some(&["\"medium\""])),
];

/// What the target says or refuses otherwise than OpenAI.
fn other_words(splice: &mut Splice<'_>, request: &ModelRequest, quirks: &Quirks) {
    if quirks.no_hints {
        for (name, harmless) in HINTS {
            // A member that is null asks for nothing.
            let said = request.member(name);
            if said.is_none_or(|said| harmless.is_none_or(|harmless| harmless.contains(&said))) {
                splice.remove(name);
            }
        }
    }
    if quirks.seed_is_random_seed {
        if let (Some(seed), None) = (request.member("seed"), request.member("random_seed")) {
            splice.set("random_seed", seed);
        }
        splice.remove("seed");
    }
    if history::may_edit(quirks, request.text())
        && let Some(messages) = request.view().members.iter().find(|it| it.name == "messages")
    {
        for (span, text) in history::edits(request.text(), messages.value.clone(), quirks) {
            splice.inside(span, &text);
        }
    }
}

#[cfg(test)]
mod tests;
