//! What usage costs. Exact until the end, rounded up once, to a whole nano-dollar.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::money::Money;
use crate::record::is_default;

const MILLION: u128 = 1_000_000;

/// Tokens by class. The classes are disjoint: `input` excludes what was read from or written to a cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    #[serde(skip_serializing_if = "is_default")]
    pub input: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub cached_input: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub cache_write: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub output: u64,
    /// Counted by us, because the provider did not say.
    #[serde(skip_serializing_if = "is_default")]
    pub estimated: bool,
}

/// Prices per million tokens. A class without a price of its own costs what `input` costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    pub input: Money,
    pub cached_input: Option<Money>,
    pub cache_write: Option<Money>,
    pub output: Money,
}

impl Rates {
    /// The exact sum for this usage.
    pub fn exact(&self, usage: &Usage) -> Exact {
        [
            (usage.input, self.input),
            (usage.cached_input, self.cached_input.unwrap_or(self.input)),
            (usage.cache_write, self.cache_write.unwrap_or(self.input)),
            (usage.output, self.output),
        ]
        .into_iter()
        .fold(Exact::ZERO, |sum, (tokens, rate)| sum.plus(Exact::of(tokens, rate)))
    }

    /// The highest price that a token of the prompt can have, in whatever class the provider puts it.
    pub fn dearest_input(&self) -> Money {
        self.input.max(self.cached_input.unwrap_or(self.input)).max(self.cache_write.unwrap_or(self.input))
    }

    /// The most that a call can cost with so many tokens in and out.
    pub fn worst(&self, input_bound: u64, output_cap: u64) -> Exact {
        Exact::of(input_bound, self.dearest_input()).plus(Exact::of(output_cap, self.output))
    }
}

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

    /// The sum of both.
    #[must_use]
    pub const fn plus(self, other: Exact) -> Exact {
        Exact(self.0.saturating_add(other.0))
    }

    /// The sum as it is charged on. What the markup adds below a millionth of a nano-dollar counts as one.
    #[must_use]
    pub fn with_markup(self, markup: Markup) -> Exact {
        if self == Exact::OVERFLOW {
            return self;
        }
        let (whole, part) = (self.0 / MILLION, self.0 % MILLION);
        let by = u128::from(markup.0);
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
        let money: Money = text.parse().map_err(|_| MarkupError)?;
        let nanos = u64::try_from(money.nanos()).map_err(|_| MarkupError)?;
        let markup = Markup(nanos / 1_000);
        if nanos % 1_000 != 0 || markup < Markup::NONE || markup.0 > 1_000_000_000 {
            return Err(MarkupError);
        }
        Ok(markup)
    }
}

impl fmt::Display for Markup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = i64::try_from(self.0).unwrap_or(i64::MAX).saturating_mul(1_000);
        fmt::Display::fmt(&Money::from_nanos(nanos), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usd(text: &str) -> Money {
        text.parse().expect(text)
    }

    fn rates(input: &str, cached: Option<&str>, output: &str) -> Rates {
        Rates { input: usd(input), cached_input: cached.map(usd), cache_write: None, output: usd(output) }
    }

    #[test]
    fn the_sum_of_a_charge_rounds_up_once() {
        for (rates, usage, nanos) in [
            (rates("0.15", None, "0"), Usage { input: 1, ..Usage::default() }, 150),
            (rates("0.0375", None, "0"), Usage { input: 3, ..Usage::default() }, 113), // 112.5
            (rates("0.0005", None, "0.0005"), Usage { input: 1, output: 1, ..Usage::default() }, 1), // 0.5 + 0.5
            (
                rates("2.5", Some("1.25"), "10"),
                Usage { input: 10, cached_input: 10, output: 10, ..Usage::default() },
                137_500,
            ),
            (rates("2.5", None, "10"), Usage { cached_input: 2, cache_write: 2, ..Usage::default() }, 10_000),
            (rates("0", None, "0"), Usage { input: 5, output: 5, ..Usage::default() }, 0),
        ] {
            assert_eq!(rates.exact(&usage).rounded_up(), Some(Money::from_nanos(nanos)), "{rates:?} {usage:?}");
        }
    }

    #[test]
    fn a_markup_is_applied_before_the_one_rounding() {
        let sum = rates("0.0005", None, "0").exact(&Usage { input: 1, ..Usage::default() }); // half a nano-dollar
        assert_eq!(sum.with_markup("2".parse().unwrap()).rounded_up(), Some(Money::from_nanos(1)));
        assert_eq!(sum.with_markup(Markup::NONE), sum);
        for wrong in ["0.9", "-1", "1.0000001", "", "x", "1001"] {
            assert_eq!(wrong.parse::<Markup>(), Err(MarkupError), "{wrong}");
        }
        assert_eq!("1.25".parse::<Markup>().unwrap().to_string(), "1.25");
    }

    #[test]
    fn what_is_too_large_to_tell_is_no_money() {
        let dear = Rates { input: Money::MAX, cached_input: None, cache_write: None, output: Money::MAX };
        let sum = dear.worst(u64::MAX, u64::MAX).plus(dear.worst(u64::MAX, u64::MAX));
        assert_eq!(sum.rounded_up(), None);
        assert_eq!(sum.with_markup("1000".parse().unwrap()).rounded_up(), None);
        assert_eq!(rates("-1", None, "0").worst(1, 0).rounded_up(), None, "a negative rate");
    }
}
