//! Where rules come from: revisions, which of them is in force, and which is rehearsed.

use std::time::Duration;

use ledger::policies::LONGEST_BUNDLE;
use ledger::{
    Activation, ActivationRow, Actor, Id, NewActivation, NewOrg, NewPolicy, NewTeam, Page, Policy, PolicyDiff,
    PolicyError, PolicyRow, PolicyScope, PolicySource, TrailFilter,
};
use serde_json::json;

use crate::world::{World, on_both_databases};

on_both_databases!(
    a_revision_is_kept_as_it_was_and_is_not_in_force_by_that,
    whoever_activates_says_what_they_have_seen,
    a_layer_is_activated_rolled_back_and_taken_away_each_on_record,
    the_house_is_on_record_once_for_each_content,
    one_revision_at_a_time_is_rehearsed,
    what_belongs_to_a_tenant_is_in_its_chain_and_tells_no_rule,
    what_is_too_large_or_of_nobody_is_refused,
);

const PLATFORM: PolicyScope = PolicyScope::Platform;

fn new(world: &World, scope: PolicyScope, text: &str) -> NewPolicy {
    NewPolicy {
        id: world.ledger.new_id(),
        scope,
        digest: [text.len() as u8; 32],
        revision: "abcdef012345".into(),
        bundle: text.as_bytes().to_vec(),
        source: PolicySource::Upload,
        note: Some("why".into()),
    }
}

async fn create(world: &World, scope: PolicyScope, text: &str) -> PolicyRow {
    world.clock.advance(Duration::from_secs(1));
    world.ledger.policies().create(new(world, scope, text), &Actor::System).await.unwrap()
}

async fn activate(
    world: &World,
    scope: PolicyScope,
    policy: Option<Id<Policy>>,
    after: i64,
    restores: Option<i64>,
) -> Result<ActivationRow, PolicyError> {
    world.clock.advance(Duration::from_secs(1));
    let diff = PolicyDiff { modules_added: 2, data_removed: 1, ..PolicyDiff::default() };
    let word = NewActivation { id: world.ledger.new_id(), scope, policy, after, restores, diff };
    world.ledger.policies().activate(word, &Actor::System).await
}

async fn kinds(world: &World, org: Option<Id<ledger::Org>>) -> Vec<String> {
    let lines = world.ledger.trail().list(org, &TrailFilter::default(), None, 100).await.unwrap();
    lines.into_iter().map(|it| it.kind).filter(|it| it.starts_with("POLICY")).collect()
}

async fn a_revision_is_kept_as_it_was_and_is_not_in_force_by_that(world: World) {
    let all = world.ledger.policies();
    let made = new(&world, PLATFORM, "first");
    let first = all.create(made.clone(), &Actor::System).await.unwrap();
    assert_eq!((first.bytes, first.author.as_str(), first.source), (5, "system", PolicySource::Upload));
    assert_eq!(all.create(made.clone(), &Actor::System).await.unwrap(), first, "a repeat");
    let other = NewPolicy { digest: [9; 32], ..made };
    assert!(matches!(all.create(other, &Actor::System).await, Err(PolicyError::Conflict(_))));
    assert_eq!(all.bundle(first.id).await.unwrap().unwrap(), b"first");
    assert_eq!(all.revision(first.id).await.unwrap(), Some(first.clone()));
    assert_eq!((all.in_force().await.unwrap(), all.count().await.unwrap()), (vec![], 0));
    let second = create(&world, PLATFORM, "second").await;
    let pages = [Page { after: None, limit: 1 }, Page { after: Some(first.mark()), limit: 10 }];
    assert_eq!(all.revisions(None, &pages[0]).await.unwrap(), std::slice::from_ref(&first), "in pages, oldest first");
    assert_eq!(all.revisions(Some(PLATFORM), &pages[1]).await.unwrap(), [second]);
    assert_eq!(all.revisions(Some(PolicyScope::House), &pages[0]).await.unwrap(), []);
    activate(&world, PLATFORM, Some(first.id), 0, None).await.unwrap();
    all.set_shadow(world.ledger.new_id(), Some(first.id), &Actor::System).await.unwrap();
    for table in ["policy_revisions", "policy_activations", "policy_shadows"] {
        for sql in [format!("UPDATE {table} SET author = 'x'"), format!("DELETE FROM {table}")] {
            assert!(world.meddle(&sql).await.unwrap_err().contains("append-only"), "{sql}");
        }
    }
}

async fn whoever_activates_says_what_they_have_seen(world: World) {
    let all = world.ledger.policies();
    let (first, second) = (create(&world, PLATFORM, "1").await, create(&world, PLATFORM, "22").await);
    let early = activate(&world, PLATFORM, Some(first.id), 1, None).await;
    assert!(matches!(early, Err(PolicyError::Outdated(0))));
    let none = activate(&world, PLATFORM, None, 0, None).await;
    assert!(matches!(none, Err(PolicyError::Unknown(_))), "there is nothing to take away");
    let word = NewActivation {
        id: world.ledger.new_id(),
        scope: PLATFORM,
        policy: Some(first.id),
        after: 0,
        restores: None,
        diff: PolicyDiff::default(),
    };
    let one = all.activate(word.clone(), &Actor::System).await.unwrap();
    assert_eq!(all.activate(word.clone(), &Actor::System).await.unwrap(), one, "a repeat");
    let other = NewActivation { policy: Some(second.id), ..word };
    assert!(matches!(all.activate(other, &Actor::System).await, Err(PolicyError::Conflict(_))));
    let late = activate(&world, PLATFORM, Some(second.id), 0, None).await;
    assert!(matches!(late, Err(PolicyError::Outdated(1))));
    assert_eq!(activate(&world, PLATFORM, Some(first.id), 1, None).await.unwrap(), one, "it is in force already");
    assert_eq!((all.count().await.unwrap(), all.last(PLATFORM).await.unwrap()), (1, Some(one)));
    let unknown = Some(world.ledger.new_id());
    assert!(matches!(activate(&world, PLATFORM, unknown, 1, None).await, Err(PolicyError::Unknown(_))));
    let elsewhere = activate(&world, PolicyScope::House, Some(first.id), 0, None).await;
    assert!(matches!(elsewhere, Err(PolicyError::OtherScope { scope: PLATFORM, .. })));
}

async fn a_layer_is_activated_rolled_back_and_taken_away_each_on_record(world: World) {
    let all = world.ledger.policies();
    let (first, second) = (create(&world, PLATFORM, "1").await, create(&world, PLATFORM, "22").await);
    activate(&world, PLATFORM, Some(first.id), 0, None).await.unwrap();
    let before = *world.ledger.revision().borrow();
    activate(&world, PLATFORM, Some(second.id), 1, None).await.unwrap();
    assert!(world.ledger.revision().borrow().revision > before.revision, "others hear of it");
    activate(&world, PLATFORM, Some(first.id), 2, Some(1)).await.unwrap();
    let there = all.in_force_of(PLATFORM).await.unwrap().unwrap();
    assert_eq!((there.revision.id, there.activation.version, there.activation.restores), (first.id, 3, Some(1)));
    assert_eq!(all.in_force().await.unwrap(), [there]);
    let found = all.activation_with(PLATFORM, second.id).await.unwrap().unwrap();
    assert_eq!(Some(found), all.activation(PLATFORM, 2).await.unwrap());
    let gone = activate(&world, PLATFORM, None, 3, None).await.unwrap();
    assert_eq!((gone.version, gone.policy, all.in_force_of(PLATFORM).await.unwrap()), (4, None, None));
    activate(&world, PLATFORM, Some(second.id), 4, Some(2)).await.unwrap();
    let told = all.activations(PLATFORM, 1, 3).await.unwrap();
    assert_eq!(told.iter().map(|it| it.version).collect::<Vec<_>>(), [2, 3, 4], "in pages");
    assert_eq!(
        kinds(&world, None).await,
        [
            "POLICY_CREATED",
            "POLICY_CREATED",
            "POLICY_ACTIVATED",
            "POLICY_ACTIVATED",
            "POLICY_ROLLED_BACK",
            "POLICY_REMOVED",
            "POLICY_ROLLED_BACK"
        ]
    );
    let export = world.export(None).await;
    let lines: Vec<serde_json::Value> = export.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let line = lines.iter().rfind(|it| it["kind"] == "POLICY_ACTIVATED").unwrap();
    assert_eq!(line["policy_id"], json!(second.id));
    assert_eq!(line["previous_policy_id"], json!(first.id));
    assert_eq!((&line["scope"], &line["version"]), (&json!("platform"), &json!(2)));
    assert_eq!(line["digest"], hex::encode([2_u8; 32]));
    assert_eq!((&line["diff"]["modules_added"], &line["diff"]["data_removed"]), (&json!(2), &json!(1)));
    assert!(ledger::audit::verify_export(export.as_bytes()).is_ok());
}

async fn the_house_is_on_record_once_for_each_content(world: World) {
    let all = world.ledger.policies();
    let house = async |text: &str| {
        world.clock.advance(Duration::from_secs(1));
        all.house(new(&world, PolicyScope::Platform, text), PolicyDiff::default()).await.unwrap()
    };
    let first = house("1").await;
    assert_eq!((first.revision.scope, first.activation.version), (PolicyScope::House, 1));
    assert_eq!(house("1").await, first, "a start with the same rules says nothing");
    let second = house("22").await;
    assert_eq!(second.activation.version, 2);
    let back = house("1").await;
    assert_eq!((back.revision, back.activation.version), (first.revision, 3), "known content is not kept twice");
    assert_eq!(all.count().await.unwrap(), 3);
}

async fn one_revision_at_a_time_is_rehearsed(world: World) {
    let all = world.ledger.policies();
    assert_eq!(all.shadow().await.unwrap(), None);
    let (first, second) = (create(&world, PLATFORM, "1").await, create(&world, PLATFORM, "22").await);
    let id: Id<Activation> = world.ledger.new_id();
    let one = all.set_shadow(id, Some(first.id), &Actor::System).await.unwrap();
    assert_eq!(all.set_shadow(id, Some(first.id), &Actor::System).await.unwrap(), one, "a repeat");
    let conflict = all.set_shadow(id, Some(second.id), &Actor::System).await;
    assert!(matches!(conflict, Err(PolicyError::Conflict(_))));
    all.set_shadow(world.ledger.new_id(), Some(second.id), &Actor::System).await.unwrap();
    all.set_shadow(world.ledger.new_id(), None, &Actor::System).await.unwrap();
    let none = all.shadow().await.unwrap().unwrap();
    assert_eq!((none.version, none.policy), (3, None));
    assert_eq!(all.set_shadow(world.ledger.new_id(), None, &Actor::System).await.unwrap(), none, "none is none");
    let unknown = all.set_shadow(world.ledger.new_id(), Some(world.ledger.new_id()), &Actor::System).await;
    assert!(matches!(unknown, Err(PolicyError::Unknown(_))));
    assert_eq!(kinds(&world, None).await.iter().filter(|it| *it == "POLICY_SHADOWED").count(), 3);
}

async fn what_belongs_to_a_tenant_is_in_its_chain_and_tells_no_rule(world: World) {
    let tenants = world.ledger.tenants();
    let org = NewOrg { id: world.ledger.new_id(), name: "Acme".into(), attributes: Default::default() };
    let org = tenants.create_org(org, &Actor::System).await.unwrap().id;
    let team = NewTeam {
        id: world.ledger.new_id(),
        org,
        name: "Search".into(),
        limits: Default::default(),
        attributes: Default::default(),
    };
    let team = tenants.create_team(team, &Actor::System).await.unwrap().id;
    for scope in [PolicyScope::Org(org), PolicyScope::Team(team)] {
        let made = create(&world, scope, "CANARY").await;
        activate(&world, scope, Some(made.id), 0, None).await.unwrap();
        world.ledger.policies().set_shadow(world.ledger.new_id(), Some(made.id), &Actor::System).await.unwrap();
    }
    world.ledger.policies().set_shadow(world.ledger.new_id(), None, &Actor::System).await.unwrap();
    let of_one = ["POLICY_CREATED", "POLICY_ACTIVATED", "POLICY_SHADOWED"];
    let told = kinds(&world, Some(org)).await;
    assert_eq!(told, [&of_one[..], &of_one[..], &["POLICY_SHADOWED"]].concat());
    assert_eq!(kinds(&world, None).await, [""; 0]);
    let export = world.export(Some(org)).await;
    assert!(!export.contains("CANARY") && !export.contains("why"), "{export}");
}

async fn what_is_too_large_or_of_nobody_is_refused(world: World) {
    let all = world.ledger.policies();
    let large = NewPolicy { bundle: vec![0; LONGEST_BUNDLE + 1], ..new(&world, PLATFORM, "x") };
    assert!(matches!(all.create(large, &Actor::System).await, Err(PolicyError::TooLarge(_))));
    for note in ["a\nb".to_owned(), "n".repeat(501)] {
        let noted = NewPolicy { note: Some(note), ..new(&world, PLATFORM, "x") };
        assert!(matches!(all.create(noted, &Actor::System).await, Err(PolicyError::Invalid(_))));
    }
    for scope in [PolicyScope::Org(world.ledger.new_id()), PolicyScope::Team(world.ledger.new_id())] {
        let nobody = all.create(new(&world, scope, "x"), &Actor::System).await;
        assert!(matches!(nobody, Err(PolicyError::Unknown(_))));
    }
    assert_eq!(all.count().await.unwrap(), 0);
    let whole = NewPolicy { bundle: vec![7; LONGEST_BUNDLE], ..new(&world, PLATFORM, "x") };
    let kept = all.create(whole, &Actor::System).await.unwrap();
    assert_eq!(all.bundle(kept.id).await.unwrap().map(|it| it.len()), Some(LONGEST_BUNDLE), "the longest fits");
}
