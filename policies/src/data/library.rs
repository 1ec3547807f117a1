//! The settings of the library's rules, one row and one small struct each, by the rule's name. What they are written in (a caller, a
//! time, a sum) says itself what is wrong with it: values.rs.
//!
//! A rule `business_hours` that reads `data.alfred.business_hours` needs two things here: its row, and its struct within
//! `library! { … }`.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;

use super::values::{
    Clock, Date, Filled, Instant, Kind, Name, Pattern, Percent, Server, Share, Tier, Usd, Whom, Work, Zone,
};
use super::{Row, Setting, read, settings};

pub(super) const ROWS: &[Row] = &[
    ("approvals", read::<Rules<NeedsApproval>>),
    ("boundary", read::<Boundary>),
    ("budget_downgrade", read::<Rules<LowBudget>>),
    ("business_hours", read::<Rules<Hours>>),
    ("canary", read::<Canary>),
    ("chargeback", read::<Rules<Charged>>),
    ("data_classes", read::<DataClasses>),
    ("features", read::<Rules<Features>>),
    ("freeze", read::<Rules<Freeze>>),
    ("intents", read::<Rules<Intended>>),
    ("log_levels", read::<Rules<Logged>>),
    ("mcp", read::<Rules<Servers>>),
    ("minors", read::<Minors>),
    ("no_store", read::<Rules<NotStored>>),
    ("preference", read::<Rules<Preference>>),
    ("price_ceiling", read::<Rules<Ceiling>>),
    ("prompt_size", read::<Rules<PromptSize>>),
    ("secrets", read::<Rules<Secrets>>),
    ("spend_tiers", read::<SpendTiers>),
    ("tools", read::<Rules<Tools>>),
    ("vendors", read::<Rules<Vendors>>),
];

/// `{"rules": […]}`, at least one.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[serde(bound = "T: serde::de::DeserializeOwned")]
#[expect(dead_code, reason = "read by the rules; here only to be checked")]
struct Rules<T> {
    rules: Filled<T>,
}

impl<T: serde::de::DeserializeOwned> Setting for Rules<T> {}
impl Setting for Boundary {}
impl Setting for Canary {}
impl Setting for DataClasses {}
impl Setting for Minors {}
impl Setting for SpendTiers {}

/// Hours of some days. Those that end before they begin would never be open.
#[derive(serde::Deserialize)]
#[serde(try_from = "OpenHours")]
struct Open;

impl TryFrom<OpenHours> for Open {
    type Error = &'static str;

    fn try_from(it: OpenHours) -> Result<Open, &'static str> {
        if it.from < it.until {
            Ok(Open)
        } else {
            Err("from must be before until: hours past midnight are two members")
        }
    }
}

/// Within it nobody calls. One that ends before it begins would never hold.
#[derive(serde::Deserialize)]
#[serde(try_from = "Frozen")]
struct Freeze;

impl TryFrom<Frozen> for Freeze {
    type Error = &'static str;

    fn try_from(it: Frozen) -> Result<Freeze, &'static str> {
        if it.from.is_before(&it.until) { Ok(Freeze) } else { Err("from must be before until") }
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct OpenHours {
    #[expect(dead_code, reason = "read by the rules; here only to be checked")]
    days: BTreeSet<Day>,
    from: Clock,
    until: Clock,
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "read by the rules; here only to be checked")]
struct Frozen {
    only: Option<Whom>,
    except: Option<Whom>,
    from: Instant,
    until: Instant,
    keys: Option<Names>,
    message: Option<Name>,
}

type Names = BTreeSet<Name>;
type Patterns = BTreeSet<Pattern>;

settings! {
    NeedsApproval {
        only: Option<Whom>,
        except: Option<Whom>,
        name: Name,
        reason: Name,
        models: Option<Patterns>,
        above_output_usd: Option<Usd>,
        above_input_tokens: Option<u64>,
    }

    Boundary { rules: Option<Filled<Bound>>, attribute: Option<ByAttribute> }

    Bound { only: Option<Whom>, except: Option<Whom>, regions: Names }

    ByAttribute { name: Name, regions: BTreeMap<Name, Names>, otherwise: Option<Names> }

    LowBudget { only: Option<Whom>, except: Option<Whom>, below_percent: Percent, models: BTreeMap<Name, Name> }

    Hours {
        only: Option<Whom>,
        except: Option<Whom>,
        zone: Zone,
        open: Vec<Open>,
        closed: Option<BTreeSet<Date>>,
        message: Option<Name>,
    }

    Canary { models: BTreeMap<Name, Shares> }

    Shares { only: Option<Whom>, except: Option<Whom>, targets: BTreeMap<Name, Share> }

    Charged {
        only: Option<Whom>,
        except: Option<Whom>,
        tag: Name,
        claims: Option<bool>,
        values: Option<Names>,
        message: Option<Name>,
    }

    DataClasses {
        name: Name,
        default: Name,
        classes: BTreeMap<Name, Class>,
        findings: Option<BTreeMap<Kind, Name>>,
    }

    Class { models: Patterns, regions: Option<Names> }

    Features {
        only: Option<Whom>,
        except: Option<Whom>,
        refuse: Option<BTreeSet<Feature>>,
        kinds: Option<Patterns>,
        message: Option<Name>,
    }

    Intended {
        only: Option<Whom>,
        except: Option<Whom>,
        intents: Option<BTreeSet<Work>>,
        tiers: Option<BTreeSet<Tier>>,
        models: Option<Patterns>,
        min_confidence: Option<Percent>,
        below_percent: Option<Percent>,
        to: Name,
    }

    Logged { only: Option<Whom>, except: Option<Whom>, level: Level }

    Servers { only: Option<Whom>, except: Option<Whom>, servers: BTreeSet<Server>, message: Option<Name> }

    Minors {
        only: Option<Whom>,
        except: Option<Whom>,
        models: Patterns,
        may: Option<BTreeSet<Feature>>,
        max_output_tokens: Option<NonZeroU64>,
    }

    NotStored { only: Option<Whom>, except: Option<Whom>, models: Option<Patterns>, kinds: Option<BTreeSet<Kind>> }

    Preference {
        only: Option<Whom>,
        except: Option<Whom>,
        models: Option<Patterns>,
        by: Filled<Wish>,
        providers: Option<Vec<Name>>,
        regions: Option<Vec<Name>>,
    }

    Ceiling { only: Option<Whom>, except: Option<Whom>, max_input_usd: Option<Usd>, max_output_usd: Option<Usd> }

    PromptSize {
        only: Option<Whom>,
        except: Option<Whom>,
        models: Option<Patterns>,
        max_input_tokens: u64,
        message: Option<Name>,
    }

    Secrets { only: Option<Whom>, except: Option<Whom>, kinds: Filled<Kind>, message: Option<Name> }

    SpendTiers { tiers: Filled<SpendTier> }

    SpendTier {
        only: Option<Whom>,
        except: Option<Whom>,
        name: Name,
        models: Option<Patterns>,
        max_cost_usd: Option<Usd>,
        max_output_tokens: Option<NonZeroU64>,
    }

    Tools {
        only: Option<Whom>,
        except: Option<Whom>,
        allow: Option<Patterns>,
        deny: Option<Patterns>,
        remove: Option<bool>,
        message: Option<Name>,
    }

    Vendors { only: Option<Whom>, except: Option<Whom>, allow: Option<Patterns>, deny: Option<Patterns> }
}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($word:ident),+ })+) => {$(
        $(#[$doc])*
        #[derive(PartialEq, Eq, PartialOrd, Ord, serde::Deserialize)]
        #[serde(rename_all = "snake_case")]
        enum $name { $($word),+ }
    )+};
}

words! {
    Day { Monday, Tuesday, Wednesday, Thursday, Friday, Saturday, Sunday }
    Feature { Stream, Images, Tools }
    Level { Result, Facts }
    Wish { Healthy, Provider, Region, Price }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::ROWS;

    fn check(name: &str, settings: Value, expected: Option<&str>) {
        let (_, row) = ROWS.iter().find(|(known, _)| *known == name).unwrap();
        let wrong: Vec<String> = row(&settings).into_iter().map(|wrong| wrong.path).collect();
        assert_eq!(wrong, expected.into_iter().collect::<Vec<_>>(), "{name}: {settings}");
    }

    #[test]
    fn every_shipped_rule_that_settings_drive_has_a_row() {
        let helpers = ["callers", "patterns"];
        for source in crate::shipped_for(&crate::Scope::Platform).iter().filter(|source| !source.is_test()) {
            let name = crate::source::shipped_name(&source.path).unwrap();
            assert!(helpers.contains(&name) || super::super::rows().any(|(row, _)| row == name), "{name}");
        }
    }

    #[test]
    fn what_is_right_is_taken() {
        for (name, rule) in [
            ("approvals", json!({"name": "frontier", "reason": "dear", "models": ["gpt-*"], "above_output_usd": "30"})),
            ("budget_downgrade", json!({"below_percent": 20, "models": {"gpt-4o": "gpt-4o-mini"}})),
            (
                "business_hours",
                json!({"zone": "Europe/Zurich", "open": [{"days": ["monday"], "from": "08:00", "until": "24:00"}], "closed": ["2026-12-25"]}),
            ),
            (
                "chargeback",
                json!({"tag": "project", "claims": true, "values": ["atlas"], "only": {"teams": ["team_1"]}}),
            ),
            ("features", json!({"refuse": ["images", "stream"], "kinds": ["chat.*"]})),
            (
                "freeze",
                json!({"from": "2026-12-20T00:00:00Z", "until": "2027-01-02T00:00:00+01:00", "keys": ["key_1"]}),
            ),
            ("intents", json!({"intents": ["code"], "tiers": [1, 4], "to": "gpt-4o-mini", "min_confidence": 90})),
            ("log_levels", json!({"level": "result", "except": {"attributes": {"grade": ["a"]}}})),
            ("mcp", json!({"servers": ["crm", "mcp.bank.example"]})),
            ("no_store", json!({"kinds": ["us_ssn"]})),
            ("preference", json!({"by": ["healthy", "region"], "regions": ["ch"]})),
            ("price_ceiling", json!({"max_output_usd": "0.6"})),
            ("prompt_size", json!({"max_input_tokens": 0})),
            ("secrets", json!({"kinds": ["api_key"], "only": {"tags": {"env": ["prod"]}}})),
            ("tools", json!({"allow": [], "remove": true})),
            ("vendors", json!({"deny": ["openai"]})),
        ] {
            check(name, json!({"rules": [rule]}), None);
        }
        check("boundary", json!({"attribute": {"name": "seat", "regions": {"de": ["eu"]}, "otherwise": []}}), None);
        check("canary", json!({"models": {"m": {"targets": {"a/m": 95, "b/m": 5}}}}), None);
        check("data_classes", json!({"name": "class", "default": "a", "classes": {"a": {"models": ["*"]}}}), None);
        check("minors", json!({"models": ["tutor"], "may": ["images"]}), None);
        check("spend_tiers", json!({"tiers": [{"name": "staff", "max_cost_usd": "0.50"}]}), None);
    }

    #[test]
    fn what_is_wrong_is_named_by_its_place() {
        for (name, rule, place) in [
            ("vendors", json!({"denied": ["openai"]}), "rules[0].denied"),
            ("vendors", json!({"deny": "openai"}), "rules[0].deny"),
            ("vendors", json!({"deny": [""]}), "rules[0].deny[0]"),
            ("vendors", json!({"deny": ["open*ai"]}), "rules[0].deny[0]"),
            ("vendors", json!({"only": {}}), "rules[0].only"),
            ("vendors", json!({"only": {"groups": []}}), "rules[0].only"),
            ("vendors", json!({"except": {"group": ["a"]}}), "rules[0].except.group"),
            ("secrets", json!({"kinds": ["api_keys"]}), "rules[0].kinds[0]"),
            ("secrets", json!({"kinds": []}), "rules[0].kinds"),
            ("price_ceiling", json!({"max_input_usd": 3}), "rules[0].max_input_usd"),
            ("price_ceiling", json!({"max_input_usd": "1e3"}), "rules[0].max_input_usd"),
            ("price_ceiling", json!({"max_input_usd": "0.00"}), "rules[0].max_input_usd"),
            ("freeze", json!({"from": "2026-12-20", "until": "2027-01-02T00:00:00Z"}), "rules[0].from"),
            ("freeze", json!({"from": "2026-13-20T00:00:00Z", "until": "2027-01-02T00:00:00Z"}), "rules[0].from"),
            ("business_hours", json!({"zone": "Mars/Olympus", "open": []}), "rules[0].zone"),
            (
                "business_hours",
                json!({"zone": "UTC", "open": [{"days": ["monday"], "from": "8:00", "until": "18:00"}]}),
                "rules[0].open[0].from",
            ),
            ("business_hours", json!({"zone": "UTC", "open": [], "closed": ["25.12.2026"]}), "rules[0].closed[0]"),
            // Hours that end before they begin never hold, and neither does such a freeze.
            (
                "business_hours",
                json!({"zone": "UTC", "open": [{"days": ["monday"], "from": "22:00", "until": "06:00"}]}),
                "rules[0].open[0]",
            ),
            ("freeze", json!({"from": "2027-01-02T00:00:00Z", "until": "2027-01-02T00:30:00+01:00"}), "rules[0]"),
            ("intents", json!({"intents": ["rea*", "cod"], "to": "m"}), "rules[0].intents[1]"),
            ("intents", json!({"tiers": [5], "to": "m"}), "rules[0].tiers[0]"),
            ("intents", json!({"min_confidence": 101, "to": "m"}), "rules[0].min_confidence"),
            ("mcp", json!({"servers": ["https://mcp.bank.example/*"]}), "rules[0].servers[0]"),
            ("preference", json!({"by": ["latency"]}), "rules[0].by[0]"),
            ("log_levels", json!({"level": "full"}), "rules[0].level"),
            ("tools", json!({"allow": [], "remove": "yes"}), "rules[0].remove"),
        ] {
            check(name, json!({"rules": [rule]}), Some(place));
        }
        check("tools", json!({"rules": []}), Some("rules"));
        check("tools", json!([]), Some(""));
        check("canary", json!({"models": {"m": {"targets": {"a/m": -1}}}}), Some("models.m.targets.a/m"));
        check("spend_tiers", json!({"tiers": [{"max_cost_usd": "1"}]}), Some("tiers[0]"));
    }
}
