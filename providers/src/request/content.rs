//! Reads messages and what is in them: every text with its place, and what a target must be able to do with them.

use super::names::refuse_lookalike;
use super::read::{LEAST_NUMBER, Read, Reader, Sort, wrong};
use crate::json::{Kind, below, beneath, element_of, is_word, unescape};

const IN_MESSAGE: [&str; 8] =
    ["role", "content", "refusal", "reasoning_content", "reasoning", "tool_calls", "function_call", "name"];

const IN_PART: [&str; 15] = [
    "type",
    "text",
    "refusal",
    "thinking",
    "reasoning",
    "title",
    "context",
    "content",
    "input",
    "source",
    "data",
    "image_url",
    "input_audio",
    "file",
    "url",
];

const IN_CALL: [&str; 4] = ["function", "arguments", "name", "input"];

/// Where strings are met that are no texts of the conversation.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// In an image, a sound or a file.
    Media,
    /// In a member that is not known here.
    Unknown,
}

/// Whether a string is what an image, a sound or a file holds, in base64: long, and nothing that a detector could read.
fn is_payload(name: &str, raw: &str, held: Held) -> bool {
    const LONG: usize = 256;
    let base64 = |text: &str| text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=_-\\".contains(&b));
    if let Some((head, data)) = raw.strip_prefix("data:").and_then(|rest| rest.split_once(',')) {
        return head.len() < LONG && head.ends_with(";base64") && base64(data);
    }
    let of_a_payload = name == "data" || name == "file_data";
    of_a_payload && (held == Held::Media || raw.len() > LONG) && base64(raw)
}

/// Whether a sound is given by its address, as some servers take it in the place of its bytes.
fn is_fetched(sound: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Sound<'a> {
        #[serde(borrow, default)]
        data: Option<&'a serde_json::value::RawValue>,
    }
    let sound = serde_json::from_str::<Sound<'_>>(sound);
    sound.is_ok_and(|it| it.data.is_some_and(|data| unescape(data.get()).contains("://")))
}

/// Whether what has this role is the app's word, and nobody's in the conversation.
pub(super) fn is_the_apps(role: &str) -> bool {
    matches!(role, "system" | "developer")
}

impl Reader<'_> {
    pub(super) fn messages(&mut self) -> Read<()> {
        if !self.expect("messages", Kind::Array, "an array of messages")? {
            return Ok(());
        }
        let mut walk = self.scanner.array()?;
        let mut i = 0;
        while self.scanner.element(&mut walk)? {
            let place = format!("messages[{i}]");
            if self.scanner.peek()? != Kind::Object {
                return Err(wrong(&place, "an object"));
            }
            self.message(&place)?;
            i += 1;
        }
        self.view.messages += i;
        Ok(())
    }

    fn message(&mut self, place: &str) -> Read<()> {
        let (first, mut instructs) = (self.view.texts.len(), false);
        let mut walk = self.scanner.object()?;
        while let Some(key) = self.scanner.member(&mut walk, place)? {
            refuse_lookalike(&key, &IN_MESSAGE, place)?;
            let here = below(place, &key.name);
            match &*key.name {
                "role" => {
                    let role = self.string(&here)?;
                    instructs = role.as_deref().is_some_and(is_the_apps);
                    self.view.other_bytes += role.map_or(0, |it| it.len() as u64);
                }
                "name" => self.unknown(&here, "")?,
                "tool_call_id" | "id" => self.id(&here)?,
                "content" => self.content(&here).map(drop)?,
                "refusal" | "reasoning_content" | "reasoning" => self.text(&here)?,
                "tool_calls" => self.tool_calls(&here)?,
                "function_call" => self.call(&here)?,
                _ => self.unknown(&beneath(place, &key.name), &key.name)?,
            }
        }
        self.instructs_since(first, instructs);
        Ok(())
    }

    /// Remembers which texts tell the model what to be.
    pub(super) fn instructs_since(&mut self, first: usize, instructs: bool) {
        if instructs && first < self.view.texts.len() {
            while self.view.instructions.last().is_some_and(|within| within.start >= first) {
                self.view.instructions.pop();
            }
            self.view.instructions.push(first..self.view.texts.len());
        }
    }

    /// A string, or parts. False if null.
    pub(super) fn content(&mut self, place: &str) -> Read<bool> {
        match self.scanner.peek()? {
            Kind::Null => self.scanner.skip().map(|_| false),
            Kind::String => self.text(place).map(|()| true),
            Kind::Array => {
                let mut walk = self.scanner.array()?;
                let mut i = 0;
                while self.scanner.element(&mut walk)? {
                    self.part(&element_of(place, i))?;
                    i += 1;
                }
                Ok(true)
            }
            _ => Err(wrong(place, "a string or an array of parts")),
        }
    }

    /// One part or block. Its type may come after its text, so texts are taken whatever the type says.
    fn part(&mut self, place: &str) -> Read<()> {
        match self.scanner.peek()? {
            Kind::String => return self.text(place),
            Kind::Object => {}
            _ => return Err(wrong(place, "an object")),
        }
        let mut walk = self.scanner.object()?;
        while let Some(key) = self.scanner.member(&mut walk, place)? {
            refuse_lookalike(&key, &IN_PART, place)?;
            let here = below(place, &key.name);
            match &*key.name {
                "type" => self.part_type(&here)?,
                "text" | "refusal" | "thinking" | "reasoning" | "title" | "context" => self.text(&here)?,
                "content" => match self.scanner.peek()? {
                    // A tool result's error is an object; its strings are texts too.
                    Kind::Object => self.strings_within(&here)?,
                    _ => self.content(&here).map(drop)?,
                },
                "input" => self.strings_within(&here)?,
                "source" => self.source(&here)?,
                "image_url" | "input_audio" | "file" => {
                    let start = self.scanner.here();
                    self.strings_aside(&here, "", Held::Media)?;
                    let bytes = (self.scanner.end() - start) as u64;
                    if key.name == "input_audio" && is_fetched(&self.scanner.text()[start..self.scanner.end()]) {
                        self.view.features.documents = true;
                    }
                    *(if key.name == "image_url" { &mut self.view.image_bytes } else { &mut self.view.other_bytes }) +=
                        bytes;
                }
                "id" | "tool_use_id" | "name" => self.id(&here)?,
                "file_id" => {
                    self.kept_file(&here)?;
                    self.id(&here)?;
                }
                // How long they are no address tells: only the context bounds them, as with documents.
                "audio_url" | "video_url" | "video" => {
                    self.view.features.documents = true;
                    self.unknown(&here, &key.name)?;
                }
                "cache_control" => self.other()?,
                _ => self.unknown(&beneath(place, &key.name), &key.name)?,
            }
        }
        Ok(())
    }

    fn part_type(&mut self, place: &str) -> Read<()> {
        let Some(kind) = self.string(place)? else { return Ok(()) };
        let features = &mut self.view.features;
        match &*kind {
            "image" | "image_url" | "input_image" => {
                features.images = true;
                features.image_count += 1;
            }
            "input_audio" | "audio" => features.audio = true,
            "file" | "document" | "input_file" | "container_upload" | "video_url" | "video" => {
                features.documents = true
            }
            _ => {}
        }
        Ok(())
    }

    /// Where an image or a document is. Plain-text data is a text; its type may come after it.
    fn source(&mut self, place: &str) -> Read<()> {
        if self.scanner.peek()? != Kind::Object {
            // A search result's source is a string.
            return self.strings_aside(place, "", Held::Media);
        }
        let (mut data, mut kind) = (None, None);
        let mut walk = self.scanner.object()?;
        while let Some(key) = self.scanner.member(&mut walk, place)? {
            refuse_lookalike(&key, &IN_PART, place)?;
            let here = below(place, &key.name);
            match &*key.name {
                "type" => kind = self.string(&here)?,
                "data" if self.scanner.peek()? == Kind::String => data = Some((here, self.scanner.string()?)),
                "content" => self.content(&here).map(drop)?,
                name => {
                    if name == "file_id" {
                        self.kept_file(&here)?;
                    }
                    self.strings_aside(&beneath(place, name), "", Held::Media)?;
                }
            }
        }
        match (data, kind.as_deref()) {
            (Some((_, span)), Some("base64")) => self.view.image_bytes += span.len() as u64,
            (Some((place, span)), _) => self.note(&place, span, Sort::Said)?,
            _ => {}
        }
        Ok(())
    }

    fn tool_calls(&mut self, place: &str) -> Read<()> {
        if !self.expect(place, Kind::Array, "an array")? {
            return Ok(());
        }
        let mut walk = self.scanner.array()?;
        let mut i = 0;
        while self.scanner.element(&mut walk)? {
            self.call(&element_of(place, i))?;
            i += 1;
        }
        Ok(())
    }

    /// A tool call, a function call, or the `function` or `custom` inside a tool call.
    fn call(&mut self, place: &str) -> Read<()> {
        if !self.expect(place, Kind::Object, "an object")? {
            return Ok(());
        }
        let mut walk = self.scanner.object()?;
        while let Some(key) = self.scanner.member(&mut walk, place)? {
            refuse_lookalike(&key, &IN_CALL, place)?;
            let here = below(place, &key.name);
            match &*key.name {
                "function" | "custom" => self.call(&here)?,
                "arguments" | "input" => self.text(&here)?,
                "id" | "name" | "type" => self.id(&here)?,
                _ => self.unknown(&beneath(place, &key.name), &key.name)?,
            }
        }
        Ok(())
    }

    pub(super) fn prediction(&mut self) -> Read<()> {
        if !self.expect("prediction", Kind::Object, "an object")? {
            return Ok(());
        }
        let mut walk = self.scanner.object()?;
        while let Some(key) = self.scanner.member(&mut walk, "prediction")? {
            refuse_lookalike(&key, &["content", "type"], "prediction")?;
            match &*key.name {
                "content" => self.content("prediction.content").map(drop)?,
                _ => self.unknown(&beneath("prediction", &key.name), &key.name)?,
            }
        }
        Ok(())
    }

    /// Every string value inside, as texts, and the names and numbers beside them; what lies between is billed too.
    pub(super) fn strings_within(&mut self, place: &str) -> Read<()> {
        let (start, before) = (self.scanner.here(), self.view.texts.len());
        self.strings_below(place)?;
        let said = self.view.texts[before..].iter().filter(|it| it.sort == Sort::Said);
        let texts: usize = said.map(|it| it.span.len()).sum();
        self.view.other_bytes += (self.scanner.end() - start).saturating_sub(texts) as u64;
        Ok(())
    }

    fn strings_below(&mut self, place: &str) -> Read<()> {
        match self.scanner.peek()? {
            Kind::String => self.text(place),
            Kind::Array => {
                let mut walk = self.scanner.array()?;
                let mut i = 0;
                while self.scanner.element(&mut walk)? {
                    match self.scanner.peek()? {
                        // An array of numbers may be long; their places are made only when they are kept.
                        Kind::Number => {
                            let span = self.scanner.skip()?;
                            if span.len() >= LEAST_NUMBER {
                                self.note(&element_of(place, i), span, Sort::Aside)?;
                            }
                        }
                        Kind::Bool | Kind::Null => self.scanner.skip().map(drop)?,
                        _ => self.strings_below(&element_of(place, i))?,
                    }
                    i += 1;
                }
                Ok(())
            }
            Kind::Object => {
                let mut walk = self.scanner.object()?;
                while let Some(key) = self.scanner.member(&mut walk, place)? {
                    self.name(place, &key)?;
                    self.strings_below(&beneath(place, &key.name))?;
                }
                Ok(())
            }
            Kind::Number => {
                let span = self.scanner.skip()?;
                if span.len() >= LEAST_NUMBER {
                    self.note(place, span, Sort::Aside)?;
                }
                Ok(())
            }
            _ => self.scanner.skip().map(drop),
        }
    }

    /// A member that is not known here: billed by its bytes, and its strings and names are read as they will be sent.
    pub(super) fn unknown(&mut self, place: &str, name: &str) -> Read<()> {
        let start = self.scanner.here();
        self.strings_aside(place, name, Held::Unknown)?;
        self.view.other_bytes += (self.scanner.end() - start) as u64;
        Ok(())
    }

    /// What links a call to its result or names a tool. It is no text unless it looks like one.
    pub(super) fn id(&mut self, place: &str) -> Read<()> {
        let start = self.scanner.here();
        let span = self.scanner.skip()?;
        self.view.other_bytes += (self.scanner.end() - start) as u64;
        let value = &self.scanner.text()[span.clone()];
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"\"_-.:".contains(&b);
        if value.starts_with('"') && !(value.len() <= 128 && value.bytes().all(plain)) {
            self.note(place, span, Sort::Aside)?;
        }
        Ok(())
    }

    /// Strings and names at any depth, repeated members included. `name` is that of the member whose value comes.
    pub(super) fn strings_aside(&mut self, place: &str, name: &str, held: Held) -> Read<()> {
        match self.scanner.peek()? {
            Kind::String => {
                let span = self.scanner.string()?;
                let raw = &self.scanner.text()[span.start + 1..span.end - 1];
                let is_kind = name == "type" && is_word(raw, 64);
                if !is_kind && !is_payload(name, raw, held) {
                    self.note(place, span, Sort::Aside)?;
                }
            }
            Kind::Array => {
                let mut walk = self.scanner.array()?;
                let mut i = 0;
                while self.scanner.element(&mut walk)? {
                    match self.scanner.peek()? {
                        Kind::Number | Kind::Bool | Kind::Null => self.scanner.skip().map(drop)?,
                        _ => self.strings_aside(&element_of(place, i), name, held)?,
                    }
                    i += 1;
                }
            }
            Kind::Object => {
                let mut walk = self.scanner.object()?;
                while let Some(key) = self.scanner.any_member(&mut walk)? {
                    self.name(place, &key)?;
                    if held == Held::Media && key.name == "file_id" {
                        self.kept_file(&below(place, "file_id"))?;
                    }
                    self.strings_aside(&beneath(place, &key.name), &key.name, held)?;
                }
            }
            Kind::Number | Kind::Bool | Kind::Null => self.scanner.skip().map(drop)?,
        }
        Ok(())
    }

    /// A file that was left at the provider is named next.
    fn kept_file(&mut self, place: &str) -> Read<()> {
        if self.scanner.peek()? != Kind::Null {
            self.view.stored_file.get_or_insert_with(|| place.to_owned());
        }
        Ok(())
    }

    /// Anything else in a message.
    pub(super) fn other(&mut self) -> Read<()> {
        self.view.other_bytes += self.scanner.skip()?.len() as u64;
        Ok(())
    }
}
