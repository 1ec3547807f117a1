//! Starting, being watched, changing, ending.

use qa::check::{refused, usd};
use qa::upstream::{Gate, Step, openai};
use qa::world::{ADMIN_KEY, Setup, World, hello, hello_stream};
use serde_json::{Value, json};

async fn get(world: &World, path: &str) -> qa::http::Answer {
    world.http.send("GET", &format!("{}{path}", world.url()), &[], "").await.expect("an answer")
}

#[tokio::test]
async fn a_stream_in_flight_is_finished_before_the_end() {
    let mut world = World::start().await;
    let tenant = world.rich().await;
    let gate = Gate::new();
    world.first.next(openai::begin(&["Hello"]).then(Step::Wait(gate.clone())).and(openai::end(Some((10, 5)))));
    let mut flow = world.stream(&tenant.key, &hello_stream("chat")).await;
    flow.until("Hello").await;
    world.alfred().ask_to_end();
    // From here on nobody new is let in; the one inside is not put out.
    let other = qa::http::Http::new();
    for _ in 0..500 {
        match other.send("GET", &format!("{}/readyz", world.url()), &[], "").await {
            Ok(answer) if answer.status == 200 => tokio::time::sleep(std::time::Duration::from_millis(10)).await,
            _ => break,
        }
    }
    gate.open();
    let answer = flow.whole().await.expect("a whole stream");
    assert_eq!(answer.events().last().map(String::as_str), Some("[DONE]"));
    assert_eq!(world.alfred().ended().await, Some(0));
    world.restart().await;
    let receipt = world.receipt(answer.must("x-request-id")).await;
    assert_eq!((receipt["status"].clone(), usd(&receipt, "price_usd")), (json!("settled"), 20_000));
}

#[tokio::test]
async fn what_does_not_end_in_time_is_settled_at_shutdown() {
    let mut world = Setup::new().with(|config| config["deadlines"] = json!({"shutdown_ms": 300})).start().await;
    let tenant = world.rich().await;
    world.first.next(openai::begin(&["Some words"]).then(Step::Wait(Gate::new())));
    let mut flow = world.stream(&tenant.key, &hello_stream("chat")).await;
    flow.until("Some words").await;
    let call = flow.headers["x-request-id"].to_str().expect("printable").to_owned();
    world.alfred().ask_to_end();
    let (answer, _) = flow.drain().await;
    assert!(!answer.text().contains("[DONE]"));
    world.alfred().ended().await;
    world.restart().await;
    let receipt = world.receipt(&call).await;
    assert_eq!(receipt["status"], "settled", "{receipt}");
    assert_eq!(usd(&world.wallet(&tenant.wallet).await, "held_usd"), 0);
}

#[tokio::test]
async fn a_call_that_still_waits_for_its_answer_at_shutdown_is_released_and_not_charged() {
    let mut world = Setup::new().with(|config| config["deadlines"] = json!({"shutdown_ms": 300})).start().await;
    let tenant = world.rich().await;
    world.first.next(openai::chat("Too late", 10, 5).behind(Gate::new()));
    let before = world.first.count();
    let (pid, body) = (world.alfred().pid().to_string(), hello("chat"));
    let answer = {
        let asking = world.chat(&tenant.key, &body);
        tokio::pin!(asking);
        tokio::select! {
            _ = &mut asking => panic!("answered before the gate was open"),
            () = world.first.until("the provider is asked", |first| first.count() > before) => {}
        }
        let asked = std::process::Command::new("kill").args(["-TERM", &pid]).status();
        assert!(asked.is_ok_and(|status| status.success()));
        asking.await
    };
    assert_eq!(answer.status, 503, "{}", answer.text());
    world.alfred().ended().await;
    world.restart().await;
    let receipt = world.receipt(answer.headers["x-request-id"].to_str().expect("printable")).await;
    assert_eq!((receipt["status"].as_str(), usd(&receipt, "price_usd")), (Some("released"), 0), "{receipt}");
    assert_eq!(usd(&world.wallet(&tenant.wallet).await, "held_usd"), 0);
}

#[tokio::test]
async fn health_and_metrics_are_there_for_those_who_watch() {
    let world = World::start().await;
    let tenant = world.rich().await;
    assert_eq!(get(&world, "/healthz").await.status, 200);
    assert_eq!(get(&world, "/readyz").await.status, 200);
    world.chat(&tenant.key, &hello("chat")).await.expect(200);
    world.chat(&tenant.key, &hello_stream("chat")).await.expect(200);
    let metrics = get(&world, "/metrics").await.expect(200).text();
    for name in [
        "gen_ai_client_token_usage",
        "gen_ai_client_operation_duration",
        "gen_ai_server_time_to_first_token",
        "alfred_overhead_seconds",
        "alfred_ledger_reserve_seconds",
        "alfred_auth_verify_seconds",
        "alfred_queue_depth",
        "alfred_receipt_lag_seconds",
        "alfred_requests_total",
        "alfred_overrun_usd_total",
    ] {
        assert!(metrics.lines().any(|line| line.starts_with(name)), "no {name} in\n{metrics}");
    }
    let page = get(&world, "/").await.expect(200);
    assert!(page.text().to_lowercase().contains("alfred"), "{}", page.text());
}

#[tokio::test]
async fn the_admin_api_tells_what_it_can_do_and_refuses_in_problem_documents() {
    let world = World::start().await;
    let answer = world.ask_admin("GET", "/openapi.json", &[], &Value::Null).await.expect(200);
    let document = answer.json();
    assert!(document["openapi"].as_str().is_some_and(|v| v.starts_with("3.1")), "{}", document["openapi"]);
    let paths = document["paths"].as_object().expect("paths");
    for wanted in ["orgs", "teams", "users", "wallets", "keys", "requests", "audit"] {
        assert!(paths.keys().any(|path| path.ends_with(wanted)), "no {wanted} in {:?}", paths.keys());
    }
    for (method, path, body, status) in [
        ("POST", "/orgs", json!({"nam": "x"}), 400..=422),
        ("POST", "/wallets", json!({"org_id": "org_nothing"}), 400..=422),
        ("GET", "/wallets/wal_00000000000000000000000000000000", Value::Null, 404..=404),
        ("GET", "/requests/nonsense", Value::Null, 400..=404),
        ("GET", "/nothing", Value::Null, 404..=404),
    ] {
        let answer = world.ask_admin(method, path, &[], &body).await;
        assert!(status.contains(&answer.status), "{method} {path}: {} {}", answer.status, answer.text());
        assert!(answer.must("content-type").starts_with("application/problem+json"), "{method} {path}");
        let problem = answer.json();
        assert_eq!(problem["status"], answer.status, "{problem}");
        assert!(problem["title"].is_string(), "{problem}");
    }
}

#[tokio::test]
async fn admin_calls_can_be_repeated_safely() {
    let world = World::start().await;
    let [one, again] = [
        world.ask_admin("POST", "/orgs", &[("idempotency-key", "o1")], &json!({"name": "Once"})).await.json(),
        world.ask_admin("POST", "/orgs", &[("idempotency-key", "o1")], &json!({"name": "Once"})).await.json(),
    ];
    assert_eq!(one["id"], again["id"]);
    let answer = world.ask_admin("POST", "/orgs", &[("idempotency-key", "o1")], &json!({"name": "Other"})).await;
    assert_eq!(answer.status, 409, "{}", answer.text());
}

#[tokio::test]
async fn lists_are_paged_without_gaps_or_repeats() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let mut made = Vec::new();
    for _ in 0..7 {
        made.push(world.chat(&tenant.key, &hello("chat")).await.expect(200).must("x-request-id").to_owned());
    }
    let (mut seen, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = world.admin("GET", &format!("/requests?org_id={}&limit=3{cursor}", tenant.org), Value::Null).await;
        let data = page["data"].as_array().expect("data");
        assert!(data.len() <= 3);
        seen.extend(data.iter().map(qa::world::id));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    seen.sort();
    made.sort();
    assert_eq!(seen, made);
}

#[tokio::test]
async fn a_second_process_on_the_same_sqlite_says_so_and_stops() {
    let world = Setup::new().on_sqlite().start().await;
    let config = world.folder().join("second.yaml");
    std::fs::write(&config, json!({"database": {"url": world.database}, "listen": "127.0.0.1:0"}).to_string())
        .expect("a file");
    let arguments = ["serve", "--config", config.to_str().expect("UTF-8")];
    let mut second =
        qa::world::Process::spawn(&arguments, &[("ALFRED_BOOTSTRAP_ADMIN_KEY", ADMIN_KEY)], world.folder(), "");
    assert_ne!(second.ended().await, Some(0));
    assert!(second.log().contains("lock") || second.log().contains("another"), "{}", second.log());
    let tenant = world.rich().await;
    assert_eq!(world.chat(&tenant.key, &hello("chat")).await.status, 200, "the first goes on");
}

#[tokio::test]
async fn on_postgres_a_call_goes_the_same_way() {
    let mut world = Setup::new().on_postgres().start().await;
    let tenant = world.tenant(qa::world::Plan::new().levels(4).hard("0.0006")).await;
    world.chat(&tenant.key, &hello("counted")).await.expect(200);
    world.chat(&tenant.key, &hello_stream("counted")).await.expect(200);
    world.chat(&tenant.key, &hello("counted")).await.expect(200);
    refused(&world.chat(&tenant.key, &hello("counted")).await, 429, "insufficient_quota", "budget_exceeded");
    world.assert_balanced(&tenant).await;
    let (file, _) = world.export(&tenant.org).await;
    let (code, out, err) = qa::tools::run_alfred(&["audit", "verify", file.to_str().expect("UTF-8")]);
    assert_eq!(code, 0, "{out}{err}");
    world.stop().await;
    world.restart().await;
    assert_eq!(usd(&world.wallet(&tenant.wallet).await, "spent_usd"), 150_000);
}

#[tokio::test]
async fn every_fault_of_a_configuration_is_told_with_its_line_and_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("alfred.yaml");
    let yaml = "listen: nowhere\nproviders:\n  - id: x\n    kind: telepathy\nmodels:\n  - id: a\n    targets: [absent/m]\nunknown: 1\n";
    std::fs::write(&file, yaml).expect("a file");
    let (code, out, err) = qa::tools::run_alfred(&["config", "check", "--config", file.to_str().expect("UTF-8")]);
    let said = out + &err;
    assert_eq!(code, 1, "{said}");
    for part in ["alfred.yaml", "listen", "telepathy", "unknown"] {
        assert!(said.contains(part), "no {part} in\n{said}");
    }
}
