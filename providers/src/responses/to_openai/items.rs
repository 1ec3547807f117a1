//! Items as OpenAI's messages. What an assistant thought, said and called in one turn is several items there, and one message here.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::parts::{Content, content};
use crate::dialect::Unsupported;
use crate::members::{Members, as_text, elements, unsupported};
use crate::responses::reasoning::{self, Kept};

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub(super) enum Message<'a> {
    System { content: Content<'a> },
    Developer { content: Content<'a> },
    User { content: Content<'a> },
    Assistant(Turn<'a>),
    Tool { tool_call_id: Cow<'a, str>, content: Content<'a> },
}

/// What the assistant thought, said and called.
#[derive(Default, Serialize)]
pub(super) struct Turn<'a> {
    content: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    refusal: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_content: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    thinking_blocks: Vec<Thought>,
    /// Something was said or called: what is thought next belongs to another turn.
    #[serde(skip)]
    spoken: bool,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Thought {
    Thinking { thinking: String, signature: String },
    RedactedThinking { data: String },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum ToolCall<'a> {
    Function { id: Cow<'a, str>, function: Call<'a> },
    Custom { id: Cow<'a, str>, custom: Input<'a> },
}

#[derive(Serialize)]
struct Call<'a> {
    name: Cow<'a, str>,
    arguments: Cow<'a, str>,
}

#[derive(Serialize)]
struct Input<'a> {
    name: Cow<'a, str>,
    input: Cow<'a, str>,
}

/// `instructions` and `input` as messages.
pub(super) fn messages<'a>(members: &mut Members<'a>) -> Result<Vec<Message<'a>>, Unsupported> {
    let mut messages = Vec::new();
    if let Some(raw) = members.raw("instructions") {
        let text = as_text(raw).ok_or_else(|| unsupported("instructions", "must be a text at this target"))?;
        messages.push(Message::System { content: Content::Text(text) });
    }
    let input = members.raw("input").ok_or_else(|| unsupported("input", "is required"))?;
    if let Some(text) = as_text(input) {
        messages.push(Message::User { content: Content::Text(text) });
        return Ok(messages);
    }
    for (place, raw) in elements(input, "input")? {
        item(raw, place, &mut messages)?;
    }
    Ok(messages)
}

fn item<'a>(raw: &'a RawValue, place: String, messages: &mut Vec<Message<'a>>) -> Result<(), Unsupported> {
    let mut item = Members::read(raw, place)?;
    item.ignore(&["id", "status"]);
    // The easy form of a message leaves its type out.
    let kind = item.text("type")?.unwrap_or(Cow::Borrowed("message"));
    item.only("async", &["false"], "cannot be told this target")?;
    item.only("caller", &["{\"type\":\"direct\"}"], "cannot be told this target")?;
    item.only("namespace", &[], "cannot be told this target")?;
    match kind.as_ref() {
        "message" => message(&mut item, messages)?,
        "reasoning" => thought(&mut item, turn(messages, true))?,
        "function_call" => {
            let (id, name) = (item.required_text("call_id")?, item.required_text("name")?);
            let function = Call { name, arguments: item.text("arguments")?.unwrap_or_default() };
            call(messages, ToolCall::Function { id, function });
        }
        "custom_tool_call" => {
            let (id, name) = (item.required_text("call_id")?, item.required_text("name")?);
            let custom = Input { name, input: item.text("input")?.unwrap_or_default() };
            call(messages, ToolCall::Custom { id, custom });
        }
        "function_call_output" | "custom_tool_call_output" => {
            item.ignore(&["name"]);
            let tool_call_id = item.required_text("call_id")?;
            let content = content(item.raw("output"), &item.at("output"))?;
            messages.push(Message::Tool { tool_call_id, content });
        }
        _ => return Err(unsupported(item.at("type"), "is no kind of item that this target takes")),
    }
    item.done()
}

fn message<'a>(item: &mut Members<'a>, messages: &mut Vec<Message<'a>>) -> Result<(), Unsupported> {
    item.ignore(&["phase"]);
    let (role, raw, place) = (item.required_text("role")?, item.raw("content"), item.at("content"));
    match role.as_ref() {
        "assistant" => said(raw, &place, turn(messages, false))?,
        "user" => messages.push(Message::User { content: content(raw, &place)? }),
        "system" => messages.push(Message::System { content: content(raw, &place)? }),
        "developer" => messages.push(Message::Developer { content: content(raw, &place)? }),
        _ => return Err(unsupported(item.at("role"), "must be user, assistant, system or developer")),
    }
    Ok(())
}

/// The assistant's turn that is being told; a new one if somebody else spoke last, or if a thought begins the next.
fn turn<'a, 'm>(messages: &'m mut Vec<Message<'a>>, thinks: bool) -> &'m mut Turn<'a> {
    let goes_on = match messages.last() {
        Some(Message::Assistant(turn)) => !(thinks && turn.spoken),
        _ => false,
    };
    if !goes_on {
        messages.push(Message::Assistant(Turn::default()));
    }
    match messages.last_mut() {
        Some(Message::Assistant(turn)) => turn,
        _ => unreachable!("it was just begun"),
    }
}

fn call<'a>(messages: &mut Vec<Message<'a>>, call: ToolCall<'a>) {
    let turn = turn(messages, false);
    turn.spoken = true;
    turn.tool_calls.push(call);
}

fn said<'a>(raw: Option<&'a RawValue>, place: &str, turn: &mut Turn<'a>) -> Result<(), Unsupported> {
    let raw = raw.ok_or_else(|| unsupported(place, "is required"))?;
    turn.spoken = true;
    if let Some(text) = as_text(raw) {
        turn.content.get_or_insert_default().push_str(&text);
        return Ok(());
    }
    turn.content.get_or_insert_default();
    for (place, raw) in elements(raw, place)? {
        let mut part = Members::read(raw, place)?;
        part.ignore(&["annotations", "logprobs"]);
        match part.required_text("type")?.as_ref() {
            "output_text" | "input_text" | "text" => {
                turn.content.get_or_insert_default().push_str(&part.required_text("text")?);
            }
            "refusal" => turn.refusal.get_or_insert_default().push_str(&part.required_text("refusal")?),
            _ => return Err(unsupported(part.at("type"), "is no kind of content that this target takes")),
        }
        part.done()?;
    }
    Ok(())
}

fn thought(item: &mut Members<'_>, turn: &mut Turn<'_>) -> Result<(), Unsupported> {
    let summed_up = texts(item, "summary")?;
    let thinking = texts(item, "content")?.filter(|text| !text.is_empty()).or(summed_up).unwrap_or_default();
    let encrypted = item.text("encrypted_content")?;
    if !thinking.is_empty() {
        turn.reasoning_content.get_or_insert_default().push_str(&thinking);
    }
    match encrypted.as_deref().and_then(reasoning::read) {
        Some(Kept::Signature(signature)) => {
            let signature = signature.to_owned();
            turn.thinking_blocks.push(Thought::Thinking { thinking, signature });
        }
        Some(Kept::Sealed(data)) => turn.thinking_blocks.push(Thought::RedactedThinking { data: data.to_owned() }),
        None => {}
    }
    Ok(())
}

/// The texts of a thought's parts as one.
fn texts(item: &mut Members<'_>, name: &str) -> Result<Option<String>, Unsupported> {
    let Some(raw) = item.raw(name) else { return Ok(None) };
    let mut all = String::new();
    for (place, raw) in elements(raw, &item.at(name))? {
        let mut part = Members::read(raw, place)?;
        part.ignore(&["type"]);
        all.push_str(&part.required_text("text")?);
        part.done()?;
    }
    Ok(Some(all))
}
