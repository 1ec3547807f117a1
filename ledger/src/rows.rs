//! The rows that a batch moves between the database and `batch.rs`: what it needs, what was loaded, what it changes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use crate::audit::{Hash, Sealed};
use crate::book::{Leg, Wallets};
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::id::{Call, Id, JournalRow, Key, Org, Wallet};
use crate::money::Money;
use crate::order::Claim;
use crate::queue::Job;
use crate::window::Period;

/// What must be loaded, under lock, before a batch can be decided.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    /// Leaves of the chains.
    pub wallets: BTreeSet<Id<Wallet>>,
    pub calls: Vec<Id<Call>>,
    pub claims: Vec<(Id<Key>, [u8; 32])>,
    pub refunds: Vec<Id<JournalRow>>,
    pub fundings: Vec<(String, String)>,
    /// Audit chains.
    pub heads: BTreeSet<Cow<'static, str>>,
}

impl Needs {
    pub fn of(jobs: &[Job]) -> Needs {
        let mut needs = Needs::default();
        for job in jobs {
            let (entry, wallet, call) = match job {
                Job::Reserve(job) => {
                    needs.claims.extend(job.claim.map(|claim| (job.key, claim.name)));
                    (&job.entry, Some(job.wallet), Some(job.call))
                }
                Job::Grow(job) => (&job.entry, Some(job.wallet), Some(job.call)),
                Job::Resolve(job) => (&job.entry, Some(job.wallet), Some(job.call)),
                Job::Record(job) => (&job.entry, None, None),
                Job::Refuse(job) => (&job.entry, None, Some(job.call)),
                Job::Refund(job) => {
                    needs.refunds.push(job.id);
                    (&job.entry, Some(job.wallet), Some(job.call))
                }
                Job::Fund(job) => {
                    needs.fundings.push((job.source.clone(), job.reference.clone()));
                    (&job.entry, Some(job.wallet), None)
                }
                Job::Expire(job) => (&job.entry, Some(job.wallet), Some(job.call)),
            };
            if !needs.heads.contains(entry.chain.as_ref()) {
                needs.heads.insert(entry.chain.clone());
            }
            needs.wallets.extend(wallet);
            needs.calls.extend(call);
        }
        needs
    }
}

/// What was loaded.
#[derive(Default)]
pub(crate) struct Loaded {
    pub revision: i64,
    /// From each leaf up to its root. A leaf that is not there is not known.
    pub chains: HashMap<Id<Wallet>, Arc<Chain>>,
    pub wallets: Wallets,
    /// In the order of their ids, which is the order in which they are cheap to write.
    pub holds: BTreeMap<Id<Call>, HoldRow>,
    pub receipts: BTreeMap<Id<Call>, ReceiptRow>,
    pub claims: HashMap<(Id<Key>, [u8; 32]), ClaimRow>,
    pub refunds: HashMap<Id<JournalRow>, RefundRow>,
    pub fundings: HashMap<(String, String), (Id<Wallet>, Money)>,
    pub heads: HashMap<Cow<'static, str>, (i64, Hash)>,
}

/// A wallet and all above it. Never changes once made.
#[derive(Debug)]
pub(crate) struct Chain {
    pub org: Id<Org>,
    pub wallets: Vec<Id<Wallet>>,
}

impl Chain {
    /// Legs as they are stored: the keys of their windows, from the leaf up.
    pub fn legs(&self, text: &str) -> Result<Vec<Leg>, StoreError> {
        let corrupt = || StoreError::Corrupt(format!("legs {text:?}"));
        let windows: Vec<Period> = text
            .split(',')
            .map(|key| Period::from_key(key.parse().ok()?))
            .collect::<Option<_>>()
            .ok_or_else(corrupt)?;
        if windows.len() != self.wallets.len() {
            return Err(corrupt());
        }
        Ok(self.wallets.iter().zip(windows).map(|(&wallet, window)| Leg { wallet, window }).collect())
    }
}

/// Legs as they are stored.
pub(crate) fn legs_text(legs: &[Leg]) -> Arc<str> {
    let mut text = String::with_capacity(legs.len() * 17);
    for (i, leg) in legs.iter().enumerate() {
        if i > 0 {
            text.push(',');
        }
        text.push_str(&leg.window.key().to_string());
    }
    text.into()
}

/// Where a row stands against the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    Stored,
    New,
    Changed,
}

#[derive(Debug, Clone)]
pub(crate) struct HoldRow {
    pub mark: Mark,
    pub call: Id<Call>,
    pub org: Id<Org>,
    pub key: Id<Key>,
    pub wallet: Id<Wallet>,
    pub legs: Arc<str>,
    /// The worst case that was ordered.
    pub asked: Money,
    /// What was held at first.
    pub opened: Money,
    pub amount: Money,
    pub at: Timestamp,
    pub expires_at: Timestamp,
    pub claim: Option<Claim>,
    pub record: Arc<str>,
}

#[derive(Debug, Clone)]
pub(crate) struct ReceiptRow {
    pub mark: Mark,
    pub call: Id<Call>,
    pub org: Id<Org>,
    pub key: Id<Key>,
    pub wallet: Id<Wallet>,
    pub at: Timestamp,
    pub status: Status,
    pub cost: Money,
    pub price: Money,
    pub overrun: Money,
    pub refunded: Money,
    pub review: bool,
    pub held: Money,
    pub legs: Arc<str>,
    pub reason: Option<String>,
    pub refusal: Option<String>,
    pub record: Arc<str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Settled,
    Released,
    Expired,
    Refused,
}

impl Status {
    pub const fn as_str(self) -> &'static str {
        match self {
            Status::Settled => "settled",
            Status::Released => "released",
            Status::Expired => "expired",
            Status::Refused => "refused",
        }
    }

    pub fn parse(text: &str) -> Result<Status, StoreError> {
        [Status::Settled, Status::Released, Status::Expired, Status::Refused]
            .into_iter()
            .find(|status| status.as_str() == text)
            .ok_or_else(|| StoreError::Corrupt(format!("receipt status {text:?}")))
    }
}

#[derive(Debug, Clone)]
pub(crate) struct ClaimRow {
    pub body: [u8; 32],
    pub call: Id<Call>,
    pub charged: bool,
    pub at: Timestamp,
}

#[derive(Debug, Clone)]
pub(crate) struct RefundRow {
    pub call: Id<Call>,
    pub asked: Option<Money>,
    pub amount: Money,
    pub reason: String,
}

pub(crate) struct Line {
    pub id: Id<JournalRow>,
    pub kind: &'static str,
    pub chain: String,
    pub legs: Arc<str>,
    pub call: Option<Id<Call>>,
    pub held_delta: Money,
    pub spent_delta: Money,
    pub funded_delta: Money,
    pub overrun: Money,
}

/// What a batch changes, net.
#[derive(Default)]
pub(crate) struct Effect {
    pub at: Timestamp,
    pub holds_gone: Vec<Id<Call>>,
    pub journal: Vec<Line>,
    /// Claims of calls that are resolved: charged (kept) or not (freed).
    pub claims_charged: Vec<(Id<Key>, [u8; 32], Id<Call>)>,
    pub claims_freed: Vec<(Id<Key>, [u8; 32], Id<Call>)>,
    /// The same, of calls whose claim is not known by its name.
    pub claims_dropped: Vec<(Id<Key>, Id<Call>)>,
    pub claims_put: BTreeSet<(Id<Key>, [u8; 32])>,
    pub fundings: Vec<(String, String, Id<Wallet>, Money)>,
    pub refunds: Vec<(Id<JournalRow>, RefundRow)>,
    pub overrun: Money,
    pub audit: Vec<Sealed>,
}
