//! What the Responses API says it bills, as the house's classes.

use serde::Deserialize;

use super::wire::Response;
use crate::request::Usage;

/// Usage as it stands on the wire. Servers that only resemble OpenAI leave the details out.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct Wire {
    input_tokens: Option<u64>,
    output_tokens: Option<u64>,
    total_tokens: Option<u64>,
    input_tokens_details: Option<Input>,
    output_tokens_details: Option<Output>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Input {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    cache_write_tokens_details: Option<Written>,
}

/// What of the writes to the cache was for how long.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Written {
    ttl_12h_tokens: Option<u64>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Output {
    reasoning_tokens: Option<u64>,
}

/// What hosted tools used, which is told beside the usage of tokens.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub(super) struct Tools {
    web_search: Option<Searches>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
struct Searches {
    num_requests: Option<u64>,
}

/// What a response says that it costs.
pub(super) fn of(response: &Response<'_>) -> Option<Usage> {
    read(response.usage.as_ref(), response.tool_usage.as_ref())
}

/// The classes; none if the wire tells nothing.
fn read(wire: Option<&Wire>, tools: Option<&Tools>) -> Option<Usage> {
    let wire = wire?;
    let all = wire.input_tokens?;
    let stated = wire.output_tokens.unwrap_or(0);
    let output = wire.total_tokens.map_or(stated, |total| stated.max(total.saturating_sub(all)));
    let of_input = wire.input_tokens_details.unwrap_or_default();
    let of_output = wire.output_tokens_details.unwrap_or_default();
    // Parts are taken out of the whole one by one, so that parts that overlap are not billed twice.
    let mut input = all;
    let mut take = |part: Option<u64>| {
        let part = part.unwrap_or(0).min(input);
        input -= part;
        part
    };
    let cached_input = take(of_input.cached_tokens);
    let written = take(of_input.cache_write_tokens);
    // Kept for longer than usual; the longer class is the dearer one, so nothing is told too low.
    let longer = of_input.cache_write_tokens_details.and_then(|it| it.ttl_12h_tokens).unwrap_or(0).min(written);
    let searches = tools.and_then(|tools| tools.web_search).and_then(|it| it.num_requests).unwrap_or(0);
    Some(Usage {
        input,
        cached_input,
        cache_write: written - longer,
        cache_write_1h: longer,
        output,
        reasoning: of_output.reasoning_tokens.unwrap_or(0).min(output),
        searches,
        ..Usage::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_classes_are_disjoint_and_what_was_thought_is_part_of_the_output() {
        for (raw, expected) in [
            (r#"{}"#, None),
            (r#"{"input_tokens":3,"output_tokens":4}"#, Some(Usage { input: 3, output: 4, ..Usage::default() })),
            (
                r#"{"input_tokens":100,"input_tokens_details":{"cached_tokens":60,"cache_write_tokens":30},"output_tokens":9,"output_tokens_details":{"reasoning_tokens":5},"total_tokens":109}"#,
                Some(Usage {
                    input: 10,
                    cached_input: 60,
                    cache_write: 30,
                    output: 9,
                    reasoning: 5,
                    ..Usage::default()
                }),
            ),
            (
                r#"{"input_tokens":9,"input_tokens_details":{"cached_tokens":8,"cache_write_tokens":7,"cache_write_tokens_details":{"ttl_12h_tokens":5,"ttl_30m_tokens":2}},"output_tokens":1}"#,
                Some(Usage { cached_input: 8, cache_write_1h: 1, output: 1, ..Usage::default() }),
            ),
            (
                r#"{"input_tokens":9,"input_tokens_details":null,"output_tokens":1,"output_tokens_details":{"reasoning_tokens":3},"total_tokens":14}"#,
                Some(Usage { input: 9, output: 5, reasoning: 3, ..Usage::default() }),
            ),
        ] {
            assert_eq!(read(Some(&serde_json::from_str(raw).unwrap()), None), expected, "{raw}");
        }
        let (wire, tools) = (r#"{"input_tokens":1}"#, r#"{"web_search":{"num_requests":2}}"#);
        let usage = read(Some(&serde_json::from_str(wire).unwrap()), Some(&serde_json::from_str(tools).unwrap()));
        assert_eq!(usage.map(|it| it.searches), Some(2));
    }
}
