//! What providers answer: every dialect's reader for every caller, whole, streamed and gathered. Bounded, the same under every
//! split, and what it writes is what the caller's wire promises.

use std::collections::BTreeMap;

use http::HeaderMap;

use super::framing::{pieces, spoiled_frames};
use super::mutate;
use super::requests::parse;
use super::{Mutate, Target, golden};
use crate::anthropic::AnthropicDialect;
use crate::bedrock::BedrockDialect;
use crate::cohere::CohereDialect;
use crate::dialect::{Decoder, Dialect};
use crate::error::Class;
use crate::gather::{can_gather, gather};
use crate::gemini::GeminiDialect;
use crate::openai::OpenAiDialect;
use crate::request::{AnswerEvent, ModelRequest, Shape, Usage};
use crate::responses::outbound::ResponsesDialect;
use crate::sse::SseReader;

pub(super) fn dialects() -> Vec<(&'static str, &'static dyn Dialect)> {
    vec![
        ("openai", &OpenAiDialect),
        ("anthropic", &AnthropicDialect),
        ("gemini", &GeminiDialect),
        ("bedrock", &BedrockDialect),
        ("cohere", &CohereDialect),
        ("responses", &ResponsesDialect),
    ]
}

const MESSAGES: &str = r#""model":"m","max_tokens":9,"messages":[{"role":"user","content":"a"}]"#;

/// Everybody who may read an answer.
fn callers() -> Vec<ModelRequest> {
    let rows = [
        (Shape::OpenAi, format!("{{{MESSAGES}}}")),
        (Shape::OpenAi, format!("{{{MESSAGES},\"stream\":true}}")),
        (Shape::OpenAi, format!("{{{MESSAGES},\"stream\":true,\"stream_options\":{{\"include_usage\":true}}}}")),
        (Shape::OpenAi, format!("{{{MESSAGES},\"parallel_tool_calls\":false}}")),
        (Shape::Anthropic, format!("{{{MESSAGES}}}")),
        (Shape::Anthropic, format!("{{{MESSAGES},\"stream\":true,\"thinking\":{{\"type\":\"adaptive\"}}}}")),
        (Shape::Responses, r#"{"model":"m","input":"a"}"#.to_owned()),
        (Shape::Responses, r#"{"model":"m","input":"a","stream":true}"#.to_owned()),
        (Shape::Gemini, r#"{"contents":[{"parts":[{"text":"a"}]}]}"#.to_owned()),
        (Shape::Gemini, r#"{"contents":[{"parts":[{"text":"a"}]}],"labels":{"streamed":"yes"}}"#.to_owned()),
        (Shape::Completions, r#"{"model":"m","prompt":"a","stream":true}"#.to_owned()),
        (Shape::Embeddings, r#"{"model":"m","input":["a","b"],"encoding_format":"base64"}"#.to_owned()),
        (Shape::Images, r#"{"model":"m","prompt":"a","stream":true}"#.to_owned()),
        (Shape::Speech, r#"{"model":"m","input":"a","voice":"v","response_format":"wav"}"#.to_owned()),
        (Shape::Rerank, r#"{"model":"m","query":"a","documents":["b"]}"#.to_owned()),
    ];
    let read = |(shape, body): &(Shape, String)| parse(*shape, body.as_bytes(), body.contains("streamed")).unwrap();
    rows.iter().map(read).collect()
}

/// What one would tell of an answer, however it came in pieces.
#[derive(Debug, Default, PartialEq)]
struct Told {
    frames: Vec<u8>,
    texts: BTreeMap<u64, String>,
    usage: Option<Usage>,
    end: Option<(Option<String>, Vec<u8>)>,
    error: Option<Class>,
}

impl Told {
    /// Takes events as the client does: what comes after the end is not looked at. False at the end.
    fn take(&mut self, events: Vec<AnswerEvent>) -> bool {
        for event in events {
            match event {
                AnswerEvent::Delta(delta) => {
                    self.frames.extend_from_slice(&delta.frame);
                    for (choice, text) in delta.texts {
                        self.texts.entry(choice).or_default().push_str(&text);
                    }
                }
                AnswerEvent::Usage(usage) => self.usage = Some(usage),
                AnswerEvent::End(end) => {
                    let closing = end.closing(Some("0.001"), Some(&Usage { input: 1, output: 2, ..Usage::default() }));
                    self.end = Some((end.finish_reason().map(str::to_owned), closing.to_vec()));
                    return false;
                }
            }
        }
        true
    }
}

fn tell(decoder: &mut dyn Decoder, pieces: &[&[u8]]) -> Told {
    let mut told = Told::default();
    for piece in pieces {
        let end = decoder.event_end(piece);
        assert!((1..=piece.len()).contains(&end), "there is always something to read on");
        let mut events = Vec::new();
        let read = decoder.feed(piece, &mut events);
        if !told.take(events) {
            return told;
        }
        if let Err(error) = read {
            told.error = Some(error.class);
            return told;
        }
    }
    let mut events = Vec::new();
    let read = decoder.finish(&mut events);
    if told.take(events) {
        told.error = read.err().map(|it| it.class);
        assert!(told.error.is_some() || told.end.is_some(), "an answer ends, or is said to have broken off");
    }
    told
}

const TYPES: [&str; 4] = ["", "text/event-stream", "application/json", "text/html"];
const WAYS: usize = 3;

fn is_json(text: &[u8]) -> bool {
    serde_json::from_slice::<Box<serde_json::value::RawValue>>(text).is_ok()
}

/// Every event of a stream is JSON, and so is the whole body for everybody else.
fn check_wire(caller: &ModelRequest, told: &Told) {
    let mut all = told.frames.clone();
    all.extend(told.end.iter().flat_map(|(_, closing)| closing.iter().copied()));
    if caller.shape() == Shape::Speech {
        return;
    }
    if !caller.stream() {
        assert!(told.frames.is_empty(), "a caller of JSON gets no frames");
        assert!(told.end.is_none() || is_json(&all), "{}", String::from_utf8_lossy(&all));
        return;
    }
    let (mut reader, mut events) = (SseReader::default(), Vec::new());
    reader.feed(&all, &mut events).unwrap();
    assert!(std::str::from_utf8(&all).is_ok(), "frames are UTF-8");
    for event in events {
        assert!(
            event.data == "[DONE]" || is_json(event.data.as_bytes()),
            "no JSON to {:?}: {}",
            caller.shape(),
            event.data
        );
    }
}

fn fuzz(name: &str, seeds: &[&str], own: &[&str]) {
    let (callers, all) = (callers(), dialects());
    let (_, dialect) = all.iter().find(|(known, _)| *known == name).unwrap();
    let native = if name == "bedrock" { "application/vnd.amazon.eventstream" } else { "text/event-stream" };
    let check = |input: &[u8], case: usize| {
        let (caller, way) = (&callers[case % callers.len()], 1 + case / callers.len() % (WAYS - 1));
        let kind = match TYPES[case / callers.len() / (WAYS - 1) % TYPES.len()] {
            "" => native,
            kind => kind,
        };
        let told = tell(&mut *dialect.decoder(caller, kind), &pieces(input, 0));
        assert_eq!(tell(&mut *dialect.decoder(caller, kind), &pieces(input, way)), told, "under another split");
        let bytes = told.frames.len()
            + told.texts.values().map(String::len).sum::<usize>()
            + told.end.as_ref().map_or(0, |(_, closing)| closing.len());
        assert!(bytes <= 100 * input.len() + 20_000, "{bytes} bytes of {}", input.len());
        check_wire(caller, &told);
        let _ = dialect.explain(400 + (case % 130) as u16, &HeaderMap::new(), input);
    };
    let mut seeds = golden(seeds);
    seeds.extend(own.iter().map(|it| it.as_bytes().to_vec()));
    let cases = callers.len() * (WAYS - 1) * TYPES.len();
    let mutate: &Mutate = if name == "bedrock" { &spoiled_frames } else { &mutate::stream };
    Target { name: &format!("answers-{name}"), seeds, cases, mutate, check: &check }.run();
}

const OPENAI: [&str; 7] = [
    "/stream_to_openai*.out.sse",
    "/whole_to_openai*.out.json",
    "responses/testdata/stream*.in.sse",
    "responses/testdata/whole*.in.json",
    "cohere*.openai.",
    "bedrock*.out.sse",
    "anthropic*whole_to_anthropic*.in.json",
];
const ANTHROPIC: [&str; 3] = ["anthropic*_to_openai*.in.", "cohere*.anthropic.", "anthropic*stream_to_anthropic*.out."];
const GEMINI: [&str; 2] = ["gemini/testdata*_to_openai*.in.", "gemini/inbound*.out.sse"];
const BEDROCK: [&str; 2] = ["bedrock*stream*.in.bin", "bedrock*whole*.in.json"];
const COHERE: [&str; 4] =
    ["cohere*stream*.in.sse", "cohere*whole*.in.json", "cohere*embed*.in.json", "cohere*rerank*.in.json"];
const RESPONSES: [&str; 3] =
    ["responses/outbound*stream*.in.sse", "responses/outbound*whole*.in.json", "responses/testdata/native"];

#[test]
fn openais_answers_are_read() {
    let own = [
        r#"{"object":"text_completion","choices":[{"text":" upon","index":0,"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#,
        r#"{"data":[{"embedding":[0.50,1e-3],"index":0}],"usage":{"prompt_tokens":7,"total_tokens":7}}"#,
        r#"{"data":[{"b64_json":"AA=="}],"usage":{"input_tokens":10,"output_tokens":272,"input_tokens_details":{"text_tokens":10,"image_tokens":0}}}"#,
        r#"{"results":[{"index":1,"relevance_score":0.9}],"meta":{"billed_units":{"search_units":1}}}"#,
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"tool_calls\":[{\"index\":0,\"id\":\"c\",\"function\":{\"name\":\"f\",\"arguments\":\"{\"}},{\"index\":1,\"id\":\"d\",\"function\":{\"name\":\"g\",\"arguments\":\"}\"}}]}}]}\n\ndata: [DONE]\n\n",
    ];
    fuzz("openai", &OPENAI, &own);
}

#[test]
fn anthropics_answers_are_read() {
    fuzz("anthropic", &ANTHROPIC, &[]);
}

#[test]
fn geminis_answers_are_read() {
    let own = [r#"{"embeddings":[{"values":[0.5,1e-3]}],"predictions":[{"embeddings":{"values":[1]}}]}"#];
    fuzz("gemini", &GEMINI, &own);
}

#[test]
fn bedrocks_answers_are_read() {
    fuzz("bedrock", &BEDROCK, &[r#"{"embedding":[0.5],"inputTextTokenCount":3}"#]);
}

#[test]
fn coheres_answers_are_read() {
    fuzz("cohere", &COHERE, &[]);
}

#[test]
fn answers_of_responses_are_read() {
    fuzz("responses", &RESPONSES, &[]);
}

#[test]
fn a_gathered_answer_is_one_body_however_it_came_and_wherever_it_is_cut() {
    let all = dialects();
    let callers: Vec<_> = callers().into_iter().filter(|it| it.shape().is_chat() && !it.stream()).collect();
    let check = |input: &[u8], case: usize| {
        let (caller, way) = (&callers[case % callers.len()], 1 + case / callers.len() % (WAYS - 1));
        let (_, dialect) = all[case / callers.len() / (WAYS - 1)];
        if !can_gather(dialect, caller) {
            return;
        }
        let kind = if input.starts_with(b"\0") { "application/vnd.amazon.eventstream" } else { "text/event-stream" };
        let Ok(mut one) = gather(dialect, caller, &caller.streamed(), kind) else { return };
        let told = tell(&mut *one, &pieces(input, 0));
        let mut other = gather(dialect, caller, &caller.streamed(), kind).unwrap_or_else(|_| panic!("as before"));
        assert_eq!(tell(&mut *other, &pieces(input, way)), told, "under another split");
        check_wire(caller, &told);
        let bytes = told.end.as_ref().map_or(0, |(_, closing)| closing.len());
        assert!(bytes <= 100 * input.len() + 20_000, "{bytes} bytes of {}", input.len());
        let Ok(mut cut) = gather(dialect, caller, &caller.streamed(), kind) else { return };
        let half = &input[..mutate::hash(input) as usize % (input.len() + 1)];
        if cut.feed(half, &mut Vec::new()).is_ok()
            && let Some(end) = cut.cut(r#"{"code":"x","message":"y"}"#)
        {
            let closing = end.closing(None, None);
            assert!(is_json(&closing), "{}", String::from_utf8_lossy(&closing));
        }
    };
    let seeds = golden(&[&OPENAI[..], &ANTHROPIC, &GEMINI, &BEDROCK, &COHERE, &RESPONSES].concat());
    let cases = callers.len() * (WAYS - 1) * all.len();
    Target { name: "gathered", seeds, cases, mutate: &spoiled_frames, check: &check }.run();
}
