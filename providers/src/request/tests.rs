use super::*;

fn parse(shape: Shape, body: &str) -> Result<ModelRequest, BadRequest> {
    ModelRequest::parse(shape, Bytes::copy_from_slice(body.as_bytes()))
}

fn good(shape: Shape, body: &str) -> ModelRequest {
    parse(shape, body).unwrap_or_else(|bad| panic!("{body}: {bad}"))
}

fn refused(shape: Shape, body: &str, code: &str, param: Option<&str>) {
    let bad = parse(shape, body).expect_err(body);
    assert_eq!((bad.code, bad.param.as_deref()), (code, param), "{body}: {bad}");
    assert!(!bad.message.contains("SECRET"), "content in {bad}");
}

/// A body with these further members.
fn with(members: &str) -> String {
    format!(r#"{{"model":"m","messages":[]{members}}}"#)
}

fn message(members: &str) -> String {
    format!(r#"{{"model":"m","max_tokens":1,"messages":[{{"role":"user"}},{{"role":"user",{members}}}]}}"#)
}

use Shape::{Anthropic, OpenAi};

#[test]
fn a_body_that_cannot_be_read_says_where() {
    refused(OpenAi, "", "invalid_json", None);
    refused(OpenAi, "[]", "invalid_type", None);
    refused(OpenAi, "{\"model\":\"m\",\"messages\":[]} x", "invalid_json", None);
    let bad = ModelRequest::parse(OpenAi, Bytes::from_static(b"{\"model\":\"\xff\"}")).unwrap_err();
    assert_eq!((bad.code, bad.message.contains("offset 10")), ("invalid_json", true));
    refused(OpenAi, &with(&format!(",\"x\":{}{}", "[".repeat(200), "]".repeat(200))), "invalid_json", None);
    refused(OpenAi, r#"{"messages":[]}"#, "missing_required_parameter", Some("model"));
    refused(OpenAi, r#"{"model":null,"messages":[]}"#, "missing_required_parameter", Some("model"));
    refused(OpenAi, r#"{"model":"m"}"#, "missing_required_parameter", Some("messages"));
    refused(Anthropic, &with(""), "missing_required_parameter", Some("max_tokens"));
}

#[test]
fn a_wrong_type_names_its_place() {
    let bad = |members: &str, param: &str| refused(OpenAi, &with(members), "invalid_type", Some(param));
    refused(OpenAi, r#"{"model":1,"messages":[]}"#, "invalid_type", Some("model"));
    refused(OpenAi, r#"{"model":"m","messages":{}}"#, "invalid_type", Some("messages"));
    refused(OpenAi, r#"{"model":"m","messages":["SECRET"]}"#, "invalid_type", Some("messages[0]"));
    bad(",\"stream\":\"true\"", "stream");
    bad(",\"n\":1.0", "n");
    refused(OpenAi, &with(",\"max_tokens\":5,\"n_predict\":90000"), "invalid_value", Some("n_predict"));
    refused(OpenAi, &with(",\"n_cmpl\":100"), "invalid_value", Some("n_cmpl"));
    refused(Shape::Completions, r#"{"model":"m","prompt":"a","n_predict":90000}"#, "invalid_value", Some("n_predict"));
    bad(",\"max_tokens\":\"5\"", "max_tokens");
    bad(",\"stop\":[1]", "stop[0]");
    bad(",\"user\":5", "user");
    bad(",\"metadata\":{\"a\":1}", "metadata.a");
    bad(",\"fallbacks\":\"x\"", "fallbacks");
    bad(",\"stream_options\":[]", "stream_options");
    bad(",\"stream_options\":{\"include_usage\":1}", "stream_options.include_usage");
    let bad = |members: &str, param: &str| refused(OpenAi, &message(members), "invalid_type", Some(param));
    bad("\"content\":5", "messages[1].content");
    bad("\"content\":{\"text\":\"SECRET\"}", "messages[1].content");
    bad("\"content\":[5]", "messages[1].content[0]");
    bad("\"content\":[{\"type\":\"text\",\"text\":[\"SECRET\"]}]", "messages[1].content[0].text");
    bad("\"tool_calls\":[{\"function\":{\"arguments\":{}}}]", "messages[1].tool_calls[0].function.arguments");
}

#[test]
fn a_number_out_of_range_is_refused() {
    let bad = |members: &str, param: &str| refused(OpenAi, &with(members), "invalid_value", Some(param));
    bad(",\"n\":0", "n");
    bad(",\"n\":129", "n");
    bad(",\"max_tokens\":-1", "max_tokens");
    bad(",\"max_completion_tokens\":-5", "max_completion_tokens");
    bad(",\"max_tokens\":99999999999999999999", "max_tokens");
    refused(OpenAi, r#"{"model":"","messages":[]}"#, "invalid_value", Some("model"));
    let model = |model: &str| format!(r#"{{"model":"{model}","messages":[]}}"#);
    good(OpenAi, &model(&"m".repeat(256)));
    refused(OpenAi, &model(&"m".repeat(257)), "invalid_value", Some("model"));
    refused(Anthropic, &model("m\\u0007"), "invalid_value", Some("model"));
    refused(OpenAi, &model("m\\u0085"), "invalid_value", Some("model"));
    bad(&format!(",\"fallbacks\":[\"a/b\",\"{}\"]", "m".repeat(257)), "fallbacks[1]");
    bad(",\"fallbacks\":[\"\"]", "fallbacks[0]");
    bad(",\"fallbacks\":[\"a\\n\"]", "fallbacks[0]");
    refused(Anthropic, &with(",\"max_tokens\":0"), "invalid_value", Some("max_tokens"));
}

#[test]
fn what_a_second_parser_could_read_otherwise_is_refused() {
    refused(OpenAi, r#"{"model":"m","messages":[],"messages":[]}"#, "duplicate_parameter", Some("messages"));
    refused(OpenAi, r#"{"model":"m","messages":[],"mess\u0061ges":[]}"#, "duplicate_parameter", Some("messages"));
    refused(OpenAi, &with(",\"x\":1,\"x\":2"), "duplicate_parameter", Some("x"));
    refused(OpenAi, &message(r#""content":"a","content":"b""#), "duplicate_parameter", Some("messages[1].content"));
    let twice = r#""content":[{"type":"text","text":"a","text":"b"}]"#;
    refused(OpenAi, &message(twice), "duplicate_parameter", Some("messages[1].content[0].text"));
    let twice = r#""content":[{"type":"tool_use","input":{"a":"x","a":"y"}}]"#;
    refused(Anthropic, &message(twice), "duplicate_parameter", Some("messages[1].content[0].input.a"));
    refused(OpenAi, &with(",\"Messages\":[]"), "invalid_value", Some("Messages"));
    refused(OpenAi, &with(",\"me\u{17f}sages\":[]"), "invalid_value", Some("me\u{17f}sages"));
    refused(OpenAi, &message(r#""CONTENT":"b""#), "invalid_value", Some("messages[1].CONTENT"));
    good(OpenAi, &with(",\"X\":{\"a\":1,\"a\":2},\"camelCase\":1"));
}

#[test]
fn the_view_tells_what_was_asked() {
    let request = good(
        OpenAi,
        &with(
            r#","stream":true,"stream_options":{"include_usage":true},"n":3,"max_tokens":9,"max_completion_tokens":7,
            "fallbacks":["a/b"],"user":"u","metadata":{"k":"v"},"stop":"x","tools":[{"type":"function"}],"response_format":null"#,
        ),
    );
    assert_eq!((request.model(), request.stream(), request.wants_usage()), ("m", true, true));
    assert_eq!((request.choices(), request.max_output(), request.user()), (3, Some(7), Some("u")));
    assert_eq!(
        (request.fallbacks(), request.metadata()),
        (&["a/b".to_owned()][..], &[("k".to_owned(), "v".to_owned())][..])
    );
    assert!(
        request.features().tools && request.member("tools").is_some() && request.member("response_format").is_none()
    );
    let plain = good(OpenAi, &with(",\"stream\":null,\"n\":null,\"metadata\":null,\"stop\":null"));
    assert_eq!((plain.stream(), plain.wants_usage(), plain.choices(), plain.max_output()), (false, false, 1, None));
    let anthropic =
        good(Anthropic, r#"{"model":"m","max_tokens":5,"messages":[],"metadata":{"user_id":"u"},"system":"s"}"#);
    assert_eq!((anthropic.user(), anthropic.max_output(), anthropic.wants_usage()), (Some("u"), Some(5), true));
}

#[test]
fn what_bills_beyond_tokens_is_named() {
    let check = |shape, members: &str, expected: Option<&str>| {
        let cap = if shape == Anthropic { ",\"max_tokens\":1" } else { "" };
        assert_eq!(good(shape, &with(&format!("{cap}{members}"))).features().surcharge, expected, "{members}");
    };
    check(OpenAi, ",\"service_tier\":\"auto\"", None);
    check(OpenAi, ",\"service_tier\":\"priority\"", Some("service_tier"));
    check(OpenAi, ",\"web_search_options\":{}", Some("web_search_options"));
    for name in [
        "web_search_options",
        "moderation",
        "search_parameters",
        "enable_search",
        "data_sources",
        "plugins",
        "models",
        "route",
        "provider",
        "deferred",
        "preset",
    ] {
        check(OpenAi, &format!(",\"{name}\":{{}}"), Some(name));
        check(OpenAi, &format!(",\"{name}\":null"), None);
        check(Anthropic, &format!(",\"{name}\":{{}}"), None);
    }
    check(OpenAi, ",\"enable_search\":false", None);
    check(OpenAi, ",\"tools\":[{\"type\":\"web_search\"}]", Some("tools"));
    check(OpenAi, ",\"tools\":[{\"google_search\":{}}]", Some("tools"));
    check(OpenAi, ",\"tools\":[{\"type\":\"function\",\"type\":\"web_search\"}]", Some("tools"));
    check(OpenAi, ",\"tools\":[{\"type\":\"function\"},{\"type\":\"custom\"},{\"function\":{}}]", None);
    check(OpenAi, ",\"functions\":[{\"name\":\"f\"}]", None);
    check(Anthropic, ",\"tools\":[{\"name\":\"f\",\"input_schema\":{}}]", None);
    check(Anthropic, ",\"tools\":[{\"type\":\"web_search_20250305\",\"name\":\"web_search\"}]", Some("tools"));
    for (kind, billed) in [
        ("custom", false),
        ("computer_20250124", false),
        ("text_editor_20250728", false),
        ("bash_20250124", false),
        ("memory_20250818", false),
        ("code_execution_20250825", true),
        ("advisor_20260301", true),
        ("never_heard_of", true),
    ] {
        let tool = format!(",\"tools\":[{{\"type\":\"{kind}\",\"name\":\"f\"}}]");
        check(Anthropic, &tool, billed.then_some("tools"));
    }
    check(Anthropic, ",\"mcp_servers\":[]", Some("mcp_servers"));
}

fn texts(shape: Shape, body: &str) -> Vec<(String, String)> {
    good(shape, body).texts().into_iter().map(|it| (it.place, it.text.into_owned())).collect()
}

fn check_texts(shape: Shape, members: &str, expected: &[(&str, &str)]) {
    let expected: Vec<_> =
        expected.iter().map(|(place, text)| (format!("messages[1].{place}"), (*text).to_owned())).collect();
    assert_eq!(texts(shape, &message(members)), expected, "{members}");
}

#[test]
fn every_text_is_found_in_its_place() {
    check_texts(OpenAi, r#""content":"a\u00e9\n""#, &[("content", "aé\n")]);
    check_texts(OpenAi, r#""content":null,"name":"n""#, &[("name", "n")]);
    check_texts(
        OpenAi,
        r#""content":[{"text":"a","type":"text"},{"type":"refusal","refusal":"b"},{"type":"input_text","text":"c"},{"type":"image_url","image_url":{"url":"u"}},"d"]"#,
        &[
            ("content[0].text", "a"),
            ("content[1].refusal", "b"),
            ("content[2].text", "c"),
            ("content[3].image_url.url", "u"),
            ("content[4]", "d"),
        ],
    );
    check_texts(
        OpenAi,
        r#""reasoning_content":"r","tool_calls":[{"id":"i","type":"function","function":{"name":"f","arguments":"{\"a\":1}"}}],"function_call":{"name":"f","arguments":"x"}"#,
        &[
            ("reasoning_content", "r"),
            ("tool_calls[0].function.arguments", "{\"a\":1}"),
            ("function_call.arguments", "x"),
        ],
    );
    check_texts(
        Anthropic,
        r#""content":[{"type":"thinking","thinking":"t","signature":"s"},{"type":"tool_use","id":"i","name":"f","input":{"a":["x",{"b":"y"}],"n":1}},
            {"type":"tool_result","tool_use_id":"i","content":"r"},{"type":"tool_result","content":[{"type":"text","text":"q"}]},
            {"type":"document","title":"ti","source":{"data":"plain","type":"text","media_type":"text/plain"}},
            {"type":"image","source":{"type":"base64","data":"AAAA"}}]"#,
        &[
            ("content[0].thinking", "t"),
            ("content[0].signature", "s"),
            ("content[1].input.a[0]", "x"),
            ("content[1].input.a[1].b", "y"),
            ("content[2].content", "r"),
            ("content[3].content[0].text", "q"),
            ("content[4].title", "ti"),
            ("content[4].source.media_type", "text/plain"),
            ("content[4].source.data", "plain"),
        ],
    );
    let system = r#"{"model":"m","max_tokens":1,"system":[{"type":"text","text":"s"}],"messages":[{"role":"user","content":"u"}]}"#;
    let expected = [("system[0].text", "s"), ("messages[0].content", "u")].map(|(a, b)| (a.to_owned(), b.to_owned()));
    assert_eq!(texts(Anthropic, system), expected);
    let prediction = with(r#","prediction":{"type":"content","content":"p"}"#);
    assert_eq!(texts(OpenAi, &prediction), [("prediction.content".to_owned(), "p".to_owned())]);
}

#[test]
fn what_leaves_beside_the_conversation_is_a_text_too() {
    check_texts(
        Anthropic,
        r#""content":[{"type":"tool_use","id":"toolu_1","name":"f","input":{"city":"x","card":4111111111111111,"bob@example.com":{"n":[1,123456789]}}}]"#,
        &[
            ("content[0].input.city", "x"),
            ("content[0].input.card", "4111111111111111"),
            ("content[0].input", "bob@example.com"),
            ("content[0].input.…", "123456789"),
        ],
    );
    check_texts(
        OpenAi,
        r#""name":"bob@example.com","reasoning_details":[{"text":"r","index":0}],"tool_call_id":"call_1","content":[{"type":"text","text":"t","note":"n"}]"#,
        &[
            ("name", "bob@example.com"),
            ("reasoning_details[0].text", "r"),
            ("content[0].text", "t"),
            ("content[0].note", "n"),
        ],
    );
    check_texts(OpenAi, r#""tool_call_id":"bob@example.com""#, &[("tool_call_id", "bob@example.com")]);
    let outer = |shape, members: &str, expected: &[(&str, &str)]| {
        let cap = if shape == Anthropic { ",\"max_tokens\":1" } else { "" };
        let expected: Vec<_> = expected.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
        assert_eq!(texts(shape, &with(&format!("{cap}{members}"))), expected, "{members}");
    };
    outer(OpenAi, r#","user":"u","metadata":{"team":"t"}"#, &[("user", "u"), ("metadata.team", "t")]);
    outer(
        OpenAi,
        r#","user":null,"metadata":{"4111111111111111":"t"}"#,
        &[("metadata", "4111111111111111"), ("metadata.…", "t")],
    );
    outer(Anthropic, r#","metadata":{"user_id":"u"}"#, &[("metadata.user_id", "u")]);
    outer(OpenAi, r#","safety_identifier":"s""#, &[("safety_identifier", "s")]);
    let documents = r#","documents":[{"text":"d","bob@example.com":"e","a":1,"a":2}]"#;
    let expected = [("documents[0].text", "d"), ("documents[0]", "bob@example.com"), ("documents[0].…", "e")];
    outer(OpenAi, documents, &expected);
    outer(
        OpenAi,
        r#","logit_bias":{"123456":1},"tool_choice":"auto","temperature":0.1234567,"response_format":{"type":"text"}"#,
        &[],
    );
}

#[test]
fn what_images_sounds_and_files_hold_is_no_text() {
    let long = "QUJD".repeat(100);
    for part in [
        format!(r#"{{"type":"image_url","image_url":{{"url":"data:image/png;base64,{long}"}}}}"#),
        format!(r#"{{"type":"image_url","image_url":"data:image/png;base64,{long}"}}"#),
        format!(r#"{{"type":"video_url","video_url":{{"url":"data:video/mp4;base64,{long}"}}}}"#),
        r#"{"type":"input_audio","input_audio":{"data":"QUJD"}}"#.to_owned(),
        format!(r#"{{"type":"file","file":{{"file_data":"data:application/pdf;base64,{long}"}}}}"#),
        r#"{"type":"file","file":{"file_data":"QUJD\/w=="}}"#.to_owned(),
        r#"{"type":"image","source":{"type":"base64","data":"QUJD"}}"#.to_owned(),
        format!(r#"{{"type":"redacted_thinking","data":"{long}"}}"#),
    ] {
        check_texts(OpenAi, &format!("\"content\":[{part}]"), &[]);
    }
    let file = |data: &str| format!(r#""content":[{{"type":"file","file":{{"filename":"n","file_data":"{data}"}}}}]"#);
    let named = ("content[0].file.filename", "n");
    check_texts(OpenAi, &file("data:text/plain;base64,QUJD"), &[named]);
    for plain in ["a word", "data:text/plain,a word", "data:text/plain;base64,a word"] {
        check_texts(OpenAi, &file(plain), &[named, ("content[0].file.file_data", plain)]);
    }
}

#[test]
fn a_number_or_a_name_is_edited_into_a_string_and_names_stay_apart() {
    let input = r#"{"card" : 4111111111111111,"a@b.co":{"a@b.cx":1},"c@d.co":2,"[EMAIL]":3}"#;
    let request = good(Anthropic, &message(&format!(r#""content":[{{"type":"tool_use","input":{input}}}]"#)));
    let edits: Vec<_> =
        ["[PAYMENT_CARD]", "[EMAIL]", "[EMAIL]", "[EMAIL]"].map(str::to_owned).into_iter().enumerate().collect();
    let edited = request.with_texts(&edits);
    let expected = r#"{"card" : "[PAYMENT_CARD]","[EMAIL] 2":{"[EMAIL] 3":1},"[EMAIL] 4":2,"[EMAIL]":3}"#;
    let body = std::str::from_utf8(edited.body()).unwrap();
    assert!(body.contains(expected), "{body}");
    let request = good(OpenAi, &with(r#","user":"bob@example.com","metadata":{"mail":"a@b.co"}"#));
    let edited = request.with_texts(&[(0, "[EMAIL]".to_owned()), (1, "[EMAIL]".to_owned())]);
    assert_eq!((request.user(), edited.user()), (Some("bob@example.com"), Some("[EMAIL]")));
    assert_eq!((&*request.metadata()[0].1, &*edited.metadata()[0].1), ("a@b.co", "[EMAIL]"));
}

proptest::proptest! {
    #[test]
    fn any_edits_leave_a_body_that_can_be_read(
        texts in proptest::collection::vec("(|x|user_id|file_data|\\[EMAIL\\]|long_name|\"\\\\|a b)", 0..24),
        skip in 0usize..4,
    ) {
        let content = r#"[{"type":"tool_use","id":"a b","input":{"long_name":[1234567,{"x":-1.5e10}],"second_name":"t","third_name":{"long_name":""}}},
            {"type":"file","file":{"filename":"n","file_data":"a b"}},{"type":"image","source":{"type":"url","url":"https://x"}}]"#;
        let outer = r#""metadata":{"user_id":"u","other_name":"o"},"documents":[{"file_data":"QUJD","name_of_it":"v"}]"#;
        let body = format!(r#"{{"model":"m","max_tokens":1,{outer},"messages":[{{"role":"user","name":"n","content":{content}}}]}}"#);
        for shape in [OpenAi, Anthropic] {
            let request = good(shape, &body);
            let edits: Vec<_> = texts.iter().cloned().enumerate().map(|(i, it)| (i * (skip + 1), it)).collect();
            let edited = request.with_texts(&edits);
            proptest::prop_assert!(serde_json::from_slice::<serde_json::Value>(edited.body()).is_ok());
            proptest::prop_assert!(parse(shape, edited.text()).is_ok());
        }
    }
}

#[test]
fn edits_touch_nothing_but_their_texts() {
    let body = "{ \"model\" : \"m\",\"x\":1.00, \"messages\":[ {\"role\":\"user\", \"content\": \"a\\u0041\" },{\"content\":[{\"text\":\"b\"}]} ] }";
    let request = good(OpenAi, body);
    let edited = request.with_texts(&[(1, "\"ö\"\n".to_owned()), (0, "[EMAIL]".to_owned()), (9, "nowhere".to_owned())]);
    let expected = body.replace("\"a\\u0041\"", "\"[EMAIL]\"").replace("\"b\"", "\"\\\"ö\\\"\\n\"");
    assert_eq!(edited.body(), expected.as_bytes());
    assert_eq!(request.with_texts(&[]).body(), body.as_bytes());
}

#[test]
fn canonical_forgets_what_does_not_decide_the_answer() {
    let a =
        good(OpenAi, &with(r#","stream":true,"stream_options":{"include_usage":true},"user":"u","temperature":1.0"#));
    let b =
        good(OpenAi, r#"{ "temperature":1.0, "messages" : [], "fallbacks":["x/y"], "metadata":{}, "model":"\u006d" }"#);
    assert_eq!(a.canonical(), b.canonical());
    assert_ne!(a.canonical(), good(OpenAi, &with(",\"temperature\":1")).canonical());
}

#[test]
fn what_a_target_must_do_is_seen() {
    let check = |shape, members: &str, see: fn(&Features) -> bool| {
        assert!(see(&good(shape, &message(members)).features()), "{members}")
    };
    check(
        OpenAi,
        r#""content":[{"type":"image_url","image_url":{"url":"data:,x"}},{"type":"image_url","image_url":{"url":"u"}}]"#,
        |it| it.images && it.image_count == 2,
    );
    check(OpenAi, r#""content":[{"type":"input_audio","input_audio":{"data":"x"}}]"#, |it| it.audio);
    check(OpenAi, r#""content":[{"type":"file","file":{"file_data":"x"}}]"#, |it| it.documents);
    check(
        Anthropic,
        r#""content":[{"type":"tool_result","content":[{"type":"image","source":{"type":"url","url":"u"}}]}]"#,
        |it| it.images,
    );
    check(OpenAi, r#""content":"x""#, |it| *it == Features::default());
}

#[test]
fn what_would_cost_too_much_to_remember_is_refused() {
    let many = "\"\",".repeat(100_001);
    let body = message(&format!("\"content\":[{}]", many.trim_end_matches(',')));
    refused(OpenAi, &body, "invalid_value", Some("messages[1].content[100000]"));
    let members: String = (0..10_001).map(|i| format!(",\"k{i}\":1")).collect();
    refused(OpenAi, &with(&members), "invalid_value", None);
    let many = "\"a/b\",".repeat(1_001);
    let body = with(&format!(",\"fallbacks\":[{}]", many.trim_end_matches(',')));
    refused(OpenAi, &body, "invalid_value", Some("fallbacks"));
    let long = format!("\"content\":[{{\"input\":{{\"{}\":[\"x\",{{\"a\":\"y\"}}]}}}}]", "k".repeat(100_000));
    let places = texts(Anthropic, &message(&long));
    assert_eq!(places.len(), 3);
    assert!(places.iter().all(|it| it.0.len() < 300), "{places:?}");
}

#[test]
fn what_no_address_tells_the_length_of_is_a_document() {
    let check = |part: &str, expected: bool| {
        let features = good(OpenAi, &message(&format!("\"content\":[{part}]"))).features();
        assert_eq!(features.documents, expected, "{part}");
    };
    check(r#"{"type":"input_audio","input_audio":{"data":"aGk=","format":"wav"}}"#, false);
    check(r#"{"type":"input_audio","input_audio":{"data":"https:\/\/a.test/9h.mp3","format":"mp3"}}"#, true);
    check(r#"{"type":"audio_url","audio_url":{"url":"https://a.test/9h.mp3"}}"#, true);
    check(r#"{"type":"image_url","image_url":{"url":"https://a.test/a.png"}}"#, false);
}

#[test]
fn tokens_are_read_as_the_text_they_stand_for_and_stay_as_they_are() {
    let ids =
        |tokenizer: &tiktoken_rs::CoreBPE, text: &str| serde_json::to_string(&tokenizer.encode_ordinary(text)).unwrap();
    let (old, new) = (tiktoken_rs::cl100k_base_singleton(), tiktoken_rs::o200k_base_singleton());
    let secret = "my card is 4111 1111 1111 1111";
    for (shape, member, tokenizer) in
        [(Shape::Embeddings, "input", old), (Shape::Embeddings, "input", new), (Shape::Completions, "prompt", old)]
    {
        let ids = ids(tokenizer, secret);
        for (given, place) in [(ids.clone(), member.to_owned()), (format!("[{ids}]"), format!("{member}[0]"))] {
            let body = format!(r#"{{"model":"m","{member}":{given}}}"#);
            let request = good(shape, &body);
            let texts = request.texts();
            assert!(texts.iter().any(|it| it.text == secret), "{body}");
            assert!(texts.iter().all(|it| it.fixed && it.place == place), "{body}");
            assert_eq!(request.with_texts(&[(0, "[X]".to_owned())]).body(), request.body());
        }
    }
    let input = |tokens: &str| format!(r#"{{"model":"m","input":{tokens}}}"#);
    refused(Shape::Embeddings, &input("[4000000]"), "invalid_value", Some("input"));
    refused(Shape::Embeddings, &input("[[15339],[4000000]]"), "invalid_value", Some("input[1]"));
    refused(Shape::Embeddings, &input("[[1.5]]"), "invalid_type", Some("input[0]"));
}

#[test]
fn json_within_a_string_is_read_with_its_letters_written_out() {
    let check = |arguments: &str, says: &str| {
        let quoted = serde_json::to_string(arguments).unwrap();
        let asked = message(&format!(r#""tool_calls":[{{"function":{{"name":"f","arguments":{quoted}}}}}]"#));
        let request = good(OpenAi, &asked);
        assert_eq!(request.texts()[0].text, says);
        let output = format!(r#"{{"model":"m","input":[{{"type":"function_call_output","output":{quoted}}}]}}"#);
        assert_eq!(good(Shape::Responses, &output).texts()[0].text, says);
    };
    check(r#"{"card":"\u0034111 1111"}"#, r#"{"card":"4111 1111"}"#);
    check(r#"{"a":"\u00e9\ud83d\ude00\/x"}"#, "{\"a\":\"\u{e9}\u{1f600}/x\"}");
    check(r#"{"a":"\u0022\u005c\u000a\n\\u0034\ud83d"}"#, r#"{"a":"\u0022\u005c\u000a\n\\u0034\ud83d"}"#);
    check(r"no json \u0034", r"no json \u0034");
}

#[test]
fn a_bare_number_that_a_tool_gave_back_is_a_text() {
    let body = r#"{"model":"m","input":[{"type":"function_call_output","call_id":"c","output":4915112345678}]}"#;
    assert_eq!(texts(Shape::Responses, body), [("input[0].output".to_owned(), "4915112345678".to_owned())]);
}
