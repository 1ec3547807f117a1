//! One batch, decided: jobs and what was loaded for them in, what to save and what to answer out. No IO.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::alert;
use crate::audit::{self, Actor, Entry, kind};
use crate::book::{self, Denial, Leg, Movement, Op, Terms};
use crate::charge::{ChargeError, ConfirmError, CorrectError};
use crate::clock::Timestamp;
use crate::entropy::Entropy;
use crate::error::{FundError, OverLimit, RefundError, ReserveError, StoreError};
use crate::hold::SoftWarning;
use crate::id::{Call, Id, Key, Org, Wallet};
use crate::life::CLAIM_MICROS;
use crate::money::Money;
use crate::order::Claim;
use crate::queue::{ExpireJob, FundJob, GrowJob, Grown, Job, RefundJob, RefuseJob, ReserveJob, Resolution, ResolveJob};
use crate::rows::{
    AlertRow, ChainId, ClaimRow, Effect, HoldRow, Line, Loaded, Mark, ReceiptRow, RefundRow, Status, legs_text,
};
use crate::window::{Calendar, Window};

/// What each job is told once the batch is durable.
pub(crate) enum Answer {
    Reserve(Result<Taken, ReserveError>),
    Grow(Result<Grown, ReserveError>),
    Resolve(Result<ReceiptRow, StoreError>),
    Done(Result<(), StoreError>),
    Refund(Result<ReceiptRow, RefundError>),
    Fund(Result<(), FundError>),
    Charge(Result<Id<Call>, ChargeError>),
    Correct(Result<ReceiptRow, CorrectError>),
    Confirm(Result<ReceiptRow, ConfirmError>),
}

pub(crate) enum Taken {
    New { amount: Money, warnings: Vec<SoftWarning> },
    Replay(Id<Call>),
}

/// What a refused caller was told, so that it can be told again.
#[derive(Serialize, Deserialize)]
pub(crate) struct Refusal {
    code: String,
    wallet: Id<Wallet>,
    /// What did not fit.
    asked: Money,
    /// What was ordered, where that is more.
    #[serde(default)]
    worst: Option<Money>,
    #[serde(default)]
    limit: Money,
    #[serde(default)]
    spent: Money,
    #[serde(default)]
    held: Money,
    #[serde(default)]
    window: String,
    resets_at: Option<Timestamp>,
    #[serde(default)]
    closed: bool,
}

impl Refusal {
    pub(crate) fn of(error: &ReserveError, asked: Money) -> Option<Refusal> {
        let suspended = |wallet| Refusal {
            code: "wallet_suspended".into(),
            wallet,
            asked,
            worst: None,
            limit: Money::ZERO,
            spent: Money::ZERO,
            held: Money::ZERO,
            window: String::new(),
            resets_at: None,
            closed: false,
        };
        match error {
            ReserveError::Suspended { wallet } => Some(suspended(*wallet)),
            ReserveError::Closed { wallet } => Some(Refusal { closed: true, ..suspended(*wallet) }),
            ReserveError::OverLimit(over) => Some(Refusal {
                code: "budget_exceeded".into(),
                asked: over.asked,
                worst: Some(asked),
                limit: over.limit,
                spent: over.spent,
                held: over.held,
                window: over.window.to_string(),
                resets_at: over.resets_at,
                ..suspended(over.wallet)
            }),
            _ => None,
        }
    }

    fn error(&self) -> ReserveError {
        if self.code == "wallet_suspended" {
            let wallet = self.wallet;
            return if self.closed { ReserveError::Closed { wallet } } else { ReserveError::Suspended { wallet } };
        }
        ReserveError::OverLimit(OverLimit {
            wallet: self.wallet,
            limit: self.limit,
            spent: self.spent,
            held: self.held,
            asked: self.asked,
            window: self.window.parse().unwrap_or(Window::None),
            resets_at: self.resets_at,
        })
    }
}

/// Decides jobs one after the other; each sees what those before it changed.
pub(crate) struct Batch<'a> {
    pub loaded: &'a mut Loaded,
    pub entropy: &'a Entropy,
    pub effect: Effect,
    at_text: String,
}

impl<'a> Batch<'a> {
    pub fn new(loaded: &'a mut Loaded, entropy: &'a Entropy, at: Timestamp) -> Batch<'a> {
        let effect = Effect { at, ..Effect::default() };
        Batch { loaded, entropy, effect, at_text: format!("\"{at}\"") }
    }

    pub fn decide(&mut self, job: &Job) -> Answer {
        match job {
            Job::Reserve(job) => Answer::Reserve(self.reserve(job)),
            Job::Grow(job) => Answer::Grow(self.grow(job)),
            Job::Resolve(job) => Answer::Resolve(self.resolve(job)),
            Job::Record(job) => {
                self.note(&job.entry, job.entry.kind, &[]);
                Answer::Done(Ok(()))
            }
            Job::Refuse(job) => Answer::Done(self.refuse(job)),
            Job::Refund(job) => Answer::Refund(self.refund(job)),
            Job::Fund(job) => Answer::Fund(self.fund(job)),
            Job::Expire(job) => Answer::Done(self.expire(job)),
            Job::Charge(job) => Answer::Charge(self.charge(job)),
            Job::Correct(job) => Answer::Correct(self.correct(job)),
            Job::Confirm(job) => Answer::Confirm(self.confirm(job)),
        }
    }

    fn reserve(&mut self, job: &ReserveJob) -> Result<Taken, ReserveError> {
        if let Some(hold) = self.loaded.holds.get(&job.call) {
            let chain = ChainId::of(job.wallet, &job.extra);
            let same = (hold.key, hold.chain, hold.asked, hold.claim) == (job.key, chain, job.amount, job.claim);
            let again = Taken::New { amount: hold.amount, warnings: Vec::new() };
            return if same { Ok(again) } else { Err(ReserveError::Conflict(job.call)) };
        }
        if let Some(receipt) = self.loaded.receipts.get(&job.call) {
            return Err(told_before(receipt, job).unwrap_or(ReserveError::Conflict(job.call)));
        }
        let name = ChainId::of(job.wallet, &job.extra);
        let chain = self.loaded.chains.get(&name).filter(|chain| chain.org == job.org).cloned();
        let Some(chain) = chain else { return Err(ReserveError::UnknownWallet(job.wallet)) };
        if let Some(claim) = &job.claim
            && let Some(first) = self.claimed(job.key, claim)?
        {
            return Ok(Taken::Replay(first));
        }
        let (amount, estimate, downgraded) = (job.amount, job.estimate, job.downgraded);
        match self.apply(&Op::Reserve { chain: &chain.wallets, amount, estimate, downgraded }) {
            Ok(movement) => Ok(self.take(job, name, movement)),
            Err(Denial::Held(over)) if job.patient => Err(ReserveError::Held(over)),
            Err(denial) => {
                let error = refused(denial, job.amount);
                self.block(job, &error);
                Err(error)
            }
        }
    }

    // A claim that binds: the first call if it was charged.
    fn claimed(&self, key: Id<Key>, claim: &Claim) -> Result<Option<Id<Call>>, ReserveError> {
        let Some(row) = self.loaded.claims.get(&(key, claim.name)) else { return Ok(None) };
        if self.effect.at.micros().saturating_sub(row.at.micros()) >= CLAIM_MICROS {
            return Ok(None);
        }
        if row.body != claim.body {
            return Err(ReserveError::IdempotencyMismatch);
        }
        if row.charged { Ok(Some(row.call)) } else { Err(ReserveError::IdempotencyInProgress) }
    }

    fn take(&mut self, job: &ReserveJob, chain: ChainId, movement: Movement) -> Taken {
        let legs = legs_text(&movement.legs);
        let held = movement.held_delta;
        let mut members = vec![("amount_usd", money(held))];
        if held != job.amount {
            members.push(("worst_usd", money(job.amount)));
        }
        self.note(&job.entry, kind::RESERVE, &members);
        self.warn(job.org, Actor::Key(job.key), Some(job.key), job.call, &movement);
        self.write(&movement, chain.to_string(), legs.clone(), Some(job.call));
        if let Some(claim) = &job.claim {
            let row = ClaimRow { body: claim.body, call: job.call, charged: false, at: self.effect.at };
            self.loaded.claims.insert((job.key, claim.name), row);
            self.effect.claims_put.insert((job.key, claim.name));
        }
        let hold = HoldRow {
            mark: Mark::New,
            call: job.call,
            org: job.org,
            key: job.key,
            wallet: job.wallet,
            chain,
            legs,
            asked: job.amount,
            opened: held,
            amount: held,
            at: self.effect.at,
            expires_at: job.expires_at,
            claim: job.claim,
            record: job.record.clone(),
        };
        self.loaded.holds.insert(job.call, hold);
        Taken::New { amount: held, warnings: movement.warnings }
    }

    fn block(&mut self, job: &ReserveJob, error: &ReserveError) {
        let Some(refusal) = Refusal::of(error, job.amount) else { return };
        self.alert_limit(job.org, error);
        let mut members = refusal_members(&refusal);
        members.push(("amount_usd", money(refusal.asked)));
        self.note(&job.entry, kind::BLOCK, &members);
        let row = ReceiptRow {
            refusal: serde_json::to_string(&refusal).ok(),
            ..self.receipt(job.call, job.org, job.key, job.wallet, Status::Refused, &job.record)
        };
        let row = ReceiptRow { reason: Some(refusal.code), ..row };
        self.loaded.receipts.insert(job.call, row);
    }

    pub(crate) fn receipt(
        &self,
        call: Id<Call>,
        org: Id<Org>,
        key: Id<Key>,
        wallet: Id<Wallet>,
        status: Status,
        record: &Arc<str>,
    ) -> ReceiptRow {
        ReceiptRow {
            mark: Mark::New,
            call,
            org,
            key,
            wallet,
            chain: ChainId::leaf(wallet),
            at: self.effect.at,
            status,
            cost: Money::ZERO,
            price: Money::ZERO,
            overrun: Money::ZERO,
            refunded: Money::ZERO,
            review: false,
            held: Money::ZERO,
            legs: "".into(),
            reason: None,
            refusal: None,
            record: record.clone(),
        }
    }

    fn grow(&mut self, job: &GrowJob) -> Result<Grown, ReserveError> {
        let Some(hold) = self.loaded.holds.get(&job.call) else { return Err(ReserveError::Conflict(job.call)) };
        if hold.amount != job.from {
            // Done before, or the answer to an earlier growth was lost: what is held is told, and whoever needs more asks
            // again from there.
            return Ok(Grown { amount: hold.amount, warnings: Vec::new() });
        }
        let (org, key, chain, legs) = (hold.org, hold.key, hold.chain, hold.legs.clone());
        let by = job.to.minus(job.from).ok_or(ReserveError::Amount(job.to))?;
        let moved = self.legs(chain, &legs).map_err(ReserveError::Store)?;
        match self.apply(&Op::Grow { legs: &moved, by }) {
            Ok(movement) => {
                self.note(&job.entry, kind::GROW, &[]);
                self.warn(org, Actor::Key(key), Some(key), job.call, &movement);
                self.write(&movement, chain.to_string(), legs, Some(job.call));
                if let Some(hold) = self.loaded.holds.get_mut(&job.call) {
                    hold.amount = job.to;
                    hold.mark = if hold.mark == Mark::New { Mark::New } else { Mark::Changed };
                }
                Ok(Grown { amount: job.to, warnings: movement.warnings })
            }
            Err(denial) => {
                let error = refused(denial, by);
                if !job.patient {
                    self.alert_limit(org, &error);
                }
                if let Some(refusal) = Refusal::of(&error, by).filter(|_| !job.patient) {
                    let mut members = refusal_members(&refusal);
                    members.push(("step", audit::quoted("grow")));
                    self.note(&job.entry, kind::BLOCK, &members);
                }
                Err(error)
            }
        }
    }

    fn resolve(&mut self, job: &ResolveJob) -> Result<ReceiptRow, StoreError> {
        if let Some(hold) = self.loaded.holds.get(&job.call).cloned() {
            // Nobody knows whether what is given back was ever made: another's hold by the same name is not it.
            if matches!(job.how, Resolution::GiveBack) && hold.chain != job.chain {
                return Err(StoreError::UnknownCall(job.call));
            }
            return self.resolve_hold(job, &hold);
        }
        let Some(receipt) = self.loaded.receipts.get(&job.call).cloned() else {
            return Err(StoreError::UnknownCall(job.call));
        };
        // Also one that an operator confirmed or refunded meanwhile: the process knows what was truly used.
        if receipt.status == Status::Expired && !matches!(job.how, Resolution::GiveBack) {
            return self.adjust(job, receipt);
        }
        let same = match &job.how {
            Resolution::Settle { price } => {
                let whole = receipt.price <= *price && book::overrun(*price, receipt.price) == Ok(receipt.overrun);
                let told = whole || kept_by_refund(&receipt, *price);
                receipt.status == Status::Settled && told
            }
            Resolution::Release { reason } => {
                receipt.status == Status::Released && receipt.reason.as_ref() == Some(reason)
            }
            Resolution::GiveBack => return Ok(receipt),
        };
        let same = same && receipt.cost == job.cost && receipt.record == job.record;
        if same { Ok(receipt) } else { Err(StoreError::Conflict(job.call)) }
    }

    fn resolve_hold(&mut self, job: &ResolveJob, hold: &HoldRow) -> Result<ReceiptRow, StoreError> {
        let legs = self.legs(hold.chain, &hold.legs)?;
        let (op, status) = match &job.how {
            Resolution::Settle { price } => {
                (Op::Settle { legs: &legs, held: hold.amount, price: *price }, Status::Settled)
            }
            Resolution::Release { .. } | Resolution::GiveBack => {
                (Op::Release { legs: &legs, held: hold.amount }, Status::Released)
            }
        };
        let movement = self.apply(&op).map_err(|_| corrupt(hold))?;
        let record = if job.record.is_empty() { &hold.record } else { &job.record };
        let receipt = ReceiptRow {
            cost: job.cost,
            price: movement.price,
            overrun: movement.overrun,
            chain: hold.chain,
            legs: hold.legs.clone(),
            reason: reason(&job.how),
            ..self.receipt(hold.call, hold.org, hold.key, hold.wallet, status, record)
        };
        self.note_resolution(job, &receipt);
        self.finish(hold, &movement, receipt.clone());
        Ok(receipt)
    }

    fn note_resolution(&mut self, job: &ResolveJob, receipt: &ReceiptRow) {
        if receipt.status == Status::Released {
            self.note(&job.entry, kind::RELEASE, &[]);
        } else {
            let (price, overrun) = (money(receipt.price), money(receipt.overrun));
            self.note(&job.entry, kind::SETTLE, &[("overrun_usd", overrun), ("price_usd", price)]);
        }
    }

    // The hold is gone; its receipt is there; its claim stays with what was charged.
    fn finish(&mut self, hold: &HoldRow, movement: &Movement, receipt: ReceiptRow) {
        self.write(movement, hold.chain.to_string(), hold.legs.clone(), Some(hold.call));
        self.loaded.holds.remove(&hold.call);
        if hold.mark != Mark::New {
            self.effect.holds_gone.push(hold.call);
        }
        self.keep_claim(hold, receipt.status != Status::Released);
        self.loaded.receipts.insert(hold.call, receipt);
    }

    fn keep_claim(&mut self, hold: &HoldRow, charged: bool) {
        let Some(claim) = &hold.claim else { return };
        let name = (hold.key, claim.name);
        let mine = self.loaded.claims.get(&name).is_some_and(|row| row.call == hold.call);
        if charged {
            self.effect.claims_charged.push((hold.key, claim.name, hold.call));
            if let Some(row) = self.loaded.claims.get_mut(&name).filter(|_| mine) {
                row.charged = true;
            }
        } else {
            self.effect.claims_freed.push((hold.key, claim.name, hold.call));
            if mine {
                self.loaded.claims.remove(&name);
            }
        }
    }

    /// The word of a process that was thought lost: the true price replaces the full one.
    fn adjust(&mut self, job: &ResolveJob, was: ReceiptRow) -> Result<ReceiptRow, StoreError> {
        let legs = self.legs(was.chain, &was.legs)?;
        let (price, status) = match &job.how {
            Resolution::Settle { price } => (*price, Status::Settled),
            Resolution::Release { .. } | Resolution::GiveBack => (Money::ZERO, Status::Released),
        };
        let op = Op::Adjust { legs: &legs, booked: was.price, overrun: was.overrun, price, refunded: was.refunded };
        let movement = self.apply(&op).map_err(|_| StoreError::Corrupt(format!("receipt of {}", was.call)))?;
        let members = [
            ("overrun_usd", money(movement.overrun)),
            ("price_usd", money(movement.price)),
            ("was_usd", money(was.price)),
        ];
        self.note(&job.entry, kind::ADJUST, &members);
        self.write(&movement, was.chain.to_string(), was.legs.clone(), Some(was.call));
        let receipt = ReceiptRow {
            mark: was.changed(),
            at: self.effect.at,
            status,
            cost: job.cost,
            price: movement.price,
            overrun: movement.overrun,
            review: false,
            reason: reason(&job.how),
            record: job.record.clone(),
            ..was
        };
        if status == Status::Released {
            // It was kept as charged when the hold expired; which it was, its hold took along.
            self.loaded.claims.retain(|_, row| row.call != receipt.call);
            self.effect.claims_dropped.push((receipt.key, receipt.call));
        }
        self.loaded.receipts.insert(job.call, receipt.clone());
        Ok(receipt)
    }

    fn expire(&mut self, job: &ExpireJob) -> Result<(), StoreError> {
        let Some(hold) = self.loaded.holds.get(&job.call).cloned() else { return Ok(()) }; // resolved meanwhile
        let legs = self.legs(hold.chain, &hold.legs)?;
        let movement = self.apply(&Op::Expire { legs: &legs, held: hold.amount }).map_err(|_| corrupt(&hold))?;
        let receipt = ReceiptRow {
            price: movement.price,
            held: hold.amount,
            review: true,
            chain: hold.chain,
            legs: hold.legs.clone(),
            ..self.receipt(hold.call, hold.org, hold.key, hold.wallet, Status::Expired, &hold.record)
        };
        self.note(&job.entry, kind::EXPIRE, &[("price_usd", money(receipt.price))]);
        self.finish(&hold, &movement, receipt);
        Ok(())
    }

    fn refuse(&mut self, job: &RefuseJob) -> Result<(), StoreError> {
        if let Some(receipt) = self.loaded.receipts.get(&job.call) {
            let same = receipt.status == Status::Refused && receipt.key == job.key;
            return if same { Ok(()) } else { Err(StoreError::Conflict(job.call)) };
        }
        if self.loaded.holds.contains_key(&job.call) {
            return Err(StoreError::Conflict(job.call));
        }
        self.note(&job.entry, kind::BLOCK, &[]);
        let row = ReceiptRow {
            reason: Some(job.code.clone()),
            ..self.receipt(job.call, job.org, job.key, job.wallet, Status::Refused, &job.record)
        };
        self.loaded.receipts.insert(job.call, row);
        Ok(())
    }

    /// A refund that fails is never silent: whoever waits for the money would else hear of it last.
    fn refund(&mut self, job: &RefundJob) -> Result<ReceiptRow, RefundError> {
        let done = self.repay(job);
        let Err(error) = &done else { return done };
        let Some(code) = error.code() else { return done };
        let asked = job.amount.map_or_else(|| audit::quoted("all"), money);
        self.note(&job.entry, kind::REFUND_FAILED, &[("amount_usd", asked), ("code", audit::quoted(code))]);
        let receipt = self.loaded.receipts.get(&job.call).map(|receipt| (receipt.org, receipt.wallet));
        let hold = self.loaded.holds.get(&job.call).map(|hold| (hold.org, hold.wallet));
        if let Some((org, wallet)) = receipt.or(hold) {
            let content =
                json!({ "request_id": job.call, "refund_id": job.id, "amount_usd": job.amount, "code": code });
            self.tell(org, wallet, alert::REFUND_FAILED, &format!("{} {code}", job.id), &content);
        }
        done
    }

    fn repay(&mut self, job: &RefundJob) -> Result<ReceiptRow, RefundError> {
        let Some(was) = self.loaded.receipts.get(&job.call).cloned() else {
            let running = self.loaded.holds.contains_key(&job.call);
            return Err(if running { RefundError::Running(job.call) } else { RefundError::UnknownCall(job.call) });
        };
        if let Some(done) = self.loaded.refunds.get(&job.id) {
            let same = (done.call, done.asked, &done.reason) == (job.call, job.amount, &job.reason);
            return if same { Ok(was) } else { Err(RefundError::Conflict(job.id)) };
        }
        let refundable = was.price.minus(was.refunded).unwrap_or(Money::ZERO);
        let amount = job.amount.unwrap_or(refundable);
        if amount > refundable || amount <= Money::ZERO {
            return Err(RefundError::TooMuch { asked: amount, refundable });
        }
        let legs = self.legs(was.chain, &was.legs)?;
        let corrupt = |_| StoreError::Corrupt(format!("receipt of {}", was.call));
        let movement = self.apply(&Op::Refund { legs: &legs, amount }).map_err(corrupt)?;
        let total = was.refunded.plus(amount).unwrap_or(was.price);
        self.note(&job.entry, kind::REFUND, &[("amount_usd", money(amount)), ("refunded_usd", money(total))]);
        self.write(&movement, was.chain.to_string(), was.legs.clone(), Some(was.call));
        let row = RefundRow { call: job.call, asked: job.amount, amount, reason: job.reason.clone() };
        self.loaded.refunds.insert(job.id, row.clone());
        self.effect.refunds.push((job.id, row));
        let receipt = ReceiptRow { mark: was.changed(), refunded: total, review: false, ..was };
        self.loaded.receipts.insert(job.call, receipt.clone());
        Ok(receipt)
    }

    fn fund(&mut self, job: &FundJob) -> Result<(), FundError> {
        let reference = (job.source.clone(), job.reference.clone());
        if let Some(&done) = self.loaded.fundings.get(&reference) {
            return if done == (job.wallet, job.amount) { Ok(()) } else { Err(FundError::Conflict) };
        }
        let movement =
            self.apply(&Op::Fund { wallet: job.wallet, amount: job.amount }).map_err(|denial| match denial {
                Denial::Unknown(wallet) => FundError::UnknownWallet(wallet),
                Denial::Closed(wallet) => FundError::Closed(wallet),
                _ => FundError::Amount(job.amount),
            })?;
        self.note(&job.entry, kind::FUND, &[]);
        self.write(&movement, format!("solo_{}", job.wallet), legs_text(&movement.legs), None);
        self.effect.fundings.push((reference.0.clone(), reference.1.clone(), job.wallet, job.amount));
        self.loaded.fundings.insert(reference, (job.wallet, job.amount));
        Ok(())
    }

    pub(crate) fn apply(&mut self, op: &Op<'_>) -> Result<Movement, Denial> {
        book::apply(&mut self.loaded.wallets, self.effect.at, op)
    }

    pub(crate) fn legs(&self, chain: ChainId, text: &str) -> Result<Vec<Leg>, StoreError> {
        let found = self.loaded.chains.get(&chain);
        found.ok_or_else(|| StoreError::Corrupt(format!("chain {chain}")))?.legs(text)
    }

    /// Every movement has its row in the journal.
    pub(crate) fn write(&mut self, movement: &Movement, chain: String, legs: Arc<str>, call: Option<Id<Call>>) {
        self.effect.overrun = self.effect.overrun.plus(movement.overrun_delta).unwrap_or(Money::MAX);
        self.effect.journal.push(Line {
            id: Id::new(self.effect.at, self.entropy.bytes()),
            kind: movement.kind,
            chain,
            legs,
            call,
            held_delta: movement.held_delta,
            spent_delta: movement.spent_delta,
            funded_delta: movement.funded_delta,
            overrun: movement.overrun_delta,
        });
    }

    /// Every change has its entry in the audit log.
    pub(crate) fn note(&mut self, entry: &Entry, kind: &'static str, members: &[(&'static str, String)]) {
        let head = self.loaded.heads.entry(entry.chain.clone()).or_insert((0, audit::GENESIS));
        let sealed = audit::seal(entry, kind, members, (self.effect.at, &self.at_text), head.0 + 1, head.1);
        *head = (sealed.seq, sealed.hash);
        self.effect.audit.push(sealed);
    }

    /// `actor` spends; on behalf of `key`, if it is a key's call.
    pub(crate) fn warn(
        &mut self,
        org: Id<Org>,
        actor: Actor,
        key: Option<Id<Key>>,
        call: Id<Call>,
        movement: &Movement,
    ) {
        for warning in &movement.crossed {
            let mut entry = Entry::new(Some(org), kind::WARN, actor)
                .text("request_id", call)
                .text("wallet_id", warning.wallet)
                .text("soft_limit_usd", warning.soft_limit)
                .text("used_usd", warning.used);
            if let Some(key) = key {
                entry.put_text("key_id", key);
            }
            self.note(&entry, kind::WARN, &[]);
            let leg = movement.legs.iter().find(|leg| leg.wallet == warning.wallet);
            let window = leg.map_or(Calendar::default().period(self.effect.at), |leg| leg.window);
            let content =
                json!({ "limit_usd": warning.soft_limit, "used_usd": warning.used, "window": window.kind().as_str() });
            self.alert(org, warning.wallet, alert::SOFT_LIMIT, (window.key(), warning.soft_limit), content);
        }
    }

    /// The first call that a limit refuses in a window is worth telling, and the first one when nearly nothing is left: one
    /// that was simply too large must not keep the real end from being told. The next ones are not.
    pub(crate) fn alert_limit(&mut self, org: Id<Org>, error: &ReserveError) {
        let ReserveError::OverLimit(over) = error else { return };
        let by = self.loaded.wallets.terms.get(&over.wallet).map_or("hard_limit", |terms| barred_by(terms, over.limit));
        let content = json!({
            "by": by, "limit_usd": over.limit, "spent_usd": over.spent, "held_usd": over.held, "window": over.window.as_str(),
            "resets_at": over.resets_at.map(|at| at.to_string()),
        });
        let calendar = self.loaded.wallets.terms.get(&over.wallet).map_or_else(Calendar::default, |terms| terms.window);
        let window = calendar.period(self.effect.at).key();
        let about = format!("{window} {}{}", over.limit.nanos(), if over.is_used_up() { " used up" } else { "" });
        self.tell(org, over.wallet, alert::HARD_LIMIT, &about, &content);
    }

    /// Into the outbox, once: what is told is named by what it is about.
    fn alert(&mut self, org: Id<Org>, wallet: Id<Wallet>, kind: &'static str, about: (i64, Money), content: Value) {
        self.tell(org, wallet, kind, &format!("{} {}", about.0, about.1.nanos()), &content);
    }

    fn tell(&mut self, org: Id<Org>, wallet: Id<Wallet>, kind: &'static str, about: &str, content: &Value) {
        let digest: [u8; 32] = Sha256::digest(format!("{kind} {wallet} {about}").as_bytes()).into();
        let id = Id::from_uuid(uuid::Uuid::from_slice(digest.split_at(16).0).unwrap_or_default());
        if self.effect.alerts.iter().all(|other| other.id != id) {
            let content = content.to_string();
            self.effect.alerts.push(AlertRow { id, org, wallet: Some(wallet), kind, content });
        }
    }
}

/// Whether a true price was told of an expired hold that was refunded by more: then what was refunded stays charged, and the
/// settlement said again is the same all the same.
fn kept_by_refund(receipt: &ReceiptRow, price: Money) -> bool {
    receipt.held > Money::ZERO && price < receipt.price && receipt.price == receipt.refunded
}

fn told_before(receipt: &ReceiptRow, job: &ReserveJob) -> Option<ReserveError> {
    let refusal: Refusal = serde_json::from_str(receipt.refusal.as_deref()?).ok()?;
    let ordered = refusal.worst.unwrap_or(refusal.asked);
    let same = (receipt.key, receipt.wallet, ordered) == (job.key, job.wallet, job.amount);
    same.then(|| refusal.error())
}

pub(crate) fn refused(denial: Denial, amount: Money) -> ReserveError {
    match denial {
        Denial::OverLimit(over) | Denial::Held(over) => ReserveError::OverLimit(over),
        Denial::Suspended(wallet) => ReserveError::Suspended { wallet },
        Denial::Closed(wallet) => ReserveError::Closed { wallet },
        Denial::Downgrade(wallet) => ReserveError::Downgrade { wallet },
        Denial::Unknown(wallet) => ReserveError::UnknownWallet(wallet),
        Denial::TooLarge => ReserveError::Amount(amount),
    }
}

pub(crate) fn refusal_members(refusal: &Refusal) -> Vec<(&'static str, String)> {
    let mut members =
        vec![("blocked_wallet_id", audit::quoted(&refusal.wallet.to_string())), ("code", audit::quoted(&refusal.code))];
    if refusal.code == "budget_exceeded" {
        members.push(("limit_usd", money(refusal.limit)));
        members.push(("spent_usd", money(refusal.spent)));
        members.push(("used_held_usd", money(refusal.held)));
    }
    members
}

fn reason(how: &Resolution) -> Option<String> {
    match how {
        Resolution::Settle { .. } => None,
        Resolution::Release { reason } => Some(reason.clone()),
        Resolution::GiveBack => Some("caller_left".to_owned()),
    }
}

/// Which of a wallet's limits it is. Hard limits and funds are looked at first: of equal ones, it is they.
fn barred_by(terms: &Terms, limit: Money) -> &'static str {
    let hard = terms.hard_limit == Some(limit) || (terms.prepaid && terms.funded == limit);
    if terms.blocks_at() == Some(limit) && !hard { "soft_limit" } else { "hard_limit" }
}

fn corrupt(hold: &HoldRow) -> StoreError {
    StoreError::Corrupt(format!("hold of {}", hold.call))
}

pub(crate) fn money(amount: Money) -> String {
    format!("\"{amount}\"")
}
