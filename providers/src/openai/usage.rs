//! OpenAI's usage object, to and from the house's.

use serde::Deserialize;

use crate::chat::Usage;

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    total_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<Details>,
    /// DeepSeek's name for the cached part.
    #[serde(default)]
    prompt_cache_hit_tokens: Option<u64>,
    /// Moonshot's, and some others'.
    #[serde(default)]
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: Option<u64>,
}

/// Reads a usage object; none if it tells nothing.
pub(super) fn read(raw: &str) -> Option<Usage> {
    let wire: Wire = serde_json::from_str(raw).ok()?;
    let prompt = wire.prompt_tokens?;
    let stated = wire.completion_tokens.unwrap_or(0);
    // Some providers leave reasoning out of completion_tokens but bill it; the total tells.
    let output = wire.total_tokens.map_or(stated, |total| stated.max(total.saturating_sub(prompt)));
    let cached = wire.prompt_tokens_details.and_then(|it| it.cached_tokens);
    let cached = cached.or(wire.prompt_cache_hit_tokens).or(wire.cached_tokens).unwrap_or(0).min(prompt);
    Some(Usage { input: prompt - cached, cached_input: cached, cache_write: 0, output })
}

/// Writes a usage object.
pub(crate) fn write(usage: &Usage) -> String {
    let prompt = usage.all_input();
    format!(
        "{{\"prompt_tokens\":{prompt},\"completion_tokens\":{},\"total_tokens\":{},\"prompt_tokens_details\":{{\"cached_tokens\":{}}}}}",
        usage.output,
        prompt.saturating_add(usage.output),
        usage.cached_input,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, expected: Option<(u64, u64, u64)>) {
        let expected =
            expected.map(|(input, cached_input, output)| Usage { input, cached_input, cache_write: 0, output });
        assert_eq!(read(raw), expected, "{raw}");
    }

    #[test]
    fn input_excludes_what_was_cached_and_output_includes_what_was_hidden() {
        check(r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":15}"#, Some((10, 0, 5)));
        check(
            r#"{"prompt_tokens":10,"completion_tokens":5,"prompt_tokens_details":{"cached_tokens":4}}"#,
            Some((6, 4, 5)),
        );
        check(r#"{"prompt_tokens":10,"completion_tokens":5,"prompt_cache_hit_tokens":3}"#, Some((7, 3, 5)));
        check(r#"{"prompt_tokens":10,"completion_tokens":5,"total_tokens":40}"#, Some((10, 0, 30)));
        check(
            r#"{"prompt_tokens":10,"completion_tokens":5,"completion_tokens_details":{"reasoning_tokens":4}}"#,
            Some((10, 0, 5)),
        );
        check(r#"{"prompt_tokens":2,"prompt_tokens_details":{"cached_tokens":4}}"#, Some((0, 2, 0)));
        check(r#"{"prompt_tokens":10,"prompt_tokens_details":null}"#, Some((10, 0, 0)));
        check(r#"{}"#, None);
        check(r#"{"prompt_tokens":-1}"#, None);
        check(r#"null"#, None);
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let usage = Usage { input: 6, cached_input: 4, cache_write: 0, output: 5 };
        assert_eq!(read(&write(&usage)), Some(usage));
    }
}
