//! Batches and their files in SQL: one text for both databases. Whoever works on a batch takes its lease first, so that of
//! several processes one asks its provider, and one settles it.

use std::time::Duration;

use super::{Database, Row, Tx, Value, audit, values};
use crate::audit::{Actor, Entry};
use crate::batches::{BatchFileRow, BatchRow, BatchState, FileKind};
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::hold::{Hold, Owner};
use crate::id::{Batch, BatchFile, Id, Key, Wallet};
use crate::ledger::Ledger;
use crate::order::Claim;

const FILE: &str =
    "SELECT id, org_id, key_id, wallet_id, kind, target, upstream_id, endpoint, bytes, lines, terms, created_at,
    expires_at FROM batch_files";
const BATCH: &str =
    "SELECT id, org_id, key_id, wallet_id, call_id, file_id, target, upstream_id, endpoint, lines, state, terms, told,
    claim, claim_body, output_id, errors_id, created_at, expires_at, next_at FROM batches";

const FILE_UPLOADED: &str = "FILE_UPLOADED";
const FILE_DELETED: &str = "FILE_DELETED";
const BATCH_BEGUN: &str = "BATCH_BEGUN";
const BATCH_ENDED: &str = "BATCH_ENDED";

/// Work that providers do at leisure, and its files.
#[derive(Clone, Copy)]
pub struct Batches<'a> {
    ledger: &'a Ledger,
}

impl Ledger {
    /// Work that providers do at leisure, and its files.
    pub fn batches(&self) -> Batches<'_> {
        Batches { ledger: self }
    }
}

impl Batches<'_> {
    fn db(&self) -> &Database {
        self.ledger.database()
    }

    fn now(&self) -> Timestamp {
        self.ledger.clock().now()
    }

    /// Remembers a file.
    pub async fn put_file(&self, file: &BatchFileRow) -> Result<(), StoreError> {
        let mut tx = self.db().begin().await?;
        insert_file(&mut tx, file).await?;
        let entry = file_entry(file, FILE_UPLOADED).with("lines", file.lines);
        audit::append(&mut tx, self.now(), &[entry]).await?;
        tx.commit().await
    }

    /// A file of this wallet.
    pub async fn file(&self, wallet: Id<Wallet>, id: Id<BatchFile>) -> Result<Option<BatchFileRow>, StoreError> {
        let row = self.db().row(format!("{FILE} WHERE id = $1 AND wallet_id = $2"), values![id, wallet]).await?;
        row.as_ref().map(read_file).transpose()
    }

    /// The files of a wallet, newest first, after `after`; only what was asked, or what came of it, where `kind` says so.
    pub async fn files(
        &self,
        wallet: Id<Wallet>,
        kind: Option<FileKind>,
        after: Option<Id<BatchFile>>,
        limit: u32,
    ) -> Result<Vec<BatchFileRow>, StoreError> {
        let sql = format!(
            "{FILE} WHERE wallet_id = $1 AND ($2 IS NULL OR id < $2) AND ($4 IS NULL OR (kind = 'input') = ($4 = 'input'))
              ORDER BY id DESC LIMIT $3"
        );
        self.db()
            .rows(sql, values![wallet, after, i64::from(limit), kind.map(FileKind::as_str)])
            .await?
            .iter()
            .map(read_file)
            .collect()
    }

    /// Forgets a file.
    pub async fn delete_file(&self, file: &BatchFileRow) -> Result<(), StoreError> {
        let mut tx = self.db().begin().await?;
        let gone = tx.execute("DELETE FROM batch_files WHERE id = $1", values![file.id]).await?;
        if gone > 0 {
            audit::append(&mut tx, self.now(), &[file_entry(file, FILE_DELETED)]).await?;
        }
        tx.commit().await
    }

    /// Makes a batch of a hold: from here on the hold is the batch's and outlives this process. Fails if the hold is resolved
    /// already.
    pub async fn begin(&self, hold: &Hold, batch: &BatchRow) -> Result<(), StoreError> {
        let mut tx = self.db().begin().await?;
        let sql = "UPDATE holds SET owner = $2 WHERE call_id = $1";
        if tx.execute(sql, values![hold.call, Owner::Job.to_text()]).await? == 0 {
            return Err(StoreError::UnknownCall(hold.call));
        }
        let claim = batch.claim.map(|claim| (claim.name, claim.body)).unzip();
        tx.execute(
            "INSERT INTO batches (id, org_id, key_id, wallet_id, call_id, file_id, target, upstream_id, endpoint, lines, state,
                                  terms, told, claim, claim_body, created_at, expires_at, next_at, leased_until)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, 0)",
            values![
                batch.id,
                batch.org,
                batch.key,
                batch.wallet,
                batch.call,
                batch.file,
                &batch.target,
                batch.upstream.as_ref(),
                &batch.endpoint,
                count(batch.lines),
                batch.state.as_str(),
                json(&batch.terms),
                json(&batch.told),
                claim.0,
                claim.1,
                batch.created_at,
                batch.expires_at,
                batch.next_at,
            ],
        )
        .await?;
        let entry =
            batch_entry(batch, BATCH_BEGUN).with("lines", batch.lines).with("held_usd", hold.amount.to_string());
        audit::append(&mut tx, self.now(), &[entry]).await?;
        tx.commit().await
    }

    /// A batch of this wallet.
    pub async fn get(&self, wallet: Id<Wallet>, id: Id<Batch>) -> Result<Option<BatchRow>, StoreError> {
        let row = self.db().row(format!("{BATCH} WHERE id = $1 AND wallet_id = $2"), values![id, wallet]).await?;
        row.as_ref().map(read_batch).transpose()
    }

    /// The batches of a wallet, newest first, after `after`.
    pub async fn list(
        &self,
        wallet: Id<Wallet>,
        after: Option<Id<Batch>>,
        limit: u32,
    ) -> Result<Vec<BatchRow>, StoreError> {
        let sql = format!("{BATCH} WHERE wallet_id = $1 AND ($2 IS NULL OR id < $2) ORDER BY id DESC LIMIT $3");
        self.db().rows(sql, values![wallet, after, i64::from(limit)]).await?.iter().map(read_batch).collect()
    }

    /// The batch that a key has asked for under this Idempotency-Key since then.
    pub async fn claimed(
        &self,
        key: Id<Key>,
        name: [u8; 32],
        since: Timestamp,
    ) -> Result<Option<BatchRow>, StoreError> {
        let sql =
            format!("{BATCH} WHERE key_id = $1 AND claim = $2 AND created_at > $3 ORDER BY created_at DESC LIMIT 1");
        self.db().row(sql, values![key, name, since]).await?.as_ref().map(read_batch).transpose()
    }

    /// Batches that are due, each leased to whoever asks here. A lease that is over is nobody's.
    pub async fn due(&self, limit: u32, lease: Duration) -> Result<Vec<BatchRow>, StoreError> {
        let sql = format!(
            "{BATCH} WHERE state <> 'ended' AND next_at <= $1 AND leased_until <= $1 ORDER BY next_at LIMIT $2"
        );
        let mut ours = Vec::new();
        for row in &self.db().rows(sql, values![self.now(), i64::from(limit)]).await? {
            ours.extend(self.lease(row.id("id")?, lease).await?);
        }
        Ok(ours)
    }

    /// Leases one batch, as it is by then; nothing if it has ended or somebody else is at it.
    pub async fn lease(&self, id: Id<Batch>, lease: Duration) -> Result<Option<BatchRow>, StoreError> {
        let now = self.now();
        let mut tx = self.db().begin().await?;
        let sql = "UPDATE batches SET leased_until = $2 WHERE id = $1 AND state <> 'ended' AND leased_until <= $3";
        if tx.execute(sql, values![id, now.after(lease), now]).await? == 0 {
            return Ok(None);
        }
        let row = tx.row(format!("{BATCH} WHERE id = $1"), values![id]).await?;
        tx.commit().await?;
        row.as_ref().map(read_batch).transpose()
    }

    /// Writes down what is known of a leased batch, and lets others have it when it is due.
    pub async fn save(&self, batch: &BatchRow) -> Result<(), StoreError> {
        let mut tx = self.db().begin().await?;
        update(&mut tx, batch).await?;
        tx.commit().await
    }

    /// The same for one that is settled or released, with the files that came of it.
    pub async fn end(&self, batch: &BatchRow, files: &[BatchFileRow]) -> Result<(), StoreError> {
        let mut tx = self.db().begin().await?;
        // Whoever comes too late finds it ended, with the files of whoever came first.
        if update(&mut tx, batch).await? > 0 {
            for file in files {
                insert_file(&mut tx, file).await?;
            }
            let entry = batch_entry(batch, BATCH_ENDED).with("status", &batch.told.status);
            audit::append(&mut tx, self.now(), &[entry]).await?;
        }
        tx.commit().await
    }

    /// What is held for a batch, in whichever process, or was until it expired: a settlement sets that right. Nothing once it
    /// is settled or released.
    pub async fn hold(&self, batch: &BatchRow) -> Result<Option<Hold>, StoreError> {
        let sql = "SELECT call_id, org_id, key_id, wallet_id, COALESCE(NULLIF(chain, ''), wallet_id) AS chain, amount,
                          expires_at FROM holds WHERE call_id = $1 AND owner = $2
                   UNION ALL
                   SELECT call_id, org_id, key_id, wallet_id, COALESCE(NULLIF(chain, ''), wallet_id) AS chain, held AS amount,
                          at AS expires_at FROM receipts WHERE call_id = $1 AND status = 'expired'";
        let Some(row) = self.db().row(sql, values![batch.call, Owner::Job.to_text()]).await? else { return Ok(None) };
        Ok(Some(Hold {
            call: row.id("call_id")?,
            org: row.id("org_id")?,
            key: row.id("key_id")?,
            wallet: row.id("wallet_id")?,
            chain: row.get::<String>("chain")?.parse()?,
            amount: row.money("amount")?,
            expires_at: row.time("expires_at")?,
            warnings: Vec::new(),
            // It took no place here: jobs are settled one by one.
            slot: None,
            undelivered: None,
        }))
    }
}

async fn insert_file(tx: &mut Tx, file: &BatchFileRow) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO batch_files (id, org_id, key_id, wallet_id, kind, target, upstream_id, endpoint, bytes, lines, terms,
                                  created_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT (id) DO NOTHING",
        values![
            file.id,
            file.org,
            file.key,
            file.wallet,
            file.kind.as_str(),
            &file.target,
            &file.upstream,
            &file.endpoint,
            count(file.bytes),
            count(file.lines),
            file.terms.as_ref().map(json),
            file.created_at,
            file.expires_at,
        ],
    )
    .await?;
    Ok(())
}

/// Says how many rows it changed: one that has ended stays as it is.
async fn update(tx: &mut Tx, batch: &BatchRow) -> Result<u64, StoreError> {
    let values: Vec<Value> = values![
        batch.id,
        batch.upstream.as_ref(),
        batch.state.as_str(),
        json(&batch.told),
        batch.output,
        batch.errors,
        batch.next_at,
        batch.claim.map(|claim| claim.name),
    ];
    let sql =
        "UPDATE batches SET upstream_id = $2, state = $3, told = $4, output_id = $5, errors_id = $6, next_at = $7,
                      claim = $8, leased_until = 0 WHERE id = $1 AND state <> 'ended'";
    tx.execute(sql, values).await
}

fn file_entry(file: &BatchFileRow, kind: &'static str) -> Entry {
    Entry::new(Some(file.org), kind, Actor::Key(file.key))
        .with("file_id", file.id)
        .with("wallet_id", file.wallet)
        .with("target", &file.target)
}

fn batch_entry(batch: &BatchRow, kind: &'static str) -> Entry {
    Entry::new(Some(batch.org), kind, Actor::Key(batch.key))
        .with("batch_id", batch.id)
        .with("request_id", batch.call)
        .with("file_id", batch.file)
        .with("wallet_id", batch.wallet)
        .with("target", &batch.target)
}

fn count(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("terms and counts always print as JSON")
}

fn parsed<T: serde::de::DeserializeOwned>(json: &str, what: &str) -> Result<T, StoreError> {
    serde_json::from_str(json).map_err(|error| StoreError::Corrupt(format!("{what}: {error}")))
}

fn number(row: &Row, column: &str) -> Result<u64, StoreError> {
    u64::try_from(row.get::<i64>(column)?).map_err(|_| StoreError::Corrupt(column.to_owned()))
}

fn read_file(row: &Row) -> Result<BatchFileRow, StoreError> {
    let kind: String = row.get("kind")?;
    let terms: Option<String> = row.get("terms")?;
    Ok(BatchFileRow {
        id: row.id("id")?,
        org: row.id("org_id")?,
        key: row.id("key_id")?,
        wallet: row.id("wallet_id")?,
        kind: FileKind::from_word(&kind).ok_or_else(|| StoreError::Corrupt(format!("file kind {kind:?}")))?,
        target: row.get("target")?,
        upstream: row.get("upstream_id")?,
        endpoint: row.get("endpoint")?,
        bytes: number(row, "bytes")?,
        lines: number(row, "lines")?,
        terms: terms.map(|json| parsed(&json, "terms of a file")).transpose()?,
        created_at: row.time("created_at")?,
        expires_at: row.maybe_time("expires_at")?,
    })
}

fn read_batch(row: &Row) -> Result<BatchRow, StoreError> {
    let state: String = row.get("state")?;
    let claim = match (row.get::<Option<Vec<u8>>>("claim")?, row.get::<Option<Vec<u8>>>("claim_body")?) {
        (Some(_), Some(_)) => Some(Claim { name: row.hash("claim")?, body: row.hash("claim_body")? }),
        _ => None,
    };
    Ok(BatchRow {
        id: row.id("id")?,
        org: row.id("org_id")?,
        key: row.id("key_id")?,
        wallet: row.id("wallet_id")?,
        call: row.id("call_id")?,
        file: row.id("file_id")?,
        target: row.get("target")?,
        upstream: row.get("upstream_id")?,
        endpoint: row.get("endpoint")?,
        lines: number(row, "lines")?,
        state: BatchState::from_word(&state).ok_or_else(|| StoreError::Corrupt(format!("batch state {state:?}")))?,
        terms: parsed(&row.get::<String>("terms")?, "terms of a batch")?,
        told: parsed(&row.get::<String>("told")?, "what was told of a batch")?,
        claim,
        output: row.maybe_id("output_id")?,
        errors: row.maybe_id("errors_id")?,
        created_at: row.time("created_at")?,
        expires_at: row.time("expires_at")?,
        next_at: row.time("next_at")?,
    })
}
