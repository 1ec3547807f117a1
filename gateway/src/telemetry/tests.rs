//! What telemetry keeps of a call, and what it costs the call.

use std::alloc::System;
use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use axum::body::Body;
use ledger::{AttemptRecord, Id, Money, Timestamp};
use metrics_exporter_prometheus::PrometheusBuilder;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use providers::{Fleet, Outside, ProviderConfig, Shape};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::config::Collector;
use super::context::Sampler;
use std::sync::Arc;

use super::*;
use crate::authenticate::Presented;
use crate::case::Call;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

fn target() -> Arc<Target> {
    let yaml = "[{id: local, kind: openai-compatible, base_url: 'http://127.0.0.1:9/v1'}]";
    let providers: Vec<ProviderConfig> = serde_yaml_ng::from_str(yaml).expect("providers");
    Fleet::build(&providers, &|_| None).expect("a fleet").target("local/model").expect("a target")
}

/// A call that went all the way, as it stands when it is closed.
fn case(target: &Arc<Target>) -> Case {
    let call = Call {
        id: Id::new(Timestamp::from_micros(1_700_000_000_000_000), [7; 10]),
        shape: Shape::OpenAi,
        kind: "chat.completions",
        started: Instant::now(),
        presented: Presented {
            key: None,
            address: IpAddr::V4(Ipv4Addr::LOCALHOST),
            at: Timestamp::from_micros(1_700_000_000_000_000),
        },
        idempotency_key: None,
        tags: Vec::new(),
        approvals: crate::approvals::Shown::default(),
        content_length: None,
        compressed: false,
        outside: Outside::default(),
        parent: None,
        body: Body::empty(),
        gone: CancellationToken::new(),
    };
    let place = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("a place");
    let mut case = Case::open(&call, place, std::time::Duration::from_secs(900));
    case.model = "model".to_owned();
    case.policy = "sha256-0123456789".to_owned();
    case.target = Some(Arc::clone(target));
    case.tried = 1;
    go(&mut case, target);
    case.attempts.push(AttemptRecord {
        target: target.name.clone(),
        outcome: "answered".to_owned(),
        status: Some(200),
        latency_ms: 1,
        cost: Money::ZERO,
    });
    case.marks.answer =
        Some(Answer { usage: ledger::Usage::default(), model: Some("model-1".to_owned()), price: Some(Money::ZERO) });
    case
}

/// The marks of a call on its way.
fn go(case: &mut Case, target: &Arc<Target>) {
    for step in &Step::ALL[..9] {
        case.enter(*step);
    }
    case.attempted(target, (Instant::now(), Duration::ZERO), "answered", Some(200));
    case.enter(Step::Relay);
    case.marks.finished(Some("stop"));
    case.enter(Step::Settle);
}

fn told(case: &Case, outcome: &'static str) -> (Vec<Span>, bool) {
    let end = case.started.elapsed();
    let call = Finished { case, outcome, end, overhead: end };
    let is_error = call.is_error();
    (Trace::of(&call, is_error, true).spans(), is_error)
}

#[test]
fn an_error_is_what_no_client_could_have_done_otherwise() {
    let target = target();
    for (outcome, status, is_error) in [
        ("finished", None, false),
        ("client_left", None, false),
        ("out_of_money", None, false),
        ("upstream_broke", None, true),
        ("deadline_passed", None, true),
        ("invalid_api_key", Some(401), false),
        ("budget_exceeded", Some(429), false),
        ("provider_error", Some(502), true),
        ("ledger_unavailable", Some(503), true),
    ] {
        let mut case = case(&target);
        case.marks.status = status;
        let (spans, error) = told(&case, outcome);
        assert_eq!(error, is_error, "{outcome}");
        assert_eq!(spans[0].status.is_some(), is_error, "{outcome}");
    }
}

#[test]
fn an_answer_that_is_relayed_is_an_attempt_until_it_has_ended_and_a_trace_counts_its_spans() {
    let target = target();
    let case = case(&target);
    let (spans, _) = told(&case, "finished");
    let named = |name: &str| spans.iter().find(|span| span.name == name).expect(name);
    let (attempt, settle) = (named("chat model"), named("settle"));
    assert_eq!(attempt.end_time_unix_nano, settle.start_time_unix_nano);
    assert_eq!(attempt.parent_span_id, named("forward").span_id);
    let end = case.started.elapsed();
    let trace = Trace::of(&Finished { case: &case, outcome: "finished", end, overhead: end }, false, true);
    assert_eq!(trace.len() as usize, spans.len());
}

#[test]
fn a_queue_that_is_full_takes_no_more_and_nobody_waits() {
    let (target, recorder) = (target(), PrometheusBuilder::new().build_recorder());
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        let (telemetry, exporter) = Telemetry::with(Meters::with(handle.clone(), HashSet::new()), settings(1.0));
        let case = case(&target);
        for _ in 0..2_048 + 3 {
            telemetry.closed(&case, "finished");
        }
        // A root, eleven steps and an attempt each.
        assert!(handle.render().contains("alfred_spans_dropped_total 39\n"), "{}", handle.render());
        drop(exporter);
    });
}

fn settings(ratio: f64) -> Settings {
    let url = "http://127.0.0.1:9/v1/traces".parse().expect("an address");
    let collector =
        Collector { url, headers: Default::default(), timeout: Duration::from_secs(1), resource: [].into() };
    Settings { collector: Some(collector), sampler: Sampler::new(ratio, false), ..Settings::default() }
}

/// What one turn of `work` takes, and allocates.
fn cost(what: &str, mut work: impl FnMut()) {
    const TURNS: u32 = 2_000;
    for _ in 0..100 {
        work();
    }
    let region = Region::new(ALLOCATOR);
    let began = Instant::now();
    for _ in 0..TURNS {
        work();
    }
    let took = began.elapsed() / TURNS;
    println!("| {what} | {} | {:.1} |", took.as_nanos(), region.change().allocations as f64 / f64::from(TURNS));
}

/// The table of docs/benchmarks.md: `cargo test --release -p gateway --lib what_telemetry_costs -- --ignored --nocapture`.
#[test]
#[ignore = "prints figures; proves nothing"]
fn what_telemetry_costs_a_call() {
    let (target, recorder) =
        (target(), PrometheusBuilder::new().set_buckets(&[0.1, 1.0]).expect("buckets").build_recorder());
    let handle = recorder.handle();
    metrics::with_local_recorder(&recorder, || {
        let known: HashSet<String> = [target.name.clone()].into();
        println!("| what | ns | allocations |\n|---|---|---|");
        cost("a figure by name and labels, as it was", || {
            metrics::histogram!("by_name", "model" => target.model.clone(), "provider" => target.provider.clone())
                .record(1.0);
        });
        let quiet = Settings { collector: None, ..Settings::default() };
        let (off, _) = Telemetry::with(Meters::with(handle.clone(), known.clone()), quiet);
        cost("the same figure by its handle", || {
            off.first_token("chat.completions", &target, Duration::from_millis(1))
        });
        let mut marked = case(&target);
        cost("the marks of a call on its way: 11 steps, 1 attempt", || {
            marked.marks = Marks::within(None);
            go(&mut marked, &target);
        });
        let case = case(&target);
        cost("closing a call: figures alone", || off.closed(&case, "finished"));
        let (none, _exporter) = Telemetry::with(Meters::with(handle.clone(), known.clone()), settings(0.0));
        cost("closing a call: traces on, this one not kept", || none.closed(&case, "finished"));
        let (all, mut exporter) = Telemetry::with(Meters::with(handle.clone(), known.clone()), settings(1.0));
        let exporter = exporter.as_mut().expect("an exporter");
        cost("closing a call: its trace kept", || {
            all.closed(&case, "finished");
            drop(black_box(exporter.next()));
        });
        let end = case.started.elapsed();
        let trace = Trace::of(&Finished { case: &case, outcome: "finished", end, overhead: end }, false, true);
        cost("in the exporter's task: 13 spans in the protocol's words", || {
            black_box(trace.spans().iter().map(Message::encoded_len).sum::<usize>());
        });
        handle.run_upkeep();
    });
}
