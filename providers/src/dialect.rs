//! A dialect: what one family of servers speaks. Pure: bytes in, events out; `send.rs` does the IO.
//!
//! Four pairings go through two seams:
//! - the *dialect* of the target encodes the request (converting it first if the caller speaks another shape) and reads the answer;
//! - the *outlet* writes the caller's wire. Dialects hand it OpenAI-shaped chunks, whatever the target said, except that a
//!   dialect whose caller speaks its own shape passes everything through as it came and needs no outlet.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use url::Url;

use crate::catalog::{Auth, Quirks};
use crate::credentials::{AwsKeys, Live, Secret};
use crate::error::{Class, ProviderError};
use crate::gather::Assembly;
use crate::one_call::{self, OneCall};
use crate::request::{AnswerEvent, End, ModelRequest, Shape, Usage};

/// What one family of servers speaks.
pub trait Dialect: Send + Sync {
    /// The shape of its servers, if callers speak it too: their bodies are spliced, and their answers pass as they come.
    fn own_shape(&self) -> Option<Shape>;

    /// Puts the events of one stream together, for callers of its own shape who want JSON. Without one, such an answer is asked
    /// whole; callers of other shapes are gathered through the hub.
    fn assembly(&self, _request: &ModelRequest) -> Option<Box<dyn Assembly>> {
        None
    }

    /// The request as the target wants it. The caller's shape may differ from the target's.
    fn encode(&self, request: &ModelRequest, aim: &Aim<'_>) -> Result<HttpRequest, Unsupported>;

    /// The question for the provider's own list of models; none where it keeps none that can be asked with this key.
    fn list_models(&self, aim: &Aim<'_>) -> Option<Result<HttpRequest, Unsupported>> {
        Some(aim.get("models"))
    }

    /// Where a realtime conversation is opened; none where there are none.
    fn realtime(&self, _aim: &Aim<'_>) -> Option<Result<HttpRequest, Unsupported>> {
        None
    }

    /// The question how many tokens a request has, where the servers answer it for nothing and in the caller's words: JSON with
    /// `input_tokens`.
    fn counting(&self, _request: &ModelRequest, _aim: &Aim<'_>) -> Option<Result<HttpRequest, Unsupported>> {
        None
    }

    /// A reader for one successful answer; `content_type` is the answer's own, lower case or not, parameters included.
    fn decoder(&self, request: &ModelRequest, content_type: &str) -> Box<dyn Decoder>;

    /// What an answer with another status than 2xx means. May look into `body` to sort it, never quotes it.
    fn explain(&self, status: u16, headers: &HeaderMap, body: &[u8]) -> ProviderError;
}

/// Reads one answer. Bounded, and the events are the same under every split of the bytes.
pub trait Decoder: Send {
    /// Takes the next bytes. After an error the decoder is not asked again.
    fn feed(&mut self, bytes: &[u8], out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError>;

    /// The answer has ended. Gives [`AnswerEvent::End`] if it has not been given yet, or says that the answer broke off.
    fn finish(&mut self, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError>;

    /// The answer came as one body: it is made and billed already, so stopping it would save nothing.
    fn is_whole(&self) -> bool {
        false
    }

    /// How many of these next bytes bring it to the end of an event, if one ends there; all of them if none does. At least one.
    fn event_end(&self, rest: &[u8]) -> usize {
        crate::sse::event_end(rest)
    }

    /// The model that answered, as the provider calls it, once it has said so: `gpt-4o-2024-08-06` where `gpt-4o` was asked.
    fn model(&self) -> Option<&str> {
        None
    }

    /// What the caller's answer is, where it is neither JSON nor an event stream.
    fn content_type(&self) -> Option<&str> {
        None
    }

    /// Ends an answer that is gathered for a JSON caller before the event that was read last. `note` is a JSON object that says why.
    fn cut(&mut self, _note: &str) -> Option<End> {
        None
    }
}

/// Writes the caller's wire from OpenAI-shaped chunks. One per call.
pub trait Outlet: Send {
    /// The caller's wire event(s) for one `chat.completion.chunk`, given as the JSON text of the chunk. Never called with a
    /// chunk that has an empty `choices` (that is usage, which comes with [`Finish`]). May be empty.
    fn chunk(&mut self, chunk: &str) -> Result<Bytes, ProviderError>;

    /// The stream has ended well.
    fn end(self: Box<Self>, finish: Finish) -> End;

    /// One whole `chat.completion` body becomes the caller's whole body. `Finish` is what was read from it.
    fn whole(self: Box<Self>, body: Bytes, finish: Finish) -> Result<End, ProviderError>;
}

/// What a decoder knows when the answer has ended.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Finish {
    /// The last finish reason, in OpenAI's words (`stop`, `length`, `tool_calls`, `content_filter`).
    pub reason: Option<String>,
    /// What the provider reported, if it did.
    pub usage: Option<Usage>,
    /// The provider's last chunk with usage, as its JSON text, OpenAI-shaped.
    pub usage_chunk: Option<String>,
}

/// Where a request goes.
#[derive(Clone, Copy)]
pub struct Aim<'a> {
    /// Up to and including the version: `https://api.openai.com/v1`.
    pub base_url: &'a Url,
    /// The target's own name of the model.
    pub model: &'a str,
    /// The output cap to send, always; per choice.
    pub cap: u64,
    /// The provider key.
    pub key: Option<&'a Secret>,
    /// How the key is shown.
    pub auth: Auth,
    /// Further headers from the configuration.
    pub headers: &'a [(HeaderName, HeaderValue)],
    /// What this target wants otherwise than the rest.
    pub quirks: &'a Quirks,
    /// What its provider is told beside that, by the configuration: `api_version`, `project`, `location`…
    pub settings: &'a BTreeMap<String, String>,
    /// Keys that sign a request instead of being shown.
    pub aws: Option<&'a Live<AwsKeys>>,
    /// The time, for signatures.
    pub now: SystemTime,
}

#[cfg(test)]
impl<'a> Aim<'a> {
    /// A target for tests: no key, no settings, at the beginning of time.
    pub(crate) fn at(base_url: &'a Url, model: &'a str, cap: u64, quirks: &'a Quirks) -> Aim<'a> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        let now = SystemTime::UNIX_EPOCH;
        Aim {
            base_url,
            model,
            cap,
            key: None,
            auth: Auth::Bearer,
            headers: &[],
            quirks,
            settings: &NONE,
            aws: None,
            now,
        }
    }
}

impl<'a> Aim<'a> {
    /// The same target, shown a token that was fetched in place of a key.
    pub(crate) fn with_token(self, token: Option<&'a Secret>) -> Aim<'a> {
        match token {
            Some(token) => Aim { key: Some(token), auth: Auth::Bearer, ..self },
            None => self,
        }
    }

    /// `base_url` + `path` (`chat/completions`), whether or not the base ends in a slash; its query is kept.
    pub fn url(&self, path: &str) -> Url {
        let mut url = self.base_url.clone();
        let base = url.path().trim_end_matches('/').to_owned();
        url.set_path(&format!("{base}/{path}"));
        url
    }

    /// A question without a body.
    pub(crate) fn get(&self, path: &str) -> Result<HttpRequest, Unsupported> {
        let mut headers = self.header_map()?;
        headers.remove(http::header::CONTENT_TYPE);
        Ok(HttpRequest { method: Method::GET, url: self.url(path), headers, body: Bytes::new() })
    }

    /// The headers every request has: content type, key, configured ones.
    pub fn header_map(&self) -> Result<HeaderMap, Unsupported> {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(key) = self.key {
            let (name, value) =
                self.auth.header(key).ok_or_else(|| Unsupported::new("the provider key cannot be sent in a header"))?;
            headers.insert(name, value);
        }
        for (name, value) in self.headers {
            headers.insert(name.clone(), value.clone());
        }
        Ok(headers)
    }
}

/// A request ready to be sent. Its `Debug` shows no header values (they hold keys).
#[derive(Clone)]
pub struct HttpRequest {
    /// Mostly POST.
    pub method: Method,
    /// Whole.
    pub url: Url,
    /// Key included.
    pub headers: HeaderMap,
    /// JSON.
    pub body: Bytes,
}

impl std::fmt::Debug for HttpRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HttpRequest")
            .field("method", &self.method)
            .field("host", &self.url.host_str())
            .field("bytes", &self.body.len())
            .finish()
    }
}

/// The target cannot be asked this; nothing was sent. The message names the member, never its content.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unsupported {
    /// The place, as in `messages[2].content[0]`.
    pub param: Option<String>,
    /// Ours.
    pub message: String,
}

impl Unsupported {
    /// Without a place.
    pub fn new(message: impl Into<String>) -> Unsupported {
        Unsupported { param: None, message: message.into() }
    }

    /// With its place.
    pub fn at(param: impl Into<String>, message: impl Into<String>) -> Unsupported {
        Unsupported { param: Some(param.into()), message: message.into() }
    }
}

impl From<Unsupported> for ProviderError {
    fn from(it: Unsupported) -> ProviderError {
        ProviderError { param: it.param, ..ProviderError::new(Class::Unsupported, it.message) }
    }
}

/// The outlet for this caller.
pub(crate) fn outlet(request: &ModelRequest) -> Box<dyn Outlet> {
    let outlet: Box<dyn Outlet> = match request.shape() {
        Shape::Anthropic => crate::anthropic::outlet(request),
        Shape::Responses => crate::responses::outlet(request),
        Shape::Gemini => crate::gemini::outlet(request),
        _ => Box::new(crate::openai::OpenAiOutlet::new(request.wants_usage())),
    };
    if one_call::wanted(request) { Box::new(OneCall(outlet)) } else { outlet }
}
