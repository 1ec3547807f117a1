//! What those who watch are told: a trace of every call that is kept, figures, lines about slow calls; and nothing of what was said.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use qa::tools;
use qa::upstream::{Script, Upstream};
use qa::world::{Setup, Tenant, World, hello, hello_stream};
use serde_json::{Value, json};

const STEPS: [&str; 11] =
    ["authenticate", "limits", "parse", "safety", "policy", "cache", "quote", "reserve", "forward", "relay", "settle"];
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// Takes traces as a collector does, by OTLP over HTTP.
struct Collector(Upstream);

impl Collector {
    fn start() -> Collector {
        let upstream = Upstream::start();
        upstream.always(Script::bytes(200, "application/x-protobuf", ""));
        Collector(upstream)
    }

    /// A house that sends its traces here.
    async fn house(&self, change: impl FnOnce(&mut Value)) -> World {
        let endpoint = self.0.root();
        let setup = Setup::new().with(|config| config["telemetry"] = json!({"otlp": {"endpoint": endpoint}}));
        setup.with(change).start().await
    }

    /// Every span so far.
    fn spans(&self) -> Vec<Span> {
        let seen = self.0.seen();
        let requests = seen.iter().map(|seen| {
            assert_eq!((seen.method.as_str(), seen.path.as_str()), ("POST", "/v1/traces"));
            assert_eq!(seen.headers["content-type"], "application/x-protobuf");
            ExportTraceServiceRequest::decode(seen.body.clone()).expect("a request of the protocol")
        });
        requests.flat_map(|it| it.resource_spans).flat_map(|it| it.scope_spans).flat_map(|it| it.spans).collect()
    }

    /// The traces of these calls, once they have come.
    async fn traces(&self, calls: &[String]) -> Vec<Trace> {
        let has = |call: &String| self.roots().contains_key(call);
        self.0.until("all traces have come", |_| calls.iter().all(has)).await;
        let (roots, spans) = (self.roots(), self.spans());
        calls.iter().map(|call| Trace::of(roots[call].clone(), &spans)).collect()
    }

    /// The first span of each call.
    fn roots(&self) -> BTreeMap<String, Span> {
        let spans = self.spans().into_iter();
        spans.filter_map(|span| said(&span.attributes).get("alfred.call.id").cloned().map(|id| (id, span))).collect()
    }
}

struct Trace {
    root: Span,
    others: Vec<Span>,
}

impl Trace {
    fn of(root: Span, spans: &[Span]) -> Trace {
        let others = spans.iter().filter(|span| span.trace_id == root.trace_id && span.span_id != root.span_id);
        Trace { others: others.cloned().collect(), root }
    }

    fn named(&self, name: &str) -> &Span {
        self.others.iter().find(|span| span.name == name).unwrap_or_else(|| panic!("no {name} in {:?}", self.others))
    }

    fn attempts(&self) -> Vec<&Span> {
        self.others.iter().filter(|span| span.kind == 3).collect()
    }
}

/// Attributes as texts.
fn said(attributes: &[KeyValue]) -> BTreeMap<String, String> {
    let text = |value: &AnyValue| match &value.value {
        Some(Any::StringValue(text)) => text.clone(),
        Some(Any::IntValue(number)) => number.to_string(),
        Some(Any::DoubleValue(number)) => number.to_string(),
        Some(Any::BoolValue(flag)) => flag.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|it| (it.key.clone(), it.value.as_ref().map(text).unwrap_or_default())).collect()
}

fn id(answer: &qa::http::Answer) -> String {
    answer.must("x-request-id").to_owned()
}

async fn metrics(world: &World) -> String {
    world.http.send("GET", &format!("{}/metrics", world.url()), &[], "").await.expect("an answer").text()
}

/// A figure's number; 0 while there is none.
fn figure(page: &str, name: &str) -> f64 {
    let line = page.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|rest| rest.trim().parse().ok()).unwrap_or(0.0)
}

async fn traced(world: &World, tenant: &Tenant, headers: &[(&str, &str)], body: &Value) -> qa::http::Answer {
    world.call(&tenant.key, "/v1/chat/completions", headers, body).await
}

#[tokio::test]
async fn a_call_is_one_trace_whose_steps_lie_within_it() {
    let collector = Collector::start();
    let world = collector.house(|_| ()).await;
    let tenant = world.rich().await;
    let mut calls = Vec::new();
    for body in [hello("steady"), hello_stream("steady")] {
        world.first.next(Script::error(503, "overloaded"));
        calls.push(id(&traced(&world, &tenant, &[], &body).await.expect(200)));
    }
    for (call, trace) in calls.iter().zip(collector.traces(&calls).await) {
        assert_eq!(hex::encode(&trace.root.trace_id), call.trim_start_matches("req_"), "named after the call");
        assert!(trace.root.parent_span_id.is_empty() && trace.root.kind == 2 && trace.root.status.is_none());
        for step in STEPS {
            let span = trace.named(step);
            assert_eq!(span.parent_span_id, trace.root.span_id, "{step}");
        }
        for span in &trace.others {
            assert!(span.start_time_unix_nano >= trace.root.start_time_unix_nano, "{}", span.name);
            assert!(span.end_time_unix_nano >= span.start_time_unix_nano, "{}", span.name);
            assert!(span.end_time_unix_nano <= trace.root.end_time_unix_nano, "{}", span.name);
        }
        let names: BTreeSet<&Vec<u8>> = trace.others.iter().map(|span| &span.span_id).collect();
        assert_eq!(names.len(), trace.others.len(), "every span has a name of its own");
        // Limits are looked at first, and drawn from when it is known how much.
        assert_eq!(trace.others.len(), STEPS.len() + 1 + 2, "{:?}", trace.others);
        let [failed, answered] = trace.attempts()[..] else { panic!("two attempts: {:?}", trace.others) };
        let forward = trace.named("forward");
        assert!(failed.parent_span_id == forward.span_id && answered.parent_span_id == forward.span_id);
        let (of_failed, of_answered, of_root) =
            (said(&failed.attributes), said(&answered.attributes), said(&trace.root.attributes));
        assert_eq!(
            (of_failed["error.type"].as_str(), of_failed["http.response.status_code"].as_str()),
            ("server", "503")
        );
        assert_eq!(failed.status.as_ref().map(|it| it.code), Some(2));
        assert_eq!(answered.name, "chat test-chat");
        for (name, value) in [
            ("gen_ai.operation.name", "chat"),
            ("gen_ai.provider.name", "openai"),
            ("gen_ai.request.model", "test-chat"),
            ("gen_ai.usage.input_tokens", "10"),
            ("gen_ai.usage.output_tokens", "5"),
            ("server.address", "127.0.0.1"),
            ("alfred.provider", "second"),
        ] {
            assert_eq!(of_answered.get(name).map(String::as_str), Some(value), "{of_answered:?}");
        }
        assert!(of_answered["gen_ai.response.finish_reasons"].contains("stop"));
        for (name, value) in [
            ("alfred.org.id", tenant.org.as_str()),
            ("alfred.key.id", &tenant.key_id),
            ("alfred.wallet.id", &tenant.wallet),
            ("alfred.attempts", "2"),
            ("alfred.outcome", "finished"),
            ("alfred.cost_usd", "0.00002"),
            ("gen_ai.request.model", "steady"),
        ] {
            assert_eq!(of_root.get(name).map(String::as_str), Some(value), "{of_root:?}");
        }
    }
}

#[tokio::test]
async fn a_clients_trace_goes_on_and_providers_are_told_of_it_only_where_the_operator_says_so() {
    let collector = Collector::start();
    let world = collector.house(|config| config["telemetry"]["propagate"] = json!(["second"])).await;
    let tenant = world.rich().await;
    let parent = format!("00-{TRACE}-{PARENT}-00");
    let headers = [("traceparent", parent.as_str()), ("tracestate", "vendor=word")];
    world.first.next(Script::error(503, "overloaded"));
    let call = id(&traced(&world, &tenant, &headers, &hello("steady")).await.expect(200));
    let trace = collector.traces(&[call]).await.remove(0);
    assert_eq!(hex::encode(&trace.root.trace_id), TRACE);
    assert_eq!(hex::encode(&trace.root.parent_span_id), PARENT);
    assert_eq!(trace.root.flags & 0x300, 0x300, "its parent is somebody else's");
    let [_, answered] = trace.attempts()[..] else { panic!("two attempts") };
    let first = world.first.last().headers;
    assert!(!first.contains_key("traceparent") && !first.contains_key("tracestate"), "{first:?}");
    let second = world.second.last().headers;
    assert_eq!(second["traceparent"], format!("00-{TRACE}-{}-01", hex::encode(&answered.span_id)));
    assert_eq!(second["tracestate"], "vendor=word");
}

#[tokio::test]
async fn what_is_kept_is_decided_by_the_calls_name_and_not_by_its_client() {
    let collector = Collector::start();
    let world = collector.house(|config| config["telemetry"]["sample_ratio"] = json!(0.5)).await;
    let tenant = world.rich().await;
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let mut calls = Vec::new();
    for n in 0..40 {
        let headers = [("traceparent", parent.as_str())];
        let headers = if n % 2 == 0 { &headers[..] } else { &[] };
        calls.push(id(&traced(&world, &tenant, headers, &hello("chat")).await.expect(200)));
    }
    // Half of what the last 56 bits can be.
    let kept: Vec<String> =
        calls.iter().filter(|call| u8::from_str_radix(&call[22..24], 16).expect("digits") >= 0x80).cloned().collect();
    collector.traces(&kept).await;
    assert_eq!(collector.roots().into_keys().collect::<BTreeSet<_>>(), kept.into_iter().collect(), "of {calls:?}");
}

#[tokio::test]
async fn errors_are_kept_whatever_the_ratio_and_a_clients_mistakes_are_none() {
    let collector = Collector::start();
    let world = collector.house(|config| config["telemetry"]["sample_ratio"] = json!(0.0)).await;
    let tenant = world.rich().await;
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let sampled = [("traceparent", parent.as_str())];
    for (body, status) in [(hello("chat"), 200), (hello("nothing-of-the-kind"), 404), (json!({}), 400)] {
        traced(&world, &tenant, &sampled, &body).await.expect(status);
    }
    world.call("sk-alf-wrong", "/v1/chat/completions", &sampled, &hello("chat")).await.expect(401);
    world.first.next(Script::error(500, "server_error"));
    let failed = id(&traced(&world, &tenant, &[], &hello("chat")).await.expect(502));
    let trace = collector.traces(std::slice::from_ref(&failed)).await.remove(0);
    assert_eq!(trace.root.status.as_ref().map(|it| it.code), Some(2));
    let of_root = said(&trace.root.attributes);
    assert_eq!((of_root["error.type"].as_str(), of_root["alfred.stopped_in"].as_str()), ("provider_error", "forward"));
    assert_eq!(of_root["http.response.status_code"], "502");
    assert_eq!(collector.roots().into_keys().collect::<Vec<_>>(), [failed]);
}

#[tokio::test]
async fn nothing_that_anybody_said_is_in_a_trace_a_figure_or_a_line() {
    const CANARY: &str = "canary4711";
    let collector = Collector::start();
    let mut world = collector
        .house(|config| {
            config["telemetry"]["slow_call_ms"] = json!(1);
            config["telemetry"]["resource"] = json!({"deployment.environment.name": "test"});
            config["log"] = json!({"calls": "all"});
            config["models"].as_array_mut().expect("models").push(json!({"id": "own", "targets": ["first/test-chat"]}));
        })
        .await;
    let tenant = world.rich().await;
    let state = format!("{CANARY}=1");
    let tags = format!("{CANARY}={CANARY}");
    let parent = format!("00-{TRACE}-{PARENT}-01");
    let headers = [
        ("traceparent", parent.as_str()),
        ("tracestate", state.as_str()),
        ("x-alfred-tags", tags.as_str()),
        ("baggage", state.as_str()),
        ("user-agent", CANARY),
    ];
    let mut answer = qa::upstream::openai::body(CANARY, Some((10, 5)));
    answer["model"] = json!("test-chat-2026-11-20");
    answer["choices"][0]["finish_reason"] = json!(CANARY);
    let slowly = || Script::json(200, &answer).after(Duration::from_millis(20));
    let mut calls = Vec::new();
    // An invented model of a provider that takes any is served, and its name is the client's word all the same.
    for (model, status) in [("own", 200), (&format!("first/{CANARY}"), 422), (CANARY, 404)] {
        world.first.next(slowly());
        let body = json!({
            "model": model, "user": CANARY, "metadata": {CANARY: CANARY},
            "messages": [{"role": "user", "content": format!("tell {CANARY} at {CANARY}@example.com")}],
        });
        let answer = traced(&world, &tenant, &headers, &body).await;
        assert!(answer.status == status || status == 422, "{model}: {} {}", answer.status, answer.text());
        calls.push(id(&answer));
        world.first.behave();
    }
    collector.traces(&calls).await;
    let page = metrics(&world).await;
    let log = world.stop().await;
    let sent: Vec<_> = collector.0.seen().into_iter().map(|seen| seen.body).collect();
    for body in &sent {
        let text = String::from_utf8_lossy(body);
        assert!(!text.contains(CANARY) && !text.contains(&tenant.key), "{text}");
    }
    assert!(!page.contains(CANARY), "{page}");
    assert!(!log.contains(CANARY), "{log}");
    let (slow, lines) = (log.matches("slow call").count(), log.matches("call closed").count());
    assert!(slow >= 1 && lines == 3, "{slow} slow, {lines} in all:\n{log}");
    assert!(log.contains("authenticate=") && log.contains(" settle="), "{log}");
    // What a provider calls a model of ours is in the receipt as well.
    let attempt = collector.spans().into_iter().find(|span| span.kind == 3).expect("an attempt");
    assert_eq!(said(&attempt.attributes)["gen_ai.response.model"], "test-chat-2026-11-20");
    let resource =
        ExportTraceServiceRequest::decode(sent[0].clone()).expect("a request").resource_spans.remove(0).resource;
    let resource = said(&resource.expect("a resource").attributes);
    assert_eq!(
        (resource["service.name"].as_str(), resource["deployment.environment.name"].as_str()),
        ("alfred", "test")
    );
}

#[tokio::test]
async fn a_collector_that_is_down_costs_nothing_but_the_spans() {
    let mut collector = Collector::start();
    let mut world = collector.house(|_| ()).await;
    let tenant = world.rich().await;
    collector.0.stop();
    for _ in 0..3 {
        traced(&world, &tenant, &[], &hello("chat")).await.expect(200);
    }
    let from = Instant::now();
    // A root, eleven steps and an attempt each.
    while figure(&metrics(&world).await, "alfred_spans_dropped_total ") < 3.0 * 13.0 {
        assert!(from.elapsed() < Duration::from_secs(20), "nothing was counted:\n{}", metrics(&world).await);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    traced(&world, &tenant, &[], &hello_stream("chat")).await.expect(200);
    world.assert_balanced(&tenant).await;
    let log = world.stop().await;
    assert_eq!(log.matches("the collector takes no traces").count(), 1, "said once:\n{log}");
}

#[tokio::test]
async fn the_last_spans_leave_before_the_house_ends_and_a_collector_that_hangs_does_not_keep_it() {
    let collector = Collector::start();
    let mut world = collector.house(|_| ()).await;
    let tenant = world.rich().await;
    let mut calls = Vec::new();
    for _ in 0..5 {
        calls.push(id(&traced(&world, &tenant, &[], &hello("chat")).await.expect(200)));
    }
    world.stop().await;
    let roots = collector.roots();
    assert!(calls.iter().all(|call| roots.contains_key(call)), "{calls:?} of {roots:?}");

    collector.0.always(Script::hangs());
    world.restart().await;
    traced(&world, &tenant, &[], &hello("chat")).await.expect(200);
    let from = Instant::now();
    world.stop().await;
    assert!(from.elapsed() < Duration::from_secs(30), "{:?}", from.elapsed());
}

#[tokio::test]
async fn the_standard_environment_says_where_traces_go_if_the_file_does_not() {
    let collector = Collector::start();
    let mut world = World::start().await;
    world.stop().await;
    let endpoint = collector.0.root();
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-token=canary%20token"),
        ("OTEL_SERVICE_NAME", "the-house"),
        ("OTEL_RESOURCE_ATTRIBUTES", "team=platform"),
    ];
    world.restart_with(&environment).await;
    let tenant = world.rich().await;
    let call = id(&traced(&world, &tenant, &[], &hello("chat")).await.expect(200));
    collector.traces(&[call]).await;
    let seen = collector.0.last();
    assert_eq!(seen.headers["x-token"], "canary token");
    let request = ExportTraceServiceRequest::decode(seen.body).expect("a request");
    let resource = said(&request.resource_spans[0].resource.as_ref().expect("a resource").attributes);
    assert_eq!((resource["service.name"].as_str(), resource["team"].as_str()), ("the-house", "platform"));
    assert!(!world.log().contains("canary token"));
}

#[tokio::test]
async fn the_figures_have_the_names_and_labels_of_the_conventions_and_prometheus_finds_no_fault() {
    let world = World::start().await;
    let tenant = world.rich().await;
    world.first.next(Script::error(503, "overloaded"));
    for body in [hello("steady"), hello_stream("steady"), hello("first/free"), hello("nobody/knows")] {
        traced(&world, &tenant, &[], &body).await;
    }
    let page = metrics(&world).await;
    let labels = "gen_ai_operation_name=\"chat\",gen_ai_provider_name=\"openai\",gen_ai_request_model=\"test-chat\",alfred_provider=\"second\"";
    for line in [
        format!("gen_ai_client_token_usage_count{{{labels},gen_ai_token_type=\"input\"}} 1"),
        format!("gen_ai_client_token_usage_sum{{{labels},gen_ai_token_type=\"output\"}} 5"),
        format!("gen_ai_client_operation_duration_count{{{labels}}} 1"),
        format!("gen_ai_server_time_to_first_token_count{{{labels}}} 1"),
        "alfred_attempts_total{target=\"first/test-chat\",outcome=\"server\"} 1".to_owned(),
        "alfred_attempts_total{target=\"second/test-chat\",outcome=\"answered\"} 1".to_owned(),
        "alfred_breaker_state{target=\"second/test-chat\"} 0".to_owned(),
        "alfred_requests_total{kind=\"chat.completions\",outcome=\"finished\"} 3".to_owned(),
        "alfred_requests_total{kind=\"chat.completions\",outcome=\"model_not_found\"} 1".to_owned(),
        "alfred_retries_total 1".to_owned(),
        "alfred_sheds_total 0".to_owned(),
        "alfred_calls_in_flight 0".to_owned(),
        "alfred_step_seconds_count{step=\"authenticate\"} 4".to_owned(),
        "alfred_step_seconds_count{step=\"relay\"} 3".to_owned(),
    ] {
        assert!(page.lines().any(|it| it == line), "no {line} in\n{page}");
    }
    assert!(!page.contains("nobody"), "{page}");
    let mut check = Command::new(tools::cached("promtool"));
    check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut check = check.spawn().expect("promtool starts");
    check.stdin.take().expect("a pipe").write_all(page.as_bytes()).expect("promtool reads");
    let found = check.wait_with_output().expect("promtool ends");
    let words = format!("{}{}", String::from_utf8_lossy(&found.stdout), String::from_utf8_lossy(&found.stderr));
    assert!(found.status.success() && words.trim().is_empty(), "promtool: {words}\n{page}");
}

#[test]
fn the_rules_to_begin_with_are_sound_and_speak_of_figures_that_are_documented() {
    let folder = tools::repository().join("docs");
    let rules = folder.join("observability/prometheus-rules.yaml");
    tools::must_run(Command::new(tools::cached("promtool")).args(["check", "rules"]).arg(&rules));
    let read = |path| std::fs::read_to_string(path).expect("a file");
    let (rules, page) = (read(rules), read(folder.join("observability.md")));
    let words = rules.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':'));
    let figures: BTreeSet<&str> =
        words.filter(|word| word.starts_with("alfred_")).map(|word| word.trim_end_matches("_bucket")).collect();
    assert!(figures.len() > 5, "{figures:?}");
    for figure in figures {
        assert!(page.contains(&format!("`{figure}`")), "{figure} is not documented");
    }
}
