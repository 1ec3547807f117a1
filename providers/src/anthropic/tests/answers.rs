use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::dialect::Finish;
use crate::error::{Class, Retry};
use crate::openai::OpenAiDialect;
use crate::request::Usage;

const ASK: &str = r#"{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}"#;
const ASK_WHOLE: &str = r#"{"model":"m","messages":[]}"#;
const ASK_ANTHROPIC: &str = r#"{"model":"m","max_tokens":9,"messages":[],"stream":true}"#;
const ASK_ANTHROPIC_WHOLE: &str = r#"{"model":"m","max_tokens":9,"messages":[]}"#;
const ASK_THINKING: &str = r#"{"model":"m","max_tokens":9,"messages":[],"stream":true,"thinking":{"type":"adaptive"}}"#;
const SSE: &str = "text/event-stream; charset=utf-8";
const STREAMS: [&str; 3] = ["text", "tools", "thinking"];

fn told(request: &ModelRequest, content_type: &str, body: &str, cost: Option<&str>) -> Told {
    tell(&mut *AnthropicDialect.decoder(request, content_type), &[body.as_bytes()], cost)
}

#[test]
fn an_anthropic_stream_is_told_in_openais_chunks() {
    for name in STREAMS {
        let answer = told(&openai(ASK), SSE, &given(&format!("stream_to_openai/{name}.in.sse")), Some("0.0012"));
        assert_eq!(answer.error, None);
        check_file(&format!("stream_to_openai/{name}.out.sse"), &(answer.frames + &answer.closing));
    }
}

#[test]
fn the_text_to_count_holds_all_that_was_said() {
    fn check(name: &str, expected: &str, reason: &str) {
        let stream = given(&format!("stream_to_openai/{name}.in.sse"));
        for request in [openai(ASK), anthropic(ASK_ANTHROPIC)] {
            let answer = told(&request, SSE, &stream, None);
            // Only the translation writes out `{}` for a call without arguments.
            assert_eq!(answer.text.replace("{}", ""), expected);
            assert_eq!(answer.reason.as_deref(), Some(reason));
        }
    }
    check("text", "Hello – \"wörld\"\n", "stop");
    check("tools", "Let me check.get_weather{\"location\": \"San Francisco, CA\"}get_time", "tool_calls");
    check("thinking", "Let me think.Four.", "length");
}

#[test]
fn usage_comes_at_the_start_and_grows() {
    let stream = given("stream_to_openai/text.in.sse");
    let start = Usage { input: 25, cached_input: 100, cache_write: 10, output: 1, ..Usage::default() };
    for request in [openai(ASK), anthropic(ASK_ANTHROPIC)] {
        let answer = told(&request, SSE, &stream, None);
        assert_eq!(answer.usages, [start, Usage { output: 15, ..start }]);
    }
}

#[test]
fn anthropics_own_caller_gets_every_byte() {
    for name in STREAMS {
        let stream = given(&format!("stream_to_openai/{name}.in.sse"));
        let answer = told(&anthropic(ASK_ANTHROPIC), SSE, &stream, None);
        assert_eq!(answer.frames + &answer.closing, stream);
    }
}

#[test]
fn anthropics_own_caller_finds_the_cost_in_the_last_usage() {
    let answer = told(&anthropic(ASK_ANTHROPIC), SSE, &given("stream_to_openai/text.in.sse"), Some("0.0012"));
    let expected = r#"event: message_delta
data: {"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":15,"alfred_cost_usd":"0.0012"}}

event: message_stop
data: {"type":"message_stop"}

"#;
    assert_eq!(answer.closing, expected);
}

#[test]
fn a_whole_message_is_told_as_a_completion() {
    for name in ["everything", "refusal"] {
        let given = given(&format!("whole_to_openai/{name}.in.json"));
        let answer = told(&openai(ASK_WHOLE), "application/json", &given, None);
        assert_eq!((answer.error, answer.frames.as_str()), (None, ""));
        check_file(&format!("whole_to_openai/{name}.out.json"), &answer.closing);

        let own = told(&anthropic(ASK_ANTHROPIC_WHOLE), "application/json", &given, Some("1"));
        assert_eq!(own.closing, given);
    }
}

#[test]
fn a_caller_who_asked_for_a_stream_gets_one_from_a_whole_message() {
    let answer = told(&openai(ASK), "application/json", &given("whole_to_openai/everything.in.json"), None);
    check_file("whole_to_openai/everything.out.sse", &(answer.frames + &answer.closing));

    let own = told(&anthropic(ASK_ANTHROPIC), "", &given("whole_to_openai/everything.in.json"), None);
    assert_eq!((own.error, own.text), (None, answer.text));
    assert!(own.frames.starts_with("event: message_start") && own.closing.contains("\"tool_use\""));
}

#[test]
fn openais_chunks_are_told_as_anthropics_events() {
    for (name, ask) in [("text", ASK_ANTHROPIC), ("tools", ASK_ANTHROPIC), ("reasoning", ASK_THINKING)] {
        let written = written(ask, &given(&format!("stream_to_anthropic/{name}.in.sse")));
        check_file(&format!("stream_to_anthropic/{name}.out.sse"), &written);
    }
}

#[test]
fn foreign_reasoning_is_shown_only_to_who_asked_for_thinking() {
    let stream = given("stream_to_anthropic/reasoning.in.sse");
    assert!(written(ASK_THINKING, &stream).contains("thinking_delta"));
    assert!(!written(ASK_ANTHROPIC, &stream).contains("thinking"));
    assert!(!written(&ASK_THINKING.replace("adaptive", "disabled"), &stream).contains("thinking"));
}

#[test]
fn a_whole_completion_is_told_as_a_message() {
    for name in ["everything", "filtered"] {
        let given = given(&format!("whole_to_anthropic/{name}.in.json"));
        let mut decoder = OpenAiDialect.decoder(&anthropic(ASK_ANTHROPIC_WHOLE), "application/json");
        let answer = tell(&mut *decoder, &[given.as_bytes()], Some("0.0012"));
        assert_eq!((answer.error, answer.frames.as_str()), (None, ""));
        check_file(&format!("whole_to_anthropic/{name}.out.json"), &answer.closing);
    }
}

#[test]
fn a_message_that_was_never_begun_is_begun_and_ended() {
    let counted = Usage { input: 3, output: 4, ..Usage::default() };
    let end = outlet(&anthropic(ASK_ANTHROPIC)).end(Finish::default());
    let closing = String::from_utf8(end.closing(None, Some(&counted)).to_vec()).unwrap();
    let events: Vec<_> = closing.lines().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(events, ["message_start", "message_delta", "message_stop"]);
    assert!(closing.contains(r#""input_tokens":3"#) && closing.contains(r#""output_tokens":4"#));
}

#[test]
fn an_answer_that_fails_midway_says_how() {
    fn check(tail: &str, class: Class, retry: Retry) {
        let start = given("stream_to_openai/text.in.sse");
        let cut = start.find("event: content_block_stop").unwrap();
        let stream = format!("{}{tail}", &start[..cut]);
        for request in [openai(ASK), anthropic(ASK_ANTHROPIC)] {
            let answer = told(&request, SSE, &stream, None);
            let error = answer.error.unwrap();
            assert_eq!((error.class, error.retry), (class, retry), "{tail}");
            assert_eq!((answer.closing.as_str(), answer.text.as_str()), ("", "Hello – \"wörld\"\n"));
            assert!(!error.message.contains("Overloaded"));
        }
    }
    let error = |kind: &str| {
        format!(
            "event: error\ndata: {}\n\n",
            json!({"type": "error", "error": {"type": kind, "message": "Overloaded"}})
        )
    };
    check(&error("overloaded_error"), Class::Server, Retry::Elsewhere);
    check(&error("api_error"), Class::Server, Retry::Elsewhere);
    check(&error("rate_limit_error"), Class::RateLimited, Retry::Elsewhere);
    check(&error("invalid_request_error"), Class::Rejected, Retry::Never);
    check("", Class::Broken, Retry::Elsewhere);
    check("event: content_block_delta\ndata: {\"type\":\n\n", Class::Broken, Retry::Elsewhere);
}

#[test]
fn a_body_that_is_no_message_is_broken() {
    for body in ["", " ", "{}", "[]", "<html>", "event: ping\ndata: {}\n\n", r#"{"type":"message","content":3}"#] {
        let answer = told(&openai(ASK_WHOLE), "application/json", body, None);
        assert_eq!(answer.error.map(|error| error.class), Some(Class::Broken), "{body}");
    }
}

#[test]
fn the_first_byte_tells_what_an_answer_is() {
    let stream = given("stream_to_openai/text.in.sse");
    let answer = told(&openai(ASK), "application/json", &format!("\n\n{stream}"), None);
    assert_eq!(answer.text, "Hello – \"wörld\"\n");
    let whole = given("whole_to_openai/refusal.in.json");
    assert_eq!(told(&openai(ASK_WHOLE), SSE, &whole, None).reason.as_deref(), Some("content_filter"));
    let error = r#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    assert_eq!(told(&openai(ASK_WHOLE), "", error, None).error.map(|error| error.class), Some(Class::Server));
}

#[test]
fn tool_calls_come_back_as_they_were_said() {
    let chunks = told(&openai(ASK), SSE, &given("stream_to_openai/tools.in.sse"), None);
    let back = written(ASK_ANTHROPIC, &(chunks.frames + &chunks.closing));
    let again = told(&openai(ASK), SSE, &back, None);
    for part in ["toolu_01T1x1fJ34qAmk2tNTrN7Up6", "toolu_02", "get_weather", "get_time"] {
        assert_eq!(again.frames.matches(part).count(), 1, "{part}");
    }
    assert_eq!(again.text, "Let me check.get_weather{\"location\": \"San Francisco, CA\"}get_time{}");
    assert_eq!(again.usages.last(), Some(&Usage { input: 472, output: 89, ..Usage::default() }));
}

proptest! {
    #[test]
    fn every_split_of_the_bytes_gives_the_same_answer(
        name in prop::sample::select(&STREAMS[..]), mut cuts in prop::collection::vec(0usize..4000, 0..12),
    ) {
        let stream = given(&format!("stream_to_openai/{name}.in.sse"));
        let bytes = stream.as_bytes();
        cuts.retain(|cut| *cut < bytes.len());
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        for request in [openai(ASK), anthropic(ASK_ANTHROPIC)] {
            let split = tell(&mut *AnthropicDialect.decoder(&request, SSE), &pieces, Some("1"));
            prop_assert_eq!(split, told(&request, SSE, &stream, Some("1")));
        }
    }
}

proptest! {
    #[test]
    fn a_damaged_stream_ends_in_an_error_or_an_end_never_in_a_panic(
        name in prop::sample::select(&STREAMS[..]), at in 0usize..2500, gone in 0usize..40, new in "[\\PC\n]{0,8}",
    ) {
        let mut bytes = given(&format!("stream_to_openai/{name}.in.sse")).into_bytes();
        let at = at.min(bytes.len());
        let end = (at + gone).min(bytes.len());
        bytes.splice(at..end, new.bytes());
        for request in [openai(ASK), anthropic(ASK_ANTHROPIC)] {
            let (mut decoder, mut events) = (AnthropicDialect.decoder(&request, SSE), Vec::new());
            let fed = decoder.feed(&bytes, &mut events).and_then(|()| decoder.finish(&mut events));
            let ended = events.iter().filter(|event| matches!(event, AnswerEvent::End(_))).count();
            prop_assert!(ended <= 1 && (fed.is_err() || ended == 1));
        }
    }
}

/// What a caller of Anthropic's shape reads when the target answers with a stream of OpenAI's.
fn written(ask: &str, stream: &str) -> String {
    let mut decoder = OpenAiDialect.decoder(&anthropic(ask), SSE);
    let answer = tell(&mut *decoder, &[stream.as_bytes()], Some("0.0012"));
    assert_eq!(answer.error, None);
    answer.frames + &answer.closing
}
