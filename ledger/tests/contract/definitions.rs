//! Providers and models that operators manage.

use std::time::Duration;

use ledger::{Actor, After, DefinitionError, DefinitionKind, DefinitionRow, NewDefinition, TrailFilter, definitions};
use serde_json::{Value, json};

use crate::world::{World, on_both_databases};

on_both_databases!(
    every_write_is_a_version_and_none_changes_or_goes,
    whoever_writes_says_what_they_have_seen,
    what_is_in_force_is_the_last_word_in_the_order_of_the_first,
    each_version_is_on_record_without_its_text,
    what_is_too_large_or_too_many_is_refused,
);

fn provider(world: &World, name: &str, body: Value, after: After) -> NewDefinition {
    let body = Some(body).filter(|it| !it.is_null());
    let (id, kind) = (world.ledger.new_id(), DefinitionKind::Provider);
    NewDefinition { id, kind, name: name.into(), body, after, restores: None }
}

async fn write(world: &World, new: NewDefinition) -> Result<DefinitionRow, DefinitionError> {
    world.clock.advance(Duration::from_secs(1));
    world.ledger.definitions().write(new, &Actor::System).await
}

async fn every_write_is_a_version_and_none_changes_or_goes(world: World) {
    let all = world.ledger.definitions();
    let made = provider(&world, "up", json!({"id": "up", "kind": "openai"}), After::Nothing);
    let first = write(&world, made.clone()).await.unwrap();
    assert_eq!((first.version, first.author.as_str()), (1, "system"));
    assert_eq!(write(&world, made.clone()).await.unwrap(), first, "a repeat");
    let other = NewDefinition { body: Some(json!({"id": "up"})), ..made };
    assert!(matches!(write(&world, other).await, Err(DefinitionError::Conflict(_))));
    write(&world, provider(&world, "up", json!({"id": "up", "kind": "groq"}), After::Version(1))).await.unwrap();
    let gone = write(&world, provider(&world, "up", Value::Null, After::Version(2))).await.unwrap();
    assert_eq!((gone.version, &gone.body), (3, &None));
    assert_eq!(all.in_force().await.unwrap(), [], "it is gone");
    let versions = all.versions(DefinitionKind::Provider, "up", 0, 10).await.unwrap();
    assert_eq!(all.versions(DefinitionKind::Provider, "up", 1, 1).await.unwrap(), versions[1..2], "in pages");
    assert_eq!(versions.iter().map(|it| it.version).collect::<Vec<_>>(), [1, 2, 3], "and everything is known of it");
    assert_eq!(all.version(DefinitionKind::Provider, "up", 1).await.unwrap(), Some(first));
    assert_eq!(all.version(DefinitionKind::Model, "up", 1).await.unwrap(), None, "of this kind alone");
    let again = provider(&world, "up", json!({"id": "up", "kind": "openai"}), After::Nothing);
    assert_eq!(write(&world, again).await.unwrap().version, 4, "made anew");
    assert_eq!(all.count().await.unwrap(), 4);
    for sql in ["UPDATE definitions SET body = 'x'", "DELETE FROM definitions"] {
        assert!(world.meddle(sql).await.unwrap_err().contains("append-only"), "{sql}");
    }
}

async fn whoever_writes_says_what_they_have_seen(world: World) {
    let body = || json!({"id": "up", "kind": "openai"});
    let unknown = write(&world, provider(&world, "up", body(), After::Version(1))).await;
    assert!(matches!(unknown, Err(DefinitionError::Unknown(..))));
    write(&world, provider(&world, "up", body(), After::Nothing)).await.unwrap();
    let twice = write(&world, provider(&world, "up", body(), After::Nothing)).await;
    assert!(matches!(twice, Err(DefinitionError::Exists(..))));
    let same = write(&world, provider(&world, "up", body(), After::Version(1))).await.unwrap();
    assert_eq!(same.version, 1, "what is in force already writes nothing");
    write(&world, provider(&world, "up", json!({"id": "up"}), After::Version(1))).await.unwrap();
    let late = write(&world, provider(&world, "up", Value::Null, After::Version(1))).await;
    assert!(matches!(late, Err(DefinitionError::Outdated(2))));
    assert_eq!(world.ledger.definitions().count().await.unwrap(), 2, "what was refused left nothing");
}

async fn what_is_in_force_is_the_last_word_in_the_order_of_the_first(world: World) {
    for name in ["z", "a", "m"] {
        write(&world, provider(&world, name, json!({"id": name}), After::Nothing)).await.unwrap();
    }
    let before = *world.ledger.revision().borrow();
    write(&world, provider(&world, "z", json!({"id": "z", "region": "eu"}), After::Version(1))).await.unwrap();
    assert!(world.ledger.revision().borrow().revision > before.revision, "others hear of it");
    write(&world, provider(&world, "a", Value::Null, After::Version(1))).await.unwrap();
    let found = world.ledger.definitions().in_force().await.unwrap();
    let told: Vec<_> = found.iter().map(|it| (it.name.as_str(), it.version)).collect();
    assert_eq!(told, [("z", 2), ("m", 1)]);
    assert_eq!(found[0].body.as_ref().unwrap()["region"], "eu");
}

async fn each_version_is_on_record_without_its_text(world: World) {
    write(&world, provider(&world, "up", json!({"id": "up", "region": "CANARY"}), After::Nothing)).await.unwrap();
    write(&world, provider(&world, "up", json!({"id": "up"}), After::Version(1))).await.unwrap();
    let back = provider(&world, "up", json!({"id": "up", "region": "CANARY"}), After::Version(2));
    write(&world, NewDefinition { restores: Some(1), ..back }).await.unwrap();
    write(&world, provider(&world, "up", Value::Null, After::Version(3))).await.unwrap();
    let model = provider(&world, "chat", json!({"id": "chat"}), After::Nothing);
    write(&world, NewDefinition { kind: DefinitionKind::Model, ..model }).await.unwrap();
    let lines = world.ledger.trail().list(None, &TrailFilter::default(), None, 100).await.unwrap();
    let kinds: Vec<_> = lines.iter().map(|it| it.kind.as_str()).filter(|it| !it.contains("OPERATOR")).collect();
    assert_eq!(
        kinds,
        ["PROVIDER_CREATED", "PROVIDER_CHANGED", "PROVIDER_CHANGED", "PROVIDER_DELETED", "MODEL_CREATED"]
    );
    let export = world.export(None).await;
    assert!(!export.contains("CANARY") && export.contains("\"restores\":1"), "{export}");
    assert!(ledger::audit::verify_export(export.as_bytes()).is_ok());
}

async fn what_is_too_large_or_too_many_is_refused(world: World) {
    let long = "x".repeat(definitions::LONGEST_BODY);
    for (name, body) in
        [("", json!({})), ("a\nb", json!({})), (&*"n".repeat(257), json!({})), ("up", json!({"x": long}))]
    {
        let refused = write(&world, provider(&world, name, body, After::Nothing)).await;
        assert!(matches!(refused, Err(DefinitionError::Invalid(_))), "{}", name.len());
    }
}
