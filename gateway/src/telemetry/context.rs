//! Names of traces and spans, and which calls are kept. W3C Trace Context in and out; pure.
//!
//! A trace that begins here is named after its call, so that `x-request-id` finds it. Whether a call is kept is decided by the random
//! part of that name and never by what a client sends, unless the configuration believes its clients.

use axum::http::{HeaderMap, HeaderValue};
use ledger::{Call, Id};

/// The most of a `tracestate` that is passed on; the recommendation asks for no more.
const LONGEST_STATE: usize = 512;

/// Where a call belongs in a client's trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parent {
    pub trace: [u8; 16],
    pub span: [u8; 8],
    pub sampled: bool,
    /// For the provider, where it may know; it is never exported.
    pub state: Option<HeaderValue>,
}

impl Parent {
    /// Reads `traceparent` and `tracestate`. What is not in form is as good as not there, as the recommendation says.
    pub fn read(headers: &HeaderMap) -> Option<Parent> {
        let mut given = headers.get_all("traceparent").iter();
        let (text, None) = (given.next()?, given.next()) else { return None };
        let mut parent = Parent::parse(text.to_str().ok()?)?;
        let mut states = headers.get_all("tracestate").iter();
        if let (Some(state), None) = (states.next(), states.next())
            && state.len() <= LONGEST_STATE
            && state.to_str().is_ok()
        {
            parent.state = Some(state.clone());
        }
        Some(parent)
    }

    fn parse(text: &str) -> Option<Parent> {
        let mut parts = text.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let version: [u8; 1] = hexed(version)?;
        // A later version may say more; this one must not.
        if version == [0xff] || (version == [0] && parts.next().is_some()) {
            return None;
        }
        let (trace, span, flags): ([u8; 16], [u8; 8], [u8; 1]) = (hexed(trace)?, hexed(span)?, hexed(flags)?);
        let named = trace != [0; 16] && span != [0; 8];
        named.then_some(Parent { trace, span, sampled: flags[0] & 1 == 1, state: None })
    }
}

/// So many bytes in lower-case hexadecimal digits.
fn hexed<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let lower = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    (lower && hex::decode_to_slice(text, &mut bytes).is_ok()).then_some(bytes)
}

/// The trace that a call belongs to: the client's, or one of its own name.
pub fn trace_of(call: Id<Call>, parent: Option<&Parent>) -> [u8; 16] {
    parent.map_or_else(|| *call.uuid().as_bytes(), |parent| parent.trace)
}

/// The name of a call's nth span. Made from the call's own randomness: the same call has the same spans, and two calls in one trace
/// have different ones.
pub fn span_of(call: Id<Call>, nth: u64) -> [u8; 8] {
    let (high, low) = call.uuid().as_u64_pair();
    let mut mixed = mix(mix(high ^ low.rotate_left(32)) ^ low ^ nth.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    if mixed == 0 {
        mixed = 1; // the one name that is none
    }
    mixed.to_be_bytes()
}

/// Every bit of the outcome depends on every bit of the income (the finalizer of SplitMix64).
const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// What is sent to a provider as `traceparent`.
pub fn outgoing(trace: [u8; 16], span: [u8; 8], sampled: bool) -> Option<HeaderValue> {
    let text = format!("00-{}-{}-0{}", hex::encode(trace), hex::encode(span), u8::from(sampled));
    HeaderValue::from_str(&text).ok()
}

/// Which calls are kept before anything is known of them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampler {
    /// Of the 2^56 values that the random part of a name can have, those from here on.
    threshold: u64,
    /// A client's own decision counts.
    follow: bool,
}

impl Sampler {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a share of 2^56"
    )]
    pub fn new(ratio: f64, follow: bool) -> Sampler {
        let all = 1_u64 << 56;
        Sampler { threshold: all - ((all as f64 * ratio.clamp(0.0, 1.0)) as u64).min(all), follow }
    }

    pub fn keeps(&self, call: Id<Call>, parent: Option<&Parent>) -> bool {
        match parent {
            Some(parent) if self.follow => parent.sampled,
            _ => (call.uuid().as_u64_pair().1 & ((1 << 56) - 1)) >= self.threshold,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::Timestamp;
    use std::collections::HashSet;

    fn call(n: u64) -> Id<Call> {
        let mut random = [0; 10];
        random[2..].copy_from_slice(&mix(n.wrapping_add(1)).to_be_bytes());
        Id::new(Timestamp::from_micros(1_700_000_000_000_000), random)
    }

    #[test]
    fn a_traceparent_is_read_strictly() {
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        for (text, read) in [
            (format!("00-{trace}-{span}-01"), Some(true)),
            (format!("00-{trace}-{span}-00"), Some(false)),
            (format!("00-{trace}-{span}-03"), Some(true)),
            (format!("cc-{trace}-{span}-01-what-comes"), Some(true)),
            (format!("00-{trace}-{span}-01-more"), None),
            (format!("ff-{trace}-{span}-01"), None),
            (format!("00-{}-{span}-01", trace.to_uppercase()), None),
            (format!("00-{}-{span}-01", "0".repeat(32)), None),
            (format!("00-{trace}-{}-01", "0".repeat(16)), None),
            (format!("00-{trace}-{span}"), None),
            (format!("00-{trace}-{span}-1"), None),
            (String::new(), None),
        ] {
            let parent = Parent::parse(&text);
            assert_eq!(parent.as_ref().map(|it| it.sampled), read, "{text}");
            if let Some(parent) = parent {
                assert_eq!((hex::encode(parent.trace), hex::encode(parent.span)), (trace.into(), span.into()));
            }
        }
    }

    #[test]
    fn two_parents_are_none_and_a_long_state_is_left_behind() {
        let value = HeaderValue::from_static("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let mut headers = HeaderMap::new();
        headers.append("traceparent", value.clone());
        headers.append("tracestate", HeaderValue::from_static("vendor=1"));
        assert_eq!(Parent::read(&headers).and_then(|it| it.state), Some(HeaderValue::from_static("vendor=1")));
        headers.insert("tracestate", HeaderValue::from_str(&"x".repeat(513)).expect("a value"));
        assert_eq!(Parent::read(&headers).map(|it| it.state), Some(None));
        headers.append("traceparent", value);
        assert_eq!(Parent::read(&headers), None);
    }

    #[test]
    fn spans_of_one_trace_have_different_names() {
        let names: HashSet<[u8; 8]> = (0..1_000).flat_map(|n| (0..64).map(move |nth| span_of(call(n), nth))).collect();
        assert_eq!(names.len(), 64_000);
    }

    #[test]
    fn about_the_ratio_is_kept_and_always_the_same_calls() {
        for (ratio, least, most) in [(0.0, 0, 0), (0.1, 850, 1_150), (0.5, 4_800, 5_200), (1.0, 10_000, 10_000)] {
            let sampler = Sampler::new(ratio, false);
            let kept = (0..10_000).filter(|n| sampler.keeps(call(*n), None)).count();
            assert!((least..=most).contains(&kept), "{ratio}: {kept}");
            let less = Sampler::new(ratio / 2.0, false);
            assert!((0..10_000).all(|n| sampler.keeps(call(n), None) || !less.keeps(call(n), None)), "nested");
        }
    }

    #[test]
    fn a_client_decides_only_where_it_is_believed() {
        let parent = |sampled| Parent { trace: [0xff; 16], span: [1; 8], sampled, state: None };
        for (ratio, follow, sampled, kept) in
            [(0.0, false, true, false), (1.0, false, false, true), (0.0, true, true, true), (1.0, true, false, false)]
        {
            assert_eq!(
                Sampler::new(ratio, follow).keeps(call(7), Some(&parent(sampled))),
                kept,
                "{ratio} {follow} {sampled}"
            );
        }
    }
}
