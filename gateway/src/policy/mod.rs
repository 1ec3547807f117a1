//! Where rules come from, and what is kept of what they decided. What they decide is `permit.rs`.

mod config;
pub mod desk;
mod keys;
mod loader;
mod poll;
mod rules;
mod shadow;
mod source;

pub use config::PolicyConfig;
pub use poll::keep as poll;
pub use rules::{Rules, first, follow, now, recorded};
pub use shadow::Shadow;
pub use source::{House, HousePlan};
