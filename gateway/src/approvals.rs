//! What somebody has to approve before a call may go. Grants that the client shows are used once the call is held for; without
//! them it is refused with the id of a request that an approver can decide. A call that does not happen gives its uses back.

use std::sync::Arc;
use std::time::Duration;

use axum::http::HeaderMap;
use ledger::{Approval, Bar, Choice, Id, Money, Needs, NewApproval, Requirement, Spend, Spent, StoreError, Timestamp};

use crate::app::App;
use crate::case::{Caller, Case};
use crate::permit::Permit;
use crate::quote::Quote;
use crate::refusal::Refusal;

/// Shown by a client that was told an id, and told with each refusal.
pub const HEADER: &str = "x-alfred-approval";
/// So many may be shown: more than a policy can want at once.
const MOST_SHOWN: usize = 16;
/// A name that is longer, or reads as a pattern, cannot be what a grant is for.
const LONGEST_MODEL: usize = 256;
/// Somebody has so long to decide.
const WAITS: Duration = Duration::from_secs(24 * 3_600);
/// The ledger has so long to say yes or no.
const DEADLINE: Duration = Duration::from_secs(10);
/// An answer waits so long for what is written down about it; then that goes on by itself.
const PATIENCE: Duration = Duration::from_secs(2);
const TRIES: u32 = 5;

/// The approvals in the head of a call.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Shown {
    ids: Vec<Id<Approval>>,
    /// There was something else besides.
    nonsense: bool,
}

/// Reads them: ids with commas between, in one header or several.
pub fn shown(headers: &HeaderMap) -> Shown {
    let mut shown = Shown::default();
    for value in headers.get_all(HEADER) {
        for word in value.to_str().unwrap_or("?").split(',').map(str::trim).filter(|word| !word.is_empty()) {
            match word.parse() {
                Ok(id) if shown.ids.contains(&id) => {}
                Ok(id) if shown.ids.len() < MOST_SHOWN => shown.ids.push(id),
                _ => shown.nonsense = true,
            }
        }
    }
    shown
}

/// What a call lacks, and what can be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unapproved {
    /// What is not approved.
    pub requirements: Vec<Requirement>,
    /// Why what was shown does not do.
    pub why_not: Vec<String>,
    pub next: Next,
}

/// What the client can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Come again with all of these when the last of them is approved.
    Wait { ids: Vec<Id<Approval>>, until: Timestamp },
    /// Somebody has said no to this.
    Denied(Id<Approval>),
    /// Nothing more can be asked for.
    Nothing(&'static str),
}

/// Uses what the client shows for what the policy wants approved. Nothing wanted, nothing done.
pub async fn spend(
    app: &Arc<App>,
    shown: &Shown,
    caller: &Caller,
    quote: &Quote,
    case: &mut Case,
) -> Result<(), Refusal> {
    let wanted = quote.permit.approvals();
    if wanted.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = wanted.iter().map(|it| it.name.clone()).collect();
    let model = model(quote, case);
    let credential = &caller.credential;
    let needs = Needs {
        org: credential.org,
        team: credential.team,
        key: credential.key,
        model: &model,
        requirements: &names,
        amount: quote.most(),
    };
    let asked = async {
        let choice = match app.ledger.approvals().spend(Spend { call: case.id, needs, shown: &shown.ids }).await? {
            Spent::Granted(grants) => return Ok(Ok(grants)),
            Spent::Barred(choice) => choice,
        };
        let unmet = wanted.iter().filter(|it| choice.unmet.contains(&it.name));
        let requirements = unmet.map(|it| Requirement { name: it.name.clone(), reason: it.reason.clone() }).collect();
        let new = NewApproval {
            org: credential.org,
            team: credential.team,
            key: credential.key,
            user: credential.user,
            call: case.id,
            requirements,
            model: model.clone(),
            amount: needs.amount,
            expires_at: case.at.after(WAITS),
        };
        Ok::<_, StoreError>(Err(refused(app, new, choice, shown.nonsense).await?))
    };
    match tokio::time::timeout(DEADLINE, asked).await {
        Ok(Ok(Ok(grants))) => {
            case.grants = grants;
            Ok(())
        }
        Ok(Ok(Err(unapproved))) => Err(Refusal::Unapproved(Box::new(unapproved))),
        failed => {
            if let Ok(Err(error)) = failed {
                tracing::error!(%error, "an approval could not be used");
            }
            // Whether it was used nobody knows: if so, it is given back with the hold.
            case.grants.clone_from(&shown.ids);
            Err(Refusal::LedgerUnavailable)
        }
    }
}

async fn refused(app: &App, new: NewApproval, choice: Choice, nonsense: bool) -> Result<Unapproved, StoreError> {
    let mut why_not: Vec<String> = choice.bars.iter().map(|(id, bar)| told(*id, bar)).collect();
    if nonsense {
        why_not.push(format!("'{HEADER}' has something in it that is no id of an approval (apr_…)."));
    }
    let requirements = new.requirements.clone();
    let denied = choice.bars.iter().find(|(_, bar)| matches!(bar, Bar::Denied { .. }));
    let next = if let Some((id, _)) = denied {
        Next::Denied(*id)
    } else if !is_nameable(&new.model) {
        Next::Nothing("The name of this model is none that an approval can be given for.")
    } else {
        match app.ledger.approvals().request(new).await? {
            None => Next::Nothing("Too many requests of your organisation wait for an approver already."),
            Some(row) => {
                let ids = choice.grants.into_iter().filter(|id| *id != row.id).chain([row.id]).collect();
                Next::Wait { ids, until: row.expires_at }
            }
        }
    };
    Ok(Unapproved { requirements, why_not, next })
}

/// What was asked for, by the name that a grant is for. A model that is no name of ours goes by its target.
fn model(quote: &Quote, case: &Case) -> String {
    match (case.model.as_str(), quote.permit.targets.first()) {
        ("other", Some(target)) => target.name.clone(),
        (model, _) => model.to_owned(),
    }
}

/// Whether a grant for this name is for this name alone: `*` would be any text.
fn is_nameable(model: &str) -> bool {
    model.len() <= LONGEST_MODEL && !model.contains('*') && !model.chars().any(char::is_control)
}

fn told(id: Id<Approval>, bar: &Bar) -> String {
    let why = match bar {
        Bar::Unknown => "is no approval that this key can use".to_owned(),
        Bar::Pending => "is not decided yet".to_owned(),
        Bar::Denied { reason: Some(reason) } => format!("was denied: {reason}"),
        Bar::Denied { reason: None } => "was denied".to_owned(),
        Bar::Expired => "has expired".to_owned(),
        Bar::UsedUp => "is used up".to_owned(),
        Bar::OverBudget { left } => format!("has {left} USD left, and this call may cost more"),
        Bar::OtherKey => "was given to another key".to_owned(),
        Bar::OtherTeam => "was given to another team".to_owned(),
        Bar::OtherModel => "is for another model".to_owned(),
        Bar::OtherRequirement => "is for nothing that this call needs".to_owned(),
    };
    format!("{id} {why}.")
}

/// Refuses what needs an approval where none can be shown.
pub fn none_needed<Request>(permit: &Permit<Request>, what: &str) -> Result<(), Refusal> {
    if permit.approvals().is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = permit.approvals().iter().map(|it| it.name.as_str()).collect();
    let reason = format!(
        "This needs an approval ({}), and {what} cannot carry one: send it as a call of its own.",
        names.join(", ")
    );
    Err(Refusal::Denied { code: "approval_required", reasons: vec![reason] })
}

/// The call did not happen: its uses are given back.
pub async fn give_back(app: &Arc<App>, case: &mut Case) {
    let grants = std::mem::take(&mut case.grants);
    written(app, case, grants, None).await;
}

/// The call has cost so much: its uses are corrected to that.
pub async fn settled(app: &Arc<App>, case: &mut Case, price: Option<Money>) {
    let grants = std::mem::take(&mut case.grants);
    // What it cost is not known yet: it goes on counting with the most that it can have.
    if price.is_some() {
        written(app, case, grants, price).await;
    }
}

/// Tried until it is durable. The answer waits for it a little, and never for ever.
async fn written(app: &Arc<App>, case: &Case, grants: Vec<Id<Approval>>, price: Option<Money>) {
    if grants.is_empty() {
        return;
    }
    let (keeper, call) = (Arc::clone(app), case.id);
    let done = app.tasks.spawn(async move {
        let approvals = keeper.ledger.approvals();
        for attempt in 1..=TRIES {
            let done = match price {
                None => approvals.give_back(call, &grants).await,
                Some(price) => approvals.cost(call, &grants, price).await,
            };
            let Err(error) = done else { return };
            tracing::error!(%error, %call, attempt, "what an approval was used for could not be written down");
            tokio::time::sleep(PATIENCE).await;
        }
    });
    if tokio::time::timeout(PATIENCE, done).await.is_err() {
        tracing::warn!(%call, "what an approval was used for is written down late");
    }
}

impl Quote {
    /// The most that the call may cost, to whichever target it goes. An answer that is at hand costs nothing.
    fn most(&self) -> Money {
        if self.stored.is_some() {
            return Money::ZERO;
        }
        let worst = self.offers.iter().map(|it| it.cover.amount(it.cover.whole()).unwrap_or(Money::MAX)).max();
        worst.unwrap_or(self.amount).max(self.amount)
    }
}

impl Unapproved {
    /// The ids to show next time, as the header has them.
    pub fn header(&self) -> Option<String> {
        match &self.next {
            Next::Wait { ids, .. } => Some(ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")),
            Next::Denied(id) => Some(id.to_string()),
            Next::Nothing(_) => None,
        }
    }

    /// What a program can read of it.
    pub fn object(&self) -> serde_json::Value {
        let (state, until) = match &self.next {
            Next::Wait { until, .. } => (Some("pending"), Some(until)),
            Next::Denied(_) => (Some("denied"), None),
            Next::Nothing(_) => (None, None),
        };
        serde_json::json!({
            "id": self.header(), "state": state, "expires_at": until, "requirements": self.requirements,
        })
    }
}

impl std::fmt::Display for Unapproved {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("This call needs an approval: ")?;
        for (n, it) in self.requirements.iter().enumerate() {
            write!(f, "{}{} ({})", if n > 0 { ", " } else { "" }, it.name, it.reason)?;
        }
        f.write_str(".")?;
        for why in &self.why_not {
            write!(f, " {why}")?;
        }
        match &self.next {
            Next::Wait { until, .. } => {
                let ids = self.header().unwrap_or_default();
                write!(
                    f,
                    " It was asked for, and waits until {until}: once it is approved, send the call again with the header '{HEADER}: {ids}'."
                )
            }
            Next::Denied(_) => write!(f, " To ask anew, send the call without the header '{HEADER}'."),
            Next::Nothing(why) => write!(f, " {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn id(n: u128) -> Id<Approval> {
        Id::from_uuid(uuid::Uuid::from_u128(n))
    }

    #[test]
    fn ids_are_read_from_one_header_or_several_and_nonsense_is_known_as_such() {
        let (one, two) = (id(1), id(2));
        for (values, ids, nonsense) in [
            (vec![], vec![], false),
            (vec![one.to_string()], vec![one], false),
            (vec![format!("{one}, {two}")], vec![one, two], false),
            (vec![one.to_string(), two.to_string()], vec![one, two], false),
            (vec![format!(" {two} ,, {one},{two}")], vec![two, one], false),
            (vec![String::new()], vec![], false),
            (vec!["please".to_owned()], vec![], true),
            (vec![format!("{one};{two}")], vec![], true),
            (vec![format!("{one},wal_00000000000000000000000000000001")], vec![one], true),
            (vec![one.to_string().to_uppercase()], vec![], true),
        ] {
            let mut headers = HeaderMap::new();
            for value in &values {
                headers.append(HEADER, HeaderValue::from_str(value).expect("a header"));
            }
            assert_eq!(shown(&headers), Shown { ids, nonsense }, "{values:?}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, HeaderValue::from_bytes(b"\xff").expect("bytes"));
        assert!(shown(&headers).nonsense);
        let many: Vec<String> = (0..1_000).map(|n| id(n).to_string()).collect();
        headers.insert(HEADER, HeaderValue::from_str(&many.join(",")).expect("a header"));
        let many = shown(&headers);
        assert!(many.ids.len() == MOST_SHOWN && many.nonsense, "so many are read and no more");
    }

    #[test]
    fn a_refusal_says_what_is_wanted_why_and_what_to_do() {
        let requirements = vec![Requirement { name: "frontier".into(), reason: "big models are dear".into() }];
        let until = Timestamp::from_micros(1_700_000_000_000_000);
        let why_not = vec![told(id(7), &Bar::UsedUp)];
        let waits = Unapproved { requirements, why_not, next: Next::Wait { ids: vec![id(1), id(2)], until } };
        let text = waits.to_string();
        for word in
            ["frontier (big models are dear)", "is used up", &format!("{HEADER}: {},{}", id(1), id(2)), "2023-11-14"]
        {
            assert!(text.contains(word), "{word} in {text}");
        }
        assert_eq!(waits.object()["requirements"][0]["name"], "frontier");
        let denied = Unapproved { next: Next::Denied(id(3)), ..waits.clone() };
        assert!(denied.to_string().contains("without the header"), "{denied}");
        assert_eq!(denied.object()["state"], "denied");
        let nothing = Unapproved { next: Next::Nothing("No more."), ..waits };
        assert_eq!((nothing.header(), nothing.object()["id"].is_null()), (None, true));
    }

    #[test]
    fn a_name_that_reads_as_a_pattern_is_granted_to_nobody() {
        for (model, yes) in
            [("gpt-4o", true), ("local/any", true), ("local/*", false), ("a\nb", false), (&"x".repeat(257), false)]
        {
            assert_eq!(is_nameable(model), yes, "{model}");
        }
    }
}
