use proptest::prelude::*;
use serde_json::json;

use super::super::signature::Kept;
use super::*;
use crate::request::Shape;

const REQUESTS: [&str; 2] = ["tool_loop", "media_and_config"];

#[test]
fn a_request_is_told_as_a_chat_completion() {
    for name in REQUESTS {
        let request = gemini(&given(&format!("to_openai/{name}.in.json")));
        let told = to_openai(&request).unwrap_or_else(|refused| panic!("{name}: {refused}"));
        check_file(&format!("to_openai/{name}.out.json"), std::str::from_utf8(&told).unwrap());
        ModelRequest::parse(Shape::OpenAi, told).unwrap();
    }
}

#[test]
fn a_stream_is_asked_as_a_stream() {
    let request = parse(r#"{"contents":[{"parts":[{"text":"a"}]}]}"#, true).unwrap();
    let told: Value = serde_json::from_slice(&to_openai(&request).unwrap()).unwrap();
    assert_eq!(told, json!({"model": "gemini-x", "messages": [{"role": "user", "content": "a"}], "stream": true}));
    let request = gemini(r#"{"contents":[]}"#).streamed();
    assert!(request.stream(), "one that is gathered is asked as a stream, too");
}

#[test]
fn what_another_provider_signed_comes_back_to_it_with_its_thought() {
    let signed = Kept::Signature("c2ln+/".to_owned()).write().replace('+', "-").replace('/', "_");
    let sealed = Kept::Sealed("RW0=".to_owned()).write();
    let thought = |text: &str| json!({"text": text, "thought": true});
    let with = |text: &str, signature: &str| json!({"text": text, "thought": true, "thoughtSignature": signature});
    let body = json!({"contents": [
        {"role": "model", "parts": [thought("Hm. "), thought("So.")]},
        {"role": "model", "parts": [with("", &signed), with("", &sealed)]},
        {"role": "model", "parts": [thought("nobody signed this"),
            {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": "CpYB"}]}]});
    let told = hub(&body.to_string()).unwrap();
    let expected = json!({"role": "assistant", "content": null, "reasoning_content": "Hm. So.",
        "thinking_blocks": [
            {"type": "thinking", "thinking": "Hm. So.", "signature": "c2ln+/"},
            {"type": "redacted_thinking", "data": "RW0="}],
        "tool_calls": [{"id": "call00001", "type": "function", "function": {"name": "f", "arguments": "{}"}}]});
    assert_eq!(told["messages"][0], expected);
    let base_url = Url::parse("https://api.anthropic.com/v1").unwrap();
    let quirks = Quirks::default();
    let aim = Aim::at(&base_url, "claude", 99, &quirks);
    let sent = crate::dialect::Dialect::encode(&crate::anthropic::AnthropicDialect, &gemini(&body.to_string()), &aim);
    let sent: Value = serde_json::from_slice(&sent.unwrap().body).unwrap();
    let block = &sent["messages"][0]["content"][0];
    assert_eq!(*block, json!({"type": "thinking", "thinking": "Hm. So.", "signature": "c2ln+/"}));
}

#[test]
fn choices_of_tools_and_effort_are_told() {
    let tools = r#""tools":[{"functionDeclarations":[{"name":"f"},{"name":"g"}]}]"#;
    for (config, expected) in [
        (r#"{"mode":"AUTO"}"#, json!("auto")),
        (r#"{"mode":"any"}"#, json!("required")),
        (r#"{"mode":"NONE"}"#, json!("none")),
        (r#"{}"#, Value::Null),
        (r#"{"mode":"ANY","allowed_function_names":["g"]}"#, json!({"type": "function", "function": {"name": "g"}})),
    ] {
        let told = hub(&format!(r#"{{"contents":[],{tools},"tool_config":{{"function_calling_config":{config}}}}}"#));
        assert_eq!(told.unwrap()["tool_choice"], expected, "{config}");
    }
    for (thinking, expected) in [
        (r#"{"thinkingLevel":"LOW"}"#, json!("low")),
        (r#"{"thinking_budget":0}"#, json!("none")),
        (r#"{"thinkingBudget":-1}"#, Value::Null),
        (r#"{"thinkingBudget":8193}"#, json!("high")),
        (r#"{"includeThoughts":true}"#, Value::Null),
    ] {
        let told = hub(&format!(r#"{{"contents":[],"generationConfig":{{"thinkingConfig":{thinking}}}}}"#)).unwrap();
        assert_eq!(told["reasoning_effort"], expected, "{thinking}");
    }
}

#[test]
fn an_answer_after_a_schema_is_strict_where_it_can_be() {
    for (schema, strict, closed) in [
        (r#"{"type":"OBJECT","properties":{"a":{"type":"STRING"}},"required":["a"]}"#, json!(true), json!(false)),
        (r#"{"type":"OBJECT","properties":{"a":{"type":"STRING"}}}"#, Value::Null, json!(false)),
        (
            r#"{"type":"OBJECT","properties":{"a":{"type":"STRING"}},"required":["a"],"additionalProperties":true}"#,
            Value::Null,
            json!(true),
        ),
    ] {
        let told = hub(&format!(
            r#"{{"contents":[],"generationConfig":{{"responseMimeType":"application/json","responseSchema":{schema}}}}}"#
        ));
        let told = told.unwrap()["response_format"]["json_schema"].take();
        assert_eq!((&told["strict"], &told["schema"]["additionalProperties"]), (&strict, &closed), "{schema}");
    }
    let own = r#"{"type":"object","additionalProperties":false,"properties":{}}"#;
    let told = hub(&format!(
        r#"{{"contents":[],"generationConfig":{{"responseMimeType":"application/json","responseJsonSchema":{own}}}}}"#
    ));
    assert_eq!(told.unwrap()["response_format"]["json_schema"]["schema"].to_string(), own);
    let plain = hub(r#"{"contents":[],"generationConfig":{"responseMimeType":"application/json"}}"#).unwrap();
    assert_eq!(plain["response_format"], json!({"type": "json_object"}));
}

#[test]
fn what_cannot_be_told_is_refused_by_name() {
    let part = |part: &str| format!(r#"{{"contents":[{{"role":"user","parts":[{{{part}}}]}}]}}"#);
    let config = |config: &str| format!(r#"{{"contents":[],"generationConfig":{{{config}}}}}"#);
    for (body, param) in [
        (part(r#""text":"a","other":1"#), "contents[0].parts[0].other"),
        (part(r#""executableCode":{"code":"x"}"#), "contents[0].parts[0].executableCode"),
        (part(r#""text":"a","inlineData":{"mimeType":"image/png","data":""}"#), "contents[0].parts[0].inlineData"),
        (part(r#""videoMetadata":{"fps":1}"#), "contents[0].parts[0].videoMetadata"),
        (part(r#""inlineData":{"mimeType":"video/mp4","data":""}"#), "contents[0].parts[0].inlineData.mimeType"),
        (part(r#""inlineData":{"mimeType":"text/plain","data":""}"#), "contents[0].parts[0].inlineData.mimeType"),
        (
            part(r#""fileData":{"mimeType":"video/mp4","fileUri":"https://a.example/b"}"#),
            "contents[0].parts[0].fileData.fileUri",
        ),
        (part(r#""functionResponse":{"name":"f","response":{}}"#), "contents[0].parts[0].functionResponse"),
        (r#"{"contents":[{"role":"robot","parts":[]}]}"#.to_owned(), "contents[0].role"),
        (r#"{"contents":[],"somethingNew":1}"#.to_owned(), "somethingNew"),
        (r#"{"contents":[],"store":true}"#.to_owned(), "store"),
        (r#"{"contents":[],"serviceTier":"flex"}"#.to_owned(), "serviceTier"),
        (
            r#"{"contents":[],"safetySettings":[{"threshold":"BLOCK_LOW_AND_ABOVE"}]}"#.to_owned(),
            "safetySettings[0].threshold",
        ),
        (r#"{"contents":[],"tools":[{"googleSearch":{}}]}"#.to_owned(), "tools[0].googleSearch"),
        (r#"{"contents":[],"toolConfig":{"retrievalConfig":{}}}"#.to_owned(), "toolConfig.retrievalConfig"),
        (
            r#"{"contents":[],"toolConfig":{"functionCallingConfig":{"mode":"VALIDATED"}}}"#.to_owned(),
            "toolConfig.functionCallingConfig.mode",
        ),
        (
            r#"{"contents":[],"tools":[{"functionDeclarations":[{"name":"f","behavior":"NON_BLOCKING"}]}]}"#.to_owned(),
            "tools[0].functionDeclarations[0].behavior",
        ),
        (config(r#""speechConfig":{}"#), "generationConfig.speechConfig"),
        (config(r#""responseModalities":["AUDIO"]"#), "generationConfig.responseModalities"),
        (config(r#""responseMimeType":"text/x.enum""#), "generationConfig.responseMimeType"),
        (config(r#""responseSchema":{}"#), "generationConfig.responseMimeType"),
        (config(r#""topK":1.5"#), "generationConfig.topK"),
    ] {
        let refused = hub(&body).expect_err(&body);
        assert_eq!(refused.param.as_deref(), Some(param), "{body}: {refused}");
    }
}

proptest! {
    #[test]
    fn a_damaged_request_is_read_or_refused_never_in_a_panic(
        name in prop::sample::select(&REQUESTS[..]),
        at in 0usize..3200, gone in 0usize..30, new in "[\\[\\]{}:,\"0-9a-z_ ]{0,8}",
    ) {
        let mut body = given(&format!("to_openai/{name}.in.json")).into_bytes();
        let at = at.min(body.len());
        let end = (at + gone).min(body.len());
        body.splice(at..end, new.bytes());
        let Ok(body) = String::from_utf8(body) else { return Ok(()) };
        if let Ok(request) = parse(&body, false) {
            if let Ok(told) = to_openai(&request) {
                prop_assert!(serde_json::from_slice::<Value>(&told).is_ok());
            }
            let sent: Value = serde_json::from_str(&super::sent(&body, 9)).unwrap();
            let config = sent.get("generationConfig").or_else(|| sent.get("generation_config")).unwrap();
            let cap = config.get("maxOutputTokens").or_else(|| config.get("max_output_tokens"));
            prop_assert_eq!(cap, Some(&json!(9)));
        }
    }
}
