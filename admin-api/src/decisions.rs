//! `/policies/decisions` and `/policies/replay`: what rules decided, why, and what others would have.

use std::sync::Arc;
use std::time::Duration;

use axum::Json as Answer;
use axum::extract::State;
use ledger::{Call, Decision, DecisionFilter, DecisionResult, DecisionRow, Entry, Id, Org, Team, Timestamp};
use policies::replay::walk;
use policies::{Pack, Rulebook, Scope, Source};
use serde::Deserialize;
use utoipa::IntoParams;

use crate::AdminState;
use crate::body::Json;
use crate::operator::Caller;
use crate::page::{Asked, Limit, Listed};
use crate::problem::Problem;
use crate::rehearsal::{self, Sample, Unmade, Unreplayed};
use crate::wire::decisions::{
    CandidateRequest, DecisionBody, DecisionDetail, ExplainedBody, ReplayBody, ReplayRequest,
};
use crate::wire::{Named, word};

/// A replay takes so long at most.
const DEADLINE: Duration = Duration::from_secs(300);
const USUAL: u64 = 10_000;
const MOST: u64 = 100_000;
/// The longest word of a model that is looked for.
const LONGEST: usize = 256;

/// Which decisions to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ListDecisions {
    /// Only this organisation's.
    #[param(value_type = Option<String>)]
    org_id: Option<Id<Org>>,
    /// Only this team's.
    #[param(value_type = Option<String>)]
    team_id: Option<Id<Team>>,
    /// Only calls for this model.
    model: Option<String>,
    /// Only `allow`, `deny` or `fault`; `gap` are places where decisions are missing.
    #[param(pattern = "^(allow|deny|fault|gap)$")]
    result: Option<String>,
    /// Only refusals whose first reason has this code.
    #[param(pattern = "^[a-z_]{1,64}$")]
    code: Option<String>,
    /// Only decisions about calls from this moment on.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// Only decisions about calls before this moment.
    #[param(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// Only this call's: `req_…`.
    #[param(value_type = Option<String>)]
    call_id: Option<Id<Call>>,
    /// `true`: only those that the shadow would have decided otherwise.
    #[param(pattern = "^true$")]
    differs: Option<String>,
    /// At most so many.
    #[param(value_type = Option<u32>, minimum = 1, maximum = 1000)]
    limit: Option<Limit>,
    /// `next_cursor` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<LastDecision>,
}

/// The last decision of the page before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LastDecision(Id<Decision>);

impl<'de> Deserialize<'de> for LastDecision {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let id = text.parse().map_err(|_| serde::de::Error::custom("is not a cursor that this list gave out"));
        id.map(LastDecision)
    }
}

/// List what rules decided, newest first
#[utoipa::path(get, path = "/policies/decisions", tag = "policies", operation_id = "list_decisions",
    params(ListDecisions), responses((status = 200, body = Listed<DecisionBody>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    Asked(asked): Asked<ListDecisions>,
) -> Result<Answer<Listed<DecisionBody>>, Problem> {
    let result = asked.result.as_deref();
    let result = result.map(|text| word("result", text, DecisionResult::from_word, "allow, deny, fault, gap"));
    let result = result.transpose().map_err(Problem::in_query)?;
    if let Some(differs) = asked.differs.as_deref() {
        word("differs", differs, |text| (text == "true").then_some(()), "true").map_err(Problem::in_query)?;
    }
    let too_long = |name: &str, text: &Option<String>| match text {
        Some(text) if text.is_empty() || text.len() > LONGEST => {
            let detail = format!("must have 1 to {LONGEST} characters");
            Err(Problem::Parameter { name: name.into(), detail })
        }
        _ => Ok(()),
    };
    too_long("model", &asked.model)?;
    too_long("code", &asked.code)?;
    let ListDecisions { org_id: org, team_id: team, model, code, since, until, call_id: call, differs, .. } = asked;
    let filter = DecisionFilter { org, team, model, result, code, since, until, call, differs: differs.is_some() };
    let limit = asked.limit.unwrap_or_default();
    let rows = state.ledger.decisions().list(&filter, asked.cursor.map(|it| it.0), limit.and_one()).await?;
    Ok(Answer(limit.listed(rows, |row| row.id.to_string(), DecisionBody::from)))
}

/// Read a decision: what was asked, masked, and what was decided
#[utoipa::path(get, path = "/policies/decisions/{id}", tag = "policies", operation_id = "get_decision",
    params(("id" = String, Path, description = "`dec_…`")), responses((status = 200, body = DecisionDetail)))]
pub(crate) async fn get(
    State(state): State<AdminState>,
    Named(id): Named<Decision>,
) -> Result<Answer<DecisionDetail>, Problem> {
    let row = there(&state, id).await?;
    let decisions = state.ledger.decisions();
    let questions = match &row.facts {
        Some(facts) => rehearsal::questions(decisions, facts).await?.unwrap_or_default(),
        None => Vec::new(),
    };
    let outcome = rehearsal::outcome(decisions, row.outcome.as_deref()).await?.unwrap_or_default();
    Ok(Answer(DecisionDetail::new(row, &questions, outcome)))
}

/// Say why: which rules fired, with file and line
#[utoipa::path(get, path = "/policies/decisions/{id}/explain", tag = "policies", operation_id = "explain_decision",
    params(("id" = String, Path, description = "`dec_…`")), responses((status = 200, body = ExplainedBody)))]
pub(crate) async fn explain(
    State(state): State<AdminState>,
    Named(id): Named<Decision>,
) -> Result<Answer<ExplainedBody>, Problem> {
    let row = there(&state, id).await?;
    let decisions = state.ledger.decisions();
    let no_facts = || Problem::Refused {
        code: "no_facts",
        detail: format!(
            "of {id} only the result was kept (a rule said so, or its call was bound to regions and the database is not known to lie within), \
             so that it cannot be explained"
        ),
    };
    let facts = row.facts.as_deref().ok_or_else(no_facts)?;
    let mut questions = rehearsal::questions(decisions, facts).await?.ok_or_else(no_facts)?;
    let receipt = match row.call {
        Some(call) => state.ledger.receipts().get(call).await?,
        None => None,
    };
    let mut masked = false;
    // The log has only hashes of claims; the receipt has what the rules were told.
    for facts in questions.iter_mut().filter(|facts| !facts.request.claims.is_empty()) {
        match receipt.as_ref().filter(|it| it.record.claims.len() == facts.request.claims.len()) {
            Some(receipt) => facts.request.claims.clone_from(&receipt.record.claims),
            None => masked = true,
        }
    }
    let outcome = rehearsal::outcome(decisions, row.outcome.as_deref()).await?.unwrap_or_default();
    let (org, team) = (row.org.map(|it| it.to_string()), row.team.map(|it| it.to_string()));
    let live = state.refresh.rulebook();
    let live = live.filter(|it| it.revision_for(org.as_deref().unwrap_or_default(), team.as_deref()) == row.revision);
    let rulebook = match live {
        Some(live) => live,
        None if outcome.layers.is_empty() => {
            let detail = format!("other rules are in force by now, and which ones decided {id} is not on record");
            return Err(Problem::Refused { code: "other_rules", detail });
        }
        None => Arc::new(rehearsal::as_then(decisions, &outcome.layers).await.map_err(unmade)?),
    };
    let count = outcome.decisions.len().min(questions.len());
    let recorded = walk(&questions[..count], |at| outcome.decisions[at].clone());
    let explained =
        tokio::task::spawn_blocking(move || ExplainedBody::new(&row, &rulebook, &questions, &recorded, masked));
    Ok(Answer(explained.await.map_err(|_| Problem::Fault)?))
}

/// Ask other rules about calls that were recorded: who would be refused, let in or sent elsewhere, and what that would have cost
#[utoipa::path(post, path = "/policies/replay", tag = "policies", operation_id = "replay_decisions",
    request_body = ReplayRequest, responses((status = 200, body = ReplayBody)))]
pub(crate) async fn replay(
    State(state): State<AdminState>,
    caller: Caller,
    Json(asked): Json<ReplayRequest>,
) -> Result<Answer<ReplayBody>, Problem> {
    let last = asked.last.unwrap_or(USUAL);
    if !(1..=MOST).contains(&last) {
        let detail = format!("must be 1 to {MOST}; `alfred policy replay` has no such bound");
        return Err(Problem::Member { member: "last".into(), detail });
    }
    let _one = state.replaying.try_acquire().map_err(|_| Problem::Refused {
        code: "replay_running",
        detail: "one replay runs in this process already: wait for it, or use `alfred policy replay`".into(),
    })?;
    let decisions = state.ledger.decisions();
    let live = match state.refresh.rulebook() {
        Some(live) => live,
        None => Arc::new(rehearsal::in_force(decisions).await.map_err(unmade)?),
    };
    let rulebook = candidate(&state, &live, asked.candidate).await?;
    let sample = Sample { org: asked.org_id, since: asked.since, last: Some(last) };
    let began = std::time::Instant::now();
    let report = rehearsal::replay(decisions, Arc::clone(&rulebook), sample, |_| {});
    match tokio::time::timeout(DEADLINE, report).await {
        Ok(Ok(report)) => {
            // Whoever looks at what others did leaves a trace.
            let entry = Entry::new(sample.org, "POLICY_REPLAYED", caller.actor())
                .with("candidate", rulebook.revision())
                .with("decisions", report.decisions);
            state.ledger.record(entry).await?;
            Ok(Answer(ReplayBody::new(report, &live, &rulebook, began.elapsed())))
        }
        Ok(Err(Unreplayed::Store(error))) => Err(error.into()),
        Ok(Err(Unreplayed::Panicked)) => Err(Problem::Fault),
        Err(_) => Err(Problem::Unavailable(format!(
            "the replay was not done within {} s: ask for fewer decisions, or use `alfred policy replay`",
            DEADLINE.as_secs()
        ))),
    }
}

async fn candidate(state: &AdminState, live: &Rulebook, asked: CandidateRequest) -> Result<Arc<Rulebook>, Problem> {
    let member = |member: &str, detail: String| Problem::Member { member: member.into(), detail };
    let CandidateRequest { revision_id, scope, modules, data } = asked;
    let book = match (revision_id, scope) {
        (Some(_), Some(_)) => {
            return Err(member("candidate", "has a revision_id and a scope: give one of them".into()));
        }
        (None, None) => return Err(member("candidate", "needs a revision_id, or a scope with modules or data".into())),
        (Some(_), None) if !modules.is_empty() || data.is_some() => {
            return Err(member("candidate", "a revision has its own modules and data".into()));
        }
        (Some(revision), None) => rehearsal::candidate(state.ledger.decisions(), live, &revision).await,
        (None, Some(scope)) => {
            let scope: Scope = scope.parse().map_err(|detail| member("candidate.scope", detail))?;
            let modules = modules.into_iter().map(|(path, text)| Source::new(path, text)).collect();
            let data = data.map_or_else(|| serde_json::json!({}), serde_json::Value::Object);
            let pack = Pack { modules, data, ..Pack::default() };
            rehearsal::layer(scope.clone(), pack).await.map(|set| live.with(scope, Some(set)))
        }
    };
    book.map(Arc::new).map_err(|error| match error {
        Unmade::Store(error) => error.into(),
        error => member("candidate", error.to_string()),
    })
}

async fn there(state: &AdminState, id: Id<Decision>) -> Result<DecisionRow, Problem> {
    let row = state.ledger.decisions().get(id).await?;
    row.ok_or_else(|| Problem::NotFound(format!("there is no {id}: it may have been older than decisions are kept")))
}

fn unmade(error: Unmade) -> Problem {
    match error {
        Unmade::Store(error) => error.into(),
        error => Problem::Refused { code: "other_rules", detail: error.to_string() },
    }
}
