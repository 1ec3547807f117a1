//! Approvals on the wire.

use std::time::Duration;

use ledger::{
    Approval, ApprovalRow, ApprovalUse, Call, DecideError, Id, Key, Money, Org, Reach, Team, Timestamp, User, Verdict,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::word;
use crate::problem::Problem;

/// What was decided. `approve` grants as little as is said: one call of the key that asked, for the model that it asked for,
/// within a day, unless the other members say more.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Decide {
    /// `approve` or `deny`. What was approved can be denied after: that takes it back.
    #[schema(pattern = "^(approve|deny)$", example = "approve")]
    pub decision: String,
    /// One line of 1 to 500 characters, told to whoever asked.
    #[schema(min_length = 1, max_length = 500)]
    pub reason: Option<String>,
    /// So many calls; without it one, or with `budget_usd` as many as that pays for.
    #[schema(minimum = 1, maximum = 1_000_000)]
    pub uses: Option<i64>,
    /// What the calls may cost together. A call counts with the most that it may cost until it has ended.
    #[schema(value_type = Option<String>, example = "5.00")]
    pub budget_usd: Option<Money>,
    /// For so long from now: a day unless said, at most 2592000 (30 days).
    #[schema(minimum = 1, maximum = 2_592_000, default = 86_400)]
    pub expires_in_s: Option<u64>,
    /// Names of models, with `*` for any text; without it, the model that was asked for.
    #[schema(min_items = 1, max_items = 64)]
    pub models: Option<Vec<String>>,
    /// Whose calls: of the `key` that asked (unless said), of every key of its `team`, or of its `org`.
    #[schema(pattern = "^(key|team|org)$", default = "key")]
    pub scope: Option<String>,
}

impl Decide {
    pub(crate) fn read(self) -> Result<Verdict, Problem> {
        let approves = |text: &str| match text {
            "approve" => Some(true),
            "deny" => Some(false),
            _ => None,
        };
        let approved = word("decision", &self.decision, approves, "approve, deny")?;
        let reach = self.scope.map(|text| word("scope", &text, Reach::from_word, "key, team, org")).transpose()?;
        if approved {
            return Ok(Verdict::Approve {
                reason: self.reason,
                uses: self.uses,
                budget: self.budget_usd,
                lasting: self.expires_in_s.map(Duration::from_secs),
                models: self.models,
                reach: reach.unwrap_or_default(),
            });
        }
        for (member, said) in [
            ("uses", self.uses.is_some()),
            ("budget_usd", self.budget_usd.is_some()),
            ("expires_in_s", self.expires_in_s.is_some()),
            ("models", self.models.is_some()),
            ("scope", reach.is_some()),
        ] {
            if said {
                let detail = "must be left out: a denial grants nothing";
                return Err(Problem::Member { member: member.into(), detail: detail.into() });
            }
        }
        Ok(Verdict::Deny { reason: self.reason })
    }
}

/// Something that a policy wants approved.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Requirement)]
pub(crate) struct RequirementBody {
    #[schema(example = "frontier_models")]
    pub name: String,
    /// The policy's words.
    pub reason: String,
}

/// What was granted.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Grant)]
pub(crate) struct GrantBody {
    /// `key`, `team` or `org`.
    #[schema(example = "key")]
    pub scope: &'static str,
    pub models: Vec<String>,
    /// Null: as many as the budget pays for.
    #[schema(required)]
    pub uses: Option<i64>,
    #[schema(value_type = Option<String>, required)]
    pub budget_usd: Option<Money>,
    /// Uses that were taken and not given back.
    pub used: i64,
    /// What they cost; of those that run, the most that they may.
    #[schema(value_type = String, example = "0.75")]
    pub spent_usd: Money,
}

/// A request for approval, and what became of it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Approval)]
pub(crate) struct ApprovalBody {
    #[schema(value_type = String, example = "apr_0192f0c1a2b37c4d8e5f60718293a4b5")]
    pub id: Id<Approval>,
    /// `pending`, `approved`, `denied` or `expired`.
    #[schema(example = "pending")]
    pub state: &'static str,
    #[schema(value_type = String)]
    pub org_id: Id<Org>,
    #[schema(value_type = Option<String>, required)]
    pub team_id: Option<Id<Team>>,
    #[schema(value_type = String)]
    pub key_id: Id<Key>,
    #[schema(value_type = Option<String>, required)]
    pub user_id: Option<Id<User>>,
    /// The call that was refused for it.
    #[schema(value_type = String)]
    pub request_id: Id<Call>,
    pub requirements: Vec<RequirementBody>,
    /// The model that was asked for.
    pub model: String,
    /// The most that the refused call might have cost.
    #[schema(value_type = String, example = "0.25")]
    pub estimate_usd: Money,
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// Until when it may be decided, and once it is approved, used.
    #[schema(value_type = String, format = DateTime)]
    pub expires_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub decided_at: Option<Timestamp>,
    /// `adm_…`
    #[schema(required)]
    pub decided_by: Option<String>,
    #[schema(required)]
    pub reason: Option<String>,
    #[schema(value_type = Option<GrantBody>, required)]
    pub grant: Option<GrantBody>,
    /// Of a single approval: its last 100 uses, corrections and returns, newest first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub uses: Option<Vec<UseBody>>,
}

/// One change of what is used of a grant.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ApprovalUse)]
pub(crate) struct UseBody {
    #[schema(value_type = String)]
    pub request_id: Id<Call>,
    /// `used`; `settled`: corrected to what it cost; `returned`: the call did not happen.
    #[schema(example = "used")]
    pub kind: String,
    /// By how many the uses change.
    pub uses: i64,
    /// By how much what is spent changes.
    #[schema(value_type = String, example = "-0.5")]
    pub spent_delta_usd: Money,
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

impl From<ApprovalUse> for UseBody {
    fn from(row: ApprovalUse) -> UseBody {
        let ApprovalUse { call, kind, uses, amount, at } = row;
        UseBody { request_id: call, kind, uses, spent_delta_usd: amount, at }
    }
}

impl ApprovalBody {
    /// The request as it stands at `now`.
    pub(crate) fn at(row: ApprovalRow, now: Timestamp) -> ApprovalBody {
        let state = row.state_at(now).as_str();
        let (used, spent_usd) = (row.used, row.spent);
        let grant = row.grant.map(|it| GrantBody {
            scope: it.reach.as_str(),
            models: it.models,
            uses: it.uses,
            budget_usd: it.budget,
            used,
            spent_usd,
        });
        let wanted = row.requirements.into_iter();
        ApprovalBody {
            id: row.id,
            state,
            org_id: row.org,
            team_id: row.team,
            key_id: row.key,
            user_id: row.user,
            request_id: row.call,
            requirements: wanted.map(|it| RequirementBody { name: it.name, reason: it.reason }).collect(),
            model: row.model,
            estimate_usd: row.amount,
            created_at: row.created_at,
            expires_at: row.expires_at,
            decided_at: row.decided_at,
            decided_by: row.decided_by,
            reason: row.reason,
            grant,
            uses: None,
        }
    }
}

impl From<DecideError> for Problem {
    fn from(error: DecideError) -> Problem {
        match error {
            DecideError::Unknown(id) => Problem::NotFound(format!("there is no {id}")),
            DecideError::Settled { id, state } => Problem::Refused {
                code: "approval_settled",
                detail: format!("{id} is {}: only a request that waits is decided", state.as_str()),
            },
            DecideError::Invalid { field, message } => {
                let member = match field {
                    "budget" => "budget_usd",
                    "expires_in" => "expires_in_s",
                    other => other,
                };
                Problem::Member { member: member.into(), detail: message }
            }
            DecideError::Store(error) => error.into(),
        }
    }
}
