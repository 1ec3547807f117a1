//! What is to be done with an allowed call, as strict as the strictest that was said. Every value is checked, whichever is heard.

use std::collections::{BTreeMap, BTreeSet};

use regorus::Value;

use super::{Heard, Unusable, told};
use crate::rulebook::Scope;
use crate::{ACTIONS, Approval, CacheMode, CacheRule, Facts, KINDS, LogLevel};

/// More than anybody would wait for.
const MOST_APPROVALS: usize = 16;
const LONGEST_NAME: usize = 200;

/// The strictest action for every kind. A kind that the house is silent about is a fault: nobody said what to do.
pub(super) fn actions(heard: &Heard<'_>, facts: &Facts) -> Result<BTreeMap<String, String>, Unusable> {
    let mut strictest: BTreeMap<&str, usize> = BTreeMap::new();
    let mut by_house: BTreeSet<&str> = BTreeSet::new();
    for (said, value) in heard.said("actions") {
        let package = &said.package;
        let table = value.as_object().map_err(|_| format!("{package}: actions needs objects of kind to action"))?;
        for (kind, action) in table.iter() {
            let kind = known(&KINDS, kind).ok_or_else(|| format!("{package}: actions names an unknown kind"))?;
            let action =
                known(&ACTIONS, action).ok_or_else(|| format!("{package}: unknown action for {}", KINDS[kind]))?;
            let at = strictest.entry(KINDS[kind]).or_insert(action);
            *at = action.max(*at);
            if said.layer == Scope::House {
                by_house.insert(KINDS[kind]);
            }
        }
    }
    if facts.findings.keys().any(|kind| !KINDS.contains(&kind.as_str())) {
        return Err("a finding is of an unknown kind".into());
    }
    if let Some(kind) = KINDS.into_iter().find(|kind| !by_house.contains(kind)) {
        return Err(format!("no rule says what to do about {kind}"));
    }
    Ok(strictest.into_iter().map(|(kind, action)| (kind.to_owned(), ACTIONS[action].to_owned())).collect())
}

fn known(names: &[&str], value: &Value) -> Option<usize> {
    let name = value.as_string().ok()?;
    names.iter().position(|known| *known == name.as_ref())
}

pub(super) fn max_output_tokens(heard: &Heard<'_>) -> Result<Option<u64>, Unusable> {
    let mut lowest: Option<u64> = None;
    for (package, value) in heard.values("max_output_tokens") {
        let cap = value.as_u64().ok().filter(|cap| *cap > 0);
        let cap = cap.ok_or_else(|| format!("{package}: max_output_tokens needs whole numbers above 0"))?;
        lowest = Some(lowest.map_or(cap, |lowest| lowest.min(cap)));
    }
    Ok(lowest)
}

/// The lowest, written in one way.
pub(super) fn max_cost_usd(heard: &Heard<'_>) -> Result<Option<String>, Unusable> {
    let mut lowest: Option<u64> = None;
    for (package, value) in heard.values("max_cost_usd") {
        let nanos = value.as_string().ok().and_then(|text| nano_usd(text)).filter(|nanos| *nanos > 0);
        let nanos = nanos.ok_or_else(|| {
            format!("{package}: max_cost_usd needs USD above 0 as text, \"0.25\", with at most 9 decimals")
        })?;
        lowest = Some(lowest.map_or(nanos, |lowest| lowest.min(nanos)));
    }
    Ok(lowest.map(|nanos| {
        let text = format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000);
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    }))
}

/// USD as a plain decimal: at most nine digits on either side of the point.
fn nano_usd(text: &str) -> Option<u64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |digits: &str| (1..=9).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    if !is_number(whole) || !is_number(part) {
        return None;
    }
    Some(whole.parse::<u64>().ok()? * 1_000_000_000 + format!("{part:0<9}").parse::<u64>().ok()?)
}

/// Kept only if somebody says so, for the shortest time; 0 says no. Who wants it only read is heard too.
pub(super) fn cache(heard: &Heard<'_>) -> Result<Option<CacheRule>, Unusable> {
    let mut strictest: Option<CacheRule> = None;
    for (package, value) in heard.values("cache") {
        let rule = cache_rule(value).ok_or_else(|| {
            format!("{package}: cache needs ttl_seconds, a whole number, and beside it only mode, read or read_write")
        })?;
        strictest = Some(match strictest {
            None => rule,
            Some(other) => {
                CacheRule { ttl_seconds: rule.ttl_seconds.min(other.ttl_seconds), mode: rule.mode.min(other.mode) }
            }
        });
    }
    Ok(strictest.filter(|rule| rule.ttl_seconds > 0))
}

fn cache_rule(value: &Value) -> Option<CacheRule> {
    let members = value.as_object().ok()?;
    let ttl_seconds = members.get(&Value::from("ttl_seconds"))?.as_u64().ok()?;
    let (mode, known) = match members.get(&Value::from("mode")) {
        None => (CacheMode::default(), 1),
        Some(mode) => match mode.as_string().ok()?.as_ref() {
            "read" => (CacheMode::Read, 2),
            "read_write" => (CacheMode::ReadWrite, 2),
            _ => return None,
        },
    };
    (members.len() == known).then_some(CacheRule { ttl_seconds, mode })
}

/// All of them, by name: the first reason for one is told.
pub(super) fn approvals(heard: &Heard<'_>) -> Result<Vec<Approval>, Unusable> {
    let mut approvals: BTreeMap<String, String> = BTreeMap::new();
    for (package, value) in heard.values("approvals") {
        let (name, reason) = approval(value)
            .ok_or_else(|| format!("{package}: approvals needs exactly name, of a-z, 0-9, _ and -, and reason"))?;
        approvals.entry(name).or_insert(reason);
    }
    // Leaving one out would open.
    if approvals.len() > MOST_APPROVALS {
        return Err(format!("more than {MOST_APPROVALS} approvals are asked for at once"));
    }
    Ok(approvals.into_iter().map(|(name, reason)| Approval { name, reason }).collect())
}

fn approval(value: &Value) -> Option<(String, String)> {
    let members = value.as_object().ok().filter(|members| members.len() == 2)?;
    let text = |name: &str| members.get(&Value::from(name))?.as_string().ok();
    let (name, reason) = (text("name")?, text("reason")?);
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-';
    let is_name = (1..=64).contains(&name.len()) && name.bytes().all(plain);
    is_name.then(|| (name.to_string(), told(reason)))
}

pub(super) fn remove_tools(heard: &Heard<'_>) -> Result<Vec<String>, Unusable> {
    let mut names = BTreeSet::new();
    for (package, value) in heard.values("remove_tools") {
        let name = value.as_string().ok().filter(|name| (1..=LONGEST_NAME).contains(&name.len()));
        let name = name.ok_or_else(|| format!("{package}: remove_tools needs names of tools, * for any letters"))?;
        names.insert(name.to_string());
    }
    Ok(names.into_iter().collect())
}

pub(super) fn log(heard: &Heard<'_>) -> Result<LogLevel, Unusable> {
    let mut strictest = LogLevel::default();
    for (package, value) in heard.values("log") {
        let level = match value.as_string().ok().map(|text| text.to_string()).as_deref() {
            Some("result") => LogLevel::Result,
            Some("facts") => LogLevel::Facts,
            _ => return Err(format!("{package}: log needs result or facts")),
        };
        strictest = strictest.min(level);
    }
    Ok(strictest)
}

/// All that is said. A tag with two values would be covered by neither scope or by both: a fault.
pub(super) fn tags(heard: &Heard<'_>) -> Result<BTreeMap<String, String>, Unusable> {
    let mut tags: BTreeMap<String, String> = BTreeMap::new();
    for (package, value) in heard.values("tags") {
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
    Ok(tags)
}

/// The regions that every bound has in common; none if there is no bound.
pub(super) fn regions(heard: &Heard<'_>) -> Result<Option<BTreeSet<String>>, Unusable> {
    let mut common: Option<BTreeSet<String>> = None;
    for (package, value) in heard.values("regions") {
        let bound = texts(value).ok_or_else(|| format!("{package}: regions needs lists of names"))?;
        common = Some(match common {
            None => bound,
            Some(common) => common.intersection(&bound).cloned().collect(),
        });
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
