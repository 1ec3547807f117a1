//! What the admin API asks of the configuration: what is there and how it is, whether something new would serve, and to reload.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use admin_api::configuration::{
    ConfigStatus, Configuration, Configured, NotReloaded, Reloaded, State as Told, TargetHealth, Unfit,
};
use admin_api::rules::RulesStatus;
use futures_util::future::BoxFuture;
use ledger::{Actor, DefinitionKind};
use providers::{BreakerState, Fleet, HealthReport, Keeper, Target};
use serde_json::Value;

use super::{Reloader, Trigger, told_fault};
use crate::app::App;
use crate::config::Fault;
use crate::managed::{self, Known, State};
use crate::policy::desk as rules;
use crate::snapshot::{Routes, Snapshot};

/// The configuration, for operators.
pub struct Desk {
    pub app: Arc<App>,
    pub reloader: Arc<Reloader>,
}

impl Configuration for Desk {
    fn check(&self, kind: DefinitionKind, id: String, body: Option<Value>) -> BoxFuture<'_, Result<(), Unfit>> {
        Box::pin(async move {
            let Ok(snapshot) = self.app.snapshot() else { return Err(Unfit::Unsure) };
            // A key may lie in a file that takes its time.
            let checked = tokio::task::spawn_blocking(move || check(&snapshot, kind, &id, body.as_ref())).await;
            checked.unwrap_or(Err(Unfit::Unsure))
        })
    }

    fn providers(&self) -> Option<Vec<Configured>> {
        let snapshot = self.app.snapshot().ok()?;
        let routes = &snapshot.routes;
        let health = Health::new(&self.app, routes);
        let of = |it: &Known| {
            let targets = routes.fleet.models().iter().filter(|target| it.serves() && target.provider == it.id);
            let mut names: Vec<&str> = targets.map(|target| target.name.as_str()).collect();
            // What no catalogue lists can be named by a model all the same.
            let provider = format!("{}/", it.id);
            let further = health.named.iter().filter(|name| it.serves() && name.starts_with(&provider));
            let listed: HashSet<&str> = names.iter().copied().collect();
            let mut further: Vec<&str> = further.copied().filter(|name| !listed.contains(name)).collect();
            further.sort_unstable();
            names.extend(further);
            names.into_iter().map(|name| health.of(name)).collect()
        };
        Some(routes.made.providers.iter().map(|it| configured(it, of(it))).collect())
    }

    fn models(&self) -> Option<Vec<Configured>> {
        let snapshot = self.app.snapshot().ok()?;
        let routes = &snapshot.routes;
        let health = Health::new(&self.app, routes);
        let of = |it: &Known| match it.state {
            State::Overridden => Vec::new(),
            _ => targets(routes, &it.id).iter().map(|target| health.of(&target.name)).collect(),
        };
        Some(routes.made.models.iter().map(|it| configured(it, of(it))).collect())
    }

    fn reload(&self, actor: Actor) -> BoxFuture<'_, Result<Reloaded, NotReloaded>> {
        Box::pin(self.reloader.reload(Trigger::Operator(actor)))
    }

    fn rules(&self) -> RulesStatus {
        rules::status(&self.app)
    }

    fn needs_signature(&self) -> bool {
        rules::needs_signature(&self.app)
    }

    fn open_bundle(&self, bytes: &[u8]) -> Result<policies::Pack, Vec<policies::Fault>> {
        rules::open(&self.app, bytes)
    }

    fn status(&self) -> ConfigStatus {
        self.reloader.status()
    }
}

/// Whether it would serve in this process: read and built by the code that reads and builds the configuration.
fn check(snapshot: &Snapshot, kind: DefinitionKind, id: &str, body: Option<&Value>) -> Result<(), Unfit> {
    let routes = &snapshot.routes;
    let known = match kind {
        DefinitionKind::Provider => &routes.made.providers,
        DefinitionKind::Model => &routes.made.models,
    };
    let in_file = known.iter().any(|it| it.id == id && it.row.is_none());
    match (kind, body) {
        // What the file overrides may be put away all the same.
        (DefinitionKind::Provider, None) if !in_file => unused(routes, id),
        (_, None) => Ok(()),
        (_, Some(_)) if in_file => Err(Unfit::InFile),
        (DefinitionKind::Provider, Some(body)) => {
            let config = managed::provider(body, &routes.made.config).map_err(unfit)?;
            let built = Fleet::build(&[config], &|name| std::env::var(name).ok());
            let lacking = |fleet: Fleet| match (&routes.made.config.vault, Keeper::lacking(&fleet)) {
                (None, lacking) if !lacking.is_empty() => Err(lacking),
                _ => Ok(()),
            };
            built.and_then(lacking).map_err(|faults| {
                let strip = |path: &str| path.trim_start_matches("providers[0]").trim_start_matches('.').to_owned();
                let told = |it: providers::Fault| Fault {
                    file: String::new(),
                    line: None,
                    path: strip(&it.path),
                    message: it.message,
                };
                unfit(faults.into_iter().map(told).collect())
            })
        }
        (DefinitionKind::Model, Some(body)) => {
            let model = managed::model(body, &routes.made.providers).map_err(unfit)?;
            let mut missing = crate::snapshot::aimed(&routes.fleet, &model).1;
            missing.extend(crate::snapshot::routed(&routes.fleet, &model, &routes.aliases).err().unwrap_or_default());
            if missing.is_empty() { Ok(()) } else { Err(unfit(missing)) }
        }
    }
}

/// A provider that models are left without is not taken away by accident.
fn unused(routes: &Routes, id: &str) -> Result<(), Unfit> {
    let provider = format!("{id}/");
    let names = |it: &&Known| {
        let targets = it.definition["targets"].as_array().into_iter().flatten();
        targets.filter_map(target_name).any(|name| name.starts_with(&provider))
    };
    let by: Vec<String> = routes.made.models.iter().filter(names).map(|it| format!("model {}", it.id)).collect();
    if by.is_empty() { Ok(()) } else { Err(Unfit::InUse(by)) }
}

/// A target is a name, or an object that has one.
fn target_name(target: &Value) -> Option<&str> {
    target.as_str().or_else(|| target["target"].as_str())
}

fn unfit(faults: Vec<Fault>) -> Unfit {
    Unfit::Faults(faults.into_iter().map(told_fault).collect())
}

fn configured(it: &Known, targets: Vec<TargetHealth>) -> Configured {
    let (state, faults) = match &it.state {
        State::Serving => (Told::Serving, Vec::new()),
        State::Overridden => (Told::Overridden, Vec::new()),
        State::Faulty(faults) => (Told::Faulty, faults.iter().cloned().map(told_fault).collect()),
    };
    let (id, definition, row) = (it.id.clone(), it.definition.clone(), it.row.clone());
    Configured { id, state, faults, definition, row, targets }
}

fn targets<'a>(routes: &'a Routes, model: &str) -> &'a [Arc<Target>] {
    routes.aliases.iter().find(|(alias, _)| alias == model).map_or(&[], |(_, targets)| targets)
}

/// How targets are at one moment.
struct Health<'a> {
    /// Of targets that were asked.
    reports: HashMap<String, HealthReport>,
    now: u64,
    named: HashSet<&'a str>,
}

impl<'a> Health<'a> {
    fn new(app: &App, routes: &'a Routes) -> Health<'a> {
        let now = app.millis();
        let named = routes.aliases.iter().flat_map(|(_, targets)| targets).map(|target| target.name.as_str());
        let reports = app.health.report(now).into_iter().map(|it| (it.target.clone(), it)).collect();
        Health { reports, now, named: named.collect() }
    }

    fn of(&self, target: &str) -> TargetHealth {
        let named = self.named.contains(target);
        health_of(target, self.reports.get(target), self.now, named)
    }
}

/// What is known of a target here: the one place that says it on the wire.
fn health_of(target: &str, report: Option<&HealthReport>, now: u64, named: bool) -> TargetHealth {
    let state = report.map_or(BreakerState::Closed, |report| report.state);
    let breaker = match state {
        BreakerState::Closed => "closed",
        BreakerState::Open { .. } => "open",
        BreakerState::HalfOpen => "half_open",
        BreakerState::Probing => "probing",
    };
    let opens_again_in_ms = match state {
        BreakerState::Open { until } => Some(until.saturating_sub(now)),
        _ => None,
    };
    TargetHealth {
        target: target.to_owned(),
        breaker,
        named,
        opens_again_in_ms,
        in_flight: Some(report.map_or(0, |report| report.in_flight)),
        first_content_ms: report.and_then(|report| report.first_content).map(crate::case::millis),
    }
}
