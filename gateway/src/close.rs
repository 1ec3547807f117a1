//! The end of a call: money captured or given back, and written down, exactly once.

use std::sync::Arc;
use std::time::Duration;

use ledger::{Charge, Hold, Markup, Money, Receipt, RefusedCall, Release};
use providers::Usage;

use crate::app::App;
use crate::approvals;
use crate::cache::Stored;
use crate::case::{Case, Ending};
use crate::forward::Upstream;
use crate::refusal::Refusal;
use crate::reply::{Answered, Head, Reply};
use crate::telemetry::{Answer, Step};

/// An answer waits so long for its settlement; then it goes without a cost, and the ledger keeps trying.
const PATIENCE: Duration = Duration::from_secs(2);

/// The longest name of a model that a receipt takes from a provider.
const LONGEST_NAME: usize = 128;

/// What is known of a settlement when the answer leaves.
pub struct Settled {
    receipt: Option<Receipt>,
    /// What was used, for an answer whose provider sent no usage.
    pub counted: Usage,
}

impl Settled {
    /// What the tenant was charged, if the ledger has said so in time.
    pub fn price(&self) -> Option<Money> {
        self.receipt.as_ref().map(|receipt| receipt.price)
    }

    pub fn cost_usd(&self) -> Option<String> {
        self.price().map(|price| price.to_string())
    }
}

/// Captures what the call used and gives back the rest.
/// `complete`: the provider has said its last word.
pub async fn settle(
    app: &Arc<App>,
    upstream: &mut Upstream,
    hold: Hold,
    case: &mut Case,
    ending: Ending,
    complete: bool,
) -> Settled {
    case.enter(Step::Settle);
    let billed = upstream.usage(complete);
    let usage = match ending {
        Ending::OutOfMoney => charged_of_cut(upstream, billed, &hold),
        // Whatever was not cut is charged as it is: how far that goes is the ledger's to say, and the rest can be seen as overrun.
        _ => billed,
    };
    let answered = upstream.rates.exact(&billed);
    let price = upstream.rates.exact(&usage).with_markup(upstream.markup).rounded_up();
    let cost = answered.plus(case.failed_cost).rounded_up();
    if let Some(attempt) = case.attempts.last_mut() {
        attempt.cost = answered.rounded_up().unwrap_or(Money::MAX);
        attempt.latency_ms = crate::case::millis(upstream.asked_at.elapsed());
    }
    if let Some(ticket) = &mut case.ticket {
        ticket.used(usage.all_input().saturating_add(usage.all_output()), app.clock().now());
    }
    if let Some(caller) = case.caller.as_ref().filter(|_| complete) {
        app.estimates.get().learn(caller.credential.key, &upstream.target.name, usage.all_output());
    }
    let mut record = case.record(ending, None);
    record.model_version = upstream.answer.model().filter(|it| is_a_name(it)).map(str::to_owned);
    record.usage = usage;
    record.counted = Some(billed).filter(|billed| *billed != usage);
    record.price_version = upstream.price_version.to_string();
    record.markup = Some(upstream.markup).filter(|it| *it != Markup::NONE);
    let error = (!complete).then(|| ending.as_str());
    app.telemetry.used(case.kind, &upstream.target, &usage, upstream.asked_at.elapsed(), error);
    case.marks.answer = Some(Answer { usage, model: record.model_version.clone(), price: None });
    // A sum beyond what can be told is charged as far as hold and room go: the ledger never books above that.
    let charge = Charge { cost: cost.unwrap_or(Money::MAX), price: price.unwrap_or(Money::MAX), record };
    ledger::failpoint("call.ended");
    let pending = app.ledger.settle(hold, charge);
    ledger::failpoint("call.settling");
    let receipt = in_time(app, case, pending).await;
    ledger::failpoint("call.settled");
    approvals::settled(app, case, receipt.as_ref().map(|receipt| receipt.price)).await;
    if let (Some(answer), Some(receipt)) = (&mut case.marks.answer, &receipt) {
        answer.price = Some(receipt.price);
    }
    app.telemetry.closed(case, ending.as_str());
    case.resolved = true;
    let counted = told(&usage);
    Settled { receipt, counted }
}

/// Whether a provider's word for its model is a name, and no text that a receipt should not hold.
fn is_a_name(word: &str) -> bool {
    word.len() <= LONGEST_NAME && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/@+".contains(&b))
}

/// What was used, as the answer tells it.
fn told(usage: &ledger::Usage) -> Usage {
    Usage {
        input: usage.input,
        cached_input: usage.cached_input,
        cache_write: usage.cache_write,
        cache_write_1h: usage.cache_write_1h,
        audio_input: usage.audio_input,
        image_input: usage.image_input,
        output: usage.all_output(),
        reasoning: usage.reasoning,
        audio_output: usage.audio_output,
        image_output: usage.image_output,
        searches: usage.searches,
        images: usage.images,
        seconds: usage.seconds,
        characters: usage.characters,
        estimated: usage.estimated,
    }
}

/// What the tenant is charged for of an answer that was ended for want of money. Of a count of ours nothing that did not go out, nor
/// what it is above the hold: it is good to a hundredth, and so far an answer may go on when there is no more money.
fn charged_of_cut(upstream: &Upstream, billed: ledger::Usage, hold: &Hold) -> ledger::Usage {
    if !billed.estimated {
        return billed;
    }
    let held = if upstream.cover.is_whole(hold.amount()) { u64::MAX } else { upstream.cover.tokens(hold.amount()) };
    let most = upstream.meter.relayed().unwrap_or(u64::MAX).min(held);
    let (mut usage, mut over) = (billed, billed.all_output().saturating_sub(most));
    for class in [&mut usage.output, &mut usage.audio_output, &mut usage.image_output, &mut usage.reasoning] {
        let less = over.min(*class);
        (*class, over) = (*class - less, over - less);
    }
    usage
}

/// Waits for the ledger, but not for ever. The ledger owns the settlement already and makes it durable on its own.
pub async fn in_time(app: &App, case: &Case, pending: ledger::Pending<Receipt>) -> Option<Receipt> {
    let began = std::time::Instant::now();
    let resolved = tokio::time::timeout(PATIENCE, pending).await;
    if let Some(caller) = &case.caller {
        app.patience.freed(caller.credential.org);
    }
    match resolved {
        Ok(Ok(receipt)) => {
            app.telemetry.receipt_lag(began.elapsed());
            Some(receipt)
        }
        Ok(Err(error)) => {
            tracing::error!(%error, "a settlement failed");
            None
        }
        Err(_) => {
            tracing::warn!("a settlement is late; the answer goes without its cost");
            app.telemetry.late_settlement();
            None
        }
    }
}

/// Gives the hold back when no target answered. What failed attempts cost is the platform's.
pub async fn release(app: &Arc<App>, hold: Hold, case: &mut Case, refusal: &Refusal) {
    let ending = match refusal {
        Refusal::OverBudget(_) | Refusal::Suspended { .. } | Refusal::Unapproved(_) => Ending::Refused,
        _ => Ending::ProviderFailed,
    };
    let record = case.record(ending, Some(refusal.code()));
    let cost = case.failed_cost.rounded_up().unwrap_or(Money::MAX);
    let why = Release { reason: refusal.code().to_owned(), cost, record };
    case.resolved = true;
    ledger::failpoint("call.failed");
    if in_time(app, case, app.ledger.release(hold, why)).await.is_none() {
        tracing::warn!(call = %case.id, "a release is late");
    }
    approvals::give_back(app, case).await;
    ledger::failpoint("call.released");
}

/// A cached answer: nothing was held and nothing is charged, but it is booked like any call.
pub async fn cached(app: &Arc<App>, stored: Arc<Stored>, hold: Hold, mut case: Case) -> Answered {
    case.enter(Step::Settle);
    let mut record = case.record(Ending::Cached, None);
    record.target = Some(stored.target.clone());
    let charge = Charge { cost: case.failed_cost.rounded_up().unwrap_or(Money::ZERO), price: Money::ZERO, record };
    // Durable before the answer: a hit that cannot be booked is not given.
    let receipt = in_time(app, &case, app.ledger.settle(hold, charge)).await;
    case.resolved = true;
    if receipt.is_none() {
        approvals::give_back(app, &mut case).await;
        return refuse(app, case, Refusal::LedgerUnavailable);
    }
    app.telemetry.closed(&case, Ending::Cached.as_str());
    if case.claim.is_some() {
        // A repetition is told what this call was charged, not what the first one was.
        app.replays.store(case.id, Arc::new(Stored { price: Some(Money::ZERO), ..Stored::clone(&stored) }));
    }
    let free = Some(Money::ZERO);
    Answered { head: Head::of_stored(&case, &stored, free), outcome: Ok(Reply::stored(&stored, free)) }
}

/// The first answer again: no new call, nothing to book.
pub fn replayed(app: &Arc<App>, stored: &Arc<Stored>, case: &Case) -> Answered {
    app.telemetry.closed(case, Ending::Replayed.as_str());
    Answered { head: Head::of_stored(case, stored, stored.price), outcome: Ok(Reply::stored(stored, stored.price)) }
}

fn refuse(app: &App, mut case: Case, refusal: Refusal) -> Answered {
    case.marks.status = Some(refusal.status().as_u16());
    app.telemetry.closed(&case, refusal.code());
    Answered { head: Head::of(&case, None), outcome: Err(refusal) }
}

/// Writes a refusal down, as its kind demands. What cannot be written down is answered as such.
pub async fn refused(app: &Arc<App>, mut case: Case, refusal: Refusal) -> Answered {
    case.enter(Step::Settle);
    app.decisions.take(&mut case, &app.ledger);
    let refusal = match weight(&refusal) {
        _ if case.resolved => refusal,
        Weight::Nothing => refusal,
        Weight::Counted => {
            app.limits.refused(&case);
            app.limits.count(case.caller.as_ref(), case.address, refusal.code(), case.at);
            refusal
        }
        Weight::Blocked => {
            app.limits.refused(&case);
            written(app, &mut case, refusal).await
        }
    };
    refuse(app, case, refusal)
}

/// Writes an entry and a receipt for a call that holds nothing. What cannot be written down is answered as such.
pub async fn written(app: &App, case: &mut Case, refusal: Refusal) -> Refusal {
    match block(app, case, &refusal).await {
        Ok(()) => refusal,
        Err(error) => {
            tracing::error!(%error, "a refusal could not be written down");
            Refusal::LedgerUnavailable
        }
    }
}

async fn block(app: &App, case: &mut Case, refusal: &Refusal) -> Result<(), ledger::StoreError> {
    let Some(caller) = &case.caller else { return Ok(()) };
    let credential = Arc::clone(&caller.credential);
    case.resolved = true;
    let ending = if matches!(refusal, Refusal::ClientLeft) { Ending::ClientLeft } else { Ending::Refused };
    app.ledger
        .refuse(RefusedCall {
            call: case.id,
            org: credential.org,
            key: credential.key,
            wallet: credential.wallet,
            code: refusal.code().to_owned(),
            record: case.record(ending, Some(refusal.code())),
        })
        .await
}

/// How much paper a refusal earns.
enum Weight {
    /// The ledger wrote its entry already, or cannot write.
    Nothing,
    /// One counted entry a minute and key or address: what anybody outside can cause must not fill the log.
    Counted,
    /// A BLOCK entry of its own: a guard decided, or nobody was left to decide for.
    Blocked,
}

fn weight(refusal: &Refusal) -> Weight {
    match refusal {
        Refusal::InLine { refusal, .. } => weight(refusal),
        Refusal::Content { .. }
        | Refusal::Denied { .. }
        | Refusal::Unapproved(_)
        | Refusal::Unpriced { .. }
        | Refusal::ClientLeft => Weight::Blocked,
        Refusal::OverBudget(_)
        | Refusal::Suspended { .. }
        | Refusal::Closed { .. }
        | Refusal::WantsLess
        | Refusal::LedgerUnavailable
        | Refusal::Overloaded
        | Refusal::Exhausted { .. }
        | Refusal::Rejected { .. }
        | Refusal::UnknownRoute
        | Refusal::NotStored
        | Refusal::WrongMethod
        | Refusal::Internal => Weight::Nothing,
        Refusal::NotFound { .. }
        | Refusal::BadRequest(_)
        | Refusal::TooLarge { .. }
        | Refusal::BodyStalled
        | Refusal::InvalidKey
        | Refusal::RateLimited { .. }
        | Refusal::UnknownModel { .. }
        | Refusal::Unsupported { .. }
        | Refusal::IdempotencyMismatch
        | Refusal::IdempotencyExpired
        | Refusal::IdempotencyInProgress => Weight::Counted,
    }
}
