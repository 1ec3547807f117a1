//! Which rules can apply to a call. Every rule that contributes is an entry of its own, with the conditions (`guard.rs`) that its
//! statements ask for; a call's facts are looked up once, and only entries whose conditions hold are evaluated. A rule that
//! reads no fact is evaluated when the set is compiled, and one that asks for data that is not there never.

mod guard;
mod guards;
mod names;
mod reach;
#[cfg(test)]
mod tests;

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;
use regorus::unstable::{Module, Ref};

use self::guard::{Guard, PathId, Paths};
use self::guards::{Applies, Around};
use self::reach::Reach;
use crate::Facts;
use crate::check::{CONTRIBUTIONS, Checked};
use crate::input::input;

/// One contributing rule.
#[derive(Debug)]
pub(crate) struct Entry {
    pub path: String,
    pub line: u32,
    /// Where it is in an engine: its module's place among those in force, its own in the module.
    pub module: usize,
    pub rule: usize,
    pub section: usize,
    pub when: When,
}

/// When a rule is evaluated.
#[derive(Debug)]
pub(crate) enum When {
    /// At no call: what it asks for is not there.
    Never(String),
    /// Once: it reads no fact. Its values, as soon as it was.
    Once(Vec<Value>),
    /// When all of these hold.
    All(Vec<Guard>),
}

/// All that one package contributes to one member of a decision.
#[derive(Debug)]
pub(crate) struct Section {
    pub member: &'static str,
    pub package: String,
    /// Where its values are found in the interpreter's data.
    pub keys: [Value; 4],
    /// What the rules contribute that read no fact.
    pub standing: BTreeSet<Value>,
}

/// Every contributing rule of a set: by member and package, in order.
#[derive(Debug, Default)]
pub(crate) struct Index {
    pub entries: Vec<Entry>,
    pub sections: Vec<Section>,
    paths: Paths,
    /// By a fact that must have one of some values.
    by_value: Vec<(PathId, BTreeMap<Value, Vec<usize>>)>,
    /// By what a list of facts must hold.
    by_item: Vec<(PathId, BTreeMap<Value, Vec<usize>>)>,
    /// Those with no such condition.
    rest: Vec<usize>,
}

impl Index {
    /// Of the modules in force. Also says which paths below `input` those rules may read that are ever evaluated at a call.
    pub fn of(modules: &[Ref<Module>], checked: &[&Checked<'_>], data: &Value) -> (Index, BTreeSet<Vec<String>>) {
        let outlines: Vec<_> = checked.iter().map(|module| &module.outline).collect();
        let reach = Reach::of(&outlines);
        let least = input(&Facts::default());
        let around = Around { modules, reach: &reach, data, least: &least };
        let mut found: BTreeMap<(usize, &str), Vec<(usize, usize)>> = BTreeMap::new();
        for (at, module) in checked.iter().enumerate() {
            for (rule, outline) in module.outline.rules.iter().enumerate() {
                let [alfred, rules, package, member] = outline.path.as_slice() else { continue };
                let member = CONTRIBUTIONS.into_iter().position(|known| known == member);
                if let Some(member) = member.filter(|_| alfred == "alfred" && rules == "rules") {
                    found.entry((member, package)).or_default().push((at, rule));
                }
            }
        }
        let mut index = Index::default();
        let mut inputs = BTreeSet::new();
        for ((member, package), rules) in found {
            let member = CONTRIBUTIONS[member];
            let keys = ["alfred", "rules", package, member].map(Value::from);
            let section = index.sections.len();
            index.sections.push(Section { member, package: package.to_owned(), keys, standing: BTreeSet::new() });
            for (module, rule) in rules {
                let reads = reach.inputs(module, rule);
                let when = match guards::applies(&around, module, &modules[module].policy[rule], &mut index.paths) {
                    Applies::Never(why) => When::Never(why),
                    Applies::When(_) if reads.is_empty() => When::Once(Vec::new()),
                    Applies::When(guards) => {
                        inputs.extend(reads);
                        When::All(guards)
                    }
                };
                let line = checked[module].outline.rules[rule].line;
                index.entries.push(Entry { path: checked[module].path.to_owned(), line, module, rule, section, when });
            }
        }
        index.sort();
        (index, inputs)
    }

    /// Files every entry under its most telling condition.
    fn sort(&mut self) {
        let mut by_value: BTreeMap<PathId, BTreeMap<Value, Vec<usize>>> = BTreeMap::new();
        let mut by_item: BTreeMap<PathId, BTreeMap<Value, Vec<usize>>> = BTreeMap::new();
        for (at, entry) in self.entries.iter().enumerate() {
            let When::All(guards) = &entry.when else { continue };
            let values = guards.iter().filter_map(|guard| match guard {
                Guard::OneOf(path, values) => Some((*path, values)),
                _ => None,
            });
            let item = guards.iter().find_map(|guard| match guard {
                Guard::Has(path, value) => Some((*path, value)),
                _ => None,
            });
            if let Some((path, values)) = values.min_by_key(|(_, values)| values.len()) {
                for value in values {
                    by_value.entry(path).or_default().entry(value.clone()).or_default().push(at);
                }
            } else if let Some((path, value)) = item {
                by_item.entry(path).or_default().entry(value.clone()).or_default().push(at);
            } else {
                self.rest.push(at);
            }
        }
        self.by_value = by_value.into_iter().collect();
        self.by_item = by_item.into_iter().collect();
    }

    /// The entries that can apply to an input, in order.
    pub fn matching(&self, input: &Value) -> Vec<usize> {
        let looked_up = vec![OnceCell::new(); self.paths.len()];
        let at = |path: PathId| *looked_up[path].get_or_init(|| self.paths.of(path, input));
        let mut found = self.rest.clone();
        for (path, entries) in &self.by_value {
            found.extend(entries.get(at(*path)).into_iter().flatten());
        }
        for (path, entries) in &self.by_item {
            let mut file = |item: &Value| found.extend(entries.get(item).into_iter().flatten());
            match at(*path) {
                Value::Array(items) => items.iter().for_each(&mut file),
                Value::Set(items) => items.iter().for_each(&mut file),
                Value::Object(members) => members.values().for_each(&mut file),
                _ => {}
            }
        }
        found.retain(|entry| self.unmet(*entry, &at).is_none());
        found.sort_unstable();
        found.dedup();
        found
    }

    /// Why an entry does not apply to an input, in words.
    pub fn skipped(&self, entry: usize, input: &Value) -> Option<String> {
        let guard = self.unmet(entry, &|path| self.paths.of(path, input))?;
        Some(guard.said(&self.paths).to_string())
    }

    fn unmet<'v>(&self, entry: usize, at: &impl Fn(PathId) -> &'v Value) -> Option<&Guard> {
        match &self.entries[entry].when {
            When::All(guards) => guards.iter().find(|guard| !guard.holds(at)),
            When::Never(_) | When::Once(_) => None,
        }
    }

    /// The sections that are told of whatever is asked: some value stands, or a package speaks of targets and so has to admit one.
    pub fn always(&self) -> impl Iterator<Item = (usize, &Section)> {
        let sections = self.sections.iter().enumerate();
        sections.filter(|(_, section)| section.member == "allow" || !section.standing.is_empty())
    }

    /// Whether any rule may say that less is written down, or that a call is bound to regions.
    pub fn may_withhold(&self) -> bool {
        let may = |entry: &Entry| match &entry.when {
            When::Never(_) => false,
            When::Once(values) => !values.is_empty(),
            When::All(_) => true,
        };
        let says = |entry: &Entry| matches!(self.sections[entry.section].member, "log" | "regions");
        self.entries.iter().any(|entry| says(entry) && may(entry))
    }

    /// The entries that calls may evaluate.
    pub fn live(&self) -> impl Iterator<Item = usize> {
        let live = self.entries.iter().enumerate().filter(|(_, entry)| matches!(entry.when, When::All(_)));
        live.map(|(at, _)| at)
    }

    /// The entries that are evaluated once.
    pub fn once(&self) -> Vec<usize> {
        let once = self.entries.iter().enumerate().filter(|(_, entry)| matches!(entry.when, When::Once(_)));
        once.map(|(at, _)| at).collect()
    }

    /// What an entry contributes at every call.
    pub fn stands(&mut self, entry: usize, values: Vec<Value>) {
        let entry = &mut self.entries[entry];
        self.sections[entry.section].standing.extend(values.iter().cloned());
        entry.when = When::Once(values);
    }
}
