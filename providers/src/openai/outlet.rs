//! Writes OpenAI's wire: what came goes on as it came; usage and the terminator wait for the cost.

use bytes::Bytes;

use super::{usage, wire};
use crate::dialect::{Finish, Outlet};
use crate::error::ProviderError;
use crate::request::{End, Usage};
use crate::sse::SseEvent;

const DONE: &str = "data: [DONE]\n\n";

/// Passes OpenAI chunks on.
pub(crate) struct OpenAiOutlet {
    wants_usage: bool,
    /// The first chunk with empty choices: what a usage chunk is made from if the provider sends none.
    envelope: Option<String>,
}

impl OpenAiOutlet {
    pub(crate) fn new(wants_usage: bool) -> OpenAiOutlet {
        OpenAiOutlet { wants_usage, envelope: None }
    }
}

impl Outlet for OpenAiOutlet {
    fn chunk(&mut self, chunk: &str) -> Result<Bytes, ProviderError> {
        // Azure tells what its filters found in chunks that do not name the answer.
        let names_the_answer = || wire::member(chunk, "id") != Some("\"\"");
        if self.wants_usage && self.envelope.is_none() && names_the_answer() {
            self.envelope = Some(envelope(chunk));
        }
        Ok(SseEvent { event: String::new(), data: chunk.to_owned() }.frame().into())
    }

    fn end(self: Box<Self>, finish: Finish) -> End {
        let OpenAiOutlet { wants_usage, envelope } = *self;
        let Finish { reason, usage_chunk, usage, .. } = finish;
        End::new(reason, move |cost, counted| {
            let mut out = String::new();
            let chunk =
                if wants_usage { last_chunk(&usage_chunk, usage.as_ref().or(counted), &envelope) } else { None };
            if let Some(chunk) = chunk {
                out.push_str(&SseEvent { event: String::new(), data: priced(chunk, cost) }.frame());
            }
            out.push_str(DONE);
            out.into()
        })
    }

    fn whole(self: Box<Self>, body: Bytes, finish: Finish) -> Result<End, ProviderError> {
        Ok(End::new(finish.reason, move |_, _| body.clone()))
    }
}

/// What ends a stream that is cut after a chunk like this one: a last chunk that says so of the choices that are still `open`, usage
/// if it was counted, the terminator.
pub(crate) fn cut(chunk: &str, open: &[u64], note: &str, counted: Option<&Usage>, cost: Option<&str>) -> Bytes {
    let envelope = envelope(chunk);
    let of_old = wire::member(chunk, "object") == Some("\"text_completion\"");
    let empty = if of_old { "\"text\":\"\",\"logprobs\":null" } else { "\"delta\":{}" };
    let choices: Vec<String> =
        open.iter().map(|index| format!("{{\"index\":{index},{empty},\"finish_reason\":\"length\"}}")).collect();
    let last = wire::with(&envelope, "choices", &format!("[{}]", choices.join(",")));
    let last = wire::with(&last, "alfred", note);
    let mut out = SseEvent { event: String::new(), data: last }.frame();
    if let Some(counted) = counted {
        let data = priced(wire::with(&envelope, "usage", &usage::write(counted)), cost);
        out.push_str(&SseEvent { event: String::new(), data }.frame());
    }
    out.push_str(DONE);
    out.into()
}

/// A usage chunk with the cost in it.
fn priced(chunk: String, cost: Option<&str>) -> String {
    match (cost, wire::member(&chunk, "usage")) {
        (Some(cost), Some(usage)) => {
            let usage = wire::with(usage, "alfred_cost_usd", &crate::json::quote(cost));
            wire::with(&chunk, "usage", &usage)
        }
        _ => chunk,
    }
}

/// The provider's own usage chunk, or one made from what was counted.
fn last_chunk(own: &Option<String>, counted: Option<&Usage>, envelope: &Option<String>) -> Option<String> {
    if own.is_some() {
        return own.clone();
    }
    let bare = "{\"object\":\"chat.completion.chunk\",\"choices\":[]}".to_owned();
    let envelope = envelope.clone().unwrap_or(bare);
    Some(wire::with(&envelope, "usage", &usage::write(counted?)))
}

fn envelope(chunk: &str) -> String {
    let mut out = "{".to_owned();
    for name in ["id", "object", "created", "model", "system_fingerprint"] {
        if let Some(value) = wire::member(chunk, name) {
            out.push_str(&format!("\"{name}\":{value},"));
        }
    }
    out.push_str("\"choices\":[]}");
    out
}
