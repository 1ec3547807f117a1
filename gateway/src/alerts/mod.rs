//! Alerts on their way out: from the ledger's outbox to webhooks, chats and mailboxes, at least once.
//!
//! One task looks for new alerts and says whom they are for; each sink has a task of its own, so that one that does not
//! answer holds up nobody else. What was not taken is tried again, ever more seldom, for about a day.

mod config;
mod mail;
mod sink;

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use ledger::{Due, Ledger, StoreError};
use metrics::gauge;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use config::{SinkConfig, Source, sinks};
pub use sink::Sink;

const GLANCE: Duration = Duration::from_secs(1);
/// Longer than a delivery can take: who claimed it and did not mark it by then is gone.
const LEASE: Duration = Duration::from_secs(60);
/// So many are on their way to a sink at once.
const TOGETHER: u32 = 8;

/// After so many attempts, which is about a day, it is given up.
const ATTEMPTS: i64 = 30;
const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(3_600);

/// Who delivers.
pub struct Messenger {
    ledger: Ledger,
    sinks: Vec<Arc<Sink>>,
}

impl Messenger {
    /// Makes ready to deliver.
    pub fn new(ledger: Ledger, sinks: Vec<Sink>) -> Messenger {
        Messenger { ledger, sinks: sinks.into_iter().map(Arc::new).collect() }
    }

    /// Delivers until `stop`. What is on its way then may arrive; if it is not marked, it comes again.
    pub fn begin(self, tasks: &TaskTracker, stop: &CancellationToken) {
        let messenger = Arc::new(self);
        for sink in &messenger.sinks {
            let (messenger, sink, stop) = (Arc::clone(&messenger), Arc::clone(sink), stop.clone());
            tasks.spawn(async move {
                while pause(&stop).await {
                    tokio::select! {
                        () = stop.cancelled() => return,
                        () = messenger.deliver(&sink) => {}
                    }
                }
            });
        }
        let stop = stop.clone();
        tasks.spawn(async move {
            while pause(&stop).await {
                if let Err(error) = messenger.route().await {
                    tracing::warn!(%error, "new alerts cannot be looked at yet");
                }
            }
        });
    }

    /// Says of new alerts whom they are for, and of all how many wait.
    async fn route(&self) -> Result<(), StoreError> {
        let outbox = self.ledger.outbox();
        let whom = |alert: &ledger::AlertRow| {
            self.sinks.iter().filter(|sink| sink.wants(alert)).map(|sink| sink.id.clone()).collect()
        };
        while outbox.route(whom).await? > 0 {}
        let (pending, failed) = outbox.backlog().await?;
        #[expect(clippy::cast_precision_loss, reason = "gauges are read by people and plotters")]
        {
            gauge!("alfred_alerts_pending").set(pending as f64);
            gauge!("alfred_alerts_failed").set(failed as f64);
        }
        Ok(())
    }

    /// Delivers what is due for a sink.
    async fn deliver(&self, sink: &Sink) {
        match self.ledger.outbox().claim(&sink.id, TOGETHER, LEASE).await {
            Ok(due) => {
                join_all(due.iter().map(|due| self.deliver_one(sink, due))).await;
            }
            Err(error) => tracing::warn!(%error, sink = sink.id, "alerts cannot be claimed yet"),
        }
    }

    async fn deliver_one(&self, sink: &Sink, due: &Due) {
        let outbox = self.ledger.outbox();
        let now = self.ledger.clock().now();
        let told = sink.tell(&due.alert, now).await;
        let marked = match told {
            Ok(()) => outbox.delivered(&sink.id, due).await,
            Err(why) => {
                let wait = wait_after(due.attempt, self.ledger.entropy().bytes());
                let (alert, sink_id, attempt) = (due.alert.id, &sink.id, due.attempt);
                match wait {
                    Some(_) => tracing::warn!(%alert, sink = sink_id, attempt, why, "alert was not delivered yet"),
                    None => {
                        tracing::error!(%alert, sink = sink_id, attempt, why, "ALERT WAS GIVEN UP: nobody was told")
                    }
                }
                outbox.missed(&sink.id, due, &why, wait.map(|wait| now.after(wait))).await
            }
        };
        if let Err(error) = marked {
            tracing::warn!(%error, sink = sink.id, "what became of an alert cannot be written down: it comes again");
        }
    }
}

async fn pause(stop: &CancellationToken) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        () = tokio::time::sleep(GLANCE) => true,
    }
}

/// How long to wait after an attempt that failed: twice as long each time, up to an hour, give or take a quarter so that
/// what failed together is not tried together; nothing after the last.
fn wait_after(attempt: i64, random: [u8; 2]) -> Option<Duration> {
    if attempt >= ATTEMPTS {
        return None;
    }
    let doubled = u32::try_from(attempt.clamp(1, 20) - 1).unwrap_or(0);
    let pause = FIRST_PAUSE.saturating_mul(1 << doubled).min(LONGEST_PAUSE);
    let share = u32::from(u16::from_le_bytes(random)); // 0 to 65,535
    Some(pause * 3 / 4 + pause / 2 * share / 65_535)
}

#[cfg(test)]
mod tests;
