//! OpenAI's usage object, to and from the house's.

use serde::Deserialize;

use crate::request::Usage;

#[derive(Deserialize)]
struct Wire {
    #[serde(default)]
    prompt_tokens: Option<u64>,
    #[serde(default)]
    completion_tokens: Option<u64>,
    #[serde(default)]
    total_tokens: Option<u64>,
    #[serde(default)]
    prompt_tokens_details: Option<Input>,
    #[serde(default)]
    completion_tokens_details: Option<Output>,
    /// DeepSeek's name for the cached part.
    #[serde(default)]
    prompt_cache_hit_tokens: Option<u64>,
    /// Moonshot's, and some others'.
    #[serde(default)]
    cached_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Input {
    cached_tokens: Option<u64>,
    /// OpenRouter's, and ours.
    cache_write_tokens: Option<u64>,
    audio_tokens: Option<u64>,
    image_tokens: Option<u64>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Output {
    reasoning_tokens: Option<u64>,
    audio_tokens: Option<u64>,
    /// OpenRouter's, and ours.
    image_tokens: Option<u64>,
}

/// Reads a usage object; none if it tells nothing.
pub(super) fn read(raw: &str) -> Option<Usage> {
    let wire: Wire = serde_json::from_str(raw).ok()?;
    let prompt = wire.prompt_tokens?;
    let stated = wire.completion_tokens.unwrap_or(0);
    // Some providers leave reasoning out of completion_tokens but bill it; the total tells.
    let output = wire.total_tokens.map_or(stated, |total| stated.max(total.saturating_sub(prompt)));
    let (of_input, of_output) =
        (wire.prompt_tokens_details.unwrap_or_default(), wire.completion_tokens_details.unwrap_or_default());
    let cached = of_input.cached_tokens.or(wire.prompt_cache_hit_tokens).or(wire.cached_tokens);
    // The parts are taken out of the whole one by one, so that a provider whose parts overlap is not paid twice.
    let (mut input, mut left) = (prompt, output);
    let take = |whole: &mut u64, part: Option<u64>| {
        let part = part.unwrap_or(0).min(*whole);
        *whole -= part;
        part
    };
    Some(Usage {
        cached_input: take(&mut input, cached),
        cache_write: take(&mut input, of_input.cache_write_tokens),
        cache_write_1h: 0,
        audio_input: take(&mut input, of_input.audio_tokens),
        image_input: take(&mut input, of_input.image_tokens),
        input,
        reasoning: take(&mut left, of_output.reasoning_tokens),
        audio_output: take(&mut left, of_output.audio_tokens),
        image_output: take(&mut left, of_output.image_tokens),
        output,
        ..Usage::default()
    })
}

/// Writes a usage object. The classes that are not told are those of which there is nothing.
pub(crate) fn write(usage: &Usage) -> String {
    let prompt = usage.all_input();
    let some = |name: &str, count: u64| if count > 0 { format!(",\"{name}\":{count}") } else { String::new() };
    let input = [
        some("cache_write_tokens", usage.cache_write.saturating_add(usage.cache_write_1h)),
        some("audio_tokens", usage.audio_input),
        some("image_tokens", usage.image_input),
    ];
    let output = [
        some("reasoning_tokens", usage.reasoning),
        some("audio_tokens", usage.audio_output),
        some("image_tokens", usage.image_output),
    ]
    .concat();
    let output = match output.strip_prefix(',') {
        Some(told) => format!(",\"completion_tokens_details\":{{{told}}}"),
        None => String::new(),
    };
    format!(
        "{{\"prompt_tokens\":{prompt},\"completion_tokens\":{},\"total_tokens\":{},\"prompt_tokens_details\":{{\"cached_tokens\":{}{}}}{output}}}",
        usage.output,
        prompt.saturating_add(usage.output),
        usage.cached_input,
        input.concat(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str, expected: Option<(u64, u64, u64)>) {
        let told = read(raw).map(|it| (it.input, it.cached_input, it.output));
        assert_eq!(told, expected, "{raw}");
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
    fn what_was_thought_heard_seen_and_said_is_told_apart_and_never_counted_twice() {
        for (raw, expected) in [
            (
                r#"{"prompt_tokens":10,"completion_tokens":9,"prompt_tokens_details":{"cached_tokens":4,"audio_tokens":3,"image_tokens":2},"completion_tokens_details":{"reasoning_tokens":5,"audio_tokens":1}}"#,
                Usage {
                    input: 1,
                    cached_input: 4,
                    audio_input: 3,
                    image_input: 2,
                    output: 9,
                    reasoning: 5,
                    audio_output: 1,
                    ..Usage::default()
                },
            ),
            (
                r#"{"prompt_tokens":10,"prompt_tokens_details":{"cached_tokens":8,"cache_write_tokens":1,"audio_tokens":9}}"#,
                Usage { cached_input: 8, cache_write: 1, audio_input: 1, ..Usage::default() },
            ),
            (
                r#"{"prompt_tokens":1,"completion_tokens":2,"completion_tokens_details":{"reasoning_tokens":7}}"#,
                Usage { input: 1, output: 2, reasoning: 2, ..Usage::default() },
            ),
        ] {
            assert_eq!(read(raw), Some(expected), "{raw}");
        }
    }

    #[test]
    fn what_is_written_reads_the_same() {
        let plain = Usage { input: 6, cached_input: 4, output: 5, ..Usage::default() };
        let all = Usage { cache_write: 3, audio_input: 2, image_input: 1, reasoning: 2, audio_output: 1, ..plain };
        for usage in [
            plain,
            all,
            Usage { reasoning: 5, ..plain },
            Usage { audio_output: 5, ..plain },
            Usage { image_output: 5, ..plain },
        ] {
            assert_eq!(read(&write(&usage)), Some(usage));
        }
    }
}
