//! Answers to one-shot tasks: what is passed on and what is billed, under every split of the bytes.

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{encoded, form, request, target, wav};
use crate::error::{Class, ProviderError};
use crate::request::{AnswerEvent, ModelRequest, Shape, Usage};

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
    let mut decoder = super::super::decoder(&asked, "application/json");
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
