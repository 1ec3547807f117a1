//! `/policies/revisions`: rules that are uploaded, checked before they are kept, compared, and put into force.

use std::sync::Arc;
use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use http::StatusCode;
use ledger::{
    Activation, ActivationRow, Actor, Id, NewActivation, NewPolicy, Policy, PolicyError, PolicyRow, PolicyScope,
    PolicySource,
};
use policies::{Fault, Limits, Manifest, Pack, PackLimits, PolicySet, Scope, Source, shipped_for};
use serde::Deserialize;
use tokio::sync::Semaphore;
use utoipa::IntoParams;

use crate::AdminState;
use crate::body::{OptionalJson, Upload};
use crate::once::Once;
use crate::operator::Caller;
use crate::page::{Asked, Cursor, Limit, Listed, Wanted};
use crate::problem::Problem;
use crate::rules::counted;
use crate::wire::Named;
use crate::wire::policies::{Activate, ActivationBody, DiffBody, NewPolicyBody, PolicyBody, PolicyContentBody};

/// So many compile at once: whoever uploads must not take the machine from calls.
static COMPILERS: Semaphore = Semaphore::const_new(2);
/// And others wait for their turn no longer.
const TURN: Duration = Duration::from_secs(30);

/// Whose rules an uploaded bundle holds.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OfScope {
    /// With a bundle: `platform`, `org_…` or `team_…`.
    scope: Option<String>,
    /// With a bundle: why, in one line.
    note: Option<String>,
}

/// Keep a revision of rules
///
/// As JSON, or as an OPA bundle (`application/gzip`) with `?scope=`; at most 8 MiB. It is compiled with the rules that are shipped
/// for the scope and checked whole, and is not in force by that. 422 tells every fault with file and line. Where signatures are
/// needed, only a signed bundle will do.
#[utoipa::path(post, path = "/policies/revisions", tag = "policies", operation_id = "create_policy", params(OfScope),
    request_body = NewPolicyBody, responses((status = 201, body = PolicyBody)))]
pub(crate) async fn create(
    State(state): State<AdminState>,
    caller: Caller,
    once: Once,
    Asked(asked): Asked<OfScope>,
    upload: Upload<NewPolicyBody>,
) -> Result<(StatusCode, Answer<PolicyBody>), Problem> {
    let id = once.id(&state);
    let (scope, note, content) = match upload {
        Upload::Json(body) => {
            let NewPolicyBody { scope, modules, data, note } = body;
            let modules = modules.into_iter().map(|(path, text)| Source::new(path, text)).collect();
            (uploadable("scope", &scope)?, note, Content::Json(Pack::new(modules, data.into(), Manifest::default())))
        }
        Upload::Gzip(bytes) => {
            let needed = || Problem::Parameter { name: "scope".into(), detail: "is needed with a bundle".into() };
            let scope = uploadable("scope", &asked.scope.ok_or_else(needed)?).map_err(Problem::in_query)?;
            (scope, asked.note, Content::Bundle(bytes))
        }
    };
    exists(&state, scope).await?;
    let checking = state.clone();
    let new = compiling(move || {
        let pack = content.open(&checking)?;
        let set = compiled(scope, &pack)?;
        let revision = set.revision().to_owned();
        composes(&checking, scope, set)?;
        let (digest, bundle) = (pack.digest(), pack.write());
        Ok(NewPolicy { id, scope, digest, revision, bundle, source: PolicySource::Upload, note })
    })
    .await?;
    let row = state.ledger.policies().create(new, &caller.actor()).await?;
    Ok((StatusCode::CREATED, Answer(row.into())))
}

/// Which part of the list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListPolicies {
    /// Only this scope's.
    scope: Option<String>,
    /// At most so many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Cursor>,
}

/// List revisions, oldest first
///
/// The house's own too: what came with the program and its configuration is kept whenever it is other than before.
#[utoipa::path(get, path = "/policies/revisions", tag = "policies", operation_id = "list_policies", params(ListPolicies),
    responses((status = 200, body = Listed<PolicyBody>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    Asked(asked): Asked<ListPolicies>,
) -> Result<Answer<Listed<PolicyBody>>, Problem> {
    let scope = asked.scope.map(|text| scope("scope", &text)).transpose().map_err(Problem::in_query)?;
    let wanted = Wanted::new(asked.limit, asked.cursor);
    let rows = state.ledger.policies().revisions(scope, &wanted.page()).await?;
    Ok(Answer(wanted.listed(rows, PolicyRow::mark)))
}

/// Read a revision with its modules and data
#[utoipa::path(get, path = "/policies/revisions/{id}", tag = "policies", operation_id = "get_policy",
    params(("id" = String, Path, description = "the revision's id")),
    responses((status = 200, body = PolicyContentBody)))]
pub(crate) async fn get(
    State(state): State<AdminState>,
    Named(id): Named<Policy>,
) -> Result<Answer<PolicyContentBody>, Problem> {
    let row = known(&state, id).await?;
    Ok(Answer(PolicyContentBody::new(row, pack(&state, id).await?)))
}

/// What to compare with.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Against {
    /// A revision; left out: what is in force in the scope, be it nothing.
    #[param(value_type = Option<String>)]
    against: Option<Id<Policy>>,
}

/// Compare a revision with another, or with what is in force
#[utoipa::path(get, path = "/policies/revisions/{id}/diff", tag = "policies", operation_id = "diff_policy",
    params(("id" = String, Path, description = "the revision's id"), Against),
    responses((status = 200, body = DiffBody)))]
pub(crate) async fn diff(
    State(state): State<AdminState>,
    Named(id): Named<Policy>,
    Asked(asked): Asked<Against>,
) -> Result<Answer<DiffBody>, Problem> {
    let row = known(&state, id).await?;
    let against = match asked.against {
        Some(other) => Some(known(&state, other).await?.id),
        None => state.ledger.policies().in_force_of(row.scope).await?.map(|it| it.revision.id),
    };
    let before = match against {
        Some(other) => pack(&state, other).await?,
        None => Pack::default(),
    };
    let after = pack(&state, id).await?;
    compiling(move || Ok(DiffBody::between(id, against, &before, &after))).await.map(Answer)
}

/// Put a revision into force in its scope
///
/// For the calls that begin then: here at once, and within five seconds everywhere. It is compiled again first: 422 where this
/// version no longer can. 409 `changed_meanwhile` where another activation came after the one in `after`.
#[utoipa::path(post, path = "/policies/revisions/{id}/activate", tag = "policies", operation_id = "activate_policy",
    params(("id" = String, Path, description = "the revision's id")), request_body = Option<Activate>,
    responses((status = 200, body = ActivationBody)))]
pub(crate) async fn activate(
    State(state): State<AdminState>,
    caller: Caller,
    once: Once,
    Named(id): Named<Policy>,
    OptionalJson(body): OptionalJson<Activate>,
) -> Result<Answer<ActivationBody>, Problem> {
    let row = known(&state, id).await?;
    changeable(row.scope)?;
    let last = state.ledger.policies().last(row.scope).await?;
    let word = Word { scope: row.scope, policy: Some(id), last, after: body.after, restores: None };
    said(&state, once.id(&state), word, &caller.actor()).await.map(Answer)
}

/// What is to be in force in a scope.
pub(crate) struct Word {
    pub scope: PolicyScope,
    pub policy: Option<Id<Policy>>,
    /// The last word so far.
    pub last: Option<ActivationRow>,
    /// What the asker has seen, where they say so.
    pub after: Option<i64>,
    pub restores: Option<i64>,
}

/// Says it, after compiling what it puts into force.
pub(crate) async fn said(
    state: &AdminState,
    id: Id<Activation>,
    word: Word,
    actor: &Actor,
) -> Result<ActivationBody, Problem> {
    let Word { scope, policy, last, after, restores } = word;
    let new = match policy {
        Some(policy) => pack(state, policy).await?,
        None => Pack::default(),
    };
    let old = match last.as_ref().and_then(|it| it.policy) {
        Some(policy) => pack(state, policy).await?,
        None => Pack::default(),
    };
    let diff = compiling(move || {
        if policy.is_some() {
            compiled(scope, &new)?;
        }
        Ok(counted(&old, &new))
    })
    .await?;
    let after = after.unwrap_or_else(|| last.map_or(0, |it| it.version));
    let word = NewActivation { id, scope, policy, after, restores, diff };
    Ok(state.ledger.policies().activate(word, actor).await?.into())
}

/// A scope in words.
pub(crate) fn scope(member: &str, text: &str) -> Result<PolicyScope, Problem> {
    let detail = "must be platform, org_… or team_…".to_owned();
    text.parse().map_err(|_| Problem::Member { member: member.into(), detail })
}

fn uploadable(member: &str, text: &str) -> Result<PolicyScope, Problem> {
    match scope(member, text)? {
        PolicyScope::House => Err(Problem::Member {
            member: member.into(),
            detail: "the house's own rules are those of its configuration: upload for platform, org_… or team_…".into(),
        }),
        scope => Ok(scope),
    }
}

/// Whether this API may say what is in force there.
pub(crate) fn changeable(scope: PolicyScope) -> Result<(), Problem> {
    match scope {
        PolicyScope::House => Err(Problem::Refused {
            code: "defined_in_file",
            detail: "the house's own rules are those of its configuration: change them there, and reload".into(),
        }),
        _ => Ok(()),
    }
}

async fn exists(state: &AdminState, scope: PolicyScope) -> Result<(), Problem> {
    match scope {
        PolicyScope::Org(id) => state.ledger.tenants().org(id).await.map(drop)?,
        PolicyScope::Team(id) => state.ledger.tenants().team(id).await.map(drop)?,
        PolicyScope::House | PolicyScope::Platform => {}
    }
    Ok(())
}

pub(crate) async fn known(state: &AdminState, id: Id<Policy>) -> Result<PolicyRow, Problem> {
    let row = state.ledger.policies().revision(id).await?;
    row.ok_or_else(|| Problem::NotFound(format!("there is no {id}")))
}

/// What a revision holds.
async fn pack(state: &AdminState, id: Id<Policy>) -> Result<Pack, Problem> {
    let bundle = state.ledger.policies().bundle(id).await?;
    let bundle = bundle.ok_or_else(|| Problem::NotFound(format!("there is no {id}")))?;
    compiling(move || Pack::read(&bundle, &PackLimits::default())).await
}

enum Content {
    Json(Pack),
    Bundle(bytes::Bytes),
}

impl Content {
    fn open(self, state: &AdminState) -> Result<Pack, Vec<Fault>> {
        match self {
            Content::Bundle(bytes) => state.configuration.open_bundle(&bytes),
            Content::Json(_) if state.configuration.needs_signature() => {
                let message = "rules have to be signed here: upload a signed bundle as application/gzip".to_owned();
                Err(vec![fault("bundle", message)])
            }
            Content::Json(pack) => match pack.faults(&PackLimits::default()) {
                faults if faults.is_empty() => Ok(pack),
                faults => Err(faults),
            },
        }
    }
}

fn fault(path: &str, message: String) -> Fault {
    Fault { path: path.to_owned(), message, ..Fault::default() }
}

/// The layer as it would be in force.
fn compiled(scope: PolicyScope, pack: &Pack) -> Result<PolicySet, Vec<Fault>> {
    let scope = layer_of(scope);
    let sources: Vec<Source> = shipped_for(&scope).into_iter().chain(pack.modules.iter().cloned()).collect();
    PolicySet::compile(&sources, pack.data.clone(), Limits::default())
}

/// What contradicts itself, or what is above it, would deny every call of its scope. What cannot be decided without it is not its fault.
fn composes(state: &AdminState, scope: PolicyScope, set: PolicySet) -> Result<(), Vec<Fault>> {
    let Some(present) = state.refresh.rulebook() else { return Ok(()) };
    let layer = layer_of(scope);
    if present.with(layer.clone(), None).tried(&layer).is_err() {
        return Ok(());
    }
    present
        .with(layer.clone(), Some(Arc::new(set)))
        .tried(&layer)
        .map_err(|message| vec![fault("rules", format!("a sample call cannot be decided: {message}"))])
}

fn layer_of(scope: PolicyScope) -> Scope {
    match scope {
        PolicyScope::House => Scope::House,
        PolicyScope::Platform => Scope::Platform,
        PolicyScope::Org(id) => Scope::Org(id.to_string()),
        PolicyScope::Team(id) => Scope::Team(id.to_string()),
    }
}

/// Works where no call waits for it.
async fn compiling<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Vec<Fault>> + Send + 'static,
) -> Result<T, Problem> {
    let busy = || Problem::Unavailable("too many rules are being compiled: try again".into());
    let turn = tokio::time::timeout(TURN, COMPILERS.acquire()).await.map_err(|_| busy())?.map_err(|_| busy())?;
    // Who asked may go away meanwhile; the turn is over when the work is.
    let compiled = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        work()
    });
    match compiled.await {
        Ok(done) => done.map_err(Problem::BadRules),
        Err(error) => Err(Problem::fault(&error)),
    }
}

impl From<PolicyError> for Problem {
    fn from(error: PolicyError) -> Problem {
        match error {
            PolicyError::Unknown(_) => Problem::NotFound(error.to_string()),
            PolicyError::OtherScope { .. } => Problem::Member { member: "to".into(), detail: error.to_string() },
            PolicyError::Outdated(version) => Problem::Refused {
                code: "changed_meanwhile",
                detail: format!("activation {version} is the last one by now: look at it, and decide again"),
            },
            PolicyError::Conflict(id) => {
                Problem::Mismatch(format!("this Idempotency-Key was used before with other content, for {id}"))
            }
            PolicyError::TooLarge(_) => Problem::TooLarge { limit: ledger::policies::LONGEST_BUNDLE },
            PolicyError::Invalid(detail) => Problem::Member { member: "note".into(), detail },
            PolicyError::Store(error) => error.into(),
        }
    }
}
