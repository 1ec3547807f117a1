//! The items of an output while they come: which one an event is about, and what of it has been told.

use std::collections::HashMap;

use super::wire::{self, Event, Item};
use crate::error::{Class, ProviderError};

/// More items than any answer has.
const MOST_ITEMS: usize = 10_000;
/// Thinking kept until its item is done.
const LONGEST_THINKING: usize = 16 << 20;

/// All items that were heard of.
#[derive(Default)]
pub(super) struct Items {
    open: HashMap<Key, Open>,
    thinking: usize,
}

/// An item by its place, or by its id at servers that leave the place out.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(super) enum Key {
    At(u64),
    Named(String),
}

/// What is known of one item.
pub(super) struct Open {
    pub kind: Kind,
    /// Something of it was told in pieces.
    pub told: bool,
    /// Its citations were told one by one.
    pub cited: bool,
    /// It is done.
    pub closed: bool,
    /// Where its text begins in the content, in characters.
    pub start: u64,
    /// The paragraph of the summary that was told last.
    part: u64,
    pub summary: String,
    pub thought: String,
}

/// What an item is; calls with their place among the calls.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Message,
    Function(u64),
    Custom(u64),
    Reasoning,
}

impl Key {
    /// The item that a delta is about.
    pub(super) fn of(event: &Event<'_>) -> Result<Key, ProviderError> {
        match wire::number(event.output_index) {
            Some(at) => Ok(Key::At(at)),
            None => wire::text(event.item_id).map(|id| Key::Named(id.into_owned())),
        }
    }

    /// The item that an event brings.
    pub(super) fn of_item(event: &Event<'_>, item: &Item<'_>) -> Key {
        match wire::number(event.output_index) {
            Some(at) => Key::At(at),
            None => Key::Named(item.id.as_deref().unwrap_or_default().to_owned()),
        }
    }
}

impl Items {
    /// Nothing was announced.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn get(&mut self, key: &Key) -> Option<&mut Open> {
        self.open.get_mut(key)
    }

    /// An item that begins here.
    pub(super) fn begin(&mut self, key: Key, kind: Kind, start: u64) -> Result<&mut Open, ProviderError> {
        if self.open.len() >= MOST_ITEMS {
            return Err(ProviderError::new(Class::TooLarge, "the provider's answer has more items than can be kept"));
        }
        let (summary, thought) = (String::new(), String::new());
        let open = Open { kind, told: false, cited: false, closed: false, start, part: 0, summary, thought };
        Ok(self.open.entry(key).insert_entry(open).into_mut())
    }

    /// The item of a delta, begun now if it was not announced; none if it is of another kind.
    pub(super) fn or_begin(&mut self, key: Key, kind: Kind, start: u64) -> Result<Option<&mut Open>, ProviderError> {
        if !self.open.contains_key(&key) {
            return self.begin(key, kind, start).map(Some);
        }
        Ok(self.open.get_mut(&key).filter(|open| open.kind == kind))
    }

    /// So much more thinking is to be kept.
    pub(super) fn think(&mut self, bytes: usize) -> Result<(), ProviderError> {
        self.thinking += bytes;
        match self.thinking > LONGEST_THINKING {
            true => Err(ProviderError::new(Class::TooLarge, "the provider's thinking is longer than can be kept")),
            false => Ok(()),
        }
    }
}

impl Open {
    /// Keeps a piece of reasoning and gives it as it is to be told: each part of a summary is a paragraph, which begins with the
    /// first of its text, so that none stands empty.
    pub(super) fn reason(&mut self, piece: &str, part: Option<u64>) -> String {
        let kept = if part.is_some() { &mut self.summary } else { &mut self.thought };
        let part = part.unwrap_or(0);
        let begins = part > self.part && !kept.is_empty();
        self.part = self.part.max(part);
        let told = if begins { format!("\n\n{piece}") } else { piece.to_owned() };
        kept.push_str(&told);
        self.told = true;
        told
    }
}
