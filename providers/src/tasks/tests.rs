//! One-shot tasks, end to end without a network: what is read, what is sent, what is billed and at most could be.

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use url::Url;

use crate::catalog::Quirks;
use crate::dialect::{Aim, HttpRequest};
use crate::error::{Class, ProviderError};
use crate::request::{AnswerEvent, BadRequest, ModelRequest, Outside, Shape, Usage};
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

/// The frames, the usage and what closes an answer, read in pieces of `size`.
fn read(
    request: &ModelRequest,
    content_type: &str,
    body: &[u8],
    size: usize,
) -> Result<(Vec<u8>, Option<Usage>, String), ProviderError> {
    let dialect = crate::openai::OpenAiDialect;
    let mut decoder = crate::Dialect::decoder(&dialect, request, content_type);
    let mut events = Vec::new();
    for piece in body.chunks(size.max(1)) {
        decoder.feed(piece, &mut events)?;
    }
    decoder.finish(&mut events)?;
    let (mut frames, mut usage, mut closing) = (Vec::new(), None, None);
    for event in events {
        match event {
            AnswerEvent::Delta(delta) => frames.extend_from_slice(&delta.frame),
            AnswerEvent::Usage(it) => usage = Some(it),
            AnswerEvent::End(end) => closing = Some(String::from_utf8_lossy(&end.closing(None, None)).into_owned()),
        }
    }
    Ok((frames, usage, closing.expect("an end")))
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
        (Shape::Embeddings, json!({"model": "m", "input": [[1, 2], [3]]}), ""),
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
fn what_a_provider_tells_is_what_is_billed_and_the_rest_is_counted_and_marked() {
    let embeddings = request(Shape::Embeddings, &json!({"model": "m", "input": "hello there"}));
    let images = request(Shape::Images, &json!({"model": "m", "prompt": "a cat", "n": 2, "quality": "low"}));
    let rerank = request(Shape::Rerank, &json!({"model": "m", "query": "a", "documents": vec!["b"; 101]}));
    let heard = |format: &str| {
        form(Shape::Transcriptions, &[("model", "m"), ("response_format", format)], &[("file", "a.wav", &wav(3))])
            .unwrap()
    };
    let json_form = heard("json");
    let none = Usage::default();
    let drawn = Usage { input: 10, image_input: 5, output: 900, image_output: 800, images: 2, ..none };
    for (request, body, expected) in [
        (
            &embeddings,
            json!({"data": [], "usage": {"prompt_tokens": 2, "total_tokens": 2}}),
            Some(Usage { input: 2, ..none }),
        ),
        (&embeddings, json!({"data": [], "usage": {"total_tokens": 7}}), Some(Usage { input: 7, ..none })),
        (&embeddings, json!({"data": []}), None),
        (&embeddings, json!({"data": {}, "usage": "none", "type": 3, "text": []}), None),
        (
            &images,
            json!({"data": [{}, {}], "usage": {"input_tokens": 15, "output_tokens": 900,
                "input_tokens_details": {"text_tokens": 10, "image_tokens": 5}, "output_tokens_details": {"text_tokens": 100}}}),
            Some(drawn),
        ),
        (
            &images,
            json!({"data": [{}, {}]}),
            Some(Usage { input: 2, output: 816, image_output: 816, images: 2, estimated: true, ..none }),
        ),
        (
            &json_form,
            json!({"text": "hi", "usage": {"type": "tokens", "input_tokens": 14, "output_tokens": 4,
                "input_token_details": {"text_tokens": 4, "audio_tokens": 10}}}),
            Some(Usage { input: 4, audio_input: 10, output: 4, seconds: 3, ..none }),
        ),
        (
            &json_form,
            json!({"text": "hi", "usage": {"type": "duration", "seconds": 3.4}}),
            Some(Usage { seconds: 4, audio_input: 67, output: 1, ..none }),
        ),
        (
            &json_form,
            json!({"text": "hi", "duration": "8.47"}),
            Some(Usage { seconds: 9, audio_input: 150, output: 1, ..none }),
        ),
        (
            &json_form,
            json!({"text": "hi"}),
            Some(Usage { seconds: 3, audio_input: 50, output: 1, estimated: true, ..none }),
        ),
        (
            &rerank,
            json!({"results": [], "meta": {"billed_units": {"search_units": 2}}}),
            Some(Usage { searches: 2, input: 102, ..none }),
        ),
        (
            &rerank,
            json!({"results": [], "usage": {"total_tokens": 55}}),
            Some(Usage { searches: 2, input: 55, ..none }),
        ),
        (&rerank, json!({"results": []}), Some(Usage { searches: 2, input: 102, estimated: true, ..none })),
    ] {
        let (frames, usage, closing) = read(request, "application/json", body.to_string().as_bytes(), 7).unwrap();
        assert_eq!((frames.len(), usage), (0, expected), "{body}");
        assert_eq!(closing, body.to_string(), "passed on as it came");
    }
    for (format, text, expected) in [
        ("text", "Hello there.\n", Usage { seconds: 3, audio_input: 50, output: 4, estimated: true, ..none }),
        ("srt", "1\n00:00:00,000 --> 00:01:02,500\nHi\n", Usage { seconds: 63, audio_input: 1_050, ..none }),
    ] {
        let (_, usage, closing) = read(&heard(format), "text/plain", text.as_bytes(), 4).unwrap();
        let usage = usage.unwrap();
        assert_eq!(
            (usage.seconds, usage.audio_input, closing),
            (expected.seconds, expected.audio_input, text.to_owned())
        );
    }
}

#[test]
fn sound_goes_on_as_it_comes_and_its_bounds_hold() {
    let body = json!({"model": "m", "input": "x".repeat(150), "voice": "v", "response_format": "pcm"});
    let asked = request(Shape::Speech, &body);
    assert!(asked.stream());
    let sound = vec![7_u8; 96_001];
    let (frames, usage, closing) = read(&asked, "audio/pcm", &sound, 1_000).unwrap();
    let usage = usage.unwrap();
    assert_eq!((frames == sound, &*closing), (true, ""));
    assert_eq!((usage.characters, usage.seconds, usage.audio_output), (150, 3, 63));
    assert!(usage.estimated);
    let most = target("openai/gpt-4o-mini-tts").task_bound(&asked);
    assert!(most.characters == 150 && most.output >= 10 * usage.output && most.seconds >= usage.seconds, "{most:?}");
    let decoder = crate::Dialect::decoder(&crate::openai::OpenAiDialect, &asked, "text/html; charset=utf-8");
    assert_eq!(decoder.content_type(), Some("audio/pcm"), "no page is passed on as one");
    assert_eq!(read(&asked, "audio/pcm", b"", 1).unwrap_err().class, Class::Broken);
    let error = br#"{"error": {"message": "x", "code": 429}}"#;
    assert_eq!(read(&asked, "application/json", error, 5).unwrap_err().class, Class::RateLimited);
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
    assert_eq!(transcribe.task_bound(&sound).output, 2_000, "no more than the model can write");
    assert!((1_000..2_000).contains(&transcribe.input_bound(&sound)), "{}", transcribe.input_bound(&sound));
    let unknown = form(Shape::Transcriptions, &[("model", "m")], &[("file", "a.bin", &[0; 50_000])]).unwrap();
    assert_eq!(target("openai/whisper-1").task_bound(&unknown).seconds, 100);
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

const IMAGE_EVENTS: &str = "event: image_generation.partial_image\ndata: {\"type\":\"image_generation.partial_image\",\"b64_json\":\"aa\",\"partial_image_index\":0}\n\n\
    event: image_generation.completed\ndata: {\"type\":\"image_generation.completed\",\"b64_json\":\"bb\",\"usage\":{\"input_tokens\":5,\"output_tokens\":272,\"total_tokens\":277}}\n\n";
const TEXT_EVENTS: &str = "data: {\"type\":\"transcript.text.delta\",\"delta\":\"Grüße \"}\r\n\r\n\
    data: {\"type\":\"transcript.text.delta\",\"delta\":\"an 😀\"}\r\n\r\n\
    data: {\"type\":\"transcript.text.done\",\"text\":\"Grüße an 😀\",\"usage\":{\"type\":\"tokens\",\"input_tokens\":14,\"input_token_details\":{\"text_tokens\":0,\"audio_tokens\":14},\"output_tokens\":9,\"total_tokens\":23}}\r\n\r\ndata: [DONE]\r\n\r\n";
const SPEECH_EVENTS: &str = "data: {\"type\":\"speech.audio.delta\",\"audio\":\"AAAA\"}\n\n\
    data: {\"type\":\"speech.audio.done\",\"usage\":{\"input_tokens\":6,\"output_tokens\":40,\"total_tokens\":46}}\n\n";

fn streams() -> Vec<(ModelRequest, &'static str, Usage)> {
    let image = request(Shape::Images, &json!({"model": "m", "prompt": "a", "stream": true, "partial_images": 1}));
    let speech = request(Shape::Speech, &json!({"model": "m", "input": "hi!", "stream_format": "sse"}));
    let fields = [("model", "m"), ("stream", "true")];
    let text = form(Shape::Transcriptions, &fields, &[("file", "a.wav", &wav(2))]).unwrap();
    let none = Usage::default();
    vec![
        (image, IMAGE_EVENTS, Usage { input: 5, output: 272, image_output: 272, images: 1, ..none }),
        (text, TEXT_EVENTS, Usage { audio_input: 14, output: 9, seconds: 2, ..none }),
        (speech, SPEECH_EVENTS, Usage { input: 6, output: 40, audio_output: 40, characters: 3, seconds: 1, ..none }),
    ]
}

#[test]
fn events_pass_and_their_last_one_is_billed_by() {
    for (request, text, expected) in streams() {
        let (frames, usage, closing) = read(&request, "text/event-stream", text.as_bytes(), 1 << 20).unwrap();
        assert_eq!(usage, Some(expected));
        let passed = String::from_utf8(frames).unwrap() + &closing;
        assert_eq!(passed, text.replace("\r\n", "\n"));
        let cut = text.rfind("data: {").unwrap();
        let broken = read(&request, "text/event-stream", &text.as_bytes()[..cut], 64).unwrap_err();
        assert_eq!(broken.class, Class::Broken, "no last event");
        let failed =
            format!("{}event: error\ndata: {{\"type\":\"error\",\"error\":{{\"message\":\"x\"}}}}\n\n", &text[..cut]);
        assert_eq!(read(&request, "text/event-stream", failed.as_bytes(), 64).unwrap_err().class, Class::Server);
        let json = read(&request, "application/json", b"{\"text\":\"hi\"}", 3);
        if request.shape() != Shape::Speech {
            let (frames, _, closing) = json.unwrap();
            assert_eq!((&frames[..], &*closing), (&b"{\"text\":\"hi\"}"[..], ""), "a stream that was answered whole");
        }
    }
}

#[test]
fn a_completion_is_read_whole_and_as_a_stream_and_its_usage_is_asked_for() {
    let asked = request(Shape::Completions, &json!({"model": "m", "prompt": "a", "stream": true}));
    assert_eq!((asked.max_output(), asked.choices()), (Some(16), 1));
    let sent: Value = serde_json::from_slice(&encoded(&asked).body).unwrap();
    assert_eq!((&sent["stream_options"]["include_usage"], &sent["max_tokens"]), (&json!(true), &json!(9)));
    let chunk = |text: &str, reason: &str| {
        format!(
            "data: {{\"id\":\"c\",\"object\":\"text_completion\",\"choices\":[{{\"index\":0,\"text\":\"{text}\",\"finish_reason\":{reason}}}],\"usage\":null}}\n\n"
        )
    };
    let usage = "data: {\"id\":\"c\",\"object\":\"text_completion\",\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2,\"total_tokens\":3}}\n\n";
    let text = chunk("one ", "null") + &chunk("two", "\"stop\"") + usage + "data: [DONE]\n\n";
    for size in [1, 7, 1 << 20] {
        let (frames, told, closing) = read(&asked, "text/event-stream", text.as_bytes(), size).unwrap();
        let frames = String::from_utf8(frames).unwrap();
        assert!(frames.contains("\"text\":\"one \"") && !frames.contains("usage"), "{frames}");
        assert_eq!((told, &*closing), (Some(Usage { input: 1, output: 2, ..Usage::default() }), "data: [DONE]\n\n"));
    }
    let whole = r#"{"object":"text_completion","choices":[{"index":0,"text":"hi","finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}"#;
    let plain = request(Shape::Completions, &json!({"model": "m", "prompt": ["a", "b"], "n": 2, "max_tokens": 5}));
    assert_eq!(plain.choices(), 4, "each prompt has its own");
    assert_eq!(read(&plain, "application/json", whole.as_bytes(), 9).unwrap().2, whole);
    let told = crate::Told::of(&asked).cut(&Bytes::from(chunk("x", "null")), "{\"note\":\"n\"}");
    let cut = String::from_utf8(told.closing(None, None).to_vec()).unwrap();
    assert!(
        cut.contains("\"text\":\"\",\"logprobs\":null,\"finish_reason\":\"length\"") && !cut.contains("delta"),
        "{cut}"
    );
}

#[test]
fn bodies_are_bounded() {
    let asked = request(Shape::Embeddings, &json!({"model": "m", "input": "a"}));
    let mut decoder = super::decoder(&asked, "application/json");
    let piece = vec![b' '; 8 << 20];
    let fed = (0..9).try_for_each(|_| decoder.feed(&piece, &mut Vec::new()));
    assert_eq!(fed.unwrap_err().class, Class::TooLarge);
}

proptest! {
    #[test]
    fn no_split_of_the_bytes_changes_what_is_read(size in 1usize..200) {
        for (request, text, expected) in streams() {
            let whole = read(&request, "text/event-stream", text.as_bytes(), 1 << 20).unwrap();
            let split = read(&request, "text/event-stream", text.as_bytes(), size).unwrap();
            prop_assert_eq!(&split, &whole);
            prop_assert_eq!(split.1, Some(expected));
        }
    }

    #[test]
    fn no_answer_makes_a_decoder_panic(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        for (request, _, _) in streams() {
            for kind in ["text/event-stream", "application/json", "audio/mpeg", ""] {
                let _ = read(&request, kind, &noise, 9);
            }
        }
    }
}
