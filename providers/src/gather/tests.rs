//! The same answer as JSON and as a stream is one body to a caller of JSON.

use serde_json::{Value, json};

use super::*;
use crate::anthropic::AnthropicDialect;
use crate::openai::OpenAiDialect;

fn request(shape: Shape, more: &Value) -> ModelRequest {
    let mut body = json!({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "a"}]});
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    ModelRequest::parse(shape, body.to_string().into()).unwrap()
}

fn dialect(shape: Shape) -> &'static dyn Dialect {
    match shape {
        Shape::OpenAi => &OpenAiDialect,
        Shape::Anthropic => &AnthropicDialect,
        other => panic!("{other:?} is not gathered here"),
    }
}

struct Read {
    body: Value,
    text: String,
    usage: Option<Usage>,
}

fn read(mut decoder: Box<dyn Decoder>, pieces: &[&[u8]]) -> Read {
    let mut events = Vec::new();
    pieces.iter().for_each(|piece| decoder.feed(piece, &mut events).unwrap());
    decoder.finish(&mut events).unwrap();
    let (mut text, mut usage, mut body) = (String::new(), None, Value::Null);
    for event in events {
        match event {
            AnswerEvent::Delta(delta) => {
                assert!(delta.frame.is_empty(), "a caller of JSON gets no frames");
                delta.texts.iter().for_each(|(_, piece)| text.push_str(piece));
            }
            AnswerEvent::Usage(told) => usage = Some(told),
            AnswerEvent::End(end) => body = serde_json::from_slice(&end.closing(None, None)).unwrap(),
        }
    }
    Read { body, text, usage }
}

fn gather(target: Shape, caller: &ModelRequest) -> Box<dyn Decoder> {
    super::gather(dialect(target), caller, &caller.streamed(), "text/event-stream").unwrap()
}

/// Both ways to the same body, to the same count and the same usage, for callers of both shapes where the target can be told to both.
#[track_caller]
fn check(target: Shape, callers: &[Shape], whole: &Value, stream: &str) {
    for shape in callers {
        let caller = request(*shape, &json!({}));
        let want = read(dialect(target).decoder(&caller, "application/json"), &[whole.to_string().as_bytes()]);
        let got = read(gather(target, &caller), &[stream.as_bytes()]);
        assert_eq!(got.body, want.body, "{shape:?} from {target:?}");
        assert_eq!(got.usage, want.usage);
        let sorted = |text: &str| {
            let mut all: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
            all.sort_unstable();
            all
        };
        assert_eq!(sorted(&got.text), sorted(&want.text), "what is counted");
        let bytes: Vec<&[u8]> = stream.as_bytes().chunks(3).collect();
        assert_eq!(read(gather(target, &caller), &bytes).body, want.body, "under every split");
        let json = whole.to_string();
        let answered_json = read(gather(target, &caller), &[json.as_bytes()]);
        assert_eq!((answered_json.body, answered_json.text), (want.body, want.text), "JSON all the same");
    }
}

fn openai(chunks: &[Value]) -> String {
    chunks.iter().map(|chunk| format!("data: {chunk}\n\n")).collect::<String>() + "data: [DONE]\n\n"
}

fn chunk(choices: Value) -> Value {
    json!({"id": "c", "object": "chat.completion.chunk", "created": 7, "model": "real", "system_fingerprint": "fp",
        "obfuscation": "xx", "usage": null, "choices": choices})
}

fn last_chunk() -> Value {
    let mut last = chunk(json!([]));
    last["usage"] = json!({"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9});
    last["x_vendor"] = json!({"queue": 0.25});
    last
}

fn completion(choices: Value) -> Value {
    json!({"id": "c", "object": "chat.completion", "created": 7, "model": "real", "system_fingerprint": "fp",
        "usage": {"prompt_tokens": 5, "completion_tokens": 4, "total_tokens": 9},
        "x_vendor": {"queue": 0.25}, "choices": choices})
}

#[test]
fn text_and_refusals_and_reasoning_are_joined() {
    for member in ["content", "refusal", "reasoning_content"] {
        let mut first = json!({"role": "assistant", "content": null, "refusal": null});
        first[member] = json!("");
        let (mut a, mut b, mut said) =
            (json!({}), json!({}), json!({"role": "assistant", "content": null, "refusal": null}));
        (a[member], b[member], said[member]) = (json!("Hel \"é"), json!("lo\n"), json!("Hel \"élo\n"));
        let stream = openai(&[
            chunk(json!([{"index": 0, "delta": first, "finish_reason": null}])),
            chunk(json!([{"index": 0, "delta": a, "finish_reason": null}])),
            chunk(json!([{"index": 0, "delta": b, "finish_reason": null}])),
            chunk(json!([{"index": 0, "delta": {}, "finish_reason": "stop"}])),
            last_chunk(),
        ]);
        let whole = completion(json!([{"index": 0, "message": said, "finish_reason": "stop"}]));
        check(Shape::OpenAi, &[Shape::OpenAi, Shape::Anthropic], &whole, &stream);
    }
}

#[test]
fn tool_calls_are_joined_by_their_index() {
    let call = |index: u64, more: Value| {
        let mut call = json!({"index": index});
        call.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        chunk(json!([{"index": 0, "delta": {"tool_calls": [call]}, "finish_reason": null}]))
    };
    let stream = openai(&[
        chunk(json!([{"index": 0, "delta": {"role": "assistant", "content": null}, "finish_reason": null}])),
        call(0, json!({"id": "t0", "type": "function", "function": {"name": "f", "arguments": ""}})),
        call(0, json!({"function": {"arguments": "{\"a\":"}})),
        call(1, json!({"id": "t1", "type": "function", "function": {"name": "g", "arguments": "{"}})),
        call(0, json!({"id": "", "function": {"name": null, "arguments": "1}"}})),
        call(1, json!({"function": {"arguments": "}"}})),
        chunk(json!([{"index": 0, "delta": {}, "finish_reason": "tool_calls"}])),
        last_chunk(),
    ]);
    let whole = completion(json!([{"index": 0, "finish_reason": "tool_calls", "message": {"role": "assistant",
        "content": null, "tool_calls": [
            {"id": "t0", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}},
            {"id": "t1", "type": "function", "function": {"name": "g", "arguments": "{}"}}]}}]));
    check(Shape::OpenAi, &[Shape::OpenAi, Shape::Anthropic], &whole, &stream);
}

#[test]
fn choices_log_probabilities_and_unknown_members_are_kept() {
    let part = |index: u64, text: &str, more: Value| {
        let mut choice = json!({"index": index, "delta": {"content": text}, "finish_reason": null});
        choice.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        chunk(json!([choice]))
    };
    let prob =
        |token: &str, logprob: f64| json!({"token": token, "logprob": logprob, "bytes": [1, 2], "top_logprobs": []});
    let stream = openai(&[
        part(
            1,
            "b",
            json!({"delta": {"role": "assistant", "content": "b", "trace": {"id": 1}}, "logprobs": {"content": [prob("b", -0.1)], "refusal": null}}),
        ),
        part(
            0,
            "a",
            json!({"delta": {"role": "assistant", "content": "a"}, "logprobs": {"content": [prob("a", -0.5)], "refusal": null}}),
        ),
        part(
            1,
            "d",
            json!({"filters": {"hate": "safe"}, "logprobs": {"content": [prob("d", -0.25), prob("", -9.0)], "refusal": null}}),
        ),
        part(0, "", json!({"finish_reason": "stop", "logprobs": null})),
        part(1, "", json!({"finish_reason": "length"})),
        last_chunk(),
    ]);
    let whole = completion(json!([
        {"index": 0, "message": {"role": "assistant", "content": "a"}, "finish_reason": "stop",
            "logprobs": {"content": [prob("a", -0.5)], "refusal": null}},
        {"index": 1, "message": {"role": "assistant", "content": "bd", "trace": {"id": 1}}, "finish_reason": "length",
            "filters": {"hate": "safe"},
            "logprobs": {"content": [prob("b", -0.1), prob("d", -0.25), prob("", -9.0)], "refusal": null}}]));
    check(Shape::OpenAi, &[Shape::OpenAi], &whole, &stream);
}

#[test]
fn numbers_keep_their_spelling_and_cut_surrogates_become_whole() {
    let caller = request(Shape::OpenAi, &json!({}));
    let mut decoder = gather(Shape::OpenAi, &caller);
    let stream = r#"data: {"id":"c","n":1.50e+0,"choices":[{"index":0,"delta":{"content":"\ud83d"}}]}

data: {"choices":[{"index":0,"delta":{"content":"\ude00"},"finish_reason":"stop"}]}

data: [DONE]

"#;
    let mut events = Vec::new();
    decoder.feed(stream.as_bytes(), &mut events).unwrap();
    let Some(AnswerEvent::End(end)) = events.last() else { panic!("no end") };
    let body = String::from_utf8(end.closing(None, None).to_vec()).unwrap();
    assert!(body.contains("\"n\":1.50e+0"), "{body}");
    assert!(body.contains(r#""content":"\ud83d\ude00""#), "{body}");
}

fn anthropic(events: &[Value]) -> String {
    events.iter().map(|it| format!("event: {}\ndata: {it}\n\n", it["type"].as_str().unwrap())).collect()
}

fn message(content: Value, reason: &str) -> Value {
    json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "c", "content": content, "container": {"id": "k"},
        "stop_reason": reason, "stop_sequence": null, "usage": {"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 9}})
}

fn told(blocks: &[Value], reason: &str) -> String {
    let mut events =
        vec![json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant",
        "model": "c", "content": [], "stop_reason": null, "stop_sequence": null,
        "usage": {"input_tokens": 5, "cache_read_input_tokens": 2, "output_tokens": 1}}})];
    events.extend_from_slice(blocks);
    events.push(json!({"type": "ping"}));
    events.push(json!({"type": "message_delta", "delta": {"stop_reason": reason, "stop_sequence": null, "container": {"id": "k"}},
        "usage": {"output_tokens": 9}}));
    events.push(json!({"type": "message_stop"}));
    anthropic(&events)
}

fn delta(index: u64, delta: Value) -> Value {
    json!({"type": "content_block_delta", "index": index, "delta": delta})
}

fn start(index: u64, block: Value) -> Value {
    json!({"type": "content_block_start", "index": index, "content_block": block})
}

fn stop(index: u64) -> Value {
    json!({"type": "content_block_stop", "index": index})
}

#[test]
fn a_message_is_gathered_block_by_block() {
    let both = [Shape::Anthropic, Shape::OpenAi];
    let stream = told(
        &[
            start(0, json!({"type": "thinking", "thinking": "", "signature": ""})),
            delta(0, json!({"type": "thinking_delta", "thinking": "Let "})),
            delta(0, json!({"type": "thinking_delta", "thinking": "me"})),
            delta(0, json!({"type": "signature_delta", "signature": "sig"})),
            stop(0),
            start(1, json!({"type": "text", "text": "", "vendor": 1})),
            delta(1, json!({"type": "text_delta", "text": "Hel"})),
            delta(1, json!({"type": "text_delta", "text": "lo \"you\""})),
            stop(1),
        ],
        "end_turn",
    );
    let whole = message(
        json!([{"type": "thinking", "thinking": "Let me", "signature": "sig"},
            {"type": "text", "text": "Hello \"you\"", "vendor": 1}]),
        "end_turn",
    );
    check(Shape::Anthropic, &both, &whole, &stream);

    let stream = told(
        &[
            start(0, json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}})),
            delta(0, json!({"type": "input_json_delta", "partial_json": ""})),
            delta(0, json!({"type": "input_json_delta", "partial_json": "{\"a\": \"x"})),
            delta(0, json!({"type": "input_json_delta", "partial_json": "\"}"})),
            stop(0),
            start(1, json!({"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}})),
            stop(1),
        ],
        "tool_use",
    );
    let whole = message(
        json!([{"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"a": "x"}},
            {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}}]),
        "tool_use",
    );
    let caller = request(Shape::Anthropic, &json!({}));
    let want = read(AnthropicDialect.decoder(&caller, "application/json"), &[whole.to_string().as_bytes()]);
    assert_eq!(read(gather(Shape::Anthropic, &caller), &[stream.as_bytes()]).body, want.body);
}

#[test]
fn a_cut_answer_ends_before_the_last_event_with_a_reason_and_a_note() {
    let counted = Usage { input: 3, output: 2, ..Usage::default() };
    let cut = |target: Shape, caller: Shape, stream: &str| {
        let caller = request(caller, &json!({}));
        let mut decoder = gather(target, &caller);
        decoder.feed(stream.as_bytes(), &mut Vec::new()).unwrap();
        let end = decoder.cut(r#"{"note":"n"}"#).unwrap();
        assert_eq!(end.finish_reason(), Some("length"));
        serde_json::from_slice::<Value>(&end.closing(None, Some(&counted))).unwrap()
    };
    let one = chunk(json!([{"index": 0, "delta": {"role": "assistant", "content": "kept"}, "finish_reason": null}]));
    let two = chunk(json!([{"index": 0, "delta": {"content": " not"}, "finish_reason": null}]));
    let open = format!("data: {one}\n\ndata: {two}\n\n");
    let body = cut(Shape::OpenAi, Shape::OpenAi, &open);
    assert_eq!(body["choices"][0]["message"]["content"], "kept");
    assert_eq!((&body["choices"][0]["finish_reason"], &body["alfred"]), (&json!("length"), &json!({"note": "n"})));
    assert_eq!(body["usage"]["completion_tokens"], 2);
    let body = cut(Shape::OpenAi, Shape::Anthropic, &open);
    assert_eq!((&body["content"][0]["text"], &body["stop_reason"]), (&json!("kept"), &json!("max_tokens")));
    assert_eq!((&body["usage"]["output_tokens"], &body["alfred"]), (&json!(2), &json!({"note": "n"})));
    let nothing = cut(Shape::OpenAi, Shape::OpenAi, &format!("data: {one}\n\n"));
    assert_eq!(nothing["choices"][0]["message"]["content"], "");

    let events = anthropic(&[
        json!({"type": "message_start", "message": {"id": "msg_1", "type": "message", "role": "assistant", "model": "c",
            "content": [], "stop_reason": null, "usage": {"input_tokens": 3, "output_tokens": 1}}}),
        start(0, json!({"type": "text", "text": ""})),
        delta(0, json!({"type": "text_delta", "text": "kept"})),
        stop(0),
        start(1, json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}})),
        delta(1, json!({"type": "input_json_delta", "partial_json": "{\"a\":"})),
        delta(1, json!({"type": "input_json_delta", "partial_json": "1}"})),
    ]);
    let body = cut(Shape::Anthropic, Shape::Anthropic, &events);
    assert_eq!(body["content"], json!([{"type": "text", "text": "kept"}]), "a call without its end is no call");
    assert_eq!((&body["stop_reason"], &body["usage"]["output_tokens"]), (&json!("max_tokens"), &json!(2)));
    let body = cut(Shape::Anthropic, Shape::OpenAi, &events);
    assert_eq!(body["choices"][0]["message"]["content"], "kept");
    assert_eq!(body["choices"][0]["finish_reason"], "length");
}
