//! Gemini's system instruction and contents as OpenAI's messages.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::super::calls::Calls;
use super::super::signature::{Kept, standard};
use super::{open, some_of};
use crate::dialect::Unsupported;
use crate::members::{Members, as_text, unsupported};

#[derive(Serialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub(super) enum Message<'a> {
    System { content: Content<'a> },
    User { content: Content<'a> },
    Assistant(Answer<'a>),
    Tool { tool_call_id: String, content: Content<'a> },
}

/// An earlier turn of the model.
#[derive(Default, Serialize)]
pub(super) struct Answer<'a> {
    content: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    reasoning_content: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    thinking_blocks: Vec<Thought>,
    /// Thoughts whose signature has not come yet; without one nobody takes them.
    #[serde(skip)]
    unsigned: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tool_calls: Vec<ToolCall<'a>>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Thought {
    Thinking { thinking: String, signature: String },
    RedactedThinking { data: String },
}

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
    InputAudio { input_audio: Audio },
    File { file: File<'a> },
}

#[derive(Serialize)]
pub(super) struct ImageUrl<'a> {
    url: Cow<'a, str>,
}

#[derive(Serialize)]
pub(super) struct Audio {
    data: String,
    format: &'static str,
}

#[derive(Serialize)]
pub(super) struct File<'a> {
    filename: Cow<'a, str>,
    file_data: String,
}

#[derive(Serialize)]
pub(super) struct ToolCall<'a> {
    id: String,
    #[serde(rename = "type")]
    kind: &'static str,
    function: Call<'a>,
}

#[derive(Serialize)]
struct Call<'a> {
    name: Cow<'a, str>,
    arguments: &'a str,
}

impl<'a> Content<'a> {
    /// A lone text stays a text: the plainest form, which every server takes.
    fn of(mut parts: Vec<Part<'a>>) -> Content<'a> {
        match parts.as_mut_slice() {
            [] => Content::Text(Cow::Borrowed("")),
            [Part::Text { text }] => Content::Text(std::mem::take(text)),
            _ => Content::Parts(parts),
        }
    }
}

impl Answer<'_> {
    /// A thought, or a piece of one: its signature ends it.
    fn think(&mut self, text: &str, kept: Option<Kept>) {
        self.unsigned.push_str(text);
        match kept {
            Some(Kept::Signature(signature)) => {
                let thinking = std::mem::take(&mut self.unsigned);
                self.reasoning_content.push_str(&thinking);
                self.thinking_blocks.push(Thought::Thinking { thinking, signature });
            }
            Some(Kept::Sealed(data)) => self.thinking_blocks.push(Thought::RedactedThinking { data }),
            None => {}
        }
    }
}

pub(super) fn conversation<'a>(
    system: Option<&'a RawValue>,
    contents: Option<&'a RawValue>,
) -> Result<Vec<Message<'a>>, Unsupported> {
    let mut messages = Vec::new();
    if let Some(raw) = system {
        let mut system = open(raw, "systemInstruction")?;
        system.ignore(&["role"]);
        let parts = texts_only(&mut system)?;
        system.done()?;
        if !parts.is_empty() {
            messages.push(Message::System { content: Content::of(parts) });
        }
    }
    let contents = contents.ok_or_else(|| unsupported("contents", "is required"))?;
    let mut calls = Calls::default();
    for (place, raw) in some_of(Some(contents), "contents")? {
        let mut turn = open(raw, place)?;
        match turn.text("role")?.as_deref() {
            None | Some("" | "user" | "function" | "tool") => user_turn(&mut turn, &mut calls, &mut messages)?,
            Some("model") => model_turn(&mut turn, &mut calls, &mut messages)?,
            Some(_) => return Err(unsupported(turn.at("role"), "must be user or model")),
        }
        turn.done()?;
    }
    Ok(messages)
}

/// The parts of a turn that are not empty, opened.
fn parts<'a>(turn: &mut Members<'a>) -> Result<Vec<Members<'a>>, Unsupported> {
    let place = turn.at("parts");
    let parts = some_of(turn.raw("parts"), &place)?;
    parts.into_iter().map(|(place, raw)| open(raw, place)).collect()
}

fn texts_only<'a>(turn: &mut Members<'a>) -> Result<Vec<Part<'a>>, Unsupported> {
    let mut texts = Vec::new();
    for mut part in parts(turn)? {
        part.ignore(&["partMetadata", "thoughtSignature"]);
        texts.extend(part.text("text")?.map(|text| Part::Text { text }));
        part.done()?;
    }
    Ok(texts)
}

/// Answers of functions become messages of their own and go first, as OpenAI wants them right after the calls.
fn user_turn<'a>(
    turn: &mut Members<'a>,
    calls: &mut Calls,
    messages: &mut Vec<Message<'a>>,
) -> Result<(), Unsupported> {
    let (mut said, mut answered) = (Vec::new(), false);
    for mut part in parts(turn)? {
        part.ignore(&["partMetadata", "mediaResolution", "thoughtSignature"]);
        part.only("thought", &["false"], "can only be the model's")?;
        if let Some(raw) = part.raw("functionResponse") {
            messages.push(function_response(raw, part.at("functionResponse"), calls)?);
            answered = true;
        } else if let Some(part) = content(&mut part)? {
            said.push(part);
        }
        part.done()?;
    }
    if !said.is_empty() || !answered {
        messages.push(Message::User { content: Content::of(said) });
    }
    Ok(())
}

/// A text, an image, a sound or a file; none if the part has nothing of the kind.
fn content<'a>(part: &mut Members<'a>) -> Result<Option<Part<'a>>, Unsupported> {
    if let Some(text) = part.text("text")? {
        return Ok(Some(Part::Text { text }));
    }
    if let Some(raw) = part.raw("inlineData") {
        return inline_data(raw, part.at("inlineData")).map(Some);
    }
    let Some(raw) = part.raw("fileData") else { return Ok(None) };
    let mut file = open(raw, part.at("fileData"))?;
    let (kind, url) = (file.text("mimeType")?.unwrap_or_default(), file.required_text("fileUri")?);
    file.ignore(&["displayName"]);
    let is_public = url.starts_with("https://") || url.starts_with("http://");
    if !is_public || !kind.to_ascii_lowercase().starts_with("image/") {
        return Err(unsupported(file.at("fileUri"), "can only be the public address of an image at this target"));
    }
    file.done()?;
    Ok(Some(Part::ImageUrl { image_url: ImageUrl { url } }))
}

fn inline_data<'a>(raw: &'a RawValue, place: String) -> Result<Part<'a>, Unsupported> {
    let mut blob = open(raw, place)?;
    let kind = blob.required_text("mimeType")?.to_ascii_lowercase();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let (data, name) = (blob.required_text("data")?, blob.text("displayName")?);
    let place = blob.at("mimeType");
    blob.done()?;
    let format = match kind {
        _ if kind.starts_with("image/") => {
            let url = Cow::Owned(format!("data:{kind};base64,{}", standard(&data)));
            return Ok(Part::ImageUrl { image_url: ImageUrl { url } });
        }
        "application/pdf" => {
            let filename = name.unwrap_or(Cow::Borrowed("document.pdf"));
            let file_data = format!("data:application/pdf;base64,{}", standard(&data));
            return Ok(Part::File { file: File { filename, file_data } });
        }
        "audio/wav" | "audio/x-wav" | "audio/wave" | "audio/vnd.wave" => "wav",
        "audio/mp3" | "audio/mpeg" => "mp3",
        // Decoded here it would be a text that the guards have not read.
        _ if kind.starts_with("text/") => {
            return Err(unsupported(place, "is plain text, which this target takes in a text part only"));
        }
        _ => return Err(unsupported(place, "is no kind of content that this target takes")),
    };
    Ok(Part::InputAudio { input_audio: Audio { data: standard(&data), format } })
}

fn function_response<'a>(raw: &'a RawValue, place: String, calls: &mut Calls) -> Result<Message<'a>, Unsupported> {
    let mut answer = open(raw, place.clone())?;
    let (name, id) = (answer.required_text("name")?, answer.text("id")?);
    let tool_call_id = calls.answer(&name, id.as_deref(), &place)?;
    answer.only("willContinue", &["false"], "cannot be told to this target")?;
    answer.only("scheduling", &["\"SCHEDULING_UNSPECIFIED\"", "\"WHEN_IDLE\""], "cannot be told to this target")?;
    let mut said = vec![Part::Text { text: answer.raw("response").map_or(Cow::Borrowed(""), told) }];
    for mut part in parts(&mut answer)? {
        part.ignore(&["mediaResolution"]);
        let at = part.at("inlineData");
        match content(&mut part)? {
            Some(image @ Part::ImageUrl { .. }) => said.push(image),
            _ => return Err(unsupported(at, "can only be an image in the answer of a function")),
        }
        part.done()?;
    }
    answer.done()?;
    Ok(Message::Tool { tool_call_id, content: Content::of(said) })
}

/// What a function gave back, as a text. Google's clients wrap a plain text into an object of one member.
fn told(response: &RawValue) -> Cow<'_, str> {
    let mut members = match Members::read(response, "") {
        Ok(members) => members,
        Err(_) => return Cow::Borrowed(response.get()),
    };
    let inside = members.raw("output").or_else(|| members.raw("result"));
    match inside.and_then(as_text) {
        Some(text) if members.done().is_ok() => text,
        _ => Cow::Borrowed(response.get()),
    }
}

/// A turn of the model; one that was told in pieces, as streams are, becomes one message again.
fn model_turn<'a>(
    turn: &mut Members<'a>,
    calls: &mut Calls,
    messages: &mut Vec<Message<'a>>,
) -> Result<(), Unsupported> {
    if !matches!(messages.last(), Some(Message::Assistant(_))) {
        messages.push(Message::Assistant(Answer::default()));
    }
    let Some(Message::Assistant(answer)) = messages.last_mut() else { return Ok(()) };
    for mut part in parts(turn)? {
        part.ignore(&["partMetadata"]);
        let kept = part.text("thoughtSignature")?.and_then(|signature| Kept::read(&signature));
        if part.take("thought")?.unwrap_or(false) {
            answer.think(part.text("text")?.as_deref().unwrap_or_default(), kept);
        } else if let Some(text) = part.text("text")? {
            answer.content.get_or_insert_default().push_str(&text);
        } else if let Some(raw) = part.raw("functionCall") {
            answer.tool_calls.push(function_call(raw, part.at("functionCall"), calls)?);
        }
        part.done()?;
    }
    if answer.content.is_none() && answer.tool_calls.is_empty() {
        answer.content = Some(String::new());
    }
    // A text that only closed a stream says nothing beside calls.
    if answer.content.as_deref() == Some("") && !answer.tool_calls.is_empty() {
        answer.content = None;
    }
    Ok(())
}

fn function_call<'a>(raw: &'a RawValue, place: String, calls: &mut Calls) -> Result<ToolCall<'a>, Unsupported> {
    let mut call = open(raw, place)?;
    let (name, id) = (call.required_text("name")?, call.text("id")?);
    let arguments = call.raw("args").map_or("{}", RawValue::get);
    call.only("partialArgs", &["[]"], "must be whole for this target")?;
    call.only("willContinue", &["false"], "must be whole for this target")?;
    call.done()?;
    let id = calls.call(&name, id.as_deref());
    Ok(ToolCall { id, kind: "function", function: Call { name, arguments } })
}
