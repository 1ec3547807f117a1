//! `/teams`: teams of organisations.

use axum::Json as Answer;
use axum::extract::State;
use http::StatusCode;
use ledger::{Id, Limits, Org, Team};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::AdminState;
use crate::body::Json;
use crate::once::Once;
use crate::operator::Caller;
use crate::page::{Asked, Cursor, Limit, Listed, Wanted};
use crate::problem::Problem;
use crate::wire::Named;
use crate::wire::people::{ChangeTeam, NewTeam, TeamBody};

/// Make a team
#[utoipa::path(post, path = "/teams", tag = "tenants", operation_id = "create_team", request_body = NewTeam,
    responses((status = 201, body = TeamBody)))]
pub(crate) async fn create(
    State(state): State<AdminState>,
    caller: Caller,
    once: Once,
    Json(body): Json<NewTeam>,
) -> Result<(StatusCode, Answer<TeamBody>), Problem> {
    let limits = Limits { rpm: body.rpm, tpm: body.tpm, max_parallel: body.max_parallel_requests };
    let attributes = body.attributes.unwrap_or_default();
    let new = ledger::NewTeam { id: once.id(&state), org: body.org_id, name: body.name, limits, attributes };
    let row = state.ledger.tenants().create_team(new, &caller.actor()).await?;
    Ok((StatusCode::CREATED, Answer(row.into())))
}

/// Which teams to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListTeams {
    /// Only this organisation's.
    #[param(value_type = Option<String>)]
    org_id: Option<Id<Org>>,
    /// At most so many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// List teams, oldest first
#[utoipa::path(get, path = "/teams", tag = "tenants", operation_id = "list_teams", params(ListTeams),
    responses((status = 200, body = Listed<TeamBody>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    Asked(asked): Asked<ListTeams>,
) -> Result<Answer<Listed<TeamBody>>, Problem> {
    let wanted = Wanted::new(asked.limit, asked.cursor);
    let rows = state.ledger.tenants().teams(asked.org_id, &wanted.page()).await?;
    Ok(Answer(wanted.listed(rows, ledger::TeamRow::mark)))
}

/// Read a team
#[utoipa::path(get, path = "/teams/{id}", tag = "tenants", operation_id = "get_team",
    params(("id" = String, Path, description = "`team_…`")), responses((status = 200, body = TeamBody)))]
pub(crate) async fn get(State(state): State<AdminState>, Named(id): Named<Team>) -> Result<Answer<TeamBody>, Problem> {
    Ok(Answer(state.ledger.tenants().team(id).await?.into()))
}

/// Change a team's name, limits or attributes
#[utoipa::path(patch, path = "/teams/{id}", tag = "tenants", operation_id = "change_team",
    params(("id" = String, Path, description = "`team_…`")), request_body = ChangeTeam,
    responses((status = 200, body = TeamBody)))]
pub(crate) async fn change(
    State(state): State<AdminState>,
    caller: Caller,
    Named(id): Named<Team>,
    Json(body): Json<ChangeTeam>,
) -> Result<Answer<TeamBody>, Problem> {
    Ok(Answer(state.ledger.tenants().change_team(id, body.read()?, &caller.actor()).await?.into()))
}
