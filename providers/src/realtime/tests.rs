use super::*;
use crate::request::{Outside, Shape};
use serde_json::{Value, json};

fn event(text: &Value) -> ModelRequest {
    let outside = Outside { model: Some("voice".into()), ..Outside::default() };
    ModelRequest::parse_with(Shape::Realtime, text.to_string().into(), outside).unwrap()
}

#[test]
fn an_event_of_the_providers_is_known_by_what_it_says_of_responses() {
    let none = Usage::default();
    let done =
        |usage: Value| json!({"type": "response.done", "response": {"id": "r", "status": "completed", "usage": usage}});
    let was = |usage| Told::Done { response: "r".into(), usage };
    let narrow = Formats { heard: 6_400 / 6, spoken: 3_200 };
    for (event, expected) in [
        (json!({"type": "session.created", "session": {"audio": {}}}), Told::Session(Formats::default())),
        (
            json!({"type": "session.updated", "session": {"audio": {"input": {"format": {"type": "audio/pcmu"}},
                "output": {"format": {"type": "audio/pcm", "rate": 24000}}}}}),
            Told::Session(narrow),
        ),
        (json!({"type": "response.created", "response": {"id": "r"}}), Told::Created { response: "r".into() }),
        (
            json!({"type": "response.output_text.delta", "response_id": "r", "delta": "four"}),
            Told::Delta { response: "r".into(), text: 4, sound: 0 },
        ),
        (
            json!({"type": "response.output_audio.delta", "response_id": "r", "delta": "AAAA"}),
            Told::Delta { response: "r".into(), text: 0, sound: 4 },
        ),
        (
            json!({"type": "response.output_audio_transcript.delta", "response_id": "r", "delta": "hi"}),
            Told::Delta { response: "r".into(), text: 2, sound: 0 },
        ),
        (
            json!({"type": "response.function_call_arguments.delta", "response_id": "r", "delta": "{}"}),
            Told::Delta { response: "r".into(), text: 2, sound: 0 },
        ),
        (done(Value::Null), was(None)),
        // Ended all the same: it is counted here.
        (done(json!({"input_tokens": -1, "output_tokens": 0.5})), was(None)),
        (
            done(json!({"total_tokens": 160, "input_tokens": 120, "output_tokens": 40,
                "input_token_details": {"text_tokens": 50, "audio_tokens": 60, "image_tokens": 10, "cached_tokens": 45,
                    "cached_tokens_details": {"text_tokens": 20, "audio_tokens": 25, "image_tokens": 0}},
                "output_token_details": {"text_tokens": 10, "audio_tokens": 30}})),
            was(Some(Usage {
                input: 30,
                cached_input: 45,
                audio_input: 35,
                image_input: 10,
                output: 40,
                audio_output: 30,
                ..none
            })),
        ),
        (
            done(json!({"total_tokens": 15, "input_tokens": 10, "output_tokens": 5})),
            was(Some(Usage { input: 10, output: 5, estimated: true, ..none })),
        ),
        (
            // More of a class than of all: no count runs below nothing.
            done(
                json!({"input_tokens": 5, "output_tokens": 2, "input_token_details": {"audio_tokens": 900, "cached_tokens": 3},
                "output_token_details": {"audio_tokens": 900}}),
            ),
            was(Some(Usage { cached_input: 3, audio_input: 2, output: 2, audio_output: 2, ..none })),
        ),
        (json!({"type": "error", "error": {"message": "no"}}), Told::Failed),
        (json!({"type": "rate_limits.updated", "rate_limits": []}), Told::Other),
        (json!({"type": "response.output_item.added", "response_id": "r"}), Told::Other),
        (json!(["no", "event"]), Told::Other),
    ] {
        assert_eq!(Told::read(&event.to_string()), expected, "{event}");
    }
}

#[test]
fn every_text_of_a_clients_event_is_read_and_what_is_billed_beside_tokens_is_named() {
    let mcp = json!([{"type": "mcp", "server_label": "x"}]);
    for (text, texts, surcharge) in [
        (json!({"type": "input_audio_buffer.append", "audio": "AAAA"}), vec![], None),
        (json!({"type": "response.create"}), vec![], None),
        (
            json!({"type": "conversation.item.create", "item": {"type": "message", "role": "user", "content": [
                {"type": "input_text", "text": "one"}, {"type": "input_audio", "audio": "AAAA", "transcript": "two"}]}}),
            vec![("item.content[0].text", "one"), ("item.content[1].transcript", "two")],
            None,
        ),
        (
            json!({"type": "conversation.item.create", "item": {"type": "function_call_output", "call_id": "c", "output": "three"}}),
            vec![("item.output", "three")],
            None,
        ),
        (
            json!({"type": "session.update", "session": {"type": "realtime", "instructions": "four", "tools": [
                {"type": "function", "name": "f"}], "audio": {"input": {"transcription": null}}}}),
            vec![("session.instructions", "four")],
            None,
        ),
        (
            json!({"type": "response.create", "response": {"instructions": "five", "input": [
                {"type": "message", "content": [{"type": "input_text", "text": "six"}]}], "metadata": {"who": "seven"}}}),
            vec![
                ("response.instructions", "five"),
                ("response.input[0].content[0].text", "six"),
                ("response.metadata.who", "seven"),
            ],
            None,
        ),
        (json!({"type": "later.event", "said": "eight"}), vec![("said", "eight")], None),
        (json!({"type": "session.update", "session": {"tools": mcp}}), vec![], Some("session.tools")),
        (json!({"type": "response.create", "response": {"tools": mcp}}), vec![], Some("response.tools")),
        (json!({"type": "session.update", "session": {"prompt": {"id": "p"}}}), vec![], Some("session.prompt")),
        (json!({"type": "session.update", "session": {"type": "transcription"}}), vec![], Some("session.type")),
        (json!({"type": "transcription_session.update", "session": {}}), vec![], Some("type")),
        (
            json!({"type": "session.update", "session": {"audio": {"input": {"transcription": {"model": "w"}}}}}),
            vec![],
            Some("session.audio.input.transcription"),
        ),
        (
            json!({"type": "session.update", "session": {"input_audio_transcription": {"model": "w"}}}),
            vec![],
            Some("session.input_audio_transcription"),
        ),
        (
            json!({"type": "conversation.item.create", "item": {"type": "mcp_approval_response", "approve": true}}),
            vec![],
            Some("item.type"),
        ),
    ] {
        let event = event(&text);
        let found: Vec<_> = event.texts().into_iter().map(|it| (it.place, it.text.into_owned())).collect();
        let found: Vec<_> = found.iter().map(|(place, text)| (&**place, &**text)).collect();
        assert_eq!((found, event.features().surcharge), (texts, surcharge), "{text}");
        assert_eq!(event.event_kind(), text["type"]);
    }
}

#[test]
fn an_event_names_the_targets_own_model_and_no_higher_cap_than_is_allowed() {
    let named = json!({"type": "session.update", "session": {"model": "voice", "x": 1.0}});
    let event_of = |text: &str| event(&serde_json::from_str(text).unwrap());
    assert_eq!(event(&named).session_model(), Some("voice"));
    let sent: Value = serde_json::from_slice(&for_target(&event(&named), "gpt \"real\"")).unwrap();
    assert_eq!(sent, json!({"type": "session.update", "session": {"model": "gpt \"real\"", "x": 1.0}}));
    for (text, expected) in [
        (r#"{"type":"response.create"}"#, json!({"type": "response.create", "response": {"max_output_tokens": 64}})),
        (
            r#"{"type":"response.create","response":null}"#,
            json!({"type": "response.create", "response": {"max_output_tokens": 64}}),
        ),
        (
            r#"{"type":"response.create","response":{ }}"#,
            json!({"type": "response.create", "response": {"max_output_tokens": 64}}),
        ),
        (
            r#"{"response":{"metadata":{}},"type":"response.create"}"#,
            json!({"type": "response.create", "response": {"max_output_tokens": 64, "metadata": {}}}),
        ),
        (
            r#"{"type":"response.create","response":{"max_output_tokens":"inf"}}"#,
            json!({"type": "response.create", "response": {"max_output_tokens": 64}}),
        ),
        (
            r#"{"type":"response.create","response":{"max_output_tokens":900}}"#,
            json!({"type": "response.create", "response": {"max_output_tokens": 64}}),
        ),
        (
            r#"{"type":"response.create","response":{"max_output_tokens":32}}"#,
            json!({"type": "response.create", "response": {"max_output_tokens": 32}}),
        ),
    ] {
        let sent: Value = serde_json::from_slice(&capped(&event_of(text), 64)).unwrap();
        assert_eq!(sent, expected, "{text}");
    }
}

#[test]
fn an_event_that_cannot_be_read_in_one_way_only_is_refused() {
    for (text, code) in [
        ("[]", "invalid_type"),
        (r#"{"type":"a","type":"b"}"#, "duplicate_parameter"),
        (r#"{"type":"session.update","session":{"tools":[],"tools":[]}}"#, "duplicate_parameter"),
        (r#"{"type":"session.update","Session":{}}"#, "invalid_value"),
        (r#"{"type":"session.update","session":[]}"#, "invalid_type"),
        (r#"{"type":"a""#, "invalid_json"),
    ] {
        let parsed = ModelRequest::parse(Shape::Realtime, Bytes::from_static(text.as_bytes()));
        assert_eq!(parsed.err().map(|it| it.code), Some(code), "{text}");
    }
}
