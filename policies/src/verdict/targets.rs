//! Where a call may go: what every package admits and every bound contains, in the order of the first layer that orders; and what
//! model it should become.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;

use super::{Heard, Unusable};
use crate::rulebook::Scope;
use crate::{Code, Facts, Reason};

/// A weight of a million is enough for anybody, and so many cannot overflow when they are added.
const HEAVIEST: u64 = 1_000_000;

/// The candidates that every package which speaks of targets admits, in their order.
pub(super) fn admitted<'a>(heard: &Heard<'_>, facts: &'a Facts) -> Result<Result<Vec<&'a str>, Reason>, Unusable> {
    let allows = heard.of_member("allow");
    // What the house leaves closed, no layer below it opens.
    if !allows.iter().any(|(said, _)| said.layer == Scope::House) {
        return Err("no rule admits anything".into());
    }
    if facts.candidates.is_empty() {
        return Err("there was no candidate to admit".into());
    }
    let mut targets: Vec<&str> = facts.candidates.iter().map(|candidate| candidate.target.as_str()).collect();
    let mut emptied = None;
    for (said, values) in allows {
        let package = said.package.as_str();
        let mut names = BTreeSet::new();
        for value in values {
            let name = value.as_string().map_err(|_| format!("{package}: allow needs names of targets"))?;
            if !facts.candidates.iter().any(|candidate| candidate.target == name.as_ref()) {
                return Err(format!("{package}: allow names a target that is no candidate"));
            }
            names.insert(name.as_ref());
        }
        targets.retain(|target| names.contains(target));
        if targets.is_empty() && emptied.is_none() {
            let message = format!("no target is left after {package}");
            emptied = Some(Reason { code: Code::PolicyDenied, message });
        }
    }
    Ok(emptied.map_or(Ok(targets), Err))
}

/// Those of them that lie within the bounds, if there are any.
pub(super) fn inside(
    admitted: &[&str],
    regions: Option<&BTreeSet<String>>,
    facts: &Facts,
) -> Result<Vec<String>, Reason> {
    let lies_inside = |target: &&&str| {
        let Some(regions) = regions else {
            return true;
        };
        // A target that is a candidate twice must lie inside each time.
        facts
            .candidates
            .iter()
            .filter(|candidate| candidate.target == **target)
            .all(|candidate| !candidate.region.is_empty() && regions.contains(&candidate.region))
    };
    let mut targets: Vec<String> = Vec::new();
    for target in admitted.iter().filter(lies_inside) {
        if !targets.iter().any(|known| known == *target) {
            targets.push((*target).to_owned());
        }
    }
    if targets.is_empty() {
        let regions: Vec<&str> = regions.into_iter().flatten().map(String::as_str).collect();
        let message = match regions.as_slice() {
            [] => "the bounds on regions have none in common".to_owned(),
            regions => format!("no target lies in {}", regions.join(", ")),
        };
        return Err(Reason { code: Code::ResidencyViolation, message });
    }
    Ok(targets)
}

/// How the first layer that says so wants the targets ordered.
#[derive(Default)]
pub(super) struct Ordering {
    by: Option<String>,
    order: Vec<String>,
    weights: BTreeMap<String, u64>,
}

/// What the first layer says that orders targets, by a list, by weights or by both. Two lists or two tables in one layer
/// contradict each other: a fault.
pub(super) fn ordering(heard: &Heard<'_>) -> Result<Ordering, Unusable> {
    let orders = by_layer(heard, "order", ordered)?;
    let weights = by_layer(heard, "weights", weighed)?;
    let first = orders.iter().map(|it| it.layer).chain(weights.iter().map(|it| it.layer)).min();
    let Some(first) = first else { return Ok(Ordering::default()) };
    let (order, weights) = (orders.iter().find(|it| it.layer == first), weights.iter().find(|it| it.layer == first));
    let by = order.map(|it| it.package).or(weights.map(|it| it.package)).map(str::to_owned);
    Ok(Ordering {
        by,
        order: order.map(|it| it.value.clone()).unwrap_or_default(),
        weights: weights.map(|it| it.value.clone()).unwrap_or_default(),
    })
}

impl Ordering {
    /// Those first that are to come first, and what of the weights is left. Names that are no candidates of this call are passed over.
    pub(super) fn apply(self, targets: Vec<String>, routing: &mut Vec<String>) -> (Vec<String>, BTreeMap<String, u64>) {
        let Ordering { by, order, mut weights } = self;
        let Some(by) = by else { return (targets, weights) };
        let named: Vec<&String> = order.iter().filter(|name| targets.contains(name)).collect();
        let mut all: Vec<String> = Vec::with_capacity(targets.len());
        for target in named.into_iter().chain(&targets) {
            if !all.contains(target) {
                all.push(target.clone());
            }
        }
        weights.retain(|name, weight| *weight > 0 && all.contains(name));
        // A list alone gives its first all the weight: an order that was said is no less said where it is the configured one.
        if weights.is_empty() && order.iter().any(|name| all.contains(name)) {
            weights.insert(all[0].clone(), 1);
        }
        if all != targets {
            routing.push(format!("in the order of {by}"));
        }
        (all, weights)
    }
}

/// What a layer says, and the package that says it first.
struct OfLayer<'a, T> {
    layer: &'a Scope,
    package: &'a str,
    value: T,
}

/// What each layer says, in their order. Two different values in one are a fault.
fn by_layer<'a, T: PartialEq>(
    heard: &Heard<'a>,
    member: &'static str,
    read: impl Fn(&Value) -> Result<T, &'static str>,
) -> Result<Vec<OfLayer<'a, T>>, Unusable> {
    let mut all: Vec<OfLayer<'a, T>> = Vec::new();
    for (said, values) in heard.of_member(member) {
        let package = said.package.as_str();
        for value in values {
            let value = read(value).map_err(|needs| format!("{package}: {member} needs {needs}"))?;
            match all.iter().find(|it| *it.layer == said.layer) {
                Some(other) if other.value != value => {
                    return Err(format!("{package}: {member} was said otherwise by {} already", other.package));
                }
                Some(_) => {}
                None => all.push(OfLayer { layer: &said.layer, package, value }),
            }
        }
    }
    Ok(all)
}

fn ordered(value: &Value) -> Result<Vec<String>, &'static str> {
    let name = |item: &Value| item.as_string().ok().map(|text| text.to_string()).filter(|text| !text.is_empty());
    let names: Option<Vec<String>> = value.as_array().ok().and_then(|items| items.iter().map(name).collect());
    names.ok_or("lists of targets")
}

fn weighed(value: &Value) -> Result<BTreeMap<String, u64>, &'static str> {
    const NEEDS: &str = "objects of target to a whole number up to 1000000";
    let table = value.as_object().map_err(|_| NEEDS)?;
    let pair = |(name, weight): (&Value, &Value)| {
        let weight = weight.as_u64().ok().filter(|weight| *weight <= HEAVIEST)?;
        Some((name.as_string().ok()?.to_string(), weight))
    };
    table.iter().map(pair).collect::<Option<_>>().ok_or(NEEDS)
}

/// The model that the first layer names that names one; of several, the first by package. The one that was asked for is none.
pub(super) fn reroute(heard: &Heard<'_>, facts: &Facts, routing: &mut Vec<String>) -> Result<Option<String>, Unusable> {
    let names = models(heard, "reroute")?;
    let Some((first, name)) = names.first() else { return Ok(None) };
    if let Some((other, model)) = names.iter().find(|(said, model)| said.layer == first.layer && model != name) {
        routing.push(format!("{name} of {} goes before {model} of {}", first.package, other.package));
    }
    Ok(Some(name.clone()).filter(|name| *name != facts.request.model))
}

/// The model that the first layer names, when a cheaper one is wanted and not otherwise; of several, the first by name.
pub(super) fn downgrade(heard: &Heard<'_>, facts: &Facts) -> Result<Option<String>, Unusable> {
    let names = models(heard, "downgrade")?;
    let layer = names.first().map(|(said, _)| &said.layer);
    let of_layer = names.iter().filter(|(said, _)| Some(&said.layer) == layer);
    Ok(of_layer.map(|(_, name)| name).min().filter(|_| facts.budget.downgrade).cloned())
}

/// Names of models, as they come: by layer, package and name.
fn models<'a>(heard: &Heard<'a>, member: &'static str) -> Result<Vec<(&'a super::Said, String)>, Unusable> {
    let mut names = Vec::new();
    for (said, values) in heard.of_member(member) {
        for value in values {
            let name = value.as_string().ok().filter(|name| !name.is_empty());
            let name = name.ok_or_else(|| format!("{}: {member} needs names of models", said.package))?;
            names.push((said, name.to_string()));
        }
    }
    Ok(names)
}
