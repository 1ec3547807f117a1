//! Embeddings: OpenAI's request in Cohere's words, Cohere's answer in OpenAI's.
//!
//! Cohere wants to know what the vectors are for. A caller may say so with its own `input_type`; one who does not gets those of
//! `search_document`, as a text that is kept and looked for has them. Its `truncate` passes too.

use std::borrow::Cow;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::usage::{self, Wire};
use super::{Body, unreadable};
use crate::dialect::{Decoder, Unsupported};
use crate::error::ProviderError;
use crate::json;
use crate::members::{Members, as_text, elements, unsupported};
use crate::request::{AnswerEvent, Delta, End, ModelRequest, Usage};

/// The most texts that Cohere takes in one request.
const MOST_TEXTS: usize = 96;

#[derive(Serialize)]
struct Request<'a> {
    model: &'a str,
    texts: Vec<Cow<'a, str>>,
    input_type: Cow<'a, str>,
    embedding_types: [&'static str; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimension: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    truncate: Option<Cow<'a, str>>,
}

/// The body for `POST /embed`. `user` and `metadata` are read by the gateway and have no place there.
pub(super) fn to_cohere(body: &[u8], model: &str) -> Result<Bytes, Unsupported> {
    let raw: &RawValue = serde_json::from_slice(body).map_err(|_| unsupported("", "is not JSON"))?;
    let mut members = Members::read(raw, "")?;
    members.ignore(&["model", "user", "metadata", "fallbacks"]);
    let input = members.raw("input").ok_or_else(|| unsupported("input", "is required"))?;
    let embedding_types = match members.text("encoding_format")?.as_deref() {
        None | Some("float") => ["float"],
        Some("base64") => ["base64"],
        Some(_) => return Err(unsupported("encoding_format", "can only be float or base64 here")),
    };
    let request = Request {
        model,
        texts: texts(input)?,
        input_type: members.text("input_type")?.unwrap_or(Cow::Borrowed("search_document")),
        embedding_types,
        output_dimension: members.raw("dimensions"),
        truncate: members.text("truncate")?,
    };
    members.done()?;
    Ok(Bytes::from(serde_json::to_vec(&request).expect("texts and raw JSON always serialize")))
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

/// Reads the answer.
pub(super) struct EmbedDecoder {
    model: String,
    body: Body,
}

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    embeddings: Embeddings<'a>,
    #[serde(default)]
    meta: Option<Wire>,
}

#[derive(Deserialize)]
struct Embeddings<'a> {
    #[serde(borrow, alias = "base64")]
    float: Vec<&'a RawValue>,
}

impl EmbedDecoder {
    pub(super) fn new(request: &ModelRequest) -> EmbedDecoder {
        EmbedDecoder { model: request.model().to_owned(), body: Body::default() }
    }
}

impl Decoder for EmbedDecoder {
    fn feed(&mut self, bytes: &[u8], _out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        self.body.take(bytes)
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        let answer: Answer<'_> = serde_json::from_slice(&self.body.0).map_err(|_| unreadable())?;
        let usage = answer.meta.as_ref().and_then(usage::read);
        let list = told(&self.model, &answer.embeddings.float, usage.as_ref());
        out.push(AnswerEvent::Delta(Delta::one(Bytes::new(), String::new(), true)));
        out.extend(usage.map(AnswerEvent::Usage));
        out.push(AnswerEvent::End(End::new(None, move |_, _| list.clone())));
        Ok(())
    }

    fn is_whole(&self) -> bool {
        true
    }
}

/// OpenAI's list; the vectors stay as they were written.
fn told(model: &str, vectors: &[&RawValue], usage: Option<&Usage>) -> Bytes {
    let mut out = "{\"object\":\"list\",\"data\":[".to_owned();
    for (index, vector) in vectors.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        out.push_str(&format!("{comma}{{\"object\":\"embedding\",\"index\":{index},\"embedding\":{vector}}}"));
    }
    out.push_str(&format!("],\"model\":{}", json::quote(model)));
    if let Some(input) = usage.map(Usage::all_input) {
        out.push_str(&format!(",\"usage\":{{\"prompt_tokens\":{input},\"total_tokens\":{input}}}"));
    }
    out.push('}');
    out.into()
}
