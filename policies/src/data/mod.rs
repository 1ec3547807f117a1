//! The settings under `data.alfred`: what the shipped rules read. Anything unknown there is a fault, because a
//! misspelt bound would silently bind nothing. One row a rule: those of base.rs and library.rs.

mod base;
mod library;
mod values;

use std::collections::BTreeSet;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::Fault;

/// What a layer's own packages are named in, to be tried without effect.
const LOG_ONLY: &str = "log_only";

/// The settings of one shipped rule: what serde can say of them, and what it cannot.
trait Setting: DeserializeOwned {
    /// What the types leave open.
    fn wrong(&self) -> Vec<Wrong> {
        Vec::new()
    }
}

/// What is wrong with a setting, and where below it: `orgs.org_1`, or nothing for the setting itself.
struct Wrong {
    path: String,
    message: String,
}

/// A name below `data.alfred`, and how what stands there is checked.
type Row = (&'static str, fn(&Value) -> Vec<Wrong>);

/// One row's check.
fn read<S: Setting>(value: &Value) -> Vec<Wrong> {
    match serde_path_to_error::deserialize::<_, S>(value) {
        Ok(setting) => setting.wrong(),
        Err(error) => {
            let path = error.path().to_string();
            let path = if path == "." { String::new() } else { path };
            vec![Wrong { path, message: error.into_inner().to_string() }]
        }
    }
}

/// A struct that holds exactly the members that it names. Its fields are read by the rules; here they are only checked.
macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident { $($fields:tt)* })+) => {$(
        $(#[$doc])*
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        #[expect(dead_code, reason = "read by the rules; here only to be checked")]
        struct $name { $($fields)* }
    )+};
}
use settings;

impl Setting for BTreeSet<String> {}

/// Every name that there is.
fn rows() -> impl Iterator<Item = Row> {
    let own: [Row; 1] = [(LOG_ONLY, read::<BTreeSet<String>>)];
    own.into_iter().chain(base::ROWS.iter().copied()).chain(library::ROWS.iter().copied())
}

/// Every name that may stand below `data.alfred`.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    rows().map(|(name, _)| name)
}

/// Everything wrong with the data that can be seen without rules.
pub(crate) fn faults(data: &Value) -> Vec<Fault> {
    let fault = |path: String, message: String| Fault { path, message, ..Fault::default() };
    let Some(data) = data.as_object() else {
        return vec![fault("data".into(), "the data must be an object".into())];
    };
    let Some(alfred) = data.get("alfred") else {
        return Vec::new();
    };
    if let Some(path) = null(alfred, "data.alfred") {
        return vec![fault(path, "null says nothing: leave it out".into())];
    }
    let Some(settings) = alfred.as_object() else {
        return vec![fault("data.alfred".into(), "the settings must be an object".into())];
    };
    let mut faults = Vec::new();
    for (name, value) in settings {
        let place = format!("data.alfred.{name}");
        match rows().find(|(known, _)| known == name) {
            None => {
                let known: Vec<&str> = rows().map(|(name, _)| name).collect();
                faults.push(fault(place, format!("there is no such setting, but {}", known.join(", "))));
            }
            Some((_, check)) => faults.extend(check(value).into_iter().map(|wrong| match wrong.path.as_str() {
                "" => fault(place.clone(), wrong.message),
                path if path.starts_with('[') => fault(format!("{place}{path}"), wrong.message),
                path => fault(format!("{place}.{path}"), wrong.message),
            })),
        }
    }
    faults
}

/// The packages that are only to be told of: `data.alfred.log_only`.
pub(crate) fn log_only(data: &Value) -> BTreeSet<String> {
    let named = data.get("alfred").and_then(|alfred| alfred.get(LOG_ONLY)).and_then(Value::as_array);
    named.into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// The first place that holds null.
fn null(value: &Value, path: &str) -> Option<String> {
    match value {
        Value::Null => Some(path.to_owned()),
        Value::Object(members) => members.iter().find_map(|(name, value)| null(value, &format!("{path}.{name}"))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(alfred: serde_json::Value, expected: &[&str]) {
        let found: Vec<String> = faults(&json!({ "alfred": alfred })).iter().map(|fault| fault.path.clone()).collect();
        assert_eq!(found, expected, "{alfred}");
    }

    #[test]
    fn every_setting_is_known() {
        check(json!({}), &[]);
        check(json!({"residency": {"regions": ["eu"], "orgs": {"org_1": {"regions": []}}}}), &[]);
        check(
            json!({"safety": {"actions": {"us_ssn": "block"}, "teams": {"t": {"actions": {"email": "allow"}}}}}),
            &[],
        );
        check(json!({"caps": {"max_output_tokens": 1, "models": {"gpt-4o": {"max_output_tokens": 5}}}}), &[]);
        check(json!({"downgrade": {"models": {"gpt-4o": "gpt-4o-mini"}, "orgs": {"org_1": {"models": {}}}}}), &[]);
        check(json!({"cache": {"enabled": true, "ttl_seconds": 60, "models": {"m": {"enabled": false}}}}), &[]);
    }

    #[test]
    fn what_is_unknown_or_wrong_is_named() {
        check(json!({"residencies": {}}), &["data.alfred.residencies"]);
        check(json!({"residency": {"region": ["eu"]}}), &["data.alfred.residency.region"]);
        check(json!({"residency": {"regions": "eu"}}), &["data.alfred.residency.regions"]);
        check(json!({"safety": {"actions": {"emial": "block"}}}), &["data.alfred.safety.actions.emial"]);
        check(json!({"safety": {"actions": {"email": "drop"}}}), &["data.alfred.safety.actions.email"]);
        check(
            json!({"caps": {"orgs": {"o": {"max_output_tokens": 0}}}}),
            &["data.alfred.caps.orgs.o.max_output_tokens"],
        );
        check(json!({"cache": {"enabled": true}}), &["data.alfred.cache"]);
        check(json!({"downgrade": {"gpt-4o": "gpt-4o-mini"}}), &["data.alfred.downgrade.gpt-4o"]);
        check(json!({"downgrade": {"models": {"gpt-4o": ["gpt-4o-mini"]}}}), &["data.alfred.downgrade.models.gpt-4o"]);
        check(json!({"cache": {"orgs": {"o": {"enabled": true}}}}), &["data.alfred.cache.orgs.o"]);
        check(json!({"caps": {"max_output_tokens": null}}), &["data.alfred.caps.max_output_tokens"]);
        check(json!(7), &["data.alfred"]);
        assert_eq!(faults(&json!([]))[0].path, "data");
    }

    #[test]
    fn every_fault_is_told_and_not_the_first_alone() {
        check(
            json!({"caps": {"max_output_tokens": 0}, "residency": {"region": []}, "log_only": ["finance"]}),
            &["data.alfred.caps.max_output_tokens", "data.alfred.residency.region"],
        );
    }

    #[test]
    fn rules_that_are_tried_are_named_by_their_packages() {
        check(json!({"log_only": ["finance", "hours"]}), &[]);
        check(json!({"log_only": "finance"}), &["data.alfred.log_only"]);
        check(json!({"log_only": [7]}), &["data.alfred.log_only[0]"]);
        let named = log_only(&json!({"alfred": {"log_only": ["hours", "finance"]}}));
        assert_eq!(named.into_iter().collect::<Vec<_>>(), ["finance", "hours"]);
        assert!(log_only(&json!({})).is_empty());
    }

    #[test]
    fn no_setting_has_two_rows() {
        let mut names: Vec<&str> = rows().map(|(name, _)| name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn the_kinds_are_those_of_a_decision() {
        for kind in crate::KINDS {
            check(json!({"safety": {"actions": {kind: "block"}}}), &[]);
        }
        for action in crate::ACTIONS {
            check(json!({"safety": {"actions": {"email": action}}}), &[]);
        }
    }
}
