//! Somebody's word on a request: a grant with its bounds, or a no. A no also takes a grant back.

use std::time::Duration;

use super::{ApprovalRow, ApprovalState, Approvals, Grant, Reach, entry, kind, rows};
use crate::audit::Actor;
use crate::error::StoreError;
use crate::id::{Approval, Id};
use crate::money::Money;
use crate::store::audit;
use crate::tenants::check;

/// A grant ends at the latest after 30 days.
pub const LONGEST_GRANT: Duration = Duration::from_secs(30 * 86_400);
/// And where nothing is said, after one.
const USUAL_GRANT: Duration = Duration::from_secs(86_400);
const MOST_USES: i64 = 1_000_000;
const MOST_MODELS: usize = 64;
const LONGEST_MODEL: usize = 256;
const LONGEST_REASON: usize = 500;

/// What was decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Approve {
        reason: Option<String>,
        /// None: one call, or with a budget as many as it pays for.
        uses: Option<i64>,
        budget: Option<Money>,
        /// For how long from now; none is a day.
        lasting: Option<Duration>,
        /// None: the model that was asked for.
        models: Option<Vec<String>>,
        reach: Reach,
    },
    Deny {
        reason: Option<String>,
    },
}

/// Why nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    #[error("there is no {0}")]
    Unknown(Id<Approval>),
    /// It was decided otherwise, or has ended.
    #[error("{id} is {state}", state = .state.as_str())]
    Settled { id: Id<Approval>, state: ApprovalState },
    /// A member of the verdict cannot be.
    #[error("{field} {message}")]
    Invalid { field: &'static str, message: String },
    #[error("ledger store failed")]
    Store(#[from] StoreError),
}

impl Approvals<'_> {
    /// Decides a request that waits, once. The same word again is answered the same and changes nothing.
    pub async fn decide(&self, id: Id<Approval>, verdict: Verdict, actor: &Actor) -> Result<ApprovalRow, DecideError> {
        let content = check::content(&format!("{verdict:?}"));
        let now = self.now();
        let mut tx = self.db().begin().await?;
        let (old, made_of) = rows::lock_one(&mut tx, id).await?.ok_or(DecideError::Unknown(id))?;
        let mut row = fits(&old, &verdict)?;
        match (old.state_at(now), &verdict) {
            (ApprovalState::Approved | ApprovalState::Denied, _) if made_of == Some(content) => return Ok(old),
            (ApprovalState::Pending, _) | (ApprovalState::Approved, Verdict::Deny { .. }) => {}
            (state, _) => return Err(DecideError::Settled { id, state }),
        }
        (row.decided_at, row.decided_by) = (Some(now), Some(actor.to_string()));
        let about = match verdict {
            Verdict::Approve { lasting, .. } => {
                row.state = ApprovalState::Approved;
                row.expires_at = now.after(lasting.unwrap_or(USUAL_GRANT));
                let grant = row.grant.as_ref();
                entry(&row, kind::APPROVAL_GRANTED, *actor)
                    .with("scope", grant.map(|it| it.reach))
                    .with("models_count", grant.map(|it| it.models.len()))
                    .with("uses", grant.and_then(|it| it.uses))
                    .with("budget_usd", grant.and_then(|it| it.budget))
                    .with("expires_at", row.expires_at)
            }
            Verdict::Deny { .. } => {
                row.state = ApprovalState::Denied;
                let was_granted = old.state == ApprovalState::Approved;
                entry(&row, kind::APPROVAL_DENIED, *actor).with("taken_back", was_granted.then_some(true))
            }
        };
        rows::decide(&mut tx, &row, content).await?;
        audit::append(&mut tx, now, &[about]).await?;
        tx.commit().await?;
        Ok(row)
    }
}

/// The row with the verdict's words and bounds, if they can be.
fn fits(old: &ApprovalRow, verdict: &Verdict) -> Result<ApprovalRow, DecideError> {
    let mut row = old.clone();
    let (Verdict::Approve { reason, .. } | Verdict::Deny { reason }) = verdict;
    let one_line =
        |text: &String| (1..=LONGEST_REASON).contains(&text.chars().count()) && !text.chars().any(char::is_control);
    if !reason.as_ref().is_none_or(one_line) {
        return Err(invalid("reason", format!("must be one line of 1 to {LONGEST_REASON} characters")));
    }
    row.reason.clone_from(reason);
    let Verdict::Approve { uses, budget, lasting, models, reach, .. } = verdict else { return Ok(row) };
    if uses.is_some_and(|uses| !(1..=MOST_USES).contains(&uses)) {
        return Err(invalid("uses", format!("must be from 1 to {MOST_USES}")));
    }
    if budget.is_some_and(|budget| budget <= Money::ZERO) {
        return Err(invalid("budget", "must be above 0"));
    }
    if lasting.is_some_and(|lasting| lasting.is_zero() || lasting > LONGEST_GRANT) {
        return Err(invalid("expires_in", format!("must be from 1 to {} seconds", LONGEST_GRANT.as_secs())));
    }
    let models = models.clone().unwrap_or_else(|| vec![old.model.clone()]);
    let named = |model: &String| (1..=LONGEST_MODEL).contains(&model.len()) && !model.chars().any(char::is_control);
    if models.is_empty() || models.len() > MOST_MODELS || !models.iter().all(named) {
        let message = format!("must be 1 to {MOST_MODELS} names of at most {LONGEST_MODEL} bytes");
        return Err(invalid("models", message));
    }
    if *reach == Reach::Team && old.team.is_none() {
        return Err(invalid("scope", "cannot be team: the key that asked is of none"));
    }
    let uses = uses.or(budget.is_none().then_some(1));
    row.grant = Some(Grant { reach: *reach, models, uses, budget: *budget });
    Ok(row)
}

fn invalid(field: &'static str, message: impl Into<String>) -> DecideError {
    DecideError::Invalid { field, message: message.into() }
}
