//! Holds that nobody will settle: charged in full, marked for review, and put right if their process speaks up after all.

use std::time::Duration;

use ledger::{Ledger, Money, ReceiptFilter, ReserveError};

use crate::world::{On, Terms, World, limit, on_both_databases, options, release, status, usd};

on_both_databases!(
    a_lost_process_is_charged_in_full_at_the_next_start,
    a_late_settlement_puts_an_expired_hold_right,
    a_late_release_gives_all_of_it_back,
    a_hold_past_its_time_is_an_orphan_though_its_process_lives,
    a_settled_call_survives_the_restart_of_its_process,
    a_hold_that_cannot_be_expired_keeps_no_other_one,
    a_call_whose_process_named_no_chain_is_read_as_one_of_its_wallet,
);

/// Starts another process while the first is as good as dead.
async fn successor(world: &World) -> Ledger {
    match world.on {
        // The lock falls with the process; here the first lets go of all but its holds.
        On::Sqlite => world.ledger.close().await,
        On::Postgres => world.meddle("UPDATE instances SET beat_at = beat_at - 31000000").await.unwrap(),
    }
    Ledger::open(options(&world.url, &world.clock, 77)).await.expect("a successor")
}

async fn a_lost_process_is_charged_in_full_at_the_next_start(world: World) {
    let who = world.spender(Terms { window: ledger::Window::Day, ..limit("1") }).await;
    let hold = world.reserve(&who, "0.4").await.unwrap();
    let call = hold.call();
    world.clock.advance(Duration::from_secs(5));
    let next = successor(&world).await;
    let receipt = next.receipts().get(call).await.unwrap().expect("a receipt");
    assert_eq!((receipt.status.as_str(), receipt.price, receipt.review), ("expired", usd("0.4"), true));
    assert_eq!(receipt.record.model, "gpt-4o", "what was known at the start is kept");
    let looked_at = ReceiptFilter { review: true, ..ReceiptFilter::default() };
    assert_eq!(next.receipts().list(&looked_at, None, 10).await.unwrap().len(), 1);
    let standing = next.standings(&[who.wallet]).await.unwrap()[&who.wallet];
    assert_eq!((standing.spent, standing.held), (usd("0.4"), Money::ZERO));
    let kinds: Vec<_> = next.entries(who.wallet, None, 9).await.unwrap().into_iter().map(|row| row.kind).collect();
    assert_eq!(kinds, ["reserve", "expire"]);
    next.close().await;
}

async fn a_late_settlement_puts_an_expired_hold_right(world: World) {
    if world.on == On::Sqlite {
        return; // a process that lost its lock has lost its database
    }
    let who = world.spender(limit("1")).await;
    let (small, large) = (world.reserve(&who, "0.4").await.unwrap(), world.reserve(&who, "0.3").await.unwrap());
    let (call, other) = (small.call(), large.call());
    let next = successor(&world).await;
    assert_eq!(status(&next, call).await, "expired");
    let receipt = world.settle(small, "0.1").await;
    assert_eq!((receipt.status.as_str(), receipt.price, receipt.review), ("settled", usd("0.1"), false));
    assert_eq!(world.used(who.wallet).await, ("0.4".into(), "0".into()));
    // More than was held, as far as there is room.
    let receipt = world.settle(large, "1.5").await;
    assert_eq!((receipt.price, receipt.overrun), (usd("0.9"), usd("0.6")));
    assert_eq!(status(&next, other).await, "settled");
    let kinds: Vec<_> = next.entries(who.wallet, None, 9).await.unwrap().into_iter().map(|row| row.kind).collect();
    assert_eq!(kinds, ["reserve", "reserve", "expire", "expire", "adjust", "adjust"]);
    assert!(matches!(world.reserve(&who, "0").await, Err(ReserveError::OverLimit(_))));
    next.close().await;
}

async fn a_late_release_gives_all_of_it_back(world: World) {
    if world.on == On::Sqlite {
        return;
    }
    let who = world.spender(limit("1")).await;
    let hold = world.reserve(&who, "0.4").await.unwrap();
    let next = successor(&world).await;
    let receipt = world.ledger.release(hold, release("provider_error")).await.unwrap();
    assert_eq!((receipt.status.as_str(), receipt.price, receipt.review), ("released", Money::ZERO, false));
    assert_eq!(world.used(who.wallet).await, ("0".into(), "0".into()));
    next.close().await;
}

async fn a_hold_past_its_time_is_an_orphan_though_its_process_lives(world: World) {
    let who = world.spender(limit("1")).await;
    let hold = world.reserve(&who, "0.4").await.unwrap();
    let call = hold.call();
    world.clock.advance(Duration::from_secs(659));
    world.ledger.expire_orphans().await.unwrap();
    assert_eq!(status(&world.ledger, call).await, "pending");
    world.clock.advance(Duration::from_secs(1));
    world.ledger.expire_orphans().await.unwrap();
    assert_eq!(status(&world.ledger, call).await, "expired");
    assert_eq!(world.settle(hold, "0.25").await.price, usd("0.25"));
    assert_eq!(world.used(who.wallet).await, ("0.25".into(), "0".into()));
}

async fn a_settled_call_survives_the_restart_of_its_process(world: World) {
    let who = world.spender(limit("1")).await;
    let hold = world.reserve(&who, "0.4").await.unwrap();
    let call = hold.call();
    drop(world.ledger.settle(hold, crate::world::charge("0.3"))); // not awaited
    world.ledger.close().await;
    let next = Ledger::open(options(&world.url, &world.clock, 77)).await.expect("again");
    let receipt = next.receipts().get(call).await.unwrap().expect("a receipt");
    assert_eq!((receipt.status.as_str(), receipt.price), ("settled", usd("0.3")));
    assert_eq!(next.keyed_hash("test", b"x"), world.ledger.keyed_hash("test", b"x"), "the secret stays");
    next.close().await;
}

async fn a_hold_that_cannot_be_expired_keeps_no_other_one(world: World) {
    let who = world.spender(limit("1")).await;
    let mut calls = Vec::new();
    for _ in 0..4 {
        world.clock.advance(Duration::from_millis(1));
        calls.push(world.reserve(&who, "0.1").await.unwrap().call());
    }
    let spoil = async |column: &str, call| {
        world.meddle(&format!("UPDATE holds SET {column} = 'spoilt' WHERE call_id = '{call}'")).await.unwrap();
    };
    // On SQLite every batch reads all holds, those with an unreadable chain among them.
    spoil(if world.on == On::Sqlite { "legs" } else { "chain" }, calls[0]).await;
    spoil("legs", calls[2]).await;
    let next = successor(&world).await;
    for call in [calls[1], calls[3]] {
        assert_eq!(status(&next, call).await, "expired");
    }
    next.expire_orphans().await.expect("what cannot be expired is tried again, not for ever");
    let standing = next.standings(&[who.wallet]).await.unwrap()[&who.wallet];
    assert_eq!((standing.spent, standing.held), (usd("0.2"), usd("0.2")), "it stays held");
    next.close().await;
}

async fn a_call_whose_process_named_no_chain_is_read_as_one_of_its_wallet(world: World) {
    let who = world.spender(limit("1")).await;
    let ended = world.reserve(&who, "0.1").await.unwrap();
    world.clock.advance(Duration::from_millis(1));
    let (running, ended) = (world.reserve(&who, "0.2").await.unwrap(), world.settle(ended, "0.1").await);
    for table in ["holds", "receipts"] {
        world.meddle(&format!("UPDATE {table} SET chain = ''")).await.unwrap();
    }
    assert_eq!(world.ledger.receipts().get(ended.call).await.unwrap(), Some(ended.clone()));
    let all = world.ledger.receipts().list(&ReceiptFilter::default(), None, 9).await.unwrap();
    assert_eq!(all.iter().map(|it| it.call).collect::<Vec<_>>(), [running.call(), ended.call]);
    let own = ReceiptFilter { wallet: Some(who.wallet), ..ReceiptFilter::default() };
    assert_eq!(world.ledger.receipts().list(&own, None, 9).await.unwrap(), all);
    world.meddle(&format!("UPDATE holds SET chain = '{}'", who.wallet)).await.unwrap();
    world.settle(running, "0.1").await;
}
