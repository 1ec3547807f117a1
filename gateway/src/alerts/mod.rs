//! Alerts on their way out: from the ledger's outbox to webhooks and mailboxes, at least once.

mod config;
mod mail;
mod sink;

pub use config::{SinkConfig, sinks};
pub use sink::Sink;
