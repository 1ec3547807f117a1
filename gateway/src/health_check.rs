//! Looks after the providers that the configuration names: whoever is ill or well again is known without a call having to find out.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use providers::{Class, Fleet, Outcome, ProviderError};
use tokio::task::JoinSet;

use crate::app::App;

/// How often it is looked whom to look after.
const TICK: Duration = Duration::from_millis(500);
/// A list that takes longer is a failure.
const DEADLINE: Duration = Duration::from_secs(10);

/// Runs until the house is shut down; one question to a provider at a time.
pub async fn keep(app: Arc<App>) {
    let mut due: HashMap<String, u64> = HashMap::new();
    let mut asked: HashSet<String> = HashSet::new();
    let mut looks: JoinSet<(String, Outcome)> = JoinSet::new();
    loop {
        tokio::select! {
            () = app.stopping.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        while let Some(looked) = looks.try_join_next() {
            let Ok((provider, outcome)) = looked else { continue };
            asked.remove(&provider);
            app.health.looked_after(&provider, outcome, app.millis());
        }
        if looks.is_empty() {
            // Also where one has panicked: nobody is forgotten for ever.
            asked.clear();
        }
        let Ok(snapshot) = app.snapshot() else { continue };
        let fleet = &snapshot.routes.fleet;
        let now = app.millis();
        for (provider, check) in fleet.health_checks() {
            let at = due.entry(provider.to_owned()).or_insert(now.saturating_add(check.every_ms));
            if *at > now || asked.contains(provider) {
                continue;
            }
            *at = now.saturating_add(check.every_ms);
            asked.insert(provider.to_owned());
            looks.spawn(look(Arc::clone(&app), Arc::clone(fleet), provider.to_owned()));
        }
        due.retain(|provider, _| fleet.has_provider(provider));
    }
}

async fn look(app: Arc<App>, fleet: Arc<Fleet>, provider: String) -> (String, Outcome) {
    let listed = tokio::time::timeout(DEADLINE, app.outbound.list_models(&fleet, &provider)).await;
    let listed = listed.unwrap_or_else(|_| Err(ProviderError::new(Class::Timeout, "no list in time")));
    let outcome = match &listed {
        // A server without a list is a server.
        Ok(_) => Outcome::Good,
        Err(error) => shown(error),
    };
    if let Err(error) = listed {
        tracing::debug!(provider, class = error.class.as_str(), "a provider was looked after and is not well");
    }
    (provider, outcome)
}

/// What a list that was not told shows. A key may not be allowed to see it, or one of several may be limited, and calls be answered all
/// the same: they find out for themselves.
fn shown(error: &ProviderError) -> Outcome {
    match error.class {
        Class::Misconfigured | Class::RateLimited => Outcome::Neutral,
        _ => Outcome::from(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_may_not_see_the_list_says_nothing_about_the_targets() {
        for (class, expected) in [
            (Class::Misconfigured, Outcome::Neutral),
            (Class::RateLimited, Outcome::Neutral),
            (Class::Connect, Outcome::Failed),
            (Class::Timeout, Outcome::Failed),
            (Class::Server, Outcome::Failed),
            (Class::Broken, Outcome::Failed),
        ] {
            assert_eq!(shown(&ProviderError::new(class, "x")), expected, "{class:?}");
        }
    }
}
