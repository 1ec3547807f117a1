//! How often: buckets for keys and for addresses, the address behind the proxies, and the count of those turned away.
//! Everything here is a pure matter of what was asked and when; time is handed in.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, Ipv6Addr};
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ledger::{Id, Key, Org, Timestamp};

const MINUTE: Duration = Duration::from_secs(60);

/// Addresses remembered at once. Those beyond share one bucket.
const MOST_ADDRESSES: usize = 65_536;
/// Audit rows of one minute: for keys, and for addresses. What is beyond is counted together, so that nobody can fill
/// the log from outside, and strangers cannot crowd out the keys.
const MOST_KEY_ROWS: usize = 1_024;
const MOST_ADDRESS_ROWS: usize = 256;
/// Rows kept if nobody drains them.
const MOST_ROWS: usize = 16 * (MOST_KEY_ROWS + MOST_ADDRESS_ROWS);

/// What a limit has left, as the headers tell it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RateState {
    /// How many a minute.
    pub limit: u64,
    /// How many at once from now.
    pub remaining: u64,
    /// Until all of them are there again.
    pub reset: Duration,
}

/// Nothing left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// When the next one will pass.
    pub retry_after: Duration,
    /// What the headers of the refusal say.
    pub state: RateState,
}

/// Requests per minute, key by key. A key without a limit never gets here.
#[derive(Debug)]
pub struct KeyLimits(Mutex<Buckets<Id<Key>>>);

impl KeyLimits {
    /// Every bucket is full.
    pub fn new() -> KeyLimits {
        KeyLimits(Mutex::new(Buckets::new(usize::MAX)))
    }

    /// Draws one request from the key's bucket of `per_minute`.
    ///
    /// # Errors
    /// When the bucket is empty.
    pub fn admit(&self, key: Id<Key>, per_minute: u32, now: Timestamp) -> Result<RateState, Refused> {
        // There are no more buckets than valid keys, and the idle ones go: no bound of its own is needed.
        held(&self.0).draw(key, u64::from(per_minute), now)
    }
}

/// Tokens per minute, key by key. How many a call takes is known only at its end, so it is let in while anything is left,
/// and what it used is drawn afterwards, into debt if need be: the next call waits until the debt is paid by time.
#[derive(Debug)]
pub struct TokenLimits(Mutex<Buckets<Id<Key>>>);

impl TokenLimits {
    /// Every bucket is full.
    pub fn new() -> TokenLimits {
        TokenLimits(Mutex::new(Buckets::new(usize::MAX)))
    }

    /// Looks whether the key has a token left. Draws nothing.
    ///
    /// # Errors
    /// When the bucket of `per_minute` is empty.
    pub fn admit(&self, key: Id<Key>, per_minute: u64, now: Timestamp) -> Result<RateState, Refused> {
        let now = i128::from(now.micros()) * 1_000;
        let mut full_at = held(&self.0).full_at.get(&key).copied().unwrap_or(now);
        let debt = (full_at - now - minute()).max(0);
        full_at -= debt;
        match draw(&mut full_at, per_minute, now) {
            // The look itself takes nothing.
            Ok(state) => Ok(RateState { remaining: state.remaining.saturating_add(1), ..state }),
            Err(refused) => Err(Refused { retry_after: refused.retry_after + nanos(debt), ..refused }),
        }
    }

    /// Draws what a call has used.
    pub fn spend(&self, key: Id<Key>, per_minute: u64, tokens: u64, now: Timestamp) {
        let now = i128::from(now.micros()) * 1_000;
        let Some(one) = one_of(per_minute) else { return };
        let mut buckets = held(&self.0);
        if buckets.full_at.len() >= buckets.sweep_at {
            buckets.sweep(now);
        }
        let full_at = buckets.full_at.entry(key).or_insert(now);
        // A debt of an hour is as good as any larger one, and is paid by a restart of nobody's clock.
        *full_at = ((*full_at).max(now) + one.saturating_mul(i128::from(tokens))).min(now + 60 * minute());
    }
}

/// The time in which one comes back; of a limit beyond all measure, a nanosecond.
fn one_of(per_minute: u64) -> Option<i128> {
    minute().checked_div(i128::from(per_minute)).map(|one| one.max(1))
}

fn minute() -> i128 {
    i128::try_from(MINUTE.as_nanos()).unwrap_or(i128::MAX)
}

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
        held(&self.buckets)
            .draw(neighbourhood(address), u64::from(self.per_minute), now)
            .err()
            .map(|refused| refused.retry_after)
    }
}

// A bucket is whole at any moment: a panic elsewhere leaves nothing half done in it.
fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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

    fn draw(&mut self, whose: K, per_minute: u64, now: Timestamp) -> Result<RateState, Refused> {
        let now = i128::from(now.micros()) * 1_000;
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
        draw(full_at, per_minute, now)
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

/// Takes one from a bucket that holds `per_minute` and fills evenly within a minute.
fn draw(full_at: &mut i128, per_minute: u64, now: i128) -> Result<RateState, Refused> {
    let Some(one) = one_of(per_minute) else {
        let state = RateState { limit: 0, remaining: 0, reset: MINUTE };
        return Err(Refused { retry_after: MINUTE, state });
    };
    let size = one * i128::from(per_minute);
    // Never emptier than empty: a clock set back must not lock anybody out.
    let before = (*full_at).clamp(now, now + size);
    let after = before + one;
    let wait = after - size - now;
    if wait > 0 {
        let state = RateState { limit: per_minute, remaining: 0, reset: nanos(before - now) };
        return Err(Refused { retry_after: nanos(wait), state });
    }
    *full_at = after;
    let remaining = u64::try_from(-wait / one).unwrap_or(u64::MAX);
    Ok(RateState { limit: per_minute, remaining, reset: nanos(after - now) })
}

fn nanos(count: i128) -> Duration {
    Duration::from_nanos(u64::try_from(count).unwrap_or(0))
}

/// The part of an address that one subscriber has: all of IPv4, the first 64 bits of IPv6.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & (u128::MAX << 64))),
        v4 => v4,
    }
}

/// A network in CIDR form, as in `10.0.0.0/8`; an address alone is a network of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    first: IpAddr,
    prefix: u8,
}

/// The text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a network of the form 10.0.0.0/8 or 2001:db8::/32: {0}")]
pub struct NetworkError(String);

impl Network {
    /// Whether the address is one of the network's.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.first, address.to_canonical()) {
            (IpAddr::V4(first), IpAddr::V4(address)) => {
                (first.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(self.prefix)
            }
            (IpAddr::V6(first), IpAddr::V6(address)) => {
                (first.to_bits() ^ address.to_bits()).leading_zeros() >= u32::from(self.prefix)
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    fn from_str(text: &str) -> Result<Network, NetworkError> {
        let wrong = || NetworkError(text.to_owned());
        let (address, prefix) = text.split_once('/').map_or((text, None), |(address, prefix)| (address, Some(prefix)));
        let first: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if first.is_ipv4() { 32 } else { 128 };
        let prefix: u8 = match prefix {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => digits.parse().map_err(|_| wrong())?,
            Some(_) => return Err(wrong()),
            None => longest,
        };
        if prefix > longest {
            return Err(wrong());
        }
        // Addresses are compared in their shortest form, so IPv4 dressed as IPv6 is undressed here too.
        match first.to_canonical() {
            canonical if canonical.is_ipv4() == first.is_ipv4() => Ok(Network { first, prefix }),
            canonical if prefix >= 96 => Ok(Network { first: canonical, prefix: prefix - 96 }),
            _ => Err(wrong()),
        }
    }
}

/// Who is at the other end. `x-forwarded-for` is read from the right, and only as far as trusted proxies wrote it: what
/// stands further left was the client's to invent.
pub fn client_address(peer: IpAddr, x_forwarded_for: Option<&str>, trusted: &[Network]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(address));
    let mut client = peer.to_canonical();
    for hop in x_forwarded_for.unwrap_or_default().rsplit(',') {
        if !is_trusted(client) {
            break;
        }
        let Some(address) = hop_address(hop.trim()) else { break };
        client = address;
    }
    client
}

/// An address, perhaps with a port, perhaps in brackets.
fn hop_address(hop: &str) -> Option<IpAddr> {
    let bare = hop.strip_prefix('[').and_then(|rest| rest.split_once(']')).map_or(hop, |(bare, _)| bare);
    let with_port = || hop.parse::<std::net::SocketAddr>().map(|address| address.ip());
    bare.parse::<IpAddr>().or_else(|_| with_port()).ok().map(|address| address.to_canonical())
}

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

    #[test]
    fn a_key_has_its_minute_s_worth_at_once_and_then_one_at_a_time() {
        let limits = KeyLimits::new();
        let check = |seconds: f64, expected: Result<(u64, f64), f64>| {
            let answer = limits.admit(key(1), 3, at(seconds));
            let answer = answer.map(|s| (s.remaining, s.reset.as_secs_f64())).map_err(|r| r.retry_after.as_secs_f64());
            assert_eq!(answer, expected, "at {seconds}");
        };
        check(0.0, Ok((2, 20.0)));
        check(0.0, Ok((1, 40.0)));
        check(0.0, Ok((0, 60.0)));
        check(0.0, Err(20.0));
        check(5.0, Err(15.0));
        check(20.0, Ok((0, 60.0)));
        check(20.0, Err(20.0));
        check(1_000.0, Ok((2, 20.0)));
    }

    #[test]
    fn a_refusal_draws_nothing_and_tells_the_limit() {
        let limits = KeyLimits::new();
        assert!(limits.admit(key(1), 1, at(0.0)).is_ok());
        for _ in 0..100 {
            let refused = limits.admit(key(1), 1, at(30.0)).unwrap_err();
            assert_eq!(refused.retry_after, Duration::from_secs(30));
            assert_eq!(refused.state, RateState { limit: 1, remaining: 0, reset: Duration::from_secs(30) });
        }
        assert!(limits.admit(key(1), 1, at(60.0)).is_ok());
    }

    #[test]
    fn keys_do_not_share_and_limits_may_change_or_be_nothing_or_huge() {
        let limits = KeyLimits::new();
        assert!(limits.admit(key(1), 1, at(0.0)).is_ok());
        assert!(limits.admit(key(2), 1, at(0.0)).is_ok());
        assert!(limits.admit(key(1), 1, at(0.0)).is_err());
        assert!(limits.admit(key(1), 100, at(0.0)).is_err(), "what is drawn stays drawn");
        assert!(limits.admit(key(1), 100, at(1.0)).is_ok());
        assert!(limits.admit(key(3), 0, at(0.0)).is_err());
        assert_eq!(limits.admit(key(4), u32::MAX, at(0.0)).unwrap().remaining, u64::from(u32::MAX) - 1);
    }

    #[test]
    fn a_clock_set_back_locks_nobody_out_for_long() {
        let limits = KeyLimits::new();
        assert!(limits.admit(key(1), 1, at(86_400.0)).is_ok());
        assert_eq!(limits.admit(key(1), 1, at(0.0)).unwrap_err().retry_after, MINUTE);
    }

    #[test]
    fn idle_buckets_are_forgotten() {
        let limits = KeyLimits::new();
        for name in 0..10_000 {
            let seconds = f64::from(u32::try_from(name).unwrap());
            assert!(limits.admit(key(name), 60, at(seconds * 2.0)).is_ok());
        }
        assert!(held(&limits.0).full_at.len() <= FEWEST_SWEPT);
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

    #[test]
    fn networks_read_as_cidr_and_nothing_else() {
        let check = |network: &str, address: &str, inside: bool| {
            assert_eq!(network.parse::<Network>().unwrap().contains(ip(address)), inside, "{address} in {network}");
        };
        check("10.0.0.0/8", "10.255.0.1", true);
        check("10.0.0.0/8", "11.0.0.1", false);
        check("10.1.2.3/8", "10.9.9.9", true);
        check("10.0.0.0/8", "::ffff:10.0.0.1", true);
        check("::ffff:10.0.0.0/104", "10.0.0.1", true);
        check("192.0.2.1", "192.0.2.1", true);
        check("192.0.2.1", "192.0.2.2", false);
        check("0.0.0.0/0", "203.0.113.9", true);
        check("0.0.0.0/0", "2001:db8::1", false);
        check("2001:db8::/32", "2001:db8:ffff::1", true);
        check("2001:db8::/32", "2001:db9::1", false);
        check("::/0", "2001:db8::1", true);
        for wrong in [
            "",
            "10.0.0.0/33",
            "10.0.0/8",
            "::/129",
            "10.0.0.0/-1",
            "10.0.0.0/+8",
            "10.0.0.0/",
            "proxy",
            "::ffff:1.2.3.4/8",
        ] {
            assert!(wrong.parse::<Network>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_client_is_the_first_stranger_from_the_right() {
        let trusted: Vec<Network> = ["10.0.0.0/8", "fd00::/8"].iter().map(|text| text.parse().unwrap()).collect();
        let check = |peer: &str, forwarded: Option<&str>, expected: &str| {
            assert_eq!(client_address(ip(peer), forwarded, &trusted), ip(expected), "{peer} {forwarded:?}");
        };
        check("203.0.113.9", None, "203.0.113.9");
        check("203.0.113.9", Some("192.0.2.1"), "203.0.113.9");
        check("10.0.0.1", None, "10.0.0.1");
        check("10.0.0.1", Some("192.0.2.1"), "192.0.2.1");
        check("::ffff:10.0.0.1", Some("192.0.2.1"), "192.0.2.1");
        check("10.0.0.1", Some("198.51.100.7, 192.0.2.1"), "192.0.2.1");
        check("10.0.0.1", Some("198.51.100.7, 192.0.2.1 , 10.2.3.4"), "192.0.2.1");
        check("10.0.0.1", Some("10.9.9.9, fd00::1"), "10.9.9.9");
        check("10.0.0.1", Some("192.0.2.1:1234"), "192.0.2.1");
        check("fd00::2", Some("[2001:db8::1]:443"), "2001:db8::1");
        check("10.0.0.1", Some("2001:db8::1"), "2001:db8::1");
        check("10.0.0.1", Some("192.0.2.1, unknown"), "10.0.0.1");
        check("10.0.0.1", Some("192.0.2.1, unknown, 10.2.3.4"), "10.2.3.4");
        check("10.0.0.1", Some(",,"), "10.0.0.1");
        check("10.0.0.1", Some("192.0.2.1,"), "10.0.0.1");
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

    #[test]
    fn a_key_in_debt_of_tokens_waits_until_time_has_paid_it() {
        let limits = TokenLimits::new();
        let key = Id::from_uuid(uuid::Uuid::from_u128(1));
        let at = |seconds: i64| Timestamp::from_micros(1_700_000_000_000_000 + seconds * 1_000_000);
        let admit =
            |seconds| limits.admit(key, 600, at(seconds)).map(|s| s.remaining).map_err(|r| r.retry_after.as_millis());
        assert_eq!(admit(0), Ok(600), "untouched");
        limits.spend(key, 600, 200, at(0));
        assert_eq!(admit(0), Ok(400), "what was used is gone");
        assert_eq!(admit(10), Ok(500), "ten tokens a second come back");
        limits.spend(key, 600, 700, at(10));
        assert_eq!(admit(10), Err(20_100), "200 in debt, and one more is needed");
        assert_eq!(admit(31), Ok(10), "paid");
        assert!(limits.admit(key, u64::MAX, at(31)).is_ok(), "a limit beyond all measure is none");
        assert_eq!(limits.admit(key, 0, at(31)).map_err(|r| r.state.limit), Err(0), "nothing allowed at all");
        limits.spend(key, 600, u64::MAX, at(31));
        assert!(admit(31).is_err_and(|wait| wait <= 3_600_000), "a debt has its bound");
    }
}
