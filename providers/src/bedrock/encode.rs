//! A conversation of the hub as a request of Converse. Pure: body in, body out.
//!
//! Three things can happen to a member, and no fourth:
//! - it is translated;
//! - it is a hint whose loss breaks no promise of the API, and is let go: [`HINTS`], `detail` of an image, `name` of a tool message,
//!   cache marks where the model keeps no cache, thinking of earlier answers where the model did not think it (see `turns`);
//! - it is refused by name, known or not, because the answer would silently be another one.
//!
//! `thinking`, `top_k` and `cache_control` are Anthropic's own words in a body of the hub.

mod content;
mod family;
mod turns;

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::dialect::Unsupported;
use crate::members::{Members, as_text, elements, unsupported};
use content::{Block, CachePoint};
use family::{Effort, Extra, Family};
use turns::{Turn, conversation};

/// Hints and matters of the gateway: taken out of the body, and nobody is misled.
/// `prediction` and the cache hints ask for speed; `metadata`, `fallbacks`, `stream_options` are read by the gateway; `stream` is
/// said by the address, the caps are replaced by the cap that money was held for; Converse has no place for an end user.
const HINTS: &[&str] = &[
    "model",
    "stream",
    "max_tokens",
    "max_completion_tokens",
    "stream_options",
    "metadata",
    "fallbacks",
    "user",
    "safety_identifier",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
];

/// The body for `POST /model/{model}/converse`.
pub(super) fn from_hub(body: &[u8], model: &str, cap: u64) -> Result<Bytes, Unsupported> {
    let raw: &RawValue = serde_json::from_slice(body).map_err(|_| unsupported("", "is not JSON"))?;
    let family = Family::of(model);
    let mut members = Members::read(raw, "")?;
    members.ignore(HINTS);
    refuse_what_cannot_be_done(&mut members)?;

    let conversation = conversation(members.raw("messages"), family)?;
    let tool_config = tools(&mut members, family, conversation.uses_tools)?;
    let mut extra = Extra::default();
    let effort = family::reasoning(&mut members, family, &mut extra)?;
    family::top_k(&mut members, family, &mut extra)?;
    let text_format = response_format(&mut members)?;
    let request = Request {
        messages: conversation.turns,
        system: conversation.system,
        inference_config: Inference {
            max_tokens: cap,
            temperature: temperature(&mut members)?,
            top_p: members.raw("top_p"),
            stop_sequences: stop_sequences(&mut members)?,
        },
        tool_config,
        additional_model_request_fields: extra.if_any(),
        output_config: (effort.is_some() || text_format.is_some()).then_some(Output { text_format, effort }),
    };
    members.done()?;
    Ok(Bytes::from(serde_json::to_vec(&request).expect("texts, numbers and raw JSON always serialize")))
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    system: Vec<Block<'a>>,
    inference_config: Inference<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<Tools<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    additional_model_request_fields: Option<Extra<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_config: Option<Output<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Inference<'a> {
    max_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<Cow<'a, str>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Output<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    text_format: Option<Format<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<Effort>,
}

#[derive(Serialize)]
struct Format<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    structure: Structure<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Structure<'a> {
    json_schema: Schema<'a>,
}

/// Converse takes the schema as a text.
#[derive(Serialize)]
struct Schema<'a> {
    schema: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Tools<'a> {
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Tool<'a> {
    ToolSpec(Spec<'a>),
    CachePoint(CachePoint),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Spec<'a> {
    name: Cow<'a, str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    description: Cow<'a, str>,
    input_schema: InputSchema<'a>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    strict: bool,
}

#[derive(Serialize)]
struct InputSchema<'a> {
    json: Cow<'a, RawValue>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Choice<'a> {
    Auto {},
    Any {},
    Tool { name: Cow<'a, str> },
}

/// Members that would change the answer, or its price, and have no counterpart. Their harmless values pass.
fn refuse_what_cannot_be_done(members: &mut Members<'_>) -> Result<(), Unsupported> {
    const NOTHING: &[&str] = &["0", "0.0"];
    members.only("n", &["1"], "can only be 1 here")?;
    members.only("best_of", &["1"], "can only be 1 here")?;
    members.only("seed", &[], "cannot be kept to by this target")?;
    members.only("logprobs", &["false"], "cannot be told by this target")?;
    members.only("top_logprobs", &["0"], "cannot be told by this target")?;
    members.only("logit_bias", &["{}"], "cannot be applied by this target")?;
    members.only("presence_penalty", NOTHING, "cannot be applied by this target")?;
    members.only("frequency_penalty", NOTHING, "cannot be applied by this target")?;
    members.only("store", &["false"], "cannot be kept by this target")?;
    members.only("verbosity", &["\"medium\""], "cannot be set at this target")?;
    members.only("service_tier", &["\"auto\"", "\"default\""], "is a tier that the gateway has no price for")?;
    // It cannot be told; the outlet sees to it.
    members.ignore(&["parallel_tool_calls"]);
    members.only("modalities", &["[\"text\"]", "[]"], "can only be text here")
}

/// A conversation in which tools were used must name tools; so they cannot be left out where none may be called.
fn tools<'a>(members: &mut Members<'a>, family: Family, used: bool) -> Result<Option<Tools<'a>>, Unsupported> {
    let mut tools = Vec::new();
    if let Some(raw) = members.raw("tools") {
        for (place, raw) in elements(raw, "tools")? {
            tool(raw, place, family, &mut tools)?;
        }
    }
    let raw = members.raw("tool_choice");
    let none = raw.and_then(as_text).is_some_and(|word| word == "none");
    if none && used {
        return Err(unsupported("tool_choice", "cannot be none at this target once tools were used"));
    }
    if none {
        return Ok(None);
    }
    let choice = raw.map(tool_choice).transpose()?;
    if !tools.is_empty() {
        return Ok(Some(Tools { tools, tool_choice: choice }));
    }
    match choice {
        Some(Choice::Any {} | Choice::Tool { .. }) => Err(unsupported("tool_choice", "needs tools")),
        _ if used => Err(unsupported("tools", "must be given to this target once tools were used")),
        _ => Ok(None),
    }
}

fn tool<'a>(raw: &'a RawValue, place: String, family: Family, tools: &mut Vec<Tool<'a>>) -> Result<(), Unsupported> {
    let mut tool = Members::read(raw, place)?;
    tool.only("type", &["\"function\""], "can only be a function here")?;
    let function = tool.raw("function").ok_or_else(|| unsupported(tool.at("function"), "is required"))?;
    let mut function = Members::read(function, tool.at("function"))?;
    let name = function.required_text("name")?;
    if name.is_empty() || name.len() > 64 || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b)) {
        return Err(unsupported(function.at("name"), "must be 1 to 64 letters, digits, '_' or '-' at this target"));
    }
    let json = match function.raw("parameters") {
        Some(schema) => content::object_schema(schema, &function.at("parameters"))?,
        None => Cow::Owned(content::raw(r#"{"type":"object","properties":{}}"#)),
    };
    tools.push(Tool::ToolSpec(Spec {
        name,
        description: function.text("description")?.unwrap_or_default(),
        input_schema: InputSchema { json },
        strict: function.take("strict")?.unwrap_or(false),
    }));
    function.done()?;
    let mark = content::cache_mark(&mut tool)?;
    tools.extend(mark.filter(|_| family.caches_tools()).map(Tool::CachePoint));
    tool.done()
}

fn tool_choice<'a>(raw: &'a RawValue) -> Result<Choice<'a>, Unsupported> {
    if let Some(word) = as_text(raw) {
        return match word.as_ref() {
            "auto" => Ok(Choice::Auto {}),
            "required" => Ok(Choice::Any {}),
            _ => Err(unsupported("tool_choice", "is unknown here")),
        };
    }
    let mut choice = Members::read(raw, "tool_choice")?;
    choice.only("type", &["\"function\""], "can only name a function here")?;
    let function = choice.raw("function").ok_or_else(|| unsupported("tool_choice.function", "is required"))?;
    choice.done()?;
    let mut function = Members::read(function, "tool_choice.function")?;
    let name = function.required_text("name")?;
    function.done()?;
    Ok(Choice::Tool { name })
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
            // What Bedrock promises is always strict.
            inner.ignore(&["strict"]);
            let (name, description) = (inner.text("name")?, inner.text("description")?);
            inner.done()?;
            format.done()?;
            let json_schema = Schema { schema: schema.get(), name, description };
            Ok(Some(Format { kind: "json_schema", structure: Structure { json_schema } }))
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

/// OpenAI's scale ends at 2, Converse's at 1. What lies beyond is refused: a clamp would be another answer.
fn temperature<'a>(members: &mut Members<'a>) -> Result<Option<&'a RawValue>, Unsupported> {
    let Some(raw) = members.raw("temperature") else { return Ok(None) };
    match raw.get().parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(Some(raw)),
        _ => Err(unsupported("temperature", "must be between 0 and 1 at this target")),
    }
}
