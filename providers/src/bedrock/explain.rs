//! What Amazon's errors mean for the caller: by their type, which a header names, else by status. Its message is looked at to sort,
//! and never quoted.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use serde::Deserialize;

use crate::error::{Class, ProviderError, Retry};

/// What an answer with another status than 2xx means.
pub(super) fn explain(status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError {
    let said = Said::read(body);
    let named = headers.get("x-amzn-errortype").and_then(|it| it.to_str().ok()).unwrap_or(&said.kind);
    let error = match sort(plain(named), &said.message) {
        // The status decides; the type only refines it. A proxy may answer with a body of another mind.
        Some(error) if agrees(status, &error) => error,
        _ => by_status(status),
    };
    let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    ProviderError { status: Some(status), retry_after: retry_after.map(Duration::from_secs), ..error }
}

/// What an exception among the events of a stream means.
pub(super) fn in_answer(name: &str, payload: &[u8]) -> ProviderError {
    sort(plain(name), &Said::read(payload).message).unwrap_or_else(|| by_status(500))
}

/// `com.amazon.coral.service#ThrottlingException:http://…` → `throttling`.
fn plain(kind: &str) -> String {
    let name = kind.split(':').next().unwrap_or_default();
    let name = name.rsplit('#').next().unwrap_or_default().trim().to_ascii_lowercase();
    name.strip_suffix("exception").unwrap_or(&name).to_owned()
}

fn sort(kind: String, message: &str) -> Option<ProviderError> {
    let says = |parts: &[&str]| parts.iter().any(|part| message.contains(part));
    Some(match &*kind {
        "throttling" | "toomanyrequests" | "servicequotaexceeded" => by_status(429),
        "modelnotready" => ProviderError {
            code: "provider_unavailable",
            ..ProviderError::new(Class::Server, "the provider's model is not ready")
        },
        "modeltimeout" => by_status(504),
        "serviceunavailable" => by_status(503),
        "internalserver" | "modelstreamerror" | "modelerror" | "internalfailure" => by_status(500),
        "accessdenied"
        | "unrecognizedclient"
        | "invalidsignature"
        | "incompletesignature"
        | "expiredtoken"
        | "invalidclienttokenid"
        | "missingauthenticationtoken"
        | "signaturedoesnotmatch"
        | "notauthorized"
        | "optinrequired" => by_status(403),
        "resourcenotfound" => by_status(404),
        "validation"
            if says(&["too long", "too many input tokens", "maximum context", "context length", "context window"]) =>
        {
            rejected("context_length_exceeded", "the request is longer than the model's context")
        }
        "validation" if says(&["model identifier is invalid"]) => by_status(404),
        // The account or its region cannot call this model so; another request would meet the same.
        "validation" if says(&["on-demand throughput", "operation not allowed", "access to the model"]) => {
            by_status(403)
        }
        "validation" => by_status(400),
        _ => return None,
    })
}

fn by_status(status: u16) -> ProviderError {
    match status {
        401..=403 => ProviderError::new(Class::Misconfigured, "the provider does not accept the gateway's account"),
        404 => rejected("model_not_found", "the provider does not know the model or resource"),
        408 | 504 => ProviderError::new(Class::Timeout, "the provider took too long"),
        413 => rejected("request_too_large", "the request is larger than the provider takes"),
        429 => ProviderError::new(Class::RateLimited, "the provider limits the gateway's rate"),
        503 => ProviderError {
            code: "provider_unavailable",
            ..ProviderError::new(Class::Server, "the provider is overloaded")
        },
        // Bedrock's way of saying that the model failed.
        424 => ProviderError::new(Class::Server, "the provider's model failed"),
        400..=499 => rejected("provider_rejected", "the provider refused the request as invalid"),
        _ => ProviderError::new(Class::Server, "the provider failed"),
    }
}

fn rejected(code: &'static str, message: &str) -> ProviderError {
    ProviderError { code, retry: Retry::Never, ..ProviderError::new(Class::Rejected, message) }
}

/// Whether the error's kind can stand behind this status.
fn agrees(status: u16, error: &ProviderError) -> bool {
    match error.class {
        Class::Rejected => matches!(status, 400 | 404 | 413 | 422),
        Class::Misconfigured => matches!(status, 400..=404),
        // A quota that is used up is told as a 400.
        Class::RateLimited => matches!(status, 400 | 429),
        Class::Timeout => matches!(status, 408 | 424 | 504),
        _ => matches!(status, 424 | 429 | 500..),
    }
}

/// What an error says: its type, where the body names it, and its message in lower case.
#[derive(Default)]
struct Said {
    kind: String,
    message: String,
}

impl Said {
    fn read(body: &[u8]) -> Said {
        #[derive(Default, Deserialize)]
        struct Body {
            #[serde(rename = "__type", default)]
            kind: Option<String>,
            #[serde(alias = "Message", default)]
            message: Option<String>,
        }
        let Body { kind, message } = serde_json::from_slice(body).unwrap_or_default();
        Said { kind: kind.unwrap_or_default(), message: message.unwrap_or_default().to_lowercase() }
    }
}
