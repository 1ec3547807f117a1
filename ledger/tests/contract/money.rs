//! Holding, charging and giving back.

use std::time::Duration;

use ledger::{
    Actor, Money, Refund, RefundError, Release, ReserveError, StoreError, WalletChange, WalletStatus, Window,
};

use crate::world::{Terms, World, charge, limit, on_both_databases, release, status, usd};

on_both_databases!(
    a_call_holds_in_every_wallet_of_its_chain_or_in_none,
    a_settlement_books_one_price_in_every_wallet,
    what_does_not_fit_is_the_platforms_overrun,
    a_release_frees_all_and_tells_what_it_cost,
    a_hold_grows_within_the_limit,
    a_growth_whose_answer_was_lost_is_no_conflict,
    absurd_prices_never_stop_the_books,
    nothing_free_admits_no_call_not_even_a_free_one,
    a_suspended_wallet_admits_nothing_and_breaks_nothing,
    prepaid_money_is_spent_once_whatever_the_window,
    a_window_begins_anew_and_a_hold_stays_in_its_own,
    a_refund_goes_back_to_the_window_of_its_call,
    each_kind_of_window_counts_apart,
    the_same_operation_twice_is_one,
    other_content_under_the_same_id_is_a_conflict,
    a_soft_limit_warns_on_every_call_and_is_audited_once,
    funds_arrive_once_per_reference,
    an_order_that_nobody_waits_for_is_taken_back,
);

async fn a_call_holds_in_every_wallet_of_its_chain_or_in_none(world: World) {
    let org = world.org().await;
    let chain = world.chain(org, [limit("1"), limit("10"), limit("10"), Terms::default()]).await;
    let who = crate::world::Spender { org, wallet: chain[3], key: world.key(chain[3]).await };
    let hold = world.reserve(&who, "0.6").await.expect("fits");
    for wallet in chain {
        assert_eq!(world.used(wallet).await, ("0".into(), "0.6".into()));
    }
    match world.reserve(&who, "0.5").await {
        Err(ReserveError::OverLimit(over)) => {
            assert_eq!((over.wallet, over.limit, over.held, over.asked), (chain[0], usd("1"), usd("0.6"), usd("0.5")));
        }
        other => panic!("{other:?}"),
    }
    for wallet in chain {
        assert_eq!(world.used(wallet).await, ("0".into(), "0.6".into()), "a refusal moves nothing");
    }
    assert_eq!(world.available(chain[0]).await.as_deref(), Some("0.4"));
    assert_eq!(world.available(chain[3]).await, None);
    world.settle(hold, "0.6").await;
}

async fn a_settlement_books_one_price_in_every_wallet(world: World) {
    let org = world.org().await;
    let chain = world.chain(org, [limit("10"), limit("10"), limit("10"), limit("10")]).await;
    let who = crate::world::Spender { org, wallet: chain[3], key: world.key(chain[3]).await };
    let hold = world.reserve(&who, "2").await.expect("fits");
    let call = hold.call();
    assert_eq!(status(&world.ledger, call).await, "pending");
    let receipt = world.settle(hold, "0.123456789").await;
    assert_eq!((receipt.price, receipt.overrun), (usd("0.123456789"), Money::ZERO));
    assert_eq!(receipt.record.target.as_deref(), Some("openai/gpt-4o"));
    for wallet in chain {
        assert_eq!(world.used(wallet).await, ("0.123456789".into(), "0".into()));
    }
    assert_eq!(world.ledger.receipts().get(call).await.unwrap(), Some(receipt));
}

async fn what_does_not_fit_is_the_platforms_overrun(world: World) {
    let who = world.spender(limit("1")).await;
    let (one, two) = (world.reserve(&who, "0.5").await.unwrap(), world.reserve(&who, "0.3").await.unwrap());
    let receipt = world.settle(one, "0.9").await; // 0.5 held, 0.2 free beside it
    assert_eq!((receipt.price, receipt.overrun, receipt.cost), (usd("0.7"), usd("0.2"), usd("0.9")));
    assert_eq!(world.used(who.wallet).await, ("0.7".into(), "0.3".into()));
    // A limit lowered below what is used breaks nothing: what is held can still be charged, and no more.
    let lower = WalletChange { hard_limit: Some(Some(usd("0.1"))), ..WalletChange::default() };
    world.ledger.tenants().change_wallet(who.wallet, lower, &Actor::System).await.unwrap();
    let receipt = world.settle(two, "0.4").await;
    assert_eq!((receipt.price, receipt.overrun), (usd("0.3"), usd("0.1")));
    assert_eq!(world.ledger.overrun().await.unwrap(), usd("0.3"));
    assert_eq!(world.ledger.gauges().overrun, usd("0.3"));
}

async fn a_release_frees_all_and_tells_what_it_cost(world: World) {
    let who = world.spender(limit("1")).await;
    let hold = world.reserve(&who, "1").await.unwrap();
    let call = hold.call();
    let why = Release { cost: usd("0.01"), ..release("provider_error") };
    let receipt = world.ledger.release(hold, why).await.unwrap();
    assert_eq!((receipt.status.as_str(), receipt.cost, receipt.price), ("released", usd("0.01"), Money::ZERO));
    assert_eq!(world.used(who.wallet).await, ("0".into(), "0".into()));
    assert_eq!(status(&world.ledger, call).await, "released");
}

async fn a_growth_whose_answer_was_lost_is_no_conflict(world: World) {
    for (lost, asked, held) in [("0.2", "0.2", "0.3"), ("0.2", "0.1", "0.3"), ("0.2", "0.5", "0.6")] {
        let who = world.spender(limit("1")).await;
        let mut hold = world.reserve(&who, "0.1").await.unwrap();
        // It is on its way when it is dropped.
        let begun = Box::pin(world.ledger.grow(&mut hold, usd(lost)))
            .as_mut()
            .poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
        assert!(begun.is_pending() && hold.amount() == usd("0.1"), "the answer was there at once");
        world.ledger.grow(&mut hold, usd(asked)).await.unwrap_or_else(|error| panic!("{lost} {asked}: {error}"));
        assert_eq!(hold.amount(), usd(held), "{lost} {asked}");
        assert_eq!(world.used(who.wallet).await, ("0".into(), held.into()), "{lost} {asked}");
        world.settle(hold, "0.1").await;
    }
}

async fn a_hold_grows_within_the_limit(world: World) {
    let who = world.spender(limit("1")).await;
    let mut hold = world.reserve(&who, "0.4").await.unwrap();
    world.ledger.grow(&mut hold, usd("0.5")).await.unwrap();
    assert_eq!(hold.amount(), usd("0.9"));
    assert!(matches!(world.ledger.grow(&mut hold, usd("0.2")).await, Err(ReserveError::OverLimit(_))));
    assert_eq!(hold.amount(), usd("0.9"), "refused, it stays as it was");
    assert_eq!(world.used(who.wallet).await, ("0".into(), "0.9".into()));
    let receipt = world.settle(hold, "0.8").await;
    assert_eq!(receipt.overrun, Money::ZERO);
    assert_eq!(world.used(who.wallet).await, ("0.8".into(), "0".into()));
}

async fn nothing_free_admits_no_call_not_even_a_free_one(world: World) {
    let who = world.spender(limit("0.5")).await;
    let free = world.reserve(&who, "0").await.expect("something is free");
    let hold = world.reserve(&who, "0.5").await.expect("all of it");
    assert!(matches!(world.reserve(&who, "0").await, Err(ReserveError::OverLimit(_))));
    world.settle(free, "0").await;
    world.settle(hold, "0.499999999").await;
    let last = world.reserve(&who, "0").await.expect("a nano-dollar is free again");
    world.settle(last, "0").await;
    let none = world.spender(limit("0")).await;
    assert!(matches!(world.reserve(&none, "0").await, Err(ReserveError::OverLimit(_))));
}

async fn a_suspended_wallet_admits_nothing_and_breaks_nothing(world: World) {
    let who = world.spender(Terms::default()).await;
    let mut hold = world.reserve(&who, "1").await.unwrap();
    let stop = WalletChange { status: Some(WalletStatus::Suspended), ..WalletChange::default() };
    world.ledger.tenants().change_wallet(who.wallet, stop, &Actor::System).await.unwrap();
    let order = world.order(&who, "0");
    let call = order.call;
    assert!(
        matches!(world.ledger.reserve(order).await, Err(ReserveError::Suspended { wallet }) if wallet == who.wallet)
    );
    assert_eq!(status(&world.ledger, call).await, "refused", "the refusal is durable");
    assert!(matches!(world.ledger.grow(&mut hold, usd("1")).await, Err(ReserveError::Suspended { .. })));
    assert_eq!(world.settle(hold, "1").await.price, usd("1"));
}

async fn prepaid_money_is_spent_once_whatever_the_window(world: World) {
    let who = world.spender(Terms { prepaid: true, hard: Some("3"), ..Terms::default() }).await;
    world.meddle("UPDATE wallets SET window_kind = 'day'").await.unwrap();
    assert!(matches!(world.reserve(&who, "0").await, Err(ReserveError::OverLimit(over)) if over.limit == Money::ZERO));
    world.fund(who.wallet, "4", "tr_1").await.unwrap();
    assert_eq!(world.available(who.wallet).await.as_deref(), Some("3"), "no more than the day's limit");
    let hold = world.reserve(&who, "3").await.unwrap();
    world.settle(hold, "3").await;
    world.clock.advance(Duration::from_secs(86_400));
    assert_eq!(world.available(who.wallet).await.as_deref(), Some("1"), "no more than what was funded");
    match world.reserve(&who, "1.5").await {
        Err(ReserveError::OverLimit(over)) => {
            assert_eq!((over.limit, over.spent, over.resets_at), (usd("4"), usd("3"), None))
        }
        other => panic!("{other:?}"),
    }
    let hold = world.reserve(&who, "1").await.unwrap();
    let receipt = world.settle(hold, "2").await;
    assert_eq!((receipt.price, receipt.overrun), (usd("1"), usd("1")));
}

async fn a_window_begins_anew_and_a_hold_stays_in_its_own(world: World) {
    let who = world.spender(Terms { window: Window::Day, ..limit("1") }).await;
    let yesterday = world.reserve(&who, "0.9").await.unwrap();
    match world.reserve(&who, "0.2").await {
        Err(ReserveError::OverLimit(over)) => {
            assert_eq!(over.resets_at, Some("2026-03-12T00:00:00Z".parse().unwrap()));
            assert_eq!(over.window, Window::Day);
        }
        other => panic!("{other:?}"),
    }
    world.clock.advance(Duration::from_secs(86_400));
    assert_eq!(world.used(who.wallet).await, ("0".into(), "0".into()));
    let today = world.reserve(&who, "1").await.expect("a new day");
    // Its own window has room for 0.1 more, however full today's is.
    let receipt = world.settle(yesterday, "1.2").await;
    assert_eq!((receipt.price, receipt.overrun), (usd("1"), usd("0.2")));
    world.settle(today, "0.25").await;
    assert_eq!(world.used(who.wallet).await, ("0.25".into(), "0".into()));
}

async fn a_refund_goes_back_to_the_window_of_its_call(world: World) {
    let who = world.spender(Terms { window: Window::Month, ..limit("1") }).await;
    let hold = world.reserve(&who, "1").await.unwrap();
    let call = hold.call();
    let refund = |amount: Option<&str>| Refund {
        id: world.ledger.new_id(),
        call,
        amount: amount.map(usd),
        reason: "wrong answer".into(),
        actor: Actor::System,
    };
    assert!(matches!(world.ledger.refund(refund(None)).await, Err(RefundError::Running(_))));
    world.settle(hold, "0.8").await;
    world.clock.advance(Duration::from_secs(30 * 86_400));
    let first = refund(Some("0.3"));
    assert_eq!(world.ledger.refund(first.clone()).await.unwrap().refunded, usd("0.3"));
    assert_eq!(world.ledger.refund(first.clone()).await.unwrap().refunded, usd("0.3"), "the same refund is one");
    let other = Refund { amount: Some(usd("0.4")), ..first };
    assert!(matches!(world.ledger.refund(other).await, Err(RefundError::Conflict(_))));
    match world.ledger.refund(refund(Some("0.6"))).await {
        Err(RefundError::TooMuch { refundable, .. }) => assert_eq!(refundable, usd("0.5")),
        other => panic!("{other:?}"),
    }
    assert_eq!(world.ledger.refund(refund(None)).await.unwrap().refunded, usd("0.8"));
    assert!(matches!(world.ledger.refund(refund(None)).await, Err(RefundError::TooMuch { .. })));
    assert!(matches!(world.ledger.refund(refund(Some("0"))).await, Err(RefundError::Amount(_))));
    assert_eq!(world.used(who.wallet).await, ("0".into(), "0".into()), "April knows nothing of it");
    let rows = world.ledger.entries(who.wallet, None, 100).await.unwrap();
    let march = "2026-03-01T00:00:00Z".parse().unwrap();
    assert!(rows.iter().all(|row| row.window_start == march && row.call == Some(call)));
    let kinds: Vec<_> = rows.iter().map(|row| (row.kind.as_str(), row.spent_delta.to_string())).collect();
    let told = [("reserve", "0"), ("settle", "0.8"), ("refund", "-0.3"), ("refund", "-0.5")];
    assert_eq!(kinds, told.map(|(kind, delta)| (kind, delta.to_owned())));
    let unknown = Refund { call: world.ledger.new_id(), ..refund(None) };
    assert!(matches!(world.ledger.refund(unknown).await, Err(RefundError::UnknownCall(_))));
}

async fn the_same_operation_twice_is_one(world: World) {
    let who = world.spender(limit("1")).await;
    let order = world.order(&who, "0.4");
    let one = crate::world::hold(world.ledger.reserve(order.clone()).await).unwrap();
    let two = crate::world::hold(world.ledger.reserve(order.clone()).await).unwrap();
    assert_eq!(world.used(who.wallet).await, ("0".into(), "0.4".into()));
    let first = world.settle(one, "0.3").await;
    assert_eq!(world.settle(two, "0.3").await, first);
    assert_eq!(world.used(who.wallet).await, ("0.3".into(), "0".into()));
    let over = world.order(&who, "5");
    let refused = world.ledger.reserve(over.clone()).await.expect_err("too much").to_string();
    let entries = world.ledger.trail().head(Some(who.org)).await.unwrap().unwrap().seq;
    assert_eq!(world.ledger.reserve(over).await.expect_err("still").to_string(), refused);
    assert_eq!(world.ledger.trail().head(Some(who.org)).await.unwrap().unwrap().seq, entries, "and not told twice");
    assert_eq!(world.count("SELECT COUNT(*) FROM journal WHERE kind = 'settle'").await, 1);
}

async fn other_content_under_the_same_id_is_a_conflict(world: World) {
    let who = world.spender(limit("1")).await;
    let order = world.order(&who, "0.4");
    let more = ledger::Order { amount: usd("0.5"), ..order.clone() };
    let hold = crate::world::hold(world.ledger.reserve(order.clone()).await).unwrap();
    assert!(
        matches!(world.ledger.reserve(more.clone()).await, Err(ReserveError::Conflict(call)) if call == order.call)
    );
    let again = crate::world::hold(world.ledger.reserve(order.clone()).await).unwrap();
    let third = crate::world::hold(world.ledger.reserve(order.clone()).await).unwrap();
    world.settle(hold, "0.3").await;
    assert!(matches!(world.ledger.settle(again, charge("0.2")).await, Err(StoreError::Conflict(_))));
    assert!(matches!(world.ledger.release(third, release("late")).await, Err(StoreError::Conflict(_))));
    assert!(
        matches!(world.ledger.reserve(order).await, Err(ReserveError::Conflict(_))),
        "a resolved call is no new one"
    );
    assert_eq!(world.used(who.wallet).await, ("0.3".into(), "0".into()));
}

async fn a_soft_limit_warns_on_every_call_and_is_audited_once(world: World) {
    let who = world.spender(Terms { soft: Some("0.5"), window: Window::Day, ..limit("2") }).await;
    let mut hold = world.reserve(&who, "0.5").await.unwrap();
    assert!(hold.warnings().is_empty(), "at the limit is not past it");
    world.ledger.grow(&mut hold, usd("0.1")).await.unwrap();
    assert_eq!(hold.warnings()[0].used, usd("0.6"));
    let second = world.reserve(&who, "0.1").await.unwrap();
    assert_eq!((second.warnings()[0].wallet, second.warnings()[0].soft_limit), (who.wallet, usd("0.5")));
    let warns = "SELECT COUNT(*) FROM audit_log WHERE kind = 'WARN'";
    assert_eq!(world.count(warns).await, 1);
    let raise = WalletChange { soft_limit: Some(Some(usd("0.6"))), ..WalletChange::default() };
    world.ledger.tenants().change_wallet(who.wallet, raise, &Actor::System).await.unwrap();
    let third = world.reserve(&who, "0").await.unwrap();
    assert_eq!(world.count(warns).await, 2, "another threshold");
    world.clock.advance(Duration::from_secs(86_400));
    let fourth = world.reserve(&who, "0.7").await.unwrap();
    assert_eq!(world.count(warns).await, 3, "another window");
    for hold in [hold, second, third, fourth] {
        world.settle(hold, "0").await;
    }
}

async fn funds_arrive_once_per_reference(world: World) {
    let who = world.spender(Terms { prepaid: true, ..Terms::default() }).await;
    world.fund(who.wallet, "5", "tr_1").await.unwrap();
    world.fund(who.wallet, "5", "tr_1").await.expect("the same again");
    assert!(matches!(world.fund(who.wallet, "6", "tr_1").await, Err(ledger::FundError::Conflict)));
    world.fund(who.wallet, "1", "tr_2").await.unwrap();
    assert!(matches!(world.fund(who.wallet, "0", "tr_3").await, Err(ledger::FundError::Amount(_))));
    assert!(matches!(world.fund(who.wallet, "9000000000", "tr_4").await, Ok(())));
    assert!(matches!(world.fund(who.wallet, "9000000000", "tr_5").await, Err(ledger::FundError::Amount(_))), "64 bits");
    let nobody = world.ledger.new_id();
    assert!(matches!(world.fund(nobody, "1", "tr_6").await, Err(ledger::FundError::UnknownWallet(_))));
    assert_eq!(world.ledger.tenants().wallet(who.wallet).await.unwrap().funded, usd("9000000006"));
    let rows = world.ledger.entries(who.wallet, None, 100).await.unwrap();
    let funded: Vec<_> = rows.iter().map(|row| (row.kind.as_str(), row.funded_delta.to_string())).collect();
    assert_eq!(
        funded,
        [("fund", "5"), ("fund", "1"), ("fund", "9000000000")].map(|(kind, delta)| (kind, delta.to_owned()))
    );
}

async fn an_order_that_nobody_waits_for_is_taken_back(world: World) {
    let who = world.spender(limit("1")).await;
    let ledger = world.ledger.clone();
    for _ in 0..20 {
        let mut order = std::pin::pin!(ledger.reserve(world.order(&who, "0.04")));
        // Asked, and gone before the answer.
        let asked = std::future::poll_fn(|context| std::task::Poll::Ready(order.as_mut().poll(context))).await;
        assert!(asked.is_pending());
    }
    // Every order came before this one, and every release before those that follow.
    for _ in 0..3 {
        let hold = world.reserve(&who, "0.01").await.unwrap();
        world.settle(hold, "0").await;
    }
    assert_eq!(world.used(who.wallet).await, ("0".into(), "0".into()));
    assert_eq!(world.ledger.gauges().holds_in_flight, 0);
}

async fn each_kind_of_window_counts_apart(world: World) {
    // The first of a month: its day and its month begin together.
    let first: ledger::Timestamp = "2026-04-01T12:00:00Z".parse().unwrap();
    world.clock.advance(Duration::from_micros((first.micros() - world.clock.now().micros()).unsigned_abs()));
    let who = world.spender(Terms { window: Window::Day, ..limit("1") }).await;
    let (spent, open) = (world.reserve(&who, "0.6").await.unwrap(), world.reserve(&who, "0.4").await.unwrap());
    world.settle(spent, "0.6").await;
    let change = async |window| {
        let to = ledger::WalletChange { window: Some(window), ..ledger::WalletChange::default() };
        world.ledger.tenants().change_wallet(who.wallet, to, &ledger::Actor::System).await.unwrap();
    };
    change(Window::Month).await;
    assert_eq!(world.used(who.wallet).await, ("0".into(), "0".into()), "a new kind counts from nothing");
    let new = world.reserve(&who, "0.9").await.unwrap();
    world.settle(open, "0.3").await;
    assert_eq!(world.used(who.wallet).await, ("0".into(), "0.9".into()), "what was held settles where it was held");
    world.settle(new, "0.8").await;
    change(Window::Day).await;
    assert_eq!(world.used(who.wallet).await, ("0.9".into(), "0".into()), "the day goes on where it was");
    let mut sums = std::collections::BTreeMap::new();
    for row in world.ledger.entries(who.wallet, None, 100).await.unwrap() {
        assert_eq!(row.window_start, "2026-04-01T00:00:00Z".parse().unwrap());
        *sums.entry(row.window).or_insert(0) += row.spent_delta.nanos();
    }
    assert_eq!(sums.into_iter().collect::<Vec<_>>(), [(Window::Day, 900_000_000), (Window::Month, 800_000_000)]);
}

async fn absurd_prices_never_stop_the_books(world: World) {
    let who = world.spender(limit("1")).await;
    let most = Money::MAX.to_string();
    let mut holds = Vec::new();
    for _ in 0..3 {
        holds.push(world.reserve(&who, "0.1").await.unwrap());
    }
    let mut overrun = Money::ZERO;
    for hold in holds {
        let receipt = world.settle(hold, &most).await;
        assert!(receipt.overrun > usd("1000000"), "{receipt:?}");
        overrun = overrun.plus(receipt.overrun).expect("what was booked can be told");
    }
    assert_eq!(world.ledger.overrun().await.unwrap(), overrun);
    assert_eq!(world.used(who.wallet).await, ("1".into(), "0".into()), "the limit holds");
}
