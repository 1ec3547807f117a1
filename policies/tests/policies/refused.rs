//! What never gets as far as an engine.

use policies::{Limits, PolicySet, Source};
use serde_json::json;

use crate::with;

/// Each added module, and the faults: `path:line: message` starts so, the column left out.
fn check(added: &[&str], expected: &[&str]) {
    let faults = PolicySet::compile(&with(added), json!({}), Limits::default()).expect_err("it was accepted");
    let told = |fault: &policies::Fault| match fault.line {
        Some(line) => format!("{}:{line}: {}", fault.path, fault.message),
        None => format!("{}: {}", fault.path, fault.message),
    };
    let faults: Vec<String> = faults.iter().map(told).collect();
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for (fault, expected) in faults.iter().zip(expected) {
        assert!(fault.starts_with(expected), "{fault}\n{expected}");
    }
}

fn rule(body: &str) -> String {
    format!("package alfred.rules.added\n\nimport rego.v1\n\n{body}\n")
}

#[test]
fn recursion_is_refused_with_its_way_round() {
    check(
        &[&rule("deny contains m if m := f(3)\n\nf(x) := y if {\n\tx > 0\n\ty := f(x - 1)\n}")],
        &["added/0.rego:7: recursion: alfred.rules.added.f → alfred.rules.added.f"],
    );
    check(
        &[
            &rule("deny contains m if m := f(3)\n\nf(x) := g(x)\n\ng(x) := data.acme.h(x)"),
            "package acme\nh(x) := data.alfred.rules.added.f(x)",
        ],
        &["added/0.rego:7: recursion: alfred.rules.added.f → alfred.rules.added.g → acme.h → alfred.rules.added.f"],
    );
    check(
        &[&rule("deny contains m if some m in a\n\na := b\n\nb := [x | some x in data.alfred.rules.added[\"a\"]]")],
        &["added/0.rego:7: recursion"],
    );
    check(
        &[&rule("import data.alfred.rules.added as me\n\ndeny contains m if m := f(1)\n\nf(x) := me.f(x)")],
        &["added/0.rego:9: recursion"],
    );
    check(&[&rule("deny contains m if { some k; m := data.alfred.rules[k].deny }")], &["added/0.rego:5: recursion"]);
}

#[test]
fn a_chain_of_rules_that_is_too_long_is_refused() {
    let mut text = rule("deny contains m if m := r0");
    for at in 0..60 {
        text.push_str(&format!("r{at} := r{}\n", at + 1));
    }
    text.push_str("r60 := \"end\"\n");
    let faults = PolicySet::compile(&with(&[&text]), json!({}), Limits::default()).unwrap_err();
    assert!(faults[0].message.contains("49th in a chain"), "{faults:?}");
}

#[test]
fn functions_that_reach_out_run_away_or_are_unknown_are_refused() {
    for (call, expected) in [
        (r#"http.send({"url": "http://localhost"})"#, "http.send is refused: it reaches out"),
        ("opa.runtime()", "opa.runtime is refused: it reads"),
        ("time.now_ns()", "time.now_ns is refused: it reads the clock"),
        (r#"rand.intn("x", 5)"#, "rand.intn is refused: it is random"),
        (r#"print("x")"#, "print is refused: it shows"),
        (r#"net.cidr_expand("10.0.0.0/8")"#, "net.cidr_expand is refused: it is unbounded"),
        ("bits.lsh(1, 1000000000)", "bits.lsh is refused: it is unbounded"),
        ("numbers.range(1, 100000000)", "numbers.range is refused beyond 10000"),
        ("numbers.range(1, input.request.input_tokens)", "numbers.range is refused unless"),
        (r#"sprintf("%999999d", [1])"#, "sprintf is refused with a width"),
        (r#"sprintf("%*d", [999999, 1])"#, "sprintf is refused with a width"),
        (r#"sprintf("%-4s|", ["a"])"#, "sprintf is refused with a `-`"),
        (r#"sprintf("%d of %0-4d", [1, 2])"#, "sprintf is refused with a `-`"),
        ("sprintf(input.request.model, [1])", "sprintf is refused unless"),
        (r#"regex.match("(", "x")"#, "regex.match: the pattern is not"),
        ("crypto.sha256(\"x\")", "there is no function crypto.sha256"),
        ("helper(1)", "there is no function helper"),
    ] {
        let expected = format!("added/0.rego:5: {expected}");
        check(&[&rule(&format!("deny contains m if m := {call}"))], &[&expected]);
    }
}

#[test]
fn a_denial_that_one_undefined_member_could_lose_is_refused() {
    for head in [
        "candidate.price_input",
        r#"{"code": "policy_denied", "message": candidate.price_input}"#,
        r#"sprintf("%s", [candidate.price_input])"#,
        "f(candidate)",
    ] {
        let text = rule(&format!(
            "deny contains {head} if some candidate in input.candidates\n\nf(x) := x.price_input if true"
        ));
        let faults = PolicySet::compile(&with(&[&text]), json!({}), Limits::default()).unwrap_err();
        assert!(faults[0].message.starts_with("what `contains` adds may hold only"), "{head}: {faults:?}");
        assert_eq!(faults[0].line, Some(5));
    }
    check(
        &[&rule("deny contains reason if input.time.hour > 1\n\nreason := \"x\" if input.nothing")],
        &["added/0.rego:5: what `contains`"],
    );
}

#[test]
fn what_looks_like_a_rule_and_binds_nothing_is_refused() {
    check(&[&rule("denny contains \"x\"")], &["added/0.rego:5: alfred.rules.added.denny contributes nothing"]);
    check(&[&rule("deny := {\"x\"}")], &["added/0.rego:5: deny must be written as"]);
    check(&[&rule("default allow := true")], &["added/0.rego:5: allow must be written as"]);
    check(&[&rule("deny[x] := 1 if x := \"a\"")], &["added/0.rego:5: deny must be written as"]);
    check(
        &["package alfred.rule.added\ndeny contains 1"],
        &[
            "added/0.rego:1: package alfred.rule.added is not in force",
            "added/0.rego:2: alfred.rule.added.deny contributes nothing",
        ],
    );
    check(
        &["package alfred.main\ndecision := 1"],
        &[
            "added/0.rego:1: package alfred.main is not in force",
            "added/0.rego:2: alfred.main.decision contributes nothing",
        ],
    );
    check(&["package acme\ndeny contains 1"], &["added/0.rego:1: package acme is read by no decision"]);
    check(
        &["package alfred.rules.models\nallow contains \"x\""],
        &["added/0.rego:1: package alfred.rules.models is shipped"],
    );
    check(
        &[&rule("deny contains \"x\" if data.alfred.rules.models.allow with input as {}")],
        &["added/0.rego:5: `with` belongs in tests"],
    );
}

#[test]
fn what_cannot_be_read_names_its_place() {
    check(&["package alfred.rules.added\n\ndeny := := 1"], &["added/0.rego:3: expecting expression"]);
    check(&["package alfred.rules.added\ndeny[x] { x := 1 }"], &["added/0.rego:2: `if` keyword is required"]);
    check(&["not rego"], &["added/0.rego:1: "]);
    check(&[""], &["added/0.rego"]);
    let deep = rule(&format!("deny contains m if m := {}1{}", "[".repeat(500), "]".repeat(500)));
    check(&[&deep], &["added/0.rego:5: brackets nest deeper than 12"]);
    check(
        &[&rule(
            "deny contains \"[[[[[[[[[[[[[[\" if `{{{{{{{{{{{{{{` == \"\\\"((((((((((((((\" # [[[[[[[[[[[[[[[[[\n\ndeny := 1",
        )],
        &["added/0.rego:7: deny must"],
    );
}

#[test]
fn rules_of_one_name_that_cannot_both_hold_are_refused() {
    let deny = "deny contains m if m := limit\n\n";
    for (rules, expected) in [
        (
            "limit := 1\n\nlimit := 2",
            "added/0.rego:9: alfred.rules.added.limit is always 2 here, and always 1 on line 7",
        ),
        ("limit := \"a\"\n\nlimit := \"b\" if true", ""),
        ("limit := 1\n\nlimit := 1", ""),
        ("limit := 1 if input.time.hour > 99\n\nlimit := 2", ""),
        (
            "limit if true\n\nlimit contains 2",
            "added/0.rego:9: alfred.rules.added.limit is written as a set here, and as a value on line 7",
        ),
        (
            "limit(x) := x\n\nlimit := 2",
            "added/0.rego:9: alfred.rules.added.limit is written as a value here, and as a function of one",
        ),
        (
            "limit(x) := x\n\nlimit(x, y) := x if y",
            "added/0.rego:9: alfred.rules.added.limit is written as a function of 2",
        ),
        (
            "default limit := 1\n\ndefault limit := 2",
            "added/0.rego:9: alfred.rules.added.limit has a default already, on line 7",
        ),
    ] {
        let text = rule(&format!("{deny}{rules}"));
        let faults = PolicySet::compile(&with(&[&text]), json!({}), Limits::default()).err().unwrap_or_default();
        let first = faults.first().map(|it| format!("{}:{}: {}", it.path, it.line.unwrap_or(0), it.message));
        assert!(
            first.as_deref().unwrap_or_default().starts_with(expected) && first.is_some() | expected.is_empty(),
            "{rules}: {faults:#?}"
        );
    }
    let other = "package alfred.rules.added\nlimit := 2";
    let faults = PolicySet::compile(&with(&[&rule(&format!("{deny}limit := 1")), other]), json!({}), Limits::default())
        .unwrap_err();
    assert_eq!(
        faults[0].to_string(),
        "added/1.rego:2:1: alfred.rules.added.limit is always 2 here, and always 1 at added/0.rego:7: no call could be decided"
    );
}

/// What an author sees: place, line, mark, and the way to write it instead.
#[test]
fn a_refusal_shows_the_line_and_the_way_to_write_it_instead() {
    for (text, expected) in [
        (
            rule("deny contains m if m := time.now_ns()"),
            "added/0.rego:5:25: time.now_ns is refused: it reads the clock: use input.time\n\
             5 | deny contains m if m := time.now_ns()\n  |                         ^\n  \
             help: input.time.unix_seconds, input.time.weekday, input.time.hour",
        ),
        (
            rule("deny contains m if {\n\tm := numbers.ragne(1, 2)\n}"),
            "added/0.rego:6:7: there is no function numbers.ragne\n\
             6 | \tm := numbers.ragne(1, 2)\n  | \t     ^\n  help: did you mean numbers.range?",
        ),
        (
            rule("denny contains \"x\""),
            "added/0.rego:5:1: alfred.rules.added.denny contributes nothing: no decision reads it (contributions are *)\n\
             5 | denny contains \"x\"\n  | ^\n  help: did you mean deny?",
        ),
        (
            "package alfred.rules.added\n\ndeny := := 1".to_owned(),
            "added/0.rego:3:9: expecting expression\n3 | deny := := 1\n  |         ^",
        ),
        (
            "deny contains 1".to_owned(),
            "added/0.rego:1:1: expecting `package` Missing package declaration.\n1 | deny contains 1\n  | ^\n  \
             help: a module begins with `package alfred.rules.<name>`",
        ),
        (
            "package alfred.rules.added\ndeny[x] { x := 1 }".to_owned(),
            "added/0.rego:2:9: `if` keyword is required before rule body\n2 | deny[x] { x := 1 }\n  |         ^\n  \
             help: this is Rego before v1: `deny contains x if { … }` (`opa fmt --v0-v1` rewrites a file)",
        ),
    ] {
        let faults = PolicySet::compile(&with(&[&text]), json!({}), Limits::default()).unwrap_err();
        let shown = faults[0].shown();
        let (before, after) = expected.split_once('*').unwrap_or((expected, ""));
        assert!(shown.starts_with(before) && shown.ends_with(after), "{shown}\n\n{expected}");
    }
}

#[test]
fn every_refusal_says_what_to_write_instead() {
    for body in [
        "deny contains m if m := http.send({})",
        "deny contains m if m := teapot(1)",
        "deny contains m if m := numbers.range(1, input.time.hour)",
        "deny contains m if m := numbers.range(1, 100000000)",
        "deny contains m if m := sprintf(input.request.model, [1])",
        "deny contains m if m := sprintf(\"%9999d\", [1])",
        "deny contains m if m := regex.match(\"(\", \"x\")",
        "deny contains m if m := regex.match(`(a{1000}){1000}`, \"x\")",
        "deny contains m if m := regex.match(`a(?=b)`, \"x\")",
        "deny contains input.request.model if true",
        "deny contains m if m := f(1)\nf(x) := f(x)",
        "deny := 1",
        "tea contains 1",
        "deny contains 1 if data.x with input as 1",
        "deny contains x if x := a\na := 1\na := 2",
        "deny contains [[[[[[[[[[[[[[1]]]]]]]]]]]]]] if true",
    ] {
        let faults = PolicySet::compile(&with(&[&rule(body)]), json!({}), Limits::default()).expect_err(body);
        assert!(faults.iter().all(|fault| fault.help.is_some() && fault.excerpt.is_some()), "{body}: {faults:#?}");
    }
}

#[test]
fn a_policy_of_ten_megabytes_is_refused_before_it_is_read() {
    let text = rule(&"deny contains \"x\" if input.time.hour > 1\n".repeat(260_000));
    assert!(text.len() > 10_000_000);
    let faults = PolicySet::compile(&with(&[&text]), json!({}), Limits::default()).unwrap_err();
    assert_eq!(faults.len(), 1);
    assert!(faults[0].message.ends_with("bytes, at most 262144") && faults[0].help.is_some(), "{faults:?}");
}

#[test]
fn rules_that_fail_on_any_call_are_refused() {
    check(
        &[&rule("deny contains m if m := lower(input.request.input_tokens)")],
        &["added/0.rego:5: a sample call cannot be decided"],
    );
}

#[test]
fn data_that_is_unknown_or_hides_a_rule_is_refused() {
    let compile = |data| {
        PolicySet::compile(
            &with(&["package acme\nf(x) := x", &rule("deny contains m if { m := data.acme.f(1); m > 1 }")]),
            data,
            Limits::default(),
        )
    };
    assert_eq!(compile(json!({"alfred": {"residences": {}}})).unwrap_err()[0].path, "data.alfred.residences");
    assert_eq!(compile(json!({"acme": {"f": 1}})).unwrap_err()[0].message, "there is also data at acme.f");
    assert_eq!(compile(json!({"acme": 1})).unwrap_err()[0].message, "there is also data at acme");
    compile(json!({"acme": {"g": 1}})).unwrap();
}

#[test]
fn too_much_is_refused() {
    let small = Limits { sources: 2, source_bytes: 40, data_bytes: 10, ..Limits::default() };
    let source = |path: &str, text: &str| Source::new(path, text);
    let refused = |sources: &[Source], data| PolicySet::compile(sources, data, small).unwrap_err().len();
    assert_eq!(refused(&[source("a", "package a"), source("b", "package b"), source("c", "package c")], json!({})), 1);
    assert_eq!(refused(&[source("a", &"#".repeat(41))], json!({})), 1);
    assert_eq!(refused(&[source("a", "package a"), source("a", "package a")], json!({})), 1);
    assert_eq!(refused(&[], json!({"long": "0123456789"})), 1);
}

/// A misspelt name would leave in force what its author wanted only to try.
#[test]
fn only_packages_of_the_layer_are_tried_without_effect() {
    let sources = with(&[
        "package alfred.rules.finance\ndeny contains {\"code\": \"policy_denied\", \"message\": \"no\"} if input.request.stream",
    ]);
    let faults = |names: serde_json::Value| {
        let compiled = PolicySet::compile(&sources, json!({"alfred": {"log_only": names}}), Limits::default());
        compiled.err().unwrap_or_default().iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    // One that is shipped and has no settings here is a package all the same.
    assert_eq!(faults(json!(["finance", "business_hours"])), [""; 0]);
    assert_eq!(faults(json!(["finence"])), ["data.alfred.log_only: there is no package alfred.rules.finence"]);
}
