//! An answer that was given before costs nothing, and says so.

use std::time::Duration;

use qa::check::{refused, usd};
use qa::world::{Setup, World, hello, hello_stream};
use serde_json::json;

async fn caching() -> World {
    Setup::new().policy_data(json!({"cache": {"enabled": true, "ttl_seconds": 600}})).start().await
}

#[tokio::test]
async fn the_cache_is_off_until_policy_turns_it_on() {
    let world = World::start().await;
    let tenant = world.rich().await;
    for _ in 0..2 {
        let answer = world.chat(&tenant.key, &hello("chat")).await.expect(200);
        assert!(["bypass", "miss"].contains(&answer.must("x-alfred-cache")));
    }
    assert_eq!(world.first.count(), 2);
}

#[tokio::test]
async fn a_hit_costs_nothing_and_says_so() {
    let world = caching().await;
    let tenant = world.rich().await;
    let first = world.chat(&tenant.key, &hello("chat")).await.expect(200);
    assert_eq!(first.must("x-alfred-cache"), "miss");
    let spent = usd(&world.wallet(&tenant.wallet).await, "spent_usd");
    // The order of members, and claims about who asks, make no other question.
    let again = json!({"max_tokens": 50, "user": "someone", "metadata": {"a": "b"},
        "messages": [{"content": "Say hello", "role": "user"}], "model": "chat"});
    let second = world.chat(&tenant.key, &again).await.expect(200);
    assert_eq!(second.must("x-alfred-cache"), "hit");
    assert_eq!(second.must("x-alfred-cost-usd"), "0");
    assert_eq!(second.must("x-alfred-model"), "first/test-chat");
    assert_eq!(second.said(), first.said());
    assert_eq!(world.first.count(), 1);
    assert_eq!(usd(&world.wallet(&tenant.wallet).await, "spent_usd"), spent);
    let receipt = world.receipt(second.must("x-request-id")).await;
    assert_eq!(receipt["cache"], "hit");
    assert_eq!(usd(&receipt, "price_usd"), 0);
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn streams_are_replayed_as_streams_and_whole_answers_whole() {
    let world = caching().await;
    let tenant = world.rich().await;
    let first = world.chat(&tenant.key, &hello_stream("chat")).await.expect(200);
    let again = world.chat(&tenant.key, &hello_stream("chat")).await.expect(200);
    assert_eq!(again.must("x-alfred-cache"), "hit");
    assert!(again.must("content-type").starts_with("text/event-stream"));
    assert_eq!(again.said(), first.said());
    assert_eq!(again.events().last().map(String::as_str), Some("[DONE]"));
    let whole = world.chat(&tenant.key, &hello("chat")).await.expect(200);
    assert!(whole.must("content-type").starts_with("application/json"));
    assert_eq!(whole.said(), first.said());
}

#[tokio::test]
async fn one_organisation_never_sees_what_another_was_answered() {
    let world = caching().await;
    let [one, other] = [world.rich().await, world.rich().await];
    world.chat(&one.key, &hello("chat")).await.expect(200);
    let answer = world.chat(&other.key, &hello("chat")).await.expect(200);
    assert_eq!(answer.must("x-alfred-cache"), "miss");
    assert_eq!(world.first.count(), 2);
}

#[tokio::test]
async fn other_questions_and_failed_answers_are_no_hits() {
    let world = caching().await;
    let tenant = world.rich().await;
    world.first.next(qa::upstream::Script::error(500, "down"));
    assert_ne!(world.chat(&tenant.key, &hello("chat")).await.status, 200);
    for (member, value) in [("temperature", json!(0.5)), ("max_tokens", json!(49)), ("unknown", json!([1]))] {
        let mut body = hello("chat");
        body[member] = value;
        assert_eq!(world.chat(&tenant.key, &body).await.expect(200).must("x-alfred-cache"), "miss", "{member}");
    }
}

#[tokio::test]
async fn a_broken_stream_is_not_kept() {
    let world = caching().await;
    let tenant = world.rich().await;
    world.first.next(qa::upstream::openai::begin(&["Hel"]).then(qa::upstream::Step::Cut));
    world.stream(&tenant.key, &hello_stream("chat")).await.drain().await;
    let answer = world.chat(&tenant.key, &hello_stream("chat")).await.expect(200);
    assert_eq!(answer.must("x-alfred-cache"), "miss");
    assert_eq!(answer.said(), "Hello there");
}

#[tokio::test]
async fn a_suspended_wallet_is_not_even_answered_from_the_cache() {
    let world = caching().await;
    let tenant = world.rich().await;
    world.chat(&tenant.key, &hello("chat")).await.expect(200);
    world.admin("PATCH", &format!("/wallets/{}", tenant.wallet), json!({"status": "suspended"})).await;
    refused(&world.chat(&tenant.key, &hello("chat")).await, 403, "permission_error", "wallet_suspended");
}

#[tokio::test]
async fn a_kept_answer_grows_stale() {
    let world = Setup::new().policy_data(json!({"cache": {"enabled": true, "ttl_seconds": 1}})).start().await;
    let tenant = world.rich().await;
    world.chat(&tenant.key, &hello("chat")).await.expect(200);
    // Waits for the event, however long the machine takes.
    for _ in 0..100 {
        if world.chat(&tenant.key, &hello("chat")).await.expect(200).must("x-alfred-cache") == "miss" {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("an answer was kept beyond its time");
}
