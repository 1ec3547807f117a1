//! What providers list and the catalogue lacks, what is gone, and where limits differ.

use std::sync::Arc;

use providers::{Comparison, Fleet, Outbound, ProviderConfig, Target, compare};

/// So many names are told unless all are wanted.
const EXAMPLES: usize = 8;

/// Asks each in turn and tells how its list differs; how many could not be asked.
pub(super) async fn check(fleet: &Fleet, outbound: &Outbound, chosen: &[&ProviderConfig], all: bool) -> usize {
    let mut failed = 0;
    for provider in chosen {
        let name = format!("{} ({})", provider.id, provider.kind);
        match outbound.list_models(fleet, &provider.id).await {
            Ok(None) => println!("{name}: has no list of models that could be asked for"),
            Ok(Some(listed)) => {
                let known: Vec<&Arc<Target>> =
                    fleet.models().iter().filter(|target| target.provider == provider.id).collect();
                println!("{name}: lists {}, of the {} known here", count(listed.len()), known.len());
                tell(&compare(&known, &listed), all);
            }
            Err(error) => {
                failed += 1;
                let status = error.status.map_or_else(String::new, |status| format!(", status {status}"));
                println!("{name}: {} ({}{status})", error.message, error.class.as_str());
            }
        }
    }
    failed
}

fn tell(found: &Comparison, all: bool) {
    let differing = |what: &str, models: &[(String, u64, u64)]| {
        let texts: Vec<String> =
            models.iter().map(|(model, here, there)| format!("{model} ({here} here, {there} there)")).collect();
        names(what, &texts, all);
    };
    names("not known here", &found.lacking, all);
    names("no longer listed there", &found.gone, all);
    differing("another context", &found.contexts);
    differing("another longest answer", &found.outputs);
}

fn names(what: &str, names: &[String], all: bool) {
    if names.is_empty() {
        return;
    }
    let told = if all { names.len() } else { names.len().min(EXAMPLES) };
    let more = match names.len() - told {
        0 => String::new(),
        more => format!(" and {more} more (--all)"),
    };
    println!("    {what}: {}{more}", names[..told].join(", "));
}

fn count(models: usize) -> String {
    format!("{models} model{}", if models == 1 { "" } else { "s" })
}
