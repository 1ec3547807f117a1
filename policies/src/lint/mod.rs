//! What compiles and is probably not meant: facts that there are not (those are faults, since they never fire), and
//! warnings: a denial that a missing fact lets through, a setting that nobody knows, rules without tests.

mod facts;

use std::collections::{BTreeMap, BTreeSet};

use regorus::Engine;

use crate::bundle::Bundle;
use crate::check::{Checked, Graph, contribution, nearest};
use crate::engine::sample;
use crate::outline::{Outline, RuleOutline, asked};
use crate::{Code, Decision, Fault, Limits, Reason, Source, data, input};

/// What was found in rules that are looked at before they are used.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// They must not be used so.
    pub faults: Vec<Fault>,
    /// They may be used, and somebody should look.
    pub warnings: Vec<Fault>,
}

/// Compiles rules and data, holds what they ask for against the facts that there are, and looks for what is probably not
/// meant. Modules whose path is in `ours` are compiled and not looked at.
pub fn check(sources: &[Source], data: &serde_json::Value, limits: Limits, ours: &[Source]) -> Findings {
    let set = match crate::PolicySet::compile(sources, data.clone(), limits) {
        Ok(set) => set,
        Err(faults) => return Findings { faults, warnings: Vec::new() },
    };
    let mut engine = Engine::new();
    for source in sources {
        if engine.add_policy(source.path.clone(), source.text.clone()).is_err() {
            return Findings::default(); // it compiled a moment ago
        }
    }
    let mut checked = Vec::new();
    let mut asked = Vec::new();
    for module in engine.get_modules().iter() {
        let path = module.package.span.source.get_path();
        let Some(source) = sources.iter().find(|source| source.path == *path) else { continue };
        checked.push(Checked { path: &source.path, is_test: source.is_test(), outline: Outline::of(module) });
        asked.push(asked::of(module));
    }
    let is_ours = |checked: &Checked<'_>| {
        let source = sources.iter().find(|source| source.path == checked.path);
        ours.iter().any(|it| Some(it) == source)
    };
    let modules: Vec<Module<'_>> = checked
        .iter()
        .zip(asked)
        .map(|(checked, asked)| Module { checked, asked, is_ours: is_ours(checked) })
        .collect();
    let lint = Lint { checked: &checked, modules: &modules, data };
    let mut found = Findings::default();
    facts::unknown(&modules, &mut found.faults);
    if let Decision::Deny(reasons) = set.decide(&sample()) {
        lint.undecided(&reasons, &mut found.faults);
    }
    facts::opening(&modules, &mut found.warnings);
    lint.settings(&mut found.warnings);
    lint.silent(&mut found.warnings);
    lint.unread(&mut found.warnings);
    lint.untested(&mut found.warnings);
    lint.rivals(&mut found.warnings);
    lint.narrow(sources, &mut found.warnings);
    for list in [&mut found.faults, &mut found.warnings] {
        *list = std::mem::take(list).into_iter().map(|fault| fault.quoting(sources)).collect();
        list.sort();
        list.dedup();
    }
    found
}

/// A module, and what its rules ask for, in their order.
struct Module<'a> {
    checked: &'a Checked<'a>,
    asked: Vec<Vec<asked::Asked>>,
    is_ours: bool,
}

impl Module<'_> {
    /// Whether it is in force and somebody else's.
    fn is_theirs(&self) -> bool {
        !self.is_ours && !self.checked.is_test
    }

    fn name(&self) -> String {
        self.checked.outline.package.join(".")
    }

    fn fault(&self, line: u32, message: impl Into<String>) -> Fault {
        Fault { path: self.checked.path.to_owned(), line: Some(line), message: message.into(), ..Fault::default() }
    }

    fn contributions(&self) -> impl Iterator<Item = (&'static str, &RuleOutline)> {
        let rules = self.checked.outline.rules.iter();
        rules.filter_map(|rule| contribution(&self.checked.outline, rule).map(|(_, member)| (member, rule)))
    }
}

struct Lint<'a> {
    checked: &'a [Checked<'a>],
    modules: &'a [Module<'a>],
    data: &'a serde_json::Value,
}

impl Lint<'_> {
    fn theirs(&self) -> impl Iterator<Item = &Module<'_>> {
        self.modules.iter().filter(|module| module.is_theirs())
    }

    /// Data that rules read and that is nowhere.
    fn settings(&self, warnings: &mut Vec<Fault>) {
        let rules: BTreeSet<&[String]> =
            self.checked.iter().flat_map(|it| &it.outline.rules).map(|rule| &*rule.path).collect();
        let is_rule = |path: &[String]| rules.iter().any(|rule| rule.starts_with(path) || path.starts_with(rule));
        for module in self.theirs() {
            let own = &module.checked.outline.package;
            let below_data = |(path, line): &(Vec<String>, u32)| match path.split_first() {
                Some((root, path)) if root == "data" => Some((path.to_vec(), *line)),
                _ => None,
            };
            let imports: Vec<(Vec<String>, u32)> =
                module.checked.outline.imports.iter().filter_map(below_data).collect();
            let reads = module.checked.outline.rules.iter().flat_map(|rule| &rule.reads);
            for (path, line) in imports.iter().chain(reads) {
                if path.starts_with(own) || is_rule(path) || path.is_empty() {
                    continue; // a local variable looks like that, too
                }
                if path[0] == "alfred" {
                    let Some(setting) =
                        path.get(1).filter(|it| *it != "rules" && !data::names().any(|name| name == *it))
                    else {
                        continue;
                    };
                    let mut warning =
                        module.fault(*line, format!("data.alfred.{setting} is no setting: it is never there"));
                    warning.help = nearest(setting, data::names())
                        .map(|near| format!("did you mean data.alfred.{near}? Names of your own belong beside alfred"));
                    warnings.push(warning);
                } else if self.at(path).is_none() {
                    let message = format!("there is nothing at data.{}: what asks for it never holds", path.join("."));
                    warnings
                        .push(module.fault(*line, message).helped("put it into data.json, or hand it in with --data"));
                }
            }
        }
    }

    fn at(&self, path: &[String]) -> Option<&serde_json::Value> {
        path.iter().try_fold(self.data, |value, name| match value {
            serde_json::Value::Object(members) => members.get(name),
            other => Some(other), // below a list or a text it is for the rule to say
        })
    }

    /// Denials that do not tell the caller why.
    fn silent(&self, warnings: &mut Vec<Fault>) {
        for module in self.theirs() {
            for (member, rule) in module.contributions().filter(|(member, _)| matches!(*member, "deny" | "approvals")) {
                if let Some(line) = rule.silent {
                    let help = "say what was refused and whom to ask: the caller reads it";
                    warnings.push(module.fault(line, format!("{member} gives no message")).helped(help));
                }
            }
        }
    }

    /// Rules of a library that nobody reads, beside others that somebody does.
    fn unread(&self, warnings: &mut Vec<Fault>) {
        let graph = Graph::of(self.checked);
        let reached = graph.reached(self.checked);
        for module in self.theirs().filter(|it| it.checked.outline.package.first().is_some_and(|it| it != "alfred")) {
            for rule in module.checked.outline.rules.iter().filter(|rule| !graph.holds(&reached, rule)) {
                let message = format!("{} is read by no rule in force", rule.path.join("."));
                warnings.push(module.fault(rule.line, message).at(rule.column));
            }
        }
    }

    /// Packages in force that no test reads.
    fn untested(&self, warnings: &mut Vec<Fault>) {
        let tests: Vec<&Checked<'_>> = self.checked.iter().filter(|it| it.is_test).collect();
        let read: BTreeSet<&[String]> = tests
            .iter()
            .flat_map(|it| &it.outline.rules)
            .flat_map(|rule| &rule.reads)
            .map(|(path, _)| &**path)
            .collect();
        let mut told = BTreeSet::new();
        for module in self.theirs() {
            let outline = &module.checked.outline;
            if read.iter().any(|path| path.starts_with(&outline.package)) || !told.insert(module.name()) {
                continue;
            }
            let help = format!("a file {}_test.rego with a match, a miss and a conflict", stem(module.checked.path));
            let message = format!("no test reads package {}", module.name());
            warnings.push(module.fault(outline.line, message).at(outline.column).helped(help));
        }
    }

    /// Contributions that cannot be composed on a plain call: every such call would be denied with `policy_fault`.
    fn undecided(&self, reasons: &[Reason], faults: &mut Vec<Fault>) {
        for reason in reasons.iter().filter(|it| it.code == Code::PolicyFault) {
            let package = reason.message.split_once(": ").map(|(package, _)| package);
            let last = |module: &Module<'_>| module.checked.outline.package.last().map(String::as_str) == package;
            // What names its targets by heart meets no candidate of a sample.
            let Some(module) = self.theirs().find(|it| last(it)).filter(|_| !reason.message.ends_with("no candidate"))
            else {
                continue;
            };
            let message = format!("a sample call cannot be decided: {}", reason.message);
            faults.push(module.fault(module.checked.outline.line, message).at(module.checked.outline.column));
        }
    }

    /// Packages that each say where a call goes: only one of them can be right.
    fn rivals(&self, warnings: &mut Vec<Fault>) {
        for (member, outcome) in [("order", "two orders are a fault"), ("reroute", "the first by name counts")] {
            let mut speaking: BTreeMap<String, (&Module<'_>, &RuleOutline)> = BTreeMap::new();
            for module in self.theirs() {
                for (_, rule) in module.contributions().filter(|(it, _)| *it == member) {
                    speaking.entry(module.name()).or_insert((module, rule));
                }
            }
            let names: Vec<&str> = speaking.keys().map(String::as_str).collect();
            for (_, (module, rule)) in speaking.iter().skip(1) {
                let message = format!("{member} is said by {}: where both speak, {outcome}", names.join(" and "));
                let help = "say it in one package, or give them conditions that exclude one another";
                warnings.push(module.fault(rule.line, message).at(rule.column).helped(help));
            }
        }
    }

    /// Packages whose `allow` admits nothing on a plain call: every such call would be refused.
    fn narrow(&self, sources: &[Source], warnings: &mut Vec<Fault>) {
        let limits = Limits { time: std::time::Duration::from_secs(2), ..Limits::default() };
        let Ok(bundle) = Bundle::read(sources, self.data, &limits, false) else { return };
        let mut told = BTreeSet::new();
        for module in self.theirs() {
            let Some((_, rule)) = module.contributions().find(|(member, _)| *member == "allow") else { continue };
            if !told.insert(module.name()) {
                continue;
            }
            let mut engine = bundle.engine.clone();
            engine.set_input(input::input(&sample()));
            let admitted = engine.eval_rule(format!("data.{}.allow", module.name()));
            if admitted.is_ok_and(|it| it.as_set().is_ok_and(|targets| targets.is_empty())) {
                let message = format!(
                    "allow of {} admits nothing on a plain call, and a target needs the word of every package that has an allow",
                    module.name()
                );
                let help = "add a rule that admits what this package does not mean to judge, or deny instead";
                warnings.push(module.fault(rule.line, message).at(rule.column).helped(help));
            }
        }
    }
}

fn stem(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path).trim_end_matches(".rego")
}
