//! Gemini's answers as they stand on the wire, and its words for how they end.
//! Only what is read has a name here; unknown members and parts pass by.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::usage::Wire;

/// A `GenerateContentResponse`: a whole answer, or one event of a stream.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Response<'a> {
    #[serde(borrow, default)]
    pub candidates: Option<Vec<Candidate<'a>>>,
    #[serde(borrow, default)]
    pub prompt_feedback: Option<Feedback<'a>>,
    #[serde(default)]
    pub usage_metadata: Option<Wire>,
    #[serde(borrow, default)]
    pub model_version: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub response_id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub create_time: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub error: Option<Failure<'a>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Candidate<'a> {
    /// Left out where it is 0.
    #[serde(default)]
    pub index: Option<u64>,
    #[serde(borrow, default)]
    pub content: Option<Content<'a>>,
    #[serde(borrow, default)]
    pub finish_reason: Option<Cow<'a, str>>,
    #[serde(default)]
    pub citation_metadata: Option<CitationMetadata>,
    #[serde(default)]
    pub grounding_metadata: Option<GroundingMetadata>,
    #[serde(default)]
    pub logprobs_result: Option<Logprobs>,
}

#[derive(Deserialize)]
pub(super) struct Content<'a> {
    #[serde(borrow, default)]
    pub parts: Option<Vec<Part<'a>>>,
}

/// Text, a thought, a call, or something drawn or spoken.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Part<'a> {
    #[serde(borrow, default)]
    pub text: Option<Cow<'a, str>>,
    #[serde(default)]
    pub thought: Option<bool>,
    #[serde(borrow, default)]
    pub thought_signature: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub function_call: Option<FunctionCall<'a>>,
    #[serde(borrow, default)]
    pub inline_data: Option<Blob<'a>>,
}

#[derive(Deserialize)]
pub(super) struct FunctionCall<'a> {
    #[serde(borrow, default)]
    pub id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub name: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub args: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Blob<'a> {
    #[serde(borrow, default)]
    pub mime_type: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub data: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Feedback<'a> {
    #[serde(borrow, default)]
    pub block_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
pub(super) struct CitationMetadata {
    #[serde(default, alias = "citationSources")]
    pub citations: Vec<Citation>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Citation {
    pub start_index: u64,
    pub end_index: u64,
    pub uri: Option<String>,
    pub title: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct GroundingMetadata {
    pub grounding_chunks: Vec<GroundingChunk>,
    pub grounding_supports: Vec<GroundingSupport>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct GroundingChunk {
    pub web: Option<Source>,
    pub retrieved_context: Option<Source>,
    pub maps: Option<Source>,
}

#[derive(Deserialize)]
pub(super) struct Source {
    #[serde(default)]
    pub uri: Option<String>,
    #[serde(default)]
    pub title: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct GroundingSupport {
    pub segment: Segment,
    pub grounding_chunk_indices: Vec<usize>,
}

/// A place in the text, in bytes.
#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Segment {
    pub start_index: u64,
    pub end_index: u64,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Logprobs {
    pub chosen_candidates: Vec<Token>,
    pub top_candidates: Vec<TopTokens>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct TopTokens {
    pub candidates: Vec<Token>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Token {
    pub token: String,
    pub log_probability: f64,
}

/// An error of Google's, in a stream or as a body.
#[derive(Deserialize)]
pub(super) struct Failure<'a> {
    #[serde(default)]
    pub code: Option<u16>,
    #[serde(borrow, default)]
    pub status: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub message: Option<Cow<'a, str>>,
    #[serde(default)]
    pub details: Vec<Value>,
}

/// How an answer ended, sorted by what the caller is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ending {
    /// In OpenAI's words.
    Told(&'static str),
    /// The model wrote something that its server could not read. Where that is all there is, it is no answer.
    Garbled,
}

/// What the word for an ending means; none if the answer goes on.
pub(super) fn ending(reason: &str) -> Option<Ending> {
    Some(match reason {
        "" | "FINISH_REASON_UNSPECIFIED" => return None,
        "MAX_TOKENS" | "CONTINUATION" => Ending::Told("length"),
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION"
        | "MODEL_ARMOR"
        | "ESCALATION"
        | "PUP_LIMITED_DISABLED" => Ending::Told("content_filter"),
        "MALFORMED_FUNCTION_CALL"
        | "UNEXPECTED_TOOL_CALL"
        | "TOO_MANY_TOOL_CALLS"
        | "MALFORMED_RESPONSE"
        | "MISSING_THOUGHT_SIGNATURE"
        | "NO_IMAGE"
        | "IMAGE_OTHER" => Ending::Garbled,
        _ => Ending::Told("stop"),
    })
}

/// Why a prompt was blocked, in words of ours.
pub(super) fn blocked(reason: &str) -> &'static str {
    match reason {
        "SAFETY" => "The provider's filter blocked the prompt for safety.",
        "BLOCKLIST" => "The provider's filter blocked the prompt for a word on its block list.",
        "PROHIBITED_CONTENT" => "The provider's filter blocked the prompt as prohibited content.",
        "IMAGE_SAFETY" => "The provider's filter blocked the prompt for the safety of an image.",
        "MODEL_ARMOR" => "The provider's account settings blocked the prompt.",
        "JAILBREAK" => "The provider's filter blocked the prompt as an attempt to get around its rules.",
        _ => "The provider's filter blocked the prompt.",
    }
}
