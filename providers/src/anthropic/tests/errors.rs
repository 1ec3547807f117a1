use std::time::Duration;

use serde_json::json;

use super::*;
use crate::error::{Class, Retry};

fn explained(status: u16, kind: &str, message: &str) -> ProviderError {
    let body = json!({"type": "error", "error": {"type": kind, "message": message}, "request_id": "req_1"});
    AnthropicDialect.explain(status, &HeaderMap::new(), body.to_string().as_bytes())
}

#[test]
fn errors_are_sorted_by_what_to_do_about_them() {
    fn check(status: u16, kind: &str, message: &str, class: Class, code: &str, retry: Retry) {
        let error = explained(status, kind, message);
        assert_eq!((error.class, error.code, error.retry), (class, code, retry), "{status} {kind}");
        assert_eq!(error.status, Some(status));
        assert!(message.is_empty() || !error.message.contains(message), "a provider's text never leaves");
    }
    let (elsewhere, never) = (Retry::Elsewhere, Retry::Never);
    let invalid = "invalid_request_error";
    let long = "prompt is too long: 210000 tokens > 200000 maximum";
    check(400, invalid, long, Class::Rejected, "context_length_exceeded", never);
    let both = "input length and `max_tokens` exceed context limit: 190000 + 20000 > 200000";
    check(400, invalid, both, Class::Rejected, "context_length_exceeded", never);
    check(400, invalid, "messages: roles must alternate", Class::Rejected, "provider_rejected", never);
    let dry = "Your credit balance is too low to access the Anthropic API.";
    check(400, invalid, dry, Class::Misconfigured, "provider_error", elsewhere);
    check(401, "authentication_error", "invalid x-api-key", Class::Misconfigured, "provider_error", elsewhere);
    check(402, "billing_error", "payment", Class::Misconfigured, "provider_error", elsewhere);
    check(403, "permission_error", "no permission", Class::Misconfigured, "provider_error", elsewhere);
    check(404, "not_found_error", "model: claude-9", Class::Rejected, "model_not_found", never);
    check(413, "request_too_large", "exceeds the maximum", Class::Rejected, "request_too_large", never);
    check(422, invalid, "entity", Class::Rejected, "provider_rejected", never);
    check(429, "rate_limit_error", "slow down", Class::RateLimited, "provider_unavailable", elsewhere);
    check(500, "api_error", "internal", Class::Server, "provider_error", elsewhere);
    check(504, "timeout_error", "too slow", Class::Timeout, "provider_timeout", elsewhere);
    check(529, "overloaded_error", "Overloaded", Class::Server, "provider_unavailable", elsewhere);
    // A body of another mind than its status: the status decides.
    check(500, invalid, long, Class::Server, "provider_error", elsewhere);
    check(429, invalid, "odd", Class::RateLimited, "provider_unavailable", elsewhere);
    check(400, "brand_new_error", "odd", Class::Rejected, "provider_rejected", never);
}

#[test]
fn an_error_without_a_readable_body_is_sorted_by_its_status() {
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", HeaderValue::from_static("7"));
    let error = AnthropicDialect.explain(529, &headers, b"<html>busy</html>");
    assert_eq!((error.class, error.retry_after), (Class::Server, Some(Duration::from_secs(7))));
    assert_eq!(AnthropicDialect.explain(408, &HeaderMap::new(), b"").class, Class::Timeout);
    assert_eq!(AnthropicDialect.explain(401, &HeaderMap::new(), b"{}").class, Class::Misconfigured);
}
