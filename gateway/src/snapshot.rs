//! Keys, prices, routes and rules as one immutable view, swapped whole: a call sees one snapshot from start to end.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use ledger::{Credential, CredentialSet, Id, Key, Markup, Money, OperatorCredential, PresentedKey, Rates, Timestamp};
use policies::PolicySet;
use providers::{Fleet, Target};

use crate::case::Caller;
use crate::config::{Config, Fault, PriceConfig};

/// What only a new configuration changes.
pub struct Routes {
    pub fleet: Arc<Fleet>,
    /// Without any, no call can be forwarded.
    pub providers: usize,
    /// In the order of the configuration, which is the order of `/v1/models`.
    pub aliases: Vec<(String, Vec<Arc<Target>>)>,
    pub prices: HashMap<String, Rates>,
    pub markup: Markup,
}

/// One view of everything that a decision depends on.
pub struct Snapshot {
    /// The ledger's `config_revision` when the keys were read.
    pub revision: i64,
    keys: HashMap<Id<Key>, Arc<Credential>>,
    pub operators: Arc<[OperatorCredential]>,
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
    pub fn new(set: CredentialSet, routes: Arc<Routes>, policies: Arc<PolicySet>) -> Snapshot {
        let keys = set.keys.into_iter().map(|credential| (credential.key, Arc::new(credential))).collect();
        Snapshot { revision: set.revision, keys, operators: set.operators.into(), routes, policies }
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

    /// What the target's tokens cost: the configuration's word before the catalogue's.
    pub fn rates(&self, target: &Target) -> Option<Rates> {
        match self.routes.prices.get(&target.name) {
            Some(rates) => Some(*rates),
            None => catalogue_rates(target),
        }
    }
}

fn catalogue_rates(target: &Target) -> Option<Rates> {
    let price = target.price.as_ref()?;
    let optional = |text: &Option<String>| text.as_ref().map(|text| text.parse::<Money>().ok());
    Some(Rates {
        input: price.input.parse().ok()?,
        cached_input: optional(&price.cached_input).unwrap_or(None),
        cache_write: optional(&price.cache_write).unwrap_or(None),
        output: price.output.parse().ok()?,
    })
}

fn configured_rates(price: &PriceConfig) -> Result<Rates, ledger::MoneyError> {
    Ok(Rates {
        input: price.input.parse()?,
        cached_input: price.cached_input.as_deref().map(str::parse).transpose()?,
        cache_write: price.cache_write.as_deref().map(str::parse).transpose()?,
        output: price.output.parse()?,
    })
}

/// The names that may become labels of metrics: what is configured or catalogued, never what a client invents.
pub fn known_models(routes: &Routes) -> HashSet<String> {
    let aliased = routes.aliases.iter().flat_map(|(_, targets)| targets);
    aliased.chain(routes.fleet.models()).map(|target| target.name.clone()).collect()
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
        for (j, name) in model.targets.iter().enumerate() {
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
    let mut prices = HashMap::new();
    for (name, price) in &config.prices {
        match configured_rates(price) {
            Ok(rates) => drop(prices.insert(name.clone(), rates)),
            Err(error) => faults.push(fault(format!("prices.{name}"), error.to_string())),
        }
    }
    let markup = config.markup.parse::<Markup>().unwrap_or_else(|error| {
        faults.push(fault("markup".into(), error.to_string()));
        Markup::NONE
    });
    if faults.is_empty() {
        Ok(Routes { fleet, providers: config.providers.len(), aliases, prices, markup })
    } else {
        Err(faults)
    }
}
