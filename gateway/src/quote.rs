//! How much a call can cost at most: what must be set aside before it leaves.

use std::sync::Arc;

use ledger::{Exact, Money, Rates};
use providers::Target;

use crate::permit::Cleared;
use crate::refusal::Refusal;
use crate::snapshot::Snapshot;

/// The output cap for a model whose maximum nobody knows.
const UNKNOWN_CAP: u64 = 4_096;

/// A target that the call may go to, with its price and the cap that is sent to it.
pub struct Offer {
    pub target: Arc<Target>,
    pub rates: Rates,
    /// Per choice.
    pub cap: u64,
    pub input_bound: u64,
}

/// The cleared call with its priced targets and the amount that covers the dearest of them.
pub struct Quote {
    pub permit: Cleared,
    pub offers: Vec<Offer>,
    pub amount: Money,
}

/// Prices the plan. `stored`: the answer is at hand, so nothing needs to be held.
pub fn quote(snapshot: &Snapshot, permit: Cleared, stored: bool) -> Result<Quote, Refusal> {
    let request = &permit.request;
    let mut offers = Vec::new();
    let mut dearest = Exact::ZERO;
    for target in &permit.targets {
        // An unpriced target is no target: what it cost could not be accounted for.
        let Some(rates) = snapshot.rates(target) else { continue };
        let input_bound = target.input_bound(request);
        let cap = cap(request.max_output(), permit.max_output(), target, input_bound);
        let output = cap.checked_mul(request.choices()).ok_or_else(too_much)?;
        let worst = rates.worst(input_bound, output).with_markup(snapshot.routes.markup);
        dearest = if worst > dearest { worst } else { dearest };
        offers.push(Offer { target: Arc::clone(target), rates, cap, input_bound });
    }
    if offers.is_empty() {
        return Err(Refusal::Unpriced { model: request.model().to_owned() });
    }
    let amount = if stored { Money::ZERO } else { dearest.rounded_up().ok_or_else(too_much)? };
    Ok(Quote { permit, offers, amount })
}

/// What the caller asked for, else what the model can do beside this prompt; never above what policy allows.
fn cap(asked: Option<u64>, allowed: Option<u64>, target: &Target, input_bound: u64) -> u64 {
    let wanted = asked.unwrap_or_else(|| {
        let most = target.max_output.unwrap_or(UNKNOWN_CAP);
        match target.context.map(|context| context.saturating_sub(input_bound)) {
            // A prompt that seems to fill the context may still fit: the bound is above the count.
            Some(0) | None => most,
            Some(left) => most.min(left),
        }
    });
    wanted.min(allowed.unwrap_or(u64::MAX))
}

fn too_much() -> Refusal {
    Refusal::BadRequest(providers::BadRequest {
        code: "invalid_value",
        param: Some("max_tokens".into()),
        message: "max_tokens times n is too large to be priced.".into(),
    })
}
