//! What rules ask for beside yes and no is done: who comes first, which model, at what price, with which tools, from which cache.

use std::collections::BTreeMap;

use qa::check::refused;
use qa::upstream::Script;
use qa::world::{Plan, Setup, World, hello};
use serde_json::{Value, json};

/// A world with one added module, under these settings.
async fn with_rule(data: Value, rego: &str) -> World {
    let folder = tempfile::tempdir().expect("a folder").keep();
    std::fs::write(folder.join("added.rego"), format!("package alfred.rules.added\nimport rego.v1\n{rego}"))
        .expect("a file");
    let world = Setup::new().policy_data(data).with(|config| config["policies"]["dir"] = json!(folder)).start().await;
    let _ = std::fs::remove_dir_all(&folder);
    world
}

#[tokio::test]
async fn an_order_that_a_rule_makes_is_the_order_of_asking() {
    let world =
        with_rule(json!({}), "order contains [\"second/test-chat\"] if input.request.model == \"steady\"").await;
    let tenant = world.rich().await;
    let answer = world.chat(&tenant.key, &hello("steady")).await.expect(200);
    assert_eq!(answer.must("x-alfred-model"), "second/test-chat");
    let receipt = world.receipt(answer.must("x-request-id")).await;
    assert!(receipt["routing"].as_str().is_some_and(|it| it.contains("in the order of added")), "{receipt}");
    world.second.next(Script::error(503, "overloaded"));
    let answer = world.chat(&tenant.key, &hello("steady")).await.expect(200);
    assert_eq!(answer.must("x-alfred-model"), "first/test-chat", "and the rest come after it");
}

#[tokio::test]
async fn weights_draw_who_comes_first_and_the_receipt_tells_the_draw() {
    let rule =
        "weights contains {\"first/test-chat\": 1, \"second/test-chat\": 1} if input.request.model == \"steady\"";
    let world = with_rule(json!({}), rule).await;
    let tenant = world.rich().await;
    let mut drawn: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..60 {
        let answer = world.chat(&tenant.key, &hello("steady")).await.expect(200);
        let receipt = world.receipt(answer.must("x-request-id")).await;
        let model = answer.must("x-alfred-model").to_owned();
        let told = format!("{model} drawn, 1 of 2");
        assert!(receipt["routing"].as_str().is_some_and(|it| it.contains(&told)), "{receipt}");
        *drawn.entry(model).or_default() += 1;
    }
    assert!(drawn.len() == 2, "one of 2^59 runs ends so: {drawn:?}");
}

#[tokio::test]
async fn a_call_becomes_the_model_that_a_rule_names_unless_that_may_not_be() {
    let rule = "reroute contains \"steady\" if input.request.model == \"chat\"\n\
                reroute contains \"unpriced\" if input.request.model == \"free\"\n\
                reroute contains \"claude\" if input.request.model == \"mixed\"\n\
                deny contains {\"code\": \"policy_denied\", \"message\": \"no\"} if input.request.model == \"claude\"";
    let world = with_rule(json!({}), rule).await;
    let tenant = world.rich().await;
    world.first.next(Script::error(503, "overloaded"));
    let answer = world.chat(&tenant.key, &hello("chat")).await.expect(200);
    assert_eq!(answer.must("x-alfred-model"), "second/test-chat", "the other model has two targets");
    let receipt = world.receipt(answer.must("x-request-id")).await;
    assert!(receipt["routing"].as_str().is_some_and(|it| it.contains("steady instead of chat")), "{receipt}");
    world.chat(&tenant.key, &hello("free")).await.expect(200);
    let answer = world.chat(&tenant.key, &hello("mixed")).await.expect(200);
    assert_eq!(answer.must("x-alfred-model"), "claude/test-claude", "denied there: it goes on as it was");
    let listed = world.tenant(Plan::new().hard("100").key(json!({"models": ["chat"]}))).await;
    let answer = world.chat(&listed.key, &hello("chat")).await.expect(200);
    assert_eq!(answer.must("x-alfred-model"), "first/test-chat", "a key is held to its list");
}

#[tokio::test]
async fn a_call_that_could_cost_more_than_a_rule_allows_is_refused_with_the_amounts() {
    let world = with_rule(json!({}), "max_cost_usd contains \"0.0001\"").await;
    let tenant = world.rich().await;
    world.chat(&tenant.key, &hello("free")).await.expect(200);
    let mut dear = hello("chat");
    dear["max_tokens"] = json!(1_000);
    let answer = world.chat(&tenant.key, &dear).await;
    let error = refused(&answer, 403, "permission_error", "policy_denied");
    assert!(error["message"].as_str().is_some_and(|it| it.contains("at most 0.0001 USD")), "{error}");
    // Nor is a dearer one asked when the first has failed.
    let before = world.first.count() + world.second.count();
    let mut fallback = hello("free");
    fallback["fallbacks"] = json!(["steady"]);
    fallback["max_tokens"] = json!(1_000);
    world.first.next(Script::error(503, "overloaded"));
    assert_ne!(world.chat(&tenant.key, &fallback).await.status, 200);
    assert_eq!(world.first.count() + world.second.count(), before + 1);
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn tools_that_a_rule_takes_out_do_not_leave_the_house() {
    let world = with_rule(
        json!({}),
        "remove_tools contains \"sh*\"\n\
         deny contains {\"code\": \"policy_denied\", \"message\": \"no deletes\"} if \"drop_table\" in input.request.tool_names",
    )
    .await;
    let tenant = world.rich().await;
    let tool = |name: &str| json!({"type": "function", "function": {"name": name, "parameters": {"type": "object"}}});
    let mut body = hello("chat");
    body["tools"] = json!([tool("shell"), tool("look")]);
    body["tool_choice"] = json!({"type": "function", "function": {"name": "shell"}});
    let answer = world.chat(&tenant.key, &body).await.expect(200);
    let sent = world.first.last().json();
    assert_eq!((&sent["tools"], &sent["tool_choice"]), (&json!([tool("look")]), &Value::Null), "{sent}");
    let receipt = world.receipt(answer.must("x-request-id")).await;
    assert!(receipt["routing"].as_str().is_some_and(|it| it.contains("tools taken out: sh*")), "{receipt}");
    body["tools"] = json!([tool("shell")]);
    world.chat(&tenant.key, &body).await.expect(200);
    assert!(world.first.last().json().get("tools").is_none());
    body["tools"] = json!([tool("drop_table")]);
    refused(&world.chat(&tenant.key, &body).await, 403, "permission_error", "policy_denied");
}

#[tokio::test]
async fn a_cache_that_is_only_read_keeps_nothing() {
    let rule = "cache contains {\"ttl_seconds\": 600, \"mode\": \"read\"} if input.request.claims.mode == \"read\"";
    let world = with_rule(json!({"cache": {"enabled": true, "ttl_seconds": 600}}), rule).await;
    let tenant = world.rich().await;
    let asked = |mode: &str| {
        let mut body = hello("chat");
        body["metadata"] = json!({"mode": mode});
        body
    };
    for (mode, cache) in [("read", "miss"), ("read", "miss"), ("write", "miss"), ("read", "hit"), ("write", "hit")] {
        let answer = world.chat(&tenant.key, &asked(mode)).await.expect(200);
        assert_eq!(answer.must("x-alfred-cache"), cache, "{mode}");
    }
    assert_eq!(world.first.count(), 3);
}

#[tokio::test]
async fn what_the_wallets_have_left_is_known_to_rules_that_ask() {
    let rule = "deny contains {\"code\": \"policy_denied\", \"message\": \"little left\"} if input.budget.left_percent < 50\n\
                deny contains {\"code\": \"policy_denied\", \"message\": \"not known\"} if not input.budget.left_usd";
    let world = with_rule(json!({}), rule).await;
    let rich = world.rich().await;
    world.chat(&rich.key, &hello("free")).await.expect(200);
    let answer = world.chat(&world.tenant(Plan::new()).await.key, &hello("free")).await;
    let error = refused(&answer, 403, "permission_error", "policy_denied");
    assert!(
        error["message"].as_str().is_some_and(|it| it.contains("not known")),
        "no limit, nothing left to tell: {error}"
    );
}
