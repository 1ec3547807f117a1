//! Who notices that the file has changed, and who listens for SIGHUP.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;

use super::{Fingerprint, Reloader, Trigger, fingerprint};

/// The file is small and its content is what counts: mounted files change without a word, and clocks of file systems are coarse.
const GLANCE: Duration = Duration::from_secs(2);

impl Reloader {
    /// Runs until the house stops. A file is read again when it has been the same twice: it may be half written the first time.
    pub async fn watch(self: Arc<Self>) {
        let Some(file) = self.origin.file.clone().filter(|_| self.origin.named) else { return };
        let mut glance = tokio::time::interval(GLANCE);
        glance.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut candidate: Option<Fingerprint> = None;
        let mut missing = false;
        loop {
            tokio::select! {
                _ = glance.tick() => {}
                () = self.app.stopping.cancelled() => return,
            }
            if !self.is_watched() {
                continue;
            }
            let seen = match tokio::fs::read_to_string(&file).await {
                Ok(text) => fingerprint(&text),
                Err(error) => {
                    if !std::mem::replace(&mut missing, true) {
                        tracing::warn!(%error, "the configuration's file cannot be read: what is in force stays so");
                    }
                    continue;
                }
            };
            missing = false;
            if seen == self.state().tried {
                candidate = None;
            } else if candidate == Some(seen) {
                candidate = None;
                // What became of it is logged, counted and told by the status.
                drop(self.reload(Trigger::Watch).await);
            } else {
                candidate = Some(seen);
            }
        }
    }

    /// Runs until the house stops. Without a file SIGHUP does nothing; it never ends the house.
    pub async fn listen_for_signals(self: Arc<Self>) {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut hang_up) = signal(SignalKind::hangup()) else { return };
        loop {
            tokio::select! {
                _ = hang_up.recv() => {}
                () = self.app.stopping.cancelled() => return,
            }
            if let Err(super::NotReloaded::NoFile) = self.reload(Trigger::Signal).await {
                tracing::warn!("SIGHUP: there is no configuration file to read again");
            }
        }
    }
}
