//! Puts the events of a stream together into the `GenerateContentResponse` that they tell.
//!
//! Texts of one kind that follow each other are joined; a part that says anything else, a signature above all, stays as it came,
//! for signed parts must go back as they were. Of most members the last word stands; quotes and log probabilities add up.

use serde_json::value::RawValue;

use crate::gather::Assembly;
use crate::merge::{Members, Node, Raw, Rules};
use crate::sse::SseEvent;

const RULES: Rules = Rules { joined: &[], indexed: &[] };
/// More candidates than any server gives.
const MOST_CANDIDATES: usize = 128;
/// Members of a candidate whose lists go on with every event.
const ADDED: [&str; 2] = ["citationMetadata", "logprobsResult"];

#[derive(Default)]
pub(crate) struct ResponseAssembly {
    answer: Members,
    candidates: Vec<Candidate>,
}

struct Candidate {
    index: u64,
    members: Members,
    content: Members,
    parts: Vec<Part>,
}

enum Part {
    /// The inside of the string, escaped.
    Text {
        thought: bool,
        inside: String,
    },
    Other(String),
}

impl Assembly for ResponseAssembly {
    fn event(&mut self, event: &SseEvent) {
        let Ok(Raw(members)) = serde_json::from_str::<Raw<'_>>(&event.data) else { return };
        for (name, value) in members {
            if name != "candidates" {
                self.answer.set(&name, Node::Raw(value.get().to_owned()));
                continue;
            }
            // Holds their place.
            self.answer.set("candidates", Node::List(Vec::new()));
            let candidates = serde_json::from_str::<Vec<&RawValue>>(value.get()).unwrap_or_default();
            candidates.iter().for_each(|candidate| self.candidate(candidate.get()));
        }
    }

    fn body(&mut self, cut: bool, _strict: bool) -> String {
        if cut && self.candidates.is_empty() {
            self.candidate(r#"{"content":{"parts":[],"role":"model"}}"#);
        }
        self.candidates.sort_by_key(|candidate| candidate.index);
        if !self.candidates.is_empty() {
            let candidates = self.candidates.drain(..).map(|candidate| candidate.end(cut)).collect();
            self.answer.set("candidates", Node::List(candidates));
        }
        let mut body = String::new();
        self.answer.write(&mut body);
        body
    }
}

impl ResponseAssembly {
    fn candidate(&mut self, raw: &str) {
        let Ok(Raw(members)) = serde_json::from_str::<Raw<'_>>(raw) else { return };
        let index = members.iter().find(|it| it.0 == "index").and_then(|it| it.1.get().parse().ok()).unwrap_or(0);
        let at = match self.candidates.iter().position(|it| it.index == index) {
            Some(at) => at,
            None if self.candidates.len() == MOST_CANDIDATES => return,
            None => {
                let (members, content) = (Members::default(), Members::default());
                self.candidates.push(Candidate { index, members, content, parts: Vec::new() });
                self.candidates.len() - 1
            }
        };
        let candidate = &mut self.candidates[at];
        for (name, value) in members {
            match &*name {
                "content" => candidate.content(value.get()),
                name if ADDED.contains(&name) => candidate.members.add(name, value.get(), &RULES),
                name => candidate.members.set(name, Node::Raw(value.get().to_owned())),
            }
        }
    }
}

impl Candidate {
    fn content(&mut self, raw: &str) {
        // Holds its place.
        self.members.set("content", Node::Raw("{}".to_owned()));
        let Ok(Raw(members)) = serde_json::from_str::<Raw<'_>>(raw) else { return };
        for (name, value) in members {
            if name != "parts" {
                self.content.set(&name, Node::Raw(value.get().to_owned()));
                continue;
            }
            self.content.set("parts", Node::List(Vec::new()));
            let parts = serde_json::from_str::<Vec<&RawValue>>(value.get()).unwrap_or_default();
            parts.iter().for_each(|part| self.part(part.get()));
        }
    }

    fn part(&mut self, raw: &str) {
        let part = Part::of(raw);
        match (self.parts.last_mut(), part) {
            (Some(Part::Text { thought, inside }), Part::Text { thought: same, inside: more }) if *thought == same => {
                inside.push_str(&more);
            }
            (_, part) => self.parts.push(part),
        }
    }

    fn end(mut self, cut: bool) -> Node {
        if !self.parts.is_empty() {
            let parts = self.parts.into_iter().map(|part| Node::Raw(part.write())).collect();
            self.content.set("parts", Node::List(parts));
        }
        if self.members.get("content").is_some() {
            self.members.set("content", Node::Object(self.content));
        }
        if cut && self.members.get("finishReason").is_none() {
            self.members.set("finishReason", Node::Text("MAX_TOKENS".to_owned()));
        }
        Node::Object(self.members)
    }
}

impl Part {
    fn of(raw: &str) -> Part {
        let Ok(Raw(members)) = serde_json::from_str::<Raw<'_>>(raw) else { return Part::Other(raw.to_owned()) };
        let (mut thought, mut text) = (false, None);
        for (name, value) in &members {
            match (&**name, value.get()) {
                ("thought", "true") => thought = true,
                ("thought", "false") => {}
                ("text", quoted) => text = quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')),
                _ => return Part::Other(raw.to_owned()),
            }
        }
        match text {
            Some(inside) => Part::Text { thought, inside: inside.to_owned() },
            None => Part::Other(raw.to_owned()),
        }
    }

    fn write(self) -> String {
        match self {
            Part::Text { thought: false, inside } => format!("{{\"text\":\"{inside}\"}}"),
            Part::Text { thought: true, inside } => format!("{{\"text\":\"{inside}\",\"thought\":true}}"),
            Part::Other(raw) => raw,
        }
    }
}
