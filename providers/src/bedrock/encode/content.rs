//! Blocks of a Converse message, and how the hub's content parts become them.

use std::borrow::Cow;
use std::collections::HashSet;

use serde::Serialize;
use serde_json::value::RawValue;

use super::family::Family;
use crate::dialect::Unsupported;
use crate::members::{Members, as_text, elements, unsupported};

/// One block, as Converse writes it.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Block<'a> {
    Text(Cow<'a, str>),
    Image {
        format: &'static str,
        source: Source,
    },
    Document {
        format: &'static str,
        name: String,
        source: Source,
    },
    #[serde(rename_all = "camelCase")]
    ToolUse {
        tool_use_id: Cow<'a, str>,
        name: Cow<'a, str>,
        input: Cow<'a, RawValue>,
    },
    #[serde(rename_all = "camelCase")]
    ToolResult {
        tool_use_id: Cow<'a, str>,
        content: Vec<Block<'a>>,
    },
    ReasoningContent(Reasoning<'a>),
    CachePoint(CachePoint),
}

/// Base64.
#[derive(Serialize)]
pub(super) struct Source {
    bytes: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) enum Reasoning<'a> {
    ReasoningText { text: Cow<'a, str>, signature: Cow<'a, str> },
    RedactedContent(Cow<'a, str>),
}

/// What came before it is worth keeping.
#[derive(Serialize, Clone, Copy)]
pub(super) struct CachePoint {
    #[serde(rename = "type")]
    kind: &'static str,
}

/// Reads parts. Knows the names of the documents so far, which must differ.
pub(super) struct Parts {
    family: Family,
    names: HashSet<String>,
}

impl Parts {
    pub(super) fn new(family: Family) -> Parts {
        Parts { family, names: HashSet::new() }
    }

    /// A content: nothing, a text, or parts. Converse takes no empty text, so an empty one is left out.
    pub(super) fn read<'a>(&mut self, raw: Option<&'a RawValue>, place: &str) -> Result<Vec<Block<'a>>, Unsupported> {
        let Some(raw) = raw else { return Ok(Vec::new()) };
        if let Some(text) = as_text(raw) {
            return Ok(if text.is_empty() { Vec::new() } else { vec![Block::Text(text)] });
        }
        let mut blocks = Vec::new();
        for (place, raw) in elements(raw, place)? {
            let mut part = Members::read(raw, place)?;
            let mark = self.mark(&mut part)?;
            part.ignore(&["prompt_cache_breakpoint"]);
            let block = match part.required_text("type")?.as_ref() {
                "text" => Block::Text(part.required_text("text")?),
                "refusal" => Block::Text(part.required_text("refusal")?),
                "image_url" => image(&mut part)?,
                "file" => self.file(&mut part)?,
                "input_audio" => return Err(unsupported(part.at("input_audio"), "cannot be heard by this target")),
                _ => return Err(unsupported(part.at("type"), "is no kind of content that this target takes")),
            };
            part.done()?;
            if !matches!(&block, Block::Text(text) if text.is_empty()) {
                blocks.push(block);
                blocks.extend(mark);
            }
        }
        Ok(blocks)
    }

    /// The cache mark of a part or a message, where the model follows it.
    pub(super) fn mark<'a>(&self, members: &mut Members<'a>) -> Result<Option<Block<'a>>, Unsupported> {
        let mark = cache_mark(members)?;
        Ok(mark.filter(|_| self.family.caches()).map(Block::CachePoint))
    }

    fn file<'a>(&mut self, part: &mut Members<'a>) -> Result<Block<'a>, Unsupported> {
        let raw = part.raw("file").ok_or_else(|| unsupported(part.at("file"), "is required"))?;
        let mut file = Members::read(raw, part.at("file"))?;
        if file.raw("file_id").is_some() {
            return Err(unsupported(file.at("file_id"), "belongs to another provider's store"));
        }
        let name = file.text("filename")?.unwrap_or_default();
        let data = file.required_text("file_data")?;
        let place = file.at("file_data");
        file.done()?;
        let by_name = || if data.starts_with("data:") { None } else { document_by_name(&name).map(|it| (it, &*data)) };
        let by_type = data_url(&data).and_then(|(media, data)| Some((document_by_type(media)?, data)));
        // A text file would be a text that the guards have not read.
        let Some((format, bytes)) = by_type.or_else(by_name) else {
            return Err(unsupported(place, "must be a PDF, Word or Excel file as a base64 data URL at this target"));
        };
        let source = Source { bytes: bytes.to_owned() };
        Ok(Block::Document { format, name: self.name(&name), source })
    }

    /// A name that Converse takes, and that no other document has: letters, digits, single spaces, hyphens and brackets.
    fn name(&mut self, given: &str) -> String {
        let stem = given.rsplit_once('.').map_or(given, |(stem, _)| stem);
        let plain: String =
            stem.chars().map(|c| if c.is_ascii_alphanumeric() || "-()[]".contains(c) { c } else { ' ' }).collect();
        let words: Vec<&str> = plain.split_whitespace().collect();
        let base: String = words.join(" ").chars().take(180).collect();
        let base = if base.is_empty() { "document".to_owned() } else { base.trim_end().to_owned() };
        let mut name = base.clone();
        let mut number = 1;
        while !self.names.insert(name.clone()) {
            number += 1;
            name = format!("{base} {number}");
        }
        name
    }
}

/// Takes the cache mark of a part, a message or a tool. One that is to last for an hour is billed at another rate.
pub(super) fn cache_mark(members: &mut Members<'_>) -> Result<Option<CachePoint>, Unsupported> {
    let Some(raw) = members.raw("cache_control") else { return Ok(None) };
    let mut mark = Members::read(raw, members.at("cache_control"))?;
    mark.only("type", &["\"ephemeral\""], "is unknown here")?;
    mark.only("ttl", &["\"5m\""], "is billed at a rate that the gateway has no price for")?;
    mark.done()?;
    Ok(Some(CachePoint { kind: "default" }))
}

fn image<'a>(part: &mut Members<'a>) -> Result<Block<'a>, Unsupported> {
    let raw = part.raw("image_url").ok_or_else(|| unsupported(part.at("image_url"), "is required"))?;
    let (url, place) = match as_text(raw) {
        Some(url) => (url, part.at("image_url")),
        None => {
            let mut image = Members::read(raw, part.at("image_url"))?;
            let url = image.required_text("url")?;
            // How closely to look is OpenAI's dial; the models here look as closely as they can.
            image.ignore(&["detail"]);
            let place = image.at("url");
            image.done()?;
            (url, place)
        }
    };
    let (media, data) = data_url(&url)
        .ok_or_else(|| unsupported(&*place, "must be a base64 data URL, as this target fetches nothing"))?;
    let format = match media {
        "image/jpeg" | "image/jpg" => "jpeg",
        "image/png" => "png",
        "image/gif" => "gif",
        "image/webp" => "webp",
        _ => return Err(unsupported(place, "must be JPEG, PNG, GIF or WebP at this target")),
    };
    Ok(Block::Image { format, source: Source { bytes: data.to_owned() } })
}

fn document_by_type(media: &str) -> Option<&'static str> {
    Some(match media {
        "application/pdf" => "pdf",
        "application/msword" => "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "application/vnd.ms-excel" => "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        _ => return None,
    })
}

fn document_by_name(name: &str) -> Option<&'static str> {
    let (_, ending) = name.rsplit_once('.')?;
    ["pdf", "doc", "docx", "xls", "xlsx"].into_iter().find(|it| ending.eq_ignore_ascii_case(it))
}

/// Media type and base64 text of a `data:` URL; parameters such as a charset are passed over.
fn data_url(url: &str) -> Option<(&str, &str)> {
    let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
    let head = head.strip_suffix(";base64")?;
    Some((head.split(';').next().unwrap_or(head), data))
}

/// A tool's schema must say that it describes an object; OpenAI lets that be left out.
pub(super) fn object_schema<'a>(schema: &'a RawValue, place: &str) -> Result<Cow<'a, RawValue>, Unsupported> {
    if Members::read(schema, place)?.raw("type").is_some() {
        return Ok(Cow::Borrowed(schema));
    }
    let inside = schema.get().trim_start_matches('{').trim_start();
    let joint = if inside.starts_with('}') { r#"{"type":"object","properties":{}"# } else { r#"{"type":"object","# };
    Ok(Cow::Owned(raw(&format!("{joint}{inside}"))))
}

/// JSON written by ourselves.
pub(super) fn raw(json: &str) -> Box<RawValue> {
    RawValue::from_string(json.to_owned()).expect("written by ourselves as JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_gets_a_name_that_is_taken_and_is_its_own() {
        let mut parts = Parts::new(Family::Other);
        for (given, name) in [
            ("Report 2026 (final).pdf", "Report 2026 (final)"),
            ("report_2026__final.pdf", "report 2026 final"),
            ("Größe.pdf", "Gr e"),
            ("", "document"),
            ("...pdf", "document 2"),
            ("report 2026 final", "report 2026 final 2"),
        ] {
            assert_eq!(parts.name(given), name, "{given}");
        }
        assert!(parts.name(&"a ".repeat(300)).len() <= 200);
    }
}
