use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::dialect::Dialect;
use crate::error::Class;
use crate::gather::gather;
use crate::openai::OpenAiDialect;

const ASK: &str = "{\"model\":\"m\",\"input\":\"hi\",\"stream\":true,\n\"tools\":[ {\"type\":\"function\",\"name\":\"f\",\"parameters\":{\"type\":\"object\",\n\"minimum\":1.0},\"strict\":false}],\"temperature\":0.50}";
const ASK_WHOLE: &str = r#"{"model":"m","input":"hi"}"#;
const SSE: &str = "text/event-stream";
const STREAMS: [&str; 4] = ["text", "tools", "thinking", "refusal"];
const NATIVE: [&str; 2] = ["text", "tools"];

fn told(body: &str, request: &str, cost: Option<&str>) -> Told {
    tell(&mut *OpenAiDialect.decoder(&responses(request), SSE), &[body.as_bytes()], cost)
}

#[test]
fn chunks_are_told_as_events_in_their_order() {
    for name in STREAMS {
        let answer = told(&given(&format!("stream/{name}.in.sse")), ASK, Some("0.0012"));
        assert_eq!(answer.error, None);
        let stream = answer.frames + &answer.closing;
        check_file(&format!("stream/{name}.out.sse"), &stream);
        let numbers: Vec<u64> = events(&stream).iter().map(|it| it["sequence_number"].as_u64().unwrap()).collect();
        assert_eq!(numbers, (0..numbers.len() as u64).collect::<Vec<_>>(), "{name}");
    }
}

/// What a client that only listens to pieces would have put together is what the last event says.
#[test]
fn the_last_event_tells_everything_again() {
    for (name, folder) in STREAMS.map(|it| (it, "stream")).into_iter().chain(NATIVE.map(|it| (it, "native"))) {
        let answer = told(&given(&format!("{folder}/{name}.in.sse")), ASK, None);
        let all = events(&(answer.frames + &answer.closing));
        let mut track = super::super::Track::default();
        let last = all.last().unwrap();
        for event in &all[..all.len() - 1] {
            let data = event.to_string();
            track.event(&crate::sse::SseEvent { event: String::new(), data });
        }
        let put_together: Value = serde_json::from_str(&track.body(true)).unwrap();
        assert_eq!(put_together["output"], last["response"]["output"], "{folder}/{name}");
    }
}

#[test]
fn a_whole_completion_is_told_as_a_response() {
    for name in ["everything", "filtered"] {
        let answer = told(&given(&format!("whole/{name}.in.json")), ASK_WHOLE, None);
        assert_eq!((answer.error, answer.frames.as_str()), (None, ""));
        check_file(&format!("whole/{name}.out.json"), &answer.closing);
    }
}

#[test]
fn what_is_told_whole_is_what_is_told_in_pieces() {
    for name in STREAMS {
        let stream = given(&format!("stream/{name}.in.sse"));
        let in_pieces = events(&told(&stream, &ASK.replace(",\n\"tools\"", ", \"tools\""), None).closing);
        let (request, streamed) = (responses(ASK_WHOLE), responses(ASK));
        let mut gathered = gather(&OpenAiDialect, &request, &streamed, SSE).unwrap();
        let whole = tell(&mut *gathered, &[stream.as_bytes()], None);
        assert_eq!(whole.error, None, "{name}");
        let whole: Value = serde_json::from_str(&whole.closing).unwrap();
        let last = &in_pieces.last().unwrap()["response"];
        for member in ["id", "status", "incomplete_details", "output", "usage", "model"] {
            assert_eq!(whole[member], last[member], "{name}: {member}");
        }
    }
}

#[test]
fn thinking_that_was_told_comes_back_as_it_was_signed() {
    let answer = told(&given("whole/everything.in.json"), ASK_WHOLE, None);
    let response: Value = serde_json::from_str(&answer.closing).unwrap();
    let next = json!({"model": "m", "input": response["output"]}).to_string();
    let chat: Value = serde_json::from_slice(&super::super::to_openai(&responses(&next)).unwrap()).unwrap();
    let sent: Value = serde_json::from_str(&given("whole/everything.in.json")).unwrap();
    let (back, first) = (&chat["messages"][0], &sent["choices"][0]["message"]);
    for member in ["content", "reasoning_content", "thinking_blocks"] {
        assert_eq!(back[member], first[member], "{member}");
    }
    assert_eq!(back["tool_calls"][0], first["tool_calls"][0]);
}

#[test]
fn a_servers_own_events_pass_byte_for_byte() {
    for name in NATIVE {
        let stream = given(&format!("native/{name}.in.sse"));
        let answer = told(&stream, ASK, None);
        assert_eq!(answer.error, None);
        assert_eq!(answer.frames + &answer.closing, stream, "{name}");
    }
}

#[test]
fn a_servers_own_stream_is_counted_and_its_last_event_has_the_cost() {
    let answer = told(&given("native/text.in.sse"), ASK, Some("0.0012"));
    assert_eq!((answer.text.as_str(), answer.reason.as_deref(), answer.before), ("Grüß dich", Some("stop"), 6));
    let usage = Usage { input: 8, cached_input: 4, output: 40, reasoning: 32, ..Usage::default() };
    assert_eq!(answer.usages, [usage]);
    assert!(
        answer.closing.contains(r#""total_tokens":52,"alfred_cost_usd":"0.0012"},"user":null"#),
        "{}",
        answer.closing
    );
    let answer = told(&given("native/tools.in.sse"), ASK, None);
    assert_eq!(answer.text, "Call.weather{\"city\":\"Oslo\"}");
    assert_eq!(answer.reason.as_deref(), Some("length"));
}

#[test]
fn a_servers_own_stream_is_gathered_as_its_last_event_tells() {
    for name in NATIVE {
        let stream = given(&format!("native/{name}.in.sse"));
        let (request, streamed) = (responses(ASK_WHOLE), responses(ASK));
        let mut gathered = gather(&OpenAiDialect, &request, &streamed, SSE).unwrap();
        let whole = tell(&mut *gathered, &[stream.as_bytes()], None);
        let body: Value = serde_json::from_str(&whole.closing).unwrap();
        assert_eq!(body, events(&stream).last().unwrap()["response"], "{name}");
        let again = told(&whole.closing, ASK_WHOLE, None);
        assert_eq!((again.error, again.closing, again.text), (None, whole.closing, whole.text), "{name}");
    }
}

#[test]
fn a_body_in_the_place_of_a_stream_is_told_as_one() {
    let last = events(&given("native/text.in.sse")).pop().unwrap()["response"].clone();
    let pretty = serde_json::to_string_pretty(&last).unwrap();
    let answer = told(&pretty, ASK, None);
    assert_eq!((answer.error.clone(), answer.text.as_str()), (None, "Grüß dich"));
    let all = events(&(answer.frames + &answer.closing));
    assert_eq!(all.first().unwrap()["type"], "response.created");
    assert_eq!(all.last().unwrap()["response"], last);

    let chat = told(&given("whole/everything.in.json"), ASK, None);
    assert_eq!(chat.error, None);
    assert_eq!(events(&(chat.frames + &chat.closing)).last().unwrap()["type"], "response.completed");
}

#[test]
fn what_fails_within_an_answer_is_sorted_and_what_it_took_is_billed() {
    let head =
        "event: response.created\ndata: {\"type\":\"response.created\",\"sequence_number\":0,\"response\":{}}\n\n";
    let failed = format!(
        "{head}event: response.failed\ndata: {{\"type\":\"response.failed\",\"response\":{{\"status\":\"failed\",\"error\":{{\"code\":\"rate_limit_exceeded\",\"message\":\"canary\"}},\"usage\":{{\"input_tokens\":5,\"output_tokens\":2}}}}}}\n\n"
    );
    let answer = told(&failed, ASK, None);
    let error = answer.error.unwrap();
    assert_eq!((error.class, answer.usages.len()), (Class::RateLimited, 1));
    assert!(!error.message.contains("canary"));
    for (stream, class) in [
        (
            format!("{head}event: error\ndata: {{\"type\":\"error\",\"code\":\"server_error\",\"message\":\"x\"}}\n\n"),
            Class::Server,
        ),
        (
            "event: error\ndata: {\"type\":\"error\",\"error\":{\"code\":\"server_error\",\"message\":\"x\"}}\n\n"
                .to_owned(),
            Class::Server,
        ),
        (head.to_owned(), Class::Broken),
        (format!("{head}data: [DONE]\n\n"), Class::Broken),
        (String::new(), Class::Broken),
        (": awake\n\n".to_owned(), Class::Broken),
        (format!("{head}data: nothing\n\n"), Class::Broken),
        (
            r#"{"object":"response","status":"failed","error":{"code":"server_error","message":"x"}}"#.to_owned(),
            Class::Server,
        ),
        (r#"{"object":"response","status":"queued"}"#.to_owned(), Class::Broken),
        (r#"{"error":{"message":"x","code":"server_error"}}"#.to_owned(), Class::Server),
    ] {
        assert_eq!(told(&stream, ASK, None).error.map(|it| it.class), Some(class), "{stream}");
    }
    assert_eq!(told(head, ASK_WHOLE, None).error.map(|it| it.class), Some(Class::Broken), "a stream nobody asked for");
}

#[test]
fn usage_that_the_server_does_not_tell_is_counted() {
    let stream =
        given("native/text.in.sse").replace("\"usage\":{\"input_tokens\":12", "\"spent\":{\"input_tokens\":12");
    let mut decoder = OpenAiDialect.decoder(&responses(ASK), SSE);
    let mut out = Vec::new();
    decoder.feed(stream.as_bytes(), &mut out).unwrap();
    let end = out.into_iter().find_map(|it| if let AnswerEvent::End(end) = it { Some(end) } else { None }).unwrap();
    let counted = Usage { input: 3, output: 2, ..Usage::default() };
    let closing = String::from_utf8(end.closing(Some("0.01"), Some(&counted)).to_vec()).unwrap();
    let usage = &events(&closing)[0]["response"]["usage"];
    assert_eq!((&usage["total_tokens"], &usage["alfred_cost_usd"]), (&json!(5), &json!("0.01")));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_split_tells_the_same(cuts in prop::collection::vec(0usize..6_000, 0..12)) {
        for (name, folder) in STREAMS.map(|it| (it, "stream")).into_iter().chain(NATIVE.map(|it| (it, "native"))) {
            let stream = given(&format!("{folder}/{name}.in.sse"));
            let bytes = stream.as_bytes();
            let mut cuts: Vec<usize> = cuts.iter().map(|at| at % bytes.len()).collect();
            cuts.sort_unstable();
            let (mut pieces, mut at) = (Vec::new(), 0);
            for cut in cuts {
                pieces.push(&bytes[at..cut]);
                at = cut;
            }
            pieces.push(&bytes[at..]);
            let split = tell(&mut *OpenAiDialect.decoder(&responses(ASK), SSE), &pieces, Some("1"));
            prop_assert_eq!(split, told(&stream, ASK, Some("1")), "{}/{}", folder, name);
        }
    }

    #[test]
    fn nothing_that_comes_makes_a_reader_panic(
        events in prop::collection::vec(
            ("(response\\.[a-z_.]{0,30}|error|)", r#"[\[\]{}",:a-z0-9\\ ]{0,80}"#, any::<u8>()), 0..12),
        asks_stream in any::<bool>(),
    ) {
        let mut stream = String::new();
        let kinds = ["response.output_item.added", "response.content_part.added", "response.output_text.delta",
            "response.function_call_arguments.delta", "response.output_item.done", "response.completed"];
        for (event, data, choice) in &events {
            match kinds.get(usize::from(choice % 12)) {
                Some(kind) => stream.push_str(&format!("event: {kind}\ndata: {{\"type\":\"{kind}\",\"output_index\":{},\"content_index\":{choice},\"delta\":\"x\",\"item\":{{\"content\":7}},\"part\":[],\"response\":{{\"output\":[1]}}}}\n\n", choice % 3)),
                None => stream.push_str(&format!("event: {event}\ndata: {data}\n\n")),
            }
        }
        let request = responses(if asks_stream { ASK } else { ASK_WHOLE });
        let _ = tell(&mut *OpenAiDialect.decoder(&request, SSE), &[stream.as_bytes()], Some("1"));
        let mut gathered = gather(&OpenAiDialect, &responses(ASK_WHOLE), &responses(ASK), SSE).unwrap();
        let mut out = Vec::new();
        let _ = gathered.feed(stream.as_bytes(), &mut out);
        let _ = gathered.cut("{}").map(|end| end.closing(None, None));
    }

    #[test]
    fn no_body_makes_the_reader_or_the_translation_panic(body in r#"\{"model":"m","input":[\[\]{}",:a-z0-9 \\]{0,120}\}"#) {
        if let Ok(request) = ModelRequest::parse(Shape::Responses, Bytes::from(body)) {
            let _ = super::super::to_openai(&request);
        }
    }
}
