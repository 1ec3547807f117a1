//! What admins say of organisations, teams and people, for rules to go by: attributes, and groups of people.
//! Bounded, because every decision may read them. The audit log has the names of attributes and never a value.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{TenantError, check};
use crate::audit::Entry;

/// Names and values: `data_class` and `patients`.
pub type Attributes = BTreeMap<String, String>;

const MOST_ATTRIBUTES: usize = 32;
const LONGEST_NAME: usize = 64;
const LONGEST_VALUE: usize = 256;
const MOST_GROUPS: usize = 64;
const LONGEST_GROUP: usize = 256;

/// What is said of those that a key belongs to. Shared: the keys of one organisation hold one copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CredentialAttributes {
    pub org: Arc<Attributes>,
    /// Empty for a key without a team.
    pub team: Arc<Attributes>,
    /// Empty for a key without a user.
    pub user: Arc<Attributes>,
}

/// Whether these can be attributes.
pub(super) fn check(attributes: &Attributes) -> Result<(), TenantError> {
    let field = "attributes";
    if attributes.len() > MOST_ATTRIBUTES {
        return Err(check::invalid(field, format!("must be at most {MOST_ATTRIBUTES}")));
    }
    for (name, value) in attributes {
        if !(1..=LONGEST_NAME).contains(&name.len()) || name.chars().any(char::is_control) {
            return Err(check::invalid(field, format!("must have names of 1 to {LONGEST_NAME} bytes, on one line")));
        }
        if value.len() > LONGEST_VALUE || value.chars().any(char::is_control) {
            let name = name.escape_debug();
            let message = format!("must have values of at most {LONGEST_VALUE} bytes, on one line: not so {name}");
            return Err(check::invalid(field, message));
        }
    }
    Ok(())
}

/// These groups in the order of their names, if they can be.
pub(super) fn groups(groups: Vec<String>) -> Result<Vec<String>, TenantError> {
    let field = "groups";
    let (given, groups) = (groups.len(), groups.into_iter().collect::<BTreeSet<String>>());
    if given > MOST_GROUPS {
        return Err(check::invalid(field, format!("must be at most {MOST_GROUPS}")));
    }
    if groups.len() < given {
        return Err(check::invalid(field, "must name each group once"));
    }
    let fits = |name: &String| (1..=LONGEST_GROUP).contains(&name.len()) && !name.chars().any(char::is_control);
    if !groups.iter().all(fits) {
        return Err(check::invalid(field, format!("must have names of 1 to {LONGEST_GROUP} bytes, on one line")));
    }
    Ok(groups.into_iter().collect())
}

/// An entry that tells what became of attributes: which there are, how many, and which of them are not what they were.
pub(super) fn told(entry: Entry, from: &Attributes, to: &Attributes) -> Entry {
    if from == to {
        return entry;
    }
    let names: BTreeSet<&String> = from.keys().chain(to.keys()).collect();
    let changed: Vec<&&String> = names.iter().filter(|name| from.get(**name) != to.get(**name)).collect();
    let all: Vec<&String> = to.keys().collect();
    entry.with("attributes", all).with("attributes_count", to.len()).with("attributes_changed", changed)
}

/// The same of groups: how many, and a fingerprint that shows a change. Whose names they are, the log does not say.
pub(super) fn told_groups(entry: Entry, from: &[String], to: &[String]) -> Entry {
    if from == to {
        return entry;
    }
    entry.with("groups_count", to.len()).with("groups_sha256", hex::encode(check::content(&to)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes(pairs: &[(&str, &str)]) -> Attributes {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn attributes_are_few_short_and_on_one_line() {
        let (name, value) = ("n".repeat(64), "v".repeat(256));
        let many = |n: usize| (0..n).map(|i| (i.to_string(), String::new())).collect::<Attributes>();
        for (given, fits, why) in [
            (attributes(&[]), true, "none"),
            (attributes(&[("class", "patients"), ("empty", "")]), true, "an empty value is a value"),
            (attributes(&[(&name, &value)]), true, "the longest"),
            (attributes(&[(&format!("{name}n"), "v")]), false, "a name too long"),
            (attributes(&[("n", &format!("{value}v"))]), false, "a value too long"),
            (attributes(&[("n", &"é".repeat(129))]), false, "a value too long in bytes"),
            (attributes(&[("", "v")]), false, "no name"),
            (attributes(&[("a\nb", "v")]), false, "a name of two lines"),
            (attributes(&[("n", "a\u{7}")]), false, "a value that rings"),
            (many(32), true, "the most"),
            (many(33), false, "too many"),
        ] {
            assert_eq!(check(&given).is_ok(), fits, "{why}");
        }
    }

    #[test]
    fn groups_are_names_each_once_in_order() {
        let of = |names: &[&str]| groups(names.iter().map(|it| (*it).to_owned()).collect());
        assert_eq!(of(&["staff", "interns"]).unwrap(), ["interns", "staff"]);
        assert!(of(&[]).unwrap().is_empty());
        for wrong in [&["a", "a"][..], &[""], &["a\nb"], &[&"g".repeat(257)]] {
            assert!(of(wrong).is_err(), "{wrong:?}");
        }
        let many: Vec<String> = (0..65).map(|n| n.to_string()).collect();
        assert!(groups(many[..64].to_vec()).is_ok() && groups(many).is_err());
    }

    #[test]
    fn the_log_has_names_and_no_values() {
        let entry = Entry::new(None, "ORG_CHANGED", crate::Actor::System);
        let entry =
            told(entry, &attributes(&[("a", "1"), ("b", "CANARY")]), &attributes(&[("a", "1"), ("c", "CANARY")]));
        let entry = format!("{:?}", told_groups(entry, &[], &["CANARY".to_owned()]));
        assert!(!entry.contains("CANARY"), "{entry}");
        assert!(entry.contains(r#"[\"b\",\"c\"]"#) && entry.contains(r#"[\"a\",\"c\"]"#), "{entry}");
    }
}
