//! One candidate of an answer while it is being told.

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::super::signature::Kept;
use super::wire::{Citation, Said, ToolCall};
use crate::error::ProviderError;
use crate::json::quote;

/// What is kept of a candidate until it can be told: arguments and sources. More is no answer that anybody waits for.
const MOST_KEPT: usize = 16 << 20;
/// So much of a text is remembered for the places of its citations.
const LONGEST_CITED: usize = 1 << 20;

#[derive(Default)]
pub(super) struct Candidate {
    calls: BTreeMap<u64, Call>,
    kept: usize,
    text: String,
    citations: Vec<Citation>,
    reason: Option<String>,
}

#[derive(Default)]
struct Call {
    id: String,
    name: String,
    arguments: String,
}

impl Candidate {
    /// Takes what was said; what can be told at once becomes parts.
    pub(super) fn hear(
        &mut self,
        said: &Said<'_>,
        wants_thoughts: bool,
        is_whole: bool,
        parts: &mut Vec<String>,
    ) -> Result<(), ProviderError> {
        if wants_thoughts {
            think(said, is_whole, parts);
        }
        for text in [&said.content, &said.refusal].into_iter().flatten().filter(|text| !text.is_empty()) {
            if self.text.len() + text.len() <= LONGEST_CITED {
                self.text.push_str(text);
            }
            parts.push(self::text(text));
        }
        for (place, call) in (0..).zip(said.tool_calls.iter().flatten()) {
            self.keep(call.function.arguments.len() + call.function.name.len() + call.id.len())?;
            self.calls.entry(call.index.unwrap_or(place)).or_default().hear(call);
        }
        let cited = said.annotations.iter().flatten().filter_map(|it| it.url_citation.clone());
        for citation in cited {
            self.keep(citation.url.len() + citation.title.as_ref().map_or(0, String::len) + 64)?;
            self.citations.push(citation);
        }
        Ok(())
    }

    fn keep(&mut self, bytes: usize) -> Result<(), ProviderError> {
        self.kept += bytes;
        match self.kept > MOST_KEPT {
            true => Err(ProviderError::broken("the provider's calls of tools are longer than can be kept")),
            false => Ok(()),
        }
    }

    /// The calls that were kept, whole.
    pub(super) fn calls(&mut self) -> Result<Vec<String>, ProviderError> {
        let calls = std::mem::take(&mut self.calls);
        calls.into_values().map(|call| Ok(format!("{{\"functionCall\":{}}}", call.told()?))).collect()
    }

    pub(super) fn ended(&mut self, reason: &str) {
        self.reason = Some(reason.to_owned());
    }

    /// Why it ended, in Gemini's words; `otherwise` is told of one that gave no reason itself.
    pub(super) fn reason(&self, otherwise: Option<&str>) -> &'static str {
        match self.reason.as_deref().or(otherwise) {
            None | Some("" | "stop" | "tool_calls" | "function_call") => "STOP",
            Some("length") => "MAX_TOKENS",
            Some("content_filter") => "SAFETY",
            Some(_) => "OTHER",
        }
    }

    /// The sources that the text names. Gemini counts bytes where OpenAI counts characters.
    pub(super) fn grounding(&self) -> Option<Value> {
        if self.citations.is_empty() {
            return None;
        }
        let (mut chunks, mut supports) = (Vec::new(), Vec::new());
        for (index, it) in self.citations.iter().enumerate() {
            let mut web = json!({"uri": it.url});
            if let Some(title) = &it.title {
                web["title"] = json!(title);
            }
            chunks.push(json!({"web": web}));
            let byte = |characters: usize| {
                let ends = std::iter::once(self.text.len());
                self.text.char_indices().map(|(at, _)| at).chain(ends).nth(characters)
            };
            let (Some(start), Some(end)) = (it.start_index.and_then(byte), it.end_index.and_then(byte)) else {
                continue;
            };
            if start < end {
                let segment = json!({"startIndex": start, "endIndex": end, "text": self.text[start..end]});
                supports.push(json!({"segment": segment, "groundingChunkIndices": [index]}));
            }
        }
        Some(json!({"groundingChunks": chunks, "groundingSupports": supports}))
    }
}

impl Call {
    fn hear(&mut self, piece: &ToolCall<'_>) {
        if !piece.id.is_empty() {
            self.id = piece.id.clone().into_owned();
        }
        self.name.push_str(&piece.function.name);
        self.arguments.push_str(&piece.function.arguments);
    }

    /// As JSON; the arguments stay as they were written, on one line.
    fn told(self) -> Result<String, ProviderError> {
        let arguments = if self.arguments.trim().is_empty() { "{}" } else { self.arguments.trim() };
        if !arguments.starts_with('{') || serde_json::from_str::<&RawValue>(arguments).is_err() {
            return Err(ProviderError::broken("the arguments of a tool call are not a JSON object"));
        }
        let args = arguments.replace(['\n', '\r'], " ");
        let id = if self.id.is_empty() { String::new() } else { format!("\"id\":{},", quote(&self.id)) };
        Ok(format!("{{{id}\"name\":{},\"args\":{args}}}", quote(&self.name)))
    }
}

/// A part that is a text.
pub(super) fn text(text: &str) -> String {
    format!("{{\"text\":{}}}", quote(text))
}

/// Thoughts, and what was signed of them. A whole answer tells a thought once more with its signature, and so only there.
fn think(said: &Said<'_>, is_whole: bool, parts: &mut Vec<String>) {
    let blocks = said.thinking_blocks.as_deref().unwrap_or_default();
    let told_in_blocks = is_whole && blocks.iter().any(|block| !block.thinking.is_empty());
    if let Some(text) = said.reasoning().filter(|_| !told_in_blocks) {
        parts.push(format!("{{\"text\":{},\"thought\":true}}", quote(text)));
    }
    for block in blocks {
        let signature = block.signature.clone().filter(|it| !it.is_empty()).map(Kept::Signature);
        let Some(kept) = signature.or_else(|| block.data.clone().map(Kept::Sealed)) else { continue };
        let text = if told_in_blocks { quote(&block.thinking) } else { "\"\"".to_owned() };
        parts.push(format!("{{\"text\":{text},\"thought\":true,\"thoughtSignature\":\"{}\"}}", kept.write()));
    }
}

/// A candidate of an event.
pub(super) fn write(index: u64, parts: &[String], reason: Option<&str>, more: [(&str, Option<Value>); 2]) -> String {
    let mut out = format!("{{\"content\":{{\"parts\":[{}],\"role\":\"model\"}}", parts.join(","));
    if let Some(reason) = reason {
        out.push_str(&format!(",\"finishReason\":\"{reason}\""));
    }
    out.push_str(&format!(",\"index\":{index}"));
    for (name, value) in more {
        if let Some(value) = value {
            out.push_str(&format!(",\"{name}\":{value}"));
        }
    }
    out.push('}');
    out
}
