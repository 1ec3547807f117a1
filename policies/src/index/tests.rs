//! What is left out would have contributed nothing: evaluating only what can apply says the same as evaluating everything.

use std::collections::BTreeMap;

use serde_json::{Value as Json, json};

use crate::rulebook::Scope;
use crate::verdict::Said;
use crate::{Facts, Limits, Outcome, PolicySet, Rulebook, Source, engine, shipped};

struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most as u64) as usize
    }

    fn of<'t>(&mut self, these: &[&'t str]) -> &'t str {
        these[self.below(these.len())]
    }

    fn some(&mut self, these: &[&str]) -> Vec<String> {
        (0..self.below(3)).map(|_| self.of(these).to_owned()).collect()
    }
}

const NAMES: [&str; 4] = ["a", "b", "c", ""];

fn data() -> Json {
    json!({"acme": {
        "name": "a", "names": ["a", "c"], "none": [], "nothing": {}, "flag": true, "off": false, "empty": null, "hours": 8,
        "by_name": {"x": "b", "y": "c"}, "limits": {"a": 3, "b": 9}, "numbers": [1, 2.0, "c", null],
    }})
}

/// One statement; `@` stands for a name, `#` for a small number, `$` for a variable of its own.
const STATEMENTS: [&str; 66] = [
    "input.caller.team == \"@\"",
    "\"@\" == input.caller.team",
    "input.caller.team != \"@\"",
    "input[\"caller\"].team == \"@\"",
    "input.caller.team = \"@\"",
    "input.caller.team in {\"@\", \"@\"}",
    "input.caller.team in [\"@\", data.acme.name]",
    "input.caller.team in data.acme.names",
    "input.caller.team in data.acme.by_name",
    "input.caller.team in data.acme.missing",
    "input.caller.team in data.acme.none",
    "not input.caller.team in data.acme.names",
    "not input.caller.team == \"@\"",
    "input.caller.team == data.acme.name",
    "input.caller.team == data.acme.missing",
    "data.acme.limits[input.caller.team] > #",
    "data.acme.missing[input.caller.team] > #",
    "data.acme.nothing[_] == input.caller.team",
    "\"@\" in input.caller.groups",
    "not \"@\" in input.caller.groups",
    "\"@\" in object.get(input.caller, \"groups\", [])",
    "some $ in input.caller.groups\n\t$ == \"@\"",
    "input.caller.groups == []",
    "input.caller.groups[_] == \"@\"",
    "input.caller.groups[0] == \"@\"",
    "input.request.images",
    "not input.request.images",
    "input.request.images == false",
    "input.request.tier == #",
    "input.request.tier == #.0",
    "input.request.tier in data.acme.numbers",
    "input.request.tier < #",
    "# <= input.request.tier",
    "input.request.tier > \"@\"",
    "input.request.tier + 1 > #",
    "input.request.max_output_tokens",
    "not input.request.max_output_tokens",
    "input.request.max_output_tokens > #",
    "$ := input.request.max_output_tokens\n\t$ != #",
    "_ = input.request.max_output_tokens",
    "input.findings.email > #",
    "not input.findings.email",
    "input.findings[_] > #",
    "some $, $n in input.findings\n\t$n > #\n\t$ != \"@\"",
    "count(input.findings) > 0",
    "count(input.findings) == 0",
    "count(input.findings) < #",
    "object.get(input.findings, \"email\", 0) == #",
    "object.get(input.caller, \"team\", \"@\") == \"@\"",
    "object.get(input.caller, \"team\", \"none\") in data.acme.names",
    "not object.get(input.caller, \"team\", \"none\") == \"@\"",
    "input.caller.tags.env == \"@\"",
    "input.caller.models == null",
    "is_array(input.caller.models)",
    "not is_null(input.caller.models)",
    "is_string(input.caller.team)",
    "startswith(input.caller.team, \"@\")",
    "every $ in input.candidates { $.region == \"@\" }",
    "who.team == \"@\"",
    "known.name == who.team",
    "data.acme.flag",
    "not data.acme.off",
    "input.time.hour < data.acme.hours",
    "$ := input.caller.team\n\t$ == \"@\"",
    "count([$ | some $ in input.caller.groups; $ == \"@\"]) > 0",
    "count({$ | some $ in input.caller.groups; $ == who.team}) > 0",
];
const HELPERS: [&str; 7] =
    ["first", "not first", "second", "not second", "data.acme_lib.third", "either", "listed[\"@\"]"];

fn filled(template: &str, at: usize, chance: &mut Chance) -> String {
    let parts = template.chars().map(|letter| match letter {
        '@' => chance.of(&NAMES).to_owned(),
        '#' => chance.below(4).to_string(),
        '$' => format!("v{at}"),
        other => other.to_string(),
    });
    parts.collect()
}

fn body(chance: &mut Chance, with_helpers: bool) -> String {
    let statements = (0..1 + chance.below(3)).map(|at| {
        let template = match with_helpers && chance.below(4) == 0 {
            true => chance.of(&HELPERS),
            false => chance.of(&STATEMENTS),
        };
        filled(template, at, chance)
    });
    statements.collect::<Vec<_>>().join("\n\t")
}

/// Rules of two packages with helpers of their own and one of another's.
fn sources(chance: &mut Chance) -> Vec<Source> {
    let imports = "import rego.v1\nimport input.caller as who\nimport data.acme as known";
    let members = ["deny", "allow", "tags"];
    let package = |name: &str, chance: &mut Chance| {
        let mut text = format!("package alfred.rules.{name}\n{imports}\n");
        for at in 0..8 {
            text += &format!("\n{} contains \"{at}\" if {{\n\t{}\n}}\n", chance.of(&members), body(chance, true));
        }
        text += &format!("\ndeny contains \"first\" if first\nfirst if {{\n\t{}\n}}\n", body(chance, false));
        text += &format!("\ndeny contains \"or\" if either\neither if {{\n\t{}\n}}\n", body(chance, false));
        text += &format!("either if {{\n\t{}\n}}\n", body(chance, false));
        text += "\ndeny contains \"second\" if second\ndefault second := false\n";
        text += &format!("second if {{\n\tfirst\n\t{}\n}}\n", body(chance, false));
        text += "\ndeny contains \"listed\" if listed.a\n";
        text += &format!("listed[name] := true if {{\n\tname := \"a\"\n\t{}\n}}\n", body(chance, false));
        text += "\nallow contains x if some x in deny\n";
        Source::new(format!("{name}.rego"), text)
    };
    let library = format!("package acme_lib\n{imports}\nthird if {{\n\t{}\n}}\nfourth if third", body(chance, false));
    let reader = "package alfred.rules.reader\ndeny contains \"lib\" if data.acme_lib.fourth";
    vec![
        package("one", chance),
        package("two", chance),
        Source::new("lib.rego", library),
        Source::new("reader.rego", reader),
    ]
}

fn facts(chance: &mut Chance) -> Facts {
    let mut facts = engine::sample();
    facts.caller.team = Some(chance.of(&NAMES).to_owned()).filter(|_| chance.below(4) > 0);
    facts.caller.org = chance.of(&["org_0", "org_1"]).into();
    facts.caller.groups = chance.some(&NAMES);
    facts.caller.models = Some(chance.some(&["sample", "other"])).filter(|_| chance.below(2) > 0);
    facts.caller.tags = match chance.below(2) {
        0 => BTreeMap::new(),
        _ => BTreeMap::from([("env".into(), chance.of(&NAMES).into())]),
    };
    facts.request.images = chance.below(2) == 0;
    facts.request.tier = chance.below(4) as u8;
    facts.request.max_output_tokens = Some(chance.below(4) as u64).filter(|_| chance.below(2) > 0);
    facts.findings.clear();
    for kind in ["email", "phone"] {
        if chance.below(2) == 0 {
            facts.findings.insert(kind.into(), chance.below(4) as u64);
        }
    }
    facts.candidates[0].region = chance.of(&NAMES).into();
    facts.time.hour = chance.below(24) as u8;
    facts.budget.downgrade = chance.below(2) == 0;
    facts
}

fn told(said: Vec<Said>) -> Vec<(String, &'static str, Vec<regorus::Value>)> {
    // A package that says nothing says it whether it is asked or not, but for `allow`.
    let spoken = said.into_iter().filter(|it| it.member == "allow" || !it.values.is_empty());
    spoken.map(|it| (it.package, it.member, it.values)).collect()
}

/// Both ways of a decision, and that a rule which is said not to apply says nothing.
fn check(set: &PolicySet, facts: &Facts, sources: &[Source]) -> usize {
    let shown = || sources.iter().map(|source| source.text.as_str()).collect::<Vec<_>>().join("\n---\n");
    let indexed = set.contributions(&Scope::House, facts).map(told);
    let all = set.all_contributions(&Scope::House, facts).map(told);
    assert_eq!(indexed, all, "{facts:?}\n{}", shown());
    let index = set.index();
    let input = crate::input::input(facts);
    let matching = index.matching(&input);
    for entry in index.live() {
        let applies = matching.contains(&entry);
        assert_eq!(applies, index.skipped(entry, &input).is_none(), "{facts:?}\n{}", shown());
        if !applies {
            let values = set.values(&[entry], input.clone());
            let at = &index.entries[entry];
            assert_eq!(values, Ok(vec![Vec::new()]), "{}:{} {facts:?}\n{}", at.path, at.line, shown());
        }
    }
    index.live().count() - matching.len()
}

#[test]
fn what_is_left_out_would_have_contributed_nothing() {
    let mut chance = Chance(0x5eed);
    let (mut sets, mut skipped, mut fired, mut idle) = (0, 0, 0, 0);
    while sets < 50 {
        let sources = sources(&mut chance);
        let limits = Limits { time: std::time::Duration::from_secs(30), ..Limits::default() };
        // The interpreter takes some rules with several loops for unsafe, and refuses them.
        let Ok(set) = PolicySet::compile(&sources, data(), limits) else { continue };
        sets += 1;
        for _ in 0..20 {
            let facts = facts(&mut chance);
            skipped += check(&set, &facts, &sources);
        }
        for rule in set.explain(&Scope::House, &facts(&mut chance)).rules {
            match rule.outcome {
                Outcome::Fired { .. } => fired += 1,
                Outcome::Idle { .. } => idle += 1,
                _ => {}
            }
        }
    }
    assert!(skipped > 8_000 && fired > 250 && idle > 50, "{sets} sets: {skipped} skipped, {fired} fired, {idle} idle");
}

/// A rule that never contributes is not evaluated even when everything is: so these are compared with what the interpreter says.
#[test]
fn a_rule_that_cannot_contribute_with_this_data_does_not() {
    let mut chance = Chance(0xfeed);
    let mut idle = 0;
    for _ in 0..60 {
        let mut sources = sources(&mut chance);
        let Ok(set) = PolicySet::compile(&sources, data(), Limits::default()) else { continue };
        // One rule alone to a member: what it contributes is what the interpreter finds there.
        for (at, entry) in set.index().entries.iter().enumerate() {
            if !matches!(entry.when, super::When::Never(_)) {
                continue;
            }
            idle += 1;
            let source = sources.iter_mut().find(|source| source.path == entry.path).unwrap();
            let before = source.text.clone();
            let mut lines: Vec<String> = before.lines().map(str::to_owned).collect();
            let line = &mut lines[entry.line as usize - 1];
            let member = line.split(' ').next().unwrap().to_owned();
            *line = line.replacen(&member, "alone", 1);
            source.text = lines.join("\n");
            let package = set.index().sections[entry.section].package.clone();
            let query = format!("data.alfred.rules.{package}.alone");
            let mut engine = regorus::Engine::new();
            for source in &sources {
                engine.add_policy(source.path.clone(), source.text.clone()).unwrap();
            }
            engine.add_data(regorus::Value::from(data())).unwrap();
            for _ in 0..10 {
                engine.set_input(crate::input::input(&facts(&mut chance)));
                let found = engine.eval_rule(query.clone()).unwrap();
                assert!(found.as_set().unwrap().is_empty(), "entry {at}\n{}", sources[0].text);
            }
            let source = sources.iter_mut().find(|source| source.path == entry.path).unwrap();
            source.text = before;
        }
    }
    assert!(idle > 50, "{idle} idle");
}

#[test]
fn the_shipped_rules_say_the_same_either_way() {
    let settings = [
        json!({}),
        json!({"residency": {"regions": ["eu"], "teams": {"a": {"regions": []}}}, "caps": {"max_output_tokens": 9}}),
        json!({"safety": {"actions": {"email": "block"}}, "cache": {"enabled": true, "ttl_seconds": 5}}),
        json!({"downgrade": {"models": {"sample": "cheap"}}, "caps": {"models": {"sample": {"max_output_tokens": 3}}}}),
    ];
    let mut chance = Chance(0xa1f);
    for alfred in settings {
        let set = PolicySet::compile(&shipped(), json!({ "alfred": alfred }), Limits::default()).unwrap();
        for _ in 0..100 {
            let facts = facts(&mut chance);
            check(&set, &facts, &[]);
            assert_eq!(set.decide(&facts), set.decide_unindexed(&facts), "{facts:?}");
        }
    }
}

#[test]
fn an_explanation_names_every_rule_and_what_became_of_it() {
    let finance = "package alfred.rules.finance\nimport rego.v1\n\ndeny contains {\"code\": \"policy_denied\", \"message\": \"no\"} if {\n\tinput.caller.team in {\"a\", \"b\"}\n\tinput.request.images\n}\n\ntags contains {\"unit\": \"finance\"}\n\ndeny contains {\"code\": \"policy_denied\", \"message\": \"late\"} if input.time.hour > data.acme.closing\n\nmax_output_tokens contains 5 if input.request.input_tokens * 2 < 1\n";
    let sources: Vec<Source> = shipped().into_iter().chain([Source::new("finance.rego", finance)]).collect();
    let set = PolicySet::compile(&sources, json!({"alfred": {"log_only": ["vendors"]}}), Limits::default()).unwrap();
    let book = Rulebook::new(std::sync::Arc::new(set));
    let explained = |facts: &Facts| {
        let explanation = book.explain(facts);
        assert_eq!(explanation.decision, book.decide(facts).decision);
        let rules = explanation.layers.into_iter().flat_map(|layer| layer.rules);
        let rules = rules.filter(|rule| rule.path == "finance.rego");
        rules.map(|rule| (rule.line, rule.member, serde_json::to_value(rule.outcome).unwrap())).collect::<Vec<_>>()
    };
    let mut facts = engine::sample();
    facts.request.images = true;
    facts.caller.team = Some("a".into());
    let reason = json!({"code": "policy_denied", "message": "no"});
    let others = [
        (11, "deny".to_owned(), json!({"outcome": "idle", "why": "input.time.hour > data.acme.closing never holds"})),
        (13, "max_output_tokens".to_owned(), json!({"outcome": "silent"})),
        (9, "tags".to_owned(), json!({"outcome": "fired", "values": [{"unit": "finance"}]})),
    ];
    let with = |first: Json| [vec![(4, "deny".to_owned(), first)], others.to_vec()].concat();
    assert_eq!(explained(&facts), with(json!({"outcome": "fired", "values": [reason]})));
    facts.request.images = false;
    assert_eq!(explained(&facts), with(json!({"outcome": "skipped", "unmet": "input.request.images"})));
    facts.caller.team = Some("c".into());
    let unmet = "input.caller.team in {\"a\", \"b\"}";
    assert_eq!(explained(&facts), with(json!({"outcome": "skipped", "unmet": unmet})));
}
