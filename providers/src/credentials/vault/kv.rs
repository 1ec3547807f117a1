//! Entries of the key-value engine, in both versions of it: plain ones, and those that keep their history.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use http::Method;
use serde::Deserialize;
use serde::de::{self, Deserializer};

use super::super::Secret;
use super::VaultError;
use super::client::{Client, Question};
use super::config::{KvVersion, VaultConfig};

/// How a mount keeps its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    One,
    Two,
}

/// An entry, and where it is read.
pub(super) struct Place {
    entry: String,
    path: String,
    version: Version,
}

/// What a vault says of the mount that a path lies in.
#[derive(Deserialize)]
struct Mounted {
    data: Mount,
}

#[derive(Deserialize)]
struct Mount {
    path: String,
    #[serde(default)]
    options: Option<BTreeMap<String, serde_json::Value>>,
}

/// Finds out where an entry is read. What the configuration says is not asked for; what was found is remembered.
pub(super) async fn place(
    client: &Client,
    token: &Secret,
    config: &VaultConfig,
    known: &mut HashMap<String, Version>,
    entry: &str,
) -> Result<Place, VaultError> {
    let below = |mount: &str| entry.strip_prefix(mount).is_some_and(|rest| rest.starts_with('/'));
    let said = config.mounts.iter().filter(|(mount, _)| below(mount)).max_by_key(|(mount, _)| mount.len());
    let first = || entry.split('/').next().unwrap_or_default().to_owned();
    let (mount, version) = match said {
        Some((mount, version)) => (Some(mount.clone()), *version),
        None => (None, config.kv_version),
    };
    let (mount, version) = match version {
        KvVersion::One => (mount.unwrap_or_else(first), Version::One),
        KvVersion::Two => (mount.unwrap_or_else(first), Version::Two),
        KvVersion::Auto => match known.iter().filter(|(mount, _)| below(mount)).max_by_key(|(mount, _)| mount.len()) {
            Some((mount, version)) => (mount.clone(), *version),
            None => {
                let (found, version) = mounted(client, token, entry).await?;
                let found = found.filter(|it| below(it)).or(mount).unwrap_or_else(first);
                known.insert(found.clone(), version);
                (found, version)
            }
        },
    };
    Ok(Place { path: path(&mount, version, entry), entry: entry.to_owned(), version })
}

fn path(mount: &str, version: Version, entry: &str) -> String {
    let rest = entry.strip_prefix(mount).unwrap_or(entry).trim_start_matches('/');
    match version {
        Version::One => format!("{mount}/{rest}"),
        Version::Two => format!("{mount}/data/{rest}"),
    }
}

/// Asks as Vault's own command line does. A vault that does not know the question keeps plain entries.
async fn mounted(client: &Client, token: &Secret, entry: &str) -> Result<(Option<String>, Version), VaultError> {
    let path = format!("sys/internal/ui/mounts/{entry}");
    let question = Question { method: Method::GET, path: &path, token: Some(token), body: None };
    match client.ask::<Mounted>(question).await {
        Ok(Mounted { data }) => {
            let version = data.options.as_ref().and_then(|it| it.get("version"));
            let two = version.is_some_and(|it| it.as_str() == Some("2") || it.as_u64() == Some(2));
            Ok((Some(data.path.trim_matches('/').to_owned()), if two { Version::Two } else { Version::One }))
        }
        Err(VaultError::Missing(_) | VaultError::NoEntry(_) | VaultError::Torn) => Ok((None, Version::One)),
        Err(VaultError::Denied(_)) => Err(VaultError::Denied(entry.to_owned())),
        Err(other) => Err(other),
    }
}

/// The texts of an entry. Whatever else it holds is passed over; `null` is a version that was deleted.
#[derive(Deserialize)]
struct Plain {
    data: Option<HashMap<String, Field>>,
}

#[derive(Deserialize)]
struct Versioned {
    data: Option<Plain>,
}

enum Field {
    Text(Secret),
    Other,
}

/// The fields of an entry that are asked for.
pub(super) async fn read(
    client: &Client,
    token: &Secret,
    place: &Place,
    fields: &BTreeSet<&str>,
) -> Result<HashMap<String, Secret>, VaultError> {
    let question = Question { method: Method::GET, path: &place.path, token: Some(token), body: None };
    let answer = match place.version {
        Version::One => client.ask::<Plain>(question).await,
        Version::Two => client.ask::<Versioned>(question).await.map(|it| it.data.unwrap_or(Plain { data: None })),
    };
    // Told by the name in the configuration, which is the one that an operator knows.
    let named = |error| match error {
        VaultError::Denied(_) => VaultError::Denied(place.entry.clone()),
        VaultError::Missing(_) => VaultError::Missing(place.entry.clone()),
        other => other,
    };
    let mut found = answer.map_err(named)?.data.ok_or_else(|| VaultError::Missing(place.entry.clone()))?;
    let texts = fields.iter().filter_map(|field| match found.remove(*field) {
        Some(Field::Text(text)) => Some(((*field).to_owned(), text)),
        _ => None,
    });
    Ok(texts.collect())
}

impl<'de> Deserialize<'de> for Field {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Field, D::Error> {
        struct Any;
        impl<'de> de::Visitor<'de> for Any {
            type Value = Field;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("anything")
            }
            fn visit_str<E>(self, text: &str) -> Result<Field, E> {
                Ok(super::super::trimmed(text).map_or(Field::Other, Field::Text))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Field, E> {
                Ok(Field::Other)
            }
            fn visit_i64<E>(self, _: i64) -> Result<Field, E> {
                Ok(Field::Other)
            }
            fn visit_u64<E>(self, _: u64) -> Result<Field, E> {
                Ok(Field::Other)
            }
            fn visit_f64<E>(self, _: f64) -> Result<Field, E> {
                Ok(Field::Other)
            }
            fn visit_unit<E>(self) -> Result<Field, E> {
                Ok(Field::Other)
            }
            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Field, A::Error> {
                while seq.next_element::<de::IgnoredAny>()?.is_some() {}
                Ok(Field::Other)
            }
            fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Field, A::Error> {
                while map.next_entry::<de::IgnoredAny, de::IgnoredAny>()?.is_some() {}
                Ok(Field::Other)
            }
        }
        deserializer.deserialize_any(Any)
    }
}

/// A text that is never seen but as a secret.
pub(super) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Secret>, D::Error> {
    Ok(match Field::deserialize(deserializer)? {
        Field::Text(text) => Some(text),
        Field::Other => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_lies_below_its_mount_and_one_with_a_history_below_data() {
        let check =
            |mount: &str, version, entry: &str, expected: &str| assert_eq!(path(mount, version, entry), expected);
        check("kv", Version::One, "kv/providers/openai", "kv/providers/openai");
        check("kv", Version::Two, "kv/providers/openai", "kv/data/providers/openai");
        check("team/kv", Version::Two, "team/kv/openai", "team/kv/data/openai");
    }

    #[test]
    fn only_texts_are_keys_and_all_else_is_passed_over() {
        let body = r#"{"data":{"a":" k-1 ","b":1,"c":{"d":["e"]},"f":null,"g":true,"h":"","i":1.5}}"#;
        let mut fields = serde_json::from_str::<Plain>(body).unwrap().data.unwrap();
        let text = |field: Option<Field>| match field {
            Some(Field::Text(text)) => Some(text.expose().to_owned()),
            _ => None,
        };
        assert_eq!(text(fields.remove("a")).as_deref(), Some("k-1"));
        assert!(["b", "c", "f", "g", "h", "i"].into_iter().all(|it| text(fields.remove(it)).is_none()));
        let deleted = r#"{"data":{"data":null,"metadata":{"deletion_time":"2026-01-01T00:00:00Z"}}}"#;
        assert!(serde_json::from_str::<Versioned>(deleted).unwrap().data.unwrap().data.is_none());
    }
}
