//! Frames that are gathered for callers who want JSON: what the hub makes of them is what the whole answer would have been.

use serde_json::json;

use super::*;
use crate::gather::gather;
use crate::request::Usage;

const CALLERS: [(Shape, &str); 2] = [
    (Shape::OpenAi, r#"{"model":"m","messages":[{"role":"user","content":"a"}]}"#),
    (Shape::Anthropic, r#"{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"a"}]}"#),
];

fn gathering(caller: &ModelRequest) -> Box<dyn Decoder> {
    gather(&BedrockDialect, caller, &caller.streamed(), STREAM).unwrap()
}

fn without_id(body: &str) -> Value {
    let mut body: Value = serde_json::from_str(body).unwrap();
    body.as_object_mut().unwrap().remove("id");
    body
}

#[test]
fn a_gathered_stream_is_the_whole_answer() {
    let whole = |content: Value, reason: &str, usage: Value| json!({"output": {"message": {"role": "assistant", "content": content}}, "stopReason": reason, "usage": usage});
    let text = whole(
        json!([{"text": "Hello – \"wörld\"\n"}]),
        "end_turn",
        json!({"inputTokens": 25, "outputTokens": 15, "cacheReadInputTokens": 100, "cacheWriteInputTokens": 10}),
    );
    let tools = whole(
        json!([{"text": "Let me check."},
            {"toolUse": {"toolUseId": "tooluse_a1", "name": "get_weather", "input": {"location": "San Francisco, CA"}}},
            {"toolUse": {"toolUseId": "tooluse_b2", "name": "get_time", "input": {}}}]),
        "tool_use",
        json!({"inputTokens": 472, "outputTokens": 89}),
    );
    for (name, expected) in [("text", text), ("tools", tools)] {
        for (shape, ask) in CALLERS {
            let caller = request(shape, ask);
            // The arguments are compared as the text that the stream told.
            let expected = expected.to_string().replace("{\"location\":", "{\"location\": ");
            let want = told(&caller, expected.as_bytes(), None);
            let got = tell(&mut *gathering(&caller), &[&stream(name)], None);
            assert_eq!((got.error, &*got.frames), (None, ""), "{name} for {shape:?}");
            assert_eq!(without_id(&got.closing), without_id(&want.closing), "{name} for {shape:?}");
            assert_eq!((&got.usages, got.reason), (&want.usages, want.reason));
            let bytes = stream(name);
            let split = tell(&mut *gathering(&caller), &bytes.chunks(7).collect::<Vec<_>>(), None);
            assert_eq!(split.closing, got.closing, "under every split");
            let answered_json = tell(&mut *gathering(&caller), &[expected.as_bytes()], None);
            assert_eq!(without_id(&answered_json.closing), without_id(&want.closing), "JSON all the same");
        }
    }
}

#[test]
fn what_was_written_to_the_cache_reaches_the_caller_who_counts_it() {
    let caller = request(CALLERS[1].0, CALLERS[1].1);
    let got = tell(&mut *gathering(&caller), &[&stream("text")], None);
    let told: Value = serde_json::from_str(&got.closing).unwrap();
    let usage = json!({"input_tokens": 25, "cache_creation_input_tokens": 10, "cache_read_input_tokens": 100, "output_tokens": 15});
    assert_eq!(told["usage"], usage);
}

#[test]
fn frames_are_fed_one_by_one_and_a_cut_ends_before_the_last() {
    let bytes = stream("tools");
    let counted = Usage { input: 3, output: 2, ..Usage::default() };
    for (shape, ask) in CALLERS {
        let caller = request(shape, ask);
        let (mut decoder, mut rest, mut events) = (gathering(&caller), &bytes[..], Vec::new());
        let mut fed = 0;
        // Up to the first piece of the first call's arguments that says something.
        while fed < 6 {
            let end = decoder.event_end(rest);
            let before = events.len();
            decoder.feed(&rest[..end], &mut events).unwrap();
            assert!(events.len() <= before + 1, "one event at a time");
            rest = &rest[end..];
            fed += 1;
        }
        let end = decoder.cut(r#"{"note":"n"}"#).unwrap();
        let body: Value = serde_json::from_slice(&end.closing(None, Some(&counted))).unwrap();
        assert_eq!((end.finish_reason(), &body["alfred"]), (Some("length"), &json!({"note": "n"})));
        match shape {
            Shape::OpenAi => {
                let message = &body["choices"][0]["message"];
                assert_eq!(message["content"], "Let me check.");
                assert_eq!(message["tool_calls"][0]["function"]["arguments"], "", "the last piece was refused");
                assert_eq!(body["usage"]["completion_tokens"], 2);
            }
            _ => {
                assert_eq!(
                    body["content"],
                    json!([{"type": "text", "text": "Let me check."}]),
                    "half a call is no call"
                );
                assert_eq!((&body["stop_reason"], &body["usage"]["output_tokens"]), (&json!("max_tokens"), &json!(2)));
            }
        }
    }
}
