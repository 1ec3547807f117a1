//! Reads answers to callers of Responses: from a server that has them every event passes as it came ([`Passage`]), from any other the
//! reader of chat completions writes their events. Which it is, the first event tells, or a whole body's `object`.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::whole;
use crate::dialect::Decoder;
use crate::error::{Class, ProviderError};
use crate::openai::{failure_in_answer, member_of, with_member};
use crate::request::{AnswerEvent, Delta, End, Usage};
use crate::sse::{LARGEST_EVENT, SseEvent, SseReader};

use super::usage;

/// The largest whole body that is taken.
const LARGEST_BODY: usize = 64 << 20;

/// An answer of which not enough has come to tell what it is, until it has.
pub(super) struct Unopened {
    stream: bool,
    chat: Box<dyn Decoder>,
    state: State,
    /// As the provider calls it, in a body that passes.
    model: Option<String>,
}

enum State {
    /// What came, and its reader: comments perhaps, and the beginning of an event.
    Unknown(Vec<u8>, SseReader),
    Whole(Vec<u8>),
    Own(Passage),
    Chat,
}

impl Unopened {
    pub(super) fn new(stream: bool, chat: Box<dyn Decoder>) -> Unopened {
        Unopened { stream, chat, state: State::Unknown(Vec::new(), SseReader::default()), model: None }
    }

    fn open(&mut self, own: bool, held: &[u8], out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        if !own {
            self.state = State::Chat;
            return self.chat.feed(held, out);
        }
        let mut passage = Passage::default();
        let fed = passage.feed(held, out);
        self.state = State::Own(passage);
        fed
    }
}

impl Decoder for Unopened {
    fn feed(&mut self, bytes: &[u8], out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        match &mut self.state {
            State::Own(passage) => return passage.feed(bytes, out),
            State::Chat => return self.chat.feed(bytes, out),
            State::Whole(body) if body.len() + bytes.len() > LARGEST_BODY => {
                return Err(ProviderError::new(Class::TooLarge, "the provider's answer is too large"));
            }
            State::Whole(body) => {
                body.extend_from_slice(bytes);
                return Ok(());
            }
            State::Unknown(..) => {}
        }
        let State::Unknown(held, reader) = &mut self.state else { return Ok(()) };
        if held.len() + bytes.len() > LARGEST_EVENT {
            return Err(ProviderError::new(Class::TooLarge, "an event of the provider's stream is too large"));
        }
        held.extend_from_slice(bytes);
        // A byte order mark says nothing.
        let first = held.iter().copied().find(|b| !b.is_ascii_whitespace() && !b"\xef\xbb\xbf".contains(b));
        match first {
            None => return Ok(()),
            Some(b'{') => {
                self.state = State::Whole(std::mem::take(held));
                return Ok(());
            }
            Some(_) if !self.stream => {
                let held = std::mem::take(held);
                return self.open(false, &held, out);
            }
            Some(_) => {}
        }
        let mut events = Vec::new();
        let read = reader.feed(bytes, &mut events);
        match events.first() {
            Some(event) => {
                let (own, held) = (speaks_responses(event), std::mem::take(held));
                self.open(own, &held, out)
            }
            None => read,
        }
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        match &mut self.state {
            State::Own(passage) => passage.finish(out),
            State::Chat => self.chat.finish(out),
            State::Whole(body) => {
                let body = Bytes::from(std::mem::take(body));
                if whole::is_response(&body) {
                    self.model = std::str::from_utf8(&body).ok().and_then(model_of);
                    return whole::passes(body, self.stream, out);
                }
                self.chat.feed(&body, out)?;
                self.chat.finish(out)
            }
            State::Unknown(held, reader) => {
                let mut events = Vec::new();
                reader.finish(&mut events);
                let (own, held) = (events.first().is_some_and(speaks_responses), std::mem::take(held));
                self.open(own, &held, out)?;
                match &mut self.state {
                    State::Own(passage) => passage.finish(out),
                    _ => self.chat.finish(out),
                }
            }
        }
    }

    fn is_whole(&self) -> bool {
        match &self.state {
            State::Whole(_) => true,
            State::Chat => self.chat.is_whole(),
            _ => false,
        }
    }

    fn model(&self) -> Option<&str> {
        match &self.state {
            State::Own(passage) => passage.model(),
            State::Chat => self.chat.model(),
            _ => self.model.as_deref().or(self.chat.model()),
        }
    }
}

/// Whether an event is of Responses' words.
pub(super) fn speaks_responses(event: &SseEvent) -> bool {
    #[derive(Deserialize)]
    struct Typed {
        #[serde(rename = "type")]
        kind: String,
    }
    event.event.starts_with("response.")
        || serde_json::from_str::<Typed>(&event.data)
            .is_ok_and(|it| it.kind == "error" || it.kind.starts_with("response."))
}

/// A stream that passes as it came; its last event waits for the cost.
#[derive(Default)]
struct Passage {
    reader: SseReader,
    begun: bool,
    ended: bool,
    model: Option<String>,
}

/// What is read of an event.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(default)]
    item: Option<Item>,
    #[serde(borrow, default)]
    response: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    name: Option<String>,
}

impl Passage {
    fn take(&mut self, events: Vec<SseEvent>, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        for raw in events {
            // The end is an event of its own here; the terminator of other streams says nothing, wherever it stands.
            if self.ended || raw.data.trim() == "[DONE]" {
                continue;
            }
            let unreadable = || ProviderError::broken("an event of the provider's stream cannot be read");
            let event: Event<'_> = serde_json::from_str(&raw.data).map_err(|_| unreadable())?;
            self.begun = true;
            if self.model.is_none() {
                self.model = event.response.and_then(|response| model_of(response.get()));
            }
            match &*event.kind {
                "error" => return Err(failure_in_answer(&raw.data)),
                "response.failed" => {
                    let response = event.response.map_or("{}", RawValue::get);
                    // What it took to fail is billed all the same.
                    out.extend(told_usage(response).map(AnswerEvent::Usage));
                    return Err(failure_in_answer(member_of(response, "error").unwrap_or("{}")));
                }
                "response.completed" | "response.incomplete" => {
                    let response = event.response.ok_or_else(unreadable)?.get().to_owned();
                    self.ended = true;
                    let usage = told_usage(&response);
                    out.extend(usage.map(AnswerEvent::Usage));
                    let reason = whole::reason(&response);
                    out.push(AnswerEvent::End(End::new(reason, move |cost, counted| {
                        with_cost(&raw, &response, cost, counted.filter(|_| usage.is_none())).frame().into()
                    })));
                }
                _ => {
                    let text = said(&event);
                    let frame = Bytes::from(raw.frame());
                    let content = !text.is_empty();
                    out.push(AnswerEvent::Delta(Delta::one(frame, text, content)));
                }
            }
        }
        Ok(())
    }
}

impl Decoder for Passage {
    fn feed(&mut self, bytes: &[u8], out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        let mut events = Vec::new();
        let read = self.reader.feed(bytes, &mut events);
        self.take(events, out)?;
        if self.ended { Ok(()) } else { read }
    }

    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
        let mut events = Vec::new();
        self.reader.finish(&mut events);
        self.take(events, out)?;
        match (self.ended, self.begun) {
            (true, _) => Ok(()),
            (false, true) => Err(ProviderError::broken("the provider's stream broke off")),
            (false, false) => Err(ProviderError::broken("the provider's stream is empty")),
        }
    }

    fn model(&self) -> Option<&str> {
        self.model.as_deref()
    }
}

/// The output text of an event: what is told in pieces, and the names of tools.
fn said(event: &Event<'_>) -> String {
    const TOLD_IN_PIECES: [&str; 8] = [
        "response.output_text.delta",
        "response.refusal.delta",
        "response.function_call_arguments.delta",
        "response.custom_tool_call_input.delta",
        "response.reasoning_text.delta",
        "response.reasoning_summary_text.delta",
        "response.code_interpreter_call_code.delta",
        "response.mcp_call_arguments.delta",
    ];
    if event.kind == "response.output_item.added" {
        return event.item.as_ref().and_then(|item| item.name.clone()).unwrap_or_default();
    }
    let delta = event.delta.filter(|_| TOLD_IN_PIECES.contains(&&*event.kind));
    delta.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok()).unwrap_or_default()
}

/// The model of a response, as the provider calls it.
fn model_of(response: &str) -> Option<String> {
    member_of(response, "model").and_then(|raw| serde_json::from_str(raw).ok())
}

pub(super) fn told_usage(response: &str) -> Option<Usage> {
    member_of(response, "usage").and_then(usage::read)
}

/// The closing event with the cost in its usage; without one it stays byte for byte.
fn with_cost(last: &SseEvent, response: &str, cost: Option<&str>, counted: Option<&Usage>) -> SseEvent {
    if cost.is_none() && counted.is_none() {
        return last.clone();
    }
    let told = match counted {
        Some(counted) => usage::object(counted).to_string(),
        None => member_of(response, "usage").unwrap_or("{}").to_owned(),
    };
    let told = match cost {
        Some(cost) => with_member(&told, "alfred_cost_usd", &Value::from(cost).to_string()),
        None => told,
    };
    let data = with_member(&last.data, "response", &with_member(response, "usage", &told));
    SseEvent { event: last.event.clone(), data }
}
