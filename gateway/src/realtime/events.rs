//! What a client's event is allowed to be: read, searched and redacted like any request, then put into the target's words.

use bytes::Bytes;
use providers::{BadRequest, ModelRequest, Outside, Shape, realtime_capped, realtime_for_target};
use serde_json::json;

use super::Session;
use crate::approvals::none_needed;
use crate::close::written;
use crate::permit::permit;
use crate::refusal::Refusal;
use crate::scan::scan;

/// An event that may pass.
pub struct Cleared {
    pub event: Bytes,
    pub leads_to: LeadsTo,
}

/// What may come of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeadsTo {
    /// A response, asked for by name.
    Response,
    /// One when the provider hears that the speaker has ended.
    Speech,
    /// Nothing that is billed.
    Nothing,
}

/// What may come of an event of this kind.
pub fn leads_to(kind: &str) -> LeadsTo {
    match kind {
        "response.create" => LeadsTo::Response,
        "input_audio_buffer.append" | "input_audio_buffer.commit" => LeadsTo::Speech,
        _ => LeadsTo::Nothing,
    }
}

impl Session {
    /// Reads, searches and redacts an event. What is refused is not sent; the conversation goes on without it.
    pub async fn clear(&mut self, text: Bytes) -> Result<Cleared, Refusal> {
        let outside = Outside { model: Some(self.asked.model().to_owned()), ..Outside::default() };
        let event = ModelRequest::parse_with(Shape::Realtime, text, outside).map_err(Refusal::BadRequest)?;
        if let Some(member) = event.features().surcharge {
            let message = format!("'{member}' is billed at a rate that this gateway has no price for");
            return Err(Refusal::Unsupported { param: Some(member.to_owned()), message });
        }
        if let Some(model) = event.session_model()
            && ![self.asked.model(), &self.target.name, &self.target.model].contains(&model)
        {
            return Err(Refusal::BadRequest(BadRequest {
                code: "invalid_value",
                param: Some("session.model".to_owned()),
                message: "The model of a conversation cannot be changed.".to_owned(),
            }));
        }
        let event = match self.redacted(event) {
            Ok(event) => event,
            Err(refusal @ (Refusal::Content { .. } | Refusal::Denied { .. })) => return Err(self.noted(refusal).await),
            Err(refusal) => return Err(refusal),
        };
        Ok(self.told(&event))
    }

    /// The event with nothing in it that must not leave.
    fn redacted(&mut self, event: ModelRequest) -> Result<ModelRequest, Refusal> {
        let found = scan(&self.app.scanner, &event);
        let offered = event.offered();
        if found.parts.is_empty() && offered.tools.is_empty() && offered.servers.is_empty() {
            return Ok(event);
        }
        let snapshot = self.app.snapshot()?;
        let caller = snapshot.caller(&self.key, self.app.clock().now()).ok_or(Refusal::InvalidKey)?;
        let health = self.app.health.view(self.app.millis());
        let case = self.ready.as_mut().map_or(&mut self.case, |purse| &mut purse.case);
        let input = case.input_tokens;
        let target = &self.target.name;
        let cleared = permit(&snapshot, &caller, &event, &found, &health, case).and_then(|permit| {
            // What this event says may be what a rule does not let go where the conversation is.
            if !permit.targets.iter().any(|it| it.name == *target) {
                let reasons = vec!["This may not be said where the conversation is held.".to_owned()];
                return Err(Refusal::Denied { code: "policy_denied", reasons });
            }
            none_needed(&permit, "a conversation")?;
            permit.apply(&event, &found, case)
        });
        case.input_tokens = input;
        self.app.decisions.take(case, &self.app.ledger);
        cleared.map(|it| it.request)
    }

    /// A guard's refusal has an entry and a receipt of its own.
    async fn noted(&mut self, refusal: Refusal) -> Refusal {
        let mut case = self.aside();
        let refusal = written(&self.app, &mut case, refusal).await;
        self.app.telemetry.closed(&case, refusal.code());
        refusal
    }

    /// Puts it into the target's words, and remembers what it adds to the conversation.
    fn told(&mut self, event: &ModelRequest) -> Cleared {
        let leads_to = leads_to(event.event_kind());
        let (bytes, named) = (event.body().len() as u64, event.named_cap());
        match event.event_kind() {
            "input_audio_buffer.append" => self.context.said(0, bytes, 0),
            kind => {
                let aside = event.sound_bytes() + event.image_bytes();
                self.context.said(bytes.saturating_sub(aside), event.sound_bytes(), event.features().image_count);
                if let Some(cap) = named {
                    // A response's own cap may be above the session's: then the higher one is what must be held for.
                    self.cap = match kind {
                        "session.update" => cap,
                        _ => self.cap.zip(cap).map(|(one, other)| one.max(other)),
                    };
                }
            }
        }
        let mut event = realtime_for_target(event, self.target.upstream_name());
        let governs = leads_to == LeadsTo::Response || named.is_some();
        let governed = self.governed().filter(|_| governs);
        if let Some(allowed) = governed {
            let outside = Outside { model: Some(self.asked.model().to_owned()), ..Outside::default() };
            if let Ok(again) = ModelRequest::parse_with(Shape::Realtime, event.clone(), outside) {
                event = realtime_capped(&again, allowed);
            }
        }
        Cleared { event, leads_to }
    }
}

/// A refusal as an event of the conversation; `of` is what the client calls the event that is refused.
pub fn error_event(refusal: &Refusal, of: Option<&str>) -> String {
    let mut body = refusal.body(Shape::Realtime);
    body["error"]["event_id"] = json!(of);
    json!({"type": "error", "error": body["error"].take()}).to_string()
}

/// What the client calls its event, so that it can tell which one an error is about.
pub fn event_id(text: &[u8]) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Named {
        event_id: Option<String>,
    }
    serde_json::from_slice::<Named>(text).ok()?.event_id.filter(|it| it.len() <= 512)
}

/// An error of another kind.
pub fn error_of(kind: &str, code: &str, message: &str) -> String {
    json!({"type": "error", "error": {"type": kind, "code": code, "message": message, "param": null}}).to_string()
}

/// The provider is told to say no more of a response.
pub fn cancel(response: &str) -> Bytes {
    json!({"type": "response.cancel", "response_id": response}).to_string().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_may_begin_a_response_is_held_for() {
        for (kind, expected) in [
            ("response.create", LeadsTo::Response),
            ("input_audio_buffer.append", LeadsTo::Speech),
            ("input_audio_buffer.commit", LeadsTo::Speech),
            ("conversation.item.create", LeadsTo::Nothing),
            ("session.update", LeadsTo::Nothing),
            ("response.cancel", LeadsTo::Nothing),
            ("later.event", LeadsTo::Nothing),
        ] {
            assert_eq!(leads_to(kind), expected, "{kind}");
        }
    }

    #[test]
    fn a_refusal_is_told_as_an_event_that_names_the_place() {
        let refusal = Refusal::Unsupported { param: Some("session.tools".into()), message: "it is billed".into() };
        let told: serde_json::Value = serde_json::from_str(&error_event(&refusal, Some("event_7"))).expect("JSON");
        assert_eq!((&told["type"], &told["error"]["code"]), (&json!("error"), &json!("unsupported_by_target")));
        assert_eq!((&told["error"]["param"], &told["error"]["event_id"]), (&json!("session.tools"), &json!("event_7")));
        assert_eq!(event_id(br#"{"type":"a","event_id":"event_7"}"#).as_deref(), Some("event_7"));
        assert_eq!(event_id(b"[").as_deref(), None);
    }
}
