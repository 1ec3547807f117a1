//! Puts the events of a stream together into the message that they tell.
//!
//! A delta adds to the member of its block that has its name; `partial_json` becomes the block's `input`, a citation one of its
//! `citations`. Members that nobody here has heard of are kept; of those that are told again the last word stands.

use serde_json::value::RawValue;

use crate::gather::Assembly;
use crate::merge::{Members, Node, Raw, Rules};
use crate::sse::SseEvent;

const RULES: Rules = Rules { joined: &["text", "thinking", "signature", "content", "data"], indexed: &[] };
/// Blocks in one message; more than any has.
const MOST_BLOCKS: usize = 10_000;

#[derive(Default)]
pub(crate) struct MessageAssembly {
    message: Members,
    blocks: Vec<Block>,
}

struct Block {
    index: u64,
    members: Members,
    /// The inside of the string that `input` is told as.
    input: Option<String>,
}

impl Assembly for MessageAssembly {
    fn event(&mut self, event: &SseEvent) {
        let Ok(Raw(members)) = serde_json::from_str::<Raw<'_>>(&event.data) else { return };
        let get = |name: &str| members.iter().find(|it| it.0 == name).map(|it| it.1.get());
        let index = || get("index").and_then(|index| index.parse().ok()).unwrap_or(0);
        match get("type").map(|kind| kind.trim_matches('"')) {
            Some("message_start") => {
                if let Node::Object(message) = Node::of(get("message").unwrap_or("{}"), &RULES) {
                    self.message = message;
                }
            }
            Some("content_block_start") if self.blocks.len() < MOST_BLOCKS => {
                if let Node::Object(members) = Node::of(get("content_block").unwrap_or("{}"), &RULES) {
                    self.blocks.push(Block { index: index(), members, input: None });
                }
            }
            Some("content_block_delta") => {
                let (index, delta) = (index(), get("delta").unwrap_or("{}"));
                if let Some(block) = self.blocks.iter_mut().rev().find(|block| block.index == index) {
                    block.add(delta);
                }
            }
            Some("message_delta") => {
                for (name, value) in &members {
                    match &**name {
                        "type" => {}
                        "delta" => {
                            let Ok(Raw(delta)) = serde_json::from_str::<Raw<'_>>(value.get()) else { continue };
                            delta.iter().for_each(|(name, value)| self.message.add(name, value.get(), &RULES));
                        }
                        _ => self.message.add(name, value.get(), &RULES),
                    }
                }
            }
            Some("message_stop") => {
                let more = members.iter().filter(|(name, _)| name != "type");
                more.for_each(|(name, value)| self.message.add(name, value.get(), &RULES));
            }
            _ => {}
        }
    }

    fn body(&mut self, cut: bool, _strict: bool) -> String {
        // A call of a tool that was not told to its end is no call.
        let whole: Vec<Node> = self.blocks.drain(..).filter_map(|block| block.end(cut)).collect();
        self.message.set("content", Node::List(whole));
        if self.message.get("type").is_none() {
            self.message.set("type", Node::Text("message".to_owned()));
        }
        if cut {
            self.message.set("stop_reason", Node::Text("max_tokens".to_owned()));
        }
        let mut body = String::new();
        self.message.write(&mut body);
        body
    }
}

impl Block {
    fn add(&mut self, delta: &str) {
        let Ok(Raw(members)) = serde_json::from_str::<Raw<'_>>(delta) else { return };
        for (name, value) in members {
            match &*name {
                "type" => {}
                "partial_json" => {
                    let piece = value.get().trim_matches('"');
                    // Not trimmed: an escaped quote may stand at either end.
                    let piece = value.get().get(1..value.get().len() - 1).unwrap_or(piece);
                    self.input.get_or_insert_default().push_str(piece);
                }
                "citation" => self.members.add("citations", &format!("[{}]", value.get()), &RULES),
                _ => self.members.add(&name, RawValue::get(value), &RULES),
            }
        }
    }

    /// The block as a whole message has it; none if its input has no end.
    fn end(mut self, cut: bool) -> Option<Node> {
        let input = match &self.input {
            Some(inside) => serde_json::from_str::<String>(&format!("\"{inside}\"")).unwrap_or_default(),
            None => String::new(),
        };
        if !input.is_empty() {
            match serde_json::from_str::<&RawValue>(&input) {
                Ok(input) => self.members.set("input", Node::Raw(input.get().to_owned())),
                Err(_) if cut => return None,
                Err(_) => {}
            }
        }
        Some(Node::Object(self.members))
    }
}
