//! Gathers through the hub: the stream is read as for a caller of OpenAI's shape, its chunks become one `chat.completion`, and the
//! reader of those writes the caller's body.

use bytes::Bytes;

use super::Assembly;
use crate::dialect::{Decoder, Dialect};
use crate::error::{Class, ProviderError};
use crate::openai::{CompletionAssembly, OpenAiDialect, usage_object, with_member};
use crate::request::{AnswerEvent, Delta, End, ModelRequest, Usage};
use crate::sse::SseReader;
use crate::told::with_note;
use crate::translate::as_chat;

/// The largest answer that is gathered.
const LARGEST_ANSWER: usize = 64 << 20;

pub(crate) struct HubGather {
    request: ModelRequest,
    /// Reads what comes, and writes chunks.
    stream: Box<dyn Decoder>,
    assembly: CompletionAssembly,
    /// What the last event told, which may still be refused by a cut.
    pending: Vec<Bytes>,
    usage: Option<Usage>,
    bytes: usize,
    done: bool,
}

impl HubGather {
    /// `request` as the caller wrote it, `streamed` as it was sent.
    pub(super) fn new(
        dialect: &dyn Dialect,
        request: &ModelRequest,
        streamed: &ModelRequest,
        content_type: &str,
    ) -> Result<HubGather, ProviderError> {
        let chat = as_chat(streamed)?;
        Ok(HubGather {
            request: request.clone(),
            stream: dialect.decoder(&chat, content_type),
            assembly: CompletionAssembly::default(),
            pending: Vec::new(),
            usage: None,
            bytes: 0,
            done: false,
        })
    }

    fn take(&mut self, told: Vec<AnswerEvent>, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        if !told.is_empty() {
            self.settle()?;
        }
        for event in told {
            match event {
                AnswerEvent::Delta(delta) => {
                    self.bytes += delta.frame.len();
                    if self.bytes > LARGEST_ANSWER {
                        return Err(ProviderError::new(Class::TooLarge, "the provider's answer is too large"));
                    }
                    self.pending.push(delta.frame.clone());
                    out.push(AnswerEvent::Delta(Delta { frame: Bytes::new(), ..delta }));
                }
                AnswerEvent::Usage(usage) => {
                    self.usage = Some(usage);
                    out.push(AnswerEvent::Usage(usage));
                }
                AnswerEvent::End(_) => {
                    self.done = true;
                    self.settle()?;
                    out.push(AnswerEvent::End(self.read(false)?));
                }
            }
        }
        Ok(())
    }

    /// What is pending belongs to the answer.
    fn settle(&mut self) -> Result<(), ProviderError> {
        for frame in std::mem::take(&mut self.pending) {
            let (mut reader, mut events) = (SseReader::default(), Vec::new());
            reader.feed(&frame, &mut events)?;
            reader.finish(&mut events);
            events.iter().for_each(|event| self.assembly.event(event));
        }
        Ok(())
    }

    /// What the reader of whole completions makes of what is there.
    fn read(&mut self, cut: bool) -> Result<End, ProviderError> {
        let mut body = self.assembly.body(cut, cut && self.request.shape().has_whole_calls());
        if let Some(usage) = &self.usage {
            body = with_member(&body, "usage", &usage_object(usage));
        }
        let mut whole = OpenAiDialect.decoder(&self.request, "application/json");
        let mut events = Vec::new();
        whole.feed(body.as_bytes(), &mut events)?;
        whole.finish(&mut events)?;
        let end = events.into_iter().find_map(|event| match event {
            AnswerEvent::End(end) => Some(end),
            _ => None,
        });
        end.ok_or_else(|| ProviderError::broken("the provider's answer has no end"))
    }
}

impl Decoder for HubGather {
    fn feed(&mut self, bytes: &[u8], out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        if self.done {
            return Ok(());
        }
        let mut told = Vec::new();
        let read = self.stream.feed(bytes, &mut told);
        self.take(told, out)?;
        if self.done { Ok(()) } else { read }
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        if self.done {
            return Ok(());
        }
        let mut told = Vec::new();
        self.stream.finish(&mut told)?;
        self.take(told, out)
    }

    fn is_whole(&self) -> bool {
        self.stream.is_whole()
    }

    fn model(&self) -> Option<&str> {
        self.stream.model()
    }

    fn event_end(&self, rest: &[u8]) -> usize {
        self.stream.event_end(rest)
    }

    fn cut(&mut self, note: &str) -> Option<End> {
        self.pending.clear();
        self.done = true;
        let end = self.read(true).ok()?;
        let (shape, note) = (self.request.shape(), note.to_owned());
        Some(End::new(Some("length".to_owned()), move |cost, counted: Option<&Usage>| {
            with_note(shape, &end.closing(cost, counted), &note, counted)
        }))
    }
}
