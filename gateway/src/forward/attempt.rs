//! One request to one target: sent, read until the first content is at hand, and noted with what it cost.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ledger::{AttemptRecord, Exact, Money};
use providers::{Answer, AnswerEvent, Class, InFlight, ModelRequest, Outcome, ProviderError, Retry};

use super::Upstream;
use crate::app::App;
use crate::case::{Case, millis};
use crate::cover::Cover;
use crate::meter::Meter;
use crate::quote::Offer;

/// A request that may be sent.
pub(super) struct Attempt<'a> {
    pub offer: &'a Offer,
    pub cover: Cover,
    /// It was let through, and counts as under way.
    pub flight: InFlight,
    /// What is held when it is sent.
    pub held: Money,
    /// Until the call's own deadline.
    pub left: Duration,
    /// Its number among the call's marks.
    nth: usize,
    /// The request with what its provider is told of the trace.
    traced: Option<ModelRequest>,
}

impl<'a> Attempt<'a> {
    /// Marks that it is about to be sent.
    pub(super) fn new(
        app: &App,
        case: &mut Case,
        (offer, cover, flight): (&'a Offer, Cover, InFlight),
        held: Money,
        left: Duration,
        request: &ModelRequest,
    ) -> Attempt<'a> {
        let nth = case.marks.ask(&offer.target, case.started.elapsed());
        let told = app.telemetry.outgoing(case, nth, &offer.target);
        let traced = told.map(|(parent, state)| request.traced(parent, state));
        Attempt { offer, cover, flight, held, left, nth, traced }
    }

    pub(super) fn nth(&self) -> usize {
        self.nth
    }
}

/// A request that was answered, or was not.
pub(super) struct Tried<'a> {
    pub offer: &'a Offer,
    cover: Cover,
    flight: InFlight,
    begun: Result<(Answer, VecDeque<AnswerEvent>), ProviderError>,
    meter: Meter,
    asked_at: Instant,
    took: Duration,
    /// We ended it ourselves, which says nothing about the target.
    ours: bool,
    as_stream: bool,
    nth: usize,
}

impl Tried<'_> {
    pub(super) fn is_answer(&self) -> bool {
        self.begun.is_ok()
    }
}

/// Asks one target, and reads until the first content is at hand.
pub(super) async fn ask<'a>(app: &App, attempt: Attempt<'a>, request: &ModelRequest) -> Tried<'a> {
    let Attempt { offer, cover, flight, held, left, nth, traced } = attempt;
    let asked = traced.as_ref().unwrap_or(request);
    let asked_at = Instant::now();
    // A hold that is to grow must see the tokens come, whatever the caller wants to see.
    let gathers = !request.stream() && !cover.is_whole(held);
    let mut meter = Meter::default();
    let mut ours = false;
    let begun = tokio::select! {
        begun = begin(app, offer, &cover, gathers, asked, &mut meter) => begun,
        () = tokio::time::sleep(left) => {
            ours = true;
            Err(ProviderError::new(Class::Timeout, "the call's total deadline passed"))
        }
        () = app.stop_now.cancelled() => {
            ours = true;
            Err(ProviderError { retry: Retry::Never, ..ProviderError::new(Class::Connect, "the gateway is shutting down") })
        }
    };
    let as_stream = gathers || request.stream();
    Tried { offer, cover, flight, begun, meter, asked_at, took: asked_at.elapsed(), ours, as_stream, nth }
}

async fn begin(
    app: &App,
    offer: &Offer,
    cover: &Cover,
    gathers: bool,
    request: &ModelRequest,
    meter: &mut Meter,
) -> Result<(Answer, VecDeque<AnswerEvent>), ProviderError> {
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

/// Tells health and receipt how it went. What a failed attempt is known or likely to cost is the platform's.
pub(super) fn note(
    app: &App,
    case: &mut Case,
    request: &ModelRequest,
    tried: Tried<'_>,
) -> Result<Upstream, ProviderError> {
    let Tried { offer, cover, mut flight, begun, mut meter, asked_at, took, ours, as_stream, nth } = tried;
    let target = &offer.target;
    let (came_of_it, status) = match &begun {
        Ok((answer, _)) => ("answered", Some(answer.status())),
        Err(error) => (error.class.as_str(), error.status),
    };
    case.marks.asked(nth, came_of_it, status, (asked_at + took).duration_since(case.started));
    let is_slow = target.slow.is_some_and(|slow| took > slow);
    let outcome = match &begun {
        Ok(_) if is_slow => Outcome::Slow,
        Ok(_) => Outcome::Good,
        // Our own haste says nothing about the target.
        Err(_) if ours => Outcome::Neutral,
        Err(error) => Outcome::from(error),
    };
    flight.ended(outcome, app.millis());
    if !ours {
        flight.measured(as_stream, took, app.millis());
    }
    let spent = match &begun {
        Err(error) if meter.is_reported() || (offer.bills_on && error.may_be_billed()) => {
            offer.rates.exact(&meter.usage(target, request, false))
        }
        _ => Exact::ZERO,
    };
    case.tried += 1;
    case.failed_cost = case.failed_cost.plus(spent);
    case.attempts.push(AttemptRecord {
        target: target.name.clone(),
        outcome: came_of_it.to_owned(),
        status,
        latency_ms: millis(took),
        cost: spent.rounded_up().unwrap_or(Money::ZERO),
    });
    let (answer, begun) = begun.inspect_err(|error| {
        tracing::warn!(call = %case.id, target = %target.name, class = error.class.as_str(), status = error.status, "an attempt failed");
    })?;
    Ok(Upstream {
        target: Arc::clone(target),
        rates: Arc::clone(&offer.rates),
        price_version: Arc::clone(&offer.price_version),
        markup: offer.markup,
        bills_on: offer.bills_on,
        cover,
        request: request.clone(),
        begun,
        answer,
        meter,
        asked_at,
        keep: None,
        flight,
    })
}
