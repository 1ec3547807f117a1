//! Money: whole nano-dollars (1e-9 USD) in a signed 64-bit integer. Never a float, every sum checked.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Nano-dollars in a dollar.
pub const NANOS_PER_USD: i64 = 1_000_000_000;

/// An amount of nano-dollars.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Money(i64);

impl Money {
    /// Nothing.
    pub const ZERO: Money = Money(0);
    /// The most that can be told.
    pub const MAX: Money = Money(i64::MAX);

    /// So many nano-dollars.
    pub const fn from_nanos(nanos: i64) -> Money {
        Money(nanos)
    }

    /// The amount in nano-dollars.
    pub const fn nanos(self) -> i64 {
        self.0
    }

    /// The sum, unless it cannot be told.
    pub fn plus(self, other: Money) -> Option<Money> {
        self.0.checked_add(other.0).map(Money)
    }

    /// The difference, unless it cannot be told.
    pub fn minus(self, other: Money) -> Option<Money> {
        self.0.checked_sub(other.0).map(Money)
    }

    /// The amount with its sign turned, unless it cannot be told.
    pub fn negated(self) -> Option<Money> {
        self.0.checked_neg().map(Money)
    }

    /// The amount in credits, a unit of display: a thousandth of a dollar each. As decimal, exact.
    pub fn credits(self) -> String {
        let (whole, part) = (self.0.unsigned_abs() / 1_000_000, self.0.unsigned_abs() % 1_000_000);
        let sign = if self.0 < 0 { "-" } else { "" };
        if part == 0 {
            return format!("{sign}{whole}");
        }
        let digits = format!("{part:06}");
        format!("{sign}{whole}.{}", digits.trim_end_matches('0'))
    }

    /// Less than nothing.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }
}

/// Decimal US dollars without trailing zeros: `12.5`, `0.000000001`, `-3`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0.unsigned_abs() / 1_000_000_000, self.0.unsigned_abs() % 1_000_000_000);
        let sign = if self.0 < 0 { "-" } else { "" };
        if part == 0 {
            return write!(f, "{sign}{whole}");
        }
        let digits = format!("{part:09}");
        write!(f, "{sign}{whole}.{}", digits.trim_end_matches('0'))
    }
}

/// Why a text is not an amount of money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    #[error("not a decimal number of US dollars such as \"12.50\"")]
    Shape,
    #[error("finer than a nano-dollar: at most 9 decimals")]
    TooPrecise,
    #[error("too large: at most 9223372036.854775807 US dollars")]
    TooLarge,
}

impl FromStr for Money {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let (negative, digits) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
        let all_digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !all_digits(whole) || !all_digits(part) {
            return Err(MoneyError::Shape);
        }
        let part = part.trim_end_matches('0');
        if part.len() > 9 {
            return Err(MoneyError::TooPrecise);
        }
        let whole: i64 = whole.parse().map_err(|_| MoneyError::TooLarge)?;
        let part: i64 = format!("{part:0<9}").parse().map_err(|_| MoneyError::Shape)?;
        let nanos = whole.checked_mul(NANOS_PER_USD).and_then(|n| n.checked_add(part)).ok_or(MoneyError::TooLarge)?;
        Ok(Money(if negative { -nanos } else { nanos }))
    }
}

impl Serialize for Money {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Money {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimal_dollars_read_and_print_exactly() {
        for (text, nanos, printed) in [
            ("0", 0, "0"),
            ("12.50", 12_500_000_000, "12.5"),
            ("0.000000001", 1, "0.000000001"),
            ("-3", -3_000_000_000, "-3"),
            ("-0.25", -250_000_000, "-0.25"),
            ("9223372036.854775807", i64::MAX, "9223372036.854775807"),
            ("1.000000000000", 1_000_000_000, "1"),
        ] {
            let money: Money = text.parse().expect(text);
            assert_eq!(money.nanos(), nanos, "{text}");
            assert_eq!(money.to_string(), printed, "{text}");
        }
    }

    #[test]
    fn a_credit_is_a_thousandth_of_a_dollar() {
        for (usd, credits) in [
            ("0", "0"),
            ("0.001", "1"),
            ("12.5", "12500"),
            ("0.0000001", "0.0001"),
            ("0.000000001", "0.000001"),
            ("-0.0015", "-1.5"),
            ("9223372036.854775807", "9223372036854.775807"),
        ] {
            assert_eq!(usd.parse::<Money>().expect(usd).credits(), credits, "{usd}");
        }
    }

    #[test]
    fn what_is_not_money_is_refused_with_the_reason() {
        for (text, error) in [
            ("", MoneyError::Shape),
            ("1e3", MoneyError::Shape),
            ("NaN", MoneyError::Shape),
            ("+1", MoneyError::Shape),
            (".5", MoneyError::Shape),
            ("1.", MoneyError::Shape),
            ("1,5", MoneyError::Shape),
            (" 1", MoneyError::Shape),
            ("--1", MoneyError::Shape),
            ("0.0000000001", MoneyError::TooPrecise),
            ("9223372036.854775808", MoneyError::TooLarge),
            ("99999999999999999999", MoneyError::TooLarge),
        ] {
            assert_eq!(text.parse::<Money>(), Err(error), "{text:?}");
        }
    }
}
