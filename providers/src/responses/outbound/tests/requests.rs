use proptest::prelude::*;
use serde_json::json;

use super::*;

fn body(request: &HttpRequest) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

/// What is refused of a request that is otherwise fine, by its place.
fn refused(more: Value) -> String {
    let mut request = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let refused = encode(&openai(&request.to_string()), Quirks::default()).unwrap_err();
    let place = refused.param.clone().expect("a place");
    assert!(refused.message.contains(&place), "{refused}");
    place
}

fn encoded(more: Value) -> Value {
    let mut request = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
    request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body(&encode(&openai(&request.to_string()), Quirks::default()).unwrap())
}

#[test]
fn a_chat_request_is_told_in_the_words_of_responses() {
    for name in ["tool_loop", "media_and_history", "settings"] {
        let request = openai(&given(&format!("to_responses/{name}.in.json")));
        let encoded = encode(&request, Quirks::default()).unwrap();
        check_file(&format!("to_responses/{name}.out.json"), std::str::from_utf8(&encoded.body).unwrap());
    }
}

#[test]
fn a_request_carries_key_and_path() {
    let encoded = encode(&openai(r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#), Quirks::default());
    let encoded = encoded.unwrap();
    assert_eq!(encoded.url.as_str(), "https://api.openai.com/v1/responses");
    assert_eq!(encoded.headers["authorization"], "Bearer sk-test");
}

#[test]
fn nothing_is_kept_at_the_provider_and_thinking_comes_back_unless_the_caller_says_otherwise() {
    assert_eq!(encoded(json!({}))["store"], false);
    assert_eq!(encoded(json!({"store": null}))["store"], false);
    assert_eq!(encoded(json!({"store": true}))["store"], true);
    assert_eq!(encoded(json!({}))["include"], json!(["reasoning.encrypted_content"]));
    let quirks = Quirks { no_encrypted_reasoning: true, ..Quirks::default() };
    let plain = openai(r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#);
    assert_eq!(body(&encode(&plain, quirks).unwrap()).get("include"), None);
}

#[test]
fn the_cap_is_always_sent_and_one_that_is_too_small_is_refused() {
    for (name, asked, sent) in [("max_tokens", 100, 100), ("max_completion_tokens", 16, 16), ("max_tokens", 9999, 512)]
    {
        assert_eq!(encoded(json!({name: asked}))["max_output_tokens"], sent, "{name} {asked}");
    }
    assert_eq!(encoded(json!({}))["max_output_tokens"], 512);
    assert_eq!(refused(json!({"max_tokens": 15})), "max_tokens");
    assert_eq!(refused(json!({"max_completion_tokens": 1})), "max_completion_tokens");
}

#[test]
fn tools_are_as_strict_as_chat_completions_say_which_is_not_at_all_unless_asked() {
    let tool = |strict: Value| json!({"type": "function", "function": {"name": "f", "strict": strict}});
    let sent = encoded(json!({"tools": [tool(json!(null)), tool(json!(true)), tool(json!(false))]}));
    let strict: Vec<_> = sent["tools"].as_array().unwrap().iter().map(|tool| tool["strict"].clone()).collect();
    assert_eq!(strict, [false, true, false]);
    let format = json!({"type": "json_schema", "json_schema": {"name": "a", "schema": {}}});
    assert_eq!(encoded(json!({"response_format": format}))["text"]["format"]["strict"], false);
}

#[test]
fn choices_formats_and_effort_are_told_flat() {
    for (given, place, expected) in [
        (json!({"tool_choice": "required"}), "/tool_choice", json!("required")),
        (
            json!({"tool_choice": {"type": "function", "function": {"name": "f"}}}),
            "/tool_choice",
            json!({"type": "function", "name": "f"}),
        ),
        (
            json!({"tool_choice": {"type": "custom", "custom": {"name": "c"}}}),
            "/tool_choice",
            json!({"type": "custom", "name": "c"}),
        ),
        (json!({"response_format": {"type": "json_object"}}), "/text/format", json!({"type": "json_object"})),
        (json!({"response_format": {"type": "text"}}), "/text/format", json!({"type": "text"})),
        (json!({"verbosity": "high"}), "/text/verbosity", json!("high")),
        (json!({"reasoning_effort": "none"}), "/reasoning", json!({"effort": "none"})),
        (json!({"thinking": {"type": "enabled", "budget_tokens": 20_000}}), "/reasoning", json!({"effort": "high"})),
        (
            json!({"thinking": {"type": "enabled", "budget_tokens": 20_000}, "reasoning_effort": "low"}),
            "/reasoning",
            json!({"effort": "low"}),
        ),
        (
            json!({"reasoning": {"effort": "low", "summary": "auto"}}),
            "/reasoning",
            json!({"effort": "low", "summary": "auto"}),
        ),
        (
            json!({"stream": true, "stream_options": {"include_obfuscation": false}}),
            "/stream_options",
            json!({"include_obfuscation": false}),
        ),
    ] {
        assert_eq!(encoded(given.clone()).pointer(place), Some(&expected), "{given}");
    }
    assert_eq!(encoded(json!({"stream": true, "stream_options": {"include_usage": true}})).get("stream_options"), None);
}

#[test]
fn what_this_api_cannot_do_is_refused_by_name() {
    for (given, place) in [
        (json!({"n": 2}), "n"),
        (json!({"stop": ["END"]}), "stop"),
        (json!({"stop": "END"}), "stop"),
        (json!({"seed": 7}), "seed"),
        (json!({"logit_bias": {"50256": -100}}), "logit_bias"),
        (json!({"presence_penalty": 0.5}), "presence_penalty"),
        (json!({"frequency_penalty": -1}), "frequency_penalty"),
        (json!({"top_logprobs": 3}), "top_logprobs"),
        (json!({"modalities": ["text", "audio"]}), "modalities"),
        (json!({"audio": {"voice": "alloy", "format": "wav"}}), "audio"),
        (json!({"functions": [{"name": "f"}]}), "functions"),
        (json!({"service_tier": "priority"}), "service_tier"),
        (json!({"tools": [{"type": "web_search"}]}), "tools"),
        (json!({"prompt_cache_options": {"ttl": "12h"}}), "prompt_cache_options.ttl"),
        (json!({"reasoning": {"mode": "pro"}}), "reasoning.mode"),
        (json!({"reasoning_effort": "low", "reasoning": {"effort": "high"}}), "reasoning.effort"),
        (json!({"response_format": {"type": "grammar"}}), "response_format.type"),
        (json!({"tool_choice": "sometimes"}), "tool_choice"),
        (json!({"tool_choice": {"type": "mcp"}}), "tool_choice.type"),
        (json!({"tools": [{"type": "function", "function": {"name": "f", "x": 1}}]}), "tools[0].function.x"),
        (json!({"some_new_thing": 1}), "some_new_thing"),
        (json!({"messages": []}), "messages"),
    ] {
        assert_eq!(refused(given.clone()), place, "{given}");
    }
}

#[test]
fn what_a_message_cannot_hold_here_is_refused_by_its_place() {
    let block = |signature: &str, thinking: &str| {
        json!({"role": "assistant", "content": "a", "reasoning_content": "I look.",
            "thinking_blocks": [{"type": "thinking", "thinking": thinking, "signature": signature}]})
    };
    for (message, place) in [
        (json!({"role": "user", "name": "Ann", "content": "a"}), "messages[0].name"),
        (json!({"role": "function", "name": "f", "content": "a"}), "messages[0].role"),
        (json!({"role": "assistant", "audio": {"id": "a"}}), "messages[0].audio"),
        (
            json!({"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "aa", "format": "wav"}}]}),
            "messages[0].content[0].input_audio",
        ),
        (
            json!({"role": "system", "content": [{"type": "image_url", "image_url": {"url": "https://a/b"}}]}),
            "messages[0].content[0].type",
        ),
        (
            json!({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "ftp://a/b"}}]}),
            "messages[0].content[0].image_url.url",
        ),
        (
            json!({"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}),
            "messages[0].content[0].file.file_id",
        ),
        (
            json!({"role": "user", "content": [{"type": "text", "text": "a", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}}]}),
            "messages[0].content[0].prompt_cache_breakpoint.ttl",
        ),
        (block("responses1=rs_1=gAAA", "Something else."), "messages[0].thinking_blocks[0].thinking"),
    ] {
        assert_eq!(refused(json!({"messages": [message]})), place);
    }
    assert_eq!(encoded(json!({"messages": [block("Eq+Anthropics", "Else.")]}))["input"].as_array().unwrap().len(), 1);
}

/// A turn of a user, an answer with perhaps some calls, and their results.
fn round() -> impl Strategy<Value = Vec<Value>> {
    let text = "[a-zé\"\\\\\n ]{1,12}";
    (text, text, prop::collection::vec(("[a-z]{1,4}", text, text), 0..3), any::<bool>()).prop_map(
        |(asked, said, calls, silent)| {
            let called: Vec<Value> = (0..)
                .zip(&calls)
                .map(|(i, (name, argument, _)): (usize, _)| {
                    let arguments = json!({"x": argument}).to_string();
                    json!({"type": "function", "id": format!("call_{name}_{i}"),
                        "function": {"name": name, "arguments": arguments}})
                })
                .collect();
            let mut answer = json!({"role": "assistant", "content": said});
            if !called.is_empty() {
                answer["tool_calls"] = json!(called);
                if silent {
                    answer["content"] = Value::Null;
                }
            }
            let results = calls
                .iter()
                .zip(&called)
                .map(|((_, _, result), call)| json!({"role": "tool", "tool_call_id": call["id"], "content": result}));
            let mut all = vec![json!({"role": "user", "content": asked}), answer];
            all.extend(results);
            all
        },
    )
}

proptest! {
    #[test]
    fn a_conversation_that_is_read_back_from_what_was_sent_is_the_same(
        system in "[a-z ]{1,8}", rounds in prop::collection::vec(round(), 1..4), effort in prop::sample::select(vec!["low", "high"]),
    ) {
        let mut messages = vec![json!({"role": "system", "content": system})];
        messages.extend(rounds.into_iter().flatten());
        messages.push(json!({"role": "user", "content": "?"}));
        let chat = json!({"model": "m", "messages": messages, "reasoning_effort": effort, "temperature": 0.5,
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}, "strict": true}}]});
        let sent = encode(&openai(&chat.to_string()), Quirks::default()).unwrap();
        let read = ModelRequest::parse(Shape::Responses, sent.body).unwrap();
        let back: Value = serde_json::from_slice(&responses::to_openai(&read).unwrap()).unwrap();
        for name in ["messages", "reasoning_effort", "temperature", "tools"] {
            prop_assert_eq!(&back[name], &chat[name], "{}", name);
        }
    }
}
