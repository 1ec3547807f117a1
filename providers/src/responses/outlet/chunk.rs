//! What is read of an OpenAI chunk, or of a whole completion.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

#[derive(Deserialize)]
pub(super) struct Chunk<'a> {
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub id: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub model: Cow<'a, str>,
    #[serde(borrow, default)]
    pub created: Option<&'a RawValue>,
    #[serde(borrow, default)]
    choices: Option<Vec<Choice<'a>>>,
}

#[derive(Deserialize)]
pub(super) struct Choice<'a> {
    #[serde(default)]
    index: Option<u64>,
    #[serde(borrow, default, alias = "message")]
    pub delta: Option<Said<'a>>,
    #[serde(borrow, default)]
    pub logprobs: Option<Logprobs<'a>>,
    #[serde(borrow, default)]
    pub finish_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
pub(super) struct Said<'a> {
    #[serde(borrow, default)]
    pub content: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub refusal: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    reasoning_content: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    reasoning: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub thinking_blocks: Option<Vec<Thought<'a>>>,
    #[serde(borrow, default)]
    pub annotations: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    pub tool_calls: Option<Vec<ToolCall<'a>>>,
}

#[derive(Deserialize)]
pub(super) struct Thought<'a> {
    #[serde(borrow, rename = "type", default)]
    pub kind: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub thinking: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub signature: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub data: Cow<'a, str>,
}

#[derive(Deserialize)]
pub(super) struct ToolCall<'a> {
    /// Its place; a whole answer has them in order.
    #[serde(default)]
    pub index: Option<u64>,
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub id: Cow<'a, str>,
    #[serde(borrow, default)]
    pub function: Option<Function<'a>>,
    #[serde(borrow, default)]
    pub custom: Option<Function<'a>>,
}

#[derive(Deserialize)]
pub(super) struct Function<'a> {
    #[serde(borrow, default, deserialize_with = "or_empty")]
    pub name: Cow<'a, str>,
    #[serde(borrow, default, alias = "input", deserialize_with = "or_empty")]
    pub arguments: Cow<'a, str>,
}

#[derive(Deserialize)]
pub(super) struct Logprobs<'a> {
    #[serde(borrow, default)]
    pub content: Option<Vec<Logprob<'a>>>,
}

/// One token's odds, and those of its rivals.
#[derive(Deserialize)]
pub(super) struct Logprob<'a> {
    #[serde(borrow)]
    token: Cow<'a, str>,
    #[serde(borrow)]
    logprob: &'a RawValue,
    #[serde(borrow, default)]
    bytes: Option<&'a RawValue>,
    #[serde(borrow, default)]
    top_logprobs: Option<Vec<Logprob<'a>>>,
}

impl<'a> Chunk<'a> {
    /// The first choice, which is the only one that Responses have.
    pub(super) fn first(&self) -> Option<&Choice<'a>> {
        self.choices.iter().flatten().find(|choice| choice.index.unwrap_or(0) == 0)
    }
}

impl Said<'_> {
    /// What was thought, under either of its names.
    pub(super) fn reasoning(&self) -> Option<&str> {
        let said = self.reasoning_content.as_deref().or(self.reasoning.as_deref());
        said.filter(|text| !text.is_empty())
    }

    /// What was said: a text, or the texts of parts, as some servers have them.
    pub(super) fn text(&self) -> Cow<'_, str> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Content {
            Text(String),
            Parts(Vec<Part>),
        }
        #[derive(Deserialize)]
        struct Part {
            #[serde(default)]
            text: Option<String>,
        }
        let Some(raw) = self.content else { return Cow::Borrowed("") };
        match serde_json::from_str(raw.get()) {
            Ok(Content::Text(text)) => Cow::Owned(text),
            Ok(Content::Parts(parts)) => Cow::Owned(parts.into_iter().filter_map(|part| part.text).collect()),
            Err(_) => Cow::Borrowed(""),
        }
    }
}

impl Logprob<'_> {
    /// As Responses have it, where bytes are never left out.
    pub(super) fn told(&self) -> String {
        let token = crate::json::quote(&self.token);
        let bytes = match self.bytes.map(RawValue::get).filter(|it| *it != "null") {
            Some(bytes) => bytes.to_owned(),
            None => serde_json::to_string(self.token.as_bytes()).expect("numbers always serialize"),
        };
        let rivals = match &self.top_logprobs {
            Some(rivals) => {
                format!(",\"top_logprobs\":[{}]", rivals.iter().map(Logprob::told).collect::<Vec<_>>().join(","))
            }
            None => String::new(),
        };
        format!("{{\"token\":{token},\"bytes\":{bytes},\"logprob\":{}{rivals}}}", self.logprob.get())
    }
}

/// Later pieces may say `null` for what the first one told.
fn or_empty<'de: 'a, 'a, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Cow<'a, str>, D::Error> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    Ok(Option::<Text<'a>>::deserialize(deserializer)?.map(|text| text.0).unwrap_or_default())
}
