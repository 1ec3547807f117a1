//! The library: what settings make of a call, through the whole engine; that what has no settings costs nothing; and that a layer
//! may be settings alone.

use std::sync::Arc;

use policies::{Code, Facts, Limits, PolicySet, Rulebook, Scope, Source, shipped_for};
use serde_json::{Value, json};

use crate::{allowed, denied, facts, policy};

/// What a call comes to.
#[derive(Debug, PartialEq)]
enum Comes {
    To(&'static [&'static str]),
    Denied(Code),
}

const ALL: Comes = Comes::To(&["openai/gpt-4o", "azure-eu/gpt-4o", "azure-ch/gpt-4o"]);

fn comes(settings: &Value, facts: &Facts) -> Comes {
    match policy(settings.clone(), &[]).decide(facts) {
        policies::Decision::Allow(obligations) => {
            let known = ["openai/gpt-4o", "azure-eu/gpt-4o", "azure-ch/gpt-4o"];
            let targets: Vec<&'static str> =
                known.into_iter().filter(|it| obligations.targets.iter().any(|to| to == it)).collect();
            Comes::To(targets.leak())
        }
        policies::Decision::Deny(reasons) => Comes::Denied(reasons[0].code),
    }
}

/// A setting, a change of the usual call that it does not speak of, and one that it does, with what that comes to.
type Case = (&'static str, Value, fn(&mut Facts), fn(&mut Facts), Comes);

fn cases() -> Vec<Case> {
    const DENIED: Comes = Comes::Denied(Code::PolicyDenied);
    let intern: fn(&mut Facts) = |it| it.caller.groups = vec!["interns".into()];
    let nobody: fn(&mut Facts) = |it| it.caller.groups.clear();
    let staff: fn(&mut Facts) = |it| it.caller.groups = vec!["staff".into()];
    vec![
        (
            "business_hours",
            // The usual call comes on 2026-11-20 at 13:20 UTC, a Friday.
            json!({"rules": [{"zone": "UTC", "open": [{"days": ["friday"], "from": "08:00", "until": "14:00"}]}]}),
            |_| {},
            |it| it.time = policies::TimeFacts::at(it.time.unix_seconds + 3_600),
            DENIED,
        ),
        (
            "data_classes",
            json!({
                "name": "data_class", "default": "public",
                "classes": {"public": {"models": ["*"]}, "patient": {"models": ["azure-*"], "regions": ["ch"]}},
                "findings": {"us_ssn": "patient"},
            }),
            |_| {},
            |it| it.findings.extend([("us_ssn".into(), 1)]),
            Comes::To(&["azure-ch/gpt-4o"]),
        ),
        (
            "boundary",
            json!({"attribute": {"name": "seat", "regions": {"any": ["us", "eu", "ch"], "de": ["eu"]}}}),
            |it| drop(it.caller.attributes.org.insert("seat".into(), "any".into())),
            |it| drop(it.caller.attributes.org.insert("seat".into(), "de".into())),
            Comes::To(&["azure-eu/gpt-4o"]),
        ),
        (
            "boundary",
            json!({"rules": [{"except": {"groups": ["staff"]}, "regions": ["jp"]}]}),
            staff,
            nobody,
            Comes::Denied(Code::ResidencyViolation),
        ),
        (
            "spend_tiers",
            json!({"tiers": [{"name": "staff", "only": {"groups": ["staff"]}, "models": ["gpt-4o"]}]}),
            staff,
            nobody,
            DENIED,
        ),
        (
            "tools",
            json!({"rules": [{"only": {"groups": ["interns"]}, "allow": ["search"]}]}),
            |it| {
                (it.caller.groups, it.request.tools, it.request.tool_names) =
                    (vec!["interns".into()], true, vec!["search".into()])
            },
            |it| {
                (it.caller.groups, it.request.tools, it.request.tool_names) =
                    (vec!["interns".into()], true, vec!["shell".into()])
            },
            DENIED,
        ),
        (
            "mcp",
            json!({"rules": [{"servers": ["crm", "mcp.bank.example"]}]}),
            |it| it.request.mcp_servers = vec!["crm".into(), "mcp.bank.example".into()],
            |it| it.request.mcp_servers = vec!["elsewhere.example".into()],
            DENIED,
        ),
        (
            "secrets",
            json!({"rules": [{"kinds": ["api_key"]}]}),
            |_| {},
            |it| it.findings.extend([("api_key".into(), 1)]),
            DENIED,
        ),
        (
            "freeze",
            json!({"rules": [{"from": "2026-11-20T13:00:00Z", "until": "2026-11-20T14:00:00Z", "keys": ["key_pager"]}]}),
            |it| it.caller.key = "key_pager".into(),
            |_| {},
            DENIED,
        ),
        (
            "vendors",
            json!({"rules": [{"only": {"groups": ["interns"]}, "deny": ["openai"]}]}),
            nobody,
            intern,
            Comes::To(&["azure-eu/gpt-4o", "azure-ch/gpt-4o"]),
        ),
        (
            "prompt_size",
            json!({"rules": [{"max_input_tokens": 500}]}),
            |_| {},
            |it| it.request.input_tokens = 501,
            DENIED,
        ),
        (
            "features",
            json!({"rules": [{"refuse": ["images"], "kinds": ["chat.*"]}]}),
            |_| {},
            |it| it.request.images = true,
            DENIED,
        ),
        (
            "price_ceiling",
            json!({"rules": [{"max_input_usd": "2.50"}]}),
            |_| {},
            |it| it.candidates[0].price_input = None,
            Comes::To(&["azure-eu/gpt-4o", "azure-ch/gpt-4o"]),
        ),
        (
            "chargeback",
            json!({"rules": [{"tag": "project", "claims": true, "values": ["atlas"]}]}),
            |it| drop(it.request.claims.insert("project".into(), "atlas".into())),
            |it| drop(it.request.claims.insert("project".into(), "gemini".into())),
            DENIED,
        ),
        (
            "minors",
            json!({"except": {"groups": ["staff"]}, "models": ["azure-ch/*"]}),
            staff,
            nobody,
            Comes::To(&["azure-ch/gpt-4o"]),
        ),
    ]
}

#[test]
fn each_rule_binds_those_it_speaks_of_and_nobody_else() {
    for (name, settings, missed, met, comes_to) in cases() {
        let alfred = json!({ name: settings });
        let (mut miss, mut meet) = (facts(), facts());
        missed(&mut miss);
        met(&mut meet);
        assert_eq!(comes(&alfred, &miss), ALL, "{name}: missed");
        assert_eq!(comes(&alfred, &meet), comes_to, "{name}: met");
        assert_eq!(comes(&json!({}), &meet), ALL, "{name}: without settings");
    }
}

#[test]
fn all_rules_together_are_as_strict_as_the_strictest() {
    let mut settings = serde_json::Map::new();
    for (name, setting, ..) in cases() {
        settings.entry(name).or_insert(setting);
    }
    let settings = Value::from(settings);
    for (name, _, _, met, comes_to) in cases() {
        let mut facts = facts();
        met(&mut facts);
        let Comes::To(most) = comes_to else {
            denied(policy(settings.clone(), &[]).decide(&facts));
            continue;
        };
        if let Comes::To(targets) = comes(&settings, &facts) {
            assert!(targets.iter().all(|target| most.contains(target)), "{name}: {targets:?}");
        }
    }
}

#[test]
fn a_rule_without_settings_makes_no_fact_count() {
    let decided_twice = |alfred: Value| {
        let book = Rulebook::new(Arc::new(policy(alfred, &[])));
        let mut later = facts();
        later.time = policies::TimeFacts::at(later.time.unix_seconds + 1);
        (later.caller.key, later.request.input_tokens) = ("key_2".into(), 7);
        book.decide(&facts());
        book.decide(&later).remembered
    };
    assert!(decided_twice(json!({})));
    assert!(decided_twice(json!({"vendors": {"rules": [{"deny": ["x"]}]}})));
    assert!(!decided_twice(json!({"prompt_size": {"rules": [{"max_input_tokens": 500}]}})));
}

#[test]
fn a_rule_without_settings_is_there_for_those_that_read_it() {
    let reader = r#"package alfred.rules.strict
import rego.v1
import data.alfred.rules.callers
import data.alfred.rules.patterns
deny contains {"code": "policy_denied", "message": "no"} if {
	callers.bound({"except": {"groups": ["staff"]}})
	patterns.fits(input.request.model, ["gpt-*"])
}"#;
    assert_eq!(denied(policy(json!({}), &[reader]).decide(&facts())), [Code::PolicyDenied]);
    let mut staff = facts();
    staff.caller.groups = vec!["staff".into()];
    allowed(policy(json!({}), &[reader]).decide(&staff));

    let of_caps = r#"package alfred.rules.most
import rego.v1
tags contains {"capped": text} if text := sprintf("%d", [count(data.alfred.rules.caps.max_output_tokens)])"#;
    assert_eq!(allowed(policy(json!({}), &[of_caps]).decide(&facts())).tags["capped"], "0");
}

#[test]
fn a_module_that_only_bears_a_shipped_name_is_in_force() {
    let text = "package alfred.rules.mine\n\nimport rego.v1\n\nallow contains target if {\n\tsome it in input.candidates\n\ttarget := it.target\n}\n";
    let table = "actions contains {\"email\": \"allow\", \"payment_card\": \"allow\", \"iban\": \"allow\", \"us_ssn\": \"allow\", \"phone\": \"allow\", \"api_key\": \"allow\"}\n";
    let set =
        PolicySet::compile(&[Source::new("alfred/mine.rego", [text, table].concat())], json!({}), Limits::default());
    allowed(set.unwrap().decide(&facts()));
}

#[test]
fn a_layer_may_be_settings_alone() {
    let layer = |scope: &Scope, alfred: Value| {
        let limits = Limits { time: std::time::Duration::from_secs(30), ..Limits::default() };
        Arc::new(PolicySet::compile(&shipped_for(scope), json!({ "alfred": alfred }), limits).unwrap())
    };
    let (org, team) = (Scope::Org("org_1".into()), Scope::Team("team_1".into()));
    let house = Arc::new(policy(json!({}), &[]));
    let eu = layer(&org, json!({"residency": {"regions": ["eu", "ch"]}}));
    let no_azure_ch = layer(&team, json!({"vendors": {"rules": [{"deny": ["azure-ch"]}]}}));
    let book = Rulebook::new(house).with(org, Some(eu)).with(team, Some(no_azure_ch));
    assert_eq!(allowed(book.decide(&facts()).decision).targets, ["azure-eu/gpt-4o"]);
    let mut other = facts();
    other.caller.team = None;
    assert_eq!(allowed(book.decide(&other).decision).targets, ["azure-eu/gpt-4o", "azure-ch/gpt-4o"]);
    other.caller.org = "org_2".into();
    assert_eq!(allowed(book.decide(&other).decision).targets.len(), 3);
}

#[test]
fn only_the_house_has_the_rules_that_need_no_settings() {
    let named =
        |scope: &Scope, name: &str| shipped_for(scope).iter().any(|it| it.path == format!("alfred/{name}.rego"));
    for base in ["models", "safety", "routing"] {
        assert!(named(&Scope::House, base));
        assert!(!named(&Scope::Platform, base) && !named(&Scope::Team("team_1".into()), base));
    }
    assert!(named(&Scope::Org("org_1".into()), "residency"));
}

/// Taken without a word, it would look like protection that is not there.
#[test]
fn a_layer_is_not_given_settings_that_the_house_alone_reads() {
    let blocks = || json!({"alfred": {"safety": {"actions": {"email": "block"}}}});
    let compile = |scope: &Scope| PolicySet::compile(&shipped_for(scope), blocks(), Limits::default());
    assert!(compile(&Scope::House).is_ok());
    for scope in [Scope::Platform, Scope::Org("org_1".into()), Scope::Team("team_1".into())] {
        let faults = compile(&scope).err().unwrap();
        assert_eq!(faults[0].path, "data.alfred.safety", "{faults:?}");
    }
}
