//! What somebody should be told: kinds of rows in the outbox. Rows are written with the change that they tell of, and
//! delivered from there.

/// A soft limit was passed, for the first time in this window.
pub const SOFT_LIMIT: &str = "soft_limit";
/// A limit refused a call, for the first time in this window.
pub const HARD_LIMIT: &str = "hard_limit";
/// A refund was asked for and not given.
pub const REFUND_FAILED: &str = "refund_failed";
