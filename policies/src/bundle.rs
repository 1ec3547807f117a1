//! Sources and data on their way to an engine: sized, parsed, checked, hashed. For people at a terminal all contributions are
//! joined by one generated module; calls evaluate rule by rule (`index`).

use std::collections::BTreeSet;
use std::fmt::Display;
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use regorus::unstable::{Module, Ref};
use regorus::utils::limits::ExecutionTimerConfig;
use regorus::{Engine, Value};
use sha2::{Digest, Sha256};

use crate::asleep::asleep;
use crate::check::{self, CONTRIBUTIONS, Checked, Contributions, is_test_rule};
use crate::index::Index;
use crate::outline::Outline;
use crate::reads::Reads;
use crate::source::{self, fault, shipped};
use crate::{Fault, Limits, Source, data};

/// The name of the generated module in faults.
const MAIN: &str = "alfred/main.rego";

/// How deep brackets may nest.
const DEEPEST: usize = 12;

/// How many bytes a line may have: the parser panics when it complains of a column beyond 65,535, and a tab is four.
const LONGEST_LINE: usize = 16_000;

/// Checked sources and data, loaded.
pub(crate) struct Bundle {
    pub engine: Engine,
    pub revision: String,
    /// The paths of all tests, in order.
    pub tests: Vec<String>,
    /// Which facts the rules may read that calls evaluate.
    pub reads: Reads,
    /// The rules that contribute.
    pub index: Index,
    /// The paths of shipped modules that are not loaded, since they have nothing to say.
    pub asleep: BTreeSet<String>,
}

impl Bundle {
    /// Reads everything; tests are loaded only when they are to be run, and always checked.
    pub fn read(
        sources: &[Source],
        data: &serde_json::Value,
        limits: &Limits,
        with_tests: bool,
    ) -> Result<Bundle, Vec<Fault>> {
        let quoting = |faults: Vec<Fault>| faults.into_iter().map(|fault| fault.quoting(sources)).collect();
        Bundle::checked(sources, data, limits, with_tests).map_err(quoting)
    }

    fn checked(
        sources: &[Source],
        data: &serde_json::Value,
        limits: &Limits,
        with_tests: bool,
    ) -> Result<Bundle, Vec<Fault>> {
        sized(sources, data, limits)?;
        let mut faults = data::faults(data);
        faults.extend(unheard(sources, data));
        let (mut engine, mut tests) = (engine(limits), engine(limits));
        for source in sources {
            let into = if source.is_test() { &mut tests } else { &mut engine };
            // The parser is not ours: what makes it panic is a fault of this module, not the end of whoever asked.
            let added = || into.add_policy(source.path.clone(), source.text.clone());
            match catch_unwind(AssertUnwindSafe(added)) {
                Ok(Ok(_)) => {}
                Ok(Err(error)) => faults.push(fault_of(&error, sources, &source.path)),
                Err(_panic) => faults.push(fault(&source.path, "the parser panicked on it")),
            }
        }
        let in_force: Vec<Ref<Module>> = engine.get_modules().clone();
        let checked: Vec<Checked<'_>> = in_force
            .iter()
            .chain(tests.get_modules())
            .filter_map(|module| {
                let path = module.package.span.source.get_path();
                let source = sources.iter().find(|source| source.path == *path)?;
                Some(Checked { path: &source.path, is_test: source.is_test(), outline: Outline::of(module) })
            })
            .collect();
        faults.extend(check::faults(&checked));
        faults.extend(intruders(sources, &checked));
        faults.extend(overlaid(&checked, data));
        faults.extend(unknown_packages(&checked, data));
        faults.sort();
        faults.dedup();
        if !faults.is_empty() {
            return Err(faults);
        }
        let fault = |error| vec![fault_of(&error, sources, "data")];
        let asleep = if with_tests { BTreeSet::new() } else { asleep(sources, &checked, data) };
        let (checked, in_force) = if asleep.is_empty() {
            (checked, in_force)
        } else {
            engine = awake(sources, &asleep, limits)?;
            let awake = checked.into_iter().filter(|module| !asleep.contains(module.path)).collect();
            (awake, engine.get_modules().clone())
        };
        let values = Value::from(data.clone());
        engine.add_data(values.clone()).map_err(fault)?;
        let rules: Vec<&Checked<'_>> = checked.iter().filter(|module| !module.is_test).collect();
        let (index, inputs) = Index::of(&in_force, &rules, &values);
        if with_tests {
            for source in sources.iter().filter(|source| source.is_test()) {
                engine.add_policy(source.path.clone(), source.text.clone()).map_err(fault)?;
            }
            engine.add_policy(MAIN.into(), main(&check::contributions(&checked))).map_err(fault)?;
        }
        let mut tests: Vec<String> = checked
            .iter()
            .flat_map(|module| module.outline.rules.iter().filter(|rule| is_test_rule(rule)))
            .map(|rule| format!("data.{}", rule.path.join(".")))
            .collect();
        tests.sort();
        tests.dedup();
        let asleep = asleep.into_iter().map(str::to_owned).collect();
        Ok(Bundle { engine, revision: revision(sources, data), tests, reads: Reads::of(&inputs), index, asleep })
    }
}

/// What one more engine of a set that was read is made of.
#[derive(Clone)]
pub(crate) struct Recipe {
    sources: Arc<[Source]>,
    data: Arc<serde_json::Value>,
    limits: Limits,
}

impl Recipe {
    pub fn new(sources: &[Source], data: serde_json::Value, limits: Limits) -> Recipe {
        let sources = sources.iter().filter(|source| !source.is_test()).cloned().collect();
        Recipe { sources, data: Arc::new(data), limits }
    }

    /// Roughly what it is long.
    pub fn bytes(&self) -> usize {
        self.sources.iter().map(|source| source.text.len()).sum::<usize>() + self.data.to_string().len()
    }

    /// An engine that shares nothing with others, prepared.
    pub fn engine(&self) -> Result<Engine, Fault> {
        let mut engine = engine(&self.limits);
        for source in self.sources.iter() {
            engine
                .add_policy(source.path.clone(), source.text.clone())
                .map_err(|error| fault_of(&error, &self.sources, &source.path))?;
        }
        let data = Value::from((*self.data).clone());
        engine.add_data(data).map_err(|error| fault_of(&error, &self.sources, "data"))?;
        prepare(&mut engine).map_err(|error| fault_of(&error, &self.sources, "rules"))?;
        Ok(engine)
    }
}

/// What the first evaluation of an engine does besides: it analyses every module, used or not.
pub(crate) fn prepare(engine: &mut Engine) -> Result<(), String> {
    engine.eval_query("1".into(), false).map(drop).map_err(|error| format!("{error:#}"))
}

/// The modules in force without those that have nothing to say.
fn awake(sources: &[Source], asleep: &BTreeSet<&str>, limits: &Limits) -> Result<Engine, Vec<Fault>> {
    let mut engine = engine(limits);
    for source in sources.iter().filter(|it| !it.is_test() && !asleep.contains(it.path.as_str())) {
        let added = engine.add_policy(source.path.clone(), source.text.clone());
        added.map_err(|error| vec![fault_of(&error, sources, &source.path)])?;
    }
    Ok(engine)
}

fn engine(limits: &Limits) -> Engine {
    let mut engine = Engine::new();
    engine.set_strict_builtin_errors(true);
    engine.set_execution_timer_config(timer(limits.time));
    engine
}

pub(crate) fn timer(limit: Duration) -> ExecutionTimerConfig {
    ExecutionTimerConfig { limit, check_interval: NonZeroU32::new(32).expect("32 is not zero") }
}

fn sized(sources: &[Source], data: &serde_json::Value, limits: &Limits) -> Result<(), Vec<Fault>> {
    let mut faults = Vec::new();
    if sources.len() > limits.sources {
        faults.push(fault("sources", format!("{} modules, at most {}", sources.len(), limits.sources)));
    }
    let mut paths = BTreeSet::new();
    for source in sources {
        if !paths.insert(&source.path) || source.path == MAIN {
            faults.push(fault(&source.path, "the path is taken by another module"));
        }
        if source.text.len() > limits.source_bytes {
            faults.push(
                fault(&source.path, format!("{} bytes, at most {}", source.text.len(), limits.source_bytes))
                    .helped("divide it, and put tables into data.json"),
            );
        }
        if let Some(at) = source.text.lines().position(|line| line.len() > LONGEST_LINE) {
            faults.push(Fault {
                path: source.path.clone(),
                line: u32::try_from(at + 1).ok(),
                message: format!("the line has more than {LONGEST_LINE} bytes"),
                help: Some("break it, and put tables into data.json".into()),
                ..Fault::default()
            });
        }
        if let Some(line) = too_deep(&source.text) {
            faults.push(Fault {
                path: source.path.clone(),
                line: u32::try_from(line).ok(),
                message: format!("brackets nest deeper than {DEEPEST}, or so many `-` or `not` follow one another"),
                help: Some("give the inner part a name: `part := […]`".into()),
                ..Fault::default()
            });
        }
    }
    let bytes = data.to_string().len();
    if bytes > limits.data_bytes {
        faults.push(fault("data", format!("{bytes} bytes, at most {}", limits.data_bytes)));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// The first line that nests too deep: the parser takes twice as long for every bracket, and a level of its stack for
/// every `-` and `not` before a value.
fn too_deep(text: &str) -> Option<usize> {
    let (mut depth, mut prefixes) = (0_usize, 0_usize);
    let mut quote = None;
    let mut word = String::new();
    for (at, line) in text.lines().enumerate() {
        let mut letters = line.chars();
        while let Some(letter) = letters.next() {
            if quote.is_none() && (letter.is_alphanumeric() || letter == '_') {
                word.push(letter);
                continue;
            }
            prefixes = match std::mem::take(&mut word).as_str() {
                "" => prefixes,
                "not" => prefixes + 1,
                _ => 0,
            };
            match (quote, letter) {
                (Some('"'), '\\') => drop(letters.next()),
                (Some(open), close) if open == close => quote = None,
                (Some(_), _) => {}
                (None, '"' | '`') => (quote, prefixes) = (Some(letter), 0),
                (None, '#') => break,
                (None, '[' | '{' | '(') => depth += 1,
                (None, ']' | '}' | ')') => (depth, prefixes) = (depth.saturating_sub(1), 0),
                (None, '-') => prefixes += 1,
                (None, letter) if letter.is_whitespace() => {}
                (None, _) => prefixes = 0,
            }
            if depth > DEEPEST || prefixes > DEEPEST {
                return Some(at + 1);
            }
        }
        quote = quote.filter(|open| *open == '`'); // only raw strings go on
    }
    None
}

/// Modules that write into a shipped package: it would no longer be what was shipped.
fn intruders(sources: &[Source], modules: &[Checked<'_>]) -> Vec<Fault> {
    let shipped = shipped();
    let is_shipped = |path: &str| {
        let source = sources.iter().find(|source| source.path == path);
        source.is_some_and(|source| shipped.iter().any(|ours| ours.text == source.text))
    };
    let ours: BTreeSet<&[String]> = modules
        .iter()
        .filter(|module| is_shipped(module.path))
        .map(|module| module.outline.package.as_slice())
        .collect();
    modules
        .iter()
        .filter(|module| ours.contains(module.outline.package.as_slice()) && !is_shipped(module.path))
        .map(|module| Fault {
            path: module.path.to_owned(),
            line: Some(module.outline.line),
            message: format!("package {} is shipped: use a name of your own", module.outline.package.join(".")),
            ..Fault::default()
        })
        .collect()
}

/// Settings of rules that the house alone has: in a layer below they would be taken, and nothing would come of them.
fn unheard(sources: &[Source], data: &serde_json::Value) -> Vec<Fault> {
    let has = |name: &str| sources.iter().any(|it| source::shipped_name(&it.path) == Some(name));
    let is_layer = sources.iter().any(source::is_shipped);
    let heard_nowhere = |name: &&&str| is_layer && data["alfred"].get(**name).is_some() && !has(name);
    let told = |name: &&str| {
        let message = "is a setting of the house alone: it would have no effect here";
        let mut fault = fault(&format!("data.alfred.{name}"), message);
        fault.help = Some("set it in the configuration, or contribute `actions` by a rule: the strictest holds".into());
        fault
    };
    source::BASE.iter().filter(heard_nowhere).map(told).collect()
}

/// Rules whose path also has data: one would hide the other.
fn overlaid(modules: &[Checked<'_>], data: &serde_json::Value) -> Vec<Fault> {
    let mut faults = Vec::new();
    for module in modules {
        for rule in &module.outline.rules {
            let mut at = Some(data);
            for (depth, name) in rule.path.iter().enumerate() {
                at = at.and_then(|value| value.get(name));
                let hidden = at.is_some_and(|value| depth + 1 == rule.path.len() || !value.is_object());
                if hidden {
                    faults.push(Fault {
                        path: module.path.to_owned(),
                        line: Some(rule.line),
                        message: format!("there is also data at {}", rule.path[..=depth].join(".")),
                        ..Fault::default()
                    });
                    break;
                }
            }
        }
    }
    faults
}

/// Names in `data.alfred.log_only` that are no package here: a misspelt one would leave in force what was only to be tried.
fn unknown_packages(modules: &[Checked<'_>], data: &serde_json::Value) -> Vec<Fault> {
    let in_force = modules.iter().filter(|module| !module.is_test);
    let packages: BTreeSet<&str> = in_force.filter_map(|it| it.outline.package.get(2).map(String::as_str)).collect();
    let unknown = data::log_only(data).into_iter().filter(|name| !packages.contains(name.as_str()));
    let told = |name: String| {
        let near = check::nearest(&name, packages.iter().copied());
        let help = near.map_or_else(
            || "name a package alfred.rules.<name> of this layer".into(),
            |it| format!("did you mean {it}?"),
        );
        fault("data.alfred.log_only", format!("there is no package alfred.rules.{name}")).helped(help)
    };
    unknown.map(told).collect()
}

/// The module that gathers what every package contributes, by package, in one document.
fn main(contributions: &Contributions) -> String {
    let members: Vec<String> = CONTRIBUTIONS
        .into_iter()
        .map(|member| {
            let packages: Vec<String> = contributions
                .get(member)
                .into_iter()
                .flatten()
                .map(|name| format!("\"{name}\": data.alfred.rules.{name}.{member}"))
                .collect();
            format!("\t\"{member}\": {{{}}}", packages.join(",\n\t\t"))
        })
        .collect();
    format!("package alfred.main\n\nimport rego.v1\n\ndecision := {{\n{}\n}}\n", members.join(",\n"))
}

/// A short hash of texts and data, whatever the order they came in. Paths say where, not what, and are left out.
fn revision(sources: &[Source], data: &serde_json::Value) -> String {
    let digest = |bytes: &[u8]| Sha256::digest(bytes).to_vec();
    let mut parts: Vec<Vec<u8>> =
        sources.iter().filter(|source| !source.is_test()).map(|source| digest(source.text.as_bytes())).collect();
    parts.sort();
    parts.push(digest(canonical(data).to_string().as_bytes()));
    hex::encode(&digest(&parts.concat())[..6])
}

/// The same data with its members in order of name.
pub(crate) fn canonical(data: &serde_json::Value) -> serde_json::Value {
    match data {
        serde_json::Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort();
            names.into_iter().map(|name| (name.clone(), canonical(&members[name]))).collect()
        }
        serde_json::Value::Array(items) => items.iter().map(canonical).collect(),
        other => other.clone(),
    }
}

/// What the interpreter complains of, and where, without the excerpts that it quotes.
pub(crate) fn fault_of(error: &impl Display, sources: &[Source], path: &str) -> Fault {
    let text = format!("{error:#}");
    let found = place(&text, |path| sources.iter().any(|source| source.path == path));
    let (path, line, column) =
        found.map_or((path.to_owned(), None, None), |place| (place.path, Some(place.line), Some(place.column)));
    let message = text.split_once("error: ").map_or(text.as_str(), |(_, message)| message);
    let message = message.lines().next().unwrap_or_default().trim();
    let message = if message.is_empty() { "cannot be read" } else { message }.to_owned();
    let help = check::help_for(&message).map(str::to_owned);
    Fault { path, line, column, message, help, ..Fault::default() }.quoting(sources)
}

/// Where something is.
pub(crate) struct Place {
    pub path: String,
    pub line: u32,
    pub column: u32,
}

/// The first place that a complaint of the interpreter names: `--> path:line:column`.
pub(crate) fn place(complaint: &str, is_known: impl Fn(&str) -> bool) -> Option<Place> {
    complaint.lines().filter_map(|line| line.strip_prefix("--> ")).find_map(|place| {
        let mut parts = place.rsplitn(3, ':');
        let (column, line, path) = (parts.next()?.parse().ok()?, parts.next()?.parse().ok()?, parts.next()?);
        is_known(path).then(|| Place { path: path.to_owned(), line, column })
    })
}
