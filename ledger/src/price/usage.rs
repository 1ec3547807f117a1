//! What a call used, by the classes that providers price.

use serde::{Deserialize, Serialize};

use crate::record::is_default;

/// Tokens, calls and pieces by class. The classes are disjoint: `input` excludes what was read from or written to a
/// cache and what was heard or seen, `output` excludes reasoning, audio and images.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    #[serde(skip_serializing_if = "is_default")]
    pub input: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub cached_input: u64,
    /// Written to a cache for the usual time (Anthropic's five minutes).
    #[serde(skip_serializing_if = "is_default")]
    pub cache_write: u64,
    /// Written to a cache for an hour.
    #[serde(skip_serializing_if = "is_default")]
    pub cache_write_1h: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub audio_input: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub image_input: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub output: u64,
    /// Output that was thought and not shown.
    #[serde(skip_serializing_if = "is_default")]
    pub reasoning: u64,
    #[serde(skip_serializing_if = "is_default")]
    pub audio_output: u64,
    /// Tokens of images that were made.
    #[serde(skip_serializing_if = "is_default")]
    pub image_output: u64,
    /// Calls of the provider. A record that tells none is that of one.
    #[serde(skip_serializing_if = "is_default")]
    pub requests: u64,
    /// Searches that the provider made for the answer.
    #[serde(skip_serializing_if = "is_default")]
    pub searches: u64,
    /// Images that were made.
    #[serde(skip_serializing_if = "is_default")]
    pub images: u64,
    /// Seconds that were heard or spoken; a part of one counts as one.
    #[serde(skip_serializing_if = "is_default")]
    pub seconds: u64,
    /// Characters that were spoken.
    #[serde(skip_serializing_if = "is_default")]
    pub characters: u64,
    /// Answered at leisure, as a part of a batch.
    #[serde(skip_serializing_if = "is_default")]
    pub batch: bool,
    /// Counted by us, because the provider did not say.
    #[serde(skip_serializing_if = "is_default")]
    pub estimated: bool,
}

impl Usage {
    /// Every token of the prompt, whatever its class: what long-context tiers go by.
    pub fn all_input(&self) -> u64 {
        [self.input, self.cached_input, self.cache_write, self.cache_write_1h, self.audio_input, self.image_input]
            .into_iter()
            .fold(0, u64::saturating_add)
    }

    /// Every token of the answer, whatever its class.
    pub fn all_output(&self) -> u64 {
        [self.reasoning, self.audio_output, self.image_output].into_iter().fold(self.output, u64::saturating_add)
    }

    /// Tokens written to a cache, for however long.
    pub fn all_cache_writes(&self) -> u64 {
        self.cache_write.saturating_add(self.cache_write_1h)
    }
}
