//! Approvals: what somebody has to say yes to before a call may go, their word on it, and each use of it.
//!
//! A policy names what it wants approved; whoever asks is refused with the id of a request. An operator decides. What was
//! granted is used under a lock of its row, so that as many calls pass as were granted, in however many processes; a use whose
//! call did not happen is given back by another row, and one that did is corrected to what it cost. Each step is an entry in the
//! organisation's chain, in the same transaction.

mod decide;
mod grant;
mod spend;

use sha2::{Digest, Sha256};

use crate::audit::{Actor, Entry};
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::id::{Approval, Call, Id, Key, Org, Team, User};
use crate::ledger::Ledger;
use crate::money::Money;
use crate::store::approvals as rows;
use crate::store::{Database, audit};
use crate::tenants::{Mark, Page};

pub use decide::{DecideError, LONGEST_GRANT, Verdict};
pub use grant::{Bar, Choice, Needs, choose};
pub use spend::{Spend, Spent};

/// So many requests of one organisation may wait for somebody's word.
pub const MOST_PENDING: i64 = 1_000;

/// Kinds of audit entries about approvals.
pub mod kind {
    pub const APPROVAL_REQUESTED: &str = "APPROVAL_REQUESTED";
    pub const APPROVAL_GRANTED: &str = "APPROVAL_GRANTED";
    pub const APPROVAL_DENIED: &str = "APPROVAL_DENIED";
    pub const APPROVAL_USED: &str = "APPROVAL_USED";
    pub const APPROVAL_RETURNED: &str = "APPROVAL_RETURNED";
}

/// What a policy wants approved, and why.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
pub struct Requirement {
    pub name: String,
    pub reason: String,
}

/// Where a request stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ApprovalState {
    Pending,
    Approved,
    Denied,
    Expired,
}

impl ApprovalState {
    pub const ALL: [ApprovalState; 4] =
        [ApprovalState::Pending, ApprovalState::Approved, ApprovalState::Denied, ApprovalState::Expired];

    pub fn as_str(self) -> &'static str {
        match self {
            ApprovalState::Pending => "pending",
            ApprovalState::Approved => "approved",
            ApprovalState::Denied => "denied",
            ApprovalState::Expired => "expired",
        }
    }

    pub fn from_word(word: &str) -> Option<ApprovalState> {
        ApprovalState::ALL.into_iter().find(|it| it.as_str() == word)
    }
}

/// Whose calls a grant admits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// Of the key that asked.
    #[default]
    Key,
    /// Of every key of its team.
    Team,
    /// Of every key of its organisation.
    Org,
}

impl Reach {
    pub fn as_str(self) -> &'static str {
        match self {
            Reach::Key => "key",
            Reach::Team => "team",
            Reach::Org => "org",
        }
    }

    pub fn from_word(word: &str) -> Option<Reach> {
        [Reach::Key, Reach::Team, Reach::Org].into_iter().find(|it| it.as_str() == word)
    }
}

/// What was granted.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Grant {
    pub reach: Reach,
    /// Names of models, with `*` for any text.
    pub models: Vec<String>,
    /// Calls; none is as many as the budget pays for.
    pub uses: Option<i64>,
    /// What they may cost together.
    pub budget: Option<Money>,
}

/// A request for approval, and what became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRow {
    pub id: Id<Approval>,
    pub org: Id<Org>,
    pub team: Option<Id<Team>>,
    pub key: Id<Key>,
    pub user: Option<Id<User>>,
    /// The call that was refused for it.
    pub call: Id<Call>,
    /// In the order of their names, each name once.
    pub requirements: Vec<Requirement>,
    pub model: String,
    /// The most that the call might have cost.
    pub amount: Money,
    pub created_at: Timestamp,
    /// Until when it may be decided, and once it is granted, used.
    pub expires_at: Timestamp,
    /// As it was written; see [`ApprovalRow::state_at`].
    pub state: ApprovalState,
    pub decided_at: Option<Timestamp>,
    pub decided_by: Option<String>,
    /// The approver's words.
    pub reason: Option<String>,
    pub grant: Option<Grant>,
    /// Uses that were taken and not given back.
    pub used: i64,
    /// What they cost, or may cost as long as they run.
    pub spent: Money,
}

impl ApprovalRow {
    /// Its place in a list.
    pub fn mark(&self) -> Mark {
        Mark { at: self.created_at, id: self.id.to_string() }
    }
}

/// A call that wants something approved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewApproval {
    pub org: Id<Org>,
    pub team: Option<Id<Team>>,
    pub key: Id<Key>,
    pub user: Option<Id<User>>,
    pub call: Id<Call>,
    pub requirements: Vec<Requirement>,
    pub model: String,
    pub amount: Money,
    /// Until when somebody may decide.
    pub expires_at: Timestamp,
}

/// Which requests to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ApprovalFilter {
    pub org: Option<Id<Org>>,
    pub state: Option<ApprovalState>,
}

/// One change of what is used of a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalUse {
    pub call: Id<Call>,
    /// `used`, `settled` or `returned`.
    pub kind: String,
    pub uses: i64,
    pub amount: Money,
    pub at: Timestamp,
}

/// Approvals, as calls ask for them and operators decide.
#[derive(Clone, Copy)]
pub struct Approvals<'a> {
    ledger: &'a Ledger,
}

impl Ledger {
    /// What somebody has to approve, and has.
    pub fn approvals(&self) -> Approvals<'_> {
        Approvals { ledger: self }
    }
}

impl Approvals<'_> {
    /// The pending request for what this call wants: the one that there is, or a new one. None where so many wait already that
    /// no more are taken.
    pub async fn request(&self, new: NewApproval) -> Result<Option<ApprovalRow>, StoreError> {
        let (new, asked) = sorted(new);
        let now = self.now();
        // Whoever asks again and again takes no lock.
        if let Some(row) = rows::pending(self.db(), new.org, asked, now).await? {
            return Ok(Some(row));
        }
        if rows::how_many_pending(self.db(), new.org, now).await? >= MOST_PENDING {
            return Ok(None);
        }
        let mut tx = self.db().begin().await?;
        // One at a time in the organisation: so there is one request for the same, and never one too many.
        rows::lock_org(&mut tx, new.org).await?;
        rows::expire(&mut tx, new.org, now).await?;
        if let Some(row) = rows::pending_of(&mut tx, new.org, asked).await? {
            return Ok(Some(row));
        }
        if rows::how_many_pending_of(&mut tx, new.org).await? >= MOST_PENDING {
            return Ok(None);
        }
        let NewApproval { org, team, key, user, call, requirements, model, amount, expires_at } = new;
        let row = ApprovalRow {
            id: self.ledger.new_id(),
            org,
            team,
            key,
            user,
            call,
            requirements,
            model,
            amount,
            created_at: now,
            expires_at,
            state: ApprovalState::Pending,
            decided_at: None,
            decided_by: None,
            reason: None,
            grant: None,
            used: 0,
            spent: Money::ZERO,
        };
        rows::insert(&mut tx, &row, asked).await?;
        let entry = entry(&row, kind::APPROVAL_REQUESTED, Actor::Key(key))
            .with("request_id", call)
            .with("team_id", team)
            .with("user_id", user)
            .with("amount_usd", amount)
            .with("expires_at", expires_at);
        audit::append(&mut tx, now, &[entry]).await?;
        tx.commit().await?;
        Ok(Some(row))
    }

    /// One request.
    pub async fn get(&self, id: Id<Approval>) -> Result<Option<ApprovalRow>, StoreError> {
        rows::get(self.db(), id).await
    }

    /// Requests, oldest first.
    pub async fn list(&self, filter: &ApprovalFilter, page: &Page) -> Result<Vec<ApprovalRow>, StoreError> {
        rows::list(self.db(), filter, page, self.now()).await
    }

    /// What was used of a grant, newest first, at most so many.
    pub async fn uses(&self, id: Id<Approval>, limit: u32) -> Result<Vec<ApprovalUse>, StoreError> {
        rows::uses(self.db(), id, limit).await
    }

    fn db(&self) -> &Database {
        self.ledger.database()
    }

    fn now(&self) -> Timestamp {
        self.ledger.clock().now()
    }
}

/// The requirements in one order, and the hash that the same question has again.
fn sorted(mut new: NewApproval) -> (NewApproval, [u8; 32]) {
    new.requirements.sort_unstable();
    new.requirements.dedup_by(|later, first| later.name == first.name);
    let mut hasher = Sha256::new();
    let names = new.requirements.iter().map(|it| it.name.as_str());
    for part in [new.key.to_string().as_str(), &new.model].into_iter().chain(names) {
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(part);
    }
    (new, hasher.finalize().into())
}

/// An entry in the organisation's chain: what it is about, and neither its model, which may be a client's own words, nor texts.
fn entry(row: &ApprovalRow, kind: &'static str, actor: Actor) -> Entry {
    let names: Vec<&str> = row.requirements.iter().map(|it| it.name.as_str()).collect();
    Entry::new(Some(row.org), kind, actor)
        .with("approval_id", row.id)
        .with("key_id", row.key)
        .with("requirements", names)
}
