//! What the detectors ask of the text around a place. Bytes in, all steps bounded, so that a scan stays linear.

/// How far before a place words may speak about it.
const BEFORE: usize = 48;

/// The byte at `at`, if there is one.
pub(crate) fn byte(text: &[u8], at: usize) -> Option<u8> {
    text.get(at).copied()
}

/// The byte before `at`, if there is one.
pub(crate) fn before(text: &[u8], at: usize) -> Option<u8> {
    at.checked_sub(1).and_then(|at| byte(text, at))
}

/// The end of the digits that start at `at`.
pub(crate) fn digits_end(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    at + rest.iter().position(|b| !b.is_ascii_digit()).unwrap_or(rest.len())
}

/// Whether an escape as in JSON ends at `at`: `\n`, `\t`, `\r`, `\u003c`. Arguments of tools are JSON inside a
/// string, and the letter of an escape is no part of the word that follows.
pub(crate) fn escape_ends(text: &[u8], at: usize) -> bool {
    let short = at >= 2 && text[at - 2] == b'\\' && matches!(text[at - 1], b'n' | b'r' | b't');
    let long = at >= 6 && text[at - 6..].starts_with(b"\\u") && text[at - 4..at].iter().all(u8::is_ascii_hexdigit);
    short || long
}

/// Whether a number or word may start at `at`: no letter or digit runs into it.
pub(crate) fn opens(text: &[u8], at: usize) -> bool {
    before(text, at).is_none_or(|b| !b.is_ascii_alphanumeric()) || escape_ends(text, at)
}

/// Whether a number or word may end at `at`.
pub(crate) fn closes(text: &[u8], at: usize) -> bool {
    byte(text, at).is_none_or(|b| !b.is_ascii_alphanumeric())
}

/// Whether a number may start at `at`: not the middle of a decimal, a version, a date or a longer code.
pub(crate) fn number_opens(text: &[u8], at: usize) -> bool {
    let inner = matches!(before(text, at), Some(b'.' | b'-' | b'+'))
        && at >= 2
        && (text[at - 2].is_ascii_digit() || (text[at - 1] == b'-' && text[at - 2].is_ascii_alphabetic()));
    opens(text, at) && !inner
}

/// Whether a number may end at `at`: no decimals and no further part of a longer code follow.
pub(crate) fn number_closes(text: &[u8], at: usize) -> bool {
    let goes_on = matches!(byte(text, at), Some(b'.' | b'-')) && byte(text, at + 1).is_some_and(|b| b.is_ascii_digit());
    closes(text, at) && !goes_on
}

/// What stands between groups of digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Separator {
    Space,
    Dash,
    Dot,
}

/// The separator at `at` and its length in bytes. Typesetters' spaces and dashes count.
pub(crate) fn separator(text: &[u8], at: usize) -> Option<(Separator, usize)> {
    match text.get(at..)? {
        [b' ', ..] => Some((Separator::Space, 1)),
        [b'-', ..] => Some((Separator::Dash, 1)),
        [b'.', ..] => Some((Separator::Dot, 1)),
        [0xc2, 0xa0, ..] => Some((Separator::Space, 2)),
        [0xe2, 0x80, 0xaf, ..] => Some((Separator::Space, 3)),
        [0xe2, 0x80, 0x90..=0x93, ..] => Some((Separator::Dash, 3)),
        _ => None,
    }
}

/// Words to look for beside a place, by their first letter: a window holds few of any.
#[derive(Debug)]
pub(crate) struct Words<M: 'static> {
    by_first: Vec<Vec<Word<M>>>,
}

#[derive(Debug)]
struct Word<M> {
    stem: &'static [u8],
    /// It may go on, as `phone` does in `phones`.
    open: bool,
    meaning: M,
}

impl<M: Copy> Words<M> {
    /// Words are lower case; the text may be either. A word ending in `*` may go on.
    pub(crate) fn new(lists: &[(M, &[&'static str])]) -> Words<M> {
        let mut by_first: Vec<Vec<Word<M>>> = (0..=usize::from(u8::MAX)).map(|_| Vec::new()).collect();
        for &(meaning, list) in lists {
            for word in list {
                let (stem, open) = word.strip_suffix('*').map_or((*word, false), |stem| (stem, true));
                let stem = stem.as_bytes();
                by_first[usize::from(stem[0])].push(Word { stem, open, meaning });
            }
        }
        Words { by_first }
    }

    /// What the nearest of these words before `at` means.
    pub(crate) fn before(&self, text: &[u8], at: usize) -> Option<M> {
        self.last(&text[at.saturating_sub(BEFORE)..at])
    }

    /// What the last of these words in the window means; of two that start at one place, the longer counts.
    pub(crate) fn last(&self, window: &[u8]) -> Option<M> {
        (0..window.len()).rev().find_map(|start| {
            let candidates = &self.by_first[usize::from(window[start].to_ascii_lowercase())];
            if candidates.is_empty() || !starts_word(window, start) {
                return None;
            }
            let stands = |word: &&Word<M>| {
                let end = start + word.stem.len();
                window.get(start..end).is_some_and(|found| found.eq_ignore_ascii_case(word.stem))
                    && (word.open || byte(window, end).is_none_or(|b| !b.is_ascii_lowercase()))
            };
            candidates.iter().filter(stands).max_by_key(|word| word.stem.len()).map(|word| word.meaning)
        })
    }
}

fn starts_word(window: &[u8], at: usize) -> bool {
    let here = window[at];
    match before(window, at) {
        None => true,
        // `userPhone` holds the word phone.
        Some(b) if b.is_ascii_lowercase() => here.is_ascii_uppercase() || escape_ends(window, at),
        Some(b) => !b.is_ascii_alphabetic(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_found_whole_in_any_case_and_after_escapes() {
        let words = Words::new(&[((), &["ssn", "phone*"])]);
        let check = |text: &str, found: bool| {
            assert_eq!(words.before(text.as_bytes(), text.len()).is_some(), found, "{text}");
        };
        check("SSN: ", true);
        check("user_ssn=", true);
        check("{\"userSsn\": ", true);
        check("\\nssn ", true);
        check("className ", false);
        check("ssns ", false);
        check("phoneNumber ", true);
        check("xylophone ", false);
        check(&format!("ssn{}", " ".repeat(60)), false);
    }

    #[test]
    fn escapes_end_where_json_says() {
        assert!(escape_ends(b"\\nx", 2));
        assert!(escape_ends(b"\\u003cx", 6));
        assert!(!escape_ends(b"nx", 1));
        assert!(!escape_ends(b"", 0));
    }
}
