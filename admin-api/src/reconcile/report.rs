//! A comparison on the wire.

use std::collections::BTreeMap;

use ledger::{Money, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use super::compare::{Comparison, Difference, Reason, Sides, Sums};

/// Differences that are told one by one.
const MOST_DIFFERENCES: usize = 1_000;
/// Lines of the export that are named at each.
const MOST_LINES: usize = 20;

/// A provider's export held against our receipts of the same days.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Reconciliation)]
pub(crate) struct ReportBody {
    pub provider: String,
    /// The layout that the export was read by: `openai`, `anthropic` or `generic`.
    pub format: &'static str,
    /// The first and the last day that the export tells of.
    #[schema(format = Date)]
    pub from: String,
    #[schema(format = Date)]
    pub to: String,
    pub total: VarianceBody,
    pub by_key: Vec<VarianceBody>,
    pub by_model: Vec<VarianceBody>,
    pub by_day: Vec<VarianceBody>,
    /// What differs and why, the dearest first.
    pub differences: Vec<DifferenceBody>,
    /// Differences that are not told one by one, because they are too many.
    pub differences_left_out: usize,
    /// Keys of the export that are not the gateway's: what was spent past it.
    pub other_keys: Vec<OtherKeyBody>,
}

/// Both sides together. What the export does not tell at all is null, and so is what it differs by.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Variance)]
pub(crate) struct VarianceBody {
    /// The key, the model or the day; empty for the whole.
    pub name: String,
    /// By our receipts; null where there are none.
    #[schema(required)]
    pub ours: Option<SideBody>,
    /// By the export; null where it has no line.
    #[schema(required)]
    pub theirs: Option<SideBody>,
    /// What the provider billed more than our receipts have.
    #[schema(value_type = Option<String>, required, example = "-0.05")]
    pub cost_delta_usd: Option<Money>,
    #[schema(required)]
    pub input_tokens_delta: Option<i64>,
    #[schema(required)]
    pub output_tokens_delta: Option<i64>,
    /// Of our cost, that of attempts that did not answer.
    #[schema(value_type = String, example = "0")]
    pub failed_attempts_usd: Money,
    /// What of our price could not be charged.
    #[schema(value_type = String, example = "0")]
    pub overrun_usd: Money,
}

/// What one side tells.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Side)]
pub(crate) struct SideBody {
    #[schema(required)]
    pub requests: Option<u64>,
    /// Of every class, those from a cache included.
    #[schema(required)]
    pub input_tokens: Option<u64>,
    #[schema(required)]
    pub output_tokens: Option<u64>,
    /// Less than nothing where the provider gave more credit than it billed.
    #[schema(value_type = Option<String>, required, example = "12.34")]
    pub net_cost_usd: Option<Money>,
}

/// A key, a model and a day at which the sides differ.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Difference)]
pub(crate) struct DifferenceBody {
    #[schema(format = Date)]
    pub day: String,
    pub key: String,
    /// Without its date, in one spelling.
    pub model: String,
    /// `missing_here` (billed, but no receipt), `missing_there` (a receipt, but not billed), `tokens_differ`,
    /// `price_differs` (more than the tokens explain), `failed_attempts` (part of our cost is of attempts that did not
    /// answer) or `overrun` (part of the price could not be charged).
    pub reasons: Vec<&'static str>,
    /// Lines of the export that tell of it, the first 20.
    pub lines: Vec<u64>,
    #[serde(flatten)]
    pub variance: VarianceBody,
}

/// A key that is not the gateway's.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OtherKey)]
pub(crate) struct OtherKeyBody {
    pub key: String,
    pub theirs: SideBody,
}

/// A day as the API tells it.
pub(crate) fn date(day: i64) -> String {
    const DAY_MICROS: i64 = 86_400_000_000;
    let mut text = Timestamp::from_micros(day.saturating_mul(DAY_MICROS)).to_string();
    text.truncate("2026-01-31".len());
    text
}

impl ReportBody {
    pub(crate) fn of(
        provider: String,
        format: &'static str,
        days: std::ops::RangeInclusive<i64>,
        found: Comparison,
    ) -> ReportBody {
        let named = |sides: BTreeMap<String, Sides>| {
            sides.into_iter().map(|(name, sides)| VarianceBody::of(name, &sides)).collect()
        };
        let mut differences: Vec<_> = found.differences.into_iter().map(DifferenceBody::from).collect();
        let differences_left_out = differences.len().saturating_sub(MOST_DIFFERENCES);
        differences.truncate(MOST_DIFFERENCES);
        ReportBody {
            provider,
            format,
            from: date(*days.start()),
            to: date(*days.end()),
            total: VarianceBody::of(String::new(), &found.total),
            by_key: named(found.by_key),
            by_model: named(found.by_model),
            by_day: found.by_day.into_iter().map(|(day, sides)| VarianceBody::of(date(day), &sides)).collect(),
            differences,
            differences_left_out,
            other_keys: found
                .left_out
                .into_iter()
                .map(|(key, sums)| OtherKeyBody { key, theirs: sums.into() })
                .collect(),
        }
    }
}

impl VarianceBody {
    fn of(name: String, sides: &Sides) -> VarianceBody {
        // A side that is not there used nothing; what the export does not tell cannot be compared.
        let nothing =
            Sums { requests: Some(0), input_tokens: Some(0), output_tokens: Some(0), cost: Some(Money::ZERO) };
        let (ours, theirs) = (sides.ours.unwrap_or(nothing), sides.theirs.unwrap_or(nothing));
        let delta =
            |ours: Option<u64>, theirs: Option<u64>| i64::try_from(i128::from(theirs?) - i128::from(ours?)).ok();
        VarianceBody {
            name,
            ours: sides.ours.map(SideBody::from),
            theirs: sides.theirs.map(SideBody::from),
            cost_delta_usd: theirs.cost.zip(ours.cost).and_then(|(theirs, ours)| theirs.minus(ours)),
            input_tokens_delta: delta(ours.input_tokens, theirs.input_tokens),
            output_tokens_delta: delta(ours.output_tokens, theirs.output_tokens),
            failed_attempts_usd: sides.failed,
            overrun_usd: sides.overrun,
        }
    }
}

impl From<Sums> for SideBody {
    fn from(sums: Sums) -> Self {
        let Sums { requests, input_tokens, output_tokens, cost } = sums;
        SideBody { requests, input_tokens, output_tokens, net_cost_usd: cost }
    }
}

impl From<Difference> for DifferenceBody {
    fn from(difference: Difference) -> Self {
        let Difference { day, key, model, sides, reasons, mut lines } = difference;
        lines.truncate(MOST_LINES);
        DifferenceBody {
            day: date(day),
            key,
            model,
            reasons: reasons.into_iter().map(word).collect(),
            lines,
            variance: VarianceBody::of(String::new(), &sides),
        }
    }
}

fn word(reason: Reason) -> &'static str {
    match reason {
        Reason::MissingHere => "missing_here",
        Reason::MissingThere => "missing_there",
        Reason::TokensDiffer => "tokens_differ",
        Reason::PriceDiffers => "price_differs",
        Reason::FailedAttempts => "failed_attempts",
        Reason::Overrun => "overrun",
    }
}
