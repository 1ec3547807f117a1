//! Rerank: the caller speaks Cohere's words already, so both ways pass but for what is the gateway's own. It is billed by search
//! unit, and Cohere says how many it was.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::usage::{self, Wire};
use super::{Body, unreadable};
use crate::dialect::Decoder;
use crate::error::ProviderError;
use crate::json;
use crate::request::{AnswerEvent, Delta, End, ModelRequest};
use crate::splice::Splice;

/// The body for `POST /rerank`.
pub(super) fn spliced(request: &ModelRequest, model: &str) -> Bytes {
    let mut splice = Splice::new(request);
    splice.set("model", &json::quote(model));
    ["fallbacks", "metadata", "user"].iter().for_each(|name| splice.remove(name));
    splice.finish()
}

/// Reads the answer, which passes as it came.
#[derive(Default)]
pub(super) struct RerankDecoder(Body);

#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow, rename = "results")]
    _results: Vec<&'a RawValue>,
    #[serde(default)]
    meta: Option<Wire>,
}

impl Decoder for RerankDecoder {
    fn feed(&mut self, bytes: &[u8], _out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        self.0.take(bytes)
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        let body = Bytes::from(std::mem::take(&mut self.0.0));
        let answer: Answer<'_> = serde_json::from_slice(&body).map_err(|_| unreadable())?;
        let usage = answer.meta.as_ref().and_then(usage::read);
        out.push(AnswerEvent::Delta(Delta::one(Bytes::new(), String::new(), true)));
        out.extend(usage.map(AnswerEvent::Usage));
        let whole = body.clone();
        out.push(AnswerEvent::End(End::new(Some("stop".to_owned()), move |_, _| whole.clone())));
        Ok(())
    }

    fn is_whole(&self) -> bool {
        true
    }
}
