//! Puts a stream's chunks together into the `chat.completion` that they tell.
//!
//! What is told in pieces is joined, by choice and by call; of every other member the last word stands, so members that nobody here
//! has heard of are kept. Only `obfuscation` is left out: it pads the stream and says nothing.

use serde_json::value::RawValue;

use super::parts;
use crate::gather::Assembly;
use crate::merge::{Members, Node, Raw, Rules};
use crate::sse::SseEvent;

const RULES: Rules = Rules {
    joined: &[
        "arguments",
        "content",
        "data",
        "input",
        "reasoning",
        "reasoning_content",
        "reasoning_text",
        "refusal",
        "text",
        "thinking",
        "transcript",
    ],
    indexed: &["choices", "tool_calls", "thinking_blocks", "reasoning_details"],
};

#[derive(Default)]
pub(crate) struct CompletionAssembly {
    answer: Members,
}

impl Assembly for CompletionAssembly {
    fn event(&mut self, event: &SseEvent) {
        let flat = parts::flattened(&event.data);
        let data = flat.as_deref().unwrap_or(&event.data);
        let Ok(Raw(members)) = serde_json::from_str::<Raw<'_>>(data) else { return };
        for (name, value) in members {
            match &*name {
                "object" => self.answer.set("object", Node::Text("chat.completion".to_owned())),
                "obfuscation" => {}
                _ => self.answer.add(&name, RawValue::get(value), &RULES),
            }
        }
    }

    fn body(&mut self, cut: bool, strict: bool) -> String {
        let answer = &mut self.answer;
        if answer.get("usage").is_some_and(Node::is_null) {
            answer.remove("usage");
        }
        let said = answer.get_mut("choices").and_then(Node::list).is_some_and(|choices| !choices.is_empty());
        if cut && !said {
            answer.add("choices", r#"[{"index":0,"delta":{"role":"assistant","content":""}}]"#, &RULES);
        }
        for choice in answer.get_mut("choices").and_then(Node::list).into_iter().flatten() {
            if let Some(choice) = choice.object() {
                end(choice, cut, strict);
            }
        }
        let mut body = String::new();
        answer.write(&mut body);
        body
    }
}

/// A choice as a whole answer has it.
fn end(choice: &mut Members, cut: bool, strict: bool) {
    choice.rename("delta", "message");
    if choice.get("message").is_none_or(Node::is_null) {
        choice.set("message", Node::Object(Members::default()));
    }
    if let Some(message) = choice.get_mut("message").and_then(Node::object) {
        if message.get("role").is_none() {
            message.set("role", Node::Text("assistant".to_owned()));
        }
        if message.get("content").is_none() {
            message.set("content", Node::Raw("null".to_owned()));
        }
        let calls = message.get_mut("tool_calls").and_then(Node::list);
        if let Some(calls) = calls {
            if cut && strict {
                calls.retain_mut(|call| call.object().is_some_and(is_whole));
            }
            for call in calls {
                // The place in a stream; a whole answer has them in order.
                call.object().map(|call| call.remove("index"));
            }
        }
    }
    let ended = choice.get("finish_reason").is_some_and(|reason| !reason.is_null());
    if !ended {
        let reason = if cut { Node::Text("length".to_owned()) } else { Node::Raw("null".to_owned()) };
        choice.set("finish_reason", reason);
    }
}

/// The arguments of a call have come to their end.
fn is_whole(call: &mut Members) -> bool {
    let arguments = call.get_mut("function").and_then(Node::object).and_then(|it| it.get("arguments"));
    let Some(Node::Text(inside)) = arguments else { return false };
    let text = serde_json::from_str::<String>(&format!("\"{inside}\""));
    text.is_ok_and(|text| serde_json::from_str::<&RawValue>(&text).is_ok())
}
