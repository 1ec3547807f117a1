//! The rows that a batch moves between the database and `batch.rs`: what it needs, what was loaded, what it changes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::audit::{Hash, Sealed};
use crate::book::{Leg, Wallets};
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::id::{Alert, Call, Id, JournalRow, Key, Org, Wallet};
use crate::money::Money;
use crate::order::Claim;
use crate::price::Usage;
use crate::queue::Job;
use crate::window::Period;

/// What must be loaded, under lock, before a batch can be decided.
#[derive(Debug, Default)]
pub(crate) struct Needs {
    pub chains: BTreeSet<ChainId>,
    /// Mixes that a call may be the first to use, by the wallet that they begin with and those beside its chain.
    pub mixes: BTreeMap<ChainId, (Id<Wallet>, Vec<Id<Wallet>>)>,
    pub calls: Vec<Id<Call>>,
    pub claims: Vec<(Id<Key>, [u8; 32])>,
    pub refunds: Vec<Id<JournalRow>>,
    pub fundings: Vec<(String, String)>,
    /// Wallets that are funded.
    pub funded: BTreeSet<Id<Wallet>>,
    pub charges: Vec<ChargeName>,
    pub corrections: Vec<Id<JournalRow>>,
    /// Audit chains.
    pub heads: BTreeSet<Cow<'static, str>>,
}

impl Needs {
    pub fn of(jobs: &[Job]) -> Needs {
        let mut needs = Needs::default();
        for job in jobs {
            let (entry, chain, call) = match job {
                Job::Reserve(job) => {
                    needs.claims.extend(job.claim.map(|claim| (job.key, claim.name)));
                    let chain = ChainId::of(job.wallet, &job.extra);
                    if !job.extra.is_empty() {
                        needs.chains.insert(ChainId::leaf(job.wallet));
                        needs.mixes.entry(chain).or_insert_with(|| {
                            // In one order whoever tells them: what is stored of a call names them by their place.
                            let mut extra = job.extra.clone();
                            extra.sort_unstable();
                            (job.wallet, extra)
                        });
                    }
                    (&job.entry, Some(chain), Some(job.call))
                }
                Job::Grow(job) => (&job.entry, Some(job.chain), Some(job.call)),
                Job::Resolve(job) => (&job.entry, Some(job.chain), Some(job.call)),
                Job::Record(job) => (&job.entry, None, None),
                Job::Refuse(job) => (&job.entry, None, Some(job.call)),
                Job::Refund(job) => {
                    needs.refunds.push(job.id);
                    (&job.entry, Some(job.chain), Some(job.call))
                }
                Job::Fund(job) => {
                    needs.fundings.push((job.source.clone(), job.reference.clone()));
                    needs.funded.insert(job.wallet);
                    (&job.entry, Some(ChainId::leaf(job.wallet)), None)
                }
                Job::Expire(job) => (&job.entry, Some(job.chain), Some(job.call)),
                Job::Charge(job) => {
                    needs.charges.push(job.name());
                    (&job.entry, Some(ChainId::leaf(job.wallet)), Some(job.call))
                }
                Job::Correct(job) => {
                    needs.corrections.push(job.correction.id);
                    (&job.entry, Some(job.chain), Some(job.correction.call))
                }
                Job::Confirm(job) => (&job.entry, Some(job.chain), Some(job.call)),
            };
            if !needs.heads.contains(entry.chain.as_ref()) {
                needs.heads.insert(entry.chain.clone());
            }
            needs.chains.extend(chain);
            needs.calls.extend(call);
        }
        needs
    }
}

/// What was loaded.
#[derive(Default)]
pub(crate) struct Loaded {
    pub revision: i64,
    /// A chain that is not there is not known.
    pub chains: HashMap<ChainId, Arc<Chain>>,
    pub wallets: Wallets,
    /// In the order of their ids, which is the order in which they are cheap to write.
    pub holds: BTreeMap<Id<Call>, HoldRow>,
    pub receipts: BTreeMap<Id<Call>, ReceiptRow>,
    pub claims: HashMap<(Id<Key>, [u8; 32]), ClaimRow>,
    pub refunds: HashMap<Id<JournalRow>, RefundRow>,
    pub fundings: HashMap<(String, String), (Id<Wallet>, Money)>,
    pub charges: HashMap<ChargeName, ChargeRow>,
    pub corrections: HashMap<Id<JournalRow>, CorrectionRow>,
    pub heads: HashMap<Cow<'static, str>, (i64, Hash)>,
}

/// The wallets that a call holds money in. Never changes once made.
#[derive(Debug)]
pub(crate) struct Chain {
    pub org: Id<Org>,
    /// From the leaf up to its root, then those beside it.
    pub wallets: Vec<Id<Wallet>>,
    /// Those that have none above them: whoever locks these has locked all.
    pub roots: Vec<Id<Wallet>>,
    /// No call has used it yet, so it is not stored.
    pub new: bool,
}

/// Names a chain: a wallet with all above it, or that with further wallets beside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct ChainId {
    mixed: bool,
    id: uuid::Uuid,
}

impl ChainId {
    /// The wallet and all above it.
    pub fn leaf(wallet: Id<Wallet>) -> ChainId {
        ChainId { mixed: false, id: wallet.uuid() }
    }

    /// The same with wallets beside it, in whatever order they are told.
    pub fn of(leaf: Id<Wallet>, extra: &[Id<Wallet>]) -> ChainId {
        if extra.is_empty() {
            return ChainId::leaf(leaf);
        }
        let mut sorted = extra.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        let mut hash = Sha256::new().chain_update(leaf.uuid().as_bytes());
        for wallet in &sorted {
            hash.update(wallet.uuid().as_bytes());
        }
        let digest: [u8; 32] = hash.finalize().into();
        let (id, _) = digest.split_at(16);
        ChainId { mixed: true, id: uuid::Uuid::from_slice(id).unwrap_or_default() }
    }
}

impl fmt::Display for ChainId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mixed {
            false => Id::<Wallet>::from_uuid(self.id).fmt(f),
            true => write!(f, "mix_{}", self.id.simple()),
        }
    }
}

impl FromStr for ChainId {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<ChainId, StoreError> {
        let corrupt = || StoreError::Corrupt(format!("chain {text:?}"));
        match text.strip_prefix("mix_") {
            None => text.parse().map(ChainId::leaf).map_err(|_| corrupt()),
            Some(digits) => {
                let id = uuid::Uuid::try_parse(digits).map_err(|_| corrupt())?;
                Ok(ChainId { mixed: true, id })
            }
        }
    }
}

impl Chain {
    /// A chain with wallets beside it; nothing if one of them is not of the same organisation.
    pub fn mixed(&self, extra: &[Id<Wallet>], orgs: &HashMap<Id<Wallet>, Id<Org>>) -> Option<Chain> {
        let (mut wallets, mut roots) = (self.wallets.clone(), self.roots.clone());
        for wallet in extra {
            if orgs.get(wallet) != Some(&self.org) {
                return None;
            }
            if !wallets.contains(wallet) {
                wallets.push(*wallet);
                roots.push(*wallet);
            }
        }
        Some(Chain { org: self.org, wallets, roots, new: true })
    }
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
    pub chain: ChainId,
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
    pub chain: ChainId,
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

/// Stands for no key where a row must name one: of a charge that was made on no key's behalf.
pub(crate) const NO_KEY: Id<Key> = Id::from_uuid(uuid::Uuid::nil());

/// What tells a charge booked by API from others: each reference of a source is charged once in an organisation.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ChargeName {
    pub org: Id<Org>,
    pub source: String,
    pub reference: String,
}

/// A charge booked by API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ChargeRow {
    pub call: Id<Call>,
    pub wallet: Id<Wallet>,
    pub key: Id<Key>,
    pub cost: Money,
    pub price: Money,
    pub reason: String,
}

/// A correction: what was asked, what became of it, and what stood before it.
#[derive(Debug, Clone)]
pub(crate) struct CorrectionRow {
    pub call: Id<Call>,
    /// The true price. `price` is what of it could be charged.
    pub asked: Money,
    pub cost: Money,
    pub price: Money,
    pub overrun: Money,
    pub was_cost: Money,
    pub was_price: Money,
    pub was_overrun: Money,
    pub was_record: Arc<str>,
    pub reason: String,
    pub price_version: Option<String>,
    pub usage: Option<Usage>,
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
    pub charges: Vec<(ChargeName, ChargeRow)>,
    pub corrections: Vec<(Id<JournalRow>, CorrectionRow)>,
    pub overrun: Money,
    pub audit: Vec<Sealed>,
    /// What somebody should be told, sent from there by whoever delivers.
    pub alerts: Vec<AlertRow>,
}

/// A row of the outbox.
#[derive(Debug, Clone)]
pub(crate) struct AlertRow {
    pub id: Id<Alert>,
    pub org: Id<Org>,
    pub wallet: Option<Id<Wallet>>,
    pub kind: &'static str,
    /// Ids and amounts, as JSON.
    pub content: String,
}
