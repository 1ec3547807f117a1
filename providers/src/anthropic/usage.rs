//! What Anthropic says it bills. It comes at the start of a stream and again, cumulative, at its end.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::request::Usage;

/// Usage as it stands on the wire; every class may be missing or null.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct Wire {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_creation_input_tokens: Option<u64>,
    cache_creation: Option<Written>,
    output_tokens_details: Option<Details>,
    server_tool_use: Option<Tools>,
}

/// What of the writes to the cache was for how long.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Written {
    ephemeral_5m_input_tokens: Option<u64>,
    ephemeral_1h_input_tokens: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Tools {
    web_search_requests: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Details {
    thinking_tokens: Option<u64>,
}

/// What was told so far. Cumulative counts only grow, so the greater one counts; a proxy that repeats an empty
/// `input_tokens` at the end takes nothing back.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    /// `cache_write` is all writes until it is told.
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
        let written = wire.cache_creation.unwrap_or_default();
        let (short, hour) = (written.ephemeral_5m_input_tokens, written.ephemeral_1h_input_tokens);
        grow(&mut self.usage.cache_write, wire.cache_creation_input_tokens);
        grow(&mut self.usage.cache_write, short.map(|it| it.saturating_add(hour.unwrap_or(0))).or(hour));
        grow(&mut self.usage.cache_write_1h, hour);
        grow(&mut self.usage.searches, wire.server_tool_use.and_then(|tools| tools.web_search_requests));
        self.thinking = self.thinking.max(wire.output_tokens_details.and_then(|details| details.thinking_tokens));
        self.told = true;
    }

    /// The classes, if anything was told.
    pub(super) fn usage(&self) -> Option<Usage> {
        let Usage { cache_write, cache_write_1h, output, .. } = self.usage;
        let reasoning = self.thinking.unwrap_or(0).min(output);
        let cache_write = cache_write.saturating_sub(cache_write_1h);
        self.told.then_some(Usage { cache_write, reasoning, ..self.usage })
    }

    /// The same as OpenAI writes it: `prompt_tokens` is all input.
    pub(super) fn openai(&self) -> Value {
        let usage = self.usage().unwrap_or_default();
        let prompt = usage.all_input();
        let written = usage.cache_write.saturating_add(usage.cache_write_1h);
        let mut told = json!({
            "prompt_tokens": prompt,
            "completion_tokens": usage.output,
            "total_tokens": prompt.saturating_add(usage.output),
            "prompt_tokens_details": {"cached_tokens": usage.cached_input, "cache_write_tokens": written},
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
        "cache_creation_input_tokens": usage.cache_write.saturating_add(usage.cache_write_1h),
        "cache_read_input_tokens": usage.cached_input,
        "output_tokens": usage.output,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_to_the_cache_are_told_by_how_long_they_are_kept_and_searches_are_counted() {
        let hour = r#"{"input_tokens":3,"cache_creation_input_tokens":10,"cache_creation":{"ephemeral_5m_input_tokens":4,"ephemeral_1h_input_tokens":6},"output_tokens":1}"#;
        let end = r#"{"output_tokens":20,"output_tokens_details":{"thinking_tokens":12},"server_tool_use":{"web_search_requests":2}}"#;
        let whole = Usage { input: 3, cache_write: 4, cache_write_1h: 6, output: 1, ..Usage::default() };
        for (told, expected) in [
            (vec![hour], whole),
            (vec![hour, end], Usage { output: 20, reasoning: 12, searches: 2, ..whole }),
            (vec![r#"{"cache_creation_input_tokens":10}"#], Usage { cache_write: 10, ..Usage::default() }),
            (
                vec![r#"{"cache_creation":{"ephemeral_1h_input_tokens":6}}"#],
                Usage { cache_write_1h: 6, ..Usage::default() },
            ),
            (
                vec![r#"{"cache_creation":null,"server_tool_use":null,"input_tokens":1}"#],
                Usage { input: 1, ..Usage::default() },
            ),
        ] {
            let mut tally = Tally::default();
            told.iter().for_each(|raw| tally.add(&serde_json::from_str(raw).expect(raw)));
            assert_eq!(tally.usage(), Some(expected), "{told:?}");
        }
    }
}
