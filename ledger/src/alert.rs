//! What somebody should be told: kinds of rows in the outbox. Rows are written with the change that they tell of, and
//! delivered from there.

use sha2::{Digest, Sha256};

use crate::clock::Timestamp;
use crate::id::{Alert, Id, Org, Wallet};

/// A soft limit was passed, for the first time in this window.
pub const SOFT_LIMIT: &str = "soft_limit";
/// A limit refused a call, for the first time in this window.
pub const HARD_LIMIT: &str = "hard_limit";
/// A wallet spends unlike itself, or its breaker moved.
pub const BREAKER: &str = "breaker";
/// A limit will be reached before its window ends.
pub const FORECAST: &str = "forecast";
/// A refund was asked for and not given.
pub const REFUND_FAILED: &str = "refund_failed";

/// Every kind that a sink may ask for.
pub const KINDS: [&str; 5] = [SOFT_LIMIT, HARD_LIMIT, BREAKER, FORECAST, REFUND_FAILED];

/// An alert as it is read and delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertRow {
    pub id: Id<Alert>,
    pub at: Timestamp,
    pub org: Id<Org>,
    pub wallet: Option<Id<Wallet>>,
    /// One of [`KINDS`], or one that a newer version wrote.
    pub kind: String,
    /// Ids and amounts, as a JSON object.
    pub content: String,
}

/// Names an alert by what it is about, so that it is told once.
pub(crate) fn about(text: &str) -> Id<Alert> {
    let digest: [u8; 32] = Sha256::digest(text.as_bytes()).into();
    Id::from_uuid(uuid::Uuid::from_slice(digest.split_at(16).0).unwrap_or_default())
}
