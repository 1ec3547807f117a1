//! The plain way on Postgres: a pool of connections, prepared statements, row locks in the order of the ids.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgPool, PgPoolOptions};
use sqlx::{AssertSqlSafe, Row as _};
use tokio::task::JoinSet;

use crate::books::Figures;
use crate::plain::{self, Act, Key};

/// As many as a service would open. More only wait for the same rows.
pub const CONNECTIONS: u32 = 64;

pub struct Plain {
    pool: PgPool,
    chains: Vec<Vec<Key>>,
    calls: AtomicU64,
    wallet: String,
    head: String,
}

impl Plain {
    pub async fn make(url: &str, fan: [usize; 3]) -> Arc<Plain> {
        let pool = PgPoolOptions::new().max_connections(CONNECTIONS).acquire_timeout(Duration::from_secs(60));
        let pool = pool.connect(url).await.expect("a server");
        let schema = plain::SCHEMA.replace("BYTES", "BYTEA");
        let schema = schema.replace("SERIAL_KEY", "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY");
        sqlx::raw_sql(AssertSqlSafe(schema)).execute(&pool).await.expect("tables");
        let (wallets, chains) = plain::tree(fan);
        let mut tx = pool.begin().await.expect("begun");
        for (id, parent) in wallets {
            let (id, parent) = (id.to_vec(), parent.map(|parent| parent.to_vec()));
            let insert = sqlx::query(plain::INSERT_WALLET).bind(&id).bind(plain::ORG.as_slice()).bind(parent);
            insert.bind(plain::LIMIT).execute(&mut *tx).await.expect("a wallet");
            sqlx::query(plain::INSERT_WINDOW).bind(id).bind(plain::WINDOW).execute(&mut *tx).await.expect("a window");
        }
        let head = sqlx::query(plain::INSERT_HEAD).bind(plain::ORG.as_slice()).bind([0_u8; 32].as_slice());
        head.execute(&mut *tx).await.expect("a head");
        tx.commit().await.expect("committed");
        let (wallet, head) = (format!("{} FOR UPDATE", plain::WALLET), format!("{} FOR UPDATE", plain::HEAD));
        Arc::new(Plain { pool, chains, calls: AtomicU64::new(1), wallet, head })
    }

    pub async fn run(self: &Arc<Plain>, callers: usize, span: Duration) -> Figures {
        let from = Instant::now();
        let mut loops = JoinSet::new();
        for caller in 0..callers {
            let plain = self.clone();
            loops.spawn(async move { plain.call_until(caller, callers, from + span).await });
        }
        let mut figures = Figures::default();
        for more in loops.join_all().await {
            figures.merge(&more);
        }
        figures.span = from.elapsed();
        figures
    }

    pub async fn close(&self) {
        self.pool.close().await;
    }

    async fn call_until(&self, caller: usize, callers: usize, until: Instant) -> Figures {
        let mut figures = Figures::default();
        let mut turn = caller;
        while Instant::now() < until {
            let chain = &self.chains[turn % self.chains.len()];
            turn += callers;
            let begun = Instant::now();
            let call = plain::key(2, self.calls.fetch_add(1, Ordering::Relaxed));
            self.act(Act::Reserve, call, chain).await.expect("reserved");
            figures.reserves.add(begun.elapsed());
            self.act(Act::Settle, call, chain).await.expect("settled");
            figures.pairs.add(begun.elapsed());
        }
        figures
    }

    async fn act(&self, act: Act, call: Key, chain: &[Key]) -> Result<(), sqlx::Error> {
        let mut tx = self.pool.begin().await?;
        let db = &mut *tx;
        let (leaf, org, at) = (chain[chain.len() - 1].to_vec(), plain::ORG.to_vec(), plain::WINDOW);
        let call_id = call.to_vec();
        let held: i64 = match act {
            Act::Reserve => 0,
            Act::Settle => sqlx::query(plain::FIND_HOLD).bind(&call_id).fetch_one(&mut *db).await?.try_get(0)?,
        };
        let (spent, more) = act.moves(held);
        for wallet in chain {
            let find = sqlx::query(AssertSqlSafe(self.wallet.clone())).bind(wallet.as_slice()).bind(plain::WINDOW);
            let row = find.fetch_one(&mut *db).await?;
            let used = row.try_get::<i64, _>(2)? + row.try_get::<i64, _>(3)?;
            let fits = used + spent + more <= row.try_get::<i64, _>(1)?;
            assert!(row.try_get::<&str, _>(0)? == "active" && fits, "there is money");
            let change = sqlx::query(plain::MOVE).bind(spent).bind(more).bind(wallet.as_slice());
            change.bind(plain::WINDOW).execute(&mut *db).await?;
        }
        match act {
            Act::Reserve => {
                let hold = sqlx::query(plain::HOLD).bind(&call_id).bind(&org).bind(&leaf).bind(&leaf).bind(plain::LEGS);
                let hold = hold.bind(plain::PRICE).bind(plain::PRICE).bind(&org).bind(at).bind(at).bind(plain::RECORD);
                hold.execute(&mut *db).await?;
            }
            Act::Settle => {
                sqlx::query(plain::DROP_HOLD).bind(&call_id).execute(&mut *db).await?;
                let receipt = sqlx::query(plain::RECEIPT).bind(&call_id).bind(&org).bind(&leaf).bind(&leaf).bind(at);
                let receipt = receipt.bind(plain::PRICE).bind(plain::PRICE).bind(held);
                receipt.bind(plain::LEGS).bind(plain::RECORD).execute(&mut *db).await?;
            }
        }
        let line = sqlx::query(plain::JOURNAL).bind(&call_id).bind(at).bind(act.kind()).bind(&leaf).bind(plain::LEGS);
        line.bind(&call_id).bind(more).bind(spent).execute(&mut *db).await?;
        let row = sqlx::query(AssertSqlSafe(self.head.clone())).bind(&org).fetch_one(&mut *db).await?;
        let (seq, previous) = (row.try_get::<i64, _>(0)? + 1, row.try_get::<Vec<u8>, _>(1)?);
        let (entry, hash) = act.entry(call, seq, &previous);
        let audit = sqlx::query(plain::AUDIT).bind(&org).bind(seq).bind(at).bind(act.kind()).bind(entry);
        audit.bind(previous).bind(&hash).execute(&mut *db).await?;
        sqlx::query(plain::MOVE_HEAD).bind(seq).bind(hash).bind(&org).execute(&mut *db).await?;
        tx.commit().await
    }
}
