//! An OpenAI-shaped request told as Gemini's generateContent. Pure: body in, body out.
//!
//! Three things can happen to a member, and no fourth:
//! - it is translated (messages, tools, stop, reasoning_effort, response_format, n, logprobs, …);
//! - it is a hint whose loss breaks no promise of the API, and is let go: [`HINTS`], `cache_control` (Gemini caches by itself),
//!   `detail` of an image, names of files and schemas, `reasoning_content` of an earlier answer and thoughts that another provider
//!   signed, [`ECHOES`](crate::translate::ECHOES) of an earlier answer but its pictures, and members that say what would happen anyway;
//! - it is refused by name, known or not, because the answer would silently be another one.
//!
//! `top_k`, `thinking` and `extra_body.google.thinking_config` (Google's own OpenAI-compatible surface has that one) are taken in an
//! OpenAI-shaped body. System messages gather in `systemInstruction` in their order, wherever in the conversation they stood.

mod config;
mod parts;
mod thinking;
mod tools;
mod turns;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::dialect::Unsupported;
use crate::members::{Members, unsupported};
use config::GenerationConfig;
use parts::Part;
use tools::{Tool, ToolConfig};
use turns::Content;

/// Hints and matters of the gateway: taken out of the body, and nobody is misled. Gemini has no member for a user; `prediction` and
/// the cache hints ask for speed; `metadata`, `fallbacks`, `stream_options` are read by the gateway; the address says model and
/// stream; the caps are replaced by the cap that money was held for.
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
    "cache_control",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
];

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    system_instruction: Option<System<'a>>,
    contents: Vec<Content<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_config: Option<ToolConfig<'a>>,
    generation_config: GenerationConfig<'a>,
}

#[derive(Serialize)]
struct System<'a> {
    parts: Vec<Part<'a>>,
}

/// The body for `:generateContent` and `:streamGenerateContent`.
pub(super) fn from_openai(body: &[u8], model: &str, cap: u64) -> Result<Bytes, Unsupported> {
    let generation = generation(model);
    let raw: &RawValue = serde_json::from_slice(body).map_err(|_| unsupported("", "is not JSON"))?;
    let mut members = Members::read(raw, "")?;
    members.ignore(HINTS);

    let conversation = turns::conversation(members.raw("messages"), generation)?;
    let (tools, tool_config) = tools::tools(&mut members)?;
    let generation_config = config::config(&mut members, model, cap, !tools.is_empty())?;
    members.done()?;
    let system = conversation.system;
    let request = Request {
        system_instruction: (!system.is_empty()).then_some(System { parts: system }),
        contents: conversation.contents,
        tools,
        tool_config,
        generation_config,
    };
    Ok(Bytes::from(serde_json::to_vec(&request).expect("texts, numbers and raw JSON always serialize")))
}

/// Which generation of models it is, where that matters; names that do not say are the newest, other families the oldest.
fn generation(model: &str) -> u32 {
    let Some(version) = model.strip_prefix("gemini-") else { return 2 };
    let digits: String = version.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(3)
}

/// Enough of a caller's word to recognise it in an error.
fn shorten(word: &str) -> String {
    word.chars().take(32).collect()
}
