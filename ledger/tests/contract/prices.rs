//! The stored price list, and bringing what was charged to it.

use std::time::Duration;

use ledger::prices::{Import, NewMarkup, NewPrice, PriceRow, Rerate, Rerated};
use ledger::{
    Actor, AttemptRecord, CallRecord, Charge, Id, Money, Org, Page, Price, Rates, Receipt, Refund, TenantError,
    TrailFilter, Usage,
};

use crate::world::{Spender, Terms, World, limit, on_both_databases, usd};

on_both_databases!(
    a_price_is_a_row_that_never_changes_or_goes,
    the_view_holds_what_was_said_and_knows_when_more_was,
    a_list_is_taken_over_once,
    a_corrected_price_corrects_its_calls_and_no_others,
    rerating_happens_once_and_goes_on_where_it_ended,
    rerating_respects_limits_refunds_and_failed_attempts,
);

fn to_price(world: &World, org: Option<Id<Org>>, target: &str, input: &str) -> NewPrice {
    NewPrice {
        id: world.ledger.new_id(),
        org,
        target: target.into(),
        effective_from: None,
        rates: Rates::new(usd(input), Money::ZERO),
        source: "a test".into(),
    }
}

async fn price(world: &World, new: NewPrice) -> PriceRow {
    world.ledger.prices().create(new, &Actor::System).await.unwrap()
}

async fn a_price_is_a_row_that_never_changes_or_goes(world: World) {
    let prices = world.ledger.prices();
    let new = to_price(&world, None, "openai/gpt-4o", "2.5");
    let made = price(&world, new.clone()).await;
    assert_eq!(made.effective_from, world.clock.now(), "from now on, unless said");
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(price(&world, new.clone()).await, made, "a repeat");
    let other = NewPrice { target: "openai/*".into(), ..new };
    assert!(matches!(prices.create(other, &Actor::System).await, Err(TenantError::Conflict(_))));
    assert_eq!(prices.get(made.id).await.unwrap(), made);
    for sql in ["UPDATE prices SET target = 'x'", "DELETE FROM prices"] {
        assert!(world.meddle(sql).await.unwrap_err().contains("append-only"), "{sql}");
    }
    let trail = world.ledger.trail();
    let lines = trail
        .list(None, &TrailFilter { kind: Some("PRICE_CREATED".into()), ..TrailFilter::default() }, None, 10)
        .await
        .unwrap();
    assert_eq!(lines.len(), 1, "written down once");
}

async fn the_view_holds_what_was_said_and_knows_when_more_was(world: World) {
    let prices = world.ledger.prices();
    let org = world.org().await;
    let before = prices.book().await.unwrap();
    assert!(prices.is_current(&before).await.unwrap());
    let made = price(&world, to_price(&world, Some(org), "openai/*", "3")).await;
    let revision = world.ledger.revision().borrow().revision;
    let new =
        NewMarkup { id: world.ledger.new_id(), org, team: None, model: None, factor: Some("1.5".parse().unwrap()) };
    prices.set_markup(new, &Actor::System).await.unwrap();
    assert_eq!(world.ledger.revision().borrow().revision, revision + 1, "every process will read it again");
    prices.set_default_rates(org, Some(Rates::new(usd("9"), usd("9"))), &Actor::System).await.unwrap();
    assert!(!prices.is_current(&before).await.unwrap());
    let book = prices.book().await.unwrap();
    assert!(prices.is_current(&book).await.unwrap());
    let now = world.clock.now();
    assert_eq!(&*book.price(org, &["openai/gpt-4o"], now).unwrap().version, made.id.to_string());
    assert_eq!(book.markup(org, None, &["x"]).unwrap().to_string(), "1.5");
    assert_eq!(book.default_rates(org).unwrap().rates.input, usd("9"));
    let other = world.org().await;
    assert_eq!((book.price(other, &["openai/gpt-4o"], now), book.default_rates(other)), (None, None));
}

async fn a_list_is_taken_over_once(world: World) {
    let models: Vec<String> = (0..250)
        .map(|n| {
            format!(
                r#""model-{n:03}": {{"litellm_provider": "openai", "input_cost_per_token": {n}.5e-07, "output_cost_per_token": 1e-06}}"#
            )
        })
        .collect();
    let file = format!("{{{}}}", models.join(","));
    let import = async || world.ledger.prices().import(&file, &Import::default(), &Actor::System).await.unwrap();
    let first = import().await;
    assert_eq!((first.imported.len(), first.unchanged, first.skipped.len()), (250, 0, 0));
    let again = import().await;
    assert_eq!((again.imported.len(), again.unchanged), (0, 250));
    let book = world.ledger.prices().book().await.unwrap();
    let org = world.org().await;
    let found = book.price(org, &["openai/model-123"], world.clock.now()).unwrap();
    assert_eq!(found.rates.input, usd("12.35"));
    assert_eq!(world.count("SELECT COUNT(*) FROM prices").await, 250);
    let told = TrailFilter { kind: Some("PRICES_IMPORTED".into()), ..TrailFilter::default() };
    let told = world.ledger.trail().list(None, &told, None, 100).await.unwrap();
    assert_eq!(told.len(), 3, "each part says what it is a part of");
    assert!(told.iter().all(|line| line.json.contains("\"of\":250")), "{told:?}");
    for dry_run in [true, false] {
        let how = Import { org: Some(world.ledger.new_id()), dry_run, ..Import::default() };
        let nobody = world.ledger.prices().import(&file, &how, &Actor::System).await;
        assert!(matches!(nobody, Err(TenantError::Invalid { field: "org", .. })), "{nobody:?}");
    }
    world.ledger.trail().export(None).await.unwrap();
}

/// A call of a million tokens of input, as the gateway would have charged it.
async fn called(world: &World, who: &Spender, target: &str, version: &str, usd_price: &str) -> Receipt {
    let hold = world.reserve(who, usd_price).await.unwrap();
    let attempt = |outcome: &str, cost: &str| AttemptRecord {
        target: target.into(),
        outcome: outcome.into(),
        cost: usd(cost),
        ..AttemptRecord::default()
    };
    let record = CallRecord {
        target: Some(target.into()),
        usage: Usage { input: 1_000_000, ..Usage::default() },
        price_version: version.into(),
        markup: Some("2".parse().unwrap()),
        started_at: Some(world.clock.now()),
        attempts: vec![attempt("server_error", "0.25"), attempt("answered", "1")],
        ..CallRecord::default()
    };
    let receipt = world.ledger.settle(hold, Charge { cost: usd("1.25"), price: usd(usd_price), record }).await.unwrap();
    world.clock.advance(Duration::from_secs(10));
    receipt
}

async fn rerate(world: &World, price: Id<Price>) -> Rerated {
    let now = world.clock.now();
    let asked = Rerate { price, from: crate::world::NOON, to: now, cursor: None };
    let goes_by = |name: &str| name.strip_prefix("eu/").map(|model| format!("openai/{model}"));
    world.ledger.prices().rerate(asked, &goes_by, &Actor::System).await.unwrap()
}

async fn a_corrected_price_corrects_its_calls_and_no_others(world: World) {
    let who = world.spender(Terms::default()).await;
    let start = world.clock.now();
    let early = called(&world, &who, "openai/gpt-4o", "catalog:2026-11-20", "2").await;
    let corrected_from = world.clock.now();
    let call = called(&world, &who, "openai/gpt-4o", "catalog:2026-11-20", "2").await;
    let by_kind = called(&world, &who, "eu/gpt-4o", "catalog:2026-11-20", "2").await;
    let right = called(&world, &who, "openai/gpt-4o", "catalog:2026-11-20", "3").await;
    let other = called(&world, &who, "openai/o3", "catalog:2026-11-20", "2").await;
    let configured = called(&world, &who, "openai/gpt-4o", "config:01234567", "2").await;
    let unnamed = called(&world, &who, "openai/gpt-4o", "", "2").await;
    let new = NewPrice { effective_from: Some(corrected_from), ..to_price(&world, None, "openai/gpt-4o", "1.5") };
    let made = price(&world, new).await;
    let done = rerate(&world, made.id).await;
    assert_eq!((done.examined, done.corrected, done.unchanged, done.left), (5, 2, 1, 2), "{done:?}");
    assert_eq!((done.price_delta, done.cost_delta, done.next), (usd("2"), usd("1"), None));
    for (receipt, price, cost, version) in [
        (&call, "3", "1.75", made.id.to_string()),
        (&by_kind, "3", "1.75", made.id.to_string()),
        (&early, "2", "1.25", "catalog:2026-11-20".into()),
        (&right, "3", "1.25", "catalog:2026-11-20".into()),
        (&other, "2", "1.25", "catalog:2026-11-20".into()),
        (&configured, "2", "1.25", "config:01234567".into()),
        (&unnamed, "2", "1.25", String::new()),
    ] {
        let now = world.ledger.receipts().get(receipt.call).await.unwrap().unwrap();
        assert_eq!((now.price, now.cost, now.record.price_version), (usd(price), usd(cost), version));
    }
    assert_eq!(world.used(who.wallet).await.0, "17");
    let asked = Rerate { price: made.id, from: start, to: start, cursor: None };
    let wrong = world.ledger.prices().rerate(asked, &|_| None, &Actor::System).await;
    assert!(matches!(wrong, Err(TenantError::Invalid { field: "to", .. })));
    let asked = Rerate { price: world.ledger.new_id(), from: start, to: world.clock.now(), cursor: None };
    let wrong = world.ledger.prices().rerate(asked, &|_| None, &Actor::System).await;
    assert!(matches!(wrong, Err(TenantError::Unknown(_))));
}

async fn rerating_happens_once_and_goes_on_where_it_ended(world: World) {
    let who = world.spender(Terms::default()).await;
    let from = world.clock.now();
    called(&world, &who, "openai/gpt-4o", "catalog:2026-11-20", "2").await;
    let at =
        |input: &str| NewPrice { effective_from: Some(from), ..to_price(&world, Some(who.org), "openai/*", input) };
    let first = price(&world, at("3")).await;
    assert_eq!(rerate(&world, first.id).await.corrected, 1);
    let again = rerate(&world, first.id).await;
    assert_eq!((again.corrected, again.unchanged, again.price_delta), (0, 1, Money::ZERO));
    world.clock.advance(Duration::from_secs(1));
    let second = price(&world, at("0.5")).await;
    assert_eq!(rerate(&world, first.id).await.outranked, 1, "another price is in force by now");
    let done = rerate(&world, second.id).await;
    assert_eq!((done.corrected, done.price_delta, done.cost_delta), (1, usd("-5"), usd("-2.5")));
    assert_eq!(world.used(who.wallet).await.0, "1");
    let stranger = world.spender(Terms::default()).await;
    let theirs = called(&world, &stranger, "openai/gpt-4o", "catalog:2026-11-20", "2").await;
    assert_eq!(rerate(&world, second.id).await.examined, 1, "another organisation's calls are not meant");
    let page = world.ledger.prices().list(Some(stranger.org), None, &Page::first(10)).await.unwrap();
    assert_eq!((page.len(), theirs.price), (0, usd("2")));
}

async fn rerating_respects_limits_refunds_and_failed_attempts(world: World) {
    let who = world.spender(limit("5")).await;
    let from = world.clock.now();
    let refunded = called(&world, &who, "openai/gpt-4o", "catalog:2026-11-20", "2").await;
    let dear = called(&world, &who, "openai/o3", "catalog:2026-11-20", "2").await;
    let refund = Refund {
        id: world.ledger.new_id(),
        call: refunded.call,
        amount: Some(usd("1.5")),
        reason: "half an answer".into(),
        actor: Actor::System,
    };
    world.ledger.refund(refund).await.unwrap();
    let at =
        |target: &str, input: &str| NewPrice { effective_from: Some(from), ..to_price(&world, None, target, input) };
    let cheaper = price(&world, at("openai/gpt-4o", "0.5")).await;
    let done = rerate(&world, cheaper.id).await;
    assert_eq!((done.corrected, done.price_delta), (1, usd("-0.5")), "never below what was given back: {done:?}");
    assert_eq!(rerate(&world, cheaper.id).await.unchanged, 1, "and not tried again");
    let dearer = price(&world, at("openai/o3", "4")).await;
    let done = rerate(&world, dearer.id).await;
    assert_eq!((done.corrected, done.cost_delta), (1, usd("3")));
    let now = world.ledger.receipts().get(dear.call).await.unwrap().unwrap();
    assert_eq!((now.price, now.overrun), (usd("5"), usd("3")), "the limit holds, the rest is the platform's");
    assert_eq!(world.used(who.wallet).await.0, "5");
    assert_eq!(rerate(&world, dearer.id).await.unchanged, 1);
}
