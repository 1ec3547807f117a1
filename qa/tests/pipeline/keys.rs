//! Who may come in.

use std::time::Duration;

use qa::check::refused;
use qa::http::Answer;
use qa::world::{Plan, World, hello, id};
use serde_json::{Value, json};

/// What can be told apart by somebody without a key: everything but the request's own id.
fn outside(answer: &Answer) -> (u16, String) {
    let request = answer.must("x-request-id").to_owned();
    (answer.status, answer.text().replace(&request, "REQUEST"))
}

#[tokio::test]
async fn every_way_of_having_no_key_is_answered_alike() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let (revoked, revoked_key) = world.key(&tenant.wallet, json!({})).await;
    world.admin("DELETE", &format!("/keys/{revoked}"), Value::Null).await;
    let elsewhere = World::start().await;
    let foreign = elsewhere.rich().await.key;
    let last = if tenant.key.ends_with('0') { "1" } else { "0" };
    let misspelt = format!("{}{last}", &tenant.key[..tenant.key.len() - 1]);

    let url = format!("{}/v1/chat/completions", world.url());
    let first = world.http.send("POST", &url, &[], hello("chat").to_string()).await.expect("an answer");
    let error = refused(&first, 401, "invalid_request_error", "invalid_api_key");
    assert!(error["param"].is_null());
    for key in ["", "x", "sk-alf-", "sk-alf-1-2-3", &misspelt, &foreign, &revoked_key, qa::world::ADMIN_KEY] {
        let answer = world.chat(key, &hello("chat")).await;
        assert_eq!(outside(&answer), outside(&first), "key {key:?}");
    }
    assert_eq!(world.first.count(), 0);
    assert_eq!(world.chat(&tenant.key, &hello("chat")).await.status, 200);
}

#[tokio::test]
async fn a_key_stops_when_its_time_is_over() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let soon: String = soon_after_now(&world).await;
    let (_, key) = world.key(&tenant.wallet, json!({"expires_at": soon})).await;
    for _ in 0..200 {
        let answer = world.chat(&key, &hello("chat")).await;
        if answer.status == 401 {
            refused(&answer, 401, "invalid_request_error", "invalid_api_key");
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("a key outlived its expires_at");
}

/// The gateway's present time and two seconds, taken from its own clock: the time of an organisation made just now.
async fn soon_after_now(world: &World) -> String {
    let org = world.admin("POST", "/orgs", json!({"name": "Clock"})).await;
    let at = org["created_at"].as_str().expect("an organisation knows when it was made").to_owned();
    let (head, seconds) = (at[..17].to_owned(), at[17..19].parse::<u32>().expect("seconds"));
    // Within the same minute, so that no calendar is needed here: in the last seconds of one, at its end.
    format!("{head}{:02}.999999Z", (seconds + 2).min(59))
}

#[tokio::test]
async fn a_revoked_key_stops_at_once_and_a_rotated_one_has_a_successor() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let rotated = world.admin("POST", &format!("/keys/{}/rotate", tenant.key_id), json!({})).await;
    let successor = rotated["key"].as_str().expect("the new key, this once").to_owned();
    assert_ne!(successor, tenant.key);
    assert_eq!(world.chat(&successor, &hello("chat")).await.status, 200);
    assert_eq!(world.chat(&tenant.key, &hello("chat")).await.status, 200, "rotation has an overlap");

    world.admin("DELETE", &format!("/keys/{}", id(&rotated)), Value::Null).await;
    refused(&world.chat(&successor, &hello("chat")).await, 401, "invalid_request_error", "invalid_api_key");
}

#[tokio::test]
async fn an_app_key_opens_no_admin_door() {
    let world = World::start().await;
    let tenant = world.rich().await;
    for key in [tenant.key.as_str(), "", "nonsense"] {
        let bearer = format!("Bearer {key}");
        let url = format!("{}/admin/v1/orgs", world.url());
        let answer =
            world.http.send("POST", &url, &[("authorization", &bearer)], r#"{"name":"x"}"#).await.expect("an answer");
        assert_eq!(answer.status, 401, "{}", answer.text());
        assert!(answer.must("content-type").starts_with("application/problem+json"));
    }
}

#[tokio::test]
async fn guessing_keys_is_throttled_by_address_but_never_a_valid_key() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let mut throttled = None;
    for _ in 0..75 {
        let answer = world.chat("sk-alf-guess", &hello("chat")).await;
        if answer.status == 429 {
            throttled = Some(answer);
            break;
        }
        assert_eq!(answer.status, 401);
    }
    let answer = throttled.expect("sixty failures a minute are enough");
    refused(&answer, 429, "rate_limit_error", "rate_limit_exceeded");
    assert!(answer.must("retry-after").parse::<u64>().expect("seconds") <= 60);
    for _ in 0..5 {
        assert_eq!(world.chat(&tenant.key, &hello("chat")).await.status, 200);
    }
}

#[tokio::test]
async fn a_key_with_a_rate_limit_is_held_to_it_and_the_others_are_not() {
    let world = World::start().await;
    let tenant = world.tenant(Plan::new().hard("100").key(json!({"rpm": 2}))).await;
    let (_, free) = world.key(&tenant.wallet, json!({})).await;
    for _ in 0..2 {
        let answer = world.chat(&tenant.key, &hello("chat")).await.expect(200);
        assert_eq!(answer.must("x-ratelimit-limit-requests"), "2");
        answer.must("x-ratelimit-remaining-requests").parse::<u64>().expect("a number");
    }
    let answer = world.chat(&tenant.key, &hello("chat")).await;
    refused(&answer, 429, "rate_limit_error", "rate_limit_exceeded");
    let wait: u64 = answer.must("retry-after").parse().expect("whole seconds");
    assert!((1..=60).contains(&wait), "{wait}");
    assert_eq!(world.first.count(), 2);
    for _ in 0..5 {
        assert_eq!(world.chat(&free, &hello("chat")).await.status, 200);
    }
}

#[tokio::test]
async fn refusals_at_the_door_are_counted_in_the_log_not_listed() {
    let world = World::start().await;
    let tenant = world.tenant(Plan::new().hard("100").key(json!({"rpm": 1}))).await;
    for _ in 0..40 {
        world.chat(&tenant.key, &hello("chat")).await;
    }
    let entries = world.audit(&tenant.org).await;
    let about_limit = entries.iter().filter(|e| e.to_string().contains("rate_limit")).count();
    assert!(about_limit <= 3, "{about_limit} entries for 39 refusals");
}
