//! Gemini's `generationConfig` as members of OpenAI's body.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::{open, schema, word};
use crate::dialect::Unsupported;
use crate::members::{Members, as_text, unsupported};

#[derive(Default, Serialize)]
pub(super) struct Config<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stop: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reasoning_effort: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_format: Option<Format<'a>>,
}

#[derive(Serialize)]
struct Format<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    json_schema: Option<Schema<'a>>,
}

#[derive(Serialize)]
struct Schema<'a> {
    name: &'static str,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    strict: bool,
    schema: Cow<'a, RawValue>,
}

pub(super) fn config(raw: Option<&RawValue>) -> Result<Config<'_>, Unsupported> {
    let Some(raw) = raw else { return Ok(Config::default()) };
    let mut config = open(raw, "generationConfig")?;
    config.ignore(&["maxOutputTokens", "mediaResolution"]);
    config.only("enableEnhancedCivicAnswers", &["false"], "cannot be done by this target")?;
    refuse_sights_and_sounds(&mut config)?;
    let logprobs = config.take::<bool>("responseLogprobs")?.filter(|wanted| *wanted);
    let top_logprobs = config.take::<u64>("logprobs")?.filter(|_| logprobs.is_some());
    let told = Config {
        temperature: config.raw("temperature"),
        top_p: config.raw("topP"),
        top_k: top_k(&mut config)?,
        n: config.take::<u64>("candidateCount")?.filter(|n| *n != 1),
        stop: config.raw("stopSequences").filter(|raw| raw.get() != "[]"),
        seed: config.raw("seed"),
        presence_penalty: config.raw("presencePenalty"),
        frequency_penalty: config.raw("frequencyPenalty"),
        logprobs,
        top_logprobs,
        reasoning_effort: effort(&mut config)?,
        response_format: format(&mut config)?,
    };
    config.done()?;
    Ok(told)
}

/// Gemini's clients write it as a float; elsewhere it is a whole number.
fn top_k(config: &mut Members<'_>) -> Result<Option<u64>, Unsupported> {
    let Some(told) = config.take::<f64>("topK")? else { return Ok(None) };
    match told {
        told if told >= 0.0 && told.fract() == 0.0 && told < 1e9 => Ok(Some(told as u64)),
        _ => Err(unsupported(config.at("topK"), "must be a whole number at this target")),
    }
}

fn refuse_sights_and_sounds(config: &mut Members<'_>) -> Result<(), Unsupported> {
    let Some(raw) = config.raw("responseModalities") else { return Ok(()) };
    let modalities = serde_json::from_str::<Vec<Cow<'_, str>>>(raw.get());
    let text_only = modalities.is_ok_and(|all| all.iter().all(|it| it.eq_ignore_ascii_case("text")));
    if text_only { Ok(()) } else { Err(unsupported(config.at("responseModalities"), "can only be text here")) }
}

/// How hard to think. Whether the thoughts are shown is a matter of the answer: see `outlet.rs`.
fn effort(config: &mut Members<'_>) -> Result<Option<&'static str>, Unsupported> {
    let Some(raw) = config.raw("thinkingConfig") else { return Ok(None) };
    let mut thinking = open(raw, config.at("thinkingConfig"))?;
    thinking.ignore(&["includeThoughts"]);
    let by_level = match &*word(&mut thinking, "thinkingLevel")? {
        "" | "THINKING_LEVEL_UNSPECIFIED" => None,
        "MINIMAL" => Some("minimal"),
        "LOW" => Some("low"),
        "MEDIUM" => Some("medium"),
        "HIGH" => Some("high"),
        "XHIGH" => Some("xhigh"),
        _ => return Err(unsupported(thinking.at("thinkingLevel"), "is unknown here")),
    };
    let by_budget = match thinking.take::<i64>("thinkingBudget")? {
        None | Some(-1) => None,
        Some(0) => Some("none"),
        Some(1..=1_024) => Some("low"),
        Some(1_025..=8_192) => Some("medium"),
        Some(8_193..) => Some("high"),
        Some(_) => return Err(unsupported(thinking.at("thinkingBudget"), "must be -1 or more")),
    };
    thinking.done()?;
    Ok(by_level.or(by_budget))
}

fn format<'a>(config: &mut Members<'a>) -> Result<Option<Format<'a>>, Unsupported> {
    let kind = config.raw("responseMimeType");
    let place = config.at("responseMimeType");
    let (own, json) = (config.raw("responseSchema"), config.raw("responseJsonSchema"));
    let is_json = match kind.and_then(as_text).as_deref() {
        None if kind.is_some() => return Err(unsupported(place, "must be a text")),
        None | Some("" | "text/plain") => false,
        Some("application/json") => true,
        Some(_) => return Err(unsupported(place, "must be text/plain or application/json at this target")),
    };
    let schema = match (own, json) {
        (None, None) if is_json => return Ok(Some(Format { kind: "json_object", json_schema: None })),
        (None, None) => return Ok(None),
        (Some(_), Some(_)) => {
            return Err(unsupported(config.at("responseSchema"), "is given twice, in two languages"));
        }
        _ if !is_json => return Err(unsupported(place, "must be application/json where there is a schema")),
        (Some(own), None) => Cow::Owned(schema::closed(own, &config.at("responseSchema"))?),
        (None, Some(json)) => Cow::Borrowed(json),
    };
    let strict = schema::is_strict(&schema);
    Ok(Some(Format { kind: "json_schema", json_schema: Some(Schema { name: "answer", strict, schema }) }))
}
