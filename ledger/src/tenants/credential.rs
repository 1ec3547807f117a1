//! What verifies callers from memory: the hashes of living keys and operators, as of one `config_revision`.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::attributes::CredentialAttributes;
use super::limits::{Limits, Priority};
use super::scope::{Scope, Tags};
use super::{OperatorCredential, Tenants};
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::id::{Id, Key, Org, Team, User, Wallet};
use crate::key::PresentedKey;
use crate::store::tenants as rows;

const DEADLINE: Duration = Duration::from_secs(5);

/// Every living credential.
#[derive(Debug, Clone, Default)]
pub struct CredentialSet {
    /// The `config_revision` that this is the state of.
    pub revision: i64,
    pub keys: Vec<Credential>,
    pub operators: Vec<OperatorCredential>,
    /// Wallets beside the chains, in the order of their ids.
    pub scopes: Vec<Scope>,
}

/// A living app key: what it opens, and how it is recognised.
#[derive(Clone)]
pub struct Credential {
    pub key: Id<Key>,
    pub org: Id<Org>,
    pub wallet: Id<Wallet>,
    pub team: Option<Id<Team>>,
    pub user: Option<Id<User>>,
    pub secret_hash: [u8; 32],
    /// The secret before the last rotation, while it is still good.
    pub overlap: Option<Overlap>,
    pub models: Option<Vec<String>>,
    pub rpm: Option<u32>,
    pub tpm: Option<u64>,
    pub max_parallel: Option<u32>,
    /// Of its team, all keys together.
    pub team_limits: Limits,
    pub priority: Priority,
    /// What is said of its calls.
    pub tags: Tags,
    /// Of its user; nobody's key has none. Shared by the keys of one user.
    pub groups: Arc<Vec<String>>,
    /// What rules may go by.
    pub attributes: CredentialAttributes,
    pub expires_at: Option<Timestamp>,
}

/// The secret before the last rotation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Overlap {
    pub secret_hash: [u8; 32],
    pub until: Timestamp,
}

impl Credential {
    /// Whether `presented` opens this key at `now`: the right secret, or the one before it within the overlap, and the
    /// key not expired. Compares in constant time; revoked keys are in no set.
    pub fn admits(&self, presented: &PresentedKey, now: Timestamp) -> bool {
        let current = presented.matches(&self.secret_hash);
        let previous = self.overlap.is_some_and(|it| presented.matches(&it.secret_hash) && now < it.until);
        presented.id() == self.key && (current || previous) && self.expires_at.is_none_or(|end| now < end)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("key", &self.key).field("wallet", &self.wallet).finish_non_exhaustive()
    }
}

impl Tenants<'_> {
    /// Every living credential. A change that commits meanwhile may be in it already; its revision is then still the
    /// one before, so it is read again and never missed.
    pub async fn credentials(&self) -> Result<CredentialSet, StoreError> {
        let read = async {
            let revision = rows::revision(self.db()).await?;
            let keys = rows::credentials(self.db(), self.now()).await?;
            let operators = rows::operator_credentials(self.db()).await?;
            let scopes = rows::scopes(self.db()).await?;
            Ok(CredentialSet { revision, keys, operators, scopes })
        };
        // Whoever asks is late already; the next try begins with connections that are not in doubt.
        tokio::time::timeout(DEADLINE, read).await.unwrap_or_else(|_| {
            self.db().distrust();
            Err(StoreError::Silent)
        })
    }
}
