//! Samples of spending and the breakers of wallets, in SQL: one text for both databases.

use std::collections::HashMap;

use super::{Database, Row, Tx, Value, values};
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::id::{Id, Instance, Wallet};
use crate::money::Money;
use crate::pace::{Breaker, Mode, Point, Rule};

/// The breaker of a wallet: its rule, and where it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BreakerRow {
    pub rule: Rule,
    pub breaker: Breaker,
    /// Until then nothing new is judged.
    pub quiet_until: Option<Timestamp>,
}

/// So many rows are written in one transaction: the writer waits for no more.
const WRITTEN_AT_ONCE: usize = 100;
/// So many old rows are removed in one.
const REMOVED_AT_ONCE: i64 = 2_000;

/// Takes or keeps the lease that one process at a time has. `done_at` is when this holder was last done.
pub(crate) async fn lease(
    db: &Database,
    name: &str,
    holder: Id<Instance>,
    micros: i64,
    done_at: Option<Timestamp>,
) -> Result<bool, StoreError> {
    let now = crate::life::now_sql(db);
    let mut tx = db.begin().await?;
    let taken = tx
        .execute(
            format!(
                "INSERT INTO leases (name, holder, until, done_at) VALUES ($1, $2, {now} + $3, $4)
                     ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until,
                                                      done_at = COALESCE(excluded.done_at, leases.done_at)
                      WHERE leases.holder = excluded.holder OR leases.until < {now}"
            ),
            values![name, holder, micros, done_at],
        )
        .await?;
    tx.commit().await?;
    Ok(taken == 1)
}

/// When the work was last done, by whoever.
pub(crate) async fn done_at(db: &Database, name: &str) -> Result<Option<Timestamp>, StoreError> {
    let row = db.row("SELECT done_at FROM leases WHERE name = $1", values![name]).await?;
    row.map_or(Ok(None), |row| row.maybe_time("done_at"))
}

/// What each wallet has spent, in all its windows together.
pub(crate) async fn totals(db: &Database) -> Result<Vec<(Id<Wallet>, Money)>, StoreError> {
    let sql = "SELECT wallet_id, CAST(SUM(spent) AS BIGINT) AS total FROM wallet_windows GROUP BY wallet_id";
    db.rows(sql, values![]).await?.iter().map(|row| Ok((row.id("wallet_id")?, row.money("total")?))).collect()
}

/// The points since `from` of every wallet, and of each the last before them.
pub(crate) async fn latest(db: &Database, from: Timestamp) -> Result<HashMap<Id<Wallet>, Vec<Point>>, StoreError> {
    let before = "SELECT p.wallet_id, p.bucket_start, p.spent, p.left_out
           FROM (SELECT DISTINCT wallet_id FROM wallet_windows) w
           JOIN wallet_pace p ON p.wallet_id = w.wallet_id
            AND p.bucket_start = (SELECT MAX(q.bucket_start) FROM wallet_pace q
                                   WHERE q.wallet_id = w.wallet_id AND q.bucket_start < $1)";
    let since = "SELECT wallet_id, bucket_start, spent, left_out FROM wallet_pace WHERE bucket_start >= $1
           ORDER BY wallet_id, bucket_start";
    let mut points: HashMap<Id<Wallet>, Vec<Point>> = HashMap::new();
    for sql in [before, since] {
        for row in db.rows(sql, values![from]).await? {
            points.entry(row.id("wallet_id")?).or_default().push(point(&row)?);
        }
    }
    Ok(points)
}

/// All that is kept of a wallet.
pub(crate) async fn history(db: &Database, wallet: Id<Wallet>) -> Result<Vec<Point>, StoreError> {
    let sql = "SELECT bucket_start, spent, left_out FROM wallet_pace WHERE wallet_id = $1 ORDER BY bucket_start";
    db.rows(sql, values![wallet]).await?.iter().map(point).collect()
}

fn point(row: &Row) -> Result<Point, StoreError> {
    let left_out = row.get::<i64>("left_out")? != 0;
    Ok(Point { bucket: row.time("bucket_start")?, total: row.money("spent")?, left_out })
}

/// Writes samples. One that is there already gets its new total and stays left out if it was.
pub(crate) async fn save(db: &Database, points: &[(Id<Wallet>, Point)]) -> Result<(), StoreError> {
    for points in points.chunks(WRITTEN_AT_ONCE) {
        let places =
            (0..points.len()).map(|i| i * 4).map(|i| format!("(${}, ${}, ${}, ${})", i + 1, i + 2, i + 3, i + 4));
        let sql = format!(
            "INSERT INTO wallet_pace (wallet_id, bucket_start, spent, left_out) VALUES {}
                 ON CONFLICT (wallet_id, bucket_start) DO UPDATE SET spent = excluded.spent",
            places.collect::<Vec<_>>().join(", ")
        );
        let parameters = points
            .iter()
            .flat_map(|(wallet, point)| values![*wallet, point.bucket, point.total, point.left_out])
            .collect::<Vec<Value>>();
        let mut tx = db.begin().await?;
        tx.execute(sql, parameters).await?;
        tx.commit().await?;
    }
    Ok(())
}

/// Removes what is older than `before`, some of it at a time; says whether there was any.
pub(crate) async fn forget(db: &Database, before: Timestamp) -> Result<bool, StoreError> {
    let old = db.row("SELECT 1 AS one FROM wallet_pace WHERE bucket_start < $1 LIMIT 1", values![before]).await?;
    if old.is_none() {
        return Ok(false);
    }
    let mut tx = db.begin().await?;
    tx.execute(
        "DELETE FROM wallet_pace WHERE (wallet_id, bucket_start) IN
             (SELECT wallet_id, bucket_start FROM wallet_pace WHERE bucket_start < $1 ORDER BY bucket_start LIMIT $2)",
        values![before, REMOVED_AT_ONCE],
    )
    .await?;
    tx.commit().await?;
    Ok(true)
}

/// Keeps what came since `from` out of the history, or takes it back in.
pub(crate) async fn leave_out(
    tx: &mut Tx,
    wallet: Id<Wallet>,
    from: Timestamp,
    left_out: bool,
) -> Result<(), StoreError> {
    tx.execute(
        "UPDATE wallet_pace SET left_out = $3 WHERE wallet_id = $1 AND bucket_start >= $2",
        values![wallet, from, left_out],
    )
    .await?;
    Ok(())
}

const BREAKER: &str =
    "SELECT wallet_id, mode, minimum, ratio, deviations, cool_down, state, since, until, threshold, trial_from,
    allowance, quiet_until FROM wallet_breakers";

/// Every breaker that is set or has moved.
pub(crate) async fn breakers(db: &Database) -> Result<HashMap<Id<Wallet>, BreakerRow>, StoreError> {
    db.rows(BREAKER, values![]).await?.iter().map(|row| Ok((row.id("wallet_id")?, breaker(row)?))).collect()
}

/// Those of some wallets.
pub(crate) async fn breakers_of(
    db: &Database,
    wallets: &[Id<Wallet>],
) -> Result<HashMap<Id<Wallet>, BreakerRow>, StoreError> {
    let mut found = HashMap::new();
    for wallets in wallets.chunks(200) {
        let places = (1..=wallets.len()).map(|i| format!("${i}")).collect::<Vec<_>>().join(", ");
        let sql = format!("{BREAKER} WHERE wallet_id IN ({places})");
        for row in db.rows(sql, wallets.iter().map(|wallet| Value::from(*wallet)).collect()).await? {
            found.insert(row.id("wallet_id")?, breaker(&row)?);
        }
    }
    Ok(found)
}

/// A wallet's breaker, kept from changing until the end of the transaction.
pub(crate) async fn lock_breaker(tx: &mut Tx, wallet: Id<Wallet>) -> Result<BreakerRow, StoreError> {
    let rows = tx.rows_for_update(format!("{BREAKER} WHERE wallet_id = $1"), values![wallet]).await?;
    rows.first().map_or(Ok(BreakerRow::default()), breaker)
}

fn breaker(row: &Row) -> Result<BreakerRow, StoreError> {
    let corrupt = |what: &str| StoreError::Corrupt(format!("breaker's {what}"));
    let small = |column: &str| -> Result<u32, StoreError> {
        u32::try_from(row.get::<i64>(column)?).map_err(|_| corrupt(column))
    };
    let cool_down = u64::try_from(row.get::<i64>("cool_down")?).map_err(|_| corrupt("cool_down"))?;
    let rule = Rule {
        mode: Mode::from_word(&row.get::<String>("mode")?).ok_or_else(|| corrupt("mode"))?,
        minimum: row.money("minimum")?,
        ratio: small("ratio")?,
        deviations: small("deviations")?,
        cool_down: std::time::Duration::from_micros(cool_down),
    };
    let when = |column| row.maybe_time(column).map(Option::unwrap_or_default);
    let amount = |column| row.maybe_money(column).map(Option::unwrap_or_default);
    let (since, until, threshold) = (when("since")?, when("until")?, amount("threshold")?);
    let breaker = match row.get::<String>("state")?.as_str() {
        "closed" => Breaker::Closed,
        "open" => Breaker::Open { since, until, threshold },
        "half_open" => {
            let (from, allowance) = (amount("trial_from")?, amount("allowance")?);
            Breaker::HalfOpen { since, until, threshold, from, allowance }
        }
        _ => return Err(corrupt("state")),
    };
    Ok(BreakerRow { rule, breaker, quiet_until: row.maybe_time("quiet_until")? })
}

/// Writes a wallet's breaker.
pub(crate) async fn save_breaker(tx: &mut Tx, wallet: Id<Wallet>, row: &BreakerRow) -> Result<(), StoreError> {
    let (since, until, threshold, from, allowance) = match row.breaker {
        Breaker::Closed => (None, None, None, None, None),
        Breaker::Open { since, until, threshold } => (Some(since), Some(until), Some(threshold), None, None),
        Breaker::HalfOpen { since, until, threshold, from, allowance } => {
            (Some(since), Some(until), Some(threshold), Some(from), Some(allowance))
        }
    };
    let cool_down = i64::try_from(row.rule.cool_down.as_micros()).unwrap_or(i64::MAX);
    tx.execute(
        "INSERT INTO wallet_breakers (wallet_id, mode, minimum, ratio, deviations, cool_down, state, since, until, threshold,
                                      trial_from, allowance, quiet_until)
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
             ON CONFLICT (wallet_id) DO UPDATE SET mode = excluded.mode, minimum = excluded.minimum, ratio = excluded.ratio,
                deviations = excluded.deviations, cool_down = excluded.cool_down, state = excluded.state,
                since = excluded.since, until = excluded.until, threshold = excluded.threshold,
                trial_from = excluded.trial_from, allowance = excluded.allowance, quiet_until = excluded.quiet_until",
        values![
            wallet,
            row.rule.mode.as_str(),
            row.rule.minimum,
            i64::from(row.rule.ratio),
            i64::from(row.rule.deviations),
            cool_down,
            row.breaker.as_str(),
            since,
            until,
            threshold,
            from,
            allowance,
            row.quiet_until,
        ],
    )
    .await?;
    Ok(())
}

/// Remembers that this allowance was forecast to run out in this window; false if it was told before.
pub(crate) async fn forecast_anew(
    tx: &mut Tx,
    wallet: Id<Wallet>,
    window_start: Timestamp,
    allowance: i64,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let changed = tx
        .execute(
            "INSERT INTO wallet_forecasts (wallet_id, window_start, allowance, at) VALUES ($1, $2, $3, $4)
                 ON CONFLICT (wallet_id) DO UPDATE SET window_start = excluded.window_start, allowance = excluded.allowance,
                                                       at = excluded.at
                  WHERE wallet_forecasts.window_start <> excluded.window_start
                     OR wallet_forecasts.allowance <> excluded.allowance",
            values![wallet, window_start, allowance, at],
        )
        .await?;
    Ok(changed == 1)
}
