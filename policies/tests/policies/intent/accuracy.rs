//! Accuracy on the held-out set, by class, tier and confidence, beside the baselines.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use policies::Intent;

use super::{Row, baseline, learnt};

/// The two figures that a change must not lower.
pub struct Accuracy {
    pub intent: f64,
    pub within_one: f64,
}

pub fn measure(rows: &[Row]) -> Accuracy {
    Accuracy {
        intent: share(rows.iter().filter(|it| learnt(it)), |it| it.guess.intent == it.intent),
        within_one: share(rows, |it| it.guess.tier.abs_diff(it.tier) <= 1),
    }
}

fn share<'a>(rows: impl IntoIterator<Item = &'a Row>, right: impl Fn(&Row) -> bool) -> f64 {
    let (mut all, mut good) = (0_u32, 0_u32);
    for row in rows {
        all += 1;
        good += u32::from(right(row));
    }
    f64::from(good) / f64::from(all.max(1))
}

/// Every template counts once, however many prompts were made of it.
fn by_template(rows: &[Row], right: impl Fn(&Row) -> bool) -> f64 {
    let mut templates: BTreeMap<u64, Vec<&Row>> = BTreeMap::new();
    for row in rows.iter().filter(|it| learnt(it)) {
        templates.entry(row.template).or_default().push(row);
    }
    templates.values().map(|them| share(them.iter().copied(), &right)).sum::<f64>() / templates.len() as f64
}

fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

pub fn tables(train: &[Row], rows: &[Row]) -> String {
    let mut out = String::new();
    let words: Vec<&Row> = rows.iter().filter(|it| learnt(it)).collect();
    let templates = |rows: &[Row]| rows.iter().map(|it| it.template).collect::<BTreeSet<_>>().len();
    writeln!(
        out,
        "Training: {} prompts of {} templates. Held out: {} prompts of {} templates; {} of them ({} templates) are told by their \
         words, the rest by images or length.\n",
        train.len(),
        templates(train),
        rows.len(),
        templates(rows),
        words.len(),
        words.iter().map(|it| it.template).collect::<BTreeSet<_>>().len(),
    )
    .unwrap();

    let guessed = |row: &Row| row.guess.intent == row.intent;
    let by_rule = |row: &Row| baseline::intent(row) == row.intent;
    let common = Intent::ALL.into_iter().max_by_key(|it| train.iter().filter(|row| row.intent == *it).count()).unwrap();
    let commonest = |row: &Row| common == row.intent;
    out += "| intent on held-out prompts | told by words | each template once | with vision and long context |\n|---|---:|---:|---:|\n";
    let mut line = |name: &str, right: &dyn Fn(&Row) -> bool| {
        let (words, once) = (share(words.iter().copied(), right), by_template(rows, right));
        writeln!(out, "| {name} | {} | {} | {} |", percent(words), percent(once), percent(share(rows, right))).unwrap();
    };
    line("the model", &guessed);
    line("keyword rules", &by_rule);
    line(&format!("always {}", common.as_str()), &commonest);

    out += "\nRows are what a prompt is, columns what it was taken for.\n\n|  |";
    let classes: Vec<_> = Intent::ALL.into_iter().filter(|it| words.iter().any(|row| row.intent == *it)).collect();
    for class in &classes {
        write!(out, " {} |", class.as_str()).unwrap();
    }
    out += " found | right when told |\n|---|";
    out += &"---:|".repeat(classes.len() + 2);
    out.push('\n');
    for class in &classes {
        write!(out, "| {} |", class.as_str()).unwrap();
        let of: Vec<_> = words.iter().copied().filter(|it| it.intent == *class).collect();
        for told in &classes {
            write!(out, " {} |", of.iter().filter(|it| it.guess.intent == *told).count()).unwrap();
        }
        let told = words.iter().copied().filter(|it| it.guess.intent == *class);
        writeln!(out, " {} | {} |", percent(share(of, guessed)), percent(share(told, guessed))).unwrap();
    }

    out += "\n| told with a confidence of | prompts | right |\n|---|---:|---:|\n";
    for (from, to) in [(0, 40), (40, 60), (60, 80), (80, 95), (95, 101)] {
        let of: Vec<_> = words.iter().copied().filter(|it| (from..to).contains(&it.guess.confidence)).collect();
        writeln!(out, "| {from}–{} | {} | {} |", to - 1, of.len(), percent(share(of, guessed))).unwrap();
    }
    out + "\n" + &tiers(train, rows)
}

fn tiers(train: &[Row], rows: &[Row]) -> String {
    let common = (1..=4).max_by_key(|tier| train.iter().filter(|it| it.tier == *tier).count()).unwrap();
    let mut out = String::from(
        "| tier on held-out prompts | exact | within one | too low | 3 or 4 taken for 1 |\n|---|---:|---:|---:|---:|\n",
    );
    let mut line = |name: &str, tier: &dyn Fn(&Row) -> u8| {
        let hard = rows.iter().filter(|it| it.tier >= 3);
        writeln!(
            out,
            "| {name} | {} | {} | {} | {} |",
            percent(share(rows, |it| tier(it) == it.tier)),
            percent(share(rows, |it| tier(it).abs_diff(it.tier) <= 1)),
            percent(share(rows, |it| tier(it) < it.tier)),
            percent(share(hard, |it| tier(it) == 1)),
        )
        .unwrap();
    };
    line("the model", &|it| it.guess.tier);
    line("by length alone", &baseline::tier);
    line(&format!("always {common}"), &|_| common);
    out += "\n| is \\ taken for | 1 | 2 | 3 | 4 |\n|---|---:|---:|---:|---:|\n";
    for tier in 1..=4 {
        write!(out, "| {tier} |").unwrap();
        for told in 1..=4 {
            write!(out, " {} |", rows.iter().filter(|it| it.tier == tier && it.guess.tier == told).count()).unwrap();
        }
        out.push('\n');
    }
    out
}
