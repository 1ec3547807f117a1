//! Who is told, and how surely: alerts as a receiver outside gets them.

use std::time::{Duration, Instant};

use hmac::{Hmac, KeyInit, Mac};
use qa::upstream::{Script, Seen, Upstream};
use qa::world::{Plan, Setup, Tenant, World, hello};
use serde_json::{Value, json};
use sha2::Sha256;

const SECRET: &str = "canary-of-the-hook";

/// A world that tells `receiver` of everything.
async fn telling(receiver: &Upstream, setup: Setup) -> (World, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let secret = folder.path().join("secret");
    std::fs::write(&secret, format!("{SECRET}\n")).expect("a file");
    let sinks = json!([
        {"id": "ops", "kind": "webhook", "url": format!("{}/hook", receiver.root()), "secret": {"file": secret}},
        {"id": "others", "kind": "slack", "url": format!("{}/chat", receiver.root()),
         "orgs": ["org_00000000000000000000000000000001"]},
    ]);
    (setup.with(|config| config["alerts"] = sinks).start().await, folder)
}

/// Somebody whose limit refuses the first call.
async fn refused(world: &World) -> Tenant {
    let tenant = world.tenant(Plan::new().hard("0.000001").window("day")).await;
    for _ in 0..2 {
        world.chat(&tenant.key, &hello("chat")).await.expect(429);
    }
    tenant
}

fn verified(seen: &Seen) -> Value {
    let header = |name: &str| seen.headers[name].to_str().expect("printable").to_owned();
    let signature = header("x-alfred-signature");
    let (at, mac) = signature.strip_prefix("t=").and_then(|rest| rest.split_once(",v1=")).expect("t=…,v1=…");
    let mut expected = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("a key");
    expected.update(format!("{at}.{}", seen.text()).as_bytes());
    assert_eq!(mac, hex::encode(expected.finalize().into_bytes()), "{}", seen.text());
    assert_eq!(header("idempotency-key"), seen.json()["id"].as_str().expect("an id"));
    seen.json()
}

async fn deliveries(world: &World, tenant: &Tenant) -> Vec<Value> {
    let alerts = world.list(&format!("/alerts?org_id={}", tenant.org)).await;
    assert_eq!(alerts.len(), 1, "told once a window: {alerts:?}");
    alerts[0]["deliveries"].as_array().expect("a list").clone()
}

async fn delivered(world: &World, tenant: &Tenant) -> Value {
    let from = Instant::now();
    loop {
        let deliveries = deliveries(world, tenant).await;
        if deliveries.iter().any(|it| it["state"] == "delivered") {
            return deliveries[0].clone();
        }
        assert!(from.elapsed() < Duration::from_secs(30), "never delivered: {deliveries:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_limit_is_told_again_until_it_is_taken_and_every_word_is_signed() {
    let receiver = Upstream::start();
    receiver.always(Script::json(200, &json!({})));
    receiver.next(Script::error(500, "not now"));
    let (world, _folder) = telling(&receiver, Setup::new()).await;
    let tenant = refused(&world).await;
    let delivery = delivered(&world, &tenant).await;
    assert_eq!((&delivery["sink"], &delivery["attempts"]), (&json!("ops"), &json!(2)));
    assert_eq!(deliveries(&world, &tenant).await.len(), 1, "the other sink is for somebody else");
    let seen = receiver.seen();
    assert_eq!(seen.len(), 2);
    let (first, second) = (verified(&seen[0]), verified(&seen[1]));
    assert_eq!(first, second, "the same words at each attempt");
    assert_eq!((&first["kind"], &first["org_id"]), (&json!("hard_limit"), &json!(tenant.org)));
    assert_eq!((&first["wallet_id"], &first["content"]["limit_usd"]), (&json!(tenant.wallet), &json!("0.000001")));
    let metrics = world.http.send("GET", &format!("{}/metrics", world.url()), &[], "").await.expect("metrics").text();
    assert!(metrics.contains("alfred_alerts_pending ") && metrics.contains("alfred_alerts_failed "), "{metrics}");

    let id = first["id"].as_str().expect("an id");
    world.admin("POST", &format!("/alerts/{id}/redeliver"), json!({"sink": "ops"})).await;
    receiver.until("it comes once more", |receiver| receiver.count() == 3).await;
    assert!(!world.log().contains("canary"), "{}", world.log());
}

#[tokio::test]
async fn what_was_sent_but_not_marked_when_the_process_died_is_sent_again() {
    let receiver = Upstream::start();
    receiver.next(Script::hangs());
    receiver.always(Script::json(200, &json!({})));
    let (mut world, _folder) = telling(&receiver, Setup::new().on_sqlite()).await;
    let tenant = refused(&world).await;
    receiver.until("it is sent", |receiver| receiver.count() == 1).await;
    world.kill();
    {
        // A minute goes by.
        let database = rusqlite::Connection::open(world.database_file()).expect("the database");
        let moved = database.execute("UPDATE alert_deliveries SET next_at = 0 WHERE state = 'pending'", []);
        assert_eq!(moved.expect("moved"), 1);
    }
    world.restart().await;
    let delivery = delivered(&world, &tenant).await;
    assert_eq!(delivery["attempts"], 2);
    let seen = receiver.seen();
    assert_eq!(seen.len(), 2);
    assert_eq!(verified(&seen[0])["id"], verified(&seen[1])["id"], "a receiver can tell that it is the same one");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (receiver, elsewhere) = (Upstream::start(), Upstream::start());
    receiver.next(Script::json(307, &json!({})).header("location", &elsewhere.root()));
    receiver.always(Script::json(200, &json!({})));
    let (world, _folder) = telling(&receiver, Setup::new()).await;
    let tenant = refused(&world).await;
    delivered(&world, &tenant).await;
    assert_eq!((receiver.count(), elsewhere.count()), (2, 0));
}
