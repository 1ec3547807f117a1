//! Keys, prices, routes and rules as one immutable view, swapped whole: a call sees one snapshot from start to end.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ledger::prices::PriceBook;
use ledger::{
    Credential, CredentialSet, Id, Key, Markup, OperatorCredential, PresentedKey, Scope, Tags, Timestamp, Wallet,
};
use policies::PolicySet;
use providers::{Fleet, RetryRules, Target};

use crate::case::Caller;
use crate::config::{Config, Fault};
use crate::limits::ModelLimit;
use crate::pricing::{self, ListPrices};
use crate::routing::{ModelRouting, TargetConfig};

/// What only a new configuration changes.
pub struct Routes {
    pub fleet: Arc<Fleet>,
    /// Without any, no call can be forwarded.
    pub providers: usize,
    /// In the order of the configuration, which is the order of `/v1/models`.
    pub aliases: Vec<(String, Vec<Arc<Target>>)>,
    /// How calls for them find their way, by name.
    pub routing: HashMap<String, Arc<ModelRouting>>,
    pub retries: RetryRules,
    pub prices: ListPrices,
    /// Limits of aliases.
    pub model_limits: HashMap<String, ModelLimit>,
    /// Where no stored one is meant.
    pub markup: Markup,
    /// Every name that is configured or catalogued: only these are kept in receipts and become labels of metrics.
    pub known: HashSet<String>,
}

/// One view of everything that a decision depends on.
pub struct Snapshot {
    /// The ledger's `config_revision` when the keys were read.
    pub revision: i64,
    keys: HashMap<Id<Key>, Arc<Credential>>,
    pub operators: Arc<[OperatorCredential]>,
    /// The stored price list.
    pub book: Arc<PriceBook>,
    /// Wallets beside the chains.
    scopes: Vec<Scope>,
    pub routes: Arc<Routes>,
    pub policies: Arc<PolicySet>,
}

/// What a model name stands for.
pub struct Resolved {
    pub targets: Vec<Arc<Target>>,
    /// Reached through a name of `models:`, not as `provider/model`.
    pub alias: bool,
}

impl Snapshot {
    /// Builds the view from what the ledger says now.
    pub fn new(set: CredentialSet, book: Arc<PriceBook>, routes: Arc<Routes>, policies: Arc<PolicySet>) -> Snapshot {
        let keys = set.keys.into_iter().map(|credential| (credential.key, Arc::new(credential))).collect();
        let operators = set.operators.into();
        Snapshot { revision: set.revision, keys, operators, scopes: set.scopes, book, routes, policies }
    }

    /// Whose key this is, if it is a live one.
    pub fn caller(&self, presented: &PresentedKey, now: Timestamp) -> Option<Caller> {
        let credential = self.keys.get(&presented.id())?;
        let live = credential.expires_at.is_none_or(|end| now < end);
        (credential.admits(presented, now) && live).then(|| Caller { credential: Arc::clone(credential) })
    }

    /// The targets behind an alias, or the one that `provider/model` names.
    pub fn resolve(&self, model: &str) -> Option<Resolved> {
        if let Some((_, targets)) = self.routes.aliases.iter().find(|(alias, _)| alias == model) {
            return Some(Resolved { targets: targets.clone(), alias: true });
        }
        let target = self.routes.fleet.target(model)?;
        Some(Resolved { targets: vec![target], alias: false })
    }

    /// Whether a name is configured or catalogued, rather than made up by a client.
    pub fn knows(&self, model: &str) -> bool {
        self.routes.known.contains(model)
    }

    /// Wallets beside the key's chain that cover a call for a model that goes by these names.
    pub fn scopes(&self, caller: &Credential, models: &[&str], tags: &Tags) -> Vec<Id<Wallet>> {
        let covering = self.scopes.iter().filter(|scope| scope.covers((caller.org, caller.wallet), models, tags));
        covering.map(|scope| scope.wallet).collect()
    }
}

/// Builds what the configuration decides: providers, aliases, prices.
///
/// # Errors
/// Every fault found.
pub fn routes(file: &str, config: &Config, environment: &dyn Fn(&str) -> Option<String>) -> Result<Routes, Vec<Fault>> {
    let fault = |path: String, message: String| Fault { file: file.to_owned(), line: None, path, message };
    let mut faults = Vec::new();
    let fleet = match Fleet::build(&config.providers, environment) {
        Ok(fleet) => Arc::new(fleet),
        Err(found) => return Err(found.into_iter().map(|f| fault(f.path, f.message)).collect()),
    };
    let mut aliases = Vec::new();
    for (i, model) in config.models.iter().enumerate() {
        let mut targets = Vec::new();
        for (j, TargetConfig { target: name, .. }) in model.targets.iter().enumerate() {
            match fleet.target(name) {
                Some(target) => targets.push(target),
                None => faults.push(fault(
                    format!("models[{i}].targets[{j}]"),
                    format!("'{name}' is not a model that a configured provider can serve"),
                )),
            }
        }
        aliases.push((model.id.clone(), targets));
    }
    let mut routing = HashMap::new();
    for (i, model) in config.models.iter().enumerate() {
        match ModelRouting::build(model, &fleet, &|name| aliases.iter().any(|(alias, _)| alias == name)) {
            Ok(built) => drop(routing.insert(model.id.clone(), Arc::new(built))),
            Err(found) => faults.extend(found.into_iter().map(|(at, what)| fault(format!("models[{i}].{at}"), what))),
        }
    }
    let listed = fleet.models().iter().filter_map(|it| Some((it.name.clone(), pricing::catalogued(it)?)));
    let mut prices = ListPrices { configured: HashMap::new(), catalogue: listed.collect() };
    for (name, price) in &config.prices {
        if fleet.target(name).is_none() {
            // A misspelt name would leave the catalogue's price in force without a word.
            let message = format!("'{name}' is not 'provider/model' of a configured provider");
            faults.push(fault(format!("prices.{name}"), message));
        }
        match price.rates() {
            Ok(rates) => drop(prices.configured.insert(name.clone(), pricing::configured(name, rates))),
            Err(it) => faults.push(fault(format!("prices.{name}.{}", it.member), it.message)),
        }
    }
    let markup = config.markup.parse::<Markup>().unwrap_or_else(|error| {
        faults.push(fault("markup".into(), error.to_string()));
        Markup::NONE
    });
    let aliased = aliases.iter().flat_map(|(alias, targets): &(String, Vec<Arc<Target>>)| {
        std::iter::once(alias).chain(targets.iter().map(|target| &target.name))
    });
    let listed = fleet.models().iter().map(|target| &target.name);
    let known = aliased.chain(listed).chain(prices.configured.keys()).cloned().collect();
    if faults.is_empty() {
        let limited = config.models.iter().filter_map(|it| Some((it, it.limits?.limits())));
        let model_limits = limited.map(|(it, limits)| (it.id.clone(), ModelLimit::new(&it.id, limits))).collect();
        Ok(Routes {
            fleet,
            providers: config.providers.len(),
            aliases,
            routing,
            model_limits,
            retries: config.retries.rules(),
            prices,
            model_limits,
            markup,
            known,
        })
    } else {
        Err(faults)
    }
}
