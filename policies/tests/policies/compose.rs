//! Modules that an operator adds: deny wins, of duties the strictest, and nothing shipped is loosened.

use std::sync::Arc;

use policies::{
    CacheMode, CacheRule, Code, Decision, Keeping, Limits, LogLevel, Obligations, PolicySet, Rulebook, Scope,
};
use serde_json::json;

use crate::{allowed, denied, facts, policy};

#[test]
fn an_added_denial_wins() {
    let set = policy(
        json!({}),
        &[r#"package alfred.rules.office_hours
deny contains {"code": "policy_denied", "message": "closed at night"} if input.time.hour < 14"#],
    );
    let Decision::Deny(reasons) = set.decide(&facts()) else { panic!("allowed") };
    assert_eq!((reasons[0].code, reasons[0].message.as_str()), (Code::PolicyDenied, "closed at night"));
    let mut later = facts();
    later.time.hour = 14;
    allowed(set.decide(&later));
}

#[test]
fn every_package_that_speaks_of_targets_must_admit_one() {
    let finance = r#"package alfred.rules.finance
allow contains target if {
	some candidate in input.candidates
	candidate.provider != "openai"
	target := candidate.target
}"#;
    let obligations = allowed(policy(json!({}), &[finance]).decide(&facts()));
    assert_eq!(obligations.targets, ["azure-eu/gpt-4o", "azure-ch/gpt-4o"]);
    assert_eq!(obligations.routing, "configured order; 2 of 3 candidates admitted");

    let mut only_openai = facts();
    only_openai.caller.models = Some(vec!["openai/gpt-4o".into()]);
    assert_eq!(denied(policy(json!({}), &[finance]).decide(&only_openai)), [Code::PolicyDenied]);
}

#[test]
fn of_duties_the_strictest_holds() {
    let loose = r#"package alfred.rules.loose
actions contains {"email": "allow", "api_key": "redact"}
max_output_tokens contains 9000
regions contains ["eu", "ch", "us"]
cache contains {"ttl_seconds": 900}
routing contains "loose""#;
    let strict = r#"package alfred.rules.strict
actions contains {"phone": "block"}
max_output_tokens contains 100
regions contains {"eu", "us"}
cache contains {"ttl_seconds": 30}
routing contains "strict""#;
    let data = json!({"caps": {"max_output_tokens": 4000}, "residency": {"regions": ["eu", "ch"]}});
    for added in [[loose, strict], [strict, loose]] {
        let obligations = allowed(policy(data.clone(), &added).decide(&facts()));
        assert_eq!(obligations.actions["email"], "redact");
        assert_eq!(obligations.actions["phone"], "block");
        assert_eq!(obligations.actions["api_key"], "block");
        assert_eq!(obligations.max_output_tokens, Some(100));
        assert_eq!(obligations.regions.as_deref(), Some(&["eu".to_owned()][..]));
        assert_eq!(obligations.targets, ["azure-eu/gpt-4o"]);
        assert_eq!(obligations.cache.as_ref().unwrap().ttl_seconds, 30);
        assert_eq!(obligations.routing, "loose; configured order; strict; 1 of 3 in eu");
    }
}

#[test]
fn one_no_turns_the_cache_off() {
    let no = r#"package alfred.rules.fresh
cache contains {"ttl_seconds": 0} if input.request.tools == false"#;
    let data = json!({"cache": {"enabled": true, "ttl_seconds": 60}});
    assert!(allowed(policy(data.clone(), &[]).decide(&facts())).cache.is_some());
    assert!(allowed(policy(data.clone(), &[no]).decide(&facts())).cache.is_none());
    let off = json!({"cache": {"enabled": true, "ttl_seconds": 60, "orgs": {"org_1": {"enabled": false}}}});
    assert!(allowed(policy(off, &[]).decide(&facts())).cache.is_none());
}

#[test]
fn a_library_of_ones_own_may_be_read() {
    let library = "package acme.lib\nis_cheap(candidate) if to_number(candidate.price_input) < 1";
    let rule = r#"package alfred.rules.thrift
import data.acme.lib
deny contains {"code": "policy_denied", "message": "too dear"} if {
	not any_cheap
}
any_cheap if {
	some candidate in input.candidates
	lib.is_cheap(candidate)
}"#;
    let set = policy(json!({}), &[library, rule]);
    assert_eq!(denied(set.decide(&facts())), [Code::PolicyDenied]);
    let mut cheap = facts();
    cheap.candidates[1].price_input = Some("0.15".into());
    allowed(set.decide(&cheap));
}

#[test]
fn an_unknown_fact_opens_nothing() {
    let rule = r#"package alfred.rules.capped
max_output_tokens contains 50 if not is_small
is_small if input.request.max_output_tokens < 50"#;
    assert_eq!(allowed(policy(json!({}), &[rule]).decide(&facts())).max_output_tokens, Some(50));
}

#[test]
fn a_pattern_with_classes_and_flags_works() {
    let rule = r#"package alfred.rules.named
deny contains {"code": "policy_denied", "message": "no"} if regex.match(`(?i)^GPT-\d\w$`, input.request.model)"#;
    assert_eq!(denied(policy(json!({}), &[rule]).decide(&facts())), [Code::PolicyDenied]);
}

#[test]
fn the_example_of_the_readme_works() {
    let readme = include_str!("../../README.md");
    let blocks: Vec<&str> = readme.split("```rego\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    let mut sources = crate::with(&[blocks[0]]);
    sources.push(policies::Source::new("finance_test.rego", blocks[1]));
    let report = policies::test(&sources, json!({})).unwrap();
    assert!(report.passed(), "{:?}", report.failures().collect::<Vec<_>>());

    let set =
        policies::PolicySet::compile(&sources, json!({"finance": {"team": "team_1"}}), Default::default()).unwrap();
    let obligations = allowed(set.decide(&facts()));
    assert_eq!((obligations.actions["iban"].as_str(), obligations.max_output_tokens), ("block", Some(2000)));
    let mut images = facts();
    images.request.images = true;
    assert_eq!(denied(set.decide(&images)), [Code::PolicyDenied]);
    images.caller.team = None;
    allowed(set.decide(&images));
}

#[test]
fn tags_are_what_all_packages_say() {
    let one = r#"package alfred.rules.one
import rego.v1
tags contains {"project": "atlas"} if input.caller.tags.team == "ads""#;
    let other = r#"package alfred.rules.other
import rego.v1
tags contains {"env": "prod", "project": "atlas"}
tags contains {"tier": kind} if kind := input.request.kind"#;
    let tags = allowed(policy(json!({}), &[one, other]).decide(&facts())).tags;
    let tags: Vec<_> = tags.iter().map(|(name, text)| format!("{name} {text}")).collect();
    assert_eq!(tags, ["env prod", "project atlas", "tier chat.completions"]);
    assert!(allowed(policy(json!({}), &[]).decide(&facts())).tags.is_empty());
}

#[test]
fn of_several_cheaper_models_the_first_by_name_is_taken() {
    let rule = |name: &str, cheaper: &str| {
        format!(
            "package alfred.rules.{name}\nimport rego.v1\ndowngrade contains \"{cheaper}\" if input.budget.downgrade"
        )
    };
    let set = policy(json!({}), &[&rule("a", "small"), &rule("b", "mini")]);
    let mut facts = facts();
    facts.budget.downgrade = true;
    assert_eq!(allowed(set.decide(&facts)).downgrade.as_deref(), Some("mini"));
}

#[test]
fn money_tools_approvals_and_what_is_kept_are_as_strict_as_the_strictest() {
    let one = r#"package alfred.rules.one
max_cost_usd contains "0.50"
approvals contains {"name": "frontier", "reason": "dear"}
remove_tools contains "shell"
log contains "facts"
cache contains {"ttl_seconds": 60, "mode": "read"}"#;
    let other = r#"package alfred.rules.other
max_cost_usd contains "0.250"
approvals contains {"name": "frontier", "reason": "again"}
approvals contains {"name": "abroad", "reason": "far"}
remove_tools contains "mcp_*"
log contains "result"
cache contains {"ttl_seconds": 90}"#;
    for added in [[one, other], [other, one]] {
        let duties = allowed(policy(json!({}), &added).decide(&facts()));
        assert_eq!(duties.max_cost_usd.as_deref(), Some("0.25"));
        let approvals: Vec<_> = duties.approvals.iter().map(|it| (it.name.as_str(), it.reason.as_str())).collect();
        assert_eq!(approvals, [("abroad", "far"), ("frontier", "dear")], "one for a name");
        assert_eq!(duties.remove_tools, ["mcp_*", "shell"]);
        assert_eq!(duties.log, LogLevel::Result);
        assert_eq!(duties.cache, Some(CacheRule { ttl_seconds: 60, mode: CacheMode::Read }));
    }
    let duties = allowed(policy(json!({}), &[]).decide(&facts()));
    assert_eq!((duties.max_cost_usd, duties.log), (None, LogLevel::Facts));
    assert!(duties.approvals.is_empty() && duties.remove_tools.is_empty());
}

#[test]
fn an_order_puts_first_what_it_names_and_weights_stay_with_what_is_left() {
    let order = r#"package alfred.rules.near
order contains ["nowhere/else", "azure-ch/gpt-4o", "azure-eu/gpt-4o"]"#;
    let duties = allowed(policy(json!({}), &[order]).decide(&facts()));
    assert_eq!(duties.targets, ["azure-ch/gpt-4o", "azure-eu/gpt-4o", "openai/gpt-4o"]);
    assert_eq!(duties.routing, "configured order; in the order of near");
    let usual = order.replace("azure-ch/gpt-4o\", \"azure-eu/gpt-4o", "openai/gpt-4o");
    let duties = allowed(policy(json!({}), &[&usual]).decide(&facts()));
    assert_eq!(duties.weights["openai/gpt-4o"], 1, "the configured order, but a rule's");

    let canary = r#"package alfred.rules.trial
weights contains {"openai/gpt-4o": 95, "azure-eu/gpt-4o": 5, "azure-ch/gpt-4o": 0, "nowhere/else": 7}"#;
    let duties = allowed(policy(json!({}), &[canary, order]).decide(&facts()));
    assert_eq!(duties.targets[0], "azure-ch/gpt-4o", "the others follow in the order that is said");
    let weights: Vec<_> = duties.weights.iter().map(|(name, weight)| (name.as_str(), *weight)).collect();
    assert_eq!(weights, [("azure-eu/gpt-4o", 5), ("openai/gpt-4o", 95)]);
    let bound = json!({"residency": {"regions": ["eu"]}});
    let duties = allowed(policy(bound, &[canary]).decide(&facts()));
    assert_eq!(duties.weights.keys().collect::<Vec<_>>(), ["azure-eu/gpt-4o"]);
}

#[test]
fn the_first_that_names_a_model_is_heard_and_the_other_is_told() {
    let rule = |package: &str, model: &str| format!("package alfred.rules.{package}\nreroute contains \"{model}\"");
    let of = |added: &[&str]| allowed(policy(json!({}), added).decide(&facts()));
    let duties = of(&[&rule("b", "small"), &rule("a", "tiny")]);
    assert_eq!(duties.reroute.as_deref(), Some("tiny"));
    assert_eq!(duties.routing, "configured order; tiny of a goes before small of b");
    assert_eq!(of(&[&rule("a", "gpt-4o")]).reroute, None, "it is that model already");
}

#[test]
fn what_is_tried_is_told_and_has_no_effect() {
    let strict = r#"package alfred.rules.strict
deny contains {"code": "policy_denied", "message": "no"} if input.request.stream
regions contains ["mars"]
max_output_tokens contains 1
reroute contains "small""#;
    let single = r#"package alfred.rules.single
deny contains {"code": "policy_denied", "message": "soon", "log_only": true}
deny contains {"code": "policy_denied", "message": "never", "log_only": false} if input.request.images"#;
    let bad = "package alfred.rules.bad\nlog contains 7";
    let set = policy(json!({"log_only": ["strict", "bad"]}), &[strict, single, bad]);
    let duties = allowed(set.decide(&facts()));
    let observed = |duties: &Obligations| -> Vec<String> {
        let told = duties.observed.iter();
        told.map(|it| format!("{} {} {}", it.package, it.reason.code, it.reason.message)).collect()
    };
    assert_eq!(
        observed(&duties),
        ["bad policy_fault bad: log needs result or facts", "single policy_denied soon", "strict policy_denied no"]
    );
    assert_eq!((duties.max_output_tokens, &duties.regions, &duties.reroute), (None, &None, &None));
    let mut quiet = facts();
    quiet.request.stream = false;
    let duties = allowed(set.decide(&quiet));
    assert_eq!(observed(&duties)[2], "strict residency_violation no target lies in mars");
    let mut images = facts();
    images.request.images = true;
    assert_eq!(denied(set.decide(&images)), [Code::PolicyDenied]);
}

#[test]
fn layers_are_heard_in_their_order_and_only_make_it_stricter() {
    let layer = |data: serde_json::Value, rule: &str| {
        let mut sources = policies::shipped();
        sources.retain(|it| it.path.contains("residency"));
        sources.push(policies::Source::new("layer.rego", rule));
        sources.push(policies::Source::new("strict.rego", "package alfred.rules.strict\nlog contains \"facts\""));
        Arc::new(PolicySet::compile(&sources, json!({"alfred": data}), Limits::default()).unwrap())
    };
    let org = layer(
        json!({"residency": {"regions": ["eu", "ch"]}, "log_only": ["strict"]}),
        "package alfred.rules.near\norder contains [\"azure-ch/gpt-4o\"]",
    );
    let team = layer(
        json!({"residency": {"regions": ["eu", "ch", "us"]}}),
        "package alfred.rules.far\nweights contains {\"azure-eu/gpt-4o\": 1}",
    );
    let strict = "package alfred.rules.strict\ndeny contains {\"code\": \"policy_denied\", \"message\": \"no\"} if input.request.images";
    let book = Rulebook::new(Arc::new(policy(json!({}), &[strict])));
    let book = book.with(Scope::Org("org_1".into()), Some(org)).with(Scope::Team("team_1".into()), Some(team));
    let duties = allowed(book.decide(&facts()).decision);
    assert_eq!(duties.targets, ["azure-ch/gpt-4o", "azure-eu/gpt-4o"], "both bounds hold");
    assert_eq!(duties.weights.keys().collect::<Vec<_>>(), ["azure-ch/gpt-4o"], "the organisation has ordered already");
    assert!(duties.routing.contains("in the order of org_1:near"), "{}", duties.routing);
    let mut images = facts();
    images.request.images = true;
    assert_eq!(denied(book.decide(&images).decision), [Code::PolicyDenied], "a layer tries only what is its own");
    images.caller.org = "org_2".into();
    images.caller.team = None;
    images.request.images = false;
    assert_eq!(allowed(book.decide(&images).decision).targets.len(), 3, "another's layer says nothing");
}

/// A refusal is told of no more, and nowhere else, than a call that goes.
#[test]
fn what_may_be_written_down_holds_for_refusals_too() {
    let board = "package alfred.rules.board\nlog contains \"result\" if input.caller.org == \"org_1\"";
    let strict = "package alfred.rules.strict\ndeny contains {\"code\": \"policy_denied\", \"message\": \"no\"} if input.request.images";
    let faulty = "package alfred.rules.faulty\nmax_cost_usd contains cost if {\n\tinput.request.input_tokens == 77\n\tcost := input.caller.key\n}";
    let data = json!({"residency": {"regions": ["eu"]}});
    let book = Rulebook::new(Arc::new(policy(data, &[board, strict, faulty])));
    let bare = Rulebook::new(Arc::new(policy(json!({}), &[strict, faulty])));
    let mut images = facts();
    images.request.images = true;
    for _ in ["decided", "remembered"] {
        let decided = book.decide(&images);
        assert_eq!(denied(decided.decision), [Code::PolicyDenied]);
        assert_eq!((decided.keeping.log, decided.keeping.regions), (LogLevel::Result, Some(vec!["eu".to_owned()])));
        let decided = bare.decide(&images);
        assert_eq!((decided.keeping.log, decided.keeping.regions), (LogLevel::Facts, None));
    }
    // Where it cannot be known, it is as if everything had been forbidden; where no rule could have, as if nothing.
    let mut fault = facts();
    fault.request.input_tokens = 77;
    assert_eq!(denied(book.decide(&fault).decision), [Code::PolicyFault]);
    assert_eq!(book.decide(&fault).keeping, Keeping::least());
    assert_eq!(bare.decide(&fault).keeping, Keeping::default());
}
