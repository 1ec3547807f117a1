//! What one configuration says otherwise than another: paths, never values. Pure.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// So many are told one by one.
const MOST: usize = 200;

/// Settings that are new, gone or other, in the order of the new configuration; of lists with ids the items, and of the rules' data
/// no more than that it changed.
pub fn differences(old: &Value, new: &Value) -> Vec<String> {
    let mut found = Vec::new();
    compare("", old, new, &mut found);
    if found.len() > MOST {
        let more = found.len() - MOST;
        found.truncate(MOST);
        found.push(format!("and {more} more"));
    }
    found
}

/// Whether a setting can change while the house runs. Of a section that is not named here nobody has said so yet.
pub fn is_live(path: &str) -> bool {
    let section = path.split(['.', '[']).next().unwrap_or(path);
    match section {
        "providers" | "models" | "prices" | "markup" | "policies" | "alerts" | "regions" | "vault" | "egress"
        | "reload" => true,
        // Whoever is connected was connected under the old one, and the pool outlives all calls.
        "deadlines" => path != "deadlines.connect_ms",
        "log" => path == "log.filter",
        _ => false,
    }
}

fn compare(path: &str, old: &Value, new: &Value, found: &mut Vec<String>) {
    let none = Map::new();
    match (old, new) {
        _ if old == new => {}
        _ if path == "policies.data" => found.push(path.to_owned()),
        (Value::Object(old), Value::Object(new)) => members(path, old, new, found),
        // A section that comes or goes is as one that is empty.
        (Value::Null, Value::Object(new)) => members(path, &none, new, found),
        (Value::Object(old), Value::Null) => members(path, old, &none, found),
        _ => match (items(old), items(new)) {
            (Some(old), Some(new)) if !old.is_empty() || !new.is_empty() => {
                let before = found.len();
                listed(path, &old, &new, found);
                // The same items in another order.
                if found.len() == before {
                    found.push(path.to_owned());
                }
            }
            _ => found.push(path.to_owned()),
        },
    }
}

fn members(path: &str, old: &Map<String, Value>, new: &Map<String, Value>, found: &mut Vec<String>) {
    let gone = old.keys().filter(|name| !new.contains_key(*name));
    for name in new.keys().chain(gone) {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let side = |of: &Map<String, Value>| of.get(name).cloned().unwrap_or_default();
        compare(&path, &side(old), &side(new), found);
    }
}

type Items<'a> = Vec<(&'a str, &'a Value)>;

/// The items of a list by their ids; nothing, if it is no such list.
fn items(value: &Value) -> Option<Items<'_>> {
    match value {
        Value::Null => Some(Vec::new()),
        Value::Array(items) => items.iter().map(|item| Some((item.get("id")?.as_str()?, item))).collect(),
        _ => None,
    }
}

fn listed(path: &str, old: &Items<'_>, new: &Items<'_>, found: &mut Vec<String>) {
    let mut told = BTreeSet::new();
    for (id, _) in new.iter().chain(old) {
        let of = |side: &Items<'_>| side.iter().find(|(other, _)| other == id).map(|(_, item)| (*item).clone());
        if told.insert(*id) && of(old) != of(new) {
            found.push(format!("{path}[{id}]"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(old: Value, new: Value, expected: &[&str]) {
        assert_eq!(differences(&old, &new), expected, "{old} {new}");
    }

    #[test]
    fn what_is_other_is_named_by_its_path_and_never_by_its_value() {
        check(json!({}), json!({}), &[]);
        check(json!({"listen": "a"}), json!({"listen": "b"}), &["listen"]);
        check(
            json!({"log": {"filter": "info", "format": "text"}}),
            json!({"log": {"filter": "debug"}}),
            &["log.filter", "log.format"],
        );
        check(json!({}), json!({"deadlines": {"total_ms": 1}}), &["deadlines.total_ms"]);
        check(json!({"markup": 1}), json!({"markup": null}), &["markup"]);
        let old = json!({"providers": [{"id": "a"}, {"id": "b", "region": "us"}, {"id": "c"}]});
        let new = json!({"providers": [{"id": "d"}, {"id": "b", "region": "eu"}, {"id": "a"}]});
        check(old.clone(), new, &["providers[d]", "providers[b]", "providers[c]"]);
        let turned = json!({"providers": [{"id": "c"}, {"id": "b", "region": "us"}, {"id": "a"}]});
        check(old.clone(), turned, &["providers"]);
        check(old, json!({}), &["providers[a]", "providers[b]", "providers[c]"]);
        check(json!({"trusted_proxies": ["a"]}), json!({"trusted_proxies": ["b"]}), &["trusted_proxies"]);
        check(
            json!({"policies": {"data": {"a": {"b": 1}}}}),
            json!({"policies": {"data": {"a": {"b": 2}}}}),
            &["policies.data"],
        );
        check(
            json!({"prices": {"a/b": {"input": 1}}}),
            json!({"prices": {"a/b": {"input": 2}}}),
            &["prices.a/b.input"],
        );
    }

    #[test]
    fn only_what_is_known_to_be_live_is_live() {
        for path in
            ["providers[a]", "models", "prices.a/b.input", "markup", "policies.dir", "deadlines.total_ms", "log.filter"]
        {
            assert!(is_live(path), "{path}");
        }
        for path in ["listen", "database.url", "data_dir", "deadlines.connect_ms", "log.format", "limits.x", "future"] {
            assert!(!is_live(path), "{path}");
        }
    }
}
