//! A provider's export held against the receipts of the same days.

use std::time::Duration;

use ledger::{AttemptRecord, CallRecord, Charge, Order, Reserved, Usage};
use serde_json::{Value, json};

use crate::world::{Answer, World};

async fn reconcile(world: &World, query: &str, csv: impl Into<String>) -> Answer {
    let ask = world.ask("POST", &format!("/reconciliations?{query}"));
    ask.header("content-type", "text/csv; charset=utf-8").text(csv).send().await
}

/// A call that this target answered, after one that failed and cost something all the same.
async fn call(world: &World, key: &str, target: &str, tokens: (u64, u64), cost: &str, failed: Option<(&str, &str)>) {
    world.ledger.clock().advance(Duration::from_millis(5));
    let key = world.ledger.tenants().key(key.parse().unwrap()).await.unwrap();
    let attempt = |target: &str, outcome: &str, cost: &str| AttemptRecord {
        target: target.into(),
        outcome: outcome.into(),
        cost: cost.parse().unwrap(),
        ..AttemptRecord::default()
    };
    let mut attempts: Vec<_> = failed.iter().map(|(target, cost)| attempt(target, "timeout", cost)).collect();
    attempts.push(attempt(target, "answered", cost));
    let usage = Usage { input: tokens.0 - 1, cached_input: 1, output: tokens.1, ..Usage::default() };
    let record = CallRecord { target: Some(target.into()), attempts, usage, ..CallRecord::default() };
    let cost: ledger::Money = cost.parse().unwrap();
    let whole = cost.plus(failed.map_or("0", |it| it.1).parse().unwrap()).unwrap();
    let order = Order {
        call: world.ledger.new_id(),
        org: key.org,
        key: key.id,
        wallet: key.wallet,
        extra: Vec::new(),
        amount: whole,
        estimate: None,
        patient: false,
        downgraded: false,
        expires_at: world.ledger.clock().now().after(Duration::from_secs(600)),
        claim: None,
        record: record.clone(),
    };
    let Reserved::New(hold) = world.ledger.reserve(order).await.unwrap() else { panic!("a replay") };
    world.ledger.settle(hold, Charge { cost: whole, price: cost, record }).await.unwrap();
}

/// Day, model, reasons and lines of each difference.
fn told(report: &Value) -> Vec<(&str, &str, String, String)> {
    let rows = report["differences"].as_array().unwrap();
    rows.iter()
        .map(|it| {
            let reasons = it["reasons"].as_array().unwrap().iter().map(|it| it.as_str().unwrap()).collect::<Vec<_>>();
            let lines = it["lines"].to_string();
            (it["day"].as_str().unwrap(), it["model"].as_str().unwrap(), reasons.join(" "), lines)
        })
        .collect()
}

#[tokio::test]
async fn an_export_is_compared_by_key_model_and_day_with_the_reasons_of_what_differs() {
    let world = World::new().await;
    let wallet = world.wallet(&world.org().await, json!({})).await;
    let (one, two) = (world.key(&wallet).await, world.key(&wallet).await);
    call(&world, &one, "openai/gpt-4o", (100, 50), "1", None).await;
    call(&world, &two, "openai/gpt-4o", (100, 50), "1", Some(("openai/o3", "0.5"))).await;
    call(&world, &two, "anthropic/claude-haiku-4-5", (10, 5), "0.3", Some(("openai/gpt-4o", "0.2"))).await;
    world.ledger.clock().advance(Duration::from_secs(24 * 3_600));
    call(&world, &one, "openai/gpt-4o-mini-2024-07-18", (100, 50), "0.1", None).await;
    call(&world, &one, "openai/o4-mini", (8, 8), "0.08", None).await;
    let charge = json!({"wallet_id": wallet, "price_usd": "9", "reason": "r", "source": "s", "reference": "1"});
    world.ask("POST", "/charges").header("idempotency-key", "c").json(&charge).send().await;

    let csv = "start_time,end_time,start_time_iso,end_time_iso,num_model_requests,api_key_id,model,input_tokens,output_tokens,amount_value\n\
        1781481600,1781568000,2026-06-15T00:00:00+00:00,2026-06-16T00:00:00+00:00,1,key_x,gpt-4o-2024-08-06,100,50,1\n\
        1781481600,1781568000,2026-06-15T00:00:00+00:00,2026-06-16T00:00:00+00:00,1,key_x,gpt-4o-2024-08-06,100,50,1\n\
        1781568000,1781654400,2026-06-16T00:00:00+00:00,2026-06-17T00:00:00+00:00,1,key_x,gpt-4o-mini-2024-07-18,100,60,0.3\n\
        1781568000,1781654400,2026-06-16T00:00:00+00:00,2026-06-17T00:00:00+00:00,2,key_x,gpt-5,10,10,2\n\
        1781568000,1781654400,2026-06-16T00:00:00+00:00,2026-06-17T00:00:00+00:00,4,key_laptop,gpt-5,70,7,7\n";
    let answer = reconcile(&world, "provider=openai&key=key_x", csv).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let report = answer.json();
    assert_eq!(
        (&report["format"], &report["from"], &report["to"]),
        (&json!("openai"), &json!("2026-06-15"), &json!("2026-06-16"))
    );
    let expected = [
        ("2026-06-16", "gpt-5", "missing_here", "[5]"),
        ("2026-06-15", "o3", "missing_there failed_attempts", "[]"),
        ("2026-06-15", "gpt-4o", "price_differs failed_attempts", "[2,3]"),
        ("2026-06-16", "gpt-4o-mini", "tokens_differ price_differs", "[4]"),
        ("2026-06-16", "o4-mini", "missing_there", "[]"),
    ];
    let mut got = told(&report);
    let mut expected: Vec<_> = expected.iter().map(|it| (it.0, it.1, it.2.to_owned(), it.3.to_owned())).collect();
    assert_eq!(got[0], expected[0], "the dearest first");
    got.sort();
    expected.sort();
    assert_eq!(got, expected);
    let mini = report["differences"].as_array().unwrap().iter().find(|it| it["model"] == "gpt-4o-mini").unwrap();
    assert_eq!((&mini["cost_delta_usd"], &mini["output_tokens_delta"]), (&json!("0.2"), &json!(10)));
    assert_eq!((&mini["ours"]["net_cost_usd"], &mini["theirs"]["net_cost_usd"]), (&json!("0.1"), &json!("0.3")));
    let total = &report["total"];
    assert_eq!((&total["ours"]["net_cost_usd"], &total["theirs"]["net_cost_usd"]), (&json!("2.88"), &json!("4.3")));
    assert_eq!((&total["cost_delta_usd"], &total["failed_attempts_usd"]), (&json!("1.42"), &json!("0.7")));
    let days: Vec<_> = report["by_day"].as_array().unwrap().iter().map(|it| &it["cost_delta_usd"]).collect();
    assert_eq!(days, [&json!("-0.7"), &json!("2.12")]);
    assert_eq!(report["by_model"].as_array().unwrap().len(), 5);
    assert_eq!(
        (&report["by_key"][0]["name"], &report["other_keys"][0]["key"]),
        (&json!("key_x"), &json!("key_laptop"))
    );
    assert_eq!(report["other_keys"][0]["theirs"]["net_cost_usd"], "7");
}

#[tokio::test]
async fn an_export_that_names_our_own_keys_is_compared_key_by_key() {
    let world = World::new().await;
    let wallet = world.wallet(&world.org().await, json!({})).await;
    let (one, two) = (world.key(&wallet).await, world.key(&wallet).await);
    call(&world, &one, "openai/gpt-4o", (100, 50), "1", None).await;
    call(&world, &two, "openai/gpt-4o", (100, 50), "1", None).await;
    let csv = format!(
        "date,key,model,input_tokens,output_tokens,cost_usd\n2026-06-15,{one},gpt-4o,100,50,1.009\n2026-06-15,{two},gpt-4o,100,50,1.02\n"
    );
    let report = reconcile(&world, "provider=openai", csv.as_str()).await.json();
    let differing: Vec<_> = report["differences"].as_array().unwrap().iter().map(|it| &it["key"]).collect();
    assert_eq!(differing, [&json!(two)], "{report}");
    assert_eq!(report["by_key"].as_array().unwrap().len(), 2);
    let report = reconcile(&world, "provider=openai&tolerance_usd=0", csv.as_str()).await.json();
    assert_eq!(report["differences"].as_array().unwrap().len(), 2);
    let anthropic = "usage_date_utc,model,workspace,api_key,token_type,cost_usd\n2026-06-15,GPT 4o,Default,prod,input_no_cache,1.5\n\
                     2026-06-15,GPT 4o,Default,prod,output,0.5\n";
    let report = reconcile(&world, "provider=openai&format=anthropic", anthropic).await.json();
    assert_eq!((&report["differences"], &report["total"]["cost_delta_usd"]), (&json!([]), &json!("0")));
    assert_eq!(
        (&report["total"]["theirs"]["input_tokens"], &report["total"]["input_tokens_delta"]),
        (&Value::Null, &Value::Null)
    );
}

#[tokio::test]
async fn bad_exports_are_told_by_line_and_column() {
    let world = World::new().await;
    let good = "date,key,model,cost_usd\n2026-06-15,a,gpt-4o,1\n";
    let rows = [
        (
            "provider=openai",
            "date,model,cost_usd\n2026-06-15,gpt-4o,1\n2026-06-16,gpt-4o,NaN\n",
            400,
            "invalid_value",
            Some("line 3, column cost_usd"),
        ),
        ("provider=openai", "date,model,cost_usd\n2026-06-15,gpt-4o\n", 400, "invalid_value", Some("line 2")),
        ("provider=openai", "", 400, "invalid_value", Some("line 1, column header")),
        ("provider=openai", "date,model,cost_usd\n", 400, "invalid_value", Some("body")),
        (
            "provider=openai",
            "date,model,cost_usd\n2026-01-01,m,1\n2026-06-15,m,1\n",
            400,
            "invalid_value",
            Some("body"),
        ),
        (
            "provider=openai",
            "date,key,model,cost_usd\n2026-06-15,a,m,1\n2026-06-15,b,m,1\n",
            400,
            "invalid_parameter",
            Some("key"),
        ),
        ("provider=openai&key=c", good, 400, "invalid_parameter", Some("key")),
        ("provider=openai&format=csv", good, 400, "invalid_parameter", Some("format")),
        ("provider=openai&tolerance_usd=-1", good, 400, "invalid_parameter", Some("tolerance_usd")),
        ("provider=open%2Fai", good, 400, "invalid_parameter", Some("provider")),
        ("format=generic", good, 400, "invalid_parameter", Some("provider")),
    ];
    for (query, csv, status, code, member) in rows {
        println!("{query} {csv}");
        reconcile(&world, query, csv).await.is_problem(status, code, member);
    }
    let ask = world.ask("POST", "/reconciliations?provider=openai").header("content-type", "application/json");
    ask.text(good).send().await.is_problem(415, "unsupported_media_type", None);
    let large = format!("{good}{}", "2026-06-15,a,gpt-4o,1\n".repeat(800_000));
    reconcile(&world, "provider=openai", large).await.is_problem(413, "request_too_large", None);
}
