//! What is read of the hub's chunks and completions.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer};
use serde_json::{Value, json};

#[derive(Deserialize)]
pub(super) struct Chunk<'a> {
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub id: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub model: Cow<'a, str>,
    #[serde(borrow, default)]
    pub choices: Vec<Choice<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(default)]
    pub index: u64,
    #[serde(borrow)]
    pub delta: Option<Said<'a>>,
    #[serde(borrow)]
    pub message: Option<Said<'a>>,
    #[serde(borrow)]
    pub finish_reason: Option<Cow<'a, str>>,
    pub logprobs: Option<Logprobs>,
}

#[derive(Deserialize)]
pub(super) struct Said<'a> {
    #[serde(borrow)]
    pub content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub refusal: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reasoning_content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reasoning: Option<Cow<'a, str>>,
    pub thinking_blocks: Option<Vec<Thought>>,
    #[serde(borrow)]
    pub tool_calls: Option<Vec<ToolCall<'a>>>,
    #[serde(default)]
    pub annotations: Option<Vec<Annotation>>,
}

impl Said<'_> {
    pub(super) fn reasoning(&self) -> Option<&str> {
        let said = self.reasoning_content.as_deref().or(self.reasoning.as_deref());
        said.filter(|text| !text.is_empty())
    }
}

#[derive(Deserialize)]
pub(super) struct ToolCall<'a> {
    pub index: Option<u64>,
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub id: Cow<'a, str>,
    #[serde(borrow, default)]
    pub function: Function<'a>,
}

#[derive(Default, Deserialize)]
pub(super) struct Function<'a> {
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub name: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub arguments: Cow<'a, str>,
}

/// A finished block of thought.
#[derive(Deserialize)]
pub(super) struct Thought {
    #[serde(default)]
    pub thinking: String,
    pub signature: Option<String>,
    pub data: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Annotation {
    pub url_citation: Option<Citation>,
}

#[derive(Clone, Deserialize)]
pub(super) struct Citation {
    #[serde(default)]
    pub url: String,
    pub title: Option<String>,
    pub start_index: Option<usize>,
    pub end_index: Option<usize>,
}

#[derive(Deserialize)]
pub(super) struct Logprobs {
    content: Option<Vec<Token>>,
}

#[derive(Deserialize)]
struct Token {
    token: String,
    logprob: f64,
    #[serde(default)]
    top_logprobs: Option<Vec<Token>>,
}

impl Token {
    fn told(&self) -> Value {
        json!({"token": self.token, "logProbability": self.logprob})
    }
}

impl Logprobs {
    /// As Gemini tells them; nothing where there are none.
    pub(super) fn told(&self) -> Option<Value> {
        let tokens = self.content.as_deref().filter(|tokens| !tokens.is_empty())?;
        let chosen: Vec<Value> = tokens.iter().map(Token::told).collect();
        let top = tokens.iter().map(|token| {
            let candidates: Vec<Value> = token.top_logprobs.iter().flatten().map(Token::told).collect();
            json!({"candidates": candidates})
        });
        let top: Vec<Value> = top.collect();
        Some(json!({"topCandidates": top, "chosenCandidates": chosen}))
    }
}

/// Later pieces of a call may say `null` for what the first one told.
fn or_empty<'de: 'a, 'a, D: Deserializer<'de>>(deserializer: D) -> Result<Cow<'a, str>, D::Error> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    Ok(Option::<Text<'a>>::deserialize(deserializer)?.map(|text| text.0).unwrap_or_default())
}
