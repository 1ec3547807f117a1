use serde_json::json;

use super::*;

#[test]
fn a_conversation_is_told_in_coheres_words() {
    for name in ["tool_loop", "images_and_schema", "thinking_and_settings"] {
        let encoded = encode(&openai(&given(&format!("to_cohere/{name}.in.json")))).unwrap();
        check_file(&format!("to_cohere/{name}.out.json"), std::str::from_utf8(&encoded.body).unwrap());
    }
}

#[test]
fn so_is_one_of_another_shape() {
    let encoded = encode(&anthropic(&given("to_cohere/from_anthropic.in.json"))).unwrap();
    check_file("to_cohere/from_anthropic.out.json", std::str::from_utf8(&encoded.body).unwrap());
}

#[test]
fn a_request_carries_key_and_path() {
    let encoded = encode(&openai(r#"{"model":"m","messages":[{"role":"user","content":"hi"}]}"#)).unwrap();
    assert_eq!(encoded.url.as_str(), "https://api.cohere.com/v2/chat");
    assert_eq!(encoded.headers["authorization"], "Bearer co-test");
}

#[test]
fn what_cohere_cannot_do_is_refused_by_name() {
    fn check(more: Value, place: &str) {
        let mut request = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let refused = encode(&openai(&request.to_string())).expect_err(place);
        assert_eq!(refused.param.as_deref(), Some(place), "{refused}");
    }
    let said = |content: Value| json!({"messages": [{"role": "user", "content": content}]});
    let tool = |name: &str, strict: bool| json!({"type": "function", "function": {"name": name, "strict": strict}});
    check(json!({"n": 2}), "n");
    check(json!({"logprobs": true}), "logprobs");
    check(json!({"top_logprobs": 2}), "top_logprobs");
    check(json!({"logit_bias": {"1": 2}}), "logit_bias");
    check(json!({"store": true}), "store");
    check(json!({"service_tier": "flex"}), "service_tier");
    check(json!({"web_search_options": {}}), "web_search_options");
    check(json!({"modalities": ["audio"]}), "modalities");
    check(json!({"verbosity": "low"}), "verbosity");
    check(json!({"presence_penalty": -1}), "presence_penalty");
    check(json!({"frequency_penalty": 1.5}), "frequency_penalty");
    check(json!({"top_p": 1.2}), "top_p");
    check(json!({"stop": ["a", "b", "c", "d", "e", "f"]}), "stop");
    check(json!({"reasoning_effort": "huge"}), "reasoning_effort");
    check(json!({"brand_new": 1}), "brand_new");
    check(json!({"tool_choice": "required"}), "tool_choice");
    check(json!({"tools": [tool("a", false)], "tool_choice": "sometimes"}), "tool_choice");
    let other = json!({"type": "function", "function": {"name": "b"}});
    check(json!({"tools": [tool("a", false)], "tool_choice": other}), "tool_choice.function.name");
    check(json!({"tools": [tool("a", false), tool("b", true)]}), "tools[1].function.strict");
    check(json!({"tools": [{"type": "custom", "custom": {"name": "a"}}]}), "tools[0].type");
    check(json!({"tools": [tool("a", false)], "response_format": {"type": "json_object"}}), "response_format");
    check(json!({"documents": ["a"], "response_format": {"type": "json_object"}}), "response_format");
    check(json!({"response_format": {"type": "grammar"}}), "response_format.type");
    check(said(json!([{"type": "file", "file": {"file_id": "f"}}])), "messages[0].content[0].file");
    check(said(json!([{"type": "input_audio", "input_audio": {}}])), "messages[0].content[0].input_audio");
    check(json!({"messages": [{"role": "user", "content": "hi", "name": "n"}]}), "messages[0].name");
    check(json!({"messages": [{"role": "critic", "content": "hi"}]}), "messages[0].role");
    let seen = json!([{"type": "image_url", "image_url": "https://x.example/a.png"}]);
    let result = json!({"role": "tool", "tool_call_id": "t", "content": seen});
    check(json!({"messages": [result]}), "messages[0].content[0].image_url");
}

#[test]
fn settings_are_told_as_near_as_they_can_be() {
    fn check(more: Value, member: &str, expected: Value) {
        let mut request = json!({"model": "m", "messages": [{"role": "user", "content": "hi"}]});
        request.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let encoded = encode(&openai(&request.to_string())).unwrap();
        let body: Value = serde_json::from_slice(&encoded.body).unwrap();
        assert_eq!(body[member], expected, "{more}");
    }
    check(json!({"top_p": 1}), "p", json!(0.99));
    check(json!({"top_p": 0}), "p", json!(0.01));
    check(json!({"top_p": 0.5}), "p", json!(0.5));
    check(json!({"stop": "x"}), "stop_sequences", json!(["x"]));
    check(json!({"max_tokens": 9}), "max_tokens", json!(9));
    check(json!({"max_completion_tokens": 9000}), "max_tokens", json!(512));
    check(json!({"reasoning_effort": "none"}), "thinking", json!({"type": "disabled"}));
    check(json!({"reasoning_effort": "low"}), "thinking", json!({"type": "enabled"}));
    check(json!({"thinking": {"type": "adaptive"}}), "thinking", json!(null));
    check(json!({"documents": [{"data": {"a": "b"}}]}), "documents", json!([{"data": {"a": "b"}}]));
    check(json!({"user": "u", "metadata": {"a": "b"}, "fallbacks": ["x"]}), "user", json!(null));
}

#[test]
fn texts_are_embedded_to_be_looked_for_unless_the_caller_says_otherwise() {
    let embed = |body: Value| embed::to_cohere(body.to_string().as_bytes(), "embed-v4.0");
    let told = |body: Value| serde_json::from_slice::<Value>(&embed(body).unwrap()).unwrap();
    assert_eq!(
        told(json!({"model": "m", "input": "a", "user": "u", "fallbacks": []})),
        json!({"model": "embed-v4.0", "texts": ["a"], "input_type": "search_document", "embedding_types": ["float"]})
    );
    assert_eq!(
        told(json!({"model": "m", "input": ["a", "b"], "encoding_format": "base64", "dimensions": 256,
            "input_type": "search_query", "truncate": "END"})),
        json!({"model": "embed-v4.0", "texts": ["a", "b"], "input_type": "search_query", "embedding_types": ["base64"],
            "output_dimension": 256, "truncate": "END"})
    );
    let refused = |body: Value| embed(body).unwrap_err().param.unwrap();
    assert_eq!(refused(json!({"model": "m"})), "input");
    assert_eq!(refused(json!({"model": "m", "input": [1, 2]})), "input[0]");
    assert_eq!(refused(json!({"model": "m", "input": vec!["a"; 97]})), "input");
    assert_eq!(refused(json!({"model": "m", "input": "a", "encoding_format": "int8"})), "encoding_format");
    assert_eq!(refused(json!({"model": "m", "input": "a", "new": 1})), "new");
}

#[test]
fn each_task_goes_to_its_own_path_and_what_is_not_served_is_refused() {
    let asked = |shape, body: &str| encode(&parse(shape, body));
    let order = r#"{"model":"m","user":"u", "query":"q","documents":["a","b"],"top_n":1,"max_tokens_per_doc":64,"metadata":{}}"#;
    let encoded = asked(Shape::Rerank, order).unwrap();
    assert_eq!(encoded.url.path(), "/v2/rerank");
    let expected =
        r#"{"model":"command-a-03-2025","query":"q","documents":["a","b"],"top_n":1,"max_tokens_per_doc":64}"#;
    assert_eq!(std::str::from_utf8(&encoded.body).unwrap(), expected);
    assert_eq!(asked(Shape::Embeddings, r#"{"model":"m","input":"a"}"#).unwrap().url.path(), "/v2/embed");
    assert_eq!(asked(Shape::Responses, r#"{"model":"m","input":"a"}"#).unwrap().url.path(), "/v2/chat");
    let (base_url, quirks) = (Url::parse("https://api.cohere.com/v2/").unwrap(), Quirks::default());
    let list = CohereDialect.list_models(&Aim::at(&base_url, "m", 1, &quirks)).unwrap().unwrap();
    assert_eq!(list.url.as_str(), "https://api.cohere.com/v1/models?page_size=1000");
    assert!(asked(Shape::Moderations, r#"{"model":"m","input":"a"}"#).is_err());
    assert!(asked(Shape::Images, r#"{"model":"m","prompt":"a"}"#).is_err());
}
