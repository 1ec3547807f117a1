//! JSON that grows: the pieces of a stream put together again, byte for byte where nothing has to be joined.
//!
//! Strings are kept as they are escaped, so numbers keep their spelling and a surrogate pair that was cut in two is whole again.

use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;

/// Objects and lists further down are taken as they are: nothing down there is told in pieces.
const DEEPEST: usize = 8;
/// More than any answer has of anything that is told in pieces.
const MOST_ELEMENTS: usize = 10_000;

/// A value under construction.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    /// The inside of a string, escaped.
    Text(String),
    Object(Members),
    List(Vec<Node>),
    /// Anything else, as it came.
    Raw(String),
}

/// An object under construction, in the order in which its members came.
#[derive(Debug, Clone, Default)]
pub(crate) struct Members(Vec<(String, Node)>);

/// How pieces are joined, by the name of the member that holds them.
pub(crate) struct Rules {
    /// Strings that are told in pieces.
    pub joined: &'static [&'static str],
    /// Lists whose elements are told in pieces, by their `index` or, without one, by their place.
    pub indexed: &'static [&'static str],
}

/// The members of an object as they came.
pub(crate) struct Raw<'a>(pub Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Raw<'a> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Raw<'a>, D::Error> {
        struct All;
        impl<'de> Visitor<'de> for All {
            type Value = Vec<(String, &'de RawValue)>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut all = Vec::new();
                while let Some(member) = map.next_entry()? {
                    all.push(member);
                }
                Ok(all)
            }
        }
        deserializer.deserialize_map(All).map(Raw)
    }
}

impl Node {
    /// A value that nothing was added to yet.
    pub(crate) fn of(raw: &str, rules: &Rules) -> Node {
        let mut node = None;
        add(&mut node, "", raw, rules, 0);
        node.expect("every value becomes a node")
    }

    pub(crate) fn is_null(&self) -> bool {
        matches!(self, Node::Raw(raw) if raw == "null")
    }

    pub(crate) fn object(&mut self) -> Option<&mut Members> {
        if let Node::Object(members) = self { Some(members) } else { None }
    }

    pub(crate) fn list(&mut self) -> Option<&mut Vec<Node>> {
        if let Node::List(list) = self { Some(list) } else { None }
    }

    pub(crate) fn write(&self, out: &mut String) {
        match self {
            Node::Raw(raw) => out.push_str(raw),
            Node::Text(inside) => {
                out.push('"');
                out.push_str(inside);
                out.push('"');
            }
            Node::Object(members) => members.write(out),
            Node::List(list) => {
                out.push('[');
                for (i, node) in list.iter().enumerate() {
                    if i > 0 {
                        out.push(',');
                    }
                    node.write(out);
                }
                out.push(']');
            }
        }
    }

    /// Its `index`, if it is an object that has one.
    fn index(&self) -> Option<u64> {
        let Node::Object(members) = self else { return None };
        match members.get("index") {
            Some(Node::Raw(raw)) => raw.parse().ok(),
            _ => None,
        }
    }
}

impl Members {
    pub(crate) fn get(&self, name: &str) -> Option<&Node> {
        self.0.iter().find(|it| it.0 == name).map(|it| &it.1)
    }

    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Node> {
        self.0.iter_mut().find(|it| it.0 == name).map(|it| &mut it.1)
    }

    pub(crate) fn set(&mut self, name: &str, node: Node) {
        match self.get_mut(name) {
            Some(old) => *old = node,
            None => self.0.push((name.to_owned(), node)),
        }
    }

    pub(crate) fn remove(&mut self, name: &str) -> Option<Node> {
        let at = self.0.iter().position(|it| it.0 == name)?;
        Some(self.0.remove(at).1)
    }

    /// Gives a member another name, in its place.
    pub(crate) fn rename(&mut self, name: &str, new: &str) {
        if let Some(member) = self.0.iter_mut().find(|it| it.0 == name) {
            new.clone_into(&mut member.0);
        }
    }

    /// Adds what one piece says of a member.
    pub(crate) fn add(&mut self, name: &str, raw: &str, rules: &Rules) {
        self.add_at(name, raw, rules, 0);
    }

    fn add_at(&mut self, name: &str, raw: &str, rules: &Rules, depth: usize) {
        match self.0.iter().position(|it| it.0 == name) {
            Some(at) => {
                let mut node = Some(std::mem::replace(&mut self.0[at].1, Node::Raw(String::new())));
                add(&mut node, name, raw, rules, depth);
                self.0[at].1 = node.expect("adding takes nothing away");
            }
            None => {
                let mut node = None;
                add(&mut node, name, raw, rules, depth);
                self.0.extend(node.map(|node| (name.to_owned(), node)));
            }
        }
    }

    pub(crate) fn write(&self, out: &mut String) {
        out.push('{');
        for (i, (name, node)) in self.0.iter().enumerate() {
            if i > 0 {
                out.push(',');
            }
            out.push_str(&crate::json::quote(name));
            out.push(':');
            node.write(out);
        }
        out.push('}');
    }
}

fn add(node: &mut Option<Node>, name: &str, raw: &str, rules: &Rules, depth: usize) {
    let raw = raw.trim();
    let deep = depth >= DEEPEST;
    match (raw.as_bytes().first(), node) {
        // Null takes nothing back.
        (Some(b'n'), Some(_)) => {}
        (Some(b'"'), node) => {
            let inside = &raw[1..raw.len() - 1];
            match node {
                Some(Node::Text(text)) if rules.joined.contains(&name) => text.push_str(inside),
                // Later pieces may be silent about what the first one said.
                Some(Node::Text(_)) if inside.is_empty() => {}
                _ => *node = Some(Node::Text(inside.to_owned())),
            }
        }
        (Some(b'{'), node) if !deep => {
            let Ok(Raw(members)) = serde_json::from_str(raw) else { return };
            let mut object = match node.take() {
                Some(Node::Object(object)) => object,
                _ => Members::default(),
            };
            for (name, value) in members {
                object.add_at(&name, value.get(), rules, depth + 1);
            }
            *node = Some(Node::Object(object));
        }
        (Some(b'['), node) if !deep => {
            let Ok(elements) = serde_json::from_str::<Vec<&RawValue>>(raw) else { return };
            let mut list = match node.take() {
                Some(Node::List(list)) => list,
                _ => Vec::new(),
            };
            for (place, element) in elements.into_iter().enumerate() {
                add_element(&mut list, place as u64, name, element.get(), rules, depth);
            }
            *node = Some(Node::List(list));
        }
        (_, node) => *node = Some(Node::Raw(raw.to_owned())),
    }
}

fn add_element(list: &mut Vec<Node>, place: u64, name: &str, raw: &str, rules: &Rules, depth: usize) {
    #[derive(Deserialize)]
    struct At {
        #[serde(default)]
        index: Option<u64>,
    }
    if !rules.indexed.contains(&name) {
        return list.push(Node::Raw(raw.to_owned()));
    }
    let index = serde_json::from_str::<At>(raw).ok().and_then(|at| at.index).unwrap_or(place);
    let found = list.iter().position(|node| node.index() == Some(index));
    if found.is_none() && list.len() >= MOST_ELEMENTS {
        return;
    }
    let mut node = found.map(|at| std::mem::replace(&mut list[at], Node::Raw(String::new())));
    add(&mut node, "", raw, rules, depth + 1);
    let Some(mut node) = node else { return };
    if let Some(members) = node.object() {
        members.set("index", Node::Raw(index.to_string()));
    }
    match found {
        Some(at) => list[at] = node,
        None => {
            let at = list.iter().position(|other| other.index() > Some(index)).unwrap_or(list.len());
            list.insert(at, node);
        }
    }
}
