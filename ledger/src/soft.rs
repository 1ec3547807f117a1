//! Soft limits: from where on a wallet is warned about, and what then happens beside. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::money::{Money, MoneyError};
use crate::tenants::words;

words! {
    /// What happens to a call that would bring a wallet past one of its thresholds. Each threshold is warned about besides.
    #[derive(Default)]
    SoftAction {
        /// Nothing more.
        #[default]
        Warn = "warn",
        /// Policy is asked for a cheaper plan; where it has none, the call goes on as it is.
        Downgrade = "downgrade",
        /// It is refused.
        Block = "block",
    }
}

/// From where on a wallet is warned about: an amount, or a part of its hard limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Threshold {
    Amount(Money),
    Percent(Percent),
}

/// Hundredths of a percent, from 1 to 10,000.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(u16);

impl Threshold {
    /// The amount that it stands for. A part of a hard limit that there is not is never reached.
    pub fn amount(self, hard_limit: Option<Money>) -> Option<Money> {
        match self {
            Threshold::Amount(amount) => Some(amount),
            Threshold::Percent(Percent(hundredths)) => {
                let part = i128::from(hard_limit?.nanos()) * i128::from(hundredths) / 10_000;
                i64::try_from(part).ok().map(Money::from_nanos)
            }
        }
    }
}

/// `80%`, `99.5%`, or an amount of US dollars such as `12.50`.
impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Threshold::Amount(amount) => amount.fmt(f),
            Threshold::Percent(Percent(hundredths)) if hundredths % 100 == 0 => write!(f, "{}%", hundredths / 100),
            Threshold::Percent(Percent(hundredths)) => {
                let text = format!("{}.{:02}", hundredths / 100, hundredths % 100);
                write!(f, "{}%", text.trim_end_matches('0'))
            }
        }
    }
}

/// Why a text is no threshold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ThresholdError {
    #[error("not a percentage such as \"80%\" or \"99.5%\": more than 0, at most 100, with at most 2 decimals")]
    Percent,
    #[error(transparent)]
    Amount(#[from] MoneyError),
    #[error("must not be negative")]
    Negative,
}

impl FromStr for Threshold {
    type Err = ThresholdError;

    fn from_str(text: &str) -> Result<Self, ThresholdError> {
        let Some(percent) = text.strip_suffix('%') else {
            let amount: Money = text.parse()?;
            return if amount.is_negative() { Err(ThresholdError::Negative) } else { Ok(Threshold::Amount(amount)) };
        };
        // A percentage is read as money is: exactly. Its hundredths are whole 10,000,000ths of it.
        let parsed: Money = percent.parse().map_err(|_| ThresholdError::Percent)?;
        let hundredths = parsed.nanos() / 10_000_000;
        if parsed.nanos() % 10_000_000 != 0 || !(1..=10_000).contains(&hundredths) {
            return Err(ThresholdError::Percent);
        }
        u16::try_from(hundredths)
            .map(|hundredths| Threshold::Percent(Percent(hundredths)))
            .map_err(|_| ThresholdError::Percent)
    }
}

impl Serialize for Threshold {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Threshold {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// A wallet has at most so many thresholds beside its soft limit.
pub const MOST_THRESHOLDS: usize = 8;

/// The thresholds of a wallet, beside its soft limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Thresholds([Option<Threshold>; MOST_THRESHOLDS]);

impl Thresholds {
    /// These; none if they are too many.
    pub fn new(all: &[Threshold]) -> Option<Thresholds> {
        let mut thresholds = Thresholds::default();
        thresholds.0.get_mut(..all.len())?.iter_mut().zip(all).for_each(|(place, it)| *place = Some(*it));
        Some(thresholds)
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = Threshold> + '_ {
        self.0.iter().copied().flatten()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0[0].is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_an_amount_or_a_part_of_the_hard_limit() {
        for (text, printed, of_ten, without) in [
            ("80%", "80%", Some("8"), None),
            ("100%", "100%", Some("10"), None),
            ("99.50%", "99.5%", Some("9.95"), None),
            ("0.01%", "0.01%", Some("0.001"), None),
            ("12.50", "12.5", Some("12.5"), Some("12.5")),
            ("0", "0", Some("0"), Some("0")),
        ] {
            let threshold: Threshold = text.parse().expect(text);
            assert_eq!(threshold.to_string(), printed, "{text}");
            let amount = |hard: Option<&str>| {
                threshold.amount(hard.map(|hard| hard.parse().expect(hard))).map(|amount| amount.to_string())
            };
            assert_eq!(amount(Some("10")).as_deref(), of_ten, "{text} of ten dollars");
            assert_eq!(amount(None).as_deref(), without, "{text} of no limit");
        }
        let all: Threshold = "100%".parse().expect("a threshold");
        assert_eq!(all.amount(Some(Money::MAX)), Some(Money::MAX));
        let third: Threshold = "33.33%".parse().expect("a threshold");
        assert_eq!(
            third.amount(Some(Money::from_nanos(10))),
            Some(Money::from_nanos(3)),
            "rounded down: warned early, not late"
        );
    }

    #[test]
    fn what_is_no_threshold_is_refused_with_the_reason() {
        for text in ["0%", "-5%", "100.01%", "80.005%", "%", "eighty%", "1e2%", "9999999999999999%", "80 %"] {
            assert_eq!(text.parse::<Threshold>(), Err(ThresholdError::Percent), "{text:?}");
        }
        for (text, error) in [
            ("", ThresholdError::Amount(MoneyError::Shape)),
            ("NaN", ThresholdError::Amount(MoneyError::Shape)),
            ("1e9", ThresholdError::Amount(MoneyError::Shape)),
            ("0.0000000001", ThresholdError::Amount(MoneyError::TooPrecise)),
            ("9223372036.854775808", ThresholdError::Amount(MoneyError::TooLarge)),
            ("-1", ThresholdError::Negative),
        ] {
            assert_eq!(text.parse::<Threshold>(), Err(error), "{text:?}");
        }
    }
}
