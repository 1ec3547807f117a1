//! Gemini's `Schema` (a part of OpenAPI 3.0, its types in upper case) as JSON Schema.

use serde_json::value::RawValue;
use serde_json::{Map, Value, json};

use crate::dialect::Unsupported;
use crate::members::{camel, unsupported};

/// Deeper than anyone nests a schema, and shallow enough to walk.
const DEEPEST: usize = 100;

/// The schema of what a function takes.
pub(super) fn json_schema(raw: &RawValue, place: &str) -> Result<Box<RawValue>, Unsupported> {
    write(raw, place, false)
}

/// The schema of an answer. Gemini never gives more members than it names, so that is said, as other targets ask for it.
pub(super) fn closed(raw: &RawValue, place: &str) -> Result<Box<RawValue>, Unsupported> {
    write(raw, place, true)
}

/// Whether the schema says all that OpenAI's strict mode wants said: every object is closed and all its members are required.
pub(super) fn is_strict(schema: &RawValue) -> bool {
    serde_json::from_str::<Value>(schema.get()).is_ok_and(|schema| schema.is_object() && strict(&schema))
}

fn strict(schema: &Value) -> bool {
    match schema {
        Value::Array(all) => all.iter().all(strict),
        Value::Object(members) => {
            let is_object = match &members.get("type") {
                Some(Value::String(kind)) => kind == "object",
                Some(Value::Array(kinds)) => kinds.iter().any(|kind| kind == "object"),
                _ => members.contains_key("properties"),
            };
            let properties = members.get("properties").and_then(Value::as_object);
            let required = members.get("required").and_then(Value::as_array);
            let all_required = properties.is_some_and(|properties| {
                properties.keys().all(|name| required.is_some_and(|names| names.iter().any(|it| it == name)))
            });
            let closed = members.get("additionalProperties") == Some(&Value::Bool(false));
            (!is_object || closed && all_required)
                && properties.is_none_or(|properties| properties.values().all(strict))
                && ["items", "anyOf", "$defs"].iter().all(|name| match (members.get(*name), *name) {
                    (Some(Value::Object(defs)), "$defs") => defs.values().all(strict),
                    (inner, _) => inner.is_none_or(strict),
                })
        }
        _ => true,
    }
}

fn write(raw: &RawValue, place: &str, close: bool) -> Result<Box<RawValue>, Unsupported> {
    let told: Value = serde_json::from_str(raw.get()).map_err(|_| unsupported(place, "cannot be read"))?;
    let Value::Object(told) = told else { return Err(unsupported(place, "must be an object")) };
    let schema = Value::Object(object(told, place, close, 0)?);
    Ok(RawValue::from_string(schema.to_string()).expect("a value is always JSON"))
}

fn object(told: Map<String, Value>, place: &str, close: bool, depth: usize) -> Result<Map<String, Value>, Unsupported> {
    if depth > DEEPEST {
        return Err(unsupported(place, "is nested too deeply"));
    }
    let mut out = Map::new();
    let mut nullable = false;
    for (name, value) in told {
        if value.is_null() && name != "default" && name != "example" {
            continue;
        }
        let at = format!("{place}.{name}");
        let inner = |value: Value| one(value, &at, close, depth + 1);
        match &*camel(&name) {
            "type" => {
                if let Some(kind) = kind(value) {
                    out.insert("type".to_owned(), kind);
                }
            }
            "nullable" => nullable = value == Value::Bool(true),
            // Names a hint of Google's for lists of words; JSON Schema has none.
            "format" if value == "enum" => {}
            "propertyOrdering" => {}
            "properties" | "defs" | "$defs" => {
                let Value::Object(members) = value else { return Err(unsupported(at, "must be an object")) };
                let members: Result<Map<_, _>, _> =
                    members.into_iter().map(|(name, value)| Ok((name, inner(value)?))).collect();
                let name = if name == "properties" { "properties" } else { "$defs" };
                out.insert(name.to_owned(), Value::Object(members?));
            }
            "items" | "additionalProperties" => {
                let value = if value.is_object() { inner(value)? } else { value };
                out.insert(camel(&name), value);
            }
            "anyOf" | "oneOf" | "allOf" | "prefixItems" => {
                let Value::Array(all) = value else { return Err(unsupported(at, "must be an array")) };
                let all: Result<Vec<_>, _> = all.into_iter().map(inner).collect();
                out.insert(camel(&name), Value::Array(all?));
            }
            // 64-bit integers, which are written as texts.
            "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties" | "maxProperties" => {
                let number = value.as_str().and_then(|text| text.parse::<u64>().ok()).map(|number| json!(number));
                out.insert(camel(&name), number.unwrap_or(value));
            }
            "example" => {
                out.insert("examples".to_owned(), json!([value]));
            }
            "ref" => {
                let local = value.as_str().map(|text| json!(text.replace("#/defs/", "#/$defs/")));
                out.insert("$ref".to_owned(), local.unwrap_or(value));
            }
            // What else there is has the same name in both.
            _ => {
                out.insert(name, value);
            }
        }
    }
    if close && out.contains_key("properties") && !out.contains_key("additionalProperties") {
        out.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    Ok(if nullable { or_null(out) } else { out })
}

fn one(value: Value, place: &str, close: bool, depth: usize) -> Result<Value, Unsupported> {
    match value {
        Value::Object(told) => object(told, place, close, depth).map(Value::Object),
        Value::Bool(_) => Ok(value),
        _ => Err(unsupported(place, "must be an object")),
    }
}

/// Lower case; nothing where it says nothing.
fn kind(value: Value) -> Option<Value> {
    match value {
        Value::String(kind) if kind == "TYPE_UNSPECIFIED" => None,
        Value::String(kind) => Some(Value::String(kind.to_ascii_lowercase())),
        Value::Array(kinds) => Some(Value::Array(kinds.into_iter().filter_map(self::kind).collect())),
        other => Some(other),
    }
}

/// OpenAPI says `nullable` where JSON Schema has one more type.
fn or_null(mut schema: Map<String, Value>) -> Map<String, Value> {
    if let Some(words) = schema.get_mut("enum").and_then(Value::as_array_mut)
        && !words.contains(&Value::Null)
    {
        words.push(Value::Null);
    }
    if let Some(Value::String(kind)) = schema.get("type") {
        let both = json!([kind, "null"]);
        schema.insert("type".to_owned(), both);
    } else if let Some(Value::Array(all)) = schema.get_mut("anyOf") {
        all.push(json!({"type": "null"}));
    }
    schema
}
