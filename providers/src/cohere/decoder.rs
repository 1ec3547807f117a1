//! Reads Cohere's chat answers: event streams and whole bodies, told apart by their first byte, for content types lie.

use bytes::Bytes;

use super::chunks::{self, ToChunks};
use super::wire::{Answer, Event};
use super::{Body, unreadable};
use crate::dialect::{Decoder, Outlet, outlet};
use crate::error::ProviderError;
use crate::request::{AnswerEvent, Delta, ModelRequest};
use crate::sse::{SseEvent, SseReader};

pub(super) struct ChatDecoder {
    stream: bool,
    model: String,
    created: u64,
    mode: Mode,
    chunks: ToChunks,
    /// Gone once the answer has ended.
    outlet: Option<Box<dyn Outlet>>,
}

enum Mode {
    /// Only white space has come.
    Unknown,
    Stream(SseReader),
    Whole(Body),
}

impl ChatDecoder {
    pub(super) fn new(request: &ModelRequest) -> ChatDecoder {
        ChatDecoder {
            stream: request.stream(),
            model: request.model().to_owned(),
            created: request.arrived(),
            mode: Mode::Unknown,
            chunks: ToChunks::new(request.model(), request.arrived()),
            outlet: Some(outlet(request)),
        }
    }

    fn take(&mut self, events: &[SseEvent], out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        for event in events {
            // Whatever is said after the end, `[DONE]` for one.
            let Some(outlet) = &mut self.outlet else { return Ok(()) };
            if event.data.trim().is_empty() {
                continue;
            }
            let event: Event<'_> = serde_json::from_str(&event.data)
                .map_err(|_| ProviderError::broken("an event of the provider's stream cannot be read"))?;
            if let Some(chunk) = self.chunks.event(&event)? {
                let frame = outlet.chunk(&chunk.json)?;
                out.push(AnswerEvent::Delta(Delta::one(frame, chunk.text, chunk.content)));
            }
            if self.chunks.ended() {
                self.end(out);
            }
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<AnswerEvent>) {
        out.extend(self.chunks.usage().map(AnswerEvent::Usage));
        let outlet = self.outlet.take().expect("an answer ends once");
        out.push(AnswerEvent::End(outlet.end(self.chunks.finish())));
    }

    fn whole(&mut self, body: &[u8], out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        let answer: Answer<'_> = serde_json::from_slice(body).map_err(|_| unreadable())?;
        if self.stream {
            let chunk = self.chunks.replay(&answer)?;
            let frame = self.outlet.as_mut().expect("nothing has ended yet").chunk(&chunk.json)?;
            out.push(AnswerEvent::Delta(Delta::one(frame, chunk.text, chunk.content)));
            self.end(out);
            return Ok(());
        }
        let (completion, text, finish) = chunks::whole(&answer, &self.model, self.created)?;
        out.push(AnswerEvent::Delta(Delta::one(Bytes::new(), text, true)));
        out.extend(finish.usage.map(AnswerEvent::Usage));
        let outlet = self.outlet.take().expect("an answer ends once");
        out.push(AnswerEvent::End(outlet.whole(completion.into(), finish)?));
        Ok(())
    }
}

impl Decoder for ChatDecoder {
    fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        if let Mode::Unknown = self.mode {
            // A byte order mark says nothing either.
            let start = bytes.iter().position(|b| !b.is_ascii_whitespace() && !b"\xef\xbb\xbf".contains(b));
            let Some(start) = start else { return Ok(()) };
            bytes = &bytes[start..];
            self.mode = match bytes[0] {
                b'{' => Mode::Whole(Body::default()),
                b'a'..=b'z' | b':' if self.stream => Mode::Stream(SseReader::default()),
                _ => {
                    return Err(ProviderError::broken("the provider's answer is not of the kind that was asked for"));
                }
            };
        }
        match &mut self.mode {
            Mode::Stream(reader) => {
                let mut events = Vec::new();
                let read = reader.feed(bytes, &mut events);
                self.take(&events, out)?;
                if self.outlet.is_none() { Ok(()) } else { read }
            }
            Mode::Whole(body) => body.take(bytes),
            Mode::Unknown => Ok(()),
        }
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        match &mut self.mode {
            Mode::Unknown => Err(ProviderError::broken("the provider's answer is empty")),
            Mode::Whole(body) => {
                let body = std::mem::take(&mut body.0);
                self.whole(&body, out)
            }
            Mode::Stream(reader) => {
                let mut events = Vec::new();
                reader.finish(&mut events);
                self.take(&events, out)?;
                match self.outlet {
                    Some(_) => Err(ProviderError::broken("the provider's answer broke off")),
                    None => Ok(()),
                }
            }
        }
    }

    fn is_whole(&self) -> bool {
        matches!(self.mode, Mode::Whole(_))
    }
}
