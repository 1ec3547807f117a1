//! The words of OpenTelemetry's GenAI conventions for what the house calls otherwise.

/// What has no word.
pub const OTHER: &str = "other";

/// What calls do, as `gen_ai.operation.name`. Where the conventions have no word of their own, one in their spirit.
pub const OPERATIONS: [&str; 12] = [
    "chat",
    "text_completion",
    "embeddings",
    "generate_content",
    "moderation",
    "image_generation",
    "speech",
    "transcription",
    "rerank",
    "realtime",
    "batch",
    OTHER,
];

/// The operation of a kind of call, and its place among [`OPERATIONS`].
pub fn operation(kind: &str) -> (usize, &'static str) {
    let word = match kind {
        "chat.completions" | "messages" | "responses" => "chat",
        "completions" => "text_completion",
        "embeddings" => "embeddings",
        "moderations" => "moderation",
        "images.generations" | "images.edits" => "image_generation",
        "audio.speech" => "speech",
        "audio.transcriptions" | "audio.translations" => "transcription",
        "rerank" => "rerank",
        "realtime" => "realtime",
        "batches" => "batch",
        kind if kind.contains("generate") || kind.contains("Generate") => "generate_content",
        _ => OTHER,
    };
    let index = OPERATIONS.iter().position(|it| *it == word).unwrap_or(OPERATIONS.len() - 1);
    (index, word)
}

/// The provider's name in the conventions, from its kind; where they have none, the kind.
pub fn provider(kind: &str) -> &str {
    match kind {
        "openai-eu" | "openai-us" => "openai",
        "azure" => "azure.ai.openai",
        "azure-foundry" => "azure.ai.inference",
        "bedrock" | "bedrock-openai" => "aws.bedrock",
        "cohere-compat" => "cohere",
        "gemini" | "gemini-openai" => "gcp.gemini",
        "vertex" => "gcp.vertex_ai",
        "mistral" | "codestral" => "mistral_ai",
        "xai" => "x_ai",
        kind => kind,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_call_has_an_operation_that_is_listed() {
        for (kind, word) in [
            ("chat.completions", "chat"),
            ("messages", "chat"),
            ("responses", "chat"),
            ("completions", "text_completion"),
            ("embeddings", "embeddings"),
            ("images.edits", "image_generation"),
            ("realtime", "realtime"),
            ("batches", "batch"),
            ("never heard of", OTHER),
        ] {
            let (index, found) = operation(kind);
            assert_eq!((OPERATIONS[index], found), (word, word), "{kind}");
        }
    }
}
