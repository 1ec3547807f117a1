//! Anthropic's system text and turns as OpenAI's messages.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::dialect::Unsupported;
use crate::members::{Members, as_text, elements, unsupported};

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub(super) enum Message<'a> {
    System {
        content: Content<'a>,
    },
    User {
        content: Content<'a>,
    },
    Assistant {
        content: Option<String>,
        #[serde(skip_serializing_if = "String::is_empty")]
        reasoning_content: String,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        thinking_blocks: Vec<Thought<'a>>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        tool_calls: Vec<ToolCall<'a>>,
    },
    Tool {
        tool_call_id: Cow<'a, str>,
        content: Content<'a>,
    },
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<Part<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part<'a> {
    Text {
        text: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
    },
    ImageUrl {
        image_url: ImageUrl<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
    },
    File {
        file: File<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
    },
}

/// Thinking that its maker signed; it goes back to nobody else.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Thought<'a> {
    Thinking { thinking: Cow<'a, str>, signature: Cow<'a, str> },
    RedactedThinking { data: Cow<'a, str> },
}

#[derive(Serialize)]
pub(super) struct ImageUrl<'a> {
    url: Cow<'a, str>,
}

#[derive(Serialize)]
pub(super) struct File<'a> {
    filename: Cow<'a, str>,
    file_data: String,
}

#[derive(Serialize)]
pub(super) struct ToolCall<'a> {
    id: Cow<'a, str>,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Call<'a>,
}

#[derive(Serialize)]
pub(super) struct Call<'a> {
    name: Cow<'a, str>,
    arguments: &'a str,
}

impl<'a> Part<'a> {
    fn text(text: Cow<'a, str>) -> Part<'a> {
        Part::Text { text, cache_control: None }
    }
}

impl<'a> Content<'a> {
    /// A lone text stays a text: the plainest form, which every server takes.
    fn of(mut parts: Vec<Part<'a>>) -> Content<'a> {
        match parts.as_mut_slice() {
            [] => Content::Text(Cow::Borrowed("")),
            [Part::Text { text, cache_control: None }] => Content::Text(std::mem::take(text)),
            _ => Content::Parts(parts),
        }
    }
}

/// The system text as the first message.
pub(super) fn system<'a>(members: &mut Members<'a>) -> Result<Vec<Message<'a>>, Unsupported> {
    let parts = texts_only(members.raw("system"), "system")?;
    Ok(if parts.is_empty() { Vec::new() } else { vec![Message::System { content: Content::of(parts) }] })
}

/// One turn as one or more messages.
pub(super) fn turn<'a>(raw: &'a RawValue, place: String, messages: &mut Vec<Message<'a>>) -> Result<(), Unsupported> {
    let mut turn = Members::read(raw, place)?;
    let role = turn.required_text("role")?;
    let place = turn.at("content");
    let content = turn.raw("content");
    match role.as_ref() {
        "user" => user_turn(content, &place, messages)?,
        "assistant" => messages.push(assistant_turn(content, &place)?),
        "system" => messages.push(Message::System { content: Content::of(texts_only(content, &place)?) }),
        _ => return Err(unsupported(turn.at("role"), "must be user or assistant")),
    }
    turn.done()
}

/// Tool results become messages of their own and go first, as OpenAI wants them right after the calls.
fn user_turn<'a>(raw: Option<&'a RawValue>, place: &str, messages: &mut Vec<Message<'a>>) -> Result<(), Unsupported> {
    let mut parts = Vec::new();
    let mut results = false;
    for (mut block, kind) in blocks(raw, place)? {
        let Some(kind) = kind else {
            parts.push(Part::text(block.required_text("text")?));
            continue;
        };
        match kind.as_ref() {
            "tool_result" => {
                messages.push(tool_result(&mut block)?);
                results = true;
            }
            "text" => parts.push(text(&mut block)?),
            "image" => parts.push(image(&mut block)?),
            "document" => parts.push(document(&mut block)?),
            _ => return Err(unsupported(block.at("type"), "is no kind of content that this target takes")),
        }
        finish(block)?;
    }
    if !parts.is_empty() || !results {
        messages.push(Message::User { content: Content::of(parts) });
    }
    Ok(())
}

fn assistant_turn<'a>(raw: Option<&'a RawValue>, place: &str) -> Result<Message<'a>, Unsupported> {
    let mut said: Option<String> = None;
    let (mut reasoning_content, mut thinking_blocks, mut tool_calls) = (String::new(), Vec::new(), Vec::new());
    for (mut block, kind) in blocks(raw, place)? {
        match kind.as_deref().unwrap_or("text") {
            "text" => {
                block.only("citations", &["[]"], "cannot be sent back to this target")?;
                said.get_or_insert_default().push_str(&block.required_text("text")?);
            }
            "tool_use" => {
                let input = block.raw("input").map_or("{}", RawValue::get);
                block.ignore(&["caller"]);
                let function = Call { name: block.required_text("name")?, arguments: input };
                tool_calls.push(ToolCall { id: block.required_text("id")?, kind: "function", function });
            }
            "thinking" => {
                let thinking = block.required_text("thinking")?;
                reasoning_content.push_str(&thinking);
                let signature = block.text("signature")?.unwrap_or_default();
                thinking_blocks.push(Thought::Thinking { thinking, signature });
            }
            "redacted_thinking" => {
                thinking_blocks.push(Thought::RedactedThinking { data: block.required_text("data")? });
            }
            _ => return Err(unsupported(block.at("type"), "is no kind of content that this target takes")),
        }
        finish(block)?;
    }
    if said.is_none() && tool_calls.is_empty() {
        said = Some(String::new());
    }
    Ok(Message::Assistant { content: said, reasoning_content, thinking_blocks, tool_calls })
}

fn tool_result<'a>(block: &mut Members<'a>) -> Result<Message<'a>, Unsupported> {
    let tool_call_id = block.required_text("tool_use_id")?;
    let place = block.at("content");
    let mut parts = result_parts(block.raw("content"), &place)?;
    if block.take("is_error")?.unwrap_or(false) {
        match parts.first_mut() {
            Some(Part::Text { text, .. }) => text.to_mut().insert_str(0, TOOL_ERROR),
            _ => parts.push(Part::text(Cow::Borrowed(TOOL_ERROR))),
        }
    }
    Ok(Message::Tool { tool_call_id, content: Content::of(parts) })
}

const TOOL_ERROR: &str = "[tool error] ";

type BlockOfKind<'a> = (Members<'a>, Option<Cow<'a, str>>);

/// The blocks of a content with their kinds. A plain text is one block `{"text": …}` whose kind is not said.
fn blocks<'a>(raw: Option<&'a RawValue>, place: &str) -> Result<Vec<BlockOfKind<'a>>, Unsupported> {
    let raw = raw.ok_or_else(|| unsupported(place, "is required"))?;
    if as_text(raw).is_some() {
        return Ok(vec![(Members::of("text", raw, place), None)]);
    }
    elements(raw, place)?
        .into_iter()
        .map(|(place, raw)| {
            let mut block = Members::read(raw, place)?;
            let kind = block.required_text("type")?;
            Ok((block, Some(kind)))
        })
        .collect()
}

/// What is left of a block that was read. Where to cache a call, a result or a thought is a hint that has no place in the hub.
fn finish(mut block: Members<'_>) -> Result<(), Unsupported> {
    block.ignore(&["cache_control"]);
    block.done()
}

/// What a tool gave back: texts, images and documents. Which of them a target takes is for its dialect to say.
fn result_parts<'a>(raw: Option<&'a RawValue>, place: &str) -> Result<Vec<Part<'a>>, Unsupported> {
    if raw.is_none() {
        return Ok(Vec::new());
    }
    let mut parts = Vec::new();
    for (mut block, kind) in blocks(raw, place)? {
        parts.push(match kind.as_deref() {
            None | Some("text") => text(&mut block)?,
            Some("image") => image(&mut block)?,
            Some("document") => document(&mut block)?,
            Some(_) => return Err(unsupported(block.at("type"), "is no kind of content that this target takes")),
        });
        block.only("citations", &["[]"], "cannot be sent back to this target")?;
        finish(block)?;
    }
    Ok(parts)
}

fn texts_only<'a>(raw: Option<&'a RawValue>, place: &str) -> Result<Vec<Part<'a>>, Unsupported> {
    if raw.is_none() {
        return Ok(Vec::new());
    }
    let mut parts = Vec::new();
    for (mut block, kind) in blocks(raw, place)? {
        if kind.is_some_and(|kind| kind != "text") {
            return Err(unsupported(block.at("type"), "can only be text here"));
        }
        parts.push(text(&mut block)?);
        block.only("citations", &["[]"], "cannot be sent back to this target")?;
        finish(block)?;
    }
    Ok(parts)
}

fn text<'a>(block: &mut Members<'a>) -> Result<Part<'a>, Unsupported> {
    Ok(Part::Text { text: block.required_text("text")?, cache_control: block.raw("cache_control") })
}

fn image<'a>(block: &mut Members<'a>) -> Result<Part<'a>, Unsupported> {
    let source = block.raw("source").ok_or_else(|| unsupported(block.at("source"), "is required"))?;
    let mut source = Members::read(source, block.at("source"))?;
    let url = match source.required_text("type")?.as_ref() {
        "base64" => {
            Cow::Owned(format!("data:{};base64,{}", source.required_text("media_type")?, source.required_text("data")?))
        }
        "url" => source.required_text("url")?,
        _ => return Err(unsupported(source.at("type"), "belongs to another provider's store")),
    };
    source.done()?;
    Ok(Part::ImageUrl { image_url: ImageUrl { url }, cache_control: block.raw("cache_control") })
}

/// A PDF becomes a file part; plain text becomes a text part that begins with its title, if it has one.
fn document<'a>(block: &mut Members<'a>) -> Result<Part<'a>, Unsupported> {
    let title = block.text("title")?;
    let context = block.raw("context");
    if context.is_some() {
        return Err(unsupported(block.at("context"), "has no counterpart at the target"));
    }
    if let Some(raw) = block.raw("citations") {
        let mut citations = Members::read(raw, block.at("citations"))?;
        citations.only("enabled", &["false"], "cannot be given by this target")?;
    }
    let source = block.raw("source").ok_or_else(|| unsupported(block.at("source"), "is required"))?;
    let mut source = Members::read(source, block.at("source"))?;
    let part = match source.required_text("type")?.as_ref() {
        "base64" => {
            let file_data =
                format!("data:{};base64,{}", source.required_text("media_type")?, source.required_text("data")?);
            let file = File { filename: title.unwrap_or(Cow::Borrowed("document.pdf")), file_data };
            Part::File { file, cache_control: block.raw("cache_control") }
        }
        "text" => {
            source.ignore(&["media_type"]);
            let data = source.required_text("data")?;
            let text = title.map_or(data.clone(), |title| Cow::Owned(format!("{title}\n\n{data}")));
            Part::Text { text, cache_control: block.raw("cache_control") }
        }
        _ => return Err(unsupported(source.at("type"), "cannot be read by this target")),
    };
    source.done()?;
    Ok(part)
}
