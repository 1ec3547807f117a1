//! What the Responses API's failures mean. Statuses are explained as for chat completions; a failure within an answer has a code
//! of this API's own. Its words are looked at to sort, and never quoted.

use http::HeaderMap;
use serde::Deserialize;

use crate::dialect::Dialect;
use crate::error::ProviderError;
use crate::openai::{OpenAiDialect, failure_in_answer};

/// What an error object within an answer means, given as its JSON text: that of a `response.failed`, or of an `error` event.
pub(super) fn failure(error: &str) -> ProviderError {
    #[derive(Deserialize, Default)]
    struct Error {
        code: Option<String>,
    }
    let code = serde_json::from_str::<Error>(error).ok().and_then(|it| it.code).unwrap_or_default();
    if !is_the_requests_fault(&code) {
        return failure_in_answer(error);
    }
    let body = format!("{{\"error\":{error}}}");
    let sorted = OpenAiDialect.explain(400, &HeaderMap::new(), body.as_bytes());
    let message = match sorted.code {
        "provider_rejected" => "the provider refused the request in its answer".to_owned(),
        _ => sorted.message,
    };
    ProviderError { status: None, message, ..sorted }
}

/// Codes that blame what was sent: another target would be asked the same.
fn is_the_requests_fault(code: &str) -> bool {
    const POLICIES: [&str; 3] = ["bio_policy", "misalignment_policy_violation", "content_filter"];
    let of_an_image = code.contains("image") && code != "failed_to_download_image";
    code.starts_with("invalid_") || of_an_image || POLICIES.contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{Class, Retry};

    #[test]
    fn a_failure_within_an_answer_is_sorted_by_its_code_and_never_quoted() {
        for (code, class, retry) in [
            ("server_error", Class::Server, Retry::Elsewhere),
            ("rate_limit_exceeded", Class::RateLimited, Retry::Elsewhere),
            ("context_length_exceeded", Class::Rejected, Retry::Never),
            ("invalid_prompt", Class::Rejected, Retry::Never),
            ("invalid_image_format", Class::Rejected, Retry::Never),
            ("image_content_policy_violation", Class::Rejected, Retry::Never),
            ("failed_to_download_image", Class::Server, Retry::Elsewhere),
            ("bio_policy", Class::Rejected, Retry::Never),
            ("brand_new", Class::Server, Retry::Elsewhere),
        ] {
            let error = failure(&format!(r#"{{"code":"{code}","message":"SECRET"}}"#));
            assert_eq!((error.class, error.retry, error.status), (class, retry, None), "{code}");
            assert!(!error.message.contains("SECRET"), "{code}");
        }
        assert_eq!(failure("").class, Class::Server);
    }
}
