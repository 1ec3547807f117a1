//! `make bench`: what Alfred adds to a call, beside other gateways and alone, and what the ledger alone can do, measured in one
//! run on one machine with one upstream. Load generator, upstream and gateways share its cores: the figures compare, they do
//! not boast. What is printed is Markdown for docs/benchmarks.md.
//!
//!     bench [--short] [--only peers|proxy|streams|failover|ledger]

mod aims;
mod books;
mod failover;
mod house;
mod load;
mod peers;
mod process;
mod side;
mod streams;
mod upstream;

use std::time::Duration;

use qa::postgres::{Care, Postgres};

use crate::aims::Aims;
use crate::books::Books;
use crate::side::Pace;
use crate::upstream::Fast;

/// `proxy` is `peers` without the peers, and not run beside it.
const PARTS: [&str; 5] = ["peers", "proxy", "streams", "failover", "ledger"];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let short = arguments.iter().any(|a| a == "--short");
    let only = arguments.iter().position(|a| a == "--only").map(|at| arguments.get(at + 1).map_or("", String::as_str));
    if let Some(part) = only
        && !PARTS.contains(&part)
    {
        eprintln!("--only takes one of {}", PARTS.join(", "));
        std::process::exit(2);
    }
    let wanted = |part: &str| only.map_or(part != "proxy", |only| only == part);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    println!("# Benchmark\n\n{}\n", machine());
    let chunks = if short { 20 } else { 100 };
    let upstream = Fast::start(chunks);
    let mut aims = Aims::default();
    if wanted("peers") || wanted("proxy") {
        let slice = Duration::from_millis(if short { 1_000 } else { 4_000 });
        let pace = Pace { rounds: if short { 1 } else { 3 }, slice };
        side::side_by_side(&runtime, &upstream, pace, wanted("peers"), &mut aims);
    }
    if wanted("failover") {
        failover::failover(&runtime, &upstream, if short { 10 } else { 100 }, &mut aims);
    }
    if wanted("streams") {
        streams::streams(&runtime, &upstream, chunks, &mut aims);
    }
    aims.print();
    if wanted("ledger") {
        ledger(&runtime, if short { 1 } else { 5 });
    }
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let model = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = model
        .lines()
        .find_map(|l| l.strip_prefix("model name"))
        .unwrap_or(": unknown")
        .trim_start_matches([' ', '\t', ':']);
    let profile = if cfg!(debug_assertions) { "**debug build: the figures mean nothing**" } else { "release build" };
    format!(
        "{cores} cores ({model}), shared by load generator, upstream and gateway; {profile}; data below {}",
        std::env::temp_dir().display()
    )
}

fn ledger(runtime: &tokio::runtime::Runtime, seconds: u64) {
    let span = Duration::from_secs(seconds);
    println!(
        "## Ledger alone: reserve and settle, both durable, four levels, one organisation's wallet shared by all\n"
    );
    println!("| database | callers | pairs/s | reserve p50 ms | p99 ms | pair p50 ms | p99 ms |");
    println!("|---|---|---|---|---|---|---|");
    let folder = tempfile::Builder::new().prefix("alfred-bench-").tempdir().expect("a folder");
    for callers in [1, 64, 512] {
        let url = format!("sqlite://{}/books-{callers}/alfred.db", folder.path().display());
        println!("{}", runtime.block_on(books_row("SQLite (WAL, FULL)", &url, callers, span)));
    }
    let postgres = Postgres::start(Care::Durable);
    for callers in [1, 64, 512] {
        println!("{}", runtime.block_on(books_row("Postgres 15 (fsync on)", &postgres.database(), callers, span)));
    }
    println!();
}

async fn books_row(name: &str, url: &str, callers: usize, span: Duration) -> String {
    let books = Books::make(url, [4, 4, 4]).await;
    let figures = books.run(callers, span).await;
    books.ledger.close().await;
    format!("| {name} | {callers} | {} |", figures.cells())
}
