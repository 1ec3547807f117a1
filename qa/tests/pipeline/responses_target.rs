//! A model that is served at `/responses` alone, behind the doors of chat completions, Messages and Responses.

use qa::tools::repository;
use qa::upstream::{PROVIDER_WORDS, Script, Upstream};
use qa::world::{Setup, World, hello, hello_stream};
use serde_json::{Value, json};

async fn world(deep: &Upstream) -> World {
    let provider = json!({"id": "deep", "kind": "openai-compatible", "base_url": deep.v1(),
        "models": [{"id": "real-pro", "dialect": "responses"}]});
    Setup::new()
        .with(|config| {
            config["providers"] = json!([provider]);
            config["models"].as_array_mut().expect("models").push(json!({"id": "deep", "targets": ["deep/real-pro"]}));
            config["prices"]["deep/real-pro"] = json!({"input": "1.00", "cached_input": "0.10", "output": "2.00"});
        })
        .start()
        .await
}

/// `Hello – "wörld"`: 5 tokens in, 32 from the cache, 12 out.
fn events() -> String {
    let path = repository().join("providers/src/responses/outbound/testdata/stream/text.in.sse");
    std::fs::read_to_string(path).expect("events")
}

fn stream() -> Script {
    Script::bytes(200, "text/event-stream", events()).split(53)
}

/// The response that the stream tells.
fn whole() -> Script {
    let events = events();
    let last = events.lines().rev().find_map(|line| line.strip_prefix("data: ")).expect("an event");
    let event: Value = serde_json::from_str(last).expect("JSON");
    Script::json(200, &event["response"])
}

const SAID: &str = "Hello – \"wörld\"\n";
/// 5 × 1.00 + 32 × 0.10 + 12 × 2.00, per million.
const COST: &str = "0.0000322";

async fn ask(world: &World, key: &str, path: &str, body: &Value) -> qa::http::Answer {
    let bearer = format!("Bearer {key}");
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    let url = format!("{}/v1/{path}", world.url());
    world.http.send("POST", &url, &headers, body.to_string()).await.expect("an answer")
}

#[tokio::test]
async fn every_door_leads_to_a_model_that_is_served_at_responses_alone() {
    let deep = Upstream::start();
    let world = world(&deep).await;
    let tenant = world.rich().await;
    let messages = |stream: bool| {
        let mut body = hello("deep");
        body["stream"] = json!(stream);
        body
    };
    let own = json!({"model": "deep", "input": "Say hello", "max_output_tokens": 50, "stream": true});
    for (path, body) in [
        ("chat/completions", hello("deep")),
        ("chat/completions", hello_stream("deep")),
        ("messages", messages(false)),
        ("messages", messages(true)),
        ("responses", own),
    ] {
        deep.next(if body["stream"] == true { stream() } else { whole() });
        let answer = ask(&world, &tenant.key, path, &body).await.expect(200);
        let text = answer.text();
        match path {
            "responses" => assert!(text.contains("event: response.completed"), "{text}"),
            _ => assert!(answer.said() == SAID && !text.contains("\"object\":\"response\""), "{path}: {text}"),
        }
        let receipt = world.receipt(answer.must("x-request-id")).await;
        assert_eq!((&receipt["cost_usd"], &receipt["output_tokens"]), (&json!(COST), &json!(12)), "{path}: {receipt}");
    }
    for sent in deep.seen() {
        assert!(sent.path.ends_with("/v1/responses"), "{}", sent.path);
        let body = sent.json();
        assert_eq!((&body["model"], &body["max_output_tokens"]), (&json!("real-pro"), &json!(50)), "{body}");
    }
    assert_eq!(deep.seen()[0].json()["store"], false, "nothing is kept there unasked");
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn what_cannot_be_asked_there_is_refused_before_it_is_sent() {
    let deep = Upstream::start();
    let world = world(&deep).await;
    let tenant = world.rich().await;
    for (name, value) in [("seed", json!(1)), ("stop", json!(["x"])), ("max_tokens", json!(15))] {
        let mut body = hello("deep");
        body[name] = value;
        let answer = ask(&world, &tenant.key, "chat/completions", &body).await.expect(400);
        assert_eq!(answer.json()["error"]["param"], name, "{}", answer.text());
    }
    assert_eq!(deep.count(), 0);
    let failed = json!({"type": "response.failed", "response": {"object": "response", "status": "failed", "output": [],
        "error": {"code": "server_error", "message": PROVIDER_WORDS}}});
    deep.next(Script::bytes(200, "text/event-stream", format!("event: response.failed\ndata: {failed}\n\n")));
    let answer = ask(&world, &tenant.key, "chat/completions", &hello("deep")).await.expect(502);
    assert!(!answer.text().contains(PROVIDER_WORDS));
    world.assert_balanced(&tenant).await;
}
