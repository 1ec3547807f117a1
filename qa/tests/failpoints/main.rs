//! Every step between reserve and settle, and the power cut at exactly that step. The gateway of this suite is built
//! with the feature `failpoints`, in a target folder of its own: `make test-failpoints` builds it and runs these tests,
//! which are passed over everywhere else.

use std::time::{Duration, Instant};

use qa::cuts::{Callers, audit_the_books};
use qa::upstream::Script;
use qa::world::{Plan, Setup, Tenant, World, hello, hello_stream};
use serde_json::Value;

/// What must have become of the one call that was under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Nothing was held: no trace of it.
    None,
    /// Held, never resolved: settled in full, for somebody to look at.
    Expired,
    /// Charged, although nobody was told.
    Settled,
    /// Given back, although nobody was told.
    Released,
    /// Handed to the writer, which may have been quicker or not.
    Either,
    /// Charged; whether the word of it got out before the end is a race.
    Charged,
}
use Fate::{Charged, Either, Expired, None as Nothing, Released, Settled};

/// What the caller asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asking {
    Json,
    Stream,
    /// Of a provider that fails.
    InVain,
}
use Asking::{InVain, Json, Stream};

/// Where the process ends, after how many passes; and with one caller, what has become of its last call.
type Cut = (&'static str, usize, Asking, Fate);

/// One caller makes two batches a call: the third reserves, the fourth settles.
const CUTS: &[Cut] = &[
    ("call.priced", 1, Json, Nothing),
    ("writer.begun", 2, Json, Nothing),
    ("writer.loaded", 2, Json, Nothing),
    ("writer.saved", 2, Json, Nothing),
    ("writer.committed", 2, Json, Expired),
    ("writer.answered", 2, Json, Expired),
    ("call.held", 1, Json, Expired),
    ("call.forwarded", 1, Json, Expired),
    ("call.forwarded", 1, Stream, Expired),
    ("call.first_byte", 1, Stream, Expired),
    ("call.mid_stream", 1, Stream, Expired),
    ("call.ended", 1, Json, Expired),
    ("call.ended", 1, Stream, Expired),
    ("call.settling", 1, Json, Either),
    ("writer.begun", 3, Json, Expired),
    ("writer.loaded", 3, Json, Expired),
    ("writer.saved", 3, Stream, Expired),
    ("writer.committed", 3, Stream, Settled),
    ("writer.answered", 3, Json, Charged),
    ("call.settled", 1, Json, Settled),
    ("call.settled", 1, Stream, Settled),
    ("call.failed", 1, InVain, Expired),
    ("call.released", 1, InVain, Released),
];

/// Only a server can be told to commit and then not be heard: both are possible, and neither loses anything.
const CUTS_ON_POSTGRES: &[Cut] = &[("store.commit_sent", 2, Json, Either), ("store.commit_sent", 3, Stream, Either)];

/// The same with many callers: several calls are under way, in several states.
const STORMS: &[(&str, usize)] = &[
    ("call.priced", 20),
    ("writer.begun", 9),
    ("writer.loaded", 10),
    ("writer.saved", 11),
    ("writer.committed", 12),
    ("writer.answered", 13),
    ("call.held", 20),
    ("call.forwarded", 21),
    ("call.mid_stream", 9),
    ("call.ended", 22),
    ("call.settling", 23),
    ("call.settled", 24),
];

/// Asks one call after the other until the gateway is gone: the calls that were answered whole.
async fn ask_until_gone(world: &World, tenant: &Tenant, asking: Asking) -> Vec<String> {
    let body = if asking == Stream { hello_stream("chat") } else { hello("chat") };
    let mut told = Vec::new();
    for _ in 0..50 {
        let Ok(answer) = world.try_call(&tenant.key, "/v1/chat/completions", &[], &body).await else { return told };
        if asking == InVain {
            assert!(answer.status >= 500, "{}", answer.text());
            continue;
        }
        assert_eq!(answer.status, 200, "{}", answer.text());
        if asking == Stream && !answer.text().ends_with("data: [DONE]\n\n") {
            return told;
        }
        told.push(answer.must("x-request-id").to_owned());
    }
    panic!("never gone: {}", world.log());
}

/// A dead process is known by its heartbeat, half a minute old: made older here, so that nobody need wait.
async fn let_its_heart_grow_cold(world: &World) {
    if world.database.starts_with("postgres") {
        let database = qa::postgres::name_of(&world.database).to_owned();
        let sql = "UPDATE instances SET beat_at = beat_at - 60000000";
        let aging = tokio::task::spawn_blocking(move || qa::postgres::server().psql(&database, sql));
        aging.await.expect("it ran").expect("instances have a heartbeat");
    }
}

/// Arms a point, asks until the process has ended there, and looks at the books after a start without it.
async fn cut(world: &mut World, point: &str, passes: usize, asking: Option<Asking>) -> (Tenant, Vec<String>) {
    let tenant = world.tenant(Plan::new().levels(4).hard("1000")).await;
    world.stop().await;
    let armed = format!("{point}={passes}*off->return(abort)");
    world.restart_with(&[("FAILPOINTS", &armed)]).await;
    let told = match asking {
        Some(asking) => {
            if asking == InVain {
                world.first.always(Script::error(500, "broken"));
            }
            ask_until_gone(world, &tenant, asking).await
        }
        None => {
            let callers = Callers::start(&[world.url()], &[&tenant.key], "chat", 8);
            let log = world.gone().await;
            assert!(log.contains(&format!("failpoint {point}:")), "{armed}: {log}");
            callers.over().await.whole
        }
    };
    if asking.is_some() {
        let log = world.gone().await;
        assert!(log.contains(&format!("failpoint {point}:")), "{armed}: {log}");
    }
    world.first.behave();
    let_its_heart_grow_cold(world).await;
    world.restart().await;
    world.at_rest(&tenant.wallet, Duration::from_secs(60)).await;
    (tenant, told)
}

async fn every_cut(setup: Setup, cuts: &[&[Cut]]) {
    let mut world = setup.start().await;
    let from = Instant::now();
    for (point, passes, asking, fate) in cuts.iter().flat_map(|cuts| cuts.iter()) {
        let (tenant, told) = cut(&mut world, point, *passes, Some(*asking)).await;
        let calls = audit_the_books(&world, &tenant, &told).await;
        let lost: Vec<&String> = calls
            .iter()
            .filter(|(call, _)| !told.contains(call))
            .filter_map(|(_, kinds)| kinds.last())
            // In vain, every call but the last was given back and its caller told so.
            .skip(if *asking == InVain { *passes } else { 0 })
            .collect();
        let found = match lost.as_slice() {
            [] => Nothing,
            [last] if *last == "expire" => Expired,
            [last] if *last == "settle" => Settled,
            [last] if *last == "release" => Released,
            more => panic!("{point} after {passes}: one call was under way, not {more:?}"),
        };
        let as_it_must = match fate {
            Either => true,
            // Told, it is among those that `audit_the_books` saw charged.
            Charged => matches!(found, Settled | Nothing),
            fate => found == *fate,
        };
        assert!(as_it_must, "{point} after {passes}: {found:?} instead of {fate:?}");
        println!("{point} after {passes} ({asking:?}): {} told, the last {found:?}", told.len());
    }
    for (point, passes) in STORMS {
        let (tenant, told) = cut(&mut world, point, *passes, None).await;
        let calls = audit_the_books(&world, &tenant, &told).await;
        println!("{point} after {passes}, eight callers: {} told, {} in the books", told.len(), calls.len());
    }
    println!("all in {:.0?}", from.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a gateway with failpoints: make test-failpoints"]
async fn a_power_cut_at_every_step_leaves_books_that_balance_on_sqlite() {
    every_cut(Setup::new().on_sqlite(), &[CUTS]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a gateway with failpoints: make test-failpoints"]
async fn a_power_cut_at_every_step_leaves_books_that_balance_on_postgres() {
    every_cut(Setup::new().on_postgres(), &[CUTS, CUTS_ON_POSTGRES]).await;
}

/// Every third commit is done, and the word of it is lost.
async fn lost_words(setup: Setup) {
    let mut world = setup.start().await;
    let tenant = world.tenant(Plan::new().levels(4).hard("1000")).await;
    world.stop().await;
    world.restart_with(&[("FAILPOINTS", "store.commit_lost=33%return(lost)")]).await;
    let callers = Callers::start(&[world.url()], &[&tenant.key], "chat", 8);
    callers.until(150, || world.log()).await;
    let told = callers.over().await;
    let tally: Vec<_> = told.tally.keys().map(|(status, _)| *status).collect();
    assert_eq!((tally, told.broken), (vec![200], 0), "nobody but the writer notices: {:?}", told.tally);
    let log = world.stop().await;
    assert!(log.matches("batch failed: trying again").count() > 10, "no word was lost: {log}");
    world.restart().await;
    world.at_rest(&tenant.wallet, Duration::from_secs(60)).await;
    let calls = audit_the_books(&world, &tenant, &told.whole).await;
    assert!(calls.values().all(|kinds| *kinds == ["reserve", "settle"]), "each once: {calls:?}");
    assert_eq!(calls.len(), told.whole.len());
    let receipts = world.list(&format!("/requests?org_id={}", tenant.org)).await;
    let reviews: Vec<&Value> = receipts.iter().filter(|receipt| receipt["review"] == true).collect();
    assert!(reviews.is_empty(), "{reviews:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a gateway with failpoints: make test-failpoints"]
async fn a_commit_whose_acknowledgement_is_lost_is_neither_lost_nor_done_twice() {
    lost_words(Setup::new().on_sqlite()).await;
    lost_words(Setup::new().on_postgres()).await;
}
