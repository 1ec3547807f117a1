//! Whose limits a call is under: its key's, its team's, and the model's within the organisation. Nothing here allocates.

use std::fmt;

use ledger::{Credential, Id, Key, Limits, Org, Team};
use sha2::{Digest, Sha256};

/// Whose limit it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Who {
    Key(Id<Key>),
    Team(Id<Team>),
    /// An alias, within an organisation.
    Model(Id<Org>, u64),
}

impl Who {
    /// As a refusal names it: ids and names are not told, the caller knows which.
    pub fn word(self) -> &'static str {
        match self {
            Who::Key(_) => "key",
            Who::Team(_) => "team",
            Who::Model(..) => "model",
        }
    }
}

/// As the shared store knows it.
impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Who::Key(key) => write!(f, "{key}"),
            Who::Team(team) => write!(f, "{team}"),
            Who::Model(org, model) => write!(f, "{org}:{model:016x}"),
        }
    }
}

/// An alias with limits, by a name that is the same in every process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelLimit {
    name: u64,
    limits: Limits,
}

impl ModelLimit {
    pub fn new(alias: &str, limits: Limits) -> ModelLimit {
        let hash = Sha256::digest(alias.as_bytes());
        ModelLimit { name: hash.iter().take(8).fold(0, |name, byte| (name << 8) | u64::from(*byte)), limits }
    }
}

/// The limits that a call is under.
#[derive(Debug, Clone, Copy, Default)]
pub struct Chain([Option<(Who, Limits)>; 3]);

impl Chain {
    /// Of a call of this key for a model with these limits.
    pub fn of(credential: &Credential, model: Option<&ModelLimit>) -> Chain {
        let limits = Limits { rpm: credential.rpm, tpm: credential.tpm, max_parallel: credential.max_parallel };
        let team = credential.team.map(|team| (Who::Team(team), credential.team_limits));
        let model = model.map(|model| (Who::Model(credential.org, model.name), model.limits));
        let limited = |it: Option<(Who, Limits)>| it.filter(|(_, limits)| !limits.is_none());
        Chain([limited(Some((Who::Key(credential.key), limits))), limited(team), limited(model)])
    }

    #[cfg(test)]
    pub fn new(bounds: [Option<(Who, Limits)>; 3]) -> Chain {
        Chain(bounds)
    }

    /// Whether the call is under no limit.
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// Whether it takes a place among others.
    pub fn is_parallel(&self) -> bool {
        self.iter().any(|(_, limits)| limits.max_parallel.is_some())
    }

    pub fn iter(&self) -> impl Iterator<Item = (Who, Limits)> {
        self.0.iter().flatten().copied()
    }
}

/// What a call draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    pub requests: u64,
    /// As many as it will likely use.
    pub tokens: u64,
    /// A place, until it is given back.
    pub place: bool,
}

impl Cost {
    /// A question that is no answer of a model.
    pub const QUESTION: Cost = Cost { requests: 1, tokens: 0, place: false };
    /// A place alone.
    pub const PLACE: Cost = Cost { requests: 0, tokens: 0, place: true };
}

/// Which of somebody's limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Which {
    Requests,
    Tokens,
    Places,
}

impl Which {
    pub fn words(self) -> &'static str {
        match self {
            Which::Requests => "requests per minute",
            Which::Tokens => "tokens per minute",
            Which::Places => "calls in flight",
        }
    }
}

/// One of somebody's limits, as a call draws from it.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    pub who: Who,
    pub which: Which,
    pub limit: u64,
    pub cost: u64,
}

/// The limits that a cost is drawn from, one by one.
pub fn parts(chain: &Chain, cost: Cost) -> impl Iterator<Item = Part> {
    chain.iter().flat_map(move |(who, limits)| {
        let part = |which, limit: Option<u64>, cost| limit.map(|limit| Part { who, which, limit, cost });
        let places = limits.max_parallel.filter(|_| cost.place).map(u64::from);
        [
            part(Which::Requests, limits.rpm.map(u64::from), cost.requests),
            part(Which::Tokens, limits.tpm, cost.tokens),
            part(Which::Places, places, 1),
        ]
        .into_iter()
        .flatten()
    })
}
