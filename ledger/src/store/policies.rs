//! Revisions of rules, their activations and the shadow in SQL: one text for both databases. A bundle is read by itself alone.

use super::tenants::Stored;
use super::{Database, Row, Tx, values};
use crate::error::StoreError;
use crate::id::{Id, Org, Policy, Team};
use crate::policies::{ActivationRow, PolicyInForce, PolicyRow, PolicyScope, PolicySource, ShadowRow};

const REVISION: &str =
    "SELECT id, scope, digest, revision, bytes, source, note, author, content, created_at FROM policy_revisions";
const ACTIVATION: &str =
    "SELECT id, scope, version, policy_id, restores, author, content, created_at FROM policy_activations";
const SHADOW: &str = "SELECT id, version, policy_id, author, content, created_at FROM policy_shadows";
const LAST: &str = "SELECT id, scope, version, policy_id, restores, author, content, created_at FROM policy_activations
    WHERE scope = $1 ORDER BY version DESC LIMIT 1";
const IN_FORCE: &str = "
    SELECT a.id AS activation_id, a.version, a.restores, a.author AS activated_by, a.created_at AS activated_at,
           r.id, r.scope, r.digest, r.revision, r.bytes, r.source, r.note, r.author, r.content, r.created_at
      FROM policy_activations a JOIN policy_revisions r ON r.id = a.policy_id
     WHERE a.version = (SELECT MAX(l.version) FROM policy_activations l WHERE l.scope = a.scope)";

impl Stored for PolicyRow {
    const SELECT: &'static str = REVISION;
    fn read(row: &Row) -> Result<Self, StoreError> {
        let source: String = row.get("source")?;
        Ok(PolicyRow {
            id: row.id("id")?,
            scope: scope(row)?,
            digest: row.hash("digest")?,
            revision: row.get("revision")?,
            bytes: row.get("bytes")?,
            source: PolicySource::from_word(&source)
                .ok_or_else(|| StoreError::Corrupt(format!("source {source:?}")))?,
            note: row.get("note")?,
            author: row.get("author")?,
            created_at: row.time("created_at")?,
        })
    }
}

impl Stored for ActivationRow {
    const SELECT: &'static str = ACTIVATION;
    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(ActivationRow {
            id: row.id("id")?,
            scope: scope(row)?,
            version: row.get("version")?,
            policy: row.maybe_id("policy_id")?,
            restores: row.get("restores")?,
            author: row.get("author")?,
            at: row.time("created_at")?,
        })
    }
}

impl Stored for ShadowRow {
    const SELECT: &'static str = SHADOW;
    fn read(row: &Row) -> Result<Self, StoreError> {
        Ok(ShadowRow {
            id: row.id("id")?,
            version: row.get("version")?,
            policy: row.maybe_id("policy_id")?,
            author: row.get("author")?,
            at: row.time("created_at")?,
        })
    }
}

fn scope(row: &Row) -> Result<PolicyScope, StoreError> {
    let text: String = row.get("scope")?;
    text.parse().map_err(|_| StoreError::Corrupt(format!("scope {text:?}")))
}

fn in_force_row(row: &Row) -> Result<PolicyInForce, StoreError> {
    let revision = PolicyRow::read(row)?;
    let activation = ActivationRow {
        id: row.id("activation_id")?,
        scope: revision.scope,
        version: row.get("version")?,
        policy: Some(revision.id),
        restores: row.get("restores")?,
        author: row.get("activated_by")?,
        at: row.time("activated_at")?,
    };
    Ok(PolicyInForce { revision, activation })
}

pub(crate) async fn insert_revision(
    tx: &mut Tx,
    row: &PolicyRow,
    bundle: Vec<u8>,
    content: [u8; 32],
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO policy_revisions (id, scope, digest, revision, bundle, bytes, source, note, author, content, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
        values![
            row.id,
            row.scope.to_string(),
            row.digest,
            &row.revision,
            bundle,
            row.bytes,
            row.source.as_str(),
            row.note.clone(),
            &row.author,
            content,
            row.created_at,
        ],
    )
    .await?;
    Ok(())
}

pub(crate) async fn insert_activation(tx: &mut Tx, row: &ActivationRow, content: [u8; 32]) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO policy_activations (id, scope, version, policy_id, restores, author, content, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        values![
            row.id,
            row.scope.to_string(),
            row.version,
            row.policy.map(|id| id.to_string()),
            row.restores,
            &row.author,
            content,
            row.at,
        ],
    )
    .await?;
    Ok(())
}

pub(crate) async fn insert_shadow(tx: &mut Tx, row: &ShadowRow, content: [u8; 32]) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO policy_shadows (id, version, policy_id, author, content, created_at) VALUES ($1, $2, $3, $4, $5, $6)",
        values![row.id, row.version, row.policy.map(|id| id.to_string()), &row.author, content, row.at],
    )
    .await?;
    Ok(())
}

/// How many words have been said on what is in force and on the shadow: none ever goes.
pub(crate) async fn count(db: &Database) -> Result<i64, StoreError> {
    let sql = "SELECT (SELECT COUNT(*) FROM policy_activations) + (SELECT COUNT(*) FROM policy_shadows) AS n";
    db.row(sql, values![]).await?.map_or(Ok(0), |row| row.get("n"))
}

pub(crate) async fn bundle(db: &Database, id: Id<Policy>) -> Result<Option<Vec<u8>>, StoreError> {
    let row = db.row("SELECT bundle FROM policy_revisions WHERE id = $1", values![id]).await?;
    row.map(|row| row.get("bundle")).transpose()
}

pub(crate) async fn in_force(db: &Database) -> Result<Vec<PolicyInForce>, StoreError> {
    db.rows(format!("{IN_FORCE} ORDER BY r.scope"), values![]).await?.iter().map(in_force_row).collect()
}

pub(crate) async fn in_force_of(db: &Database, scope: PolicyScope) -> Result<Option<PolicyInForce>, StoreError> {
    let row = db.row(format!("{IN_FORCE} AND a.scope = $1"), values![scope.to_string()]).await?;
    row.as_ref().map(in_force_row).transpose()
}

/// How many scopes have a layer.
pub(crate) async fn layers(tx: &mut Tx) -> Result<i64, StoreError> {
    let sql = "SELECT COUNT(*) AS n FROM policy_activations a WHERE a.policy_id IS NOT NULL
        AND a.version = (SELECT MAX(l.version) FROM policy_activations l WHERE l.scope = a.scope)";
    tx.row(sql, values![]).await?.map_or(Ok(0), |row| row.get("n"))
}

pub(crate) async fn last(db: &Database, scope: PolicyScope) -> Result<Option<ActivationRow>, StoreError> {
    db.row(LAST, values![scope.to_string()]).await?.as_ref().map(ActivationRow::read).transpose()
}

/// The same, while it is being written after.
pub(crate) async fn last_of(tx: &mut Tx, scope: PolicyScope) -> Result<Option<ActivationRow>, StoreError> {
    tx.row(LAST, values![scope.to_string()]).await?.as_ref().map(ActivationRow::read).transpose()
}

pub(crate) async fn revision_of(tx: &mut Tx, id: Id<Policy>) -> Result<Option<PolicyRow>, StoreError> {
    tx.row(format!("{REVISION} WHERE id = $1"), values![id]).await?.as_ref().map(PolicyRow::read).transpose()
}

/// The last revision of a scope that has this content.
pub(crate) async fn with_digest(
    tx: &mut Tx,
    scope: PolicyScope,
    digest: [u8; 32],
) -> Result<Option<PolicyRow>, StoreError> {
    let sql = format!("{REVISION} WHERE scope = $1 AND digest = $2 ORDER BY created_at DESC, id DESC LIMIT 1");
    tx.row(sql, values![scope.to_string(), digest]).await?.as_ref().map(PolicyRow::read).transpose()
}

pub(crate) async fn activation(
    db: &Database,
    scope: PolicyScope,
    version: i64,
) -> Result<Option<ActivationRow>, StoreError> {
    let row = db.row(format!("{ACTIVATION} WHERE scope = $1 AND version = $2"), values![scope.to_string(), version]);
    row.await?.as_ref().map(ActivationRow::read).transpose()
}

/// The last time that a revision came into force in its scope.
pub(crate) async fn activation_with(
    db: &Database,
    scope: PolicyScope,
    policy: Id<Policy>,
) -> Result<Option<ActivationRow>, StoreError> {
    let sql = format!("{ACTIVATION} WHERE scope = $1 AND policy_id = $2 ORDER BY version DESC LIMIT 1");
    db.row(sql, values![scope.to_string(), policy]).await?.as_ref().map(ActivationRow::read).transpose()
}

pub(crate) async fn activations(
    db: &Database,
    scope: PolicyScope,
    after: i64,
    limit: u32,
) -> Result<Vec<ActivationRow>, StoreError> {
    let sql = format!("{ACTIVATION} WHERE scope = $1 AND version > $2 ORDER BY version LIMIT $3");
    let rows = db.rows(sql, values![scope.to_string(), after, i64::from(limit)]).await?;
    rows.iter().map(ActivationRow::read).collect()
}

pub(crate) async fn shadow(db: &Database) -> Result<Option<ShadowRow>, StoreError> {
    let row = db.row(format!("{SHADOW} ORDER BY version DESC LIMIT 1"), values![]).await?;
    row.as_ref().map(ShadowRow::read).transpose()
}

pub(crate) async fn shadow_of(tx: &mut Tx) -> Result<Option<ShadowRow>, StoreError> {
    let row = tx.row(format!("{SHADOW} ORDER BY version DESC LIMIT 1"), values![]).await?;
    row.as_ref().map(ShadowRow::read).transpose()
}

/// The organisation whose chain tells of a scope; none: the platform's. An error where there is no such organisation or team.
pub(crate) async fn chain(tx: &mut Tx, scope: PolicyScope) -> Result<Result<Option<Id<Org>>, String>, StoreError> {
    match scope {
        PolicyScope::House | PolicyScope::Platform => Ok(Ok(None)),
        PolicyScope::Org(org) => {
            let row = tx.row("SELECT id FROM orgs WHERE id = $1", values![org]).await?;
            Ok(row.map(|_| Some(org)).ok_or_else(|| org.to_string()))
        }
        PolicyScope::Team(team) => org_of(tx, team).await,
    }
}

async fn org_of(tx: &mut Tx, team: Id<Team>) -> Result<Result<Option<Id<Org>>, String>, StoreError> {
    match tx.row("SELECT org_id FROM teams WHERE id = $1", values![team]).await? {
        Some(row) => Ok(Ok(Some(row.id("org_id")?))),
        None => Ok(Err(team.to_string())),
    }
}
