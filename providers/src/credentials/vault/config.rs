//! The `vault:` section of the configuration.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use url::Url;

use crate::config::{Fault, KeySource, key_source, required_key_source};

/// Where the vault is, and who we are there.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaultConfig {
    /// `https://vault.example:8200`; `http` on this machine alone.
    pub address: String,
    #[serde(default)]
    pub namespace: Option<String>,
    pub(super) auth: VaultAuth,
    /// How mounts keep their entries, where they are not named in `mounts`.
    #[serde(default)]
    pub(super) kv_version: KvVersion,
    /// The same by mount; also says where a mount ends whose name has a slash.
    #[serde(default)]
    pub(super) mounts: BTreeMap<String, KvVersion>,
    /// Only certificates of these authorities are believed, in place of the web's.
    #[serde(default)]
    pub(super) ca_file: Option<String>,
    #[serde(default)]
    pub(super) client_cert_file: Option<String>,
    #[serde(default)]
    pub(super) client_key_file: Option<String>,
    /// How often keys are read again.
    #[serde(default = "refresh_ms")]
    pub refresh_ms: u64,
    /// So long a key is good after it was last read.
    #[serde(default = "max_stale_ms")]
    pub max_stale_ms: u64,
    /// For one answer.
    #[serde(default = "timeout_ms")]
    pub timeout_ms: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Said")]
pub(super) enum VaultAuth {
    Token(KeySource),
    Approle(AppRole),
    Kubernetes(Kubernetes),
}

/// Exactly one of the three.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Said {
    #[serde(deserialize_with = "key_source")]
    token: Option<KeySource>,
    approle: Option<AppRole>,
    kubernetes: Option<Kubernetes>,
}

impl TryFrom<Said> for VaultAuth {
    type Error = &'static str;

    fn try_from(said: Said) -> Result<VaultAuth, &'static str> {
        match (said.token, said.approle, said.kubernetes) {
            (Some(it), None, None) => Ok(VaultAuth::Token(it)),
            (None, Some(it), None) => Ok(VaultAuth::Approle(it)),
            (None, None, Some(it)) => Ok(VaultAuth::Kubernetes(it)),
            _ => Err("give exactly one of token, approle, kubernetes"),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AppRole {
    pub role_id: String,
    #[serde(deserialize_with = "required_key_source")]
    pub secret_id: KeySource,
    #[serde(default = "approle")]
    pub mount: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Kubernetes {
    pub role: String,
    /// The service account's token; read anew for each login.
    #[serde(default = "jwt_file")]
    pub jwt_file: String,
    #[serde(default = "kubernetes")]
    pub mount: String,
}

/// How a mount keeps its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum KvVersion {
    /// The vault is asked.
    #[default]
    Auto,
    One,
    Two,
}

impl<'de> Deserialize<'de> for KvVersion {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<KvVersion, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Said {
            Number(u64),
            Text(String),
        }
        match Said::deserialize(deserializer) {
            Ok(Said::Number(1)) => Ok(KvVersion::One),
            Ok(Said::Number(2)) => Ok(KvVersion::Two),
            Ok(Said::Text(text)) if text == "auto" => Ok(KvVersion::Auto),
            _ => Err(serde::de::Error::custom("must be 1, 2 or auto")),
        }
    }
}

fn refresh_ms() -> u64 {
    60_000
}
fn max_stale_ms() -> u64 {
    900_000
}
fn timeout_ms() -> u64 {
    5_000
}
fn approle() -> String {
    "approle".to_owned()
}
fn kubernetes() -> String {
    "kubernetes".to_owned()
}
fn jwt_file() -> String {
    "/var/run/secrets/kubernetes.io/serviceaccount/token".to_owned()
}

impl VaultConfig {
    pub fn refresh(&self) -> Duration {
        Duration::from_millis(self.refresh_ms)
    }
    pub fn max_stale(&self) -> Duration {
        Duration::from_millis(self.max_stale_ms)
    }
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    /// What the types cannot say.
    pub(super) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        let mut check = |sound: bool, name: &str, why: &str| {
            if !sound {
                faults.push(Fault::new(format!("vault.{name}"), why));
            }
        };
        let url = Url::parse(&self.address).ok().filter(super::super::is_private);
        let bare = |url: &Url| url.username().is_empty() && url.password().is_none() && url.query().is_none();
        check(
            url.as_ref().is_some_and(bare),
            "address",
            "must be an https address (http on this machine alone): it is told secrets",
        );
        check(self.refresh_ms >= 50, "refresh_ms", "must be at least 50");
        check(self.max_stale_ms >= self.refresh_ms, "max_stale_ms", "must be at least refresh_ms");
        check((1..=60_000).contains(&self.timeout_ms), "timeout_ms", "must be 1 to 60000");
        let header = |text: &str| text.bytes().all(|b| (0x21..0x7f).contains(&b));
        check(self.namespace.as_deref().is_none_or(header), "namespace", "has characters that no header can carry");
        check(
            self.client_cert_file.is_some() == self.client_key_file.is_some(),
            "client_cert_file",
            "must be given together with client_key_file",
        );
        let mount = match &self.auth {
            VaultAuth::Token(_) => None,
            VaultAuth::Approle(it) => Some(("auth.approle.mount", &it.mount)),
            VaultAuth::Kubernetes(it) => Some(("auth.kubernetes.mount", &it.mount)),
        };
        if let Some((place, mount)) = mount {
            check(is_path(mount), place, "must be the name of a mount, without slashes around it");
        }
        for mount in self.mounts.keys() {
            check(is_path(mount), &format!("mounts.{mount}"), "must be the name of a mount, without slashes around it");
        }
        faults
    }
}

fn is_path(text: &str) -> bool {
    text.split('/').all(|it| !matches!(it, "" | "." | "..")) && !text.contains(['?', '#'])
}
