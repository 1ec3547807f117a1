//! How near our estimates come to what providers report, dialect by dialect: the table of `docs/providers/estimates.md`.
//! `UPDATE=1 cargo test -p providers estimates` writes it anew.
//!
//! Only figures that are not ours count: such as a provider published with the request that they belong to, and such as a server
//! that nobody here wrote reported when it was asked. Pairs of `testdata/` are shaped like answers, and prove nothing.

use std::fmt::Write as _;
use std::path::Path;

use crate::request::{ModelRequest, Outside, Shape};
use crate::{Fleet, ProviderConfig};

/// One request with what it was reported to take.
struct Pair {
    dialect: &'static str,
    target: &'static str,
    shape: Shape,
    body: String,
    /// What it is, and where the figure comes from.
    what: &'static str,
    source: usize,
    input: u64,
    /// The answer's text and tokens, where both are known.
    output: Option<(&'static str, u64)>,
}

const SOURCES: [&str; 4] = [
    "OpenAI's cookbook, “How to count tokens with tiktoken”: `usage.prompt_tokens` as its API answered",
    "Anthropic's documentation, “Token counting”: what `count_tokens` answered for Claude Sonnet",
    "Google's API reference, “Counting tokens”: `prompt_token_count` as its API answered",
    "a llama.cpp server asked by us: a tiny model of random weights whose vocabulary is single bytes, the least like ours there is",
];

const JARGON: &str = r#"[
    {"role":"system","content":"You are a helpful, pattern-following assistant that translates corporate jargon into plain English."},
    {"role":"system","name":"example_user","content":"New synergies will help drive top-line growth."},
    {"role":"system","name":"example_assistant","content":"Things working well together will increase revenue."},
    {"role":"system","name":"example_user","content":"Let's circle back when we have more bandwidth to touch base on opportunities for increased leverage."},
    {"role":"system","name":"example_assistant","content":"Let's talk later when we're less busy about how to do better."},
    {"role":"user","content":"This late pivot means we don't have time to boil the ocean for the client deliverable."}]"#;
const WEATHER: &str = r#"[{"role":"system","content":"You are a helpful assistant that can answer to questions about the weather."},
    {"role":"user","content":"What's the weather like in San Francisco?"}]"#;
const WEATHER_TOOL: &str = r#"[{"type":"function","function":{"name":"get_current_weather","description":"Get the current weather in a given location",
    "parameters":{"type":"object","properties":{"location":{"type":"string","description":"The city and state, e.g. San Francisco, CA"},
    "unit":{"type":"string","description":"The unit of temperature to return","enum":["celsius","fahrenheit"]}},"required":["location"]}}}]"#;
const CLAUDES_TOOL: &str = r#"[{"name":"get_weather","description":"Get the current weather in a given location","input_schema":{"type":"object",
    "properties":{"location":{"type":"string","description":"The city and state, e.g. San Francisco, CA"}},"required":["location"]}}]"#;

fn pairs() -> Vec<Pair> {
    let pair = |dialect, target, shape, body: String, what, source, input| Pair {
        dialect,
        target,
        shape,
        body,
        what,
        source,
        input,
        output: None,
    };
    let jargon = || format!(r#"{{"model":"m","messages":{JARGON}}}"#);
    let weather = || format!(r#"{{"model":"m","messages":{WEATHER},"tools":{WEATHER_TOOL}}}"#);
    let claude = |rest: String| format!(r#"{{"model":"m",{rest}}}"#);
    let hello = r#""system":"You are a scientist","messages":[{"role":"user","content":"Hello, Claude"}]"#.to_owned();
    let ask = format!(
        r#""tools":{CLAUDES_TOOL},"messages":[{{"role":"user","content":"What's the weather like in San Francisco?"}}]"#
    );
    let fox = r#"{"contents":[{"parts":[{"text":"The quick brown fox jumps over the lazy dog."}]}]}"#.to_owned();
    let say = r#"{"model":"m","messages":[{"role":"user","content":"Say hello"}]}"#.to_owned();
    let why = r#"{"model":"m","messages":[{"role":"system","content":"You are a helpful assistant."},
        {"role":"user","content":"The quick brown fox jumps over the lazy dog. Why?"}]}"#
        .to_owned();
    vec![
        pair("openai", "openai/gpt-4o", Shape::OpenAi, jargon(), "six messages, four of them named", 0, 124),
        pair("openai", "openai/gpt-4", Shape::OpenAi, jargon(), "the same", 0, 129),
        pair("openai", "openai/gpt-3.5-turbo", Shape::OpenAi, jargon(), "the same", 0, 129),
        pair("openai", "openai/gpt-4o", Shape::OpenAi, weather(), "two messages and a function", 0, 101),
        pair("openai", "openai/gpt-4", Shape::OpenAi, weather(), "the same", 0, 105),
        pair("anthropic", "anthropic/claude-sonnet-4-5", Shape::Anthropic, claude(hello), "a greeting", 1, 14),
        pair(
            "anthropic",
            "anthropic/claude-sonnet-4-5",
            Shape::Anthropic,
            claude(ask),
            "a question and a tool",
            1,
            403,
        ),
        pair("gemini", "gemini/gemini-2.5-flash", Shape::Gemini, fox, "a sentence", 2, 11),
        Pair {
            output: Some(("5g6Qg$2222$2$", 16)),
            ..pair("openai (compatible)", "local/tiny", Shape::OpenAi, say, "a question", 3, 27)
        },
        Pair {
            output: Some(("5g$2gggggg8S2\u{1c}OF8nTTTTTT\u{19}8Yg$2\u{12}\u{19}8*2\u{1c}TTTTTg$22\u{1c}Tg", 64)),
            ..pair("openai (compatible)", "local/tiny", Shape::OpenAi, why, "two messages", 3, 104)
        },
    ]
}

fn fleet() -> Fleet {
    let configs: Vec<ProviderConfig> = [
        "{ id: openai, kind: openai, api_key: { env: K } }",
        "{ id: anthropic, kind: anthropic, api_key: { env: K } }",
        "{ id: gemini, kind: gemini, api_key: { env: K } }",
        "{ id: local, kind: llamacpp, base_url: \"http://127.0.0.1:1/v1\", models: [{ id: tiny, context: 512 }] }",
    ]
    .iter()
    .map(|it| serde_yaml_ng::from_str(it).unwrap())
    .collect();
    Fleet::build(&configs, &|_| Some("k".to_owned())).unwrap()
}

fn error(ours: u64, theirs: u64) -> String {
    format!("{:+.0} %", (ours as f64 - theirs as f64) * 100.0 / theirs as f64)
}

fn table() -> String {
    let fleet = fleet();
    let mut out = String::from(
        "# How near our estimates come\n\n\
         Generated by `UPDATE=1 cargo test -p providers estimates`.\n\n\
         A provider's own usage always wins. These estimates count where none is told: a stream that is cut, a server that sends no \
         usage, `count_tokens` for a model whose provider does not count. What is *held* is the bound, which must never be below what \
         is billed.\n\n\
         The evidence is thin, and meant to be read so: only figures that a provider published together with the request, and a server \
         that was measured. There is none for the other dialects (Bedrock, Cohere, Mistral, Vertex), none for images, sound and files, \
         and none for the output of models whose tokenizer is not public.\n\n\
         | dialect | model | request | input, reported | our estimate | off by | held at most | output, reported | our estimate | off by | source |\n\
         |---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    for pair in pairs() {
        let target = fleet.target(pair.target).expect(pair.target);
        let outside = Outside {
            counts: true,
            model: (pair.shape == Shape::Gemini).then(|| "m".to_owned()),
            ..Outside::default()
        };
        let request = ModelRequest::parse_with(pair.shape, pair.body.into(), outside).expect(pair.what);
        let (estimate, bound) = (target.count_input(&request), target.input_bound(&request));
        assert!(bound >= pair.input, "{}, {}: {bound} is held for {}", pair.target, pair.what, pair.input);
        let output = match pair.output {
            Some((text, tokens)) => {
                let ours = target.count_output(text);
                format!("{tokens} | {ours} | {}", error(ours, tokens))
            }
            None => "– | – | –".to_owned(),
        };
        let _ = writeln!(
            out,
            "| {} | `{}` | {} | {} | {estimate} | {} | {bound} | {output} | {} |",
            pair.dialect,
            pair.target,
            pair.what,
            pair.input,
            error(estimate, pair.input),
            pair.source + 1,
        );
    }
    out.push_str("\nSources:\n\n");
    for (nth, source) in SOURCES.iter().enumerate() {
        let _ = writeln!(out, "{}. {source}", nth + 1);
    }
    out
}

#[test]
fn the_table_of_estimates_is_what_is_published_and_no_hold_is_below_what_was_reported() {
    let path = Path::new("../docs/providers/estimates.md");
    let table = table();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &table).unwrap();
    }
    assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), table, "UPDATE=1 writes it anew");
}
