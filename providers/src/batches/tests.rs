use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::{Fleet, ProviderConfig};

fn target(kind: &str, name: &str) -> Arc<Target> {
    let config: ProviderConfig = serde_yaml_ng::from_str(&format!(
        "{{ id: up, kind: {kind}, base_url: 'http://up.test/v1', api_key: {{ env: K }}, \
         models: [{{ id: mine, upstream_id: theirs }}] }}"
    ))
    .unwrap();
    Fleet::build(&[config], &|_| Some("k".into())).unwrap().target(name).unwrap()
}

fn read(line: &str) -> Result<AskedLine, BadRequest> {
    let file = Bytes::copy_from_slice(line.as_bytes());
    AskedLine::read(&file, &file)
}

fn written(kind: &str, name: &str, line: &str, cap: u64) -> Result<String, Unsupported> {
    let line = read(line).unwrap();
    let request = ModelRequest::parse(line.endpoint.shape(), line.body).unwrap();
    target(kind, name).batch_line(&line.custom_id, line.endpoint, &request, cap)
}

#[test]
fn a_line_is_read_in_one_way_only_and_its_fault_is_named() {
    let good = r#"{"custom_id":"a","method":"POST","url":"/v1/embeddings","body":{"model":"m","input":"x"}}"#;
    let line = read(good).unwrap();
    assert_eq!((&*line.custom_id, line.endpoint), ("a", BatchEndpoint::Embeddings));
    assert_eq!(&line.body[..], br#"{"model":"m","input":"x"}"#);
    for (line, param) in [
        ("", None),
        ("[]", None),
        (&*good.replace("}}", "}"), None),
        (&good.replace("\"custom_id\":\"a\",", ""), None),
        (&good.replace("\"custom_id\":\"a\",", "\"custom_id\":\"a\",\"custom_id\":\"b\","), None),
        (&good.replace("\"method\"", "\"more\":1,\"method\""), None),
        (&good.replace("\"a\"", "\"\""), Some("custom_id")),
        (&good.replace("\"a\"", &format!("\"{}\"", "a".repeat(513))), Some("custom_id")),
        (&good.replace("POST", "GET"), Some("method")),
        (&good.replace("embeddings", "models"), Some("url")),
        (&good.replace("/v1/", "https://elsewhere.test/v1/"), Some("url")),
    ] {
        assert_eq!(read(line).expect_err(line).param.as_deref(), param, "{line}");
    }
}

#[test]
fn a_line_is_written_with_the_targets_model_and_a_cap_and_is_otherwise_as_it_was() {
    let chat = r#"{"custom_id":"a \"b\"","method":"POST","url":"/v1/chat/completions","body":{"model":"chat","fallbacks":["x"],"top_p":1.0,"messages":[{"role":"user","content":"hi"}]}}"#;
    for (name, line, cap, expected) in [
        (
            "up/gpt-4o",
            chat,
            7,
            r#"{"custom_id":"a \"b\"","method":"POST","url":"/v1/chat/completions","body":{"max_tokens":7,"model":"gpt-4o","top_p":1.0,"messages":[{"role":"user","content":"hi"}]}}"#,
        ),
        (
            "up/mine",
            r#"{"custom_id":"e","method":"POST","url":"/v1/embeddings","body":{"model":"emb","input":["x"]}}"#,
            0,
            r#"{"custom_id":"e","method":"POST","url":"/v1/embeddings","body":{"model":"theirs","input":["x"]}}"#,
        ),
    ] {
        let (mut left, mut right) = (written("openai", name, line, cap).unwrap(), expected.to_owned());
        for text in [&mut left, &mut right] {
            // Where a new member goes is the splice's affair.
            *text = serde_json::from_str::<Value>(text)
                .map(|mut it| {
                    it.as_object_mut().unwrap()["body"].as_object_mut().unwrap().sort_keys();
                    it.to_string()
                })
                .unwrap();
        }
        assert_eq!(left, right);
    }
    let streamed = chat.replace("\"top_p\":1.0", "\"stream\":true");
    assert_eq!(written("openai", "up/gpt-4o", &streamed, 7).unwrap_err().param.as_deref(), Some("stream"));
    let elsewhere = r#"{"custom_id":"r","method":"POST","url":"/v1/responses","body":{"model":"m","input":"x"}}"#;
    assert!(written("openai", "up/gpt-4o", elsewhere, 7).is_ok());
    let refused = written("vllm", "up/anything", &elsewhere.replace("responses", "embeddings"), 7);
    assert!(refused.is_ok(), "{refused:?}");
}

#[test]
fn what_a_line_used_is_the_providers_word_and_a_line_that_failed_used_nothing() {
    let (target, blank) = (target("openai", "up/gpt-4o"), BatchEndpoint::Chat.blank());
    let line = |status: u16, body: Value| {
        json!({"custom_id": "a", "response": {"status_code": status, "body": body}, "error": null}).to_string()
    };
    let answer = |usage: Value| {
        json!({"id": "x", "object": "chat.completion", "choices": [{"index": 0, "finish_reason": "stop",
            "message": {"role": "assistant", "content": "two words"}}], "usage": usage})
    };
    let usage = json!({"prompt_tokens": 9, "completion_tokens": 3, "total_tokens": 12,
        "prompt_tokens_details": {"cached_tokens": 4}, "completion_tokens_details": {"reasoning_tokens": 1}});
    let read = |line: String| AnsweredLine::read(&target, &blank, line.as_bytes());
    let told = read(line(200, answer(usage))).unwrap().usage.unwrap();
    assert_eq!((told.input, told.cached_input, told.output, told.reasoning), (5, 4, 3, 1));
    let silent = read(line(200, answer(Value::Null))).unwrap();
    let texts: String = silent.deltas.iter().flat_map(|it| &it.texts).map(|(_, text)| &**text).collect();
    assert_eq!((silent.usage, &*texts), (None, "two words"));
    for failed in [
        line(400, json!({"error": {"message": "no"}})),
        json!({"custom_id": "a", "response": null, "error": {"code": "x"}}).to_string(),
    ] {
        assert!(read(failed.clone()).is_none(), "{failed}");
    }
    assert!(read("not JSON".into()).is_some(), "what cannot be read was answered all the same");

    let (embeddings, blank) =
        (super::tests::target("openai", "up/text-embedding-3-small"), BatchEndpoint::Embeddings.blank());
    let vectors = json!({"object": "list", "data": [{"object": "embedding", "index": 0, "embedding": [0.1]}],
        "usage": {"prompt_tokens": 8, "total_tokens": 8}});
    let told = AnsweredLine::read(&embeddings, &blank, line(200, vectors).as_bytes()).unwrap().usage.unwrap();
    assert_eq!((told.input, told.output), (8, 0));
}

#[test]
fn a_batch_is_read_without_its_providers_words() {
    let batch = RemoteBatch::read(&json!({
        "id": "batch_1", "object": "batch", "status": "failed", "output_file_id": null, "error_file_id": "file-2",
        "created_at": 1, "failed_at": 2, "metadata": {"alfred_call": "req_1"},
        "request_counts": {"total": 3, "completed": 1, "failed": 2},
        "errors": {"object": "list", "data": [
            {"code": "invalid_json_line", "message": "SECRET", "line": 2}, {"code": "Some SECRET words", "line": null}]},
    }))
    .unwrap();
    assert!(batch.is_over());
    let faults = vec![(Some(2), "invalid_json_line".to_owned()), (None, "provider_rejected".to_owned())];
    assert_eq!((batch.total, batch.completed, batch.failed, &batch.faults), (3, 1, 2, &faults));
    assert_eq!((batch.output_file, batch.error_file.as_deref()), (None, Some("file-2")));
    assert_eq!(batch.times, BTreeMap::from([("failed_at".to_owned(), 2)]));
    for broken in [
        json!({}),
        json!({"id": "a/../b", "status": "completed"}),
        json!({"id": "..", "status": "completed"}),
        json!({"id": "a", "status": "SECRET"}),
        json!({"id": "a", "status": "completed", "output_file_id": "x?y"}),
    ] {
        assert!(RemoteBatch::read(&broken).is_err(), "{broken}");
    }
}

#[test]
fn a_line_that_is_too_long_ends_the_reading() {
    let mut lines = Lines::new(4);
    assert!(lines.feed(b"abcd\nab", |_| {}));
    assert!(lines.feed(b"cd", |_| {}));
    assert!(!lines.feed(b"e", |_| {}));
    assert!(!Lines::new(4).feed(b"abcde\n", |_| {}));
}

proptest! {
    #[test]
    fn lines_are_the_same_however_they_are_cut(cuts in prop::collection::vec(0usize..40, 0..6)) {
        let text = b"{\"a\":1}\n\n  {\"b\":\"x\\n\"}\r\n{\"c\":3}";
        let mut cuts: Vec<usize> = cuts.into_iter().map(|it| it.min(text.len())).collect();
        cuts.extend([0, text.len()]);
        cuts.sort_unstable();
        let (mut lines, mut told) = (Lines::new(100), Vec::new());
        for pair in cuts.windows(2) {
            prop_assert!(lines.feed(&text[pair[0]..pair[1]], |line| told.push(line.to_vec())));
        }
        lines.finish(|line| told.push(line.to_vec()));
        prop_assert_eq!(told, [&b"{\"a\":1}"[..], b"{\"b\":\"x\\n\"}", b"{\"c\":3}"]);
    }
}
