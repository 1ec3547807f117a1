//! What a replay tells: counts, shares and money, in words that need no explanation.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Place;
use super::money::Sum;

/// So many decisions of a class are named.
const EXAMPLES: usize = 20;
/// So many teams, models or reasons are told one by one; the others together.
const MOST_KEYS: usize = 1_000;
const MOST_REASONS: usize = 50;
const OTHERS: &str = "others";

/// What other rules would have made of recorded calls. Money is in US dollars: what calls would have cost more, or less with a minus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// Decisions that were read.
    pub decisions: u64,
    /// Of them, those that were asked again.
    pub replayed: u64,
    /// Those of which only the result was kept.
    pub without_facts: u64,
    /// Those that cannot be read.
    pub unreadable: u64,
    /// Those whose claims are masked: rules that compare claims may decide otherwise of them than they would have.
    pub with_masked_claims: u64,
    /// Calls that went and would be refused.
    pub newly_denied: Class,
    /// Calls that were refused and would go.
    pub newly_allowed: Class,
    /// Calls that would go somewhere else first.
    pub rerouted: Class,
    /// Calls that would go to the same place under other duties.
    pub duties_changed: Class,
    /// Calls that went and would be refused because the rules cannot decide.
    pub faults: Class,
    /// What it would have saved or cost.
    pub money: ChangedMoney,
}

/// Calls that something would become otherwise of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Class {
    /// How many.
    pub calls: u64,
    /// What they would have cost more, or less with a minus. Of refusals what was charged; else an estimate.
    pub charge_delta_usd: String,
    /// By team; `-` is none.
    pub by_team: BTreeMap<String, Share>,
    /// By the model that was asked for.
    pub by_model: BTreeMap<String, Share>,
    /// Of refusals: what callers would have been told.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub reasons: BTreeMap<String, u64>,
    /// Some of the decisions, newest first.
    pub examples: Vec<String>,
}

/// A part of a class.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// How many calls.
    pub calls: u64,
    /// What they would have cost more, or less with a minus.
    pub charge_delta_usd: String,
}

/// What other rules would have saved or cost. Estimates go by list prices and the tokens that calls used; those of calls that were
/// refused by the longest their prompts may be and the mean length of answers of the same model.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedMoney {
    /// What was charged for calls that would be refused.
    pub saved_by_refusals_usd: String,
    /// What calls that were refused would have cost.
    pub estimated_cost_of_allowed_usd: String,
    /// What calls that would go elsewhere would have cost more, or less with a minus.
    pub estimated_rerouting_delta_usd: String,
    /// All of it: with a minus, money saved.
    pub estimated_delta_usd: String,
    /// Calls whose change is not in these sums, because a price is not known.
    pub calls_without_price: u64,
}

/// A class while it is counted.
#[derive(Default)]
pub(super) struct Tally {
    calls: u64,
    sum: Sum,
    by_team: BTreeMap<String, (u64, Sum)>,
    by_model: BTreeMap<String, (u64, Sum)>,
    reasons: BTreeMap<String, u64>,
    examples: BTreeSet<String>,
}

impl Tally {
    pub fn count(&mut self, place: &Place, id: &str, change: Sum) {
        self.calls += 1;
        self.share(place, 1, change);
        if self.examples.len() < EXAMPLES || self.examples.first().is_some_and(|oldest| oldest.as_str() < id) {
            self.examples.insert(id.to_owned());
            if self.examples.len() > EXAMPLES {
                self.examples.pop_first();
            }
        }
    }

    /// Money of calls that were counted already.
    pub fn also(&mut self, place: &Place, change: Sum) {
        self.share(place, 0, change);
    }

    fn share(&mut self, place: &Place, calls: u64, change: Sum) {
        self.sum = self.sum.plus(change);
        for (shares, key) in [(&mut self.by_team, &place.team), (&mut self.by_model, &place.model)] {
            let share = entry(shares, key, MOST_KEYS);
            *share = (share.0 + calls, share.1.plus(change));
        }
    }

    /// A reason that a caller would have been told.
    pub fn told(&mut self, reason: &str) {
        *entry(&mut self.reasons, reason, MOST_REASONS) += 1;
    }

    pub fn sum(&self) -> Sum {
        self.sum
    }

    pub fn merge(&mut self, other: Tally) {
        self.calls += other.calls;
        self.sum = self.sum.plus(other.sum);
        for (mine, its) in [(&mut self.by_team, other.by_team), (&mut self.by_model, other.by_model)] {
            for (key, (calls, change)) in its {
                let share = entry(mine, &key, MOST_KEYS);
                *share = (share.0 + calls, share.1.plus(change));
            }
        }
        for (reason, calls) in other.reasons {
            *entry(&mut self.reasons, &reason, MOST_REASONS) += calls;
        }
        self.examples.extend(other.examples);
        while self.examples.len() > EXAMPLES {
            self.examples.pop_first();
        }
    }

    pub fn told_as_class(self) -> Class {
        let shares = |all: BTreeMap<String, (u64, Sum)>| {
            let share = |(key, (calls, change)): (String, (u64, Sum))| {
                (key, Share { calls, charge_delta_usd: change.to_string() })
            };
            all.into_iter().map(share).collect()
        };
        Class {
            calls: self.calls,
            charge_delta_usd: self.sum.to_string(),
            by_team: shares(self.by_team),
            by_model: shares(self.by_model),
            reasons: self.reasons,
            examples: self.examples.into_iter().rev().collect(),
        }
    }
}

/// The entry of a key, or that of all others when there are too many.
fn entry<'a, T: Default>(all: &'a mut BTreeMap<String, T>, key: &str, most: usize) -> &'a mut T {
    let key = if all.len() < most || all.contains_key(key) { key } else { OTHERS };
    all.entry(key.to_owned()).or_default()
}
