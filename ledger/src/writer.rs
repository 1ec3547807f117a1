//! The writer.

use std::sync::Arc;

use tokio::sync::{oneshot, watch};

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::error::StoreError;
use crate::id::{Id, Instance};
use crate::ledger::Confirmed;
use crate::queue::Queue;
use crate::store::Database;

/// What the writer works with.
pub(crate) struct Desk {
    pub database: Database,
    pub queue: Arc<Queue>,
    pub clock: Clock,
    pub entropy: Entropy,
    pub confirmed: watch::Sender<Confirmed>,
    pub instance: Id<Instance>,
}

pub(crate) async fn start(desk: Desk) -> Result<oneshot::Receiver<()>, StoreError> {
    let _ = desk;
    Err(StoreError::Closed)
}
