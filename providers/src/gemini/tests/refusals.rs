use proptest::prelude::*;
use serde_json::json;

use super::*;

#[test]
fn what_gemini_cannot_do_is_refused_by_name() {
    fn check(member: &str, value: Value, place: &str) {
        let mut request = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        request[member] = value;
        let refused = encode(&openai(&request.to_string()), "gemini-2.5-pro").unwrap_err();
        assert_eq!(refused.param.as_deref(), Some(place), "{member}: {refused}");
        assert!(refused.message.contains(place), "{member}: {refused}");
    }
    check("n", json!(9), "n");
    check("best_of", json!(2), "best_of");
    check("top_logprobs", json!(3), "top_logprobs");
    check("logit_bias", json!({"50256": -100}), "logit_bias");
    check("store", json!(true), "store");
    check("service_tier", json!("flex"), "service_tier");
    check("verbosity", json!("low"), "verbosity");
    check("modalities", json!(["text", "video"]), "modalities[1]");
    check("modalities", json!(["text", "audio"]), "modalities[1]");
    check("modalities", json!(["image"]), "modalities[0]");
    check("audio", json!({"voice": "alloy", "format": "wav"}), "audio");
    check("functions", json!([{"name": "f"}]), "functions");
    check("stop", json!(["a", "b", "c", "d", "e", "f"]), "stop");
    check("stop", json!(""), "stop");
    check("reasoning_effort", json!("huge"), "reasoning_effort");
    check("response_format", json!({"type": "grammar"}), "response_format.type");
    check("response_format", json!({"type": "json_schema", "json_schema": {}}), "response_format.json_schema.schema");
    check("tool_choice", json!("required"), "tool_choice");
    check("tool_choice", json!({"type": "custom"}), "tool_choice.type");
    check("extra_body", json!({"google": {"cached_content": "c"}}), "extra_body.google.cached_content");
    check("extra_body", json!({"other": 1}), "extra_body.other");
    check(
        "tools",
        json!([{"type": "function", "function": {"name": "x", "nonsense": 1}}]),
        "tools[0].function.nonsense",
    );
    check(
        "tools",
        json!([{"type": "function", "function": {"name": "x", "parameters": 1}}]),
        "tools[0].function.parameters",
    );
    check("never_heard_of", json!(1), "never_heard_of");
    check("messages", json!([]), "messages");
    check("messages", json!([{"role": "system", "content": "alone"}]), "messages");
    check("messages", json!([{"role": "user", "content": "hi", "name": "bob"}]), "messages[0].name");
    check("messages", json!([{"role": "critic", "content": "hi"}]), "messages[0].role");
    check("messages", json!([{"role": "tool", "tool_call_id": "x", "content": "hi"}]), "messages[0].tool_call_id");
    let part = |part: Value| json!([{"role": "user", "content": [part]}]);
    check("messages", part(json!({"type": "video"})), "messages[0].content[0].type");
    let sound = json!({"type": "input_audio", "input_audio": {"data": "AA==", "format": "midi"}});
    check("messages", part(sound), "messages[0].content[0].input_audio.format");
    let image = |url: &str| part(json!({"type": "image_url", "image_url": {"url": url}}));
    for url in [
        "data:image/gif;base64,AA==",
        "ftp://x/y.png",
        "https://example.com/image",
        "https://example.png",
        "file:///a.png",
        "https://storage.googleapis.com/anothers/a.png",
        "https://user:pass@example.com/a.png",
    ] {
        check("messages", image(url), "messages[0].content[0].image_url.url");
    }
    let file = |file: Value| part(json!({"type": "file", "file": file}));
    check("messages", file(json!({"file_id": "file-1"})), "messages[0].content[0].file.file_id");
    for data in ["data:image/bmp;base64,AA==", "data:text/plain;base64,aGVsbG8="] {
        check("messages", file(json!({"filename": "a", "file_data": data})), "messages[0].content[0].file.file_data");
    }
    let thought =
        |block: Value| json!([{"role": "assistant", "reasoning_content": "a sum", "thinking_blocks": [block]}]);
    let block = json!({"type": "thinking", "thinking": "a secret", "signature": "gemini_Eq"});
    check("messages", thought(block), "messages[0].thinking_blocks[0].thinking");
    let block = json!({"type": "thinking", "thinking": "a sum", "signature": "gemini_a secret"});
    check("messages", thought(block), "messages[0].thinking_blocks[0].signature");
    let signed = json!({"google": {"thought_signature": "a secret"}});
    let call = json!({"id": "c", "extra_content": signed, "function": {"name": "f", "arguments": "{}"}});
    let place = "messages[0].tool_calls[0].extra_content.google.thought_signature";
    check("messages", json!([{"role": "assistant", "tool_calls": [call]}]), place);
    for arguments in ["{\"a\":", "[1]", "3", "{} {}"] {
        let call = json!({"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}});
        let place = "messages[0].tool_calls[0].function.arguments";
        check("messages", json!([{"role": "assistant", "tool_calls": [call]}]), place);
    }
}

#[test]
fn members_are_refused_together_that_only_go_apart() {
    let tools = json!([{"type": "function", "function": {"name": "x"}}]);
    let check = |model: &str, more: Value, place: Option<&str>| {
        let mut request = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "tools": tools});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let refused = encode(&openai(&request.to_string()), model).err();
        assert_eq!(refused.and_then(|it| it.param).as_deref(), place, "{model} {more}");
    };
    check("gemini-2.5-pro", json!({"parallel_tool_calls": false}), None);
    check("gemini-2.5-pro", json!({"response_format": {"type": "json_object"}}), Some("response_format"));
    check("gemini-3-pro-preview", json!({"response_format": {"type": "json_object"}}), None);
    check("gemini-2.5-flash-preview-tts", json!({"modalities": ["audio"]}), Some("audio"));
    let voice = json!({"voice": "Kore", "format": "mp3"});
    check("gemini-2.5-flash-preview-tts", json!({"modalities": ["audio"], "audio": voice}), Some("audio.format"));
    let own = json!({"google": {"thinking_config": {"thinking_budget": 9}}});
    check("gemini-2.5-pro", json!({"reasoning_effort": "low", "extra_body": own}), Some("extra_body"));
}

#[test]
fn members_that_ask_for_nothing_pass() {
    let request = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "n": 1, "logprobs": false,
        "top_logprobs": null, "logit_bias": {}, "presence_penalty": 0, "frequency_penalty": 0.0, "store": false,
        "service_tier": "auto", "modalities": ["text"], "audio": null, "functions": null, "verbosity": "medium",
        "prediction": {"type": "content", "content": "hi"}, "prompt_cache_key": "k", "tool_choice": "none",
        "response_format": {"type": "text"}, "unknown": null, "temperature": 1, "parallel_tool_calls": false});
    let encoded = body(&encode(&openai(&request.to_string()), "gemini-2.5-pro").unwrap());
    let expected = json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}],
        "generationConfig": {"maxOutputTokens": 512, "temperature": 1}});
    assert_eq!(encoded, expected);
}

proptest! {
    #[test]
    fn a_damaged_request_is_read_or_refused_never_in_a_panic(
        name in prop::sample::select(&["settings", "tool_loop", "media", "thinking_history", "speech"][..]),
        at in 0usize..2500, gone in 0usize..30, new in "[\\[\\]{}:,\"0-9a-z ]{0,8}",
    ) {
        let mut body = given(&format!("to_gemini/{name}.in.json")).into_bytes();
        let at = at.min(body.len());
        let end = (at + gone).min(body.len());
        body.splice(at..end, new.bytes());
        let encoded = ModelRequest::parse(Shape::OpenAi, Bytes::from(body)).ok();
        let encoded = encoded.and_then(|request| encode(&request, "gemini-3-pro-preview").ok());
        if let Some(encoded) = encoded {
            prop_assert!(serde_json::from_slice::<Value>(&encoded.body).is_ok());
        }
    }
}
