//! Answers whose content comes in parts, as some servers of reasoning models tell it. OpenAI's clients know a text there: the parts
//! become one, and what was thought becomes `reasoning_content`.
//!
//! | who | parts of thinking |
//! |---|---|
//! | Mistral | `{"type":"thinking","thinking":[{"type":"text","text":…}]}` |
//! | Databricks | `{"type":"reasoning","summary":[{"type":"summary_text","text":…}]}` |
//!
//! A signature of such a part is let go: it could only be sent back in a part, and the server does not ask for it. Content with a
//! part of any other kind passes as it came.

use serde_json::{Map, Value};

/// The answer or chunk with its contents as texts; none if they are so already.
pub(super) fn flattened(payload: &str) -> Option<String> {
    if !has_parts(payload) {
        return None;
    }
    let mut answer: Map<String, Value> = serde_json::from_str(payload).ok()?;
    let mut changed = false;
    for choice in answer.get_mut("choices")?.as_array_mut()? {
        for name in ["delta", "message"] {
            let said = choice.get_mut(name).and_then(Value::as_object_mut);
            changed |= said.is_some_and(|it| flatten(it).is_some());
        }
    }
    if changed { serde_json::to_string(&answer).ok() } else { None }
}

/// A list stands somewhere as content: cheap, for every chunk is asked.
fn has_parts(payload: &str) -> bool {
    const NAME: &str = "\"content\"";
    payload.match_indices(NAME).any(|(at, _)| {
        let rest = payload[at + NAME.len()..].trim_start();
        rest.strip_prefix(':').is_some_and(|rest| rest.trim_start().starts_with('['))
    })
}

fn flatten(said: &mut Map<String, Value>) -> Option<()> {
    let (mut text, mut thought) = (String::new(), String::new());
    let parts = said.get("content")?.as_array()?;
    for part in parts {
        match part.get("type")?.as_str()? {
            "text" => text.push_str(part.get("text")?.as_str()?),
            "thinking" => tell(part.get("thinking")?, &mut thought)?,
            "reasoning" => tell(part.get("summary")?, &mut thought)?,
            _ => return None,
        }
    }
    let only_thought = text.is_empty() && !thought.is_empty();
    said.insert("content".to_owned(), if only_thought { Value::Null } else { Value::String(text) });
    if !thought.is_empty() {
        said.insert("reasoning_content".to_owned(), Value::String(thought));
    }
    Some(())
}

/// A text, or a list of parts that have one.
fn tell(value: &Value, out: &mut String) -> Option<()> {
    match value {
        Value::String(text) => out.push_str(text),
        Value::Array(parts) => {
            for part in parts {
                out.push_str(part.get("text")?.as_str()?);
            }
        }
        _ => return None,
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(payload: &str, expected: Option<&str>) {
        assert_eq!(flattened(payload).as_deref(), expected, "{payload}");
    }

    #[test]
    fn content_in_parts_becomes_a_text_and_what_was_thought() {
        check(
            r#"{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":[{"type":"thinking","thinking":[{"type":"text","text":"Hm."},{"type":"text","text":" So."}],"signature":null},{"type":"text","text":"Four"},{"type":"text","text":"."}]},"finish_reason":"stop"}]}"#,
            Some(
                r#"{"id":"x","choices":[{"index":0,"message":{"role":"assistant","content":"Four.","reasoning_content":"Hm. So."},"finish_reason":"stop"}]}"#,
            ),
        );
        check(
            r#"{"choices":[{"delta":{"content" : [ {"type":"thinking","thinking":"Hm."}]}}]}"#,
            Some(r#"{"choices":[{"delta":{"content":null,"reasoning_content":"Hm."}}]}"#),
        );
        check(
            r#"{"choices":[{"delta":{"content":[{"type":"reasoning","summary":[{"type":"summary_text","text":"s"}]},{"type":"text","text":"t"}]}}]}"#,
            Some(r#"{"choices":[{"delta":{"content":"t","reasoning_content":"s"}}]}"#),
        );
        check(r#"{"choices":[{"delta":{"content":[]}}]}"#, Some(r#"{"choices":[{"delta":{"content":""}}]}"#));
    }

    #[test]
    fn any_other_content_passes_as_it_came() {
        check(r#"{"choices":[{"delta":{"content":"\"content\":[ 1"}}]}"#, None);
        check(r#"{"choices":[{"delta":{"content":"a","own":[{"content":[1]}]}}]}"#, None);
        check(r#"{"choices":[{"delta":{"content":[{"type":"reference","reference_ids":[1]}]}}]}"#, None);
        check(r#"{"choices":[{"delta":{"content":[{"type":"text"}]}}]}"#, None);
        check(r#"{"choices":[],"content":[]}"#, None);
        check(r#"{"content":["#, None);
    }
}
