use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::request::Outside;
use crate::translate::{as_chat, plain};

fn body(request: &HttpRequest) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

#[test]
fn an_openai_request_is_told_in_anthropics_words() {
    for name in ["tool_loop", "images_and_files", "thinking_history", "schema_and_effort"] {
        let request = openai(&given(&format!("to_anthropic/{name}.in.json")));
        let encoded = encode(&request, &[]).unwrap();
        check_file(&format!("to_anthropic/{name}.out.json"), std::str::from_utf8(&encoded.body).unwrap());
    }
}

#[test]
fn an_anthropic_request_is_told_in_openais_words() {
    for name in ["tool_loop", "images_and_documents"] {
        let request = anthropic(&given(&format!("to_openai/{name}.in.json")));
        let hub = as_chat(&request).unwrap();
        check_file(&format!("to_openai/{name}.hub.json"), hub.text());
        check_file(&format!("to_openai/{name}.out.json"), plain(&hub).unwrap().text());
    }
}

#[test]
fn a_request_carries_key_version_and_path() {
    let request = openai(r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#);
    let encoded = encode(&request, &[]).unwrap();
    assert_eq!(encoded.url.as_str(), "https://api.anthropic.com/v1/messages");
    assert_eq!(encoded.headers["x-api-key"], "sk-ant-test");
    assert_eq!(encoded.headers["anthropic-version"], "2023-06-01");
    assert_eq!(encoded.headers["content-type"], "application/json");

    let configured = [(HeaderName::from_static("anthropic-version"), HeaderValue::from_static("2099-01-01"))];
    assert_eq!(encode(&request, &configured).unwrap().headers["anthropic-version"], "2099-01-01");
}

#[test]
fn a_file_that_the_provider_keeps_may_be_anothers() {
    for (block, param) in [
        (r#"{"type":"document","source":{"type":"file","file_id":"f"}}"#, "messages[0].content[0].source.file_id"),
        (r#"{"type":"container_upload","file_id":"f"}"#, "messages[0].content[0].file_id"),
    ] {
        let body = format!(r#"{{"model":"a","max_tokens":9,"messages":[{{"role":"user","content":[{block}]}}]}}"#);
        assert_eq!(encode(&anthropic(&body), &[]).unwrap_err().param.as_deref(), Some(param), "{block}");
    }
}

#[test]
fn what_is_to_come_goes_to_anthropic_by_name_beside_what_the_configuration_asks_for() {
    let body = r#"{"model":"m","max_tokens":5,"messages":[{"role":"user","content":"hi"}]}"#;
    let own = [(HeaderName::from_static("anthropic-beta"), HeaderValue::from_static("own-1"))];
    for (shape, betas, configured, expected) in [
        (Shape::Anthropic, Some("a-2025-01-01, b-2"), false, Ok(Some("a-2025-01-01, b-2"))),
        (Shape::Anthropic, Some("a-2025-01-01"), true, Ok(Some("own-1,a-2025-01-01"))),
        (Shape::Anthropic, None, true, Ok(Some("own-1"))),
        (Shape::Anthropic, None, false, Ok(None)),
        (Shape::OpenAi, Some("a-2025-01-01"), false, Ok(None)),
        (Shape::Anthropic, Some("someone@example.com"), false, Err("anthropic-beta")),
    ] {
        let outside = Outside { betas: betas.map(str::to_owned), ..Outside::default() };
        let request = ModelRequest::parse_with(shape, body.into(), outside).unwrap();
        let encoded = encode(&request, if configured { &own } else { &[] });
        let told = encoded.map(|it| it.headers.get("anthropic-beta").map(|it| it.to_str().unwrap().to_owned()));
        let told = told.map_err(|error| error.param.unwrap());
        assert_eq!(told, expected.map(|it| it.map(str::to_owned)).map_err(str::to_owned), "{betas:?}");
    }
}

#[test]
fn anthropics_own_shape_is_only_spliced() {
    fn check(before: &str, after: &str) {
        let encoded = encode(&anthropic(before), &[]).unwrap();
        assert_eq!(std::str::from_utf8(&encoded.body).unwrap(), after);
    }
    check(
        r#"{ "model": "a", "max_tokens": 9999,  "x_new": {"b":1.00}, "messages": [{"role":"user","content":"h\u0069"}] }"#,
        r#"{ "model": "claude-sonnet-4-5", "max_tokens": 512,  "x_new": {"b":1.00}, "messages": [{"role":"user","content":"h\u0069"}] }"#,
    );
    check(
        r#"{"model":"a","max_tokens":900,"messages":[],"metadata":{"user_id":"u"},"fallbacks":["b"]}"#,
        r#"{"model":"claude-sonnet-4-5","max_tokens":512,"messages":[],"metadata":{"user_id":"u"}}"#,
    );
    check(
        r#"{"model":"a","max_tokens":900,"metadata":{"user_id":"u","team":"t"},"messages":[]}"#,
        r#"{"model":"claude-sonnet-4-5","max_tokens":512,"metadata":{"user_id":"u"},"messages":[]}"#,
    );
    check(
        r#"{"model":"a","max_tokens":900,"metadata":{"team":"t"},"messages":[]}"#,
        r#"{"model":"claude-sonnet-4-5","max_tokens":512,"messages":[]}"#,
    );
}

#[test]
fn a_count_is_asked_with_what_would_be_sent_and_nothing_about_the_answer() {
    let outside = crate::request::Outside { counts: true, ..Default::default() };
    let parse = |body: &'static str| ModelRequest::parse_with(Shape::Anthropic, body.into(), outside.clone());
    let (base_url, quirks) = (Url::parse("https://api.anthropic.com/v1").unwrap(), Quirks::default());
    let aim = Aim::at(&base_url, "claude-sonnet-4-5", 0, &quirks);
    for (body, sent) in [
        (r#"{"model":"a", "messages":[ ],"x":1.0}"#, r#"{"model":"claude-sonnet-4-5", "messages":[ ],"x":1.0}"#),
        (
            r#"{"model":"a","max_tokens":9,"stream":true,"fallbacks":["b"],"metadata":{"user_id":"u"},"messages":[]}"#,
            r#"{"model":"claude-sonnet-4-5","messages":[]}"#,
        ),
    ] {
        let encoded = AnthropicDialect.counting(&parse(body).unwrap(), &aim).unwrap().unwrap();
        assert_eq!(std::str::from_utf8(&encoded.body).unwrap(), sent);
        assert_eq!(encoded.url.as_str(), "https://api.anthropic.com/v1/messages/count_tokens");
        assert_eq!(encoded.headers["anthropic-version"], "2023-06-01");
    }
    assert!(AnthropicDialect.counting(&openai(r#"{"model":"a","messages":[]}"#), &aim).is_none());
    assert!(parse(r#"{"model":"a"}"#).is_err(), "messages are needed all the same");
    assert!(ModelRequest::parse(Shape::Anthropic, r#"{"model":"a","messages":[]}"#.into()).is_err());
}

#[test]
fn what_is_billed_at_another_rate_is_refused_by_name() {
    fn check(body: Value, place: Option<&str>) {
        let refused = encode(&anthropic(&body.to_string()), &[]).err();
        assert_eq!(refused.and_then(|refused| refused.param).as_deref(), place, "{body}");
    }
    let with = |name: &str, value: Value| {
        let mut body = json!({"model": "m", "max_tokens": 9, "messages": []});
        body[name] = value;
        body
    };
    let cached =
        |ttl: Value| json!([{"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": ttl}}]);
    check(with("speed", json!("fast")), Some("speed"));
    check(with("speed", json!("standard")), None);
    check(with("inference_geo", json!("us")), Some("inference_geo"));
    check(with("inference_geo", json!(null)), None);
    check(with("container", json!("c")), Some("container"));
    check(with("container", json!(null)), None);
    let edits = |kind: &str| json!({"edits": [{"type": "clear_thinking_20251015"}, {"type": kind}]});
    check(with("context_management", edits("compact_20260112")), Some("context_management"));
    check(with("context_management", json!({"compact": true})), Some("context_management"));
    check(with("context_management", edits("clear_tool_uses_20250919")), None);
    check(with("context_management", json!(null)), None);
    check(with("cache_control", json!({"type": "ephemeral", "ttl": "1h"})), Some("cache_control.ttl"));
    check(with("system", cached(json!("1h"))), Some("system[0].cache_control.ttl"));
    check(with("system", cached(json!("5m"))), None);
    let turn = json!([{"role": "user", "content": cached(json!("1h"))}]);
    check(with("messages", turn.clone()), Some("messages[0].content[0].cache_control.ttl"));
    let input = json!({"cache_control": {"ttl": "1h"}});
    let call =
        json!([{"role": "assistant", "content": [{"type": "tool_use", "id": "a", "name": "b", "input": input}]}]);
    check(with("messages", call), None);

    let hidden = r#"{"model":"m","max_tokens":9,"messages":[],"cache_control":{"\u0074tl":"1h"}}"#;
    assert!(encode(&anthropic(hidden), &[]).is_err());
    let refused = encode(&openai(&json!({"model": "m", "messages": turn}).to_string()), &[]).unwrap_err();
    assert_eq!(refused.param.as_deref(), Some("messages[0].content[0].cache_control.ttl"));
}

#[test]
fn what_anthropic_cannot_do_is_refused_by_name() {
    fn check(member: &str, value: Value, place: &str) {
        let mut request = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        request[member] = value;
        let refused = encode(&openai(&request.to_string()), &[]).unwrap_err();
        assert_eq!(refused.param.as_deref(), Some(place), "{member}: {refused}");
        assert!(refused.message.contains(place), "{member}: {refused}");
    }
    check("n", json!(2), "n");
    check("logprobs", json!(true), "logprobs");
    check("top_logprobs", json!(3), "top_logprobs");
    check("logit_bias", json!({"50256": -100}), "logit_bias");
    check("presence_penalty", json!(0.5), "presence_penalty");
    check("frequency_penalty", json!(-1), "frequency_penalty");
    check("store", json!(true), "store");
    check("service_tier", json!("flex"), "service_tier");
    check("verbosity", json!("low"), "verbosity");
    check("modalities", json!(["text", "audio"]), "modalities");
    check("audio", json!({"voice": "alloy", "format": "wav"}), "audio");
    check("web_search_options", json!({}), "web_search_options");
    check("functions", json!([{"name": "f"}]), "functions");
    check("temperature", json!(1.5), "temperature");
    check("stop", json!(["\n"]), "stop");
    check("reasoning_effort", json!("huge"), "reasoning_effort");
    check("response_format", json!({"type": "json_object"}), "response_format.type");
    check("tool_choice", json!("required"), "tool_choice");
    check("tool_choice", json!({"type": "allowed_tools", "allowed_tools": {}}), "tool_choice.type");
    check("tools", json!([{"type": "custom", "custom": {"name": "x"}}]), "tools[0].type");
    check(
        "tools",
        json!([{"type": "function", "function": {"name": "x", "nonsense": 1}}]),
        "tools[0].function.nonsense",
    );
    check("never_heard_of", json!(1), "never_heard_of");
    check("messages", json!([]), "messages");
    check("messages", json!([{"role": "system", "content": "alone"}]), "messages");
    check("messages", json!([{"role": "user", "content": "hi", "name": "bob"}]), "messages[0].name");
    check("messages", json!([{"role": "critic", "content": "hi"}]), "messages[0].role");
    let part = |part: Value| json!([{"role": "user", "content": [part]}]);
    check("messages", part(json!({"type": "input_audio", "input_audio": {}})), "messages[0].content[0].input_audio");
    check("messages", part(json!({"type": "video"})), "messages[0].content[0].type");
    let image = |url: &str| part(json!({"type": "image_url", "image_url": {"url": url}}));
    check("messages", image("data:image/tiff;base64,AA=="), "messages[0].content[0].image_url.url");
    check("messages", image("ftp://x/y.png"), "messages[0].content[0].image_url.url");
    let file = |file: Value| part(json!({"type": "file", "file": file}));
    check("messages", file(json!({"file_id": "file-1"})), "messages[0].content[0].file.file_id");
    check(
        "messages",
        file(json!({"file_data": "data:image/bmp;base64,AA=="})),
        "messages[0].content[0].file.file_data",
    );
    check(
        "messages",
        file(json!({"filename": "a.txt", "file_data": "data:text/plain;charset=utf-8;base64,aGVsbG8="})),
        "messages[0].content[0].file.file_data",
    );
    let thought =
        |block: Value| json!([{"role": "assistant", "reasoning_content": "a sum", "thinking_blocks": [block]}]);
    let thinking = json!({"type": "thinking", "thinking": "a secret", "signature": "Eq"});
    check("messages", thought(thinking), "messages[0].thinking_blocks[0].thinking");
    let thinking = json!({"type": "thinking", "thinking": "a sum", "signature": "a secret"});
    check("messages", thought(thinking), "messages[0].thinking_blocks[0].signature");
    for arguments in ["{\"a\":", "[1]", "3", "{} {}"] {
        let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}});
        let place = "messages[0].tool_calls[0].function.arguments";
        check("messages", json!([{"role": "assistant", "tool_calls": [call]}]), place);
    }
}

#[test]
fn members_that_ask_for_nothing_pass() {
    let request = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "n": 1, "logprobs": false,
        "top_logprobs": null, "logit_bias": {}, "presence_penalty": 0, "frequency_penalty": 0.0, "store": false,
        "service_tier": "auto", "modalities": ["text"], "audio": null, "functions": null, "verbosity": "medium",
        "prediction": {"type": "content", "content": "hi"}, "prompt_cache_key": "k", "tool_choice": "none",
        "response_format": {"type": "text"}, "unknown": null, "temperature": 1});
    let encoded = body(&encode(&openai(&request.to_string()), &[]).unwrap());
    let expected = json!({"model": "claude-sonnet-4-5", "max_tokens": 512, "temperature": 1, "stream": false,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "hi"}]}]});
    assert_eq!(encoded, expected);
}

#[test]
fn what_openai_cannot_do_is_refused_by_name() {
    fn check(member: &str, value: Value, place: &str) {
        let mut request = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]});
        request[member] = value;
        let request = anthropic(&request.to_string());
        let refused = as_chat(&request).and_then(|chat| plain(&chat)).unwrap_err();
        assert_eq!(refused.param.as_deref(), Some(place), "{member}: {refused}");
    }
    check("top_k", json!(5), "top_k");
    check("speed", json!("fast"), "speed");
    check("container", json!("c"), "container");
    check("inference_geo", json!("us"), "inference_geo");
    check("tools", json!([{"type": "web_search_20250305", "name": "web_search"}]), "tools[0].type");
    check("tools", json!([{"name": "x"}]), "tools[0].input_schema");
    check("system", json!([{"type": "image"}]), "system[0].type");
    let block = |block: Value| json!([{"role": "user", "content": [block]}]);
    check("messages", block(json!({"type": "search_result"})), "messages[0].content[0].type");
    let source = json!({"type": "file", "file_id": "f"});
    check("messages", block(json!({"type": "image", "source": source})), "messages[0].content[0].source.type");
    let seen = json!([{"type": "image", "source": source}]);
    let result = json!({"type": "tool_result", "tool_use_id": "t", "content": seen});
    check("messages", block(result), "messages[0].content[0].content[0].source.type");
    let shown = json!([{"type": "image", "source": {"type": "url", "url": "https://x.test/a.png"}}]);
    let result = json!({"type": "tool_result", "tool_use_id": "t", "content": shown});
    check("messages", block(result), "messages[0].content[0]");
    let cited = json!({"type": "text", "text": "a", "citations": [{"type": "char_location"}]});
    check("messages", json!([{"role": "assistant", "content": [cited]}]), "messages[0].content[0].citations");
}

#[test]
fn a_budget_for_thinking_becomes_an_effort_where_there_are_no_budgets() {
    for (budget, effort) in [(1_024, "low"), (4_095, "low"), (4_096, "medium"), (16_384, "high")] {
        let request = json!({"model": "m", "max_tokens": 20_000, "messages": [{"role": "user", "content": "hi"}],
            "thinking": {"type": "enabled", "budget_tokens": budget}});
        let request = anthropic(&request.to_string());
        let chat = plain(&as_chat(&request).unwrap()).unwrap();
        assert_eq!(chat.member("reasoning_effort"), Some(&*format!("\"{effort}\"")), "{budget}");
        assert_eq!(chat.member("thinking"), None);
    }
}

#[test]
fn what_a_client_sends_back_of_an_earlier_answer_is_no_question() {
    let request = json!({"model": "m", "messages": [{"role": "user", "content": "hi"},
        {"role": "assistant", "content": "yes", "provider_specific_fields": {"a": 1}, "annotations": [{"type": "url_citation"}]},
        {"role": "user", "content": "and?"}]});
    let encoded = body(&encode(&openai(&request.to_string()), &[]).unwrap());
    assert_eq!(encoded["messages"][1], json!({"role": "assistant", "content": [{"type": "text", "text": "yes"}]}));
}

#[test]
fn tool_calls_keep_ids_names_and_arguments_on_the_way_and_back() {
    let arguments = r#"{"city": "Paris", "n": 12345678901234567890123, "x": 1.0}"#;
    let request = json!({"model": "m", "messages": [
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "a", "tool_calls": [
            {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": arguments}},
            {"id": "call_2", "type": "function", "function": {"name": "g", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "call_1", "content": "one"},
        {"role": "tool", "tool_call_id": "call_2", "content": "two"}]});
    let there = encode(&openai(&request.to_string()), &[]).unwrap();
    let back = to_openai(&ModelRequest::parse(Shape::Anthropic, there.body).unwrap()).unwrap();
    let back: Value = serde_json::from_slice(&back).unwrap();
    assert_eq!(back["messages"], request["messages"]);
}

#[test]
fn a_foreign_tool_id_is_spelled_out_in_call_and_result_alike() {
    let request = json!({"model": "m", "messages": [
        {"role": "assistant", "tool_calls": [{"id": "f:1.2", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "f:1.2", "content": "one"}]});
    let encoded = body(&encode(&openai(&request.to_string()), &[]).unwrap());
    assert_eq!(encoded["messages"][0]["content"][0]["id"], "f_3a_1_2e_2");
    assert_eq!(encoded["messages"][1]["content"][0]["tool_use_id"], "f_3a_1_2e_2");
}

#[test]
fn tool_results_come_first_in_their_turn() {
    let request = json!({"model": "m", "messages": [
        {"role": "user", "content": "before"},
        {"role": "tool", "tool_call_id": "a", "content": "one"},
        {"role": "tool", "tool_call_id": "b", "content": ""},
        {"role": "user", "content": "after"}]});
    let encoded = body(&encode(&openai(&request.to_string()), &[]).unwrap());
    let expected = json!([{"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "a", "content": [{"type": "text", "text": "one"}]},
        {"type": "tool_result", "tool_use_id": "b"},
        {"type": "text", "text": "before"},
        {"type": "text", "text": "after"}]}]);
    assert_eq!(encoded["messages"], expected);
}

proptest! {
    #[test]
    fn a_damaged_request_is_read_or_refused_never_in_a_panic(
        name in prop::sample::select(&["to_anthropic/tool_loop", "to_anthropic/thinking_history",
            "to_anthropic/images_and_files", "to_openai/tool_loop", "to_openai/images_and_documents"][..]),
        at in 0usize..2500, gone in 0usize..30, new in "[\\[\\]{}:,\"0-9a-z ]{0,8}",
    ) {
        let mut body = given(&format!("{name}.in.json")).into_bytes();
        let at = at.min(body.len());
        let end = (at + gone).min(body.len());
        body.splice(at..end, new.bytes());
        let shape = if name.starts_with("to_openai") { Shape::Anthropic } else { Shape::OpenAi };
        if let Ok(request) = ModelRequest::parse(shape, Bytes::from(body)) {
            let _ = encode(&request, &[]);
            if let (Shape::Anthropic, Ok(told)) = (shape, to_openai(&request)) {
                prop_assert!(serde_json::from_slice::<Value>(&told).is_ok());
            }
        }
    }
}
