//! Rego in, decision out: may this call happen, where, and under which duties.
//!
//! `PolicySet::compile` reads sources and data and refuses what cannot be trusted; `decide` never errs: what
//! cannot be decided is denied. How rules are written and added: README.md.

mod bundle;
mod check;
mod data;
mod decision;
mod engine;
mod facts;
mod input;
mod memory;
mod outline;
mod reads;
mod source;
mod testing;
mod verdict;

pub use decision::{ACTIONS, CacheRule, Code, Decision, KINDS, Obligations, Reason};
pub use engine::PolicySet;
pub use facts::{BudgetFacts, CallerFacts, Candidate, Facts, RequestFacts, TimeFacts};
pub use source::{Fault, Limits, Source, read_dir, shipped};
pub use testing::{TestReport, TestResult, eval, test};
