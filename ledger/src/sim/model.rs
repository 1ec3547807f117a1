//! The books once more, kept from the contract's text in plain arithmetic, without `book.rs`. Every answer of the ledger is
//! judged against them, and they say what must be in the journal and in the audit log for it.

use std::collections::{BTreeMap, BTreeSet};

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
    pub refunds: BTreeMap<Id<JournalRow>, (Id<Call>, Option<i64>, &'static str)>,
    pub fundings: BTreeMap<String, (Id<Wallet>, i64)>,
    /// By reference: the call, and what was charged.
    pub charges: BTreeMap<String, (Id<Call>, Who, bool, i64, i64)>,
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
            (Step::GiveBack { call, .. }, Answer::Resolve(told)) => self.give_back(*call, told),
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

    fn reserve(
        &mut self,
        call: Id<Call>,
        asked: &Asked<'_>,
        at: Timestamp,
        told: &Result<Taken, ReserveError>,
    ) -> Verdict {
        let Asked { who, worst, claim, .. } = *asked;
        match self.calls.get(&call) {
            Some(Life::Open(open)) => {
                let same = (open.who, open.asked, open.claim) == (*who, worst, claim);
                return match told {
                    Ok(Taken::New { amount, .. }) if same && nanos(*amount) == open.amount => Ok(()),
                    Err(ReserveError::Conflict(_)) if !same => Ok(()),
                    _ => Err(format!("repeated reserve, same content {same}: {:?}", told.as_ref().err())),
                };
            }
            Some(Life::Ended(bill)) => {
                let same = bill.told.as_ref().filter(|(_, asked)| (bill.who.key, *asked) == (who.key, worst));
                let same = same.filter(|_| bill.who.wallet == who.wallet);
                return match (told, same) {
                    (Err(error), Some((before, _))) if alike(error, before) => Ok(()),
                    (Err(ReserveError::Conflict(_)), None) => Ok(()),
                    _ => Err(format!("reserve of an ended call: {:?}, before {same:?}", told.as_ref().err())),
                };
            }
            None => {}
        }
        let Some(legs) = self.legs(who, asked.extra, at) else {
            ensure!(matches!(told, Err(ReserveError::UnknownWallet(_))), "a foreign wallet was not refused");
            return Ok(());
        };
        let binding = claim.and_then(|claim| self.claims.get(&(who.key, claim.name)).map(|found| (claim, *found)));
        if let Some((claim, found)) = binding.filter(|(_, found)| at.micros() - found.at.micros() < DAY) {
            let right = match told {
                Ok(Taken::Replay(first)) => claim.body == found.body && found.charged && *first == found.call,
                Err(ReserveError::IdempotencyMismatch) => claim.body != found.body,
                Err(ReserveError::IdempotencyInProgress) => claim.body == found.body && !found.charged,
                _ => false,
            };
            ensure!(right, "a claim that binds was answered {:?}: {found:?}", told.as_ref().err());
            return Ok(());
        }
        let amount = self.ask(&legs, worst, asked.estimate);
        let dear = self.wants_less(&legs, amount).filter(|_| !asked.downgraded);
        if let Err(ReserveError::Downgrade { wallet }) = told {
            ensure!(dear == Some(*wallet), "{wallet} wants no cheaper plan for {amount}: {dear:?}");
            return self.open(&legs);
        }
        ensure!(dear.is_none() || self.open(&legs).is_err(), "{dear:?} was not asked for a cheaper plan");
        if let Err(ReserveError::Held(over)) = told {
            // Nothing is written down: whoever is patient asks again.
            ensure!(asked.patient && over.is_held(), "{over:?} is not for lack of patience");
            return self.admission(&legs, amount, Some(&ReserveError::OverLimit(*over)));
        }
        self.admission(&legs, amount, told.as_ref().err())?;
        let chain = ChainId::of(who.wallet, asked.extra);
        match told {
            Ok(Taken::New { amount: held, warnings }) => {
                ensure!(nanos(*held) == amount, "held {held} instead of {amount}");
                self.entry(who.org, "RESERVE", call.to_string());
                self.hold_more(&legs, amount, who, call, warnings)?;
                self.post("reserve", chain.to_string(), &legs, Some(call), (amount, 0, 0));
                if let Some(claim) = claim {
                    let place = (who.key, claim.name);
                    self.claims.insert(place, Claimed { body: claim.body, call, charged: false, at });
                    self.moved.claims.insert(place);
                }
                self.put(
                    call,
                    Life::Open(Open { who: *who, chain, legs, asked: worst, opened: amount, amount, claim }),
                );
                Ok(())
            }
            Err(error) => {
                self.entry(who.org, "BLOCK", call.to_string());
                self.alert_limit(error, at);
                let bill = Bill {
                    told: Some((error.clone(), worst)),
                    ..Bill::of(*who, (ChainId::leaf(who.wallet), Vec::new()), Status::Refused, ASKED)
                };
                self.put(call, Life::Ended(bill));
                Ok(())
            }
            Ok(Taken::Replay(first)) => Err(format!("a replay of {first} without a claim that binds")),
        }
    }

    fn grow(
        &mut self,
        call: Id<Call>,
        growth: &Growth<'_>,
        told: Result<(i128, &[SoftWarning]), &ReserveError>,
    ) -> Verdict {
        let Growth { who, from, to, .. } = *growth;
        let open = match self.calls.get(&call) {
            Some(Life::Open(open)) => open.clone(),
            _ => {
                ensure!(matches!(told, Err(ReserveError::Conflict(_))), "a hold that is not there grew: {told:?}");
                return Ok(());
            }
        };
        if open.amount != from {
            let again = open.amount == to && matches!(told, Ok((held, _)) if held == to);
            let other = open.amount != to && matches!(told, Err(ReserveError::Conflict(_)));
            ensure!(again || other, "a repeated growth to {to} of {} was answered {told:?}", open.amount);
            return Ok(());
        }
        self.admission(&open.legs, to - from, told.err())?;
        let (held, warnings) = match told {
            Ok(grown) => grown,
            Err(error) => {
                if !growth.patient {
                    self.entry(who.org, "BLOCK", call.to_string());
                    self.alert_limit(error, growth.at);
                }
                return Ok(());
            }
        };
        ensure!(held == to, "grew to {held}, asked for {to}");
        self.entry(who.org, "GROW", call.to_string());
        self.hold_more(&open.legs, to - from, &open.who, call, warnings)?;
        self.post("grow", open.chain.to_string(), &open.legs, Some(call), (to - from, 0, 0));
        self.put(call, Life::Open(Open { amount: to, ..open }));
        Ok(())
    }

    /// Neither suspended nor closed.
    fn open(&self, legs: &[Leg]) -> Verdict {
        for leg in legs {
            let terms = &self.terms[&leg.wallet];
            ensure!(!terms.suspended && !terms.closed, "{} is not open", leg.wallet);
        }
        Ok(())
    }

    /// The first wallet that would come past a soft limit by this and wants a cheaper plan then.
    fn wants_less(&self, legs: &[Leg], amount: i128) -> Option<Id<Wallet>> {
        let past = |leg: &&Leg| {
            let (terms, pot) = (&self.terms[&leg.wallet], self.pots.get(leg).copied().unwrap_or_default());
            let used = pot.spent + pot.held + amount;
            terms.soft_action == SoftAction::Downgrade && soft_limits(terms).iter().any(|limit| used > nanos(*limit))
        };
        legs.iter().filter(|_| amount > 0).find(past).map(|leg| leg.wallet)
    }

    /// Rule 5 and rule 1: nothing is admitted by a wallet that is suspended or has not so much free; all else is.
    fn admission(&self, legs: &[Leg], amount: i128, refused: Option<&ReserveError>) -> Verdict {
        let of_chain = |wallet: &Id<Wallet>| legs.iter().any(|leg| leg.wallet == *wallet);
        match refused {
            None => {
                self.open(legs)?;
                for leg in legs {
                    let free = self.admitting(leg);
                    ensure!(free >= amount.max(1), "{leg:?} has {free} free and admitted {amount}");
                }
                Ok(())
            }
            Some(ReserveError::Suspended { wallet }) => {
                ensure!(of_chain(wallet) && self.terms[wallet].suspended, "{wallet} is not suspended");
                Ok(())
            }
            Some(ReserveError::Closed { wallet }) => {
                ensure!(of_chain(wallet) && self.terms[wallet].closed, "{wallet} is not closed");
                Ok(())
            }
            Some(ReserveError::OverLimit(over)) => {
                let leg = legs.iter().find(|leg| leg.wallet == over.wallet);
                let leg = leg.ok_or_else(|| format!("refused for {}, which is not in the chain", over.wallet))?;
                let free = self.admitting(leg);
                ensure!(free < amount.max(1), "{leg:?} has {free} free and refused {amount}");
                let told = nanos(over.limit) - nanos(over.spent) - nanos(over.held);
                ensure!(nanos(over.asked) == amount && told < amount.max(1), "refused {amount} with {over:?}");
                Ok(())
            }
            Some(error) => Err(format!("{amount} was refused with {error:?}")),
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

    /// The wallets that an order has to satisfy, each in its window; none if one of them is another organisation's.
    fn legs(&self, who: &Who, extra: &[Id<Wallet>], at: Timestamp) -> Option<Vec<Leg>> {
        let mut wallets =
            self.chains.get(&who.wallet).filter(|_| self.orgs.get(&who.wallet) == Some(&who.org))?.clone();
        let beside: BTreeSet<Id<Wallet>> = extra.iter().copied().collect();
        for wallet in beside {
            if self.orgs.get(&wallet) != Some(&who.org) {
                return None;
            }
            if !wallets.contains(&wallet) {
                wallets.push(wallet);
            }
        }
        let leg = |wallet| Leg { wallet, window: self.terms[&wallet].window.period(at) };
        Some(wallets.into_iter().map(leg).collect())
    }

    /// The worst case where it is at most a hundredth of what is free; else the estimate, for holds that cannot grow no less
    /// than a tenth of what is free. Never more than the worst case.
    fn ask(&self, legs: &[Leg], worst: i128, estimate: Option<Estimate>) -> i128 {
        let Some(estimate) = estimate else { return worst };
        let free = legs.iter().map(|leg| self.admitting(leg)).min().unwrap_or(0).max(0);
        if worst * 100 <= free {
            return worst;
        }
        let least = if estimate.elastic { 0 } else { free / 10 };
        worst.min(nanos(estimate.amount).max(least))
    }

    /// The first refusal by a limit in a window is told.
    fn alert_limit(&mut self, error: &ReserveError, at: Timestamp) {
        if let ReserveError::OverLimit(over) = error {
            let window = self.terms[&over.wallet].window.period(at).key();
            self.alerts.insert(("hard_limit", over.wallet, window, over.limit.nanos()));
        }
    }

    fn room(&self, legs: &[Leg]) -> i128 {
        legs.iter().map(|leg| self.free(leg)).min().unwrap_or(0).max(0)
    }

    fn resolve(
        &mut self,
        call: Id<Call>,
        how: How,
        cost: i128,
        record: &str,
        told: &Result<ReceiptRow, StoreError>,
    ) -> Verdict {
        let bill = match self.calls.get(&call).cloned() {
            None => {
                ensure!(matches!(told, Err(StoreError::UnknownCall(_))), "an unknown call was resolved: {told:?}");
                return Ok(());
            }
            Some(Life::Open(open)) => self.end(call, &open, &how, cost, record),
            Some(Life::Ended(bill)) if bill.status == Status::Expired => self.adjust(call, bill, &how, cost, record),
            Some(Life::Ended(bill)) => {
                // Below what was refunded of an expired hold one price is as good as another: none of them was booked.
                let floored = bill.held > 0 && bill.price == bill.refunded && how.price < bill.price;
                let price = if floored { bill.asked } else { how.price };
                let same = (bill.status, bill.asked, bill.cost, &*bill.record, &bill.reason)
                    == (how.status, price, cost, record, &how.reason);
                if !same {
                    ensure!(matches!(told, Err(StoreError::Conflict(_))), "other content was answered {told:?}");
                    return Ok(());
                }
                bill
            }
        };
        self.same_receipt(call, &bill, told)
    }

    /// Rule 2: one price in every wallet of the chain, `min(true price, held + room)`.
    fn end(&mut self, call: Id<Call>, open: &Open, how: &How, cost: i128, record: &str) -> Bill {
        let price = how.price.min(open.amount + self.room(&open.legs));
        let overrun = how.price - price;
        let bill = Bill {
            cost,
            asked: how.price,
            price,
            overrun,
            reason: how.reason.clone(),
            ..Bill::of(open.who, (open.chain, open.legs.clone()), how.status, record)
        };
        let (kind, word) = match how.status {
            Status::Released => ("RELEASE", "release"),
            _ => ("SETTLE", "settle"),
        };
        self.entry(open.who.org, kind, call.to_string());
        self.shift(&open.legs, -open.amount, price);
        self.overrun += overrun;
        self.post_overrun(word, open.chain, &open.legs, call, (-open.amount, price, overrun));
        self.keep_claim(open, call, how.status != Status::Released);
        self.put(call, Life::Ended(bill.clone()));
        bill
    }

    /// A settlement that finds its hold expired: the true price replaces the full one.
    fn adjust(&mut self, call: Id<Call>, was: Bill, how: &How, cost: i128, record: &str) -> Bill {
        let most = was.price + self.room(&was.legs);
        let price = how.price.min(most).max(was.refunded);
        let overrun = (how.price - price).max(0);
        let more = overrun - was.overrun;
        self.entry(was.who.org, "ADJUST", call.to_string());
        self.shift(&was.legs, 0, price - was.price);
        self.overrun += more;
        self.post_overrun("adjust", was.chain, &was.legs, call, (0, price - was.price, more));
        if how.status == Status::Released {
            let mine = |place: &(Id<Key>, [u8; 32]), claimed: &Claimed| place.0 == was.who.key && claimed.call == call;
            let freed: Vec<_> = self.claims.iter().filter(|(place, row)| mine(place, row)).map(|(at, _)| *at).collect();
            for place in freed {
                self.claims.remove(&place);
                self.moved.claims.insert(place);
            }
        }
        let bill = Bill {
            status: how.status,
            cost,
            asked: how.price,
            price,
            overrun,
            review: false,
            reason: how.reason.clone(),
            record: record.to_owned(),
            ..was
        };
        self.put(call, Life::Ended(bill.clone()));
        bill
    }

    fn give_back(&mut self, call: Id<Call>, told: &Result<ReceiptRow, StoreError>) -> Verdict {
        let bill = match self.calls.get(&call).cloned() {
            None => {
                ensure!(matches!(told, Err(StoreError::UnknownCall(_))), "an unknown call came back: {told:?}");
                return Ok(());
            }
            Some(Life::Open(open)) => {
                let how = How { status: Status::Released, price: 0, reason: Some("caller_left".to_owned()) };
                self.end(call, &open, &how, 0, ASKED)
            }
            Some(Life::Ended(bill)) => bill,
        };
        self.same_receipt(call, &bill, told)
    }

    fn expire(&mut self, call: Id<Call>) {
        let Some(Life::Open(open)) = self.calls.get(&call).cloned() else { return };
        self.entry(open.who.org, "EXPIRE", call.to_string());
        self.shift(&open.legs, -open.amount, open.amount);
        self.post_overrun("expire", open.chain, &open.legs, call, (-open.amount, open.amount, 0));
        self.keep_claim(&open, call, true);
        let bill = Bill {
            price: open.amount,
            asked: open.amount,
            held: open.amount,
            review: true,
            ..Bill::of(open.who, (open.chain, open.legs.clone()), Status::Expired, ASKED)
        };
        self.put(call, Life::Ended(bill));
    }

    fn refuse(&mut self, call: Id<Call>, who: &Who, code: &str, told: &Result<(), StoreError>) -> Verdict {
        match self.calls.get(&call) {
            Some(Life::Ended(bill)) if bill.status == Status::Refused && bill.who.key == who.key => {
                ensure!(told.is_ok(), "a refusal was not told again: {told:?}");
            }
            Some(_) => ensure!(matches!(told, Err(StoreError::Conflict(_))), "a call was refused after all: {told:?}"),
            None => {
                ensure!(told.is_ok(), "a refusal failed: {told:?}");
                self.entry(who.org, "BLOCK", call.to_string());
                let reason = Some(code.to_owned());
                let bill =
                    Bill { reason, ..Bill::of(*who, (ChainId::leaf(who.wallet), Vec::new()), Status::Refused, ASKED) };
                self.put(call, Life::Ended(bill));
            }
        }
        Ok(())
    }

    fn refund(
        &mut self,
        (id, org): (Id<JournalRow>, Id<Org>),
        call: Id<Call>,
        asked: Option<i64>,
        reason: &'static str,
        told: &Result<ReceiptRow, RefundError>,
    ) -> Verdict {
        if let Some(code) = told.as_ref().err().and_then(RefundError::code) {
            // It failed, and that is told.
            self.entry(org, "REFUND_FAILED", call.to_string());
            if self.calls.contains_key(&call) {
                self.failed.insert((id, code));
            }
        }
        let bill = match (self.calls.get(&call).cloned(), told) {
            (None, Err(RefundError::UnknownCall(_))) => return Ok(()),
            (Some(Life::Open(_)), Err(RefundError::Running(_))) => return Ok(()),
            (Some(Life::Ended(bill)), _) => bill,
            (life, _) => return Err(format!("refund of {life:?} was answered {told:?}")),
        };
        if let Some(done) = self.refunds.get(&id) {
            if *done == (call, asked, reason) {
                return self.same_receipt(call, &bill, &told.clone().map_err(|_| StoreError::Closed));
            }
            ensure!(matches!(told, Err(RefundError::Conflict(_))), "another refund of the same id: {told:?}");
            return Ok(());
        }
        let refundable = bill.price - bill.refunded;
        let amount = asked.map_or(refundable, i128::from);
        if amount > refundable || amount <= 0 {
            ensure!(matches!(told, Err(RefundError::TooMuch { .. })), "{amount} of {refundable} refunded: {told:?}");
            return Ok(());
        }
        self.refunds.insert(id, (call, asked, reason));
        self.entry(bill.who.org, "REFUND", call.to_string());
        self.shift(&bill.legs, 0, -amount);
        self.post_overrun("refund", bill.chain, &bill.legs, call, (0, -amount, 0));
        let bill = Bill { refunded: bill.refunded + amount, review: false, ..bill };
        self.put(call, Life::Ended(bill.clone()));
        self.same_receipt(call, &bill, &told.clone().map_err(|_| StoreError::Closed))
    }

    fn fund(
        &mut self,
        org: Id<Org>,
        wallet: Id<Wallet>,
        amount: i64,
        reference: &str,
        told: &Result<(), FundError>,
    ) -> Verdict {
        if let Some(done) = self.fundings.get(reference) {
            let same = *done == (wallet, amount);
            let right = if same { told.is_ok() } else { matches!(told, Err(FundError::Conflict)) };
            ensure!(right, "funding twice, same content {same}: {told:?}");
            return Ok(());
        }
        let Some(terms) = self.terms.get_mut(&wallet) else {
            ensure!(matches!(told, Err(FundError::UnknownWallet(_))), "an unknown wallet was funded: {told:?}");
            return Ok(());
        };
        if terms.closed {
            ensure!(matches!(told, Err(FundError::Closed(_))), "a closed wallet was funded: {told:?}");
            return Ok(());
        }
        let Some(funded) = terms.funded.plus(Money::from_nanos(amount)) else {
            ensure!(matches!(told, Err(FundError::Amount(_))), "more than can be told was funded: {told:?}");
            return Ok(());
        };
        ensure!(told.is_ok(), "funding failed: {told:?}");
        terms.funded = funded;
        self.moved.funded.insert(wallet);
        self.fundings.insert(reference.to_owned(), (wallet, amount));
        self.entry(org, "FUND", wallet.to_string());
        self.post("fund", format!("solo_{wallet}"), &[], None, (0, 0, i128::from(amount)));
        Ok(())
    }

    /// Something delivered elsewhere is charged where it fits, once for each reference.
    fn charge(
        &mut self,
        charge: (Id<Call>, Who, bool, i64, i64),
        reference: &str,
        at: Timestamp,
        told: &Result<Id<Call>, ChargeError>,
    ) -> Verdict {
        let (call, who, keyed, cost, price) = charge;
        if let Some(done) = self.charges.get(reference) {
            // On nobody's behalf, any key of the wallet is none.
            let who = if keyed { who } else { Who { key: done.1.key, ..who } };
            let right = match told {
                Ok(first) => *done == (done.0, who, keyed, cost, price) && *first == done.0,
                Err(ChargeError::Reference(first)) => *done != (done.0, who, keyed, cost, price) && *first == done.0,
                Err(_) => false,
            };
            ensure!(right, "a reference charged again was answered {told:?}, before {done:?}");
            return Ok(());
        }
        if self.calls.contains_key(&call) {
            ensure!(matches!(told, Err(ChargeError::Conflict(_))), "a call was charged again: {told:?}");
            return Ok(());
        }
        let legs = self.legs(&who, &[], at).ok_or("a charge of a wallet that is not there")?;
        let error = match told {
            Ok(_) => None,
            Err(ChargeError::OverLimit(over)) => Some(ReserveError::OverLimit(*over)),
            Err(ChargeError::Suspended { wallet }) => Some(ReserveError::Suspended { wallet: *wallet }),
            Err(ChargeError::Closed { wallet }) => Some(ReserveError::Closed { wallet: *wallet }),
            Err(error) => return Err(format!("a charge was answered {error:?}")),
        };
        self.admission(&legs, i128::from(price), error.as_ref())?;
        if let Some(error) = error {
            self.entry(who.org, "BLOCK", call.to_string());
            self.alert_limit(&error, at);
            return Ok(());
        }
        let (chain, amount) = (ChainId::leaf(who.wallet), i128::from(price));
        self.entry(who.org, "CHARGE", call.to_string());
        self.shift(&legs, 0, amount);
        self.warn(&legs, who.org, call);
        self.post("charge", chain.to_string(), &legs, Some(call), (0, amount, 0));
        self.charges.insert(reference.to_owned(), charge);
        let who = if keyed { who } else { Who { key: NO_KEY, ..who } };
        let (cost, price) = (i128::from(cost), amount);
        let bill = Bill { cost, price, asked: price, ..Bill::of(who, (chain, legs), Status::Settled, ASKED) };
        self.put(call, Life::Ended(bill));
        Ok(())
    }

    /// What was charged is brought to the true price, beside what was booked.
    fn correct(
        &mut self,
        id: Id<JournalRow>,
        content: (Id<Call>, i64, i64, &'static str),
        told: &Result<ReceiptRow, CorrectError>,
    ) -> Verdict {
        let (call, cost, price, _) = content;
        let bill = match (self.calls.get(&call).cloned(), told) {
            (None, Err(CorrectError::UnknownCall(_))) => return Ok(()),
            (Some(Life::Open(_)), Err(CorrectError::Running(_))) => return Ok(()),
            (Some(Life::Ended(bill)), _) => bill,
            (life, _) => return Err(format!("correction of {life:?} was answered {told:?}")),
        };
        let bill = match self.corrections.get(&id) {
            Some(done) if *done == content => bill,
            Some(_) => {
                ensure!(matches!(told, Err(CorrectError::Conflict(_))), "another correction of the id: {told:?}");
                return Ok(());
            }
            None if !matches!(bill.status, Status::Settled | Status::Expired) => {
                ensure!(matches!(told, Err(CorrectError::NotCharged(_))), "what was free was corrected: {told:?}");
                return Ok(());
            }
            None => {
                self.corrections.insert(id, content);
                let record = if bill.status == Status::Expired { ENDED.to_owned() } else { bill.record.clone() };
                let how = How { status: Status::Settled, price: i128::from(price), reason: bill.reason.clone() };
                self.adjust(call, bill, &how, i128::from(cost), &record)
            }
        };
        self.same_receipt(call, &bill, &told.clone().map_err(|_| StoreError::Closed))
    }

    /// The full charge of an expired hold stands.
    fn confirm(&mut self, call: Id<Call>, told: &Result<ReceiptRow, ConfirmError>) -> Verdict {
        let bill = match (self.calls.get(&call).cloned(), told) {
            (None, Err(ConfirmError::UnknownCall(_))) => return Ok(()),
            (Some(Life::Ended(bill)), _) if bill.status == Status::Expired => bill,
            (Some(_), Err(ConfirmError::NotExpired(_))) => return Ok(()),
            (life, _) => return Err(format!("confirmation of {life:?} was answered {told:?}")),
        };
        let bill = if bill.review {
            self.entry(bill.who.org, "CONFIRM", call.to_string());
            let bill = Bill { review: false, ..bill };
            self.put(call, Life::Ended(bill.clone()));
            bill
        } else {
            bill
        };
        self.same_receipt(call, &bill, &told.clone().map_err(|_| StoreError::Closed))
    }

    /// Idempotency keys that no longer bind anybody are forgotten.
    pub fn forget(&mut self, before: Timestamp) {
        self.claims.retain(|_, row| row.at >= before);
    }

    fn keep_claim(&mut self, open: &Open, call: Id<Call>, charged: bool) {
        let Some(claim) = open.claim else { return };
        let place = (open.who.key, claim.name);
        let Some(row) = self.claims.get_mut(&place).filter(|row| row.call == call) else { return };
        row.charged = charged;
        if !charged {
            self.claims.remove(&place);
        }
        self.moved.claims.insert(place);
    }

    /// Every wallet past a soft limit is named with the highest; the first time in a window each is also written down.
    fn hold_more(
        &mut self,
        legs: &[Leg],
        amount: i128,
        who: &Who,
        call: Id<Call>,
        warnings: &[SoftWarning],
    ) -> Verdict {
        self.shift(legs, amount, 0);
        let due = self.warn(legs, who.org, call);
        let told: Vec<_> = warnings.iter().map(|it| (it.wallet, it.soft_limit, nanos(it.used))).collect();
        ensure!(told == due, "warned of {told:?} instead of {due:?}");
        Ok(())
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

struct Asked<'a> {
    who: &'a Who,
    extra: &'a [Id<Wallet>],
    worst: i128,
    estimate: Option<Estimate>,
    patient: bool,
    downgraded: bool,
    claim: Option<Claim>,
}

struct Growth<'a> {
    who: &'a Who,
    from: i128,
    to: i128,
    patient: bool,
    at: Timestamp,
}

struct How {
    status: Status,
    price: i128,
    reason: Option<String>,
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

/// The same refusal, told again.
fn alike(one: &ReserveError, other: &ReserveError) -> bool {
    match (one, other) {
        (ReserveError::OverLimit(one), ReserveError::OverLimit(other)) => one == other,
        (ReserveError::Suspended { wallet: one }, ReserveError::Suspended { wallet: other }) => one == other,
        (ReserveError::Closed { wallet: one }, ReserveError::Closed { wallet: other }) => one == other,
        _ => false,
    }
}
