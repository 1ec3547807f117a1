//! Figures for Prometheus: their names, and handles to them that are made once. Looking a figure up by name and labels costs more than
//! recording it, so a call only ever records.
//!
//! Labels are few and ours: kinds, outcomes, and targets that are configured or catalogued; never a client's words, never a key.

use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};
use std::hash::Hash;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use arc_swap::ArcSwap;
use ledger::AttemptRecord;
use metrics::{
    Counter, Histogram, Unit, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram,
};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use providers::{BreakerState, HealthView, Target};

use super::marks::Step;
use super::words::{OPERATIONS, OTHER, operation, provider};

/// Seconds, from what memory takes to what a long answer takes.
const SECONDS: [f64; 17] = [
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0,
    120.0,
];
/// Seconds of a model's work, in the steps that the GenAI conventions propose.
const DURATIONS: [f64; 14] = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92];
/// And until its first token.
const FIRST_TOKENS: [f64; 16] =
    [0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
/// Tokens, in the steps that the GenAI conventions propose.
const TOKENS: [f64; 10] = [1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0];
/// More targets than anybody has; a bound on what may be remembered.
const MOST_TARGETS: usize = 4_096;
/// More words than the house has for what comes of an attempt.
const MOST_OUTCOMES: usize = 48;

/// Every figure, and where they are written.
pub struct Meters {
    prometheus: PrometheusHandle,
    /// Names that may be labels.
    known: ArcSwap<HashSet<String>>,
    pub overhead: Histogram,
    pub reserve: Histogram,
    pub verify: Histogram,
    pub receipt_lag: Histogram,
    pub late_settlements: Counter,
    pub retries: Counter,
    pub sheds: Counter,
    pub slow_calls: Counter,
    steps: [Histogram; Step::ALL.len()],
    requests: Kept<(&'static str, &'static str), Counter>,
    targets: RwLock<HashMap<String, Arc<OfTarget>>>,
    /// By the name that receipts have.
    asked: RwLock<HashMap<String, Arc<OfName>>>,
}

/// What the page says of now rather than of what was.
pub struct Now<'a> {
    pub ledger: &'a ledger::Gauges,
    pub waiting: usize,
    pub in_flight: usize,
    pub health: &'a HealthView,
}

impl Meters {
    /// Becomes the process's recorder.
    ///
    /// # Errors
    /// When the process has one already.
    pub fn install(known: HashSet<String>) -> Result<Meters, BuildError> {
        let of = |name: &str| Matcher::Full(name.to_owned());
        let prometheus = PrometheusBuilder::new()
            .set_buckets_for_metric(of("gen_ai.client.token.usage"), &TOKENS)?
            .set_buckets_for_metric(of("gen_ai.client.operation.duration"), &DURATIONS)?
            .set_buckets_for_metric(of("gen_ai.server.time_to_first_token"), &FIRST_TOKENS)?
            .set_buckets(&SECONDS)?
            .install_recorder()?;
        Ok(Meters::with(prometheus, known))
    }

    pub(super) fn with(prometheus: PrometheusHandle, known: HashSet<String>) -> Meters {
        describe();
        Meters {
            prometheus,
            known: ArcSwap::from_pointee(known),
            overhead: histogram!("alfred_overhead_seconds"),
            reserve: histogram!("alfred_ledger_reserve_seconds"),
            verify: histogram!("alfred_auth_verify_seconds"),
            receipt_lag: histogram!("alfred_receipt_lag_seconds"),
            late_settlements: counter!("alfred_late_settlements_total"),
            retries: counter!("alfred_retries_total"),
            sheds: counter!("alfred_sheds_total"),
            slow_calls: counter!("alfred_slow_calls_total"),
            steps: Step::ALL.map(|step| histogram!("alfred_step_seconds", "step" => step.as_str())),
            requests: Kept::default(),
            targets: RwLock::default(),
            asked: RwLock::default(),
        }
    }

    /// Other names are configured now.
    pub fn knows(&self, known: HashSet<String>) {
        self.known.store(Arc::new(known));
    }

    /// Whether a name is ours: configured or catalogued.
    pub fn is_known(&self, target: &Target) -> bool {
        self.known.load().contains(&target.name)
    }

    pub fn request(&self, kind: &'static str, outcome: &'static str) {
        self.requests
            .get(&(kind, outcome), || counter!("alfred_requests_total", "kind" => kind, "outcome" => outcome))
            .increment(1);
    }

    pub fn step(&self, step: Step, took: Duration) {
        self.steps[step as usize].record(took.as_secs_f64());
    }

    /// A target was asked, or set aside.
    pub fn attempted(&self, attempt: &AttemptRecord) {
        let asked = self.asked.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = asked.get(&attempt.target) {
            return found.attempted(&attempt.target, &attempt.outcome);
        }
        let is_ours = asked.len() < MOST_TARGETS && self.known.load().contains(&attempt.target);
        drop(asked);
        let provider = attempt.target.split('/').next().unwrap_or_default();
        let name = if is_ours { attempt.target.clone() } else { format!("{provider}/{OTHER}") };
        let mut asked = self.asked.write().unwrap_or_else(PoisonError::into_inner);
        asked.entry(name.clone()).or_default().attempted(&name, &attempt.outcome);
    }

    /// The figures of a target; those that nobody knows share one set a provider.
    pub fn target(&self, target: &Target) -> Arc<OfTarget> {
        let targets = self.targets.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = targets.get(&target.name) {
            return Arc::clone(found);
        }
        let is_ours = targets.len() < MOST_TARGETS && self.is_known(target);
        drop(targets);
        let (name, model) = match is_ours {
            true => (target.name.clone(), target.model.as_str()),
            false => (format!("{}/{OTHER}", target.provider), OTHER),
        };
        let mut targets = self.targets.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(targets.entry(name).or_insert_with(|| Arc::new(OfTarget::new(target, model))))
    }

    /// The page that Prometheus reads.
    pub fn render(&self, now: &Now<'_>) -> String {
        #[expect(clippy::cast_precision_loss, reason = "gauges are read by people and plotters")]
        {
            gauge!("alfred_queue_depth").set(now.ledger.queue_depth as f64);
            gauge!("alfred_holds_in_flight").set(now.ledger.holds_in_flight as f64);
            gauge!("alfred_calls_waiting_for_money").set(now.waiting as f64);
            gauge!("alfred_calls_in_flight").set(now.in_flight as f64);
        }
        for (name, asked) in self.asked.read().unwrap_or_else(PoisonError::into_inner).iter() {
            let state = match now.health.state(name) {
                BreakerState::Closed => 0.0,
                BreakerState::HalfOpen | BreakerState::Probing => 1.0,
                BreakerState::Open { .. } => 2.0,
            };
            asked.breaker.get_or_init(|| gauge!("alfred_breaker_state", "target" => name.clone())).set(state);
        }
        let mut page = self.prometheus.render();
        // Exact, from the ledger's own integer: a float counter would lose nano-dollars.
        page.push_str("# HELP alfred_overrun_usd_total what providers billed beyond what could be held, in USD\n");
        page.push_str("# TYPE alfred_overrun_usd_total counter\n");
        page.push_str(&format!("alfred_overrun_usd_total {}\n", now.ledger.overrun));
        page
    }

    /// Old samples are folded away; called now and then by the housekeeper.
    pub fn upkeep(&self) {
        self.prometheus.run_upkeep();
    }
}

fn describe() {
    crate::policy::describe();
    let seconds = Unit::Seconds;
    describe_histogram!("gen_ai.client.token.usage", Unit::Count, "tokens that calls used, by direction");
    describe_histogram!("gen_ai.client.operation.duration", seconds, "time that providers took for whole answers");
    describe_histogram!("gen_ai.server.time_to_first_token", seconds, "time from a call to the first of its answer");
    describe_histogram!("alfred_overhead_seconds", seconds, "time that the gateway itself takes per call");
    describe_histogram!("alfred_step_seconds", seconds, "time of each step of a call");
    describe_histogram!("alfred_ledger_reserve_seconds", seconds, "time until a hold is durable");
    describe_histogram!("alfred_auth_verify_seconds", seconds, "time to verify a key");
    describe_histogram!("alfred_receipt_lag_seconds", seconds, "time from the end of an answer to its durable receipt");
    describe_counter!("alfred_requests_total", "calls by kind and outcome");
    describe_counter!("alfred_attempts_total", "targets asked or set aside, by what came of it");
    describe_counter!("alfred_retries_total", "attempts beyond a call's first");
    describe_counter!("alfred_sheds_total", "calls turned away because there was no room for them");
    describe_counter!("alfred_slow_calls_total", "calls that took longer than telemetry.slow_call_ms");
    describe_counter!("alfred_spans_dropped_total", "spans that reached no collector");
    describe_counter!("alfred_spans_exported_total", "spans that a collector has taken");
    describe_counter!("alfred_late_settlements_total", "answers that left before their settlement was durable");
    describe_gauge!("alfred_breaker_state", "0: closed, 1: half open, 2: open and left alone");
    describe_gauge!("alfred_calls_in_flight", "calls and streams that hold a place");
    describe_gauge!("alfred_queue_depth", "operations that wait for the ledger");
    describe_gauge!("alfred_holds_in_flight", "holds that are not resolved yet");
    describe_gauge!("alfred_alerts_pending", "deliveries of alerts that wait");
    describe_gauge!("alfred_alerts_failed", "deliveries of alerts that were given up");
    describe_gauge!("alfred_calls_waiting_for_money", "calls that wait for what others hold");
}

/// The figures of one target. Each is made when it is first needed: what never happens is no series.
pub struct OfTarget {
    provider: String,
    kind: String,
    model: String,
    operations: [OfOperation; OPERATIONS.len()],
}

/// How it goes with a target.
#[derive(Default)]
struct OfName {
    attempts: Kept<String, Counter>,
    breaker: OnceLock<metrics::Gauge>,
}

#[derive(Default)]
struct OfOperation {
    input: OnceLock<Histogram>,
    output: OnceLock<Histogram>,
    duration: OnceLock<Histogram>,
    first_token: OnceLock<Histogram>,
}

impl OfName {
    /// `outcome`: a word of ours, as receipts have it.
    fn attempted(&self, target: &str, outcome: &str) {
        let outcome = if self.attempts.is_full_without(outcome) { OTHER } else { outcome };
        let make = || counter!("alfred_attempts_total", "target" => target.to_owned(), "outcome" => outcome.to_owned());
        self.attempts.get(outcome, make).increment(1);
    }
}

impl OfTarget {
    fn new(target: &Target, model: &str) -> OfTarget {
        OfTarget {
            provider: target.provider.clone(),
            kind: provider(&target.kind).to_owned(),
            model: model.to_owned(),
            operations: Default::default(),
        }
    }

    /// Tokens in and out, and how long it took. `error`: why it did not end well.
    #[expect(clippy::cast_precision_loss, reason = "a histogram of token counts")]
    pub fn used(&self, kind: &str, tokens: (u64, u64), took: Duration, error: Option<&'static str>) {
        let (index, operation) = operation(kind);
        let of = &self.operations[index];
        let input = of.input.get_or_init(|| self.tokens(operation, "input"));
        input.record(tokens.0 as f64);
        of.output.get_or_init(|| self.tokens(operation, "output")).record(tokens.1 as f64);
        let Some(error) = error else {
            let made = of.duration.get_or_init(|| self.histogram("gen_ai.client.operation.duration", operation, None));
            return made.record(took.as_secs_f64());
        };
        let failed = Some(("error.type", error));
        self.histogram("gen_ai.client.operation.duration", operation, failed).record(took.as_secs_f64());
    }

    pub fn first_token(&self, kind: &str, after: Duration) {
        let (index, operation) = operation(kind);
        let made = || self.histogram("gen_ai.server.time_to_first_token", operation, None);
        self.operations[index].first_token.get_or_init(made).record(after.as_secs_f64());
    }

    fn tokens(&self, operation: &'static str, kind: &'static str) -> Histogram {
        self.histogram("gen_ai.client.token.usage", operation, Some(("gen_ai.token.type", kind)))
    }

    fn histogram(
        &self,
        name: &'static str,
        operation: &'static str,
        more: Option<(&'static str, &'static str)>,
    ) -> Histogram {
        let mut labels = vec![
            metrics::Label::from_static_parts("gen_ai.operation.name", operation),
            metrics::Label::new("gen_ai.provider.name", self.kind.clone()),
            metrics::Label::new("gen_ai.request.model", self.model.clone()),
            metrics::Label::new("alfred.provider", self.provider.clone()),
        ];
        labels.extend(more.map(|(name, value)| metrics::Label::from_static_parts(name, value)));
        histogram!(name, labels)
    }
}

/// Handles by label, made once each.
struct Kept<K, H>(RwLock<HashMap<K, H>>);

impl<K, H> Default for Kept<K, H> {
    fn default() -> Self {
        Kept(RwLock::default())
    }
}

impl<K: Hash + Eq, H: Clone> Kept<K, H> {
    fn get<Q>(&self, key: &Q, make: impl FnOnce() -> H) -> H
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ToOwned<Owned = K> + ?Sized,
    {
        if let Some(found) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(key) {
            return found.clone();
        }
        self.0.write().unwrap_or_else(PoisonError::into_inner).entry(key.to_owned()).or_insert_with(make).clone()
    }

    /// Whether this one would be one too many.
    fn is_full_without<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        let kept = self.0.read().unwrap_or_else(PoisonError::into_inner);
        kept.len() >= MOST_OUTCOMES && !kept.contains_key(key)
    }
}
