//! What can go wrong with a provider, sorted by what the gateway does about it. Never a provider's own words.

use std::time::Duration;

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ProviderError {
    /// What kind of failure, for receipts and metrics.
    pub class: Class,
    /// The provider's status, if it answered at all.
    pub status: Option<u16>,
    /// A code of the contract: `context_length_exceeded`, `provider_rejected`, `provider_timeout`…
    pub code: &'static str,
    /// Ours; provider text never leaves.
    pub message: String,
    /// Where trying again makes sense.
    pub retry: Retry,
    /// How long the provider asked us to wait.
    pub retry_after: Option<Duration>,
    /// The place that a target cannot be asked, as in `messages[2].content[0]`.
    pub param: Option<String>,
}

/// Where trying again makes sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// The same target may well answer now (a pooled connection had died).
    Here,
    /// The same target may answer with another of its provider's keys, which is free.
    NextKey,
    /// Another target may.
    Elsewhere,
    /// Nobody will: the request itself is at fault.
    Never,
}

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// No connection.
    Connect,
    /// A deadline passed.
    Timeout,
    /// 429.
    RateLimited,
    /// 5xx, or an error event in a stream.
    Server,
    /// 4xx about the request.
    Rejected,
    /// 401, 403: our key or our settings.
    Misconfigured,
    /// The answer cannot be read, or it broke off.
    Broken,
    /// More than we are ready to take.
    TooLarge,
    /// The target cannot be asked this at all; nothing was sent.
    Unsupported,
}

impl Class {
    /// The name in receipts and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Class::Connect => "connect",
            Class::Timeout => "timeout",
            Class::RateLimited => "rate_limited",
            Class::Server => "server",
            Class::Rejected => "rejected",
            Class::Misconfigured => "misconfigured",
            Class::Broken => "broken",
            Class::TooLarge => "too_large",
            Class::Unsupported => "unsupported",
        }
    }
}

impl ProviderError {
    /// A failure without a status.
    pub fn new(class: Class, message: impl Into<String>) -> ProviderError {
        let (code, retry) = match class {
            Class::Connect => ("provider_unavailable", Retry::Elsewhere),
            Class::Timeout => ("provider_timeout", Retry::Elsewhere),
            Class::RateLimited => ("provider_unavailable", Retry::Elsewhere),
            Class::Server | Class::Misconfigured | Class::Broken | Class::TooLarge => {
                ("provider_error", Retry::Elsewhere)
            }
            Class::Unsupported => ("unsupported_by_target", Retry::Elsewhere),
            Class::Rejected => ("provider_rejected", Retry::Never),
        };
        ProviderError { class, status: None, code, message: message.into(), retry, retry_after: None, param: None }
    }

    /// Whether the same target may be asked again in a while: it could not be reached, or has said that it does not serve this now,
    /// before it did anything that would be billed.
    pub fn passes(&self) -> bool {
        match self.class {
            Class::Connect | Class::RateLimited | Class::Server => true,
            // A provider's own 504 is an answer; where nothing was answered in time, it may be computing still, and bill it.
            Class::Timeout => self.status.is_some(),
            Class::Rejected | Class::Misconfigured | Class::Broken | Class::TooLarge | Class::Unsupported => false,
        }
    }

    /// The request was sent and never answered: who computes to the end bills it.
    pub fn may_be_billed(&self) -> bool {
        matches!(self.class, Class::Timeout | Class::Broken) && self.status.is_none() && self.retry != Retry::Here
    }

    /// The answer cannot be read.
    pub fn broken(message: impl Into<String>) -> ProviderError {
        ProviderError::new(Class::Broken, message)
    }
}
