use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::anthropic::AnthropicDialect;
use crate::dialect::{Decoder, Dialect, Finish};
use crate::error::ProviderError;
use crate::openai::OpenAiDialect;
use crate::request::{AnswerEvent, Usage};
use crate::sse::{SseEvent, SseReader};

const ASK: &str = r#"{"contents":[]}"#;
const ASK_THOUGHTS: &str = r#"{"contents":[],"generation_config":{"thinking_config":{"include_thoughts":true}}}"#;
const STREAMS: [&str; 2] = ["text", "tools"];

#[derive(Debug, Default, PartialEq)]
struct Told {
    frames: String,
    text: String,
    closing: String,
    reason: Option<String>,
    error: Option<ProviderError>,
}

fn tell(mut decoder: Box<dyn Decoder>, pieces: &[&[u8]], cost: Option<&str>) -> Told {
    let (mut told, mut events) = (Told::default(), Vec::new());
    let fed = pieces.iter().try_for_each(|piece| decoder.feed(piece, &mut events));
    told.error = fed.and_then(|()| decoder.finish(&mut events)).err();
    for event in events {
        match event {
            AnswerEvent::Delta(delta) => {
                told.frames.push_str(std::str::from_utf8(&delta.frame).unwrap());
                delta.texts.iter().for_each(|(_, text)| told.text.push_str(text));
            }
            AnswerEvent::Usage(_) => {}
            AnswerEvent::End(end) => {
                told.reason = end.finish_reason().map(str::to_owned);
                told.closing = String::from_utf8(end.closing(cost, None).to_vec()).unwrap();
            }
        }
    }
    told
}

fn streamed(ask: &str, stream: &str, cost: Option<&str>) -> Told {
    let decoder = OpenAiDialect.decoder(&parse(ask, true).unwrap(), "text/event-stream");
    tell(decoder, &[stream.as_bytes()], cost)
}

fn whole(ask: &str, body: &str) -> Told {
    tell(OpenAiDialect.decoder(&gemini(ask), "application/json"), &[body.as_bytes()], Some("0.1"))
}

fn events(text: &str) -> Vec<Value> {
    let (mut reader, mut events) = (SseReader::default(), Vec::<SseEvent>::new());
    reader.feed(text.as_bytes(), &mut events).unwrap();
    events.iter().map(|event| serde_json::from_str(&event.data).unwrap()).collect()
}

#[test]
fn chunks_are_told_as_geminis_events() {
    for (name, ask) in [("text", ASK), ("tools", ASK_THOUGHTS)] {
        let told = streamed(ask, &given(&format!("stream/{name}.in.sse")), Some("0.0012"));
        assert_eq!(told.error, None);
        check_file(&format!("stream/{name}.out.sse"), &(told.frames + &told.closing));
    }
}

#[test]
fn a_whole_completion_is_told_as_a_response() {
    for (name, ask) in [("everything", ASK_THOUGHTS), ("filtered", ASK)] {
        let told = whole(ask, &given(&format!("whole/{name}.in.json")));
        assert_eq!((told.error, told.frames.as_str()), (None, ""));
        check_file(&format!("whole/{name}.out.json"), &told.closing);
        let calls = told.closing.matches("functionCall").count();
        assert_eq!(calls, if name == "everything" { 2 } else { 0 });
    }
    assert!(
        whole(ASK, &given("whole/everything.in.json")).closing.contains("123456789012345678901"),
        "as it was written"
    );
}

#[test]
fn thoughts_are_shown_to_who_asked_for_them() {
    let shown = |ask: &str| streamed(ask, &given("stream/tools.in.sse"), None).frames.contains("\"thought\":true");
    assert!(shown(ASK_THOUGHTS));
    assert!(!shown(ASK) && !shown(&ASK_THOUGHTS.replace("true", "false")));
}

#[test]
fn a_call_whose_arguments_are_no_object_fails_the_answer() {
    for arguments in ["{\\\"a\\\":", "[]", "5"] {
        let call = format!(r#"{{"index":0,"id":"a","function":{{"name":"f","arguments":"{arguments}"}}}}"#);
        let chunk = format!(
            r#"{{"id":"c","choices":[{{"index":0,"delta":{{"tool_calls":[{call}]}},"finish_reason":"tool_calls"}}]}}"#
        );
        let told = streamed(ASK, &format!("data: {chunk}\n\ndata: [DONE]\n\n"), None);
        assert!(told.error.is_some() && told.closing.is_empty(), "{arguments}: {told:?}");
    }
}

#[test]
fn an_answer_that_says_nothing_still_ends_as_one() {
    let outlet: Box<dyn crate::dialect::Outlet> = outlet(&gemini(ASK));
    let end = outlet.end(Finish::default());
    let usage = Usage { input: 3, output: 2, ..Usage::default() };
    let closing = end.closing(Some("0.1"), Some(&usage));
    let expected = json!({"candidates": [{"content": {"parts": [{"text": ""}], "role": "model"}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 3, "candidatesTokenCount": 2, "totalTokenCount": 5, "alfred_cost_usd": "0.1"}});
    assert_eq!(events(std::str::from_utf8(&closing).unwrap()), [expected]);
}

#[test]
fn signed_thoughts_of_another_provider_make_the_round_trip() {
    let stream = std::fs::read_to_string("src/anthropic/testdata/stream_to_openai/thinking.in.sse").unwrap();
    let tool = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":9,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"f\",\"input\":{}}}\n\nevent: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":9}\n\n";
    let at = stream.find("event: message_delta").unwrap();
    let stream = format!("{}{tool}{}", &stream[..at], &stream[at..]);
    let back = |ask: &str| {
        let decoder = AnthropicDialect.decoder(&parse(ask, true).unwrap(), "text/event-stream");
        let told = tell(decoder, &[stream.as_bytes()], None);
        // Each event is a turn of its own in the history that Google's clients keep.
        let turns: Vec<Value> = events(&told.frames).iter().map(|it| it["candidates"][0]["content"].clone()).collect();
        hub(&json!({"contents": turns}).to_string()).unwrap()["messages"][0].clone()
    };
    let told = back(ASK_THOUGHTS);
    let blocks = told["thinking_blocks"].as_array().unwrap();
    assert_eq!(blocks[0]["thinking"], told["reasoning_content"], "{told}");
    assert!(blocks[0]["signature"].as_str().is_some_and(|it| !it.is_empty()), "{told}");
    assert_eq!(told["tool_calls"][0]["id"], "toolu_1");
    assert!(back(ASK).get("thinking_blocks").is_none(), "who wants no thoughts keeps none");
}

#[test]
fn a_stream_that_is_cut_ends_its_candidates_for_their_length() {
    let two = r#"{"contents":[],"generationConfig":{"candidateCount":2}}"#;
    let frame = |candidates: Value| {
        Bytes::from(format!("data: {}\n\n", json!({"candidates": candidates, "modelVersion": "m", "responseId": "r"})))
    };
    for (ask, frames, open) in [
        (ASK, vec![], vec![0]),
        (ASK, vec![json!([{"index": 0}])], vec![0]),
        (two, vec![json!([{"index": 0}, {"index": 1, "finishReason": "STOP"}])], vec![0]),
        (two, vec![json!([{"index": 0}]), json!([{"index": 1}])], vec![0, 1]),
    ] {
        let mut told = crate::told::Told::of(&parse(ask, true).unwrap());
        frames.into_iter().for_each(|candidates| told.heard(&frame(candidates)));
        let end = told.cut(&frame(json!([])), r#"{"note":"n"}"#);
        let usage = Usage { input: 3, output: 7, ..Usage::default() };
        let closing = end.closing(Some("0.01"), Some(&usage));
        let event = events(std::str::from_utf8(&closing).unwrap()).remove(0);
        let ended: Vec<u64> =
            event["candidates"].as_array().unwrap().iter().map(|it| it["index"].as_u64().unwrap()).collect();
        assert_eq!(ended, open);
        assert_eq!(event["candidates"][0]["finishReason"], "MAX_TOKENS");
        assert_eq!(
            (&event["alfred"]["note"], &event["responseId"], &event["modelVersion"]),
            (&json!("n"), &json!("r"), &json!("m"))
        );
        assert_eq!(event["usageMetadata"]["alfred_cost_usd"], "0.01");
    }
}

proptest! {
    #[test]
    fn a_stream_is_told_the_same_however_it_is_cut(
        name in prop::sample::select(&STREAMS[..]), mut cuts in prop::collection::vec(0usize..3000, 0..12),
    ) {
        let stream = given(&format!("stream/{name}.in.sse")).into_bytes();
        cuts.retain(|cut| *cut <= stream.len());
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut at = 0;
        for cut in cuts.into_iter().chain([stream.len()]) {
            pieces.push(&stream[at..cut]);
            at = cut;
        }
        let decoder = || OpenAiDialect.decoder(&parse(ASK_THOUGHTS, true).unwrap(), "text/event-stream");
        prop_assert_eq!(tell(decoder(), &pieces, None), tell(decoder(), &[&stream], None));
    }

    #[test]
    fn a_damaged_stream_is_told_or_fails_never_in_a_panic(
        name in prop::sample::select(&STREAMS[..]), at in 0usize..3000, new in "[\\[\\]{}:,\"0-9a-z ]{0,6}",
    ) {
        let mut stream = given(&format!("stream/{name}.in.sse"));
        let at = stream.floor_char_boundary(at.min(stream.len()));
        stream.insert_str(at, &new);
        let told = streamed(ASK_THOUGHTS, &stream, None);
        prop_assert!(told.error.is_some() || !told.closing.is_empty());
    }
}
