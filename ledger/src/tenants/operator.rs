//! Operators: who may use the admin API, and for what. Only hashes of their keys are kept.

use std::fmt;

use subtle::ConstantTimeEq;

use super::people::check_org;
use super::{Mark, Page, TenantError, Tenants, check, kind};
use crate::audit::{Actor, Entry};
use crate::clock::Timestamp;
use crate::id::{Id, Operator, Org};
use crate::key::{ShownKey, operator_hash};
use crate::store::tenants::{self as rows, Change};

/// What an operator may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub enum Role {
    /// Everything.
    #[default]
    Admin,
    /// Decide what calls ask approval for, and nothing else.
    Approver,
    /// Read everything, write nothing.
    Auditor,
}

impl Role {
    pub const ALL: [Role; 3] = [Role::Admin, Role::Approver, Role::Auditor];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Approver => "approver",
            Role::Auditor => "auditor",
        }
    }

    /// The role of that word.
    pub fn from_word(word: &str) -> Option<Role> {
        Role::ALL.into_iter().find(|it| it.as_str() == word)
    }
}

/// A living operator's key.
#[derive(Clone, PartialEq, Eq)]
pub struct OperatorCredential {
    pub id: Id<Operator>,
    pub secret_hash: [u8; 32],
    pub role: Role,
    /// An approver sees this organisation alone.
    pub org: Option<Id<Org>>,
}

impl OperatorCredential {
    /// The one of `operators` whose key was presented. Every one is compared, each in constant time.
    pub fn find<'a>(operators: &'a [OperatorCredential], presented: &[u8]) -> Option<&'a OperatorCredential> {
        let hash = operator_hash(presented);
        operators.iter().fold(None, |found, it| if it.secret_hash.ct_eq(&hash).into() { Some(it) } else { found })
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
    pub role: Role,
    /// An approver sees this organisation alone.
    pub org: Option<Id<Org>>,
    pub created_at: Timestamp,
    pub revoked_at: Option<Timestamp>,
}

impl OperatorRow {
    /// Its place in a list.
    pub fn mark(&self) -> Mark {
        Mark { at: self.created_at, id: self.id.to_string() }
    }
}

/// An operator to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewOperator {
    pub id: Id<Operator>,
    pub name: String,
    pub role: Role,
    /// Of an approver only.
    pub org: Option<Id<Org>>,
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
        let id = self.add_operator(&mut change, self.bootstrap(), hash, &Actor::System, &mut entries).await?.id;
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
        self.add_operator(&mut change, self.bootstrap(), shown.hash(), &Actor::System, &mut entries).await?;
        self.commit(change, self.now(), &entries).await?;
        Ok(Some(shown))
    }

    /// Makes another operator and answers the key, this once.
    pub async fn create_operator(
        &self,
        new: NewOperator,
        actor: &Actor,
    ) -> Result<(OperatorRow, ShownKey), TenantError> {
        check::name(&new.name)?;
        if new.org.is_some() && new.role != Role::Approver {
            return Err(check::invalid("org", "must be left out: only an approver has one"));
        }
        let mut change = Change::begin(self.db()).await?;
        if let Some(row) = rows::find_operator(&mut change.tx, new.id).await? {
            let same = (&row.name, row.role, row.org) == (&new.name, new.role, new.org);
            let id = new.id.to_string();
            return Err(if same { TenantError::AlreadyShown(id) } else { TenantError::Conflict(id) });
        }
        if let Some(org) = new.org {
            check_org(&mut change, org).await?;
        }
        let shown = ShownKey::for_operator(self.ledger.entropy().bytes());
        let mut entries = Vec::new();
        let NewOperator { id, name, role, org } = new;
        let row = OperatorRow { id, name, bootstrap: false, role, org, created_at: self.now(), revoked_at: None };
        let row = self.add_operator(&mut change, row, shown.hash(), actor, &mut entries).await?;
        self.commit(change, self.now(), &entries).await?;
        Ok((row, shown))
    }

    /// Operators, oldest first, those that were revoked among them.
    pub async fn operators(&self, page: &Page) -> Result<Vec<OperatorRow>, TenantError> {
        Ok(rows::list(self.db(), &[], page).await?)
    }

    /// Lets an operator's key in no more. A bootstrap key is replaced by the next and not revoked: somebody has to be let in.
    pub async fn revoke_operator(&self, id: Id<Operator>, actor: &Actor) -> Result<OperatorRow, TenantError> {
        let mut change = Change::begin(self.db()).await?;
        let row = rows::find_operator(&mut change.tx, id).await?;
        let mut row = row.ok_or_else(|| TenantError::Unknown(id.to_string()))?;
        if row.bootstrap {
            return Err(TenantError::Bootstrap(id.to_string()));
        }
        if row.revoked_at.is_some() {
            return Ok(row);
        }
        let now = self.now();
        rows::revoke_operator(&mut change.tx, id, now).await?;
        row.revoked_at = Some(now);
        let entry = Entry::new(None, kind::OPERATOR_REVOKED, *actor).with("operator_id", id);
        self.commit(change, now, &[entry]).await?;
        Ok(row)
    }

    fn bootstrap(&self) -> OperatorRow {
        OperatorRow {
            id: self.ledger.new_id(),
            name: "bootstrap".to_owned(),
            bootstrap: true,
            role: Role::Admin,
            org: None,
            created_at: self.now(),
            revoked_at: None,
        }
    }

    async fn add_operator(
        &self,
        change: &mut Change,
        row: OperatorRow,
        hash: [u8; 32],
        actor: &Actor,
        entries: &mut Vec<Entry>,
    ) -> Result<OperatorRow, TenantError> {
        rows::insert_operator(&mut change.tx, &row, hash).await?;
        entries.push(
            Entry::new(None, kind::OPERATOR_CREATED, *actor)
                .with("operator_id", row.id)
                .with("bootstrap", row.bootstrap)
                .with("role", row.role.as_str())
                .with("org_id", row.org),
        );
        Ok(row)
    }
}
