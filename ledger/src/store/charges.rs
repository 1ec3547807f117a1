//! Charges booked by API and corrections, in both databases. Most batches have none, so they go row by row.

use rusqlite::{Connection, OptionalExtension, Row, params};
use sqlx::Row as _;
use sqlx::postgres::{PgConnection, PgRow};

use super::{Database, values};
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::id::{Call, Id, JournalRow, Kind};
use crate::money::Money;
use crate::price::Usage;
use crate::rows::{ChargeRow, CorrectionRow, Effect, Loaded, Needs};

const CHARGE: &str = "SELECT call_id, wallet_id, key_id, cost, price, reason FROM charges
    WHERE org_id = $1 AND source = $2 AND reference = $3";
const CORRECTION: &str = "SELECT call_id, asked, cost, price, overrun, was_cost, was_price, was_overrun, was_record,
    reason, price_version, usage FROM corrections WHERE id = $1";
const NEW_CHARGE: &str =
    "INSERT INTO charges (org_id, source, reference, call_id, wallet_id, key_id, cost, price, reason,
    at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)";
const NEW_CORRECTION: &str = "INSERT INTO corrections (id, call_id, at, asked, cost, price, overrun, was_cost,
    was_price, was_overrun, was_record, reason, price_version, usage)
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";

pub(super) fn read_sqlite(db: &Connection, needs: &Needs, loaded: &mut Loaded) -> Result<(), StoreError> {
    for name in &needs.charges {
        let find = params![name.org.to_string(), name.source, name.reference];
        let row = db.prepare_cached(CHARGE)?.query_row(find, charge_of_sqlite).optional()?;
        loaded.charges.extend(row.map(|row| (name.clone(), row)));
    }
    for id in &needs.corrections {
        let row = db.prepare_cached(CORRECTION)?.query_row([id.to_string()], correction_of_sqlite).optional()?;
        loaded.corrections.extend(row.map(|row| (*id, row)));
    }
    Ok(())
}

pub(super) fn save_sqlite(db: &Connection, effect: &Effect) -> Result<(), StoreError> {
    for (name, row) in &effect.charges {
        db.prepare_cached(NEW_CHARGE)?.execute(params![
            name.org.to_string(),
            name.source,
            name.reference,
            row.call.to_string(),
            row.wallet.to_string(),
            row.key.to_string(),
            row.cost.nanos(),
            row.price.nanos(),
            row.reason,
            effect.at.micros()
        ])?;
    }
    for (id, row) in &effect.corrections {
        db.prepare_cached(NEW_CORRECTION)?.execute(params![
            id.to_string(),
            row.call.to_string(),
            effect.at.micros(),
            row.asked.nanos(),
            row.cost.nanos(),
            row.price.nanos(),
            row.overrun.nanos(),
            row.was_cost.nanos(),
            row.was_price.nanos(),
            row.was_overrun.nanos(),
            &*row.was_record,
            row.reason,
            row.price_version,
            usage_text(row.usage.as_ref())
        ])?;
    }
    Ok(())
}

pub(super) async fn read_postgres(
    db: &mut PgConnection,
    needs: &Needs,
    loaded: &mut Loaded,
) -> Result<(), sqlx::Error> {
    for name in &needs.charges {
        let find = sqlx::query(CHARGE).bind(name.org.to_string()).bind(&name.source).bind(&name.reference);
        if let Some(row) = find.fetch_optional(&mut *db).await? {
            loaded.charges.insert(name.clone(), charge_of_postgres(&row)?);
        }
    }
    for id in &needs.corrections {
        let find = sqlx::query(CORRECTION).bind(id.to_string());
        if let Some(row) = find.fetch_optional(&mut *db).await? {
            loaded.corrections.insert(*id, correction_of_postgres(&row)?);
        }
    }
    Ok(())
}

pub(super) async fn save_postgres(db: &mut PgConnection, effect: &Effect) -> Result<(), sqlx::Error> {
    for (name, row) in &effect.charges {
        sqlx::query(NEW_CHARGE)
            .bind(name.org.to_string())
            .bind(&name.source)
            .bind(&name.reference)
            .bind(row.call.to_string())
            .bind(row.wallet.to_string())
            .bind(row.key.to_string())
            .bind(row.cost.nanos())
            .bind(row.price.nanos())
            .bind(&row.reason)
            .bind(effect.at.micros())
            .execute(&mut *db)
            .await?;
    }
    for (id, row) in &effect.corrections {
        sqlx::query(NEW_CORRECTION)
            .bind(id.to_string())
            .bind(row.call.to_string())
            .bind(effect.at.micros())
            .bind(row.asked.nanos())
            .bind(row.cost.nanos())
            .bind(row.price.nanos())
            .bind(row.overrun.nanos())
            .bind(row.was_cost.nanos())
            .bind(row.was_price.nanos())
            .bind(row.was_overrun.nanos())
            .bind(&*row.was_record)
            .bind(&row.reason)
            .bind(&row.price_version)
            .bind(usage_text(row.usage.as_ref()))
            .execute(&mut *db)
            .await?;
    }
    Ok(())
}

fn charge_of_sqlite(row: &Row<'_>) -> Result<ChargeRow, rusqlite::Error> {
    Ok(ChargeRow {
        call: id_of_sqlite(row, 0)?,
        wallet: id_of_sqlite(row, 1)?,
        key: id_of_sqlite(row, 2)?,
        cost: row.get(3).map(Money::from_nanos)?,
        price: row.get(4).map(Money::from_nanos)?,
        reason: row.get(5)?,
    })
}

fn correction_of_sqlite(row: &Row<'_>) -> Result<CorrectionRow, rusqlite::Error> {
    let money = |column: usize| row.get(column).map(Money::from_nanos);
    let usage: Option<String> = row.get(11)?;
    let usage = usage.as_deref().map(serde_json::from_str).transpose().map_err(|error| unreadable(11, error))?;
    Ok(CorrectionRow {
        call: id_of_sqlite(row, 0)?,
        asked: money(1)?,
        cost: money(2)?,
        price: money(3)?,
        overrun: money(4)?,
        was_cost: money(5)?,
        was_price: money(6)?,
        was_overrun: money(7)?,
        was_record: row.get_ref(8)?.as_str()?.into(),
        reason: row.get(9)?,
        price_version: row.get(10)?,
        usage,
    })
}

fn id_of_sqlite<K: Kind>(row: &Row<'_>, column: usize) -> Result<Id<K>, rusqlite::Error> {
    row.get_ref(column)?.as_str()?.parse().map_err(|error: crate::id::IdError| unreadable(column, error))
}

fn unreadable(column: usize, error: impl std::error::Error + Send + Sync + 'static) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
}

fn charge_of_postgres(row: &PgRow) -> Result<ChargeRow, sqlx::Error> {
    Ok(ChargeRow {
        call: id_of_postgres(row, "call_id")?,
        wallet: id_of_postgres(row, "wallet_id")?,
        key: id_of_postgres(row, "key_id")?,
        cost: row.try_get("cost").map(Money::from_nanos)?,
        price: row.try_get("price").map(Money::from_nanos)?,
        reason: row.try_get("reason")?,
    })
}

fn correction_of_postgres(row: &PgRow) -> Result<CorrectionRow, sqlx::Error> {
    let money = |column: &str| row.try_get(column).map(Money::from_nanos);
    let usage: Option<&str> = row.try_get("usage")?;
    let usage = usage.map(serde_json::from_str).transpose().map_err(|error| sqlx::Error::Decode(error.into()))?;
    Ok(CorrectionRow {
        call: id_of_postgres(row, "call_id")?,
        asked: money("asked")?,
        cost: money("cost")?,
        price: money("price")?,
        overrun: money("overrun")?,
        was_cost: money("was_cost")?,
        was_price: money("was_price")?,
        was_overrun: money("was_overrun")?,
        was_record: row.try_get::<&str, _>("was_record")?.into(),
        reason: row.try_get("reason")?,
        price_version: row.try_get("price_version")?,
        usage,
    })
}

fn id_of_postgres<K: Kind>(row: &PgRow, column: &str) -> Result<Id<K>, sqlx::Error> {
    let text: &str = row.try_get(column)?;
    text.parse().map_err(|error: crate::id::IdError| sqlx::Error::Decode(error.into()))
}

fn usage_text(usage: Option<&Usage>) -> Option<String> {
    usage.and_then(|usage| serde_json::to_string(usage).ok())
}

/// What was put right about a receipt since it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Amendment {
    pub id: Id<JournalRow>,
    pub at: Timestamp,
    pub reason: String,
    pub what: Amended,
}

/// How it was put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Amended {
    /// So much was given back.
    Refund { amount: Money },
    /// Its sides were corrected.
    Correction {
        cost: Money,
        price: Money,
        overrun: Money,
        was_cost: Money,
        was_price: Money,
        price_version: Option<String>,
        usage: Option<Usage>,
    },
}

/// Refunds and corrections of a call, oldest first.
pub(crate) async fn amendments(database: &Database, call: Id<Call>) -> Result<Vec<Amendment>, StoreError> {
    let refunds = database.rows("SELECT id, at, reason, amount FROM refunds WHERE call_id = $1", values![call]).await?;
    let mut found = refunds
        .iter()
        .map(|row| {
            let what = Amended::Refund { amount: row.money("amount")? };
            Ok(Amendment { id: row.id("id")?, at: row.time("at")?, reason: row.get("reason")?, what })
        })
        .collect::<Result<Vec<_>, StoreError>>()?;
    let corrections = "SELECT id, at, reason, cost, price, overrun, was_cost, was_price, price_version, usage
                         FROM corrections WHERE call_id = $1";
    for row in database.rows(corrections, values![call]).await? {
        let usage: Option<String> = row.get("usage")?;
        let usage = usage.as_deref().map(serde_json::from_str).transpose();
        let what = Amended::Correction {
            cost: row.money("cost")?,
            price: row.money("price")?,
            overrun: row.money("overrun")?,
            was_cost: row.money("was_cost")?,
            was_price: row.money("was_price")?,
            price_version: row.get("price_version")?,
            usage: usage.map_err(|error| StoreError::Corrupt(format!("usage of a correction: {error}")))?,
        };
        found.push(Amendment { id: row.id("id")?, at: row.time("at")?, reason: row.get("reason")?, what });
    }
    found.sort_by_key(|amendment| (amendment.at, amendment.id));
    Ok(found)
}
