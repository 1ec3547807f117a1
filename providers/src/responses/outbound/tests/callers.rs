//! Callers of other shapes than chat completions, and of JSON where a stream was asked for.

use serde_json::json;

use super::answers::{ASK, ASK_WHOLE, SSE, STREAMS, told};
use super::*;
use crate::gather::gather;

pub(super) const ASK_ANTHROPIC: &str = r#"{"model":"m","max_tokens":99,"messages":[{"role":"user","content":"a"}],"stream":true,"thinking":{"type":"adaptive"}}"#;

#[test]
fn an_anthropic_caller_asks_and_is_answered_in_its_own_words() {
    let sent = encode(&anthropic(ASK_ANTHROPIC), Quirks::default()).unwrap();
    let sent: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!(sent["input"], json!([{"type": "message", "role": "user", "content": "a"}]));
    assert_eq!((&sent["max_output_tokens"], &sent["stream"]), (&json!(99), &json!(true)));
    for name in STREAMS {
        let answer = told(&anthropic(ASK_ANTHROPIC), &given(&format!("stream/{name}.in.sse")), Some("0.0012"));
        assert_eq!(answer.error, None);
        check_file(&format!("stream/{name}.anthropic.sse"), &(answer.frames + &answer.closing));
    }
}

#[test]
fn a_stream_that_is_gathered_is_the_body_that_would_have_come_whole() {
    for (name, whole) in [("tools", "tools"), ("said", "said")] {
        for caller in [openai(ASK_WHOLE), anthropic(&ASK_ANTHROPIC.replace("true", "false"))] {
            let want = told(&caller, &given(&format!("whole/{whole}.in.json")), None);
            let stream = given(&format!("stream/{name}.in.sse"));
            let mut gathered = gather(&ResponsesDialect, &caller, &caller.streamed(), SSE).unwrap();
            let pieces: Vec<&[u8]> = stream.as_bytes().chunks(7).collect();
            let got = tell(&mut *gathered, &pieces, None);
            assert_eq!((got.error, got.text, got.usages), (None, want.text, want.usages));
            let plain = |body: &str| {
                // In events log probabilities come without the tokens' bytes.
                let mut body: Value = serde_json::from_str(body).unwrap();
                if let Some(choice) = body.pointer_mut("/choices/0") {
                    choice["logprobs"] = Value::Null;
                }
                body
            };
            assert_eq!(plain(&got.closing), plain(&want.closing), "{name} {:?}", caller.shape());
        }
    }
}

#[test]
fn a_caller_of_responses_is_only_spliced_and_every_event_passes() {
    let ask = r#"{ "model":"a", "input":"h\u0069", "x_new":1.0, "stream":true, "fallbacks":["b"] }"#;
    let request = ModelRequest::parse(Shape::Responses, ask.into()).unwrap();
    let sent = encode(&request, Quirks::default()).unwrap();
    assert_eq!(
        std::str::from_utf8(&sent.body).unwrap(),
        r#"{ "model":"gpt-5-pro", "input":"h\u0069", "x_new":1.0, "stream":true,"max_output_tokens":512 }"#
    );
    for name in STREAMS {
        let stream = given(&format!("stream/{name}.in.sse"));
        let answer = told(&request, &stream, None);
        assert_eq!((answer.error, answer.frames + &answer.closing), (None, stream));
    }
}

#[test]
fn an_anthropic_callers_thinking_goes_round() {
    let answer = told(&anthropic(&ASK_ANTHROPIC.replace("true", "false")), &given("whole/tools.in.json"), None);
    let answer: Value = serde_json::from_str(&answer.closing).unwrap();
    let sent_back = json!({"model": "m", "max_tokens": 99, "messages": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": answer["content"].as_array().unwrap()[..3]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_Weather1", "content": "4°"}]}]});
    let sent = encode(&anthropic(&sent_back.to_string()), Quirks::default()).unwrap();
    let sent: Value = serde_json::from_slice(&sent.body).unwrap();
    assert_eq!(sent["input"][1]["encrypted_content"], "gAAAAABpZ2Fm-xk_9w==");
}

#[test]
fn an_answer_that_is_sent_back_is_asked_with_the_items_that_it_was_made_of() {
    let answer = told(&openai(ASK_WHOLE), &given("whole/tools.in.json"), None);
    let mut answer: Value = serde_json::from_str(&answer.closing).unwrap();
    let asked =
        json!({"model": "m", "messages": [{"role": "user", "content": "a"}, answer["choices"][0]["message"].take()]});
    let sent = encode(&openai(&asked.to_string()), Quirks::default()).unwrap();
    let sent: Value = serde_json::from_slice(&sent.body).unwrap();
    let items: Vec<_> = sent["input"].as_array().unwrap()[1..].iter().map(|item| item["type"].clone()).collect();
    assert_eq!(items, ["reasoning", "message", "function_call", "function_call", "custom_tool_call"]);
    assert_eq!(
        (&sent["input"][1]["id"], &sent["input"][1]["encrypted_content"]),
        (&json!("rs_0b2"), &json!("gAAAAABpZ2Fm-xk_9w=="))
    );
}

#[test]
fn a_stream_of_which_the_caller_wants_no_usage_has_none() {
    let quiet = openai(&ASK.replace(r#","stream_options":{"include_usage":true}"#, ""));
    let answer = told(&quiet, &given("stream/text.in.sse"), Some("1"));
    assert_eq!(answer.closing, "data: [DONE]\n\n");
    assert_eq!(answer.usages.len(), 1);
}
