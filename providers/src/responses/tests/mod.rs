//! Pairs of files under `testdata/`, and tables for what a file would hide. `BLESS=1` writes the expected halves anew.

mod answers;
mod cuts;
mod reading;
mod requests;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::Value;

use crate::dialect::Decoder;
use crate::error::ProviderError;
use crate::request::{AnswerEvent, ModelRequest, Shape, Usage};

fn responses(body: &str) -> ModelRequest {
    ModelRequest::parse(Shape::Responses, Bytes::copy_from_slice(body.as_bytes())).unwrap()
}

fn testdata(path: &str) -> PathBuf {
    Path::new("src/responses/testdata").join(path)
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

/// What a decoder gave.
#[derive(Debug, Default, PartialEq)]
struct Told {
    frames: String,
    text: String,
    usages: Vec<Usage>,
    reason: Option<String>,
    closing: String,
    error: Option<ProviderError>,
    /// Frames before the first that a client sees something in.
    before: usize,
}

fn tell(decoder: &mut dyn Decoder, pieces: &[&[u8]], cost: Option<&str>) -> Told {
    let (mut told, mut events) = (Told::default(), Vec::new());
    let fed = pieces.iter().try_for_each(|piece| decoder.feed(piece, &mut events));
    told.error = fed.and_then(|()| decoder.finish(&mut events)).err();
    let mut seen = false;
    for event in events {
        assert!(told.closing.is_empty(), "nothing comes after the end");
        match event {
            AnswerEvent::Delta(delta) => {
                seen |= delta.content;
                told.before += usize::from(!seen);
                told.frames.push_str(std::str::from_utf8(&delta.frame).unwrap());
                delta.texts.iter().for_each(|(_, text)| told.text.push_str(text));
                assert!(delta.content || delta.texts.is_empty(), "text that counts is content");
            }
            AnswerEvent::Usage(usage) => told.usages.push(usage),
            AnswerEvent::End(end) => {
                told.reason = end.finish_reason().map(str::to_owned);
                told.closing = String::from_utf8(end.closing(cost, None).to_vec()).unwrap();
            }
        }
    }
    told
}

/// The data of a stream's events.
fn events(stream: &str) -> Vec<Value> {
    let all = super::track::events(&Bytes::copy_from_slice(stream.as_bytes()));
    all.iter()
        .map(|event| {
            let data: Value = serde_json::from_str(&event.data).unwrap();
            assert_eq!(data["type"], event.event, "an event's name is its type");
            data
        })
        .collect()
}
