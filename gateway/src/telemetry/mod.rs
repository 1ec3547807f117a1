//! What is measured of calls, and who is told: figures for Prometheus, traces for a collector, lines of the log. A call only notes times
//! in its case ([`marks`]); all else is made of them when it is closed. Never a prompt, an output, a key or a client's own words.

mod config;
pub mod context;
mod marks;
mod meters;
mod otlp;
mod slow;
mod spans;
#[cfg(test)]
mod tests;
mod words;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::BuildError;
use providers::{ModelRequest, Target};

use config::Propagate;
pub use config::{CallLog, Settings, TelemetryConfig, settings};
pub use context::{Parent, Thread};
pub use marks::{Answer, Marks, Step};
pub use meters::{Meters, Now};
pub use otlp::Exporter;

use crate::case::Case;
use slow::Lines;
use spans::Trace;

/// Where measurements go.
pub struct Telemetry {
    pub meters: Meters,
    settings: Settings,
    traces: Option<otlp::Queue>,
    lines: Lines,
}

/// A call that has ended, and what is told of it.
pub struct Finished<'a> {
    pub case: &'a Case,
    pub outcome: &'static str,
    /// Since it came.
    pub end: Duration,
    pub overhead: Duration,
}

impl Finished<'_> {
    fn target_name(&self) -> &str {
        self.case.target.as_ref().map_or("", |target| target.name.as_str())
    }

    /// It failed, and not by its client's doing: what a client does wrong is no error of the house.
    fn is_error(&self) -> bool {
        const BROKEN: [&str; 4] = ["upstream_broke", "deadline_passed", "shut_down", "provider_failed"];
        self.case.marks.status.is_some_and(|status| status >= 500) || BROKEN.contains(&self.outcome)
    }
}

impl Telemetry {
    /// Becomes the process's recorder. The exporter, if there is one, is to be run.
    ///
    /// # Errors
    /// When the process has one already.
    pub fn install(known: HashSet<String>, settings: Settings) -> Result<(Telemetry, Option<Exporter>), BuildError> {
        let meters = Meters::install(known)?;
        Ok(Telemetry::with(meters, settings))
    }

    fn with(meters: Meters, settings: Settings) -> (Telemetry, Option<Exporter>) {
        let (traces, exporter) = settings.collector.clone().map(otlp::queue).unzip();
        (Telemetry { meters, settings, traces, lines: Lines::default() }, exporter)
    }

    pub fn verified(&self, took: Duration) {
        self.meters.verify.record(took.as_secs_f64());
    }

    pub fn reserved(&self, took: Duration) {
        self.meters.reserve.record(took.as_secs_f64());
    }

    pub fn receipt_lag(&self, took: Duration) {
        self.meters.receipt_lag.record(took.as_secs_f64());
    }

    pub fn late_settlement(&self) {
        self.meters.late_settlements.increment(1);
    }

    /// A call was turned away before it became one.
    pub fn shed(&self) {
        self.meters.sheds.increment(1);
    }

    pub fn first_token(&self, kind: &str, target: &Target, after: Duration) {
        self.meters.target(target).first_token(kind, after);
    }

    /// What an answered call used. `error`: how it ended, if not well.
    pub fn used(
        &self,
        kind: &str,
        target: &Target,
        usage: &ledger::Usage,
        took: Duration,
        error: Option<&'static str>,
    ) {
        let tokens = (usage.all_input(), usage.all_output());
        self.meters.target(target).used(kind, tokens, took, error);
    }

    /// The call's trace, where any provider may be told of it.
    pub fn thread(&self, case: &Case) -> Option<Thread> {
        let told = self.settings.propagate != Propagate::All(false);
        told.then(|| Thread { call: case.id, started: case.started, parent: case.marks.parent.clone() })
    }

    /// The request as a part of its trace, if this target may know of it.
    pub fn traced(
        &self,
        thread: Option<&Thread>,
        target: &Target,
        asked_at: Instant,
        request: &ModelRequest,
    ) -> Option<ModelRequest> {
        let Thread { call, started, parent } = thread.filter(|_| self.settings.propagate.to(&target.provider))?;
        let parent = parent.as_ref();
        let sampled = self.traces.is_some() && self.settings.sampler.keeps(*call, parent);
        let span = context::span_of(*call, spans::attempt(asked_at.saturating_duration_since(*started)));
        let header = context::outgoing(context::trace_of(*call, parent), span, sampled)?;
        Some(request.traced(header, parent.and_then(|parent| parent.state.clone())))
    }

    /// A call has ended, one way or another. `now_ms`: on a clock that does not run backwards.
    pub fn closed(&self, case: &Case, outcome: &'static str) {
        let end = case.started.elapsed();
        let call = Finished { case, outcome, end, overhead: end.saturating_sub(case.upstream) };
        self.count(&call);
        let is_slow = self.settings.slow.is_some_and(|limit| end > limit);
        if is_slow {
            self.meters.slow_calls.increment(1);
            // Calls' own times will do as a clock for a bound on lines.
            let now = u64::try_from(case.at.micros() / 1_000).unwrap_or(0) + crate::case::millis(end);
            if let Some(withheld) = self.lines.admit(now) {
                slow::slow(&call, withheld);
            }
        }
        let is_error = call.is_error();
        let aloud = match self.settings.calls {
            CallLog::Off => false,
            CallLog::Errors => is_error,
            CallLog::All => true,
        };
        slow::line(&call, aloud);
        // Where a bound on regions holds, nothing of the call goes to a collector beyond it.
        let Some(traces) = self.traces.as_ref().filter(|_| !case.outside.telemetry) else { return };
        let kept = self.settings.sampler.keeps(case.id, case.marks.parent.as_ref());
        let noted = (is_error && self.settings.keeps_errors) || (is_slow && self.settings.keeps_slow);
        if kept || noted {
            traces.push(Trace::of(&call, is_error, case.target.as_ref().is_some_and(|it| self.meters.is_known(it))));
        }
    }

    fn count(&self, call: &Finished<'_>) {
        let case = call.case;
        self.meters.overhead.record(call.overhead.as_secs_f64());
        self.meters.request(case.kind, call.outcome);
        for (step, from, to) in case.marks.steps(call.end) {
            self.meters.step(step, to.saturating_sub(from));
        }
        self.meters.retries.increment(u64::from(case.tried.saturating_sub(1)));
        for attempt in &case.attempts {
            self.meters.attempted(attempt);
        }
        if call.outcome == "overloaded" {
            self.shed();
        }
    }

    /// The page that Prometheus reads.
    pub fn render(&self, now: &Now<'_>) -> String {
        self.meters.render(now)
    }

    /// Old samples are folded away; called now and then by the housekeeper.
    pub fn upkeep(&self) {
        self.meters.upkeep();
    }
}
