//! Parts of a Gemini turn, and how OpenAI's content parts become them.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use crate::dialect::Unsupported;
use crate::members::{Members, as_text, elements, unsupported};
use crate::request::public_address;

/// One part, as Gemini writes it: one kind of content, and what is said about it.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<Cow<'a, str>>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub thought: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inline_data: Option<Blob<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file_data: Option<FileData<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_call: Option<FunctionCall<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function_response: Option<FunctionResponse<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thought_signature: Option<Cow<'a, str>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Blob<'a> {
    pub mime_type: Cow<'a, str>,
    pub data: Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FileData<'a> {
    mime_type: &'static str,
    file_uri: Cow<'a, str>,
}

#[derive(Serialize)]
pub(super) struct FunctionCall<'a> {
    pub id: Cow<'a, str>,
    pub name: Cow<'a, str>,
    pub args: Box<RawValue>,
}

#[derive(Serialize)]
pub(super) struct FunctionResponse<'a> {
    pub id: Cow<'a, str>,
    pub name: Cow<'a, str>,
    pub response: Output<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<Part<'a>>,
}

/// What a function gave: a text, or several.
#[derive(Serialize)]
pub(super) struct Output<'a> {
    pub output: Texts<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Texts<'a> {
    One(Cow<'a, str>),
    Several(Vec<Cow<'a, str>>),
}

impl<'a> Part<'a> {
    pub(super) fn text(text: impl Into<Cow<'a, str>>) -> Part<'a> {
        Part { text: Some(text.into()), ..Part::default() }
    }

    pub(super) fn blob(mime_type: impl Into<Cow<'a, str>>, data: Cow<'a, str>) -> Part<'a> {
        Part { inline_data: Some(Blob { mime_type: mime_type.into(), data }), ..Part::default() }
    }
}

/// OpenAI's `content`: nothing, a text, or parts. Empty texts are left out: Gemini takes none.
pub(super) fn from_openai<'a>(raw: Option<&'a RawValue>, place: &str) -> Result<Vec<Part<'a>>, Unsupported> {
    let Some(raw) = raw else { return Ok(Vec::new()) };
    if let Some(text) = as_text(raw) {
        return Ok(if text.is_empty() { Vec::new() } else { vec![Part::text(text)] });
    }
    let mut parts = Vec::new();
    for (place, raw) in elements(raw, place)? {
        let mut part = Members::read(raw, place)?;
        part.ignore(&["cache_control", "prompt_cache_breakpoint"]);
        let kind = part.required_text("type")?;
        let told = match kind.as_ref() {
            "text" => Part::text(part.required_text("text")?),
            "refusal" => Part::text(part.required_text("refusal")?),
            "image_url" => image(&mut part)?,
            "file" => file(&mut part)?,
            "input_audio" => audio(&mut part)?,
            _ => return Err(unsupported(part.at("type"), "is no kind of content that this target takes")),
        };
        part.done()?;
        if told.text.as_deref() != Some("") {
            parts.push(told);
        }
    }
    Ok(parts)
}

/// An image, of the conversation or of an earlier answer.
pub(super) fn image<'a>(part: &mut Members<'a>) -> Result<Part<'a>, Unsupported> {
    let raw = part.raw("image_url").ok_or_else(|| unsupported(part.at("image_url"), "is required"))?;
    let (url, place) = match as_text(raw) {
        Some(url) => (url, part.at("image_url")),
        None => {
            let mut image = Members::read(raw, part.at("image_url"))?;
            let url = image.required_text("url")?;
            // How closely to look is OpenAI's dial.
            image.ignore(&["detail"]);
            let place = image.at("url");
            image.done()?;
            (url, place)
        }
    };
    if url.starts_with("https://") || url.starts_with("http://") {
        if public_address(&url).is_none() {
            return Err(unsupported(place, "must be an address that anybody may fetch at this target"));
        }
        let Some(mime_type) = image_type_of(&url) else {
            let why =
                "must end in .png, .jpg, .jpeg, .webp, .heic or .heif at this target, which asks for the image's type";
            return Err(unsupported(place, why));
        };
        return Ok(Part { file_data: Some(FileData { mime_type, file_uri: url }), ..Part::default() });
    }
    const TAKEN: [&str; 5] = ["image/png", "image/jpeg", "image/webp", "image/heic", "image/heif"];
    match data_url(url) {
        Some((media, data)) if TAKEN.contains(&&*media) => Ok(Part::blob(media, data)),
        Some((media, data)) if media == "image/jpg" => Ok(Part::blob("image/jpeg", data)),
        Some(_) => Err(unsupported(place, "must be PNG, JPEG, WebP, HEIC or HEIF at this target")),
        None => Err(unsupported(place, "must be an http(s) URL or a base64 data URL")),
    }
}

/// The type of an image as its address tells it.
fn image_type_of(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next()?.split_once("://")?.1.split_once('/')?.1;
    let (_, ending) = path.rsplit_once('.')?;
    match ending.to_ascii_lowercase().as_str() {
        "png" => Some("image/png"),
        "jpg" | "jpeg" => Some("image/jpeg"),
        "webp" => Some("image/webp"),
        "heic" => Some("image/heic"),
        "heif" => Some("image/heif"),
        _ => None,
    }
}

fn file<'a>(part: &mut Members<'a>) -> Result<Part<'a>, Unsupported> {
    let raw = part.raw("file").ok_or_else(|| unsupported(part.at("file"), "is required"))?;
    let mut file = Members::read(raw, part.at("file"))?;
    if file.raw("file_id").is_some() {
        return Err(unsupported(file.at("file_id"), "belongs to another provider's store"));
    }
    let name = file.text("filename")?;
    let data = file.required_text("file_data")?;
    let place = file.at("file_data");
    file.done()?;
    let pdf_by_name = name.as_deref().is_some_and(|name| name.to_ascii_lowercase().ends_with(".pdf"));
    if pdf_by_name && !data.starts_with("data:") {
        return Ok(Part::blob("application/pdf", data));
    }
    match data_url(data) {
        Some((media, data)) if media == "application/pdf" => Ok(Part::blob(media, data)),
        // Decoded there it would be a text that the guards have not read.
        Some((media, _)) if media.starts_with("text/") => {
            Err(unsupported(place, "holds plain text, which this target takes in a text part only"))
        }
        _ => Err(unsupported(place, "must be a PDF as a base64 data URL")),
    }
}

fn audio<'a>(part: &mut Members<'a>) -> Result<Part<'a>, Unsupported> {
    let raw = part.raw("input_audio").ok_or_else(|| unsupported(part.at("input_audio"), "is required"))?;
    let mut audio = Members::read(raw, part.at("input_audio"))?;
    let format = audio.required_text("format")?;
    let mime_type = match format.as_ref() {
        "wav" => "audio/wav",
        "mp3" => "audio/mp3",
        "flac" => "audio/flac",
        "aac" => "audio/aac",
        "ogg" => "audio/ogg",
        "aiff" => "audio/aiff",
        _ => return Err(unsupported(audio.at("format"), "must be wav, mp3, flac, aac, ogg or aiff at this target")),
    };
    let data = audio.required_text("data")?;
    audio.done()?;
    Ok(Part::blob(mime_type, data))
}

/// Media type and base64 text of a `data:` URL; parameters such as a charset are passed over.
fn data_url(url: Cow<'_, str>) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    fn cut(url: &str) -> Option<(&str, &str)> {
        let (head, data) = url.strip_prefix("data:")?.split_once(',')?;
        let head = head.strip_suffix(";base64")?;
        Some((head.split(';').next().unwrap_or(head), data))
    }
    match url {
        Cow::Borrowed(url) => cut(url).map(|(media, data)| (media.into(), data.into())),
        Cow::Owned(url) => cut(&url).map(|(media, data)| (media.to_owned().into(), data.to_owned().into())),
    }
}
