//! `make bench-codec`: what reading, translating and passing on costs. Medians of many runs, on one thread; release build.
//!
//! Prints three tables: a conversation of 100 messages with tools from every caller's shape to every target's, one event of a
//! stream on its way back, and a body of one megabyte.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use providers::{
    Aim, AnswerEvent, Auth, AwsKeys, Fleet, Live, ModelRequest, Outside, ProviderConfig, Secret, Shape, Target,
};
use serde_json::{Value, json};
use url::Url;

const CALLERS: [(&str, Shape); 4] = [
    ("chat completions", Shape::OpenAi),
    ("responses", Shape::Responses),
    ("messages", Shape::Anthropic),
    ("generateContent", Shape::Gemini),
];
const TARGETS: [&str; 6] = ["openai", "responses", "anthropic", "gemini", "bedrock", "cohere"];
/// Events of the stream that is measured.
const EVENTS: usize = 1_000;

fn main() {
    let fleet = fleet();
    let target = |name: &str| fleet.target(&format!("{name}/m")).expect(name);

    println!("100 messages with tools: read and translated, µs (median)\n");
    println!("| caller | {} |", TARGETS.join(" | "));
    println!("|---|{}", "---:|".repeat(TARGETS.len()));
    for (name, shape) in CALLERS {
        let body = conversation(shape, 100);
        let cells: Vec<_> = TARGETS.iter().map(|it| translated(&target(it), shape, &body)).collect();
        println!("| {name} | {} |", cells.join(" | "));
    }

    println!("\none event of a stream: read, counted, told to the caller, µs (mean of {EVENTS}; median run)\n");
    println!("| target | {} |", CALLERS.map(|it| it.0).join(" | "));
    println!("|---|{}", "---:|".repeat(CALLERS.len()));
    for name in ["openai", "anthropic", "gemini"] {
        let stream = stream(name);
        let cells: Vec<_> = CALLERS.iter().map(|(_, shape)| event(&target(name), *shape, &stream)).collect();
        println!("| {name} | {} |", cells.join(" | "));
    }

    let (text, many) = (long_text(), conversation(Shape::OpenAi, 2_600));
    println!(
        "\na megabyte, ms (median): read, and passed on in its own dialect\n\n| body | bytes | read | passed on |\n|---|---:|---:|---:|"
    );
    for (name, body) in [("one text", text), ("2,600 messages", many)] {
        let read = median(50, || drop(black_box(parse(Shape::OpenAi, &body))));
        let request = parse(Shape::OpenAi, &body);
        let openai = target("openai");
        let passed = median(50, || drop(black_box(encode(&openai, &request))));
        println!("| {name} | {} | {:.2} | {:.2} |", body.len(), read / 1_000.0, passed / 1_000.0);
    }
}

/// Read and encoded, as the gateway does it; what the target cannot be told is said so.
fn translated(target: &Arc<Target>, shape: Shape, body: &Bytes) -> String {
    let request = parse(shape, body);
    if let Err(why) = encode(target, &request) {
        return format!("refused ({why})");
    }
    format!("{:.0}", median(300, || drop(black_box(encode(target, &parse(shape, body))))))
}

fn event(target: &Arc<Target>, shape: Shape, stream: &[Bytes]) -> String {
    let mut body: Value = serde_json::from_slice(&conversation(shape, 1)).expect("a body");
    if shape != Shape::Gemini {
        body["stream"] = json!(true);
    }
    let request = parse(shape, &Bytes::from(body.to_string()));
    let run = || {
        let mut decoder = target.dialect().decoder(&request, "text/event-stream");
        let mut events: Vec<AnswerEvent> = Vec::new();
        for piece in stream {
            decoder.feed(piece, &mut events).expect("a good stream");
            black_box(&events);
            events.clear();
        }
        decoder.finish(&mut events).expect("a whole stream");
    };
    format!("{:.2}", median(60, run) / EVENTS as f64)
}

/// The median of so many runs, in microseconds.
fn median(runs: usize, mut run: impl FnMut()) -> f64 {
    run();
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let from = Instant::now();
            run();
            from.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[runs / 2]
}

fn parse(shape: Shape, body: &Bytes) -> ModelRequest {
    let outside = match shape {
        Shape::Gemini => Outside { model: Some("m".into()), stream: Some(true), ..Outside::default() },
        _ => Outside::default(),
    };
    ModelRequest::parse_with(shape, body.clone(), outside).expect("a good body")
}

fn encode(target: &Arc<Target>, request: &ModelRequest) -> Result<Bytes, String> {
    let base_url = Url::parse("https://up.test/v1").expect("an address");
    let (key, settings) = (Secret::new("k"), BTreeMap::from([("project".to_owned(), "p".to_owned())]));
    let aws = AwsKeys { access_key_id: "AKIA".into(), secret_access_key: Secret::new("s"), session_token: None };
    let aws = Live::new(aws);
    let aim = Aim {
        base_url: &base_url,
        model: "m",
        cap: 1_000,
        key: Some(&key),
        auth: Auth::Bearer,
        headers: &[],
        quirks: &target.quirks,
        settings: &settings,
        aws: Some(&aws),
        now: SystemTime::UNIX_EPOCH,
    };
    target.dialect().encode(request, &aim).map(|it| it.body).map_err(|it| it.to_string())
}

fn fleet() -> Fleet {
    let yaml = "
        - { id: openai, kind: openai, api_key: { env: K }, models: [{ id: m, context: 1000000 }] }
        - { id: responses, kind: openai, api_key: { env: K }, models: [{ id: m, context: 1000000, dialect: responses }] }
        - { id: anthropic, kind: anthropic, api_key: { env: K }, models: [{ id: m, context: 1000000 }] }
        - { id: gemini, kind: gemini, api_key: { env: K }, models: [{ id: m, context: 1000000 }] }
        - { id: bedrock, kind: bedrock, api_key: { env: K }, models: [{ id: m, context: 1000000 }] }
        - { id: cohere, kind: cohere, api_key: { env: K }, models: [{ id: m, context: 1000000 }] }";
    let configs: Vec<ProviderConfig> = serde_yaml_ng::from_str(yaml).expect("providers");
    Fleet::build(&configs, &|_| Some("k".to_owned())).unwrap_or_else(|faults| panic!("{faults:?}"))
}

/// So many messages in turns of four: a question, a call of a tool, its result, an answer; and ten tools.
fn conversation(shape: Shape, messages: usize) -> Bytes {
    let question =
        "What is the weather in Paris today, and should I take an umbrella? Please look it up first. ".repeat(2);
    let answer = "It is sunny in Paris, 21 degrees, and the sky stays clear until the evening. ".repeat(3);
    let schema = json!({"type": "object", "properties": {"city": {"type": "string", "description": "Where"},
        "days": {"type": "integer"}}, "required": ["city"]});
    let tools = (0..10).map(|n| (format!("tool_{n}"), "Looks something up that the answer needs"));
    let mut turns = Vec::new();
    for n in 0..messages {
        let id = format!("call_{}", n / 4);
        turns.extend(match (shape, n % 4) {
            (Shape::Responses, 0) => vec![json!({"role": "user", "content": question})],
            (Shape::Responses, 1) => vec![json!({"type": "function_call", "call_id": id, "name": "tool_1", "arguments": "{\"city\":\"Paris\"}"})],
            (Shape::Responses, 2) => vec![json!({"type": "function_call_output", "call_id": id, "output": answer})],
            (Shape::Responses, _) => vec![json!({"role": "assistant", "content": [{"type": "output_text", "text": answer}]})],
            (Shape::Anthropic, 0) => vec![json!({"role": "user", "content": question})],
            (Shape::Anthropic, 1) => vec![json!({"role": "assistant", "content": [{"type": "tool_use", "id": id, "name": "tool_1", "input": {"city": "Paris"}}]})],
            (Shape::Anthropic, 2) => vec![json!({"role": "user", "content": [{"type": "tool_result", "tool_use_id": id, "content": answer}]})],
            (Shape::Gemini, 0) => vec![json!({"role": "user", "parts": [{"text": question}]})],
            (Shape::Gemini, 1) => vec![json!({"role": "model", "parts": [{"functionCall": {"id": id, "name": "tool_1", "args": {"city": "Paris"}}}]})],
            (Shape::Gemini, 2) => vec![json!({"role": "user", "parts": [{"functionResponse": {"id": id, "name": "tool_1", "response": {"result": answer}}}]})],
            (Shape::Gemini, _) => vec![json!({"role": "model", "parts": [{"text": answer}]})],
            (_, 0) => vec![json!({"role": "user", "content": question})],
            (_, 1) => vec![json!({"role": "assistant", "content": null, "tool_calls": [{"id": id, "type": "function",
                "function": {"name": "tool_1", "arguments": "{\"city\":\"Paris\"}"}}]})],
            (_, 2) => vec![json!({"role": "tool", "tool_call_id": id, "content": answer})],
            (_, _) => vec![json!({"role": "assistant", "content": answer})],
        });
    }
    let body = match shape {
        Shape::Responses => json!({"model": "m", "max_output_tokens": 500, "input": turns,
            "tools": tools.map(|(name, what)| json!({"type": "function", "name": name, "description": what, "parameters": schema, "strict": false})).collect::<Vec<_>>()}),
        Shape::Anthropic => json!({"model": "m", "max_tokens": 500, "messages": turns,
            "tools": tools.map(|(name, what)| json!({"name": name, "description": what, "input_schema": schema})).collect::<Vec<_>>()}),
        Shape::Gemini => json!({"contents": turns, "generationConfig": {"maxOutputTokens": 500},
            "tools": [{"functionDeclarations": tools.map(|(name, what)| json!({"name": name, "description": what, "parametersJsonSchema": schema})).collect::<Vec<_>>()}]}),
        _ => json!({"model": "m", "max_tokens": 500, "messages": turns,
            "tools": tools.map(|(name, what)| json!({"type": "function", "function": {"name": name, "description": what, "parameters": schema}})).collect::<Vec<_>>()}),
    };
    body.to_string().into()
}

fn long_text() -> Bytes {
    let text = "Lorem ipsum dolor sit amet, consectetur adipiscing elit. ".repeat(1 << 14);
    json!({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": text}]}).to_string().into()
}

/// A stream of text, an event a piece.
fn stream(target: &str) -> Vec<Bytes> {
    let word = "word ";
    let mut pieces: Vec<String> = Vec::with_capacity(EVENTS + 4);
    match target {
        "openai" => {
            let chunk = |delta: Value, reason: Value| {
                let chunk = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
                    "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]});
                format!("data: {chunk}\n\n")
            };
            pieces.push(chunk(json!({"role": "assistant", "content": ""}), Value::Null));
            pieces.extend((0..EVENTS).map(|_| chunk(json!({"content": word}), Value::Null)));
            pieces.push(chunk(json!({}), json!("stop")));
            pieces.push("data: [DONE]\n\n".to_owned());
        }
        "anthropic" => {
            let event = |data: Value| format!("event: {}\ndata: {data}\n\n", data["type"].as_str().unwrap_or_default());
            pieces.push(event(json!({"type": "message_start", "message": {"id": "msg", "type": "message", "role": "assistant", "model": "m",
                "content": [], "stop_reason": null, "usage": {"input_tokens": 5, "output_tokens": 1}}})));
            pieces.push(event(
                json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            ));
            pieces.extend((0..EVENTS).map(|_| {
                event(json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}))
            }));
            pieces.push(event(json!({"type": "content_block_stop", "index": 0})));
            pieces.push(event(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 1000}})));
            pieces.push(event(json!({"type": "message_stop"})));
        }
        _ => {
            let event = |reason: Option<&str>| {
                let mut candidate = json!({"content": {"role": "model", "parts": [{"text": word}]}, "index": 0});
                if let Some(reason) = reason {
                    candidate["finishReason"] = json!(reason);
                }
                let data = json!({"candidates": [candidate], "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 9,
                    "totalTokenCount": 14}, "modelVersion": "m", "responseId": "r"});
                format!("data: {data}\r\n\r\n")
            };
            pieces.extend((0..EVENTS).map(|n| event((n + 1 == EVENTS).then_some("STOP"))));
        }
    }
    pieces.into_iter().map(Bytes::from).collect()
}
