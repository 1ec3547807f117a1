//! Writes Gemini's wire from OpenAI's chunks and whole completions, for callers of generateContent whose target speaks anything else.
//!
//! - Calls of functions come whole, as Gemini tells them: their pieces are kept until their choice has ended.
//! - Every stream ends with one event of all candidates, with their finish reasons, `usageMetadata` and `alfred_cost_usd` in it.
//! - Thoughts are shown to callers who asked for them (`includeThoughts`), and with them what their provider signed: clients send
//!   both back with the answers of their functions. In a stream the signature ends its thought, in a part without text.

mod candidate;
mod wire;

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;

use super::usage;
use crate::dialect::{Finish, Outlet};
use crate::error::ProviderError;
use crate::json::quote;
use crate::request::{End, ModelRequest, Usage};
use crate::sse::SseEvent;
use candidate::Candidate;
use wire::Chunk;

/// The outlet for one caller of generateContent.
#[derive(Default)]
pub(super) struct GeminiOutlet {
    wants_thoughts: bool,
    id: String,
    model: String,
    candidates: BTreeMap<u64, Candidate>,
}

impl GeminiOutlet {
    pub(super) fn new(request: &ModelRequest) -> GeminiOutlet {
        let config = request.member("generationConfig").and_then(|config| serde_json::from_str::<Value>(config).ok());
        let either = |value: &Value, camel: &str, snake: &str| {
            value.get(camel).or_else(|| value.get(snake)).cloned().unwrap_or_default()
        };
        let thinking = config.map(|config| either(&config, "thinkingConfig", "thinking_config")).unwrap_or_default();
        let wants_thoughts = either(&thinking, "includeThoughts", "include_thoughts") == Value::Bool(true);
        GeminiOutlet { wants_thoughts, ..GeminiOutlet::default() }
    }

    fn name(&mut self, chunk: &Chunk<'_>) {
        if self.id.is_empty() {
            self.id = chunk.id.clone().into_owned();
        }
        if self.model.is_empty() {
            self.model = chunk.model.clone().into_owned();
        }
    }

    /// An event or an answer but for its last brace.
    fn envelope(&self, candidates: &[String]) -> String {
        let mut out = format!("{{\"candidates\":[{}]", candidates.join(","));
        for (name, value) in [("modelVersion", &self.model), ("responseId", &self.id)] {
            if !value.is_empty() {
                out.push_str(&format!(",\"{name}\":{}", quote(value)));
            }
        }
        out
    }
}

/// The members of a candidate that not every one has.
fn further(logprobs: Option<Value>, grounding: Option<Value>) -> [(&'static str, Option<Value>); 2] {
    [("logprobsResult", logprobs), ("groundingMetadata", grounding)]
}

impl Outlet for GeminiOutlet {
    fn chunk(&mut self, chunk: &str) -> Result<Bytes, ProviderError> {
        let chunk: Chunk<'_> =
            serde_json::from_str(chunk).map_err(|_| ProviderError::broken("a chunk of the answer cannot be read"))?;
        self.name(&chunk);
        let mut told = Vec::new();
        for choice in &chunk.choices {
            let candidate = self.candidates.entry(choice.index).or_default();
            let mut parts = Vec::new();
            if let Some(said) = &choice.delta {
                candidate.hear(said, self.wants_thoughts, false, &mut parts)?;
            }
            if let Some(reason) = choice.finish_reason.as_deref() {
                candidate.ended(reason);
                parts.extend(candidate.calls()?);
            }
            let logprobs = choice.logprobs.as_ref().and_then(wire::Logprobs::told);
            if !parts.is_empty() || logprobs.is_some() {
                told.push(candidate::write(choice.index, &parts, None, further(logprobs, None)));
            }
        }
        Ok(if told.is_empty() { Bytes::new() } else { frame(self.envelope(&told) + "}") })
    }

    fn end(mut self: Box<Self>, finish: Finish) -> End {
        if self.candidates.is_empty() {
            self.candidates.insert(0, Candidate::default());
        }
        let told = self.candidates.iter_mut().map(|(index, candidate)| {
            // A target that gave no reason has told its calls no earlier. What is no object there was refused with the chunk.
            let mut parts = candidate.calls().unwrap_or_default();
            parts.push(candidate::text(""));
            let reason = candidate.reason(finish.reason.as_deref());
            candidate::write(*index, &parts, Some(reason), further(None, candidate.grounding()))
        });
        let told: Vec<String> = told.collect();
        let event = self.envelope(&told);
        let reported = finish.usage;
        End::new(finish.reason, move |cost, counted| {
            let usage = usage::priced(&reported.or(counted.copied()).unwrap_or_default(), cost);
            frame(format!("{event},\"usageMetadata\":{usage}}}"))
        })
    }

    fn whole(mut self: Box<Self>, body: Bytes, finish: Finish) -> Result<End, ProviderError> {
        let unreadable = || ProviderError::broken("the answer cannot be read");
        let completion: Chunk<'_> = serde_json::from_slice(&body).map_err(|_| unreadable())?;
        self.name(&completion);
        let mut told = Vec::new();
        for choice in &completion.choices {
            let said = choice.message.as_ref().ok_or_else(unreadable)?;
            let (mut candidate, mut parts) = (Candidate::default(), Vec::new());
            candidate.hear(said, self.wants_thoughts, true, &mut parts)?;
            parts.extend(candidate.calls()?);
            if parts.is_empty() {
                parts.push(candidate::text(""));
            }
            let reason = choice.finish_reason.as_deref().or(finish.reason.as_deref());
            let logprobs = choice.logprobs.as_ref().and_then(wire::Logprobs::told);
            let (reason, grounding) = (candidate.reason(reason), candidate.grounding());
            told.push(candidate::write(choice.index, &parts, Some(reason), further(logprobs, grounding)));
        }
        if told.is_empty() {
            return Err(unreadable());
        }
        let answer = self.envelope(&told);
        let reported = finish.usage;
        Ok(End::new(finish.reason, move |_, counted| {
            let usage = usage::write(&reported.or(counted.copied()).unwrap_or_default());
            format!("{answer},\"usageMetadata\":{usage}}}").into()
        }))
    }
}

/// What ends a stream that is cut after an event like this one: the candidates that are still `open` end for their length, with the
/// note.
pub(crate) fn cut(event: &str, open: &[u64], note: &str, counted: Option<&Usage>, cost: Option<&str>) -> Bytes {
    let like: Value = serde_json::from_str(event).unwrap_or_default();
    let parts = [candidate::text("")];
    let ended = |index: &u64| candidate::write(*index, &parts, Some("MAX_TOKENS"), further(None, None));
    let named = |name: &str| like[name].as_str().unwrap_or_default().to_owned();
    let outlet = GeminiOutlet { id: named("responseId"), model: named("modelVersion"), ..GeminiOutlet::default() };
    let event = outlet.envelope(&open.iter().map(ended).collect::<Vec<_>>());
    let usage = usage::priced(&counted.copied().unwrap_or_default(), cost);
    frame(format!("{event},\"usageMetadata\":{usage},\"alfred\":{note}}}"))
}

fn frame(data: String) -> Bytes {
    SseEvent { event: String::new(), data }.frame().into()
}
