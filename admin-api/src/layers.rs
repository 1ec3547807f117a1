//! `/policies/layers` and `/policies/shadow`: which rules are in force where, back to those of before, and which are rehearsed.

use axum::Json as Answer;
use axum::extract::{FromRequestParts, Path, State};
use http::request::Parts;
use ledger::{PolicyInForce, PolicyScope};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::AdminState;
use crate::body::{Json, OptionalJson};
use crate::definitions::numbered;
use crate::once::Once;
use crate::operator::Caller;
use crate::page::{Asked, Limit, Listed, Place};
use crate::policies::{Word, changeable, known, said};
use crate::problem::Problem;
use crate::rules::RulesStatus;
use crate::wire::policies::{ActivationBody, LayerBody, LayerStateBody, RollBack, SetShadow, ShadowBody};

/// The scope in the path.
pub(crate) struct Scoped(PolicyScope);

impl<S: Send + Sync> FromRequestParts<S> for Scoped {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let text = match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => text,
            Err(_) => return Err(Problem::NotFound("the path cannot be read".into())),
        };
        text.parse().map(Scoped).map_err(|error: ledger::policies::NoScope| {
            Problem::NotFound(format!("there is no layer {}: {error}", text.chars().take(100).collect::<String>()))
        })
    }
}

/// Which part of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Part {
    /// At most so many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Place>,
}

/// List the layers in force
///
/// With what became of each in the process that answers.
#[utoipa::path(get, path = "/policies/layers", tag = "policies", operation_id = "list_policy_layers", params(Part),
    responses((status = 200, body = Listed<LayerBody>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    Asked(asked): Asked<Part>,
) -> Result<Answer<Listed<LayerBody>>, Problem> {
    let (mut rows, here) = (state.ledger.policies().in_force().await?, state.configuration.rules());
    // In the order in which they are heard.
    rows.sort_by_key(|row| row.revision.scope);
    let bodies: Vec<LayerBody> = rows.into_iter().map(|row| layer(row, &here)).collect();
    Ok(Answer(numbered(bodies, asked.limit, asked.cursor)))
}

fn layer(row: PolicyInForce, here: &RulesStatus) -> LayerBody {
    let scope = row.revision.scope;
    let present = here.layers.iter().find(|it| it.scope == scope && it.policy == Some(row.revision.id));
    let (state, faults) = match present {
        None => (LayerStateBody::Pending, Vec::new()),
        Some(it) if it.faults.is_empty() => (LayerStateBody::Serving, Vec::new()),
        Some(it) => (LayerStateBody::Faulty, it.faults.clone()),
    };
    let last_fault = here.last_fault.clone().filter(|_| scope == PolicyScope::House);
    LayerBody { last_fault, ..LayerBody::new(row, state, faults) }
}

/// Take a scope's layer away
///
/// Its revisions stay on record. Only what is stricter by it is let go: the layers of others hold as before.
#[utoipa::path(delete, path = "/policies/layers/{scope}", tag = "policies", operation_id = "remove_policy_layer",
    params(("scope" = String, Path, description = "`platform`, `org_…` or `team_…`")),
    responses((status = 200, body = ActivationBody)))]
pub(crate) async fn remove(
    State(state): State<AdminState>,
    caller: Caller,
    once: Once,
    Scoped(scope): Scoped,
) -> Result<Answer<ActivationBody>, Problem> {
    changeable(scope)?;
    let last = state.ledger.policies().last(scope).await?;
    let word = Word { scope, policy: None, last, after: None, restores: None };
    said(&state, once.id(&state), word, &caller.actor()).await.map(Answer)
}

/// Bring back what was in force before
///
/// In one call, as another activation: nothing that happened goes from the record.
#[utoipa::path(post, path = "/policies/layers/{scope}/rollback", tag = "policies", operation_id = "roll_back_policy_layer",
    params(("scope" = String, Path, description = "`platform`, `org_…` or `team_…`")), request_body = Option<RollBack>,
    responses((status = 200, body = ActivationBody)))]
pub(crate) async fn roll_back(
    State(state): State<AdminState>,
    caller: Caller,
    once: Once,
    Scoped(scope): Scoped,
    OptionalJson(body): OptionalJson<RollBack>,
) -> Result<Answer<ActivationBody>, Problem> {
    changeable(scope)?;
    let policies = state.ledger.policies();
    let Some(last) = policies.last(scope).await? else {
        return Err(Problem::NotFound(format!("there was never a layer of {scope}")));
    };
    let (policy, restores) = match body.to {
        Some(wanted) => match policies.activation_with(scope, wanted).await? {
            Some(before) => (before.policy, before.version),
            None => {
                let detail = format!("{wanted} was never in force for {scope}: activate it");
                return Err(Problem::Member { member: "to".into(), detail });
            }
        },
        None => match policies.activation(scope, last.version - 1).await? {
            Some(before) => (before.policy, before.version),
            None => (None, 0),
        },
    };
    let word = Word { scope, policy, last: Some(last), after: None, restores: Some(restores) };
    said(&state, once.id(&state), word, &caller.actor()).await.map(Answer)
}

/// List what was ever said to be in force in a scope, oldest first
#[utoipa::path(get, path = "/policies/layers/{scope}/activations", tag = "policies", operation_id = "list_policy_activations",
    params(("scope" = String, Path, description = "`house`, `platform`, `org_…` or `team_…`"), Part),
    responses((status = 200, body = Listed<ActivationBody>)))]
pub(crate) async fn activations(
    State(state): State<AdminState>,
    Scoped(scope): Scoped,
    Asked(asked): Asked<Part>,
) -> Result<Answer<Listed<ActivationBody>>, Problem> {
    let (limit, after) = (asked.limit.unwrap_or_default(), asked.cursor.map_or(0, Place::seq));
    let rows = state.ledger.policies().activations(scope, after, limit.and_one()).await?;
    Ok(Answer(limit.listed(rows, |row| row.version.to_string(), ActivationBody::from)))
}

/// Read which revision is rehearsed
#[utoipa::path(get, path = "/policies/shadow", tag = "policies", operation_id = "get_policy_shadow",
    responses((status = 200, body = ShadowBody)))]
pub(crate) async fn shadow(State(state): State<AdminState>) -> Result<Answer<ShadowBody>, Problem> {
    Ok(Answer(state.ledger.policies().shadow().await?.into()))
}

/// Rehearse a revision
///
/// It is evaluated beside the rules in force, in the place of its scope's layer, and has no effect. One at a time.
#[utoipa::path(put, path = "/policies/shadow", tag = "policies", operation_id = "set_policy_shadow",
    request_body = SetShadow, responses((status = 200, body = ShadowBody)))]
pub(crate) async fn set_shadow(
    State(state): State<AdminState>,
    caller: Caller,
    once: Once,
    Json(body): Json<SetShadow>,
) -> Result<Answer<ShadowBody>, Problem> {
    changeable(known(&state, body.policy_id).await?.scope)?;
    let row = state.ledger.policies().set_shadow(once.id(&state), Some(body.policy_id), &caller.actor()).await?;
    Ok(Answer(Some(row).into()))
}

/// Rehearse nothing any more
#[utoipa::path(delete, path = "/policies/shadow", tag = "policies", operation_id = "clear_policy_shadow",
    responses((status = 200, body = ShadowBody)))]
pub(crate) async fn clear_shadow(
    State(state): State<AdminState>,
    caller: Caller,
    once: Once,
) -> Result<Answer<ShadowBody>, Problem> {
    // Where nothing was ever rehearsed there is nothing to say.
    if state.ledger.policies().shadow().await?.is_none() {
        return Ok(Answer(ShadowBody::default()));
    }
    let row = state.ledger.policies().set_shadow(once.id(&state), None, &caller.actor()).await?;
    Ok(Answer(Some(row).into()))
}
