//! A provider's export held against our receipts: what differs, by key, model and day, and why. Pure.

use std::collections::{BTreeMap, BTreeSet};

use ledger::{Id, Key, Money, UsagePlace, Used};

use super::layout::Billed;

/// What one side tells of a place. What it does not tell at all is none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sums {
    pub requests: Option<u64>,
    pub input_tokens: Option<u64>,
    pub output_tokens: Option<u64>,
    pub cost: Option<Money>,
}

/// Sums that cannot be told in 64 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLarge;

impl Sums {
    fn of_ours(used: &Used) -> Sums {
        Sums {
            requests: Some(used.requests),
            input_tokens: Some(used.input_tokens),
            output_tokens: Some(used.output_tokens),
            cost: Some(used.cost),
        }
    }

    fn of_theirs(billed: &Billed) -> Sums {
        Sums {
            requests: billed.requests,
            input_tokens: billed.input_tokens,
            output_tokens: billed.output_tokens,
            cost: billed.cost,
        }
    }

    fn add(&mut self, more: &Sums) -> Result<(), TooLarge> {
        *self = Sums {
            requests: both(self.requests, more.requests, u64::checked_add)?,
            input_tokens: both(self.input_tokens, more.input_tokens, u64::checked_add)?,
            output_tokens: both(self.output_tokens, more.output_tokens, u64::checked_add)?,
            cost: both(self.cost, more.cost, Money::plus)?,
        };
        Ok(())
    }

    fn tokens(&self) -> Option<i128> {
        Some(i128::from(self.input_tokens?) + i128::from(self.output_tokens?))
    }
}

fn both<T: Copy>(one: Option<T>, two: Option<T>, add: impl Fn(T, T) -> Option<T>) -> Result<Option<T>, TooLarge> {
    match (one, two) {
        (Some(one), Some(two)) => add(one, two).map(Some).ok_or(TooLarge),
        (one, two) => Ok(one.or(two)),
    }
}

/// Why the sides of a place differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// The provider billed what no receipt tells of.
    MissingHere,
    /// Receipts tell of what the provider did not bill.
    MissingThere,
    TokensDiffer,
    /// The same tokens at another price.
    PriceDiffers,
    /// Some of our cost is of attempts that did not answer; a provider may not bill them.
    FailedAttempts,
    /// Some of the price was more than could be held, so the tenant was not charged it.
    Overrun,
}

/// Both sides of some places together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sides {
    pub ours: Option<Sums>,
    pub theirs: Option<Sums>,
    /// Of our cost, that of failed attempts.
    pub failed: Money,
    pub overrun: Money,
}

/// A place that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Difference {
    pub day: i64,
    pub key: String,
    pub model: String,
    pub sides: Sides,
    pub reasons: BTreeSet<Reason>,
    /// Lines of the export that tell of it.
    pub lines: Vec<u64>,
}

/// What came of the comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Comparison {
    pub total: Sides,
    pub by_key: BTreeMap<String, Sides>,
    pub by_model: BTreeMap<String, Sides>,
    pub by_day: BTreeMap<i64, Sides>,
    /// The dearest first.
    pub differences: Vec<Difference>,
    /// Keys of the export that are not the gateway's.
    pub left_out: BTreeMap<String, Sums>,
}

/// How the export's keys are ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Keys {
    /// It names the keys of our tenants.
    Tenants,
    /// It names keys of the provider; this one is the gateway's.
    Provider(String),
}

/// Finds out how the keys are ours. Where several could be, they are told instead.
pub(crate) fn keys(billed: &[Billed], asked: Option<&str>) -> Result<Keys, Vec<String>> {
    let named: BTreeSet<&str> = billed.iter().map(|line| line.key.as_str()).collect();
    let are_ours = |key: &&str| key.parse::<Id<Key>>().is_ok();
    match asked {
        Some(asked) if named.contains(asked) => Ok(Keys::Provider(asked.to_owned())),
        None if !named.is_empty() && named.iter().all(are_ours) => Ok(Keys::Tenants),
        None if named.len() <= 1 => Ok(Keys::Provider(named.first().copied().unwrap_or_default().to_owned())),
        _ => Err(named.into_iter().map(str::to_owned).collect()),
    }
}

#[derive(Default)]
struct Cell {
    sides: Sides,
    lines: Vec<u64>,
}

/// Holds one against the other. Costs that differ by `tolerance` or less in a place are the same: bills are rounded.
pub(crate) fn compare(
    ours: &BTreeMap<UsagePlace, Used>,
    theirs: &[Billed],
    keys: &Keys,
    tolerance: Money,
) -> Result<Comparison, TooLarge> {
    let mut cells: BTreeMap<(i64, String, String), Cell> = BTreeMap::new();
    let mut result = Comparison::default();
    for ((day, key, model), used) in ours {
        let key = match keys {
            Keys::Tenants => key.to_string(),
            Keys::Provider(name) => name.clone(),
        };
        let sides = &mut cells.entry((*day, key, family(model))).or_default().sides;
        sides.ours.get_or_insert_default().add(&Sums::of_ours(used))?;
        sides.failed = sides.failed.plus(used.failed).ok_or(TooLarge)?;
        sides.overrun = sides.overrun.plus(used.overrun).ok_or(TooLarge)?;
    }
    for billed in theirs {
        let sums = Sums::of_theirs(billed);
        if matches!(keys, Keys::Provider(name) if *name != billed.key) {
            result.left_out.entry(billed.key.clone()).or_default().add(&sums)?;
            continue;
        }
        let cell = cells.entry((billed.day, billed.key.clone(), family(&billed.model))).or_default();
        cell.sides.theirs.get_or_insert_default().add(&sums)?;
        cell.lines.push(billed.line);
    }
    for ((day, key, model), Cell { sides, lines }) in cells {
        result.total.join(&sides)?;
        result.by_key.entry(key.clone()).or_default().join(&sides)?;
        result.by_model.entry(model.clone()).or_default().join(&sides)?;
        result.by_day.entry(day).or_default().join(&sides)?;
        let reasons = reasons(&sides, tolerance);
        if !reasons.is_empty() {
            result.differences.push(Difference { day, key, model, sides, reasons, lines });
        }
    }
    let weight = |sides: &Sides| {
        let of = |sums: Option<Sums>| sums.unwrap_or_default();
        let cost = |sums: Sums| i128::from(sums.cost.unwrap_or_default().nanos());
        let (ours, theirs) = (of(sides.ours), of(sides.theirs));
        let tokens = theirs.tokens().unwrap_or(0) - ours.tokens().unwrap_or(0);
        ((cost(theirs) - cost(ours)).abs(), tokens.abs())
    };
    result.differences.sort_by_key(|it| std::cmp::Reverse(weight(&it.sides)));
    Ok(result)
}

impl Sides {
    fn join(&mut self, more: &Sides) -> Result<(), TooLarge> {
        for (side, more) in [(&mut self.ours, &more.ours), (&mut self.theirs, &more.theirs)] {
            if let Some(more) = more {
                side.get_or_insert_default().add(more)?;
            }
        }
        self.failed = self.failed.plus(more.failed).ok_or(TooLarge)?;
        self.overrun = self.overrun.plus(more.overrun).ok_or(TooLarge)?;
        Ok(())
    }
}

fn reasons(sides: &Sides, tolerance: Money) -> BTreeSet<Reason> {
    let mut reasons = BTreeSet::new();
    match (&sides.ours, &sides.theirs) {
        (Some(ours), Some(theirs)) => {
            let differ =
                |one: Option<u64>, two: Option<u64>| matches!((one, two), (Some(one), Some(two)) if one != two);
            let tokens =
                differ(ours.input_tokens, theirs.input_tokens) || differ(ours.output_tokens, theirs.output_tokens);
            if tokens {
                reasons.insert(Reason::TokensDiffer);
            }
            if costs_differ(ours, theirs, tolerance) {
                if !tokens || rates_differ(ours, theirs) {
                    reasons.insert(Reason::PriceDiffers);
                }
                if sides.failed > Money::ZERO {
                    reasons.insert(Reason::FailedAttempts);
                }
            }
        }
        (Some(_), None) => {
            reasons.insert(Reason::MissingThere);
            if sides.failed > Money::ZERO {
                reasons.insert(Reason::FailedAttempts);
            }
        }
        (None, Some(_)) => {
            reasons.insert(Reason::MissingHere);
        }
        (None, None) => {}
    }
    if sides.overrun > Money::ZERO {
        reasons.insert(Reason::Overrun);
    }
    reasons
}

fn costs_differ(ours: &Sums, theirs: &Sums, tolerance: Money) -> bool {
    match (ours.cost, theirs.cost) {
        (Some(ours), Some(theirs)) => {
            (i128::from(ours.nanos()) - i128::from(theirs.nanos())).abs() > i128::from(tolerance.nanos())
        }
        _ => false,
    }
}

/// Whether a token costs more than a hundredth more on one side than on the other: more than other tokens explain.
fn rates_differ(ours: &Sums, theirs: &Sums) -> bool {
    let (Some(our_tokens), Some(their_tokens)) = (ours.tokens(), theirs.tokens()) else { return true };
    let (Some(our_cost), Some(their_cost)) = (ours.cost, theirs.cost) else { return false };
    let one = i128::from(our_cost.nanos()).saturating_mul(their_tokens);
    let two = i128::from(their_cost.nanos()).saturating_mul(our_tokens);
    (one.saturating_sub(two)).abs() > one.abs().max(two.abs()) / 100
}

/// The name under which both sides know a model: without its date, in one spelling.
fn family(model: &str) -> String {
    let name = model.trim().to_ascii_lowercase();
    let name = name.strip_prefix("models/").unwrap_or(&name).replace([' ', '.', '_', '@'], "-");
    let name = name.strip_suffix("-latest").unwrap_or(&name);
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<&str> = name.split('-').collect();
    let kept = match parts.as_slice() {
        [kept @ .., year, month, day]
            if digits(year) && digits(month) && digits(day) && (year.len(), month.len(), day.len()) == (4, 2, 2) =>
        {
            kept
        }
        [kept @ .., date] if digits(date) && date.len() == 8 => kept,
        all => all,
    };
    if kept.is_empty() { name.to_owned() } else { kept.join("-") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nanos(n: i64) -> Money {
        Money::from_nanos(n)
    }

    fn key(n: u128) -> Id<Key> {
        Id::from_uuid(uuid::Uuid::from_u128(n))
    }

    fn used(requests: u64, input: u64, output: u64, cost: i64) -> Used {
        Used { requests, input_tokens: input, output_tokens: output, cost: nanos(cost), ..Used::default() }
    }

    fn billed(line: u64, key: &str, model: &str, tokens: Option<(u64, u64)>, cost: Option<i64>) -> Billed {
        Billed {
            line,
            day: 7,
            key: key.into(),
            model: model.into(),
            requests: None,
            input_tokens: tokens.map(|it| it.0),
            output_tokens: tokens.map(|it| it.1),
            cost: cost.map(nanos),
        }
    }

    /// Tokens in and out, and a cost, as far as they are told.
    type Line = (Option<(u64, u64)>, Option<i64>);

    /// The reasons for one place where this was used and that was billed.
    fn why(ours: Option<Used>, theirs: Option<Line>) -> Vec<Reason> {
        let ours = ours.map(|used| ((7, key(1), "gpt-4o".to_owned()), used)).into_iter().collect();
        let theirs: Vec<_> = theirs.map(|(tokens, cost)| billed(2, "k", "gpt-4o", tokens, cost)).into_iter().collect();
        let result = compare(&ours, &theirs, &Keys::Provider("k".into()), nanos(10)).unwrap();
        result.differences.into_iter().flat_map(|it| it.reasons).collect()
    }

    #[test]
    fn a_difference_has_its_reasons() {
        use Reason::{FailedAttempts, MissingHere, MissingThere, Overrun, PriceDiffers, TokensDiffer};
        let ours = used(1, 100, 50, 1_000);
        let failed = Used { failed: nanos(400), ..ours };
        let over = Used { overrun: nanos(1), ..ours };
        for (one, two, expected) in [
            (Some(ours), Some((Some((100, 50)), Some(1_000))), vec![]),
            (Some(ours), Some((Some((100, 50)), Some(1_010))), vec![]), // within the tolerance
            (Some(ours), Some((Some((100, 50)), Some(1_011))), vec![PriceDiffers]),
            (Some(ours), Some((Some((100, 50)), None)), vec![]),
            (Some(ours), Some((None, Some(1_000))), vec![]),
            (Some(ours), Some((None, Some(2_000))), vec![PriceDiffers]),
            (Some(ours), Some((Some((101, 50)), None)), vec![TokensDiffer]),
            (Some(ours), Some((Some((100, 49)), Some(1_000))), vec![TokensDiffer]),
            (Some(ours), Some((Some((200, 100)), Some(2_000))), vec![TokensDiffer]), // the same price for each
            (Some(ours), Some((Some((200, 100)), Some(3_000))), vec![TokensDiffer, PriceDiffers]),
            (Some(ours), None, vec![MissingThere]),
            (None, Some((Some((1, 1)), Some(5))), vec![MissingHere]),
            (Some(failed), Some((Some((100, 50)), Some(600))), vec![PriceDiffers, FailedAttempts]),
            (Some(failed), Some((Some((100, 50)), Some(1_000))), vec![]), // it was billed
            (Some(failed), None, vec![MissingThere, FailedAttempts]),
            (Some(over), Some((Some((100, 50)), Some(1_000))), vec![Overrun]),
            (None, None, vec![]),
        ] {
            assert_eq!(why(one, two), expected, "{one:?} against {two:?}");
        }
    }

    #[test]
    fn a_model_is_one_whatever_its_date_and_spelling() {
        for (ours, theirs) in [
            ("gpt-4o", "gpt-4o-2024-08-06"),
            ("claude-haiku-4-5-20251001", "Claude Haiku 4.5"),
            ("claude-3-5-sonnet-latest", "Claude 3.5 Sonnet 2024-10-22"),
            ("claude-sonnet-4@20250514", "claude-sonnet-4-20250514"),
            ("gemini-2.0-flash", "models/gemini-2.0-flash"),
        ] {
            assert_eq!(family(ours), family(theirs));
        }
        for (one, other) in
            [("gpt-4o", "gpt-4o-mini"), ("gpt-4-0613", "gpt-4-1106"), ("claude-3-opus", "claude-3-5-opus")]
        {
            assert_ne!(family(one), family(other));
        }
        assert_eq!(family("20240806"), "20240806");
    }

    #[test]
    fn keys_are_tenants_or_the_one_that_the_gateway_uses() {
        let lines = |names: &[&str]| names.iter().map(|name| billed(2, name, "m", None, None)).collect::<Vec<_>>();
        let (one, two) = (key(1).to_string(), key(2).to_string());
        for (names, asked, expected) in [
            (vec![one.as_str(), &two], None, Ok(Keys::Tenants)),
            (vec![], None, Ok(Keys::Provider(String::new()))),
            (vec![""], None, Ok(Keys::Provider(String::new()))),
            (vec!["prod", "prod"], None, Ok(Keys::Provider("prod".into()))),
            (vec!["prod", "dev"], None, Err(vec!["dev".to_owned(), "prod".to_owned()])),
            (vec!["prod", "dev"], Some("dev"), Ok(Keys::Provider("dev".into()))),
            (vec!["prod"], Some("dev"), Err(vec!["prod".to_owned()])),
            (vec![&one, "prod"], None, Err(vec![one.clone(), "prod".to_owned()])),
        ] {
            assert_eq!(keys(&lines(&names), asked), expected, "{names:?} {asked:?}");
        }
    }

    #[test]
    fn the_sums_of_every_cut_are_those_of_the_whole() {
        let ours = BTreeMap::from([
            ((7, key(1), "gpt-4o".to_owned()), used(2, 100, 50, 1_000)),
            ((7, key(2), "gpt-4o".to_owned()), used(1, 10, 5, 100)),
            ((8, key(1), "o3".to_owned()), used(1, 1, 1, 20)),
        ]);
        let mut theirs = vec![
            billed(2, "prod", "gpt-4o-2024-08-06", Some((60, 30)), Some(600)),
            billed(3, "prod", "gpt-4o", Some((50, 25)), Some(500)),
            billed(4, "prod", "o4", Some((9, 9)), Some(90)),
            billed(5, "laptop", "gpt-4o", Some((7, 7)), Some(70)),
        ];
        theirs[2].day = 8;
        let result = compare(&ours, &theirs, &Keys::Provider("prod".into()), Money::ZERO).unwrap();
        let costs = |sides: &Sides| {
            let cost = |sums: Option<Sums>| sums.and_then(|sums| sums.cost).map(Money::nanos);
            (cost(sides.ours), cost(sides.theirs))
        };
        assert_eq!(costs(&result.total), (Some(1_120), Some(1_190)));
        let cut: Vec<_> = result.by_model.iter().map(|(name, sides)| (name.as_str(), costs(sides))).collect();
        let expected = [("gpt-4o", (Some(1_100), Some(1_100))), ("o3", (Some(20), None)), ("o4", (None, Some(90)))];
        assert_eq!(cut, expected);
        assert_eq!(costs(&result.by_day[&7]), (Some(1_100), Some(1_100)));
        assert_eq!(costs(&result.by_day[&8]), (Some(20), Some(90)));
        assert_eq!(costs(&result.by_key["prod"]), (Some(1_120), Some(1_190)));
        assert_eq!(result.left_out["laptop"].cost, Some(nanos(70)));
        let told: Vec<_> = result.differences.iter().map(|it| (it.model.as_str(), it.lines.clone())).collect();
        assert_eq!(told, [("o4", vec![4]), ("o3", vec![])], "the dearest first");

        let tenants = [billed(2, &key(1).to_string(), "gpt-4o", Some((100, 50)), Some(1_000))];
        let result = compare(&ours, &tenants, &Keys::Tenants, Money::ZERO).unwrap();
        let told: Vec<_> = result.differences.iter().map(|it| (it.key.clone(), it.day)).collect();
        assert_eq!(told, [(key(2).to_string(), 7), (key(1).to_string(), 8)]);
    }

    #[test]
    fn sums_beyond_64_bits_are_told() {
        let line = billed(2, "k", "m", Some((u64::MAX, 1)), Some(i64::MAX));
        let result = compare(&BTreeMap::new(), &[line.clone(), line], &Keys::Provider("k".into()), Money::ZERO);
        assert_eq!(result, Err(TooLarge));
    }
}
