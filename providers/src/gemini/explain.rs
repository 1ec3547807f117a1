//! What Google's errors mean for the caller. Its own message is looked at to sort, and never quoted.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use serde::Deserialize;
use serde_json::Value;

use super::wire::Failure;
use crate::error::{Class, ProviderError, Retry};

/// What an answer with another status than 2xx means.
pub(super) fn explain(status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError {
    #[derive(Deserialize)]
    struct Body<'a> {
        #[serde(borrow)]
        error: Failure<'a>,
    }
    // A stream that never began answers with a list of one.
    let listed = body.trim_ascii_start().starts_with(b"[");
    let told = match listed {
        true => serde_json::from_slice::<Vec<Body<'_>>>(body).ok().and_then(|mut list| list.pop()),
        false => serde_json::from_slice::<Body<'_>>(body).ok(),
    };
    let Some(Body { error }) = told else {
        return finish(by_status(status), status, headers);
    };
    // The status of the answer decides; the body only refines it. A proxy may answer with a body of another mind.
    let told = sort(status, &error);
    let wait = retry_delay(&error.details);
    let told = finish(told, status, headers);
    ProviderError { retry_after: wait.or(told.retry_after), ..told }
}

/// What an error object means that came within an answer, where there is no status but its own.
pub(super) fn failure(error: &Failure<'_>) -> ProviderError {
    let status = error.code.filter(|code| (400..600).contains(code)).unwrap_or(match error.status.as_deref() {
        Some("INVALID_ARGUMENT" | "FAILED_PRECONDITION" | "OUT_OF_RANGE") => 400,
        Some("UNAUTHENTICATED") => 401,
        Some("PERMISSION_DENIED") => 403,
        Some("NOT_FOUND") => 404,
        Some("RESOURCE_EXHAUSTED") => 429,
        Some("UNAVAILABLE") => 503,
        Some("DEADLINE_EXCEEDED") => 504,
        _ => 500,
    });
    ProviderError { retry_after: retry_delay(&error.details), ..sort(status, error) }
}

fn finish(error: ProviderError, status: u16, headers: &HeaderMap) -> ProviderError {
    let retry_after = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
    ProviderError { status: Some(status), retry_after: retry_after.map(Duration::from_secs), ..error }
}

/// A 400 is the request's fault, except where Google says with it that our key or our account is at fault.
fn sort(status: u16, error: &Failure<'_>) -> ProviderError {
    if status != 400 {
        return by_status(status);
    }
    let of_the_key = |reason: &str| reason.starts_with("API_KEY_") || reason == "CONSUMER_INVALID";
    let reasons = || error.details.iter().filter_map(|detail| detail.get("reason").and_then(Value::as_str));
    let message = error.message.as_deref().unwrap_or_default().to_ascii_lowercase();
    let says = |parts: &[&str]| parts.iter().any(|part| message.contains(part));
    if reasons().any(of_the_key) || says(&["api key not valid", "api key expired", "api_key_invalid"]) {
        return by_status(401);
    }
    // A country that is not served, billing that is not set up.
    if error.status.as_deref() == Some("FAILED_PRECONDITION") {
        return by_status(403);
    }
    if says(&["payload size exceeds", "request is too large"]) {
        return by_status(413);
    }
    let of_length = says(&["token count", "number of tokens", "tokens allowed", "context length", "context window"]);
    if of_length && says(&["exceed", "too long", "larger than", "greater than", "maximum"]) {
        return rejected("context_length_exceeded", "the request is longer than the model's context");
    }
    by_status(400)
}

/// `RetryInfo.retryDelay`, as in `"34.07s"`.
fn retry_delay(details: &[Value]) -> Option<Duration> {
    let told = details.iter().find_map(|detail| detail.get("retryDelay").and_then(Value::as_str))?;
    let seconds: f64 = told.strip_suffix('s')?.parse().ok()?;
    (0.0..=86_400.0).contains(&seconds).then(|| Duration::from_secs(seconds.ceil() as u64))
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
        // Google's 499: the call was cancelled on its way.
        499 => ProviderError::new(Class::Server, "the provider failed"),
        400..=499 => rejected("provider_rejected", "the provider refused the request as invalid"),
        _ => ProviderError::new(Class::Server, "the provider failed"),
    }
}

fn rejected(code: &'static str, message: &str) -> ProviderError {
    ProviderError { code, retry: Retry::Never, ..ProviderError::new(Class::Rejected, message) }
}
