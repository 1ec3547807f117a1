//! Values that grow without bound: squared again and again, a number has more digits than there is memory, and so has a
//! text that is joined with itself, and no clock interrupts one function. So what grows is counted, through rules and
//! functions, and bounded.

use std::collections::BTreeMap;

use super::{Checked, Graph};
use crate::Fault;
use crate::outline::{CallOutline, RuleOutline, is_builtin};

/// Each product may double the digits.
const MOST_PRODUCTS: usize = 16;

pub(super) fn faults(modules: &[Checked<'_>], graph: &Graph, faults: &mut Vec<Fault>) {
    let mut rules: BTreeMap<usize, Vec<&RuleOutline>> = BTreeMap::new();
    for rule in modules.iter().flat_map(|module| &module.outline.rules) {
        rules.entry(graph.nodes[&rule.path]).or_default().push(rule);
    }
    let mut known: BTreeMap<usize, usize> = BTreeMap::new();
    for module in modules {
        for rule in &module.outline.rules {
            if let Some(line) = rule.long_number {
                let help = "no price and no count of tokens has as many digits";
                faults.push(module.fault(line, "a number is written with more than 40 digits").helped(help));
            }
            if own(rule, graph) > 0 && products(graph.nodes[&rule.path], &rules, graph, &mut known, 0) > MOST_PRODUCTS {
                let name = rule.path.join(".");
                let message =
                    format!("{name} multiplies, joins or replaces one upon another, more than {MOST_PRODUCTS} times");
                let help =
                    "each time may double the size (a replacement counts as 5): divide the rule, or use literals";
                faults.push(module.fault(rule.line, message).at(rule.column).helped(help));
            }
        }
    }
}

/// How often one evaluation of a rule makes a value larger by a factor.
fn own(rule: &RuleOutline, graph: &Graph) -> usize {
    let grows = |call: &CallOutline| {
        if !is_builtin(&call.name) || call.paths.iter().any(|path| graph.nodes.contains_key(path)) {
            return 0;
        }
        match call.name.as_str() {
            "replace" | "strings.replace_n" | "regex.replace" => 5,
            "concat" | "array.concat" | "sprintf" | "json.marshal" | "json.marshal_with_options" => 1,
            _ => 0,
        }
    };
    rule.products + rule.calls.iter().map(grows).sum::<usize>()
}

/// How many products may stand one upon another in what a rule says. Recursion, refused elsewhere, ends the count.
fn products(
    node: usize,
    rules: &BTreeMap<usize, Vec<&RuleOutline>>,
    graph: &Graph,
    known: &mut BTreeMap<usize, usize>,
    depth: usize,
) -> usize {
    if let Some(known) = known.get(&node) {
        return *known;
    }
    if depth > super::LONGEST_CHAIN {
        return 0;
    }
    let mut most = 0;
    for rule in rules.get(&node).into_iter().flatten() {
        let mut count = own(rule, graph);
        for call in &rule.calls {
            for path in &call.paths {
                if let Some(called) = graph.nodes.get(path).filter(|called| **called != node) {
                    count = count.saturating_add(products(*called, rules, graph, known, depth + 1));
                }
            }
        }
        let mut read = 0;
        for (path, _) in &rule.reads {
            if let Some(other) = graph.nodes.get(path).filter(|other| **other != node) {
                read = read.max(products(*other, rules, graph, known, depth + 1));
            }
        }
        most = most.max(count.saturating_add(read));
    }
    known.insert(node, most);
    most
}
