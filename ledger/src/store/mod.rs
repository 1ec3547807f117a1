//! All SQL. Here: the two databases, how they are opened, and one way to say one text to both.

pub(crate) mod approvals;
pub(crate) mod audit;
pub(crate) mod batches;
pub(crate) mod charges;
pub(crate) mod decisions;
pub(crate) mod definitions;
pub(crate) mod journal;
mod memory;
pub(crate) mod outbox;
pub(crate) mod pace;
mod places;
pub(crate) mod policies;
mod postgres;
pub(crate) mod prices;
pub(crate) mod receipts;
mod sqlite;
pub(crate) mod tenants;
pub(crate) mod terms;
pub(crate) mod trail;
pub(crate) mod usage;

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::postgres::{PgArguments, PgPool, PgPoolOptions, PgRow};
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{
    Arguments as _, AssertSqlSafe, ColumnIndex, Connection as _, Decode, Executor as _, PgConnection, Postgres,
    Row as _, Sqlite, Type,
};

use crate::audit::Hash;
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::failpoint;
use crate::id::{Id, Instance, Kind};
use crate::money::Money;
use crate::rows::{Effect, Loaded, Needs};

static SQLITE_MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations/sqlite");
static POSTGRES_MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("./migrations/postgres");

/// Where the ledger lives.
#[derive(Clone)]
pub(crate) enum Database {
    Sqlite(SqliteDatabase),
    Postgres(PgPool),
}

/// One file, one process, one writer at a time.
#[derive(Clone)]
pub(crate) struct SqliteDatabase {
    pub pool: SqlitePool,
    /// Whoever writes takes this first. It is fair, so that nobody starves behind the writer's back-to-back batches.
    pub gate: Arc<tokio::sync::Mutex<()>>,
    /// For what may be lost with the machine's power, though never with the process: no commit waits for the disk.
    pub relaxed: SqlitePool,
    pub path: PathBuf,
}

/// The writer's own connection: loads a batch under lock and saves it, each database in its best way.
pub(crate) enum Store {
    Sqlite(Box<sqlite::SqliteStore>),
    Postgres(Box<postgres::PostgresStore>),
}

impl Store {
    pub async fn open(database: &Database, instance: Id<Instance>) -> Result<Store, StoreError> {
        Ok(match database {
            Database::Sqlite(db) => Store::Sqlite(Box::new(sqlite::SqliteStore::open(db, instance)?)),
            Database::Postgres(pool) => {
                Store::Postgres(Box::new(postgres::PostgresStore::open(&pool.connect_options(), instance).await?))
            }
        })
    }

    pub async fn load(&mut self, needs: &Needs, at: Timestamp) -> Result<Loaded, StoreError> {
        match self {
            Store::Sqlite(store) => store.load(needs, at).await,
            Store::Postgres(store) => store.load(needs, at).await,
        }
    }

    pub async fn committed(&mut self, chain: &str, seq: i64, hash: &Hash) -> Result<bool, StoreError> {
        match self {
            Store::Sqlite(store) => store.committed(chain, seq, hash),
            Store::Postgres(store) => store.committed(chain, seq, hash).await,
        }
    }

    pub async fn save(&mut self, loaded: &Loaded, effect: &Effect) -> Result<(), StoreError> {
        match self {
            Store::Sqlite(store) => store.save(loaded, effect),
            Store::Postgres(store) => store.save(loaded, effect).await,
        }
    }

    pub async fn commit(&mut self) -> Result<(), StoreError> {
        let done = match self {
            Store::Sqlite(store) => store.commit(),
            Store::Postgres(store) => failpoint::once_sent("store.commit_sent", store.commit()).await,
        };
        failpoint::or_lost("store.commit_lost", done)
    }

    pub async fn undo(&mut self) {
        match self {
            Store::Sqlite(store) => store.undo(),
            Store::Postgres(store) => store.undo().await,
        }
    }

    pub async fn close(&mut self) {
        match self {
            Store::Sqlite(store) => store.undo(),
            Store::Postgres(store) => store.close().await,
        }
    }
}

/// Adds to the account of overrun. A sum beyond what can be told stays at what can: nobody's settlement waits for it.
const BOOK_OVERRUN: &str = "UPDATE accounts SET amount = CASE
        WHEN $1 > 0 AND amount > 9223372036854775807 - $1 THEN 9223372036854775807
        WHEN $1 < 0 AND amount < -9223372036854775807 - $1 THEN -9223372036854775807
        ELSE amount + $1 END
      WHERE name = 'overrun'";

/// What a database url names.
pub(crate) enum Place {
    Sqlite(PathBuf),
    Postgres(String),
}

impl Place {
    pub fn parse(url: &str) -> Result<Place, StoreError> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            return Ok(Place::Postgres(url.to_owned()));
        }
        let path = url.strip_prefix("sqlite://").or_else(|| url.strip_prefix("sqlite:")).ok_or(StoreError::Url)?;
        let path = path.split('?').next().unwrap_or(path);
        if path.is_empty() || path == ":memory:" {
            return Err(StoreError::Url); // what is not on disk is not durable
        }
        Ok(Place::Sqlite(PathBuf::from(path)))
    }
}

impl Database {
    /// Opens the database, making file and folder where they are missing. Changes nothing in it.
    pub async fn connect(place: &Place) -> Result<Database, StoreError> {
        match place {
            Place::Sqlite(path) => {
                make_folder(path)?;
                let options = SqliteConnectOptions::new()
                    .filename(path)
                    .create_if_missing(true)
                    .journal_mode(SqliteJournalMode::Wal)
                    .synchronous(SqliteSynchronous::Full)
                    .foreign_keys(true)
                    .busy_timeout(Duration::from_secs(10))
                    .pragma("wal_autocheckpoint", "0")
                    .pragma("cache_size", "-2048");
                let relaxed = SqlitePoolOptions::new()
                    .max_connections(1)
                    .acquire_timeout(Duration::from_secs(10))
                    .connect_lazy_with(options.clone().synchronous(SqliteSynchronous::Normal));
                let pool = SqlitePoolOptions::new()
                    .max_connections(8)
                    .acquire_timeout(Duration::from_secs(10))
                    .connect_with(options)
                    .await?;
                Ok(Database::Sqlite(SqliteDatabase { pool, gate: Arc::default(), relaxed, path: path.clone() }))
            }
            Place::Postgres(url) => {
                let options = sqlx::postgres::PgConnectOptions::from_str(url)?.application_name("alfred");
                let pool = PgPoolOptions::new()
                    .max_connections(12)
                    .acquire_timeout(Duration::from_secs(10))
                    .after_connect(|db, _| Box::pin(async move { db.execute(SETTINGS).await.map(drop) }))
                    // Here and at its return a connection is asked whether it lives, which a dead one might never answer.
                    .test_before_acquire(false)
                    .before_acquire(|db, _| Box::pin(lives(db)))
                    .after_release(|db, _| Box::pin(lives(db)))
                    .connect_with(options)
                    .await?;
                Ok(Database::Postgres(pool))
            }
        }
    }

    /// Brings the tables to this version.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        match self {
            Database::Sqlite(db) => SQLITE_MIGRATIONS.run(&db.pool).await?,
            Database::Postgres(pool) => {
                // A large table takes its time, and so does another process that is at it already.
                let mut db = pool.acquire().await?.detach();
                db.execute("SET statement_timeout = 0; SET lock_timeout = 0").await?;
                POSTGRES_MIGRATIONS.run(&mut db).await?;
                db.close().await?;
            }
        }
        Ok(())
    }

    /// Starts a transaction that writes. On SQLite it waits for its turn at the gate and holds the write lock at once.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        match self {
            Database::Sqlite(db) => {
                let turn = db.gate.clone().lock_owned().await;
                let tx = db.pool.begin_with("BEGIN IMMEDIATE").await?;
                Ok(Tx::Sqlite { tx, _turn: turn })
            }
            Database::Postgres(pool) => Ok(Tx::Postgres(within(pool.begin()).await?)),
        }
    }

    /// The same for what may be lost with the machine's power: whoever waits at the gate waits for no disk.
    pub async fn begin_relaxed(&self) -> Result<Tx, StoreError> {
        match self {
            Database::Sqlite(db) => {
                let turn = db.gate.clone().lock_owned().await;
                let tx = db.relaxed.begin_with("BEGIN IMMEDIATE").await?;
                Ok(Tx::Sqlite { tx, _turn: turn })
            }
            Database::Postgres(_) => {
                let mut tx = self.begin().await?;
                tx.execute("SET LOCAL synchronous_commit = off", values![]).await?;
                Ok(tx)
            }
        }
    }

    /// Opens a database for reading alone: makes nothing, and welcomes whoever runs on it.
    pub async fn look(place: &Place) -> Result<Database, StoreError> {
        let Place::Sqlite(path) = place else { return Database::connect(place).await };
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(false)
            .read_only(true)
            .busy_timeout(Duration::from_secs(10))
            .pragma("cache_size", "-16384");
        let pool = SqlitePoolOptions::new()
            .max_connections(2)
            .acquire_timeout(Duration::from_secs(10))
            .connect_with(options)
            .await?;
        Ok(Database::Sqlite(SqliteDatabase { relaxed: pool.clone(), pool, gate: Arc::default(), path: path.clone() }))
    }

    /// Reads rows outside any transaction. Money is never admitted by such a read.
    pub async fn rows(&self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let sql = AssertSqlSafe(sql.into());
        match self {
            Database::Sqlite(db) => {
                let rows = sqlx::query_with(sql, sqlite_arguments(values)?).fetch_all(&db.pool).await?;
                Ok(rows.into_iter().map(Row::Sqlite).collect())
            }
            Database::Postgres(pool) => {
                let rows = within(sqlx::query_with(sql, postgres_arguments(values)?).fetch_all(pool)).await?;
                Ok(rows.into_iter().map(Row::Postgres).collect())
            }
        }
    }

    /// Reads the first row, if there is one.
    pub async fn row(&self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// Carries what was committed from the log of a SQLite database into its file, while others read and write.
    pub async fn checkpoint(&self) -> Result<(), StoreError> {
        if let Database::Sqlite(db) = self {
            sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").execute(&db.pool).await?;
        }
        Ok(())
    }

    /// Lets go of connections that nobody uses: after one that did not answer, the others may be as dead.
    pub fn distrust(&self) {
        let Database::Postgres(pool) = self else { return };
        while let Some(idle) = pool.try_acquire() {
            drop(idle.detach());
        }
    }

    pub async fn close(&self) {
        match self {
            Database::Sqlite(db) => {
                db.relaxed.close().await;
                db.pool.close().await;
            }
            Database::Postgres(pool) => pool.close().await,
        }
    }
}

/// The longest that anything of Postgres is waited for; its own bound on a statement comes first.
const DEADLINE: Duration = Duration::from_secs(12);
const SETTINGS: &str = "SET statement_timeout = '10s'; SET lock_timeout = '5s';
    SET idle_in_transaction_session_timeout = '30s'; SET tcp_keepalives_idle = 15;
    SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 3";

async fn within<T>(work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, StoreError> {
    match tokio::time::timeout(DEADLINE, work).await {
        Ok(done) => Ok(done?),
        Err(_) => Err(sqlx::Error::PoolTimedOut.into()),
    }
}

async fn lives(db: &mut PgConnection) -> Result<bool, sqlx::Error> {
    match tokio::time::timeout(Duration::from_secs(2), db.ping()).await {
        Ok(answer) => answer.map(|()| true),
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}

fn make_folder(path: &Path) -> Result<(), StoreError> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) else {
        return Ok(());
    };
    std::fs::create_dir_all(folder)
        .map_err(|source| StoreError::File { path: folder.display().to_string(), source: Arc::new(source) })
}

/// The text of a statement: written in the code, or put together from texts that are.
pub(crate) type Sql = std::borrow::Cow<'static, str>;

/// A transaction that writes. Dropped without `commit`, it undoes itself.
pub(crate) enum Tx {
    Sqlite { tx: sqlx::Transaction<'static, Sqlite>, _turn: tokio::sync::OwnedMutexGuard<()> },
    Postgres(sqlx::Transaction<'static, Postgres>),
}

impl Tx {
    /// Runs a statement; says how many rows it touched.
    pub async fn execute(&mut self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<u64, StoreError> {
        let sql = AssertSqlSafe(sql.into());
        Ok(match self {
            Tx::Sqlite { tx, .. } => {
                sqlx::query_with(sql, sqlite_arguments(values)?).execute(&mut **tx).await?.rows_affected()
            }
            Tx::Postgres(tx) => {
                within(sqlx::query_with(sql, postgres_arguments(values)?).execute(&mut **tx)).await?.rows_affected()
            }
        })
    }

    /// Reads rows.
    pub async fn rows(&mut self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let sql = AssertSqlSafe(sql.into());
        Ok(match self {
            Tx::Sqlite { tx, .. } => {
                let rows = sqlx::query_with(sql, sqlite_arguments(values)?).fetch_all(&mut **tx).await?;
                rows.into_iter().map(Row::Sqlite).collect()
            }
            Tx::Postgres(tx) => {
                let rows = within(sqlx::query_with(sql, postgres_arguments(values)?).fetch_all(&mut **tx)).await?;
                rows.into_iter().map(Row::Postgres).collect()
            }
        })
    }

    /// Reads the first row, if there is one.
    pub async fn row(&mut self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<Option<Row>, StoreError> {
        Ok(self.rows(sql, values).await?.into_iter().next())
    }

    /// Reads rows and keeps others from changing them until the end. SQLite's transaction has locked them already.
    pub async fn rows_for_update(&mut self, sql: impl Into<Sql>, values: Vec<Value>) -> Result<Vec<Row>, StoreError> {
        let sql = match self {
            Tx::Sqlite { .. } => sql.into(),
            Tx::Postgres(_) => format!("{} FOR UPDATE", sql.into()).into(),
        };
        self.rows(sql, values).await
    }

    /// Makes it durable.
    pub async fn commit(self) -> Result<(), StoreError> {
        match self {
            Tx::Sqlite { tx, _turn } => tx.commit().await?,
            Tx::Postgres(tx) => within(tx.commit()).await?,
        }
        Ok(())
    }
}

/// A parameter of a statement.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Int(Option<i64>),
    Text(Option<String>),
    Bytes(Option<Vec<u8>>),
}

/// Parameters, in order: `values![id, money, None::<String>]`.
macro_rules! values {
    ($($value:expr),* $(,)?) => { vec![$($crate::store::Value::from($value)),*] };
}
pub(crate) use values;

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Value::Int(Some(value))
    }
}
impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Value::Int(Some(i64::from(value)))
    }
}
impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Value::Text(Some(value.to_owned()))
    }
}
impl From<String> for Value {
    fn from(value: String) -> Self {
        Value::Text(Some(value))
    }
}
impl From<&String> for Value {
    fn from(value: &String) -> Self {
        Value::Text(Some(value.clone()))
    }
}
impl From<&[u8]> for Value {
    fn from(value: &[u8]) -> Self {
        Value::Bytes(Some(value.to_vec()))
    }
}
impl From<[u8; 32]> for Value {
    fn from(value: [u8; 32]) -> Self {
        Value::Bytes(Some(value.to_vec()))
    }
}
impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Value::Bytes(Some(value))
    }
}
impl From<Money> for Value {
    fn from(value: Money) -> Self {
        Value::Int(Some(value.nanos()))
    }
}
impl From<Timestamp> for Value {
    fn from(value: Timestamp) -> Self {
        Value::Int(Some(value.micros()))
    }
}
impl<K: Kind> From<Id<K>> for Value {
    fn from(value: Id<K>) -> Self {
        Value::Text(Some(value.to_string()))
    }
}

/// Types whose absence is a typed NULL.
pub(crate) trait Nullable {
    const NULL: Value;
}
macro_rules! nullable {
    ($($type:ty => $variant:ident),*) => { $(impl Nullable for $type { const NULL: Value = Value::$variant(None); })* };
}
nullable!(i64 => Int, bool => Int, &str => Text, String => Text, &String => Text, [u8; 32] => Bytes, Vec<u8> => Bytes, Money => Int, Timestamp => Int);
impl<K: Kind> Nullable for Id<K> {
    const NULL: Value = Value::Text(None);
}
impl<T: Nullable + Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(T::NULL, Into::into)
    }
}

fn sqlite_arguments(values: Vec<Value>) -> Result<SqliteArguments, StoreError> {
    let mut arguments = SqliteArguments::default();
    for value in values {
        match value {
            Value::Int(value) => arguments.add(value),
            Value::Text(value) => arguments.add(value),
            Value::Bytes(value) => arguments.add(value),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

fn postgres_arguments(values: Vec<Value>) -> Result<PgArguments, StoreError> {
    let mut arguments = PgArguments::default();
    for value in values {
        match value {
            Value::Int(value) => arguments.add(value),
            Value::Text(value) => arguments.add(value),
            Value::Bytes(value) => arguments.add(value),
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(arguments)
}

/// A row of either database.
pub(crate) enum Row {
    Sqlite(SqliteRow),
    Postgres(PgRow),
}

impl Row {
    /// A column by its name: `i64`, `String`, `Vec<u8>` or an `Option` of them.
    pub fn get<T>(&self, column: &str) -> Result<T, StoreError>
    where
        for<'r> T: Decode<'r, Sqlite> + Type<Sqlite> + Decode<'r, Postgres> + Type<Postgres>,
        for<'a> &'a str: ColumnIndex<SqliteRow> + ColumnIndex<PgRow>,
    {
        Ok(match self {
            Row::Sqlite(row) => row.try_get(column)?,
            Row::Postgres(row) => row.try_get(column)?,
        })
    }

    /// A column as an id.
    pub fn id<K: Kind>(&self, column: &str) -> Result<Id<K>, StoreError> {
        let text: String = self.get(column)?;
        text.parse().map_err(|_| StoreError::Corrupt(format!("{column} {text:?}")))
    }

    /// A column as an id, or nothing.
    pub fn maybe_id<K: Kind>(&self, column: &str) -> Result<Option<Id<K>>, StoreError> {
        let text: Option<String> = self.get(column)?;
        text.map(|text| text.parse().map_err(|_| StoreError::Corrupt(format!("{column} {text:?}")))).transpose()
    }

    /// A column as money.
    pub fn money(&self, column: &str) -> Result<Money, StoreError> {
        Ok(Money::from_nanos(self.get(column)?))
    }

    /// A column as money, or nothing.
    pub fn maybe_money(&self, column: &str) -> Result<Option<Money>, StoreError> {
        Ok(self.get::<Option<i64>>(column)?.map(Money::from_nanos))
    }

    /// A column as a moment.
    pub fn time(&self, column: &str) -> Result<Timestamp, StoreError> {
        Ok(Timestamp::from_micros(self.get(column)?))
    }

    /// A column as a moment, or nothing.
    pub fn maybe_time(&self, column: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.get::<Option<i64>>(column)?.map(Timestamp::from_micros))
    }

    /// A column as a hash.
    pub fn hash(&self, column: &str) -> Result<[u8; 32], StoreError> {
        let bytes: Vec<u8> = self.get(column)?;
        bytes.try_into().map_err(|_| StoreError::Corrupt(column.to_owned()))
    }
}
