//! Reads a body into its view: one pass, both shapes. Governed members are typed; all others are checked and left alone.

use std::ops::Range;

use super::asked::Asked;
use super::names::{
    GOVERNED, SETTINGS, can_hold_something, is_the_clients_tool, names_a_model, names_a_server_tool, refuse_lookalike,
};
use super::{BadRequest, Features, Outside, Shape};
use crate::json::{Key, Kind, Scanner, below, beneath, element_of, unescape};

/// What is known of a body, beside its bytes.
#[derive(Default)]
pub(crate) struct View {
    pub model: String,
    pub stream: bool,
    pub wants_usage: bool,
    pub max_tokens: Option<u64>,
    pub max_completion_tokens: Option<u64>,
    pub choices: u64,
    pub fallbacks: Vec<String>,
    pub user: Option<String>,
    pub metadata: Vec<(String, String)>,
    pub messages: u64,
    pub texts: Vec<TextSpan>,
    /// Which of the texts tell the model what to be.
    pub instructions: Vec<Range<usize>>,
    pub members: Vec<Member>,
    pub features: Features,
    /// The span of `stream_options.include_usage`'s value.
    pub include_usage: Option<Range<usize>>,
    /// Gemini: the span of `generationConfig.maxOutputTokens`' value. Realtime: of `max_output_tokens`'.
    pub cap: Option<Range<usize>>,
    /// Gemini: the spans of signatures that were written here and not by Google.
    pub signatures: Vec<Range<usize>>,
    /// Bytes of images given inline; they are billed by image, not by byte.
    pub image_bytes: u64,
    /// How many tools and functions are offered.
    pub tools: u64,
    /// Bytes in messages that are no texts: roles, names, ids, unknown members. Some of them are billed.
    pub other_bytes: u64,
    /// What a one-shot task asks for.
    pub asked: Asked,
    /// What the tokenizers said, by their order in `tokens.rs`; asked several times, counted once.
    pub counts: [std::sync::OnceLock<crate::tokens::Count>; 2],
    /// Responses: the first member that leans on what an earlier call left at the provider.
    pub stored: Option<String>,
    /// Realtime: `session.model`, and its span.
    pub session_model: Option<(Range<usize>, String)>,
    /// Realtime: bytes of sound in an item.
    pub sound_bytes: u64,
    /// The first member that names a file which was left at the provider.
    pub stored_file: Option<String>,
}

/// Where a text is.
pub(crate) struct TextSpan {
    pub place: String,
    pub sort: Sort,
    pub span: Range<usize>,
    /// What it says, where the bytes write it in another way.
    pub says: Option<String>,
}

/// What a text is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sort {
    /// Said in the conversation, and billed by a tokenizer's count.
    Said,
    /// Sent beside it.
    Aside,
    /// The name of a member, sent too.
    Name,
    /// Ids of a tokenizer: what they say can be read, but nothing else can be put in its place.
    Tokens,
}

/// An outermost member: from its name's quote to the end of its value.
pub(crate) struct Member {
    pub name: String,
    pub start: usize,
    pub value: Range<usize>,
}

/// More texts than any conversation has; a bound on what remembering their places costs.
const MOST_TEXTS: usize = 100_000;
/// No detector finds anything in a number of fewer bytes.
pub(super) const LEAST_NUMBER: usize = 6;
/// More than anyone lists as fallbacks or stops.
const MOST_STRINGS: usize = 1_000;
/// OpenAI's own bound on `n`.
pub(super) const MOST_CHOICES: u64 = 128;

pub(super) fn view(shape: Shape, text: &str, outside: &Outside) -> Result<View, BadRequest> {
    bounded(shape, text, outside, MOST_TEXTS)
}

/// The view of a body that was read before and then edited, which may have made a few more texts of it.
pub(super) fn view_again(shape: Shape, text: &str, outside: &Outside) -> Result<View, BadRequest> {
    bounded(shape, text, outside, AGAIN)
}

/// As many texts as there may be where a body is read again.
const AGAIN: usize = usize::MAX;

fn bounded(shape: Shape, text: &str, outside: &Outside, most_texts: usize) -> Result<View, BadRequest> {
    let mut reader = Reader {
        scanner: Scanner::new(text),
        shape,
        most_texts,
        view: View { wants_usage: shape == Shape::Anthropic, ..View::default() },
    };
    match shape {
        Shape::OpenAi | Shape::Anthropic => reader.body()?,
        Shape::Responses => reader.responses()?,
        Shape::Gemini => reader.gemini(outside)?,
        Shape::Realtime => reader.realtime(outside)?,
        task => reader.task(task)?,
    }
    reader.scanner.finish()?;
    if shape == Shape::Anthropic && reader.view.max_tokens.is_none() && !outside.counts {
        return Err(missing("max_tokens"));
    }
    Ok(reader.view)
}

pub(super) struct Reader<'a> {
    pub(super) scanner: Scanner<'a>,
    pub(super) shape: Shape,
    most_texts: usize,
    pub(super) view: View,
}

pub(super) type Read<T> = Result<T, BadRequest>;

impl<'a> Reader<'a> {
    /// The body was read before, as the caller wrote it.
    pub(super) fn again(&self) -> bool {
        self.most_texts == AGAIN
    }

    fn body(&mut self) -> Read<()> {
        if self.scanner.peek()? != Kind::Object {
            return Err(BadRequest {
                code: "invalid_type",
                param: None,
                message: "The body must be a JSON object.".into(),
            });
        }
        let (mut model, mut messages) = (false, false);
        let mut walk = self.scanner.object()?;
        while let Some(key) = self.scanner.member(&mut walk, "")? {
            refuse_lookalike(&key, &GOVERNED, "")?;
            let start = self.scanner.here();
            self.outer(&key.name)?;
            let value = start..self.scanner.end();
            let is_null = &self.scanner.text()[value.clone()] == "null";
            model |= key.name == "model" && !is_null;
            messages |= key.name == "messages" && !is_null;
            self.view.members.push(Member { name: key.name.into_owned(), start: key.start, value });
        }
        if !model {
            return Err(missing("model"));
        }
        if !messages {
            return Err(missing("messages"));
        }
        Ok(())
    }

    pub(super) fn outer(&mut self, name: &str) -> Read<()> {
        let openai = self.shape != Shape::Anthropic;
        match name {
            "model" => {
                if let Some(model) = self.string(name)? {
                    names_a_model(name, &model)?;
                    self.view.model = model;
                }
            }
            "messages" => self.messages()?,
            "system" if !openai => {
                let first = self.view.texts.len();
                if self.content(name)? {
                    self.view.messages += 1;
                }
                self.instructs_since(first, true);
            }
            "stream" => self.view.stream = self.boolean(name)?.unwrap_or(false),
            "stream_options" if openai => self.stream_options()?,
            "max_tokens" => self.view.max_tokens = self.whole(name, u64::from(!openai))?,
            "max_completion_tokens" if openai => self.view.max_completion_tokens = self.whole(name, 0)?,
            "n" | "best_of" if openai => {
                let count = self.whole(name, 1)?.unwrap_or(1);
                if count > MOST_CHOICES {
                    return Err(invalid(name, "must be at most 128"));
                }
                self.view.choices = self.view.choices.max(count);
            }
            "stop" if openai => self.strings(name, true).map(drop)?,
            "stop_sequences" if !openai => self.strings(name, false).map(drop)?,
            "user" if openai => {
                let start = self.scanner.here();
                self.view.user = self.string(name)?;
                if self.view.user.is_some() {
                    self.note(name, start..self.scanner.end(), Sort::Aside)?;
                }
            }
            "metadata" => self.metadata()?,
            "fallbacks" => {
                let fallbacks = self.strings(name, false)?;
                for (i, model) in fallbacks.iter().enumerate() {
                    names_a_model(&element_of(name, i), model)?;
                }
                self.view.fallbacks = fallbacks;
            }
            "tools" | "functions" => self.tools(name)?,
            "response_format" => {
                let span = self.scanner.skip()?;
                self.view.features.json_schema |= self.scanner.text()[span].contains("json_schema");
            }
            "prediction" if openai => self.prediction()?,
            "modalities" | "audio" if openai => {
                let span = self.scanner.skip()?;
                if self.scanner.text()[span].contains("audio") || name == "audio" {
                    self.view.features.audio = true;
                }
            }
            "service_tier" => {
                let tier = self.string(name)?;
                if tier.is_some_and(|it| !["auto", "default", "standard_only", "flex"].contains(&&*it)) {
                    self.surcharge("service_tier");
                }
            }
            // Searches, and routing on the provider's side, past our prices and policy.
            "web_search_options" if openai => self.surcharge_if_given("web_search_options")?,
            "moderation" if openai => self.surcharge_if_given("moderation")?,
            "search_parameters" if openai => self.surcharge_if_given("search_parameters")?,
            "enable_search" if openai => self.surcharge_if_given("enable_search")?,
            "data_sources" if openai => self.surcharge_if_given("data_sources")?,
            "plugins" if openai => self.surcharge_if_given("plugins")?,
            "models" if openai => self.surcharge_if_given("models")?,
            "route" if openai => self.surcharge_if_given("route")?,
            "provider" if openai => self.surcharge_if_given("provider")?,
            // The answer of a call that is put off is fetched, and billed, when this call is long settled; a preset is routing again.
            "deferred" if openai => self.surcharge_if_given("deferred")?,
            "preset" if openai => self.surcharge_if_given("preset")?,
            "n_predict" | "n_cmpl" if openai => self.refuse_other_words(name)?,
            "mcp_servers" if !openai => self.surcharge_if_given("mcp_servers")?,
            _ if SETTINGS.contains(&name) => self.scanner.skip().map(drop)?,
            // Documents, say, or a user under another name: sent as given, and billed if the provider knows it.
            _ => self.unknown(&beneath("", name), name)?,
        }
        Ok(())
    }

    /// llama.cpp's own words for a cap and for `n`, which it puts before those that money is held for.
    pub(super) fn refuse_other_words(&mut self, name: &str) -> Read<()> {
        if self.scanner.peek()? != Kind::Null {
            return Err(invalid(name, "is one server's own word; say 'max_tokens' or 'n'"));
        }
        self.scanner.skip().map(drop)
    }

    fn tools(&mut self, place: &str) -> Read<()> {
        if !self.expect(place, Kind::Array, "an array")? {
            return Ok(());
        }
        let mut walk = self.scanner.array()?;
        while self.scanner.element(&mut walk)? {
            self.view.features.tools = true;
            self.view.tools += 1;
            let span = self.scanner.skip()?;
            let tool = &self.scanner.text()[span];
            let billed = match self.shape {
                Shape::Anthropic => names_a_server_tool(tool),
                _ => place == "tools" && !is_the_clients_tool(tool),
            };
            if billed {
                self.surcharge("tools");
            }
        }
        Ok(())
    }

    pub(super) fn stream_options(&mut self) -> Read<()> {
        if !self.expect("stream_options", Kind::Object, "an object")? {
            return Ok(());
        }
        let mut walk = self.scanner.object()?;
        while let Some(key) = self.scanner.member(&mut walk, "stream_options")? {
            refuse_lookalike(&key, &["include_usage"], "stream_options")?;
            if key.name != "include_usage" {
                self.scanner.skip()?;
                continue;
            }
            let start = self.scanner.here();
            self.view.wants_usage = self.boolean("stream_options.include_usage")?.unwrap_or(false);
            self.view.include_usage = Some(start..self.scanner.end());
        }
        Ok(())
    }

    pub(super) fn metadata(&mut self) -> Read<()> {
        if !self.expect("metadata", Kind::Object, "an object of strings")? {
            return Ok(());
        }
        let mut walk = self.scanner.object()?;
        while let Some(key) = self.scanner.member(&mut walk, "metadata")? {
            self.name("metadata", &key)?;
            let start = self.scanner.here();
            let Some(value) = self.string(&below("metadata", &key.name))? else { continue };
            self.note(&beneath("metadata", &key.name), start..self.scanner.end(), Sort::Aside)?;
            if self.shape == Shape::Anthropic && key.name == "user_id" {
                self.view.user = Some(value.clone());
            }
            self.view.metadata.push((key.name.into_owned(), value));
        }
        Ok(())
    }

    pub(super) fn text(&mut self, place: &str) -> Read<()> {
        if self.expect(place, Kind::String, "a string")? {
            let span = self.scanner.string()?;
            self.note(place, span, Sort::Said)?;
        }
        Ok(())
    }

    /// A member's name as a text of its own, in the place of what it is a member of.
    pub(super) fn name(&mut self, place: &str, key: &Key<'_>) -> Read<()> {
        if !can_hold_something(&key.name) {
            return Ok(());
        }
        self.note(place, key.start..key.end, Sort::Name)
    }

    pub(super) fn note(&mut self, place: &str, span: Range<usize>, sort: Sort) -> Read<()> {
        let says = crate::json::spelled_out(&self.scanner.text()[span.clone()]);
        self.note_as(place, span, sort, says)
    }

    /// The same with what it says, where the bytes write it in another way.
    pub(super) fn note_as(&mut self, place: &str, span: Range<usize>, sort: Sort, says: Option<String>) -> Read<()> {
        if self.view.texts.len() == self.most_texts {
            return Err(invalid(place, "is one text too many"));
        }
        self.view.texts.push(TextSpan { place: place.to_owned(), sort, span, says });
        Ok(())
    }

    pub(super) fn string(&mut self, place: &str) -> Read<Option<String>> {
        if !self.expect(place, Kind::String, "a string")? {
            return Ok(None);
        }
        let span = self.scanner.string()?;
        Ok(Some(unescape(&self.scanner.text()[span]).into_owned()))
    }

    pub(super) fn strings(&mut self, place: &str, or_one: bool) -> Read<Vec<String>> {
        if or_one && self.scanner.peek()? == Kind::String {
            return Ok(self.string(place)?.into_iter().collect());
        }
        let mut out = Vec::new();
        if !self.expect(
            place,
            Kind::Array,
            if or_one { "a string or an array of strings" } else { "an array of strings" },
        )? {
            return Ok(out);
        }
        let mut walk = self.scanner.array()?;
        while self.scanner.element(&mut walk)? {
            if out.len() == MOST_STRINGS {
                return Err(invalid(place, "has too many entries"));
            }
            let here = element_of(place, out.len());
            out.push(self.string(&here)?.ok_or_else(|| wrong(&here, "a string"))?);
        }
        Ok(out)
    }

    pub(super) fn boolean(&mut self, place: &str) -> Read<Option<bool>> {
        if !self.expect(place, Kind::Bool, "true or false")? {
            return Ok(None);
        }
        let span = self.scanner.skip()?;
        Ok(Some(&self.scanner.text()[span] == "true"))
    }

    pub(super) fn whole(&mut self, place: &str, least: u64) -> Read<Option<u64>> {
        if !self.expect(place, Kind::Number, "a whole number")? {
            return Ok(None);
        }
        let span = self.scanner.skip()?;
        let digits = &self.scanner.text()[span];
        if digits.contains(['.', 'e', 'E']) {
            return Err(wrong(place, "a whole number"));
        }
        match digits.parse::<u64>() {
            Ok(number) if number >= least && number <= u64::from(u32::MAX) => Ok(Some(number)),
            Ok(number) if number < least => Err(invalid(place, &format!("must be at least {least}"))),
            _ if digits.starts_with('-') => Err(invalid(place, &format!("must be at least {least}"))),
            _ => Err(invalid(place, "is out of range")),
        }
    }

    /// True if the next value is of this kind, false (and past it) if it is null.
    pub(super) fn expect(&mut self, place: &str, kind: Kind, words: &str) -> Read<bool> {
        match self.scanner.peek()? {
            found if found == kind => Ok(true),
            Kind::Null => self.scanner.skip().map(|_| false),
            _ => Err(wrong(place, words)),
        }
    }

    pub(super) fn surcharge(&mut self, name: &'static str) {
        self.view.features.surcharge.get_or_insert(name);
    }

    pub(super) fn surcharge_if_given(&mut self, name: &'static str) -> Read<()> {
        let span = self.scanner.skip()?;
        if !["null", "false"].contains(&&self.scanner.text()[span]) {
            self.surcharge(name);
        }
        Ok(())
    }
}

pub(super) fn missing(name: &str) -> BadRequest {
    BadRequest::at("missing_required_parameter", name, format!("'{name}' is required."))
}

pub(super) fn wrong(place: &str, words: &str) -> BadRequest {
    BadRequest::at("invalid_type", place, format!("'{place}' must be {words}."))
}

pub(super) fn invalid(place: &str, words: &str) -> BadRequest {
    BadRequest::at("invalid_value", place, format!("'{place}' {words}."))
}
