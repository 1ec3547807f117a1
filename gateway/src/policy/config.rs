//! The section `policies` of the configuration.

use std::path::PathBuf;

use serde::Deserialize;

use super::DecisionLogConfig;

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PolicyConfig {
    /// Modules added to the shipped ones.
    pub dir: Option<PathBuf>,
    /// What the rules read as `data.alfred`.
    pub data: serde_json::Map<String, serde_json::Value>,
    /// What is kept of decisions.
    pub log: DecisionLogConfig,
}
