//! One answer on its way.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use crate::dialect::Decoder;
use crate::error::{Class, ProviderError};
use crate::request::{AnswerEvent, End};
use crate::sim::{Ending, Script};

/// More than any answer has; a bound on what a mad provider can make us read.
const LARGEST_ANSWER: u64 = 256 << 20;
/// After the end of a stream its connection is read on for so long, so that it can be used again.
const LINGER: Duration = Duration::from_millis(5);

/// An answer that has begun well (2xx). Dropping it cancels upstream.
pub struct Answer {
    status: u16,
    source: Source,
    decoder: Box<dyn Decoder>,
    idle: Duration,
    /// Since the last piece; kept here, so that a `next` that is dropped and asked again does not wait anew.
    waits_until: Option<Instant>,
    /// Until the first content: a provider that only clears its throat does not begin.
    begins_by: Option<Instant>,
    ready: VecDeque<AnswerEvent>,
    /// Read, but not decoded yet; only where no more may be decoded than is asked for.
    rest: Bytes,
    event_by_event: bool,
    failed: Option<ProviderError>,
    over: bool,
    bytes: u64,
}

/// Where bytes come from.
pub(super) enum Source {
    Network(Incoming),
    Scripted { pieces: VecDeque<(Duration, Bytes)>, due: Option<Instant>, ending: Ending },
}

impl Answer {
    pub(super) fn new(status: u16, source: Source, decoder: Box<dyn Decoder>, idle: Duration) -> Answer {
        Answer {
            status,
            source,
            decoder,
            idle,
            waits_until: None,
            begins_by: None,
            ready: VecDeque::new(),
            rest: Bytes::new(),
            event_by_event: false,
            failed: None,
            over: false,
            bytes: 0,
        }
    }

    /// The decoder never knows more than one event beyond what was asked for.
    pub(super) fn event_by_event(self) -> Answer {
        Answer { event_by_event: true, ..self }
    }

    /// Whatever else comes, its first content must be there by then.
    pub(super) fn that_begins_by(self, begins_by: Instant) -> Answer {
        Answer { begins_by: Some(begins_by), ..self }
    }

    /// The answer came as one body: it is made and billed already.
    pub fn is_whole(&self) -> bool {
        self.decoder.is_whole()
    }

    /// The model that answered, as the provider calls it, if it has said so yet.
    pub fn model(&self) -> Option<&str> {
        self.decoder.model().filter(|it| !it.is_empty())
    }

    /// What the caller's answer is, where it is neither JSON nor an event stream.
    pub fn content_type(&self) -> Option<&str> {
        self.decoder.content_type()
    }

    /// Ends an answer that is gathered for a JSON caller before the event that was given last; none for any other.
    pub fn cut(&mut self, note: &str) -> Option<End> {
        self.decoder.cut(note)
    }

    /// Lets the provider go: nothing more comes, and nothing more is computed for us where it listens.
    pub fn hang_up(&mut self) {
        self.over = true;
        self.ready.clear();
        self.source = Source::Scripted { pieces: VecDeque::new(), due: None, ending: Ending::Clean };
    }

    /// How much of it has come.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// 200, mostly.
    pub fn status(&self) -> u16 {
        self.status
    }

    /// The next event; none after [`AnswerEvent::End`] or an error. May be dropped and asked again without losing anything.
    pub async fn next(&mut self) -> Option<Result<AnswerEvent, ProviderError>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                match &event {
                    AnswerEvent::End(_) => {
                        self.ready.clear();
                        self.over = true;
                    }
                    AnswerEvent::Delta(delta) if delta.content => self.begins_by = None,
                    AnswerEvent::Delta(_) | AnswerEvent::Usage(_) => {}
                }
                return Some(Ok(event));
            }
            if self.over {
                return None;
            }
            if let Some(error) = self.failed.take() {
                self.over = true;
                return Some(Err(error));
            }
            if !self.rest.is_empty() {
                let end = self.decoder.event_end(&self.rest).clamp(1, self.rest.len());
                let event = self.rest.split_to(end);
                self.decode(&event).await;
                continue;
            }
            let until = *self.waits_until.get_or_insert_with(|| Instant::now() + self.idle);
            let until = self.begins_by.map_or(until, |begins_by| begins_by.min(until));
            let piece = match timeout_at(until, self.source.next()).await {
                Ok(piece) => piece,
                Err(_) => {
                    self.failed = Some(ProviderError::new(Class::Timeout, "the provider stopped answering"));
                    continue;
                }
            };
            self.waits_until = None;
            let mut events = Vec::new();
            let read = match piece {
                Some(Ok(bytes)) => {
                    self.bytes += bytes.len() as u64;
                    if self.bytes > LARGEST_ANSWER {
                        Err(ProviderError::new(Class::TooLarge, "the provider's answer is too large"))
                    } else if self.event_by_event {
                        self.rest = bytes;
                        continue;
                    } else {
                        self.decoder.feed(&bytes, &mut events)
                    }
                }
                Some(Err(error)) => Err(error),
                None => {
                    let read = self.decoder.finish(&mut events);
                    let ended = events.iter().any(|it| matches!(it, AnswerEvent::End(_)));
                    if read.is_ok() && !ended {
                        Err(ProviderError::broken("the provider's answer has no end"))
                    } else {
                        read
                    }
                }
            };
            self.decoded(read, events).await;
        }
    }

    async fn decode(&mut self, bytes: &[u8]) {
        let mut events = Vec::new();
        let read = self.decoder.feed(bytes, &mut events);
        self.decoded(read, events).await;
    }

    async fn decoded(&mut self, read: Result<(), ProviderError>, events: Vec<AnswerEvent>) {
        self.failed = read.err();
        let ended = events.iter().any(|it| matches!(it, AnswerEvent::End(_)));
        self.ready.extend(events); // before any wait, lest they are lost when this future is dropped
        if ended || self.failed.is_some() {
            self.rest.clear();
        }
        if ended {
            self.source.linger().await;
        }
    }
}

impl Source {
    pub(super) fn scripted(script: Script) -> Source {
        Source::Scripted { pieces: script.pieces.into(), due: None, ending: script.ending }
    }

    /// The next bytes. May be dropped and asked again.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, ProviderError>> {
        let broke = || ProviderError::broken("the connection to the provider broke while it answered");
        match self {
            Source::Network(body) => loop {
                match body.frame().await? {
                    Ok(frame) => match frame.into_data() {
                        Ok(bytes) => return Some(Ok(bytes)),
                        Err(_trailers) => continue,
                    },
                    Err(_) => return Some(Err(broke())),
                }
            },
            Source::Scripted { pieces, due, ending } => {
                let Some((wait, _)) = pieces.front() else {
                    return (*ending == Ending::Torn).then(|| Err(broke()));
                };
                if !wait.is_zero() {
                    sleep_until(*due.get_or_insert_with(|| Instant::now() + *wait)).await;
                }
                *due = None;
                pieces.pop_front().map(|(_, bytes)| Ok(bytes))
            }
        }
    }

    /// What an error's body says, as far as it comes in time.
    pub(super) async fn at_most(&mut self, limit: usize, deadline: Duration) -> Bytes {
        let mut body = BytesMut::new();
        let until = Instant::now() + deadline;
        while let Ok(Some(Ok(bytes))) = timeout_at(until, self.next()).await {
            let room = limit - body.len();
            body.extend_from_slice(&bytes[..bytes.len().min(room)]);
            if body.len() == limit {
                break;
            }
        }
        body.freeze()
    }

    /// Reads to the end of the body if it is near.
    async fn linger(&mut self) {
        let to_the_end = async { while let Some(Ok(_)) = self.next().await {} };
        let _ = timeout(LINGER, to_the_end).await;
    }
}
