//! The language, probe by probe: what the definition of Rego says, and where an engine says something else. Where ours does, the
//! difference is in docs/policies.md, in a table that this keeps.

use std::collections::BTreeMap;

use qa::tools::repository;
use serde_json::{Value, json};

use crate::{Job, Outcome, theirs};

/// What the definition says.
#[derive(Clone, Copy)]
enum Says {
    Is(&'static str),
    Undefined,
    /// An error, of the compiler or the evaluation.
    Fails,
}
use Says::{Fails, Is, Undefined};

/// Who differs from the definition, and what it comes to there.
enum Differs {
    Nobody,
    /// Ours, what it comes to, and what that means for an author: a row of the table in docs/policies.md.
    Ours(Says, &'static str),
    /// The other engine. Its own affair, and kept here so that a probe still holds ours.
    Theirs,
}
use Differs::{Nobody, Ours, Theirs};

struct Probe(&'static str, Says, Differs);

const fn same(text: &'static str, says: Says) -> Probe {
    Probe(text, says, Nobody)
}

const fn only_ours(text: &'static str, says: Says) -> Probe {
    Probe(text, says, Theirs)
}

const fn differs(text: &'static str, says: Says, ours: Says, meaning: &'static str) -> Probe {
    Probe(text, says, Ours(ours, meaning))
}

/// `x` is what is asked for; `input` is `INPUT`.
const PROBES: &[Probe] = &[
    // Undefined.
    same("x := input.missing", Undefined),
    same("x := input.a.missing.deeper", Undefined),
    same("x if input.no", Undefined),
    same("x if input.nothing", Is("true")),
    same("x if not input.missing", Is("true")),
    same("x if not input.no", Is("true")),
    same("x if not input.nothing", Undefined),
    same("x if input.missing != 1", Undefined),
    same("x if not input.missing == 1", Is("true")),
    same("x if input.n < input.missing", Undefined),
    same("x := [y | y := input.missing]", Is("[]")),
    same("x := count([y | y := input.missing])", Is("0")),
    same("x := {\"a\": y | y := input.missing}", Is("{}")),
    same("x := {\"a\": input.missing}", Undefined),
    same("x := [1, input.missing]", Undefined),
    same("x := {1, input.missing}", Undefined),
    same("x := f(input.missing)\nf(y) := 1 if true", Undefined),
    same("x if not f(input.missing)\nf(y) if y == 1", Is("true")),
    same("x := object.get(input.a, \"missing\", 7)", Is("7")),
    same("x := object.get(input.missing, \"b\", 7)", Undefined),
    same("x := object.get(input, [\"a\", \"b\"], 7)", Is("1")),
    same("x := object.get(input, [\"a\", \"z\", \"y\"], 7)", Is("7")),
    same("x := object.get(input, [], 7).n", Is("5")),
    // Complete rules, defaults, else.
    same("default x := 1\nx := 2 if input.no", Is("1")),
    same("default x := 1\nx := 2 if input.nothing", Is("2")),
    same("x := 1 if input.no\nelse := 2 if input.yes\nelse := 3", Is("2")),
    same("x := 1 if input.no\nelse := 2 if input.no\nelse := 3", Is("3")),
    same("x := 1 if input.no\nelse := 2 if input.no", Undefined),
    same("x := 1 if input.yes\nx := 1 if input.n", Is("1")),
    same("x := 1 if input.yes\nx := 2 if input.n", Fails),
    same("default x := 0\nx := 1 if input.yes\nx := 2 if input.n", Fails),
    same("x := y if some y in [1, 1]", Is("1")),
    same("x := y if some y in [1, 2]", Fails),
    same("x := false", Is("false")),
    same("x if y\ny := false", Undefined),
    same("x if y == false\ny := false", Is("true")),
    same("x := null", Is("null")),
    same("x if y\ny := null", Is("true")),
    same("x if y\ny := 0", Is("true")),
    same("x if y\ny := \"\"", Is("true")),
    same("x if y\ny := []", Is("true")),
    // Functions.
    same("x := f(2)\nf(y) := y * 2", Is("4")),
    same("x := f(2)\nf(1) := \"one\"\nf(2) := \"two\"", Is("\"two\"")),
    same("x := f(3)\nf(1) := \"one\"\nf(2) := \"two\"", Undefined),
    same("x := f(3)\nf(1) := \"one\"\ndefault f(_) := \"other\"", Is("\"other\"")),
    same("x := f(1)\nf(y) := 1 if y > 0\nf(y) := 2 if y > 0", Fails),
    same("x := f(1)\nf(y) := 1 if y > 0\nf(y) := 1 if y == 1", Is("1")),
    same("x := f(-1)\nf(y) := \"big\" if y > 0\nelse := \"small\"", Is("\"small\"")),
    same("x := f([1, 2])\nf([a, b]) := a + b", Is("3")),
    same("x := f([1, 2, 3])\nf([a, b]) := a + b", Undefined),
    same("x := f({\"a\": 4})\nf({\"a\": b}) := b", Is("4")),
    same("x if f(false)\nf(y) := y", Undefined),
    // Sets and objects.
    same("x contains 1\nx contains 2\nx contains 1", Is("[1, 2]")),
    same("x contains y if some y in input.missing", Is("[]")),
    same("x contains y if {\n\tsome i in input.list\n\ty := i.n\n}", Is("[1, 3]")),
    same("x := count(y)\ny contains 1 if input.no", Is("0")),
    same("x := {1, 2} | {2, 3}", Is("[1, 2, 3]")),
    same("x := {1, 2} & {2, 3}", Is("[2]")),
    same("x := {1, 2} - {2, 3}", Is("[1]")),
    same("x if {1, 2} == {2, 1, 1}", Is("true")),
    same("x if {{1}, {2}} == {{2}, {1}}", Is("true")),
    same("x := count({{1, 2}, {2, 1}, {3}})", Is("2")),
    same("x if {\n\ty := {{1}, {2}}\n\t{1} in y\n}", Is("true")),
    same("x if [1, 2] == [2, 1]", Undefined),
    same("x if {\"a\": 1, \"b\": 2} == {\"b\": 2, \"a\": 1}", Is("true")),
    same("x if 1 in {\"a\": 1}", Is("true")),
    same("x if \"a\", 1 in {\"a\": 1}", Is("true")),
    same("x if 1, \"b\" in [\"a\", \"b\"]", Is("true")),
    same("x if not 4 in {1, 2}", Is("true")),
    same("x[y] := 1 if some y in [\"a\", \"b\"]", Is("{\"a\": 1, \"b\": 1}")),
    same("x[\"a\"] := y if some y in [1, 2]", Fails),
    same("x.a.b := 1\nx.a.c := 2", Is("{\"a\": {\"b\": 1, \"c\": 2}}")),
    same("x := union({{1}, {2, 3}})", Is("[1, 2, 3]")),
    same("x := intersection({{1, 2}, {2, 3}})", Is("[2]")),
    only_ours("x := object.union({\"a\": {\"b\": 1}}, {\"a\": {\"c\": 2}})", Is("{\"a\": {\"b\": 1, \"c\": 2}}")),
    same("x := object.union({\"a\": 1}, {\"a\": [2]})", Is("{\"a\": [2]}")),
    same("x := object.union_n([{\"a\": 1}, {\"b\": 2}, {\"a\": 3}])", Is("{\"a\": 3, \"b\": 2}")),
    same("x := object.union_n([])", Is("{}")),
    same("x := object.remove({\"a\": 1, \"b\": 2}, [\"a\"])", Is("{\"b\": 2}")),
    same("x := object.filter({\"a\": 1, \"b\": 2}, {\"a\"})", Is("{\"a\": 1}")),
    same("x := object.keys({\"a\": 1, \"b\": 2})", Is("[\"a\", \"b\"]")),
    same("x if object.subset({\"a\": {\"b\": 1, \"c\": 2}}, {\"a\": {\"b\": 1}})", Is("true")),
    // Comprehensions, some, every.
    same("x := [y | some y in [3, 1, 2]; y > 1]", Is("[3, 2]")),
    same("x := {y | some y in [3, 1, 3]}", Is("[1, 3]")),
    same("x := {k: v | some k, v in {\"a\": 1, \"b\": 2}; v > 1}", Is("{\"b\": 2}")),
    same("x := {y: z | some y in [\"a\"]; some z in [1, 2]}", Fails),
    same("x := [[a, b] | some a in [1, 2]; b := [c | some c in [a, a + 1]]]", Is("[[1, [1, 2]], [2, [2, 3]]]")),
    same("x if {\n\txs := [1, 2]\n\tevery y in xs {\n\t\ty > 0\n\t}\n}", Is("true")),
    same("x if {\n\txs := [1, 2]\n\tevery y in xs {\n\t\ty > 1\n\t}\n}", Undefined),
    same("x if {\n\txs := []\n\tevery y in xs {\n\t\ty > 1\n\t}\n}", Is("true")),
    same("x if {\n\txs := input.missing\n\tevery y in xs {\n\t\ty > 1\n\t}\n}", Undefined),
    same("x if {\n\txs := [1, 2]\n\tevery y in xs {\n\t\t{1: true}[y]\n\t}\n}", Undefined),
    same("x if {\n\txs := [\"a\", \"z\"]\n\tevery y in xs {\n\t\t{\"a\": 1}[y] >= 0\n\t}\n}", Undefined),
    same("x if {\n\txs := {\"a\": 1}\n\tevery k, v in xs {\n\t\tk == \"a\"\n\tv == 1\n\t}\n}", Is("true")),
    same("x if not f\nf if {\n\txs := [1, 2]\n\tevery y in xs {\n\t\ty > 1\n\t}\n}", Is("true")),
    only_ours("x := [i |\n\tsome i, y in [\"a\", \"b\"]\n\ty == \"b\"\n]", Is("[1]")),
    same("x := [i | [\"a\", \"b\"][i] == \"b\"]", Is("[1]")),
    same("x if {\n\tsome y in input.list\n\ty.n == 3\n}", Is("true")),
    same("x := sum([y.n | some y in input.list])", Is("4")),
    same("x := [y | y := input.list[_].n]", Is("[1, 3]")),
    same("x if input.list[_].n == 3", Is("true")),
    same("x if input.list[_].n != 3", Is("true")),
    same("x := [a | [a, _] := [1, 2]]", Is("[1]")),
    same("x := y if {\n\t[_, y] = [1, 2]\n}", Is("2")),
    // Comparison between kinds.
    only_ours("x if 1 < \"a\"", Is("true")),
    only_ours("x if null < false", Is("true")),
    same("x if \"z\" < [1]", Is("true")),
    same("x if \"10\" < \"9\"", Is("true")),
    same("x if 1 == 1.0", Is("true")),
    same("x if \"1\" == 1", Undefined),
    same("x := sort([3, 1, 2])", Is("[1, 2, 3]")),
    same("x := sort([[1, \"b\"], [1, \"a\"], [0, \"z\"]])", Is("[[0, \"z\"], [1, \"a\"], [1, \"b\"]]")),
    same("x := sort([[[1, 0.6], 1], [[0, 75], 0]])", Is("[[[0, 75], 0], [[1, 0.6], 1]]")),
    // The other engine orders numbers within lists as text, so the rule `preference` is tried there without prices.
    only_ours("x := sort([[0, 10], [0, 9]])", Is("[[0, 9], [0, 10]]")),
    // Numbers.
    same("x := 7 % 3", Is("1")),
    same("x := 1 / 0", Fails),
    same("x := 7 / 2", Is("3.5")),
    same("x := 0.1 + 0.2 < 0.4", Is("true")),
    same("x := max([1, 3, 2])", Is("3")),
    same("x := min([])", Undefined),
    same("x := min(set())", Undefined),
    same("x := round(2.5)", Is("3")),
    same("x := ceil(2.1)", Is("3")),
    same("x := floor(2.9)", Is("2")),
    same("x := abs(-3)", Is("3")),
    same("x := to_number(\"2.50\")", Is("2.5")),
    same("x := to_number(\"x\")", Fails),
    same("x := to_number(\"\")", Fails),
    same("x := to_number(null)", Is("0")),
    same("x := to_number(true)", Is("1")),
    same("x := 1795180814 * 1000000000", Is("1795180814000000000")),
    same("x := numbers.range(1, 3)", Is("[1, 2, 3]")),
    same("x := numbers.range(3, 1)", Is("[3, 2, 1]")),
    same("x := 1e3", Is("1000")),
    // Text.
    same("x := sprintf(\"%s is %d\", [\"a\", 3])", Is("\"a is 3\"")),
    same("x := sprintf(\"%02d:%02d\", [7, 5])", Is("\"07:05\"")),
    same("x := sprintf(\"%v\", [\"a\"])", Is("\"a\"")),
    same("x := sprintf(\"%v\", [[1, \"a\"]])", Is("\"[1, \\\"a\\\"]\"")),
    same("x := sprintf(\"%d%%\", [5])", Is("\"5%\"")),
    same("x := sprintf(\"%.2f\", [2.5])", Is("\"2.50\"")),
    differs(
        "x := sprintf(\"%-4s|\", [\"a\"])",
        Is("\"a   |\""),
        Fails,
        "refused: a `-` in a format would lose the value; pad with `concat`, or leave it out",
    ),
    same("x := sprintf(\"%5d|\", [42])", Is("\"   42|\"")),
    differs(
        "x := sprintf(\"%s\", [1])",
        Is("\"%!s(int=1)\""),
        Is("\"1\""),
        "a verb for text takes numbers too; write `%d` or `%v`",
    ),
    same("x := concat(\",\", [\"a\", \"b\"])", Is("\"a,b\"")),
    only_ours("x := concat(\",\", {\"b\", \"a\"})", Is("\"a,b\"")),
    same("x := split(\"a/b/c\", \"/\")", Is("[\"a\", \"b\", \"c\"]")),
    only_ours("x := lower(\"ÀB\")", Is("\"àb\"")),
    differs(
        "x := upper(\"aß\")",
        Is("\"Aß\""),
        Is("\"ASS\""),
        "a letter whose upper case is two letters becomes two; compare by `lower`",
    ),
    same("x := trim_suffix(\"gpt-*\", \"*\")", Is("\"gpt-\"")),
    same("x := trim_prefix(\"abc\", \"z\")", Is("\"abc\"")),
    same("x := trim(\"xxaxx\", \"x\")", Is("\"a\"")),
    same("x := trim_space(\"  a \")", Is("\"a\"")),
    same("x := substring(\"abcdef\", 2, 3)", Is("\"cde\"")),
    same("x := substring(\"abcdef\", 2, -1)", Is("\"cdef\"")),
    same("x := substring(\"åäö\", 1, 1)", Is("\"ä\"")),
    same("x := indexof(\"abc\", \"c\")", Is("2")),
    same("x := indexof(\"abc\", \"z\")", Is("-1")),
    same("x := indexof(\"åäö\", \"ö\")", Is("2")),
    same("x := replace(\"aab\", \"a\", \"c\")", Is("\"ccb\"")),
    same("x := startswith(\"abc\", \"\")", Is("true")),
    same("x := contains(\"abc\", \"bc\")", Is("true")),
    same("x := count(\"åäö\")", Is("3")),
    same("x := strings.reverse(\"abc\")", Is("\"cba\"")),
    same("x := strings.any_prefix_match(\"abc\", {\"x\", \"ab\"})", Is("true")),
    same("x := format_int(15.5, 16)", Is("\"f\"")),
    same("x := lower(1)", Fails),
    same("x := startswith(input.n, \"5\")", Fails),
    // Patterns.
    same("x := regex.match(`^a\\d+$`, \"a12\")", Is("true")),
    same("x := regex.match(`\\d`, \"abc\")", Is("false")),
    only_ours("x := regex.match(`(?i)GPT`, \"gpt\")", Is("true")),
    same("x := regex.replace(\"foo\", `o`, \"0\")", Is("\"f00\"")),
    same("x := regex.split(`,\\s*`, \"a, b,c\")", Is("[\"a\", \"b\", \"c\"]")),
    same("x := regex.find_n(`a.`, \"ab ac ad\", 2)", Is("[\"ab\", \"ac\"]")),
    same("x := regex.is_valid(`(`)", Is("false")),
    same("x := glob.match(\"mcp_*\", null, \"mcp_a.b\")", Is("true")),
    same("x := glob.match(\"mcp_*\", [], \"mcp_a.b\")", Is("false")),
    same("x := glob.match(\"*.example.com\", [\".\"], \"a.example.com\")", Is("true")),
    same("x := glob.match(\"*.example.com\", [\".\"], \"a.b.example.com\")", Is("false")),
    same("x := glob.match(\"**.example.com\", [\".\"], \"a.b.example.com\")", Is("true")),
    // Time.
    same("x := time.clock([1795180814000000000, \"UTC\"])", Is("[13, 20, 14]")),
    same("x := time.clock([1795180814000000000, \"Europe/Zurich\"])", Is("[14, 20, 14]")),
    same("x := time.clock([1785180814000000000, \"Europe/Zurich\"])", Is("[21, 33, 34]")),
    same("x := time.clock(1795180814000000000)", Is("[13, 20, 14]")),
    same("x := time.date([1795180814000000000, \"Pacific/Auckland\"])", Is("[2026, 11, 21]")),
    same("x := time.weekday([1795180814000000000, \"Pacific/Auckland\"])", Is("\"Saturday\"")),
    same("x := time.weekday(-1)", Is("\"Wednesday\"")),
    same("x := time.clock([0, \"Mars/Olympus\"])", Fails),
    same("x := time.parse_rfc3339_ns(\"2026-11-25T00:00:00+01:00\")", Is("1795561200000000000")),
    only_ours("x := time.parse_rfc3339_ns(\"2026-11-24T23:00:00Z\")", Is("1795561200000000000")),
    same("x := time.parse_rfc3339_ns(\"2026-11-24\")", Fails),
    same("x := time.parse_duration_ns(\"1h30m\")", Is("5400000000000")),
    same("x := time.add_date(0, 0, 1, 0)", Is("2678400000000000")),
    // Kinds, and other functions.
    same("x := type_name({1})", Is("\"set\"")),
    same("x := is_array(input.list)", Is("true")),
    same("x := is_number(\"1\")", Is("false")),
    same("x := is_null(null)", Is("true")),
    same("x := array.concat([1], [2])", Is("[1, 2]")),
    same("x := array.slice([1, 2, 3, 4], 1, 3)", Is("[2, 3]")),
    same("x := array.reverse([1, 2])", Is("[2, 1]")),
    only_ours("x := net.cidr_contains(\"10.0.0.0/8\", \"10.1.2.3\")", Is("true")),
    only_ours("x := semver.compare(\"1.10.0\", \"1.9.0\")", Is("1")),
    same("x := base64.encode(\"a\")", Is("\"YQ==\"")),
    same("x := json.unmarshal(\"[1]\")", Is("[1]")),
    same("x := json.marshal({\"b\": 1, \"a\": [2]})", Is("\"{\\\"a\\\":[2],\\\"b\\\":1}\"")),
    same("x := count(null)", Fails),
    same("x := count(input.n)", Fails),
    differs(
        "x := [p | walk({\"a\": 1}, [p, 1])]",
        Is("[[\"a\"]]"),
        Fails,
        "`walk` in a comprehension is a fault, so nothing opens; ask for the members by name",
    ),
    // `with`, in tests.
    same("x := y if y := input.n with input as {\"n\": 9}", Is("9")),
    same("x := y if y := input.n with input.n as 9", Is("9")),
    same("x := y if y := input.a.b with input.n as 9", Is("1")),
    same("x := y if y := z with data.k as 4\nz := data.k", Is("4")),
    same("x := y if y := f(1) with f as 3\nf(a) := a", Is("3")),
    differs(
        "x if a == b with input as c(1)\na := input.v\nb := {1, 2}\nc(_) := {\"v\": b}",
        Is("true"),
        Undefined,
        "in a test, a rule that what stands behind `as` reads is undefined in the same line; bind that first: `call := c(1)`",
    ),
    // What a compiler refuses.
    only_ours("x if {\n\ty := 1\n\ty := 2\n}", Fails),
    only_ours("x if z > 1", Fails),
    only_ours("x if not y > 1", Fails),
    same("x if x", Fails),
    same("x := y\ny := x", Fails),
    same("x := no.such.function(1)", Fails),
    only_ours("x = 1 { true }", Fails),
    only_ours("x := f(1, 2)\nf(y) := y", Fails),
];

fn input() -> Value {
    json!({"n": 5, "no": false, "yes": true, "nothing": null, "a": {"b": 1}, "list": [{"n": 1}, {"m": 2}, {"n": 3}]})
}

fn job(text: &str) -> Job {
    Job {
        modules: BTreeMap::from([(
            "probe_test.rego".to_owned(),
            format!("package probe\n\nimport rego.v1\n\n{text}\n"),
        )]),
        data: json!({"k": 1}),
        query: "data.probe.x".to_owned(),
        strict: true,
        inputs: vec![input()],
    }
}

fn outcome(says: Says) -> Outcome {
    match says {
        Is(text) => Outcome::Is(serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))),
        Undefined => Outcome::Undefined,
        Fails => Outcome::Fails,
    }
}

/// `3` and `3.0` are one number.
fn plain(outcome: &Outcome) -> Outcome {
    fn number(value: &Value) -> Value {
        match value {
            Value::Array(items) => items.iter().map(number).collect(),
            Value::Object(members) => members.iter().map(|(name, value)| (name.clone(), number(value))).collect(),
            Value::Number(it) => match it.as_i64() {
                Some(whole) => json!(whole),
                None => it
                    .as_f64()
                    .filter(|it| it.fract() == 0.0 && it.abs() < 1e15)
                    .map_or(json!(it), |it| json!(it as i64)),
            },
            value => value.clone(),
        }
    }
    match outcome {
        Outcome::Is(value) => Outcome::Is(number(value)),
        outcome => outcome.clone(),
    }
}

#[test]
fn the_language_is_what_its_definition_says() {
    let jobs: Vec<Job> = PROBES.iter().map(|Probe(text, ..)| job(text)).collect();
    let theirs = theirs(&jobs);
    let mut wrong = Vec::new();
    for ((Probe(text, says, differs), job), theirs) in PROBES.iter().zip(&jobs).zip(&theirs) {
        let (ours, theirs, says) = (plain(&job.ours()[0]), plain(&theirs[0]), plain(&outcome(*says)));
        let (of_ours, of_theirs) = match differs {
            Nobody => (says.clone(), Some(says.clone())),
            Ours(other, _) => (plain(&outcome(*other)), None),
            Theirs => (says.clone(), None),
        };
        // A difference that is over is told too, so that the table stays true.
        let over = matches!(differs, Theirs) && theirs == says || matches!(differs, Ours(..)) && ours == says;
        if ours != of_ours || of_theirs.is_some_and(|expected| theirs != expected) || over {
            wrong.push(format!("{text}\n    says   {says:?}\n    ours   {ours:?}\n    theirs {theirs:?}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {} probes:\n{}", wrong.len(), PROBES.len(), wrong.join("\n"));
}

/// The rows of the table in docs/policies.md.
fn table() -> String {
    let code = |says: &Says| match says {
        Is(text) => format!("`{}`", text.replace('|', "\\|")),
        Undefined => "undefined".to_owned(),
        Fails => "a fault".to_owned(),
    };
    let mut rows = "| Rego | by its definition | here | so |\n|---|---|---|---|\n".to_owned();
    for Probe(text, says, differs) in PROBES {
        if let Ours(ours, meaning) = differs {
            let text = text.replace('\n', "; ").replace('\t', "").replace('|', "\\|");
            rows += &format!("| `{text}` | {} | {} | {meaning} |\n", code(says), code(ours));
        }
    }
    rows
}

#[test]
fn the_differences_are_told_in_the_documents() {
    const BEGIN: &str = "<!-- differences: kept by `UPDATE=1 cargo test -p qa --test policy differences` -->\n";
    const END: &str = "<!-- end of differences -->";
    let path = repository().join("docs/policies.md");
    let page = std::fs::read_to_string(&path).expect("docs/policies.md");
    let (before, rest) = page.split_once(BEGIN).expect("where the table begins");
    let (_, after) = rest.split_once(END).expect("where it ends");
    let kept = format!("{before}{BEGIN}\n{}\n{END}{after}", table());
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, kept).expect("docs/policies.md is written");
    } else {
        assert!(
            page == kept,
            "docs/policies.md is not what the probes say: UPDATE=1 cargo test -p qa --test policy differences"
        );
    }
}
