//! Embeddings through `InvokeModel`, where each maker has words of its own: Amazon's Titan takes one text a call and tells what it
//! counted, Cohere takes many and tells it in a header that no reader of bodies sees, so there the gateway's own count stands.
//!
//! Cohere wants to know what the vectors are for. A caller may say so with its own `input_type`; one who does not gets those of
//! `search_document`, as a text that is kept and looked for has them. Its `truncate` passes too; one who says nothing gets a
//! refusal for a text that is too long, as at OpenAI.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::dialect::{Decoder, Unsupported};
use crate::error::{Class, ProviderError};
use crate::json::quote;
use crate::members::{Members, as_text, elements, unsupported};
use crate::request::{AnswerEvent, Delta, End, ModelRequest, Usage};

/// The most texts that Cohere takes in one request.
const MOST_TEXTS: usize = 96;
/// The largest answer that is taken.
const LARGEST_ANSWER: usize = 64 << 20;

/// The body for `POST /model/{model}/invoke`. `user` and `metadata` are read by the gateway and have no place there.
pub(super) fn from_openai(body: &[u8], model: &str) -> Result<Bytes, Unsupported> {
    let raw: &RawValue = serde_json::from_slice(body).map_err(|_| unsupported("", "is not JSON"))?;
    let mut members = Members::read(raw, "")?;
    members.ignore(&["model", "user", "metadata", "fallbacks"]);
    members.only("encoding_format", &["\"float\"", "\"base64\""], "can only be float or base64 here")?;
    let texts = texts(members.raw("input").ok_or_else(|| unsupported("input", "is required"))?)?;
    let dimensions = members.take::<u64>("dimensions")?;
    let id = model.rsplit('/').next().unwrap_or(model);
    let mut told = Map::new();
    if id.starts_with("amazon.titan-embed-text-v2") {
        let [text] = texts.as_slice() else {
            return Err(unsupported("input", "can only be one text for this model"));
        };
        told.insert("inputText".to_owned(), json!(text));
        dimensions.map(|it| told.insert("dimensions".to_owned(), json!(it)));
    } else if id.split('.').any(|it| it == "cohere") && id.contains(".embed-") {
        told.insert("texts".to_owned(), json!(texts));
        let input_type = members.text("input_type")?.unwrap_or(Cow::Borrowed("search_document"));
        told.insert("input_type".to_owned(), json!(input_type));
        told.insert("truncate".to_owned(), json!(members.text("truncate")?.unwrap_or(Cow::Borrowed("NONE"))));
        told.insert("embedding_types".to_owned(), json!(["float"]));
        dimensions.map(|it| told.insert("output_dimension".to_owned(), json!(it)));
    } else {
        return Err(unsupported("model", "is none whose embeddings can be asked for here"));
    }
    members.done()?;
    Ok(Value::Object(told).to_string().into())
}

fn texts(input: &RawValue) -> Result<Vec<Cow<'_, str>>, Unsupported> {
    if let Some(text) = as_text(input) {
        return Ok(vec![text]);
    }
    let given = elements(input, "input")?;
    if given.len() > MOST_TEXTS {
        return Err(unsupported("input", format!("has more than {MOST_TEXTS} texts, the most that this target takes")));
    }
    given
        .into_iter()
        .map(|(place, raw)| as_text(raw).ok_or_else(|| unsupported(place, "must be a text at this target")))
        .collect()
}

/// Reads the answer, and tells it as OpenAI's list.
pub(super) struct EmbeddingsDecoder {
    model: String,
    base64: bool,
    body: Vec<u8>,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    embedding: Option<&'a RawValue>,
    #[serde(rename = "inputTextTokenCount")]
    tokens: Option<u64>,
    #[serde(borrow)]
    embeddings: Option<Vectors<'a>>,
}

/// Cohere's, by type or, as some of its models answer, without one.
#[derive(Deserialize)]
struct Vectors<'a>(#[serde(borrow)] &'a RawValue);

impl<'a> Vectors<'a> {
    fn read(&self) -> Option<Vec<&'a RawValue>> {
        #[derive(Deserialize)]
        struct ByType<'a> {
            #[serde(borrow)]
            float: Vec<&'a RawValue>,
        }
        let text = self.0.get();
        match text.starts_with('[') {
            true => serde_json::from_str(text).ok(),
            false => serde_json::from_str::<ByType<'a>>(text).ok().map(|it| it.float),
        }
    }
}

impl EmbeddingsDecoder {
    pub(super) fn new(request: &ModelRequest) -> EmbeddingsDecoder {
        let base64 = request.member("encoding_format") == Some("\"base64\"");
        EmbeddingsDecoder { model: request.model().to_owned(), base64, body: Vec::new() }
    }

    /// One vector: as it was written, or as its numbers in single precision.
    fn vector(&self, raw: &RawValue) -> Option<String> {
        if !self.base64 {
            return raw.get().starts_with('[').then(|| raw.get().to_owned());
        }
        let numbers: Vec<f32> = serde_json::from_str(raw.get()).ok()?;
        let bytes: Vec<u8> = numbers.into_iter().flat_map(f32::to_le_bytes).collect();
        Some(quote(&STANDARD.encode(bytes)))
    }

    fn list(&self, answer: &Answer<'_>) -> Option<String> {
        let vectors = match (&answer.embedding, &answer.embeddings) {
            (Some(one), _) => vec![*one],
            (None, Some(many)) => many.read()?,
            (None, None) => return None,
        };
        let mut out = "{\"object\":\"list\",\"data\":[".to_owned();
        for (index, raw) in vectors.into_iter().enumerate() {
            let (comma, vector) = (if index == 0 { "" } else { "," }, self.vector(raw)?);
            out.push_str(&format!("{comma}{{\"object\":\"embedding\",\"index\":{index},\"embedding\":{vector}}}"));
        }
        Some(format!("{out}],\"model\":{}", quote(&self.model)))
    }
}

impl Decoder for EmbeddingsDecoder {
    fn feed(&mut self, bytes: &[u8], _out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        if self.body.len() + bytes.len() > LARGEST_ANSWER {
            return Err(ProviderError::new(Class::TooLarge, "the provider's answer is too large"));
        }
        self.body.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        let unreadable = || ProviderError::broken("the provider's answer cannot be read");
        let answer: Answer<'_> = serde_json::from_slice(&self.body).map_err(|_| unreadable())?;
        let list = self.list(&answer).ok_or_else(unreadable)?;
        let usage = answer.tokens.map(|input| Usage { input, ..Usage::default() });
        out.push(AnswerEvent::Delta(Delta::one(Bytes::new(), String::new(), true)));
        out.extend(usage.map(AnswerEvent::Usage));
        out.push(AnswerEvent::End(End::new(Some("stop".to_owned()), move |_, counted| {
            let input = usage.as_ref().or(counted).map_or(0, Usage::all_input);
            format!("{list},\"usage\":{{\"prompt_tokens\":{input},\"total_tokens\":{input}}}}}").into()
        })));
        Ok(())
    }

    fn is_whole(&self) -> bool {
        true
    }
}
