//! How much a call can cost at most: what must be set aside before it leaves.

use std::sync::Arc;

use ledger::{Exact, Markup, Money, Rates};
use providers::Target;

use crate::cache::Stored;
use crate::permit::Cleared;
use crate::pricing::{Buyer, bills_on};
use crate::refusal::Refusal;
use crate::snapshot::Snapshot;

/// The output cap for a model whose maximum nobody knows.
const UNKNOWN_CAP: u64 = 4_096;

/// A target that the call may go to, with its price and the cap that is sent to it.
pub struct Offer {
    pub target: Arc<Target>,
    pub rates: Arc<Rates>,
    /// Which price list the rates are from.
    pub price_version: Arc<str>,
    /// Per choice.
    pub cap: u64,
    /// What was sent is billed to its end, whoever hangs up: by a provider that goes on, or in tokens that nobody sees.
    pub bills_on: bool,
    /// As it is for this call, from hold to settlement.
    pub markup: Markup,
}

/// The cleared call with its priced targets and the amount that covers the dearest of them.
pub struct Quote {
    pub permit: Cleared,
    pub offers: Vec<Offer>,
    pub amount: Money,
    /// The answer, if it is at hand.
    pub stored: Option<Arc<Stored>>,
}

/// Prices the plan. `stored`: the answer is at hand, so nothing needs to be held.
pub fn quote(
    snapshot: &Snapshot,
    buyer: &Buyer,
    permit: Cleared,
    stored: Option<Arc<Stored>>,
) -> Result<Quote, Refusal> {
    let request = &permit.request;
    if let Some(member) = request.features().surcharge {
        // It would be billed at a rate that no price list here has: refused before any money is held.
        let message = format!("'{member}' is billed at a rate that this gateway has no price for");
        return Err(Refusal::Unsupported { param: Some(member.to_owned()), message });
    }
    let mut offers = Vec::new();
    let mut dearest = Exact::ZERO;
    for target in &permit.targets {
        // An unpriced target is no target: what it cost could not be accounted for.
        let Some(listed) = snapshot.price(target, buyer) else { continue };
        let (rates, markup) = (Arc::clone(&listed.rates), snapshot.markup(target, buyer, request.model()));
        let input_bound = target.input_bound(request);
        let cap = cap(request.max_output(), permit.max_output(), target, input_bound);
        let output = cap.checked_mul(request.choices()).ok_or_else(too_much)?;
        let worst = rates.worst(input_bound, output).with_markup(markup);
        dearest = if worst > dearest { worst } else { dearest };
        offers.push(Offer {
            target: Arc::clone(target),
            bills_on: bills_on(target, &rates),
            rates,
            price_version: Arc::clone(&listed.version),
            cap,
            markup,
        });
    }
    if offers.is_empty() {
        return Err(Refusal::Unpriced { model: request.model().to_owned() });
    }
    let amount = if stored.is_some() { Money::ZERO } else { dearest.rounded_up().ok_or_else(too_much)? };
    Ok(Quote { permit, offers, amount, stored })
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

#[cfg(test)]
mod tests {
    use super::*;
    use providers::{Fleet, ProviderConfig};

    fn target(name: &str) -> Arc<Target> {
        let yaml = "[{id: sim, kind: sim}, {id: local, kind: openai-compatible, base_url: 'http://127.0.0.1:9/v1'}]";
        let providers: Vec<ProviderConfig> = serde_yaml_ng::from_str(yaml).expect("providers");
        Fleet::build(&providers, &|_| None).expect("a fleet").target(name).expect("a target")
    }

    #[test]
    fn the_cap_is_what_was_asked_else_the_models_maximum_and_never_above_policy() {
        let (known, unknown) = (target("sim/echo"), target("local/anything"));
        assert_eq!((known.max_output, known.context), (Some(4_096), Some(128_000)));
        for (asked, allowed, target, input_bound, expected, why) in [
            (Some(10), None, &known, 0, 10, "as asked"),
            (
                Some(10_000),
                None,
                &known,
                0,
                10_000,
                "above the maximum: the provider's own refusal is the better answer",
            ),
            (None, None, &known, 0, 4_096, "the model's maximum"),
            (None, None, &known, 127_000, 1_000, "what is left beside the prompt"),
            (None, None, &known, 500_000, 4_096, "the bound is above the count, so the prompt may still fit"),
            (None, None, &unknown, 500_000, UNKNOWN_CAP, "an unknown maximum"),
            (None, Some(64), &unknown, 0, 64, "policy's cap"),
            (Some(100), Some(64), &known, 0, 64, "policy's cap is stricter"),
            (Some(32), Some(64), &known, 0, 32, "the caller's is stricter"),
            (Some(0), None, &known, 0, 0, "nothing asked, nothing held for output"),
        ] {
            assert_eq!(cap(asked, allowed, target, input_bound), expected, "{why}");
        }
    }
}
