//! `/charges`: what is charged without a call through the gateway.

use axum::Json as Answer;
use axum::extract::State;
use http::StatusCode;
use ledger::{ChargeError, Money, OverLimit};

use crate::AdminState;
use crate::body::{Json, label};
use crate::once::Once;
use crate::operator::Caller;
use crate::problem::Problem;
use crate::wire::charges::NewCharge;
use crate::wire::requests::ReceiptBody;

/// Charge a wallet for something delivered elsewhere
///
/// Needs an `Idempotency-Key`. Each `reference` of a `source` is charged once: the same again is answered with the first
/// receipt, other content is a 409. A charge that does not fit the limits is refused whole (409 `budget_exceeded`).
#[utoipa::path(post, path = "/charges", tag = "requests", operation_id = "create_charge", request_body = NewCharge,
    responses((status = 201, body = ReceiptBody)))]
pub(crate) async fn create(
    State(state): State<AdminState>,
    caller: Caller,
    once: Once,
    Json(body): Json<NewCharge>,
) -> Result<(StatusCode, Answer<ReceiptBody>), Problem> {
    label("reason", &body.reason, 200)?;
    label("source", &body.source, 100)?;
    label("reference", &body.reference, 200)?;
    let NewCharge { wallet_id: wallet, key_id: key, price_usd: price, cost_usd, reason, source, reference } = body;
    let cost = cost_usd.unwrap_or(Money::ZERO);
    let content = [
        wallet.to_string(),
        key.map(|key| key.to_string()).unwrap_or_default(),
        price.to_string(),
        cost.to_string(),
        reason.clone(),
        source.clone(),
        reference.clone(),
    ];
    let claimed = once.claim(&state, &content.join("\n")).await?;
    // Receipts are listed by their ids, which tell the time: the id is a fresh one, and the reference tells a repeat.
    let id = state.ledger.new_id();
    let charge = ledger::NewCharge { id, wallet, key, cost, price, reason, source, reference, actor: caller.actor() };
    match state.ledger.charge(charge).await {
        Ok(receipt) => Ok((StatusCode::CREATED, Answer(receipt.into()))),
        // It may have been booked all the same: the name stays taken for this body.
        Err(ChargeError::Store(error)) => Err(error.into()),
        Err(refused) => {
            claimed.free(&state).await;
            Err(refused.into())
        }
    }
}

impl From<ChargeError> for Problem {
    fn from(error: ChargeError) -> Problem {
        let member = |member: &str, detail: &str| Problem::Member { member: member.into(), detail: detail.into() };
        match error {
            ChargeError::OverLimit(over) => Problem::Refused { code: "budget_exceeded", detail: told(&over) },
            ChargeError::Suspended { wallet } => Problem::Refused {
                code: "wallet_suspended",
                detail: format!("{wallet} is suspended; nothing was charged"),
            },
            ChargeError::Closed { wallet } => Problem::Refused {
                code: "wallet_closed",
                detail: format!("{wallet} is closed for good; nothing was charged"),
            },
            ChargeError::UnknownWallet(id) => {
                Problem::Member { member: "wallet_id".into(), detail: format!("there is no {id}") }
            }
            ChargeError::UnknownKey(id) => {
                Problem::Member { member: "key_id".into(), detail: format!("{id} is not a key of this wallet") }
            }
            ChargeError::Amount(_) => member("price_usd", "must not be negative, and the sum within what can be told"),
            ChargeError::Cost(_) => member("cost_usd", "must not be negative"),
            ChargeError::Conflict(id) => Problem::Mismatch(format!("{id} was made before with other content")),
            ChargeError::Reference(id) => Problem::Mismatch(format!(
                "this reference of this source was charged before with other content, by {id}"
            )),
            ChargeError::Store(error) => error.into(),
        }
    }
}

/// Which limit it does not fit, and what an operator can do about it.
fn told(over: &OverLimit) -> String {
    let OverLimit { wallet, limit, spent, held, asked, .. } = over;
    let resets = over.resets_at.map(|at| format!(" or wait until its window ends at {at}")).unwrap_or_default();
    format!(
        "{wallet} cannot cover {asked} USD: of its limit of {limit} USD, {spent} are spent and {held} held; nothing was \
         charged; raise the limit{resets}"
    )
}
