//! The settings of the rules that were there first: `data.alfred.residency`, `safety`, `caps`, `cache`, `downgrade`.

use std::collections::BTreeMap;
use std::num::NonZeroU64;

use serde::Deserialize;

use super::{Row, Setting, Wrong, read, settings};

pub(super) const ROWS: &[Row] = &[
    ("residency", read::<Residency>),
    ("safety", read::<Safety>),
    ("caps", read::<Caps>),
    ("cache", read::<Cache>),
    ("downgrade", read::<Downgrade>),
];

settings! {
    Residency {
        regions: Option<Vec<String>>,
        #[serde(default)]
        orgs: BTreeMap<String, Regions>,
        #[serde(default)]
        teams: BTreeMap<String, Regions>,
    }

    Regions { regions: Vec<String> }

    Safety {
        actions: Option<ByKind>,
        #[serde(default)]
        orgs: BTreeMap<String, Actions>,
        #[serde(default)]
        teams: BTreeMap<String, Actions>,
    }

    Actions { actions: ByKind }

    ByKind {
        email: Option<Action>,
        payment_card: Option<Action>,
        iban: Option<Action>,
        us_ssn: Option<Action>,
        phone: Option<Action>,
        api_key: Option<Action>,
    }

    Caps {
        max_output_tokens: Option<NonZeroU64>,
        #[serde(default)]
        orgs: BTreeMap<String, Cap>,
        #[serde(default)]
        teams: BTreeMap<String, Cap>,
        #[serde(default)]
        models: BTreeMap<String, Cap>,
    }

    Cap { max_output_tokens: NonZeroU64 }

    Downgrade {
        #[serde(default)]
        models: BTreeMap<String, String>,
        #[serde(default)]
        orgs: BTreeMap<String, Cheaper>,
    }

    Cheaper { models: BTreeMap<String, String> }
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Action {
    Allow,
    Redact,
    Block,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cache {
    enabled: Option<bool>,
    ttl_seconds: Option<NonZeroU64>,
    #[serde(default)]
    orgs: BTreeMap<String, Kept>,
    #[serde(default)]
    models: BTreeMap<String, Kept>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    enabled: bool,
    ttl_seconds: Option<NonZeroU64>,
}

impl Setting for Residency {}
impl Setting for Safety {}
impl Setting for Caps {}
impl Setting for Downgrade {}

impl Setting for Cache {
    /// Where the cache is turned on without saying for how long.
    fn wrong(&self) -> Vec<Wrong> {
        let untimed = |path: String| Wrong { path, message: "enabled needs ttl_seconds beside it".to_owned() };
        let mut wrong = Vec::new();
        if self.enabled == Some(true) && self.ttl_seconds.is_none() {
            wrong.push(untimed(String::new()));
        }
        for (level, settings) in [("orgs", &self.orgs), ("models", &self.models)] {
            let of_level = settings.iter().filter(|(_, kept)| kept.enabled && kept.ttl_seconds.is_none());
            wrong.extend(of_level.map(|(name, _)| untimed(format!("{level}.{name}"))));
        }
        wrong
    }
}
