//! What usage costs. Exact until the end, rounded up once, to a whole nano-dollar.

mod rates;
#[cfg(test)]
mod tests;
mod usage;

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::money::Money;

pub use rates::{Classes, Discount, LongContext, MOST_TIERS, Pieces, Rates, RatesError};
pub use usage::Usage;

const MILLION: u128 = 1_000_000;

/// A sum before rounding, in millionths of a nano-dollar; or one too large to tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Exact(u128);

impl Exact {
    /// Nothing.
    pub const ZERO: Exact = Exact(0);
    /// Every sum that cannot be told; it stays so, and rounds to no money.
    const OVERFLOW: Exact = Exact(u128::MAX);

    // A rate is dollars per million tokens, so nano-dollars times tokens are millionths of a nano-dollar.
    fn of(tokens: u64, per_million: Money) -> Exact {
        match u128::try_from(per_million.nanos()) {
            Ok(nanos) => Exact(u128::from(tokens) * nanos),
            Err(_) => Exact::OVERFLOW, // a negative rate is no price
        }
    }

    /// The same for what has a price apiece.
    fn of_each(count: u64, apiece: Money) -> Exact {
        Exact::of(count, apiece).times(MILLION)
    }

    fn times(self, factor: u128) -> Exact {
        self.0.checked_mul(factor).map_or(Exact::OVERFLOW, Exact)
    }

    /// The sum of both.
    #[must_use]
    pub const fn plus(self, other: Exact) -> Exact {
        Exact(self.0.saturating_add(other.0))
    }

    /// The sum as it is charged on. What the markup adds below a millionth of a nano-dollar counts as one.
    #[must_use]
    pub fn with_markup(self, markup: Markup) -> Exact {
        self.by_millionths(markup.0)
    }

    fn by_millionths(self, by: u64) -> Exact {
        if self == Exact::OVERFLOW {
            return self;
        }
        let (whole, part) = (self.0 / MILLION, self.0 % MILLION);
        let by = u128::from(by);
        match whole.checked_mul(by) {
            Some(whole) => Exact(whole.saturating_add((part * by).div_ceil(MILLION))),
            None => Exact::OVERFLOW,
        }
    }

    /// Whole nano-dollars, rounded up; nothing if the sum is too large to be money.
    pub fn rounded_up(self) -> Option<Money> {
        i64::try_from(self.0.div_ceil(MILLION)).ok().map(Money::from_nanos)
    }
}

/// What the tenant is charged for a dollar of cost, in millionths; never below one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Markup(u64);

impl Markup {
    /// The tenant pays what the provider bills.
    pub const NONE: Markup = Markup(1_000_000);
}

impl Default for Markup {
    fn default() -> Self {
        Markup::NONE
    }
}

/// The text is not a markup.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a markup: a decimal factor from 1 to 1000 with at most 6 decimals, such as \"1.2\"")]
pub struct MarkupError;

impl FromStr for Markup {
    type Err = MarkupError;

    fn from_str(text: &str) -> Result<Self, MarkupError> {
        let markup = Markup(millionths(text).ok_or(MarkupError)?);
        if markup < Markup::NONE || markup.0 > 1_000_000_000 {
            return Err(MarkupError);
        }
        Ok(markup)
    }
}

/// A decimal factor with at most six decimals.
fn millionths(text: &str) -> Option<u64> {
    let nanos = u64::try_from(text.parse::<Money>().ok()?.nanos()).ok()?;
    (nanos % 1_000 == 0).then_some(nanos / 1_000)
}

fn print_millionths(millionths: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let nanos = i64::try_from(millionths).unwrap_or(i64::MAX).saturating_mul(1_000);
    fmt::Display::fmt(&Money::from_nanos(nanos), f)
}

impl fmt::Display for Markup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_millionths(self.0, f)
    }
}

impl Serialize for Markup {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Markup {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
