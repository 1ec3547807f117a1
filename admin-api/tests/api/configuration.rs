//! Providers and models that operators manage, and the file that is read again.

use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use crate::world::{ADMIN, World};

#[tokio::test]
async fn a_provider_is_made_changed_taken_away_and_brought_back_as_versions() {
    let world = World::new().await;
    let author = world.ledger.tenants().credentials().await.unwrap().operators[0].id.to_string();
    let body = json!({"id": "up", "kind": "openai", "api_key": {"env": "UP_KEY"}, "settings": {"a": "1", "b": "2"}});
    let made = world.post("/providers", body.clone()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!((&made.json()["version"], &made.json()["author"]), (&json!(1), &json!(author)));
    assert_eq!(made.json()["definition"], body);

    let patch = json!({"region": "eu", "settings": {"a": null}});
    assert_eq!(world.patch("/providers/up", patch).await.id_of("version"), 2);
    let read = world.get("/providers/up").await.json();
    assert_eq!((&read["version"], &read["source"], &read["state"]), (&json!(2), &json!("api"), &json!("serving")));
    assert_eq!(read["definition"]["settings"], json!({"b": "2"}));
    assert_eq!(world.patch("/providers/up", json!({"region": "eu"})).await.id_of("version"), 2, "nothing is other");

    let gone = world.ask("DELETE", "/providers/up").send().await;
    assert_eq!((gone.id_of("version"), &gone.json()["definition"]), (3, &Value::Null));
    world.get("/providers/up").await.is_problem(404, "not_found", None);
    world.patch("/providers/up", json!({"region": "us"})).await.is_problem(404, "not_found", None);
    world.ask("DELETE", "/providers/up").send().await.is_problem(404, "not_found", None);

    let back = world.post("/providers/up/rollback", json!({"version": 1})).await;
    assert_eq!((back.id_of("version"), &back.json()["definition"]), (4, &body));
    for version in [3, 9] {
        let refused = world.post("/providers/up/rollback", json!({"version": version})).await;
        refused.is_problem(400, "invalid_value", Some("version"));
    }
    let first = world.get("/providers/up/versions?limit=3").await.json();
    let next = first["next_cursor"].as_str().unwrap();
    let rest = world.get(&format!("/providers/up/versions?limit=3&cursor={next}")).await.json();
    let all: Vec<_> = first["data"].as_array().unwrap().iter().chain(rest["data"].as_array().unwrap()).collect();
    assert_eq!(all.iter().map(|it| it["version"].as_i64().unwrap()).collect::<Vec<_>>(), [1, 2, 3, 4]);
    world.get("/providers/none/versions").await.is_problem(404, "not_found", None);
    world.post("/providers/none/rollback", json!({"version": 1})).await.is_problem(404, "not_found", None);
}

#[tokio::test]
async fn what_cannot_be_stored_is_refused_with_every_fault() {
    let world = World::new().await;
    world.post("/providers", json!({"kind": "sim"})).await.is_problem(400, "invalid_value", Some("id"));
    let wrong = world.post("/providers", json!({"id": "up", "kind": "wrong"})).await;
    wrong.is_problem(422, "invalid_configuration", Some("kind"));
    assert_eq!(wrong.json()["errors"][1]["member"], "targets[0]", "{}", wrong.text);
    world.post("/models", json!({"id": "m", "targets": ["wrong"]})).await.is_problem(
        422,
        "invalid_configuration",
        Some("kind"),
    );
    for path in ["/providers", "/models"] {
        let body = json!({"id": "filed", "kind": "sim", "targets": []});
        world.post(path, body).await.is_problem(409, "defined_in_file", None);
        world.patch(&format!("{path}/filed"), json!({})).await.is_problem(409, "defined_in_file", None);
        world.ask("DELETE", &format!("{path}/filed")).send().await.is_problem(409, "defined_in_file", None);
    }
    world.post("/providers", json!({"id": "up", "kind": "sim"})).await.id_of("version");
    let twice = world.post("/providers", json!({"id": "up", "kind": "sim"})).await;
    twice.is_problem(409, "already_exists", None);
    world.patch("/providers/up", json!({"id": "other"})).await.is_problem(400, "invalid_value", Some("id"));
    world.patch("/providers/up", json!({"kind": "wrong"})).await.is_problem(422, "invalid_configuration", Some("kind"));
    world.post("/models", json!({"id": "chat", "targets": ["up/x"]})).await.id_of("version");
    world.ask("DELETE", "/providers/up").send().await.is_problem(409, "in_use", None);
    world.ask("DELETE", "/models/chat").send().await.id_of("version");
    world.ask("DELETE", "/providers/up").send().await.id_of("version");
    world.house.unsure.store(true, Ordering::SeqCst);
    world.post("/providers", json!({"id": "b", "kind": "sim"})).await.is_problem(503, "unavailable", None);
    world.get("/providers").await.is_problem(503, "unavailable", None);
}

#[tokio::test]
async fn a_repeat_makes_one_version() {
    let world = World::new().await;
    let make = async |kind: &str| {
        let ask = world.ask("POST", "/providers").header("idempotency-key", "once");
        ask.json(&json!({"id": "up", "kind": kind})).send().await
    };
    let (first, second) = (make("sim").await, make("sim").await);
    assert_eq!((first.id_of("version"), second.id_of("version")), (1, 1), "{}", second.text);
    make("openai").await.is_problem(409, "idempotency_mismatch", None);
}

#[tokio::test]
async fn lists_tell_the_file_first_by_pages_and_no_headers_values() {
    let world = World::new().await;
    for id in ["z", "a"] {
        world.post("/providers", json!({"id": id, "kind": "sim"})).await.id_of("version");
    }
    let first = world.get("/providers?limit=2").await;
    assert!(!first.text.contains("\"canary\""), "{}", first.text);
    let page = first.json();
    assert_eq!((&page["data"][0]["id"], &page["data"][0]["source"]), (&json!("filed"), &json!("file")));
    let targets = page["data"][0]["targets"].as_array().unwrap();
    assert_eq!(targets.len(), 2, "what no model names and is well is left out of the list: {targets:?}");
    assert_eq!(targets[1]["breaker"], "open");
    assert_eq!(world.get("/providers/filed").await.json()["targets"].as_array().unwrap().len(), 3);
    let rest = world.get(&format!("/providers?cursor={}", page["next_cursor"].as_str().unwrap())).await.json();
    assert_eq!((&rest["data"][0]["id"], &rest["next_cursor"]), (&json!("z"), &Value::Null));
    let models = world.get("/models").await.json();
    assert_eq!(models["data"][0]["strategy"], "ordered", "{models}");
}

#[tokio::test]
async fn a_reload_tells_what_changed_or_every_place_that_is_wrong() {
    let world = World::new().await;
    let told = world.ask("POST", "/config/reload").send().await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert_eq!(told.json()["needs_restart"], json!(["listen"]));
    assert_eq!(world.get("/config/status").await.json()["watched"], true);
    world.house.unsure.store(true, Ordering::SeqCst);
    let refused = world.ask("POST", "/config/reload").send().await;
    refused.is_problem(422, "invalid_configuration", Some("listen"));
    let error = &refused.json()["errors"][0];
    assert_eq!((&error["file"], &error["line"]), (&json!("alfred.yaml"), &json!(3)));
    assert!(!refused.text.contains(ADMIN));
}
