//! The list of models that a key may name.

use qa::check::refused;
use qa::world::{Plan, World};
use serde_json::json;

#[tokio::test]
async fn the_models_are_listed_as_openai_lists_them() {
    let world = World::start().await;
    let tenant = world.rich().await;
    let get = async |key: &str, path: &str| {
        let bearer = format!("Bearer {key}");
        world
            .http
            .send("GET", &format!("{}{path}", world.url()), &[("authorization", &bearer)], "")
            .await
            .expect("an answer")
    };
    let list = get(&tenant.key, "/v1/models").await.expect(200);
    list.must("x-request-id");
    let body = list.json();
    assert_eq!(body["object"], "list");
    let ids: Vec<&str> = body["data"].as_array().into_iter().flatten().filter_map(|m| m["id"].as_str()).collect();
    assert!(ids.contains(&"chat") && ids.contains(&"steady"), "{ids:?}");
    for model in body["data"].as_array().into_iter().flatten() {
        assert_eq!(model["object"], "model", "{model}");
        assert!(model["created"].is_u64() && model["owned_by"].is_string(), "{model}");
    }
    assert_eq!(get(&tenant.key, "/v1/models/chat").await.expect(200).json()["id"], "chat");
    refused(&get(&tenant.key, "/v1/models/nothing").await, 404, "invalid_request_error", "model_not_found");
    refused(&get("sk-alf-x", "/v1/models").await, 401, "invalid_request_error", "invalid_api_key");

    let bound = world.tenant(Plan::new().hard("1").key(json!({"models": ["free"]}))).await;
    let body = get(&bound.key, "/v1/models").await.expect(200).json();
    let ids: Vec<&str> = body["data"].as_array().into_iter().flatten().filter_map(|m| m["id"].as_str()).collect();
    assert_eq!(ids, ["free"], "only what the key may use");
}
