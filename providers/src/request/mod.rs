//! A chat request as the caller wrote it, with a typed view beside the bytes; and what comes back, as events.
//!
//! The bytes are the truth: edits are spliced into them, so unknown members, number spellings, order and white space
//! survive byte for byte. The view is strict where a second parser could read something else than the guards did:
//! a repeated member, or one that differs from a governed one only in case, is refused.

mod asked;
mod content;
mod event;
mod form;
mod names;
mod read;
mod read_gemini;
mod read_realtime;
mod read_responses;
mod read_task;
mod shape;
mod tools;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

pub(crate) use asked::sides;
pub use event::{AnswerEvent, Delta, End, Usage};
pub use form::FileForm;
pub(crate) use read_gemini::public_address;
pub use shape::{Family, Shape, Task};
pub use tools::Offered;

use crate::canonical;
use crate::json;
use crate::splice;
use read::{Sort, View};

/// A chat request. Cheap to clone.
#[derive(Clone)]
pub struct ModelRequest {
    shape: Shape,
    body: Bytes,
    view: Arc<View>,
    outside: Arc<Outside>,
    files: Arc<[Attachment]>,
    /// The trace that it is a part of, for a provider that may know: `traceparent` and `tracestate`.
    trace: Option<Arc<(HeaderValue, Option<HeaderValue>)>>,
}

/// What a call says beside its body.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Outside {
    /// The model, where the address names it.
    pub model: Option<String>,
    /// A stream is asked for, where the address says so.
    pub stream: Option<bool>,
    /// The body's content type, with its parameters.
    pub content_type: Option<String>,
    /// Only its size is asked: what caps an answer need not be said.
    pub counts: bool,
    /// `anthropic-beta`: what of Anthropic's is to come, and is asked for by name.
    pub betas: Option<String>,
    /// When it came, in seconds since 1970: the time of an answer whose provider tells none.
    pub arrived: u64,
}

/// A file that came with a form. Its bytes are those of the call's body, not a copy.
#[derive(Clone, PartialEq, Eq)]
pub struct Attachment {
    /// The form's name of it: `file`, `image[]`, `mask`.
    pub field: String,
    /// As the client calls it.
    pub file_name: Option<String>,
    /// As the client says.
    pub content_type: Option<String>,
    /// Its content.
    pub bytes: Bytes,
}

impl Attachment {
    pub(crate) fn is_image(&self) -> bool {
        self.field.starts_with("image") || self.field == "mask"
    }
}

/// Shows no content and no name: a person chose it.
impl std::fmt::Debug for Attachment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attachment").field("field", &self.field).field("bytes", &self.bytes.len()).finish()
    }
}

/// One text of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextPart<'a> {
    /// As in `messages[2].content[0].text`.
    pub place: String,
    /// Unescaped.
    pub text: Cow<'a, str>,
    /// Nothing else can be put in its place: it was given as tokens.
    pub fixed: bool,
    /// The app tells the model what to be, rather than that anybody speaks.
    pub instructs: bool,
}

/// What a request needs a target to be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Features {
    /// Tools or functions are offered.
    pub tools: bool,
    /// Images are in the messages.
    pub images: bool,
    /// How many.
    pub image_count: u64,
    /// Sound is in the messages, or asked for.
    pub audio: bool,
    /// Files or documents that are not plain text are in the messages.
    pub documents: bool,
    /// An answer after a JSON schema is asked for.
    pub json_schema: bool,
    /// A member that makes providers bill beyond the price of tokens (`service_tier`, `web_search_options`, a server tool…).
    pub surcharge: Option<&'static str>,
}

/// Why a body cannot be read. Says where, never quotes content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct BadRequest {
    /// `invalid_json`, `invalid_type`, `invalid_value`, `missing_required_parameter`, `duplicate_parameter`.
    pub code: &'static str,
    /// As in `messages[2].content`.
    pub param: Option<String>,
    /// One sentence.
    pub message: String,
}

impl BadRequest {
    pub(crate) fn at(code: &'static str, param: impl Into<String>, message: impl Into<String>) -> BadRequest {
        BadRequest { code, param: Some(param.into()), message: message.into() }
    }
}

impl ModelRequest {
    /// Reads a body.
    pub fn parse(shape: Shape, body: Bytes) -> Result<ModelRequest, BadRequest> {
        ModelRequest::parse_with(shape, body, Outside::default())
    }

    /// The same, with what the call says beside its body.
    pub fn parse_with(shape: Shape, body: Bytes, outside: Outside) -> Result<ModelRequest, BadRequest> {
        let boundary = if shape.takes_forms() { form::boundary(outside.content_type.as_deref())? } else { None };
        if let Some(boundary) = boundary {
            let form::Form { body, files } = form::read(&body, boundary)?;
            let mut view = read::view(shape, &body, &outside)?;
            asked::files(shape, &files, &mut view)?;
            let (view, outside, files) = (Arc::new(view), Arc::new(outside), Arc::from(files));
            return Ok(ModelRequest { shape, body: body.into(), view, outside, files, trace: None });
        }
        if shape.needs_a_form() {
            return Err(BadRequest {
                code: "invalid_multipart",
                param: None,
                message: "The body must be multipart/form-data.".to_owned(),
            });
        }
        let text = std::str::from_utf8(&body).map_err(|e| BadRequest {
            code: "invalid_json",
            param: None,
            message: format!("The body is not UTF-8: bad byte at offset {}.", e.valid_up_to()),
        })?;
        let view = Arc::new(read::view(shape, text, &outside)?);
        Ok(ModelRequest { shape, body, view, outside: Arc::new(outside), files: Arc::from([]), trace: None })
    }

    /// The same call with another body of its own shape, which has been read before.
    fn edited(&self, body: Bytes) -> ModelRequest {
        let text = std::str::from_utf8(&body).expect("texts in the place of texts");
        let view = read::view_again(self.shape, text, &self.outside);
        let mut view = view.expect("what was read stays readable with other values in the place of the first");
        view.features.image_count += self.files.iter().filter(|it| it.is_image()).count() as u64;
        ModelRequest { body, view: Arc::new(view), ..self.clone() }
    }

    /// The same request, as a part of this trace.
    pub fn traced(&self, parent: HeaderValue, state: Option<HeaderValue>) -> ModelRequest {
        ModelRequest { trace: Some(Arc::new((parent, state))), ..self.clone() }
    }

    /// Tells a provider of the trace.
    pub(crate) fn put_trace(&self, headers: &mut HeaderMap) {
        if let Some((parent, state)) = self.trace.as_deref() {
            headers.insert("traceparent", parent.clone());
            state.as_ref().map(|state| headers.insert("tracestate", state.clone()));
        }
    }

    /// What of Anthropic's is to come that was asked for by name, in its header.
    pub(crate) fn betas(&self) -> Option<&str> {
        self.outside.betas.as_deref()
    }

    /// When it came, in seconds since 1970; 0 where nobody said.
    pub(crate) fn arrived(&self) -> u64 {
        self.outside.arrived
    }

    /// A name for the answer, where the provider gives none: apps tell messages apart by it.
    pub(crate) fn answer_id(&self) -> String {
        // FNV-1a: told apart, not kept secret.
        let hashed = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        let id = self.arrived().to_be_bytes().iter().filter(|_| self.arrived() > 0).fold(0xcbf2_9ce4_8422_2325, hashed);
        format!("chatcmpl-{:016x}", self.body.iter().fold(id, hashed))
    }

    /// What came with it.
    pub fn files(&self) -> &[Attachment] {
        &self.files
    }

    /// What a target must serve to be asked this.
    pub fn task(&self) -> Task {
        self.shape.task()
    }

    /// The caller's shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The bytes, as they came or as they were spliced.
    pub fn body(&self) -> &Bytes {
        &self.body
    }

    /// The model that was asked for: an alias or `provider/model`.
    pub fn model(&self) -> &str {
        &self.view.model
    }

    /// An event stream is asked for.
    pub fn stream(&self) -> bool {
        self.view.stream
    }

    /// The caller wants usage in the stream. Anthropic's shape always has it.
    pub fn wants_usage(&self) -> bool {
        self.view.wants_usage
    }

    /// The cap that the caller set, per choice.
    pub fn max_output(&self) -> Option<u64> {
        match (self.view.max_tokens, self.view.max_completion_tokens) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        }
    }

    /// How many answers are asked for: max(n, best_of, 1).
    pub fn choices(&self) -> u64 {
        self.view.choices.max(1)
    }

    /// Further models the caller would take; stripped before sending.
    pub fn fallbacks(&self) -> &[String] {
        &self.view.fallbacks
    }

    /// The caller's claim about its user (Anthropic: `metadata.user_id`).
    pub fn user(&self) -> Option<&str> {
        self.view.user.as_deref()
    }

    /// The caller's claims.
    pub fn metadata(&self) -> &[(String, String)] {
        &self.view.metadata
    }

    /// What a target must be able to do.
    pub fn features(&self) -> Features {
        self.view.features
    }

    /// Every text that leaves with the request and that a person, a tool or a model may have written, in the order of the body:
    /// contents, text and refusal parts, reasoning, tool results, tool-call arguments, `prediction`; names, numbers and strings
    /// in a tool's input; `user`, `metadata` and participants' names; and the strings of members that are not known here.
    /// Left out on purpose: tool names, descriptions and schemas, which the app's author wrote, not its users; settings; ids;
    /// what images, sounds and files hold in base64.
    pub fn texts(&self) -> Vec<TextPart<'_>> {
        // In order and apart, so that a body of nothing but instructions is not searched for each.
        let spans = &self.view.instructions;
        let instructs =
            |i: usize| spans.partition_point(|span| span.start <= i).checked_sub(1).is_some_and(|at| i < spans[at].end);
        self.view
            .texts
            .iter()
            .enumerate()
            .map(|(i, it)| TextPart {
                place: it.place.clone(),
                text: match &it.says {
                    Some(says) => Cow::Borrowed(&**says),
                    None => json::unquoted(self.raw(&it.span)),
                },
                fixed: it.sort == Sort::Tokens,
                instructs: instructs(i),
            })
            .collect()
    }

    /// The same request with some texts replaced, by their index in [`ModelRequest::texts`]. All other bytes stay. A number becomes
    /// a string. Names stay different from each other: what two would share is numbered. A fixed text stays as it is.
    pub fn with_texts(&self, edits: &[(usize, String)]) -> ModelRequest {
        let mut given = Names::default();
        let edits = edits.iter().filter_map(|(index, text)| {
            let found = self.view.texts.get(*index)?;
            let text = match found.sort {
                Sort::Name => given.another(self, text),
                Sort::Said | Sort::Aside => Cow::Borrowed(&**text),
                Sort::Tokens => return None,
            };
            Some((found.span.clone(), json::quote(&text)))
        });
        self.edited(splice::replace(&self.body, edits.collect()))
    }

    /// What decides the answer, in one spelling: sorted members without `stream`, `stream_options`, `user`, `metadata`, `fallbacks`.
    /// Numbers keep their spelling. For cache keys and idempotency.
    pub fn canonical(&self) -> Vec<u8> {
        const LEFT_OUT: [&str; 6] = ["stream", "stream_options", "user", "metadata", "labels", "fallbacks"];
        canonical::canonical(self.text(), &LEFT_OUT)
    }

    /// What the caller sent, whatever the boundary of its form was: for idempotency.
    pub fn identity(&self) -> Vec<u8> {
        let mut all = self.body.to_vec();
        for file in self.files.iter() {
            let head = format!("\n{} {:?} {}\n", quoted_length(&file.field), file.content_type, file.bytes.len());
            all.extend_from_slice(head.as_bytes());
            all.extend_from_slice(&file.bytes);
        }
        all
    }

    /// The same request, asking for an event stream.
    pub(crate) fn streamed(&self) -> ModelRequest {
        if self.outside.stream.is_some() {
            let outside = Outside { stream: Some(true), ..(*self.outside).clone() };
            return ModelRequest { outside: Arc::new(outside), ..self.clone() }.edited(self.body.clone());
        }
        let mut splice = splice::Splice::new(self);
        splice.set("stream", "true");
        self.edited(splice.finish())
    }

    /// The JSON text of a top-level member, if it is there and not null.
    pub fn member(&self, name: &str) -> Option<&str> {
        let found = self.view.members.iter().find(|it| it.name == name)?;
        Some(self.raw(&found.value)).filter(|it| *it != "null")
    }

    /// The texts of the conversation alone, without their places: what a tokenizer needs.
    pub(crate) fn raw_texts(&self) -> impl Iterator<Item = Cow<'_, str>> {
        self.view.texts.iter().filter(|it| it.sort == Sort::Said).map(|it| json::unescape(self.raw(&it.span)))
    }

    pub(crate) fn view(&self) -> &View {
        &self.view
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("parse has checked it")
    }

    fn raw(&self, span: &Range<usize>) -> &str {
        // Only the piece is looked at: checking the whole body for each text would be quadratic.
        std::str::from_utf8(&self.body[span.clone()]).expect("parse has checked it, and spans end between characters")
    }
}

fn quoted_length(field: &str) -> String {
    format!("{}:{field}", field.len())
}

/// The names that a request has or is given; an object must not have the same twice.
#[derive(Default)]
struct Names {
    taken: Option<HashSet<String>>,
    given: HashMap<String, usize>,
}

impl Names {
    /// This name, numbered if it is taken.
    fn another<'a>(&mut self, request: &ModelRequest, name: &'a str) -> Cow<'a, str> {
        let taken = self.taken.get_or_insert_with(|| {
            let names = request.view.texts.iter().filter(|it| it.sort == Sort::Name);
            names.map(|it| json::unquoted(request.raw(&it.span)).into_owned()).collect()
        });
        let times = self.given.entry(name.to_owned()).or_default();
        loop {
            *times += 1;
            let new = if *times == 1 { Cow::Borrowed(name) } else { Cow::Owned(format!("{name} {times}")) };
            // Plain words are no texts, so one may be taken unseen; a numbered name is never one.
            if names::can_hold_something(&new) && taken.insert(new.to_string()) {
                return new;
            }
        }
    }
}

/// Shows no content.
impl std::fmt::Debug for ModelRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ModelRequest").field("shape", &self.shape).field("bytes", &self.body.len()).finish()
    }
}

#[cfg(test)]
mod tests;
