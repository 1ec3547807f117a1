//! What a call has drawn and must give back: its places when it ends, and of its tokens what it did not use.

use std::sync::Arc;

use ledger::Timestamp;

use super::chain::Chain;
use super::limiter::Limiter;

/// Held by a call under limits until it is closed.
pub struct Ticket {
    limiter: Arc<Limiter>,
    chain: Chain,
    /// What was drawn for tokens that are not known yet.
    tokens: u64,
    place: bool,
    /// The number of its places in the shared store, where it was drawn there.
    shared_place: Option<u64>,
    /// It was drawn from the shared store.
    shared: bool,
}

impl Ticket {
    pub(super) fn new(
        limiter: Arc<Limiter>,
        chain: Chain,
        tokens: u64,
        place: bool,
        shared: Option<Option<u64>>,
    ) -> Ticket {
        Ticket { limiter, chain, tokens, place, shared_place: shared.flatten(), shared: shared.is_some() }
    }

    /// The call has used so many tokens, instead of those drawn for it.
    pub fn used(&mut self, tokens: u64, now: Timestamp) {
        let drawn = std::mem::take(&mut self.tokens);
        self.limiter.settle(&self.chain, drawn, tokens, self.shared, now);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.limiter.leave(&self.chain, self.tokens, self.place, self.shared, self.shared_place);
    }
}
