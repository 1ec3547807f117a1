//! The parts of a message, and of a tool's result.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::dialect::Unsupported;
use crate::members::{Members, as_text, elements, unsupported};

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Content<'a> {
    Text(Cow<'a, str>),
    Parts(Vec<Part<'a>>),
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part<'a> {
    Text { text: Cow<'a, str> },
    ImageUrl { image_url: ImageUrl<'a> },
    InputAudio { input_audio: &'a RawValue },
    File { file: File<'a> },
}

#[derive(Serialize)]
pub(super) struct ImageUrl<'a> {
    url: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
pub(super) struct File<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    filename: Option<Cow<'a, str>>,
    file_data: Cow<'a, str>,
}

/// A text, or parts. A lone text stays a text: the plainest form, which every server takes.
pub(super) fn content<'a>(raw: Option<&'a RawValue>, place: &str) -> Result<Content<'a>, Unsupported> {
    let Some(raw) = raw else { return Ok(Content::Text(Cow::Borrowed(""))) };
    if let Some(text) = as_text(raw) {
        return Ok(Content::Text(text));
    }
    let mut parts = Vec::new();
    for (place, raw) in elements(raw, place)? {
        parts.push(part(raw, place)?);
    }
    Ok(match parts.as_mut_slice() {
        [] => Content::Text(Cow::Borrowed("")),
        [Part::Text { text }] => Content::Text(std::mem::take(text)),
        _ => Content::Parts(parts),
    })
}

fn part<'a>(raw: &'a RawValue, place: String) -> Result<Part<'a>, Unsupported> {
    let mut part = Members::read(raw, place)?;
    // A marker of what may be cached, which is a hint.
    part.ignore(&["prompt_cache_breakpoint"]);
    let told = match part.required_text("type")?.as_ref() {
        // An earlier answer's text may be put into the user's mouth.
        "input_text" | "output_text" | "text" => {
            part.ignore(&["annotations", "logprobs"]);
            Part::Text { text: part.required_text("text")? }
        }
        "input_image" => {
            let url = part.required_text("image_url")?;
            // Auto is what is done anyway; OpenAI's own clients always say it.
            let detail = part.text("detail")?.filter(|detail| detail != "auto");
            Part::ImageUrl { image_url: ImageUrl { url, detail } }
        }
        "input_file" => {
            part.ignore(&["detail"]);
            if part.raw("file_url").is_some() {
                return Err(unsupported(part.at("file_url"), "cannot be fetched by this target; send file_data"));
            }
            let file = File { filename: part.text("filename")?, file_data: part.required_text("file_data")? };
            Part::File { file }
        }
        "input_audio" => {
            let sound = part.raw("input_audio").ok_or_else(|| unsupported(part.at("input_audio"), "is required"))?;
            Part::InputAudio { input_audio: sound }
        }
        _ => return Err(unsupported(part.at("type"), "is no kind of content that this target takes")),
    };
    part.done()?;
    Ok(told)
}
