//! OpenAI's embeddings, from Gemini.
//!
//! | where | method | how long the vectors are | usage |
//! |---|---|---|---|
//! | AI Studio | `:batchEmbedContents` | said with each text | none for most models: the gateway's count stands |
//! | Vertex, Gemini's models | `:embedContent`, of several texts `:batchEmbedContents` | in `embedContentConfig` | told |
//! | Vertex, other models | `:predict` | in `parameters` | told text by text |

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::explain;
use super::wire::Failure;
use crate::dialect::{Decoder, Unsupported};
use crate::error::{Class, ProviderError};
use crate::json;
use crate::members::{Members, as_text, elements, unsupported};
use crate::openai::with_member;
use crate::request::{AnswerEvent, Delta, End, ModelRequest, Usage};

/// The largest answer that is taken.
const LARGEST_ANSWER: usize = 64 << 20;
/// Members of the gateway, and the user: Gemini has no place for one.
const HINTS: &[&str] = &["model", "user", "metadata", "fallbacks"];

#[derive(Serialize)]
struct Batch<'a> {
    requests: Vec<One<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct One<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<String>,
    content: Content<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimensionality: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    embed_content_config: Option<Parameters>,
}

#[derive(Serialize)]
struct Content<'a> {
    parts: [Text<'a>; 1],
}

#[derive(Serialize)]
struct Text<'a> {
    text: Cow<'a, str>,
}

#[derive(Serialize)]
struct Predict<'a> {
    instances: Vec<Instance<'a>>,
    parameters: Parameters,
}

#[derive(Serialize)]
struct Instance<'a> {
    content: Cow<'a, str>,
}

#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
struct Parameters {
    /// A text that is too long is refused, not cut in silence.
    auto_truncate: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_dimensionality: Option<u64>,
}

/// The method to call and the body for it.
pub(super) fn encode(body: &[u8], model: &str, vertex: bool) -> Result<(&'static str, Bytes), Unsupported> {
    let raw: &RawValue = serde_json::from_slice(body).map_err(|_| unsupported("", "is not JSON"))?;
    let mut members = Members::read(raw, "")?;
    members.ignore(HINTS);
    let input = members.raw("input").ok_or_else(|| unsupported("input", "is required"))?;
    let texts = match as_text(input) {
        Some(text) => vec![text],
        None => elements(input, "input")?
            .into_iter()
            .map(|(place, raw)| {
                as_text(raw).ok_or_else(|| unsupported(place, "must be a text: this target takes no tokens"))
            })
            .collect::<Result<Vec<_>, _>>()?,
    };
    if texts.is_empty() {
        return Err(unsupported("input", "must not be empty"));
    }
    let output_dimensionality = members.take("dimensions")?;
    members.only("encoding_format", &["\"float\"", "\"base64\""], "must be float or base64")?;
    members.done()?;
    let model = model.strip_prefix("models/").unwrap_or(model);
    let parameters = Parameters { auto_truncate: false, output_dimensionality };
    let content = |text| Content { parts: [Text { text }] };
    let (method, body) = if !vertex {
        let name = Some(format!("models/{model}"));
        let one = |text| One {
            model: name.clone(),
            content: content(text),
            output_dimensionality,
            embed_content_config: None,
        };
        ("batchEmbedContents", serde_json::to_vec(&Batch { requests: texts.into_iter().map(one).collect() }))
    } else if model.starts_with("gemini") {
        let one = |text| One {
            model: None,
            content: content(text),
            output_dimensionality: None,
            embed_content_config: Some(parameters),
        };
        let mut requests: Vec<_> = texts.into_iter().map(one).collect();
        match requests.as_mut_slice() {
            [one] => ("embedContent", serde_json::to_vec(one)),
            _ => ("batchEmbedContents", serde_json::to_vec(&Batch { requests })),
        }
    } else {
        let instances = texts.into_iter().map(|content| Instance { content }).collect();
        ("predict", serde_json::to_vec(&Predict { instances, parameters }))
    };
    Ok((method, Bytes::from(body.expect("texts and numbers always serialize"))))
}

/// The reader for one answer.
pub(super) fn decoder(request: &ModelRequest) -> Box<dyn Decoder> {
    Box::new(Embeddings::new(request.model(), request.member("encoding_format") == Some("\"base64\"")))
}

pub(super) struct Embeddings {
    body: Vec<u8>,
    model: String,
    base64: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(default)]
    embedding: Option<Vector>,
    #[serde(default)]
    embeddings: Option<Vec<Vector>>,
    #[serde(default)]
    predictions: Option<Vec<Prediction>>,
    #[serde(default)]
    usage_metadata: Option<Metered>,
    #[serde(borrow, default)]
    error: Option<Failure<'a>>,
}

#[derive(Deserialize)]
struct Prediction {
    embeddings: Vector,
}

/// The numbers as they were written.
#[derive(Deserialize)]
struct Vector {
    #[serde(default)]
    values: Vec<serde_json::Number>,
    #[serde(default)]
    statistics: Option<Statistics>,
}

#[derive(Deserialize)]
struct Statistics {
    #[serde(default)]
    token_count: Option<f64>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metered {
    #[serde(default)]
    prompt_token_count: Option<u64>,
}

impl Decoder for Embeddings {
    fn feed(&mut self, bytes: &[u8], _out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        if self.body.len() + bytes.len() > LARGEST_ANSWER {
            return Err(ProviderError::new(Class::TooLarge, "the provider's answer is too large"));
        }
        self.body.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        let unreadable = || ProviderError::broken("the provider's answer cannot be read");
        let body = std::mem::take(&mut self.body);
        let answer: Answer<'_> = serde_json::from_slice(&body).map_err(|_| unreadable())?;
        if let Some(error) = &answer.error {
            return Err(explain::failure(error));
        }
        let told = answer.usage_metadata.and_then(|usage| usage.prompt_token_count);
        let predicted = |all: Vec<Prediction>| all.into_iter().map(|it| it.embeddings).collect();
        let vectors = answer.embeddings.or_else(|| answer.embedding.map(|one| vec![one]));
        let vectors = vectors.or_else(|| answer.predictions.map(predicted)).ok_or_else(unreadable)?;
        let usage = told.or_else(|| counted(&vectors)).map(|input| Usage { input, ..Usage::default() });
        let list = self.list(&vectors);

        out.push(AnswerEvent::Delta(Delta::one(Bytes::new(), String::new(), true)));
        out.extend(usage.map(AnswerEvent::Usage));
        out.push(AnswerEvent::End(End::new(None, move |_, count: Option<&Usage>| {
            let usage = usage.as_ref().or(count).copied().unwrap_or_default();
            // OpenAI's list says nothing of an output.
            let prompt = usage.all_input();
            let told = format!("{{\"prompt_tokens\":{prompt},\"total_tokens\":{prompt}}}");
            Bytes::from(with_member(&list, "usage", &told))
        })));
        Ok(())
    }

    fn is_whole(&self) -> bool {
        true
    }
}

impl Embeddings {
    pub(super) fn new(model: &str, base64: bool) -> Embeddings {
        Embeddings { body: Vec::new(), model: model.to_owned(), base64 }
    }

    fn list(&self, vectors: &[Vector]) -> String {
        let mut list = String::from(r#"{"object":"list","data":["#);
        for (index, vector) in vectors.iter().enumerate() {
            if index > 0 {
                list.push(',');
            }
            list.push_str(&format!(r#"{{"object":"embedding","index":{index},"embedding":"#));
            match self.base64 {
                true => list.push_str(&packed(&vector.values)),
                false => list.push_str(&serde_json::to_string(&vector.values).expect("numbers always serialize")),
            }
            list.push('}');
        }
        list.push_str(&format!(r#"],"model":{}}}"#, json::quote(&self.model)));
        list
    }
}

/// OpenAI's base64: 32-bit floats, little end first.
fn packed(values: &[serde_json::Number]) -> String {
    let bytes: Vec<u8> = values.iter().flat_map(|it| (it.as_f64().unwrap_or(0.0) as f32).to_le_bytes()).collect();
    format!("\"{}\"", STANDARD.encode(bytes))
}

/// The tokens of all texts, if every one tells its own.
fn counted(vectors: &[Vector]) -> Option<u64> {
    let tokens = |vector: &Vector| vector.statistics.as_ref()?.token_count.map(|count| count.max(0.0) as u64);
    vectors.iter().map(tokens).sum()
}
