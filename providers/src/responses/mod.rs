//! OpenAI Responses: what callers speak, and what some models are served in alone.

pub(crate) mod outbound;
