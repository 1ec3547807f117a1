//! What Anthropic's errors mean for the caller. Its own message is looked at to sort, and never quoted.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;

use super::wire::Failure;
use crate::error::{Class, ProviderError, Retry};

/// What an answer with another status than 2xx means.
pub(super) fn explain(status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError {
    #[derive(serde::Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        error: Failure<'a>,
    }
    let body = serde_json::from_slice::<Body<'_>>(body).ok();
    let error = match body {
        Some(Body { error }) => failure(&error),
        None => by_status(status),
    };
    // The status decides; the type only refines it. A proxy may answer with a body of another mind.
    let error = if agrees(status, &error) { error } else { by_status(status) };
    let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    ProviderError { status: Some(status), retry_after: retry_after.map(Duration::from_secs), ..error }
}

/// What an error object means: in an `error` event, which has no status, or in a body.
pub(super) fn failure(error: &Failure<'_>) -> ProviderError {
    match error.kind.as_ref() {
        "invalid_request_error" => invalid(&error.message),
        "authentication_error" | "permission_error" | "billing_error" => by_status(403),
        "not_found_error" => by_status(404),
        "request_too_large" => by_status(413),
        "rate_limit_error" => by_status(429),
        "timeout_error" => by_status(504),
        "overloaded_error" => by_status(529),
        _ => by_status(500),
    }
}

/// A 400 is the request's fault, except where Anthropic says with it that our account has run dry.
fn invalid(message: &str) -> ProviderError {
    let message = message.to_ascii_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| message.contains(part));
    if says(&["prompt is too long", "exceed context limit", "context window", "too many total text bytes"]) {
        return rejected("context_length_exceeded", "the request is longer than the model's context");
    }
    if says(&["credit balance is too low", "usage limits", "has been disabled"]) {
        return by_status(403);
    }
    by_status(400)
}

fn by_status(status: u16) -> ProviderError {
    match status {
        401..=403 => ProviderError::new(Class::Misconfigured, "the provider does not accept the gateway's account"),
        404 => rejected("model_not_found", "the provider does not know the model or resource"),
        408 | 504 => ProviderError::new(Class::Timeout, "the provider took too long"),
        413 => rejected("request_too_large", "the request is larger than the provider takes"),
        429 => ProviderError::new(Class::RateLimited, "the provider limits the gateway's rate"),
        503 | 529 => ProviderError {
            code: "provider_unavailable",
            ..ProviderError::new(Class::Server, "the provider is overloaded")
        },
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
        Class::Rejected => matches!(status, 400 | 404 | 405..=407 | 409..=428 | 430..=499),
        Class::Misconfigured => matches!(status, 400..=403),
        Class::RateLimited => status == 429,
        Class::Timeout => matches!(status, 408 | 504),
        _ => matches!(status, 500..=503 | 505..),
    }
}
