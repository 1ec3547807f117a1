use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::error::{Class, Retry};

pub(super) const ASK: &str =
    r#"{"model":"m","messages":[{"role":"user","content":"a"}],"stream":true,"stream_options":{"include_usage":true}}"#;
pub(super) const ASK_WHOLE: &str = r#"{"model":"m","messages":[{"role":"user","content":"a"}]}"#;
pub(super) const SSE: &str = "text/event-stream; charset=utf-8";
pub(super) const STREAMS: [&str; 3] = ["text", "tools", "said"];

pub(super) fn told(request: &ModelRequest, body: &str, cost: Option<&str>) -> Told {
    tell(&mut *ResponsesDialect.decoder(request, SSE), &[body.as_bytes()], cost)
}

#[test]
fn a_stream_is_told_in_chunks() {
    for name in STREAMS {
        let answer = told(&openai(ASK), &given(&format!("stream/{name}.in.sse")), Some("0.0012"));
        assert_eq!(answer.error, None);
        check_file(&format!("stream/{name}.out.sse"), &(answer.frames + &answer.closing));
    }
}

#[test]
fn a_whole_response_is_told_as_a_completion_and_as_a_stream_where_one_was_asked_for() {
    for name in ["tools", "said", "filtered"] {
        let given = given(&format!("whole/{name}.in.json"));
        let answer = told(&openai(ASK_WHOLE), &given, None);
        assert_eq!((answer.error, answer.frames.as_str()), (None, ""));
        check_file(&format!("whole/{name}.out.json"), &answer.closing);

        let streamed = told(&openai(ASK), &given, None);
        assert_eq!((streamed.error, streamed.text, streamed.usages), (None, answer.text, answer.usages));
        check_file(&format!("whole/{name}.out.sse"), &(streamed.frames + &streamed.closing));
    }
}

#[test]
fn the_text_to_count_the_reason_and_the_usage_are_read() {
    for (name, text, reason, usage) in [
        ("text", "Hello – \"wörld\"\n", "stop", Usage { input: 5, cached_input: 32, output: 12, ..Usage::default() }),
        (
            "tools",
            "**Looking up**\n\nThe weather is asked for.\n\n**Time too**Let me check.get_weather{\"location\":\"Zürich, CH\"}get_time{}apply_patch*** Begin\n+ \"x\"",
            "tool_calls",
            Usage { input: 154, cached_input: 256, output: 95, reasoning: 64, ..Usage::default() },
        ),
        (
            "said",
            "It is 4°. See here.I cannot say more.",
            "length",
            Usage { input: 30, cache_write: 20, output: 512, ..Usage::default() },
        ),
    ] {
        let answer = told(&openai(ASK), &given(&format!("stream/{name}.in.sse")), None);
        assert_eq!((answer.text.as_str(), answer.reason.as_deref()), (text, Some(reason)), "{name}");
        assert_eq!(answer.usages, [usage], "{name}");
    }
}

/// The events of a stream, one JSON text each.
fn stream(events: &[Value]) -> String {
    events.iter().map(|event| format!("data: {event}\n\n")).collect()
}

fn response(status: &str, output: Value) -> Value {
    json!({"id": "resp_1", "object": "response", "created_at": 7.5, "model": "real", "status": status, "output": output,
        "usage": {"input_tokens": 1, "output_tokens": 2}})
}

fn message(text: &str) -> Value {
    json!({"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": text, "annotations": []}]})
}

#[test]
fn servers_that_send_fewer_events_are_understood() {
    let call = json!({"type": "function_call", "id": "fc_1", "call_id": "c", "name": "f", "arguments": "{\"a\":1}"});
    let end = |output: Value| json!({"type": "response.completed", "response": response("completed", output)});
    let added = |item: &Value| json!({"type": "response.output_item.added", "output_index": 0, "item": item});
    let done = |item: &Value| json!({"type": "response.output_item.done", "output_index": 0, "item": item});
    let delta = |text: &str| json!({"type": "response.output_text.delta", "output_index": 0, "delta": text});
    let named = |text: &str| json!({"type": "response.output_text.delta", "item_id": "msg_1", "delta": text});
    let open = json!({"type": "message", "id": "msg_1", "content": []});
    let unplaced = json!({"type": "response.output_item.added", "item": open});
    let unplaced_done = json!({"type": "response.output_item.done", "item": message("ab")});
    for (name, events, text) in [
        ("only the end", vec![end(json!([message("ab"), call]))], "abf{\"a\":1}"),
        ("no deltas", vec![added(&open), done(&message("ab")), end(json!([message("ab")]))], "ab"),
        ("no announcement", vec![delta("a"), delta("b"), end(json!([message("ab")]))], "ab"),
        ("no end of the item", vec![added(&call), end(json!([call]))], "f{\"a\":1}"),
        ("no places", vec![unplaced, named("ab"), unplaced_done, end(json!([message("ab")]))], "ab"),
        ("empty output at the end", vec![added(&open), delta("ab"), end(json!([]))], "ab"),
        (
            "a tool of the provider's",
            vec![added(&json!({"type": "web_search_call", "action": 3})), delta("ab"), end(json!([]))],
            "ab",
        ),
        ("said twice", vec![added(&call), added(&call), done(&call), end(json!([call]))], "f{\"a\":1}"),
        (
            "unknown events",
            vec![
                json!({"type": "response.audio.delta", "delta": {"x": 1}}),
                json!({"type": "keepalive"}),
                end(json!([message("ab")])),
            ],
            "ab",
        ),
    ] {
        let answer = told(&openai(ASK), &stream(&events), None);
        assert_eq!((answer.error, answer.text.as_str()), (None, text), "{name}");
        let ended = told(&openai(ASK), &(stream(&events) + "data: [DONE]\n\n"), None);
        assert_eq!(ended.error, None, "a terminator is forgiven");
    }
}

#[test]
fn an_answer_that_fails_midway_says_how() {
    let whole = given("stream/text.in.sse");
    let start = &whole[..whole.find("event: response.output_text.done").unwrap()];
    let failed = |code: &str| {
        let mut response = response("failed", json!([]));
        response["error"] = json!({"code": code, "message": "SECRET"});
        stream(&[json!({"type": "response.failed", "response": response})])
    };
    let (elsewhere, never) = (Retry::Elsewhere, Retry::Never);
    for (tail, class, retry) in [
        (failed("server_error"), Class::Server, elsewhere),
        (failed("rate_limit_exceeded"), Class::RateLimited, elsewhere),
        (failed("invalid_prompt"), Class::Rejected, never),
        (stream(&[json!({"type": "error", "code": "server_error", "message": "SECRET"})]), Class::Server, elsewhere),
        (
            stream(&[
                json!({"type": "error", "error": {"type": "requests", "code": "rate_limit_exceeded", "message": "SECRET"}}),
            ]),
            Class::RateLimited,
            elsewhere,
        ),
        (String::new(), Class::Broken, elsewhere),
        ("data: {\"type\":\n\n".to_owned(), Class::Broken, elsewhere),
        (stream(&[json!({"type": "response.output_text.delta", "delta": 3})]), Class::Broken, elsewhere),
        ("data: [DONE]\n\n".to_owned(), Class::Broken, elsewhere),
    ] {
        let answer = told(&openai(ASK), &format!("{start}{tail}"), None);
        let error = answer.error.unwrap();
        assert_eq!((error.class, error.retry), (class, retry), "{tail}");
        assert_eq!((answer.closing.as_str(), answer.text.as_str()), ("", "Hello – \"wörld\"\n"));
        assert!(!error.message.contains("SECRET"));
        // What a failed response was billed is known all the same.
        assert_eq!(answer.usages.len(), usize::from(tail.contains("response.failed")), "{tail}");
    }
}

#[test]
fn a_body_that_is_no_finished_response_is_broken_or_a_failure() {
    let queued = response("queued", json!([])).to_string();
    for body in ["", " ", "{}", "[]", "<html>", r#"{"object":"response","output":3}"#, &queued] {
        let answer = told(&openai(ASK_WHOLE), body, None);
        assert_eq!(answer.error.map(|error| error.class), Some(Class::Broken), "{body}");
    }
    let mut failed = response("failed", json!([]));
    assert_eq!(told(&openai(ASK_WHOLE), &failed.to_string(), None).error.map(|it| it.class), Some(Class::Server));
    failed["error"] = json!({"code": "invalid_prompt", "message": "SECRET"});
    let answer = told(&openai(ASK_WHOLE), &failed.to_string(), None);
    assert_eq!((answer.error.map(|it| it.class), answer.usages.len()), (Some(Class::Rejected), 1));
}

proptest! {
    #[test]
    fn every_split_of_the_bytes_gives_the_same_answer(
        name in prop::sample::select(&STREAMS[..]), mut cuts in prop::collection::vec(0usize..12_000, 0..12),
    ) {
        let stream = given(&format!("stream/{name}.in.sse"));
        let bytes = stream.as_bytes();
        cuts.retain(|cut| *cut < bytes.len());
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        for request in [openai(ASK), anthropic(super::callers::ASK_ANTHROPIC)] {
            let split = tell(&mut *ResponsesDialect.decoder(&request, SSE), &pieces, Some("1"));
            prop_assert_eq!(split, told(&request, &stream, Some("1")));
        }
    }

    #[test]
    fn a_damaged_stream_ends_in_an_error_or_an_end_never_in_a_panic(
        name in prop::sample::select(&STREAMS[..]), at in 0usize..9_000, gone in 0usize..40, new in "[\\PC\n]{0,8}",
    ) {
        let mut bytes = given(&format!("stream/{name}.in.sse")).into_bytes();
        let at = at.min(bytes.len());
        let end = (at + gone).min(bytes.len());
        bytes.splice(at..end, new.bytes());
        for request in [openai(ASK), anthropic(super::callers::ASK_ANTHROPIC)] {
            let (mut decoder, mut events) = (ResponsesDialect.decoder(&request, SSE), Vec::new());
            let fed = decoder.feed(&bytes, &mut events).and_then(|()| decoder.finish(&mut events));
            let ended = events.iter().filter(|event| matches!(event, AnswerEvent::End(_))).count();
            prop_assert!(ended <= 1 && (fed.is_err() || ended == 1));
        }
    }
}
