//! Wallets beside the chains, and calls that become cheaper ones when money runs short.

use qa::check::{refused, usd};
use qa::upstream::{Script, openai};
use qa::world::{Plan, Setup, Tenant, World, hello, id};
use serde_json::{Value, json};

/// A wallet of kind scope of this organisation.
async fn scope(world: &World, tenant: &Tenant, more: Value) -> String {
    let mut body = json!({"org_id": tenant.org, "name": "scope", "kind": "scope", "hard_limit_usd": "1"});
    for (name, value) in more.as_object().into_iter().flatten() {
        body[name] = value.clone();
    }
    id(&world.admin("POST", "/wallets", body).await)
}

async fn spent(world: &World, wallet: &str) -> i64 {
    usd(&world.wallet(wallet).await, "spent_usd")
}

#[tokio::test]
async fn a_call_is_paid_from_every_wallet_whose_scope_covers_it() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let by_model = scope(&world, &tenant, json!({"models": ["first/*"]})).await;
    let by_tag = scope(&world, &tenant, json!({"tags": {"team": "ads"}})).await;
    let elsewhere = scope(&world, &tenant, json!({"models": ["no-such-*"]})).await;
    let (key_id, tagged) = world.key(&tenant.wallet, json!({"tags": {"team": "ads", "env": "prod"}})).await;

    world.chat(&tenant.key, &hello("counted")).await.expect(200);
    let once = spent(&world, &tenant.wallet).await;
    assert_eq!([spent(&world, &by_model).await, spent(&world, &by_tag).await], [once, 0], "by the first target");
    world.chat(&tagged, &hello("counted")).await.expect(200);
    assert_eq!([spent(&world, &by_model).await, spent(&world, &by_tag).await], [2 * once, once], "by both");
    // What a client claims of itself covers nothing.
    let claims = [("x-alfred-tags", "team=ads")];
    world.call(&tenant.key, "/v1/chat/completions", &claims, &hello("counted")).await.expect(200);
    assert_eq!(spent(&world, &by_tag).await, once);
    world.admin("PATCH", &format!("/keys/{key_id}"), json!({"tags": null})).await;
    world.chat(&tagged, &hello("counted")).await.expect(200);
    assert_eq!([spent(&world, &by_model).await, spent(&world, &by_tag).await], [4 * once, once]);
    assert_eq!(spent(&world, &elsewhere).await, 0);

    world.admin("PATCH", &format!("/wallets/{by_model}"), json!({"hard_limit_usd": "0"})).await;
    let error =
        refused(&world.chat(&tenant.key, &hello("counted")).await, 429, "insufficient_quota", "budget_exceeded");
    assert!(error["message"].as_str().is_some_and(|message| message.contains(&by_model)), "{error}");
    world.admin("PATCH", &format!("/wallets/{by_model}"), json!({"status": "closed"})).await;
    world.chat(&tenant.key, &hello("counted")).await.expect(200);
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn a_target_that_is_covered_by_a_scope_that_is_not_held_is_left_out() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let second = scope(&world, &tenant, json!({"models": ["second/*"]})).await;
    world.first.next(Script::error(503, "overloaded"));
    let answer = world.chat(&tenant.key, &hello("steady")).await;
    assert!(answer.status >= 500, "the only other target is covered: {}", answer.text());
    assert_eq!(spent(&world, &second).await, 0);
    assert_eq!(world.second.count(), 0);
    world.admin("PATCH", &format!("/wallets/{second}"), json!({"models": ["steady"]})).await;
    world.first.next(Script::error(503, "overloaded"));
    let answer = world.chat(&tenant.key, &hello("steady")).await.expect(200);
    assert_eq!(answer.must("x-alfred-model"), "second/test-chat", "covered by the name that was asked for, it is held");
    assert!(spent(&world, &second).await > 0);
}

#[tokio::test]
async fn past_a_soft_limit_that_wants_it_a_call_becomes_the_cheaper_one() {
    let world = Setup::new().policy_data(json!({"downgrade": {"models": {"counted": "free"}}})).start().await;
    let tenant = world.tenant(Plan::new().hard("100").soft("0.000001")).await;
    let path = format!("/wallets/{}", tenant.wallet);
    world.admin("PATCH", &path, json!({"soft_action": "downgrade"})).await;
    world.first.next(openai::chat("word", 10, 50));
    let answer = world.chat(&tenant.key, &hello("counted")).await.expect(200);
    let receipt = world.receipt(answer.must("x-request-id")).await;
    assert_eq!((&receipt["model"], usd(&receipt, "price_usd")), (&json!("counted"), 0), "{receipt}");
    assert_eq!(spent(&world, &tenant.wallet).await, 0);
    // A model that nothing cheaper is named for goes on, warned about.
    let answer = world.chat(&tenant.key, &hello("steady")).await.expect(200);
    assert!(answer.must("x-alfred-budget-warning").contains(&tenant.wallet));
    assert!(spent(&world, &tenant.wallet).await > 0);
    // Blocked, it is refused at the threshold.
    world.admin("PATCH", &path, json!({"soft_action": "block"})).await;
    let error = refused(&world.chat(&tenant.key, &hello("steady")).await, 429, "insufficient_quota", "budget_exceeded");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("0.000001")), "{error}");
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn a_closed_wallet_says_so() {
    let world = World::start().await;
    let tenant = world.rich().await;
    world.chat(&tenant.key, &hello("counted")).await.expect(200);
    world.at_rest(&tenant.wallet, std::time::Duration::from_secs(10)).await;
    world.admin("PATCH", &format!("/wallets/{}", tenant.wallet), json!({"status": "closed"})).await;
    let error = refused(&world.chat(&tenant.key, &hello("counted")).await, 403, "permission_error", "wallet_suspended");
    assert!(error["message"].as_str().is_some_and(|message| message.contains("closed")), "{error}");
}
