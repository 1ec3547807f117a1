//! The outbox: alerts as they are read, and their way out. Delivery is at least once: a row is claimed by moving it on, sent,
//! and marked; whoever dies in between leaves it to become due again.

use std::collections::HashMap;
use std::time::Duration;

use super::{Database, Row, Tx, Value, audit, values};
use crate::alert::AlertRow;
use crate::audit::{Actor, Entry};
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::id::{Alert, Id, Org, Wallet};
use crate::ledger::Ledger;
use crate::tenants::{Mark, Page, TenantError, kind};

/// Where the delivery of an alert to one sink stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// It is tried, or tried again, when its time has come.
    Pending,
    Delivered,
    /// It was tried for the last time.
    Failed,
}

impl DeliveryState {
    /// Every one of them.
    pub const ALL: [DeliveryState; 3] = [DeliveryState::Pending, DeliveryState::Delivered, DeliveryState::Failed];

    /// The word for it in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            DeliveryState::Pending => "pending",
            DeliveryState::Delivered => "delivered",
            DeliveryState::Failed => "failed",
        }
    }

    /// The one that is called `word`.
    pub fn from_word(word: &str) -> Option<DeliveryState> {
        DeliveryState::ALL.into_iter().find(|state| state.as_str() == word)
    }
}

/// The delivery of an alert to one sink.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    pub sink: String,
    pub state: DeliveryState,
    pub attempts: i64,
    /// When it is tried next, if it is.
    pub next_at: Option<Timestamp>,
    /// What went wrong last.
    pub last_error: Option<String>,
    pub delivered_at: Option<Timestamp>,
}

/// An alert and where it went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListedAlert {
    pub alert: AlertRow,
    pub deliveries: Vec<Delivery>,
}

impl ListedAlert {
    /// Its place in a list.
    pub fn mark(&self) -> Mark {
        Mark { at: self.alert.at, id: self.alert.id.to_string() }
    }
}

/// Which alerts to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AlertFilter {
    pub org: Option<Id<Org>>,
    pub wallet: Option<Id<Wallet>>,
    pub kind: Option<String>,
    /// Those with a delivery that stands so.
    pub state: Option<DeliveryState>,
}

/// A delivery that was claimed: nobody else tries it until its lease is over.
#[derive(Debug, Clone)]
pub struct Due {
    pub alert: AlertRow,
    /// Which attempt this is, from 1.
    pub attempt: i64,
}

/// Alerts, for reading and for delivering.
#[derive(Clone, Copy)]
pub struct Outbox<'a> {
    ledger: &'a Ledger,
}

impl Ledger {
    /// Alerts, for reading and for delivering.
    pub fn outbox(&self) -> Outbox<'_> {
        Outbox { ledger: self }
    }
}

const ALERT: &str = "SELECT a.id, a.at, a.org_id, a.wallet_id, a.kind, a.content";
/// So many alerts are routed in one transaction.
const ROUTED_AT_ONCE: i64 = 100;

impl Outbox<'_> {
    fn db(&self) -> &Database {
        self.ledger.database()
    }

    fn now(&self) -> Timestamp {
        self.ledger.clock().now()
    }

    /// Makes a delivery for each sink that a new alert is for; says how many alerts were looked at. One that is for nobody
    /// is not looked at again.
    pub async fn route(&self, whom: impl Fn(&AlertRow) -> Vec<String>) -> Result<usize, StoreError> {
        let sql = format!("{ALERT} FROM alerts a WHERE a.routed = 0 ORDER BY a.at, a.id LIMIT $1");
        let alerts: Vec<AlertRow> =
            self.db().rows(sql, values![ROUTED_AT_ONCE]).await?.iter().map(read).collect::<Result<_, _>>()?;
        if alerts.is_empty() {
            return Ok(0);
        }
        let now = self.now();
        let mut tx = self.db().begin().await?;
        for alert in &alerts {
            for sink in whom(alert) {
                // Another process may be at it as well: each delivery is made once.
                tx.execute(
                    "INSERT INTO alert_deliveries (alert_id, sink, state, attempts, next_at)
                     VALUES ($1, $2, 'pending', 0, $3) ON CONFLICT (alert_id, sink) DO NOTHING",
                    values![alert.id, sink, now],
                )
                .await?;
            }
            tx.execute("UPDATE alerts SET routed = 1 WHERE id = $1", values![alert.id]).await?;
        }
        tx.commit().await?;
        Ok(alerts.len())
    }

    /// Claims what is due for a sink. A claim that is neither delivered nor missed within `lease` is due again.
    pub async fn claim(&self, sink: &str, most: u32, lease: Duration) -> Result<Vec<Due>, StoreError> {
        let now = self.now();
        let sql = format!(
            "{ALERT}, d.attempts, d.next_at FROM alert_deliveries d JOIN alerts a ON a.id = d.alert_id
              WHERE d.sink = $1 AND d.state = 'pending' AND d.next_at <= $2 ORDER BY d.next_at LIMIT $3"
        );
        let rows = self.db().rows(sql, values![sink, now, i64::from(most)]).await?;
        if rows.is_empty() {
            return Ok(Vec::new());
        }
        let mut due = Vec::with_capacity(rows.len());
        let mut tx = self.db().begin().await?;
        for row in &rows {
            let (alert, attempts, next_at) = (read(row)?, row.get::<i64>("attempts")?, row.time("next_at")?);
            // Whoever moves it first has it.
            let moved = tx
                .execute(
                    "UPDATE alert_deliveries SET attempts = $3, next_at = $4
                      WHERE alert_id = $1 AND sink = $2 AND state = 'pending' AND attempts = $3 - 1 AND next_at = $5",
                    values![alert.id, sink, attempts + 1, now.after(lease), next_at],
                )
                .await?;
            if moved == 1 {
                due.push(Due { alert, attempt: attempts + 1 });
            }
        }
        tx.commit().await?;
        Ok(due)
    }

    /// It arrived.
    pub async fn delivered(&self, sink: &str, due: &Due) -> Result<(), StoreError> {
        let mut tx = self.db().begin().await?;
        tx.execute(
            "UPDATE alert_deliveries SET state = 'delivered', delivered_at = $3, last_error = NULL
              WHERE alert_id = $1 AND sink = $2",
            values![due.alert.id, sink, self.now()],
        )
        .await?;
        tx.commit().await
    }

    /// It did not arrive: it is tried again at `again`, or never. Giving up is written into the audit log.
    pub async fn missed(&self, sink: &str, due: &Due, error: &str, again: Option<Timestamp>) -> Result<(), StoreError> {
        let state = if again.is_some() { DeliveryState::Pending } else { DeliveryState::Failed };
        let now = self.now();
        let mut tx = self.db().begin().await?;
        // Unless somebody claimed it since, because this took longer than its lease.
        let marked = tx
            .execute(
                "UPDATE alert_deliveries SET state = $4, last_error = $5, next_at = $6
                  WHERE alert_id = $1 AND sink = $2 AND state = 'pending' AND attempts = $3",
                values![due.alert.id, sink, due.attempt, state.as_str(), error, again.unwrap_or(now)],
            )
            .await?;
        if marked == 1 && again.is_none() {
            let entry = Entry::new(Some(due.alert.org), kind::ALERT_FAILED, Actor::System)
                .with("alert_id", due.alert.id)
                .with("wallet_id", due.alert.wallet)
                .with("sink", sink)
                .with("attempts", due.attempt);
            audit::append(&mut tx, now, &[entry]).await?;
        }
        tx.commit().await
    }

    /// Deliveries that wait, and those that were given up.
    pub async fn backlog(&self) -> Result<(i64, i64), StoreError> {
        let row = self
            .db()
            .row(
                "SELECT (SELECT COUNT(*) FROM alert_deliveries WHERE state = 'pending') AS pending,
                        (SELECT COUNT(*) FROM alert_deliveries WHERE state = 'failed') AS failed",
                values![],
            )
            .await?;
        row.map_or(Ok((0, 0)), |row| Ok((row.get("pending")?, row.get("failed")?)))
    }

    /// Alerts, oldest first, with their deliveries.
    pub async fn list(&self, filter: &AlertFilter, page: &Page) -> Result<Vec<ListedAlert>, StoreError> {
        let (at, id) = page.start();
        let mut parameters = values![at, id, i64::from(page.limit)];
        let mut filtered = String::new();
        let members = [
            ("a.org_id =", filter.org.map(|id| id.to_string())),
            ("a.wallet_id =", filter.wallet.map(|id| id.to_string())),
            ("a.kind =", filter.kind.clone()),
            (
                "(SELECT COUNT(*) FROM alert_deliveries d WHERE d.alert_id = a.id AND d.state = $) > 0",
                filter.state.map(|state| state.as_str().to_owned()),
            ),
        ];
        for (condition, value) in members {
            let Some(value) = value else { continue };
            parameters.push(Value::from(value));
            let place = format!("${}", parameters.len());
            filtered.push_str(" AND ");
            filtered.push_str(&match condition.contains('$') {
                true => condition.replace('$', &place),
                false => format!("{condition} {place}"),
            });
        }
        let sql = format!("{ALERT} FROM alerts a WHERE (a.at, a.id) > ($1, $2){filtered} ORDER BY a.at, a.id LIMIT $3");
        let alerts: Vec<AlertRow> =
            self.db().rows(sql, parameters).await?.iter().map(read).collect::<Result<_, _>>()?;
        let mut deliveries = self.deliveries(&alerts).await?;
        let with =
            |alert: AlertRow| ListedAlert { deliveries: deliveries.remove(&alert.id).unwrap_or_default(), alert };
        Ok(alerts.into_iter().map(with).collect())
    }

    async fn deliveries(&self, alerts: &[AlertRow]) -> Result<HashMap<Id<Alert>, Vec<Delivery>>, StoreError> {
        let mut found: HashMap<Id<Alert>, Vec<Delivery>> = HashMap::new();
        for alerts in alerts.chunks(200) {
            let places = (1..=alerts.len()).map(|i| format!("${i}")).collect::<Vec<_>>().join(", ");
            let sql = format!(
                "SELECT alert_id, sink, state, attempts, next_at, last_error, delivered_at FROM alert_deliveries
                  WHERE alert_id IN ({places}) ORDER BY alert_id, sink"
            );
            for row in self.db().rows(sql, alerts.iter().map(|alert| Value::from(alert.id)).collect()).await? {
                found.entry(row.id("alert_id")?).or_default().push(delivery(&row)?);
            }
        }
        Ok(found)
    }

    /// Delivers an alert anew to a sink, or to all that it went to; those that the configuration has new get it too.
    pub async fn redeliver(
        &self,
        id: Id<Alert>,
        sink: Option<&str>,
        actor: &Actor,
    ) -> Result<ListedAlert, TenantError> {
        let mut tx = self.db().begin().await?;
        let alert = lock(&mut tx, id).await?.ok_or_else(|| TenantError::Unknown(id.to_string()))?;
        let now = self.now();
        let again = "UPDATE alert_deliveries SET state = 'pending', attempts = 0, next_at = $2, delivered_at = NULL
                      WHERE alert_id = $1";
        let again = match sink {
            Some(sink) => tx.execute(format!("{again} AND sink = $3"), values![id, now, sink]).await?,
            None => tx.execute(again, values![id, now]).await?,
        };
        if let (Some(sink), 0) = (sink, again) {
            let message = format!("names {sink}, to which this alert never went");
            return Err(TenantError::Invalid { field: "sink", message });
        }
        if sink.is_none() {
            tx.execute("UPDATE alerts SET routed = 0 WHERE id = $1", values![id]).await?;
        }
        let entry = Entry::new(Some(alert.org), kind::ALERT_REDELIVERED, *actor)
            .with("alert_id", id)
            .with("wallet_id", alert.wallet)
            .with("sink", sink);
        audit::append(&mut tx, now, &[entry]).await?;
        tx.commit().await.map_err(TenantError::from)?;
        let mut deliveries = self.deliveries(std::slice::from_ref(&alert)).await?;
        Ok(ListedAlert { deliveries: deliveries.remove(&id).unwrap_or_default(), alert })
    }
}

async fn lock(tx: &mut Tx, id: Id<Alert>) -> Result<Option<AlertRow>, StoreError> {
    let rows = tx.rows_for_update(format!("{ALERT} FROM alerts a WHERE a.id = $1"), values![id]).await?;
    rows.first().map(read).transpose()
}

/// Writes an alert in the transaction of what it tells of. What was told before is not told again.
pub(crate) async fn insert(tx: &mut Tx, alert: &AlertRow) -> Result<(), StoreError> {
    tx.execute(
        "INSERT INTO alerts (id, at, org_id, wallet_id, kind, content) VALUES ($1, $2, $3, $4, $5, $6)
             ON CONFLICT (id) DO NOTHING",
        values![alert.id, alert.at, alert.org, alert.wallet, &alert.kind, &alert.content],
    )
    .await?;
    Ok(())
}

fn read(row: &Row) -> Result<AlertRow, StoreError> {
    Ok(AlertRow {
        id: row.id("id")?,
        at: row.time("at")?,
        org: row.id("org_id")?,
        wallet: row.maybe_id("wallet_id")?,
        kind: row.get("kind")?,
        content: row.get("content")?,
    })
}

fn delivery(row: &Row) -> Result<Delivery, StoreError> {
    let state: String = row.get("state")?;
    let state = DeliveryState::from_word(&state).ok_or_else(|| StoreError::Corrupt(format!("delivery {state:?}")))?;
    Ok(Delivery {
        sink: row.get("sink")?,
        state,
        attempts: row.get("attempts")?,
        next_at: (state == DeliveryState::Pending).then_some(row.time("next_at")?),
        last_error: row.get("last_error")?,
        delivered_at: row.maybe_time("delivered_at")?,
    })
}
