//! What the rules decided: allowed with duties, or denied with reasons.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The outcome of one evaluation. There is no error: what could not be decided is denied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(
    clippy::large_enum_variant,
    reason = "nearly every call is allowed, and a box would be one more allocation for each"
)]
pub enum Decision {
    /// It may pass, under these duties.
    Allow(Obligations),
    /// It may not; never empty, worst reason first.
    Deny(Vec<Reason>),
}

/// The kinds of findings that rules may speak of; any other is a fault.
pub const KINDS: [&str; 6] = ["email", "payment_card", "iban", "us_ssn", "phone", "api_key"];

/// What may be done about a finding, least strict first.
pub const ACTIONS: [&str; 3] = ["allow", "redact", "block"];

/// What the gateway must do with an allowed call.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Obligations {
    /// Where it may go, in this order: never empty, each one of the candidates.
    pub targets: Vec<String>,
    /// How often which of the targets comes first, where a rule says so: the others follow in their order. An order alone gives its
    /// first all the weight.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<String, u64>,
    /// The name of the model that the call should become, decided again under every rule.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reroute: Option<String>,
    /// The most output tokens that may be asked of a provider.
    pub max_output_tokens: Option<u64>,
    /// The most that may be held for the call, in USD as a decimal string.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_cost_usd: Option<String>,
    /// What somebody has to approve before the call may go, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub approvals: Vec<Approval>,
    /// Tools that are taken out of the request, by name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub remove_tools: Vec<String>,
    /// How much the decision log keeps.
    #[serde(skip_serializing_if = "is_usual")]
    pub log: LogLevel,
    /// What rules in log-only mode would have denied. Without effect.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub observed: Vec<Observed>,
    /// What to do about each kind of finding: `allow`, `redact` or `block`.
    /// Every kind is here, found or not.
    pub actions: BTreeMap<String, String>,
    /// The regions the call was bound to, if it was.
    pub regions: Option<Vec<String>>,
    /// Whether and for how long an answer may be kept.
    pub cache: Option<CacheRule>,
    /// The cheaper model that the call should become, if money asked for one and a rule names one.
    pub downgrade: Option<String>,
    /// What is said of the call: scopes of wallets go by it, beside what is said of its key.
    pub tags: BTreeMap<String, String>,
    /// Why these targets in this order, for the receipt.
    pub routing: String,
}

/// Leave to answer from, and store in, the cache.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CacheRule {
    /// How long an answer stays fresh.
    pub ttl_seconds: u64,
    /// What the cache may be used for.
    #[serde(default)]
    pub mode: CacheMode,
}

/// What the cache may be used for, strictest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CacheMode {
    /// To answer from; nothing is stored.
    Read,
    /// To answer from and to store in.
    #[default]
    ReadWrite,
}

/// What somebody has to approve.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Approval {
    /// What grants go by: `frontier_models`.
    pub name: String,
    /// What the caller and the approver are told.
    pub reason: String,
}

/// How much the decision log keeps of a call, strictest first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// The result, and the hash of the facts.
    Result,
    /// The facts too, with the client's claims masked.
    #[default]
    Facts,
}

/// What may be written down of a call that was decided, and where.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keeping {
    /// How much of it.
    pub log: LogLevel,
    /// The regions that it is bound to, if it is.
    pub regions: Option<Vec<String>>,
}

impl Keeping {
    /// As little as may be, nowhere: where nobody knows what rules would have said.
    pub fn least() -> Keeping {
        Keeping { log: LogLevel::Result, regions: Some(Vec::new()) }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it so")]
fn is_usual(level: &LogLevel) -> bool {
    *level == LogLevel::default()
}

/// What a rule in log-only mode would have denied.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Observed {
    /// The rule's package.
    pub package: String,
    /// What it would have said.
    pub reason: Reason,
}

/// One reason of a refusal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct Reason {
    /// What the caller is told in `code`.
    pub code: Code,
    /// What the caller is told in `message`; for a fault, words for operators. Never input data of ours.
    pub message: String,
}

/// The codes of a refusal by policy. The order is the order of the reasons.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The rules could not decide: ours, and it wakes someone.
    PolicyFault,
    /// The key may not use this model.
    ModelNotAllowed,
    /// No candidate lies in an allowed region.
    ResidencyViolation,
    /// Any other rule said no.
    PolicyDenied,
}

impl Code {
    /// Every code.
    pub const ALL: [Code; 4] = [Code::PolicyFault, Code::ModelNotAllowed, Code::ResidencyViolation, Code::PolicyDenied];

    /// The code as it is written everywhere.
    pub fn as_str(self) -> &'static str {
        match self {
            Code::PolicyFault => "policy_fault",
            Code::ModelNotAllowed => "model_not_allowed",
            Code::ResidencyViolation => "residency_violation",
            Code::PolicyDenied => "policy_denied",
        }
    }

    /// The code of that name.
    pub fn parse(text: &str) -> Option<Code> {
        Code::ALL.into_iter().find(|code| code.as_str() == text)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Decision {
    /// The denial of what could not be decided.
    pub(crate) fn fault(message: impl Into<String>) -> Decision {
        Decision::Deny(vec![Reason { code: Code::PolicyFault, message: message.into() }])
    }
}
