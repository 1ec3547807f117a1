//! Reads the answers of a Responses target for callers of other shapes: event streams and whole bodies, told apart by their first
//! byte, for content types lie. What comes is told as chunks, which the caller's outlet writes.

use bytes::Bytes;

use super::chunks::{Chunk, ToChunks};
use crate::dialect::{Decoder, Outlet, outlet};
use crate::error::{Class, ProviderError};
use crate::gather::Assembly;
use crate::openai::CompletionAssembly;
use crate::request::{AnswerEvent, Delta, ModelRequest, Usage};
use crate::sse::{SseEvent, SseReader};

/// The largest whole answer that is taken.
const LARGEST_ANSWER: usize = 64 << 20;

/// The reader for one answer.
pub(super) struct ResponsesDecoder {
    stream_asked: bool,
    mode: Mode,
    is_whole: bool,
    chunks: ToChunks,
    usage: Option<Usage>,
    /// Gone once the answer has ended.
    outlet: Option<Box<dyn Outlet>>,
}

enum Mode {
    /// Only white space has come.
    Unopened,
    Stream(SseReader),
    Whole(Vec<u8>),
    Done,
}

impl ResponsesDecoder {
    pub(super) fn new(request: &ModelRequest) -> ResponsesDecoder {
        ResponsesDecoder {
            stream_asked: request.stream(),
            mode: Mode::Unopened,
            is_whole: false,
            chunks: ToChunks::default(),
            usage: None,
            outlet: Some(outlet(request)),
        }
    }

    fn events(&mut self, events: &[SseEvent], out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        for event in events {
            // The end is an event of its own here; the terminator that some servers add after it says nothing.
            if self.outlet.is_none() || event.data.trim() == "[DONE]" || event.data.trim().is_empty() {
                continue;
            }
            let read = self.chunks.event(&event.data);
            self.tell(out)?;
            read?;
            if self.chunks.ended() {
                let outlet = self.outlet.take().expect("it was there at the top of this turn");
                out.push(AnswerEvent::End(outlet.end(self.chunks.finish())));
            }
        }
        Ok(())
    }

    /// Passes on what the last event was made of.
    fn tell(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        let outlet = self.outlet.as_mut().expect("there until the end");
        for Chunk { json, text, content } in self.chunks.take() {
            let frame = outlet.chunk(&json)?;
            out.push(AnswerEvent::Delta(Delta::one(frame, text, content)));
        }
        let usage = self.chunks.usage();
        if usage != self.usage {
            self.usage = usage;
            out.extend(usage.map(AnswerEvent::Usage));
        }
        Ok(())
    }

    fn whole(&mut self, body: &[u8], out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        let read = self.chunks.replay(body);
        if self.stream_asked {
            self.tell(out)?;
            read?;
            let outlet = self.outlet.take().expect("ends once");
            out.push(AnswerEvent::End(outlet.end(self.chunks.finish())));
            return Ok(());
        }
        out.extend(self.chunks.usage().map(AnswerEvent::Usage));
        read?;
        let (mut assembly, mut said) = (CompletionAssembly::default(), String::new());
        let finish = self.chunks.finish();
        for Chunk { json, text, .. } in self.chunks.take() {
            said.push_str(&text);
            assembly.event(&SseEvent { event: String::new(), data: json });
        }
        if let Some(data) = finish.usage_chunk.clone() {
            assembly.event(&SseEvent { event: String::new(), data });
        }
        out.push(AnswerEvent::Delta(Delta::one(Bytes::new(), said, true)));
        let outlet = self.outlet.take().expect("ends once");
        let body = assembly.body(false, false);
        out.push(AnswerEvent::End(outlet.whole(body.into(), finish)?));
        Ok(())
    }
}

impl Decoder for ResponsesDecoder {
    fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        if let Mode::Unopened = self.mode {
            // A byte order mark says nothing either.
            let start = bytes.iter().position(|b| !b.is_ascii_whitespace() && !b"\xef\xbb\xbf".contains(b));
            let Some(start) = start else { return Ok(()) };
            bytes = &bytes[start..];
            self.is_whole = bytes[0] == b'{';
            self.mode = match bytes[0] {
                b'{' => Mode::Whole(Vec::new()),
                b'a'..=b'z' | b':' if self.stream_asked => Mode::Stream(SseReader::default()),
                _ => return Err(ProviderError::broken("the provider's answer is not of the kind that was asked for")),
            };
        }
        match &mut self.mode {
            Mode::Stream(reader) => {
                let mut events = Vec::new();
                let read = reader.feed(bytes, &mut events);
                self.events(&events, out)?;
                if self.outlet.is_none() {
                    self.mode = Mode::Done;
                    return Ok(());
                }
                read
            }
            Mode::Whole(body) if body.len() + bytes.len() > LARGEST_ANSWER => {
                Err(ProviderError::new(Class::TooLarge, "the provider's answer is too large"))
            }
            Mode::Whole(body) => {
                body.extend_from_slice(bytes);
                Ok(())
            }
            Mode::Unopened | Mode::Done => Ok(()),
        }
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        match std::mem::replace(&mut self.mode, Mode::Done) {
            Mode::Done => Ok(()),
            Mode::Unopened => Err(ProviderError::broken("the provider's answer is empty")),
            Mode::Whole(body) => self.whole(&body, out),
            Mode::Stream(mut reader) => {
                let mut events = Vec::new();
                reader.finish(&mut events);
                self.events(&events, out)?;
                match self.outlet {
                    None => Ok(()),
                    Some(_) => Err(ProviderError::broken("the provider's answer broke off")),
                }
            }
        }
    }

    fn is_whole(&self) -> bool {
        self.is_whole
    }

    fn model(&self) -> Option<&str> {
        Some(self.chunks.model())
    }
}
