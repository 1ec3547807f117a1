//! What is refused before anything is loaded: what the interpreter would get wrong, run away with or die of, and
//! what would look like a rule and bind nothing. See README.md, *What is refused*.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::Fault;
use crate::outline::{Argument, CallOutline, Outline, RuleOutline, is_builtin};

/// What a package `alfred.rules.<name>` may contribute to a decision.
pub(crate) const CONTRIBUTIONS: [&str; 9] =
    ["allow", "deny", "actions", "max_output_tokens", "regions", "cache", "routing", "downgrade", "tags"];

/// Rules that depend on one another in a longer chain than this would go too deep for a thread's stack.
const LONGEST_CHAIN: usize = 48;
const MOST_RULES: usize = 4_096;
const LONGEST_RANGE: u64 = 10_000;

/// Functions that are refused, and why.
const REFUSED: [(&str, &str); 16] = [
    ("bits.lsh", "is unbounded"),
    ("http.send", "reaches out of the process"),
    ("net.cidr_expand", "is unbounded"),
    ("net.lookup_ip_addr", "reaches out of the process"),
    ("numbers.range_step", "is unbounded"),
    ("opa.runtime", "reads the process's environment"),
    ("print", "shows input outside"),
    ("rand.intn", "is random: a decision must come out the same again"),
    ("rego.metadata.chain", "is not supported"),
    ("rego.metadata.rule", "is not supported"),
    ("rego.parse_module", "is not supported"),
    ("test.sleep", "waits"),
    ("time.now_ns", "reads the clock: use input.time"),
    ("trace", "shows input outside"),
    ("uuid.rfc4122", "is random: a decision must come out the same again"),
    ("yaml.unmarshal", "is not supported"),
];

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
fn contribution<'a>(outline: &'a Outline, rule: &RuleOutline) -> Option<(&'a str, &'static str)> {
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
            ..Fault::default()
        }];
    }
    let graph = Graph::of(modules);
    for module in modules {
        package(module, &mut faults);
        for rule in &module.outline.rules {
            shape(module, rule, &graph, &mut faults);
            for call in &rule.calls {
                if let Some(message) = called(call, &graph, module.is_test) {
                    faults.push(module.fault(call.line, message));
                }
            }
        }
    }
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
    let Outline { package, line, .. } = &module.outline;
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
        faults.push(module.fault(*line, message));
    }
}

fn shape(module: &Checked<'_>, rule: &RuleOutline, graph: &Graph, faults: &mut Vec<Fault>) {
    if !module.is_test {
        if let Some((_, member)) = contribution(&module.outline, rule)
            && (!rule.is_set || rule.path.len() > 4)
        {
            faults.push(module.fault(rule.line, format!("{member} must be written as `{member} contains …`")));
        }
        if let Some(line) = rule.with {
            faults.push(module.fault(line, "`with` belongs in tests"));
        }
    }
    let rule_added = rule.added.iter().find(|(path, _)| graph.nodes.contains_key(path)).map(|(_, line)| *line);
    if let Some(line) = rule.loose_head.or(rule_added) {
        let message = "what `contains` adds may hold only literals, variables and built-in functions of them: \
                       bind it in the body first, or one undefined member would lose them all";
        faults.push(module.fault(line, message));
    }
}

fn called(call: &CallOutline, graph: &Graph, in_test: bool) -> Option<String> {
    if call.paths.iter().any(|path| graph.nodes.contains_key(path)) {
        return None;
    }
    let name = &call.name;
    if in_test && name == "print" {
        return None;
    }
    if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| refused == name) {
        return Some(format!("{name} is refused: it {why}"));
    }
    if !is_builtin(name) {
        return Some(format!("there is no function {name}"));
    }
    match (name.as_str(), call.arguments.as_slice()) {
        ("numbers.range", [Argument::Number(from), Argument::Number(to), ..]) => {
            (from.abs_diff(*to) > LONGEST_RANGE).then(|| format!("numbers.range is refused beyond {LONGEST_RANGE}"))
        }
        ("numbers.range", _) => Some("numbers.range is refused unless both ends are literal numbers".into()),
        ("sprintf", [Argument::Text(format), ..]) => {
            let wide = format.split('%').skip(1).any(|verb| {
                let flags: String = verb.chars().take_while(|letter| !letter.is_ascii_alphabetic()).collect();
                flags.contains('*') || flags.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > 3)
            });
            wide.then(|| "sprintf is refused with a width above 999".into())
        }
        ("sprintf", _) => Some("sprintf is refused unless its format is a literal".into()),
        (name, arguments) if name.starts_with("regex.") => bad_pattern(name, arguments),
        _ => None,
    }
}

/// A literal pattern that would only fail when a call comes.
fn bad_pattern(name: &str, arguments: &[Argument]) -> Option<String> {
    let at = if name == "regex.replace" { 1 } else { 0 };
    let Some(Argument::Text(pattern)) = arguments.get(at) else {
        return None;
    };
    if !matches!(name, "regex.match" | "regex.find_n" | "regex.split" | "regex.replace") {
        return None;
    }
    regex::Regex::new(pattern).err().map(|_| format!("{name}: the pattern is not a regular expression"))
}

/// Which rule may read which: one node a path.
struct Graph {
    nodes: BTreeMap<Vec<String>, usize>,
    /// Where a node is first written: module, line.
    places: Vec<(usize, u32)>,
    edges: Vec<BTreeSet<usize>>,
}

impl Graph {
    fn of(modules: &[Checked<'_>]) -> Graph {
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
            faults.push(modules[module].fault(line, message));
        }
        for (node, deep) in depth.iter().enumerate().filter(|(_, deep)| **deep == LONGEST_CHAIN + 1) {
            let (module, line) = self.places[node];
            let message = format!("{} is the {deep}th in a chain of rules, at most {LONGEST_CHAIN}", self.name(node));
            faults.push(modules[module].fault(line, message));
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

    /// Rules that no decision reads. In `alfred.rules.<name>` that is most likely a contribution misspelt; elsewhere
    /// a module that its author believes to be in force.
    fn idle(&self, modules: &[Checked<'_>], faults: &mut Vec<Fault>) {
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
        for module in modules.iter().filter(|module| !module.is_test) {
            let Outline { package, line, rules } = &module.outline;
            let is_reached = |rule: &RuleOutline| reached.contains(&self.nodes[&rule.path]);
            let contributing = package.first().is_some_and(|first| first == "alfred");
            if contributing {
                for rule in rules.iter().filter(|rule| !is_reached(rule) && !is_test_rule(rule)) {
                    let name = self.name(self.nodes[&rule.path]);
                    let message = format!(
                        "{name} contributes nothing: no decision reads it (contributions are {})",
                        CONTRIBUTIONS.join(", ")
                    );
                    faults.push(module.fault(rule.line, message));
                }
            } else if !rules.iter().any(is_reached) {
                let message = format!("package {} is read by no decision: use alfred.rules.<name>", package.join("."));
                faults.push(module.fault(*line, message));
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
