//! OpenAI's settings as Gemini's generationConfig.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::generation;
use super::thinking::{ThinkingConfig, thinking};
use crate::dialect::Unsupported;
use crate::members::{Members, as_text, elements, unsupported};

/// Gemini's own bounds.
const MOST_CANDIDATES: u64 = 8;
const MOST_STOPS: usize = 5;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct GenerationConfig<'a> {
    max_output_tokens: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    temperature: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_p: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    candidate_count: Option<u64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stop_sequences: Vec<Cow<'a, str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    presence_penalty: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    frequency_penalty: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    response_logprobs: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_mime_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response_json_schema: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    response_modalities: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speech_config: Option<SpeechConfig<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    thinking_config: Option<ThinkingConfig>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SpeechConfig<'a> {
    voice_config: VoiceConfig<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct VoiceConfig<'a> {
    prebuilt_voice_config: Voice<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Voice<'a> {
    voice_name: Cow<'a, str>,
}

/// Takes every setting out of the body.
pub(super) fn config<'a>(
    members: &mut Members<'a>,
    model: &str,
    cap: u64,
    has_tools: bool,
) -> Result<GenerationConfig<'a>, Unsupported> {
    refuse_what_cannot_be_done(members)?;
    let (response_mime_type, response_json_schema) = response_format(members)?;
    if response_mime_type.is_some() && has_tools && generation(model) < 3 {
        return Err(unsupported("response_format", "cannot be combined with tools at this model"));
    }
    let (response_logprobs, logprobs) = logprobs(members)?;
    let response_modalities = modalities(members, model)?;
    let candidate_count = members.take::<u64>("n")?;
    if candidate_count.is_some_and(|count| count > MOST_CANDIDATES) {
        return Err(unsupported("n", "must be at most 8 at this target"));
    }
    Ok(GenerationConfig {
        max_output_tokens: cap,
        temperature: members.raw("temperature"),
        top_p: members.raw("top_p"),
        top_k: members.raw("top_k"),
        candidate_count: candidate_count.filter(|count| *count > 1),
        stop_sequences: stop_sequences(members)?,
        seed: members.raw("seed"),
        presence_penalty: penalty(members, "presence_penalty"),
        frequency_penalty: penalty(members, "frequency_penalty"),
        response_logprobs,
        logprobs,
        response_mime_type,
        response_json_schema,
        speech_config: speech(members, &response_modalities)?,
        response_modalities,
        thinking_config: thinking(members, model)?,
    })
}

/// Members that would change the answer, or its price, and have no counterpart. Their harmless values pass.
fn refuse_what_cannot_be_done(members: &mut Members<'_>) -> Result<(), Unsupported> {
    members.only("best_of", &["1"], "can only be 1 here")?;
    members.only("logit_bias", &["{}"], "cannot be applied by this target")?;
    members.only("store", &["false"], "cannot be kept by this target")?;
    members.only("verbosity", &["\"medium\""], "cannot be set at this target")?;
    members.only("service_tier", &["\"auto\"", "\"default\""], "is a tier that the gateway has no price for")
}

/// A penalty of nothing is not sent: some models take none at all.
fn penalty<'a>(members: &mut Members<'a>, name: &str) -> Option<&'a RawValue> {
    members.raw(name).filter(|raw| !matches!(raw.get(), "0" | "0.0"))
}

fn logprobs(members: &mut Members<'_>) -> Result<(bool, Option<u64>), Unsupported> {
    let wanted = members.take::<bool>("logprobs")?.unwrap_or(false);
    let top = members.take::<u64>("top_logprobs")?.filter(|top| *top > 0);
    match (wanted, top) {
        (false, Some(_)) => Err(unsupported("top_logprobs", "needs logprobs")),
        (_, Some(top)) if top > 20 => Err(unsupported("top_logprobs", "must be at most 20 at this target")),
        told => Ok(told),
    }
}

type Format<'a> = (Option<&'static str>, Option<&'a RawValue>);

fn response_format<'a>(members: &mut Members<'a>) -> Result<Format<'a>, Unsupported> {
    const JSON: Option<&str> = Some("application/json");
    let Some(raw) = members.raw("response_format") else { return Ok((None, None)) };
    let mut format = Members::read(raw, "response_format")?;
    let told = match format.required_text("type")?.as_ref() {
        "text" => (None, None),
        "json_object" => (JSON, None),
        "json_schema" => {
            let raw = format.raw("json_schema").ok_or_else(|| unsupported(format.at("json_schema"), "is required"))?;
            let mut inner = Members::read(raw, format.at("json_schema"))?;
            let schema = inner.raw("schema").ok_or_else(|| unsupported(inner.at("schema"), "is required"))?;
            // Name and description only label the schema; Gemini's output always keeps to it.
            inner.ignore(&["name", "description", "strict"]);
            inner.done()?;
            (JSON, Some(schema))
        }
        _ => return Err(unsupported("response_format.type", "can only be text, json_object or json_schema here")),
    };
    format.done()?;
    Ok(told)
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
    if sequences.iter().any(|sequence| sequence.is_empty()) {
        return Err(unsupported("stop", "cannot be empty at this target"));
    }
    match sequences.len() > MOST_STOPS {
        true => Err(unsupported("stop", "can have at most 5 entries at this target")),
        false => Ok(sequences),
    }
}

/// Text alone is what happens anyway. Which models paint or speak, and are priced for it, their names say.
fn modalities(members: &mut Members<'_>, model: &str) -> Result<Vec<&'static str>, Unsupported> {
    let Some(raw) = members.raw("modalities") else { return Ok(Vec::new()) };
    let mut told = Vec::new();
    for (place, raw) in elements(raw, "modalities")? {
        told.push(match as_text(raw).as_deref() {
            Some("text") => "TEXT",
            Some("image") if model.contains("image") => "IMAGE",
            Some("audio") if model.contains("tts") || model.contains("audio") => "AUDIO",
            Some("image" | "audio") => return Err(unsupported(place, "is not what this model can give")),
            _ => return Err(unsupported(place, "must be text, image or audio")),
        });
    }
    Ok(if told == ["TEXT"] { Vec::new() } else { told })
}

/// Gemini speaks in raw samples of 16 bits, 24,000 a second: OpenAI's `pcm16`.
fn speech<'a>(members: &mut Members<'a>, modalities: &[&str]) -> Result<Option<SpeechConfig<'a>>, Unsupported> {
    let asked = modalities.contains(&"AUDIO");
    let Some(raw) = members.raw("audio") else {
        return match asked {
            true => Err(unsupported("audio", "is required where audio is asked for")),
            false => Ok(None),
        };
    };
    if !asked {
        return Err(unsupported("audio", "needs audio among the modalities"));
    }
    let mut audio = Members::read(raw, "audio")?;
    if audio.required_text("format")? != "pcm16" {
        return Err(unsupported("audio.format", "can only be pcm16 at this target"));
    }
    let voice = audio.raw("voice").ok_or_else(|| unsupported("audio.voice", "is required"))?;
    let voice_name = as_text(voice).ok_or_else(|| unsupported("audio.voice", "must be a voice's name"))?;
    audio.done()?;
    Ok(Some(SpeechConfig { voice_config: VoiceConfig { prebuilt_voice_config: Voice { voice_name } } }))
}
