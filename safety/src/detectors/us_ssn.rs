//! Social security numbers of the United States. With dashes they speak for themselves; with spaces or bare they
//! need a word beside them that says so.

use std::ops::Range;
use std::sync::LazyLock;

use crate::text::{Separator, Words, digits_end, number_closes, number_opens, separator};

static WORDS: LazyLock<Words<()>> = LazyLock::new(|| {
    Words::new(&[(
        (),
        &[
            "ssn",
            "ssn#*",
            "ssns",
            "ssnno*",
            "ssnnum*",
            "ss#*",
            "social security*",
            "social-security*",
            "social_security*",
            "socialsecurity*",
            "social sec*",
            "soc sec*",
            "soc. sec*",
        ],
    )])
});

/// How far behind a number the word may stand, as in `123456789 (SSN)`.
const AFTER: usize = 20;

pub(crate) fn at(text: &[u8], run: Range<usize>) -> Option<Range<usize>> {
    if !matches!(run.len(), 3 | 9) || !number_opens(text, run.start) {
        return None;
    }
    if run.len() == 9 {
        let digits = &text[run.clone()];
        let valid = is_valid(&digits[..3], &digits[3..5], &digits[5..]);
        return (valid && number_closes(text, run.end) && named(text, &run)).then_some(run);
    }
    let (first, wide) = separator(text, run.end)?;
    let group = run.end + wide..digits_end(text, run.end + wide);
    let (second, wide) = separator(text, group.end)?;
    let serial = group.end + wide..digits_end(text, group.end + wide);
    if group.len() != 2 || serial.len() != 4 || first != second || !number_closes(text, serial.end) {
        return None;
    }
    let found = run.start..serial.end;
    let valid = is_valid(&text[run], &text[group], &text[serial]);
    (valid && (first == Separator::Dash || named(text, &found))).then_some(found)
}

fn named(text: &[u8], number: &Range<usize>) -> bool {
    let after = &text[number.end..text.len().min(number.end + AFTER)];
    WORDS.before(text, number.start).is_some() || WORDS.last(after).is_some()
}

fn is_valid(area: &[u8], group: &[u8], serial: &[u8]) -> bool {
    area != b"000" && area != b"666" && area[0] != b'9' && group != b"00" && serial != b"0000"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::found;

    #[test]
    fn numbers_are_found_with_dashes_or_beside_their_name() {
        let check = |text: &str, ssn: &str| assert_eq!(found(at, text), [ssn], "{text}");
        check("123-45-6789", "123-45-6789");
        check("My number is 078-05-1120.", "078-05-1120");
        check("(219-09-9999)", "219-09-9999");
        check("é123–45–6789字", "123–45–6789");
        check("SSN 123 45 6789", "123 45 6789");
        check("social security number: 123456789", "123456789");
        check("{\"ssn\":\"123456789\"}", "123456789");
        check("user_ssn=123456789", "123456789");
        check("123456789 (SSN)", "123456789");
        check("\\n123-45-6789\\n", "123-45-6789");
    }

    #[test]
    fn what_is_not_one_is_left_alone() {
        for text in [
            "123456789",
            "order 123456789",
            "className 123456789",
            "123 45 6789",
            "123.45.6789",
            "000-12-3456",
            "666-12-3456",
            "900-12-3456",
            "123-00-4567",
            "123-45-0000",
            "ssn 000000000",
            "1123-45-6789",
            "123-45-67890",
            "123-45-6789-1",
            "0-123-45-6789",
            "a123-45-6789",
            "123-45 6789",
            "2024-01-02",
        ] {
            assert!(found(at, text).is_empty(), "{text}");
        }
    }
}
