//! The books balance: under concurrency, across processes, and after anything a caller may do.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ledger::{Actor, Id, Ledger, Money, Refund, ReserveError, Reserved, Wallet, Window, audit};

use crate::world::{On, Spender, Terms, World, charge, limit, on_both_databases, release, usd};

on_both_databases!(
    a_thousand_at_once_against_money_for_a_hundred,
    two_processes_share_one_limit,
    every_wallet_is_the_sum_of_its_journal,
    the_revision_moves_with_every_change,
    no_more_holds_are_open_than_there_are_places,
    a_writer_that_loses_its_connection_loses_nothing,
);

/// Every wallet, window by window, is the sum of its journal; every movement has its entry; the log verifies.
async fn balance(world: &World, org: Id<ledger::Org>, wallets: &[Id<Wallet>]) {
    let mut kept: BTreeMap<(String, i64), (i64, i64)> = BTreeMap::new();
    let spent = world.pairs("SELECT wallet_id || ':' || window_start, spent FROM wallet_windows").await;
    let held = world.pairs("SELECT wallet_id || ':' || window_start, held FROM wallet_windows").await;
    for ((place, spent), (same, held)) in spent.into_iter().zip(held) {
        assert_eq!(place, same);
        let (wallet, start) = place.split_once(':').expect("a place");
        kept.insert((wallet.to_owned(), start.parse().unwrap()), (spent, held));
    }
    let mut summed: BTreeMap<(String, i64), (i64, i64)> = BTreeMap::new();
    let mut journal = BTreeSet::new();
    for wallet in wallets {
        let (mut cursor, mut funded) = (None, 0);
        loop {
            let page = world.ledger.entries(*wallet, cursor, 97).await.expect("a page");
            let Some(last) = page.last() else { break };
            cursor = Some(last.seq);
            for row in page {
                journal.insert((row.seq, row.kind.clone()));
                let sum =
                    summed.entry((wallet.to_string(), row.window_start.micros() + row.window as i64)).or_default();
                *sum = (sum.0 + row.spent_delta.nanos(), sum.1 + row.held_delta.nanos());
                assert!(sum.1 >= 0, "{wallet} holds less than nothing");
                funded += row.funded_delta.nanos();
            }
        }
        assert_eq!(world.ledger.tenants().wallet(*wallet).await.unwrap().funded.nanos(), funded);
    }
    summed.retain(|_, sum| *sum != (0, 0));
    kept.retain(|_, counter| *counter != (0, 0));
    assert_eq!(kept, summed);

    // Nothing moves without an entry of its kind in the same transaction.
    let file = world.export(Some(org)).await;
    let summary = audit::verify_export(file.as_bytes()).expect("a sound log");
    assert_eq!(summary.seq, world.ledger.trail().head(Some(org)).await.unwrap().unwrap().seq);
    for kind in ["reserve", "grow", "settle", "release", "expire", "refund", "fund", "adjust"] {
        let told = format!("\"kind\":\"{}\"", kind.to_uppercase());
        let charged = kind == "settle";
        let is_told = |line: &&str| line.contains(&told) || (charged && line.contains("\"kind\":\"CHARGE\""));
        let entries = file.lines().filter(is_told).count();
        assert_eq!(entries, journal.iter().filter(|(_, name)| name == kind).count(), "{kind}");
    }
    let overrun = world.count("SELECT CAST(COALESCE(SUM(overrun), 0) AS BIGINT) FROM journal").await;
    assert_eq!(world.ledger.overrun().await.unwrap().nanos(), overrun);
    let holds = world.count("SELECT CAST(COALESCE(SUM(amount), 0) AS BIGINT) FROM holds").await;
    let roots: i64 = world
        .count("SELECT CAST(COALESCE(SUM(ww.held), 0) AS BIGINT) FROM wallet_windows ww JOIN wallets w ON w.id = ww.wallet_id WHERE w.parent_id IS NULL")
        .await;
    assert_eq!(holds, roots, "what is held is held for calls");
}

async fn a_thousand_at_once_against_money_for_a_hundred(world: World) {
    let org = world.org().await;
    let chain = world.chain(org, [limit("10"), Terms::default(), Terms::default(), Terms::default()]).await;
    let who = Spender { org, wallet: chain[3], key: world.key(chain[3]).await };
    let mut asked = tokio::task::JoinSet::new();
    for _ in 0..1_000 {
        let (ledger, order) = (world.ledger.clone(), world.order(&who, "0.1"));
        asked.spawn(async move { ledger.reserve(order).await });
    }
    let (mut taken, mut refused) = (Vec::new(), 0);
    while let Some(answer) = asked.join_next().await {
        match answer.unwrap() {
            Ok(Reserved::New(hold)) => taken.push(hold),
            Err(ReserveError::OverLimit(over)) => {
                assert_eq!(over.wallet, chain[0]);
                refused += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((taken.len(), refused), (100, 900));
    assert_eq!(world.used(chain[0]).await, ("0".into(), "10".into()));
    assert_eq!(world.count("SELECT COUNT(*) FROM audit_log WHERE kind = 'BLOCK'").await, 900);
    assert_eq!(world.count("SELECT COUNT(*) FROM receipts WHERE status = 'refused'").await, 900);
    for hold in taken {
        drop(world.ledger.settle(hold, charge("0.05"))); // nobody waits, nothing is lost
    }
    world.ledger.record(ledger::Entry::new(Some(org), "LAST", Actor::System)).await.unwrap();
    assert_eq!(world.used(chain[0]).await, ("5".into(), "0".into()));
    balance(&world, org, &chain).await;
}

async fn two_processes_share_one_limit(world: World) {
    if world.on == On::Sqlite {
        let second = Ledger::open(crate::world::options(&world.url, &world.clock, 99)).await;
        let error = second.err().expect("one process at a time");
        assert!(matches!(&error, ledger::StoreError::InUse { lock } if lock.ends_with("alfred.lock")), "{error}");
        return;
    }
    let second = world.another(99).await;
    let org = world.org().await;
    let chain = world.chain(org, [limit("10"), Terms::default(), Terms::default(), Terms::default()]).await;
    let (one, two) = (world.key(chain[3]).await, world.key(chain[2]).await);
    let mut asked = tokio::task::JoinSet::new();
    for i in 0..400 {
        let who = if i % 3 == 0 {
            Spender { org, wallet: chain[2], key: two }
        } else {
            Spender { org, wallet: chain[3], key: one }
        };
        let (ledger, order) =
            (if i % 2 == 0 { world.ledger.clone() } else { second.clone() }, world.order(&who, "0.1"));
        asked.spawn(async move {
            let reserved = ledger.reserve(order).await;
            (ledger, reserved)
        });
    }
    let mut taken = Vec::new();
    while let Some(answer) = asked.join_next().await {
        match answer.unwrap() {
            (ledger, Ok(Reserved::New(hold))) => taken.push((ledger, hold)),
            (_, Err(ReserveError::OverLimit(_))) => {}
            (_, other) => panic!("{other:?}"),
        }
    }
    assert_eq!(taken.len(), 100);
    for (ledger, hold) in taken {
        ledger.settle(hold, charge("0.1")).await.unwrap();
    }
    assert_eq!(world.used(chain[0]).await, ("10".into(), "0".into()));
    balance(&world, org, &chain).await;
    second.close().await;
}

/// A small generator of our own, so that a failure can be run again by its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn money(&mut self, below: u64) -> Money {
        Money::from_nanos(i64::try_from(self.roll(below)).unwrap())
    }
}

async fn every_wallet_is_the_sum_of_its_journal(world: World) {
    let org = world.org().await;
    let month = Terms { window: Window::Month, soft: Some("0.5"), ..limit("8") };
    let chain =
        world.chain(org, [month, Terms { window: Window::Day, ..limit("1") }, Terms::default(), limit("4")]).await;
    let side = world.wallet(org, Terms { parent: Some(chain[1]), window: Window::Week, ..limit("0.8") }).await;
    let wallets = [chain.to_vec(), vec![side]].concat();
    let keys = [world.key(chain[3]).await, world.key(side).await];
    let mut dice = Dice(42);
    let (mut open, mut settled) = (Vec::new(), Vec::new());
    for turn in 0..600_u32 {
        match dice.roll(14) {
            12 => {
                let new = ledger::NewCharge {
                    id: world.ledger.new_id(),
                    wallet: wallets[dice.roll(5) as usize],
                    key: None,
                    cost: dice.money(50_000_000),
                    price: dice.money(100_000_000),
                    reason: "test".into(),
                    source: "dice".into(),
                    reference: turn.to_string(),
                    actor: Actor::System,
                };
                match world.ledger.charge(new).await {
                    Ok(receipt) => settled.push(receipt.call),
                    Err(ledger::ChargeError::OverLimit(_)) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
            13 if !settled.is_empty() => {
                let correction = ledger::Correction {
                    id: world.ledger.new_id(),
                    call: settled[dice.roll(settled.len() as u64) as usize],
                    cost: dice.money(50_000_000),
                    price: dice.money(300_000_000),
                    reason: "test".into(),
                    price_version: None,
                    usage: None,
                    actor: Actor::System,
                };
                let price = correction.price;
                let receipt = world.ledger.correct(correction).await.unwrap();
                assert!(receipt.price <= price || receipt.price == receipt.refunded);
            }
            0..=4 => {
                let side_key = dice.roll(2) == 1;
                let who =
                    Spender { org, wallet: if side_key { side } else { chain[3] }, key: keys[usize::from(side_key)] };
                let order = ledger::Order { amount: dice.money(150_000_000), ..world.order(&who, "0") };
                match world.ledger.reserve(order).await {
                    Ok(Reserved::New(hold)) => open.push(hold),
                    Err(ReserveError::OverLimit(_)) => {}
                    other => panic!("{other:?}"),
                }
            }
            5 if !open.is_empty() => {
                let at = dice.roll(open.len() as u64) as usize;
                let by = dice.money(50_000_000);
                match world.ledger.grow(&mut open[at], by).await {
                    Ok(()) | Err(ReserveError::OverLimit(_)) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
            6..=8 if !open.is_empty() => {
                let hold = open.swap_remove(dice.roll(open.len() as u64) as usize);
                let (call, price) = (hold.call(), dice.money(200_000_000));
                let receipt = world.ledger.settle(hold, ledger::Charge { price, ..charge("0") }).await.unwrap();
                assert_eq!(receipt.price.plus(receipt.overrun), Some(price));
                settled.push(call);
            }
            9 if !open.is_empty() => {
                let hold = open.swap_remove(dice.roll(open.len() as u64) as usize);
                world.ledger.release(hold, release("provider_error")).await.unwrap();
            }
            10 if !settled.is_empty() => {
                let call = settled[dice.roll(settled.len() as u64) as usize];
                let amount = Some(Money::from_nanos(1 + dice.money(50_000_000).nanos()));
                let refund =
                    Refund { id: world.ledger.new_id(), call, amount, reason: "test".into(), actor: Actor::System };
                match world.ledger.refund(refund).await {
                    Ok(_) | Err(ledger::RefundError::TooMuch { .. }) => {}
                    Err(error) => panic!("{error:?}"),
                }
            }
            11 if turn % 2 == 0 => world.clock.advance(Duration::from_secs(11 * 3_600)),
            _ => {
                let fund = format!("tr_{turn}");
                world.fund(wallets[dice.roll(5) as usize], "0.01", &fund).await.unwrap();
            }
        }
    }
    assert!(settled.len() > 30, "the dice should do something");
    balance(&world, org, &wallets).await;
    for hold in open {
        world.settle(hold, "0").await;
    }
    balance(&world, org, &wallets).await;
    assert_eq!(world.count("SELECT COUNT(*) FROM holds").await, 0);
    assert_eq!(world.ledger.gauges().holds_in_flight, 0);
}

async fn the_revision_moves_with_every_change(world: World) {
    let mut revision = world.ledger.revision();
    let before = *revision.borrow_and_update();
    let who = world.spender(limit("1")).await;
    let after = *revision.borrow_and_update();
    assert!(after.revision > before.revision, "in force here at once");
    world.clock.advance(Duration::from_secs(1));
    let hold = world.reserve(&who, "0.1").await.unwrap();
    assert_eq!(revision.borrow_and_update().revision, after.revision);
    assert!(revision.borrow().at > after.at, "each batch confirms it");
    assert_eq!(world.ledger.readiness(), Ok(()));
    world.settle(hold, "0.1").await;
    assert_eq!(usd("0.1"), world.ledger.standings(&[who.wallet]).await.unwrap()[&who.wallet].spent);
    world.ledger.close().await;
    assert!(world.ledger.readiness().is_err());
    assert!(world.reserve(&who, "0.1").await.is_err());
}

async fn no_more_holds_are_open_than_there_are_places(world: World) {
    let who = world.spender(limit("1")).await;
    world.ledger.close().await;
    let options = crate::world::options(&world.url, &world.clock, 55);
    let ledger = Ledger::open(ledger::Options { holds_in_flight: 2, ..options }).await.unwrap();
    let mut open = Vec::new();
    for _ in 0..2 {
        open.push(crate::world::hold(ledger.reserve(world.order(&who, "0.1")).await).unwrap());
    }
    assert!(matches!(ledger.reserve(world.order(&who, "0.1")).await, Err(ReserveError::Busy)));
    assert_eq!(ledger.gauges().holds_in_flight, 2);
    ledger.settle(open.remove(0), charge("0.1")).await.unwrap();
    open.push(crate::world::hold(ledger.reserve(world.order(&who, "0.1")).await).expect("a place is free again"));
    for hold in open {
        ledger.release(hold, release("client_left")).await.unwrap();
    }
    ledger.close().await;
}

async fn a_writer_that_loses_its_connection_loses_nothing(world: World) {
    if world.on == On::Sqlite {
        return; // there is no connection to lose
    }
    let who = world.spender(limit("1000")).await;
    let mut calls = tokio::task::JoinSet::new();
    for i in 0..32 {
        let (ledger, who) = (world.ledger.clone(), who);
        let orders: Vec<_> = (0..15).map(|_| world.order(&who, "0.1")).collect();
        calls.spawn(async move {
            let mut settled = 0_i64;
            for order in orders {
                // An order may fail while the database is away; a settlement may not.
                if let Ok(Reserved::New(hold)) = ledger.reserve(order).await {
                    let receipt =
                        ledger.settle(hold, charge(if i % 2 == 0 { "0.05" } else { "0.1" })).await.expect("settled");
                    settled += receipt.price.nanos();
                }
            }
            settled
        });
    }
    let mut settled = 0;
    while !calls.is_empty() {
        let cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                    WHERE application_name = 'alfred-writer' AND datname = current_database()";
        world.meddle(cut).await.unwrap();
        for _ in 0..5 {
            tokio::task::yield_now().await;
            if let Ok(Some(done)) = tokio::time::timeout(Duration::from_millis(20), calls.join_next()).await {
                settled += done.unwrap();
            }
        }
    }
    // Whatever nobody was told of has been taken back.
    world.ledger.record(ledger::Entry::new(Some(who.org), "LAST", Actor::System)).await.unwrap();
    let standing = world.ledger.standings(&[who.wallet]).await.unwrap()[&who.wallet];
    assert_eq!((standing.spent.nanos(), standing.held.nanos()), (settled, 0));
    assert!(settled > 0);
    balance(&world, who.org, &[who.wallet]).await;
}
