//! Reads OpenAI's answers: event streams and whole bodies, told apart by their first byte, for content types lie.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::{explain, parts, usage, wire};
use crate::dialect::{Decoder, Finish, Outlet, outlet};
use crate::error::{Class, ProviderError};
use crate::request::{AnswerEvent, Delta, ModelRequest, Shape};
use crate::sse::{SseEvent, SseReader};

/// The largest whole body that is taken.
const LARGEST_BODY: usize = 64 << 20;

pub(super) struct OpenAiDecoder {
    stream_asked: bool,
    event_stream: bool,
    is_whole: bool,
    mode: Mode,
    answer: Reading,
}

enum Mode {
    /// Only white space has come.
    Unknown,
    Stream(SseReader),
    Whole(Vec<u8>),
    Done,
}

/// What has been read of the answer.
struct Reading {
    openai_caller: bool,
    wants_usage: bool,
    outlet: Option<Box<dyn Outlet>>,
    finish: Finish,
    seen: BTreeSet<u64>,
    finished: BTreeSet<u64>,
    chunks: u64,
    model: Option<String>,
}

impl OpenAiDecoder {
    pub(super) fn new(request: &ModelRequest, content_type: &str) -> OpenAiDecoder {
        OpenAiDecoder {
            stream_asked: request.stream(),
            event_stream: content_type.trim_start().to_ascii_lowercase().starts_with("text/event-stream"),
            is_whole: false,
            mode: Mode::Unknown,
            answer: Reading {
                openai_caller: matches!(request.shape(), Shape::OpenAi | Shape::Completions),
                wants_usage: request.wants_usage(),
                outlet: Some(outlet(request)),
                finish: Finish::default(),
                seen: BTreeSet::new(),
                finished: BTreeSet::new(),
                chunks: 0,
                model: None,
            },
        }
    }

    fn events(&mut self, events: Vec<SseEvent>, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        for event in events {
            if event.data.trim() == "[DONE]" {
                self.mode = Mode::Done;
                return self.answer.end(out);
            }
            self.answer.event(&event, out)?;
        }
        Ok(())
    }
}

impl Decoder for OpenAiDecoder {
    fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        if let Mode::Unknown = self.mode {
            // Some servers keep a connection awake with white space; a byte order mark says nothing either.
            let start = bytes.iter().position(|b| !b.is_ascii_whitespace() && !b"\xef\xbb\xbf".contains(b));
            let Some(start) = start else { return Ok(()) };
            bytes = &bytes[start..];
            self.mode = match bytes[0] {
                b'{' => Mode::Whole(Vec::new()),
                b'd' | b'e' | b'i' | b'r' | b':' if self.stream_asked => Mode::Stream(SseReader::default()),
                _ if self.stream_asked && self.event_stream => Mode::Stream(SseReader::default()),
                _ => {
                    return Err(ProviderError::broken(
                        "the provider's answer is neither JSON nor the stream that was asked for",
                    ));
                }
            };
            self.is_whole = matches!(self.mode, Mode::Whole(_));
        }
        match &mut self.mode {
            Mode::Stream(reader) => {
                let mut events = Vec::new();
                let fed = reader.feed(bytes, &mut events);
                self.events(events, out)?;
                if let Mode::Done = self.mode { Ok(()) } else { fed }
            }
            Mode::Whole(body) if body.len() + bytes.len() > LARGEST_BODY => {
                Err(ProviderError::new(Class::TooLarge, "the provider's answer is too large"))
            }
            Mode::Whole(body) => {
                body.extend_from_slice(bytes);
                Ok(())
            }
            Mode::Unknown | Mode::Done => Ok(()),
        }
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        match std::mem::replace(&mut self.mode, Mode::Done) {
            Mode::Done => Ok(()),
            Mode::Unknown => Err(ProviderError::broken("the provider's answer is empty")),
            Mode::Whole(body) => self.answer.whole(body.into(), self.stream_asked, out),
            Mode::Stream(mut reader) => {
                let mut events = Vec::new();
                reader.finish(&mut events);
                let ended = out.len();
                self.events(events, out)?;
                if out[ended..].iter().any(|it| matches!(it, AnswerEvent::End(_))) {
                    return Ok(());
                }
                // Not every server says [DONE]; the finish reasons tell whether this was the end.
                if self.answer.finished.is_empty() || self.answer.finished != self.answer.seen {
                    return Err(ProviderError::broken("the provider's stream broke off"));
                }
                self.answer.end(out)
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.is_whole
    }

    fn model(&self) -> Option<&str> {
        self.answer.model.as_deref()
    }
}

impl Reading {
    fn event(&mut self, event: &SseEvent, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        if event.data.trim().is_empty() {
            return Ok(());
        }
        if event.event == "error" {
            return Err(explain::in_answer(&event.data));
        }
        self.chunk(&event.data, out)
    }

    fn chunk(&mut self, payload: &str, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        let flat = parts::flattened(payload);
        let payload = flat.as_deref().unwrap_or(payload);
        let chunk: wire::Answer<'_> = serde_json::from_str(payload)
            .map_err(|_| ProviderError::broken("a chunk of the provider's stream cannot be read"))?;
        if let Some(error) = chunk.error() {
            return Err(explain::in_answer(error));
        }
        self.chunks += 1;
        if self.model.is_none() {
            self.model = chunk.model();
        }
        let choices = chunk.choices.as_deref().unwrap_or_default();
        let mut ended = false;
        for choice in choices {
            let index = choice.index.unwrap_or(0);
            self.seen.insert(index);
            if let Some(reason) = choice.finish_reason.as_ref().filter(|it| !it.is_empty()) {
                ended = true;
                self.finished.insert(index);
                self.finish.reason = Some(reason.clone());
            }
        }
        let texts = chunk.texts();
        let billed = chunk.usage().and_then(usage::read);
        if billed.is_some() {
            self.finish.usage = billed;
            self.finish.usage_chunk = Some(wire::with(payload, "choices", "[]"));
        }
        // A usage chunk waits for the end. Others go on as they came, but for the usage member: of no interest to a caller who did not
        // ask, and told once, at the end, to one who did.
        let only_usage = choices.is_empty() && billed.is_some();
        let frame = if only_usage || (choices.is_empty() && !self.openai_caller) {
            Bytes::new()
        } else {
            let strip = billed.is_some() || (!self.wants_usage && payload.contains("\"usage\""));
            let outlet = self.outlet.as_mut().expect("there until the end");
            if strip { outlet.chunk(&wire::without(payload, "usage"))? } else { outlet.chunk(payload)? }
        };
        let content = ended || !texts.is_empty();
        if !frame.is_empty() || content {
            out.push(AnswerEvent::Delta(Delta { frame, texts, content }));
        }
        out.extend(billed.map(AnswerEvent::Usage));
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        if self.chunks == 0 {
            return Err(ProviderError::broken("the provider's stream is empty"));
        }
        let outlet = self.outlet.take().expect("ends once");
        out.push(AnswerEvent::End(outlet.end(std::mem::take(&mut self.finish))));
        Ok(())
    }

    fn whole(&mut self, body: Bytes, as_stream: bool, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        let unreadable = || ProviderError::broken("the provider's answer cannot be read");
        let text = std::str::from_utf8(&body).map_err(|_| unreadable())?;
        let flat = parts::flattened(text);
        let text = flat.as_deref().unwrap_or(text);
        let answer: wire::Answer<'_> = serde_json::from_str(text).map_err(|_| unreadable())?;
        if let Some(error) = answer.error() {
            return Err(explain::in_answer(error));
        }
        let choices = answer.choices.as_deref().ok_or_else(unreadable)?;
        if as_stream {
            self.chunk(&as_chunk(text).ok_or_else(unreadable)?, out)?;
            return self.end(out);
        }
        self.model = answer.model();
        let finish = Finish {
            reason: choices.iter().find_map(|it| it.finish_reason.clone()),
            usage: answer.usage().and_then(usage::read),
            usage_chunk: None,
        };
        out.push(AnswerEvent::Delta(Delta { frame: Bytes::new(), texts: answer.texts(), content: true }));
        out.extend(finish.usage.map(AnswerEvent::Usage));
        let outlet = self.outlet.take().expect("ends once");
        let body = flat.clone().map_or_else(|| body.clone(), Bytes::from);
        out.push(AnswerEvent::End(outlet.whole(body, finish)?));
        Ok(())
    }
}

/// A whole answer as one chunk, for a server that answered JSON where a stream was asked for.
fn as_chunk(body: &str) -> Option<String> {
    let mut answer: Map<String, Value> = serde_json::from_str(body).ok()?;
    if answer.get("object").is_none_or(|it| it != "text_completion") {
        answer.insert("object".to_owned(), json!("chat.completion.chunk"));
    }
    for choice in answer.get_mut("choices")?.as_array_mut()? {
        let choice = choice.as_object_mut()?;
        if choice.contains_key("text") {
            continue; // a completion of old: the same whole and streamed
        }
        let mut said = choice.remove("message").unwrap_or(json!({}));
        for (i, call) in said.get_mut("tool_calls").and_then(Value::as_array_mut).into_iter().flatten().enumerate() {
            call.as_object_mut()?.insert("index".to_owned(), json!(i));
        }
        choice.insert("delta".to_owned(), said);
    }
    serde_json::to_string(&answer).ok()
}
