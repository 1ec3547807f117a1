//! The hub: every conversation, in whatever shape it came, as a body of OpenAI's chat completions. A dialect that the caller does
//! not speak writes its own form from that; so each shape is translated to the hub once, and from it once.

use std::borrow::Cow;

use crate::dialect::Unsupported;
use crate::request::{BadRequest, ModelRequest, Shape};

/// The conversation as a chat completion. What has no counterpart there is refused by name.
pub(crate) fn as_chat(request: &ModelRequest) -> Result<Cow<'_, ModelRequest>, Unsupported> {
    let body = match request.shape() {
        Shape::OpenAi => return Ok(Cow::Borrowed(request)),
        Shape::Anthropic => crate::anthropic::to_openai(request)?,
        Shape::Gemini => crate::gemini::to_openai(request)?,
        other => return Err(unserved(other)),
    };
    let read = ModelRequest::parse(Shape::OpenAi, body);
    read.map(Cow::Owned).map_err(|BadRequest { param, message, .. }| Unsupported { param, message })
}

/// The target does not do this at all.
pub(crate) fn unserved(shape: Shape) -> Unsupported {
    Unsupported::new(format!("it does not serve {}", shape.task().as_str()))
}
