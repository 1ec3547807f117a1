//! The section `policies` of the configuration.

use std::path::PathBuf;

use serde::Deserialize;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyConfig {
    /// Modules added to the shipped ones.
    pub dir: Option<PathBuf>,
    /// What the rules read as `data.alfred`.
    pub data: serde_json::Map<String, serde_json::Value>,
}
