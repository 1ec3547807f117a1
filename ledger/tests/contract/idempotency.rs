//! Idempotency keys: one body, one call, one charge.

use std::time::Duration;

use ledger::{Call, Claim, Id, Order, ReserveError, Reserved};

use crate::world::{Spender, World, charge, hold, limit, on_both_databases, release};

on_both_databases!(
    a_charged_call_is_replayed_and_a_running_one_is_not,
    another_body_under_the_same_key_is_refused,
    a_released_or_refused_call_frees_its_key,
    a_replay_is_answered_even_where_nothing_is_free,
    a_key_is_forgotten_after_a_day,
    claims_are_scoped_to_their_api_key,
    of_many_at_once_one_is_taken,
    an_expired_call_that_was_never_charged_after_all_frees_its_key,
);

fn claimed(world: &World, who: &Spender, name: u8, body: u8) -> Order {
    Order { claim: Some(Claim { name: [name; 32], body: [body; 32] }), ..world.order(who, "0.1") }
}

async fn replayed(world: &World, order: Order) -> Option<Id<Call>> {
    match world.ledger.reserve(order).await {
        Ok(Reserved::Replay(first)) => Some(first),
        _ => None,
    }
}

async fn a_charged_call_is_replayed_and_a_running_one_is_not(world: World) {
    let who = world.spender(limit("1")).await;
    let first = hold(world.ledger.reserve(claimed(&world, &who, 1, 1)).await).unwrap();
    let call = first.call();
    let again = world.ledger.reserve(claimed(&world, &who, 1, 1)).await;
    assert!(matches!(again, Err(ReserveError::IdempotencyInProgress)), "{again:?}");
    world.settle(first, "0.05").await;
    assert_eq!(replayed(&world, claimed(&world, &who, 1, 1)).await, Some(call));
    assert_eq!(world.used(who.wallet).await, ("0.05".into(), "0".into()), "never charged again");
}

async fn another_body_under_the_same_key_is_refused(world: World) {
    let who = world.spender(limit("1")).await;
    let first = hold(world.ledger.reserve(claimed(&world, &who, 1, 1)).await).unwrap();
    for _ in 0..2 {
        let other = world.ledger.reserve(claimed(&world, &who, 1, 2)).await;
        assert!(matches!(other, Err(ReserveError::IdempotencyMismatch)), "{other:?}");
    }
    world.settle(first, "0.05").await;
    let other = world.ledger.reserve(claimed(&world, &who, 1, 2)).await;
    assert!(matches!(other, Err(ReserveError::IdempotencyMismatch)), "{other:?}");
}

async fn a_released_or_refused_call_frees_its_key(world: World) {
    let who = world.spender(limit("0.1")).await;
    let first = hold(world.ledger.reserve(claimed(&world, &who, 1, 1)).await).unwrap();
    let refused = world.ledger.reserve(claimed(&world, &who, 2, 2)).await;
    assert!(matches!(refused, Err(ReserveError::OverLimit(_))), "{refused:?}");
    world.ledger.release(first, release("provider_error")).await.unwrap();
    assert_eq!(world.count("SELECT COUNT(*) FROM claims").await, 0);
    let second = hold(world.ledger.reserve(claimed(&world, &who, 1, 3)).await).expect("another body, too");
    world.settle(second, "0").await;
}

async fn a_replay_is_answered_even_where_nothing_is_free(world: World) {
    let who = world.spender(limit("0.1")).await;
    let first = hold(world.ledger.reserve(claimed(&world, &who, 1, 1)).await).unwrap();
    let call = first.call();
    world.settle(first, "0.1").await;
    assert!(matches!(world.reserve(&who, "0").await, Err(ReserveError::OverLimit(_))));
    assert_eq!(replayed(&world, claimed(&world, &who, 1, 1)).await, Some(call));
}

async fn a_key_is_forgotten_after_a_day(world: World) {
    let who = world.spender(limit("1")).await;
    let first = hold(world.ledger.reserve(claimed(&world, &who, 1, 1)).await).unwrap();
    let call = first.call();
    world.settle(first, "0.1").await;
    world.clock.advance(Duration::from_secs(86_399));
    assert_eq!(replayed(&world, claimed(&world, &who, 1, 1)).await, Some(call));
    world.clock.advance(Duration::from_secs(1));
    let second = hold(world.ledger.reserve(claimed(&world, &who, 1, 2)).await).expect("a new call");
    let new = second.call();
    world.settle(second, "0.1").await;
    assert_eq!(replayed(&world, claimed(&world, &who, 1, 2)).await, Some(new));
}

async fn claims_are_scoped_to_their_api_key(world: World) {
    let who = world.spender(limit("1")).await;
    let other = Spender { key: world.key(who.wallet).await, ..who };
    let one = hold(world.ledger.reserve(claimed(&world, &who, 1, 1)).await).unwrap();
    let two = hold(world.ledger.reserve(claimed(&world, &other, 1, 9)).await).expect("another key");
    world.settle(one, "0").await;
    world.settle(two, "0").await;
}

async fn of_many_at_once_one_is_taken(world: World) {
    let who = world.spender(limit("10")).await;
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let (ledger, order) = (world.ledger.clone(), claimed(&world, &who, 7, 7));
        asked.spawn(async move { ledger.reserve(order).await });
    }
    let mut taken = Vec::new();
    while let Some(answer) = asked.join_next().await {
        match answer.unwrap() {
            Ok(Reserved::New(hold)) => taken.push(hold),
            Err(ReserveError::IdempotencyInProgress) => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(taken.len(), 1);
    let hold = taken.pop().unwrap();
    world.ledger.settle(hold, charge("0.1")).await.unwrap();
    assert_eq!(world.used(who.wallet).await, ("0.1".into(), "0".into()));
}

async fn an_expired_call_that_was_never_charged_after_all_frees_its_key(world: World) {
    let who = world.spender(limit("1")).await;
    for (name, price) in [(1, None), (2, Some("0.05"))] {
        let first = hold(world.ledger.reserve(claimed(&world, &who, name, 1)).await).unwrap();
        let call = first.call();
        world.clock.advance(Duration::from_secs(660));
        world.ledger.expire_orphans().await.unwrap();
        assert_eq!(replayed(&world, claimed(&world, &who, name, 1)).await, Some(call), "charged in full, so far");
        match price {
            Some(price) => drop(world.settle(first, price).await),
            None => drop(world.ledger.release(first, release("provider_error")).await.unwrap()),
        }
        let again = world.ledger.reserve(claimed(&world, &who, name, 1)).await;
        match price {
            Some(_) => assert!(matches!(again, Ok(Reserved::Replay(first)) if first == call), "{again:?}"),
            None => drop(hold(again).expect("a new call")),
        }
    }
}
