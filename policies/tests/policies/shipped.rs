//! The shipped rules, alone and with settings.

use policies::{Code, PolicySet, shipped, test};
use serde_json::json;

use crate::{allowed, denied, facts, policy};

#[test]
fn every_shipped_rule_passes_its_own_tests() {
    let report = test(&shipped(), json!({})).unwrap_or_else(|faults| panic!("{faults:#?}"));
    assert!(report.passed(), "{:#?}", report.failures().collect::<Vec<_>>());
    for source in shipped().iter().filter(|source| !source.path.ends_with("_test.rego")) {
        let package = source.path.trim_start_matches("alfred/").trim_end_matches(".rego");
        let tests = format!("data.alfred.rules.{package}_test.");
        assert!(report.results.iter().any(|result| result.name.starts_with(&tests)), "{package} has no test");
    }
}

#[test]
fn by_default_every_configured_target_is_allowed_and_findings_are_handled() {
    let obligations = allowed(policy(json!({}), &[]).decide(&facts()));
    assert_eq!(obligations.targets, ["openai/gpt-4o", "azure-eu/gpt-4o", "azure-ch/gpt-4o"]);
    assert_eq!(obligations.max_output_tokens, None);
    assert_eq!(obligations.cache, None);
    assert_eq!(obligations.regions, None);
    assert_eq!(obligations.routing, "configured order");
    let actions: Vec<_> = obligations.actions.iter().map(|(kind, action)| format!("{kind} {action}")).collect();
    assert_eq!(
        actions,
        ["api_key block", "email redact", "iban redact", "payment_card redact", "phone redact", "us_ssn redact"]
    );
}

#[test]
fn a_key_s_list_admits_by_the_name_asked_or_by_the_target() {
    let check = |list: &[&str], expected: &[&str]| {
        let mut facts = facts();
        facts.caller.models = Some(list.iter().map(|name| (*name).to_owned()).collect());
        let decision = policy(json!({}), &[]).decide(&facts);
        if expected.is_empty() {
            assert_eq!(denied(decision), [Code::ModelNotAllowed], "{list:?}");
        } else {
            assert_eq!(allowed(decision).targets, expected, "{list:?}");
        }
    };
    check(&["gpt-4o"], &["openai/gpt-4o", "azure-eu/gpt-4o", "azure-ch/gpt-4o"]);
    check(&["azure-ch/gpt-4o", "openai/gpt-4o"], &["openai/gpt-4o", "azure-ch/gpt-4o"]);
    check(&["gpt-5"], &[]);
    check(&[], &[]);
}

#[test]
fn a_fallback_is_not_opened_by_the_alias_before_it() {
    let mut facts = facts();
    facts.candidates[2].name = "other-alias".into();
    facts.caller.models = Some(vec!["gpt-4o".into()]);
    assert_eq!(allowed(policy(json!({}), &[]).decide(&facts)).targets, ["openai/gpt-4o", "azure-eu/gpt-4o"]);
}

#[test]
fn regions_bind_and_none_left_is_a_violation_of_residency() {
    let check = |residency: serde_json::Value, expected: &[&str]| {
        let decision = policy(json!({ "residency": residency }), &[]).decide(&facts());
        if expected.is_empty() {
            assert_eq!(denied(decision), [Code::ResidencyViolation]);
        } else {
            assert_eq!(allowed(decision).targets, expected);
        }
    };
    check(json!({"regions": ["eu", "ch"]}), &["azure-eu/gpt-4o", "azure-ch/gpt-4o"]);
    check(json!({"regions": ["eu", "ch"], "orgs": {"org_1": {"regions": ["ch", "us"]}}}), &["azure-ch/gpt-4o"]);
    check(json!({"regions": ["jp"]}), &[]);
    check(json!({"regions": []}), &[]);
    check(json!({"regions": ["eu"], "teams": {"team_1": {"regions": ["us"]}}}), &[]);
    check(json!({"orgs": {"org_2": {"regions": ["jp"]}}}), &["openai/gpt-4o", "azure-eu/gpt-4o", "azure-ch/gpt-4o"]);
}

#[test]
fn a_target_without_a_region_lies_in_none() {
    let mut facts = facts();
    facts.candidates[1].region = String::new();
    let set = policy(json!({"residency": {"regions": ["", "ch"]}}), &[]);
    assert_eq!(allowed(set.decide(&facts)).targets, ["azure-ch/gpt-4o"]);
}

#[test]
fn settings_reach_the_obligations() {
    let obligations = allowed(
        policy(
            json!({
                "safety": {"actions": {"email": "block"}, "orgs": {"org_1": {"actions": {"phone": "allow"}}}},
                "caps": {"max_output_tokens": 4000, "models": {"azure-eu/gpt-4o": {"max_output_tokens": 900}}},
                "cache": {"enabled": true, "ttl_seconds": 600, "models": {"gpt-4o": {"enabled": true, "ttl_seconds": 60}}},
                "residency": {"regions": ["eu"]},
            }),
            &[],
        )
        .decide(&facts()),
    );
    assert_eq!(obligations.actions["email"], "block");
    assert_eq!(obligations.actions["phone"], "allow");
    assert_eq!(obligations.max_output_tokens, Some(900));
    assert_eq!(obligations.cache.unwrap().ttl_seconds, 60);
    assert_eq!(obligations.regions.unwrap(), ["eu"]);
    assert_eq!(obligations.routing, "configured order; 1 of 3 in eu");
}

#[test]
fn past_a_soft_limit_that_wants_it_the_cheaper_model_is_named() {
    let set = policy(json!({"downgrade": {"models": {"gpt-4o": "gpt-4o-mini"}}}), &[]);
    let mut facts = facts();
    assert_eq!(allowed(set.decide(&facts)).downgrade, None);
    facts.budget.downgrade = true;
    let obligations = allowed(set.decide(&facts));
    assert_eq!(obligations.downgrade.as_deref(), Some("gpt-4o-mini"));
    assert_eq!(obligations.targets.len(), 3, "where it is not to be had, the call goes where it would have gone");
    assert_eq!(allowed(policy(json!({}), &[]).decide(&facts)).downgrade, None, "nothing cheaper is named");
}

#[test]
fn the_revision_follows_texts_and_data_and_not_their_order() {
    let compile = |sources: &[policies::Source], data| {
        PolicySet::compile(sources, data, policies::Limits::default()).unwrap().revision().to_owned()
    };
    let mut sources = shipped();
    let first = compile(&sources, json!({"a": 1, "b": {"x": 1, "y": 2}}));
    sources.reverse();
    assert_eq!(compile(&sources, json!({"b": {"y": 2, "x": 1}, "a": 1})), first);
    assert_ne!(compile(&sources, json!({"a": 2, "b": {"x": 1, "y": 2}})), first);
    sources[0].text.push_str("\n# changed");
    sources[1].text.push_str("\n# changed");
    assert_ne!(compile(&sources, json!({"a": 1, "b": {"x": 1, "y": 2}})), first);
    assert_eq!(first.len(), 12);
}

#[test]
fn many_threads_decide_at_once_and_alike() {
    let set = policy(json!({"residency": {"regions": ["eu", "ch"]}}), &[]);
    let refused = {
        let mut facts = facts();
        facts.caller.models = Some(Vec::new());
        facts
    };
    let (yes, no) = (set.decide(&facts()), set.decide(&refused));
    std::thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                for _ in 0..50 {
                    assert_eq!(set.decide(&facts()), yes);
                    assert_eq!(set.decide(&refused), no);
                }
            });
        }
    });
}
