//! Pairs: what goes in, what comes out. Files in `testdata/`: `NAME.sse` is a provider's stream.

use bytes::Bytes;
use http::HeaderMap;
use proptest::prelude::*;
use url::Url;

use super::*;
use crate::catalog::Quirks;
use crate::credentials::Secret;
use crate::error::Class;
use crate::request::{AnswerEvent, Usage};

fn parse(shape: Shape, body: &str) -> ModelRequest {
    ModelRequest::parse(shape, Bytes::copy_from_slice(body.as_bytes())).unwrap()
}

fn encode(body: &str, quirks: Quirks) -> HttpRequest {
    let base_url = Url::parse("https://up.example/v1/").unwrap();
    let key = Secret::new("sk-up");
    let aim = Aim { key: Some(&key), ..Aim::at(&base_url, "real", 100, &quirks) };
    OpenAiDialect.encode(&parse(Shape::OpenAi, body), &aim).unwrap()
}

fn check_encode(quirks: Quirks, body: &str, expected: &str) {
    assert_eq!(std::str::from_utf8(&encode(body, quirks).body).unwrap(), expected);
}

const PLAIN: Quirks = Quirks::NONE;
const NEWER: Quirks = Quirks { needs_max_completion_tokens: true, ..PLAIN };
const OLDER: Quirks = Quirks { needs_max_tokens: true, no_stream_options: true, ..PLAIN };

#[test]
fn a_request_carries_key_and_path() {
    let request = encode(r#"{"model":"a","messages":[]}"#, PLAIN);
    assert_eq!(request.url.as_str(), "https://up.example/v1/chat/completions");
    assert_eq!(request.headers["authorization"], "Bearer sk-up");
    assert!(!format!("{request:?}").contains("sk-up"));
}

#[test]
fn a_file_that_the_provider_keeps_may_be_anothers_unless_the_operator_knows_better() {
    let part = |file: &str| {
        let part = format!(r#"{{"type":"file","file":{{{file}}}}}"#);
        parse(Shape::OpenAi, &format!(r#"{{"model":"a","messages":[{{"role":"user","content":[{part}]}}]}}"#))
    };
    let (base_url, none) = (Url::parse("https://x/").unwrap(), std::collections::BTreeMap::new());
    let allowed = [("stored_files".to_owned(), "allow".to_owned())].into_iter().collect();
    for (file, settings, refused) in [
        (r#""file_id":"file-1""#, &none, Some("messages[0].content[0].file.file_id")),
        (r#""file\u005fid":"file-1""#, &none, Some("messages[0].content[0].file.file_id")),
        (r#""file_id":null,"file_data":"data:application/pdf;base64,AA==""#, &none, None),
        (r#""file_id":"file-1""#, &allowed, None),
    ] {
        let aim = Aim { settings, ..Aim::at(&base_url, "m", 1, &PLAIN) };
        let param = OpenAiDialect.encode(&part(file), &aim).err().and_then(|it| it.param);
        assert_eq!(param.as_deref(), refused, "{file}");
    }
}

#[test]
fn what_is_billed_beyond_tokens_is_refused() {
    let (base_url, request) = (
        Url::parse("https://x/").unwrap(),
        parse(Shape::OpenAi, r#"{"model":"a","messages":[],"service_tier":"priority"}"#),
    );
    let aim = Aim::at(&base_url, "m", 1, &PLAIN);
    assert_eq!(OpenAiDialect.encode(&request, &aim).unwrap_err().param.as_deref(), Some("service_tier"));
}

#[test]
fn the_cap_keeps_the_callers_spelling_unless_the_target_has_its_own() {
    check_encode(PLAIN, r#"{"model":"a","messages":[]}"#, r#"{"model":"real","messages":[],"max_tokens":100}"#);
    check_encode(
        NEWER,
        r#"{"model":"a","messages":[]}"#,
        r#"{"model":"real","messages":[],"max_completion_tokens":100}"#,
    );
    check_encode(
        PLAIN,
        r#"{"max_completion_tokens":7,"model":"a","messages":[]}"#,
        r#"{"max_completion_tokens":7,"model":"real","messages":[]}"#,
    );
    check_encode(
        OLDER,
        r#"{"max_completion_tokens":7,"model":"a","messages":[]}"#,
        r#"{"model":"real","messages":[],"max_tokens":7}"#,
    );
    check_encode(
        NEWER,
        r#"{"max_tokens":700,"model":"a","messages":[]}"#,
        r#"{"model":"real","messages":[],"max_completion_tokens":100}"#,
    );
    check_encode(
        PLAIN,
        r#"{"max_tokens":7,"max_completion_tokens":8,"model":"a","messages":[]}"#,
        r#"{"max_completion_tokens":7,"model":"real","messages":[]}"#,
    );
    check_encode(
        PLAIN,
        r#"{"max_tokens":null,"model":"a","messages":[]}"#,
        r#"{"max_tokens":100,"model":"real","messages":[]}"#,
    );
}

#[test]
fn a_stream_asks_for_usage_in_every_way_it_can_be_asked() {
    let rest = r#","max_tokens":1,"messages":[],"stream":true"#;
    let check = |given: &str, expected: &str| {
        check_encode(
            PLAIN,
            &format!(r#"{{"model":"a"{rest}{given}}}"#),
            &format!(r#"{{"model":"real"{rest}{expected}}}"#),
        );
    };
    check("", r#","stream_options":{"include_usage":true}"#);
    check(r#","stream_options":null"#, r#","stream_options":{"include_usage":true}"#);
    check(r#","stream_options":{ }"#, r#","stream_options":{"include_usage":true }"#);
    check(r#","stream_options":{"x": 1.0}"#, r#","stream_options":{"include_usage":true,"x": 1.0}"#);
    check(r#","stream_options":{"include_usage" : false}"#, r#","stream_options":{"include_usage" : true}"#);
    check(r#","stream_options":{"include_usage" : true}"#, r#","stream_options":{"include_usage" : true}"#);
    let asked = r#"{"model":"a","max_tokens":1,"messages":[],"stream":true,"stream_options":{"include_usage":true}}"#;
    check_encode(OLDER, asked, r#"{"model":"real","max_tokens":1,"messages":[],"stream":true}"#);
}

#[test]
fn a_seed_is_called_what_the_target_calls_it() {
    let quirks = Quirks { seed_is_random_seed: true, ..PLAIN };
    let check = |given: &str, expected: &str| {
        let body = |rest: &str| format!(r#"{{"model":"real","max_tokens":1,"messages":[]{rest}}}"#);
        check_encode(quirks, &body(given), &body(expected));
    };
    check(r#","seed":7"#, r#","random_seed":7"#);
    check(r#","seed":7,"random_seed":8"#, r#","random_seed":8"#);
    check(r#","seed":null"#, "");
    check_encode(
        PLAIN,
        r#"{"seed":7,"model":"a","max_tokens":1,"messages":[]}"#,
        r#"{"seed":7,"model":"real","max_tokens":1,"messages":[]}"#,
    );
}

#[test]
fn hints_are_kept_from_a_target_that_refuses_them() {
    let quirks = Quirks { no_hints: true, ..PLAIN };
    let hints =
        r#""user":"u","safety_identifier":"s","prompt_cache_key":"k","store":false,"verbosity":null,"logit_bias":{},"#;
    let body = |hints: &str| format!(r#"{{{hints}"model":"real","max_tokens":1,"messages":[],"prefix":1}}"#);
    check_encode(quirks, &body(hints), &body(""));
    check_encode(PLAIN, &body(hints), &body(hints));
    // What would change the answer stays, for the target to refuse.
    let kept = r#""store":true,"verbosity":"low","logit_bias":{"1":2},"#;
    check_encode(quirks, &body(kept), &body(kept));
}

#[test]
fn messages_are_told_as_the_target_wants_them() {
    let quirks = Quirks { no_developer_role: true, no_reasoning_history: true, ..PLAIN };
    check_encode(
        quirks,
        r#"{"messages":[{"role":"developer","content":"d"},{"role":"assistant","content":"a","reasoning_content":"r","refusal":null}],"fallbacks":[],"model":"a","max_tokens":1}"#,
        r#"{"messages":[{"role":"system","content":"d"},{"role":"assistant","content":"a"}],"model":"real","max_tokens":1}"#,
    );
}

#[test]
fn everything_else_stays_byte_for_byte() {
    let body = "{ \"x\" : 1.50e+0, \"max_tokens\":5 ,\n\t\"fallbacks\":[\"b/c\"], \"messages\":[ {\"role\":\"user\",\"content\":\"\\u00e9 \\/\"} ] ,\"model\" : \"a\" , \"seed\":12345678901234567890 }";
    let expected = body.replace("\"a\"", "\"real\"").replace("\"fallbacks\":[\"b/c\"], ", "");
    check_encode(PLAIN, body, &expected);
}

// --- answers ---

const ASKS: &str = r#"{"model":"a","messages":[],"stream":true,"stream_options":{"include_usage":true}}"#;
const SILENT: &str = r#"{"model":"a","messages":[],"stream":true}"#;
const WHOLE: &str = r#"{"model":"a","messages":[]}"#;

/// What a caller and a meter see of an answer.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    wire: String,
    text: String,
    usage: Option<Usage>,
    reason: Option<String>,
    ended: bool,
    failed: Option<Class>,
    content: usize,
}

fn see(request: &str, content_type: &str, pieces: &[&[u8]]) -> Seen {
    let mut decoder = OpenAiDialect.decoder(&parse(Shape::OpenAi, request), content_type);
    let mut events = Vec::new();
    let mut failed = None;
    for piece in pieces {
        failed = failed.or_else(|| decoder.feed(piece, &mut events).err());
    }
    failed = failed.or_else(|| decoder.finish(&mut events).err());
    let mut seen = Seen { failed: failed.map(|it| it.class), ..Seen::default() };
    for event in events {
        assert!(!seen.ended, "an event after the end");
        match event {
            AnswerEvent::Delta(delta) => {
                seen.wire.push_str(std::str::from_utf8(&delta.frame).unwrap());
                delta.texts.iter().for_each(|(_, text)| seen.text.push_str(text));
                seen.content += usize::from(delta.content);
            }
            AnswerEvent::Usage(usage) => seen.usage = Some(usage),
            AnswerEvent::End(end) => {
                let counted = Usage { input: 7, output: 8, ..Usage::default() };
                seen.wire.push_str(std::str::from_utf8(&end.closing(Some("0.0001"), Some(&counted))).unwrap());
                seen.reason = end.finish_reason().map(Into::into);
                seen.ended = true;
            }
        }
    }
    seen
}

fn sse(text: &str, request: &str) -> Seen {
    see(request, "text/event-stream; charset=utf-8", &[text.as_bytes()])
}

fn data(payloads: &[&str]) -> String {
    payloads.iter().map(|it| format!("data: {it}\n\n")).collect()
}

fn usage(input: u64, cached_input: u64, output: u64) -> Option<Usage> {
    Some(Usage { input, cached_input, output, ..Usage::default() })
}

const HI: &str = r#"{"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","x":1.0,"choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":null}]}"#;
const STOP: &str = r#"{"id":"c1","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;
const USED: &str = r#"{"id":"c1","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"total_tokens":11,"prompt_tokens_details":{"cached_tokens":4},"own":1.0}}"#;

#[test]
fn chunks_pass_as_they_came_and_usage_waits_for_the_cost() {
    let seen = sse(&data(&[HI, STOP, USED, "[DONE]", "{\"after\":1}"]), ASKS);
    let told = USED.replace("1.0}", "1.0,\"alfred_cost_usd\":\"0.0001\"}");
    assert_eq!(seen.wire, data(&[HI, STOP, &told, "[DONE]"]));
    assert_eq!(
        (&*seen.text, seen.usage, seen.reason.as_deref(), seen.content),
        ("hi", usage(5, 4, 2), Some("stop"), 2)
    );
    assert_eq!((seen.ended, seen.failed), (true, None));
}

#[test]
fn usage_is_kept_from_a_caller_who_did_not_ask() {
    let with_null = HI.replace("\"x\":1.0", "\"usage\":null,\"x\":1.0");
    let seen = sse(&data(&[&with_null, STOP, USED, "[DONE]"]), SILENT);
    assert_eq!(seen.wire, data(&[HI, STOP, "[DONE]"]));
    assert_eq!(seen.usage, usage(5, 4, 2));
}

#[test]
fn usage_in_a_chunk_with_choices_is_told_once_at_the_end() {
    let last = STOP.replace("\"choices\"", "\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":1},\"choices\"");
    let seen = sse(&data(&[HI, &last, "[DONE]"]), ASKS);
    let told =
        r#"{"id":"c1","usage":{"prompt_tokens":3,"completion_tokens":1,"alfred_cost_usd":"0.0001"},"choices":[]}"#;
    assert_eq!(seen.wire, data(&[HI, STOP, told, "[DONE]"]));
    assert_eq!(seen.usage, usage(3, 0, 1));
    let seen = sse(&data(&[HI, &last, USED, "[DONE]"]), SILENT);
    assert_eq!((seen.wire, seen.usage), (data(&[HI, STOP, "[DONE]"]), usage(5, 4, 2)));
}

#[test]
fn a_provider_that_counts_nothing_is_counted_for() {
    let seen = sse(&data(&[HI, STOP, "[DONE]"]), ASKS);
    let told = r#"{"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":8,"total_tokens":15,"prompt_tokens_details":{"cached_tokens":0},"alfred_cost_usd":"0.0001"}}"#;
    assert_eq!(seen.wire, data(&[HI, STOP, told, "[DONE]"]));
    assert_eq!(seen.usage, None);
}

#[test]
fn an_end_without_done_is_an_end_only_after_every_choice_has_finished() {
    let seen = sse(&data(&[HI, STOP]), SILENT);
    assert_eq!((seen.wire, seen.failed), (data(&[HI, STOP, "[DONE]"]), None));
    assert_eq!(sse(&data(&[HI]), SILENT).failed, Some(Class::Broken));
    let other = HI.replace("\"index\":0", "\"index\":1");
    assert_eq!(sse(&data(&[HI, &other, STOP]), SILENT).failed, Some(Class::Broken));
    assert_eq!(sse(&data(&[HI, "[DONE]"]), SILENT).failed, None);
    assert_eq!(sse("", SILENT).failed, Some(Class::Broken));
    assert_eq!(sse("data: [DONE]\n\n", SILENT).failed, Some(Class::Broken));
    assert_eq!(sse(&(data(&[HI]) + "data: {\"id\":\"c1\",\"cho"), SILENT).failed, Some(Class::Broken));
}

#[test]
fn an_error_in_the_stream_ends_it_without_the_providers_words() {
    let seen = sse(&data(&[HI, r#"{"error":{"message":"SECRET","code":503}}"#, STOP]), SILENT);
    assert_eq!((seen.wire, seen.failed, seen.ended), (data(&[HI]), Some(Class::Server), false));
    let seen = sse("event: error\ndata: {\"message\":\"rate limit SECRET\"}\n\n", SILENT);
    assert_eq!(seen.failed, Some(Class::RateLimited));
    assert_eq!(sse(&data(&[HI, "{\"error\":null,\"choices\":[]}", STOP]), SILENT).failed, None);
}

#[test]
fn all_that_is_billed_as_output_is_counted() {
    let delta = |delta: &str| {
        format!(r#"{{"choices":[{{"index":0,"delta":{delta}}},{{"index":1,"delta":{{"content":"+"}}}}]}}"#)
    };
    let check = |given: &str, expected: &str| {
        assert_eq!(sse(&data(&[&delta(given), "[DONE]"]), SILENT).text, expected, "{given}")
    };
    check(r#"{"content":"a\u00e9"}"#, "aé+");
    check(r#"{"refusal":"no"}"#, "no+");
    check(r#"{"reasoning_content":"hm","content":null}"#, "hm+");
    check(r#"{"reasoning":"hm"}"#, "hm+");
    check(r#"{"reasoning":"hm","reasoning_content":"hm"}"#, "hm+");
    check(
        r#"{"tool_calls":[{"index":0,"id":"i","function":{"name":"f","arguments":"{\"a"}},{"function":{"arguments":"}"}}]}"#,
        "f{\"a}+",
    );
    check(r#"{"function_call":{"name":"f","arguments":"{}"}}"#, "f{}+");
    check(
        r#"{"content":[{"type":"text","text":"a"},{"type":"thinking","thinking":[{"type":"text","text":"b"}]}]}"#,
        "ab+",
    );
    check(r#"{"role":"assistant"}"#, "+");
    check(r#"{"content":"\ud83d"}"#, "\\ud83d+");
}

#[test]
fn a_first_chunk_without_choices_passes() {
    let filter = r#"{"choices":[],"prompt_filter_results":[]}"#;
    let seen = sse(&data(&[filter, HI, STOP, "[DONE]"]), SILENT);
    assert_eq!(seen.wire, data(&[filter, HI, STOP, "[DONE]"]));
}

const BODY: &str = "{ \"id\":\"c1\", \"x\":1.50 ,\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"hi \\u00e9\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2,\"total_tokens\":5}}\n";

#[test]
fn a_whole_body_passes_byte_for_byte() {
    for lead in ["", " \n\n"] {
        let seen = see(WHOLE, "application/json", &[lead.as_bytes(), BODY.as_bytes()]);
        assert_eq!((&*seen.wire, &*seen.text, seen.usage), (BODY, "hi é", usage(3, 0, 2)));
        assert_eq!((seen.reason.as_deref(), seen.ended, seen.failed), (Some("stop"), true, None));
    }
}

#[test]
fn json_where_a_stream_was_asked_for_becomes_a_stream() {
    let seen = see(ASKS, "application/json", &[BODY.as_bytes()]);
    assert_eq!((&*seen.text, seen.usage, seen.reason.as_deref()), ("hi é", usage(3, 0, 2), Some("stop")));
    let lines: Vec<_> = seen.wire.split_terminator("\n\n").collect();
    assert_eq!(lines.len(), 3, "{}", seen.wire);
    assert!(
        lines[0].contains("chat.completion.chunk")
            && lines[0].contains(r#""delta":{"role":"assistant","content":"hi é"}"#),
        "{}",
        lines[0]
    );
    assert!(lines[1].contains(r#""choices":[]"#) && lines[1].contains(r#""alfred_cost_usd":"0.0001""#), "{}", lines[1]);
    assert_eq!(lines[2], "data: [DONE]");
}

#[test]
fn an_answer_that_is_no_answer_is_broken() {
    let broken = |request: &str, content_type: &str, body: &str| see(request, content_type, &[body.as_bytes()]).failed;
    for body in ["", "<html>", "{", "{}", "[]", "{\"choices\":[{]}"] {
        assert_eq!(broken(WHOLE, "application/json", body), Some(Class::Broken), "{body}");
    }
    assert_eq!(broken(WHOLE, "text/event-stream", &data(&[HI])), Some(Class::Broken));
    assert_eq!(broken(SILENT, "text/html", "<html>"), Some(Class::Broken));
    assert_eq!(
        broken(WHOLE, "application/json", "{\"error\":{\"message\":\"x\",\"code\":429}}"),
        Some(Class::RateLimited)
    );
    assert_eq!(OpenAiDialect.explain(400, &HeaderMap::new(), b"").class, Class::Rejected);
}

const AZURE: &str = include_str!("../../testdata/azure.sse");

#[test]
fn azures_first_chunk_has_no_choices_and_what_its_filters_found_passes() {
    let seen = sse(AZURE, ASKS);
    assert_eq!((&*seen.text, seen.usage, seen.ended, seen.failed), ("Hello!", usage(9, 0, 2), true, None));
    assert_eq!(seen.wire.replace(",\"alfred_cost_usd\":\"0.0001\"", ""), AZURE);
    // Without usage of the provider's own, the last chunk is made from one that names the answer.
    let silent: Vec<&str> = AZURE.split_inclusive("\n\n").filter(|it| !it.contains("\"usage\"")).collect();
    let told = sse(&silent.concat(), ASKS).wire;
    assert!(told.contains("{\"id\":\"chatcmpl-az1\",\"object\":\"chat.completion.chunk\",\"created\":1760000000,\"model\":\"gpt-4o-2024-11-20\",\"system_fingerprint\":\"fp_az\",\"choices\":[],\"usage\""), "{told}");
    let whole = r#"{"id":"x","choices":[{"index":0,"finish_reason":"stop","content_filter_results":{"hate":{"filtered":false}},"message":{"role":"assistant","content":"Hello!"}}],"prompt_filter_results":[]}"#;
    assert_eq!(see(WHOLE, "application/json", &[whole.as_bytes()]).wire, whole);
}

const MISTRAL: &str = include_str!("../../testdata/mistral.sse");

#[test]
fn content_that_comes_in_parts_is_told_as_a_text_and_what_was_thought() {
    let seen = sse(MISTRAL, ASKS);
    assert_eq!((seen.usage, seen.reason.as_deref(), seen.failed), (usage(20, 0, 30), Some("tool_calls"), None));
    assert!(!seen.wire.contains("\"content\":["), "{}", seen.wire);
    assert_eq!(seen.wire.matches("reasoning_content").count(), 2);
    // The same, gathered for a caller who wants JSON.
    let request = parse(Shape::OpenAi, WHOLE);
    let mut gather = crate::gather::gather(&OpenAiDialect, &request, &request.streamed(), "text/event-stream").unwrap();
    let mut events = Vec::new();
    gather.feed(MISTRAL.as_bytes(), &mut events).unwrap();
    gather.finish(&mut events).unwrap();
    let Some(AnswerEvent::End(end)) = events.last() else { panic!("no end") };
    let body: serde_json::Value = serde_json::from_slice(&end.closing(None, None)).unwrap();
    let said = &body["choices"][0]["message"];
    assert_eq!(
        (said["content"].as_str(), said["reasoning_content"].as_str()),
        (Some("4."), Some("Two and two. So four."))
    );
    assert_eq!(said["tool_calls"][0]["id"], "D681PevKs");
    let whole = r#"{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":[{"type":"text","text":"hi"}]},"finish_reason":"stop"}]}"#;
    let told = whole.replace(r#"[{"type":"text","text":"hi"}]"#, "\"hi\"");
    assert_eq!(see(WHOLE, "application/json", &[whole.as_bytes()]).wire, told);
}

/// Streams as servers of various makes send them.
const RECORDED: [(&str, &str, &str); 6] = [
    ("openai", include_str!("../../testdata/openai.sse"), "Hello! How can I help?"),
    ("llama.cpp", include_str!("../../testdata/llamacpp.sse"), "Hé😀!"),
    ("deepseek", include_str!("../../testdata/deepseek.sse"), "Thinking… Done."),
    ("azure", AZURE, "Hello!"),
    ("mistral", MISTRAL, "Two and two. So four.4.get_weather{\"city\":\"Paris\"}"),
    ("tools", include_str!("../../testdata/tools.sse"), "get_weather{\"city\":\"Paris\"}"),
];

#[test]
fn recorded_streams_are_read_whole() {
    for (name, text, expected) in RECORDED {
        let seen = sse(text, ASKS);
        assert_eq!((&*seen.text, seen.ended, seen.failed), (expected, true, None), "{name}");
    }
}

proptest! {
    #[test]
    fn every_split_of_the_bytes_gives_the_same_answer(which in 0..RECORDED.len(), mut cuts in prop::collection::vec(0usize..3_000, 0..40), crlf: bool) {
        let text = if crlf { RECORDED[which].1.replace('\n', "\r\n") } else { RECORDED[which].1.to_owned() };
        let bytes = text.as_bytes();
        cuts.iter_mut().for_each(|it| *it = (*it).min(bytes.len()));
        cuts.sort_unstable();
        let mut pieces = Vec::new();
        let mut at = 0;
        for cut in cuts { pieces.push(&bytes[at..cut]); at = cut; }
        pieces.push(&bytes[at..]);
        prop_assert_eq!(see(SILENT, "text/event-stream", &pieces), sse(RECORDED[which].1, SILENT));
    }
}
