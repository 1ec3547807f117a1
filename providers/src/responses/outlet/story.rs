//! One answer as it is told: the items that are done, the one that is being told, and the calls that are still open.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::Ending;
use super::chunk::{Choice, Thought, ToolCall};
use super::item::{Call, Message, Open, Reasoning};
use crate::json::quote;
use crate::request::ModelRequest;
use crate::responses::pen::Pen;
use crate::responses::reasoning::{sealed, signed};
use crate::responses::settings;

pub(super) struct Story {
    pen: Pen,
    told_again: String,
    begun: bool,
    /// The provider's id, as far as ids are made of it.
    tail: String,
    created: u64,
    model: String,
    /// By place; none while an item is open.
    items: Vec<Option<String>>,
    open: Option<Open>,
    /// By their index in the chunks: pieces of several may come in turns.
    calls: BTreeMap<u64, Call>,
}

impl Story {
    pub(super) fn of(request: &ModelRequest) -> Story {
        Story {
            pen: Pen::default(),
            told_again: settings::told_again(request),
            begun: false,
            tail: String::new(),
            created: 0,
            model: String::new(),
            items: Vec::new(),
            open: None,
            calls: BTreeMap::new(),
        }
    }

    /// The answer is told whole: no events.
    pub(super) fn hush(&mut self) {
        self.pen = Pen::silent();
    }

    /// What was written since the last time.
    pub(super) fn written(&mut self) -> Bytes {
        self.pen.take()
    }

    /// The number of the next event.
    pub(super) fn numbered(&self) -> u64 {
        self.pen.next()
    }

    pub(super) fn begin(&mut self, id: &str, created: Option<&str>, model: &str) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        self.tail = tail(id);
        // Some servers tell fractions of seconds.
        self.created = created.and_then(|it| it.split('.').next()?.parse().ok()).unwrap_or(0);
        self.model = model.to_owned();
        if !self.pen.is_silent() {
            let response = format!("\"response\":{}null}}", self.object("in_progress", "null", ""));
            self.pen.event("response.created", &response);
            self.pen.event("response.in_progress", &response);
        }
    }

    /// One piece of the answer. What was thought goes before what was said, that before what is called.
    pub(super) fn choice(&mut self, choice: &Choice<'_>) {
        if let Some(delta) = &choice.delta {
            let thoughts = delta.thinking_blocks.as_deref().unwrap_or_default();
            // A whole answer has its thoughts twice: as one text, and signed one by one.
            let twice = thoughts.iter().any(|thought| !thought.thinking.is_empty());
            if let Some(text) = delta.reasoning().filter(|_| !twice) {
                let (reasoning, pen) = self.reasoning();
                reasoning.think(text, pen);
            }
            thoughts.iter().for_each(|thought| self.thought(thought));
            let odds = choice.logprobs.as_ref().and_then(|it| it.content.as_deref()).unwrap_or_default();
            let text = delta.text();
            if !text.is_empty() || !odds.is_empty() {
                let (message, pen) = self.message();
                message.say(&text, odds, pen);
            }
            if let Some(text) = delta.refusal.as_deref().filter(|text| !text.is_empty()) {
                let (message, pen) = self.message();
                message.refuse(text, pen);
            }
            for raw in delta.annotations.iter().flatten() {
                let (message, pen) = self.message();
                message.annotate(raw.get(), pen);
            }
            for (nth, call) in (0..).zip(delta.tool_calls.iter().flatten()) {
                self.call(call.index.unwrap_or(nth), call);
            }
        }
        if let Some(reason) = choice.finish_reason.as_deref().filter(|it| !it.is_empty()) {
            self.close(Ending::of(Some(reason)));
        }
    }

    /// A thought that is whole: its text was told before, piece by piece, or is told now.
    fn thought(&mut self, thought: &Thought<'_>) {
        let encrypted = match &*thought.kind {
            "redacted_thinking" => {
                self.close_open(Ending::Completed);
                sealed(&thought.data)
            }
            "thinking" => {
                let told = matches!(&self.open, Some(Open::Reasoning(open)) if open.text() == thought.thinking);
                if !told && !thought.thinking.is_empty() {
                    self.close_open(Ending::Completed);
                }
                signed(&thought.signature)
            }
            _ => return,
        };
        let (reasoning, pen) = self.reasoning();
        if reasoning.text().is_empty() {
            reasoning.think(&thought.thinking, pen);
        }
        reasoning.encrypted = Some(encrypted).filter(|_| !thought.signature.is_empty() || !thought.data.is_empty());
        self.close_open(Ending::Completed);
    }

    fn call(&mut self, index: u64, piece: &ToolCall<'_>) {
        let (told, free) = match (&piece.function, &piece.custom) {
            (_, Some(custom)) => (Some(custom), true),
            (function, None) => (function.as_ref(), false),
        };
        let name = told.map(|it| &*it.name).unwrap_or_default();
        if !self.calls.contains_key(&index) {
            if name.is_empty() && piece.id.is_empty() {
                return;
            }
            self.close_open(Ending::Completed);
            let call_id = match &*piece.id {
                "" => format!("call_{}_{index}", self.tail),
                id => id.to_owned(),
            };
            let at = self.place();
            let call = Call::open(&self.tail, at, call_id, name, free, &mut self.pen);
            self.calls.insert(index, call);
        }
        if let (Some(call), Some(told)) = (self.calls.get_mut(&index), told) {
            call.piece(&told.arguments, &mut self.pen);
        }
    }

    fn message(&mut self) -> (&mut Message, &mut Pen) {
        if !matches!(self.open, Some(Open::Message(_))) {
            self.close_open(Ending::Completed);
            let at = self.place();
            self.open = Some(Open::Message(Message::open(&self.tail, at, &mut self.pen)));
        }
        match &mut self.open {
            Some(Open::Message(message)) => (message, &mut self.pen),
            _ => unreachable!("it was just opened"),
        }
    }

    fn reasoning(&mut self) -> (&mut Reasoning, &mut Pen) {
        if !matches!(self.open, Some(Open::Reasoning(_))) {
            self.close_open(Ending::Completed);
            let at = self.place();
            self.open = Some(Open::Reasoning(Reasoning::open(&self.tail, at, &mut self.pen)));
        }
        match &mut self.open {
            Some(Open::Reasoning(reasoning)) => (reasoning, &mut self.pen),
            _ => unreachable!("it was just opened"),
        }
    }

    fn place(&mut self) -> usize {
        self.items.push(None);
        self.items.len() - 1
    }

    fn close_open(&mut self, ending: Ending) {
        let ended = match self.open.take() {
            Some(Open::Message(message)) => message.end(ending, &mut self.pen),
            Some(Open::Reasoning(reasoning)) => reasoning.end(&mut self.pen),
            None => return,
        };
        self.keep(ended);
    }

    /// All that is open ends.
    pub(super) fn close(&mut self, ending: Ending) {
        self.close_open(ending);
        for (_, call) in std::mem::take(&mut self.calls) {
            let ended = call.end(ending, &mut self.pen);
            self.keep(ended);
        }
    }

    fn keep(&mut self, (at, item): (usize, String)) {
        self.items[at] = Some(item);
    }

    /// The Response up to its usage, which is last.
    pub(super) fn response(&self, ending: Ending) -> String {
        let output: Vec<&str> = self.items.iter().flatten().map(String::as_str).collect();
        self.object(ending.status(), ending.details(), &output.join(","))
    }

    fn object(&self, status: &str, details: &str, output: &str) -> String {
        format!(
            r#"{{"id":"resp_{}","object":"response","created_at":{},"status":"{status}","error":null,"incomplete_details":{details},"model":{},"output":[{output}],{},"usage":"#,
            self.tail,
            self.created,
            quote(&self.model),
            self.told_again
        )
    }
}

/// A provider's id without its own prefix, in characters that ids have.
fn tail(id: &str) -> String {
    const PREFIXES: [&str; 7] = ["chatcmpl-", "chatcmpl_", "chat-", "cmpl-", "msg_", "gen-", "resp_"];
    let bare = PREFIXES.iter().find_map(|prefix| id.strip_prefix(prefix)).unwrap_or(id);
    let plain: String = bare.chars().filter(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).take(128).collect();
    if plain.is_empty() { "0".to_owned() } else { plain }
}
