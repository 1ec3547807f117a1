//! Asks the targets in turn until one begins to answer: here is the way from one to the next, and what is held for each. Once a content
//! byte is at hand there is no other target.

mod attempt;
mod hedge;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ledger::{AttemptRecord, Hold, Markup, Money, OverLimit, Rates};
use providers::{Answer, AnswerEvent, Asked, Class, InFlight, ModelRequest, Move, ProviderError, Target, Walk};

use crate::app::App;
use crate::case::Case;
use crate::cover::Cover;
use crate::meter::Meter;
use crate::quote::{Offer, Quote, seed, too_much};
use crate::recall::place;
use crate::refusal::{Exhausted, Refusal};
use attempt::{Attempt, ask, note};
use hedge::Raced;

/// What a refusal says of when to come again, where nobody has said it.
const USUAL_WAIT: Duration = Duration::from_secs(5);
/// And never longer than a breaker stays open.
const LONGEST_WAIT: Duration = Duration::from_secs(120);

/// A provider that has begun to answer.
pub struct Upstream {
    pub target: Arc<Target>,
    pub rates: Arc<Rates>,
    pub price_version: Arc<str>,
    /// As it was when the call was priced.
    pub markup: Markup,
    pub bills_on: bool,
    /// What a hold covers of this answer, under the cap that was sent.
    pub cover: Cover,
    pub request: ModelRequest,
    /// What was read already, to be relayed first.
    pub begun: VecDeque<AnswerEvent>,
    pub answer: Answer,
    pub meter: Meter,
    pub asked_at: Instant,
    /// Where the finished answer may be kept, and for how long.
    pub keep: Option<Keep>,
    /// Counts the target as busy until the answer is over.
    #[expect(dead_code, reason = "it is there to be dropped with the rest")]
    pub flight: InFlight,
}

/// The cache entry that a finished answer becomes.
pub struct Keep {
    pub key: crate::cache::PartitionKey,
    pub ttl: Duration,
}

impl Upstream {
    /// What was used, all told. `complete`: the provider has said its last word.
    pub fn usage(&mut self, complete: bool) -> ledger::Usage {
        self.meter.usage(&self.target, &self.request, complete)
    }
}

/// Walks the plan. A target is asked only when the hold covers what was estimated, at its rates: one hold covers all attempts.
pub async fn forward(app: &Arc<App>, quote: Quote, hold: &mut Hold, case: &mut Case) -> Result<Upstream, Refusal> {
    let Quote { permit, offers, plan, output, retries, hedge, .. } = quote;
    for aside in &plan.set_aside {
        case.attempts.push(skipped(&aside.target, aside.why.as_str()));
    }
    let mut soonest =
        plan.set_aside.iter().filter_map(|it| app.health.closed_until(&it.target.name, app.millis())).min();
    let mut walk = Walk::new(plan, retries, seed(case));
    let mut last: Option<ProviderError> = None;
    loop {
        let Asked { target, flight, last: is_last } = match walk.step(&app.health, app.millis()) {
            Move::Ask(asked) => asked,
            Move::Skip(target, why) => {
                let until = app.health.closed_until(&target.name, app.millis());
                soonest = soonest.into_iter().chain(until).min();
                case.attempts.push(skipped(&target, why));
                continue;
            }
            Move::Wait(wait) => {
                pause(app, wait, case).await;
                if app.stop_now.is_cancelled() {
                    break;
                }
                continue;
            }
            Move::Over => break,
        };
        let Some(offer) = offers.iter().find(|offer| offer.target.name == target.name) else { continue };
        // Where a provider has failed already, that is what the caller is told, and not what a dearer one would have cost.
        let ends_here = is_last && last.is_none();
        let cover = match afford(app, offer, output, hold, ends_here).await {
            Ok(cover) => cover,
            // It may have been let through as a probe; let go, the next call probes instead.
            Err(refusal) => {
                let why = if matches!(refusal, Refusal::OverBudget(_)) { "over_budget" } else { refusal.code() };
                case.attempts.push(skipped(&target, why));
                if ends_here {
                    return Err(refusal);
                }
                continue;
            }
        };
        let from = Instant::now();
        let (held, left_now) = (hold.amount(), left(case));
        let first = Attempt::new(app, case, (offer, cover, flight), held, left_now);
        let raced = match hedge {
            None => Raced::of(ask(app, first, &permit.request).await),
            Some(hedge) => {
                hedge::race(app, hedge, (first, &permit.request), &mut walk, (&offers, output, hold), case).await
            }
        };
        case.upstream += from.elapsed();
        let Raced { failed, lost, answered } = raced;
        let mut over = None;
        for tried in failed {
            let name = Arc::clone(&tried.offer.target);
            let Err(error) = note(app, case, &permit.request, tried) else { continue };
            let more = walk.failed(&name, &error, app.millis(), left(case));
            let is_over = error.retry == providers::Retry::Never && !more;
            *(if is_over { &mut over } else { &mut last }) = Some(error);
        }
        // Where one of two says that nobody will answer, the other is on the receipt all the same.
        if over.is_some() && answered.is_none() {
            return Err(refusal(over, case));
        }
        if let Some(lost) = lost {
            hedge::note_lost(app, case, &permit.request, lost);
        }
        if let Some(tried) = answered
            && let Ok(mut upstream) = note(app, case, &permit.request, tried)
        {
            case.target = Some(Arc::clone(&upstream.target));
            upstream.keep = place(&permit, case).filter(|_| permit.may_store());
            return Ok(upstream);
        }
        if left(case).is_zero() {
            break;
        }
    }
    Err(match (refusal(last, case), soonest) {
        // Nobody was asked: the first who may be is known.
        (Refusal::Exhausted { kind, attempts, retry_after: Some(_) }, Some(until)) if case.tried == 0 => {
            let wait = Duration::from_millis(until.saturating_sub(app.millis())).max(Duration::from_secs(1));
            Refusal::Exhausted { kind, attempts, retry_after: Some(wait) }
        }
        (refusal, _) => refusal,
    })
}

/// What is left of the call's own time.
fn left(case: &Case) -> Duration {
    case.total.saturating_sub(case.started.elapsed())
}

/// Waits for a target that may be well again soon. The walk never asks for more than the call has left.
async fn pause(app: &App, wait: Duration, case: &mut Case) {
    let from = Instant::now();
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = app.stop_now.cancelled() => {}
    }
    case.upstream += from.elapsed();
}

/// Lets the hold cover a target, if it does not yet. Where it cannot grow later, what it covers becomes the cap: so the worst case is
/// asked first, then a tenth of what turned out to be free, and only then no more than is likely needed.
async fn afford(app: &App, offer: &Offer, output: u64, hold: &mut Hold, ends_here: bool) -> Result<Cover, Refusal> {
    let cover = &offer.cover;
    let needed = cover.amount(output.min(cover.whole())).ok_or_else(too_much)?;
    if !cover.elastic()
        && let Some(worst) = cover.amount(cover.whole())
        && let Err(Refusal::OverBudget(over)) = app.cover(hold, worst, true).await
    {
        let tenth = free_beside(hold, &over).nanos() / 10;
        if tenth > needed.nanos() {
            // Refused after all, the call still fits as below.
            let _ = app.cover(hold, Money::from_nanos(tenth).min(worst), true).await;
        }
    }
    // Only a refusal that ends the call is written down.
    app.cover(hold, needed, !ends_here).await?;
    Ok(covered(cover, hold.amount()))
}

/// What `held` covers there.
fn covered(cover: &Cover, held: Money) -> Cover {
    if cover.elastic() { cover.clone() } else { cover.capped_by(held) }
}

/// What would be free in the wallet that said no, were it not for this hold.
fn free_beside(hold: &Hold, over: &OverLimit) -> Money {
    let left = over.limit.minus(over.spent).and_then(|left| left.minus(over.held));
    left.and_then(|left| left.plus(hold.amount())).unwrap_or(Money::ZERO).max(Money::ZERO)
}

/// A target that was not asked, and why.
fn skipped(target: &Target, why: &str) -> AttemptRecord {
    AttemptRecord {
        target: target.name.clone(),
        outcome: why.to_owned(),
        status: None,
        latency_ms: 0,
        cost: Money::ZERO,
    }
}

pub fn refusal(last: Option<ProviderError>, case: &Case) -> Refusal {
    let attempts = case.attempts.iter().map(|attempt| format!("{} ({})", attempt.target, attempt.outcome)).collect();
    let Some(error) = last else {
        return Refusal::Exhausted { kind: Exhausted::Unavailable, attempts, retry_after: Some(USUAL_WAIT) };
    };
    let kind = match error.class {
        Class::Rejected => {
            let (status, code) = (error.status.unwrap_or(400), error.code);
            return Refusal::Rejected { status, code, message: error.message };
        }
        Class::Unsupported => {
            return Refusal::Unsupported { param: error.param, message: error.message };
        }
        Class::Timeout => Exhausted::Timeout,
        Class::Connect | Class::RateLimited => Exhausted::Unavailable,
        Class::Server | Class::Misconfigured | Class::Broken | Class::TooLarge => Exhausted::Error,
    };
    // As long as the target rests here: a provider that says a day is asked again sooner.
    let retry_after = error.retry_after.map(|it| it.min(LONGEST_WAIT));
    Refusal::Exhausted { kind, attempts, retry_after }
}
