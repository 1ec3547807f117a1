//! Gemini's answer told in OpenAI's words: of each event every candidate becomes one `chat.completion.chunk`, of a whole answer
//! all of them become one `chat.completion`.
//!
//! Thoughts are told as `reasoning_content`, and signed ones once more in `thinking_blocks`. The signature of a call stands where
//! Google's own OpenAI-compatible surface puts it, in `extra_content.google.thought_signature` of the call; that of a text, in the
//! same member of the message. Pictures are data URLs in `images`, speech is `audio`, sources are `annotations`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Value, json};

use super::sources;
use super::told::{Answer, Call, Delta, Function, Thought, signed};
use super::usage::Tally;
use super::wire::{Candidate, Ending, FunctionCall, Part, Response, blocked, ending};
use crate::dialect::Finish;
use crate::error::ProviderError;
use crate::request::ModelRequest;

/// More candidates than any server gives.
const MOST_CANDIDATES: usize = 128;
/// What is kept of a text so that places in it, which Gemini counts in bytes, can be told in characters.
const LONGEST_TEXT: usize = 4 << 20;
/// Marks signatures in `thinking_blocks` as Gemini's: no other provider can read them.
pub(super) const MARK: &str = "gemini_";

/// The state of one translated answer.
#[derive(Default)]
pub(super) struct ToChunks {
    id: String,
    model: String,
    created: u64,
    /// The model as the provider calls it.
    version: String,
    /// What is told where the provider tells no name of the answer, and no model.
    unnamed: (String, String),
    choices: BTreeMap<u64, Choice>,
    tally: Tally,
    reason: Option<&'static str>,
    blocked: bool,
}

/// What was told of one candidate.
#[derive(Default)]
struct Choice {
    calls: u64,
    thoughts: u64,
    said: bool,
    ended: bool,
    text: String,
}

/// One chunk for the outlet.
#[derive(Debug)]
pub(super) struct Chunk {
    pub json: String,
    pub choice: u64,
    pub text: String,
    pub content: bool,
}

/// One candidate of one event.
struct Piece<'a> {
    index: u64,
    delta: Delta<'a>,
    logprobs: Option<Value>,
    reason: Option<&'static str>,
}

impl ToChunks {
    pub(super) fn new(request: &ModelRequest) -> ToChunks {
        let unnamed = (request.answer_id(), request.model().to_owned());
        ToChunks { created: request.arrived(), unnamed, ..ToChunks::default() }
    }

    /// Takes what is no error.
    pub(super) fn event(&mut self, response: &Response<'_>) -> Result<Vec<Chunk>, ProviderError> {
        let pieces = self.pieces(response)?;
        Ok(pieces.into_iter().map(|piece| self.chunk(piece)).collect())
    }

    /// A whole answer as a `chat.completion`; beside it the texts to count, by choice.
    pub(super) fn whole(&mut self, response: &Response<'_>) -> Result<(String, Vec<(u64, String)>), ProviderError> {
        let mut pieces = self.pieces(response)?;
        if pieces.is_empty() {
            return Err(ProviderError::broken("the provider's answer has no candidates"));
        }
        let texts = pieces.iter().map(|piece| (piece.index, piece.delta.counted())).collect();
        let choices: Vec<Value> = pieces
            .iter_mut()
            .map(|piece| {
                piece.delta.without_places();
                let mut message = serde_json::to_value(&piece.delta).unwrap_or_default();
                if piece.delta.refusal.is_none() {
                    message["refusal"] = Value::Null;
                }
                json!({"index": piece.index, "message": message, "logprobs": piece.logprobs,
                       "finish_reason": piece.reason.unwrap_or("stop")})
            })
            .collect();
        let mut body = json!({"id": self.id, "object": "chat.completion", "created": self.created, "model": self.model,
            "choices": choices});
        if self.tally.usage().is_some() {
            body["usage"] = self.tally.openai();
        }
        self.reason = self.reason.or(Some("stop"));
        Ok((body.to_string(), texts))
    }

    /// What was billed so far, as far as it was told.
    pub(super) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// The model that answers, as the provider calls it; empty until it is told.
    pub(super) fn version(&self) -> &str {
        &self.version
    }

    /// Every candidate came to its end.
    pub(super) fn ended(&self) -> bool {
        self.blocked || (!self.choices.is_empty() && self.choices.values().all(|choice| choice.ended))
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

    fn pieces<'r>(&mut self, response: &'r Response<'_>) -> Result<Vec<Piece<'r>>, ProviderError> {
        if let Some(usage) = &response.usage_metadata {
            self.tally.add(usage);
        }
        keep(&mut self.id, &response.response_id);
        keep(&mut self.version, &response.model_version);
        keep(&mut self.model, &response.model_version);
        keep(&mut self.id, &Some(Cow::Borrowed(&self.unnamed.0)));
        keep(&mut self.model, &Some(Cow::Borrowed(&self.unnamed.1)));
        if let Some(time) = response.create_time.as_deref() {
            self.created = super::time::unix_seconds(time).unwrap_or(self.created);
        }
        let mut pieces = Vec::new();
        for candidate in response.candidates.iter().flatten() {
            pieces.push(self.candidate(candidate)?);
        }
        let reason = response.prompt_feedback.as_ref().and_then(|feedback| feedback.block_reason.as_deref());
        if let (Some(reason), true) = (reason, pieces.is_empty() && self.choices.is_empty() && !self.blocked) {
            self.blocked = true;
            self.reason = Some("content_filter");
            let delta = Delta { refusal: Some(blocked(reason)), ..Delta::first() };
            pieces.push(Piece { index: 0, delta, logprobs: None, reason: self.reason });
        }
        Ok(pieces)
    }

    fn candidate<'r>(&mut self, candidate: &'r Candidate<'_>) -> Result<Piece<'r>, ProviderError> {
        let index = candidate.index.unwrap_or(0);
        let begun = self.choices.contains_key(&index);
        if !begun && self.choices.len() == MOST_CANDIDATES {
            return Err(ProviderError::broken("the provider's answer has too many candidates"));
        }
        let choice = self.choices.entry(index).or_default();
        let mut delta = if begun { Delta::default() } else { Delta::first() };
        let parts = candidate.content.as_ref().and_then(|content| content.parts.as_deref()).unwrap_or_default();
        for part in parts {
            choice.take(part, &mut delta, &self.id, index);
        }
        delta.annotations = sources::annotations(candidate, &choice.text);
        choice.said |= delta.says_something();
        let reason = match candidate.finish_reason.as_deref().and_then(ending) {
            None => None,
            Some(Ending::Garbled) if !choice.said => {
                return Err(ProviderError::broken("the provider's model wrote what its server could not read"));
            }
            // Gemini has no word of its own for an answer that ends with calls.
            Some(Ending::Garbled | Ending::Told("stop")) if choice.calls > 0 => Some("tool_calls"),
            Some(Ending::Garbled) => Some("stop"),
            Some(Ending::Told(reason)) => Some(reason),
        };
        choice.ended |= reason.is_some();
        self.reason = reason.or(self.reason);
        let logprobs = candidate.logprobs_result.as_ref().map(sources::logprobs);
        Ok(Piece { index, delta, logprobs, reason })
    }

    fn chunk(&self, piece: Piece<'_>) -> Chunk {
        #[derive(Serialize)]
        struct Envelope<'a> {
            id: &'a str,
            object: &'static str,
            created: u64,
            model: &'a str,
            choices: [One<'a>; 1],
        }
        #[derive(Serialize)]
        struct One<'a> {
            index: u64,
            delta: &'a Delta<'a>,
            logprobs: &'a Option<Value>,
            finish_reason: Option<&'static str>,
        }
        let Piece { index, delta, logprobs, reason } = &piece;
        let choice = One { index: *index, delta, logprobs, finish_reason: *reason };
        let envelope = Envelope {
            id: &self.id,
            object: "chat.completion.chunk",
            created: self.created,
            model: &self.model,
            choices: [choice],
        };
        let json = serde_json::to_string(&envelope).expect("texts, numbers and raw JSON always serialize");
        let content = delta.says_something() || reason.is_some();
        Chunk { json, choice: *index, text: delta.counted(), content }
    }
}

impl Choice {
    fn take<'r>(&mut self, part: &'r Part<'_>, delta: &mut Delta<'r>, id: &str, index: u64) {
        let signature = part.thought_signature.as_deref().filter(|signature| !signature.is_empty());
        if let Some(call) = &part.function_call {
            delta.tool_calls.push(self.call(call, signature, id, index));
        } else if let Some(blob) = &part.inline_data {
            delta.add_media(blob, signature, part.thought == Some(true));
        } else if part.thought == Some(true) {
            let text = part.text.as_deref().unwrap_or_default();
            Answer::push(&mut delta.reasoning_content, text);
            if let Some(signature) = signature {
                let thought = Thought::new(self.thoughts, text, format!("{MARK}{signature}"));
                self.thoughts += 1;
                delta.thinking_blocks.push(thought);
            }
        } else {
            let text = part.text.as_deref().unwrap_or_default();
            if !text.is_empty() {
                Answer::push(delta.content.get_or_insert_default(), text);
                if self.text.len() + text.len() <= LONGEST_TEXT {
                    self.text.push_str(text);
                }
            }
            if let Some(signature) = signature {
                delta.extra_content = Some(signed(signature));
            }
        }
    }

    fn call<'r>(&mut self, call: &'r FunctionCall<'_>, signature: Option<&'r str>, id: &str, choice: u64) -> Call<'r> {
        let index = self.calls;
        self.calls += 1;
        let id = match call.id.as_deref().filter(|id| !id.is_empty()) {
            Some(id) => Cow::Borrowed(id),
            None => Cow::Owned(call_id(id, choice, index)),
        };
        let function = Function {
            name: call.name.as_deref().unwrap_or_default(),
            arguments: call.args.map_or("{}", |it| it.get()),
        };
        Call { index: Some(index), id, kind: "function", function, extra_content: signature.map(signed) }
    }
}

/// For calls without an id. Short and plain, as other servers must take it later, and other than those of earlier answers.
fn call_id(answer: &str, choice: u64, index: u64) -> String {
    let mut plain: String = answer.chars().filter(char::is_ascii_alphanumeric).take(24).collect();
    if !plain.is_empty() {
        plain.push('_');
    }
    if choice > 0 {
        plain.push_str(&format!("{choice}_"));
    }
    format!("call_{plain}{index}")
}

/// The first word stands.
fn keep(kept: &mut String, told: &Option<Cow<'_, str>>) {
    if let (true, Some(told)) = (kept.is_empty(), told) {
        kept.push_str(told);
    }
}
