//! Alerts on their way out: to whom they are for, at least once, whoever dies on the way.

use std::time::Duration;

use ledger::{Actor, AlertFilter, AlertRow, DeliveryState, Page, TenantError, alert};

use crate::world::{Spender, Terms, World, limit, on_both_databases};

on_both_databases!(
    a_limit_that_is_reached_is_told_to_whom_it_is_for,
    two_processes_never_hold_the_same_delivery,
    what_was_sent_and_not_marked_is_sent_again,
    giving_up_is_seen_and_can_be_undone,
);

const LEASE: Duration = Duration::from_secs(60);

fn everybody(_: &AlertRow) -> Vec<String> {
    vec!["ops".to_owned()]
}

/// Somebody whose call was refused, which leaves one alert.
async fn refused(world: &World) -> Spender {
    let who = world.spender(Terms { soft: None, ..limit("1") }).await;
    world.reserve(&who, "2").await.expect_err("over the limit");
    world.reserve(&who, "3").await.expect_err("over the limit again, which is told no more");
    who
}

async fn a_limit_that_is_reached_is_told_to_whom_it_is_for(world: World) {
    let who = refused(&world).await;
    let outbox = world.ledger.outbox();
    let seen = outbox.route(|alert| {
        assert_eq!((alert.org, alert.wallet, alert.kind.as_str()), (who.org, Some(who.wallet), alert::HARD_LIMIT));
        vec!["ops".to_owned(), "chat".to_owned()]
    });
    assert_eq!(seen.await.unwrap(), 1);
    assert_eq!(outbox.route(everybody).await.unwrap(), 0, "each is looked at once");
    assert_eq!(outbox.backlog().await.unwrap(), (2, 0));
    assert!(outbox.claim("nobody", 9, LEASE).await.unwrap().is_empty());
    let due = outbox.claim("ops", 9, LEASE).await.unwrap();
    assert_eq!((due.len(), due[0].attempt), (1, 1));
    world.clock.advance(Duration::from_secs(1));
    outbox.delivered("ops", &due[0]).await.unwrap();
    let filter = AlertFilter { org: Some(who.org), kind: Some(alert::HARD_LIMIT.into()), ..AlertFilter::default() };
    let listed = outbox.list(&filter, &Page::first(10)).await.unwrap();
    let states: Vec<_> = listed[0].deliveries.iter().map(|it| (it.sink.as_str(), it.state, it.attempts)).collect();
    assert_eq!(states, [("chat", DeliveryState::Pending, 0), ("ops", DeliveryState::Delivered, 1)]);
    let page = Page { after: Some(listed[0].mark()), limit: 10 };
    assert!(outbox.list(&AlertFilter::default(), &page).await.unwrap().is_empty());
    let failed = AlertFilter { state: Some(DeliveryState::Failed), ..AlertFilter::default() };
    assert!(outbox.list(&failed, &Page::first(10)).await.unwrap().is_empty());
}

async fn two_processes_never_hold_the_same_delivery(world: World) {
    for _ in 0..3 {
        refused(&world).await;
    }
    // Two handles of one ledger ask as two processes would: nothing but the rows stands between them.
    let (one, two) = (world.ledger.outbox(), world.ledger.outbox());
    let (a, b) = tokio::join!(one.route(everybody), two.route(everybody));
    assert!(a.unwrap() + b.unwrap() >= 3);
    assert_eq!(one.backlog().await.unwrap(), (3, 0));
    let (a, b) = tokio::join!(one.claim("ops", 9, LEASE), two.claim("ops", 9, LEASE));
    let mut ids: Vec<_> = a.unwrap().into_iter().chain(b.unwrap()).map(|due| due.alert.id).collect();
    ids.sort_unstable();
    let count = ids.len();
    ids.dedup();
    assert_eq!((count, ids.len()), (3, 3));
}

async fn what_was_sent_and_not_marked_is_sent_again(world: World) {
    refused(&world).await;
    let outbox = world.ledger.outbox();
    outbox.route(everybody).await.unwrap();
    let first = outbox.claim("ops", 9, LEASE).await.unwrap().remove(0);
    world.clock.advance(Duration::from_secs(59));
    assert!(outbox.claim("ops", 9, LEASE).await.unwrap().is_empty());
    world.clock.advance(Duration::from_secs(1));
    let second = outbox.claim("ops", 9, LEASE).await.unwrap().remove(0);
    assert_eq!((second.alert.id, second.attempt), (first.alert.id, 2));
    // Whoever comes back late says nothing about the attempt of another.
    outbox.missed("ops", &first, "late", None).await.unwrap();
    assert_eq!(outbox.backlog().await.unwrap(), (1, 0));
    let again = world.clock.now().after(Duration::from_secs(5));
    outbox.missed("ops", &second, "answered 500", Some(again)).await.unwrap();
    assert!(outbox.claim("ops", 9, LEASE).await.unwrap().is_empty());
    world.clock.advance(Duration::from_secs(5));
    let third = outbox.claim("ops", 9, LEASE).await.unwrap().remove(0);
    outbox.delivered("ops", &third).await.unwrap();
    assert_eq!(outbox.backlog().await.unwrap(), (0, 0));
    world.clock.advance(LEASE);
    assert!(outbox.claim("ops", 9, LEASE).await.unwrap().is_empty());
}

async fn giving_up_is_seen_and_can_be_undone(world: World) {
    let who = refused(&world).await;
    let outbox = world.ledger.outbox();
    outbox.route(everybody).await.unwrap();
    let due = outbox.claim("ops", 9, LEASE).await.unwrap().remove(0);
    outbox.missed("ops", &due, "answered 500", None).await.unwrap();
    assert_eq!(outbox.backlog().await.unwrap(), (0, 1));
    let failed = AlertFilter { state: Some(DeliveryState::Failed), ..AlertFilter::default() };
    let listed = outbox.list(&failed, &Page::first(10)).await.unwrap().remove(0);
    assert_eq!(listed.deliveries[0].last_error.as_deref(), Some("answered 500"));
    assert!(world.export(Some(who.org)).await.contains("\"kind\":\"ALERT_FAILED\""));
    let id = due.alert.id;
    let error = outbox.redeliver(id, Some("elsewhere"), &Actor::System).await.expect_err("no such sink");
    assert!(matches!(error, TenantError::Invalid { field: "sink", .. }), "{error}");
    let unknown = outbox.redeliver(world.ledger.new_id(), None, &Actor::System).await;
    assert!(matches!(unknown, Err(TenantError::Unknown(_))));
    let told = outbox.redeliver(id, None, &Actor::System).await.unwrap();
    assert_eq!((told.deliveries[0].state, told.deliveries[0].attempts), (DeliveryState::Pending, 0));
    assert!(world.export(Some(who.org)).await.contains("\"kind\":\"ALERT_REDELIVERED\""));
    // A sink that is new since gets it as well.
    outbox.route(|_| vec!["ops".to_owned(), "new".to_owned()]).await.unwrap();
    assert_eq!(outbox.claim("ops", 9, LEASE).await.unwrap().len(), 1);
    assert_eq!(outbox.claim("new", 9, LEASE).await.unwrap().len(), 1);
}
