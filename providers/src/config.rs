//! The `providers:` section of the configuration.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::catalog::Tokenizer;

/// One configured provider.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// The name in `openai/gpt-4o`.
    pub id: String,
    /// The adapter: a name from the catalogue (`openai`, `anthropic`, `groq`, `openai-compatible`, `sim`…).
    pub kind: String,
    /// Up to and including the version; the catalogue's if absent.
    #[serde(default)]
    pub base_url: Option<String>,
    /// Where its key is.
    #[serde(default)]
    pub api_key: Option<KeySource>,
    /// Where it computes: `us`, `eu`…; the catalogue's if absent.
    #[serde(default)]
    pub region: Option<String>,
    /// Further headers to send. Not for secrets.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Models beside those of the catalogue, and corrections to them.
    #[serde(default)]
    pub models: Vec<ConfiguredModel>,
}

/// A model that the catalogue does not know, or knows otherwise.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfiguredModel {
    /// The provider's own name of it.
    pub id: String,
    /// Tokens in and out together.
    #[serde(default)]
    pub context: Option<u64>,
    /// Tokens out.
    #[serde(default)]
    pub max_output: Option<u64>,
    /// How its tokens can be counted here.
    #[serde(default)]
    pub tokenizer: Option<Tokenizer>,
    /// It takes images.
    #[serde(default)]
    pub images: Option<bool>,
    /// It takes tools.
    #[serde(default)]
    pub tools: Option<bool>,
    /// It bills output that it does not show.
    #[serde(default)]
    pub hidden_output: Option<bool>,
}

/// Where a key is. Exactly one of the three.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySource {
    /// An environment variable.
    #[serde(default)]
    pub env: Option<String>,
    /// A file whose whole content, trimmed, is the key.
    #[serde(default)]
    pub file: Option<String>,
    /// `kv/path#field`; not served yet.
    #[serde(default)]
    pub vault: Option<String>,
}

/// What is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Fault {
    /// As in `providers[0].api_key`.
    pub path: String,
    /// Lower case, names the thing.
    pub message: String,
}

impl Fault {
    /// A fault at a place.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Fault {
        Fault { path: path.into(), message: message.into() }
    }
}
