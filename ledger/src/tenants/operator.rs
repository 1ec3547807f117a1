//! Operators: who may use the admin API. Only hashes of their keys are kept.

use std::fmt;

use subtle::ConstantTimeEq;

use super::{TenantError, Tenants, check, kind};
use crate::audit::{Actor, Entry};
use crate::clock::Timestamp;
use crate::id::{Id, Operator};
use crate::key::{ShownKey, operator_hash};
use crate::store::tenants::{self as rows, Change};

/// A living operator's key.
#[derive(Clone, PartialEq, Eq)]
pub struct OperatorCredential {
    pub id: Id<Operator>,
    pub secret_hash: [u8; 32],
}

impl OperatorCredential {
    /// The one of `operators` whose key was presented. Every one is compared, each in constant time.
    pub fn find(operators: &[OperatorCredential], presented: &[u8]) -> Option<Id<Operator>> {
        let hash = operator_hash(presented);
        operators.iter().fold(None, |found, it| if it.secret_hash.ct_eq(&hash).into() { Some(it.id) } else { found })
    }
}

impl fmt::Debug for OperatorCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OperatorCredential({})", self.id)
    }
}

/// An operator's key, without anything that could be used as one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperatorRow {
    pub id: Id<Operator>,
    pub name: String,
    /// Given by the environment or made at first start, and replaced by the next such key.
    pub bootstrap: bool,
    pub created_at: Timestamp,
}

impl Tenants<'_> {
    /// Lets the given bootstrap key in, and no bootstrap key before it: one given by the environment earlier, or made at
    /// first start.
    pub async fn ensure_operator(&self, secret: &str) -> Result<Id<Operator>, TenantError> {
        check::operator_secret(secret)?;
        let hash = operator_hash(secret.as_bytes());
        let mut change = Change::begin(self.db()).await?;
        let living = rows::operators(&mut change.tx).await?;
        let old = living.into_iter().find(|(row, _)| row.bootstrap);
        if let Some((row, _)) = old.as_ref().filter(|(_, kept)| kept.ct_eq(&hash).into()) {
            return Ok(row.id);
        }
        let mut entries = Vec::new();
        if let Some((old, _)) = old {
            rows::revoke_operator(&mut change.tx, old.id, self.now()).await?;
            entries.push(Entry::new(None, kind::OPERATOR_REVOKED, Actor::System).with("operator_id", old.id));
        }
        let id = self.add_operator(&mut change, "bootstrap", true, hash, &Actor::System, &mut entries).await?.id;
        self.commit(change, self.now(), &entries).await?;
        Ok(id)
    }

    /// Where there is no operator yet, makes the first and answers its key, this once.
    pub async fn first_operator(&self) -> Result<Option<ShownKey>, TenantError> {
        let mut change = Change::begin(self.db()).await?;
        if !rows::operators(&mut change.tx).await?.is_empty() {
            return Ok(None);
        }
        let shown = ShownKey::for_operator(self.ledger.entropy().bytes());
        let mut entries = Vec::new();
        self.add_operator(&mut change, "bootstrap", true, shown.hash(), &Actor::System, &mut entries).await?;
        self.commit(change, self.now(), &entries).await?;
        Ok(Some(shown))
    }

    /// Makes another operator and answers the key, this once.
    pub async fn mint_operator(&self, name: &str, actor: &Actor) -> Result<(OperatorRow, ShownKey), TenantError> {
        check::name(name)?;
        let mut change = Change::begin(self.db()).await?;
        let shown = ShownKey::for_operator(self.ledger.entropy().bytes());
        let mut entries = Vec::new();
        let row = self.add_operator(&mut change, name, false, shown.hash(), actor, &mut entries).await?;
        self.commit(change, self.now(), &entries).await?;
        Ok((row, shown))
    }

    async fn add_operator(
        &self,
        change: &mut Change,
        name: &str,
        bootstrap: bool,
        hash: [u8; 32],
        actor: &Actor,
        entries: &mut Vec<Entry>,
    ) -> Result<OperatorRow, TenantError> {
        let row = OperatorRow { id: self.ledger.new_id(), name: name.to_owned(), bootstrap, created_at: self.now() };
        rows::insert_operator(&mut change.tx, &row, hash).await?;
        entries.push(
            Entry::new(None, kind::OPERATOR_CREATED, *actor).with("operator_id", row.id).with("bootstrap", bootstrap),
        );
        Ok(row)
    }
}
