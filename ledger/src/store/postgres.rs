//! The writer's side of Postgres: one connection of its own, set statements over arrays, one transaction a batch.
//!
//! Several processes may write. Each locks the roots of the batch's wallets in the order of their ids, which locks all below
//! them, then its audit heads in the order of their names. What wallets allow is kept as long as the configuration's
//! revision stands, which whoever changes a wallet raises under the same lock; no amount is kept between batches.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgConnectOptions, PgConnection, PgRow};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _, Row as _};

use super::terms::TermsColumns;
use crate::audit::{GENESIS, Hash};
use crate::book::{Counter, Leg, Terms};
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::hold::Owner;
use crate::id::{Call, Id, Instance, Kind, Wallet};
use crate::money::Money;
use crate::order::Claim;
use crate::rows::{Chain, ChainId, ClaimRow, Effect, HoldRow, Loaded, Mark, Needs, ReceiptRow, RefundRow, Status};
use crate::window::Period;

pub(crate) struct PostgresStore {
    options: PgConnectOptions,
    connection: Option<PgConnection>,
    /// Chains never change, so they are kept.
    chains: HashMap<ChainId, Arc<Chain>>,
    /// What wallets allow, and the revision that it is of.
    terms: HashMap<Id<Wallet>, Terms>,
    revision: i64,
    owner: String,
}

const KEPT_CHAINS: usize = 100_000;
/// The longest that one statement may take, or wait for another process.
const DEADLINE: Duration = Duration::from_secs(15);

/// A lock that does not come is an error to be tried again; a commit is on disk, whatever the server's default. Every
/// statement of a batch finds its rows by key, and is planned once: without this, plans made while a table was small
/// would read all of it when it is large.
const SETTINGS: &str = "SET lock_timeout = '5s'; SET statement_timeout = '10s';
    SET idle_in_transaction_session_timeout = '30s'; SET synchronous_commit = 'on';
    SET enable_seqscan = off; SET plan_cache_mode = force_generic_plan; SET jit = off";

impl PostgresStore {
    pub async fn open(options: &PgConnectOptions, instance: Id<Instance>) -> Result<PostgresStore, StoreError> {
        let options = options.clone().application_name("alfred-writer");
        let owner = Owner::Instance(instance).to_text();
        let mut store = PostgresStore {
            options,
            connection: None,
            chains: HashMap::new(),
            terms: HashMap::new(),
            revision: 0,
            owner,
        };
        store.connected().await?;
        Ok(store)
    }

    async fn connected(&mut self) -> Result<&mut PgConnection, StoreError> {
        if self.connection.is_none() {
            let mut db = within(self.options.connect()).await?;
            within(db.execute(SETTINGS)).await?;
            self.connection = Some(db);
        }
        self.connection.as_mut().ok_or(StoreError::Closed)
    }

    /// Begins, locks what the batch moves, and reads what it needs.
    pub async fn load(&mut self, needs: &Needs, at: Timestamp) -> Result<Loaded, StoreError> {
        self.connected().await?;
        let mut loaded = Loaded::default();
        within(async {
            self.read_chains(needs, &mut loaded).await?;
            let db = self.connection.as_mut().ok_or(sqlx::Error::PoolClosed)?;
            db.execute("BEGIN").await?;
            lock(db, needs, &mut loaded).await?;
            read_calls(db, needs, &mut loaded).await?;
            read_rare(db, needs, &mut loaded).await?;
            self.read_wallets(needs, at, &mut loaded).await
        })
        .await?;
        Ok(loaded)
    }

    async fn read_chains(&mut self, needs: &Needs, loaded: &mut Loaded) -> Result<(), sqlx::Error> {
        if self.chains.len() > KEPT_CHAINS {
            self.chains.clear();
        }
        let missing: Vec<String> =
            needs.chains.iter().filter(|name| !self.chains.contains_key(*name)).map(ChainId::to_string).collect();
        if !missing.is_empty()
            && let Some(db) = self.connection.as_mut()
        {
            let rows = sqlx::query(
                "SELECT c.chain, c.wallet_id, w.org_id, w.parent_id IS NULL AS root
                   FROM chain_members c JOIN wallets w ON w.id = c.wallet_id
                  WHERE c.chain = ANY($1) ORDER BY c.chain, c.depth",
            )
            .bind(&missing)
            .fetch_all(db)
            .await?;
            let mut found: HashMap<ChainId, Chain> = HashMap::new();
            for row in &rows {
                let org = id(row, "org_id")?;
                let new_chain = || Chain { org, wallets: Vec::new(), roots: Vec::new(), new: false };
                let (chain, wallet) = (found.entry(chain(row)?).or_insert_with(new_chain), id(row, "wallet_id")?);
                chain.wallets.push(wallet);
                if row.try_get("root")? {
                    chain.roots.push(wallet);
                }
            }
            self.chains.extend(found.into_iter().map(|(name, chain)| (name, Arc::new(chain))));
        }
        for name in &needs.chains {
            if let Some(chain) = self.chains.get(name) {
                loaded.chains.insert(*name, chain.clone());
            }
        }
        for (name, (leaf, extra)) in &needs.mixes {
            if loaded.chains.contains_key(name) {
                continue;
            }
            let Some(db) = self.connection.as_mut() else { continue };
            let rows = sqlx::query("SELECT id, org_id FROM wallets WHERE id = ANY($1)")
                .bind(column(extra, Id::to_string))
                .fetch_all(db)
                .await?;
            let orgs = rows.iter().map(|row| Ok((id(row, "id")?, id(row, "org_id")?)));
            let orgs = orgs.collect::<Result<HashMap<_, _>, sqlx::Error>>()?;
            if let Some(chain) = loaded.chains.get(&ChainId::leaf(*leaf)).and_then(|leaf| leaf.mixed(extra, &orgs)) {
                loaded.chains.insert(*name, Arc::new(chain));
            }
        }
        Ok(())
    }

    /// Terms as they were read at this revision, counters as they are. A revision that has moved on makes it read again.
    async fn read_wallets(&mut self, needs: &Needs, at: Timestamp, loaded: &mut Loaded) -> Result<(), sqlx::Error> {
        let all: BTreeSet<Id<Wallet>> =
            loaded.chains.values().flat_map(|chain| chain.wallets.iter().copied()).collect();
        let db = self.connection.as_mut().ok_or(sqlx::Error::PoolClosed)?;
        loop {
            let missing: Vec<_> = all.iter().filter(|wallet| !self.terms.contains_key(*wallet)).copied().collect();
            if !missing.is_empty() {
                read_terms(db, &missing, &mut self.terms).await?;
            }
            let terms = all.iter().filter_map(|id| self.terms.get(id).map(|terms| (*id, Terms::clone(terms))));
            loaded.wallets.terms = terms.collect();
            loaded.wallets.counters.clear();
            read_counters(db, at, loaded).await?;
            let same = self.revision == loaded.revision;
            if !same || self.terms.len() > KEPT_CHAINS {
                // Changed since, perhaps between the two reads: once more, with nothing kept.
                self.terms.clear();
                self.revision = loaded.revision;
            }
            if same || all.is_empty() {
                return read_funds(db, needs, loaded).await;
            }
        }
    }

    /// Whether an entry with this place and hash is there: then so is its whole batch.
    pub async fn committed(&mut self, chain: &str, seq: i64, hash: &Hash) -> Result<bool, StoreError> {
        let db = self.connected().await?;
        let find = sqlx::query("SELECT hash FROM audit_log WHERE chain = $1 AND seq = $2").bind(chain).bind(seq);
        let row = within(find.fetch_optional(db)).await?;
        Ok(row.is_some_and(|row| row.try_get::<&[u8], _>("hash").is_ok_and(|found| found == hash)))
    }

    /// Writes what changed.
    pub async fn save(&mut self, loaded: &Loaded, effect: &Effect) -> Result<(), StoreError> {
        let owner = self.owner.clone();
        let db = self.connected().await?;
        within(async {
            save_chains(db, loaded).await?;
            save_rare(db, loaded, effect).await?;
            save_net(db, loaded, effect, &owner).await
        })
        .await
    }

    /// Makes it durable.
    pub async fn commit(&mut self) -> Result<(), StoreError> {
        let db = self.connected().await?;
        within(db.execute("COMMIT")).await.map(drop)
    }

    /// Undoes what was not committed. A connection that cannot say so is given up.
    pub async fn undo(&mut self) {
        let Some(mut db) = self.connection.take() else { return };
        if within(db.execute("ROLLBACK")).await.is_ok() {
            self.connection = Some(db);
        }
    }

    pub async fn close(&mut self) {
        if let Some(db) = self.connection.take() {
            let _ = within(db.close()).await;
        }
    }
}

async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(sqlx::Error::PoolTimedOut.into()),
    }
}

/// The roots of all chains, then the heads, in one statement: the count makes it lock the roots first.
const LOCK: &str = "
    WITH root AS MATERIALIZED (
        SELECT id FROM wallets WHERE id = ANY($1) ORDER BY id FOR NO KEY UPDATE
    ), head AS MATERIALIZED (
        SELECT chain, seq, hash FROM audit_heads
         WHERE chain = ANY($2) AND (SELECT COUNT(*) FROM root) >= 0 ORDER BY chain FOR UPDATE
    )
    SELECT chain, seq, hash FROM head";

async fn lock(db: &mut PgConnection, needs: &Needs, loaded: &mut Loaded) -> Result<(), sqlx::Error> {
    let roots: BTreeSet<Id<Wallet>> = loaded.chains.values().flat_map(|chain| chain.roots.iter().copied()).collect();
    let roots: Vec<String> = roots.iter().map(Id::to_string).collect();
    let chains: Vec<&str> = needs.heads.iter().map(Cow::as_ref).collect();
    let mut rows = sqlx::query(LOCK).bind(&roots).bind(&chains).fetch_all(&mut *db).await?;
    if rows.len() < chains.len() {
        sqlx::query(
            "INSERT INTO audit_heads (chain, seq, hash) SELECT chain, 0, $2 FROM unnest($1::text[]) AS n(chain)
              ORDER BY chain ON CONFLICT (chain) DO NOTHING",
        )
        .bind(&chains)
        .bind(GENESIS.as_slice())
        .execute(&mut *db)
        .await?;
        rows = sqlx::query(LOCK).bind(&roots).bind(&chains).fetch_all(&mut *db).await?;
    }
    for row in &rows {
        let chain: String = row.try_get("chain")?;
        loaded.heads.insert(Cow::Owned(chain), (row.try_get("seq")?, hash(row.try_get("hash")?)?));
    }
    Ok(())
}

/// What wallets allow.
async fn read_terms(
    db: &mut PgConnection,
    wallets: &[Id<Wallet>],
    terms: &mut HashMap<Id<Wallet>, Terms>,
) -> Result<(), sqlx::Error> {
    let rows = sqlx::query(
        "SELECT id, status, hard_limit, soft_limit, window_kind, funding, funded, closed_at, thresholds, soft_action,
                time_zone, anchor FROM wallets
          WHERE id = ANY($1)",
    )
    .bind(column(wallets, Id::to_string))
    .fetch_all(&mut *db)
    .await?;
    for row in &rows {
        let columns = TermsColumns {
            status: row.try_get("status")?,
            closed_at: row.try_get("closed_at")?,
            hard_limit: row.try_get("hard_limit")?,
            soft_limit: row.try_get("soft_limit")?,
            thresholds: row.try_get("thresholds")?,
            soft_action: row.try_get("soft_action")?,
            window_kind: row.try_get("window_kind")?,
            time_zone: row.try_get("time_zone")?,
            anchor: row.try_get("anchor")?,
            funding: row.try_get("funding")?,
            funded: row.try_get("funded")?,
        };
        terms.insert(id(row, "id")?, columns.read().map_err(|error| sqlx::Error::Decode(error.into()))?);
    }
    Ok(())
}

async fn read_calls(db: &mut PgConnection, needs: &Needs, loaded: &mut Loaded) -> Result<(), sqlx::Error> {
    if needs.calls.is_empty() {
        return Ok(());
    }
    let mut calls: Vec<String> = needs.calls.iter().map(Id::to_string).collect();
    let rows = sqlx::query(
        "SELECT call_id, org_id, key_id, wallet_id, legs, opened, amount, at, expires_at, claim, claim_body, record, asked,
                COALESCE(NULLIF(chain, ''), wallet_id) AS chain
           FROM holds WHERE call_id = ANY($1)",
    )
    .bind(&calls)
    .fetch_all(&mut *db)
    .await?;
    for row in &rows {
        let hold = hold_row(row)?;
        loaded.holds.insert(hold.call, hold);
    }
    // Where there is a hold, there is no receipt yet.
    if !loaded.holds.is_empty() {
        calls = needs.calls.iter().filter(|call| !loaded.holds.contains_key(*call)).map(Id::to_string).collect();
    }
    if calls.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query(
        "SELECT call_id, org_id, key_id, wallet_id, at, status, cost, price, overrun, refunded, review, held, legs, reason,
                refusal, record, COALESCE(NULLIF(chain, ''), wallet_id) AS chain
           FROM receipts WHERE call_id = ANY($1)",
    )
    .bind(&calls)
    .fetch_all(&mut *db)
    .await?;
    for row in &rows {
        let receipt = receipt_row(row)?;
        loaded.receipts.insert(receipt.call, receipt);
    }
    Ok(())
}

fn hold_row(row: &PgRow) -> Result<HoldRow, sqlx::Error> {
    let claim = match (row.try_get::<Option<&[u8]>, _>("claim")?, row.try_get::<Option<&[u8]>, _>("claim_body")?) {
        (Some(name), Some(body)) => Some(Claim { name: hash(name)?, body: hash(body)? }),
        _ => None,
    };
    Ok(HoldRow {
        mark: Mark::Stored,
        call: id(row, "call_id")?,
        org: id(row, "org_id")?,
        key: id(row, "key_id")?,
        wallet: id(row, "wallet_id")?,
        chain: chain(row)?,
        legs: row.try_get::<&str, _>("legs")?.into(),
        asked: money(row, "asked")?,
        opened: money(row, "opened")?,
        amount: money(row, "amount")?,
        at: time(row, "at")?,
        expires_at: time(row, "expires_at")?,
        claim,
        record: row.try_get::<&str, _>("record")?.into(),
    })
}

fn receipt_row(row: &PgRow) -> Result<ReceiptRow, sqlx::Error> {
    Ok(ReceiptRow {
        mark: Mark::Stored,
        call: id(row, "call_id")?,
        org: id(row, "org_id")?,
        key: id(row, "key_id")?,
        wallet: id(row, "wallet_id")?,
        chain: chain(row)?,
        at: time(row, "at")?,
        status: Status::parse(row.try_get("status")?).map_err(|error| sqlx::Error::Decode(error.into()))?,
        cost: money(row, "cost")?,
        price: money(row, "price")?,
        overrun: money(row, "overrun")?,
        refunded: money(row, "refunded")?,
        review: row.try_get::<i64, _>("review")? != 0,
        held: money(row, "held")?,
        legs: row.try_get::<&str, _>("legs")?.into(),
        reason: row.try_get("reason")?,
        refusal: row.try_get("refusal")?,
        record: row.try_get::<&str, _>("record")?.into(),
    })
}

/// Counters in every window that a job may touch; and the revision of the configuration, on the same way.
async fn read_counters(db: &mut PgConnection, at: Timestamp, loaded: &mut Loaded) -> Result<(), sqlx::Error> {
    let mut windows: BTreeSet<i64> = loaded.wallets.terms.values().map(|terms| terms.window.period(at).key()).collect();
    let of_calls = loaded.holds.values().map(|hold| &hold.legs);
    for legs in of_calls.chain(loaded.receipts.values().map(|receipt| &receipt.legs)) {
        windows.extend(legs.split(',').filter_map(|key| key.parse::<i64>().ok()));
    }
    let wallets: Vec<String> = loaded.wallets.terms.keys().map(Id::to_string).collect();
    let rows = sqlx::query(
        "SELECT wallet_id, window_start, spent, held, warned FROM wallet_windows
          WHERE wallet_id = ANY($1) AND window_start = ANY($2)
          UNION ALL
         SELECT '', CAST(value AS BIGINT), 0, 0, NULL FROM meta WHERE name = 'config_revision'",
    )
    .bind(&wallets)
    .bind(windows.into_iter().collect::<Vec<_>>())
    .fetch_all(&mut *db)
    .await?;
    for row in &rows {
        let key: i64 = row.try_get("window_start")?;
        if row.try_get::<&str, _>("wallet_id")?.is_empty() {
            loaded.revision = key;
            continue;
        }
        let window = Period::from_key(key).ok_or_else(|| sqlx::Error::Decode(format!("window {key}").into()))?;
        let warned = row.try_get::<Option<i64>, _>("warned")?.map(Money::from_nanos);
        let counter = Counter { spent: money(row, "spent")?, held: money(row, "held")?, warned };
        loaded.wallets.counters.insert(Leg { wallet: id(row, "wallet_id")?, window }, counter);
    }
    Ok(())
}

/// What was put into prepaid wallets and into those that are funded now, and what was spent and is held of it in all
/// windows. Funding raises no revision, so this is read every time.
async fn read_funds(db: &mut PgConnection, needs: &Needs, loaded: &mut Loaded) -> Result<(), sqlx::Error> {
    let prepaid = loaded.wallets.terms.iter().filter(|(_, terms)| terms.prepaid).map(|(wallet, _)| *wallet);
    let wallets: BTreeSet<Id<Wallet>> = prepaid.chain(needs.funded.iter().copied()).collect();
    if wallets.is_empty() {
        return Ok(());
    }
    let rows = sqlx::query(
        "SELECT w.id, w.funded, CAST(COALESCE(SUM(c.spent), 0) AS BIGINT) AS spent,
                CAST(COALESCE(SUM(c.held), 0) AS BIGINT) AS held
           FROM wallets w LEFT JOIN wallet_windows c ON c.wallet_id = w.id
          WHERE w.id = ANY($1) GROUP BY w.id",
    )
    .bind(wallets.iter().map(Id::to_string).collect::<Vec<_>>())
    .fetch_all(&mut *db)
    .await?;
    for row in &rows {
        let wallet = id(row, "id")?;
        let Some(terms) = loaded.wallets.terms.get_mut(&wallet) else { continue };
        terms.funded = money(row, "funded")?;
        if terms.prepaid {
            let counter = Counter { spent: money(row, "spent")?, held: money(row, "held")?, warned: None };
            loaded.wallets.ever.insert(wallet, counter);
        }
    }
    Ok(())
}

/// Claims, refunds and fundings: most batches have none.
async fn read_rare(db: &mut PgConnection, needs: &Needs, loaded: &mut Loaded) -> Result<(), sqlx::Error> {
    if !needs.claims.is_empty() {
        let (keys, names): (Vec<String>, Vec<&[u8]>) =
            needs.claims.iter().map(|(key, name)| (key.to_string(), name.as_slice())).unzip();
        let rows = sqlx::query(
            "SELECT c.key_id, c.name, c.body, c.call_id, c.state, c.at FROM claims c
               JOIN unnest($1::text[], $2::bytea[]) AS n(key_id, name) ON c.key_id = n.key_id AND c.name = n.name",
        )
        .bind(keys)
        .bind(names)
        .fetch_all(&mut *db)
        .await?;
        for row in &rows {
            let claim = ClaimRow {
                body: hash(row.try_get("body")?)?,
                call: id(row, "call_id")?,
                charged: row.try_get::<&str, _>("state")? == "charged",
                at: time(row, "at")?,
            };
            loaded.claims.insert((id(row, "key_id")?, hash(row.try_get("name")?)?), claim);
        }
    }
    if !needs.refunds.is_empty() {
        let rows = sqlx::query("SELECT id, call_id, asked, amount, reason FROM refunds WHERE id = ANY($1)")
            .bind(needs.refunds.iter().map(Id::to_string).collect::<Vec<_>>())
            .fetch_all(&mut *db)
            .await?;
        for row in &rows {
            let refund = RefundRow {
                call: id(row, "call_id")?,
                asked: row.try_get::<Option<i64>, _>("asked")?.map(Money::from_nanos),
                amount: money(row, "amount")?,
                reason: row.try_get("reason")?,
            };
            loaded.refunds.insert(id(row, "id")?, refund);
        }
    }
    for (source, reference) in &needs.fundings {
        let row = sqlx::query("SELECT wallet_id, amount FROM fundings WHERE source = $1 AND reference = $2")
            .bind(source)
            .bind(reference)
            .fetch_optional(&mut *db)
            .await?;
        if let Some(row) = row {
            let done = (id(&row, "wallet_id")?, money(&row, "amount")?);
            loaded.fundings.insert((source.clone(), reference.clone()), done);
        }
    }
    super::charges::read_postgres(db, needs, loaded).await
}

/// All that nearly every batch writes, in one statement.
const SAVE_NET: &str = "
    WITH windows AS (
        INSERT INTO wallet_windows (wallet_id, window_start, spent, held, warned)
        SELECT * FROM unnest($1::text[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[])
            ON CONFLICT (wallet_id, window_start)
            DO UPDATE SET spent = excluded.spent, held = excluded.held, warned = excluded.warned
    ), gone AS (
        DELETE FROM holds WHERE call_id = ANY($6)
    ), made AS (
        INSERT INTO holds (call_id, org_id, key_id, wallet_id, legs, opened, amount, at, expires_at, claim, claim_body, record, asked,
                           chain, owner)
        SELECT *, $51 FROM unnest($7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::bigint[], $13::bigint[],
                                  $14::bigint[], $15::bigint[], $16::bytea[], $17::bytea[], $18::text[],
                                  $52::bigint[], $53::text[])
    ), receipt AS (
        INSERT INTO receipts (call_id, org_id, key_id, wallet_id, at, status, cost, price, overrun, refunded, review, held, legs,
                              reason, refusal, record, chain)
        SELECT * FROM unnest($19::text[], $20::text[], $21::text[], $22::text[], $23::bigint[], $24::text[], $25::bigint[],
                             $26::bigint[], $27::bigint[], $28::bigint[], $29::bigint[], $30::bigint[], $31::text[],
                             $32::text[], $33::text[], $34::text[], $54::text[])
    ), line AS (
        INSERT INTO journal (at, id, kind, chain, legs, call_id, held_delta, spent_delta, funded_delta, overrun)
        SELECT $50, * FROM unnest($35::text[], $36::text[], $37::text[], $38::text[], $39::text[], $40::bigint[], $41::bigint[],
                                  $42::bigint[], $43::bigint[])
    ), entry AS (
        INSERT INTO audit_log (at, chain, seq, kind, entry, prev_hash, hash)
        SELECT $50, * FROM unnest($44::text[], $45::bigint[], $46::text[], $47::text[], $48::bytea[], $49::bytea[])
    )
    UPDATE audit_heads SET seq = last.seq, hash = last.hash
      FROM (SELECT DISTINCT ON (chain) chain, seq, hash
              FROM unnest($44::text[], $45::bigint[], $49::bytea[]) AS e(chain, seq, hash)
             ORDER BY chain, seq DESC) AS last
     WHERE audit_heads.chain = last.chain";

async fn save_net(db: &mut PgConnection, loaded: &Loaded, effect: &Effect, owner: &str) -> Result<(), sqlx::Error> {
    let windows: Vec<(&Leg, &Counter)> =
        loaded.wallets.touched.iter().filter_map(|leg| Some((leg, loaded.wallets.counters.get(leg)?))).collect();
    let holds: Vec<&HoldRow> = loaded.holds.values().filter(|hold| hold.mark == Mark::New).collect();
    let receipts: Vec<&ReceiptRow> = loaded.receipts.values().filter(|receipt| receipt.mark == Mark::New).collect();
    let (journal, audit) = (&effect.journal, &effect.audit);
    sqlx::query(SAVE_NET)
        .bind(column(&windows, |(leg, _)| leg.wallet.to_string()))
        .bind(column(&windows, |(leg, _)| leg.window.key()))
        .bind(column(&windows, |(_, counter)| counter.spent.nanos()))
        .bind(column(&windows, |(_, counter)| counter.held.nanos()))
        .bind(column(&windows, |(_, counter)| counter.warned.map(Money::nanos)))
        .bind(column(&effect.holds_gone, Id::<Call>::to_string))
        .bind(column(&holds, |hold| hold.call.to_string()))
        .bind(column(&holds, |hold| hold.org.to_string()))
        .bind(column(&holds, |hold| hold.key.to_string()))
        .bind(column(&holds, |hold| hold.wallet.to_string()))
        .bind(column(&holds, |hold| hold.legs.to_string()))
        .bind(column(&holds, |hold| hold.opened.nanos()))
        .bind(column(&holds, |hold| hold.amount.nanos()))
        .bind(column(&holds, |hold| hold.at.micros()))
        .bind(column(&holds, |hold| hold.expires_at.micros()))
        .bind(column(&holds, |hold| hold.claim.map(|claim| claim.name.to_vec())))
        .bind(column(&holds, |hold| hold.claim.map(|claim| claim.body.to_vec())))
        .bind(column(&holds, |hold| hold.record.to_string()))
        .bind(column(&receipts, |receipt| receipt.call.to_string()))
        .bind(column(&receipts, |receipt| receipt.org.to_string()))
        .bind(column(&receipts, |receipt| receipt.key.to_string()))
        .bind(column(&receipts, |receipt| receipt.wallet.to_string()))
        .bind(column(&receipts, |receipt| receipt.at.micros()))
        .bind(column(&receipts, |receipt| receipt.status.as_str().to_owned()))
        .bind(column(&receipts, |receipt| receipt.cost.nanos()))
        .bind(column(&receipts, |receipt| receipt.price.nanos()))
        .bind(column(&receipts, |receipt| receipt.overrun.nanos()))
        .bind(column(&receipts, |receipt| receipt.refunded.nanos()))
        .bind(column(&receipts, |receipt| i64::from(receipt.review)))
        .bind(column(&receipts, |receipt| receipt.held.nanos()))
        .bind(column(&receipts, |receipt| receipt.legs.to_string()))
        .bind(column(&receipts, |receipt| receipt.reason.clone()))
        .bind(column(&receipts, |receipt| receipt.refusal.clone()))
        .bind(column(&receipts, |receipt| receipt.record.to_string()))
        .bind(column(journal, |line| line.id.to_string()))
        .bind(column(journal, |line| line.kind.to_owned()))
        .bind(column(journal, |line| line.chain.clone()))
        .bind(column(journal, |line| line.legs.to_string()))
        .bind(column(journal, |line| line.call.map(|call| call.to_string())))
        .bind(column(journal, |line| line.held_delta.nanos()))
        .bind(column(journal, |line| line.spent_delta.nanos()))
        .bind(column(journal, |line| line.funded_delta.nanos()))
        .bind(column(journal, |line| line.overrun.nanos()))
        .bind(audit.iter().map(|entry| entry.chain.as_ref()).collect::<Vec<&str>>())
        .bind(column(audit, |entry| entry.seq))
        .bind(column(audit, |entry| entry.kind.to_owned()))
        .bind(audit.iter().map(|entry| entry.line.as_str()).collect::<Vec<&str>>())
        .bind(audit.iter().map(|entry| entry.prev_hash.as_slice()).collect::<Vec<&[u8]>>())
        .bind(audit.iter().map(|entry| entry.hash.as_slice()).collect::<Vec<&[u8]>>())
        .bind(effect.at.micros())
        .bind(owner)
        .bind(column(&holds, |hold| hold.asked.nanos()))
        .bind(column(&holds, |hold| hold.chain.to_string()))
        .bind(column(&receipts, |receipt| receipt.chain.to_string()))
        .execute(db)
        .await?;
    Ok(())
}

fn column<T, V>(rows: &[T], value: impl Fn(&T) -> V) -> Vec<V> {
    rows.iter().map(value).collect()
}

/// Chains that a call of this batch is the first to use.
async fn save_chains(db: &mut PgConnection, loaded: &Loaded) -> Result<(), sqlx::Error> {
    for (name, chain) in loaded.chains.iter().filter(|(_, chain)| chain.new) {
        let used = |hold: &HoldRow| hold.mark == Mark::New && hold.chain == *name;
        let charged = |receipt: &ReceiptRow| receipt.mark == Mark::New && receipt.chain == *name;
        if !loaded.holds.values().any(used) && !loaded.receipts.values().any(charged) {
            continue;
        }
        sqlx::query(
            "INSERT INTO chain_members (chain, wallet_id, depth)
             SELECT $1, * FROM unnest($2::text[], $3::bigint[]) ON CONFLICT DO NOTHING",
        )
        .bind(name.to_string())
        .bind(column(&chain.wallets, Id::to_string))
        .bind((0_i64..).take(chain.wallets.len()).collect::<Vec<_>>())
        .execute(&mut *db)
        .await?;
    }
    Ok(())
}

/// What few batches write, row by row.
async fn save_rare(db: &mut PgConnection, loaded: &Loaded, effect: &Effect) -> Result<(), sqlx::Error> {
    for wallet in &loaded.wallets.funded {
        let Some(terms) = loaded.wallets.terms.get(wallet) else { continue };
        sqlx::query("UPDATE wallets SET funded = $2 WHERE id = $1")
            .bind(wallet.to_string())
            .bind(terms.funded.nanos())
            .execute(&mut *db)
            .await?;
    }
    for hold in loaded.holds.values().filter(|hold| hold.mark == Mark::Changed) {
        sqlx::query("UPDATE holds SET amount = $2 WHERE call_id = $1")
            .bind(hold.call.to_string())
            .bind(hold.amount.nanos())
            .execute(&mut *db)
            .await?;
    }
    for receipt in loaded.receipts.values().filter(|receipt| receipt.mark == Mark::Changed) {
        sqlx::query(
            "UPDATE receipts SET at = $2, status = $3, cost = $4, price = $5, overrun = $6, refunded = $7, review = $8,
                                 reason = $9, record = $10
              WHERE call_id = $1",
        )
        .bind(receipt.call.to_string())
        .bind(receipt.at.micros())
        .bind(receipt.status.as_str())
        .bind(receipt.cost.nanos())
        .bind(receipt.price.nanos())
        .bind(receipt.overrun.nanos())
        .bind(receipt.refunded.nanos())
        .bind(i64::from(receipt.review))
        .bind(receipt.reason.clone())
        .bind(&*receipt.record)
        .execute(&mut *db)
        .await?;
    }
    save_claims(db, loaded, effect).await?;
    for (source, reference, wallet, amount) in &effect.fundings {
        sqlx::query("INSERT INTO fundings (source, reference, wallet_id, amount, at) VALUES ($1, $2, $3, $4, $5)")
            .bind(source)
            .bind(reference)
            .bind(wallet.to_string())
            .bind(amount.nanos())
            .bind(effect.at.micros())
            .execute(&mut *db)
            .await?;
    }
    for (refund, row) in &effect.refunds {
        sqlx::query("INSERT INTO refunds (id, call_id, asked, amount, reason, at) VALUES ($1, $2, $3, $4, $5, $6)")
            .bind(refund.to_string())
            .bind(row.call.to_string())
            .bind(row.asked.map(Money::nanos))
            .bind(row.amount.nanos())
            .bind(&row.reason)
            .bind(effect.at.micros())
            .execute(&mut *db)
            .await?;
    }
    if !effect.alerts.is_empty() {
        let alerts = &effect.alerts;
        sqlx::query(
            "INSERT INTO alerts (at, id, org_id, wallet_id, kind, content)
             SELECT $1, * FROM unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[]) ON CONFLICT DO NOTHING",
        )
        .bind(effect.at.micros())
        .bind(column(alerts, |alert| alert.id.to_string()))
        .bind(column(alerts, |alert| alert.org.to_string()))
        .bind(column(alerts, |alert| alert.wallet.map(|wallet| wallet.to_string())))
        .bind(column(alerts, |alert| alert.kind.to_owned()))
        .bind(column(alerts, |alert| alert.content.clone()))
        .execute(&mut *db)
        .await?;
    }
    super::charges::save_postgres(db, effect).await?;
    if effect.overrun != Money::ZERO {
        sqlx::query(super::BOOK_OVERRUN).bind(effect.overrun.nanos()).execute(&mut *db).await?;
    }
    Ok(())
}

async fn save_claims(db: &mut PgConnection, loaded: &Loaded, effect: &Effect) -> Result<(), sqlx::Error> {
    const CHARGED: &str = "UPDATE claims SET state = 'charged' FROM unnest($1::text[], $2::bytea[], $3::text[]) AS n(key_id, name, call_id)
          WHERE claims.key_id = n.key_id AND claims.name = n.name AND claims.call_id = n.call_id";
    const FREED: &str =
        "DELETE FROM claims USING unnest($1::text[], $2::bytea[], $3::text[]) AS n(key_id, name, call_id)
          WHERE claims.key_id = n.key_id AND claims.name = n.name AND claims.call_id = n.call_id";
    for (sql, claims) in [(CHARGED, &effect.claims_charged), (FREED, &effect.claims_freed)] {
        if claims.is_empty() {
            continue;
        }
        sqlx::query(sql)
            .bind(column(claims, |(key, _, _)| key.to_string()))
            .bind(column(claims, |(_, name, _)| name.to_vec()))
            .bind(column(claims, |(_, _, call)| call.to_string()))
            .execute(&mut *db)
            .await?;
    }
    for (key, call) in &effect.claims_dropped {
        sqlx::query("DELETE FROM claims WHERE key_id = $1 AND call_id = $2")
            .bind(key.to_string())
            .bind(call.to_string())
            .execute(&mut *db)
            .await?;
    }
    let put: Vec<_> = effect.claims_put.iter().filter_map(|place| Some((place, loaded.claims.get(place)?))).collect();
    if put.is_empty() {
        return Ok(());
    }
    sqlx::query(
        "INSERT INTO claims (key_id, name, body, call_id, at, state)
         SELECT *, 'running' FROM unnest($1::text[], $2::bytea[], $3::bytea[], $4::text[], $5::bigint[])
             ON CONFLICT (key_id, name)
             DO UPDATE SET body = excluded.body, call_id = excluded.call_id, state = excluded.state, at = excluded.at",
    )
    .bind(column(&put, |(place, _)| place.0.to_string()))
    .bind(column(&put, |(place, _)| place.1.to_vec()))
    .bind(column(&put, |(_, row)| row.body.to_vec()))
    .bind(column(&put, |(_, row)| row.call.to_string()))
    .bind(column(&put, |(_, row)| row.at.micros()))
    .execute(&mut *db)
    .await?;
    Ok(())
}

fn id<K: Kind>(row: &PgRow, column: &str) -> Result<Id<K>, sqlx::Error> {
    let text: &str = row.try_get(column)?;
    text.parse().map_err(|error: crate::id::IdError| sqlx::Error::Decode(error.into()))
}

fn chain(row: &PgRow) -> Result<ChainId, sqlx::Error> {
    row.try_get::<&str, _>("chain")?.parse().map_err(|error: StoreError| sqlx::Error::Decode(error.into()))
}

fn money(row: &PgRow, column: &str) -> Result<Money, sqlx::Error> {
    row.try_get(column).map(Money::from_nanos)
}

fn time(row: &PgRow, column: &str) -> Result<Timestamp, sqlx::Error> {
    row.try_get(column).map(Timestamp::from_micros)
}

fn hash(bytes: &[u8]) -> Result<Hash, sqlx::Error> {
    bytes.try_into().map_err(|_| sqlx::Error::Decode("a hash has 32 bytes".into()))
}
