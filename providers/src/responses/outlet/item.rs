//! The items of an answer while they are told. Each says its events, and at its end the item as it stands in the whole Response.

use serde_json::{Value, json};

use super::Ending;
use super::chunk::Logprob;
use crate::json::quote;
use crate::responses::pen::Pen;

/// What is being told; calls are kept apart.
pub(super) enum Open {
    Message(Message),
    Reasoning(Reasoning),
}

pub(super) struct Message {
    id: String,
    at: usize,
    parts: Vec<String>,
    part: Option<Part>,
}

#[derive(Default)]
struct Part {
    refuses: bool,
    text: String,
    logprobs: Vec<String>,
    annotations: Vec<String>,
}

impl Message {
    pub(super) fn open(tail: &str, at: usize, pen: &mut Pen) -> Message {
        let id = format!("msg_{tail}_{at}");
        added(
            pen,
            at,
            &format!(r#"{{"id":"{id}","type":"message","status":"in_progress","role":"assistant","content":[]}}"#),
        );
        Message { id, at, parts: Vec::new(), part: None }
    }

    pub(super) fn say(&mut self, text: &str, odds: &[Logprob<'_>], pen: &mut Pen) {
        let (place, part) = self.part(false, pen);
        part.text.push_str(text);
        let told: Vec<String> = odds.iter().map(Logprob::told).collect();
        if !pen.is_silent() {
            let inside = format!("{place},\"delta\":{},\"logprobs\":[{}]", quote(text), told.join(","));
            pen.event("response.output_text.delta", &inside);
        }
        part.logprobs.extend(told);
    }

    pub(super) fn refuse(&mut self, text: &str, pen: &mut Pen) {
        let (place, part) = self.part(true, pen);
        part.text.push_str(text);
        if !pen.is_silent() {
            pen.event("response.refusal.delta", &format!("{place},\"delta\":{}", quote(text)));
        }
    }

    /// A citation in OpenAI's older form.
    pub(super) fn annotate(&mut self, raw: &str, pen: &mut Pen) {
        let Some(annotation) = annotation(raw) else { return };
        let (place, part) = self.part(false, pen);
        let nth = part.annotations.len();
        let inside = format!("{place},\"annotation_index\":{nth},\"annotation\":{annotation}");
        pen.event("response.output_text.annotation.added", &inside);
        part.annotations.push(annotation);
    }

    /// The part that is being told, and its place; another kind of part ends the one before.
    fn part(&mut self, refuses: bool, pen: &mut Pen) -> (String, &mut Part) {
        if self.part.as_ref().is_some_and(|part| part.refuses != refuses) {
            self.end_part(pen);
        }
        let place = self.place();
        let part = self.part.get_or_insert_with(|| {
            let part = Part { refuses, ..Part::default() };
            pen.event("response.content_part.added", &format!("{place},\"part\":{}", part.told()));
            part
        });
        (place, part)
    }

    fn place(&self) -> String {
        format!("\"item_id\":\"{}\",\"output_index\":{},\"content_index\":{}", self.id, self.at, self.parts.len())
    }

    fn end_part(&mut self, pen: &mut Pen) {
        let place = self.place();
        let Some(part) = self.part.take() else { return };
        let told = part.told();
        if !pen.is_silent() {
            let text = quote(&part.text);
            match part.refuses {
                true => pen.event("response.refusal.done", &format!("{place},\"refusal\":{text}")),
                false => {
                    let odds = part.logprobs.join(",");
                    pen.event("response.output_text.done", &format!("{place},\"text\":{text},\"logprobs\":[{odds}]"));
                }
            }
            pen.event("response.content_part.done", &format!("{place},\"part\":{told}"));
        }
        self.parts.push(told);
    }

    pub(super) fn end(mut self, ending: Ending, pen: &mut Pen) -> (usize, String) {
        self.end_part(pen);
        let item = format!(
            r#"{{"id":"{}","type":"message","status":"{}","role":"assistant","content":[{}]}}"#,
            self.id,
            ending.status(),
            self.parts.join(",")
        );
        done(pen, self.at, &item);
        (self.at, item)
    }
}

impl Part {
    fn told(&self) -> String {
        let text = quote(&self.text);
        match self.refuses {
            true => format!(r#"{{"type":"refusal","refusal":{text}}}"#),
            false => format!(
                r#"{{"type":"output_text","text":{text},"annotations":[{}],"logprobs":[{}]}}"#,
                self.annotations.join(","),
                self.logprobs.join(",")
            ),
        }
    }
}

pub(super) struct Reasoning {
    id: String,
    at: usize,
    text: String,
    /// For the provider's eyes.
    pub(super) encrypted: Option<String>,
}

impl Reasoning {
    pub(super) fn open(tail: &str, at: usize, pen: &mut Pen) -> Reasoning {
        let id = format!("rs_{tail}_{at}");
        added(pen, at, &format!(r#"{{"id":"{id}","type":"reasoning","summary":[]}}"#));
        Reasoning { id, at, text: String::new(), encrypted: None }
    }

    pub(super) fn think(&mut self, text: &str, pen: &mut Pen) {
        if text.is_empty() {
            return;
        }
        let place = self.place();
        if self.text.is_empty() {
            let part = r#""part":{"type":"summary_text","text":""}"#;
            pen.event("response.reasoning_summary_part.added", &format!("{place},{part}"));
        }
        self.text.push_str(text);
        if !pen.is_silent() {
            pen.event("response.reasoning_summary_text.delta", &format!("{place},\"delta\":{}", quote(text)));
        }
    }

    /// What was thought so far.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    fn place(&self) -> String {
        format!("\"item_id\":\"{}\",\"output_index\":{},\"summary_index\":0", self.id, self.at)
    }

    pub(super) fn end(self, pen: &mut Pen) -> (usize, String) {
        let (place, text) = (self.place(), quote(&self.text));
        let mut summary = String::new();
        if !self.text.is_empty() {
            summary = format!(r#"{{"type":"summary_text","text":{text}}}"#);
            pen.event("response.reasoning_summary_text.done", &format!("{place},\"text\":{text}"));
            pen.event("response.reasoning_summary_part.done", &format!("{place},\"part\":{summary}"));
        }
        let kept = self.encrypted.map(|it| format!(",\"encrypted_content\":{}", quote(&it))).unwrap_or_default();
        let item = format!(r#"{{"id":"{}","type":"reasoning","summary":[{summary}]{kept}}}"#, self.id);
        done(pen, self.at, &item);
        (self.at, item)
    }
}

/// A call of a function, or of a tool that takes free text.
pub(super) struct Call {
    id: String,
    at: usize,
    call_id: String,
    name: String,
    arguments: String,
    free: bool,
}

impl Call {
    pub(super) fn open(tail: &str, at: usize, call_id: String, name: &str, free: bool, pen: &mut Pen) -> Call {
        let id = format!("{}_{tail}_{at}", if free { "ctc" } else { "fc" });
        let call = Call { id, at, call_id, name: name.to_owned(), arguments: String::new(), free };
        added(pen, at, &call.told("in_progress"));
        call
    }

    pub(super) fn piece(&mut self, text: &str, pen: &mut Pen) {
        if text.is_empty() {
            return;
        }
        self.arguments.push_str(text);
        if !pen.is_silent() {
            let kind = match self.free {
                true => "response.custom_tool_call_input.delta",
                false => "response.function_call_arguments.delta",
            };
            pen.event(kind, &format!("{},\"delta\":{}", self.place(), quote(text)));
        }
    }

    fn place(&self) -> String {
        format!("\"item_id\":\"{}\",\"output_index\":{}", self.id, self.at)
    }

    fn told(&self, status: &str) -> String {
        let (id, call_id, name) = (&self.id, quote(&self.call_id), quote(&self.name));
        let text = quote(&self.arguments);
        match self.free {
            true => format!(
                r#"{{"id":"{id}","type":"custom_tool_call","status":"{status}","call_id":{call_id},"name":{name},"input":{text}}}"#
            ),
            false => format!(
                r#"{{"id":"{id}","type":"function_call","status":"{status}","call_id":{call_id},"name":{name},"arguments":{text}}}"#
            ),
        }
    }

    pub(super) fn end(self, ending: Ending, pen: &mut Pen) -> (usize, String) {
        let (place, text) = (self.place(), quote(&self.arguments));
        match self.free {
            true => pen.event("response.custom_tool_call_input.done", &format!("{place},\"input\":{text}")),
            false => {
                let name = quote(&self.name);
                pen.event(
                    "response.function_call_arguments.done",
                    &format!("{place},\"name\":{name},\"arguments\":{text}"),
                );
            }
        }
        let item = self.told(ending.status());
        done(pen, self.at, &item);
        (self.at, item)
    }
}

fn added(pen: &mut Pen, at: usize, item: &str) {
    pen.event("response.output_item.added", &format!("\"output_index\":{at},\"item\":{item}"));
}

fn done(pen: &mut Pen, at: usize, item: &str) {
    pen.event("response.output_item.done", &format!("\"output_index\":{at},\"item\":{item}"));
}

/// `{"type":"url_citation","url_citation":{…}}` without its inner envelope. Other kinds name files of a provider, and are left out.
fn annotation(raw: &str) -> Option<String> {
    let told: Value = serde_json::from_str(raw).ok()?;
    let cited = &told["url_citation"];
    let url = cited["url"].as_str()?;
    let title = cited["title"].as_str().unwrap_or(url);
    let (start, end) = (cited["start_index"].as_u64().unwrap_or(0), cited["end_index"].as_u64().unwrap_or(0));
    let flat = json!({"type": "url_citation", "url": url, "title": title, "start_index": start, "end_index": end});
    Some(flat.to_string())
}
