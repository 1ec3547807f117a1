//! `make bench-ledger`: durable reserve+settle pairs of the ledger, side by side with a plain version of the same
//! schema and with the database's own update of one hot row, in one run on one machine. Callers share its cores with
//! the database. All share one root wallet in a tree of 1,111, four levels deep.
//!
//!     bench-ledger [--short] [--only sqlite|postgres]
//!     bench-ledger --growth [--most ROWS]     what a pair costs as the journal grows from 10^4 to 10^7 rows
//!     bench-ledger --soak MINUTES             memory under load

#[path = "../books.rs"]
mod books;
mod growth;
mod plain;
mod plain_postgres;
mod plain_sqlite;

use std::time::Duration;

use qa::postgres::{Care, Postgres, name_of};

use crate::books::{Books, Figures};

/// The program's own; the plain versions have it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How a run is to be.
struct Plan {
    span: Duration,
    fan: [usize; 3],
    callers: Vec<usize>,
    only: Option<String>,
}

impl Plan {
    fn wants(&self, database: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == database)
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let given = |name: &str| arguments.iter().any(|argument| argument == name);
    let value = |name: &str| arguments.iter().position(|a| a == name).and_then(|at| arguments.get(at + 1)).cloned();
    let number = |name: &str| value(name).and_then(|text| text.parse::<u64>().ok());
    let short = given("--short");
    let plan = Plan {
        span: if short { Duration::from_millis(700) } else { Duration::from_secs(5) },
        fan: if short { [3, 3, 3] } else { [10, 10, 10] },
        callers: vec![1, 64, 512],
        only: value("--only"),
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    println!("# Ledger benchmark\n\n{}\n", machine());
    match (given("--growth"), number("--soak")) {
        (true, _) => growth::run(&runtime, &plan, number("--most").unwrap_or(if short { 100_000 } else { 10_000_000 })),
        (_, Some(minutes)) => soak(&runtime, &plan, minutes),
        _ => side_by_side(&runtime, &plan),
    }
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let profile = if cfg!(debug_assertions) { "**debug build: the figures mean nothing**" } else { "release build" };
    format!(
        "{cores} cores, shared by callers, ledger and database; {profile}; data below {}",
        std::env::temp_dir().display()
    )
}

fn folder() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("alfred-bench-").tempdir().expect("a folder")
}

/// The ledger and the plain version, at every number of callers.
struct Sides {
    ours: Vec<Figures>,
    plain: Vec<Figures>,
}

fn side_by_side(runtime: &tokio::runtime::Runtime, plan: &Plan) {
    println!(
        "| database | callers | | pairs/s | reserve p50 ms | p99 ms | pair p50 ms | p99 ms | times the plain version |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    if plan.wants("sqlite") {
        let folder = folder();
        let url = format!("sqlite://{}/alfred.db", folder.path().join("books").display());
        let ours = runtime.block_on(ours(plan, &url));
        let plain = plain_sqlite::Plain::make(&folder.path().join("plain.db"), plan.fan);
        let plain = plan.callers.iter().map(|callers| plain.run(*callers, plan.span)).collect();
        print("SQLite (WAL, FULL)", plan, &Sides { ours, plain });
    }
    if plan.wants("postgres") {
        let server = Postgres::start(Care::Durable);
        let ours = runtime.block_on(ours(plan, &server.database()));
        let plain = runtime.block_on(async {
            let plain = plain_postgres::Plain::make(&server.database(), plan.fan).await;
            let mut figures = Vec::new();
            for callers in &plan.callers {
                figures.push(plain.run(*callers, plan.span).await);
            }
            plain.close().await;
            figures
        });
        let sides = Sides { ours, plain };
        print("Postgres 15 (fsync on)", plan, &sides);
        println!("\nThe plain version has {} connections at most.\n", plain_postgres::CONNECTIONS);
        hot_row(&server, plan, &sides);
    }
}

async fn ours(plan: &Plan, url: &str) -> Vec<Figures> {
    let books = Books::make(url, plan.fan).await;
    let mut figures = Vec::new();
    for callers in &plan.callers {
        // A moment to fill caches and plan statements.
        books.run(*callers, plan.span / 10).await;
        figures.push(books.run(*callers, plan.span).await);
    }
    books.ledger.close().await;
    figures
}

fn print(database: &str, plan: &Plan, sides: &Sides) {
    for (callers, (ours, plain)) in plan.callers.iter().zip(sides.ours.iter().zip(&sides.plain)) {
        let times = ours.rate() / plain.rate().max(1e-9);
        println!("| {database} | {callers} | Alfred's ledger | {} | {times:.1} |", ours.cells());
        println!("| {database} | {callers} | plain | {} | 1 |", plain.cells());
    }
}

/// What the server can do at most where all callers change one row, a transaction each: a pair would take two.
fn hot_row(server: &Postgres, plan: &Plan, sides: &Sides) {
    let url = server.database();
    let database = name_of(&url);
    server
        .psql(database, "CREATE TABLE hot (id INT PRIMARY KEY, n BIGINT NOT NULL); INSERT INTO hot VALUES (1, 0)")
        .expect("a table");
    println!(
        "| pgbench, one row updated by all | clients | updates/s | two updates/s | the ledger's pairs at as many callers, times that |"
    );
    println!("|---|---|---|---|---|");
    for (callers, ours) in plan.callers.iter().zip(&sides.ours).filter(|(callers, _)| **callers <= 64) {
        let seconds = plan.span.as_secs().max(3);
        match server.pgbench(database, "UPDATE hot SET n = n + 1 WHERE id = 1;", *callers, seconds) {
            Ok(rate) => println!(
                "| prepared, synchronous | {callers} | {rate:.0} | {:.0} | {:.1} |",
                rate / 2.0,
                ours.rate() / (rate / 2.0)
            ),
            Err(error) => println!("| pgbench does not run: {} | {callers} | | | |", error.trim()),
        }
    }
}

/// Load for minutes: memory must not grow with the calls made.
fn soak(runtime: &tokio::runtime::Runtime, plan: &Plan, minutes: u64) {
    let server;
    let folder = folder();
    let url = if plan.wants("sqlite") {
        format!("sqlite://{}/alfred.db", folder.path().join("books").display())
    } else {
        server = Postgres::start(Care::Durable);
        server.database()
    };
    let books = runtime.block_on(Books::make(&url, plan.fan));
    let parts = 10;
    let part = Duration::from_secs(minutes * 60) / parts;
    println!("| minute | pairs/s | pair p99 ms | resident MB, callers and ledger |\n|---|---|---|---|");
    let (mut first, mut last) = (0.0, 0.0);
    for nth in 1..=parts {
        let figures = runtime.block_on(books.run(64, part));
        last = resident_mb();
        // Pools and caches fill in the first part.
        if nth == 1 {
            first = last;
        }
        let minute = f64::from(nth) * part.as_secs_f64() / 60.0;
        println!("| {minute:.1} | {:.0} | {:.2} | {last:.1} |", figures.rate(), figures.pairs.ms(0.99));
    }
    runtime.block_on(books.ledger.close());
    println!("\nAfter the first part {first:.1} MB, at the end {last:.1} MB: {:+.1} %.", (last / first - 1.0) * 100.0);
}

fn resident_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    line.trim().trim_end_matches(" kB").parse::<f64>().unwrap_or(0.0) / 1_024.0
}
