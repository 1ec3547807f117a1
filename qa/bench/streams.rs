//! Many slow streams at once, as people who read along make them: what they take of memory, and whether all of them end well.

use std::time::Duration;

use tokio::runtime::Runtime;

use crate::aims::Aims;
use crate::house::{Guard, House};
use crate::load::{Figures, Kind, Target, crowd};
use crate::peers::Peer;
use crate::process::{cpu, memory};
use crate::upstream::{Fast, PAUSE};

/// Streams at once.
const STREAMS: usize = 1_000;

/// What was seen of one process.
struct Seen {
    figures: Figures,
    idle: u64,
    most: u64,
    cpu: f64,
}

/// Measures and prints the table.
pub fn streams(runtime: &Runtime, upstream: &Fast, chunks: usize, aims: &mut Aims) {
    println!("## {STREAMS} slow streams at once\n");
    let spread = PAUSE * u32::try_from(chunks).expect("few chunks") / 5;
    println!(
        "{chunks} chunks each, one every {} ms; they begin within {} s, so that all are open at once.\n",
        PAUSE.as_millis(),
        spread.as_secs_f64()
    );
    println!(
        "| who | complete | errors | idle MB | most MB during it | first token p50 ms | p99 ms | whole p50 s | CPU µs/chunk |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    let alone = Target {
        address: upstream.address(),
        path: "/slow/v1/chat/completions".into(),
        model: "model".into(),
        key: "none".into(),
    };
    let seen = runtime.block_on(watch(&alone, std::process::id(), spread));
    println!("{}", line("upstream alone", chunks, &seen));

    let alfred = runtime.block_on(House::start(upstream, Guard::Everything));
    let seen = runtime.block_on(watch(&alfred.target.model("slow"), alfred.pid, spread));
    println!("{}", line("Alfred", chunks, &seen));
    let aim = format!("{STREAMS} slow streams in ≤ 150 MB, all complete");
    let measured = format!("{} MB, {} complete", seen.most, seen.figures.count());
    aims.judge(&aim, &measured, seen.most <= 150 && seen.figures.count() == STREAMS && seen.figures.errors == 0);
    runtime.block_on(alfred.stop());

    let least = runtime.block_on(House::start(upstream, Guard::Least));
    let seen = runtime.block_on(watch(&least.target.model("slow"), least.pid, spread));
    println!("{}", line("Alfred, least", chunks, &seen));
    runtime.block_on(least.stop());

    for (name, title) in [("tensorzero", "TensorZero"), ("litellm", "LiteLLM")] {
        match runtime.block_on(Peer::start(name, upstream.address())) {
            Ok(peer) => {
                let target = peer.target.model(Peer::model(name, "slow"));
                println!("{}", line(title, chunks, &runtime.block_on(watch(&target, peer.pid(), spread))));
            }
            Err(why) => println!("| {title} | not measured: {why} | – | – | – | – | – | – | – |"),
        }
    }
    println!("\nThe upstream's row is the benchmark's own process, both ends of all streams.\n");
}

/// One stream a connection, and the memory of the process in the meantime.
async fn watch(target: &Target, pid: u32, spread: Duration) -> Seen {
    let (idle, before) = (memory(pid).now, cpu(pid));
    let mut most = idle;
    let load = crowd(target, Kind::Stream, STREAMS, spread, Duration::from_secs(60));
    tokio::pin!(load);
    let figures = loop {
        tokio::select! {
            figures = &mut load => break figures,
            () = tokio::time::sleep(Duration::from_millis(100)) => most = most.max(memory(pid).now),
        }
    };
    Seen { figures, idle, most, cpu: cpu(pid) - before }
}

fn line(who: &str, chunks: usize, seen: &Seen) -> String {
    let figures = &seen.figures;
    format!(
        "| {who} | {} | {}{} | {} | {} | {:.2} | {:.2} | {:.2} | {:.1} |",
        figures.count(),
        figures.errors,
        figures.why.as_ref().map(|why| format!(", the first: {why}")).unwrap_or_default(),
        seen.idle,
        seen.most,
        figures.first(0.5),
        figures.first(0.99),
        figures.whole(0.5) / 1_000.0,
        seen.cpu * 1e6 / (figures.count().max(1) * chunks) as f64,
    )
}
