//! `/requests`: receipts of calls, and refunds.

use axum::Json as Answer;
use axum::extract::State;
use ledger::{Call, Id, JournalRow, Key, Org, ReceiptFilter, Refund, RefundError, Wallet};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::AdminState;
use crate::body::{Json, label};
use crate::once::Once;
use crate::operator::Caller;
use crate::page::{Asked, LastCall, Limit, Listed};
use crate::problem::Problem;
use crate::wire::requests::{ReceiptBody, RefundRequest};
use crate::wire::{Named, word};

/// Which requests to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListRequests {
    /// Only this organisation's.
    #[param(value_type = Option<String>)]
    org_id: Option<Id<Org>>,
    /// Only those paid from keys of this wallet itself.
    #[param(value_type = Option<String>)]
    wallet_id: Option<Id<Wallet>>,
    /// Only this key's.
    #[param(value_type = Option<String>)]
    key_id: Option<Id<Key>>,
    /// Only `pending`, `settled`, `released`, `expired` or `refused` ones.
    #[param(pattern = "^(pending|settled|released|expired|refused)$")]
    status: Option<String>,
    /// At most so many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<LastCall>,
}

const STATUSES: [&str; 5] = ["pending", "settled", "released", "expired", "refused"];

/// List requests, newest first
#[utoipa::path(get, path = "/requests", tag = "requests", operation_id = "list_requests", params(ListRequests),
    responses((status = 200, body = Listed<ReceiptBody>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    Asked(asked): Asked<ListRequests>,
) -> Result<Answer<Listed<ReceiptBody>>, Problem> {
    if let Some(status) = asked.status.as_deref() {
        word("status", status, |text| STATUSES.iter().find(|it| **it == text), &STATUSES.join(", "))
            .map_err(Problem::in_query)?;
    }
    let ListRequests { org_id: org, wallet_id: wallet, key_id: key, status, limit, cursor } = asked;
    let filter = ReceiptFilter { org, wallet, key, status, ..ReceiptFilter::default() };
    let limit = limit.unwrap_or_default();
    let rows = state.ledger.receipts().list(&filter, cursor.map(LastCall::id), limit.and_one()).await?;
    Ok(Answer(limit.listed(rows, |row| row.call.to_string(), ReceiptBody::from)))
}

/// Read a request's receipt
#[utoipa::path(get, path = "/requests/{id}", tag = "requests", operation_id = "get_request",
    params(("id" = String, Path, description = "`req_…`")), responses((status = 200, body = ReceiptBody)))]
pub(crate) async fn get(
    State(state): State<AdminState>,
    Named(id): Named<Call>,
) -> Result<Answer<ReceiptBody>, Problem> {
    match state.ledger.receipts().get(id).await? {
        Some(receipt) => Ok(Answer(receipt.into())),
        None => Err(Problem::NotFound(format!("there is no {id}"))),
    }
}

/// Give back some or all of what a request was charged
///
/// Needs an `Idempotency-Key`. It is booked in the windows that the request was charged in.
#[utoipa::path(post, path = "/requests/{id}/refund", tag = "requests", operation_id = "refund_request",
    params(("id" = String, Path, description = "`req_…`")), request_body = RefundRequest,
    responses((status = 200, body = ReceiptBody)))]
pub(crate) async fn refund(
    State(state): State<AdminState>,
    caller: Caller,
    once: Once,
    Named(call): Named<Call>,
    Json(body): Json<RefundRequest>,
) -> Result<Answer<ReceiptBody>, Problem> {
    once.needed()?;
    label("reason", &body.reason, 200)?;
    let id: Id<JournalRow> = once.id(&state);
    let refund = Refund { id, call, amount: body.amount_usd, reason: body.reason, actor: caller.actor() };
    Ok(Answer(state.ledger.refund(refund).await?.into()))
}

impl From<RefundError> for Problem {
    fn from(error: RefundError) -> Problem {
        let amount = |detail: String| Problem::Member { member: "amount_usd".into(), detail };
        match error {
            RefundError::UnknownCall(id) => Problem::NotFound(format!("there is no {id}")),
            RefundError::Running(id) => Problem::Refused {
                code: "request_running",
                detail: format!("{id} is still running; refund it when it has settled"),
            },
            RefundError::TooMuch { refundable, .. } => {
                amount(format!("must be at most the {refundable} that is left of the price"))
            }
            RefundError::Amount(_) => amount("must be more than nothing".into()),
            RefundError::Conflict(_) => {
                Problem::Mismatch("this Idempotency-Key was used before with other content".into())
            }
            RefundError::Store(error) => error.into(),
        }
    }
}
