//! `/models`: the names that apps use, and the targets behind them.

use axum::Json as Answer;
use axum::extract::{Path, State};
use http::StatusCode;
use ledger::DefinitionKind;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::AdminState;
use crate::body::Json;
use crate::configuration::Configured;
use crate::definitions as all;
use crate::once::Once;
use crate::operator::Caller;
use crate::page::{Asked, Limit, Listed, Place};
use crate::problem::Problem;
use crate::wire::definitions::{DefinitionPatch, ModelBody, NewModel, Rollback, VersionBody};

const KIND: DefinitionKind = DefinitionKind::Model;

/// Make a model
///
/// Checked as the configuration file is, and in force at once here and within five seconds everywhere. What the file defines
/// cannot be made here: 409.
#[utoipa::path(post, path = "/models", tag = "configuration", operation_id = "create_model", request_body = NewModel,
    responses((status = 201, body = VersionBody)))]
pub(crate) async fn create(
    State(state): State<AdminState>,
    caller: Caller,
    once: Once,
    Json(body): Json<NewModel>,
) -> Result<(StatusCode, Answer<VersionBody>), Problem> {
    let row = all::create(&state, &once, body, &caller.actor()).await?;
    Ok((StatusCode::CREATED, Answer(row.into())))
}

/// Which part of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListModels {
    /// At most so many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Place>,
}

/// List models, the file's first
///
/// With the health of their targets, as the process that answers has met them.
#[utoipa::path(get, path = "/models", tag = "configuration", operation_id = "list_models", params(ListModels),
    responses((status = 200, body = Listed<ModelBody>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    Asked(asked): Asked<ListModels>,
) -> Result<Answer<Listed<ModelBody>>, Problem> {
    Ok(Answer(all::numbered(known(&state)?, asked.limit, asked.cursor)))
}

/// Read a model
#[utoipa::path(get, path = "/models/{id}", tag = "configuration", operation_id = "get_model",
    params(("id" = String, Path, description = "the model's id")), responses((status = 200, body = ModelBody)))]
pub(crate) async fn get(State(state): State<AdminState>, Path(id): Path<String>) -> Result<Answer<ModelBody>, Problem> {
    // Where the file overrides a stored one, the file's is what there is.
    let found = known(&state)?.into_iter().find(|it| it.id == id);
    let found = found.ok_or_else(|| Problem::NotFound("there is no such model".to_owned()))?;
    Ok(Answer(found.into()))
}

/// Change a model
///
/// Writes the next version. Of two who change the same version, the second is told so with a 409.
#[utoipa::path(patch, path = "/models/{id}", tag = "configuration", operation_id = "change_model",
    params(("id" = String, Path, description = "the model's id")), request_body = DefinitionPatch,
    responses((status = 200, body = VersionBody)))]
pub(crate) async fn change(
    State(state): State<AdminState>,
    caller: Caller,
    Path(id): Path<String>,
    Json(patch): Json<DefinitionPatch>,
) -> Result<Answer<VersionBody>, Problem> {
    Ok(Answer(all::change(&state, KIND, &id, patch.members, &caller.actor()).await?.into()))
}

/// Delete a model
///
/// Calls for it are answered 404 from then on. Its versions stay on record, and one of them can be brought back.
#[utoipa::path(delete, path = "/models/{id}", tag = "configuration", operation_id = "delete_model",
    params(("id" = String, Path, description = "the model's id")), responses((status = 200, body = VersionBody)))]
pub(crate) async fn delete(
    State(state): State<AdminState>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Answer<VersionBody>, Problem> {
    Ok(Answer(all::remove(&state, KIND, &id, &caller.actor()).await?.into()))
}

/// Which part of the history.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListModelVersions {
    /// At most so many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Place>,
}

/// List the versions of a model, oldest first
#[utoipa::path(get, path = "/models/{id}/versions", tag = "configuration", operation_id = "list_model_versions",
    params(("id" = String, Path, description = "the model's id"), ListModelVersions),
    responses((status = 200, body = Listed<VersionBody>)))]
pub(crate) async fn versions(
    State(state): State<AdminState>,
    Path(id): Path<String>,
    Asked(asked): Asked<ListModelVersions>,
) -> Result<Answer<Listed<VersionBody>>, Problem> {
    Ok(Answer(all::versions(&state, KIND, &id, asked.limit, asked.cursor).await?))
}

/// Bring a version of a model back
///
/// As the next version: nothing of the history changes.
#[utoipa::path(post, path = "/models/{id}/rollback", tag = "configuration", operation_id = "roll_back_model",
    params(("id" = String, Path, description = "the model's id")), request_body = Rollback,
    responses((status = 200, body = VersionBody)))]
pub(crate) async fn roll_back(
    State(state): State<AdminState>,
    caller: Caller,
    once: Once,
    Path(id): Path<String>,
    Json(body): Json<Rollback>,
) -> Result<Answer<VersionBody>, Problem> {
    Ok(Answer(all::roll_back(&state, &once, (KIND, &id), body.version, &caller.actor()).await?.into()))
}

fn known(state: &AdminState) -> Result<Vec<Configured>, Problem> {
    let known = state.configuration.models();
    known.ok_or_else(|| Problem::Unavailable("what is configured could not be confirmed lately".to_owned()))
}
