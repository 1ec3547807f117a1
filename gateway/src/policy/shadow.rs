//! A candidate beside the rules in force: it is asked what they were asked, off the call's path, and its answers have no effect
//! but to be counted and listed where they differ.

use std::sync::Arc;

use policies::{Rulebook, Scope};

/// The rules in force with a candidate in the place of one of their layers.
pub struct Shadow {
    /// The candidate: `pol_…`.
    pub revision: String,
    /// Whose layer it would be.
    pub scope: Scope,
    /// Every layer as it would be with it.
    pub rulebook: Arc<Rulebook>,
}
