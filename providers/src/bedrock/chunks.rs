//! Converse's answer told in OpenAI's words: each event becomes at most one `chat.completion.chunk`; a whole answer is told as the
//! chunks of a stream, which the hub puts together.
//!
//! Thinking is told as `reasoning_content`, and each finished block once more as an entry of `thinking_blocks`, so that a client
//! which sends its history back keeps what the model needs to go on after a tool call. Bedrock gives an answer no name and no
//! time: `created` is when the call came, and the id is made from the request. `model` is the one asked for.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::usage;
use super::wire::{Answer, Event, Piece, Thought, ToolUse, finish_reason};
use crate::dialect::Finish;
use crate::error::ProviderError;
use crate::openai::{usage_object, with_member};
use crate::request::{ModelRequest, Usage};

/// Thinking kept until its signature has come.
const LONGEST_THINKING: usize = 16 << 20;

/// The state of one translated answer.
pub(super) struct ToChunks {
    id: String,
    created: u64,
    model: String,
    open: BTreeMap<u64, Open>,
    tools: u64,
    thoughts: u64,
    usage: Option<Usage>,
    reason: Option<&'static str>,
}

/// A block that has begun and is not a plain text.
enum Open {
    Tool { index: u64, told: bool },
    Thinking { text: String, signature: String, hidden: Vec<u8> },
}

/// One chunk for the outlet.
#[derive(Debug)]
pub(super) struct Chunk {
    pub json: String,
    pub text: String,
    pub content: bool,
}

impl ToChunks {
    pub(super) fn new(request: &ModelRequest) -> ToChunks {
        ToChunks {
            id: request.answer_id(),
            created: request.arrived(),
            model: request.model().to_owned(),
            open: BTreeMap::new(),
            tools: 0,
            thoughts: 0,
            usage: None,
            reason: None,
        }
    }

    /// Takes an event that is no failure.
    pub(super) fn event(&mut self, name: &str, event: &Event<'_>) -> Result<Option<Chunk>, ProviderError> {
        let at = event.content_block_index;
        match (name, &event.start, &event.delta) {
            ("messageStart", ..) => Ok(Some(self.start())),
            ("contentBlockStart", Some(start), _) => Ok(start.tool_use.as_ref().map(|tool| self.tool(at, tool))),
            ("contentBlockDelta", _, Some(piece)) => self.piece(at, piece),
            ("contentBlockStop", ..) => Ok(self.close(at)),
            ("messageStop", ..) => {
                let reason = finish_reason(event.stop_reason.as_deref().unwrap_or_default());
                Ok(Some(self.stop(reason)))
            }
            ("metadata", ..) => {
                self.usage = event.usage.as_ref().map(usage::Wire::read).or(self.usage);
                Ok(None)
            }
            _ => Ok(None),
        }
    }

    /// A whole answer as the chunks of a stream.
    pub(super) fn replay(&mut self, answer: &Answer<'_>) -> Result<Vec<Chunk>, ProviderError> {
        let mut chunks = vec![self.start()];
        for (at, block) in (0..).zip(&answer.output.message.content) {
            let cited = block.citations_content.iter().flat_map(|it| &it.content).filter_map(|it| it.text.as_deref());
            for text in block.text.as_deref().into_iter().chain(cited) {
                chunks.extend(self.say(text));
            }
            chunks.extend(block.tool_use.as_ref().map(|tool| self.tool(at, tool)));
            if let Some(thought) = &block.reasoning_content {
                let told = thought.reasoning_text.as_deref().into_iter().chain([thought]);
                for thought in told {
                    chunks.extend(self.think(at, thought)?);
                }
            }
            chunks.extend(self.close(at));
        }
        self.usage = answer.usage.as_ref().map(usage::Wire::read);
        chunks.push(self.stop(finish_reason(answer.stop_reason.as_deref().unwrap_or_default())));
        Ok(chunks)
    }

    /// What was billed, once it was told.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// The answer said how it ends; usage may still come.
    pub(super) fn stopped(&self) -> bool {
        self.reason.is_some()
    }

    /// What the outlet closes with.
    pub(super) fn finish(&self) -> Finish {
        let usage_chunk = self.usage.as_ref().map(|usage| {
            let envelope = json!({"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model,
                "choices": []});
            with_member(&envelope.to_string(), "usage", &usage_object(usage))
        });
        Finish { reason: self.reason.map(str::to_owned), usage: self.usage, usage_chunk }
    }

    fn start(&self) -> Chunk {
        self.chunk(json!({"role": "assistant", "content": ""}), None, String::new(), false)
    }

    fn stop(&mut self, reason: &'static str) -> Chunk {
        self.reason = Some(reason);
        self.chunk(json!({}), Some(reason), String::new(), true)
    }

    fn say(&self, text: &str) -> Option<Chunk> {
        (!text.is_empty()).then(|| self.chunk(json!({"content": text}), None, text.to_owned(), true))
    }

    /// A call begins. A stream sends its arguments in pieces; a whole answer has them at once.
    fn tool(&mut self, at: u64, tool: &ToolUse<'_>) -> Chunk {
        let index = self.tools;
        self.tools += 1;
        let input = tool.input.map_or("", |input| input.get());
        self.open.insert(at, Open::Tool { index, told: !input.is_empty() });
        let told = json!({"tool_calls": [{"index": index, "id": tool.tool_use_id, "type": "function",
            "function": {"name": tool.name, "arguments": input}}]});
        self.chunk(told, None, format!("{}{input}", tool.name), true)
    }

    fn piece(&mut self, at: u64, piece: &Piece<'_>) -> Result<Option<Chunk>, ProviderError> {
        if let Some(text) = &piece.text {
            return Ok(self.say(text));
        }
        if let Some(thought) = &piece.reasoning_content {
            return self.think(at, thought);
        }
        let input = piece.tool_use.as_ref().map_or("", |tool| &*tool.input);
        match self.open.get_mut(&at) {
            Some(Open::Tool { index, told }) if !input.is_empty() => {
                *told = true;
                let call = json!({"tool_calls": [{"index": *index, "function": {"arguments": input}}]});
                Ok(Some(self.chunk(call, None, input.to_owned(), true)))
            }
            _ => Ok(None),
        }
    }

    /// A block of thinking is opened by its first piece.
    fn think(&mut self, at: u64, thought: &Thought<'_>) -> Result<Option<Chunk>, ProviderError> {
        let new = || Open::Thinking { text: String::new(), signature: String::new(), hidden: Vec::new() };
        let Open::Thinking { text, signature, hidden } = self.open.entry(at).or_insert_with(new) else {
            return Ok(None);
        };
        signature.push_str(thought.signature.as_deref().unwrap_or_default());
        if let Some(piece) = &thought.redacted_content {
            let piece = STANDARD.decode(piece.as_bytes());
            hidden.extend(piece.map_err(|_| ProviderError::broken("the provider's hidden thinking cannot be read"))?);
        }
        let said = thought.text.as_deref().unwrap_or_default();
        text.push_str(said);
        if text.len() + signature.len() + hidden.len() > LONGEST_THINKING {
            return Err(ProviderError::broken("the provider's thinking is longer than can be kept"));
        }
        let told = || self.chunk(json!({"reasoning_content": said}), None, said.to_owned(), true);
        Ok((!said.is_empty()).then(told))
    }

    fn close(&mut self, at: u64) -> Option<Chunk> {
        match self.open.remove(&at)? {
            // A function that takes nothing is still called with an object, as OpenAI's clients parse the arguments.
            Open::Tool { index, told: false } => {
                let call = json!({"tool_calls": [{"index": index, "function": {"arguments": "{}"}}]});
                Some(self.chunk(call, None, "{}".to_owned(), true))
            }
            Open::Thinking { hidden, .. } if !hidden.is_empty() => {
                Some(self.thought(json!({"type": "redacted_thinking", "data": STANDARD.encode(hidden)})))
            }
            Open::Thinking { text, signature, .. } if !signature.is_empty() => {
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
