//! Reads answers to one-shot tasks: JSON and texts whole, sound as it comes, events one by one. All of it goes on as it came.

use bytes::Bytes;

use super::usage::{self, Answer};
use crate::dialect::Decoder;
use crate::error::{Class, ProviderError};
use crate::request::{AnswerEvent, Delta, End, ModelRequest, Shape, Usage};
use crate::sse::{SseEvent, SseReader};

/// The largest whole body that is taken: ten images in base64.
const LARGEST_BODY: usize = 64 << 20;
/// 24,000 samples of two bytes: what OpenAI speaks where it compresses nothing.
const PLAIN_BYTES_A_SECOND: u64 = 48_000;

pub(super) struct TaskDecoder {
    request: ModelRequest,
    /// As the caller is told; none for JSON, and for events.
    content_type: Option<String>,
    /// As the provider calls it, where a body says so.
    model: Option<String>,
    mode: Mode,
}

enum Mode {
    Whole { body: Vec<u8>, is_json: bool },
    Sound { bytes: u64 },
    Events(Box<Events>),
    Done,
}

#[derive(Default)]
struct Events {
    reader: SseReader,
    usage: Option<Usage>,
    text: String,
    finished: u64,
    done: bool,
}

impl TaskDecoder {
    pub(super) fn new(request: &ModelRequest, content_type: &str) -> TaskDecoder {
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        let speech = request.shape() == Shape::Speech;
        let is_json = kind.ends_with("json") || !(speech || is_a_text(request));
        let mode = match &*kind {
            "text/event-stream" if request.stream() => Mode::Events(Box::default()),
            _ if speech && !is_json => Mode::Sound { bytes: 0 },
            _ => Mode::Whole { body: Vec::new(), is_json },
        };
        let content_type = match &mode {
            Mode::Sound { .. } => Some(told(content_type, &["audio/"], sound_type(request))),
            Mode::Whole { is_json: false, .. } => Some(told(
                content_type,
                &["text/plain", "text/vtt", "application/x-subrip"],
                "text/plain; charset=utf-8",
            )),
            // Asked as a stream, and given whole all the same.
            Mode::Whole { .. } if request.stream() => Some("application/json".to_owned()),
            _ => None,
        };
        TaskDecoder { request: request.clone(), content_type, model: None, mode }
    }

    fn whole(&mut self, body: Vec<u8>, is_json: bool, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        let unreadable = || ProviderError::broken("the provider's answer cannot be read");
        let text = std::str::from_utf8(&body).map_err(|_| unreadable())?;
        if text.trim().is_empty() {
            return Err(ProviderError::broken("the provider's answer is empty"));
        }
        let (texts, usage) = if is_json {
            let answer: Answer<'_> = serde_json::from_str(text).map_err(|_| unreadable())?;
            if let Some(error) = answer.error() {
                return Err(crate::openai::failure_in_answer(error));
            }
            if self.request.shape() == Shape::Speech {
                return Err(ProviderError::broken("the provider's answer is no sound"));
            }
            self.model = answer.model.clone();
            (answer.text.clone(), usage::of(&self.request, &answer))
        } else {
            (Some(text.to_owned()), Some(usage::heard(&self.request, None, last_time(text), text)))
        };
        let body = Bytes::from(body);
        let (frame, closing) = if self.request.stream() { (body, Bytes::new()) } else { (Bytes::new(), body) };
        out.push(AnswerEvent::Delta(Delta::one(frame, texts.unwrap_or_default(), true)));
        out.extend(usage.map(AnswerEvent::Usage));
        out.push(AnswerEvent::End(End::new(None, move |_, _| closing.clone())));
        Ok(())
    }
}

impl Decoder for TaskDecoder {
    fn feed(&mut self, bytes: &[u8], out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        match &mut self.mode {
            Mode::Whole { body, .. } if body.len() + bytes.len() > LARGEST_BODY => {
                Err(ProviderError::new(Class::TooLarge, "the provider's answer is too large"))
            }
            Mode::Whole { body, .. } => {
                body.extend_from_slice(bytes);
                Ok(())
            }
            Mode::Sound { bytes: so_far } => {
                *so_far += bytes.len() as u64;
                if !bytes.is_empty() {
                    out.push(AnswerEvent::Delta(Delta::one(Bytes::copy_from_slice(bytes), String::new(), true)));
                    let plain = matches!(self.request.view().asked.format.as_deref(), Some("wav" | "pcm"));
                    let seconds = plain.then(|| so_far.div_ceil(PLAIN_BYTES_A_SECOND));
                    out.push(AnswerEvent::Usage(usage::spoken(&self.request, None, seconds)));
                }
                Ok(())
            }
            Mode::Events(events) => {
                let mut read = Vec::new();
                let fed = events.reader.feed(bytes, &mut read);
                read.into_iter().try_for_each(|event| events.take(&self.request, event, out))?;
                fed
            }
            Mode::Done => Ok(()),
        }
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        match std::mem::replace(&mut self.mode, Mode::Done) {
            Mode::Whole { body, is_json } => self.whole(body, is_json, out),
            Mode::Sound { bytes: 0 } => Err(ProviderError::broken("the provider's answer is empty")),
            Mode::Sound { .. } => {
                out.push(AnswerEvent::End(End::new(None, |_, _| Bytes::new())));
                Ok(())
            }
            Mode::Events(mut events) => {
                let mut read = Vec::new();
                events.reader.finish(&mut read);
                read.into_iter().try_for_each(|event| events.take(&self.request, event, out))?;
                events.end(&self.request, out)
            }
            Mode::Done => Ok(()),
        }
    }

    fn content_type(&self) -> Option<&str> {
        self.content_type.as_deref()
    }

    fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }
}

impl Events {
    fn take(
        &mut self,
        request: &ModelRequest,
        event: SseEvent,
        out: &mut Vec<AnswerEvent>,
    ) -> Result<(), ProviderError> {
        let data = event.data.trim();
        if data == "[DONE]" {
            self.done = true;
            return Ok(());
        }
        if data.is_empty() || self.done {
            return Ok(());
        }
        let told: Answer<'_> = serde_json::from_str(data)
            .map_err(|_| ProviderError::broken("an event of the provider's stream cannot be read"))?;
        if event.event == "error" || told.kind.as_deref() == Some("error") || told.error().is_some() {
            return Err(crate::openai::failure_in_answer(told.error().unwrap_or(data)));
        }
        let kind = told.kind.as_deref().unwrap_or(&event.event);
        // A segment ends, but not the answer.
        let is_last = kind.ends_with(".completed") || kind.ends_with(".done");
        let said = match (&told.delta, request.shape()) {
            (Some(serde_json::Value::String(text)), Shape::Transcriptions | Shape::Translations) => text.clone(),
            _ => String::new(),
        };
        self.text.push_str(&said);
        if is_last {
            self.finished += 1;
            self.usage = Some(match request.shape() {
                Shape::Images | Shape::ImageEdits => usage::drawn(request, told.usage.as_ref(), self.finished),
                Shape::Speech => usage::spoken(request, told.usage.as_ref(), None),
                _ => usage::heard(request, told.usage.as_ref(), None, told.text.as_deref().unwrap_or(&self.text)),
            });
        }
        out.push(AnswerEvent::Delta(Delta::one(event.frame().into(), said, true)));
        // Sound and pictures are billed as they are made: what was billed so far is known before the end, if it never comes.
        let so_far = self.usage.unwrap_or_else(|| match request.shape() {
            Shape::Images | Shape::ImageEdits => usage::drawn(request, None, request.choices()),
            Shape::Speech => usage::spoken(request, None, None),
            _ => usage::heard(request, None, None, &self.text),
        });
        out.push(AnswerEvent::Usage(so_far));
        Ok(())
    }

    fn end(self, _request: &ModelRequest, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        if self.finished == 0 && !self.done {
            return Err(ProviderError::broken("the provider's stream broke off"));
        }
        let closing = if self.done { Bytes::from_static(b"data: [DONE]\n\n") } else { Bytes::new() };
        out.push(AnswerEvent::End(End::new(None, move |_, _| closing.clone())));
        Ok(())
    }
}

/// A transcript that is asked for as a text.
fn is_a_text(request: &ModelRequest) -> bool {
    let heard = matches!(request.shape(), Shape::Transcriptions | Shape::Translations);
    heard && matches!(request.view().asked.format.as_deref(), Some("text" | "srt" | "vtt"))
}

/// The provider's content type, if it is of one of these kinds and plain.
fn told(content_type: &str, kinds: &[&str], otherwise: &str) -> String {
    let folded = content_type.trim().to_ascii_lowercase();
    let plain = folded.len() <= 100 && folded.bytes().all(|b| b.is_ascii_alphanumeric() || b"/.+-;= _".contains(&b));
    if plain && kinds.iter().any(|kind| folded.starts_with(kind)) { folded } else { otherwise.to_owned() }
}

fn sound_type(request: &ModelRequest) -> &'static str {
    match request.view().asked.format.as_deref() {
        Some("opus") => "audio/opus",
        Some("aac") => "audio/aac",
        Some("flac") => "audio/flac",
        Some("wav") => "audio/wav",
        Some("pcm") => "audio/pcm",
        _ => "audio/mpeg",
    }
}

/// When the last line of subtitles ends, in seconds: `… --> 00:01:02,500`.
fn last_time(text: &str) -> Option<f64> {
    let (_, rest) = text.rsplit_once("-->")?;
    let time = rest.split_whitespace().next()?.replace(',', ".");
    time.split(':').try_fold(0.0, |sum, part| Some(sum * 60.0 + part.parse::<f64>().ok()?))
}
