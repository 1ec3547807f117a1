//! One-shot tasks without a network: what is read, what is sent, and what could be billed at most.

mod answers;

use std::sync::Arc;

use serde_json::{Value, json};
use url::Url;

use crate::catalog::Quirks;
use crate::dialect::{Aim, HttpRequest};
use crate::request::{BadRequest, ModelRequest, Outside, Shape, Usage};
use crate::{Fleet, ProviderConfig, Target};

fn request(shape: Shape, body: &Value) -> ModelRequest {
    ModelRequest::parse(shape, body.to_string().into()).unwrap_or_else(|error| panic!("{error:?}: {body}"))
}

fn form(shape: Shape, fields: &[(&str, &str)], files: &[(&str, &str, &[u8])]) -> Result<ModelRequest, BadRequest> {
    let mut body = Vec::new();
    for (name, value) in fields {
        body.extend(format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n").bytes());
    }
    for (name, file, bytes) in files {
        body.extend(format!("--b\r\nContent-Disposition: form-data; name=\"{name}\"; filename=\"{file}\"\r\nContent-Type: audio/wav\r\n\r\n").bytes());
        body.extend(*bytes);
        body.extend(b"\r\n");
    }
    body.extend(b"--b--\r\n");
    let outside = Outside { content_type: Some("multipart/form-data; boundary=b".into()), ..Outside::default() };
    ModelRequest::parse_with(shape, body.into(), outside)
}

fn encoded(request: &ModelRequest) -> HttpRequest {
    let (url, quirks) = (Url::parse("https://x.test/v1").unwrap(), Quirks::default());
    super::encode(request, &Aim::at(&url, "their-model", 9, &quirks)).unwrap()
}

fn target(name: &str) -> Arc<Target> {
    let config: ProviderConfig = serde_yaml_ng::from_str("{ id: openai, kind: openai, api_key: { env: K } }").unwrap();
    Fleet::build(&[config], &|_| Some("k".to_owned())).unwrap().target(name).unwrap()
}

/// A second of silence for every 8,000 bytes.
fn wav(seconds: usize) -> Vec<u8> {
    let mut file = b"RIFF....WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x40\x1f\0\0\x01\0\x08\0data....".to_vec();
    file.resize(seconds * 8_000, 0x80);
    file
}

#[test]
fn a_body_is_spliced_and_goes_to_the_path_of_its_task() {
    let base = json!({"model": "mine", "fallbacks": ["x"], "odd": [1, 2.50]});
    for (shape, more, path) in [
        (Shape::Embeddings, json!({"input": "hi"}), "embeddings"),
        (Shape::Moderations, json!({"input": [{"type": "text", "text": "hi"}]}), "moderations"),
        (Shape::Images, json!({"prompt": "a cat", "n": 2}), "images/generations"),
        (Shape::ImageEdits, json!({"prompt": "a cat", "images": [{"image_url": "https://x"}]}), "images/edits"),
        (Shape::Speech, json!({"input": "hi", "voice": "alloy"}), "audio/speech"),
        (Shape::Rerank, json!({"query": "q", "documents": ["a", {"text": "b"}]}), "rerank"),
        (Shape::Completions, json!({"prompt": ["a", "b"]}), "completions"),
    ] {
        let mut body = base.clone();
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        let sent = encoded(&request(shape, &body));
        assert_eq!(sent.url.path(), format!("/v1/{path}"));
        let told: Value = serde_json::from_slice(&sent.body).unwrap();
        let mut expected = body.clone();
        expected["model"] = json!("their-model");
        expected.as_object_mut().unwrap().remove("fallbacks");
        if shape == Shape::Completions {
            expected["max_tokens"] = json!(9);
        }
        assert_eq!(told, expected);
    }
    let nameless = encoded(&request(Shape::Moderations, &json!({"input": "hi"})));
    assert_eq!(serde_json::from_slice::<Value>(&nameless.body).unwrap()["model"], "their-model");
}

#[test]
fn a_form_is_written_again_with_the_targets_model_and_without_the_name_of_a_file() {
    let file = wav(1);
    let fields =
        [("model", "mine"), ("temperature", "0.2"), ("include[]", "a"), ("include[]", "b"), ("prompt", "x\"y")];
    let asked = form(Shape::Transcriptions, &fields, &[("file", "Anna's secret.WAV", &file)]).unwrap();
    let sent = encoded(&asked);
    assert_eq!(sent.url.path(), "/v1/audio/transcriptions");
    let content_type = sent.headers["content-type"].to_str().unwrap().to_owned();
    assert!(!String::from_utf8_lossy(&sent.body).contains("Anna"));
    let outside = Outside { content_type: Some(content_type), ..Outside::default() };
    let again = ModelRequest::parse_with(Shape::Transcriptions, sent.body, outside).unwrap();
    assert_eq!(again.text(), r#"{"model":"their-model","temperature":0.2,"include[]":["a","b"],"prompt":"x\"y"}"#);
    let [written] = again.files() else { panic!("one file") };
    assert_eq!(
        (&*written.field, written.file_name.as_deref(), &written.bytes[..]),
        ("file", Some("file.wav"), &file[..])
    );

    let edited = asked.with_texts(&[(0, "[EMAIL]".to_owned())]);
    assert!(String::from_utf8_lossy(&encoded(&edited).body).contains("\r\n[EMAIL]\r\n"), "a redaction is sent");
    assert_eq!(edited.files().len(), 1);
}

#[test]
fn no_file_can_write_further_fields() {
    let asked = form(Shape::Transcriptions, &[("model", "m")], &[("file", "a.wav", b"x")]).unwrap();
    let guess = encoded(&asked);
    let boundary = guess.headers["content-type"].to_str().unwrap().split_once("boundary=").unwrap().1.to_owned();
    // The same length, so that the first boundary tried is the same.
    let mut file = format!("\r\n--{boundary}\r\n").into_bytes();
    let asked = form(Shape::Transcriptions, &[("model", "m")], &[("file", "a.wav", &file)]).unwrap();
    let other = encoded(&asked).headers["content-type"].to_str().unwrap().split_once("boundary=").unwrap().1.to_owned();
    file = format!("\r\n--{other}\r\n").into_bytes();
    let asked = form(Shape::Transcriptions, &[("model", "m")], &[("file", "a.wav", &file)]).unwrap();
    let sent = encoded(&asked);
    let last = sent.headers["content-type"].to_str().unwrap().split_once("boundary=").unwrap().1;
    assert_ne!(last, other);
}

#[test]
fn every_text_is_seen_with_its_place() {
    for (shape, body, places) in [
        (Shape::Embeddings, json!({"model": "m", "input": ["a", "b"]}), "input[0] input[1]"),
        (Shape::Embeddings, json!({"model": "m", "input": "a", "user": "u"}), "input user"),
        // Tokens, as each of the public tokenizers reads them.
        (Shape::Embeddings, json!({"model": "m", "input": [[1, 2], [3]]}), "input[0] input[0] input[1] input[1]"),
        (Shape::Completions, json!({"model": "m", "prompt": "a", "suffix": "b"}), "prompt suffix"),
        (Shape::Moderations, json!({"input": ["a", {"type": "text", "text": "b"}]}), "input[0] input[1].text"),
        (Shape::Images, json!({"model": "m", "prompt": "a", "size": "1024x1024", "quality": "high"}), "prompt"),
        (
            Shape::Speech,
            json!({"model": "m", "input": "a", "instructions": "b", "voice": "alloy"}),
            "input instructions voice",
        ),
        (
            Shape::Rerank,
            json!({"model": "m", "query": "a", "documents": ["b", {"text": "c"}]}),
            "query documents[0] documents[1].text",
        ),
    ] {
        let asked = request(shape, &body);
        let seen: Vec<String> = asked.texts().into_iter().map(|it| it.place).collect();
        assert_eq!(seen.join(" "), places, "{body}");
    }
}

#[test]
fn what_cannot_be_read_is_refused_with_its_place() {
    let whole = |shape, body: Value| ModelRequest::parse(shape, body.to_string().into());
    let sound = wav(1);
    for (refused, param) in [
        (whole(Shape::Embeddings, json!({"model": "m"})), Some("input")),
        (whole(Shape::Embeddings, json!({"input": "a"})), Some("model")),
        (whole(Shape::Embeddings, json!({"model": "m", "input": []})), Some("input")),
        (whole(Shape::Embeddings, json!({"model": "m", "input": ["a", 1]})), Some("input")),
        (whole(Shape::Embeddings, json!({"model": "m", "input": {"text": "a"}})), Some("input")),
        (whole(Shape::Embeddings, json!({"model": "m", "Input": "a"})), Some("Input")),
        (whole(Shape::Completions, json!({"model": "m", "prompt": "a", "n": 0})), Some("n")),
        (whole(Shape::Images, json!({"model": "m", "prompt": "a", "n": 1000})), Some("n")),
        (whole(Shape::Images, json!({"model": "m", "prompt": 3})), Some("prompt")),
        (
            whole(Shape::ImageEdits, json!({"model": "m", "prompt": "a", "images": [{"file_id": "f"}]})),
            Some("images.file_id"),
        ),
        (
            ModelRequest::parse(
                Shape::ImageEdits,
                r#"{"model":"m","prompt":"a","images":[{"file\u005fid":"f"}]}"#.into(),
            ),
            Some("images.file_id"),
        ),
        (
            form(Shape::Transcriptions, &[("model", "m"), ("url", "https://a.test/9h.mp3")], &[("file", "a", &sound)]),
            Some("url"),
        ),
        (form(Shape::Translations, &[("model", "m"), ("file_id", "f")], &[("file", "a", &sound)]), Some("file_id")),
        (whole(Shape::Speech, json!({"model": "m", "input": "a", "speed": 0.001})), Some("speed")),
        (whole(Shape::Speech, json!({"model": "m", "input": "a", "stream_format": "ogg"})), Some("stream_format")),
        (whole(Shape::Rerank, json!({"model": "m", "query": "a", "documents": []})), Some("documents")),
        (whole(Shape::Rerank, json!({"model": "m", "query": "a", "documents": [1]})), Some("documents[0]")),
        (whole(Shape::Transcriptions, json!({"model": "m", "file": "x"})), None),
        (form(Shape::Transcriptions, &[("model", "m")], &[]), Some("file")),
        (form(Shape::Transcriptions, &[], &[("file", "a.wav", &sound)]), Some("model")),
        (form(Shape::Transcriptions, &[("model", "m")], &[("file", "a", b"")]), Some("file")),
        (form(Shape::Transcriptions, &[("model", "m")], &[("file", "a", &sound), ("file", "b", &sound)]), Some("file")),
        (
            form(Shape::Transcriptions, &[("model", "m")], &[("file", "a", &sound), ("other", "b", &sound)]),
            Some("other"),
        ),
        (form(Shape::ImageEdits, &[("model", "m"), ("prompt", "p")], &[("mask", "a.png", &sound)]), Some("image")),
    ] {
        assert_eq!(refused.as_ref().err().map(|it| it.param.as_deref()), Some(param), "{refused:?}");
    }
    let surcharge = request(Shape::Embeddings, &json!({"model": "m", "input": "a", "provider": {"order": ["x"]}}));
    assert_eq!(surcharge.features().surcharge, Some("provider"));
}

#[test]
fn the_most_that_can_be_billed_covers_what_is() {
    let mini = target("openai/gpt-image-1-mini");
    let image = |more: Value| {
        let mut body = json!({"model": "m", "prompt": "a"});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        mini.task_bound(&request(Shape::Images, &body))
    };
    assert!(image(json!({"quality": "low"})).output < image(json!({"quality": "medium"})).output);
    assert!(image(json!({})).output >= 6_240 && image(json!({"n": 3})).output >= 3 * 6_240);
    assert!(image(json!({"size": "4096x4096"})).output >= 10 * 6_240);
    assert_eq!(image(json!({"n": 4})).images, 4);
    let sound = form(Shape::Transcriptions, &[("model", "m")], &[("file", "a.wav", &wav(60))]).unwrap();
    let whisper = target("openai/whisper-1").task_bound(&sound);
    assert_eq!(whisper.seconds, 60);
    let transcribe = target("openai/gpt-4o-transcribe");
    let long = form(Shape::Transcriptions, &[("model", "m")], &[("file", "a.wav", &wav(1_380))]).unwrap();
    assert_eq!(transcribe.task_bound(&long).output, 1_380 * 20 + 1_024, "whatever the model writes at once");
    assert!(transcribe.input_bound(&long) >= 1_380 * 25, "whatever the model hears at once");
    assert!((1_000..2_000).contains(&transcribe.input_bound(&sound)), "{}", transcribe.input_bound(&sound));
    let unknown = form(Shape::Transcriptions, &[("model", "m")], &[("file", "a.bin", &[0; 50_000])]).unwrap();
    assert_eq!(target("openai/whisper-1").task_bound(&unknown).seconds, 1_000);
    let documents =
        request(Shape::Rerank, &json!({"model": "m", "query": "q", "documents": vec!["x".repeat(4_000); 50]}));
    assert!(target("openai/x").task_bound(&documents).searches >= 4);
    let small = target("openai/text-embedding-3-small");
    let tokens = request(Shape::Embeddings, &json!({"model": "m", "input": [vec![1; 300], vec![2; 200]]}));
    assert!(small.input_bound(&tokens) >= 500);
    assert_eq!(small.count_input(&tokens), 500);
    let many = request(Shape::Embeddings, &json!({"model": "m", "input": vec!["word ".repeat(5_000); 4]}));
    assert!(small.input_bound(&many) >= 20_000, "each input has the context for itself");
    assert_eq!(small.task_bound(&many), Usage::default());
}
