//! Responses' usage object, to and from the house's.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::request::Usage;

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    input_tokens: Option<u64>,
    #[serde(default)]
    output_tokens: Option<u64>,
    #[serde(default)]
    total_tokens: Option<u64>,
    #[serde(default)]
    input_tokens_details: Option<Input>,
    #[serde(default)]
    output_tokens_details: Option<Output>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Input {
    cached_tokens: Option<u64>,
    cache_write_tokens: Option<u64>,
    cache_write_tokens_details: Option<Written>,
    audio_tokens: Option<u64>,
    image_tokens: Option<u64>,
}

/// What is kept for longer is dearer: all that is not for half an hour counts with the dearer class.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Written {
    ttl_12h_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Output {
    reasoning_tokens: Option<u64>,
    audio_tokens: Option<u64>,
}

/// Reads a usage object; none if it tells nothing.
pub(super) fn read(raw: &str) -> Option<Usage> {
    let wire: Wire = serde_json::from_str(raw).ok()?;
    let prompt = wire.input_tokens?;
    let stated = wire.output_tokens.unwrap_or(0);
    let output = wire.total_tokens.map_or(stated, |total| stated.max(total.saturating_sub(prompt)));
    let (of_input, of_output) =
        (wire.input_tokens_details.unwrap_or_default(), wire.output_tokens_details.unwrap_or_default());
    // Part by part out of the whole, so that parts that overlap are not paid twice.
    let (mut input, mut left) = (prompt, output);
    let take = |whole: &mut u64, part: Option<u64>| {
        let part = part.unwrap_or(0).min(*whole);
        *whole -= part;
        part
    };
    let cached_input = take(&mut input, of_input.cached_tokens);
    let mut cache_write = take(&mut input, of_input.cache_write_tokens);
    let longer = of_input.cache_write_tokens_details.and_then(|it| it.ttl_12h_tokens);
    Some(Usage {
        cached_input,
        cache_write_1h: take(&mut cache_write, longer),
        cache_write,
        audio_input: take(&mut input, of_input.audio_tokens),
        image_input: take(&mut input, of_input.image_tokens),
        input,
        reasoning: take(&mut left, of_output.reasoning_tokens),
        audio_output: take(&mut left, of_output.audio_tokens),
        output,
        ..Usage::default()
    })
}

/// Writes a usage object.
pub(crate) fn object(usage: &Usage) -> Value {
    let input = usage.all_input();
    json!({
        "input_tokens": input,
        "input_tokens_details": {
            "cached_tokens": usage.cached_input,
            "cache_write_tokens": usage.cache_write.saturating_add(usage.cache_write_1h),
        },
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": input.saturating_add(usage.output),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_of_input_are_disjoint_and_output_has_what_was_thought() {
        for (raw, expected) in [
            (
                r#"{"input_tokens":10,"output_tokens":5,"total_tokens":15}"#,
                Some(Usage { input: 10, output: 5, ..Usage::default() }),
            ),
            (
                r#"{"input_tokens":30,"input_tokens_details":{"cached_tokens":20,"cache_write_tokens":8,"cache_write_tokens_details":{"ttl_12h_tokens":3,"ttl_30m_tokens":5}},"output_tokens":9,"output_tokens_details":{"reasoning_tokens":4}}"#,
                Some(Usage {
                    input: 2,
                    cached_input: 20,
                    cache_write: 5,
                    cache_write_1h: 3,
                    output: 9,
                    reasoning: 4,
                    ..Usage::default()
                }),
            ),
            (
                r#"{"input_tokens":10,"output_tokens":5,"total_tokens":40,"input_tokens_details":null}"#,
                Some(Usage { input: 10, output: 30, ..Usage::default() }),
            ),
            (
                r#"{"input_tokens":2,"input_tokens_details":{"cached_tokens":9,"cache_write_tokens":9}}"#,
                Some(Usage { cached_input: 2, ..Usage::default() }),
            ),
            ("{}", None),
            ("null", None),
            (r#"{"input_tokens":-1}"#, None),
        ] {
            assert_eq!(read(raw), expected, "{raw}");
        }
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let usage = Usage { input: 6, cached_input: 4, cache_write: 2, output: 5, reasoning: 3, ..Usage::default() };
        assert_eq!(read(&object(&usage).to_string()), Some(usage));
    }
}
