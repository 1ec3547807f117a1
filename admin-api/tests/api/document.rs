//! The OpenAPI document: what is served is what is committed.

use std::path::Path;

use serde_json::Value;

use crate::world::World;

#[test]
fn the_committed_document_is_the_one_that_the_code_writes() {
    let path = Path::new("../docs/api/admin-openapi.json");
    let written = admin_api::openapi();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, &written).unwrap();
    }
    let committed = std::fs::read_to_string(path).unwrap_or_default();
    assert!(committed == written, "docs/api/admin-openapi.json has drifted: run the tests of admin-api with UPDATE=1");
}

#[tokio::test]
async fn the_document_is_served_and_whole() {
    let world = World::new().await;
    let answer = world.get("/openapi.json").await;
    assert_eq!((answer.status.as_u16(), answer.headers["content-type"].to_str().unwrap()), (200, "application/json"));
    let document = answer.json();
    assert_eq!(document["openapi"], "3.1.0");
    assert_eq!(document["servers"][0]["url"], "/admin/v1");
    assert_eq!(document["components"]["securitySchemes"]["admin_key"]["scheme"], "bearer");
    let text = answer.text.as_str();
    let mut references = text.match_indices("\"$ref\": \"#/").map(|(at, _)| text[at + 11..].split('"').next().unwrap());
    let lost = references.find(|reference| document.pointer(&format!("/{reference}")).is_none());
    assert_eq!(lost, None, "every reference leads somewhere");
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let problem = operation.pointer("/responses/default/content/application~1problem+json");
            assert!(problem.is_some(), "{method} {path} may fail");
            assert!(
                operation["summary"].as_str().is_some_and(|it| !it.is_empty()),
                "{method} {path} says what it does"
            );
        }
    }
    for (path, needed) in [("/orgs", false), ("/keys/{id}/rotate", false), ("/wallets/{id}/fund", true)] {
        let parameters = document["paths"][path]["post"]["parameters"].as_array().unwrap();
        let once = parameters.iter().find(|it| it["name"] == "Idempotency-Key").expect("every POST takes it");
        assert_eq!(once["required"], needed, "{path}");
    }
    let wallet = &document["components"]["schemas"]["Wallet"]["properties"];
    for member in ["id", "parent_id", "hard_limit_usd", "available_usd", "window_start", "resets_at"] {
        assert!(matches!(wallet[member], Value::Object(_)), "{member}");
    }
}
