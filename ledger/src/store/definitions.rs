//! Managed providers and models in SQL: one text for both databases.

use super::tenants::Stored;
use super::{Database, Row, Tx, values};
use crate::definitions::{DefinitionKind, DefinitionRow};
use crate::error::StoreError;

const DEFINITION: &str = "SELECT id, kind, name, version, body, author, content, created_at FROM definitions";
const LAST: &str = "SELECT id, kind, name, version, body, author, content, created_at FROM definitions
    WHERE kind = $1 AND name = $2 ORDER BY version DESC LIMIT 1";
/// In the order in which they first were there: it is the order of lists.
const IN_FORCE: &str = "
    SELECT d.id, d.kind, d.name, d.version, d.body, d.author, d.content, d.created_at
      FROM definitions d JOIN definitions f ON f.kind = d.kind AND f.name = d.name AND f.version = 1
     WHERE d.body IS NOT NULL AND d.version =
           (SELECT MAX(l.version) FROM definitions l WHERE l.kind = d.kind AND l.name = d.name)
     ORDER BY f.created_at, d.name";

impl Stored for DefinitionRow {
    const SELECT: &'static str = DEFINITION;
    fn read(row: &Row) -> Result<Self, StoreError> {
        let kind: String = row.get("kind")?;
        let body: Option<String> = row.get("body")?;
        Ok(DefinitionRow {
            id: row.id("id")?,
            kind: DefinitionKind::from_word(&kind).ok_or_else(|| StoreError::Corrupt(format!("kind {kind:?}")))?,
            name: row.get("name")?,
            version: row.get("version")?,
            body: body
                .map(|text| serde_json::from_str(&text).map_err(|_| StoreError::Corrupt("definition".to_owned())))
                .transpose()?,
            author: row.get("author")?,
            created_at: row.time("created_at")?,
        })
    }
}

pub(crate) async fn insert(
    tx: &mut Tx,
    row: &DefinitionRow,
    body: Option<&str>,
    content: [u8; 32],
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO definitions (id, kind, name, version, body, author, content, created_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
        values![
            row.id,
            row.kind.as_str(),
            &row.name,
            row.version,
            body.map(str::to_owned),
            &row.author,
            content,
            row.created_at,
        ],
    )
    .await?;
    Ok(())
}

pub(crate) async fn in_force(db: &Database) -> Result<Vec<DefinitionRow>, StoreError> {
    db.rows(IN_FORCE, values![]).await?.iter().map(DefinitionRow::read).collect()
}

pub(crate) async fn count(db: &Database) -> Result<i64, StoreError> {
    let row = db.row("SELECT COUNT(*) AS n FROM definitions", values![]).await?;
    row.map_or(Ok(0), |row| row.get("n"))
}

pub(crate) async fn last(db: &Database, kind: DefinitionKind, name: &str) -> Result<Option<DefinitionRow>, StoreError> {
    db.row(LAST, values![kind.as_str(), name]).await?.as_ref().map(DefinitionRow::read).transpose()
}

/// The same, while it is being written after.
pub(crate) async fn last_of(
    tx: &mut Tx,
    kind: DefinitionKind,
    name: &str,
) -> Result<Option<DefinitionRow>, StoreError> {
    tx.row(LAST, values![kind.as_str(), name]).await?.as_ref().map(DefinitionRow::read).transpose()
}

pub(crate) async fn version(
    db: &Database,
    kind: DefinitionKind,
    name: &str,
    version: i64,
) -> Result<Option<DefinitionRow>, StoreError> {
    let sql = format!("{DEFINITION} WHERE kind = $1 AND name = $2 AND version = $3");
    db.row(sql, values![kind.as_str(), name, version]).await?.as_ref().map(DefinitionRow::read).transpose()
}

pub(crate) async fn versions(
    db: &Database,
    kind: DefinitionKind,
    name: &str,
    after: i64,
    limit: u32,
) -> Result<Vec<DefinitionRow>, StoreError> {
    let sql = format!("{DEFINITION} WHERE kind = $1 AND name = $2 AND version > $3 ORDER BY version LIMIT $4");
    let rows = db.rows(sql, values![kind.as_str(), name, after, i64::from(limit)]).await?;
    rows.iter().map(DefinitionRow::read).collect()
}

/// How many of a kind are there.
pub(crate) async fn how_many(tx: &mut Tx, kind: DefinitionKind) -> Result<i64, StoreError> {
    let row = tx
        .row(
            "SELECT COUNT(*) AS n FROM definitions d WHERE d.kind = $1 AND d.body IS NOT NULL AND d.version =
             (SELECT MAX(l.version) FROM definitions l WHERE l.kind = d.kind AND l.name = d.name)",
            values![kind.as_str()],
        )
        .await?;
    row.map_or(Ok(0), |row| row.get("n"))
}
