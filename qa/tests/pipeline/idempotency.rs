//! The same call told twice is one call.

use qa::check::{dollars, refused, usd};
use qa::upstream::{Gate, openai};
use qa::world::{Plan, Tenant, World, hello, hello_stream};
use serde_json::{Value, json};

async fn with_key(world: &World, tenant: &Tenant, name: &str, body: &Value) -> qa::http::Answer {
    world.call(&tenant.key, "/v1/chat/completions", &[("idempotency-key", name)], body).await
}

#[tokio::test]
async fn the_same_key_and_body_get_the_first_answer_and_no_second_charge() {
    let world = World::start().await;
    let tenant = world.rich().await;
    for body in [hello("chat"), hello_stream("chat")] {
        let name = format!("order-{}", body["stream"]);
        let before = (world.first.count(), usd(&world.wallet(&tenant.wallet).await, "spent_usd"));
        let first = with_key(&world, &tenant, &name, &body).await.expect(200);
        let spent = usd(&world.wallet(&tenant.wallet).await, "spent_usd");
        assert!(spent > before.1);
        for _ in 0..3 {
            let again = with_key(&world, &tenant, &name, &body).await.expect(200);
            assert_eq!(again.text(), first.text(), "byte for byte");
            assert_eq!(again.must("content-type"), first.must("content-type"));
        }
        assert_eq!(world.first.count(), before.0 + 1);
        assert_eq!(usd(&world.wallet(&tenant.wallet).await, "spent_usd"), spent);
    }
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn another_body_under_the_same_key_is_a_conflict() {
    let world = World::start().await;
    let tenant = world.rich().await;
    with_key(&world, &tenant, "order-1", &hello("chat")).await.expect(200);
    let answer = with_key(&world, &tenant, "order-1", &hello("free")).await;
    refused(&answer, 409, "invalid_request_error", "idempotency_mismatch");
    assert_eq!(answer.must("x-should-retry"), "false");
    assert_eq!(world.first.count(), 1);
    // A key of somebody else's is another name.
    let other = world.rich().await;
    with_key(&world, &other, "order-1", &hello("free")).await.expect(200);
}

#[tokio::test]
async fn a_call_still_running_is_said_to_be_so() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let gate = Gate::new();
    world.first.next(openai::chat("Hello there", 10, 5).behind(gate.clone()));
    let body = hello("chat");
    let first = with_key(&world, &tenant, "order-1", &body);
    let second = async {
        world.first.until("the provider is asked", |first| first.count() == 1).await;
        let answer = with_key(&world, &tenant, "order-1", &body).await;
        gate.open();
        answer
    };
    let (first, second) = tokio::join!(first, second);
    refused(&second, 409, "invalid_request_error", "idempotency_in_progress");
    assert!(second.must("retry-after").parse::<u64>().is_ok());
    first.expect(200);
    with_key(&world, &tenant, "order-1", &hello("chat")).await.expect(200);
    assert_eq!(world.first.count(), 1);
}

#[tokio::test]
async fn after_a_restart_the_answer_is_gone_but_the_charge_is_remembered() {
    let mut world = World::start().await;
    let tenant = world.rich().await;
    with_key(&world, &tenant, "order-1", &hello("chat")).await.expect(200);
    world.stop().await;
    world.restart().await;
    let answer = with_key(&world, &tenant, "order-1", &hello("chat")).await;
    refused(&answer, 409, "invalid_request_error", "idempotency_expired");
    assert_eq!(answer.must("x-should-retry"), "false");
    assert_eq!(world.first.count(), 1);
    refused(
        &with_key(&world, &tenant, "order-1", &hello("free")).await,
        409,
        "invalid_request_error",
        "idempotency_mismatch",
    );
}

#[tokio::test]
async fn a_refused_or_failed_call_frees_its_key() {
    let world = World::start().await;
    let tenant = world.tenant(Plan::new().hard("0.000001")).await;
    let answer = with_key(&world, &tenant, "order-1", &hello("counted")).await;
    refused(&answer, 429, "insufficient_quota", "budget_exceeded");
    world.admin("PATCH", &format!("/wallets/{}", tenant.wallet), json!({"hard_limit_usd": "10"})).await;
    world.first.next(qa::upstream::Script::error(500, "down"));
    let answer = with_key(&world, &tenant, "order-1", &hello("counted")).await;
    assert!((502..=504).contains(&answer.status), "{}", answer.text());
    with_key(&world, &tenant, "order-1", &hello("counted")).await.expect(200);
    assert_eq!(dollars(usd(&world.wallet(&tenant.wallet).await, "spent_usd")), "0.00005");
}

#[tokio::test]
async fn a_replay_is_answered_even_when_nothing_may_be_spent_any_more() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let first = with_key(&world, &tenant, "order-1", &hello("chat")).await.expect(200);
    world.admin("PATCH", &format!("/wallets/{}", tenant.wallet), json!({"status": "suspended"})).await;
    let again = with_key(&world, &tenant, "order-1", &hello("chat")).await.expect(200);
    assert_eq!(again.text(), first.text());
}

#[tokio::test]
async fn the_name_itself_is_never_stored_in_clear() {
    let mut world = qa::world::Setup::new().on_sqlite().start().await;
    let tenant = world.rich().await;
    with_key(&world, &tenant, "canary-of-an-idempotency-key", &hello("chat")).await.expect(200);
    let log = world.stop().await;
    let bytes = std::fs::read(world.database_file()).expect("the database");
    let needle = b"canary-of-an-idempotency-key";
    assert!(!bytes.windows(needle.len()).any(|window| window == needle) && !log.contains("canary-of"));
}
