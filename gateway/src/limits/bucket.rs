//! A bucket as one number: when it will be full again (GCRA's theoretical arrival time), in nanoseconds.
//! Pure: what was asked, of which limit, and when. The script of the shared store decides alike.

use std::time::Duration;

use ledger::Timestamp;

const MINUTE: i128 = 60_000_000_000;
/// A debt of an hour is as good as any larger one.
const DEEPEST: i128 = 60 * MINUTE;

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

/// Not so much left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refused {
    /// When as much will be there.
    pub retry_after: Duration,
    /// What the headers of the refusal say.
    pub state: RateState,
}

/// How much a bucket holds, and how far it may be overdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    pub per_minute: u64,
    /// Of what is known only at its end more may be drawn than there is; the next wait until time has paid it.
    pub owes: bool,
}

impl Bucket {
    /// Never overdrawn.
    pub fn of(per_minute: u64) -> Bucket {
        Bucket { per_minute, owes: false }
    }

    /// Overdrawn by what was used beyond what was expected.
    pub fn owing(per_minute: u64) -> Bucket {
        Bucket { per_minute, owes: true }
    }

    /// The time in which one comes back; of a limit beyond all measure, a nanosecond.
    fn one(self) -> i128 {
        MINUTE.checked_div(i128::from(self.per_minute)).map_or(MINUTE, |one| one.max(1))
    }

    fn size(self) -> i128 {
        self.one() * i128::from(self.per_minute)
    }

    /// Never emptier than it can be: a clock set back must not lock anybody out.
    fn within(self, full_at: i128, now: i128) -> i128 {
        full_at.clamp(now, now + if self.owes { DEEPEST } else { self.size() })
    }

    fn state(self, full_at: i128, now: i128) -> RateState {
        let left = (self.size() - (full_at - now)).max(0) / self.one();
        RateState {
            limit: self.per_minute,
            remaining: u64::try_from(left).unwrap_or(u64::MAX),
            reset: duration(full_at - now),
        }
    }
}

/// A moment as buckets count.
pub fn nanos(at: Timestamp) -> i128 {
    i128::from(at.micros()) * 1_000
}

/// What the bucket looks like when `cost` is taken from it, and when it is full then. A cost above the whole bucket passes when the
/// bucket is full.
///
/// # Errors
/// When there is not so much.
pub fn take(full_at: i128, bucket: Bucket, cost: u64, now: i128) -> Result<(i128, RateState), Refused> {
    let (one, before) = (bucket.one(), bucket.within(full_at, now));
    let needed = one * i128::from(cost.min(bucket.per_minute));
    let wait = before + needed - bucket.size() - now;
    if bucket.per_minute == 0 || wait > 0 {
        let wait = if bucket.per_minute == 0 { MINUTE } else { wait };
        return Err(Refused { retry_after: duration(wait), state: bucket.state(before, now) });
    }
    let after = bucket.within(before + one.saturating_mul(i128::from(cost)), now);
    Ok((after, bucket.state(after, now)))
}

/// Takes `cost` whether or not it is there: it was used already.
pub fn force(full_at: i128, bucket: Bucket, cost: u64, now: i128) -> i128 {
    let before = bucket.within(full_at, now);
    bucket.within(before + bucket.one().saturating_mul(i128::from(cost)), now)
}

/// Gives back what was taken and not used.
pub fn give_back(full_at: i128, bucket: Bucket, cost: u64) -> i128 {
    full_at - bucket.one().saturating_mul(i128::from(cost))
}

fn duration(nanos: i128) -> Duration {
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i128 = 1_000_000_000;
    const NOW: i128 = 1_700_000_000 * SECOND;

    #[test]
    fn a_bucket_has_its_minute_s_worth_at_once_and_then_one_at_a_time() {
        let mut full_at = 0;
        for (seconds, expected) in [
            (0, Ok((2, 20_000))),
            (0, Ok((1, 40_000))),
            (0, Ok((0, 60_000))),
            (0, Err(20_000)),
            (5, Err(15_000)),
            (20, Ok((0, 60_000))),
            (20, Err(20_000)),
            (1_000, Ok((2, 20_000))),
        ] {
            let taken = take(full_at, Bucket::of(3), 1, NOW + seconds * SECOND);
            let told = taken.map(|(_, state)| (state.remaining, state.reset.as_millis()));
            assert_eq!(told.map_err(|refused| refused.retry_after.as_millis()), expected, "at {seconds}");
            full_at = taken.map_or(full_at, |(after, _)| after);
        }
    }

    #[test]
    fn what_was_expected_is_taken_and_what_was_used_is_what_stays_taken() {
        let tokens = Bucket::owing(600);
        let (full_at, state) = take(0, tokens, 500, NOW).expect("a full bucket");
        assert_eq!(state.remaining, 100);
        assert_eq!(
            take(full_at, tokens, 101, NOW).map_err(|it| it.retry_after.as_millis()),
            Err(100),
            "a tenth of a second"
        );
        let given = give_back(full_at, tokens, 200);
        assert_eq!(take(given, tokens, 300, NOW).map(|(_, state)| state.remaining), Ok(0), "300 were used");
        let owed = force(full_at, tokens, 700, NOW);
        assert_eq!(take(owed, tokens, 1, NOW).map_err(|it| it.retry_after.as_millis()), Err(60_100), "600 are owed");
        assert_eq!(
            take(owed, tokens, 1, NOW + 61 * SECOND).map(|(_, state)| state.remaining),
            Ok(9),
            "time has paid it"
        );
        let deepest = force(full_at, tokens, u64::MAX, NOW);
        assert!(
            take(deepest, tokens, 1, NOW).is_err_and(|it| it.retry_after.as_secs() <= 3_600),
            "a debt has its bound"
        );
    }

    #[test]
    fn a_call_larger_than_the_limit_passes_when_nothing_else_does_and_pays_for_it() {
        let tokens = Bucket::owing(100);
        let (full_at, state) = take(0, tokens, 300, NOW).expect("a full bucket");
        assert_eq!((state.remaining, state.reset.as_secs()), (0, 180));
        assert!(take(full_at, tokens, 1, NOW + 120 * SECOND).is_err());
        assert!(take(0, tokens, 1, NOW).is_ok_and(|(full_at, _)| take(full_at, tokens, 300, NOW).is_err()));
    }

    #[test]
    fn limits_may_be_nothing_or_huge_and_a_clock_set_back_locks_nobody_out_for_long() {
        assert_eq!(take(0, Bucket::of(0), 1, NOW).map_err(|it| it.retry_after.as_secs()), Err(60));
        assert_eq!(take(0, Bucket::of(u64::MAX), 1, NOW).map(|(_, it)| it.remaining), Ok(u64::MAX - 1));
        let tomorrow = NOW + 86_400 * SECOND;
        assert_eq!(take(tomorrow, Bucket::of(1), 1, NOW).map_err(|it| it.retry_after.as_secs()), Err(60));
    }
}
