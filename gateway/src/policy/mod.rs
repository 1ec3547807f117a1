//! Where rules come from, and what is kept of what they decided. What they decide is `permit.rs`.

mod config;
pub mod desk;
mod keys;
mod loader;
mod log;
mod log_config;
mod noted;
mod poll;
mod rules;
mod shadow;
mod source;

pub use config::PolicyConfig;
pub use log::{DecisionLog, PLACES as DECISION_PLACES, describe, keep as keep_log};
pub use log_config::DecisionLogConfig;
pub use poll::keep as poll;
pub use rules::{Rules, first, follow, now, recorded};
pub use shadow::Shadow;
pub use source::{House, HousePlan};
