//! What is known of the targets while the house runs: a breaker, the load, and the budget for asking again, each by target.
//! Pure but for its locks; time is handed in as milliseconds of any clock that does not run backwards.

mod breaker;
mod budget;
mod load;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

pub use breaker::{Breaker, BreakerState, Outcome, Pass};
pub use budget::Budget;
pub use load::Load;

/// Names come from the configuration, but also from callers who ask for `provider/anything`: this many are remembered.
const MOST_TARGETS: usize = 4_096;

/// Targets by name.
type Known = RwLock<HashMap<String, Arc<Vitals>>>;

/// All targets, by name. Shared.
#[derive(Debug, Default)]
pub struct Health {
    targets: Arc<Known>,
}

#[derive(Debug)]
struct Vitals {
    in_flight: AtomicU32,
    signs: Mutex<Signs>,
}

#[derive(Debug)]
struct Signs {
    breaker: Breaker,
    load: Load,
    again: Budget,
    hedges: Budget,
    asked_at: u64,
}

/// As what a call knocks at a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Knock {
    /// For the first time. What may be asked again besides is so much of a hundred such.
    First {
        /// Percent.
        percent: u32,
    },
    /// Once more, which was paid for with [`Health::again`].
    Again,
}

/// One target as a plan sees it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sight {
    /// What its breaker says.
    pub state: BreakerState,
    /// What one more call would meet there.
    pub pressure: f64,
    /// About how long its first content takes, in microseconds; nothing where it was never asked.
    pub latency: Option<f64>,
}

impl Default for Sight {
    fn default() -> Sight {
        Sight { state: BreakerState::Closed, pressure: 0.0, latency: None }
    }
}

/// One target as an operator sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Report {
    /// `provider/model`.
    pub target: String,
    /// What its breaker says.
    pub state: BreakerState,
    /// Requests that it is working on.
    pub in_flight: u32,
    /// About how long a stream's first content takes.
    pub first_content: Option<Duration>,
    /// Nineteen of twenty came within this time.
    pub first_content_p95: Option<Duration>,
}

/// The targets at the time of a call. Costs nothing to make: what is not asked about is not looked at.
#[derive(Debug, Clone, Default)]
pub struct HealthView {
    live: Option<Arc<Known>>,
    now: u64,
    /// For tests and simulation.
    given: Vec<(String, Sight)>,
}

/// A request that a target is working on. Counted until it is dropped.
#[derive(Debug)]
pub struct InFlight {
    vitals: Arc<Vitals>,
    /// What it was let through as, until its outcome is told.
    pass: Option<Pass>,
}

impl Health {
    /// All well.
    pub fn new() -> Health {
        Health::default()
    }

    /// Asks to send. Of many callers, one is let through to a half-open target, to probe. With `last_hope`, nobody else is left to
    /// ask: then one at a time may go even to an open one, unless it has asked for its pause itself.
    pub fn enter(&self, target: &str, knock: Knock, last_hope: bool, now: u64) -> Option<InFlight> {
        let vitals = self.vitals(target, now);
        let pass = {
            let mut signs = vitals.signs();
            signs.asked_at = now;
            let pass = if last_hope { signs.breaker.last_hope(now) } else { signs.breaker.admit(now) }?;
            if let Knock::First { percent } = knock {
                signs.again.earn(percent);
            }
            pass
        };
        vitals.in_flight.fetch_add(1, Ordering::Relaxed);
        Some(InFlight { vitals, pass: Some(pass) })
    }

    /// Whether it may be asked once more beside the first time, as far as its budget goes.
    pub fn again(&self, target: &str, now: u64) -> bool {
        self.vitals(target, now).signs().again.take(now)
    }

    /// Counts a call that could be hedged, of which so many percent may be.
    pub fn may_hedge(&self, target: &str, percent: u32, now: u64) {
        self.vitals(target, now).signs().hedges.earn(percent);
    }

    /// Whether a call to this target may be hedged now, as far as the share of hedged calls goes.
    pub fn hedge(&self, target: &str, now: u64) -> bool {
        self.vitals(target, now).signs().hedges.take(now)
    }

    /// Takes in the outcome of something that did not [`Health::enter`], or that came after its first content.
    pub fn outcome(&self, target: &str, outcome: Outcome, now: u64) {
        let known = self.find(target);
        match known {
            Some(vitals) => vitals.signs().breaker.record(outcome, Pass::Free, now),
            None if outcome == Outcome::Good => {}
            None => self.vitals(target, now).signs().breaker.record(outcome, Pass::Free, now),
        }
    }

    /// A request was let go after this time, because another answered first: it took at least so long. `slow`: longer than its provider
    /// is to take. Whoever always loses would else keep the good name of its first days.
    pub fn outpaced(&self, target: &str, stream: bool, took: Duration, slow: bool, now: u64) {
        let vitals = self.vitals(target, now);
        let mut signs = vitals.signs();
        signs.load.measured(stream, took, now);
        if slow {
            signs.breaker.record(Outcome::Slow, Pass::Free, now);
        }
    }

    /// Takes in what a look at a provider has shown, for all of its targets that were asked so far. It closes what is half open, and
    /// counts as a failure of those that are thought well; a pause is left to pass.
    pub fn looked_after(&self, provider: &str, outcome: Outcome, now: u64) {
        let is_its = |name: &str| name.strip_prefix(provider).is_some_and(|rest| rest.starts_with('/'));
        let its: Vec<_> = {
            let all = self.targets.read().unwrap_or_else(PoisonError::into_inner);
            all.iter().filter(|(name, _)| is_its(name)).map(|(_, vitals)| Arc::clone(vitals)).collect()
        };
        for vitals in its {
            let breaker = &mut vitals.signs().breaker;
            match (breaker.state(now), outcome) {
                (BreakerState::HalfOpen, _) => {
                    if let Some(pass) = breaker.admit(now) {
                        breaker.record(outcome, pass, now);
                    }
                }
                // Its list says nothing about how it answers: what calls have found out stands.
                (BreakerState::Closed, Outcome::Good | Outcome::Slow | Outcome::Neutral) => {}
                (BreakerState::Closed, _) => breaker.record(outcome, Pass::Free, now),
                (BreakerState::Open { .. } | BreakerState::Probing, _) => {}
            }
        }
    }

    /// When a target that asked to be left alone, or failed, may be asked again; nothing where it may be asked now.
    pub fn closed_until(&self, target: &str, now: u64) -> Option<u64> {
        match self.find(target)?.signs().breaker.state(now) {
            BreakerState::Open { until } => Some(until),
            _ => None,
        }
    }

    /// Nineteen of twenty first contents of this target came within this time, if enough is known.
    pub fn p95(&self, target: &str, stream: bool) -> Option<Duration> {
        self.find(target)?.signs().load.p95(stream)
    }

    /// The targets as they are now.
    pub fn view(&self, now: u64) -> HealthView {
        HealthView { live: Some(Arc::clone(&self.targets)), now, given: Vec::new() }
    }

    /// All targets that were asked, in the order of their names.
    pub fn report(&self, now: u64) -> Vec<Report> {
        let targets: Vec<_> = {
            let all = self.targets.read().unwrap_or_else(PoisonError::into_inner);
            all.iter().map(|(name, vitals)| (name.clone(), Arc::clone(vitals))).collect()
        };
        let mut all: Vec<_> = targets
            .into_iter()
            .map(|(target, vitals)| {
                let signs = vitals.signs();
                let latency = signs.load.latency(true, now).map(|micros| Duration::from_secs_f64(micros / 1e6));
                Report {
                    target,
                    state: signs.breaker.state(now),
                    in_flight: vitals.in_flight.load(Ordering::Relaxed),
                    first_content: latency,
                    first_content_p95: signs.load.p95(true),
                }
            })
            .collect();
        all.sort_by(|a, b| a.target.cmp(&b.target));
        all
    }

    fn find(&self, target: &str) -> Option<Arc<Vitals>> {
        find(&self.targets, target)
    }

    fn vitals(&self, target: &str, now: u64) -> Arc<Vitals> {
        if let Some(known) = self.find(target) {
            return known;
        }
        let mut all = self.targets.write().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= MOST_TARGETS {
            // Whoever is well and idle can be learnt anew: first those who were not asked lately, then, since so many names at once are
            // made up, all of them. Should nobody be, all are forgotten rather than kept without bound.
            all.retain(|_, vitals| vitals.is_missed(now) || vitals.was_asked_lately(now));
            if all.len() >= MOST_TARGETS {
                all.retain(|_, vitals| vitals.is_missed(now));
            }
            if all.len() >= MOST_TARGETS {
                all.clear();
            }
        }
        Arc::clone(all.entry(target.to_owned()).or_insert_with(|| Arc::new(Vitals::new(now))))
    }
}

fn find(targets: &Known, target: &str) -> Option<Arc<Vitals>> {
    targets.read().unwrap_or_else(PoisonError::into_inner).get(target).map(Arc::clone)
}

impl Vitals {
    fn new(now: u64) -> Vitals {
        let (again, hedges) = (Budget::with_floor(now), Budget::of_shares(now));
        let signs = Signs { breaker: Breaker::default(), load: Load::default(), again, hedges, asked_at: now };
        Vitals { in_flight: AtomicU32::new(0), signs: Mutex::new(signs) }
    }

    fn signs(&self) -> MutexGuard<'_, Signs> {
        self.signs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It is at work, or its breaker would be forgotten.
    fn is_missed(&self, now: u64) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0 || self.signs().breaker.state(now) != BreakerState::Closed
    }

    fn was_asked_lately(&self, now: u64) -> bool {
        const LATELY_MS: u64 = 60_000;
        now.saturating_sub(self.signs().asked_at) < LATELY_MS
    }
}

impl InFlight {
    /// How the attempt went. Told once; nothing told is as good as neutral.
    pub fn ended(&mut self, outcome: Outcome, now: u64) {
        if let Some(pass) = self.pass.take() {
            self.vitals.signs().breaker.record(outcome, pass, now);
        }
    }

    /// How long its first content took, or how long it was waited for in vain.
    pub fn measured(&self, stream: bool, took: Duration, now: u64) {
        self.vitals.signs().load.measured(stream, took, now);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.vitals.in_flight.fetch_sub(1, Ordering::Relaxed);
        if self.pass == Some(Pass::Probe) {
            self.vitals.signs().breaker.record(Outcome::Neutral, Pass::Probe, 0);
        }
    }
}

impl HealthView {
    /// What is seen of this target.
    pub fn sight(&self, target: &str, stream: bool) -> Sight {
        if let Some((_, given)) = self.given.iter().find(|(name, _)| name == target) {
            return *given;
        }
        let Some(vitals) = self.live.as_ref().and_then(|live| find(live, target)) else { return Sight::default() };
        let in_flight = vitals.in_flight.load(Ordering::Relaxed);
        let signs = vitals.signs();
        Sight {
            state: signs.breaker.state(self.now),
            pressure: signs.load.pressure(in_flight, self.now),
            latency: signs.load.latency(stream, self.now),
        }
    }

    /// What the breaker of this target says.
    pub fn state(&self, target: &str) -> BreakerState {
        self.sight(target, true).state
    }

    /// Nothing speaks against it.
    pub fn healthy(&self, target: &str) -> bool {
        self.state(target) == BreakerState::Closed
    }

    /// A view for tests and simulation.
    pub fn with(self, target: &str, state: BreakerState) -> HealthView {
        self.with_sight(target, Sight { state, ..Sight::default() })
    }

    /// The same, with all that is seen.
    pub fn with_sight(mut self, target: &str, sight: Sight) -> HealthView {
        self.given.push((target.to_owned(), sight));
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Outcome::{Failed, Good, Neutral};

    const FIRST: Knock = Knock::First { percent: 20 };

    #[test]
    fn health_is_kept_by_target() {
        let health = Health::new();
        (0..5).for_each(|_| health.outcome("a/x", Failed, 0));
        assert!(!health.view(1).healthy("a/x") && health.view(1).healthy("b/x"));
        assert!(health.enter("a/x", FIRST, false, 1).is_none() && health.enter("b/x", FIRST, false, 1).is_some());
        let probe = health.enter("a/x", FIRST, false, 5_000);
        assert!(probe.is_some() && health.enter("a/x", FIRST, false, 5_000).is_none());
    }

    #[test]
    fn a_probe_that_tells_nothing_lets_the_next_one_probe() {
        let health = Health::new();
        (0..5).for_each(|_| health.outcome("a/x", Failed, 0));
        drop(health.enter("a/x", FIRST, false, 5_000));
        let mut probe = health.enter("a/x", FIRST, false, 5_001).unwrap();
        probe.ended(Neutral, 5_002);
        let mut probe = health.enter("a/x", FIRST, true, 5_003).unwrap();
        probe.ended(Good, 5_004);
        assert!(health.view(5_005).healthy("a/x"));
    }

    #[test]
    fn a_target_that_is_always_outpaced_is_known_as_slow() {
        let health = Health::new();
        let waited = Duration::from_millis(900);
        (0..30).for_each(|_| health.outpaced("a/x", true, waited, false, 1));
        assert!(health.report(1)[0].first_content_p95 >= Some(waited) && health.view(1).healthy("a/x"));
        (0..30).for_each(|_| health.outpaced("a/x", true, waited, true, 2));
        assert!(!health.view(3).healthy("a/x"), "what is slower than its provider may be is left alone");
    }

    #[test]
    fn requests_are_counted_while_they_are_under_way() {
        let health = Health::new();
        let one = health.enter("a/x", FIRST, false, 0).unwrap();
        one.measured(true, Duration::from_millis(10), 0);
        let two = health.enter("a/x", FIRST, false, 0).unwrap();
        let pressure = || health.view(0).sight("a/x", true).pressure;
        assert_eq!(pressure(), 30_000.0);
        drop((one, two));
        assert_eq!(pressure(), 10_000.0);
        let report = health.report(0);
        assert_eq!((&*report[0].target, report[0].in_flight), ("a/x", 0));
        assert_eq!(report[0].first_content, Some(Duration::from_millis(10)));
    }

    #[test]
    fn a_look_at_the_provider_closes_what_is_half_open_and_opens_what_is_ill() {
        let health = Health::new();
        let state = |target: &str, now| health.view(now).sight(target, true).state;
        (0..5).for_each(|_| health.outcome("a/x", Failed, 0));
        drop(health.enter("a/y", FIRST, false, 0));
        drop(health.enter("ab/x", FIRST, false, 0));
        health.looked_after("a", Good, 1);
        assert_eq!(state("a/x", 1), BreakerState::Open { until: 5_000 }, "a pause is left to pass");
        health.looked_after("a", Good, 5_000);
        assert_eq!(state("a/x", 5_000), BreakerState::Closed);
        (0..5).for_each(|_| health.looked_after("a", Failed, 6_000));
        for (target, open) in [("a/x", true), ("a/y", true), ("ab/x", false), ("a/z", false)] {
            assert_eq!(state(target, 6_000) != BreakerState::Closed, open, "{target}");
        }
    }

    #[test]
    fn names_that_callers_make_up_in_a_moment_make_nobody_forget_who_is_ill_or_busy() {
        let health = Health::new();
        (0..5).for_each(|_| health.outcome("ill/x", Failed, 0));
        let busy = health.enter("busy/x", FIRST, false, 0);
        for n in 0..3 * MOST_TARGETS {
            drop(health.enter(&format!("a/{n}"), FIRST, false, 1));
        }
        let report = health.report(1);
        assert!(report.len() <= MOST_TARGETS, "{}", report.len());
        assert!(!health.view(1).healthy("ill/x"));
        assert!(report.iter().any(|it| it.target == "busy/x" && it.in_flight == 1));
        drop(busy);
    }

    #[test]
    fn names_that_callers_make_up_fill_no_memory() {
        let health = Health::new();
        (0..5).for_each(|_| health.outcome("ill/x", Failed, 0));
        for n in 0..3 * MOST_TARGETS as u64 {
            drop(health.enter(&format!("a/{n}"), FIRST, false, n * 100));
        }
        let report = health.report(0);
        assert!(report.len() <= MOST_TARGETS, "{}", report.len());
    }
}
