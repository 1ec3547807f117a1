//! Every way a call can be turned down, its status and its wire form, in one place without a wildcard.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Response, StatusCode, header};
use ledger::{Call, Id, Money, OverLimit};
use providers::{BadRequest, Family, Shape};
use serde_json::json;

use crate::approvals::{self, Unapproved};

/// Why a call gets no answer from a model.
#[derive(Debug, Clone)]
pub enum Refusal {
    /// The body cannot be read; says where.
    BadRequest(BadRequest),
    /// The body is larger than the configured limit.
    TooLarge { limit: u64 },
    /// The client stopped sending its body.
    BodyStalled,
    /// No key, an unknown one, a revoked or an expired one: one answer for all.
    InvalidKey,
    /// Too many calls, or too many failed verifications.
    RateLimited { retry_after: Duration, what: Cow<'static, str> },
    /// Safety found what must not leave. Names detector and place, never the text.
    Content { detector: String, place: String },
    /// The policy says no.
    Denied { code: &'static str, reasons: Vec<String> },
    /// Somebody has to approve it first.
    Unapproved(Box<Unapproved>),
    /// No alias and no provider of that name.
    UnknownModel { model: String },
    /// The path is not served.
    UnknownRoute,
    /// An earlier answer is asked for, and none is kept.
    NotStored,
    /// No file or batch of this id, or another's.
    NotFound { what: &'static str },
    /// A line of a file is turned down.
    InLine { line: u64, refusal: Box<Refusal> },
    /// The path is served, but not with this method.
    WrongMethod,
    /// No price is known for any target.
    Unpriced { model: String },
    /// A wallet of the chain cannot cover the call.
    OverBudget(Box<OverLimit>),
    /// A wallet of the chain is suspended.
    Suspended { wallet: String },
    /// A wallet of the chain is closed.
    Closed { wallet: String },
    /// A wallet is past a soft limit that wants a cheaper plan. The pipeline looks for one and orders again, which is not
    /// answered so a second time: nobody outside sees this.
    WantsLess,
    /// The same Idempotency-Key came with another body.
    IdempotencyMismatch,
    /// The first answer is no longer in memory.
    IdempotencyExpired,
    /// The first call is still running.
    IdempotencyInProgress,
    /// The client went away before anything was held for it: nobody is told.
    ClientLeft,
    /// What the caller asked for cannot be expressed to any target.
    Unsupported { param: Option<String>, message: String },
    /// The provider rejected the request itself: no other would take it.
    Rejected { status: u16, code: &'static str, message: String },
    /// Every target failed.
    Exhausted { kind: Exhausted, attempts: Vec<String>, retry_after: Option<Duration> },
    /// Too much in flight.
    Overloaded,
    /// What cannot be accounted for is not forwarded.
    LedgerUnavailable,
    /// A fault of ours.
    Internal,
}

/// How the last target failed, when all did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exhausted {
    /// It answered with an error.
    Error,
    /// It could not be reached, or is benched.
    Unavailable,
    /// It did not answer in time.
    Timeout,
}

impl Refusal {
    /// The status of the answer.
    pub fn status(&self) -> StatusCode {
        match self {
            Refusal::BadRequest(_) | Refusal::Content { .. } | Refusal::Unsupported { .. } => StatusCode::BAD_REQUEST,
            Refusal::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::BodyStalled | Refusal::ClientLeft => StatusCode::REQUEST_TIMEOUT,
            Refusal::InvalidKey => StatusCode::UNAUTHORIZED,
            Refusal::RateLimited { .. } | Refusal::OverBudget(_) => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Denied { .. } | Refusal::Suspended { .. } | Refusal::Closed { .. } => StatusCode::FORBIDDEN,
            Refusal::Unapproved(_) => StatusCode::FORBIDDEN,
            Refusal::UnknownModel { .. } | Refusal::UnknownRoute | Refusal::NotStored | Refusal::NotFound { .. } => {
                StatusCode::NOT_FOUND
            }
            Refusal::InLine { refusal, .. } => refusal.status(),
            Refusal::WrongMethod => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Unpriced { .. } => StatusCode::UNPROCESSABLE_ENTITY,
            Refusal::IdempotencyMismatch | Refusal::IdempotencyExpired | Refusal::IdempotencyInProgress => {
                StatusCode::CONFLICT
            }
            Refusal::Rejected { status, .. } => StatusCode::from_u16(*status).unwrap_or(StatusCode::BAD_REQUEST),
            Refusal::Exhausted { kind: Exhausted::Error, .. } => StatusCode::BAD_GATEWAY,
            Refusal::Exhausted { kind: Exhausted::Unavailable, .. } => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Exhausted { kind: Exhausted::Timeout, .. } => StatusCode::GATEWAY_TIMEOUT,
            Refusal::Overloaded | Refusal::LedgerUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Internal | Refusal::WantsLess => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The machine's word for it, as in the contract.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::BadRequest(bad) => bad.code,
            Refusal::TooLarge { .. } => "request_too_large",
            Refusal::BodyStalled => "request_timeout",
            Refusal::InvalidKey => "invalid_api_key",
            Refusal::RateLimited { .. } => "rate_limit_exceeded",
            Refusal::Content { .. } => "content_policy_violation",
            Refusal::Denied { code, .. } | Refusal::Rejected { code, .. } => code,
            Refusal::Unapproved(_) => "approval_required",
            Refusal::UnknownModel { .. } => "model_not_found",
            Refusal::UnknownRoute => "unknown_url",
            Refusal::NotStored => "response_not_found",
            Refusal::NotFound { .. } => "not_found",
            Refusal::InLine { refusal, .. } => refusal.code(),
            Refusal::WrongMethod => "method_not_allowed",
            Refusal::Unpriced { .. } => "unpriced_model",
            Refusal::OverBudget(_) => "budget_exceeded",
            Refusal::Suspended { .. } | Refusal::Closed { .. } => "wallet_suspended",
            Refusal::IdempotencyMismatch => "idempotency_mismatch",
            Refusal::IdempotencyExpired => "idempotency_expired",
            Refusal::IdempotencyInProgress => "idempotency_in_progress",
            Refusal::ClientLeft => "client_left",
            Refusal::Unsupported { .. } => "unsupported_by_target",
            Refusal::Exhausted { kind: Exhausted::Error, .. } => "provider_error",
            Refusal::Exhausted { kind: Exhausted::Unavailable, .. } => "provider_unavailable",
            Refusal::Exhausted { kind: Exhausted::Timeout, .. } => "provider_timeout",
            Refusal::Overloaded => "overloaded",
            Refusal::LedgerUnavailable => "ledger_unavailable",
            Refusal::Internal | Refusal::WantsLess => "internal_error",
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Refusal::InLine { refusal, .. } => refusal.kind(),
            Refusal::BadRequest(_)
            | Refusal::TooLarge { .. }
            | Refusal::BodyStalled
            | Refusal::InvalidKey
            | Refusal::Content { .. }
            | Refusal::UnknownModel { .. }
            | Refusal::UnknownRoute
            | Refusal::NotStored
            | Refusal::NotFound { .. }
            | Refusal::WrongMethod
            | Refusal::Unpriced { .. }
            | Refusal::IdempotencyMismatch
            | Refusal::IdempotencyExpired
            | Refusal::IdempotencyInProgress
            | Refusal::ClientLeft
            | Refusal::Unsupported { .. }
            | Refusal::Rejected { .. } => "invalid_request_error",
            Refusal::RateLimited { .. } => "rate_limit_error",
            Refusal::Denied { .. } | Refusal::Suspended { .. } | Refusal::Closed { .. } | Refusal::Unapproved(_) => {
                "permission_error"
            }
            Refusal::OverBudget(_) => "insufficient_quota",
            Refusal::Exhausted { .. }
            | Refusal::Overloaded
            | Refusal::LedgerUnavailable
            | Refusal::Internal
            | Refusal::WantsLess => "api_error",
        }
    }

    /// The type as Anthropic's clients know it.
    fn anthropic_kind(&self) -> &'static str {
        match self.status().as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            404 => "not_found_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            503 => "overloaded_error",
            500..=599 => "api_error",
            _ => "invalid_request_error",
        }
    }

    /// The status as Google's clients know it.
    fn gemini_status(&self) -> &'static str {
        match self.status().as_u16() {
            401 => "UNAUTHENTICATED",
            403 => "PERMISSION_DENIED",
            404 => "NOT_FOUND",
            405 => "UNIMPLEMENTED",
            409 => "ABORTED",
            429 => "RESOURCE_EXHAUSTED",
            500 | 502 => "INTERNAL",
            503 => "UNAVAILABLE",
            504 => "DEADLINE_EXCEEDED",
            _ => "INVALID_ARGUMENT",
        }
    }

    fn param(&self) -> Option<&str> {
        match self {
            Refusal::BadRequest(bad) => bad.param.as_deref(),
            Refusal::Content { place, .. } => Some(place),
            Refusal::UnknownModel { .. } | Refusal::Unpriced { .. } => Some("model"),
            Refusal::Unsupported { param, .. } => param.as_deref(),
            Refusal::InLine { refusal, .. } => refusal.param(),
            _ => None,
        }
    }

    /// How long the client should wait, where waiting helps.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Refusal::RateLimited { retry_after, .. } => Some(*retry_after),
            Refusal::Exhausted { retry_after, .. } => *retry_after,
            Refusal::IdempotencyInProgress | Refusal::Overloaded | Refusal::LedgerUnavailable => {
                Some(Duration::from_secs(1))
            }
            _ => None,
        }
    }

    /// Repeating the call unchanged can never help: official clients obey `x-should-retry`.
    fn is_final(&self) -> bool {
        matches!(self, Refusal::OverBudget(_) | Refusal::IdempotencyMismatch | Refusal::IdempotencyExpired)
    }

    /// The error object in the caller's shape.
    pub fn body(&self, shape: Shape) -> serde_json::Value {
        let mut body = self.bare_body(shape);
        if let Refusal::Unapproved(unapproved) = self {
            body["error"]["approval"] = unapproved.object();
        }
        body
    }

    fn bare_body(&self, shape: Shape) -> serde_json::Value {
        match shape.family() {
            Family::OpenAi => json!({"error": {
                "message": self.to_string(), "type": self.kind(), "param": self.param(), "code": self.code(),
            }}),
            Family::Anthropic => json!({"type": "error", "error": {
                "type": self.anthropic_kind(), "message": self.to_string(), "code": self.code(),
            }}),
            Family::Gemini => json!({"error": {
                "code": self.status().as_u16(), "message": self.to_string(), "status": self.gemini_status(),
                "details": [{"reason": self.code(), "param": self.param()}],
            }}),
        }
    }

    /// The last event of a stream that fails after its first byte.
    pub fn frame(&self, shape: Shape) -> bytes::Bytes {
        let body = self.body(shape);
        match shape {
            Shape::Anthropic => format!("event: error\ndata: {body}\n\n").into(),
            Shape::Responses => self.responses_frame(&body, 0),
            _ => format!("data: {body}\n\n").into(),
        }
    }

    /// The same, numbered after the last event that `told` has.
    pub fn frame_after(&self, shape: Shape, told: &[u8]) -> bytes::Bytes {
        match shape {
            Shape::Responses => self.responses_frame(&self.body(shape), next_number(told)),
            _ => self.frame(shape),
        }
    }

    /// OpenAI's event of this kind, and beside its own members the error object for which all OpenAI clients look.
    fn responses_frame(&self, body: &serde_json::Value, number: u64) -> bytes::Bytes {
        let event = json!({
            "type": "error", "sequence_number": number, "code": self.code(), "message": self.to_string(),
            "param": self.param(), "error": body["error"],
        });
        format!("event: error\ndata: {event}\n\n").into()
    }

    /// The whole answer, but for the headers that every answer carries.
    pub fn response(&self, shape: Shape, call: Id<Call>) -> Response<Body> {
        let mut body = self.body(shape);
        if shape == Shape::Anthropic {
            body["request_id"] = json!(call.to_string());
        }
        let mut response = Response::new(Body::from(body.to_string()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(wait) = self.retry_after() {
            // Rounded up, to whole seconds and for clients that know it to milliseconds: who comes back early is refused again.
            let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
            let millis = u64::try_from(wait.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX);
            headers.insert("retry-after-ms", HeaderValue::from(millis.max(1)));
        }
        if let Refusal::Unapproved(unapproved) = self
            && let Some(value) = unapproved.header().and_then(|ids| HeaderValue::from_str(&ids).ok())
        {
            headers.insert(approvals::HEADER, value);
        }
        if self.is_final() {
            headers.insert("x-should-retry", HeaderValue::from_static("false"));
        }
        response
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::BadRequest(bad) => f.write_str(&bad.message),
            Refusal::TooLarge { limit } => write!(f, "The request body is larger than the limit of {limit} bytes."),
            Refusal::BodyStalled => f.write_str("The request body did not arrive in time."),
            Refusal::InvalidKey => f.write_str(
                "Incorrect API key provided. Send 'Authorization: Bearer sk-alf-…' with a key that your operator issued.",
            ),
            Refusal::RateLimited { retry_after, what } => {
                write!(f, "Rate limit reached for {what}. Try again in {:.1} s.", retry_after.as_secs_f64())
            }
            Refusal::Content { detector, place } => write!(
                f,
                "The content policy of your organisation does not let this request leave: {detector} found in {place}."
            ),
            Refusal::Denied { reasons, .. } => match reasons.as_slice() {
                [] => f.write_str("Denied by policy."),
                reasons => f.write_str(&reasons.join(" ")),
            },
            Refusal::Unapproved(unapproved) => unapproved.fmt(f),
            Refusal::UnknownModel { model } => write!(
                f,
                "The model '{}' does not exist here. GET /v1/models lists what this key can use.",
                shortened(model)
            ),
            Refusal::UnknownRoute => f.write_str("Unknown request URL. This gateway does not serve that path."),
            Refusal::NotStored => f.write_str(
                "This gateway keeps no responses, so none can be read, continued, cancelled or deleted by its id. \
                 Send the whole conversation in 'input'.",
            ),
            Refusal::NotFound { what } => write!(f, "There is no such {what}."),
            Refusal::InLine { line, refusal } => write!(f, "Line {line} of the file: {refusal}"),
            Refusal::WrongMethod => f.write_str("This path does not serve that method."),
            Refusal::Unpriced { model } => write!(
                f,
                "No price is known for the model '{}', so the call cannot be accounted for. \
                 Add it under 'prices' in the gateway's configuration.",
                shortened(model)
            ),
            Refusal::OverBudget(over) => budget_message(f, over),
            Refusal::Suspended { wallet } => write!(f, "The wallet {wallet} is suspended. Ask your operator."),
            Refusal::Closed { wallet } => write!(f, "The wallet {wallet} is closed for good. Ask your operator for another key."),
            Refusal::IdempotencyMismatch => {
                f.write_str("This Idempotency-Key was used with another request body. Use a new key for a new request.")
            }
            Refusal::IdempotencyExpired => f.write_str(
                "The request with this Idempotency-Key was answered and charged; its answer is no longer kept. \
                 Use a new key to ask (and pay) again.",
            ),
            Refusal::IdempotencyInProgress => {
                f.write_str("The request with this Idempotency-Key is still running. Try again shortly.")
            }
            Refusal::ClientLeft => f.write_str("The client went away before its call was let in."),
            Refusal::Unsupported { message, .. } => {
                write!(f, "No target of this model can be asked this: {message}. Remove it or choose another model.")
            }
            Refusal::Rejected { message, .. } => f.write_str(message),
            Refusal::Exhausted { attempts, .. } => {
                write!(f, "No target could answer. Attempts: {}.", attempts.join("; "))
            }
            Refusal::Overloaded => f.write_str("The gateway is at its limit of calls in flight. Try again shortly."),
            Refusal::LedgerUnavailable => {
                f.write_str("The call cannot be accounted for right now and was not forwarded. Try again shortly.")
            }
            Refusal::Internal | Refusal::WantsLess => f.write_str("The gateway failed to handle this request."),
        }
    }
}

/// One more than the last `sequence_number` in a frame. A text could hold the word too, but never with bare quotes around it.
fn next_number(frame: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(frame);
    let last = text.rsplit("\"sequence_number\":").next().filter(|rest| rest.len() < text.len());
    let digits = last.map(|rest| rest.trim_start().split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default());
    digits.and_then(|it| it.parse::<u64>().ok()).map_or(0, |number| number.saturating_add(1))
}

fn budget_message(f: &mut fmt::Formatter<'_>, over: &OverLimit) -> fmt::Result {
    let free =
        [over.spent, over.held].iter().try_fold(over.limit, |left, used| left.minus(*used)).unwrap_or(Money::ZERO);
    write!(
        f,
        "Budget exceeded: wallet {} has a limit of {} USD, {} USD spent and {} USD held; this call needs up to {} USD and {} USD is free.",
        over.wallet,
        over.limit,
        over.spent,
        over.held,
        over.asked,
        free.max(Money::ZERO)
    )?;
    match over.resets_at {
        Some(at) => write!(f, " The window resets at {at}."),
        None => f.write_str(" The limit does not reset by itself."),
    }
}

/// A client's own words, short enough for an error message.
fn shortened(text: &str) -> String {
    const MOST: usize = 100;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::{Timestamp, Wallet, Window};

    fn over_budget() -> Refusal {
        Refusal::OverBudget(Box::new(OverLimit {
            wallet: Id::<Wallet>::from_uuid(uuid::Uuid::from_u128(7)),
            limit: Money::from_nanos(1_000_000_000),
            spent: Money::from_nanos(900_000_000),
            held: Money::from_nanos(50_000_000),
            asked: Money::from_nanos(60_000_000),
            window: Window::Month,
            resets_at: Some(Timestamp::from_micros(1_769_904_000_000_000)),
        }))
    }

    fn exhausted(kind: Exhausted) -> Refusal {
        Refusal::Exhausted { kind, attempts: vec!["openai/gpt-4o (connect)".into()], retry_after: None }
    }

    #[test]
    fn every_refusal_has_the_status_type_and_code_of_the_contract() {
        let bad = BadRequest { code: "invalid_json", param: None, message: "no".into() };
        let denied = |code| Refusal::Denied { code, reasons: vec!["not today".into()] };
        for (refusal, status, kind, code) in [
            (Refusal::BadRequest(bad), 400, "invalid_request_error", "invalid_json"),
            (
                Refusal::Content { detector: "api_key".into(), place: "messages[0].content".into() },
                400,
                "invalid_request_error",
                "content_policy_violation",
            ),
            (Refusal::InvalidKey, 401, "invalid_request_error", "invalid_api_key"),
            (denied("policy_denied"), 403, "permission_error", "policy_denied"),
            (denied("residency_violation"), 403, "permission_error", "residency_violation"),
            (denied("model_not_allowed"), 403, "permission_error", "model_not_allowed"),
            (Refusal::Suspended { wallet: "wal_1".into() }, 403, "permission_error", "wallet_suspended"),
            (Refusal::Closed { wallet: "wal_1".into() }, 403, "permission_error", "wallet_suspended"),
            (Refusal::UnknownModel { model: "x".into() }, 404, "invalid_request_error", "model_not_found"),
            (Refusal::IdempotencyMismatch, 409, "invalid_request_error", "idempotency_mismatch"),
            (Refusal::IdempotencyExpired, 409, "invalid_request_error", "idempotency_expired"),
            (Refusal::IdempotencyInProgress, 409, "invalid_request_error", "idempotency_in_progress"),
            (Refusal::TooLarge { limit: 1 }, 413, "invalid_request_error", "request_too_large"),
            (
                Refusal::RateLimited { retry_after: Duration::from_millis(1_500), what: "x".into() },
                429,
                "rate_limit_error",
                "rate_limit_exceeded",
            ),
            (over_budget(), 429, "insufficient_quota", "budget_exceeded"),
            (Refusal::Unpriced { model: "x".into() }, 422, "invalid_request_error", "unpriced_model"),
            (exhausted(Exhausted::Error), 502, "api_error", "provider_error"),
            (exhausted(Exhausted::Unavailable), 503, "api_error", "provider_unavailable"),
            (exhausted(Exhausted::Timeout), 504, "api_error", "provider_timeout"),
            (Refusal::Overloaded, 503, "api_error", "overloaded"),
            (Refusal::LedgerUnavailable, 503, "api_error", "ledger_unavailable"),
        ] {
            let body = refusal.body(Shape::OpenAi);
            assert_eq!(refusal.status().as_u16(), status, "{code}");
            assert_eq!(body["error"]["type"], kind, "{code}");
            assert_eq!(body["error"]["code"], code);
            let members: Vec<&String> = body["error"].as_object().expect("an object").keys().collect();
            assert_eq!(members, ["message", "type", "param", "code"], "OpenAI's four members");
        }
    }

    #[test]
    fn only_what_waiting_or_repeating_can_help_says_so() {
        let id = Id::from_uuid(uuid::Uuid::from_u128(1));
        for (refusal, retry_after, should_retry) in [
            (Refusal::RateLimited { retry_after: Duration::from_millis(1_500), what: "x".into() }, Some("2"), None),
            (Refusal::IdempotencyInProgress, Some("1"), None),
            (Refusal::Overloaded, Some("1"), None),
            (over_budget(), None, Some("false")),
            (Refusal::IdempotencyMismatch, None, Some("false")),
            (Refusal::IdempotencyExpired, None, Some("false")),
            (Refusal::InvalidKey, None, None),
        ] {
            let response = refusal.response(Shape::OpenAi, id);
            let header = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
            assert_eq!(header("retry-after"), retry_after, "{}", refusal.code());
            assert_eq!(header("x-should-retry"), should_retry, "{}", refusal.code());
        }
    }

    #[test]
    fn a_refused_budget_names_wallet_limit_and_when_it_resets() {
        let message = over_budget().to_string();
        for word in
            ["wal_00000000000000000000000000000007", "limit of 1 USD", "0.05 USD is free", "2026-02-01T00:00:00"]
        {
            assert!(message.contains(word), "{word} in {message}");
        }
    }

    #[test]
    fn anthropic_clients_get_their_own_error_object() {
        let body = Refusal::InvalidKey.body(Shape::Anthropic);
        assert_eq!(body["type"], "error");
        assert_eq!(body["error"]["type"], "authentication_error");
        assert!(Refusal::Overloaded.frame(Shape::Anthropic).starts_with(b"event: error\ndata: {"));
        assert!(Refusal::Overloaded.frame(Shape::OpenAi).starts_with(b"data: {\"error\":"));
    }

    #[test]
    fn a_stream_of_responses_ends_with_an_event_that_goes_on_counting() {
        let told = b"event: response.output_text.delta\ndata: {\"type\":\"x\",\"sequence_number\":41,\"delta\":\"\\\"sequence_number\\\":7\"}\n\n";
        let frame = Refusal::Overloaded.frame_after(Shape::Responses, told);
        let text = std::str::from_utf8(&frame).expect("a text");
        let data: serde_json::Value =
            serde_json::from_str(text.strip_prefix("event: error\ndata: ").expect("a named event")).expect("JSON");
        assert_eq!((&data["type"], &data["sequence_number"]), (&json!("error"), &json!(42)));
        assert_eq!((&data["code"], &data["error"]["code"]), (&json!("overloaded"), &json!("overloaded")));
        assert_eq!(next_number(b""), 0);
        assert_eq!(Refusal::Overloaded.frame_after(Shape::OpenAi, told), Refusal::Overloaded.frame(Shape::OpenAi));
    }

    #[test]
    fn a_long_model_name_is_cut_in_the_message() {
        let message = Refusal::UnknownModel { model: "é".repeat(5_000) }.to_string();
        assert!(message.len() < 500, "{}", message.len());
    }
}
