//! What Gemini says it bills. It may come with every event of a stream, cumulative, and not always complete.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::request::Usage;

/// `usageMetadata` as it stands on the wire; every count may be missing.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Wire {
    prompt_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    total_token_count: Option<u64>,
    cached_content_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
    tool_use_prompt_token_count: Option<u64>,
    prompt_tokens_details: Option<Vec<Modality>>,
    cache_tokens_details: Option<Vec<Modality>>,
    candidates_tokens_details: Option<Vec<Modality>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Modality {
    modality: Option<String>,
    token_count: Option<u64>,
}

fn of(details: &Option<Vec<Modality>>, modality: &str) -> u64 {
    let found = details.iter().flatten().filter(|it| it.modality.as_deref() == Some(modality));
    found.filter_map(|it| it.token_count).fold(0, u64::saturating_add)
}

/// What was told so far. Cumulative counts only grow, so the greater one counts.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Tally {
    prompt: u64,
    cached: u64,
    tool_use: u64,
    said: u64,
    thought: u64,
    total: u64,
    audio_input: u64,
    image_input: u64,
    audio_output: u64,
    image_output: u64,
    told: bool,
}

impl Tally {
    pub(super) fn add(&mut self, wire: &Wire) {
        let grow = |count: &mut u64, told: u64| *count = (*count).max(told);
        grow(&mut self.prompt, wire.prompt_token_count.unwrap_or(0));
        grow(&mut self.cached, wire.cached_content_token_count.unwrap_or(0));
        grow(&mut self.tool_use, wire.tool_use_prompt_token_count.unwrap_or(0));
        grow(&mut self.said, wire.candidates_token_count.unwrap_or(0));
        grow(&mut self.thought, wire.thoughts_token_count.unwrap_or(0));
        grow(&mut self.total, wire.total_token_count.unwrap_or(0));
        // What came from the cache is billed as that, whatever it was.
        let fresh = |modality| {
            of(&wire.prompt_tokens_details, modality).saturating_sub(of(&wire.cache_tokens_details, modality))
        };
        grow(&mut self.audio_input, fresh("AUDIO"));
        grow(&mut self.image_input, fresh("IMAGE"));
        grow(&mut self.audio_output, of(&wire.candidates_tokens_details, "AUDIO"));
        grow(&mut self.image_output, of(&wire.candidates_tokens_details, "IMAGE"));
        self.told |= wire.prompt_token_count.is_some() || wire.candidates_token_count.is_some();
    }

    /// The classes, if anything was told.
    pub(super) fn usage(&self) -> Option<Usage> {
        // The parts are taken out of the whole one by one, so that parts that overlap are not paid twice.
        let mut left = self.prompt;
        let mut take = |part: u64| {
            let part = part.min(left);
            left -= part;
            part
        };
        let (cached_input, audio_input, image_input) =
            (take(self.cached), take(self.audio_input), take(self.image_input));
        // The total knows of thoughts that are billed and not told apart.
        let unsaid = self.total.saturating_sub(self.prompt).saturating_sub(self.tool_use).saturating_sub(self.said);
        let reasoning = if self.prompt > 0 { self.thought.max(unsaid) } else { self.thought };
        self.told.then(|| Usage {
            input: left.saturating_add(self.tool_use),
            cached_input,
            audio_input,
            image_input,
            output: self.said.saturating_add(reasoning),
            reasoning,
            audio_output: self.audio_output.min(self.said),
            image_output: self.image_output.min(self.said),
            ..Usage::default()
        })
    }

    /// The same as OpenAI writes it: `prompt_tokens` is all input.
    pub(super) fn openai(&self) -> Value {
        let usage = self.usage().unwrap_or_default();
        let prompt = usage.all_input();
        let mut told = json!({
            "prompt_tokens": prompt,
            "completion_tokens": usage.output,
            "total_tokens": prompt.saturating_add(usage.output),
            "prompt_tokens_details": {"cached_tokens": usage.cached_input},
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
        });
        for (place, name, count) in [
            ("prompt_tokens_details", "audio_tokens", usage.audio_input),
            ("prompt_tokens_details", "image_tokens", usage.image_input),
            ("completion_tokens_details", "audio_tokens", usage.audio_output),
            ("completion_tokens_details", "image_tokens", usage.image_output),
        ] {
            if count > 0 {
                told[place][name] = json!(count);
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_is_told_apart_and_thoughts_are_a_part_of_the_output() {
        let plain = Usage { input: 10, output: 5, ..Usage::default() };
        for (told, expected) in [
            (vec![r#"{"promptTokenCount":10,"candidatesTokenCount":5,"totalTokenCount":15}"#], Some(plain)),
            (
                vec![
                    r#"{"promptTokenCount":100,"cachedContentTokenCount":40,"candidatesTokenCount":5,"thoughtsTokenCount":7,"totalTokenCount":112}"#,
                ],
                Some(Usage { input: 60, cached_input: 40, output: 12, reasoning: 7, ..Usage::default() }),
            ),
            // A total that says more than its parts: thought, and not told apart.
            (
                vec![r#"{"promptTokenCount":10,"candidatesTokenCount":5,"totalTokenCount":45}"#],
                Some(Usage { output: 35, reasoning: 30, ..plain }),
            ),
            (
                vec![
                    r#"{"promptTokenCount":300,"cachedContentTokenCount":100,"promptTokensDetails":[{"modality":"TEXT","tokenCount":20},{"modality":"AUDIO","tokenCount":200},{"modality":"IMAGE","tokenCount":80}],"cacheTokensDetails":[{"modality":"AUDIO","tokenCount":90},{"modality":"TEXT","tokenCount":10}],"candidatesTokenCount":9,"candidatesTokensDetails":[{"modality":"AUDIO","tokenCount":9}]}"#,
                ],
                Some(Usage {
                    input: 10,
                    cached_input: 100,
                    audio_input: 110,
                    image_input: 80,
                    output: 9,
                    audio_output: 9,
                    ..Usage::default()
                }),
            ),
            (
                vec![
                    r#"{"promptTokenCount":10,"toolUsePromptTokenCount":90,"candidatesTokenCount":5,"totalTokenCount":105}"#,
                ],
                Some(Usage { input: 100, output: 5, ..Usage::default() }),
            ),
            // Every event of a stream tells all so far; not every one tells everything.
            (
                vec![
                    r#"{"promptTokenCount":10,"totalTokenCount":10}"#,
                    r#"{"promptTokenCount":10,"candidatesTokenCount":2,"totalTokenCount":12}"#,
                    r#"{"trafficType":"ON_DEMAND"}"#,
                    r#"{"promptTokenCount":10,"candidatesTokenCount":5,"totalTokenCount":15}"#,
                ],
                Some(plain),
            ),
            (vec![r#"{"trafficType":"ON_DEMAND"}"#], None),
        ] {
            let mut tally = Tally::default();
            told.iter().for_each(|raw| tally.add(&serde_json::from_str(raw).expect(raw)));
            assert_eq!(tally.usage(), expected, "{told:?}");
        }
    }
}
