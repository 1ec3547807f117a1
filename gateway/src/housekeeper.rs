//! What must be done now and then: newer keys read, counted refusals written down, old samples folded.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ledger::{Actor, Entry};

use crate::app::App;
use crate::limits::{Counted, Subject};

/// Well below the five seconds in which a revoked key must stop everywhere.
const GLANCE: Duration = Duration::from_millis(250);

/// So many entries are handed to the ledger at once.
const TOGETHER: usize = 64;

/// Runs until the house stops; then writes down what is counted so far.
pub async fn keep(app: Arc<App>) {
    let mut glance = tokio::time::interval(GLANCE);
    glance.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut ticks: u32 = 0;
    loop {
        tokio::select! {
            _ = glance.tick() => {}
            () = app.stopping.cancelled() => break,
        }
        if app.is_behind()
            && let Err(error) = app.refresh_keys().await
        {
            tracing::error!(%error, "the keys cannot be read again");
        }
        app.admission.tick(app.ledger.gauges().queue_depth);
        ticks = ticks.wrapping_add(1);
        if ticks.is_multiple_of(20) {
            app.telemetry.upkeep();
            write_down(&app, app.limits.counted(app.clock().now(), false)).await;
        }
    }
    write_down(&app, app.limits.counted(app.clock().now(), true)).await;
}

/// One entry a minute and subject, however many refusals it stands for. Handed over together, so that they share commits.
async fn write_down(app: &App, counted: Vec<Counted>) {
    for some in counted.chunks(TOGETHER) {
        let written = join_all(some.iter().map(|counted| app.ledger.record(entry(app, counted)))).await;
        let failed: Vec<Counted> = some.iter().zip(&written).filter(|(_, w)| w.is_err()).map(|(c, _)| *c).collect();
        if let Some(Err(error)) = written.iter().find(|written| written.is_err()) {
            tracing::error!(%error, "counted refusals could not be written down yet");
            app.limits.put_back(failed);
        }
    }
}

fn entry(app: &App, counted: &Counted) -> Entry {
    let (org, actor) = match counted.subject {
        Subject::Key(key, org) => (Some(org), Actor::Key(key)),
        Subject::Address(_) | Subject::Others => (None, Actor::System),
    };
    let entry = Entry::new(org, "REFUSED", actor)
        .with("code", counted.code)
        .with("count", counted.count)
        .with("minute", counted.minute.to_string());
    let Subject::Address(address) = counted.subject else { return entry };
    // An address is personal data: only its keyed hash is kept, enough to see that it is the same one.
    let hash = app.ledger.keyed_hash("address", address.to_string().as_bytes());
    entry.with("address_hash", hex::encode(hash))
}
