//! What Bedrock says it bills. Its classes of input are disjoint already: `inputTokens` is what was neither read from its cache nor
//! written to it. It does not tell what of the output was thought.

use serde::Deserialize;

use crate::request::Usage;

/// Usage as it stands on the wire.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Wire {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    cache_read_input_tokens: Option<u64>,
    cache_write_input_tokens: Option<u64>,
    cache_details: Option<Vec<Written>>,
}

/// What was written to the cache for how long.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    ttl: Option<String>,
    input_tokens: Option<u64>,
}

impl Wire {
    /// The classes.
    pub(super) fn read(&self) -> Usage {
        let details = self.cache_details.iter().flatten();
        let by_ttl = |hour: bool| {
            let of = details.clone().filter(move |it| (it.ttl.as_deref() == Some("1h")) == hour);
            of.fold(0u64, |sum, it| sum.saturating_add(it.input_tokens.unwrap_or(0)))
        };
        let (short, hour) = (by_ttl(false), by_ttl(true));
        let written = self.cache_write_input_tokens.unwrap_or(0).max(short.saturating_add(hour));
        Usage {
            input: self.input_tokens.unwrap_or(0),
            cached_input: self.cache_read_input_tokens.unwrap_or(0),
            cache_write: written - hour,
            cache_write_1h: hour,
            output: self.output_tokens.unwrap_or(0),
            ..Usage::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_cached_is_no_part_of_the_input() {
        let plain = Usage { input: 3, output: 5, ..Usage::default() };
        for (told, expected) in [
            (r#"{"inputTokens":3,"outputTokens":5,"totalTokens":8}"#, plain),
            (
                r#"{"inputTokens":3,"outputTokens":5,"cacheReadInputTokens":7,"cacheWriteInputTokens":10,"cacheDetails":[]}"#,
                Usage { cached_input: 7, cache_write: 10, ..plain },
            ),
            (
                r#"{"inputTokens":3,"outputTokens":5,"cacheWriteInputTokens":10,"cacheDetails":[{"ttl":"1h","inputTokens":6},{"ttl":"5m","inputTokens":4}]}"#,
                Usage { cache_write: 4, cache_write_1h: 6, ..plain },
            ),
            (
                r#"{"inputTokens":3,"outputTokens":5,"cacheWriteInputTokens":2,"cacheDetails":[{"ttl":"1h","inputTokens":6}]}"#,
                Usage { cache_write_1h: 6, ..plain },
            ),
            (r#"{"inputTokens":null,"cacheDetails":null}"#, Usage::default()),
        ] {
            assert_eq!(serde_json::from_str::<Wire>(told).expect(told).read(), expected, "{told}");
        }
    }
}
