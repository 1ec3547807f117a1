//! Counts an answer's output while it comes: as one text, however it is cut into deltas, and in linear time.
//!
//! A token may reach over the seam of two deltas, so what has come since the last place where every tokenizer cuts is counted
//! anew with each delta. Such places are before a single space or after a line break, where a letter follows. A tail that has none
//! for [`LONGEST_TAIL`] bytes is cut where it ends, at the cost of at most one token too many; everything else is counted as
//! the whole text would be.

use std::collections::BTreeMap;

use crate::catalog::Tokenizer;
use crate::fleet::Target;
use crate::tokens;

/// A text without a seam, such as Chinese or base64, is counted in pieces of this size.
const LONGEST_TAIL: usize = 512;

/// The output of one answer so far.
#[derive(Debug, Clone, Default)]
pub struct Counter {
    /// By choice: each is a text of its own.
    choices: BTreeMap<u64, Text>,
    tokens: u64,
}

#[derive(Debug, Clone, Default)]
struct Text {
    /// Since the last seam.
    tail: String,
    /// What the tail is counted as.
    tail_tokens: u64,
}

impl Counter {
    /// More of one choice's output.
    pub fn hear(&mut self, target: &Target, choice: u64, text: &str) {
        self.take(target.tokenizer.or_usual(), choice, text);
    }

    /// All output so far, of all choices.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    fn take(&mut self, tokenizer: Tokenizer, choice: u64, text: &str) {
        if text.is_empty() {
            return;
        }
        let of = self.choices.entry(choice).or_default();
        let before = of.tail_tokens;
        of.tail.push_str(text);
        let mut settled = 0;
        if let Some(at) = last_seam(&of.tail) {
            settled += tokens::count(tokenizer, &of.tail[..at]);
            of.tail.drain(..at);
        }
        if of.tail.len() > LONGEST_TAIL {
            // All but a rest, at once: an answer that comes whole may be many megabytes long.
            let at = of.tail.floor_char_boundary((of.tail.len() - 1) / LONGEST_TAIL * LONGEST_TAIL);
            settled += tokens::count(tokenizer, &of.tail[..at]);
            of.tail.drain(..at);
        }
        of.tail_tokens = tokens::count(tokenizer, &of.tail);
        // The longer text may have fewer tokens: the end of a word joins its beginning.
        self.tokens = (self.tokens + settled + of.tail_tokens).saturating_sub(before);
    }
}

/// The last place where the tokenizers cut whatever stands around it.
fn last_seam(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let seam = |i: usize| {
        let (before, here) = (bytes[i - 1], bytes[i]);
        let after = bytes.get(i + 1).copied().unwrap_or_default();
        let word = here == b' ' && after.is_ascii_alphabetic() && before.is_ascii() && !before.is_ascii_whitespace();
        word || (before == b'\n' && here.is_ascii_alphabetic())
    };
    (1..bytes.len()).rev().find(|i| seam(*i))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn counted(pieces: &[&str]) -> u64 {
        let mut counter = Counter::default();
        pieces.iter().for_each(|piece| counter.take(Tokenizer::O200k, 0, piece));
        counter.tokens()
    }

    fn whole(text: &str) -> u64 {
        tiktoken_rs::o200k_base_singleton().encode_ordinary(text).len() as u64
    }

    fn in_pieces_of(text: &str, characters: usize) -> u64 {
        let all: Vec<char> = text.chars().collect();
        let pieces: Vec<String> = all.chunks(characters).map(|it| it.iter().collect()).collect();
        counted(&pieces.iter().map(String::as_str).collect::<Vec<_>>())
    }

    #[test]
    fn a_word_and_its_space_are_one_token_however_they_come() {
        let words = ["word "; 600];
        assert_eq!(whole(&words.concat()), 601, "per delta it would be 1,200");
        assert_eq!(counted(&words), 601);
        assert_eq!(counted(&["wo", "rd", " w", "ord", " ", "word"]), 3);
        assert_eq!(counted(&["", "a", ""]), 1);
        assert_eq!(counted(&[]), 0);
    }

    #[test]
    fn the_count_is_that_of_the_whole_text_and_a_token_more_at_most_for_each_forced_cut() {
        let code =
            "fn main() {\n    let x: Vec<u8> = vec![1, 2, 3];\n\n    println!(\"{:?}\", x); // done\n}\n".repeat(20);
        for (name, text) in [
            ("prose", "The quick brown fox, aged 12, jumps over 3 lazy dogs. \n".repeat(60)),
            ("code", code),
            ("json", r#"{"query":"select * from t where id=17","limit":100,"tags":["a b","c"]}"#.repeat(30)),
            ("chinese", "敏捷的棕色狐狸跳过了懒狗。".repeat(120)),
            ("base64", "QWxsIHRoZSBraW5n".repeat(200)),
            ("spaces", " ".repeat(3_000)),
            ("lines", "\n\n  \n".repeat(600)),
            ("faces", "😀👍🏽".repeat(300)),
        ] {
            let real = whole(&text);
            let cuts = (text.len() / LONGEST_TAIL) as u64;
            for size in [1, 3, 4, 17, 1_000, 1_000_000] {
                let count = in_pieces_of(&text, size);
                assert!(count >= real, "{name} by {size}: {count} for {real}");
                assert!(count <= real + cuts, "{name} by {size}: {count} for {real}, {cuts} cuts");
            }
        }
    }

    #[test]
    fn choices_are_texts_of_their_own() {
        let mut counter = Counter::default();
        for _ in 0..50 {
            counter.take(Tokenizer::O200k, 0, "wo");
            counter.take(Tokenizer::O200k, 1, "wor");
            counter.take(Tokenizer::O200k, 0, "rd ");
            counter.take(Tokenizer::O200k, 1, "d ");
        }
        assert_eq!(counter.tokens(), 2 * whole(&"word ".repeat(50)));
    }

    proptest! {
        #[test]
        fn every_split_counts_the_same(
            words in prop::collection::vec("[a-zA-Z0-9é敏😀.,;:'\"(){}/\n ]{0,9}", 0..40),
            cuts in prop::collection::vec(0usize..400, 0..30),
        ) {
            let text = words.concat();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|at| text.floor_char_boundary(at)).collect();
            cuts.sort_unstable();
            let (mut pieces, mut at) = (Vec::new(), 0);
            for cut in cuts {
                pieces.push(&text[at..cut]);
                at = cut;
            }
            pieces.push(&text[at..]);
            let (split, forced) = (counted(&pieces), (text.len() / LONGEST_TAIL) as u64);
            prop_assert!(split >= whole(&text) && split <= whole(&text) + forced, "{} for {}", split, whole(&text));
        }
    }
}
