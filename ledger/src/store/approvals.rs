//! Approvals in SQL: one text for both databases.

use super::{Database, Row, Tx, Value, values};
use crate::approvals::{ApprovalFilter, ApprovalRow, ApprovalState, ApprovalUse, Grant, Reach};
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::id::{Approval, Call, Id, Org};
use crate::money::Money;
use crate::tenants::Page;

const APPROVAL: &str = "SELECT id, org_id, team_id, key_id, user_id, call_id, requirements, model, amount, created_at,
    expires_at, state, decided_at, decided_by, reason, content, reach, models, uses, budget, used, spent FROM approvals";

fn read(row: &Row) -> Result<ApprovalRow, StoreError> {
    let corrupt = |column: &str| StoreError::Corrupt(format!("approvals.{column}"));
    let json = |column: &str| row.get::<Option<String>>(column);
    let state: String = row.get("state")?;
    let grant = match (json("reach")?, json("models")?) {
        (Some(reach), Some(models)) => Some(Grant {
            reach: Reach::from_word(&reach).ok_or_else(|| corrupt("reach"))?,
            models: serde_json::from_str(&models).map_err(|_| corrupt("models"))?,
            uses: row.get("uses")?,
            budget: row.maybe_money("budget")?,
        }),
        _ => None,
    };
    Ok(ApprovalRow {
        id: row.id("id")?,
        org: row.id("org_id")?,
        team: row.maybe_id("team_id")?,
        key: row.id("key_id")?,
        user: row.maybe_id("user_id")?,
        call: row.id("call_id")?,
        requirements: serde_json::from_str(&row.get::<String>("requirements")?).map_err(|_| corrupt("requirements"))?,
        model: row.get("model")?,
        amount: row.money("amount")?,
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
        state: ApprovalState::from_word(&state).ok_or_else(|| corrupt("state"))?,
        decided_at: row.maybe_time("decided_at")?,
        decided_by: row.get("decided_by")?,
        reason: row.get("reason")?,
        grant,
        used: row.get("used")?,
        spent: row.money("spent")?,
    })
}

pub(crate) async fn insert(tx: &mut Tx, row: &ApprovalRow, asked: [u8; 32]) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO approvals (id, org_id, team_id, key_id, user_id, call_id, requirements, asked, model, amount,
                                created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
        values![
            row.id,
            row.org,
            row.team,
            row.key,
            row.user,
            row.call,
            serde_json::json!(row.requirements).to_string(),
            asked,
            &row.model,
            row.amount,
            row.created_at,
            row.expires_at,
        ],
    )
    .await?;
    Ok(())
}

/// Keeps others from asking for approvals in this organisation until the end.
pub(crate) async fn lock_org(tx: &mut Tx, org: Id<Org>) -> Result<(), StoreError> {
    tx.rows_for_update("SELECT id FROM orgs WHERE id = $1", values![org]).await?;
    Ok(())
}

/// Writes down that nobody has decided in time.
pub(crate) async fn expire(tx: &mut Tx, org: Id<Org>, now: Timestamp) -> Result<(), StoreError> {
    // Locked in the order of their ids, as whoever uses them does.
    let late = tx
        .rows_for_update(
            "SELECT id FROM approvals WHERE org_id = $1 AND state = 'pending' AND expires_at <= $2 ORDER BY id",
            values![org, now],
        )
        .await?;
    if !late.is_empty() {
        tx.execute(
            "UPDATE approvals SET state = 'expired' WHERE org_id = $1 AND state = 'pending' AND expires_at <= $2",
            values![org, now],
        )
        .await?;
    }
    Ok(())
}

/// The request that waits for the same already.
pub(crate) async fn pending(
    db: &Database,
    org: Id<Org>,
    asked: [u8; 32],
    now: Timestamp,
) -> Result<Option<ApprovalRow>, StoreError> {
    let sql = format!("{APPROVAL} WHERE org_id = $1 AND asked = $2 AND state = 'pending' AND expires_at > $3");
    db.row(sql, values![org, asked, now]).await?.as_ref().map(read).transpose()
}

/// The same, once those that have ended are written down as such.
pub(crate) async fn pending_of(tx: &mut Tx, org: Id<Org>, asked: [u8; 32]) -> Result<Option<ApprovalRow>, StoreError> {
    let sql = format!("{APPROVAL} WHERE org_id = $1 AND asked = $2 AND state = 'pending'");
    tx.row(sql, values![org, asked]).await?.as_ref().map(read).transpose()
}

pub(crate) async fn how_many_pending(db: &Database, org: Id<Org>, now: Timestamp) -> Result<i64, StoreError> {
    let sql = "SELECT COUNT(*) AS n FROM approvals WHERE org_id = $1 AND state = 'pending' AND expires_at > $2";
    db.row(sql, values![org, now]).await?.map_or(Ok(0), |row| row.get("n"))
}

pub(crate) async fn how_many_pending_of(tx: &mut Tx, org: Id<Org>) -> Result<i64, StoreError> {
    let sql = "SELECT COUNT(*) AS n FROM approvals WHERE org_id = $1 AND state = 'pending'";
    tx.row(sql, values![org]).await?.map_or(Ok(0), |row| row.get("n"))
}

pub(crate) async fn get(db: &Database, id: Id<Approval>) -> Result<Option<ApprovalRow>, StoreError> {
    db.row(format!("{APPROVAL} WHERE id = $1"), values![id]).await?.as_ref().map(read).transpose()
}

/// A page, oldest first. States are those of `now`, whatever was written down.
pub(crate) async fn list(
    db: &Database,
    filter: &ApprovalFilter,
    page: &Page,
    now: Timestamp,
) -> Result<Vec<ApprovalRow>, StoreError> {
    let (at, id) = page.start();
    let mut parameters = values![at, id, i64::from(page.limit)];
    let mut filtered = String::new();
    if let Some(org) = filter.org {
        parameters.push(Value::from(org));
        filtered.push_str(&format!(" AND org_id = ${}", parameters.len()));
    }
    if let Some(state) = filter.state {
        let known = match state {
            ApprovalState::Denied => " AND state = 'denied'".to_owned(),
            ApprovalState::Pending | ApprovalState::Approved => {
                parameters.push(Value::from(now));
                format!(" AND state = '{}' AND expires_at > ${}", state.as_str(), parameters.len())
            }
            ApprovalState::Expired => {
                parameters.push(Value::from(now));
                let n = parameters.len();
                format!(" AND (state = 'expired' OR (state IN ('pending', 'approved') AND expires_at <= ${n}))")
            }
        };
        filtered.push_str(&known);
    }
    let sql = format!("{APPROVAL} WHERE (created_at, id) > ($1, $2){filtered} ORDER BY created_at, id LIMIT $3");
    db.rows(sql, parameters).await?.iter().map(read).collect()
}

pub(crate) async fn uses(db: &Database, id: Id<Approval>, limit: u32) -> Result<Vec<ApprovalUse>, StoreError> {
    let rows = db
        .rows(
            "SELECT call_id, kind, uses, amount, at FROM approval_uses WHERE approval_id = $1
             ORDER BY at DESC, call_id, kind LIMIT $2",
            values![id, i64::from(limit)],
        )
        .await?;
    rows.iter()
        .map(|row| {
            let (call, kind, uses) = (row.id("call_id")?, row.get("kind")?, row.get("uses")?);
            Ok(ApprovalUse { call, kind, uses, amount: row.money("amount")?, at: row.time("at")? })
        })
        .collect()
}

/// The one with this id, kept from changing, and the fingerprint of the word on it.
pub(crate) async fn lock_one(
    tx: &mut Tx,
    id: Id<Approval>,
) -> Result<Option<(ApprovalRow, Option<[u8; 32]>)>, StoreError> {
    let rows = tx.rows_for_update(format!("{APPROVAL} WHERE id = $1"), values![id]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let content = row.get::<Option<Vec<u8>>>("content")?.and_then(|bytes| bytes.try_into().ok());
    Ok(Some((read(row)?, content)))
}

/// Those of these that there are, kept from changing, locked in the order of their ids.
pub(crate) async fn lock(tx: &mut Tx, ids: &[Id<Approval>]) -> Result<Vec<ApprovalRow>, StoreError> {
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let places = (1..=ids.len()).map(|n| format!("${n}")).collect::<Vec<_>>().join(", ");
    let sql = format!("{APPROVAL} WHERE id IN ({places}) ORDER BY id");
    tx.rows_for_update(sql, ids.iter().map(|id| Value::from(*id)).collect()).await?.iter().map(read).collect()
}

/// Saves somebody's word.
pub(crate) async fn decide(tx: &mut Tx, row: &ApprovalRow, content: [u8; 32]) -> Result<(), StoreError> {
    let grant = row.grant.as_ref();
    tx.execute(
        "UPDATE approvals SET state = $2, expires_at = $3, decided_at = $4, decided_by = $5, reason = $6, content = $7,
                              reach = $8, models = $9, uses = $10, budget = $11
          WHERE id = $1",
        values![
            row.id,
            row.state.as_str(),
            row.expires_at,
            row.decided_at,
            row.decided_by.as_ref(),
            row.reason.as_ref(),
            content,
            grant.map(|it| it.reach.as_str()),
            grant.map(|it| serde_json::json!(it.models).to_string()),
            grant.and_then(|it| it.uses),
            grant.and_then(|it| it.budget),
        ],
    )
    .await?;
    Ok(())
}

/// Writes one change of what is used, and adds it up.
pub(crate) async fn change(
    tx: &mut Tx,
    id: Id<Approval>,
    call: Id<Call>,
    (kind, uses, amount): (&'static str, i64, Money),
    at: Timestamp,
) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO approval_uses (approval_id, call_id, kind, uses, amount, at) VALUES ($1, $2, $3, $4, $5, $6)",
        values![id, call, kind, uses, amount, at],
    )
    .await?;
    tx.execute("UPDATE approvals SET used = used + $2, spent = spent + $3 WHERE id = $1", values![id, uses, amount])
        .await?;
    Ok(())
}

/// What a call has used and not been given back, in the order of their ids.
pub(crate) async fn used_by(tx: &mut Tx, call: Id<Call>) -> Result<Vec<Id<Approval>>, StoreError> {
    let rows = tx
        .rows(
            "SELECT approval_id FROM approval_uses WHERE call_id = $1
              GROUP BY approval_id HAVING SUM(uses) > 0 ORDER BY approval_id",
            values![call],
        )
        .await?;
    rows.iter().map(|row| row.id("approval_id")).collect()
}

/// What a call's use was taken for, unless it was corrected or given back since.
pub(crate) async fn open_use(tx: &mut Tx, id: Id<Approval>, call: Id<Call>) -> Result<Option<Money>, StoreError> {
    let sql = "SELECT kind, amount FROM approval_uses WHERE approval_id = $1 AND call_id = $2";
    let rows = tx.rows(sql, values![id, call]).await?;
    match rows.as_slice() {
        [used] => Ok(Some(used.money("amount")?)),
        _ => Ok(None),
    }
}
