//! `/approvals`: what calls have asked for, and the word on it. An approver of one organisation sees that one alone.

use axum::Json as Answer;
use axum::extract::State;
use ledger::{Approval, ApprovalFilter, ApprovalRow, ApprovalState, Id, Org};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::AdminState;
use crate::body::Json;
use crate::operator::Caller;
use crate::page::{Asked, Cursor, Limit, Listed, Wanted};
use crate::problem::Problem;
use crate::wire::approvals::{ApprovalBody, Decide, UseBody};
use crate::wire::{Named, word};

/// So many uses are told with a single approval.
const MOST_USES_TOLD: u32 = 100;

/// Which approvals to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListApprovals {
    /// Only this organisation's.
    #[param(value_type = Option<String>)]
    org_id: Option<Id<Org>>,
    /// Only those that are `pending`, `approved`, `denied` or `expired`.
    #[param(pattern = "^(pending|approved|denied|expired)$")]
    state: Option<String>,
    /// At most so many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// List requests for approval, oldest first
#[utoipa::path(get, path = "/approvals", tag = "approvals", operation_id = "list_approvals", params(ListApprovals),
    responses((status = 200, body = Listed<ApprovalBody>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    caller: Caller,
    Asked(asked): Asked<ListApprovals>,
) -> Result<Answer<Listed<ApprovalBody>>, Problem> {
    let wanted = Wanted::new(asked.limit, asked.cursor);
    let choices = "pending, approved, denied, expired";
    let stands = asked.state.map(|text| word("state", &text, ApprovalState::from_word, choices));
    let stands = stands.transpose().map_err(Problem::in_query)?;
    if let (Some(own), Some(other)) = (caller.org(), asked.org_id)
        && own != other
    {
        // Theirs to see are none of them.
        return Ok(Answer(Listed { data: Vec::new(), next_cursor: None }));
    }
    let filter = ApprovalFilter { org: caller.org().or(asked.org_id), state: stands };
    let rows = state.ledger.approvals().list(&filter, &wanted.page()).await?;
    let now = state.ledger.clock().now();
    Ok(Answer(wanted.listed_as(rows, ApprovalRow::mark, |row| ApprovalBody::at(row, now))))
}

/// Read a request for approval, with what was used of it
#[utoipa::path(get, path = "/approvals/{id}", tag = "approvals", operation_id = "get_approval",
    params(("id" = String, Path, description = "`apr_…`")), responses((status = 200, body = ApprovalBody)))]
pub(crate) async fn get(
    State(state): State<AdminState>,
    caller: Caller,
    Named(id): Named<Approval>,
) -> Result<Answer<ApprovalBody>, Problem> {
    let row = seen(&state, caller, id).await?;
    let uses = state.ledger.approvals().uses(id, MOST_USES_TOLD).await?;
    let body = ApprovalBody::at(row, state.ledger.clock().now());
    Ok(Answer(ApprovalBody { uses: Some(uses.into_iter().map(UseBody::from).collect()), ..body }))
}

/// Approve or deny a request
///
/// The same word again is answered the same. What was approved can be denied after, which takes it back.
#[utoipa::path(post, path = "/approvals/{id}/decide", tag = "approvals", operation_id = "decide_approval",
    params(("id" = String, Path, description = "`apr_…`")), request_body = Decide,
    responses((status = 200, body = ApprovalBody)))]
pub(crate) async fn decide(
    State(state): State<AdminState>,
    caller: Caller,
    Named(id): Named<Approval>,
    Json(body): Json<Decide>,
) -> Result<Answer<ApprovalBody>, Problem> {
    seen(&state, caller, id).await?;
    let row = state.ledger.approvals().decide(id, body.read()?, &caller.actor()).await?;
    Ok(Answer(ApprovalBody::at(row, state.ledger.clock().now())))
}

/// The one of this id, if it is theirs to see. Whose it is never changes.
async fn seen(state: &AdminState, caller: Caller, id: Id<Approval>) -> Result<ApprovalRow, Problem> {
    let row = state.ledger.approvals().get(id).await?;
    let row = row.filter(|row| caller.org().is_none_or(|own| own == row.org));
    row.ok_or_else(|| Problem::NotFound(format!("there is no {id}")))
}
