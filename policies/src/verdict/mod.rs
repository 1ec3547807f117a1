//! From what the rules contributed to one decision: deny wins, and of duties the strictest.
//!
//! Composed here and not in Rego: it is the same whoever adds rules, and nothing that is added can loosen it.

mod duties;
#[cfg(test)]
mod properties;
mod targets;

use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;

use crate::decision::Keeping;
use crate::rulebook::Scope;
use crate::{Code, Decision, Facts, Obligations, Observed, Reason};

const MOST_REASONS: usize = 16;
const LONGEST_MESSAGE: usize = 500;

/// Why a contribution could not be used: words for operators, without input data.
type Unusable = String;

/// What was said of one member: by whom, and the values, in the order of layers and packages.
type Contributed<'a> = Vec<(&'a Said, Vec<&'a Value>)>;

/// What one package contributes to one member of a decision. A package that has rules for `allow` is there even when it admits
/// nothing.
#[derive(Clone, Debug)]
pub(crate) struct Said {
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

/// The decision that the contributions amount to, those of layers in their order.
pub(crate) fn decision(said: &[Said], facts: &Facts) -> Result<Decision, Unusable> {
    let mut decision = composed(said, facts, None)?;
    if let Decision::Allow(obligations) = &mut decision {
        obligations.observed = observed(said, facts)?;
    }
    Ok(decision)
}

/// What may be written down of a decision, whichever it is: a call that is denied is told of no more than one that goes.
pub(crate) fn keeping(said: &[Said]) -> Result<Keeping, Unusable> {
    let heard = Heard::of(said, None);
    let regions = duties::regions(&heard)?.map(|regions| regions.into_iter().collect());
    Ok(Keeping { log: duties::log(&heard)?, regions })
}

/// What those would have denied that have no effect: a package by itself beside all that holds, and single reasons of others.
fn observed(said: &[Said], facts: &Facts) -> Result<Vec<Observed>, Unusable> {
    let mut observed = BTreeSet::new();
    let mut tell = |package: &str, reason: Reason| {
        if observed.len() < MOST_REASONS {
            observed.insert(Observed { package: package.to_owned(), reason });
        }
    };
    let tried: BTreeSet<&str> = said.iter().filter(|it| it.log_only).map(|it| it.package.as_str()).collect();
    for package in tried {
        match composed(said, facts, Some(package)) {
            Ok(Decision::Allow(_)) => {}
            Ok(Decision::Deny(reasons)) => reasons.into_iter().for_each(|reason| tell(package, reason)),
            // Once it holds, it would deny with this.
            Err(message) => tell(package, Reason { code: Code::PolicyFault, message }),
        }
    }
    let (_, muted) = reasons(&Heard::of(said, None).of_member("deny"))?;
    muted.into_iter().for_each(|(package, reason)| tell(package, reason));
    Ok(observed.into_iter().collect())
}

/// What holds, by member.
struct Heard<'a>(BTreeMap<&'static str, Contributed<'a>>);

impl<'a> Heard<'a> {
    /// Of all that has an effect, and of the one package besides.
    fn of(said: &'a [Said], besides: Option<&str>) -> Heard<'a> {
        let mut heard: BTreeMap<_, Contributed<'a>> = BTreeMap::new();
        for it in said.iter().filter(|it| !it.log_only || besides == Some(it.package.as_str())) {
            heard.entry(it.member).or_default().push((it, it.values.iter().collect()));
        }
        Heard(heard)
    }

    fn of_member(&self, member: &'static str) -> Contributed<'a> {
        self.0.get(member).cloned().unwrap_or_default()
    }

    /// Every value of a member, each with who said it.
    fn said(&self, member: &'static str) -> impl Iterator<Item = (&'a Said, &'a Value)> {
        let of_member = self.0.get(member).into_iter().flatten();
        of_member.flat_map(|(said, values)| values.iter().map(|value| (*said, *value)))
    }

    /// The same with the package's name alone.
    fn values(&self, member: &'static str) -> impl Iterator<Item = (&'a str, &'a Value)> {
        self.said(member).map(|(said, value)| (said.package.as_str(), value))
    }
}

fn composed(said: &[Said], facts: &Facts, besides: Option<&str>) -> Result<Decision, Unusable> {
    let heard = Heard::of(said, besides);
    let (reasons, _) = reasons(&heard.of_member("deny"))?;
    if !reasons.is_empty() {
        return Ok(Decision::Deny(reasons.into_iter().take(MOST_REASONS).collect()));
    }
    let regions = duties::regions(&heard)?;
    let mut routing = sentences(&heard)?;
    let order = targets::ordering(&heard)?;
    let obligations = Obligations {
        max_output_tokens: duties::max_output_tokens(&heard)?,
        max_cost_usd: duties::max_cost_usd(&heard)?,
        actions: duties::actions(&heard, facts)?,
        cache: duties::cache(&heard)?,
        approvals: duties::approvals(&heard)?,
        remove_tools: duties::remove_tools(&heard)?,
        log: duties::log(&heard)?,
        tags: duties::tags(&heard)?,
        downgrade: targets::downgrade(&heard, facts)?,
        reroute: targets::reroute(&heard, facts, &mut routing)?,
        ..Obligations::default()
    };
    let admitted = match targets::admitted(&heard, facts)? {
        Ok(admitted) => admitted,
        Err(reason) => return Ok(Decision::Deny(vec![reason])),
    };
    let inside = match targets::inside(&admitted, regions.as_ref(), facts) {
        Ok(inside) => inside,
        Err(reason) => return Ok(Decision::Deny(vec![reason])),
    };
    let asked = facts.candidates.len();
    if admitted.len() < asked {
        routing.push(format!("{} of {asked} candidates admitted", admitted.len()));
    }
    if let Some(regions) = regions.as_ref().filter(|_| inside.len() < admitted.len()) {
        let regions: Vec<&str> = regions.iter().map(String::as_str).collect();
        routing.push(format!("{} of {} in {}", inside.len(), admitted.len(), regions.join(", ")));
    }
    let (targets, weights) = order.apply(inside, &mut routing);
    Ok(Decision::Allow(Obligations {
        targets,
        weights,
        regions: regions.map(|regions| regions.into_iter().collect()),
        routing: routing.join("; "),
        ..obligations
    }))
}

/// The reasons to deny, and those that are only told, by package.
type Reasons<'a> = (BTreeSet<Reason>, BTreeSet<(&'a str, Reason)>);

fn reasons<'a>(denies: &Contributed<'a>) -> Result<Reasons<'a>, Unusable> {
    let (mut reasons, mut muted) = (BTreeSet::new(), BTreeSet::new());
    for (said, values) in denies {
        let package = said.package.as_str();
        for value in values {
            let (reason, log_only) = reason(value).ok_or_else(|| {
                format!(
                    "{package}: deny needs code (policy_denied, residency_violation or model_not_allowed) and message, \
                     and beside them only log_only, true or false"
                )
            })?;
            let _ = if log_only { muted.insert((package, reason)) } else { reasons.insert(reason) };
        }
    }
    Ok((reasons, muted))
}

/// A member of `deny`, and whether it is only to be told.
fn reason(value: &Value) -> Option<(Reason, bool)> {
    let members = value.as_object().ok()?;
    let text = |name: &str| members.get(&Value::from(name))?.as_string().ok();
    let log_only = match members.get(&Value::from("log_only")) {
        None => false,
        Some(flag) => *flag.as_bool().ok()?,
    };
    let known = 2 + usize::from(members.get(&Value::from("log_only")).is_some());
    let code = Code::parse(text("code")?)?;
    let message = told(text("message")?);
    (members.len() == known && code != Code::PolicyFault).then_some((Reason { code, message }, log_only))
}

/// Words of a rule, as long as they may be.
fn told(text: &str) -> String {
    text.chars().take(LONGEST_MESSAGE).collect()
}

fn sentences(heard: &Heard<'_>) -> Result<Vec<String>, Unusable> {
    let sentence = |(package, value): (&str, &Value)| match value.as_string() {
        Ok(sentence) => Ok(told(sentence)),
        Err(_) => Err(format!("{package}: routing needs sentences")),
    };
    heard.values("routing").map(sentence).collect()
}
