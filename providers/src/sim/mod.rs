//! The built-in provider: what it answers is a pure function of the request, in OpenAI's bytes, so that it goes through the same
//! decoder as everyone else's. `catalog/sim.yaml` tells its models.

mod say;
mod shape;
mod tasks;

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::catalog::Tokenizer;
use crate::request::{ModelRequest, Shape};
use crate::tokens;
use say::Said;

pub(crate) use tasks::answer as answer_task;

/// All answers carry the same time; the simulator has no clock.
const CREATED: u64 = 1_735_689_600;
const CONTEXT: u64 = 128_000;
const SLOW: Duration = Duration::from_millis(60);

/// A whole answer, as it will come.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Script {
    pub status: u16,
    pub content_type: &'static str,
    pub retry_after: Option<&'static str>,
    /// What comes, each after its wait.
    pub pieces: Vec<(Duration, Bytes)>,
    pub ending: Ending,
}

/// How it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    Clean,
    /// The connection breaks.
    Torn,
    /// Nothing ever comes.
    Silent,
}

/// Answers a body that was encoded for this model.
pub(crate) fn answer(model: &str, body: &Bytes) -> Script {
    let Ok(request) = ModelRequest::parse(Shape::OpenAi, body.clone()) else {
        return failure(400, "invalid_request_error");
    };
    let hash = fnv(&request.canonical());
    match model {
        "broken" => return failure(503, "server_error"),
        "limited" => return Script { retry_after: Some("2"), ..failure(429, "rate_limit_exceeded") },
        "silent" => return Script { ending: Ending::Silent, ..failure(200, "") },
        "flaky" if hash & 1 == 1 => return failure(503, "server_error"),
        _ => {}
    }
    let prompt = tokens::estimate_input(Tokenizer::O200k, &request, Some(100));
    if prompt > CONTEXT {
        return failure(400, "context_length_exceeded");
    }
    let call: Value = serde_json::from_slice(body).unwrap_or_default();
    let said: Vec<Said> = (0..request.choices()).map(|i| say::say(&request, &call, i)).collect();
    let output: u64 = said.iter().map(|it| it.tokens).sum();
    let usage = json!({
        "prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output,
        "prompt_tokens_details": { "cached_tokens": 0 }, "completion_tokens_details": { "reasoning_tokens": 0 },
    });
    let head = Head { id: format!("chatcmpl-sim{hash:016x}"), model: format!("sim-{model}") };
    let wait = if model == "slow" { SLOW } else { Duration::ZERO };
    let (content_type, mut pieces) = if request.stream() {
        ("text/event-stream", stream(&head, &said, wait, request.wants_usage().then_some(usage)))
    } else {
        ("application/json", vec![(wait * 10, whole(&head, &said, usage))])
    };
    let mut ending = Ending::Clean;
    if model == "torn" {
        ending = Ending::Torn;
        pieces.truncate(pieces.len() / 2);
    }
    Script { status: 200, content_type, retry_after: None, pieces, ending }
}

struct Head {
    id: String,
    model: String,
}

fn stream(head: &Head, said: &[Said], wait: Duration, usage: Option<Value>) -> Vec<(Duration, Bytes)> {
    let ask_usage = usage.is_some();
    let chunk = |choices: Value, usage: Option<&Value>| {
        let mut chunk = json!({
            "id": head.id, "object": "chat.completion.chunk", "created": CREATED, "model": head.model, "choices": choices,
        });
        if ask_usage {
            chunk["usage"] = usage.cloned().unwrap_or(Value::Null);
        }
        Bytes::from(format!("data: {chunk}\n\n"))
    };
    let choice = |i: usize, delta: Value, reason: Value| json!([{ "index": i, "delta": delta, "logprobs": null, "finish_reason": reason }]);
    let mut out = Vec::new();
    for (i, said) in said.iter().enumerate() {
        let opening = if said.call.is_some() { Value::Null } else { json!("") };
        out.push((wait, chunk(choice(i, json!({ "role": "assistant", "content": opening }), Value::Null), None)));
        if let Some(call) = &said.call {
            let start = json!({ "tool_calls": [{ "index": 0, "id": call.id, "type": "function", "function": { "name": call.name, "arguments": "" } }] });
            out.push((wait, chunk(choice(i, start, Value::Null), None)));
        }
        for piece in &said.pieces {
            let delta = match &said.call {
                Some(_) => json!({ "tool_calls": [{ "index": 0, "function": { "arguments": piece } }] }),
                None => json!({ "content": piece }),
            };
            out.push((wait, chunk(choice(i, delta, Value::Null), None)));
        }
        out.push((wait, chunk(choice(i, json!({}), json!(said.reason)), None)));
    }
    if let Some(usage) = &usage {
        out.push((Duration::ZERO, chunk(json!([]), Some(usage))));
    }
    out.push((Duration::ZERO, Bytes::from_static(b"data: [DONE]\n\n")));
    out
}

fn whole(head: &Head, said: &[Said], usage: Value) -> Bytes {
    let choices: Vec<Value> = said
        .iter()
        .enumerate()
        .map(|(i, said)| {
            let text = said.pieces.concat();
            let message = match &said.call {
                Some(call) => json!({
                    "role": "assistant", "content": null, "refusal": null,
                    "tool_calls": [{ "id": call.id, "type": "function", "function": { "name": call.name, "arguments": text } }],
                }),
                None => json!({ "role": "assistant", "content": text, "refusal": null }),
            };
            json!({ "index": i, "message": message, "logprobs": null, "finish_reason": said.reason })
        })
        .collect();
    let body = json!({
        "id": head.id, "object": "chat.completion", "created": CREATED, "model": head.model, "choices": choices, "usage": usage,
    });
    Bytes::from(body.to_string())
}

fn failure(status: u16, code: &str) -> Script {
    let body =
        json!({ "error": { "message": "the simulator fails as asked", "type": code, "param": null, "code": code } });
    Script {
        status,
        content_type: "application/json",
        retry_after: None,
        pieces: vec![(Duration::ZERO, Bytes::from(body.to_string()))],
        ending: Ending::Clean,
    }
}

/// FNV-1a: the same on every machine.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests;
