//! Power cuts. Whatever was under way, the books balance afterwards: every hold is closed exactly once, what a client
//! was told is so, and the chain of the audit log is whole.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use qa::check::usd;
use qa::cuts::{Callers, audit_the_books};
use qa::network::{Cut, Network};
use qa::postgres::{Care, Postgres};
use qa::upstream::{Gate, Step, openai};
use qa::world::{Plan, Setup, Tenant, World, hello, hello_stream};
use serde_json::Value;

/// Callers at a time.
const CALLERS: usize = 16;

/// Load until the gateway is gone: the calls whose whole answer has arrived.
async fn load_until_killed(world: &mut World, tenant: &Tenant, after: usize) -> Vec<String> {
    let callers = Callers::start(&[world.url()], &[&tenant.key], "chat", CALLERS);
    callers.until(after, || world.log()).await;
    world.kill();
    callers.over().await.whole
}

async fn cuts(mut world: World, times: usize, patience: Duration) {
    let tenant = world.tenant(Plan::new().levels(4).hard("1000")).await;
    let (mut told, mut expired) = (Vec::new(), 0);
    for cut in 0..times {
        // Now early, now late: other moments of the batches each time.
        told.extend(load_until_killed(&mut world, &tenant, 5 + (cut * 37) % 90).await);
        world.restart().await;
        for wallet in &tenant.wallets {
            world.at_rest(wallet, patience).await;
        }
        let calls = audit_the_books(&world, &tenant, &told).await;
        // Nobody asked a provider without a hold that was durable before.
        assert!(world.first.count() <= calls.len(), "{} asked, {} held", world.first.count(), calls.len());
        let entries = world.entries(&tenant.wallet).await;
        expired = entries.iter().filter(|e| e["kind"] == "expire").count();
    }
    println!("{} calls answered, {expired} expired, over {times} cuts", told.len());
    assert!(expired > 0, "the cuts never hit a call under way: nothing was tested");
    let flagged: Vec<Value> = world.list(&format!("/requests?org_id={}", tenant.org)).await;
    let flagged = flagged.into_iter().filter(|r| r["status"] == "expired").collect::<Vec<_>>();
    assert_eq!(flagged.len(), expired);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_kills_under_load_lose_nothing_on_sqlite() {
    // A killed process is not a cut power line, but SQLite's own durability is on: what is answered is on disk.
    cuts(Setup::new().on_sqlite().start().await, 20, Duration::from_secs(10)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_under_load_lose_nothing_on_postgres() {
    // There a dead process is known by its heartbeat, half a minute old.
    cuts(Setup::new().on_postgres().start().await, 2, Duration::from_secs(90)).await;
}

#[tokio::test]
async fn a_call_cut_off_under_its_idempotency_key_is_not_charged_twice() {
    let mut world = Setup::new().on_sqlite().start().await;
    let tenant = world.rich().await;
    world.first.next(qa::upstream::Script::hangs());
    let body = hello("chat");
    let headers = [("idempotency-key", "order-1")];
    {
        let asking = world.try_call(&tenant.key, "/v1/chat/completions", &headers, &body);
        tokio::select! {
            _ = asking => panic!("answered"),
            () = world.first.until("the provider is asked", |first| first.count() == 1) => {}
        }
    }
    world.kill();
    world.restart().await;
    world.at_rest(&tenant.wallet, Duration::from_secs(10)).await;
    let answer = world.call(&tenant.key, "/v1/chat/completions", &headers, &body).await;
    qa::check::refused(&answer, 409, "invalid_request_error", "idempotency_expired");
    assert_eq!(world.first.count(), 1);
    world.assert_balanced(&tenant).await;
}

/// A world on a Postgres of its own, which can be broken off without harm to the others.
async fn on_a_server_of_its_own() -> (World, Arc<Postgres>) {
    let server = tokio::task::spawn_blocking(|| Arc::new(Postgres::start(Care::Durable))).await.expect("a server");
    let url = server.database();
    (Setup::new().on(url).start().await, server)
}

async fn until_ready(world: &World, wanted: bool) {
    let url = format!("{}/readyz", world.url());
    let from = std::time::Instant::now();
    loop {
        let answer = world.http.send("GET", &url, &[], "").await.expect("an answer");
        if (answer.status == 200) == wanted {
            return;
        }
        assert!(from.elapsed() < Duration::from_secs(90), "never ready: {wanted}\n{}", world.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_its_database_nothing_is_forwarded_and_what_was_under_way_is_settled_when_it_is_back() {
    let (world, server) = on_a_server_of_its_own().await;
    let tenant = world.tenant(Plan::new().levels(4).hard("1000")).await;
    let gate = Gate::new();
    world.first.next(openai::begin(&["Hello"]).then(Step::Wait(gate.clone())).and(openai::end(Some((10, 5)))));
    let mut flow = world.stream(&tenant.key, &hello_stream("chat")).await;
    flow.until("Hello").await;
    let call = flow.headers["x-request-id"].to_str().expect("printable").to_owned();

    let breaking = server.clone();
    tokio::task::spawn_blocking(move || breaking.break_off()).await.expect("it is off");
    for _ in 0..3 {
        let answer = world.chat(&tenant.key, &hello("chat")).await;
        qa::check::refused(&answer, 503, "api_error", "ledger_unavailable");
    }
    assert_eq!(world.first.count(), 1, "nothing was forwarded on trust");
    // The stream goes on: its money is held, and what it says does not wait for the books.
    gate.open();
    let answer = flow.whole().await.expect("a whole stream");
    assert_eq!(answer.events().last().map(String::as_str), Some("[DONE]"));
    until_ready(&world, false).await;

    let again = server.clone();
    tokio::task::spawn_blocking(move || again.start_again()).await.expect("it is back");
    until_ready(&world, true).await;
    let receipt = world.receipt_when(&call, |receipt| receipt["status"] == "settled").await;
    assert_eq!(usd(&receipt, "price_usd"), 20_000);
    let from = std::time::Instant::now();
    while world.chat(&tenant.key, &hello("chat")).await.status != 200 {
        assert!(from.elapsed() < Duration::from_secs(30), "never again: {}", world.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for wallet in &tenant.wallets {
        world.at_rest(wallet, Duration::from_secs(90)).await;
    }
    world.assert_balanced(&tenant).await;
    drop(world);
    drop(server);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_restarted_under_load_loses_nothing() {
    let (world, server) = on_a_server_of_its_own().await;
    let tenant = world.tenant(Plan::new().levels(4).hard("1000")).await;
    let callers = Callers::start(&[world.url()], &[&tenant.key], "chat", CALLERS);
    for mode in ["fast", "immediate", "fast"] {
        callers.until(40, || world.log()).await;
        let server = server.clone();
        tokio::task::spawn_blocking(move || server.restart(mode)).await.expect("it is back");
    }
    callers.until(40, || world.log()).await;
    let told = callers.over().await;
    let others: Vec<_> = told.tally.keys().filter(|(status, _)| *status != 200).collect();
    assert!(others.iter().all(|(status, code)| (*status, code.as_str()) == (503, "ledger_unavailable")), "{others:?}");
    assert_eq!(told.broken, 0, "the gateway itself never went away");
    world.at_rest(&tenant.wallet, Duration::from_secs(60)).await;
    let calls = audit_the_books(&world, &tenant, &told.whole).await;
    // It lived: whatever was held was settled, or given back where nobody could be told of the hold.
    assert!(!calls.values().flatten().any(|kind| kind == "expire"), "{calls:?}");
    assert!(world.first.count() <= calls.len(), "{} asked, {} held", world.first.count(), calls.len());
    println!("{:?}, {} calls in the books", told.tally, calls.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_lost_around_a_commit_is_noticed_by_no_caller() {
    let url = tokio::task::spawn_blocking(|| qa::postgres::server().database()).await.expect("a database");
    let (network, url) = Network::to(&url);
    let world = Setup::new().on(url).start().await;
    let tenant = world.tenant(Plan::new().levels(4).hard("1000")).await;
    let callers = Callers::start(&[world.url()], &[&tenant.key], "chat", CALLERS);
    for _ in 0..8 {
        for cut in [Cut::AfterCommit, Cut::BeforeCommit] {
            network.cut(cut).await;
            callers.until(5, || world.log()).await;
        }
    }
    let told = callers.over().await;
    assert!(told.tally.keys().all(|(status, _)| *status == 200), "{:?}", told.tally);
    assert_eq!(told.broken, 0);
    world.at_rest(&tenant.wallet, Duration::from_secs(60)).await;
    // What was committed without a word is not done twice, what was not committed is done once.
    let calls = audit_the_books(&world, &tenant, &told.whole).await;
    assert!(calls.values().all(|kinds| *kinds == ["reserve", "settle"]), "{calls:?}");
    assert_eq!((calls.len(), world.first.count()), (told.whole.len(), told.whole.len()));
}

/// A file that grows too large is then an error of the write, as on a full disk, and not the end of the process.
const TOLD_OF_FULL_DISKS: &[&str] = &["sh", "-c", "trap '' XFSZ; exec \"$0\" \"$@\""];

fn largest_file(world: &mut World, size: &str) {
    let pid = world.alfred().pid().to_string();
    qa::tools::must_run(Command::new("prlimit").args(["--pid", &pid, &format!("--fsize={size}:")]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_stops_admissions_and_loses_nothing() {
    let mut world = Setup::new().on_sqlite().started_by(TOLD_OF_FULL_DISKS).start().await;
    let tenant = world.tenant(Plan::new().levels(4).hard("1000")).await;
    let callers = Callers::start(&[world.url()], &[&tenant.key], "chat", 8);
    callers.until(20, || world.log()).await;
    let log_file = world.database_file().with_extension("db-wal");
    let size = [world.database_file(), log_file].map(|file| std::fs::metadata(file).map_or(0, |file| file.len()));
    largest_file(&mut world, &(size.into_iter().max().unwrap_or(0) + 150_000).to_string());
    let from = std::time::Instant::now();
    while world.chat(&tenant.key, &hello("chat")).await.status != 503 {
        assert!(from.elapsed() < Duration::from_secs(60), "never full: {}", world.log());
    }
    let told = callers.over().await;
    // A single call may still fit where a batch of several did not: now not a byte does.
    largest_file(&mut world, "1");
    let asked = world.first.count();
    for _ in 0..3 {
        let answer = world.chat(&tenant.key, &hello("chat")).await;
        qa::check::refused(&answer, 503, "api_error", "ledger_unavailable");
    }
    assert_eq!(world.first.count(), asked, "nothing was forwarded on trust");

    largest_file(&mut world, "unlimited");
    let from = std::time::Instant::now();
    while world.chat(&tenant.key, &hello("chat")).await.status != 200 {
        assert!(from.elapsed() < Duration::from_secs(60), "never again: {}", world.log());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    world.at_rest(&tenant.wallet, Duration::from_secs(60)).await;
    let calls = audit_the_books(&world, &tenant, &told.whole).await;
    assert!(!calls.values().flatten().any(|kind| kind == "expire"), "{calls:?}");
    println!("{:?}, {} calls in the books", told.tally, calls.len());
}
