//! Content parts of chat messages as parts of input items.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::dialect::Unsupported;
use crate::members::{Members, as_text, elements, unsupported};

/// One part, as the Responses API writes it.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Part<'a> {
    InputText {
        text: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        prompt_cache_breakpoint: Option<&'a RawValue>,
    },
    InputImage {
        detail: Cow<'a, str>,
        image_url: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        prompt_cache_breakpoint: Option<&'a RawValue>,
    },
    InputFile {
        #[serde(skip_serializing_if = "Option::is_none")]
        filename: Option<Cow<'a, str>>,
        file_data: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        prompt_cache_breakpoint: Option<&'a RawValue>,
    },
    OutputText {
        text: Cow<'a, str>,
        annotations: Vec<Citation<'a>>,
    },
    Refusal {
        refusal: Cow<'a, str>,
    },
}

/// A page that an earlier answer cited.
#[derive(Serialize)]
pub(super) struct Citation<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    start_index: &'a RawValue,
    end_index: &'a RawValue,
    url: &'a RawValue,
    title: &'a RawValue,
}

/// Who said a content, and so of what it may be made.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Side {
    /// The user, or a tool.
    Given,
    /// The system or the developer.
    TextOnly,
    /// The model.
    Told,
}

/// A chat message's content: nothing, a text, or parts.
pub(super) fn content<'a>(raw: Option<&'a RawValue>, place: &str, side: Side) -> Result<Vec<Part<'a>>, Unsupported> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    if let Some(text) = as_text(raw) {
        // An empty answer is no item; an empty text of the user's is one.
        let nothing = text.is_empty() && side == Side::Told;
        return Ok(if nothing { Vec::new() } else { vec![of_text(text, side, None)] });
    }
    let mut parts = Vec::new();
    for (place, raw) in elements(raw, place)? {
        let mut part = Members::read(raw, place)?;
        // This API caches unasked; where another provider was to cache is of no use to it.
        part.ignore(&["cache_control"]);
        let mark = cache_mark(part.raw("prompt_cache_breakpoint"), &part.at("prompt_cache_breakpoint"))?;
        let kind = part.required_text("type")?;
        parts.push(match (kind.as_ref(), side) {
            ("text", _) => of_text(part.required_text("text")?, side, mark),
            ("refusal", Side::Told) => Part::Refusal { refusal: part.required_text("refusal")? },
            ("image_url", Side::Given) => image(&mut part, mark)?,
            ("file", Side::Given) => file(&mut part, mark)?,
            ("input_audio", _) => return Err(unsupported(part.at("input_audio"), "cannot be heard by this target")),
            _ => return Err(unsupported(part.at("type"), "is no kind of content that this target takes here")),
        });
        part.done()?;
    }
    Ok(parts)
}

fn of_text<'a>(text: Cow<'a, str>, side: Side, mark: Option<&'a RawValue>) -> Part<'a> {
    match side {
        Side::Told => Part::OutputText { text, annotations: Vec::new() },
        Side::Given | Side::TextOnly => Part::InputText { text, prompt_cache_breakpoint: mark },
    }
}

fn image<'a>(part: &mut Members<'a>, mark: Option<&'a RawValue>) -> Result<Part<'a>, Unsupported> {
    let raw = part.raw("image_url").ok_or_else(|| unsupported(part.at("image_url"), "is required"))?;
    let (url, detail, place) = match as_text(raw) {
        Some(url) => (url, None, part.at("image_url")),
        None => {
            let mut image = Members::read(raw, part.at("image_url"))?;
            let (url, detail, place) = (image.required_text("url")?, image.text("detail")?, image.at("url"));
            image.done()?;
            (url, detail, place)
        }
    };
    if !["https://", "http://", "data:"].iter().any(|it| url.starts_with(it)) {
        return Err(unsupported(place, "must be an http(s) URL or a data URL"));
    }
    let detail = detail.unwrap_or(Cow::Borrowed("auto"));
    Ok(Part::InputImage { detail, image_url: url, prompt_cache_breakpoint: mark })
}

fn file<'a>(part: &mut Members<'a>, mark: Option<&'a RawValue>) -> Result<Part<'a>, Unsupported> {
    let raw = part.raw("file").ok_or_else(|| unsupported(part.at("file"), "is required"))?;
    let mut file = Members::read(raw, part.at("file"))?;
    if file.raw("file_id").is_some() {
        return Err(unsupported(
            file.at("file_id"),
            "belongs to a provider's store, whose files cannot be measured here",
        ));
    }
    let told = Part::InputFile {
        filename: file.text("filename")?,
        file_data: file.required_text("file_data")?,
        prompt_cache_breakpoint: mark,
    };
    file.done()?;
    Ok(told)
}

/// Where, and how, the prompt is to be cached, as it is; but for a longer time than usual, which costs more.
pub(super) fn cache_mark<'a>(raw: Option<&'a RawValue>, place: &str) -> Result<Option<&'a RawValue>, Unsupported> {
    if let Some(raw) = raw {
        let mut mark = Members::read(raw, place)?;
        mark.only("ttl", &["\"30m\""], "is billed at a rate that the gateway has no price for")?;
        mark.ignore(&["mode"]);
        mark.done()?;
    }
    Ok(raw)
}

/// The citations of an earlier answer, where they can only be those of its one text.
pub(super) fn cited<'a>(raw: &'a RawValue, place: &str, parts: &mut [Part<'a>]) -> Result<(), Unsupported> {
    let mut citations = Vec::new();
    for (place, raw) in elements(raw, place)? {
        let mut citation = Members::read(raw, place)?;
        citation.only("type", &["\"url_citation\""], "can only be url_citation here")?;
        let inside = citation.raw("url_citation");
        let inside = inside.ok_or_else(|| unsupported(citation.at("url_citation"), "is required"))?;
        let mut inside = Members::read(inside, citation.at("url_citation"))?;
        let mut take = |name: &str| {
            inside
                .raw(name)
                .ok_or_else(|| unsupported(format!("{}.{name}", citation.at("url_citation")), "is required"))
        };
        citations.push(Citation {
            kind: "url_citation",
            start_index: take("start_index")?,
            end_index: take("end_index")?,
            url: take("url")?,
            title: take("title")?,
        });
        inside.done()?;
        citation.done()?;
    }
    match parts {
        _ if citations.is_empty() => {}
        [Part::OutputText { annotations, .. }] => *annotations = citations,
        _ => return Err(unsupported(place, "can only be of an answer that is one text at this target")),
    }
    Ok(())
}
