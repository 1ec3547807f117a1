//! A request of generateContent told as an OpenAI chat request, for targets that speak anything but Gemini. Pure: body in, body out.
//!
//! A member is translated, let go as a hint, or refused by name. Decisions to know:
//! - let go: `labels`, `model` and `fallbacks` (the gateway reads them); `maxOutputTokens` (the encoder sets the cap that money was
//!   held for); `mediaResolution` (how closely Google looks); `displayName` of an image, `partMetadata`, what a function declares of
//!   its own answer, and the order of a schema's members;
//! - earlier thoughts are left out, and Google's signatures with them: they are for Google's eyes. What another provider signed goes
//!   back to it, with its thought: the gateway wrote that signature itself;
//! - `safetySettings` set Google's own filter, which no other target has: refused unless they switch it off or say nothing;
//! - `thinkingBudget` becomes the `reasoning_effort` to which Google itself holds it equal (1,024 low, 8,192 medium, more high);
//! - an answer after a schema is strict where the schema says all that strictness needs, and as good as the target can elsewhere.

mod config;
mod schema;
mod tools;
mod turns;

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::dialect::Unsupported;
use crate::members::{Members, elements, unsupported};
use crate::request::ModelRequest;
use config::Config;
use tools::{Choice, Tool};
use turns::Message;

const HINTS: &[&str] = &["model", "fallbacks", "labels"];

/// The body for `POST /chat/completions`. It has no cap and no stream options: the encoder sets both.
pub(crate) fn to_openai(request: &ModelRequest) -> Result<Bytes, Unsupported> {
    let raw: &RawValue = serde_json::from_slice(request.body()).map_err(|_| unsupported("", "is not JSON"))?;
    let mut members = open(raw, "")?;
    members.ignore(HINTS);
    members.only("cachedContent", &["\"\""], "belongs to another provider's store")?;
    members.only("store", &["false"], "cannot be kept by this target")?;
    refuse_tiers(&mut members)?;
    refuse_filters(members.raw("safetySettings"))?;

    let messages = turns::conversation(members.raw("systemInstruction"), members.raw("contents"))?;
    let (tools, tool_choice) = tools::tools(members.raw("tools"), members.raw("toolConfig"))?;
    let config = config::config(members.raw("generationConfig"))?;
    members.done()?;
    let told = Request { model: request.model(), messages, tools, tool_choice, config, stream: request.stream() };
    Ok(Bytes::from(serde_json::to_vec(&told).expect("texts, numbers and raw JSON always serialize")))
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    messages: Vec<Message<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<Choice<'a>>,
    #[serde(flatten)]
    config: Config<'a>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    stream: bool,
}

fn refuse_tiers(members: &mut Members<'_>) -> Result<(), Unsupported> {
    match members.text("serviceTier")?.map(|tier| tier.to_ascii_lowercase()).as_deref() {
        None | Some("" | "unspecified" | "standard") => Ok(()),
        Some(_) => Err(unsupported("serviceTier", "is a tier this target does not sell")),
    }
}

fn refuse_filters(raw: Option<&RawValue>) -> Result<(), Unsupported> {
    for (place, raw) in some_of(raw, "safetySettings")? {
        let mut setting = open(raw, place)?;
        let threshold = setting.text("threshold")?.unwrap_or_default();
        if !["", "BLOCK_NONE", "OFF", "HARM_BLOCK_THRESHOLD_UNSPECIFIED"].contains(&&*threshold) {
            return Err(unsupported(setting.at("threshold"), "sets a filter that this target does not have"));
        }
        setting.ignore(&["category", "method"]);
        setting.done()?;
    }
    Ok(())
}

/// The members of one of Google's objects, whichever way they are spelled.
fn open<'a>(raw: &'a RawValue, place: impl Into<String>) -> Result<Members<'a>, Unsupported> {
    Members::read(raw, place)?.in_camel_case()
}

/// The elements of an array; a lone object is one, as Google's servers read it.
fn some_of<'a>(raw: Option<&'a RawValue>, place: &str) -> Result<Vec<(String, &'a RawValue)>, Unsupported> {
    match raw {
        None => Ok(Vec::new()),
        Some(raw) if raw.get().starts_with('{') => Ok(vec![(format!("{place}[0]"), raw)]),
        Some(raw) => elements(raw, place),
    }
}

/// A word of Google's, which its servers take in upper case and its clients may write otherwise.
fn word(members: &mut Members<'_>, name: &str) -> Result<String, Unsupported> {
    Ok(members.text(name)?.unwrap_or(Cow::Borrowed("")).to_ascii_uppercase())
}
