use super::*;

fn refused(body: &str, code: &str, param: &str) {
    let bad = parse(body, false).expect_err(body);
    assert_eq!((bad.code, bad.param.as_deref()), (code, Some(param)), "{body}: {bad}");
    assert!(!bad.message.contains("SECRET"), "content in {bad}");
}

/// A body with these further members.
fn with(members: &str) -> String {
    format!(r#"{{"contents":[]{members}}}"#)
}

fn part(members: &str) -> String {
    format!(r#"{{"contents":[{{"role":"user","parts":[{{{members}}}]}}]}}"#)
}

#[test]
fn model_and_stream_come_from_the_address() {
    for stream in [true, false] {
        let read = parse(&with(r#","model":"models/gemini-x""#), stream).unwrap();
        assert_eq!((read.model(), read.stream(), read.wants_usage()), ("gemini-x", stream, true));
    }
    refused(&with(r#","model":"other""#), "invalid_value", "model");
    let lost = ModelRequest::parse(Shape::Gemini, Bytes::from_static(b"{\"contents\":[]}")).unwrap_err();
    assert_eq!(lost.param.as_deref(), Some("model"));
}

#[test]
fn both_spellings_are_one_member_and_never_two() {
    for config in [
        r#""generationConfig":{"maxOutputTokens":7,"candidateCount":2}"#,
        r#""generation_config":{"max_output_tokens":7,"candidate_count":2}"#,
    ] {
        let read = gemini(&with(&format!(",{config}")));
        assert_eq!((read.max_output(), read.choices()), (Some(7), 2), "{config}");
    }
    refused(&with(r#","generationConfig":{},"generation_config":{}"#), "duplicate_parameter", "generationConfig");
    refused(
        &with(r#","generationConfig":{"maxOutputTokens":1,"max_output_tokens":2}"#),
        "duplicate_parameter",
        "generationConfig.maxOutputTokens",
    );
    refused(&part(r#""inlineData":{},"inline_data":{}"#), "duplicate_parameter", "contents[0].parts[0].inlineData");
    refused(&with(r#","Tools":[]"#), "invalid_value", "Tools");
    refused(&with(r#","generationConfig":{"maxoutputtokens":1}"#), "invalid_value", "generationConfig.maxoutputtokens");
    refused(&part(r#""TEXT":"SECRET""#), "invalid_value", "contents[0].parts[0].TEXT");
}

#[test]
fn a_body_that_cannot_be_read_says_where() {
    refused("{}", "missing_required_parameter", "contents");
    refused(r#"{"contents":null}"#, "missing_required_parameter", "contents");
    refused(r#"{"contents":"SECRET"}"#, "invalid_type", "contents");
    refused(r#"{"contents":["SECRET"]}"#, "invalid_type", "contents[0]");
    refused(&part(r#""text":5"#), "invalid_type", "contents[0].parts[0].text");
    refused(&with(r#","systemInstruction":"SECRET""#), "invalid_type", "systemInstruction");
    refused(
        &with(r#","generationConfig":{"maxOutputTokens":"5"}"#),
        "invalid_type",
        "generationConfig.maxOutputTokens",
    );
    refused(&with(r#","generationConfig":{"candidateCount":0}"#), "invalid_value", "generationConfig.candidateCount");
    refused(&with(r#","labels":{"a":1}"#), "invalid_type", "labels.a");
    refused(&with(r#","cachedContent":"cachedContents/SECRET""#), "invalid_value", "cachedContent");
    for uri in [
        "gs://bucket/SECRET",
        "files/SECRET",
        "https://generativelanguage.googleapis.com/v1beta/files/SECRET",
        "https://GenerativeLanguage.googleapis.com./SECRET",
        "https://a:b@example.com/SECRET",
    ] {
        let body = part(&format!(r#""fileData":{{"fileUri":"{uri}"}}"#));
        refused(&body, "invalid_value", "contents[0].parts[0].fileData.fileUri");
    }
}

#[test]
fn every_text_is_found_with_its_place() {
    let body = r#"{"system_instruction":{"parts":{"text":"be kind"}},
        "contents":[{"parts":[
            {"text":"hello"},
            {"inlineData":{"mimeType":"image/png","data":"aGVsbG8="}},
            {"inlineData":{"mimeType":"text/plain","data":"not base64!"}},
            {"fileData":{"mimeType":"image/png","fileUri":"https://example.com/a.png"}},
            {"functionCall":{"name":"f","args":{"to":["ann",1234567]}}},
            {"functionResponse":{"name":"f","response":{"said":"yes"}}},
            {"thoughtSignature":"CpYB"}]}],
        "labels":{"team":"search"}}"#;
    let found: Vec<(String, String)> =
        gemini(body).texts().into_iter().map(|it| (it.place, it.text.into_owned())).collect();
    let expected = [
        ("systemInstruction.parts[0].text", "be kind"),
        ("contents[0].parts[0].text", "hello"),
        ("contents[0].parts[2].inlineData.data", "not base64!"),
        ("contents[0].parts[3].fileData.fileUri", "https://example.com/a.png"),
        ("contents[0].parts[4].functionCall.args.to[0]", "ann"),
        ("contents[0].parts[4].functionCall.args.to[1]", "1234567"),
        ("contents[0].parts[5].functionResponse.response.said", "yes"),
        ("labels.team", "search"),
    ];
    let expected: Vec<_> = expected.iter().map(|(place, text)| (place.to_string(), text.to_string())).collect();
    assert_eq!(found, expected);

    let edited = gemini(body).with_texts(&[(1, "[redacted]".to_owned())]);
    assert_eq!(edited.body().len(), body.len() + "[redacted]".len() - "hello".len());
    assert_eq!((edited.model(), edited.texts()[1].text.as_ref()), ("gemini-x", "[redacted]"));
    let edited = gemini(body).with_texts(&[(3, "https://[CARD_1].com/a.png".to_owned())]);
    assert_eq!(edited.texts()[3].text, "https://[CARD_1].com/a.png", "what stands in for a finding is no address");
}

#[test]
fn what_a_target_must_be_able_to_do_is_told() {
    let of = |body: &str| gemini(body).features();
    let media = |kind: &str| of(&part(&format!(r#""inlineData":{{"data":"aGk=","mimeType":"{kind}"}}"#)));
    assert!(media("image/png").images && media("image/png").image_count == 1);
    assert!(media("audio/ogg").audio);
    assert!(media("application/pdf").documents && media("video/mp4").documents && media("").documents);
    let fetched = |kind: &str, uri: &str| {
        of(&part(&format!(r#""fileData":{{"fileUri":"{uri}","mimeType":"{kind}"}}"#))).documents
    };
    assert!(fetched("audio/mp3", "https://a.test/9h.mp3"), "its length is unknown");
    assert!(fetched("image/png", "https://www.youtube.com/watch?v=x") && !fetched("image/png", "https://a.test/a.png"));
    assert!(of(&with(r#","tools":[{"functionDeclarations":[{"name":"f"}]}]"#)).tools);
    assert!(of(&with(r#","generationConfig":{"responseSchema":{"type":"OBJECT"}}"#)).json_schema);
    for (members, surcharge) in [
        (r#""tools":[{"functionDeclarations":[]}]"#, None),
        (r#""tools":[{"googleSearch":{}}]"#, Some("tools.googleSearch")),
        (r#""tools":{"url_context":{}}"#, Some("tools.urlContext")),
        (r#""tools":[{"functionDeclarations":[{}]},{"codeExecution":{}}]"#, Some("tools.codeExecution")),
        (r#""tools":[{"somethingNew":{}}]"#, Some("tools")),
        (r#""tools":[{"googleSearch":null}]"#, None),
        (r#""serviceTier":"priority""#, Some("serviceTier")),
        (r#""serviceTier":"standard""#, None),
        (r#""generationConfig":{"responseModalities":["TEXT","IMAGE"]}"#, Some("generationConfig.responseModalities")),
    ] {
        assert_eq!(of(&with(&format!(",{members}"))).surcharge, surcharge, "{members}");
    }
}

#[test]
fn a_spliced_body_keeps_every_byte_but_cap_and_the_gateways_own() {
    for (body, expected) in [
        (r#"{"contents":[]}"#, r#"{"contents":[],"generationConfig":{"maxOutputTokens":9}}"#),
        (
            r#"{"contents":[], "generation_config" : { } }"#,
            r#"{"contents":[], "generation_config" : {"maxOutputTokens":9 } }"#,
        ),
        (
            r#"{"generationConfig":{"topK":4.0,"x":[1.0]},"contents":[]}"#,
            r#"{"generationConfig":{"maxOutputTokens":9,"topK":4.0,"x":[1.0]},"contents":[]}"#,
        ),
        (
            r#"{"generationConfig":{"max_output_tokens": 70,"topK":4.0},"contents":[]}"#,
            r#"{"generationConfig":{"max_output_tokens": 9,"topK":4.0},"contents":[]}"#,
        ),
        (
            r#"{"generationConfig":{"maxOutputTokens":null},"contents":[]}"#,
            r#"{"generationConfig":{"maxOutputTokens":9},"contents":[]}"#,
        ),
        (r#"{"generationConfig":null,"contents":[]}"#, r#"{"generationConfig":{"maxOutputTokens":9},"contents":[]}"#),
        (
            r#"{"model":"gemini-x","contents":[],"odd":{"é":1.50},"fallbacks":["b"]}"#,
            r#"{"contents":[],"odd":{"é":1.50},"generationConfig":{"maxOutputTokens":9}}"#,
        ),
        (
            r#"{"contents":[{"parts":[{"thoughtSignature":"CpYB"},{"thought_signature":"YWxmcmVkL3QvW10="}]}]}"#,
            r#"{"contents":[{"parts":[{"thoughtSignature":"CpYB"},{"thought_signature":"skip_thought_signature_validator"}]}],"generationConfig":{"maxOutputTokens":9}}"#,
        ),
    ] {
        assert_eq!(sent(body, 9), expected);
    }
}

#[test]
fn what_decides_the_answer_has_no_labels() {
    let canonical = |members: &str| String::from_utf8(gemini(&with(members)).canonical()).unwrap();
    assert_eq!(canonical(r#","labels":{"a":"b"},"fallbacks":["x"]"#), r#"{"contents":[]}"#);
}

#[test]
fn an_address_that_was_masked_whole_leaves_a_request_that_can_be_read() {
    let body =
        r#"{"contents":[{"parts":[{"fileData":{"mimeType":"image/png","fileUri":"https://example.com/a.png"}}]}]}"#;
    let edited = gemini(body).with_texts(&[(0, "[URL]".to_owned())]);
    assert_eq!(edited.texts()[0].text, "[URL]");
}
