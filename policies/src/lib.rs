//! Rego in, decision out: may this call happen, where, and under which duties.
//!
//! `PolicySet::compile` reads sources and data and refuses what cannot be trusted; `decide` never errs: what
//! cannot be decided is denied. How rules are written and added: README.md.

mod asleep;
mod bundle;
mod check;
mod data;
mod decision;
mod difference;
mod engine;
mod explain;
mod facts;
#[cfg(test)]
mod fuzz;
mod index;
mod input;
pub mod intent;
mod kept;
pub mod lint;
mod memory;
mod outline;
pub mod pack;
mod reads;
pub mod replay;
mod rulebook;
mod source;
mod testing;
mod verdict;
mod workers;

pub use decision::{
    ACTIONS, Approval, CacheMode, CacheRule, Code, Decision, KINDS, Keeping, LogLevel, Obligations, Observed, Reason,
};
pub use difference::{Difference, How};
pub use engine::PolicySet;
pub use explain::{Explanation, LayerExplained, Outcome, RuleExplained};
pub use facts::{AttributeFacts, BudgetFacts, CallerFacts, Candidate, Facts, RequestFacts, TimeFacts};
pub use intent::{Asked, Classified, Intent};
pub use kept::{FactsFrame, Kept, Mask, without_words};
pub use pack::{Manifest, Pack, PackLimits};
pub use rulebook::{Decided, Rulebook, Scope};
pub use source::{Fault, Limits, Source, read_dir, shipped, shipped_for};
pub use testing::{Coverage, Evaluated, TestPlan, TestReport, TestResult, eval, eval_each, test, test_by};
