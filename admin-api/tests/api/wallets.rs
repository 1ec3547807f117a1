//! Wallets' calendars, thresholds and coverage on the wire, and how one closes.

use ledger::{CallRecord, Order, Reserved};
use serde_json::{Value, json};

use crate::world::World;

#[tokio::test]
async fn a_wallet_tells_what_it_was_made_of_and_what_it_is_unless_said() {
    let world = World::new().await;
    let org = world.org().await;
    let told = async |more: Value| world.get(&format!("/wallets/{}", world.wallet(&org, more).await)).await.json();
    let plain = told(json!({})).await;
    for (member, value) in [
        ("soft_thresholds", json!([])),
        ("soft_action", json!("warn")),
        ("time_zone", json!("UTC")),
        ("anchor_day", Value::Null),
        ("anchor_weekday", Value::Null),
        ("models", Value::Null),
        ("tags", Value::Null),
        ("under_id", Value::Null),
        ("closed_at", Value::Null),
    ] {
        assert_eq!(plain[member], value, "{member}");
    }
    // It is 2026-06-15, a Monday, at noon UTC.
    for (more, anchor, start, end) in [
        (json!({"window": "day", "time_zone": "Asia/Tokyo"}), Value::Null, "06-14T15", "06-15T15"),
        (json!({"window": "week"}), json!("monday"), "06-15T00", "06-22T00"),
        (
            json!({"window": "week", "anchor_weekday": "sunday", "time_zone": "Europe/Berlin"}),
            json!("sunday"),
            "06-13T22",
            "06-20T22",
        ),
        (json!({"window": "month"}), json!(1), "06-01T00", "07-01T00"),
        (
            json!({"window": "month", "anchor_day": 31, "time_zone": "America/New_York"}),
            json!(31),
            "05-31T04",
            "06-30T04",
        ),
    ] {
        let wallet = told(more.clone()).await;
        for (member, value) in more.as_object().unwrap() {
            assert_eq!(&wallet[member], value, "{more}");
        }
        let told = if wallet["window"] == "week" { &wallet["anchor_weekday"] } else { &wallet["anchor_day"] };
        assert_eq!(told, &anchor, "{more}");
        assert_eq!(wallet["window_start"], format!("2026-{start}:00:00.000000Z"), "{more}");
        assert_eq!(wallet["resets_at"], format!("2026-{end}:00:00.000000Z"), "{more}");
    }
    let terms = json!({"hard_limit_usd": "10", "soft_limit_usd": "2", "soft_thresholds": ["50.0%", "8.50"], "soft_action": "block"});
    let wallet = told(terms).await;
    assert_eq!((&wallet["soft_thresholds"], &wallet["soft_action"]), (&json!(["50%", "8.5"]), &json!("block")));
    assert_eq!(wallet["available_usd"], "2", "the lowest of them blocks");
}

#[tokio::test]
async fn null_takes_away_what_can_be_taken_away() {
    let world = World::new().await;
    let org = world.org().await;
    let wallet = world
        .wallet(
            &org,
            json!({"hard_limit_usd": "10", "soft_limit_usd": "5", "soft_thresholds": ["80%"], "window": "month",
            "time_zone": "Europe/Berlin", "anchor_day": 15}),
        )
        .await;
    let path = format!("/wallets/{wallet}");
    for (change, member, value) in [
        (json!({"soft_thresholds": null}), "soft_thresholds", json!([])),
        (json!({"soft_limit_usd": null}), "soft_limit_usd", Value::Null),
        (json!({"anchor_day": null}), "anchor_day", json!(1)),
        (json!({"anchor_day": 20}), "anchor_day", json!(20)),
        (json!({"time_zone": null}), "time_zone", json!("UTC")),
        (json!({"window": "week"}), "anchor_weekday", json!("monday")),
        (json!({"anchor_weekday": "friday"}), "anchor_weekday", json!("friday")),
        (json!({"name": "Other"}), "anchor_weekday", json!("friday")),
        (json!({"hard_limit_usd": null}), "hard_limit_usd", Value::Null),
    ] {
        let changed = world.patch(&path, change.clone()).await;
        assert_eq!((changed.status.as_u16(), &changed.json()[member]), (200, &value), "{change}: {}", changed.text);
        assert_eq!(world.get(&path).await.json()[member], value, "{change}");
    }
}

#[tokio::test]
async fn a_scope_says_which_calls_it_covers() {
    let world = World::new().await;
    let org = world.org().await;
    let team = world.wallet(&org, json!({"kind": "team"})).await;
    let body = json!({"kind": "scope", "models": ["*opus*"], "tags": {"team": "ads"}, "under_id": team, "hard_limit_usd": "5"});
    let scope = world.wallet(&org, body).await;
    let told = world.get(&format!("/wallets/{scope}")).await.json();
    assert_eq!((&told["kind"], &told["under_id"], &told["parent_id"]), (&json!("scope"), &json!(team), &Value::Null));
    assert_eq!((&told["models"], &told["tags"]), (&json!(["*opus*"]), &json!({"team": "ads"})));
    let changed = world.patch(&format!("/wallets/{scope}"), json!({"models": null, "tags": {"team": "search"}})).await;
    assert_eq!((&changed.json()["models"], &changed.json()["tags"]), (&json!([]), &json!({"team": "search"})));
    world.patch(&format!("/wallets/{scope}"), json!({"tags": null})).await.is_problem(
        400,
        "invalid_value",
        Some("models"),
    );
    world.post("/keys", json!({"name": "A", "wallet_id": scope})).await.is_problem(
        400,
        "invalid_value",
        Some("wallet_id"),
    );
    let below = json!({"org_id": org, "name": "A", "kind": "key", "parent_id": scope});
    world.post("/wallets", below).await.is_problem(400, "invalid_value", Some("parent_id"));
    let audit = world.get(&format!("/audit?org_id={org}")).await.text;
    assert!(audit.contains("tags_sha256") && !audit.contains("search"), "{audit}");
}

#[tokio::test]
async fn a_wallet_with_calls_in_flight_is_not_closed_and_a_closed_one_stays() {
    let world = World::new().await;
    let org = world.org().await;
    let root = world.wallet(&org, json!({"kind": "org"})).await;
    let wallet = world.wallet(&org, json!({"parent_id": root})).await;
    let key = world.ledger.tenants().key(world.key(&wallet).await.parse().unwrap()).await.unwrap();
    let order = Order {
        call: world.ledger.new_id(),
        org: key.org,
        key: key.id,
        wallet: key.wallet,
        extra: Vec::new(),
        amount: "1".parse().unwrap(),
        estimate: None,
        patient: false,
        downgraded: false,
        expires_at: world.ledger.clock().now().after(std::time::Duration::from_secs(600)),
        claim: None,
        record: CallRecord::default(),
    };
    let Reserved::New(hold) = world.ledger.reserve(order).await.unwrap() else { panic!("a replay") };
    for id in [&root, &wallet] {
        let refused = world.patch(&format!("/wallets/{id}"), json!({"status": "closed"})).await;
        refused.is_problem(409, "wallet_in_use", None);
        assert!(refused.text.contains("1 calls are in flight"), "{}", refused.text);
        assert_eq!(world.get(&format!("/wallets/{id}")).await.json()["status"], "active");
    }
    let release = ledger::Release { reason: "test".into(), cost: ledger::Money::ZERO, record: CallRecord::default() };
    world.ledger.release(hold, release).await.unwrap();
    let path = format!("/wallets/{wallet}");
    for _ in 0..2 {
        let closed = world.patch(&path, json!({"status": "closed"})).await;
        assert_eq!((closed.status.as_u16(), &closed.json()["status"]), (200, &json!("closed")), "{}", closed.text);
        assert!(closed.json()["closed_at"].is_string());
    }
    for change in [
        json!({"status": "active"}),
        json!({"status": "suspended"}),
        json!({"hard_limit_usd": "5"}),
        json!({"name": "B"}),
    ] {
        world.patch(&path, change).await.is_problem(409, "wallet_closed", None);
    }
    let fund = world.ask("POST", &format!("{path}/fund")).header("idempotency-key", "late");
    let body = json!({"amount_usd": "5", "source": "test", "reference": "1"});
    fund.json(&body).send().await.is_problem(409, "wallet_closed", None);
    let below = json!({"org_id": org, "name": "A", "kind": "key", "parent_id": wallet});
    world.post("/wallets", below).await.is_problem(400, "invalid_value", Some("parent_id"));
    world.post("/keys", json!({"name": "A", "wallet_id": wallet})).await.is_problem(
        400,
        "invalid_value",
        Some("wallet_id"),
    );
    let closings = world.audit_kinds(&org).await.iter().filter(|kind| *kind == "WALLET_CHANGED").count();
    assert_eq!(closings, 1, "told once");
}
