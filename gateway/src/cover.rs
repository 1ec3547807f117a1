//! What a hold covers of an answer at one target's rates: tokens to money, and money back to tokens.

use std::sync::Arc;

use ledger::{Exact, Markup, Money, Pieces, Rates};

/// The price of a call at one target as far as it can be bounded, with every output token between none and all.
#[derive(Debug, Clone)]
pub struct Cover {
    rates: Arc<Rates>,
    /// As it was when the call was priced.
    markup: Markup,
    /// No count of the prompt is above it.
    input_bound: u64,
    /// What beside tokens can be billed at most.
    pieces: Pieces,
    choices: u64,
    /// Per choice.
    cap: u64,
    elastic: bool,
}

impl Cover {
    /// `cap` is per choice. `elastic`: the target streams all that it bills, and stops billing when it is told to stop.
    pub fn new(rates: Arc<Rates>, markup: Markup, input_bound: u64, choices: u64, cap: u64, elastic: bool) -> Cover {
        let pieces = Pieces::default();
        Cover { rates, markup, input_bound, pieces, choices: choices.max(1), cap, elastic }
    }

    /// The same for a call of which at most so much can be billed beside its tokens.
    #[must_use]
    pub fn with(self, pieces: Pieces) -> Cover {
        Cover { pieces, ..self }
    }

    /// The most that the tenant can be charged with so many output tokens, all choices together.
    /// Nothing where the sum is too large to be money.
    pub fn amount(&self, output: u64) -> Option<Money> {
        self.rates.worst(self.input_bound, output, &self.pieces).with_markup(self.markup).rounded_up()
    }

    /// The same for all of its output as a part of a batch, before rounding: many are added up.
    pub fn worst_in_batch(&self) -> Exact {
        self.rates.worst_in_batch(self.input_bound, self.whole(), &self.pieces).with_markup(self.markup)
    }

    /// No count of the prompt is above it.
    pub fn input_bound(&self) -> u64 {
        self.input_bound
    }

    /// The most output tokens, all choices together, that `held` covers; all there are where output is free.
    pub fn tokens(&self, held: Money) -> u64 {
        let fits = |output| self.amount(output).is_some_and(|amount| amount <= held);
        if fits(u64::MAX) {
            return u64::MAX;
        }
        // The amount rises with the tokens. Searching instead of dividing leaves all rounding in one place.
        let (mut low, mut high) = (0, u64::MAX);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if fits(middle) {
                low = middle;
            } else {
                high = middle;
            }
        }
        low
    }

    /// The most that the target can bill under the cap that is sent to it.
    pub fn whole(&self) -> u64 {
        self.cap.saturating_mul(self.choices)
    }

    /// The cap that is sent, per choice.
    pub fn cap(&self) -> u64 {
        self.cap
    }

    /// Whether the hold may be smaller than `whole` needs, and grow while the answer comes.
    pub fn elastic(&self) -> bool {
        self.elastic
    }

    /// Whether `held` is all that it takes: nothing has to grow any more, and nothing is ever cut.
    pub fn is_whole(&self, held: Money) -> bool {
        !self.elastic || self.amount(self.whole()).is_some_and(|amount| amount <= held)
    }

    /// The same with a cap that `held` covers: never above what was asked, and at least 1.
    #[must_use]
    pub fn capped_by(&self, held: Money) -> Cover {
        let cap = (self.tokens(held) / self.choices).min(self.cap).max(self.cap.min(1));
        Cover { cap, ..self.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cover(input: &str, output: &str, markup: &str, input_bound: u64, choices: u64, cap: u64) -> Cover {
        let usd = |text: &str| text.parse::<Money>().expect("a price");
        let rates = Rates::new(usd(input), usd(output));
        Cover::new(Arc::new(rates), markup.parse().expect("a markup"), input_bound, choices, cap, true)
    }

    #[test]
    fn what_is_held_covers_as_many_tokens_as_it_pays_for_and_not_one_more() {
        for cover in [
            cover("2.5", "10", "1", 1_000, 1, 64_000),
            cover("2.5", "10", "1.37", 1_000, 3, 64_000),
            cover("0.15", "0.6", "1", 0, 1, 1),
            cover("0.0001", "0.0003", "1.000001", 7, 2, 4_096), // a token is less than a nano-dollar
        ] {
            for output in [0, 1, 2, 3, 77, 1_024, 64_000, 1_000_000_007] {
                let held = cover.amount(output).expect("money");
                let tokens = cover.tokens(held);
                assert!(tokens >= output, "{output} tokens cost {held}, which covers {tokens}");
                assert!(cover.amount(tokens).expect("money") <= held);
                assert!(cover.amount(tokens + 1).expect("money") > held, "{cover:?} {output}");
            }
        }
    }

    #[test]
    fn free_output_is_covered_by_anything_and_too_little_covers_none() {
        assert_eq!(cover("1", "0", "1", 10, 1, 5).tokens(Money::from_nanos(10_000)), u64::MAX);
        assert_eq!(cover("1", "1", "1", 10, 1, 5).tokens(Money::from_nanos(9_999)), 0, "less than the input");
        assert_eq!(cover("1", "1", "1", 10, 1, 5).tokens(Money::MAX), i64::MAX as u64 / 1_000 - 10);
        assert_eq!(cover("1", "1", "1", 0, 1, 5).amount(u64::MAX), None, "no money");
    }

    #[test]
    fn a_cap_is_lowered_to_what_is_held_and_never_raised_or_lowered_to_nothing() {
        let asked = cover("1", "1", "1", 10, 3, 100);
        for (nanos, cap, why) in [
            (310_000, 100, "all of it"),
            (900_000, 100, "more than asked"),
            (309_999, 99, "a nano-dollar short: a token less for each choice"),
            (16_000, 2, "6 tokens, 3 choices"),
            (10_000, 1, "the input alone"),
            (0, 1, "nothing"),
        ] {
            let capped = asked.capped_by(Money::from_nanos(nanos));
            assert_eq!((capped.cap(), capped.whole()), (cap, cap * 3), "{why}");
        }
        assert_eq!(cover("1", "1", "1", 10, 1, 0).capped_by(Money::MAX).cap(), 0, "nothing was asked");
    }
}
