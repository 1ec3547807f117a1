//! An Anthropic Messages request told as a chat request of the hub: OpenAI's, with what only other targets can be told
//! beside it (`thinking_blocks`, `thinking`, `cache_control`, images in tool results). A target of OpenAI's own shape gets
//! it without those: see [`crate::translate::plain`]. Pure: body in, body out.
//!
//! As in the other direction a member is translated, let go as a hint ([`HINTS`], `cache_control`, citations that are
//! off), or refused by name. Three decisions to know:
//! - earlier `thinking` and `redacted_thinking` blocks are signed for one maker's eyes and go to no other. A request *for*
//!   thinking passes as it stands; `output_config.effort` becomes `reasoning_effort`;
//! - `is_error` of a tool result has no counterpart, so the text says it: it begins with `[tool error] `;

mod turns;

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::content;
use crate::dialect::Unsupported;
use crate::members::{Members, elements, unsupported};
use crate::request::ModelRequest;
use turns::{Message, system, turn};

/// Hints and matters of the gateway. The cap is replaced by the one that money was held for.
pub(super) const HINTS: &[&str] = &["max_tokens", "fallbacks", "cache_control", "diagnostics"];

/// The body for `POST /chat/completions`. It has no cap and no stream options: the encoder sets both.
pub(crate) fn to_openai(request: &ModelRequest) -> Result<Bytes, Unsupported> {
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
        top_k: members.raw("top_k"),
        thinking: members.raw("thinking"),
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
    top_k: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<&'a RawValue>,
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
struct Tool<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    function: Function<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<&'a RawValue>,
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

fn tools<'a>(members: &mut Members<'a>) -> Result<Vec<Tool<'a>>, Unsupported> {
    let Some(raw) = members.raw("tools") else { return Ok(Vec::new()) };
    elements(raw, "tools")?
        .into_iter()
        .map(|(place, raw)| {
            let mut tool = Members::read(raw, place)?;
            tool.only("type", &["\"custom\""], "is a tool of another provider's own")?;
            let cache_control = tool.raw("cache_control");
            tool.ignore(&["eager_input_streaming"]);
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
            Ok(Tool { kind: "function", function, cache_control })
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
