//! What must hold before a call is let through to anybody.

use qa::check::{refused, usd};
use qa::world::{Plan, World, hello};
use serde_json::{Value, json};

#[tokio::test]
async fn a_model_without_a_price_is_refused() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let answer = world.chat(&tenant.key, &hello("unpriced")).await;
    let error = refused(&answer, 422, "invalid_request_error", "unpriced_model");
    assert!(error["message"].as_str().is_some_and(|m| m.contains("unpriced")), "{error}");
    assert_eq!(world.first.count(), 0);
}

#[tokio::test]
async fn a_price_of_nothing_is_a_price() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let answer = world.chat(&tenant.key, &hello("free")).await.expect(200);
    assert_eq!(answer.must("x-alfred-cost-usd"), "0");
    assert_eq!(usd(&world.wallet(&tenant.wallet).await, "spent_usd"), 0);
}

#[tokio::test]
async fn an_unknown_model_is_not_found() {
    let world = World::start().await;
    let tenant = world.rich().await;
    for model in ["nobody-knows-this", "nobody/knows-this", ""] {
        let answer = world.chat(&tenant.key, &hello(model)).await;
        assert!(answer.status == 404 || (model.is_empty() && answer.status == 400), "{model:?}: {}", answer.text());
        if answer.status == 404 {
            let error = refused(&answer, 404, "invalid_request_error", "model_not_found");
            assert_eq!(error["param"], "model");
        }
    }
}

#[tokio::test]
async fn a_bare_provider_and_model_works_too() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let answer = world.chat(&tenant.key, &hello("second/test-chat")).await.expect(200);
    assert_eq!(answer.must("x-alfred-model"), "second/test-chat");
    assert_eq!(world.second.last().json()["model"], "test-chat");
}

#[tokio::test]
async fn a_suspended_wallet_admits_nothing_not_even_what_costs_nothing() {
    let world = World::start().await;
    let tenant = world.tenant(Plan::new().levels(4).hard("100")).await;
    // Any wallet of the chain will do.
    for wallet in &tenant.wallets {
        world.admin("PATCH", &format!("/wallets/{wallet}"), json!({"status": "suspended"})).await;
        for model in ["chat", "free"] {
            refused(&world.chat(&tenant.key, &hello(model)).await, 403, "permission_error", "wallet_suspended");
        }
        world.admin("PATCH", &format!("/wallets/{wallet}"), json!({"status": "active"})).await;
    }
    assert_eq!(world.first.count(), 0);
    assert_eq!(world.chat(&tenant.key, &hello("chat")).await.status, 200);
}

#[tokio::test]
async fn an_unknown_route_is_refused_in_the_api_s_own_words() {
    let world = World::start().await;
    let tenant = world.rich().await;
    for path in ["/v1/nothing-here", "/v1/fine_tuning/jobs", "/v1/images/variations", "/v1/chat/completions/more"] {
        let answer = world.call(&tenant.key, path, &[], &hello("chat")).await;
        assert_eq!(answer.status, 404, "{path}: {}", answer.text());
        assert!(answer.json()["error"]["message"].is_string(), "{path}: {}", answer.text());
        answer.must("x-request-id");
    }
    assert_eq!(world.first.count(), 0, "what cannot be metered is never forwarded");
}

#[tokio::test]
async fn the_hold_covers_the_worst_and_the_rest_comes_back() {
    let world = World::start().await;
    let tenant = world.tenant(Plan::new().levels(4).hard("1")).await;
    let gate = qa::upstream::Gate::new();
    world.first.next(qa::upstream::openai::chat("Hello there", 10, 5).behind(gate.clone()));
    // Output costs 10 µ$ a token, input nothing: 3 choices of 50 tokens hold 1.5 m$.
    let body = json!({"model": "counted", "n": 3, "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]});
    let asking = world.chat(&tenant.key, &body);
    let watching = async {
        world.first.until("the provider is asked", |first| first.count() == 1).await;
        for wallet in &tenant.wallets {
            assert_eq!(usd(&world.wallet(wallet).await, "held_usd"), 1_500_000, "held in every wallet of the chain");
        }
        gate.open();
    };
    let (answer, ()) = tokio::join!(asking, watching);
    assert_eq!(answer.expect(200).must("x-alfred-cost-usd"), "0.00005");
    assert_eq!(world.first.last().json()["max_tokens"], 50);
    for id in &tenant.wallets {
        let wallet = world.wallet(id).await;
        assert_eq!((usd(&wallet, "held_usd"), usd(&wallet, "spent_usd")), (0, 50_000));
        let kinds: Vec<Value> = world.entries(id).await.iter().map(|e| e["kind"].clone()).collect();
        assert_eq!(kinds, ["reserve", "settle"]);
    }
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn a_call_without_a_cap_is_sent_with_the_one_that_was_held() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let body = json!({"model": "counted", "messages": [{"role": "user", "content": "Hi"}]});
    world.chat(&tenant.key, &body).await.expect(200);
    let sent = world.first.last().json();
    let cap = sent["max_completion_tokens"].as_u64().or(sent["max_tokens"].as_u64()).expect("a cap is always sent");
    assert_eq!(cap, 4_096, "{sent}");
    let entries = world.entries(&tenant.wallet).await;
    assert_eq!(usd(&entries[0], "held_delta_usd"), 4_096 * 10_000);
}

#[tokio::test]
async fn the_client_can_never_choose_a_wallet() {
    let world = World::start().await;
    let [mine, theirs] = [world.rich().await, world.rich().await];
    let mut body = hello("chat");
    body["user"] = json!(theirs.wallet);
    body["metadata"] = json!({"wallet": theirs.wallet, "wallet_id": theirs.wallet, "team": theirs.team});
    let tags = format!("wallet={}", theirs.wallet);
    let headers = [("x-alfred-tags", tags.as_str()), ("x-litellm-tags", tags.as_str())];
    let answer = world.call(&mine.key, "/v1/chat/completions", &headers, &body).await.expect(200);
    let receipt = world.receipt(answer.must("x-request-id")).await;
    assert_eq!(receipt["wallet_id"], json!(mine.wallet));
    assert_eq!(usd(&world.wallet(&theirs.wallet).await, "spent_usd"), 0);
}
