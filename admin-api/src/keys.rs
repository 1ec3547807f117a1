//! `/keys`: app keys.

use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use http::StatusCode;
use ledger::{DEFAULT_OVERLAP, Id, Key, Org, Rotation, Wallet};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::AdminState;
use crate::body::{Json, OptionalJson};
use crate::once::Once;
use crate::operator::Caller;
use crate::page::{Asked, Cursor, Limit, Listed, Wanted};
use crate::problem::Problem;
use crate::wire::Named;
use crate::wire::keys::{ChangeKey, KeyBody, NewKey, RotateKey, ShownKeyBody, priority};

/// Make an app key; its secret is answered this once
///
/// A repeat with the same `Idempotency-Key` answers 409 `idempotency_expired`: secrets are not kept.
#[utoipa::path(post, path = "/keys", tag = "keys", operation_id = "create_key", request_body = NewKey,
    responses((status = 201, body = ShownKeyBody)))]
pub(crate) async fn create(
    State(state): State<AdminState>,
    caller: Caller,
    once: Once,
    Json(body): Json<NewKey>,
) -> Result<(StatusCode, Answer<ShownKeyBody>), Problem> {
    let new = ledger::NewKey {
        id: once.id(&state),
        name: body.name,
        wallet: body.wallet_id,
        team: body.team_id,
        user: body.user_id,
        models: body.models,
        expires_at: body.expires_at,
        rpm: body.rpm,
        tpm: body.tpm,
        max_parallel: body.max_parallel_requests,
        priority: body.priority.as_deref().map(priority).transpose()?.unwrap_or_default(),
        tags: body.tags.unwrap_or_default(),
    };
    let (row, shown) = state.ledger.tenants().create_key(new, &caller.actor()).await?;
    Ok((StatusCode::CREATED, Answer(ShownKeyBody::at(row, &shown, state.ledger.clock().now()))))
}

/// Which keys to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListKeys {
    /// Only this organisation's.
    #[param(value_type = Option<String>)]
    org_id: Option<Id<Org>>,
    /// Only those of this wallet itself.
    #[param(value_type = Option<String>)]
    wallet_id: Option<Id<Wallet>>,
    /// At most so many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// List app keys, oldest first, whether or not they still work
#[utoipa::path(get, path = "/keys", tag = "keys", operation_id = "list_keys", params(ListKeys),
    responses((status = 200, body = Listed<KeyBody>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    Asked(asked): Asked<ListKeys>,
) -> Result<Answer<Listed<KeyBody>>, Problem> {
    let wanted = Wanted::new(asked.limit, asked.cursor);
    let rows = state.ledger.tenants().keys(asked.org_id, asked.wallet_id, &wanted.page()).await?;
    let now = state.ledger.clock().now();
    Ok(Answer(wanted.listed_as(rows, ledger::KeyRow::mark, |row| KeyBody::at(row, now))))
}

/// Read an app key
#[utoipa::path(get, path = "/keys/{id}", tag = "keys", operation_id = "get_key",
    params(("id" = String, Path, description = "`key_…`")), responses((status = 200, body = KeyBody)))]
pub(crate) async fn get(State(state): State<AdminState>, Named(id): Named<Key>) -> Result<Answer<KeyBody>, Problem> {
    let row = state.ledger.tenants().key(id).await?;
    Ok(Answer(KeyBody::at(row, state.ledger.clock().now())))
}

/// Change a key's limits, its priority, or what is said of its calls
#[utoipa::path(patch, path = "/keys/{id}", tag = "keys", operation_id = "change_key",
    params(("id" = String, Path, description = "`key_…`")), request_body = ChangeKey,
    responses((status = 200, body = KeyBody)))]
pub(crate) async fn change(
    State(state): State<AdminState>,
    caller: Caller,
    Named(id): Named<Key>,
    Json(body): Json<ChangeKey>,
) -> Result<Answer<KeyBody>, Problem> {
    let row = state.ledger.tenants().change_key(id, body.read()?, &caller.actor()).await?;
    Ok(Answer(KeyBody::at(row, state.ledger.clock().now())))
}

/// Give a key a new secret; the old one stays good for the overlap
///
/// A repeat with the same `Idempotency-Key` answers 409 `idempotency_expired`: secrets are not kept.
#[utoipa::path(post, path = "/keys/{id}/rotate", tag = "keys", operation_id = "rotate_key",
    params(("id" = String, Path, description = "`key_…`")), request_body = Option<RotateKey>,
    responses((status = 200, body = ShownKeyBody)))]
pub(crate) async fn rotate(
    State(state): State<AdminState>,
    caller: Caller,
    once: Once,
    Named(key): Named<Key>,
    OptionalJson(body): OptionalJson<RotateKey>,
) -> Result<Answer<ShownKeyBody>, Problem> {
    let overlap = body.overlap_seconds.map_or(DEFAULT_OVERLAP, Duration::from_secs);
    let rotation = Rotation { key, id: once.id::<ledger::JournalRow>(&state).to_string(), overlap };
    let (row, shown) = state.ledger.tenants().rotate_key(rotation, &caller.actor()).await?;
    Ok(Answer(ShownKeyBody::at(row, &shown, state.ledger.clock().now())))
}

/// Revoke a key, and any overlap of it, at once
#[utoipa::path(delete, path = "/keys/{id}", tag = "keys", operation_id = "revoke_key",
    params(("id" = String, Path, description = "`key_…`")), responses((status = 200, body = KeyBody)))]
pub(crate) async fn revoke(
    State(state): State<AdminState>,
    caller: Caller,
    Named(id): Named<Key>,
) -> Result<Answer<KeyBody>, Problem> {
    let row = state.ledger.tenants().revoke_key(id, &caller.actor()).await?;
    Ok(Answer(KeyBody::at(row, state.ledger.clock().now())))
}
