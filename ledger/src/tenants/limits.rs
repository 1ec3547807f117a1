//! How much a key or a team may do at a time, and whose calls go first when there is too much to do.

use serde::Serialize;

use super::{TenantError, check};

/// What is none is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize)]
pub struct Limits {
    /// Requests a minute.
    pub rpm: Option<u32>,
    /// Tokens a minute.
    pub tpm: Option<u64>,
    /// Calls in flight.
    #[serde(rename = "max_parallel_requests")]
    pub max_parallel: Option<u32>,
}

impl Limits {
    /// Whether nothing is limited.
    pub fn is_none(&self) -> bool {
        *self == Limits::default()
    }

    /// Whether each of them is one that bounds something and lets something through.
    ///
    /// # Errors
    /// The first that does not, by its name on the wire.
    pub fn check(&self) -> Result<(), TenantError> {
        check::rate("rpm", self.rpm.map(u64::from), check::MOST_REQUESTS_PER_MINUTE)?;
        check::rate("tpm", self.tpm, check::MOST_TOKENS_PER_MINUTE)?;
        check::rate("max_parallel_requests", self.max_parallel.map(u64::from), check::MOST_PARALLEL_REQUESTS)
    }
}

/// What to change of limits; what is none stays as it is. `Some(None)` takes a limit away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LimitChange {
    pub rpm: Option<Option<u32>>,
    pub tpm: Option<Option<u64>>,
    pub max_parallel: Option<Option<u32>>,
}

impl LimitChange {
    /// The limits after it.
    pub fn of(self, old: Limits) -> Limits {
        Limits {
            rpm: self.rpm.unwrap_or(old.rpm),
            tpm: self.tpm.unwrap_or(old.tpm),
            max_parallel: self.max_parallel.unwrap_or(old.max_parallel),
        }
    }
}

/// Whose calls are shed first under overload: low ones first, high ones last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub enum Priority {
    Low,
    #[default]
    Normal,
    High,
}

impl Priority {
    /// All of them, lowest first.
    pub const ALL: [Priority; 3] = [Priority::Low, Priority::Normal, Priority::High];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Priority::Low => "low",
            Priority::Normal => "normal",
            Priority::High => "high",
        }
    }

    /// The priority of that word.
    pub fn from_word(word: &str) -> Option<Priority> {
        Priority::ALL.into_iter().find(|it| it.as_str() == word)
    }
}
