//! What translating costs. `cargo test --release -p providers --lib gemini::tests::cost -- --ignored --nocapture`

use std::time::{Duration, Instant};

use serde_json::json;

use super::*;

/// The median of many.
fn median(times: usize, mut work: impl FnMut()) -> Duration {
    let mut all: Vec<Duration> = (0..times)
        .map(|_| {
            let start = Instant::now();
            work();
            start.elapsed()
        })
        .collect();
    all.sort();
    all[times / 2]
}

/// A chat of 100 messages with tools, as an agent has it.
fn long_chat() -> ModelRequest {
    let tool = json!({"type": "function", "function": {"name": "search", "description": "Looks things up",
        "parameters": {"type": "object", "properties": {"query": {"type": "string"}, "limit": {"type": "integer"}}}}});
    let mut messages = vec![json!({"role": "system", "content": "You help."})];
    for turn in 0..33 {
        let id = format!("call_{turn}");
        let arguments = format!("{{\"query\":\"thing {turn}\",\"limit\":10}}");
        messages.push(json!({"role": "user", "content": format!("Question {turn}: {}", "what about it? ".repeat(10))}));
        messages.push(json!({"role": "assistant", "content": null, "tool_calls": [{"id": id, "type": "function",
            "function": {"name": "search", "arguments": arguments}}]}));
        messages.push(json!({"role": "tool", "tool_call_id": id, "content": "found: ".repeat(30)}));
    }
    openai(&json!({"model": "m", "messages": messages, "tools": vec![tool; 5]}).to_string())
}

#[test]
#[ignore = "a measurement"]
fn a_long_chat_with_tools_is_translated_quickly() {
    let request = long_chat();
    let took = median(2_000, || drop(encode(&request, "gemini-3-pro-preview").unwrap()));
    eprintln!("100 messages, {} bytes: {took:?}", request.body().len());
    assert!(took.as_micros() <= 300 || cfg!(debug_assertions));
}

#[test]
#[ignore = "a measurement"]
fn an_event_of_a_stream_is_translated_quickly() {
    const EVENTS: u32 = 1_000;
    let event = r#"data: {"candidates":[{"content":{"parts":[{"text":" and so on"}],"role":"model"},"index":0}],"usageMetadata":{"promptTokenCount":10,"candidatesTokenCount":5,"totalTokenCount":15},"modelVersion":"gemini-2.5-flash","responseId":"mFTzaKq2Nd_2xN8P"}"#;
    let frame = format!("{event}\r\n\r\n");
    let ask = openai(r#"{"model":"m","messages":[],"stream":true}"#);
    for (name, own) in [("translated", false), ("as it came", true)] {
        let took = median(200, || {
            let mut passage = passage::Passage::default();
            let mut translated = GeminiDialect.decoder(&ask, SSE);
            let decoder: &mut dyn Decoder = if own { &mut passage } else { &mut *translated };
            let mut out = Vec::new();
            for _ in 0..EVENTS {
                decoder.feed(frame.as_bytes(), &mut out).unwrap();
                out.clear();
            }
        });
        eprintln!("an event {name}: {:?}", took / EVENTS);
        assert!((took / EVENTS).as_nanos() <= 3_000 || cfg!(debug_assertions));
    }
}
