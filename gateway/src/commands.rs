//! What each command of the program does; exit codes are part of the contract.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use crate::alerts::{self, Sink};
use crate::config::{self, Config, Fault, Loaded};
use crate::policy::{House, HousePlan};
use crate::reload::{Fingerprint, fingerprint};
use crate::snapshot::{Routes, compose};
use crate::telemetry::{self, Settings};
use crate::trust::Trust;
use crate::{demo, serve as server};

/// The file that is read when none is named.
const USUAL_FILE: &str = "alfred.yaml";
/// Runs the gateway until it is told to stop.
pub fn serve(file: Option<PathBuf>, demo: bool) -> ExitCode {
    let named = file.is_some();
    // A demo needs nothing and touches nothing that lies around: only a file that is named counts.
    let file = if demo { file } else { file.or_else(usual_file) };
    let read = match (demo, file.as_deref()) {
        (true, None) => Ok(config::parse("(demo)", demo::CONFIG, &environment())),
        (_, file) => config::load(file, &environment()),
    };
    match plan(read, file.as_deref(), demo) {
        Err(faults) => complain(&faults),
        Ok(plan) => server::run(plan, Origin { file, named }),
    }
}

fn plan(read: Result<Loaded, Fault>, file: Option<&Path>, demo: bool) -> Result<Plan, Vec<Fault>> {
    read.map_err(|fault| vec![fault]).and_then(|loaded| Plan::build(file, loaded, demo, None))
}

/// Where the configuration of a running house comes from.
pub struct Origin {
    pub file: Option<PathBuf>,
    /// It was named at the start: only such a file is watched.
    pub named: bool,
}

/// A configuration that was found good, with what it builds.
pub struct Plan {
    pub config: Arc<Config>,
    pub routes: Routes,
    pub policies: HousePlan,
    /// Whom to tell of alerts.
    pub sinks: Vec<Sink>,
    /// What is shown to providers and clients.
    pub trust: Trust,
    pub telemetry: Settings,
    pub notes: Vec<String>,
    pub demo: bool,
    /// The fingerprint of the file that was read.
    pub sha256: Fingerprint,
}

impl Plan {
    /// Reads everything that the configuration names. What the routes `before` have exactly so is taken over from them.
    ///
    /// # Errors
    /// Every fault found.
    pub fn build(
        file: Option<&Path>,
        loaded: Loaded,
        demo: bool,
        before: Option<(&Routes, &House)>,
    ) -> Result<Plan, Vec<Fault>> {
        let Loaded { config, mut notes, mut faults, text } = loaded;
        let name = file.map_or_else(|| "(no file)".to_owned(), |path| path.display().to_string());
        let environment = |variable: &str| std::env::var(variable).ok();
        let config = Arc::new(config);
        let known: Vec<&Routes> = before.iter().map(|(routes, _)| *routes).collect();
        let routes = compose(&name, &config, &Arc::default(), &known, &environment);
        let fleet = routes.as_ref().ok().map(|it| &*it.fleet);
        let trust = Trust::build(&name, &config, fleet, &environment, &mut faults);
        let policies = HousePlan::build(&name, &config, &environment, before.map(|(_, house)| house));
        let sinks = alerts::sinks(&name, &config.alerts, &environment);
        let telemetry = telemetry::settings(&name, &config, &environment);
        let (routes, policies, sinks, telemetry) = match (routes, policies, sinks, telemetry, faults.is_empty()) {
            (Ok(routes), Ok(policies), Ok(sinks), Ok(telemetry), true) => (routes, policies, sinks, telemetry),
            (routes, policies, sinks, telemetry, _) => {
                let found = routes.err().into_iter().chain(policies.err()).chain(sinks.err()).chain(telemetry.err());
                for mut fault in found.flatten() {
                    if fault.line.is_none() && fault.file == name {
                        fault.line = config::line_of(&text, &fault.path);
                    }
                    // The same place is not blamed twice, however many looked at it.
                    if !faults.iter().any(|known| known.path == fault.path && !fault.path.is_empty()) {
                        faults.push(fault);
                    }
                }
                let unseen = |it: &&mut Fault| it.line.is_none() && it.file == name;
                faults.iter_mut().filter(unseen).for_each(|it| it.line = config::line_of(&text, &it.path));
                return Err(faults);
            }
        };
        let Some(trust) = trust else { return Err(faults) };
        if config.providers.is_empty() {
            notes.push(
                "no providers are configured, so no call can be forwarded: write an alfred.yaml with 'providers' and 'models' \
                 (README, section Configuration), or try 'alfred serve --demo'"
                    .to_owned(),
            );
        }
        Ok(Plan { config, routes, policies, sinks, trust, telemetry, notes, demo, sha256: fingerprint(&text) })
    }
}

/// Prints every fault; 0 if there is none.
pub fn config_check(file: Option<PathBuf>) -> ExitCode {
    let file = file.or_else(usual_file);
    // A start reads only the kinds that it needs; this looks at all of them.
    let catalogue = providers::check_catalog();
    if !catalogue.is_empty() {
        let fault =
            |it: providers::Fault| Fault { file: it.path, line: None, path: String::new(), message: it.message };
        return complain(&catalogue.into_iter().map(fault).collect::<Vec<_>>());
    }
    match plan(config::load(file.as_deref(), &environment()), file.as_deref(), false) {
        Err(faults) => complain(&faults),
        Ok(plan) => {
            let (faults, unknown) = server::runtime().block_on(plan.trust.check(&plan.routes.fleet));
            if !faults.is_empty() {
                return complain(&keys_at_fault(file.as_deref(), faults));
            }
            for note in &plan.notes {
                println!("note: {note}");
            }
            for it in unknown {
                println!("note: {}: provider {}: the key could not be checked: {}", it.place, it.provider, it.message);
            }
            let models = plan.routes.aliases.len();
            println!(
                "ok: {} providers, {models} models, policy revision {}; the catalogue knows {} providers",
                plan.config.providers.len(),
                plan.policies.revision(),
                providers::known_providers()
            );
            ExitCode::SUCCESS
        }
    }
}

/// Keys that their source does not give, at their places.
fn keys_at_fault(file: Option<&Path>, faults: Vec<providers::KeyTrouble>) -> Vec<Fault> {
    let name = file.map_or_else(|| "(no file)".to_owned(), |path| path.display().to_string());
    let text = file.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
    let fault = |it: providers::KeyTrouble| Fault {
        file: name.clone(),
        line: config::line_of(&text, &it.place),
        path: it.place,
        message: format!("provider {}: {}", it.provider, it.message),
    };
    faults.into_iter().map(fault).collect()
}

/// Verifies an export offline.
pub fn audit_verify(export: &Path) -> ExitCode {
    let verified = if export == Path::new("-") {
        ledger::audit::verify_export(std::io::stdin().lock())
    } else {
        match std::fs::File::open(export) {
            Ok(file) => ledger::audit::verify_export(std::io::BufReader::new(file)),
            Err(error) => {
                eprintln!("cannot read {}: {error}", export.display());
                return ExitCode::from(2);
            }
        }
    };
    match verified {
        Ok(summary) => {
            println!(
                "ok: {} entries of chain {}, last seq {}, head {}",
                summary.entries,
                summary.chain,
                summary.seq,
                hex::encode(summary.hash)
            );
            ExitCode::SUCCESS
        }
        Err(damage) => {
            println!("damaged: {damage}");
            ExitCode::FAILURE
        }
    }
}

/// Brings the database to this version.
pub fn migrate(file: Option<PathBuf>) -> ExitCode {
    let url = match database_url(file) {
        Ok(url) => url,
        Err(code) => return code,
    };
    match server::runtime().block_on(ledger::Ledger::migrate(&url)) {
        Ok(()) => {
            println!("ok: the database is at this version");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{}", server::chain(&error));
            ExitCode::FAILURE
        }
    }
}

/// The configuration and what it builds, for commands that ask the providers; nothing is opened.
pub(crate) fn planned(file: Option<PathBuf>) -> Result<Plan, ExitCode> {
    let file = file.or_else(usual_file);
    plan(config::load(file.as_deref(), &environment()), file.as_deref(), false).map_err(|faults| complain(&faults))
}

/// The database that the configuration names, for commands that need nothing else of it.
pub(crate) fn database_url(file: Option<PathBuf>) -> Result<String, ExitCode> {
    let file = file.or_else(usual_file);
    match config::load(file.as_deref(), &environment()) {
        Ok(loaded) if loaded.faults.is_empty() => Ok(loaded.config.database_url()),
        Ok(loaded) => Err(complain(&loaded.faults)),
        Err(fault) => Err(complain(&[fault])),
    }
}

fn usual_file() -> Option<PathBuf> {
    let file = PathBuf::from(USUAL_FILE);
    file.exists().then_some(file)
}

pub(crate) fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

fn complain(faults: &[Fault]) -> ExitCode {
    for fault in faults {
        eprintln!("{fault}");
    }
    eprintln!("{} fault{} in the configuration", faults.len(), if faults.len() == 1 { "" } else { "s" });
    ExitCode::FAILURE
}
