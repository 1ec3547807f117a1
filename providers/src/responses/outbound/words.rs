//! The words of chat completions for what the Responses API says in its own.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::items::Kind;
use crate::json::quote;

/// The beginning of a call: its id and its name.
pub(super) fn call(kind: Kind, id: &str, name: &str) -> Option<String> {
    let (index, word, inside) = names(kind)?;
    let (id, name) = (quote(id), quote(name));
    Some(format!(
        "{{\"tool_calls\":[{{\"index\":{index},\"id\":{id},\"type\":\"{word}\",\"{word}\":{{\"name\":{name},\"{inside}\":\"\"}}}}]}}"
    ))
}

/// A piece of what a call says.
pub(super) fn arguments(kind: Kind, piece: &str) -> Option<String> {
    let (index, word, inside) = names(kind)?;
    Some(format!("{{\"tool_calls\":[{{\"index\":{index},\"{word}\":{{\"{inside}\":{}}}}}]}}", quote(piece)))
}

fn names(kind: Kind) -> Option<(u64, &'static str, &'static str)> {
    match kind {
        Kind::Function(index) => Some((index, "function", "arguments")),
        Kind::Custom(index) => Some((index, "custom", "input")),
        Kind::Message | Kind::Reasoning => None,
    }
}

/// Log probabilities of tokens. In events they come without the tokens' bytes, which chat completions name at least.
pub(super) fn logprobs(raw: &RawValue) -> Option<String> {
    let mut tokens: Vec<Value> = serde_json::from_str(raw.get()).ok()?;
    if tokens.is_empty() {
        return None;
    }
    for token in &mut tokens {
        let token = token.as_object_mut()?;
        token.entry("bytes").or_insert(Value::Null);
        let others = token.entry("top_logprobs").or_insert(json!([]));
        for other in others.as_array_mut().into_iter().flatten() {
            other.as_object_mut()?.entry("bytes").or_insert(Value::Null);
        }
    }
    Some(format!("{{\"content\":{},\"refusal\":null}}", Value::Array(tokens)))
}

/// A citation of a page, `shift` characters further on; none for other kinds.
pub(super) fn citation(raw: &RawValue, shift: u64) -> Option<Value> {
    let mut told: serde_json::Map<String, Value> = serde_json::from_str(raw.get()).ok()?;
    if told.shift_remove("type")? != "url_citation" {
        return None;
    }
    for end in ["start_index", "end_index"] {
        if let Some(at) = told.get(end).and_then(Value::as_u64) {
            told.insert(end.to_owned(), json!(at.saturating_add(shift)));
        }
    }
    Some(json!({"type": "url_citation", "url_citation": told}))
}

/// Why the answer ended.
pub(super) fn finish_reason(incomplete: Option<&str>, called: bool) -> &'static str {
    match incomplete {
        Some("content_filter") => "content_filter",
        // `max_output_tokens`, and whatever else kept it from being complete.
        Some(_) => "length",
        None if called => "tool_calls",
        None => "stop",
    }
}
