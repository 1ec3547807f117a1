//! `/operators`: who may use this API, and for what.

use axum::Json as Answer;
use axum::extract::State;
use http::StatusCode;
use ledger::Operator;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::AdminState;
use crate::body::Json;
use crate::once::Once;
use crate::operator::Caller;
use crate::page::{Asked, Cursor, Limit, Listed, Wanted};
use crate::problem::Problem;
use crate::wire::Named;
use crate::wire::operators::{NewOperator, OperatorBody, ShownOperatorBody};

/// Make an operator; the key is answered this once
///
/// A repeat with the same `Idempotency-Key` answers 409 `idempotency_expired`: keys are not kept.
#[utoipa::path(post, path = "/operators", tag = "operators", operation_id = "create_operator", request_body = NewOperator,
    responses((status = 201, body = ShownOperatorBody)))]
pub(crate) async fn create(
    State(state): State<AdminState>,
    caller: Caller,
    once: Once,
    Json(body): Json<NewOperator>,
) -> Result<(StatusCode, Answer<ShownOperatorBody>), Problem> {
    let new = body.read(once.id(&state))?;
    let made = state.ledger.tenants().create_operator(new, &caller.actor()).await?;
    Ok((StatusCode::CREATED, Answer(ShownOperatorBody::of(made))))
}

/// Which operators to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListOperators {
    /// At most so many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// List operators, those that were revoked among them, oldest first
#[utoipa::path(get, path = "/operators", tag = "operators", operation_id = "list_operators", params(ListOperators),
    responses((status = 200, body = Listed<OperatorBody>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    Asked(asked): Asked<ListOperators>,
) -> Result<Answer<Listed<OperatorBody>>, Problem> {
    let wanted = Wanted::new(asked.limit, asked.cursor);
    let rows = state.ledger.tenants().operators(&wanted.page()).await?;
    Ok(Answer(wanted.listed(rows, ledger::OperatorRow::mark)))
}

/// Revoke an operator's key
///
/// The bootstrap operator cannot be revoked: it is replaced by the next `ALFRED_BOOTSTRAP_ADMIN_KEY`.
#[utoipa::path(delete, path = "/operators/{id}", tag = "operators", operation_id = "revoke_operator",
    params(("id" = String, Path, description = "`adm_…`")), responses((status = 200, body = OperatorBody)))]
pub(crate) async fn revoke(
    State(state): State<AdminState>,
    caller: Caller,
    Named(id): Named<Operator>,
) -> Result<Answer<OperatorBody>, Problem> {
    Ok(Answer(state.ledger.tenants().revoke_operator(id, &caller.actor()).await?.into()))
}
