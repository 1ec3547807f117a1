//! How calls end, and what is done about them afterwards. The contract's rules 2 and 3.

use super::*;

pub(super) struct How {
    pub status: Status,
    pub price: i128,
    pub reason: Option<String>,
}

impl Books {
    pub(super) fn resolve(
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
    pub(super) fn end(&mut self, call: Id<Call>, open: &Open, how: &How, cost: i128, record: &str) -> Bill {
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
    pub(super) fn adjust(&mut self, call: Id<Call>, was: Bill, how: &How, cost: i128, record: &str) -> Bill {
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

    pub(super) fn give_back(
        &mut self,
        call: Id<Call>,
        chain: ChainId,
        told: &Result<ReceiptRow, StoreError>,
    ) -> Verdict {
        let bill = match self.calls.get(&call).cloned() {
            // Not there, or another's by the same name.
            Some(Life::Open(open)) if open.chain != chain => {
                ensure!(matches!(told, Err(StoreError::UnknownCall(_))), "another's hold came back: {told:?}");
                return Ok(());
            }
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

    pub(super) fn expire(&mut self, call: Id<Call>) {
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

    pub(super) fn refuse(&mut self, call: Id<Call>, who: &Who, code: &str, told: &Result<(), StoreError>) -> Verdict {
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

    pub(super) fn refund(
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

    /// What was charged is brought to the true price, beside what was booked.
    pub(super) fn correct(
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
    pub(super) fn confirm(&mut self, call: Id<Call>, told: &Result<ReceiptRow, ConfirmError>) -> Verdict {
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

    pub(super) fn keep_claim(&mut self, open: &Open, call: Id<Call>, charged: bool) {
        let Some(claim) = open.claim else { return };
        let place = (open.who.key, claim.name);
        let Some(row) = self.claims.get_mut(&place).filter(|row| row.call == call) else { return };
        row.charged = charged;
        if !charged {
            self.claims.remove(&place);
        }
        self.moved.claims.insert(place);
    }
}
