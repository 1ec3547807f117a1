//! What Anthropic bills otherwise than by the price list's four classes of tokens, beyond the server tools that the
//! request's view already names. What cannot be metered is refused, never forwarded.

use serde_json::Value;

use crate::dialect::Unsupported;
use crate::members::unsupported;
use crate::request::ModelRequest;

const WHY: &str = "is billed at a rate that the gateway has no price for";

/// Refuses a request of Anthropic's own shape that would be billed at another rate: `speed`, `inference_geo`, and cache
/// writes kept for an hour, which cost more than those kept for the usual five minutes.
pub(super) fn refuse(request: &ModelRequest) -> Result<(), Unsupported> {
    for (name, usual) in [("speed", "\"standard\""), ("inference_geo", "\"global\"")] {
        if request.member(name).is_some_and(|value| value != usual) {
            return Err(unsupported(name, WHY));
        }
    }
    if request.member("container").is_some_and(|value| value != "null") {
        return Err(unsupported("container", "is a machine at the provider, billed by the hour"));
    }
    if request.member("context_management").is_some_and(|value| !only_clears(value)) {
        return Err(unsupported("context_management", WHY));
    }
    // An escape could hide the word; only a body with neither is spared the walk.
    let text = request.text();
    if !text.contains("ttl") && !text.contains("\\u") {
        return Ok(());
    }
    let body: Value = serde_json::from_str(text).map_err(|_| unsupported("", "is not JSON"))?;
    match keeps_for_long(&body, "") {
        Some(place) => Err(unsupported(place, WHY)),
        None => Ok(()),
    }
}

/// Whether an edit of the context takes things away and nothing more. One that compacts is a model's work, billed apart.
fn only_clears(value: &str) -> bool {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Management {
        #[serde(default)]
        edits: Vec<Edit>,
    }
    #[derive(serde::Deserialize)]
    struct Edit {
        #[serde(rename = "type")]
        kind: String,
    }
    let clears = |edit: &Edit| ["clear_tool_uses_", "clear_thinking_"].iter().any(|it| edit.kind.starts_with(it));
    serde_json::from_str::<Option<Management>>(value).is_ok_and(|it| it.is_none_or(|it| it.edits.iter().all(clears)))
}

/// The place of a cache mark with another lifetime than five minutes. Arguments and schemas are the app's own words.
fn keeps_for_long(value: &Value, place: &str) -> Option<String> {
    match value {
        Value::Object(members) => members.iter().find_map(|(name, value)| {
            let here = if place.is_empty() { name.clone() } else { format!("{place}.{name}") };
            match name.as_str() {
                "input" | "input_schema" | "input_examples" => None,
                "cache_control" => is_long(value).then(|| format!("{here}.ttl")),
                _ => keeps_for_long(value, &here),
            }
        }),
        Value::Array(elements) => (0..)
            .zip(elements)
            .find_map(|(index, value): (usize, _)| keeps_for_long(value, &format!("{place}[{index}]"))),
        _ => None,
    }
}

/// Whether a cache mark asks for another lifetime than five minutes.
pub(super) fn is_long(cache_control: &Value) -> bool {
    cache_control.get("ttl").is_some_and(|ttl| !ttl.is_null() && ttl != "5m")
}

/// The same for a mark in a body of OpenAI's shape.
pub(super) fn refuse_long(
    cache_control: Option<&serde_json::value::RawValue>,
    place: String,
) -> Result<(), Unsupported> {
    let mark = cache_control.and_then(|raw| serde_json::from_str::<Value>(raw.get()).ok());
    match mark.is_some_and(|mark| is_long(&mark)) {
        true => Err(unsupported(format!("{place}.ttl"), WHY)),
        false => Ok(()),
    }
}
