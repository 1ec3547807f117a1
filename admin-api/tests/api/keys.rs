//! App keys: shown once, rotated with an overlap, revoked.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{World, later};

#[tokio::test]
async fn a_key_shows_its_secret_once_and_its_hash_never() {
    let world = World::new().await;
    let org = world.org().await;
    let team = world.post("/teams", json!({"org_id": org, "name": "Search"})).await.id();
    let root = world.wallet(&org, json!({"kind": "org"})).await;
    let above = world.wallet(&org, json!({"kind": "team", "team_id": team, "parent_id": root})).await;
    let wallet = world.wallet(&org, json!({"parent_id": above})).await;
    let body = json!({"name": "app", "wallet_id": wallet, "models": ["gpt-4o"], "rpm": 60, "tpm": 100000,
        "max_parallel_requests": 8, "priority": "high",
        "expires_at": later(3600)});
    let made = world.post("/keys", body).await;
    assert_eq!(made.status, 201);
    let (id, secret) = (made.id(), made.json()["key"].as_str().unwrap().to_owned());
    assert!(
        secret.starts_with(&format!("sk-alf-{}-", id.strip_prefix("key_").unwrap())),
        "the public id is the key's id"
    );
    assert!(world.opens(&secret).await);

    let read = world.get(&format!("/keys/{id}")).await;
    let expected = json!({
        "id": id, "org_id": org, "name": "app", "wallet_id": wallet, "team_id": team, "user_id": null, "status": "active",
        "models": ["gpt-4o"], "expires_at": later(3600), "rpm": 60, "tpm": 100000, "max_parallel_requests": 8,
        "priority": "high", "tags": {}, "overlap_until": null, "rotated_at": null,
        "revoked_at": null, "created_at": later(0),
    });
    assert_eq!(read.json(), expected, "the team is the nearest wallet's");
    let listed = world.get(&format!("/keys?org_id={org}&wallet_id={wallet}")).await;
    assert_eq!(listed.json()["data"], json!([expected]));
    let audit = world.get(&format!("/audit?org_id={org}")).await;
    let parts: Vec<&str> = secret.split('-').collect();
    for answer in [&read, &listed, &audit] {
        assert!(!answer.text.contains(parts[3]) && !answer.text.contains("secret"), "{}", answer.text);
    }
    world.ledger.clock().advance(Duration::from_secs(3600));
    assert!(!world.opens(&secret).await);
    assert_eq!(world.get(&format!("/keys/{id}")).await.json()["status"], "expired");
    world.post(&format!("/keys/{id}/rotate"), json!({})).await.is_problem(409, "key_ended", None);
}

async fn rotated(world: &World, id: &str, body: Value) -> String {
    let answer = world.post(&format!("/keys/{id}/rotate"), body).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    answer.json()["key"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn after_a_rotation_both_secrets_are_good_until_the_overlap_ends() {
    let world = World::new().await;
    let wallet = world.wallet(&world.org().await, json!({})).await;
    let made = world.post("/keys", json!({"name": "app", "wallet_id": wallet})).await;
    let (id, first) = (made.id(), made.json()["key"].as_str().unwrap().to_owned());
    let second = rotated(&world, &id, json!({"overlap_seconds": 60})).await;
    assert!(world.opens(&first).await && world.opens(&second).await);
    assert_eq!(world.get(&format!("/keys/{id}")).await.json()["overlap_until"], later(60));
    world.ledger.clock().advance(Duration::from_secs(60));
    assert!(!world.opens(&first).await && world.opens(&second).await);
    assert!(world.get(&format!("/keys/{id}")).await.json()["overlap_until"].is_null());

    // No body: a day. A second rotation ends the overlap before it.
    let answer = world.ask("POST", &format!("/keys/{id}/rotate")).send().await;
    assert_eq!(answer.json()["overlap_until"], later(60 + 86_400), "{}", answer.text);
    let fourth = rotated(&world, &id, json!({"overlap_seconds": 0})).await;
    assert!(!world.opens(&second).await && world.opens(&fourth).await);
    assert!(!world.opens(answer.json()["key"].as_str().unwrap()).await, "nothing overlaps");
}

#[tokio::test]
async fn a_revoked_key_opens_nothing_and_stays_revoked() {
    let world = World::new().await;
    let org = world.org().await;
    let wallet = world.wallet(&org, json!({})).await;
    let made = world.post("/keys", json!({"name": "app", "wallet_id": wallet})).await;
    let (id, first) = (made.id(), made.json()["key"].as_str().unwrap().to_owned());
    let second = rotated(&world, &id, json!({})).await;
    for _ in 0..2 {
        let answer = world.ask("DELETE", &format!("/keys/{id}")).send().await;
        assert_eq!((answer.status.as_u16(), &answer.json()["status"]), (200, &json!("revoked")));
        assert!(!world.opens(&first).await && !world.opens(&second).await, "the overlap ends with it");
    }
    world.post(&format!("/keys/{id}/rotate"), json!({})).await.is_problem(409, "key_ended", None);
    let revocations = world.audit_kinds(&org).await.iter().filter(|kind| *kind == "KEY_REVOKED").count();
    assert_eq!(revocations, 1, "told once");
}

#[tokio::test]
async fn what_is_said_of_a_keys_calls_is_changed_by_admins() {
    let world = World::new().await;
    let org = world.org().await;
    let wallet = world.wallet(&org, json!({})).await;
    let made = world.post("/keys", json!({"name": "app", "wallet_id": wallet, "tags": {"team": "ads"}})).await;
    assert_eq!(made.json()["tags"], json!({"team": "ads"}), "{}", made.text);
    let path = format!("/keys/{}", made.id());
    for (tags, told) in
        [(json!({"team": "search", "env": "prod"}), json!({"team": "search", "env": "prod"})), (Value::Null, json!({}))]
    {
        let changed = world.patch(&path, json!({"tags": tags})).await;
        assert_eq!((changed.status.as_u16(), &changed.json()["tags"]), (200, &told), "{}", changed.text);
        assert_eq!(world.get(&path).await.json()["tags"], told);
    }
    for (body, member) in [
        (json!({"rpm": 0}), "rpm"),
        (json!({"tpm": 1_000_000_001}), "tpm"),
        (json!({"max_parallel_requests": 0}), "max_parallel_requests"),
        (json!({"priority": "urgent"}), "priority"),
        (json!({"priority": null}), "priority"),
        (json!({"tags": ["ads"]}), "tags"),
        (json!({"tags": {"team": 7}}), "tags.team"),
        (json!({"tags": {"": "ads"}}), "tags"),
        (json!({"tags": {"team": "x".repeat(129)}}), "tags"),
        (json!({"tags": {}, "wallet_id": wallet}), "wallet_id"),
    ] {
        world.patch(&path, body).await.is_problem(400, "invalid_value", Some(member));
    }
    world.patch("/keys/key_00000000000000000000000000000000", json!({"tags": {}})).await.is_problem(
        404,
        "not_found",
        None,
    );
}

#[tokio::test]
async fn limits_and_priority_of_a_key_change_and_the_log_tells_from_what_to_what() {
    let world = World::new().await;
    let org = world.org().await;
    let wallet = world.wallet(&org, json!({})).await;
    let made = world.post("/keys", json!({"name": "app", "wallet_id": wallet, "rpm": 5})).await;
    let told = |body: &Value| ["rpm", "tpm", "max_parallel_requests", "priority", "tags"].map(|it| body[it].clone());
    assert_eq!(told(&made.json()), [json!(5), Value::Null, Value::Null, json!("normal"), json!({})]);
    let path = format!("/keys/{}", made.id());
    for (change, expected) in [
        (json!({"tpm": 9, "priority": "low"}), [json!(5), json!(9), Value::Null, json!("low"), json!({})]),
        (json!({"rpm": null, "max_parallel_requests": 3}), [Value::Null, json!(9), json!(3), json!("low"), json!({})]),
        (json!({}), [Value::Null, json!(9), json!(3), json!("low"), json!({})]),
    ] {
        let changed = world.patch(&path, change).await;
        assert_eq!(told(&changed.json()), expected, "{}", changed.text);
        assert_eq!(told(&world.get(&path).await.json()), expected);
    }
    let log = world.get(&format!("/audit?org_id={org}")).await.json();
    let changes: Vec<&Value> =
        log["data"].as_array().unwrap().iter().filter(|entry| entry["kind"] == "KEY_CHANGED").collect();
    assert_eq!(changes.len(), 2, "what changes nothing is no change: {log}");
    let last = changes.iter().find(|it| it["to"]["max_parallel_requests"] == json!(3)).expect("the second");
    assert_eq!((&last["from"]["rpm"], &last["to"]["rpm"]), (&json!(5), &Value::Null), "{last}");
}
