//! Attributes and groups: kept, changed, told to whoever verifies callers, and on record without a value.

use std::sync::Arc;

use ledger::{
    Actor, Attributes, Limits, NewKey, NewOrg, NewTeam, NewUser, NewWallet, OrgChange, TeamChange, TenantError,
    UserChange, WalletKind,
};

use crate::world::{World, on_both_databases};

on_both_databases!(
    a_key_knows_what_is_said_of_those_it_belongs_to,
    a_change_counts_at_once_and_is_on_record_without_its_values,
    a_repeat_of_what_was_made_is_one_only_with_the_same_attributes,
);

const BY: &Actor = &Actor::System;

fn said(pairs: &[(&str, &str)]) -> Attributes {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

async fn a_key_knows_what_is_said_of_those_it_belongs_to(World { ledger, .. }: World) {
    let tenants = ledger.tenants();
    let new = NewOrg { id: ledger.new_id(), name: "Bank".into(), attributes: said(&[("sector", "bank")]) };
    let org = tenants.create_org(new, BY).await.unwrap();
    let new = NewTeam {
        id: ledger.new_id(),
        org: org.id,
        name: "Desk".into(),
        limits: Limits::default(),
        attributes: said(&[("desk", "7")]),
    };
    let team = tenants.create_team(new, BY).await.unwrap();
    let new = NewUser {
        id: ledger.new_id(),
        org: org.id,
        name: "Ada".into(),
        email: None,
        teams: vec![team.id],
        groups: vec!["staff".into(), "research".into()],
        attributes: said(&[("clearance", "2")]),
    };
    let user = tenants.create_user(new, BY).await.unwrap();
    assert_eq!(tenants.user(user.id).await.unwrap(), user);
    assert_eq!(user.groups, ["research", "staff"], "in the order of their names");
    let wallet = NewWallet::new(ledger.new_id(), org.id, "Purse", WalletKind::Project);
    let wallet = tenants.create_wallet(wallet, BY).await.unwrap().id;
    let theirs = NewKey { team: Some(team.id), user: Some(user.id), ..NewKey::new(ledger.new_id(), "app", wallet) };
    let nobodys = NewKey::new(ledger.new_id(), "app", wallet);
    for new in [theirs.clone(), nobodys.clone()] {
        tenants.create_key(new, BY).await.unwrap();
    }
    let keys = tenants.credentials().await.unwrap().keys;
    let of = |id| keys.iter().find(|it| it.key == id).unwrap();
    let (full, bare) = (of(theirs.id), of(nobodys.id));
    assert_eq!(*full.groups, ["research", "staff"]);
    assert_eq!(*full.attributes.org, said(&[("sector", "bank")]));
    assert_eq!(*full.attributes.team, said(&[("desk", "7")]));
    assert_eq!(*full.attributes.user, said(&[("clearance", "2")]));
    assert!(bare.groups.is_empty() && bare.attributes.team.is_empty() && bare.attributes.user.is_empty());
    assert!(Arc::ptr_eq(&full.attributes.org, &bare.attributes.org), "one copy for all keys");
}

async fn a_change_counts_at_once_and_is_on_record_without_its_values(world: World) {
    let tenants = world.ledger.tenants();
    let org = world.org().await;
    let new = NewUser {
        id: world.ledger.new_id(),
        org,
        name: "Ada".into(),
        email: Some("ada@example.com".into()),
        teams: vec![],
        groups: vec![],
        attributes: Attributes::new(),
    };
    let user = tenants.create_user(new, BY).await.unwrap();
    let new = NewTeam {
        id: world.ledger.new_id(),
        org,
        name: "Desk".into(),
        limits: Limits::default(),
        attributes: Attributes::new(),
    };
    let team = tenants.create_team(new, BY).await.unwrap();
    let before = world.ledger.revision().borrow().revision;
    let attributes = Some(said(&[("secret_class", "CANARY")]));
    let row = tenants.change_org(org, OrgChange { attributes: attributes.clone(), name: None }, BY).await.unwrap();
    assert_eq!((row.name.as_str(), row.attributes.len()), ("org", 1));
    assert_eq!(tenants.org(org).await.unwrap(), row);
    let to = TeamChange { attributes: attributes.clone(), ..TeamChange::default() };
    assert_eq!(tenants.change_team(team.id, to, BY).await.unwrap().attributes.len(), 1);
    let to = UserChange {
        name: Some("Ada L.".into()),
        email: Some(None),
        teams: Some(vec![team.id]),
        groups: Some(vec!["CANARY".into()]),
        attributes,
    };
    let row = tenants.change_user(user.id, to, BY).await.unwrap();
    assert_eq!((row.email.as_ref(), row.teams.as_slice(), row.groups.len()), (None, &[team.id][..], 1));
    assert_eq!(tenants.user(user.id).await.unwrap(), row);
    assert_eq!(world.ledger.revision().borrow().revision, before + 3, "every process hears of each");
    let nothing = tenants.change_user(user.id, UserChange::default(), BY).await.unwrap();
    assert_eq!((nothing, world.ledger.revision().borrow().revision), (row, before + 3), "nothing changes nothing");
    let away = UserChange { attributes: Some(Attributes::new()), ..UserChange::default() };
    assert!(tenants.change_user(user.id, away, BY).await.unwrap().attributes.is_empty());
    let export = world.export(Some(org)).await;
    for kind in ["ORG_CHANGED", "TEAM_CHANGED", "USER_CHANGED"] {
        assert!(export.contains(kind), "{kind} in {export}");
    }
    assert!(export.contains(r#""attributes":["secret_class"]"#) && !export.contains("CANARY"), "{export}");
    assert!(ledger::audit::verify_export(export.as_bytes()).is_ok());
    let unknown = tenants.change_org(world.ledger.new_id(), OrgChange::default(), BY).await;
    assert!(matches!(unknown, Err(TenantError::Unknown(_))));
}

async fn a_repeat_of_what_was_made_is_one_only_with_the_same_attributes(World { ledger, .. }: World) {
    let tenants = ledger.tenants();
    let new = NewOrg { id: ledger.new_id(), name: "Bank".into(), attributes: said(&[("sector", "bank")]) };
    let org = tenants.create_org(new.clone(), BY).await.unwrap();
    assert_eq!(tenants.create_org(new.clone(), BY).await.unwrap(), org);
    let other = tenants.create_org(NewOrg { attributes: Attributes::new(), ..new.clone() }, BY).await;
    assert!(matches!(other, Err(TenantError::Conflict(_))));
    let many = (0..33).map(|n| (n.to_string(), String::new())).collect();
    let many = tenants.create_org(NewOrg { attributes: many, id: ledger.new_id(), name: "Bank".into() }, BY).await;
    assert!(matches!(many, Err(TenantError::Invalid { field: "attributes", .. })));
}
