//! Callers of Gemini's own shape: everything passes.

use serde_json::json;

use super::*;
use crate::request::Outside;
use crate::sse::SseEvent;

fn gemini(body: &str, stream: bool) -> ModelRequest {
    let outside = Outside { model: Some("m".to_owned()), stream: Some(stream), ..Outside::default() };
    ModelRequest::parse_with(Shape::Gemini, Bytes::copy_from_slice(body.as_bytes()), outside).unwrap()
}

const ASK: &str = r#"{"contents":[{"parts":[{"text":"hi"}]}]}"#;
const STREAMS: [&str; 6] = ["text", "tools", "thinking", "candidates", "blocked", "media"];

#[test]
fn a_body_is_only_spliced() {
    let asked = r#"{ "contents": [{"parts": [{"text": "h\u0069"}]}],  "generationConfig": {"topK": 1.00, "maxOutputTokens": 9999}, "fallbacks": ["x"], "newMember": {"b": 1.00} }"#;
    let encoded = encode(&gemini(asked, true), "gemini-2.5-pro").unwrap();
    let sent = r#"{ "contents": [{"parts": [{"text": "h\u0069"}]}],  "generationConfig": {"topK": 1.00, "maxOutputTokens": 512}, "newMember": {"b": 1.00} }"#;
    assert_eq!(std::str::from_utf8(&encoded.body).unwrap(), sent);
    assert!(encoded.url.as_str().ends_with("/models/gemini-2.5-pro:streamGenerateContent?alt=sse"), "{}", encoded.url);
    let encoded = encode(&gemini(ASK, false), "gemini-2.5-pro").unwrap();
    assert_eq!(body(&encoded)["generationConfig"], json!({"maxOutputTokens": 512}));
    assert!(encoded.url.as_str().ends_with("/models/gemini-2.5-pro:generateContent"), "{}", encoded.url);
}

#[test]
fn what_google_bills_beside_its_tokens_is_refused() {
    for more in [r#""tools":[{"googleSearch":{}}]"#, r#""serviceTier":"priority""#] {
        let asked = ASK.replacen('{', &format!("{{{more},"), 1);
        assert!(encode(&gemini(&asked, false), "gemini-2.5-pro").is_err(), "{more}");
    }
}

#[test]
fn a_whole_answer_passes_as_it_came_or_as_one_event() {
    for name in ["everything", "blocked", "speech"] {
        let given = given(&format!("whole_to_openai/{name}.in.json"));
        let answer = told(&gemini(ASK, false), &given, Some("1"));
        assert_eq!((answer.error, answer.closing), (None, given.clone()));
        let answer = told(&gemini(ASK, true), &given, None);
        let event: Value = serde_json::from_str(answer.closing.trim_start_matches("data: ")).unwrap();
        assert_eq!(event, serde_json::from_str::<Value>(&given).unwrap());
    }
}

#[test]
fn every_event_passes_as_it_came() {
    for name in STREAMS {
        let stream = given(&format!("stream_to_openai/{name}.in.sse"));
        let answer = told(&gemini(ASK, true), &stream, None);
        assert_eq!(answer.error, None);
        assert_eq!(answer.frames + &answer.closing, stream.replace("\r\n", "\n"), "{name}");
    }
}

#[test]
fn what_is_counted_and_billed_is_the_same_as_for_other_callers() {
    let ask = openai(r#"{"model":"m","messages":[],"stream":true}"#);
    for name in STREAMS {
        let stream = given(&format!("stream_to_openai/{name}.in.sse"));
        let own = tell(&mut passage::Passage::default(), &[stream.as_bytes()], None);
        let other = told(&ask, &stream, None);
        // Only the translation writes out `{}` for a call without arguments.
        assert_eq!(
            (own.text, own.usages, own.reason),
            (other.text.replace("{}", ""), other.usages, other.reason),
            "{name}"
        );
    }
}

#[test]
fn the_cost_stands_in_the_last_usage() {
    let stream = given("stream_to_openai/text.in.sse");
    let answer = tell(&mut passage::Passage::default(), &[stream.as_bytes()], Some("0.0012"));
    let last: Value = serde_json::from_str(answer.closing.trim_start_matches("data: ")).unwrap();
    assert_eq!(last["usageMetadata"]["alfred_cost_usd"], "0.0012");
    assert_eq!(last["usageMetadata"]["candidatesTokenCount"], 15);
}

#[test]
fn a_stream_is_put_together_into_one_answer() {
    let assembled = |stream: &str, cut: bool| -> Value {
        let mut assembly = ResponseAssembly::default();
        for data in stream.lines().filter_map(|line| line.strip_prefix("data: ")) {
            assembly.event(&SseEvent { event: String::new(), data: data.to_owned() });
        }
        serde_json::from_str(&assembly.body(cut, false)).unwrap()
    };
    let whole = assembled(&given("stream_to_openai/thinking.in.sse"), false);
    let parts = json!([
        {"text": "Two and two: ", "thought": true},
        {"text": "four.", "thought": true, "thoughtSignature": "VGhvdWdodA=="},
        {"text": "Four."},
        {"text": "", "thoughtSignature": "RW5k"}]);
    assert_eq!(whole["candidates"][0]["content"], json!({"parts": parts, "role": "model"}));
    assert_eq!(whole["candidates"][0]["finishReason"], "MAX_TOKENS");
    assert_eq!((&whole["responseId"], &whole["usageMetadata"]["totalTokenCount"]), (&json!("th1nk"), &json!(33)));

    let two = assembled(&given("stream_to_openai/candidates.in.sse"), false);
    assert_eq!(two["candidates"][0]["content"]["parts"], json!([{"text": "Größe: quoted text"}]));
    assert_eq!(two["candidates"][1]["finishReason"], "SAFETY");

    let begun = given("stream_to_openai/text.in.sse");
    let cut = assembled(&begun[..begun.rfind("data: ").unwrap()], true);
    assert_eq!(cut["candidates"][0]["finishReason"], "MAX_TOKENS");
    assert_eq!(cut["candidates"][0]["content"]["parts"], json!([{"text": "Hello – \"wörld\"\n"}]));
    assert_eq!(assembled("", true)["candidates"][0]["finishReason"], "MAX_TOKENS");
}

#[test]
fn a_gathered_stream_is_told_like_a_whole_answer() {
    let (ask, streamed) =
        (openai(r#"{"model":"m","messages":[]}"#), openai(r#"{"model":"m","messages":[],"stream":true}"#));
    for name in STREAMS {
        let stream = given(&format!("stream_to_openai/{name}.in.sse"));
        let mut gather = crate::gather::gather(&GeminiDialect, &ask, &streamed, SSE).unwrap();
        let answer = tell(&mut *gather, &[stream.as_bytes()], None);
        assert_eq!((answer.error, answer.frames.as_str()), (None, ""));
        let completion: Value = serde_json::from_str(&answer.closing).unwrap();
        assert!(completion["choices"][0]["finish_reason"].is_string(), "{name}");
        check_file(&format!("stream_to_openai/{name}.whole.json"), &answer.closing);

        let mut gather = crate::gather::gather(&GeminiDialect, &gemini(ASK, false), &gemini(ASK, true), SSE).unwrap();
        let own = tell(&mut *gather, &[stream.as_bytes()], None);
        assert_eq!((own.error, own.usages.last()), (None, answer.usages.last()));
        let mut whole = GeminiDialect.decoder(&ask, "application/json");
        assert_eq!(tell(&mut *whole, &[own.closing.as_bytes()], None).closing, answer.closing, "{name}");
    }
}
