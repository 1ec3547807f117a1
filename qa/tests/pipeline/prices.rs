//! What a call is charged, when operators say what things cost.

use qa::check::{dollars, refused, usd};
use qa::upstream::{Gate, Script, Step, openai};
use qa::world::{Plan, World, hello, hello_stream};
use serde_json::{Value, json};

#[tokio::test]
async fn a_price_a_markup_and_a_default_are_in_force_at_once_and_receipts_name_where_the_price_is_from() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let org = &tenant.org;
    let call = async || {
        world.first.next(openai::chat("word", 1_000, 500));
        let answer = world.chat(&tenant.key, &hello("unpriced")).await.expect(200);
        world.receipt(answer.must("x-request-id")).await
    };
    let answer = world.chat(&tenant.key, &hello("unpriced")).await;
    refused(&answer, 422, "invalid_request_error", "unpriced_model");

    let terms = json!({"unpriced": "default", "default_rates": {"input": "5", "output": "20"}});
    world.admin("PUT", &format!("/orgs/{org}/pricing"), terms).await;
    let receipt = call().await;
    assert_eq!(receipt["price_version"], format!("default:{org}"));
    assert_eq!(usd(&receipt, "price_usd"), 1_000 * 5_000 + 500 * 20_000);

    // A kind's price holds for each provider of that kind, whatever the configuration calls it.
    let rates = json!({"input": "1", "cached_input": "0.1", "output": "2", "reasoning": "3"});
    let price = json!({"target": "openai/unpriced", "rates": rates, "source": "a test"});
    let made = world.admin("POST", "/prices", price).await;
    let receipt = call().await;
    assert_eq!(receipt["price_version"], made["id"]);
    assert_eq!(usd(&receipt, "price_usd"), 1_000 * 1_000 + 500 * 2_000);

    world.admin("POST", "/markups", json!({"org_id": org, "model": "unpriced", "markup": "1.5"})).await;
    let mut body = openai::body("word", Some((1_000, 500)));
    body["usage"]["prompt_tokens_details"] = json!({"cached_tokens": 900});
    body["usage"]["completion_tokens_details"] = json!({"reasoning_tokens": 400});
    world.first.next(Script::json(200, &body));
    let answer = world.chat(&tenant.key, &hello("unpriced")).await.expect(200);
    let receipt = world.receipt(answer.must("x-request-id")).await;
    let cost = 100 * 1_000 + 900 * 100 + 100 * 2_000 + 400 * 3_000;
    assert_eq!((usd(&receipt, "cost_usd"), usd(&receipt, "price_usd")), (cost, cost * 3 / 2));
    assert_eq!((&receipt["markup"], &receipt["reasoning_tokens"]), (&json!("1.5"), &json!(400)));
    assert_eq!((&receipt["output_tokens"], &receipt["input_tokens"]), (&json!(500), &json!(1_000)));

    // What the configuration says comes before the list.
    world.first.next(openai::chat("word", 10, 5));
    let answer = world.chat(&tenant.key, &hello("chat")).await.expect(200);
    let receipt = world.receipt(answer.must("x-request-id")).await;
    assert!(receipt["price_version"].as_str().is_some_and(|it| it.starts_with("config:")), "{receipt}");
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn a_price_corrected_later_corrects_what_was_charged_and_the_books_still_balance() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let slip = json!({"target": "first/unpriced", "rates": {"input": "1", "output": "2"}, "source": "a slip"});
    let slip = world.admin("POST", "/prices", slip).await;
    world.first.next(openai::chat("word", 1_000, 500));
    let answer = world.chat(&tenant.key, &hello("unpriced")).await.expect(200);
    let call = answer.must("x-request-id").to_owned();
    assert_eq!(usd(&world.receipt(&call).await, "price_usd"), 2_000_000);
    let right = json!({"target": "openai/unpriced", "rates": {"input": "2", "output": "2"}, "source": "the price page",
                       "effective_from": slip["effective_from"]});
    let period = json!({"from": slip["effective_from"], "to": "2100-01-01T00:00:00Z"});
    let path = |price: &Value| format!("/prices/{}/rerate", price["id"].as_str().expect("an id"));
    let by_kind = world.admin("POST", "/prices", right.clone()).await;
    let done = world.admin("POST", &path(&by_kind), period.clone()).await;
    assert_eq!((&done["corrected"], &done["outranked"]), (&json!(0), &json!(1)), "the target's own name comes first");
    let mut own = right;
    own["target"] = json!("first/unpriced");
    let own = world.admin("POST", "/prices", own).await;
    for (corrected, unchanged) in [(1, 0), (0, 1)] {
        let done = world.admin("POST", &path(&own), period.clone()).await;
        assert_eq!((&done["corrected"], &done["unchanged"]), (&json!(corrected), &json!(unchanged)), "{done}");
    }
    let after = world.receipt(&call).await;
    assert_eq!((usd(&after, "price_usd"), &after["price_version"]), (3_000_000, &own["id"]));
    assert_eq!(usd(&world.wallet(&tenant.wallet).await, "spent_usd"), 3_000_000);
    world.assert_balanced(&tenant).await;
}

#[tokio::test]
async fn a_cut_call_keeps_the_cost_of_all_that_was_counted_when_its_price_is_corrected() {
    const TOKEN: i64 = 10_000;
    let world = World::start().await;
    let tenant = world.tenant(Plan::new().hard(dollars(1_100 * TOKEN))).await;
    let mut price = json!({
        "target": "first/unpriced", "source": "a slip",
        "rates": {"input": "0", "output": "10", "bills_after_cancel": false},
    });
    let slip = world.admin("POST", "/prices", price.clone()).await;
    // Held are 1,100; a hundredth more was seen when the answer ended, and a piece beyond that.
    world.first.next(openai::begin(&[" word"; 1_200]).then(Step::Wait(Gate::new())));
    let mut body = hello_stream("unpriced");
    body["max_tokens"] = json!(64_000);
    let answer = world.chat(&tenant.key, &body).await.expect(200);
    let call = answer.must("x-request-id").to_owned();
    let before = world.receipt(&call).await;
    let (cost, booked) = (usd(&before, "cost_usd"), usd(&before, "price_usd"));
    assert_eq!(booked, 1_100 * TOKEN, "{before}");
    assert!(cost > booked, "{before}");
    price["rates"]["output"] = json!("5");
    price["effective_from"] = slip["effective_from"].clone();
    let right = world.admin("POST", "/prices", price).await;
    let period = json!({"from": slip["effective_from"], "to": "2100-01-01T00:00:00Z"});
    let path = format!("/prices/{}/rerate", right["id"].as_str().expect("an id"));
    let done = world.admin("POST", &path, period).await;
    assert_eq!(done["corrected"], json!(1), "{done}");
    let after = world.receipt(&call).await;
    assert_eq!((usd(&after, "cost_usd"), usd(&after, "price_usd")), (cost / 2, booked / 2), "{after}");
    world.assert_balanced(&tenant).await;
}
