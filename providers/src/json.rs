//! A strict JSON scanner that tells where things are. One pass, no tree: what nobody asks for is checked and skipped.
//!
//! serde_json cannot tell spans of nested values in one pass, nor refuse repeated members, and reads numbers into floats.
//! A differential test holds this scanner to serde_json's verdict.

use std::borrow::Cow;
use std::collections::HashSet;
use std::ops::Range;

use crate::request::BadRequest;

/// As deep as serde_json goes, so that whatever passes here can be read there.
const DEPTH: u32 = 127;

/// The most members of an object whose members are told apart: a bound on what remembering their names costs.
const MOST_MEMBERS: usize = 10_000;

/// What a value is, from its first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    String,
    Number,
    Bool,
    Null,
}

/// Reads from left to right.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    pos: usize,
    depth: u32,
}

/// A member's name, and where it is, quotes included.
pub(crate) struct Key<'a> {
    pub name: Cow<'a, str>,
    pub start: usize,
    pub end: usize,
}

/// The state of walking one object or array.
pub(crate) struct Walk<'a> {
    first: bool,
    seen: Seen<'a>,
}

/// Names met so far; a list while there are few.
enum Seen<'a> {
    Few(Vec<Cow<'a, str>>),
    Many(HashSet<Cow<'a, str>>),
}

impl<'a> Scanner<'a> {
    pub(crate) fn new(text: &'a str) -> Scanner<'a> {
        Scanner { text, pos: 0, depth: 0 }
    }

    pub(crate) fn text(&self) -> &'a str {
        self.text
    }

    /// Where the next value begins.
    pub(crate) fn here(&mut self) -> usize {
        self.space();
        self.pos
    }

    /// Where the last value ended.
    pub(crate) fn end(&self) -> usize {
        self.pos
    }

    pub(crate) fn peek(&mut self) -> Result<Kind, BadRequest> {
        self.space();
        match self.byte() {
            Some(b'{') => Ok(Kind::Object),
            Some(b'[') => Ok(Kind::Array),
            Some(b'"') => Ok(Kind::String),
            Some(b'-' | b'0'..=b'9') => Ok(Kind::Number),
            Some(b't' | b'f') => Ok(Kind::Bool),
            Some(b'n') => Ok(Kind::Null),
            Some(_) => Err(self.fault("a value is expected")),
            None => Err(self.fault("the text ends too early")),
        }
    }

    /// Enters an object. The caller has peeked.
    pub(crate) fn object(&mut self) -> Result<Walk<'a>, BadRequest> {
        self.enter()
    }

    /// Enters an array. The caller has peeked.
    pub(crate) fn array(&mut self) -> Result<Walk<'a>, BadRequest> {
        self.enter()
    }

    /// The next member's name; repeated names are refused, naming `place`. Its value must be read before the next call.
    pub(crate) fn member(&mut self, walk: &mut Walk<'a>, place: &str) -> Result<Option<Key<'a>>, BadRequest> {
        let Some(key) = self.any_member(walk)? else { return Ok(None) };
        if walk.seen.len() == MOST_MEMBERS {
            let what = if place.is_empty() { "The body".to_owned() } else { format!("'{place}'") };
            let message = format!("{what} has more than {MOST_MEMBERS} members.");
            let param = Some(place.to_owned()).filter(|it| !it.is_empty());
            return Err(BadRequest { code: "invalid_value", param, message });
        }
        if !walk.seen.insert(key.name.clone()) {
            let param = below(place, &key.name);
            let message = format!("'{param}' is given more than once.");
            return Err(BadRequest::at("duplicate_parameter", param, message));
        }
        Ok(Some(key))
    }

    /// The next member's name, repeated or not.
    pub(crate) fn any_member(&mut self, walk: &mut Walk<'a>) -> Result<Option<Key<'a>>, BadRequest> {
        if !self.another(walk, b'}')? {
            return Ok(None);
        }
        self.space();
        if self.byte() != Some(b'"') {
            return Err(self.fault("a member name is expected"));
        }
        let start = self.pos;
        let span = self.string()?;
        let end = span.end;
        let name = unescape(&self.text[span]);
        self.space();
        if self.byte() != Some(b':') {
            return Err(self.fault("':' is expected"));
        }
        self.pos += 1;
        Ok(Some(Key { name, start, end }))
    }

    /// Whether the array goes on. The value must be read before the next call.
    pub(crate) fn element(&mut self, walk: &mut Walk<'a>) -> Result<bool, BadRequest> {
        self.another(walk, b']')
    }

    /// A string; the span has its quotes.
    pub(crate) fn string(&mut self) -> Result<Range<usize>, BadRequest> {
        self.space();
        let start = self.pos;
        let bytes = self.text.as_bytes();
        self.pos += 1;
        loop {
            match bytes.get(self.pos) {
                Some(b'"') => {
                    self.pos += 1;
                    return Ok(start..self.pos);
                }
                Some(b'\\') => self.escape()?,
                Some(0..=0x1f) => return Err(self.fault("a control character in a string must be escaped")),
                Some(_) => self.pos += 1,
                None => return Err(self.fault("the text ends inside a string")),
            }
        }
    }

    /// Any value, checked; its span.
    pub(crate) fn skip(&mut self) -> Result<Range<usize>, BadRequest> {
        let kind = self.peek()?;
        let start = self.pos;
        match kind {
            Kind::String => return self.string(),
            Kind::Number => self.number()?,
            Kind::Bool => {
                let word = if self.byte() == Some(b't') { "true" } else { "false" };
                self.word(word)?;
            }
            Kind::Null => self.word("null")?,
            Kind::Array => {
                let mut walk = self.array()?;
                while self.element(&mut walk)? {
                    self.skip()?;
                }
            }
            Kind::Object => {
                let mut walk = self.object()?;
                while self.any_member(&mut walk)?.is_some() {
                    self.skip()?;
                }
            }
        }
        Ok(start..self.pos)
    }

    /// Nothing but white space may follow.
    pub(crate) fn finish(mut self) -> Result<(), BadRequest> {
        self.space();
        if self.pos < self.text.len() { Err(self.fault("nothing may follow the body's value")) } else { Ok(()) }
    }

    fn enter(&mut self) -> Result<Walk<'a>, BadRequest> {
        if self.depth == DEPTH {
            return Err(self.fault("the nesting is too deep"));
        }
        self.depth += 1;
        self.pos += 1;
        Ok(Walk { first: true, seen: Seen::Few(Vec::new()) })
    }

    fn another(&mut self, walk: &mut Walk<'a>, close: u8) -> Result<bool, BadRequest> {
        self.space();
        let byte = self.byte();
        if byte == Some(close) {
            self.pos += 1;
            self.depth -= 1;
            return Ok(false);
        }
        if std::mem::take(&mut walk.first) {
            return Ok(true);
        }
        if byte != Some(b',') {
            return Err(self.fault(if close == b'}' { "',' or '}' is expected" } else { "',' or ']' is expected" }));
        }
        self.pos += 1;
        self.space();
        if self.byte() == Some(close) {
            return Err(self.fault("a value is expected after ','"));
        }
        Ok(true)
    }

    fn escape(&mut self) -> Result<(), BadRequest> {
        let bytes = self.text.as_bytes();
        match bytes.get(self.pos + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => {
                self.pos += 2;
                Ok(())
            }
            Some(b'u') => {
                let first = self.unit(self.pos)?;
                self.pos += 6;
                match first {
                    0xd800..=0xdbff => {
                        let paired = bytes.get(self.pos) == Some(&b'\\')
                            && bytes.get(self.pos + 1) == Some(&b'u')
                            && (0xdc00..=0xdfff).contains(&self.unit(self.pos)?);
                        if !paired {
                            return Err(self.fault("half a surrogate pair"));
                        }
                        self.pos += 6;
                        Ok(())
                    }
                    0xdc00..=0xdfff => Err(self.fault("half a surrogate pair")),
                    _ => Ok(()),
                }
            }
            _ => Err(self.fault("an unknown escape")),
        }
    }

    /// The code unit of the `\uXXXX` at `at`.
    fn unit(&self, at: usize) -> Result<u16, BadRequest> {
        let digits = self.text.as_bytes().get(at + 2..at + 6);
        match digits {
            Some(hex) if hex.iter().all(u8::is_ascii_hexdigit) => {
                Ok(hex.iter().fold(0, |unit, b| unit << 4 | (*b as char).to_digit(16).unwrap_or(0) as u16))
            }
            _ => Err(self.fault("\\u needs four hexadecimal digits")),
        }
    }

    fn number(&mut self) -> Result<(), BadRequest> {
        if self.byte() == Some(b'-') {
            self.pos += 1;
        }
        match self.byte() {
            Some(b'0') => self.pos += 1,
            Some(b'1'..=b'9') => self.digits()?,
            _ => return Err(self.fault("a digit is expected")),
        }
        if self.byte() == Some(b'.') {
            self.pos += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.pos += 1;
            if let Some(b'+' | b'-') = self.byte() {
                self.pos += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), BadRequest> {
        let start = self.pos;
        while let Some(b'0'..=b'9') = self.byte() {
            self.pos += 1;
        }
        if self.pos == start { Err(self.fault("a digit is expected")) } else { Ok(()) }
    }

    fn word(&mut self, word: &'static str) -> Result<(), BadRequest> {
        if !self.text.as_bytes()[self.pos..].starts_with(word.as_bytes()) {
            return Err(self.fault("a value is expected"));
        }
        self.pos += word.len();
        Ok(())
    }

    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.byte() {
            self.pos += 1;
        }
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.pos).copied()
    }

    fn fault(&self, what: &str) -> BadRequest {
        let before = &self.text.as_bytes()[..self.pos.min(self.text.len())];
        let line = 1 + before.iter().filter(|b| **b == b'\n').count();
        let column = 1 + before.iter().rev().take_while(|b| **b != b'\n').count();
        BadRequest {
            code: "invalid_json",
            param: None,
            message: format!("The body is not valid JSON: {what} at line {line} column {column}."),
        }
    }
}

impl<'a> Seen<'a> {
    fn len(&self) -> usize {
        match self {
            Seen::Few(names) => names.len(),
            Seen::Many(names) => names.len(),
        }
    }

    /// False if it was there.
    fn insert(&mut self, name: Cow<'a, str>) -> bool {
        match self {
            Seen::Few(names) if names.contains(&name) => false,
            Seen::Few(names) if names.len() < 16 => {
                names.push(name);
                true
            }
            Seen::Few(names) => {
                let mut many: HashSet<_> = names.drain(..).collect();
                let new = many.insert(name);
                *self = Seen::Many(many);
                new
            }
            Seen::Many(names) => names.insert(name),
        }
    }
}

/// The place of a member. Places are bounded, for names are the caller's: what is too long ends in an ellipsis.
pub(crate) fn below(place: &str, name: &str) -> String {
    const LONGEST: usize = 200;
    if place.is_empty() && name.len() <= LONGEST {
        return name.to_owned();
    }
    if place.ends_with('…') {
        return place.to_owned();
    }
    if place.len() + name.len() > LONGEST {
        return format!("{place}.{}…", &name[..name.floor_char_boundary(20)]);
    }
    format!("{place}.{name}")
}

/// The place of an element.
pub(crate) fn element_of(place: &str, index: usize) -> String {
    if place.ends_with('…') { place.to_owned() } else { below_bound(format!("{place}[{index}]")) }
}

fn below_bound(place: String) -> String {
    if place.len() > 240 { place + "…" } else { place }
}

/// The text of a checked JSON string, given with its quotes.
pub(crate) fn unescape(quoted: &str) -> Cow<'_, str> {
    let inner = &quoted[1..quoted.len() - 1];
    if !inner.as_bytes().contains(&b'\\') {
        return Cow::Borrowed(inner);
    }
    Cow::Owned(serde_json::from_str(quoted).expect("the scanner has checked it"))
}

/// What a string says, or a number as it is written.
pub(crate) fn unquoted(value: &str) -> Cow<'_, str> {
    if value.starts_with('"') { unescape(value) } else { Cow::Borrowed(value) }
}

/// What a string says that is JSON itself, as a call's arguments are, where its own strings have escapes that hide a letter: the
/// same JSON with these letters written out. Its reader will read them so.
pub(crate) fn spelled_out(quoted: &str) -> Option<String> {
    // Spares nearly all: a backslash within is written as two, or by its number.
    if !quoted.starts_with('"') || !(quoted.contains(r"\\") || quoted.contains(r"\u005")) {
        return None;
    }
    let text = unescape(quoted);
    let escaped = text.contains(r"\u") || text.contains(r"\/");
    if !escaped || serde_json::from_str::<serde::de::IgnoredAny>(&text).is_err() {
        return None;
    }
    let (mut out, mut rest) = (String::with_capacity(text.len()), &*text);
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let unit = |from: usize| escape.get(from..from + 4).and_then(|hex| u16::from_str_radix(hex, 16).ok());
        let (letter, length) = match escape.as_bytes().get(1) {
            Some(b'/') => (Some('/'), 2),
            Some(b'u') => {
                let low = escape.get(6..8).filter(|it| *it == r"\u").and_then(|_| unit(8));
                let units = [unit(2), low].into_iter().flatten();
                let letter = char::decode_utf16(units).next().and_then(Result::ok);
                (letter, if letter.is_some_and(|it| it.len_utf16() == 2) { 12 } else { 6 })
            }
            _ => (None, 2),
        };
        match letter {
            Some(letter) if !letter.is_control() && !matches!(letter, '"' | '\\') => out.push(letter),
            _ => out.push_str(&escape[..length]),
        }
        rest = &escape[length..];
    }
    out.push_str(rest);
    Some(out)
}

/// The place of a member whose name may be anybody's. Places go into receipts; a name that could hold something personal does not.
pub(crate) fn beneath(place: &str, name: &str) -> String {
    if is_word(name, 64) { below(place, name) } else { below(place, "…") }
}

/// A word as programs have them, too plain to be anything personal or secret.
pub(crate) fn is_word(name: &str, longest: usize) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_-$".contains(&b);
    let digits = name.bytes().filter(u8::is_ascii_digit).count();
    name.len() <= longest && digits < 4 && name.bytes().all(plain)
}

/// A text as a JSON string, quotes included.
pub(crate) fn quote(text: &str) -> String {
    serde_json::to_string(text).expect("a text is always a JSON string")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accepts(text: &str) -> bool {
        let mut scanner = Scanner::new(text);
        scanner.skip().is_ok() && scanner.finish().is_ok()
    }

    fn check(text: &str, fault: Option<&str>) {
        let mut scanner = Scanner::new(text);
        let got = scanner.skip().and_then(|_| scanner.finish());
        match (got, fault) {
            (Ok(()), None) => {}
            (Err(bad), Some(part)) => assert!(bad.message.contains(part), "{text:?}: {}", bad.message),
            (got, fault) => panic!("{text:?}: {got:?} instead of {fault:?}"),
        }
    }

    #[test]
    fn bad_json_is_refused_with_its_line_and_column() {
        check("{\"a\": [1, 2.5e-3, -0, \"\\u00e9\\ud83d\\ude00\", null, true, false]}", None);
        check("", Some("ends too early at line 1 column 1"));
        check("{\n  \"a\": 1,\n}", Some("line 3 column 1"));
        check("[1 2]", Some("',' or ']' is expected at line 1 column 4"));
        check("{} {}", Some("nothing may follow"));
        check("\"\\ud800\"", Some("half a surrogate pair"));
        check("\"\\udc00\"", Some("half a surrogate pair"));
        check("\"\\x\"", Some("unknown escape"));
        check("\"a\nb\"", Some("control character"));
        check("01", Some("nothing may follow"));
        check("1.", Some("digit"));
        check("nul", Some("a value is expected"));
        check("{1:2}", Some("a member name is expected"));
        check(&"[".repeat(128), Some("too deep"));
        check(&format!("{}{}", "[".repeat(127), "]".repeat(127)), None);
    }

    #[test]
    fn depth_ends_where_serde_json_ends() {
        for depth in [126, 127, 128, 129] {
            let text = format!("{}{}", "[".repeat(depth), "]".repeat(depth));
            assert_eq!(accepts(&text), serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{depth}");
        }
    }

    proptest! {
        #[test]
        fn the_verdict_is_serde_jsons(text in "[\\[\\]{}:,\"\\\\ u0-9a-f.eE+\\-truefalsn\n]{0,24}") {
            // Numbers beyond a double are the one difference: they pass here, untouched.
            let theirs = serde_json::from_str::<Box<serde_json::value::RawValue>>(&text);
            let strict = serde_json::from_str::<serde_json::Value>(&text);
            if accepts(&text) {
                prop_assert!(theirs.is_ok());
            } else {
                prop_assert!(strict.is_err());
            }
        }
    }
}
