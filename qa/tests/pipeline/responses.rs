//! OpenAI's Responses: passed as they come where the provider has them, translated where it has not, metered always.

use qa::check::usd;
use qa::http::Answer;
use qa::upstream::{Script, Upstream, openai, responses};
use qa::world::{Plan, Setup, World};
use serde_json::{Value, json};

fn asks(model: &str) -> Value {
    json!({"model": model, "instructions": "Be kind", "input": "Say hello", "max_output_tokens": 50})
}

fn asks_stream(model: &str) -> Value {
    let mut body = asks(model);
    body["stream"] = json!(true);
    body
}

async fn ask(world: &World, key: &str, body: &Value) -> Answer {
    world.call(key, "/v1/responses", &[], body).await
}

fn types(answer: &Answer) -> Vec<String> {
    answer.chunks().iter().map(|event| event["type"].as_str().unwrap_or_default().to_owned()).collect()
}

/// A world with a provider of OpenAI's kind that has no Responses.
async fn with_older() -> (World, Upstream) {
    let older = Upstream::start();
    let base_url = older.v1();
    let world = Setup::new()
        .with(|config| {
            config["providers"] = json!([{"id": "older", "kind": "openai", "base_url": base_url,
                "api_key": {"env": "FIRST_KEY"}, "settings": {"responses": "translated"}}]);
            for (model, input, output) in [("test-chat", "1.00", "2.00"), ("counted", "0", "10.00")] {
                config["prices"][format!("older/{model}")] =
                    json!({"input": input, "output": output, "bills_after_cancel": false});
            }
        })
        .start()
        .await;
    (world, older)
}

const TOLD: [&str; 9] = [
    "response.created",
    "response.in_progress",
    "response.output_item.added",
    "response.content_part.added",
    "response.output_text.delta",
    "response.output_text.delta",
    "response.output_text.done",
    "response.content_part.done",
    "response.output_item.done",
];

#[tokio::test]
async fn a_provider_of_responses_gets_the_body_as_it_came_and_its_answer_passes() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let mut body = asks("chat");
    body["store"] = json!(false);
    body["odd"] = json!([1.0]);
    let answer = ask(&world, &tenant.key, &body).await.expect(200);
    assert_eq!(answer.json(), responses::body("Hello there", 10, 5));
    assert_eq!((answer.must("x-alfred-model"), answer.must("x-alfred-cost-usd")), ("first/test-chat", "0.00002"));
    let sent = world.first.last();
    assert!(sent.path.ends_with("/v1/responses"));
    let mut wanted = body.clone();
    wanted["model"] = json!("test-chat");
    assert_eq!(sent.json(), wanted);

    let answer = ask(&world, &tenant.key, &asks_stream("chat")).await.expect(200);
    let events = answer.chunks();
    let last = events.last().expect("a last event");
    assert_eq!(last["type"], "response.completed");
    assert_eq!(last["response"]["usage"]["alfred_cost_usd"], "0.00002");
    assert_eq!(last["response"]["output"][0]["content"][0]["text"], "Hello there");
    let receipt = world.receipt(answer.must("x-request-id")).await;
    assert_eq!((usd(&receipt, "price_usd"), receipt["status"].clone()), (20_000, json!("settled")));
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn whoever_answers_a_stream_tells_the_same_story() {
    let (world, _older) = with_older().await;
    let tenant = world.rich().await;
    for model in ["older/test-chat", "claude"] {
        let answer = ask(&world, &tenant.key, &asks_stream(model)).await.expect(200);
        let types = types(&answer);
        assert_eq!(types[..types.len() - 1], TOLD, "{model}");
        assert_eq!(types.last().map(String::as_str), Some("response.completed"), "{model}");
        let numbers: Vec<Value> = answer.chunks().iter().map(|event| event["sequence_number"].clone()).collect();
        assert_eq!(numbers, (0..10).map(|it| json!(it)).collect::<Vec<_>>(), "{model}");
        let last = answer.chunks().pop().expect("a last event")["response"].clone();
        assert_eq!(last["output"][0]["content"][0]["text"], "Hello there", "{model}");
        assert_eq!((&last["instructions"], &last["max_output_tokens"]), (&json!("Be kind"), &json!(50)), "{model}");
        let usage = &last["usage"];
        assert_eq!((&usage["input_tokens"], &usage["output_tokens"]), (&json!(10), &json!(5)), "{model}");
        assert_eq!(usage["alfred_cost_usd"], "0.00002", "{model}");

        let answer = ask(&world, &tenant.key, &asks(model)).await.expect(200);
        let whole = answer.json();
        for member in ["object", "status", "output", "instructions"] {
            assert_eq!(whole[member], last[member], "{model}: {member}");
        }
        assert_eq!(answer.must("x-alfred-cost-usd"), "0.00002", "{model}");
    }
    let sent = world.claude.last().json();
    assert_eq!((&sent["system"], &sent["max_tokens"]), (&json!("Be kind"), &json!(50)));
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn tools_go_around_with_what_was_thought_in_between() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let call = json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "tool_use",
        "stop_sequence": null, "usage": {"input_tokens": 10, "output_tokens": 5},
        "content": [{"type": "thinking", "thinking": "Ask.", "signature": "EqQB"},
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Paris"}}]});
    world.claude.next(Script::json(200, &call));
    let mut body = asks("claude");
    body["input"] = json!([{"role": "user", "content": "Weather in Paris?"}]);
    body["tools"] = json!([{"type": "function", "name": "weather", "description": "d", "strict": false,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}]);
    let first = ask(&world, &tenant.key, &body).await.expect(200).json();
    let called = &first["output"][1];
    assert_eq!((&called["type"], &called["name"]), (&json!("function_call"), &json!("weather")));
    assert_eq!(called["arguments"], "{\"city\":\"Paris\"}");

    let history = body["input"].as_array_mut().expect("a list");
    history.extend(first["output"].as_array().cloned().unwrap_or_default());
    history.push(json!({"type": "function_call_output", "call_id": called["call_id"], "output": "rain"}));
    ask(&world, &tenant.key, &body).await.expect(200);
    let sent = world.claude.last().json();
    let turn = &sent["messages"][1]["content"];
    assert_eq!(turn[0], json!({"type": "thinking", "thinking": "Ask.", "signature": "EqQB"}), "{sent}");
    assert_eq!((&turn[1]["type"], &turn[1]["input"]), (&json!("tool_use"), &json!({"city": "Paris"})), "{sent}");
    let result = &sent["messages"][2]["content"][0];
    assert_eq!((&result["tool_use_id"], &result["content"][0]["text"]), (&json!("toolu_1"), &json!("rain")), "{sent}");
}

#[tokio::test]
async fn a_schema_goes_where_the_target_wants_it() {
    let (world, older) = with_older().await;
    let tenant = world.rich().await;
    let mut body = asks("older/test-chat");
    let schema = json!({"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"], "additionalProperties": false});
    body["text"] = json!({"format": {"type": "json_schema", "name": "answer", "strict": true, "schema": schema}});
    let answer = ask(&world, &tenant.key, &body).await.expect(200).json();
    assert_eq!(answer["text"], body["text"], "told again");
    let format = older.last().json()["response_format"].clone();
    assert_eq!(
        format,
        json!({"type": "json_schema", "json_schema": {"name": "answer", "schema": schema, "strict": true}})
    );
}

#[tokio::test]
async fn what_is_stored_or_cannot_be_metered_is_refused_by_name_and_nothing_is_charged() {
    let world = World::start().await;
    let tenant = world.rich().await;
    for (member, value, param) in [
        ("previous_response_id", json!("resp_anothers"), "previous_response_id"),
        ("conversation", json!("conv_anothers"), "conversation"),
        ("prompt", json!({"id": "pmpt_1"}), "prompt"),
        ("input", json!([{"type": "item_reference", "id": "msg_anothers"}]), "input[0]"),
        (
            "input",
            json!([{"role": "user", "content": [{"type": "input_image", "file_id": "file-anothers"}]}]),
            "input[0].content[0].file_id",
        ),
        ("background", json!(true), "background"),
        ("tools", json!([{"type": "web_search"}]), "tools"),
    ] {
        for model in ["chat", "claude"] {
            let mut body = asks(model);
            body[member] = value.clone();
            let error = ask(&world, &tenant.key, &body).await.expect(400).json()["error"].clone();
            assert_eq!(
                (&error["code"], &error["param"]),
                (&json!("unsupported_by_target"), &json!(param)),
                "{model}: {error}"
            );
            assert!(!error.to_string().contains("anothers"), "{error}");
        }
    }
    assert_eq!((world.first.count(), world.claude.count()), (0, 0), "nothing was forwarded");
    let key = format!("Bearer {}", tenant.key);
    for (method, path) in [
        ("GET", "/v1/responses/resp_1"),
        ("DELETE", "/v1/responses/resp_1"),
        ("POST", "/v1/responses/resp_1/cancel"),
        ("GET", "/v1/responses/resp_1/input_items"),
    ] {
        let url = format!("{}{path}", world.url());
        let answer = world.http.send(method, &url, &[("authorization", &key)], String::new()).await.expect("an answer");
        let error = answer.expect(404).json()["error"].clone();
        assert_eq!(error["code"], "response_not_found", "{method} {path}: {error}");
    }
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn an_answer_that_outgrows_its_wallet_is_ended_in_its_own_words() {
    let (world, older) = with_older().await;
    for (model, upstream, native) in [("counted", &world.first, true), ("older/counted", &older, false)] {
        for stream in [true, false] {
            let tenant = world.tenant(Plan::new().hard("0.015")).await;
            let words = vec![" word"; 4_000];
            upstream.next(match native {
                true => responses::stream(&words, 10, 4_000),
                false => openai::begin(&words).and(openai::end(Some((10, 4_000)))),
            });
            let mut body = asks(model);
            body["stream"] = json!(stream);
            body["max_output_tokens"] = json!(64_000);
            let answer = ask(&world, &tenant.key, &body).await.expect(200);
            let told = match stream {
                true => {
                    let last = answer.chunks().pop().expect("a last event");
                    assert_eq!(last["type"], "response.incomplete", "{model}");
                    assert!(last["response"]["usage"]["alfred_cost_usd"].is_string(), "{model}");
                    last["response"].clone()
                }
                false => answer.json(),
            };
            assert_eq!((&told["object"], &told["status"]), (&json!("response"), &json!("incomplete")), "{model}");
            assert_eq!(told["incomplete_details"]["reason"], "max_output_tokens", "{model}");
            assert!(told["alfred"].is_object(), "{model}: says why");
            let text = told["output"][0]["content"][0]["text"].as_str().unwrap_or_default();
            // What the wallet has; a hundredth more may pass.
            assert_eq!(
                (&told["usage"]["output_tokens"], text.matches("word").count()),
                (&json!(1_500), 1_515),
                "{model}"
            );
            world.assert_balanced(&tenant).await;
        }
    }
}

#[tokio::test]
async fn a_stream_that_breaks_ends_with_an_event_that_sdks_raise() {
    let (world, older) = with_older().await;
    let tenant = world.rich().await;
    world.first.always(Script::stream(responses::begin(&["Hello"])));
    older.always(openai::begin(&["Hello"]));
    for (model, number) in [("chat", 4), ("older/test-chat", 5)] {
        let answer = ask(&world, &tenant.key, &asks_stream(model)).await.expect(200);
        assert!(answer.text().contains("event: error\n"), "{model}");
        let last = answer.chunks().pop().expect("a last event");
        assert_eq!((&last["type"], &last["sequence_number"]), (&json!("error"), &json!(number)), "{model}: {last}");
        assert_eq!(
            (&last["code"], &last["error"]["code"]),
            (&json!("provider_error"), &json!("provider_error")),
            "{last}"
        );
    }
    world.assert_balanced(&tenant).await;
}
