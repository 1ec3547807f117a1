//! The decision log: calls leave what rules decided in a bounded queue and go on; one task asks the shadow, writes rows in batches,
//! and takes old ones away. What finds no place is counted, and the log tells of its own hole.

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ledger::{DecisionResult, DecisionRow, Frame, Ledger, Lost, Timestamp};
use policies::Mask;
use policies::replay::Difference;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::noted::{Noted, Written, layers};
use crate::app::App;
use crate::case::Case;
use crate::snapshot::Snapshot;

/// Decisions that may wait.
pub const PLACES: usize = 8_192;
/// So many are written at once, or those of so long.
const TOGETHER: usize = 256;
const GATHER: Duration = Duration::from_millis(50);
/// A batch that cannot be written is tried so often, with this much between; then it is lost, and told as such.
const TRIES: u32 = 5;
const BETWEEN: Duration = Duration::from_millis(400);
const DEADLINE: Duration = Duration::from_secs(15);
/// And at the end so long for all that waits.
const FAREWELL: Duration = Duration::from_secs(5);
/// How often old rows are looked for, and how many go at once.
const SWEEP: Duration = Duration::from_secs(60);
const SWEPT: u32 = 500;
const BREATH: Duration = Duration::from_millis(20);
const SWEEPS: u32 = 40;
/// So many hashes of frames that are known to be stored are remembered; a frame that is wanted is told so once a day.
const KNOWN: usize = 16_384;
const DAY: i64 = 86_400_000_000;

/// Where calls leave what rules decided.
pub struct DecisionLog {
    sender: mpsc::Sender<Noted>,
    /// The task's, until it takes it.
    receiver: Mutex<Option<mpsc::Receiver<Noted>>>,
    lost: Holes,
}

/// Decisions that found no place or could not be written, and since when.
#[derive(Default)]
struct Holes {
    decisions: AtomicU64,
    since: AtomicI64,
}

impl Holes {
    fn count(&self, decisions: u64, at: Timestamp) {
        if self.decisions.fetch_add(decisions, Ordering::Relaxed) == 0 {
            self.since.store(at.micros(), Ordering::Relaxed);
        }
        metrics::counter!("alfred_decision_log_dropped_total").increment(decisions);
    }

    fn take(&self) -> Option<Lost> {
        let since = Timestamp::from_micros(self.since.load(Ordering::Relaxed));
        let decisions = self.decisions.swap(0, Ordering::Relaxed);
        (decisions > 0).then(|| Lost { decisions: i64::try_from(decisions).unwrap_or(i64::MAX), since })
    }

    /// What could not be told yet.
    fn put_back(&self, lost: Lost) {
        if self.decisions.fetch_add(lost.decisions.unsigned_abs(), Ordering::Relaxed) == 0 {
            self.since.store(lost.since.micros(), Ordering::Relaxed);
        } else {
            self.since.fetch_min(lost.since.micros(), Ordering::Relaxed);
        }
    }
}

impl DecisionLog {
    /// With room for so many decisions.
    pub fn new(places: usize) -> DecisionLog {
        let (sender, receiver) = mpsc::channel(places);
        DecisionLog { sender, receiver: Mutex::new(Some(receiver)), lost: Holes::default() }
    }

    /// Takes what the rules were asked of this call and answered. Waits for nothing.
    pub fn take(&self, case: &mut Case, ledger: &Ledger) {
        if case.judged.is_empty() {
            return;
        }
        let judged = std::mem::take(&mut case.judged);
        let Some(caller) = &case.caller else { return };
        // The first decision of a call has its number; a later one gets its own.
        let id = match std::mem::replace(&mut case.decided, true) {
            false => ledger::Id::from_uuid(case.id.uuid()),
            true => ledger.new_id(),
        };
        let credential = Arc::clone(&caller.credential);
        self.note(Noted { id, call: case.id, at: case.at, credential, model: case.model.clone(), judged });
    }

    fn note(&self, noted: Noted) {
        let at = noted.at;
        if self.sender.try_send(noted).is_err() {
            self.lost.count(1, at);
        }
    }
}

/// Runs until the house is shut down; then writes down what waits.
pub async fn keep(app: Arc<App>) {
    let receiver = app.decisions.receiver.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(mut receiver) = receiver else { return };
    let mut writer = Writer::new(app.ledger.clone(), app.stop_now.clone());
    let mut sweep = tokio::time::interval(SWEEP);
    sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut batch = Vec::with_capacity(TOGETHER);
    loop {
        tokio::select! {
            biased;
            () = app.stop_now.cancelled() => break,
            // What calls wait for comes first; a sweep is cut into small pieces.
            _ = receiver.recv_many(&mut batch, TOGETHER) => gather(&mut receiver, &mut batch).await,
            _ = sweep.tick() => sweep_old(&app).await,
        }
        write(&app, &mut writer, std::mem::take(&mut batch)).await;
    }
    let farewell = async {
        receiver.close();
        while receiver.recv_many(&mut batch, TOGETHER).await > 0 {
            write(&app, &mut writer, std::mem::take(&mut batch)).await;
        }
        write(&app, &mut writer, Vec::new()).await;
    };
    if timeout(FAREWELL, farewell).await.is_err() {
        tracing::error!("decisions that waited for the log could not be written before the end");
    }
}

/// Fills a batch, for a moment.
async fn gather(receiver: &mut mpsc::Receiver<Noted>, batch: &mut Vec<Noted>) {
    let until = Instant::now() + GATHER;
    while batch.len() < TOGETHER {
        let room = TOGETHER - batch.len();
        match timeout_at(until, receiver.recv_many(batch, room)).await {
            Ok(0) | Err(_) => return,
            Ok(_) => {}
        }
    }
}

/// Writes a batch, and the hole before it.
async fn write(app: &Arc<App>, writer: &mut Writer, batch: Vec<Noted>) {
    let lost = app.decisions.lost.take();
    if batch.is_empty() && lost.is_none() {
        return;
    }
    let snapshot = app.present();
    let enabled = snapshot.routes.made.config.policies.log.enabled;
    let on_the_side = tokio::task::spawn_blocking({
        let app = Arc::clone(app);
        move || rows(&app, &snapshot, batch)
    });
    match on_the_side.await {
        Ok(written) if enabled => writer.store(&app.decisions.lost, written, lost).await,
        Ok(_) => {}
        Err(_) => tracing::error!("decisions could not be made into rows: the log has the cause"),
    }
}

/// What is known of the frames that are stored, and the way to the ledger.
struct Writer {
    ledger: Ledger,
    stop_now: CancellationToken,
    /// Frames that are stored, of this day.
    stored: HashSet<String>,
    day: i64,
}

impl Writer {
    fn new(ledger: Ledger, stop_now: CancellationToken) -> Writer {
        Writer { ledger, stop_now, stored: HashSet::new(), day: 0 }
    }

    /// Stores rows, and what was lost before them. What cannot be stored is lost.
    async fn store(&mut self, holes: &Holes, written: Vec<Written>, lost: Option<Lost>) {
        let now = self.ledger.clock().now();
        let day = now.micros().div_euclid(DAY);
        if day != self.day || self.stored.len() > KNOWN {
            self.stored.clear();
            self.day = day;
        }
        let (mut rows, mut frames, mut new) = (Vec::with_capacity(written.len() + 1), Vec::new(), HashSet::new());
        for Written { row, frames: its, .. } in written {
            rows.push(row);
            let unknown = |frame: &Frame| !self.stored.contains(frame.hash()) && new.insert(frame.hash().to_owned());
            frames.extend(its.into_iter().filter(unknown));
        }
        let decisions = rows.len() as u64;
        rows.extend(lost.map(|lost| gap(&self.ledger, lost, now)));
        if self.append(&rows, &frames, now).await {
            self.stored.extend(new);
            return;
        }
        if decisions > 0 {
            holes.count(decisions, rows.first().map_or(now, |row| row.at));
        }
        if let Some(lost) = lost {
            holes.put_back(lost);
        }
    }

    async fn append(&self, rows: &[DecisionRow], frames: &[Frame], now: Timestamp) -> bool {
        for attempt in 1..=TRIES {
            match timeout(DEADLINE, self.ledger.decisions().append(rows, frames, now)).await {
                Ok(Ok(())) => return true,
                Ok(Err(error)) => {
                    tracing::warn!(attempt, error = &error as &dyn std::error::Error, "decisions could not be written");
                }
                Err(_) => tracing::warn!(attempt, "decisions could not be written in time"),
            }
            tokio::select! {
                () = tokio::time::sleep(BETWEEN) => {}
                () = self.stop_now.cancelled() => {}
            }
        }
        false
    }
}

/// Takes away what is older than it may be, a little at a time.
async fn sweep_old(app: &App) {
    let days = app.routes().made.config.policies.log.keep_days;
    let kept = i64::from(days).saturating_mul(DAY);
    let before = Timestamp::from_micros(app.clock().now().micros().saturating_sub(kept));
    // No more at a time: calls that were decided meanwhile wait in the queue.
    for _ in 0..SWEEPS {
        match app.ledger.decisions().forget(before, SWEPT).await {
            Ok(gone) if gone == u64::from(SWEPT) && !app.stopping.is_cancelled() => tokio::time::sleep(BREATH).await,
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "old decisions could not be taken away");
                return;
            }
        }
    }
}

/// Evaluates and encodes. Takes its time, so not on a thread that calls are answered on.
fn rows(app: &App, snapshot: &Snapshot, batch: Vec<Noted>) -> Vec<Written> {
    let mask = Words { ledger: &app.ledger, snapshot };
    let hash = |bytes: &[u8]| app.ledger.keyed_hash("facts", bytes);
    let mut rows = Vec::with_capacity(batch.len());
    for noted in batch {
        let revision = noted.judged.last().map_or("", |it| it.decided.revision.as_str());
        let layers = layers(&snapshot.policies, &noted.credential, revision);
        let Some(written) = noted.written(&mask, &hash, &layers, snapshot.shadow.as_deref()) else { continue };
        count(&written);
        rows.push(written);
    }
    rows
}

fn count(written: &Written) {
    let (result, code) = (written.row.result.as_str(), written.row.code.as_deref().map_or("", code));
    metrics::counter!("alfred_policy_decisions_total", "result" => result, "code" => code).increment(1);
    if let Some(difference) = written.difference {
        metrics::counter!("alfred_policy_shadow_differences_total", "kind" => difference.as_str()).increment(1);
    }
}

/// Labels are words of ours.
fn code(code: &str) -> &'static str {
    policies::Code::parse(code).map_or("other", policies::Code::as_str)
}

fn gap(ledger: &Ledger, lost: Lost, now: Timestamp) -> DecisionRow {
    DecisionRow {
        id: ledger.new_id(),
        call: None,
        at: now,
        org: None,
        team: None,
        key: None,
        model: String::new(),
        revision: String::new(),
        facts_hash: None,
        result: DecisionResult::Gap,
        code: None,
        target: None,
        rerouted: None,
        observed: 0,
        took_ns: 0,
        remembered: false,
        level: String::new(),
        facts: None,
        outcome: None,
        shadow: None,
        lost: Some(lost),
    }
}

/// Masks by this database's secret, and knows the names that are configured or catalogued.
struct Words<'a> {
    ledger: &'a Ledger,
    snapshot: &'a Snapshot,
}

impl Mask for Words<'_> {
    fn hash(&self, word: &str) -> String {
        format!("~{}", hex::encode(&self.ledger.keyed_hash("claim", word.as_bytes())[..8]))
    }

    fn is_known(&self, name: &str) -> bool {
        self.snapshot.knows(name)
    }
}

/// What the kinds of figures are about.
pub fn describe() {
    use metrics::describe_counter;
    describe_counter!("alfred_policy_decisions_total", "calls that rules decided, by result and code");
    describe_counter!("alfred_policy_shadow_differences_total", "calls that the shadow would have decided otherwise");
    describe_counter!("alfred_decision_log_dropped_total", "decisions that could not be written down");
    for difference in Difference::ALL {
        metrics::counter!("alfred_policy_shadow_differences_total", "kind" => difference.as_str()).absolute(0);
    }
    metrics::counter!("alfred_decision_log_dropped_total").absolute(0);
}

#[cfg(test)]
mod tests {
    use ledger::{Actor, DecisionFilter, Id, NewKey, NewOrg, NewWallet, WalletKind};

    use super::*;

    async fn house(folder: &std::path::Path) -> (Ledger, Arc<ledger::Credential>) {
        let url = format!("sqlite://{}/alfred.db", folder.display());
        let ledger = Ledger::open(ledger::Options::new(url)).await.expect("a ledger");
        let (org, wallet, tenants) = (ledger.new_id(), ledger.new_id(), ledger.tenants());
        tenants
            .create_org(NewOrg { id: org, name: "org".into(), attributes: Default::default() }, &Actor::System)
            .await
            .expect("an org");
        let new = NewWallet::new(wallet, org, "wallet", WalletKind::Org);
        tenants.create_wallet(new, &Actor::System).await.expect("a wallet");
        tenants.create_key(NewKey::new(ledger.new_id(), "key", wallet), &Actor::System).await.expect("a key");
        let credential = tenants.credentials().await.expect("keys").keys.remove(0);
        (ledger, Arc::new(credential))
    }

    fn noted(ledger: &Ledger, credential: &Arc<ledger::Credential>) -> Noted {
        let call: Id<ledger::Call> = ledger.new_id();
        let (id, at) = (Id::from_uuid(call.uuid()), ledger.clock().now());
        Noted { id, call, at, credential: Arc::clone(credential), model: "chat".into(), judged: Vec::new() }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_found_no_place_is_told_as_a_gap() {
        let folder = tempfile::tempdir().expect("a folder");
        let (ledger, credential) = house(folder.path()).await;
        let log = DecisionLog::new(2);
        let first = noted(&ledger, &credential);
        let began = first.at;
        log.note(first);
        for _ in 0..4 {
            log.note(noted(&ledger, &credential));
        }
        let mut writer = Writer::new(ledger.clone(), CancellationToken::new());
        writer.store(&log.lost, Vec::new(), log.lost.take()).await;
        assert_eq!(log.lost.take(), None, "told once");
        let filter = DecisionFilter { result: Some(DecisionResult::Gap), ..DecisionFilter::default() };
        let rows = ledger.decisions().list(&filter, None, 10).await.expect("a list");
        let [gap] = rows.as_slice() else { panic!("one gap: {rows:?}") };
        let lost = gap.lost.expect("what was lost");
        assert_eq!((lost.decisions, gap.call), (3, None));
        assert!(began <= lost.since && lost.since <= gap.at, "{gap:?}");
        ledger.close().await;
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_cannot_be_stored_is_lost_and_told_later() {
        let folder = tempfile::tempdir().expect("a folder");
        let (ledger, _) = house(folder.path()).await;
        ledger.close().await;
        let holes = Holes::default();
        let stop = CancellationToken::new();
        stop.cancel(); // nobody waits between the tries
        let mut writer = Writer::new(ledger.clone(), stop);
        let at = ledger.clock().now();
        let row = DecisionRow {
            result: DecisionResult::Allow,
            lost: None,
            ..gap(&ledger, Lost { decisions: 0, since: at }, at)
        };
        let written = Written { row, frames: Vec::new(), difference: None };
        writer.store(&holes, vec![written], Some(Lost { decisions: 7, since: Timestamp::from_micros(1) })).await;
        assert_eq!(holes.take(), Some(Lost { decisions: 8, since: Timestamp::from_micros(1) }));
    }
}
