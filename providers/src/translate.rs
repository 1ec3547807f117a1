//! The hub: every conversation, in whatever shape it came, as a body of OpenAI's chat completions. A dialect that the caller does
//! not speak writes its own form from that; so each shape is translated to the hub once, and from it once.

use std::borrow::Cow;

use serde_json::value::RawValue;

use crate::dialect::{Aim, Unsupported};
use crate::members::{Members, as_text, elements, rewritten, unsupported};
use crate::request::{BadRequest, ModelRequest, Shape};

/// The conversation as a chat completion. What has no counterpart there is refused by name.
pub(crate) fn as_chat(request: &ModelRequest) -> Result<Cow<'_, ModelRequest>, Unsupported> {
    let body = match request.shape() {
        Shape::OpenAi => return Ok(Cow::Borrowed(request)),
        Shape::Anthropic => crate::anthropic::to_openai(request)?,
        Shape::Responses => crate::responses::to_openai(request)?,
        Shape::Gemini => crate::gemini::to_openai(request)?,
        other => return Err(unserved(other)),
    };
    let read = ModelRequest::parse(Shape::OpenAi, body);
    read.map(Cow::Owned).map_err(|BadRequest { param, message, .. }| Unsupported { param, message })
}

/// What clients send back of an earlier answer though it only describes that answer. A target loses nothing without it.
pub(crate) const ECHOES: [&str; 6] =
    ["provider_specific_fields", "annotations", "reasoning_details", "images", "finish_reason", "index"];

/// The hub's conversation as a server of OpenAI's own shape takes it: earlier thinking, which is signed for others, and marks of
/// what to cache are left out; a budget for thinking becomes the nearest effort; what a tool gave back may only be text.
pub(crate) fn plain(chat: &ModelRequest) -> Result<ModelRequest, Unsupported> {
    let unreadable = |place: &str| unsupported(place, "cannot be read");
    let raw: &RawValue = serde_json::from_slice(chat.body()).map_err(|_| unreadable(""))?;
    let mut members = Members::read(raw, "")?;
    members.only("top_k", &[], "cannot be set at this target")?;
    let mut changed = Vec::new();
    let mut messages = Vec::new();
    if let Some(raw) = members.raw("messages") {
        for (place, raw) in elements(raw, "messages")? {
            messages.push(plain_message(raw, &place)?);
        }
    }
    changed.push(("messages", format!("[{}]", messages.join(","))));
    if let Some(raw) = members.raw("tools") {
        let tools = elements(raw, "tools")?.into_iter();
        let tools: Option<Vec<_>> = tools.map(|(_, tool)| rewritten(tool, &["cache_control"], &[])).collect();
        changed.push(("tools", format!("[{}]", tools.ok_or_else(|| unreadable("tools"))?.join(","))));
    }
    let effort = match (members.raw("thinking"), members.raw("reasoning_effort")) {
        (Some(thinking), None) => effort(thinking)?,
        _ => None,
    };
    let mut body = rewritten(raw, &["thinking"], &changed).ok_or_else(|| unreadable(""))?;
    if let Some(effort) = effort {
        body.truncate(body.len() - 1);
        body.push_str(&format!(",\"reasoning_effort\":\"{effort}\"}}"));
    }
    let read = ModelRequest::parse(Shape::OpenAi, body.into());
    read.map_err(|BadRequest { param, message, .. }| Unsupported { param, message })
}

fn plain_message(raw: &RawValue, place: &str) -> Result<String, Unsupported> {
    const SIGNED: [&str; 4] = ["thinking_blocks", "reasoning_content", "reasoning", "cache_control"];
    let mut message = Members::read(raw, place)?;
    let mut changed = Vec::new();
    let is_result = message.text("role")?.as_deref() == Some("tool");
    if let Some(content) = message.raw("content").filter(|content| as_text(content).is_none()) {
        let mut parts = Vec::new();
        for (place, raw) in elements(content, &message.at("content"))? {
            if is_result && Members::read(raw, place.as_str())?.text("type")?.as_deref() != Some("text") {
                return Err(unsupported(place, "is no text, and a tool's result can be nothing else at this target"));
            }
            parts.extend(rewritten(raw, &["cache_control"], &[]));
        }
        // A lone text stays a text: the plainest form, which every server takes.
        let lone = match elements(content, place)?.as_slice() {
            [(place, part)] => Members::read(part, place.as_str())?.raw("text"),
            _ => None,
        };
        changed.push(("content", lone.map_or_else(|| format!("[{}]", parts.join(",")), |text| text.get().to_owned())));
    }
    if let Some(calls) = message.raw("tool_calls") {
        let calls = elements(calls, &message.at("tool_calls"))?.into_iter();
        let calls: Vec<_> = calls.filter_map(|(_, call)| rewritten(call, &["extra_content"], &[])).collect();
        changed.push(("tool_calls", format!("[{}]", calls.join(","))));
    }
    rewritten(raw, &SIGNED, &changed).ok_or_else(|| unsupported(place, "cannot be read"))
}

/// A budget in tokens as an effort: below 4,096 little, from 16,384 much. What leaves the choice to the model says nothing.
pub(crate) fn effort(thinking: &RawValue) -> Result<Option<&'static str>, Unsupported> {
    let mut thinking = Members::read(thinking, "thinking")?;
    let budget = thinking.take::<u64>("budget_tokens")?;
    Ok(match (thinking.required_text("type")?.as_ref(), budget) {
        ("enabled", Some(..4_096)) => Some("low"),
        ("enabled", Some(4_096..16_384)) => Some("medium"),
        ("enabled", Some(16_384..)) => Some("high"),
        _ => None,
    })
}

/// The target does not do this at all.
pub(crate) fn unserved(shape: Shape) -> Unsupported {
    Unsupported::new(format!("it does not serve {}", shape.task().as_str()))
}

/// What is kept at the provider, unless the operator says that its account has one tenant.
pub(crate) fn refuse_what_is_stored(request: &ModelRequest, aim: &Aim<'_>) -> Result<(), Unsupported> {
    let allows = |name: &str| aim.settings.get(name).is_some_and(|it| it == "allow");
    let view = request.view();
    match (&view.stored, &view.stored_file) {
        (Some(place), _) if !allows("stored_responses") => Err(stored(place)),
        (_, Some(place)) if !allows("stored_files") => Err(stored(place)),
        _ => Ok(()),
    }
}

/// The provider's account is one for all tenants.
pub(crate) fn stored(place: &str) -> Unsupported {
    let message = format!(
        "{place} names something stored at the provider, and the gateway cannot know whose it is: send the content itself"
    );
    Unsupported::at(place, message)
}
