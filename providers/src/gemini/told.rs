//! A candidate as OpenAI's delta or message, on its way out.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::{Value, json};

use super::wire::Blob;

/// What one event adds to one choice.
#[derive(Default, Serialize)]
pub(super) struct Delta<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// Written as null in the first piece of a choice that begins with something else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Answer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<&'static str>,
    #[serde(skip_serializing_if = "Answer::is_none")]
    pub reasoning_content: Answer<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<Call<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub thinking_blocks: Vec<Thought<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio: Option<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub annotations: Vec<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_content: Option<Extra<'a>>,
}

/// A text that may be null. The pieces of one event are mostly one, and then borrowed.
#[derive(Default, Serialize)]
#[serde(transparent)]
pub(super) struct Answer<'a>(Option<Cow<'a, str>>);

#[derive(Serialize)]
pub(super) struct Call<'a> {
    /// The place in a stream; a whole answer has them in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub index: Option<u64>,
    pub id: Cow<'a, str>,
    #[serde(rename = "type")]
    pub kind: &'static str,
    pub function: Function<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub extra_content: Option<Extra<'a>>,
}

#[derive(Serialize)]
pub(super) struct Function<'a> {
    pub name: &'a str,
    pub arguments: &'a str,
}

/// `{"google": {"thought_signature": …}}`
#[derive(Serialize)]
pub(super) struct Extra<'a> {
    google: Google<'a>,
}

#[derive(Serialize)]
struct Google<'a> {
    thought_signature: &'a str,
}

/// A signed thought. Clients sum the elements of a list by their `index`.
#[derive(Serialize)]
pub(super) struct Thought<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    index: Option<u64>,
    #[serde(rename = "type")]
    kind: &'static str,
    thinking: &'a str,
    signature: String,
}

pub(super) fn signed(thought_signature: &str) -> Extra<'_> {
    Extra { google: Google { thought_signature } }
}

impl<'a> Thought<'a> {
    pub(super) fn new(index: u64, thinking: &'a str, signature: String) -> Thought<'a> {
        Thought { index: Some(index), kind: "thinking", thinking, signature }
    }
}

impl<'a> Answer<'a> {
    pub(super) fn push(into: &mut Answer<'a>, text: &'a str) {
        match &mut into.0 {
            _ if text.is_empty() => {}
            Some(said) => said.to_mut().push_str(text),
            nothing => *nothing = Some(Cow::Borrowed(text)),
        }
    }

    fn is_none(&self) -> bool {
        self.0.is_none()
    }

    fn text(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

impl<'a> Delta<'a> {
    /// The first piece of a choice.
    pub(super) fn first() -> Delta<'a> {
        Delta { role: Some("assistant"), content: Some(Answer::default()), ..Delta::default() }
    }

    /// The client can see something of the answer in it.
    pub(super) fn says_something(&self) -> bool {
        self.content.as_ref().is_some_and(|content| !content.is_none())
            || self.refusal.is_some()
            || !self.reasoning_content.is_none()
            || !self.tool_calls.is_empty()
            || !self.images.is_empty()
            || self.audio.is_some()
            || !self.annotations.is_empty()
    }

    /// The output text to count.
    pub(super) fn counted(&self) -> String {
        let mut text = self.reasoning_content.text().to_owned();
        text.push_str(self.content.as_ref().map(Answer::text).unwrap_or_default());
        for call in &self.tool_calls {
            text.push_str(call.function.name);
            text.push_str(call.function.arguments);
        }
        text
    }

    /// Lists as a whole answer has them.
    pub(super) fn without_places(&mut self) {
        self.tool_calls.iter_mut().for_each(|call| call.index = None);
        self.thinking_blocks.iter_mut().for_each(|block| block.index = None);
    }

    /// A picture, or speech. What was drawn while thinking is a draft, and not shown.
    pub(super) fn add_media(&mut self, blob: &Blob<'_>, signature: Option<&str>, thought: bool) {
        let (mime, data) = (blob.mime_type.as_deref().unwrap_or_default(), blob.data.as_deref().unwrap_or_default());
        if thought || data.is_empty() {
            return;
        }
        if mime.starts_with("audio/") {
            match &mut self.audio {
                None => self.audio = Some(json!({"id": "", "data": data, "transcript": "", "expires_at": 0})),
                Some(audio) => audio["data"] = json!(joined(audio["data"].as_str().unwrap_or_default(), data)),
            }
            return;
        }
        let mut image = json!({"type": "image_url", "image_url": {"url": format!("data:{mime};base64,{data}")}});
        if let Some(signature) = signature {
            image["extra_content"] = json!(signed(signature));
        }
        self.images.push(image);
    }
}

/// Two pieces of base64 as one.
fn joined(first: &str, second: &str) -> String {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    match (first.ends_with('='), STANDARD.decode(first), STANDARD.decode(second)) {
        (true, Ok(mut bytes), Ok(more)) => {
            bytes.extend(more);
            STANDARD.encode(bytes)
        }
        _ => format!("{first}{second}"),
    }
}
