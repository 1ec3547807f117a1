//! The decision log: written in batches, found by what people look for, never changed, kept for a while.

use std::collections::HashMap;
use std::time::Duration;

use ledger::{
    Call, Decision, DecisionFilter, DecisionResult, DecisionRow, Frame, Id, Lost, Reader, ShadowWord, Timestamp, Usage,
};

use crate::world::{World, charge, limit, on_both_databases};

on_both_databases!(
    what_was_written_reads_back_whole,
    decisions_are_found_by_what_people_look_for,
    pages_go_from_the_newest_to_the_oldest,
    nothing_changes_and_what_is_old_goes_a_little_at_a_time,
    a_replay_has_what_the_calls_cost,
    a_reader_needs_nobody_to_stop,
);

fn row(world: &World, number: i64) -> DecisionRow {
    let call: Id<Call> = world.ledger.new_id();
    DecisionRow {
        id: Id::from_uuid(call.uuid()),
        call: Some(call),
        at: world.clock.now(),
        org: None,
        team: None,
        key: None,
        model: format!("model-{}", number % 3),
        revision: "abc".into(),
        facts_hash: Some([7; 32]),
        result: DecisionResult::Allow,
        code: None,
        target: Some("up/model".into()),
        rerouted: None,
        observed: 0,
        took_ns: 40_000 + number,
        remembered: false,
        level: "facts".into(),
        facts: Some("[]".into()),
        outcome: None,
        shadow: None,
        lost: None,
    }
}

async fn append(world: &World, rows: &[DecisionRow], frames: &[Frame]) {
    world.ledger.decisions().append(rows, frames, world.clock.now()).await.unwrap();
}

async fn list(world: &World, filter: DecisionFilter) -> Vec<Id<Decision>> {
    world.ledger.decisions().list(&filter, None, 1_000).await.unwrap().into_iter().map(|row| row.id).collect()
}

async fn what_was_written_reads_back_whole(world: World) {
    let who = world.spender(limit("1")).await;
    let frames = [Frame::new("{\"a\":1}".into()), Frame::new("{}".into())];
    let plain = row(&world, 1);
    let rich = DecisionRow {
        org: Some(who.org),
        team: Some(world.ledger.new_id()),
        key: Some(who.key),
        result: DecisionResult::Fault,
        code: Some("policy_fault".into()),
        target: None,
        rerouted: Some("small".into()),
        observed: 2,
        remembered: true,
        outcome: Some(frames[1].hash().to_owned()),
        shadow: Some(ShadowWord {
            revision: "pol_1".into(),
            result: DecisionResult::Deny,
            differs: Some("denied".into()),
        }),
        ..row(&world, 2)
    };
    // A later decision of the same call, and a gap.
    let later = DecisionRow { id: world.ledger.new_id(), call: plain.call, ..row(&world, 3) };
    let lost = Some(Lost { decisions: 9, since: world.clock.now() });
    let gap = DecisionRow { call: None, result: DecisionResult::Gap, facts_hash: None, lost, ..row(&world, 4) };
    let rows = [plain.clone(), rich, later.clone(), gap];
    append(&world, &rows, &frames).await;
    append(&world, &rows, &frames).await; // a repeat writes nothing
    for row in &rows {
        assert_eq!(world.ledger.decisions().get(row.id).await.unwrap().as_ref(), Some(row));
    }
    assert_eq!(world.count("SELECT COUNT(*) FROM decisions").await, 4);
    let found = world.ledger.decisions().frames(&[frames[0].hash(), frames[1].hash(), "none"]).await.unwrap();
    let wanted = frames.iter().map(|frame| (frame.hash().to_owned(), frame.body().to_owned()));
    assert_eq!(found, wanted.collect::<HashMap<_, _>>());
    let mut of_call = list(&world, DecisionFilter { call: plain.call, ..DecisionFilter::default() }).await;
    of_call.sort();
    let mut wanted = vec![plain.id, later.id];
    wanted.sort();
    assert_eq!(of_call, wanted);
}

async fn decisions_are_found_by_what_people_look_for(world: World) {
    let (org, team) = (world.ledger.new_id(), world.ledger.new_id());
    let mut rows = Vec::new();
    for number in 0..40 {
        world.clock.advance(Duration::from_secs(60));
        let mut row = row(&world, number);
        if number % 2 == 0 {
            row.org = Some(org);
        }
        if number % 4 == 0 {
            row.team = Some(team);
        }
        if number % 5 == 0 {
            row.result = DecisionResult::Deny;
            row.code = Some(if number % 10 == 0 { "policy_denied" } else { "residency_violation" }.into());
        }
        if number % 8 == 0 {
            let differs = (number % 16 == 0).then(|| "denied".to_owned());
            row.shadow = Some(ShadowWord { revision: "pol_1".into(), result: DecisionResult::Deny, differs });
        }
        rows.push(row);
    }
    append(&world, &rows, &[]).await;
    let all = DecisionFilter::default;
    let minute = |number: usize| Some(rows[number].at);
    type Case = (DecisionFilter, fn(i64) -> bool);
    let cases: [Case; 11] = [
        (all(), |_| true),
        (DecisionFilter { org: Some(org), ..all() }, |n| n % 2 == 0),
        (DecisionFilter { team: Some(team), ..all() }, |n| n % 4 == 0),
        (DecisionFilter { model: Some("model-1".into()), ..all() }, |n| n % 3 == 1),
        (DecisionFilter { result: Some(DecisionResult::Deny), ..all() }, |n| n % 5 == 0),
        (DecisionFilter { result: Some(DecisionResult::Allow), org: Some(org), ..all() }, |n| n % 5 != 0 && n % 2 == 0),
        (DecisionFilter { code: Some("policy_denied".into()), ..all() }, |n| n % 10 == 0),
        (DecisionFilter { differs: true, ..all() }, |n| n % 16 == 0),
        (DecisionFilter { since: minute(30), ..all() }, |n| n >= 30),
        (DecisionFilter { until: minute(5), ..all() }, |n| n < 5),
        (DecisionFilter { since: minute(10), until: minute(20), org: Some(org), ..all() }, |n| {
            (10..20).contains(&n) && n % 2 == 0
        }),
    ];
    for (filter, wanted) in cases {
        let told = format!("{filter:?}");
        let wanted: Vec<_> =
            rows.iter().zip(0..40_i32).filter(|(_, n)| wanted(i64::from(*n))).map(|(row, _)| row.id).rev().collect();
        assert_eq!(list(&world, filter).await, wanted, "{told}");
    }
}

async fn pages_go_from_the_newest_to_the_oldest(world: World) {
    // More than fit into one statement, and not a power of two.
    let rows: Vec<DecisionRow> = (0..301)
        .map(|number| {
            world.clock.advance(Duration::from_millis(1));
            row(&world, number)
        })
        .collect();
    append(&world, &rows, &[]).await;
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = world.ledger.decisions().list(&DecisionFilter::default(), cursor, 100).await.unwrap();
        let Some(last) = page.last() else { break };
        cursor = Some(last.id);
        found.extend(page);
    }
    assert!(found.iter().eq(rows.iter().rev()), "{} of {}", found.len(), rows.len());
}

async fn nothing_changes_and_what_is_old_goes_a_little_at_a_time(world: World) {
    let frames = [Frame::new("old".into()), Frame::new("wanted".into())];
    let old: Vec<DecisionRow> = (0..5).map(|number| row(&world, number)).collect();
    append(&world, &old, &frames).await;
    for sql in ["UPDATE decisions SET result = 'allow'", "UPDATE decision_frames SET body = 'x'"] {
        assert!(world.meddle(sql).await.unwrap_err().contains("append-only"), "{sql}");
    }
    world.clock.advance(Duration::from_secs(30 * 86_400));
    let new = row(&world, 9);
    append(&world, std::slice::from_ref(&new), &frames[1..]).await;
    let decisions = world.ledger.decisions();
    let before = Timestamp::from_micros(world.clock.now().micros() - 20 * 86_400_000_000);
    let mut gone = Vec::new();
    for _ in 0..3 {
        gone.push(decisions.forget(before, 3).await.unwrap());
    }
    assert_eq!(gone, [3, 2, 0]);
    assert_eq!(list(&world, DecisionFilter::default()).await, [new.id]);
    let kept = decisions.frames(&[frames[0].hash(), frames[1].hash()]).await.unwrap();
    assert_eq!(kept.into_values().collect::<Vec<_>>(), ["wanted"], "a frame that is still referred to stays");
}

async fn a_replay_has_what_the_calls_cost(world: World) {
    let who = world.spender(limit("10")).await;
    let hold = world.reserve(&who, "1").await.unwrap();
    let call = hold.call();
    let mut paid = charge("0.25");
    paid.record.usage = Usage { input: 100, cached_input: 20, output: 7, ..Usage::default() };
    paid.record.claims.insert("project".into(), "atlas".into());
    world.ledger.settle(hold, paid).await.unwrap();
    let settled =
        DecisionRow { id: Id::from_uuid(call.uuid()), call: Some(call), org: Some(who.org), ..row(&world, 1) };
    world.clock.advance(Duration::from_secs(1));
    let refused = row(&world, 2);
    let lost = Some(Lost { decisions: 9, since: world.clock.now() });
    let gap = DecisionRow { call: None, result: DecisionResult::Gap, lost, ..row(&world, 4) };
    append(&world, &[settled.clone(), refused.clone(), gap], &[]).await;
    let decisions = world.ledger.decisions();
    let all = decisions.replayable(None, None, None, 10).await.unwrap();
    assert_eq!(all.iter().map(|it| it.id).collect::<Vec<_>>(), [refused.id, settled.id], "without the gap");
    assert_eq!(all[0].receipt, None);
    let receipt = all[1].receipt.clone().unwrap();
    assert_eq!((receipt.price, receipt.input_tokens, receipt.output_tokens), (250_000_000, 120, 7));
    assert_eq!(receipt.claims["project"], "atlas");
    let of_org = decisions.replayable(Some(who.org), None, None, 10).await.unwrap();
    assert_eq!(of_org.iter().map(|it| it.id).collect::<Vec<_>>(), [settled.id]);
    let since = decisions.replayable(None, Some(refused.at), None, 10).await.unwrap();
    assert_eq!(since.iter().map(|it| it.id).collect::<Vec<_>>(), [refused.id]);
    let older = decisions.replayable(None, None, Some(refused.id), 10).await.unwrap();
    assert_eq!(older.iter().map(|it| it.id).collect::<Vec<_>>(), [settled.id]);
}

async fn a_reader_needs_nobody_to_stop(world: World) {
    let row = row(&world, 1);
    append(&world, std::slice::from_ref(&row), &[]).await;
    let reader = Reader::open(&world.url).await.unwrap();
    assert_eq!(reader.decisions().get(row.id).await.unwrap(), Some(row));
    reader.close().await;
    let nothing = tempfile::tempdir().unwrap();
    let place = nothing.path().join("none.db");
    assert!(Reader::open(&format!("sqlite://{}", place.display())).await.is_err());
    assert!(!place.exists(), "and makes nothing");
}
