//! Cohere's answer told in OpenAI's words: each event becomes at most one `chat.completion.chunk`, a whole answer becomes one
//! `chat.completion`.
//!
//! The plan for tools and the thinking are both told as `reasoning_content`. Citations are told as OpenAI's `url_citation`, once, in
//! the last chunk; a source that has no address is named by its id. `created` is when the call came and the model is called as the caller called it:
//! Cohere tells neither.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::usage;
use super::wire::{Answer, Call, Citation, Content, Event, finish_reason};
use crate::dialect::Finish;
use crate::error::{Class, ProviderError};
use crate::members::as_text;
use crate::openai::usage_object;
use crate::request::Usage;

/// More than any answer cites.
const MOST_CITATIONS: usize = 10_000;

/// The state of one translated stream.
pub(super) struct ToChunks {
    id: String,
    created: u64,
    model: String,
    /// Cohere's index of a call; its place among the calls, and whether arguments of it were told.
    calls: BTreeMap<u64, (u64, bool)>,
    annotations: Vec<Value>,
    usage: Option<Usage>,
    reason: Option<&'static str>,
    ended: bool,
}

/// One chunk for the outlet.
pub(super) struct Chunk {
    pub json: String,
    pub text: String,
    pub content: bool,
}

impl ToChunks {
    pub(super) fn new(model: &str, created: u64) -> ToChunks {
        ToChunks {
            id: String::new(),
            created,
            model: model.to_owned(),
            calls: BTreeMap::new(),
            annotations: Vec::new(),
            usage: None,
            reason: None,
            ended: false,
        }
    }

    /// Takes one event.
    pub(super) fn event(&mut self, event: &Event<'_>) -> Result<Option<Chunk>, ProviderError> {
        let delta = event.delta.as_ref();
        let piece = delta.and_then(|it| it.message.as_ref());
        match event.kind.as_ref() {
            "message-start" => {
                self.id = event.id.clone().into_owned();
                Ok(Some(self.chunk(json!({"role": "assistant", "content": ""}), String::new(), false)))
            }
            "content-start" | "content-delta" => {
                let content = piece.and_then(|it| read::<Content<'_>>(it.content)).unwrap_or_default();
                Ok(self.said(content.thinking, "reasoning_content").or_else(|| self.said(content.text, "content")))
            }
            "tool-plan-delta" => Ok(self.said(piece.and_then(|it| it.tool_plan.clone()), "reasoning_content")),
            // A function that takes nothing is still called with an object, as OpenAI's clients parse the arguments.
            "tool-call-end" => match self.calls.get(&event.index) {
                Some((_, false)) => Ok(self.arguments(event.index, Cow::Borrowed("{}"))),
                _ => Ok(None),
            },
            "tool-call-start" => Ok(self.call(event.index, piece.and_then(|it| one(it.tool_calls)), true)),
            "tool-call-delta" => Ok(self.call(event.index, piece.and_then(|it| one(it.tool_calls)), false)),
            "citation-start" => {
                if let Some(citation) = piece.and_then(|it| one::<Citation<'_>>(it.citations)) {
                    annotate(&citation, &mut self.annotations)?;
                }
                Ok(None)
            }
            "message-end" => {
                self.ended = true;
                self.usage = delta.and_then(|it| it.usage.as_ref()).and_then(usage::read);
                let reason = delta.and_then(|it| it.finish_reason.as_deref()).unwrap_or("COMPLETE");
                self.reason = Some(finish_reason(reason).ok_or_else(failed)?);
                let mut last = json!({});
                if !self.annotations.is_empty() {
                    last["annotations"] = Value::Array(std::mem::take(&mut self.annotations));
                }
                Ok(Some(self.chunk(last, String::new(), true)))
            }
            _ => Ok(None),
        }
    }

    /// A whole answer as one chunk, for a caller who asked for a stream.
    pub(super) fn replay(&mut self, answer: &Answer<'_>) -> Result<Chunk, ProviderError> {
        let Told { mut message, text } = tell(answer)?;
        for (index, call) in message["tool_calls"].as_array_mut().into_iter().flatten().enumerate() {
            call["index"] = json!(index);
        }
        self.id = answer.id.clone().into_owned();
        self.usage = answer.usage.as_ref().and_then(usage::read);
        self.reason = Some(ended(answer)?);
        self.ended = true;
        Ok(self.chunk(message, text, true))
    }

    /// The message came to its end.
    pub(super) fn ended(&self) -> bool {
        self.ended
    }

    /// What is billed, once it is told.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// What the outlet closes with.
    pub(super) fn finish(&self) -> Finish {
        let usage_chunk = self.usage.as_ref().map(|usage| {
            json!({"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model, "choices": [],
                   "usage": raw_usage(usage)})
            .to_string()
        });
        Finish { reason: self.reason.map(str::to_owned), usage: self.usage, usage_chunk }
    }

    fn said(&self, text: Option<Cow<'_, str>>, member: &str) -> Option<Chunk> {
        let text = text.filter(|it| !it.is_empty())?.into_owned();
        Some(self.chunk(json!({member: text}), text, true))
    }

    fn call(&mut self, at: u64, call: Option<Call<'_>>, begins: bool) -> Option<Chunk> {
        let Call { id, function } = call?;
        let (name, arguments) = (function.name.unwrap_or_default(), function.arguments.unwrap_or_default());
        if begins {
            let index = self.calls.len() as u64;
            self.calls.insert(at, (index, !arguments.is_empty()));
            let told = json!({"tool_calls": [{"index": index, "id": id, "type": "function",
                "function": {"name": name, "arguments": arguments}}]});
            return Some(self.chunk(told, format!("{name}{arguments}"), true));
        }
        self.arguments(at, arguments)
    }

    fn arguments(&mut self, at: u64, piece: Cow<'_, str>) -> Option<Chunk> {
        let (index, told) = self.calls.get_mut(&at)?;
        if piece.is_empty() {
            return None;
        }
        *told = true;
        let call = json!({"tool_calls": [{"index": *index, "function": {"arguments": piece}}]});
        Some(self.chunk(call, piece.into_owned(), true))
    }

    fn chunk(&self, delta: Value, text: String, content: bool) -> Chunk {
        let json = json!({"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model,
            "choices": [{"index": 0, "delta": delta, "logprobs": null, "finish_reason": self.reason}]});
        Chunk { json: json.to_string(), text, content }
    }
}

/// A whole answer as a `chat.completion`; beside it the text to count and what was read.
pub(super) fn whole(answer: &Answer<'_>, model: &str, created: u64) -> Result<(String, String, Finish), ProviderError> {
    let Told { mut message, text } = tell(answer)?;
    if message.get("content").is_none() {
        message["content"] = Value::Null;
    }
    message["refusal"] = Value::Null;
    let reason = ended(answer)?;
    let usage = answer.usage.as_ref().and_then(usage::read);
    let mut body = json!({"id": answer.id, "object": "chat.completion", "created": created, "model": model,
        "choices": [{"index": 0, "message": message, "logprobs": null, "finish_reason": reason}]});
    if let Some(usage) = &usage {
        body["usage"] = raw_usage(usage);
    }
    Ok((body.to_string(), text, Finish { reason: Some(reason.to_owned()), usage, usage_chunk: None }))
}

struct Told {
    message: Value,
    text: String,
}

fn tell(answer: &Answer<'_>) -> Result<Told, ProviderError> {
    let said = &answer.message;
    let (mut message, mut counted) = (json!({"role": "assistant"}), String::new());
    let parts = said.content.iter().flatten();
    let mut reasoning = said.tool_plan.as_deref().unwrap_or_default().to_owned();
    parts.clone().filter_map(|it| it.thinking.as_deref()).for_each(|it| reasoning.push_str(it));
    let text: String = parts.clone().filter_map(|it| it.text.as_deref()).collect();
    counted.push_str(&reasoning);
    counted.push_str(&text);
    if parts.clone().any(|it| it.text.is_some()) {
        message["content"] = Value::String(text);
    }
    if !reasoning.is_empty() {
        message["reasoning_content"] = Value::String(reasoning);
    }
    let mut calls = Vec::new();
    for Call { id, function } in said.tool_calls.iter().flatten() {
        let (name, arguments) = (function.name.as_deref(), function.arguments.as_deref());
        let (name, arguments) = (name.unwrap_or_default(), arguments.unwrap_or_default());
        counted.push_str(name);
        counted.push_str(arguments);
        calls.push(json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}));
    }
    let mut annotations = Vec::new();
    said.citations.iter().flatten().try_for_each(|it| annotate(it, &mut annotations))?;
    for (name, told) in [("tool_calls", calls), ("annotations", annotations)] {
        if !told.is_empty() {
            message[name] = Value::Array(told);
        }
    }
    Ok(Told { message, text: counted })
}

fn ended(answer: &Answer<'_>) -> Result<&'static str, ProviderError> {
    finish_reason(answer.finish_reason.as_deref().unwrap_or("COMPLETE")).ok_or_else(failed)
}

/// One annotation for each source. Citations of a plan or of thinking say where in those, which OpenAI cannot.
fn annotate(citation: &Citation<'_>, told: &mut Vec<Value>) -> Result<(), ProviderError> {
    if citation.kind.as_deref().is_some_and(|it| it != "TEXT_CONTENT") {
        return Ok(());
    }
    for source in citation.sources.iter().flatten() {
        if told.len() >= MOST_CITATIONS {
            return Err(ProviderError::new(Class::TooLarge, "the provider's answer cites more than can be kept"));
        }
        let id = source.id.as_deref().unwrap_or_default();
        let document = source.document.as_ref();
        let url = document.and_then(|it| it.url).and_then(as_text).unwrap_or(Cow::Borrowed(id));
        let title = document.and_then(|it| it.title).and_then(as_text).unwrap_or(Cow::Borrowed(id));
        told.push(json!({"type": "url_citation", "url_citation":
            {"start_index": citation.start, "end_index": citation.end, "url": url, "title": title}}));
    }
    Ok(())
}

/// An object, or the first of a list of them.
fn one<'a, T: serde::Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    let text = raw?.get();
    if text.starts_with('[') {
        return serde_json::from_str::<Vec<T>>(text).ok()?.into_iter().next();
    }
    serde_json::from_str(text).ok()
}

fn read<'a, T: serde::Deserialize<'a>>(raw: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(raw?.get()).ok()
}

fn raw_usage(usage: &Usage) -> Value {
    serde_json::from_str(&usage_object(usage)).expect("written by ourselves as JSON")
}

fn failed() -> ProviderError {
    ProviderError::new(Class::Server, "the provider failed within the answer")
}
