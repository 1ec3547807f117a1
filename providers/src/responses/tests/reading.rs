use super::*;

fn bad(body: &str) -> (&'static str, Option<String>) {
    let bad = ModelRequest::parse(Shape::Responses, Bytes::copy_from_slice(body.as_bytes())).unwrap_err();
    (bad.code, bad.param)
}

#[test]
fn every_text_has_its_place_and_what_is_opaque_is_none() {
    let request = responses(
        r#"{"model":"m","instructions":"I","user":"U","metadata":{"k":"M"},"previous_response_id":"resp 1","input":[
        {"role":"user","content":"A"},
        {"type":"message","role":"user","content":[{"type":"input_text","text":"B"},{"type":"input_image","image_url":"data:image/png;base64,AAAA"},{"type":"input_file","filename":"F.pdf","file_data":"data:application/pdf;base64,AAAA"}]},
        {"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"C"}],"content":[{"type":"reasoning_text","text":"D"}],"encrypted_content":"gAAAA-_="},
        {"type":"reasoning","summary":[],"encrypted_content":"not opaque"},
        {"type":"function_call","call_id":"call_1","name":"f","arguments":"{\"a\":\"E\"}"},
        {"type":"function_call_output","call_id":"call_1","output":"G"},
        {"type":"function_call_output","call_id":"call_2","output":[{"type":"input_text","text":"H"}]},
        {"type":"computer_call","id":"c","action":{"type":"type","text":"K"}},
        {"type":"custom_tool_call","call_id":"call_3","name":"g","input":"L"}
        ],"tools":[{"type":"function","name":"f","description":"not a text"}],"odd":{"deep":["N"]}}"#,
    );
    let got: Vec<(String, String)> = request.texts().into_iter().map(|it| (it.place, it.text.into_owned())).collect();
    let expected = [
        ("instructions", "I"),
        ("user", "U"),
        ("metadata.k", "M"),
        ("previous_response_id", "resp 1"),
        ("input[0].content", "A"),
        ("input[1].content[0].text", "B"),
        ("input[1].content[2].filename", "F.pdf"),
        ("input[2].summary[0].text", "C"),
        ("input[2].content[0].text", "D"),
        ("input[3].encrypted_content", "not opaque"),
        ("input[4].arguments", "{\"a\":\"E\"}"),
        ("input[5].output", "G"),
        ("input[6].output[0].text", "H"),
        ("input[7].action.text", "K"),
        ("input[8].input", "L"),
        ("odd.deep[0]", "N"),
    ];
    assert_eq!(got, expected.map(|(place, text)| (place.to_owned(), text.to_owned())));
    assert_eq!((request.user(), request.max_output(), request.choices()), (Some("U"), None, 1));
    let features = request.features();
    assert!(features.tools && features.images && features.documents && features.surcharge.is_none());

    let edited = request.with_texts(&[(4, "redacted".to_owned())]);
    assert!(std::str::from_utf8(edited.body()).unwrap().contains(r#"{"role":"user","content":"redacted"}"#));
}

#[test]
fn settings_are_read_and_a_cap_under_another_name_is_refused() {
    let request = responses(
        r#"{"model":"m","input":"hi","stream":true,"max_output_tokens":7,"text":{"format":{"type":"json_schema"}},"safety_identifier":"s","fallbacks":["b"]}"#,
    );
    assert_eq!((request.stream(), request.wants_usage(), request.max_output()), (true, true, Some(7)));
    assert_eq!((request.user(), request.fallbacks().len()), (Some("s"), 1));
    assert!(request.features().json_schema);
    for (body, code, place) in [
        (r#"{"input":"hi"}"#, "missing_required_parameter", "model"),
        (r#"{"model":"m"}"#, "missing_required_parameter", "input"),
        (r#"{"model":"m","input":null}"#, "missing_required_parameter", "input"),
        (r#"{"model":"m","input":7}"#, "invalid_type", "input"),
        (r#"{"model":"m","input":["hi"]}"#, "invalid_type", "input[0]"),
        (r#"{"model":"m","input":"hi","max_tokens":9}"#, "invalid_value", "max_tokens"),
        (r#"{"model":"m","input":"hi","n":2}"#, "invalid_value", "n"),
        (r#"{"model":"m","input":"hi","max_output_tokens":0}"#, "invalid_value", "max_output_tokens"),
        (r#"{"model":"m","input":"hi","Max_Output_Tokens":9}"#, "invalid_value", "Max_Output_Tokens"),
        (r#"{"model":"m","input":"hi","input":"hi"}"#, "duplicate_parameter", "input"),
        (r#"{"model":"m","input":[{"role":"user","Content":"hi"}]}"#, "invalid_value", "input[0].Content"),
        (r#"{"model":"m","input":"hi","reasoning":7}"#, "invalid_type", "reasoning"),
    ] {
        assert_eq!(bad(body), (code, Some(place.to_owned())), "{body}");
    }
}

#[test]
fn what_a_provider_bills_beyond_tokens_is_seen_wherever_it_stands() {
    for (members, expected) in [
        (r#""tools":[{"type":"function","name":"f"},{"type":"custom","name":"c"},{"type":"apply_patch"}]"#, None),
        (r#""tools":[{"type":"namespace","name":"n","tools":[{"type":"function","name":"f"}]}]"#, None),
        (r#""tools":[{"type":"namespace","name":"n","tools":[{"type":"web_search"}]}]"#, Some("tools")),
        (r#""tools":[{"type":"web_search"}]"#, Some("tools")),
        (r#""tools":[{"type":"file_search","vector_store_ids":["v"]}]"#, Some("tools")),
        (r#""tools":[{"type":"code_interpreter","container":{"type":"auto"}}]"#, Some("tools")),
        (r#""tools":[{"type":"computer_use_preview"}]"#, Some("tools")),
        (r#""tools":[{"type":"image_generation"}]"#, Some("tools")),
        (r#""tools":[{"type":"mcp","server_label":"s"}]"#, Some("tools")),
        (r#""tools":[{"type":"local_shell"}]"#, Some("tools")),
        (r#""tools":[{"name":"untold"}]"#, Some("tools")),
        (r#""service_tier":"flex""#, None),
        (r#""service_tier":"priority""#, Some("service_tier")),
        (r#""reasoning":{"effort":"high"}"#, None),
        (r#""reasoning":{"mode":"pro"}"#, Some("reasoning.mode")),
        (r#""moderation":{"model":"m"}"#, Some("moderation")),
        (r#""context_management":[{"type":"compaction"}]"#, Some("context_management")),
        (r#""search_parameters":{"mode":"auto"}"#, Some("search_parameters")),
        (r#""plugins":[{"id":"web"}]"#, Some("plugins")),
    ] {
        let request = responses(&format!("{{\"model\":\"m\",\"input\":\"hi\",{members}}}"));
        assert_eq!(request.features().surcharge, expected, "{members}");
    }
    let hidden =
        r#"{"model":"m","input":[{"type":"additional_tools","role":"developer","tools":[{"type":"web_search"}]}]}"#;
    assert_eq!(responses(hidden).features().surcharge, Some("tools"), "in an item");
}
