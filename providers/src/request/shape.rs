//! The wires that are spoken here, and what is asked over them.

use serde::Deserialize;

/// The dialect of a wire: the caller's or the target's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// `POST /v1/chat/completions`.
    OpenAi,
    /// `POST /v1/responses`.
    Responses,
    /// `POST /v1/messages`.
    Anthropic,
    /// `POST /v1beta/models/{model}:generateContent` and `:streamGenerateContent`.
    Gemini,
    /// `POST /v1/completions`.
    Completions,
    /// `POST /v1/embeddings`.
    Embeddings,
    /// `POST /v1/moderations`.
    Moderations,
    /// `POST /v1/images/generations`.
    Images,
    /// `POST /v1/images/edits`.
    ImageEdits,
    /// `POST /v1/audio/speech`.
    Speech,
    /// `POST /v1/audio/transcriptions`.
    Transcriptions,
    /// `POST /v1/audio/translations`.
    Translations,
    /// `POST /v1/rerank`.
    Rerank,
    /// An event of a client at the WebSocket `/v1/realtime`.
    Realtime,
}

/// In whose words errors are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    /// `{"error":{"message","type","param","code"}}`.
    OpenAi,
    /// `{"type":"error","error":{…}}`.
    Anthropic,
    /// `{"error":{"code","message","status"}}`.
    Gemini,
}

/// What a model can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// A conversation, in whatever shape.
    Chat,
    /// A text continued.
    Completions,
    /// Texts as vectors.
    Embeddings,
    /// Texts judged.
    Moderations,
    /// Images made or edited.
    Images,
    /// A text spoken.
    Speech,
    /// Speech written down, or translated.
    Transcriptions,
    /// Texts put in order.
    Rerank,
    /// A spoken conversation over one connection.
    Realtime,
}

impl Shape {
    /// A conversation with a model, which every other conversation can be translated to.
    pub const fn is_chat(self) -> bool {
        matches!(self, Shape::OpenAi | Shape::Responses | Shape::Anthropic | Shape::Gemini)
    }

    /// Its body may be a multipart form with files.
    pub const fn takes_forms(self) -> bool {
        matches!(self, Shape::ImageEdits | Shape::Transcriptions | Shape::Translations)
    }

    /// Nothing but a form will do.
    pub(crate) const fn needs_a_form(self) -> bool {
        matches!(self, Shape::Transcriptions | Shape::Translations)
    }

    /// The length of its answer can be capped by the request.
    pub const fn is_capped(self) -> bool {
        self.is_chat() || matches!(self, Shape::Completions)
    }

    /// In whose words errors are told.
    pub const fn family(self) -> Family {
        match self {
            Shape::Anthropic => Family::Anthropic,
            Shape::Gemini => Family::Gemini,
            _ => Family::OpenAi,
        }
    }

    /// The arguments of a tool's call are an object on this wire: half of one cannot be told.
    pub(crate) const fn has_whole_calls(self) -> bool {
        matches!(self, Shape::Anthropic | Shape::Gemini)
    }

    /// What a target must serve to be asked this.
    pub const fn task(self) -> Task {
        match self {
            Shape::OpenAi | Shape::Responses | Shape::Anthropic | Shape::Gemini => Task::Chat,
            Shape::Completions => Task::Completions,
            Shape::Embeddings => Task::Embeddings,
            Shape::Moderations => Task::Moderations,
            Shape::Images | Shape::ImageEdits => Task::Images,
            Shape::Speech => Task::Speech,
            Shape::Transcriptions | Shape::Translations => Task::Transcriptions,
            Shape::Rerank => Task::Rerank,
            Shape::Realtime => Task::Realtime,
        }
    }
}

impl Task {
    /// The name in the catalogue and in refusals.
    pub const fn as_str(self) -> &'static str {
        match self {
            Task::Chat => "chat",
            Task::Completions => "completions",
            Task::Embeddings => "embeddings",
            Task::Moderations => "moderations",
            Task::Images => "images",
            Task::Speech => "speech",
            Task::Transcriptions => "transcriptions",
            Task::Rerank => "rerank",
            Task::Realtime => "realtime",
        }
    }
}
