//! One scan of a text: a single pass of Aho and Corasick's machine for the anchors of credentials and addresses, one
//! over the digits, and a close look only where something may stand.

use aho_corasick::{AhoCorasick, AhoCorasickKind};

use crate::detectors::api_key::ApiKeys;
use crate::detectors::{DIGITS, email};
use crate::{Finding, Kind, overlap, text};

/// Finds what should not leave. Built once, shared by all.
#[derive(Debug)]
pub struct Scanner {
    anchors: AhoCorasick,
    /// What each of the machine's patterns is an anchor of.
    wanted: Vec<Anchor>,
    keys: ApiKeys,
}

#[derive(Debug, Clone, Copy)]
enum Anchor {
    Sign,
    Key(usize),
}

impl Scanner {
    /// Compiles the detectors; takes some milliseconds.
    pub fn new() -> Scanner {
        let signs = ["@", "%40"].into_iter().map(|sign| (sign, Anchor::Sign));
        let (patterns, wanted): (Vec<&str>, Vec<Anchor>) =
            signs.chain(ApiKeys::anchors().map(|(anchor, form)| (anchor, Anchor::Key(form)))).unzip();
        let anchors = AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::DFA))
            .build(patterns)
            .expect("the anchors are constants and a test compiles them");
        Scanner { anchors, wanted, keys: ApiKeys::new() }
    }

    /// What stands in the text, sorted and without overlaps. Takes time in proportion to the text, whatever is in it.
    pub fn find(&self, text: &str) -> Vec<Finding> {
        let mut hits = Vec::new();
        let mut floor = 0;
        for hit in self.anchors.find_overlapping_iter(text) {
            match self.wanted[hit.pattern().as_usize()] {
                Anchor::Sign => hits.extend(address(text, hit.range(), &mut floor)),
                Anchor::Key(form) => hits.extend(self.keys.at(text.as_bytes(), form, hit.start())),
            }
        }
        numbers(text.as_bytes(), &mut hits);
        overlap::resolve(hits)
    }
}

impl Default for Scanner {
    fn default() -> Scanner {
        Scanner::new()
    }
}

/// The address around a sign, unless the one before has eaten it.
fn address(text: &str, sign: std::ops::Range<usize>, floor: &mut usize) -> Option<Finding> {
    let range = email::at(text, sign).filter(|range| range.start >= *floor)?;
    *floor = range.end;
    Some(Finding { kind: Kind::Email, detector: "email", range })
}

/// Asks the detectors of numbers at every run of digits, each from where its last finding ended.
fn numbers(bytes: &[u8], hits: &mut Vec<Finding>) {
    let mut floors = [0; DIGITS.len()];
    let mut place = 0;
    while let Some(next) = bytes[place..].iter().position(u8::is_ascii_digit) {
        let run = place + next..text::digits_end(bytes, place + next);
        place = run.end;
        // Most numbers are small, stand alone and are none of ours.
        for (detector, floor) in DIGITS.iter().zip(&mut floors) {
            if let Some(hit) = detector.find(bytes, run.clone()).filter(|hit| hit.range.start >= *floor) {
                *floor = hit.range.end;
                hits.push(hit);
            }
        }
    }
}

#[cfg(test)]
#[path = "oracle.rs"]
mod oracle;
