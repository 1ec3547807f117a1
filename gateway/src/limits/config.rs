//! What an operator can set about limits beyond one process: the store that several share, and limits of models.

use std::fmt;

use serde::Deserialize;

/// Where several processes keep one account of their limits.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedConfig {
    /// `redis://[user:password@]host[:port][/database]`, or `rediss://` for TLS.
    pub url: String,
    /// What the names of all keys there begin with.
    #[serde(default = "prefix")]
    pub prefix: String,
    /// A call waits so long for the store; then this process's share decides.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
    /// As long as the store was never reached, at least so many processes are taken to share a limit.
    #[serde(default = "processes")]
    pub processes: u32,
}

fn prefix() -> String {
    "alfred".to_owned()
}

fn timeout_ms() -> u64 {
    20
}

fn processes() -> u32 {
    1
}

// The address may hold a password.
impl fmt::Debug for SharedConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SharedConfig").field("prefix", &self.prefix).finish_non_exhaustive()
    }
}

impl SharedConfig {
    /// What the types cannot say: the member, and what is wrong with it. Its value is not told.
    pub fn faults(&self) -> Vec<(&'static str, String)> {
        let mut faults = Vec::new();
        let has_scheme = self.url.starts_with("redis://") || self.url.starts_with("rediss://");
        if !has_scheme || redis::Client::open(self.url.as_str()).is_err() {
            faults.push((
                "url",
                "must be redis://[user:password@]host[:port][/database], or rediss:// for TLS".to_owned(),
            ));
        }
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
        if self.prefix.is_empty() || self.prefix.len() > 64 || !self.prefix.bytes().all(plain) {
            faults.push(("prefix", "must have 1 to 64 letters, digits or -_.:".to_owned()));
        }
        if !(1..=10_000).contains(&self.timeout_ms) {
            faults.push(("timeout_ms", "must be from 1 to 10000".to_owned()));
        }
        if self.processes == 0 {
            faults.push(("processes", "must be at least 1".to_owned()));
        }
        faults
    }
}

/// Limits of an alias, for each organisation apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ModelLimits {
    pub rpm: Option<u32>,
    pub tpm: Option<u64>,
    pub max_parallel_requests: Option<u32>,
}

impl ModelLimits {
    /// As the ledger has those of keys and teams.
    pub fn limits(self) -> ledger::Limits {
        ledger::Limits { rpm: self.rpm, tpm: self.tpm, max_parallel: self.max_parallel_requests }
    }

    /// The member that cannot be, and why.
    pub fn fault(self) -> Option<(&'static str, String)> {
        match self.limits().check() {
            Err(ledger::TenantError::Invalid { field, message }) => Some((field, message)),
            _ => None,
        }
    }
}
