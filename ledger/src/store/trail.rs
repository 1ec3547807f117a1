//! The audit log, for reading: pages, and exports that verify as they are.

use super::{Row, Value, values};
use crate::audit::{self, PLATFORM};
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::id::{Id, Org};
use crate::ledger::Ledger;

/// Reads the audit log.
#[derive(Clone, Copy)]
pub struct Trail<'a>(pub(crate) &'a Ledger);

/// One entry of the log as it is exported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrailLine {
    pub seq: i64,
    pub at: Timestamp,
    pub kind: String,
    /// The whole entry as one line of JSON, with its hash.
    pub json: String,
}

/// Which entries.
#[derive(Debug, Clone, Default)]
pub struct TrailFilter {
    pub kind: Option<String>,
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Newest first.
    pub newest_first: bool,
}

/// The last entry of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub seq: i64,
    pub hash: [u8; 32],
}

/// An export that is under way. Ask for pages until there is none.
pub struct Export {
    ledger: Ledger,
    chain: String,
    next: i64,
    last: i64,
}

fn chain(org: Option<Id<Org>>) -> String {
    org.map_or_else(|| PLATFORM.to_owned(), |org| org.to_string())
}

impl Trail<'_> {
    /// Entries of an organisation, or of the platform, after `cursor` in the order asked for.
    pub async fn list(
        &self,
        org: Option<Id<Org>>,
        filter: &TrailFilter,
        cursor: Option<i64>,
        limit: u32,
    ) -> Result<Vec<TrailLine>, StoreError> {
        let mut sql = "SELECT seq, at, kind, entry, hash FROM audit_log WHERE chain = $1".to_owned();
        let mut values = values![chain(org)];
        let mut also = |sql: &mut String, condition: &str, value: Value| {
            values.push(value);
            sql.push_str(&format!(" AND {condition} ${}", values.len()));
        };
        if let Some(kind) = &filter.kind {
            also(&mut sql, "kind =", kind.into());
        }
        if let Some(since) = filter.since {
            also(&mut sql, "at >=", since.into());
        }
        if let Some(until) = filter.until {
            also(&mut sql, "at <", until.into());
        }
        if let Some(cursor) = cursor {
            also(&mut sql, if filter.newest_first { "seq <" } else { "seq >" }, cursor.into());
        }
        values.push(i64::from(limit).into());
        let order = if filter.newest_first { "DESC" } else { "ASC" };
        sql.push_str(&format!(" ORDER BY seq {order} LIMIT ${}", values.len()));
        self.0.database().rows(sql, values).await?.iter().map(read).collect()
    }

    /// The last entry of a chain, if it has one.
    pub async fn head(&self, org: Option<Id<Org>>) -> Result<Option<Head>, StoreError> {
        let row =
            self.0.database().row("SELECT seq, hash FROM audit_heads WHERE chain = $1", values![chain(org)]).await?;
        row.map(|row| Ok(Head { seq: row.get("seq")?, hash: row.hash("hash")? })).transpose()
    }

    /// A whole chain, as it stands now.
    pub async fn export(&self, org: Option<Id<Org>>) -> Result<Export, StoreError> {
        let last = self.head(org).await?.map_or(0, |head| head.seq);
        Ok(Export { ledger: self.0.clone(), chain: chain(org), next: 1, last })
    }
}

impl Export {
    /// The next lines, or none when the export is whole. Each line is JSON without its line feed.
    pub async fn next(&mut self) -> Result<Option<Vec<String>>, StoreError> {
        const PAGE: i64 = 500;
        if self.next > self.last {
            return Ok(None);
        }
        let until = self.last.min(self.next + PAGE - 1);
        let sql =
            "SELECT seq, at, kind, entry, hash FROM audit_log WHERE chain = $1 AND seq BETWEEN $2 AND $3 ORDER BY seq";
        let rows = self.ledger.database().rows(sql, values![self.chain.as_str(), self.next, until]).await?;
        self.next = until + 1;
        rows.iter().map(|row| read(row).map(|line| line.json)).collect::<Result<Vec<_>, _>>().map(Some)
    }
}

fn read(row: &Row) -> Result<TrailLine, StoreError> {
    let entry: String = row.get("entry")?;
    Ok(TrailLine {
        seq: row.get("seq")?,
        at: row.time("at")?,
        kind: row.get("kind")?,
        json: audit::exported(&entry, &row.hash("hash")?),
    })
}
