//! The check of an audit export, offline: nothing but the file is needed. Pure.

use std::fmt;
use std::io::BufRead;

use serde_json::Value;

use crate::audit::{GENESIS, Hash, canonical, link};

/// What an export held, all of it sound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    pub entries: u64,
    /// The organisation's id, or `platform`.
    pub chain: String,
    /// Of the last entry.
    pub seq: i64,
    pub hash: Hash,
}

/// The first line that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {kind}")]
pub struct Damage {
    /// From 1.
    pub line: u64,
    pub kind: DamageKind,
}

/// How a line is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DamageKind {
    /// There is no line at all.
    Empty,
    Unreadable,
    NotJson,
    MissingMember(&'static str),
    /// Its content is not what its hash was made of.
    HashMismatch,
    /// The hash fits, yet the line is not written in the one way that an export writes it.
    NotCanonical,
    /// It belongs to another chain than the lines before.
    MixedChains,
    /// Lines before it are missing, doubled or in another order.
    SeqGap {
        expected: i64,
        found: i64,
    },
    /// It does not follow the line before it.
    PrevHashMismatch,
}

impl fmt::Display for DamageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DamageKind::Empty => f.write_str("no entry at all"),
            DamageKind::Unreadable => f.write_str("cannot be read"),
            DamageKind::NotJson => f.write_str("not a JSON object"),
            DamageKind::MissingMember(name) => write!(f, "member {name} is missing or of the wrong type"),
            DamageKind::HashMismatch => f.write_str("hash mismatch: the entry was changed"),
            DamageKind::NotCanonical => f.write_str("not in canonical form: the line was rewritten"),
            DamageKind::MixedChains => f.write_str("entry of another chain"),
            DamageKind::SeqGap { expected, found } => write!(f, "seq gap: expected {expected}, found {found}"),
            DamageKind::PrevHashMismatch => f.write_str("prev_hash mismatch: does not follow the entry before it"),
        }
    }
}

/// Checks a whole export: each line against its hash, and each against the line before, from the first entry on.
pub fn verify_export(mut reader: impl BufRead) -> Result<Summary, Damage> {
    let mut check = Check::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let number = check.lines + 1;
        let damage = |kind| Damage { line: number, kind };
        let read = reader.read_until(b'\n', &mut line).map_err(|_| damage(DamageKind::Unreadable))?;
        if read == 0 {
            return check.end();
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        check.next(&line).map_err(damage)?;
    }
}

/// Checks lines one after the other.
#[derive(Debug, Default)]
struct Check {
    lines: u64,
    seq: i64,
    hash: Hash,
    chain: Option<String>,
}

impl Check {
    fn next(&mut self, line: &[u8]) -> Result<(), DamageKind> {
        let text = std::str::from_utf8(line).map_err(|_| DamageKind::NotJson)?;
        let Ok(Value::Object(mut entry)) = serde_json::from_str::<Value>(text) else { return Err(DamageKind::NotJson) };
        let seq = entry.get("seq").and_then(Value::as_i64).ok_or(DamageKind::MissingMember("seq"))?;
        for name in ["at", "kind", "actor"] {
            member(&entry, name)?;
        }
        let chain = member(&entry, "chain")?.to_owned();
        let prev = hash(member(&entry, "prev_hash")?).ok_or(DamageKind::MissingMember("prev_hash"))?;
        let told = hash(member(&entry, "hash")?).ok_or(DamageKind::MissingMember("hash"))?;

        let whole = canonical(&Value::Object(entry.clone())).ok_or(DamageKind::HashMismatch)?;
        entry.remove("hash");
        let bare = canonical(&Value::Object(entry)).ok_or(DamageKind::HashMismatch)?;
        if link(&bare) != told {
            return Err(DamageKind::HashMismatch);
        }
        if whole != text {
            return Err(DamageKind::NotCanonical);
        }
        if self.chain.as_ref().is_some_and(|first| *first != chain) {
            return Err(DamageKind::MixedChains);
        }
        if seq != self.seq + 1 {
            return Err(DamageKind::SeqGap { expected: self.seq + 1, found: seq });
        }
        let before = if self.lines == 0 { GENESIS } else { self.hash };
        if prev != before {
            return Err(DamageKind::PrevHashMismatch);
        }
        (self.lines, self.seq, self.hash) = (self.lines + 1, seq, told);
        self.chain.get_or_insert(chain);
        Ok(())
    }

    fn end(self) -> Result<Summary, Damage> {
        let chain = self.chain.ok_or(Damage { line: 1, kind: DamageKind::Empty })?;
        Ok(Summary { entries: self.lines, chain, seq: self.seq, hash: self.hash })
    }
}

fn member<'a>(entry: &'a serde_json::Map<String, Value>, name: &'static str) -> Result<&'a str, DamageKind> {
    entry.get(name).and_then(Value::as_str).ok_or(DamageKind::MissingMember(name))
}

// One spelling: 64 lower-case hexadecimal digits.
fn hash(text: &str) -> Option<Hash> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).ok()?;
    (hex::encode(hash) == text).then_some(hash)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::{Actor, Entry, exported, kind, seal};
    use crate::clock::Timestamp;
    use crate::id::{Id, Org};

    fn export(org: u128, kinds: &[&'static str]) -> Vec<String> {
        let org: Id<Org> = Id::from_uuid(uuid::Uuid::from_u128(org));
        let (mut seq, mut prev) = (0, GENESIS);
        let line = |kind: &'static str| {
            let entry = Entry::new(Some(org), kind, Actor::System)
                .with("zebra", ["größer", "\u{1f}\"\\/"])
                .with("count", u64::MAX)
                .with("é", true)
                .with("absent", None::<i64>)
                .with("hash", "not the ledger's");
            let at = Timestamp::from_micros(1_770_000_000_000_000 + seq);
            let sealed =
                seal(&entry, kind, &[("price_usd", "\"0.5\"".into())], (at, &format!("\"{at}\"")), seq + 1, prev);
            (seq, prev) = (sealed.seq, sealed.hash);
            exported(&sealed.line, &sealed.hash)
        };
        kinds.iter().copied().map(line).collect()
    }

    fn check(lines: &[String]) -> Result<u64, (u64, DamageKind)> {
        let file = lines.iter().map(|line| format!("{line}\n")).collect::<String>();
        verify_export(file.as_bytes()).map(|summary| summary.entries).map_err(|damage| (damage.line, damage.kind))
    }

    #[test]
    fn an_export_verifies_and_its_members_are_sorted() {
        let lines = export(1, &[kind::RESERVE, kind::SETTLE, kind::WARN]);
        assert_eq!(check(&lines), Ok(3));
        let value: Value = serde_json::from_str(&lines[1]).unwrap();
        assert_eq!(canonical(&value).as_deref(), Some(lines[1].as_str()));
        assert_eq!(value["count"], "18446744073709551615", "what a double would bend is a string");
        assert_eq!(value["price_usd"], "0.5");
        assert_eq!(value["hash_"], "not the ledger's");
        assert!(value.get("absent").is_none());
    }

    #[test]
    fn every_kind_of_damage_is_named_with_its_line() {
        let sound = export(1, &[kind::RESERVE, kind::SETTLE, kind::WARN, kind::BLOCK]);
        let with = |at: usize, line: String| {
            let mut lines = sound.clone();
            lines[at] = line;
            lines
        };
        let without = |at: usize| {
            let mut lines = sound.clone();
            lines.remove(at);
            lines
        };
        let swapped = |from: &str, to: &str| with(1, sound[1].replace(from, to));
        let mut forged: serde_json::Map<String, Value> = serde_json::from_str(&sound[1]).unwrap();
        forged.insert("price_usd".into(), "0.1".into());
        forged.remove("hash");
        let bare = canonical(&Value::Object(forged)).unwrap();
        let forged = exported(&bare, &link(&bare));
        for (lines, line, kind) in [
            (with(1, "{".into()), 2, DamageKind::NotJson),
            (with(1, String::new()), 2, DamageKind::NotJson),
            (with(1, "[]".into()), 2, DamageKind::NotJson),
            (swapped("\"kind\"", "\"kinf\""), 2, DamageKind::MissingMember("kind")),
            (swapped("\"0.5\"", "\"0.4\""), 2, DamageKind::HashMismatch),
            (swapped("\"seq\":2", "\"seq\":3"), 2, DamageKind::HashMismatch),
            (swapped("{\"actor\"", "{ \"actor\""), 2, DamageKind::NotCanonical),
            (swapped("{\"actor\"", "{\"actor\":\"x\",\"actor\""), 2, DamageKind::NotCanonical),
            (with(1, forged), 3, DamageKind::PrevHashMismatch),
            (without(0), 1, DamageKind::SeqGap { expected: 1, found: 2 }),
            (without(2), 3, DamageKind::SeqGap { expected: 3, found: 4 }),
            (with(2, sound[1].clone()), 3, DamageKind::SeqGap { expected: 3, found: 2 }),
            (with(3, export(2, &["A", "B", "C", "D"])[3].clone()), 4, DamageKind::MixedChains),
            (Vec::new(), 1, DamageKind::Empty),
        ] {
            assert_eq!(check(&lines), Err((line, kind)));
        }
    }

    #[test]
    fn any_flipped_bit_is_found_on_its_line() {
        let sound = export(1, &[kind::RESERVE, kind::SETTLE, kind::WARN]);
        let file: Vec<u8> = sound.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect();
        let second = sound[0].len() + 1..sound[0].len() + 1 + sound[1].len();
        for at in second {
            for bit in 0..8 {
                let mut file = file.clone();
                file[at] ^= 1 << bit;
                let damage = verify_export(file.as_slice()).expect_err("a flipped bit");
                assert_eq!(damage.line, 2, "byte {at} bit {bit}: {damage}");
            }
        }
    }
}
