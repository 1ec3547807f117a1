//! Money set aside for one call. There is one way to get a hold, and each is resolved once.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::clock::Timestamp;
use crate::id::{Call, Id, Instance, Key, Org, Wallet};
use crate::money::Money;
use crate::queue::Queue;
use crate::rows::ChainId;

/// Who answers for a hold until it is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// The process that carries the call. Gone with it.
    Instance(Id<Instance>),
    /// A row that outlives every process, such as a batch's: the hold is an orphan only when its own time has passed.
    Job,
}

impl Owner {
    pub(crate) fn to_text(self) -> String {
        match self {
            Owner::Instance(id) => id.to_string(),
            Owner::Job => "job".to_owned(),
        }
    }
}

/// Proof that money is held. `settle` and `release` take it away.
#[must_use = "a hold that nobody resolves is charged in full when it expires"]
pub struct Hold {
    pub(crate) call: Id<Call>,
    pub(crate) org: Id<Org>,
    pub(crate) key: Id<Key>,
    pub(crate) wallet: Id<Wallet>,
    pub(crate) chain: ChainId,
    pub(crate) amount: Money,
    pub(crate) expires_at: Timestamp,
    pub(crate) warnings: Vec<SoftWarning>,
    pub(crate) slot: Option<OwnedSemaphorePermit>,
    /// Set while the hold is on its way to whoever asked. If they left meanwhile, it goes back here.
    pub(crate) undelivered: Option<Arc<Queue>>,
}

impl Hold {
    /// The call that it was made for.
    pub fn call(&self) -> Id<Call> {
        self.call
    }

    /// How much is held.
    pub fn amount(&self) -> Money {
        self.amount
    }

    /// When it counts as orphaned.
    pub fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// Wallets of the chain that are past their soft limit.
    pub fn warnings(&self) -> &[SoftWarning] {
        &self.warnings
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Nobody ever had it in hand, so nothing was sent on its strength.
        if let Some(queue) = self.undelivered.take() {
            queue.give_back(self);
        }
    }
}

impl std::fmt::Debug for Hold {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hold").field("call", &self.call).field("amount", &self.amount).finish_non_exhaustive()
    }
}

/// A wallet that is past its soft limit. Nothing is refused for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SoftWarning {
    pub wallet: Id<Wallet>,
    pub soft_limit: Money,
    /// Spent and held.
    pub used: Money,
}
