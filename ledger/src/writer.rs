//! The writer: one thread that drains the queue into batches. Load under lock, decide in `book.rs`, save, commit once,
//! answer all. A resolution that cannot be saved is tried again until it is.

use std::borrow::Cow;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};

use crate::audit::Hash;
use crate::batch::{Answer, Batch, Taken};
use crate::charge::{ChargeError, ConfirmError, CorrectError};
use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::error::{FundError, RefundError, ReserveError, StoreError};
use crate::failpoint::failpoint;
use crate::hold::Hold;
use crate::id::{Id, Instance};
use crate::ledger::Confirmed;
use crate::life;
use crate::money::Money;
use crate::order::{Receipt, Reserved};
use crate::queue::{Job, Queue, ReserveJob, give_back};
use crate::record::CallRecord;
use crate::rows::{ChainId, NO_KEY, Needs, ReceiptRow};
use crate::store::receipts::read_record;
use crate::store::{Database, Store};

/// Jobs in one transaction.
const BATCH: usize = 512;
/// How long callers wait for a database that fails; settlements wait longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long closing waits for settlements that cannot be saved.
const LAST_PATIENCE: Duration = Duration::from_secs(10);
/// How long a batch waits for those who were in the last one.
const COMPANY: Duration = Duration::from_micros(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// What the writer works with.
pub(crate) struct Desk {
    pub database: Database,
    pub queue: Arc<Queue>,
    pub clock: Clock,
    pub entropy: Entropy,
    pub confirmed: watch::Sender<Confirmed>,
    pub instance: Id<Instance>,
    /// Held as long as the writer lives, whatever becomes of the rest.
    pub lock: Option<Arc<File>>,
}

/// Starts the writer on a thread of its own. The answer comes when it has ended.
pub(crate) async fn start(desk: Desk) -> Result<oneshot::Receiver<()>, StoreError> {
    let (opened, ready) = oneshot::channel();
    let (ended, end) = oneshot::channel();
    let work = move || {
        let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(source) => {
                let _ = opened.send(Err(StoreError::File { path: "runtime".into(), source: Arc::new(source) }));
                return;
            }
        };
        let (last, lock) = (LastWord(desk.queue.clone()), desk.lock.clone());
        runtime.block_on(async {
            match Store::open(&desk.database, desk.instance).await {
                Ok(store) => {
                    let _ = opened.send(Ok(()));
                    Writer { desk, store, parked: Vec::new(), last: 0 }.run().await;
                }
                Err(error) => {
                    let _ = opened.send(Err(error));
                }
            }
        });
        drop(last);
        drop(lock);
        let _ = ended.send(());
    };
    std::thread::Builder::new()
        .name("alfred-ledger".into())
        .spawn(work)
        .map_err(|source| StoreError::File { path: "thread".into(), source: Arc::new(source) })?;
    ready.await.unwrap_or(Err(StoreError::Closed))?;
    Ok(end)
}

/// However the writer ends, nobody waits for it in vain.
struct LastWord(Arc<Queue>);

impl Drop for LastWord {
    fn drop(&mut self) {
        self.0.stop();
    }
}

struct Writer {
    desk: Desk,
    store: Store,
    /// Resolutions that failed, and when to try them again.
    parked: Vec<(Instant, Job)>,
    /// Jobs in the last batch.
    last: usize,
}

/// A batch whose commit was not answered: it is there if its first entry is.
struct Doubt {
    chain: Cow<'static, str>,
    seq: i64,
    hash: Hash,
    answers: Vec<Answer>,
    overrun: Money,
}

enum Failure {
    /// Nothing was committed.
    Undone(StoreError),
    Unknown(StoreError, Doubt),
}

impl Writer {
    async fn run(&mut self) {
        let mut closing: Option<Instant> = None;
        let mut jobs = Vec::with_capacity(BATCH);
        loop {
            let open = self.wait().await;
            self.unpark();
            self.gather();
            self.desk.queue.take(BATCH, &mut jobs);
            if !jobs.is_empty() {
                self.last = jobs.len();
                self.finish(std::mem::take(&mut jobs)).await;
            } else if !open {
                let since = *closing.get_or_insert_with(Instant::now);
                if self.parked.is_empty() {
                    break;
                }
                if since.elapsed() > LAST_PATIENCE {
                    let lost = self.parked.len();
                    tracing::error!(lost, "closed before all settlements were saved: their holds will expire in full");
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        self.store.close().await;
    }

    /// Those whom the last batch answered are about to come back: a moment's wait makes one batch of what would be two,
    /// and a batch costs far more than a job. Nobody waits for company that was not there before.
    fn gather(&self) {
        let begun = Instant::now();
        while self.desk.queue.length() < self.last && begun.elapsed() < COMPANY {
            std::thread::yield_now();
        }
    }

    // False when closed and empty. Wakes for parked jobs.
    async fn wait(&self) -> bool {
        match self.parked.iter().map(|(due, _)| *due).min() {
            None => self.desk.queue.wait().await,
            Some(due) => {
                let pause = due.saturating_duration_since(Instant::now());
                tokio::time::timeout(pause, self.desk.queue.wait()).await.unwrap_or(true)
            }
        }
    }

    fn unpark(&mut self) {
        if self.parked.is_empty() {
            return;
        }
        let now = Instant::now();
        let (due, later): (Vec<_>, Vec<_>) = self.parked.drain(..).partition(|(due, _)| *due <= now);
        self.parked = later;
        self.desk.queue.push_back(due.into_iter().map(|(_, job)| job).collect());
    }

    /// Brings a batch to its end. If it cannot be saved whole, its jobs are tried one by one, so that none suffers for another.
    async fn finish(&mut self, jobs: Vec<Job>) {
        let Err((error, doubtful, jobs)) = self.save(jobs).await else { return };
        // What may have been committed is not decided anew: not every job is told from its repetition.
        if jobs.len() == 1 || doubtful || is_outage(&error) {
            for job in jobs {
                self.fail(job, &error, doubtful);
            }
            return;
        }
        tracing::error!(%error, jobs = jobs.len(), "batch failed: trying its jobs one by one");
        for job in jobs {
            if let Err((error, doubtful, jobs)) = self.save(vec![job]).await {
                for job in jobs {
                    self.fail(job, &error, doubtful);
                }
            }
        }
    }

    /// Saves a batch and answers it, or gives it back with the error, and whether it may have been committed all the same.
    async fn save(&mut self, jobs: Vec<Job>) -> Result<(), (StoreError, bool, Vec<Job>)> {
        let (begun, mut tries, mut doubt) = (Instant::now(), 0_u32, None);
        loop {
            let error = match self.attempt(&jobs, &mut doubt).await {
                Ok(answers) => {
                    for (job, answer) in jobs.into_iter().zip(answers) {
                        self.answer(job, answer);
                    }
                    failpoint("writer.answered");
                    return Ok(());
                }
                Err(Failure::Undone(error)) => error,
                Err(Failure::Unknown(error, unknown)) => {
                    doubt = Some(unknown);
                    error
                }
            };
            tries += 1;
            let again = is_collision(&error) || is_outage(&error) || doubt.is_some();
            if !again || begun.elapsed() > PATIENCE || (is_collision(&error) && tries > 20) {
                return Err((error, doubt.is_some(), jobs));
            }
            tracing::warn!(%error, cause = ?std::error::Error::source(&error), tries, "batch failed: trying again");
            let pause = if is_collision(&error) { 2 } else { 20 };
            tokio::time::sleep(Duration::from_millis(pause << tries.min(4))).await;
        }
    }

    async fn attempt(&mut self, jobs: &[Job], doubt: &mut Option<Doubt>) -> Result<Vec<Answer>, Failure> {
        let at = self.desk.clock.now();
        let needs = Needs::of(jobs);
        failpoint("writer.begun");
        let mut loaded = match self.store.load(&needs, at).await {
            Ok(loaded) => loaded,
            Err(error) => return Err(self.undone(error).await),
        };
        if let Some(unknown) = doubt {
            match self.store.committed(&unknown.chain, unknown.seq, &unknown.hash).await {
                Ok(true) => {
                    self.store.undo().await;
                    self.count(unknown.overrun);
                    return Ok(std::mem::take(&mut unknown.answers));
                }
                Ok(false) => *doubt = None,
                Err(error) => return Err(self.undone(error).await),
            }
        }
        failpoint("writer.loaded");
        life::confirm(&self.desk.confirmed, loaded.revision, at);
        let mut batch = Batch::new(&mut loaded, &self.desk.entropy, at);
        let answers: Vec<Answer> = jobs.iter().map(|job| batch.decide(job)).collect();
        let effect = batch.effect;
        let Some(first) = effect.audit.first() else {
            self.store.undo().await; // nothing was changed
            return Ok(answers);
        };
        let doubt =
            Doubt { chain: first.chain.clone(), seq: first.seq, hash: first.hash, answers, overrun: effect.overrun };
        if let Err(error) = self.store.save(&loaded, &effect).await {
            return Err(self.undone(error).await);
        }
        failpoint("writer.saved");
        match self.store.commit().await {
            Ok(()) => {
                failpoint("writer.committed");
                self.count(doubt.overrun);
                Ok(doubt.answers)
            }
            Err(error) => {
                self.store.undo().await;
                Err(Failure::Unknown(error, doubt))
            }
        }
    }

    fn count(&self, overrun: Money) {
        let tally = &self.desk.queue.tally;
        tally.batches.fetch_add(1, Ordering::Relaxed);
        // A correction may take some back from the account; what this process booked is still what it booked.
        let booked = overrun.nanos().max(0);
        let _ =
            tally.overrun.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |sum| Some(sum.saturating_add(booked)));
    }

    async fn undone(&mut self, error: StoreError) -> Failure {
        self.store.undo().await;
        Failure::Undone(error)
    }

    fn answer(&self, job: Job, answer: Answer) {
        let tally = &self.desk.queue.tally;
        match (job, answer) {
            (Job::Reserve(job), Answer::Reserve(taken)) => {
                match &taken {
                    Ok(_) => tally.reserves.fetch_add(1, Ordering::Relaxed),
                    Err(_) => tally.refusals.fetch_add(1, Ordering::Relaxed),
                };
                self.hand_over(job, taken);
            }
            (Job::Grow(job), Answer::Grow(grown)) => drop(job.reply.send(grown)),
            (Job::Resolve(job), Answer::Resolve(done)) => {
                tally.resolving.fetch_sub(1, Ordering::Relaxed);
                let settled = matches!(job.how, crate::queue::Resolution::Settle { .. });
                if settled { &tally.settles } else { &tally.releases }.fetch_add(1, Ordering::Relaxed);
                if let Err(error) = &done
                    && job.reply.as_ref().is_none_or(oneshot::Sender::is_closed)
                    && !matches!(job.how, crate::queue::Resolution::GiveBack)
                {
                    tracing::error!(%error, call = %job.call, "call could not be resolved");
                }
                drop(job.slot); // free before anybody hears of it
                if let Some(reply) = job.reply {
                    let told = job.told.map(|told| *told).unwrap_or_default();
                    let _ = reply.send(done.map(|row| receipt(row, told)));
                }
            }
            (Job::Record(job), Answer::Done(done)) => drop(job.reply.send(done)),
            (Job::Refuse(job), Answer::Done(done)) => {
                tally.refusals.fetch_add(1, Ordering::Relaxed);
                let _ = job.reply.send(done);
            }
            (Job::Expire(job), Answer::Done(done)) => drop(job.reply.send(done)),
            (Job::Refund(job), Answer::Refund(done)) => {
                let done = done.and_then(|row| Ok(whole(row)?));
                if let Err(error) = &done {
                    tracing::error!(%error, call = %job.call, refund = %job.id, "refund failed");
                }
                let _ = job.reply.send(done);
            }
            (Job::Charge(job), Answer::Charge(done)) => drop(job.reply.send(done)),
            (Job::Correct(job), Answer::Correct(done)) => {
                let _ = job.reply.send(done.and_then(|row| Ok(whole(row)?)));
            }
            (Job::Confirm(job), Answer::Confirm(done)) => {
                let _ = job.reply.send(done.and_then(|row| Ok(whole(row)?)));
            }
            (Job::Fund(job), Answer::Fund(done)) => drop(job.reply.send(done)),
            _ => tracing::error!("a job got another job's answer"),
        }
    }

    fn hand_over(&self, job: ReserveJob, taken: Result<Taken, ReserveError>) {
        let answer = match taken {
            Ok(Taken::New { amount, warnings }) => Ok(Reserved::New(Hold {
                call: job.call,
                org: job.org,
                key: job.key,
                wallet: job.wallet,
                chain: ChainId::of(job.wallet, &job.extra),
                amount,
                expires_at: job.expires_at,
                warnings,
                slot: Some(job.slot),
                undelivered: Some(self.desk.queue.clone()),
            })),
            Ok(Taken::Replay(first)) => {
                drop(job.slot); // free before anybody hears of it
                Ok(Reserved::Replay(first))
            }
            Err(error) => {
                drop(job.slot);
                Err(error)
            }
        };
        // If nobody waits any more, the hold comes back through its drop.
        let _ = job.reply.send(answer);
    }

    /// A job that could not be saved: its caller hears so, except that a resolution is kept and tried again.
    fn fail(&mut self, job: Job, error: &StoreError, doubtful: bool) {
        match job {
            Job::Resolve(mut job) => {
                job.failures += 1;
                let pause = Duration::from_millis(10 << job.failures.min(7)).min(LONGEST_PAUSE);
                tracing::error!(%error, call = %job.call, failures = job.failures, "settlement waits for the database");
                self.parked.push((Instant::now() + pause, Job::Resolve(job)));
            }
            Job::Reserve(job) => {
                if doubtful {
                    // It may be there although nobody will be told: take it back as soon as the database answers.
                    let chain = ChainId::of(job.wallet, &job.extra);
                    self.desk.queue.push(give_back(job.call, job.org, job.key, (job.wallet, chain), Some(job.slot)));
                }
                let _ = job.reply.send(Err(ReserveError::Store(error.clone())));
            }
            Job::Grow(job) => drop(job.reply.send(Err(ReserveError::Store(error.clone())))),
            Job::Record(job) => drop(job.reply.send(Err(error.clone()))),
            Job::Refuse(job) => drop(job.reply.send(Err(error.clone()))),
            Job::Expire(job) => drop(job.reply.send(Err(error.clone()))),
            Job::Refund(job) => {
                tracing::error!(%error, call = %job.call, refund = %job.id, "refund failed");
                let _ = job.reply.send(Err(RefundError::Store(error.clone())));
            }
            Job::Charge(job) => drop(job.reply.send(Err(ChargeError::Store(error.clone())))),
            Job::Correct(job) => drop(job.reply.send(Err(CorrectError::Store(error.clone())))),
            Job::Confirm(job) => drop(job.reply.send(Err(ConfirmError::Store(error.clone())))),
            Job::Fund(job) => drop(job.reply.send(Err(FundError::Store(error.clone())))),
        }
    }
}

/// A receipt with the record that it was stored with.
fn whole(row: ReceiptRow) -> Result<Receipt, StoreError> {
    read_record(&row.record).map(|record| receipt(row, record))
}

fn receipt(row: ReceiptRow, record: CallRecord) -> Receipt {
    Receipt {
        call: row.call,
        org: row.org,
        wallet: row.wallet,
        chain: row.chain,
        key: (row.key != NO_KEY).then_some(row.key),
        at: row.at,
        status: row.status.as_str().to_owned(),
        cost: row.cost,
        price: row.price,
        overrun: row.overrun,
        refunded: row.refunded,
        held: Money::ZERO,
        review: row.review,
        record,
    }
}

/// Others were in the way; the next try may find them gone.
fn is_collision(error: &StoreError) -> bool {
    match error {
        StoreError::Database(error) => match &**error {
            // Serialization failure, deadlock, a row that another process inserted first, a lock that took too long.
            sqlx::Error::Database(error) => {
                matches!(error.code().as_deref(), Some("40001" | "40P01" | "23505" | "55P03"))
            }
            _ => false,
        },
        StoreError::Sqlite(error) => {
            matches!(
                error.sqlite_error_code(),
                Some(rusqlite::ErrorCode::DatabaseBusy | rusqlite::ErrorCode::DatabaseLocked)
            )
        }
        _ => false,
    }
}

/// The database does not work at the moment, whatever the jobs are.
fn is_outage(error: &StoreError) -> bool {
    match error {
        StoreError::Database(error) => match &**error {
            // Connection exceptions, operator intervention, insufficient resources.
            sqlx::Error::Database(error) => {
                error.code().is_some_and(|code| ["08", "57", "53", "58"].iter().any(|class| code.starts_with(class)))
            }
            sqlx::Error::Io(_)
            | sqlx::Error::Tls(_)
            | sqlx::Error::Protocol(_)
            | sqlx::Error::PoolTimedOut
            | sqlx::Error::PoolClosed
            | sqlx::Error::WorkerCrashed => true,
            _ => false,
        },
        StoreError::Sqlite(error) => matches!(
            error.sqlite_error_code(),
            Some(
                rusqlite::ErrorCode::DiskFull
                    | rusqlite::ErrorCode::SystemIoFailure
                    | rusqlite::ErrorCode::CannotOpen
                    | rusqlite::ErrorCode::ReadOnly
            )
        ),
        _ => false,
    }
}
