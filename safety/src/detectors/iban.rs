//! IBANs: a country's own length and the sum modulo 97, grouped by four or not, in either case.

use std::ops::Range;

use crate::text::{Separator, before, byte, closes, opens, separator};

/// Lengths by country, from the registry.
#[rustfmt::skip]
const LENGTHS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24), (b"AE", 23), (b"AL", 28), (b"AT", 20), (b"AZ", 28), (b"BA", 20), (b"BE", 16), (b"BG", 22),
    (b"BH", 22), (b"BI", 27), (b"BR", 29), (b"BY", 28), (b"CH", 21), (b"CR", 22), (b"CY", 28), (b"CZ", 24),
    (b"DE", 22), (b"DJ", 27), (b"DK", 18), (b"DO", 28), (b"EE", 20), (b"EG", 29), (b"ES", 24), (b"FI", 18),
    (b"FK", 18), (b"FO", 18), (b"FR", 27), (b"GB", 22), (b"GE", 22), (b"GI", 23), (b"GL", 18), (b"GR", 27),
    (b"GT", 28), (b"HN", 28), (b"HR", 21), (b"HU", 28), (b"IE", 22), (b"IL", 23), (b"IQ", 23), (b"IS", 26),
    (b"IT", 27), (b"JO", 30), (b"KW", 30), (b"KZ", 20), (b"LB", 28), (b"LC", 32), (b"LI", 21), (b"LT", 20),
    (b"LU", 20), (b"LV", 21), (b"LY", 25), (b"MC", 27), (b"MD", 24), (b"ME", 22), (b"MK", 19), (b"MN", 20),
    (b"MR", 27), (b"MT", 31), (b"MU", 30), (b"NI", 28), (b"NL", 18), (b"NO", 15), (b"OM", 23), (b"PK", 24),
    (b"PL", 28), (b"PS", 29), (b"PT", 25), (b"QA", 29), (b"RO", 24), (b"RS", 22), (b"RU", 33), (b"SA", 24),
    (b"SC", 31), (b"SD", 18), (b"SE", 24), (b"SI", 19), (b"SK", 24), (b"SM", 27), (b"SO", 23), (b"ST", 25),
    (b"SV", 28), (b"TL", 23), (b"TN", 24), (b"TR", 26), (b"UA", 29), (b"VA", 22), (b"VG", 24), (b"XK", 20),
    (b"YE", 30),
];

/// Asked at the check digits, two letters after the start.
pub(crate) fn at(text: &[u8], run: Range<usize>) -> Option<Range<usize>> {
    let start = run.start.checked_sub(2)?;
    let country = [text[start].to_ascii_uppercase(), text[start + 1].to_ascii_uppercase()];
    if run.len() < 2 || !country[1].is_ascii_uppercase() || !opens(text, start) || before(text, start) == Some(b'_') {
        return None;
    }
    let length = LENGTHS.iter().find(|(code, _)| **code == country)?.1;
    let mut letters: Vec<u8> = Vec::with_capacity(length);
    let mut place = start;
    while letters.len() < length {
        match byte(text, place) {
            Some(b) if b.is_ascii_alphanumeric() => {
                letters.push(b.to_ascii_uppercase());
                place += 1;
            }
            _ if !letters.is_empty() && letters.len().is_multiple_of(4) => match separator(text, place)? {
                (Separator::Space | Separator::Dash, wide)
                    if byte(text, place + wide).is_some_and(|b| b.is_ascii_alphanumeric()) =>
                {
                    place += wide;
                }
                _ => return None,
            },
            _ => return None,
        }
    }
    (closes(text, place) && remainder(&letters) == 1).then_some(start..place)
}

fn remainder(letters: &[u8]) -> u32 {
    letters[4..].iter().chain(&letters[..4]).fold(0, |sum, &letter| match letter {
        b'0'..=b'9' => (sum * 10 + u32::from(letter - b'0')) % 97,
        _ => (sum * 100 + u32::from(letter - b'A') + 10) % 97,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detectors::found;

    #[test]
    fn the_registry_s_examples_are_found_grouped_or_not_in_either_case() {
        for plain in [
            "DE89370400440532013000",
            "GB29NWBK60161331926819",
            "FR1420041010050500013M02606",
            "NL91ABNA0417164300",
            "BE68539007547034",
            "CH9300762011623852957",
            "AT611904300234573201",
            "ES9121000418450200051332",
            "IT60X0542811101000000123456",
            "NO9386011117947",
            "PL61109010140000071219812874",
            "SE4550000000058398257466",
            "MT84MALT011000012345MTLCAST001S",
            "SA0380000000608010167519",
            "LC55HEMM000100010012001200023015",
        ] {
            let grouped: Vec<&str> = (0..plain.len()).step_by(4).map(|i| &plain[i..plain.len().min(i + 4)]).collect();
            for iban in [plain.to_owned(), plain.to_lowercase(), grouped.join(" "), grouped.join("-").to_lowercase()] {
                for text in
                    [iban.clone(), format!("IBAN: {iban}, BIC X"), format!("\\n{iban}\\n"), format!("é{iban}字")]
                {
                    assert_eq!(found(at, &text), [iban.as_str()], "{text}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_an_iban_is_left_alone() {
        for text in [
            "DE89370400440532013001",
            "DE8937040044053201300",
            "DE893704004405320130000",
            "XX89370400440532013000",
            "ADE89370400440532013000",
            "DE89 37 0400 4405 3201 3000",
            "DE89",
            "de 89 bottles",
            "89",
            "E89370400440532013000",
        ] {
            assert!(found(at, text).is_empty(), "{text}");
        }
    }
}
