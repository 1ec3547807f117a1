//! The layers of rules that hold for a call: the house's own, the platform's, its organisation's, its team's. Each is compiled and
//! replaced by itself; their contributions are composed together, so that a lower layer can only make a decision stricter.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::decision::Keeping;
use crate::engine::sample;
use crate::memory::Memory;
use crate::reads::{Fingerprint, Reads};
use crate::{Decision, Explanation, Facts, PolicySet, verdict};

/// Whose rules a layer holds, first those that come first.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// Shipped with the program and named by its configuration. Always there.
    House,
    /// Uploaded for everyone.
    Platform,
    /// Uploaded for an organisation: `org_…`.
    Org(String),
    /// Uploaded for a team: `team_…`.
    Team(String),
}

/// Every layer in force. Immutable: a change makes another one.
pub struct Rulebook {
    layers: HashMap<Scope, Arc<PolicySet>>,
    house: Arc<PolicySet>,
    revision: String,
    reads: Reads,
    memory: Memory,
}

/// A decision, and what it was made by.
#[derive(Clone, Debug)]
pub struct Decided {
    /// What was decided.
    pub decision: Decision,
    /// The rules that decided: a short hash of the layers that hold for the call.
    pub revision: String,
    /// The facts that it may depend on, hashed.
    pub facts_hash: Fingerprint,
    /// It was made before, on the same facts.
    pub remembered: bool,
    /// What may be written down of it.
    pub keeping: Keeping,
}

impl Rulebook {
    /// Only the house's rules.
    pub fn new(house: Arc<PolicySet>) -> Rulebook {
        Rulebook::of(HashMap::from([(Scope::House, house)]))
            .unwrap_or_else(|| unreachable!("the house was just put in"))
    }

    /// The same with one layer replaced or, other than the house's, taken away.
    #[must_use]
    pub fn with(&self, scope: Scope, set: Option<Arc<PolicySet>>) -> Rulebook {
        self.with_all([(scope, set)])
    }

    /// The same for several layers at once.
    #[must_use]
    pub fn with_all(&self, changes: impl IntoIterator<Item = (Scope, Option<Arc<PolicySet>>)>) -> Rulebook {
        let mut layers = self.layers.clone();
        for (scope, set) in changes {
            match set {
                Some(set) => drop(layers.insert(scope, set)),
                None if scope == Scope::House => {}
                None => drop(layers.remove(&scope)),
            }
        }
        Rulebook::of(layers).unwrap_or_else(|| unreachable!("the house is never taken away"))
    }

    fn of(layers: HashMap<Scope, Arc<PolicySet>>) -> Option<Rulebook> {
        let house = Arc::clone(layers.get(&Scope::House)?);
        let reads = layers.values().fold(Reads::default(), |reads, set| reads.or(set.reads()));
        let mut scopes: Vec<&Scope> = layers.keys().collect();
        scopes.sort();
        let revision = joined(scopes.iter().map(|scope| (*scope, layers[*scope].revision())));
        Some(Rulebook { layers, house, revision, reads, memory: Memory::new() })
    }

    /// May this call happen? What cannot be decided is denied. What was decided on the same facts is not decided again.
    pub fn decide(&self, facts: &Facts) -> Decided {
        let layers = self.layers_for(&facts.caller.org, facts.caller.team.as_deref());
        // Only what these layers read counts; two callers with other layers differ in their org or team anyway.
        let reads = layers.iter().fold(Reads::default(), |reads, (_, set)| reads.or(set.reads()));
        let facts_hash = reads.fingerprint(facts);
        let revision = self.revision_of(&layers);
        if let Some((decision, keeping)) = self.memory.find(&facts_hash) {
            return Decided { decision, revision, facts_hash, remembered: true, keeping };
        }
        let (decision, keeping) = match judge(&layers, facts) {
            Ok((decision, keeping)) => {
                self.memory.keep(facts_hash, &decision, &keeping);
                (decision, keeping)
            }
            // Not remembered: a busy machine's fault may be over at the next call.
            Err(message) => {
                let withholds = layers.iter().any(|(_, set)| set.index().may_withhold());
                let keeping = if withholds { Keeping::least() } else { Keeping::default() };
                (Decision::fault(message), keeping)
            }
        };
        Decided { decision, revision, facts_hash, remembered: false, keeping }
    }

    /// The same, evaluated whatever was decided before; an error says in words for operators why that failed.
    ///
    /// # Errors
    /// What could not be evaluated or composed.
    pub fn judge(&self, facts: &Facts) -> Result<Decision, String> {
        judge(&self.layers_for(&facts.caller.org, facts.caller.team.as_deref()), facts).map(|(decision, _)| decision)
    }

    /// The decision on these facts, and what every rule had to do with it.
    pub fn explain(&self, facts: &Facts) -> Explanation {
        let layers = self.layers_for(&facts.caller.org, facts.caller.team.as_deref());
        Explanation {
            decision: judge(&layers, facts).map_or_else(Decision::fault, |(decision, _)| decision),
            revision: self.revision_of(&layers),
            layers: layers.iter().map(|(scope, set)| set.explain(scope, facts)).collect(),
        }
    }

    /// The layers that hold for such a caller, in order.
    pub fn layers_for(&self, org: &str, team: Option<&str>) -> Vec<(Scope, &Arc<PolicySet>)> {
        let scopes = [Scope::House, Scope::Platform, Scope::Org(org.to_owned())];
        let scopes = scopes.into_iter().chain(team.map(|team| Scope::Team(team.to_owned())));
        scopes.filter_map(|scope| self.layers.get(&scope).map(|set| (scope, set))).collect()
    }

    /// The revision of the layers that hold for such a caller.
    pub fn revision_for(&self, org: &str, team: Option<&str>) -> String {
        self.revision_of(&self.layers_for(org, team))
    }

    fn revision_of(&self, layers: &[(Scope, &Arc<PolicySet>)]) -> String {
        if self.layers.len() == layers.len() {
            return self.revision.clone();
        }
        joined(layers.iter().map(|(scope, set)| (scope, set.revision())))
    }

    /// A short hash of every layer.
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The house's own rules.
    pub fn house(&self) -> &Arc<PolicySet> {
        &self.house
    }

    /// Every layer in force.
    pub fn layers(&self) -> impl Iterator<Item = (&Scope, &Arc<PolicySet>)> {
        self.layers.iter()
    }

    /// Whether any rule asks what kind of work a call seems to be.
    pub fn asks_intent(&self) -> bool {
        self.reads.seems()
    }

    /// Whether what these layers contribute to a sample call of a scope can be composed at all; an error says what cannot.
    ///
    /// # Errors
    /// Contributions that contradict one another, or of a wrong form: every such call would be denied with `policy_fault`.
    pub fn tried(&self, scope: &Scope) -> Result<(), String> {
        let mut facts = sample();
        match scope {
            Scope::House | Scope::Platform => {}
            Scope::Org(id) => facts.caller.org.clone_from(id),
            Scope::Team(id) => facts.caller.team = Some(id.clone()),
        }
        match self.judge(&facts) {
            // What names its targets by heart meets no candidate of a sample.
            Err(message) if !message.ends_with("no candidate") => Err(message),
            _ => Ok(()),
        }
    }

    /// Whether any rule asks what the caller's wallets have left.
    pub fn asks_headroom(&self) -> bool {
        self.reads.headroom()
    }
}

fn judge(layers: &[(Scope, &Arc<PolicySet>)], facts: &Facts) -> Result<(Decision, Keeping), String> {
    let mut said = Vec::new();
    for (scope, set) in layers {
        said.extend(set.contributions(scope, facts)?);
    }
    let keeping = verdict::keeping(&said).unwrap_or_else(|_| Keeping::least());
    Ok((verdict::decision(&said, facts)?, keeping))
}

/// One layer's revision stands as it is.
fn joined<'a>(layers: impl Iterator<Item = (&'a Scope, &'a str)>) -> String {
    let layers: Vec<(String, &str)> = layers.map(|(scope, revision)| (scope.to_string(), revision)).collect();
    match layers.as_slice() {
        [(_, only)] => (*only).to_owned(),
        layers => {
            let text: String = layers.iter().map(|(scope, revision)| format!("{scope}={revision}\n")).collect();
            hex::encode(&Sha256::digest(text.as_bytes())[..6])
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Scope::House => "house",
            Scope::Platform => "platform",
            Scope::Org(id) | Scope::Team(id) => id,
        })
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Scope, String> {
        match text {
            "house" => Ok(Scope::House),
            "platform" => Ok(Scope::Platform),
            org if org.starts_with("org_") => Ok(Scope::Org(org.to_owned())),
            team if team.starts_with("team_") => Ok(Scope::Team(team.to_owned())),
            _ => Err("a scope is platform, org_… or team_…".to_owned()),
        }
    }
}

impl fmt::Debug for Rulebook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rulebook").field("revision", &self.revision).finish_non_exhaustive()
    }
}
