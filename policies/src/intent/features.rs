//! What a request looks like to the model: its words, what they hint at, and its shape. The twin of policies/intent/features.py.
//!
//! Everything works on bytes, so that both sides agree to the last one; bounded windows; no allocation.

use super::Asked;
use super::model::{HASH_START, MOST_FEATURES, Model, OUTPUTS, Space, hash};

/// Bytes of the last text whose words are looked at.
const ENDS: (usize, usize) = (700, 300);
/// The same of the first and the last system text.
const SYSTEM_ENDS: (usize, usize) = (400, 200);
/// Texts before the last, and how much of each.
const PRIOR_TEXTS: usize = 3;
const PRIOR_HEAD: usize = 160;
/// Bytes at either end of the last text whose shape is looked at.
const WINDOW: usize = 1_024;
const WORD_MAX: usize = 24;
const STEM: usize = 5;

/// The features that were seen, each once, and what they add up to.
pub(super) struct Seen {
    model: &'static Model,
    bits: [u64; MOST_FEATURES / 64],
    scores: [i32; OUTPUTS],
}

impl Seen {
    fn add(&mut self, feature: Option<u16>) {
        let Some(at) = feature else { return };
        let (word, bit) = (usize::from(at) / 64, 1 << (at % 64));
        if self.bits[word] & bit != 0 {
            return;
        }
        self.bits[word] |= bit;
        for (score, weight) in self.scores.iter_mut().zip(self.model.feature(at).1) {
            *score += i32::from(*weight);
        }
    }

    fn add_key(&mut self, space: Space, hash: u64) {
        self.add(self.model.find(space.key(hash)));
    }

    fn shape(&mut self, name: &str) {
        self.add_key(Space::Shape, hash(HASH_START, name.as_bytes()));
    }

    /// `name=bucket`, the bucket being how many of the thresholds (nine at most) the value is above.
    fn bucket(&mut self, name: &str, value: usize, thresholds: &[usize]) {
        let bucket = thresholds.iter().filter(|it| value > **it).count() as u8;
        self.add_key(Space::Shape, hash(hash(HASH_START, name.as_bytes()), &[b'=', b'0' + bucket]));
    }

    pub(super) fn scores(&self) -> &[i32; OUTPUTS] {
        &self.scores
    }

    pub(super) fn features(&self) -> impl Iterator<Item = u16> {
        (0_u16..).zip(self.bits).filter(|(_, bits)| *bits != 0).flat_map(|(word, bits)| {
            let set = move |bit: &u16| bits & (1 << bit) != 0;
            (0..64).filter(set).map(move |bit| word * 64 + bit)
        })
    }
}

pub(super) fn read(asked: &Asked<'_>, model: &'static Model) -> Seen {
    let mut seen = Seen { model, bits: [0; _], scores: model.bias };
    let (last, prior) = match asked.conversation.split_last() {
        Some((last, prior)) => (last.as_bytes(), prior),
        None => (&b""[..], &[][..]),
    };
    both_ends(&mut seen, Space::Word, last, ENDS);
    if let [first, rest @ ..] = asked.system {
        both_ends(&mut seen, Space::System, first.as_bytes(), SYSTEM_ENDS);
        if let Some(text) = rest.last() {
            both_ends(&mut seen, Space::System, text.as_bytes(), SYSTEM_ENDS);
        }
    }
    for text in &prior[prior.len().saturating_sub(PRIOR_TEXTS)..] {
        let text = text.as_bytes();
        words_of(&mut seen, Space::Prior, &text[..text.len().min(PRIOR_HEAD)], true);
    }

    let mut shape = Shape::default();
    let (head, tail) = ends(last, (WINDOW, WINDOW));
    shape.read(head);
    shape.read(tail);
    shape.tell(&mut seen);
    let lengths = |texts: &[&str]| texts.iter().map(|it| it.len()).sum::<usize>();
    let system = lengths(asked.system);
    seen.bucket("length", last.len(), &[16, 40, 80, 160, 320, 640, 1_280, 2_560, 10_240]);
    seen.bucket("total", system + lengths(asked.conversation), &[128, 512, 2_048, 8_192, 32_768, 131_072]);
    seen.bucket("turns", asked.conversation.len(), &[1, 2, 4, 8]);
    seen.bucket("system", system, &[0, 100, 400, 1_600]);
    if last.iter().rev().find(|it| !b" \n\t".contains(it)) == Some(&b'?') {
        seen.shape("asks");
    }
    for (told, name) in [(asked.json, "json"), (asked.tools, "tools"), (asked.images, "images")] {
        if told {
            seen.shape(name);
        }
    }
    seen
}

/// The beginning and the end of a text; the end is empty where the beginning is all.
fn ends(text: &[u8], (head, tail): (usize, usize)) -> (&[u8], &[u8]) {
    if text.len() <= head + tail { (text, b"") } else { (&text[..head], &text[text.len() - tail..]) }
}

fn both_ends(seen: &mut Seen, space: Space, text: &[u8], sizes: (usize, usize)) {
    let (head, tail) = ends(text, sizes);
    words_of(seen, space, head, true);
    words_of(seen, space, tail, false);
}

/// Where the stem of a long word ends: whole letters only; none of a short one.
pub(super) fn stem_end(word: &[u8]) -> Option<usize> {
    if word.len() <= STEM {
        return None;
    }
    (0..=STEM).rev().find(|at| *at == 0 || !(0x80..0xc0).contains(&word[*at]))
}

/// Words, their beginnings, what they hint at, and their pairs (not of earlier texts). `start`: the text begins here.
fn words_of(seen: &mut Seen, space: Space, text: &[u8], start: bool) {
    let model = seen.model;
    let pairs = !matches!(space, Space::Prior);
    let mut before = start.then(|| hash(HASH_START, b"^"));
    let mut first = start;
    words(text, |word| {
        let whole = hash(HASH_START, word);
        let stem = stem_end(word).map(|end| hash(hash(HASH_START, &word[..end]), b"*"));
        seen.add_key(space, whole);
        if let Some(stem) = stem {
            seen.add_key(space, stem);
        }
        if let Some(before) = before.filter(|_| pairs) {
            seen.add_key(space, hash(hash(before, b"_"), word));
        }
        before = Some(whole);
        let mut hinted = false;
        for hint in [Some(whole), stem].into_iter().flatten().flat_map(|it| model.hints(it)) {
            let [there, leading] = model.hint(*hint, space);
            seen.add(there);
            if first {
                seen.add(leading);
            }
            hinted = true;
        }
        first &= !hinted;
    });
}

/// The words of a piece of text, in order: runs of letters (ASCII, or bytes of UTF-8 from 0x80 on, but for quotes, dashes and
/// the like), lowered, cut after 24 bytes; a run of digits is the word "#".
fn words(text: &[u8], mut each: impl FnMut(&[u8])) {
    let mut word = [0_u8; WORD_MAX];
    let (mut len, mut number, mut at) = (0, false, 0);
    while at < text.len() {
        let byte = text[at];
        let next = text.get(at + 1).copied();
        let mut push = |byte: u8| {
            if len < WORD_MAX {
                word[len] = byte;
                len += 1;
            }
        };
        match (byte, next) {
            (b'A'..=b'Z' | b'a'..=b'z', _) => {
                push(byte | 0x20);
                number = false;
            }
            // À–Þ lowered to à–þ.
            (0xc3, Some(second)) => {
                push(byte);
                push(if (0x80..=0x9e).contains(&second) { second + 0x20 } else { second });
                number = false;
                at += 1;
            }
            (b'\'', _) => {} // don't → dont
            (0x80.., _) if byte != 0xc2 && (byte != 0xe2 || next != Some(0x80)) => {
                push(byte);
                number = false;
            }
            _ => {
                if len > 0 {
                    each(&word[..len]);
                    len = 0;
                }
                if byte.is_ascii_digit() && !number {
                    each(b"#");
                }
                number = byte.is_ascii_digit();
                at += match byte {
                    0xc2 => 1, // « » ¿ ¡ and the like part words
                    0xe2 => 2, // quotes and dashes part words
                    _ => 0,
                };
            }
        }
        at += 1;
    }
    if len > 0 {
        each(&word[..len]);
    }
}

/// Counts over the ends of a text.
struct Shape {
    bytes: usize,
    counts: [u16; 256],
    items: usize,
    names: usize,
    indents: usize,
    fence: bool,
    url: bool,
}

impl Default for Shape {
    fn default() -> Shape {
        Shape { bytes: 0, counts: [0; 256], items: 0, names: 0, indents: 0, fence: false, url: false }
    }
}

impl Shape {
    fn read(&mut self, text: &[u8]) {
        self.bytes += text.len();
        let (mut last, mut before_last) = (b'\n', b'\n');
        // At the start of a line, and how many blanks it began with.
        let (mut fresh, mut blanks) = (true, 0);
        for &byte in text {
            self.counts[usize::from(byte)] += 1;
            match byte {
                b'\n' => (fresh, blanks) = (true, 0),
                b' ' if fresh => blanks += 1,
                b'\t' if fresh => blanks += 2,
                _ if fresh => {
                    self.indents += usize::from(blanks >= 2);
                    self.items += usize::from(matches!(byte, b'-' | b'*'));
                    fresh = false;
                }
                _ => {}
            }
            match byte {
                b'.' | b')' => self.items += usize::from(last.is_ascii_digit() && before_last == b'\n'),
                b'`' => self.fence |= last == b'`' && before_last == b'`',
                b'/' => self.url |= last == b'/' && before_last == b':',
                b'A'..=b'Z' => self.names += usize::from(last.is_ascii_lowercase()),
                b'a'..=b'z' if matches!(last, b'_' | b'.') => {
                    self.names += usize::from(before_last.is_ascii_lowercase() || before_last.is_ascii_digit());
                }
                _ => {}
            }
            (before_last, last) = (last, byte);
        }
    }

    fn tell(&self, seen: &mut Seen) {
        let count = |bytes: &[u8]| bytes.iter().map(|it| usize::from(self.counts[usize::from(*it)])).sum::<usize>();
        let span = |from: usize, to: usize| self.counts[from..to].iter().map(|it| usize::from(*it)).sum::<usize>();
        let per_mille = |count: usize| count * 1_000 / self.bytes.max(1);
        seen.bucket("lines", count(b"\n"), &[0, 1, 3, 8, 20]);
        seen.bucket("symbols", per_mille(count(b"{}();=<>[]/\\_")), &[5, 15, 30, 60]);
        seen.bucket("digits", per_mille(span(0x30, 0x3a)), &[1, 10, 30, 80]);
        seen.bucket("foreign", per_mille(span(0x80, 0x100)), &[0, 20, 300]);
        seen.bucket("questions", count(b"?"), &[0, 1, 2, 4]);
        seen.bucket("items", self.items, &[0, 2, 5]);
        seen.bucket("quotes", count(b"\""), &[0, 2, 6]);
        seen.bucket("maths", count(b"=+^*%"), &[0, 1, 3, 8]);
        seen.bucket("colons", count(b":"), &[0, 1, 4]);
        seen.bucket("names", self.names, &[0, 1, 3, 10]);
        seen.bucket("indents", self.indents, &[0, 2, 6]);
        for (told, name) in
            [(count(b"|") > 3, "table"), (self.fence, "fence"), (count(b"@") > 0, "at"), (self.url, "url")]
        {
            if told {
                seen.shape(name);
            }
        }
    }
}
