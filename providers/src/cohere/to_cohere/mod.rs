//! A chat completion in Cohere's words. Each member goes one of three ways:
//! - it has a counterpart (`top_p` → `p`, `top_k` → `k`, `stop` → `stop_sequences`, a schema → `response_format.json_schema`);
//! - it is let go, because nobody is misled: see [`HINTS`], and members that say what would happen anyway (`n: 1`);
//! - it is refused by name, known or not, because the answer would silently be another one.
//!
//! A function that is named in `tool_choice` becomes the only one offered, and required: Cohere can force a call, but not choose it.
//! `reasoning_effort` turns thinking on or off, which is all that Cohere has; `thinking` with a budget is told as such. `top_p` ends at
//! 0.99 there, which is as good as 1. `documents`, `citation_options` and `safety_mode` are Cohere's own words in an OpenAI-shaped
//! body and pass as they came; what is not asked for is left to Cohere.

mod turns;

use std::borrow::Cow;

use bytes::Bytes;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::dialect::Unsupported;
use crate::members::{Members, as_text, elements, unsupported};
use turns::{Turn, turns};

/// Hints and matters of the gateway: taken out of the body, and nobody is misled.
/// `prediction` and the cache hints ask for speed; `user`, `metadata`, `fallbacks` and `stream_options` are read by the gateway; the
/// caps are replaced by the cap that money was held for.
const HINTS: &[&str] = &[
    "model",
    "max_tokens",
    "max_completion_tokens",
    "stream_options",
    "metadata",
    "user",
    "safety_identifier",
    "fallbacks",
    "prediction",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
];

/// The body for `POST /chat`.
pub(super) fn from_openai(body: &[u8], model: &str, cap: u64) -> Result<Bytes, Unsupported> {
    let raw: &RawValue = serde_json::from_slice(body).map_err(|_| unsupported("", "is not JSON"))?;
    let mut members = Members::read(raw, "")?;
    members.ignore(HINTS);
    refuse_what_cannot_be_done(&mut members)?;

    let messages = turns(members.raw("messages"))?;
    let Tools { tools, strict, choice } = tools(&mut members)?;
    let documents = members.raw("documents");
    let response_format = response_format(&mut members)?;
    if response_format.is_some() && (!tools.is_empty() || documents.is_some()) {
        return Err(unsupported("response_format", "cannot be joined with tools or documents at this target"));
    }
    let request = Request {
        model,
        max_tokens: cap,
        messages,
        tools,
        strict_tools: strict,
        tool_choice: choice,
        documents,
        citation_options: members.raw("citation_options"),
        safety_mode: members.raw("safety_mode"),
        response_format,
        stop_sequences: stop_sequences(&mut members)?,
        temperature: members.raw("temperature"),
        p: top_p(&mut members)?,
        k: members.raw("top_k"),
        seed: members.raw("seed"),
        frequency_penalty: penalty(&mut members, "frequency_penalty")?,
        presence_penalty: penalty(&mut members, "presence_penalty")?,
        thinking: thinking(&mut members)?,
        stream: members.take("stream")?.unwrap_or(false),
    };
    members.done()?;
    Ok(Bytes::from(serde_json::to_vec(&request).expect("texts, numbers and raw JSON always serialize")))
}

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    max_tokens: u64,
    messages: Vec<Turn<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tools: Vec<Tool<'a>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    strict_tools: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    tool_choice: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    documents: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    citation_options: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    safety_mode: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Format<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    p: Option<Cow<'a, RawValue>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    k: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking: Option<Thinking>,
    stream: bool,
}

#[derive(Serialize)]
struct Format<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    json_schema: Option<&'a RawValue>,
}

#[derive(Serialize)]
struct Thinking {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_budget: Option<u64>,
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
}

/// Members that would change the answer, or its price, and have no counterpart. Their harmless values pass.
fn refuse_what_cannot_be_done(members: &mut Members<'_>) -> Result<(), Unsupported> {
    members.only("n", &["1"], "can only be 1 here")?;
    members.only("best_of", &["1"], "can only be 1 here")?;
    members.only("logprobs", &["false"], "cannot be told by this target")?;
    members.only("top_logprobs", &["0"], "cannot be told by this target")?;
    members.only("logit_bias", &["{}"], "cannot be applied by this target")?;
    members.only("store", &["false"], "cannot be kept by this target")?;
    members.only("verbosity", &["\"medium\""], "cannot be set at this target")?;
    members.only("service_tier", &["\"auto\"", "\"default\""], "is a tier this target does not sell")?;
    // It cannot be told; the outlet sees to it.
    members.ignore(&["parallel_tool_calls"]);
    if let Some(raw) = members.raw("modalities") {
        let modalities = serde_json::from_str::<Vec<Cow<'_, str>>>(raw.get());
        if !modalities.is_ok_and(|it| it.iter().all(|it| it == "text")) {
            return Err(unsupported("modalities", "can only be text here"));
        }
    }
    Ok(())
}

#[derive(Default)]
struct Tools<'a> {
    tools: Vec<Tool<'a>>,
    strict: bool,
    choice: Option<&'static str>,
}

fn tools<'a>(members: &mut Members<'a>) -> Result<Tools<'a>, Unsupported> {
    let (mut tools, mut strict) = (Vec::new(), Vec::new());
    if let Some(raw) = members.raw("tools") {
        for (place, raw) in elements(raw, "tools")? {
            let (tool, is_strict) = tool(raw, place)?;
            tools.push(tool);
            strict.push(is_strict);
        }
    }
    let (choice, named) = match members.raw("tool_choice") {
        Some(raw) => tool_choice(raw)?,
        None => (None, None),
    };
    if let Some(name) = &named {
        let at = tools.iter().position(|it| it.function.name == *name);
        let at = at.ok_or_else(|| unsupported("tool_choice.function.name", "is none of the tools"))?;
        tools = vec![tools.swap_remove(at)];
        strict = vec![strict[at]];
    }
    if tools.is_empty() {
        return match choice {
            Some("REQUIRED") => Err(unsupported("tool_choice", "needs tools")),
            _ => Ok(Tools::default()),
        };
    }
    // It is a matter of all tools there.
    if let Some(at) = strict.iter().position(|it| *it != strict[0]) {
        return Err(unsupported(
            format!("tools[{at}].function.strict"),
            "must be the same for all tools at this target",
        ));
    }
    Ok(Tools { tools, strict: strict[0], choice })
}

fn tool<'a>(raw: &'a RawValue, place: String) -> Result<(Tool<'a>, bool), Unsupported> {
    let mut tool = Members::read(raw, place)?;
    tool.only("type", &["\"function\""], "can only be a function here")?;
    let function = tool.raw("function").ok_or_else(|| unsupported(tool.at("function"), "is required"))?;
    // Prompts are cached there without being told to.
    tool.ignore(&["cache_control"]);
    let mut function = Members::read(function, tool.at("function"))?;
    tool.done()?;
    let strict = function.take("strict")?.unwrap_or(false);
    let told = Function {
        name: function.required_text("name")?,
        description: function.text("description")?,
        parameters: match function.raw("parameters") {
            Some(schema) => Cow::Borrowed(schema),
            None => Cow::Owned(written(r#"{"type":"object","properties":{}}"#)),
        },
    };
    function.done()?;
    Ok((Tool { kind: "function", function: told }, strict))
}

type Choice<'a> = (Option<&'static str>, Option<Cow<'a, str>>);

/// Cohere's word, and the function that is named.
fn tool_choice(raw: &RawValue) -> Result<Choice<'_>, Unsupported> {
    if let Some(word) = as_text(raw) {
        return match word.as_ref() {
            "auto" => Ok((None, None)),
            "none" => Ok((Some("NONE"), None)),
            "required" => Ok((Some("REQUIRED"), None)),
            _ => Err(unsupported("tool_choice", "can only be auto, none, required or a function here")),
        };
    }
    let mut choice = Members::read(raw, "tool_choice")?;
    choice.only("type", &["\"function\""], "can only name a function here")?;
    let function = choice.raw("function").ok_or_else(|| unsupported("tool_choice.function", "is required"))?;
    choice.done()?;
    let mut function = Members::read(function, "tool_choice.function")?;
    let name = function.required_text("name")?;
    function.done()?;
    Ok((Some("REQUIRED"), Some(name)))
}

fn response_format<'a>(members: &mut Members<'a>) -> Result<Option<Format<'a>>, Unsupported> {
    let Some(raw) = members.raw("response_format") else { return Ok(None) };
    let mut format = Members::read(raw, "response_format")?;
    let json_schema = match format.required_text("type")?.as_ref() {
        "text" => return Ok(None),
        "json_object" => None,
        "json_schema" => {
            let raw = format.raw("json_schema").ok_or_else(|| unsupported(format.at("json_schema"), "is required"))?;
            let mut inner = Members::read(raw, format.at("json_schema"))?;
            let schema = inner.raw("schema").ok_or_else(|| unsupported(inner.at("schema"), "is required"))?;
            // Name and description only label the schema; Cohere's output always follows it.
            inner.ignore(&["name", "description", "strict"]);
            inner.done()?;
            Some(schema)
        }
        _ => return Err(unsupported("response_format.type", "can only be text, json_object or json_schema here")),
    };
    format.done()?;
    Ok(Some(Format { kind: "json_object", json_schema }))
}

fn thinking(members: &mut Members<'_>) -> Result<Option<Thinking>, Unsupported> {
    let on = |token_budget| Some(Thinking { kind: "enabled", token_budget });
    let off = Some(Thinking { kind: "disabled", token_budget: None });
    let effort = match members.text("reasoning_effort")?.as_deref() {
        None => None,
        Some("none") => off,
        Some("minimal" | "low" | "medium" | "high" | "xhigh" | "max") => on(None),
        Some(_) => return Err(unsupported("reasoning_effort", "is unknown here")),
    };
    let Some(raw) = members.raw("thinking") else { return Ok(effort) };
    let mut asked = Members::read(raw, "thinking")?;
    let kind = asked.required_text("type")?;
    let budget = asked.take::<u64>("budget_tokens")?.or(asked.take("token_budget")?);
    asked.done()?;
    match kind.as_ref() {
        "enabled" => Ok(on(budget)),
        "disabled" => Ok(Some(Thinking { kind: "disabled", token_budget: None })),
        // The model decides, which is what it does unasked.
        "adaptive" => Ok(effort),
        _ => Err(unsupported("thinking.type", "is unknown here")),
    }
}

fn stop_sequences<'a>(members: &mut Members<'a>) -> Result<Vec<Cow<'a, str>>, Unsupported> {
    let Some(raw) = members.raw("stop") else { return Ok(Vec::new()) };
    let sequences: Vec<_> = match as_text(raw) {
        Some(one) => vec![one],
        None => elements(raw, "stop")?
            .into_iter()
            .map(|(place, raw)| as_text(raw).ok_or_else(|| unsupported(place, "must be a text")))
            .collect::<Result<_, _>>()?,
    };
    match sequences.len() {
        0..=5 => Ok(sequences),
        _ => Err(unsupported("stop", "can be at most 5 sequences at this target")),
    }
}

/// Cohere's scale goes from 0.01 to 0.99. What is beyond by less than a hundredth is its nearest: OpenAI's clients send 1 for "all".
fn top_p<'a>(members: &mut Members<'a>) -> Result<Option<Cow<'a, RawValue>>, Unsupported> {
    let Some(raw) = members.raw("top_p") else { return Ok(None) };
    match raw.get().parse::<f64>() {
        Ok(value) if (0.01..=0.99).contains(&value) => Ok(Some(Cow::Borrowed(raw))),
        Ok(value) if (0.99..=1.0).contains(&value) => Ok(Some(Cow::Owned(written("0.99")))),
        Ok(value) if (0.0..=0.01).contains(&value) => Ok(Some(Cow::Owned(written("0.01")))),
        _ => Err(unsupported("top_p", "must be between 0 and 1 at this target")),
    }
}

/// Cohere's scale goes from 0 to 1. What lies beyond is refused: a clamp would be another answer.
fn penalty<'a>(members: &mut Members<'a>, name: &str) -> Result<Option<&'a RawValue>, Unsupported> {
    let Some(raw) = members.raw(name) else { return Ok(None) };
    match raw.get().parse::<f64>() {
        Ok(value) if (0.0..=1.0).contains(&value) => Ok(Some(raw)),
        _ => Err(unsupported(name, "must be between 0 and 1 at this target")),
    }
}

/// JSON written by ourselves.
fn written(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).expect("written by ourselves as JSON")
}
