//! Writes Anthropic's wire from OpenAI's chunks and whole completions, for callers of `/v1/messages` whose target speaks
//! OpenAI.
//!
//! Usage comes with the closing `message_delta`, `alfred_cost_usd` beside it; `message_start` cannot know it and says 0.
//! Reasoning is shown as a thinking block only to a caller who asked for thinking; to anyone else it is left out, as a block
//! nobody asked for breaks clients. Its signature is that of the provider, which only that one can read; some give none.
//! A block that has ended may still get late pieces of a tool call; they go out under its index, as clients sum by index.

use std::borrow::Cow;
use std::collections::BTreeMap;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::content;
use super::usage;
use super::wire::stop_reason;
use crate::dialect::{Finish, Outlet};
use crate::error::ProviderError;
use crate::request::{End, ModelRequest, Usage};

/// The outlet for one caller of `/v1/messages`.
pub(super) struct AnthropicOutlet {
    wants_thinking: bool,
    started: bool,
    id: String,
    open: Option<Open>,
    next: u64,
    tools: BTreeMap<u64, u64>,
}

/// The block that is being written.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Open {
    index: u64,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thinking,
    Tool(u64),
}

impl AnthropicOutlet {
    pub(super) fn new(request: &ModelRequest) -> AnthropicOutlet {
        let wants_thinking = request.member("thinking").is_some_and(|thinking| !thinking.contains("\"disabled\""));
        AnthropicOutlet { wants_thinking, ..AnthropicOutlet::starting() }
    }

    fn starting() -> AnthropicOutlet {
        AnthropicOutlet {
            wants_thinking: false,
            started: false,
            id: String::new(),
            open: None,
            next: 0,
            tools: BTreeMap::new(),
        }
    }

    fn start(&mut self, id: &str, model: &str, out: &mut String) {
        if std::mem::replace(&mut self.started, true) {
            return;
        }
        self.id = message_id(id);
        let message = json!({"id": self.id, "type": "message", "role": "assistant", "model": model, "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": usage::anthropic(&Usage::default())});
        write(out, "message_start", &json!({"type": "message_start", "message": message}));
    }

    fn say(&mut self, kind: Kind, text: &str, out: &mut String) {
        let (block, delta) = match kind {
            Kind::Thinking => (
                json!({"type": "thinking", "thinking": "", "signature": ""}),
                json!({"type": "thinking_delta", "thinking": text}),
            ),
            _ => (json!({"type": "text", "text": ""}), json!({"type": "text_delta", "text": text})),
        };
        let index = match self.open {
            Some(open) if open.kind == kind => open.index,
            _ => self.open(kind, block, out),
        };
        write_delta(out, index, delta);
    }

    /// What a block of thinking says once it is whole: its signature, or all of it if it is sealed.
    fn sign(&mut self, thought: &Thought<'_>, out: &mut String) {
        if let Some(data) = &thought.data {
            self.open(Kind::Thinking, json!({"type": "redacted_thinking", "data": data}), out);
            return self.close(out);
        }
        if thought.signature.is_empty() {
            return;
        }
        if self.open.is_none_or(|open| open.kind != Kind::Thinking) {
            self.say(Kind::Thinking, &thought.thinking, out);
        }
        let index = self.open.map_or(0, |open| open.index);
        write_delta(out, index, json!({"type": "signature_delta", "signature": thought.signature}));
        self.close(out);
    }

    fn call(&mut self, call: &ToolCall<'_>, out: &mut String) {
        let known = self.tools.get(&call.index).copied();
        let index = known.unwrap_or_else(|| {
            let id = if call.id.is_empty() { tool_id(&self.id, call.index) } else { call.id.clone().into_owned() };
            let block = json!({"type": "tool_use", "id": id, "name": call.function.name, "input": {}});
            let index = self.open(Kind::Tool(call.index), block, out);
            self.tools.insert(call.index, index);
            index
        });
        if !call.function.arguments.is_empty() {
            write_delta(out, index, json!({"type": "input_json_delta", "partial_json": call.function.arguments}));
        }
    }

    fn open(&mut self, kind: Kind, block: Value, out: &mut String) -> u64 {
        self.close(out);
        let index = self.next;
        self.next += 1;
        self.open = Some(Open { index, kind });
        write(
            out,
            "content_block_start",
            &json!({"type": "content_block_start", "index": index, "content_block": block}),
        );
        index
    }

    fn close(&mut self, out: &mut String) {
        if let Some(open) = self.open.take() {
            write(out, "content_block_stop", &json!({"type": "content_block_stop", "index": open.index}));
        }
    }
}

impl Outlet for AnthropicOutlet {
    fn chunk(&mut self, chunk: &str) -> Result<Bytes, ProviderError> {
        let chunk: Chunk<'_> =
            serde_json::from_str(chunk).map_err(|_| ProviderError::broken("a chunk of the answer cannot be read"))?;
        let mut out = String::new();
        self.start(&chunk.id, &chunk.model, &mut out);
        for choice in chunk.choices.iter().filter(|choice| choice.index == 0) {
            let Some(delta) = &choice.delta else { continue };
            if let Some(text) = delta.reasoning().filter(|_| self.wants_thinking) {
                self.say(Kind::Thinking, text, &mut out);
            }
            let thoughts = if self.wants_thinking { delta.thoughts() } else { Vec::new() };
            thoughts.iter().for_each(|thought| self.sign(thought, &mut out));
            for text in [&delta.content, &delta.refusal].into_iter().flatten().filter(|text| !text.is_empty()) {
                self.say(Kind::Text, text, &mut out);
            }
            for call in delta.tool_calls.iter().flatten() {
                self.call(call, &mut out);
            }
        }
        Ok(Bytes::from(out))
    }

    fn end(mut self: Box<Self>, finish: Finish) -> End {
        let mut head = String::new();
        self.start("", "", &mut head);
        self.close(&mut head);
        let stop = stop_reason(finish.reason.as_deref(), !self.tools.is_empty());
        let reported = finish.usage;
        End::new(finish.reason, move |cost, counted| {
            let mut told = usage::anthropic(&reported.or(counted.copied()).unwrap_or_default());
            if let Some(cost) = cost {
                told["alfred_cost_usd"] = Value::String(cost.to_owned());
            }
            let mut out = head.clone();
            let delta = json!({"stop_reason": stop, "stop_sequence": null});
            write(&mut out, "message_delta", &json!({"type": "message_delta", "delta": delta, "usage": told}));
            write(&mut out, "message_stop", &json!({"type": "message_stop"}));
            Bytes::from(out)
        })
    }

    fn whole(self: Box<Self>, body: Bytes, finish: Finish) -> Result<End, ProviderError> {
        let unreadable = || ProviderError::broken("the answer cannot be read");
        let completion: Completion<'_> = serde_json::from_slice(&body).map_err(|_| unreadable())?;
        let choice = completion.choices.iter().find(|choice| choice.index == 0).ok_or_else(unreadable)?;
        let answer = choice.message.as_ref().ok_or_else(unreadable)?;
        let id = message_id(&completion.id);

        let mut blocks = Vec::new();
        let thoughts = answer.thoughts();
        for thought in thoughts.iter().filter(|_| self.wants_thinking) {
            blocks.push(match &thought.data {
                Some(data) => block(&json!({"type": "redacted_thinking", "data": data})),
                None => {
                    block(&json!({"type": "thinking", "thinking": thought.thinking, "signature": thought.signature}))
                }
            });
        }
        let unsigned = self.wants_thinking && thoughts.iter().all(|thought| thought.data.is_some());
        if let Some(text) = answer.reasoning().filter(|_| unsigned) {
            blocks.push(block(&json!({"type": "thinking", "thinking": text, "signature": ""})));
        }
        for text in [&answer.content, &answer.refusal].into_iter().flatten().filter(|text| !text.is_empty()) {
            blocks.push(block(&json!({"type": "text", "text": text})));
        }
        let calls = answer.tool_calls.as_deref().unwrap_or_default();
        for (index, call) in calls.iter().enumerate() {
            let call_id = if call.id.is_empty() { tool_id(&id, index as u64) } else { call.id.clone().into_owned() };
            let input = match call.function.arguments.trim() {
                "" => content::empty_object(),
                text => RawValue::from_string(text.to_owned())
                    .ok()
                    .filter(|input| input.get().starts_with('{'))
                    .ok_or_else(|| ProviderError::broken("the arguments of a tool call are not a JSON object"))?,
            };
            let (call_id, name) = (json!(call_id), json!(call.function.name));
            blocks.push(content::raw(&format!(
                r#"{{"type":"tool_use","id":{call_id},"name":{name},"input":{}}}"#,
                input.get()
            )));
        }

        let stop = stop_reason(choice.finish_reason.as_deref().or(finish.reason.as_deref()), !calls.is_empty());
        let (id, model) = (json!(id), json!(completion.model));
        let content: Vec<&str> = blocks.iter().map(|block| block.get()).collect();
        let head = format!(
            r#"{{"id":{id},"type":"message","role":"assistant","model":{model},"content":[{}],"stop_reason":"{stop}","stop_sequence":null,"usage":"#,
            content.join(",")
        );
        let reported = finish.usage;
        Ok(End::new(finish.reason, move |_, counted| {
            let told = usage::anthropic(&reported.or(counted.copied()).unwrap_or_default());
            Bytes::from(format!("{head}{told}}}"))
        }))
    }
}

/// The beginning of a message of which nothing is known.
pub(crate) fn begin() -> String {
    let mut out = String::new();
    AnthropicOutlet::starting().start("", "", &mut out);
    out
}

/// What ends a stream that is cut: the block that is `open`, the message for its length, with the note.
pub(crate) fn cut(
    begin: Option<&str>,
    open: Option<u64>,
    note: &str,
    counted: Option<&Usage>,
    cost: Option<&str>,
) -> Bytes {
    let mut out = begin.unwrap_or_default().to_owned();
    if let Some(index) = open {
        write(&mut out, "content_block_stop", &json!({"type": "content_block_stop", "index": index}));
    }
    let mut told = usage::anthropic(&counted.copied().unwrap_or_default());
    if let Some(cost) = cost {
        told["alfred_cost_usd"] = Value::String(cost.to_owned());
    }
    let note: Value = serde_json::from_str(note).unwrap_or_default();
    let delta = json!({"stop_reason": "max_tokens", "stop_sequence": null});
    write(&mut out, "message_delta", &json!({"type": "message_delta", "delta": delta, "usage": told, "alfred": note}));
    write(&mut out, "message_stop", &json!({"type": "message_stop"}));
    Bytes::from(out)
}

/// What is read of a chunk.
#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default, deserialize_with = "or_empty")]
    id: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "or_empty")]
    model: Cow<'a, str>,
    #[serde(borrow, default)]
    choices: Vec<Choice<'a>>,
}

/// What is read of a whole completion.
type Completion<'a> = Chunk<'a>;

#[derive(Deserialize)]
struct Choice<'a> {
    #[serde(default)]
    index: u64,
    #[serde(borrow)]
    delta: Option<Said<'a>>,
    #[serde(borrow)]
    message: Option<Said<'a>>,
    #[serde(borrow)]
    finish_reason: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Said<'a> {
    #[serde(borrow)]
    content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    refusal: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reasoning_content: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reasoning: Option<Cow<'a, str>>,
    #[serde(borrow)]
    tool_calls: Option<Vec<ToolCall<'a>>>,
    #[serde(borrow)]
    thinking_blocks: Option<&'a RawValue>,
}

/// A finished block of thinking.
#[derive(Deserialize)]
struct Thought<'a> {
    #[serde(borrow, default, deserialize_with = "or_empty")]
    thinking: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "or_empty")]
    signature: Cow<'a, str>,
    /// Of one that is sealed.
    #[serde(borrow)]
    data: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct ToolCall<'a> {
    #[serde(default)]
    index: u64,
    #[serde(borrow, default, deserialize_with = "or_empty")]
    id: Cow<'a, str>,
    #[serde(borrow, default)]
    function: Function<'a>,
}

#[derive(Default, Deserialize)]
struct Function<'a> {
    #[serde(borrow, default, deserialize_with = "or_empty")]
    name: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "or_empty")]
    arguments: Cow<'a, str>,
}

impl Said<'_> {
    /// Blocks as our own decoders write them; what a server may mean otherwise by the name is passed by.
    fn thoughts(&self) -> Vec<Thought<'_>> {
        self.thinking_blocks.and_then(|raw| serde_json::from_str(raw.get()).ok()).unwrap_or_default()
    }

    fn reasoning(&self) -> Option<&str> {
        let said = self.reasoning_content.as_deref().or(self.reasoning.as_deref());
        said.filter(|text| !text.is_empty())
    }
}

/// Later pieces of a call may say `null` for what the first one told.
fn or_empty<'de: 'a, 'a, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Cow<'a, str>, D::Error> {
    #[derive(Deserialize)]
    struct Text<'a>(#[serde(borrow)] Cow<'a, str>);
    Ok(Option::<Text<'a>>::deserialize(deserializer)?.map(|text| text.0).unwrap_or_default())
}

fn message_id(id: &str) -> String {
    let id = id.strip_prefix("chatcmpl-").unwrap_or(id);
    if id.starts_with("msg_") { id.to_owned() } else { format!("msg_{id}") }
}

/// For servers that give their tool calls no ids. Short and plain, as other servers must take it later.
fn tool_id(message: &str, index: u64) -> String {
    let plain: Vec<char> = message.trim_start_matches("msg_").chars().filter(char::is_ascii_alphanumeric).collect();
    let tail: String = plain[plain.len().saturating_sub(24)..].iter().collect();
    format!("toolu_{tail}_{index}")
}

fn block(value: &Value) -> Box<RawValue> {
    content::raw(&value.to_string())
}

fn write_delta(out: &mut String, index: u64, delta: Value) {
    let event = json!({"type": "content_block_delta", "index": index, "delta": delta});
    write(out, "content_block_delta", &event);
}

fn write(out: &mut String, name: &str, event: &Value) {
    out.push_str("event: ");
    out.push_str(name);
    out.push_str("\ndata: ");
    out.push_str(&event.to_string());
    out.push_str("\n\n");
}
