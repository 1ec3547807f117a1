//! Wallets beside the chains: what calls they cover, and which of them a call has to satisfy.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::Tenants;
use crate::error::StoreError;
use crate::id::{Id, Org, Wallet};
use crate::prices::pattern;
use crate::store::tenants as rows;

/// What is said of calls by whoever owns them: by a key or by policy, never by a client.
pub type Tags = BTreeMap<String, String>;

/// Which calls a scope is about. At least one of the two says something.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Coverage {
    /// Names of models, with `*` for any text; none means any model.
    #[serde(default)]
    pub models: Vec<String>,
    /// What a call's tags have to include.
    #[serde(default)]
    pub tags: Tags,
}

/// A wallet beside the chains that is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    pub wallet: Id<Wallet>,
    pub org: Id<Org>,
    /// Only calls of keys on this wallet or below it.
    pub under: Option<Id<Wallet>>,
    pub coverage: Coverage,
    /// Wallets of living keys that lie on `under` or below it.
    pub(crate) leaves: BTreeSet<Id<Wallet>>,
}

impl Scope {
    /// Whether a call has to satisfy it: of a key on the wallet `leaf` of `org`, for a model that goes by these names, with
    /// these tags.
    pub fn covers(&self, (org, leaf): (Id<Org>, Id<Wallet>), models: &[&str], tags: &Tags) -> bool {
        let theirs = org == self.org && (self.under.is_none() || self.leaves.contains(&leaf));
        theirs && self.coverage.covers(models, tags)
    }
}

impl Coverage {
    /// Whether it says nothing, and so would be about every call.
    pub fn is_empty(&self) -> bool {
        self.models.is_empty() && self.tags.is_empty()
    }

    fn covers(&self, models: &[&str], tags: &Tags) -> bool {
        let named = |pattern: &String| models.iter().any(|model| pattern::matches(pattern, model));
        let model = self.models.is_empty() || self.models.iter().any(named);
        model && self.tags.iter().all(|(name, value)| tags.get(name) == Some(value))
    }
}

impl Tenants<'_> {
    /// Every scope that is not closed, in the order of their ids. A closed one is over: it covers nothing more.
    pub async fn scopes(&self) -> Result<Vec<Scope>, StoreError> {
        rows::scopes(self.db()).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_covers_what_all_of_it_says() {
        let id = |n| Id::from_uuid(uuid::Uuid::from_u128(n));
        let tags =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect::<Tags>();
        let coverage = |models: &[&str], with: &[(&str, &str)]| Coverage {
            models: models.iter().map(|it| (*it).to_owned()).collect(),
            tags: tags(with),
        };
        let (opus, ads) = (&["*opus*"][..], &[("team", "ads")][..]);
        for (models, with, asked, has, yes, why) in [
            (opus, &[][..], "claude-opus", &[][..], true, "the model alone"),
            (opus, &[], "gpt-4o", &[], false, "another model"),
            (opus, &[], "best", &[], true, "by what the name stands for"),
            (&[], ads, "gpt-4o", &[("team", "ads"), ("env", "prod")][..], true, "the tag, among others"),
            (&[], ads, "gpt-4o", &[("team", "search")], false, "the same tag with another value"),
            (opus, ads, "claude-opus", ads, true, "both"),
            (opus, ads, "claude-opus", &[], false, "only the model"),
            (opus, ads, "gpt-4o", ads, false, "only the tag"),
        ] {
            let target = if asked == "best" { "anthropic/claude-opus" } else { asked };
            let scope = Scope {
                wallet: id(1),
                org: Id::from_uuid(uuid::Uuid::nil()),
                under: None,
                coverage: coverage(models, with),
                leaves: BTreeSet::new(),
            };
            let covers = scope.covers((scope.org, id(9)), &[asked, target], &tags(has));
            assert_eq!(covers, yes, "{why}");
        }
        let org = Id::from_uuid(uuid::Uuid::from_u128(7));
        let below =
            Scope { wallet: id(1), org, under: Some(id(2)), coverage: coverage(&["*"], &[]), leaves: [id(3)].into() };
        assert!(below.covers((org, id(3)), &["any"], &Tags::new()));
        assert!(!below.covers((org, id(4)), &["any"], &Tags::new()), "not below it");
        assert!(
            !below.covers((Id::from_uuid(uuid::Uuid::nil()), id(3)), &["any"], &Tags::new()),
            "another organisation"
        );
    }
}
