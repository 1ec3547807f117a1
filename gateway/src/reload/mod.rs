//! A configuration that changes while the house runs: read again when its file changes, at SIGHUP, or when an operator says so.
//! A good one comes into force whole, for the calls that begin then; a bad one changes nothing, and says why.

mod deadlines;
mod desk;
mod differences;
mod watch;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use admin_api::configuration::{
    ConfigFault, ConfigStatus, LastReload, NotReloaded, Outcome, Reloaded, Trigger as Told,
};
use ledger::{Actor, Entry};
use metrics::{counter, describe_counter};
use serde::Deserialize;
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use crate::alerts::{Messenger, Sink};
use crate::app::App;
use crate::commands::{Origin, Plan, environment};
use crate::config::{self, Config, Fault, Tree};
use crate::policy::{self, House};
use crate::snapshot::{Routes, Snapshot};
use crate::trust::Trust;

pub use deadlines::LiveDeadlines;
pub use desk::Desk;
use differences::{differences, is_live};

/// The section `reload`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ReloadConfig {
    /// Whether a change of the file that was named at the start is noticed.
    pub watch: bool,
}

impl Default for ReloadConfig {
    fn default() -> Self {
        ReloadConfig { watch: true }
    }
}

/// Kinds of audit entries about the configuration's file.
mod kind {
    pub const CONFIG_RELOADED: &str = "CONFIG_RELOADED";
    pub const CONFIG_REFUSED: &str = "CONFIG_REFUSED";
}

/// Says from now on what is logged.
pub type LogFilter = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// A file's fingerprint.
pub type Fingerprint = [u8; 32];

pub fn fingerprint(text: &str) -> Fingerprint {
    Sha256::digest(text).into()
}

/// What made the house read its file again.
#[derive(Debug, Clone, Copy)]
pub enum Trigger {
    Watch,
    Signal,
    Operator(Actor),
}

/// Who reads the configuration again.
pub struct Reloader {
    app: Arc<App>,
    origin: Origin,
    log: LogFilter,
    /// What the house was started with, some of which only another start changes.
    started: Tree,
    /// One reload at a time.
    busy: tokio::sync::Mutex<()>,
    state: Mutex<Present>,
}

/// How things stand.
struct Present {
    /// The file that is in force.
    sha256: Fingerprint,
    /// The file that was looked at last, good or bad.
    tried: Fingerprint,
    needs_restart: Vec<String>,
    last: Option<LastReload>,
    /// Ends those who deliver alerts to the sinks of before.
    messengers: CancellationToken,
}

/// What was read and found good.
struct Read {
    config: Arc<Config>,
    routes: Routes,
    house: House,
    sinks: Vec<Sink>,
    trust: Trust,
    sha256: Fingerprint,
}

impl Reloader {
    pub fn new(app: Arc<App>, origin: Origin, started_with: Fingerprint, sinks: Vec<Sink>, log: LogFilter) -> Reloader {
        describe_counter!("alfred_config_reloads_total", "configuration files read again, by what became of them");
        for outcome in ["applied", "unchanged", "refused"] {
            counter!("alfred_config_reloads_total", "outcome" => outcome).absolute(0);
        }
        let messengers = deliver(&app, sinks);
        let state =
            Present { sha256: started_with, tried: started_with, needs_restart: Vec::new(), last: None, messengers };
        let started = app.present().routes.made.config.tree.clone();
        let (busy, state) = (tokio::sync::Mutex::new(()), Mutex::new(state));
        Reloader { app, origin, log, started, busy, state }
    }

    /// Reads the file again, and puts it into force if it has no fault.
    ///
    /// # Errors
    /// Every fault; then all is as before.
    pub async fn reload(&self, trigger: Trigger) -> Result<Reloaded, NotReloaded> {
        let _one = self.busy.lock().await;
        let Some(file) = self.origin.file.clone() else { return Err(NotReloaded::NoFile) };
        let present = self.app.present();
        let text = match tokio::fs::read_to_string(&file).await {
            Ok(text) => text,
            Err(error) => {
                let faults = vec![fault(&file, format!("cannot be read: {error}"))];
                return Err(self.refuse(trigger, None, faults).await);
            }
        };
        let sha256 = fingerprint(&text);
        let (before, path) = (Arc::clone(&present), file.clone());
        let house = Arc::clone(&self.app.rules.layers().house);
        // Reading keys and compiling rules takes its time, and calls are served meanwhile.
        let read = tokio::task::spawn_blocking(move || plan(&path, &text, &before, &house)).await;
        let plan = match read {
            Ok(Ok(plan)) => plan,
            Ok(Err(faults)) => return Err(self.refuse(trigger, Some(sha256), faults).await),
            Err(_) => {
                let faults = vec![fault(&file, "could not be built: the log has the cause".to_owned())];
                return Err(self.refuse(trigger, Some(sha256), faults).await);
            }
        };
        // Rules behind an address that is new are fetched now, or nothing changes.
        let Plan { config, routes, policies, sinks, trust, .. } = plan;
        match policy::now(policies).await {
            Ok(house) => self.apply(trigger, &present, Read { config, routes, house, sinks, trust, sha256 }).await,
            Err(faults) => Err(self.refuse(trigger, Some(sha256), faults).await),
        }
    }

    async fn apply(&self, trigger: Trigger, present: &Snapshot, read: Read) -> Result<Reloaded, NotReloaded> {
        let Read { config, routes, house, sinks, trust, sha256 } = read;
        let house = Arc::new(house);
        let old = Arc::clone(&present.routes.made.config);
        let mut changed = differences(&old.tree, &config.tree);
        // Rules lie in files of their own.
        if house.set.revision() != present.policies.house().revision()
            && !changed.iter().any(|it| it.starts_with("policies"))
        {
            changed.push("policies".to_owned());
        }
        let needs_restart: Vec<String> =
            differences(&self.started, &config.tree).into_iter().filter(|path| !is_live(path)).collect();
        let entry = entry(kind::CONFIG_RELOADED, trigger, Some(sha256))
            .with("changed", sections(&changed))
            .with("needs_restart", sections(&needs_restart));
        let ledger = self.app.ledger.clone();
        let rules = Arc::clone(&house);
        let on_record = async move {
            // What is not on record does not come into force; the watch tries again.
            let unrecorded = |error: &(dyn std::error::Error + 'static)| {
                tracing::error!(error, "a new configuration cannot be put on record");
                Unrecorded
            };
            let row = policy::recorded(&ledger, &rules).await.map_err(|error| unrecorded(&error))?;
            ledger.record(entry).await.map_err(|error| unrecorded(&error))?;
            Ok(row)
        };
        let keeper = (old.tree["vault"] != config.tree["vault"]).then_some(trust.keeper);
        match self.app.adopt(Arc::new(routes), house, keeper, on_record).await {
            Ok(()) => {}
            Err(Unadopted::Unrecorded) => {
                let why = "the ledger cannot put it on record now: try again".to_owned();
                let faults = vec![Fault { file: String::new(), line: None, path: String::new(), message: why }];
                return Err(self.refuse(trigger, None, faults).await);
            }
            Err(Unadopted::Faults(faults)) => return Err(self.refuse(trigger, Some(sha256), faults).await),
        }
        self.settle_in(&old, &config, sinks);
        let outcome = if changed.is_empty() { Outcome::Unchanged } else { Outcome::Applied };
        counter!("alfred_config_reloads_total", "outcome" => word(outcome)).increment(1);
        let list = changed.join(", ");
        tracing::info!(
            sha256 = hex::encode(sha256),
            changed = list,
            "the configuration was read again and is in force"
        );
        if !needs_restart.is_empty() {
            let list = needs_restart.join(", ");
            tracing::warn!(settings = list, "these settings were changed and come into force with the next start");
        }
        let last = self.told(trigger, outcome, Some(sha256), changed.clone(), Vec::new());
        let mut state = self.state();
        (state.sha256, state.tried, state.last) = (sha256, sha256, Some(last));
        state.needs_restart.clone_from(&needs_restart);
        Ok(Reloaded { sha256: hex::encode(sha256), changed, needs_restart })
    }

    /// What lies outside the snapshot.
    fn settle_in(&self, old: &Config, new: &Config, sinks: Vec<Sink>) {
        self.app.deadlines.set(new.deadlines.clone());
        self.app.outbound.wait(self.app.deadlines.outbound());
        if old.log.filter != new.log.filter
            && let Err(error) = (self.log)(&new.log.filter)
        {
            tracing::error!(error, "the log's filter stays as it was");
        }
        if old.tree["alerts"] != new.tree["alerts"] {
            let messengers = deliver(&self.app, sinks);
            // What is on its way may arrive; what is not marked comes again.
            std::mem::replace(&mut self.state().messengers, messengers).cancel();
        }
    }

    async fn refuse(&self, trigger: Trigger, sha256: Option<Fingerprint>, faults: Vec<Fault>) -> NotReloaded {
        for fault in &faults {
            tracing::error!(%fault, "the configuration was read again and refused: the one before stays in force");
        }
        counter!("alfred_config_reloads_total", "outcome" => word(Outcome::Refused)).increment(1);
        let entry = entry(kind::CONFIG_REFUSED, trigger, sha256).with("faults", faults.len());
        if let Err(error) = self.app.ledger.record(entry).await {
            tracing::error!(%error, "that a configuration was refused cannot be put on record");
        }
        let faults: Vec<ConfigFault> = faults.into_iter().map(told_fault).collect();
        let last = self.told(trigger, Outcome::Refused, sha256, Vec::new(), faults.clone());
        let mut state = self.state();
        state.last = Some(last);
        // The same bad file is not told of again and again.
        state.tried = sha256.unwrap_or(state.tried);
        NotReloaded::Faults(faults)
    }

    /// What is in force, and how the last reload went.
    pub fn status(&self) -> ConfigStatus {
        let watched = self.is_watched();
        let state = self.state();
        let file = self.origin.file.as_ref().map(|file| file.display().to_string());
        ConfigStatus {
            sha256: file.is_some().then(|| hex::encode(state.sha256)),
            file,
            watched,
            needs_restart: state.needs_restart.clone(),
            last: state.last.clone(),
        }
    }

    fn is_watched(&self) -> bool {
        self.origin.named && self.origin.file.is_some() && self.app.present().routes.made.config.reload.watch
    }

    fn told(
        &self,
        trigger: Trigger,
        outcome: Outcome,
        sha256: Option<Fingerprint>,
        changed: Vec<String>,
        faults: Vec<ConfigFault>,
    ) -> LastReload {
        let trigger = match trigger {
            Trigger::Watch => Told::Watch,
            Trigger::Signal => Told::Signal,
            Trigger::Operator(_) => Told::Api,
        };
        let at = self.app.clock().now().to_string();
        LastReload { at, trigger, outcome, sha256: sha256.map(hex::encode), changed, faults }
    }

    // What stands there is whole at any moment: a panic elsewhere leaves nothing half done in it.
    fn state(&self) -> std::sync::MutexGuard<'_, Present> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// It could not be put on record.
pub struct Unrecorded;

/// Why routes and rules did not come into force.
pub enum Unadopted {
    Unrecorded,
    Faults(Vec<Fault>),
}

fn plan(file: &Path, text: &str, before: &Snapshot, house: &House) -> Result<Plan, Vec<Fault>> {
    // Who writes a file anew empties it first: no house loses all its providers to that.
    if text.trim().is_empty() {
        return Err(vec![fault(file, "is empty: to run without settings, start without it".to_owned())]);
    }
    let loaded = config::parse(&file.display().to_string(), text, &environment());
    Plan::build(Some(file), loaded, false, Some((&before.routes, house)))
}

fn deliver(app: &Arc<App>, sinks: Vec<Sink>) -> CancellationToken {
    let until = app.stop_now.child_token();
    Messenger::new(app.ledger.clone(), sinks).begin(&app.tasks, &until);
    until
}

fn fault(file: &Path, message: String) -> Fault {
    Fault { file: file.display().to_string(), line: None, path: String::new(), message }
}

pub fn told_fault(fault: Fault) -> ConfigFault {
    let Fault { file, line, path, message } = fault;
    ConfigFault { file, line, path, message }
}

fn entry(kind: &'static str, trigger: Trigger, sha256: Option<Fingerprint>) -> Entry {
    let (actor, trigger) = match trigger {
        Trigger::Watch => (Actor::System, "watch"),
        Trigger::Signal => (Actor::System, "signal"),
        Trigger::Operator(actor) => (actor, "api"),
    };
    Entry::new(None, kind, actor).with("trigger", trigger).with("sha256", sha256.map(hex::encode))
}

/// Only the sections: what lies below them has names that others chose.
fn sections(paths: &[String]) -> Vec<&str> {
    let mut names: Vec<&str> = paths.iter().filter_map(|path| path.split(['.', '[']).next()).collect();
    names.dedup();
    names
}

const fn word(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Applied => "applied",
        Outcome::Unchanged => "unchanged",
        Outcome::Refused => "refused",
    }
}
