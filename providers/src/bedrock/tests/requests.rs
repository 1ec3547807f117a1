use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use serde_json::json;
use url::Url;

use super::*;
use crate::catalog::Quirks;
use crate::credentials::{AwsKeys, Live, Secret};

const CLAUDE: &str = "us.anthropic.claude-sonnet-4-5-20250929-v1:0";
const LLAMA: &str = "meta.llama3-3-70b-instruct-v1:0";
const NOVA: &str = "us.amazon.nova-2-lite-v1:0";
const OSS: &str = "openai.gpt-oss-20b-1:0";

fn encoded(shape: Shape, body: &str, model: &str) -> Result<HttpRequest, Unsupported> {
    let (base_url, quirks) =
        (Url::parse("https://bedrock-runtime.us-east-1.amazonaws.com").unwrap(), Quirks::default());
    BedrockDialect.encode(&request(shape, body), &Aim::at(&base_url, model, 512, &quirks))
}

fn body(text: &str, model: &str) -> Value {
    serde_json::from_slice(&encoded(Shape::OpenAi, text, model).unwrap().body).unwrap()
}

#[test]
fn a_chat_is_told_in_converses_words() {
    for (name, model) in [("everything", CLAUDE), ("plain", CLAUDE), ("foreign", LLAMA)] {
        let request = encoded(Shape::OpenAi, &given(&format!("to_converse/{name}.in.json")), model).unwrap();
        check_file(&format!("to_converse/{name}.out.json"), std::str::from_utf8(&request.body).unwrap());
    }
}

#[test]
fn the_address_holds_the_model_and_the_kind_of_answer() {
    let check = |shape: Shape, body: Value, model: &str, path: &str, accept: &str| {
        let request = encoded(shape, &body.to_string(), model).unwrap();
        assert_eq!((request.url.path(), request.headers["accept"].to_str().unwrap()), (path, accept));
        assert!(!request.headers.contains_key("authorization"));
    };
    let user = json!([{"role": "user", "content": "a"}]);
    let whole = json!({"model": "m", "max_tokens": 9, "messages": user});
    let streamed = json!({"model": "m", "max_tokens": 9, "messages": user, "stream": true});
    let nova = "/model/us.amazon.nova-2-lite-v1%3A0/converse";
    check(Shape::OpenAi, whole.clone(), NOVA, nova, "application/json");
    check(Shape::Anthropic, whole, NOVA, nova, "application/json");
    let titan = "/model/amazon.titan-embed-text-v2%3A0/invoke";
    let text = json!({"model": "m", "input": "a"});
    check(Shape::Embeddings, text.clone(), "amazon.titan-embed-text-v2:0", titan, "application/json");
    assert!(encoded(Shape::Moderations, &text.to_string(), NOVA).unwrap_err().message.contains("moderations"));
    check(Shape::OpenAi, streamed.clone(), NOVA, &format!("{nova}-stream"), STREAM);
    check(Shape::Anthropic, streamed, NOVA, &format!("{nova}-stream"), STREAM);
}

#[test]
fn keys_sign_and_a_bedrock_key_is_shown() {
    let base_url = Url::parse("http://127.0.0.1:9/p/").unwrap();
    let (quirks, key) = (Quirks::default(), Secret::new("bedrock-api-key"));
    let keys = Live::new(AwsKeys {
        access_key_id: "AKIDEXAMPLE".to_owned(),
        secret_access_key: Secret::new("canary"),
        session_token: Some(Secret::new("token")),
    });
    let settings = BTreeMap::from([("aws_region".to_owned(), "eu-west-1".to_owned())]);
    let plain = request(Shape::OpenAi, &given("to_converse/plain.in.json"));
    let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_200_000);
    let aim = Aim { aws: Some(&keys), settings: &settings, now, ..Aim::at(&base_url, CLAUDE, 9, &quirks) };
    let signed = BedrockDialect.encode(&plain, &aim).unwrap();
    let authorization = signed.headers["authorization"].to_str().unwrap();
    let scope = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20261120/eu-west-1/bedrock/aws4_request, \
        SignedHeaders=content-type;host;x-amz-date;x-amz-security-token, Signature=";
    assert!(authorization.starts_with(scope), "{authorization}");
    assert!(!signed.headers.values().any(|it| it.as_bytes().windows(6).any(|it| it == b"canary")));
    assert_eq!(signed.url.path(), "/p/model/us.anthropic.claude-sonnet-4-5-20250929-v1%3A0/converse");
    let later = Aim { now: now + Duration::from_secs(1), ..aim };
    assert_ne!(BedrockDialect.encode(&plain, &later).unwrap().headers["authorization"], authorization);

    let aim = Aim { key: Some(&key), ..Aim::at(&base_url, CLAUDE, 9, &quirks) };
    let shown = BedrockDialect.encode(&plain, &aim).unwrap();
    assert_eq!(shown.headers["authorization"], "Bearer bedrock-api-key");
    assert!(!shown.headers.contains_key("x-amz-date"));
}

#[test]
fn the_cap_is_always_told_and_never_raised() {
    for (asked, told) in [("", 512), (",\"max_tokens\":9", 9), (",\"max_completion_tokens\":9999", 512)] {
        let chat = format!("{{\"model\":\"m\",\"messages\":[{{\"role\":\"user\",\"content\":\"a\"}}]{asked}}}");
        assert_eq!(body(&chat, LLAMA)["inferenceConfig"]["maxTokens"], told);
    }
}

#[test]
fn each_family_is_told_how_to_think_in_its_own_words() {
    let with = |more: Value| {
        let mut chat = json!({"model": "m", "messages": [{"role": "user", "content": "a"}]});
        chat.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        chat.to_string()
    };
    for (model, more, extra, output) in [
        (CLAUDE, json!({"reasoning_effort": "high"}), Value::Null, json!({"effort": "high"})),
        (CLAUDE, json!({"reasoning_effort": "none"}), json!({"thinking": {"type": "disabled"}}), Value::Null),
        (CLAUDE, json!({"top_k": 5}), json!({"top_k": 5}), Value::Null),
        (OSS, json!({"reasoning_effort": "low"}), json!({"reasoning_effort": "low"}), Value::Null),
        (
            NOVA,
            json!({"reasoning_effort": "medium"}),
            json!({"reasoningConfig": {"type": "enabled", "maxReasoningEffort": "medium"}}),
            Value::Null,
        ),
        (NOVA, json!({"reasoning_effort": "none"}), json!({"reasoningConfig": {"type": "disabled"}}), Value::Null),
        (
            OSS,
            json!({"thinking": {"type": "enabled", "budget_tokens": 8192}}),
            json!({"reasoning_effort": "medium"}),
            Value::Null,
        ),
        (LLAMA, json!({"thinking": {"type": "adaptive"}}), Value::Null, Value::Null),
        (NOVA, json!({"top_k": 5}), json!({"inferenceConfig": {"topK": 5}}), Value::Null),
    ] {
        let told = body(&with(more.clone()), model);
        assert_eq!((&told["additionalModelRequestFields"], &told["outputConfig"]), (&extra, &output), "{model} {more}");
    }
    for (model, more, place) in [
        (NOVA, json!({"reasoning_effort": "high"}), "reasoning_effort"),
        (OSS, json!({"reasoning_effort": "none"}), "reasoning_effort"),
        (LLAMA, json!({"reasoning_effort": "low"}), "reasoning_effort"),
        (LLAMA, json!({"top_k": 5}), "top_k"),
        (LLAMA, json!({"thinking": {"type": "enabled", "budget_tokens": 1024}}), "thinking"),
    ] {
        let refused = encoded(Shape::OpenAi, &with(more), model).unwrap_err();
        assert_eq!(refused.param.as_deref(), Some(place), "{model}");
    }
}

#[test]
fn what_converse_cannot_be_asked_is_refused_by_name() {
    let check = |chat: Value, place: &str| {
        let refused = encoded(Shape::OpenAi, &chat.to_string(), CLAUDE).unwrap_err();
        assert_eq!(refused.param.as_deref(), Some(place), "{chat}: {refused}");
    };
    let user = json!({"role": "user", "content": "a"});
    for (name, value) in [
        ("n", json!(2)),
        ("seed", json!(7)),
        ("logprobs", json!(true)),
        ("top_logprobs", json!(2)),
        ("logit_bias", json!({"1": 2})),
        ("presence_penalty", json!(0.5)),
        ("frequency_penalty", json!(0.5)),
        ("temperature", json!(1.5)),
        ("service_tier", json!("priority")),
        ("store", json!(true)),
        ("verbosity", json!("low")),
        ("modalities", json!(["text", "audio"])),
        ("guardrailConfig", json!({"guardrailIdentifier": "g"})),
        ("audio", json!({"voice": "v"})),
        ("web_search_options", json!({})),
        ("reasoning_effort", json!("hurried")),
        ("stop", json!([" "])),
        ("tool_choice", json!("required")),
    ] {
        let mut chat = json!({"model": "m", "messages": [user]});
        chat[name] = value;
        check(chat, name);
    }
    check(
        json!({"model": "m", "messages": [user], "response_format": {"type": "json_object"}}),
        "response_format.type",
    );
    let part = |part: Value| json!({"model": "m", "messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, part]}]});
    let image = |url: &str| part(json!({"type": "image_url", "image_url": {"url": url}}));
    let at = |inside: &str| format!("messages[0].content[1].{inside}");
    check(image("https://example.com/a.png"), &at("image_url.url"));
    check(image("data:image/tiff;base64,AA"), &at("image_url.url"));
    check(part(json!({"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}})), &at("input_audio"));
    check(part(json!({"type": "file", "file": {"file_id": "file-1"}})), &at("file.file_id"));
    let text = "data:text/plain;base64,QUJD";
    check(part(json!({"type": "file", "file": {"file_data": text, "filename": "a.pdf"}})), &at("file.file_data"));
    check(
        part(json!({"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}})),
        &at("cache_control.ttl"),
    );

    let messages = |messages: Value| json!({"model": "m", "messages": messages});
    check(messages(json!([{"role": "assistant", "content": "a"}, user])), "messages");
    check(messages(json!([{"role": "system", "content": "a"}])), "messages");
    check(messages(json!([{"role": "function", "content": "a"}])), "messages[0].role");
    let pdf = json!({"type": "file", "file": {"file_data": "data:application/pdf;base64,AA"}});
    check(messages(json!([{"role": "user", "content": [pdf]}])), "messages");
    let call = |arguments: &str| {
        json!([user, {"role": "assistant", "tool_calls":
        [{"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}]}])
    };
    check(messages(call("[1]")), "messages[1].tool_calls[0].function.arguments");
    check(messages(call("{")), "messages[1].tool_calls[0].function.arguments");
    check(messages(call("{}")), "tools");
    let tools = json!([{"type": "function", "function": {"name": "f"}}]);
    check(json!({"model": "m", "messages": call("{}"), "tools": tools, "tool_choice": "none"}), "tool_choice");
    let odd = json!([{"type": "function", "function": {"name": "f.g"}}]);
    check(json!({"model": "m", "messages": [user], "tools": odd}), "tools[0].function.name");
    let forged = json!([user, {"role": "assistant", "content": "a", "reasoning_content": "x",
        "thinking_blocks": [{"type": "thinking", "thinking": "other", "signature": "s"}]}]);
    check(messages(forged), "messages[1].thinking_blocks[0].thinking");
}

#[test]
fn tools_that_may_not_be_called_are_left_out_before_any_was() {
    let chat = json!({"model": "m", "messages": [{"role": "user", "content": "a"}], "tool_choice": "none",
        "tools": [{"type": "function", "function": {"name": "f"}}]});
    assert_eq!(body(&chat.to_string(), CLAUDE)["toolConfig"], Value::Null);
}

#[test]
fn an_anthropic_caller_is_understood_too() {
    let asked = json!({"model": "m", "max_tokens": 9, "system": "Be brief.", "messages": [
        {"role": "user", "content": [{"type": "text", "text": "Look"},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "iVBORw0K"}}]},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "ok"}]}],
        "tools": [{"name": "f", "input_schema": {"type": "object"}}]});
    let encoded = encoded(Shape::Anthropic, &asked.to_string(), CLAUDE).unwrap();
    let told: Value = serde_json::from_slice(&encoded.body).unwrap();
    assert_eq!(told["system"], json!([{"text": "Be brief."}]));
    assert_eq!(told["messages"][0]["content"][1]["image"], json!({"format": "png", "source": {"bytes": "iVBORw0K"}}));
    assert_eq!(
        told["messages"][1]["content"][0]["toolUse"],
        json!({"toolUseId": "toolu_1", "name": "f", "input": {"a": 1}})
    );
    let result = &told["messages"][2]["content"][0]["toolResult"];
    assert_eq!(result, &json!({"toolUseId": "toolu_1", "content": [{"text": "ok"}]}));
}

proptest::proptest! {
    #[test]
    fn no_chat_makes_the_encoder_panic(text in "\\PC{0,40}", role in "user|assistant|tool|system", id in "\\PC{0,80}") {
        let chat = json!({"model": "m", "messages": [{"role": "user", "content": "a"},
            {"role": role, "content": text, "tool_call_id": id}, {"role": "assistant", "tool_calls":
            [{"id": id, "type": "function", "function": {"name": "f", "arguments": text}}]}],
            "tools": [{"type": "function", "function": {"name": "f"}}]});
        if let Ok(encoded) = encoded(Shape::OpenAi, &chat.to_string(), CLAUDE) {
            let told: Value = serde_json::from_slice(&encoded.body).unwrap();
            for turn in told["messages"].as_array().unwrap() {
                assert!(!turn["content"].as_array().unwrap().is_empty());
            }
        }
    }
}
