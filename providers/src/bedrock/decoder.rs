//! Readers of Bedrock's answers: a stream of frames, told chunk by chunk, or one JSON body.

use bytes::Bytes;

use super::chunks::ToChunks;
use super::explain;
use super::frames::{Frame, Frames};
use super::wire::{Answer, Event};
use crate::dialect::{Decoder, Outlet, outlet};
use crate::error::{Class, ProviderError};
use crate::gather::Assembly;
use crate::openai::{CompletionAssembly, usage_object, with_member};
use crate::request::{AnswerEvent, Delta, ModelRequest};
use crate::sse::SseEvent;

/// The largest whole answer that is taken.
const LARGEST_ANSWER: usize = 64 << 20;

/// The reader for one answer. Its first byte tells what it is: a body begins with a brace, a frame with the highest byte of a length
/// that never needs it.
pub(super) fn decoder(request: &ModelRequest) -> Box<dyn Decoder> {
    Box::new(Unopened { request: request.clone(), opened: None })
}

/// An answer of which only white space has come, until more does.
struct Unopened {
    request: ModelRequest,
    opened: Option<Box<dyn Decoder>>,
}

impl Unopened {
    fn open(&self, first: u8) -> Result<Box<dyn Decoder>, ProviderError> {
        let outlet = outlet(&self.request);
        let chunks = ToChunks::new(&self.request);
        match first {
            b'{' => {
                Ok(Box::new(Whole { body: Vec::new(), stream: self.request.stream(), chunks, outlet: Some(outlet) }))
            }
            0 | 1 if self.request.stream() => {
                Ok(Box::new(Translated { frames: Frames::default(), chunks, outlet: Some(outlet) }))
            }
            _ => Err(ProviderError::broken("the provider's answer is not of the kind that was asked for")),
        }
    }
}

impl Decoder for Unopened {
    fn feed(&mut self, mut bytes: &[u8], out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        if self.opened.is_none() {
            let Some(start) = bytes.iter().position(|b| !b.is_ascii_whitespace()) else { return Ok(()) };
            bytes = &bytes[start..];
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
        self.opened.as_ref().is_some_and(|it| it.is_whole())
    }

    fn event_end(&self, rest: &[u8]) -> usize {
        match &self.opened {
            Some(opened) => opened.event_end(rest),
            None if rest.first() == Some(&b'{') => rest.len(),
            None => Frames::default().to_end(rest),
        }
    }
}

/// A stream told to the caller in its own words.
struct Translated {
    frames: Frames,
    chunks: ToChunks,
    /// Gone once the answer has ended.
    outlet: Option<Box<dyn Outlet>>,
}

impl Translated {
    fn take(&mut self, frames: &[Frame], out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        for frame in frames {
            let Some(outlet) = &mut self.outlet else { return Ok(()) };
            let event = read(frame)?;
            let before = self.chunks.usage();
            if let Some(chunk) = self.chunks.event(&frame.name, &event)? {
                let written = outlet.chunk(&chunk.json)?;
                out.push(AnswerEvent::Delta(Delta::one(written, chunk.text, chunk.content)));
            }
            let now = self.chunks.usage();
            if now != before {
                out.extend(now.map(AnswerEvent::Usage));
            }
            // Usage comes after the end of the message, and is the last that comes.
            if self.chunks.stopped() && now.is_some() {
                self.end(out);
            }
        }
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<AnswerEvent>) {
        if let Some(outlet) = self.outlet.take() {
            out.push(AnswerEvent::End(outlet.end(self.chunks.finish())));
        }
    }
}

impl Decoder for Translated {
    fn feed(&mut self, bytes: &[u8], out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        let mut frames = Vec::new();
        let read = self.frames.feed(bytes, &mut frames);
        self.take(&frames, out)?;
        if self.outlet.is_none() { Ok(()) } else { read }
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        if self.outlet.is_some() && !self.chunks.stopped() {
            return Err(ProviderError::broken("the provider's answer broke off"));
        }
        self.end(out);
        Ok(())
    }

    fn event_end(&self, rest: &[u8]) -> usize {
        self.frames.to_end(rest)
    }
}

/// The event of a frame. A frame that is an exception is the provider's failure.
fn read(frame: &Frame) -> Result<Event<'_>, ProviderError> {
    match &*frame.kind {
        "event" if frame.payload.is_empty() => Ok(Event::default()),
        "event" => serde_json::from_slice(&frame.payload)
            .map_err(|_| ProviderError::broken("an event of the provider's stream cannot be read")),
        _ => Err(explain::in_answer(&frame.name, &frame.payload)),
    }
}

/// A body that is not a stream. A caller who asked for a stream gets it as one all the same.
struct Whole {
    body: Vec<u8>,
    stream: bool,
    chunks: ToChunks,
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
        let Some(mut outlet) = self.outlet.take() else { return Ok(()) };
        let body = std::mem::take(&mut self.body);
        let answer: Answer<'_> =
            serde_json::from_slice(&body).map_err(|_| ProviderError::broken("the provider's answer cannot be read"))?;
        let chunks = self.chunks.replay(&answer)?;
        let finish = self.chunks.finish();
        let usage = finish.usage;
        let end = if self.stream {
            for chunk in chunks {
                let frame = outlet.chunk(&chunk.json)?;
                out.push(AnswerEvent::Delta(Delta::one(frame, chunk.text, chunk.content)));
            }
            outlet.end(finish)
        } else {
            let (mut completion, mut text) = (CompletionAssembly::default(), String::new());
            for chunk in chunks {
                text.push_str(&chunk.text);
                completion.event(&SseEvent { event: String::new(), data: chunk.json });
            }
            let mut body = completion.body(false, false);
            if let Some(usage) = &usage {
                body = with_member(&body, "usage", &usage_object(usage));
            }
            out.push(AnswerEvent::Delta(Delta::one(Bytes::new(), text, true)));
            outlet.whole(Bytes::from(body), finish)?
        };
        out.extend(usage.map(AnswerEvent::Usage));
        out.push(AnswerEvent::End(end));
        Ok(())
    }

    fn is_whole(&self) -> bool {
        true
    }

    fn event_end(&self, rest: &[u8]) -> usize {
        rest.len()
    }
}
