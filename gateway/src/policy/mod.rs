//! Where rules come from, and what is kept of what they decided. What they decide is `permit.rs`.

mod config;
mod shadow;

pub use config::PolicyConfig;
pub use shadow::Shadow;
