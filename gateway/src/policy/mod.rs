//! Where rules come from, and what is kept of what they decided. What they decide is `permit.rs`.

mod config;
mod log;
mod log_config;
mod noted;
mod shadow;

pub use config::PolicyConfig;
pub use log::{DecisionLog, PLACES as DECISION_PLACES, describe, keep as keep_log};
pub use log_config::DecisionLogConfig;
pub use shadow::Shadow;
