//! Gathers a stream into the whole answer, for a caller who wants JSON while the gateway wants to see the tokens come.
//!
//! The events are put together in the *target's* shape, and the target's own reader of whole answers does the rest: so the
//! caller gets what they would have got from the same answer as JSON. A target that answers JSON all the same is read as such.
//! What has no events that could be put together goes through the hub: see [`hub`].

mod hub;

use bytes::Bytes;

use crate::dialect::{Decoder, Dialect};
use crate::error::{Class, ProviderError};
use crate::request::{AnswerEvent, Delta, End, ModelRequest, Shape, Usage};
use crate::sse::{SseEvent, SseReader};
use crate::told::with_note;

/// The largest answer that is gathered.
const LARGEST_ANSWER: usize = 64 << 20;

/// Puts the events of one shape together.
pub trait Assembly: Send {
    /// Takes the next event. What cannot be read is the streaming decoder's to complain about.
    fn event(&mut self, event: &SseEvent);

    /// The answer as a JSON body. `cut`: it was ended here, so what has no end ends for its length, and calls of tools that are not
    /// whole are left out where `strict`.
    fn body(&mut self, cut: bool, strict: bool) -> String;
}

/// A reader that gathers an answer; none if this target's answer to this caller must be asked whole.
pub(crate) fn gather(
    dialect: &dyn Dialect,
    request: &ModelRequest,
    streamed: &ModelRequest,
    content_type: &str,
) -> Result<Box<dyn Decoder>, ProviderError> {
    match dialect.assembly(request) {
        Some(assembly) => Ok(Box::new(Gather::new(dialect, assembly, request, streamed, content_type))),
        None => Ok(Box::new(hub::HubGather::new(dialect, request, streamed, content_type)?)),
    }
}

/// Whether an answer of this target to this caller can be gathered at all.
pub(crate) fn can_gather(dialect: &dyn Dialect, request: &ModelRequest) -> bool {
    request.shape().is_chat() && (dialect.assembly(request).is_some() || dialect.own_shape() != Some(request.shape()))
}

pub(crate) struct Gather {
    caller: Shape,
    mode: Mode,
    reader: SseReader,
    /// Reads the stream for what is to be counted, and for its end; its frames go nowhere.
    stream: Box<dyn Decoder>,
    /// Reads the body that is put together, or the one that came.
    whole: Box<dyn Decoder>,
    assembly: Box<dyn Assembly>,
    /// The last event, which may still be refused by a cut.
    pending: Option<SseEvent>,
    bytes: usize,
}

#[derive(PartialEq)]
enum Mode {
    Unknown,
    Stream,
    Whole,
    Done,
}

impl Gather {
    /// `request` as the caller wrote it, `streamed` as it was sent.
    pub(crate) fn new(
        dialect: &dyn Dialect,
        assembly: Box<dyn Assembly>,
        request: &ModelRequest,
        streamed: &ModelRequest,
        content_type: &str,
    ) -> Gather {
        Gather {
            caller: request.shape(),
            mode: Mode::Unknown,
            reader: SseReader::default(),
            stream: dialect.decoder(streamed, content_type),
            whole: dialect.decoder(request, "application/json"),
            assembly,
            pending: None,
            bytes: 0,
        }
    }

    fn take(&mut self, events: Vec<SseEvent>, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        for event in events {
            if self.mode == Mode::Done {
                return Ok(());
            }
            if let Some(before) = self.pending.take() {
                self.assembly.event(&before);
            }
            self.bytes += event.data.len();
            if self.bytes > LARGEST_ANSWER {
                return Err(ProviderError::new(Class::TooLarge, "the provider's answer is too large"));
            }
            let mut told = Vec::new();
            let read = self.stream.feed(event.frame().as_bytes(), &mut told);
            self.pending = Some(event);
            self.tell(told, out)?;
            read?;
        }
        Ok(())
    }

    /// Passes on what the streaming decoder saw, without its frames.
    fn tell(&mut self, told: Vec<AnswerEvent>, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        for event in told {
            match event {
                AnswerEvent::Delta(delta) => out.push(AnswerEvent::Delta(Delta { frame: Bytes::new(), ..delta })),
                AnswerEvent::Usage(usage) => out.push(AnswerEvent::Usage(usage)),
                AnswerEvent::End(_) => {
                    if let Some(last) = self.pending.take() {
                        self.assembly.event(&last);
                    }
                    self.mode = Mode::Done;
                    let body = self.assembly.body(false, false);
                    out.push(AnswerEvent::End(self.read(&body)?));
                }
            }
        }
        Ok(())
    }

    /// What the reader of whole answers makes of a body.
    fn read(&mut self, body: &str) -> Result<End, ProviderError> {
        let mut events = Vec::new();
        self.whole.feed(body.as_bytes(), &mut events)?;
        self.whole.finish(&mut events)?;
        let end = events.into_iter().find_map(|event| if let AnswerEvent::End(end) = event { Some(end) } else { None });
        end.ok_or_else(|| ProviderError::broken("the provider's answer has no end"))
    }
}

impl Decoder for Gather {
    fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        if self.mode == Mode::Unknown {
            let start = bytes.iter().position(|b| !b.is_ascii_whitespace() && !b"\xef\xbb\xbf".contains(b));
            let Some(start) = start else { return Ok(()) };
            bytes = &bytes[start..];
            self.mode = if bytes[0] == b'{' { Mode::Whole } else { Mode::Stream };
        }
        match self.mode {
            Mode::Whole => self.whole.feed(bytes, out),
            Mode::Stream => {
                let mut events = Vec::new();
                let read = self.reader.feed(bytes, &mut events);
                self.take(events, out)?;
                if self.mode == Mode::Done { Ok(()) } else { read }
            }
            Mode::Unknown | Mode::Done => Ok(()),
        }
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        match self.mode {
            Mode::Done => Ok(()),
            Mode::Whole => self.whole.finish(out),
            Mode::Unknown => Err(ProviderError::broken("the provider's answer is empty")),
            Mode::Stream => {
                let mut events = Vec::new();
                self.reader.finish(&mut events);
                self.take(events, out)?;
                if self.mode == Mode::Done {
                    return Ok(());
                }
                let mut told = Vec::new();
                self.stream.finish(&mut told)?;
                self.tell(told, out)
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.mode == Mode::Whole
    }

    fn model(&self) -> Option<&str> {
        if self.is_whole() { self.whole.model() } else { self.stream.model() }
    }

    fn cut(&mut self, note: &str) -> Option<End> {
        self.pending = None;
        self.mode = Mode::Done;
        let body = self.assembly.body(true, self.caller.has_whole_calls());
        let (end, shape, note) = (self.read(&body).ok()?, self.caller, note.to_owned());
        let reason = Some("length".to_owned());
        Some(End::new(reason, move |cost, counted: Option<&Usage>| {
            with_note(shape, &end.closing(cost, counted), &note, counted)
        }))
    }
}

#[cfg(test)]
mod tests;
