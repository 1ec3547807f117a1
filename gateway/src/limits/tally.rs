//! The count of those who were turned away, for one audit entry a minute and subject: nobody can fill the log from outside,
//! and no refusal goes uncounted.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use ledger::{Id, Key, Org, Timestamp};

use super::address::neighbourhood;

const MINUTE: Duration = Duration::from_secs(60);

/// Audit rows of one minute: for keys, and for addresses. What is beyond is counted together, so that nobody can fill
/// the log from outside, and strangers cannot crowd out the keys.
const MOST_KEY_ROWS: usize = 1_024;
const MOST_ADDRESS_ROWS: usize = 256;
/// Rows kept if nobody drains them.
const MOST_ROWS: usize = 16 * (MOST_KEY_ROWS + MOST_ADDRESS_ROWS);

/// Who was turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Subject {
    /// A key, with the organisation in whose log it belongs.
    Key(Id<Key>, Id<Org>),
    /// An address; of IPv6 the first 64 bits.
    Address(IpAddr),
    /// All those for whom there was no row of their own.
    Others,
}

/// So many refusals of one subject in one minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    /// Who.
    pub subject: Subject,
    /// The refusal's code.
    pub code: &'static str,
    /// The start of the minute.
    pub minute: Timestamp,
    /// How many.
    pub count: u64,
}

/// Counts refusals by authentication and rate limits, to be written down once a minute instead of one by one.
#[derive(Debug, Default)]
pub struct Tally {
    rows: BTreeMap<(Timestamp, Subject, &'static str), u64>,
    /// The latest minute counted in, with its rows for keys and for addresses.
    latest: (Timestamp, usize, usize),
}

impl Tally {
    /// Nothing counted yet.
    pub fn new() -> Tally {
        Tally::default()
    }

    /// Counts one refusal.
    pub fn count(&mut self, subject: Subject, code: &'static str, now: Timestamp) {
        let minute = start_of_minute(now);
        let subject = match subject {
            Subject::Address(address) => Subject::Address(neighbourhood(address)),
            known => known,
        };
        if let Some(count) = self.rows.get_mut(&(minute, subject, code)) {
            *count += 1;
            return;
        }
        // A minute that comes again, by a clock set back, goes on with the rows that the latest one has left.
        if minute > self.latest.0 || self.rows.is_empty() {
            self.latest = (minute, 0, 0);
        }
        let (_, keys, addresses) = &mut self.latest;
        let has_place = match subject {
            Subject::Key(..) => take(keys, MOST_KEY_ROWS),
            Subject::Address(_) => take(addresses, MOST_ADDRESS_ROWS),
            Subject::Others => true,
        };
        if self.rows.len() >= MOST_ROWS {
            // Nobody drains. No refusal goes uncounted, though its minute and code may be another's.
            if let Some(mut last) = self.rows.last_entry() {
                *last.get_mut() += 1;
            }
            return;
        }
        let subject = if has_place { subject } else { Subject::Others };
        *self.rows.entry((minute, subject, code)).or_default() += 1;
    }

    /// Takes out the minutes that are over.
    pub fn drain(&mut self, now: Timestamp) -> Vec<Counted> {
        let open = self.rows.split_off(&(start_of_minute(now), Subject::Key(ID_ZERO, ORG_ZERO), ""));
        rows(std::mem::replace(&mut self.rows, open))
    }

    /// Takes back what could not be written down, to be drained again.
    pub fn put_back(&mut self, counted: Vec<Counted>) {
        for Counted { subject, code, minute, count } in counted {
            *self.rows.entry((minute, subject, code)).or_default() += count;
        }
    }

    /// Takes out everything, for the last words before a shutdown.
    pub fn drain_all(&mut self) -> Vec<Counted> {
        rows(std::mem::take(&mut self.rows))
    }
}

/// The least subject there is: where a minute begins in the order of rows.
const ID_ZERO: Id<Key> = Id::from_uuid(uuid::Uuid::nil());
const ORG_ZERO: Id<Org> = Id::from_uuid(uuid::Uuid::nil());

fn rows(rows: BTreeMap<(Timestamp, Subject, &'static str), u64>) -> Vec<Counted> {
    rows.into_iter().map(|((minute, subject, code), count)| Counted { subject, code, minute, count }).collect()
}

fn take(used: &mut usize, most: usize) -> bool {
    let free = *used < most;
    *used += usize::from(free);
    free
}

fn start_of_minute(now: Timestamp) -> Timestamp {
    let minute = i64::try_from(MINUTE.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(now.micros().div_euclid(minute).saturating_mul(minute))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> Timestamp {
        Timestamp::from_micros(1_700_000_040_000_000).after(Duration::from_secs_f64(seconds))
    }

    fn key(name: u128) -> Id<Key> {
        Id::from_uuid(uuid::Uuid::from_u128(name))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn org() -> Id<Org> {
        Id::from_uuid(uuid::Uuid::from_u128(9))
    }

    #[test]
    fn refusals_are_counted_by_subject_code_and_minute() {
        let mut tally = Tally::new();
        let (app, stranger) = (Subject::Key(key(1), org()), Subject::Address(ip("192.0.2.1")));
        for seconds in [0.0, 1.0, 59.0] {
            tally.count(app, "rate_limit_exceeded", at(seconds));
        }
        tally.count(stranger, "invalid_api_key", at(1.0));
        tally.count(stranger, "rate_limit_exceeded", at(1.0));
        tally.count(app, "rate_limit_exceeded", at(60.0));
        tally.count(Subject::Address(ip("2001:db8::1")), "invalid_api_key", at(2.0));
        tally.count(Subject::Address(ip("2001:db8::2")), "invalid_api_key", at(2.0));
        assert_eq!(tally.drain(at(59.9)), []);
        let row = |subject, code, count| Counted { subject, code, minute: at(0.0), count };
        assert_eq!(
            tally.drain(at(60.0)),
            [
                row(app, "rate_limit_exceeded", 3),
                row(stranger, "invalid_api_key", 1),
                row(stranger, "rate_limit_exceeded", 1),
                row(Subject::Address(ip("2001:db8::")), "invalid_api_key", 2),
            ]
        );
        assert_eq!(tally.drain(at(60.0)), []);
        assert_eq!(tally.drain_all().iter().map(|row| (row.minute, row.count)).collect::<Vec<_>>(), [(at(60.0), 1)]);
    }

    #[test]
    fn nobody_fills_the_log_and_no_refusal_goes_uncounted() {
        let mut tally = Tally::new();
        for n in 0..100_000 {
            tally.count(Subject::Address(IpAddr::V4(std::net::Ipv4Addr::from_bits(n))), "invalid_api_key", at(0.0));
        }
        tally.count(Subject::Key(key(1), org()), "rate_limit_exceeded", at(0.0));
        let rows = tally.drain(at(60.0));
        assert_eq!(rows.len(), 1 + MOST_ADDRESS_ROWS + 1);
        assert_eq!(rows[0].subject, Subject::Key(key(1), org()), "strangers do not crowd out keys");
        assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 100_001);
        let others = rows.iter().find(|row| row.subject == Subject::Others).unwrap();
        assert_eq!(others.count, 100_000 - u64::try_from(MOST_ADDRESS_ROWS).unwrap());
    }

    #[test]
    fn a_tally_that_nobody_drains_stays_within_its_bound() {
        let mut tally = Tally::new();
        for minute in 0..40_000_u32 {
            tally.count(Subject::Key(key(1), org()), "rate_limit_exceeded", at(f64::from(minute) * 60.0));
        }
        let rows = tally.drain_all();
        assert!(rows.len() <= MOST_ROWS);
        assert_eq!(rows.iter().map(|row| row.count).sum::<u64>(), 40_000);
    }
}
