//! What settings are written in: values that say themselves what is wrong with them, so that a fault names the exact place. A sum
//! that is no sum or a time that is no time would only fail when a call comes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, de};

use crate::Intent;

/// A text of a form, kept for its order alone.
macro_rules! texts {
    ($($(#[$doc:meta])* $name:ident: $what:literal, $holds:expr;)+) => {$(
        $(#[$doc])*
        #[derive(PartialEq, Eq, PartialOrd, Ord)]
        pub(super) struct $name(String);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                let text = String::deserialize(deserializer)?;
                let holds: fn(&str) -> bool = $holds;
                if holds(&text) { Ok($name(text)) } else { Err(de::Error::custom(concat!("must be ", $what))) }
            }
        }
    )+};
}

texts! {
    /// Any text that says something.
    Name: "a text that is not empty", |text| !text.is_empty();
    /// What `patterns.fits` reads.
    Pattern: "a name, or its beginning with a star at the end", is_pattern;
    /// An MCP server as rules see it: the label that a client gave it, or the host of its address.
    Server: "an MCP server's label or the host of its address, whole: rules see no more of an address than its host", is_server;
    /// What the scanner finds.
    Kind: "a kind of finding: email, payment_card, iban, us_ssn, phone or api_key", |text| crate::KINDS.contains(&text);
    /// What calls are seen as, or how some of that begin.
    Work: "a kind of work: code, extraction, summarise, translate, classify, reasoning, chat, writing, tool_use, vision or long_context", is_work;
    /// A sum.
    Usd: "a sum in USD above 0 as text, such as \"0.50\"", is_sum;
    /// A time of day.
    Clock: "a time from \"00:00\" to \"24:00\"", is_clock;
    /// A day.
    Date: "a day, such as \"2026-12-25\"", |text| evaluates("time.parse_rfc3339_ns", &format!("{text}T00:00:00Z"));
    /// An instant.
    Instant: "an instant, such as \"2026-12-20T00:00:00+01:00\"", |text| evaluates("time.parse_rfc3339_ns", text);
    /// A time zone.
    Zone: "a time zone, such as \"Europe/Zurich\" or \"UTC\"", |text| !text.is_empty() && evaluates("zone", text);
}

impl Instant {
    pub(super) fn is_before(&self, other: &Instant) -> bool {
        let read = |it: &Instant| format!("time.parse_rfc3339_ns({})", serde_json::Value::from(it.0.as_str()));
        holds(format!("{} < {}", read(self), read(other)))
    }
}

fn is_pattern(text: &str) -> bool {
    !text.is_empty() && text.find('*').is_none_or(|at| at + 1 == text.len())
}

fn is_work(text: &str) -> bool {
    is_pattern(text)
        && Intent::ALL
            .iter()
            .any(|it| text.strip_suffix('*').map_or(it.as_str() == text, |start| it.as_str().starts_with(start)))
}

fn is_server(text: &str) -> bool {
    // A star would fit hosts that begin with an allowed one; `?` is what has no name.
    !text.is_empty() && !text.contains(['*', '?']) && !text.contains("://")
}

fn is_sum(text: &str) -> bool {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| (1..=12).contains(&text.len()) && text.bytes().all(|digit| digit.is_ascii_digit());
    let plain = whole == "0" || !whole.starts_with('0');
    digits(whole) && digits(part) && plain && text.bytes().any(|digit| (b'1'..=b'9').contains(&digit))
}

fn is_clock(text: &str) -> bool {
    let [h1, h2, b':', m1, m2] = text.as_bytes() else {
        return false;
    };
    let digits = [h1, h2, m1, m2].iter().all(|digit| digit.is_ascii_digit());
    digits && text[3..] < *"60" && (text[..2] < *"24" || text == "24:00")
}

/// Whether the interpreter itself can read it: it will be asked at every call.
fn evaluates(function: &str, text: &str) -> bool {
    let text = serde_json::Value::from(text);
    let query = match function {
        "zone" => format!("time.clock([0, {text}])"),
        function => format!("{function}({text})"),
    };
    asked(query).is_some()
}

/// Whether a condition holds.
fn holds(query: String) -> bool {
    asked(query) == Some(regorus::Value::from(true))
}

fn asked(query: String) -> Option<regorus::Value> {
    let mut engine = regorus::Engine::new();
    engine.set_strict_builtin_errors(true);
    let read = engine.eval_query(query, false).ok()?;
    let mut values = read.result.into_iter().flat_map(|row| row.expressions).map(|it| it.value);
    values.find(|it| *it != regorus::Value::Undefined)
}

/// A number of a range.
macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident: $least:literal to $most:literal;)+) => {$(
        $(#[$doc])*
        #[derive(PartialEq, Eq, PartialOrd, Ord)]
        pub(super) struct $name(u32);

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<$name, D::Error> {
                match u64::deserialize(deserializer)? {
                    number @ $least..=$most => Ok($name(u32::try_from(number).map_err(de::Error::custom)?)),
                    _ => Err(de::Error::custom(concat!("must be a whole number from ", $least, " to ", $most))),
                }
            }
        }
    )+};
}

numbers! {
    /// A share.
    Percent: 0 to 100;
    /// How often a target comes first, beside the others.
    Share: 0 to 1_000_000;
    /// How demanding a request seems.
    Tier: 1 to 4;
}

/// A list of at least one.
pub(super) struct Filled<T>(#[expect(dead_code, reason = "read by the rules; here only to be checked")] Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Filled<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Filled<T>, D::Error> {
        let list = Vec::<T>::deserialize(deserializer)?;
        if list.is_empty() { Err(de::Error::custom("must hold at least one")) } else { Ok(Filled(list)) }
    }
}

/// Of whom a setting speaks: never nobody, which would bind or spare no one unseen.
#[derive(Deserialize)]
#[serde(try_from = "Whoever")]
pub(super) struct Whom;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, default)]
#[derive(Default)]
struct Whoever {
    orgs: BTreeSet<Name>,
    teams: BTreeSet<Name>,
    groups: BTreeSet<Name>,
    tags: BTreeMap<Name, BTreeSet<Name>>,
    attributes: BTreeMap<Name, BTreeSet<Name>>,
}

impl TryFrom<Whoever> for Whom {
    type Error = &'static str;

    fn try_from(it: Whoever) -> Result<Whom, &'static str> {
        let lists =
            [it.orgs, it.teams, it.groups].into_iter().chain(it.tags.into_values()).chain(it.attributes.into_values());
        let names: usize = lists.map(|list| list.len()).sum();
        if names == 0 { Err("must name someone: orgs, teams, groups, tags or attributes") } else { Ok(Whom) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reads<T: for<'de> Deserialize<'de>>(text: &str) -> bool {
        serde_json::from_value::<T>(serde_json::Value::from(text)).is_ok()
    }

    #[test]
    fn sums_times_and_patterns_have_one_form() {
        for (text, right) in [("1", true), ("0.5", true), ("12.50", true), ("0", false), ("0.0", false), ("-1", false)]
        {
            assert_eq!(reads::<Usd>(text), right, "{text}");
        }
        for (text, right) in [("01", false), (".5", false), ("1.", false), ("1,5", false), ("1e3", false), ("", false)]
        {
            assert_eq!(reads::<Usd>(text), right, "{text}");
        }
        for (text, right) in [("00:00", true), ("23:59", true), ("24:00", true), ("24:01", false), ("7:30", false)] {
            assert_eq!(reads::<Clock>(text), right, "{text}");
        }
        for (text, right) in [("12:60", false), ("aa:bb", false), ("12:000", false), ("1é:0", false)] {
            assert_eq!(reads::<Clock>(text), right, "{text}");
        }
        for (text, right) in [("a", true), ("a*", true), ("*", true), ("", false), ("*a", false), ("a**", false)] {
            assert_eq!(reads::<Pattern>(text), right, "{text}");
        }
        for (text, right) in
            [("crm", true), ("a.b:8443", true), ("crm*", false), ("https://a.b/*", false), ("?", false)]
        {
            assert_eq!(reads::<Server>(text), right, "{text}");
        }
    }

    #[test]
    fn days_instants_and_zones_are_those_that_the_interpreter_knows() {
        for (text, right) in [("2026-12-25", true), ("2026-02-30", false), ("25.12.2026", false), ("", false)] {
            assert_eq!(reads::<Date>(text), right, "{text}");
        }
        for (text, right) in [("2026-12-25T08:00:00Z", true), ("2026-12-25 08:00", false), ("\") == x", false)] {
            assert_eq!(reads::<Instant>(text), right, "{text}");
        }
        for (text, right) in [("UTC", true), ("Europe/Zurich", true), ("Zurich", false), ("", false)] {
            assert_eq!(reads::<Zone>(text), right, "{text}");
        }
    }
}
