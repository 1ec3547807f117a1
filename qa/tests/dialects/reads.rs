//! What a caller of each dialect makes of an answer, whole or streamed.

use qa::http::Answer;
use serde_json::{Value, json};

use crate::asks::Caller;

/// An answer, whatever dialect it came in.
#[derive(Debug, Default, PartialEq)]
pub struct Said {
    pub text: String,
    pub reasoning: String,
    /// Names and arguments of the calls.
    pub calls: Vec<(String, Value)>,
    /// As the dialect spells it.
    pub ending: String,
    pub input: u64,
    pub output: u64,
}

pub fn read(caller: Caller, answer: &Answer, stream: bool) -> Said {
    match (caller, stream) {
        (Caller::Chat, false) => chat(&answer.json()),
        (Caller::Chat, true) => chat_stream(&answer.chunks()),
        (Caller::Responses, false) => response(&answer.json()),
        (Caller::Responses, true) => response_stream(&answer.chunks()),
        (Caller::Messages, false) => message(&answer.json()),
        (Caller::Messages, true) => message_stream(&answer.chunks()),
        (Caller::Gemini, false) => gemini(&[answer.json()]),
        (Caller::Gemini, true) => gemini(&answer.chunks()),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn arguments(value: &Value) -> Value {
    serde_json::from_str(text(value)).unwrap_or_else(|e| panic!("arguments are no JSON ({e}): {value}"))
}

fn each(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn chat(body: &Value) -> Said {
    let choice = &body["choices"][0];
    let message = &choice["message"];
    Said {
        text: text(&message["content"]).to_owned(),
        reasoning: text(&message["reasoning_content"]).to_owned(),
        calls: each(&message["tool_calls"])
            .map(|call| (text(&call["function"]["name"]).to_owned(), arguments(&call["function"]["arguments"])))
            .collect(),
        ending: text(&choice["finish_reason"]).to_owned(),
        input: body["usage"]["prompt_tokens"].as_u64().unwrap_or_default(),
        output: body["usage"]["completion_tokens"].as_u64().unwrap_or_default(),
    }
}

fn chat_stream(chunks: &[Value]) -> Said {
    let mut said = Said::default();
    let mut calls: Vec<(String, String)> = Vec::new();
    for chunk in chunks {
        if let Some(usage) = chunk.get("usage").filter(|it| it.is_object()) {
            said.input = usage["prompt_tokens"].as_u64().unwrap_or_default();
            said.output = usage["completion_tokens"].as_u64().unwrap_or_default();
        }
        for choice in each(&chunk["choices"]) {
            let delta = &choice["delta"];
            said.text.push_str(text(&delta["content"]));
            said.reasoning.push_str(text(&delta["reasoning_content"]));
            for call in each(&delta["tool_calls"]) {
                let index = usize::try_from(call["index"].as_u64().expect("an index")).expect("small");
                calls.resize(calls.len().max(index + 1), Default::default());
                calls[index].0.push_str(text(&call["function"]["name"]));
                calls[index].1.push_str(text(&call["function"]["arguments"]));
            }
            if let Some(reason) = choice["finish_reason"].as_str() {
                said.ending = reason.to_owned();
            }
        }
    }
    said.calls = calls.into_iter().map(|(name, raw)| (name, arguments(&json!(raw)))).collect();
    said
}

fn response(body: &Value) -> Said {
    let mut said = Said {
        ending: text(&body["status"]).to_owned(),
        input: body["usage"]["input_tokens"].as_u64().unwrap_or_default(),
        output: body["usage"]["output_tokens"].as_u64().unwrap_or_default(),
        ..Said::default()
    };
    for item in each(&body["output"]) {
        match text(&item["type"]) {
            "message" => {
                each(&item["content"]).for_each(|part| said.text.push_str(text(&part["text"])));
            }
            "reasoning" => {
                let parts = each(&item["summary"]).chain(each(&item["content"]));
                parts.for_each(|part| said.reasoning.push_str(text(&part["text"])));
            }
            "function_call" => {
                said.calls.push((text(&item["name"]).to_owned(), arguments(&item["arguments"])));
            }
            other => panic!("an item of type {other}"),
        }
    }
    said
}

fn response_stream(events: &[Value]) -> Said {
    let kind = |event: &Value| text(&event["type"]).to_owned();
    assert_eq!(events.first().map(kind).as_deref(), Some("response.created"), "{events:?}");
    let last = events.last().expect("an end");
    let said = response(&last["response"]);
    let deltas: String =
        events.iter().filter(|it| kind(it) == "response.output_text.delta").map(|it| text(&it["delta"])).collect();
    assert_eq!(deltas, said.text, "the deltas are the text");
    let numbers: Vec<u64> = events.iter().filter_map(|it| it["sequence_number"].as_u64()).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    said
}

fn message(body: &Value) -> Said {
    let mut said = Said {
        ending: text(&body["stop_reason"]).to_owned(),
        input: body["usage"]["input_tokens"].as_u64().unwrap_or_default(),
        output: body["usage"]["output_tokens"].as_u64().unwrap_or_default(),
        ..Said::default()
    };
    for block in each(&body["content"]) {
        match text(&block["type"]) {
            "text" => said.text.push_str(text(&block["text"])),
            "thinking" => said.reasoning.push_str(text(&block["thinking"])),
            "tool_use" => said.calls.push((text(&block["name"]).to_owned(), block["input"].clone())),
            other => panic!("a block of type {other}"),
        }
    }
    said
}

fn message_stream(events: &[Value]) -> Said {
    let mut said = Said::default();
    let mut inputs: Vec<(u64, String, String)> = Vec::new();
    for event in events {
        let usage = [&event["message"]["usage"], &event["usage"]];
        for usage in usage.into_iter().filter(|it| it.is_object()) {
            said.input = usage["input_tokens"].as_u64().unwrap_or_default().max(said.input);
            said.output = usage["output_tokens"].as_u64().unwrap_or_default().max(said.output);
        }
        let index = event["index"].as_u64().unwrap_or_default();
        match text(&event["type"]) {
            "content_block_start" if event["content_block"]["type"] == "tool_use" => {
                inputs.push((index, text(&event["content_block"]["name"]).to_owned(), String::new()));
            }
            "content_block_delta" => {
                let delta = &event["delta"];
                said.text.push_str(text(&delta["text"]));
                said.reasoning.push_str(text(&delta["thinking"]));
                if let Some((_, _, raw)) = inputs.iter_mut().find(|(at, ..)| *at == index) {
                    raw.push_str(text(&delta["partial_json"]));
                }
            }
            "message_delta" => said.ending = text(&event["delta"]["stop_reason"]).to_owned(),
            _ => {}
        }
    }
    assert_eq!(events.last().map(|it| text(&it["type"])), Some("message_stop"), "{events:?}");
    said.calls = inputs.into_iter().map(|(_, name, raw)| (name, arguments(&json!(raw)))).collect();
    said
}

fn gemini(pieces: &[Value]) -> Said {
    let mut said = Said::default();
    for piece in pieces {
        let candidate = &piece["candidates"][0];
        for part in each(&candidate["content"]["parts"]) {
            match part["thought"].as_bool().unwrap_or_default() {
                true => said.reasoning.push_str(text(&part["text"])),
                false => said.text.push_str(text(&part["text"])),
            }
            if let Some(call) = part.get("functionCall") {
                said.calls.push((text(&call["name"]).to_owned(), call["args"].clone()));
            }
        }
        if let Some(reason) = candidate["finishReason"].as_str() {
            said.ending = reason.to_owned();
        }
        if let Some(usage) = piece.get("usageMetadata") {
            said.input = usage["promptTokenCount"].as_u64().unwrap_or_default();
            let thoughts = usage["thoughtsTokenCount"].as_u64().unwrap_or_default();
            said.output = usage["candidatesTokenCount"].as_u64().unwrap_or_default() + thoughts;
        }
    }
    said
}
