//! The section `policies` of the configuration.

use std::path::PathBuf;

use serde::Deserialize;

use super::DecisionLogConfig;
use super::source::{BundleConfig, KeyConfig};

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyConfig {
    /// Modules and data added to the shipped ones: a bundle's files in a folder.
    pub dir: Option<PathBuf>,
    /// The same as a bundle, in a file or behind an address that is asked again and again.
    pub bundle: Option<BundleConfig>,
    /// Whose signatures are believed.
    pub keys: Vec<KeyConfig>,
    /// Whether bundles without a signature of one of them are refused, uploads too; they are, where keys are named.
    pub require_signature: Option<bool>,
    /// What the rules read as `data.alfred`.
    pub data: serde_json::Map<String, serde_json::Value>,
    /// What is kept of decisions.
    pub log: DecisionLogConfig,
}
