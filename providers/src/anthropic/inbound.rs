//! An Anthropic Messages request told as an OpenAI chat request, for targets that speak OpenAI. Pure: body in, body out.
//!
//! As in the other direction a member is translated, let go as a hint ([`HINTS`], `cache_control`, citations that are
//! off), or refused by name. Three decisions to know:
//! - earlier `thinking` and `redacted_thinking` blocks are left out: they are signed for Anthropic's eyes and no other
//!   provider can take them. A request *for* thinking is let go where it leaves the choice to the model (`adaptive`,
//!   `disabled`) and refused where it fixes a budget (`enabled`); `output_config.effort` becomes `reasoning_effort`;
//! - `is_error` of a tool result has no counterpart, so the text says it: it begins with `[tool error] `;
//! - OpenAI's tool messages carry text only: an image in a tool result is refused by place, not moved or lost.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::content;
use super::members::{Members, as_text, elements, unsupported};
use crate::chat::ChatRequest;
use crate::dialect::Unsupported;

/// Hints and matters of the gateway. The cap is replaced by the one that money was held for.
pub(super) const HINTS: &[&str] = &["max_tokens", "fallbacks", "cache_control", "diagnostics"];

/// The body for `POST /chat/completions`. It has no cap and no stream options: the encoder sets both.
pub(crate) fn to_openai(request: &ChatRequest) -> Result<Bytes, Unsupported> {
    from_messages(request.body())
}

/// The same from the bytes of a body.
pub(super) fn from_messages(body: &[u8]) -> Result<Bytes, Unsupported> {
    let raw: &RawValue = serde_json::from_slice(body).map_err(|_| unsupported("", "is not JSON"))?;
    let mut members = Members::read(raw, "")?;
    members.ignore(HINTS);
    members.only("service_tier", &["\"auto\"", "\"standard_only\""], "is a tier this target does not sell")?;
    members.only("speed", &["\"standard\""], "cannot be set at this target")?;
    members.only("mcp_servers", &["[]"], "cannot be reached by this target")?;

    let mut messages = system(&mut members)?;
    let turns = members.raw("messages").ok_or_else(|| unsupported("messages", "is required"))?;
    for (place, raw) in elements(turns, "messages")? {
        turn(raw, place, &mut messages)?;
    }
    let (tool_choice, parallel_tool_calls) = tool_choice(&mut members)?;
    refuse_fixed_thinking(&mut members)?;
    let (reasoning_effort, response_format) = output_config(&mut members)?;
    let request = Request {
        model: members.required_text("model")?,
        messages,
        tools: tools(&mut members)?,
        tool_choice,
        parallel_tool_calls,
        stop: members.raw("stop_sequences").filter(|raw| raw.get() != "[]"),
        temperature: members.raw("temperature"),
        top_p: members.raw("top_p"),
        reasoning_effort,
        response_format,
        user: user(&mut members)?,
        stream: members.take("stream")?.unwrap_or(false),
    };
    members.done()?;
    Ok(Bytes::from(serde_json::to_vec(&request).expect("texts, numbers and raw JSON always serialize")))
}

#[derive(Serialize)]
struct Request<'a> {
    model: Cow<'a, str>,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<ResponseFormat<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
}

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
enum Message<'a> {
    System {
        content: Content<'a>,
    },
    User {
        content: Content<'a>,
    },
    Assistant {
        content: Option<String>,
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
enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<Part<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Part<'a> {
    Text { text: Cow<'a, str> },
    ImageUrl { image_url: ImageUrl<'a> },
    File { file: File<'a> },
}

#[derive(Serialize)]
struct ImageUrl<'a> {
    url: Cow<'a, str>,
}

#[derive(Serialize)]
struct File<'a> {
    filename: Cow<'a, str>,
    file_data: String,
}

#[derive(Serialize)]
struct ToolCall<'a> {
    id: Cow<'a, str>,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Call<'a>,
}

#[derive(Serialize)]
struct Call<'a> {
    name: Cow<'a, str>,
    arguments: &'a str,
}

#[derive(Serialize)]
struct Tool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
}

#[derive(Serialize)]
struct Function<'a> {
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Cow<'a, str>>,
    parameters: Cow<'a, RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Choice<'a> {
    Word(&'static str),
    Named {
        #[serde(rename = "type")]
        kind: &'static str,
        function: Name<'a>,
    },
}

#[derive(Serialize)]
struct Name<'a> {
    name: Cow<'a, str>,
}

#[derive(Serialize)]
struct ResponseFormat<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    json_schema: Schema<'a>,
}

#[derive(Serialize)]
struct Schema<'a> {
    name: &'static str,
    strict: bool,
    schema: &'a RawValue,
}

impl<'a> Content<'a> {
    /// A lone text stays a text: the plainest form, which every server takes.
    fn of(mut parts: Vec<Part<'a>>) -> Content<'a> {
        match parts.as_mut_slice() {
            [] => Content::Text(Cow::Borrowed("")),
            [Part::Text { text }] => Content::Text(std::mem::take(text)),
            _ => Content::Parts(parts),
        }
    }
}

fn system<'a>(members: &mut Members<'a>) -> Result<Vec<Message<'a>>, Unsupported> {
    let parts = texts_only(members.raw("system"), "system")?;
    Ok(if parts.is_empty() { Vec::new() } else { vec![Message::System { content: Content::of(parts) }] })
}

fn turn<'a>(raw: &'a RawValue, place: String, messages: &mut Vec<Message<'a>>) -> Result<(), Unsupported> {
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
            parts.push(Part::Text { text: block.required_text("text")? });
            continue;
        };
        match kind.as_ref() {
            "tool_result" => {
                messages.push(tool_result(&mut block)?);
                results = true;
            }
            "text" => parts.push(Part::Text { text: block.required_text("text")? }),
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
    let mut tool_calls = Vec::new();
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
            "thinking" => block.ignore(&["thinking", "signature"]),
            "redacted_thinking" => block.ignore(&["data"]),
            _ => return Err(unsupported(block.at("type"), "is no kind of content that this target takes")),
        }
        finish(block)?;
    }
    if said.is_none() && tool_calls.is_empty() {
        said = Some(String::new());
    }
    Ok(Message::Assistant { content: said, tool_calls })
}

fn tool_result<'a>(block: &mut Members<'a>) -> Result<Message<'a>, Unsupported> {
    let tool_call_id = block.required_text("tool_use_id")?;
    let place = block.at("content");
    let mut parts = texts_only(block.raw("content"), &place)?;
    if block.take("is_error")?.unwrap_or(false) {
        match parts.first_mut() {
            Some(Part::Text { text }) => text.to_mut().insert_str(0, TOOL_ERROR),
            _ => parts.push(Part::Text { text: Cow::Borrowed(TOOL_ERROR) }),
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

/// What is left of a block that was read: where to cache is a hint, all else is refused.
fn finish(mut block: Members<'_>) -> Result<(), Unsupported> {
    block.ignore(&["cache_control"]);
    block.done()
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
        parts.push(Part::Text { text: block.required_text("text")? });
        block.only("citations", &["[]"], "cannot be sent back to this target")?;
        finish(block)?;
    }
    Ok(parts)
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
    Ok(Part::ImageUrl { image_url: ImageUrl { url } })
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
            Part::File { file: File { filename: title.unwrap_or(Cow::Borrowed("document.pdf")), file_data } }
        }
        "text" => {
            source.ignore(&["media_type"]);
            let data = source.required_text("data")?;
            let text = title.map_or(data.clone(), |title| Cow::Owned(format!("{title}\n\n{data}")));
            Part::Text { text }
        }
        _ => return Err(unsupported(source.at("type"), "cannot be read by this target")),
    };
    source.done()?;
    Ok(part)
}

fn tools<'a>(members: &mut Members<'a>) -> Result<Vec<Tool<'a>>, Unsupported> {
    let Some(raw) = members.raw("tools") else { return Ok(Vec::new()) };
    elements(raw, "tools")?
        .into_iter()
        .map(|(place, raw)| {
            let mut tool = Members::read(raw, place)?;
            tool.only("type", &["\"custom\""], "is a tool of another provider's own")?;
            tool.ignore(&["cache_control", "eager_input_streaming"]);
            tool.only("defer_loading", &["false"], "cannot be done by this target")?;
            let schema = tool.at("input_schema");
            let function = Function {
                name: tool.required_text("name")?,
                description: tool.text("description")?,
                parameters: match tool.raw("input_schema") {
                    Some(raw) => content::object_schema(raw, &schema)?,
                    None => return Err(unsupported(schema, "is required")),
                },
                strict: tool.take("strict")?,
            };
            tool.done()?;
            Ok(Tool { kind: "function", function })
        })
        .collect()
}

type ToolChoice<'a> = (Option<Choice<'a>>, Option<bool>);

fn tool_choice<'a>(members: &mut Members<'a>) -> Result<ToolChoice<'a>, Unsupported> {
    let Some(raw) = members.raw("tool_choice") else { return Ok((None, None)) };
    let mut choice = Members::read(raw, "tool_choice")?;
    let parallel = choice.take::<bool>("disable_parallel_tool_use")?.map(|disabled| !disabled);
    let told = match choice.required_text("type")?.as_ref() {
        "auto" => Choice::Word("auto"),
        "any" => Choice::Word("required"),
        "none" => Choice::Word("none"),
        "tool" => Choice::Named { kind: "function", function: Name { name: choice.required_text("name")? } },
        _ => return Err(unsupported("tool_choice.type", "is unknown here")),
    };
    choice.done()?;
    Ok((Some(told), parallel))
}

fn refuse_fixed_thinking(members: &mut Members<'_>) -> Result<(), Unsupported> {
    let Some(raw) = members.raw("thinking") else { return Ok(()) };
    let mut thinking = Members::read(raw, "thinking")?;
    match thinking.required_text("type")?.as_ref() {
        "disabled" | "adaptive" => Ok(()),
        _ => Err(unsupported("thinking", "cannot be given a budget at this target")),
    }
}

type OutputConfig<'a> = (Option<Cow<'a, str>>, Option<ResponseFormat<'a>>);

fn output_config<'a>(members: &mut Members<'a>) -> Result<OutputConfig<'a>, Unsupported> {
    let Some(raw) = members.raw("output_config") else { return Ok((None, None)) };
    let mut config = Members::read(raw, "output_config")?;
    let effort = config.text("effort")?;
    let format = match config.raw("format") {
        None => None,
        Some(raw) => {
            let mut format = Members::read(raw, "output_config.format")?;
            format.only("type", &["\"json_schema\""], "is unknown here")?;
            let schema = format.raw("schema").ok_or_else(|| unsupported(format.at("schema"), "is required"))?;
            format.done()?;
            Some(ResponseFormat { kind: "json_schema", json_schema: Schema { name: "answer", strict: true, schema } })
        }
    };
    config.done()?;
    Ok((effort, format))
}

/// `metadata.user_id` → `user`; the other members are attribution, which the gateway reads itself.
fn user<'a>(members: &mut Members<'a>) -> Result<Option<Cow<'a, str>>, Unsupported> {
    let Some(raw) = members.raw("metadata") else { return Ok(None) };
    Members::read(raw, "metadata")?.text("user_id")
}
