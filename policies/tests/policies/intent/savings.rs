//! What choosing by intent and tier saves against always asking the big model: a simulation over the held-out prompts.
//!
//! Everything assumed is stated here and printed: the mix of traffic, the lengths, the table of models. Prices are those of
//! the catalogue. The draw is seeded, so the same model gives the same figures.

use std::collections::BTreeMap;
use std::fmt::Write;

use policies::Intent;

use super::{Row, baseline};

const CALLS: usize = 100_000;
const SEED: u64 = 20_260_601;
/// A guess less sure than this is not worth the small model.
const UNSURE: u8 = 60;

/// Of 100 calls, and tokens of a call of tier 2: in, out.
const MIX: [(Intent, u32, f64, f64); 11] = [
    (Intent::Chat, 26, 700.0, 250.0),
    (Intent::Extraction, 14, 1_500.0, 250.0),
    (Intent::Code, 14, 1_800.0, 600.0),
    (Intent::Summarise, 12, 2_500.0, 250.0),
    (Intent::Writing, 10, 600.0, 500.0),
    (Intent::Classify, 8, 400.0, 20.0),
    (Intent::Translate, 5, 600.0, 500.0),
    (Intent::Reasoning, 4, 500.0, 600.0),
    (Intent::ToolUse, 4, 1_500.0, 150.0),
    (Intent::Vision, 2, 1_500.0, 300.0),
    (Intent::LongContext, 1, 50_000.0, 500.0),
];
/// Of 100 calls; and by how much an answer is longer than one of tier 2.
const TIERS: [(u8, u32, f64); 4] = [(1, 35, 0.4), (2, 43, 1.0), (3, 17, 2.2), (4, 5, 5.0)];

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Size {
    Small,
    Middle,
    Big,
}

/// The table of a rule as an operator would write it: by intent and tier, one step down where little of the budget is left.
fn table(intent: Intent, tier: u8, budget_left_percent: u8) -> Size {
    let demanding = matches!(intent, Intent::Code | Intent::Reasoning | Intent::ToolUse | Intent::LongContext);
    let size = match (tier, demanding) {
        (0..=1, _) => Size::Small,
        (2, false) => Size::Small,
        (2, true) => Size::Middle,
        (3, false) => Size::Middle,
        _ => Size::Big,
    };
    match size {
        Size::Big if budget_left_percent < 20 => Size::Middle,
        Size::Middle if budget_left_percent < 20 => Size::Small,
        other => other,
    }
}

struct Model {
    name: &'static str,
    input: f64,
    output: f64,
}

/// A model's list price from the catalogue, USD per million tokens.
fn model(catalog: &str, name: &'static str) -> Model {
    let line = catalog.lines().find(|it| it.contains(&format!("{{ id: {name}, "))).unwrap();
    let price = line.split_once("price: {").unwrap().1;
    let figure =
        |key: &str| price.split_once(&format!(" {key}: \"")).unwrap().1.split('"').next().unwrap().parse().unwrap();
    Model { name, input: figure("input"), output: figure("output") }
}

struct Fleet {
    provider: &'static str,
    revised: String,
    models: [Model; 3],
}

fn fleet(provider: &'static str, names: [&'static str; 3]) -> Fleet {
    let catalog = std::fs::read_to_string(format!("../providers/catalog/{provider}.yaml")).unwrap();
    let revised = catalog.lines().find_map(|it| it.strip_prefix("revised: ")).unwrap().to_owned();
    Fleet { provider, revised, models: names.map(|name| model(&catalog, name)) }
}

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut it = self.0;
        it = (it ^ (it >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        it = (it ^ (it >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        it ^ (it >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    /// From a half to one and a half.
    fn spread(&mut self) -> f64 {
        0.5 + (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn of_hundred<T: Copy>(&mut self, shares: impl IntoIterator<Item = (T, u32)>) -> T {
        let mut left = self.below(100) as u32;
        let mut last = None;
        for (it, share) in shares {
            if left < share {
                return it;
            }
            left -= share;
            last = Some(it);
        }
        last.unwrap()
    }
}

struct Call {
    /// Which of the prompts.
    row: usize,
    input: f64,
    output: f64,
}

fn traffic(rows: &[Row]) -> Vec<Call> {
    let mut prompts: BTreeMap<(&str, u8), Vec<usize>> = BTreeMap::new();
    for (at, row) in rows.iter().enumerate() {
        prompts.entry((row.intent.as_str(), row.tier)).or_default().push(at);
    }
    let mut chance = Chance(SEED);
    (0..CALLS)
        .map(|_| {
            let (intent, input, output) = chance.of_hundred(MIX.map(|it| ((it.0, it.2, it.3), it.1)));
            let (tier, longer) = chance.of_hundred(TIERS.map(|it| ((it.0, it.2), it.1)));
            // Some intents have no trivial or no hard prompts: the nearest then.
            let tiers = [tier, tier + 1, tier.saturating_sub(1), tier + 2, tier.saturating_sub(2)];
            let fitting = tiers.into_iter().find_map(|tier| prompts.get(&(intent.as_str(), tier))).unwrap();
            let row = fitting[chance.below(fitting.len())];
            Call { row, input: input * chance.spread(), output: output * longer * chance.spread() }
        })
        .collect()
}

type Choice = fn(&Row) -> Size;

const STRATEGIES: [(&str, Choice); 8] = [
    ("always the big model", |_| Size::Big),
    ("always the middle model", |_| Size::Middle),
    ("always the small model", |_| Size::Small),
    ("the table with the true labels", right),
    ("the table with the model's guess", |it| table(it.guess.intent, it.guess.tier, 100)),
    ("… and an unsure guess (below 60 %) never to the small model", |it| {
        let size = table(it.guess.intent, it.guess.tier, 100);
        if it.guess.confidence < UNSURE { size.max(Size::Middle) } else { size }
    }),
    ("the table with keyword rules and length alone", |it| table(baseline::intent(it), baseline::tier(it), 100)),
    ("the table with the model's guess, a tenth of the budget left", |it| table(it.guess.intent, it.guess.tier, 10)),
];

fn right(row: &Row) -> Size {
    table(row.intent, row.tier, 100)
}

pub fn tables(rows: &[Row]) -> String {
    let calls = traffic(rows);
    let mut out = format!("{CALLS} calls, seed {SEED}. Of 100 calls, with tokens in and out of a call of tier 2:\n\n");
    for (intent, share, input, output) in MIX {
        writeln!(out, "- {} {share} ({input} in, {output} out)", intent.as_str()).unwrap();
    }
    out += "\nTiers, and an answer's length against tier 2:";
    for (tier, share, longer) in TIERS {
        write!(out, " {tier}: {share} % (× {longer}),").unwrap();
    }
    out += " and every length varied from half to one and a half.\n";
    for fleet in [
        fleet("openai", ["gpt-5.6-luna", "gpt-5.6-terra", "gpt-5.6"]),
        fleet("anthropic", ["claude-haiku-4-5", "claude-sonnet-5-5", "claude-opus-5-5"]),
    ] {
        out += &costs(&fleet, rows, &calls);
    }
    out
}

fn costs(fleet: &Fleet, rows: &[Row], calls: &[Call]) -> String {
    let priced = |it: &Model| format!("{} ({:.2} / {:.2})", it.name, it.input, it.output);
    let [small, middle, big] = &fleet.models;
    let mut out = format!(
        "\nSmall, middle, big: {}, {}, {}; USD per million tokens in / out, providers/catalog/{}.yaml, revised {}.\n\n\
         | choice | USD per 1,000 calls | saved | to a smaller model than the true labels say | tier 3 or 4 to the small model |\n\
         |---|---:|---:|---:|---:|\n",
        priced(small),
        priced(middle),
        priced(big),
        fleet.provider,
        fleet.revised
    );
    let cost = |chosen: &[Size]| -> f64 {
        let cost = |it: &Call| {
            let model = &fleet.models[chosen[it.row] as usize];
            (it.input * model.input + it.output * model.output) / 1e6
        };
        calls.iter().map(cost).sum::<f64>() / calls.len() as f64 * 1_000.0
    };
    let always = cost(&vec![Size::Big; rows.len()]);
    let due: Vec<_> = rows.iter().map(right).collect();
    let hard: Vec<_> = rows.iter().map(|it| it.tier >= 3).collect();
    let percent = |part: usize, of: usize| part as f64 / of as f64 * 100.0;
    for (name, choice) in STRATEGIES {
        let chosen: Vec<_> = rows.iter().map(choice).collect();
        let smaller = calls.iter().filter(|it| chosen[it.row] < due[it.row]).count();
        let hard_calls = calls.iter().filter(|it| hard[it.row]);
        let misled = hard_calls.clone().filter(|it| chosen[it.row] == Size::Small).count();
        writeln!(
            out,
            "| {name} | {:.2} | {:.1} % | {:.1} % | {:.1} % of them |",
            cost(&chosen),
            (1.0 - cost(&chosen) / always) * 100.0,
            percent(smaller, calls.len()),
            percent(misled, hard_calls.count()),
        )
        .unwrap();
    }
    out
}
