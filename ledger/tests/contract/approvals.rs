//! Approvals: asked for once, decided once, and used exactly as often and for as much as was granted.

use std::time::Duration;

use ledger::{
    Actor, Approval, ApprovalFilter, ApprovalRow, ApprovalState, Bar, Call, DecideError, Id, Ledger, Money, Needs,
    NewApproval, Page, Reach, Requirement, Spend, Spent, Timestamp, Verdict,
};

use crate::world::{Spender, Terms, World, on_both_databases, usd};

on_both_databases!(
    the_same_question_has_one_request_while_nobody_has_decided,
    a_request_is_decided_once,
    as_many_calls_pass_as_were_granted_and_no_more,
    two_processes_count_together,
    a_budget_is_never_passed_by_what_its_calls_hold_or_cost,
    a_use_is_taken_once_for_a_call_and_given_back_once,
    what_ends_ends_by_itself,
    several_requirements_are_used_together_or_not_at_all,
    so_many_wait_and_no_more,
    each_step_is_on_record_and_no_use_can_be_undone,
);

fn new(world: &World, who: &Spender, name: &str, model: &str) -> NewApproval {
    NewApproval {
        org: who.org,
        team: None,
        key: who.key,
        user: None,
        call: world.ledger.new_id(),
        requirements: vec![Requirement { name: name.into(), reason: "CANARY".into() }],
        model: model.into(),
        amount: usd("0.5"),
        expires_at: world.clock.now().after(Duration::from_secs(3_600)),
    }
}

async fn asked(world: &World, who: &Spender, name: &str) -> ApprovalRow {
    world.ledger.approvals().request(new(world, who, name, "big")).await.unwrap().expect("room for one more")
}

fn yes(uses: Option<i64>, budget: Option<&str>) -> Verdict {
    let budget = budget.map(usd);
    Verdict::Approve { reason: None, uses, budget, lasting: None, models: None, reach: Reach::Key }
}

async fn granted(world: &World, who: &Spender, name: &str, verdict: Verdict) -> ApprovalRow {
    let row = asked(world, who, name).await;
    world.ledger.approvals().decide(row.id, verdict, &Actor::System).await.unwrap()
}

async fn spend(
    ledger: &Ledger,
    call: Id<Call>,
    who: &Spender,
    (names, amount): (&[&str], &str),
    shown: &[Id<Approval>],
) -> Spent {
    let requirements: Vec<String> = names.iter().map(|it| (*it).to_owned()).collect();
    let needs = Needs {
        org: who.org,
        team: None,
        key: who.key,
        model: "big",
        requirements: &requirements,
        amount: usd(amount),
    };
    ledger.approvals().spend(Spend { call, needs, shown }).await.unwrap()
}

fn is_granted(spent: &Spent) -> bool {
    matches!(spent, Spent::Granted(_))
}

#[track_caller]
fn bar(spent: Spent) -> Bar {
    match spent {
        Spent::Barred(mut choice) if !choice.bars.is_empty() => choice.bars.remove(0).1,
        other => panic!("{other:?}"),
    }
}

/// The counters of a grant are the sums of its rows.
async fn adds_up(world: &World, id: Id<Approval>) -> (i64, Money) {
    let row = world.ledger.approvals().get(id).await.unwrap().unwrap();
    let rows = world.ledger.approvals().uses(id, 1_000).await.unwrap();
    assert_eq!(rows.iter().map(|it| it.uses).sum::<i64>(), row.used);
    assert_eq!(rows.iter().map(|it| it.amount.nanos()).sum::<i64>(), row.spent.nanos());
    (row.used, row.spent)
}

async fn the_same_question_has_one_request_while_nobody_has_decided(world: World) {
    let (ada, eve) = (world.spender(Terms::default()).await, world.spender(Terms::default()).await);
    let before = world.ledger.revision().borrow().revision;
    let first = asked(&world, &ada, "frontier").await;
    assert_eq!((first.state, first.key, first.used), (ApprovalState::Pending, ada.key, 0));
    let all = (0..20).map(|_| asked(&world, &ada, "frontier"));
    assert!(futures_util::future::join_all(all).await.iter().all(|it| it.id == first.id), "no flood");
    let others = [
        asked(&world, &ada, "export").await,
        asked(&world, &eve, "frontier").await,
        world.ledger.approvals().request(new(&world, &ada, "frontier", "bigger")).await.unwrap().unwrap(),
    ];
    assert!(others.iter().all(|it| it.id != first.id), "another requirement, key or model is another question");
    assert_eq!(world.ledger.approvals().get(first.id).await.unwrap(), Some(first.clone()));
    world.ledger.approvals().decide(first.id, Verdict::Deny { reason: None }, &Actor::System).await.unwrap();
    assert_ne!(asked(&world, &ada, "frontier").await.id, first.id, "once it is decided it may be asked anew");
    let ours = ApprovalFilter { org: Some(ada.org), state: Some(ApprovalState::Pending) };
    assert_eq!(world.ledger.approvals().list(&ours, &Page::first(10)).await.unwrap().len(), 3);
    assert_eq!(world.ledger.approvals().list(&ours, &Page::first(1)).await.unwrap().len(), 1);
    assert_eq!(world.ledger.revision().borrow().revision, before, "calls never make every process read its keys again");
}

async fn a_request_is_decided_once(world: World) {
    let ada = world.spender(Terms::default()).await;
    let (approvals, by) = (world.ledger.approvals(), &Actor::System);
    let row = asked(&world, &ada, "frontier").await;
    let no = || Verdict::Deny { reason: Some("not this month".into()) };
    for (verdict, field) in [
        (yes(Some(0), None), "uses"),
        (yes(Some(1_000_001), None), "uses"),
        (yes(None, Some("0")), "budget"),
        (Verdict::Deny { reason: Some("a\nb".into()) }, "reason"),
        (Verdict::Deny { reason: Some("x".repeat(501)) }, "reason"),
    ] {
        let refused = approvals.decide(row.id, verdict, by).await;
        assert!(matches!(refused, Err(DecideError::Invalid { field: it, .. }) if it == field), "{field}: {refused:?}");
    }
    let with = |lasting: u64, models: Option<Vec<String>>, reach| Verdict::Approve {
        reason: None,
        uses: None,
        budget: None,
        lasting: Some(Duration::from_secs(lasting)),
        models,
        reach,
    };
    for (verdict, field) in [
        (with(0, None, Reach::Key), "expires_in"),
        (with(30 * 86_400 + 1, None, Reach::Key), "expires_in"),
        (with(60, Some(vec![]), Reach::Key), "models"),
        (with(60, Some(vec![String::new()]), Reach::Key), "models"),
        (with(60, None, Reach::Team), "scope"),
    ] {
        let refused = approvals.decide(row.id, verdict, by).await;
        assert!(matches!(refused, Err(DecideError::Invalid { field: it, .. }) if it == field), "{field}: {refused:?}");
    }
    let approved = approvals.decide(row.id, yes(None, None), by).await.unwrap();
    let grant = approved.grant.clone().unwrap();
    assert_eq!(
        (grant.uses, grant.budget, grant.models),
        (Some(1), None, vec!["big".to_owned()]),
        "one use unless said"
    );
    assert_eq!(approved.expires_at, world.clock.now().after(Duration::from_secs(86_400)), "a day unless said");
    assert_eq!(approvals.decide(row.id, yes(None, None), by).await.unwrap(), approved, "a repeat");
    let other = approvals.decide(row.id, yes(Some(2), None), by).await;
    assert!(matches!(other, Err(DecideError::Settled { state: ApprovalState::Approved, .. })));
    let denied = approvals.decide(row.id, no(), by).await.unwrap();
    assert_eq!(denied.state, ApprovalState::Denied, "what was granted can be taken back");
    let spent = spend(&world.ledger, world.ledger.new_id(), &ada, (&["frontier"], "0.1"), &[row.id]).await;
    assert_eq!(bar(spent), Bar::Denied { reason: Some("not this month".into()) });
    let late = approvals.decide(row.id, yes(None, None), by).await;
    assert!(matches!(late, Err(DecideError::Settled { state: ApprovalState::Denied, .. })), "a no stays one");
    let unknown = approvals.decide(world.ledger.new_id(), no(), by).await;
    assert!(matches!(unknown, Err(DecideError::Unknown(_))));
}

async fn as_many_calls_pass_as_were_granted_and_no_more(world: World) {
    let ada = world.spender(Terms::default()).await;
    let grant = granted(&world, &ada, "frontier", yes(Some(10), None)).await;
    let calls = (0..100).map(|_| {
        let ledger = world.ledger.clone();
        async move {
            let call = ledger.new_id();
            spend(&ledger, call, &ada, (&["frontier"], "0.1"), &[grant.id]).await
        }
    });
    let spent = futures_util::future::join_all(calls).await;
    assert_eq!(spent.iter().filter(|it| is_granted(it)).count(), 10);
    for refused in spent.into_iter().filter(|it| !is_granted(it)) {
        assert_eq!(bar(refused), Bar::UsedUp);
    }
    assert_eq!(adds_up(&world, grant.id).await, (10, usd("1")));
}

async fn two_processes_count_together(world: World) {
    if world.on == crate::world::On::Sqlite {
        return; // one file, one process
    }
    let ada = world.spender(Terms::default()).await;
    let grant = granted(&world, &ada, "frontier", yes(Some(7), None)).await;
    let other = world.another(99).await;
    let calls = (0..40).map(|n| {
        let ledger = if n % 2 == 0 { world.ledger.clone() } else { other.clone() };
        async move {
            let call = ledger.new_id();
            spend(&ledger, call, &ada, (&["frontier"], "0.1"), &[grant.id]).await
        }
    });
    let spent = futures_util::future::join_all(calls).await;
    assert_eq!(spent.iter().filter(|it| is_granted(it)).count(), 7);
    adds_up(&world, grant.id).await;
    other.close().await;
}

async fn a_budget_is_never_passed_by_what_its_calls_hold_or_cost(world: World) {
    let ada = world.spender(Terms::default()).await;
    let (approvals, grant) = (world.ledger.approvals(), granted(&world, &ada, "frontier", yes(None, Some("1"))).await);
    assert_eq!(grant.grant.as_ref().unwrap().uses, None, "as many as the budget pays for");
    let calls: Vec<Id<Call>> = (0..9).map(|_| world.ledger.new_id()).collect();
    let shown = [grant.id];
    let tries = calls.iter().map(|call| spend(&world.ledger, *call, &ada, (&["frontier"], "0.3"), &shown));
    let spent = futures_util::future::join_all(tries).await;
    let passed: Vec<_> = calls.iter().zip(&spent).filter(|(_, it)| is_granted(it)).map(|(call, _)| *call).collect();
    assert_eq!((passed.len(), adds_up(&world, grant.id).await), (3, (3, usd("0.9"))));
    let again = async || spend(&world.ledger, world.ledger.new_id(), &ada, (&["frontier"], "0.3"), &[grant.id]).await;
    assert_eq!(bar(again().await), Bar::OverBudget { left: usd("0.1") });
    approvals.cost(passed[0], &[grant.id], usd("0.05")).await.unwrap();
    approvals.cost(passed[0], &[grant.id], usd("0.05")).await.unwrap();
    assert_eq!(adds_up(&world, grant.id).await, (3, usd("0.65")), "corrected to what it cost, once");
    assert!(is_granted(&again().await), "what was not needed is free again");
    assert_eq!(bar(again().await), Bar::OverBudget { left: usd("0.05") });
    approvals.give_back(passed[0], &[grant.id]).await.unwrap();
    assert_eq!(adds_up(&world, grant.id).await, (4, usd("0.95")), "what has cost something is not given back");
}

async fn a_use_is_taken_once_for_a_call_and_given_back_once(world: World) {
    let ada = world.spender(Terms::default()).await;
    let (approvals, grant) = (world.ledger.approvals(), granted(&world, &ada, "frontier", yes(Some(2), None)).await);
    let call = world.ledger.new_id();
    let shown = [grant.id];
    let tries = (0..8).map(|_| spend(&world.ledger, call, &ada, (&["frontier"], "0.1"), &shown));
    let spent = futures_util::future::join_all(tries).await;
    assert!(spent.iter().all(|it| *it == Spent::Granted(vec![grant.id])), "{spent:?}");
    assert_eq!(adds_up(&world, grant.id).await.0, 1);
    for _ in 0..3 {
        approvals.give_back(call, &[grant.id, grant.id]).await.unwrap();
    }
    approvals.give_back(world.ledger.new_id(), &[grant.id]).await.unwrap();
    assert_eq!(adds_up(&world, grant.id).await, (0, Money::ZERO));
    approvals.cost(call, &[grant.id], usd("5")).await.unwrap();
    assert_eq!(adds_up(&world, grant.id).await, (0, Money::ZERO), "what did not happen costs nothing");
}

async fn what_ends_ends_by_itself(world: World) {
    let ada = world.spender(Terms::default()).await;
    let approvals = world.ledger.approvals();
    let grant = granted(&world, &ada, "frontier", yes(Some(2), None)).await;
    let waiting = asked(&world, &ada, "export").await;
    let listed = async |state| {
        let filter = ApprovalFilter { org: Some(ada.org), state: Some(state) };
        let rows = approvals.list(&filter, &Page::first(10)).await.unwrap();
        rows.into_iter().map(|it| it.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(ApprovalState::Approved).await, [grant.id]);
    assert_eq!(listed(ApprovalState::Pending).await, [waiting.id]);
    world.clock.advance(Duration::from_secs(3_600));
    assert_eq!(listed(ApprovalState::Expired).await, [waiting.id], "nobody has decided in time");
    let late = approvals.decide(waiting.id, yes(None, None), &Actor::System).await;
    assert!(matches!(late, Err(DecideError::Settled { state: ApprovalState::Expired, .. })));
    let anew = asked(&world, &ada, "export").await;
    assert_ne!(anew.id, waiting.id);
    world.clock.advance(Duration::from_secs(86_400 - 3_600 - 1));
    let try_it = async || spend(&world.ledger, world.ledger.new_id(), &ada, (&["frontier"], "0.1"), &[grant.id]).await;
    assert!(is_granted(&try_it().await), "its last second");
    world.clock.advance(Duration::from_secs(1));
    assert_eq!(bar(try_it().await), Bar::Expired);
    assert_eq!(listed(ApprovalState::Expired).await.len(), 3);
    assert_eq!(
        approvals.get(grant.id).await.unwrap().unwrap().state_at(Timestamp::from_micros(0)),
        ApprovalState::Approved
    );
}

async fn several_requirements_are_used_together_or_not_at_all(world: World) {
    let (ada, eve) = (world.spender(Terms::default()).await, world.spender(Terms::default()).await);
    let (one, two) = (
        granted(&world, &ada, "frontier", yes(Some(1), None)).await,
        granted(&world, &ada, "export", yes(Some(1), None)).await,
    );
    let both = (&["export", "frontier"][..], "0.1");
    let Spent::Barred(choice) = spend(&world.ledger, world.ledger.new_id(), &ada, both, &[one.id]).await else {
        panic!("half is not enough")
    };
    assert_eq!(choice.unmet, ["export"]);
    assert_eq!(adds_up(&world, one.id).await.0, 0, "and uses nothing");
    let theirs = spend(&world.ledger, world.ledger.new_id(), &eve, both, &[one.id, two.id]).await;
    assert_eq!(bar(theirs), Bar::Unknown, "another organisation learns nothing");
    let spent = spend(&world.ledger, world.ledger.new_id(), &ada, both, &[two.id, one.id]).await;
    let mut grants = vec![one.id, two.id];
    grants.sort_unstable();
    assert_eq!(spent, Spent::Granted(grants));
    assert_eq!((adds_up(&world, one.id).await.0, adds_up(&world, two.id).await.0), (1, 1));
}

async fn so_many_wait_and_no_more(world: World) {
    let ada = world.spender(Terms::default()).await;
    let first = asked(&world, &ada, "0").await;
    let tail = "org_id, key_id, call_id, requirements, model, amount, created_at, expires_at";
    let (id, asked_as) = match world.on {
        crate::world::On::Sqlite => ("'apr_' || lower(hex(randomblob(16)))", "randomblob(32)"),
        crate::world::On::Postgres => ("'apr_' || md5(n::text)", "sha256(n::text::bytea)"),
    };
    let sql = format!(
        "WITH RECURSIVE many (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM many WHERE n < 998)
         INSERT INTO approvals (id, asked, {tail}) SELECT {id}, {asked_as}, {tail} FROM approvals, many"
    );
    world.meddle(&sql).await.unwrap();
    let rest = (0..6).map(|n| {
        let new = new(&world, &ada, &format!("rest {n}"), "big");
        async move { new }
    });
    let mut taken = 0;
    for new in futures_util::future::join_all(rest).await {
        taken += i32::from(world.ledger.approvals().request(new).await.unwrap().is_some());
    }
    assert_eq!(taken, 1, "a thousand wait");
    assert_eq!(asked(&world, &ada, "0").await.id, first.id, "whoever waits already is told the same");
    let eve = world.spender(Terms::default()).await;
    asked(&world, &eve, "0").await;
    world.clock.advance(Duration::from_secs(3_600));
    assert!(world.ledger.approvals().request(new(&world, &ada, "later", "big")).await.unwrap().is_some());
}

async fn each_step_is_on_record_and_no_use_can_be_undone(world: World) {
    let ada = world.spender(Terms::default()).await;
    let grant = granted(&world, &ada, "frontier", yes(Some(2), Some("3"))).await;
    let call = world.ledger.new_id();
    spend(&world.ledger, call, &ada, (&["frontier"], "0.1"), &[grant.id]).await;
    world.ledger.approvals().give_back(call, &[grant.id]).await.unwrap();
    let no = asked(&world, &ada, "export").await;
    let verdict = Verdict::Deny { reason: Some("CANARY".into()) };
    world.ledger.approvals().decide(no.id, verdict, &Actor::System).await.unwrap();
    let export = world.export(Some(ada.org)).await;
    let kinds: Vec<String> = export
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["kind"].as_str().unwrap().to_owned())
        .filter(|kind| kind.starts_with("APPROVAL"))
        .collect();
    let steps = ["REQUESTED", "GRANTED", "USED", "RETURNED", "REQUESTED", "DENIED"];
    assert_eq!(kinds, steps.map(|it| format!("APPROVAL_{it}")));
    assert!(!export.contains("CANARY") && export.contains(r#""budget_usd":"3""#), "{export}");
    assert!(ledger::audit::verify_export(export.as_bytes()).is_ok());
    for sql in [
        "UPDATE approval_uses SET uses = 0",
        "DELETE FROM approval_uses",
        "DELETE FROM approvals WHERE used = 0",
        "INSERT OR REPLACE INTO approval_uses SELECT * FROM approval_uses",
    ] {
        let done = world.meddle(sql).await;
        assert!(done.is_err(), "{sql}");
    }
}
