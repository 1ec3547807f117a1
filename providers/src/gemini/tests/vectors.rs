use serde_json::json;

use super::*;
use crate::error::Class;

const BATCH: &str = r#"{"embeddings":[{"values":[0.013168523,-0.5,1]},{"values":[0.25,2e-05,0]}]}"#;

fn asked(body: Value, vertex: bool) -> Result<(&'static str, Value), Option<String>> {
    asked_of("gemini-embedding-001", body, vertex)
}

fn asked_of(model: &str, body: Value, vertex: bool) -> Result<(&'static str, Value), Option<String>> {
    let encoded = embeddings::encode(body.to_string().as_bytes(), model, vertex);
    encoded.map(|(method, body)| (method, serde_json::from_slice(&body).unwrap())).map_err(|it| it.param)
}

fn list(answer: &str, base64: bool) -> (Told, Value) {
    let told = tell(&mut embeddings::Embeddings::new("gemini/e", base64), &[answer.as_bytes()], Some("1"));
    let list = serde_json::from_str(&told.closing).unwrap_or_default();
    (told, list)
}

#[test]
fn texts_are_asked_in_one_batch() {
    let one = |text: &str, more: Value| {
        let mut one = json!({"model": "models/gemini-embedding-001", "content": {"parts": [{"text": text}]}});
        one.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        one
    };
    let body = json!({"model": "m", "input": "hi – you", "user": "u", "encoding_format": "base64"});
    assert_eq!(asked(body, false), Ok(("batchEmbedContents", json!({"requests": [one("hi – you", json!({}))]}))));
    let body = json!({"model": "m", "input": ["a", "b"], "dimensions": 256});
    let size = json!({"outputDimensionality": 256});
    let requests = json!([one("a", size.clone()), one("b", size)]);
    assert_eq!(asked(body.clone(), false), Ok(("batchEmbedContents", json!({"requests": requests}))));
    let config = json!({"autoTruncate": false, "outputDimensionality": 256});
    let instances = json!({"instances": [{"content": "a"}, {"content": "b"}], "parameters": config});
    assert_eq!(asked_of("text-embedding-005", body.clone(), true), Ok(("predict", instances)));
    let one = |text: &str| json!({"content": {"parts": [{"text": text}]}, "embedContentConfig": config});
    assert_eq!(asked(body, true), Ok(("batchEmbedContents", json!({"requests": [one("a"), one("b")]}))));
    let body = json!({"model": "m", "input": ["a"], "dimensions": 256});
    assert_eq!(asked(body, true), Ok(("embedContent", one("a"))));
}

#[test]
fn a_caller_of_embeddings_is_served_at_either_place() {
    let asked = json!({"model": "gemini/e", "input": "hi", "encoding_format": "base64"}).to_string();
    let request = ModelRequest::parse(Shape::Embeddings, Bytes::from(asked)).unwrap();
    let url = encode(&request, "gemini-embedding-001").unwrap().url;
    assert!(url.as_str().ends_with("/v1beta/models/gemini-embedding-001:batchEmbedContents"), "{url}");
    let url = encode_at_vertex(&request, &[("project", "p"), ("location", "us-east1")]).unwrap().url;
    assert!(
        url.as_str().ends_with("/p/locations/us-east1/publishers/google/models/gemini-2.5-flash:embedContent"),
        "{url}"
    );
    let told = told(&request, BATCH, None);
    assert!(told.error.is_none() && told.closing.contains(r#""embedding":"AACAPqzFpzcAAAAA""#), "{}", told.closing);
}

#[test]
fn what_cannot_be_embedded_is_refused_by_name() {
    let check = |body: Value, place: &str| assert_eq!(asked(body, false), Err(Some(place.to_owned())));
    check(json!({"model": "m"}), "input");
    check(json!({"model": "m", "input": []}), "input");
    check(json!({"model": "m", "input": 3}), "input");
    check(json!({"model": "m", "input": [1, 2, 3]}), "input[0]");
    check(json!({"model": "m", "input": ["a", [1]]}), "input[1]");
    check(json!({"model": "m", "input": "a", "encoding_format": "hex"}), "encoding_format");
    check(json!({"model": "m", "input": "a", "dimensions": "many"}), "dimensions");
    check(json!({"model": "m", "input": "a", "task_type": "x"}), "task_type");
}

#[test]
fn vectors_are_told_as_openais_list() {
    let (told, got) = list(BATCH, false);
    assert_eq!((told.error, told.usages), (None, vec![]), "nobody told what it cost");
    let vector = |index: u64, values: Value| json!({"object": "embedding", "index": index, "embedding": values});
    let data = json!([vector(0, json!([0.013168523, -0.5, 1])), vector(1, json!([0.25, 2e-05, 0]))]);
    let usage = json!({"prompt_tokens": 0, "total_tokens": 0});
    assert_eq!(got, json!({"object": "list", "data": data, "model": "gemini/e", "usage": usage}));

    let (_, got) = list(BATCH, true);
    let bytes: Vec<u8> = [0.25_f32, 2e-05, 0.0].iter().flat_map(|it| it.to_le_bytes()).collect();
    use base64::Engine;
    assert_eq!(got["data"][1]["embedding"], base64::engine::general_purpose::STANDARD.encode(bytes));
}

#[test]
fn usage_is_what_the_provider_tells_if_it_does() {
    let metered = BATCH.replacen('{', r#"{"usageMetadata":{"promptTokenCount":7},"#, 1);
    assert_eq!(list(&metered, false).0.usages, [Usage { input: 7, ..Usage::default() }]);
    let lone = r#"{"embedding":{"values":[1]},"usageMetadata":{"promptTokenCount":3}}"#;
    assert_eq!(list(lone, false).0.usages, [Usage { input: 3, ..Usage::default() }]);
    let vertex = r#"{"predictions":[{"embeddings":{"values":[1],"statistics":{"token_count":4,"truncated":false}}},{"embeddings":{"values":[2],"statistics":{"token_count":5}}}]}"#;
    let (told, got) = list(vertex, false);
    assert_eq!(told.usages, [Usage { input: 9, ..Usage::default() }]);
    assert_eq!((&got["usage"]["prompt_tokens"], &got["data"][1]["embedding"]), (&json!(9), &json!([2])));
}

#[test]
fn what_is_no_list_is_broken() {
    for answer in ["", "[]", "{}", "{\"embeddings\":3}", "<html>"] {
        assert_eq!(list(answer, false).0.error.map(|it| it.class), Some(Class::Broken), "{answer}");
    }
    let error = r#"{"error":{"code":429,"status":"RESOURCE_EXHAUSTED"}}"#;
    assert_eq!(list(error, false).0.error.map(|it| it.class), Some(Class::RateLimited));
}
