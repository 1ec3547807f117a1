//! `make bench-intent`: what classifying a request costs, on one thread; release build.

use std::hint::black_box;
use std::time::Instant;

use policies::Asked;
use policies::intent::{classify, explain};

const RUNS: usize = 20_000;

fn main() {
    let short = "Translate to French: where is the nearest pharmacy?";
    let paragraph =
        "The city council approved a plan on Monday that will close the old bridge for eighteen months. ".repeat(9);
    let article = format!("Summarise the following article in three points.\n\n{paragraph}");
    let code = format!(
        "Why does this fail?\n\n```\n{}```",
        "    let total = items.iter().map(|it| it.price).sum();\n".repeat(40)
    );
    let system = "You are a careful assistant of a bank. Answer only from the documents, quote the clause, be brief. "
        .repeat(12);
    let page = "Die Händler fürchten Verluste, while the neighbours — “at last” — hope for quiet; 2 300 signatures. "
        .repeat(10_300);
    let turns: Vec<&str> = (0..2_600).map(|at| if at % 2 == 0 { short } else { article.as_str() }).collect();

    println!("| prompt | bytes | p50 µs | p99 µs |\n|---|---:|---:|---:|");
    let cases: [(&str, &[&str], &[&str]); 6] = [
        ("a question", &[], &[short]),
        ("an article to be summarised", &[], &[&article]),
        ("code, with a long system text", &[&system], &[&code]),
        ("eight turns and a system text", &[&system], &turns[..8]),
        ("one megabyte in one text", &[&system, &system], &[&article, &article, &article, &page]),
        ("2,600 messages, one megabyte", &[&system], &turns),
    ];
    for (name, system, conversation) in cases {
        let asked = Asked { system, conversation, tools: true, ..Asked::default() };
        let bytes: usize = system.iter().chain(conversation).map(|it| it.len()).sum();
        let [half, worst] = measured(|| _ = black_box(classify(black_box(&asked))));
        println!("| {name} | {bytes} | {half:.1} | {worst:.1} |");
        if conversation.len() == 1 && bytes < 2_000 && bytes > 500 {
            let [half, worst] = measured(|| _ = black_box(explain(black_box(&asked))));
            println!("| the same, explained | {bytes} | {half:.1} | {worst:.1} |");
        }
    }
}

/// The median and the 99th percentile, in µs.
fn measured(mut run: impl FnMut()) -> [f64; 2] {
    let mut times: Vec<_> = (0..RUNS)
        .map(|_| {
            let begun = Instant::now();
            run();
            begun.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    [times[RUNS / 2], times[RUNS * 99 / 100]]
}
