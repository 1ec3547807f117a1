//! Rules on the wire: revisions, what is in force, and how two contents differ.

use std::collections::BTreeMap;

use ledger::{ActivationRow, Id, Policy, PolicyInForce, PolicyRow, ShadowRow, Timestamp};
use policies::{Difference, How, Pack};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use similar::{Algorithm, TextDiff};
use utoipa::ToSchema;

use crate::configuration::ConfigFault;
use crate::rules::PolledFault;

/// Comparing two texts takes no longer; what is not done by then is told as replaced.
const DIFF_DEADLINE: std::time::Duration = std::time::Duration::from_secs(2);

/// Rules to be kept for a scope. The same as a bundle: send that with `content-type: application/gzip` and `?scope=`.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewPolicyBody {
    /// `platform`, `org_…` or `team_…`.
    #[schema(example = "org_0192d4a8c5e97b3a8f1e2d3c4b5a6978")]
    pub scope: String,
    /// Rego by path; `…_test.rego` is kept and checked, and never in force.
    #[serde(default)]
    pub modules: BTreeMap<String, String>,
    /// What the rules read as `data`.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub data: Map<String, Value>,
    /// Why, in one line.
    #[serde(default)]
    pub note: Option<String>,
}

/// What was seen to be in force.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Activate {
    /// The version of the scope's last activation that was looked at, 0 for none: where another has come meanwhile, nothing happens.
    #[serde(default)]
    pub after: Option<i64>,
}

/// What to bring back.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RollBack {
    /// A revision that was in force before; left out: whatever was in force before the present one, be it nothing.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub to: Option<Id<Policy>>,
}

/// What to rehearse.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetShadow {
    #[schema(value_type = String, example = "pol_0192d4a8c5e97b3a8f1e2d3c4b5a6978")]
    pub policy_id: Id<Policy>,
}

/// A revision of a scope's rules.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Policy)]
pub(crate) struct PolicyBody {
    #[schema(value_type = String, example = "pol_0192d4a8c5e97b3a8f1e2d3c4b5a6978")]
    pub id: Id<Policy>,
    pub scope: String,
    /// Of the content: the same content has the same.
    pub digest: String,
    /// A short hash of these rules with those that are shipped, as this version compiled them.
    pub revision: String,
    /// The bundle's size.
    pub bytes: i64,
    /// `upload`, `directory`, `file`, `url` or `configuration`.
    pub source: &'static str,
    #[schema(required)]
    pub note: Option<String>,
    pub author: String,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// A revision with all that it holds.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PolicyContent)]
pub(crate) struct PolicyContentBody {
    #[serde(flatten)]
    pub policy: PolicyBody,
    /// Rego by path.
    pub modules: BTreeMap<String, String>,
    #[schema(value_type = Object)]
    pub data: Value,
}

/// A word on what is in force in a scope.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Activation)]
pub(crate) struct ActivationBody {
    pub scope: String,
    /// From 1 on.
    pub version: i64,
    /// Null: from then on the scope has no layer of its own.
    #[schema(required, value_type = Option<String>)]
    pub policy_id: Option<Id<Policy>>,
    /// The version that it brings back; 0: nothing was there.
    #[schema(required)]
    pub restores: Option<i64>,
    pub author: String,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

/// A layer that is in force.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Layer)]
pub(crate) struct LayerBody {
    #[serde(flatten)]
    pub activation: ActivationBody,
    pub policy: PolicyBody,
    pub state: LayerStateBody,
    /// Why it denies all calls of its scope.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<ConfigFault>,
    /// Of the house: why the last bundle that was polled did not come into force.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_fault: Option<PolledFault>,
}

/// What became of a layer in the process that answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = LayerState)]
pub(crate) enum LayerStateBody {
    Serving,
    /// This version cannot compile it: every call of its scope is denied.
    Faulty,
    /// The process has another revision in force: for a moment, or of the house because its configuration is another.
    Pending,
}

/// The revision that is evaluated beside the rules in force, without effect.
#[derive(Debug, Default, Serialize, ToSchema)]
#[schema(as = Shadow)]
pub(crate) struct ShadowBody {
    /// Null: none is.
    #[schema(required, value_type = Option<String>)]
    pub policy_id: Option<Id<Policy>>,
    #[schema(required)]
    pub author: Option<String>,
    #[schema(required, value_type = Option<String>, format = DateTime)]
    pub at: Option<Timestamp>,
}

/// How a revision differs.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = PolicyDiff)]
pub(crate) struct DiffBody {
    #[schema(value_type = String)]
    pub policy_id: Id<Policy>,
    /// From what; null: from nothing.
    #[schema(required, value_type = Option<String>)]
    pub against: Option<Id<Policy>>,
    pub modules: Vec<ModuleDiff>,
    /// Values by their path below `data`.
    pub data: Vec<DataDiff>,
}

/// A module that is other.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ModuleDiff {
    pub path: String,
    /// `added`, `changed` or `removed`.
    pub change: &'static str,
    /// Unified, with three lines around each change.
    pub diff: String,
}

/// A value that is other.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DataDiff {
    #[schema(example = "alfred.residency.regions")]
    pub path: String,
    /// `added`, `changed` or `removed`.
    pub change: &'static str,
}

impl From<PolicyRow> for PolicyBody {
    fn from(row: PolicyRow) -> PolicyBody {
        PolicyBody {
            id: row.id,
            scope: row.scope.to_string(),
            digest: hex::encode(row.digest),
            revision: row.revision,
            bytes: row.bytes,
            source: row.source.as_str(),
            note: row.note,
            author: row.author,
            created_at: row.created_at,
        }
    }
}

impl From<ActivationRow> for ActivationBody {
    fn from(row: ActivationRow) -> ActivationBody {
        let ActivationRow { scope, version, policy, restores, author, at, .. } = row;
        ActivationBody { scope: scope.to_string(), version, policy_id: policy, restores, author, at }
    }
}

impl From<Option<ShadowRow>> for ShadowBody {
    fn from(row: Option<ShadowRow>) -> ShadowBody {
        row.map_or_else(ShadowBody::default, |row| ShadowBody {
            policy_id: row.policy,
            author: Some(row.author),
            at: Some(row.at),
        })
    }
}

impl LayerBody {
    pub(crate) fn new(row: PolicyInForce, state: LayerStateBody, faults: Vec<ConfigFault>) -> LayerBody {
        let PolicyInForce { revision, activation } = row;
        LayerBody { activation: activation.into(), policy: revision.into(), state, faults, last_fault: None }
    }
}

impl PolicyContentBody {
    pub(crate) fn new(row: PolicyRow, pack: Pack) -> PolicyContentBody {
        let modules = pack.modules.into_iter().map(|module| (module.path, module.text)).collect();
        PolicyContentBody { policy: row.into(), modules, data: pack.data }
    }
}

impl DiffBody {
    pub(crate) fn between(policy: Id<Policy>, against: Option<Id<Policy>>, before: &Pack, after: &Pack) -> DiffBody {
        let found = Difference::between(before, after);
        let text = |pack: &Pack, path: &str| {
            let module = pack.modules.iter().find(|module| module.path == path);
            module.map(|module| module.text.clone()).unwrap_or_default()
        };
        let module = |(path, how): (String, How)| {
            let diff = unified(&path, &text(before, &path), &text(after, &path));
            ModuleDiff { change: word(how), diff, path }
        };
        DiffBody {
            policy_id: policy,
            against,
            modules: found.modules.into_iter().map(module).collect(),
            data: found.data.into_iter().map(|(path, how)| DataDiff { path, change: word(how) }).collect(),
        }
    }
}

const fn word(how: How) -> &'static str {
    match how {
        How::Added => "added",
        How::Changed => "changed",
        How::Removed => "removed",
    }
}

fn unified(path: &str, before: &str, after: &str) -> String {
    let diff = TextDiff::configure().algorithm(Algorithm::Myers).timeout(DIFF_DEADLINE).diff_lines(before, after);
    diff.unified_diff().context_radius(3).header(&format!("a/{path}"), &format!("b/{path}")).to_string()
}
