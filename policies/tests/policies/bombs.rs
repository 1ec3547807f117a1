//! Text that is small and would run the parser or the interpreter out of stack, memory or time: refused or bounded.

use std::time::{Duration, Instant};

use policies::{Decision, Limits, PolicySet};
use serde_json::json;

use crate::{facts, with};

/// Far more than anything takes, on a machine with other things to do.
const SLOW: Duration = Duration::from_secs(30);

fn rule(body: &str) -> String {
    format!("package alfred.rules.added\n\nimport rego.v1\n\n{body}\n")
}

/// Compiles it, and decides by it where it may be loaded; what it says does not matter, that it says something does.
fn survives(name: &str, text: &str) {
    if std::env::var("BOMB").is_ok_and(|wanted| wanted != name) {
        return;
    }
    let begun = Instant::now();
    if let Ok(set) = PolicySet::compile(&with(&[text]), json!({}), Limits::default()) {
        match set.decide(&facts()) {
            Decision::Allow(_) => {}
            Decision::Deny(reasons) => assert!(!reasons.is_empty()),
        }
    }
    assert!(begun.elapsed() < SLOW, "{name} takes {:?}", begun.elapsed());
}

#[test]
fn nothing_small_takes_the_process_down() {
    let deny = |value: &str| rule(&format!("deny contains m if m := {value}"));
    let many = |piece: &str, times: usize| piece.repeat(times);
    let letters = |range: usize| (0..range).map(|at| format!("x{at}")).collect::<Vec<_>>();
    for (name, text) in [
        ("sums", deny(&format!("1{}", many(" + 1", 40_000)))),
        ("unions", deny(&format!("{{1}}{}", many(" | {1}", 25_000)))),
        ("products", deny(&format!("1{}", many(" * 1", 40_000)))),
        ("comparisons", deny(&format!("1{}", many(" == 1", 30_000)))),
        ("memberships", deny(&format!("1{}", many(" in [1]", 25_000)))),
        ("minuses", deny(&format!("{}1", many("-", 100_000)))),
        ("spaced minuses", deny(&format!("{}1", many("- ", 100_000)))),
        ("nots", rule(&format!("deny contains 1 if {}true", many("not ", 50_000)))),
        ("dots", deny(&format!("input{}", many(".a", 100_000)))),
        ("brackets in a row", deny(&format!("input{}", many("[0]", 60_000)))),
        ("calls in a row", deny(&format!("f{}", many("(1)", 60_000)))),
        ("brackets", deny(&format!("{}1{}", many("[", 100_000), many("]", 100_000)))),
        ("brackets within the bound", deny(&format!("{}1{}", many("[", 12), many("]", 12)))),
        ("braces within the bound", deny(&format!("{}1{}", many("{", 12), many("}", 12)))),
        ("parentheses within the bound", deny(&format!("{}1{}", many("(", 12), many(")", 12)))),
        (
            "elses",
            rule(&format!("a := 1 if input.x{}\n\ndeny contains a if a > 1", many(" else := 2 if input.y", 10_000))),
        ),
        ("assignments", rule(&format!("deny contains 1 if x := {}1", many("y := ", 40_000)))),
        ("everys", rule(&format!("deny contains 1 if {}true{}", many("every x in [1] { ", 12), many(" }", 12)))),
        ("withs", rule(&format!("deny contains 1 if true{}", many(" with input as 1", 12_000)))),
        ("somes", rule(&format!("deny contains 1 if {{ some {} in [1] }}", letters(20_000).join(", ")))),
        ("variables", rule(&format!("deny contains 1 if {{ some {}; true }}", letters(20_000).join(", ")))),
        (
            "chained variables",
            rule(&format!(
                "deny contains 1 if {{ x0 := 1; {} }}",
                (1..8_000).map(|at| format!("x{at} := x{}", at - 1)).collect::<Vec<_>>().join("; ")
            )),
        ),
        (
            "variables turned round",
            rule(&format!(
                "deny contains 1 if {{ {}; x4000 := 1 }}",
                (0..4_000).map(|at| format!("x{at} = x{}", at + 1)).collect::<Vec<_>>().join("; ")
            )),
        ),
        ("a long name", deny(&many("a", 200_000))),
        ("a long text", deny(&format!("\"{}\"", many("a", 200_000)))),
        ("escapes", deny(&format!("\"{}\"", many("\\u0041", 40_000)))),
        ("an open text", deny(&format!("\"{}", many("a", 200_000)))),
        ("an open raw text", deny(&format!("`{}", many("a\n", 100_000)))),
        ("digits", deny(&many("9", 200_000))),
        ("an exponent", deny("1e999999999")),
        ("a small exponent", deny("1e-999999999")),
        ("a large product", deny("1e300 * 1e300 * 1e300")),
        ("a large whole number", deny(&format!("{0} * {0} * {0}", many("9", 60_000)))),
        ("comments", many("#\n", 120_000)),
        ("semicolons", rule(&format!("deny contains 1 if {{ {} }}", many("true;", 40_000)))),
        ("imports", format!("package alfred.rules.added\n{}", many("import data.a\n", 15_000))),
        ("rules", rule(&many("max_output_tokens contains 1\n", 4_000))),
        ("carriage returns", many("\r", 1_000)),
        ("zeros", many("\0", 1_000)),
    ] {
        eprintln!("{name}");
        survives(name, &text);
    }
}

/// What was found to kill or stall, and the refusal that it has become.
#[test]
fn what_was_found_is_refused() {
    let deny = |value: &str| rule(&format!("deny contains m if m := {value}"));
    let chain = |step: &str| {
        let steps: Vec<String> =
            (1..20).map(|at| format!("x{at} := {}", step.replace('#', &format!("x{}", at - 1)))).collect();
        rule(&format!("deny contains x19 if {{\n\tx0 := input.request.input_tokens\n\t{}\n}}", steps.join("\n\t")))
    };
    let through = "f(x) := x * x\n\ng(x) := f(f(f(f(f(x)))))\n\nh(x) := g(g(g(g(x))))";
    for (text, expected) in [
        (deny(&format!("{}1", "-".repeat(13))), "brackets nest deeper than 12, or so many `-`"),
        (deny(&format!("{}1", "- \n".repeat(13))), "brackets nest deeper than 12, or so many `-`"),
        (
            rule(&format!("deny contains 1 if {}true", "not ".repeat(13))),
            "brackets nest deeper than 12, or so many `-`",
        ),
        (deny(&format!("\"{}", "a".repeat(70_000))), "the line has more than 16000 bytes"),
        (chain("# * #"), "alfred.rules.added.deny multiplies, joins or replaces one upon another"),
        (chain("concat(\"\", [#, #])"), "alfred.rules.added.deny multiplies, joins or replaces"),
        (chain("replace(#, \"a\", \"aa\")"), "alfred.rules.added.deny multiplies, joins or replaces"),
        (
            rule(&format!("deny contains m if {{\n\tn := h(2)\n\tm := n * n\n}}\n\n{through}")),
            "alfred.rules.added.deny multiplies",
        ),
        (deny(&"9".repeat(41)), "a number is written with more than 40 digits"),
        (deny("product([1, 2])"), "product is refused: it is unbounded"),
        (deny("units.parse(\"1e999999999E\")"), "units.parse is refused: it is unbounded"),
    ] {
        let found = PolicySet::compile(&with(&[&text]), json!({}), Limits::default());
        let faults = found.expect_err(expected);
        assert!(faults.iter().any(|fault| fault.message.starts_with(expected)), "{faults:#?}\n{expected}");
    }
}

#[test]
fn nothing_small_runs_away_while_it_is_evaluated() {
    let deny = |value: &str| rule(&format!("deny contains m if m := {value}"));
    let thousand = "numbers.range(1, 1000)";
    for (name, text) in [
        (
            "a product of lists",
            deny(&format!("count([1 | some a in {thousand}; some b in {thousand}; some c in {thousand}])")),
        ),
        (
            "a product that is kept",
            deny(&format!("count([[a, b, c] | some a in {thousand}; some b in {thousand}; some c in {thousand}])")),
        ),
        ("a set of pairs", deny(&format!("count({{[a, b] | some a in {thousand}; some b in {thousand}}})"))),
        (
            "texts that double",
            rule(&format!(
                "deny contains x40 if {{ x0 := \"aaaaaaaaaaaaaaaa\"; {} }}",
                (1..41).map(|at| format!("x{at} := concat(\"\", [x{0}, x{0}])", at - 1)).collect::<Vec<_>>().join("; ")
            )),
        ),
        (
            "lists that double",
            rule(&format!(
                "deny contains count(x40) if {{ x0 := [1]; {} }}",
                (1..41).map(|at| format!("x{at} := array.concat(x{0}, x{0})", at - 1)).collect::<Vec<_>>().join("; ")
            )),
        ),
        (
            "numbers that double",
            rule(&format!(
                "deny contains x40 if {{ x0 := 99999999999999999999; {} }}",
                (1..41).map(|at| format!("x{at} := x{0} * x{0}", at - 1)).collect::<Vec<_>>().join("; ")
            )),
        ),
        (
            "replacements that grow",
            rule(&format!(
                "deny contains x12 if {{ x0 := \"aaaaaaaa\"; {} }}",
                (1..13)
                    .map(|at| format!("x{at} := replace(x{}, \"a\", \"aaaaaaaa\")", at - 1))
                    .collect::<Vec<_>>()
                    .join("; ")
            )),
        ),
        (
            "a pattern that backtracks elsewhere",
            deny("regex.match(`(a+)+$`, \"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab\")"),
        ),
        ("a pattern that repeats", deny("regex.match(`((a{100}){100}){100}`, \"a\")")),
        ("a pattern that repeats classes", deny("regex.match(`\\pL{900}`, \"a\")")),
        (
            "a pattern that is put together",
            rule(
                "deny contains 1 if { p := concat(\"\", [`\\\\w{`, \"500\", `}`]); regex.match(p, input.request.model) }",
            ),
        ),
        (
            "patterns that are put together",
            rule(
                "deny contains 1 if { some n in numbers.range(100, 900); p := concat(\"\", [`\\w{`, format_int(n, 10), `}`]); regex.match(p, input.request.model) }",
            ),
        ),
        (
            "a glob that branches",
            deny(&format!("glob.match(\"{}\", [], \"{}\")", "{a,b}".repeat(200), "a".repeat(200))),
        ),
        ("a glob of stars", deny(&format!("glob.match(\"{}\", [], \"{}\")", "*a".repeat(500), "a".repeat(1_000)))),
        (
            "a format that repeats",
            deny(&format!("sprintf(\"{}\", [{}])", "%s".repeat(10_000), "1,".repeat(9_999) + "1")),
        ),
        ("a walk", deny("count([1 | walk(input); walk(input); walk(input); walk(input)])")),
        ("a long range", deny("numbers.range(1, 10000)")),
        ("indexof", deny(&format!("count(indexof_n(\"{}\", \"a\"))", "a".repeat(10_000)))),
        ("splits", deny(&format!("count(split(\"{}\", \"\"))", "a".repeat(10_000)))),
        ("json", deny(&format!("json.unmarshal(\"{}\")", "[".repeat(20_000)))),
        ("base64", deny(&format!("base64.decode(\"{}\")", "QUFB".repeat(10_000)))),
        ("a number of a text", deny("to_number(\"1e999999999\") + 1")),
        ("a number of json", deny("json.unmarshal(\"1e999999999\") + 1")),
        ("a large remainder", deny("1e999999999 % 7")),
        ("a large difference", deny("1e999999999 - 1")),
        ("a large comparison", deny("1e999999999 > 1")),
        ("a large rounding", deny("round(1e999999999)")),
        ("units", deny("units.parse(\"1e999999999E\")")),
        ("days", deny("time.add_date(1, 999999999, 999999999, 999999999)")),
        ("format_int", deny("format_int(1e300, 2)")),
        ("powers", deny("bits.rsh(1, 1000000000)")),
        ("strings.render", deny("strings.repeat(\"a\", 1000000000)")),
        ("pads", deny("sprintf(\"%0999d\", [1])")),
        ("object.union", deny(&format!("object.union_n([x | some i in {thousand}; x := {{i: {thousand}}}])"))),
        (
            "a cartesian product of sets",
            deny(&format!("count({{x | some a in {thousand}; x := {{b | some b in {thousand}}}}})")),
        ),
        ("sorts", deny(&format!("count([sort({thousand}) | some a in {thousand}; some b in {thousand}])"))),
        ("graph", deny(&format!("graph.reachable({{n: {thousand} | some n in {thousand}}}, [1])"))),
        (
            "functions of functions",
            rule(&format!(
                "deny contains m if m := f9(1)\n\n{}\nf0(x) := x",
                (1..10)
                    .map(|at| format!("f{at}(x) := count([1 | some a in numbers.range(1, 10); f{}(a)])\n", at - 1))
                    .collect::<String>()
            )),
        ),
    ] {
        eprintln!("{name}");
        survives(name, &text);
    }
}
