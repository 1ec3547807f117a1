//! Answered before? Looks for a kept answer to the same request, and keeps answers for a repeated Idempotency-Key.

use std::sync::Arc;
use std::time::Duration;

use ledger::{Call, Id};
use moka::sync::Cache as Moka;
use providers::{ModelRequest, Shape};
use sha2::{Digest, Sha256};

use crate::app::App;
use crate::cache::{PartitionKey, Stored};
use crate::case::{CacheState, Case};
use crate::forward::Keep;
use crate::permit::Cleared;

/// How long a first answer is kept for whoever repeats its Idempotency-Key.
const REPLAY_TTL: Duration = Duration::from_secs(600);

/// The kept answer, if policy lets answers be kept and there is one.
pub fn recall(app: &App, permit: &Cleared, case: &mut Case) -> Option<Arc<Stored>> {
    let keep = place(permit, case)?;
    case.cache = CacheState::Miss;
    app.cache.find(&keep.key, case.at)
}

/// Conversations, and texts as vectors. What else is made is made anew: images and sound are large and meant to differ, and what
/// came as a file is no part of the key.
fn is_kept(request: &ModelRequest) -> bool {
    (request.shape().is_chat() || request.shape() == Shape::Embeddings) && request.files().is_empty()
}

/// Where the answer to this call is to be kept. A key of one organisation never opens another's answers, and a change of
/// policy leaves all older answers behind. What may leave is part of the key, so redaction comes before it.
pub fn place(permit: &Cleared, case: &Case) -> Option<Keep> {
    let ttl = permit.cache_ttl()?;
    if !is_kept(&permit.request) {
        return None;
    }
    let org = case.caller.as_ref()?.credential.org.to_string();
    let request = &permit.request;
    let mut digest = Sha256::new();
    // The plan is part of the question: the same words to another model are another question.
    for target in &permit.targets {
        digest.update(target.name.as_bytes());
        digest.update([0]);
    }
    digest.update(format!(
        "{}\n{:?}\n{}\n{}\n{:?}\n",
        case.kind,
        request.shape(),
        request.stream(),
        request.wants_usage(),
        permit.max_output()
    ));
    digest.update(request.canonical());
    Some(Keep { key: PartitionKey::new(org, case.policy.clone(), digest.finalize().into()), ttl })
}

/// First answers, by the call that they were given to. In memory only, for ten minutes, within a bound.
pub struct Replays(Moka<Id<Call>, Arc<Stored>>);

impl Replays {
    pub fn new(max_bytes: u64) -> Replays {
        let weigh = |_: &Id<Call>, stored: &Arc<Stored>| u32::try_from(stored.weight()).unwrap_or(u32::MAX);
        Replays(Moka::builder().max_capacity(max_bytes).weigher(weigh).time_to_live(REPLAY_TTL).build())
    }

    pub fn store(&self, call: Id<Call>, stored: Arc<Stored>) {
        self.0.insert(call, stored);
    }

    pub fn find(&self, call: Id<Call>) -> Option<Arc<Stored>> {
        self.0.get(&call)
    }
}
