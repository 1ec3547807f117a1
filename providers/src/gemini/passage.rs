//! Gemini's answers for callers who speak Gemini: every event passes as it came, and the meter reads beside it.
//!
//! The last event, which has the whole usage, waits for the cost.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::decoder::{broke_off, read, tell_usage};
use super::usage::Tally;
use super::usage_object;
use super::wire::{Ending, Response, ending};
use crate::dialect::Decoder;
use crate::error::ProviderError;
use crate::request::{AnswerEvent, Delta, End, Usage};
use crate::sse::{SseEvent, SseReader};

/// More candidates than any server gives.
const MOST_CANDIDATES: usize = 128;

/// A stream that passes as it came.
#[derive(Default)]
pub(super) struct Passage {
    reader: SseReader,
    tally: Tally,
    model: Option<String>,
    ends: Ends,
    /// The last event, once a candidate has ended.
    last: Option<SseEvent>,
}

/// Which candidates have ended, and how.
#[derive(Default)]
struct Ends {
    candidates: BTreeMap<u64, bool>,
    reason: Option<&'static str>,
    calls: bool,
}

impl Passage {
    fn take(&mut self, events: Vec<SseEvent>, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        for raw in events {
            let Some(response) = read(&raw)? else { continue };
            let before = self.tally.usage();
            if let Some(usage) = &response.usage_metadata {
                self.tally.add(usage);
            }
            if self.model.is_none() {
                self.model = response.model_version.as_deref().map(str::to_owned);
            }
            self.ends.note(&response)?;
            let (texts, content) = (texts(&response), shows_something(&response));
            drop(response);
            let mut frame = String::new();
            if self.ends.some() {
                if let Some(earlier) = self.last.replace(raw) {
                    frame = earlier.frame();
                }
            } else {
                frame = raw.frame();
            }
            out.push(AnswerEvent::Delta(Delta { frame: frame.into(), texts, content }));
            tell_usage(before, &self.tally, out);
        }
        Ok(())
    }
}

impl Decoder for Passage {
    fn feed(&mut self, bytes: &[u8], out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        let mut events = Vec::new();
        let read = self.reader.feed(bytes, &mut events);
        self.take(events, out)?;
        read
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        let mut events = Vec::new();
        self.reader.finish(&mut events);
        self.take(events, out)?;
        if !self.ends.all() {
            return Err(broke_off());
        }
        let (last, told) = (self.last.take(), self.tally.usage().is_some());
        out.push(AnswerEvent::End(End::new(self.ends.reason(), move |cost, counted: Option<&Usage>| {
            let last = last.as_ref().map(|last| with_cost(last, cost, counted.filter(|_| !told)).frame());
            Bytes::from(last.unwrap_or_default())
        })));
        Ok(())
    }

    fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }
}

/// A body that is not a stream, for the caller who wrote Gemini's own request; as one event if it asked for a stream.
pub(super) fn whole(
    body: &Bytes,
    response: &Response<'_>,
    stream: bool,
    out: &mut Vec<AnswerEvent>,
) -> Result<(), ProviderError> {
    let (mut tally, mut ends) = (Tally::default(), Ends::default());
    if let Some(usage) = &response.usage_metadata {
        tally.add(usage);
    }
    ends.note(response)?;
    out.push(AnswerEvent::Delta(Delta { frame: Bytes::new(), texts: texts(response), content: true }));
    tell_usage(None, &tally, out);
    let (body, told) = (body.clone(), tally.usage().is_some());
    out.push(AnswerEvent::End(End::new(ends.reason(), move |cost, counted: Option<&Usage>| {
        if !stream {
            return body.clone();
        }
        // A body may be written over several lines; an event's data is better off on one.
        let value = serde_json::from_slice::<Value>(&body).unwrap_or_default();
        let event = SseEvent { event: String::new(), data: value.to_string() };
        Bytes::from(with_cost(&event, cost, counted.filter(|_| !told)).frame())
    })));
    Ok(())
}

impl Ends {
    fn note(&mut self, response: &Response<'_>) -> Result<(), ProviderError> {
        for candidate in response.candidates.iter().flatten() {
            let index = candidate.index.unwrap_or(0);
            if self.candidates.len() == MOST_CANDIDATES && !self.candidates.contains_key(&index) {
                return Err(ProviderError::broken("the provider's answer has too many candidates"));
            }
            let ended = self.candidates.entry(index).or_default();
            let parts = candidate.content.as_ref().and_then(|content| content.parts.as_deref()).unwrap_or_default();
            self.calls |= parts.iter().any(|part| part.function_call.is_some());
            if let Some(how) = candidate.finish_reason.as_deref().and_then(ending) {
                *ended = true;
                self.reason = Some(match how {
                    Ending::Garbled | Ending::Told("stop") if self.calls => "tool_calls",
                    Ending::Garbled => "stop",
                    Ending::Told(reason) => reason,
                });
            }
        }
        let blocked = response.prompt_feedback.as_ref().is_some_and(|feedback| feedback.block_reason.is_some());
        if blocked && self.candidates.is_empty() {
            self.candidates.insert(0, true);
            self.reason = Some("content_filter");
        }
        Ok(())
    }

    fn some(&self) -> bool {
        self.candidates.values().any(|ended| *ended)
    }

    fn all(&self) -> bool {
        !self.candidates.is_empty() && self.candidates.values().all(|ended| *ended)
    }

    fn reason(&self) -> Option<String> {
        self.reason.map(str::to_owned)
    }
}

/// The output text to count, candidate by candidate.
fn texts(response: &Response<'_>) -> Vec<(u64, String)> {
    let mut texts = Vec::new();
    for candidate in response.candidates.iter().flatten() {
        let mut text = String::new();
        for part in candidate.content.iter().flat_map(|content| content.parts.iter().flatten()) {
            text.push_str(part.text.as_deref().unwrap_or_default());
            if let Some(call) = &part.function_call {
                text.push_str(call.name.as_deref().unwrap_or_default());
                text.push_str(call.args.map(|args| args.get()).unwrap_or_default());
            }
        }
        if !text.is_empty() {
            texts.push((candidate.index.unwrap_or(0), text));
        }
    }
    texts
}

fn shows_something(response: &Response<'_>) -> bool {
    let ends = |reason: &Option<_>| reason.as_deref().and_then(ending).is_some();
    response.prompt_feedback.is_some()
        || response.candidates.iter().flatten().any(|candidate| {
            ends(&candidate.finish_reason)
                || candidate.content.iter().flat_map(|content| content.parts.iter().flatten()).any(|part| {
                    part.text.as_deref().is_some_and(|text| !text.is_empty())
                        || part.function_call.is_some()
                        || part.inline_data.is_some()
                })
        })
}

/// The closing event with the cost in its usage; without one it stays byte for byte.
fn with_cost(last: &SseEvent, cost: Option<&str>, counted: Option<&Usage>) -> SseEvent {
    if cost.is_none() && counted.is_none() {
        return last.clone();
    }
    let Ok(mut data) = serde_json::from_str::<Map<String, Value>>(&last.data) else { return last.clone() };
    if let Some(counted) = counted {
        data.insert("usageMetadata".to_owned(), usage_object(counted));
    }
    if let (Some(cost), Some(told)) = (cost, data.entry("usageMetadata").or_insert_with(|| json!({})).as_object_mut()) {
        told.insert("alfred_cost_usd".to_owned(), Value::String(cost.to_owned()));
    }
    SseEvent { event: last.event.clone(), data: Value::Object(data).to_string() }
}
