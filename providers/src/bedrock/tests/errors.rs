use std::time::Duration;

use http::HeaderMap;

use super::*;
use crate::error::{Class, Retry};

#[track_caller]
fn check(status: u16, kind: &str, message: &str, class: Class, code: &str) {
    let body =
        serde_json::json!({"message": message, "__type": format!("com.amazon.coral.service#{kind}")}).to_string();
    let mut headers = HeaderMap::new();
    headers.insert("x-amzn-errortype", format!("{kind}:http://internal.amazon.com/coral/").parse().unwrap());
    for headers in [headers, HeaderMap::new()] {
        let error = BedrockDialect.explain(status, &headers, body.as_bytes());
        assert_eq!((error.class, error.code, error.status), (class, code, Some(status)), "{status} {kind}");
        assert_eq!(error.retry == Retry::Never, class == Class::Rejected, "{kind}");
        assert!(!error.message.contains("canary"));
    }
}

#[test]
fn an_error_is_sorted_by_its_type() {
    let (rejected, ours) = (Class::Rejected, Class::Misconfigured);
    check(429, "ThrottlingException", "canary", Class::RateLimited, "provider_unavailable");
    check(400, "ServiceQuotaExceededException", "canary", Class::RateLimited, "provider_unavailable");
    check(429, "ModelNotReadyException", "canary", Class::Server, "provider_unavailable");
    check(408, "ModelTimeoutException", "canary", Class::Timeout, "provider_timeout");
    check(424, "ModelErrorException", "canary", Class::Server, "provider_error");
    check(503, "ServiceUnavailableException", "canary", Class::Server, "provider_unavailable");
    check(500, "InternalServerException", "canary", Class::Server, "provider_error");
    check(403, "AccessDeniedException", "canary", ours, "provider_error");
    check(403, "UnrecognizedClientException", "canary", ours, "provider_error");
    check(403, "ExpiredTokenException", "canary", ours, "provider_error");
    check(403, "InvalidSignatureException", "canary", ours, "provider_error");
    check(404, "ResourceNotFoundException", "canary", rejected, "model_not_found");
    check(400, "ValidationException", "canary", rejected, "provider_rejected");
    check(400, "ValidationException", "Input is too long for requested model.", rejected, "context_length_exceeded");
    check(400, "ValidationException", "The provided model identifier is invalid.", rejected, "model_not_found");
    check(400, "ValidationException", "Invocation with on-demand throughput isn’t supported.", ours, "provider_error");
}

#[test]
fn the_status_decides_where_the_type_says_something_else() {
    check(500, "ValidationException", "canary", Class::Server, "provider_error");
    check(429, "NeverHeardOf", "canary", Class::RateLimited, "provider_unavailable");
    check(413, "NeverHeardOf", "canary", Class::Rejected, "request_too_large");
    let mut headers = HeaderMap::new();
    headers.insert("retry-after", "7".parse().unwrap());
    let error = BedrockDialect.explain(503, &headers, b"<html>");
    assert_eq!((error.class, error.retry_after), (Class::Server, Some(Duration::from_secs(7))));
}
