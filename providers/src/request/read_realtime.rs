//! Reads an event of a realtime client into its view: which texts leave with it, and what of it would be billed beyond tokens.
//! Sound is passed unread, and settings are the app's own; all else that is a string is a text.

use super::names::{is_the_clients_tool, refuse_lookalike};
use super::read::{Member, Read, Reader, invalid, wrong};
use super::{BadRequest, Outside};
use crate::json::{Kind, beneath, element_of};

/// Outermost members that are read here.
const READ: [&str; 5] = ["type", "session", "response", "item", "audio"];
/// Members of a session or a response that are read here.
const GOVERNED: [&str; 10] = [
    "type",
    "model",
    "instructions",
    "tools",
    "prompt",
    "input",
    "audio",
    "input_audio_transcription",
    "max_output_tokens",
    "max_response_output_tokens",
];
/// Members of a session or a response that hold settings, which the app's author wrote.
const SETTINGS: [&str; 17] = [
    "output_modalities",
    "modalities",
    "tool_choice",
    "temperature",
    "truncation",
    "include",
    "reasoning",
    "turn_detection",
    "conversation",
    "parallel_tool_calls",
    "voice",
    "speed",
    "input_audio_format",
    "output_audio_format",
    "input_audio_noise_reduction",
    "object",
    "id",
];
const ITEM: [&str; 6] = ["type", "content", "output", "arguments", "role", "tools"];
const PART: [&str; 5] = ["type", "text", "transcript", "audio", "image_url"];

impl Reader<'_> {
    pub(super) fn realtime(&mut self, outside: &Outside) -> Read<()> {
        self.view.model = outside.model.clone().unwrap_or_default();
        self.view.stream = true;
        if self.scanner.peek()? != Kind::Object {
            let message = "An event must be a JSON object.".to_owned();
            return Err(BadRequest { code: "invalid_type", param: None, message });
        }
        let mut walk = self.scanner.object()?;
        while let Some(key) = self.scanner.member(&mut walk, "")? {
            refuse_lookalike(&key, &READ, "")?;
            let start = self.scanner.here();
            match &*key.name {
                "type" => {
                    let kind = self.string("type")?;
                    if kind.is_some_and(|it| it.starts_with("transcription_session.")) {
                        self.surcharge("type");
                    }
                }
                "session" | "response" => self.setup(&key.name)?,
                "item" => self.event_item("item")?,
                // Sound, and what links events to each other.
                "audio" | "event_id" | "item_id" | "previous_item_id" | "response_id" => {
                    self.scanner.skip()?;
                }
                name => self.unknown(&beneath("", name), name)?,
            }
            let value = start..self.scanner.end();
            self.view.members.push(Member { name: key.name.into_owned(), start: key.start, value });
        }
        Ok(())
    }

    fn setup(&mut self, place: &str) -> Read<()> {
        if !self.expect(place, Kind::Object, "an object")? {
            return Ok(());
        }
        let of_session = place == "session";
        let mut walk = self.scanner.object()?;
        while let Some(key) = self.scanner.member(&mut walk, place)? {
            refuse_lookalike(&key, &GOVERNED, place)?;
            let name = &*key.name;
            let within = beneath(place, name);
            match name {
                "type" => {
                    let kind = self.string(&within)?;
                    if kind.is_some_and(|it| it != "realtime") {
                        self.surcharge(if of_session { "session.type" } else { "response.type" });
                    }
                }
                "model" => {
                    let start = self.scanner.here();
                    if let Some(model) = self.string(&within)? {
                        self.view.session_model = Some((start..self.scanner.end(), model));
                    }
                }
                "instructions" => self.text(&within)?,
                "tools" => self.client_tools(&within, if of_session { "session.tools" } else { "response.tools" })?,
                // A prompt that is kept at the provider: nobody here knows what is in it, tools that are billed for example.
                "prompt" => self.surcharge_if_given(if of_session { "session.prompt" } else { "response.prompt" })?,
                // Written down by another model, at prices of its own.
                "input_audio_transcription" => self.surcharge_if_given("session.input_audio_transcription")?,
                "audio" => self.audio(&within)?,
                "input" => self.event_items(&within)?,
                "max_output_tokens" | "max_response_output_tokens" => {
                    let start = self.scanner.here();
                    match self.scanner.peek()? {
                        Kind::Number => self.view.max_tokens = self.whole(&within, 1)?,
                        _ => self.scanner.skip().map(drop)?,
                    }
                    self.view.cap = Some(start..self.scanner.end());
                }
                _ if SETTINGS.contains(&name) => self.scanner.skip().map(drop)?,
                _ => self.unknown(&within, name)?,
            }
        }
        Ok(())
    }

    /// The client's own tools pass; those that the provider would call, and bill or be billed for, are named.
    fn client_tools(&mut self, place: &str, told: &'static str) -> Read<()> {
        if !self.expect(place, Kind::Array, "an array")? {
            return Ok(());
        }
        let mut walk = self.scanner.array()?;
        while self.scanner.element(&mut walk)? {
            let span = self.scanner.skip()?;
            self.view.features.tools = true;
            self.view.tools += 1;
            if !is_the_clients_tool(&self.scanner.text()[span]) {
                self.surcharge(told);
            }
        }
        Ok(())
    }

    fn audio(&mut self, place: &str) -> Read<()> {
        if !self.expect(place, Kind::Object, "an object")? {
            return Ok(());
        }
        let mut walk = self.scanner.object()?;
        while let Some(key) = self.scanner.member(&mut walk, place)? {
            refuse_lookalike(&key, &["input", "output"], place)?;
            if key.name != "input" || self.scanner.peek()? != Kind::Object {
                self.scanner.skip()?;
                continue;
            }
            let within = beneath(place, "input");
            let mut input = self.scanner.object()?;
            while let Some(key) = self.scanner.member(&mut input, &within)? {
                refuse_lookalike(&key, &["transcription"], &within)?;
                match &*key.name {
                    "transcription" => self.surcharge_if_given("session.audio.input.transcription")?,
                    _ => self.scanner.skip().map(drop)?,
                }
            }
        }
        Ok(())
    }

    fn event_items(&mut self, place: &str) -> Read<()> {
        if !self.expect(place, Kind::Array, "an array")? {
            return Ok(());
        }
        let (mut walk, mut i) = (self.scanner.array()?, 0);
        while self.scanner.element(&mut walk)? {
            self.event_item(&element_of(place, i))?;
            i += 1;
        }
        Ok(())
    }

    fn event_item(&mut self, place: &str) -> Read<()> {
        if !self.expect(place, Kind::Object, "an object")? {
            return Ok(());
        }
        let mut walk = self.scanner.object()?;
        while let Some(key) = self.scanner.member(&mut walk, place)? {
            refuse_lookalike(&key, &ITEM, place)?;
            let name = &*key.name;
            let within = beneath(place, name);
            match name {
                "type" => {
                    if self.string(&within)?.is_some_and(|it| it.starts_with("mcp")) {
                        self.surcharge("item.type");
                    }
                }
                "id" | "call_id" | "name" => self.id(&within)?,
                "object" | "role" | "status" | "phase" => self.scanner.skip().map(drop)?,
                "content" => self.parts(&within)?,
                "output" | "arguments" if self.scanner.peek()? == Kind::String => self.text(&within)?,
                _ => self.unknown(&within, name)?,
            }
        }
        Ok(())
    }

    fn parts(&mut self, place: &str) -> Read<()> {
        match self.scanner.peek()? {
            Kind::Array => {}
            Kind::Null => return self.scanner.skip().map(drop),
            _ => return Err(wrong(place, "an array of parts")),
        }
        let (mut walk, mut i) = (self.scanner.array()?, 0);
        while self.scanner.element(&mut walk)? {
            let part = element_of(place, i);
            i += 1;
            if self.scanner.peek()? != Kind::Object {
                return Err(wrong(&part, "an object"));
            }
            let mut members = self.scanner.object()?;
            while let Some(key) = self.scanner.member(&mut members, &part)? {
                refuse_lookalike(&key, &PART, &part)?;
                let within = beneath(&part, &key.name);
                match &*key.name {
                    "type" | "detail" | "format" => self.scanner.skip().map(drop)?,
                    "text" | "transcript" => self.text(&within)?,
                    "audio" => {
                        let sound = self.scanner.skip()?;
                        self.view.features.audio = true;
                        self.view.sound_bytes += sound.len() as u64;
                    }
                    "image_url" => {
                        let start = self.scanner.here();
                        let url = self.string(&within)?.unwrap_or_default();
                        if !url.starts_with("data:") {
                            return Err(invalid(&within, "must be a data URL"));
                        }
                        self.view.features.images = true;
                        self.view.features.image_count += 1;
                        self.view.image_bytes += (self.scanner.end() - start) as u64;
                    }
                    name => self.unknown(&within, name)?,
                }
            }
        }
        Ok(())
    }
}
