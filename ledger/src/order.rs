//! What is asked of the ledger about money, and what it answers.

use crate::audit::Actor;
use crate::clock::Timestamp;
use crate::hold::Hold;
use crate::id::{Call, Id, JournalRow, Key, Org, Wallet};
use crate::money::Money;
use crate::record::CallRecord;
use crate::rows::ChainId;

/// Money to be set aside for a call, in the key's wallet and all above it.
#[derive(Debug, Clone)]
pub struct Order {
    pub call: Id<Call>,
    pub org: Id<Org>,
    pub key: Id<Key>,
    pub wallet: Id<Wallet>,
    /// Wallets of the same organisation beside the chain, that the call has to satisfy too: those whose scope covers it.
    pub extra: Vec<Id<Wallet>>,
    /// The most that the tenant can be charged. A cache hit asks for nothing, and is still refused where nothing is free.
    pub amount: Money,
    /// What the call will likely need, where holding the worst case would freeze money that others could use.
    pub estimate: Option<Estimate>,
    /// Refused only because of what others hold, the order is not written down: whoever made it will ask again.
    pub patient: bool,
    /// A cheaper plan was asked for already: a soft limit that wants one only warns.
    pub downgraded: bool,
    /// When the hold counts as orphaned, whoever made it.
    pub expires_at: Timestamp,
    pub claim: Option<Claim>,
    /// What is known so far: goes into the audit entry, and into the receipt if nobody ever settles.
    pub record: CallRecord,
}

/// An upper estimate of what a call will be charged. Where the worst case is more than a hundredth of what is free, it
/// decides what is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Estimate {
    pub amount: Money,
    /// The hold can grow while the call runs: no more than the estimate is held. Otherwise what is held must last, so it is
    /// at least a tenth of what is free.
    pub elastic: bool,
}

/// A caller's Idempotency-Key, as hashes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Claim {
    /// Keyed hash of the Idempotency-Key.
    pub name: [u8; 32],
    /// Hash of what was asked with it.
    pub body: [u8; 32],
}

/// An order that was taken.
#[derive(Debug)]
pub enum Reserved {
    New(Hold),
    /// The same Idempotency-Key and body were charged before, by this call.
    Replay(Id<Call>),
}

/// A call that answered, and is paid for.
#[derive(Debug, Clone)]
pub struct Charge {
    /// What all attempts cost us.
    pub cost: Money,
    /// The true price. What the hold and the room beside it cannot cover is the platform's overrun.
    pub price: Money,
    pub record: CallRecord,
}

/// A call that is not charged. Its failed attempts may have cost the platform all the same.
#[derive(Debug, Clone)]
pub struct Release {
    /// A code such as `provider_error`.
    pub reason: String,
    pub cost: Money,
    pub record: CallRecord,
}

/// A call that was refused before any money was asked for.
#[derive(Debug, Clone)]
pub struct RefusedCall {
    pub call: Id<Call>,
    pub org: Id<Org>,
    pub key: Id<Key>,
    pub wallet: Id<Wallet>,
    pub code: String,
    pub record: CallRecord,
}

/// Money given back for a call.
#[derive(Debug, Clone)]
pub struct Refund {
    /// Made by the caller's side: the same refund twice is one.
    pub id: Id<JournalRow>,
    pub call: Id<Call>,
    /// All that is left of the price, unless said.
    pub amount: Option<Money>,
    pub reason: String,
    pub actor: Actor,
}

/// Money put into a wallet, once per source and reference.
#[derive(Debug, Clone)]
pub struct Fund {
    pub wallet: Id<Wallet>,
    pub amount: Money,
    pub source: String,
    pub reference: String,
    pub actor: Actor,
}

/// What a call cost, on both sides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    pub call: Id<Call>,
    pub org: Id<Org>,
    pub wallet: Id<Wallet>,
    pub(crate) chain: ChainId,
    /// A charge booked by API may have none.
    pub key: Option<Id<Key>>,
    pub at: Timestamp,
    /// `settled`, `released`, `expired`, `refused`, or `pending` while the money is held.
    pub status: String,
    pub cost: Money,
    pub price: Money,
    pub overrun: Money,
    pub refunded: Money,
    /// What is held, while it is.
    pub held: Money,
    /// Settled in full without anybody's word, because its process was lost: somebody should look.
    pub review: bool,
    pub record: CallRecord,
}
