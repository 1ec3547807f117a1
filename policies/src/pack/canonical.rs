//! What a file's hash is taken of, as OPA takes it: JSON and YAML with their members in order and no space between, so
//! that a signature outlives another layout; everything else as it is.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256, Sha384, Sha512};

/// How a file may be hashed. OPA also knows MD5 and SHA-1, which prove nothing any more.
pub(crate) fn hash(algorithm: &str, path: &str, bytes: &[u8]) -> Result<String, String> {
    let digest: fn(&[u8]) -> Vec<u8> = match algorithm {
        "SHA-256" => |bytes| Sha256::digest(bytes).to_vec(),
        "SHA-384" => |bytes| Sha384::digest(bytes).to_vec(),
        "SHA-512" => |bytes| Sha512::digest(bytes).to_vec(),
        other => return Err(format!("is hashed with {other:?}: use SHA-256, SHA-384 or SHA-512")),
    };
    Ok(hex::encode(digest(&content(path, bytes)?)))
}

/// The bytes that are hashed.
fn content(path: &str, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut text = String::new();
    match path.rsplit('/').next() {
        Some("data.json" | ".manifest") => {
            // Looked at as a whole first: it bounds the depth that is then followed.
            let unread = |error: serde_json::Error| format!("is not JSON: {error}");
            serde_json::from_slice::<Value>(bytes).map_err(unread)?;
            write_json(serde_json::from_slice(bytes).map_err(unread)?, &mut text).map_err(unread)?;
        }
        Some("data.yaml") => {
            let value = serde_yaml_ng::from_slice(bytes).map_err(|error| format!("is not YAML: {error}"))?;
            write_value(&value, &mut text);
        }
        _ => return Ok(bytes.to_vec()),
    }
    Ok(text.into_bytes())
}

/// Numbers stay as they were written: `1.0` is another content than `1`.
fn write_json(raw: &RawValue, text: &mut String) -> Result<(), serde_json::Error> {
    match raw.get().as_bytes().first() {
        Some(b'{') => {
            let members: BTreeMap<String, &RawValue> = serde_json::from_str(raw.get())?;
            text.push('{');
            for (at, (name, value)) in members.into_iter().enumerate() {
                text.push_str(if at > 0 { "," } else { "" });
                write_text(&name, text);
                text.push(':');
                write_json(value, text)?;
            }
            text.push('}');
        }
        Some(b'[') => {
            let items: Vec<&RawValue> = serde_json::from_str(raw.get())?;
            text.push('[');
            for (at, value) in items.into_iter().enumerate() {
                text.push_str(if at > 0 { "," } else { "" });
                write_json(value, text)?;
            }
            text.push(']');
        }
        Some(b'"') => write_text(&serde_json::from_str::<String>(raw.get())?, text),
        _ => text.push_str(raw.get()),
    }
    Ok(())
}

fn write_value(value: &Value, text: &mut String) {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<&String, &Value> = members.iter().collect();
            text.push('{');
            for (at, (name, value)) in members.into_iter().enumerate() {
                text.push_str(if at > 0 { "," } else { "" });
                write_text(name, text);
                text.push(':');
                write_value(value, text);
            }
            text.push('}');
        }
        Value::Array(items) => {
            text.push('[');
            for (at, value) in items.iter().enumerate() {
                text.push_str(if at > 0 { "," } else { "" });
                write_value(value, text);
            }
            text.push(']');
        }
        Value::String(value) => write_text(value, text),
        Value::Number(number) => match number.as_f64().filter(|_| number.is_f64()) {
            // As Go writes a number that came by YAML.
            Some(float) if float != 0.0 && !(1e-6..1e21).contains(&float.abs()) => {
                text.push_str(&format!("{float:e}").replace("e", "e+").replace("e+-", "e-"));
            }
            Some(float) => text.push_str(&float.to_string()),
            None => text.push_str(&number.to_string()),
        },
        other => text.push_str(&other.to_string()),
    }
}

/// Go escapes two line ends that JSON need not.
fn write_text(value: &str, text: &mut String) {
    let quoted = Value::from(value).to_string();
    text.push_str(&quoted.replace('\u{2028}', "\\u2028").replace('\u{2029}', "\\u2029"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structured_files_are_hashed_in_order_and_without_layout() {
        let of = |path: &str, text: &str| String::from_utf8(content(path, text.as_bytes()).unwrap()).unwrap();
        for (text, expected) in [
            ("{ \"b\": 1,\n \"a\": [ true, null ] }", r#"{"a":[true,null],"b":1}"#),
            (
                r#"{"n": [1.0, 1e3, 123.45678911111111111111111111111, -0]}"#,
                r#"{"n":[1.0,1e3,123.45678911111111111111111111111,-0]}"#,
            ),
            (r#"{"t": "<a> & \"b\" \u00e9 / \u2028 \u0007"}"#, "{\"t\":\"<a> & \\\"b\\\" é / \\u2028 \\u0007\"}"),
            (r#"{"é": 1, "z": 2, "A": {}}"#, r#"{"A":{},"z":2,"é":1}"#),
            (r#"{"a": 1, "a": 2}"#, r#"{"a":2}"#),
        ] {
            assert_eq!(of("x/data.json", text), expected);
        }
        assert_eq!(
            of("data.yaml", "b: 1\na: [yes, 1.0, 0x10, 1e30, 2.5e-9, text]"),
            r#"{"a":["yes",1,16,1e+30,2.5e-9,"text"],"b":1}"#
        );
        assert_eq!(of(".manifest", r#"{"roots":[""], "revision":""}"#), r#"{"revision":"","roots":[""]}"#);
        for path in ["x.rego", "data.yml", "other.json", "README"] {
            assert_eq!(of(path, "{ \"b\": 1 }"), "{ \"b\": 1 }", "{path} is hashed as it is");
        }
        assert!(content("data.json", "[".repeat(90_000).as_bytes()).is_err());
    }

    #[test]
    fn a_weak_hash_proves_nothing() {
        assert_eq!(
            hash("SHA-256", "x", b"abc").unwrap(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(hash("SHA-512", "x", b"").unwrap().len(), 128);
        for weak in ["MD5", "SHA-1", "SHA256", ""] {
            assert!(hash(weak, "x", b"abc").is_err(), "{weak}");
        }
    }
}
