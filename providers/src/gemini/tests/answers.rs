use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::error::{Class, Retry};

const ASK: &str = r#"{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}"#;
const ASK_WHOLE: &str = r#"{"model":"m","messages":[]}"#;
const STREAMS: [&str; 6] = ["text", "tools", "thinking", "candidates", "blocked", "media"];

fn anthropic() -> ModelRequest {
    let ask = r#"{"model":"m","max_tokens":9,"messages":[],"stream":true,"thinking":{"type":"adaptive"}}"#;
    ModelRequest::parse(Shape::Anthropic, Bytes::from_static(ask.as_bytes())).unwrap()
}

#[test]
fn a_gemini_stream_is_told_in_openais_chunks() {
    for name in STREAMS {
        let answer = told(&openai(ASK), &given(&format!("stream_to_openai/{name}.in.sse")), Some("0.0012"));
        assert_eq!(answer.error, None);
        check_file(&format!("stream_to_openai/{name}.out.sse"), &(answer.frames + &answer.closing));
    }
}

#[test]
fn a_whole_answer_is_told_as_a_completion() {
    for name in ["everything", "blocked", "speech"] {
        let given = given(&format!("whole_to_openai/{name}.in.json"));
        let answer = told(&openai(ASK_WHOLE), &given, None);
        assert_eq!((answer.error, answer.frames.as_str()), (None, ""));
        check_file(&format!("whole_to_openai/{name}.out.json"), &answer.closing);
    }
}

#[test]
fn a_caller_who_asked_for_a_stream_gets_one_from_a_whole_answer() {
    let answer = told(&openai(ASK), &given("whole_to_openai/everything.in.json"), None);
    assert_eq!(answer.error, None);
    check_file("whole_to_openai/everything.out.sse", &(answer.frames + &answer.closing));
}

#[test]
fn the_text_to_count_holds_all_that_was_said() {
    fn check(name: &str, expected: &str, reason: &str) {
        let answer = told(&openai(ASK), &given(&format!("stream_to_openai/{name}.in.sse")), None);
        assert_eq!((answer.text.as_str(), answer.reason.as_deref()), (expected, Some(reason)));
    }
    check("text", "Hello – \"wörld\"\n", "stop");
    let calls = "get_weather{\"location\": \"San Francisco, CA\",\"n\":1.0}get_time{}";
    check("tools", &format!("Let me see.Let me check.{calls}"), "tool_calls");
    check("thinking", "Two and two: four.Four.", "length");
    check("blocked", "", "content_filter");
}

#[test]
fn usage_comes_with_every_event_and_grows() {
    let answer = told(&openai(ASK), &given("stream_to_openai/tools.in.sse"), None);
    let first = Usage { input: 80, output: 30, reasoning: 30, ..Usage::default() };
    assert_eq!(answer.usages, [first, Usage { output: 50, ..first }, Usage { output: 61, ..first }]);
    let answer = told(&openai(ASK), &given("stream_to_openai/text.in.sse"), None);
    let last = Usage { input: 25, cached_input: 100, output: 15, ..Usage::default() };
    assert_eq!(answer.usages.last(), Some(&last));
}

#[test]
fn signatures_and_calls_survive_the_way_through_a_client_of_openais_shape() {
    let answer = told(&openai(ASK_WHOLE), &given("whole_to_openai/everything.in.json"), None);
    let completion: Value = serde_json::from_str(&answer.closing).unwrap();
    let message = &completion["choices"][0]["message"];
    let results = message["tool_calls"].as_array().unwrap().iter();
    let results = results.map(|call| json!({"role": "tool", "tool_call_id": call["id"], "content": "ok"}));
    let mut messages = vec![json!({"role": "user", "content": "hi"}), message.clone()];
    messages.extend(results);
    let request = json!({"model": "m", "messages": messages});
    let encoded = body(&encode(&openai(&request.to_string()), "gemini-3-pro-preview").unwrap());
    let expected = json!([
        {"text": "Hmm.", "thought": true, "thoughtSignature": "VGhvdWdodA=="},
        {"text": "Let me check."},
        {"functionCall": {"id": "call_mFTzaKq2Nd2xN8P_0", "name": "get_weather", "args": {"location": "San Francisco, CA"}},
         "thoughtSignature": "CiQB0e2KbwsR"},
        {"functionCall": {"id": "fc_77", "name": "get_time", "args": {}}}]);
    assert_eq!(encoded["contents"][1]["parts"], expected);
    assert_eq!(encoded["contents"][2]["parts"][1]["functionResponse"]["name"], "get_time");
}

#[test]
fn an_anthropic_caller_reads_it_too() {
    let answer = told(&anthropic(), &given("stream_to_openai/tools.in.sse"), None);
    assert_eq!(answer.error, None);
    let text = answer.frames + &answer.closing;
    for part in ["Let me see.", "\"name\":\"get_weather\"", "\"id\":\"fc_77\"", "\"stop_reason\":\"tool_use\""] {
        assert!(text.contains(part), "{part} in {text}");
    }
}

#[test]
fn words_for_the_end_are_sorted() {
    fn check(reason: &str, expected: Option<&str>) {
        let with = |parts: Value| {
            let candidate = json!({"content": {"parts": parts}, "finishReason": reason});
            format!("data: {}\n\n", json!({"candidates": [candidate]}))
        };
        let answer = told(&openai(ASK), &with(json!([{"text": "a"}])), None);
        assert_eq!(answer.reason.as_deref(), expected, "{reason}");
    }
    for reason in ["STOP", "OTHER", "LANGUAGE", "A_NEW_ONE"] {
        check(reason, Some("stop"));
    }
    for reason in ["SAFETY", "RECITATION", "PROHIBITED_CONTENT", "BLOCKLIST", "SPII", "IMAGE_SAFETY", "MODEL_ARMOR"] {
        check(reason, Some("content_filter"));
    }
    check("MAX_TOKENS", Some("length"));
    check("MALFORMED_FUNCTION_CALL", Some("stop"));
    check("FINISH_REASON_UNSPECIFIED", None);
}

#[test]
fn an_answer_that_its_server_could_not_read_is_none_and_billed() {
    let stream = r#"data: {"candidates":[{"finishReason":"MALFORMED_FUNCTION_CALL"}],"usageMetadata":{"promptTokenCount":5,"totalTokenCount":5}}"#;
    for text in [stream.to_owned(), stream.trim_start_matches("data: ").to_owned()] {
        let answer = told(&openai(ASK), &text, None);
        let error = answer.error.unwrap();
        assert_eq!((error.class, error.retry, answer.usages.len()), (Class::Broken, Retry::Elsewhere, 1));
        assert_eq!((answer.frames.as_str(), answer.closing.as_str()), ("", ""));
    }
}

#[test]
fn an_answer_that_fails_midway_says_how() {
    fn check(tail: &str, class: Class, retry: Retry) {
        let start = given("stream_to_openai/text.in.sse");
        let cut = start.rfind("data: ").unwrap();
        let answer = told(&openai(ASK), &format!("{}{tail}", &start[..cut]), None);
        let error = answer.error.unwrap();
        assert_eq!((error.class, error.retry), (class, retry), "{tail}");
        assert_eq!((answer.closing.as_str(), answer.text.as_str()), ("", "Hello – \"wörld\"\n"));
        assert!(!error.message.contains("secret"));
    }
    let error = |code: u16, status: &str| {
        format!("data: {}\n\n", json!({"error": {"code": code, "status": status, "message": "a secret"}}))
    };
    check(&error(503, "UNAVAILABLE"), Class::Server, Retry::Elsewhere);
    check(&error(500, "INTERNAL"), Class::Server, Retry::Elsewhere);
    check(&error(429, "RESOURCE_EXHAUSTED"), Class::RateLimited, Retry::Elsewhere);
    check(&error(400, "INVALID_ARGUMENT"), Class::Rejected, Retry::Never);
    check("", Class::Broken, Retry::Elsewhere);
    check("data: {\"candidates\":\n\n", Class::Broken, Retry::Elsewhere);
}

#[test]
fn a_body_that_is_no_answer_is_broken() {
    for body in ["", " ", "{}", "[]", "<html>", "data: {}\n\n", r#"{"candidates":[]}"#, r#"{"candidates":3}"#] {
        let answer = told(&openai(ASK_WHOLE), body, None);
        assert_eq!(answer.error.map(|error| error.class), Some(Class::Broken), "{body}");
    }
    let error = r#"{"error":{"code":503,"status":"UNAVAILABLE"}}"#;
    assert_eq!(told(&openai(ASK_WHOLE), error, None).error.map(|error| error.class), Some(Class::Server));
}

proptest! {
    #[test]
    fn every_split_of_the_bytes_gives_the_same_answer(
        name in prop::sample::select(&STREAMS[..]), mut cuts in prop::collection::vec(0usize..2500, 0..12),
    ) {
        let stream = given(&format!("stream_to_openai/{name}.in.sse"));
        let bytes = stream.as_bytes();
        cuts.retain(|cut| *cut < bytes.len());
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        for request in [openai(ASK), anthropic()] {
            let split = tell(&mut *GeminiDialect.decoder(&request, SSE), &pieces, Some("1"));
            prop_assert_eq!(split, told(&request, &stream, Some("1")));
        }
        let (mut passage, mut again) = (passage::Passage::default(), passage::Passage::default());
        prop_assert_eq!(tell(&mut passage, &pieces, Some("1")), tell(&mut again, &[bytes], Some("1")));
    }

    #[test]
    fn a_damaged_stream_ends_in_an_error_or_an_end_never_in_a_panic(
        name in prop::sample::select(&STREAMS[..]), at in 0usize..1500, gone in 0usize..40, new in "[\\PC\n]{0,8}",
    ) {
        let mut bytes = given(&format!("stream_to_openai/{name}.in.sse")).into_bytes();
        let at = at.min(bytes.len());
        let end = (at + gone).min(bytes.len());
        bytes.splice(at..end, new.bytes());
        prop_assert!(ends_once(&mut *GeminiDialect.decoder(&openai(ASK), SSE), &bytes));
        prop_assert!(ends_once(&mut passage::Passage::default(), &bytes));
    }

    #[test]
    fn arbitrary_bytes_end_in_an_error_or_an_end_never_in_a_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300), event in "data: \\{\"candidates\":\\[\\PC{0,40}\\]\\}\n\n",
    ) {
        for request in [openai(ASK), openai(ASK_WHOLE), anthropic()] {
            prop_assert!(ends_once(&mut *GeminiDialect.decoder(&request, SSE), &bytes));
            prop_assert!(ends_once(&mut *GeminiDialect.decoder(&request, SSE), event.as_bytes()));
        }
    }
}

fn ends_once(decoder: &mut dyn Decoder, bytes: &[u8]) -> bool {
    let mut events = Vec::new();
    let fed = decoder.feed(bytes, &mut events).and_then(|()| decoder.finish(&mut events));
    let ended = events.iter().filter(|event| matches!(event, AnswerEvent::End(_))).count();
    ended == usize::from(fed.is_ok())
}
