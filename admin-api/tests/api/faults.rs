//! Bad bodies: each is told by the member that is at fault, and changes nothing.

use ledger::{Org, Team, User, Wallet};
use serde_json::{Value, json};

use crate::world::{World, later, unknown};

#[tokio::test]
async fn every_bad_member_is_named() {
    let world = World::new().await;
    let (org, other) = (world.org().await, world.org().await);
    let theirs = world.post("/teams", json!({"org_id": other, "name": "T"})).await.id();
    let their_user = world.post("/users", json!({"org_id": other, "name": "U"})).await.id();
    let their_wallet = world.wallet(&other, json!({})).await;
    let wallet = world.wallet(&org, json!({})).await;
    let long = "x".repeat(201);
    let team = json!({"org_id": org, "name": "A"});
    let user = json!({"org_id": org, "name": "A"});
    let purse = json!({"org_id": org, "name": "A", "kind": "team"});
    let scope = json!({"org_id": org, "name": "A", "kind": "scope", "models": ["*"]});
    let key = json!({"name": "A", "wallet_id": wallet});
    let rows: Vec<(&str, &Value, &str, Value)> = vec![
        ("/orgs", &Value::Null, "name", json!("")),
        ("/teams", &team, "name", json!(long)),
        ("/teams", &team, "name", json!("  ")),
        ("/teams", &team, "name", json!("a\u{0}b")),
        ("/teams", &team, "name", json!(7)),
        ("/teams", &team, "name", Value::Null),
        ("/teams", &team, "org_id", json!("acme")),
        ("/teams", &team, "org_id", json!(unknown::<Org>())),
        ("/teams", &team, "org_id", json!(wallet)),
        ("/teams", &team, "colour", json!("red")),
        ("/users", &user, "email", json!("nobody")),
        ("/users", &user, "team_ids", json!([unknown::<Team>()])),
        ("/users", &user, "team_ids", json!([theirs])),
        ("/users", &user, "team_ids", json!("all")),
        ("/wallets", &purse, "kind", json!("moon")),
        ("/wallets", &purse, "window", json!("year")),
        ("/wallets", &purse, "funding", json!("credit")),
        ("/wallets", &purse, "time_zone", json!("Berlin")),
        ("/wallets", &purse, "time_zone", json!("")),
        ("/wallets", &purse, "anchor_day", json!(1)),
        ("/wallets", &purse, "anchor_day", json!(256)),
        ("/wallets", &purse, "anchor_weekday", json!("Monday")),
        ("/wallets", &purse, "soft_action", json!("stop")),
        ("/wallets", &purse, "soft_thresholds", json!(["50%"])),
        ("/wallets", &purse, "soft_thresholds", json!(["1", "1.0"])),
        ("/wallets", &purse, "soft_thresholds", json!("50%")),
        ("/wallets", &purse, "models", json!(["*"])),
        ("/wallets", &purse, "under_id", json!(wallet)),
        ("/wallets", &scope, "models", json!([])),
        ("/wallets", &scope, "models", json!(["a b"])),
        ("/wallets", &scope, "parent_id", json!(wallet)),
        ("/wallets", &scope, "under_id", json!(their_wallet)),
        ("/wallets", &scope, "under_id", json!(unknown::<Wallet>())),
        ("/wallets", &purse, "hard_limit_usd", json!("-1")),
        ("/wallets", &purse, "hard_limit_usd", json!("1e3")),
        ("/wallets", &purse, "hard_limit_usd", json!(1.5)),
        ("/wallets", &purse, "hard_limit_usd", json!("0.0000000001")),
        ("/wallets", &purse, "hard_limit_usd", json!("9223372036.854775808")),
        ("/wallets", &purse, "soft_limit_usd", json!("-0.1")),
        ("/wallets", &purse, "parent_id", json!(unknown::<Wallet>())),
        ("/wallets", &purse, "parent_id", json!(their_wallet)),
        ("/wallets", &purse, "team_id", json!(unknown::<Team>())),
        ("/wallets", &purse, "team_id", json!(theirs)),
        ("/wallets", &purse, "user_id", json!(their_user)),
        ("/wallets", &purse, "status", json!("suspended")),
        ("/keys", &key, "wallet_id", json!(unknown::<Wallet>())),
        ("/keys", &key, "wallet_id", Value::Null),
        ("/keys", &key, "team_id", json!(theirs)),
        ("/keys", &key, "user_id", json!(their_user)),
        ("/keys", &key, "user_id", json!(unknown::<User>())),
        ("/keys", &key, "models", json!([])),
        ("/keys", &key, "models", json!(["a", "a"])),
        ("/keys", &key, "models", json!([""])),
        ("/keys", &key, "rpm", json!(0)),
        ("/keys", &key, "rpm", json!(-1)),
        ("/keys", &key, "tpm", json!(0)),
        ("/keys", &key, "tpm", json!(u64::MAX)),
        ("/keys", &key, "tpm", json!(1_000_000_001)),
        ("/keys", &key, "rpm", json!(1_000_001)),
        ("/keys", &key, "expires_at", json!("tomorrow")),
        ("/keys", &key, "expires_at", json!(later(0))),
    ];
    for (path, good, member, value) in rows {
        let mut body = if good.is_null() { json!({}) } else { good.clone() };
        body[member] = value.clone();
        let answer = world.post(path, body).await;
        println!("{path} {member} = {value}");
        answer.is_problem(400, "invalid_value", Some(member));
    }
    world.post("/keys", json!({"name": "A", "wallet_id": wallet, "models": ["gpt-4o", 7]})).await.is_problem(
        400,
        "invalid_value",
        Some("models[1]"),
    );
    for (body, member) in [
        (json!({"org_id": org, "name": "A", "kind": "org", "parent_id": wallet}), "parent_id"),
        (
            json!({"org_id": org, "name": "A", "kind": "org", "hard_limit_usd": "1", "soft_limit_usd": "2"}),
            "soft_limit_usd",
        ),
        (json!({"org_id": org, "name": "A"}), "kind"),
    ] {
        world.post("/wallets", body).await.is_problem(400, "invalid_value", Some(member));
    }
    let counts = ["/teams", "/users", "/wallets", "/keys"].map(|path| format!("{path}?org_id={org}"));
    for (path, rows) in counts.iter().zip([0, 0, 1, 0]) {
        assert_eq!(world.get(path).await.json()["data"].as_array().unwrap().len(), rows, "{path}");
    }
}

#[tokio::test]
async fn a_change_that_cannot_be_is_refused_and_changes_nothing() {
    let world = World::new().await;
    let org = world.org().await;
    let wallet = world.wallet(&org, json!({"hard_limit_usd": "10"})).await;
    let prepaid = world.wallet(&org, json!({"funding": "prepaid"})).await;
    for (id, change, member) in [
        (&wallet, json!({"hard_limit_usd": "-1"}), "hard_limit_usd"),
        (&wallet, json!({"soft_limit_usd": "11"}), "soft_limit_usd"),
        (&wallet, json!({"status": "ended"}), "status"),
        (&wallet, json!({"status": null}), "status"),
        (&wallet, json!({"window": null}), "window"),
        (&wallet, json!({"name": null}), "name"),
        (&wallet, json!({"soft_action": null}), "soft_action"),
        (&wallet, json!({"soft_action": "panic"}), "soft_action"),
        (&wallet, json!({"time_zone": "Mars/Olympus"}), "time_zone"),
        (&wallet, json!({"anchor_day": 5}), "anchor_day"),
        (&wallet, json!({"window": "month", "anchor_day": 32}), "anchor_day"),
        (&wallet, json!({"window": "month", "anchor_weekday": "friday"}), "anchor_weekday"),
        (&wallet, json!({"window": "week", "anchor_weekday": "someday"}), "anchor_weekday"),
        (&wallet, json!({"window": "week", "anchor_weekday": "friday", "anchor_day": 1}), "anchor_day"),
        (&wallet, json!({"soft_thresholds": ["50%", "11"]}), "soft_thresholds"),
        (&wallet, json!({"soft_thresholds": ["50%", "101%"]}), "soft_thresholds[1]"),
        (&wallet, json!({"models": ["*"]}), "models"),
        (&wallet, json!({"tags": {"a": "b"}}), "tags"),
        (&wallet, json!({"window": "hour"}), "window"),
        (&wallet, json!({"name": ""}), "name"),
        (&wallet, json!({"kind": "org"}), "kind"),
        (&wallet, json!({"parent_id": prepaid}), "parent_id"),
        (&wallet, json!({"hard_limit_usd": "5", "spent_usd": "0"}), "spent_usd"),
    ] {
        let before = world.get(&format!("/wallets/{id}")).await.text;
        world.patch(&format!("/wallets/{id}"), change).await.is_problem(400, "invalid_value", Some(member));
        assert_eq!(world.get(&format!("/wallets/{id}")).await.text, before);
    }
    let lowered = world.patch(&format!("/wallets/{wallet}"), json!({"soft_limit_usd": "9"})).await;
    assert_eq!(lowered.status, 200);
    let lowered = world.patch(&format!("/wallets/{wallet}"), json!({"hard_limit_usd": "0"})).await;
    assert_eq!(lowered.status, 200, "the hard limit can always be lowered: {}", lowered.text);
}

#[tokio::test]
async fn a_chain_has_a_longest_length() {
    let world = World::new().await;
    let org = world.org().await;
    let mut parent = world.wallet(&org, json!({"kind": "org"})).await;
    for _ in 1..16 {
        parent = world.wallet(&org, json!({"parent_id": parent})).await;
    }
    let body = json!({"org_id": org, "name": "A", "kind": "key", "parent_id": parent});
    world.post("/wallets", body).await.is_problem(400, "invalid_value", Some("parent_id"));
}

#[tokio::test]
async fn what_is_no_json_object_is_refused() {
    let world = World::new().await;
    for (body, code) in [
        ("", "invalid_json"),
        ("{", "invalid_json"),
        ("{\"name\": \"A\"} x", "invalid_json"),
        ("[\"A\"]", "invalid_json"),
        ("\"A\"", "invalid_json"),
        ("null", "invalid_json"),
        ("{\"name\": \"\\ud800\"}", "invalid_json"),
    ] {
        let answer = world.ask("POST", "/orgs").header("content-type", "application/json").text(body).send().await;
        println!("{body}");
        answer.is_problem(400, code, None);
    }
    let twice =
        world.ask("POST", "/orgs").header("content-type", "application/json").text("{\"name\":\"A\",\"name\":\"B\"}");
    twice.send().await.is_problem(400, "invalid_value", Some("name"));
    assert_eq!(world.get("/orgs").await.json()["data"], json!([]));
}

#[tokio::test]
async fn a_body_says_that_it_is_json_and_has_a_limit() {
    let world = World::new().await;
    for wrong in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx", ""] {
        let answer = world.ask("POST", "/orgs").header("content-type", wrong).text("{\"name\":\"A\"}").send().await;
        answer.is_problem(415, "unsupported_media_type", None);
    }
    world.ask("POST", "/orgs").text("{\"name\":\"A\"}").send().await.is_problem(415, "unsupported_media_type", None);
    for good in ["application/json", "Application/JSON; charset=utf-8"] {
        let answer = world.ask("POST", "/orgs").header("content-type", good).text("{\"name\":\"A\"}").send().await;
        assert_eq!(answer.status, 201, "{good}");
    }
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(1024 * 1024));
    let answer = world.ask("POST", "/orgs").header("content-type", "application/json").text(large).send().await;
    answer.is_problem(413, "request_too_large", None);
}

#[tokio::test]
async fn a_rotation_has_bounds() {
    let world = World::new().await;
    let key = world.key(&world.wallet(&world.org().await, json!({})).await).await;
    let path = format!("/keys/{key}/rotate");
    for wrong in [json!(2_592_001), json!(-1), json!("60"), json!(u64::MAX)] {
        let answer = world.post(&path, json!({"overlap_seconds": wrong})).await;
        answer.is_problem(400, "invalid_value", Some("overlap_seconds"));
    }
    assert_eq!(world.post(&path, Value::Null).await.status, 200, "no body at all is fine");
    world.ask("POST", &path).text("{}").send().await.is_problem(415, "unsupported_media_type", None);
    world.post(&path, json!({"overlap": 1})).await.is_problem(400, "invalid_value", Some("overlap"));
}

/// What is no amount, and what is told of it.
const NO_AMOUNTS: [(&str, &str); 10] = [
    ("\"-1\"", "must not be negative"),
    ("\"9223372036.854775808\"", "too large"),
    ("\"1e9\"", "not a decimal number"),
    ("\"NaN\"", "not a decimal number"),
    ("\"Infinity\"", "not a decimal number"),
    ("\"0.0000000001\"", "finer than a nano-dollar"),
    ("\"\"", "not a decimal number"),
    ("\" 1\"", "not a decimal number"),
    ("5", "expected a"),
    ("1e400", "number out of range"),
];

#[tokio::test]
async fn what_is_no_amount_is_refused_wherever_one_is_asked_for_and_changes_nothing() {
    let world = World::new().await;
    let org = world.org().await;
    let wallet = world.wallet(&org, json!({"hard_limit_usd": "10", "funding": "prepaid"})).await;
    let (made, changed, funded) =
        ("/wallets".to_owned(), format!("/wallets/{wallet}"), format!("/wallets/{wallet}/fund"));
    let before = (world.get("/wallets").await.text, world.get(&format!("/audit?org_id={org}")).await.text);
    for (amount, why) in NO_AMOUNTS {
        let new = |member: &str, value: &str| {
            let mut body = format!(r#"{{"org_id":"{org}","name":"A","kind":"team","{member}":{value}"#);
            body.push_str(if member == "hard_limit_usd" { "}" } else { r#","hard_limit_usd":"9"}"# });
            body
        };
        for (method, path, member, body) in [
            ("POST", &made, "hard_limit_usd", new("hard_limit_usd", amount)),
            ("POST", &made, "soft_limit_usd", new("soft_limit_usd", amount)),
            ("POST", &made, "soft_thresholds[0]", new("soft_thresholds", &format!("[{amount}]"))),
            ("PATCH", &changed, "hard_limit_usd", format!(r#"{{"hard_limit_usd":{amount}}}"#)),
            ("PATCH", &changed, "soft_limit_usd", format!(r#"{{"soft_limit_usd":{amount}}}"#)),
            ("PATCH", &changed, "soft_thresholds[0]", format!(r#"{{"soft_thresholds":[{amount}]}}"#)),
            ("POST", &funded, "amount_usd", format!(r#"{{"amount_usd":{amount},"source":"test","reference":"1"}}"#)),
        ] {
            println!("{method} {path} {body}");
            let ask = world.ask(method, path).header("content-type", "application/json");
            let answer = ask.header("idempotency-key", "no amount").text(body).send().await;
            if amount == "1e400" {
                answer.is_problem(400, "invalid_json", None); // what JSON cannot tell is no member's fault
                continue;
            }
            answer.is_problem(400, "invalid_value", Some(member));
            let fault = answer.json()["errors"][0]["detail"].as_str().unwrap().to_owned();
            assert!(fault.contains(why) || path == &funded && fault.contains("more than nothing"), "{fault}");
        }
    }
    let after = (world.get("/wallets").await.text, world.get(&format!("/audit?org_id={org}")).await.text);
    assert_eq!(before, after);
}
