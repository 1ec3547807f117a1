//! App keys on the wire. A row never shows a secret or its hash; a secret is answered once.

use ledger::{Id, Key, KeyRow, LimitChange, Org, Priority, ShownKey, Tags, Team, Timestamp, User, Wallet};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{given, not_null, word};
use crate::problem::Problem;

/// An app key to be made.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewKey {
    /// One line of 1 to 200 characters.
    #[schema(example = "search backend", min_length = 1, max_length = 200)]
    pub name: String,
    /// The wallet that its calls are paid from, with every wallet above it.
    #[schema(value_type = String, example = "wal_0192f0c1a2b37c4d8e5f60718293a4b5")]
    pub wallet_id: Id<Wallet>,
    /// Without it: the team of the nearest wallet, from `wallet_id` upwards, that has one.
    #[schema(value_type = Option<String>)]
    pub team_id: Option<Id<Team>>,
    #[schema(value_type = Option<String>)]
    pub user_id: Option<Id<User>>,
    /// The models that it may ask for; without it, every model that policy allows.
    #[schema(min_items = 1, max_items = 1000)]
    pub models: Option<Vec<String>>,
    /// When it stops working, in the future; without it, never.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// Requests a minute; without it, no such limit.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub rpm: Option<u32>,
    /// Tokens a minute; without it, no such limit.
    #[schema(minimum = 1, maximum = 1_000_000_000)]
    pub tpm: Option<u64>,
    /// Calls in flight; without it, no such limit.
    #[schema(minimum = 1, maximum = 100_000)]
    pub max_parallel_requests: Option<u32>,
    /// `low`, `normal` (unless said) or `high`: under overload calls of low priority are shed first, of high priority last.
    #[schema(pattern = "^(low|normal|high)$", default = "normal")]
    pub priority: Option<String>,
    /// What is said of its calls: wallets of kind `scope` and policies go by it. At most 32, names and values of 1 to 128
    /// characters.
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>, example = json!({"team": "search"}))]
    pub tags: Option<Tags>,
}

/// What to change of a key. What is left out stays as it is; `null` takes a limit, or all tags, away.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangeKey {
    /// All of them anew.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<std::collections::BTreeMap<String, String>>, example = json!({"team": "search"}))]
    pub tags: Option<Option<Tags>>,
    /// Requests a minute.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 1_000_000)]
    pub rpm: Option<Option<u32>>,
    /// Tokens a minute.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 1_000_000_000)]
    pub tpm: Option<Option<u64>>,
    /// Calls in flight.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<u32>, minimum = 1, maximum = 100_000)]
    pub max_parallel_requests: Option<Option<u32>>,
    /// `low`, `normal` or `high`.
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = String, required = false, pattern = "^(low|normal|high)$")]
    pub priority: Option<Option<String>>,
}

impl ChangeKey {
    pub(crate) fn read(self) -> Result<ledger::KeyChange, Problem> {
        let named = self.priority.map(|word| not_null("priority", word)).transpose()?;
        Ok(ledger::KeyChange {
            tags: self.tags.map(Option::unwrap_or_default),
            limits: LimitChange { rpm: self.rpm, tpm: self.tpm, max_parallel: self.max_parallel_requests },
            priority: named.as_deref().map(priority).transpose()?,
        })
    }
}

pub(crate) fn priority(text: &str) -> Result<Priority, Problem> {
    word("priority", text, Priority::from_word, "low, normal, high")
}

/// How to rotate a key.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RotateKey {
    /// How long the old secret stays good: at most 2592000 (30 days), 86400 (a day) unless said, 0 to end it at once.
    /// A secret that is still within an earlier overlap ends in any case.
    #[schema(maximum = 2592000, default = 86400)]
    pub overlap_seconds: Option<u64>,
}

/// An app key.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Key)]
pub(crate) struct KeyBody {
    #[schema(value_type = String, example = "key_0192f0c1a2b37c4d8e5f60718293a4b5")]
    pub id: Id<Key>,
    #[schema(value_type = String)]
    pub org_id: Id<Org>,
    pub name: String,
    #[schema(value_type = String)]
    pub wallet_id: Id<Wallet>,
    #[schema(value_type = Option<String>, required)]
    pub team_id: Option<Id<Team>>,
    #[schema(value_type = Option<String>, required)]
    pub user_id: Option<Id<User>>,
    /// `active`, `expired` or `revoked`.
    #[schema(example = "active")]
    pub status: &'static str,
    #[schema(required)]
    pub models: Option<Vec<String>>,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub expires_at: Option<Timestamp>,
    #[schema(required)]
    pub rpm: Option<u32>,
    #[schema(required)]
    pub tpm: Option<u64>,
    #[schema(required)]
    pub max_parallel_requests: Option<u32>,
    /// `low`, `normal` or `high`.
    #[schema(example = "normal")]
    pub priority: &'static str,
    /// What is said of its calls.
    #[schema(value_type = std::collections::BTreeMap<String, String>, example = json!({"team": "search"}))]
    pub tags: Tags,
    /// Until when the secret before the last rotation is good as well.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub overlap_until: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub rotated_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub revoked_at: Option<Timestamp>,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

impl KeyBody {
    /// The key as it stands at `now`.
    pub(crate) fn at(row: KeyRow, now: Timestamp) -> KeyBody {
        let status = match (row.revoked_at, row.is_live(now)) {
            (Some(_), _) => "revoked",
            (None, true) => "active",
            (None, false) => "expired",
        };
        KeyBody {
            id: row.id,
            org_id: row.org,
            name: row.name,
            wallet_id: row.wallet,
            team_id: row.team,
            user_id: row.user,
            status,
            models: row.models,
            expires_at: row.expires_at,
            rpm: row.rpm,
            tpm: row.tpm,
            max_parallel_requests: row.max_parallel,
            priority: row.priority.as_str(),
            tags: row.tags,
            overlap_until: row.overlap_until.filter(|until| *until > now),
            rotated_at: row.rotated_at,
            revoked_at: row.revoked_at,
            created_at: row.created_at,
        }
    }
}

/// A key that was just made or rotated, with its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = KeyWithSecret)]
pub(crate) struct ShownKeyBody {
    /// The key whole, this once: `sk-alf-<public id>-<secret>-<checksum>`.
    pub key: String,
    #[serde(flatten)]
    pub row: KeyBody,
}

impl ShownKeyBody {
    pub(crate) fn at(row: KeyRow, shown: &ShownKey, now: Timestamp) -> ShownKeyBody {
        ShownKeyBody { key: shown.expose().to_owned(), row: KeyBody::at(row, now) }
    }
}
