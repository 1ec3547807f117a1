//! Cohere's answers as they stand on the wire, and its words for how they end.
//! Only what is read has a name here; unknown events and members pass by.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::usage;

/// One event of a stream.
#[derive(Deserialize)]
pub(super) struct Event<'a> {
    #[serde(rename = "type", borrow, default)]
    pub kind: Cow<'a, str>,
    #[serde(borrow, default)]
    pub id: Cow<'a, str>,
    #[serde(default)]
    pub index: u64,
    #[serde(borrow, default)]
    pub delta: Option<Delta<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Delta<'a> {
    #[serde(borrow, default)]
    pub message: Option<Piece<'a>>,
    #[serde(borrow, default)]
    pub finish_reason: Option<Cow<'a, str>>,
    #[serde(default)]
    pub usage: Option<usage::Wire>,
}

/// What an event adds to the message.
#[derive(Deserialize)]
pub(super) struct Piece<'a> {
    /// An object in the events that matter, an empty list at the start.
    #[serde(borrow, default)]
    pub content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub tool_plan: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub tool_calls: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub citations: Option<&'a RawValue>,
}

/// A whole answer.
#[derive(Deserialize)]
pub(super) struct Answer<'a> {
    #[serde(borrow, default)]
    pub id: Cow<'a, str>,
    #[serde(borrow)]
    pub message: Message<'a>,
    #[serde(borrow, default)]
    pub finish_reason: Option<Cow<'a, str>>,
    #[serde(default)]
    pub usage: Option<usage::Wire>,
}

#[derive(Deserialize)]
pub(super) struct Message<'a> {
    #[serde(borrow, default)]
    pub content: Option<Vec<Content<'a>>>,
    #[serde(borrow, default)]
    pub tool_plan: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub tool_calls: Option<Vec<Call<'a>>>,
    #[serde(borrow, default)]
    pub citations: Option<Vec<Citation<'a>>>,
}

/// Text or thinking.
#[derive(Default, Deserialize)]
pub(super) struct Content<'a> {
    #[serde(borrow, default)]
    pub text: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub thinking: Option<Cow<'a, str>>,
}

#[derive(Default, Deserialize)]
pub(super) struct Call<'a> {
    #[serde(borrow, default)]
    pub id: Cow<'a, str>,
    #[serde(borrow, default)]
    pub function: Function<'a>,
}

#[derive(Default, Deserialize)]
pub(super) struct Function<'a> {
    #[serde(borrow, default)]
    pub name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub arguments: Option<Cow<'a, str>>,
}

/// What of the text stands in which sources.
#[derive(Deserialize)]
pub(super) struct Citation<'a> {
    #[serde(default)]
    pub start: u64,
    #[serde(default)]
    pub end: u64,
    /// `TEXT_CONTENT`, or of the plan or the thinking.
    #[serde(rename = "type", borrow, default)]
    pub kind: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub sources: Option<Vec<Source<'a>>>,
}

#[derive(Deserialize)]
pub(super) struct Source<'a> {
    #[serde(borrow, default)]
    pub id: Option<Cow<'a, str>>,
    #[serde(borrow, default, alias = "tool_output")]
    pub document: Option<Document<'a>>,
}

/// A document is an object of any members; these two are known by custom.
#[derive(Deserialize)]
pub(super) struct Document<'a> {
    #[serde(borrow, default)]
    pub title: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub url: Option<&'a RawValue>,
}

/// OpenAI's word for how an answer ended; none where it failed.
pub(super) fn finish_reason(reason: &str) -> Option<&'static str> {
    match reason {
        "MAX_TOKENS" | "ERROR_LIMIT" => Some("length"),
        "TOOL_CALL" => Some("tool_calls"),
        "ERROR_TOXIC" => Some("content_filter"),
        "ERROR" | "TIMEOUT" => None,
        _ => Some("stop"),
    }
}
