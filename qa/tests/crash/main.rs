//! Power cuts. Whatever was under way, the books balance afterwards: every hold is closed exactly once, what a client
//! was told is so, and the chain of the audit log is whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use qa::check::usd;
use qa::http::Http;
use qa::postgres::{Care, Postgres};
use qa::upstream::{Gate, Step, openai};
use qa::world::{Plan, Setup, Tenant, World, hello, hello_stream};
use serde_json::Value;
use tokio::task::JoinSet;

/// Callers at a time.
const CALLERS: usize = 16;

/// Load until the gateway is gone: the calls whose whole answer has arrived.
async fn load_until_killed(world: &mut World, tenant: &Tenant, after: usize) -> Vec<String> {
    let answered = Arc::new(AtomicUsize::new(0));
    let dead = Arc::new(AtomicBool::new(false));
    let url = format!("{}/v1/chat/completions", world.url());
    let bearer = format!("Bearer {}", tenant.key);
    let mut callers = JoinSet::new();
    for caller in 0..CALLERS {
        let (answered, dead, url, bearer) = (answered.clone(), dead.clone(), url.clone(), bearer.clone());
        callers.spawn(async move {
            let http = Http::new();
            let mut done = Vec::new();
            // Half of them stream.
            let body = if caller % 2 == 0 { hello("chat") } else { hello_stream("chat") }.to_string();
            while !dead.load(Ordering::SeqCst) {
                let Ok(answer) = http.send("POST", &url, &[("authorization", &bearer)], body.clone()).await else {
                    continue;
                };
                let whole = answer.header("content-type").is_some_and(|t| t.starts_with("application/json"))
                    || answer.text().ends_with("data: [DONE]\n\n");
                if answer.status == 200 && whole {
                    done.push(answer.must("x-request-id").to_owned());
                    answered.fetch_add(1, Ordering::SeqCst);
                }
            }
            done
        });
    }
    let from = std::time::Instant::now();
    while answered.load(Ordering::SeqCst) < after {
        assert!(from.elapsed() < Duration::from_secs(120), "no load: {}", world.log());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    world.kill();
    dead.store(true, Ordering::SeqCst);
    callers.join_all().await.into_iter().flatten().collect()
}

/// What must be true of the books after any number of cuts.
async fn audit_the_books(world: &World, tenant: &Tenant, told: &[String]) {
    for wallet in &tenant.wallets {
        let wallet = world.wallet(wallet).await;
        assert_eq!(usd(&wallet, "held_usd"), 0, "something stayed held: {wallet}");
    }
    world.assert_balanced(tenant).await;

    let entries = world.entries(&tenant.wallet).await;
    let mut calls: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for entry in &entries {
        let call = entry["request_id"].as_str().unwrap_or_else(|| panic!("whose is {entry}?"));
        calls.entry(call).or_default().push(entry["kind"].as_str().expect("a kind"));
    }
    for (call, kinds) in &calls {
        let closings: Vec<&&str> = kinds.iter().filter(|kind| !["reserve", "grow"].contains(*kind)).collect();
        assert_eq!(closings.len(), 1, "{call}: {kinds:?}");
        assert!(["settle", "release", "expire"].contains(closings[0]), "{call}: {kinds:?}");
        assert_eq!(kinds[0], "reserve", "{call}: {kinds:?}");
    }
    // What a client was told, the books tell too.
    for call in told {
        assert_eq!(calls.get(call.as_str()).map(Vec::as_slice), Some(&["reserve", "settle"][..]), "{call}");
    }
    // Nobody asked a provider without a hold that was durable before.
    assert!(world.first.count() <= calls.len(), "{} asked, {} held", world.first.count(), calls.len());

    let receipts = world.list(&format!("/requests?org_id={}", tenant.org)).await;
    let status: BTreeMap<&str, &str> =
        receipts.iter().map(|r| (r["id"].as_str().unwrap_or(""), r["status"].as_str().unwrap_or(""))).collect();
    for (call, kinds) in &calls {
        let wanted = if kinds.contains(&"expire") { "expired" } else { "settled" };
        let found = status.get(call).copied().unwrap_or("no receipt");
        assert!(found == wanted || (kinds.contains(&"release") && found == "released"), "{call}: {kinds:?} {found}");
    }
    let (file, text) = world.export(&tenant.org).await;
    let (code, out, err) = qa::tools::run_alfred(&["audit", "verify", file.to_str().expect("UTF-8")]);
    assert_eq!(code, 0, "{out}{err}");
    for call in calls.keys() {
        assert!(text.contains(call), "{call} is not in the log");
    }
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
        audit_the_books(&world, &tenant, &told).await;
        let entries = world.entries(&tenant.wallet).await;
        expired = entries.iter().filter(|e| e["kind"] == "expire").count();
    }
    println!("{} calls answered, {expired} expired, over {times} cuts", told.len());
    assert!(expired > 0, "the cuts never hit a call under way: nothing was tested");
    let flagged: Vec<Value> = world.list(&format!("/requests?org_id={}", tenant.org)).await;
    let flagged = flagged.into_iter().filter(|r| r["status"] == "expired").collect::<Vec<_>>();
    assert_eq!(flagged.len(), expired);
    // Deducted in full: an orphan's price is what was held, for the provider may have billed it.
    assert!(flagged.iter().all(|r| usd(r, "price_usd") > 0), "{:?}", flagged.first());
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
