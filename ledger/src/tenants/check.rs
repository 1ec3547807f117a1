//! What members of tenants may be. Pure; each fault names its member.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::TenantError;
use super::scope::{Coverage, Tags};
use super::wallet::Anchor;
use crate::money::Money;
use crate::soft::{MOST_THRESHOLDS, Threshold, Thresholds};
use crate::window::{Calendar, Window, Zone};

const LONGEST_NAME: usize = 200;
const LONGEST_EMAIL: usize = 254;
const LONGEST_MODEL: usize = 256;
const MOST_MODELS: usize = 1_000;
const MOST_PATTERNS: usize = 64;
const MOST_TAGS: usize = 32;
const LONGEST_TAG: usize = 128;
pub(super) const NOTHING_COVERED: &str = "and tags must not both be empty: a scope says which calls it covers";
pub(super) const MOST_REQUESTS_PER_MINUTE: u64 = 1_000_000;
pub(super) const MOST_TOKENS_PER_MINUTE: u64 = 1_000_000_000;
pub(super) const MOST_PARALLEL_REQUESTS: u64 = 100_000;

pub(crate) fn invalid(field: &'static str, message: impl Into<String>) -> TenantError {
    TenantError::Invalid { field, message: message.into() }
}

/// A name is for people: one line, not blank, of bounded length.
pub(super) fn name(text: &str) -> Result<(), TenantError> {
    if text.trim().is_empty() {
        return Err(invalid("name", "must not be empty"));
    }
    if text.chars().count() > LONGEST_NAME {
        return Err(invalid("name", format!("must have at most {LONGEST_NAME} characters")));
    }
    if text.chars().any(char::is_control) {
        return Err(invalid("name", "must not contain control characters"));
    }
    Ok(())
}

/// Only the outline of an address: whether it exists is for the mail to find out.
pub(super) fn email(text: &str) -> Result<(), TenantError> {
    let outline = text.rsplit_once('@').is_some_and(|(who, place)| {
        !who.is_empty() && !place.is_empty() && !text.chars().any(|c| c.is_whitespace() || c.is_control())
    });
    if !outline || text.len() > LONGEST_EMAIL {
        return Err(invalid(
            "email",
            format!("must be an address such as ada@example.com of at most {LONGEST_EMAIL} bytes"),
        ));
    }
    Ok(())
}

pub(super) fn amount(field: &'static str, amount: Option<Money>) -> Result<(), TenantError> {
    match amount {
        Some(amount) if amount.is_negative() => Err(invalid(field, "must not be negative")),
        _ => Ok(()),
    }
}

/// A soft limit above the hard one could never be reached.
pub(super) fn soft_within_hard(soft: Option<Money>, hard: Option<Money>) -> Result<(), TenantError> {
    match (soft, hard) {
        (Some(soft), Some(hard)) if soft > hard => {
            Err(invalid("soft_limit", format!("must not be above the hard limit of {hard}")))
        }
        _ => Ok(()),
    }
}

/// Up to eight soft limits, each once. A part of a limit that there is not could never be reached.
pub(super) fn thresholds(all: &[Threshold], hard: Option<Money>) -> Result<Thresholds, TenantError> {
    let field = "thresholds";
    for (n, threshold) in all.iter().enumerate() {
        if all[..n].contains(threshold) {
            return Err(invalid(field, format!("names {threshold} twice")));
        }
        match (threshold, hard) {
            (Threshold::Percent(_), None) => {
                return Err(invalid(field, format!("has {threshold} of a hard limit that there is not")));
            }
            (Threshold::Amount(amount), Some(hard)) if *amount > hard => {
                return Err(invalid(field, format!("has {amount}, which is above the hard limit of {hard}")));
            }
            _ => {}
        }
    }
    Thresholds::new(all).ok_or_else(|| invalid(field, format!("must be at most {MOST_THRESHOLDS}")))
}

/// Only weeks and months begin on a day of choice.
pub(super) fn calendar(kind: Window, zone: Zone, anchor: Option<Anchor>) -> Result<Calendar, TenantError> {
    let (field, day) = match (anchor, kind) {
        (None, _) => ("anchor_day", None),
        (Some(Anchor::Weekday(day)), Window::Week) => ("anchor_weekday", Some(day)),
        (Some(Anchor::Day(day)), Window::Month) => ("anchor_day", Some(day)),
        (Some(Anchor::Weekday(_)), _) => {
            return Err(invalid("anchor_weekday", format!("is for windows of a week, and the window is {kind}")));
        }
        (Some(Anchor::Day(_)), _) => {
            return Err(invalid("anchor_day", format!("is for windows of a month, and the window is {kind}")));
        }
    };
    Calendar::new(kind, zone, day).ok_or_else(|| invalid(field, "must be from 1 to 31 of a month, or to 7 of a week"))
}

/// A scope says which calls it covers, in names of models with `*` for any text, and in tags.
pub(super) fn coverage(coverage: &Coverage) -> Result<(), TenantError> {
    if coverage.is_empty() {
        return Err(invalid("models", NOTHING_COVERED));
    }
    if coverage.models.len() > MOST_PATTERNS {
        return Err(invalid("models", format!("must be at most {MOST_PATTERNS} patterns")));
    }
    if !coverage.models.is_empty() {
        models(Some(&coverage.models))?;
    }
    tags(&coverage.tags)
}

/// Tags are bounded: they are compared with every call.
pub(super) fn tags(tags: &Tags) -> Result<(), TenantError> {
    if tags.len() > MOST_TAGS {
        return Err(invalid("tags", format!("must be at most {MOST_TAGS}")));
    }
    let fits = |text: &String| (1..=LONGEST_TAG).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if tags.iter().any(|(name, value)| !fits(name) || !fits(value)) {
        return Err(invalid(
            "tags",
            format!("must have names and values of 1 to {LONGEST_TAG} characters, on one line"),
        ));
    }
    Ok(())
}

/// Tags as the audit log has them: it is no place for an admin's own words, and still shows that they changed.
pub(super) fn tags_hash(tags: &Tags) -> Option<String> {
    (!tags.is_empty()).then(|| hex::encode(content(tags)))
}

pub(super) fn models(models: Option<&[String]>) -> Result<(), TenantError> {
    let Some(models) = models else { return Ok(()) };
    if models.is_empty() {
        return Err(invalid("models", "must name at least one model, or be left out to allow every model"));
    }
    if models.len() > MOST_MODELS {
        return Err(invalid("models", format!("must name at most {MOST_MODELS} models")));
    }
    let mut seen = BTreeSet::new();
    for model in models {
        if model.is_empty() || model.len() > LONGEST_MODEL || model.chars().any(|c| c.is_control() || c.is_whitespace())
        {
            return Err(invalid(
                "models",
                format!("must hold names of 1 to {LONGEST_MODEL} characters without spaces"),
            ));
        }
        if !seen.insert(model) {
            return Err(invalid("models", format!("names {model} twice")));
        }
    }
    Ok(())
}

/// A rate of zero would be a key that never works; that is what revoking is for. One beyond `most` bounds nothing.
pub(super) fn rate(field: &'static str, rate: Option<u64>, most: u64) -> Result<(), TenantError> {
    match rate {
        Some(0) => Err(invalid(field, "must be at least 1, or be left out for no rate limit")),
        Some(rate) if rate > most => {
            Err(invalid(field, format!("must be at most {most}, or be left out for no rate limit")))
        }
        _ => Ok(()),
    }
}

pub(super) fn overlap(overlap: Duration, longest: Duration) -> Result<(), TenantError> {
    if overlap > longest {
        return Err(invalid("overlap", format!("must be at most {} seconds", longest.as_secs())));
    }
    Ok(())
}

/// An operator's key, as somebody chose it: 24 to 256 printable characters that cannot be taken for an app's key.
pub(super) fn operator_secret(secret: &str) -> Result<(), TenantError> {
    let length = secret.chars().count();
    if !(24..=256).contains(&length) {
        return Err(invalid("admin_key", format!("must have 24 to 256 characters, not {length}")));
    }
    if secret.chars().any(char::is_control) || secret.trim() != secret {
        return Err(invalid("admin_key", "must be printable, without spaces around it"));
    }
    if secret.starts_with("sk-alf-") {
        return Err(invalid("admin_key", "must not start with sk-alf-, which is how app keys start"));
    }
    Ok(())
}

/// The fingerprint of what something was made of.
pub(crate) fn content(members: &impl Serialize) -> [u8; 32] {
    let json = serde_json::to_vec(members).expect("ids, texts and numbers always print as JSON");
    Sha256::digest(json).into()
}

/// What was made before under the same id is the answer, if it was made of the same.
pub(crate) fn repeat<T>(row: T, id: &impl fmt::Display, was: [u8; 32], is: [u8; 32]) -> Result<T, TenantError> {
    if was == is { Ok(row) } else { Err(TenantError::Conflict(id.to_string())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(result: Result<(), TenantError>) -> Option<&'static str> {
        match result {
            Err(TenantError::Invalid { field, .. }) => Some(field),
            _ => None,
        }
    }

    #[test]
    fn a_name_is_one_line_that_says_something() {
        for (text, fault) in [
            ("Ada", None),
            ("研究所 – R&D", None),
            ("", Some("name")),
            ("   ", Some("name")),
            ("two\nlines", Some("name")),
        ] {
            assert_eq!(field(name(text)), fault, "{text:?}");
        }
        assert_eq!(field(name(&"é".repeat(200))), None);
        assert_eq!(field(name(&"é".repeat(201))), Some("name"));
    }

    #[test]
    fn an_address_has_the_outline_of_one() {
        for (text, fault) in [
            ("ada@example.com", None),
            ("ada", Some("email")),
            ("@example.com", Some("email")),
            ("ada@", Some("email")),
            ("a da@example.com", Some("email")),
        ] {
            assert_eq!(field(email(text)), fault, "{text:?}");
        }
    }

    #[test]
    fn amounts_rates_and_models_say_what_is_wrong() {
        assert_eq!(field(amount("hard_limit", Some(Money::from_nanos(-1)))), Some("hard_limit"));
        assert_eq!(field(amount("hard_limit", Some(Money::ZERO))), None);
        assert_eq!(field(soft_within_hard(Some(Money::from_nanos(2)), Some(Money::from_nanos(1)))), Some("soft_limit"));
        assert_eq!(field(soft_within_hard(Some(Money::from_nanos(2)), None)), None);
        assert_eq!(field(rate("rpm", Some(0), 9)), Some("rpm"));
        assert_eq!(field(rate("rpm", Some(9), 9)), None);
        assert_eq!(field(rate("rpm", Some(10), 9)), Some("rpm"));
        assert_eq!(field(rate("tpm", Some(u64::MAX), MOST_TOKENS_PER_MINUTE)), Some("tpm"));
        assert_eq!(field(models(Some(&[]))), Some("models"));
        assert_eq!(field(models(Some(&["a".into(), "a".into()]))), Some("models"));
        assert_eq!(field(models(Some(&["openai/gpt-4o".into()]))), None);
    }

    #[test]
    fn an_operators_key_has_its_form() {
        let (short, long) = ("x".repeat(23), "x".repeat(257));
        let app = format!("sk-alf-{}", "x".repeat(30));
        for wrong in [short.as_str(), &long, &app, " 0123456789012345678901234", "0123456789\u{7}012345678901234"] {
            assert_eq!(field(operator_secret(wrong)), Some("admin_key"), "{wrong:?}");
        }
        assert_eq!(field(operator_secret(&"x".repeat(24))), None);
        assert_eq!(field(operator_secret(&"x".repeat(256))), None);
    }

    #[test]
    fn other_content_has_another_fingerprint() {
        assert_ne!(content(&("ab", "c")), content(&("a", "bc")));
        assert_ne!(content(&Some("null")), content(&None::<&str>));
        assert_eq!(content(&("a", 1)), content(&("a", 1)));
    }
}
