//! The audit log: what it tells, that it verifies, and that nobody changes it.

use ledger::{Actor, CallRecord, Entry, ReceiptFilter, RefusedCall, ReserveError, TrailFilter, audit};

use crate::world::{On, World, charge, limit, on_both_databases, status};

on_both_databases!(
    an_export_verifies_and_a_changed_byte_is_found_on_its_line,
    a_refused_call_has_its_entry_and_its_receipt,
    what_was_written_stays,
    entries_tell_ids_and_amounts,
    pages_follow_one_another,
    receipts_are_listed_newest_first,
);

async fn an_export_verifies_and_a_changed_byte_is_found_on_its_line(world: World) {
    let who = world.spender(limit("100")).await;
    for _ in 0..300 {
        let hold = world.reserve(&who, "0.1").await.unwrap();
        world.settle(hold, "0.01").await;
    }
    let file = world.export(Some(who.org)).await;
    let summary = audit::verify_export(file.as_bytes()).expect("sound");
    assert_eq!((summary.chain, summary.entries), (who.org.to_string(), file.lines().count() as u64));
    assert!(summary.entries > 600);
    let platform = world.export(None).await;
    assert_eq!(audit::verify_export(platform.as_bytes()).is_ok(), !platform.is_empty());
    let start: usize = file.lines().take(416).map(|line| line.len() + 1).sum();
    let mut bytes = file.into_bytes();
    bytes[start + 100] ^= 1;
    assert_eq!(audit::verify_export(bytes.as_slice()).expect_err("damaged").line, 417);
}

async fn a_refused_call_has_its_entry_and_its_receipt(world: World) {
    let who = world.spender(limit("1")).await;
    let refusal = RefusedCall {
        call: world.ledger.new_id(),
        org: who.org,
        key: who.key,
        wallet: who.wallet,
        code: "policy_denied".into(),
        record: CallRecord { model: "gpt-4o".into(), code: Some("policy_denied".into()), ..CallRecord::default() },
    };
    world.ledger.refuse(refusal.clone()).await.unwrap();
    world.ledger.refuse(refusal.clone()).await.expect("the same again");
    assert_eq!(status(&world.ledger, refusal.call).await, "refused");
    assert_eq!(world.count("SELECT COUNT(*) FROM audit_log WHERE kind = 'BLOCK'").await, 1);
    let over = world.order(&who, "2");
    let call = over.call;
    assert!(matches!(world.ledger.reserve(over).await, Err(ReserveError::OverLimit(_))));
    assert_eq!(status(&world.ledger, call).await, "refused");
    let blocks = TrailFilter { kind: Some("BLOCK".into()), newest_first: true, ..TrailFilter::default() };
    let lines = world.ledger.trail().list(Some(who.org), &blocks, None, 10).await.unwrap();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].json.contains(&call.to_string()) && lines[0].json.contains("\"code\":\"budget_exceeded\""));
    assert!(lines[1].json.contains("\"code\":\"policy_denied\""));
}

async fn what_was_written_stays(world: World) {
    let who = world.spender(limit("1")).await;
    let hold = world.reserve(&who, "0.1").await.unwrap();
    world.settle(hold, "0.1").await;
    let mut attempts = vec![
        "UPDATE audit_log SET kind = 'NOTHING'",
        "UPDATE audit_log SET entry = entry WHERE seq = 1",
        "DELETE FROM audit_log",
        "DELETE FROM audit_log WHERE seq = 1",
        "INSERT INTO audit_log SELECT * FROM audit_log WHERE seq = 1",
    ];
    match world.on {
        On::Sqlite => attempts.extend([
            "INSERT OR REPLACE INTO audit_log SELECT * FROM audit_log WHERE seq = 1",
            "REPLACE INTO audit_log SELECT * FROM audit_log WHERE seq = 2",
            "UPDATE OR REPLACE audit_log SET seq = 1 WHERE seq = 2",
        ]),
        On::Postgres => attempts.extend([
            "TRUNCATE audit_log",
            "TRUNCATE audit_log CASCADE",
            "INSERT INTO audit_log SELECT * FROM audit_log WHERE seq = 1 ON CONFLICT (chain, seq) DO UPDATE SET kind = 'X'",
        ]),
    }
    let before = world.export(Some(who.org)).await;
    for attempt in attempts {
        let error = world.meddle(attempt).await.expect_err(attempt);
        assert!(error.contains("append-only") || error.contains("audit_log_pkey"), "{attempt}: {error}");
    }
    assert_eq!(world.export(Some(who.org)).await, before);
}

async fn entries_tell_ids_and_amounts(world: World) {
    let who = world.spender(limit("1")).await;
    let hold = world.reserve(&who, "0.1").await.unwrap();
    let call = hold.call();
    world.settle(hold, "0.02").await;
    world
        .ledger
        .record(Entry::new(None, "AUTH_REFUSED", Actor::System).with("address_class", "public").with("count", 3))
        .await
        .unwrap();
    let settle = TrailFilter { kind: Some("SETTLE".into()), ..TrailFilter::default() };
    let line = world.ledger.trail().list(Some(who.org), &settle, None, 1).await.unwrap().remove(0);
    let entry: serde_json::Value = serde_json::from_str(&line.json).unwrap();
    for (name, value) in [
        ("request_id", call.to_string()),
        ("key_id", who.key.to_string()),
        ("actor", who.key.to_string()),
        ("wallet_id", who.wallet.to_string()),
        ("chain", who.org.to_string()),
        ("price_usd", "0.02".into()),
        ("cost_usd", "0.02".into()),
        ("overrun_usd", "0".into()),
        ("target", "openai/gpt-4o".into()),
        ("routing", "first of the alias".into()),
        ("at", world.clock.now().to_string()),
        ("kind", "SETTLE".into()),
    ] {
        assert_eq!(entry[name].as_str(), Some(value.as_str()), "{name}");
    }
    assert_eq!(entry["seq"], line.seq);
    let platform = world.ledger.trail().list(None, &TrailFilter::default(), None, 100).await.unwrap();
    assert!(platform.last().unwrap().json.contains("\"count\":3"));
}

async fn pages_follow_one_another(world: World) {
    let who = world.spender(limit("1")).await;
    for _ in 0..5 {
        let hold = world.reserve(&who, "0.1").await.unwrap();
        world.settle(hold, "0.01").await;
    }
    for newest_first in [false, true] {
        let filter = TrailFilter { newest_first, ..TrailFilter::default() };
        let whole = world.ledger.trail().list(Some(who.org), &filter, None, 1_000).await.unwrap();
        let (mut cursor, mut seen) = (None, Vec::new());
        loop {
            let page = world.ledger.trail().list(Some(who.org), &filter, cursor, 3).await.unwrap();
            let Some(last) = page.last() else { break };
            cursor = Some(last.seq);
            seen.extend(page);
        }
        assert_eq!(seen, whole);
    }
}

async fn receipts_are_listed_newest_first(world: World) {
    let (who, other) = (world.spender(limit("1")).await, world.spender(limit("1")).await);
    let mut calls = Vec::new();
    for _ in 0..4 {
        let hold = world.reserve(&who, "0.01").await.unwrap();
        calls.push(hold.call());
        world.settle(hold, "0.01").await;
        world.clock.advance(std::time::Duration::from_millis(2));
    }
    let running = world.reserve(&who, "0.1").await.unwrap();
    calls.push(running.call());
    let elsewhere = world.reserve(&other, "0.1").await.unwrap();
    calls.reverse();
    for filter in [
        ReceiptFilter { org: Some(who.org), ..ReceiptFilter::default() },
        ReceiptFilter { wallet: Some(who.wallet), ..ReceiptFilter::default() },
        ReceiptFilter { key: Some(who.key), ..ReceiptFilter::default() },
        ReceiptFilter { org: Some(who.org), wallet: Some(who.wallet), key: Some(who.key), ..ReceiptFilter::default() },
    ] {
        let first = world.ledger.receipts().list(&filter, None, 3).await.unwrap();
        let rest = world.ledger.receipts().list(&filter, first.last().map(|receipt| receipt.call), 9).await.unwrap();
        let listed: Vec<_> = first.iter().chain(&rest).map(|receipt| receipt.call).collect();
        assert_eq!(listed, calls);
        assert_eq!((first[0].status.as_str(), first[0].held.to_string().as_str()), ("pending", "0.1"));
    }
    let pending = ReceiptFilter { status: Some("pending".into()), ..ReceiptFilter::default() };
    assert_eq!(world.ledger.receipts().list(&pending, None, 9).await.unwrap().len(), 2);
    let settled = ReceiptFilter { status: Some("settled".into()), ..ReceiptFilter::default() };
    assert_eq!(world.ledger.receipts().list(&settled, None, 9).await.unwrap().len(), 4);
    world.ledger.settle(running, charge("0")).await.unwrap();
    world.ledger.settle(elsewhere, charge("0")).await.unwrap();
}
