//! Money in, money spent, money given back, and the journal of it.

use ledger::Money;
use serde_json::{Value, json};

use crate::world::{Answer, World};

async fn fund(world: &World, wallet: &str, once: &str, body: Value) -> Answer {
    world.ask("POST", &format!("/wallets/{wallet}/fund")).header("idempotency-key", once).json(&body).send().await
}

fn sum(entries: &Value, member: &str) -> Money {
    let amounts =
        entries["data"].as_array().unwrap().iter().map(|it| it[member].as_str().unwrap().parse::<Money>().unwrap());
    amounts.fold(Money::ZERO, |sum, it| sum.plus(it).unwrap())
}

#[tokio::test]
async fn a_prepaid_wallet_is_funded_spent_from_and_refunded_and_its_journal_adds_up() {
    let world = World::new().await;
    let wallet = world.wallet(&world.org().await, json!({"funding": "prepaid"})).await;
    let body = json!({"amount_usd": "5.00", "source": "invoice", "reference": "INV-1"});
    for _ in 0..2 {
        let funded = fund(&world, &wallet, "pay once", body.clone()).await;
        assert_eq!(funded.status, 200, "{}", funded.text);
        assert_eq!((&funded.json()["funded_usd"], &funded.json()["available_usd"]), (&json!("5"), &json!("5")));
    }
    let key = world.key(&wallet).await;
    let call = world.charged(&key, "1.25").await;
    let receipt = world.get(&format!("/requests/{call}")).await.json();
    assert_eq!(receipt["status"], "settled");
    assert_eq!((&receipt["price_usd"], &receipt["cost_usd"]), (&json!("1.25"), &json!("1.25")));
    assert_eq!((&receipt["key_id"], &receipt["wallet_id"]), (&json!(key), &json!(wallet)));
    for member in
        ["model", "target", "input_tokens", "output_tokens", "latency_ms", "attempts", "policy", "safety", "cache"]
    {
        assert!(!receipt[member].is_null(), "{member} of {receipt}");
    }
    let refund = json!({"reason": "a test", "amount_usd": "0.25"});
    for _ in 0..2 {
        let path = format!("/requests/{call}/refund");
        let refunded = world.ask("POST", &path).header("idempotency-key", "back").json(&refund).send().await;
        assert_eq!(refunded.json()["refunded_usd"], "0.25", "{}", refunded.text);
    }
    let now = world.get(&format!("/wallets/{wallet}")).await.json();
    assert_eq!((&now["spent_usd"], &now["held_usd"], &now["available_usd"]), (&json!("1"), &json!("0"), &json!("4")));
    let entries = world.get(&format!("/wallets/{wallet}/entries")).await.json();
    let kinds: Vec<_> = entries["data"].as_array().unwrap().iter().map(|it| it["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["fund", "reserve", "settle", "refund"]);
    assert_eq!(sum(&entries, "held_delta_usd").to_string(), "0");
    assert_eq!(sum(&entries, "spent_delta_usd").to_string(), "1");
    assert_eq!(sum(&entries, "funded_delta_usd").to_string(), "5");
    assert_eq!(entries["data"][3]["request_id"], call);
    assert!(entries["data"][0]["request_id"].is_null());
}

#[tokio::test]
async fn moving_money_needs_an_idempotency_key_and_sense() {
    let world = World::new().await;
    let wallet = world.wallet(&world.org().await, json!({"funding": "prepaid"})).await;
    let call = world.charged(&world.key(&world.wallet(&world.org().await, json!({})).await).await, "1").await;
    let good = json!({"amount_usd": "5", "source": "invoice", "reference": "1"});
    let path = format!("/wallets/{wallet}/fund");
    world.post(&path, good.clone()).await.is_problem(400, "invalid_idempotency_key", None);
    world.post(&format!("/requests/{call}/refund"), json!({"reason": "x"})).await.is_problem(
        400,
        "invalid_idempotency_key",
        None,
    );
    for (member, value) in [
        ("amount_usd", json!("0")),
        ("amount_usd", json!("-1")),
        ("amount_usd", json!(5)),
        ("amount_usd", json!("0.0000000001")),
        ("source", json!("")),
        ("source", json!("x".repeat(101))),
        ("reference", json!(" ")),
        ("reference", json!("two\nlines")),
        ("reference", json!(null)),
    ] {
        let mut body = good.clone();
        body[member] = value.clone();
        fund(&world, &wallet, "bad", body).await.is_problem(400, "invalid_value", Some(member));
    }
    assert_eq!(fund(&world, &wallet, "bad", good.clone()).await.status, 200, "a refusal frees the Idempotency-Key");
    let other = json!({"amount_usd": "6", "source": "invoice", "reference": "2"});
    fund(&world, &wallet, "bad", other).await.is_problem(409, "idempotency_mismatch", None);
    let same_reference = json!({"amount_usd": "6", "source": "invoice", "reference": "1"});
    fund(&world, &wallet, "new", same_reference).await.is_problem(409, "idempotency_mismatch", None);

    for (body, code, member) in [
        (json!({"reason": "x", "amount_usd": "1.000000001"}), "invalid_value", "amount_usd"),
        (json!({"reason": "x", "amount_usd": "0"}), "invalid_value", "amount_usd"),
        (json!({"reason": ""}), "invalid_value", "reason"),
        (json!({}), "invalid_value", "reason"),
    ] {
        let path = format!("/requests/{call}/refund");
        let answer = world.ask("POST", &path).header("idempotency-key", "r").json(&body).send().await;
        answer.is_problem(400, code, Some(member));
    }
}

#[tokio::test]
async fn requests_are_listed_newest_first_by_org_wallet_key_and_status() {
    let world = World::new().await;
    let org = world.org().await;
    let (one, two) = (world.wallet(&org, json!({})).await, world.wallet(&org, json!({})).await);
    let (key, other) = (world.key(&one).await, world.key(&two).await);
    let mut calls = Vec::new();
    for key in [&key, &other, &key] {
        world.ledger.clock().advance(std::time::Duration::from_secs(1));
        calls.push(world.charged(key, "0.1").await);
    }
    for (query, expected) in [
        (format!("org_id={org}"), vec![2, 1, 0]),
        (format!("wallet_id={one}"), vec![2, 0]),
        (format!("key_id={other}"), vec![1]),
        (format!("org_id={org}&status=settled&limit=2"), vec![2, 1]),
        (format!("org_id={org}&status=refused"), vec![]),
        (format!("org_id={org}&limit=2&cursor={}", calls[1]), vec![0]),
        (format!("org_id={}", world.org().await), vec![]),
    ] {
        let listed = world.get(&format!("/requests?{query}")).await.json();
        let ids: Vec<_> = listed["data"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap()).collect();
        assert_eq!(ids, expected.into_iter().map(|n: usize| calls[n].as_str()).collect::<Vec<_>>(), "{query}");
    }
    world.get("/requests?status=lost").await.is_problem(400, "invalid_parameter", Some("status"));
}
