//! Decisions about money that no hold stands for: a charge by API, a correction, a confirmation. No IO.

use std::sync::Arc;

use serde_json::Value;

use crate::audit::kind;
use crate::batch::{Batch, Refusal, money, refusal_members, refused};
use crate::book::{Denial, Op};
use crate::charge::{ChargeError, ConfirmError, CorrectError, Correction};
use crate::error::StoreError;
use crate::id::{Call, Id};
use crate::queue::{ChargeJob, ConfirmJob, CorrectJob};
use crate::rows::{ChainId, ChargeRow, CorrectionRow, Mark, NO_KEY, ReceiptRow, Status, legs_text};

impl Batch<'_> {
    /// The call whose receipt answers: of the first charge of this reference.
    pub(crate) fn charge(&mut self, job: &ChargeJob) -> Result<Id<Call>, ChargeError> {
        let charge = job.name();
        let row = ChargeRow {
            call: job.call,
            wallet: job.wallet,
            key: job.key.unwrap_or(NO_KEY),
            cost: job.cost,
            price: job.price,
            reason: job.told.reason.clone(),
        };
        if let Some(done) = self.loaded.charges.get(&charge) {
            let same = ChargeRow { call: done.call, ..row } == *done;
            return if same { Ok(done.call) } else { Err(ChargeError::Reference(done.call)) };
        }
        if self.loaded.holds.contains_key(&job.call) || self.loaded.receipts.contains_key(&job.call) {
            return Err(ChargeError::Conflict(job.call));
        }
        let name = ChainId::leaf(job.wallet);
        let chain = self.loaded.chains.get(&name).filter(|chain| chain.org == job.org).cloned();
        let Some(chain) = chain else { return Err(ChargeError::UnknownWallet(job.wallet)) };
        let movement = match self.apply(&Op::Charge { chain: &chain.wallets, price: job.price }) {
            Ok(movement) => movement,
            Err(denial) => {
                let error = refused(denial, job.price);
                self.alert_limit(job.org, &error);
                if let Some(refusal) = Refusal::of(&error, job.price) {
                    self.note(&job.entry, kind::BLOCK, &refusal_members(&refusal));
                }
                return Err(match denial {
                    Denial::OverLimit(over) | Denial::Held(over) => ChargeError::OverLimit(over),
                    // No plan is asked of a charge, so that none is too dear.
                    Denial::Suspended(wallet) | Denial::Downgrade(wallet) => ChargeError::Suspended { wallet },
                    Denial::Closed(wallet) => ChargeError::Closed { wallet },
                    Denial::Unknown(wallet) => ChargeError::UnknownWallet(wallet),
                    Denial::TooLarge => ChargeError::Amount(job.price),
                });
            }
        };
        let legs = legs_text(&movement.legs);
        self.note(&job.entry, kind::CHARGE, &[]);
        self.warn(job.org, job.actor, job.key, job.call, &movement);
        self.write(&movement, name.to_string(), legs.clone(), Some(job.call));
        let receipt = ReceiptRow {
            cost: job.cost,
            price: movement.price,
            legs,
            ..self.receipt(job.call, job.org, row.key, job.wallet, Status::Settled, &job.record)
        };
        self.loaded.receipts.insert(job.call, receipt);
        self.loaded.charges.insert(charge.clone(), row.clone());
        self.effect.charges.push((charge, row));
        Ok(job.call)
    }

    /// A receipt brought to the true price, with the correction beside it.
    pub(crate) fn correct(&mut self, job: &CorrectJob) -> Result<ReceiptRow, CorrectError> {
        let asked = &job.correction;
        let Some(was) = self.loaded.receipts.get(&asked.call).cloned() else {
            let running = self.loaded.holds.contains_key(&asked.call);
            return Err(if running {
                CorrectError::Running(asked.call)
            } else {
                CorrectError::UnknownCall(asked.call)
            });
        };
        if let Some(done) = self.loaded.corrections.get(&asked.id) {
            return if done.is(asked) { Ok(was) } else { Err(CorrectError::Conflict(asked.id)) };
        }
        if !matches!(was.status, Status::Settled | Status::Expired) {
            return Err(CorrectError::NotCharged(asked.call));
        }
        let legs = self.legs(was.chain, &was.legs)?;
        let op = Op::Adjust {
            legs: &legs,
            booked: was.price,
            overrun: was.overrun,
            price: asked.price,
            refunded: was.refunded,
        };
        let corrupt = || StoreError::Corrupt(format!("receipt of {}", was.call));
        let movement = self.apply(&op).map_err(|_| CorrectError::Price(asked.price))?;
        let record = corrected(&was, asked).ok_or_else(corrupt)?;
        let members = [
            ("overrun_usd", money(movement.overrun)),
            ("price_usd", money(movement.price)),
            ("was_cost_usd", money(was.cost)),
            ("was_usd", money(was.price)),
        ];
        self.note(&job.entry, kind::ADJUST, &members);
        self.write(&movement, was.chain.to_string(), was.legs.clone(), Some(was.call));
        let row = CorrectionRow {
            call: asked.call,
            asked: asked.price,
            cost: asked.cost,
            price: movement.price,
            overrun: movement.overrun,
            was_cost: was.cost,
            was_price: was.price,
            was_overrun: was.overrun,
            was_record: was.record.clone(),
            reason: asked.reason.clone(),
            price_version: asked.price_version.clone(),
            usage: asked.usage,
        };
        self.loaded.corrections.insert(asked.id, row.clone());
        self.effect.corrections.push((asked.id, row));
        let receipt = ReceiptRow {
            mark: was.changed(),
            at: self.effect.at,
            // An operator's word ends an expired hold as its process's would have.
            status: Status::Settled,
            cost: asked.cost,
            price: movement.price,
            overrun: movement.overrun,
            review: false,
            record,
            ..was
        };
        self.loaded.receipts.insert(asked.call, receipt.clone());
        Ok(receipt)
    }

    /// An expired receipt that somebody looked at.
    pub(crate) fn confirm(&mut self, job: &ConfirmJob) -> Result<ReceiptRow, ConfirmError> {
        let Some(was) = self.loaded.receipts.get(&job.call).cloned() else {
            let running = self.loaded.holds.contains_key(&job.call);
            return Err(if running { ConfirmError::NotExpired(job.call) } else { ConfirmError::UnknownCall(job.call) });
        };
        if was.status != Status::Expired {
            return Err(ConfirmError::NotExpired(job.call));
        }
        if !was.review {
            return Ok(was); // said before, or refunded since
        }
        self.note(&job.entry, kind::CONFIRM, &[("price_usd", money(was.price))]);
        let receipt = ReceiptRow { mark: was.changed(), review: false, ..was };
        self.loaded.receipts.insert(job.call, receipt.clone());
        Ok(receipt)
    }
}

impl ReceiptRow {
    /// Its mark once something of it is changed.
    pub(crate) fn changed(&self) -> Mark {
        if self.mark == Mark::New { Mark::New } else { Mark::Changed }
    }
}

impl CorrectionRow {
    /// Whether this is what was asked.
    fn is(&self, asked: &Correction) -> bool {
        (self.call, self.asked, self.cost) == (asked.call, asked.price, asked.cost)
            && (&self.reason, &self.price_version, &self.usage) == (&asked.reason, &asked.price_version, &asked.usage)
    }
}

/// The record with the usage and the price list that now hold. That of an expired hold was made before its end.
fn corrected(was: &ReceiptRow, asked: &Correction) -> Option<Arc<str>> {
    let expired = was.status == Status::Expired;
    if asked.usage.is_none() && asked.price_version.is_none() && !expired {
        return Some(was.record.clone());
    }
    let text = if was.record.is_empty() { "{}" } else { &was.record };
    let mut record: Value = serde_json::from_str(text).ok()?;
    let members = record.as_object_mut()?;
    if let Some(usage) = &asked.usage {
        members.insert("usage".to_owned(), serde_json::to_value(usage).ok()?);
        members.shift_remove("counted"); // it was of the use that is put right
    }
    if let Some(version) = &asked.price_version {
        members.insert("price_version".to_owned(), version.as_str().into());
    }
    if expired {
        members.insert("ending".to_owned(), "expired".into());
    }
    Some(record.to_string().into())
}
