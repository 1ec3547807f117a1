//! Rules of one name that cannot both hold: written in two ways, or always two different values.

use std::collections::BTreeMap;

use super::Checked;
use crate::Fault;
use crate::outline::{Kind, RuleOutline};

pub(super) fn faults(modules: &[Checked<'_>], faults: &mut Vec<Fault>) {
    let mut known: BTreeMap<&[String], Vec<(&Checked<'_>, &RuleOutline)>> = BTreeMap::new();
    for module in modules {
        for rule in &module.outline.rules {
            // A contribution that is no set is told already.
            if super::contribution(&module.outline, rule).is_none() {
                known.entry(&rule.path).or_default().push((module, rule));
            }
        }
    }
    for (path, rules) in known.iter().filter(|(_, rules)| rules.len() > 1) {
        let name = path.join(".");
        let (first_in, first) = rules[0];
        let at = |here: &Checked<'_>, module: &Checked<'_>, rule: &RuleOutline| match here.path == module.path {
            true => format!("on line {}", rule.line),
            false => format!("at {}:{}", module.path, rule.line),
        };
        if let Some((module, rule)) = rules[1..].iter().find(|(_, rule)| other_kind(first.kind, rule.kind)) {
            let message = format!(
                "{name} is written {} here, and {} {}",
                kind(rule.kind),
                kind(first.kind),
                at(module, first_in, first)
            );
            let help = "one name, one way to write it: give one of them another name";
            faults.push(module.fault(rule.line, message).at(rule.column).helped(help));
            continue;
        }
        let defaults: Vec<_> = rules.iter().filter(|(_, rule)| rule.kind == Kind::Default).collect();
        for (module, rule) in defaults.iter().skip(1) {
            let message = format!("{name} has a default already, {}", at(module, defaults[0].0, defaults[0].1));
            faults.push(module.fault(rule.line, message).at(rule.column).helped("leave one of them out"));
        }
        let constants = || rules.iter().filter(|(_, rule)| rule.constant.is_some());
        let Some((one_in, one)) = constants().next() else { continue };
        let value = |rule: &RuleOutline| rule.constant.clone().unwrap_or_default();
        for (module, rule) in constants().filter(|(_, rule)| value(rule) != value(one)) {
            let message = format!(
                "{name} is always {} here, and always {} {}: no call could be decided",
                value(rule),
                value(one),
                at(module, one_in, one)
            );
            let help = "give each a condition (`if …`), or make it `default` and the other conditional";
            faults.push(module.fault(rule.line, message).at(rule.column).helped(help));
        }
    }
}

/// A default may stand beside a value or a function.
fn other_kind(a: Kind, b: Kind) -> bool {
    match (a, b) {
        (Kind::Default, Kind::Value | Kind::Function(_)) | (Kind::Value | Kind::Function(_), Kind::Default) => false,
        (a, b) => a != b,
    }
}

fn kind(kind: Kind) -> String {
    match kind {
        Kind::Value => "as a value".into(),
        Kind::Set => "as a set".into(),
        Kind::Function(1) => "as a function of one argument".into(),
        Kind::Function(arguments) => format!("as a function of {arguments} arguments"),
        Kind::Default => "as a default".into(),
    }
}
