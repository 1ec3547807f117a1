//! A conversation of OpenAI's messages as Anthropic's turns.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;

use super::shorten;
use crate::anthropic::content::{self, Block};
use crate::dialect::Unsupported;
use crate::members::{Members, elements, unsupported};
use crate::responses::outbound::unseal;
use crate::translate::ECHOES;

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum System<'a> {
    Text(Cow<'a, str>),
    Blocks(Vec<Block<'a>>),
}

#[derive(Serialize)]
pub(super) struct Turn<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}

/// The turns so far. Anthropic wants user and assistant in turn, and tool results first in theirs.
#[derive(Default)]
pub(super) struct Conversation<'a> {
    system: Vec<Block<'a>>,
    pub turns: Vec<Turn<'a>>,
}

impl<'a> Conversation<'a> {
    fn turn(&mut self, role: &'static str) -> &mut Vec<Block<'a>> {
        if self.turns.last().is_none_or(|turn| turn.role != role) {
            self.turns.push(Turn { role, content: Vec::new() });
        }
        &mut self.turns.last_mut().expect("a turn was just made").content
    }

    fn say(&mut self, role: &'static str, blocks: Vec<Block<'a>>) {
        if !blocks.is_empty() {
            self.turn(role).extend(blocks);
        }
    }

    fn answer_tool(&mut self, result: Block<'a>) {
        let turn = self.turn("user");
        let after = turn.iter().take_while(|block| matches!(block, Block::ToolResult { .. })).count();
        turn.insert(after, result);
    }

    pub(super) fn system(&self) -> Option<System<'a>> {
        match self.system.as_slice() {
            [] => None,
            [Block::Text { text, cache_control: None }] => Some(System::Text(text.clone())),
            blocks => Some(System::Blocks(blocks.to_vec())),
        }
    }
}

pub(super) fn conversation<'a>(messages: Option<&'a RawValue>) -> Result<Conversation<'a>, Unsupported> {
    let messages = messages.ok_or_else(|| unsupported("messages", "is required"))?;
    let mut conversation = Conversation::default();
    for (place, raw) in elements(messages, "messages")? {
        let mut message = Members::read(raw, place)?;
        let role = message.required_text("role")?;
        match role.as_ref() {
            "system" | "developer" => {
                let texts = content::from_openai(message.raw("content"), &message.at("content"))?;
                if texts.iter().any(|block| !matches!(block, Block::Text { .. })) {
                    return Err(unsupported(message.at("content"), "can only be text in this role"));
                }
                conversation.system.extend(texts);
            }
            "user" => {
                let blocks = content::from_openai(message.raw("content"), &message.at("content"))?;
                conversation.say("user", blocks);
            }
            "assistant" => {
                let blocks = assistant(&mut message)?;
                conversation.say("assistant", blocks);
            }
            "tool" => {
                let tool_use_id = tool_id(message.required_text("tool_call_id")?);
                let content = content::from_openai(message.raw("content"), &message.at("content"))?;
                message.ignore(&["name"]);
                conversation.answer_tool(Block::ToolResult { tool_use_id, content, cache_control: None });
            }
            other => return Err(unsupported(message.at("role"), format!("{:?} is unknown here", shorten(other)))),
        }
        message.done()?;
    }
    if conversation.turns.is_empty() {
        return Err(unsupported("messages", "needs a user message with content at this target"));
    }
    Ok(conversation)
}

/// An earlier answer. Its thinking goes first and only as signed blocks (`thinking_blocks`, which our own answers
/// carry); `reasoning_content` alone has no signature, and Anthropic takes no thinking that it cannot verify.
fn assistant<'a>(message: &mut Members<'a>) -> Result<Vec<Block<'a>>, Unsupported> {
    let mut blocks = Vec::new();
    let reasoning = message.text("reasoning_content")?.or(message.text("reasoning")?).unwrap_or_default();
    if let Some(thinking) = message.raw("thinking_blocks") {
        for (place, raw) in elements(thinking, &message.at("thinking_blocks"))? {
            blocks.extend(thinking_block(raw, place, &reasoning)?);
        }
    }
    message.ignore(&ECHOES);
    blocks.extend(content::from_openai(message.raw("content"), &message.at("content"))?);
    if let Some(refusal) = message.text("refusal")?.filter(|refusal| !refusal.is_empty()) {
        blocks.push(Block::text(refusal));
    }
    if let Some(calls) = message.raw("tool_calls") {
        for (place, raw) in elements(calls, &message.at("tool_calls"))? {
            blocks.push(tool_call(raw, place)?);
        }
    }
    Ok(blocks)
}

/// The guards have read `reasoning_content`, not this block; so it may say nothing that is not said there, and what is
/// opaque must look it. None for thinking that another API sealed, which Anthropic could not read.
fn thinking_block<'a>(raw: &'a RawValue, place: String, reasoning: &str) -> Result<Option<Block<'a>>, Unsupported> {
    let mut block = Members::read(raw, place)?;
    let opaque = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=_-".contains(&b));
    let told = match block.required_text("type")?.as_ref() {
        "thinking" => {
            let thinking = block.required_text("thinking")?;
            if !reasoning.contains(thinking.as_ref()) {
                return Err(unsupported(block.at("thinking"), "must be the same as in reasoning_content"));
            }
            let signature = block.required_text("signature")?;
            if unseal(&signature).is_some() {
                return Ok(None);
            }
            if !opaque(&signature) {
                return Err(unsupported(block.at("signature"), "is no signature"));
            }
            Block::Thinking { thinking, signature }
        }
        "redacted_thinking" => {
            let data = block.required_text("data")?;
            if unseal(&data).is_some() {
                return Ok(None);
            }
            if !opaque(&data) {
                return Err(unsupported(block.at("data"), "is no redacted thinking"));
            }
            Block::RedactedThinking { data }
        }
        _ => return Err(unsupported(block.at("type"), "is no block of thinking")),
    };
    block.ignore(&["index"]);
    block.done()?;
    Ok(Some(told))
}

fn tool_call<'a>(raw: &'a RawValue, place: String) -> Result<Block<'a>, Unsupported> {
    let mut call = Members::read(raw, place)?;
    call.only("type", &["\"function\""], "can only be a function here")?;
    // Another provider's signature of the call: this one could not read it.
    call.ignore(&["index", "extra_content"]);
    let id = tool_id(call.required_text("id")?);
    let function = call.raw("function").ok_or_else(|| unsupported(call.at("function"), "is required"))?;
    let mut function = Members::read(function, call.at("function"))?;
    let name = function.required_text("name")?;
    let place = function.at("arguments");
    let arguments = function.text("arguments")?.unwrap_or_default();
    function.done()?;
    call.done()?;
    let input = match arguments.trim() {
        // Models write nothing where a function takes nothing.
        "" => content::empty_object(),
        text if text.starts_with('{') => RawValue::from_string(text.to_owned())
            .map_err(|_| unsupported(place, "is not valid JSON, which this target needs"))?,
        _ => return Err(unsupported(place, "is not a JSON object, which this target needs")),
    };
    Ok(Block::ToolUse { id, name, input })
}

/// Anthropic takes ids of letters, digits, `_` and `-`. Others occur in conversations begun elsewhere; they are
/// spelled out, in the call and in its result alike, so that the two still meet.
fn tool_id(id: Cow<'_, str>) -> Cow<'_, str> {
    let fits = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if !id.is_empty() && id.chars().all(fits) {
        return id;
    }
    let spelled: String =
        id.chars().map(|c| if fits(c) { c.to_string() } else { format!("_{:x}_", u32::from(c)) }).collect();
    Cow::Owned(if spelled.is_empty() { "_".to_owned() } else { spelled })
}
