//! E-mail addresses, asked at the `@` (or its form in a URL, `%40`). Letters beyond ASCII count in the alphabets
//! that are written with spaces between words; in others an address would run into the sentence around it.

use std::ops::Range;

use crate::text::escape_ends;

const LONGEST_LOCAL: usize = 64;
const LONGEST_DOMAIN: usize = 253;

/// `sign` is where the `@` or `%40` stands.
pub(crate) fn at(text: &str, sign: Range<usize>) -> Option<Range<usize>> {
    let domain = domain(text, sign.end)?;
    let start = local(text, sign.start)?;
    // `git@host:path` names a repository and `matrix@other.transpose()` is code.
    let rest = &text.as_bytes()[domain..];
    let repository = &text[start..sign.start] == "git" && matches!(rest.first(), Some(b':' | b'/'));
    (!repository && rest.first() != Some(&b'(')).then_some(start..domain)
}

fn is_letter(c: char) -> bool {
    c.is_ascii_alphanumeric() || (matches!(c, '\u{c0}'..='\u{52f}') && c.is_alphabetic())
}

/// Where the local part starts that ends at `end`.
fn local(text: &str, end: usize) -> Option<usize> {
    let mut start = end;
    for c in text[..end].chars().rev() {
        let belongs =
            is_letter(c) || matches!(c, '.' | '_' | '%' | '+' | '-' | '\'' | '&' | '~' | '!' | '#' | '$' | '*');
        if !belongs || end - start >= LONGEST_LOCAL {
            break;
        }
        start -= c.len_utf8();
    }
    let bytes = text.as_bytes();
    if start > 0 && bytes[start - 1] == b'\\' {
        // The letter of an escape is no part of the name.
        start += [1, 5].into_iter().find(|&wide| start + wide <= end && escape_ends(bytes, start + wide)).unwrap_or(0);
    }
    let name = &text[start..end];
    let trimmed = name.trim_start_matches(|c: char| !is_letter(c) && c != '_');
    let last = trimmed.chars().next_back()?;
    (last != '.').then(|| end - trimmed.len())
}

/// Where the domain ends that starts at `start`.
fn domain(text: &str, start: usize) -> Option<usize> {
    let mut end = start;
    for c in text[start..].chars() {
        let wide = c.len_utf8();
        let belongs = is_letter(c) || ((c == '.' || c == '-') && end > start);
        if !belongs || end + wide - start > LONGEST_DOMAIN {
            break;
        }
        end += wide;
    }
    // Shortened label by label until what remains can be a domain: a sentence may go on behind the dot.
    let mut name = text[start..end].trim_end_matches(['.', '-']);
    // `package@1.2.3-beta.rc` is a version.
    let is_number = |label: &str| label.bytes().all(|b| b.is_ascii_digit());
    if name.split('.').take(2).filter(|label| is_number(label)).count() == 2 {
        return None;
    }
    if let Some(at) = name.find("..") {
        name = &name[..at];
    }
    loop {
        let (rest, top) = name.rsplit_once('.')?;
        if is_top(top) && rest.split('.').all(is_label) {
            return Some(start + name.len());
        }
        name = rest;
    }
}

fn is_label(label: &str) -> bool {
    matches!(label.len(), 1..=63) && !label.starts_with('-') && !label.ends_with('-')
}

fn is_top(label: &str) -> bool {
    let plain = label.chars().count() >= 2 && label.chars().all(|c| is_letter(c) && !c.is_ascii_digit());
    plain || label.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("xn--")) && is_label(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<&str> {
        let signs =
            ["@", "%40"].into_iter().flat_map(|sign| text.match_indices(sign)).map(|(at, sign)| at..at + sign.len());
        signs.filter_map(|sign| at(text, sign)).map(|range| &text[range]).collect()
    }

    #[test]
    fn addresses_are_found_whole() {
        let check = |text: &str, address: &str| assert_eq!(found(text), [address], "{text}");
        check("alice@example.com", "alice@example.com");
        check("<alice@example.com>", "alice@example.com");
        check("mailto:alice@example.com?subject=x", "alice@example.com");
        check("Write to alice.b+tag@mail.example.co.uk.", "alice.b+tag@mail.example.co.uk");
        check("'o'brien@example.ie'", "o'brien@example.ie");
        check("\"email\":\"a_b@x-y.io\",", "a_b@x-y.io");
        check("user=alice@example.com&x=1", "alice@example.com");
        check("{\"t\":\"hi\\nalice@example.com\\n\"}", "alice@example.com");
        check("\\u003calice@example.com\\u003e", "alice@example.com");
        check("请联系alice@example.com谢谢", "alice@example.com");
        check("müller@bücher.de", "müller@bücher.de");
        check("иван@пример.рф", "иван@пример.рф");
        check("a@xn--bcher-kva.example", "a@xn--bcher-kva.example");
        check("x@163.com", "x@163.com");
        check("alice@example.com.42", "alice@example.com");
        check("alice@example.com...", "alice@example.com");
        check("?to=alice%40example.com&", "alice%40example.com");
        check("ALICE@EXAMPLE.COM", "ALICE@EXAMPLE.COM");
        check("https://alice@example.com/", "alice@example.com");
    }

    #[test]
    fn what_is_not_an_address_is_left_alone() {
        for text in [
            "@app.route",
            "a@b",
            "a@b.c",
            "a@.com",
            "a@-x.com",
            "a.@b.com",
            "@",
            "a@",
            "@@",
            "a@@b.com",
            "react@18.2.0",
            "lodash@4.17.21-beta.rc",
            "root@localhost",
            "nginx@sha256:abcd",
            "git@github.com:org/repo.git",
            "ssh://git@github.com/org/repo.git",
            "x@w.transpose()",
            "alice @ example.com",
            "user@192.168.0.1",
            "100%40",
            "a@b..com",
        ] {
            assert!(found(text).is_empty(), "{text}: {:?}", found(text));
        }
    }
}
