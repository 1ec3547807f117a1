//! Batches: a hold that outlives its process, one worker at a time, and files that others do not see.

use std::time::Duration;

use ledger::{
    BatchFileRow, BatchRow, BatchState, BatchTerms, BatchTold, Claim, FileKind, Hold, Id, Ledger, Markup, Money, Order,
    Rates, Timestamp,
};

use crate::world::{NOON, On, Spender, World, charge, hold, limit, on_both_databases, options, release, status, usd};

on_both_databases!(
    a_batchs_hold_outlives_its_process_and_is_settled_by_another,
    a_batchs_hold_past_its_own_time_is_an_orphan,
    a_hold_that_is_resolved_already_becomes_no_batch,
    one_at_a_time_works_on_a_batch,
    an_idempotency_key_finds_its_batch_for_a_while,
    files_and_batches_are_a_wallets_own_and_read_back_whole,
);

const WEEK: Duration = Duration::from_secs(8 * 86_400);

fn terms() -> BatchTerms {
    let mut rates = Rates::new(usd("2.5"), usd("10"));
    rates.batch = Some("0.5".parse().unwrap());
    BatchTerms {
        model: "chat".into(),
        worst: usd("0.4"),
        input_bound: 900,
        price_version: "config:1".into(),
        rates,
        markup: Markup::NONE,
        team: None,
        user: None,
        policy: "p1".into(),
        routing: "first of the alias".into(),
        extra: Vec::new(),
    }
}

fn file(world: &World, who: &Spender, kind: FileKind) -> BatchFileRow {
    BatchFileRow {
        id: world.ledger.new_id(),
        org: who.org,
        key: who.key,
        wallet: who.wallet,
        kind,
        target: "openai/gpt-4o".into(),
        upstream: "file-of-theirs".into(),
        endpoint: "/v1/chat/completions".into(),
        bytes: 420,
        lines: 3,
        terms: (kind == FileKind::Input).then(terms),
        created_at: world.clock.now(),
        expires_at: None,
    }
}

/// A batch with a hold of 0.4, begun.
async fn begun(world: &World, who: &Spender, claim: Option<Claim>) -> BatchRow {
    let held = order(world, who).await;
    let batch = row(world, who, &held, claim);
    world.ledger.batches().begin(&held, &batch).await.unwrap();
    batch
}

async fn order(world: &World, who: &Spender) -> Hold {
    let expires_at = world.clock.now().after(WEEK);
    hold(world.ledger.reserve(Order { expires_at, ..world.order(who, "0.4") }).await).unwrap()
}

fn row(world: &World, who: &Spender, held: &Hold, claim: Option<Claim>) -> BatchRow {
    BatchRow {
        id: world.ledger.new_id(),
        org: who.org,
        key: who.key,
        wallet: who.wallet,
        call: held.call(),
        file: world.ledger.new_id(),
        target: "openai/gpt-4o".into(),
        upstream: None,
        endpoint: "/v1/chat/completions".into(),
        lines: 3,
        state: BatchState::Submitting,
        terms: terms(),
        told: BatchTold { status: "validating".into(), total: 3, ..BatchTold::default() },
        claim,
        output: None,
        errors: None,
        created_at: world.clock.now(),
        expires_at: world.clock.now().after(Duration::from_secs(86_400)),
        next_at: world.clock.now(),
    }
}

/// Whoever comes after a process that ended with its holds still open.
async fn successor(world: &World) -> Ledger {
    world.ledger.close().await;
    Ledger::open(options(&world.url, &world.clock, 99)).await.expect("a successor")
}

async fn a_batchs_hold_outlives_its_process_and_is_settled_by_another(world: World) {
    let who = world.spender(limit("1")).await;
    let lost = world.reserve(&who, "0.1").await.unwrap().call();
    let batch = begun(&world, &who, None).await;
    let next = successor(&world).await;
    assert_eq!(status(&next, lost).await, "expired", "an instance's hold goes with it");
    assert_eq!(status(&next, batch.call).await, "pending", "a job's does not");
    let held = next.batches().hold(&batch).await.unwrap().expect("a hold");
    assert_eq!((held.call(), held.amount()), (batch.call, usd("0.4")));
    let receipt = next.settle(held, charge("0.25")).await.unwrap();
    assert_eq!((receipt.status.as_str(), receipt.price, receipt.review), ("settled", usd("0.25"), false));
    assert!(next.batches().hold(&batch).await.unwrap().is_none(), "resolved once");
    let standing = next.standings(&[who.wallet]).await.unwrap()[&who.wallet];
    assert_eq!((standing.spent, standing.held), (usd("0.35"), Money::ZERO));
    next.close().await;
}

async fn a_batchs_hold_past_its_own_time_is_an_orphan(world: World) {
    let who = world.spender(limit("1")).await;
    let batch = begun(&world, &who, None).await;
    world.clock.advance(WEEK - Duration::from_secs(1));
    world.ledger.expire_orphans().await.unwrap();
    assert_eq!(status(&world.ledger, batch.call).await, "pending");
    world.clock.advance(Duration::from_secs(1));
    world.ledger.expire_orphans().await.unwrap();
    let receipt = world.ledger.receipts().get(batch.call).await.unwrap().expect("a receipt");
    assert_eq!((receipt.status.as_str(), receipt.price, receipt.review), ("expired", usd("0.4"), true));
    // Whoever learns the truth later sets it right.
    let held = world.ledger.batches().hold(&batch).await.unwrap().expect("what it was");
    let receipt = world.settle(held, "0.1").await;
    assert_eq!((receipt.status.as_str(), receipt.price, receipt.review), ("settled", usd("0.1"), false));
    assert_eq!(world.used(who.wallet).await, ("0.1".into(), "0".into()));
    assert!(world.ledger.batches().hold(&batch).await.unwrap().is_none());
}

async fn a_hold_that_is_resolved_already_becomes_no_batch(world: World) {
    let who = world.spender(limit("1")).await;
    let held = order(&world, &who).await;
    let batch = row(&world, &who, &held, None);
    world.clock.advance(WEEK);
    world.ledger.expire_orphans().await.unwrap();
    assert!(world.ledger.batches().begin(&held, &batch).await.is_err());
    assert!(world.ledger.batches().get(who.wallet, batch.id).await.unwrap().is_none());
    world.ledger.release(held, release("batch_failed")).await.unwrap();
}

async fn one_at_a_time_works_on_a_batch(world: World) {
    let who = world.spender(limit("1")).await;
    let (first, minute) = (begun(&world, &who, None).await, Duration::from_secs(60));
    let other = match world.on {
        On::Sqlite => world.ledger.clone(),
        On::Postgres => world.another(5).await,
    };
    let leased = world.ledger.batches().due(9, minute).await.unwrap();
    assert_eq!(leased.iter().map(|it| it.id).collect::<Vec<_>>(), [first.id]);
    assert!(other.batches().due(9, minute).await.unwrap().is_empty(), "somebody is at it");
    assert!(other.batches().lease(first.id, minute).await.unwrap().is_none());
    world.clock.advance(minute);
    assert_eq!(other.batches().due(9, minute).await.unwrap().len(), 1, "a lease ends by itself");

    let mut batch = first.clone();
    (batch.state, batch.upstream) = (BatchState::Open, Some("batch_theirs".into()));
    batch.told.status = "in_progress".into();
    batch.next_at = world.clock.now().after(minute);
    other.batches().save(&batch).await.unwrap();
    assert!(other.batches().due(9, minute).await.unwrap().is_empty(), "not due yet");
    assert_eq!(world.ledger.batches().lease(batch.id, minute).await.unwrap(), Some(batch.clone()), "but free");

    batch.state = BatchState::Ended;
    batch.told.status = "completed".into();
    let output = file(&world, &who, FileKind::Output);
    batch.output = Some(output.id);
    other.batches().end(&batch, std::slice::from_ref(&output)).await.unwrap();
    batch.told.status = "failed".into();
    other.batches().save(&batch).await.unwrap();
    world.clock.advance(WEEK);
    assert!(other.batches().due(9, minute).await.unwrap().is_empty());
    let ended = other.batches().get(who.wallet, batch.id).await.unwrap().expect("a batch");
    assert_eq!(ended.told.status, "completed", "what has ended stays as it is");
    assert_eq!(other.batches().file(who.wallet, output.id).await.unwrap(), Some(output));
    if world.on == On::Postgres {
        other.close().await;
    }
}

async fn an_idempotency_key_finds_its_batch_for_a_while(world: World) {
    let who = world.spender(limit("1")).await;
    let claim = Claim { name: [7; 32], body: [8; 32] };
    let batch = begun(&world, &who, Some(claim)).await;
    let since = Timestamp::from_micros(NOON.micros() - 1);
    let found = world.ledger.batches().claimed(who.key, claim.name, since).await.unwrap().expect("a batch");
    assert_eq!(found, batch);
    for (key, name, since) in [
        (who.key, [9; 32], since),
        (world.ledger.new_id(), claim.name, since),
        (who.key, claim.name, world.clock.now()),
    ] {
        assert!(world.ledger.batches().claimed(key, name, since).await.unwrap().is_none());
    }
    world.ledger.batches().save(&BatchRow { claim: None, ..batch }).await.unwrap();
    let freed = world.ledger.batches().claimed(who.key, claim.name, since).await.unwrap();
    assert!(freed.is_none(), "what is not charged frees the key");
}

async fn files_and_batches_are_a_wallets_own_and_read_back_whole(world: World) {
    let (who, stranger) = (world.spender(limit("1")).await, world.spender(limit("1")).await);
    let batches = world.ledger.batches();
    let mut files = Vec::new();
    for kind in [FileKind::Input, FileKind::Output, FileKind::Errors] {
        world.clock.advance(Duration::from_millis(1));
        files.insert(0, file(&world, &who, kind));
        batches.put_file(&files[0]).await.unwrap();
    }
    assert_eq!(batches.files(who.wallet, None, None, 9).await.unwrap(), files, "newest first");
    assert_eq!(batches.files(who.wallet, Some(FileKind::Input), None, 9).await.unwrap(), files[2..]);
    assert_eq!(batches.files(who.wallet, Some(FileKind::Output), None, 9).await.unwrap(), files[..2]);
    assert_eq!(batches.files(who.wallet, None, Some(files[0].id), 1).await.unwrap(), files[1..2]);
    assert_eq!(batches.file(who.wallet, files[2].id).await.unwrap().as_ref(), Some(&files[2]));
    assert_eq!(batches.file(stranger.wallet, files[2].id).await.unwrap(), None);
    assert_eq!(batches.files(stranger.wallet, None, None, 9).await.unwrap(), []);
    for _ in 0..2 {
        batches.delete_file(&files[2]).await.unwrap();
    }
    assert_eq!(batches.file(who.wallet, files[2].id).await.unwrap(), None);

    let batch = begun(&world, &who, None).await;
    assert_eq!(batches.get(who.wallet, batch.id).await.unwrap(), Some(batch.clone()));
    assert_eq!(batches.list(who.wallet, None, 9).await.unwrap(), std::slice::from_ref(&batch));
    assert_eq!(batches.list(who.wallet, Some(batch.id), 9).await.unwrap(), []);
    assert_eq!(batches.get(stranger.wallet, batch.id).await.unwrap(), None);
    assert_eq!(batches.list(stranger.wallet, None, 9).await.unwrap(), []);
    let log = world.export(Some(who.org)).await;
    for (kind, times) in [("FILE_UPLOADED", 3), ("FILE_DELETED", 1), ("BATCH_BEGUN", 1)] {
        assert_eq!(log.matches(&format!("\"{kind}\"")).count(), times, "{kind}");
    }
    assert!(!log.contains("theirs"), "a provider's ids are nobody's business");
    let _: Id<ledger::Batch> = batch.id;
}
