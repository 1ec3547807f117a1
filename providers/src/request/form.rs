//! Reads a multipart form: its fields become members of a JSON body, its files are kept as they lie in the bytes of the call.
//!
//! Strict, so that no server behind reads another form than the guards did: no preamble, no encodings, no nested forms, every
//! part named, and everything bounded. A fault names the part, never its content.

use bytes::Bytes;

use super::{Attachment, BadRequest};
use crate::json::quote;

/// More parts than any form here has.
const MOST_PARTS: usize = 64;
/// The head of a part: two or three short lines.
const LARGEST_HEAD: usize = 4 << 10;
/// A field is a setting or a prompt.
const LARGEST_FIELD: usize = 1 << 20;
const LONGEST_NAME: usize = 128;
/// As RFC 2046 has it.
const LONGEST_BOUNDARY: usize = 70;
/// Fields that JSON writes as numbers, and as true or false.
const NUMBERS: [&str; 4] = ["n", "temperature", "partial_images", "output_compression"];
const FLAGS: [&str; 1] = ["stream"];
/// Parts that are files, whether or not the client names the file.
const FILES: [&str; 4] = ["file", "image", "image[]", "mask"];

/// A form, read.
pub(super) struct Form {
    /// Its fields, as a JSON object in their order. Those whose name ends in `[]` are arrays.
    pub body: String,
    pub files: Vec<Attachment>,
}

/// A form that brings a file, outside any call of a model: its fields by name, and its files.
#[derive(Debug)]
pub struct FileForm {
    pub fields: serde_json::Map<String, serde_json::Value>,
    pub files: Vec<Attachment>,
}

impl FileForm {
    /// Reads a form.
    pub fn read(content_type: Option<&str>, body: &Bytes) -> Result<FileForm, BadRequest> {
        let boundary =
            boundary(content_type)?.ok_or_else(|| fault(None, "The body must be multipart/form-data.".to_owned()))?;
        let Form { body, files } = read(body, boundary)?;
        let fields = serde_json::from_str(&body).map_err(|_| fault(None, "The form cannot be read.".to_owned()))?;
        Ok(FileForm { fields, files })
    }
}

/// The boundary that a content type names, if it is a form's.
pub(super) fn boundary(content_type: Option<&str>) -> Result<Option<&str>, BadRequest> {
    let Some((kind, parameters)) = content_type.map(|it| it.split_once(';').unwrap_or((it, ""))) else {
        return Ok(None);
    };
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return Ok(None);
    }
    let named = parameters.split(';').find_map(|it| {
        let (name, value) = it.split_once('=')?;
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    });
    let good = |it: &&str| {
        (1..=LONGEST_BOUNDARY).contains(&it.len())
            && it.bytes().all(|b| b.is_ascii_alphanumeric() || b"'()+_,-./:=?".contains(&b))
    };
    match named.filter(good) {
        Some(boundary) => Ok(Some(boundary)),
        None => Err(fault(None, "The content type names no boundary that a form can have.".to_owned())),
    }
}

/// Reads a whole form.
pub(super) fn read(body: &Bytes, boundary: &str) -> Result<Form, BadRequest> {
    let delimiter = format!("\r\n--{boundary}");
    let mut fields: Vec<(String, Vec<String>)> = Vec::new();
    let mut files = Vec::new();
    let mut at = match body.strip_prefix(&delimiter.as_bytes()[2..]) {
        Some(_) => delimiter.len() - 2,
        None => return Err(fault(None, "The form does not begin with its boundary.".to_owned())),
    };
    for number in 1.. {
        match &body[at..] {
            [b'-', b'-', rest @ ..] if rest.iter().all(u8::is_ascii_whitespace) => break,
            [b'\r', b'\n', ..] => at += 2,
            _ => return Err(fault(None, format!("What follows the boundary before part {number} is no part."))),
        }
        if number > MOST_PARTS {
            return Err(fault(None, format!("The form has more than {MOST_PARTS} parts.")));
        }
        let (head, begin) = head(body, at, number)?;
        let Some(length) = find(&body[begin..], delimiter.as_bytes()) else {
            return Err(fault(Some(&head.name), format!("Part {number} breaks off before its end.")));
        };
        let content = body.slice(begin..begin + length);
        at = begin + length + delimiter.len();
        let Head { name, file_name, content_type } = head;
        if file_name.is_some() || FILES.contains(&&*name) {
            files.push(Attachment { field: name, file_name, content_type, bytes: content });
            continue;
        }
        let value = value(&name, &content)?;
        match fields.iter_mut().find(|(known, _)| *known == name) {
            Some((_, values)) if name.ends_with("[]") => values.push(value),
            Some(_) => {
                return Err(BadRequest::at(
                    "duplicate_parameter",
                    &*name,
                    format!("'{name}' is given more than once."),
                ));
            }
            None => fields.push((name, vec![value])),
        }
    }
    let members: Vec<String> = fields
        .into_iter()
        .map(|(name, values)| match name.ends_with("[]") {
            true => format!("{}:[{}]", quote(&name), values.join(",")),
            false => format!("{}:{}", quote(&name), values.concat()),
        })
        .collect();
    Ok(Form { body: format!("{{{}}}", members.join(",")), files })
}

struct Head {
    name: String,
    file_name: Option<String>,
    content_type: Option<String>,
}

/// The head of a part, and where its content begins.
fn head(body: &Bytes, at: usize, number: usize) -> Result<(Head, usize), BadRequest> {
    let seen = &body[at..body.len().min(at + LARGEST_HEAD)];
    let Some(length) = find(seen, b"\r\n\r\n") else {
        let what = if seen.len() == LARGEST_HEAD { "is too large" } else { "breaks off before its end" };
        return Err(fault(None, format!("The head of part {number} {what}.")));
    };
    let odd = |what: &str| fault(None, format!("The head of part {number} {what}."));
    let text = std::str::from_utf8(&seen[..length]).map_err(|_| odd("is not UTF-8"))?;
    let (mut name, mut file_name, mut content_type) = (None, None, None);
    for line in text.split("\r\n") {
        let (header, value) = line.split_once(':').ok_or_else(|| odd("has a line that is no header"))?;
        if value.chars().any(char::is_control) {
            return Err(odd("has control characters"));
        }
        match &*header.trim().to_ascii_lowercase() {
            "content-disposition" if name.is_none() => {
                let mut parameters = parameters(value).ok_or_else(|| odd("has a disposition that cannot be read"))?;
                if !parameters.next_kind("form-data") {
                    return Err(odd("is not that of a form's part"));
                }
                name = parameters.take("name");
                // Of a name in the longer spelling only its ending is ever used, which needs no decoding.
                file_name = parameters.take("filename").or_else(|| parameters.take("filename*"));
            }
            "content-type" if content_type.is_none() => content_type = Some(value.trim().to_owned()),
            "content-length" | "content-id" => {}
            "content-transfer-encoding" if ["binary", "8bit", "7bit"].contains(&value.trim()) => {}
            _ => return Err(odd("has a header that a form's part cannot have")),
        }
    }
    let name = name.ok_or_else(|| odd("names no field"))?;
    if name.is_empty() || name.len() > LONGEST_NAME {
        return Err(odd("names no field, or one with a name that is too long"));
    }
    Ok((Head { name, file_name, content_type }, at + length + 4))
}

struct Parameters {
    kind: String,
    named: Vec<(String, String)>,
}

impl Parameters {
    fn next_kind(&self, kind: &str) -> bool {
        self.kind.eq_ignore_ascii_case(kind)
    }

    fn take(&mut self, name: &str) -> Option<String> {
        let at = self.named.iter().position(|(known, _)| known == name)?;
        Some(self.named.swap_remove(at).1)
    }
}

/// `form-data; name="a"; filename="b"`. None where it cannot be read in one way only.
fn parameters(value: &str) -> Option<Parameters> {
    let (kind, mut rest) = value.split_once(';').unwrap_or((value, ""));
    let mut named: Vec<(String, String)> = Vec::new();
    while !rest.trim().is_empty() {
        let (name, after) = rest.split_once('=')?;
        let name = name.trim().to_ascii_lowercase();
        let (text, after) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => unquote(quoted)?,
            None => {
                let (word, after) = after.split_once(';').map_or((after, ""), |(word, after)| (word, after));
                (word.trim().to_owned(), after)
            }
        };
        if named.iter().any(|(known, _)| *known == name) {
            return None;
        }
        named.push((name, text));
        rest = after.trim_start().strip_prefix(';').unwrap_or(after);
    }
    Some(Parameters { kind: kind.trim().to_owned(), named })
}

/// Up to the closing quote; what follows it begins at the next semicolon.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((i, c)) = chars.next() {
        match c {
            '"' => {
                let after = text[i + 1..].trim_start();
                return (after.is_empty() || after.starts_with(';')).then_some((out, after));
            }
            '\\' => out.push(chars.next()?.1),
            c => out.push(c),
        }
    }
    None
}

/// A field's value as JSON.
fn value(name: &str, content: &[u8]) -> Result<String, BadRequest> {
    if content.len() > LARGEST_FIELD {
        return Err(BadRequest::at("invalid_value", name, format!("'{name}' is too long.")));
    }
    let text = std::str::from_utf8(content)
        .map_err(|_| BadRequest::at("invalid_value", name, format!("'{name}' is not UTF-8.")))?;
    if NUMBERS.contains(&name) {
        let number = serde_json::from_str::<serde_json::Number>(text.trim()).is_ok();
        let wrong = || BadRequest::at("invalid_type", name, format!("'{name}' must be a number."));
        return number.then(|| text.trim().to_owned()).ok_or_else(wrong);
    }
    if FLAGS.contains(&name) {
        return match &*text.trim().to_ascii_lowercase() {
            "true" | "1" => Ok("true".to_owned()),
            "false" | "0" => Ok("false".to_owned()),
            _ => Err(BadRequest::at("invalid_type", name, format!("'{name}' must be true or false."))),
        };
    }
    Ok(quote(text))
}

/// Where `needle`, which begins with a carriage return, is first found.
fn find(text: &[u8], needle: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        at += text[at..].iter().position(|b| *b == b'\r')?;
        if text[at..].starts_with(needle) {
            return Some(at);
        }
        at += 1;
    }
}

fn fault(part: Option<&str>, message: String) -> BadRequest {
    BadRequest { code: "invalid_multipart", param: part.map(str::to_owned), message }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn form(parts: &[(&str, &str)]) -> String {
        let parts: String = parts.iter().map(|(head, content)| format!("--b\r\n{head}\r\n\r\n{content}\r\n")).collect();
        format!("{parts}--b--\r\n")
    }

    fn field(name: &str) -> String {
        format!("Content-Disposition: form-data; name=\"{name}\"")
    }

    fn read_text(text: &str) -> Result<Form, BadRequest> {
        read(&Bytes::copy_from_slice(text.as_bytes()), "b")
    }

    #[test]
    fn fields_become_members_and_files_stay_where_they_lie() {
        let file =
            "Content-Disposition: form-data; name=\"file\"; filename=\"a \\\"b\\\".mp3\"\r\nContent-Type: audio/mpeg";
        let text = form(&[
            (&field("model"), "whisper-1"),
            (&field("temperature"), "0.20"),
            (&field("timestamp_granularities[]"), "word"),
            (file, "\r\n--not the boundary\0\r\n"),
            (&field("stream"), "True"),
            (&field("timestamp_granularities[]"), "segment"),
            (&field("prompt"), "say \"hi\"\n"),
        ]);
        let body = Bytes::from(text);
        let read = read(&body, "b").unwrap();
        assert_eq!(
            read.body,
            r#"{"model":"whisper-1","temperature":0.20,"timestamp_granularities[]":["word","segment"],"stream":true,"prompt":"say \"hi\"\n"}"#
        );
        let [file] = &read.files[..] else { panic!("one file") };
        assert_eq!((&*file.field, file.file_name.as_deref()), ("file", Some("a \"b\".mp3")));
        assert_eq!(
            (file.content_type.as_deref(), &file.bytes[..]),
            (Some("audio/mpeg"), &b"\r\n--not the boundary\0\r\n"[..])
        );
        let inside = body.as_ptr() as usize..body.as_ptr() as usize + body.len();
        assert!(inside.contains(&(file.bytes.as_ptr() as usize)), "not copied");
    }

    #[test]
    fn a_form_that_is_broken_or_can_be_read_in_two_ways_is_refused_and_the_part_is_named() {
        let whole = form(&[(&field("model"), "m"), (&field("file"), "bytes")]);
        let head = |head: &str| form(&[(head, "x")]);
        let many: Vec<(String, &str)> = (0..65).map(|i| (field(&format!("f{i}")), "x")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(head, text)| (&**head, *text)).collect();
        for (text, param, words) in [
            (String::new(), None, "begin with its boundary"),
            (format!("preamble\r\n{whole}"), None, "begin with its boundary"),
            (whole[..whole.len() - 8].to_owned(), Some("file"), "Part 2 breaks off"),
            (whole[..40].to_owned(), None, "head of part 1 breaks off"),
            (whole.replace("--b--", "--b"), None, "head of part 3 breaks off"),
            (format!("{whole}--b"), None, "is no part"),
            (head("Content-Disposition: form-data"), None, "names no field"),
            (head("Content-Disposition: attachment; name=\"x\""), None, "not that of a form's part"),
            (head("Content-Disposition: form-data; name=\"x\"; name=\"y\""), None, "cannot be read"),
            (head("Content-Disposition: form-data; name=\"x"), None, "cannot be read"),
            (head(&format!("{}\r\nContent-Encoding: gzip", field("x"))), None, "cannot have"),
            (head(&format!("{}\r\nContent-Transfer-Encoding: base64", field("x"))), None, "cannot have"),
            (head(&format!("{}\r\n{}", field("x"), field("y"))), None, "cannot have"),
            (head(&field(&"x".repeat(200))), None, "too long"),
            (head(&format!("{}\r\nX: {}", field("x"), "y".repeat(5_000))), None, "too large"),
            (form(&[(&field("model"), "a"), (&field("model"), "b")]), Some("model"), "more than once"),
            (form(&[(&field("n"), "two")]), Some("n"), "must be a number"),
            (form(&[(&field("stream"), "maybe")]), Some("stream"), "true or false"),
            (form(&many), None, "more than 64 parts"),
        ] {
            let refused = read_text(&text).err().unwrap_or_else(|| panic!("{words}: {text:.80}"));
            assert_eq!(refused.param.as_deref(), param, "{refused:?}");
            assert!(refused.message.contains(words), "{words}: {}", refused.message);
        }
    }

    #[test]
    fn only_a_forms_content_type_has_a_boundary() {
        for (text, expected) in [
            ("multipart/form-data; boundary=abc", Ok(Some("abc"))),
            ("Multipart/Form-Data; charset=utf-8; BOUNDARY=\"a.b\"", Ok(Some("a.b"))),
            ("application/json", Ok(None)),
            ("multipart/form-data", Err(())),
            ("multipart/form-data; boundary=", Err(())),
            ("multipart/form-data; boundary=a b", Err(())),
        ] {
            assert_eq!(boundary(Some(text)).map_err(drop), expected, "{text}");
        }
        assert_eq!(boundary(None), Ok(None));
    }

    proptest! {
        #[test]
        fn no_bytes_panic_and_what_is_read_is_json(noise in prop::collection::vec(any::<u8>(), 0..300), cut in 0usize..400) {
            let mut bytes = form(&[(&field("model"), "m"), (&field("x[]"), "y"), (&field("file"), "z")]).into_bytes();
            let at = cut.min(bytes.len());
            bytes.splice(at..at, noise);
            if let Ok(read) = read(&bytes.into(), "b") {
                prop_assert!(serde_json::from_str::<serde_json::Value>(&read.body).is_ok(), "{}", read.body);
            }
        }
    }
}
