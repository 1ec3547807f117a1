//! Keys, prices, routes and rules as one immutable view, swapped whole: a call sees one snapshot from start to end.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use ledger::prices::PriceBook;
use ledger::{
    Credential, CredentialSet, Id, Key, Markup, OperatorCredential, PresentedKey, Scope, Tags, Timestamp, Wallet,
};
use policies::Rulebook;
use providers::{Fleet, RetryRules, Target};

use crate::case::Caller;
use crate::config::{Config, Fault, ModelConfig};
use crate::limits::ModelLimit;
use crate::managed::{self, Made, State, Stored};
use crate::policy::Shadow;
use crate::pricing::{self, ListPrices};
use crate::routing::{ModelRouting, TargetConfig};

/// A name that apps use, and the targets behind it.
pub type Alias = (String, Vec<Arc<Target>>);

/// What only a new configuration changes.
pub struct Routes {
    pub fleet: Arc<Fleet>,
    /// Without any, no call can be forwarded.
    pub providers: usize,
    /// In the order of the configuration, which is the order of `/v1/models`.
    pub aliases: Vec<Alias>,
    /// How calls for them find their way, by name.
    pub routing: HashMap<String, Arc<ModelRouting>>,
    pub retries: RetryRules,
    pub prices: ListPrices,
    /// Limits of aliases.
    pub model_limits: HashMap<String, ModelLimit>,
    /// Where no stored one is meant.
    pub markup: Markup,
    /// Where else a call's content may come to rest, and the region of each.
    pub hops: BTreeMap<String, String>,
    /// Every name that is configured or catalogued: only these are kept in receipts and become labels of metrics.
    pub known: HashSet<String>,
    /// What it was made of: the configuration, and what is stored beside it.
    pub made: Made,
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
    pub policies: Arc<Rulebook>,
    /// A candidate that is evaluated beside the rules in force.
    pub shadow: Option<Arc<Shadow>>,
}

/// What a model name stands for.
pub struct Resolved {
    pub targets: Vec<Arc<Target>>,
    /// Reached through a name of `models:`, not as `provider/model`.
    pub alias: bool,
}

impl Snapshot {
    /// Builds the view from what the ledger says now.
    pub fn new(set: CredentialSet, book: Arc<PriceBook>, routes: Arc<Routes>, policies: Arc<Rulebook>) -> Snapshot {
        let keys = set.keys.into_iter().map(|credential| (credential.key, Arc::new(credential))).collect();
        let operators = set.operators.into();
        Snapshot { revision: set.revision, keys, operators, scopes: set.scopes, book, routes, policies, shadow: None }
    }

    /// The same keys and prices under other routes and rules.
    pub fn under(&self, routes: Arc<Routes>, policies: Arc<Rulebook>) -> Snapshot {
        Snapshot {
            revision: self.revision,
            keys: self.keys.clone(),
            operators: Arc::clone(&self.operators),
            book: Arc::clone(&self.book),
            scopes: self.scopes.clone(),
            routes,
            policies,
            shadow: self.shadow.clone(),
        }
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
#[cfg(test)]
pub fn routes(file: &str, config: &Config, environment: &dyn Fn(&str) -> Option<String>) -> Result<Routes, Vec<Fault>> {
    compose(file, &Arc::new(config.clone()), &Arc::default(), &[], environment)
}

/// The same together with what is stored. A fault of the configuration is a fault of all; what is stored and cannot be built is left
/// out and remembered as faulty. Providers that are in one of the routes `before` exactly so are taken over from there.
///
/// # Errors
/// Every fault of the configuration.
pub fn compose(
    file: &str,
    config: &Arc<Config>,
    stored: &Arc<Stored>,
    before: &[&Routes],
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Routes, Vec<Fault>> {
    let fault = |path: String, message: String| Fault { file: file.to_owned(), line: None, path, message };
    let (mut known_providers, configs) = managed::providers(config, stored);
    let at = |i: usize| &known_providers[configs[i].0];
    let all: Vec<_> = configs.iter().map(|(_, config)| config.clone()).collect();
    let taken = |i: usize| before.iter().find(|it| it.made.has(at(i), config)).map(|it| &*it.fleet);
    let (fleet, found) = Fleet::renew(&all, environment, &taken);
    let of_file = config.providers.len();
    let (own, others): (Vec<_>, Vec<_>) = found.into_iter().partition(|(i, _)| *i < of_file);
    if !own.is_empty() {
        return Err(own.into_iter().flat_map(|(_, found)| found).map(|f| fault(f.path, f.message)).collect());
    }
    for (i, found) in others {
        let prefix = format!("providers[{i}].");
        let told = found.into_iter().map(|it| fault(it.path.trim_start_matches(&prefix).to_owned(), it.message));
        known_providers[configs[i].0].state =
            State::Faulty(told.map(|it| Fault { file: String::new(), ..it }).collect());
    }
    let fleet = Arc::new(fleet);
    let mut faults = Vec::new();
    let mut aliases = Vec::new();
    let limited = |it: &ModelConfig| Some((it.id.clone(), ModelLimit::new(&it.id, it.limits?.limits())));
    let mut model_limits: HashMap<_, _> = config.models.iter().filter_map(limited).collect();
    for (i, model) in config.models.iter().enumerate() {
        let (targets, missing) = aimed(&fleet, model);
        faults.extend(missing.into_iter().map(|it| fault(format!("models[{i}].{}", it.path), it.message)));
        aliases.push((model.id.clone(), targets));
    }
    let mut routing = HashMap::new();
    for (i, model) in config.models.iter().enumerate() {
        match routed(&fleet, model, &aliases) {
            Ok(built) => drop(routing.insert(model.id.clone(), Arc::new(built))),
            Err(found) => {
                faults.extend(found.into_iter().map(|it| fault(format!("models[{i}].{}", it.path), it.message)))
            }
        }
    }
    let (mut known_models, configs) = managed::models(config, stored, &known_providers);
    for (at, model) in &configs {
        let (targets, missing) = aimed(&fleet, model);
        model_limits.extend(limited(model));
        // Whoever has one target left goes on with it.
        if !targets.is_empty() {
            aliases.push((model.id.clone(), targets));
        }
        if !missing.is_empty() {
            known_models[*at].state = State::Faulty(missing);
        }
    }
    // What is stored may fall back on what is stored behind it.
    for (at, mut model) in configs {
        if let Err(found) = routed(&fleet, &model, &aliases) {
            if let State::Faulty(faults) = &mut known_models[at].state {
                faults.extend(found);
            } else {
                known_models[at].state = State::Faulty(found);
            }
            model.context_fallbacks.retain(|name| names(&fleet, &aliases, name));
            model.content_filter_fallbacks.retain(|name| names(&fleet, &aliases, name));
        }
        if let Ok(built) = routed(&fleet, &model, &aliases) {
            routing.insert(model.id.clone(), Arc::new(built));
        }
    }
    let listed = fleet.models().iter().filter_map(|it| Some((it.name.clone(), pricing::catalogued(it)?)));
    let mut prices = ListPrices { configured: HashMap::new(), catalogue: listed.collect() };
    for (name, price) in &config.prices {
        if name.contains('*') {
            let message =
                "is a pattern: those are stored by the admin API (POST /admin/v1/prices); here each model is named";
            faults.push(fault(format!("prices.{name}"), message.to_owned()));
        } else if fleet.target(name).is_none() {
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
    if !faults.is_empty() {
        return Err(faults);
    }
    let providers = known_providers.iter().filter(|it| it.serves()).count();
    let made = Made {
        file: file.to_owned(),
        config: Arc::clone(config),
        stored: Arc::clone(stored),
        providers: known_providers,
        models: known_models,
    };
    Ok(Routes {
        fleet,
        providers,
        aliases,
        routing,
        retries: config.retries.rules(),
        model_limits,
        prices,
        markup,
        hops: config.regions.hops(&config.alerts),
        known,
        made,
    })
}

/// How calls for a model find their way, or which of its fallbacks there are not; their places are told within the model.
///
/// # Errors
/// Each fallback that nobody knows.
pub fn routed(fleet: &Fleet, model: &ModelConfig, aliases: &[Alias]) -> Result<ModelRouting, Vec<Fault>> {
    let known = |name: &str| aliases.iter().any(|(alias, _)| alias == name);
    let told = |(path, message)| Fault { file: String::new(), line: None, path, message };
    ModelRouting::build(model, fleet, &known).map_err(|found| found.into_iter().map(told).collect())
}

/// Whether a name is an alias, or a model of a provider.
fn names(fleet: &Fleet, aliases: &[Alias], name: &str) -> bool {
    aliases.iter().any(|(alias, _)| alias == name) || fleet.target(name).is_some()
}

/// The targets of a model, and what is wrong with those that there are not; their places are told within the model.
pub fn aimed(fleet: &Fleet, model: &ModelConfig) -> (Vec<Arc<Target>>, Vec<Fault>) {
    let (mut targets, mut missing) = (Vec::new(), Vec::new());
    for (i, TargetConfig { target: name, .. }) in model.targets.iter().enumerate() {
        match fleet.target(name) {
            Some(target) => targets.push(target),
            None => missing.push(Fault {
                file: String::new(),
                line: None,
                path: format!("targets[{i}]"),
                message: format!("'{name}' is not a model that a configured provider can serve"),
            }),
        }
    }
    (targets, missing)
}
