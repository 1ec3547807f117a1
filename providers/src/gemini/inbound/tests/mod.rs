//! Pairs of files under `testdata/`, and tables for what a file would hide. `BLESS=1` writes the expected halves anew.

mod answers;
mod requests;
mod views;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde_json::Value;
use url::Url;

use super::*;
use crate::catalog::Quirks;
use crate::dialect::{Aim, Unsupported};
use crate::request::{BadRequest, Outside, Shape};

fn parse(body: &str, stream: bool) -> Result<ModelRequest, BadRequest> {
    let outside = Outside { model: Some("gemini-x".to_owned()), stream: Some(stream), ..Outside::default() };
    ModelRequest::parse_with(Shape::Gemini, Bytes::copy_from_slice(body.as_bytes()), outside)
}

fn gemini(body: &str) -> ModelRequest {
    parse(body, false).unwrap_or_else(|bad| panic!("{body}: {bad}"))
}

fn hub(body: &str) -> Result<Value, Unsupported> {
    Ok(serde_json::from_slice(&to_openai(&gemini(body))?).unwrap())
}

fn sent(body: &str, cap: u64) -> String {
    let (base_url, quirks) = (Url::parse("https://example.com/v1beta").unwrap(), Quirks::default());
    let bytes = spliced(&gemini(body), &Aim::at(&base_url, "gemini-y", cap, &quirks), cap);
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn testdata(path: &str) -> PathBuf {
    Path::new("src/gemini/inbound/testdata").join(path)
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
