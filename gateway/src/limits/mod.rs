//! How much, how often and from where: the limits of keys, teams, models and addresses. Start at `door.rs`.

mod address;
mod bucket;
mod chain;
mod config;
mod door;
mod failed;
mod limiter;
mod memory;
mod script;
mod shared;
mod tally;
mod ticket;

pub use address::Network;
pub use bucket::RateState;
pub use chain::ModelLimit;
pub use config::{ModelLimits, SharedConfig};
pub use door::{Door, Drawing};
pub use tally::{Counted, Subject};
pub use ticket::Ticket;
