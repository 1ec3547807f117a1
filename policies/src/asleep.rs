//! Which shipped rules have nothing to say: those whose settings a layer's data does not hold, unless another rule reads them. They
//! are checked and not loaded, so that a library costs nothing and no decision depends on facts that only they would read.

use std::collections::BTreeSet;

use crate::Source;
use crate::check::Checked;
use crate::source::{BASE, is_shipped, shipped_name};

/// The paths of shipped modules that need not be loaded.
pub(crate) fn asleep<'a>(sources: &[Source], modules: &[Checked<'a>], data: &serde_json::Value) -> BTreeSet<&'a str> {
    let ours: BTreeSet<&str> = sources.iter().filter(|it| is_shipped(it)).map(|it| it.path.as_str()).collect();
    let settings = data.get("alfred").and_then(serde_json::Value::as_object);
    let has_settings = |name: &str| settings.is_some_and(|settings| settings.contains_key(name));
    let waits = |module: &Checked<'_>| {
        let name = shipped_name(module.path).filter(|_| ours.contains(module.path) && !module.is_test);
        name.is_some_and(|name| !BASE.contains(&name) && !has_settings(name))
    };
    let (mut asleep, mut awake): (Vec<&Checked<'a>>, Vec<&Checked<'a>>) = modules.iter().partition(|it| waits(it));
    awake.retain(|module| !module.is_test);
    // Whoever is awake wakes those whom it reads.
    while let Some(reader) = awake.pop() {
        let (woken, still) = asleep.into_iter().partition(|module| reads(reader, &module.outline.package));
        asleep = still;
        awake.extend::<Vec<_>>(woken);
    }
    asleep.into_iter().map(|module| module.path).collect()
}

/// Whether any rule of a module may read what is at, below or above a package.
fn reads(module: &Checked<'_>, package: &[String]) -> bool {
    let meets = |path: &[String]| path.iter().zip(package).all(|(step, name)| step == name);
    let rules = module.outline.rules.iter();
    let called = |path: &Vec<String>| path.starts_with(package);
    rules.clone().any(|rule| rule.reads.iter().any(|(path, _)| meets(path)))
        || rules.flat_map(|rule| &rule.calls).any(|call| call.paths.iter().any(called))
}
