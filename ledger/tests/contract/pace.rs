//! A wallet that spends unlike itself, and one that will run out: found beside the hot path, acted on, written down.

use std::time::Duration;

use ledger::pace::{Breaker, Mode, Rule};
use ledger::{
    Actor, AlertFilter, Id, Money, Page, ReserveError, TenantError, Wallet, WalletChange, WalletStatus, Window, alert,
};

use crate::world::{NOON, Spender, Terms, World, limit, on_both_databases, usd};

on_both_databases!(
    a_spike_suspends_until_a_trial_goes_well,
    a_trial_that_goes_wrong_opens_it_again,
    an_operator_closes_it_and_what_tripped_it_is_usual_from_then_on,
    by_default_a_spike_is_told_and_stops_nothing,
    a_wallet_without_history_is_left_alone,
    only_one_process_watches_and_another_takes_over,
    a_limit_that_will_be_reached_is_forecast_once,
    settings_that_cannot_be_are_refused,
);

const MINUTE: Duration = Duration::from_secs(60);

/// A week in which a wallet spent a dollar in every five minutes, up to now.
async fn with_a_week(world: &World, wallet: Id<Wallet>) {
    let buckets: Vec<String> = (1..=2_016_i64)
        .rev()
        .map(|back| format!("('{wallet}', {}, {})", NOON.micros() - back * 300_000_000, -(back - 1) * 1_000_000_000))
        .collect();
    for some in buckets.chunks(400) {
        let rows = some.join(", ");
        world.meddle(&format!("INSERT INTO wallet_pace (wallet_id, bucket_start, spent) VALUES {rows}")).await.unwrap();
    }
}

async fn spend(world: &World, who: &Spender, amount: &'static str) {
    let hold = world.reserve(who, amount).await.expect("room");
    world.settle(hold, amount).await;
    world.ledger.watch_spending().await.unwrap();
}

async fn wait(world: &World, minutes: u32) {
    for _ in 0..minutes {
        world.clock.advance(MINUTE);
        world.ledger.watch_spending().await.unwrap();
    }
}

async fn state(world: &World, wallet: Id<Wallet>) -> &'static str {
    let found = world.ledger.tenants().breakers(&[wallet]).await.unwrap();
    found.get(&wallet).map_or("closed", |row| row.breaker.as_str())
}

async fn kinds(world: &World, who: &Spender) -> Vec<String> {
    let file = world.export(Some(who.org)).await;
    let kinds = file.lines().filter_map(|line| line.split("\"kind\":\"").nth(1)?.split('"').next().map(str::to_owned));
    kinds.filter(|kind| kind.starts_with("BREAKER")).collect()
}

async fn alerts(world: &World, kind: &str) -> usize {
    let filter = AlertFilter { kind: Some(kind.into()), ..AlertFilter::default() };
    world.ledger.outbox().list(&filter, &Page::first(10)).await.unwrap().len()
}

/// Somebody with a week of history and a breaker that suspends.
async fn guarded(world: &World) -> Spender {
    let who = world.spender(Terms::default()).await;
    let rule = Rule { mode: Mode::Suspend, ..Rule::default() };
    world.ledger.tenants().set_breaker(who.wallet, rule, &Actor::System).await.unwrap();
    with_a_week(world, who.wallet).await;
    spend(world, &who, "1").await;
    assert_eq!(state(world, who.wallet).await, "closed");
    who
}

/// Fifteen dollars in a quarter of an hour are usual five times over, so sixteen are a spike.
async fn tripped(world: &World) -> Spender {
    let who = guarded(world).await;
    spend(world, &who, "30").await;
    assert_eq!(state(world, who.wallet).await, "open");
    assert!(matches!(world.reserve(&who, "0.1").await, Err(ReserveError::Suspended { .. })));
    assert_eq!(alerts(world, alert::BREAKER).await, 1);
    who
}

async fn a_spike_suspends_until_a_trial_goes_well(world: World) {
    let who = tripped(&world).await;
    wait(&world, 14).await;
    assert_eq!(state(&world, who.wallet).await, "open");
    wait(&world, 1).await;
    assert_eq!(state(&world, who.wallet).await, "half_open");
    spend(&world, &who, "2").await;
    wait(&world, 14).await;
    assert_eq!(state(&world, who.wallet).await, "half_open");
    wait(&world, 1).await;
    assert_eq!(state(&world, who.wallet).await, "closed");
    spend(&world, &who, "2").await;
    assert_eq!(state(&world, who.wallet).await, "closed", "what was stopped is judged once");
    let expected = ["BREAKER_SET", "BREAKER_OPENED", "BREAKER_HALF_OPENED", "BREAKER_CLOSED"];
    assert_eq!(kinds(&world, &who).await, expected);
    assert_eq!(alerts(&world, alert::BREAKER).await, 1);
}

async fn a_trial_that_goes_wrong_opens_it_again(world: World) {
    let who = tripped(&world).await;
    wait(&world, 15).await;
    spend(&world, &who, "12").await;
    assert_eq!(state(&world, who.wallet).await, "open");
    assert!(matches!(world.reserve(&who, "0.1").await, Err(ReserveError::Suspended { .. })));
    assert_eq!(alerts(&world, alert::BREAKER).await, 2);
}

async fn an_operator_closes_it_and_what_tripped_it_is_usual_from_then_on(world: World) {
    let who = tripped(&world).await;
    let to = |status| WalletChange { status: Some(status), ..WalletChange::default() };
    let tenants = world.ledger.tenants();
    tenants.change_wallet(who.wallet, to(WalletStatus::Active), &Actor::System).await.unwrap();
    assert_eq!(state(&world, who.wallet).await, "closed");
    assert_eq!(world.count("SELECT COUNT(*) FROM wallet_pace WHERE left_out = 1").await, 0);
    spend(&world, &who, "30").await;
    assert_eq!(state(&world, who.wallet).await, "closed", "the operator's word holds for an hour");
    wait(&world, 60).await;
    spend(&world, &who, "30").await;
    assert_eq!(state(&world, who.wallet).await, "open");
    // Suspended by an operator, it stays so whatever the breaker would do.
    tenants.change_wallet(who.wallet, to(WalletStatus::Suspended), &Actor::System).await.unwrap();
    assert_eq!(state(&world, who.wallet).await, "closed");
    wait(&world, 20).await;
    assert_eq!(tenants.wallet(who.wallet).await.unwrap().status, WalletStatus::Suspended);
    let expected = ["BREAKER_SET", "BREAKER_OPENED", "BREAKER_CLOSED", "BREAKER_OPENED", "BREAKER_CLOSED"];
    assert_eq!(kinds(&world, &who).await, expected);
}

async fn by_default_a_spike_is_told_and_stops_nothing(world: World) {
    let who = world.spender(Terms::default()).await;
    with_a_week(&world, who.wallet).await;
    spend(&world, &who, "1").await;
    spend(&world, &who, "30").await;
    spend(&world, &who, "30").await;
    assert_eq!(kinds(&world, &who).await, ["BREAKER_SPIKE"], "once a cool-down");
    assert_eq!(alerts(&world, alert::BREAKER).await, 1);
    assert_eq!(world.ledger.tenants().wallet(who.wallet).await.unwrap().status, WalletStatus::Active);
}

async fn a_wallet_without_history_is_left_alone(world: World) {
    let who = world.spender(Terms::default()).await;
    let rule = Rule { mode: Mode::Suspend, ..Rule::default() };
    world.ledger.tenants().set_breaker(who.wallet, rule, &Actor::System).await.unwrap();
    for _ in 0..5 {
        spend(&world, &who, "50").await;
        wait(&world, 5).await;
    }
    assert_eq!((state(&world, who.wallet).await, alerts(&world, alert::BREAKER).await), ("closed", 0));
    assert!(world.count("SELECT COUNT(*) FROM wallet_pace").await >= 5);
}

async fn only_one_process_watches_and_another_takes_over(world: World) {
    let who = guarded(&world).await;
    let samples = "SELECT COUNT(*) FROM wallet_pace";
    let before = world.count(samples).await;
    let held = "UPDATE leases SET holder = 'ins_another', until = 9000000000000000";
    world.meddle(held).await.unwrap();
    wait(&world, 5).await;
    spend(&world, &who, "30").await;
    assert_eq!((world.count(samples).await, state(&world, who.wallet).await), (before, "closed"));
    world.meddle("UPDATE leases SET until = 0").await.unwrap();
    world.ledger.watch_spending().await.unwrap();
    assert_eq!(state(&world, who.wallet).await, "open", "it goes on from the samples that are kept");
    // After a long pause nobody knows when the money was spent.
    let other = guarded(&world).await;
    world.clock.advance(MINUTE * 30);
    spend(&world, &other, "30").await;
    assert_eq!(state(&world, other.wallet).await, "closed");
}

async fn a_limit_that_will_be_reached_is_forecast_once(world: World) {
    let who = world.spender(Terms { window: Window::Day, ..limit("80") }).await;
    with_a_week(&world, who.wallet).await;
    spend(&world, &who, "1").await;
    assert_eq!(alerts(&world, alert::FORECAST).await, 1);
    spend(&world, &who, "1").await;
    wait(&world, 10).await;
    assert_eq!(alerts(&world, alert::FORECAST).await, 1, "once a window");
    let more = WalletChange { hard_limit: Some(Some(usd("90"))), ..WalletChange::default() };
    world.ledger.tenants().change_wallet(who.wallet, more, &Actor::System).await.unwrap();
    spend(&world, &who, "1").await;
    wait(&world, 5).await;
    assert_eq!(alerts(&world, alert::FORECAST).await, 2, "and anew for another allowance");
}

async fn settings_that_cannot_be_are_refused(world: World) {
    let who = world.spender(Terms::default()).await;
    let good = Rule::default();
    for (rule, field) in [
        (Rule { ratio: 1, ..good }, "ratio"),
        (Rule { deviations: 0, ..good }, "deviations"),
        (Rule { minimum: Money::from_nanos(-1), ..good }, "minimum"),
        (Rule { cool_down: Duration::from_secs(59), ..good }, "cool_down"),
    ] {
        match world.ledger.tenants().set_breaker(who.wallet, rule, &Actor::System).await {
            Err(TenantError::Invalid { field: found, .. }) => assert_eq!(found, field),
            other => panic!("{field}: {other:?}"),
        }
    }
    let nobody = world.ledger.tenants().set_breaker(world.ledger.new_id(), good, &Actor::System).await;
    assert!(matches!(nobody, Err(TenantError::Unknown(_))));
    let off = Rule { mode: Mode::Off, ..good };
    let row = world.ledger.tenants().set_breaker(who.wallet, off, &Actor::System).await.unwrap();
    assert_eq!((row.rule, row.breaker), (off, Breaker::Closed));
}
