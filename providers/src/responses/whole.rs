//! Whole answers of servers that speak Responses.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::Value;

use super::passage::told_usage;
use super::pen::Pen;
use crate::error::ProviderError;
use crate::openai::failure_in_answer;
use crate::request::{AnswerEvent, Delta, End};

/// What is read of a Response.
#[derive(Deserialize)]
struct Response {
    #[serde(default)]
    object: Option<String>,
    #[serde(default)]
    status: Option<String>,
    #[serde(default)]
    error: Option<Value>,
    #[serde(default)]
    incomplete_details: Option<Incomplete>,
    #[serde(default)]
    output: Vec<Value>,
}

#[derive(Deserialize)]
struct Incomplete {
    #[serde(default)]
    reason: Option<String>,
}

/// Whether a body is a Response, and not a chat completion or an error.
pub(super) fn is_response(body: &Bytes) -> bool {
    #[derive(Deserialize)]
    struct Typed {
        object: String,
    }
    serde_json::from_slice::<Typed>(body).is_ok_and(|it| it.object == "response")
}

/// Why it ended, in the house's words.
pub(super) fn reason(response: &str) -> Option<String> {
    serde_json::from_str::<Response>(response).ok().map(|it| it.reason())
}

/// A body that passes as it came. A caller who asked for a stream gets it as one all the same.
pub(super) fn passes(body: Bytes, as_stream: bool, out: &mut Vec<AnswerEvent>) -> Result<(), ProviderError> {
    let unreadable = || ProviderError::broken("the provider's answer cannot be read");
    let text = std::str::from_utf8(&body).map_err(|_| unreadable())?;
    let response: Response = serde_json::from_str(text).map_err(|_| unreadable())?;
    debug_assert_eq!(response.object.as_deref(), Some("response"));
    let usage = told_usage(text);
    match response.status.as_deref() {
        Some("completed" | "incomplete") => {}
        Some("failed") => {
            out.extend(usage.map(AnswerEvent::Usage));
            return Err(failure_in_answer(&response.error.unwrap_or_default().to_string()));
        }
        _ => return Err(ProviderError::broken("the provider's answer is not complete")),
    }
    let mut said = String::new();
    response.output.iter().for_each(|item| texts(item, &mut said));
    let reason = Some(response.reason());
    if !as_stream {
        out.push(AnswerEvent::Delta(Delta::one(Bytes::new(), said, true)));
        out.extend(usage.map(AnswerEvent::Usage));
        out.push(AnswerEvent::End(End::new(reason, move |_, _| body.clone())));
        return Ok(());
    }
    let mut pen = Pen::default();
    let mut begun: Value = serde_json::from_str(text).map_err(|_| unreadable())?;
    begun["status"] = "in_progress".into();
    begun["output"] = Value::Array(Vec::new());
    begun["usage"] = Value::Null;
    pen.event("response.created", &format!("\"response\":{begun}"));
    for (at, item) in response.output.iter().enumerate() {
        pen.event("response.output_item.added", &format!("\"output_index\":{at},\"item\":{item}"));
        pen.event("response.output_item.done", &format!("\"output_index\":{at},\"item\":{item}"));
    }
    out.push(AnswerEvent::Delta(Delta::one(pen.take(), said, true)));
    out.extend(usage.map(AnswerEvent::Usage));
    let last =
        if response.status.as_deref() == Some("incomplete") { "response.incomplete" } else { "response.completed" };
    pen.event(last, &format!("\"response\":{text}"));
    let closing = pen.take();
    out.push(AnswerEvent::End(End::new(reason, move |_, _| closing.clone())));
    Ok(())
}

impl Response {
    fn reason(&self) -> String {
        let why = self.incomplete_details.as_ref().and_then(|it| it.reason.as_deref());
        let calls = |item: &Value| matches!(item["type"].as_str(), Some("function_call" | "custom_tool_call"));
        let word = match (self.status.as_deref(), why) {
            (Some("incomplete"), Some("content_filter")) => "content_filter",
            (Some("incomplete"), _) => "length",
            _ if self.output.iter().any(calls) => "tool_calls",
            _ => "stop",
        };
        word.to_owned()
    }
}

/// What a model wrote of an item: texts, refusals, thoughts, the names and arguments of calls.
fn texts(item: &Value, out: &mut String) {
    for name in ["name", "arguments", "input", "text", "refusal"] {
        out.push_str(item[name].as_str().unwrap_or_default());
    }
    for list in ["summary", "content"] {
        item[list].as_array().into_iter().flatten().for_each(|part| texts(part, out));
    }
}
