use proptest::prelude::*;

use super::*;
use crate::dialect::Finish;
use crate::error::{Class, Retry};
use crate::request::Usage;

const ASK: &str = r#"{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}"#;
const ASK_WHOLE: &str = r#"{"model":"m","messages":[]}"#;
const ASK_ANTHROPIC: &str =
    r#"{"model":"m","max_tokens":9,"messages":[],"stream":true,"thinking":{"type":"adaptive"}}"#;
const ASK_ANTHROPIC_WHOLE: &str = r#"{"model":"m","max_tokens":9,"messages":[]}"#;
const SSE: &str = "text/event-stream";
const STREAMS: [&str; 3] = ["text", "tools", "thinking"];

fn told(request: &ModelRequest, body: &str) -> Told {
    tell(&mut *CohereDialect.decoder(request, SSE), &[body.as_bytes()], Some("0.0012"))
}

#[test]
fn a_stream_is_told_in_the_callers_words() {
    for name in STREAMS {
        let stream = given(&format!("stream/{name}.in.sse"));
        for (caller, request) in [("openai", openai(ASK)), ("anthropic", anthropic(ASK_ANTHROPIC))] {
            let answer = told(&request, &stream);
            assert_eq!(answer.error, None);
            check_file(&format!("stream/{name}.{caller}.sse"), &(answer.frames + &answer.closing));
        }
    }
}

#[test]
fn a_whole_answer_is_told_in_the_callers_words() {
    for name in ["everything", "calls"] {
        let body = given(&format!("whole/{name}.in.json"));
        for (caller, request) in [("openai", openai(ASK_WHOLE)), ("anthropic", anthropic(ASK_ANTHROPIC_WHOLE))] {
            let answer = told(&request, &body);
            assert_eq!((answer.error, answer.frames.as_str()), (None, ""));
            check_file(&format!("whole/{name}.{caller}.json"), &answer.closing);
        }
        let streamed = told(&openai(ASK), &body);
        assert_eq!((streamed.error, streamed.text), (None, told(&openai(ASK_WHOLE), &body).text));
        check_file(&format!("whole/{name}.openai.sse"), &(streamed.frames + &streamed.closing));
    }
}

#[test]
fn what_was_said_is_counted_and_what_is_billed_is_told() {
    fn check(name: &str, text: &str, reason: &str, usage: (u64, u64)) {
        let answer = told(&openai(ASK), &given(&format!("stream/{name}.in.sse")));
        let usage = Usage { input: usage.0, output: usage.1, ..Usage::default() };
        assert_eq!((&*answer.text, answer.reason.as_deref(), &*answer.usages), (text, Some(reason), &[usage][..]));
    }
    check("text", "Emperor penguins are the tallest – \"très\" tall.", "stop", (33, 12));
    check(
        "tools",
        "I will look up both.get_weather{\"city\":\"Paris\"}get_time{\"zone\":\"CET\"}ping{}",
        "tool_calls",
        (40, 21),
    );
    check("thinking", "Two and two. Four.The answer is 4", "length", (9, 30));
}

#[test]
fn a_json_caller_who_is_gathered_gets_the_same_answer() {
    for name in STREAMS {
        let request = openai(ASK_WHOLE);
        let mut gather = crate::gather::gather(&CohereDialect, &request, &request.streamed(), SSE).unwrap();
        let answer = tell(&mut *gather, &[given(&format!("stream/{name}.in.sse")).as_bytes()], None);
        assert_eq!((answer.error, answer.frames.as_str()), (None, ""));
        check_file(&format!("stream/{name}.gathered.json"), &answer.closing);
    }
}

#[test]
fn an_answer_that_fails_midway_says_how() {
    let stream = given("stream/text.in.sse");
    let cut = stream.find("event: content-end").unwrap();
    let check = |tail: &str, class: Class| {
        let answer = told(&openai(ASK), &format!("{}{tail}", &stream[..cut]));
        let error = answer.error.unwrap();
        assert_eq!((error.class, error.retry, &*answer.closing), (class, Retry::Elsewhere, ""), "{tail}");
        assert!(!error.message.contains("SECRET"));
    };
    check("", Class::Broken);
    check("event: content-delta\ndata: {\"type\":\n\n", Class::Broken);
    check(
        "data: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"ERROR\",\"error\":\"SECRET\"}}\n\n",
        Class::Server,
    );
    check("data: {\"type\":\"message-end\",\"delta\":{\"finish_reason\":\"TIMEOUT\"}}\n\n", Class::Server);
}

#[test]
fn a_body_that_is_no_answer_is_broken() {
    for body in ["", " ", "{}", "[]", "<html>", "{", r#"{"message":3}"#, r#"{"message":{"content":3}}"#] {
        let answer = told(&openai(ASK_WHOLE), body);
        assert_eq!(answer.error.map(|error| error.class), Some(Class::Broken), "{body}");
    }
    let failed = r#"{"id":"x","finish_reason":"ERROR","message":{"role":"assistant"}}"#;
    assert_eq!(told(&openai(ASK_WHOLE), failed).error.map(|error| error.class), Some(Class::Server));
}

#[test]
fn errors_are_sorted_by_status_and_message() {
    fn check(status: u16, message: &str, class: Class, code: &str) {
        let body = serde_json::json!({"id": "e-1", "message": message}).to_string();
        let error = CohereDialect.explain(status, &HeaderMap::new(), body.as_bytes());
        assert_eq!((error.class, error.code, error.status), (class, code, Some(status)), "{message}");
        assert!(!error.message.contains(message));
    }
    check(400, "invalid request: message must be at least 1 token long", Class::Rejected, "provider_rejected");
    check(400, "too many tokens: size limit exceeded by 11326 tokens", Class::Rejected, "context_length_exceeded");
    check(401, "invalid api token", Class::Misconfigured, "provider_error");
    check(402, "Please add or update your payment method", Class::Misconfigured, "provider_error");
    check(404, "model 'command-z' not found", Class::Rejected, "model_not_found");
    check(422, "unprocessable", Class::Rejected, "provider_rejected");
    check(429, "You are using a Trial key, which is limited", Class::RateLimited, "provider_unavailable");
    check(500, "internal server error", Class::Server, "provider_error");
    check(503, "overloaded", Class::Server, "provider_unavailable");
}

#[test]
fn vectors_are_listed_as_they_were_written() {
    let request = parse(Shape::Embeddings, r#"{"model":"m","input":["a","b"]}"#);
    for name in ["float", "base64"] {
        let answer = told(&request, &given(&format!("embed/{name}.in.json")));
        assert_eq!((answer.error, &*answer.usages), (None, &[Usage { input: 7, ..Usage::default() }][..]));
        assert!(name != "float" || answer.closing.contains("[0.10,-2.0e-3]"), "{}", answer.closing);
        check_file(&format!("embed/{name}.out.json"), &answer.closing);
    }
    assert_eq!(told(&request, "{}").error.map(|it| it.class), Some(Class::Broken));
}

#[test]
fn an_order_of_documents_passes_as_it_came_and_its_searches_are_counted() {
    let request = parse(Shape::Rerank, r#"{"model":"m","query":"q","documents":["a","b"]}"#);
    let body = given("rerank/two.in.json");
    let answer = tell(&mut *CohereDialect.decoder(&request, "application/json"), &[body.as_bytes()], Some("1"));
    assert_eq!((answer.error, answer.closing), (None, body));
    assert_eq!(answer.usages.last().map(|it| it.searches), Some(1));
}

#[test]
fn an_outlet_that_heard_nothing_still_ends() {
    let chunks = chunks::ToChunks::new("m", 0);
    assert_eq!(chunks.finish(), Finish::default());
}

proptest! {
    #[test]
    fn every_split_of_the_bytes_gives_the_same_answer(
        name in prop::sample::select(&STREAMS[..]), mut cuts in prop::collection::vec(0usize..4000, 0..12), crlf: bool,
    ) {
        let whole = given(&format!("stream/{name}.in.sse"));
        let stream = if crlf { whole.replace('\n', "\r\n") } else { whole.clone() };
        let bytes = stream.as_bytes();
        cuts.retain(|cut| *cut < bytes.len());
        cuts.extend([0, bytes.len()]);
        cuts.sort_unstable();
        let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        for request in [openai(ASK), anthropic(ASK_ANTHROPIC)] {
            let split = tell(&mut *CohereDialect.decoder(&request, SSE), &pieces, Some("0.0012"));
            prop_assert_eq!(split, told(&request, &whole));
        }
    }

    #[test]
    fn a_damaged_stream_ends_in_an_error_or_an_end_never_in_a_panic(
        name in prop::sample::select(&STREAMS[..]), at in 0usize..3500, gone in 0usize..40, new in "[\\PC\n]{0,8}",
    ) {
        let mut bytes = given(&format!("stream/{name}.in.sse")).into_bytes();
        let at = at.min(bytes.len());
        let end = (at + gone).min(bytes.len());
        bytes.splice(at..end, new.bytes());
        for request in [openai(ASK), anthropic(ASK_ANTHROPIC), openai(ASK_WHOLE)] {
            let (mut decoder, mut events) = (CohereDialect.decoder(&request, SSE), Vec::new());
            let fed = decoder.feed(&bytes, &mut events).and_then(|()| decoder.finish(&mut events));
            let ended = events.iter().filter(|event| matches!(event, AnswerEvent::End(_))).count();
            prop_assert!(ended <= 1 && (fed.is_err() || ended == 1));
        }
    }

    #[test]
    fn any_conversation_is_told_or_refused_never_a_panic(
        roles in prop::collection::vec(prop::sample::select(vec!["system", "user", "assistant", "tool", "x"]), 0..5),
        content in prop::sample::select(vec!["null", "\"t\"", "[]", "[{\"type\":\"text\",\"text\":\"t\"}]", "[{}]", "[{\"type\":\"image_url\",\"image_url\":{}}]"]),
        more in prop::sample::select(vec!["", ",\"tool_calls\":[]", ",\"tool_calls\":[{\"id\":\"a\",\"function\":{\"name\":\"f\"}}]", ",\"reasoning_content\":\"r\"", ",\"tool_call_id\":\"a\""]),
    ) {
        let messages: Vec<String> = roles.iter().map(|role| format!("{{\"role\":\"{role}\",\"content\":{content}{more}}}")).collect();
        let body = format!("{{\"model\":\"m\",\"messages\":[{}]}}", messages.join(","));
        if let Ok(request) = ModelRequest::parse(Shape::OpenAi, body.into()) && let Ok(encoded) = encode(&request) {
            let told: Value = serde_json::from_slice(&encoded.body).unwrap();
            prop_assert_eq!(told["messages"].as_array().map(Vec::len), Some(roles.len()));
        }
    }
}
