//! What callers write: read in every shape, edited, and told to every dialect. Whatever passes the reader stays readable.

use bytes::Bytes;
use serde_json::Value;
use url::Url;

use super::answers::dialects;
use super::{Target, golden, mutate};
use crate::catalog::Quirks;
use crate::dialect::Aim;
use crate::request::{ModelRequest, Outside, Shape};

pub(super) const SHAPES: [Shape; 11] = [
    Shape::OpenAi,
    Shape::Responses,
    Shape::Anthropic,
    Shape::Gemini,
    Shape::Completions,
    Shape::Embeddings,
    Shape::Moderations,
    Shape::Images,
    Shape::ImageEdits,
    Shape::Speech,
    Shape::Rerank,
];

/// One small body of each one-shot task, and what no golden file has.
const TASKS: [&str; 9] = [
    r#"{"model":"m","prompt":["Once","upon"],"max_tokens":5,"n":2,"best_of":3,"suffix":"x","logprobs":1,"echo":true,"stream":true}"#,
    r#"{"model":"m","input":["a",[1,2,3]],"encoding_format":"base64","dimensions":8,"user":"u"}"#,
    r#"{"model":"m","input":[{"type":"text","text":"t"},{"type":"image_url","image_url":{"url":"data:image/png;base64,AA=="}}]}"#,
    r#"{"model":"m","prompt":"a cat","n":2,"size":"1024x1024","quality":"low","stream":true,"partial_images":2}"#,
    r#"{"model":"m","prompt":"a hat","images":[{"image_url":"https://x.test/a.png"}],"mask":{"file_id":"f"}}"#,
    r#"{"model":"m","input":"say","voice":{"id":"v"},"instructions":"low","response_format":"wav","stream_format":"sse","speed":1.5}"#,
    r#"{"model":"m","query":"q","documents":["a",{"text":"b","x":"y"}],"top_n":1,"rank_fields":["text"]}"#,
    r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"a\u00e9\ud83d\ude00"}],"name":"n"}],"user":"u","metadata":{"a b":"c"},"fallbacks":["x/y"],"n":2,"stop":["s"],"logit_bias":{"1":2},"x":{"y":["z",{"w":1}]},"stream":true}"#,
    r#"{"contents":[{"role":"user","parts":[{"text":"t"},{"inlineData":{"mimeType":"image/png","data":"AA=="}}]}],"generationConfig":{"maxOutputTokens":4,"candidateCount":2},"labels":{"a":"b"}}"#,
];

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = golden(&["/to_*.json", "/whole*.in.json"]);
    seeds.extend(TASKS.iter().map(|it| it.as_bytes().to_vec()));
    seeds
}

pub(super) fn parse(shape: Shape, body: &[u8], stream: bool) -> Option<ModelRequest> {
    let mut outside = Outside::default();
    if shape == Shape::Gemini {
        outside = Outside { model: Some("m".to_owned()), stream: Some(stream), ..outside };
    }
    ModelRequest::parse_with(shape, Bytes::copy_from_slice(body), outside).ok()
}

/// A mutation that every so often is only of the bytes.
fn spoiled(dice: &mut mutate::Dice, seeds: &[Vec<u8>]) -> Vec<u8> {
    if dice.one_in(3) { mutate::bytes(dice, seeds) } else { mutate::json(dice, seeds) }
}

#[test]
fn a_request_that_is_read_stays_readable_with_any_text_in_the_place_of_its_texts() {
    let check = |input: &[u8], case: usize| {
        let Some(request) = parse(SHAPES[case], input, false) else { return };
        assert!(serde_json::from_slice::<Value>(input).is_ok() || has_huge_number(input), "what passes here is JSON");
        let texts = request.texts();
        let _ = (request.features(), request.max_output(), request.choices(), request.canonical(), request.identity());
        let streamed = request.streamed();
        assert!(streamed.stream());
        let same = request.with_texts(&[]);
        assert_eq!(same.body(), request.body());
        let edits: Vec<_> = (0..texts.len()).map(|index| (index, "[NAME]\"\\\u{e9}".to_owned())).collect();
        let edited = request.with_texts(&edits);
        let told: Vec<_> = edited.texts().into_iter().map(|it| it.text.into_owned()).collect();
        assert_eq!(told.len(), texts.len(), "as many texts as before");
        assert!(told.iter().zip(&texts).all(|(it, was)| was.fixed || it.starts_with("[NAME]\"\\\u{e9}")), "{told:?}");
        assert_eq!((edited.model(), edited.choices()), (request.model(), request.choices()));
    };
    Target { name: "requests", seeds: seeds(), cases: SHAPES.len(), mutate: &spoiled, check: &check }.run();
}

/// Numbers beyond a double pass untouched; serde_json makes none of them.
fn has_huge_number(input: &[u8]) -> bool {
    serde_json::from_slice::<Box<serde_json::value::RawValue>>(input).is_ok()
}

#[test]
fn whatever_is_read_is_told_to_every_dialect_in_json_or_refused() {
    let all = dialects();
    let (base_url, quirks) = (Url::parse("https://example.com/v1").unwrap(), Quirks::default());
    let check = |input: &[u8], case: usize| {
        let (shape, (_, dialect)) = (SHAPES[case % SHAPES.len()], &all[case / SHAPES.len()]);
        let Some(request) = parse(shape, input, true) else { return };
        for request in [request.clone(), request.streamed()] {
            let Ok(sent) = dialect.encode(&request, &Aim::at(&base_url, "gpt-4o", 7, &quirks)) else { continue };
            assert!(
                serde_json::from_slice::<Box<serde_json::value::RawValue>>(&sent.body).is_ok(),
                "sent is JSON: {}",
                String::from_utf8_lossy(&sent.body)
            );
            assert!(sent.body.len() < 100 * input.len() + 10_000, "{} bytes of {}", sent.body.len(), input.len());
        }
    };
    let cases = SHAPES.len() * all.len();
    Target { name: "encode", seeds: seeds(), cases, mutate: &spoiled, check: &check }.run();
}
