//! Pairs of files under `testdata/`, and tables for what a file would hide. `BLESS=1` writes the expected halves anew. The frames and
//! the signatures were made by other people's code: see `testdata/README.md`.

mod answers;
mod embeddings;
mod errors;
mod gathered;
mod requests;
mod signatures;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::Value;

use super::*;
use crate::request::AnswerEvent;

const STREAM: &str = "application/vnd.amazon.eventstream";
const STREAMS: [&str; 3] = ["text", "tools", "thinking"];

fn request(shape: Shape, body: &str) -> ModelRequest {
    ModelRequest::parse(shape, Bytes::copy_from_slice(body.as_bytes())).unwrap()
}

fn testdata(path: &str) -> PathBuf {
    Path::new("src/bedrock/testdata").join(path)
}

fn given(path: &str) -> String {
    std::fs::read_to_string(testdata(path)).unwrap()
}

fn stream(name: &str) -> Vec<u8> {
    std::fs::read(testdata(&format!("stream/{name}.in.bin"))).unwrap()
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
    usages: Vec<crate::request::Usage>,
    reason: Option<String>,
    closing: String,
    error: Option<ProviderError>,
}

fn tell(decoder: &mut dyn Decoder, pieces: &[&[u8]], cost: Option<&str>) -> Told {
    let (mut told, mut events) = (Told::default(), Vec::new());
    let fed = pieces.iter().try_for_each(|piece| decoder.feed(piece, &mut events));
    told.error = fed.and_then(|()| decoder.finish(&mut events)).err();
    for event in events {
        assert!(told.closing.is_empty(), "nothing comes after the end");
        match event {
            AnswerEvent::Delta(delta) => {
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

fn told(request: &ModelRequest, body: &[u8], cost: Option<&str>) -> Told {
    tell(&mut *BedrockDialect.decoder(request, STREAM), &[body], cost)
}
