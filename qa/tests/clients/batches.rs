//! OpenAI's SDK in front, a provider with files and batches that nobody here wrote behind.

use std::time::Duration;

use qa::aimock::Aimock;
use qa::check::usd;
use qa::world::Setup;
use serde_json::json;

#[tokio::test]
async fn the_openai_sdk_for_python_makes_batches_of_every_kind() {
    let aimock = Aimock::start().await;
    let models = ["chat", "embed", "complete"];
    let setup = Setup::new().with(|config| {
        let tasks = [json!([]), json!(["embeddings"]), json!(["completions"])];
        let described: Vec<_> = models
            .iter()
            .zip(tasks)
            .map(|(id, tasks)| json!({"id": id, "context": 100_000, "max_output": 4_096, "tasks": tasks}))
            .collect();
        config["providers"] = json!([{"id": "mock", "kind": "openai", "base_url": aimock.at("/v1"),
            "api_key": {"env": "FIRST_KEY"}, "models": described}]);
        for model in models {
            config["prices"][format!("mock/{model}")] = json!({"input": "1.00", "output": "2.00", "batch": "0.5"});
        }
    });
    let world = setup.start().await;
    let v1 = format!("{}/v1", world.url());
    for (model, endpoint, cost) in [
        // It says that each line had a token in and, where there can be one, a token out.
        ("mock/chat", "/v1/chat/completions", Some(3 * 3_000 / 2)),
        ("mock/chat", "/v1/responses", None),
        ("mock/complete", "/v1/completions", Some(3 * 3_000 / 2)),
        ("mock/embed", "/v1/embeddings", Some(3 * 1_000 / 2)),
    ] {
        let tenant = world.rich().await;
        super::python("python/openai_batches.py", &[&v1, &tenant.key, model, endpoint]).await;
        let wallet = world.at_rest(&tenant.wallet, Duration::from_secs(30)).await;
        if let Some(cost) = cost {
            assert_eq!(usd(&wallet, "spent_usd"), cost, "{endpoint}: the cancelled one answered nothing");
        }
        world.assert_balanced(&tenant).await;
    }
}
