//! What compiles and is probably not meant.

use policies::lint::check;
use policies::{Fault, Limits, Source, shipped};
use serde_json::{Value, json};

/// Faults and warnings of modules beside the shipped ones, `path:line: message`.
fn found(modules: &[(&str, &str)], data: Value) -> (Vec<Fault>, Vec<Fault>) {
    let ours = shipped();
    let added = modules.iter().map(|(path, text)| Source::new(*path, *text));
    let sources: Vec<Source> = ours.iter().cloned().chain(added).collect();
    let limits = Limits { time: std::time::Duration::from_secs(30), ..Limits::default() };
    let found = check(&sources, &data, limits, &ours);
    (found.faults, found.warnings)
}

fn rule(body: &str) -> String {
    format!("package alfred.rules.house\n\nimport rego.v1\n\n{body}\n")
}

const TEST: &str =
    "package alfred.rules.house_test\n\nimport rego.v1\n\ntest_it if not data.alfred.rules.house.nothing\n";

/// Everything that is found in a tested module, each by how it starts.
#[track_caller]
fn check_rule(body: &str, expected: &[&str]) {
    let (faults, warnings) =
        found(&[("house.rego", &rule(body)), ("house_test.rego", TEST)], json!({"acme": {"limit": 5}}));
    let told: Vec<String> = faults.iter().chain(&warnings).map(ToString::to_string).collect();
    assert_eq!(told.len(), expected.len(), "{body}\n{told:#?}");
    for (told, expected) in told.iter().zip(expected) {
        assert!(told.starts_with(expected), "{told}\n{expected}");
    }
}

fn deny(body: &str) -> String {
    format!("deny contains {{\"code\": \"policy_denied\", \"message\": \"no\"}} if {{\n\t{body}\n}}")
}

#[test]
fn a_fact_that_there_is_not_is_a_fault() {
    for (body, expected) in [
        ("input.caller.teem == \"x\"", "house.rego:6:2: there is no fact input.caller.teem"),
        ("input.request.max_tokens > 5", "house.rego:6:2: there is no fact input.request.max_tokens"),
        ("input.caler.team == \"x\"", "house.rego:6:2: there is no fact input.caler:"),
        ("input.caller[\"teem\"] == \"x\"", "house.rego:6:2: there is no fact input.caller.teem"),
        ("object.get(input.caller, \"teem\", \"\") == \"x\"", "house.rego:6:13: there is no fact input.caller.teem"),
        (
            "object.get(input, [\"caller\", \"teem\"], \"\") == \"x\"",
            "house.rego:6:13: there is no fact input.caller.teem",
        ),
        (
            "some it in input.candidates\n\tit.regoin == \"us\"",
            "house.rego:7:2: there is no fact input.candidates[_].regoin",
        ),
        ("who := input.caller\n\twho.orgg == \"x\"", "house.rego:7:2: there is no fact input.caller.orgg"),
        (
            "every it in input.candidates { it.price == 1 }",
            "house.rego:6:33: there is no fact input.candidates[_].price",
        ),
        (
            "count([x | some x in input.candidates; x.kind == 1]) > 0",
            "house.rego:6:41: there is no fact input.candidates[_].kind",
        ),
        ("input.candidates[_].regions == 1", "house.rego:6:2: there is no fact input.candidates[_].regions"),
        ("input.candidates.region == \"eu\"", "house.rego:6:2: there is no fact input.candidates.region"),
        ("not input.time.minute", "house.rego:6:6: there is no fact input.time.minute"),
    ] {
        check_rule(&deny(body), &[expected]);
    }
    let (faults, _) = found(&[("house.rego", &rule(&deny("input.caller.teem == 1")))], json!({}));
    assert_eq!(faults[0].help.as_deref(), Some("did you mean input.caller.team?"));
    let (faults, _) = found(&[("house.rego", &rule(&deny("input.candidates.region == 1")))], json!({}));
    assert!(faults[0].help.as_deref().unwrap().starts_with("input.candidates is a list: `some it in"), "{faults:?}");
}

#[test]
fn facts_that_there_are_pass_however_they_are_asked_for() {
    for body in [
        "input.caller.tags.anything == \"x\"",
        "input.request.claims[\"feature\"] == \"x\"",
        "input.findings.iban > 3",
        "some kind, count in input.findings\n\tcount > 3\n\tkind == \"email\"",
        "some it in input.candidates\n\tit.region == \"us\"",
        "input.caller.attributes.user.clearance == \"none\"",
        "\"interns\" in input.caller.groups",
        "name := \"team\"\n\tinput.caller[name] == \"x\"",
        "input.budget.left_percent < 10",
        "input.hops.cache == \"us\"",
        "data.acme.limit < input.request.input_tokens",
    ] {
        check_rule(&deny(body), &[]);
    }
}

#[test]
fn a_denial_that_a_missing_fact_lets_through_is_told() {
    let missing =
        |at: &str, fact: &str| format!("house.rego:{at}: {fact} may be missing, and then this denial does not hold");
    for (body, expected) in [
        ("input.caller.team != \"ads\"", missing("6:2", "input.caller.team")),
        ("input.request.max_output_tokens > 100", missing("6:2", "input.request.max_output_tokens")),
        ("100 <= input.request.max_output_tokens", missing("6:9", "input.request.max_output_tokens")),
        ("input.caller.tags.env != \"prod\"", missing("6:2", "input.caller.tags.env")),
        (
            "input.caller.attributes.user.clearance != \"high\"",
            missing("6:2", "input.caller.attributes.user.clearance"),
        ),
        (
            "some it in input.candidates\n\tit.context_tokens < 8000",
            missing("7:2", "input.candidates[_].context_tokens"),
        ),
        ("input.budget.left_usd > \"5\"", missing("6:2", "input.budget.left_usd")),
    ] {
        check_rule(&deny(body), &[&expected]);
    }
    // It closes, falls back on something, or its author has thought of it.
    for body in [
        "not input.caller.team == \"ads\"",
        "input.caller.team == \"ads\"",
        "object.get(input.caller, \"team\", \"\") != \"ads\"",
        "input.request.input_tokens > 100",
        "input.findings.email > 3",
        "input.caller.team != \"ads\"\n}\n\ndeny contains {\"code\": \"policy_denied\", \"message\": \"who?\"} if {\n\tnot input.caller.team",
    ] {
        check_rule(&deny(body), &[]);
    }
    check_rule("max_output_tokens contains 5 if input.caller.team != \"ads\"", &[]);
}

#[test]
fn settings_data_messages_and_libraries_are_looked_at() {
    check_rule(&deny("data.alfred.cpas.max_output_tokens > 1"), &["house.rego:6: data.alfred.cpas is no setting"]);
    check_rule(&deny("data.alfred.caps.max_output_tokens > 1"), &[]);
    check_rule(&deny("data.acme.limits.x > 1"), &["house.rego:6: there is nothing at data.acme.limits"]);
    check_rule(
        &deny("data.finance.team == input.caller.org"),
        &["house.rego:6: there is nothing at data.finance.team"],
    );
    check_rule(
        "deny contains {\"code\": \"policy_denied\", \"message\": \" \"} if input.request.images",
        &["house.rego:5: deny gives no message"],
    );
    check_rule(
        &format!("import data.acme.gone as it\n\n{}", deny("it == 5")),
        &["house.rego:5: there is nothing at data.acme.gone", "house.rego:8: there is nothing at data.acme.gone"],
    );
    let library = "package acme\n\nimport rego.v1\n\nused(x) := x\n\nspare(x) := x\n";
    let reads = rule(&deny("data.acme.used(input.time.hour) == 3"));
    let (faults, warnings) =
        found(&[("acme.rego", library), ("house.rego", &reads), ("house_test.rego", TEST)], json!({}));
    let told: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    assert!(faults.is_empty(), "{faults:?}");
    assert_eq!(
        told,
        ["acme.rego:1:1: no test reads package acme", "acme.rego:7:1: acme.spare is read by no rule in force"]
    );
}

#[test]
fn an_allow_that_shuts_every_other_call_out_is_told() {
    let narrow = "allow contains target if {\n\tinput.caller.team == \"ads\"\n\tsome it in input.candidates\n\ttarget := it.target\n}";
    check_rule(narrow, &["house.rego:5:1: allow of alfred.rules.house admits nothing on a plain call"]);
    check_rule(
        &format!(
            "{narrow}\n\nallow contains target if {{\n\tnot input.caller.team == \"ads\"\n\tsome it in input.candidates\n\ttarget := it.target\n}}"
        ),
        &[],
    );
}

#[test]
fn a_package_without_a_test_is_told_and_what_is_shipped_is_not() {
    let (faults, warnings) = found(&[("rules/house.rego", &rule(&deny("input.request.images")))], json!({}));
    assert!(faults.is_empty());
    assert_eq!(warnings.len(), 1);
    assert_eq!(warnings[0].to_string(), "rules/house.rego:1:1: no test reads package alfred.rules.house");
    assert_eq!(warnings[0].help.as_deref(), Some("a file house_test.rego with a match, a miss and a conflict"));
    assert_eq!(found(&[], json!({})), (Vec::new(), Vec::new()));
}

/// The shipped rules looked at as if they were somebody's own.
#[test]
fn the_shipped_rules_have_nothing_to_be_told() {
    let limits = Limits { time: std::time::Duration::from_secs(30), ..Limits::default() };
    let found = check(&shipped(), &json!({}), limits, &[]);
    assert_eq!(found.faults, []);
    let settings = |fault: &&Fault| !fault.message.contains("there is nothing at data.");
    // Both have settings of their own, and docs/policies.md says which counts.
    let rivals = |fault: &&Fault| !fault.message.starts_with("reroute is said by alfred.rules.budget_downgrade and");
    let warnings: Vec<&Fault> = found.warnings.iter().filter(settings).filter(rivals).collect();
    assert!(warnings.is_empty(), "{warnings:#?}");
}

#[test]
fn what_does_not_compile_is_not_looked_at_further() {
    let (faults, warnings) = found(&[("house.rego", "package alfred.rules.house\n\ndeny := := 1")], json!({}));
    assert_eq!((faults.len(), warnings.len()), (1, 0));
}

#[test]
fn contributions_that_contradict_one_another_on_a_plain_call_are_a_fault() {
    for (body, expected) in [
        ("order contains [\"a/m\"]\n\norder contains [\"b/m\"]", "order was said otherwise by house already"),
        ("tags contains {\"a\": \"1\"}\n\ntags contains {\"a\": \"2\"}", "a tag was given another value already"),
        ("max_output_tokens contains \"many\"", "max_output_tokens needs"),
    ] {
        check_rule(body, &[&format!("house.rego:1:1: a sample call cannot be decided: house: {expected}")]);
    }
    check_rule("allow contains \"openai/gpt-4o\"", &[]);
}
