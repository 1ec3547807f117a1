//! Which targets are well: a breaker per target, fed with outcomes. Pure but for one lock; time is handed in as milliseconds of any
//! clock that does not run backwards.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::error::{Class, ProviderError};

const FAILURES_IN_A_ROW: u32 = 5;
const WINDOW: u32 = 20;
const FAILURES_IN_WINDOW: u32 = 10;
const FIRST_PAUSE_MS: u64 = 5_000;
const LONGEST_PAUSE_MS: u64 = 120_000;
/// A probe that nobody reported on is forgotten after this long.
const PROBE_MS: u64 = 70_000;

/// How an attempt went, as far as the target's health is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered; a refusal of this one request is an answer.
    Good,
    /// It did not.
    Failed,
    /// It asked to be left alone, perhaps for a time.
    Limited(Option<Duration>),
    /// Says nothing about the target: the client left, nothing was sent.
    Neutral,
}

impl From<&ProviderError> for Outcome {
    fn from(error: &ProviderError) -> Outcome {
        match error.class {
            Class::Rejected => Outcome::Good,
            Class::RateLimited => Outcome::Limited(error.retry_after),
            Class::Connect | Class::Timeout | Class::Server | Class::Misconfigured | Class::Broken => Outcome::Failed,
            Class::TooLarge | Class::Unsupported => Outcome::Neutral,
        }
    }
}

/// What a breaker says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BreakerState {
    /// Go on.
    Closed,
    /// Leave it alone until then.
    Open {
        /// Milliseconds of the caller's clock.
        until: u64,
    },
    /// The pause is over: one call may try.
    HalfOpen,
    /// One call is trying.
    Probing,
}

/// One target's breaker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Breaker {
    in_a_row: u32,
    /// The last outcomes, newest in the lowest bit; 1 is a failure.
    window: u32,
    seen: u32,
    open: Option<Open>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open {
    until: u64,
    pause: u64,
    probe: Option<u64>,
}

impl Breaker {
    /// What it says now.
    pub fn state(&self, now: u64) -> BreakerState {
        match self.open {
            None => BreakerState::Closed,
            Some(open) if now < open.until => BreakerState::Open { until: open.until },
            Some(Open { probe: Some(until), .. }) if now < until => BreakerState::Probing,
            Some(_) => BreakerState::HalfOpen,
        }
    }

    /// Asks to send. A half-open breaker lets one through.
    pub fn admit(&mut self, now: u64) -> bool {
        match (self.state(now), &mut self.open) {
            (BreakerState::Closed, _) => true,
            (BreakerState::HalfOpen, Some(open)) => {
                open.probe = Some(now.saturating_add(PROBE_MS));
                true
            }
            _ => false,
        }
    }

    /// Takes an outcome in.
    pub fn record(&mut self, outcome: Outcome, now: u64) {
        match outcome {
            Outcome::Neutral => {
                if let Some(open) = &mut self.open {
                    open.probe = None;
                }
            }
            Outcome::Good => {
                // A late answer to a call from before the break does not close it.
                if matches!(self.state(now), BreakerState::Open { .. }) {
                    return;
                }
                if self.open.is_some() {
                    *self = Breaker::default();
                }
                self.in_a_row = 0;
                self.note(0);
            }
            Outcome::Failed => self.fail(now, None),
            Outcome::Limited(wait) => self.fail(now, wait),
        }
    }

    fn fail(&mut self, now: u64, wait: Option<Duration>) {
        self.in_a_row = self.in_a_row.saturating_add(1);
        self.note(1);
        let asked = wait.map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX).min(LONGEST_PAUSE_MS));
        match self.open {
            // A late failure of a call from before the break.
            Some(open) if now < open.until => {
                let until = asked.map_or(open.until, |it| open.until.max(now.saturating_add(it)));
                self.open = Some(Open { until, ..open });
            }
            Some(open) => {
                let pause = (open.pause * 2).min(LONGEST_PAUSE_MS);
                self.open = Some(Open { until: now.saturating_add(asked.unwrap_or(0).max(pause)), pause, probe: None });
            }
            None => {
                let worn_out = self.in_a_row >= FAILURES_IN_A_ROW
                    || (self.seen >= WINDOW && self.window.count_ones() >= FAILURES_IN_WINDOW);
                let pause = match (asked, worn_out) {
                    (Some(asked), _) if asked > 0 => asked,
                    (_, true) => FIRST_PAUSE_MS,
                    _ => return,
                };
                self.open = Some(Open { until: now.saturating_add(pause), pause: FIRST_PAUSE_MS, probe: None });
            }
        }
    }

    fn note(&mut self, bit: u32) {
        self.window = (self.window << 1 | bit) & ((1 << WINDOW) - 1);
        self.seen = (self.seen + 1).min(WINDOW);
    }
}

/// The breakers of all targets, by name. Shared.
#[derive(Debug, Default)]
pub struct Health {
    breakers: Mutex<HashMap<String, Breaker>>,
}

/// What all breakers said at one moment.
#[derive(Debug, Clone, Default)]
pub struct HealthView {
    unwell: HashMap<String, BreakerState>,
}

impl Health {
    /// All well.
    pub fn new() -> Health {
        Health::default()
    }

    /// Takes the outcome of one attempt in.
    pub fn outcome(&self, target: &str, outcome: Outcome, now: u64) {
        let mut breakers = self.lock();
        if let Some(breaker) = breakers.get_mut(target) {
            breaker.record(outcome, now);
        } else if outcome != Outcome::Good {
            let mut breaker = Breaker::default();
            breaker.record(outcome, now);
            breakers.insert(target.to_owned(), breaker);
        }
    }

    /// Asks to send to a target that may be half open: of many callers, one is let through to probe.
    pub fn admit(&self, target: &str, now: u64) -> bool {
        self.lock().get_mut(target).is_none_or(|breaker| breaker.admit(now))
    }

    /// What all breakers say now.
    pub fn view(&self, now: u64) -> HealthView {
        let states = self.lock();
        let unwell = states.iter().map(|(name, it)| (name.clone(), it.state(now)));
        HealthView { unwell: unwell.filter(|(_, it)| *it != BreakerState::Closed).collect() }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Breaker>> {
        self.breakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl HealthView {
    /// What the breaker of this target said.
    pub fn state(&self, target: &str) -> BreakerState {
        self.unwell.get(target).copied().unwrap_or(BreakerState::Closed)
    }

    /// Nothing speaks against it.
    pub fn healthy(&self, target: &str) -> bool {
        self.state(target) == BreakerState::Closed
    }

    /// A view for tests and simulation.
    pub fn with(mut self, target: &str, state: BreakerState) -> HealthView {
        self.unwell.insert(target.to_owned(), state);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Step {
        At(u64, Outcome),
        Admits(u64, bool),
    }
    use Outcome::{Failed, Good, Limited, Neutral};
    use Step::{Admits, At};

    fn check(steps: &[Step], now: u64, expected: BreakerState) {
        let mut breaker = Breaker::default();
        for (i, step) in steps.iter().enumerate() {
            match step {
                At(now, outcome) => breaker.record(*outcome, *now),
                Admits(now, expected) => assert_eq!(breaker.admit(*now), *expected, "step {i}"),
            }
        }
        assert_eq!(breaker.state(now), expected);
    }

    fn failures(count: usize, at: u64) -> Vec<Step> {
        (0..count).map(|_| At(at, Failed)).collect()
    }

    fn then(mut a: Vec<Step>, b: Vec<Step>) -> Vec<Step> {
        a.extend(b);
        a
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_one_probe_closes_it() {
        check(&failures(4, 0), 0, BreakerState::Closed);
        check(&failures(5, 0), 0, BreakerState::Open { until: 5_000 });
        check(&failures(5, 0), 5_000, BreakerState::HalfOpen);
        check(&then(failures(4, 0), vec![At(1, Good), At(1, Failed)]), 1, BreakerState::Closed);
        check(
            &then(failures(5, 0), vec![Admits(4_999, false), Admits(5_000, true), Admits(5_001, false)]),
            5_001,
            BreakerState::Probing,
        );
        check(&then(failures(5, 0), vec![Admits(5_000, true), At(5_100, Good)]), 5_100, BreakerState::Closed);
        check(
            &then(failures(5, 0), vec![Admits(5_000, true), At(5_100, Failed)]),
            5_100,
            BreakerState::Open { until: 15_100 },
        );
        check(&then(failures(5, 0), vec![Admits(5_000, true), At(5_100, Neutral)]), 5_100, BreakerState::HalfOpen);
    }

    #[test]
    fn a_forgotten_probe_frees_the_way_for_another() {
        check(&then(failures(5, 0), vec![Admits(5_000, true)]), 75_000, BreakerState::HalfOpen);
    }

    #[test]
    fn late_answers_do_not_move_an_open_breaker() {
        check(&then(failures(5, 0), vec![At(10, Good), At(20, Failed)]), 20, BreakerState::Open { until: 5_000 });
    }

    #[test]
    fn half_of_twenty_failing_opens_it() {
        let steps = |n| (0..n).map(|i| At(0, if i % 2 == 0 { Good } else { Failed })).collect::<Vec<_>>();
        check(&steps(18), 0, BreakerState::Closed);
        check(&steps(20), 0, BreakerState::Open { until: 5_000 });
    }

    #[test]
    fn the_pause_grows_to_two_minutes() {
        let mut breaker = Breaker::default();
        let mut now = 0;
        (0..5).for_each(|_| breaker.record(Failed, now));
        for _ in 0..9 {
            let BreakerState::Open { until } = breaker.state(now) else { panic!("not open") };
            now = until;
            assert!(breaker.admit(now));
            breaker.record(Failed, now);
        }
        assert_eq!(breaker.state(now), BreakerState::Open { until: now + 120_000 });
    }

    #[test]
    fn a_provider_that_names_a_time_is_left_alone_that_long() {
        let limited = |seconds| Limited(Some(Duration::from_secs(seconds)));
        check(&[At(0, limited(7))], 0, BreakerState::Open { until: 7_000 });
        check(&[At(0, limited(9_999))], 0, BreakerState::Open { until: 120_000 });
        check(&[At(0, Limited(None))], 0, BreakerState::Closed);
        check(&[At(0, limited(0))], 0, BreakerState::Closed);
    }

    #[test]
    fn health_is_kept_by_target() {
        let health = Health::new();
        (0..5).for_each(|_| health.outcome("a/x", Failed, 0));
        assert!(!health.view(1).healthy("a/x") && health.view(1).healthy("b/x"));
        assert!(!health.admit("a/x", 1) && health.admit("b/x", 1));
        assert!(health.admit("a/x", 5_000) && !health.admit("a/x", 5_000));
    }
}
