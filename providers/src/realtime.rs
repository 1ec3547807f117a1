//! The events of a realtime conversation, as far as the gateway has to understand them: what a client's event becomes for its target,
//! and what the provider's events say of responses and of what they are billed. All else passes unread.

use std::ops::Range;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json;
use crate::request::{ModelRequest, Usage};
use crate::splice;

/// How sound is written, as bytes of base64 per token that it is billed as: a token is 100 ms that are heard, 50 ms that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Formats {
    /// Of what the client says.
    pub heard: u64,
    /// Of what the model says.
    pub spoken: u64,
}

impl Default for Formats {
    /// 24,000 samples a second of two bytes each.
    fn default() -> Formats {
        Formats { heard: 6_400, spoken: 3_200 }
    }
}

/// What an event of the provider's means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// The session is, or is now, so.
    Session(Formats),
    /// A response has begun: from here on it is billed.
    Created { response: String },
    /// More of one. `text` and `sound` are bytes on the wire.
    Delta { response: String, text: u64, sound: u64 },
    /// One has ended, whatever way, and this is what is billed for it, if the provider says so.
    Done { response: String, usage: Option<Usage> },
    /// An error that concerns the client's last events. The session goes on.
    Failed,
    /// Whatever else.
    Other,
}

/// Only what is needed, and each part by itself: an odd one must not hide that a response has ended.
#[derive(Deserialize)]
struct Event<'a> {
    #[serde(default, rename = "type")]
    kind: String,
    #[serde(default)]
    response_id: Option<String>,
    #[serde(borrow, default)]
    delta: Option<&'a RawValue>,
    #[serde(borrow, default)]
    response: Option<Response<'a>>,
    #[serde(borrow, default)]
    session: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Response<'a> {
    id: String,
    #[serde(borrow)]
    usage: Option<&'a RawValue>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Session {
    audio: Option<Audio>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Audio {
    input: Option<Side>,
    output: Option<Side>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Side {
    format: Option<Format>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Format {
    #[serde(rename = "type")]
    kind: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Billed {
    input_tokens: u64,
    output_tokens: u64,
    input_token_details: Option<Details>,
    output_token_details: Option<Details>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Details {
    text_tokens: Option<u64>,
    audio_tokens: Option<u64>,
    image_tokens: Option<u64>,
    cached_tokens: Option<u64>,
    reasoning_tokens: Option<u64>,
    cached_tokens_details: Option<Box<Details>>,
}

impl Told {
    /// Reads an event. What cannot be read is of no concern, unless it says that it ends a response.
    pub fn read(event: &str) -> Told {
        let Ok(event) = serde_json::from_str::<Event<'_>>(event) else { return Told::Other };
        match &*event.kind {
            "session.created" | "session.updated" => {
                let session = event.session.and_then(|it| serde_json::from_str::<Session>(it.get()).ok());
                Told::Session(formats(session.and_then(|it| it.audio)))
            }
            "response.created" => Told::Created { response: event.response.unwrap_or_default().id },
            "response.done" => {
                let response = event.response.unwrap_or_default();
                let billed =
                    response.usage.and_then(|it| serde_json::from_str::<Option<Billed>>(it.get()).ok().flatten());
                Told::Done { response: response.id, usage: billed.as_ref().map(usage) }
            }
            "error" => Told::Failed,
            kind if kind.starts_with("response.") && kind.ends_with(".delta") => {
                let length = event.delta.map_or(0, |it| it.get().len().saturating_sub(2) as u64);
                let sounds = kind.ends_with("audio.delta");
                let (text, sound) = if sounds { (0, length) } else { (length, 0) };
                Told::Delta { response: event.response_id.unwrap_or_default(), text, sound }
            }
            _ => Told::Other,
        }
    }
}

fn formats(audio: Option<Audio>) -> Formats {
    let usual = Formats::default();
    let Some(Audio { input, output }) = audio else { return usual };
    // Telephone's formats have 8,000 samples a second of one byte each.
    let narrow = |side: Option<Side>| {
        let kind = side.and_then(|it| it.format).and_then(|it| it.kind);
        kind.is_some_and(|kind| kind.ends_with("pcmu") || kind.ends_with("pcma"))
    };
    Formats {
        heard: if narrow(input) { usual.heard / 6 } else { usual.heard },
        spoken: if narrow(output) { usual.spoken / 6 } else { usual.spoken },
    }
}

/// The provider counts what was cached among the rest, and so does it with what was heard and seen: here every token is of one class.
fn usage(billed: &Billed) -> Usage {
    let none = Details::default();
    let told = billed.input_token_details.as_ref();
    let details = told.unwrap_or(&none);
    let cached = details.cached_tokens.unwrap_or(0).min(billed.input_tokens);
    let of_cached = details.cached_tokens_details.as_deref().unwrap_or(&none);
    let fresh = |all: Option<u64>, cached: Option<u64>| all.unwrap_or(0).saturating_sub(cached.unwrap_or(0));
    let left = billed.input_tokens - cached;
    let audio_input = fresh(details.audio_tokens, of_cached.audio_tokens).min(left);
    let image_input = fresh(details.image_tokens, of_cached.image_tokens).min(left - audio_input);
    let spoken = billed.output_token_details.as_ref();
    let of_output = spoken.unwrap_or(&none);
    let audio_output = of_output.audio_tokens.unwrap_or(0).min(billed.output_tokens);
    Usage {
        input: left - audio_input - image_input,
        cached_input: cached,
        audio_input,
        image_input,
        output: billed.output_tokens,
        reasoning: of_output.reasoning_tokens.unwrap_or(0).min(billed.output_tokens - audio_output),
        audio_output,
        // Of which classes they are is not said: counted as text, and marked.
        estimated: (told.is_none() && billed.input_tokens > 0) || (spoken.is_none() && billed.output_tokens > 0),
        ..Usage::default()
    }
}

/// A client's event in its target's words: the model's own name where the session names one.
pub fn for_target(event: &ModelRequest, model: &str) -> Bytes {
    match &event.view().session_model {
        None => event.body().clone(),
        Some((span, _)) => splice::replace(event.body(), vec![(span.clone(), json::quote(model))]),
    }
}

/// A `session.update` or `response.create` with no higher cap than this.
pub fn capped(event: &ModelRequest, cap: u64) -> Bytes {
    let view = event.view();
    let said = view.max_tokens.filter(|asked| *asked <= cap);
    let (body, text) = (event.body(), cap.to_string());
    let name = "max_output_tokens";
    let edit: (Range<usize>, String) = match (&view.cap, said) {
        (Some(_), Some(_)) => return body.clone(),
        (Some(span), None) => (span.clone(), text),
        (None, _) => {
            let found = view.members.iter().find(|it| matches!(&*it.name, "session" | "response"));
            match found.map(|it| it.value.clone()) {
                Some(span) if body[span.start] == b'{' => {
                    let empty = body[span.start + 1..span.end - 1].iter().all(u8::is_ascii_whitespace);
                    let comma = if empty { "" } else { "," };
                    (span.start + 1..span.start + 1, format!("\"{name}\":{text}{comma}"))
                }
                Some(span) => (span, format!("{{\"{name}\":{text}}}")),
                None => {
                    let Some(last) = view.members.last() else { return body.clone() };
                    (last.value.end..last.value.end, format!(",\"response\":{{\"{name}\":{text}}}"))
                }
            }
        }
    };
    splice::replace(body, vec![edit])
}

impl ModelRequest {
    /// What a realtime event is of: `response.create`, `session.update`…
    pub fn event_kind(&self) -> &str {
        self.member("type").map_or("", |it| it.trim_matches('"'))
    }

    /// The model that a `session.update` names.
    pub fn session_model(&self) -> Option<&str> {
        self.view().session_model.as_ref().map(|(_, model)| &**model)
    }

    /// The cap on output that a realtime event names; none within, where it says that there shall be none.
    pub fn named_cap(&self) -> Option<Option<u64>> {
        self.view().cap.as_ref().map(|_| self.view().max_tokens)
    }

    /// Bytes of sound within an item of a realtime conversation.
    pub fn sound_bytes(&self) -> u64 {
        self.view().sound_bytes
    }

    /// Bytes of images within it.
    pub fn image_bytes(&self) -> u64 {
        self.view().image_bytes
    }
}

#[cfg(test)]
mod tests;
