//! Reads a body of one-shot tasks into its view: which texts leave, and how much of what is billed is asked for.

use std::ops::Range;

use super::asked::sides;
use super::names::{names_a_model, refuse_lookalike};
use super::read::{Member, Read, Reader, Sort, View, invalid, missing, wrong};
use super::{BadRequest, Shape};
use crate::json::{Kind, below, element_of, unescape};

/// What is read here of each task.
const READ: [&str; 30] = [
    "model",
    "fallbacks",
    "user",
    "metadata",
    "stream",
    "stream_options",
    "service_tier",
    "models",
    "route",
    "provider",
    "plugins",
    "prompt",
    "suffix",
    "max_tokens",
    "n",
    "best_of",
    "echo",
    "stop",
    "input",
    "instructions",
    "voice",
    "speed",
    "response_format",
    "stream_format",
    "size",
    "quality",
    "partial_images",
    "query",
    "documents",
    "images",
];
/// Inputs beyond what any server takes.
const MOST_INPUTS: u64 = 100_000;
const MOST_IMAGES: u64 = 128;
/// What a completion without a cap is cut at by its servers.
const USUAL_COMPLETION: u64 = 16;
/// Who is asked where nobody is named.
const USUAL_MODERATION: &str = "omni-moderation-latest";

impl Reader<'_> {
    pub(super) fn task(&mut self, shape: Shape) -> Read<()> {
        if self.scanner.peek()? != Kind::Object {
            return Err(BadRequest {
                code: "invalid_type",
                param: None,
                message: "The body must be a JSON object.".into(),
            });
        }
        let mut walk = self.scanner.object()?;
        while let Some(key) = self.scanner.member(&mut walk, "")? {
            refuse_lookalike(&key, &READ, "")?;
            let start = self.scanner.here();
            if !self.shared(&key.name)? {
                self.of_task(shape, &key.name)?;
            }
            let value = start..self.scanner.end();
            self.view.members.push(Member { name: key.name.into_owned(), start: key.start, value });
        }
        self.complete(shape)
    }

    /// Members that several tasks have. False if it is none.
    fn shared(&mut self, name: &str) -> Read<bool> {
        match name {
            "model" => {
                if let Some(model) = self.string(name)? {
                    names_a_model(name, &model)?;
                    self.view.model = model;
                }
            }
            "stream" => self.view.stream = self.boolean(name)?.unwrap_or(false),
            "user" | "metadata" | "fallbacks" | "service_tier" | "models" | "route" | "provider" | "plugins" => {
                self.outer(name)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn of_task(&mut self, shape: Shape, name: &str) -> Read<()> {
        match (shape, name) {
            (Shape::Completions, "prompt") | (Shape::Embeddings, "input") => self.texts_or_tokens(name),
            (Shape::Completions, "stream_options") => self.stream_options(),
            (Shape::Completions, "max_tokens") => {
                self.view.max_tokens = self.whole(name, 0)?;
                Ok(())
            }
            (Shape::Completions | Shape::Images | Shape::ImageEdits, "n") | (Shape::Completions, "best_of") => {
                let count = self.whole(name, 1)?.unwrap_or(1);
                if count > MOST_IMAGES {
                    return Err(invalid(name, "must be at most 128"));
                }
                self.view.choices = self.view.choices.max(count);
                Ok(())
            }
            (Shape::Completions, "n_predict" | "n_cmpl") => self.refuse_other_words(name),
            (Shape::Completions, "stop" | "logit_bias" | "echo") => self.scanner.skip().map(drop),
            (Shape::Completions, "suffix")
            | (Shape::Images | Shape::ImageEdits | Shape::Transcriptions | Shape::Translations, "prompt")
            | (Shape::Speech, "instructions") => self.text(name),
            (Shape::Moderations, "input") => {
                self.view.asked.inputs = 1;
                if !self.content(name)? {
                    return Err(missing(name));
                }
                Ok(())
            }
            (Shape::ImageEdits, "images" | "image" | "mask") => self.images(name),
            (Shape::Images | Shape::ImageEdits, "partial_images") => {
                self.view.asked.partial_images = self.whole(name, 0)?.unwrap_or(0).min(MOST_IMAGES);
                Ok(())
            }
            (Shape::Images | Shape::ImageEdits, "quality") => {
                self.view.asked.quality = self.setting(name)?;
                Ok(())
            }
            (Shape::Images | Shape::ImageEdits, "size") => {
                self.view.asked.size = self.setting(name)?;
                Ok(())
            }
            // How long it is no address tells, and whose a kept file is nobody can know.
            (Shape::Transcriptions | Shape::Translations, "url" | "file_url" | "audio_url" | "file_id") => {
                if self.scanner.peek()? != Kind::Null {
                    return Err(invalid(name, "names a sound that is kept elsewhere; send the file itself"));
                }
                self.scanner.skip().map(drop)
            }
            (Shape::Speech, "input") => {
                let start = self.scanner.here();
                self.text(name)?;
                let raw = &self.scanner.text()[start..self.scanner.end()];
                if raw != "null" {
                    self.view.asked.inputs = 1;
                    self.view.asked.characters = unescape(raw).chars().count() as u64;
                }
                Ok(())
            }
            (Shape::Speech, "speed") => self.speed(name),
            (Shape::Speech, "stream_format") => {
                self.view.asked.as_events = match self.setting(name)?.as_deref() {
                    Some("sse") => true,
                    None | Some("audio") => false,
                    Some(_) => return Err(invalid(name, "must be 'audio' or 'sse'")),
                };
                Ok(())
            }
            (_, "response_format") => {
                self.view.asked.format = self.setting(name)?;
                Ok(())
            }
            (Shape::Rerank, "query") => {
                let start = self.scanner.here();
                self.text(name)?;
                self.view.asked.query_bytes = (self.scanner.end() - start) as u64;
                Ok(())
            }
            (Shape::Rerank, "documents") => self.documents(name),
            _ => self.unknown(&crate::json::beneath("", name), name),
        }
    }

    /// What must be there, and what is understood where nothing is said.
    fn complete(&mut self, shape: Shape) -> Read<()> {
        let given = |view: &View, name: &str| view.members.iter().any(|it| it.name == name);
        let needed: &[&str] = match shape {
            Shape::Completions | Shape::Images => &["model", "prompt"],
            Shape::Embeddings | Shape::Speech => &["model", "input"],
            Shape::Moderations => &["input"],
            Shape::ImageEdits => &["model", "prompt"],
            Shape::Rerank => &["model", "query", "documents"],
            _ => &["model"],
        };
        if let Some(name) = needed.iter().find(|it| !given(&self.view, it)) {
            return Err(missing(name));
        }
        if needed.contains(&"model") && self.view.model.is_empty() {
            return Err(missing("model"));
        }
        let view = &mut self.view;
        match shape {
            Shape::Moderations if view.model.is_empty() => view.model = USUAL_MODERATION.to_owned(),
            Shape::Completions => {
                view.max_tokens = view.max_tokens.or(Some(USUAL_COMPLETION));
                // Each prompt has its own choices.
                view.choices = view.choices.max(1).saturating_mul(view.asked.inputs.max(1));
            }
            // Sound goes on as it comes.
            Shape::Speech => view.stream = true,
            _ => {}
        }
        Ok(())
    }

    /// A string, strings, tokens, or lists of tokens.
    fn texts_or_tokens(&mut self, place: &str) -> Read<()> {
        const WORDS: &str = "a string, an array of strings, or tokens";
        match self.scanner.peek()? {
            Kind::String => {
                self.view.asked.inputs = 1;
                return self.text(place);
            }
            Kind::Array => {}
            _ => return Err(wrong(place, WORDS)),
        }
        let start = self.scanner.here();
        let mut walk = self.scanner.array()?;
        let (mut inputs, mut tokens) = (0, 0);
        while self.scanner.element(&mut walk)? {
            match self.scanner.peek()? {
                Kind::String if tokens == 0 => {
                    self.text(&element_of(place, inputs))?;
                    inputs += 1;
                }
                Kind::Array if tokens == 0 => {
                    self.view.asked.tokens += self.tokens(&element_of(place, inputs))?;
                    inputs += 1;
                }
                Kind::Number if inputs == 0 => {
                    self.scanner.skip()?;
                    tokens += 1;
                }
                _ => return Err(wrong(place, WORDS)),
            }
            if inputs as u64 > MOST_INPUTS {
                return Err(invalid(place, "has too many entries"));
            }
        }
        if inputs == 0 && tokens == 0 {
            return Err(invalid(place, "must not be empty"));
        }
        if tokens > 0 {
            self.note_tokens(place, start..self.scanner.end())?;
        }
        self.view.asked.tokens += tokens;
        self.view.asked.inputs = (inputs as u64).max(1);
        Ok(())
    }

    fn tokens(&mut self, place: &str) -> Read<u64> {
        let start = self.scanner.here();
        let mut walk = self.scanner.array()?;
        let mut tokens = 0;
        while self.scanner.element(&mut walk)? {
            if self.scanner.peek()? != Kind::Number {
                return Err(wrong(place, "an array of tokens"));
            }
            self.scanner.skip()?;
            tokens += 1;
        }
        if tokens > 0 {
            self.note_tokens(place, start..self.scanner.end())?;
        }
        Ok(tokens)
    }

    /// What ids say is a text as well, in the words of each tokenizer that knows them all: which one the target has is not known
    /// here. What no tokenizer knows nobody could have searched.
    fn note_tokens(&mut self, place: &str, span: Range<usize>) -> Read<()> {
        let ids: Vec<u32> =
            serde_json::from_str(&self.scanner.text()[span.clone()]).map_err(|_| wrong(place, "an array of tokens"))?;
        let readings = crate::tokens::read(&ids);
        if readings.is_empty() {
            return Err(invalid(place, "has tokens that no known tokenizer reads; send it as text"));
        }
        for says in readings {
            self.note_as(place, span.clone(), Sort::Tokens, Some(says))?;
        }
        Ok(())
    }

    /// Strings, or objects whose strings are texts.
    fn documents(&mut self, place: &str) -> Read<()> {
        if self.scanner.peek()? != Kind::Array {
            return Err(wrong(place, "an array of documents"));
        }
        let mut walk = self.scanner.array()?;
        let mut documents = 0;
        while self.scanner.element(&mut walk)? {
            let here = element_of(place, documents);
            match self.scanner.peek()? {
                Kind::String => self.text(&here)?,
                Kind::Object => self.strings_within(&here)?,
                _ => return Err(wrong(&here, "a string or an object")),
            }
            documents += 1;
        }
        if documents == 0 || documents as u64 > MOST_INPUTS {
            return Err(invalid(place, "must have from 1 to 100000 entries"));
        }
        self.view.asked.inputs = documents as u64;
        Ok(())
    }

    /// Images of a JSON body: addresses or data. A file that the provider keeps may be another tenant's.
    fn images(&mut self, place: &str) -> Read<()> {
        let start = self.scanner.here();
        let is_one = self.scanner.peek()? != Kind::Array;
        self.unknown(place, place)?;
        let raw = &self.scanner.text()[start..self.scanner.end()];
        if raw == "null" {
            return Ok(());
        }
        if names_a_file(raw) {
            let place = below(place, "file_id");
            return Err(invalid(&place, "names a file that is kept elsewhere; send the image itself"));
        }
        let given =
            if is_one { 1 } else { serde_json::from_str::<Vec<serde::de::IgnoredAny>>(raw).map_or(1, |it| it.len()) };
        self.view.features.image_count += given as u64;
        self.view.image_bytes += raw.len() as u64;
        self.view.other_bytes = self.view.other_bytes.saturating_sub(raw.len() as u64);
        Ok(())
    }

    fn speed(&mut self, place: &str) -> Read<()> {
        if !self.expect(place, Kind::Number, "a number")? {
            return Ok(());
        }
        let span = self.scanner.skip()?;
        let speed: f64 = self.scanner.text()[span].parse().map_err(|_| wrong(place, "a number"))?;
        if !(0.05..=20.0).contains(&speed) {
            return Err(invalid(place, "is out of range"));
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 5 to 2000")]
        let hundredths = (speed * 100.0) as u64;
        self.view.asked.speed = Some(hundredths);
        Ok(())
    }

    /// A word of a setting; one that is no short word is a text like any other.
    fn setting(&mut self, place: &str) -> Read<Option<String>> {
        if self.scanner.peek()? != Kind::String {
            self.unknown(place, place)?;
            return Ok(None);
        }
        let span = self.scanner.string()?;
        let word = unescape(&self.scanner.text()[span.clone()]).into_owned();
        if !crate::json::is_word(&word, 32) && sides(&word).is_none() {
            self.note(place, span, Sort::Aside)?;
        }
        Ok(Some(word))
    }
}

/// Whether a member at any depth is a `file_id`, however its name is written.
pub(super) fn names_a_file(raw: &str) -> bool {
    fn named(value: &serde_json::Value) -> bool {
        match value {
            serde_json::Value::Object(members) => {
                members.iter().any(|(name, value)| name.eq_ignore_ascii_case("file_id") || named(value))
            }
            serde_json::Value::Array(elements) => elements.iter().any(named),
            _ => false,
        }
    }
    // A name is written out, or with an escape; a body with neither is spared the walk.
    let written = || raw.as_bytes().windows(7).any(|it| it.eq_ignore_ascii_case(b"file_id"));
    let may = raw.contains("\\u") || written();
    may && serde_json::from_str(raw).map_or(true, |value| named(&value))
}
