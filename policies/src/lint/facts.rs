//! The facts that rules ask for, held against the schema of the facts that there are.

use std::collections::BTreeSet;

use serde_json::Value;

use super::Module;
use crate::Fault;
use crate::check::{contribution, nearest};
use crate::outline::asked::{Asked, Step};
use crate::{Candidate, Facts};

/// What lies at a path of the facts.
#[derive(Debug, PartialEq, Eq)]
enum At {
    /// A fact that is always there.
    Always,
    /// A fact that may be left out.
    Maybe,
    /// There is no such fact; what there is instead, at the first step that fits none.
    Nowhere { step: usize, known: Vec<String> },
}

struct Shape {
    schema: Value,
    /// Facts of which nothing optional is known.
    bare: Value,
}

impl Shape {
    fn new() -> Shape {
        let schema = schemars::schema_for!(Facts).to_value();
        let facts = Facts { candidates: vec![Candidate::default()], ..Facts::default() };
        Shape { schema, bare: serde_json::to_value(facts).unwrap_or_default() }
    }

    fn at(&self, path: &[Step]) -> At {
        let mut schema = self.resolved(&self.schema);
        let mut bare = Some(&self.bare);
        let mut maybe = false;
        for (number, step) in path.iter().enumerate() {
            let properties = schema.get("properties").and_then(Value::as_object);
            let items = schema.get("items");
            let members = schema.get("additionalProperties").filter(|it| it.is_object());
            schema = match (step, properties, items, members) {
                (Step::Name(name), Some(properties), ..) => match properties.get(name) {
                    Some(member) => {
                        bare = bare.and_then(|it| it.get(name));
                        maybe |= bare.is_none();
                        self.resolved(member)
                    }
                    None => return At::Nowhere { step: number, known: properties.keys().cloned().collect() },
                },
                (Step::Any, Some(_), ..) => return At::Always, // whatever the name turns out to be
                (Step::Any, None, Some(items), _) => {
                    bare = bare.and_then(|it| it.get(0));
                    self.resolved(items)
                }
                (_, None, _, Some(members)) => {
                    // A kind that was not found is as good as found no times.
                    let counted = path.first() == Some(&Step::Name("findings".into()));
                    maybe |= matches!(step, Step::Name(_)) && !counted;
                    bare = None;
                    self.resolved(members)
                }
                (Step::Name(_), None, Some(_), _) => {
                    return At::Nowhere { step: number, known: vec!["[_]".to_owned()] };
                }
                _ => return At::Nowhere { step: number, known: Vec::new() },
            };
        }
        if maybe { At::Maybe } else { At::Always }
    }

    /// A schema that is named, and the one of an optional fact that has any.
    fn resolved<'a>(&'a self, mut schema: &'a Value) -> &'a Value {
        for _ in 0..8 {
            if let Some(name) = schema.get("$ref").and_then(Value::as_str).and_then(|it| it.strip_prefix("#/$defs/")) {
                schema = &self.schema["$defs"][name];
            } else if let Some(any) = schema.get("anyOf").and_then(|it| it.get(0)) {
                schema = any;
            }
        }
        schema
    }
}

fn written(path: &[Step]) -> String {
    let mut text = "input".to_owned();
    for step in path {
        match step {
            Step::Name(name) => text.extend([".", name]),
            Step::Any => text.push_str("[_]"),
        }
    }
    text
}

/// Facts that there are not: what asks for them never holds, so a denial never denies.
pub(super) fn unknown(modules: &[Module<'_>], faults: &mut Vec<Fault>) {
    let shape = Shape::new();
    for module in modules.iter().filter(|module| module.is_theirs()) {
        for asked in module.asked.iter().flatten() {
            let At::Nowhere { step, known } = shape.at(&asked.path) else { continue };
            let message = format!("there is no fact {}: what asks for it never holds", written(&asked.path[..=step]));
            let name = match &asked.path[step] {
                Step::Name(name) => name.as_str(),
                Step::Any => "",
            };
            let help = match nearest(name, known.iter().map(String::as_str)) {
                Some(near) => format!("did you mean {}.{near}?", written(&asked.path[..step])),
                None if known == ["[_]"] => {
                    let list = written(&asked.path[..step]);
                    format!("{list} is a list: `some it in {list}`, then it.{name}")
                }
                None if known.is_empty() => format!("{} has no members", written(&asked.path[..step])),
                None => format!("there are {} (docs/api/policy-facts.schema.json)", known.join(", ")),
            };
            faults.push(module.fault(asked.line, message).at(asked.column).helped(help));
        }
    }
}

/// Denials that hold only where an optional fact is there: without it, the call passes.
pub(super) fn opening(modules: &[Module<'_>], warnings: &mut Vec<Fault>) {
    let shape = Shape::new();
    for module in modules.iter().filter(|module| module.is_theirs()) {
        let package = &module.checked.outline.package;
        // Where the package says somewhere what holds without the fact, its author has thought of it.
        let thought_of: BTreeSet<String> = modules
            .iter()
            .filter(|it| it.checked.outline.package == *package)
            .flat_map(|it| it.asked.iter().flatten())
            .filter(|asked| asked.covered)
            .map(|asked| written(&asked.path))
            .collect();
        let rules = module.checked.outline.rules.iter().zip(&module.asked);
        for (rule, asked) in rules {
            let denies = contribution(&module.checked.outline, rule).is_some_and(|(_, member)| member == "deny");
            if !denies {
                continue;
            }
            for Asked { path, line, column, covered, compared } in asked {
                let Some(compared) = compared.filter(|_| !covered && !thought_of.contains(&written(path))) else {
                    continue;
                };
                // Money that has no limit is not little.
                let little = compared.starts_with('<') && path.first() == Some(&Step::Name("budget".into()));
                if little || shape.at(path) != At::Maybe {
                    continue;
                }
                let fact = written(path);
                let message = format!("{fact} may be missing, and then this denial does not hold: the call passes");
                let help =
                    format!("say what is fine and deny the rest: `deny contains … if not fine`, `fine if {fact} …`");
                warnings.push(module.fault(*line, message).at(*column).helped(help));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_facts_are_those_of_the_schema() {
        let shape = Shape::new();
        let name = |name: &str| if name == "_" { Step::Any } else { Step::Name(name.into()) };
        let at = |path: &str| shape.at(&path.split('.').map(name).collect::<Vec<_>>());
        for path in [
            "caller.org",
            "caller.models",
            "caller.groups._",
            "caller.attributes.team",
            "request.images",
            "candidates._.region",
            "findings.email",
            "time.hour",
            "budget.downgrade",
            "hops._",
        ] {
            assert_eq!(at(path), At::Always, "{path}");
        }
        for path in [
            "caller.team",
            "caller.wallet",
            "caller.tags.project",
            "caller.attributes.user.clearance",
            "request.max_output_tokens",
            "request.claims.feature",
            "candidates._.price_input",
            "budget.left_usd",
            "hops.cache",
        ] {
            assert_eq!(at(path), At::Maybe, "{path}");
        }
        for path in [
            "caler",
            "caller.teem",
            "caller.org.name",
            "candidates.region",
            "candidates._.price",
            "time.minute",
            "request.max_tokens",
            "findings.email.count",
        ] {
            assert!(matches!(at(path), At::Nowhere { .. }), "{path}");
        }
    }
}
