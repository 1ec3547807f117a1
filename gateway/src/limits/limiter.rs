//! The limits of keys, teams and models: drawn in the shared store where there is one, else in this process's memory.

use std::sync::Arc;

use ledger::Timestamp;

use super::chain::{Chain, Cost};
use super::memory::{Memory, Told, Turned};
use super::shared::Shared;
use super::ticket::Ticket;

/// Every limit but that of addresses.
#[derive(Default)]
pub struct Limiter {
    memory: Memory,
    shared: Option<Arc<Shared>>,
}

impl Limiter {
    pub fn new(shared: Option<Arc<Shared>>) -> Limiter {
        Limiter { memory: Memory::default(), shared }
    }

    /// Draws all of it or nothing.
    ///
    /// # Errors
    /// When one of the limits has not so much left.
    pub async fn draw(
        self: &Arc<Self>,
        chain: Chain,
        cost: Cost,
        now: Timestamp,
    ) -> Result<(Told, Ticket), Box<Turned>> {
        let ticket = |shared| Ticket::new(Arc::clone(self), chain, cost.tokens, cost.place, shared);
        if let Some(shared) = &self.shared {
            match shared.draw(&chain, cost).await {
                Some(Ok((told, place))) => {
                    self.memory.note(&chain, cost, self.processes(), now);
                    return Ok((told, ticket(Some(place))));
                }
                Some(Err(turned)) => {
                    self.memory.shut(&turned, now);
                    return Err(turned);
                }
                None => {}
            }
        }
        let told = self.memory.draw(&chain, cost, self.processes(), now)?;
        Ok((told, ticket(None)))
    }

    /// Whether a request would be refused for sure, as far as can be known without asking anybody: before its body is read.
    ///
    /// # Errors
    /// When it would.
    pub fn look(&self, chain: &Chain, now: Timestamp) -> Result<Told, Box<Turned>> {
        match &self.shared {
            None => self.memory.look(chain, Cost::QUESTION, 1, now),
            Some(_) => self.memory.shut_out(chain, now).map_or(Ok(Told::default()), |turned| Err(Box::new(turned))),
        }
    }

    /// A call that was refused for what it says is a request all the same.
    pub fn count(&self, chain: &Chain, now: Timestamp) {
        self.memory.note(chain, Cost::QUESTION, self.processes(), now);
        if let Some(shared) = &self.shared {
            shared.count(chain);
        }
    }

    pub(super) fn settle(&self, chain: &Chain, drawn: u64, used: u64, elsewhere: bool, now: Timestamp) {
        self.memory.settle(chain, drawn, used, elsewhere, self.processes(), now);
        if let Some(shared) = self.shared.as_ref().filter(|_| elsewhere) {
            let signed = |tokens| i64::try_from(tokens).unwrap_or(i64::MAX);
            shared.correct(chain, signed(used).saturating_sub(signed(drawn)));
        }
    }

    pub(super) fn leave(&self, chain: &Chain, tokens: u64, place: bool, elsewhere: bool, shared_place: Option<u64>) {
        self.memory.leave(chain, tokens, place, self.processes());
        let Some(shared) = self.shared.as_ref().filter(|_| elsewhere) else { return };
        shared.correct(chain, i64::try_from(tokens).unwrap_or(i64::MAX).saturating_neg());
        if let Some(place) = shared_place {
            shared.leave(place);
        }
    }

    fn processes(&self) -> u64 {
        self.shared.as_ref().map_or(1, |shared| shared.processes())
    }
}
