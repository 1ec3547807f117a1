//! Charges without a call, corrections, and the queue of what somebody should look at.

use serde_json::{Value, json};

use crate::world::{Answer, World, unknown};

async fn post(world: &World, path: &str, once: &str, body: Value) -> Answer {
    world.ask("POST", path).header("idempotency-key", once).json(&body).send().await
}

fn run(wallet: &str, reference: &str) -> Value {
    json!({"wallet_id": wallet, "price_usd": "1.5", "cost_usd": "1.2", "reason": "nightly run", "source": "evals",
           "reference": reference})
}

async fn spent(world: &World, wallet: &str) -> String {
    world.get(&format!("/wallets/{wallet}")).await.json()["spent_usd"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_charge_has_a_receipt_with_both_sides_and_its_reason() {
    let world = World::new().await;
    let org = world.org().await;
    let wallet = world.wallet(&org, json!({"hard_limit_usd": "10"})).await;
    let key = world.key(&wallet).await;
    let mut body = run(&wallet, "run-1");
    body["key_id"] = json!(key);
    let made = post(&world, "/charges", "one", body.clone()).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let receipt = made.json();
    for (member, value) in [
        ("org_id", json!(org)),
        ("wallet_id", json!(wallet)),
        ("key_id", json!(key)),
        ("kind", json!("charge")),
        ("status", json!("settled")),
        ("price_usd", json!("1.5")),
        ("price_credits", json!("1500")),
        ("cost_usd", json!("1.2")),
        ("review", json!(false)),
        ("charge", json!({"reason": "nightly run", "source": "evals", "reference": "run-1"})),
    ] {
        assert_eq!(receipt[member], value, "{member}");
    }
    assert_eq!(world.get(&format!("/requests/{}", made.id())).await.json(), receipt);
    assert_eq!(world.get(&format!("/requests?org_id={org}")).await.json()["data"], json!([receipt]));
    for once in ["one", "two"] {
        let again = post(&world, "/charges", once, body.clone()).await;
        assert_eq!((again.status.as_u16(), again.json()), (201, receipt.clone()), "the same charge, the same receipt");
    }
    assert_eq!(spent(&world, &wallet).await, "1.5");
    let nobodys = post(&world, "/charges", "three", run(&wallet, "run-2")).await.json();
    assert_eq!(nobodys["key_id"], Value::Null);
    let entries = world.get(&format!("/wallets/{wallet}/entries")).await.json();
    assert_eq!(
        (&entries["data"][0]["kind"], &entries["data"][0]["spent_delta_usd"]),
        (&json!("settle"), &json!("1.5"))
    );
    let call = world.charged(&key, "0.001").await;
    let receipt = world.get(&format!("/requests/{call}")).await.json();
    assert_eq!((&receipt["charge"], &receipt["price_credits"]), (&Value::Null, &json!("1")));
}

#[tokio::test]
async fn bad_charges_are_told_by_the_member_at_fault_and_change_nothing() {
    let world = World::new().await;
    let org = world.org().await;
    let (wallet, other) = (world.wallet(&org, json!({})).await, world.wallet(&org, json!({})).await);
    let strange = world.key(&other).await;
    let good = run(&wallet, "run-1");
    world.post("/charges", good.clone()).await.is_problem(400, "invalid_idempotency_key", None);
    for (member, value) in [
        ("price_usd", json!("-1")),
        ("price_usd", json!("NaN")),
        ("price_usd", json!("1e3")),
        ("price_usd", json!("")),
        ("price_usd", json!(1.5)),
        ("price_usd", json!("0.0000000001")),
        ("price_usd", json!("9223372036.854775808")),
        ("price_usd", Value::Null),
        ("cost_usd", json!("-0.1")),
        ("cost_usd", json!("0.0000000001")),
        ("cost_usd", json!(1)),
        ("wallet_id", json!(unknown::<ledger::Wallet>())),
        ("wallet_id", json!(org)),
        ("key_id", json!(unknown::<ledger::Key>())),
        ("key_id", json!(strange)),
        ("reason", json!("")),
        ("reason", json!("two\nlines")),
        ("reason", json!("x".repeat(201))),
        ("source", json!(" ")),
        ("source", json!("x".repeat(101))),
        ("reference", json!("")),
        ("reference", Value::Null),
        ("currency", json!("USD")),
    ] {
        let mut body = good.clone();
        body[member] = value.clone();
        println!("{member} = {value}");
        post(&world, "/charges", "bad", body).await.is_problem(400, "invalid_value", Some(member));
    }
    assert_eq!(spent(&world, &wallet).await, "0");
    assert!(!world.audit_kinds(&org).await.contains(&"CHARGE".to_owned()));
    let made = post(&world, "/charges", "bad", good.clone()).await;
    assert_eq!(made.status, 201, "a refusal frees the Idempotency-Key: {}", made.text);
    post(&world, "/charges", "bad", run(&wallet, "run-2")).await.is_problem(409, "idempotency_mismatch", None);
    let mut dearer = good;
    dearer["price_usd"] = json!("2");
    let mismatch = post(&world, "/charges", "new", dearer).await;
    mismatch.is_problem(409, "idempotency_mismatch", None);
    assert!(mismatch.text.contains(&made.id()), "it names the charge that has the reference: {}", mismatch.text);
    assert_eq!(spent(&world, &wallet).await, "1.5");
}

#[tokio::test]
async fn a_charge_that_does_not_fit_names_wallet_and_limit() {
    let world = World::new().await;
    let org = world.org().await;
    let root = world.wallet(&org, json!({"kind": "org", "hard_limit_usd": "2", "window": "day"})).await;
    let wallet = world.wallet(&org, json!({"parent_id": root})).await;
    assert_eq!(post(&world, "/charges", "1", run(&wallet, "run-1")).await.status, 201);
    let refused = post(&world, "/charges", "2", run(&wallet, "run-2")).await;
    refused.is_problem(409, "budget_exceeded", None);
    let detail = refused.json()["detail"].as_str().unwrap().to_owned();
    for part in [root.as_str(), "1.5 USD", "limit of 2 USD", "1.5 are spent", "2026-06-16T00:00:00"] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    assert_eq!(world.audit_kinds(&org).await.last().map(String::as_str), Some("BLOCK"));
    assert_eq!(spent(&world, &wallet).await, "1.5");
    world.patch(&format!("/wallets/{root}"), json!({"hard_limit_usd": "3"})).await;
    assert_eq!(
        post(&world, "/charges", "2", run(&wallet, "run-2")).await.status,
        201,
        "the same call, once there is room"
    );
    world.patch(&format!("/wallets/{root}"), json!({"hard_limit_usd": "9", "status": "suspended"})).await;
    post(&world, "/charges", "3", run(&wallet, "run-3")).await.is_problem(409, "wallet_suspended", None);
}

#[tokio::test]
async fn a_correction_is_booked_beside_what_was_booked() {
    let world = World::new().await;
    let org = world.org().await;
    let wallet = world.wallet(&org, json!({"hard_limit_usd": "2"})).await;
    let key = world.key(&wallet).await;
    let call = world.charged(&key, "1").await;
    let path = format!("/requests/{call}/correct");
    let good = json!({"reason": "wrong price", "price_usd": "0.4", "cost_usd": "0.3"});
    world.post(&path, good.clone()).await.is_problem(400, "invalid_idempotency_key", None);
    for (member, value) in [
        ("price_usd", json!("-1")),
        ("price_usd", json!("")),
        ("price_usd", Value::Null),
        ("cost_usd", json!("-1")),
        ("cost_usd", json!("0.0000000001")),
        ("reason", json!("")),
        ("amount_usd", json!("1")),
    ] {
        let mut body = good.clone();
        body[member] = value;
        post(&world, &path, "bad", body).await.is_problem(400, "invalid_value", Some(member));
    }
    for _ in 0..2 {
        let receipt = post(&world, &path, "a", good.clone()).await.json();
        let sides = [&receipt["price_usd"], &receipt["cost_usd"], &receipt["overrun_usd"], &receipt["price_credits"]];
        assert_eq!(sides, [&json!("0.4"), &json!("0.3"), &json!("0"), &json!("400")], "{receipt}");
    }
    let other = json!({"reason": "wrong price", "price_usd": "0.5", "cost_usd": "0.3"});
    post(&world, &path, "a", other).await.is_problem(409, "idempotency_mismatch", None);
    let dear = json!({"reason": "wrong again", "price_usd": "5", "cost_usd": "5"});
    let receipt = post(&world, &path, "b", dear).await.json();
    assert_eq!((&receipt["price_usd"], &receipt["overrun_usd"]), (&json!("2"), &json!("3")), "never above the limit");
    post(&world, &format!("/requests/{call}/refund"), "c", json!({"reason": "sorry", "amount_usd": "0.5"})).await;
    assert_eq!(spent(&world, &wallet).await, "1.5");
    let path = format!("/requests/{call}/amendments");
    let amended = world.get(&path).await.json();
    let told: Vec<_> = amended["data"].as_array().unwrap().iter().map(|it| (&it["kind"], &it["reason"])).collect();
    let (correction, refund) = (json!("correction"), json!("refund"));
    let mut expected =
        [(&correction, json!("wrong price")), (&correction, json!("wrong again")), (&refund, json!("sorry"))];
    expected.sort_by_key(|(_, reason)| told.iter().position(|(_, it)| *it == reason));
    assert_eq!(told, expected.iter().map(|(kind, reason)| (*kind, reason)).collect::<Vec<_>>());
    let first = amended["data"].as_array().unwrap().iter().find(|it| it["reason"] == "wrong price").unwrap();
    assert_eq!((&first["was_price_usd"], &first["price_usd"]), (&json!("1"), &json!("0.4")));
    let page = world.get(&format!("{path}?limit=2")).await.json();
    let rest = world.get(&format!("{path}?cursor={}", page["next_cursor"].as_str().unwrap())).await.json();
    assert_eq!((page["data"].as_array().unwrap().len(), &rest["data"][0]), (2, &amended["data"][2]));
    world.get(&format!("/requests/{}/amendments", unknown::<ledger::Call>())).await.is_problem(404, "not_found", None);
    let nothing = format!("/requests/{}/correct", unknown::<ledger::Call>());
    post(&world, &nothing, "d", good).await.is_problem(404, "not_found", None);
}

#[tokio::test]
async fn expired_requests_wait_in_a_queue_until_somebody_looked() {
    let world = World::new().await;
    let org = world.org().await;
    let wallet = world.wallet(&org, json!({"hard_limit_usd": "10"})).await;
    let key = world.key(&wallet).await;
    let mut calls = Vec::new();
    for _ in 0..3 {
        world.ledger.clock().advance(std::time::Duration::from_secs(1));
        calls.push(world.expired(&key, "1").await);
    }
    let settled = world.charged(&key, "1").await;
    let queue = async || -> Vec<String> {
        let listed = world.get(&format!("/requests?review=true&org_id={org}")).await.json();
        listed["data"].as_array().unwrap().iter().map(|it| it["id"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(queue().await, [calls[2].clone(), calls[1].clone(), calls[0].clone()], "newest first");
    let paged = world.get("/requests?review=true&limit=1").await.json();
    assert_eq!((&paged["data"][0]["id"], &paged["next_cursor"]), (&json!(calls[2]), &json!(calls[2])));
    for wrong in ["false", "1", ""] {
        world.get(&format!("/requests?review={wrong}")).await.is_problem(400, "invalid_parameter", Some("review"));
    }
    for _ in 0..2 {
        let confirmed = world.ask("POST", &format!("/requests/{}/confirm", calls[0])).send().await;
        assert_eq!(confirmed.status, 200, "{}", confirmed.text);
        let receipt = confirmed.json();
        assert_eq!((&receipt["status"], &receipt["review"]), (&json!("expired"), &json!(false)));
        assert_eq!(receipt["price_usd"], "1");
    }
    let refunded = post(&world, &format!("/requests/{}/refund", calls[1]), "r", json!({"reason": "lost"})).await.json();
    assert_eq!((&refunded["refunded_usd"], &refunded["review"]), (&json!("1"), &json!(false)));
    let true_sides = json!({"reason": "provider's bill", "price_usd": "0.25", "cost_usd": "0.2"});
    let corrected = post(&world, &format!("/requests/{}/correct", calls[2]), "c", true_sides).await.json();
    assert_eq!((&corrected["price_usd"], &corrected["review"]), (&json!("0.25"), &json!(false)));
    assert!(queue().await.is_empty());
    assert_eq!(spent(&world, &wallet).await, "2.25");
    let kinds = world.audit_kinds(&org).await;
    assert_eq!(kinds.iter().filter(|kind| *kind == "CONFIRM").count(), 1, "said again, nothing more is written");
    let wrong = world.ask("POST", &format!("/requests/{settled}/confirm")).send().await;
    wrong.is_problem(409, "request_not_expired", None);
    let nobody = format!("/requests/{}/confirm", unknown::<ledger::Call>());
    world.ask("POST", &nobody).send().await.is_problem(404, "not_found", None);
}

#[tokio::test]
async fn a_refund_that_cannot_be_given_is_told_and_written_down() {
    let world = World::new().await;
    let org = world.org().await;
    let call = world.charged(&world.key(&world.wallet(&org, json!({})).await).await, "1").await;
    let path = format!("/requests/{call}/refund");
    let answer = post(&world, &path, "a", json!({"reason": "x", "amount_usd": "1.5"})).await;
    answer.is_problem(400, "invalid_value", Some("amount_usd"));
    assert_eq!(world.audit_kinds(&org).await.last().map(String::as_str), Some("REFUND_FAILED"));
}
