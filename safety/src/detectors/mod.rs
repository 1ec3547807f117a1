//! One file for each kind. A detector is a pure function of the text and of a place where something may start; it
//! looks at a bounded stretch around that place, so it may be asked anywhere and a scan stays linear.

pub(crate) mod api_key;
mod countries;
pub(crate) mod email;
pub(crate) mod iban;
pub(crate) mod payment_card;
pub(crate) mod phone;
pub(crate) mod us_ssn;

use std::ops::Range;

use crate::{Finding, Kind};

/// A detector that is asked at the first digit of every run of digits.
pub(crate) struct Digits {
    pub(crate) kind: Kind,
    pub(crate) name: &'static str,
    /// The run's range goes in; the finding's comes out.
    pub(crate) at: fn(&[u8], Range<usize>) -> Option<Range<usize>>,
}

/// The detectors that start from digits.
pub(crate) const DIGITS: [Digits; 4] = [
    Digits { kind: Kind::PaymentCard, name: "payment_card", at: payment_card::at },
    Digits { kind: Kind::Iban, name: "iban", at: iban::at },
    Digits { kind: Kind::UsSsn, name: "us_ssn", at: us_ssn::at },
    Digits { kind: Kind::Phone, name: "phone", at: phone::at },
];

impl Digits {
    pub(crate) fn find(&self, text: &[u8], run: Range<usize>) -> Option<Finding> {
        (self.at)(text, run).map(|range| Finding { kind: self.kind, detector: self.name, range })
    }
}

/// Asks one detector at every run of digits of a text, for the tables of the tests.
#[cfg(test)]
pub(crate) fn found(at: fn(&[u8], Range<usize>) -> Option<Range<usize>>, text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let (mut found, mut place, mut floor) = (Vec::new(), 0, 0);
    while place < bytes.len() {
        if !bytes[place].is_ascii_digit() {
            place += 1;
            continue;
        }
        let end = crate::text::digits_end(bytes, place);
        if let Some(range) = at(bytes, place..end)
            && range.start >= floor
        {
            floor = range.end;
            found.push(&text[range]);
        }
        place = end;
    }
    found
}
