//! OpenAI's Responses, for callers who speak them (`POST /v1/responses`); [`outbound`] asks models that are served there alone.
//!
//! | caller | target | request | answer |
//! |---|---|---|---|
//! | Responses | a server of `/responses` | [`native`]: spliced | [`passage`]: every event as it came |
//! | Responses | any other | [`to_openai`](mod@to_openai), then the target's own dialect | OpenAI's chunks, then [`outlet`](mod@outlet) |
//!
//! Decisions to know:
//! - **Nothing is kept here.** A caller sends the whole conversation each time; `store` has no effect on this side, and the paths that
//!   read stored answers are refused.
//! - **What is stored at a provider belongs to its account, not to a tenant.** Whose answer `previous_response_id`, `conversation` or an
//!   item's reference names, whose template `prompt` does, whose upload a `file_id` does, the gateway cannot know; so they are refused,
//!   unless the operator says for a provider `settings: { stored_responses: allow }` (`stored_files` for files), as where an account has
//!   one tenant. What such a member brings along was seen by no guard, and its tokens were not foreseen by the hold: they are billed
//!   all the same, at worst as an overrun. Items with their content are no references, whatever ids they carry.
//! - **Whether a server has `/responses`** its catalogue file says (`responses: true`); `settings: { responses: native }` or
//!   `translated` overrules it.
//! - **Thinking goes around**: signed blocks of other providers are told as reasoning items with `encrypted_content`, and become such
//!   blocks again when the client sends them back: see [`reasoning`].

mod assembly;
mod native;
pub(crate) mod outbound;
mod outlet;
mod passage;
mod pen;
mod reasoning;
mod settings;
mod to_openai;
mod track;
mod usage;
mod whole;

use crate::dialect::{Decoder, Outlet};
use crate::gather::Assembly;
use crate::request::ModelRequest;

pub(crate) use native::{encode, is_native};
pub(crate) use to_openai::to_openai;
pub(crate) use track::{Track, begin};
pub(crate) use usage::object as usage_object;

/// Writes Responses' events from OpenAI's chunks.
pub(crate) fn outlet(request: &ModelRequest) -> Box<dyn Outlet> {
    Box::new(outlet::ResponsesOutlet::new(request))
}

/// The reader of an answer to a caller of Responses, from a server that may have answered in their words or, if it was asked so, in
/// those of chat completions, for which `chat` is.
pub(crate) fn decoder(request: &ModelRequest, chat: Box<dyn Decoder>) -> Box<dyn Decoder> {
    Box::new(passage::Unopened::new(request.stream(), chat))
}

/// Puts the events of either kind together.
pub(crate) fn assembly(chat: Box<dyn Assembly>) -> Box<dyn Assembly> {
    Box::new(assembly::EitherAssembly::new(chat))
}

#[cfg(test)]
mod tests;
