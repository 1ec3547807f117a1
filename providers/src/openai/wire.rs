//! The parts of OpenAI's answers that are read. Everything else is only passed on.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::{Kind, Scanner};
use crate::splice;

/// A `chat.completion.chunk` or a whole `chat.completion`.
#[derive(Deserialize)]
pub(super) struct Answer<'a> {
    #[serde(borrow, default)]
    pub model: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub choices: Option<Vec<Choice<'a>>>,
    #[serde(borrow, default)]
    pub usage: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub error: Option<&'a RawValue>,
}

#[derive(Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(default)]
    pub index: Option<u64>,
    #[serde(borrow, default, alias = "message")]
    pub delta: Option<Said<'a>>,
    /// Of a completion without a conversation.
    #[serde(borrow, default)]
    pub text: Option<&'a RawValue>,
    #[serde(default)]
    pub finish_reason: Option<String>,
}

/// A delta or a message.
#[derive(Deserialize)]
pub(super) struct Said<'a> {
    #[serde(borrow, default)]
    content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    refusal: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning_content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    reasoning: Option<&'a RawValue>,
    #[serde(borrow, default)]
    tool_calls: Option<Vec<ToolCall<'a>>>,
    #[serde(borrow, default)]
    function_call: Option<Function<'a>>,
    #[serde(borrow, default)]
    audio: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ToolCall<'a> {
    #[serde(borrow, default, alias = "custom")]
    function: Option<Function<'a>>,
}

#[derive(Deserialize)]
struct Function<'a> {
    #[serde(borrow, default)]
    name: Option<&'a RawValue>,
    #[serde(borrow, default, alias = "input")]
    arguments: Option<&'a RawValue>,
}

impl Answer<'_> {
    /// The model that answered, as the provider calls it.
    pub fn model(&self) -> Option<String> {
        self.model.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok()).filter(|it| !it.is_empty())
    }

    /// The output text to count, choice by choice.
    pub(super) fn texts(&self) -> Vec<(u64, String)> {
        let mut texts = Vec::new();
        for choice in self.choices.iter().flatten() {
            let mut text = String::new();
            push(&mut text, choice.text);
            let Some(said) = &choice.delta else {
                if !text.is_empty() {
                    texts.push((choice.index.unwrap_or(0), text));
                }
                continue;
            };
            push(&mut text, said.content);
            push(&mut text, said.refusal);
            // Some servers give the same reasoning under both names.
            push(&mut text, said.reasoning_content.or(said.reasoning));
            push(&mut text, said.audio);
            let calls = said.tool_calls.iter().flatten().filter_map(|it| it.function.as_ref());
            for function in calls.chain(&said.function_call) {
                push(&mut text, function.name);
                push(&mut text, function.arguments);
            }
            if !text.is_empty() {
                texts.push((choice.index.unwrap_or(0), text));
            }
        }
        texts
    }

    /// The usage object's JSON text, unless it is null.
    pub(super) fn usage(&self) -> Option<&str> {
        self.usage.map(RawValue::get).filter(|it| *it != "null")
    }

    pub(super) fn error(&self) -> Option<&str> {
        self.error.map(RawValue::get).filter(|it| *it != "null")
    }
}

/// Adds a string, or all strings inside (parts, as some servers have them; a tool's arguments as an object).
fn push(text: &mut String, raw: Option<&RawValue>) {
    let Some(raw) = raw.map(RawValue::get) else { return };
    match serde_json::from_str::<serde_json::Value>(raw) {
        Ok(serde_json::Value::String(it)) => text.push_str(&it),
        Ok(value) => push_all(text, &value),
        // Half a surrogate pair, from a server that cuts between bytes: the escapes count for what they stand for.
        Err(_) => text.push_str(raw.trim_matches('"')),
    }
}

fn push_all(text: &mut String, value: &serde_json::Value) {
    match value {
        serde_json::Value::String(it) => text.push_str(it),
        serde_json::Value::Array(parts) => parts.iter().for_each(|it| push_all(text, it)),
        serde_json::Value::Object(members) => {
            members
                .iter()
                .filter(|(name, _)| !["type", "id", "data"].contains(&&***name))
                .for_each(|(_, it)| push_all(text, it));
        }
        _ => {}
    }
}

/// The object without one of its outermost members; all other bytes stay. Unchanged if it is not there.
pub(crate) fn without(object: &str, name: &str) -> String {
    let Some(members) = spans(object) else { return object.to_owned() };
    let Some(i) = members.iter().position(|it| it.0 == name) else { return object.to_owned() };
    let span = match (members.get(i + 1), i.checked_sub(1)) {
        (Some(next), _) => members[i].1..next.1,
        (None, Some(before)) => members[before].3..members[i].3,
        (None, None) => members[i].1..members[i].3,
    };
    text(splice::replace(object.as_bytes(), vec![(span, String::new())]))
}

/// The object with an outermost member's value replaced, or the member added at the end.
pub(crate) fn with(object: &str, name: &str, value: &str) -> String {
    let Some(members) = spans(object) else { return object.to_owned() };
    let edit = match (members.iter().find(|it| it.0 == name), members.last()) {
        (Some(found), _) => (found.2..found.3, value.to_owned()),
        (None, Some(last)) => (last.3..last.3, format!(",\"{name}\":{value}")),
        (None, None) => {
            let start = object.find('{').map_or(0, |it| it + 1);
            (start..start, format!("\"{name}\":{value}"))
        }
    };
    text(splice::replace(object.as_bytes(), vec![edit]))
}

/// The JSON text of an outermost member.
pub(crate) fn member<'a>(object: &'a str, name: &str) -> Option<&'a str> {
    let found = spans(object)?.into_iter().find(|it| it.0 == name)?;
    Some(&object[found.2..found.3])
}

/// Name, start of the name, start and end of the value.
fn spans(object: &str) -> Option<Vec<(String, usize, usize, usize)>> {
    let mut scanner = Scanner::new(object);
    if scanner.peek().ok()? != Kind::Object {
        return None;
    }
    let mut walk = scanner.object().ok()?;
    let mut spans = Vec::new();
    while let Some(key) = scanner.member(&mut walk, "").ok()? {
        let value = scanner.skip().ok()?;
        spans.push((key.name.into_owned(), key.start, value.start, value.end));
    }
    Some(spans)
}

fn text(bytes: bytes::Bytes) -> String {
    String::from_utf8(bytes.into()).expect("spliced from texts at the bounds of JSON tokens")
}
