//! Sorts failures of OpenAI-compatible servers. Looks at the provider's words, never repeats them.

use std::time::Duration;

use http::HeaderMap;
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Class, ProviderError, Retry};

/// What an answer with this status means.
pub(super) fn explain(status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError {
    let said = Said::read(&String::from_utf8_lossy(body));
    let mut error = sort(status, &said);
    error.status = Some(status);
    error.retry_after = retry_after(headers);
    error
}

/// What an error object inside a 200 means.
pub(crate) fn in_answer(raw: &str) -> ProviderError {
    let said = Said::read(raw);
    let status = said.status.unwrap_or(match () {
        () if said.too_long() => 400,
        () if said.has(&["rate_limit", "rate limit", "too many requests"]) => 429,
        () => 500,
    });
    let mut error = sort(status, &said);
    error.message = error.message.replace("answered", "ended its answer with");
    error
}

fn sort(status: u16, said: &Said) -> ProviderError {
    let make = |class, code, retry, message: String| ProviderError {
        class,
        status: None,
        code,
        message,
        retry,
        retry_after: None,
        param: None,
    };
    let ours = |message: &str| make(Class::Misconfigured, "provider_error", Retry::Elsewhere, message.to_owned());
    match status {
        400 | 404 | 413 | 422 if said.too_long() => {
            let message = "the request does not fit into the model's context".to_owned();
            make(Class::Rejected, "context_length_exceeded", Retry::Never, message)
        }
        400 if said.has(&["api key not valid", "api_key_invalid", "invalid_api_key", "incorrect api key"]) => {
            ours("the provider does not accept our key")
        }
        400 | 422 if said.has(&["content_filter", "content_policy", "responsibleaipolicy", "moderation"]) => make(
            Class::Rejected,
            "provider_content_filter",
            Retry::Never,
            "the provider's content filter refused the request".to_owned(),
        ),
        404 if said.has(&["404\nresource not found"]) => ours("the provider has nothing at this address"),
        404 if said.has(&["model", "deploymentnotfound"]) => {
            make(Class::Rejected, "model_not_found", Retry::Never, "the provider does not know the model".to_owned())
        }
        413 => make(
            Class::Rejected,
            "request_too_large",
            Retry::Never,
            "the request is too large for the provider".to_owned(),
        ),
        400 | 404 | 422 => make(
            Class::Rejected,
            "provider_rejected",
            Retry::Never,
            format!("the provider refused the request with status {status}"),
        ),
        401 | 403 => ours("the provider does not accept our key"),
        402 => ours("our account with the provider has no credit"),
        429 if said.has(&["insufficient_quota", "billing"]) => ours("our account with the provider has no credit"),
        429 => make(
            Class::RateLimited,
            "provider_unavailable",
            Retry::Elsewhere,
            "the provider limits our rate".to_owned(),
        ),
        408 | 504 | 524 => {
            make(Class::Timeout, "provider_timeout", Retry::Elsewhere, format!("the provider answered {status}"))
        }
        503 | 529 => {
            make(Class::Server, "provider_unavailable", Retry::Elsewhere, format!("the provider answered {status}"))
        }
        300..=399 => ours("the provider redirects; its base_url is wrong"),
        401..=499 => ours(&format!("the provider answered {status}")),
        _ => make(Class::Server, "provider_error", Retry::Elsewhere, format!("the provider answered {status}")),
    }
}

/// A provider's words, folded to lower case, for sorting only.
struct Said {
    words: String,
    status: Option<u16>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Words {
    error: Option<Value>,
    code: Option<Value>,
    r#type: Option<Value>,
    message: Option<Value>,
    status: Option<Value>,
    detail: Option<Value>,
}

impl Said {
    fn read(text: &str) -> Said {
        let text = text.get(..text.len().min(65_536)).unwrap_or(text);
        let outer: Words = serde_json::from_str(text).unwrap_or_default();
        let inner: Words = outer.error.clone().and_then(|it| serde_json::from_value(it).ok()).unwrap_or_default();
        let code = inner.code.as_ref().or(outer.code.as_ref());
        let status =
            code.and_then(Value::as_u64).and_then(|it| u16::try_from(it).ok()).filter(|it| (400..600).contains(it));
        let mut words = String::new();
        let error = outer.error.as_ref().filter(|it| it.is_string());
        let all = [
            &inner.code,
            &inner.r#type,
            &inner.message,
            &inner.status,
            &outer.code,
            &outer.r#type,
            &outer.message,
            &outer.detail,
        ];
        for value in all.into_iter().flatten().chain(error) {
            match value {
                Value::String(it) => words.push_str(&it.to_lowercase()),
                it => words.push_str(&it.to_string().to_lowercase()),
            }
            words.push('\n');
        }
        Said { words, status }
    }

    fn has(&self, any: &[&str]) -> bool {
        any.iter().any(|it| self.words.contains(it))
    }

    fn too_long(&self) -> bool {
        self.has(&[
            "context_length_exceeded",
            "maximum context length",
            "context window",
            "context size",
            "context length",
            "exceed_context_size",
            "prompt is too long",
            "prompt too long",
            "input is too long",
            "too many tokens",
            "reduce the length",
            "input length and `max_tokens`",
            "input token count",
            "string_above_max_length",
        ])
    }
}

/// `retry-after-ms`, else `retry-after` in seconds. Dates are not read: they need a clock, and providers do not send them.
pub(crate) fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let number = |name: &str| headers.get(name)?.to_str().ok()?.trim().parse::<f64>().ok();
    let seconds = number("retry-after-ms").map(|it| it / 1_000.0).or_else(|| number("retry-after"))?;
    Duration::try_from_secs_f64(seconds).ok().map(|it| it.min(Duration::from_secs(86_400)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str, class: Class, code: &str, retry: Retry) {
        let error = explain(status, &HeaderMap::new(), body.as_bytes());
        assert_eq!(
            (error.class, error.code, error.retry, error.status),
            (class, code, retry, Some(status)),
            "{status} {body}"
        );
        assert!(!error.message.contains("SECRET"), "provider text in {}", error.message);
    }

    #[test]
    fn a_status_says_who_is_at_fault_and_where_to_try_again() {
        use Class::{Misconfigured, RateLimited, Rejected, Server, Timeout};
        use Retry::{Elsewhere, Never};
        let long = r#"{"error":{"message":"This model's maximum context length is 8192 tokens. SECRET","code":null}}"#;
        check(
            400,
            r#"{"error":{"code":"context_length_exceeded","message":"SECRET"}}"#,
            Rejected,
            "context_length_exceeded",
            Never,
        );
        check(400, long, Rejected, "context_length_exceeded", Never);
        check(400, r#"{"detail":"prompt is too long SECRET"}"#, Rejected, "context_length_exceeded", Never);
        check(
            400,
            r#"{"error":"SECRET exceeds the available context size"}"#,
            Rejected,
            "context_length_exceeded",
            Never,
        );
        check(400, r#"{"error":{"code":"content_filter"}}"#, Rejected, "provider_content_filter", Never);
        check(400, "SECRET", Rejected, "provider_rejected", Never);
        check(400, r#"{"error":{"message":"API key not valid. SECRET"}}"#, Misconfigured, "provider_error", Elsewhere);
        check(404, r#"{"error":{"code":"model_not_found"}}"#, Rejected, "model_not_found", Never);
        check(404, "", Rejected, "provider_rejected", Never);
        check(413, "", Rejected, "request_too_large", Never);
        check(422, "", Rejected, "provider_rejected", Never);
        check(401, "SECRET", Misconfigured, "provider_error", Elsewhere);
        check(403, "", Misconfigured, "provider_error", Elsewhere);
        check(402, "", Misconfigured, "provider_error", Elsewhere);
        check(405, "", Misconfigured, "provider_error", Elsewhere);
        check(301, "", Misconfigured, "provider_error", Elsewhere);
        check(408, "", Timeout, "provider_timeout", Elsewhere);
        check(429, "", RateLimited, "provider_unavailable", Elsewhere);
        check(429, r#"{"error":{"type":"insufficient_quota"}}"#, Misconfigured, "provider_error", Elsewhere);
        check(500, "SECRET", Server, "provider_error", Elsewhere);
        check(503, "", Server, "provider_unavailable", Elsewhere);
        check(504, "", Timeout, "provider_timeout", Elsewhere);
    }

    #[test]
    fn an_error_inside_an_answer_is_sorted_by_its_own_code() {
        let class = |raw: &str| in_answer(raw).class;
        assert_eq!(class(r#"{"message":"SECRET","code":429}"#), Class::RateLimited);
        assert_eq!(class(r#"{"message":"rate limit"}"#), Class::RateLimited);
        assert_eq!(class(r#"{"error":{"message":"x","code":503}}"#), Class::Server);
        assert_eq!(class(r#"{"code":"context_length_exceeded"}"#), Class::Rejected);
        assert_eq!(class("\"SECRET\""), Class::Server);
    }

    #[test]
    fn the_wait_is_read_from_either_header() {
        let wait = |pairs: &[(&'static str, &str)]| {
            retry_after(
                &pairs
                    .iter()
                    .map(|(name, value)| (http::HeaderName::from_static(name), value.parse().unwrap()))
                    .collect(),
            )
        };
        assert_eq!(wait(&[("retry-after", "7")]), Some(Duration::from_secs(7)));
        assert_eq!(wait(&[("retry-after", "7"), ("retry-after-ms", "1500")]), Some(Duration::from_millis(1_500)));
        assert_eq!(wait(&[("retry-after", "-7")]), None);
        assert_eq!(wait(&[("retry-after", "1e300")]), None);
        assert_eq!(wait(&[("retry-after", "Wed, 21 Oct 2015 07:28:00 GMT")]), None);
        assert_eq!(wait(&[]), None);
    }
}
