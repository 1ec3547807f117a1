//! How well requests are told apart on prompts that nothing was trained on, and what that is worth: the figures of
//! docs/intent.md. `UPDATE=1 cargo test -p policies --test policies intent` writes them anew.

mod accuracy;
mod baseline;
mod savings;

use std::path::Path;

use policies::intent::classify;
use policies::{Asked, Classified, Intent};
use serde_json::Value;

const BEGIN: &str = "<!-- figures: written by the tests of policies -->\n";
/// In the order in which `train.py` reads them.
const TRAIN: [&str; 2] = ["train_1.jsonl", "train_2.jsonl"];
const END: &str = "<!-- end of figures -->";

/// A labelled prompt and what was guessed.
pub struct Row {
    pub system: Vec<String>,
    pub conversation: Vec<String>,
    pub tools: bool,
    pub images: bool,
    pub template: u64,
    pub intent: Intent,
    pub tier: u8,
    pub guess: Classified,
}

fn rows(files: &[&str]) -> Vec<Row> {
    let text = |file: &&str| std::fs::read_to_string(Path::new("intent").join(file)).unwrap();
    files.iter().map(text).collect::<String>().lines().map(|line| row(&serde_json::from_str(line).unwrap())).collect()
}

fn row(it: &Value) -> Row {
    let pad = it["pad"].as_u64().unwrap_or_default() as usize;
    let texts = |key: &str| -> Vec<String> {
        let pad: String = "and so it goes on, ".chars().cycle().take(pad).collect();
        let text = |it: &Value| it.as_str().unwrap().replace("{pad}", &pad);
        it[key].as_array().map(|them| them.iter().map(text).collect()).unwrap_or_default()
    };
    let (system, conversation) = (texts("system"), texts("conversation"));
    let (tools, images) = (it["tools"] == true, it["images"] == true);
    let guess = {
        let system: Vec<_> = system.iter().map(String::as_str).collect();
        let conversation: Vec<_> = conversation.iter().map(String::as_str).collect();
        let json = it["json"] == true;
        classify(&Asked { system: &system, conversation: &conversation, tools, images, json, input_tokens: 0 })
    };
    let intent = Intent::ALL.into_iter().find(|known| it["intent"] == known.as_str()).unwrap();
    let tier = it["tier"].as_u64().unwrap() as u8;
    Row { system, conversation, tools, images, template: it["template"].as_u64().unwrap(), intent, tier, guess }
}

/// Whether the words decide: images and length are told by the request itself.
fn learnt(row: &Row) -> bool {
    !matches!(row.intent, Intent::Vision | Intent::LongContext)
}

#[test]
fn the_published_figures_are_what_the_model_does_on_prompts_that_it_has_not_seen() {
    let (train, heldout) = (rows(&TRAIN), rows(&["heldout.jsonl"]));
    let accuracy = accuracy::measure(&heldout);
    assert!(
        accuracy.intent >= 0.75 && accuracy.within_one >= 0.97,
        "{:.3} {:.3}",
        accuracy.intent,
        accuracy.within_one
    );
    let figures = format!("{}\n{}", accuracy::tables(&train, &heldout), savings::tables(&heldout));

    let path = Path::new("../docs/intent.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect("docs/intent.md has a place for figures");
    let (published, after) = rest.split_once(END).expect("docs/intent.md has an end of the figures");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, format!("{before}{BEGIN}{figures}{END}{after}")).unwrap();
        return;
    }
    assert!(published == figures, "docs/intent.md is out of date: run the tests of policies with UPDATE=1\n{figures}");
}

#[test]
fn nothing_of_the_held_out_set_is_in_the_training_set() {
    let (train, heldout) = (rows(&TRAIN), rows(&["heldout.jsonl"]));
    assert!(train.len() >= 4_000 && heldout.len() >= 1_000, "{} {}", train.len(), heldout.len());
    let last = |row: &Row| row.conversation.last().unwrap().to_lowercase();
    let known: std::collections::BTreeSet<_> = train.iter().map(last).collect();
    for row in &heldout {
        // A greeting of a word or two can only be written in one way.
        assert!(last(row).len() < 12 || !known.contains(&last(row)), "{}", last(row));
    }
    let lines = |file: &str| -> std::collections::BTreeSet<String> {
        let text = std::fs::read_to_string(Path::new("intent/templates").join(file)).unwrap();
        text.lines().filter(|line| !line.starts_with('#') && line.len() >= 12).map(str::to_lowercase).collect()
    };
    for (ours, theirs) in [("train.txt", "heldout.txt"), ("train_fillers.txt", "heldout_fillers.txt")] {
        let shared: Vec<_> = lines(ours).intersection(&lines(theirs)).cloned().collect();
        assert!(shared.is_empty(), "{ours} and {theirs} share {shared:?}");
    }
}
