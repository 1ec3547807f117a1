//! How many tokens a call would have: asked of the provider where it counts for nothing, else counted here, and said so.
//!
//! It goes the way of a call as far as a call leaves the house: a valid key, its rate, the policy's permit, what must be redacted.
//! Nothing is generated, so nothing is held, nothing is billed, and there is no receipt; a refusal is written down like any other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use providers::ModelRequest;
use serde_json::json;

use crate::app::App;
use crate::approvals::none_needed;
use crate::authenticate::authenticate;
use crate::case::{Call, Case};
use crate::close;
use crate::parse::{on_this_thread_if_small, parse};
use crate::permit::permit;
use crate::refusal::Refusal;
use crate::reply::{Answered, Head, Reply};
use crate::scan::scan;
use crate::telemetry::Step;

/// A provider that takes longer to count is not waited for: our own count is at hand.
const PATIENCE: Duration = Duration::from_secs(10);

/// Tokens, and whether it was we who counted them.
struct Counted {
    tokens: u64,
    estimated: bool,
}

/// Takes a question from its head to its answer.
pub async fn answer(app: &Arc<App>, mut call: Call, mut case: Case) -> Answered {
    match count(app, &mut call, &mut case).await {
        Ok(counted) => {
            app.decisions.take(&mut case, &app.ledger);
            app.telemetry.closed(&case, "counted");
            let body = Bytes::from(json!({"input_tokens": counted.tokens}).to_string());
            let head = Head::of(&case, None);
            let head = if counted.estimated { head.with("x-alfred-estimated", "true") } else { head };
            Answered { head, outcome: Ok(Reply::Whole(body, None)) }
        }
        Err(refusal) => {
            case.marks.stop();
            close::refused(app, case, refusal).await
        }
    }
}

async fn count(app: &Arc<App>, call: &mut Call, case: &mut Case) -> Result<Counted, Refusal> {
    let snapshot = app.snapshot()?;
    case.enter(Step::Authenticate);
    let caller = case.called_by(authenticate(app, &snapshot, &call.presented)?);
    case.enter(Step::Limits);
    app.limits.question(&caller, case).await?;
    // What costs nothing needs no protection against being asked twice.
    call.idempotency_key = None;
    case.enter(Step::Parse);
    let asked = parse(app, call, case).await?;
    case.enter(Step::Safety);
    let found = scan(&app.scanner, &asked);
    let health = app.health.view(app.millis());
    case.left = app.headroom.left(app, &snapshot, &caller).await;
    case.enter(Step::Policy);
    let cleared = on_this_thread_if_small(asked.body().len(), || {
        let permit = permit(&snapshot, &caller, &asked, &found, &health, case)?;
        none_needed(&permit, "a count of tokens")?;
        permit.apply(&asked, &found, case)
    })?;
    let target = cleared.targets.first().cloned();
    let target = target.ok_or_else(|| Refusal::UnknownModel { model: asked.model().to_owned() })?;
    case.target = Some(Arc::clone(&target));
    case.enter(Step::Forward);
    let request: &ModelRequest = &cleared.request;
    if health.healthy(&target.name) {
        case.tried = 1;
        let asked_at = std::time::Instant::now();
        let told = tokio::time::timeout(PATIENCE, app.outbound.count_input(&target, request)).await;
        case.upstream = asked_at.elapsed();
        match told {
            Ok(Ok(Some(tokens))) => return Ok(Counted { tokens, estimated: false }),
            Ok(Ok(None)) => case.tried = 0,
            // What it cannot be asked, and what it would not say, we say.
            Ok(Err(error)) => tracing::debug!(class = error.class.as_str(), "a provider did not count"),
            Err(_) => tracing::debug!("a provider did not count in time"),
        }
    }
    let tokens = on_this_thread_if_small(request.body().len(), || target.count_input(request));
    Ok(Counted { tokens, estimated: true })
}
