//! Content blocks of an Anthropic turn, and how OpenAI's content parts become them.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::surcharge;
use crate::dialect::Unsupported;
use crate::members::{Members, as_text, elements, unsupported};

/// One block, as Anthropic writes it.
#[derive(Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Block<'a> {
    Text {
        text: Cow<'a, str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
    },
    Image {
        source: Source<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
    },
    Document {
        source: Source<'a>,
        #[serde(skip_serializing_if = "Option::is_none")]
        title: Option<Cow<'a, str>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
    },
    Thinking {
        thinking: Cow<'a, str>,
        signature: Cow<'a, str>,
    },
    RedactedThinking {
        data: Cow<'a, str>,
    },
    ToolUse {
        id: Cow<'a, str>,
        name: Cow<'a, str>,
        input: Box<RawValue>,
    },
    ToolResult {
        tool_use_id: Cow<'a, str>,
        #[serde(skip_serializing_if = "Vec::is_empty")]
        content: Vec<Block<'a>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        cache_control: Option<&'a RawValue>,
    },
}

/// Where an image or a document comes from.
#[derive(Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum Source<'a> {
    Base64 { media_type: Cow<'a, str>, data: Cow<'a, str> },
    Url { url: Cow<'a, str> },
}

impl<'a> Block<'a> {
    pub(super) fn text(text: impl Into<Cow<'a, str>>) -> Block<'a> {
        Block::Text { text: text.into(), cache_control: None }
    }
}

/// OpenAI's `content`: nothing, a text, or parts. Anthropic takes no empty text, so an empty one is left out.
pub(super) fn from_openai<'a>(raw: Option<&'a RawValue>, place: &str) -> Result<Vec<Block<'a>>, Unsupported> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    if let Some(text) = as_text(raw) {
        return Ok(if text.is_empty() { Vec::new() } else { vec![Block::text(text)] });
    }
    let mut blocks = Vec::new();
    for (place, raw) in elements(raw, place)? {
        let mut part = Members::read(raw, place)?;
        let cache_control = part.raw("cache_control");
        surcharge::refuse_long(cache_control, part.at("cache_control"))?;
        part.ignore(&["prompt_cache_breakpoint"]);
        let kind = part.required_text("type")?;
        let block = match kind.as_ref() {
            "text" => Block::Text { text: part.required_text("text")?, cache_control },
            "refusal" => Block::Text { text: part.required_text("refusal")?, cache_control },
            "image_url" => Block::Image { source: image(&mut part)?, cache_control },
            "file" => file(&mut part, cache_control)?,
            "input_audio" => return Err(unsupported(part.at("input_audio"), "cannot be heard by this target")),
            _ => return Err(unsupported(part.at("type"), "is no kind of content that this target takes")),
        };
        part.done()?;
        if !matches!(&block, Block::Text { text, .. } if text.is_empty()) {
            blocks.push(block);
        }
    }
    Ok(blocks)
}

fn image<'a>(part: &mut Members<'a>) -> Result<Source<'a>, Unsupported> {
    let raw = part.raw("image_url").ok_or_else(|| unsupported(part.at("image_url"), "is required"))?;
    let (url, place) = match as_text(raw) {
        Some(url) => (url, part.at("image_url")),
        None => {
            let mut image = Members::read(raw, part.at("image_url"))?;
            let url = image.required_text("url")?;
            // How closely to look is OpenAI's dial; Anthropic always looks as closely as it can.
            image.ignore(&["detail"]);
            let place = image.at("url");
            image.done()?;
            (url, place)
        }
    };
    if url.starts_with("https://") || url.starts_with("http://") {
        return Ok(Source::Url { url });
    }
    match data_url(&url) {
        Some((media, data)) if matches!(media, "image/jpeg" | "image/png" | "image/gif" | "image/webp") => {
            Ok(Source::Base64 { media_type: Cow::Owned(media.to_owned()), data: Cow::Owned(data.to_owned()) })
        }
        Some(("image/jpg", data)) => {
            Ok(Source::Base64 { media_type: Cow::Borrowed("image/jpeg"), data: Cow::Owned(data.to_owned()) })
        }
        Some(_) => Err(unsupported(place, "must be JPEG, PNG, GIF or WebP at this target")),
        None => Err(unsupported(place, "must be an http(s) URL or a base64 data URL")),
    }
}

fn file<'a>(part: &mut Members<'a>, cache_control: Option<&'a RawValue>) -> Result<Block<'a>, Unsupported> {
    let raw = part.raw("file").ok_or_else(|| unsupported(part.at("file"), "is required"))?;
    let mut file = Members::read(raw, part.at("file"))?;
    if file.raw("file_id").is_some() {
        return Err(unsupported(file.at("file_id"), "belongs to another provider's store"));
    }
    let title = file.text("filename")?;
    let data = file.required_text("file_data")?;
    let place = file.at("file_data");
    file.done()?;
    let pdf_by_name = title.as_deref().is_some_and(|name| name.to_ascii_lowercase().ends_with(".pdf"));
    let source = match data_url(&data) {
        Some(("application/pdf", data)) => pdf(Cow::Owned(data.to_owned())),
        // Decoded here it would be a text that the guards have not read.
        Some(("text/plain", _)) => {
            return Err(unsupported(place, "holds plain text, which this target takes in a text part only"));
        }
        None if pdf_by_name && !data.starts_with("data:") => pdf(data),
        _ => return Err(unsupported(place, "must be a PDF as a base64 data URL")),
    };
    Ok(Block::Document { source, title, cache_control })
}

fn pdf(data: Cow<'_, str>) -> Source<'_> {
    Source::Base64 { media_type: Cow::Borrowed("application/pdf"), data }
}

/// Media type and base64 text of a `data:` URL; parameters such as a charset are passed over.
fn data_url(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let head = head.strip_suffix(";base64")?;
    Some((head.split(';').next().unwrap_or(head), data))
}

/// A tool's schema must say that it describes an object; OpenAI lets that be left out.
pub(super) fn object_schema<'a>(raw: &'a RawValue, place: &str) -> Result<Cow<'a, RawValue>, Unsupported> {
    let mut schema = Members::read(raw, place)?;
    if schema.raw("type").is_some() {
        return Ok(Cow::Borrowed(raw));
    }
    let inside = raw.get().trim().trim_start_matches('{').trim_start();
    let joint = if inside.starts_with('}') { r#"{"type":"object","properties":{}"# } else { r#"{"type":"object","# };
    Ok(Cow::Owned(self::raw(&format!("{joint}{inside}"))))
}

/// The schema of a function that takes nothing.
pub(super) fn open_schema() -> Box<RawValue> {
    raw(r#"{"type":"object","properties":{}}"#)
}

/// `{}`
pub(super) fn empty_object() -> Box<RawValue> {
    raw("{}")
}

/// JSON written by ourselves.
pub(super) fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).expect("written by ourselves as JSON")
}
