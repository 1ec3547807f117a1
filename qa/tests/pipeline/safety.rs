//! What must not leave does not leave, and nobody repeats it.

use qa::check::refused;
use qa::world::World;
use serde_json::{Value, json};

const CARD: &str = "4111 1111 1111 1111";
/// Put together here, so that no scanner of repositories takes it for a real one.
fn token() -> String {
    format!("ghp_{}", "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8")
}

#[tokio::test]
async fn findings_are_redacted_in_every_text_part_before_anything_leaves() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let secrets = [CARD, "jane.doe@example.org", "DE89 3704 0044 0532 0130 00", "078-05-1120", "+1 415-555-2671"];
    let places = ["[PAYMENT_CARD]", "[EMAIL]", "[IBAN]", "[US_SSN]", "[PHONE]"];
    for (secret, place) in secrets.into_iter().zip(places) {
        let text = format!("note: {secret} please");
        let messages = [
            ("a string", json!([{"role": "user", "content": text}])),
            (
                "a part",
                json!([{"role": "user", "content": [{"type": "text", "text": "Hi"}, {"type": "text", "text": text}]}]),
            ),
            ("a system text", json!([{"role": "system", "content": text}, {"role": "user", "content": "Hi"}])),
            (
                "a tool result",
                json!([
                    {"role": "user", "content": "Hi"},
                    {"role": "assistant", "content": null, "tool_calls": [
                        {"id": "t1", "type": "function", "function": {"name": "look", "arguments": "{}"}}]},
                    {"role": "tool", "tool_call_id": "t1", "content": text},
                ]),
            ),
        ];
        for (name, messages) in messages {
            let body = json!({"model": "chat", "max_tokens": 50, "messages": messages, "keep": "me"});
            let answer = world.chat(&tenant.key, &body).await;
            assert_eq!(answer.status, 200, "{secret} in {name}: {}", answer.text());
            let sent = world.first.last();
            assert!(!sent.text().contains(secret), "{secret} left in {name}: {}", sent.text());
            assert!(sent.text().contains(place), "no {place} in {name}: {}", sent.text());
            assert_eq!(sent.json()["keep"], "me");
        }
    }
}

#[tokio::test]
async fn a_blocked_finding_names_kind_and_place_but_never_the_text() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let text = format!("deploy with {}", token());
    let body = json!({"model": "chat", "max_tokens": 50, "messages": [
        {"role": "user", "content": "Hi"}, {"role": "user", "content": [{"type": "text", "text": text}]}]});
    let answer = world.chat(&tenant.key, &body).await;
    let error = refused(&answer, 400, "invalid_request_error", "content_policy_violation");
    let message = error["message"].as_str().unwrap_or_default();
    assert!(message.contains("api_key") && message.contains("messages[1].content"), "{message}");
    assert!(!answer.text().contains(&token()[..12]), "{}", answer.text());
    assert_eq!(world.first.count(), 0);

    // The same for a call that wants a stream.
    let mut body = body;
    body["stream"] = json!(true);
    refused(&world.chat(&tenant.key, &body).await, 400, "invalid_request_error", "content_policy_violation");

    let entries = world.audit(&tenant.org).await;
    let block = entries.iter().find(|e| e["kind"] == "BLOCK").expect("a refusal is audited");
    assert!(block.to_string().contains("content_policy_violation"), "{block}");
    assert!(!json!(entries).to_string().contains(&token()[..12]));
}

#[tokio::test]
async fn findings_are_counted_on_the_receipt_by_kind_and_place() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let text = format!("{CARD} and {CARD} and jane.doe@example.org");
    let body = json!({"model": "chat", "max_tokens": 50, "messages": [{"role": "user", "content": text}]});
    let answer = world.chat(&tenant.key, &body).await.expect(200);
    let receipt = world.receipt(answer.must("x-request-id")).await;
    let safety = receipt["safety"].to_string();
    for word in ["payment_card", "email", "messages[0].content", "redact"] {
        assert!(safety.contains(word), "{word} is not in {safety}");
    }
    let cards = receipt["safety"].as_array().into_iter().flatten().find(|f| f["kind"] == "payment_card");
    assert_eq!(cards.map(|f| f["count"].clone()), Some(json!(2)), "{safety}");
    let all = format!("{receipt}{}", json!(world.audit(&tenant.org).await));
    // Whole, in groups or run together: four digits alone may well stand in a hash.
    let run = CARD.replace(' ', "");
    for part in [CARD, &CARD[..9], &run, &run[..8], "jane.doe"] {
        assert!(!all.contains(part), "{part} is in {all}");
    }
}

#[tokio::test]
async fn what_only_looks_like_a_finding_passes_untouched() {
    let world = World::start().await;
    let tenant = world.rich().await;
    for text in ["order 4111 1111 1111 1112", "version 1.2.3-4", "call me at noon", "sk-learn", "10.0.0.1:8080"] {
        let body = json!({"model": "chat", "max_tokens": 50, "messages": [{"role": "user", "content": text}]});
        world.chat(&tenant.key, &body).await.expect(200);
        assert_eq!(world.first.last().json()["messages"][0]["content"], text);
    }
}

#[tokio::test]
async fn policy_data_chooses_the_action_of_a_kind() {
    let actions = json!({"safety": {"actions": {"email": "allow", "payment_card": "block"}}});
    let world = qa::world::Setup::new().policy_data(actions).start().await;
    let tenant = world.rich().await;
    let ask = |text: &str| json!({"model": "chat", "max_tokens": 50, "messages": [{"role": "user", "content": text}]});
    world.chat(&tenant.key, &ask("jane.doe@example.org")).await.expect(200);
    let sent: Value = world.first.last().json();
    assert_eq!(sent["messages"][0]["content"], "jane.doe@example.org");
    let answer = world.chat(&tenant.key, &ask(CARD)).await;
    let error = refused(&answer, 400, "invalid_request_error", "content_policy_violation");
    assert!(error["message"].as_str().is_some_and(|m| m.contains("payment_card")), "{error}");
}
