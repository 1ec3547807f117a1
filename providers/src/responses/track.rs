//! Follows the events of one stream of Responses: what has been told so far, as the Response object that it amounts to. With it a
//! stream is gathered, and ended before its end.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::{Map, Value, json};

use super::pen::Pen;
use super::usage;
use crate::request::Usage;
use crate::sse::{SseEvent, SseReader};

/// More items and parts than any answer has.
const MOST: u64 = 10_000;

/// What a stream has told.
#[derive(Default)]
pub(crate) struct Track {
    /// As it was when it began.
    head: Option<Value>,
    /// As it was when it ended, as its JSON text.
    last: Option<String>,
    items: BTreeMap<u64, Item>,
    next_sequence: u64,
}

#[derive(Default)]
struct Item {
    told: Value,
    done: bool,
    /// The part that is being told, by the member that has it and its place there.
    part: Option<(&'static str, u64)>,
}

impl Track {
    /// A frame has gone to the caller.
    pub(crate) fn hear(&mut self, frame: &Bytes) {
        events(frame).iter().for_each(|event| self.event(event));
    }

    /// Nothing was told that a client could hold on to.
    pub(crate) fn is_empty(&self) -> bool {
        self.head.is_none()
    }

    /// Takes the next event.
    pub(crate) fn event(&mut self, event: &SseEvent) {
        let Ok(mut data) = serde_json::from_str::<Map<String, Value>>(&event.data) else { return };
        if let Some(number) = data.get("sequence_number").and_then(Value::as_u64) {
            self.next_sequence = number.saturating_add(1);
        }
        let number = |name: &str| data.get(name).and_then(Value::as_u64).filter(|it| *it < MOST);
        let at = number("output_index");
        let part = number("content_index").or(number("summary_index")).unwrap_or(0);
        let kind = data.get("type").and_then(Value::as_str).unwrap_or_default().to_owned();
        let mut take = |name: &str| data.remove(name).unwrap_or_default();
        match (&*kind, at) {
            ("response.created" | "response.queued" | "response.in_progress", _) => self.head = Some(take("response")),
            ("response.completed" | "response.incomplete" | "response.failed", _) => {
                self.last = Some(take("response").to_string());
            }
            ("response.output_item.added", Some(at)) => {
                self.items.insert(at, Item { told: take("item"), ..Item::default() });
            }
            ("response.output_item.done", Some(at)) => {
                self.items.insert(at, Item { told: take("item"), done: true, part: None });
            }
            (kind, Some(at)) => {
                if let Some(item) = self.items.get_mut(&at).filter(|item| !item.done) {
                    item.piece(kind, part, &mut take);
                }
            }
            _ => {}
        }
    }

    /// The Response. `cut`: it was ended here, for its length.
    pub(crate) fn body(&self, cut: bool) -> String {
        match &self.last {
            Some(last) if !cut => last.clone(),
            _ => self.ended().to_string(),
        }
    }

    /// What ends the stream here: all that is open, then the Response as far as it came, with the note.
    pub(crate) fn cut(&self, note: &str, counted: Option<&Usage>, cost: Option<&str>) -> Bytes {
        let mut pen = Pen::starting_at(self.next_sequence);
        for (at, item) in self.items.iter().filter(|(_, item)| !item.done) {
            item.close(*at, &mut pen);
        }
        let mut response = self.ended();
        if let Some(counted) = counted {
            response["usage"] = usage::object(counted);
            if let Some(cost) = cost {
                response["usage"]["alfred_cost_usd"] = json!(cost);
            }
        }
        response["alfred"] = serde_json::from_str(note).unwrap_or_default();
        pen.event("response.incomplete", &format!("\"response\":{response}"));
        pen.take()
    }

    fn ended(&self) -> Value {
        let mut response = self.head.clone().filter(Value::is_object).unwrap_or_else(bare);
        let output: Vec<Value> = self.items.values().map(Item::ended).collect();
        response["status"] = json!("incomplete");
        response["incomplete_details"] = json!({"reason": "max_output_tokens"});
        response["output"] = Value::Array(output);
        response
    }
}

impl Item {
    fn piece(&mut self, kind: &str, part: u64, take: &mut impl FnMut(&str) -> Value) {
        match kind {
            "response.content_part.added" => self.begin("content", part, take("part")),
            "response.reasoning_summary_part.added" => self.begin("summary", part, take("part")),
            "response.content_part.done" => self.finish("content", part, take("part")),
            "response.reasoning_summary_part.done" => self.finish("summary", part, take("part")),
            "response.output_text.delta" | "response.reasoning_text.delta" => {
                self.add("content", part, "text", &take("delta"));
            }
            "response.refusal.delta" => self.add("content", part, "refusal", &take("delta")),
            "response.reasoning_summary_text.delta" => self.add("summary", part, "text", &take("delta")),
            "response.function_call_arguments.delta" => self.add_beside("arguments", &take("delta")),
            "response.custom_tool_call_input.delta" => self.add_beside("input", &take("delta")),
            "response.output_text.annotation.added" => {
                let annotation = take("annotation");
                if let Some(Value::Array(all)) = self.at("content", part).and_then(|part| part.get_mut("annotations")) {
                    all.push(annotation);
                }
            }
            _ => {}
        }
    }

    fn begin(&mut self, member: &'static str, part: u64, given: Value) {
        if let Some(told) = self.at(member, part) {
            *told = given;
            self.part = Some((member, part));
        }
    }

    fn finish(&mut self, member: &'static str, part: u64, given: Value) {
        if let Some(told) = self.at(member, part) {
            *told = given;
            self.part = None;
        }
    }

    fn add(&mut self, member: &'static str, part: u64, name: &str, delta: &Value) {
        if let Some(told) = self.at(member, part).filter(|told| told.is_object()) {
            append(&mut told[name], delta);
        }
    }

    /// What a call is given. An item that is no object has nothing to add to.
    fn add_beside(&mut self, name: &str, delta: &Value) {
        if self.told.is_object() {
            append(&mut self.told[name], delta);
        }
    }

    /// A part, with those before it.
    fn at(&mut self, member: &str, part: u64) -> Option<&mut Value> {
        let told = self.told.as_object_mut()?;
        let parts = told.entry(member).or_insert_with(|| json!([]));
        if !parts.is_array() {
            *parts = json!([]);
        }
        let parts = parts.as_array_mut()?;
        let part = usize::try_from(part).ok()?;
        // Parts come in order; one far ahead of the others is no part.
        if part > parts.len() {
            return None;
        }
        if part == parts.len() {
            parts.push(Value::Null);
        }
        parts.get_mut(part)
    }

    fn ended(&self) -> Value {
        let mut told = self.told.clone();
        if !self.done && told.is_object() && told["type"] != "reasoning" {
            told["status"] = json!("incomplete");
        }
        told
    }

    fn close(&self, at: u64, pen: &mut Pen) {
        let id = &self.told["id"];
        if let Some((member, place)) = self.part {
            let part = &self.told[member][usize::try_from(place).unwrap_or_default()];
            let (of, index) = (format!("\"item_id\":{id},\"output_index\":{at}"), place);
            let told = match (member, part["type"].as_str()) {
                ("summary", _) => {
                    let text = &part["text"];
                    pen.event(
                        "response.reasoning_summary_text.done",
                        &format!("{of},\"summary_index\":{index},\"text\":{text}"),
                    );
                    "response.reasoning_summary_part.done"
                }
                (_, Some("refusal")) => {
                    let text = &part["refusal"];
                    pen.event("response.refusal.done", &format!("{of},\"content_index\":{index},\"refusal\":{text}"));
                    "response.content_part.done"
                }
                (_, Some("reasoning_text")) => {
                    let text = &part["text"];
                    pen.event(
                        "response.reasoning_text.done",
                        &format!("{of},\"content_index\":{index},\"text\":{text}"),
                    );
                    "response.content_part.done"
                }
                _ => {
                    let text = &part["text"];
                    pen.event(
                        "response.output_text.done",
                        &format!("{of},\"content_index\":{index},\"text\":{text},\"logprobs\":[]"),
                    );
                    "response.content_part.done"
                }
            };
            let name = if member == "summary" { "summary_index" } else { "content_index" };
            pen.event(told, &format!("{of},\"{name}\":{index},\"part\":{part}"));
        }
        let item = self.ended();
        pen.event("response.output_item.done", &format!("\"output_index\":{at},\"item\":{item}"));
    }
}

fn append(text: &mut Value, delta: &Value) {
    let Some(delta) = delta.as_str() else { return };
    match text {
        Value::String(text) => text.push_str(delta),
        _ => *text = json!(delta),
    }
}

/// A Response of which nothing is known.
fn bare() -> Value {
    json!({
        "id": "resp_0", "object": "response", "created_at": 0, "status": "in_progress", "error": null,
        "incomplete_details": null, "model": "", "output": [], "parallel_tool_calls": true, "tool_choice": "auto",
        "tools": [], "usage": null,
    })
}

/// The events that are in a frame that was written here.
pub(crate) fn events(frame: &Bytes) -> Vec<SseEvent> {
    let (mut reader, mut events) = (SseReader::default(), Vec::new());
    // What is too large to be read again lends nothing.
    let _ = reader.feed(frame, &mut events);
    reader.finish(&mut events);
    events
}

/// What begins a stream that is cut before it began: as the withheld frame would have, if that is known.
pub(crate) fn begin(withheld: &Bytes) -> SseEvent {
    let own = events(withheld).into_iter().find(|event| event.data.contains("\"response.created\""));
    own.unwrap_or_else(|| {
        let mut pen = Pen::default();
        pen.event("response.created", &format!("\"response\":{}", bare()));
        events(&pen.take()).pop().unwrap_or_default()
    })
}
