use std::time::Duration;

use serde_json::json;

use super::*;
use crate::error::{Class, Retry};

#[test]
fn errors_are_sorted_by_what_to_do_about_them() {
    fn check(code: u16, status: &str, message: &str, details: Value, class: Class, named: &str, retry: Retry) {
        let body = json!({"error": {"code": code, "message": message, "status": status, "details": details}});
        for body in [body.to_string(), json!([body]).to_string()] {
            let error = GeminiDialect.explain(code, &HeaderMap::new(), body.as_bytes());
            assert_eq!((error.class, error.code, error.retry), (class, named, retry), "{code} {message}");
            assert_eq!(error.status, Some(code));
            assert!(message.is_empty() || !error.message.contains(message), "a provider's text never leaves");
        }
    }
    let (elsewhere, never, none) = (Retry::Elsewhere, Retry::Never, json!([]));
    let info = |reason: &str| json!([{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com"}]);
    let long = "The input token count (1200000) exceeds the maximum number of tokens allowed (1048576).";
    check(400, "INVALID_ARGUMENT", long, none.clone(), Class::Rejected, "context_length_exceeded", never);
    let odd = "Invalid value at 'contents[0]'";
    check(400, "INVALID_ARGUMENT", odd, none.clone(), Class::Rejected, "provider_rejected", never);
    let unsigned = "Function call is missing a thought_signature in functionCall parts.";
    check(400, "INVALID_ARGUMENT", unsigned, none.clone(), Class::Rejected, "provider_rejected", never);
    let key = "API key not valid. Please pass a valid API key.";
    check(400, "INVALID_ARGUMENT", key, info("API_KEY_INVALID"), Class::Misconfigured, "provider_error", elsewhere);
    check(400, "INVALID_ARGUMENT", "", info("API_KEY_INVALID"), Class::Misconfigured, "provider_error", elsewhere);
    let place = "User location is not supported for the API use.";
    check(400, "FAILED_PRECONDITION", place, none.clone(), Class::Misconfigured, "provider_error", elsewhere);
    let big = "Request payload size exceeds the limit: 20971520 bytes.";
    check(400, "INVALID_ARGUMENT", big, none.clone(), Class::Rejected, "request_too_large", never);
    check(
        401,
        "UNAUTHENTICATED",
        "Request had invalid credentials",
        none.clone(),
        Class::Misconfigured,
        "provider_error",
        elsewhere,
    );
    check(
        403,
        "PERMISSION_DENIED",
        "Permission denied on resource",
        info("SERVICE_DISABLED"),
        Class::Misconfigured,
        "provider_error",
        elsewhere,
    );
    check(404, "NOT_FOUND", "models/x is not found", none.clone(), Class::Rejected, "model_not_found", never);
    check(429, "RESOURCE_EXHAUSTED", "quota", none.clone(), Class::RateLimited, "provider_unavailable", elsewhere);
    check(499, "CANCELLED", "cancelled", none.clone(), Class::Server, "provider_error", elsewhere);
    check(500, "INTERNAL", "oops", none.clone(), Class::Server, "provider_error", elsewhere);
    check(
        503,
        "UNAVAILABLE",
        "The model is overloaded.",
        none.clone(),
        Class::Server,
        "provider_unavailable",
        elsewhere,
    );
    check(504, "DEADLINE_EXCEEDED", "late", none.clone(), Class::Timeout, "provider_timeout", elsewhere);
    // A body of another mind than its status: the status decides.
    check(500, "INVALID_ARGUMENT", long, none, Class::Server, "provider_error", elsewhere);
}

#[test]
fn the_time_to_wait_is_read_from_details_and_head() {
    let wait = |details: Value, head: Option<&'static str>| {
        let body = json!({"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "details": details}}).to_string();
        let mut headers = HeaderMap::new();
        head.map(|head| headers.insert("retry-after", head.parse().unwrap()));
        GeminiDialect.explain(429, &headers, body.as_bytes()).retry_after.map(|it| it.as_secs())
    };
    let info = |delay: &str| json!([{"@type": "x"}, {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": delay}]);
    assert_eq!(wait(info("34.074824224s"), None), Some(35));
    assert_eq!(wait(info("0s"), Some("7")), Some(0));
    assert_eq!(wait(info("soon"), Some("7")), Some(7));
    assert_eq!(wait(json!([3, null]), None), None);
    assert_eq!(wait(info("1e300s"), None), None);
}

#[test]
fn an_error_without_a_readable_body_is_sorted_by_its_status() {
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", "7".parse().unwrap());
    let error = GeminiDialect.explain(503, &headers, b"<html>busy</html>");
    assert_eq!((error.class, error.retry_after), (Class::Server, Some(Duration::from_secs(7))));
    assert_eq!(GeminiDialect.explain(408, &HeaderMap::new(), b"").class, Class::Timeout);
    assert_eq!(GeminiDialect.explain(401, &HeaderMap::new(), b"{}").class, Class::Misconfigured);
    assert_eq!(GeminiDialect.explain(502, &HeaderMap::new(), b"[]").class, Class::Server);
}
