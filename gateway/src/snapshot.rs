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
    /// What the configuration says of billing beside the price: by target, hidden output and billing after a cancel.
    pub billing: HashMap<String, (Option<bool>, Option<bool>)>,
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

    /// Whether a name is configured or catalogued, rather than made up by a client.
    pub fn knows(&self, model: &str) -> bool {
        self.routes.known.contains(model)
    }

    /// What the target's tokens cost: the configuration's word before the catalogue's.
    pub fn rates(&self, target: &Target) -> Option<Rates> {
        match self.routes.prices.get(&target.name) {
            Some(rates) => Some(*rates),
            None => catalogue_rates(target),
        }
    }
}

impl Snapshot {
    /// Whether hanging up saves nothing: the target bills what is not streamed, or goes on when the connection is dropped.
    pub fn bills_on(&self, target: &Target) -> bool {
        let (hidden, after_cancel) = self.routes.billing.get(&target.name).copied().unwrap_or_default();
        hidden.unwrap_or(target.hidden_output) || after_cancel.unwrap_or(target.bills_after_cancel)
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
    let (mut prices, mut billing) = (HashMap::new(), HashMap::new());
    for (name, price) in &config.prices {
        if fleet.target(name).is_none() {
            // A misspelt name would leave the catalogue's price in force without a word.
            let message = format!("'{name}' is not 'provider/model' of a configured provider");
            faults.push(fault(format!("prices.{name}"), message));
        }
        billing.insert(name.clone(), (price.hidden_output, price.bills_after_cancel));
        match configured_rates(price) {
            Ok(rates) => drop(prices.insert(name.clone(), rates)),
            Err(error) => faults.push(fault(format!("prices.{name}"), error.to_string())),
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
    let known = aliased.chain(listed).chain(prices.keys()).cloned().collect();
    if faults.is_empty() {
        Ok(Routes { fleet, providers: config.providers.len(), aliases, prices, billing, markup, known })
    } else {
        Err(faults)
    }
}
