//! Watching how wallets spend, beside the hot path: every ten seconds the totals are read, and what changed is kept in
//! buckets of five minutes. From them follow what breakers do and what is forecast. One process of an installation watches.
//!
//! The pause is at least twenty times what a look took, so that an installation of any size gives at most a twentieth of one
//! connection to it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::alert::{self, AlertRow};
use crate::audit::{Actor, Entry};
use crate::clock::{Clock, Timestamp};
use crate::error::StoreError;
use crate::forecast;
use crate::id::{Id, Instance, Wallet};
use crate::money::Money;
use crate::pace::{self, Breaker, Mode, Point, Rule, Step, Verdict};
use crate::store::pace::{self as rows, BreakerRow};
use crate::store::tenants::{self as wallets, Change};
use crate::store::{Database, journal, outbox};
use crate::tenants::{WalletRow, WalletStatus, kind};

const LEASE: &str = "pace";
const LOOK: Duration = Duration::from_secs(10);
const LEASE_AT_LEAST: Duration = Duration::from_secs(30);

/// What one process remembers of the wallets that it watches.
pub(crate) struct Watch {
    database: Database,
    clock: Clock,
    instance: Id<Instance>,
    seen: tokio::sync::Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    /// None, until the samples of whoever watched before were read.
    wallets: Option<HashMap<Id<Wallet>, Recent>>,
    /// When somebody looked last.
    last: Option<Timestamp>,
    /// The bucket in which old samples were removed and forecasts made.
    swept: Option<Timestamp>,
}

/// The last few points of a wallet, and its threshold as it was computed last.
#[derive(Default)]
struct Recent {
    points: Vec<Point>,
    threshold: Option<(Timestamp, Rule, Option<Money>)>,
}

impl Watch {
    pub fn new(database: Database, clock: Clock, instance: Id<Instance>) -> Watch {
        Watch { database, clock, instance, seen: tokio::sync::Mutex::default() }
    }

    /// Watches until it is told to stop.
    pub async fn keep(&self, stop: CancellationToken) {
        let mut wait = LOOK;
        while crate::life::pause(&stop, wait).await {
            let began = Instant::now();
            tokio::select! {
                () = stop.cancelled() => return,
                looked = self.look(wait) => {
                    if let Err(error) = looked {
                        tracing::warn!(%error, "spending cannot be watched for now");
                    }
                }
            }
            wait = LOOK.max(began.elapsed() * 20);
        }
    }

    /// Looks once, if no other process does.
    pub async fn look(&self, wait: Duration) -> Result<(), StoreError> {
        let mut seen = self.seen.lock().await;
        let looked = self.look_at(&mut seen, wait).await;
        if looked.is_err() {
            *seen = Seen::default(); // what is in the database counts
        }
        looked
    }

    async fn look_at(&self, seen: &mut Seen, wait: Duration) -> Result<(), StoreError> {
        let (db, now) = (&self.database, self.clock.now());
        if seen.wallets.is_none() {
            seen.last = rows::done_at(db, LEASE).await?;
        }
        let lease = i64::try_from((wait * 3).max(LEASE_AT_LEAST).as_micros()).unwrap_or(i64::MAX);
        if !rows::lease(db, LEASE, self.instance, lease, seen.last).await? {
            *seen = Seen::default();
            return Ok(());
        }
        let span = pace::span_start(now);
        let mut wallets = match seen.wallets.take() {
            Some(wallets) => wallets,
            None => {
                let latest = rows::latest(db, span).await?;
                latest.into_iter().map(|(wallet, points)| (wallet, Recent { points, threshold: None })).collect()
            }
        };
        // What gathered while nobody looked came at any time since: it is no spending of this bucket.
        let gap = seen.last.is_some_and(|last| now.since(last) > 2 * pace::BUCKET);
        let (mut changed, mut known) = (Vec::new(), Vec::new());
        for (wallet, total) in rows::totals(db).await? {
            let recent = wallets.entry(wallet).or_default();
            let begins = recent.points.is_empty();
            if let Some(point) = recent.take(total, now, gap) {
                changed.push((wallet, point));
            }
            if !begins {
                known.push((wallet, total));
            }
        }
        rows::save(db, &changed).await?;
        self.mind_breakers(&mut wallets, &known, now).await?;
        let bucket = pace::bucket(now);
        if seen.swept != Some(bucket) {
            self.forecast(&wallets, now).await?;
            let kept = now.micros().saturating_sub(i64::try_from(pace::KEPT.as_micros()).unwrap_or(i64::MAX));
            while rows::forget(db, Timestamp::from_micros(kept)).await? {}
            seen.swept = Some(bucket);
        }
        seen.last = Some(now);
        seen.wallets = Some(wallets);
        Ok(())
    }

    async fn mind_breakers(
        &self,
        wallets: &mut HashMap<Id<Wallet>, Recent>,
        totals: &[(Id<Wallet>, Money)],
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let breakers = rows::breakers(&self.database).await?;
        for (wallet, total) in totals {
            let row = breakers.get(wallet).copied().unwrap_or_default();
            let Some(recent) = wallets.get_mut(wallet) else { continue };
            let verdict = match (row.breaker, row.rule.mode) {
                (Breaker::Closed, Mode::Alert | Mode::Suspend) => self.judge(*wallet, recent, &row.rule, now).await?,
                _ => Verdict::Unknown,
            };
            let step = pace::step(&row.rule, &row.breaker, row.quiet_until, now, *total, verdict);
            if let Some(step) = step
                && self.carry_out(*wallet, &row, step, now).await?
                && matches!(step, Step::Trip { .. })
            {
                recent.leave_out(now);
            }
        }
        Ok(())
    }

    /// Holds the running span against a history that is read once a bucket, and only where there is something to judge.
    async fn judge(
        &self,
        wallet: Id<Wallet>,
        recent: &mut Recent,
        rule: &Rule,
        now: Timestamp,
    ) -> Result<Verdict, StoreError> {
        let spent = pace::recent(&recent.points, now);
        if spent <= rule.minimum {
            return Ok(Verdict::Unknown);
        }
        let bucket = pace::bucket(now);
        let threshold = match recent.threshold {
            Some((of, by, threshold)) if of == bucket && by == *rule => threshold,
            _ => pace::threshold(&rows::history(&self.database, wallet).await?, now, rule),
        };
        recent.threshold = Some((bucket, *rule, threshold));
        Ok(pace::judge(spent, threshold))
    }

    /// Does what a breaker does, with its audit entry and its alert, in one transaction. False if things had moved on.
    async fn carry_out(
        &self,
        id: Id<Wallet>,
        seen: &BreakerRow,
        step: Step,
        now: Timestamp,
    ) -> Result<bool, StoreError> {
        let mut change = Change::begin(&self.database).await?;
        let tx = &mut change.tx;
        let Some(wallet) = wallets::lock_wallet(tx, id).await? else { return Ok(false) };
        if rows::lock_breaker(tx, id).await? != *seen {
            return Ok(false);
        }
        let expected = match step {
            Step::Try { .. } => WalletStatus::Suspended,
            Step::Tell { .. } | Step::Trip { .. } | Step::Close => WalletStatus::Active,
        };
        let mut row = *seen;
        let entry = |kind| Entry::new(Some(wallet.org), kind, Actor::System).with("wallet_id", id);
        if wallet.status != expected {
            if seen.breaker == Breaker::Closed {
                return Ok(false); // suspended already, by somebody else
            }
            row.breaker = Breaker::Closed;
            rows::save_breaker(tx, id, &row).await?;
            let entry =
                entry(kind::BREAKER_CLOSED).with("was", seen.breaker.as_str()).with("status", wallet.status.as_str());
            change.commit(now, &[entry]).await?;
            return Ok(false);
        }
        let mut status = wallet.status;
        let mut told = None;
        let entry = match step {
            Step::Tell { spent, threshold } => {
                row.quiet_until = Some(now.after(seen.rule.cool_down));
                told = Some(json!({"state": "closed", "spent_usd": spent, "threshold_usd": threshold, "minutes": 15}));
                entry(kind::BREAKER_SPIKE).with("spent_usd", spent).with("threshold_usd", threshold)
            }
            Step::Trip { spent, threshold, to } => {
                (row.breaker, status) = (to, WalletStatus::Suspended);
                rows::leave_out(tx, id, pace::span_start(now), true).await?;
                let until = until(&to).map(|at| at.to_string());
                told = Some(json!({"state": "open", "spent_usd": spent, "threshold_usd": threshold, "minutes": 15,
                    "until": until}));
                entry(kind::BREAKER_OPENED)
                    .with("suspended_by", "breaker")
                    .with("was", seen.breaker.as_str())
                    .with("spent_usd", spent)
                    .with("threshold_usd", threshold)
                    .with("until", until)
            }
            Step::Try { to } => {
                (row.breaker, status) = (to, WalletStatus::Active);
                let Breaker::HalfOpen { allowance, .. } = to else { return Ok(false) };
                entry(kind::BREAKER_HALF_OPENED)
                    .with("allowance_usd", allowance)
                    .with("until", until(&to).map(|at| at.to_string()))
            }
            Step::Close => {
                row.breaker = Breaker::Closed;
                entry(kind::BREAKER_CLOSED).with("was", seen.breaker.as_str())
            }
        };
        rows::save_breaker(tx, id, &row).await?;
        if status != wallet.status {
            wallets::update_wallet(tx, &WalletRow { status, ..wallet.clone() }).await?;
        }
        if let Some(content) = told {
            let about = format!("{} {id} {}", alert::BREAKER, now.micros());
            outbox::insert(tx, &self.row(&about, &wallet, alert::BREAKER, &content, now)).await?;
        }
        change.commit(now, &[entry]).await?;
        Ok(true)
    }

    /// Tells, once a window and allowance, of limits that will be reached before their windows end.
    async fn forecast(&self, recent: &HashMap<Id<Wallet>, Recent>, now: Timestamp) -> Result<(), StoreError> {
        let db = &self.database;
        let spending: Vec<Id<Wallet>> = recent
            .iter()
            .filter(|(_, recent)| pace::recent(&recent.points, now) > Money::ZERO)
            .map(|(wallet, _)| *wallet)
            .collect();
        for (id, standing) in journal::standings(db, &spending, now).await? {
            let Some(available) = standing.available.filter(|available| *available > Money::ZERO) else { continue };
            let ends = standing.resets_at.unwrap_or_else(|| now.after(forecast::HORIZON));
            let points = rows::history(db, id).await?;
            let Some(at) = forecast::run_out(&points, now, available, ends) else { continue };
            let Some(wallet) = wallets::get::<WalletRow>(db, id.to_string()).await? else { continue };
            let allowance = wallet.hard_limit.unwrap_or_default().nanos().saturating_add(wallet.funded.nanos());
            let mut tx = db.begin().await?;
            if rows::forecast_anew(&mut tx, id, standing.window_start, allowance, now).await? {
                let content = json!({
                    "available_usd": available, "spent_usd": standing.spent, "held_usd": standing.held,
                    "runs_out_at": at, "resets_at": standing.resets_at,
                });
                let about = format!("{} {id} {} {allowance}", alert::FORECAST, standing.window_start.micros());
                outbox::insert(&mut tx, &self.row(&about, &wallet, alert::FORECAST, &content, now)).await?;
                tx.commit().await?;
            }
        }
        Ok(())
    }

    fn row(&self, about: &str, wallet: &WalletRow, kind: &str, content: &serde_json::Value, at: Timestamp) -> AlertRow {
        AlertRow {
            id: alert::about(about),
            at,
            org: wallet.org,
            wallet: Some(wallet.id),
            kind: kind.to_owned(),
            content: content.to_string(),
        }
    }
}

fn until(breaker: &Breaker) -> Option<Timestamp> {
    match *breaker {
        Breaker::Closed => None,
        Breaker::Open { until, .. } | Breaker::HalfOpen { until, .. } => Some(until),
    }
}

impl Recent {
    /// Takes a sample; gives the point to be saved, if anything changed.
    fn take(&mut self, total: Money, now: Timestamp, gap: bool) -> Option<Point> {
        let bucket = pace::bucket(now);
        let changed = match self.points.last_mut() {
            None => {
                // Where counting begins: what comes within this bucket counts already.
                let before = Timestamp::from_micros(bucket.micros() - 1);
                Some(Point { bucket: pace::bucket(before), total, left_out: false })
            }
            Some(last) if last.total == total => None,
            Some(last) if last.bucket >= bucket => {
                last.total = total;
                return Some(*last);
            }
            Some(_) => Some(Point { bucket, total, left_out: gap }),
        };
        self.points.extend(changed);
        let span = pace::span_start(now);
        // One before the span is what the first one in it is measured from.
        let stale = self.points.iter().take_while(|point| point.bucket < span).count().saturating_sub(1);
        self.points.drain(..stale);
        changed
    }

    fn leave_out(&mut self, now: Timestamp) {
        let span = pace::span_start(now);
        for point in self.points.iter_mut().filter(|point| point.bucket >= span) {
            point.left_out = true;
        }
    }
}
