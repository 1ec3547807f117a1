//! Failed verifications of keys, address by address, in buckets of bounded number.
//! Time is handed in.

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ledger::Timestamp;

use super::address::neighbourhood;
use super::bucket::{Bucket, Refused, nanos, take};

/// Addresses remembered at once. Those beyond share one bucket.
const MOST_ADDRESSES: usize = 65_536;

/// Failed verifications of keys, address by address. Only a failure draws, so valid keys are never throttled.
#[derive(Debug)]
pub struct FailedVerifications {
    per_minute: u32,
    buckets: Mutex<Buckets<IpAddr>>,
}

impl FailedVerifications {
    /// Every address may fail so many times a minute.
    pub fn new(per_minute: u32) -> FailedVerifications {
        FailedVerifications { per_minute, buckets: Mutex::new(Buckets::new(MOST_ADDRESSES)) }
    }

    /// A verification from this address failed. Once its bucket is empty: how long until it may fail again.
    pub fn failed(&self, address: IpAddr, now: Timestamp) -> Option<Duration> {
        // A bucket is whole at any moment: a panic elsewhere leaves nothing half done in it.
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.draw(neighbourhood(address), u64::from(self.per_minute), now).err().map(|refused| refused.retry_after)
    }
}

/// Leaky buckets, each one number: when it will be full again (GCRA's theoretical arrival time), in nanoseconds.
#[derive(Debug)]
struct Buckets<K> {
    full_at: HashMap<K, i128>,
    /// For whoever finds no place.
    others: i128,
    most: usize,
    /// Full buckets are forgotten when there are so many, or when there is no place left.
    sweep_at: usize,
    swept: i128,
}

/// Fewer buckets than these are not worth a look.
const FEWEST_SWEPT: usize = 1_024;

impl<K: Eq + Hash> Buckets<K> {
    fn new(most: usize) -> Buckets<K> {
        Buckets { full_at: HashMap::new(), others: i128::MIN, most, sweep_at: FEWEST_SWEPT, swept: i128::MIN }
    }

    fn draw(&mut self, whose: K, per_minute: u64, now: Timestamp) -> Result<(), Refused> {
        let now = nanos(now);
        if self.full_at.len() >= self.sweep_at {
            self.sweep(now);
        }
        let has_place = self.full_at.len() < self.most || self.full_at.contains_key(&whose);
        let full_at = if has_place {
            self.full_at.entry(whose).or_insert(now)
        } else {
            // So many failing at once are one attack. They share a bucket, which refuses rather than forgets.
            &mut self.others
        };
        *full_at = take(*full_at, Bucket::of(per_minute), 1, now)?.0;
        Ok(())
    }

    /// A full bucket says nothing that a new one would not. At most once a second: under attack nothing may be idle.
    fn sweep(&mut self, now: i128) {
        if (now - 1_000_000_000..=now).contains(&self.swept) {
            return;
        }
        self.swept = now;
        self.full_at.retain(|_, full_at| *full_at > now);
        self.sweep_at = (self.full_at.len() * 2).max(FEWEST_SWEPT).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_micros(1_700_000_040_000_000).after(Duration::from_secs_f64(seconds))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn held(buckets: &Mutex<Buckets<IpAddr>>) -> std::sync::MutexGuard<'_, Buckets<IpAddr>> {
        buckets.lock().unwrap()
    }

    #[test]
    fn an_address_may_fail_so_often_and_no_other_pays_for_it() {
        let failed = FailedVerifications::new(60);
        let check = |address: &str, seconds: f64, free: bool| {
            assert_eq!(failed.failed(ip(address), at(seconds)).is_none(), free, "{address} at {seconds}");
        };
        for _ in 0..60 {
            check("192.0.2.1", 0.0, true);
            check("2001:db8::1", 0.0, true);
        }
        check("192.0.2.1", 0.0, false);
        check("::ffff:192.0.2.1", 0.0, false);
        check("192.0.2.2", 0.0, true);
        check("2001:db8::ffff:ffff:ffff:ffff", 0.0, false);
        check("2001:db8:0:1::1", 0.0, true);
        check("192.0.2.1", 1.0, true);
        assert_eq!(failed.failed(ip("192.0.2.1"), at(1.0)), Some(Duration::from_secs(1)));
    }

    #[test]
    fn more_addresses_than_there_are_places_share_one_bucket_until_some_are_idle() {
        let failed = FailedVerifications::new(2);
        let address = |n: u32| IpAddr::V4(std::net::Ipv4Addr::from_bits(n));
        for n in 0..u32::try_from(MOST_ADDRESSES).unwrap() {
            assert_eq!(failed.failed(address(n), at(0.0)), None);
        }
        assert_eq!(failed.failed(address(1 << 30), at(0.0)), None);
        assert_eq!(failed.failed(address(2 << 30), at(0.0)), None);
        assert_eq!(failed.failed(address(3 << 30), at(0.0)), Some(Duration::from_secs(30)), "the shared one is empty");
        assert_eq!(failed.failed(address(7), at(0.0)), None, "who has a place keeps it");
        assert!(held(&failed.buckets).full_at.len() <= MOST_ADDRESSES);
        assert_eq!(failed.failed(address(3 << 30), at(61.0)), None);
        assert_eq!(held(&failed.buckets).full_at.len(), 1, "all the others are idle by now");
    }
}
