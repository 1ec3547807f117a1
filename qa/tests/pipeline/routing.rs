//! Which target a call goes to, and what else is tried inside it: strategies, keys, retries, hedging, fallbacks for a reason.

use std::time::{Duration, Instant};

use qa::check::{refused, usd};
use qa::upstream::{Gate, PROVIDER_WORDS, Script, Upstream, anthropic, openai};
use qa::world::{Setup, Tenant, World, hello, hello_stream};
use serde_json::{Value, json};

/// One answer of the polite provider, at the prices of every world.
const PRICE: i64 = 20_000;

fn model(setup: Setup, model: Value) -> Setup {
    setup.with(|config| config["models"].as_array_mut().expect("models").push(model))
}

fn retries(setup: Setup, retries: Value) -> Setup {
    setup.with(|config| config["retries"] = retries)
}

fn attempts(receipt: &Value) -> Vec<(String, String)> {
    let attempts = receipt["attempts"].as_array().cloned().unwrap_or_default();
    let word = |attempt: &Value, name: &str| attempt[name].as_str().unwrap_or_default().to_owned();
    attempts.iter().map(|it| (word(it, "target"), word(it, "outcome"))).collect()
}

fn lines(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(target, outcome)| ((*target).to_owned(), (*outcome).to_owned())).collect()
}

async fn nothing_is_held(world: &World, tenant: &Tenant) {
    assert_eq!(usd(&world.wallet(&tenant.wallet).await, "held_usd"), 0);
    world.assert_balanced(tenant).await;
}

#[tokio::test]
async fn calls_are_shared_out_as_the_targets_weigh() {
    let shared = json!({"id": "shared", "strategy": "weighted", "targets": [
        {"target": "first/test-chat", "weight": 4}, "second/test-chat",
    ]});
    let world = model(Setup::new(), shared).start().await;
    let tenant = world.rich().await;
    for _ in 0..60 {
        world.chat(&tenant.key, &hello("shared")).await.expect(200);
    }
    // Four of five of sixty; a share as odd as these bounds comes once in some hundred thousand runs.
    let first = world.first.count();
    assert!((34..=59).contains(&first) && first + world.second.count() == 60, "{first}");
}

#[tokio::test]
async fn conversations_that_begin_alike_stay_with_one_target_and_fall_back_when_it_is_down() {
    let sticky = json!({"id": "sticky", "strategy": "sticky", "targets": ["first/test-chat", "second/test-chat"]});
    let world = model(Setup::new(), sticky).start().await;
    let tenant = world.rich().await;
    let said = |topic: usize, turns: usize| {
        let mut messages = vec![json!({"role": "system", "content": format!("You know all about topic {topic}.")})];
        messages.extend((0..turns).map(|turn| json!({"role": "user", "content": format!("And what of {turn}?")})));
        json!({"model": "sticky", "messages": messages})
    };
    let mut served = std::collections::BTreeSet::new();
    for topic in 0..12 {
        let mut by = std::collections::BTreeSet::new();
        for turns in 1..4 {
            let answer = world.chat(&tenant.key, &said(topic, turns)).await.expect(200);
            by.insert(answer.must("x-alfred-model").to_owned());
        }
        assert_eq!(by.len(), 1, "topic {topic} went to {by:?}");
        served.extend(by);
    }
    assert_eq!(served.len(), 2, "different conversations spread");
    world.first.always(Script::error(503, "overloaded"));
    for topic in 0..12 {
        let answer = world.chat(&tenant.key, &said(topic, 1)).await.expect(200);
        assert_eq!(answer.must("x-alfred-model"), "second/test-chat");
    }
}

#[tokio::test]
async fn the_cheapest_target_is_asked_first() {
    let cheap = json!({"id": "cheap", "strategy": "least_cost", "targets": ["first/test-chat", "second/other", "first/counted"]});
    let world = model(Setup::new(), cheap)
        .with(|config| {
            config["prices"]["second/other"] = json!({"input": "0.10", "output": "0.20", "bills_after_cancel": false})
        })
        .start()
        .await;
    let tenant = world.rich().await;
    let answer = world.chat(&tenant.key, &hello("cheap")).await.expect(200);
    assert_eq!(answer.must("x-alfred-model"), "second/other");
}

fn keyed(setup: Setup, upstream: &Upstream, models: Value) -> Setup {
    let provider = json!({
        "id": "many", "kind": "openai", "base_url": upstream.v1(),
        "api_keys": [{"env": "FIRST_KEY"}, {"env": "SECOND_KEY"}],
    });
    setup.with(|config| {
        config["providers"] = json!([provider]);
        config["prices"]["many/test-chat"] = json!({"input": "1.00", "output": "2.00", "bills_after_cancel": false});
        config["models"].as_array_mut().expect("models").push(models);
    })
}

/// The key that each request showed, as its variable.
fn shown(upstream: &Upstream) -> String {
    let key = |seen: &qa::upstream::Seen| {
        let key = seen.headers["authorization"].to_str().unwrap_or_default().to_owned();
        if key.contains("first-provider") { 'a' } else { 'b' }
    };
    upstream.seen().iter().map(key).collect()
}

#[tokio::test]
async fn a_key_that_is_limited_rests_while_the_next_one_answers_and_the_provider_is_not_benched() {
    let many = Upstream::start();
    let world = keyed(Setup::new(), &many, json!({"id": "m", "targets": ["many/test-chat"]})).start().await;
    let tenant = world.rich().await;
    for _ in 0..2 {
        world.chat(&tenant.key, &hello("m")).await.expect(200);
    }
    assert_eq!(shown(&many), "ab", "in turn");
    many.next(Script::error(429, "rate_limit_exceeded").header("retry-after", "60"));
    let answer = world.chat(&tenant.key, &hello("m")).await.expect(200);
    assert_eq!(answer.must("x-alfred-attempts"), "2");
    let receipt = world.receipt(answer.must("x-request-id")).await;
    assert_eq!(attempts(&receipt), lines(&[("many/test-chat", "rate_limited"), ("many/test-chat", "answered")]));
    assert_eq!(usd(&receipt, "price_usd"), PRICE);
    for _ in 0..3 {
        world.chat(&tenant.key, &hello("m")).await.expect(200);
    }
    assert_eq!(shown(&many), "ababbbb", "the first rests");
    // A key that is not accepted any more rests too. Now none is left, and the provider itself is left alone.
    many.next(Script::error(429, "rate_limit_exceeded").header("retry-after", "60"));
    let answer = world.chat(&tenant.key, &hello("m")).await;
    refused(&answer, 503, "api_error", "provider_unavailable");
    let before = many.count();
    let answer = world.chat(&tenant.key, &hello("m")).await;
    refused(&answer, 503, "api_error", "provider_unavailable");
    let wait: u64 = answer.must("retry-after").parse().expect("seconds");
    assert!((1..=60).contains(&wait) && many.count() == before, "{wait}");
    nothing_is_held(&world, &tenant).await;
}

#[tokio::test]
async fn a_key_that_is_not_accepted_is_not_the_end_of_its_provider() {
    let many = Upstream::start();
    let world = keyed(Setup::new(), &many, json!({"id": "m", "targets": ["many/test-chat"]})).start().await;
    let tenant = world.rich().await;
    many.next(Script::error(401, "invalid_api_key"));
    for _ in 0..3 {
        world.chat(&tenant.key, &hello("m")).await.expect(200);
    }
    assert_eq!(shown(&many), "abbb");
}

#[tokio::test]
async fn a_short_retry_after_is_waited_for_and_a_long_one_is_not() {
    let world = retries(Setup::new(), json!({"attempts": 2, "base_ms": 1, "max_ms": 1000})).start().await;
    let tenant = world.rich().await;
    for (header, value, least) in [("retry-after-ms", "300", 300), ("retry-after", "0.2", 200)] {
        world.first.next(Script::error(429, "rate_limit_exceeded").header(header, value));
        let from = Instant::now();
        let answer = world.chat(&tenant.key, &hello("chat")).await.expect(200);
        assert!(from.elapsed() >= Duration::from_millis(least), "{header}: {:?}", from.elapsed());
        let receipt = world.receipt(answer.must("x-request-id")).await;
        let expected = lines(&[("first/test-chat", "rate_limited"), ("first/test-chat", "answered")]);
        assert_eq!(attempts(&receipt), expected, "{header}");
        assert_eq!(usd(&receipt, "price_usd"), PRICE, "{header}");
    }
    world.first.next(Script::error(429, "rate_limit_exceeded").header("retry-after", "30"));
    let before = world.first.count();
    let answer = world.chat(&tenant.key, &hello("chat")).await;
    refused(&answer, 503, "api_error", "provider_unavailable");
    assert_eq!((answer.must("retry-after"), world.first.count()), ("30", before + 1));
    nothing_is_held(&world, &tenant).await;
}

#[tokio::test]
async fn what_passes_is_asked_again_once_nobody_else_is_left_and_what_may_be_billed_is_not() {
    let deadlines = json!({"connect_ms": 500, "first_byte_ms": 300, "whole_ms": 300, "idle_ms": 300});
    let world = retries(Setup::new(), json!({"attempts": 2, "base_ms": 1, "max_ms": 1000}))
        .with(|config| config["deadlines"] = deadlines)
        .start()
        .await;
    let tenant = world.rich().await;
    for (name, fault, requests) in [
        ("500", Script::error(500, "server_error"), 2),
        ("503", Script::error(503, "overloaded"), 2),
        ("silence", Script::hangs(), 1),
        ("no JSON", Script::bytes(200, "text/html", "<html>sign in</html>"), 1),
        ("a refusal of the request", Script::error(422, "unprocessable"), 1),
    ] {
        let before = world.first.count();
        world.first.next(fault);
        let answer = world.chat(&tenant.key, &hello("chat")).await;
        assert_eq!((answer.status == 200, world.first.count() - before), (requests == 2, requests), "{name}");
    }
    // With somebody else to ask, nobody waits.
    world.first.next(Script::error(503, "overloaded"));
    let answer = world.chat(&tenant.key, &hello("steady")).await.expect(200);
    assert_eq!((answer.must("x-alfred-model"), answer.must("x-alfred-attempts")), ("second/test-chat", "2"));
    nothing_is_held(&world, &tenant).await;
}

#[tokio::test]
async fn a_prompt_that_was_never_answered_is_the_platforms_cost_where_its_provider_computes_to_the_end() {
    let deadlines = json!({"connect_ms": 500, "first_byte_ms": 300, "whole_ms": 300, "idle_ms": 300});
    let world = Setup::new()
        .with(|config| {
            config["deadlines"] = deadlines;
            config["prices"]["first/test-chat"]["bills_after_cancel"] = json!(true);
        })
        .start()
        .await;
    let tenant = world.rich().await;
    world.first.next(Script::hangs());
    let answer = world.chat(&tenant.key, &hello("steady")).await.expect(200);
    let receipt = world.receipt(answer.must("x-request-id")).await;
    let spent = usd(&receipt["attempts"][0], "cost_usd");
    assert_eq!(attempts(&receipt)[0], ("first/test-chat".to_owned(), "timeout".to_owned()));
    assert!(spent > 0, "{receipt}");
    assert_eq!((usd(&receipt, "price_usd"), usd(&receipt, "cost_usd")), (PRICE, PRICE + spent), "{receipt}");
}

#[tokio::test]
async fn a_slow_first_target_gets_company_and_the_one_that_lost_is_cost_but_no_price() {
    let hedged = json!({"id": "hedged", "targets": ["first/test-chat", "second/test-chat"],
        "hedge": {"after_ms": 100, "most_percent": 100}});
    let world = model(Setup::new(), hedged).start().await;
    let tenant = world.rich().await;
    for body in [hello("hedged"), hello_stream("hedged")] {
        let gate = Gate::new();
        world.first.next(openai::chat("too late", 10, 5).behind(gate.clone()));
        let answer = world.chat(&tenant.key, &body).await.expect(200);
        assert_eq!((answer.must("x-alfred-model"), answer.must("x-alfred-attempts")), ("second/test-chat", "2"));
        assert_eq!(answer.said(), "Hello there");
        let receipt = world.receipt_when(answer.must("x-request-id"), |it| it["status"] == "settled").await;
        let expected = lines(&[("first/test-chat", "outpaced"), ("second/test-chat", "answered")]);
        assert_eq!(attempts(&receipt), expected);
        let lost = usd(&receipt["attempts"][0], "cost_usd");
        assert!(lost > 0, "its prompt was read: {receipt}");
        assert_eq!((usd(&receipt, "price_usd"), usd(&receipt, "cost_usd")), (PRICE, PRICE + lost), "{receipt}");
        gate.open();
    }
    // Who answers in time gets no company.
    let before = world.second.count();
    let answer = world.chat(&tenant.key, &hello("hedged")).await.expect(200);
    assert_eq!((answer.must("x-alfred-model"), world.second.count()), ("first/test-chat", before));
    nothing_is_held(&world, &tenant).await;
}

#[tokio::test]
async fn of_two_that_fail_beside_each_other_both_are_on_the_receipt() {
    let hedged = json!({"id": "hedged", "targets": ["first/test-chat", "second/test-chat"],
        "hedge": {"after_ms": 50, "most_percent": 100}});
    let world = model(Setup::new(), hedged).start().await;
    let tenant = world.rich().await;
    world.first.next(Script::error(400, "invalid_value").after(Duration::from_millis(250)));
    world.second.next(Script::error(503, "overloaded").after(Duration::from_millis(500)));
    let answer = world.chat(&tenant.key, &hello("hedged")).await.expect(400);
    let receipt = world.receipt(answer.must("x-request-id")).await;
    let asked: Vec<String> = attempts(&receipt).into_iter().map(|(target, _)| target).collect();
    assert_eq!(
        (asked, answer.must("x-alfred-attempts")),
        (vec!["first/test-chat".into(), "second/test-chat".into()], "2")
    );
    nothing_is_held(&world, &tenant).await;
}

#[tokio::test]
async fn no_more_calls_are_hedged_than_may_be() {
    let hedged = json!({"id": "hedged", "targets": ["first/test-chat", "second/test-chat"],
        "hedge": {"after_ms": 1, "most_percent": 10}});
    let world = model(Setup::new(), hedged).start().await;
    let tenant = world.rich().await;
    world.first.always(openai::chat("Hello there", 10, 5).after(Duration::from_millis(60)));
    for _ in 0..20 {
        world.chat(&tenant.key, &hello("hedged")).await.expect(200);
    }
    // One to begin with, and one for every ten.
    assert!((1..=3).contains(&world.second.count()), "{}", world.second.count());
}

#[tokio::test]
async fn a_prompt_that_is_too_long_goes_to_the_model_that_is_there_for_it() {
    let long = json!({"id": "talk", "targets": ["first/test-chat"], "context_fallbacks": ["second/test-chat"]});
    let world = model(Setup::new(), long).start().await;
    let tenant = world.rich().await;
    for body in [hello("talk"), hello_stream("talk")] {
        world.first.next(Script::error(400, "context_length_exceeded"));
        let answer = world.chat(&tenant.key, &body).await.expect(200);
        assert_eq!(answer.must("x-alfred-model"), "second/test-chat");
        let receipt = world.receipt_when(answer.must("x-request-id"), |it| it["status"] == "settled").await;
        assert_eq!(attempts(&receipt), lines(&[("first/test-chat", "rejected"), ("second/test-chat", "answered")]));
        assert_eq!(usd(&receipt, "price_usd"), PRICE);
    }
    // It is there for that alone.
    let before = world.second.count();
    world.first.next(Script::error(503, "overloaded"));
    refused(&world.chat(&tenant.key, &hello("talk")).await, 502, "api_error", "provider_error");
    world.first.next(Script::error(400, "content_filter"));
    let answer = world.chat(&tenant.key, &hello("talk")).await;
    refused(&answer, 400, "invalid_request_error", "provider_content_filter");
    assert_eq!(world.second.count(), before);
}

#[tokio::test]
async fn a_prompt_that_a_content_filter_refuses_goes_to_the_model_that_is_there_for_it() {
    let filtered = json!({"id": "talk", "targets": ["first/test-chat"], "content_filter_fallbacks": ["claude"]});
    let world = model(Setup::new(), filtered).start().await;
    let tenant = world.rich().await;
    world.first.next(Script::error(400, "content_filter"));
    world.claude.next(anthropic::message("Well then", 10, 5));
    let answer = world.chat(&tenant.key, &hello("talk")).await.expect(200);
    assert_eq!((answer.must("x-alfred-model"), answer.said()), ("claude/test-claude", "Well then".to_owned()));
    world.first.next(Script::error(400, "context_length_exceeded"));
    let answer = world.chat(&tenant.key, &hello("talk")).await;
    refused(&answer, 400, "invalid_request_error", "context_length_exceeded");
    assert!(!answer.text().contains(PROVIDER_WORDS));
    nothing_is_held(&world, &tenant).await;
}

#[tokio::test]
async fn a_fallback_that_policy_does_not_permit_is_not_asked() {
    let long = json!({"id": "talk", "targets": ["first/test-chat"], "context_fallbacks": ["second/test-chat"]});
    let world = model(Setup::new(), long).start().await;
    let tenant = world.tenant(qa::world::Plan::new().hard("100").key(json!({"models": ["talk"]}))).await;
    world.first.next(Script::error(400, "context_length_exceeded"));
    let answer = world.chat(&tenant.key, &hello("talk")).await;
    refused(&answer, 400, "invalid_request_error", "context_length_exceeded");
    assert_eq!(world.second.count(), 0);
    // Nor is it the answer to a model that may not be asked.
    let tenant = world.tenant(qa::world::Plan::new().hard("100").key(json!({"models": ["second/test-chat"]}))).await;
    let answer = world.chat(&tenant.key, &hello("talk")).await;
    refused(&answer, 403, "permission_error", "model_not_allowed");
    assert_eq!(world.second.count(), 0);
}

#[tokio::test]
async fn a_provider_that_is_looked_after_is_well_again_without_a_call() {
    let watched = Upstream::start();
    let provider = json!({
        "id": "watched", "kind": "openai", "base_url": watched.v1(), "api_key": {"env": "FIRST_KEY"},
        "health_check": {"every_ms": 1000},
    });
    let world = Setup::new()
        .with(|config| {
            config["providers"] = json!([provider]);
            config["prices"]["watched/test-chat"] =
                json!({"input": "1.00", "output": "2.00", "bills_after_cancel": false});
            config["models"]
                .as_array_mut()
                .expect("models")
                .push(json!({"id": "w", "targets": ["watched/test-chat", "second/test-chat"]}));
        })
        .start()
        .await;
    let tenant = world.rich().await;
    watched.at("GET /v1/models", Script::json(200, &json!({"object": "list", "data": []})));
    watched.next(Script::error(429, "rate_limit_exceeded").header("retry-after-ms", "1500"));
    world.chat(&tenant.key, &hello("w")).await.expect(200);
    let lists = |it: &Upstream| it.seen().iter().filter(|seen| seen.method == "GET").count();
    // It is asked for its list whether or not anybody calls.
    watched.until("it is looked after", |it| lists(it) >= 3).await;
    let answer = world.chat(&tenant.key, &hello("w")).await.expect(200);
    assert_eq!(answer.must("x-alfred-model"), "watched/test-chat");
    // One that does not even tell its list any more is left alone before a call finds out.
    watched.at("GET /v1/models", Script::error(503, "overloaded"));
    let seen = lists(&watched);
    watched.until("it fails five times", move |it| lists(it) >= seen + 6).await;
    let asked = watched.count() - lists(&watched);
    let answer = world.chat(&tenant.key, &hello("w")).await.expect(200);
    assert_eq!(answer.must("x-alfred-model"), "second/test-chat");
    assert_eq!(watched.count() - lists(&watched), asked);
}
