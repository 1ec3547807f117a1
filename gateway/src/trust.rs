//! What the house shows and whom it believes: provider keys that are kept as their sources have them, and the certificate of its door.

use std::sync::Arc;
use std::time::Duration;

use providers::{Fleet, Keeper, KeyTrouble};

use crate::app::App;
use crate::config::{Config, Fault};
use crate::tls::TlsDoor;

/// How soon keys are fetched for providers that came with a change of the configuration, where nobody has done so before.
const NOTICED: Duration = Duration::from_millis(250);
/// At the start a vault that does not answer is waited for no longer.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Trust {
    pub keeper: Keeper,
    /// None: plain HTTP.
    pub tls: Option<Arc<TlsDoor>>,
}

impl Trust {
    /// As it is configured, for the providers in `fleet` as far as they could be built. What is wrong goes to `faults`.
    pub fn build(
        file: &str,
        config: &Config,
        fleet: Option<&Fleet>,
        environment: &dyn Fn(&str) -> Option<String>,
        faults: &mut Vec<Fault>,
    ) -> Option<Trust> {
        let mut note = |path: String, message: String| {
            faults.push(Fault { file: file.to_owned(), line: None, path, message });
        };
        let keeper = match Keeper::new(config.vault.as_ref(), environment) {
            Ok(keeper) => Some(keeper),
            Err(found) => {
                found.into_iter().for_each(|it| note(it.path, it.message));
                None
            }
        };
        if let (None, Some(fleet)) = (&config.vault, fleet) {
            Keeper::lacking(fleet).into_iter().for_each(|it| note(it.path, it.message));
        }
        let tls = config.tls.as_ref().map(TlsDoor::open).transpose();
        let tls = tls.map_err(|(member, why)| note(format!("tls.{member}"), why));
        Some(Trust { keeper: keeper?, tls: tls.ok()?.map(Arc::new) })
    }

    /// Reads the keys for the first time. What cannot be read is in the log; the house opens all the same, and calls go elsewhere.
    pub async fn begin(&self, fleet: &Fleet) {
        if tokio::time::timeout(PATIENCE, self.keeper.adopt(fleet)).await.is_err() {
            tracing::warn!("provider keys could not all be read in time; they are asked for again");
        }
    }

    /// What of the keys cannot be read: faults, and what could not be found out.
    pub async fn check(&self, fleet: &Fleet) -> (Vec<KeyTrouble>, Vec<KeyTrouble>) {
        self.keeper.adopt(fleet).await.into_iter().partition(|trouble| !trouble.outage)
    }
}

/// Keeps keys and certificates until the house is done.
pub fn keep(app: &Arc<App>) {
    let keys = Arc::clone(app);
    app.tasks.spawn(async move {
        let ended = keys.stop_now.clone();
        ended.run_until_cancelled(keep_keys(&keys)).await;
    });
    if let Some(tls) = app.trust.tls.clone() {
        let ended = app.stop_now.clone();
        app.tasks.spawn(async move {
            ended.run_until_cancelled(tls.keep()).await;
        });
    }
}

/// Reads again and again; and at once for providers that nobody has read for, however they came.
async fn keep_keys(app: &App) {
    let mut fleet = Arc::clone(&app.routes().fleet);
    loop {
        let newer = async {
            loop {
                tokio::time::sleep(NOTICED).await;
                let present = Arc::clone(&app.routes().fleet);
                if !Arc::ptr_eq(&present, &fleet) {
                    return present;
                }
            }
        };
        let newer = tokio::select! {
            newer = newer => newer,
            () = app.trust.keeper.keep() => return,
        };
        app.trust.keeper.adopt(&newer).await;
        fleet = newer;
    }
}
