//! The store of exact answers: a map, an order of use and an order of expiry, under one lock that is held for a few
//! comparisons. Time is handed in, which is why this is no crate's cache with a clock of its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ledger::Timestamp;

use super::{PartitionKey, Stored};

/// No single answer takes more than this part of the whole, nor more than this many bytes.
const LARGEST_PART: usize = 8;
const LARGEST: usize = 8 << 20;

#[derive(Debug)]
pub(super) struct Exact {
    max_bytes: usize,
    shelf: Mutex<Shelf>,
}

#[derive(Debug, Default)]
struct Shelf {
    entries: HashMap<Arc<PartitionKey>, Entry>,
    /// The longest unused first.
    by_use: BTreeMap<u64, Arc<PartitionKey>>,
    /// The next to expire first; the number is the entry's own.
    by_expiry: BTreeSet<(Timestamp, u64)>,
    bytes: usize,
    /// Counts uses: the larger, the later.
    uses: u64,
}

#[derive(Debug)]
struct Entry {
    stored: Arc<Stored>,
    bytes: usize,
    expires_at: Timestamp,
    used: u64,
}

impl Exact {
    pub(super) fn new(max_bytes: usize) -> Exact {
        Exact { max_bytes, shelf: Mutex::default() }
    }

    pub(super) fn find(&self, key: &PartitionKey, now: Timestamp) -> Option<Arc<Stored>> {
        let mut shelf = self.shelf();
        shelf.expire(now);
        let entry = shelf.take(key)?;
        let stored = Arc::clone(&entry.stored);
        shelf.put(Arc::new(key.clone()), entry);
        Some(stored)
    }

    pub(super) fn store(&self, key: PartitionKey, stored: Arc<Stored>, expires_at: Timestamp, now: Timestamp) {
        let bytes = key.weight() + stored.weight();
        if bytes > (self.max_bytes / LARGEST_PART).min(LARGEST) {
            return;
        }
        let mut shelf = self.shelf();
        shelf.expire(now);
        shelf.take(&key);
        while shelf.bytes + bytes > self.max_bytes && shelf.drop_oldest() {}
        shelf.put(Arc::new(key), Entry { stored, bytes, expires_at, used: 0 });
    }

    // The worst that a panic under this lock could leave is an entry that is never found again.
    fn shelf(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn put(&mut self, key: Arc<PartitionKey>, mut entry: Entry) {
        self.uses += 1;
        entry.used = self.uses;
        self.bytes += entry.bytes;
        self.by_use.insert(entry.used, Arc::clone(&key));
        self.by_expiry.insert((entry.expires_at, entry.used));
        self.entries.insert(key, entry);
    }

    fn take(&mut self, key: &PartitionKey) -> Option<Entry> {
        let entry = self.entries.remove(key)?;
        self.by_use.remove(&entry.used);
        self.by_expiry.remove(&(entry.expires_at, entry.used));
        self.bytes -= entry.bytes;
        Some(entry)
    }

    /// Drops whatever is over: text of prompts does not stay longer than it was allowed to.
    fn expire(&mut self, now: Timestamp) {
        while let Some(&(expires_at, used)) = self.by_expiry.first()
            && expires_at <= now
        {
            match self.by_use.get(&used).cloned() {
                Some(key) => drop(self.take(&key)),
                None => drop(self.by_expiry.pop_first()),
            }
        }
    }

    fn drop_oldest(&mut self) -> bool {
        let Some((_, key)) = self.by_use.first_key_value() else { return false };
        let key = Arc::clone(key);
        self.take(&key).is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use providers::{End, Usage};

    use super::*;

    const MAX: usize = 100_000;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(0).after(Duration::from_secs(seconds))
    }

    fn key(name: usize) -> PartitionKey {
        let mut request = [0; 32];
        request[..8].copy_from_slice(&name.to_be_bytes());
        PartitionKey::new("org", "policy", request)
    }

    fn answer(bytes: usize) -> Arc<Stored> {
        let end = End::new(None, |_, _| Bytes::new());
        let frames = vec![Bytes::from(vec![b'x'; bytes])];
        Arc::new(Stored {
            target: "sim/a".into(),
            stream: true,
            frames,
            end,
            counted: Usage::default(),
            price: None,
            content_type: None,
        })
    }

    fn consistent(exact: &Exact) {
        let shelf = exact.shelf();
        assert!(shelf.bytes <= exact.max_bytes);
        assert_eq!(shelf.bytes, shelf.entries.values().map(|entry| entry.bytes).sum::<usize>());
        assert_eq!(shelf.entries.len(), shelf.by_use.len());
        assert_eq!(shelf.entries.len(), shelf.by_expiry.len());
    }

    #[test]
    fn an_answer_lasts_until_its_time_is_over_and_is_then_dropped() {
        let exact = Exact::new(MAX);
        exact.store(key(1), answer(10), at(60), at(0));
        assert!(exact.find(&key(1), at(59)).is_some());
        assert!(exact.find(&key(2), at(60)).is_none());
        assert_eq!(exact.shelf().bytes, 0, "expired answers go even if nobody asks for them");
        assert!(exact.find(&key(1), at(60)).is_none());
        consistent(&exact);
    }

    #[test]
    fn the_longest_unused_makes_room() {
        let exact = Exact::new(MAX);
        let size = 9_000;
        for name in 0..10 {
            exact.store(key(name), answer(size), at(60), at(0));
        }
        assert!(exact.find(&key(0), at(1)).is_some());
        exact.store(key(10), answer(size), at(60), at(1));
        assert!(exact.find(&key(0), at(1)).is_some(), "used a moment ago");
        assert!(exact.find(&key(1), at(1)).is_none(), "unused for longest");
        consistent(&exact);
    }

    #[test]
    fn a_newer_answer_replaces_the_older_one() {
        let exact = Exact::new(MAX);
        exact.store(key(1), answer(10), at(60), at(0));
        exact.store(key(1), answer(20), at(90), at(0));
        assert_eq!(exact.find(&key(1), at(70)).unwrap().frames[0].len(), 20);
        consistent(&exact);
    }

    #[test]
    fn what_is_too_large_is_not_kept_and_pushes_nothing_out() {
        let exact = Exact::new(MAX);
        exact.store(key(1), answer(10), at(60), at(0));
        exact.store(key(2), answer(MAX / 2), at(60), at(0));
        assert!(exact.find(&key(2), at(0)).is_none());
        assert!(exact.find(&key(1), at(0)).is_some());
        let none = Exact::new(0);
        none.store(key(1), answer(0), at(60), at(0));
        assert!(none.find(&key(1), at(0)).is_none());
    }

    #[test]
    fn no_sequence_of_stores_and_finds_breaks_the_bound() {
        let exact = Exact::new(MAX);
        let mut random: usize = 7;
        for step in 0..20_000_u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let name = (random >> 33) % 50;
            let now = step / 10;
            if random & (1 << 40) == 0 {
                exact.store(
                    key(name),
                    answer((random >> 20) % 14_000),
                    at(now + 1 + u64::try_from(name).unwrap()),
                    at(now),
                );
            } else {
                exact.find(&key(name), at(now));
            }
            if step % 64 == 0 {
                consistent(&exact);
            }
        }
        consistent(&exact);
    }
}
