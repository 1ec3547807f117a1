//! One target's breaker: errors, calls for a pause and slow answers open it, a probe closes it. Pure; time is handed in.

use std::time::Duration;

use crate::error::{Class, ProviderError, Retry};

const FAILURES_IN_A_ROW: u32 = 5;
const WINDOW: u32 = 20;
const FAILURES_IN_WINDOW: u32 = 10;
const SLOW_IN_WINDOW: u32 = 10;
const FIRST_PAUSE_MS: u64 = 5_000;
const LONGEST_PAUSE_MS: u64 = 120_000;
/// A probe that nobody reported on is forgotten after this long.
const PROBE_MS: u64 = 70_000;

/// How an attempt went, as far as the target's health is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It answered; a refusal of this one request is an answer.
    Good,
    /// It answered, but later than it is expected to.
    Slow,
    /// It did not.
    Failed,
    /// It asked to be left alone, perhaps for a time.
    Limited(Option<Duration>),
    /// Says nothing about the target: the client left, nothing was sent, one of several keys was refused.
    Neutral,
}

impl From<&ProviderError> for Outcome {
    fn from(error: &ProviderError) -> Outcome {
        if error.retry == Retry::NextKey {
            return Outcome::Neutral;
        }
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

/// What a call was let through as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// One of many.
    Free,
    /// The one that finds out whether the target is well again.
    Probe,
}

/// One target's breaker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Breaker {
    in_a_row: u32,
    /// The last outcomes, newest in the lowest bit; 1 is a failure.
    window: u32,
    /// The same for answers; 1 is a slow one.
    slow: u32,
    seen: u32,
    answered: u32,
    open: Option<Open>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Open {
    until: u64,
    pause: u64,
    probe: Option<u64>,
    /// The target itself asked for this pause: it is kept to the end.
    asked: bool,
}

impl Breaker {
    /// What it says now.
    pub fn state(&self, now: u64) -> BreakerState {
        match self.open {
            None => BreakerState::Closed,
            Some(open) if now < open.until => BreakerState::Open { until: open.until },
            Some(open) if open.is_probed(now) => BreakerState::Probing,
            Some(_) => BreakerState::HalfOpen,
        }
    }

    /// Asks to send. A half-open breaker lets one through.
    pub fn admit(&mut self, now: u64) -> Option<Pass> {
        match (self.state(now), &mut self.open) {
            (BreakerState::HalfOpen, Some(open)) => Some(open.probed_from(now)),
            (BreakerState::Closed, _) => Some(Pass::Free),
            _ => None,
        }
    }

    /// Asks to send although it may not be well, because nobody else is left: one call at a time may, but not into a pause that the
    /// target itself has asked for.
    pub fn last_hope(&mut self, now: u64) -> Option<Pass> {
        match &mut self.open {
            Some(open) if (open.asked && now < open.until) || open.is_probed(now) => None,
            Some(open) => Some(open.probed_from(now)),
            None => Some(Pass::Free),
        }
    }

    /// Takes an outcome in.
    pub fn record(&mut self, outcome: Outcome, pass: Pass, now: u64) {
        // Who was not let through as a probe may still report as one where no other is under way.
        let probes = pass == Pass::Probe || self.state(now) == BreakerState::HalfOpen;
        match outcome {
            Outcome::Neutral => {
                if let (Some(open), Pass::Probe) = (&mut self.open, pass) {
                    open.probe = None;
                }
            }
            // A late answer to a call from before the break does not close it.
            Outcome::Good if self.open.is_some() && !probes => {}
            Outcome::Good => {
                if self.open.is_some() {
                    *self = Breaker::default();
                }
                self.in_a_row = 0;
                self.note(0);
                self.pace(0);
            }
            Outcome::Slow if self.open.is_some() && !probes => {}
            Outcome::Slow => {
                self.in_a_row = 0;
                self.note(0);
                self.pace(1);
                match self.open {
                    Some(_) => self.fail(now, None, true),
                    None if self.answered >= WINDOW && self.slow.count_ones() >= SLOW_IN_WINDOW => {
                        self.open(now, FIRST_PAUSE_MS, FIRST_PAUSE_MS, false);
                    }
                    None => {}
                }
            }
            Outcome::Failed => {
                self.note(1);
                self.fail(now, None, probes);
            }
            Outcome::Limited(wait) => {
                self.note(1);
                self.fail(now, wait, probes);
            }
        }
    }

    fn fail(&mut self, now: u64, wait: Option<Duration>, probes: bool) {
        self.in_a_row = self.in_a_row.saturating_add(1);
        let wait = wait.map(|it| u64::try_from(it.as_millis()).unwrap_or(u64::MAX).min(LONGEST_PAUSE_MS));
        let asked = wait.filter(|it| *it > 0);
        match self.open {
            // A late failure of a call from before the break.
            Some(open) if !probes => {
                let until = asked.map_or(open.until, |it| open.until.max(now.saturating_add(it)));
                self.open = Some(Open { until, asked: open.asked || asked.is_some(), ..open });
            }
            // The last hope of somebody, in the midst of a pause: that pause stands.
            Some(open) if now < open.until && asked.is_none() => self.open = Some(Open { probe: None, ..open }),
            Some(open) => {
                let pause = (open.pause * 2).min(LONGEST_PAUSE_MS);
                self.open(now, asked.unwrap_or(0).max(pause), pause, asked.is_some());
            }
            None => {
                let worn_out = self.in_a_row >= FAILURES_IN_A_ROW
                    || (self.seen >= WINDOW && self.window.count_ones() >= FAILURES_IN_WINDOW);
                match (asked, worn_out) {
                    (Some(asked), _) => self.open(now, asked, FIRST_PAUSE_MS, true),
                    (None, true) => self.open(now, FIRST_PAUSE_MS, FIRST_PAUSE_MS, false),
                    (None, false) => {}
                }
            }
        }
    }

    fn open(&mut self, now: u64, wait: u64, pause: u64, asked: bool) {
        self.open = Some(Open { until: now.saturating_add(wait), pause, probe: None, asked });
    }

    fn note(&mut self, bit: u32) {
        self.window = (self.window << 1 | bit) & ((1 << WINDOW) - 1);
        self.seen = (self.seen + 1).min(WINDOW);
    }

    fn pace(&mut self, bit: u32) {
        self.slow = (self.slow << 1 | bit) & ((1 << WINDOW) - 1);
        self.answered = (self.answered + 1).min(WINDOW);
    }
}

impl Open {
    fn is_probed(&self, now: u64) -> bool {
        self.probe.is_some_and(|until| now < until)
    }

    fn probed_from(&mut self, now: u64) -> Pass {
        self.probe = Some(now.saturating_add(PROBE_MS));
        Pass::Probe
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    enum Step {
        /// A call that was let through as one of many.
        At(u64, Outcome),
        /// The probe's own report.
        Probe(u64, Outcome),
        Admits(u64, bool),
        LastHope(u64, bool),
    }
    use Outcome::{Failed, Good, Limited, Neutral, Slow};
    use Step::{Admits, At, LastHope, Probe};

    fn check(steps: &[Step], now: u64, expected: BreakerState) {
        let mut breaker = Breaker::default();
        for (i, step) in steps.iter().enumerate() {
            match step {
                At(now, outcome) => breaker.record(*outcome, Pass::Free, *now),
                Probe(now, outcome) => breaker.record(*outcome, Pass::Probe, *now),
                Admits(now, expected) => assert_eq!(breaker.admit(*now).is_some(), *expected, "step {i}"),
                LastHope(now, expected) => assert_eq!(breaker.last_hope(*now).is_some(), *expected, "step {i}"),
            }
        }
        assert_eq!(breaker.state(now), expected);
    }

    fn times(count: usize, at: u64, outcome: Outcome) -> Vec<Step> {
        (0..count).map(|_| At(at, outcome)).collect()
    }

    fn failures(count: usize, at: u64) -> Vec<Step> {
        times(count, at, Failed)
    }

    fn then(mut a: Vec<Step>, b: Vec<Step>) -> Vec<Step> {
        a.extend(b);
        a
    }

    #[test]
    fn five_failures_in_a_row_open_it_and_one_probe_closes_it() {
        let probed = |more| then(failures(5, 0), then(vec![Admits(5_000, true)], more));
        check(&failures(4, 0), 0, BreakerState::Closed);
        check(&failures(5, 0), 0, BreakerState::Open { until: 5_000 });
        check(&failures(5, 0), 5_000, BreakerState::HalfOpen);
        check(&then(failures(4, 0), vec![At(1, Good), At(1, Failed)]), 1, BreakerState::Closed);
        check(&then(vec![], failures(5, 0)), 4_999, BreakerState::Open { until: 5_000 });
        check(&probed(vec![Admits(5_001, false)]), 5_001, BreakerState::Probing);
        check(&probed(vec![Probe(5_100, Good)]), 5_100, BreakerState::Closed);
        check(&probed(vec![Probe(5_100, Failed)]), 5_100, BreakerState::Open { until: 15_100 });
        check(&probed(vec![Probe(5_100, Neutral)]), 5_100, BreakerState::HalfOpen);
    }

    #[test]
    fn a_forgotten_probe_frees_the_way_for_another() {
        check(&then(failures(5, 0), vec![Admits(5_000, true)]), 75_000, BreakerState::HalfOpen);
    }

    #[test]
    fn late_answers_do_not_move_an_open_breaker_nor_speak_for_its_probe() {
        check(&then(failures(5, 0), vec![At(10, Good), At(20, Failed)]), 20, BreakerState::Open { until: 5_000 });
        let probed = |late| then(failures(5, 0), vec![Admits(5_000, true), At(5_001, late), Admits(5_002, false)]);
        for late in [Good, Slow, Failed, Neutral] {
            check(&probed(late), 5_002, BreakerState::Probing);
        }
    }

    #[test]
    fn the_last_hope_of_a_call_goes_through_one_at_a_time_but_not_into_a_pause_that_was_asked_for() {
        let hopes = vec![LastHope(10, true), LastHope(20, false), Probe(30, Failed), LastHope(40, true)];
        check(&then(failures(5, 0), hopes), 40, BreakerState::Open { until: 5_000 });
        let well = vec![LastHope(10, true), Probe(20, Good)];
        check(&then(failures(5, 0), well), 20, BreakerState::Closed);
        let asked = vec![At(0, Limited(Some(Duration::from_secs(7)))), LastHope(10, false), LastHope(7_000, true)];
        check(&asked, 7_000, BreakerState::Probing);
    }

    #[test]
    fn half_of_twenty_failing_opens_it() {
        let steps = |n| (0..n).map(|i| At(0, if i % 2 == 0 { Good } else { Failed })).collect::<Vec<_>>();
        check(&steps(18), 0, BreakerState::Closed);
        check(&steps(20), 0, BreakerState::Open { until: 5_000 });
    }

    #[test]
    fn half_of_twenty_answers_slow_opens_it_and_a_slow_probe_keeps_it_open() {
        let steps = |n| (0..n).map(|i| At(0, if i % 2 == 0 { Good } else { Slow })).collect::<Vec<_>>();
        check(&steps(18), 0, BreakerState::Closed);
        check(&steps(20), 0, BreakerState::Open { until: 5_000 });
        check(&times(19, 0, Slow), 0, BreakerState::Closed);
        let probed = |outcome| then(steps(20), vec![Admits(5_000, true), Probe(5_100, outcome)]);
        check(&probed(Slow), 5_100, BreakerState::Open { until: 15_100 });
        check(&probed(Good), 5_100, BreakerState::Closed);
    }

    #[test]
    fn the_pause_grows_to_two_minutes() {
        let mut breaker = Breaker::default();
        let mut now = 0;
        (0..5).for_each(|_| breaker.record(Failed, Pass::Free, now));
        for _ in 0..9 {
            let BreakerState::Open { until } = breaker.state(now) else { panic!("not open") };
            now = until;
            assert_eq!(breaker.admit(now), Some(Pass::Probe));
            breaker.record(Failed, Pass::Probe, now);
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
        check(&times(5, 0, Limited(None)), 0, BreakerState::Open { until: 5_000 });
    }
}
