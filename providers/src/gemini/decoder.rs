//! Readers of Gemini's answers. A caller of Gemini's own shape gets every event as it came ([`passage`](super::passage)), any
//! other gets chunks written by its outlet ([`Translated`]); a body that is not a stream is read whole ([`Whole`]).
//!
//! Gemini's streams have no word for their end: they end with the connection, after every candidate has told its reason.

use bytes::Bytes;

use super::chunks::{Chunk, ToChunks};
use super::explain;
use super::passage::{self, Passage};
use super::usage::Tally;
use super::wire::Response;
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
        let (stream, own) = (self.request.stream(), self.request.shape() == Shape::Gemini);
        if first == b'{' {
            let outlet = (!own).then(|| outlet(&self.request));
            return Ok(Box::new(Whole {
                body: Vec::new(),
                stream,
                chunks: ToChunks::new(&self.request),
                version: None,
                outlet,
            }));
        }
        if !stream || !matches!(first, b'a'..=b'z' | b':') {
            return Err(ProviderError::broken("the provider's answer is not of the kind that was asked for"));
        }
        if own {
            return Ok(Box::new(Passage::default()));
        }
        let outlet = Some(outlet(&self.request));
        Ok(Box::new(Translated { reader: SseReader::default(), chunks: ToChunks::new(&self.request), outlet }))
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
            let (Some(outlet), Some(response)) = (&mut self.outlet, read(event)?) else { continue };
            let before = self.chunks.tally().usage();
            let told = self.chunks.event(&response);
            let mut frames = Vec::new();
            for chunk in told.iter().flatten() {
                frames.push(delta(&mut **outlet, chunk)?);
            }
            out.extend(frames);
            // An answer that fails here is billed all the same.
            tell_usage(before, self.chunks.tally(), out);
            told?;
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
        match self.outlet.take() {
            Some(outlet) if self.chunks.ended() => out.push(AnswerEvent::End(outlet.end(self.chunks.finish()))),
            Some(_) => return Err(broke_off()),
            None => {}
        }
        Ok(())
    }

    fn model(&self) -> Option<&str> {
        Some(self.chunks.version())
    }
}

/// A body that is not a stream. A caller who asked for a stream gets it as one all the same.
struct Whole {
    body: Vec<u8>,
    stream: bool,
    chunks: ToChunks,
    /// As the provider calls the model, in a body that passes.
    version: Option<String>,
    /// None for a caller of Gemini's own shape.
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
        let text = std::str::from_utf8(&body).map_err(|_| unreadable())?;
        let response: Response<'_> = serde_json::from_str(text).map_err(|_| unreadable())?;
        if let Some(error) = &response.error {
            return Err(explain::failure(error));
        }
        if response.candidates.is_none() && response.prompt_feedback.is_none() {
            return Err(unreadable());
        }
        let Some(mut outlet) = self.outlet.take() else {
            self.version = response.model_version.as_deref().map(str::to_owned);
            return passage::whole(&body, &response, self.stream, out);
        };
        let chunks = &mut self.chunks;
        if self.stream {
            let told = chunks.event(&response);
            for chunk in told.iter().flatten() {
                out.push(delta(&mut *outlet, chunk)?);
            }
            tell_usage(None, chunks.tally(), out);
            told?;
            if !chunks.ended() {
                return Err(broke_off());
            }
            out.push(AnswerEvent::End(outlet.end(chunks.finish())));
            return Ok(());
        }
        let told = chunks.whole(&response);
        tell_usage(None, chunks.tally(), out);
        let (completion, mut texts) = told?;
        texts.retain(|(_, text)| !text.is_empty());
        out.push(AnswerEvent::Delta(Delta { frame: Bytes::new(), texts, content: true }));
        let end: End = outlet.whole(Bytes::from(completion), chunks.finish())?;
        out.push(AnswerEvent::End(end));
        Ok(())
    }

    fn model(&self) -> Option<&str> {
        Some(self.version.as_deref().unwrap_or(self.chunks.version()))
    }
}

/// The event, unless there is nothing in it. An error is the provider's failure.
pub(super) fn read(raw: &SseEvent) -> Result<Option<Response<'_>>, ProviderError> {
    if matches!(raw.data.trim(), "" | "[DONE]") {
        return Ok(None);
    }
    let response: Response<'_> = serde_json::from_str(&raw.data)
        .map_err(|_| ProviderError::broken("an event of the provider's stream cannot be read"))?;
    match &response.error {
        Some(error) => Err(explain::failure(error)),
        None => Ok(Some(response)),
    }
}

fn delta(outlet: &mut dyn Outlet, chunk: &Chunk) -> Result<AnswerEvent, ProviderError> {
    let frame = outlet.chunk(&chunk.json)?;
    let texts = if chunk.text.is_empty() { Vec::new() } else { vec![(chunk.choice, chunk.text.clone())] };
    Ok(AnswerEvent::Delta(Delta { frame, texts, content: chunk.content }))
}

pub(super) fn tell_usage(before: Option<Usage>, tally: &Tally, out: &mut Vec<AnswerEvent>) {
    let now = tally.usage();
    if now != before {
        out.extend(now.map(AnswerEvent::Usage));
    }
}

pub(super) fn broke_off() -> ProviderError {
    ProviderError::broken("the provider's answer broke off")
}

fn unreadable() -> ProviderError {
    ProviderError::broken("the provider's answer cannot be read")
}
