//! A bound on regions holds on every hop: whatever fails, whoever is slow, nothing of the call reaches a place beyond it.

use std::time::Duration;

use qa::check::refused;
use qa::upstream::{Script, openai};
use qa::world::{Setup, World, hello, hello_stream};
use serde_json::{Value, json};

/// What a provider does instead of answering.
type Fault = fn() -> Script;

/// `first` lies in the us, `second` in the eu, `claude` has not said.
async fn bound(data: Value, regions: Value) -> World {
    Setup::new()
        .policy_data(data)
        .with(|config| {
            config["regions"] = regions;
            let models = config["models"].as_array_mut().expect("models");
            models.push(json!({"id": "wide", "targets": ["first/test-chat", "second/test-chat", "claude/test-claude"],
                "hedge": {"after_ms": 20, "most_percent": 100}, "context_fallbacks": ["chat"], "content_filter_fallbacks": ["claude"]}));
            models.push(json!({"id": "narrow", "targets": ["second/test-chat"], "context_fallbacks": ["chat"],
                "content_filter_fallbacks": ["claude"]}));
        })
        .start()
        .await
}

#[tokio::test]
async fn no_target_beyond_the_bound_is_asked_whatever_fails() {
    let world = bound(json!({"residency": {"regions": ["eu"]}}), json!({})).await;
    let tenant = world.rich().await;
    let slow = || openai::chat("Hello there", 10, 5).after(Duration::from_millis(120));
    let faults: [(&str, Fault); 5] = [
        ("down", || Script::error(503, "overloaded")),
        ("limited", || Script::error(429, "rate_limit_exceeded")),
        ("gone", Script::hangs_up),
        ("too long", || Script::error(400, "context_length_exceeded")),
        ("filtered", || Script::error(400, "content_filter")),
    ];
    for model in ["wide", "narrow"] {
        world.second.next(slow());
        let answer = world.chat(&tenant.key, &hello(model)).await.expect(200);
        assert_eq!(answer.must("x-alfred-model"), "second/test-chat", "a slow one gets no company from beyond");
        for (name, fault) in &faults {
            for body in [hello(model), hello_stream(model)] {
                let mut body = body;
                body["fallbacks"] = json!(["steady", "claude"]);
                world.second.always(fault());
                let answer = world.chat(&tenant.key, &body).await;
                assert_ne!(answer.status, 200, "{name}: there is nobody else inside");
            }
        }
        world.second.behave();
    }
    assert_eq!((world.first.count(), world.claude.count()), (0, 0), "not a byte");
    assert!(world.second.count() > 2);
    let answer = world.chat(&tenant.key, &hello("chat")).await;
    refused(&answer, 403, "permission_error", "residency_violation");
    assert!(world.log().contains("residency_violation"), "it is logged");
    let receipt = world.receipt(answer.must("x-request-id")).await;
    assert_eq!(receipt["code"], "residency_violation", "{receipt}");
    assert_eq!((world.first.count(), world.claude.count()), (0, 0));
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn a_cache_is_used_only_where_it_is_known_to_lie_inside() {
    let data = json!({"residency": {"regions": ["eu"]}, "cache": {"enabled": true, "ttl_seconds": 600}});
    for (regions, second) in [(json!({}), "bypass"), (json!({"process": "eu"}), "hit")] {
        let world = bound(data.clone(), regions).await;
        let tenant = world.rich().await;
        world.chat(&tenant.key, &hello("steady")).await.expect(200);
        let answer = world.chat(&tenant.key, &hello("steady")).await.expect(200);
        assert_eq!(answer.must("x-alfred-cache"), second);
    }
}

#[tokio::test]
async fn a_gateway_beyond_the_bound_takes_no_call_that_is_bound() {
    let world = bound(json!({"residency": {"regions": ["eu"]}}), json!({"process": "us"})).await;
    let tenant = world.rich().await;
    let answer = world.chat(&tenant.key, &hello("steady")).await;
    let error = refused(&answer, 403, "permission_error", "residency_violation");
    assert!(error["message"].as_str().is_some_and(|it| it.contains("does not lie in eu")), "{error}");
    assert_eq!((world.first.count(), world.second.count()), (0, 0));
}
