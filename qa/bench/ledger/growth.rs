//! What a pair costs as the books grow: journal, audit log and receipts are made ten times longer at each step.

use std::path::Path;
use std::time::Duration;

use ledger::{Ledger, Options};
use qa::bulk::{self, Column, Dialect, GROWING};
use qa::postgres::{Care, Postgres, name_of};

use crate::Plan;
use crate::books::Books;

const CALLERS: usize = 64;

pub fn run(runtime: &tokio::runtime::Runtime, plan: &Plan, most: u64) {
    println!("| database | journal rows | pairs/s | µs a pair | times that at the first | pair p99 ms |");
    println!("|---|---|---|---|---|---|");
    if plan.wants("sqlite") {
        let folder = crate::folder();
        let path = folder.path().join("alfred.db");
        let url = format!("sqlite://{}", path.display());
        steps(runtime, plan, most, "SQLite", &url, |table, from, more| grow_sqlite(&path, table, from, more));
    }
    if plan.wants("postgres") {
        let server = Postgres::start(Care::Durable);
        let url = server.database();
        let database = name_of(&url).to_owned();
        steps(runtime, plan, most, "Postgres", &url, |table, from, more| {
            bulk::grow_postgres(&server, &database, table, from, more);
        });
    }
}

fn steps(
    runtime: &tokio::runtime::Runtime,
    plan: &Plan,
    most: u64,
    name: &str,
    url: &str,
    grow: impl Fn(&str, u64, u64),
) {
    let mut books = runtime.block_on(async {
        let books = Books::make(url, plan.fan).await;
        // Rows to be copied: as calls wrote them, of many chains.
        books.run(CALLERS, Duration::from_millis(500)).await;
        books.ledger.close().await;
        books
    });
    let (mut rows, mut first) = (0, None);
    for size in [10_000, 100_000, 1_000_000, 10_000_000_u64].into_iter().filter(|size| *size <= most) {
        for table in GROWING {
            // A call has two rows in the journal and in the audit log, and one receipt.
            let share = if table == "receipts" { 2 } else { 1 };
            grow(table, rows / share + 1, (size - rows) / share);
        }
        rows = size;
        let figures = runtime.block_on(async {
            books.ledger = Ledger::open(Options::new(url)).await.expect("a ledger");
            books.run(CALLERS, plan.span / 5).await;
            let figures = books.run(CALLERS, plan.span).await;
            books.ledger.close().await;
            figures
        });
        let cost = 1e6 / figures.rate();
        let first = *first.get_or_insert(cost);
        println!(
            "| {name} | {size} | {:.0} | {cost:.1} | {:.2} | {:.2} |",
            figures.rate(),
            cost / first,
            figures.pairs.ms(0.99)
        );
    }
}

fn grow_sqlite(path: &Path, table: &str, from: u64, more: u64) {
    let db = rusqlite::Connection::open(path).expect("a file");
    // What is copied in need not be durable, only quick.
    db.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -400000; PRAGMA temp_store = MEMORY").expect("set");
    let mut columns = db.prepare("SELECT name, type FROM pragma_table_info(?1)").expect("a table");
    let columns: Vec<Column> = columns
        .query_map([table], |row| Ok(Column { name: row.get(0)?, kind: row.get::<_, String>(1)?.to_lowercase() }))
        .expect("columns")
        .map(|column| column.expect("a column"))
        .collect();
    let sql = bulk::copies(Dialect::Sqlite, table, &columns, from, more);
    db.execute_batch(&format!("BEGIN; {sql} COMMIT; PRAGMA wal_checkpoint(TRUNCATE);")).expect("rows");
}
