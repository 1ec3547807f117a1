//! Pairs of files under `testdata/`, and tables for what a file would hide. `BLESS=1` writes the expected halves anew.

mod answers;
mod cost;
mod errors;
mod own;
mod refusals;
mod requests;
mod vectors;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::Value;
use url::Url;

use super::*;
use crate::catalog::{Auth, Quirks};
use crate::credentials::Secret;
use crate::request::{AnswerEvent, Usage};

const SSE: &str = "text/event-stream";

fn openai(body: &str) -> ModelRequest {
    ModelRequest::parse(Shape::OpenAi, Bytes::copy_from_slice(body.as_bytes())).unwrap()
}

fn encode(request: &ModelRequest, model: &str) -> Result<HttpRequest, Unsupported> {
    let base_url = Url::parse("https://generativelanguage.googleapis.com/v1beta").unwrap();
    let (key, quirks) = (Secret::new("AIza-test"), Quirks::default());
    let aim = Aim { key: Some(&key), auth: Auth::XGoogApiKey, ..Aim::at(&base_url, model, 512, &quirks) };
    GeminiDialect.encode(request, &aim)
}

fn encode_at_vertex(request: &ModelRequest, settings: &[(&str, &str)]) -> Result<HttpRequest, Unsupported> {
    let base_url = Url::parse("https://aiplatform.googleapis.com/v1").unwrap();
    let (key, quirks) = (Secret::new("ya29.test"), Quirks::default());
    let settings: BTreeMap<_, _> = settings.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect();
    let aim = Aim { key: Some(&key), settings: &settings, ..Aim::at(&base_url, "gemini-2.5-flash", 512, &quirks) };
    GeminiDialect.encode(request, &aim)
}

fn body(request: &HttpRequest) -> Value {
    serde_json::from_slice(&request.body).unwrap()
}

fn testdata(path: &str) -> PathBuf {
    Path::new("src/gemini/testdata").join(path)
}

fn given(path: &str) -> String {
    std::fs::read_to_string(testdata(path)).unwrap()
}

/// Compares with the expected half of a pair: JSON by value and member order, all else by byte.
fn check_file(path: &str, got: &str) {
    let got = match path.ends_with(".json") {
        true => serde_json::to_string_pretty(&serde_json::from_str::<Value>(got).unwrap()).unwrap() + "\n",
        false => got.to_owned(),
    };
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(testdata(path), &got).unwrap();
    }
    assert_eq!(got, given(path), "{path}");
}

/// What a decoder gave: the events, with runs of the same told as one would tell them.
#[derive(Debug, Default, PartialEq)]
struct Told {
    frames: String,
    text: String,
    usages: Vec<Usage>,
    reason: Option<String>,
    closing: String,
    error: Option<ProviderError>,
}

fn tell(decoder: &mut dyn Decoder, pieces: &[&[u8]], cost: Option<&str>) -> Told {
    let (mut told, mut events) = (Told::default(), Vec::new());
    let fed = pieces.iter().try_for_each(|piece| decoder.feed(piece, &mut events));
    told.error = fed.and_then(|()| decoder.finish(&mut events)).err();
    let mut ended = false;
    for event in events {
        assert!(!ended, "nothing comes after the end");
        match event {
            AnswerEvent::Delta(delta) => {
                told.frames.push_str(std::str::from_utf8(&delta.frame).unwrap());
                delta.texts.iter().for_each(|(_, text)| told.text.push_str(text));
                assert!(delta.content || delta.texts.is_empty(), "text that counts is content");
            }
            AnswerEvent::Usage(usage) => told.usages.push(usage),
            AnswerEvent::End(end) => {
                ended = true;
                told.reason = end.finish_reason().map(str::to_owned);
                told.closing = String::from_utf8(end.closing(cost, None).to_vec()).unwrap();
            }
        }
    }
    told
}

fn told(request: &ModelRequest, body: &str, cost: Option<&str>) -> Told {
    tell(&mut *GeminiDialect.decoder(request, SSE), &[body.as_bytes()], cost)
}
