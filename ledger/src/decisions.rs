//! The decision log: what rules decided of each call. Not the system of record (receipts and the audit log are): it is kept for a
//! while, written in batches beside the money, and where rows were lost it says so itself. What facts mean is for others to know: here
//! they are texts, and what many of them share is stored once under its hash.

use std::collections::HashMap;

use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::id::{Call, Decision, Id, Key, Org, Policy, Team};
use crate::ledger::Ledger;
use crate::policies::PolicyScope;
use crate::store::decisions as rows;
use crate::store::policies as rules;
use crate::store::{Database, Place};

/// How a question to the rules ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DecisionResult {
    Allow,
    Deny,
    /// The rules could not decide, and so denied.
    Fault,
    /// No decision: a place in the log where some are missing.
    Gap,
}

impl DecisionResult {
    /// Every result.
    pub const ALL: [DecisionResult; 4] =
        [DecisionResult::Allow, DecisionResult::Deny, DecisionResult::Fault, DecisionResult::Gap];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            DecisionResult::Allow => "allow",
            DecisionResult::Deny => "deny",
            DecisionResult::Fault => "fault",
            DecisionResult::Gap => "gap",
        }
    }

    /// The result that a word stands for.
    pub fn from_word(word: &str) -> Option<DecisionResult> {
        DecisionResult::ALL.into_iter().find(|it| it.as_str() == word)
    }
}

/// One decision, as it is on record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DecisionRow {
    pub id: Id<Decision>,
    /// None: a gap.
    pub call: Option<Id<Call>>,
    pub at: Timestamp,
    pub org: Option<Id<Org>>,
    pub team: Option<Id<Team>>,
    pub key: Option<Id<Key>>,
    /// The model that was asked for.
    pub model: String,
    /// A short hash of the layers that decided.
    pub revision: String,
    /// A keyed hash of the facts that the decision may depend on.
    pub facts_hash: Option<[u8; 32]>,
    pub result: DecisionResult,
    /// The first reason's, of a refusal.
    pub code: Option<String>,
    /// The target that came first.
    pub target: Option<String>,
    /// The model that the call became, where it became another.
    pub rerouted: Option<String>,
    /// How many rules in log-only mode would have denied.
    pub observed: i64,
    pub took_ns: i64,
    /// It was made before, on the same facts.
    pub remembered: bool,
    /// How much was kept: `facts` or `result`.
    pub level: String,
    /// What the rules were asked, what varies of it; refers to frames.
    pub facts: Option<String>,
    /// The frame that holds what was decided.
    pub outcome: Option<String>,
    pub shadow: Option<ShadowWord>,
    pub lost: Option<Lost>,
}

/// What a candidate would have decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShadowWord {
    /// `pol_…`
    pub revision: String,
    pub result: DecisionResult,
    /// In what it differs, if it does: words of whoever compared.
    pub differs: Option<String>,
}

/// Decisions that could not be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lost {
    pub decisions: i64,
    pub since: Timestamp,
}

/// What many decisions share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    hash: String,
    body: String,
}

impl Frame {
    /// A text under its hash.
    pub fn new(body: String) -> Frame {
        Frame { hash: hex::encode(&Sha256::digest(&body)[..16]), body }
    }

    /// What it goes by.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The text.
    pub fn body(&self) -> &str {
        &self.body
    }
}

/// Which decisions.
#[derive(Debug, Clone, Default)]
pub struct DecisionFilter {
    pub org: Option<Id<Org>>,
    pub team: Option<Id<Team>>,
    pub model: Option<String>,
    pub result: Option<DecisionResult>,
    pub code: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    pub call: Option<Id<Call>>,
    /// Only those that the shadow would have decided otherwise.
    pub differs: bool,
}

/// A decision with what its call cost, for asking other rules the same.
#[derive(Debug, Clone)]
pub struct Replayable {
    pub id: Id<Decision>,
    pub org: Option<Id<Org>>,
    pub team: Option<Id<Team>>,
    pub model: String,
    pub facts: Option<String>,
    pub outcome: Option<String>,
    pub receipt: Option<Priced>,
}

/// What the receipt of a call says of money.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Priced {
    /// What the tenant was charged, in nano-dollars.
    pub price: i64,
    pub input_tokens: u64,
    pub output_tokens: u64,
    /// The client's claims, which the decision log does not have.
    pub claims: std::collections::BTreeMap<String, String>,
}

/// The decision log.
#[derive(Clone, Copy)]
pub struct Decisions<'a>(&'a Database);

impl Ledger {
    /// What rules decided.
    pub fn decisions(&self) -> Decisions<'_> {
        Decisions(self.database())
    }
}

/// A database that is only read, beside whoever runs on it.
pub struct Reader(Database);

impl Reader {
    /// Opens what is there; makes nothing, changes nothing, waits for nobody.
    ///
    /// # Errors
    /// There is no such database, or one of another version.
    pub async fn open(url: &str) -> Result<Reader, StoreError> {
        Ok(Reader(Database::look(&Place::parse(url)?).await?))
    }

    /// What rules decided.
    pub fn decisions(&self) -> Decisions<'_> {
        Decisions(&self.0)
    }

    /// Lets go of it.
    pub async fn close(self) {
        self.0.close().await;
    }
}

impl Decisions<'_> {
    /// Writes decisions and the frames they refer to that may not be there yet; all or nothing. What is there already stays as it is.
    ///
    /// # Errors
    /// Nothing was written.
    pub async fn append(&self, decisions: &[DecisionRow], frames: &[Frame], now: Timestamp) -> Result<(), StoreError> {
        let mut tx = self.0.begin_relaxed().await?;
        rows::keep_frames(&mut tx, frames, now).await?;
        rows::insert(&mut tx, decisions).await?;
        tx.commit().await
    }

    /// Decisions, newest first: those made before `cursor`, the last one of the page before.
    pub async fn list(
        &self,
        filter: &DecisionFilter,
        cursor: Option<Id<Decision>>,
        limit: u32,
    ) -> Result<Vec<DecisionRow>, StoreError> {
        rows::list(self.0, filter, cursor, limit).await
    }

    /// One decision.
    pub async fn get(&self, id: Id<Decision>) -> Result<Option<DecisionRow>, StoreError> {
        rows::get(self.0, id).await
    }

    /// The frames of these hashes that are there.
    pub async fn frames(&self, hashes: &[&str]) -> Result<HashMap<String, String>, StoreError> {
        rows::frames(self.0, hashes).await
    }

    /// Decisions with what their calls cost, newest first, gaps left out: those made before `cursor`.
    pub async fn replayable(
        &self,
        org: Option<Id<Org>>,
        since: Option<Timestamp>,
        cursor: Option<Id<Decision>>,
        limit: u32,
    ) -> Result<Vec<Replayable>, StoreError> {
        rows::replayable(self.0, org, since, cursor, limit).await
    }

    /// The scopes that have a layer of rules in force, and its revision.
    pub async fn layers_in_force(&self) -> Result<Vec<(String, Id<Policy>)>, StoreError> {
        let layers = rules::in_force(self.0).await?;
        Ok(layers.into_iter().map(|it| (it.revision.scope.to_string(), it.revision.id)).collect())
    }

    /// What a revision of rules holds.
    pub async fn bundle(&self, policy: Id<Policy>) -> Result<Option<Vec<u8>>, StoreError> {
        rules::bundle(self.0, policy).await
    }

    /// What the newest revision of a scope holds that decisions call so.
    pub async fn bundle_of(&self, scope: &str, revision: &str) -> Result<Option<Vec<u8>>, StoreError> {
        rows::bundle_of(self.0, scope, revision).await
    }

    /// Whose layer a revision is one of.
    pub async fn scope_of(&self, policy: Id<Policy>) -> Result<Option<PolicyScope>, StoreError> {
        rows::scope_of(self.0, policy).await
    }

    /// Takes away at most so many decisions made before a moment, oldest first; says how many they were. Where they are fewer, also
    /// the frames that nobody refers to any more.
    pub async fn forget(&self, before: Timestamp, most: u32) -> Result<u64, StoreError> {
        rows::forget(self.0, before, most).await
    }
}
