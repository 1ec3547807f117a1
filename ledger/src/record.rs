//! What a receipt remembers of a call: ids, names of models and counts, never what anyone wrote.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::{Id, Team, User};
use crate::money::Money;
use crate::price::Usage;

/// A call as far as it is known: at first what was asked, at the end what came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallRecord {
    /// The API that was called: `chat.completions`, `messages`.
    pub kind: String,
    /// The model that the caller named.
    pub model: String,
    /// Provider and model that answered.
    pub target: Option<String>,
    /// Why that target was chosen.
    pub routing: String,
    /// How the call ended.
    pub ending: String,
    /// The code of the error that the caller saw.
    pub code: Option<String>,
    pub usage: Usage,
    pub stream: bool,
    pub started_at: Option<Timestamp>,
    pub latency_ms: u64,
    pub first_byte_ms: Option<u64>,
    pub attempts: Vec<AttemptRecord>,
    /// Revision of the policy that decided.
    pub policy: String,
    pub findings: Vec<FindingRecord>,
    /// What the cache did: `hit`, `miss`, `bypass`.
    pub cache: String,
    /// What the client claims about itself.
    pub claims: BTreeMap<String, String>,
    pub team: Option<Id<Team>>,
    pub user: Option<Id<User>>,
}

/// One try of one target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttemptRecord {
    pub target: String,
    pub outcome: String,
    pub status: Option<u16>,
    pub latency_ms: u64,
    /// What the provider bills for it, whether or not it answered the client.
    pub cost: Money,
}

/// What safety found, without the text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FindingRecord {
    pub kind: String,
    pub place: String,
    pub count: u64,
    pub action: String,
}
