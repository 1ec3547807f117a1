//! Prices by class, what a class without a price of its own costs, and the bound on what a call can cost.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::usage::Usage;
use super::{Exact, MILLION, Markup, millionths, print_millionths};
use crate::money::Money;
use crate::record::is_default;

/// How many long-context tiers a price may have.
pub const MOST_TIERS: usize = 4;

/// What a target's tokens cost, in dollars per million.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rates {
    pub input: Money,
    pub output: Money,
    #[serde(flatten)]
    pub more: Classes,
    /// What of the price of tokens remains in a batch; all of it unless said.
    #[serde(default, skip_serializing_if = "is_default")]
    pub batch: Option<Discount>,
    /// Other rates for the whole call where its prompt is long; by rising thresholds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub long_context: Vec<LongContext>,
    /// It bills output that it does not stream; unless said, the catalogue knows.
    #[serde(default, skip_serializing_if = "is_default")]
    pub hidden_output: Option<bool>,
    /// It goes on billing when a stream is cancelled; unless said, the catalogue knows.
    #[serde(default, skip_serializing_if = "is_default")]
    pub bills_after_cancel: Option<bool>,
}

/// Prices of classes that not every target has. What has none of its own costs what its text costs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Classes {
    /// Else as input.
    #[serde(skip_serializing_if = "is_default")]
    pub cached_input: Option<Money>,
    /// Else as input.
    #[serde(skip_serializing_if = "is_default")]
    pub cache_write: Option<Money>,
    /// Else as `cache_write`.
    #[serde(skip_serializing_if = "is_default")]
    pub cache_write_1h: Option<Money>,
    /// Else as input.
    #[serde(skip_serializing_if = "is_default")]
    pub audio_input: Option<Money>,
    /// Else as input.
    #[serde(skip_serializing_if = "is_default")]
    pub image_input: Option<Money>,
    /// Else as output.
    #[serde(skip_serializing_if = "is_default")]
    pub reasoning: Option<Money>,
    /// Else as output.
    #[serde(skip_serializing_if = "is_default")]
    pub audio_output: Option<Money>,
    /// Else as output.
    #[serde(skip_serializing_if = "is_default")]
    pub image_output: Option<Money>,
    /// Dollars for each call beside its tokens; else none.
    #[serde(skip_serializing_if = "is_default")]
    pub request: Option<Money>,
    /// Dollars for each search; else none.
    #[serde(skip_serializing_if = "is_default")]
    pub search: Option<Money>,
    /// Dollars for each image that is made; else none.
    #[serde(skip_serializing_if = "is_default")]
    pub image: Option<Money>,
    /// Dollars for each second that is heard or spoken; else none.
    #[serde(skip_serializing_if = "is_default")]
    pub second: Option<Money>,
    /// Dollars for a million characters that are spoken; else none.
    #[serde(skip_serializing_if = "is_default")]
    pub characters: Option<Money>,
}

/// Rates for calls with more than so many tokens of input, of all classes together. They hold for the whole call; a class
/// that the tier does not name keeps the price that it has below.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LongContext {
    pub above: u64,
    #[serde(default, skip_serializing_if = "is_default")]
    pub input: Option<Money>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub output: Option<Money>,
    #[serde(flatten)]
    pub more: Classes,
}

impl Classes {
    /// Every price with its name.
    pub fn named(&self) -> [(&'static str, Option<Money>); 13] {
        [
            ("cached_input", self.cached_input),
            ("cache_write", self.cache_write),
            ("cache_write_1h", self.cache_write_1h),
            ("audio_input", self.audio_input),
            ("image_input", self.image_input),
            ("reasoning", self.reasoning),
            ("audio_output", self.audio_output),
            ("image_output", self.image_output),
            ("request", self.request),
            ("search", self.search),
            ("image", self.image),
            ("second", self.second),
            ("characters", self.characters),
        ]
    }

    fn each(self, price: impl Fn(Money) -> Money) -> Classes {
        let each = |it: Option<Money>| it.map(&price);
        Classes {
            cached_input: each(self.cached_input),
            cache_write: each(self.cache_write),
            cache_write_1h: each(self.cache_write_1h),
            audio_input: each(self.audio_input),
            image_input: each(self.image_input),
            reasoning: each(self.reasoning),
            audio_output: each(self.audio_output),
            image_output: each(self.image_output),
            request: each(self.request),
            search: each(self.search),
            image: each(self.image),
            second: each(self.second),
            characters: each(self.characters),
        }
    }

    pub(crate) fn over(self, below: Classes) -> Classes {
        Classes {
            cached_input: self.cached_input.or(below.cached_input),
            cache_write: self.cache_write.or(below.cache_write),
            cache_write_1h: self.cache_write_1h.or(below.cache_write_1h),
            audio_input: self.audio_input.or(below.audio_input),
            image_input: self.image_input.or(below.image_input),
            reasoning: self.reasoning.or(below.reasoning),
            audio_output: self.audio_output.or(below.audio_output),
            image_output: self.image_output.or(below.image_output),
            request: self.request.or(below.request),
            search: self.search.or(below.search),
            image: self.image.or(below.image),
            second: self.second.or(below.second),
            characters: self.characters.or(below.characters),
        }
    }
}

impl Rates {
    /// Input and output, and nothing else that costs otherwise.
    pub fn new(input: Money, output: Money) -> Rates {
        Rates {
            input,
            output,
            more: Classes::default(),
            batch: None,
            long_context: Vec::new(),
            hidden_output: None,
            bills_after_cancel: None,
        }
    }

    /// What a tenant pays where it pays this much for a dollar of cost; each price rounded up to a whole nano-dollar. To be
    /// shown, not to be charged: a charge is rounded once, at its end.
    #[must_use]
    pub fn with_markup(&self, markup: Markup) -> Rates {
        let most = Money::from_nanos(i64::MAX);
        let up = |price: Money| Exact::of(1, price).times(MILLION).with_markup(markup).rounded_up().unwrap_or(most);
        let tier = |tier: &LongContext| LongContext {
            above: tier.above,
            input: tier.input.map(up),
            output: tier.output.map(up),
            more: tier.more.each(up),
        };
        Rates {
            input: up(self.input),
            output: up(self.output),
            more: self.more.each(up),
            long_context: self.long_context.iter().map(tier).collect(),
            ..self.clone()
        }
    }

    /// The exact sum for this usage.
    pub fn exact(&self, usage: &Usage) -> Exact {
        let rates = self.at(self.long_context.iter().rev().find(|tier| usage.all_input() > tier.above));
        let tokens = rates.tokens(usage);
        let tokens = match self.batch {
            Some(discount) if usage.batch => tokens.by_millionths(discount.0),
            _ => tokens,
        };
        let pieces = Pieces {
            searches: usage.searches,
            images: usage.images,
            seconds: usage.seconds,
            characters: usage.characters,
        };
        tokens
            .plus(Exact::of_each(usage.requests.max(1), rates.more.request.unwrap_or_default()))
            .plus(rates.pieces(&pieces))
    }

    /// The highest price that a token of the prompt can have, in whatever class and tier the provider puts it.
    pub fn dearest_input(&self) -> Money {
        self.reachable(u64::MAX).map(|rates| rates.dearest_input()).max().unwrap_or(self.input)
    }

    /// The highest price that a token of the answer can have.
    pub fn dearest_output(&self) -> Money {
        self.reachable(u64::MAX).map(|rates| rates.dearest_output()).max().unwrap_or(self.output)
    }

    /// The most that one call can cost with so many tokens in and out, however the provider sorts them into classes, and at
    /// most these pieces.
    pub fn worst(&self, input_bound: u64, output_cap: u64, most: &Pieces) -> Exact {
        let worst = self.reachable(input_bound).map(|rates| {
            Exact::of(input_bound, rates.dearest_input())
                .plus(Exact::of(output_cap, rates.dearest_output()))
                .plus(Exact::of_each(1, rates.more.request.unwrap_or_default()))
                .plus(rates.pieces(most))
        });
        worst.max().unwrap_or(Exact::ZERO)
    }

    /// The same for a call that is a part of a batch.
    pub fn worst_in_batch(&self, input_bound: u64, output_cap: u64, most: &Pieces) -> Exact {
        let Some(discount) = self.batch else { return self.worst(input_bound, output_cap, most) };
        let worst = self.reachable(input_bound).map(|rates| {
            Exact::of(input_bound, rates.dearest_input())
                .plus(Exact::of(output_cap, rates.dearest_output()))
                .by_millionths(discount.0)
                .plus(Exact::of_each(1, rates.more.request.unwrap_or_default()))
                .plus(rates.pieces(most))
        });
        worst.max().unwrap_or(Exact::ZERO)
    }

    /// What is wrong with these prices, if anything is.
    ///
    /// # Errors
    /// The first fault, with the member that it is in.
    pub fn check(&self) -> Result<(), RatesError> {
        let fault = |member: String, message: &'static str| Err(RatesError { member, message });
        let mut below = 0;
        let base = [("input", Some(self.input)), ("output", Some(self.output))];
        for (name, price) in base.into_iter().chain(self.more.named()) {
            if price.is_some_and(Money::is_negative) {
                return fault(name.to_owned(), "must not be negative");
            }
        }
        for (i, tier) in self.long_context.iter().enumerate() {
            if tier.above <= below || i64::try_from(tier.above).is_err() {
                return fault(format!("long_context[{i}].above"), "must be above 0 and above the tier before it");
            }
            below = tier.above;
            let both = [("input", tier.input), ("output", tier.output)];
            for (name, price) in both.into_iter().chain(tier.more.named()) {
                if price.is_some_and(Money::is_negative) {
                    return fault(format!("long_context[{i}].{name}"), "must not be negative");
                }
            }
        }
        if self.long_context.len() > MOST_TIERS {
            return fault("long_context".to_owned(), "has more than 4 tiers");
        }
        Ok(())
    }

    fn at(&self, tier: Option<&LongContext>) -> Flat {
        match tier {
            None => Flat { input: self.input, output: self.output, more: self.more },
            Some(tier) => Flat {
                input: tier.input.unwrap_or(self.input),
                output: tier.output.unwrap_or(self.output),
                more: tier.more.over(self.more),
            },
        }
    }

    /// The rates of every tier that a prompt of at most `input_bound` tokens can be in.
    fn reachable(&self, input_bound: u64) -> impl Iterator<Item = Flat> {
        let tiers = self.long_context.iter().filter(move |tier| input_bound > tier.above);
        std::iter::once(self.at(None)).chain(tiers.map(|tier| self.at(Some(tier))))
    }
}

/// What of a call is priced by other things than tokens.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Pieces {
    pub searches: u64,
    /// Made, not seen.
    pub images: u64,
    /// Heard or spoken.
    pub seconds: u64,
    /// Spoken.
    pub characters: u64,
}

/// The rates of one tier.
struct Flat {
    input: Money,
    output: Money,
    more: Classes,
}

impl Flat {
    fn cache_write(&self) -> Money {
        self.more.cache_write.unwrap_or(self.input)
    }

    fn inputs(&self) -> [Money; 6] {
        [
            self.input,
            self.more.cached_input.unwrap_or(self.input),
            self.cache_write(),
            self.more.cache_write_1h.unwrap_or(self.cache_write()),
            self.more.audio_input.unwrap_or(self.input),
            self.more.image_input.unwrap_or(self.input),
        ]
    }

    fn outputs(&self) -> [Money; 4] {
        [
            self.output,
            self.more.reasoning.unwrap_or(self.output),
            self.more.audio_output.unwrap_or(self.output),
            self.more.image_output.unwrap_or(self.output),
        ]
    }

    fn dearest_input(&self) -> Money {
        self.inputs().into_iter().max().unwrap_or(self.input)
    }

    fn dearest_output(&self) -> Money {
        self.outputs().into_iter().max().unwrap_or(self.output)
    }

    fn pieces(&self, pieces: &Pieces) -> Exact {
        Exact::of_each(pieces.searches, self.more.search.unwrap_or_default())
            .plus(Exact::of_each(pieces.images, self.more.image.unwrap_or_default()))
            .plus(Exact::of_each(pieces.seconds, self.more.second.unwrap_or_default()))
            .plus(Exact::of(pieces.characters, self.more.characters.unwrap_or_default()))
    }

    fn tokens(&self, usage: &Usage) -> Exact {
        let inputs = [
            usage.input,
            usage.cached_input,
            usage.cache_write,
            usage.cache_write_1h,
            usage.audio_input,
            usage.image_input,
        ];
        let outputs = [usage.output, usage.reasoning, usage.audio_output, usage.image_output];
        let inputs = inputs.into_iter().zip(self.inputs());
        let outputs = outputs.into_iter().zip(self.outputs());
        inputs.chain(outputs).fold(Exact::ZERO, |sum, (tokens, rate)| sum.plus(Exact::of(tokens, rate)))
    }
}

/// Prices that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{member}: {message}")]
pub struct RatesError {
    /// Where, as in `long_context[0].input`.
    pub member: String,
    pub message: &'static str,
}

/// What remains of a price, in millionths: at most all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Discount(pub(super) u64);

/// The text is not what remains of a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a factor from 0 to 1 with at most 6 decimals, such as \"0.5\"")]
pub struct DiscountError;

impl FromStr for Discount {
    type Err = DiscountError;

    fn from_str(text: &str) -> Result<Self, DiscountError> {
        let factor = millionths(text).filter(|it| *it <= 1_000_000).ok_or(DiscountError)?;
        Ok(Discount(factor))
    }
}

impl fmt::Display for Discount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        print_millionths(self.0, f)
    }
}

impl Serialize for Discount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Discount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}
