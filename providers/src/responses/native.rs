//! A request of Responses for a server that has them: spliced, everything else byte for byte.

use http::Method;
use serde_json::value::RawValue;

use super::reasoning;
use crate::dialect::{Aim, HttpRequest, Unsupported};
use crate::json;
use crate::request::ModelRequest;
use crate::splice::Splice;
use crate::translate::refuse_what_is_stored;

/// Whether the target takes Responses as they are.
pub(crate) fn is_native(aim: &Aim<'_>) -> bool {
    match aim.settings.get("responses").map(String::as_str) {
        Some("native") => true,
        Some("translated") => false,
        _ => aim.quirks.serves_responses,
    }
}

/// Model and cap set, the gateway's own members out. `stream` and `store` stay as they are.
pub(crate) fn encode(request: &ModelRequest, aim: &Aim<'_>) -> Result<HttpRequest, Unsupported> {
    refuse_background(request)?;
    refuse_what_is_stored(request, aim)?;
    let mut splice = Splice::new(request);
    splice.set("model", &json::quote(aim.model));
    let cap = request.max_output().map_or(aim.cap, |asked| asked.min(aim.cap));
    splice.set("max_output_tokens", &cap.to_string());
    splice.remove("fallbacks");
    if let Some(input) = request.member("input").filter(|input| reasoning::may_be_in(input)) {
        splice.set("input", &without_our_thinking(input));
    }
    let body = splice.finish();
    Ok(HttpRequest { method: Method::POST, url: aim.url("responses"), headers: aim.header_map()?, body })
}

/// The answer of a call in the background would be made, and billed, when this call is long settled.
pub(super) fn refuse_background(request: &ModelRequest) -> Result<(), Unsupported> {
    match request.member("background") {
        None | Some("false") => Ok(()),
        Some(_) => Err(Unsupported::at(
            "background",
            "background runs on after the call, where its answer could not be metered",
        )),
    }
}

/// Thinking that another provider signed is of no use here, and the server would refuse what it cannot decrypt.
fn without_our_thinking(input: &str) -> String {
    #[derive(serde::Deserialize)]
    struct Item {
        #[serde(default, rename = "type")]
        kind: Option<String>,
        #[serde(default)]
        encrypted_content: Option<String>,
    }
    let Ok(items) = serde_json::from_str::<Vec<&RawValue>>(input) else { return input.to_owned() };
    let is_ours = |raw: &RawValue| {
        let item = serde_json::from_str::<Item>(raw.get());
        item.is_ok_and(|item| {
            item.kind.as_deref() == Some("reasoning")
                && item.encrypted_content.is_some_and(|it| reasoning::read(&it).is_some())
        })
    };
    let kept: Vec<&str> = items.iter().filter(|raw| !is_ours(raw)).map(|raw| raw.get()).collect();
    format!("[{}]", kept.join(","))
}
