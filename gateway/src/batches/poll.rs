//! Asks providers how their batches stand, and settles those that have ended: every line by its own count, all of them as one charge.
//! Of several processes the one with the lease does it. What is lost half-way is done by whoever leases the batch next.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ledger::{
    AttemptRecord, BatchFileRow, BatchRecord, BatchRow, BatchState, CallRecord, Charge, Exact, FileKind, Hold, Markup,
    Money, Release, Timestamp, Usage,
};
use providers::{AnsweredLine, BatchEndpoint, Lines, ProviderError, RemoteBatch, Target};

use super::LEASE;
use crate::app::App;
use crate::case::millis;
use crate::meter::Meter;

/// How often we look for what is due.
const GLANCE: Duration = Duration::from_secs(1);
/// So many are looked at side by side.
const TOGETHER: u32 = 4;
/// The shortest and the longest time between two looks at one batch.
const SOON: Duration = Duration::from_secs(5);
const LATE: Duration = Duration::from_secs(600);
/// Longer than any answer that a line can have.
const LONGEST_LINE: usize = 64 << 20;

/// Runs until the house stops.
pub async fn keep(app: Arc<App>) {
    let mut glance = tokio::time::interval(GLANCE);
    glance.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = glance.tick() => {}
            () = app.stopping.cancelled() => return,
        }
        match app.ledger.batches().due(TOGETHER, LEASE).await {
            // Cut short by the end of the house, a batch is leased to the next one when its lease is over.
            Ok(due) => tokio::select! {
                _ = join_all(due.into_iter().map(|row| look(&app, row))) => {}
                () = app.stop_now.cancelled() => return,
            },
            Err(error) => tracing::warn!(%error, "it is not known which batches are due"),
        }
    }
}

/// The older a batch, the longer we wait: a twentieth of its age, within bounds.
pub fn next_look(created_at: Timestamp, now: Timestamp) -> Timestamp {
    now.after((now.since(created_at) / 20).clamp(SOON, LATE))
}

/// Writes into the row what the provider says.
pub fn hear(row: &mut BatchRow, remote: &RemoteBatch) {
    row.upstream = Some(remote.id.clone());
    row.state = BatchState::Open;
    let told = &mut row.told;
    // That it is over is told when it is settled.
    if !remote.is_over() {
        told.status.clone_from(&remote.status);
    }
    // Before it has read the file, a provider counts nothing.
    told.total = remote.total.max(told.total);
    (told.completed, told.failed) = (remote.completed, remote.failed);
    told.times.extend(remote.times.clone());
    told.faults.clone_from(&remote.faults);
}

/// Asks after one batch that is leased to us. Whatever cannot be done now is tried again later.
pub async fn look(app: &Arc<App>, mut row: BatchRow) {
    let looked = async {
        let snapshot = app.snapshot().map_err(|_| Trouble::Later("the ledger cannot be asked"))?;
        let found = snapshot.routes.fleet.target(&row.target).filter(|target| target.batches);
        let target = found.ok_or(Trouble::Later("its provider is no longer configured"))?;
        let remote = match &row.upstream {
            Some(id) => app.outbound.batch(&target, id).await?,
            None => match app.outbound.find_batch(&target, &row.call.to_string()).await? {
                Some(remote) => remote,
                None => return Ok(None),
            },
        };
        Ok::<_, Trouble>(Some((target, remote)))
    }
    .await;
    match looked {
        Ok(Some((target, remote))) => {
            hear(&mut row, &remote);
            if !remote.is_over() {
                return later(app, row).await;
            }
            let id = row.id;
            if let Err(trouble) = finish(app, &mut row, &target, &remote).await {
                tracing::warn!(batch = %id, why = trouble.words(), "a batch that has ended cannot be settled yet");
                later(app, row).await;
            }
        }
        // Its provider was never asked to begin it.
        Ok(None) => give_up(app, row, "batch_not_begun").await,
        Err(trouble) => {
            tracing::warn!(batch = %row.id, why = trouble.words(), "a batch cannot be asked after");
            later(app, row).await;
        }
    }
}

/// Why something was not done.
enum Trouble {
    Later(&'static str),
    Provider(ProviderError),
    Store(ledger::StoreError),
}

impl Trouble {
    fn words(&self) -> String {
        match self {
            Trouble::Later(why) => (*why).to_owned(),
            Trouble::Provider(error) => format!("provider: {}", error.class.as_str()),
            Trouble::Store(error) => error.to_string(),
        }
    }
}

impl From<ProviderError> for Trouble {
    fn from(error: ProviderError) -> Trouble {
        Trouble::Provider(error)
    }
}

impl From<ledger::StoreError> for Trouble {
    fn from(error: ledger::StoreError) -> Trouble {
        Trouble::Store(error)
    }
}

async fn later(app: &App, mut row: BatchRow) {
    row.next_at = next_look(row.created_at, app.clock().now());
    if let Err(error) = app.ledger.batches().save(&row).await {
        tracing::warn!(batch = %row.id, %error, "what is known of a batch cannot be written down");
    }
}

/// Ends a batch that its provider never had: nothing is charged.
pub async fn give_up(app: &App, mut row: BatchRow, why: &str) {
    let ended = async {
        if let Some(hold) = app.ledger.batches().hold(&row).await? {
            let release = Release { reason: why.to_owned(), cost: Money::ZERO, record: record(app, &row, why) };
            app.ledger.release(hold, release).await?;
        }
        row.claim = None;
        close(app, &mut row, "failed");
        app.ledger.batches().end(&row, &[]).await
    };
    if let Err(error) = ended.await {
        tracing::warn!(%error, "a batch that was never begun cannot be ended yet");
    }
}

fn close(app: &App, row: &mut BatchRow, status: &str) {
    row.state = BatchState::Ended;
    row.told.status = status.to_owned();
    let now = app.clock().now().micros().div_euclid(1_000_000);
    row.told.times.entry(format!("{status}_at")).or_insert(now);
    app.patience.freed(row.org);
}

/// Settles a batch that is over, and makes its files readable.
async fn finish(app: &App, row: &mut BatchRow, target: &Arc<Target>, remote: &RemoteBatch) -> Result<(), Trouble> {
    let hold = app.ledger.batches().hold(row).await?;
    let mut files = Vec::new();
    let mut bytes = 0;
    if let Some(hold) = hold {
        let tally = match &remote.output_file {
            Some(file) => read(app, row, target, file).await?,
            None => Tally::default(),
        };
        bytes = tally.bytes;
        // What is not charged frees its Idempotency-Key.
        row.claim = row.claim.filter(|_| tally.exact.is_some());
        charge(app, row, target, remote, hold, tally).await?;
    }
    for (id, kind) in [(&remote.output_file, FileKind::Output), (&remote.error_file, FileKind::Errors)] {
        let Some(upstream) = id else { continue };
        files.push(BatchFileRow {
            id: app.ledger.new_id(),
            org: row.org,
            key: row.key,
            wallet: row.wallet,
            kind,
            target: row.target.clone(),
            upstream: upstream.clone(),
            endpoint: row.endpoint.clone(),
            bytes: if kind == FileKind::Output { bytes } else { 0 },
            lines: if kind == FileKind::Output { remote.completed } else { remote.failed },
            terms: None,
            created_at: app.clock().now(),
            expires_at: None,
        });
    }
    let of = |kind: FileKind| files.iter().find(|file| file.kind == kind).map(|file| file.id);
    (row.output, row.errors) = (of(FileKind::Output), of(FileKind::Errors));
    close(app, row, &remote.status);
    app.ledger.batches().end(row, &files).await?;
    Ok(())
}

/// What the lines of an output file used.
#[derive(Default)]
struct Tally {
    done: u64,
    estimated: u64,
    bytes: u64,
    usage: Usage,
    exact: Option<Exact>,
}

async fn read(app: &App, row: &BatchRow, target: &Arc<Target>, file: &str) -> Result<Tally, Trouble> {
    let endpoint = BatchEndpoint::from_url(&row.endpoint).ok_or(Trouble::Later("its endpoint is not known"))?;
    let blank = endpoint.blank();
    // What a line asked is no longer at hand: where nobody has counted, it had no more than its share.
    let share = row.terms.input_bound.div_ceil(row.lines.max(1));
    let (mut lines, mut tally) = (Lines::new(LONGEST_LINE), Tally::default());
    let mut each = |line: &[u8]| {
        let Some(answered) = AnsweredLine::read(target, &blank, line) else { return };
        let mut meter = Meter::default();
        for delta in &answered.deltas {
            meter.heard(delta, target);
        }
        if let Some(usage) = answered.usage {
            meter.billed(usage);
        }
        let reported = meter.is_reported();
        let mut usage = meter.usage(target, &blank, true);
        if !reported {
            usage.input = share;
            tally.estimated += 1;
        }
        usage.batch = true;
        tally.done += 1;
        tally.exact = Some(tally.exact.unwrap_or(Exact::ZERO).plus(row.terms.rates.exact(&usage)));
        add(&mut tally.usage, &usage);
    };
    let mut content = app.outbound.file_content(target, file).await?;
    let mut bytes = 0;
    while let Some(piece) = content.next().await {
        let piece = piece?;
        bytes += piece.len() as u64;
        if !lines.feed(&piece, &mut each) {
            return Err(Trouble::Later("a line of its answer is too long"));
        }
    }
    lines.finish(&mut each);
    tally.bytes = bytes;
    Ok(tally)
}

fn add(sum: &mut Usage, more: &Usage) {
    for (sum, more) in [
        (&mut sum.input, more.input),
        (&mut sum.cached_input, more.cached_input),
        (&mut sum.cache_write, more.cache_write),
        (&mut sum.cache_write_1h, more.cache_write_1h),
        (&mut sum.audio_input, more.audio_input),
        (&mut sum.image_input, more.image_input),
        (&mut sum.output, more.output),
        (&mut sum.reasoning, more.reasoning),
        (&mut sum.audio_output, more.audio_output),
        (&mut sum.image_output, more.image_output),
        (&mut sum.searches, more.searches),
        (&mut sum.images, more.images),
        (&mut sum.seconds, more.seconds),
        (&mut sum.characters, more.characters),
        (&mut sum.requests, more.requests.max(1)),
    ] {
        *sum = sum.saturating_add(more);
    }
    sum.batch = true;
    sum.estimated |= more.estimated;
}

/// One settlement for all lines, or a release where none was answered.
async fn charge(
    app: &App,
    row: &BatchRow,
    target: &Target,
    remote: &RemoteBatch,
    hold: Hold,
    tally: Tally,
) -> Result<(), Trouble> {
    let mut record = record(app, row, &remote.status);
    record.batch = Some(BatchRecord {
        id: row.id.to_string(),
        lines: row.lines,
        done: tally.done,
        failed: remote.failed.max(row.lines.saturating_sub(tally.done)),
        estimated: tally.estimated,
    });
    let Some(exact) = tally.exact else {
        let reason = format!("batch_{}", remote.status);
        app.ledger.release(hold, Release { reason, cost: Money::ZERO, record }).await?;
        return Ok(());
    };
    let cost = exact.rounded_up().unwrap_or(Money::MAX);
    let price = exact.with_markup(row.terms.markup).rounded_up().unwrap_or(Money::MAX);
    record.usage = tally.usage;
    record.attempts = vec![AttemptRecord {
        target: row.target.clone(),
        outcome: "answered".to_owned(),
        status: Some(200),
        latency_ms: record.latency_ms,
        cost,
    }];
    let took = Duration::from_millis(record.latency_ms);
    app.ledger.settle(hold, Charge { cost, price, record }).await?;
    app.telemetry.used("batches", target, &tally.usage, took, None);
    Ok(())
}

/// The receipt's account of a batch.
fn record(app: &App, row: &BatchRow, ending: &str) -> CallRecord {
    let terms = &row.terms;
    CallRecord {
        kind: "batches".to_owned(),
        model: terms.model.clone(),
        target: Some(row.target.clone()),
        routing: terms.routing.clone(),
        ending: if ending == "completed" { "finished".to_owned() } else { ending.to_owned() },
        price_version: terms.price_version.clone(),
        markup: Some(terms.markup).filter(|it| *it != Markup::NONE),
        started_at: Some(row.created_at),
        latency_ms: millis(app.clock().now().since(row.created_at)),
        policy: terms.policy.clone(),
        claims: row.told.metadata.clone(),
        team: terms.team,
        user: terms.user,
        ..CallRecord::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_batch_is_asked_after_less_often_than_a_young_one_and_within_bounds() {
        let at = |seconds: i64| Timestamp::from_micros(seconds * 1_000_000);
        for (age, wait) in [(0, 5), (60, 5), (200, 10), (3_600, 180), (86_400, 600), (8 * 86_400, 600)] {
            assert_eq!(next_look(at(1_000), at(1_000 + age)), at(1_000 + age + wait), "{age} s old");
        }
    }
}
