//! Rules compiled from what the ledger has on record: those in force, those of a decision made earlier, and candidates. Compiling takes its
//! time, so it is done where nothing waits for it.

use std::sync::Arc;

use ledger::{Decisions, StoreError};
use policies::{Fault, Limits, Pack, PackLimits, PolicySet, Rulebook, Scope, Source};

/// Why there are no such rules.
#[derive(Debug, thiserror::Error)]
pub enum Unmade {
    /// Nobody has written them down.
    #[error("{0}")]
    Unknown(String),
    /// This version cannot compile them.
    #[error("{scope}: {}", told(.faults))]
    Faulty { scope: String, faults: Vec<Fault> },
    #[error("ledger store failed")]
    Store(#[from] StoreError),
}

fn told(faults: &[Fault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// Every layer that is in force by the ledger's word. Where no process has put its own on record, what is shipped is taken for the house's.
///
/// # Errors
/// A layer cannot be read or compiled.
pub async fn in_force(decisions: Decisions<'_>) -> Result<Rulebook, Unmade> {
    let mut layers = Vec::new();
    for (scope, policy) in decisions.layers_in_force().await? {
        let bundle = decisions.bundle(policy).await?;
        let bundle = bundle.ok_or_else(|| Unmade::Unknown(format!("there is no {policy}")))?;
        layers.push((scope, bundle));
    }
    book(layers).await
}

/// The layers that decided then, as far as they are on record.
///
/// # Errors
/// One is not on record, or cannot be compiled into what it was.
pub async fn as_then(decisions: Decisions<'_>, layers: &[(String, String)]) -> Result<Rulebook, Unmade> {
    let mut bundles = Vec::new();
    for (scope, revision) in layers {
        let bundle = decisions.bundle_of(scope, revision).await?;
        let bundle = bundle.ok_or_else(|| {
            Unmade::Unknown(format!("revision {revision} of layer {scope} is not on record: it cannot be asked again"))
        })?;
        bundles.push((scope.clone(), bundle));
    }
    let book = book(bundles).await?;
    for (scope, revision) in layers {
        let found = book.layers().find(|(of, _)| of.to_string() == *scope).map(|(_, set)| set.revision());
        if found != Some(revision) {
            return Err(Unmade::Unknown(format!(
                "layer {scope} was {revision}, and this version of the program makes {} of it",
                found.unwrap_or("nothing")
            )));
        }
    }
    Ok(book)
}

/// The same rules with one layer replaced by a revision that is on record.
///
/// # Errors
/// It is not on record, or cannot be compiled.
pub async fn candidate(decisions: Decisions<'_>, live: &Rulebook, policy: &str) -> Result<Rulebook, Unmade> {
    let unknown = || Unmade::Unknown(format!("there is no revision {policy}"));
    let id = policy.parse().map_err(|_| unknown())?;
    let scope = decisions.scope_of(id).await?.ok_or_else(unknown)?;
    let bundle = decisions.bundle(id).await?.ok_or_else(unknown)?;
    let scope = parsed(&scope.to_string())?;
    let set = compiled(scope.clone(), bundle).await?;
    Ok(live.with(scope, Some(set)))
}

/// A layer of modules and data, compiled with what is shipped for its scope.
///
/// # Errors
/// Every fault of it.
pub async fn layer(scope: Scope, pack: Pack) -> Result<Arc<PolicySet>, Unmade> {
    let name = scope.to_string();
    on_the_side(name, move || {
        let mut sources: Vec<Source> = policies::shipped_for(&scope);
        // What is on record of the house has the shipped rules with it.
        let is_new = |module: &Source| !sources.iter().any(|shipped| shipped.path == module.path);
        let own: Vec<Source> = pack.modules.iter().filter(|module| is_new(module)).cloned().collect();
        sources.extend(own);
        PolicySet::compile(&sources, pack.data, Limits::default()).map(Arc::new)
    })
    .await
}

async fn book(layers: Vec<(String, Vec<u8>)>) -> Result<Rulebook, Unmade> {
    let mut compiled_layers = Vec::new();
    for (scope, bundle) in layers {
        let scope = parsed(&scope)?;
        compiled_layers.push((scope.clone(), compiled(scope, bundle).await?));
    }
    let house = match compiled_layers.iter().position(|(scope, _)| *scope == Scope::House) {
        Some(at) => compiled_layers.swap_remove(at).1,
        None => {
            let bare = Pack { data: serde_json::json!({"alfred": {}}), ..Pack::default() };
            layer(Scope::House, bare).await?
        }
    };
    let rest = compiled_layers.into_iter().map(|(scope, set)| (scope, Some(set)));
    Ok(Rulebook::new(house).with_all(rest))
}

fn parsed(scope: &str) -> Result<Scope, Unmade> {
    scope.parse().map_err(|message| Unmade::Unknown(format!("{scope}: {message}")))
}

async fn compiled(scope: Scope, bundle: Vec<u8>) -> Result<Arc<PolicySet>, Unmade> {
    let name = scope.to_string();
    let pack = on_the_side(name, move || Pack::read(&bundle, &PackLimits::default())).await?;
    layer(scope, pack).await
}

async fn on_the_side<T: Send + 'static>(
    scope: String,
    work: impl FnOnce() -> Result<T, Vec<Fault>> + Send + 'static,
) -> Result<T, Unmade> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|faults| Unmade::Faulty { scope, faults }),
        Err(_) => Err(Unmade::Unknown(format!("{scope}: could not be compiled: the log has the cause"))),
    }
}
