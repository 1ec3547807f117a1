//! The way to the writer: two bounded lanes. Resolutions never wait for room, because their room was taken with the hold.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};

use crate::audit::{Actor, Entry, kind};
use crate::charge::{ChargeError, ConfirmError, CorrectError, Correction};
use crate::clock::Timestamp;
use crate::error::{FundError, RefundError, ReserveError, StoreError};
use crate::hold::Hold;
use crate::id::{Call, Id, JournalRow, Key, Org, Wallet};
use crate::money::Money;
use crate::order::{Claim, Estimate, Receipt, Reserved};
use crate::record::{CallRecord, ChargeRecord};
use crate::rows::{ChainId, ChargeName};

/// Something for the writer to do, with everything prepared that need not wait for its turn.
pub(crate) enum Job {
    Reserve(ReserveJob),
    Grow(GrowJob),
    Resolve(ResolveJob),
    Record(RecordJob),
    Refuse(RefuseJob),
    Refund(RefundJob),
    Fund(FundJob),
    Expire(ExpireJob),
    Charge(ChargeJob),
    Correct(CorrectJob),
    Confirm(ConfirmJob),
}

pub(crate) struct ReserveJob {
    pub call: Id<Call>,
    pub org: Id<Org>,
    pub key: Id<Key>,
    pub wallet: Id<Wallet>,
    /// Wallets beside the chain that the call has to satisfy too.
    pub extra: Vec<Id<Wallet>>,
    pub amount: Money,
    pub estimate: Option<Estimate>,
    pub patient: bool,
    pub downgraded: bool,
    pub expires_at: Timestamp,
    pub claim: Option<Claim>,
    /// The call's record as JSON.
    pub record: Arc<str>,
    /// The entry of the reserve; of the refusal, with another kind.
    pub entry: Entry,
    pub slot: OwnedSemaphorePermit,
    pub _room: OwnedSemaphorePermit,
    pub reply: oneshot::Sender<Result<Reserved, ReserveError>>,
}

pub(crate) struct GrowJob {
    pub call: Id<Call>,
    pub chain: ChainId,
    pub from: Money,
    pub to: Money,
    /// Refused, it is not written down.
    pub patient: bool,
    pub entry: Entry,
    pub _room: OwnedSemaphorePermit,
    pub reply: oneshot::Sender<Result<Grown, ReserveError>>,
}

pub(crate) struct Grown {
    pub amount: Money,
    pub warnings: Vec<crate::hold::SoftWarning>,
}

/// A settlement or a release.
pub(crate) struct ResolveJob {
    pub call: Id<Call>,
    pub chain: ChainId,
    pub how: Resolution,
    pub cost: Money,
    pub record: Arc<str>,
    /// The same, for the receipt.
    pub told: Option<Box<CallRecord>>,
    pub entry: Entry,
    /// Its place among the holds in flight; free again when this is durable. A hold that was never delivered may lack it.
    pub slot: Option<OwnedSemaphorePermit>,
    pub reply: Option<oneshot::Sender<Result<Receipt, StoreError>>>,
    /// How often a batch with it failed.
    pub failures: u32,
}

pub(crate) enum Resolution {
    Settle {
        price: Money,
    },
    Release {
        reason: String,
    },
    /// As a release, of a hold that may not exist: its reserve was never answered.
    GiveBack,
}

pub(crate) struct RecordJob {
    pub entry: Entry,
    pub _room: OwnedSemaphorePermit,
    pub reply: oneshot::Sender<Result<(), StoreError>>,
}

pub(crate) struct RefuseJob {
    pub call: Id<Call>,
    pub org: Id<Org>,
    pub key: Id<Key>,
    pub wallet: Id<Wallet>,
    pub code: String,
    pub record: Arc<str>,
    pub entry: Entry,
    pub _room: OwnedSemaphorePermit,
    pub reply: oneshot::Sender<Result<(), StoreError>>,
}

pub(crate) struct RefundJob {
    pub id: Id<JournalRow>,
    pub call: Id<Call>,
    pub chain: ChainId,
    pub amount: Option<Money>,
    pub reason: String,
    pub entry: Entry,
    pub _room: OwnedSemaphorePermit,
    pub reply: oneshot::Sender<Result<Receipt, RefundError>>,
}

pub(crate) struct FundJob {
    pub wallet: Id<Wallet>,
    pub amount: Money,
    pub source: String,
    pub reference: String,
    pub entry: Entry,
    pub _room: OwnedSemaphorePermit,
    pub reply: oneshot::Sender<Result<(), FundError>>,
}

pub(crate) struct ExpireJob {
    pub call: Id<Call>,
    pub chain: ChainId,
    pub entry: Entry,
    pub reply: oneshot::Sender<Result<(), StoreError>>,
}

pub(crate) struct ChargeJob {
    pub call: Id<Call>,
    pub org: Id<Org>,
    pub wallet: Id<Wallet>,
    pub key: Option<Id<Key>>,
    pub cost: Money,
    pub price: Money,
    pub told: ChargeRecord,
    /// The receipt's record as JSON.
    pub record: Arc<str>,
    pub actor: Actor,
    pub entry: Entry,
    pub _room: OwnedSemaphorePermit,
    /// The call whose receipt is the answer.
    pub reply: oneshot::Sender<Result<Id<Call>, ChargeError>>,
}

impl ChargeJob {
    pub fn name(&self) -> ChargeName {
        ChargeName { org: self.org, source: self.told.source.clone(), reference: self.told.reference.clone() }
    }
}

pub(crate) struct CorrectJob {
    pub correction: Correction,
    pub chain: ChainId,
    pub entry: Entry,
    pub _room: OwnedSemaphorePermit,
    pub reply: oneshot::Sender<Result<Receipt, CorrectError>>,
}

pub(crate) struct ConfirmJob {
    pub call: Id<Call>,
    pub chain: ChainId,
    pub entry: Entry,
    pub _room: OwnedSemaphorePermit,
    pub reply: oneshot::Sender<Result<Receipt, ConfirmError>>,
}

#[derive(Default)]
struct Lanes {
    resolutions: VecDeque<Job>,
    others: VecDeque<Job>,
    closed: bool,
}

/// Numbers for the metrics page.
#[derive(Default)]
pub(crate) struct Tally {
    pub reserves: AtomicU64,
    pub refusals: AtomicU64,
    pub settles: AtomicU64,
    pub releases: AtomicU64,
    pub batches: AtomicU64,
    pub overrun: AtomicI64,
    pub resolving: AtomicUsize,
}

pub(crate) struct Queue {
    lanes: Mutex<Lanes>,
    bell: Notify,
    /// One permit for each job that may wait in the lane of the others.
    room: Arc<Semaphore>,
    /// One permit for each hold in flight.
    slots: Arc<Semaphore>,
    holds_in_flight: usize,
    pub tally: Tally,
    /// The writer is gone, whether it was told to or not.
    pub stopped: AtomicBool,
}

impl Queue {
    pub fn new(queue: usize, holds_in_flight: usize) -> Queue {
        Queue {
            lanes: Mutex::default(),
            bell: Notify::new(),
            room: Arc::new(Semaphore::new(queue)),
            slots: Arc::new(Semaphore::new(holds_in_flight)),
            holds_in_flight,
            tally: Tally::default(),
            stopped: AtomicBool::new(false),
        }
    }

    // A panic while pushing or popping leaves both lanes whole.
    fn lanes(&self) -> MutexGuard<'_, Lanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Room for one more job, if there is some now.
    pub fn try_room(&self) -> Option<OwnedSemaphorePermit> {
        self.room.clone().try_acquire_owned().ok()
    }

    /// Room for one more job, when there is some.
    pub async fn room(&self) -> Result<OwnedSemaphorePermit, StoreError> {
        self.room.clone().acquire_owned().await.map_err(|_| StoreError::Closed)
    }

    /// A place for one more hold, if there is one now.
    pub fn try_slot(&self) -> Option<OwnedSemaphorePermit> {
        self.slots.clone().try_acquire_owned().ok()
    }

    pub fn holds_in_flight(&self) -> usize {
        self.holds_in_flight.saturating_sub(self.slots.available_permits())
    }

    pub fn slots_left(&self) -> usize {
        self.slots.available_permits()
    }

    /// Jobs waiting in both lanes: resolutions, others.
    pub fn waiting(&self) -> (usize, usize) {
        let lanes = self.lanes();
        (lanes.resolutions.len(), lanes.others.len())
    }

    /// Jobs waiting in both lanes together.
    pub fn length(&self) -> usize {
        let (resolutions, others) = self.waiting();
        resolutions + others
    }

    /// Hands a job over. After closing only resolutions are taken, as long as the writer lives to see them.
    pub fn push(&self, job: Job) {
        let mut lanes = self.lanes();
        let resolution = matches!(job, Job::Resolve(_));
        if self.stopped.load(Ordering::SeqCst) || (lanes.closed && !resolution) {
            return; // dropping the job drops its reply, which its caller sees as closed
        }
        if resolution {
            self.tally.resolving.fetch_add(1, Ordering::Relaxed);
            lanes.resolutions.push_back(job);
        } else {
            lanes.others.push_back(job);
        }
        drop(lanes);
        self.bell.notify_one();
    }

    /// Puts jobs of a failed batch back where they came from.
    pub fn push_back(&self, jobs: Vec<Job>) {
        let mut lanes = self.lanes();
        for job in jobs.into_iter().rev() {
            match job {
                Job::Resolve(_) => lanes.resolutions.push_front(job),
                _ => lanes.others.push_front(job),
            }
        }
    }

    /// Moves up to `most` jobs into `batch`, resolutions first.
    pub fn take(&self, most: usize, batch: &mut Vec<Job>) {
        let mut lanes = self.lanes();
        let first = lanes.resolutions.len().min(most);
        batch.extend(lanes.resolutions.drain(..first));
        let then = lanes.others.len().min(most - first);
        batch.extend(lanes.others.drain(..then));
    }

    /// Waits until there may be something to take. False when closed and empty.
    pub async fn wait(&self) -> bool {
        loop {
            let ring = self.bell.notified();
            {
                let lanes = self.lanes();
                if !lanes.resolutions.is_empty() || !lanes.others.is_empty() {
                    return true;
                }
                if lanes.closed {
                    return false;
                }
            }
            ring.await;
        }
    }

    /// No more admissions; the writer ends when both lanes are empty.
    pub fn close(&self) {
        self.lanes().closed = true;
        self.room.close();
        self.slots.close();
        self.bell.notify_one();
    }

    pub fn is_closed(&self) -> bool {
        self.lanes().closed
    }

    /// The writer's last word: whatever waits is dropped, and its callers see it.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        self.close();
        let mut lanes = self.lanes();
        lanes.resolutions.clear();
        lanes.others.clear();
    }

    /// Releases a hold whose maker left before it was made.
    pub fn give_back(&self, hold: &mut Hold) {
        self.push(give_back(hold.call, hold.org, hold.key, (hold.wallet, hold.chain), hold.slot.take()));
    }
}

/// The release of a hold that nobody has in hand.
pub(crate) fn give_back(
    call: Id<Call>,
    org: Id<Org>,
    key: Id<Key>,
    (wallet, chain): (Id<Wallet>, ChainId),
    slot: Option<OwnedSemaphorePermit>,
) -> Job {
    let entry = Entry::new(Some(org), kind::RELEASE, Actor::System)
        .text("request_id", call)
        .text("key_id", key)
        .text("wallet_id", wallet)
        .text("reason", "caller_left");
    Job::Resolve(ResolveJob {
        call,
        chain,
        how: Resolution::GiveBack,
        cost: Money::ZERO,
        record: "".into(),
        told: None,
        entry,
        slot,
        reply: None,
        failures: 0,
    })
}

/// An answer on its way. The work is done whether or not anybody waits for it.
#[must_use = "await it to know that it is durable"]
pub struct Pending<T>(pub(crate) oneshot::Receiver<Result<T, StoreError>>);

impl<T> Future for Pending<T> {
    type Output = Result<T, StoreError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(StoreError::Closed)))
    }
}
