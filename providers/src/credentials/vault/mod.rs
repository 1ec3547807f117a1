//! Keys from a vault (HashiCorp Vault, OpenBao and what speaks like them): its HTTP API as far as reading secrets needs it, on the
//! house's own connections. Bodies are bounded, redirects are not followed with a token in hand, and what was read is wiped.

mod client;
mod config;
mod kv;
mod session;

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::{Origin, Secret};
use client::Client;
pub use config::VaultConfig;
use kv::Version;
use session::Session;

use crate::config::Fault;

/// A text in a vault: `mount/path#field`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct VaultPath {
    /// Mount and path.
    pub entry: String,
    pub field: String,
}

impl VaultPath {
    pub(crate) fn parse(text: &str) -> Result<VaultPath, String> {
        let wrong = || {
            format!("{text:?} is no place in a vault: mount/path#field is needed, such as kv/providers/openai#api_key")
        };
        let (entry, field) = text.trim().split_once('#').ok_or_else(wrong)?;
        let sound = |it: &str| {
            !matches!(it, "" | "." | "..") && !it.contains(['?', '#', '\\']) && !it.contains(char::is_control)
        };
        if field.is_empty() || !entry.contains('/') || !entry.split('/').all(sound) {
            return Err(wrong());
        }
        Ok(VaultPath { entry: entry.to_owned(), field: field.to_owned() })
    }
}

impl fmt::Display for VaultPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.entry, self.field)
    }
}

/// What goes wrong with a vault. Never its own words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum VaultError {
    #[error("the vault cannot be reached")]
    Unreachable,
    #[error("the vault did not answer in time")]
    Late,
    #[error("the vault cannot serve now (status {0}: sealed, standby or failing)")]
    Unready(u16),
    #[error("the vault redirects (status {0}); give the address that serves, tokens are not carried elsewhere")]
    Elsewhere(u16),
    #[error("the vault's answer cannot be read")]
    Torn,
    #[error("the vault refuses our login (status {0})")]
    NoEntry(u16),
    #[error("{0}")]
    Unprepared(String),
    #[error("the vault denies us {0}")]
    Denied(String),
    #[error("the vault has nothing at {0}")]
    Missing(String),
    #[error("{entry} has no field {field} that is a text")]
    NoField { entry: String, field: String },
}

impl VaultError {
    /// The vault is away, rather than saying no: what it would say is not known.
    pub(crate) fn is_outage(&self) -> bool {
        matches!(self, VaultError::Unreachable | VaultError::Late | VaultError::Unready(_))
    }
}

/// A vault, and who we are there.
pub(crate) struct Vault {
    client: Client,
    session: Session,
    /// How each mount keeps its entries, as far as that is known.
    versions: HashMap<String, Version>,
    config: VaultConfig,
}

impl Vault {
    pub(crate) fn new(config: &VaultConfig, env: &dyn Fn(&str) -> Option<String>) -> Result<Vault, Vec<Fault>> {
        let faults = config.faults();
        if !faults.is_empty() {
            return Err(faults);
        }
        let client = Client::new(config)?;
        let session = Session::new(config, env)?;
        Ok(Vault { client, session, versions: HashMap::new(), config: config.clone() })
    }

    /// When the token wants renewing, if it does.
    pub(crate) fn due(&self, now: Instant) -> Option<Duration> {
        self.session.due(now)
    }

    /// Sees to it that a token is there and fresh.
    pub(crate) async fn enter(&mut self, now: Instant) -> Result<(), VaultError> {
        self.session.enter(&self.client, now).await
    }

    /// The fields of an entry that are asked for. A refusal may be the token's fault: then once more with a new one.
    pub(crate) async fn read(
        &mut self,
        entry: &str,
        fields: &BTreeSet<&str>,
        now: Instant,
    ) -> Result<HashMap<String, Secret>, VaultError> {
        self.enter(now).await?;
        match self.fetch(entry, fields).await {
            Err(refused @ VaultError::Denied(_)) => {
                if !self.session.again(&self.client, now).await? {
                    return Err(refused);
                }
                self.fetch(entry, fields).await
            }
            other => other,
        }
    }

    async fn fetch(&mut self, entry: &str, fields: &BTreeSet<&str>) -> Result<HashMap<String, Secret>, VaultError> {
        let token = self.session.token()?;
        let place = kv::place(&self.client, &token, &self.config, &mut self.versions, entry).await?;
        kv::read(&self.client, &token, &place, fields).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_vault_has_a_mount_a_path_and_a_field() {
        let check = |text: &str, good: bool| assert_eq!(VaultPath::parse(text).is_ok(), good, "{text}");
        check("kv/providers/openai#api_key", true);
        check(" kv/a#b ", true);
        for wrong in
            ["kv/a", "kv#a", "kv/a#", "#a", "/kv/a#b", "kv//a#b", "kv/../sys#b", "kv/a?version=1#b", "kv/a/#b", ""]
        {
            check(wrong, false);
        }
    }
}
