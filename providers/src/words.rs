//! Counting tokens word by word: plain text is cut here as the tokenizer's own expression would cut it, and what a word takes is
//! remembered. Prompts repeat their words, and conversations their messages.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicU64, Ordering};

use tiktoken_rs::CoreBPE;

/// Places for words; 256 KiB. A newer word takes an older one's place.
const PLACES: usize = 1 << 15;
/// What is longer is no word: it would only take others' places.
const LONGEST_WORD: usize = 32;
/// Of what is remembered, the lower bits are the count.
const COUNT_BITS: u32 = 14;

/// A tokenizer that remembers. Of the words it keeps nothing but keyed hashes: 64 bits, of which the place holds fifteen.
pub(crate) struct Words {
    bpe: &'static CoreBPE,
    /// Cuts plain text the way this tokenizer does; none: it is asked itself.
    cut: Option<fn(&[u8]) -> usize>,
    known: Vec<AtomicU64>,
    key: RandomState,
}

impl Words {
    pub fn of(bpe: &'static CoreBPE, cut: Option<fn(&[u8]) -> usize>) -> Words {
        Words { bpe, cut, known: (0..PLACES).map(|_| AtomicU64::new(0)).collect(), key: RandomState::new() }
    }

    /// The tokens of a piece of some kilobytes at most.
    pub fn count(&self, piece: &str) -> u64 {
        let Some(cut) = self.cut.filter(|_| piece.is_ascii()) else {
            return self.remembered(piece);
        };
        let (mut rest, mut tokens) = (piece, 0);
        while !rest.is_empty() {
            let (word, after) = rest.split_at(cut(rest.as_bytes()));
            tokens += if word.len() > LONGEST_WORD { self.asked(word) } else { self.remembered(word) };
            rest = after;
        }
        tokens
    }

    fn remembered(&self, text: &str) -> u64 {
        let hash = self.key.hash_one(text);
        let place = &self.known[hash as usize % PLACES];
        let (name, known) = (hash >> COUNT_BITS, place.load(Ordering::Relaxed));
        if known >> COUNT_BITS == name && known != 0 {
            return known & ((1 << COUNT_BITS) - 1);
        }
        let count = self.asked(text);
        if count < 1 << COUNT_BITS {
            place.store(name << COUNT_BITS | count, Ordering::Relaxed);
        }
        count
    }

    fn asked(&self, text: &str) -> u64 {
        self.bpe.encode_ordinary(text).len() as u64
    }
}

/// How long the first word is of a text without anything but ASCII, in which o200k's expression makes words: letters with one other
/// character before them and a contraction behind them, up to three digits, runs of signs, runs of blanks.
pub(crate) fn o200k(text: &[u8]) -> usize {
    let at = |i: usize| text.get(i).copied().unwrap_or(0);
    let run = |from: usize, of: fn(u8) -> bool| text[from..].iter().take_while(|it| of(**it)).count();
    let first = at(0);
    let before = usize::from(!matches!(first, b'\r' | b'\n') && !first.is_ascii_alphanumeric());
    if at(before).is_ascii_alphabetic() {
        let upper = before + run(before, |it| it.is_ascii_uppercase());
        let end = upper + run(upper, |it| it.is_ascii_lowercase());
        return end + contraction(&text[end..]);
    }
    if first.is_ascii_digit() {
        return run(0, |it| it.is_ascii_digit()).min(3);
    }
    let blank = usize::from(first == b' ');
    let signs = run(blank, is_sign);
    if signs > 0 {
        return blank + signs + run(blank + signs, |it| matches!(it, b'\r' | b'\n' | b'/'));
    }
    let blanks = run(0, is_blank);
    match text[..blanks].iter().rposition(|it| matches!(it, b'\r' | b'\n')) {
        Some(last) => last + 1,
        // The last blank belongs to what follows.
        None if blanks > 1 && blanks < text.len() => blanks - 1,
        None => blanks,
    }
}

fn contraction(text: &[u8]) -> usize {
    let letter = |i: usize| text.get(i).map_or(0, u8::to_ascii_lowercase);
    match (letter(0), letter(1), letter(2)) {
        (b'\'', b's' | b't' | b'm' | b'd', _) => 2,
        (b'\'', b'r' | b'v', b'e') | (b'\'', b'l', b'l') => 3,
        _ => 0,
    }
}

fn is_blank(byte: u8) -> bool {
    matches!(byte, 9..=13 | b' ')
}

fn is_sign(byte: u8) -> bool {
    !is_blank(byte) && !byte.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words() -> Words {
        Words::of(tiktoken_rs::o200k_base_singleton(), Some(o200k))
    }

    #[track_caller]
    fn check(words: &Words, text: &str) {
        let told = words.bpe.encode_ordinary(text).len() as u64;
        assert_eq!(words.count(text), told, "{text:?}");
        assert_eq!(words.count(text), told, "{text:?}, remembered");
    }

    #[test]
    fn a_text_has_as_many_tokens_as_the_tokenizer_says() {
        let words = words();
        for text in [
            "",
            "please summarise the quarterly report",
            "ABCdef XMLHttp camelCase SCREAMING_CASE x1y22z333w4444",
            "don't it's WE'LL I'd they're you'Ve 'tis o'clock it'sok 's",
            "a  b   c\t\td \n e\n\n\nf \r\n g   ",
            "  leading, and (signs): {\"a\": [1, 22, 333]} // path/to//file\n/\n..foo -- bar==baz!!\n\n",
            "\u{b}\u{c}\u{1f}\u{7f}\0",
            "nämlich 中文 mixed naïve",
        ] {
            check(&words, text);
        }
        check(&words, &"a".repeat(2_000));
        check(&words, &" ".repeat(2_000));
    }

    #[test]
    fn so_has_any_other_text() {
        let words = words();
        let letters: Vec<char> = "abzABZ019  \t\n\r\u{b}.,'sStTmMdDrRvVeElL/\\\"{}-_=é中ſ".chars().collect();
        let mut seed = 9_u64;
        let mut next = |below: usize| {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            seed as usize % below
        };
        for round in 0..20_000 {
            // Most rounds leave the last ones, which are not ASCII, out.
            let most = if round % 8 == 0 { letters.len() } else { letters.len() - 3 };
            let text: String = (0..next(24)).map(|_| letters[next(most)]).collect();
            check(&words, &text);
        }
    }
}
