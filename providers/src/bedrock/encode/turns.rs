//! A conversation of the hub's messages as Converse's turns: user and assistant in turn, the user first, results of tools first in
//! theirs.
//!
//! Thinking of earlier answers goes to Claude alone and only as signed blocks (`thinking_blocks`, which our own answers carry):
//! it takes none that it cannot verify, and the other models want none back. `reasoning_content` alone has no signature.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::content::{self, Block, Parts, Reasoning};
use super::family::Family;
use crate::dialect::Unsupported;
use crate::members::{Members, elements, unsupported};
use crate::translate::ECHOES;

/// The longest id of a call.
const LONGEST_ID: usize = 64;

#[derive(Serialize)]
pub(super) struct Turn<'a> {
    role: &'static str,
    content: Vec<Block<'a>>,
}

/// The turns so far.
#[derive(Default)]
pub(super) struct Conversation<'a> {
    pub system: Vec<Block<'a>>,
    pub turns: Vec<Turn<'a>>,
    /// Tools were called, or answered.
    pub uses_tools: bool,
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

    /// Results go before what the user said in the same turn; a mark stays behind its own.
    fn answer_tool(&mut self, result: Block<'a>, mark: Option<Block<'a>>) {
        self.uses_tools = true;
        let turn = self.turn("user");
        let last = turn.iter().rposition(|block| matches!(block, Block::ToolResult { .. }));
        let mut after = last.map_or(0, |at| at + 1);
        if last.is_some() && matches!(turn.get(after), Some(Block::CachePoint(_))) {
            after += 1;
        }
        turn.splice(after..after, [Some(result), mark].into_iter().flatten());
    }
}

pub(super) fn conversation<'a>(
    messages: Option<&'a RawValue>,
    family: Family,
) -> Result<Conversation<'a>, Unsupported> {
    let messages = messages.ok_or_else(|| unsupported("messages", "is required"))?;
    let mut conversation = Conversation::default();
    let mut parts = Parts::new(family);
    for (place, raw) in elements(messages, "messages")? {
        let mut message = Members::read(raw, place)?;
        let role = message.required_text("role")?;
        let mark = parts.mark(&mut message)?;
        let marked = |mut blocks: Vec<Block<'a>>, mark: Option<Block<'a>>| {
            let mark = mark.filter(|_| !blocks.is_empty());
            blocks.extend(mark);
            blocks
        };
        match role.as_ref() {
            "system" | "developer" => {
                let texts = parts.read(message.raw("content"), &message.at("content"))?;
                if texts.iter().any(|block| !matches!(block, Block::Text(_) | Block::CachePoint(_))) {
                    return Err(unsupported(message.at("content"), "can only be text in this role"));
                }
                conversation.system.extend(marked(texts, mark));
            }
            "user" => {
                let blocks = parts.read(message.raw("content"), &message.at("content"))?;
                conversation.say("user", marked(blocks, mark));
            }
            "assistant" => {
                let blocks = assistant(&mut message, &mut parts, family)?;
                conversation.uses_tools |= blocks.iter().any(|block| matches!(block, Block::ToolUse { .. }));
                conversation.say("assistant", marked(blocks, mark));
            }
            "tool" => {
                let tool_use_id = tool_id(message.required_text("tool_call_id")?);
                let content = parts.read(message.raw("content"), &message.at("content"))?;
                message.ignore(&["name"]);
                // A mark within a result would be no content of it.
                let (mut marks, content): (Vec<_>, Vec<_>) =
                    content.into_iter().partition(|it| matches!(it, Block::CachePoint(_)));
                let mark = mark.or_else(|| marks.pop());
                conversation.answer_tool(Block::ToolResult { tool_use_id, content }, mark);
            }
            _ => return Err(unsupported(message.at("role"), "is unknown here")),
        }
        message.done()?;
    }
    check(&conversation)?;
    Ok(conversation)
}

/// What Converse wants of a conversation as a whole.
fn check(conversation: &Conversation<'_>) -> Result<(), Unsupported> {
    if conversation.turns.first().is_none_or(|turn| turn.role != "user") {
        return Err(unsupported("messages", "must begin with a user message with content at this target"));
    }
    let bare = |turn: &Turn<'_>| {
        let has = |what: fn(&Block<'_>) -> bool| turn.content.iter().any(what);
        has(|it| matches!(it, Block::Document { .. })) && !has(|it| matches!(it, Block::Text(_)))
    };
    match conversation.turns.iter().any(bare) {
        true => Err(unsupported("messages", "must hold a text beside a document at this target")),
        false => Ok(()),
    }
}

/// An earlier answer.
fn assistant<'a>(message: &mut Members<'a>, parts: &mut Parts, family: Family) -> Result<Vec<Block<'a>>, Unsupported> {
    let mut blocks = Vec::new();
    let reasoning = message.text("reasoning_content")?.or(message.text("reasoning")?).unwrap_or_default();
    if let Some(thinking) = message.raw("thinking_blocks").filter(|_| family == Family::Claude) {
        for (place, raw) in elements(thinking, &message.at("thinking_blocks"))? {
            blocks.extend(thinking_block(raw, place, &reasoning)?);
        }
    }
    message.ignore(&ECHOES);
    blocks.extend(parts.read(message.raw("content"), &message.at("content"))?);
    if let Some(refusal) = message.text("refusal")?.filter(|refusal| !refusal.is_empty()) {
        blocks.push(Block::Text(refusal));
    }
    if let Some(calls) = message.raw("tool_calls") {
        for (place, raw) in elements(calls, &message.at("tool_calls"))? {
            blocks.push(tool_call(raw, place)?);
        }
    }
    Ok(blocks)
}

/// The guards have read `reasoning_content`, not this block; so it may say nothing that is not said there, and what is opaque must
/// look it.
fn thinking_block<'a>(raw: &'a RawValue, place: String, reasoning: &str) -> Result<Option<Block<'a>>, Unsupported> {
    let mut block = Members::read(raw, place)?;
    let opaque = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=_-".contains(&b));
    let told = match block.required_text("type")?.as_ref() {
        "thinking" => {
            let text = block.required_text("thinking")?;
            if !reasoning.contains(text.as_ref()) {
                return Err(unsupported(block.at("thinking"), "must be the same as in reasoning_content"));
            }
            let signature = block.required_text("signature")?;
            if !opaque(&signature) {
                return Err(unsupported(block.at("signature"), "is no signature"));
            }
            (!signature.is_empty()).then_some(Reasoning::ReasoningText { text, signature })
        }
        "redacted_thinking" => {
            let data = block.required_text("data")?;
            if !opaque(&data) {
                return Err(unsupported(block.at("data"), "is no redacted thinking"));
            }
            Some(Reasoning::RedactedContent(data))
        }
        _ => return Err(unsupported(block.at("type"), "is no block of thinking")),
    };
    block.ignore(&["index"]);
    block.done()?;
    Ok(told.map(Block::ReasoningContent))
}

fn tool_call<'a>(raw: &'a RawValue, place: String) -> Result<Block<'a>, Unsupported> {
    let mut call = Members::read(raw, place)?;
    call.only("type", &["\"function\""], "can only be a function here")?;
    // Another provider's signature of the call: this one could not read it.
    call.ignore(&["index", "extra_content"]);
    let tool_use_id = tool_id(call.required_text("id")?);
    let function = call.raw("function").ok_or_else(|| unsupported(call.at("function"), "is required"))?;
    let mut function = Members::read(function, call.at("function"))?;
    let name = function.required_text("name")?;
    let place = function.at("arguments");
    let arguments = function.text("arguments")?.unwrap_or_default();
    function.done()?;
    call.done()?;
    let input = match arguments.trim() {
        // Models write nothing where a function takes nothing.
        "" => content::raw("{}"),
        text if text.starts_with('{') => RawValue::from_string(text.to_owned())
            .map_err(|_| unsupported(place, "is not valid JSON, which this target needs"))?,
        _ => return Err(unsupported(place, "is not a JSON object, which this target needs")),
    };
    Ok(Block::ToolUse { tool_use_id, name, input: Cow::Owned(input) })
}

/// Converse takes ids of letters, digits and `_.:-`, up to 64. Others occur in conversations begun elsewhere; they are replaced by
/// their hash, in the call and in its result alike, so that the two still meet.
fn tool_id(id: Cow<'_, str>) -> Cow<'_, str> {
    let fits = |b: u8| b.is_ascii_alphanumeric() || b"_.:-".contains(&b);
    if (1..=LONGEST_ID).contains(&id.len()) && id.bytes().all(fits) {
        return id;
    }
    let hash = Sha256::digest(id.as_bytes());
    Cow::Owned(hash[..12].iter().fold("call_".to_owned(), |told, byte| format!("{told}{byte:02x}")))
}
