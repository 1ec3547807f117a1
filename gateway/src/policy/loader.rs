//! Uploaded layers: read from the ledger when the last word on them is another, compiled where no call waits for it, and only those
//! that changed. A layer that this version cannot compile is closed: its scope's calls are denied, everybody else's go on.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use ledger::{Id, Ledger, Policy, PolicyInForce, PolicyScope, StoreError};
use metrics::{describe_gauge, gauge};
use policies::{Limits, Pack, PackLimits, PolicySet, Rulebook, Scope, Source};

use super::Shadow;
use super::source::{House, sources};

const LAYERS: &str = "alfred_policy_layers";

/// What the rulebook of a snapshot was made of.
#[derive(Clone)]
pub struct Layers {
    /// How many words had been said when these were read.
    pub count: i64,
    pub house: Arc<House>,
    /// The house's own last word.
    pub house_row: Arc<PolicyInForce>,
    /// Uploaded ones.
    pub uploaded: BTreeMap<PolicyScope, Arc<Layer>>,
    /// What is rehearsed.
    pub rehearsed: Option<Arc<Rehearsed>>,
}

/// An uploaded layer in force.
pub struct Layer {
    pub row: PolicyInForce,
    pub set: Arc<PolicySet>,
    /// Why it is closed; none: it serves.
    pub faults: Vec<policies::Fault>,
}

/// A revision that is evaluated beside the live ones.
pub struct Rehearsed {
    pub policy: Id<Policy>,
    pub scope: PolicyScope,
    /// None: this version cannot compile it.
    pub set: Option<Arc<PolicySet>>,
}

impl Layers {
    /// Only the house's; no word on others has been read.
    pub fn of_house(house: Arc<House>, house_row: Arc<PolicyInForce>) -> Layers {
        Layers { count: -1, house, house_row, uploaded: BTreeMap::new(), rehearsed: None }
    }

    /// Reads what is in force by now and compiles what these do not have. None: all is as it was.
    ///
    /// # Errors
    /// When the ledger cannot be read.
    pub async fn renewed(&self, ledger: &Ledger) -> Result<Option<Layers>, StoreError> {
        let policies = ledger.policies();
        // Counted first: what commits meanwhile is in the rows already, and is read again.
        let count = policies.count().await?;
        if count == self.count {
            return Ok(None);
        }
        let (rows, shadow) = (policies.in_force().await?, policies.shadow().await?);
        let mut uploaded = BTreeMap::new();
        for row in rows {
            let scope = row.revision.scope;
            // The house's is the configuration's of each process.
            if scope == PolicyScope::House {
                continue;
            }
            let layer = match self.known(row.revision.id) {
                Some((set, faults)) => Layer { row, set, faults },
                None => match compiled(ledger, scope, row.revision.id).await? {
                    Ok(set) => Layer { row, set, faults: Vec::new() },
                    Err(faults) => {
                        tell(&row, &faults);
                        Layer { row, set: closed(), faults }
                    }
                },
            };
            uploaded.insert(scope, Arc::new(layer));
        }
        let rehearsed = match shadow.and_then(|it| it.policy) {
            None => None,
            Some(policy) => match &self.rehearsed {
                Some(known) if known.policy == policy => Some(Arc::clone(known)),
                _ => self.rehearse(ledger, policy, &uploaded).await?,
            },
        };
        Ok(Some(Layers { count, uploaded, rehearsed, ..self.clone() }))
    }

    async fn rehearse(
        &self,
        ledger: &Ledger,
        policy: Id<Policy>,
        uploaded: &BTreeMap<PolicyScope, Arc<Layer>>,
    ) -> Result<Option<Arc<Rehearsed>>, StoreError> {
        let Some(row) = ledger.policies().revision(policy).await? else { return Ok(None) };
        let in_force = uploaded.get(&row.scope).filter(|it| it.row.revision.id == policy && it.faults.is_empty());
        let set = match in_force {
            Some(layer) => Some(Arc::clone(&layer.set)),
            None => match compiled(ledger, row.scope, policy).await? {
                Ok(set) => Some(set),
                Err(faults) => {
                    let faults = joined(&faults);
                    tracing::error!(policy = %policy, faults, "the revision to rehearse cannot be compiled by this version");
                    None
                }
            },
        };
        Ok(Some(Arc::new(Rehearsed { policy, scope: row.scope, set })))
    }

    /// A revision that was compiled before.
    fn known(&self, id: Id<Policy>) -> Option<(Arc<PolicySet>, Vec<policies::Fault>)> {
        let of_layer = self.uploaded.values().find(|it| it.row.revision.id == id);
        let of_layer = of_layer.map(|it| (Arc::clone(&it.set), it.faults.clone()));
        let rehearsed = self.rehearsed.as_ref().filter(|it| it.policy == id);
        of_layer.or_else(|| Some((Arc::clone(rehearsed?.set.as_ref()?), Vec::new())))
    }

    /// The rulebook of before with these layers in place of those it was made of.
    pub fn over(&self, rulebook: &Rulebook, before: &Layers) -> Rulebook {
        let gone = before.uploaded.keys().filter(|scope| !self.uploaded.contains_key(scope));
        let gone = gone.map(|scope| (told(*scope), None));
        let new = self.uploaded.iter().filter(|(scope, layer)| {
            before.uploaded.get(scope).is_none_or(|known| !Arc::ptr_eq(&known.set, &layer.set))
        });
        rulebook.with_all(gone.chain(new.map(|(scope, layer)| (told(*scope), Some(Arc::clone(&layer.set))))))
    }

    /// Whether other uploaded layers are in force.
    pub fn differs(&self, before: &Layers) -> bool {
        self.uploaded.len() != before.uploaded.len()
            || self
                .uploaded
                .iter()
                .zip(&before.uploaded)
                .any(|(new, old)| new.0 != old.0 || !Arc::ptr_eq(&new.1.set, &old.1.set))
    }

    /// The uploaded layers, in few words.
    pub fn summary(&self) -> String {
        let first: Vec<String> = self.uploaded.keys().take(8).map(ToString::to_string).collect();
        let more = self.uploaded.len().saturating_sub(first.len());
        if more == 0 { first.join(", ") } else { format!("{}, and {more} more", first.join(", ")) }
    }

    /// The rules as they would be with what is rehearsed.
    pub fn shadow(&self, rulebook: &Rulebook) -> Option<Arc<Shadow>> {
        let Rehearsed { policy, scope, set } = &**self.rehearsed.as_ref()?;
        let scope = told(*scope);
        let rulebook = Arc::new(rulebook.with(scope.clone(), Some(Arc::clone(set.as_ref()?))));
        Some(Arc::new(Shadow { revision: policy.to_string(), scope, rulebook }))
    }

    /// How many layers serve, and how many are closed.
    pub fn measure(&self) {
        describe_gauge!(
            LAYERS,
            "layers of rules in force, by whether they serve or deny because they cannot be compiled"
        );
        let closed = self.uploaded.values().filter(|layer| !layer.faults.is_empty()).count();
        let serving = self.uploaded.len() + 1 - closed;
        for (state, number) in [("serving", serving), ("faulty", closed)] {
            gauge!(LAYERS, "state" => state).set(u32::try_from(number).unwrap_or(u32::MAX));
        }
    }
}

/// The scope, as rules know it.
pub fn told(scope: PolicyScope) -> Scope {
    match scope {
        PolicyScope::House => Scope::House,
        PolicyScope::Platform => Scope::Platform,
        PolicyScope::Org(id) => Scope::Org(id.to_string()),
        PolicyScope::Team(id) => Scope::Team(id.to_string()),
    }
}

/// Compiles what a revision holds, where no call waits for it.
async fn compiled(
    ledger: &Ledger,
    scope: PolicyScope,
    id: Id<Policy>,
) -> Result<Result<Arc<PolicySet>, Vec<policies::Fault>>, StoreError> {
    let Some(bundle) = ledger.policies().bundle(id).await? else {
        return Err(StoreError::Corrupt(format!("{id} is in force and not there")));
    };
    let compiling = tokio::task::spawn_blocking(move || {
        let pack = Pack::read(&bundle, &PackLimits::default())?;
        let set = PolicySet::compile(&sources(&told(scope), &pack), pack.data, Limits::default())?;
        // What every call is asked by is ready for all of them; the others' engines are made when their calls meet.
        if scope == PolicyScope::Platform {
            set.warm();
        }
        Ok(Arc::new(set))
    });
    Ok(compiling.await.unwrap_or_else(|_| {
        let message = "could not be compiled: the log has the cause".to_owned();
        Err(vec![policies::Fault { path: "rules".into(), message, ..policies::Fault::default() }])
    }))
}

/// Rules that deny whatever is asked: what they say is not what a rule may say, and a fault denies. Where that is noticed before a
/// call comes, they deny in so many words.
fn closed() -> Arc<PolicySet> {
    static CLOSED: OnceLock<Arc<PolicySet>> = OnceLock::new();
    let rule = |said: &str| {
        let text = format!("package alfred.rules.closed\n\nimport rego.v1\n\ndeny contains {said} if true\n");
        PolicySet::compile(&[Source::new("closed.rego", text)], serde_json::json!({}), Limits::default())
    };
    let plain = "{\"code\": \"policy_denied\", \"message\": \"the rules cannot be read\"}";
    let made = || {
        let set = rule("\"closed\"").or_else(|_| rule(plain));
        Arc::new(set.expect("the plainest rule there is"))
    };
    Arc::clone(CLOSED.get_or_init(made))
}

fn tell(row: &PolicyInForce, faults: &[policies::Fault]) {
    let (scope, policy, faults) = (row.revision.scope.to_string(), row.revision.id.to_string(), joined(faults));
    tracing::error!(
        scope,
        policy,
        faults,
        "rules in force cannot be compiled by this version: all calls of their scope are denied"
    );
}

fn joined(faults: &[policies::Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}
