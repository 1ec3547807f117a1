//! Telephone numbers. With `+` and a country code they speak for themselves, so do North American ones in their usual
//! dress; every other form needs a word before it that promises a number to call. When in doubt it is none: most
//! numbers in a prompt are not telephones, and a false finding corrupts the prompt.

use std::ops::Range;
use std::sync::LazyLock;

use super::countries::COUNTRIES;
use crate::text::{Separator, Words, before, byte, digits_end, number_closes, number_opens, opens, separator};

/// Words that label a number as one to call.
const LABELS: &[&str] = &[
    "phone*",
    "telephone*",
    "tel",
    "mobile*",
    "cell",
    "cellphone*",
    "fax*",
    "whatsapp",
    "handy*",
    "telefon*",
    "mobil",
    "móvil*",
    "portable",
    "téléphone*",
    "hotline*",
    "rufnummer",
    "celular",
    "cel",
    "电话",
    "手机",
    "電話",
    "телефон",
    "call me",
    "call us",
    "call him",
    "call her",
    "call them",
    "reach me",
    "text me",
    "dial",
    "ring me",
    "phone_number",
    "phonenumber",
    "msisdn",
    "landline",
    "pager",
];
/// Words beside which a number that is written like a telephone's probably is one.
const HINTS: &[&str] = &[
    "call",
    "sms",
    "called",
    "calling",
    "contact*",
    "reach*",
    "text",
    "texted",
    "ring",
    "rang",
    "number is",
    "my number",
    "anrufen",
    "appel*",
    "llam*",
];
/// Words that promise another number.
const OTHERS: &[&str] = &[
    "order*",
    "invoice*",
    "ticket*",
    "case",
    "part",
    "sku*",
    "isbn*",
    "issn",
    "serial*",
    "id",
    "ids",
    "uuid",
    "ref",
    "reference*",
    "account*",
    "acct*",
    "tracking*",
    "model*",
    "version*",
    "code*",
    "po",
    "item*",
    "product*",
    "upc",
    "ean",
    "gtin",
    "lot",
    "batch*",
    "ip",
    "date*",
    "timestamp*",
    "port",
    "pid",
    "error*",
    "line",
    "lines",
    "page*",
    "commit*",
    "hash*",
    "imei*",
    "zip*",
    "postal*",
    "function*",
    "method*",
    "api",
    "rfc",
    "issue*",
    "build*",
    "amount*",
    "total*",
    "price*",
];

/// More digits than any number has.
const TOO_MANY: usize = 16;

pub(crate) fn at(text: &[u8], run: Range<usize>) -> Option<Range<usize>> {
    if run.len() >= TOO_MANY || run.is_empty() {
        return None;
    }
    if before(text, run.start) == Some(b'+')
        || before(text, run.start) == Some(b'(') && before(text, run.start - 1) == Some(b'+')
    {
        return international(text, &run);
    }
    let start = if before(text, run.start) == Some(b'(') { run.start - 1 } else { run.start };
    if !number_opens(text, start)
        || matches!(before(text, start), Some(b'$' | b'#' | b'/' | b'=' | b':' | b',') if glued(text, start))
    {
        return None;
    }
    // Most numbers are neither long enough nor followed by another group, or go on from one.
    let bare = run.len() >= 9 || gap(text, run.end).is_some();
    let code = run.len() == 3
        || (text[run.clone()] == *b"1"
            && gap(text, run.end).is_some_and(|(_, next)| digits_end(text, next) == next + 3));
    let first = !follows_digits(text, start);
    if !bare || !(code || first) {
        return None;
    }
    let groups = Groups::read(text, start, run.start);
    let american = if code { groups.north_american(text) } else { None };
    american.or_else(|| if first { groups.local(text) } else { None })
}

/// Whether a digit or a sign of code stands right before the character before `start`.
fn glued(text: &[u8], start: usize) -> bool {
    match before(text, start) {
        Some(b'$' | b'#') => true,
        Some(b'=') => false,
        _ => before(text, start - 1).is_some_and(|b| b.is_ascii_digit()),
    }
}

/// Whether another group of digits ends a space before `start`.
fn follows_digits(text: &[u8], start: usize) -> bool {
    before(text, start) == Some(b' ') && before(text, start - 1).is_some_and(|b| b.is_ascii_digit())
}

fn international(text: &[u8], run: &Range<usize>) -> Option<Range<usize>> {
    let plus = if text[run.start - 1] == b'+' { run.start - 1 } else { run.start - 2 };
    if !opens(text, plus) || matches!(before(text, plus), Some(b'+' | b'.' | b'-')) {
        return None;
    }
    let groups = Groups::read(text, plus, run.start);
    if let [whole, _] = groups.each.as_slice()
        && whole.followed == Some(Separator::Dot)
        && whole.range.len() > 3
    {
        return None; // a decimal with its sign
    }
    let digits: Vec<u8> =
        groups.each.iter().filter(|group| !group.trunk).flat_map(|group| &text[group.range.clone()]).copied().collect();
    let country = (1..=3).find_map(|wide| {
        let code = number(digits.get(..wide)?);
        COUNTRIES.iter().find(|&&(known, _, _)| known == code).map(|&(_, fewest, most)| (wide, fewest, most))
    });
    let (wide, fewest, most) = country?;
    if wide == 1 && digits[0] == b'1' && !matches!(digits.get(1), Some(b'2'..=b'9')) {
        return None;
    }
    // A code in one group with its number, or alone in the first.
    groups
        .ends(text)
        .rev()
        .find(|&(_, count)| (fewest..=most).contains(&count.saturating_sub(wide)))
        .map(|(end, _)| plus..end)
}

fn number(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |sum, &digit| sum * 10 + u32::from(digit - b'0'))
}

struct Group {
    range: Range<usize>,
    /// In parentheses.
    enclosed: bool,
    /// The zero in `+44 (0)20`, not dialled.
    trunk: bool,
    /// What stands behind it, if another group follows.
    followed: Option<Separator>,
}

/// Groups of digits as people write a telephone number.
struct Groups {
    start: usize,
    each: Vec<Group>,
}

impl Groups {
    /// Reads on from the digits at `first`; bounded by the digits that a number may have.
    fn read(text: &[u8], start: usize, first: usize) -> Groups {
        let mut groups = Groups { start, each: Vec::new() };
        let (mut place, mut digits) = (first, 0);
        loop {
            let end = digits_end(&text[..text.len().min(place + TOO_MANY)], place);
            let enclosed = before(text, place) == Some(b'(') && byte(text, end) == Some(b')');
            let trunk = enclosed && &text[place..end] == b"0" && start < place - 1;
            digits += end - place;
            if end == place || digits >= TOO_MANY || end - place >= TOO_MANY {
                break;
            }
            groups.each.push(Group { range: place..end, enclosed, trunk, followed: None });
            let Some((kind, next)) = gap(text, end) else { break };
            if let Some(last) = groups.each.last_mut() {
                last.followed = Some(kind);
            }
            place = next;
        }
        if let Some(last) = groups.each.last_mut() {
            last.followed = None;
        }
        groups
    }

    /// Where a number may end, with the digits up to there.
    fn ends<'a>(&'a self, text: &'a [u8]) -> impl DoubleEndedIterator<Item = (usize, usize)> + 'a {
        let counts: Vec<usize> = self
            .each
            .iter()
            .scan(0, |sum, group| {
                *sum += if group.trunk { 0 } else { group.range.len() };
                Some(*sum)
            })
            .collect();
        let last = self.each.len().saturating_sub(1);
        self.each.iter().zip(counts).enumerate().filter_map(move |(i, (group, count))| {
            let end = group.range.end;
            let cut = i < last && group.followed != Some(Separator::Space);
            (!group.trunk && !cut && number_closes(text, end)).then_some((end, count))
        })
    }

    /// `(415) 555-2671`, `415-555-2671`, `1 415 555 2671`.
    fn north_american(&self, text: &[u8]) -> Option<Range<usize>> {
        let long = self.each.first()?.range.len() == 1 && text[self.each[0].range.start] == b'1';
        let [area, exchange, line, ..] = &self.each[usize::from(long)..] else { return None };
        let end = line.range.end;
        let sizes = [area.range.len(), exchange.range.len(), line.range.len()];
        let cut = line.followed.is_some_and(|kind| kind != Separator::Space);
        let code = &text[area.range.clone()];
        if sizes != [3, 3, 4] || cut || !number_closes(text, end) || code[0] < b'2' || &code[1..] == b"11" {
            return None;
        }
        let dashed = area.followed == Some(Separator::Dash) && exchange.followed == Some(Separator::Dash);
        let enclosed = area.enclosed && exchange.followed.is_some();
        let promise = WORDS.before(text, self.start);
        let plain = (dashed || enclosed) && promise != Some(Promise::Other);
        (plain || matches!(promise, Some(Promise::Label | Promise::Hint))).then_some(self.start..end)
    }

    /// The forms of everywhere else, and bare digits: only where a word promises a number to call.
    fn local(&self, text: &[u8]) -> Option<Range<usize>> {
        let first = self.each.first()?;
        let feasible = first.range.len() <= 13 && (self.each.len() > 1 || first.range.len() >= 9);
        if !feasible {
            return None;
        }
        let (end, count) = self.ends(text).rev().find(|&(_, count)| count <= 13)?;
        let groups: Vec<&Group> = self.each.iter().take_while(|group| group.range.end <= end).collect();
        let sizes: Vec<usize> = groups.iter().map(|group| group.range.len()).collect();
        let short = sizes == [3, 4] && first.followed == Some(Separator::Dash);
        let dotted = groups.len() > 1 && first.followed == Some(Separator::Dot);
        let is_date =
            matches!(sizes.as_slice(), [4, 1 | 2, 1 | 2] | [1 | 2, 1 | 2, 4] | [1 | 2, 1 | 2, 2] | [4, 2, 2, ..]);
        // Digits one by one are a list, many pairs are a dump.
        let is_list = sizes.iter().filter(|&&size| size == 1).count() > 1
            || (sizes.len() > 5 && sizes.iter().all(|&size| size == 2));
        let is_address = dotted && sizes.len() == 4 && sizes.iter().all(|&size| size <= 3);
        if is_date || is_list || is_address || !(short || (8..=13).contains(&count)) {
            return None;
        }
        let trunk = text[first.range.start] == b'0';
        let fits = match WORDS.before(text, self.start) {
            // Bare digits as short as an id's want more than a label's word.
            Some(Promise::Label) => short || groups.len() > 1 || (9..=13).contains(&count),
            Some(Promise::Hint) => short || (groups.len() > 1 && trunk && count >= 9),
            Some(Promise::Other) | None => false,
        };
        fits.then_some(self.start..end)
    }
}

/// What may stand between two groups: a separator, a slash, parentheses around either.
fn gap(text: &[u8], at: usize) -> Option<(Separator, usize)> {
    let mut place = at;
    let mut kind = None;
    if byte(text, place) == Some(b')') {
        place += 1;
        kind = Some(Separator::Space);
    }
    if let Some((found, wide)) = separator(text, place) {
        place += wide;
        kind = Some(found);
    } else if byte(text, place) == Some(b'/') {
        place += 1;
        kind = Some(Separator::Dash);
    }
    if byte(text, place) == Some(b'(') {
        place += 1;
        kind = kind.or(Some(Separator::Space));
    }
    byte(text, place).filter(u8::is_ascii_digit)?;
    kind.map(|kind| (kind, place))
}

/// What the words before a number promise; the nearest decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Promise {
    /// A number to call.
    Label,
    /// Perhaps one.
    Hint,
    /// Another number.
    Other,
}

static WORDS: LazyLock<Words<Promise>> =
    LazyLock::new(|| Words::new(&[(Promise::Label, LABELS), (Promise::Hint, HINTS), (Promise::Other, OTHERS)]));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::found;

    #[test]
    fn numbers_with_a_country_code_are_found_anywhere() {
        for number in [
            "+14155552671",
            "+1 415 555 2671",
            "+1 (415) 555-2671",
            "+1-415-555-2671",
            "+1.415.555.2671",
            "+1.4155552671",
            "+442071838750",
            "+44 20 7183 8750",
            "+44 (0)20 7183 8750",
            "+551155256325",
            "+49 30 901820",
            "+49 (30) 901820",
            "+49 151/12345678",
            "+33 6 12 34 56 78",
            "+86 138 0013 8000",
            "+91 98765 43210",
            "+81-3-1234-5678",
            "+354 555 1234",
            "+971 50 123 4567",
            "+1\u{a0}415\u{a0}555\u{a0}2671",
        ] {
            for text in [
                number.to_owned(),
                format!("({number})"),
                format!("ü {number}, or"),
                format!("\\n{number}\\n"),
                format!("漢{number}字"),
            ] {
                assert_eq!(found(at, &text), [number], "{text}");
            }
        }
    }

    #[test]
    fn national_numbers_are_found_in_their_usual_dress_or_where_a_word_promises_one() {
        let check = |text: &str, number: &str| assert_eq!(found(at, text), [number], "{text}");
        check("(415) 555-2671", "(415) 555-2671");
        check("(415)555-2671", "(415)555-2671");
        check("415-555-2671", "415-555-2671");
        check("1-415-555-2671", "1-415-555-2671");
        check("My number is 555-123-4567.", "555-123-4567");
        check("call 415.555.2671 now", "415.555.2671");
        check("call 415 555 2671 now", "415 555 2671");
        check("phone: 4155552671", "4155552671");
        check("phone: 555-0123", "555-0123");
        check("{\"phoneNumber\":\"4155552671\"}", "4155552671");
        check("phone_number=4155552671", "4155552671");
        check("Tel. 030 901820", "030 901820");
        check("tel: 020 7183 8750", "020 7183 8750");
        check("Telefon 0151/12345678", "0151/12345678");
        check("téléphone : 06 12 34 56 78", "06 12 34 56 78");
        check("téléphone : 06.12.34.56.78", "06.12.34.56.78");
        check("call me at 07911 123456", "07911 123456");
        check("手机：13800138000", "13800138000");
        check("手机 138 0013 8000", "138 0013 8000");
        check("mobile: 0412 345 678", "0412 345 678");
        check("Order 5 arrived, call 415-555-2671", "415-555-2671");
    }

    #[test]
    fn plain_numbers_of_every_other_sort_are_left_alone() {
        for text in [
            "4155552671",
            "order 415-555-2671",
            "order id 4155552671",
            "SKU 202-555-0143",
            "2024-01-02",
            "call me on 2024-01-02",
            "phone me on 02.01.2024",
            "phone support since 12/05/2023",
            "2024-01-02T03:04:05.123456+0530",
            "2024-01-02T03:04:05+01:00",
            "3.1415926535",
            "phone costs 1234.567",
            "phone app version 20240101",
            "1.22.333.4444",
            "call 192.168.100.200",
            "550e8400-e29b-41d4-a716-446655440000",
            "phone id 550e8400-e29b-41d4-a716-446655440000",
            "12345678-1234-4234-8234-123456789012",
            "1700000000000",
            "x = 1 +1234567890",
            "+35236450.6",
            "+491512345.678",
            "contact 00 05 64 69 66 66",
            "+12345678",
            "+1000000000",
            "+10000000000",
            "1+14155552671",
            "++14155552671",
            "@@ -12,34 +1234,5 @@",
            "+999 123 4567",
            "0x4155552671",
            "1-1-1-1-1-1-1-1-1-1",
            "+1-+1-+1-+1-",
            "1,234,567,890",
            "$415-555-2671",
            "#415-555-2671",
            "911-555-2671-1",
            "11-555-2671",
            "155-555-2671",
            "ISBN 978-3-16-148410-0",
            "10 000 000 000",
            "call 0 1 2 3 4 5 6 7 8 9",
            "call on 0.1.9 (2015-02-03)",
            "const SMS: u32 = 536916224;",
            "row 1 2 3 4 5 6 7 8 9 10",
            "fn call(a: u32) { 12345678 }",
            "a415-555-2671",
            "415-555-2671-99",
            "415-555-26711",
        ] {
            assert!(found(at, text).is_empty(), "{text}: {:?}", found(at, text));
        }
    }
}
