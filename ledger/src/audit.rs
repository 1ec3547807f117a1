//! The audit log, as bytes: canonical entries, the chain of their hashes, and the check of both. Pure.
//!
//! Entry v1 is one JSON object in RFC 8785 form. Amounts and large integers are strings. `hash` is the SHA-256 of the
//! object without `hash`; `prev_hash` is the hash of the entry before it, or zeros for the first of a chain.

use std::borrow::Cow;
use std::fmt;
use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::id::{Id, Key, Operator, Org};

pub use crate::verify::{Damage, DamageKind, Summary, verify_export};

/// The hash of an entry.
pub type Hash = [u8; 32];

/// What stands before the first entry of a chain.
pub const GENESIS: Hash = [0; 32];

/// The name of the chain for what belongs to no organisation.
pub const PLATFORM: &str = "platform";

/// Kinds of entries about money. Others name their own.
pub mod kind {
    pub const RESERVE: &str = "RESERVE";
    pub const GROW: &str = "GROW";
    pub const SETTLE: &str = "SETTLE";
    pub const RELEASE: &str = "RELEASE";
    pub const EXPIRE: &str = "EXPIRE";
    pub const ADJUST: &str = "ADJUST";
    pub const REFUND: &str = "REFUND";
    pub const REFUND_FAILED: &str = "REFUND_FAILED";
    pub const CHARGE: &str = "CHARGE";
    pub const CONFIRM: &str = "CONFIRM";
    pub const FUND: &str = "FUND";
    pub const BLOCK: &str = "BLOCK";
    pub const WARN: &str = "WARN";
}

/// Who did it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Actor {
    Operator(Id<Operator>),
    Key(Id<Key>),
    System,
}

impl fmt::Display for Actor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Actor::Operator(id) => id.fmt(f),
            Actor::Key(id) => id.fmt(f),
            Actor::System => f.write_str("system"),
        }
    }
}

/// Something that happened, before it has its place in a chain. Ids and amounts only: never names, addresses or text.
#[derive(Debug, Clone)]
pub struct Entry {
    pub(crate) chain: Cow<'static, str>,
    pub(crate) kind: &'static str,
    /// Sorted by name; values are canonical JSON already.
    members: Vec<(Cow<'static, str>, String)>,
}

/// Members that the ledger itself writes.
const OWN: [&str; 8] = ["actor", "at", "chain", "hash", "kind", "prev_hash", "seq", "v"];

impl Entry {
    /// An entry for an organisation's chain, or for the platform's.
    pub fn new(org: Option<Id<Org>>, kind: &'static str, actor: Actor) -> Entry {
        let chain = org.map_or(Cow::Borrowed(PLATFORM), |org| Cow::Owned(org.to_string()));
        let mut entry = Entry { chain, kind, members: Vec::with_capacity(16) };
        entry.put("actor", quoted(&actor.to_string()));
        entry
    }

    /// With one more member. Absent values (`None`) leave no member; a name of the ledger's own is kept apart by `_`.
    #[must_use]
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, value: impl Serialize) -> Entry {
        let mut name = name.into();
        if OWN.contains(&name.as_ref()) {
            name = Cow::Owned(format!("{name}_"));
        }
        match serde_json::to_value(value) {
            Ok(Value::Null) => {}
            Ok(value) => self.put(name, canonical(&tame(value)).unwrap_or_else(|| "null".to_owned())),
            Err(_) => self.put(name, quoted("unprintable")),
        }
        self
    }

    /// With a text, an id or an amount; quicker than [`Entry::with`].
    #[must_use]
    pub(crate) fn text(mut self, name: &'static str, value: impl fmt::Display) -> Entry {
        self.put(name, quoted(&value.to_string()));
        self
    }

    pub(crate) fn put(&mut self, name: impl Into<Cow<'static, str>>, json: String) {
        let name = name.into();
        match self.members.binary_search_by(|(other, _)| utf16_order(other, &name)) {
            Ok(at) => self.members[at].1 = json,
            Err(at) => self.members.insert(at, (name, json)),
        }
    }

    pub(crate) fn put_text(&mut self, name: &'static str, value: impl fmt::Display) {
        self.put(name, quoted(&value.to_string()));
    }
}

/// Canonical JSON of a text.
pub(crate) fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap_or_else(|_| "\"\"".to_owned())
}

/// A hash in hexadecimal, as JSON: 66 bytes at once, where `hex::encode` appends character by character.
fn quoted_hash(hash: &Hash) -> String {
    let mut json = String::with_capacity(2 * hash.len() + 2);
    json.push('"');
    for byte in hash {
        for digit in [byte >> 4, byte & 15] {
            json.push(char::from(b"0123456789abcdef"[usize::from(digit)]));
        }
    }
    json.push('"');
    json
}

/// An entry in its place: its line without `hash`, and the hash.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    pub chain: Cow<'static, str>,
    pub seq: i64,
    pub at: Timestamp,
    pub kind: &'static str,
    pub line: String,
    pub prev_hash: Hash,
    pub hash: Hash,
}

/// Puts an entry behind the one with `seq - 1` and `prev_hash`, with members that were decided only now.
/// The time comes twice: as it is stored, and as JSON.
pub(crate) fn seal(
    entry: &Entry,
    kind: &'static str,
    decided: &[(&'static str, String)],
    at: (Timestamp, &str),
    seq: i64,
    prev_hash: Hash,
) -> Sealed {
    let (chain, kind_json, seq_json) = (quoted(&entry.chain), quoted(kind), seq.to_string());
    let prev_json = quoted_hash(&prev_hash);
    let mut members: Vec<(&str, &str)> = Vec::with_capacity(entry.members.len() + decided.len() + 6);
    members.extend(entry.members.iter().map(|(name, json)| (name.as_ref(), json.as_str())));
    let own = [
        ("at", at.1),
        ("chain", &*chain),
        ("kind", &*kind_json),
        ("prev_hash", &*prev_json),
        ("seq", &*seq_json),
        ("v", "1"),
    ];
    for (name, json) in own.into_iter().chain(decided.iter().map(|(name, json)| (*name, json.as_str()))) {
        match members.binary_search_by(|(other, _)| utf16_order(other, name)) {
            Ok(place) => members[place].1 = json,
            Err(place) => members.insert(place, (name, json)),
        }
    }
    let size = members.iter().map(|(name, json)| name.len() + json.len() + 4).sum::<usize>() + 2;
    let mut line = String::with_capacity(size);
    line.push('{');
    for (i, (name, json)) in members.into_iter().enumerate() {
        if i > 0 {
            line.push(',');
        }
        if name.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'_')) {
            line.push('"');
            line.push_str(name);
            line.push('"');
        } else {
            line.push_str(&quoted(name));
        }
        line.push(':');
        line.push_str(json);
    }
    line.push('}');
    let hash = link(&line);
    Sealed { chain: entry.chain.clone(), seq, at: at.0, kind, line, prev_hash, hash }
}

/// The hash of an entry. The entry holds the hash before it, so this ties it to all that came before.
pub(crate) fn link(line_without_hash: &str) -> Hash {
    Sha256::digest(line_without_hash.as_bytes()).into()
}

/// The line as it is exported: with its hash, in its sorted place.
pub(crate) fn exported(line: &str, hash: &Hash) -> String {
    let member = format!("\"hash\":{},", quoted_hash(hash));
    // `kind` is always there. Inside a JSON string its quotes would be escaped, and nested objects are rare: look for the
    // place by walking the top level.
    let at = place_of_hash(line);
    let mut whole = String::with_capacity(line.len() + member.len());
    whole.push_str(&line[..at]);
    whole.push_str(&member);
    whole.push_str(&line[at..]);
    whole
}

// The first member of the top level whose name sorts after `hash`.
fn place_of_hash(line: &str) -> usize {
    let bytes = line.as_bytes();
    let (mut depth, mut i) = (0_usize, 0);
    while i < bytes.len() {
        match bytes[i] {
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth = depth.saturating_sub(1),
            b'"' => {
                let start = i;
                i += 1;
                while i < bytes.len() && bytes[i] != b'"' {
                    i += if bytes[i] == b'\\' { 2 } else { 1 };
                }
                let is_name = depth == 1 && bytes.get(i + 1) == Some(&b':');
                if is_name && line.get(start + 1..i).is_some_and(|name| name > "hash") {
                    return start;
                }
            }
            _ => {}
        }
        i += 1;
    }
    line.len().saturating_sub(1)
}

/// RFC 8785 of a value, unless it holds a number that is not a small integer.
pub fn canonical(value: &Value) -> Option<String> {
    let mut out = String::new();
    write_canonical(value, &mut out)?;
    Some(out)
}

const LARGEST_EXACT: i64 = 9_007_199_254_740_991;

fn write_canonical(value: &Value, out: &mut String) -> Option<()> {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(yes) => out.push_str(if *yes { "true" } else { "false" }),
        Value::Number(number) => {
            let number = number.as_i64().filter(|n| (-LARGEST_EXACT..=LARGEST_EXACT).contains(n))?;
            write!(out, "{number}").ok()?;
        }
        Value::String(text) => out.push_str(&quoted(text)),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_canonical(item, out)?;
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|a, b| utf16_order(a.0, b.0));
            out.push('{');
            for (i, (name, item)) in members.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&quoted(name));
                out.push(':');
                write_canonical(item, out)?;
            }
            out.push('}');
        }
    }
    Some(())
}

fn utf16_order(a: &str, b: &str) -> std::cmp::Ordering {
    if a.is_ascii() && b.is_ascii() { a.cmp(b) } else { a.encode_utf16().cmp(b.encode_utf16()) }
}

// Numbers that a double would bend become strings.
fn tame(value: Value) -> Value {
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(n) if (-LARGEST_EXACT..=LARGEST_EXACT).contains(&n) => Value::Number(number),
            _ => Value::String(number.to_string()),
        },
        Value::Array(items) => Value::Array(items.into_iter().map(tame).collect()),
        Value::Object(members) => Value::Object(members.into_iter().map(|(name, item)| (name, tame(item))).collect()),
        other => other,
    }
}
