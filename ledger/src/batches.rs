//! Work that a provider does at leisure: what is known of its files and of itself. Ids, counts and prices; never a text.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::id::{Batch, BatchFile, Call, Id, Key, Org, Team, User, Wallet};
use crate::money::Money;
use crate::order::Claim;
use crate::price::{Markup, Rates};
use crate::record::is_default;

/// What a file is to its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// What is asked.
    Input,
    /// What was answered.
    Output,
    /// What failed.
    Errors,
}

impl FileKind {
    /// The word for it in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            FileKind::Input => "input",
            FileKind::Output => "output",
            FileKind::Errors => "errors",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<FileKind> {
        [FileKind::Input, FileKind::Output, FileKind::Errors].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// A file that lies at a provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchFileRow {
    pub id: Id<BatchFile>,
    pub org: Id<Org>,
    pub key: Id<Key>,
    /// Whoever spends from this wallet may read it.
    pub wallet: Id<Wallet>,
    pub kind: FileKind,
    /// `provider/model`: all of its lines go there.
    pub target: String,
    /// The provider's own name of it. Never told.
    pub upstream: String,
    /// `/v1/chat/completions`: all of its lines are of this kind.
    pub endpoint: String,
    pub bytes: u64,
    pub lines: u64,
    /// What its lines may cost; of what is asked alone.
    pub terms: Option<BatchTerms>,
    pub created_at: Timestamp,
    pub expires_at: Option<Timestamp>,
}

/// At what price a file was taken, and what it can cost at most. A batch keeps those of its file to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchTerms {
    /// The model that was asked for, as receipts may name it.
    pub model: String,
    /// The most that all lines together can be charged, as a batch.
    pub worst: Money,
    /// No count of all prompts together is above it.
    pub input_bound: u64,
    pub price_version: String,
    pub rates: Rates,
    #[serde(default, skip_serializing_if = "is_default")]
    pub markup: Markup,
    #[serde(default, skip_serializing_if = "is_default")]
    pub team: Option<Id<Team>>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub user: Option<Id<User>>,
    /// Revision of the policy that let the lines pass.
    pub policy: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub routing: String,
    /// Wallets beside the chain that the lines have to satisfy too.
    #[serde(default, skip_serializing_if = "is_default")]
    pub extra: Vec<Id<Wallet>>,
}

/// How far a batch is with us; what its provider says of it is in [`BatchTold`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchState {
    /// It is held for, and nobody knows yet whether the provider has it.
    Submitting,
    /// The provider has it.
    Open,
    /// It is settled or released.
    Ended,
}

impl BatchState {
    /// The word for it in SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            BatchState::Submitting => "submitting",
            BatchState::Open => "open",
            BatchState::Ended => "ended",
        }
    }

    pub(crate) fn from_word(word: &str) -> Option<BatchState> {
        [BatchState::Submitting, BatchState::Open, BatchState::Ended].into_iter().find(|state| state.as_str() == word)
    }
}

/// What was last known of a batch, in OpenAI's words: its status, counts, and when it came to which status.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BatchTold {
    pub status: String,
    #[serde(skip_serializing_if = "is_default")]
    pub total: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub completed: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub failed: u64,
    /// `in_progress_at` and its like, in seconds.
    #[serde(skip_serializing_if = "is_default")]
    pub times: BTreeMap<String, i64>,
    /// Lines that kept the whole batch from being taken, with a code.
    #[serde(skip_serializing_if = "is_default")]
    pub faults: Vec<(Option<u64>, String)>,
    /// What the client claims about it, masked.
    #[serde(skip_serializing_if = "is_default")]
    pub metadata: BTreeMap<String, String>,
}

/// A batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRow {
    pub id: Id<Batch>,
    pub org: Id<Org>,
    pub key: Id<Key>,
    /// Whoever spends from this wallet may read and cancel it.
    pub wallet: Id<Wallet>,
    /// Names its hold and its receipt.
    pub call: Id<Call>,
    pub file: Id<BatchFile>,
    pub target: String,
    /// The provider's own name of it, once it has one. Never told.
    pub upstream: Option<String>,
    pub endpoint: String,
    pub lines: u64,
    pub state: BatchState,
    pub terms: BatchTerms,
    pub told: BatchTold,
    pub claim: Option<Claim>,
    pub output: Option<Id<BatchFile>>,
    pub errors: Option<Id<BatchFile>>,
    pub created_at: Timestamp,
    /// By then it is done or given up by its provider.
    pub expires_at: Timestamp,
    /// When its provider is asked next.
    pub next_at: Timestamp,
}
