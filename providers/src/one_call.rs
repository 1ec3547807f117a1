//! One call of a tool at a time, for callers who ask for that at targets that cannot be told: the first call of an answer goes to
//! the caller, the others are left out. The model is asked again with its result anyway, and calls what it still wants.

use bytes::Bytes;
use serde_json::Value;

use crate::dialect::{Finish, Outlet};
use crate::error::ProviderError;
use crate::request::{End, ModelRequest, Shape};

/// Whether the caller wants no more than one call in an answer.
pub(crate) fn wanted(request: &ModelRequest) -> bool {
    match request.shape() {
        Shape::OpenAi | Shape::Responses => request.member("parallel_tool_calls") == Some("false"),
        Shape::Anthropic => {
            let choice = request.member("tool_choice").and_then(|it| serde_json::from_str::<Value>(it).ok());
            choice.is_some_and(|choice| choice["disable_parallel_tool_use"] == true)
        }
        _ => false,
    }
}

/// Passes on what is not a further call.
pub(crate) struct OneCall(pub Box<dyn Outlet>);

impl Outlet for OneCall {
    fn chunk(&mut self, chunk: &str) -> Result<Bytes, ProviderError> {
        match first_only(chunk, "delta") {
            None => self.0.chunk(chunk),
            Some(kept) if says_something(&kept) => self.0.chunk(&kept.to_string()),
            Some(_) => Ok(Bytes::new()),
        }
    }

    fn end(self: Box<Self>, finish: Finish) -> End {
        self.0.end(finish)
    }

    fn whole(self: Box<Self>, body: Bytes, finish: Finish) -> Result<End, ProviderError> {
        let kept = std::str::from_utf8(&body).ok().and_then(|text| first_only(text, "message"));
        self.0.whole(kept.map_or(body, |kept| kept.to_string().into()), finish)
    }
}

/// The text without its further calls; nothing if it has none.
fn first_only(text: &str, said: &str) -> Option<Value> {
    if !text.contains("\"tool_calls\"") {
        return None;
    }
    let mut body: Value = serde_json::from_str(text).ok()?;
    let mut changed = false;
    for choice in body.get_mut("choices").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(told) = choice.get_mut(said).and_then(Value::as_object_mut) else { continue };
        let Some(calls) = told.get_mut("tool_calls").and_then(Value::as_array_mut) else { continue };
        let before = calls.len();
        let mut place = 0;
        calls.retain(|call| {
            let index = call["index"].as_u64().unwrap_or(place);
            place += 1;
            index == 0
        });
        changed |= calls.len() < before;
        if calls.is_empty() {
            told.remove("tool_calls");
        }
    }
    changed.then_some(body)
}

fn says_something(chunk: &Value) -> bool {
    chunk["choices"].as_array().into_iter().flatten().any(|choice| {
        !choice["finish_reason"].is_null() || choice["delta"].as_object().is_some_and(|delta| !delta.is_empty())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::openai::OpenAiOutlet;

    fn call(index: Option<u64>, name: &str) -> Value {
        let mut call = json!({"id": name, "type": "function", "function": {"name": name, "arguments": "{}"}});
        if let Some(index) = index {
            call["index"] = json!(index);
        }
        call
    }

    fn outlet() -> OneCall {
        OneCall(Box::new(OpenAiOutlet::new(false)))
    }

    #[test]
    fn of_several_calls_the_first_goes_on_whole_or_streamed() {
        let chunk = |calls: Value, reason: Value| {
            json!({"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": calls}, "finish_reason": reason}]})
                .to_string()
        };
        let told = |chunk: &str| String::from_utf8(outlet().chunk(chunk).unwrap().to_vec()).unwrap();
        let both = told(&chunk(json!([call(Some(0), "a"), call(Some(1), "b")]), Value::Null));
        assert!(both.contains("\"a\"") && !both.contains("\"b\""), "{both}");
        assert_eq!(told(&chunk(json!([call(Some(1), "b")]), Value::Null)), "");
        let last = told(&chunk(json!([call(Some(1), "b")]), json!("tool_calls")));
        assert!(last.contains("tool_calls\"") && !last.contains("\"b\""), "the ending is still told: {last}");
        for odd in [r#"["tool_calls"]"#, r#"{"choices":[1,{"delta":"x"},{"delta":{"tool_calls":3}}]}"#] {
            assert_eq!(first_only(odd, "delta"), None, "{odd}");
        }
        let first = chunk(json!([call(Some(0), "a")]), Value::Null);
        assert_eq!(told(&first), format!("data: {first}\n\n"), "untouched");

        let body =
            json!({"choices": [{"message": {"content": null, "tool_calls": [call(None, "a"), call(None, "b")]}}]});
        let end = Box::new(outlet()).whole(body.to_string().into(), Finish::default()).unwrap();
        let whole: Value = serde_json::from_slice(&end.closing(None, None)).unwrap();
        assert_eq!(whole["choices"][0]["message"]["tool_calls"], json!([call(None, "a")]));
    }

    #[test]
    fn it_is_wanted_in_every_shape_that_has_words_for_it() {
        for (shape, more, expected) in [
            (Shape::OpenAi, json!({"parallel_tool_calls": false}), true),
            (Shape::OpenAi, json!({"parallel_tool_calls": true}), false),
            (Shape::OpenAi, json!({}), false),
            (Shape::Anthropic, json!({"tool_choice": {"type": "auto", "disable_parallel_tool_use": true}}), true),
            (Shape::Anthropic, json!({"tool_choice": {"type": "auto"}}), false),
        ] {
            let mut body = json!({"model": "m", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]});
            body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            let request = ModelRequest::parse(shape, body.to_string().into()).unwrap();
            assert_eq!(wanted(&request), expected, "{shape:?} {more}");
        }
    }
}
