//! `/users`: people of organisations.

use axum::Json as Answer;
use axum::extract::State;
use http::StatusCode;
use ledger::{Id, Org, User};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::AdminState;
use crate::body::Json;
use crate::once::Once;
use crate::operator::Caller;
use crate::page::{Asked, Cursor, Limit, Listed, Wanted};
use crate::problem::Problem;
use crate::wire::Named;
use crate::wire::people::{ChangeUser, NewUser, UserBody};

/// Make a person known
#[utoipa::path(post, path = "/users", tag = "tenants", operation_id = "create_user", request_body = NewUser,
    responses((status = 201, body = UserBody)))]
pub(crate) async fn create(
    State(state): State<AdminState>,
    caller: Caller,
    once: Once,
    Json(body): Json<NewUser>,
) -> Result<(StatusCode, Answer<UserBody>), Problem> {
    let new = ledger::NewUser {
        id: once.id(&state),
        org: body.org_id,
        name: body.name,
        email: body.email,
        teams: body.team_ids.unwrap_or_default(),
        groups: body.groups.unwrap_or_default(),
        attributes: body.attributes.unwrap_or_default(),
    };
    let row = state.ledger.tenants().create_user(new, &caller.actor()).await?;
    Ok((StatusCode::CREATED, Answer(row.into())))
}

/// Which people to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListUsers {
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

/// List people, oldest first
#[utoipa::path(get, path = "/users", tag = "tenants", operation_id = "list_users", params(ListUsers),
    responses((status = 200, body = Listed<UserBody>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    Asked(asked): Asked<ListUsers>,
) -> Result<Answer<Listed<UserBody>>, Problem> {
    let wanted = Wanted::new(asked.limit, asked.cursor);
    let rows = state.ledger.tenants().users(asked.org_id, &wanted.page()).await?;
    Ok(Answer(wanted.listed(rows, ledger::UserRow::mark)))
}

/// Read a person
#[utoipa::path(get, path = "/users/{id}", tag = "tenants", operation_id = "get_user",
    params(("id" = String, Path, description = "`usr_…`")), responses((status = 200, body = UserBody)))]
pub(crate) async fn get(State(state): State<AdminState>, Named(id): Named<User>) -> Result<Answer<UserBody>, Problem> {
    Ok(Answer(state.ledger.tenants().user(id).await?.into()))
}

/// Change what is known of a person
#[utoipa::path(patch, path = "/users/{id}", tag = "tenants", operation_id = "change_user",
    params(("id" = String, Path, description = "`usr_…`")), request_body = ChangeUser,
    responses((status = 200, body = UserBody)))]
pub(crate) async fn change(
    State(state): State<AdminState>,
    caller: Caller,
    Named(id): Named<User>,
    Json(body): Json<ChangeUser>,
) -> Result<Answer<UserBody>, Problem> {
    Ok(Answer(state.ledger.tenants().change_user(id, body.read()?, &caller.actor()).await?.into()))
}
