//! `/orgs`: organisations.

use axum::Json as Answer;
use axum::extract::State;
use http::StatusCode;
use ledger::Org;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::AdminState;
use crate::body::Json;
use crate::once::Once;
use crate::operator::Caller;
use crate::page::{Asked, Cursor, Limit, Listed, Wanted};
use crate::problem::Problem;
use crate::wire::Named;
use crate::wire::people::{ChangeOrg, NewOrg, OrgBody};

/// Make an organisation
#[utoipa::path(post, path = "/orgs", tag = "tenants", operation_id = "create_org", request_body = NewOrg,
    responses((status = 201, body = OrgBody)))]
pub(crate) async fn create(
    State(state): State<AdminState>,
    caller: Caller,
    once: Once,
    Json(body): Json<NewOrg>,
) -> Result<(StatusCode, Answer<OrgBody>), Problem> {
    let new = ledger::NewOrg { id: once.id(&state), name: body.name, attributes: body.attributes.unwrap_or_default() };
    let row = state.ledger.tenants().create_org(new, &caller.actor()).await?;
    Ok((StatusCode::CREATED, Answer(row.into())))
}

/// Which organisations to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListOrgs {
    /// At most so many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// List organisations, oldest first
#[utoipa::path(get, path = "/orgs", tag = "tenants", operation_id = "list_orgs", params(ListOrgs),
    responses((status = 200, body = Listed<OrgBody>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    Asked(asked): Asked<ListOrgs>,
) -> Result<Answer<Listed<OrgBody>>, Problem> {
    let wanted = Wanted::new(asked.limit, asked.cursor);
    let rows = state.ledger.tenants().orgs(&wanted.page()).await?;
    Ok(Answer(wanted.listed(rows, ledger::OrgRow::mark)))
}

/// Read an organisation
#[utoipa::path(get, path = "/orgs/{id}", tag = "tenants", operation_id = "get_org",
    params(("id" = String, Path, description = "`org_…`")), responses((status = 200, body = OrgBody)))]
pub(crate) async fn get(State(state): State<AdminState>, Named(id): Named<Org>) -> Result<Answer<OrgBody>, Problem> {
    Ok(Answer(state.ledger.tenants().org(id).await?.into()))
}

/// Change an organisation's name or attributes
#[utoipa::path(patch, path = "/orgs/{id}", tag = "tenants", operation_id = "change_org",
    params(("id" = String, Path, description = "`org_…`")), request_body = ChangeOrg,
    responses((status = 200, body = OrgBody)))]
pub(crate) async fn change(
    State(state): State<AdminState>,
    caller: Caller,
    Named(id): Named<Org>,
    Json(body): Json<ChangeOrg>,
) -> Result<Answer<OrgBody>, Problem> {
    Ok(Answer(state.ledger.tenants().change_org(id, body.read()?, &caller.actor()).await?.into()))
}
