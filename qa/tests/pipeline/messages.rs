//! Anthropic's door, and both directions of translation.

use qa::check::usd;
use qa::upstream::{Script, anthropic};
use qa::world::{World, hello, hello_stream};
use serde_json::{Value, json};

fn message(model: &str) -> Value {
    json!({"model": model, "max_tokens": 50, "system": "Be kind", "messages": [{"role": "user", "content": "Say hello"}]})
}

async fn ask(world: &World, key: &str, body: &Value) -> qa::http::Answer {
    let url = format!("{}/v1/messages", world.url());
    let headers = [("x-api-key", key), ("anthropic-version", "2023-06-01"), ("content-type", "application/json")];
    world.http.send("POST", &url, &headers, body.to_string()).await.expect("an answer")
}

async fn count(world: &World, key: &str, body: &Value) -> qa::http::Answer {
    let url = format!("{}/v1/messages/count_tokens", world.url());
    let headers = [("x-api-key", key), ("anthropic-version", "2023-06-01"), ("content-type", "application/json")];
    world.http.send("POST", &url, &headers, body.to_string()).await.expect("an answer")
}

/// The types of the events of an Anthropic stream, pings left out.
fn types(answer: &qa::http::Answer) -> Vec<String> {
    let types = answer.chunks().iter().map(|c| c["type"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>();
    types.into_iter().filter(|t| t != "ping").collect()
}

const STREAM: [&str; 7] = [
    "message_start",
    "content_block_start",
    "content_block_delta",
    "content_block_delta",
    "content_block_stop",
    "message_delta",
    "message_stop",
];

#[tokio::test]
async fn a_message_to_anthropic_passes_as_it_came() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let mut body = message("claude");
    body["top_k"] = json!(5);
    body["thinking"] = json!({"type": "disabled", "odd": [1.0]});
    let url = format!("{}/v1/messages", world.url());
    let beta = ("anthropic-beta", "interleaved-thinking-2025-05-14");
    let headers = [("x-api-key", &*tenant.key), ("content-type", "application/json"), beta];
    let answer = world.http.send("POST", &url, &headers, body.to_string()).await.expect("an answer").expect(200);
    assert_eq!(answer.json()["content"][0]["text"], "Hello there");
    assert_eq!(answer.must("x-alfred-model"), "claude/test-claude");
    let receipt = world.receipt(answer.must("x-request-id")).await;
    assert_eq!(receipt["model_version"], "test-claude-2026", "as the provider calls it");
    assert_eq!(answer.must("x-alfred-cost-usd"), "0.00002");
    let sent = world.claude.last();
    assert!(sent.path.ends_with("/messages"));
    assert_eq!(sent.headers["anthropic-beta"], beta.1);
    let mut wanted = body.clone();
    wanted["model"] = json!("test-claude");
    assert_eq!(sent.json(), wanted);
}

#[tokio::test]
async fn a_message_can_be_answered_by_an_openai_shaped_model() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let answer = ask(&world, &tenant.key, &message("chat")).await.expect(200);
    let body = answer.json();
    assert_eq!((body["type"].clone(), body["role"].clone()), (json!("message"), json!("assistant")));
    assert_eq!(body["content"], json!([{"type": "text", "text": "Hello there"}]));
    assert_eq!(body["stop_reason"], "end_turn");
    assert_eq!((body["usage"]["input_tokens"].clone(), body["usage"]["output_tokens"].clone()), (json!(10), json!(5)));
    let sent = world.first.last().json();
    assert_eq!(sent["messages"][0], json!({"role": "system", "content": "Be kind"}));
    assert_eq!(sent["messages"][1]["role"], "user");
    let receipt = world.receipt(answer.must("x-request-id")).await;
    assert_eq!(usd(&receipt, "price_usd"), 20_000);
}

#[tokio::test]
async fn streams_come_in_the_caller_s_dialect_whoever_answers() {
    let world = World::start().await;
    let tenant = world.rich().await;
    for model in ["claude", "chat"] {
        let mut body = message(model);
        body["stream"] = json!(true);
        let answer = ask(&world, &tenant.key, &body).await.expect(200);
        assert_eq!(types(&answer), STREAM, "{model}");
        assert_eq!(answer.said(), "Hello there", "{model}");
        let chunks = answer.chunks();
        let last = chunks.iter().find(|c| c["type"] == "message_delta").expect("a message_delta");
        assert_eq!(last["usage"]["output_tokens"], 5, "{model}: {last}");
        assert_eq!(last["delta"]["stop_reason"], "end_turn", "{model}: {last}");
        assert!(answer.text().contains("event: message_start"), "{model}");
        let receipt = world.receipt(answer.must("x-request-id")).await;
        assert_eq!((usd(&receipt, "price_usd"), receipt["status"].clone()), (20_000, json!("settled")), "{model}");
    }
    for body in [hello("claude"), hello_stream("claude")] {
        let answer = world.chat(&tenant.key, &body).await.expect(200);
        assert_eq!(answer.said(), "Hello there");
        let usage = match body["stream"] == json!(true) {
            false => answer.json()["usage"].clone(),
            true => answer.chunks().iter().find(|c| c["usage"].is_object()).expect("usage")["usage"].clone(),
        };
        assert_eq!((usage["prompt_tokens"].clone(), usage["completion_tokens"].clone()), (json!(10), json!(5)));
        let whole = answer.text();
        assert!(whole.contains("\"finish_reason\":\"stop\""), "{whole}");
    }
}

#[tokio::test]
async fn tools_are_translated_both_ways() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let call = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "tool_use",
        "stop_sequence": null, "usage": {"input_tokens": 10, "output_tokens": 5},
        "content": [{"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}}]});
    world.claude.next(Script::json(200, &call));
    let body = json!({
        "model": "claude", "max_tokens": 50, "tool_choice": "auto",
        "tools": [{"type": "function", "function": {"name": "weather", "description": "d",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}}],
        "messages": [
            {"role": "system", "content": "Be kind"},
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": null, "tool_calls": [
                {"id": "toolu_0", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Rome\"}"}}]},
            {"role": "tool", "tool_call_id": "toolu_0", "content": "sunny"},
        ],
    });
    let answer = world.chat(&tenant.key, &body).await.expect(200).json();
    let made = &answer["choices"][0]["message"]["tool_calls"][0];
    assert_eq!((made["id"].clone(), made["function"]["name"].clone()), (json!("toolu_1"), json!("weather")));
    let arguments: Value =
        serde_json::from_str(made["function"]["arguments"].as_str().expect("a string")).expect("JSON");
    assert_eq!(arguments, json!({"city": "Paris"}));
    assert_eq!(answer["choices"][0]["finish_reason"], "tool_calls");
    let sent = world.claude.last().json();
    assert_eq!(sent["tools"][0]["name"], "weather");
    assert_eq!(sent["tools"][0]["input_schema"]["type"], "object");
    assert!(sent["system"].to_string().contains("Be kind"), "{sent}");
    let messages = sent["messages"].to_string();
    assert!(messages.contains(r#""type":"tool_use""#) && messages.contains(r#""tool_use_id":"toolu_0""#), "{messages}");

    // The other way: Anthropic's tools to an OpenAI-shaped model.
    world.first.next(Script::json(200, &json!({
        "id": "c", "object": "chat.completion", "created": 1, "model": "m",
        "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant", "content": null, "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{\"city\":\"Paris\"}"}}]}}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}})));
    let body = json!({
        "model": "chat", "max_tokens": 50,
        "tools": [{"name": "weather", "description": "d", "input_schema": {"type": "object"}}],
        "messages": [
            {"role": "user", "content": "Weather?"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t0", "name": "weather", "input": {"city": "Rome"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t0", "content": "sunny"}]},
        ],
    });
    let answer = ask(&world, &tenant.key, &body).await.expect(200).json();
    assert_eq!(answer["stop_reason"], "tool_use");
    let block =
        answer["content"].as_array().and_then(|c| c.iter().find(|b| b["type"] == "tool_use")).expect("a call").clone();
    assert_eq!((block["id"].clone(), block["input"].clone()), (json!("call_1"), json!({"city": "Paris"})));
    let sent = world.first.last().json();
    let result =
        sent["messages"].as_array().and_then(|m| m.iter().find(|m| m["role"] == "tool")).expect("a result").clone();
    assert_eq!((result["tool_call_id"].clone(), result["content"].clone()), (json!("t0"), json!("sunny")));
}

#[tokio::test]
async fn images_are_translated_both_ways() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let body = json!({"model": "claude", "max_tokens": 50, "messages": [{"role": "user", "content": [
        {"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}]}]});
    world.chat(&tenant.key, &body).await.expect(200);
    let sent = world.claude.last().json();
    assert_eq!(
        sent["messages"][0]["content"][1],
        json!({"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}})
    );
    let body = json!({"model": "chat", "max_tokens": 50, "messages": [{"role": "user", "content": [
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}}]}]});
    ask(&world, &tenant.key, &body).await.expect(200);
    assert!(world.first.last().text().contains("data:image/png;base64,iVBORw0KGgo="));
}

#[tokio::test]
async fn anthropic_s_cached_tokens_are_told_and_billed() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let mut body: Value = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
        "content": [{"type": "text", "text": "Hi"}], "stop_reason": "end_turn", "stop_sequence": null});
    body["usage"] =
        json!({"input_tokens": 3, "cache_read_input_tokens": 4, "cache_creation_input_tokens": 5, "output_tokens": 5});
    world.claude.next(Script::json(200, &body));
    let answer = world.chat(&tenant.key, &hello("claude")).await.expect(200);
    let usage = answer.json()["usage"].clone();
    assert_eq!(usage["prompt_tokens"], 12, "{usage}");
    assert_eq!(usage["prompt_tokens_details"]["cached_tokens"], 4, "{usage}");
    // No rate of its own: as input.
    assert_eq!(answer.must("x-alfred-cost-usd"), "0.000022");
}

#[tokio::test]
async fn errors_on_messages_are_in_anthropic_s_words() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let cases = [
        (ask(&world, "sk-alf-wrong", &message("claude")).await, 401, "authentication_error"),
        (ask(&world, &tenant.key, &json!({"model": "claude"})).await, 400, "invalid_request_error"),
        (ask(&world, &tenant.key, &message("nobody-knows")).await, 404, "not_found_error"),
    ];
    for (answer, status, kind) in cases {
        let body = answer.json();
        assert_eq!(answer.status, status, "{body}");
        assert_eq!(body["type"], "error", "{body}");
        assert_eq!(body["error"]["type"], kind, "{body}");
        assert!(body["error"]["message"].is_string(), "{body}");
        answer.must("x-request-id");
    }
    // A stream that breaks tells so in the same words.
    world.claude.next(anthropic::stream(&["Some words"], 10, 5).split(260).then(qa::upstream::Step::Cut));
    world.claude.next(broken());
    let mut body = message("claude");
    body["stream"] = json!(true);
    ask(&world, &tenant.key, &body).await.expect(200);
    let url = format!("{}/v1/messages", world.url());
    let flow = world.http.open("POST", &url, &[("x-api-key", &tenant.key)], body.to_string()).await.expect("an answer");
    let (answer, _) = flow.drain().await;
    let chunks = answer.chunks();
    let last = chunks.last().expect("events");
    assert_eq!(last["type"], "error", "{}", answer.text());
    assert!(!answer.text().contains("message_stop"));
}

fn broken() -> Script {
    let start = json!({"type": "message_start", "message": {"id": "m", "type": "message", "role": "assistant", "model": "m",
        "content": [], "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": 10, "output_tokens": 1}}});
    let block = json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}});
    let delta =
        json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Some words"}});
    Script::stream([start, block, delta].iter().map(anthropic::event)).then(qa::upstream::Step::Cut)
}

fn question(model: &str) -> Value {
    json!({"model": model, "system": "Be kind", "messages": [{"role": "user", "content": "Say hello"}]})
}

#[tokio::test]
async fn tokens_are_counted_by_the_provider_where_it_does_so_for_nothing() {
    let world = World::start().await;
    let tenant = world.rich().await;
    world.claude.next(Script::json(200, &json!({"input_tokens": 4_242})));
    let mut body = question("claude");
    body["fallbacks"] = json!(["chat"]);
    let answer = count(&world, &tenant.key, &body).await.expect(200);
    assert_eq!(answer.json(), json!({"input_tokens": 4_242}));
    assert_eq!(answer.header("x-alfred-estimated"), None);
    assert_eq!(answer.must("x-alfred-model"), "claude/test-claude");
    let sent = world.claude.last();
    assert!(sent.path.ends_with("/messages/count_tokens"), "{}", sent.path);
    assert_eq!(sent.json(), question("test-claude"));
    assert!(world.list("/requests").await.is_empty(), "a question is no call");
    assert_eq!(usd(&world.wallet(&tenant.wallet).await, "held_usd"), 0);
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn what_no_provider_counts_is_counted_here_and_said_so() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let of_openai = count(&world, &tenant.key, &question("chat")).await.expect(200);
    assert_eq!(world.first.count(), 0, "there is nothing to ask it");
    world.claude.next(Script::error(500, "api_error"));
    let of_claude = count(&world, &tenant.key, &question("claude")).await.expect(200);
    for answer in [of_openai, of_claude] {
        let tokens = answer.json()["input_tokens"].as_u64().expect("a number");
        assert!((4..40).contains(&tokens), "{tokens}");
        assert_eq!(answer.must("x-alfred-estimated"), "true");
    }
    world.claude.next(Script::error(529, "overloaded_error"));
    let whole = message("claude");
    assert_eq!(count(&world, &tenant.key, &whole).await.expect(200).must("x-alfred-estimated"), "true");
}

#[tokio::test]
async fn a_question_needs_a_key_a_model_it_may_use_and_its_rate() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let bound = world.key(&tenant.wallet, json!({"models": ["free"]})).await.1;
    let limited = world.key(&tenant.wallet, json!({"rpm": 1})).await.1;
    let unknown = "sk-alf-nobody";
    for (key, body, status, code) in [
        (unknown, question("claude"), 401, "authentication_error"),
        (bound.as_str(), question("claude"), 403, "permission_error"),
        (tenant.key.as_str(), question("nonesuch"), 404, "not_found_error"),
        (tenant.key.as_str(), json!({"model": "claude"}), 400, "invalid_request_error"),
    ] {
        let refused = count(&world, key, &body).await.expect(status).json();
        assert_eq!((&refused["type"], &refused["error"]["type"]), (&json!("error"), &json!(code)), "{status}");
    }
    count(&world, &limited, &question("chat")).await.expect(200);
    let refused = count(&world, &limited, &question("chat")).await.expect(429);
    assert!(refused.header("retry-after").is_some());
    assert_eq!(world.claude.count(), 0, "nothing was forwarded");
}
