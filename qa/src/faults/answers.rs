//! The bytes of answers, good ones and every way we know to spoil them.

use std::time::Duration;

use serde_json::{Value, json};

use super::Act;
use crate::upstream::{PROVIDER_WORDS, openai};

/// What a good answer says, and what it bills: ten tokens in, five out.
pub const SAID: &str = "Hello there";
const USAGE: (u64, u64) = (10, 5);

/// A head. The connection is not to be used again, so that each call meets its fault on a fresh one.
pub fn head(status: &str, headers: &[(&str, &str)]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status}\r\nconnection: close\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// A head and a body of that length.
pub fn whole(status: &str, content_type: &str, more: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let length = body.len().to_string();
    let mut headers = vec![("content-type", content_type), ("content-length", length.as_str())];
    headers.extend_from_slice(more);
    [head(status, &headers), body.to_vec()].concat()
}

/// The body of a good JSON answer.
pub fn json_body() -> Vec<u8> {
    openai::body(SAID, Some(USAGE)).to_string().into_bytes()
}

/// A good JSON answer.
pub fn json_answer() -> Vec<u8> {
    whole("200 OK", "application/json", &[], &json_body())
}

/// The events of a good stream up to, and without, its end.
pub fn begun() -> Vec<u8> {
    let first = openai::delta(json!({"role": "assistant", "content": ""}), None);
    let words = ["Hello", " there"].map(|word| openai::delta(json!({"content": word}), None));
    std::iter::once(first).chain(words).flat_map(|chunk| openai::event(&chunk)).collect()
}

/// A chunk with a usage.
pub fn usage(usage: &Value) -> Vec<u8> {
    let mut last = openai::delta(json!({}), None);
    last["choices"] = json!([]);
    last["usage"] = usage.clone();
    openai::event(&last).to_vec()
}

/// What ends a stream, with this between the reason and `[DONE]`.
pub fn ended(between: &[u8]) -> Vec<u8> {
    [&openai::event(&openai::delta(json!({}), Some("stop"))), between, b"data: [DONE]\n\n"].concat()
}

/// The events of a good stream.
pub fn stream_body() -> Vec<u8> {
    [begun(), ended(&usage(&openai::usage(USAGE)))].concat()
}

/// The head of a stream that ends with its connection.
pub fn stream_head() -> Vec<u8> {
    head("200 OK", &[("content-type", "text/event-stream")])
}

/// A good stream.
pub fn stream_answer() -> Vec<u8> {
    [stream_head(), stream_body()].concat()
}

/// A stream of these bytes, in one write after its head.
pub fn stream_of(body: impl Into<Vec<u8>>) -> Vec<Act> {
    vec![Act::Send(stream_head()), Act::Send(body.into())]
}

/// The same answer to everybody.
pub fn both(bytes: Vec<u8>) -> [Vec<Act>; 2] {
    [vec![Act::Send(bytes.clone())], vec![Act::Send(bytes)]]
}

/// The good answers, each after the same bytes.
pub fn good_after(before: &[u8]) -> [Vec<Act>; 2] {
    [json_answer(), stream_answer()].map(|answer| vec![Act::Send([before, &answer].concat())])
}

/// The good answers in single bytes, so long apart.
pub fn good_by_the_byte(wait: Duration) -> [Vec<Act>; 2] {
    [json_answer(), stream_answer()].map(|answer| vec![Act::Drip(answer, wait)])
}

/// The good answers up to their middle, and then this: in the JSON body, and after a stream's first words.
pub fn half_then(act: Act) -> [Vec<Act>; 2] {
    let json = json_answer();
    let half = json[..json.len() - 40].to_vec();
    [vec![Act::Send(half), act.clone()], vec![Act::Send([stream_head(), begun()].concat()), act]]
}

/// A provider's error: its words must never be seen by a client.
pub fn error(status: &str, more: &[(&str, &str)]) -> Vec<u8> {
    let body =
        json!({"error": {"message": PROVIDER_WORDS, "type": "server_error", "param": null, "code": "it_failed"}});
    whole(status, "application/json", more, body.to_string().as_bytes())
}

/// Bytes as one chunk of a chunked body, without the last one.
pub fn chunk(body: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", body.len()).as_bytes(), body, b"\r\n"].concat()
}

/// A gzip file of one stored block: whole, however little it saves.
pub fn gzip(body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("a short body");
    let mut crc = u32::MAX;
    for byte in body {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
        }
    }
    let mut file = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff, 1];
    file.extend_from_slice(&length.to_le_bytes());
    file.extend_from_slice(&(!length).to_le_bytes());
    file.extend_from_slice(body);
    file.extend_from_slice(&(!crc).to_le_bytes());
    file.extend_from_slice(&u32::from(length).to_le_bytes());
    file
}
