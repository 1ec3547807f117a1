//! What a caller may ask of the ledger, as plain values that can be kept, repeated and changed; and the job for the
//! writer that each becomes.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::audit::{Actor, Entry, kind};
use crate::charge::Correction;
use crate::clock::Timestamp;
use crate::id::{Call, Id, JournalRow, Key, Org, Wallet};
use crate::money::Money;
use crate::order::{Claim, Estimate};
use crate::queue::{
    ChargeJob, ConfirmJob, CorrectJob, ExpireJob, FundJob, GrowJob, Job, RecordJob, RefundJob, RefuseJob, ReserveJob,
    Resolution, ResolveJob,
};
use crate::record::ChargeRecord;
use crate::rows::ChainId;

/// Whose money a call spends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Who {
    pub org: Id<Org>,
    pub key: Id<Key>,
    pub wallet: Id<Wallet>,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    Reserve {
        call: Id<Call>,
        who: Who,
        extra: Vec<Id<Wallet>>,
        amount: i64,
        estimate: Option<Estimate>,
        patient: bool,
        downgraded: bool,
        claim: Option<Claim>,
        expires_at: Timestamp,
    },
    Grow {
        call: Id<Call>,
        who: Who,
        chain: ChainId,
        from: i64,
        to: i64,
        patient: bool,
    },
    Settle {
        call: Id<Call>,
        who: Who,
        chain: ChainId,
        cost: i64,
        price: i64,
        record: &'static str,
    },
    Release {
        call: Id<Call>,
        who: Who,
        chain: ChainId,
        cost: i64,
        reason: &'static str,
    },
    /// A hold comes back whose maker was never told of it.
    GiveBack {
        call: Id<Call>,
        who: Who,
        chain: ChainId,
    },
    Record {
        org: Id<Org>,
        number: u64,
    },
    Refuse {
        call: Id<Call>,
        who: Who,
        code: &'static str,
    },
    Refund {
        id: Id<JournalRow>,
        call: Id<Call>,
        who: Who,
        chain: ChainId,
        amount: Option<i64>,
        reason: &'static str,
    },
    Fund {
        org: Id<Org>,
        wallet: Id<Wallet>,
        amount: i64,
        reference: String,
    },
    Expire {
        call: Id<Call>,
        who: Who,
        chain: ChainId,
    },
    /// Something that was delivered elsewhere.
    Charge {
        call: Id<Call>,
        who: Who,
        keyed: bool,
        cost: i64,
        price: i64,
        reference: String,
    },
    Correct {
        id: Id<JournalRow>,
        call: Id<Call>,
        who: Who,
        chain: ChainId,
        cost: i64,
        price: i64,
        reason: &'static str,
    },
    Confirm {
        call: Id<Call>,
        who: Who,
        chain: ChainId,
    },
}

pub(super) const SOURCE: &str = "card";
pub(super) const ASKED: &str = r#"{"model":"gpt-4o"}"#;
/// The record of an expired call once an operator has said what it truly was.
pub(super) const ENDED: &str = r#"{"model":"gpt-4o","ending":"expired"}"#;

impl Step {
    /// Resolutions have a lane of their own, and are never given up.
    pub fn is_resolution(&self) -> bool {
        matches!(self, Step::Settle { .. } | Step::Release { .. } | Step::GiveBack { .. })
    }

    pub fn call(&self) -> Option<Id<Call>> {
        match self {
            Step::Reserve { call, .. }
            | Step::Grow { call, .. }
            | Step::Settle { call, .. }
            | Step::Release { call, .. }
            | Step::GiveBack { call, .. }
            | Step::Refuse { call, .. }
            | Step::Refund { call, .. }
            | Step::Expire { call, .. }
            | Step::Charge { call, .. }
            | Step::Correct { call, .. }
            | Step::Confirm { call, .. } => Some(*call),
            Step::Record { .. } | Step::Fund { .. } => None,
        }
    }

    /// The job as the ledger's door would hand it to the writer.
    pub fn job(&self, desk: &Desk) -> Job {
        match self {
            Step::Reserve { call, who, extra, amount, estimate, patient, downgraded, claim, expires_at } => {
                Job::Reserve(ReserveJob {
                    call: *call,
                    org: who.org,
                    key: who.key,
                    wallet: who.wallet,
                    extra: extra.clone(),
                    amount: nanos(*amount),
                    estimate: *estimate,
                    patient: *patient,
                    downgraded: *downgraded,
                    expires_at: *expires_at,
                    claim: *claim,
                    record: ASKED.into(),
                    entry: entry(kind::RESERVE, who, *call),
                    slot: desk.permit(),
                    _room: desk.permit(),
                    reply: oneshot::channel().0,
                })
            }
            Step::Grow { call, who, chain, from, to, patient } => Job::Grow(GrowJob {
                call: *call,
                chain: *chain,
                from: nanos(*from),
                to: nanos(*to),
                patient: *patient,
                entry: entry(kind::GROW, who, *call).text("held_usd", nanos(*to)),
                _room: desk.permit(),
                reply: oneshot::channel().0,
            }),
            Step::Settle { call, who, chain, cost, price, record } => {
                let entry = entry(kind::SETTLE, who, *call).text("cost_usd", nanos(*cost));
                resolve(*call, *chain, Resolution::Settle { price: nanos(*price) }, *cost, record, entry)
            }
            Step::Release { call, who, chain, cost, reason } => {
                let entry = entry(kind::RELEASE, who, *call).text("reason", reason);
                let how = Resolution::Release { reason: (*reason).to_owned() };
                resolve(*call, *chain, how, *cost, "{}", entry)
            }
            Step::GiveBack { call, who, chain } => {
                resolve(*call, *chain, Resolution::GiveBack, 0, "", entry(kind::RELEASE, who, *call))
            }
            Step::Record { org, number } => Job::Record(RecordJob {
                entry: Entry::new(Some(*org), "NOTE", Actor::System).text("number", number),
                _room: desk.permit(),
                reply: oneshot::channel().0,
            }),
            Step::Refuse { call, who, code } => Job::Refuse(RefuseJob {
                call: *call,
                org: who.org,
                key: who.key,
                wallet: who.wallet,
                code: (*code).to_owned(),
                record: ASKED.into(),
                entry: entry(kind::BLOCK, who, *call).text("code", code),
                _room: desk.permit(),
                reply: oneshot::channel().0,
            }),
            Step::Refund { id, call, who, chain, amount, reason } => Job::Refund(RefundJob {
                id: *id,
                call: *call,
                chain: *chain,
                amount: amount.map(nanos),
                reason: (*reason).to_owned(),
                entry: entry(kind::REFUND, who, *call).text("refund_id", id),
                _room: desk.permit(),
                reply: oneshot::channel().0,
            }),
            Step::Fund { org, wallet, amount, reference } => Job::Fund(FundJob {
                wallet: *wallet,
                amount: nanos(*amount),
                source: SOURCE.to_owned(),
                reference: reference.clone(),
                entry: Entry::new(Some(*org), kind::FUND, Actor::System)
                    .text("wallet_id", wallet)
                    .text("amount_usd", nanos(*amount)),
                _room: desk.permit(),
                reply: oneshot::channel().0,
            }),
            Step::Expire { call, who, chain } => Job::Expire(ExpireJob {
                call: *call,
                chain: *chain,
                entry: Entry::new(Some(who.org), kind::EXPIRE, Actor::System).text("request_id", call),
                reply: oneshot::channel().0,
            }),
            Step::Charge { call, who, keyed, cost, price, reference } => Job::Charge(ChargeJob {
                call: *call,
                org: who.org,
                wallet: who.wallet,
                key: keyed.then_some(who.key),
                cost: nanos(*cost),
                price: nanos(*price),
                told: ChargeRecord {
                    reason: "search".to_owned(),
                    source: SOURCE.to_owned(),
                    reference: reference.clone(),
                },
                record: ASKED.into(),
                actor: Actor::System,
                entry: entry(kind::CHARGE, who, *call),
                _room: desk.permit(),
                reply: oneshot::channel().0,
            }),
            Step::Correct { id, call, who, chain, cost, price, reason } => Job::Correct(CorrectJob {
                correction: Correction {
                    id: *id,
                    call: *call,
                    cost: nanos(*cost),
                    price: nanos(*price),
                    reason: (*reason).to_owned(),
                    price_version: None,
                    usage: None,
                    actor: Actor::System,
                },
                chain: *chain,
                entry: entry(kind::ADJUST, who, *call).text("correction_id", id),
                _room: desk.permit(),
                reply: oneshot::channel().0,
            }),
            Step::Confirm { call, who, chain } => Job::Confirm(ConfirmJob {
                call: *call,
                chain: *chain,
                entry: entry(kind::CONFIRM, who, *call),
                _room: desk.permit(),
                reply: oneshot::channel().0,
            }),
        }
    }
}

fn entry(kind: &'static str, who: &Who, call: Id<Call>) -> Entry {
    Entry::new(Some(who.org), kind, Actor::Key(who.key)).text("request_id", call).text("wallet_id", who.wallet)
}

fn resolve(call: Id<Call>, chain: ChainId, how: Resolution, cost: i64, record: &str, entry: Entry) -> Job {
    Job::Resolve(ResolveJob {
        call,
        chain,
        how,
        cost: nanos(cost),
        record: record.into(),
        told: None,
        entry,
        slot: None,
        reply: None,
        failures: 0,
    })
}

/// Hands out the permits that jobs carry. There are always enough: bounds are tested elsewhere.
pub(super) struct Desk(Arc<Semaphore>);

impl Desk {
    pub fn new() -> Desk {
        Desk(Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)))
    }

    fn permit(&self) -> OwnedSemaphorePermit {
        self.0.clone().try_acquire_owned().expect("more permits than jobs")
    }
}

fn nanos(amount: i64) -> Money {
    Money::from_nanos(amount)
}
