//! Answers that policy lets us give again. In memory only and within a bound of bytes; never across organisations, and
//! never across revisions of policy.

mod exact;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use ledger::{Money, Timestamp};
use providers::{End, Usage};

use exact::Exact;

/// Whose answer to what: everything that has to be the same for one answer to serve twice.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PartitionKey {
    org: String,
    policy: String,
    request: [u8; 32],
}

impl PartitionKey {
    /// `request` is the digest of the request as it may leave, in canonical form, together with what shapes its answer:
    /// the caller's dialect, whether it is streamed, whether usage is wanted, the plan of targets.
    pub fn new(org: impl Into<String>, policy: impl Into<String>, request: [u8; 32]) -> PartitionKey {
        PartitionKey { org: org.into(), policy: policy.into(), request }
    }

    fn weight(&self) -> usize {
        self.org.len() + self.policy.len() + self.request.len()
    }
}

/// A whole answer in the caller's shape. It takes an `End` to make one, and only an answer that ended well has one: what
/// broke off cannot be stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Who gave it, as in `openai/gpt-4o`.
    pub target: String,
    /// Whether it is a stream; the key knows too, so a stream is replayed as a stream.
    pub stream: bool,
    /// The events of a stream as they went to the first client, without the closing ones. Empty for a JSON body.
    pub frames: Vec<Bytes>,
    /// Writes what closes a stream, or the whole JSON body.
    pub end: End,
    /// What was counted, for want of the provider's own usage.
    pub counted: Usage,
    /// What the first client was charged, if it was known.
    pub price: Option<Money>,
    /// What it is, where it is neither JSON nor an event stream.
    pub content_type: Option<String>,
}

/// What an entry takes beside its bytes: maps, pointers, lists. Rather too much than too little.
const OVERHEAD: usize = 512;

impl Stored {
    /// About how much memory it takes.
    pub fn weight(&self) -> usize {
        let frames: usize = self.frames.iter().map(|frame| frame.len() + size_of::<Bytes>()).sum();
        // The end keeps what it writes; it cannot be asked for its size, only for its words.
        OVERHEAD + self.target.len() + frames + self.end.closing(None, Some(&self.counted)).len()
    }

    /// The same with all frames in one piece of memory: as they came they may hold on to far larger read buffers.
    fn compact(&self) -> Stored {
        let mut all = BytesMut::with_capacity(self.frames.iter().map(Bytes::len).sum());
        self.frames.iter().for_each(|frame| all.extend_from_slice(frame));
        let mut all = all.freeze();
        let frames = self.frames.iter().map(|frame| all.split_to(frame.len())).collect();
        Stored { frames, ..self.clone() }
    }
}

/// The cache of one process.
#[derive(Debug)]
pub struct Cache {
    exact: Exact,
}

impl Cache {
    /// Keeps at most `max_bytes` in all; 0 keeps nothing.
    pub fn new(max_bytes: u64) -> Cache {
        Cache { exact: Exact::new(usize::try_from(max_bytes).unwrap_or(usize::MAX)) }
    }

    /// The answer to the very same request, if it is still good.
    pub fn find(&self, key: &PartitionKey, now: Timestamp) -> Option<Arc<Stored>> {
        self.exact.find(key, now)
    }

    /// Keeps an answer for `ttl`. One that is too large is not kept, and the longest unused make room.
    pub fn store(&self, key: PartitionKey, stored: Arc<Stored>, ttl: Duration, now: Timestamp) {
        if !ttl.is_zero() {
            self.exact.store(key, Arc::new(stored.compact()), now.after(ttl), now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compacting_keeps_every_frame_and_lets_go_of_larger_buffers() {
        let buffer = Bytes::from(vec![b'x'; 100_000]);
        let frames: Vec<Bytes> = vec![buffer.slice(0..10), Bytes::new(), buffer.slice(500..530)];
        let end = End::new(None, |_, _| Bytes::from_static(b"data: [DONE]\n\n"));
        let stored = Stored {
            target: "sim/a".into(),
            stream: true,
            frames,
            end,
            counted: Usage::default(),
            price: None,
            content_type: None,
        };
        let compact = stored.compact();
        assert_eq!(compact.frames, stored.frames);
        assert_eq!(compact.weight(), stored.weight());
        drop(stored);
        assert!(buffer.is_unique(), "nobody else holds the read buffer any more");
    }

    #[test]
    fn an_answer_is_given_again_to_the_same_organisation_under_the_same_policy_only() {
        let cache = Cache::new(1 << 20);
        let now = Timestamp::from_micros(1);
        let end = End::new(Some("stop".into()), |_, _| Bytes::from_static(b"{}"));
        let stored = Stored {
            target: "sim/a".into(),
            stream: false,
            frames: vec![],
            end,
            counted: Usage::default(),
            price: None,
            content_type: None,
        };
        let ttl = Duration::from_secs(60);
        cache.store(PartitionKey::new("org_a", "p1", [1; 32]), Arc::new(stored), ttl, now);
        let check = |org: &str, policy: &str, request: u8, hit: bool| {
            assert_eq!(cache.find(&PartitionKey::new(org, policy, [request; 32]), now).is_some(), hit);
        };
        check("org_a", "p1", 1, true);
        check("org_b", "p1", 1, false);
        check("org_a", "p2", 1, false);
        check("org_a", "p1", 2, false);
        let found = cache.find(&PartitionKey::new("org_a", "p1", [1; 32]), now).unwrap();
        assert_eq!(found.end.closing(None, None), "{}");
        assert_eq!(found.end.finish_reason(), Some("stop"));
    }
}
