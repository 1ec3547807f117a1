//! The list of models that a key may name.

use qa::check::refused;
use qa::world::{Plan, Setup, World};
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

#[tokio::test]
async fn a_model_says_what_it_is_and_what_this_caller_pays() {
    let world = Setup::new().with(|config| config["markup"] = json!("1.2")).start().await;
    let tenant = world.rich().await;
    let bearer = format!("Bearer {}", tenant.key);
    let get = async |path: &str| {
        let head = [("authorization", &*bearer)];
        world
            .http
            .send("GET", &format!("{}{path}", world.url()), &head, "")
            .await
            .expect("an answer")
            .expect(200)
            .json()
    };
    let echo = get("/v1/models/sim/echo").await;
    assert_eq!((&echo["context_length"], &echo["max_output_tokens"]), (&json!(128_000), &json!(4096)), "{echo}");
    assert_eq!(echo["input_modalities"], json!(["text", "image"]));
    assert_eq!((&echo["output_modalities"], &echo["tasks"]), (&json!(["text"]), &json!(["chat"])));
    assert_eq!(echo["pricing"], json!({"input": "0.12", "output": "0.48", "cached_input": "0.06"}), "with the markup");

    let list = get("/v1/models").await;
    let listed = |id: &str| list["data"].as_array().into_iter().flatten().find(|it| it["id"] == id).cloned();
    assert_eq!(listed("sim/echo"), Some(echo));
    let chat = listed("chat").expect("an alias");
    assert_eq!(
        chat["pricing"],
        json!({"input": "1.2", "output": "2.4"}),
        "how we are billed is not the caller's business"
    );
    assert!(chat["context_length"].is_null(), "nobody has said: {chat}");
    assert!(listed("unpriced").expect("an alias")["pricing"].is_null());
    let embedding = listed("first/text-embedding-3-small").expect("a model of the catalogue");
    assert_eq!(
        (&embedding["tasks"], &embedding["output_modalities"]),
        (&json!(["embeddings"]), &json!(["embeddings"]))
    );
    assert!(embedding["context_length"].is_u64() && embedding["pricing"]["output"] == "0", "{embedding}");
    assert!(!list.to_string().contains("127.0.0.1"), "no address of a provider");
}

#[tokio::test]
async fn anthropics_clients_find_the_models_at_the_same_path() {
    let world = World::start().await;
    let tenant = world.tenant(Plan::new().hard("1").key(json!({"models": ["claude", "chat"]}))).await;
    let get = async |key: &str, path: &str| {
        let head = [("x-api-key", key), ("anthropic-version", "2023-06-01")];
        world.http.send("GET", &format!("{}{path}", world.url()), &head, "").await.expect("an answer")
    };
    let list = get(&tenant.key, "/v1/models?limit=20").await.expect(200).json();
    assert_eq!((&list["has_more"], &list["first_id"]), (&json!(false), &json!("chat")), "{list}");
    let claude = &list["data"][1];
    assert_eq!(
        (&claude["type"], &claude["id"], &claude["display_name"]),
        (&json!("model"), &json!("claude"), &json!("claude"))
    );
    assert!(
        claude["created_at"].as_str().is_some_and(|it| it.ends_with('Z')) && claude.get("object").is_none(),
        "{claude}"
    );
    assert_eq!(&get(&tenant.key, "/v1/models/claude").await.expect(200).json(), claude);
    let missing = get(&tenant.key, "/v1/models/nothing").await.expect(404).json();
    assert_eq!(
        (&missing["type"], &missing["error"]["type"]),
        (&json!("error"), &json!("not_found_error")),
        "{missing}"
    );
}
