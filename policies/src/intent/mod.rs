//! What kind of work a request seems to be, and how demanding: a guess from the shape and words of it, cheap enough for every call.

/// What the guess is made from.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked<'a> {
    /// What the app told the model to be.
    pub system: &'a [&'a str],
    /// The conversation's other texts, oldest first.
    pub conversation: &'a [&'a str],
    /// Whether tools are offered.
    pub tools: bool,
    /// Whether images are sent.
    pub images: bool,
    /// Whether the answer has to be JSON.
    pub json: bool,
    /// An upper bound of the prompt's tokens.
    pub input_tokens: u64,
}

/// What kind of work it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Intent {
    /// Conversation, and whatever is nothing else.
    #[default]
    Chat,
}

impl Intent {
    /// The name that rules know.
    pub fn as_str(self) -> &'static str {
        match self {
            Intent::Chat => "chat",
        }
    }
}

/// A guess.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Classified {
    /// What kind of work.
    pub intent: Intent,
    /// How sure, in percent.
    pub confidence: u8,
    /// How demanding: 1 (trivial) … 4 (hard).
    pub tier: u8,
}

/// Guesses. Bounded: only the beginning and the end of long texts are looked at.
pub fn classify(_asked: &Asked<'_>) -> Classified {
    Classified { intent: Intent::Chat, confidence: 0, tier: 1 }
}
