//! Both sides of the model agree, and nothing that comes in upsets it.

use super::*;

const GOLDEN: &str = include_str!("../../intent/golden.jsonl");

/// A row's texts, `{pad}` written out as train.py does.
fn texts(row: &serde_json::Value, key: &str) -> Vec<String> {
    let pad = row["pad"].as_u64().unwrap_or_default() as usize;
    let text = |it: &serde_json::Value| {
        let pad: String = "and so it goes on, ".chars().cycle().take(pad).collect();
        it.as_str().unwrap().replace("{pad}", &pad)
    };
    row[key].as_array().map(|them| them.iter().map(text).collect()).unwrap_or_default()
}

#[test]
fn rust_sees_the_features_that_the_training_saw_and_scores_them_alike() {
    let mut rows = 0;
    for line in GOLDEN.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let (system, conversation) = (texts(&row, "system"), texts(&row, "conversation"));
        let system: Vec<_> = system.iter().map(String::as_str).collect();
        let conversation: Vec<_> = conversation.iter().map(String::as_str).collect();
        let asked = Asked {
            system: &system,
            conversation: &conversation,
            tools: row["tools"] == true,
            images: row["images"] == true,
            json: row["json"] == true,
            input_tokens: 0,
        };
        let seen = features::read(&asked, model());
        let mut names: Vec<_> = seen.features().map(|it| model().feature(it).0).collect();
        names.sort_unstable();
        let expected: Vec<_> = row["features"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect();
        assert_eq!(names, expected, "{line}");
        let scores: Vec<_> = row["scores"].as_array().unwrap().iter().map(|it| it.as_i64().unwrap() as i32).collect();
        assert_eq!(seen.scores().as_slice(), scores, "{line}");
        rows += 1;
    }
    assert!(rows >= 40, "{rows} golden rows");
}

fn said(text: &str) -> Classified {
    classify(&Asked { conversation: &[text], ..Asked::default() })
}

#[test]
fn plain_requests_are_told_apart_in_four_languages() {
    for (text, intent) in [
        ("Write a Python function that sorts a list of dictionaries by key.", Intent::Code),
        ("Schreibe eine Python-Funktion, die eine Liste sortiert.", Intent::Code),
        ("Écris une fonction Python qui trie une liste.", Intent::Code),
        ("Escribe una función en Python que ordene una lista.", Intent::Code),
        ("Translate this sentence into German: the cat sleeps.", Intent::Translate),
        ("Übersetze diesen Satz ins Französische: Die Katze schläft.", Intent::Translate),
        ("Traduis cette phrase en anglais : le chat dort.", Intent::Translate),
        ("Traduce esta frase al inglés: el gato duerme.", Intent::Translate),
        ("Hello, how are you today?", Intent::Chat),
        ("Hallo, wie geht es dir heute?", Intent::Chat),
        ("Salut, comment vas-tu ?", Intent::Chat),
        ("Hola, ¿cómo estás?", Intent::Chat),
    ] {
        assert_eq!(said(text).intent, intent, "{text}");
    }
}

#[test]
fn images_and_length_are_facts_and_tools_are_needed_to_use_them() {
    let asked = Asked { conversation: &["Translate the menu into German"], images: true, ..Asked::default() };
    assert_eq!(classify(&asked).intent, Intent::Vision);
    let long = "so it goes on. ".repeat(10_000);
    let asked = Asked { conversation: &[&long], input_tokens: 40_000, ..Asked::default() };
    assert_eq!(classify(&asked).intent, Intent::LongContext);
    // A bound says that there are few tokens in all those bytes.
    assert_ne!(classify(&Asked { input_tokens: 9_000, ..asked }).intent, Intent::LongContext);

    let book = Asked { conversation: &["Book a table for two tomorrow evening"], tools: true, ..Asked::default() };
    assert_eq!(classify(&book).intent, Intent::ToolUse);
    assert_ne!(classify(&Asked { tools: false, ..book }).intent, Intent::ToolUse);
}

#[test]
fn a_proof_is_harder_than_a_greeting() {
    assert_eq!(said("hi").tier, 1);
    assert!(
        said("Prove rigorously that every bounded monotone sequence converges, and generalise the proof.").tier >= 3
    );
}

#[test]
fn an_explanation_names_features_and_never_words_of_the_prompt() {
    let text = "Translate zanzibarically quuxed marmalade into German, Kowalski!";
    let told = explain(&Asked { conversation: &[text], ..Asked::default() });
    assert_eq!(told.classified, said(text));
    assert!(told.because.iter().any(|it| it.ends_with("~translate")), "{:?}", told.because);
    for line in GOLDEN.lines() {
        let row: serde_json::Value = serde_json::from_str(line).unwrap();
        let conversation = texts(&row, "conversation");
        let conversation: Vec<_> = conversation.iter().map(String::as_str).collect();
        let told = explain(&Asked { conversation: &conversation, ..Asked::default() });
        for name in told.because.iter().filter(|it| !it.is_empty()) {
            assert!(name.starts_with("shape:") || name.contains('~'), "{name}");
        }
    }
}

#[test]
fn whatever_comes_in_is_answered() {
    let cut = "é".repeat(350) + "“" + &"ß".repeat(2_000) + "À";
    let odd = [
        "",
        " ",
        "\0",
        "?",
        "'''''",
        "```",
        "://",
        "1.2.3)",
        "À",
        "…—“”«»¿¡",
        "日本語のテキストを要約してください",
        "🦀🦀🦀",
        "\u{202e}abc",
        cut.as_str(),
    ];
    for text in odd {
        let asked = Asked { system: &[text, text, text], conversation: &[text; 9], ..Asked::default() };
        let told = explain(&asked);
        assert!((1..=4).contains(&told.classified.tier), "{text:?}");
        assert!(told.classified.confidence <= 100, "{text:?}");
    }
    let nothing = Classified { intent: Intent::Chat, confidence: 0, tier: 1 };
    assert_eq!(classify(&Asked::default()), nothing);
    assert_eq!(said(""), nothing);
}
