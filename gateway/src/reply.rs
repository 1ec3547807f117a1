//! What goes back to the client: the answer and the headers that tell what was done for it.

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use bytes::Bytes;
use futures_util::StreamExt;
use ledger::{Call, Id, Money};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::cache::Stored;
use crate::case::Case;
use crate::refusal::Refusal;

/// An answer in the caller's shape.
pub enum Reply {
    /// One body: JSON, unless it is said to be something else.
    Whole(Bytes, Option<String>),
    /// Server-sent events as they come, or sound.
    Stream(Flow),
    /// The same, all at hand.
    Recorded(Vec<Bytes>, Option<String>),
}

/// An answer that is still coming.
pub struct Flow {
    pub frames: mpsc::Receiver<Bytes>,
    /// What it is, unless server-sent events.
    pub content_type: Option<String>,
    /// It broke off, in a form that has no words for that: the connection says it.
    pub torn: CancellationToken,
}

impl Reply {
    /// An answer that was kept, with what it costs this time.
    pub fn stored(stored: &Stored, price: Option<Money>) -> Reply {
        let cost = price.filter(|_| stored.stream).map(|price| price.to_string());
        let closing = stored.end.closing(cost.as_deref(), Some(&stored.counted));
        match stored.stream {
            true => {
                let frames = stored.frames.iter().cloned().chain([closing]).filter(|frame| !frame.is_empty());
                Reply::Recorded(frames.collect(), stored.content_type.clone())
            }
            false => Reply::Whole(closing, stored.content_type.clone()),
        }
    }
}

/// The outcome of a call with what its headers say.
pub struct Answered {
    pub head: Head,
    pub outcome: Result<Reply, Refusal>,
}

/// The headers of the contract.
pub struct Head {
    call: Id<Call>,
    headers: HeaderMap,
}

impl Head {
    /// What the case knows by now. `price`: what was charged, if that is settled.
    pub fn of(case: &Case, price: Option<Money>) -> Head {
        let target = case.target.as_ref().map(|target| target.name.as_str());
        Head::new(case, target, price)
    }

    /// The same for an answer that was kept.
    pub fn of_stored(case: &Case, stored: &Stored, price: Option<Money>) -> Head {
        Head::new(case, Some(&stored.target), price)
    }

    fn new(case: &Case, target: Option<&str>, price: Option<Money>) -> Head {
        let mut headers = HeaderMap::new();
        let mut set = |name: &'static str, value: &str| {
            // Names of models come from the configuration or from the client: what is no header value is left out.
            if let Ok(value) = HeaderValue::from_str(value) {
                headers.insert(HeaderName::from_static(name), value);
            }
        };
        if let Some(target) = target {
            set("x-alfred-model", target);
        }
        if target.is_some() || !case.attempts.is_empty() {
            set("x-alfred-attempts", &case.tried.to_string());
            set("x-alfred-cache", case.cache.as_str());
        }
        if !case.policy.is_empty() {
            set("x-alfred-policy", &case.policy);
        }
        set("x-alfred-overhead-ms", &format!("{:.3}", case.overhead().as_secs_f64() * 1_000.0));
        if let Some(price) = price {
            set("x-alfred-cost-usd", &price.to_string());
        }
        if !case.warnings.is_empty() {
            let words: Vec<String> = case
                .warnings
                .iter()
                .map(|w| format!("wallet={} soft_limit_usd={} used_usd={}", w.wallet, w.soft_limit, w.used))
                .collect();
            set("x-alfred-budget-warning", &words.join(", "));
        }
        for (rate, limit, remaining, reset) in [
            (&case.rate, "x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"),
            (&case.token_rate, "x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"),
        ] {
            let Some(rate) = rate else { continue };
            set(limit, &rate.limit.to_string());
            set(remaining, &rate.remaining.to_string());
            set(reset, &told(rate.reset));
        }
        Head { call: case.id, headers }
    }
}

impl Head {
    /// The same headers on an answer that is made elsewhere.
    pub fn put_on(self, response: &mut Response<Body>) {
        response.headers_mut().extend(self.headers);
        identify(response, self.call);
    }

    /// One header more.
    pub fn with(mut self, name: &'static str, value: &'static str) -> Head {
        self.headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        self
    }
}

impl Answered {
    /// The whole HTTP answer.
    pub fn into_response(self, shape: providers::Shape) -> Response<Body> {
        let mut response = match self.outcome {
            Err(refusal) => refusal.response(shape, self.head.call),
            Ok(Reply::Whole(body, content_type)) => whole(body, content_type.as_deref()),
            Ok(Reply::Stream(mut flow)) => {
                let content_type = flow.content_type.take();
                let frames = futures_util::stream::unfold(Some(flow), |flow| async {
                    let mut flow = flow?;
                    match flow.frames.recv().await {
                        Some(frame) => Some((Ok(frame), Some(flow))),
                        None if flow.torn.is_cancelled() => {
                            Some((Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof)), None))
                        }
                        None => None,
                    }
                });
                flowing(Body::from_stream(frames), content_type.as_deref())
            }
            Ok(Reply::Recorded(frames, content_type)) => {
                let frames = futures_util::stream::iter(frames).map(Ok::<_, std::convert::Infallible>);
                flowing(Body::from_stream(frames), content_type.as_deref())
            }
        };
        response.headers_mut().extend(self.head.headers);
        identify(&mut response, self.head.call);
        response
    }
}

/// Puts the call's id on an answer.
pub fn identify(response: &mut Response<Body>, call: Id<Call>) {
    if let Ok(value) = HeaderValue::from_str(&call.to_string()) {
        response.headers_mut().insert("x-request-id", value);
    }
}

fn whole(body: Bytes, content_type: Option<&str>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, named(content_type, "application/json"));
    response
}

fn named(content_type: Option<&str>, usual: &'static str) -> HeaderValue {
    content_type.and_then(|it| HeaderValue::from_str(it).ok()).unwrap_or(HeaderValue::from_static(usual))
}

fn flowing(body: Body, content_type: Option<&str>) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, named(content_type, "text/event-stream; charset=utf-8"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    // Proxies that buffer would undo the streaming.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// A time as OpenAI writes it in these headers: `17ms`, `8.64s`, `6m0s`. Never shorter than it is.
fn told(time: std::time::Duration) -> String {
    let millis = time.as_nanos().div_ceil(1_000_000);
    let seconds = |millis: u128| match (millis / 1_000, millis % 1_000) {
        (whole, 0) => format!("{whole}s"),
        (whole, rest) => format!("{whole}.{}s", format!("{rest:03}").trim_end_matches('0')),
    };
    match millis {
        0..1_000 => format!("{millis}ms"),
        1_000..60_000 => seconds(millis),
        _ => format!("{}m{}", millis / 60_000, seconds(millis % 60_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_as_openai_tells_them() {
        for (micros, expected) in [
            (0, "0ms"),
            (1, "1ms"),
            (17_000, "17ms"),
            (1_000_000, "1s"),
            (8_640_000, "8.64s"),
            (59_999_001, "1m0s"),
            (72_500_000, "1m12.5s"),
            (360_000_000, "6m0s"),
        ] {
            assert_eq!(told(std::time::Duration::from_micros(micros)), expected);
        }
    }
}
