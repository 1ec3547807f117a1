//! Charges booked by API, corrections, and expired holds that somebody looked at.

use std::time::Duration;

use ledger::{
    Actor, Amended, AttemptRecord, Call, CallRecord, Charge, ChargeError, ConfirmError, CorrectError, Correction, Id,
    Money, NewCharge, Receipt, ReceiptFilter, Refund, RefundError, TrailFilter, Usage, WalletChange, WalletStatus,
    Window,
};

use sha2::{Digest, Sha256};

use crate::world::{Spender, Terms, World, charge, limit, on_both_databases, release, usd};

on_both_databases!(
    a_charge_is_booked_in_every_wallet_of_its_chain,
    a_charge_happens_once_whoever_repeats_it,
    a_charge_that_does_not_fit_changes_nothing_and_is_blocked_durably,
    bad_charges_are_refused_and_change_nothing,
    many_charges_at_once_stop_at_the_limit,
    a_correction_moves_the_price_within_the_room_and_keeps_what_was,
    a_correction_happens_once_whoever_repeats_it,
    a_correction_counts_in_the_window_of_the_call,
    a_corrected_overrun_goes_back_to_the_platforms_account,
    what_was_never_charged_is_not_corrected,
    a_charge_is_refunded_and_corrected_like_a_call,
    an_expired_hold_is_confirmed_refunded_or_corrected_and_leaves_the_queue,
    a_late_settlement_outranks_a_confirmation_but_not_a_correction,
    a_refund_that_fails_is_loud,
    the_books_of_charges_and_corrections_stay,
    what_was_used_of_a_provider_is_summed_by_day_key_and_model,
    a_price_beyond_any_request_is_a_typing_error_and_the_platforms_account_cannot_overflow,
);

fn to_charge(world: &World, who: &Spender, price: &str, reference: &str) -> NewCharge {
    NewCharge {
        id: world.ledger.new_id(),
        wallet: who.wallet,
        key: None,
        cost: usd("0.01"),
        price: usd(price),
        reason: "monthly report".into(),
        source: "reports".into(),
        reference: reference.into(),
        actor: Actor::System,
    }
}

fn to_correct(world: &World, call: Id<Call>, price: &str) -> Correction {
    Correction {
        id: world.ledger.new_id(),
        call,
        cost: usd("0.02"),
        price: usd(price),
        reason: "price list was wrong".into(),
        price_version: None,
        usage: None,
        actor: Actor::System,
    }
}

async fn paid(world: &World, who: &Spender, held: &str, price: &str) -> Receipt {
    let hold = world.reserve(who, held).await.unwrap();
    world.settle(hold, price).await
}

/// Status, price, overrun and refunded amount of a receipt.
fn sides(receipt: &Receipt) -> (&str, String, String, String) {
    let text = |money: Money| money.to_string();
    (&receipt.status, text(receipt.price), text(receipt.overrun), text(receipt.refunded))
}

async fn kinds(world: &World, who: &Spender) -> Vec<String> {
    world.ledger.entries(who.wallet, None, 100).await.unwrap().into_iter().map(|row| row.kind).collect()
}

/// The entries of a kind, as JSON.
async fn told(world: &World, who: &Spender, kind: &str) -> Vec<serde_json::Value> {
    let filter = TrailFilter { kind: Some(kind.into()), ..TrailFilter::default() };
    let lines = world.ledger.trail().list(Some(who.org), &filter, None, 100).await.unwrap();
    lines.iter().map(|line| serde_json::from_str(&line.json).unwrap()).collect()
}

async fn a_charge_is_booked_in_every_wallet_of_its_chain(world: World) {
    let org = world.org().await;
    let day = Terms { window: Window::Day, ..limit("10") };
    let chain = world.chain(org, [limit("20"), Terms::default(), day, Terms::default()]).await;
    let who = Spender { org, wallet: chain[3], key: world.key(chain[3]).await };
    let asked = NewCharge { key: Some(who.key), ..to_charge(&world, &who, "2.5", "r1") };
    let receipt = world.ledger.charge(asked.clone()).await.unwrap();
    assert_eq!(sides(&receipt), ("settled", "2.5".into(), "0".into(), "0".into()));
    assert_eq!((receipt.call, receipt.key, receipt.cost), (asked.id, Some(who.key), usd("0.01")));
    assert_eq!((receipt.record.kind.as_str(), receipt.held, receipt.review), ("charge", Money::ZERO, false));
    let what = receipt.record.charge.as_ref().expect("what for");
    assert_eq!((&*what.reason, &*what.source, &*what.reference), ("monthly report", "reports", "r1"));
    for wallet in chain {
        assert_eq!(world.used(wallet).await, ("2.5".into(), "0".into()));
        let rows = world.ledger.entries(wallet, None, 9).await.unwrap();
        let row = (&*rows[0].kind, rows[0].spent_delta, rows[0].held_delta, rows[0].call);
        assert_eq!(row, ("settle", usd("2.5"), Money::ZERO, Some(asked.id)));
        assert_eq!(rows.len(), 1);
    }
    let entry = told(&world, &who, "CHARGE").await.remove(0);
    for (name, value) in [
        ("request_id", asked.id.to_string()),
        ("wallet_id", who.wallet.to_string()),
        ("key_id", who.key.to_string()),
        ("price_usd", "2.5".into()),
        ("cost_usd", "0.01".into()),
        ("source_sha256", hex::encode(Sha256::digest("reports"))),
        ("reference_sha256", hex::encode(Sha256::digest("r1"))),
        ("actor", "system".into()),
    ] {
        assert_eq!(entry[name].as_str(), Some(&*value), "{name}");
    }
    world.clock.advance(Duration::from_millis(1));
    let nobodys = world.ledger.charge(to_charge(&world, &who, "0", "r2")).await.unwrap();
    assert_eq!((nobodys.key, nobodys.price), (None, Money::ZERO), "price 0 is a price");
    let listed = ReceiptFilter { wallet: Some(who.wallet), ..ReceiptFilter::default() };
    assert_eq!(world.ledger.receipts().list(&listed, None, 9).await.unwrap(), [nobodys, receipt]);
}

async fn a_charge_happens_once_whoever_repeats_it(world: World) {
    let who = world.spender(limit("10")).await;
    let other = world.wallet(who.org, Terms::default()).await;
    let asked = to_charge(&world, &who, "2", "r1");
    let first = world.ledger.charge(asked.clone()).await.unwrap();
    assert_eq!(world.ledger.charge(asked.clone()).await.unwrap(), first);
    let renamed = NewCharge { id: world.ledger.new_id(), ..asked.clone() };
    assert_eq!(world.ledger.charge(renamed).await.unwrap(), first, "the same reference is the same charge");
    for (what, changed) in [
        ("price", NewCharge { price: usd("3"), ..asked.clone() }),
        ("cost", NewCharge { cost: usd("3"), ..asked.clone() }),
        ("wallet", NewCharge { wallet: other, ..asked.clone() }),
        ("key", NewCharge { key: Some(who.key), ..asked.clone() }),
        ("reason", NewCharge { reason: "another".into(), ..asked.clone() }),
        ("fresh id", NewCharge { id: world.ledger.new_id(), price: usd("3"), ..asked.clone() }),
    ] {
        let error = world.ledger.charge(changed).await.expect_err(what);
        assert!(matches!(error, ChargeError::Reference(call) if call == first.call), "{what}: {error}");
    }
    let same_id = NewCharge { reference: "r2".into(), ..asked.clone() };
    assert!(matches!(world.ledger.charge(same_id).await, Err(ChargeError::Conflict(_))));
    let running = world.reserve(&who, "1").await.unwrap();
    let same_id = NewCharge { id: running.call(), reference: "r3".into(), ..asked.clone() };
    assert!(matches!(world.ledger.charge(same_id).await, Err(ChargeError::Conflict(_))));
    let elsewhere = NewCharge { id: world.ledger.new_id(), source: "tickets".into(), ..asked.clone() };
    world.ledger.charge(elsewhere).await.expect("another source has its own references");
    let together = to_charge(&world, &who, "0.5", "r4");
    let (one, two) = tokio::join!(world.ledger.charge(together.clone()), world.ledger.charge(together));
    assert_eq!(one.unwrap(), two.unwrap());
    world.ledger.release(running, release("test")).await.unwrap();
    assert_eq!(world.used(who.wallet).await, ("4.5".into(), "0".into()));
    assert_eq!(told(&world, &who, "CHARGE").await.len(), 3);
    let stranger = world.spender(limit("10")).await;
    let theirs = to_charge(&world, &stranger, "2", "r1");
    let charged = world.ledger.charge(theirs.clone()).await.expect("each organisation has its own references");
    assert_eq!((charged.call, charged.org), (theirs.id, stranger.org));
    assert_eq!(world.ledger.charge(asked).await.unwrap(), first);
}

async fn a_charge_that_does_not_fit_changes_nothing_and_is_blocked_durably(world: World) {
    let org = world.org().await;
    let root = world.wallet(org, limit("5")).await;
    let leaf = world.wallet(org, Terms { parent: Some(root), ..Terms::default() }).await;
    let who = Spender { org, wallet: leaf, key: world.key(leaf).await };
    let held = world.reserve(&who, "1").await.unwrap();
    world.ledger.charge(to_charge(&world, &who, "2", "r1")).await.unwrap();
    let asked = to_charge(&world, &who, "2.000000001", "r2");
    for _ in 0..2 {
        match world.ledger.charge(asked.clone()).await {
            Err(ChargeError::OverLimit(over)) => {
                let told = (over.wallet, over.limit, over.spent, over.held, over.asked);
                assert_eq!(told, (root, usd("5"), usd("2"), usd("1"), asked.price));
            }
            other => panic!("{other:?}"),
        }
    }
    let blocks = told(&world, &who, "BLOCK").await;
    assert_eq!(blocks.len(), 2, "each refusal is durable");
    assert_eq!((&blocks[0]["code"], &blocks[0]["limit_usd"]), (&"budget_exceeded".into(), &"5".into()));
    assert_eq!(blocks[0]["blocked_wallet_id"].as_str(), Some(&*root.to_string()));
    assert_eq!(world.ledger.receipts().get(asked.id).await.unwrap(), None);
    assert_eq!(world.used(leaf).await, ("2".into(), "1".into()));
    world.ledger.charge(NewCharge { price: usd("2"), ..asked }).await.expect("the rest fits, under the same names");
    let nothing = world.ledger.charge(to_charge(&world, &who, "0", "r3")).await;
    assert!(matches!(nothing, Err(ChargeError::OverLimit(_))), "nothing is free: {nothing:?}");
    world.ledger.release(held, release("test")).await.unwrap();
    let suspend = WalletChange { status: Some(WalletStatus::Suspended), ..WalletChange::default() };
    world.ledger.tenants().change_wallet(root, suspend, &Actor::System).await.unwrap();
    let suspended = world.ledger.charge(to_charge(&world, &who, "0.1", "r4")).await;
    assert!(matches!(suspended, Err(ChargeError::Suspended { wallet }) if wallet == root), "{suspended:?}");
    assert_eq!(told(&world, &who, "BLOCK").await.len(), 4);
    let alerts = world.count("SELECT COUNT(*) FROM alerts WHERE kind = 'hard_limit'").await;
    assert_eq!(alerts, 2, "the first refusal of a window is told, and the first when nothing is left");
}

async fn bad_charges_are_refused_and_change_nothing(world: World) {
    let (who, other) = (world.spender(Terms::default()).await, world.spender(Terms::default()).await);
    let good = to_charge(&world, &who, "1", "r1");
    let changed = async |charge: NewCharge| world.ledger.charge(charge).await.expect_err("bad").to_string();
    for (bad, expected) in [
        (NewCharge { price: usd("-0.1"), ..good.clone() }, "amount -0.1 cannot be charged".to_owned()),
        (NewCharge { cost: usd("-0.1"), ..good.clone() }, "cost -0.1 cannot be booked".to_owned()),
        (NewCharge { key: Some(other.key), ..good.clone() }, format!("key {} is not one of this wallet", other.key)),
    ] {
        assert_eq!(changed(bad).await, expected);
    }
    let nowhere = NewCharge { wallet: world.ledger.new_id(), ..good.clone() };
    assert!(matches!(world.ledger.charge(nowhere).await, Err(ChargeError::UnknownWallet(_))));
    world.ledger.charge(NewCharge { price: Money::MAX, ..good.clone() }).await.expect("no limit but what can be told");
    let more = to_charge(&world, &who, "0.000000001", "r2");
    assert!(matches!(world.ledger.charge(more).await, Err(ChargeError::OverLimit(over)) if over.limit == Money::MAX));
    assert_eq!(kinds(&world, &who).await, ["settle"]);
    assert!(kinds(&world, &other).await.is_empty());
}

async fn many_charges_at_once_stop_at_the_limit(world: World) {
    let who = world.spender(limit("5")).await;
    let mut asked = tokio::task::JoinSet::new();
    for n in 0..100 {
        let (ledger, charge) = (world.ledger.clone(), to_charge(&world, &who, "0.1", &format!("r{n}")));
        asked.spawn(async move { ledger.charge(charge).await.is_ok() });
    }
    let taken = asked.join_all().await.into_iter().filter(|taken| *taken).count();
    assert_eq!((taken, world.used(who.wallet).await), (50, ("5".into(), "0".into())));
    assert_eq!(told(&world, &who, "BLOCK").await.len(), 50);
}

async fn a_correction_moves_the_price_within_the_room_and_keeps_what_was(world: World) {
    let who = world.spender(limit("1")).await;
    let first = paid(&world, &who, "0.5", "0.4").await;
    paid(&world, &who, "0.3", "0.3").await;
    let usage = Some(Usage { input: 7, output: 9, ..Usage::default() });
    let asked = Correction { price_version: Some("2026-03-12".into()), usage, ..to_correct(&world, first.call, "0.1") };
    let receipt = world.ledger.correct(asked.clone()).await.unwrap();
    assert_eq!(sides(&receipt), ("settled", "0.1".into(), "0".into(), "0".into()));
    assert_eq!((receipt.cost, Some(receipt.record.usage)), (usd("0.02"), usage));
    assert_eq!((&receipt.record.model, &receipt.record.ending), (&first.record.model, &first.record.ending));
    assert_eq!(world.ledger.receipts().get(first.call).await.unwrap(), Some(receipt));
    assert_eq!(world.used(who.wallet).await, ("0.4".into(), "0".into()));
    // Raised beyond the room, the rest is the platform's.
    world.clock.advance(Duration::from_secs(1));
    let receipt = world.ledger.correct(to_correct(&world, first.call, "0.9")).await.unwrap();
    assert_eq!(sides(&receipt), ("settled", "0.7".into(), "0.2".into(), "0".into()));
    assert_eq!(Some(receipt.record.usage), usage, "what is not corrected stays");
    assert_eq!(world.used(who.wallet).await, ("1".into(), "0".into()));
    assert_eq!(world.ledger.overrun().await.unwrap(), usd("0.2"));
    let amended = world.ledger.receipts().amendments(first.call).await.unwrap();
    assert_eq!((amended.len(), amended[0].id, &*amended[0].reason), (2, asked.id, "price list was wrong"));
    let expected = Amended::Correction {
        cost: usd("0.02"),
        price: usd("0.1"),
        overrun: Money::ZERO,
        was_cost: usd("0.4"),
        was_price: usd("0.4"),
        price_version: Some("2026-03-12".into()),
        usage,
    };
    assert_eq!(amended[0].what, expected);
    assert_eq!(kinds(&world, &who).await, ["reserve", "settle", "reserve", "settle", "adjust", "adjust"]);
    let entry = told(&world, &who, "ADJUST").await.remove(0);
    for (name, value) in [
        ("request_id", first.call.to_string()),
        ("correction_id", asked.id.to_string()),
        ("was_usd", "0.4".into()),
        ("price_usd", "0.1".into()),
        ("was_cost_usd", "0.4".into()),
        ("cost_usd", "0.02".into()),
        ("overrun_usd", "0".into()),
        ("price_version", "2026-03-12".into()),
    ] {
        assert_eq!(entry[name].as_str(), Some(&*value), "{name}");
    }
}

async fn a_correction_happens_once_whoever_repeats_it(world: World) {
    let who = world.spender(limit("1")).await;
    let (one, two) = (paid(&world, &who, "0.5", "0.4").await, paid(&world, &who, "0.5", "0.4").await);
    let asked = Correction { price_version: Some("v2".into()), ..to_correct(&world, one.call, "0.1") };
    let first = world.ledger.correct(asked.clone()).await.unwrap();
    assert_eq!(world.ledger.correct(asked.clone()).await.unwrap(), first);
    for (what, changed) in [
        ("call", Correction { call: two.call, ..asked.clone() }),
        ("price", Correction { price: usd("0.2"), ..asked.clone() }),
        ("cost", Correction { cost: usd("0.2"), ..asked.clone() }),
        ("reason", Correction { reason: "another".into(), ..asked.clone() }),
        ("version", Correction { price_version: None, ..asked.clone() }),
        ("usage", Correction { usage: Some(Usage::default()), ..asked.clone() }),
    ] {
        let error = world.ledger.correct(changed).await.expect_err(what);
        assert!(matches!(error, CorrectError::Conflict(id) if id == asked.id), "{what}: {error}");
    }
    let later = world.ledger.correct(to_correct(&world, one.call, "0.3")).await.unwrap();
    assert_eq!(world.ledger.correct(asked).await.unwrap(), later, "a repeat undoes nothing that came after it");
    assert_eq!(world.used(who.wallet).await, ("0.7".into(), "0".into()));
    assert_eq!(told(&world, &who, "ADJUST").await.len(), 2);
}

async fn a_correction_counts_in_the_window_of_the_call(world: World) {
    let who = world.spender(Terms { window: Window::Day, ..limit("1") }).await;
    let yesterday = paid(&world, &who, "0.5", "0.5").await;
    world.clock.advance(Duration::from_secs(24 * 3_600));
    paid(&world, &who, "0.9", "0.9").await;
    let receipt = world.ledger.correct(to_correct(&world, yesterday.call, "0.8")).await.unwrap();
    assert_eq!((receipt.price, receipt.overrun), (usd("0.8"), Money::ZERO), "there was room then");
    assert_eq!(world.used(who.wallet).await, ("0.9".into(), "0".into()));
    let rows = world.ledger.entries(who.wallet, None, 9).await.unwrap();
    let (first, last) = (rows.first().unwrap(), rows.last().unwrap());
    assert_eq!((last.window_start, &*last.kind), (first.window_start, "adjust"));
}

async fn a_corrected_overrun_goes_back_to_the_platforms_account(world: World) {
    let who = world.spender(limit("1")).await;
    let receipt = paid(&world, &who, "1", "1.5").await;
    assert_eq!(sides(&receipt), ("settled", "1".into(), "0.5".into(), "0".into()));
    for (price, booked, overrun) in [("1.2", "1", "0.2"), ("0.8", "0.8", "0"), ("1.1", "1", "0.1"), ("0", "0", "0")] {
        let receipt = world.ledger.correct(to_correct(&world, receipt.call, price)).await.unwrap();
        assert_eq!((receipt.price, receipt.overrun), (usd(booked), usd(overrun)), "to {price}");
        assert_eq!(world.ledger.overrun().await.unwrap(), usd(overrun), "to {price}");
        assert_eq!(world.used(who.wallet).await.0, booked);
    }
    let summed = world.count("SELECT CAST(SUM(overrun) AS BIGINT) FROM journal").await;
    assert_eq!(summed, 0);
}

async fn what_was_never_charged_is_not_corrected(world: World) {
    let who = world.spender(limit("1")).await;
    let (free, open) = (world.reserve(&who, "0.1").await.unwrap(), world.reserve(&who, "0.1").await.unwrap());
    let released = world.ledger.release(free, release("provider_error")).await.unwrap();
    let over = world.order(&who, "5");
    let refused = over.call;
    assert!(world.ledger.reserve(over).await.is_err());
    for (call, expected) in [
        (released.call, "was never charged"),
        (refused, "was never charged"),
        (open.call(), "is still running"),
        (world.ledger.new_id(), "is not known"),
    ] {
        let error = world.ledger.correct(to_correct(&world, call, "0.1")).await.expect_err(expected);
        assert_eq!(error.to_string(), format!("call {call} {expected}"));
    }
    let paid = world.settle(open, "0.1").await;
    for bad in [
        Correction { price: usd("-1"), ..to_correct(&world, paid.call, "0") },
        Correction { cost: usd("-1"), ..to_correct(&world, paid.call, "0") },
    ] {
        assert!(matches!(world.ledger.correct(bad).await, Err(CorrectError::Price(_) | CorrectError::Cost(_))));
    }
    let most = world.ledger.correct(Correction { price: usd("1000000"), ..to_correct(&world, paid.call, "0") }).await;
    assert_eq!(most.unwrap().price, usd("1"), "whatever is asked, the limit holds");
}

async fn a_charge_is_refunded_and_corrected_like_a_call(world: World) {
    let who = world.spender(limit("10")).await;
    let charged = world.ledger.charge(to_charge(&world, &who, "4", "r1")).await.unwrap();
    let refund = |amount: Option<&str>| Refund {
        id: world.ledger.new_id(),
        call: charged.call,
        amount: amount.map(usd),
        reason: "not delivered".into(),
        actor: Actor::System,
    };
    world.ledger.refund(refund(Some("1"))).await.unwrap();
    let receipt = world.ledger.correct(to_correct(&world, charged.call, "0.5")).await.unwrap();
    assert_eq!(sides(&receipt), ("settled", "1".into(), "0".into(), "1".into()), "never below what was given back");
    let receipt = world.ledger.correct(to_correct(&world, charged.call, "3")).await.unwrap();
    assert_eq!(receipt.record.charge, charged.record.charge);
    let receipt_after = world.ledger.refund(refund(None)).await.unwrap();
    assert_eq!((receipt.price, receipt_after.refunded), (usd("3"), usd("3")));
    assert_eq!(world.used(who.wallet).await, ("0".into(), "0".into()));
    assert_eq!(kinds(&world, &who).await, ["settle", "refund", "adjust", "adjust", "refund"]);
}

/// Holds whose time has passed: under review, charged in full.
async fn expired<const N: usize>(world: &World, who: &Spender, amount: &str) -> [ledger::Hold; N] {
    let mut holds = Vec::new();
    for _ in 0..N {
        holds.push(world.reserve(who, amount).await.unwrap());
    }
    world.clock.advance(Duration::from_secs(700));
    world.ledger.expire_orphans().await.unwrap();
    holds.try_into().expect("so many")
}

async fn queue(world: &World) -> usize {
    let filter = ReceiptFilter { review: true, ..ReceiptFilter::default() };
    world.ledger.receipts().list(&filter, None, 100).await.unwrap().len()
}

async fn an_expired_hold_is_confirmed_refunded_or_corrected_and_leaves_the_queue(world: World) {
    let who = world.spender(limit("10")).await;
    let [one, two, three] = expired(&world, &who, "1").await;
    assert_eq!(queue(&world).await, 3);
    for _ in 0..2 {
        let receipt = world.ledger.confirm(one.call(), Actor::System).await.unwrap();
        assert_eq!((sides(&receipt), receipt.review), (("expired", "1".into(), "0".into(), "0".into()), false));
    }
    assert_eq!((queue(&world).await, told(&world, &who, "CONFIRM").await.len()), (2, 1), "said twice, written once");
    let refund = Refund {
        id: world.ledger.new_id(),
        call: two.call(),
        amount: None,
        reason: "nothing arrived".into(),
        actor: Actor::System,
    };
    let receipt = world.ledger.refund(refund).await.unwrap();
    assert_eq!((receipt.refunded, receipt.review, queue(&world).await), (usd("1"), false, 1));
    let receipt = world.ledger.correct(to_correct(&world, three.call(), "0.25")).await.unwrap();
    assert_eq!((sides(&receipt).0, receipt.price, receipt.review), ("settled", usd("0.25"), false));
    assert_eq!(receipt.record.ending, "expired", "how it ended is still told");
    assert_eq!((queue(&world).await, world.used(who.wallet).await.0), (0, "1.25".into()));
    let settled = paid(&world, &who, "1", "1").await;
    let open = world.reserve(&who, "1").await.unwrap();
    for call in [settled.call, open.call()] {
        assert!(matches!(world.ledger.confirm(call, Actor::System).await, Err(ConfirmError::NotExpired(_))));
    }
    let unknown = world.ledger.confirm(world.ledger.new_id(), Actor::System).await;
    assert!(matches!(unknown, Err(ConfirmError::UnknownCall(_))));
    world.settle(open, "0").await;
}

async fn a_late_settlement_outranks_a_confirmation_but_not_a_correction(world: World) {
    let who = world.spender(limit("10")).await;
    let [one, two] = expired(&world, &who, "1").await;
    world.ledger.confirm(one.call(), Actor::System).await.unwrap();
    let receipt = world.settle(one, "0.3").await;
    assert_eq!((receipt.status.as_str(), receipt.price), ("settled", usd("0.3")));
    world.ledger.correct(to_correct(&world, two.call(), "0.2")).await.unwrap();
    let late = world.ledger.settle(two, charge("0.4")).await;
    assert!(matches!(late, Err(ledger::StoreError::Conflict(_))), "{late:?}");
    assert_eq!(world.used(who.wallet).await, ("0.5".into(), "0".into()));
}

async fn a_refund_that_fails_is_loud(world: World) {
    let who = world.spender(limit("10")).await;
    let call = paid(&world, &who, "1", "1").await.call;
    let open = world.reserve(&who, "1").await.unwrap();
    let refund = |call, amount: Option<&str>| Refund {
        id: world.ledger.new_id(),
        call,
        amount: amount.map(usd),
        reason: "asked for".into(),
        actor: Actor::System,
    };
    let done = refund(call, Some("0.4"));
    world.ledger.refund(done.clone()).await.unwrap();
    let changed = Refund { reason: "another".into(), ..done };
    assert!(matches!(world.ledger.refund(changed).await, Err(RefundError::Conflict(_))));
    assert!(matches!(world.ledger.refund(refund(call, Some("0.7"))).await, Err(RefundError::TooMuch { .. })));
    assert!(matches!(world.ledger.refund(refund(open.call(), None)).await, Err(RefundError::Running(_))));
    let failed = told(&world, &who, "REFUND_FAILED").await;
    let told: Vec<_> =
        failed.iter().map(|entry| (entry["code"].as_str().unwrap(), entry["amount_usd"].as_str().unwrap())).collect();
    assert_eq!(told, [("conflict", "0.4"), ("too_much", "0.7"), ("request_running", "all")]);
    assert_eq!(failed[1]["request_id"].as_str(), Some(&*call.to_string()));
    let alerts = world.pairs("SELECT content, at FROM alerts WHERE kind = 'refund_failed'").await;
    let mut codes: Vec<String> = alerts
        .iter()
        .map(|(content, _)| serde_json::from_str::<serde_json::Value>(content).unwrap())
        .map(|content| content["code"].as_str().unwrap().to_owned())
        .collect();
    codes.sort();
    assert_eq!(codes, ["conflict", "request_running", "too_much"]);
    assert_eq!(world.used(who.wallet).await, ("0.6".into(), "1".into()));
    world.settle(open, "0").await;
}

async fn the_books_of_charges_and_corrections_stay(world: World) {
    let who = world.spender(limit("10")).await;
    let charged = world.ledger.charge(to_charge(&world, &who, "1", "r1")).await.unwrap();
    world.ledger.correct(to_correct(&world, charged.call, "0.5")).await.unwrap();
    for table in ["journal", "charges", "corrections"] {
        let mut attempts = vec![
            format!("UPDATE {table} SET at = 0"),
            format!("DELETE FROM {table}"),
            format!("DELETE FROM {table} WHERE at > 0"),
        ];
        match world.on {
            crate::world::On::Sqlite => {
                attempts.push(format!("INSERT OR REPLACE INTO {table} SELECT * FROM {table}"));
                attempts.push(format!("REPLACE INTO {table} SELECT * FROM {table} LIMIT 1"));
                attempts.push(format!("UPDATE OR REPLACE {table} SET at = 1"));
            }
            crate::world::On::Postgres => {
                attempts.push(format!("TRUNCATE {table}"));
                attempts.push(format!("TRUNCATE {table} CASCADE"));
            }
        }
        for attempt in attempts {
            let error = world.meddle(&attempt).await.expect_err(&attempt);
            assert!(error.contains("append-only"), "{attempt}: {error}");
        }
    }
    paid(&world, &who, "1", "1").await;
    assert_eq!(kinds(&world, &who).await, ["settle", "adjust", "reserve", "settle"], "and the books go on");
}

async fn what_was_used_of_a_provider_is_summed_by_day_key_and_model(world: World) {
    let (who, other) = (world.spender(Terms::default()).await, world.spender(Terms::default()).await);
    let day = world.clock.now().micros() / 86_400_000_000;
    let attempt =
        |target: &str, cost: &str| AttemptRecord { target: target.into(), cost: usd(cost), ..AttemptRecord::default() };
    let book = async |who: &Spender, target: &str, cost: &str, attempts: Vec<AttemptRecord>, cache: &str| {
        world.clock.advance(Duration::from_millis(1));
        let usage = Usage { input: 10, cached_input: 5, output: 3, ..Usage::default() };
        let hold = world.reserve(who, "1").await.unwrap();
        let told = charge("0.1");
        let (target, cache) = (Some(target.to_owned()), cache.to_owned());
        let record = CallRecord { target, attempts, usage, cache, ..told.record };
        world.ledger.settle(hold, Charge { cost: usd(cost), record, ..told }).await.unwrap()
    };
    let failed = || vec![attempt("openai/o3", "0.2"), attempt("openai/gpt-4o", "0.3")];
    let first = book(&who, "openai/gpt-4o", "0.5", failed(), "miss").await;
    book(&other, "openai/gpt-4o", "0.3", vec![attempt("openai/gpt-4o", "0.3")], "").await;
    book(
        &who,
        "anthropic/claude",
        "0.4",
        vec![attempt("openai/gpt-4o", "0.1"), attempt("anthropic/claude", "0.3")],
        "",
    )
    .await;
    book(&who, "openai/gpt-4o", "0", Vec::new(), "hit").await;
    world.ledger.charge(to_charge(&world, &who, "1", "r1")).await.unwrap();
    let hold = world.reserve(&who, "1").await.unwrap();
    let lost = CallRecord { attempts: vec![attempt("openai/o3", "0.05")], ..CallRecord::default() };
    let lost = ledger::Release { reason: "provider_error".into(), cost: usd("0.05"), record: lost };
    world.ledger.release(hold, lost).await.unwrap();
    world.clock.advance(Duration::from_secs(24 * 3_600));
    book(&who, "openai/gpt-4o", "0.3", vec![attempt("openai/gpt-4o", "0.3")], "").await;
    // A correction counts: what is billed should be what it says.
    let correction = Correction { cost: usd("0.6"), ..to_correct(&world, first.call, "0.1") };
    world.ledger.correct(correction).await.unwrap();

    let used = world.ledger.receipts().usage("openai", day..day + 2).await.unwrap();
    let told: Vec<_> = used
        .iter()
        .map(|((at, key, model), used)| {
            let tokens = (used.requests, used.input_tokens, used.output_tokens);
            (at - day, *key == who.key, model.as_str(), tokens, used.cost.to_string(), used.failed.to_string())
        })
        .collect();
    let mut expected = vec![
        (0, true, "gpt-4o", (1, 15, 3), "0.5".to_owned(), "0.1".to_owned()),
        (0, true, "o3", (0, 0, 0), "0.25".into(), "0.25".into()),
        (0, false, "gpt-4o", (1, 15, 3), "0.3".into(), "0".into()),
        (1, true, "gpt-4o", (1, 15, 3), "0.3".into(), "0".into()),
    ];
    expected.sort_by_key(|row| told.iter().position(|other| other == row));
    assert_eq!(told, expected);
    assert_eq!(world.ledger.receipts().usage("openai", day + 1..day + 2).await.unwrap().len(), 1);
    assert_eq!(world.ledger.receipts().usage("open", day..day + 2).await.unwrap().len(), 0);
}

async fn a_price_beyond_any_request_is_a_typing_error_and_the_platforms_account_cannot_overflow(world: World) {
    let who = world.spender(limit("1")).await;
    let hold = world.reserve(&who, "0.1").await.unwrap();
    let call = hold.call();
    world.ledger.settle(hold, charge("0.05")).await.unwrap();
    for (price, cost) in [("1000000.000000001", "0"), ("0", "1000000.000000001"), ("-0.1", "0")] {
        let wrong = Correction { cost: usd(cost), ..to_correct(&world, call, price) };
        let error = world.ledger.correct(wrong).await.expect_err(price);
        assert!(matches!(error, CorrectError::Price(_) | CorrectError::Cost(_)), "{error}");
    }
    // Absurd bills of a provider are the platform's, and nobody's settlement waits for them.
    let mut booked = Money::ZERO;
    for _ in 0..2 {
        let rich = world.spender(limit("1")).await;
        let hold = world.reserve(&rich, "0.1").await.unwrap();
        let absurd = Charge { cost: Money::MAX, price: Money::MAX, record: CallRecord::default() };
        let receipt = world.ledger.settle(hold, absurd).await.unwrap();
        booked = booked.plus(receipt.overrun).unwrap();
    }
    assert!(booked > usd("18000000"));
    assert_eq!(world.ledger.overrun().await.unwrap(), booked);
}
