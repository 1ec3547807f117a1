//! `alfred policy …`: tools for those who write rules.

mod replay;

pub use replay::{ReplayArguments, replay};
