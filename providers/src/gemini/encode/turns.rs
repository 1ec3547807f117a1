//! A conversation of OpenAI's messages as Gemini's contents.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Serialize;
use serde_json::value::RawValue;

use super::parts::{self, FunctionCall, FunctionResponse, Output, Part, Texts};
use super::shorten;
use crate::dialect::Unsupported;
use crate::gemini::chunks::MARK;
use crate::members::{Members, elements, unsupported};
use crate::translate::ECHOES;

/// Since its third generation Gemini refuses the calls of an answer whose first one is not signed. For calls that it did not make
/// itself, or whose client lost the signature, Google documents this word in its place.
const UNSIGNED: &str = "skip_thought_signature_validator";

#[derive(Serialize)]
pub(super) struct Content<'a> {
    role: &'static str,
    parts: Vec<Part<'a>>,
    /// It holds what functions gave.
    #[serde(skip)]
    results: bool,
}

/// The contents so far.
pub(super) struct Conversation<'a> {
    pub system: Vec<Part<'a>>,
    pub contents: Vec<Content<'a>>,
    generation: u32,
    /// Which function was called under an id: Gemini asks for its name with the result.
    called: HashMap<Cow<'a, str>, Cow<'a, str>>,
}

pub(super) fn conversation<'a>(
    messages: Option<&'a RawValue>,
    generation: u32,
) -> Result<Conversation<'a>, Unsupported> {
    let messages = messages.ok_or_else(|| unsupported("messages", "is required"))?;
    let (system, contents, called) = (Vec::new(), Vec::new(), HashMap::new());
    let mut conversation = Conversation { system, contents, generation, called };
    for (place, raw) in elements(messages, "messages")? {
        let mut message = Members::read(raw, place)?;
        message.ignore(&["cache_control"]);
        let role = message.required_text("role")?;
        match role.as_ref() {
            "system" | "developer" => {
                let parts = parts::from_openai(message.raw("content"), &message.at("content"))?;
                if parts.iter().any(|part| part.text.is_none()) {
                    return Err(unsupported(message.at("content"), "can only be text in this role"));
                }
                conversation.system.extend(parts);
            }
            "user" => {
                let parts = parts::from_openai(message.raw("content"), &message.at("content"))?;
                conversation.say("user", parts);
            }
            "assistant" => {
                let parts = conversation.assistant(&mut message)?;
                conversation.say("model", parts);
            }
            "tool" => conversation.result(&mut message)?,
            other => return Err(unsupported(message.at("role"), format!("{:?} is unknown here", shorten(other)))),
        }
        message.done()?;
    }
    if conversation.contents.is_empty() {
        return Err(unsupported("messages", "needs a user message with content at this target"));
    }
    Ok(conversation)
}

impl<'a> Conversation<'a> {
    fn say(&mut self, role: &'static str, parts: Vec<Part<'a>>) {
        if !parts.is_empty() {
            self.contents.push(Content { role, parts, results: false });
        }
    }

    /// An earlier answer: signed thoughts, text, pictures, calls.
    fn assistant(&mut self, message: &mut Members<'a>) -> Result<Vec<Part<'a>>, Unsupported> {
        let mut parts = Vec::new();
        let reasoning = message.text("reasoning_content")?.or(message.text("reasoning")?).unwrap_or_default();
        if let Some(thinking) = message.raw("thinking_blocks") {
            for (place, raw) in elements(thinking, &message.at("thinking_blocks"))? {
                parts.extend(thought(raw, place, &reasoning)?);
            }
        }
        let before = parts.len();
        parts.extend(parts::from_openai(message.raw("content"), &message.at("content"))?);
        if let Some(refusal) = message.text("refusal")?.filter(|refusal| !refusal.is_empty()) {
            parts.push(Part::text(refusal));
        }
        if let Some(signature) = signature(message)? {
            match parts.get_mut(before..).and_then(<[_]>::last_mut) {
                Some(last) => last.thought_signature = Some(signature),
                None => parts.push(Part { thought_signature: Some(signature), ..Part::text("") }),
            }
        }
        if let Some(images) = message.raw("images") {
            for (place, raw) in elements(images, &message.at("images"))? {
                let mut image = Members::read(raw, place)?;
                image.only("type", &["\"image_url\""], "can only be an image here")?;
                image.ignore(&["index"]);
                let thought_signature = signature(&mut image)?;
                parts.push(Part { thought_signature, ..parts::image(&mut image)? });
                image.done()?;
            }
        }
        // Pictures were taken above.
        message.ignore(&ECHOES);
        let before = parts.len();
        if let Some(calls) = message.raw("tool_calls") {
            for (place, raw) in elements(calls, &message.at("tool_calls"))? {
                parts.push(self.call(raw, place)?);
            }
        }
        if let Some(first) = parts.get_mut(before).filter(|_| self.generation >= 3) {
            first.thought_signature.get_or_insert(Cow::Borrowed(UNSIGNED));
        }
        Ok(parts)
    }

    fn call(&mut self, raw: &'a RawValue, place: String) -> Result<Part<'a>, Unsupported> {
        let mut call = Members::read(raw, place)?;
        call.only("type", &["\"function\""], "can only be a function here")?;
        call.ignore(&["index"]);
        let id = call.required_text("id")?;
        let thought_signature = signature(&mut call)?;
        let function = call.raw("function").ok_or_else(|| unsupported(call.at("function"), "is required"))?;
        let mut function = Members::read(function, call.at("function"))?;
        let name = function.required_text("name")?;
        let place = function.at("arguments");
        let arguments = function.text("arguments")?.unwrap_or_default();
        function.done()?;
        call.done()?;
        let args = match arguments.trim() {
            // Models write nothing where a function takes nothing.
            "" => RawValue::from_string("{}".to_owned()).expect("written by ourselves as JSON"),
            text if text.starts_with('{') => RawValue::from_string(text.to_owned())
                .map_err(|_| unsupported(place, "is not valid JSON, which this target needs"))?,
            _ => return Err(unsupported(place, "is not a JSON object, which this target needs")),
        };
        self.called.insert(id.clone(), name.clone());
        let function_call = Some(FunctionCall { id, name, args });
        Ok(Part { function_call, thought_signature, ..Part::default() })
    }

    /// What a function gave. Results stand together, right after the calls that they answer.
    fn result(&mut self, message: &mut Members<'a>) -> Result<(), Unsupported> {
        let id = message.required_text("tool_call_id")?;
        let given = message.text("name")?;
        let Some(name) = self.called.get(&id).cloned().or(given) else {
            return Err(unsupported(message.at("tool_call_id"), "answers no call of this conversation"));
        };
        let (mut texts, mut media) = (Vec::new(), Vec::new());
        for part in parts::from_openai(message.raw("content"), &message.at("content"))? {
            match part.text {
                Some(text) => texts.push(text),
                None => media.push(part),
            }
        }
        let output = match texts.len() {
            0 | 1 => Texts::One(texts.pop().unwrap_or_default()),
            _ => Texts::Several(texts),
        };
        // What a function shows goes into its result since the third generation, and beside it before.
        let (inside, beside) = if self.generation >= 3 { (media, Vec::new()) } else { (Vec::new(), media) };
        let response = FunctionResponse { id, name, response: Output { output }, parts: inside };
        let result = Part { function_response: Some(response), ..Part::default() };

        let content = self.results();
        let after = content.parts.iter().take_while(|part| part.function_response.is_some()).count();
        content.parts.insert(after, result);
        content.parts.extend(beside);
        Ok(())
    }

    /// The content for the results of the last calls.
    fn results(&mut self) -> &mut Content<'a> {
        let calls = self.contents.iter().rposition(|it| it.parts.iter().any(|part| part.function_call.is_some()));
        let at = calls.map_or(self.contents.len(), |at| at + 1);
        if !self.contents.get(at).is_some_and(|content| content.results) {
            self.contents.insert(at, Content { role: "user", parts: Vec::new(), results: true });
        }
        &mut self.contents[at]
    }
}

/// A thought that Gemini signed; none if another provider did. The guards have read `reasoning_content`, not this block; so it may
/// say nothing that is not said there.
fn thought<'a>(raw: &'a RawValue, place: String, reasoning: &str) -> Result<Option<Part<'a>>, Unsupported> {
    let mut block = Members::read(raw, place)?;
    let signature = block.text("signature")?.unwrap_or_default();
    let Some(signature) = signature.strip_prefix(MARK).map(str::to_owned) else { return Ok(None) };
    block.only("type", &["\"thinking\""], "is no block of thinking")?;
    let thinking = block.required_text("thinking")?;
    if !reasoning.contains(thinking.as_ref()) {
        return Err(unsupported(block.at("thinking"), "must be the same as in reasoning_content"));
    }
    let signature = opaque(Cow::Owned(signature), block.at("signature"))?;
    block.ignore(&["index"]);
    block.done()?;
    Ok(Some(Part { thought: true, thought_signature: Some(signature), ..Part::text(thinking) }))
}

/// `extra_content.google.thought_signature`, where Google's own OpenAI-compatible surface has it. What other providers may have left
/// in `extra_content` is not for Gemini.
fn signature<'a>(members: &mut Members<'a>) -> Result<Option<Cow<'a, str>>, Unsupported> {
    let Some(extra) = members.raw("extra_content") else { return Ok(None) };
    let mut extra = Members::read(extra, members.at("extra_content"))?;
    let Some(google) = extra.raw("google") else { return Ok(None) };
    let mut google = Members::read(google, extra.at("google"))?;
    let signature = google.text("thought_signature")?.filter(|signature| !signature.is_empty());
    signature.map(|signature| opaque(signature, google.at("thought_signature"))).transpose()
}

/// The guards take a signature for what it looks like, so it must look it.
fn opaque(signature: Cow<'_, str>, place: String) -> Result<Cow<'_, str>, Unsupported> {
    match signature.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=_-".contains(&b)) {
        true => Ok(signature),
        false => Err(unsupported(place, "is no signature")),
    }
}
