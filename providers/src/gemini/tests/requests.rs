use serde_json::json;

use super::*;

const CASES: [(&str, &str); 6] = [
    ("settings", "gemini-2.5-flash"),
    ("tool_loop", "gemini-3-pro-preview"),
    ("tool_loop_older", "gemini-2.5-flash"),
    ("media", "gemini-2.5-flash-image"),
    ("thinking_history", "gemini-3-flash-preview"),
    ("speech", "gemini-2.5-flash-preview-tts"),
];

#[test]
fn openais_requests_are_told_in_geminis_words() {
    for (name, model) in CASES {
        let encoded = encode(&openai(&given(&format!("to_gemini/{name}.in.json"))), model).unwrap();
        check_file(&format!("to_gemini/{name}.out.json"), std::str::from_utf8(&encoded.body).unwrap());
    }
}

#[test]
fn schemas_and_arguments_keep_their_spelling() {
    let encoded = encode(&openai(&given("to_gemini/tool_loop.in.json")), "gemini-2.5-pro").unwrap();
    let text = std::str::from_utf8(&encoded.body).unwrap();
    assert!(text.contains(r#""args":{"city": "Paris", "n": 12345678901234567890123, "x": 1.0}"#), "{text}");
    assert!(text.contains(r#""additionalProperties": false, "$defs": {}}"#), "{text}");
}

#[test]
fn a_request_carries_key_and_address() {
    let (plain, stream) = (r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#, r#""stream":true,"model""#);
    let stream = openai(&plain.replacen("\"model\"", stream, 1));
    let plain = openai(plain);
    let encoded = encode(&plain, "gemini-2.5-pro").unwrap();
    let base = "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro";
    assert_eq!(encoded.url.as_str(), format!("{base}:generateContent"));
    assert_eq!(
        (&encoded.headers["x-goog-api-key"], encoded.headers.get("authorization")),
        (&"AIza-test".parse().unwrap(), None)
    );
    let encoded = encode(&stream, "models/gemini-2.5-pro").unwrap();
    assert_eq!(encoded.url.as_str(), format!("{base}:streamGenerateContent?alt=sse"));
    for model in ["../../files", "a/b", "a?b", "", ".a", "gemini-2.5-pro:generateContent"] {
        assert!(encode(&plain, model).is_err(), "{model}");
    }
}

#[test]
fn ai_studio_is_asked_for_its_models_and_vertex_is_not() {
    let quirks = Quirks::default();
    let list = |base_url: &str| {
        let base_url = Url::parse(base_url).unwrap();
        let list = GeminiDialect.list_models(&Aim::at(&base_url, "", 0, &quirks));
        list.map(|list| list.unwrap().url.to_string())
    };
    let base = "https://generativelanguage.googleapis.com/v1beta";
    assert_eq!(list(base), Some(format!("{base}/models?pageSize=1000")));
    assert_eq!(list("https://aiplatform.googleapis.com/v1/projects/p"), None);
}

#[test]
fn vertex_is_addressed_by_project_and_place() {
    let request = openai(r#"{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}"#);
    let check = |settings: &[(&str, &str)], expected: &str| {
        let encoded = encode_at_vertex(&request, settings).unwrap();
        assert_eq!(encoded.url.as_str(), expected);
        assert_eq!(encoded.headers["authorization"], "Bearer ya29.test");
    };
    let tail = "publishers/google/models/gemini-2.5-flash:streamGenerateContent?alt=sse";
    check(&[("project", "p-1")], &format!("https://aiplatform.googleapis.com/v1/projects/p-1/locations/global/{tail}"));
    check(
        &[("project", "p-1"), ("location", "europe-west4")],
        &format!("https://europe-west4-aiplatform.googleapis.com/v1/projects/p-1/locations/europe-west4/{tail}"),
    );
    // The catalogue's own address names the project already.
    let (base_url, quirks) =
        (Url::parse("https://aiplatform.googleapis.com/v1/projects/p-1").unwrap(), Quirks::default());
    let encoded = GeminiDialect.encode(&request, &Aim::at(&base_url, "gemini-2.5-flash", 9, &quirks)).unwrap();
    assert_eq!(
        encoded.url.as_str(),
        format!("https://aiplatform.googleapis.com/v1/projects/p-1/locations/global/{tail}")
    );
    for settings in [&[("project", "a/b")][..], &[("project", "p"), ("location", "evil.com/x")]] {
        assert!(encode_at_vertex(&request, settings).is_err(), "{settings:?}");
    }
}

#[test]
fn an_effort_is_a_budget_or_a_level_by_the_model() {
    let config = |model: &str, member: &str, value: Value| {
        let mut request = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        request[member] = value;
        encode(&openai(&request.to_string()), model).map(|it| body(&it)["generationConfig"]["thinkingConfig"].clone())
    };
    let check = |model: &str, effort: &str, expected: Option<Value>| {
        assert_eq!(config(model, "reasoning_effort", json!(effort)).ok(), expected, "{model} {effort}");
    };
    let budget = |tokens: u64| Some(json!({"includeThoughts": true, "thinkingBudget": tokens}));
    let level = |level: &str| Some(json!({"includeThoughts": true, "thinkingLevel": level}));
    check("gemini-2.5-flash", "minimal", budget(1024));
    check("gemini-2.5-pro", "low", budget(1024));
    check("gemini-2.5-flash", "high", budget(24576));
    check("gemini-2.5-flash", "none", Some(json!({"thinkingBudget": 0})));
    check("gemini-2.5-pro", "none", None);
    check("gemini-3-flash-preview", "minimal", level("MINIMAL"));
    check("gemini-3.1-pro-preview", "minimal", level("LOW"));
    check("gemini-3-pro-preview", "medium", level("HIGH"));
    check("gemini-3.1-pro-preview", "medium", level("MEDIUM"));
    check("gemini-flash-latest", "high", level("HIGH"));
    check("gemini-3-flash-preview", "none", None);
    check("gemini-2.5-flash", "huge", None);
    let thinking = |value: Value| config("gemini-2.5-flash", "thinking", value).ok();
    assert_eq!(thinking(json!({"type": "enabled", "budget_tokens": 2000})), budget(2000));
    assert_eq!(thinking(json!({"type": "disabled"})), Some(json!({"thinkingBudget": 0})));
    assert_eq!(thinking(json!({"type": "adaptive"})), Some(json!({"includeThoughts": true})));
    let both = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "reasoning_effort": "low",
        "thinking": {"type": "adaptive"}});
    let both = body(&encode(&openai(&both.to_string()), "gemini-2.5-flash").unwrap());
    assert_eq!(Some(both["generationConfig"]["thinkingConfig"].clone()), budget(1024));
}

#[test]
fn a_choice_of_tools_is_a_calling_mode() {
    let tool = |name: &str, strict: bool| json!({"type": "function", "function": {"name": name, "strict": strict}});
    let check = |choice: Value, strict: bool, expected: Value| {
        let request = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}], "tool_choice": choice,
            "tools": [tool("a", strict), tool("b", false)]});
        let encoded = body(&encode(&openai(&request.to_string()), "gemini-2.5-pro").unwrap());
        assert_eq!(encoded["toolConfig"]["functionCallingConfig"], expected, "{choice}");
    };
    check(json!(null), false, json!(null));
    check(json!("auto"), false, json!({"mode": "AUTO"}));
    check(json!("none"), false, json!({"mode": "NONE"}));
    check(json!("required"), true, json!({"mode": "ANY"}));
    check(json!("auto"), true, json!({"mode": "VALIDATED"}));
    check(json!(null), true, json!({"mode": "VALIDATED"}));
    let named = json!({"type": "function", "function": {"name": "a"}});
    check(named.clone(), false, json!({"mode": "ANY", "allowedFunctionNames": ["a"]}));
    let allowed = |mode: &str| json!({"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": [named]}});
    check(allowed("auto"), false, json!({"mode": "VALIDATED", "allowedFunctionNames": ["a"]}));
    check(allowed("required"), false, json!({"mode": "ANY", "allowedFunctionNames": ["a"]}));
}

#[test]
fn the_lower_cap_counts() {
    let cap = |asked: &str| {
        let text = format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}]{asked}}}"#);
        body(&encode(&openai(&text), "gemini-2.5-pro").unwrap())["generationConfig"].clone()
    };
    assert_eq!(cap(""), json!({"maxOutputTokens": 512}));
    assert_eq!(cap(r#","max_tokens":99"#), json!({"maxOutputTokens": 99}));
    assert_eq!(cap(r#","max_completion_tokens":9999"#), json!({"maxOutputTokens": 512}));
}
