//! From what the rules contributed to one decision: deny wins, and of duties the strictest.
//!
//! Composed here and not in Rego: it is the same whoever adds rules, and nothing that is added can loosen it.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;

use crate::check::CONTRIBUTIONS;
use crate::rulebook::Scope;
use crate::{ACTIONS, CacheMode, CacheRule, Code, Decision, Facts, KINDS, Obligations, Reason};

const MOST_REASONS: usize = 16;
const LONGEST_MESSAGE: usize = 500;

/// Why a contribution could not be used: words for operators, without input data.
type Unusable = String;

/// What each package contributed to one member: the package's name and the values.
type Contributed<'a> = Vec<(&'a str, Vec<&'a Value>)>;

/// What one package contributes to one member of a decision. A package that has rules for `allow` is there even when it admits
/// nothing.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    #[expect(dead_code, reason = "the order of targets goes by it")]
    /// Whose rules: layers come in this order, and the first that orders targets or names a model is heard.
    pub layer: Scope,
    /// The package's last name, as complaints give it; in other layers than the house's with the scope before it.
    pub package: String,
    /// Which of `check::CONTRIBUTIONS`.
    pub member: &'static str,
    pub values: Vec<Value>,
    /// It is told what it would have done, and has no effect.
    pub log_only: bool,
}

/// What an evaluated decision document says.
pub(crate) fn said(value: &Value, scope: &Scope, log_only: &BTreeSet<String>) -> Result<Vec<Said>, Unusable> {
    let Ok(members) = value.as_object() else {
        return Err("the decision is undefined".into());
    };
    if members.len() != CONTRIBUTIONS.len() {
        return Err("the decision has unknown members".into());
    }
    let mut all = Vec::new();
    for member in CONTRIBUTIONS {
        let packages = members.get(&Value::from(member)).ok_or_else(|| format!("the decision lacks {member}"))?;
        for (package, values) in contributed(packages)? {
            let log_only = log_only.contains(package);
            let package = if *scope == Scope::House { package.to_owned() } else { format!("{scope}:{package}") };
            let values = values.into_iter().cloned().collect();
            all.push(Said { layer: scope.clone(), package, member, values, log_only });
        }
    }
    Ok(all)
}

/// The decision that the contributions amount to.
pub(crate) fn decision(said: &[Said], facts: &Facts) -> Result<Decision, Unusable> {
    let member = |name: &'static str| -> Result<Contributed<'_>, Unusable> {
        let of_member = said.iter().filter(|it| it.member == name && !it.log_only);
        Ok(of_member.map(|it| (it.package.as_str(), it.values.iter().collect())).collect())
    };

    let reasons = reasons(&member("deny")?)?;
    if !reasons.is_empty() {
        return Ok(Decision::Deny(reasons));
    }
    let actions = actions(&member("actions")?, facts)?;
    let max_output_tokens = max_output_tokens(&member("max_output_tokens")?)?;
    let cache = cache(&member("cache")?)?;
    let regions = regions(&member("regions")?)?;
    let downgrade = downgrade(&member("downgrade")?, facts)?;
    let tags = tags(&member("tags")?)?;
    let mut routing = sentences(&member("routing")?)?;
    let admitted = match admitted(&member("allow")?, facts)? {
        Ok(admitted) => admitted,
        Err(reason) => return Ok(Decision::Deny(vec![reason])),
    };
    let targets = match inside(&admitted, regions.as_ref(), facts) {
        Ok(targets) => targets,
        Err(reason) => return Ok(Decision::Deny(vec![reason])),
    };
    let asked = facts.candidates.len();
    if admitted.len() < asked {
        routing.push(format!("{} of {asked} candidates admitted", admitted.len()));
    }
    if let Some(regions) = regions.as_ref().filter(|_| targets.len() < admitted.len()) {
        let regions: Vec<&str> = regions.iter().map(String::as_str).collect();
        routing.push(format!("{} of {} in {}", targets.len(), admitted.len(), regions.join(", ")));
    }
    Ok(Decision::Allow(Obligations {
        targets,
        max_output_tokens,
        actions,
        regions: regions.map(|regions| regions.into_iter().collect()),
        cache,
        downgrade,
        tags,
        routing: routing.join("; "),
        ..Obligations::default()
    }))
}

fn contributed(value: &Value) -> Result<Contributed<'_>, Unusable> {
    let packages = value.as_object().map_err(|_| "a member of the decision is no object".to_owned())?;
    packages
        .iter_sorted()
        .map(|(name, values)| match (name, values) {
            (Value::String(name), Value::Set(values)) => Ok((name.as_ref(), values.iter_sorted().collect())),
            (name, _) => Err(format!("a contribution of {name} is no set")),
        })
        .collect()
}

fn reasons(denies: &Contributed<'_>) -> Result<Vec<Reason>, Unusable> {
    let mut reasons = BTreeSet::new();
    for (package, values) in denies {
        for value in values {
            reasons.insert(reason(value).ok_or_else(|| {
                format!("{package}: deny needs exactly code (policy_denied, residency_violation or model_not_allowed) and message")
            })?);
        }
    }
    Ok(reasons.into_iter().take(MOST_REASONS).collect())
}

fn reason(value: &Value) -> Option<Reason> {
    let members = value.as_object().ok().filter(|members| members.len() == 2)?;
    let code = Code::parse(members.get(&Value::from("code"))?.as_string().ok()?)?;
    let message = members.get(&Value::from("message"))?.as_string().ok()?;
    let message = message.chars().take(LONGEST_MESSAGE).collect();
    (code != Code::PolicyFault).then_some(Reason { code, message })
}

/// The strictest action for every kind. A kind without one is a fault: nobody said what to do.
fn actions(tables: &Contributed<'_>, facts: &Facts) -> Result<BTreeMap<String, String>, Unusable> {
    let mut strictest: BTreeMap<&str, usize> = BTreeMap::new();
    for (package, values) in tables {
        for value in values {
            let table = value.as_object().map_err(|_| format!("{package}: actions needs objects of kind to action"))?;
            for (kind, action) in table.iter() {
                let kind = known(&KINDS, kind).ok_or_else(|| format!("{package}: actions names an unknown kind"))?;
                let action =
                    known(&ACTIONS, action).ok_or_else(|| format!("{package}: unknown action for {}", KINDS[kind]))?;
                let at = strictest.entry(KINDS[kind]).or_insert(action);
                *at = action.max(*at);
            }
        }
    }
    if facts.findings.keys().any(|kind| !KINDS.contains(&kind.as_str())) {
        return Err("a finding is of an unknown kind".into());
    }
    if let Some(kind) = KINDS.into_iter().find(|kind| !strictest.contains_key(kind)) {
        return Err(format!("no rule says what to do about {kind}"));
    }
    Ok(strictest.into_iter().map(|(kind, action)| (kind.to_owned(), ACTIONS[action].to_owned())).collect())
}

fn known(names: &[&str], value: &Value) -> Option<usize> {
    let name = value.as_string().ok()?;
    names.iter().position(|known| *known == name.as_ref())
}

fn max_output_tokens(caps: &Contributed<'_>) -> Result<Option<u64>, Unusable> {
    let mut lowest: Option<u64> = None;
    for (package, values) in caps {
        for value in values {
            let cap = value.as_u64().ok().filter(|cap| *cap > 0);
            let cap = cap.ok_or_else(|| format!("{package}: max_output_tokens needs whole numbers above 0"))?;
            lowest = Some(lowest.map_or(cap, |lowest| lowest.min(cap)));
        }
    }
    Ok(lowest)
}

/// Kept only if somebody says so, for the shortest time; 0 says no.
fn cache(rules: &Contributed<'_>) -> Result<Option<CacheRule>, Unusable> {
    let mut shortest: Option<u64> = None;
    for (package, values) in rules {
        for value in values {
            let seconds = value
                .as_object()
                .ok()
                .filter(|members| members.len() == 1)
                .and_then(|members| members.get(&Value::from("ttl_seconds"))?.as_u64().ok())
                .ok_or_else(|| format!("{package}: cache needs exactly ttl_seconds, a whole number"))?;
            shortest = Some(shortest.map_or(seconds, |shortest| shortest.min(seconds)));
        }
    }
    Ok(shortest.filter(|seconds| *seconds > 0).map(|ttl_seconds| CacheRule { ttl_seconds, mode: CacheMode::default() }))
}

/// The first name of those that are given, when a cheaper model is wanted and not otherwise.
fn downgrade(names: &Contributed<'_>, facts: &Facts) -> Result<Option<String>, Unusable> {
    let mut first: Option<&str> = None;
    for (package, values) in names {
        for value in values {
            let name = value.as_string().ok().filter(|name| !name.is_empty());
            let name = name.ok_or_else(|| format!("{package}: downgrade needs names of models"))?;
            first = Some(first.map_or(name.as_ref(), |first| first.min(name.as_ref())));
        }
    }
    Ok(first.filter(|_| facts.budget.downgrade).map(str::to_owned))
}

/// All that is said. A tag with two values would be covered by neither scope or by both: a fault.
fn tags(tables: &Contributed<'_>) -> Result<BTreeMap<String, String>, Unusable> {
    let mut tags: BTreeMap<String, String> = BTreeMap::new();
    for (package, values) in tables {
        for value in values {
            let table = value.as_object().map_err(|_| format!("{package}: tags needs objects of name to text"))?;
            for (name, text) in table.iter() {
                let pair = name.as_string().ok().zip(text.as_string().ok());
                let (name, text) = pair.ok_or_else(|| format!("{package}: tags needs objects of name to text"))?;
                let tag = tags.entry(name.to_string()).or_insert_with(|| text.to_string());
                if **tag != **text {
                    return Err(format!("{package}: a tag was given another value already"));
                }
            }
        }
    }
    Ok(tags)
}

/// The regions that every bound has in common; none if there is no bound.
fn regions(bounds: &Contributed<'_>) -> Result<Option<BTreeSet<String>>, Unusable> {
    let mut common: Option<BTreeSet<String>> = None;
    for (package, values) in bounds {
        for value in values {
            let bound = texts(value).ok_or_else(|| format!("{package}: regions needs lists of names"))?;
            common = Some(match common {
                None => bound,
                Some(common) => common.intersection(&bound).cloned().collect(),
            });
        }
    }
    Ok(common)
}

fn texts(value: &Value) -> Option<BTreeSet<String>> {
    let text = |item: &Value| item.as_string().ok().map(|text| text.to_string());
    match value {
        Value::Array(items) => items.iter().map(text).collect(),
        Value::Set(items) => items.iter().map(text).collect(),
        _ => None,
    }
}

fn sentences(routing: &Contributed<'_>) -> Result<Vec<String>, Unusable> {
    let mut sentences = Vec::new();
    for (package, values) in routing {
        for value in values {
            let sentence = value.as_string().map_err(|_| format!("{package}: routing needs sentences"))?;
            sentences.push(sentence.chars().take(LONGEST_MESSAGE).collect());
        }
    }
    Ok(sentences)
}

/// The candidates that every package which speaks of targets admits, in their order.
fn admitted<'a>(allows: &Contributed<'_>, facts: &'a Facts) -> Result<Result<Vec<&'a str>, Reason>, Unusable> {
    if allows.is_empty() {
        return Err("no rule admits anything".into());
    }
    if facts.candidates.is_empty() {
        return Err("there was no candidate to admit".into());
    }
    let mut targets: Vec<&str> = facts.candidates.iter().map(|candidate| candidate.target.as_str()).collect();
    for (package, values) in allows {
        let mut names = BTreeSet::new();
        for value in values {
            let name = value.as_string().map_err(|_| format!("{package}: allow needs names of targets"))?;
            if !facts.candidates.iter().any(|candidate| candidate.target == name.as_ref()) {
                return Err(format!("{package}: allow names a target that is no candidate"));
            }
            names.insert(name.as_ref());
        }
        targets.retain(|target| names.contains(target));
        if targets.is_empty() {
            let message = format!("no target is left after {package}");
            return Ok(Err(Reason { code: Code::PolicyDenied, message }));
        }
    }
    Ok(Ok(targets))
}

fn inside(admitted: &[&str], regions: Option<&BTreeSet<String>>, facts: &Facts) -> Result<Vec<String>, Reason> {
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
