//! Gemini's door: its paths, its key, its words, to models of other shapes.

use qa::check::usd;
use qa::http::Answer;
use qa::upstream::{Script, Step, openai};
use qa::world::World;
use serde_json::{Value, json};

const SSE: &str = "streamGenerateContent?alt=sse";

fn hello() -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": "Say hello"}]}], "generationConfig": {"maxOutputTokens": 50}})
}

async fn ask(world: &World, key: &str, model: &str, method: &str, body: &Value) -> Answer {
    let url = format!("{}/v1beta/models/{model}:{method}", world.url());
    let headers = [("x-goog-api-key", key), ("content-type", "application/json")];
    world.http.send("POST", &url, &headers, body.to_string()).await.expect("an answer")
}

async fn look(world: &World, key: &str, path: &str) -> Answer {
    let url = format!("{}/v1beta/models{path}", world.url());
    world.http.send("GET", &url, &[("x-goog-api-key", key)], String::new()).await.expect("an answer")
}

/// The texts of the first candidate.
fn said(event: &Value) -> String {
    let parts = event["candidates"][0]["content"]["parts"].as_array().cloned().unwrap_or_default();
    parts.iter().map(|part| part["text"].as_str().unwrap_or_default()).collect()
}

#[tokio::test]
async fn a_whole_answer_comes_in_gemini_s_words_whoever_gives_it() {
    let world = World::start().await;
    let tenant = world.rich().await;
    for model in ["chat", "claude", "first/test-chat"] {
        let answer = ask(&world, &tenant.key, model, "generateContent", &hello()).await.expect(200);
        let body = answer.json();
        assert_eq!(said(&body), "Hello there", "{model}: {body}");
        assert_eq!(body["candidates"][0]["finishReason"], "STOP", "{model}: {body}");
        let usage = &body["usageMetadata"];
        assert_eq!(usage["promptTokenCount"], 10, "{model}: {body}");
        assert_eq!((&usage["candidatesTokenCount"], &usage["totalTokenCount"]), (&json!(5), &json!(15)), "{model}");
        assert_eq!(answer.must("x-alfred-cost-usd"), "0.00002", "{model}");
        let receipt = world.receipt(answer.must("x-request-id")).await;
        assert_eq!(usd(&receipt, "price_usd"), 20_000, "{model}");
    }
    let sent = world.first.last().json();
    assert_eq!(
        (sent["model"].clone(), sent["messages"][0]["content"].clone()),
        (json!("test-chat"), json!("Say hello"))
    );
}

#[tokio::test]
async fn a_stream_ends_with_usage_and_cost_and_without_done() {
    let world = World::start().await;
    let tenant = world.rich().await;
    for model in ["chat", "claude"] {
        let answer = ask(&world, &tenant.key, model, SSE, &hello()).await.expect(200);
        let events = answer.chunks();
        assert_eq!(events.iter().map(said).collect::<String>(), "Hello there", "{model}");
        assert!(!answer.text().contains("[DONE]"), "{model}");
        let last = events.last().expect("events");
        assert_eq!(last["candidates"][0]["finishReason"], "STOP", "{model}: {last}");
        assert_eq!(last["usageMetadata"]["candidatesTokenCount"], 5, "{model}: {last}");
        assert_eq!(last["usageMetadata"]["alfred_cost_usd"], "0.00002", "{model}: {last}");
        let before = &events[..events.len() - 1];
        assert!(before.iter().all(|event| event["usageMetadata"].is_null()), "{model}");
    }
}

#[tokio::test]
async fn tools_make_the_round_trip() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let call = json!({"index": 0, "id": "call_9", "type": "function",
        "function": {"name": "weather", "arguments": "{\"city\":\"Paris\"}"}});
    let chunks = [openai::delta(json!({"tool_calls": [call]}), None), openai::delta(json!({}), Some("tool_calls"))];
    let script = || Script::stream(chunks.iter().map(openai::event)).and(openai::end(Some((10, 5))));
    world.first.next(script());
    let mut body = hello();
    body["tools"] = json!([{"functionDeclarations": [{"name": "weather", "description": "d",
        "parameters": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}, "required": ["city"]}}]}]);
    let events = ask(&world, &tenant.key, "chat", SSE, &body).await.expect(200).chunks();
    let parts = events.iter().flat_map(|event| event["candidates"][0]["content"]["parts"].as_array().cloned());
    let made = parts.flatten().find(|part| part["functionCall"].is_object()).expect("a call");
    assert_eq!(made["functionCall"], json!({"id": "call_9", "name": "weather", "args": {"city": "Paris"}}));
    let sent = world.first.last().json();
    let schema = json!({"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]});
    assert_eq!(sent["tools"][0]["function"]["parameters"], schema);

    let contents = body["contents"].as_array_mut().expect("contents");
    contents.push(json!({"role": "model", "parts": [made]}));
    contents.push(json!({"role": "user", "parts": [
        {"functionResponse": {"id": "call_9", "name": "weather", "response": {"result": "sunny"}}}]}));
    ask(&world, &tenant.key, "chat", "generateContent", &body).await.expect(200);
    let sent = world.first.last().json();
    assert_eq!(sent["messages"][1]["tool_calls"][0]["id"], "call_9");
    assert_eq!(sent["messages"][2], json!({"role": "tool", "tool_call_id": "call_9", "content": "sunny"}));
}

#[tokio::test]
async fn refusals_are_in_google_s_words_and_nothing_is_forwarded() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let with = |name: &str, value: Value| {
        let mut body = hello();
        body[name] = value;
        body
    };
    let search = with("tools", json!([{"googleSearch": {}}]));
    let filter = with("safetySettings", json!([{"category": "c", "threshold": "BLOCK_LOW_AND_ABOVE"}]));
    let key = &*tenant.key;
    for (key, model, method, body, status, word, code) in [
        ("sk-alf-wrong", "chat", "generateContent", hello(), 401, "UNAUTHENTICATED", "invalid_api_key"),
        (key, "nobody-knows", "generateContent", hello(), 404, "NOT_FOUND", "model_not_found"),
        (key, "chat", "generateContent", json!({}), 400, "INVALID_ARGUMENT", "missing_required_parameter"),
        (key, "chat", "streamGenerateContent", hello(), 400, "INVALID_ARGUMENT", "invalid_value"),
        (key, "chat", "predict", hello(), 404, "NOT_FOUND", "unknown_url"),
        (key, "chat", "generateContent", search, 400, "INVALID_ARGUMENT", "unsupported_by_target"),
        (key, "chat", "generateContent", filter, 400, "INVALID_ARGUMENT", "unsupported_by_target"),
    ] {
        let answer = ask(&world, key, model, method, &body).await;
        let told = answer.json();
        assert_eq!((answer.status, told["error"]["code"].as_u64()), (status, Some(u64::from(status))), "{told}");
        assert_eq!(told["error"]["status"], word, "{told}");
        assert_eq!(told["error"]["details"][0]["reason"], code, "{told}");
        answer.must("x-request-id");
    }
    assert_eq!(world.first.count(), 0);

    world.first.next(openai::begin(&["Some words"]).then(Step::Cut));
    let url = format!("{}/v1beta/models/chat:{SSE}", world.url());
    let flow = world.http.open("POST", &url, &[("x-goog-api-key", key)], hello().to_string()).await.expect("an answer");
    let (answer, _) = flow.drain().await;
    let last = answer.chunks().pop().expect("events");
    assert_eq!((&last["error"]["code"], &last["error"]["status"]), (&json!(502), &json!("INTERNAL")), "{last}");
}

#[tokio::test]
async fn counting_and_listing_cost_nothing_and_ask_nobody() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let plain = ask(&world, &tenant.key, "chat", "countTokens", &json!({"contents": hello()["contents"]})).await;
    let tokens = plain.expect(200).json()["totalTokens"].as_u64().expect("a count");
    assert!((2..20).contains(&tokens), "{tokens}");
    let mut inner = hello();
    inner["model"] = json!("models/chat");
    let wrapped = ask(&world, &tenant.key, "chat", "countTokens", &json!({"generateContentRequest": inner})).await;
    assert_eq!(wrapped.expect(200).json()["totalTokens"], tokens);
    ask(&world, "sk-alf-wrong", "chat", "countTokens", &hello()).await.expect(401);
    ask(&world, &tenant.key, "nobody-knows", "countTokens", &hello()).await.expect(404);

    let listed = look(&world, &tenant.key, "?pageSize=2").await.expect(200).json();
    assert_eq!(listed["models"][0]["name"], "models/chat", "{listed}");
    assert_eq!(listed["models"].as_array().map(Vec::len), Some(2));
    let next = listed["nextPageToken"].as_str().expect("more pages");
    let second = look(&world, &tenant.key, &format!("?pageSize=2&pageToken={next}")).await.expect(200).json();
    assert_eq!(second["models"][0]["name"], "models/claude", "{second}");
    // Google's newer clients ask under /v1, where OpenAI's do; their key tells them.
    let url = format!("{}/v1/models", world.url());
    let listed =
        world.http.send("GET", &url, &[("x-goog-api-key", &tenant.key)], String::new()).await.expect("an answer");
    assert_eq!(listed.expect(200).json()["models"][0]["name"], "models/chat");
    let url = format!("{}/v1/models/chat:generateContent", world.url());
    let sent = world.http.send("POST", &url, &[("x-goog-api-key", "sk-alf-wrong")], hello().to_string()).await;
    assert_eq!(sent.expect("an answer").expect(401).json()["error"]["status"], "UNAUTHENTICATED");
    let one = look(&world, &tenant.key, "/first/test-chat").await.expect(200).json();
    assert_eq!(one["name"], "models/first/test-chat");
    assert_eq!(look(&world, &tenant.key, "/nobody-knows").await.expect(404).json()["error"]["status"], "NOT_FOUND");
    assert_eq!((world.first.count(), world.claude.count()), (0, 0));
    assert_eq!(usd(&world.wallet(&tenant.wallet).await, "spent_usd"), 0);
}

#[tokio::test]
async fn the_address_is_part_of_what_an_idempotency_key_stands_for() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let send = async |model: &str, method: &str| {
        let url = format!("{}/v1beta/models/{model}:{method}", world.url());
        let headers = [("x-goog-api-key", &*tenant.key), ("idempotency-key", "once")];
        world.http.send("POST", &url, &headers, hello().to_string()).await.expect("an answer")
    };
    let first = send("chat", "generateContent").await.expect(200);
    assert_eq!(send("chat", "generateContent").await.expect(200).text(), first.text());
    send("claude", "generateContent").await.expect(409);
    send("chat", SSE).await.expect(409);
    assert_eq!(world.first.count(), 1);
}
