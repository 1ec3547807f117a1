use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::bedrock::frames;
use crate::error::{Class, Retry};
use crate::request::Usage;

const ASK: &str = r#"{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}"#;
const ASK_WHOLE: &str = r#"{"model":"m","messages":[]}"#;
const ASK_ANTHROPIC: &str =
    r#"{"model":"m","max_tokens":9,"messages":[],"stream":true,"thinking":{"type":"adaptive"}}"#;

fn openai(body: &str) -> ModelRequest {
    request(Shape::OpenAi, body)
}

#[test]
fn a_stream_is_told_in_openais_chunks() {
    for name in STREAMS {
        let answer = told(&openai(ASK), &stream(name), Some("0.0012"));
        assert_eq!(answer.error, None);
        check_file(&format!("stream/{name}.out.sse"), &(answer.frames + &answer.closing));
    }
}

#[test]
fn a_stream_is_told_in_anthropics_events() {
    for name in STREAMS {
        let answer = told(&request(Shape::Anthropic, ASK_ANTHROPIC), &stream(name), Some("0.0012"));
        assert_eq!(answer.error, None);
        let all = answer.frames + &answer.closing;
        assert!(all.starts_with("event: message_start") && all.contains("event: message_stop"), "{all}");
    }
}

#[test]
fn a_whole_answer_is_told_as_a_completion() {
    for name in ["everything", "filtered"] {
        let answer = told(&openai(ASK_WHOLE), given(&format!("whole/{name}.in.json")).as_bytes(), None);
        assert_eq!((answer.error, answer.frames.as_str()), (None, ""));
        check_file(&format!("whole/{name}.out.json"), &answer.closing);
    }
}

#[test]
fn a_caller_who_asked_for_a_stream_gets_one_from_a_whole_answer() {
    let answer = told(&openai(ASK), given("whole/everything.in.json").as_bytes(), None);
    check_file("whole/everything.out.sse", &(answer.frames + &answer.closing));
}

#[test]
fn the_text_to_count_holds_all_that_was_said_and_usage_is_the_providers() {
    let read = Usage { input: 25, cached_input: 100, cache_write: 10, output: 15, ..Usage::default() };
    for (name, text, reason, usage) in [
        ("text", "Hello – \"wörld\"\n", "stop", read),
        (
            "tools",
            "Let me check.get_weather{\"location\": \"San Francisco, CA\"}get_time{}",
            "tool_calls",
            Usage { input: 472, output: 89, ..Usage::default() },
        ),
        ("thinking", "Let me think.Four.", "length", Usage { input: 5, output: 20, ..Usage::default() }),
    ] {
        let answer = told(&openai(ASK), &stream(name), None);
        assert_eq!((&*answer.text, answer.reason.as_deref()), (text, Some(reason)));
        assert_eq!(answer.usages, [usage], "{name}");
    }
}

#[test]
fn two_answers_to_two_requests_have_two_names() {
    let id = |body: &str| {
        let answer = told(&openai(body), &stream("text"), None);
        let chunk: Value =
            serde_json::from_str(answer.frames.lines().next().unwrap().trim_start_matches("data: ")).unwrap();
        chunk["id"].as_str().unwrap().to_owned()
    };
    assert_eq!(id(ASK), id(ASK));
    assert_ne!(id(ASK), id(&ASK.replace("[]", r#"[{"role":"user","content":"a"}]"#)));
}

#[test]
fn a_stream_without_usage_ends_all_the_same_and_one_without_an_end_is_broken() {
    let whole = stream("text");
    let mut frames_of = Vec::new();
    let mut rest = &whole[..];
    while !rest.is_empty() {
        let (frame, after) = rest.split_at(u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize);
        frames_of.push(frame);
        rest = after;
    }
    let (metadata, before) = frames_of.split_last().unwrap();
    let answer = told(&openai(ASK), &before.concat(), None);
    assert_eq!((answer.error, answer.usages.len(), answer.reason.as_deref()), (None, 0, Some("stop")));
    let stopless = [&before[..before.len() - 1].concat(), *metadata].concat();
    let answer = told(&openai(ASK), &stopless, None);
    assert_eq!(answer.error.map(|it| it.class), Some(Class::Broken));
    let late = [whole.clone(), b"garbage after the end".to_vec()].concat();
    assert_eq!(told(&openai(ASK), &late, None), told(&openai(ASK), &whole, None));
}

#[test]
fn an_answer_that_fails_midway_says_how() {
    let start: Vec<u8> = stream("text").into_iter().take(400).collect();
    let first = u32::from_be_bytes(start[..4].try_into().unwrap()) as usize;
    let second = u32::from_be_bytes(start[first..first + 4].try_into().unwrap()) as usize;
    let check = |tail: Vec<u8>, class: Class, retry: Retry, code: &str| {
        for shape in [Shape::OpenAi, Shape::Anthropic] {
            let ask = if shape == Shape::OpenAi { ASK } else { ASK_ANTHROPIC };
            let answer = told(&request(shape, ask), &[&start[..first + second], &tail].concat(), None);
            let error = answer.error.unwrap();
            assert_eq!((error.class, error.retry, error.code), (class, retry, code));
            assert_eq!((&*answer.closing, &*answer.text), ("", "Hello"));
            assert!(!error.message.contains("canary"));
        }
    };
    let exception = |name: &str, message: &str| {
        let payload = json!({"message": message}).to_string();
        frames::write(&[(":exception-type", name), (":message-type", "exception")], payload.as_bytes())
    };
    let elsewhere = Retry::Elsewhere;
    check(exception("throttlingException", "canary"), Class::RateLimited, elsewhere, "provider_unavailable");
    check(exception("modelStreamErrorException", "canary"), Class::Server, elsewhere, "provider_error");
    check(exception("internalServerException", "canary"), Class::Server, elsewhere, "provider_error");
    check(exception("serviceUnavailableException", "canary"), Class::Server, elsewhere, "provider_unavailable");
    check(exception("modelTimeoutException", "canary"), Class::Timeout, elsewhere, "provider_timeout");
    check(exception("neverHeardOfException", "canary"), Class::Server, elsewhere, "provider_error");
    check(exception("validationException", "canary"), Class::Rejected, Retry::Never, "provider_rejected");
    let long = exception("validationException", "canary: Input is too long for requested model");
    check(long, Class::Rejected, Retry::Never, "context_length_exceeded");
    let error = frames::write(&[(":message-type", "error"), (":error-code", "InternalFailure")], b"");
    check(error, Class::Server, elsewhere, "provider_error");
    check(Vec::new(), Class::Broken, elsewhere, "provider_error");
    let torn = frames::write(&[(":message-type", "event"), (":event-type", "contentBlockDelta")], b"{");
    check(torn, Class::Broken, elsewhere, "provider_error");
}

#[test]
fn events_and_members_that_nobody_knows_yet_pass_by() {
    let odd = frames::write(&[(":message-type", "event"), (":event-type", "somethingNew")], b"{\"new\":[1]}");
    let mut decoder = BedrockDialect.decoder(&openai(ASK), STREAM);
    let answer = tell(&mut *decoder, &[&odd, &stream("text")], None);
    assert_eq!(answer, told(&openai(ASK), &stream("text"), None));
}

#[test]
fn a_body_that_is_no_answer_is_broken() {
    for body in ["", " ", "{}", "[]", "<html>", "\0\0\0", r#"{"output":{"message":{"content":3}}}"#] {
        for ask in [ASK, ASK_WHOLE] {
            let answer = told(&openai(ask), body.as_bytes(), None);
            assert_eq!(answer.error.map(|error| error.class), Some(Class::Broken), "{body}");
        }
    }
    assert_eq!(told(&openai(ASK_WHOLE), &stream("text"), None).error.map(|it| it.class), Some(Class::Broken));
}

proptest! {
    #[test]
    fn every_split_of_the_bytes_gives_the_same_answer(
        name in prop::sample::select(&STREAMS[..]), mut cuts in prop::collection::vec(0usize..3000, 0..12),
    ) {
        let bytes = stream(name);
        cuts.retain(|cut| *cut < bytes.len());
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        for request in [openai(ASK), request(Shape::Anthropic, ASK_ANTHROPIC)] {
            let split = tell(&mut *BedrockDialect.decoder(&request, STREAM), &pieces, Some("1"));
            prop_assert_eq!(split, told(&request, &bytes, Some("1")));
        }
    }

    #[test]
    fn a_damaged_stream_ends_in_an_error_or_an_end_never_in_a_panic(
        name in prop::sample::select(&STREAMS[..]), at in 0usize..2500, gone in 0usize..40,
        new in prop::collection::vec(any::<u8>(), 0..12),
    ) {
        let mut bytes = stream(name);
        let at = at.min(bytes.len());
        let end = (at + gone).min(bytes.len());
        let same = bytes[at..end] == new[..];
        bytes.splice(at..end, new);
        let (mut decoder, mut events) = (BedrockDialect.decoder(&openai(ASK), STREAM), Vec::new());
        let fed = decoder.feed(&bytes, &mut events).and_then(|()| decoder.finish(&mut events));
        let ended = events.iter().filter(|event| matches!(event, AnswerEvent::End(_))).count();
        prop_assert!(ended <= 1 && (fed.is_err() || ended == 1));
        prop_assert!(same || at >= stream(name).len() || fed.is_err() || ended == 1);
    }

    #[test]
    fn no_events_make_the_reader_panic(
        names in prop::collection::vec("messageStart|contentBlock(Start|Delta|Stop)|messageStop|metadata", 0..8),
        payload in prop::sample::select(&[
            r#"{"contentBlockIndex":1,"delta":{"text":"a"}}"#, r#"{"contentBlockIndex":1,"start":{"toolUse":{}}}"#,
            r#"{"contentBlockIndex":1,"delta":{"toolUse":{"input":"{"}}}"#, r#"{"delta":{"reasoningContent":{"redactedContent":"?"}}}"#,
            r#"{"delta":{"reasoningContent":{"signature":"s","text":null}}}"#, r#"{"stopReason":"tool_use","usage":{"inputTokens":1}}"#,
            r#"{"usage":{"inputTokens":-1}}"#, "{}", "null", "[", "",
        ][..]),
    ) {
        let bytes: Vec<u8> = names.iter()
            .flat_map(|name| frames::write(&[(":message-type", "event"), (":event-type", name)], payload.as_bytes()))
            .collect();
        let _ = told(&openai(ASK), &bytes, None);
    }
}
