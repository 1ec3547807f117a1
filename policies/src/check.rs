//! What is refused before anything is loaded: what the interpreter would get wrong, run away with or die of, and
//! what would look like a rule and bind nothing. See README.md, *What is refused*.

mod conflicts;
mod functions;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub(crate) use functions::{help_for, nearest};

use crate::Fault;
use crate::outline::{Outline, RuleOutline};

/// What a package `alfred.rules.<name>` may contribute to a decision.
pub(crate) const CONTRIBUTIONS: [&str; 16] = [
    "allow",
    "deny",
    "actions",
    "max_output_tokens",
    "regions",
    "cache",
    "routing",
    "downgrade",
    "tags",
    "order",
    "weights",
    "reroute",
    "max_cost_usd",
    "approvals",
    "remove_tools",
    "log",
];

/// Rules that depend on one another in a longer chain than this would go too deep for a thread's stack.
const LONGEST_CHAIN: usize = 48;
const MOST_RULES: usize = 4_096;

/// One module on its way in.
pub(crate) struct Checked<'a> {
    pub path: &'a str,
    pub is_test: bool,
    pub outline: Outline,
}

/// Which packages contribute what: member to names of packages.
pub(crate) type Contributions = BTreeMap<&'static str, BTreeSet<String>>;

/// What the modules in force contribute.
pub(crate) fn contributions(modules: &[Checked<'_>]) -> Contributions {
    let mut found = Contributions::new();
    for module in modules.iter().filter(|module| !module.is_test) {
        for rule in &module.outline.rules {
            if let Some((name, member)) = contribution(&module.outline, rule) {
                found.entry(member).or_default().insert(name.to_owned());
            }
        }
    }
    found
}

/// The contributing package's name and the member, if that is what a rule is.
pub(crate) fn contribution<'a>(outline: &'a Outline, rule: &RuleOutline) -> Option<(&'a str, &'static str)> {
    let [alfred, rules, name] = outline.package.as_slice() else {
        return None;
    };
    let member = rule.path.get(3)?;
    let member = CONTRIBUTIONS.into_iter().find(|contribution| contribution == member)?;
    (alfred == "alfred" && rules == "rules").then_some((name, member))
}

/// Everything wrong with the modules together.
pub(crate) fn faults(modules: &[Checked<'_>]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let count: usize = modules.iter().map(|module| module.outline.rules.len()).sum();
    if count > MOST_RULES {
        return vec![Fault {
            path: "rules".into(),
            message: format!("{count} rules, at most {MOST_RULES}"),
            help: Some("tables belong into data.json: one rule can read any number of rows".into()),
            ..Fault::default()
        }];
    }
    let graph = Graph::of(modules);
    for module in modules {
        package(module, &mut faults);
        for rule in &module.outline.rules {
            shape(module, rule, &graph, &mut faults);
            for call in &rule.calls {
                let known = call.paths.iter().any(|path| graph.nodes.contains_key(path));
                if let Some((message, help)) =
                    (!known).then(|| functions::refused(call, module, &graph.nodes)).flatten()
                {
                    faults.push(module.fault(call.line, message).at(call.column).helped(help));
                }
            }
        }
    }
    conflicts::faults(modules, &mut faults);
    graph.runaways(modules, &mut faults);
    graph.idle(modules, &mut faults);
    faults
}

impl Checked<'_> {
    fn fault(&self, line: u32, message: impl Into<String>) -> Fault {
        Fault { path: self.path.to_owned(), line: Some(line), message: message.into(), ..Fault::default() }
    }
}

fn package(module: &Checked<'_>, faults: &mut Vec<Fault>) {
    let Outline { package, line, column, .. } = &module.outline;
    let ours = package.first().is_some_and(|first| first == "alfred");
    if module.is_test || !ours {
        return;
    }
    let plain = |name: &String| {
        name.starts_with(|first: char| first.is_ascii_lowercase())
            && name.chars().all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_')
    };
    if package.get(1).is_none_or(|second| second != "rules") || !package.get(2).is_some_and(plain) {
        let message = format!("package {} is not in force: use alfred.rules.<name>", package.join("."));
        let help = "package alfred.rules.<name>: small letters, digits and _, beginning with a letter";
        faults.push(module.fault(*line, message).at(*column).helped(help));
    }
}

fn shape(module: &Checked<'_>, rule: &RuleOutline, graph: &Graph, faults: &mut Vec<Fault>) {
    if !module.is_test {
        if let Some((_, member)) = contribution(&module.outline, rule)
            && (!rule.is_set || rule.path.len() > 4)
        {
            let message = format!("{member} must be written as `{member} contains …`");
            let help = format!("{member} contains … if {{ … }}: every rule adds a member, and all of them count");
            faults.push(module.fault(rule.line, message).at(rule.column).helped(help));
        }
        if let Some(line) = rule.with {
            let help = "move it into a file whose name ends in _test.rego, or hand the value to a function";
            faults.push(module.fault(line, "`with` belongs in tests").helped(help));
        }
    }
    let rule_added = rule.added.iter().find(|(path, _)| graph.nodes.contains_key(path)).map(|(_, line)| *line);
    if let Some(line) = rule.loose_head.or(rule_added) {
        let message = "what `contains` adds may hold only literals, variables and built-in functions of them: \
                       bind it in the body first, or one undefined member would lose them all";
        let help = "bind it first: `name contains value if { value := input.…; … }`";
        faults.push(module.fault(line, message).helped(help));
    }
}

/// Which rule may read which: one node a path.
pub(crate) struct Graph {
    nodes: BTreeMap<Vec<String>, usize>,
    /// Where a node is first written: module, line.
    places: Vec<(usize, u32)>,
    edges: Vec<BTreeSet<usize>>,
}

impl Graph {
    pub fn of(modules: &[Checked<'_>]) -> Graph {
        let mut graph = Graph { nodes: BTreeMap::new(), places: Vec::new(), edges: Vec::new() };
        for (at, module) in modules.iter().enumerate() {
            for rule in &module.outline.rules {
                if !graph.nodes.contains_key(&rule.path) {
                    graph.nodes.insert(rule.path.clone(), graph.places.len());
                    graph.places.push((at, rule.line));
                    graph.edges.push(BTreeSet::new());
                }
            }
        }
        for rule in modules.iter().flat_map(|module| &module.outline.rules) {
            let from = graph.nodes[&rule.path];
            for (path, _) in &rule.reads {
                let met: Vec<usize> = graph.meeting(path).collect();
                graph.edges[from].extend(met);
            }
            for (replaced, replacing) in &rule.mocks {
                let to: Vec<usize> = replacing.iter().flat_map(|(path, _)| graph.meeting(path)).collect();
                let replaced: Vec<usize> = graph.meeting(replaced).collect();
                replaced.into_iter().for_each(|node| graph.edges[node].extend(&to));
            }
        }
        graph
    }

    /// The rules at, below and above a path.
    fn meeting(&self, path: &[String]) -> impl Iterator<Item = usize> {
        let below = self.nodes.range(path.to_vec()..).take_while(move |(at, _)| at.starts_with(path));
        let above = (1..path.len()).filter_map(move |length| self.nodes.get(&path[..length]).copied());
        below.map(|(_, node)| *node).chain(above)
    }

    /// Recursion, which would overflow the stack and end the process, and chains that would come near it.
    fn runaways(&self, modules: &[Checked<'_>], faults: &mut Vec<Fault>) {
        let mut readers = vec![0_usize; self.edges.len()];
        self.edges.iter().flatten().for_each(|to| readers[*to] += 1);
        let mut depth = vec![1_usize; self.edges.len()];
        let mut ready: VecDeque<usize> = (0..readers.len()).filter(|node| readers[*node] == 0).collect();
        while let Some(node) = ready.pop_front() {
            for to in &self.edges[node] {
                depth[*to] = depth[*to].max(depth[node] + 1);
                readers[*to] -= 1;
                if readers[*to] == 0 {
                    ready.push_back(*to);
                }
            }
        }
        // What still has readers is in a cycle or is read by one; following readers that remain ends in the cycle.
        let left: BTreeSet<usize> = (0..readers.len()).filter(|node| readers[*node] > 0).collect();
        for cycle in self.cycles(&left) {
            let names: Vec<String> = cycle.iter().map(|node| self.name(*node)).collect();
            let (module, line) = self.places[cycle[0]];
            let message = format!("recursion: {} (a variable may not have a rule's name)", names.join(" → "));
            let help =
                "walk lists with `some x in …` and trees with `walk(…)`; give the variable another name if it is none";
            faults.push(modules[module].fault(line, message).helped(help));
        }
        for (node, deep) in depth.iter().enumerate().filter(|(_, deep)| **deep == LONGEST_CHAIN + 1) {
            let (module, line) = self.places[node];
            let message = format!("{} is the {deep}th in a chain of rules, at most {LONGEST_CHAIN}", self.name(node));
            let help = "join rules that only pass a value on";
            faults.push(modules[module].fault(line, message).helped(help));
        }
    }

    /// One cycle for each group of rules that read one another, closed: its first node is also its last.
    fn cycles(&self, left: &BTreeSet<usize>) -> Vec<Vec<usize>> {
        let mut cycles = Vec::new();
        let mut told: BTreeSet<usize> = BTreeSet::new();
        for start in left {
            if told.contains(start) {
                continue;
            }
            // Breadth first from the start; a way back to it is a cycle through it.
            let mut came: BTreeMap<usize, usize> = BTreeMap::new();
            let mut queue = VecDeque::from([*start]);
            while let Some(node) = queue.pop_front() {
                for to in &self.edges[node] {
                    if left.contains(to) && !came.contains_key(to) {
                        came.insert(*to, node);
                        queue.push_back(*to);
                    }
                }
            }
            if let Some(last) = came.get(start) {
                let mut cycle = vec![*start];
                let mut node = *last;
                while node != *start {
                    cycle.push(node);
                    node = came[&node];
                }
                cycle.push(*start);
                cycle.reverse();
                told.extend(&cycle);
                cycles.push(cycle);
            }
        }
        cycles
    }

    /// The rules that some decision reads.
    pub fn reached(&self, modules: &[Checked<'_>]) -> BTreeSet<usize> {
        let mut reached = BTreeSet::new();
        let mut queue = VecDeque::new();
        for module in modules.iter().filter(|module| !module.is_test) {
            for rule in module.outline.rules.iter().filter(|rule| contribution(&module.outline, rule).is_some()) {
                queue.push_back(self.nodes[&rule.path]);
            }
        }
        while let Some(node) = queue.pop_front() {
            if reached.insert(node) {
                queue.extend(&self.edges[node]);
            }
        }
        reached
    }

    /// Whether a rule is among them.
    pub fn holds(&self, reached: &BTreeSet<usize>, rule: &RuleOutline) -> bool {
        reached.contains(&self.nodes[&rule.path])
    }

    /// Rules that no decision reads. In `alfred.rules.<name>` that is most likely a contribution misspelt; elsewhere
    /// a module that its author believes to be in force.
    fn idle(&self, modules: &[Checked<'_>], faults: &mut Vec<Fault>) {
        let reached = self.reached(modules);
        for module in modules.iter().filter(|module| !module.is_test) {
            let Outline { package, line, column, rules, .. } = &module.outline;
            let is_reached = |rule: &RuleOutline| reached.contains(&self.nodes[&rule.path]);
            let contributing = package.first().is_some_and(|first| first == "alfred");
            if contributing {
                for rule in rules.iter().filter(|rule| !is_reached(rule) && !is_test_rule(rule)) {
                    let name = self.name(self.nodes[&rule.path]);
                    let message = format!(
                        "{name} contributes nothing: no decision reads it (contributions are {})",
                        CONTRIBUTIONS.join(", ")
                    );
                    let word = rule.path.get(3).and_then(|name| functions::nearest(name, CONTRIBUTIONS.into_iter()));
                    let help = match word {
                        Some(near) => format!("did you mean {near}?"),
                        None => "read it from a contribution, or take it out".to_owned(),
                    };
                    faults.push(module.fault(rule.line, message).at(rule.column).helped(help));
                }
            } else if !rules.iter().any(is_reached) {
                let message = format!("package {} is read by no decision: use alfred.rules.<name>", package.join("."));
                let help = "a library of your own is fine where a rule in alfred.rules.<name> reads it";
                faults.push(module.fault(*line, message).at(*column).helped(help));
            }
        }
    }

    fn name(&self, node: usize) -> String {
        self.nodes.iter().find(|(_, at)| **at == node).map(|(path, _)| path.join(".")).unwrap_or_default()
    }
}

/// Whether a rule is a test, by its name.
pub(crate) fn is_test_rule(rule: &RuleOutline) -> bool {
    rule.path.last().is_some_and(|name| name.starts_with("test_"))
}
