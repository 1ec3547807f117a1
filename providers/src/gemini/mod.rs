//! Google's generateContent: callers who speak it.

mod inbound;

#[expect(unused_imports, reason = "for the dialect of Google's own servers")]
pub(crate) use inbound::spliced;
pub(crate) use inbound::{cut, outlet, to_openai, usage_object};
