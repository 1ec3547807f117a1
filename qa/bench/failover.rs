//! What it costs to go elsewhere: the first target refuses the connection or answers 500, the second is well.

use std::time::Duration;

use serde_json::json;
use tokio::runtime::Runtime;

use crate::aims::Aims;
use crate::house::{Guard, House, nobody};
use crate::load::{Figures, Kind, Target, ask, probe};
use crate::upstream::Fast;

/// How a first target fails, and the name of its providers.
const WAYS: [(&str, &str); 2] = [("refuses the connection", "refused"), ("answers 500", "broken")];
const KINDS: [Kind; 2] = [Kind::Json, Kind::Stream];
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures and prints the table, from so many failovers of each way.
pub fn failover(runtime: &Runtime, upstream: &Fast, times: usize, aims: &mut Aims) {
    let (nobody, broken) = (nobody(), upstream.v1("broken"));
    // A breaker soon leaves a failing target out: each of these is asked once, so that every call fails over. One more is asked
    // again and again, and one shows that there were two attempts.
    let house = runtime.block_on(House::with(upstream, Guard::Everything, |config| {
        for (way, base) in [("refused", &nobody), ("broken", &broken)] {
            for kind in KINDS {
                for turn in 0..=times + 1 {
                    let id = name(way, kind, turn);
                    let target = format!("{id}/model");
                    push(&mut config["providers"], json!({"id": id, "kind": "openai-compatible", "base_url": base}));
                    config["prices"][&target] = json!({"input": "1.00", "output": "2.00"});
                    push(&mut config["models"], json!({"id": id, "targets": [target, "bench/model"]}));
                }
            }
        }
    }));
    println!("## Failover\n");
    println!(
        "One connection; {times} calls a row, in turns; healthy, failing for the first time, and failing ever since.\n"
    );
    println!(
        "| kind | the first target | p50 ms | p99 ms | added p50 ms | added p99 ms | first token p50 ms | added p50 ms | errors |"
    );
    println!("|---|---|---|---|---|---|---|---|---|");
    for kind in KINDS {
        let (healthy, rows) = runtime.block_on(measure(&house.target, kind, times));
        println!("{}", line(kind, "is well", &healthy, &healthy));
        for ((title, _), (fresh, known)) in WAYS.iter().zip(&rows) {
            println!("{}", line(kind, title, fresh, &healthy));
            println!("{}", line(kind, &format!("{title}, and is known for it"), known, &healthy));
            let (added, added99) = (fresh.whole(0.5) - healthy.whole(0.5), fresh.whole(0.99) - healthy.whole(0.99));
            aims.judge(
                &format!("failover, {}: a first target that {title} adds ≤ 50 ms", kind.name()),
                &format!("{added:.2} ms (p99 {added99:.2} ms)"),
                added <= 50.0 && fresh.errors == 0,
            );
        }
    }
    println!();
    runtime.block_on(house.stop());
}

fn push(list: &mut serde_json::Value, item: serde_json::Value) {
    if let Some(list) = list.as_array_mut() {
        list.push(item);
    }
}

fn name(way: &str, kind: Kind, turn: usize) -> String {
    format!("{way}-{}-{turn}", kind.name().to_lowercase())
}

/// The healthy calls, and for each way those that failed over for the first time and those that knew.
async fn measure(target: &Target, kind: Kind, times: usize) -> (Figures, Vec<(Figures, Figures)>) {
    let mut healthy = Figures::default();
    let mut rows: Vec<(Figures, Figures)> = WAYS.iter().map(|_| Default::default()).collect();
    ask(target, kind, 25, PATIENCE).await;
    for (_, way) in WAYS {
        let answer = probe(&target.model(name(way, kind, times + 1)), kind, "x-alfred-attempts").await;
        assert_eq!(answer.map(|(attempts, _)| attempts), Ok("2".to_owned()), "no failover is being measured");
    }
    // Enough for any breaker to have opened.
    for (_, way) in WAYS {
        ask(&target.model(name(way, kind, times)), kind, 25, PATIENCE).await;
    }
    for turn in 0..times {
        // A new connection each time, for all alike.
        healthy.add(&ask(target, kind, 1, PATIENCE).await);
        for ((_, way), (fresh, known)) in WAYS.iter().zip(&mut rows) {
            fresh.add(&ask(&target.model(name(way, kind, turn)), kind, 1, PATIENCE).await);
            known.add(&ask(&target.model(name(way, kind, times)), kind, 1, PATIENCE).await);
        }
    }
    (healthy, rows)
}

fn line(kind: Kind, what: &str, figures: &Figures, healthy: &Figures) -> String {
    let added = |of: &dyn Fn(&Figures) -> f64| {
        if std::ptr::eq(figures, healthy) { "–".to_owned() } else { format!("{:.2}", of(figures) - of(healthy)) }
    };
    let first = match kind {
        Kind::Json => ["–".to_owned(), "–".to_owned()],
        Kind::Stream => [format!("{:.2}", figures.first(0.5)), added(&|f| f.first(0.5))],
    };
    format!(
        "| {} | {what} | {:.2} | {:.2} | {} | {} | {} | {} |",
        kind.name(),
        figures.whole(0.5),
        figures.whole(0.99),
        added(&|f| f.whole(0.5)),
        added(&|f| f.whole(0.99)),
        first.join(" | "),
        figures.errors,
    )
}
