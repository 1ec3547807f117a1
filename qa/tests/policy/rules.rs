//! Every shipped rule, under several settings and over hundreds of calls: both engines give the same contributions.

use std::collections::{BTreeMap, BTreeSet};

use policies::{Limits, PolicySet, shipped};
use serde_json::{Value, json};

use crate::calls::Draw;
use crate::{Job, Outcome, theirs};

/// How many calls each rule is asked about, over all its settings. `RULE_CALLS` asks for more.
const CALLS: usize = 300;

/// Settings to try each rule with.
fn settings() -> BTreeMap<String, Vec<Value>> {
    serde_json::from_str(include_str!("../../policy/settings.json")).expect("settings by rule")
}

/// The modules that a rule needs: itself and those it imports. As tests, since a helper that this rule uses in part would be a fault.
fn modules(name: &str) -> BTreeMap<String, String> {
    let all: BTreeMap<String, String> = shipped().into_iter().map(|it| (it.path, it.text)).collect();
    let of = |name: &str| (format!("{name}_test.rego"), all[&format!("alfred/{name}.rego")].clone());
    let mut modules = BTreeMap::from([of(name)]);
    for helper in ["callers", "patterns"] {
        if modules[&format!("{name}_test.rego")].contains(&format!("data.alfred.rules.{helper}")) {
            modules.extend([of(helper)]);
        }
    }
    modules
}

fn rules() -> Vec<String> {
    let names = shipped().into_iter().filter_map(|it| {
        let name = it.path.strip_prefix("alfred/")?.strip_suffix(".rego")?.to_owned();
        (!name.ends_with("_test")).then_some(name)
    });
    names.filter(|name| name != "callers" && name != "patterns").collect()
}

/// Sets come as lists, each engine's in an order of its own.
fn unordered(outcome: &Outcome) -> Outcome {
    let Outcome::Is(Value::Object(members)) = outcome else {
        return outcome.clone();
    };
    let sorted = |value: &Value| match value {
        Value::Array(items) => {
            let mut items = items.clone();
            items.sort_by_key(Value::to_string);
            Value::from(items)
        }
        value => value.clone(),
    };
    Outcome::Is(members.iter().map(|(name, value)| (name.clone(), sorted(value))).collect())
}

#[test]
fn every_shipped_rule_says_the_same_in_an_independent_engine() {
    let calls = std::env::var("RULE_CALLS").ok().and_then(|calls| calls.parse().ok()).unwrap_or(CALLS);
    let settings = settings();
    let mut jobs = Vec::new();
    for (seed, name) in rules().into_iter().enumerate() {
        let own = settings.get(&name).cloned().unwrap_or_default();
        let variants: Vec<Value> =
            own.into_iter().map(|it| json!({"alfred": {name.clone(): it}})).chain([json!({})]).collect();
        let mut draw = Draw::of(seed as u64 + 1);
        for data in &variants {
            let inputs = (0..calls.div_ceil(variants.len())).map(|_| draw.call()).collect();
            let query = format!("data.alfred.rules.{name}");
            jobs.push(Job { modules: modules(&name), data: data.clone(), query, strict: false, inputs });
        }
    }
    let theirs = theirs(&jobs);
    let mut said: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut differences = Vec::new();
    for (job, theirs) in jobs.iter().zip(&theirs) {
        let ours = job.ours();
        assert_eq!(ours.len(), theirs.len());
        for (input, (ours, theirs)) in job.inputs.iter().zip(ours.iter().zip(theirs)) {
            if unordered(ours) != unordered(theirs) {
                differences
                    .push(format!("{} with {}\n{input}\nours   {ours:?}\ntheirs {theirs:?}", job.query, job.data));
            }
            said.entry(&job.query).or_default().insert(format!("{:?}", unordered(ours)));
        }
    }
    let first = differences.first().map(String::as_str).unwrap_or_default();
    let rules: BTreeSet<&str> = differences.iter().filter_map(|it| it.split(' ').next()).collect();
    assert!(differences.is_empty(), "{} differences in {rules:?}, such as\n{first}", differences.len());
    for (query, said) in said {
        assert!(
            said.len() > 1 || query.ends_with(".routing"),
            "{query} never says anything else: the calls do not meet its settings"
        );
    }
}

#[test]
fn the_settings_tried_are_those_that_the_house_takes() {
    let settings = settings();
    for name in rules() {
        let own = settings.get(&name).map_or(&[][..], Vec::as_slice);
        assert!(!own.is_empty() || ["models", "routing"].contains(&name.as_str()), "{name} is tried with no settings");
        for setting in own {
            let data = json!({"alfred": {name.clone(): setting}});
            let limits = Limits { time: std::time::Duration::from_secs(30), ..Limits::default() };
            PolicySet::compile(&shipped(), data, limits).unwrap_or_else(|faults| panic!("{name}: {faults:?}"));
        }
    }
}
