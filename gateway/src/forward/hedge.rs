//! A second attempt beside a slow first one: the first content wins, the other is let go. Only where the hold covers either as it is,
//! and only so often as the configuration allows.

use std::pin::pin;
use std::time::{Duration, Instant};

use ledger::{AttemptRecord, Hold, Money};
use providers::{After, Hedge, ModelRequest, Walk};

use super::attempt::{Attempt, Tried, ask};
use super::covered;
use crate::app::App;
use crate::case::{Case, millis};
use crate::quote::Offer;

/// How one or two attempts went.
pub(super) struct Raced<'a> {
    pub failed: Vec<Tried<'a>>,
    /// Let go, because the other was first.
    pub lost: Option<Lost<'a>>,
    pub answered: Option<Tried<'a>>,
}

/// An attempt that was let go.
pub(super) struct Lost<'a> {
    offer: &'a Offer,
    from: Instant,
    took: Duration,
}

impl<'a> Raced<'a> {
    pub(super) fn of(tried: Tried<'a>) -> Raced<'a> {
        match tried.is_answer() {
            true => Raced { failed: Vec::new(), lost: None, answered: Some(tried) },
            false => Raced { failed: vec![tried], lost: None, answered: None },
        }
    }

    fn after(failed: Tried<'a>, tried: Tried<'a>) -> Raced<'a> {
        let mut raced = Raced::of(tried);
        raced.failed.insert(0, failed);
        raced
    }

    fn won(tried: Tried<'a>, offer: &'a Offer, from: Instant) -> Raced<'a> {
        Raced { lost: Some(Lost { offer, from, took: from.elapsed() }), ..Raced::of(tried) }
    }
}

/// Asks one target, and after a while another.
pub(super) async fn race<'a>(
    app: &App,
    hedge: Hedge,
    (first, request): (Attempt<'a>, &ModelRequest),
    walk: &mut Walk,
    (offers, output, hold): (&'a [Offer], u64, &Hold),
    case: &Case,
) -> Raced<'a> {
    let (one, from, until) = (first.offer, Instant::now(), first.left);
    let name = &one.target.name;
    app.health.may_hedge(name, hedge.most_percent, app.millis());
    let after = match hedge.after {
        After::P95 => app.health.p95(name, request.stream()),
        After::Millis(after) => Some(Duration::from_millis(after)),
    };
    let mut first = pin!(ask(app, first, request));
    let Some(after) = after else { return Raced::of(first.await) };
    tokio::select! {
        biased;
        tried = &mut first => return Raced::of(tried),
        () = tokio::time::sleep(after) => {}
    }
    let affordable = |target: &str| {
        let offer = offers.iter().find(|offer| offer.target.name == target)?;
        let needed = offer.cover.amount(output.min(offer.cover.whole()))?;
        (needed <= hold.amount()).then_some(offer)
    };
    let ahead = walk.ahead().and_then(|target| affordable(&target.name));
    let second = ahead.filter(|_| app.health.hedge(name, app.millis())).and_then(|offer| {
        let asked = walk.beside(&one.target, &app.health, app.millis())?;
        let (cover, held) = (covered(&offer.cover, hold.amount()), hold.amount());
        let left = until.saturating_sub(after);
        Some(Attempt::new(app, case, (offer, cover, asked.flight), held, left))
    });
    let Some(second) = second else { return Raced::of(first.await) };
    let (other, since) = (second.offer, Instant::now());
    let mut second = pin!(ask(app, second, request));
    tokio::select! {
        biased;
        tried = &mut first => match tried.is_answer() {
            true => Raced::won(tried, other, since),
            false => Raced::after(tried, second.await),
        },
        tried = &mut second => match tried.is_answer() {
            true => Raced::won(tried, one, from),
            false => Raced::after(tried, first.await),
        },
    }
}

/// The one that was let go is a line of the receipt. Its prompt was read and is billed, whatever its provider makes of being let go:
/// that is the platform's cost, and no part of the price.
pub(super) fn note_lost(app: &App, case: &mut Case, request: &ModelRequest, lost: Lost<'_>) {
    let Lost { offer, from, took } = lost;
    let slow = offer.target.slow.is_some_and(|slow| took > slow);
    app.health.outpaced(&offer.target.name, request.stream(), took, slow, app.millis());
    case.attempted(&offer.target, (from, took), "outpaced", None);
    let usage = ledger::Usage { input: offer.target.count_input(request), estimated: true, ..ledger::Usage::default() };
    let spent = offer.rates.exact(&usage);
    case.tried += 1;
    case.failed_cost = case.failed_cost.plus(spent);
    case.attempts.push(AttemptRecord {
        target: offer.target.name.clone(),
        outcome: "outpaced".to_owned(),
        status: None,
        latency_ms: millis(took),
        cost: spent.rounded_up().unwrap_or(Money::ZERO),
    });
}
