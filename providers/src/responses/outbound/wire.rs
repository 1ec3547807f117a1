//! Answers of the Responses API as they stand on the wire. Only what is read has a name here, and values stay raw until an event
//! that is known needs them: other events may have members of the same names and other types.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use super::usage::Wire;
use crate::error::ProviderError;
use crate::members::as_text;

/// One event of a stream.
#[derive(Deserialize)]
pub(super) struct Event<'a> {
    #[serde(rename = "type", borrow, default)]
    pub kind: Cow<'a, str>,
    #[serde(borrow)]
    pub response: Option<&'a RawValue>,
    #[serde(borrow)]
    pub item: Option<&'a RawValue>,
    #[serde(borrow)]
    pub output_index: Option<&'a RawValue>,
    #[serde(borrow)]
    pub item_id: Option<&'a RawValue>,
    #[serde(borrow)]
    pub summary_index: Option<&'a RawValue>,
    #[serde(borrow)]
    pub delta: Option<&'a RawValue>,
    #[serde(borrow)]
    pub logprobs: Option<&'a RawValue>,
    #[serde(borrow)]
    pub annotation: Option<&'a RawValue>,
    #[serde(borrow)]
    pub error: Option<&'a RawValue>,
}

/// A response, whole or on its way.
#[derive(Deserialize)]
pub(super) struct Response<'a> {
    #[serde(borrow, default)]
    pub object: Cow<'a, str>,
    #[serde(borrow, default)]
    pub id: Cow<'a, str>,
    #[serde(borrow, default)]
    pub model: Cow<'a, str>,
    /// Whole seconds; some servers write a fraction.
    #[serde(default)]
    pub created_at: f64,
    #[serde(borrow)]
    pub status: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub output: Option<Vec<&'a RawValue>>,
    pub incomplete_details: Option<Incomplete>,
    #[serde(borrow)]
    pub error: Option<&'a RawValue>,
    pub usage: Option<Wire>,
    pub tool_usage: Option<super::usage::Tools>,
}

#[derive(Deserialize)]
pub(super) struct Incomplete {
    pub reason: Option<String>,
}

/// An item of the output: a message, a call, reasoning, or one that is passed by.
#[derive(Deserialize)]
pub(super) struct Item<'a> {
    #[serde(rename = "type", borrow, default)]
    pub kind: Cow<'a, str>,
    #[serde(borrow)]
    pub id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub call_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub name: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub arguments: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub input: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub content: Option<Vec<Part<'a>>>,
    #[serde(borrow)]
    pub summary: Option<Vec<Part<'a>>>,
    #[serde(borrow)]
    pub encrypted_content: Option<Cow<'a, str>>,
}

/// A part of a message or of reasoning.
#[derive(Deserialize)]
pub(super) struct Part<'a> {
    #[serde(borrow)]
    pub text: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub refusal: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub annotations: Option<Vec<&'a RawValue>>,
    #[serde(borrow)]
    pub logprobs: Option<&'a RawValue>,
}

/// Items that are known here, so that their members have the types above.
pub(super) const READ: [&str; 4] = ["message", "function_call", "custom_tool_call", "reasoning"];

impl<'a> Item<'a> {
    /// An item, unless it is of a kind that is passed by.
    pub(super) fn read(raw: &'a RawValue) -> Result<Option<Item<'a>>, ProviderError> {
        #[derive(Deserialize)]
        struct Kind<'a> {
            #[serde(rename = "type", borrow, default)]
            kind: Cow<'a, str>,
        }
        let Kind { kind } = parse(raw)?;
        if READ.contains(&kind.as_ref()) { parse(raw).map(Some) } else { Ok(None) }
    }
}

/// A value of a type that it must have.
pub(super) fn parse<'a, T: Deserialize<'a>>(raw: &'a RawValue) -> Result<T, ProviderError> {
    serde_json::from_str(raw.get()).map_err(|_| unreadable())
}

/// A text that must be one.
pub(super) fn text(raw: Option<&RawValue>) -> Result<Cow<'_, str>, ProviderError> {
    raw.map_or(Ok(Cow::Borrowed("")), |raw| as_text(raw).ok_or_else(unreadable))
}

/// A number, where one is given.
pub(super) fn number(raw: Option<&RawValue>) -> Option<u64> {
    raw?.get().parse().ok()
}

/// What is there and not null.
pub(super) fn given(raw: Option<&RawValue>) -> Option<&RawValue> {
    raw.filter(|raw| raw.get() != "null")
}

pub(super) fn unreadable() -> ProviderError {
    ProviderError::broken("an event of the provider's stream cannot be read")
}
