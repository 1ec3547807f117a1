//! A realtime conversation: let in like any call, then relayed event by event, with a hold and a receipt for every response.
//!
//! `open` decides all that can be decided before the upgrade, so that a refusal is a plain HTTP answer; `relay.rs` carries events both
//! ways, `events.rs` says what may pass, and `money.rs` holds and settles.

mod events;
mod money;
mod relay;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::ws::WebSocket;
use bytes::Bytes;
use ledger::{AttemptRecord, Money, PresentedKey};
use providers::{BadRequest, Class, Demand, ModelRequest, Outcome, Shape, Socket, Target, Task, plan};
use tokio::sync::oneshot;

use crate::admission::Seat;
use crate::app::App;
use crate::approvals::none_needed;
use crate::authenticate::authenticate;
use crate::case::{Call, Case, Ending, millis};
use crate::close;
use crate::forward;
use crate::headroom::Left;
use crate::limits::Ticket;
use crate::parse::claims;
use crate::permit::permit;
use crate::quote::seed;
use crate::refusal::Refusal;
use crate::reply::{Answered, Head};
use crate::scan::Found;
use money::{Context, Purse};

/// An upgrade that was granted takes no longer than this to happen.
const UPGRADE: Duration = Duration::from_secs(30);

/// What stands for the whole conversation.
pub struct Session {
    app: Arc<App>,
    /// Shown again to every response: a key that was revoked meanwhile gets no more of them.
    key: PresentedKey,
    /// Nothing but the model's name: what policy is asked about.
    asked: ModelRequest,
    target: Arc<Target>,
    /// The highest cap that policy allows.
    allowed: Option<u64>,
    /// What the client caps responses at; nothing said is as much as the model can.
    cap: Option<u64>,
    context: Context,
    /// Money for the next response, as long as one may begin.
    ready: Option<Purse>,
    /// The call that the next response will be, until it is held for.
    case: Case,
    /// The conversation's own: it is one call in flight, however many responses it has.
    lasting: Option<Lasting>,
}

/// What a conversation keeps from its first response to its end.
struct Lasting {
    _seat: Seat,
    _place: Option<Ticket>,
}

/// Runs a conversation from its first question to its last receipt. `told`: what its address asks for that is not served. `answer` learns whether the client may upgrade; `socket` brings
/// the connection once it has.
pub async fn run(
    app: Arc<App>,
    call: Call,
    mut case: Case,
    told: Option<Refusal>,
    answer: oneshot::Sender<Result<Head, Answered>>,
    socket: oneshot::Receiver<WebSocket>,
) {
    let place = case.place.take();
    match open(&app, call, case, told).await {
        Err((case, refusal)) => drop(answer.send(Err(close::refused(&app, case, refusal).await))),
        Ok((session, upstream)) => {
            let head = Head::of(session.current(), None);
            let client = match answer.send(Ok(head)) {
                Ok(()) => tokio::time::timeout(UPGRADE, socket).await.ok().and_then(Result::ok),
                Err(_) => None,
            };
            match client {
                Some(client) => relay::relay(session, client, upstream).await,
                None => session.unused(Ending::ClientLeft).await,
            }
        }
    }
    drop(place);
}

type Refused = (Case, Refusal);

async fn open(app: &Arc<App>, call: Call, mut case: Case, told: Option<Refusal>) -> Result<(Session, Socket), Refused> {
    case.left = left(app, &call).await;
    let admitted = match admit(app, &call, &mut case, told) {
        Ok(admitted) => admitted,
        Err(refusal) => return Err((case, refusal)),
    };
    drop(call);
    let Admitted { key, asked, targets, allowed } = admitted;
    let Some(first) = targets.first().map(Arc::clone) else {
        let model = asked.model().to_owned();
        return Err((case, Refusal::Unpriced { model }));
    };
    let mut session = Session {
        app: Arc::clone(app),
        key,
        asked,
        target: first,
        allowed,
        cap: None,
        context: Context::default(),
        ready: None,
        case,
        lasting: None,
    };
    if let Err(refusal) = session.hold_for(true).await {
        return Err((session.case, refusal));
    }
    let mut last = None;
    for target in targets {
        session.target = target;
        match session.connect().await {
            Ok(upstream) => return Ok((session, upstream)),
            // Whoever does not take the request would not be helped by another.
            Err(error) if matches!(error.class, Class::Rejected) => {
                last = Some(error);
                break;
            }
            Err(error) => last = Some(error),
        }
    }
    let refusal = forward::refusal(last, session.current());
    let Some(mut purse) = session.ready.take() else { return Err((session.case, refusal)) };
    if let Some(hold) = purse.hold.take() {
        close::release(app, hold, &mut purse.case, &refusal).await;
    }
    Err((purse.case, refusal))
}

/// What the wallets of the key that is shown have left, if it is a key.
fn left(app: &Arc<App>, call: &Call) -> impl Future<Output = Option<Left>> + use<> {
    let shown = call.presented.key.as_deref().and_then(PresentedKey::parse);
    let app = Arc::clone(app);
    async move {
        let snapshot = app.snapshot().ok()?;
        let caller = snapshot.caller(&shown?, app.clock().now())?;
        app.headroom.left(&app, &snapshot, &caller).await
    }
}

struct Admitted {
    key: PresentedKey,
    asked: ModelRequest,
    /// Where to try, in order.
    targets: Vec<Arc<Target>>,
    allowed: Option<u64>,
}

fn admit(app: &Arc<App>, call: &Call, case: &mut Case, told: Option<Refusal>) -> Result<Admitted, Refusal> {
    let snapshot = app.snapshot()?;
    let caller = authenticate(app, &snapshot, &call.presented)?;
    let key = call.presented.key.as_deref().and_then(PresentedKey::parse).ok_or(Refusal::InvalidKey)?;
    let caller = case.called_by(caller);
    case.stream = true;
    // Whoever is unknown is told nothing else.
    if let Some(refusal) = told {
        return Err(refusal);
    }
    if call.outside.model.as_deref().is_none_or(str::is_empty) {
        return Err(bad(
            "missing_required_parameter",
            "model",
            "'model' is required in the address: /v1/realtime?model=…",
        ));
    }
    let asked = ModelRequest::parse_with(Shape::Realtime, Bytes::from_static(b"{}"), call.outside.clone())
        .map_err(Refusal::BadRequest)?;
    case.claims = claims(app, &asked, &call.tags)?;
    let health = app.health.view(app.millis());
    let permit = permit(&snapshot, &caller, &asked, &Found::default(), &health, case)?;
    none_needed(&permit, "a conversation")?;
    let demand = Demand {
        routing: permit.routing.as_ref().map(|it| &it.routing),
        seed: seed(case),
        kinship: caller.credential.key.uuid().as_u64_pair().1,
        ..Demand::of(&permit.targets, asked.features(), Task::Realtime, case.input_tokens)
    };
    let plan = plan(&demand, &health, app.millis());
    if plan.targets.is_empty() && plan.set_aside.iter().all(|it| it.why == providers::Why::Task) {
        let message = "it does not serve this endpoint".to_owned();
        return Err(Refusal::Unsupported { param: Some("model".to_owned()), message });
    }
    let priced = |target: &Arc<Target>| money::rates(&snapshot, target, &caller, case.at).is_some();
    let targets = plan.targets.into_iter().filter(priced).collect();
    Ok(Admitted { key, asked, targets, allowed: permit.max_output() })
}

fn bad(code: &'static str, param: &str, message: &str) -> Refusal {
    Refusal::BadRequest(BadRequest { code, param: Some(param.to_owned()), message: message.to_owned() })
}

impl Session {
    /// Opens the conversation with the target, and notes the attempt.
    async fn connect(&mut self) -> Result<Socket, providers::ProviderError> {
        let (app, began) = (Arc::clone(&self.app), Instant::now());
        let opened = tokio::select! {
            opened = app.outbound.realtime(&self.target) => opened,
            () = app.stop_now.cancelled() => {
                Err(providers::ProviderError::new(Class::Connect, "the gateway is shutting down"))
            }
        };
        let took = began.elapsed();
        app.health.outcome(
            &self.target.name,
            opened.as_ref().map_or_else(Outcome::from, |_| Outcome::Good),
            app.millis(),
        );
        let target = Arc::clone(&self.target);
        let case = self.ready.as_mut().map_or(&mut self.case, |purse| &mut purse.case);
        case.upstream += took;
        case.tried += 1;
        case.target = Some(Arc::clone(&target));
        case.attempts.push(AttemptRecord {
            target: target.name.clone(),
            outcome: opened.as_ref().map_or_else(|error| error.class.as_str(), |_| "answered").to_owned(),
            status: opened.as_ref().map_or_else(|error| error.status, |_| Some(101)),
            latency_ms: millis(took),
            cost: Money::ZERO,
        });
        if let Err(error) = &opened {
            tracing::warn!(call = %case.id, target = %target.name, class = error.class.as_str(), status = error.status, "an attempt failed");
        }
        opened
    }

    /// The call that what happens now belongs to: the next response.
    fn current(&self) -> &Case {
        self.ready.as_ref().map_or(&self.case, |purse| &purse.case)
    }

    /// A session that ends with no response running gives back what it held for the next.
    async fn unused(mut self, ending: Ending) {
        if let Some(purse) = self.ready.take() {
            self.give_back(purse, ending).await;
        }
    }
}
