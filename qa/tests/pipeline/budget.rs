//! Limits, as an app and an operator meet them.

use qa::check::{dollars, refused, usd};
use qa::world::{Plan, World, hello};
use serde_json::{Value, json};

/// What a call to `counted` holds: 50 tokens at 10 µ$.
const HOLD: i64 = 50 * 10_000;
/// What it costs in the end: 5 tokens.
const COST: i64 = 5 * 10_000;

fn of_kind(entries: &[Value], kind: &str) -> usize {
    entries.iter().filter(|e| e["kind"] == kind).count()
}

#[tokio::test]
async fn over_the_hard_limit_nothing_is_forwarded_and_the_answer_says_all() {
    let mut world = World::start().await;
    let tenant = world.tenant(Plan::new().levels(4).hard(dollars(HOLD + COST)).window("day")).await;
    for _ in 0..2 {
        world.chat(&tenant.key, &hello("counted")).await.expect(200);
    }
    let answer = world.chat(&tenant.key, &hello("counted")).await;
    let error = refused(&answer, 429, "insufficient_quota", "budget_exceeded");
    assert_eq!(answer.must("x-should-retry"), "false");
    let message = error["message"].as_str().unwrap_or_default();
    let wallet = world.wallet(&tenant.wallet).await;
    assert!(message.contains(&tenant.wallet), "no wallet in {message}");
    assert!(message.contains(&dollars(HOLD + COST)), "no limit in {message}");
    let resets = wallet["resets_at"].as_str().expect("a day has an end");
    assert!(message.contains(&resets[..10]), "no {resets} in {message}");
    assert_eq!(world.first.count(), 2);
    assert_eq!(usd(&wallet, "spent_usd"), 2 * COST);

    // Durable before the answer left: a kill right after it loses nothing.
    world.kill();
    world.restart().await;
    let entries = world.audit(&tenant.org).await;
    assert_eq!(of_kind(&entries, "BLOCK"), 1);
    let receipt = world.receipt(answer.must("x-request-id")).await;
    assert_eq!(receipt["status"], "refused");
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn any_wallet_of_the_chain_can_say_no_and_then_none_is_touched() {
    let world = World::start().await;
    let tenant = world.tenant(Plan::new().levels(4).hard("1").root_hard(dollars(HOLD - 1))).await;
    let answer = world.chat(&tenant.key, &hello("counted")).await;
    let error = refused(&answer, 429, "insufficient_quota", "budget_exceeded");
    assert!(error["message"].as_str().is_some_and(|m| m.contains(&tenant.wallets[0])), "{error}");
    for wallet in &tenant.wallets {
        assert_eq!(world.entries(wallet).await.len(), 0);
    }
}

#[tokio::test]
async fn a_wallet_with_nothing_free_admits_no_free_call() {
    let world = World::start().await;
    let tenant = world.tenant(Plan::new().hard(dollars(HOLD))).await;
    world.first.next(qa::upstream::openai::chat("word", 10, 50));
    world.chat(&tenant.key, &hello("counted")).await.expect(200);
    refused(&world.chat(&tenant.key, &hello("free")).await, 429, "insufficient_quota", "budget_exceeded");
    assert_eq!(world.first.count(), 1);
}

#[tokio::test]
async fn a_soft_limit_warns_on_every_call_and_once_in_the_log() {
    let world = World::start().await;
    let tenant = world.tenant(Plan::new().hard("100").soft(dollars(COST))).await;
    for call in 0..3 {
        let answer = world.chat(&tenant.key, &hello("counted")).await.expect(200);
        // A call of 50 tokens held is past the limit as soon as it is admitted.
        let warning = answer.must("x-alfred-budget-warning");
        assert!(warning.contains(&tenant.wallet), "call {call}: {warning}");
    }
    let (_, other) = world.key(&tenant.wallets[0], json!({})).await;
    let answer = world.chat(&other, &hello("counted")).await.expect(200);
    assert_eq!(answer.header("x-alfred-budget-warning"), None, "another wallet, no soft limit");
    assert_eq!(of_kind(&world.audit(&tenant.org).await, "WARN"), 1);

    // Another threshold is another warning.
    world.admin("PATCH", &format!("/wallets/{}", tenant.wallet), json!({"soft_limit_usd": dollars(2 * COST)})).await;
    world.chat(&tenant.key, &hello("counted")).await.expect(200);
    assert_eq!(of_kind(&world.audit(&tenant.org).await, "WARN"), 2);
}

#[tokio::test]
async fn a_change_of_limit_is_in_force_at_once() {
    let world = World::start().await;
    let tenant = world.tenant(Plan::new().hard("0.000001")).await;
    let path = format!("/wallets/{}", tenant.wallet);
    for round in 0..5 {
        refused(&world.chat(&tenant.key, &hello("counted")).await, 429, "insufficient_quota", "budget_exceeded");
        world.admin("PATCH", &path, json!({"hard_limit_usd": "100"})).await;
        assert_eq!(world.chat(&tenant.key, &hello("counted")).await.status, 200, "round {round}");
        // Below what is spent: admits nothing more, and breaks nothing.
        world.admin("PATCH", &path, json!({"hard_limit_usd": "0.000001"})).await;
    }
    world.admin("PATCH", &path, json!({"hard_limit_usd": null})).await;
    assert_eq!(world.chat(&tenant.key, &hello("counted")).await.status, 200, "no limit of its own");
}

#[tokio::test]
async fn a_prepaid_wallet_spends_what_was_funded_once_for_each_reference() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let wallet = world
        .admin(
            "POST",
            "/wallets",
            json!({"org_id": tenant.org, "name": "prepaid", "kind": "project", "parent_id": tenant.wallets[0],
                "window": "none", "funding": "prepaid"}),
        )
        .await;
    let wallet = qa::world::id(&wallet);
    let (_, key) = world.key(&wallet, json!({})).await;
    refused(&world.chat(&key, &hello("counted")).await, 429, "insufficient_quota", "budget_exceeded");
    let fund = json!({"amount_usd": dollars(HOLD), "source": "invoice", "reference": "INV-1"});
    for repeat in ["a", "a", "b"] {
        let path = format!("/wallets/{wallet}/fund");
        let answer = world.ask_admin("POST", &path, &[("idempotency-key", repeat)], &fund).await;
        // The same reference under another key is refused or answered again, but never booked twice.
        assert!(answer.status < 300 || answer.status == 409, "{} {}", answer.status, answer.text());
    }
    assert_eq!(usd(&world.wallet(&wallet).await, "funded_usd"), HOLD);
    world.chat(&key, &hello("counted")).await.expect(200);
    assert_eq!(usd(&world.wallet(&wallet).await, "available_usd"), HOLD - COST);
}

#[tokio::test]
async fn a_refund_goes_back_to_every_wallet_and_names_the_original() {
    let world = World::start().await;
    let tenant = world.tenant(Plan::new().levels(4).hard("1")).await;
    let call = world.chat(&tenant.key, &hello("counted")).await.expect(200).must("x-request-id").to_owned();
    let path = format!("/requests/{call}/refund");
    for _ in 0..2 {
        let answer =
            world.ask_admin("POST", &path, &[("idempotency-key", "r1")], &json!({"reason": "wrong answer"})).await;
        assert!(answer.status < 300, "{} {}", answer.status, answer.text());
    }
    for wallet in &tenant.wallets {
        assert_eq!(usd(&world.wallet(wallet).await, "spent_usd"), 0);
    }
    let entries = world.entries(&tenant.wallet).await;
    let refund = entries.iter().find(|e| e["kind"] == "refund").expect("a refund is booked");
    assert_eq!(refund["request_id"], json!(call));
    world.assert_balanced(&tenant).await;
}
