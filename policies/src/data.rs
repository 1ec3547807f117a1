//! The settings under `data.alfred`: what the shipped rules read. Anything unknown there is a fault, because a
//! misspelt bound would silently bind nothing.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use serde::Deserialize;

use crate::Fault;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read by the rules; here only to be checked")]
struct Settings {
    residency: Option<Residency>,
    safety: Option<Safety>,
    caps: Option<Caps>,
    cache: Option<Cache>,
    downgrade: Option<Downgrade>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read by the rules; here only to be checked")]
struct Downgrade {
    #[serde(default)]
    models: BTreeMap<String, String>,
    #[serde(default)]
    orgs: BTreeMap<String, Cheaper>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read by the rules; here only to be checked")]
struct Cheaper {
    models: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read by the rules; here only to be checked")]
struct Residency {
    regions: Option<Vec<String>>,
    #[serde(default)]
    orgs: BTreeMap<String, Regions>,
    #[serde(default)]
    teams: BTreeMap<String, Regions>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read by the rules; here only to be checked")]
struct Regions {
    regions: Vec<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read by the rules; here only to be checked")]
struct Safety {
    actions: Option<ByKind>,
    #[serde(default)]
    orgs: BTreeMap<String, Actions>,
    #[serde(default)]
    teams: BTreeMap<String, Actions>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read by the rules; here only to be checked")]
struct Actions {
    actions: ByKind,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read by the rules; here only to be checked")]
struct ByKind {
    email: Option<Action>,
    payment_card: Option<Action>,
    iban: Option<Action>,
    us_ssn: Option<Action>,
    phone: Option<Action>,
    api_key: Option<Action>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Allow,
    Redact,
    Block,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read by the rules; here only to be checked")]
struct Caps {
    max_output_tokens: Option<NonZeroU64>,
    #[serde(default)]
    orgs: BTreeMap<String, Cap>,
    #[serde(default)]
    teams: BTreeMap<String, Cap>,
    #[serde(default)]
    models: BTreeMap<String, Cap>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read by the rules; here only to be checked")]
struct Cap {
    max_output_tokens: NonZeroU64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cache {
    enabled: Option<bool>,
    ttl_seconds: Option<NonZeroU64>,
    #[serde(default)]
    orgs: BTreeMap<String, Kept>,
    #[serde(default)]
    models: BTreeMap<String, Kept>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    enabled: bool,
    ttl_seconds: Option<NonZeroU64>,
}

/// Everything wrong with the data that can be seen without rules.
pub(crate) fn faults(data: &serde_json::Value) -> Vec<Fault> {
    let fault = |path: String, message: String| vec![Fault { path, message, ..Fault::default() }];
    let Some(data) = data.as_object() else {
        return fault("data".into(), "the data must be an object".into());
    };
    let Some(alfred) = data.get("alfred") else {
        return Vec::new();
    };
    if let Some(path) = null(alfred, "data.alfred") {
        return fault(path, "null says nothing: leave it out".into());
    }
    let settings: Settings = match serde_path_to_error::deserialize(alfred) {
        Ok(settings) => settings,
        Err(error) => {
            let place = error.path().to_string();
            let path = if place == "." { "data.alfred".into() } else { format!("data.alfred.{place}") };
            return fault(path, error.into_inner().to_string());
        }
    };
    untimed(&settings).into_iter().flat_map(|path| fault(path, "enabled needs ttl_seconds beside it".into())).collect()
}

/// The first place that holds null.
fn null(value: &serde_json::Value, path: &str) -> Option<String> {
    match value {
        serde_json::Value::Null => Some(path.to_owned()),
        serde_json::Value::Object(members) => {
            members.iter().find_map(|(name, value)| null(value, &format!("{path}.{name}")))
        }
        _ => None,
    }
}

/// Where the cache is turned on without saying for how long.
fn untimed(settings: &Settings) -> Vec<String> {
    let Some(cache) = &settings.cache else {
        return Vec::new();
    };
    let mut paths = Vec::new();
    if cache.enabled == Some(true) && cache.ttl_seconds.is_none() {
        paths.push("data.alfred.cache".to_owned());
    }
    for (level, settings) in [("orgs", &cache.orgs), ("models", &cache.models)] {
        for (name, kept) in settings {
            if kept.enabled && kept.ttl_seconds.is_none() {
                paths.push(format!("data.alfred.cache.{level}.{name}"));
            }
        }
    }
    paths
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
    fn the_kinds_are_those_of_a_decision() {
        for kind in crate::KINDS {
            check(json!({"safety": {"actions": {kind: "block"}}}), &[]);
        }
        for action in crate::ACTIONS {
            check(json!({"safety": {"actions": {"email": action}}}), &[]);
        }
    }
}
