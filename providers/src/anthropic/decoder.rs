//! Readers of Anthropic's answers. A caller of Anthropic's own shape gets every event as it came ([`Passage`]), any other
//! gets chunks written by its outlet ([`Translated`]); a body that is not a stream is read whole ([`Whole`]).

use bytes::Bytes;
use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::chunks::{self, ToChunks};
use super::explain;
use super::usage::{self, Tally};
use super::wire::{Event, Message, finish_reason};
use crate::dialect::{Decoder, Outlet, outlet};
use crate::error::{Class, ProviderError};
use crate::request::{AnswerEvent, Delta, End, ModelRequest, Shape, Usage};
use crate::sse::{SseEvent, SseReader};

/// The largest whole answer that is taken.
const LARGEST_ANSWER: usize = 64 << 20;

/// The reader for one answer. Its first byte tells what it is: a body begins with a brace, no stream does, and content
/// types lie.
pub(super) fn decoder(request: &ModelRequest) -> Box<dyn Decoder> {
    Box::new(Unopened { request: request.clone(), opened: None, is_whole: false })
}

/// An answer of which only white space has come, until more does.
struct Unopened {
    request: ModelRequest,
    opened: Option<Box<dyn Decoder>>,
    is_whole: bool,
}

impl Unopened {
    fn open(&self, first: u8) -> Result<Box<dyn Decoder>, ProviderError> {
        let (stream, own) = (self.request.stream(), self.request.shape() == Shape::Anthropic);
        let created = self.request.arrived();
        if first == b'{' {
            let outlet = (stream || !own).then(|| outlet(&self.request));
            return Ok(Box::new(Whole { body: Vec::new(), stream, created, model: None, outlet }));
        }
        if !stream || !matches!(first, b'a'..=b'z' | b':') {
            return Err(ProviderError::broken("the provider's answer is not of the kind that was asked for"));
        }
        if own {
            return Ok(Box::new(Passage::default()));
        }
        let outlet = Some(outlet(&self.request));
        Ok(Box::new(Translated { reader: SseReader::default(), chunks: ToChunks::new(created), outlet }))
    }
}

impl Decoder for Unopened {
    fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        if self.opened.is_none() {
            // A byte order mark says nothing either.
            let start = bytes.iter().position(|b| !b.is_ascii_whitespace() && !b"\xef\xbb\xbf".contains(b));
            let Some(start) = start else { return Ok(()) };
            bytes = &bytes[start..];
            self.is_whole = bytes[0] == b'{';
            self.opened = Some(self.open(bytes[0])?);
        }
        self.opened.as_mut().expect("just opened").feed(bytes, out)
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        match &mut self.opened {
            Some(opened) => opened.finish(out),
            None => Err(ProviderError::broken("the provider's answer is empty")),
        }
    }

    fn is_whole(&self) -> bool {
        self.is_whole
    }

    fn model(&self) -> Option<&str> {
        self.opened.as_ref().and_then(|opened| opened.model())
    }
}

/// A stream told to the caller in its own words.
struct Translated {
    reader: SseReader,
    chunks: ToChunks,
    /// Gone once the answer has ended.
    outlet: Option<Box<dyn Outlet>>,
}

impl Translated {
    fn take(&mut self, events: &[SseEvent], out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        for event in events {
            let Some(outlet) = &mut self.outlet else { return Ok(()) };
            let Some(event) = read(event)? else { continue };
            let before = self.chunks.tally().usage();
            if let Some(chunk) = self.chunks.event(&event)? {
                let frame = outlet.chunk(&chunk.json)?;
                out.push(AnswerEvent::Delta(Delta::one(frame, chunk.text, chunk.content)));
            }
            tell_usage(before, self.chunks.tally(), out);
            if self.chunks.ended() {
                let outlet = self.outlet.take().expect("it was there at the top of this turn");
                out.push(AnswerEvent::End(outlet.end(self.chunks.finish())));
            }
        }
        Ok(())
    }
}

impl Decoder for Translated {
    fn feed(&mut self, bytes: &[u8], out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        let mut events = Vec::new();
        let read = self.reader.feed(bytes, &mut events);
        self.take(&events, out)?;
        read
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        let mut events = Vec::new();
        self.reader.finish(&mut events);
        self.take(&events, out)?;
        if self.outlet.is_some() { Err(broke_off()) } else { Ok(()) }
    }

    fn model(&self) -> Option<&str> {
        Some(self.chunks.model())
    }
}

/// A stream that passes as it came. The last `message_delta` waits for the cost, `message_stop` for it.
#[derive(Default)]
struct Passage {
    reader: SseReader,
    tally: Tally,
    model: Option<String>,
    reason: Option<&'static str>,
    last: Option<SseEvent>,
    ended: bool,
}

impl Passage {
    fn take(&mut self, events: Vec<SseEvent>, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        for raw in events {
            if self.ended {
                return Ok(());
            }
            let Some(event) = read(&raw)? else {
                // A ping says nothing, so one that cannot be read is no loss.
                if serde_json::from_str::<IgnoredAny>(&raw.data).is_ok() {
                    out.push(frame(&raw, String::new(), false));
                }
                continue;
            };
            let before = self.tally.usage();
            if let Some(message) = &event.message {
                self.model = Some(message.model.clone().into_owned());
            }
            let start = event.message.as_ref().and_then(|message| message.usage.as_ref());
            start.into_iter().chain(&event.usage).for_each(|usage| self.tally.add(usage));
            match event.kind.as_ref() {
                "message_delta" => {
                    let reason = event.delta.as_ref().and_then(|delta| delta.stop_reason.as_deref());
                    self.reason = reason.map(finish_reason).or(self.reason);
                    drop(event);
                    if let Some(earlier) = self.last.replace(raw) {
                        out.push(frame(&earlier, String::new(), false));
                    }
                }
                "message_stop" => {
                    drop(event);
                    self.ended = true;
                    tell_usage(before, &self.tally, out);
                    out.push(AnswerEvent::End(self.end(raw)));
                    continue;
                }
                _ => {
                    let (text, content) = seen(&event);
                    drop(event);
                    out.push(frame(&raw, text, content));
                }
            }
            tell_usage(before, &self.tally, out);
        }
        Ok(())
    }

    fn end(&mut self, stop: SseEvent) -> End {
        let last = self.last.take();
        let told = self.tally.usage().is_some();
        End::new(self.reason.map(str::to_owned), move |cost, counted| {
            let mut closing = String::new();
            if let Some(last) = &last {
                closing.push_str(&with_cost(last, cost, counted.filter(|_| !told)).frame());
            }
            closing.push_str(&stop.frame());
            Bytes::from(closing)
        })
    }
}

impl Decoder for Passage {
    fn feed(&mut self, bytes: &[u8], out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        let mut events = Vec::new();
        let read = self.reader.feed(bytes, &mut events);
        self.take(events, out)?;
        read
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        let mut events = Vec::new();
        self.reader.finish(&mut events);
        self.take(events, out)?;
        if self.ended { Ok(()) } else { Err(broke_off()) }
    }

    fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }
}

/// A body that is not a stream. A caller who asked for a stream gets it as one all the same.
struct Whole {
    body: Vec<u8>,
    stream: bool,
    created: u64,
    model: Option<String>,
    outlet: Option<Box<dyn Outlet>>,
}

impl Decoder for Whole {
    fn feed(&mut self, bytes: &[u8], _out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        if self.body.len() + bytes.len() > LARGEST_ANSWER {
            return Err(ProviderError::new(Class::TooLarge, "the provider's answer is too large"));
        }
        self.body.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        let body = Bytes::from(std::mem::take(&mut self.body));
        let unreadable = || ProviderError::broken("the provider's answer cannot be read");
        // As text: what nobody reads of the bytes would pass unchecked.
        let text = std::str::from_utf8(&body).map_err(|_| unreadable())?;
        let message: Message<'_> = serde_json::from_str(text).map_err(|_| unreadable())?;
        match (&message.error, message.kind.as_ref()) {
            (None, "message") => {}
            (None, _) => return Err(unreadable()),
            (Some(error), _) => return Err(explain::failure(error)),
        }
        self.model = Some(message.model.clone().into_owned());
        let (completion, text, finish) = chunks::whole(&message, self.created);
        let usage = finish.usage;
        let end = match self.outlet.take() {
            None => {
                out.push(AnswerEvent::Delta(Delta::one(Bytes::new(), text, true)));
                let body = body.clone();
                End::new(finish.reason, move |_, _| body.clone())
            }
            Some(mut outlet) if self.stream => {
                let mut chunks = ToChunks::new(self.created);
                for chunk in chunks.replay(&message) {
                    let frame = outlet.chunk(&chunk.json)?;
                    out.push(AnswerEvent::Delta(Delta::one(frame, chunk.text, chunk.content)));
                }
                outlet.end(chunks.finish())
            }
            Some(outlet) => {
                out.push(AnswerEvent::Delta(Delta::one(Bytes::new(), text, true)));
                outlet.whole(Bytes::from(completion), finish)?
            }
        };
        out.extend(usage.map(AnswerEvent::Usage));
        out.push(AnswerEvent::End(end));
        Ok(())
    }

    fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }
}

/// The event, unless it is a ping. An error event is the provider's failure.
fn read(raw: &SseEvent) -> Result<Option<Event<'_>>, ProviderError> {
    if raw.event == "ping" {
        return Ok(None);
    }
    let event: Event<'_> = serde_json::from_str(&raw.data)
        .map_err(|_| ProviderError::broken("an event of the provider's stream cannot be read"))?;
    match (event.kind.as_ref(), &event.error) {
        ("error", Some(error)) => Err(explain::failure(error)),
        ("error", None) => Err(ProviderError::new(Class::Server, "the provider failed within the answer")),
        ("ping", _) => Ok(None),
        _ => Ok(Some(event)),
    }
}

/// The output text of an event, and whether the client sees something of the answer in it.
fn seen(event: &Event<'_>) -> (String, bool) {
    if let Some(block) = &event.content_block {
        let input = block.input.map(|input| input.get()).filter(|input| *input != "{}").unwrap_or_default();
        let text = [&block.text, &block.thinking, &block.name, input].concat();
        let empty = text.is_empty() && matches!(block.kind.as_ref(), "text" | "thinking");
        return (text, !empty);
    }
    match &event.delta {
        Some(delta) => ([&*delta.text, &*delta.partial_json, &*delta.thinking].concat(), true),
        None => (String::new(), false),
    }
}

fn frame(raw: &SseEvent, text: String, content: bool) -> AnswerEvent {
    AnswerEvent::Delta(Delta::one(Bytes::from(raw.frame()), text, content))
}

fn tell_usage(before: Option<Usage>, tally: &Tally, out: &mut Vec<AnswerEvent>) {
    let now = tally.usage();
    if now != before {
        out.extend(now.map(AnswerEvent::Usage));
    }
}

/// The closing `message_delta` with the cost in its usage; without one it stays byte for byte.
fn with_cost(last: &SseEvent, cost: Option<&str>, counted: Option<&Usage>) -> SseEvent {
    if cost.is_none() && counted.is_none() {
        return last.clone();
    }
    let Ok(mut data) = serde_json::from_str::<Map<String, Value>>(&last.data) else { return last.clone() };
    if let Some(counted) = counted {
        data.insert("usage".to_owned(), usage::anthropic(counted));
    }
    if let (Some(cost), Some(told)) = (cost, data.entry("usage").or_insert_with(|| json!({})).as_object_mut()) {
        told.insert("alfred_cost_usd".to_owned(), Value::String(cost.to_owned()));
    }
    SseEvent { event: last.event.clone(), data: Value::Object(data).to_string() }
}

fn broke_off() -> ProviderError {
    ProviderError::broken("the provider's answer broke off")
}
