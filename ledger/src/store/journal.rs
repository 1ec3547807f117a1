//! A wallet's journal and its live counters, for reading.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap};

use super::terms::TermsColumns;
use super::{Database, values};
use crate::book::Terms;
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::id::{Call, Id, JournalRow, Wallet};
use crate::money::Money;
use crate::window::{Period, Window};

/// One row of a wallet's journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalEntry {
    /// Where the next page begins: pass it as the cursor.
    pub seq: i64,
    pub id: Id<JournalRow>,
    pub at: Timestamp,
    /// `reserve`, `grow`, `settle`, `release`, `expire`, `refund`, `fund`, `adjust` or `charge`.
    pub kind: String,
    pub held_delta: Money,
    pub spent_delta: Money,
    pub funded_delta: Money,
    /// The kind of window that it counts in, and when that began.
    pub window: Window,
    pub window_start: Timestamp,
    pub call: Option<Id<Call>>,
}

/// The journal of a wallet, oldest first, after `cursor`. No more is read than a page of each of its chains.
pub(crate) async fn entries(
    database: &Database,
    wallet: Id<Wallet>,
    cursor: Option<i64>,
    limit: u32,
) -> Result<Vec<JournalEntry>, StoreError> {
    let (after, limit) = (cursor.unwrap_or(0), i64::from(limit));
    let places = match database {
        Database::Postgres(_) => database.rows(OF_CHAINS, values![wallet, after, limit]).await?,
        Database::Sqlite(_) => placed(database, wallet, after, limit).await?,
    };
    let mut depths = places
        .iter()
        .map(|row| Ok((row.get::<i64>("seq")?, row.get::<i64>("depth")?)))
        .collect::<Result<BTreeMap<_, _>, StoreError>>()?;
    while depths.len() > usize::try_from(limit).unwrap_or(usize::MAX) {
        depths.pop_last();
    }
    let mut entries = Vec::with_capacity(depths.len());
    let all: Vec<i64> = depths.keys().copied().collect();
    for some in all.chunks(250) {
        let sql = format!(
            "SELECT seq, id, at, kind, legs, call_id, held_delta, spent_delta, funded_delta FROM journal
              WHERE seq IN ({}) ORDER BY seq",
            some.iter().map(i64::to_string).collect::<Vec<_>>().join(", ")
        );
        for row in &database.rows(sql, values![]).await? {
            let depth = depths.get(&row.get::<i64>("seq")?).copied().unwrap_or_default();
            entries.push(entry(row, depth)?);
        }
    }
    Ok(entries)
}

/// A page of each chain that the wallet is in, and of those the first.
const OF_CHAINS: &str = "SELECT p.seq, c.depth FROM chain_members c
     CROSS JOIN LATERAL (SELECT seq FROM journal j WHERE j.chain = c.chain AND j.seq > $2 ORDER BY j.seq LIMIT $3) p
     WHERE c.wallet_id = $1 ORDER BY p.seq LIMIT $3";

/// The same in SQLite, which has no lateral joins, and whose newest rows have no place yet.
async fn placed(
    database: &Database,
    wallet: Id<Wallet>,
    after: i64,
    limit: i64,
) -> Result<Vec<super::Row>, StoreError> {
    const CHAINS: usize = 100;
    // Up to here all have their place; some after it have theirs already, and are found behind it all the same.
    let row = database.row("SELECT seq FROM placed WHERE name = 'journal'", values![]).await?;
    let reached: i64 = row.map_or(Ok(0), |row| row.get("seq"))?;
    let chains = database.rows("SELECT chain, depth FROM chain_members WHERE wallet_id = $1", values![wallet]).await?;
    let mut places = Vec::new();
    for chains in chains.chunks(CHAINS) {
        let (mut selects, mut bound) = (Vec::new(), values![after, limit, reached]);
        for chain in chains {
            bound.push(chain.get::<String>("chain")?.into());
            let (name, depth) = (bound.len(), chain.get::<i64>("depth")?);
            selects.push(format!(
                "SELECT * FROM (SELECT seq, {depth} AS depth FROM journal_places WHERE chain = ${name} AND seq > $1 AND seq <= $3
                   ORDER BY seq LIMIT $2)"
            ));
        }
        let sql = format!("{} ORDER BY seq LIMIT $2", selects.join(" UNION ALL "));
        places.extend(database.rows(sql, bound).await?);
    }
    if places.len() < usize::try_from(limit).unwrap_or(usize::MAX) {
        let sql = "SELECT j.seq, c.depth FROM journal j JOIN chain_members c ON c.chain = j.chain AND c.wallet_id = $1
                    WHERE j.seq > $2 ORDER BY j.seq LIMIT $3";
        places.extend(database.rows(sql, values![wallet, reached.max(after), limit]).await?);
    }
    Ok(places)
}

fn entry(row: &super::Row, depth: i64) -> Result<JournalEntry, StoreError> {
    let legs: String = row.get("legs")?;
    let leg = usize::try_from(depth).ok().and_then(|depth| legs.split(',').nth(depth));
    let window = leg
        .and_then(|leg| Period::from_key(leg.parse().ok()?))
        .ok_or_else(|| StoreError::Corrupt("journal legs".into()))?;
    Ok(JournalEntry {
        seq: row.get("seq")?,
        id: row.id("id")?,
        at: row.time("at")?,
        kind: row.get("kind")?,
        held_delta: row.money("held_delta")?,
        spent_delta: row.money("spent_delta")?,
        funded_delta: row.money("funded_delta")?,
        window: window.kind(),
        window_start: window.start(),
        call: row.maybe_id("call_id")?,
    })
}

/// Where a wallet stands now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// In the current window.
    pub spent: Money,
    pub held: Money,
    /// What may still be held, also by a soft limit that blocks; nothing told means no limit of the wallet's own.
    pub available: Option<Money>,
    pub window_start: Timestamp,
    pub resets_at: Option<Timestamp>,
}

/// Where wallets stand at `now`. Those that are not known are left out.
pub(crate) async fn standings(
    database: &Database,
    wallets: &[Id<Wallet>],
    now: Timestamp,
) -> Result<HashMap<Id<Wallet>, Standing>, StoreError> {
    let mut standings = HashMap::with_capacity(wallets.len());
    for wallets in wallets.chunks(200) {
        let places: Vec<String> = (1..=wallets.len()).map(|i| format!("${i}")).collect();
        let sql = format!(
            "SELECT w.id, w.status, w.closed_at, w.hard_limit, w.soft_limit, w.thresholds, w.soft_action, w.window_kind,
                    w.time_zone, w.anchor, w.funding, w.funded, ww.window_start, ww.spent, ww.held
               FROM wallets w LEFT JOIN wallet_windows ww ON ww.wallet_id = w.id
              WHERE w.id IN ({})",
            places.join(", ")
        );
        let rows = database.rows(sql, wallets.iter().map(|wallet| (*wallet).into()).collect()).await?;
        let mut sums: HashMap<Id<Wallet>, Sum> = HashMap::new();
        for row in &rows {
            let sum = match sums.entry(row.id("id")?) {
                Entry::Occupied(sum) => sum.into_mut(),
                Entry::Vacant(place) => place.insert(Sum { terms: terms(row)?, spent: 0, held: 0, ever: 0 }),
            };
            let Some(key) = row.get::<Option<i64>>("window_start")? else { continue };
            let (spent, held): (i64, i64) = (row.get("spent")?, row.get("held")?);
            sum.ever = sum.ever.saturating_add(spent).saturating_add(held);
            if key == sum.terms.window.period(now).key() {
                (sum.spent, sum.held) = (spent, held);
            }
        }
        standings.extend(sums.into_iter().map(|(wallet, sum)| (wallet, sum.standing(now))));
    }
    Ok(standings)
}

/// Where the wallets from this one up to its root stand at `now`.
pub(crate) async fn chain_standings(
    database: &Database,
    wallet: Id<Wallet>,
    now: Timestamp,
) -> Result<Vec<Standing>, StoreError> {
    let sql = "SELECT wallet_id FROM chain_members WHERE chain = $1 ORDER BY depth";
    let rows = database.rows(sql, values![wallet]).await?;
    let chain = rows.iter().map(|row| row.id("wallet_id")).collect::<Result<Vec<_>, _>>()?;
    Ok(standings(database, &chain, now).await?.into_values().collect())
}

fn terms(row: &super::Row) -> Result<Terms, StoreError> {
    let (status, soft_action): (String, String) = (row.get("status")?, row.get("soft_action")?);
    let (window_kind, funding): (String, String) = (row.get("window_kind")?, row.get("funding")?);
    let (thresholds, time_zone): (Option<String>, Option<String>) = (row.get("thresholds")?, row.get("time_zone")?);
    let columns = TermsColumns {
        status: &status,
        closed_at: row.get("closed_at")?,
        hard_limit: row.get("hard_limit")?,
        soft_limit: row.get("soft_limit")?,
        thresholds: thresholds.as_deref(),
        soft_action: &soft_action,
        window_kind: &window_kind,
        time_zone: time_zone.as_deref(),
        anchor: row.get("anchor")?,
        funding: &funding,
        funded: row.get("funded")?,
    };
    columns.read()
}

struct Sum {
    terms: Terms,
    spent: i64,
    held: i64,
    /// Spent and held in all windows.
    ever: i64,
}

impl Sum {
    fn standing(&self, now: Timestamp) -> Standing {
        let period = self.terms.window.period(now);
        let limits = self.terms.hard_limit.into_iter().chain(self.terms.blocks_at());
        let by_limit = limits.map(|limit| limit.nanos().saturating_sub(self.spent).saturating_sub(self.held));
        let by_funds = self.terms.prepaid.then(|| self.terms.funded.nanos().saturating_sub(self.ever));
        let available = by_limit.chain(by_funds).min().map(|free| Money::from_nanos(free.max(0)));
        Standing {
            spent: Money::from_nanos(self.spent),
            held: Money::from_nanos(self.held),
            available,
            window_start: period.start(),
            resets_at: self.terms.window.end(period),
        }
    }
}
