//! `make bench`: what Alfred adds to a call, and what the ledger alone can do, measured in one run on one machine with
//! one upstream. Load generator, upstream and gateway share its cores: the figures compare, they do not boast.
//!
//!     bench [--short] [--only proxy|ledger]

mod books;
mod load;
mod upstream;

use std::time::Duration;

use qa::postgres::{Care, Postgres};
use qa::world::{Plan, Setup, World};
use serde_json::json;

use crate::books::Books;
use crate::load::{Figures, Kind, Target};

const PROMPT_WORDS: usize = 120;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let short = arguments.iter().any(|a| a == "--short");
    let only = arguments.iter().position(|a| a == "--only").and_then(|at| arguments.get(at + 1)).map(String::as_str);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    println!("# Benchmark\n\n{}\n", machine());
    if only.is_none_or(|part| part == "proxy") {
        proxy(&runtime, if short { 1 } else { 10 });
    }
    if only.is_none_or(|part| part == "ledger") {
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

/// Resident memory of a process, now and at its peak, in MB.
fn memory(pid: u32) -> (u64, u64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let of = |name: &str| {
        let line = status.lines().find_map(|l| l.strip_prefix(name)).unwrap_or("");
        line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) / 1024
    };
    (of("VmRSS:"), of("VmHWM:"))
}

fn proxy(runtime: &tokio::runtime::Runtime, seconds: u64) {
    let span = Duration::from_secs(seconds);
    let upstream = upstream::Fast::start();
    let provider = json!([{"id": "bench", "kind": "openai-compatible", "base_url": upstream.v1()}]);
    let setup = Setup::new().with(|config| {
        config["providers"] = provider;
        config["models"] = json!([{"id": "bench", "targets": ["bench/model"]}]);
        config["prices"] = json!({"bench/model": {"input": "1.00", "output": "2.00"}});
        config["log"] = json!({"filter": "warn"});
    });
    let mut world: World = runtime.block_on(setup.start());
    // Four wallets with limits, a soft limit among them: a chain as organisations have.
    let plan = Plan::new().levels(4).hard("1000000").root_hard("2000000").soft("900000").window("month");
    let tenant = runtime.block_on(world.tenant(plan));
    let alone = Target { address: upstream.address(), model: "model".into(), key: "none".into() };
    let address = world.url().trim_start_matches("http://").parse().expect("an address");
    let alfred = Target { address, model: "bench".into(), key: tenant.key.clone() };
    let pid = world.alfred().pid();
    let idle = memory(pid).0;

    println!(
        "## Proxy: a prompt of {PROMPT_WORDS} words; authenticated, rate-limited, screened, judged by policy, held and"
    );
    println!(
        "settled durably (SQLite, WAL, synchronous=FULL) in four wallets, audited. {seconds} s a row, closed loop.\n"
    );
    println!(
        "| kind | connections | upstream alone: req/s | p50 ms | p99 ms | with Alfred: req/s | p50 ms | p99 ms | added p50 ms | added p99 ms | first token p50 ms | p99 ms | added first token p50 ms | errors |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    for kind in [Kind::Json, Kind::Stream] {
        for connections in [1, 64, 256] {
            let bare = runtime.block_on(load::run(&alone, kind, connections, span));
            // The first seconds fill pools and caches, of both.
            runtime.block_on(load::run(&alfred, kind, connections, Duration::from_millis(500 * seconds.min(4))));
            let governed = runtime.block_on(load::run(&alfred, kind, connections, span));
            println!("{}", row(kind, connections, &bare, &governed));
        }
    }
    let (now, peak) = memory(pid);
    println!("\nResident memory of Alfred: {idle} MB idle, {now} MB after the load, {peak} MB at its peak.\n");
    runtime.block_on(world.at_rest(&tenant.wallet, Duration::from_secs(60)));
    let metrics =
        runtime.block_on(world.http.send("GET", &format!("{}/metrics", world.url()), &[], "")).map(|m| m.text());
    println!("Where the time goes, by Alfred's own clocks (mean of all calls above):\n");
    for line in load::means(&metrics.unwrap_or_default()) {
        println!("- {line}");
    }
    println!();
    runtime.block_on(world.stop());
}

fn row(kind: Kind, connections: usize, bare: &Figures, governed: &Figures) -> String {
    let ms = |micros: f64| format!("{:.2}", micros / 1000.0);
    let first = match kind {
        Kind::Json => ["–".to_owned(), "–".to_owned(), "–".to_owned()],
        Kind::Stream => [ms(governed.first(0.5)), ms(governed.first(0.99)), ms(governed.first(0.5) - bare.first(0.5))],
    };
    format!(
        "| {} | {connections} | {:.0} | {} | {} | {:.0} | {} | {} | {} | {} | {} | {} |",
        kind.name(),
        bare.rate(),
        ms(bare.whole(0.5)),
        ms(bare.whole(0.99)),
        governed.rate(),
        ms(governed.whole(0.5)),
        ms(governed.whole(0.99)),
        ms(governed.whole(0.5) - bare.whole(0.5)),
        ms(governed.whole(0.99) - bare.whole(0.99)),
        first.join(" | "),
        governed.errors + bare.errors,
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
