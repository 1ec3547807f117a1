//! Converse's answers as they stand on the wire, and its words for how they end. Only what is read has a name here; unknown
//! members and blocks pass by. Each struct of events has the members of all of them, as each event has a name of its own.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::usage::Wire;

/// What any event of a stream may hold.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Event<'a> {
    #[serde(default)]
    pub content_block_index: u64,
    #[serde(borrow)]
    pub start: Option<Start<'a>>,
    #[serde(borrow)]
    pub delta: Option<Piece<'a>>,
    #[serde(borrow)]
    pub stop_reason: Option<Cow<'a, str>>,
    pub usage: Option<Wire>,
}

/// How a block begins that does not begin as a text.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Start<'a> {
    #[serde(borrow)]
    pub tool_use: Option<ToolUse<'a>>,
}

/// What an event adds to a block.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Piece<'a> {
    #[serde(borrow)]
    pub text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub tool_use: Option<ToolPiece<'a>>,
    #[serde(borrow)]
    pub reasoning_content: Option<Thought<'a>>,
}

/// A piece of the arguments.
#[derive(Deserialize)]
pub(super) struct ToolPiece<'a> {
    #[serde(borrow, default)]
    pub input: Cow<'a, str>,
}

/// Thinking: in a stream a piece of its text, its signature or its cipher, in a whole answer all of it.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Thought<'a> {
    #[serde(borrow)]
    pub text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub signature: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub redacted_content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub reasoning_text: Option<Box<Thought<'a>>>,
}

/// A call of a tool; in a stream its arguments come later.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ToolUse<'a> {
    #[serde(borrow, default)]
    pub tool_use_id: Cow<'a, str>,
    #[serde(borrow, default)]
    pub name: Cow<'a, str>,
    #[serde(borrow)]
    pub input: Option<&'a RawValue>,
}

/// A whole answer.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Answer<'a> {
    #[serde(borrow)]
    pub output: Output<'a>,
    #[serde(borrow)]
    pub stop_reason: Option<Cow<'a, str>>,
    pub usage: Option<Wire>,
}

#[derive(Deserialize)]
pub(super) struct Output<'a> {
    #[serde(borrow)]
    pub message: Message<'a>,
}

#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow, default)]
    pub content: Vec<Block<'a>>,
}

/// A block of a whole answer; one of its members is there.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Block<'a> {
    #[serde(borrow)]
    pub text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub tool_use: Option<ToolUse<'a>>,
    #[serde(borrow)]
    pub reasoning_content: Option<Thought<'a>>,
    #[serde(borrow)]
    pub citations_content: Option<Cited<'a>>,
}

/// Text with its sources; the text is the answer.
#[derive(Deserialize)]
pub(super) struct Cited<'a> {
    #[serde(borrow, default)]
    pub content: Vec<CitedText<'a>>,
}

#[derive(Deserialize)]
pub(super) struct CitedText<'a> {
    #[serde(borrow)]
    pub text: Option<Cow<'a, str>>,
}

/// OpenAI's word for how an answer ended. What the model could not bring to a good end is not complete, as `length` says.
pub(super) fn finish_reason(stop_reason: &str) -> &'static str {
    match stop_reason {
        "max_tokens" | "model_context_window_exceeded" | "malformed_model_output" | "malformed_tool_use" => "length",
        "tool_use" => "tool_calls",
        "guardrail_intervened" | "content_filtered" => "content_filter",
        _ => "stop",
    }
}
