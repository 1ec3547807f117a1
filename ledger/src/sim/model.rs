//! The books once more, kept from the contract's text in plain arithmetic, without `book.rs`. Every answer of the ledger is
//! judged against them, and they say what must be in the journal and in the audit log for it.

mod admission;
mod ending;

use std::collections::{BTreeMap, BTreeSet};

use admission::{Asked, Growth};
use ending::How;

use crate::batch::{Answer, Taken};
use crate::book::{Leg, Terms};
use crate::charge::{ChargeError, ConfirmError, CorrectError};
use crate::clock::Timestamp;
use crate::error::{FundError, RefundError, ReserveError, StoreError};
use crate::hold::SoftWarning;
use crate::id::{Call, Id, JournalRow, Key, Org, Wallet};
use crate::money::Money;
use crate::order::{Claim, Estimate};
use crate::rows::{ChainId, NO_KEY, ReceiptRow, Status};
use crate::sim::Verdict;
use crate::sim::step::{ASKED, ENDED, Step, Who};
use crate::soft::SoftAction;

/// A day, in which an Idempotency-Key is remembered.
const DAY: i64 = 24 * 60 * 60 * 1_000_000;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pot {
    pub spent: i128,
    pub held: i128,
    pub warned: Option<Money>,
}

#[derive(Debug, Clone)]
pub(super) struct Open {
    pub who: Who,
    pub chain: ChainId,
    pub legs: Vec<Leg>,
    /// The worst case that was ordered, and what was held of it at first.
    pub asked: i128,
    pub opened: i128,
    pub amount: i128,
    pub claim: Option<Claim>,
}

#[derive(Debug, Clone)]
pub(super) struct Bill {
    pub who: Who,
    pub chain: ChainId,
    pub legs: Vec<Leg>,
    pub status: Status,
    pub cost: i128,
    /// The true price, as it was told last.
    pub asked: i128,
    pub price: i128,
    pub overrun: i128,
    pub refunded: i128,
    /// What was held, if it expired.
    pub held: i128,
    pub review: bool,
    pub reason: Option<String>,
    pub record: String,
    /// What a refused caller was told, and for how much it had asked.
    pub told: Option<(ReserveError, i128)>,
}

#[derive(Debug, Clone)]
pub(super) enum Life {
    Open(Open),
    Ended(Bill),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Claimed {
    pub body: [u8; 32],
    pub call: Id<Call>,
    pub charged: bool,
    pub at: Timestamp,
}

/// What a refund asked: of which call, how much, why.
pub(super) type Repayment = (Id<Call>, Option<i64>, &'static str);

/// A row that the journal must have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due {
    pub kind: &'static str,
    pub chain: String,
    pub legs: Vec<Leg>,
    pub call: Option<Id<Call>>,
    pub held: i128,
    pub spent: i128,
    pub funded: i128,
    pub overrun: i128,
}

/// What one batch moved, for the checks after its commit.
#[derive(Default)]
pub(super) struct Moved {
    /// With what was in them before.
    pub pots: BTreeMap<Leg, Pot>,
    pub calls: BTreeSet<Id<Call>>,
    pub claims: BTreeSet<(Id<Key>, [u8; 32])>,
    pub funded: BTreeSet<Id<Wallet>>,
    pub journal: Vec<Due>,
    /// Chain, kind, and a text that the entry must hold.
    pub audit: Vec<(String, &'static str, String)>,
}

/// A charge by API: its call, for whom, whether on a key's behalf, cost and price.
type Charged = (Id<Call>, Who, bool, i64, i64);

#[derive(Default)]
pub(super) struct Books {
    pub orgs: BTreeMap<Id<Wallet>, Id<Org>>,
    pub chains: BTreeMap<Id<Wallet>, Vec<Id<Wallet>>>,
    pub terms: BTreeMap<Id<Wallet>, Terms>,
    pub pots: BTreeMap<Leg, Pot>,
    /// Spent and held in all windows together.
    pub ever: BTreeMap<Id<Wallet>, i128>,
    pub calls: BTreeMap<Id<Call>, Life>,
    pub claims: BTreeMap<(Id<Key>, [u8; 32]), Claimed>,
    pub refunds: BTreeMap<Id<JournalRow>, Repayment>,
    pub fundings: BTreeMap<String, (Id<Wallet>, i64)>,
    /// By reference: the call, and what was charged.
    pub charges: BTreeMap<(Id<Org>, String), Charged>,
    pub corrections: BTreeMap<Id<JournalRow>, (Id<Call>, i64, i64, &'static str)>,
    /// Refunds that failed, and why: each is told once.
    pub failed: BTreeSet<(Id<JournalRow>, &'static str)>,
    pub noted: BTreeSet<u64>,
    pub overrun: i128,
    /// What somebody was told once: kind, wallet, window, limit.
    pub alerts: BTreeSet<(&'static str, Id<Wallet>, i64, i64)>,
    pub moved: Moved,
}

macro_rules! ensure {
    ($condition:expr, $($told:tt)+) => {
        if !$condition { return Err(format!($($told)+)); }
    };
}
pub(super) use ensure;

fn nanos(amount: Money) -> i128 {
    i128::from(amount.nanos())
}

impl Books {
    /// Judges what the ledger answered to a step at a time, and books it.
    pub fn judge(&mut self, step: &Step, at: Timestamp, answer: &Answer) -> Verdict {
        match (step, answer) {
            (
                Step::Reserve { call, who, extra, amount, estimate, patient, downgraded, claim, .. },
                Answer::Reserve(told),
            ) => {
                let worst = i128::from(*amount);
                let (estimate, patient, downgraded, claim) = (*estimate, *patient, *downgraded, *claim);
                let asked = Asked { who, extra, worst, estimate, patient, downgraded, claim };
                self.reserve(*call, &asked, at, told)
            }
            (Step::Grow { call, who, from, to, patient, .. }, Answer::Grow(told)) => {
                let told = told.as_ref().map(|grown| (nanos(grown.amount), grown.warnings.as_slice()));
                let (from, to) = (i128::from(*from), i128::from(*to));
                self.grow(*call, &Growth { who, from, to, patient: *patient, at }, told)
            }
            (Step::Settle { call, cost, price, record, .. }, Answer::Resolve(told)) => {
                let how = How { status: Status::Settled, price: i128::from(*price), reason: None };
                self.resolve(*call, how, i128::from(*cost), record, told)
            }
            (Step::Release { call, cost, reason, .. }, Answer::Resolve(told)) => {
                let how = How { status: Status::Released, price: 0, reason: Some((*reason).to_owned()) };
                self.resolve(*call, how, i128::from(*cost), "{}", told)
            }
            (Step::GiveBack { call, chain, .. }, Answer::Resolve(told)) => self.give_back(*call, *chain, told),
            (Step::Record { org, number }, Answer::Done(Ok(()))) => {
                ensure!(self.noted.insert(*number), "note {number} was written twice");
                self.entry(*org, "NOTE", format!("\"{number}\""));
                Ok(())
            }
            (Step::Refuse { call, who, code }, Answer::Done(told)) => self.refuse(*call, who, code, told),
            (Step::Refund { id, call, who, amount, reason, .. }, Answer::Refund(told)) => {
                self.refund((*id, who.org), *call, *amount, reason, told)
            }
            (Step::Fund { org, wallet, amount, reference }, Answer::Fund(told)) => {
                self.fund(*org, *wallet, *amount, reference, told)
            }
            (Step::Expire { call, .. }, Answer::Done(told)) => {
                ensure!(told.is_ok(), "an expiry failed: {told:?}");
                self.expire(*call);
                Ok(())
            }
            (Step::Charge { call, who, keyed, cost, price, reference }, Answer::Charge(told)) => {
                let charge = (*call, *who, *keyed, *cost, *price);
                self.charge(charge, reference, at, told)
            }
            (Step::Correct { id, call, cost, price, reason, .. }, Answer::Correct(told)) => {
                self.correct(*id, (*call, *cost, *price, *reason), told)
            }
            (Step::Confirm { call, .. }, Answer::Confirm(told)) => self.confirm(*call, told),
            _ => Err(format!("{step:?} got another job's answer")),
        }
    }

    /// Allowance − spent − held; what can be told at all, where there is no limit.
    pub fn free(&self, leg: &Leg) -> i128 {
        let terms = &self.terms[&leg.wallet];
        let pot = self.pots.get(leg).copied().unwrap_or_default();
        let used = pot.spent + pot.held;
        let by_funds = terms.prepaid.then(|| nanos(terms.funded) - self.ever.get(&leg.wallet).copied().unwrap_or(0));
        let by_limit = terms.hard_limit.map(|limit| nanos(limit) - used);
        let least = by_limit.into_iter().chain(by_funds).min();
        least.unwrap_or(i128::from(i64::MAX) - used)
    }

    /// The same, as far as a soft limit that blocks lets calls in.
    pub fn admitting(&self, leg: &Leg) -> i128 {
        let (terms, pot) = (&self.terms[&leg.wallet], self.pots.get(leg).copied().unwrap_or_default());
        let blocks = soft_limits(terms).first().copied().filter(|_| terms.soft_action == SoftAction::Block);
        let by_block = blocks.map(|limit| nanos(limit) - pot.spent - pot.held);
        by_block.into_iter().fold(self.free(leg), i128::min)
    }

    /// The same, if the wallet held nothing.
    pub fn admitting_unheld(&self, leg: &Leg) -> i128 {
        let (terms, pot) = (&self.terms[&leg.wallet], self.pots.get(leg).copied().unwrap_or_default());
        let blocks = soft_limits(terms).first().copied().filter(|_| terms.soft_action == SoftAction::Block);
        let limits = terms.hard_limit.into_iter().chain(blocks).map(|limit| nanos(limit) - pot.spent);
        let by_funds = terms.prepaid.then(|| {
            let held: i128 = self.pots.iter().filter(|(it, _)| it.wallet == leg.wallet).map(|(_, pot)| pot.held).sum();
            nanos(terms.funded) - self.ever.get(&leg.wallet).copied().unwrap_or(0) + held
        });
        limits.chain(by_funds).min().unwrap_or(i128::from(i64::MAX) - pot.spent)
    }

    /// The first refusal by a limit in a window is told.
    fn alert_limit(&mut self, error: &ReserveError, at: Timestamp) {
        if let ReserveError::OverLimit(over) = error {
            let window = self.terms[&over.wallet].window.period(at).key();
            let used_up = (nanos(over.spent) + nanos(over.held)) * 20 >= nanos(over.limit) * 19;
            let kind = if used_up { "used_up" } else { "hard_limit" };
            self.alerts.insert((kind, over.wallet, window, over.limit.nanos()));
        }
    }

    fn room(&self, legs: &[Leg]) -> i128 {
        legs.iter().map(|leg| self.free(leg)).min().unwrap_or(0).max(0)
    }

    /// Idempotency keys that no longer bind anybody are forgotten.
    pub fn forget(&mut self, before: Timestamp) {
        self.claims.retain(|_, row| row.at >= before);
    }

    fn warn(&mut self, legs: &[Leg], org: Id<Org>, call: Id<Call>) -> Vec<(Id<Wallet>, Money, i128)> {
        let mut due = Vec::new();
        for leg in legs {
            let pot = self.pots.entry(*leg).or_default();
            let (used, warned) = (pot.spent + pot.held, pot.warned);
            let past: Vec<Money> =
                soft_limits(&self.terms[&leg.wallet]).into_iter().filter(|limit| used > nanos(*limit)).collect();
            let Some(highest) = past.last().copied() else { continue };
            due.push((leg.wallet, highest, used));
            pot.warned = warned.max(Some(highest));
            for limit in past.into_iter().filter(|limit| Some(*limit) > warned) {
                self.entry(org, "WARN", call.to_string());
                self.alerts.insert(("soft_limit", leg.wallet, leg.window.key(), limit.nanos()));
            }
        }
        due
    }

    fn shift(&mut self, legs: &[Leg], held: i128, spent: i128) {
        for leg in legs {
            let pot = self.pots.entry(*leg).or_default();
            self.moved.pots.entry(*leg).or_insert(*pot);
            pot.held += held;
            pot.spent += spent;
            *self.ever.entry(leg.wallet).or_default() += held + spent;
        }
    }

    fn put(&mut self, call: Id<Call>, life: Life) {
        self.calls.insert(call, life);
        self.moved.calls.insert(call);
    }

    fn entry(&mut self, org: Id<Org>, kind: &'static str, holds: String) {
        self.moved.audit.push((org.to_string(), kind, holds));
    }

    fn post(
        &mut self,
        kind: &'static str,
        chain: String,
        legs: &[Leg],
        call: Option<Id<Call>>,
        by: (i128, i128, i128),
    ) {
        let (held, spent, funded) = by;
        self.moved.journal.push(Due { kind, chain, legs: legs.to_vec(), call, held, spent, funded, overrun: 0 });
    }

    fn post_overrun(
        &mut self,
        kind: &'static str,
        chain: ChainId,
        legs: &[Leg],
        call: Id<Call>,
        by: (i128, i128, i128),
    ) {
        let (held, spent, overrun) = by;
        let (chain, legs, call) = (chain.to_string(), legs.to_vec(), Some(call));
        self.moved.journal.push(Due { kind, chain, legs, call, held, spent, funded: 0, overrun });
    }

    fn same_receipt(&self, call: Id<Call>, bill: &Bill, told: &Result<ReceiptRow, StoreError>) -> Verdict {
        let row = told.as_ref().map_err(|error| format!("{call} was answered {error:?} instead of {bill:?}"))?;
        bill.is(row)
    }
}

impl Bill {
    fn of(who: Who, (chain, legs): (ChainId, Vec<Leg>), status: Status, record: &str) -> Bill {
        Bill {
            who,
            chain,
            legs,
            status,
            cost: 0,
            asked: 0,
            price: 0,
            overrun: 0,
            refunded: 0,
            held: 0,
            review: false,
            reason: None,
            record: record.to_owned(),
            told: None,
        }
    }

    /// Whether a row says the same.
    pub fn is(&self, row: &ReceiptRow) -> Verdict {
        let money = [row.cost, row.price, row.overrun, row.refunded, row.held].map(nanos);
        let right = money == [self.cost, self.price, self.overrun, self.refunded, self.held]
            && (row.status, row.review, &*row.record) == (self.status, self.review, &*self.record)
            && (row.org, row.key, row.wallet, row.chain) == (self.who.org, self.who.key, self.who.wallet, self.chain);
        ensure!(right, "receipt {row:?} instead of {self:?}");
        Ok(())
    }
}

/// All soft limits of a wallet, lowest first.
fn soft_limits(terms: &Terms) -> Vec<Money> {
    let more = terms.thresholds.iter().filter_map(|threshold| threshold.amount(terms.hard_limit));
    let all: BTreeSet<Money> = terms.soft_limit.into_iter().chain(more).collect();
    all.into_iter().collect()
}
