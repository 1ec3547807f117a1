//! Asks the targets in turn until one begins to answer. Once a content byte is at hand there is no other target.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ledger::{AttemptRecord, Exact, Hold, Markup, Money, OverLimit, Rates};
use providers::{Answer, AnswerEvent, Class, ModelRequest, Outcome, ProviderError, Retry, Target};

use crate::app::App;
use crate::case::{Case, millis};
use crate::cover::Cover;
use crate::meter::Meter;
use crate::quote::{Offer, Quote, too_much};
use crate::recall::place;
use crate::refusal::{Exhausted, Refusal};

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

/// Walks the plan. A target is asked only when the hold covers what was estimated, at its rates.
pub async fn forward(app: &Arc<App>, quote: Quote, hold: &mut Hold, case: &mut Case) -> Result<Upstream, Refusal> {
    let Quote { permit, offers, plan, output, .. } = quote;
    for aside in &plan.set_aside {
        case.attempts.push(skipped(&aside.target, aside.why.as_str()));
    }
    let mut last: Option<ProviderError> = None;
    for (nth, target) in plan.targets.iter().enumerate() {
        let Some(offer) = offers.iter().find(|offer| offer.target.name == target.name) else { continue };
        let is_last = nth + 1 == plan.targets.len();
        let well = app.health.admit(&target.name, app.millis());
        if !well && !is_last {
            case.attempts.push(skipped(target, "unwell"));
            continue;
        }
        // Where a provider has failed already, that is what the caller is told, and not what a dearer one would have cost.
        let ends_here = is_last && last.is_none();
        let cover = match afford(app, offer, output, hold, ends_here).await {
            Ok(cover) => cover,
            Err(refusal) => {
                let why = if matches!(refusal, Refusal::OverBudget(_)) { "over_budget" } else { refusal.code() };
                case.attempts.push(skipped(target, why));
                if well {
                    // It may have been let through as a probe; the next call probes instead.
                    app.health.outcome(&target.name, Outcome::Neutral, app.millis());
                }
                if ends_here {
                    return Err(refusal);
                }
                continue;
            }
        };
        // One more try on the same target only where a pooled connection turned out to be dead: nothing was asked yet.
        for again in [false, true] {
            match attempt(app, offer, &cover, hold.amount(), &permit.request, case).await {
                Ok(mut upstream) => {
                    case.target = Some(Arc::clone(&upstream.target));
                    upstream.keep = place(&permit, case);
                    return Ok(upstream);
                }
                Err(error) => {
                    let retry = error.retry;
                    last = Some(error);
                    match retry {
                        Retry::Here if !again => {}
                        Retry::Here | Retry::Elsewhere => break,
                        Retry::Never => return Err(refusal(last, case)),
                    }
                }
            }
        }
        if case.started.elapsed() > app.deadlines.total() {
            break;
        }
    }
    Err(refusal(last, case))
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
    Ok(if cover.elastic() { cover.clone() } else { cover.capped_by(hold.amount()) })
}

/// What would be free in the wallet that said no, were it not for this hold.
fn free_beside(hold: &Hold, over: &OverLimit) -> Money {
    let left = over.limit.minus(over.spent).and_then(|left| left.minus(over.held));
    left.and_then(|left| left.plus(hold.amount())).unwrap_or(Money::ZERO).max(Money::ZERO)
}

/// Asks one target, and reads until the first content is at hand.
async fn attempt(
    app: &Arc<App>,
    offer: &Offer,
    cover: &Cover,
    held: Money,
    request: &ModelRequest,
    case: &mut Case,
) -> Result<Upstream, ProviderError> {
    let asked_at = Instant::now();
    let nth = case.marks.ask(&offer.target, case.started.elapsed());
    let told = app.telemetry.outgoing(case, nth, &offer.target);
    let traced = told.map(|(parent, state)| request.traced(parent, state));
    let asked = traced.as_ref().unwrap_or(request);
    let left = app.deadlines.total().saturating_sub(case.started.elapsed());
    let mut meter = Meter::default();
    let mut ours = false;
    let begun = tokio::select! {
        begun = begin(app, offer, cover, held, asked, &mut meter) => begun,
        () = tokio::time::sleep(left) => {
            ours = true;
            Err(ProviderError::new(Class::Timeout, "the call's total deadline passed"))
        }
        () = app.stop_now.cancelled() => {
            ours = true;
            Err(ProviderError { retry: Retry::Never, ..ProviderError::new(Class::Connect, "the gateway is shutting down") })
        }
    };
    let took = asked_at.elapsed();
    case.upstream += took;
    let (came_of_it, status) = match &begun {
        Ok((answer, _)) => ("answered", Some(answer.status())),
        Err(error) => (error.class.as_str(), error.status),
    };
    case.marks.asked(nth, came_of_it, status, case.started.elapsed());
    case.tried += 1;
    let outcome = match &begun {
        Ok(_) => Outcome::Good,
        // Our own haste says nothing about the target.
        Err(_) if ours => Outcome::Neutral,
        Err(error) => Outcome::from(error),
    };
    app.health.outcome(&offer.target.name, outcome, app.millis());
    let spent = match &begun {
        Err(_) if meter.is_reported() => offer.rates.exact(&meter.usage(&offer.target, request, false)),
        _ => Exact::ZERO,
    };
    case.failed_cost = case.failed_cost.plus(spent);
    case.attempts.push(AttemptRecord {
        target: offer.target.name.clone(),
        outcome: begun.as_ref().map_or_else(|error| error.class.as_str(), |_| "answered").to_owned(),
        status: begun.as_ref().map_or_else(|error| error.status, |(answer, _)| Some(answer.status())),
        latency_ms: millis(took),
        cost: spent.rounded_up().unwrap_or(Money::ZERO),
    });
    let (answer, begun) = begun.inspect_err(|error| {
        tracing::warn!(call = %case.id, target = %offer.target.name, class = error.class.as_str(), status = error.status, "an attempt failed");
    })?;
    Ok(Upstream {
        target: Arc::clone(&offer.target),
        rates: Arc::clone(&offer.rates),
        price_version: Arc::clone(&offer.price_version),
        markup: offer.markup,
        bills_on: offer.bills_on,
        cover: cover.clone(),
        request: request.clone(),
        begun,
        answer,
        meter,
        asked_at,
        keep: None,
    })
}

async fn begin(
    app: &App,
    offer: &Offer,
    cover: &Cover,
    held: Money,
    request: &ModelRequest,
    meter: &mut Meter,
) -> Result<(Answer, VecDeque<AnswerEvent>), ProviderError> {
    // A hold that is to grow must see the tokens come, whatever the caller wants to see.
    let gathers = !request.stream() && !cover.is_whole(held);
    let mut answer = match gathers {
        true => app.outbound.gather(&offer.target, request, cover.cap()).await?,
        false => app.outbound.send(&offer.target, request, cover.cap()).await?,
    };
    let mut begun = VecDeque::new();
    while let Some(event) = answer.next().await {
        let event = event?;
        if let AnswerEvent::Usage(usage) = &event {
            meter.billed(*usage);
        }
        let enough = match &event {
            AnswerEvent::Delta(delta) => delta.content,
            AnswerEvent::End(_) => true,
            AnswerEvent::Usage(_) => false,
        };
        begun.push_back(event);
        if enough {
            return Ok((answer, begun));
        }
    }
    Err(ProviderError::broken("the answer ended before it began"))
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
        return Refusal::Exhausted {
            kind: Exhausted::Unavailable,
            attempts,
            retry_after: Some(Duration::from_secs(5)),
        };
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
    Refusal::Exhausted { kind, attempts, retry_after: error.retry_after }
}
