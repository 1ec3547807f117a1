//! Wallets' own calendars and thresholds, wallets beside the chains, and how a wallet ends: the same on both databases.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ledger::{
    Actor, Anchor, Coverage, FundError, Id, NewKey, NewWallet, Order, Org, Refund, ReserveError, SoftAction, Tags,
    TenantError, Threshold, Wallet, WalletChange, WalletKind, WalletStatus, Window,
};

use crate::world::{Spender, Terms, World, hold, limit, on_both_databases, usd};

on_both_databases!(
    a_window_begins_at_its_zones_midnight_and_a_hold_stays_where_it_was_made,
    a_changed_calendar_counts_from_nothing_and_changed_back_from_where_it_was,
    each_threshold_is_told_once_a_window,
    a_threshold_that_blocks_is_the_limit,
    a_threshold_that_downgrades_leaves_nothing_behind,
    a_call_holds_in_its_chain_and_in_its_scopes_or_in_none,
    scopes_are_those_in_force_with_the_keys_they_are_about,
    a_wallet_closes_when_nothing_is_in_flight_and_for_good,
    what_a_wallet_cannot_be_is_named,
    tags_of_a_key_are_its_admins,
);

const BY: &Actor = &Actor::System;

async fn change(world: &World, wallet: Id<Wallet>, to: WalletChange) -> Result<ledger::WalletRow, TenantError> {
    world.ledger.tenants().change_wallet(wallet, to, BY).await
}

fn thresholds(texts: &[&str]) -> Vec<Threshold> {
    texts.iter().map(|text| text.parse().expect("a threshold")).collect()
}

fn tags(pairs: &[(&str, &str)]) -> Tags {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[track_caller]
fn names<T: std::fmt::Debug>(result: Result<T, TenantError>, wanted: &str) {
    match result {
        Err(TenantError::Invalid { field, .. }) => assert_eq!(field, wanted),
        other => panic!("{wanted} is at fault, but: {other:?}"),
    }
}

/// Somebody whose wallet is made of this.
async fn spender(world: &World, make: impl FnOnce(NewWallet) -> NewWallet) -> Spender {
    let (org, wallet) = (world.org().await, world.ledger.new_id());
    let new = make(NewWallet::new(wallet, org, "wallet", WalletKind::Project));
    world.ledger.tenants().create_wallet(new, BY).await.expect("a wallet");
    Spender { org, wallet, key: world.key(wallet).await }
}

async fn scope(world: &World, org: Id<Org>, coverage: Coverage, hard: &str) -> Id<Wallet> {
    let id = world.ledger.new_id();
    let new = NewWallet::new(id, org, "scope", WalletKind::Scope);
    let new = NewWallet { coverage: Some(coverage), hard_limit: Some(usd(hard)), ..new };
    world.ledger.tenants().create_wallet(new, BY).await.expect("a scope");
    id
}

async fn warns(world: &World) -> i64 {
    world.count("SELECT COUNT(*) FROM audit_log WHERE kind = 'WARN'").await
}

async fn a_window_begins_at_its_zones_midnight_and_a_hold_stays_where_it_was_made(world: World) {
    let who = spender(&world, |new| NewWallet {
        hard_limit: Some(usd("1")),
        window: Window::Month,
        zone: "America/New_York".parse().expect("a zone"),
        anchor: Some(Anchor::Day(12)),
        ..new
    })
    .await;
    let standing = async || world.ledger.standings(&[who.wallet]).await.expect("standings")[&who.wallet];
    // It is noon UTC on the 11th of March; New York has been on summer time since the 8th.
    let now = standing().await;
    assert_eq!(now.window_start, "2026-02-12T05:00:00Z".parse().unwrap());
    assert_eq!(now.resets_at, Some("2026-03-12T04:00:00Z".parse().unwrap()));
    let old = world.reserve(&who, "0.9").await.unwrap();
    match world.reserve(&who, "0.2").await {
        Err(ReserveError::OverLimit(over)) => assert_eq!(over.resets_at, now.resets_at),
        other => panic!("{other:?}"),
    }
    world.clock.advance(Duration::from_secs(16 * 3_600 - 1));
    assert!(world.reserve(&who, "0.2").await.is_err(), "a second before midnight there");
    world.clock.advance(Duration::from_secs(1));
    let new = world.reserve(&who, "0.2").await.expect("a new window");
    assert_eq!(world.used(who.wallet).await, ("0".into(), "0.2".into()));
    world.settle(old, "0.9").await;
    assert_eq!(world.used(who.wallet).await, ("0".into(), "0.2".into()), "it settled where it was held");
    world.settle(new, "0.1").await;
    assert_eq!(world.used(who.wallet).await, ("0.1".into(), "0".into()));
    let starts: Vec<_> = world.ledger.entries(who.wallet, None, 10).await.unwrap();
    let starts: Vec<_> = starts.iter().map(|row| (row.kind.clone(), row.window_start.to_string())).collect();
    let (march, april) = ("2026-02-12T05:00:00.000000Z", "2026-03-12T04:00:00.000000Z");
    let expected = [("reserve", march), ("reserve", april), ("settle", march), ("settle", april)];
    assert_eq!(starts, expected.map(|(kind, start)| (kind.to_owned(), start.to_owned())));
}

async fn a_changed_calendar_counts_from_nothing_and_changed_back_from_where_it_was(world: World) {
    let who = world.spender(Terms { window: Window::Day, ..limit("1") }).await;
    let before = world.reserve(&who, "0.6").await.unwrap();
    world.settle(before, "0.6").await;
    let held = world.reserve(&who, "0.2").await.unwrap();
    // As late as in UTC, and begun together with it: only the calendar is another.
    let there = WalletChange { zone: Some("Africa/Abidjan".parse().unwrap()), ..WalletChange::default() };
    let row = change(&world, who.wallet, there).await.unwrap();
    assert_eq!((row.window.zone().as_str(), row.window.kind()), ("Africa/Abidjan", Window::Day));
    assert_eq!(world.used(who.wallet).await, ("0".into(), "0".into()));
    let fresh = world.reserve(&who, "0.9").await.expect("from nothing");
    world.settle(held, "0.2").await;
    assert_eq!(world.used(who.wallet).await, ("0".into(), "0.9".into()), "settled where it was held");
    let back = WalletChange { zone: Some("UTC".parse().unwrap()), ..WalletChange::default() };
    change(&world, who.wallet, back).await.unwrap();
    assert_eq!(world.used(who.wallet).await, ("0.8".into(), "0".into()));
    world.settle(fresh, "0.9").await;
    assert_eq!(world.used(who.wallet).await, ("0.8".into(), "0".into()));
    let sum = |rows: Vec<ledger::JournalEntry>| rows.iter().map(|row| row.spent_delta.nanos()).sum::<i64>();
    assert_eq!(
        sum(world.ledger.entries(who.wallet, None, 100).await.unwrap()),
        usd("1.7").nanos(),
        "all of it is in the journal"
    );
}

async fn each_threshold_is_told_once_a_window(world: World) {
    let who = spender(&world, |new| NewWallet {
        hard_limit: Some(usd("1")),
        soft_limit: Some(usd("0.3")),
        thresholds: thresholds(&["50%", "0.8", "90%"]),
        window: Window::Day,
        ..new
    })
    .await;
    for (amount, told, highest) in [
        ("0.3", 0, None),
        ("0.01", 1, Some("0.3")),
        ("0.1", 1, Some("0.3")),
        ("0.4", 3, Some("0.8")),
        ("0.1", 4, Some("0.9")),
    ] {
        let hold = world.reserve(&who, amount).await.unwrap();
        assert_eq!(warns(&world).await, told, "after {amount} more");
        let warning = hold.warnings().first().map(|warning| warning.soft_limit);
        assert_eq!(warning, highest.map(usd), "the highest that is passed goes with the call");
        world.settle(hold, amount).await;
    }
    let alerts = world.count("SELECT COUNT(*) FROM alerts WHERE kind = 'soft_limit'").await;
    assert_eq!(alerts, 4, "one each");
    let raised = WalletChange { hard_limit: Some(Some(usd("2"))), ..WalletChange::default() };
    change(&world, who.wallet, raised).await.unwrap();
    let hold = world.reserve(&who, "0.2").await.unwrap();
    assert_eq!(warns(&world).await, 5, "half of the new limit is another amount");
    world.settle(hold, "0").await;
    world.clock.advance(Duration::from_secs(86_400));
    let hold = world.reserve(&who, "1.9").await.unwrap();
    assert_eq!(warns(&world).await, 9, "all of them at once in another window");
    world.settle(hold, "0").await;
    let none = WalletChange { thresholds: Some(Vec::new()), soft_limit: Some(None), ..WalletChange::default() };
    assert!(change(&world, who.wallet, none).await.unwrap().thresholds.is_empty());
    let hold = world.reserve(&who, "1.9").await.unwrap();
    assert!(hold.warnings().is_empty());
    world.settle(hold, "0").await;
}

async fn a_threshold_that_blocks_is_the_limit(world: World) {
    let who = spender(&world, |new| NewWallet {
        hard_limit: Some(usd("1")),
        thresholds: thresholds(&["60%"]),
        soft_action: SoftAction::Block,
        window: Window::Week,
        anchor: Some(Anchor::Weekday(7)),
        ..new
    })
    .await;
    let order = world.order(&who, "0.61");
    for _ in 0..2 {
        match world.ledger.reserve(order.clone()).await {
            Err(ReserveError::OverLimit(over)) => {
                assert_eq!((over.wallet, over.limit, over.asked), (who.wallet, usd("0.6"), usd("0.61")));
                assert_eq!(over.resets_at, Some("2026-03-15T00:00:00Z".parse().unwrap()), "Sunday");
            }
            other => panic!("{other:?}"),
        }
    }
    let told = world.pairs("SELECT content, at FROM alerts WHERE kind = 'hard_limit'").await;
    assert!(matches!(&told[..], [(content, _)] if content.contains(r#""by":"soft_limit""#)), "{told:?}");
    let mut hold = world.reserve(&who, "0.5").await.unwrap();
    assert!(matches!(world.ledger.grow(&mut hold, usd("0.2")).await, Err(ReserveError::OverLimit(_))));
    world.settle(hold, "0.8").await;
    assert_eq!(
        world.used(who.wallet).await,
        ("0.8".into(), "0".into()),
        "what was used is charged up to the hard limit"
    );
    assert!(matches!(world.reserve(&who, "0").await, Err(ReserveError::OverLimit(_))), "nothing more");
    let warn = WalletChange { soft_action: Some(SoftAction::Warn), ..WalletChange::default() };
    change(&world, who.wallet, warn).await.unwrap();
    world
        .ledger
        .release(world.reserve(&who, "0.2").await.expect("only a warning now"), crate::world::release("test"))
        .await
        .unwrap();
}

async fn a_threshold_that_downgrades_leaves_nothing_behind(world: World) {
    let who = spender(&world, |new| NewWallet {
        hard_limit: Some(usd("1")),
        soft_limit: Some(usd("0.5")),
        soft_action: SoftAction::Downgrade,
        ..new
    })
    .await;
    let rows =
        "SELECT (SELECT COUNT(*) FROM journal) + (SELECT COUNT(*) FROM audit_log) + (SELECT COUNT(*) FROM receipts)
                     + (SELECT COUNT(*) FROM holds) + (SELECT COUNT(*) FROM alerts)";
    let before = world.count(rows).await;
    let order = world.order(&who, "0.6");
    match world.ledger.reserve(order.clone()).await {
        Err(ReserveError::Downgrade { wallet }) => assert_eq!(wallet, who.wallet),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.count(rows).await, before);
    let again =
        hold(world.ledger.reserve(Order { downgraded: true, ..order }).await).expect("the same call, asked anew");
    assert_eq!(again.warnings()[0].soft_limit, usd("0.5"));
    assert_eq!(warns(&world).await, 1);
    world.settle(again, "0.6").await;
    let free = world.reserve(&who, "0").await.expect("what costs nothing cannot be had for less");
    world.settle(free, "0").await;
    let dear = Order { downgraded: true, ..world.order(&who, "0.5") };
    assert!(
        matches!(world.ledger.reserve(dear).await, Err(ReserveError::OverLimit(_))),
        "past the hard limit all the same"
    );
}

async fn a_call_holds_in_its_chain_and_in_its_scopes_or_in_none(world: World) {
    let who = world.spender(limit("10")).await;
    let models =
        |names: &[&str]| Coverage { models: names.iter().map(|it| (*it).to_owned()).collect(), tags: Tags::new() };
    let opus = scope(&world, who.org, models(&["*opus*"]), "1").await;
    let ads = scope(&world, who.org, Coverage { models: Vec::new(), tags: tags(&[("team", "ads")]) }, "0.5").await;
    let both = |amount: &str| Order { extra: vec![ads, opus], ..world.order(&who, amount) };
    let first = hold(world.ledger.reserve(both("0.4")).await).unwrap();
    for wallet in [who.wallet, opus, ads] {
        assert_eq!(world.used(wallet).await, ("0".into(), "0.4".into()));
    }
    match world.ledger.reserve(both("0.2")).await {
        Err(ReserveError::OverLimit(over)) => assert_eq!(over.wallet, ads),
        other => panic!("{other:?}"),
    }
    let reversed = Order { extra: vec![opus, ads, opus], ..world.order(&who, "0.1") };
    let mut second = hold(world.ledger.reserve(reversed).await).expect("the same wallets in another order");
    assert!(matches!(world.ledger.grow(&mut second, usd("0.1")).await, Err(ReserveError::OverLimit(_))));
    let one = hold(world.ledger.reserve(Order { extra: vec![opus], ..world.order(&who, "0.3") }).await).unwrap();
    assert_eq!(world.used(ads).await.1, "0.5", "only the one it names");
    let call = first.call();
    world.settle(first, "0.9").await; // what all of them have room for: nothing beyond 0.4 where ads has no more
    world.settle(one, "0.3").await;
    world.ledger.release(second, crate::world::release("test")).await.unwrap();
    for (wallet, spent) in [(who.wallet, "0.7"), (opus, "0.7"), (ads, "0.4")] {
        assert_eq!(world.used(wallet).await, (spent.into(), "0".into()));
        let rows = world.ledger.entries(wallet, None, 100).await.unwrap();
        assert_eq!(rows.iter().map(|row| row.spent_delta.nanos()).sum::<i64>(), usd(spent).nanos());
        assert_eq!(rows.iter().map(|row| row.held_delta.nanos()).sum::<i64>(), 0);
    }
    let (id, amount, reason) = (world.ledger.new_id(), None, "test".to_owned());
    world.ledger.refund(Refund { id, call, amount, reason, actor: Actor::System }).await.unwrap();
    assert_eq!([world.used(opus).await.0, world.used(ads).await.0], ["0.3".to_owned(), "0".to_owned()]);
    let chains = "SELECT COUNT(DISTINCT chain) FROM chain_members WHERE chain LIKE 'mix_%'";
    assert_eq!(world.count(chains).await, 2, "each mix is written once");
    let other = world.spender(limit("1")).await;
    let theirs = Order { extra: vec![opus], ..world.order(&other, "0.1") };
    assert!(
        matches!(world.ledger.reserve(theirs).await, Err(ReserveError::UnknownWallet(_))),
        "of another organisation"
    );
}

async fn scopes_are_those_in_force_with_the_keys_they_are_about(world: World) {
    let org = world.org().await;
    let [root, team, _, leaf] = world.chain(org, Default::default()).await;
    let beside = world.wallet(org, Terms { parent: Some(root), ..Terms::default() }).await;
    let (_, _) = (world.key(leaf).await, world.key(beside).await);
    let coverage = Coverage { models: vec!["gpt-4o*".into()], tags: Tags::new() };
    let wide = scope(&world, org, coverage.clone(), "1").await;
    let narrow = world.ledger.new_id();
    let new = NewWallet::new(narrow, org, "scope", WalletKind::Scope);
    let new = NewWallet { coverage: Some(coverage), under: Some(team), ..new };
    world.ledger.tenants().create_wallet(new.clone(), BY).await.unwrap();
    world.ledger.tenants().create_wallet(new, BY).await.expect("the same again");
    let covering = async |leaf| {
        let set = world.ledger.tenants().credentials().await.unwrap();
        assert_eq!(set.scopes, world.ledger.tenants().scopes().await.unwrap());
        let covers = |scope: &&ledger::Scope| scope.covers((org, leaf), &["gpt-4o-mini"], &BTreeMap::new());
        set.scopes.iter().filter(covers).map(|scope| scope.wallet).collect::<BTreeSet<_>>()
    };
    assert_eq!(covering(leaf).await, BTreeSet::from([wide, narrow]));
    assert_eq!(covering(beside).await, BTreeSet::from([wide]));
    let other = WalletChange { models: Some(vec!["claude*".into()]), ..WalletChange::default() };
    change(&world, wide, other).await.unwrap();
    assert_eq!(covering(leaf).await, BTreeSet::from([narrow]));
    let close = WalletChange { status: Some(WalletStatus::Closed), ..WalletChange::default() };
    change(&world, narrow, close).await.unwrap();
    assert_eq!(covering(leaf).await, BTreeSet::new(), "closed, it is over");
}

async fn a_wallet_closes_when_nothing_is_in_flight_and_for_good(world: World) {
    let org = world.org().await;
    let root = world.wallet(org, Terms::default()).await;
    let wallet = world.wallet(org, Terms { parent: Some(root), ..limit("5") }).await;
    let who = Spender { org, wallet, key: world.key(wallet).await };
    let close = || WalletChange { status: Some(WalletStatus::Closed), ..WalletChange::default() };
    for amount in ["1", "0"] {
        let held = world.reserve(&who, amount).await.unwrap();
        for wallet in [who.wallet, root] {
            match change(&world, wallet, close()).await {
                Err(TenantError::InUse { wallet: named, calls }) => assert_eq!((named, calls), (wallet.to_string(), 1)),
                other => panic!("a call of {amount} is in flight, but: {other:?}"),
            }
            assert_eq!(world.ledger.tenants().wallet(wallet).await.unwrap().status, WalletStatus::Active);
        }
        world.settle(held, amount).await;
    }
    let closed = change(&world, who.wallet, close()).await.unwrap();
    assert_eq!((closed.status, closed.closed_at), (WalletStatus::Closed, Some(world.clock.now())));
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(change(&world, who.wallet, close()).await.unwrap(), closed, "closed it is");
    for to in [
        WalletChange { status: Some(WalletStatus::Active), ..WalletChange::default() },
        WalletChange { name: Some("other".into()), ..WalletChange::default() },
        WalletChange { hard_limit: Some(None), ..WalletChange::default() },
    ] {
        assert!(matches!(change(&world, who.wallet, to).await, Err(TenantError::Closed(_))));
    }
    let order = world.order(&who, "0");
    for _ in 0..2 {
        let refused = world.ledger.reserve(order.clone()).await;
        assert!(matches!(refused, Err(ReserveError::Closed { wallet }) if wallet == who.wallet), "{refused:?}");
    }
    assert!(matches!(world.fund(who.wallet, "1", "late").await, Err(FundError::Closed(_))));
    let tenants = world.ledger.tenants();
    let below = NewWallet::new(world.ledger.new_id(), org, "below", WalletKind::Project);
    names(tenants.create_wallet(NewWallet { parent: Some(who.wallet), ..below }, BY).await, "parent");
    names(tenants.create_key(NewKey::new(world.ledger.new_id(), "app", who.wallet), BY).await, "wallet");
    let other = world.wallet(org, Terms { parent: Some(root), ..Terms::default() }).await;
    let other = Spender { org, wallet: other, key: world.key(other).await };
    let held = world.reserve(&other, "1").await.expect("the one above is open");
    world.settle(held, "1").await;
}

async fn what_a_wallet_cannot_be_is_named(world: World) {
    let org = world.org().await;
    let scope = scope(&world, org, Coverage { models: vec!["*".into()], tags: Tags::new() }, "1").await;
    let mut parent = world.wallet(org, Terms::default()).await;
    for _ in 1..16 {
        parent = world.wallet(org, Terms { parent: Some(parent), ..Terms::default() }).await;
    }
    let id = world.ledger.new_id();
    let new = || NewWallet::new(id, org, "wallet", WalletKind::Project);
    let hard = Some(usd("1"));
    let covers = |models: &[&str], with: Tags| {
        Some(Coverage { models: models.iter().map(|it| (*it).to_owned()).collect(), tags: with })
    };
    let many: Vec<String> = (1..=9).map(|n| format!("{n}%")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let rows: Vec<(NewWallet, &str, &str)> = vec![
        (NewWallet { parent: Some(id), ..new() }, "parent", "a circle"),
        (NewWallet { parent: Some(parent), ..new() }, "parent", "the seventeenth"),
        (NewWallet { parent: Some(scope), ..new() }, "parent", "a scope has nothing below it"),
        (NewWallet { thresholds: thresholds(&["50%"]), ..new() }, "thresholds", "of no hard limit"),
        (NewWallet { thresholds: thresholds(&["2"]), hard_limit: hard, ..new() }, "thresholds", "above the hard limit"),
        (NewWallet { thresholds: thresholds(&["50%", "50.0%"]), hard_limit: hard, ..new() }, "thresholds", "twice"),
        (NewWallet { thresholds: thresholds(&many), hard_limit: hard, ..new() }, "thresholds", "nine"),
        (NewWallet { anchor: Some(Anchor::Day(1)), window: Window::Week, ..new() }, "anchor_day", "of a week"),
        (
            NewWallet { anchor: Some(Anchor::Weekday(1)), window: Window::Month, ..new() },
            "anchor_weekday",
            "of a month",
        ),
        (NewWallet { anchor: Some(Anchor::Day(32)), window: Window::Month, ..new() }, "anchor_day", "no such day"),
        (
            NewWallet { anchor: Some(Anchor::Weekday(8)), window: Window::Week, ..new() },
            "anchor_weekday",
            "no such day",
        ),
        (NewWallet { kind: WalletKind::Scope, ..new() }, "models", "a scope of nothing"),
        (
            NewWallet { kind: WalletKind::Scope, coverage: covers(&[], Tags::new()), ..new() },
            "models",
            "a scope of nothing",
        ),
        (NewWallet { kind: WalletKind::Scope, coverage: covers(&["a b"], Tags::new()), ..new() }, "models", "no name"),
        (NewWallet { kind: WalletKind::Scope, coverage: covers(&[], tags(&[("", "x")])), ..new() }, "tags", "no name"),
        (
            NewWallet { kind: WalletKind::Scope, coverage: covers(&["*"], Tags::new()), parent: Some(parent), ..new() },
            "parent",
            "a scope",
        ),
        (
            NewWallet { kind: WalletKind::Scope, coverage: covers(&["*"], Tags::new()), under: Some(scope), ..new() },
            "under",
            "a scope",
        ),
        (NewWallet { coverage: covers(&["*"], Tags::new()), ..new() }, "models", "no scope"),
        (NewWallet { under: Some(parent), ..new() }, "under", "no scope"),
    ];
    let wallets = world.count("SELECT COUNT(*) FROM wallets").await;
    for (new, field, why) in rows {
        println!("{why}");
        names(world.ledger.tenants().create_wallet(new, BY).await, field);
    }
    names(world.ledger.tenants().create_key(NewKey::new(world.ledger.new_id(), "app", scope), BY).await, "wallet");
    for (to, field) in [
        (WalletChange { models: Some(vec!["*".into()]), ..WalletChange::default() }, "models"),
        (WalletChange { tags: Some(Tags::new()), ..WalletChange::default() }, "tags"),
        (WalletChange { anchor: Some(Some(Anchor::Day(2))), ..WalletChange::default() }, "anchor_day"),
        (WalletChange { thresholds: Some(thresholds(&["1%"])), ..WalletChange::default() }, "thresholds"),
    ] {
        names(change(&world, parent, to).await, field);
    }
    names(change(&world, scope, WalletChange { models: Some(Vec::new()), ..WalletChange::default() }).await, "models");
    assert_eq!(world.count("SELECT COUNT(*) FROM wallets").await, wallets);
    assert_eq!(world.count("SELECT COUNT(*) FROM audit_log WHERE kind = 'WALLET_CHANGED'").await, 0);
}

async fn tags_of_a_key_are_its_admins(world: World) {
    let who = world.spender(Terms::default()).await;
    let id = world.ledger.new_id();
    let tenants = world.ledger.tenants();
    let new = NewKey { tags: tags(&[("team", "ads")]), ..NewKey::new(id, "app", who.wallet) };
    let (row, _) = tenants.create_key(new.clone(), BY).await.unwrap();
    assert_eq!(row.tags, new.tags);
    let other = NewKey { tags: Tags::new(), ..new };
    assert!(matches!(tenants.create_key(other, BY).await, Err(TenantError::Conflict(_))), "tags are content");
    let of = async |id| {
        let set = world.ledger.tenants().credentials().await.unwrap();
        set.keys.into_iter().find(|it| it.key == id).expect("living").tags
    };
    assert_eq!((of(id).await, of(who.key).await), (tags(&[("team", "ads")]), Tags::new()));
    let retagged = tenants.tag_key(id, tags(&[("team", "search"), ("env", "prod")]), BY).await.unwrap();
    assert_eq!(retagged, tenants.key(id).await.unwrap());
    assert_eq!(of(id).await, retagged.tags);
    tenants.tag_key(id, retagged.tags.clone(), BY).await.expect("the same again");
    assert_eq!(world.count("SELECT COUNT(*) FROM audit_log WHERE kind = 'KEY_CHANGED'").await, 1);
    names(tenants.tag_key(id, tags(&[("a\nb", "x")]), BY).await, "tags");
    assert!(!world.export(Some(who.org)).await.contains("search"), "an admin's words stay out of the audit log");
}
