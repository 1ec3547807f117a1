//! The writer's side of SQLite: one connection on the writer's own thread, prepared statements, row by row in one
//! transaction. A batch touches each wallet once, however many of its jobs do.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Row, params};
use tokio::sync::OwnedMutexGuard;

use super::SqliteDatabase;
use super::memory::Memory;
use super::places::{Places, place_all};
use super::terms::TermsColumns;
use crate::audit::Hash;
use crate::book::{Counter, Leg, Terms};
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::hold::Owner;
use crate::id::{Id, Instance, Kind, Org, Wallet};
use crate::money::Money;
use crate::order::Claim;
use crate::rows::{Chain, ChainId, ClaimRow, Effect, HoldRow, Loaded, Mark, Needs, ReceiptRow, RefundRow, Status};

pub(crate) struct SqliteStore {
    connection: Connection,
    gate: Arc<tokio::sync::Mutex<()>>,
    turn: Option<OwnedMutexGuard<()>>,
    /// Chains never change, so they are kept.
    chains: HashMap<ChainId, Arc<Chain>>,
    memory: Memory,
    places: Places,
    /// A batch is being written: undone, nobody knows what is there.
    writing: bool,
    owner: String,
}

/// Chains kept in memory; beyond that all are read anew.
const KEPT_CHAINS: usize = 100_000;

impl SqliteStore {
    pub fn open(database: &SqliteDatabase, instance: Id<Instance>) -> Result<SqliteStore, StoreError> {
        let connection = Connection::open(&database.path)?;
        connection.busy_timeout(Duration::from_secs(10))?;
        connection.set_prepared_statement_cache_capacity(64);
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "FULL")?;
        connection.pragma_update(None, "foreign_keys", "ON")?;
        connection.pragma_update(None, "cache_size", -8_192)?;
        connection.pragma_update(None, "temp_store", "MEMORY")?;
        // Checkpoints are made beside the writer. Under load theirs never quite ends, so once in a while the writer
        // makes the little that is left of one, and the log begins anew.
        connection.pragma_update(None, "wal_autocheckpoint", 16_000)?;
        let owner = Owner::Instance(instance).to_text();
        // Not a batch's work: what an earlier process left is placed before anybody waits for this one.
        connection.execute_batch("BEGIN IMMEDIATE")?;
        place_all(&connection)?;
        connection.execute_batch("COMMIT")?;
        Ok(SqliteStore {
            connection,
            gate: database.gate.clone(),
            turn: None,
            chains: HashMap::new(),
            memory: Memory::default(),
            places: Places::default(),
            writing: false,
            owner,
        })
    }

    /// Waits for its turn, then begins and reads what the batch needs.
    pub async fn load(&mut self, needs: &Needs, at: Timestamp) -> Result<Loaded, StoreError> {
        self.turn = Some(self.gate.clone().lock_owned().await);
        self.read(needs, at)
    }

    fn read(&mut self, needs: &Needs, at: Timestamp) -> Result<Loaded, StoreError> {
        self.connection.execute_batch("BEGIN IMMEDIATE")?;
        let mut loaded = Loaded::default();
        self.read_chains(needs, &mut loaded)?;
        self.read_holds()?;
        let db = &self.connection;
        let revision: String = db
            .prepare_cached("SELECT value FROM meta WHERE name = 'config_revision'")?
            .query_row([], |row| row.get(0))?;
        loaded.revision = revision.parse().map_err(|_| StoreError::Corrupt("config revision".into()))?;
        self.memory.at(loaded.revision);
        read_calls(db, &self.memory, needs, &mut loaded)?;
        read_wallets(db, &mut self.memory, at, &mut loaded)?;
        for (key, name) in &needs.claims {
            let mut find =
                db.prepare_cached("SELECT body, call_id, state, at FROM claims WHERE key_id = ?1 AND name = ?2")?;
            let row = find
                .query_row(params![key.to_string(), name], |row| {
                    let charged = row.get_ref(2)?.as_str()? == "charged";
                    Ok(ClaimRow { body: row.get(0)?, call: id(row, 1)?, charged, at: time(row, 3)? })
                })
                .optional()?;
            loaded.claims.extend(row.map(|row| ((*key, *name), row)));
        }
        for refund in &needs.refunds {
            let mut find = db.prepare_cached("SELECT call_id, asked, amount, reason FROM refunds WHERE id = ?1")?;
            let row = find
                .query_row([refund.to_string()], |row| {
                    Ok(RefundRow {
                        call: id(row, 0)?,
                        asked: row.get::<_, Option<i64>>(1)?.map(Money::from_nanos),
                        amount: money(row, 2)?,
                        reason: row.get(3)?,
                    })
                })
                .optional()?;
            loaded.refunds.extend(row.map(|row| (*refund, row)));
        }
        for reference in &needs.fundings {
            let mut find =
                db.prepare_cached("SELECT wallet_id, amount FROM fundings WHERE source = ?1 AND reference = ?2")?;
            let row =
                find.query_row([&reference.0, &reference.1], |row| Ok((id(row, 0)?, money(row, 1)?))).optional()?;
            loaded.fundings.extend(row.map(|row| (reference.clone(), row)));
        }
        super::charges::read_sqlite(db, needs, &mut loaded)?;
        for chain in &needs.heads {
            let mut find = db.prepare_cached("SELECT seq, hash FROM audit_heads WHERE chain = ?1")?;
            let row: Option<(i64, Hash)> = find.query_row([chain], |row| Ok((row.get(0)?, row.get(1)?))).optional()?;
            loaded.heads.extend(row.map(|row| (chain.clone(), row)));
        }
        Ok(loaded)
    }

    fn read_chains(&mut self, needs: &Needs, loaded: &mut Loaded) -> Result<(), StoreError> {
        if self.chains.len() > KEPT_CHAINS {
            self.chains.clear();
        }
        for name in &needs.chains {
            if !self.chains.contains_key(name)
                && let Some(chain) = read_chain(&self.connection, *name)?
            {
                self.chains.insert(*name, Arc::new(chain));
            }
            if let Some(chain) = self.chains.get(name) {
                loaded.chains.insert(*name, chain.clone());
            }
        }
        for (name, (leaf, extra)) in &needs.mixes {
            if loaded.chains.contains_key(name) {
                continue;
            }
            let orgs = read_orgs(&self.connection, extra)?;
            let Some(chain) = loaded.chains.get(&ChainId::leaf(*leaf)).and_then(|leaf| leaf.mixed(extra, &orgs)) else {
                continue;
            };
            loaded.chains.insert(*name, Arc::new(chain));
        }
        Ok(())
    }

    /// Holds that are open, all of them, unless they are known.
    fn read_holds(&mut self) -> Result<(), StoreError> {
        if self.memory.holds().is_some() {
            return Ok(());
        }
        let mut all = self.connection.prepare_cached(HOLDS)?;
        let rows = all.query_map([], hold_row)?.collect::<Result<Vec<_>, _>>()?;
        self.memory.read_holds(rows.into_iter());
        Ok(())
    }

    /// Whether an entry with this place and hash is there: then so is its whole batch.
    pub fn committed(&mut self, chain: &str, seq: i64, hash: &Hash) -> Result<bool, StoreError> {
        let mut find = self.connection.prepare_cached("SELECT hash FROM audit_log WHERE chain = ?1 AND seq = ?2")?;
        let found: Option<Hash> = find.query_row(params![chain, seq], |row| row.get(0)).optional()?;
        Ok(found.as_ref() == Some(hash))
    }

    /// Writes what changed.
    pub fn save(&mut self, loaded: &Loaded, effect: &Effect) -> Result<(), StoreError> {
        let db = &self.connection;
        self.writing = true;
        self.places.know(db)?;
        save_chains(db, loaded)?;
        save_wallets(db, loaded)?;
        save_holds(db, &self.owner, loaded, effect)?;
        save_receipts(db, &mut self.places, loaded)?;
        save_journal(db, &mut self.places, effect)?;
        save_claims(db, loaded, effect)?;
        for (source, reference, wallet, amount) in &effect.fundings {
            db.prepare_cached(
                "INSERT INTO fundings (source, reference, wallet_id, amount, at) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?
            .execute(params![
                source,
                reference,
                wallet.to_string(),
                amount.nanos(),
                effect.at.micros()
            ])?;
        }
        for (refund, row) in &effect.refunds {
            db.prepare_cached(
                "INSERT INTO refunds (id, call_id, asked, amount, reason, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                refund.to_string(),
                row.call.to_string(),
                row.asked.map(Money::nanos),
                row.amount.nanos(),
                row.reason,
                effect.at.micros()
            ])?;
        }
        super::charges::save_sqlite(db, effect)?;
        if effect.overrun != Money::ZERO {
            db.prepare_cached(super::BOOK_OVERRUN)?.execute([effect.overrun.nanos()])?;
        }
        save_alerts(db, effect)?;
        save_audit(db, loaded, effect)?;
        self.places.advance(db, effect.journal.len())?;
        self.memory.stage(loaded, effect);
        Ok(())
    }

    /// Makes it durable, and lets others write.
    pub fn commit(&mut self) -> Result<(), StoreError> {
        let done = self.connection.execute_batch("COMMIT");
        match done {
            Ok(()) => {
                self.memory.keep();
                self.writing = false;
            }
            Err(_) => self.undo(),
        }
        self.turn = None;
        Ok(done?)
    }

    /// Undoes what was not committed, and lets others write.
    pub fn undo(&mut self) {
        // What was only read is still true.
        if std::mem::take(&mut self.writing) {
            self.memory.forget();
            self.places.forget();
        }
        if !self.connection.is_autocommit()
            && let Err(error) = self.connection.execute_batch("ROLLBACK")
        {
            tracing::error!(%error, "rollback failed");
        }
        self.turn = None;
    }
}

const HOLDS: &str =
    "SELECT call_id, org_id, key_id, wallet_id, legs, opened, amount, at, expires_at, claim, claim_body,
    record, asked, COALESCE(NULLIF(chain, ''), wallet_id) FROM holds";

fn read_calls(db: &Connection, memory: &Memory, needs: &Needs, loaded: &mut Loaded) -> Result<(), StoreError> {
    let mut receipt = db.prepare_cached(
        "SELECT call_id, org_id, key_id, wallet_id, at, status, cost, price, overrun, refunded, review, held, legs, reason,
                refusal, record, chain
           FROM receipts WHERE call_id = ?1",
    )?;
    for call in &needs.calls {
        if let Some(row) = memory.holds().and_then(|holds| holds.get(call)) {
            loaded.holds.insert(*call, row.clone());
        } else if let Some(row) = receipt.query_row([&call.to_string()], |row| Ok(receipt_row(row))).optional()? {
            loaded.receipts.insert(*call, row?);
        }
    }
    Ok(())
}

fn read_chain(db: &Connection, name: ChainId) -> Result<Option<Chain>, StoreError> {
    let mut members = db.prepare_cached(
        "SELECT c.wallet_id, w.org_id, w.parent_id IS NULL FROM chain_members c JOIN wallets w ON w.id = c.wallet_id
          WHERE c.chain = ?1 ORDER BY c.depth",
    )?;
    let members = members
        .query_map([name.to_string()], |row| Ok((id(row, 0)?, id(row, 1)?, row.get::<_, bool>(2)?)))?
        .collect::<Result<Vec<_>, _>>()?;
    let Some(&(_, org, _)) = members.first() else { return Ok(None) };
    let roots = members.iter().filter(|(_, _, root)| *root).map(|(wallet, ..)| *wallet).collect();
    let wallets = members.into_iter().map(|(wallet, ..)| wallet).collect();
    Ok(Some(Chain { org, wallets, roots, new: false }))
}

fn read_orgs(db: &Connection, wallets: &[Id<Wallet>]) -> Result<HashMap<Id<Wallet>, Id<Org>>, StoreError> {
    let mut org = db.prepare_cached("SELECT org_id FROM wallets WHERE id = ?1")?;
    let mut orgs = HashMap::new();
    for wallet in wallets {
        let found = org.query_row([wallet.to_string()], |row| id(row, 0)).optional()?;
        orgs.extend(found.map(|org| (*wallet, org)));
    }
    Ok(orgs)
}

/// Chains that a call of this batch is the first to use.
fn save_chains(db: &Connection, loaded: &Loaded) -> Result<(), StoreError> {
    for (name, chain) in loaded.chains.iter().filter(|(_, chain)| chain.new) {
        let used = |hold: &HoldRow| hold.mark == Mark::New && hold.chain == *name;
        let charged = |receipt: &ReceiptRow| receipt.mark == Mark::New && receipt.chain == *name;
        if !loaded.holds.values().any(used) && !loaded.receipts.values().any(charged) {
            continue;
        }
        let mut insert =
            db.prepare_cached("INSERT OR IGNORE INTO chain_members (chain, wallet_id, depth) VALUES (?1, ?2, ?3)")?;
        for (depth, wallet) in (0_i64..).zip(&chain.wallets) {
            insert.execute(params![name.to_string(), wallet.to_string(), depth])?;
        }
    }
    Ok(())
}

fn save_alerts(db: &Connection, effect: &Effect) -> Result<(), StoreError> {
    for alert in &effect.alerts {
        db.prepare_cached(
            "INSERT OR IGNORE INTO alerts (id, at, org_id, wallet_id, kind, content) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            alert.id.to_string(),
            effect.at.micros(),
            alert.org.to_string(),
            alert.wallet.map(|wallet| wallet.to_string()),
            alert.kind,
            alert.content
        ])?;
    }
    Ok(())
}

fn hold_row(row: &Row<'_>) -> Result<HoldRow, rusqlite::Error> {
    let claim = match (row.get(9)?, row.get(10)?) {
        (Some(name), Some(body)) => Some(Claim { name, body }),
        _ => None,
    };
    Ok(HoldRow {
        mark: Mark::Stored,
        call: id(row, 0)?,
        org: id(row, 1)?,
        key: id(row, 2)?,
        wallet: id(row, 3)?,
        legs: text(row, 4)?,
        opened: money(row, 5)?,
        amount: money(row, 6)?,
        at: time(row, 7)?,
        expires_at: time(row, 8)?,
        claim,
        record: text(row, 11)?,
        asked: money(row, 12)?,
        chain: chain(row, 13)?,
    })
}

fn receipt_row(row: &Row<'_>) -> Result<ReceiptRow, StoreError> {
    Ok(ReceiptRow {
        mark: Mark::Stored,
        call: id(row, 0)?,
        org: id(row, 1)?,
        key: id(row, 2)?,
        wallet: id(row, 3)?,
        at: time(row, 4)?,
        status: Status::parse(row.get_ref(5)?.as_str().map_err(rusqlite::Error::from)?)?,
        cost: money(row, 6)?,
        price: money(row, 7)?,
        overrun: money(row, 8)?,
        refunded: money(row, 9)?,
        review: row.get::<_, i64>(10)? != 0,
        held: money(row, 11)?,
        legs: text(row, 12)?,
        reason: row.get(13)?,
        refusal: row.get(14)?,
        record: text(row, 15)?,
        chain: chain(row, 16)?,
    })
}

/// Terms of all wallets of all chains, and their counters in every window that a job may touch.
fn read_wallets(db: &Connection, memory: &mut Memory, at: Timestamp, loaded: &mut Loaded) -> Result<(), StoreError> {
    let all: BTreeSet<Id<Wallet>> = loaded.chains.values().flat_map(|chain| chain.wallets.iter().copied()).collect();
    let mut legs: BTreeSet<Leg> = BTreeSet::new();
    for wallet in all {
        if memory.terms(wallet).is_none() {
            let Some(terms) = read_terms(db, wallet)? else { continue };
            let ever = if terms.prepaid { Some(read_ever(db, wallet)?) } else { None };
            memory.read_terms(wallet, &terms, ever);
        }
        let Some(terms) = memory.terms(wallet) else { continue };
        legs.insert(Leg { wallet, window: terms.window.period(at) });
        if terms.prepaid {
            loaded.wallets.ever.extend(memory.ever(wallet).map(|ever| (wallet, ever)));
        }
        loaded.wallets.terms.insert(wallet, terms);
    }
    let of_calls = loaded.holds.values().map(|hold| (hold.chain, &hold.legs));
    let of_calls = of_calls.chain(loaded.receipts.values().map(|receipt| (receipt.chain, &receipt.legs)));
    for (name, text) in of_calls.filter(|(_, text)| !text.is_empty()) {
        if let Some(chain) = loaded.chains.get(&name) {
            legs.extend(chain.legs(text)?);
        }
    }
    let mut find =
        db.prepare_cached("SELECT spent, held, warned FROM wallet_windows WHERE wallet_id = ?1 AND window_start = ?2")?;
    for leg in legs {
        let counter = match memory.counter(&leg) {
            Some(counter) => counter,
            None => {
                let row = find
                    .query_row(params![leg.wallet.to_string(), leg.window.key()], |row| counter_row(row, 0))
                    .optional()?;
                let counter = row.flatten().unwrap_or_default();
                memory.read_counter(leg, counter);
                counter
            }
        };
        loaded.wallets.counters.insert(leg, counter);
    }
    Ok(())
}

fn read_terms(db: &Connection, wallet: Id<Wallet>) -> Result<Option<Terms>, StoreError> {
    let mut terms = db.prepare_cached(
        "SELECT status, hard_limit, soft_limit, window_kind, funding, funded, closed_at, thresholds, soft_action, time_zone,
                anchor
           FROM wallets WHERE id = ?1",
    )?;
    terms.query_row([wallet.to_string()], |row| Ok(terms_row(row))).optional()?.transpose()
}

/// Spent and held in all windows.
fn read_ever(db: &Connection, wallet: Id<Wallet>) -> Result<Counter, StoreError> {
    let mut ever = db.prepare_cached(
        "SELECT COALESCE(SUM(spent), 0), COALESCE(SUM(held), 0) FROM wallet_windows WHERE wallet_id = ?1",
    )?;
    let read = |row: &Row<'_>| Ok(Counter { spent: money(row, 0)?, held: money(row, 1)?, warned: None });
    Ok(ever.query_row([wallet.to_string()], read)?)
}

/// A counter from the column `first` on; none where a join found none.
fn counter_row(row: &Row<'_>, first: usize) -> Result<Option<Counter>, rusqlite::Error> {
    let Some(spent) = row.get::<_, Option<i64>>(first)?.map(Money::from_nanos) else { return Ok(None) };
    let warned = row.get::<_, Option<i64>>(first + 2)?.map(Money::from_nanos);
    Ok(Some(Counter { spent, held: money(row, first + 1)?, warned }))
}

fn terms_row(row: &Row<'_>) -> Result<Terms, StoreError> {
    let text = |column| row.get_ref(column)?.as_str().map_err(rusqlite::Error::from);
    let maybe = |column| row.get_ref(column)?.as_str_or_null().map_err(rusqlite::Error::from);
    let columns = TermsColumns {
        status: text(0)?,
        hard_limit: row.get(1)?,
        soft_limit: row.get(2)?,
        window_kind: text(3)?,
        funding: text(4)?,
        funded: row.get(5)?,
        closed_at: row.get(6)?,
        thresholds: maybe(7)?,
        soft_action: text(8)?,
        time_zone: maybe(9)?,
        anchor: row.get(10)?,
    };
    columns.read()
}

fn save_holds(db: &Connection, owner: &str, loaded: &Loaded, effect: &Effect) -> Result<(), StoreError> {
    let mut delete = db.prepare_cached("DELETE FROM holds WHERE call_id = ?1")?;
    for call in &effect.holds_gone {
        delete.execute([call.to_string()])?;
    }
    let mut insert = db.prepare_cached(
        "INSERT INTO holds (call_id, org_id, key_id, wallet_id, legs, opened, amount, owner, at, expires_at, claim, claim_body, record,
                            asked, chain)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
    )?;
    let mut grow = db.prepare_cached("UPDATE holds SET amount = ?2 WHERE call_id = ?1")?;
    for hold in loaded.holds.values() {
        match hold.mark {
            Mark::Stored => {}
            Mark::Changed => drop(grow.execute(params![hold.call.to_string(), hold.amount.nanos()])?),
            Mark::New => drop(insert.execute(params![
                hold.call.to_string(),
                hold.org.to_string(),
                hold.key.to_string(),
                hold.wallet.to_string(),
                &*hold.legs,
                hold.opened.nanos(),
                hold.amount.nanos(),
                owner,
                hold.at.micros(),
                hold.expires_at.micros(),
                hold.claim.map(|claim| claim.name),
                hold.claim.map(|claim| claim.body),
                &*hold.record,
                hold.asked.nanos(),
                hold.chain.to_string()
            ])?),
        }
    }
    Ok(())
}

fn save_journal(db: &Connection, places: &mut Places, effect: &Effect) -> Result<(), StoreError> {
    let mut insert = db.prepare_cached(
        "INSERT INTO journal (id, at, kind, chain, legs, call_id, held_delta, spent_delta, funded_delta, overrun)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?;
    for line in &effect.journal {
        insert.execute(params![
            line.id.to_string(),
            effect.at.micros(),
            line.kind,
            line.chain,
            &*line.legs,
            line.call.map(|call| call.to_string()),
            line.held_delta.nanos(),
            line.spent_delta.nanos(),
            line.funded_delta.nanos(),
            line.overrun.nanos()
        ])?;
        places.journal(&line.chain, db.last_insert_rowid());
    }
    Ok(())
}

fn save_wallets(db: &Connection, loaded: &Loaded) -> Result<(), StoreError> {
    let mut save = db.prepare_cached(
        "INSERT INTO wallet_windows (wallet_id, window_start, spent, held, warned) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (wallet_id, window_start)
             DO UPDATE SET spent = excluded.spent, held = excluded.held, warned = excluded.warned",
    )?;
    for leg in &loaded.wallets.touched {
        let Some(counter) = loaded.wallets.counters.get(leg) else { continue };
        save.execute(params![
            leg.wallet.to_string(),
            leg.window.key(),
            counter.spent.nanos(),
            counter.held.nanos(),
            counter.warned.map(Money::nanos)
        ])?;
    }
    for wallet in &loaded.wallets.funded {
        let Some(terms) = loaded.wallets.terms.get(wallet) else { continue };
        db.prepare_cached("UPDATE wallets SET funded = ?2 WHERE id = ?1")?
            .execute(params![wallet.to_string(), terms.funded.nanos()])?;
    }
    Ok(())
}

fn save_receipts(db: &Connection, places: &mut Places, loaded: &Loaded) -> Result<(), StoreError> {
    let mut insert = db.prepare_cached(
        "INSERT INTO receipts (call_id, org_id, key_id, wallet_id, at, status, cost, price, overrun, refunded, review, held,
                               legs, reason, refusal, record, chain)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17)",
    )?;
    let mut update = db.prepare_cached(
        "UPDATE receipts SET at = ?2, status = ?3, cost = ?4, price = ?5, overrun = ?6, refunded = ?7, review = ?8,
                             reason = ?9, record = ?10
          WHERE call_id = ?1",
    )?;
    for receipt in loaded.receipts.values() {
        let call = receipt.call.to_string();
        match receipt.mark {
            Mark::Stored => {}
            Mark::New => {
                let (org, wallet) = (receipt.org.to_string(), receipt.wallet.to_string());
                insert.execute(params![
                    call,
                    org,
                    receipt.key.to_string(),
                    wallet,
                    receipt.at.micros(),
                    receipt.status.as_str(),
                    receipt.cost.nanos(),
                    receipt.price.nanos(),
                    receipt.overrun.nanos(),
                    receipt.refunded.nanos(),
                    i64::from(receipt.review),
                    receipt.held.nanos(),
                    &*receipt.legs,
                    receipt.reason,
                    receipt.refusal,
                    &*receipt.record,
                    receipt.chain.to_string()
                ])?;
                places.receipt([wallet, org], &call, db.last_insert_rowid());
            }
            Mark::Changed => {
                update.execute(params![
                    call,
                    receipt.at.micros(),
                    receipt.status.as_str(),
                    receipt.cost.nanos(),
                    receipt.price.nanos(),
                    receipt.overrun.nanos(),
                    receipt.refunded.nanos(),
                    i64::from(receipt.review),
                    receipt.reason,
                    &*receipt.record
                ])?;
            }
        }
    }
    Ok(())
}

fn save_claims(db: &Connection, loaded: &Loaded, effect: &Effect) -> Result<(), StoreError> {
    for (key, name, call) in &effect.claims_charged {
        db.prepare_cached("UPDATE claims SET state = 'charged' WHERE key_id = ?1 AND name = ?2 AND call_id = ?3")?
            .execute(params![key.to_string(), name, call.to_string()])?;
    }
    for (key, name, call) in &effect.claims_freed {
        db.prepare_cached("DELETE FROM claims WHERE key_id = ?1 AND name = ?2 AND call_id = ?3")?.execute(params![
            key.to_string(),
            name,
            call.to_string()
        ])?;
    }
    for (key, call) in &effect.claims_dropped {
        db.prepare_cached("DELETE FROM claims WHERE key_id = ?1 AND call_id = ?2")?
            .execute(params![key.to_string(), call.to_string()])?;
    }
    for place in &effect.claims_put {
        let Some(row) = loaded.claims.get(place) else { continue };
        let mut put = db.prepare_cached(
            "INSERT INTO claims (key_id, name, body, call_id, state, at) VALUES (?1, ?2, ?3, ?4, 'running', ?5)
                 ON CONFLICT (key_id, name)
                 DO UPDATE SET body = excluded.body, call_id = excluded.call_id, state = excluded.state, at = excluded.at",
        )?;
        put.execute(params![place.0.to_string(), place.1, row.body, row.call.to_string(), row.at.micros()])?;
    }
    Ok(())
}

fn save_audit(db: &Connection, loaded: &Loaded, effect: &Effect) -> Result<(), StoreError> {
    let mut insert = db.prepare_cached(
        "INSERT INTO audit_log (chain, seq, at, kind, entry, prev_hash, hash) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?;
    let mut chains: BTreeSet<&Cow<'static, str>> = BTreeSet::new();
    for entry in &effect.audit {
        insert.execute(params![
            entry.chain,
            entry.seq,
            entry.at.micros(),
            entry.kind,
            entry.line,
            entry.prev_hash,
            entry.hash
        ])?;
        chains.insert(&entry.chain);
    }
    let mut head = db.prepare_cached(
        "INSERT INTO audit_heads (chain, seq, hash) VALUES (?1, ?2, ?3)
             ON CONFLICT (chain) DO UPDATE SET seq = excluded.seq, hash = excluded.hash",
    )?;
    for chain in chains {
        if let Some((seq, hash)) = loaded.heads.get(chain) {
            head.execute(params![chain, seq, hash])?;
        }
    }
    Ok(())
}

fn id<K: Kind>(row: &Row<'_>, column: usize) -> Result<Id<K>, rusqlite::Error> {
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

fn chain(row: &Row<'_>, column: usize) -> Result<ChainId, rusqlite::Error> {
    let text = row.get_ref(column)?.as_str()?;
    text.parse().map_err(|error: StoreError| {
        rusqlite::Error::FromSqlConversionFailure(column, rusqlite::types::Type::Text, Box::new(error))
    })
}

fn money(row: &Row<'_>, column: usize) -> Result<Money, rusqlite::Error> {
    row.get(column).map(Money::from_nanos)
}

fn time(row: &Row<'_>, column: usize) -> Result<Timestamp, rusqlite::Error> {
    row.get(column).map(Timestamp::from_micros)
}

fn text(row: &Row<'_>, column: usize) -> Result<Arc<str>, rusqlite::Error> {
    Ok(row.get_ref(column)?.as_str()?.into())
}
