//! Callers of generateContent and streamGenerateContent.
//!
//! | target | request | answer |
//! |---|---|---|
//! | Gemini | [`spliced`]: model, cap, gateway's own members | passes as it came |
//! | any other | [`to_openai`](mod@to_openai), then from the hub | chunks from the hub, then [`outlet`](self::outlet()) |

mod calls;
mod outlet;
mod signature;
mod splice;
mod to_openai;
mod usage;

use crate::dialect::Outlet;
use crate::request::ModelRequest;

pub(crate) use outlet::cut;
pub(crate) use splice::spliced;
pub(crate) use to_openai::to_openai;
pub(crate) use usage::write as usage_object;

/// Writes Gemini's events from OpenAI chunks.
pub(crate) fn outlet(request: &ModelRequest) -> Box<dyn Outlet> {
    Box::new(outlet::GeminiOutlet::new(request))
}

#[cfg(test)]
mod tests;
