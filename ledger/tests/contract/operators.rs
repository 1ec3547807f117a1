//! Operators: their roles, their end, and that one of them is always let in.

use ledger::{Actor, NewOperator, OperatorCredential, Page, Role, TenantError};

use crate::world::{World, on_both_databases};

on_both_databases!(an_operator_has_a_role_until_revoked, the_bootstrap_operator_is_not_revoked,);

const BY: &Actor = &Actor::System;

async fn an_operator_has_a_role_until_revoked(world: World) {
    let (tenants, org) = (world.ledger.tenants(), world.org().await);
    let new = |role, org| NewOperator { id: world.ledger.new_id(), name: "Ada".into(), role, org };
    let approver = new(Role::Approver, Some(org));
    let (row, shown) = tenants.create_operator(approver.clone(), BY).await.unwrap();
    let (auditor, _) = tenants.create_operator(new(Role::Auditor, None), BY).await.unwrap();
    let known = async || {
        let set = tenants.credentials().await.unwrap();
        OperatorCredential::find(&set.operators, shown.expose().as_bytes()).map(|it| (it.id, it.role, it.org))
    };
    assert_eq!(known().await, Some((row.id, Role::Approver, Some(org))));
    let again = tenants.create_operator(approver.clone(), BY).await;
    assert!(matches!(again, Err(TenantError::AlreadyShown(_))), "a secret is shown once");
    let other = tenants.create_operator(NewOperator { role: Role::Admin, org: None, ..approver }, BY).await;
    assert!(matches!(other, Err(TenantError::Conflict(_))));
    for wrong in [new(Role::Auditor, Some(org)), new(Role::Approver, Some(world.ledger.new_id()))] {
        let refused = tenants.create_operator(wrong, BY).await;
        assert!(matches!(refused, Err(TenantError::Invalid { field: "org", .. })));
    }
    let gone = tenants.revoke_operator(row.id, BY).await.unwrap();
    assert_eq!(gone.revoked_at, Some(world.clock.now()));
    assert_eq!(tenants.revoke_operator(row.id, BY).await.unwrap(), gone, "once is enough");
    assert_eq!(known().await, None);
    let listed = tenants.operators(&Page::first(10)).await.unwrap();
    assert_eq!(listed.iter().map(|it| it.id).collect::<Vec<_>>().len(), 2);
    assert!(listed.contains(&gone) && listed.contains(&auditor));
    let export = world.export(None).await;
    assert!(export.contains(r#""role":"approver""#) && export.contains("OPERATOR_REVOKED"), "{export}");
    assert!(!export.contains("Ada"), "{export}");
}

async fn the_bootstrap_operator_is_not_revoked(world: World) {
    let tenants = world.ledger.tenants();
    let id = tenants.ensure_operator("an-admin-key-of-the-environment").await.unwrap();
    let refused = tenants.revoke_operator(id, BY).await;
    assert!(matches!(refused, Err(TenantError::Bootstrap(_))));
    assert!(matches!(tenants.revoke_operator(world.ledger.new_id(), BY).await, Err(TenantError::Unknown(_))));
    let listed = tenants.operators(&Page::first(10)).await.unwrap();
    assert_eq!((listed.len(), listed[0].bootstrap, listed[0].role), (1, true, Role::Admin));
}
