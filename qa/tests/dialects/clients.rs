//! SDKs and frameworks, each through its own script, to targets of several dialects and to the sim.

use std::process::Command;

use qa::tools;

use crate::house::{House, model};

/// The dialects that every client is sent to.
const THREE: [&str; 3] = ["openai", "anthropic", "gemini"];

async fn run(mut command: Command, script: &str, arguments: &[&str]) {
    command.arg(tools::repository().join("qa/clients").join(script)).args(arguments).env_remove("PYTHONPATH");
    let said = tokio::task::spawn_blocking(move || tools::must_run(&mut command)).await.expect("the client is fine");
    assert!(said.contains("fine"), "{said}");
}

async fn python(environment: &str, script: &str, base_url: &str, house: &House) {
    for target in THREE {
        let command = Command::new(tools::cached(environment).join("bin/python"));
        run(command, script, &[base_url, &house.tenant.key, &model(target)]).await;
    }
}

#[tokio::test]
async fn the_first_sdks_talk_to_every_dialect_in_their_own_words() {
    let house = House::build().await;
    let (root, v1) = (house.world.url(), format!("{}/v1", house.world.url()));
    for target in THREE {
        let (key, model) = (house.tenant.key.as_str(), model(target));
        let python = || Command::new(tools::cached("venv/bin/python"));
        run(python(), "python/openai_sync.py", &[&v1, key, &model, "talk"]).await;
        run(python(), "python/openai_async.py", &[&v1, key, &model]).await;
        run(python(), "python/anthropic_sync.py", &[&root, key, &model, "talk"]).await;
        let mut node = Command::new("node");
        node.env("ALFRED_NODE", tools::cached("node"));
        run(node, "node/openai.mjs", &[&v1, key, &model, "talk"]).await;
    }
    house.world.at_rest(&house.tenant.wallet, std::time::Duration::from_secs(20)).await;
    house.world.assert_balanced(&house.tenant).await;
}

#[tokio::test]
async fn googles_own_sdk_talks_streams_and_calls_tools() {
    let house = House::build().await;
    python("venv", "python/google_genai.py", &house.world.url(), &house).await;
}

#[tokio::test]
async fn the_openai_sdk_asks_for_responses_and_embeddings() {
    let house = House::build().await;
    let v1 = format!("{}/v1", house.world.url());
    python("venv", "python/openai_responses.py", &v1, &house).await;
}

#[tokio::test]
async fn langchain_talks_streams_calls_tools_structures_and_embeds() {
    let house = House::build().await;
    let v1 = format!("{}/v1", house.world.url());
    python("frameworks", "python/langchain_chat.py", &v1, &house).await;
}

#[tokio::test]
async fn llama_index_talks_streams_and_calls_tools() {
    let house = House::build().await;
    let v1 = format!("{}/v1", house.world.url());
    python("frameworks", "python/llama_index_chat.py", &v1, &house).await;
}

#[tokio::test]
async fn litellm_as_a_client_talks_streams_calls_tools_and_embeds() {
    let house = House::build().await;
    let v1 = format!("{}/v1", house.world.url());
    python("frameworks", "python/litellm_chat.py", &v1, &house).await;
}

#[tokio::test]
async fn vercels_ai_sdk_talks_streams_calls_tools_structures_and_embeds() {
    let house = House::build().await;
    let v1 = format!("{}/v1", house.world.url());
    for target in THREE {
        let mut command = Command::new("node");
        command.env("ALFRED_NODE", tools::cached("node"));
        run(command, "node/vercel.mjs", &[&v1, &house.tenant.key, &model(target)]).await;
    }
}

#[tokio::test]
async fn anthropics_node_sdk_talks_streams_and_calls_tools() {
    let house = House::build().await;
    for target in THREE {
        let mut command = Command::new("node");
        command.env("ALFRED_NODE", tools::cached("node"));
        run(command, "node/anthropic.mjs", &[&house.world.url(), &house.tenant.key, &model(target)]).await;
    }
}
