//! Answers on their way: chunk by chunk, metered, and closed exactly once however they end.

use qa::check::{refused, usd};
use qa::upstream::{Gate, PROVIDER_WORDS, Script, Step, openai};
use qa::world::{Setup, World, hello, hello_stream};
use serde_json::{Value, json};

#[tokio::test]
async fn chunks_are_relayed_as_they_come() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let [one, two] = [Gate::new(), Gate::new()];
    let script = openai::begin(&["First"])
        .then(Step::Wait(one.clone()))
        .and(Script::stream([openai::event(&openai::delta(json!({"content": " second"}), None))]))
        .then(Step::Wait(two.clone()))
        .and(openai::end(Some((10, 5))));
    world.first.next(script);
    let mut flow = world.stream(&tenant.key, &hello_stream("chat")).await;
    // Each gate opens only after what came before it has arrived here.
    flow.until("First").await;
    one.open();
    flow.until("second").await;
    two.open();
    assert_eq!(flow.whole().await.expect("a whole stream").said(), "First second");
}

#[tokio::test]
async fn a_client_that_leaves_early_pays_for_what_was_used_and_the_provider_is_let_go() {
    let world = World::start().await;
    let tenant = world.rich().await;
    world.first.next(openai::begin(&["Some words", " that cost"]).then(Step::Wait(Gate::new())));
    let mut flow = world.stream(&tenant.key, &hello_stream("chat")).await;
    flow.until("that cost").await;
    let call = flow.headers["x-request-id"].to_str().expect("printable").to_owned();
    assert!(usd(&world.wallet(&tenant.wallet).await, "held_usd") > 0);
    drop(flow);
    world.first.until("the provider is let go", |first| first.abandoned() == 1).await;
    let receipt = world.receipt_when(&call, |receipt| receipt["status"] == "settled").await;
    let (price, output) = (usd(&receipt, "price_usd"), receipt["output_tokens"].as_u64().expect("counted"));
    assert!((2..50).contains(&output), "{receipt}");
    assert!(price > 0 && price < 10_000 + 50 * 2_000 + 100_000, "{receipt}");
    let wallet = world.wallet(&tenant.wallet).await;
    assert_eq!((usd(&wallet, "held_usd"), usd(&wallet, "spent_usd")), (0, price));
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn where_hanging_up_saves_nothing_the_usage_is_still_read_and_charged() {
    let setup = Setup::new().with(|config| config["prices"]["first/test-chat"]["hidden_output"] = json!(true));
    let world = setup.start().await;
    let tenant = world.rich().await;
    let gate = Gate::new();
    world.first.next(openai::begin(&["Some words"]).then(Step::Wait(gate.clone())).and(openai::end(Some((10, 700)))));
    let mut flow = world.stream(&tenant.key, &hello_stream("chat")).await;
    flow.until("Some words").await;
    let call = flow.headers["x-request-id"].to_str().expect("printable").to_owned();
    drop(flow);
    gate.open();
    let receipt = world.receipt_when(&call, |receipt| receipt["status"] == "settled").await;
    assert_eq!((receipt["output_tokens"].as_u64(), receipt["tokens_estimated"].as_bool()), (Some(700), Some(false)));
    assert_eq!(usd(&receipt, "price_usd"), 10 * 1_000 + 700 * 2_000, "what nobody saw was billed: {receipt}");
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn what_is_read_on_for_its_usage_is_bounded_in_time_and_in_bytes() {
    let setup = |drain: u64| {
        Setup::new().with(move |config| {
            config["prices"]["first/test-chat"]["bills_after_cancel"] = json!(true);
            config["deadlines"] = json!({"drain_ms": drain});
        })
    };
    let large = || openai::event(&openai::delta(json!({"content": "x".repeat(1 << 20)}), None));
    let rows = [
        ("time", 200, Script::stream([": nothing more\n\n"])),
        // Far more than an hour's worth of patience.
        ("bytes", 3_600_000, Script::stream((0..12).map(|_| large()))),
    ];
    for (name, drain, more) in rows {
        let world = setup(drain).start().await;
        let tenant = world.rich().await;
        let gate = Gate::new();
        let begun = openai::begin(&["Some words"]).then(Step::Wait(gate.clone()));
        world.first.next(begun.and(more).then(Step::Wait(Gate::new())));
        let mut flow = world.stream(&tenant.key, &hello_stream("chat")).await;
        flow.until("Some words").await;
        let call = flow.headers["x-request-id"].to_str().expect("printable").to_owned();
        drop(flow);
        gate.open();
        world.first.until("the provider is let go", |first| first.abandoned() == 1).await;
        let receipt = world.receipt_when(&call, |receipt| receipt["status"] == "settled").await;
        assert_eq!((&receipt["ending"], &receipt["tokens_estimated"]), (&json!("client_left"), &json!(true)), "{name}");
        assert!(usd(&receipt, "price_usd") > 0, "{name}: {receipt}");
        world.at_rest(&tenant.wallet, std::time::Duration::from_secs(5)).await;
        world.assert_balanced(&tenant).await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_leaves_no_hold_behind() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let gate = Gate::new();
    for body in [hello("chat"), hello_stream("chat")] {
        let before = world.first.count();
        world.first.next(openai::chat("Hello there", 10, 5).behind(gate.clone()));
        {
            let asking = world.chat(&tenant.key, &body);
            tokio::select! {
                _ = asking => panic!("answered before the gate was open"),
                () = world.first.until("the provider is asked", |first| first.count() > before) => {}
            }
        }
        gate.open();
        world.at_rest(&tenant.wallet, std::time::Duration::from_secs(10)).await;
    }
    let entries = world.entries(&tenant.wallet).await;
    let closing = entries.iter().filter(|e| e["kind"] != "reserve").count();
    assert_eq!((entries.len(), closing), (4, 2), "each closed once: {entries:?}");
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn a_stream_that_breaks_after_its_first_byte_ends_with_an_error_event_and_no_done() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let broken = [
        ("cut", openai::begin(&["Some words"]).then(Step::Cut)),
        ("not JSON", openai::begin(&["Some words"]).and(Script::stream(["data: {\"choices\": [\n\n"]))),
        ("ended without its end", openai::begin(&["Some words"])),
        (
            "the provider's own error",
            openai::begin(&["Some words"])
                .and(Script::stream([format!("data: {}\n\n", json!({"error": {"message": PROVIDER_WORDS}}))])),
        ),
    ];
    for (name, script) in broken {
        world.first.next(script);
        let (answer, _) = world.stream(&tenant.key, &hello_stream("chat")).await.drain().await;
        assert!(answer.text().contains("Some words"), "{name}: {}", answer.text());
        assert!(!answer.text().contains("[DONE]"), "{name}: {}", answer.text());
        let last: Value = serde_json::from_str(answer.events().last().expect("events")).expect("JSON");
        assert_eq!(last["error"]["type"], "api_error", "{name}: {last}");
        assert!(!answer.text().contains(PROVIDER_WORDS), "{name}: {}", answer.text());
        // What was produced is paid for; nothing stays held.
        let receipt = world.receipt_when(answer.must("x-request-id"), |r| r["status"] == "settled").await;
        assert!(usd(&receipt, "price_usd") > 0, "{name}: {receipt}");
        assert_eq!(usd(&world.wallet(&tenant.wallet).await, "held_usd"), 0, "{name}");
    }
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn a_provider_that_falls_silent_is_given_up() {
    let world = Setup::new().with(|config| config["deadlines"] = json!({"idle_ms": 300})).start().await;
    let tenant = world.rich().await;
    world.first.next(openai::begin(&["Some words"]).then(Step::Wait(Gate::new())));
    let (answer, _) = world.stream(&tenant.key, &hello_stream("chat")).await.drain().await;
    let last: Value = serde_json::from_str(answer.events().last().expect("events")).expect("JSON");
    assert_eq!(last["error"]["code"], "provider_timeout", "{last}");
    world.first.until("the provider is let go", |first| first.abandoned() == 1).await;
    assert_eq!(usd(&world.wallet(&tenant.wallet).await, "held_usd"), 0);
}

#[tokio::test]
async fn without_usage_the_tokens_are_counted_and_marked_estimated() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let words = ["The", " quick", " brown", " fox"];
    world.first.next(openai::stream(&words, None));
    let answer = world.chat(&tenant.key, &hello_stream("chat")).await.expect(200);
    assert_eq!(answer.said(), "The quick brown fox");
    let usage = answer.chunks().iter().find(|c| c["usage"].is_object()).expect("it was asked for")["usage"].clone();
    let receipt = world.receipt(answer.must("x-request-id")).await;
    assert_eq!(receipt["tokens_estimated"], json!(true), "{receipt}");
    // About a token a word; a count, and no safety factor on it.
    assert!(receipt["output_tokens"].as_u64().is_some_and(|n| (3..=20).contains(&n)), "{receipt}");
    assert_eq!(usage["completion_tokens"], receipt["output_tokens"]);
    assert_eq!(usage["alfred_cost_usd"], receipt["price_usd"]);

    world.first.next(Script::json(200, &openai::body("The quick brown fox", None)));
    let answer = world.chat(&tenant.key, &hello("chat")).await.expect(200);
    let receipt = world.receipt(answer.must("x-request-id")).await;
    assert_eq!(receipt["tokens_estimated"], json!(true), "{receipt}");
    assert!(usd(&receipt, "price_usd") > 0, "{receipt}");
}

#[tokio::test]
async fn cached_input_is_billed_at_its_own_rate() {
    let world = Setup::new()
        .with(|config| {
            config["prices"]["first/test-chat"] = json!({"input": "1.00", "cached_input": "0.10", "output": "2.00"})
        })
        .start()
        .await;
    let tenant = world.rich().await;
    let mut body = openai::body("Hello", Some((10, 5)));
    body["usage"]["prompt_tokens_details"] = json!({"cached_tokens": 4});
    world.first.next(Script::json(200, &body));
    let answer = world.chat(&tenant.key, &hello("chat")).await.expect(200);
    // 6 × 1 µ$ + 4 × 0.1 µ$ + 5 × 2 µ$
    assert_eq!(answer.must("x-alfred-cost-usd"), "0.0000164");
}

#[tokio::test]
async fn more_than_was_held_is_the_platforms_loss_not_the_tenants() {
    let world = World::start().await;
    let tenant = world.tenant(qa::world::Plan::new().hard("0.0005")).await;
    // Held: 50 tokens. Billed: 80.
    world.first.next(openai::chat("more than was asked for", 10, 80));
    let answer = world.chat(&tenant.key, &hello("counted")).await.expect(200);
    assert_eq!(answer.must("x-alfred-cost-usd"), "0.0005");
    let receipt = world.receipt(answer.must("x-request-id")).await;
    assert_eq!((usd(&receipt, "price_usd"), usd(&receipt, "cost_usd")), (500_000, 800_000));
    let wallet = world.wallet(&tenant.wallet).await;
    assert_eq!(usd(&wallet, "spent_usd"), 500_000);
    let metrics = world.http.send("GET", &format!("{}/metrics", world.url()), &[], "").await.expect("metrics").text();
    let overrun = metrics.lines().find(|l| l.starts_with("alfred_overrun_usd_total")).unwrap_or_default();
    assert!(overrun.ends_with("0.0003"), "{overrun:?}");
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn a_json_answer_that_is_no_answer_is_a_provider_error() {
    let world = World::start().await;
    let tenant = world.rich().await;
    for body in ["", "{", "null", "[]", "{\"choices\": 7}"] {
        world.first.next(Script::bytes(200, "application/json", body));
        let answer = world.chat(&tenant.key, &hello("chat")).await;
        assert!([502, 503].contains(&answer.status), "{body:?}: {} {}", answer.status, answer.text());
        let code = answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned();
        refused(&answer, answer.status, "api_error", &code);
    }
    assert_eq!(usd(&world.wallet(&tenant.wallet).await, "held_usd"), 0);
}
