//! Rules decide: shipped ones through their data, added ones through a folder. A rule that breaks denies.

use qa::check::refused;
use qa::world::{Plan, Setup, World, hello};
use serde_json::{Value, json};

/// A world with one added module.
async fn with_rule(rego: &str) -> World {
    let folder = tempfile::tempdir().expect("a folder").keep();
    std::fs::write(folder.join("added.rego"), rego).expect("a file");
    let world = Setup::new().with(|config| config["policies"]["dir"] = json!(folder)).start().await;
    let _ = std::fs::remove_dir_all(&folder);
    world
}

#[tokio::test]
async fn a_key_with_a_list_of_models_is_held_to_it() {
    let world = World::start().await;
    let tenant = world.tenant(Plan::new().hard("100").key(json!({"models": ["free"]}))).await;
    assert_eq!(world.chat(&tenant.key, &hello("free")).await.status, 200);
    let answer = world.chat(&tenant.key, &hello("chat")).await;
    let error = refused(&answer, 403, "permission_error", "model_not_allowed");
    assert!(error["message"].as_str().is_some_and(|m| m.contains("chat")), "{error}");
    // Nor by way of a fallback, nor by the target's own name.
    let mut body = hello("free");
    body["fallbacks"] = json!(["chat"]);
    world.first.next(qa::upstream::Script::error(500, "down"));
    let answer = world.chat(&tenant.key, &body).await;
    assert_ne!(answer.status, 200, "{}", answer.text());
    refused(&world.chat(&tenant.key, &hello("first/test-chat")).await, 403, "permission_error", "model_not_allowed");
}

#[tokio::test]
async fn an_added_rule_denies_with_its_own_reason() {
    let world = with_rule(
        "package alfred.rules.quiet\nimport rego.v1\n\
         deny contains {\"code\": \"policy_denied\", \"message\": \"no tools on fridays or ever\"} if input.request.tools\n",
    )
    .await;
    let tenant = world.rich().await;
    assert_eq!(world.chat(&tenant.key, &hello("chat")).await.status, 200);
    let mut body = hello("chat");
    body["tools"] = json!([{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]);
    let answer = world.chat(&tenant.key, &body).await;
    let error = refused(&answer, 403, "permission_error", "policy_denied");
    assert!(error["message"].as_str().is_some_and(|m| m.contains("no tools on fridays")), "{error}");
    assert_eq!(world.first.count(), 1);
    let blocks: Vec<Value> = world.audit(&tenant.org).await.into_iter().filter(|e| e["kind"] == "BLOCK").collect();
    assert_eq!(blocks.len(), 1, "{blocks:?}");
}

#[tokio::test]
async fn a_rule_that_breaks_denies() {
    // Two values for one complete rule: fine to compile, broken to evaluate.
    let world = with_rule(
        "package alfred.rules.torn\nimport rego.v1\n\
         verdict := true if input.request.stream\nverdict := false if input.request.max_output_tokens == 50\n\
         deny contains {\"code\": \"policy_denied\", \"message\": \"torn\"} if verdict == 7\n",
    )
    .await;
    let tenant = world.rich().await;
    assert_eq!(world.chat(&tenant.key, &hello("chat")).await.status, 200);
    let answer = world.chat(&tenant.key, &qa::world::hello_stream("chat")).await;
    let error = refused(&answer, 403, "permission_error", "policy_denied");
    assert!(!error["message"].as_str().is_some_and(|m| m.contains("panic")), "{error}");
    assert_eq!(world.first.count(), 1);
}

#[tokio::test]
async fn a_bound_of_regions_keeps_calls_inside_it() {
    let world = Setup::new().policy_data(json!({"residency": {"regions": ["eu"]}})).start().await;
    let tenant = world.rich().await;
    let answer = world.chat(&tenant.key, &hello("steady")).await.expect(200);
    assert_eq!(answer.must("x-alfred-model"), "second/test-chat");
    refused(&world.chat(&tenant.key, &hello("chat")).await, 403, "permission_error", "residency_violation");
    assert_eq!(world.first.count(), 0);
}

#[tokio::test]
async fn a_cap_by_policy_is_held_and_sent() {
    let world = Setup::new().policy_data(json!({"caps": {"max_output_tokens": 20}})).start().await;
    let tenant = world.rich().await;
    world.chat(&tenant.key, &hello("counted")).await.expect(200);
    assert_eq!(world.first.last().json()["max_tokens"], 20);
    let entries = world.entries(&tenant.wallet).await;
    assert_eq!(qa::check::usd(&entries[0], "held_delta_usd"), 20 * 10_000);
}

#[tokio::test]
async fn a_policy_that_does_not_compile_stops_the_start_with_its_place() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("rules")).expect("a folder");
    std::fs::write(
        folder.path().join("rules/broken.rego"),
        "package alfred.rules.broken\nimport rego.v1\ndeny contains {\n",
    )
    .expect("a file");
    let config = folder.path().join("alfred.yaml");
    std::fs::write(&config, json!({"policies": {"dir": folder.path().join("rules")}}).to_string()).expect("a file");
    let (code, out, err) = qa::tools::run_alfred(&["config", "check", "--config", config.to_str().expect("UTF-8")]);
    let said = out + &err;
    assert_eq!(code, 1, "{said}");
    assert!(said.contains("broken.rego"), "{said}");
}
