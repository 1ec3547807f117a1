//! Decisions, why they came out so, and replays, on the wire.

use std::collections::BTreeMap;
use std::time::Duration;

use ledger::{Id, Org, Timestamp};
use policies::replay::{self, Outcome, walk};
use policies::{Facts, Rulebook};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::rehearsal;

/// What rules decided of a call.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DecisionBody {
    /// `dec_…`
    id: String,
    /// When the call came; of a gap, when it was noticed.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// `allow`, `deny`, `fault`; `gap`: decisions are missing here.
    result: &'static str,
    /// The call; its receipt is `/requests/{call_id}`. Null of a gap.
    #[schema(required)]
    call_id: Option<String>,
    #[schema(required)]
    org_id: Option<String>,
    #[schema(required)]
    team_id: Option<String>,
    #[schema(required)]
    key_id: Option<String>,
    /// The model that was asked for; `other` for a name that is not configured or catalogued.
    model: String,
    /// The rules that decided: a short hash of the layers that held.
    revision: String,
    /// A keyed hash of the facts that the decision may depend on: equal facts have equal hashes.
    #[schema(required)]
    facts_hash: Option<String>,
    /// Of a refusal, the first reason's.
    #[schema(required)]
    code: Option<String>,
    /// The target that came first.
    #[schema(required)]
    target: Option<String>,
    /// The model that the call became, where it became another.
    #[schema(required)]
    rerouted_to: Option<String>,
    /// How many rules in log-only mode would have denied.
    observed: i64,
    /// How long the rules took, in nanoseconds.
    took_ns: i64,
    /// Whether it was decided before, on the same facts.
    remembered: bool,
    /// What was kept: `facts` or `result`.
    level: String,
    /// What the shadow would have decided, where there was one.
    #[schema(required)]
    shadow: Option<ShadowBody>,
    /// Of a gap: how many decisions are missing, and since when.
    #[schema(required)]
    lost: Option<LostBody>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ShadowBody {
    /// `pol_…`
    revision_id: String,
    result: &'static str,
    /// `denied`, `allowed`, `rerouted` or `duties`; null where it is the same.
    #[schema(required)]
    differs: Option<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct LostBody {
    decisions: i64,
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
}

impl From<ledger::DecisionRow> for DecisionBody {
    fn from(row: ledger::DecisionRow) -> DecisionBody {
        DecisionBody {
            id: row.id.to_string(),
            at: row.at,
            result: row.result.as_str(),
            call_id: row.call.map(|it| it.to_string()),
            org_id: row.org.map(|it| it.to_string()),
            team_id: row.team.map(|it| it.to_string()),
            key_id: row.key.map(|it| it.to_string()),
            model: row.model,
            revision: row.revision,
            facts_hash: row.facts_hash.map(hex::encode),
            code: row.code,
            target: row.target,
            rerouted_to: row.rerouted,
            observed: row.observed,
            took_ns: row.took_ns,
            remembered: row.remembered,
            level: row.level,
            shadow: row.shadow.map(|it| ShadowBody {
                revision_id: it.revision,
                result: it.result.as_str(),
                differs: it.differs,
            }),
            lost: row.lost.map(|it| LostBody { decisions: it.decisions, since: it.since }),
        }
    }
}

/// A decision with what was asked and answered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DecisionDetail {
    #[serde(flatten)]
    decision: DecisionBody,
    /// What the rules were asked, in order; the client's own words are hashes. Empty where only the result was kept.
    #[schema(value_type = Vec<Object>)]
    facts: Vec<Value>,
    /// What they decided of each question.
    #[schema(value_type = Vec<Object>)]
    decisions: Vec<Value>,
    /// The layers that decided; empty where that is not known.
    layers: Vec<LayerBody>,
}

#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct LayerBody {
    /// `house`, `platform`, `org_…`, `team_…`
    scope: String,
    /// A short hash of the layer's sources and data.
    revision: String,
}

impl DecisionDetail {
    pub(crate) fn new(row: ledger::DecisionRow, facts: &[Facts], outcome: rehearsal::Outcome) -> DecisionDetail {
        DecisionDetail {
            decision: row.into(),
            facts: facts.iter().map(json).collect(),
            decisions: outcome.decisions.iter().map(json).collect(),
            layers: layers(outcome.layers),
        }
    }
}

fn layers(layers: Vec<(String, String)>) -> Vec<LayerBody> {
    layers.into_iter().map(|(scope, revision)| LayerBody { scope, revision }).collect()
}

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// Why a decision came out as it did.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExplainedBody {
    /// `dec_…`
    id: String,
    /// The rules that were asked again: those that decided.
    revision: String,
    /// Whether they decide the same again. They may not where claims are masked, or where a rule reads what is not kept.
    same: bool,
    /// The client's claims are hashes here: rules that compare them may decide otherwise than they did.
    claims_masked: bool,
    /// For each question that the rules were asked, in order: every rule that may contribute with file and line, and what became of it.
    #[schema(value_type = Vec<Object>)]
    questions: Vec<Value>,
}

impl ExplainedBody {
    pub(crate) fn new(
        row: &ledger::DecisionRow,
        rulebook: &Rulebook,
        questions: &[Facts],
        recorded: &Outcome,
        claims_masked: bool,
    ) -> ExplainedBody {
        let again = walk(questions, |at| rulebook.decide(&questions[at]).decision);
        ExplainedBody {
            id: row.id.to_string(),
            revision: row.revision.clone(),
            same: replay::Difference::between(recorded, &again).is_none(),
            claims_masked,
            questions: questions.iter().map(|facts| explanation(rulebook, facts)).collect(),
        }
    }
}

/// What each rule said.
fn explanation(rulebook: &Rulebook, facts: &Facts) -> Value {
    json(&rulebook.explain(facts))
}

/// Which rules to ask, about which calls.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ReplayRequest {
    pub candidate: CandidateRequest,
    /// The last so many decisions; 10,000 unless it is said.
    #[schema(minimum = 1, maximum = 100_000)]
    pub last: Option<u64>,
    /// Only this organisation's calls.
    #[schema(value_type = Option<String>)]
    pub org_id: Option<Id<Org>>,
    /// Only calls from this moment on.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub since: Option<Timestamp>,
}

/// The rules in force with one layer replaced: by a revision that is on record, or by modules and data.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CandidateRequest {
    /// `pol_…`
    #[serde(default)]
    pub revision_id: Option<String>,
    /// Whose layer: `platform`, `org_…`, `team_…`; `house` for the shipped rules with these beside them.
    #[serde(default)]
    pub scope: Option<String>,
    /// Path to text.
    #[serde(default)]
    pub modules: BTreeMap<String, String>,
    /// All of `data`.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub data: Option<Map<String, Value>>,
}

/// What other rules would have made of recorded calls. Money is in US dollars: what calls would have cost more, or less with a minus.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ReplayBody {
    /// The rules in force.
    live_revision: String,
    /// The same with the candidate.
    candidate_revision: String,
    /// How long it took.
    took_ms: u64,
    /// Decisions that were read.
    decisions: u64,
    /// Of them, those that were asked again.
    replayed: u64,
    /// Those of which only the result was kept.
    without_facts: u64,
    /// Those that cannot be read.
    unreadable: u64,
    /// Those whose claims are masked: rules that compare claims may decide otherwise of them than they would have.
    with_masked_claims: u64,
    /// Calls that went and would be refused.
    newly_denied: ClassBody,
    /// Calls that were refused and would go.
    newly_allowed: ClassBody,
    /// Calls that would go somewhere else first.
    rerouted: ClassBody,
    /// Calls that would go to the same place under other duties.
    duties_changed: ClassBody,
    /// Calls that went and would be refused because the rules cannot decide.
    faults: ClassBody,
    money: MoneyBody,
}

#[derive(Debug, Serialize, ToSchema)]
struct ClassBody {
    calls: u64,
    /// What they would have cost more, or less with a minus: of refusals what was charged, else an estimate.
    charge_delta_usd: String,
    /// By team; `-` is none.
    by_team: BTreeMap<String, ShareBody>,
    /// By the model that was asked for.
    by_model: BTreeMap<String, ShareBody>,
    /// Of refusals: what callers would have been told.
    reasons: BTreeMap<String, u64>,
    /// Some of the decisions, newest first.
    examples: Vec<String>,
}

#[derive(Debug, Serialize, ToSchema)]
struct ShareBody {
    calls: u64,
    /// What they would have cost more, or less with a minus.
    charge_delta_usd: String,
}

/// Estimates go by list prices and the tokens that calls used; those of calls that were refused by the longest their prompts may be
/// and the mean length of answers of the same model.
#[derive(Debug, Serialize, ToSchema)]
struct MoneyBody {
    /// What was charged for calls that would be refused.
    saved_by_refusals_usd: String,
    /// What calls that were refused would have cost.
    estimated_cost_of_allowed_usd: String,
    /// What calls that would go elsewhere would have cost more, or less with a minus.
    estimated_rerouting_delta_usd: String,
    /// All of it: with a minus, money saved.
    estimated_delta_usd: String,
    /// Calls whose change is not in these sums, because a price is not known.
    calls_without_price: u64,
}

impl ReplayBody {
    pub(crate) fn new(report: replay::Report, live: &Rulebook, candidate: &Rulebook, took: Duration) -> ReplayBody {
        let money = report.money;
        ReplayBody {
            live_revision: live.revision().to_owned(),
            candidate_revision: candidate.revision().to_owned(),
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            decisions: report.decisions,
            replayed: report.replayed,
            without_facts: report.without_facts,
            unreadable: report.unreadable,
            with_masked_claims: report.with_masked_claims,
            newly_denied: report.newly_denied.into(),
            newly_allowed: report.newly_allowed.into(),
            rerouted: report.rerouted.into(),
            duties_changed: report.duties_changed.into(),
            faults: report.faults.into(),
            money: MoneyBody {
                saved_by_refusals_usd: money.saved_by_refusals_usd,
                estimated_cost_of_allowed_usd: money.estimated_cost_of_allowed_usd,
                estimated_rerouting_delta_usd: money.estimated_rerouting_delta_usd,
                estimated_delta_usd: money.estimated_delta_usd,
                calls_without_price: money.calls_without_price,
            },
        }
    }
}

impl From<replay::Class> for ClassBody {
    fn from(class: replay::Class) -> ClassBody {
        let shares = |shares: BTreeMap<String, replay::Share>| {
            let share = |(key, it): (String, replay::Share)| {
                (key, ShareBody { calls: it.calls, charge_delta_usd: it.charge_delta_usd })
            };
            shares.into_iter().map(share).collect()
        };
        ClassBody {
            calls: class.calls,
            charge_delta_usd: class.charge_delta_usd,
            by_team: shares(class.by_team),
            by_model: shares(class.by_model),
            reasons: class.reasons,
            examples: class.examples,
        }
    }
}
