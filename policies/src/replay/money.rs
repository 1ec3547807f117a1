//! Exact money of a replay: whole attodollars (1e-18 USD) in 128 bits, since a price per million tokens has up to twelve places and a
//! token is a millionth of it. Rounded once, when it is told.

use std::fmt;

/// Places after the point that a price per million tokens may have.
const PRICE_PLACES: usize = 12;
const ATTOS_PER_NANO: i128 = 1_000_000_000;

/// A sum, of either sign.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sum(i128);

impl Sum {
    /// So many nano-dollars.
    pub fn nanos(nanos: i64) -> Sum {
        Sum(i128::from(nanos) * ATTOS_PER_NANO)
    }

    /// So many tokens at a price.
    pub fn of(tokens: u64, price: Price) -> Sum {
        Sum(i128::from(tokens).saturating_mul(price.0))
    }

    /// Both together; at what can be told, where that is less.
    #[must_use]
    pub fn plus(self, other: Sum) -> Sum {
        Sum(self.0.saturating_add(other.0))
    }

    /// The one less the other.
    #[must_use]
    pub fn minus(self, other: Sum) -> Sum {
        Sum(self.0.saturating_sub(other.0))
    }
}

/// US dollars with nine places at most, rounded half away from zero.
impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attos = self.0.unsigned_abs();
        let nanos = (attos + ATTOS_PER_NANO.unsigned_abs() / 2) / ATTOS_PER_NANO.unsigned_abs();
        let (dollars, nanos) = (nanos / 1_000_000_000, nanos % 1_000_000_000);
        let sign = if self.0 < 0 && (dollars, nanos) != (0, 0) { "-" } else { "" };
        match nanos {
            0 => write!(f, "{sign}{dollars}"),
            nanos => write!(f, "{sign}{dollars}.{}", format!("{nanos:09}").trim_end_matches('0')),
        }
    }
}

/// US dollars per million tokens, in attodollars per token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Price(i128);

impl Price {
    /// Reads a decimal string; nothing where it is none, or finer than prices are.
    pub fn parse(text: &str) -> Option<Price> {
        let (whole, places) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !digits(whole) || !digits(places) || places.len() > PRICE_PLACES {
            return None;
        }
        let whole: i128 = whole.parse().ok()?;
        let places: i128 = format!("{places:0<PRICE_PLACES$}").parse().ok()?;
        whole.checked_mul(10_i128.pow(12))?.checked_add(places).map(Price)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn money_is_exact_and_told_with_its_sign() {
        for (tokens, price, told) in [
            (1_000_000, "2.50", "2.5"),
            (1, "0.15", "0.00000015"),
            (1, "0.0005", "0.000000001"), // half a nano-dollar, away from zero
            (1, "0.0004", "0"),
            (3, "1000000", "3"),
            (0, "7", "0"),
        ] {
            let sum = Sum::of(tokens, Price::parse(price).unwrap());
            assert_eq!(sum.to_string(), told, "{tokens} at {price}");
            let owed = Sum::default().minus(sum).to_string();
            assert_eq!(owed, if told == "0" { "0".to_owned() } else { format!("-{told}") });
        }
        let third = Sum::of(1, Price::parse("0.0001").unwrap());
        let many = (0..10_000).fold(Sum::default(), |sum, _| sum.plus(third));
        assert_eq!(many.to_string(), "0.000001", "nothing is lost on the way");
        assert_eq!(Sum::nanos(-1_500_000_000).to_string(), "-1.5");
    }

    #[test]
    fn what_is_no_price_is_none() {
        for text in ["", ".5", "-1", "1e3", "1.", "0.0000000000001", "1,5"] {
            assert_eq!(Price::parse(text).is_some(), text == "1.", "{text}");
        }
    }
}
