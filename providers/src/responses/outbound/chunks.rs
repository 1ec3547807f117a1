//! The Responses API's answer told in the words of chat completions: each event becomes `chat.completion.chunk`s, and a whole
//! response becomes the same chunks, so that there is one translation.
//!
//! All items of an output are one message: texts follow one another, as in the SDKs' `output_text`. Summaries of reasoning, and
//! reasoning that is shown, are `reasoning_content`; each finished item is once more a signed entry of `thinking_blocks`, from
//! which the next request makes the item again ([`seal`]). Let go: events of tools that the provider runs (none was asked for),
//! `phase`, padding, and citations other than `url_citation`, for which chat completions have no words.

use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::items::{Items, Key, Kind};
use super::seal::seal;
use super::wire::{self, Event, Item, Part, Response};
use super::{explain, usage, words};
use crate::dialect::Finish;
use crate::error::ProviderError;
use crate::json::quote;
use crate::openai::usage_object;
use crate::request::Usage;

/// The state of one translated answer.
#[derive(Default)]
pub(super) struct ToChunks {
    /// What every chunk begins with, up to its choices; empty until the first.
    head: String,
    items: Items,
    calls: u64,
    thoughts: u64,
    /// Characters of content so far.
    said: u64,
    usage: Option<Usage>,
    reason: Option<&'static str>,
    /// As the provider calls it.
    model: String,
    out: Vec<Chunk>,
}

/// One chunk for the outlet.
#[derive(Debug)]
pub(super) struct Chunk {
    pub json: String,
    pub text: String,
    pub content: bool,
}

impl ToChunks {
    /// Takes the JSON text of the next event. What it makes of it, even of one that fails, is there to be taken.
    pub(super) fn event(&mut self, data: &str) -> Result<(), ProviderError> {
        let event: Event<'_> = serde_json::from_str(data).map_err(|_| wire::unreadable())?;
        match event.kind.as_ref() {
            "response.created" | "response.in_progress" | "response.queued" => match wire::given(event.response) {
                Some(raw) if self.head.is_empty() => self.begin(&wire::parse(raw)?),
                _ => {}
            },
            "response.output_item.added" => self.added(&event)?,
            "response.output_item.done" => {
                if let Some(item) = item_of(&event)? {
                    self.close(Key::of_item(&event, &item), &item)?;
                }
            }
            "response.output_text.delta" => self.text(&event, "content")?,
            "response.refusal.delta" => self.text(&event, "refusal")?,
            "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta" => {
                self.arguments(&event)?;
            }
            "response.reasoning_summary_text.delta" => {
                self.thinking(&event, Some(wire::number(event.summary_index).unwrap_or(0)))?;
            }
            "response.reasoning_text.delta" => self.thinking(&event, None)?,
            "response.output_text.annotation.added" => self.annotation(&event)?,
            "response.completed" | "response.incomplete" => {
                let raw = wire::given(event.response).ok_or_else(wire::unreadable)?;
                self.end(&wire::parse(raw)?, event.kind == "response.incomplete")?;
            }
            "response.failed" | "response.cancelled" => {
                let response: Option<Response<'_>> = wire::given(event.response).map(wire::parse).transpose()?;
                let error = response.as_ref().and_then(|it| wire::given(it.error)).map_or("", RawValue::get);
                self.usage = response.as_ref().and_then(usage::of).or(self.usage);
                return Err(explain::failure(error));
            }
            "error" => return Err(explain::failure(wire::given(event.error).map_or(data, RawValue::get))),
            _ => {}
        }
        Ok(())
    }

    /// A whole response as the chunks of a stream.
    pub(super) fn replay(&mut self, body: &[u8]) -> Result<(), ProviderError> {
        let unreadable = || ProviderError::broken("the provider's answer cannot be read");
        let response: Response<'_> = serde_json::from_slice(body).map_err(|_| unreadable())?;
        self.usage = usage::of(&response);
        if let Some(error) = wire::given(response.error) {
            return Err(explain::failure(error.get()));
        }
        if response.object != "response" || response.output.is_none() {
            return Err(unreadable());
        }
        match response.status.as_deref() {
            None | Some("completed" | "incomplete") => self.end(&response, false),
            Some("failed" | "cancelled") => Err(explain::failure("")),
            Some(_) => Err(ProviderError::broken("the provider's answer is not finished")),
        }
    }

    /// The chunks since this was asked last.
    pub(super) fn take(&mut self) -> Vec<Chunk> {
        std::mem::take(&mut self.out)
    }

    /// What is billed, as far as it was told.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.usage
    }

    /// The response came to its end.
    pub(super) fn ended(&self) -> bool {
        self.reason.is_some()
    }

    /// The model that answers; empty until it is told.
    pub(super) fn model(&self) -> &str {
        &self.model
    }

    /// What the outlet closes with.
    pub(super) fn finish(&self) -> Finish {
        let chunk = |usage| format!("{}\"choices\":[],\"usage\":{}}}", self.head, usage_object(&usage));
        Finish { reason: self.reason.map(str::to_owned), usage: self.usage, usage_chunk: self.usage.map(chunk) }
    }

    fn begin(&mut self, response: &Response<'_>) {
        let (id, model) = (quote(&response.id), quote(&response.model));
        // Whole seconds; a fraction, as some servers write it, is no use to anyone here.
        let created = response.created_at.max(0.0) as u64;
        self.model = response.model.clone().into_owned();
        self.head =
            format!("{{\"id\":{id},\"object\":\"chat.completion.chunk\",\"created\":{created},\"model\":{model},");
        self.put("{\"role\":\"assistant\",\"content\":null,\"refusal\":null}", None, None, String::new());
        self.out.iter_mut().for_each(|chunk| chunk.content = false);
    }

    fn added(&mut self, event: &Event<'_>) -> Result<(), ProviderError> {
        let Some(item) = item_of(event)? else { return Ok(()) };
        let key = Key::of_item(event, &item);
        // Said twice of one that is still open.
        if self.items.get(&key).is_some_and(|open| !open.closed) {
            return Ok(());
        }
        self.open(key, &item)
    }

    /// A new item; of a call, its name is told.
    fn open(&mut self, key: Key, item: &Item<'_>) -> Result<(), ProviderError> {
        let kind = match item.kind.as_ref() {
            "function_call" => Kind::Function(self.calls),
            "custom_tool_call" => Kind::Custom(self.calls),
            "reasoning" => Kind::Reasoning,
            _ => Kind::Message,
        };
        self.items.begin(key, kind, self.said)?;
        let name = item.name.as_deref().unwrap_or_default();
        let id = item.call_id.as_deref().or(item.id.as_deref()).unwrap_or_default();
        if let Some(delta) = words::call(kind, id, name) {
            self.calls += 1;
            self.put(&delta, None, None, name.to_owned());
        }
        Ok(())
    }

    fn text(&mut self, event: &Event<'_>, member: &str) -> Result<(), ProviderError> {
        let text = wire::text(event.delta)?;
        let open = self.items.or_begin(Key::of(event)?, Kind::Message, self.said)?;
        let Some(open) = open.filter(|_| !text.is_empty()) else { return Ok(()) };
        open.told = true;
        self.say(member, &text, event.logprobs);
        Ok(())
    }

    fn say(&mut self, member: &str, text: &str, logprobs: Option<&RawValue>) {
        if member == "content" {
            self.said += text.chars().count() as u64;
        }
        let logprobs = wire::given(logprobs).and_then(words::logprobs);
        self.put(&format!("{{\"{member}\":{}}}", quote(text)), logprobs.as_deref(), None, text.to_owned());
    }

    fn arguments(&mut self, event: &Event<'_>) -> Result<(), ProviderError> {
        let piece = wire::text(event.delta)?;
        // A call that was not announced has no name yet; its end tells all of it.
        let Some(open) = self.items.get(&Key::of(event)?) else { return Ok(()) };
        if let Some(delta) = words::arguments(open.kind, &piece).filter(|_| !piece.is_empty()) {
            open.told = true;
            self.put(&delta, None, None, piece.into_owned());
        }
        Ok(())
    }

    fn thinking(&mut self, event: &Event<'_>, part: Option<u64>) -> Result<(), ProviderError> {
        let piece = wire::text(event.delta)?;
        self.items.think(piece.len())?;
        let open = self.items.or_begin(Key::of(event)?, Kind::Reasoning, self.said)?;
        let Some(open) = open.filter(|_| !piece.is_empty()) else { return Ok(()) };
        let told = open.reason(&piece, part);
        self.reason_aloud(told);
        Ok(())
    }

    fn reason_aloud(&mut self, text: String) {
        self.put(&format!("{{\"reasoning_content\":{}}}", quote(&text)), None, None, text);
    }

    fn annotation(&mut self, event: &Event<'_>) -> Result<(), ProviderError> {
        let Some(annotation) = wire::given(event.annotation) else { return Ok(()) };
        let Some(open) = self.items.or_begin(Key::of(event)?, Kind::Message, self.said)? else { return Ok(()) };
        open.cited = true;
        let start = open.start;
        self.cite(words::citation(annotation, start).into_iter().collect());
        Ok(())
    }

    fn cite(&mut self, citations: Vec<Value>) {
        if !citations.is_empty() {
            self.put(&json!({"annotations": citations}).to_string(), None, None, String::new());
        }
    }

    /// An item is done: what was not told of it in pieces is told now.
    fn close(&mut self, key: Key, item: &Item<'_>) -> Result<(), ProviderError> {
        if self.items.get(&key).is_none_or(|open| open.closed) {
            self.open(key.clone(), item)?;
        }
        let open = self.items.get(&key).expect("just opened, if it was not open");
        open.closed = true;
        let (kind, told, cited, start) = (open.kind, open.told, open.cited, open.start);
        match kind {
            Kind::Message => {
                let mut at = start;
                for part in item.content.iter().flatten() {
                    at = self.part(part, !told, !cited, at);
                }
            }
            Kind::Function(_) if !told => {
                // A function that takes nothing is still called with an object, as OpenAI's clients parse the arguments.
                let whole = item.arguments.as_deref().filter(|whole| !whole.is_empty()).unwrap_or("{}");
                let delta = words::arguments(kind, whole).expect("a call has arguments");
                self.put(&delta, None, None, whole.to_owned());
            }
            Kind::Custom(_) if !told => {
                let whole = item.input.as_deref().unwrap_or_default();
                let delta = words::arguments(kind, whole).expect("a call has an input");
                self.put(&delta, None, None, whole.to_owned());
            }
            Kind::Function(_) | Kind::Custom(_) => {}
            Kind::Reasoning => self.reasoned(&key, item, told)?,
        }
        Ok(())
    }

    /// A part of a message that is done; gives where the next one begins.
    fn part(&mut self, part: &Part<'_>, tell: bool, cite: bool, at: u64) -> u64 {
        let text = part.text.as_deref().unwrap_or_default();
        let refusal = part.refusal.as_deref().unwrap_or_default();
        for (member, said) in [("content", text), ("refusal", refusal)] {
            if tell && !said.is_empty() {
                self.say(member, said, part.logprobs);
            }
        }
        if cite {
            self.cite(part.annotations.iter().flatten().filter_map(|it| words::citation(it, at)).collect());
        }
        at + text.chars().count() as u64
    }

    fn reasoned(&mut self, key: &Key, item: &Item<'_>, told: bool) -> Result<(), ProviderError> {
        if !told {
            let texts = |parts: &Option<Vec<Part<'_>>>| {
                let texts = parts.iter().flatten().filter_map(|part| part.text.as_deref());
                texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n\n")
            };
            for (text, part) in [(texts(&item.summary), Some(0)), (texts(&item.content), None)] {
                if text.is_empty() {
                    continue;
                }
                self.items.think(text.len())?;
                let told = self.items.get(key).map(|open| open.reason(&text, part)).unwrap_or_default();
                self.reason_aloud(told);
            }
        }
        let Some(open) = self.items.get(key) else { return Ok(()) };
        let (summary, thought) = (std::mem::take(&mut open.summary), std::mem::take(&mut open.thought));
        let sealed = item.encrypted_content.as_deref().zip(item.id.as_deref()).and_then(|(it, id)| seal(id, it));
        let Some(sealed) = sealed else { return Ok(()) };
        let text = if summary.is_empty() { thought } else { summary };
        let index = self.thoughts;
        self.thoughts += 1;
        let block = match text.is_empty() {
            true => json!({"type": "redacted_thinking", "data": sealed, "index": index}),
            false => json!({"type": "thinking", "thinking": text, "signature": sealed, "index": index}),
        };
        self.put(&json!({"thinking_blocks": [block]}).to_string(), None, None, String::new());
        Ok(())
    }

    /// The response is complete, or as complete as it gets.
    fn end(&mut self, response: &Response<'_>, incomplete: bool) -> Result<(), ProviderError> {
        self.usage = usage::of(response).or(self.usage);
        if self.head.is_empty() {
            self.begin(response);
        }
        let announced = !self.items.is_empty();
        for (at, raw) in (0..).zip(response.output.iter().flatten()) {
            let Some(item) = Item::read(raw)? else { continue };
            let named = Key::Named(item.id.as_deref().unwrap_or_default().to_owned());
            let known = [Key::At(at), named].into_iter().find(|key| self.items.get(key).is_some_and(|it| !it.closed));
            // Servers that send no events of items tell them here; of others, what they left open is closed.
            if let Some(key) = known.or((!announced).then_some(Key::At(at))) {
                self.close(key, &item)?;
            }
        }
        let incomplete = incomplete || response.status.as_deref() == Some("incomplete");
        let why = response.incomplete_details.as_ref().and_then(|it| it.reason.as_deref());
        let reason = words::finish_reason(incomplete.then_some(why.unwrap_or_default()), self.calls > 0);
        self.reason = Some(reason);
        self.put("{}", None, Some(reason), String::new());
        Ok(())
    }

    fn put(&mut self, delta: &str, logprobs: Option<&str>, reason: Option<&str>, text: String) {
        if self.head.is_empty() {
            self.head = "{\"object\":\"chat.completion.chunk\",".to_owned();
        }
        let (head, logprobs) = (&self.head, logprobs.unwrap_or("null"));
        let reason = reason.map_or("null".to_owned(), quote);
        let json = format!(
            "{head}\"choices\":[{{\"index\":0,\"delta\":{delta},\"logprobs\":{logprobs},\"finish_reason\":{reason}}}]}}"
        );
        self.out.push(Chunk { json, text, content: true });
    }
}

/// The item that an event brings, unless it is of a kind that is passed by.
fn item_of<'a>(event: &Event<'a>) -> Result<Option<Item<'a>>, ProviderError> {
    match wire::given(event.item) {
        Some(raw) => Item::read(raw),
        None => Ok(None),
    }
}
