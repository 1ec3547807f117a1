//! Names of counters and what feeds them. Labels are few and ours: never a client's words, never a key.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use metrics::{Histogram, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use providers::Target;

use crate::case::Case;

/// Seconds, from what memory takes to what a long answer takes.
const SECONDS: [f64; 17] = [
    0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0,
    120.0,
];
/// Tokens, in the steps that the GenAI conventions propose.
const TOKENS: [f64; 10] = [1.0, 4.0, 16.0, 64.0, 256.0, 1_024.0, 4_096.0, 16_384.0, 65_536.0, 262_144.0];

/// Where measurements go.
pub struct Telemetry {
    prometheus: PrometheusHandle,
    known: ArcSwap<HashSet<String>>,
    overhead: Histogram,
    reserve: Histogram,
    verify: Histogram,
    receipt_lag: Histogram,
}

impl Telemetry {
    /// Becomes the process's recorder.
    ///
    /// # Errors
    /// When the process has one already.
    pub fn install(known: HashSet<String>) -> Result<Telemetry, BuildError> {
        let prometheus = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Full("gen_ai.client.token.usage".into()), &TOKENS)?
            .set_buckets(&SECONDS)?
            .install_recorder()?;
        describe_histogram!("alfred_overhead_seconds", "time that the gateway itself takes per call");
        describe_histogram!("alfred_ledger_reserve_seconds", "time until a hold is durable");
        describe_histogram!("alfred_auth_verify_seconds", "time to verify a key");
        describe_histogram!("alfred_receipt_lag_seconds", "time from the end of an answer to its durable receipt");
        describe_counter!("alfred_requests_total", "calls by kind and outcome");
        describe_counter!("alfred_late_settlements_total", "answers that left before their settlement was durable");
        describe_gauge!("alfred_queue_depth", "operations that wait for the ledger");
        describe_gauge!("alfred_holds_in_flight", "holds that are not resolved yet");
        describe_gauge!("alfred_alerts_pending", "deliveries of alerts that wait");
        describe_gauge!("alfred_alerts_failed", "deliveries of alerts that were given up");
        describe_gauge!("alfred_calls_waiting_for_money", "calls that wait for what others hold");
        Ok(Telemetry {
            prometheus,
            known: ArcSwap::from_pointee(known),
            overhead: histogram!("alfred_overhead_seconds"),
            reserve: histogram!("alfred_ledger_reserve_seconds"),
            verify: histogram!("alfred_auth_verify_seconds"),
            receipt_lag: histogram!("alfred_receipt_lag_seconds"),
        })
    }

    /// Other names are configured by now.
    pub fn know(&self, known: &HashSet<String>) {
        self.known.store(Arc::new(known.clone()));
    }

    pub fn verified(&self, took: Duration) {
        self.verify.record(took.as_secs_f64());
    }

    pub fn reserved(&self, took: Duration) {
        self.reserve.record(took.as_secs_f64());
    }

    pub fn receipt_lag(&self, took: Duration) {
        self.receipt_lag.record(took.as_secs_f64());
    }

    pub fn late_settlement(&self) {
        counter!("alfred_late_settlements_total").increment(1);
    }

    pub fn first_token(&self, target: &Target, after: Duration) {
        let model = self.model_label(target);
        histogram!("gen_ai.server.time_to_first_token", "gen_ai.request.model" => model, "gen_ai.provider.name" => target.provider.clone())
            .record(after.as_secs_f64());
    }

    /// What an answered call used.
    pub fn used(&self, target: &Target, usage: &ledger::Usage, took: Duration) {
        let model = self.model_label(target);
        for (kind, tokens) in [("input", usage.all_input()), ("output", usage.all_output())] {
            #[expect(clippy::cast_precision_loss, reason = "a histogram of token counts")]
            histogram!("gen_ai.client.token.usage", "gen_ai.token.type" => kind, "gen_ai.request.model" => model.clone(), "gen_ai.provider.name" => target.provider.clone())
                .record(tokens as f64);
        }
        histogram!("gen_ai.client.operation.duration", "gen_ai.request.model" => model, "gen_ai.provider.name" => target.provider.clone())
            .record(took.as_secs_f64());
    }

    /// A call has ended, one way or another.
    pub fn closed(&self, case: &Case, outcome: &'static str) {
        let overhead = case.overhead();
        self.overhead.record(overhead.as_secs_f64());
        // One line a call for whoever turns it on (`info,alfred::calls=debug`): ids and figures, nothing of what was said.
        tracing::debug!(
            target: "alfred::calls",
            call = %case.id,
            kind = case.kind,
            outcome,
            model = %case.model,
            target = case.target.as_ref().map_or("", |target| target.name.as_str()),
            attempts = case.tried,
            overhead_us = u64::try_from(overhead.as_micros()).unwrap_or(u64::MAX),
            total_ms = crate::case::millis(case.started.elapsed()),
            "call closed"
        );
        counter!("alfred_requests_total", "kind" => case.kind, "outcome" => outcome).increment(1);
    }

    /// The page that Prometheus reads.
    pub fn render(&self, gauges: &ledger::Gauges, waiting: usize) -> String {
        #[expect(clippy::cast_precision_loss, reason = "gauges are read by people and plotters")]
        {
            gauge!("alfred_queue_depth").set(gauges.queue_depth as f64);
            gauge!("alfred_holds_in_flight").set(gauges.holds_in_flight as f64);
            gauge!("alfred_calls_waiting_for_money").set(waiting as f64);
        }
        let mut page = self.prometheus.render();
        // Exact, from the ledger's own integer: a float counter would lose nano-dollars.
        page.push_str("# TYPE alfred_overrun_usd_total counter\n");
        page.push_str(&format!("alfred_overrun_usd_total {}\n", gauges.overrun));
        page
    }

    /// Old samples are folded away; called now and then by the housekeeper.
    pub fn upkeep(&self) {
        self.prometheus.run_upkeep();
    }

    /// A model's name, where it is one of ours; what clients invent would make labels without end.
    fn model_label(&self, target: &Target) -> String {
        if self.known.load().contains(&target.name) { target.model.clone() } else { "other".to_owned() }
    }
}
