//! The system of record: who may spend, what was held, what was spent, what happened.

mod clock;
mod id;
mod money;

pub use clock::{Clock, Timestamp, TimestampError};
pub use id::{Call, Id, IdError, Instance, JournalRow, Key, Kind, Operator, Org, Team, User, Wallet};
pub use money::{Money, MoneyError, NANOS_PER_USD};
