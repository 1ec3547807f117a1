//! Payment cards: an issuer's range and length, Luhn's sum, and a grouping that people write.

use std::ops::Range;
use std::sync::LazyLock;

use crate::text::{Separator, Words, digits_end, number_closes, number_opens, separator};

/// First digits from–to (of the same number of digits), and the lengths issued.
const ISSUERS: &[(u32, u32, &[usize])] = &[
    (4, 4, &[13, 16, 19]),                   // Visa
    (51, 55, &[16]),                         // Mastercard
    (2221, 2720, &[16]),                     // Mastercard
    (34, 34, &[15]),                         // American Express
    (37, 37, &[15]),                         // American Express
    (6011, 6011, &[16, 17, 18, 19]),         // Discover
    (644, 659, &[16, 17, 18, 19]),           // Discover, RuPay
    (60, 60, &[16]),                         // RuPay, Hipercard
    (62, 62, &[16, 17, 18, 19]),             // UnionPay
    (3528, 3589, &[16, 17, 18, 19]),         // JCB
    (300, 305, &[14, 16, 19]),               // Diners Club
    (3095, 3095, &[14, 16, 19]),             // Diners Club
    (36, 36, &[14, 16, 19]),                 // Diners Club
    (38, 39, &[14, 16, 19]),                 // Diners Club
    (2200, 2204, &[16, 17, 18, 19]),         // Mir
    (5018, 5020, &[13, 14, 15, 16, 18, 19]), // Maestro, Dankort
    (5038, 5038, &[13, 14, 15, 16, 18, 19]), // Maestro
    (5893, 5893, &[13, 14, 15, 16, 18, 19]), // Maestro
    (6304, 6304, &[13, 14, 15, 16, 18, 19]), // Maestro
    (6759, 6763, &[13, 14, 15, 16, 18, 19]), // Maestro
    (5060, 5061, &[16, 18, 19]),             // Verve
    (5067, 5067, &[16]),                     // Elo
    (509, 509, &[16]),                       // Elo
    (6362, 6363, &[16]),                     // Elo
    (9792, 9792, &[16]),                     // Troy
];

/// How people group the digits of a card. Any other grouping is a list of numbers.
const GROUPINGS: &[&[usize]] = &[
    &[4, 4, 4, 4],
    &[4, 4, 4, 4, 1],
    &[4, 4, 4, 4, 2],
    &[4, 4, 4, 4, 3],
    &[4, 4, 4, 1],
    &[4, 4, 4, 2],
    &[4, 4, 4, 3],
    &[4, 4, 5],
    &[4, 4, 8],
    &[4, 3, 3, 3],
    &[4, 6, 4],
    &[4, 6, 5],
    &[8, 8],
];

/// Numbers with a name of their own, some with Luhn's sum.
static OTHERS: LazyLock<Words<()>> = LazyLock::new(|| {
    Words::new(&[((), &["ean*", "gtin*", "upc", "barcode*", "isbn*", "imei*", "iccid*", "tracking*", "snowflake*"])])
});

const MOST_GROUPS: usize = 5;

pub(crate) fn at(text: &[u8], run: Range<usize>) -> Option<Range<usize>> {
    if !matches!(run.len(), 4 | 8 | 13..=19) || !number_opens(text, run.start) || text[run.start] == b'0' {
        return None;
    }
    let mut groups = vec![run.clone()];
    while groups.len() < MOST_GROUPS {
        let last = groups[groups.len() - 1].end;
        let Some((Separator::Space | Separator::Dash, wide)) = separator(text, last) else { break };
        let end = digits_end(text, last + wide);
        // The longest group of any grouping has eight digits; a longer run is another number.
        if end == last + wide || end - last - wide > 8 {
            break;
        }
        groups.push(last + wide..end);
    }
    (1..=groups.len())
        .rev()
        .find(|&count| is_card(text, &groups[..count]))
        .map(|count| run.start..groups[count - 1].end)
}

fn is_card(text: &[u8], groups: &[Range<usize>]) -> bool {
    let sizes: Vec<usize> = groups.iter().map(|group| group.len()).collect();
    if sizes.len() > 1 && !GROUPINGS.contains(&sizes.as_slice()) {
        return false;
    }
    let digits: Vec<u8> = groups.iter().flat_map(|group| &text[group.clone()]).map(|b| b - b'0').collect();
    matches!(digits.len(), 13..=19)
        && groups.last().is_some_and(|last| number_closes(text, last.end))
        && is_issued(&digits)
        && (sizes.len() > 1 || !is_long_id(&digits))
        && luhn(&digits)
        && OTHERS.before(text, groups[0].start).is_none()
}

/// Ids of 64 bits have up to 19 digits. Bare cards as long are issued by UnionPay and Maestro only.
fn is_long_id(digits: &[u8]) -> bool {
    digits.len() > 16 && !matches!(digits, [6, 2 | 3 | 7, ..] | [5, 0 | 8, ..])
}

fn is_issued(digits: &[u8]) -> bool {
    ISSUERS.iter().any(|&(from, to, lengths)| {
        let width = from.ilog10() as usize + 1;
        let first = digits.iter().take(width).fold(0, |sum, &digit| sum * 10 + u32::from(digit));
        (from..=to).contains(&first) && lengths.contains(&digits.len())
    })
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, &digit)| match u32::from(digit) * if place % 2 == 1 { 2 } else { 1 } {
            twice @ 10.. => twice - 9,
            once => once,
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::found;

    #[test]
    fn the_issuers_test_numbers_are_found_however_they_are_grouped() {
        for card in [
            "4111111111111111",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "4111\u{a0}1111\u{a0}1111\u{a0}1111",
            "41111111 11111111",
            "4242424242424242",
            "4012888888881881",
            "4222222222222",
            "5555555555554444",
            "5105 1051 0510 5100",
            "2223003122003222",
            "2720990000000007",
            "378282246310005",
            "3782 822463 10005",
            "371449635398431",
            "6011111111111117",
            "6011000990139424",
            "30569309025904",
            "3056 930902 5904",
            "38520000023237",
            "3530111333300000",
            "6200000000000005",
            "6759649826438453",
            "6205500000000000004",
            "4000 0000 0000 0000 006",
        ] {
            for text in
                [card.to_owned(), format!("card: {card}."), format!("pay with {card}, please"), format!("ü{card}漢")]
            {
                assert_eq!(found(at, &text), [card], "{text}");
            }
        }
    }

    #[test]
    fn a_security_code_after_the_card_does_not_hide_it() {
        assert_eq!(found(at, "4111 1111 1111 1111 123"), ["4111 1111 1111 1111"]);
        assert_eq!(found(at, "4111111111111111 12/27"), ["4111111111111111"]);
        assert_eq!(found(at, "4111111111111111,4242424242424242"), ["4111111111111111", "4242424242424242"]);
        assert_eq!(found(at, "{\"pan\":\"\\n4111111111111111\\n\"}"), ["4111111111111111"]);
    }

    #[test]
    fn what_is_not_a_card_is_left_alone() {
        for text in [
            "4111111111111112", // Luhn
            "1234567812345670", // Luhn holds, nobody issues it
            "0000000000000000",
            "411111111111111",      // a digit short
            "94111111111111111111", // inside a longer run
            "4111111111111111111111111111",
            "a4111111111111111",
            "4111111111111111f",
            "4044404959645932768", // an id of 64 bits
            "EAN 4222222222222",
            "0.4111111111111111",
            "4111111111111111.25",
            "12-4111111111111111",
            "4111-1111-1111-1111-1111",
            "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1",
            "41 11 11 11 11 11 11 11",
            "4111  1111  1111  1111",
            "550e8400-e29b-41d4-a716-446655440000",
            "12345678-1234-4234-8234-123456789012",
            "2024-01-02 03:04:05.123456",
        ] {
            assert!(found(at, text).is_empty(), "{text}");
        }
    }
}
