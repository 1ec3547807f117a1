use super::super::track::Track;
use super::*;
use crate::dialect::Dialect;
use crate::gather::gather;
use crate::openai::OpenAiDialect;
use crate::sse::SseEvent;
use crate::told;

const ASK: &str = r#"{"model":"m","input":"hi","stream":true}"#;

/// The frames of a stream as they go to its caller.
fn frames(stream: &str) -> Vec<Bytes> {
    let (mut decoder, mut out) = (OpenAiDialect.decoder(&responses(ASK), "text/event-stream"), Vec::new());
    decoder.feed(stream.as_bytes(), &mut out).unwrap();
    let frames =
        out.into_iter().filter_map(|it| if let AnswerEvent::Delta(delta) = it { Some(delta.frame) } else { None });
    frames.filter(|frame| !frame.is_empty()).collect()
}

/// Cuts a stream before each of its frames in turn; every time the client has a whole story.
#[test]
fn a_stream_can_be_ended_before_any_of_its_events() {
    for stream in ["stream/text", "stream/tools", "stream/thinking", "stream/refusal", "native/text", "native/tools"] {
        let frames = frames(&given(&format!("{stream}.in.sse")));
        for at in 0..frames.len() {
            let mut told = told::Told::of(&responses(ASK));
            frames[..at].iter().for_each(|frame| told.heard(frame));
            let end = told.cut(&frames[at], r#"{"note":"n"}"#);
            assert_eq!(end.finish_reason(), Some("length"));
            let usage = Usage { input: 3, output: 7, ..Usage::default() };
            let closing = end.closing(Some("0.01"), Some(&usage));
            let all = [&frames[..at], &[closing]].concat().concat();
            let all = events(std::str::from_utf8(&all).unwrap());
            assert_eq!(all[0]["type"], "response.created", "{stream} before {at}");
            let numbers: Vec<u64> = all.iter().map(|it| it["sequence_number"].as_u64().unwrap()).collect();
            assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "{stream} before {at}: {numbers:?}");
            let count = |kind: &str| all.iter().filter(|it| it["type"] == kind).count();
            assert_eq!(count("response.output_item.added"), count("response.output_item.done"), "{stream} before {at}");
            assert_eq!(
                count("response.content_part.added"),
                count("response.content_part.done"),
                "{stream} before {at}"
            );
            let last = &all.last().unwrap()["response"];
            assert_eq!(
                (&last["status"], &last["incomplete_details"]["reason"]),
                (&"incomplete".into(), &"max_output_tokens".into())
            );
            assert_eq!(
                (&last["usage"]["total_tokens"], &last["usage"]["alfred_cost_usd"]),
                (&10.into(), &"0.01".into())
            );
            assert_eq!(last["alfred"]["note"], "n");
            let done: Vec<&Value> =
                all.iter().filter(|it| it["type"] == "response.output_item.done").map(|it| &it["item"]).collect();
            assert_eq!(last["output"].as_array().unwrap().iter().collect::<Vec<_>>(), done, "{stream} before {at}");
        }
    }
}

#[test]
fn a_stream_of_which_nothing_is_known_is_ended_all_the_same() {
    let end = told::Told::of(&responses(ASK)).cut(&Bytes::new(), "{}");
    let all = events(std::str::from_utf8(&end.closing(None, None)).unwrap());
    assert_eq!(
        all.iter().map(|it| it["type"].as_str().unwrap()).collect::<Vec<_>>(),
        ["response.created", "response.incomplete"]
    );
}

#[test]
fn a_gathered_answer_can_be_ended_too() {
    for stream in ["stream/text", "native/text"] {
        let whole = given(&format!("{stream}.in.sse"));
        let upto = whole.find("finish_reason\":\"stop").or(whole.find("event: response.output_text.done")).unwrap();
        let upto = whole[..upto].rfind("\n\n").unwrap() + 2;
        let request = responses(r#"{"model":"m","input":"hi"}"#);
        let mut gathered = gather(&OpenAiDialect, &request, &responses(ASK), "text/event-stream").unwrap();
        let mut out = Vec::new();
        gathered.feed(&whole.as_bytes()[..upto], &mut out).unwrap();
        let end = gathered.cut(r#"{"note":"n"}"#).expect("an end");
        let body: Value =
            serde_json::from_slice(&end.closing(None, Some(&Usage { input: 1, output: 2, ..Usage::default() })))
                .unwrap();
        assert_eq!((&body["object"], &body["status"]), (&"response".into(), &"incomplete".into()), "{stream}");
        assert_eq!((&body["usage"]["total_tokens"], &body["alfred"]["note"]), (&3.into(), &"n".into()), "{stream}");
    }
}

#[test]
fn a_stream_of_nonsense_is_ended_and_breaks_nothing() {
    let mut track = Track::default();
    for data in [
        r#"{"type":"response.output_item.added","output_index":0,"item":"x"}"#,
        r#"{"type":"response.function_call_arguments.delta","output_index":0,"delta":"{"}"#,
        r#"{"type":"response.custom_tool_call_input.delta","output_index":0,"delta":"a"}"#,
        r#"{"type":"response.output_item.added","output_index":1,"item":{"type":"message"}}"#,
        r#"{"type":"response.content_part.added","output_index":1,"content_index":0,"part":"x"}"#,
        r#"{"type":"response.output_text.annotation.added","output_index":1,"content_index":0,"annotation":{}}"#,
        r#"{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"a"}"#,
    ] {
        track.event(&SseEvent { event: String::new(), data: data.to_owned() });
    }
    assert!(!track.cut("{}", None, None).is_empty());
}
