//! `/providers`: whom the house can ask, and how they are.

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
use crate::wire::definitions::{DefinitionPatch, NewProvider, ProviderBody, Rollback, VersionBody};

const KIND: DefinitionKind = DefinitionKind::Provider;

/// Make a provider
///
/// Checked as the configuration file is, and in force at once here and within five seconds everywhere. A key is never told: its
/// place is (`{"env": "…"}`, `{"file": "…"}` or `{"vault": "…"}`). What the file defines cannot be made here: 409.
#[utoipa::path(post, path = "/providers", tag = "configuration", operation_id = "create_provider", request_body = NewProvider,
    responses((status = 201, body = VersionBody)))]
pub(crate) async fn create(
    State(state): State<AdminState>,
    caller: Caller,
    once: Once,
    Json(body): Json<NewProvider>,
) -> Result<(StatusCode, Answer<VersionBody>), Problem> {
    let row = all::create(&state, &once, body, &caller.actor()).await?;
    Ok((StatusCode::CREATED, Answer(row.into())))
}

/// Which part of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListProviders {
    /// At most so many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Place>,
}

/// List providers, the file's first
///
/// With the health of those targets that a model names, or that are in trouble, as the process that answers has met them.
#[utoipa::path(get, path = "/providers", tag = "configuration", operation_id = "list_providers", params(ListProviders),
    responses((status = 200, body = Listed<ProviderBody>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    Asked(asked): Asked<ListProviders>,
) -> Result<Answer<Listed<ProviderBody>>, Problem> {
    Ok(Answer(all::numbered(known(&state)?.into_iter().map(brief).collect(), asked.limit, asked.cursor)))
}

/// Read a provider
#[utoipa::path(get, path = "/providers/{id}", tag = "configuration", operation_id = "get_provider",
    params(("id" = String, Path, description = "the provider's id")), responses((status = 200, body = ProviderBody)))]
pub(crate) async fn get(
    State(state): State<AdminState>,
    Path(id): Path<String>,
) -> Result<Answer<ProviderBody>, Problem> {
    // Where the file overrides a stored one, the file's is what there is.
    let found = known(&state)?.into_iter().find(|it| it.id == id);
    let found = found.ok_or_else(|| Problem::NotFound("there is no such provider".to_owned()))?;
    Ok(Answer(found.into()))
}

/// Change a provider
///
/// Writes the next version. Of two who change the same version, the second is told so with a 409.
#[utoipa::path(patch, path = "/providers/{id}", tag = "configuration", operation_id = "change_provider",
    params(("id" = String, Path, description = "the provider's id")), request_body = DefinitionPatch,
    responses((status = 200, body = VersionBody)))]
pub(crate) async fn change(
    State(state): State<AdminState>,
    caller: Caller,
    Path(id): Path<String>,
    Json(patch): Json<DefinitionPatch>,
) -> Result<Answer<VersionBody>, Problem> {
    Ok(Answer(all::change(&state, KIND, &id, patch.members, &caller.actor()).await?.into()))
}

/// Delete a provider
///
/// Refused while a stored model names it. Its versions stay on record, and one of them can be brought back.
#[utoipa::path(delete, path = "/providers/{id}", tag = "configuration", operation_id = "delete_provider",
    params(("id" = String, Path, description = "the provider's id")), responses((status = 200, body = VersionBody)))]
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
pub(crate) struct ListProviderVersions {
    /// At most so many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Place>,
}

/// List the versions of a provider, oldest first
#[utoipa::path(get, path = "/providers/{id}/versions", tag = "configuration", operation_id = "list_provider_versions",
    params(("id" = String, Path, description = "the provider's id"), ListProviderVersions),
    responses((status = 200, body = Listed<VersionBody>)))]
pub(crate) async fn versions(
    State(state): State<AdminState>,
    Path(id): Path<String>,
    Asked(asked): Asked<ListProviderVersions>,
) -> Result<Answer<Listed<VersionBody>>, Problem> {
    Ok(Answer(all::versions(&state, KIND, &id, asked.limit, asked.cursor).await?))
}

/// Bring a version of a provider back
///
/// As the next version: nothing of the history changes.
#[utoipa::path(post, path = "/providers/{id}/rollback", tag = "configuration", operation_id = "roll_back_provider",
    params(("id" = String, Path, description = "the provider's id")), request_body = Rollback,
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
    let known = state.configuration.providers();
    known.ok_or_else(|| Problem::Unavailable("what is configured could not be confirmed lately".to_owned()))
}

/// In a list only what somebody wants to know of a hundred models each.
fn brief(mut it: Configured) -> Configured {
    it.targets.retain(|target| target.named || target.breaker != "closed");
    it
}
