//! The house's own layer: what is shipped, and what the configuration adds to it: a folder, a bundle in a file or behind an address,
//! and data of its own. Read and compiled whole, or refused with every place that is wrong.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ledger::{NewPolicy, PolicyScope, PolicySource};
use policies::{Limits, Manifest, Pack, PackLimits, PolicySet, Scope, Source};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::keys::Trusted;
use super::poll::Address;
use crate::config::{Config, Fault};

/// `policies.bundle`.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BundleConfig {
    pub file: Option<PathBuf>,
    pub url: Option<String>,
    /// The variable whose content is sent as `Authorization: Bearer …`.
    pub token_env: Option<String>,
    pub poll_seconds: Option<u64>,
}

/// One of `policies.keys`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyConfig {
    /// The name by which signatures call it.
    pub id: String,
    pub algorithm: String,
    /// A public key.
    #[serde(default)]
    pub pem_file: Option<PathBuf>,
    /// The variable that holds a shared secret.
    #[serde(default)]
    pub secret_env: Option<String>,
}

/// What the configuration says of the house's layer.
pub struct Terms {
    /// The configuration's file, as faults name it.
    file: String,
    data: Map<String, Value>,
    dir: Option<PathBuf>,
    bundle_file: Option<PathBuf>,
    pub address: Option<Address>,
    pub trusted: Trusted,
}

/// A bundle that came from an address.
pub struct Fetched {
    pub url: String,
    /// By which the next answer can say that nothing is new.
    pub etag: Option<String>,
    pub pack: Pack,
}

/// The house's layer, compiled, and what it was made of.
pub struct House {
    pub set: Arc<PolicySet>,
    /// All of it, what is shipped too: for the record.
    pub pack: Pack,
    pub source: PolicySource,
    pub terms: Arc<Terms>,
    pub fetched: Option<Arc<Fetched>>,
}

/// What a good configuration says; rules behind an address are still to be fetched.
pub enum HousePlan {
    Ready(Box<House>),
    ToFetch(Arc<Terms>, Address),
}

impl HousePlan {
    /// Reads and compiles what the configuration names. What was fetched from the same address before is taken as it is.
    ///
    /// # Errors
    /// Every fault found.
    pub fn build(
        file: &str,
        config: &Config,
        environment: &dyn Fn(&str) -> Option<String>,
        before: Option<&House>,
    ) -> Result<HousePlan, Vec<Fault>> {
        let terms = Arc::new(Terms::read(file, config, environment)?);
        let known = before.and_then(|it| it.fetched.clone());
        let fetched = known.filter(|it| terms.address.as_ref().is_some_and(|address| address.url == it.url));
        match (&terms.address, &fetched) {
            // What is wrong without the bundle is told at once.
            (Some(address), None) => {
                let address = address.clone();
                House::build(&terms, None).map(|house| HousePlan::ToFetch(house.terms, address))
            }
            _ => House::build(&terms, fetched).map(|house| HousePlan::Ready(Box::new(house))),
        }
    }

    /// The rules that there are already, for commands that fetch nothing.
    pub fn revision(&self) -> &str {
        match self {
            HousePlan::Ready(house) => house.set.revision(),
            HousePlan::ToFetch(..) => "(to be fetched)",
        }
    }
}

impl Terms {
    fn read(file: &str, config: &Config, environment: &dyn Fn(&str) -> Option<String>) -> Result<Terms, Vec<Fault>> {
        let said = &config.policies;
        let mut faults = Vec::new();
        let mut fault = |path: &str, message: &str| {
            faults.push(Fault {
                file: file.to_owned(),
                line: None,
                path: path.to_owned(),
                message: message.to_owned(),
            });
        };
        if said.dir.is_some() && said.bundle.is_some() {
            fault("policies.bundle", "policies.dir names the rules already: leave one of them out");
        }
        if said.dir.is_some() && said.require_signature == Some(true) {
            fault("policies.dir", "a folder has no signature: build and sign a bundle of it (`alfred policy bundle`)");
        }
        let bundle = said.bundle.clone().unwrap_or_default();
        match (&bundle.file, &bundle.url) {
            (Some(_), Some(_)) => fault("policies.bundle", "has a file and a url: leave one of them out"),
            (None, None) if said.bundle.is_some() => fault("policies.bundle", "needs a file or a url"),
            (Some(_), None) if bundle.token_env.is_some() || bundle.poll_seconds.is_some() => {
                fault("policies.bundle.file", "token_env and poll_seconds are for a url");
            }
            _ => {}
        }
        let address = bundle.url.as_ref().and_then(|url| {
            Address::read(url, bundle.token_env.as_deref(), bundle.poll_seconds, environment)
                .map_err(|(member, message)| fault(&format!("policies.bundle.{member}"), &message))
                .ok()
        });
        let trusted = Trusted::read(&said.keys, said.require_signature, environment)
            .map_err(|found| found.iter().for_each(|(path, message)| fault(path, message)));
        match (trusted, faults.is_empty()) {
            (Ok(trusted), true) => Ok(Terms {
                file: file.to_owned(),
                data: said.data.clone(),
                dir: said.dir.clone(),
                bundle_file: bundle.file,
                address,
                trusted,
            }),
            _ => Err(faults),
        }
    }

    fn source(&self) -> PolicySource {
        match (&self.dir, &self.bundle_file, &self.address) {
            (Some(_), ..) => PolicySource::Directory,
            (_, Some(_), _) => PolicySource::File,
            (_, _, Some(_)) => PolicySource::Url,
            _ => PolicySource::Configuration,
        }
    }

    /// What is added to the shipped rules.
    fn added(&self, fetched: Option<&Fetched>) -> Result<Pack, Vec<Fault>> {
        let limits = PackLimits::default();
        if let Some(dir) = &self.dir {
            return Pack::of_dir(dir, &limits).map_err(|found| self.placed(found, &Pack::default()));
        }
        if let Some(file) = &self.bundle_file {
            let bytes = read_bounded(file, limits.packed_bytes)
                .map_err(|message| vec![Fault { file: shown(file), line: None, path: String::new(), message }])?;
            return self.trusted.open(&bytes).map_err(|found| self.placed(found, &Pack::default()));
        }
        Ok(fetched.map_or_else(|| Pack { data: json!({}), ..Pack::default() }, |it| it.pack.clone()))
    }

    /// Where a fault of rules or data is to be mended.
    fn placed(&self, found: Vec<policies::Fault>, added: &Pack) -> Vec<Fault> {
        let place = |it: policies::Fault| {
            let line = it.line.and_then(|line| usize::try_from(line).ok());
            let is_data = it.path == "data" || it.path.starts_with("data.");
            if is_data && !self.gives(&added.data, &it.path) {
                // A fault of the data is a fault of the file that holds it.
                let message = format!("{}: {}", it.path, it.message);
                return Fault { file: self.file.clone(), line: None, path: "policies.data".into(), message };
            }
            let message = worded(&it);
            let file = match (&self.dir, &self.bundle_file, &self.address) {
                (Some(dir), ..) if Path::new(&it.path).is_absolute() || it.path.starts_with(&shown(dir)) => it.path,
                (Some(dir), ..) => shown(&dir.join(&it.path)),
                (_, Some(file), _) => format!("{}: {}", file.display(), it.path),
                (_, _, Some(address)) => format!("{}: {}", address.shown(), it.path),
                _ => it.path,
            };
            Fault { file, line, path: String::new(), message }
        };
        found.into_iter().map(place).collect()
    }

    /// Whether the data that was added, and not the configuration's own, has what a path names: `data.alfred.caps…`.
    fn gives(&self, added: &Value, path: &str) -> bool {
        let mut parts = path.split('.').skip(1);
        match (parts.next(), parts.next()) {
            (Some("alfred"), Some(section)) => added["alfred"].get(section).is_some(),
            (Some(name), _) => added.get(name).is_some(),
            (None, _) => added.as_object().is_some_and(|it| !it.is_empty()) && self.data.is_empty(),
        }
    }
}

impl House {
    /// Compiles what is shipped with what the terms add.
    ///
    /// # Errors
    /// Every fault found.
    pub fn build(terms: &Arc<Terms>, fetched: Option<Arc<Fetched>>) -> Result<House, Vec<Fault>> {
        let added = terms.added(fetched.as_deref())?;
        let data = terms.data_with(&added)?;
        let modules = policies::shipped().into_iter().chain(added.modules.iter().cloned()).collect();
        let pack = Pack::new(modules, data, Manifest::of_revision(added.manifest.revision.clone()));
        let set = compiled(&pack).map_err(|found| terms.placed(found, &added))?;
        Ok(House { set: Arc::new(set), pack, source: terms.source(), terms: Arc::clone(terms), fetched })
    }

    /// The house's layer of before, from the record: with the rules that are shipped today, and under the settings of today.
    ///
    /// # Errors
    /// Why it cannot be read or compiled by this version.
    pub fn of_record(terms: &Arc<Terms>, bundle: &[u8]) -> Result<House, Vec<policies::Fault>> {
        let kept = Pack::read(bundle, &PackLimits::default())?;
        let shipped = policies::shipped();
        // By their very paths: a bundle of one's own may well have a folder of the same name, and its rules hold.
        let is_own = |module: &Source| !shipped.iter().any(|ours| ours.path == module.path);
        let own: Vec<Source> = kept.modules.into_iter().filter(is_own).collect();
        let mut data = kept.data;
        match data["alfred"].as_object_mut() {
            // What the configuration says by now may be stricter than what it said then.
            Some(alfred) => alfred.extend(terms.data.clone()),
            None => data["alfred"] = terms.data.clone().into(),
        }
        let pack = Pack::new(shipped.into_iter().chain(own).collect(), data, kept.manifest);
        let set = Arc::new(compiled(&pack)?);
        Ok(House { set, pack, source: terms.source(), terms: Arc::clone(terms), fetched: None })
    }

    /// As it is put on record.
    pub fn on_record(&self, id: ledger::Id<ledger::Policy>) -> NewPolicy {
        NewPolicy {
            id,
            scope: PolicyScope::House,
            digest: self.pack.digest(),
            revision: self.set.revision().to_owned(),
            bundle: self.pack.write(),
            source: self.source,
            note: None,
        }
    }
}

impl Terms {
    /// The data of both; a section that both give would leave it open whose word counts.
    fn data_with(&self, added: &Pack) -> Result<Value, Vec<Fault>> {
        let mut data = match &added.data {
            Value::Object(members) => members.clone(),
            _ => Map::new(),
        };
        let alfred = data.entry("alfred").or_insert_with(|| json!({}));
        let Some(alfred) = alfred.as_object_mut() else {
            return Ok(data.into()); // The compiler says that it must be an object.
        };
        let twice: Vec<&String> = self.data.keys().filter(|name| alfred.contains_key(*name)).collect();
        if !twice.is_empty() {
            let fault = |name: &&String| Fault {
                file: self.file.clone(),
                line: None,
                path: format!("policies.data.{name}"),
                message: format!("the rules that are added give data.alfred.{name} too: leave one of them out"),
            };
            return Err(twice.iter().map(fault).collect());
        }
        alfred.extend(self.data.clone());
        Ok(data.into())
    }
}

/// A layer's rules, with what is shipped for the house among them.
fn compiled(pack: &Pack) -> Result<PolicySet, Vec<policies::Fault>> {
    PolicySet::compile(&pack.modules, pack.data.clone(), Limits::default())
}

/// The sources of an uploaded layer: what is shipped for its scope, and its own.
pub fn sources(scope: &Scope, pack: &Pack) -> Vec<Source> {
    policies::shipped_for(scope).into_iter().chain(pack.modules.iter().cloned()).collect()
}

/// What is wrong, with the column and the line itself where they are known, and the way to write it instead.
pub fn worded(fault: &policies::Fault) -> String {
    let column = fault.column.map(|column| format!(" (column {column})")).unwrap_or_default();
    let line = fault.excerpt.as_ref().map(|line| format!(": `{}`", line.trim())).unwrap_or_default();
    let help = fault.help.as_ref().map(|help| format!("; {help}")).unwrap_or_default();
    format!("{}{column}{line}{help}", fault.message)
}

fn shown(path: &Path) -> String {
    path.display().to_string()
}

/// A file of no more than so many bytes.
pub fn read_bounded(file: &Path, most: usize) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let mut bytes = Vec::new();
    let open = std::fs::File::open(file).map_err(|error| format!("cannot be read: {error}"))?;
    let read = open.take(most as u64 + 1).read_to_end(&mut bytes);
    read.map_err(|error| format!("cannot be read: {error}"))?;
    if bytes.len() > most { Err(format!("has more than {most} bytes")) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config;

    /// Where the address cannot be had at a start, nothing opens by that.
    #[test]
    fn what_is_on_record_holds_with_all_its_rules_and_under_the_settings_of_today() {
        let terms = |data: &str| {
            let text = format!("policies:\n  bundle: {{url: 'https://rules.example/house.tar.gz'}}\n  data: {data}\n");
            let loaded = config::parse("alfred.yaml", &text, &[]);
            assert!(loaded.faults.is_empty(), "{:?}", loaded.faults);
            Arc::new(Terms::read("alfred.yaml", &loaded.config, &|_| None).unwrap_or_else(|it| panic!("{it:?}")))
        };
        let rule = Source::new(
            "alfred/rules/strict.rego",
            "package alfred.rules.strict\n\nimport rego.v1\n\nremove_tools contains \"shell\"\n",
        );
        let then = terms("{}");
        let pack = Pack::new(vec![rule], json!({"strict": 1}), Manifest::default());
        let fetched = Fetched { url: "https://rules.example/house.tar.gz".into(), etag: None, pack };
        let house = House::build(&then, Some(Arc::new(fetched))).unwrap_or_else(|it| panic!("{it:?}"));
        let again = House::of_record(&then, &house.pack.write()).unwrap_or_else(|it| panic!("{it:?}"));
        assert_eq!(again.set.revision(), house.set.revision());
        let now = terms("{residency: {regions: [eu]}}");
        let stricter = House::of_record(&now, &house.pack.write()).unwrap_or_else(|it| panic!("{it:?}"));
        assert_eq!(stricter.pack.data["alfred"]["residency"]["regions"], json!(["eu"]));
        assert!(stricter.pack.modules.iter().any(|it| it.path == "alfred/rules/strict.rego"));
    }
}
