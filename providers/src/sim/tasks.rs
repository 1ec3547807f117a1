//! What the simulator makes of one-shot tasks: plain, cheap, and the same for the same request.

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::{CREATED, Ending, Script, failure, fnv, say};
use crate::catalog::Tokenizer;
use crate::request::{ModelRequest, Shape};
use crate::tokens;

const DIMENSIONS: usize = 256;
/// A white dot.
const DOT: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mP8/x8AAwMCAO+ip1sAAAAASUVORK5CYII=";
const RATE: usize = 24_000;
/// No tone is longer.
const LONGEST: usize = 10;

/// Answers a request for this model.
pub(crate) fn answer(model: &str, request: &ModelRequest) -> Script {
    let call: Value = serde_json::from_str(request.text()).unwrap_or_default();
    let prompt = tokens::estimate_input(Tokenizer::O200k, request, Some(100));
    let usage = json!({ "prompt_tokens": prompt, "total_tokens": prompt });
    match request.shape() {
        Shape::Completions => return completions(model, request, &call, prompt),
        Shape::Speech => return script("audio/wav", tone(request.view().asked.characters)),
        Shape::Transcriptions | Shape::Translations => return heard(request),
        _ => {}
    }
    let body = match request.shape() {
        Shape::Embeddings => json!({ "object": "list", "data": vectors(&call), "model": name(model), "usage": usage }),
        Shape::Moderations => moderations(model, &call),
        Shape::Rerank => ranked(model, &call),
        Shape::Images | Shape::ImageEdits => {
            let images: Vec<Value> = (0..request.choices()).map(|_| json!({ "b64_json": DOT })).collect();
            json!({ "created": CREATED, "data": images })
        }
        _ => return failure(404, "not_found"),
    };
    script("application/json", body.to_string().into())
}

fn script(content_type: &'static str, body: Bytes) -> Script {
    Script { status: 200, content_type, retry_after: None, pieces: vec![(Duration::ZERO, body)], ending: Ending::Clean }
}

fn name(model: &str) -> String {
    format!("sim-{model}")
}

fn completions(model: &str, request: &ModelRequest, call: &Value, prompt: u64) -> Script {
    let text = texts(&call["prompt"]).join("\n");
    let asked =
        json!({ "model": "m", "messages": [{ "role": "user", "content": text }], "max_tokens": request.max_output() });
    let Ok(chat) = ModelRequest::parse(Shape::OpenAi, asked.to_string().into()) else {
        return failure(400, "invalid_request_error");
    };
    let said: Vec<say::Said> = (0..request.choices()).map(|i| say::say(&chat, &asked, i)).collect();
    let output: u64 = said.iter().map(|it| it.tokens).sum();
    let usage = json!({ "prompt_tokens": prompt, "completion_tokens": output, "total_tokens": prompt + output });
    let id = format!("cmpl-sim{:016x}", fnv(&request.canonical()));
    let chunk = |choices: Value, usage: Value| {
        json!({
            "id": id, "object": "text_completion", "created": CREATED, "model": name(model), "choices": choices, "usage": usage,
        })
    };
    let choice = |i: usize, text: &str, reason: Value| json!({ "index": i, "text": text, "logprobs": null, "finish_reason": reason });
    if !request.stream() {
        let choices = said.iter().enumerate().map(|(i, it)| choice(i, &it.pieces.concat(), json!(it.reason)));
        return script("application/json", chunk(choices.collect(), usage).to_string().into());
    }
    let mut body = String::new();
    for (i, said) in said.iter().enumerate() {
        for piece in &said.pieces {
            body.push_str(&format!("data: {}\n\n", chunk(json!([choice(i, piece, Value::Null)]), Value::Null)));
        }
        body.push_str(&format!("data: {}\n\n", chunk(json!([choice(i, "", json!(said.reason))]), Value::Null)));
    }
    body.push_str(&format!("data: {}\n\ndata: [DONE]\n\n", chunk(json!([]), usage)));
    script("text/event-stream", body.into())
}

/// Every text of an input; tokens count as one.
fn texts(input: &Value) -> Vec<String> {
    match input {
        Value::String(text) => vec![text.clone()],
        Value::Array(all) if all.iter().all(|it| it.is_string() || it.is_array() || it.is_object()) => all
            .iter()
            .map(|it| it.as_str().or(it["text"].as_str()).map_or_else(|| it.to_string(), str::to_owned))
            .collect(),
        other => vec![other.to_string()],
    }
}

/// Words as they count here: folded, without what surrounds them.
fn words(text: &str) -> Vec<String> {
    let folded = text.to_lowercase();
    folded.split(|c: char| !c.is_alphanumeric()).filter(|it| !it.is_empty()).map(str::to_owned).collect()
}

fn vectors(call: &Value) -> Value {
    let dimensions = call["dimensions"].as_u64().and_then(|it| usize::try_from(it).ok()).unwrap_or(DIMENSIONS);
    let as_text = call["encoding_format"] == "base64";
    let vector = |(i, text): (usize, &String)| {
        let vector = vector(text, dimensions.clamp(1, 4_096));
        let embedding = match as_text {
            true => json!(base64(&vector.iter().flat_map(|it| it.to_le_bytes()).collect::<Vec<u8>>())),
            false => json!(vector),
        };
        json!({ "object": "embedding", "index": i, "embedding": embedding })
    };
    texts(&call["input"]).iter().enumerate().map(vector).collect()
}

/// Texts that share words point the same way.
fn vector(text: &str, dimensions: usize) -> Vec<f32> {
    let mut vector = vec![0.0_f32; dimensions];
    for word in words(text) {
        let hash = fnv(word.as_bytes());
        let at = usize::try_from(hash % dimensions as u64).unwrap_or(0);
        vector[at] += if hash >> 63 == 0 { 1.0 } else { -1.0 };
    }
    let length = vector.iter().map(|it| it * it).sum::<f32>().sqrt();
    if length == 0.0 {
        vector[0] = 1.0;
        return vector;
    }
    vector.iter().map(|it| it / length).collect()
}

fn moderations(model: &str, call: &Value) -> Value {
    let judge = |text: &String| {
        let flagged = words(text).iter().any(|word| word == "violence");
        json!({
            "flagged": flagged, "categories": { "violence": flagged },
            "category_scores": { "violence": if flagged { 0.99 } else { 0.01 } },
        })
    };
    let results: Vec<Value> = texts(&call["input"]).iter().map(judge).collect();
    json!({ "id": "modr-sim", "model": name(model), "results": results })
}

fn ranked(model: &str, call: &Value) -> Value {
    let asked = words(call["query"].as_str().unwrap_or_default());
    let documents = texts(&call["documents"]);
    let score = |text: &str| {
        let found = words(text);
        let shared = asked.iter().filter(|word| found.contains(word)).count();
        shared as f64 / asked.len().max(1) as f64
    };
    let mut results: Vec<(usize, f64)> = documents.iter().enumerate().map(|(i, text)| (i, score(text))).collect();
    results.sort_by(|a, b| b.1.total_cmp(&a.1));
    let most = call["top_n"].as_u64().and_then(|it| usize::try_from(it).ok()).unwrap_or(usize::MAX);
    let results: Vec<Value> =
        results.iter().take(most).map(|(i, score)| json!({ "index": i, "relevance_score": score })).collect();
    let units = documents.len().div_ceil(100);
    json!({ "id": name(model), "results": results, "meta": { "billed_units": { "search_units": units } } })
}

fn heard(request: &ModelRequest) -> Script {
    let usage = crate::tasks::heard_seconds(request);
    let text = format!("The simulator heard {usage} seconds.");
    match request.view().asked.format.as_deref() {
        Some("text" | "srt" | "vtt") => script("text/plain; charset=utf-8", format!("{text}\n").into()),
        _ => {
            let body = json!({ "text": text, "usage": { "type": "duration", "seconds": usage } });
            script("application/json", body.to_string().into())
        }
    }
}

/// A quiet tone, as long as the text would take to say.
fn tone(characters: u64) -> Bytes {
    let seconds = usize::try_from(characters.div_ceil(15)).unwrap_or(LONGEST).clamp(1, LONGEST);
    let length = u32::try_from(seconds * RATE * 2).unwrap_or(u32::MAX);
    let rate = u32::try_from(RATE).unwrap_or(u32::MAX);
    let mut file = b"RIFF".to_vec();
    file.extend((36 + length).to_le_bytes());
    file.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    file.extend(rate.to_le_bytes());
    file.extend((rate * 2).to_le_bytes());
    file.extend(b"\x02\0\x10\0data");
    file.extend(length.to_le_bytes());
    for i in 0..seconds * RATE {
        let sample: i16 = if (i / 30) % 2 == 0 { 900 } else { -900 };
        file.extend(sample.to_le_bytes());
    }
    file.into()
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let three = [chunk[0], chunk.get(1).copied().unwrap_or(0), chunk.get(2).copied().unwrap_or(0)];
        let bits = three.iter().fold(0_usize, |sum, b| (sum << 8) | usize::from(*b));
        for i in 0..4 {
            let letter = char::from(LETTERS[(bits >> (18 - 6 * i)) & 63]);
            out.push(if i <= chunk.len() { letter } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(shape: Shape, body: Value) -> Value {
        let request = ModelRequest::parse(shape, body.to_string().into()).unwrap();
        serde_json::from_slice(&answer("m", &request).pieces[0].1).unwrap()
    }

    #[test]
    fn vectors_of_texts_that_share_words_are_near_and_are_told_in_both_encodings() {
        let body = |format: &str| json!({ "model": "m", "input": ["a red fox", "the red fox", "tax law"], "encoding_format": format });
        let told = ask(Shape::Embeddings, body("float"));
        let vector = |i: usize| -> Vec<f64> {
            told["data"][i]["embedding"].as_array().unwrap().iter().map(|it| it.as_f64().unwrap()).collect()
        };
        let dot = |a: usize, b: usize| vector(a).iter().zip(vector(b)).map(|(a, b)| a * b).sum::<f64>();
        assert!(dot(0, 1) > 0.5 && dot(0, 2) < 0.3 && (dot(0, 0) - 1.0).abs() < 1e-5);
        assert_eq!(told["usage"]["prompt_tokens"], told["usage"]["total_tokens"]);
        let text = ask(Shape::Embeddings, body("base64"));
        assert_eq!(text["data"][0]["embedding"].as_str().unwrap().len(), (DIMENSIONS * 4_usize).div_ceil(3) * 4);
        assert_eq!((base64(b"M"), base64(b"Ma"), base64(b"Man")), ("TQ==".into(), "TWE=".into(), "TWFu".into()));
    }

    #[test]
    fn the_other_tasks_are_answered_in_their_shapes() {
        let order = ask(
            Shape::Rerank,
            json!({ "model": "m", "query": "red fox", "documents": ["tax", {"text": "a red fox"}], "top_n": 1 }),
        );
        assert_eq!(order["results"], json!([{ "index": 1, "relevance_score": 1.0 }]));
        let judged = ask(Shape::Moderations, json!({ "input": ["peace", "violence"] }));
        assert_eq!((&judged["results"][0]["flagged"], &judged["results"][1]["flagged"]), (&json!(false), &json!(true)));
        let drawn = ask(Shape::Images, json!({ "model": "m", "prompt": "a dot", "n": 2 }));
        assert_eq!(drawn["data"].as_array().unwrap().len(), 2);
        let said = ask(Shape::Completions, json!({ "model": "m", "prompt": "hello", "max_tokens": 3, "n": 2 }));
        assert_eq!((&said["object"], &said["usage"]["completion_tokens"]), (&json!("text_completion"), &json!(6)));
    }
}
