//! What one gets without a model: always the commonest, or a handful of rules on words and lengths.

use policies::Intent;

use super::Row;

/// The words that one would write down first; the first rule that matches counts.
const RULES: [(Intent, &[&str]); 8] = [
    (Intent::Translate, &["translat", "übersetz", "tradui", "traduc", "traduis"]),
    (Intent::Summarise, &["summar", "tl;dr", "tldr", "zusammenfass", "fasse", "résum", "resum"]),
    (
        Intent::Code,
        &[
            "```",
            "python",
            "javascript",
            "typescript",
            "function",
            "funktion",
            "fonction",
            "función",
            "code",
            "sql",
            "bug",
        ],
    ),
    (Intent::Extraction, &["extract", "extrahier", "extrai", "extrae", "json", "list all", "csv"]),
    (Intent::Classify, &["classif", "klassifi", "clasific", "sentiment", "categor", "kategor", "positive", "label"]),
    (
        Intent::Writing,
        &[
            "write",
            "schreib",
            "écri",
            "escrib",
            "draft",
            "e-mail",
            "letter",
            "poem",
            "rewrite",
            "rephrase",
            "korrigier",
        ],
    ),
    (
        Intent::Reasoning,
        &["prove", "calculate", "why", "step by step", "compare", "solve", "how many", "analyse", "design", "%"],
    ),
    (Intent::Chat, &["hello", "hallo", "thank", "danke", "merci", "gracias"]),
];

/// Keyword rules over the last text and the system text.
pub fn intent(row: &Row) -> Intent {
    if row.images {
        return Intent::Vision;
    }
    let bytes: usize = row.system.iter().chain(&row.conversation).map(String::len).sum();
    if bytes > 128 * 1024 {
        return Intent::LongContext;
    }
    let text = format!("{} {}", row.system.join(" "), row.conversation.last().unwrap()).to_lowercase();
    let rule = RULES.iter().find(|(_, words)| words.iter().any(|word| text.contains(word)));
    match rule {
        Some((intent, _)) => *intent,
        None if row.tools => Intent::ToolUse,
        None => Intent::Chat,
    }
}

/// By length alone.
pub fn tier(row: &Row) -> u8 {
    match row.conversation.last().unwrap().len() {
        0..50 => 1,
        50..300 => 2,
        300..1_000 => 3,
        _ => 4,
    }
}
