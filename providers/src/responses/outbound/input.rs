//! A conversation of chat messages as input items. System and developer messages stay where they stood.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Serialize;
use serde_json::value::RawValue;

use super::parts::{Part, Side, cited, content};
use super::seal::unseal;
use crate::dialect::Unsupported;
use crate::members::{Members, elements, unsupported};
use crate::translate::ECHOES;

pub(super) use super::parts::cache_mark;

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Item<'a> {
    Message {
        role: &'static str,
        content: Content<'a>,
        /// An answer that is more than a text is written as the API writes its own, which has an id; any will do.
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        status: Option<&'static str>,
    },
    Reasoning {
        id: String,
        summary: Vec<Summary<'a>>,
        encrypted_content: String,
    },
    FunctionCall {
        call_id: Cow<'a, str>,
        name: Cow<'a, str>,
        arguments: Cow<'a, str>,
    },
    FunctionCallOutput {
        call_id: Cow<'a, str>,
        output: Content<'a>,
    },
    CustomToolCall {
        call_id: Cow<'a, str>,
        name: Cow<'a, str>,
        input: Cow<'a, str>,
    },
    CustomToolCallOutput {
        call_id: Cow<'a, str>,
        output: Content<'a>,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<Part<'a>>),
}

#[derive(Serialize)]
pub(super) struct Summary<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    text: Cow<'a, str>,
}

impl<'a> Content<'a> {
    /// A lone text stays a text: the plainest form.
    fn of(mut parts: Vec<Part<'a>>) -> Content<'a> {
        match parts.as_mut_slice() {
            [] => Content::Text(Cow::Borrowed("")),
            [Part::InputText { text, prompt_cache_breakpoint: None }] => Content::Text(std::mem::take(text)),
            [Part::OutputText { text, annotations }] if annotations.is_empty() => Content::Text(std::mem::take(text)),
            _ => Content::Parts(parts),
        }
    }
}

pub(super) fn from_messages<'a>(messages: Option<&'a RawValue>) -> Result<Vec<Item<'a>>, Unsupported> {
    let messages = messages.ok_or_else(|| unsupported("messages", "is required"))?;
    let (mut items, mut custom) = (Vec::new(), HashSet::new());
    for (place, raw) in elements(messages, "messages")? {
        let mut message = Members::read(raw, place)?;
        let role = message.required_text("role")?;
        match role.as_ref() {
            "system" => items.push(said("system", &mut message, Side::TextOnly)?),
            "developer" => items.push(said("developer", &mut message, Side::TextOnly)?),
            "user" => items.push(said("user", &mut message, Side::Given)?),
            "assistant" => answer(&mut message, &mut items, &mut custom)?,
            "tool" => {
                let call_id = message.required_text("tool_call_id")?;
                let output = Content::of(content(message.raw("content"), &message.at("content"), Side::Given)?);
                message.ignore(&["name"]);
                items.push(match custom.contains(&call_id) {
                    true => Item::CustomToolCallOutput { call_id, output },
                    false => Item::FunctionCallOutput { call_id, output },
                });
            }
            _ => return Err(unsupported(message.at("role"), "is unknown here")),
        }
        message.done()?;
    }
    match items.is_empty() {
        true => Err(unsupported("messages", "needs a message with content at this target")),
        false => Ok(items),
    }
}

fn said<'a>(role: &'static str, message: &mut Members<'a>, side: Side) -> Result<Item<'a>, Unsupported> {
    let parts = content(message.raw("content"), &message.at("content"), side)?;
    Ok(Item::Message { role, content: Content::of(parts), id: None, status: None })
}

/// An earlier answer: what was thought, what was said, what was called.
fn answer<'a>(
    message: &mut Members<'a>,
    items: &mut Vec<Item<'a>>,
    custom: &mut HashSet<Cow<'a, str>>,
) -> Result<(), Unsupported> {
    let reasoning = message.text("reasoning_content")?.or(message.text("reasoning")?).unwrap_or_default();
    if let Some(raw) = message.raw("thinking_blocks") {
        for (place, raw) in elements(raw, &message.at("thinking_blocks"))? {
            items.extend(thought(raw, place, &reasoning)?);
        }
    }
    let mut parts = content(message.raw("content"), &message.at("content"), Side::Told)?;
    if let Some(refusal) = message.text("refusal")?.filter(|refusal| !refusal.is_empty()) {
        parts.push(Part::Refusal { refusal });
    }
    if let Some(raw) = message.raw("annotations") {
        cited(raw, &message.at("annotations"), &mut parts)?;
    }
    message.ignore(&ECHOES);
    if !parts.is_empty() {
        let content = Content::of(parts);
        let own = matches!(content, Content::Parts(_));
        let (id, status) = (own.then(|| format!("msg_{}", items.len())), own.then_some("completed"));
        items.push(Item::Message { role: "assistant", content, id, status });
    }
    if let Some(raw) = message.raw("tool_calls") {
        for (place, raw) in elements(raw, &message.at("tool_calls"))? {
            items.push(call(raw, place, custom)?);
        }
    }
    Ok(())
}

/// A block of thinking that this API gave, as the item that it was; none for one that another provider signed. The guards have
/// read `reasoning_content`, so a block may say nothing that is not said there.
fn thought<'a>(raw: &'a RawValue, place: String, reasoning: &str) -> Result<Option<Item<'a>>, Unsupported> {
    let mut block = Members::read(raw, place)?;
    let (text, sealed) = match block.required_text("type")?.as_ref() {
        "thinking" => (Some(block.required_text("thinking")?), block.text("signature")?.unwrap_or_default()),
        "redacted_thinking" => (None, block.required_text("data")?),
        _ => return Err(unsupported(block.at("type"), "is no block of thinking")),
    };
    let Some((id, encrypted)) = unseal(&sealed) else { return Ok(None) };
    if text.as_deref().is_some_and(|text| !reasoning.contains(text)) {
        return Err(unsupported(block.at("thinking"), "must be the same as in reasoning_content"));
    }
    block.ignore(&["index"]);
    block.done()?;
    let summary = text.into_iter().map(|text| Summary { kind: "summary_text", text }).collect();
    Ok(Some(Item::Reasoning { id: id.to_owned(), summary, encrypted_content: encrypted.to_owned() }))
}

fn call<'a>(raw: &'a RawValue, place: String, custom: &mut HashSet<Cow<'a, str>>) -> Result<Item<'a>, Unsupported> {
    let mut call = Members::read(raw, place)?;
    call.ignore(&["index", "extra_content"]);
    let call_id = call.required_text("id")?;
    let kind = call.text("type")?;
    let word = match kind.as_deref() {
        None | Some("function") => "function",
        Some("custom") => "custom",
        Some(_) => return Err(unsupported(call.at("type"), "can only be function or custom here")),
    };
    let inside = call.raw(word).ok_or_else(|| unsupported(call.at(word), "is required"))?;
    let mut inside = Members::read(inside, call.at(word))?;
    let name = inside.required_text("name")?;
    let item = match word {
        "custom" => {
            custom.insert(call_id.clone());
            Item::CustomToolCall { call_id, name, input: inside.text("input")?.unwrap_or_default() }
        }
        // Models write nothing where a function takes nothing; this API wants an object even so.
        _ => match inside.text("arguments")?.filter(|it| !it.trim().is_empty()) {
            Some(arguments) => Item::FunctionCall { call_id, name, arguments },
            None => Item::FunctionCall { call_id, name, arguments: Cow::Borrowed("{}") },
        },
    };
    inside.done()?;
    call.done()?;
    Ok(item)
}
