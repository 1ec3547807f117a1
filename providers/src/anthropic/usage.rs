//! What Anthropic says it bills. It comes at the start of a stream and again, cumulative, at its end.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::chat::Usage;

/// Usage as it stands on the wire; every class may be missing or null.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct Wire {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    output_tokens_details: Option<Details>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Details {
    thinking_tokens: Option<u64>,
}

/// What was told so far. Cumulative counts only grow, so the greater one counts; a proxy that repeats an empty
/// `input_tokens` at the end takes nothing back.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    usage: Usage,
    thinking: Option<u64>,
    told: bool,
}

impl Tally {
    pub(super) fn add(&mut self, wire: &Wire) {
        let grow = |count: &mut u64, told: Option<u64>| *count = (*count).max(told.unwrap_or(0));
        grow(&mut self.usage.input, wire.input_tokens);
        grow(&mut self.usage.output, wire.output_tokens);
        grow(&mut self.usage.cached_input, wire.cache_read_input_tokens);
        grow(&mut self.usage.cache_write, wire.cache_creation_input_tokens);
        self.thinking = self.thinking.max(wire.output_tokens_details.and_then(|details| details.thinking_tokens));
        self.told = true;
    }

    /// The classes, if anything was told.
    pub(super) fn usage(&self) -> Option<Usage> {
        self.told.then_some(self.usage)
    }

    /// The same as OpenAI writes it: `prompt_tokens` is all input.
    pub(super) fn openai(&self) -> Value {
        let usage = &self.usage;
        let prompt = usage.all_input();
        let mut told = json!({
            "prompt_tokens": prompt,
            "completion_tokens": usage.output,
            "total_tokens": prompt.saturating_add(usage.output),
            "prompt_tokens_details": {"cached_tokens": usage.cached_input, "cache_write_tokens": usage.cache_write},
        });
        if let Some(thinking) = self.thinking {
            told["completion_tokens_details"] = json!({"reasoning_tokens": thinking});
        }
        told
    }
}

/// Usage as Anthropic writes it at the end of a message.
pub(crate) fn anthropic(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cached_input,
        "output_tokens": usage.output,
    })
}
