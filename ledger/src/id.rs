//! Typed identifiers: a UUID that knows whose it is, printed with its kind as a prefix (`wal_0192…`).
//! The caller's side makes them, so that every operation can be repeated safely.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::clock::Timestamp;

/// What an identifier names; gives its printed prefix.
pub trait Kind {
    /// The prefix with its underscore, as in `org_`.
    const PREFIX: &'static str;
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {
        $($(#[$doc])* #[derive(Debug)] pub enum $name {}
        impl Kind for $name { const PREFIX: &'static str = $prefix; })*
    };
}

kinds! {
    /// An organisation: a tenant, with an audit chain of its own.
    Org = "org_";
    /// A team of an organisation.
    Team = "team_";
    /// A person of an organisation.
    User = "usr_";
    /// A wallet: a limit and what was spent and held against it.
    Wallet = "wal_";
    /// An app's API key.
    Key = "key_";
    /// One call through the gateway; also names its hold and its receipt.
    Call = "req_";
    /// An operator's key for the admin API.
    Operator = "adm_";
    /// One running process.
    Instance = "ins_";
    /// A row of the journal.
    JournalRow = "jrn_";
    /// Something that somebody should be told.
    Alert = "alr_";
    /// A price in the stored list.
    Price = "prc_";
    /// What a tenant pays for a dollar of cost.
    MarkupRule = "mku_";
    /// What an organisation wants done about targets without a price.
    PricingTerms = "trm_";
    /// A version of a provider or model that operators manage.
    Definition = "def_";
    /// A version of a layer's rules.
    Policy = "pol_";
    /// A word on which of them is in force, or rehearsed.
    Activation = "act_";
    /// One decision by rules.
    Decision = "dec_";
    /// What somebody has to approve, and their word on it.
    Approval = "apr_";
    /// Work that a provider does at leisure.
    Batch = "batch_";
    /// A file of such work, there or back.
    BatchFile = "file-";
}

/// An identifier of a `K`. A team's never fits where a key's is wanted.
pub struct Id<K> {
    uuid: Uuid,
    kind: PhantomData<fn() -> K>,
}

impl<K: Kind> Id<K> {
    /// Names a new thing: UUIDv7, so that identifiers sort by the time they were made.
    pub fn new(at: Timestamp, random: [u8; 10]) -> Id<K> {
        let millis = u64::try_from(at.micros() / 1_000).unwrap_or(0);
        Id::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// Wraps an identifier that exists already.
    pub const fn from_uuid(uuid: Uuid) -> Id<K> {
        Id { uuid, kind: PhantomData }
    }

    /// The identifier without its kind.
    pub const fn uuid(self) -> Uuid {
        self.uuid
    }
}

/// The text is not an identifier of the wanted kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not an id of the form {prefix}<32 hexadecimal digits>")]
pub struct IdError {
    /// The prefix that was expected.
    pub prefix: &'static str,
}

impl<K: Kind> FromStr for Id<K> {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = IdError { prefix: K::PREFIX };
        let digits = text.strip_prefix(K::PREFIX).ok_or(wrong.clone())?;
        // Only the form that we print: one spelling per identifier.
        if digits.len() != 32 || digits.bytes().any(|b| !matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(wrong);
        }
        Uuid::try_parse(digits).map(Id::from_uuid).map_err(|_| wrong)
    }
}

impl<K: Kind> fmt::Display for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", K::PREFIX, self.uuid.simple())
    }
}

impl<K: Kind> fmt::Debug for Id<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.uuid == other.uuid
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.uuid.cmp(&other.uuid)
    }
}
impl<K> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.uuid.hash(state);
    }
}

impl<K: Kind> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de, K: Kind> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_reads_back_what_it_printed_and_nothing_else() {
        let id: Id<Wallet> = Id::new(Timestamp::from_micros(1_700_000_000_000_000), [7; 10]);
        assert_eq!(id.to_string().parse::<Id<Wallet>>(), Ok(id));
        assert!(id.to_string().parse::<Id<Key>>().is_err(), "a wallet is no key");
        for wrong in ["", "wal_", "wal_0192", "WAL_01920000000070000000000000000000"] {
            assert!(wrong.parse::<Id<Wallet>>().is_err(), "{wrong}");
        }
        let upper = id.to_string().to_uppercase().replacen("WAL_", "wal_", 1);
        assert!(upper.parse::<Id<Wallet>>().is_err(), "one spelling per id");
    }

    #[test]
    fn later_ids_sort_after_earlier_ones() {
        let at = |ms: i64| Id::<Call>::new(Timestamp::from_micros(ms * 1_000), [0xff; 10]).to_string();
        assert!(at(1_700_000_000_000) < at(1_700_000_000_001));
    }
}
