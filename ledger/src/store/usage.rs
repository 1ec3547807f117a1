//! What was used of a provider, day by day, as our receipts have it: to be held against the provider's own bill.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::receipts::Receipts;
use super::values;
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::id::{Call, Id, Key};
use crate::money::Money;
use crate::record::AttemptRecord;

/// What one key used of one model of a provider in one day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Calls that the model answered.
    pub requests: u64,
    /// Of every class.
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// What it cost, failed attempts included.
    pub cost: Money,
    /// What attempts cost that did not answer their caller.
    pub failed: Money,
    /// What of the price could not be charged.
    pub overrun: Money,
}

/// Where it was used: the day since 1970 in UTC, the key, and the provider's name of the model.
pub type Place = (i64, Id<Key>, String);

const DAY_MICROS: i64 = 86_400_000_000;
const PAGE: usize = 2_000;

impl Receipts<'_> {
    /// What was used of `provider` by calls that began in these days, the last one excluded.
    ///
    /// Calls are found by their ids, which tell when they began. They are summed here and not by the database: a record
    /// holds its costs as decimals, of which neither database makes exact sums.
    pub async fn usage(&self, provider: &str, days: std::ops::Range<i64>) -> Result<BTreeMap<Place, Used>, StoreError> {
        let bound = |day: i64| Id::<Call>::new(Timestamp::from_micros(day.saturating_mul(DAY_MICROS)), [0; 10]);
        let (mut after, end) = (bound(days.start), bound(days.end));
        // Most receipts of a house with several providers are another's: those are not even read.
        let needle = format!("\"{provider}/");
        let mut used = BTreeMap::new();
        loop {
            let rows = self
                .0
                .database()
                .rows(
                    "SELECT call_id, key_id, status, cost, overrun, record FROM receipts
                      WHERE call_id >= $1 AND call_id < $2 ORDER BY call_id LIMIT $3",
                    values![after, end, i64::try_from(PAGE).unwrap_or(i64::MAX)],
                )
                .await?;
            for row in &rows {
                let record = row.get::<String>("record")?;
                if record.contains(&needle) {
                    let call: Outline = (row.id("call_id")?, row.id("key_id")?, row.get("status")?);
                    let sums = (row.money("cost")?, row.money("overrun")?);
                    add(&mut used, provider, call, sums, &record)?;
                }
            }
            match rows.last() {
                Some(last) if rows.len() == PAGE => after = next(last.id("call_id")?),
                _ => return Ok(used),
            }
        }
    }
}

/// A call, its key and its status.
type Outline = (Id<Call>, Id<Key>, String);

/// What of a record matters here.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Recorded {
    target: Option<String>,
    cache: String,
    attempts: Vec<AttemptRecord>,
    /// By class, whichever there are.
    usage: BTreeMap<String, serde_json::Value>,
}

fn next(call: Id<Call>) -> Id<Call> {
    Id::from_uuid(uuid::Uuid::from_u128(call.uuid().as_u128().saturating_add(1)))
}

fn add(
    used: &mut BTreeMap<Place, Used>,
    provider: &str,
    (call, key, status): Outline,
    (cost, overrun): (Money, Money),
    record: &str,
) -> Result<(), StoreError> {
    let record: Recorded =
        serde_json::from_str(record).map_err(|error| StoreError::Corrupt(format!("record of {call}: {error}")))?;
    if record.attempts.is_empty() && !record.cache.is_empty() && record.cache != "miss" && record.cache != "bypass" {
        return Ok(()); // answered from the cache: the provider saw nothing of it
    }
    let model = |target: &str| Some(target.strip_prefix(provider)?.strip_prefix('/')?.to_owned());
    let (seconds, _) = call.uuid().get_timestamp().map_or((0, 0), |at| at.to_unix());
    let day = i64::try_from(seconds / 86_400).unwrap_or(0);
    let corrupt = || StoreError::Corrupt(format!("costs of {call}"));
    let answered = record.target.as_deref().filter(|_| status == "settled" || status == "expired");
    let failed = match answered {
        Some(_) => record.attempts.split_last().map_or(&[][..], |(_, before)| before),
        None => &record.attempts[..],
    };
    let mut rest = cost;
    for attempt in failed {
        rest = rest.minus(attempt.cost).ok_or_else(corrupt)?;
        if attempt.cost == Money::ZERO {
            continue;
        }
        if let Some(model) = model(&attempt.target) {
            let place: &mut Used = used.entry((day, key, model)).or_default();
            place.cost = place.cost.plus(attempt.cost).ok_or_else(corrupt)?;
            place.failed = place.failed.plus(attempt.cost).ok_or_else(corrupt)?;
        }
    }
    if let Some(model) = answered.and_then(model) {
        let (input, output) = tokens(&record.usage);
        let place = used.entry((day, key, model)).or_default();
        place.requests += 1;
        place.input_tokens = place.input_tokens.saturating_add(input);
        place.output_tokens = place.output_tokens.saturating_add(output);
        place.cost = place.cost.plus(rest.max(Money::ZERO)).ok_or_else(corrupt)?;
        place.overrun = place.overrun.plus(overrun).ok_or_else(corrupt)?;
    }
    Ok(())
}

/// Tokens in and out, of every class. What is no count of tokens is told by its name.
fn tokens(usage: &BTreeMap<String, serde_json::Value>) -> (u64, u64) {
    let (mut input, mut output) = (0_u64, 0_u64);
    for (class, count) in usage.iter().filter_map(|(class, count)| Some((class.as_str(), count.as_u64()?))) {
        match class {
            "requests" | "searches" | "images" | "seconds" | "characters" => {}
            "output" | "reasoning" | "audio_output" | "image_output" => output = output.saturating_add(count),
            _ => input = input.saturating_add(count),
        }
    }
    (input, output)
}
