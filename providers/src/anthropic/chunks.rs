//! Anthropic's answer told in OpenAI's words: each event becomes at most one `chat.completion.chunk`, a whole message
//! becomes one `chat.completion`.
//!
//! Thinking is told as `reasoning_content`, and each finished block once more as a signed entry of `thinking_blocks`, so
//! that a client which sends its history back keeps what Anthropic needs to go on after a tool call. `created` is
//! when the call came: Anthropic tells no time, and a dialect has no clock.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::usage::Tally;
use super::wire::{Block, Event, Message, finish_reason};
use crate::dialect::Finish;
use crate::error::ProviderError;

/// Thinking kept until its signature has come.
const LONGEST_THINKING: usize = 16 << 20;

/// The state of one translated stream.
#[derive(Default)]
pub(super) struct ToChunks {
    id: String,
    created: u64,
    model: String,
    open: BTreeMap<u64, Open>,
    tools: u64,
    thoughts: u64,
    tally: Tally,
    reason: Option<&'static str>,
    ended: bool,
}

/// A block that has begun.
enum Open {
    Plain,
    Tool { index: u64, told: bool },
    Thinking { text: String, signature: String },
}

/// One chunk for the outlet.
#[derive(Debug)]
pub(super) struct Chunk {
    pub json: String,
    pub text: String,
    pub content: bool,
}

impl ToChunks {
    /// `created`: the time to tell, as Anthropic tells none.
    pub(super) fn new(created: u64) -> ToChunks {
        ToChunks { created, ..ToChunks::default() }
    }

    /// Takes an event that is no error and no ping.
    pub(super) fn event(&mut self, event: &Event<'_>) -> Result<Option<Chunk>, ProviderError> {
        if let Some(usage) = &event.usage {
            self.tally.add(usage);
        }
        match event.kind.as_ref() {
            "message_start" => Ok(self.start(event.message.as_ref())),
            "content_block_start" => Ok(event.content_block.as_ref().and_then(|block| self.open(event.index, block))),
            "content_block_delta" => self.delta(event),
            "content_block_stop" => Ok(self.close(event.index)),
            "message_delta" => {
                let reason = event.delta.as_ref().and_then(|delta| delta.stop_reason.as_deref()).map(finish_reason);
                self.reason = reason.or(self.reason);
                Ok(reason.map(|reason| self.chunk(json!({}), Some(reason), String::new(), true)))
            }
            "message_stop" => {
                self.ended = true;
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// A whole message as the chunks of a stream.
    pub(super) fn replay(&mut self, message: &Message<'_>) -> Vec<Chunk> {
        let mut chunks: Vec<Chunk> = self.start(Some(message)).into_iter().collect();
        for (at, block) in (0..).zip(&message.content) {
            chunks.extend(self.open(at, block));
            chunks.extend(self.close(at));
        }
        let reason = message.stop_reason.as_deref().map_or("stop", finish_reason);
        self.reason = Some(reason);
        chunks.push(self.chunk(json!({}), Some(reason), String::new(), true));
        chunks
    }

    /// What was billed so far, as far as it was told.
    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The model that answers; empty until it is told.
    pub(super) fn model(&self) -> &str {
        &self.model
    }

    /// The message came to its end.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// What the outlet closes with.
    pub(super) fn finish(&self) -> Finish {
        let usage = self.tally.usage();
        let usage_chunk = usage.is_some().then(|| {
            json!({"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model,
                   "choices": [], "usage": self.tally.openai()})
            .to_string()
        });
        Finish { reason: self.reason.map(str::to_owned), usage, usage_chunk }
    }

    fn start(&mut self, message: Option<&Message<'_>>) -> Option<Chunk> {
        if let Some(message) = message {
            self.id = message.id.clone().into_owned();
            self.model = message.model.clone().into_owned();
            if let Some(usage) = &message.usage {
                self.tally.add(usage);
            }
        }
        Some(self.chunk(json!({"role": "assistant", "content": ""}), None, String::new(), false))
    }

    fn open(&mut self, at: u64, block: &Block<'_>) -> Option<Chunk> {
        match block.kind.as_ref() {
            "text" => {
                self.open.insert(at, Open::Plain);
                let text = block.text.as_ref();
                (!text.is_empty()).then(|| self.chunk(json!({"content": text}), None, text.to_owned(), true))
            }
            "thinking" => {
                let text = block.thinking.clone().into_owned();
                let signature = block.signature.clone().into_owned();
                let chunk = (!text.is_empty())
                    .then(|| self.chunk(json!({"reasoning_content": text}), None, text.clone(), true));
                self.open.insert(at, Open::Thinking { text, signature });
                chunk
            }
            "redacted_thinking" => {
                let data = block.data.and_then(|data| serde_json::from_str::<Value>(data.get()).ok());
                Some(self.thought(json!({"type": "redacted_thinking", "data": data})))
            }
            "tool_use" => {
                let index = self.tools;
                self.tools += 1;
                // Streams begin with an empty input and send it in pieces; one that is whole from the start is told whole.
                let input = block.input.map(|input| input.get()).filter(|input| !is_empty_object(input)).unwrap_or("");
                self.open.insert(at, Open::Tool { index, told: !input.is_empty() });
                let told = json!({"tool_calls": [{"index": index, "id": block.id, "type": "function",
                    "function": {"name": block.name, "arguments": input}}]});
                Some(self.chunk(told, None, format!("{}{input}", block.name), true))
            }
            _ => None,
        }
    }

    fn delta(&mut self, event: &Event<'_>) -> Result<Option<Chunk>, ProviderError> {
        let Some(delta) = &event.delta else { return Ok(None) };
        match delta.kind.as_ref() {
            "text_delta" if !delta.text.is_empty() => {
                Ok(Some(self.chunk(json!({"content": delta.text}), None, delta.text.clone().into_owned(), true)))
            }
            "input_json_delta" if !delta.partial_json.is_empty() => {
                let Some(Open::Tool { index, told }) = self.open.get_mut(&event.index) else { return Ok(None) };
                *told = true;
                let piece = delta.partial_json.as_ref();
                let call = json!({"tool_calls": [{"index": *index, "function": {"arguments": piece}}]});
                Ok(Some(self.chunk(call, None, piece.to_owned(), true)))
            }
            "thinking_delta" if !delta.thinking.is_empty() => {
                if let Some(Open::Thinking { text, .. }) = self.open.get_mut(&event.index) {
                    if text.len() + delta.thinking.len() > LONGEST_THINKING {
                        return Err(ProviderError::broken("the provider's thinking is longer than can be kept"));
                    }
                    text.push_str(&delta.thinking);
                }
                let told = json!({"reasoning_content": delta.thinking});
                Ok(Some(self.chunk(told, None, delta.thinking.clone().into_owned(), true)))
            }
            "signature_delta" => {
                if let Some(Open::Thinking { signature, .. }) = self.open.get_mut(&event.index) {
                    *signature = delta.signature.clone().into_owned();
                }
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    fn close(&mut self, at: u64) -> Option<Chunk> {
        match self.open.remove(&at)? {
            // A function that takes nothing is still called with an object, as OpenAI's clients parse the arguments.
            Open::Tool { index, told: false } => {
                let call = json!({"tool_calls": [{"index": index, "function": {"arguments": "{}"}}]});
                Some(self.chunk(call, None, "{}".to_owned(), true))
            }
            Open::Thinking { text, signature } if !signature.is_empty() => {
                Some(self.thought(json!({"type": "thinking", "thinking": text, "signature": signature})))
            }
            _ => None,
        }
    }

    /// A finished block of thinking. Clients sum the elements of a list by their `index`.
    fn thought(&mut self, mut block: Value) -> Chunk {
        block["index"] = json!(self.thoughts);
        self.thoughts += 1;
        self.chunk(json!({"thinking_blocks": [block]}), None, String::new(), true)
    }

    fn chunk(&self, delta: Value, reason: Option<&str>, text: String, content: bool) -> Chunk {
        let json = json!({"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model,
            "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": reason}]});
        Chunk { json: json.to_string(), text, content }
    }
}

/// A whole message as a `chat.completion`; beside it the text to count and what was read.
pub(super) fn whole(message: &Message<'_>, created: u64) -> (String, String, Finish) {
    let mut said: Option<String> = None;
    let (mut reasoning, mut counted) = (String::new(), String::new());
    let (mut calls, mut thinking) = (Vec::new(), Vec::new());
    for block in &message.content {
        match block.kind.as_ref() {
            "text" => said.get_or_insert_default().push_str(&block.text),
            "thinking" => {
                reasoning.push_str(&block.thinking);
                thinking.push(json!({"type": "thinking", "thinking": block.thinking, "signature": block.signature}));
            }
            "redacted_thinking" => {
                let data = block.data.and_then(|data| serde_json::from_str::<Value>(data.get()).ok());
                thinking.push(json!({"type": "redacted_thinking", "data": data}));
            }
            "tool_use" => {
                let arguments = block.input.map_or("{}", |input| input.get());
                counted.push_str(&block.name);
                counted.push_str(arguments);
                calls.push(json!({"id": block.id, "type": "function",
                    "function": {"name": block.name, "arguments": arguments}}));
            }
            _ => {}
        }
    }
    counted.push_str(said.as_deref().unwrap_or_default());
    counted.push_str(&reasoning);

    let mut tally = Tally::default();
    if let Some(usage) = &message.usage {
        tally.add(usage);
    }
    let reason = message.stop_reason.as_deref().map_or("stop", finish_reason);
    let mut answer = json!({"role": "assistant", "content": said, "refusal": null});
    for (name, told) in [("tool_calls", calls), ("thinking_blocks", thinking)] {
        if !told.is_empty() {
            answer[name] = Value::Array(told);
        }
    }
    if !reasoning.is_empty() {
        answer["reasoning_content"] = Value::String(reasoning);
    }
    let mut body = json!({"id": message.id, "object": "chat.completion", "created": created, "model": message.model,
        "choices": [{"index": 0, "message": answer, "logprobs": null, "finish_reason": reason}]});
    if tally.usage().is_some() {
        body["usage"] = tally.openai();
    }
    (body.to_string(), counted, Finish { reason: Some(reason.to_owned()), usage: tally.usage(), usage_chunk: None })
}

fn is_empty_object(json: &str) -> bool {
    json.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).is_some_and(|inside| inside.trim().is_empty())
}
