//! A process's life in the ledger: its lock, its row with a heartbeat, its writer, and the orphans of others.

use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::audit::{Actor, Entry, kind};
use crate::clock::{Clock, Timestamp};
use crate::entropy::Entropy;
use crate::error::StoreError;
use crate::hold::Owner;
use crate::id::{Call, Id, Instance, Key, Org, Wallet};
use crate::ledger::Confirmed;
use crate::queue::{ExpireJob, Job, Queue};
use crate::store::{Database, Place, Row, values};
use crate::watch::Watch;

/// A process that could not beat for so long admits nothing.
pub(crate) const SILENT: Duration = Duration::from_secs(20);
/// A process that did not beat for so long is lost, and its holds are orphans.
const LOST_MICROS: i64 = 30_000_000;
const BEAT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_secs(1);
/// The longest that a small question may take.
const PROMPT: Duration = Duration::from_secs(3);
/// The longest that the writer is waited for at the end, though it gives up before; then its holds expire in full.
const FAREWELL: Duration = Duration::from_secs(30);
const CHECKPOINT: Duration = Duration::from_millis(250);
/// Idempotency keys are remembered so long.
pub(crate) const CLAIM_MICROS: i64 = 24 * 3_600 * 1_000_000;

/// Locks `alfred.lock` beside a SQLite database: it belongs to one process.
pub(crate) fn lock(place: &Place) -> Result<Option<File>, StoreError> {
    let Place::Sqlite(path) = place else { return Ok(None) };
    let folder = path.parent().map(PathBuf::from).unwrap_or_default();
    let lock = folder.join("alfred.lock");
    let failed = |source| StoreError::File { path: lock.display().to_string(), source: Arc::new(source) };
    if !folder.as_os_str().is_empty() {
        std::fs::create_dir_all(&folder).map_err(failed)?;
    }
    let file = File::options().create(true).truncate(false).write(true).open(&lock).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::InUse { lock: lock.display().to_string() }),
        Err(std::fs::TryLockError::Error(source)) => Err(failed(source)),
    }
}

/// What a life begins with.
pub(crate) struct Setting {
    pub database: Database,
    pub queue: Arc<Queue>,
    pub clock: Clock,
    pub entropy: Entropy,
    pub confirmed: watch::Sender<Confirmed>,
    pub instance: Id<Instance>,
    pub watch: Arc<Watch>,
    pub lock: Option<Arc<File>>,
}

pub(crate) struct Life {
    instance: Id<Instance>,
    pulse: Arc<Pulse>,
    stop: CancellationToken,
    tasks: TaskTracker,
    writer: Mutex<Option<oneshot::Receiver<()>>>,
    queue: Arc<Queue>,
    lock: Mutex<Option<Arc<File>>>,
}

/// When the last beat reached the database, by this process's own steady clock.
struct Pulse {
    started: Instant,
    last_ms: AtomicU64,
}

impl Pulse {
    fn beat(&self, at: Instant) {
        let ms = at.duration_since(self.started).as_millis();
        self.last_ms.store(u64::try_from(ms).unwrap_or(u64::MAX), Ordering::SeqCst);
    }
}

impl Life {
    pub async fn begin(setting: Setting) -> Result<Life, StoreError> {
        let Setting { database, queue, clock, entropy, confirmed, instance, watch, lock } = setting;
        let pulse = Arc::new(Pulse { started: Instant::now(), last_ms: AtomicU64::new(0) });
        beat(&database, instance).await?;
        read_revision(&database, &clock, &confirmed).await?;
        let writer = crate::writer::start(crate::writer::Desk {
            database: database.clone(),
            queue: queue.clone(),
            clock: clock.clone(),
            entropy,
            confirmed: confirmed.clone(),
            instance,
            lock: lock.clone(),
        })
        .await?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        expire_orphans(&database, &queue, &clock, instance).await?;
        tasks.spawn(keep_beating(database.clone(), instance, pulse.clone(), stop.clone()));
        if matches!(database, Database::Sqlite(_)) {
            tasks.spawn(keep_checkpointing(database.clone(), stop.clone()));
        }
        tasks.spawn(keep_reading(database.clone(), clock.clone(), confirmed, stop.clone()));
        let stopped = stop.clone();
        tasks.spawn(async move { watch.keep(stopped).await });
        tasks.spawn(keep_house(database, queue.clone(), clock, instance, stop.clone()));
        tasks.close();
        let (writer, lock) = (Mutex::new(Some(writer)), Mutex::new(lock));
        Ok(Life { instance, pulse, stop, tasks, writer, queue, lock })
    }

    pub fn instance(&self) -> Id<Instance> {
        self.instance
    }

    /// How long ago the last beat was.
    pub fn silent(&self) -> Duration {
        let last = Duration::from_millis(self.pulse.last_ms.load(Ordering::SeqCst));
        self.pulse.started.elapsed().saturating_sub(last)
    }

    pub async fn end(&self, database: &Database) {
        self.queue.close();
        let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && tokio::time::timeout(FAREWELL, writer).await.is_err()
        {
            tracing::error!("closed before the writer had ended: what it did not save expires in full");
        }
        self.stop.cancel();
        if tokio::time::timeout(PROMPT, self.tasks.wait()).await.is_err() {
            tracing::warn!("closed before all tasks had ended");
        }
        // Holds that are left are orphans from now on; whoever comes next need not wait for the beat to grow old.
        match tokio::time::timeout(PROMPT, leave(database, self.instance)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "instance row stays until it is old"),
            Err(_) => tracing::warn!("instance row stays until it is old: the database does not answer"),
        }
        if tokio::time::timeout(PROMPT, database.close()).await.is_err() {
            tracing::warn!("connections to the database did not end in time");
        }
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Life {
    // Whoever forgot to close still gets no lost settlement: the writer ends when it has written what waits.
    fn drop(&mut self) {
        self.queue.close();
        self.stop.cancel();
    }
}

// The database's clock, in microseconds.
pub(crate) fn now_sql(database: &Database) -> &'static str {
    match database {
        Database::Sqlite(_) => "CAST((julianday('now') - 2440587.5) * 86400000000 AS INTEGER)",
        Database::Postgres(_) => "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)",
    }
}

async fn beat(database: &Database, instance: Id<Instance>) -> Result<(), StoreError> {
    let now = now_sql(database);
    let mut tx = database.begin().await?;
    tx.execute(
        format!(
            "INSERT INTO instances (id, started_at, beat_at) VALUES ($1, {now}, {now})
                 ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at"
        ),
        values![instance],
    )
    .await?;
    tx.commit().await
}

async fn leave(database: &Database, instance: Id<Instance>) -> Result<(), StoreError> {
    let mut tx = database.begin().await?;
    tx.execute("DELETE FROM instances WHERE id = $1", values![instance]).await?;
    tx.execute("UPDATE leases SET until = 0 WHERE holder = $1", values![instance]).await?;
    tx.commit().await
}

async fn keep_beating(database: Database, instance: Id<Instance>, pulse: Arc<Pulse>, stop: CancellationToken) {
    while pause(&stop, BEAT).await {
        let asked = Instant::now();
        match tokio::time::timeout(BEAT, beat(&database, instance)).await {
            Ok(Ok(())) => pulse.beat(asked), // the row is at least as young as the question
            Ok(Err(error)) => tracing::error!(%error, "heartbeat did not reach the database"),
            Err(_) => {
                database.distrust();
                tracing::error!("heartbeat did not reach the database in time");
            }
        }
    }
}

async fn keep_checkpointing(database: Database, stop: CancellationToken) {
    while pause(&stop, CHECKPOINT).await {
        if let Err(error) = database.checkpoint().await {
            tracing::warn!(%error, "log cannot be carried into the database file yet");
        }
    }
}

async fn keep_reading(database: Database, clock: Clock, confirmed: watch::Sender<Confirmed>, stop: CancellationToken) {
    while pause(&stop, POLL).await {
        match tokio::time::timeout(PROMPT, read_revision(&database, &clock, &confirmed)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "configuration revision cannot be read"),
            Err(_) => {
                database.distrust();
                tracing::warn!("configuration revision cannot be read in time");
            }
        }
    }
}

async fn keep_house(
    database: Database,
    queue: Arc<Queue>,
    clock: Clock,
    instance: Id<Instance>,
    stop: CancellationToken,
) {
    while pause(&stop, BEAT * 2).await {
        // Each step has its deadline in the store; their sum is nothing that an end should wait for.
        tokio::select! {
            () = stop.cancelled() => return,
            () = keep_house_once(&database, &queue, &clock, instance) => {}
        }
    }
}

async fn keep_house_once(database: &Database, queue: &Arc<Queue>, clock: &Clock, instance: Id<Instance>) {
    if let Err(error) = expire_orphans(database, queue, clock, instance).await {
        tracing::warn!(%error, "orphaned holds cannot be expired yet");
    }
    if let Err(error) = forget(database, clock.now()).await {
        tracing::warn!(%error, "old idempotency keys cannot be forgotten yet");
    }
}

// True when the time has passed, false when told to stop.
pub(crate) async fn pause(stop: &CancellationToken, time: Duration) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        () = tokio::time::sleep(time) => true,
    }
}

/// Reads the configuration's revision and tells whoever watches.
pub(crate) async fn read_revision(
    database: &Database,
    clock: &Clock,
    confirmed: &watch::Sender<Confirmed>,
) -> Result<(), StoreError> {
    let at = clock.now();
    let row = database.row("SELECT value FROM meta WHERE name = 'config_revision'", values![]).await?;
    let text: String = row.ok_or_else(|| StoreError::Corrupt("config revision".into()))?.get("value")?;
    confirm(confirmed, text.parse().map_err(|_| StoreError::Corrupt("config revision".into()))?, at);
    Ok(())
}

/// Revisions only rise: a read that took long does not turn the clock back.
pub(crate) fn confirm(confirmed: &watch::Sender<Confirmed>, revision: i64, at: Timestamp) {
    confirmed.send_if_modified(|last| {
        let newer = revision > last.revision || (revision == last.revision && at > last.at);
        if newer {
            *last = Confirmed { revision, at };
        }
        newer
    });
}

/// Settles in full what nobody will settle any more.
pub(crate) async fn expire_orphans(
    database: &Database,
    queue: &Queue,
    clock: &Clock,
    instance: Id<Instance>,
) -> Result<(), StoreError> {
    const BATCH: i64 = 256;
    let (own, job) = (Owner::Instance(instance).to_text(), Owner::Job.to_text());
    let orphaned = match database {
        // One process at a time: whatever another one held is orphaned. What a job holds outlives every process.
        Database::Sqlite(_) => "h.owner NOT IN ($2, $4) OR h.expires_at <= $1".to_owned(),
        Database::Postgres(_) => format!(
            "h.expires_at <= $1 OR (h.owner NOT IN ($2, $4) AND NOT EXISTS (
                 SELECT 1 FROM instances i WHERE i.id = h.owner AND i.beat_at > {} - {LOST_MICROS}))",
            now_sql(database)
        ),
    };
    // A process of the version before names no chain: its calls hold money in their wallet and those above it.
    let sql = format!(
        "SELECT h.call_id, h.org_id, h.key_id, h.wallet_id, COALESCE(NULLIF(h.chain, ''), h.wallet_id) AS chain
           FROM holds h WHERE ({orphaned}) AND h.call_id > $3 ORDER BY h.call_id LIMIT {BATCH}"
    );
    let mut expired = 0_usize;
    let mut passed = String::new();
    loop {
        let rows =
            database.rows(sql.clone(), values![clock.now(), own.as_str(), passed.as_str(), job.as_str()]).await?;
        let mut answers = Vec::with_capacity(rows.len());
        for row in &rows {
            passed = row.get("call_id")?;
            match expiry(row) {
                Ok((job, answer)) => {
                    queue.push(Job::Expire(job));
                    answers.push((passed.clone(), answer));
                }
                Err(error) => stays(&passed, &error),
            }
        }
        for (call, answer) in answers {
            match answer.await.unwrap_or(Err(StoreError::Closed)) {
                Ok(()) => expired += 1,
                Err(error @ (StoreError::Closed | StoreError::Silent | StoreError::Busy)) => return Err(error),
                Err(error) => stays(&call, &error),
            }
        }
        if rows.is_empty() {
            break;
        }
    }
    if expired > 0 {
        tracing::warn!(expired, "orphaned holds were settled in full and marked for review");
    }
    // Processes that are long gone.
    let mut tx = database.begin().await?;
    tx.execute(
        format!("DELETE FROM instances WHERE id <> $1 AND beat_at < {} - {}", now_sql(database), LOST_MICROS * 120),
        values![instance],
    )
    .await?;
    tx.commit().await
}

fn expiry(row: &Row) -> Result<(ExpireJob, oneshot::Receiver<Result<(), StoreError>>), StoreError> {
    let call = row.id::<Call>("call_id")?;
    let entry = Entry::new(Some(row.id::<Org>("org_id")?), kind::EXPIRE, Actor::System)
        .text("request_id", call)
        .text("key_id", row.id::<Key>("key_id")?)
        .text("wallet_id", row.id::<Wallet>("wallet_id")?);
    let (reply, answer) = oneshot::channel();
    let chain = row.get::<String>("chain")?.parse()?;
    Ok((ExpireJob { call, chain, entry, reply }, answer))
}

// One hold that cannot be expired keeps nobody else's: it is passed over, and tried again when the house is next kept.
fn stays(call: &str, error: &StoreError) {
    tracing::error!(call, error = error as &dyn std::error::Error, "an orphaned hold cannot be expired");
}

async fn forget(database: &Database, now: Timestamp) -> Result<(), StoreError> {
    let before = now.micros().saturating_sub(CLAIM_MICROS);
    let old = database.row("SELECT 1 AS one FROM claims WHERE at < $1 LIMIT 1", values![before]).await?;
    if old.is_none() {
        return Ok(());
    }
    let mut tx = database.begin().await?;
    tx.execute(
        "DELETE FROM claims WHERE at < $1 AND (key_id, name) IN
             (SELECT key_id, name FROM claims WHERE at < $1 ORDER BY at LIMIT 1000)",
        values![before],
    )
    .await?;
    tx.commit().await
}
