//! What a caller has been told of a stream, so that it can be ended in the caller's words at any point.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::Value;

use crate::anthropic;
use crate::gemini;
use crate::openai;
use crate::request::{End, ModelRequest, Shape, Usage};
use crate::responses;
use crate::sse::SseEvent;

/// Follows the frames that go to one caller.
pub struct Told {
    shape: Shape,
    wants_usage: bool,
    several: bool,
    /// OpenAI, Gemini: the last chunk. Anthropic: the last frame that says which block is open.
    last: Bytes,
    /// OpenAI, Gemini, several choices: whether each has ended.
    choices: BTreeMap<u64, bool>,
    /// Responses: all of it, for their last event tells everything again.
    track: responses::Track,
}

impl Told {
    /// Nothing yet.
    pub fn of(request: &ModelRequest) -> Told {
        Told {
            shape: request.shape(),
            wants_usage: request.wants_usage(),
            several: request.choices() > 1,
            last: Bytes::new(),
            choices: BTreeMap::new(),
            track: responses::Track::default(),
        }
    }

    /// A frame has gone to the caller.
    pub fn heard(&mut self, frame: &Bytes) {
        match self.shape {
            Shape::Anthropic => {
                let tells = |needle: &[u8]| frame.windows(needle.len()).any(|it| it == needle);
                if tells(b"content_block_") || tells(b"\"message_start\"") {
                    self.last = frame.clone();
                }
            }
            Shape::Responses => self.track.hear(frame),
            _ => {
                self.last = frame.clone();
                if self.several {
                    self.note_choices(frame);
                }
            }
        }
    }

    /// Ends the stream here, for its length. `note` is a JSON object that says why; `next`, the frame that is withheld, lends its
    /// envelope if nothing was told yet.
    pub fn cut(self, next: &Bytes, note: &str) -> End {
        let (wants_usage, note) = (self.wants_usage, note.to_owned());
        let reason = Some("length".to_owned());
        match self.shape {
            Shape::Anthropic => {
                let told = events(&self.last);
                // Not every server names its events; the data does.
                let last = told.last().and_then(|event| serde_json::from_str::<Value>(&event.data).ok());
                let open = last.filter(|data| matches!(kind(data), "content_block_start" | "content_block_delta"));
                let open = open.and_then(|data| data["index"].as_u64());
                let begin = self.last.is_empty().then(|| {
                    let own = events(next).into_iter().find(|event| event.event == "message_start");
                    own.map(|event| event.frame()).unwrap_or_else(anthropic::begin)
                });
                End::new(reason, move |cost, counted| anthropic::cut(begin.as_deref(), open, &note, counted, cost))
            }
            Shape::Responses => {
                let mut track = self.track;
                let mut begin = String::new();
                if track.is_empty() {
                    let event = responses::begin(next);
                    begin = event.frame();
                    track.event(&event);
                }
                End::new(reason, move |cost, counted| {
                    let mut out = begin.clone().into_bytes();
                    out.extend_from_slice(&track.cut(&note, counted, cost));
                    out.into()
                })
            }
            shape => {
                let chunk = events(if self.last.is_empty() { next } else { &self.last }).pop().unwrap_or_default();
                let open: Vec<u64> = match self.choices.is_empty() {
                    true => vec![0],
                    false => self.choices.iter().filter(|(_, ended)| !**ended).map(|(index, _)| *index).collect(),
                };
                if shape == Shape::Gemini {
                    return End::new(reason, move |cost, counted| {
                        gemini::cut(&chunk.data, &open, &note, counted, cost)
                    });
                }
                End::new(reason, move |cost, counted| {
                    openai::cut(&chunk.data, &open, &note, counted.filter(|_| wants_usage), cost)
                })
            }
        }
    }

    fn note_choices(&mut self, frame: &Bytes) {
        for event in events(frame) {
            let chunk: Value = serde_json::from_str(&event.data).unwrap_or_default();
            for choice in ["choices", "candidates"].iter().filter_map(|name| chunk[*name].as_array()).flatten() {
                let ended = choice["finish_reason"].is_string() || choice["finishReason"].is_string();
                *self.choices.entry(choice["index"].as_u64().unwrap_or(0)).or_default() |= ended;
            }
        }
    }
}

fn kind(data: &Value) -> &str {
    data["type"].as_str().unwrap_or_default()
}

/// A gathered body with the note, and with what was counted in the place of usage that is no longer to come.
pub(crate) fn with_note(shape: Shape, body: &Bytes, note: &str, counted: Option<&Usage>) -> Bytes {
    let Ok(body) = std::str::from_utf8(body) else { return body.clone() };
    let usage = counted.map(|counted| match shape {
        Shape::Anthropic => anthropic::usage_object(counted).to_string(),
        Shape::Responses => responses::usage_object(counted).to_string(),
        Shape::Gemini => gemini::usage_object(counted).to_string(),
        _ => openai::usage_object(counted),
    });
    let name = if shape == Shape::Gemini { "usageMetadata" } else { "usage" };
    let body = match usage {
        Some(usage) => openai::with_member(body, name, &usage),
        None => body.to_owned(),
    };
    openai::with_member(&body, "alfred", note).into()
}

/// The events of frames that were written here.
fn events(frame: &Bytes) -> Vec<SseEvent> {
    let (mut reader, mut events) = (crate::sse::SseReader::default(), Vec::new());
    // What is too large to be read again lends nothing.
    let _ = reader.feed(frame, &mut events);
    reader.finish(&mut events);
    events
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn request(shape: Shape, more: Value) -> ModelRequest {
        let mut body = json!({"model": "m", "stream": true, "max_tokens": 9, "messages": []});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        ModelRequest::parse(shape, body.to_string().into()).unwrap()
    }

    fn cut(request: &ModelRequest, frames: &[&str], next: &str) -> String {
        let mut told = Told::of(request);
        frames.iter().for_each(|frame| told.heard(&Bytes::copy_from_slice(frame.as_bytes())));
        let usage = Usage { input: 3, output: 7, ..Usage::default() };
        let end = told.cut(&Bytes::copy_from_slice(next.as_bytes()), r#"{"note":"n"}"#);
        assert_eq!(end.finish_reason(), Some("length"));
        String::from_utf8(end.closing(Some("0.01"), Some(&usage)).to_vec()).unwrap()
    }

    #[test]
    fn an_openai_stream_ends_with_a_reason_a_note_and_done() {
        let chunk = "data: {\"id\":\"c\",\"created\":5,\"model\":\"x\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n";
        let plain = request(Shape::OpenAi, json!({}));
        let last = r#"data: {"id":"c","created":5,"model":"x","choices":[{"index":0,"delta":{},"finish_reason":"length"}],"alfred":{"note":"n"}}"#;
        assert_eq!(cut(&plain, &[chunk], ""), format!("{last}\n\ndata: [DONE]\n\n"));
        assert_eq!(
            cut(&plain, &[], chunk),
            format!("{last}\n\ndata: [DONE]\n\n"),
            "the withheld chunk lends its envelope"
        );

        let usage = request(Shape::OpenAi, json!({"stream_options": {"include_usage": true}}));
        let text = cut(&usage, &[chunk], "");
        assert!(text.contains(r#""choices":[],"usage":{"prompt_tokens":3,"completion_tokens":7,"#), "{text}");
        assert!(text.contains(r#""alfred_cost_usd":"0.01""#) && text.ends_with("data: [DONE]\n\n"), "{text}");

        let two = request(Shape::OpenAi, json!({"n": 2}));
        let ended = "data: {\"id\":\"c\",\"choices\":[{\"index\":1,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
        let text = cut(&two, &[chunk, ended], "");
        assert!(text.contains(r#"[{"index":0,"delta":{},"finish_reason":"length"}]"#), "{text}");
    }

    #[test]
    fn an_anthropic_stream_ends_with_its_open_block_closed() {
        let request = request(Shape::Anthropic, json!({}));
        let start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\"}}\n\n";
        let open = "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":2}\n\nevent: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":2}\n\n";
        let closed = "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":2}\n\n";
        let ping = "event: ping\ndata: {\"type\": \"ping\"}\n\n";
        let kinds = |text: &str| {
            let all = events(&Bytes::copy_from_slice(text.as_bytes()));
            all.into_iter().map(|event| event.event).collect::<Vec<_>>().join(" ")
        };
        let text = cut(&request, &[start, open, ping], "");
        assert_eq!(kinds(&text), "content_block_stop message_delta message_stop");
        assert!(text.contains(r#""stop_reason":"max_tokens""#) && text.contains(r#""alfred":{"note":"n"}"#), "{text}");
        assert!(text.contains(r#""output_tokens":7"#) && text.contains(r#""alfred_cost_usd":"0.01""#), "{text}");
        assert_eq!(kinds(&cut(&request, &[start, open, closed], "")), "message_delta message_stop");
        assert_eq!(kinds(&cut(&request, &[start], "")), "message_delta message_stop");
        assert_eq!(kinds(&cut(&request, &[], &format!("{start}{open}"))), "message_start message_delta message_stop");
        assert_eq!(kinds(&cut(&request, &[], "")), "message_start message_delta message_stop");
    }
}
