//! What can go wrong, by what the caller does about it.

use std::sync::Arc;

use crate::clock::Timestamp;
use crate::id::{Call, Id, JournalRow, Wallet};
use crate::money::Money;
use crate::window::Window;

/// The store could not do what was asked. Nothing was admitted by it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    #[error("database url is neither sqlite://path nor postgres://host/name")]
    Url,
    #[error("another process is using this database: {lock} is locked")]
    InUse { lock: String },
    #[error("cannot open {path}")]
    File { path: String, source: Arc<std::io::Error> },
    #[error("database failed")]
    Database(#[source] Arc<sqlx::Error>),
    #[error("database failed")]
    Sqlite(#[source] Arc<rusqlite::Error>),
    #[error("database cannot be brought to this version")]
    Migrate(#[source] Arc<sqlx::migrate::MigrateError>),
    #[error("stored {0} cannot be read")]
    Corrupt(String),
    #[error("call {0} was resolved with other content")]
    Conflict(Id<Call>),
    #[error("call {0} holds nothing")]
    UnknownCall(Id<Call>),
    #[error("ledger has more work than it can take")]
    Busy,
    #[error("database has not answered for too long")]
    Silent,
    #[error("ledger is closed")]
    Closed,
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        StoreError::Database(Arc::new(error))
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        StoreError::Sqlite(Arc::new(error))
    }
}

impl From<sqlx::migrate::MigrateError> for StoreError {
    fn from(error: sqlx::migrate::MigrateError) -> Self {
        StoreError::Migrate(Arc::new(error))
    }
}

/// Why no money was set aside.
#[derive(Debug, Clone, thiserror::Error)]
pub enum ReserveError {
    #[error(transparent)]
    OverLimit(OverLimit),
    /// A patient order that does not fit only because of what others hold. Nothing was written down.
    #[error(transparent)]
    Held(OverLimit),
    #[error("wallet {wallet} is suspended")]
    Suspended { wallet: Id<Wallet> },
    #[error("wallet {wallet} is closed")]
    Closed { wallet: Id<Wallet> },
    /// A soft limit that wants a cheaper plan would be passed. Nothing was held and nothing was written down: whoever ordered
    /// looks for a cheaper plan, and orders again as downgraded whether there is one or not.
    #[error("wallet {wallet} is past a soft limit and wants a cheaper plan")]
    Downgrade { wallet: Id<Wallet> },
    #[error("call {0} was made before with other content")]
    Conflict(Id<Call>),
    #[error("wallet {0} is not known")]
    UnknownWallet(Id<Wallet>),
    #[error("idempotency key was used with another body")]
    IdempotencyMismatch,
    #[error("a call with this idempotency key is still running")]
    IdempotencyInProgress,
    #[error("amount {0} cannot be held")]
    Amount(Money),
    #[error("ledger has more work than it can take")]
    Busy,
    #[error("ledger store failed")]
    Store(#[from] StoreError),
}

/// A wallet that cannot cover what was asked, as it stood when it was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("wallet {wallet} cannot cover {asked}: limit {limit}, spent {spent}, held {held}")]
pub struct OverLimit {
    pub wallet: Id<Wallet>,
    /// The wallet's allowance: its hard limit, or what it was funded with.
    pub limit: Money,
    pub spent: Money,
    pub held: Money,
    pub asked: Money,
    pub window: Window,
    /// When the window ends, if it does.
    pub resets_at: Option<Timestamp>,
}

impl OverLimit {
    /// Whether a twentieth of the limit at most is left.
    pub fn is_used_up(&self) -> bool {
        let used = i128::from(self.spent.nanos()) + i128::from(self.held.nanos());
        used * 20 >= i128::from(self.limit.nanos()) * 19
    }
}

/// Why nothing was given back.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RefundError {
    #[error("call {0} is not known")]
    UnknownCall(Id<Call>),
    #[error("call {0} is still running")]
    Running(Id<Call>),
    #[error("refund of {asked} is more than the {refundable} left")]
    TooMuch { asked: Money, refundable: Money },
    #[error("amount {0} cannot be refunded")]
    Amount(Money),
    #[error("refund {0} was made before with other content")]
    Conflict(Id<JournalRow>),
    #[error("ledger store failed")]
    Store(#[from] StoreError),
}

impl RefundError {
    /// The refusal in a word. What the store could not do has none: there is nowhere to write it down.
    pub(crate) fn code(&self) -> Option<&'static str> {
        match self {
            RefundError::UnknownCall(_) => Some("not_known"),
            RefundError::Running(_) => Some("request_running"),
            RefundError::TooMuch { .. } => Some("too_much"),
            RefundError::Amount(_) => Some("invalid_amount"),
            RefundError::Conflict(_) => Some("conflict"),
            RefundError::Store(_) => None,
        }
    }
}

/// Why a wallet was not funded.
#[derive(Debug, Clone, thiserror::Error)]
pub enum FundError {
    #[error("wallet {0} is not known")]
    UnknownWallet(Id<Wallet>),
    #[error("wallet {0} is closed")]
    Closed(Id<Wallet>),
    #[error("amount {0} cannot be funded")]
    Amount(Money),
    #[error("this reference funded something else before")]
    Conflict,
    #[error("ledger store failed")]
    Store(#[from] StoreError),
}

/// Why no call can be accounted for at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unready {
    #[error("ledger is closed")]
    Closed,
    #[error("writer has stopped")]
    WriterStopped,
    #[error("database did not answer for {seconds} s")]
    Silent { seconds: u64 },
    #[error("too many settlements wait for the database")]
    Backlog,
}
