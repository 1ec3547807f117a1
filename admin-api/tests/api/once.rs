//! Asking twice happens once.

use serde_json::{Value, json};

use crate::world::{ADMIN, Answer, World};

async fn post(world: &World, path: &str, once: &str, body: Value) -> Answer {
    world.ask("POST", path).header("idempotency-key", once).json(&body).send().await
}

#[tokio::test]
async fn a_repeat_answers_the_same_object_and_other_content_is_a_conflict() {
    let world = World::new().await;
    let org = world.org().await;
    for (path, body, other) in [
        ("/orgs", json!({"name": "A"}), json!({"name": "B"})),
        ("/teams", json!({"org_id": org, "name": "A"}), json!({"org_id": org, "name": "B"})),
        ("/users", json!({"org_id": org, "name": "A"}), json!({"org_id": org, "name": "A", "email": "a@b.c"})),
        (
            "/wallets",
            json!({"org_id": org, "name": "A", "kind": "org", "hard_limit_usd": "1"}),
            json!({"org_id": org, "name": "A", "kind": "org", "hard_limit_usd": "2"}),
        ),
    ] {
        let first = post(&world, path, "the same", body.clone()).await;
        let again = post(&world, path, "the same", body.clone()).await;
        assert_eq!((first.status, &first.text), (again.status, &again.text), "{path}");
        post(&world, path, "the same", other).await.is_problem(409, "idempotency_mismatch", None);
        assert_ne!(first.id(), post(&world, path, "another", body.clone()).await.id(), "{path}");
        assert_ne!(world.post(path, body.clone()).await.id(), world.post(path, body).await.id(), "{path} without it");
    }
    let kinds = world.audit_kinds(&org).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "TEAM_CREATED").count(), 4, "a repeat leaves no entry");
}

#[tokio::test]
async fn a_repeat_of_a_changed_wallet_is_still_the_same_request() {
    let world = World::new().await;
    let org = world.org().await;
    let body = json!({"org_id": org, "name": "A", "kind": "org", "hard_limit_usd": "1"});
    let id = post(&world, "/wallets", "w", body.clone()).await.id();
    world.patch(&format!("/wallets/{id}"), json!({"hard_limit_usd": "9"})).await;
    let again = post(&world, "/wallets", "w", body).await;
    assert_eq!((again.id(), &again.json()["hard_limit_usd"]), (id, &json!("9")));
}

#[tokio::test]
async fn a_secret_is_never_shown_twice() {
    let world = World::new().await;
    let wallet = world.wallet(&world.org().await, json!({})).await;
    let body = json!({"name": "app", "wallet_id": wallet});
    let id = post(&world, "/keys", "k", body.clone()).await.id();
    let again = post(&world, "/keys", "k", body).await;
    again.is_problem(409, "idempotency_expired", None);
    assert!(again.text.contains(&id) && !again.text.contains("sk-alf-"), "{}", again.text);
    post(&world, "/keys", "k", json!({"name": "other", "wallet_id": wallet})).await.is_problem(
        409,
        "idempotency_mismatch",
        None,
    );
    let path = format!("/keys/{id}/rotate");
    let rotated = post(&world, &path, "r", json!({})).await;
    assert!(world.opens(rotated.json()["key"].as_str().unwrap()).await);
    post(&world, &path, "r", json!({})).await.is_problem(409, "idempotency_expired", None);
    post(&world, &path, "r", json!({"overlap_seconds": 1})).await.is_problem(409, "idempotency_mismatch", None);
    assert!(world.opens(rotated.json()["key"].as_str().unwrap()).await, "a repeat rotates nothing");
}

#[tokio::test]
async fn what_is_no_idempotency_key_is_refused() {
    let world = World::new().await;
    let long = "x".repeat(256);
    for wrong in ["", &long, "schlüssel"] {
        let answer = post(&world, "/orgs", wrong, json!({"name": "A"})).await;
        answer.is_problem(400, "invalid_idempotency_key", None);
    }
    let twice = world.ask("POST", "/orgs").header("idempotency-key", "a").header("idempotency-key", "b");
    twice.json(&json!({"name": "A"})).send().await.is_problem(400, "invalid_idempotency_key", None);
    assert_eq!(post(&world, "/orgs", &"x".repeat(255), json!({"name": "A"})).await.status, 201);
}

#[tokio::test]
async fn two_operators_may_use_the_same_idempotency_key() {
    let world = World::new().await;
    let second = "another-admin-key-for-the-tests";
    let first = post(&world, "/orgs", "same", json!({"name": "A"})).await.id();
    world.ledger.tenants().ensure_operator(second).await.unwrap();
    admin_api::Refresh::refresh(&*world.house).await.unwrap();
    post(&world, "/orgs", "same", json!({"name": "A"})).await.is_problem(401, "unauthorized", None);
    let ask = world.ask("POST", "/orgs").header("authorization", &format!("Bearer {second}"));
    let other = ask.header("idempotency-key", "same").json(&json!({"name": "A"})).bare().await;
    assert_ne!(other.id(), first);
    assert!(!other.text.contains(ADMIN));
}
