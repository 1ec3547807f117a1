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
/// And later for no longer than this: meanwhile no view of the keys is confirmed, and without one nobody is let in.
const HASTE: Duration = Duration::from_secs(1);

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
        self.read(fleet, PATIENCE).await;
    }

    /// The same for providers that come while calls are served. What is not read in time is read beside them.
    pub async fn renew(&self, fleet: &Fleet) {
        self.read(fleet, HASTE).await;
    }

    async fn read(&self, fleet: &Fleet, patience: Duration) {
        if tokio::time::timeout(patience, self.keeper.adopt(fleet)).await.is_err() {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    #[tokio::test]
    async fn a_vault_that_does_not_answer_holds_up_a_change_for_less_than_a_view_of_the_keys_lasts() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = silent.local_addr().expect("an address");
        let text = format!(
            "{{providers: [{{id: a, kind: openai, api_key: {{vault: 'kv/a#key'}}}}], \
             vault: {{address: 'http://{address}', auth: {{token: {{env: TOKEN}}}}, timeout_ms: 60000}}}}"
        );
        let config = parse("", &text, &[]).config;
        let variable = |_: &str| Some("a-token".to_owned());
        let fleet = Fleet::build(&config.providers, &variable).expect("a fleet");
        let mut faults = Vec::new();
        let trust = Trust::build("", &config, Some(&fleet), &variable, &mut faults).expect("a keeper");
        assert!(tokio::time::timeout(crate::app::STALE, trust.renew(&fleet)).await.is_ok());
    }
}
