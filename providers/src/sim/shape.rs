//! A value after a JSON schema: the plainest one that fits.

use serde_json::{Map, Value, json};

/// A value for this schema; texts are taken from the prompt.
pub(super) fn example(schema: &Value, prompt: &str) -> Value {
    shaped(schema, schema, prompt, 0)
}

fn shaped(schema: &Value, root: &Value, prompt: &str, depth: usize) -> Value {
    if depth > 12 {
        return Value::Null;
    }
    let next = |schema: &Value| shaped(schema, root, prompt, depth + 1);
    if let Some(found) = schema["$ref"].as_str().and_then(|it| root.pointer(it.trim_start_matches('#'))) {
        return next(found);
    }
    for fixed in [&schema["const"], &schema["default"], &schema["enum"][0], &schema["examples"][0]] {
        if !fixed.is_null() {
            return fixed.clone();
        }
    }
    for either in ["anyOf", "oneOf", "allOf"] {
        if let Some(first) = schema[either].as_array().and_then(|it| it.iter().find(|it| it["type"] != "null")) {
            return next(first);
        }
    }
    let kind = schema["type"].as_str().or_else(|| schema["type"][0].as_str());
    match kind {
        Some("string") => {
            let words: String = prompt.split_whitespace().take(6).collect::<Vec<_>>().join(" ");
            json!(if words.is_empty() { "example" } else { &words })
        }
        Some("integer") => schema["minimum"].as_i64().map_or(json!(1), |it| json!(it)),
        Some("number") => schema["minimum"].as_f64().map_or(json!(1.5), |it| json!(it)),
        Some("boolean") => json!(true),
        Some("null") => Value::Null,
        Some("array") => {
            let least = schema["minItems"].as_u64().unwrap_or(1).min(16);
            (0..least).map(|_| next(&schema["items"])).collect()
        }
        _ => {
            let properties = schema["properties"].as_object();
            let all: Map<String, Value> =
                properties.into_iter().flatten().map(|(name, it)| (name.clone(), next(it))).collect();
            Value::Object(all)
        }
    }
}
