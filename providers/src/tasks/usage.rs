//! What an answer to a one-shot task is billed as. Whatever unit a price may name is filled in: the provider's word where it gives
//! one, else what is known of the request, so that no answer is free because its provider counts in other units.

use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use super::bound;
use crate::catalog::Tokenizer;
use crate::request::{ModelRequest, Shape, Usage};
use crate::tokens;

/// The parts of an answer, or of an event, that are read.
#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Answer<'a> {
    #[serde(borrow)]
    pub error: Option<&'a RawValue>,
    #[serde(rename = "type", deserialize_with = "lenient")]
    pub kind: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub model: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub usage: Option<Counts>,
    #[serde(deserialize_with = "lenient")]
    pub data: Option<Vec<IgnoredAny>>,
    #[serde(deserialize_with = "lenient")]
    pub duration: Option<serde_json::Value>,
    #[serde(deserialize_with = "lenient")]
    pub meta: Option<Meta>,
    #[serde(deserialize_with = "lenient")]
    pub text: Option<String>,
    #[serde(deserialize_with = "lenient")]
    pub delta: Option<serde_json::Value>,
}

/// A member that is of another kind than expected tells nothing; the answer, which is billed already, passes all the same.
fn lenient<'de, D: Deserializer<'de>, T: DeserializeOwned>(deserializer: D) -> Result<Option<T>, D::Error> {
    let raw = <&RawValue>::deserialize(deserializer)?;
    Ok(serde_json::from_str(raw.get()).ok())
}

impl Answer<'_> {
    pub(super) fn error(&self) -> Option<&str> {
        self.error.map(RawValue::get).filter(|it| *it != "null")
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Counts {
    prompt_tokens: Option<u64>,
    input_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    output_tokens: Option<u64>,
    total_tokens: Option<u64>,
    seconds: Option<f64>,
    search_units: Option<f64>,
    #[serde(alias = "input_token_details", alias = "prompt_tokens_details")]
    input_tokens_details: Option<Parts>,
    #[serde(alias = "output_token_details", alias = "completion_tokens_details")]
    output_tokens_details: Option<Parts>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Parts {
    cached_tokens: Option<u64>,
    image_tokens: Option<u64>,
    audio_tokens: Option<u64>,
    text_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct Meta {
    billed_units: Option<Billed>,
    tokens: Option<Billed>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Billed {
    search_units: Option<f64>,
    input_tokens: Option<f64>,
    total_tokens: Option<f64>,
}

/// What is billed for a whole answer; none where the provider says nothing and nothing but its input was asked for.
pub(super) fn of(request: &ModelRequest, answer: &Answer<'_>) -> Option<Usage> {
    let counts = answer.usage.as_ref();
    match request.shape() {
        Shape::Images | Shape::ImageEdits => {
            let images = answer.data.as_ref().map_or(request.choices(), |it| it.len() as u64);
            Some(drawn(request, counts, images))
        }
        Shape::Speech => Some(spoken(request, counts, None)),
        Shape::Transcriptions | Shape::Translations => {
            let duration = answer.duration.as_ref().and_then(number);
            Some(heard(request, counts, duration, answer.text.as_deref().unwrap_or_default()))
        }
        Shape::Rerank => Some(ranked(request, answer)),
        _ => counts.and_then(read),
    }
}

/// Tokens as they were told; none if there are none.
fn read(counts: &Counts) -> Option<Usage> {
    let output = counts.output_tokens.or(counts.completion_tokens);
    let told = counts.input_tokens.or(counts.prompt_tokens);
    let mut input = told.or(counts.total_tokens.map(|it| it.saturating_sub(output.unwrap_or(0))))?;
    let parts = counts.input_tokens_details.as_ref();
    // The parts are taken out of the whole one by one, so that parts that overlap are not paid twice.
    let mut take = |part: Option<u64>| {
        let part = part.unwrap_or(0).min(input);
        input -= part;
        part
    };
    let cached_input = take(parts.and_then(|it| it.cached_tokens));
    let audio_input = take(parts.and_then(|it| it.audio_tokens));
    let image_input = take(parts.and_then(|it| it.image_tokens));
    Some(Usage { input, cached_input, audio_input, image_input, output: output.unwrap_or(0), ..Usage::default() })
}

/// Images, by tokens and by number.
pub(super) fn drawn(request: &ModelRequest, counts: Option<&Counts>, images: u64) -> Usage {
    let told = counts.and_then(|counts| Some((read(counts)?, counts)));
    let mut usage = match told {
        Some((usage, counts)) => {
            let parts = counts.output_tokens_details.as_ref();
            let text = parts.and_then(|it| it.text_tokens).unwrap_or(0).min(usage.output);
            Usage { image_output: usage.output - text, ..usage }
        }
        None => {
            let output = bound::image_tokens(request).saturating_mul(images);
            Usage { input: input(request), output, image_output: output, estimated: true, ..Usage::default() }
        }
    };
    usage.images = images;
    usage
}

/// Speech, by characters, seconds and tokens. `seconds`: what has come so far, where the sound tells.
pub(super) fn spoken(request: &ModelRequest, counts: Option<&Counts>, seconds: Option<u64>) -> Usage {
    let length = seconds.unwrap_or_else(|| bound::spoken_seconds(request));
    let mut usage = counts.and_then(read).unwrap_or_else(|| Usage {
        input: input(request),
        output: bound::spoken_tokens(length),
        estimated: true,
        ..Usage::default()
    });
    usage.audio_output = usage.output;
    usage.characters = request.view().asked.characters;
    usage.seconds = length;
    usage
}

/// What was heard, by seconds and by tokens.
pub(super) fn heard(request: &ModelRequest, counts: Option<&Counts>, duration: Option<f64>, text: &str) -> Usage {
    let told = counts.and_then(|it| it.seconds).or(duration).and_then(whole);
    let seconds = told.unwrap_or_else(|| bound::heard_seconds(request));
    let mut usage = counts.and_then(read).unwrap_or_else(|| Usage {
        input: input(request),
        audio_input: bound::heard_tokens(seconds),
        output: tokens::count(Tokenizer::O200k, text),
        estimated: told.is_none(),
        ..Usage::default()
    });
    usage.seconds = seconds;
    usage
}

/// Searches and tokens.
fn ranked(request: &ModelRequest, answer: &Answer<'_>) -> Usage {
    let billed = answer.meta.as_ref().and_then(|it| it.billed_units.as_ref());
    let tokens = answer.meta.as_ref().and_then(|it| it.tokens.as_ref());
    let units = billed.and_then(|it| it.search_units).or(answer.usage.as_ref().and_then(|it| it.search_units));
    let of_meta = [billed, tokens].into_iter().flatten().find_map(|it| it.input_tokens.or(it.total_tokens));
    let told = answer.usage.as_ref().and_then(read).map(|it| it.input).or(of_meta.and_then(whole));
    let searches = units.and_then(whole);
    Usage {
        input: told.unwrap_or_else(|| input(request)),
        searches: searches.unwrap_or_else(|| request.view().asked.inputs.div_ceil(100).max(1)),
        estimated: told.is_none() && searches.is_none(),
        ..Usage::default()
    }
}

fn input(request: &ModelRequest) -> u64 {
    tokens::estimate_input(Tokenizer::O200k, request, None)
}

fn number(value: &serde_json::Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str()?.parse().ok())
}

/// A part of one counts as one.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked to be within a thousand million")]
fn whole(number: f64) -> Option<u64> {
    (0.0..1e9).contains(&number).then(|| number.ceil() as u64)
}
