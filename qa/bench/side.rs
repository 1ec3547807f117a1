//! Side by side: the upstream alone, Alfred, and the peers over the same upstream, slice after slice in turns, so that
//! what else the machine does in the meantime falls on all of them alike.

use std::time::Duration;

use tokio::runtime::Runtime;

use crate::aims::Aims;
use crate::house::{Guard, House, means, quantile};
use crate::load::{Figures, Kind, PROMPT_WORDS, Target, run};
use crate::peers::Peer;
use crate::process::{calm, cpu, memory};
use crate::upstream::{CHUNKS, Fast, JSON_WORDS};

pub const ALFRED: &str = "Alfred";
const LEAST: &str = "Alfred, least";
const TENSORZERO: &str = "TensorZero";
const LITELLM: &str = "LiteLLM";

/// How long to measure.
#[derive(Clone, Copy)]
pub struct Pace {
    pub rounds: usize,
    pub slice: Duration,
}

/// Who is measured.
struct Subject {
    name: &'static str,
    there: Result<(Target, u32), String>,
}

/// What a subject did in all rounds of one row.
#[derive(Default)]
struct Runs {
    rounds: Vec<Figures>,
    cpu: f64,
}

impl Runs {
    fn median(&self, of: impl Fn(&Figures) -> f64) -> f64 {
        median(self.rounds.iter().map(of).collect())
    }

    /// Microseconds on a core a request.
    fn cpu(&self) -> f64 {
        let answered: usize = self.rounds.iter().map(|figures| figures.count() + figures.errors).sum();
        self.cpu * 1e6 / answered.max(1) as f64
    }

    fn why(&self) -> Option<&str> {
        self.rounds.iter().find_map(|figures| figures.why.as_deref())
    }

    fn answered(&self) -> usize {
        self.rounds.iter().map(Figures::count).sum()
    }

    fn errors(&self) -> usize {
        self.rounds.iter().map(|figures| figures.errors).sum()
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => 0.0,
        odd if odd % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

/// Measures and prints the tables; peers only where asked for.
pub fn side_by_side(runtime: &Runtime, upstream: &Fast, pace: Pace, with_peers: bool, aims: &mut Aims) {
    let alfred = runtime.block_on(House::start(upstream, Guard::Everything));
    let least = runtime.block_on(House::start(upstream, Guard::Least));
    let peer = |name| runtime.block_on(Peer::start(name, upstream.address()));
    let peers = if with_peers { vec![(TENSORZERO, peer("tensorzero")), (LITELLM, peer("litellm"))] } else { vec![] };
    let idle: Vec<u64> = peers.iter().map(|(_, peer)| peer.as_ref().map_or(0, |peer| memory(peer.pid()).now)).collect();

    let alone = Target {
        address: upstream.address(),
        path: "/v1/chat/completions".into(),
        model: "model".into(),
        key: "none".into(),
    };
    let mut subjects = vec![
        Subject { name: "upstream alone", there: Ok((alone, std::process::id())) },
        Subject { name: ALFRED, there: Ok((alfred.target.clone(), alfred.pid)) },
        Subject { name: LEAST, there: Ok((least.target.clone(), least.pid)) },
    ];
    for (name, peer) in &peers {
        let there = peer.as_ref().map(|peer| (peer.target.clone(), peer.pid())).map_err(Clone::clone);
        subjects.push(Subject { name, there });
    }

    println!("## Side by side\n");
    println!(
        "A prompt of {PROMPT_WORDS} words, no two alike; answers of {JSON_WORDS} words, streams of {CHUNKS} chunks. {} slices of {} s \
         each, in turns, forwards and backwards; medians of the slices.\n",
        pace.rounds,
        pace.slice.as_secs_f64()
    );
    println!(
        "| kind | connections | who | req/s | p50 ms | p99 ms | added p50 ms | added p99 ms | first token p50 ms | p99 ms | added p50 ms | CPU µs/request | errors |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|---|---|");
    let (mut ratios, mut faults) = (Vec::new(), Vec::new());
    for kind in [Kind::Json, Kind::Stream] {
        for connections in [1, 64, 256] {
            let row = measure(runtime, &subjects, kind, connections, pace);
            for (subject, runs) in subjects.iter().zip(&row) {
                println!("{}", line(kind, connections, subject, runs, &row[0]));
                if let Some(why) = runs.why() {
                    faults.push(format!("{}, {connections}, {}: {why}", kind.name(), subject.name));
                }
            }
            if with_peers {
                ratios.push(ratio_line(kind, connections, &row, pace.rounds));
            }
            judge(kind, connections, &subjects, &row, with_peers, aims);
        }
    }
    println!(
        "\nThe processor time of *upstream alone* is that of the benchmark's own process: load generator and upstream together.\n"
    );
    if !faults.is_empty() {
        println!("What the first error of a row was:\n\n- {}\n", faults.join("\n- "));
    }
    if with_peers {
        println!("Requests/s of Alfred with everything on, as a multiple; the median of the rounds (least to most).\n");
        println!(
            "| kind | connections | of TensorZero's | of LiteLLM's | of the upstream's alone | CPU of TensorZero's | of LiteLLM's |\n|---|---|---|---|---|---|---|"
        );
        println!("{}\n", ratios.join("\n"));
    }
    memories(&alfred, &least, &peers, &idle, aims);
    drop(peers);

    let metrics = runtime.block_on(alfred.metrics());
    println!("Where the time goes, by Alfred's own clocks (mean of all calls above):\n");
    for line in means(&metrics) {
        println!("- {line}");
    }
    println!();
    let aim = "a key is verified in ≤ 50 µs (p95)";
    match quantile(&metrics, "alfred_auth_verify_seconds", 0.95) {
        Some(micros) => aims.judge(aim, &format!("{micros:.0} µs"), micros <= 50.0),
        None => aims.missing(aim, "no histogram of it"),
    }
    runtime.block_on(alfred.stop());
    runtime.block_on(least.stop());
}

/// All subjects in turns, one row of each.
fn measure(runtime: &Runtime, subjects: &[Subject], kind: Kind, connections: usize, pace: Pace) -> Vec<Runs> {
    let mut row: Vec<Runs> = subjects.iter().map(|_| Runs::default()).collect();
    for round in 0..pace.rounds {
        let mut order: Vec<usize> = (0..subjects.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let Ok((target, pid)) = &subjects[index].there else { continue };
            runtime.block_on(async {
                // The first calls fill pools and caches, of all alike.
                run(target, kind, connections, pace.slice / 8).await;
                calm(*pid).await;
                let before = cpu(*pid);
                let figures = run(target, kind, connections, pace.slice).await;
                row[index].cpu += cpu(*pid) - before;
                row[index].rounds.push(figures);
                calm(*pid).await;
            });
        }
    }
    row
}

fn line(kind: Kind, connections: usize, subject: &Subject, runs: &Runs, alone: &Runs) -> String {
    let head = format!("| {} | {connections} | {} |", kind.name(), subject.name);
    if let Err(why) = &subject.there {
        return format!("{head} not measured: {why} | – | – | – | – | – | – | – | – | – |");
    }
    if runs.answered() == 0 {
        return format!(
            "{head} no answer: {} | – | – | – | – | – | – | – | – | {} |",
            runs.why().unwrap_or("none came"),
            runs.errors()
        );
    }
    let (p50, p99) = (runs.median(|f| f.whole(0.5)), runs.median(|f| f.whole(0.99)));
    let added = if std::ptr::eq(runs, alone) {
        ["–".to_owned(), "–".to_owned()]
    } else {
        [
            format!("{:.2}", p50 - alone.median(|f| f.whole(0.5))),
            format!("{:.2}", p99 - alone.median(|f| f.whole(0.99))),
        ]
    };
    let first = match kind {
        Kind::Json => ["–".to_owned(), "–".to_owned(), "–".to_owned()],
        Kind::Stream => {
            let first = runs.median(|f| f.first(0.5));
            let more = first - alone.median(|f| f.first(0.5));
            let added = if std::ptr::eq(runs, alone) { "–".to_owned() } else { format!("{more:.2}") };
            [format!("{first:.2}"), format!("{:.2}", runs.median(|f| f.first(0.99))), added]
        }
    };
    format!(
        "{head} {:.0} | {p50:.2} | {p99:.2} | {} | {} | {:.0} | {} |",
        runs.median(Figures::rate),
        added.join(" | "),
        first.join(" | "),
        runs.cpu(),
        runs.errors(),
    )
}

/// How Alfred's rate compares with another's, round by round.
fn times(row: &[Runs], other: usize, rounds: usize) -> Option<(f64, f64, f64)> {
    let mut each = Vec::new();
    for round in 0..rounds {
        let (mine, others) = (row[1].rounds.get(round)?, row.get(other)?.rounds.get(round)?);
        if others.count() == 0 {
            return None;
        }
        each.push(mine.rate() / others.rate());
    }
    let least = each.iter().copied().reduce(f64::min)?;
    let most = each.iter().copied().reduce(f64::max)?;
    Some((median(each), least, most))
}

fn ratio_line(kind: Kind, connections: usize, row: &[Runs], rounds: usize) -> String {
    let cell = |other| match times(row, other, rounds) {
        Some((middle, least, most)) => format!("{middle:.2} ({least:.2}–{most:.2})"),
        None => "not measured".to_owned(),
    };
    let cpu = |other: usize| match row.get(other) {
        Some(others) if others.cpu > 0.0 => format!("{:.3}", row[1].cpu() / others.cpu()),
        _ => "not measured".to_owned(),
    };
    let cells = [cell(3), cell(4), cell(0), cpu(3), cpu(4)].join(" | ");
    format!("| {} | {connections} | {cells} |", kind.name())
}

/// The aims that a row speaks of.
fn judge(kind: Kind, connections: usize, subjects: &[Subject], row: &[Runs], with_peers: bool, aims: &mut Aims) {
    let (alone, alfred, least) = (&row[0], &row[1], &row[2]);
    match (kind, connections) {
        (Kind::Json, 1) => {
            let added = alfred.median(|f| f.whole(0.5)) - alone.median(|f| f.whole(0.5));
            aims.judge("1 connection: added p50 ≤ 0.6 ms", &format!("{added:.2} ms"), added <= 0.6);
        }
        (Kind::Stream, 1) => {
            let added = alfred.median(|f| f.first(0.5)) - alone.median(|f| f.first(0.5));
            aims.judge("1 connection: first token p50 added ≤ 1 ms", &format!("{added:.2} ms"), added <= 1.0);
        }
        (Kind::Json, 64) => {
            let rate = least.median(Figures::rate);
            let measured = format!("{rate:.0}/s with as little as configuration allows; no setting switches them off");
            aims.judge(
                "64 connections, ledger, policy and safety off: ≥ 20,000 requests/s",
                &measured,
                rate >= 20_000.0,
            );
            if !with_peers {
                return;
            }
            for (other, aim, least) in [
                (3, "64 connections: more requests/s than TensorZero with nothing on", 1.0),
                (4, "64 connections: ≥ 50 times LiteLLM's requests/s", 50.0),
            ] {
                let rounds = alfred.rounds.len();
                match (&subjects[other].there, times(row, other, rounds)) {
                    (Ok(_), Some((ratio, ..))) => aims.judge(
                        aim,
                        &format!(
                            "{ratio:.2} times ({:.0}/s, {:.0}/s)",
                            alfred.median(Figures::rate),
                            row[other].median(Figures::rate)
                        ),
                        ratio > least,
                    ),
                    (Err(why), _) => aims.missing(aim, why),
                    (Ok(_), None) => aims.missing(aim, "it answered nothing"),
                }
            }
        }
        _ => {}
    }
}

fn memories(
    alfred: &House,
    least: &House,
    peers: &[(&'static str, Result<Peer, String>)],
    idle: &[u64],
    aims: &mut Aims,
) {
    println!(
        "Resident memory of each process, MB:\n\n| who | idle | after all of the above | peak |\n|---|---|---|---|"
    );
    for (name, house) in [(ALFRED, alfred), (LEAST, least)] {
        let memory = memory(house.pid);
        println!("| {name} | {} | {} | {} |", house.idle, memory.now, memory.peak);
    }
    for ((name, peer), idle) in peers.iter().zip(idle) {
        match peer {
            Ok(peer) => {
                let memory = memory(peer.pid());
                println!(
                    "| {name} | {idle}, of which {} are Python with the module loaded | {} | {} |",
                    peer.bare, memory.now, memory.peak
                );
            }
            Err(why) => println!("| {name} | not measured: {why} | – | – |"),
        }
    }
    println!();
    for (name, peer) in peers.iter().filter(|(name, _)| *name == TENSORZERO) {
        let aim = "less memory than TensorZero after the load";
        match peer {
            Ok(peer) => {
                let (mine, its) = (memory(alfred.pid).now, memory(peer.pid()).now);
                aims.judge(aim, &format!("{mine} MB, {name} {its} MB"), mine < its);
            }
            Err(why) => aims.missing(aim, why),
        }
    }
}
