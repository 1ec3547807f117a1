//! A conversation of OpenAI's messages as Cohere's.
//!
//! Earlier reasoning goes back where it came from: beside tool calls it was their plan, elsewhere thinking. `thinking_blocks` say it
//! again, signed for another provider, and are let go; so are `annotations`, which point into what was said and are not said.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::dialect::Unsupported;
use crate::members::{Members, as_text, elements, unsupported};
use crate::translate::ECHOES;

#[derive(Serialize)]
pub(super) struct Turn<'a> {
    role: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_call_id: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_plan: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<Content<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<Call<'a>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<Part<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text { text: Cow<'a, str> },
    Thinking { thinking: Cow<'a, str> },
    ImageUrl { image_url: Image<'a> },
}

#[derive(Serialize)]
struct Image<'a> {
    url: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
struct Call<'a> {
    id: Cow<'a, str>,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: Cow<'a, str>,
    arguments: Cow<'a, str>,
}

pub(super) fn turns<'a>(messages: Option<&'a RawValue>) -> Result<Vec<Turn<'a>>, Unsupported> {
    let messages = messages.ok_or_else(|| unsupported("messages", "is required"))?;
    elements(messages, "messages")?.into_iter().map(|(place, raw)| turn(raw, place)).collect()
}

fn turn<'a>(raw: &'a RawValue, place: String) -> Result<Turn<'a>, Unsupported> {
    let mut message = Members::read(raw, place)?;
    let plain = |role| Turn { role, tool_call_id: None, tool_plan: None, content: None, tool_calls: Vec::new() };
    message.ignore(&["cache_control"]);
    let role = message.required_text("role")?;
    let turn = match role.as_ref() {
        "system" | "developer" => Turn { content: content(&mut message, false)?, ..plain("system") },
        "user" => Turn { content: content(&mut message, true)?, ..plain("user") },
        "assistant" => assistant(&mut message, plain("assistant"))?,
        "tool" => {
            message.ignore(&["name"]);
            let tool_call_id = Some(message.required_text("tool_call_id")?);
            Turn { tool_call_id, content: content(&mut message, false)?, ..plain("tool") }
        }
        _ => return Err(unsupported(message.at("role"), "is unknown here")),
    };
    message.done()?;
    Ok(turn)
}

fn assistant<'a>(message: &mut Members<'a>, plain: Turn<'a>) -> Result<Turn<'a>, Unsupported> {
    message.ignore(&["thinking_blocks"]);
    message.ignore(&ECHOES);
    let reasoning = message.text("reasoning_content")?.or(message.text("reasoning")?).filter(|it| !it.is_empty());
    let mut said = content(message, false)?;
    if let Some(refusal) = message.text("refusal")?.filter(|it| !it.is_empty()) {
        said = Some(parts_with(said, Part::Text { text: refusal }, false));
    }
    let mut tool_calls = Vec::new();
    if let Some(calls) = message.raw("tool_calls") {
        for (place, raw) in elements(calls, &message.at("tool_calls"))? {
            tool_calls.push(call(raw, place)?);
        }
    }
    let mut tool_plan = None;
    match reasoning {
        Some(reasoning) if !tool_calls.is_empty() => tool_plan = Some(reasoning),
        Some(thinking) => said = Some(parts_with(said, Part::Thinking { thinking }, true)),
        None => {}
    }
    Ok(Turn { tool_plan, content: said, tool_calls, ..plain })
}

/// The content with one part more, at its beginning or its end.
fn parts_with<'a>(content: Option<Content<'a>>, part: Part<'a>, first: bool) -> Content<'a> {
    let mut parts = match content {
        Some(Content::Parts(parts)) => parts,
        Some(Content::Text(text)) if !text.is_empty() => vec![Part::Text { text }],
        _ => Vec::new(),
    };
    parts.insert(if first { 0 } else { parts.len() }, part);
    Content::Parts(parts)
}

fn content<'a>(message: &mut Members<'a>, images: bool) -> Result<Option<Content<'a>>, Unsupported> {
    let Some(raw) = message.raw("content") else { return Ok(None) };
    if let Some(text) = as_text(raw) {
        return Ok(Some(Content::Text(text)));
    }
    let mut parts = Vec::new();
    for (place, raw) in elements(raw, &message.at("content"))? {
        let mut part = Members::read(raw, place)?;
        part.ignore(&["cache_control", "prompt_cache_breakpoint"]);
        parts.push(match part.required_text("type")?.as_ref() {
            "text" => Part::Text { text: part.required_text("text")? },
            "refusal" => Part::Text { text: part.required_text("refusal")? },
            "image_url" if images => Part::ImageUrl { image_url: image(&mut part)? },
            "image_url" => return Err(unsupported(part.at("image_url"), "can only be in a user's message here")),
            "file" => return Err(unsupported(part.at("file"), "cannot be read by this target")),
            "input_audio" => return Err(unsupported(part.at("input_audio"), "cannot be heard by this target")),
            _ => return Err(unsupported(part.at("type"), "is no kind of content that this target takes")),
        });
        part.done()?;
    }
    Ok(Some(Content::Parts(parts)))
}

fn image<'a>(part: &mut Members<'a>) -> Result<Image<'a>, Unsupported> {
    let raw = part.raw("image_url").ok_or_else(|| unsupported(part.at("image_url"), "is required"))?;
    if let Some(url) = as_text(raw) {
        return Ok(Image { url, detail: None });
    }
    let mut image = Members::read(raw, part.at("image_url"))?;
    let told = Image { url: image.required_text("url")?, detail: image.text("detail")? };
    image.done()?;
    Ok(told)
}

fn call<'a>(raw: &'a RawValue, place: String) -> Result<Call<'a>, Unsupported> {
    let mut call = Members::read(raw, place)?;
    call.only("type", &["\"function\""], "can only be a function here")?;
    // Another provider's signature of the call: this one could not read it.
    call.ignore(&["index", "extra_content"]);
    let id = call.required_text("id")?;
    let function = call.raw("function").ok_or_else(|| unsupported(call.at("function"), "is required"))?;
    let mut function = Members::read(function, call.at("function"))?;
    let name = function.required_text("name")?;
    // Models write nothing where a function takes nothing; Cohere wants an object all the same.
    let arguments = function.text("arguments")?.filter(|it| !it.trim().is_empty()).unwrap_or(Cow::Borrowed("{}"));
    function.done()?;
    call.done()?;
    Ok(Call { id, kind: "function", function: Function { name, arguments } })
}
