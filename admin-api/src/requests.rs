//! `/requests`: receipts of calls, the queue of those to look at, and what is put right about them.

use axum::Json as Answer;
use axum::extract::State;
use ledger::{
    Call, ConfirmError, CorrectError, Correction, Id, JournalRow, Key, Org, ReceiptFilter, Refund, RefundError, Wallet,
};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::AdminState;
use crate::body::{Json, label};
use crate::once::Once;
use crate::operator::Caller;
use crate::page::{Asked, LastCall, Limit, Listed, Place};
use crate::problem::Problem;
use crate::wallets::ListEntries;
use crate::wire::requests::{AmendmentBody, CorrectRequest, ReceiptBody, RefundRequest};
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
    /// `true`: only those that somebody should look at, because they were charged without anybody's word.
    #[param(pattern = "^true$")]
    review: Option<String>,
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
    if let Some(review) = asked.review.as_deref() {
        word("review", review, |text| (text == "true").then_some(()), "true").map_err(Problem::in_query)?;
    }
    let ListRequests { org_id: org, wallet_id: wallet, key_id: key, status, review, limit, cursor } = asked;
    let filter = ReceiptFilter { org, wallet, key, status, review: review.is_some() };
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
/// Needs an `Idempotency-Key`. It is booked in the windows that the request was charged in. A refunded request leaves the
/// queue of those to look at. A refund of a known request that the books
/// refuse leaves an audit entry of its own, and raises an alert.
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
            RefundError::Running(id) => running(id, "refund it"),
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

/// Correct what a request cost and is charged
///
/// Needs an `Idempotency-Key`. Nothing that was booked is changed: the difference is booked beside it, in the windows that
/// the request was charged in. A corrected request leaves the queue of those to look at.
#[utoipa::path(post, path = "/requests/{id}/correct", tag = "requests", operation_id = "correct_request",
    params(("id" = String, Path, description = "`req_…`")), request_body = CorrectRequest,
    responses((status = 200, body = ReceiptBody)))]
pub(crate) async fn correct(
    State(state): State<AdminState>,
    caller: Caller,
    once: Once,
    Named(call): Named<Call>,
    Json(body): Json<CorrectRequest>,
) -> Result<Answer<ReceiptBody>, Problem> {
    once.needed()?;
    label("reason", &body.reason, 200)?;
    let CorrectRequest { reason, price_usd: price, cost_usd: cost } = body;
    let (id, actor) = (once.id(&state), caller.actor());
    let correction = Correction { id, call, cost, price, reason, price_version: None, usage: None, actor };
    Ok(Answer(state.ledger.correct(correction).await?.into()))
}

/// Let the full charge of an expired request stand
///
/// Somebody looked at it: it leaves the queue of those to look at. Said again, nothing more happens.
#[utoipa::path(post, path = "/requests/{id}/confirm", tag = "requests", operation_id = "confirm_request",
    params(("id" = String, Path, description = "`req_…`")), responses((status = 200, body = ReceiptBody)))]
pub(crate) async fn confirm(
    State(state): State<AdminState>,
    caller: Caller,
    Named(call): Named<Call>,
) -> Result<Answer<ReceiptBody>, Problem> {
    Ok(Answer(state.ledger.confirm(call, caller.actor()).await?.into()))
}

/// List what was put right about a request, oldest first
#[utoipa::path(get, path = "/requests/{id}/amendments", tag = "requests", operation_id = "list_request_amendments",
    params(("id" = String, Path, description = "`req_…`"), ListEntries),
    responses((status = 200, body = Listed<AmendmentBody>)))]
pub(crate) async fn amendments(
    State(state): State<AdminState>,
    Named(call): Named<Call>,
    Asked(asked): Asked<ListEntries>,
) -> Result<Answer<Listed<AmendmentBody>>, Problem> {
    let receipts = state.ledger.receipts();
    let amendments = receipts.amendments(call).await?;
    if amendments.is_empty() && receipts.get(call).await?.is_none() {
        return Err(Problem::NotFound(format!("there is no {call}")));
    }
    // They are few: a page is cut from all of them, and its cursor counts.
    let (limit, passed) = (asked.limit.unwrap_or_default(), asked.cursor.map_or(0, Place::seq));
    let rest = (1_i64..).zip(amendments).filter(|(place, _)| *place > passed).collect();
    Ok(Answer(limit.listed(rest, |(place, _)| place.to_string(), |(_, it)| AmendmentBody::from(it))))
}

fn running(id: Id<Call>, until: &str) -> Problem {
    Problem::Refused { code: "request_running", detail: format!("{id} is still running; {until} when it has settled") }
}

impl From<CorrectError> for Problem {
    fn from(error: CorrectError) -> Problem {
        let amount = |member: &str, detail: &str| Problem::Member { member: member.into(), detail: detail.into() };
        match error {
            CorrectError::UnknownCall(id) => Problem::NotFound(format!("there is no {id}")),
            CorrectError::Running(id) => running(id, "correct it"),
            CorrectError::NotCharged(id) => Problem::Refused {
                code: "request_not_charged",
                detail: format!("{id} was never charged, so there is nothing to correct; book a charge of its own"),
            },
            CorrectError::Price(_) => amount("price_usd", "must be from 0 to 1000000: no request is worth more"),
            CorrectError::Cost(_) => amount("cost_usd", "must be from 0 to 1000000: no request is worth more"),
            CorrectError::Conflict(_) => {
                Problem::Mismatch("this Idempotency-Key was used before with other content".into())
            }
            CorrectError::Store(error) => error.into(),
        }
    }
}

impl From<ConfirmError> for Problem {
    fn from(error: ConfirmError) -> Problem {
        match error {
            ConfirmError::UnknownCall(id) => Problem::NotFound(format!("there is no {id}")),
            ConfirmError::NotExpired(id) => Problem::Refused {
                code: "request_not_expired",
                detail: format!("{id} did not expire, so there is nothing to confirm"),
            },
            ConfirmError::Store(error) => error.into(),
        }
    }
}
