//! A candidate beside the rules in force: it is asked what they were asked, off the call's path, and its answers have no effect
//! but to be counted and listed where they differ.

use std::sync::Arc;

use ledger::{DecisionResult, ShadowWord};
use policies::replay::{Difference, Outcome, walk};
use policies::{Facts, Rulebook, Scope};

/// The rules in force with a candidate in the place of one of their layers.
pub struct Shadow {
    /// The candidate: `pol_…`.
    pub revision: String,
    /// Whose layer it would be.
    pub scope: Scope,
    /// Every layer as it would be with it.
    pub rulebook: Arc<Rulebook>,
}

impl Shadow {
    /// What it would have made of a call, and in what that differs.
    pub fn word(&self, questions: &[Facts], live: &Outcome) -> (ShadowWord, Option<Difference>) {
        let other = walk(questions, |at| self.rulebook.decide(&questions[at]).decision);
        let difference = Difference::between(live, &other);
        let differs = difference.map(|it| it.as_str().to_owned());
        (ShadowWord { revision: self.revision.clone(), result: result(&other), differs }, difference)
    }
}

/// How a call ended with the rules.
pub fn result(outcome: &Outcome) -> DecisionResult {
    match outcome {
        Outcome::Goes { .. } => DecisionResult::Allow,
        Outcome::Denied(_) if outcome.is_fault() => DecisionResult::Fault,
        Outcome::Denied(_) => DecisionResult::Deny,
    }
}
