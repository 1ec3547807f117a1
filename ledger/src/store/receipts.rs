//! Receipts and calls that still run, for reading.

use std::collections::BTreeMap;

use super::charges::{self, Amendment};
use super::{Database, Row, Value, values};
use crate::error::StoreError;
use crate::id::{Call, Id, Key, Org, Wallet};
use crate::ledger::Ledger;
use crate::money::Money;
use crate::order::Receipt;
use crate::record::CallRecord;
use crate::rows::NO_KEY;

/// Reads receipts.
#[derive(Clone, Copy)]
pub struct Receipts<'a>(pub(crate) &'a Ledger);

/// Which receipts.
#[derive(Debug, Clone, Default)]
pub struct ReceiptFilter {
    pub org: Option<Id<Org>>,
    pub wallet: Option<Id<Wallet>>,
    pub key: Option<Id<Key>>,
    /// `settled`, `released`, `expired`, `refused` or `pending`.
    pub status: Option<String>,
    /// Only those that somebody should look at.
    pub review: bool,
}

// A process of the version before names no chain: its calls hold money in their wallet and those above it.
const RECEIPTS: &str = "SELECT call_id, org_id, wallet_id, COALESCE(NULLIF(chain, ''), wallet_id) AS chain, key_id, at,
    status, cost, price, overrun, refunded, CAST(0 AS BIGINT) AS held, review, reason, record FROM receipts";
// SQLite: by owner, in the order of the calls.
const RECEIPTS_PLACED: &str =
    "SELECT call_id, org_id, wallet_id, COALESCE(NULLIF(chain, ''), wallet_id) AS chain, key_id,
    at, status, cost, price, overrun, refunded, CAST(0 AS BIGINT) AS held, review, reason, record
    FROM (SELECT owner AS place_owner, call_id AS place FROM receipt_places) p CROSS JOIN receipts";
// A hold is a receipt that is not written yet.
const HOLDS: &str = "SELECT call_id, org_id, wallet_id, COALESCE(NULLIF(chain, ''), wallet_id) AS chain, key_id, at,
    'pending' AS status, CAST(0 AS BIGINT) AS cost, CAST(0 AS BIGINT) AS price, CAST(0 AS BIGINT) AS overrun, CAST(0 AS BIGINT) AS refunded, amount AS held,
    CAST(0 AS BIGINT) AS review, CAST(NULL AS TEXT) AS reason, record FROM holds";

impl Receipts<'_> {
    /// The receipt of a call; of a running one with what is held.
    pub async fn get(&self, call: Id<Call>) -> Result<Option<Receipt>, StoreError> {
        let sql = format!("{RECEIPTS} WHERE call_id = $1 UNION ALL {HOLDS} WHERE call_id = $1");
        self.0.database().row(sql, values![call]).await?.as_ref().map(read).transpose()
    }

    /// What was put right about a call since its receipt was written, oldest first: refunds and corrections.
    pub async fn amendments(&self, call: Id<Call>) -> Result<Vec<Amendment>, StoreError> {
        charges::amendments(self.0.database(), call).await
    }

    /// Receipts, newest first: those made before `cursor`, the last call of the page before.
    pub async fn list(
        &self,
        filter: &ReceiptFilter,
        cursor: Option<Id<Call>>,
        limit: u32,
    ) -> Result<Vec<Receipt>, StoreError> {
        list(self.0.database(), filter, cursor, limit).await
    }
}

// Two reads, each along an index and no further than the page: neither database sees that much in a union of both.
async fn list(
    database: &Database,
    filter: &ReceiptFilter,
    cursor: Option<Id<Call>>,
    limit: u32,
) -> Result<Vec<Receipt>, StoreError> {
    let mut found = BTreeMap::new();
    let pending = filter.status.as_deref().map(|status| status == "pending");
    // Holds first: a call that ends between the two reads is then seen twice rather than never, and its receipt counts.
    if pending != Some(false) && !filter.review {
        let (wheres, values) = conditions(filter, cursor, limit);
        found.extend(page(database, HOLDS, wheres, values).await?);
    }
    if pending != Some(true) {
        let (mut wheres, mut values) = conditions(filter, cursor, limit);
        if let Some(status) = &filter.status {
            values.push(status.into());
            wheres.push(format!("status = ${}", values.len()));
        }
        if filter.review {
            wheres.push("review = 1".to_owned());
        }
        let owner = match (filter.wallet, filter.key, filter.org) {
            _ if filter.review => None, // few, and with an index of their own
            (Some(wallet), ..) => Some(wallet.to_string()),
            (None, Some(key), _) => wallet_of(database, key).await?,
            (None, None, org) => org.map(|org| org.to_string()),
        };
        match (database, owner) {
            (Database::Sqlite(_), Some(owner)) => {
                // The newest first: what is placed between the two reads is then found twice rather than never.
                let (mut newest, also) = (wheres.clone(), values.clone());
                newest.push("seq > (SELECT seq FROM placed WHERE name = 'receipts')".to_owned());
                found.extend(page(database, &format!("{RECEIPTS} NOT INDEXED"), newest, also).await?);
                values.push(owner.into());
                let places = format!("{RECEIPTS_PLACED} ON p.place_owner = ${} AND call_id = p.place", values.len());
                if let Some(cursor) = cursor {
                    values.push(cursor.into());
                    wheres.push(format!("p.place < ${}", values.len()));
                }
                found.extend(page_by(database, &places, wheres, values, "p.place").await?);
            }
            _ => found.extend(page(database, RECEIPTS, wheres, values).await?),
        }
    }
    Ok(found.into_values().rev().take(limit as usize).collect())
}

/// What holds and receipts are chosen by alike; `$1` is the limit.
fn conditions(filter: &ReceiptFilter, cursor: Option<Id<Call>>, limit: u32) -> (Vec<String>, Vec<Value>) {
    let (mut wheres, mut values): (Vec<String>, Vec<Value>) = (vec!["TRUE".to_owned()], values![i64::from(limit)]);
    let mut also = |sql: &str, value: Value| {
        values.push(value);
        wheres.push(sql.replace('?', &format!("${}", values.len())));
    };
    if let Some(org) = filter.org {
        also("org_id = ?", org.into());
    }
    if let Some(wallet) = filter.wallet {
        also("wallet_id = ?", wallet.into());
    }
    if let Some(key) = filter.key {
        // A key has one wallet, and there is an index by wallet. Postgres takes the two for independent, and would read all
        // of the wallet to sort the few receipts that it expects: it is not told that this asks for one key.
        also("COALESCE(key_id = ?, FALSE)", key.into());
        also("wallet_id = (SELECT wallet_id FROM keys WHERE id = ?)", key.into());
    }
    if let Some(cursor) = cursor {
        also("call_id < ?", cursor.into());
    }
    (wheres, values)
}

async fn wallet_of(database: &Database, key: Id<Key>) -> Result<Option<String>, StoreError> {
    let row = database.row("SELECT wallet_id FROM keys WHERE id = $1", values![key]).await?;
    row.map(|row| row.get("wallet_id")).transpose()
}

async fn page(
    database: &Database,
    select: &str,
    wheres: Vec<String>,
    values: Vec<Value>,
) -> Result<Vec<(Id<Call>, Receipt)>, StoreError> {
    page_by(database, select, wheres, values, "call_id").await
}

async fn page_by(
    database: &Database,
    select: &str,
    wheres: Vec<String>,
    values: Vec<Value>,
    order: &str,
) -> Result<Vec<(Id<Call>, Receipt)>, StoreError> {
    let sql = format!("{select} WHERE {} ORDER BY {order} DESC LIMIT $1", wheres.join(" AND "));
    let rows = database.rows(sql, values).await?;
    rows.iter().map(|row| read(row).map(|receipt| (receipt.call, receipt))).collect()
}

fn read(row: &Row) -> Result<Receipt, StoreError> {
    let mut record = read_record(&row.get::<String>("record")?)?;
    let status: String = row.get("status")?;
    // The record of a call that the ledger itself ended was made before its end was known.
    match status.as_str() {
        "refused" => {
            record.code = record.code.or(row.get("reason")?);
            record.ending = "refused".to_owned();
        }
        "expired" => record.ending = "expired".to_owned(),
        _ => {}
    }
    Ok(Receipt {
        call: row.id("call_id")?,
        org: row.id("org_id")?,
        wallet: row.id("wallet_id")?,
        chain: row.get::<String>("chain")?.parse()?,
        key: Some(row.id("key_id")?).filter(|key| *key != NO_KEY),
        at: row.time("at")?,
        status,
        cost: row.money("cost")?,
        price: row.money("price")?,
        overrun: row.money("overrun")?,
        refunded: row.money("refunded")?,
        held: row.money("held")?,
        review: row.get::<i64>("review")? != 0,
        record,
    })
}

/// A record as it is stored; a call that never told anything has none.
pub(crate) fn read_record(json: &str) -> Result<CallRecord, StoreError> {
    if json.is_empty() {
        return Ok(CallRecord::default());
    }
    serde_json::from_str(json).map_err(|error| StoreError::Corrupt(format!("call record: {error}")))
}

/// The platform's own account of what could not be charged.
pub(crate) async fn overrun(database: &Database) -> Result<Money, StoreError> {
    let row = database.row("SELECT amount FROM accounts WHERE name = 'overrun'", values![]).await?;
    row.map_or(Ok(Money::ZERO), |row| row.money("amount"))
}
