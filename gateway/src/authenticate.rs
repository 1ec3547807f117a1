//! Who is calling: decided from memory, in constant time, with one answer for every way to be wrong.

use std::net::IpAddr;

use ledger::{PresentedKey, Timestamp};

use crate::app::App;
use crate::case::Caller;
use crate::refusal::Refusal;
use crate::snapshot::Snapshot;

/// Verifies the presented key against the snapshot. Only a failure draws from the address's bucket.
pub fn authenticate(app: &App, snapshot: &Snapshot, presented: &Presented) -> Result<Caller, Refusal> {
    let began = std::time::Instant::now();
    let key = presented.key.as_deref().and_then(PresentedKey::parse);
    let caller = key.and_then(|key| snapshot.caller(&key, presented.at));
    app.telemetry.verified(began.elapsed());
    caller.ok_or_else(|| app.limits.failed_verification(presented.address, presented.at))
}

/// A credential as it was shown, by whom and when.
pub struct Presented {
    pub key: Option<String>,
    /// Who is at the other end, proxies taken away.
    pub address: IpAddr,
    pub at: Timestamp,
}

// The key must not slip into a log by way of `{:?}`.
impl std::fmt::Debug for Presented {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Presented").field("at", &self.at).finish_non_exhaustive()
    }
}
