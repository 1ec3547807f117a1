//! Approvals and the operators who decide them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::world::{Answer, World, later};

async fn as_operator(world: &World, key: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
    let ask = world.ask(method, path).header("authorization", &format!("Bearer {key}"));
    match body {
        Some(body) => ask.json(&body).bare().await,
        None => ask.bare().await,
    }
}

#[tokio::test]
async fn an_approver_reads_what_was_asked_and_decides() {
    let world = World::new().await;
    let org = world.org().await;
    let (operator, key) = world.operator(json!({"role": "approver"})).await;
    let id = world.approval(&org).await;
    let listed = as_operator(&world, &key, "GET", "/approvals?state=pending", None).await.json();
    let row = &listed["data"][0];
    assert_eq!((&row["id"], &row["state"], &row["org_id"]), (&json!(id), &json!("pending"), &json!(org)));
    assert_eq!(row["requirements"], json!([{"name": "frontier", "reason": "is dear"}]));
    assert_eq!((&row["model"], &row["estimate_usd"], &row["grant"]), (&json!("gpt-4o"), &json!("0.25"), &Value::Null));
    let verdict = json!({"decision": "approve", "reason": "go on", "budget_usd": "5", "expires_in_s": 60,
        "models": ["gpt-*"], "scope": "org"});
    let path = format!("/approvals/{id}/decide");
    let decided = as_operator(&world, &key, "POST", &path, Some(verdict.clone())).await;
    let body = decided.json();
    assert_eq!((&body["state"], &body["decided_by"]), (&json!("approved"), &json!(operator)), "{body}");
    let grant =
        json!({"scope": "org", "models": ["gpt-*"], "uses": null, "budget_usd": "5", "used": 0, "spent_usd": "0"});
    assert_eq!(body["grant"], grant);
    assert_eq!(body["expires_at"], later(60));
    assert_eq!(as_operator(&world, &key, "POST", &path, Some(verdict)).await.json(), body, "a repeat");
    world.post(&path, json!({"decision": "approve"})).await.is_problem(409, "approval_settled", None);
    let read = world.get(&format!("/approvals/{id}")).await.json();
    assert_eq!((&read["uses"], &read["reason"]), (&json!([]), &json!("go on")));
    world.ledger.clock().advance(Duration::from_secs(60));
    assert_eq!(world.get(&format!("/approvals/{id}")).await.json()["state"], "expired");
    assert_eq!(world.get("/approvals?state=pending").await.json()["data"], json!([]));
    let kinds = world.audit_kinds(&org).await;
    assert_eq!(kinds[kinds.len() - 2..], ["APPROVAL_REQUESTED", "APPROVAL_GRANTED"]);
}

#[tokio::test]
async fn an_approver_of_one_organisation_sees_that_one_alone() {
    let world = World::new().await;
    let (ours, theirs) = (world.org().await, world.org().await);
    let (mine, other) = (world.approval(&ours).await, world.approval(&theirs).await);
    let (_, key) = world.operator(json!({"role": "approver", "org_id": ours})).await;
    for path in ["/approvals".to_owned(), format!("/approvals?org_id={ours}")] {
        let listed = as_operator(&world, &key, "GET", &path, None).await.json();
        assert_eq!(listed["data"].as_array().unwrap().len(), 1, "{path}");
        assert_eq!(listed["data"][0]["id"], json!(mine), "{path}");
    }
    let listed = as_operator(&world, &key, "GET", &format!("/approvals?org_id={theirs}"), None).await.json();
    assert_eq!(listed, json!({"data": [], "next_cursor": null}));
    as_operator(&world, &key, "GET", &format!("/approvals/{other}"), None).await.is_problem(404, "not_found", None);
    let path = format!("/approvals/{other}/decide");
    let body = json!({"decision": "approve"});
    as_operator(&world, &key, "POST", &path, Some(body)).await.is_problem(404, "not_found", None);
    assert_eq!(world.get(&format!("/approvals/{other}")).await.json()["state"], "pending");
    assert_eq!(world.get("/approvals").await.json()["data"].as_array().unwrap().len(), 2, "an admin sees both");
}

#[tokio::test]
async fn a_verdict_that_cannot_be_says_why() {
    let world = World::new().await;
    let id = world.approval(&world.org().await).await;
    let path = format!("/approvals/{id}/decide");
    for (body, member) in [
        (json!({}), "decision"),
        (json!({"decision": "maybe"}), "decision"),
        (json!({"decision": "approve", "uses": 0}), "uses"),
        (json!({"decision": "approve", "uses": 1_000_001}), "uses"),
        (json!({"decision": "approve", "budget_usd": "0"}), "budget_usd"),
        (json!({"decision": "approve", "budget_usd": 1}), "budget_usd"),
        (json!({"decision": "approve", "expires_in_s": 0}), "expires_in_s"),
        (json!({"decision": "approve", "expires_in_s": 2_592_001}), "expires_in_s"),
        (json!({"decision": "approve", "models": []}), "models"),
        (json!({"decision": "approve", "scope": "world"}), "scope"),
        (json!({"decision": "approve", "scope": "team"}), "scope"),
        (json!({"decision": "deny", "uses": 3}), "uses"),
        (json!({"decision": "deny", "reason": ""}), "reason"),
        (json!({"decision": "deny", "more": 1}), "more"),
    ] {
        world.post(&path, body).await.is_problem(400, "invalid_value", Some(member));
    }
    assert_eq!(world.get(&format!("/approvals/{id}")).await.json()["state"], "pending");
    world.get("/approvals?state=maybe").await.is_problem(400, "invalid_parameter", Some("state"));
    for path in ["/approvals/apr_1", "/approvals/apr_00000000000000000000000000000000"] {
        world.get(path).await.is_problem(404, "not_found", None);
    }
}

#[tokio::test]
async fn an_operators_key_is_shown_once_and_ends_with_its_revocation() {
    let world = World::new().await;
    let org = world.org().await;
    let body = json!({"name": "Eve", "role": "approver", "org_id": org});
    let made = world.ask("POST", "/operators").header("idempotency-key", "once").json(&body).send().await;
    assert_eq!(made.status, 201, "{}", made.text);
    let (id, key) = (made.id(), made.json()["key"].as_str().unwrap().to_owned());
    let again = world.ask("POST", "/operators").header("idempotency-key", "once").json(&body).send().await;
    again.is_problem(409, "idempotency_expired", None);
    let listed = world.get("/operators").await;
    assert!(!listed.text.contains(&key));
    let rows = listed.json()["data"].as_array().unwrap().clone();
    let row = rows.iter().find(|it| it["id"] == json!(id)).unwrap();
    assert_eq!((&row["role"], &row["org_id"], &row["bootstrap"]), (&json!("approver"), &json!(org), &json!(false)));
    let bootstrap = rows.iter().find(|it| it["bootstrap"] == true).unwrap()["id"].as_str().unwrap().to_owned();
    let refused = world.ask("DELETE", &format!("/operators/{bootstrap}")).send().await;
    refused.is_problem(409, "bootstrap_operator", None);
    assert_eq!(as_operator(&world, &key, "GET", "/approvals", None).await.status, 200);
    let gone = world.ask("DELETE", &format!("/operators/{id}")).send().await;
    assert!(gone.json()["revoked_at"].is_string(), "{}", gone.text);
    as_operator(&world, &key, "GET", "/approvals", None).await.is_problem(401, "unauthorized", None);
    for (body, member) in [
        (json!({"name": ""}), "name"),
        (json!({"name": "Ada", "role": "king"}), "role"),
        (json!({"name": "Ada", "role": "auditor", "org_id": org}), "org_id"),
        (json!({"name": "Ada", "role": "approver", "org_id": "org_00000000000000000000000000000000"}), "org_id"),
    ] {
        world.post("/operators", body).await.is_problem(400, "invalid_value", Some(member));
    }
}
