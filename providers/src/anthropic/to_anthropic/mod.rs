//! An OpenAI-shaped request told as an Anthropic Messages request. Pure: body in, body out.
//!
//! Three things can happen to a member, and no fourth:
//! - it is translated (messages, tools, stop, reasoning_effort, response_format with a schema, user, …);
//! - it is a hint whose loss breaks no promise of the API, and is let go: [`HINTS`], `detail` of an image, `name` of a
//!   tool message, `reasoning_content` of an earlier answer, and members that say what would happen anyway (`n: 1`);
//! - it is refused by name, known or not, because the answer would silently be another one.
//!
//! `thinking`, `top_k` and `cache_control` (of a part or a tool) are Anthropic's own words in an OpenAI-shaped body and
//! pass as they came. `user` becomes `metadata.user_id` as given: the client asked for it to be told.
//! System messages gather in `system` in their order, wherever in the conversation they stood.

mod turns;

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::content;
use super::surcharge;
use crate::dialect::Unsupported;
use crate::members::{Members, as_text, elements, unsupported};
use turns::{System, Turn, conversation};

/// Hints and matters of the gateway: taken out of the body, and nobody is misled.
/// `seed` asks for a best effort only; `prediction` and the cache hints ask for speed; `metadata`, `fallbacks`,
/// `stream_options` are read by the gateway; the caps are replaced by the cap that money was held for.
pub(super) const HINTS: &[&str] = &[
    "model",
    "max_tokens",
    "max_completion_tokens",
    "stream_options",
    "metadata",
    "fallbacks",
    "seed",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
];

/// The body for `POST /v1/messages`.
pub(super) fn from_openai(body: &[u8], model: &str, cap: u64) -> Result<Bytes, Unsupported> {
    let raw: &RawValue = serde_json::from_slice(body).map_err(|_| unsupported("", "is not JSON"))?;
    let mut members = Members::read(raw, "")?;
    members.ignore(HINTS);
    refuse_what_cannot_be_done(&mut members)?;

    let conversation = conversation(members.raw("messages"))?;
    let (tools, tool_choice) = tools(&mut members)?;
    let (thinking, output_config) = reasoning(&mut members)?;
    let request = Request {
        model,
        max_tokens: cap,
        system: conversation.system(),
        messages: conversation.turns,
        stop_sequences: stop_sequences(&mut members)?,
        temperature: temperature(&mut members)?,
        top_p: members.raw("top_p"),
        top_k: members.raw("top_k"),
        thinking,
        output_config,
        tools,
        tool_choice,
        metadata: user(&mut members)?,
        stream: members.take("stream")?.unwrap_or(false),
    };
    members.done()?;
    Ok(Bytes::from(serde_json::to_vec(&request).expect("texts, numbers and raw JSON always serialize")))
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    max_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    system: Option<System<'a>>,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Cow<'a, RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<OutputConfig<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<ToolChoice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<User<'a>>,
    stream: bool,
}

#[derive(Serialize)]
struct OutputConfig<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format<'a>>,
}

#[derive(Serialize)]
struct Format<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    schema: &'a RawValue,
}

#[derive(Serialize)]
struct Tool<'a> {
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Cow<'a, str>>,
    input_schema: Cow<'a, RawValue>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    strict: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_control: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct ToolChoice<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    disable_parallel_tool_use: bool,
}

#[derive(Serialize)]
struct User<'a> {
    user_id: Cow<'a, str>,
}

/// Members that would change the answer, or its price, and have no counterpart. Their harmless values pass.
fn refuse_what_cannot_be_done(members: &mut Members<'_>) -> Result<(), Unsupported> {
    const NOTHING: &[&str] = &["0", "0.0"];
    members.only("n", &["1"], "can only be 1 here")?;
    members.only("best_of", &["1"], "can only be 1 here")?;
    members.only("logprobs", &["false"], "cannot be told by this target")?;
    members.only("top_logprobs", &["0"], "cannot be told by this target")?;
    members.only("logit_bias", &["{}"], "cannot be applied by this target")?;
    members.only("presence_penalty", NOTHING, "cannot be applied by this target")?;
    members.only("frequency_penalty", NOTHING, "cannot be applied by this target")?;
    members.only("store", &["false"], "cannot be kept by this target")?;
    members.only("verbosity", &["\"medium\""], "cannot be set at this target")?;
    members.only("service_tier", &["\"auto\"", "\"default\""], "is a tier this target does not sell")?;
    if let Some(raw) = members.raw("modalities") {
        let text_only =
            serde_json::from_str::<Vec<Cow<'_, str>>>(raw.get()).is_ok_and(|m| m.iter().all(|m| m == "text"));
        if !text_only {
            return Err(unsupported("modalities", "can only be text here"));
        }
    }
    Ok(())
}

type Tools<'a> = (Vec<Tool<'a>>, Option<ToolChoice<'a>>);

fn tools<'a>(members: &mut Members<'a>) -> Result<Tools<'a>, Unsupported> {
    let mut tools = Vec::new();
    if let Some(raw) = members.raw("tools") {
        for (place, raw) in elements(raw, "tools")? {
            tools.push(tool(raw, place)?);
        }
    }
    let one_at_a_time = !members.take("parallel_tool_calls")?.unwrap_or(true);
    let choice = members.raw("tool_choice").map(tool_choice).transpose()?;
    if tools.is_empty() {
        return match choice {
            Some(ToolChoice { kind: "any" | "tool", .. }) => Err(unsupported("tool_choice", "needs tools")),
            _ => Ok((tools, None)),
        };
    }
    let choice = match choice {
        Some(choice) => {
            Some(ToolChoice { disable_parallel_tool_use: one_at_a_time && choice.kind != "none", ..choice })
        }
        None if one_at_a_time => Some(ToolChoice { kind: "auto", name: None, disable_parallel_tool_use: true }),
        None => None,
    };
    Ok((tools, choice))
}

fn tool<'a>(raw: &'a RawValue, place: String) -> Result<Tool<'a>, Unsupported> {
    let mut tool = Members::read(raw, place)?;
    tool.only("type", &["\"function\""], "can only be a function here")?;
    let function = tool.raw("function").ok_or_else(|| unsupported(tool.at("function"), "is required"))?;
    let mut function = Members::read(function, tool.at("function"))?;
    let tool_read = Tool {
        name: function.required_text("name")?,
        description: function.text("description")?,
        input_schema: match function.raw("parameters") {
            Some(schema) => content::object_schema(schema, &function.at("parameters"))?,
            None => Cow::Owned(content::open_schema()),
        },
        strict: function.take("strict")?.unwrap_or(false),
        cache_control: tool.raw("cache_control"),
    };
    surcharge::refuse_long(tool_read.cache_control, tool.at("cache_control"))?;
    function.done()?;
    tool.done()?;
    Ok(tool_read)
}

fn tool_choice<'a>(raw: &'a RawValue) -> Result<ToolChoice<'a>, Unsupported> {
    let plain = |kind| ToolChoice { kind, name: None, disable_parallel_tool_use: false };
    if let Some(word) = as_text(raw) {
        return match word.as_ref() {
            "auto" => Ok(plain("auto")),
            "none" => Ok(plain("none")),
            "required" => Ok(plain("any")),
            other => Err(unsupported("tool_choice", format!("{:?} is unknown here", shorten(other)))),
        };
    }
    let mut choice = Members::read(raw, "tool_choice")?;
    choice.only("type", &["\"function\""], "can only name a function here")?;
    let function = choice.raw("function").ok_or_else(|| unsupported("tool_choice.function", "is required"))?;
    choice.done()?;
    let mut function = Members::read(function, "tool_choice.function")?;
    let name = function.required_text("name")?;
    function.done()?;
    Ok(ToolChoice { kind: "tool", name: Some(name), disable_parallel_tool_use: false })
}

type Reasoning<'a> = (Option<Cow<'a, RawValue>>, Option<OutputConfig<'a>>);

/// `reasoning_effort` → `output_config.effort` (`minimal` is Anthropic's `low`, `none` turns thinking off),
/// `response_format` with a schema → `output_config.format`.
fn reasoning<'a>(members: &mut Members<'a>) -> Result<Reasoning<'a>, Unsupported> {
    let mut thinking = members.raw("thinking").map(Cow::Borrowed);
    let effort = match members.text("reasoning_effort")?.as_deref() {
        None => None,
        Some("none") => {
            thinking.get_or_insert_with(|| Cow::Owned(content::raw(r#"{"type":"disabled"}"#)));
            None
        }
        Some("minimal" | "low") => Some("low"),
        Some("medium") => Some("medium"),
        Some("high") => Some("high"),
        Some("xhigh") => Some("xhigh"),
        Some("max") => Some("max"),
        Some(other) => return Err(unsupported("reasoning_effort", format!("{:?} is unknown here", shorten(other)))),
    };
    let format = response_format(members)?;
    let config = (effort.is_some() || format.is_some()).then_some(OutputConfig { effort, format });
    Ok((thinking, config))
}

fn response_format<'a>(members: &mut Members<'a>) -> Result<Option<Format<'a>>, Unsupported> {
    let Some(raw) = members.raw("response_format") else { return Ok(None) };
    let mut format = Members::read(raw, "response_format")?;
    match format.required_text("type")?.as_ref() {
        "text" => Ok(None),
        "json_schema" => {
            let raw = format.raw("json_schema").ok_or_else(|| unsupported(format.at("json_schema"), "is required"))?;
            let mut inner = Members::read(raw, format.at("json_schema"))?;
            let schema = inner.raw("schema").ok_or_else(|| unsupported(inner.at("schema"), "is required"))?;
            // Name and description only label the schema; Anthropic's output is always strict.
            inner.ignore(&["name", "description", "strict"]);
            inner.done()?;
            format.done()?;
            Ok(Some(Format { kind: "json_schema", schema }))
        }
        _ => Err(unsupported("response_format.type", "can only be text or json_schema here")),
    }
}

fn stop_sequences<'a>(members: &mut Members<'a>) -> Result<Vec<Cow<'a, str>>, Unsupported> {
    let Some(raw) = members.raw("stop") else { return Ok(Vec::new()) };
    let sequences = match as_text(raw) {
        Some(one) => vec![one],
        None => elements(raw, "stop")?
            .into_iter()
            .map(|(place, raw)| as_text(raw).ok_or_else(|| unsupported(place, "must be a text")))
            .collect::<Result<_, _>>()?,
    };
    match sequences.iter().any(|sequence| sequence.trim().is_empty()) {
        true => Err(unsupported("stop", "cannot be empty or blank at this target")),
        false => Ok(sequences),
    }
}

/// OpenAI's scale ends at 2, Anthropic's at 1. What lies beyond is refused: a clamp would be another answer.
fn temperature<'a>(members: &mut Members<'a>) -> Result<Option<&'a RawValue>, Unsupported> {
    let Some(raw) = members.raw("temperature") else { return Ok(None) };
    match raw.get().parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(Some(raw)),
        _ => Err(unsupported("temperature", "must be between 0 and 1 at this target")),
    }
}

fn user<'a>(members: &mut Members<'a>) -> Result<Option<User<'a>>, Unsupported> {
    let identifier = members.text("safety_identifier")?;
    Ok(members.text("user")?.or(identifier).map(|user_id| User { user_id }))
}

/// Enough of a caller's word to recognise it in an error.
fn shorten(word: &str) -> String {
    word.chars().take(32).collect()
}
