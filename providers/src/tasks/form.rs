//! Writes a form again, for a target: the members of the body as fields, then the files. Pure: the boundary comes from the content.

use std::fmt::Write;

use bytes::Bytes;
use http::HeaderValue;
use serde_json::value::RawValue;

use crate::json::unescape;
use crate::request::{Attachment, ModelRequest};

/// The gateway's own members, which no provider knows.
const OURS: [&str; 1] = ["fallbacks"];

/// The body and its content type.
pub(super) fn write(request: &ModelRequest, model: &str) -> (Bytes, HeaderValue) {
    let files = request.files();
    let boundary = boundary(request);
    let mut head = String::new();
    let mut field = |name: &str, value: &str| {
        let name = escaped(name);
        // Writing to a string cannot fail.
        let _ = write!(head, "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n");
    };
    for member in &request.view().members {
        let raw = &request.text()[member.value.clone()];
        match &*member.name {
            "model" => field("model", model),
            name if OURS.contains(&name) || raw == "null" => {}
            name => values(raw).iter().for_each(|value| field(name, value)),
        }
    }
    let size = files.iter().map(|file| file.bytes.len() + 256).sum::<usize>();
    let mut body = Vec::with_capacity(head.len() + size + boundary.len() + 8);
    body.extend_from_slice(head.as_bytes());
    for file in files {
        let (name, kind) = (escaped(&file.field), kind(file));
        let opening = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{}\"\r\nContent-Type: {kind}\r\n\r\n",
            file_name(file)
        );
        body.extend_from_slice(opening.as_bytes());
        body.extend_from_slice(&file.bytes);
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(format!("--{boundary}--\r\n").as_bytes());
    let content_type = format!("multipart/form-data; boundary={boundary}");
    (body.into(), HeaderValue::from_str(&content_type).expect("letters and digits"))
}

/// The texts of a member: one, or one for each element of an array.
fn values(raw: &str) -> Vec<String> {
    let text = |raw: &str| if raw.starts_with('"') { unescape(raw).into_owned() } else { raw.to_owned() };
    match serde_json::from_str::<Vec<&RawValue>>(raw) {
        Ok(elements) => elements.into_iter().map(|it| text(it.get())).collect(),
        Err(_) => vec![text(raw)],
    }
}

/// A name with what browsers escape in it; no name can end its header.
fn escaped(name: &str) -> String {
    name.replace('"', "%22").replace('\r', "%0D").replace('\n', "%0A")
}

/// A person chose the file's name; servers go by its ending alone.
fn file_name(file: &Attachment) -> String {
    let ending = file.file_name.as_deref().and_then(|name| name.rsplit_once('.')).map(|(_, ending)| ending);
    let plain = |it: &&str| (1..=8).contains(&it.len()) && it.bytes().all(|b| b.is_ascii_alphanumeric());
    match ending.filter(plain) {
        Some(ending) => format!("file.{}", ending.to_ascii_lowercase()),
        None => "file".to_owned(),
    }
}

fn kind(file: &Attachment) -> &str {
    let plain = |it: &&str| it.len() <= 100 && it.bytes().all(|b| b.is_ascii_alphanumeric() || b"/.+-;= ".contains(&b));
    file.content_type.as_deref().filter(plain).unwrap_or("application/octet-stream")
}

/// One that is nowhere in the form: else a file could write further fields, and have another model than was paid for.
fn boundary(request: &ModelRequest) -> String {
    let parts = || std::iter::once(request.body()).chain(request.files().iter().map(|file| &file.bytes));
    let length: usize = parts().map(Bytes::len).sum();
    let mut number = length as u64;
    loop {
        let boundary = format!("alfred-{number:016x}");
        if !parts().any(|bytes| holds(bytes, boundary.as_bytes())) {
            return boundary;
        }
        number = number.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    }
}

fn holds(text: &[u8], needle: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|b| *b == needle[0]) {
        rest = &rest[at..];
        if rest.starts_with(needle) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}
