//! What a receipt remembers of a call: ids, names of models and counts, never what anyone wrote.
//! Stored as JSON without what is empty: a row is written for every call, twice.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::{Id, Team, User};
use crate::money::Money;
use crate::price::{Markup, Usage};

pub(crate) fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// A call as far as it is known: at first what was asked, at the end what came of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct CallRecord {
    /// The API that was called: `chat.completions`, `messages`.
    #[serde(skip_serializing_if = "is_default")]
    pub kind: String,
    /// The model that the caller named.
    #[serde(skip_serializing_if = "is_default")]
    pub model: String,
    /// Provider and model that answered.
    #[serde(skip_serializing_if = "is_default")]
    pub target: Option<String>,
    /// The model that answered, as the provider calls it.
    #[serde(skip_serializing_if = "is_default")]
    pub model_version: Option<String>,
    /// Why that target was chosen.
    #[serde(skip_serializing_if = "is_default")]
    pub routing: String,
    /// How the call ended.
    #[serde(skip_serializing_if = "is_default")]
    pub ending: String,
    /// The code of the error that the caller saw.
    #[serde(skip_serializing_if = "is_default")]
    pub code: Option<String>,
    #[serde(skip_serializing_if = "is_default")]
    pub usage: Usage,
    /// What the provider is thought to bill, where the tenant is charged for less of it: the cost is made from this.
    #[serde(skip_serializing_if = "is_default")]
    pub counted: Option<Usage>,
    /// Which price list the charge was made from: `config:…`, `prc_…`, `catalog:…`, `default:…`.
    #[serde(skip_serializing_if = "is_default")]
    pub price_version: String,
    /// What the tenant paid for a dollar of cost; none where it paid the cost.
    #[serde(skip_serializing_if = "is_default")]
    pub markup: Option<Markup>,
    #[serde(skip_serializing_if = "is_default")]
    pub stream: bool,
    #[serde(skip_serializing_if = "is_default")]
    pub started_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "is_default")]
    pub latency_ms: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub first_byte_ms: Option<u64>,
    #[serde(skip_serializing_if = "is_default")]
    pub attempts: Vec<AttemptRecord>,
    /// Revision of the policy that decided.
    #[serde(skip_serializing_if = "is_default")]
    pub policy: String,
    #[serde(skip_serializing_if = "is_default")]
    pub findings: Vec<FindingRecord>,
    /// What the cache did: `hit`, `miss`, `bypass`.
    #[serde(skip_serializing_if = "is_default")]
    pub cache: String,
    /// What the client claims about itself.
    #[serde(skip_serializing_if = "is_default")]
    pub claims: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "is_default")]
    pub team: Option<Id<Team>>,
    #[serde(skip_serializing_if = "is_default")]
    pub user: Option<Id<User>>,
    /// Of a batch: what came of its lines. `usage` is their sum.
    #[serde(skip_serializing_if = "is_default")]
    pub batch: Option<BatchRecord>,
    /// Of a charge that was booked by API: what for.
    #[serde(skip_serializing_if = "is_default")]
    pub charge: Option<ChargeRecord>,
}

/// What came of the lines of a batch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchRecord {
    pub id: String,
    pub lines: u64,
    /// Answered, and charged.
    pub done: u64,
    pub failed: u64,
    /// Answered without a count of the provider's: counted by us.
    #[serde(skip_serializing_if = "is_default")]
    pub estimated: u64,
}

/// Why something that did not come through the gateway was charged, in the words of who booked it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChargeRecord {
    pub reason: String,
    /// The system that asked for it, and its name for it there.
    pub source: String,
    pub reference: String,
}

/// One try of one target.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct AttemptRecord {
    #[serde(skip_serializing_if = "is_default")]
    pub target: String,
    #[serde(skip_serializing_if = "is_default")]
    pub outcome: String,
    #[serde(skip_serializing_if = "is_default")]
    pub status: Option<u16>,
    #[serde(skip_serializing_if = "is_default")]
    pub latency_ms: u64,
    /// What the provider bills for it, whether or not it answered the client.
    #[serde(skip_serializing_if = "is_default")]
    pub cost: Money,
}

/// What safety found, without the text.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FindingRecord {
    #[serde(skip_serializing_if = "is_default")]
    pub kind: String,
    #[serde(skip_serializing_if = "is_default")]
    pub place: String,
    #[serde(skip_serializing_if = "is_default")]
    pub count: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub action: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_reads_back_whole_though_only_what_is_told_is_written() {
        assert_eq!(serde_json::to_string(&CallRecord::default()).unwrap(), "{}");
        let record = CallRecord {
            model: "gpt-4o".into(),
            usage: Usage { output: 3, ..Usage::default() },
            started_at: Some(Timestamp::from_micros(1_770_000_000_000_001)),
            attempts: vec![AttemptRecord {
                target: "openai/gpt-4o".into(),
                status: Some(200),
                ..AttemptRecord::default()
            }],
            claims: BTreeMap::from([("team".into(), "search".into())]),
            ..CallRecord::default()
        };
        let json = serde_json::to_string(&record).unwrap();
        assert!(!json.contains("findings"), "{json}");
        assert_eq!(serde_json::from_str::<CallRecord>(&json).unwrap(), record);
    }
}
