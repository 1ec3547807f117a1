//! A Responses request told as an OpenAI chat request, for targets that have no Responses. Pure: body in, body out.
//!
//! A member is translated, let go as a hint ([`HINTS`]), or refused by name. Decisions to know:
//! - `instructions` become the first system message;
//! - a reasoning item goes with the assistant's message that follows it: its text as `reasoning_content`, a signature of ours as
//!   `thinking_blocks`. What another provider encrypted is let go: nobody else can read it;
//! - annotations, odds, ids and states of earlier answers are let go; no model sees them;
//! - `include` asks for nothing that could be missing: odds are asked for, thinking is always told, the rest belongs to tools that
//!   are not there. A chat's functions are not strict unless they say so; here too silence stays silence;
//! - `truncation: auto` would let a server drop what does not fit, which no chat server does: it is refused.

mod items;
mod parts;
mod tools;

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::native::refuse_background;
use crate::dialect::Unsupported;
use crate::members::{Members, unsupported};
use crate::request::ModelRequest;
use crate::translate::stored;
use items::Message;
use tools::{Choice, Tool};

/// Hints and matters of the gateway. `metadata` is attribution, which the gateway reads; `store` has nothing to keep it in;
/// `max_tool_calls` counts calls of the provider's own tools, and there are none; the cap is replaced by the one that money was held for.
const HINTS: &[&str] = &[
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "fallbacks",
    "store",
    "stream_options",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "background",
];

/// The body for `POST /chat/completions`. It has no cap and no stream options: the encoder sets both.
pub(crate) fn to_openai(request: &ModelRequest) -> Result<Bytes, Unsupported> {
    refuse_background(request)?;
    if let Some(place) = request.view().stored.as_ref().or(request.view().stored_file.as_ref()) {
        return Err(stored(place));
    }
    from_responses(request.body())
}

/// The same from the bytes of a body.
fn from_responses(body: &[u8]) -> Result<Bytes, Unsupported> {
    let raw: &RawValue = serde_json::from_slice(body).map_err(|_| unsupported("", "is not JSON"))?;
    let mut members = Members::read(raw, "")?;
    members.ignore(HINTS);
    members.only("service_tier", &["\"auto\"", "\"default\""], "is a tier this target does not sell")?;
    members.only("truncation", &["\"disabled\""], "cannot be left to this target")?;

    let messages = items::messages(&mut members)?;
    let (response_format, verbosity) = text(&mut members)?;
    let top_logprobs = members.raw("top_logprobs").filter(|raw| raw.get() != "0");
    let logprobs = includes_odds(&mut members)? || top_logprobs.is_some();
    let safety_identifier = members.text("safety_identifier")?;
    let request = Request {
        model: members.required_text("model")?,
        messages,
        tools: tools::tools(&mut members)?,
        tool_choice: tools::choice(&mut members)?,
        parallel_tool_calls: members.raw("parallel_tool_calls"),
        temperature: members.raw("temperature"),
        top_p: members.raw("top_p"),
        logprobs,
        top_logprobs,
        reasoning_effort: effort(&mut members)?,
        response_format,
        verbosity,
        user: members.text("user")?.or(safety_identifier),
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
    parallel_tool_calls: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    logprobs: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Format<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbosity: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Format<'a> {
    JsonObject,
    JsonSchema { json_schema: Schema<'a> },
}

#[derive(Serialize)]
struct Schema<'a> {
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Cow<'a, str>>,
    schema: &'a RawValue,
    #[serde(skip_serializing_if = "Option::is_none")]
    strict: Option<bool>,
}

type Text<'a> = (Option<Format<'a>>, Option<Cow<'a, str>>);

fn text<'a>(members: &mut Members<'a>) -> Result<Text<'a>, Unsupported> {
    let Some(raw) = members.raw("text") else { return Ok((None, None)) };
    let mut text = Members::read(raw, "text")?;
    let verbosity = text.text("verbosity")?;
    let format = match text.raw("format") {
        None => None,
        Some(raw) => {
            let mut format = Members::read(raw, "text.format")?;
            let told = match format.required_text("type")?.as_ref() {
                "text" => None,
                "json_object" => Some(Format::JsonObject),
                "json_schema" => {
                    let schema = format.raw("schema").ok_or_else(|| unsupported(format.at("schema"), "is required"))?;
                    Some(Format::JsonSchema {
                        json_schema: Schema {
                            name: format.required_text("name")?,
                            description: format.text("description")?,
                            schema,
                            strict: format.take("strict")?,
                        },
                    })
                }
                _ => return Err(unsupported("text.format.type", "is unknown here")),
            };
            format.done()?;
            told
        }
    };
    text.done()?;
    Ok((format, verbosity))
}

/// How thinking is summed up is the target's matter; what it tells of it is told.
fn effort<'a>(members: &mut Members<'a>) -> Result<Option<Cow<'a, str>>, Unsupported> {
    let Some(raw) = members.raw("reasoning") else { return Ok(None) };
    let mut reasoning = Members::read(raw, "reasoning")?;
    reasoning.ignore(&["summary", "generate_summary"]);
    reasoning.only("context", &["\"auto\""], "cannot be chosen at this target")?;
    reasoning.only("mode", &["\"standard\""], "cannot be chosen at this target")?;
    let effort = reasoning.text("effort")?;
    reasoning.done()?;
    Ok(effort)
}

fn includes_odds(members: &mut Members<'_>) -> Result<bool, Unsupported> {
    let asked: Vec<Cow<'_, str>> = members.take("include")?.unwrap_or_default();
    Ok(asked.iter().any(|it| it == "message.output_text.logprobs"))
}
