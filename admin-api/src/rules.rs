//! What the process around the admin API knows of its rules.

use ::policies::{Difference, How, Pack};
use ledger::{Id, Policy, PolicyDiff, PolicyScope, Timestamp};
use serde::Serialize;
use utoipa::ToSchema;

use crate::configuration::ConfigFault;

/// The rules of the process that answers.
#[derive(Debug, Clone, Default)]
pub struct RulesStatus {
    /// A short hash of all layers.
    pub revision: String,
    /// Those that it has in force.
    pub layers: Vec<LayerState>,
    /// Why the last bundle that was polled did not come into force.
    pub last_fault: Option<PolledFault>,
}

/// A layer, as the process has it in force.
#[derive(Debug, Clone)]
pub struct LayerState {
    pub scope: PolicyScope,
    pub policy: Option<Id<Policy>>,
    /// The short hash of its rules, as this version compiles them.
    pub revision: String,
    /// Why it is closed, so that it denies all calls of its scope; none: it serves.
    pub faults: Vec<ConfigFault>,
}

/// A bundle that was polled and not taken over.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct PolledFault {
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    pub faults: Vec<ConfigFault>,
}

/// How two contents differ, in numbers.
pub fn counted(before: &Pack, after: &Pack) -> PolicyDiff {
    let found = Difference::between(before, after);
    PolicyDiff {
        modules_added: found.modules(How::Added),
        modules_changed: found.modules(How::Changed),
        modules_removed: found.modules(How::Removed),
        data_added: found.data(How::Added),
        data_changed: found.data(How::Changed),
        data_removed: found.data(How::Removed),
    }
}
