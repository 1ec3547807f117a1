//! Why a decision came out as it did: every rule of every layer that holds, with file and line, whether it fired and what it said, or why it was
//! not even evaluated. Slower than a decision, and for people.

use serde::{Deserialize, Serialize};

use crate::index::When;
use crate::input::input;
use crate::rulebook::Scope;
use crate::{Decision, Facts, PolicySet};

/// A decision and the rules behind it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// What is decided on these facts.
    pub decision: Decision,
    /// The rules that decided: a short hash of the layers that hold for the call.
    pub revision: String,
    /// The layers that hold for the call, in order.
    pub layers: Vec<LayerExplained>,
}

/// What one layer's rules did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LayerExplained {
    /// `house`, `platform`, `org_…`, `team_…`
    pub scope: String,
    /// A short hash of the layer's sources and data.
    pub revision: String,
    /// Every rule that may contribute, by member and package.
    pub rules: Vec<RuleExplained>,
}

/// What one rule did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RuleExplained {
    /// The file.
    pub path: String,
    /// The rule's first line.
    pub line: u32,
    /// The package's last name.
    pub package: String,
    /// What it contributes to: `deny`, `actions`, …
    pub member: String,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What became of a rule.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It contributed something.
    Fired {
        /// What it contributed.
        values: Vec<serde_json::Value>,
        /// Its package has no effect: `data.alfred.log_only`.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        log_only: bool,
    },
    /// It was evaluated, and some statement did not hold.
    Silent,
    /// It was not evaluated: this condition of its own does not hold.
    Skipped {
        /// The condition as it stands in the rule, without the fact's value.
        unmet: String,
    },
    /// It cannot contribute at any call with the data that is there.
    Idle {
        /// Why.
        why: String,
    },
    /// It could not be evaluated: the call is denied.
    Faulty {
        /// In words for operators.
        message: String,
    },
}

impl PolicySet {
    /// What each rule did on these facts, as a layer of that scope.
    pub(crate) fn explain(&self, scope: &Scope, facts: &Facts) -> LayerExplained {
        let input = input(facts);
        let index = self.index();
        let rules = index.entries.iter().enumerate().map(|(at, entry)| {
            let section = &index.sections[entry.section];
            let fired = |values: &[regorus::Value]| match values {
                [] => Outcome::Silent,
                values => Outcome::Fired {
                    values: values.iter().filter_map(|value| serde_json::to_value(value).ok()).collect(),
                    log_only: self.is_log_only(&section.package),
                },
            };
            let outcome = match &entry.when {
                When::Never(why) => Outcome::Idle { why: why.clone() },
                When::Once(values) => fired(values),
                When::All(_) => match index.skipped(at, &input) {
                    Some(unmet) => Outcome::Skipped { unmet },
                    None => match self.values(&[at], input.clone()) {
                        Ok(values) => fired(&values.concat()),
                        Err(message) => Outcome::Faulty { message },
                    },
                },
            };
            RuleExplained {
                path: entry.path.clone(),
                line: entry.line,
                package: section.package.clone(),
                member: section.member.to_owned(),
                outcome,
            }
        });
        LayerExplained { scope: scope.to_string(), revision: self.revision().to_owned(), rules: rules.collect() }
    }
}
