//! Alerts and breakers, as an operator sees and sets them.

use std::time::Duration;

use serde_json::json;

use crate::world::{World, unknown};

#[tokio::test]
async fn an_alert_is_listed_with_where_it_went_and_can_be_sent_again() {
    let world = World::new().await;
    let org = world.org().await;
    let id = world.alert(&org).await;
    let outbox = world.ledger.outbox();
    outbox.route(|_| vec!["ops".to_owned()]).await.unwrap();
    let due = outbox.claim("ops", 1, Duration::from_secs(60)).await.unwrap().remove(0);
    outbox.missed("ops", &due, "answered 500", None).await.unwrap();
    let alert = world.get("/alerts?state=failed").await.json()["data"][0].clone();
    assert_eq!((&alert["id"], &alert["kind"], &alert["org_id"]), (&json!(id), &json!("hard_limit"), &json!(org)));
    assert_eq!(alert["content"]["limit_usd"], "0");
    let expected = json!([{"sink": "ops", "state": "failed", "attempts": 1, "next_at": null,
                           "last_error": "answered 500", "delivered_at": null}]);
    assert_eq!(alert["deliveries"], expected);
    let again = world.post(&format!("/alerts/{id}/redeliver"), json!({"sink": "ops"})).await.json();
    assert_eq!(again["deliveries"][0]["state"], "pending");
    assert_eq!(world.get("/alerts?state=failed").await.json()["data"], json!([]));
    assert_eq!(world.audit_kinds(&org).await.last().unwrap(), "ALERT_REDELIVERED");
}

#[tokio::test]
async fn what_cannot_be_asked_of_alerts_is_a_problem() {
    let world = World::new().await;
    let id = world.alert(&world.org().await).await;
    world.get("/alerts?kind=fire").await.is_problem(400, "invalid_parameter", Some("kind"));
    world.get("/alerts?state=lost").await.is_problem(400, "invalid_parameter", Some("state"));
    let path = format!("/alerts/{id}/redeliver");
    world.post(&path, json!({"sink": "nowhere"})).await.is_problem(400, "invalid_value", Some("sink"));
    world.post(&path, json!({"sunk": "ops"})).await.is_problem(400, "invalid_value", Some("sunk"));
    let path = format!("/alerts/{}/redeliver", unknown::<ledger::Alert>());
    world.post(&path, json!({})).await.is_problem(404, "not_found", None);
}

#[tokio::test]
async fn a_breaker_is_set_and_shown() {
    let world = World::new().await;
    let org = world.org().await;
    let wallet = world.wallet(&org, json!({})).await;
    let path = format!("/wallets/{wallet}");
    let shown = world.get(&path).await.json();
    let usual = json!({"mode": "alert", "minimum_usd": "1", "ratio": 5, "deviations": 6, "cool_down_seconds": 900,
                       "state": "closed", "since": null, "until": null, "allowance_usd": null});
    assert_eq!((&shown["breaker"], &shown["suspended_by"]), (&usual, &json!(null)));
    let put = async |body| world.ask("PUT", &format!("{path}/breaker")).json(&body).send().await;
    let set = put(json!({"mode": "suspend", "minimum_usd": "5", "cool_down_seconds": 60})).await;
    assert_eq!(set.status, 200, "{}", set.text);
    assert_eq!(world.get(&path).await.json()["breaker"], set.json());
    assert_eq!((&set.json()["minimum_usd"], &set.json()["ratio"]), (&json!("5"), &json!(5)));
    assert_eq!(world.get(&format!("/wallets?org_id={org}")).await.json()["data"][0]["breaker"], set.json());
    let before = world.audit_kinds(&org).await;
    put(json!({"mode": "suspend", "minimum_usd": "5.00", "cool_down_seconds": 60})).await;
    assert_eq!(world.audit_kinds(&org).await, before, "the same again changes nothing");
    for (body, member) in [
        (json!({"mode": "panic"}), "mode"),
        (json!({"ratio": 1}), "ratio"),
        (json!({"ratio": -5}), "ratio"),
        (json!({"deviations": 1.5}), "deviations"),
        (json!({"minimum_usd": "-1"}), "minimum_usd"),
        (json!({"minimum_usd": 1}), "minimum_usd"),
        (json!({"cool_down_seconds": 59}), "cool_down_seconds"),
        (json!({"window": 900}), "window"),
    ] {
        put(body).await.is_problem(400, "invalid_value", Some(member));
    }
    world.patch(&path, json!({"status": "suspended"})).await;
    assert_eq!(world.get(&path).await.json()["suspended_by"], "operator");
}
