//! The door of the ledger: opening and closing it, and handing work to its writer.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use tokio::sync::{oneshot, watch};

use crate::audit::{Actor, Entry, kind};
use crate::book::MOST_OVERRUN;
use crate::clock::{Clock, Timestamp};
use crate::entropy::Entropy;
use crate::error::{FundError, RefundError, ReserveError, StoreError, Unready};
use crate::hold::Hold;
use crate::id::{Id, Instance, Kind, Wallet};
use crate::life::{self, Life};
use crate::money::Money;
use crate::order::{Charge, Fund, Order, Receipt, Refund, RefusedCall, Release, Reserved};
use crate::queue::{
    FundJob, GrowJob, Job, Pending, Queue, RecordJob, RefundJob, RefuseJob, ReserveJob, Resolution, ResolveJob,
};
use crate::record::CallRecord;
use crate::store::journal::{self, JournalEntry, Standing};
use crate::store::receipts::Receipts;
use crate::store::trail::Trail;
use crate::store::{Database, Place, values};
use crate::watch::Watch;

/// How to open a ledger.
#[derive(Debug, Clone)]
pub struct Options {
    /// `sqlite://path` or `postgres://…`.
    pub url: String,
    pub clock: Clock,
    pub entropy: Entropy,
    /// Holds that may be open at a time; each keeps a place for its settlement.
    pub holds_in_flight: usize,
    /// Jobs that may wait for the writer, settlements apart.
    pub queue: usize,
}

impl Options {
    /// The system's clock and randomness, and bounds for a machine of any size.
    pub fn new(url: impl Into<String>) -> Options {
        Options {
            url: url.into(),
            clock: Clock::system(),
            entropy: Entropy::system(),
            holds_in_flight: 16_384,
            queue: 8_192,
        }
    }
}

/// The revision of the configuration as it was last read, and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Confirmed {
    pub revision: i64,
    pub at: Timestamp,
}

/// Numbers for the metrics page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gauges {
    /// Jobs waiting for the writer, settlements apart.
    pub queue_depth: usize,
    /// Settlements and releases that are not durable yet.
    pub settlements_waiting: usize,
    pub holds_in_flight: usize,
    pub reserves: u64,
    pub refusals: u64,
    pub settles: u64,
    pub releases: u64,
    pub batches: u64,
    /// What this process booked as overrun since it started.
    pub overrun: Money,
}

/// The system of record. Cheap to clone.
#[derive(Clone)]
pub struct Ledger(Arc<Inner>);

struct Inner {
    clock: Clock,
    entropy: Entropy,
    database: Database,
    queue: Arc<Queue>,
    life: Life,
    watch: Arc<Watch>,
    secret: [u8; 32],
    confirmed: watch::Sender<Confirmed>,
}

impl Ledger {
    /// Opens the database, brings it to this version, settles what a lost process left behind, and starts the writer.
    pub async fn open(options: Options) -> Result<Ledger, StoreError> {
        let Options { url, clock, entropy, holds_in_flight, queue } = options;
        let place = Place::parse(&url)?;
        let lock = life::lock(&place)?.map(Arc::new);
        let database = Database::connect(&place).await?;
        database.migrate().await?;
        let secret = ensure_secret(&database, &entropy).await?;
        let instance = Id::<Instance>::new(clock.now(), entropy.bytes());
        let queue = Arc::new(Queue::new(queue, holds_in_flight));
        let confirmed = watch::Sender::new(Confirmed::default());
        let watch = Arc::new(Watch::new(database.clone(), clock.clone(), instance));
        let life = Life::begin(life::Setting {
            database: database.clone(),
            queue: queue.clone(),
            clock: clock.clone(),
            entropy: entropy.clone(),
            confirmed: confirmed.clone(),
            instance,
            watch: watch.clone(),
            lock,
        })
        .await?;
        Ok(Ledger(Arc::new(Inner { clock, entropy, database, queue, life, watch, secret, confirmed })))
    }

    /// Brings the database at `url` to this version.
    pub async fn migrate(url: &str) -> Result<(), StoreError> {
        let place = Place::parse(url)?;
        let _lock = life::lock(&place)?;
        let database = Database::connect(&place).await?;
        let done = database.migrate().await;
        database.close().await;
        done
    }

    /// Takes no more orders, writes down what waits, and lets go of the database.
    pub async fn close(&self) {
        self.0.life.end(&self.0.database).await;
    }

    /// Where this ledger has its time from.
    pub fn clock(&self) -> &Clock {
        &self.0.clock
    }

    /// Where this ledger has its randomness from.
    pub fn entropy(&self) -> &Entropy {
        &self.0.entropy
    }

    /// Names a new thing.
    pub fn new_id<K: Kind>(&self) -> Id<K> {
        Id::new(self.0.clock.now(), self.0.entropy.bytes())
    }

    /// HMAC-SHA256 with a secret of this database: hashes that nobody outside can try out.
    pub fn keyed_hash(&self, purpose: &str, bytes: &[u8]) -> [u8; 32] {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0.secret).expect("any length is a key");
        mac.update(purpose.as_bytes());
        mac.update(&[0]);
        mac.update(bytes);
        mac.finalize().into_bytes().into()
    }

    /// Sets money aside in every wallet of the chain, or in none. Durable when it returns, and so is a refusal.
    pub async fn reserve(&self, order: Order) -> Result<Reserved, ReserveError> {
        let amounts = [Some(order.amount), order.estimate.map(|estimate| estimate.amount)];
        if let Some(wrong) = amounts.into_iter().flatten().find(|amount| amount.is_negative()) {
            return Err(ReserveError::Amount(wrong));
        }
        self.admissible()?;
        let queue = &self.0.queue;
        let slot = queue.try_slot().ok_or(ReserveError::Busy)?;
        let room = queue.try_room().ok_or(ReserveError::Busy)?;
        let entry = Entry::new(Some(order.org), kind::RESERVE, Actor::Key(order.key))
            .text("request_id", order.call)
            .text("key_id", order.key)
            .text("wallet_id", order.wallet)
            .text("model", &order.record.model);
        let (reply, answer) = oneshot::channel();
        queue.push(Job::Reserve(ReserveJob {
            call: order.call,
            org: order.org,
            key: order.key,
            wallet: order.wallet,
            extra: order.extra,
            amount: order.amount,
            estimate: order.estimate,
            patient: order.patient,
            downgraded: order.downgraded,
            expires_at: order.expires_at,
            claim: order.claim,
            record: json(&order.record),
            entry,
            slot,
            _room: room,
            reply,
        }));
        let mut answer = answer.await.unwrap_or(Err(ReserveError::Store(StoreError::Closed)));
        if let Ok(Reserved::New(hold)) = &mut answer {
            hold.undelivered = None;
        }
        answer
    }

    /// Holds more for a call that is running. Refused, it leaves the hold as it was, and a BLOCK entry.
    pub async fn grow(&self, hold: &mut Hold, by: Money) -> Result<(), ReserveError> {
        self.grow_by(hold, by, false).await
    }

    /// The same, for whoever will ask again: a refusal is not written down.
    pub async fn try_grow(&self, hold: &mut Hold, by: Money) -> Result<(), ReserveError> {
        self.grow_by(hold, by, true).await
    }

    async fn grow_by(&self, hold: &mut Hold, by: Money, patient: bool) -> Result<(), ReserveError> {
        let to = hold.amount.plus(by).filter(|_| !by.is_negative()).ok_or(ReserveError::Amount(by))?;
        // Twice at most: after a growth whose answer was lost, the first time only tells what is held.
        for _ in 0..2 {
            self.grow_to(hold, to, patient).await?;
            if hold.amount >= to {
                return Ok(());
            }
        }
        Err(ReserveError::Conflict(hold.call))
    }

    async fn grow_to(&self, hold: &mut Hold, to: Money, patient: bool) -> Result<(), ReserveError> {
        self.admissible()?;
        let by = to.minus(hold.amount).ok_or(ReserveError::Amount(to))?;
        let room = self.0.queue.try_room().ok_or(ReserveError::Busy)?;
        let entry = Entry::new(Some(hold.org), kind::GROW, Actor::Key(hold.key))
            .text("request_id", hold.call)
            .text("key_id", hold.key)
            .text("wallet_id", hold.wallet)
            .text("amount_usd", by)
            .text("held_usd", to);
        let (reply, answer) = oneshot::channel();
        let (call, chain, from) = (hold.call, hold.chain, hold.amount);
        let job = GrowJob { call, chain, from, to, patient, entry, _room: room, reply };
        self.0.queue.push(Job::Grow(job));
        let grown = answer.await.unwrap_or(Err(ReserveError::Store(StoreError::Closed)))?;
        hold.amount = grown.amount;
        for warning in grown.warnings {
            hold.warnings.retain(|other| other.wallet != warning.wallet);
            hold.warnings.push(warning);
        }
        Ok(())
    }

    /// Charges a call. The writer has it when this returns; await the answer to know that it is durable.
    pub fn settle(&self, hold: Hold, charge: Charge) -> Pending<Receipt> {
        // A price below nothing would be a refund that nobody asked for.
        let charge = Charge { cost: charge.cost.max(Money::ZERO), price: charge.price.max(Money::ZERO), ..charge };
        if charge.price > MOST_OVERRUN {
            let (call, price) = (hold.call, charge.price);
            tracing::error!(%call, %price, "a call is to be charged an absurd price: at most {MOST_OVERRUN} of it is overrun");
        }
        let entry = resolution_entry(&hold, kind::SETTLE, &charge.record).text("cost_usd", charge.cost);
        self.resolve(hold, Resolution::Settle { price: charge.price }, charge.cost, charge.record, entry)
    }

    /// Gives back what is held for a call that is not charged.
    pub fn release(&self, hold: Hold, why: Release) -> Pending<Receipt> {
        let entry =
            resolution_entry(&hold, kind::RELEASE, &why.record).text("cost_usd", why.cost).text("reason", &why.reason);
        self.resolve(hold, Resolution::Release { reason: why.reason }, why.cost, why.record, entry)
    }

    fn resolve(
        &self,
        mut hold: Hold,
        how: Resolution,
        cost: Money,
        record: CallRecord,
        entry: Entry,
    ) -> Pending<Receipt> {
        let (reply, answer) = oneshot::channel();
        self.0.queue.push(Job::Resolve(ResolveJob {
            call: hold.call,
            chain: hold.chain,
            how,
            cost,
            record: json(&record),
            told: Some(Box::new(record)),
            entry,
            slot: hold.slot.take(),
            reply: Some(reply),
            failures: 0,
        }));
        Pending(answer)
    }

    /// Writes something down that moves no money. Durable when it returns.
    pub async fn record(&self, entry: Entry) -> Result<(), StoreError> {
        let room = self.0.queue.room().await?;
        let (reply, answer) = oneshot::channel();
        self.0.queue.push(Job::Record(RecordJob { entry, _room: room, reply }));
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Writes down a call that was refused before any money was asked for: an audit entry and a receipt.
    pub async fn refuse(&self, refusal: RefusedCall) -> Result<(), StoreError> {
        let room = self.0.queue.room().await?;
        let entry = Entry::new(Some(refusal.org), kind::BLOCK, Actor::Key(refusal.key))
            .text("request_id", refusal.call)
            .text("key_id", refusal.key)
            .text("wallet_id", refusal.wallet)
            .text("model", &refusal.record.model)
            .text("code", &refusal.code);
        let entry = judged(entry, &refusal.record);
        let (reply, answer) = oneshot::channel();
        self.0.queue.push(Job::Refuse(RefuseJob {
            call: refusal.call,
            org: refusal.org,
            key: refusal.key,
            wallet: refusal.wallet,
            code: refusal.code,
            record: json(&refusal.record),
            entry,
            _room: room,
            reply,
        }));
        answer.await.unwrap_or(Err(StoreError::Closed))
    }

    /// Gives back some or all of what a call was charged, in the windows that it was charged in. One of a known call that
    /// the books refuse is an error in the log, an entry of its own and an alert. A refunded expired hold has been looked at.
    pub async fn refund(&self, refund: Refund) -> Result<Receipt, RefundError> {
        if let Some(amount) = refund.amount.filter(|amount| *amount <= Money::ZERO) {
            return Err(RefundError::Amount(amount));
        }
        let Some(receipt) = self.receipts().get(refund.call).await? else {
            return Err(RefundError::UnknownCall(refund.call));
        };
        let room = self.0.queue.room().await?;
        let mut entry = Entry::new(Some(receipt.org), kind::REFUND, refund.actor)
            .text("request_id", refund.call)
            .text("wallet_id", receipt.wallet)
            .text("refund_id", refund.id);
        if let Some(key) = receipt.key {
            entry.put_text("key_id", key);
        }
        let (reply, answer) = oneshot::channel();
        self.0.queue.push(Job::Refund(RefundJob {
            id: refund.id,
            call: refund.call,
            chain: receipt.chain,
            amount: refund.amount,
            reason: refund.reason,
            entry,
            _room: room,
            reply,
        }));
        answer.await.unwrap_or(Err(RefundError::Store(StoreError::Closed)))
    }

    /// Puts money into a wallet, once per source and reference.
    pub async fn fund(&self, fund: Fund) -> Result<(), FundError> {
        if fund.amount <= Money::ZERO {
            return Err(FundError::Amount(fund.amount));
        }
        let row = self.0.database.row("SELECT org_id FROM wallets WHERE id = $1", values![fund.wallet]).await?;
        let org = row.ok_or(FundError::UnknownWallet(fund.wallet))?.id("org_id")?;
        let room = self.0.queue.room().await?;
        let entry = Entry::new(Some(org), kind::FUND, fund.actor)
            .text("wallet_id", fund.wallet)
            .text("amount_usd", fund.amount)
            .text("source", &fund.source)
            .text("reference", &fund.reference);
        let (reply, answer) = oneshot::channel();
        self.0.queue.push(Job::Fund(FundJob {
            wallet: fund.wallet,
            amount: fund.amount,
            source: fund.source,
            reference: fund.reference,
            entry,
            _room: room,
            reply,
        }));
        answer.await.unwrap_or(Err(FundError::Store(StoreError::Closed)))
    }

    /// Settles in full what nobody will settle any more. Done at each start and every few seconds anyway.
    pub async fn expire_orphans(&self) -> Result<(), StoreError> {
        let inner = &self.0;
        life::expire_orphans(&inner.database, &inner.queue, &inner.clock, inner.life.instance()).await
    }

    /// Looks at how wallets spend, and does what follows: breakers and forecasts. Done every few seconds anyway, by one
    /// process of the installation.
    pub async fn watch_spending(&self) -> Result<(), StoreError> {
        self.0.watch.look(std::time::Duration::ZERO).await
    }

    /// Whether a call could be accounted for now.
    pub fn readiness(&self) -> Result<(), Unready> {
        let queue = &self.0.queue;
        if queue.is_closed() && !queue.stopped.load(Ordering::SeqCst) {
            return Err(Unready::Closed);
        }
        if queue.stopped.load(Ordering::SeqCst) {
            return Err(Unready::WriterStopped);
        }
        let silent = self.0.life.silent();
        if silent >= life::SILENT {
            return Err(Unready::Silent { seconds: silent.as_secs() });
        }
        let waiting = queue.tally.resolving.load(Ordering::Relaxed);
        if waiting > 0 && queue.slots_left() == 0 && waiting >= queue.holds_in_flight() {
            return Err(Unready::Backlog);
        }
        Ok(())
    }

    fn admissible(&self) -> Result<(), StoreError> {
        if self.0.queue.is_closed() {
            return Err(StoreError::Closed);
        }
        // Others may count our holds as orphans soon: make no new ones.
        if self.0.life.silent() >= life::SILENT {
            return Err(StoreError::Silent);
        }
        Ok(())
    }

    /// The configuration's revision as last read, by a batch or by the poll of each second.
    pub fn revision(&self) -> watch::Receiver<Confirmed> {
        self.0.confirmed.subscribe()
    }

    /// Reads the configuration's revision now, so that a change made here is in force here at once.
    pub(crate) async fn refresh_revision(&self) -> Result<(), StoreError> {
        life::read_revision(&self.0.database, &self.0.clock, &self.0.confirmed).await
    }

    /// Numbers for the metrics page.
    pub fn gauges(&self) -> Gauges {
        let queue = &self.0.queue;
        let tally = &queue.tally;
        Gauges {
            queue_depth: queue.waiting().1,
            settlements_waiting: tally.resolving.load(Ordering::Relaxed),
            holds_in_flight: queue.holds_in_flight(),
            reserves: tally.reserves.load(Ordering::Relaxed),
            refusals: tally.refusals.load(Ordering::Relaxed),
            settles: tally.settles.load(Ordering::Relaxed),
            releases: tally.releases.load(Ordering::Relaxed),
            batches: tally.batches.load(Ordering::Relaxed),
            overrun: Money::from_nanos(tally.overrun.load(Ordering::Relaxed)),
        }
    }

    /// Receipts of calls.
    pub fn receipts(&self) -> Receipts<'_> {
        Receipts(self)
    }

    /// The audit log.
    pub fn trail(&self) -> Trail<'_> {
        Trail(self)
    }

    /// The journal of a wallet, oldest first, after `cursor` (the last row's `seq`).
    pub async fn entries(
        &self,
        wallet: Id<Wallet>,
        cursor: Option<i64>,
        limit: u32,
    ) -> Result<Vec<JournalEntry>, StoreError> {
        journal::entries(&self.0.database, wallet, cursor, limit).await
    }

    /// Where wallets stand now. Those that are not known are left out.
    pub async fn standings(&self, wallets: &[Id<Wallet>]) -> Result<HashMap<Id<Wallet>, Standing>, StoreError> {
        journal::standings(&self.0.database, wallets, self.0.clock.now()).await
    }

    /// Where the wallets stand that a call on this one has to satisfy: it and all above it.
    pub async fn chain_standings(&self, wallet: Id<Wallet>) -> Result<Vec<Standing>, StoreError> {
        journal::chain_standings(&self.0.database, wallet, self.0.clock.now()).await
    }

    /// All that providers ever billed beyond what could be charged.
    pub async fn overrun(&self) -> Result<Money, StoreError> {
        crate::store::receipts::overrun(&self.0.database).await
    }

    /// The way to the writer.
    pub(crate) fn queue(&self) -> &Queue {
        &self.0.queue
    }

    /// For reads, and for administrative writes with their audit entries.
    pub(crate) fn database(&self) -> &Database {
        &self.0.database
    }
}

fn resolution_entry(hold: &Hold, kind: &'static str, record: &CallRecord) -> Entry {
    let mut entry = Entry::new(Some(hold.org), kind, Actor::Key(hold.key))
        .text("request_id", hold.call)
        .text("key_id", hold.key)
        .text("wallet_id", hold.wallet)
        .text("model", &record.model)
        .text("routing", &record.routing)
        .text("ending", &record.ending);
    if let Some(target) = &record.target {
        entry.put_text("target", target);
    }
    judged(entry, record)
}

/// What the guards saw and by which rules: kinds, places and counts, never the text.
fn judged(entry: Entry, record: &CallRecord) -> Entry {
    let entry = if record.policy.is_empty() { entry } else { entry.text("policy", &record.policy) };
    if record.findings.is_empty() { entry } else { entry.with("safety", &record.findings) }
}

pub(crate) fn json(record: &CallRecord) -> Arc<str> {
    serde_json::to_string(record).unwrap_or_else(|_| "{}".to_owned()).into()
}

/// The secret behind `keyed_hash`: made once, kept in the database.
async fn ensure_secret(database: &Database, entropy: &Entropy) -> Result<[u8; 32], StoreError> {
    let fresh = hex::encode(entropy.bytes::<32>());
    let mut tx = database.begin().await?;
    tx.execute(
        "INSERT INTO meta (name, value) VALUES ('hash_secret', $1) ON CONFLICT (name) DO NOTHING",
        values![fresh],
    )
    .await?;
    let row = tx.row("SELECT value FROM meta WHERE name = 'hash_secret'", values![]).await?;
    tx.commit().await?;
    let text: String = row.ok_or_else(|| StoreError::Corrupt("hash secret".into()))?.get("value")?;
    let mut secret = [0; 32];
    hex::decode_to_slice(&text, &mut secret).map_err(|_| StoreError::Corrupt("hash secret".into()))?;
    Ok(secret)
}
