//! A ledger to test: on a database of its own, with a clock that is moved by hand, and people who may spend.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ledger::{
    Actor, Attributes, Call, CallRecord, Charge, Clock, Entropy, Fund, Funding, Hold, Id, Key, Ledger, Money, NewKey,
    NewOrg, NewWallet, Options, Order, Org, Receipt, Release, ReserveError, Reserved, Timestamp, Wallet, WalletKind,
    Window,
};
use sqlx::{AssertSqlSafe, PgPool, SqlitePool};

use crate::postgres;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum On {
    Sqlite,
    Postgres,
}

/// Writes the tests of a module twice, once for each database.
macro_rules! on_both_databases {
    ($($name:ident),* $(,)?) => {
        mod sqlite { $(#[test] fn $name() { crate::world::run(crate::world::On::Sqlite, stringify!($name), super::$name); })* }
        mod postgres { $(#[test] fn $name() { crate::world::run(crate::world::On::Postgres, stringify!($name), super::$name); })* }
    };
}
pub(crate) use on_both_databases;

pub fn run<F: Future<Output = ()>>(on: On, name: &str, test: impl FnOnce(World) -> F) {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let world = World::new(on, name).await;
        let ledger = world.ledger.clone();
        test(world).await;
        ledger.close().await;
    });
}

pub struct World {
    pub on: On,
    pub url: String,
    pub clock: Clock,
    pub ledger: Ledger,
    pub raw: Raw,
    _folder: Arc<tempfile::TempDir>,
}

/// The database behind the ledger's back.
pub enum Raw {
    Sqlite(SqlitePool),
    Postgres(PgPool),
}

/// 2026-03-11 12:00, a Wednesday.
pub const NOON: Timestamp = Timestamp::from_micros(1_773_230_400_000_000);

impl World {
    async fn new(on: On, name: &str) -> World {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::SeqCst);
        let folder = Arc::new(tempfile::tempdir().expect("a folder"));
        let url = match on {
            On::Sqlite => format!("sqlite://{}", folder.path().join("data/alfred.db").display()),
            On::Postgres => postgres::fresh_database(&format!("{count}")).await,
        };
        let clock = Clock::by_hand(NOON);
        let ledger =
            Ledger::open(options(&url, &clock, count + 1)).await.unwrap_or_else(|error| panic!("{name}: {error:?}"));
        let raw = match on {
            On::Sqlite => Raw::Sqlite(SqlitePool::connect(&url).await.expect("sqlite")),
            On::Postgres => Raw::Postgres(
                sqlx::postgres::PgPoolOptions::new().max_connections(2).connect(&url).await.expect("postgres"),
            ),
        };
        World { on, url, clock, ledger, raw, _folder: folder }
    }

    /// One more process on the same database.
    pub async fn another(&self, seed: u64) -> Ledger {
        Ledger::open(options(&self.url, &self.clock, seed)).await.expect("a second ledger")
    }

    pub async fn org(&self) -> Id<Org> {
        let id = self.ledger.new_id();
        self.ledger
            .tenants()
            .create_org(NewOrg { id, name: "org".into(), attributes: Attributes::new() }, &Actor::System)
            .await
            .expect("an org");
        id
    }

    pub async fn wallet(&self, org: Id<Org>, terms: Terms) -> Id<Wallet> {
        let id = self.ledger.new_id();
        let new = NewWallet {
            parent: terms.parent,
            hard_limit: terms.hard.map(usd),
            soft_limit: terms.soft.map(usd),
            window: terms.window,
            funding: if terms.prepaid { Funding::Prepaid } else { Funding::Budget },
            ..NewWallet::new(id, org, "wallet", WalletKind::Project)
        };
        self.ledger.tenants().create_wallet(new, &Actor::System).await.expect("a wallet");
        id
    }

    /// A wallet at the end of a chain of four, the root first.
    pub async fn chain(&self, org: Id<Org>, terms: [Terms; 4]) -> [Id<Wallet>; 4] {
        let mut chain = Vec::new();
        for level in terms {
            chain.push(self.wallet(org, Terms { parent: chain.last().copied(), ..level }).await);
        }
        chain.try_into().expect("four")
    }

    pub async fn key(&self, wallet: Id<Wallet>) -> Id<Key> {
        let id = self.ledger.new_id();
        let new = NewKey::new(id, "key", wallet);
        self.ledger.tenants().create_key(new, &Actor::System).await.expect("a key");
        id
    }

    /// Somebody with a wallet of their own and a key on it.
    pub async fn spender(&self, terms: Terms) -> Spender {
        let org = self.org().await;
        let wallet = self.wallet(org, terms).await;
        Spender { org, wallet, key: self.key(wallet).await }
    }

    pub fn order(&self, who: &Spender, amount: &str) -> Order {
        Order {
            call: self.ledger.new_id(),
            org: who.org,
            key: who.key,
            wallet: who.wallet,
            amount: usd(amount),
            estimate: None,
            patient: false,
            downgraded: false,
            extra: Vec::new(),
            expires_at: self.clock.now().after(Duration::from_secs(660)),
            claim: None,
            record: CallRecord { kind: "chat.completions".into(), model: "gpt-4o".into(), ..CallRecord::default() },
        }
    }

    pub async fn reserve(&self, who: &Spender, amount: &str) -> Result<Hold, ReserveError> {
        hold(self.ledger.reserve(self.order(who, amount)).await)
    }

    pub async fn settle(&self, hold: Hold, price: &str) -> Receipt {
        self.ledger.settle(hold, charge(price)).await.expect("settled")
    }

    pub async fn fund(&self, wallet: Id<Wallet>, amount: &str, reference: &str) -> Result<(), ledger::FundError> {
        let (source, reference) = ("card".to_owned(), reference.to_owned());
        self.ledger.fund(Fund { wallet, amount: usd(amount), source, reference, actor: Actor::System }).await
    }

    /// Spent and held of the current window, in US dollars.
    pub async fn used(&self, wallet: Id<Wallet>) -> (String, String) {
        let standing = self.ledger.standings(&[wallet]).await.expect("standings")[&wallet];
        (standing.spent.to_string(), standing.held.to_string())
    }

    pub async fn available(&self, wallet: Id<Wallet>) -> Option<String> {
        self.ledger.standings(&[wallet]).await.expect("standings")[&wallet].available.map(|money| money.to_string())
    }

    /// A single number from the database itself.
    pub async fn count(&self, sql: &str) -> i64 {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.raw {
            Raw::Sqlite(pool) => sqlx::query_scalar(sql).fetch_one(pool).await.expect("a number"),
            Raw::Postgres(pool) => sqlx::query_scalar(sql).fetch_one(pool).await.expect("a number"),
        }
    }

    /// Pairs of a text and a number from the database itself.
    pub async fn pairs(&self, sql: &str) -> Vec<(String, i64)> {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.raw {
            Raw::Sqlite(pool) => sqlx::query_as(sql).fetch_all(pool).await.expect("pairs"),
            Raw::Postgres(pool) => sqlx::query_as(sql).fetch_all(pool).await.expect("pairs"),
        }
    }

    /// Changes the database behind the ledger's back, or says why that was refused.
    pub async fn meddle(&self, sql: &str) -> Result<(), String> {
        let sql = AssertSqlSafe(sql.to_owned());
        match &self.raw {
            Raw::Sqlite(pool) => sqlx::query(sql).execute(pool).await.map(drop),
            Raw::Postgres(pool) => sqlx::query(sql).execute(pool).await.map(drop),
        }
        .map_err(|error| error.to_string())
    }

    /// The whole export of an organisation, as a file.
    pub async fn export(&self, org: Option<Id<Org>>) -> String {
        let mut export = self.ledger.trail().export(org).await.expect("an export");
        let mut file = String::new();
        while let Some(lines) = export.next().await.expect("a page") {
            for line in lines {
                file.push_str(&line);
                file.push('\n');
            }
        }
        file
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub struct Terms {
    pub hard: Option<&'static str>,
    pub soft: Option<&'static str>,
    pub window: Window,
    pub prepaid: bool,
    pub parent: Option<Id<Wallet>>,
}

pub fn limit(hard: &'static str) -> Terms {
    Terms { hard: Some(hard), ..Terms::default() }
}

#[derive(Debug, Clone, Copy)]
pub struct Spender {
    pub org: Id<Org>,
    pub wallet: Id<Wallet>,
    pub key: Id<Key>,
}

pub fn options(url: &str, clock: &Clock, seed: u64) -> Options {
    Options { clock: clock.clone(), entropy: Entropy::seeded(seed), ..Options::new(url) }
}

pub fn usd(text: &str) -> Money {
    text.parse().expect(text)
}

pub fn charge(price: &str) -> Charge {
    let record = CallRecord {
        kind: "chat.completions".into(),
        model: "gpt-4o".into(),
        target: Some("openai/gpt-4o".into()),
        routing: "first of the alias".into(),
        ending: "finished".into(),
        ..CallRecord::default()
    };
    Charge { cost: usd(price), price: usd(price), record }
}

pub fn release(reason: &str) -> Release {
    Release { reason: reason.into(), cost: Money::ZERO, record: CallRecord::default() }
}

pub fn hold(reserved: Result<Reserved, ReserveError>) -> Result<Hold, ReserveError> {
    match reserved? {
        Reserved::New(hold) => Ok(hold),
        Reserved::Replay(first) => panic!("a replay of {first}"),
    }
}

/// A call's id in the receipts, whatever became of it.
pub async fn status(ledger: &Ledger, call: Id<Call>) -> String {
    ledger.receipts().get(call).await.expect("receipts").map_or("none".into(), |receipt| receipt.status)
}
