//! When a provider is down, the next one answers, inside the same call.

use std::time::{Duration, Instant};

use qa::check::{refused, usd};
use qa::upstream::{PROVIDER_WORDS, Script, Step, openai};
use qa::world::{Setup, World, hello, hello_stream};
use serde_json::json;

#[tokio::test]
async fn the_second_target_answers_when_the_first_one_fails() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let faults = [
        ("500", Script::error(500, "server_error")),
        ("503", Script::error(503, "overloaded")),
        ("529", Script::error(529, "overloaded")),
        ("429", Script::error(429, "rate_limit_exceeded").header("retry-after", "30")),
        ("408", Script::error(408, "timeout")),
        ("a hang-up", Script::hangs_up()),
        ("not HTTP's JSON", Script::bytes(200, "text/html", "<html>sign in</html>")),
        ("its own key refused", Script::error(401, "invalid_api_key")),
    ];
    for (name, fault) in faults {
        for body in [hello("steady"), hello_stream("steady")] {
            // A world's breaker may already be open: what counts is who answers.
            world.first.always(fault.clone());
            let answer = world.chat(&tenant.key, &body).await;
            assert_eq!(answer.status, 200, "{name}: {}", answer.text());
            assert_eq!(answer.must("x-alfred-model"), "second/test-chat", "{name}");
            assert_eq!(answer.said(), "Hello there", "{name}");
        }
    }
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn a_failed_attempt_is_told_in_header_and_receipt_and_the_tenant_pays_for_one_answer() {
    let world = World::start().await;
    let tenant = world.rich().await;
    world.first.next(Script::error(503, "overloaded"));
    let answer = world.chat(&tenant.key, &hello("steady")).await.expect(200);
    assert_eq!(answer.must("x-alfred-attempts"), "2");
    let receipt = world.receipt(answer.must("x-request-id")).await;
    assert_eq!(receipt["target"], "second/test-chat");
    let attempts = receipt["attempts"].as_array().expect("attempts").clone();
    assert_eq!(attempts.len(), 2, "{receipt}");
    assert_eq!((attempts[0]["target"].clone(), attempts[0]["status"].clone()), (json!("first/test-chat"), json!(503)));
    assert_eq!(usd(&receipt, "price_usd"), 20_000);
}

#[tokio::test]
async fn a_first_target_that_is_down_costs_less_than_half_a_second() {
    let mut world = World::start().await;
    let tenant = world.rich().await;
    world.first.stop();
    let mut best = Duration::MAX;
    for _ in 0..5 {
        let from = Instant::now();
        let answer = world.chat(&tenant.key, &hello("steady")).await.expect(200);
        best = best.min(from.elapsed());
        assert_eq!(answer.must("x-alfred-model"), "second/test-chat");
    }
    assert!(best < Duration::from_millis(500), "{best:?}");
}

#[tokio::test]
async fn a_provider_that_does_not_answer_in_time_is_left() {
    let deadlines = json!({"connect_ms": 500, "first_byte_ms": 300, "whole_ms": 300, "idle_ms": 300});
    let world = Setup::new().with(|config| config["deadlines"] = deadlines).start().await;
    let tenant = world.rich().await;
    world.first.always(Script::hangs());
    let answer = world.chat(&tenant.key, &hello("steady")).await.expect(200);
    assert_eq!(answer.must("x-alfred-model"), "second/test-chat");
    world.second.always(Script::hangs());
    let answer = world.chat(&tenant.key, &hello("steady")).await;
    refused(&answer, 504, "api_error", "provider_timeout");
    assert_eq!(usd(&world.wallet(&tenant.wallet).await, "held_usd"), 0);
}

#[tokio::test]
async fn when_all_have_failed_the_answer_lists_the_attempts_but_no_provider_s_words() {
    let world = World::start().await;
    let tenant = world.rich().await;
    world.first.always(Script::error(500, "server_error"));
    world.second.always(Script::hangs_up());
    for body in [hello("steady"), hello_stream("steady")] {
        let answer = world.chat(&tenant.key, &body).await;
        let code = answer.json()["error"]["code"].as_str().unwrap_or_default().to_owned();
        assert!([502, 503].contains(&answer.status), "{}", answer.text());
        let error = refused(&answer, answer.status, "api_error", &code);
        assert!(["provider_error", "provider_unavailable"].contains(&code.as_str()), "{error}");
        assert!(answer.text().contains("first/test-chat") && answer.text().contains("second/test-chat"), "{error}");
        assert!(!answer.text().contains(PROVIDER_WORDS), "{error}");
        let receipt = world.receipt(answer.must("x-request-id")).await;
        assert_eq!(receipt["status"], "released", "{receipt}");
    }
    assert_eq!(usd(&world.wallet(&tenant.wallet).await, "spent_usd"), 0);
    assert_eq!(usd(&world.wallet(&tenant.wallet).await, "held_usd"), 0);
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn a_request_that_a_provider_rejects_is_not_asked_elsewhere() {
    let world = World::start().await;
    let tenant = world.rich().await;
    for (status, code, ours) in [
        (400, "context_length_exceeded", Some("context_length_exceeded")),
        (400, "something_else", None),
        (404, "model_not_found", None),
        (413, "too_large", None),
        (422, "unprocessable", None),
    ] {
        world.first.next(Script::error(status, code));
        let before = world.second.count();
        let answer = world.chat(&tenant.key, &hello("steady")).await;
        assert_eq!(answer.status, status, "{}", answer.text());
        let error = answer.json()["error"].clone();
        if let Some(ours) = ours {
            assert_eq!(error["code"], ours);
        }
        assert!(error["code"].is_string() && !answer.text().contains(PROVIDER_WORDS), "{error}");
        assert_eq!(world.second.count(), before, "status {status}");
    }
    assert_eq!(usd(&world.wallet(&tenant.wallet).await, "spent_usd"), 0);
}

#[tokio::test]
async fn our_own_key_refused_by_every_provider_is_our_fault_not_the_caller_s() {
    let world = World::start().await;
    let tenant = world.rich().await;
    for status in [401, 403] {
        world.first.next(Script::error(status, "invalid_api_key"));
        let answer = world.chat(&tenant.key, &hello("chat")).await;
        assert_eq!(answer.status, 502, "{}", answer.text());
        assert!(!answer.text().contains(PROVIDER_WORDS) && !answer.text().contains("canary"));
    }
}

#[tokio::test]
async fn a_target_that_keeps_failing_is_not_asked_for_a_while() {
    let world = World::start().await;
    let tenant = world.rich().await;
    world.first.always(Script::error(500, "server_error"));
    for _ in 0..30 {
        world.chat(&tenant.key, &hello("steady")).await.expect(200);
    }
    assert!(world.first.count() < 30, "the breaker never opened");
    // Nor for a call that knows no other: it is told at once that nobody is there.
    let before = world.first.count();
    let answer = world.chat(&tenant.key, &hello("chat")).await;
    assert!([502, 503].contains(&answer.status), "{}", answer.text());
    assert!(world.first.count() <= before + 1);
}

#[tokio::test]
async fn the_caller_s_own_fallbacks_are_asked_within_policy() {
    let world = World::start().await;
    let tenant = world.rich().await;
    world.first.next(Script::error(500, "server_error"));
    let mut body = hello("chat");
    body["fallbacks"] = json!(["second/test-chat"]);
    let answer = world.chat(&tenant.key, &body).await.expect(200);
    assert_eq!(answer.must("x-alfred-model"), "second/test-chat");
    assert!(world.second.last().json().get("fallbacks").is_none(), "not a member that providers know");
}

#[tokio::test]
async fn a_stream_fails_over_until_its_first_content_byte_and_never_after() {
    let world = World::start().await;
    let tenant = world.rich().await;
    // Only a role was said: nothing that the caller could have seen.
    world.first.next(openai::begin(&[]).then(Step::Cut));
    let answer = world.chat(&tenant.key, &hello_stream("steady")).await.expect(200);
    assert_eq!(answer.must("x-alfred-model"), "second/test-chat");
    assert_eq!(answer.said(), "Hello there");

    world.first.next(openai::begin(&["Hel"]).then(Step::Cut));
    let before = world.second.count();
    let (answer, _) = world.stream(&tenant.key, &hello_stream("steady")).await.drain().await;
    assert_eq!(world.second.count(), before);
    assert!(answer.text().contains("Hel"), "{}", answer.text());
}

#[tokio::test]
async fn failover_crosses_dialects() {
    let world = World::start().await;
    let tenant = world.rich().await;
    world.claude.always(Script::json(
        529,
        &json!({"type": "error", "error": {"type": "overloaded_error", "message": PROVIDER_WORDS}}),
    ));
    for body in [hello("mixed"), hello_stream("mixed")] {
        let answer = world.chat(&tenant.key, &body).await.expect(200);
        assert_eq!(answer.must("x-alfred-model"), "second/test-chat");
        assert_eq!(answer.said(), "Hello there");
    }
}
