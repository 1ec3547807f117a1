//! Reads a body of OpenAI's Responses into its view: every text with its place, what its tools and settings make the provider bill,
//! and which of its members lean on something that is stored at the provider.

use super::content::is_the_apps;
use super::names::{names_a_model, refuse_lookalike};
use super::read::{Member, Read, Reader, Sort, invalid, missing, wrong};
use super::read_task::names_a_file;
use super::{BadRequest, Shape};
use crate::json::{Kind, below, beneath, element_of};

/// Outermost members that are read here.
const GOVERNED: [&str; 37] = [
    "model",
    "input",
    "instructions",
    "stream",
    "stream_options",
    "max_output_tokens",
    "max_tokens",
    "max_completion_tokens",
    "n",
    "best_of",
    "user",
    "safety_identifier",
    "prompt_cache_key",
    "metadata",
    "fallbacks",
    "tools",
    "tool_choice",
    "text",
    "reasoning",
    "service_tier",
    "background",
    "previous_response_id",
    "conversation",
    "prompt",
    "context_management",
    "moderation",
    "store",
    "include",
    "truncation",
    "web_search_options",
    "search_parameters",
    "enable_search",
    "data_sources",
    "models",
    "route",
    "provider",
    "plugins",
];

/// Settings, which the app's author wrote.
const SETTINGS: [&str; 18] = [
    "tool_choice",
    "include",
    "truncation",
    "store",
    "background",
    "parallel_tool_calls",
    "max_tool_calls",
    "temperature",
    "top_p",
    "top_logprobs",
    "prompt_cache_retention",
    "prompt_cache_options",
    "stream_options",
    "access_programs",
    "image",
    "frequency_penalty",
    "presence_penalty",
    "top_k",
];

const IN_ITEM: [&str; 15] = [
    "type",
    "role",
    "content",
    "summary",
    "output",
    "arguments",
    "input",
    "tools",
    "encrypted_content",
    "id",
    "call_id",
    "name",
    "namespace",
    "status",
    "phase",
];

impl Reader<'_> {
    pub(super) fn responses(&mut self) -> Read<()> {
        if self.scanner.peek()? != Kind::Object {
            let message = "The body must be a JSON object.".into();
            return Err(BadRequest { code: "invalid_type", param: None, message });
        }
        self.view.wants_usage = true;
        let (mut model, mut asks) = (false, false);
        let mut walk = self.scanner.object()?;
        while let Some(key) = self.scanner.member(&mut walk, "")? {
            refuse_lookalike(&key, &GOVERNED, "")?;
            let start = self.scanner.here();
            self.responses_member(&key.name)?;
            let value = start..self.scanner.end();
            let is_null = &self.scanner.text()[value.clone()] == "null";
            model |= key.name == "model" && !is_null;
            asks |= matches!(&*key.name, "input" | "prompt" | "previous_response_id" | "conversation") && !is_null;
            self.view.members.push(Member { name: key.name.into_owned(), start: key.start, value });
        }
        if !model {
            return Err(missing("model"));
        }
        if !asks {
            return Err(missing("input"));
        }
        Ok(())
    }

    fn responses_member(&mut self, name: &str) -> Read<()> {
        match name {
            "model" => {
                if let Some(model) = self.string(name)? {
                    names_a_model(name, &model)?;
                    self.view.model = model;
                }
            }
            "input" => self.input()?,
            "instructions" => {
                let first = self.view.texts.len();
                // An object made by the API has them as items.
                if self.scanner.peek()? == Kind::Array {
                    self.items(name)?;
                } else {
                    self.text(name)?;
                    self.view.messages += 1;
                }
                self.instructs_since(first, true);
            }
            "stream" => self.view.stream = self.boolean(name)?.unwrap_or(false),
            // OpenAI asks for 16 at the least; others for less.
            "max_output_tokens" => self.view.max_tokens = self.whole(name, 1)?,
            // Caps under the names of another API would be read by some servers, past the one that money is held for.
            "max_tokens" | "max_completion_tokens" | "n" | "best_of" => {
                if self.scanner.peek()? != Kind::Null {
                    return Err(invalid(
                        name,
                        "is not a member of this API, which caps one answer by 'max_output_tokens'",
                    ));
                }
                self.scanner.skip()?;
            }
            "user" | "safety_identifier" | "prompt_cache_key" => {
                let start = self.scanner.here();
                let Some(given) = self.string(name)? else { return Ok(()) };
                self.note(name, start..self.scanner.end(), Sort::Aside)?;
                if name == "user" || (name == "safety_identifier" && self.view.user.is_none()) {
                    self.view.user = Some(given);
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
            "tools" => self.offered(name)?,
            "text" => {
                let span = self.scanner.skip()?;
                self.view.features.json_schema |= self.scanner.text()[span].contains("json_schema");
            }
            "reasoning" => self.reasoning()?,
            "service_tier" => {
                let tier = self.string(name)?;
                if tier.is_some_and(|it| !["auto", "default", "flex"].contains(&&*it)) {
                    self.surcharge("service_tier");
                }
            }
            "previous_response_id" | "conversation" | "prompt" => {
                if self.scanner.peek()? != Kind::Null {
                    self.leans_on(name);
                }
                self.unknown(name, name)?;
            }
            // Runs a model of its own now and then, and judges with another: neither is in the price of tokens.
            "context_management" => self.surcharge_if_given("context_management")?,
            "moderation" => self.surcharge_if_given("moderation")?,
            // Searches of other servers, and routing on their side, past our prices and policy.
            "web_search_options" => self.surcharge_if_given("web_search_options")?,
            "search_parameters" => self.surcharge_if_given("search_parameters")?,
            "enable_search" => self.surcharge_if_given("enable_search")?,
            "data_sources" => self.surcharge_if_given("data_sources")?,
            "models" => self.surcharge_if_given("models")?,
            "route" => self.surcharge_if_given("route")?,
            "provider" => self.surcharge_if_given("provider")?,
            "plugins" => self.surcharge_if_given("plugins")?,
            _ if SETTINGS.contains(&name) => self.scanner.skip().map(drop)?,
            _ => self.unknown(&beneath("", name), name)?,
        }
        Ok(())
    }

    fn input(&mut self) -> Read<()> {
        match self.scanner.peek()? {
            Kind::Null => self.scanner.skip().map(drop),
            Kind::String => {
                self.view.messages += 1;
                self.text("input")
            }
            Kind::Array => self.items("input"),
            _ => Err(wrong("input", "a string or an array of items")),
        }
    }

    fn items(&mut self, place: &str) -> Read<()> {
        let mut walk = self.scanner.array()?;
        let mut i = 0;
        while self.scanner.element(&mut walk)? {
            let here = element_of(place, i);
            if self.scanner.peek()? != Kind::Object {
                return Err(wrong(&here, "an object"));
            }
            self.item(&here)?;
            i += 1;
        }
        self.view.messages += i as u64;
        Ok(())
    }

    /// One item, whatever its kind: the kind may come after its texts.
    fn item(&mut self, place: &str) -> Read<()> {
        let (mut kind, mut says) = (None, false);
        let (first, mut instructs) = (self.view.texts.len(), false);
        let mut walk = self.scanner.object()?;
        while let Some(key) = self.scanner.member(&mut walk, place)? {
            refuse_lookalike(&key, &IN_ITEM, place)?;
            let here = below(place, &key.name);
            says |= !matches!(&*key.name, "type" | "id");
            match &*key.name {
                "type" => kind = self.string(&here)?,
                "role" | "status" | "phase" => {
                    let word = self.string(&here)?;
                    instructs |= key.name == "role" && word.as_deref().is_some_and(is_the_apps);
                    self.view.other_bytes += word.map_or(0, |it| it.len() as u64);
                }
                "content" | "summary" => self.content(&here).map(drop)?,
                "output" | "arguments" | "input" => match self.scanner.peek()? {
                    Kind::Object => {
                        let start = self.scanner.here();
                        self.strings_within(&here)?;
                        // A screenshot may be a file.
                        if names_a_file(&self.scanner.text()[start..self.scanner.end()]) {
                            self.view.stored_file.get_or_insert(below(&here, "file_id"));
                        }
                    }
                    Kind::Array if key.name == "arguments" => self.strings_within(&here)?,
                    Kind::Array | Kind::String | Kind::Null => self.content(&here).map(drop)?,
                    Kind::Number => self.strings_within(&here)?,
                    _ => self.other()?,
                },
                "tools" => self.offered(&here)?,
                "encrypted_content" => self.opaque(&here)?,
                "id" | "call_id" | "name" | "namespace" => self.id(&here)?,
                _ => self.unknown(&beneath(place, &key.name), &key.name)?,
            }
        }
        // What has nothing but an id is a reference, whatever its type says: a picture of an earlier answer is named so too.
        if kind.as_deref() == Some("item_reference") || !says {
            self.leans_on(place);
        }
        self.instructs_since(first, instructs);
        Ok(())
    }

    /// Tools, of which all but the client's own are billed by use.
    fn offered(&mut self, place: &str) -> Read<()> {
        if !self.expect(place, Kind::Array, "an array")? {
            return Ok(());
        }
        let mut walk = self.scanner.array()?;
        while self.scanner.element(&mut walk)? {
            self.view.features.tools = true;
            self.view.tools += 1;
            let span = self.scanner.skip()?;
            if place != "tools" {
                // Counted with the outermost members otherwise.
                self.view.other_bytes += span.len() as u64;
            }
            if !is_run_by_the_client(&self.scanner.text()[span]) {
                self.surcharge("tools");
            }
        }
        Ok(())
    }

    fn reasoning(&mut self) -> Read<()> {
        #[derive(serde::Deserialize)]
        struct Reasoning {
            mode: Option<String>,
        }
        let span = self.scanner.skip()?;
        let read = serde_json::from_str::<Option<Reasoning>>(&self.scanner.text()[span]);
        let Ok(read) = read else { return Err(wrong("reasoning", "an object")) };
        if read.and_then(|it| it.mode).is_some_and(|mode| mode != "standard") {
            self.surcharge("reasoning.mode");
        }
        Ok(())
    }

    /// What only the provider, or this gateway, can read. No text, if it looks it.
    fn opaque(&mut self, place: &str) -> Read<()> {
        let span = self.scanner.skip()?;
        self.view.other_bytes += span.len() as u64;
        let value = &self.scanner.text()[span.clone()];
        let looks_it = |b: u8| b.is_ascii_alphanumeric() || b"\"+/=_-:.".contains(&b);
        if value.starts_with('"') && !value.bytes().all(looks_it) {
            self.note(place, span, Sort::Aside)?;
        }
        Ok(())
    }

    fn leans_on(&mut self, place: &str) {
        debug_assert_eq!(self.shape, Shape::Responses);
        self.view.stored.get_or_insert_with(|| place.to_owned());
    }
}

/// Functions, free-form tools, patches: the provider does nothing but name them. All others it runs, and bills.
fn is_run_by_the_client(tool: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Tool<'a> {
        #[serde(rename = "type")]
        kind: Option<String>,
        #[serde(borrow, default)]
        tools: Option<Vec<&'a serde_json::value::RawValue>>,
    }
    let Ok(Tool { kind: Some(kind), tools }) = serde_json::from_str::<Tool<'_>>(tool) else { return false };
    match &*kind {
        "function" | "custom" | "apply_patch" => true,
        "namespace" => tools.iter().flatten().all(|inner| is_run_by_the_client(inner.get())),
        _ => false,
    }
}
