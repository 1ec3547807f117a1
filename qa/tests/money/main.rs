//! The limit is exact, however many ask at once and whoever asks whom.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use qa::check::{dollars, usd};
use qa::cuts::{Callers, audit_the_books};
use qa::http::Http;
use qa::upstream::openai;
use qa::world::{Plan, Process, Setup, Tenant, World, hello};
use serde_json::{Value, json};
use tokio::task::JoinSet;

const CALLS: usize = 1_000;
const PAID_FOR: i64 = 100;
/// 50 tokens at 10 µ$: what a call holds, and in the end costs.
const PRICE: i64 = 50 * 10_000;

/// All at once, spread over the gateways; status, error code and request id of each.
async fn storm(gateways: &[String], key: &str) -> Vec<(u16, String, String)> {
    let http = Http::new();
    let start = Arc::new(tokio::sync::Barrier::new(CALLS));
    let mut calls = JoinSet::new();
    for call in 0..CALLS {
        let (http, start) = (http.clone(), start.clone());
        let url = format!("{}/v1/chat/completions", gateways[call % gateways.len()]);
        let bearer = format!("Bearer {key}");
        calls.spawn(async move {
            start.wait().await;
            let body = hello("counted").to_string();
            let answer = http.send("POST", &url, &[("authorization", &bearer)], body).await.expect("an answer");
            let code = answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned();
            (answer.status, code, answer.must("x-request-id").to_owned())
        });
    }
    calls.join_all().await
}

/// A reader beside the gateway, on a thread of its own: what each look sees must be within the limit.
type Look = Box<dyn FnMut() -> Vec<(i64, i64)> + Send>;

fn watch(mut look: Look, over: Arc<AtomicBool>) -> std::thread::JoinHandle<(usize, i64)> {
    std::thread::spawn(move || {
        let (mut looks, mut most) = (0, 0);
        while !over.load(Ordering::SeqCst) {
            for (spent, held) in look() {
                assert!(spent + held <= PAID_FOR * PRICE, "{spent} spent and {held} held");
                most = most.max(spent + held);
            }
            looks += 1;
        }
        (looks, most)
    })
}

async fn exactly_a_hundred(world: &World, gateways: &[String], tenant: &Tenant, look: Look) {
    let over = Arc::new(AtomicBool::new(false));
    let watching = watch(look, over.clone());
    let answers = storm(gateways, &tenant.key).await;
    over.store(true, Ordering::SeqCst);
    let (looks, most) = watching.join().expect("never above the limit");
    assert!(looks > 3 && most > 0, "looked {looks} times and saw at most {most}");
    println!("looked {looks} times, saw at most {most} of {}", PAID_FOR * PRICE);

    let mut tally: BTreeMap<(u16, &str), usize> = BTreeMap::new();
    for (status, code, _) in &answers {
        *tally.entry((*status, code)).or_default() += 1;
    }
    assert_eq!(tally, BTreeMap::from([((200, ""), 100), ((429, "budget_exceeded"), 900)]));
    assert_eq!(world.first.count(), 100);

    // The same to the nano-dollar in every wallet of the chain, now and at every step of the journal.
    world.assert_balanced(tenant).await;
    for id in &tenant.wallets {
        let wallet = world.wallet(id).await;
        assert_eq!((usd(&wallet, "spent_usd"), usd(&wallet, "held_usd")), (PAID_FOR * PRICE, 0));
        let entries = world.entries(id).await;
        let count = |kind: &str| entries.iter().filter(|e| e["kind"] == kind).count();
        assert_eq!((count("reserve"), count("settle"), entries.len()), (100, 100, 200));
    }
    // Each refusal left its entry before its answer.
    let blocks = world.audit(&tenant.org).await.iter().filter(|e| e["kind"] == "BLOCK").count();
    assert_eq!(blocks, 900);
    let receipts = world.list(&format!("/requests?org_id={}", tenant.org)).await;
    let statuses = |status: &str| receipts.iter().filter(|r| r["status"] == status).count();
    assert_eq!((statuses("settled"), statuses("refused"), receipts.len()), (100, 900, 1_000));
    let (file, _) = world.export(&tenant.org).await;
    let (code, out, err) = qa::tools::run_alfred(&["audit", "verify", file.to_str().expect("UTF-8")]);
    assert_eq!(code, 0, "{out}{err}");
}

async fn tenant_for_a_hundred(world: &World) -> Tenant {
    world.first.always(openai::chat("word", 10, 50));
    let limit = dollars(PAID_FOR * PRICE);
    world.tenant(Plan::new().levels(4).hard(limit.clone()).root_hard(limit)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_at_once_and_money_for_a_hundred_on_sqlite() {
    let world = Setup::new().on_sqlite().start().await;
    let tenant = tenant_for_a_hundred(&world).await;
    let database = world.database_file();
    let leaf = tenant.wallet.clone();
    // It sees each commit as any operator's sqlite3 would.
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    let reader = rusqlite::Connection::open_with_flags(&database, flags).expect("readers are welcome");
    reader.busy_timeout(Duration::from_secs(5)).expect("a timeout");
    let look = move || {
        let mut rows =
            reader.prepare("SELECT spent, held FROM wallet_windows WHERE wallet_id = ?1").expect("the table");
        let rows = rows.query_map([&leaf], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
        rows.map(|row| row.expect("a row")).collect()
    };
    exactly_a_hundred(&world, &[world.url()], &tenant, Box::new(look)).await;
}

/// A new key is in force everywhere within five seconds.
async fn until_known(world: &World, process: &Process, key: &str) {
    let bearer = format!("Bearer {key}");
    let from = std::time::Instant::now();
    loop {
        let url = format!("{}/v1/models", process.url);
        let answer = world.http.send("GET", &url, &[("authorization", &bearer)], "").await.expect("an answer");
        if answer.status == 200 {
            return;
        }
        assert!(from.elapsed() < Duration::from_secs(10), "the process never heard of the key");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What a wallet spent and holds, as Postgres tells it to anybody.
fn look_at(world: &World, wallet: &str) -> Look {
    let database = qa::postgres::name_of(&world.database).to_owned();
    let sql = format!("SELECT spent, held FROM wallet_windows WHERE wallet_id = '{wallet}'");
    Box::new(move || {
        let rows = qa::postgres::server().psql(&database, &sql).expect("rows");
        let number = |text: &str| text.parse::<i64>().expect("a number");
        rows.lines().filter_map(|row| row.split_once('|')).map(|(spent, held)| (number(spent), number(held))).collect()
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_calls_at_once_and_money_for_a_hundred_on_postgres_by_two_processes() {
    let world = Setup::new().on_postgres().start().await;
    let second = world.begin("-second").await;
    let tenant = tenant_for_a_hundred(&world).await;
    until_known(&world, &second, &tenant.key).await;
    let look = look_at(&world, &tenant.wallet);
    exactly_a_hundred(&world, &[world.url(), second.url.clone()], &tenant, look).await;
}

/// Locks an audit head and a wallet the other way round than the writers do, so that one of them waits in a circle and is
/// told so: this session itself would wait for a minute.
async fn cross(world: &World, org: &str, wallet: &str) {
    let database = qa::postgres::name_of(&world.database).to_owned();
    let sql = format!(
        "SET deadlock_timeout = '60s'; BEGIN; SELECT 1 FROM audit_heads WHERE chain = '{org}' FOR UPDATE; SELECT pg_sleep(0.5);
         SELECT 1 FROM wallets WHERE id = '{wallet}' FOR UPDATE; COMMIT"
    );
    let crossing = tokio::task::spawn_blocking(move || qa::postgres::server().psql(&database, &sql));
    crossing.await.expect("it ran").expect("the writers gave way");
}

/// Until no call waits for the books longer than its answer would: then whoever was answered is in them.
async fn until_settled(world: &World) {
    let database = qa::postgres::name_of(&world.database).to_owned();
    let old = "SELECT count(*) FROM holds WHERE at < EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 - 1500000";
    let waiting = tokio::task::spawn_blocking(move || {
        (0..600).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            qa::postgres::server().psql(&database, old).expect("a number") == "0"
        })
    });
    assert!(waiting.await.expect("it ran"), "calls stay held: {}", world.log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_processes_one_limit_and_one_of_them_killed_on_the_way() {
    let world = Setup::new().on_postgres().start().await;
    let second = world.begin("-second").await;
    let mut third = world.begin("-third").await;
    world.first.always(openai::chat("word", 10, 50));
    let whole = world.tenant(Plan::new().levels(2).root_hard(dollars(PAID_FOR * PRICE))).await;
    let root = whole.wallets[0].clone();
    // A leaf for each of three keys; the root is what they share.
    let (mut leaves, mut keys) = (vec![whole.wallet.clone()], vec![whole.key.clone()]);
    for name in ["two", "three"] {
        let body = json!({"org_id": whole.org, "name": name, "kind": "project", "parent_id": root});
        leaves.push(qa::world::id(&world.admin("POST", "/wallets", body).await));
        keys.push(world.key(leaves.last().expect("a leaf"), json!({})).await.1);
    }
    for process in [&second, &third] {
        until_known(&world, process, keys.last().expect("a key")).await;
    }
    let over = Arc::new(AtomicBool::new(false));
    let watching = watch(look_at(&world, &root), over.clone());
    let urls = [world.url(), second.url.clone(), third.url.clone()];
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let callers = Callers::start(&urls, &keys, "counted", 24);
    callers.until(10, || world.log()).await;
    cross(&world, &whole.org, &root).await;
    // Not at once: a batch that loses twice has waited longer than its callers do.
    callers.until(20, || world.log()).await;
    cross(&world, &whole.org, &root).await;
    until_settled(&world).await;
    third.kill();
    // Until there is nothing free; holds of the killed process are part of what is not.
    let from = std::time::Instant::now();
    while usd(&world.wallet(&root).await, "available_usd") > 0 {
        assert!(from.elapsed() < Duration::from_secs(60), "never used up: {}", world.log());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let told = callers.over().await;
    world.at_rest(&root, Duration::from_secs(90)).await;
    over.store(true, Ordering::SeqCst);
    let (looks, most) = watching.join().expect("never above the limit");
    assert_eq!(most, PAID_FOR * PRICE, "seen in {looks} looks");

    // Whoever admitted them: a hundred, to the nano-dollar, each resolved once.
    let books = Tenant { wallet: root.clone(), wallets: vec![root.clone()], ..whole };
    let calls = audit_the_books(&world, &books, &told.whole).await;
    let ended = |kind: &str| calls.values().filter(|kinds| kinds.last().is_some_and(|last| last == kind)).count();
    let (settled, expired) = (ended("settle"), ended("expire"));
    println!("{settled} settled, {expired} expired, {} broken, {looks} looks, {:?}", told.broken, told.tally);
    assert_eq!((calls.len(), settled + expired), (100, 100));
    assert_eq!(usd(&world.wallet(&root).await, "spent_usd"), PAID_FOR * PRICE);
    for leaf in leaves {
        let leaf = Tenant { wallet: leaf.clone(), wallets: vec![leaf], ..books.clone() };
        world.assert_balanced(&leaf).await;
    }
    // A circle of locks is broken and tried again: no caller hears of it.
    let others: Vec<_> =
        told.tally.keys().filter(|(status, code)| (*status, code.as_str()) != (429, "budget_exceeded")).collect();
    assert!(others.iter().all(|(status, _)| *status == 200), "{others:?}");
    let log = std::fs::read_to_string(qa::postgres::server().folder().join("log")).expect("the server's log");
    assert!(log.contains("deadlock detected"), "no circle of locks was made");
}

#[tokio::test]
async fn what_one_process_revokes_stops_in_the_other_within_five_seconds() {
    let world = Setup::new().on_postgres().start().await;
    let second = world.begin("-second").await;
    let tenant = world.rich().await;
    let bearer = format!("Bearer {}", tenant.key);
    let ask = async || {
        let url = format!("{}/v1/models", second.url);
        world.http.send("GET", &url, &[("authorization", &bearer)], "").await.expect("an answer").status
    };
    for (wanted, change) in [(200, None), (401, Some(format!("/keys/{}", tenant.key_id)))] {
        if let Some(path) = change {
            world.admin("DELETE", &path, Value::Null).await;
        }
        let from = std::time::Instant::now();
        while ask().await != wanted {
            assert!(from.elapsed() < Duration::from_secs(10), "never {wanted}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn windows_are_apart_and_a_wallet_without_a_limit_still_counts() {
    let world = Setup::new().on_sqlite().start().await;
    for window in ["none", "day", "week", "month"] {
        let tenant = world.tenant(Plan::new().window(window)).await;
        world.chat(&tenant.key, &hello("counted")).await.expect(200);
        let wallet = world.wallet(&tenant.wallet).await;
        assert_eq!(wallet["window"], json!(window));
        assert_eq!(wallet["resets_at"].is_null(), window == "none", "{wallet}");
        assert_eq!(usd(&wallet, "spent_usd"), 50_000);
        world.assert_balanced(&tenant).await;
    }
}
