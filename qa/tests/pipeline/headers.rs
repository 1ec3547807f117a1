//! What every answer tells in its headers.

use qa::check::{nanos, usd};
use qa::world::{World, hello, hello_stream};
use serde_json::{Value, json};

#[tokio::test]
async fn a_forwarded_call_tells_who_answered_and_what_it_cost() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let answer = world.chat(&tenant.key, &hello("chat")).await.expect(200);
    assert!(answer.must("x-request-id").starts_with("req_"));
    assert_eq!(answer.must("x-alfred-model"), "first/test-chat");
    assert_eq!(answer.must("x-alfred-attempts"), "1");
    assert!(["bypass", "miss"].contains(&answer.must("x-alfred-cache")));
    assert!(answer.must("x-alfred-overhead-ms").parse::<f64>().is_ok_and(|ms| (0.0..60_000.0).contains(&ms)));
    assert!(!answer.must("x-alfred-policy").is_empty());
    // Ten tokens in at 1 µ$, five out at 2 µ$.
    assert_eq!(answer.must("x-alfred-cost-usd"), "0.00002");
    assert_eq!(answer.header("x-alfred-budget-warning"), None);

    let receipt = world.receipt(answer.must("x-request-id")).await;
    assert_eq!(receipt["id"], answer.must("x-request-id"));
    assert_eq!(receipt["status"], "settled");
    assert_eq!(receipt["target"], "first/test-chat");
    assert_eq!(receipt["model"], "chat");
    assert_eq!((receipt["input_tokens"].clone(), receipt["output_tokens"].clone()), (json!(10), json!(5)));
    assert_eq!((usd(&receipt, "cost_usd"), usd(&receipt, "price_usd")), (20_000, 20_000));
    for (member, wanted) in [("org_id", &tenant.org), ("wallet_id", &tenant.wallet), ("key_id", &tenant.key_id)] {
        assert_eq!(receipt[member], json!(wanted), "{member}");
    }
    assert_eq!(receipt["attempts"].as_array().map(Vec::len), Some(1), "{receipt}");
}

#[tokio::test]
async fn a_stream_tells_the_same_before_its_first_byte_and_the_cost_in_its_last_usage() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let answer = world.chat(&tenant.key, &hello_stream("chat")).await.expect(200);
    assert!(answer.must("content-type").starts_with("text/event-stream"));
    for name in [
        "x-request-id",
        "x-alfred-model",
        "x-alfred-attempts",
        "x-alfred-cache",
        "x-alfred-overhead-ms",
        "x-alfred-policy",
    ] {
        answer.must(name);
    }
    let chunks = answer.chunks();
    let with_usage: Vec<&Value> = chunks.iter().filter(|c| c["usage"].is_object()).collect();
    assert_eq!(with_usage.len(), 1, "{chunks:?}");
    let usage = &with_usage[0]["usage"];
    assert_eq!(usage["completion_tokens"], 5);
    assert_eq!(nanos(usage["alfred_cost_usd"].as_str().expect("a decimal string")), 20_000);
    assert_eq!(answer.events().last().map(String::as_str), Some("[DONE]"));
    assert_eq!(usd(&world.receipt(answer.must("x-request-id")).await, "price_usd"), 20_000);
}

#[tokio::test]
async fn a_stream_that_did_not_ask_for_usage_gets_none_and_is_metered_all_the_same() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let mut body = hello("chat");
    body["stream"] = json!(true);
    let answer = world.chat(&tenant.key, &body).await.expect(200);
    assert!(!answer.text().contains("usage\":{") && !answer.text().contains("alfred_cost_usd"), "{}", answer.text());
    assert!(
        answer.chunks().iter().all(|c| c["choices"].as_array().is_some_and(|c| !c.is_empty())),
        "{}",
        answer.text()
    );
    let receipt = world.receipt(answer.must("x-request-id")).await;
    assert_eq!((usd(&receipt, "price_usd"), receipt["status"].clone()), (20_000, json!("settled")));
}

#[tokio::test]
async fn every_refusal_carries_its_request_id_too() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let mut ids = Vec::new();
    for (key, path) in
        [("", "/v1/chat/completions"), (&tenant.key, "/v1/chat/completions"), (&tenant.key, "/v1/nowhere")]
    {
        let answer = world.call(key, path, &[], &json!({"model": 1})).await;
        assert!(answer.status >= 400);
        ids.push(answer.must("x-request-id").to_owned());
    }
    ids.dedup();
    assert_eq!(ids.len(), 3, "each its own");
}
