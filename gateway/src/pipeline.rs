//! The life of one call. Start here.

use std::sync::Arc;
use std::time::Duration;

use ledger::{Hold, Order, Reserved};

use crate::app::App;
use crate::approvals;
use crate::authenticate::authenticate;
use crate::cache::Stored;
use crate::case::{CacheState, Call, Case, Ending};
use crate::close::{self, release};
use crate::forward::{Upstream, forward};
use crate::parse::{on_this_thread_if_small, parse};
use crate::patience;
use crate::permit::permit;
use crate::quote::{Quote, quote};
use crate::recall::recall;
use crate::refusal::Refusal;
use crate::relay;
use crate::reply::Answered;
use crate::scan::scan;
use crate::telemetry::Step;

/// A hold outlives the call's own deadline by so much before anybody may call it orphaned (house rule: 60 s).
const ORPHAN_GRACE: Duration = Duration::from_secs(60);

/// What a call that was let in leads to.
enum Admitted {
    /// A provider has begun to answer.
    Fresh(Box<Upstream>, Hold),
    /// The cache had the answer; holding nothing costs nothing, but is booked.
    Stored(Arc<Stored>, Hold),
    /// The first answer to the same Idempotency-Key.
    Replay(Arc<Stored>),
}

/// Takes a call from its head to its answer, or to the refusal that it gets instead. Closes it exactly once.
pub async fn answer(app: &Arc<App>, mut call: Call, mut case: Case) -> Answered {
    let admitted = admit(app, &mut call, &mut case).await;
    app.decisions.take(&mut case, &app.ledger); //                            what the rules said goes on record
    match admitted {
        Ok(Admitted::Fresh(upstream, hold)) => relay::answer(app, *upstream, hold, case).await,
        Ok(Admitted::Stored(stored, hold)) => close::cached(app, stored, hold, case).await,
        Ok(Admitted::Replay(stored)) => close::replayed(app, &stored, &case),
        Err(refusal) => {
            case.marks.stop();
            close::refused(app, case, refusal).await
        }
    }
}

async fn admit(app: &Arc<App>, call: &mut Call, case: &mut Case) -> Result<Admitted, Refusal> {
    let snapshot = app.snapshot()?; //                                        one view of keys, prices, rules
    case.enter(Step::Authenticate);
    let caller = authenticate(app, &snapshot, &call.presented)?; //           who
    let caller = case.called_by(caller);
    case.enter(Step::Limits);
    case.seat = Some(app.admission.enter(&caller)?); //                       not too many at once
    app.limits.look(&caller, case)?; //                                       how often
    case.enter(Step::Parse);
    let asked = parse(app, call, case).await?; //                             what
    case.enter(Step::Safety);
    let found = scan(&app.scanner, &asked); //                                what is in it
    case.left = app.headroom.left(app, &snapshot, &caller).await; //           what is left, if a rule asks
    let (health, large) = (app.health.view(app.millis()), asked.body().len());
    let plan = |case: &mut Case| {
        on_this_thread_if_small(large, || {
            case.enter(Step::Policy);
            let permit = permit(&snapshot, &caller, &asked, &found, &health, case)?; // may it, where, under which duties
            let permit = permit.apply(&asked, &found, case)?; //                  redacted: what may leave
            case.enter(Step::Cache);
            let stored = recall(app, &permit, case); //                           answered before?
            case.enter(Step::Quote);
            quote(app, &snapshot, &health, &caller, permit, stored, case) //      how much (a hit: nothing)
        })
    };
    let mut quote = plan(case)?;
    let order = |quote: &Quote, case: &Case| Order {
        call: case.id,
        org: caller.credential.org,
        key: caller.credential.key,
        wallet: caller.credential.wallet,
        amount: quote.amount,
        // What somebody approved is held for whole: it never grows beyond what was granted.
        estimate: quote.estimate.filter(|_| quote.permit.approvals().is_empty()),
        patient: false,
        downgraded: case.downgraded,
        extra: quote.permit.extra.clone(),
        expires_at: case.at.after(case.total + ORPHAN_GRACE),
        claim: case.claim,
        record: case.record(Ending::Running, None),
    };
    case.enter(Step::Limits);
    app.limits.draw(&caller, case, quote.drawing(&snapshot, &asked, case.input_tokens)).await?; // and how much
    ledger::failpoint("call.priced");
    case.enter(Step::Reserve);
    let mut reserved = patience::reserve(app, order(&quote, case), &call.gone, case).await;
    if let Err(Refusal::WantsLess) = reserved {
        //                                                                    dear, with little money left: ask for less
        case.downgraded = true;
        case.findings.clear(); // they are found again
        quote = plan(case)?;
        case.enter(Step::Reserve);
        reserved = patience::reserve(app, order(&quote, case), &call.gone, case).await;
    }
    let mut hold = match reserved? {
        //                           set it aside, durably
        Reserved::New(hold) => hold,
        Reserved::Replay(first) => {
            return app.replays.find(first).map(Admitted::Replay).ok_or(Refusal::IdempotencyExpired);
        }
    };
    ledger::failpoint("call.held");
    case.warnings = hold.warnings().to_vec();
    if let Err(refusal) = approvals::spend(app, &call.approvals, &caller, &quote, case).await {
        //                                                                    somebody has to say yes first
        release(app, hold, case, &refusal).await;
        return Err(refusal);
    }
    if let Some(stored) = quote.stored {
        case.cache = CacheState::Hit;
        return Ok(Admitted::Stored(stored, hold));
    }
    case.enter(Step::Forward);
    let forwarded = forward(app, quote, &mut hold, case).await; //             ask, or ask elsewhere
    case.warnings = hold.warnings().to_vec();
    match forwarded {
        Ok(upstream) => {
            ledger::failpoint("call.forwarded");
            Ok(Admitted::Fresh(Box::new(upstream), hold))
        }
        Err(refusal) => {
            release(app, hold, case, &refusal).await;
            Err(refusal)
        }
    }
}
