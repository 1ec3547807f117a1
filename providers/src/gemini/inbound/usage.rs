//! What was counted, as Gemini's `usageMetadata`.

use serde_json::{Map, Value, json};

use crate::request::Usage;

/// Gemini counts what was cached within the prompt, and what was thought beside the answer.
pub(crate) fn write(usage: &Usage) -> Value {
    let prompt = usage.all_input();
    let reasoning = usage.reasoning.min(usage.output);
    let mut told = Map::new();
    told.insert("promptTokenCount".to_owned(), json!(prompt));
    if usage.cached_input > 0 {
        told.insert("cachedContentTokenCount".to_owned(), json!(usage.cached_input));
    }
    told.insert("candidatesTokenCount".to_owned(), json!(usage.output - reasoning));
    if reasoning > 0 {
        told.insert("thoughtsTokenCount".to_owned(), json!(reasoning));
    }
    told.insert("totalTokenCount".to_owned(), json!(prompt.saturating_add(usage.output)));
    let heard = usage.audio_input.saturating_add(usage.image_input);
    let of_input = [("TEXT", prompt.saturating_sub(heard)), ("AUDIO", usage.audio_input), ("IMAGE", usage.image_input)];
    if heard > 0 {
        told.insert("promptTokensDetails".to_owned(), details(&of_input));
    }
    if usage.audio_output > 0 {
        let text = (usage.output - reasoning).saturating_sub(usage.audio_output);
        told.insert("candidatesTokensDetails".to_owned(), details(&[("TEXT", text), ("AUDIO", usage.audio_output)]));
    }
    Value::Object(told)
}

/// The same with the cost in it.
pub(super) fn priced(usage: &Usage, cost: Option<&str>) -> Value {
    let mut told = write(usage);
    if let Some(cost) = cost {
        told["alfred_cost_usd"] = json!(cost);
    }
    told
}

fn details(counts: &[(&str, u64)]) -> Value {
    let told = counts.iter().filter(|(_, count)| *count > 0);
    told.map(|(modality, count)| json!({"modality": modality, "tokenCount": count})).collect()
}
