//! What cannot be decided is denied, and says so to operators without input data.

use std::time::{Duration, Instant};

use policies::{Limits, PolicySet, eval, test};
use serde_json::json;

use crate::{allowed, facts, fault, policy, with};

/// A module that only misbehaves for org_1, so that it compiles.
fn check(rule: &str, expected: &str) {
    let text = format!("package alfred.rules.bad\n{rule}");
    let message = fault(policy(json!({}), &[&text]).decide(&facts()));
    assert!(message.contains(expected), "{rule}: {message}");
    assert!(!message.contains("org_1"), "{message}");
}

#[test]
fn a_rule_that_errs_denies_and_names_its_line() {
    check(
        "deny contains {\"code\": \"policy_denied\", \"message\": m} if {\n\tinput.caller.org == \"org_1\"\n\tm := lower([input.caller.org])\n}",
        "added/0.rego:4",
    );
    check(
        "deny contains \"x\" if limit == 3\nlimit := 1 if input.caller.org\nlimit := 2 if input.caller.org == \"org_1\"",
        "added/0.rego:4",
    );
}

#[test]
fn a_contribution_of_the_wrong_kind_denies() {
    let of = |what: &str| format!("{what} if input.caller.org == \"org_1\"");
    check(&of("deny contains \"no\""), "bad: deny needs");
    check(&of(r#"deny contains {"code": "teapot", "message": "m"}"#), "bad: deny needs");
    check(&of(r#"deny contains {"code": "policy_fault", "message": "m"}"#), "bad: deny needs");
    check(&of(r#"deny contains {"code": "policy_denied", "message": 5}"#), "bad: deny needs");
    check(&of(r#"deny contains {"code": "policy_denied", "message": "m", "extra": 1}"#), "bad: deny needs");
    check(&of(r#"actions contains {"emial": "block"}"#), "bad: actions names an unknown kind");
    check(&of(r#"actions contains {"email": "drop"}"#), "bad: unknown action for email");
    check(&of(r#"actions contains "email""#), "bad: actions needs");
    check(&of("downgrade contains 7"), "bad: downgrade needs names");
    check(&of(r#"downgrade contains """#), "bad: downgrade needs names");
    check(&of(r#"tags contains "ads""#), "bad: tags needs objects");
    check(&of(r#"tags contains {"team": 7}"#), "bad: tags needs objects");
    check(
        &of("tags contains {\"team\": \"ads\"}\ntags contains {\"team\": \"search\"}"),
        "bad: a tag was given another value",
    );
    check(&of("max_output_tokens contains -1"), "bad: max_output_tokens needs");
    check(&of("max_output_tokens contains 1.5"), "bad: max_output_tokens needs");
    check(&of("max_output_tokens contains 0"), "bad: max_output_tokens needs");
    check(&of(r#"max_output_tokens contains "100""#), "bad: max_output_tokens needs");
    check(&of(r#"regions contains "eu""#), "bad: regions needs");
    check(&of("regions contains [1]"), "bad: regions needs");
    check(&of("cache contains true"), "bad: cache needs");
    check(&of(r#"cache contains {"ttl_seconds": 5, "shared": true}"#), "bad: cache needs");
    check(&of(r#"cache contains {"ttl_seconds": 5, "mode": "write"}"#), "bad: cache needs");
    check(&of("routing contains 1"), "bad: routing needs");
    check(&of(r#"deny contains {"code": "policy_denied", "message": "m", "log_only": "yes"}"#), "bad: deny needs");
    check(&of(r#"order contains "openai/gpt-4o""#), "bad: order needs lists of targets");
    check(&of("order contains [1]"), "bad: order needs lists of targets");
    check(&of(r#"order contains {"openai/gpt-4o"}"#), "bad: order needs lists of targets");
    check(&of("order contains [\"a\"]\norder contains [\"b\"]"), "bad: order was said otherwise by bad already");
    check(&of(r#"weights contains {"openai/gpt-4o": 0.5}"#), "bad: weights needs objects");
    check(&of(r#"weights contains {"openai/gpt-4o": -1}"#), "bad: weights needs objects");
    check(&of(r#"weights contains {"openai/gpt-4o": 1000001}"#), "bad: weights needs objects");
    check(&of("weights contains [1]"), "bad: weights needs objects");
    check(&of("weights contains {\"a\": 1}\nweights contains {\"a\": 2}"), "bad: weights was said otherwise");
    check(&of(r#"reroute contains """#), "bad: reroute needs names");
    check(&of("reroute contains 1"), "bad: reroute needs names");
    check(&of("max_cost_usd contains 0.25"), "bad: max_cost_usd needs");
    for cost in ["0", "-1", "1e3", "", ".5", "1.", "1.0000000001", "1234567890"] {
        check(&of(&format!("max_cost_usd contains \"{cost}\"")), "bad: max_cost_usd needs");
    }
    check(&of(r#"approvals contains "frontier""#), "bad: approvals needs");
    check(&of(r#"approvals contains {"name": "frontier"}"#), "bad: approvals needs");
    check(&of(r#"approvals contains {"name": "Frontier!", "reason": "r"}"#), "bad: approvals needs");
    check(&of(r#"approvals contains {"name": "f", "reason": "r", "by": "x"}"#), "bad: approvals needs");
    check(&of("remove_tools contains [\"shell\"]"), "bad: remove_tools needs names");
    check(&of(r#"remove_tools contains """#), "bad: remove_tools needs names");
    check(&of(r#"log contains "everything""#), "bad: log needs result or facts");
    check(&of("log contains true"), "bad: log needs result or facts");
    check(&of(r#"allow contains "evil/model""#), "bad: allow names a target that is no candidate");
    check(&of("allow contains 1"), "bad: allow needs");
}

#[test]
fn without_the_rules_that_say_so_nothing_is_allowed() {
    let only = |names: &[&str]| {
        let sources: Vec<_> = policies::shipped()
            .into_iter()
            .filter(|source| names.iter().any(|name| source.path.contains(name)))
            .collect();
        PolicySet::compile(&sources, json!({}), Limits::default()).unwrap()
    };
    assert_eq!(fault(only(&["nothing"]).decide(&facts())), "no rule says what to do about email");
    assert_eq!(fault(only(&["safety"]).decide(&facts())), "no rule admits anything");
    allowed(only(&["safety", "models"]).decide(&facts()));
}

#[test]
fn a_finding_of_an_unknown_kind_denies() {
    let mut facts = facts();
    facts.findings.insert("passport".into(), 1);
    assert_eq!(fault(policy(json!({}), &[]).decide(&facts)), "a finding is of an unknown kind");
}

#[test]
fn a_rule_that_runs_away_is_stopped_and_the_set_goes_on() {
    let set = PolicySet::compile(
        &with(&["package alfred.rules.slow\ndeny contains {\"code\": \"policy_denied\", \"message\": \"m\"} if {\n\tinput.caller.org == \"org_1\"\n\tall := numbers.range(1, 3000)\n\tcount([1 | some a in all; some b in all; some c in all; a + b == c]) == 0\n}"]),
        json!({}),
        Limits { time: Duration::from_millis(20), ..Limits::default() },
    )
    .unwrap();
    let started = Instant::now();
    assert_eq!(fault(set.decide(&facts())), "evaluation took longer than 20ms");
    assert!(started.elapsed() < Duration::from_secs(10));
    let mut other = facts();
    other.caller.org = "org_2".into();
    allowed(set.decide(&other));
}

#[test]
fn a_call_without_candidates_is_a_fault() {
    let mut facts = facts();
    facts.candidates.clear();
    crate::denied(policy(json!({}), &[]).decide(&facts));
}

#[test]
fn tests_that_are_false_undefined_or_wrong_have_failed() {
    let tests = r#"package acme_test
test_true if 1 == 1
test_false := false
test_undefined if input.nothing
test_wrong if lower(1) == 1
test_other := "yes""#;
    let mut sources = policies::shipped();
    sources.push(policies::Source::new("acme_test.rego", tests));
    let report = test(&sources, json!({})).unwrap();
    assert!(!report.passed());
    let failed: Vec<&str> = report.failures().map(|result| result.name.as_str()).collect();
    assert_eq!(
        failed,
        [
            "data.acme_test.test_false",
            "data.acme_test.test_other",
            "data.acme_test.test_undefined",
            "data.acme_test.test_wrong"
        ]
    );
}

#[test]
fn one_query_is_evaluated_by_hand() {
    let run = |query: &str| eval(&policies::shipped(), json!({"x": [1, 2]}), json!({"model": "m"}), query);
    assert_eq!(run("input.model").unwrap(), Some(json!("m")));
    assert_eq!(run("data.x[_]").unwrap(), Some(json!([1, 2])));
    assert_eq!(run("data.nothing").unwrap(), None);
    assert_eq!(run("data.alfred.rules.routing.routing").unwrap(), Some(json!(["configured order"])));
    assert!(run("data.alfred.main.decision").unwrap().unwrap()["deny"].is_object());
    assert_eq!(run("input.model ==").unwrap_err()[0].path, "query");
}
