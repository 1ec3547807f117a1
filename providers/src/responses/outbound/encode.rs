//! A chat request told as a request of the Responses API. Pure: body in, body out.
//!
//! Three things can happen to a member, and no fourth:
//! - it is translated (messages, tools, response_format, reasoning_effort, verbosity, logprobs, the cap, …) or passes as it is
//!   (temperature, top_p, user, metadata, service_tier, hints to the prompt cache, …);
//! - it is let go, because its loss breaks no promise: [`HINTS`]; `reasoning_content` of earlier answers and blocks of thinking
//!   that another provider signed, in blocks or on calls (`extra_content`), which this one could not read; [`ECHOES`]; `name` of a tool message; `cache_control`, for this API caches
//!   unasked; and members that say what would happen anyway (`n: 1`);
//! - it is refused by name, known or not: `stop`, `seed`, `logit_bias`, the penalties, sound, files in a provider's store.
//!
//! The API keeps what it is asked unless it is told not to, so it is told not to: `store` is false unless the caller says
//! otherwise. What a model thought is then kept by the caller alone, so its encrypted form is asked for.
//!
//! A cap below [`LEAST_CAP`] is refused: the API takes none, and a greater one would be more than money was held for.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use super::input::{self, Item};
use super::tools::{self, Choice, Tool};
use crate::dialect::{Aim, Unsupported};
use crate::members::{Members, unsupported};
use crate::request::ModelRequest;
#[cfg(doc)]
use crate::translate::ECHOES;
use crate::translate::effort;

/// Hints and matters of the gateway. The caps are replaced by the one that money was held for; `prediction` asks for speed.
pub(super) const HINTS: &[&str] = &["model", "max_tokens", "max_completion_tokens", "fallbacks", "prediction"];

/// The smallest `max_output_tokens` that the API takes.
const LEAST_CAP: u64 = 16;

/// The body for `POST /responses`. `chat` is the hub's; `asked` is the cap that the caller set in whatever words.
pub(super) fn from_chat(chat: &ModelRequest, aim: &Aim<'_>, asked: Option<u64>) -> Result<Bytes, Unsupported> {
    let cap = asked.map_or(aim.cap, |asked| asked.min(aim.cap));
    if cap < LEAST_CAP {
        let name = if chat.member("max_tokens").is_some() { "max_tokens" } else { "max_completion_tokens" };
        return Err(unsupported(name, format!("must be at least {LEAST_CAP} at this target")));
    }
    let raw: &RawValue = serde_json::from_slice(chat.body()).map_err(|_| unsupported("", "is not JSON"))?;
    let mut members = Members::read(raw, "")?;
    members.ignore(HINTS);
    refuse_what_cannot_be_done(&mut members)?;

    let (log, top_logprobs) = logprobs(&mut members)?;
    let reasoning = reasoning(&mut members)?;
    let mut include = Vec::new();
    if !aim.quirks.no_encrypted_reasoning {
        include.push("reasoning.encrypted_content");
    }
    if log {
        include.push("message.output_text.logprobs");
    }
    let stream = members.take("stream")?.unwrap_or(false);
    let body = Body {
        model: aim.model,
        input: input::from_messages(members.raw("messages"))?,
        max_output_tokens: cap,
        temperature: members.raw("temperature"),
        top_p: members.raw("top_p"),
        reasoning,
        text: text(&mut members)?,
        tools: tools::tools(&mut members)?,
        tool_choice: tools::choice(&mut members)?,
        parallel_tool_calls: members.raw("parallel_tool_calls"),
        top_logprobs,
        include,
        store: members.take("store")?.unwrap_or(false),
        user: members.raw("user"),
        safety_identifier: members.raw("safety_identifier"),
        metadata: members.raw("metadata"),
        service_tier: members.raw("service_tier"),
        prompt_cache_key: members.raw("prompt_cache_key"),
        prompt_cache_options: input::cache_mark(members.raw("prompt_cache_options"), "prompt_cache_options")?,
        prompt_cache_retention: members.raw("prompt_cache_retention"),
        stream,
        stream_options: stream_options(&mut members)?.filter(|_| stream),
    };
    members.done()?;
    Ok(Bytes::from(serde_json::to_vec(&body).expect("texts, numbers and raw JSON always serialize")))
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    input: Vec<Item<'a>>,
    max_output_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning: Option<Reasoning<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<Text<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    parallel_tool_calls: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    include: Vec<&'static str>,
    store: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    safety_identifier: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service_tier: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_key: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_options: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt_cache_retention: Option<&'a RawValue>,
    stream: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream_options: Option<StreamOptions>,
}

#[derive(Serialize)]
struct Reasoning<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    effort: Option<Cow<'a, RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    summary: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Text<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    format: Option<Format<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    verbosity: Option<&'a RawValue>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Format<'a> {
    Text,
    JsonObject,
    JsonSchema {
        name: &'a RawValue,
        #[serde(skip_serializing_if = "Option::is_none")]
        description: Option<&'a RawValue>,
        schema: &'a RawValue,
        strict: bool,
    },
}

#[derive(Serialize)]
struct StreamOptions {
    include_obfuscation: bool,
}

/// Members that would change the answer, or its price, and have no counterpart. Their harmless values pass.
fn refuse_what_cannot_be_done(members: &mut Members<'_>) -> Result<(), Unsupported> {
    const NOTHING: &[&str] = &["0", "0.0"];
    members.only("n", &["1"], "can only be 1 here")?;
    members.only("best_of", &["1"], "can only be 1 here")?;
    members.only("stop", &["[]"], "cannot be applied by this target")?;
    members.only("logit_bias", &["{}"], "cannot be applied by this target")?;
    members.only("presence_penalty", NOTHING, "cannot be applied by this target")?;
    members.only("frequency_penalty", NOTHING, "cannot be applied by this target")?;
    if let Some(raw) = members.raw("modalities") {
        let kinds = serde_json::from_str::<Vec<String>>(raw.get());
        if !kinds.is_ok_and(|kinds| kinds.iter().all(|kind| kind == "text")) {
            return Err(unsupported("modalities", "can only be text here"));
        }
    }
    Ok(())
}

/// Whether log probabilities are asked for, and how many others beside each token's own.
fn logprobs<'a>(members: &mut Members<'a>) -> Result<(bool, Option<&'a RawValue>), Unsupported> {
    let asked = members.take("logprobs")?.unwrap_or(false);
    let top = members.raw("top_logprobs");
    match top {
        Some(top) if !asked && top.get() != "0" => Err(unsupported("top_logprobs", "needs logprobs")),
        _ => Ok((asked, top.filter(|_| asked))),
    }
}

/// `reasoning_effort`, or the object of this API where a caller sends it as such.
fn reasoning<'a>(members: &mut Members<'a>) -> Result<Option<Reasoning<'a>>, Unsupported> {
    let mut told = Reasoning { effort: members.raw("reasoning_effort").map(Cow::Borrowed), summary: None };
    // A budget for thinking is the nearest effort, as at every target of OpenAI's.
    if let Some(thinking) = members.raw("thinking") {
        let nearest = effort(thinking)?.map(|word| RawValue::from_string(format!("\"{word}\"")).expect("a plain word"));
        told.effort = told.effort.or(nearest.map(Cow::Owned));
    }
    if let Some(raw) = members.raw("reasoning") {
        let mut given = Members::read(raw, "reasoning")?;
        let effort = given.raw("effort");
        if told.effort.as_ref().zip(effort).is_some_and(|(one, other)| one.get() != other.get()) {
            return Err(unsupported("reasoning.effort", "says something else than reasoning_effort"));
        }
        told = Reasoning { effort: told.effort.or(effort.map(Cow::Borrowed)), summary: given.raw("summary") };
        given.done()?;
    }
    Ok((told.effort.is_some() || told.summary.is_some()).then_some(told))
}

fn text<'a>(members: &mut Members<'a>) -> Result<Option<Text<'a>>, Unsupported> {
    let verbosity = members.raw("verbosity");
    let format = members.raw("response_format").map(format).transpose()?;
    Ok((format.is_some() || verbosity.is_some()).then_some(Text { format, verbosity }))
}

fn format(raw: &RawValue) -> Result<Format<'_>, Unsupported> {
    let mut format = Members::read(raw, "response_format")?;
    let told = match format.required_text("type")?.as_ref() {
        "text" => Format::Text,
        "json_object" => Format::JsonObject,
        "json_schema" => {
            let raw = format.raw("json_schema").ok_or_else(|| unsupported(format.at("json_schema"), "is required"))?;
            let mut inner = Members::read(raw, format.at("json_schema"))?;
            let told = Format::JsonSchema {
                name: inner.raw("name").ok_or_else(|| unsupported(inner.at("name"), "is required"))?,
                description: inner.raw("description"),
                schema: inner.raw("schema").ok_or_else(|| unsupported(inner.at("schema"), "is required"))?,
                strict: inner.take("strict")?.unwrap_or(false),
            };
            inner.done()?;
            told
        }
        _ => return Err(unsupported("response_format.type", "can only be text, json_object or json_schema here")),
    };
    format.done()?;
    Ok(told)
}

/// Usage always comes, at the end of every answer; what is left is whether the stream is padded.
fn stream_options(members: &mut Members<'_>) -> Result<Option<StreamOptions>, Unsupported> {
    let Some(raw) = members.raw("stream_options") else { return Ok(None) };
    let mut options = Members::read(raw, "stream_options")?;
    options.ignore(&["include_usage"]);
    let told = options.take("include_obfuscation")?;
    options.done()?;
    Ok(told.map(|include_obfuscation| StreamOptions { include_obfuscation }))
}
