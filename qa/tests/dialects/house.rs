//! A gateway in front of every dialect of the scripted provider.

use qa::aimock::Aimock;
use qa::world::{Setup, Tenant, World};
use serde_json::{Value, json};

/// The dialects of targets, by the names of their providers.
pub const TARGETS: [&str; 8] = ["openai", "responses", "anthropic", "gemini", "vertex", "bedrock", "azure", "cohere"];

pub struct House {
    /// Ends with the house.
    _provider: Aimock,
    pub world: World,
    pub tenant: Tenant,
}

impl House {
    pub async fn build() -> House {
        let aimock = Aimock::start().await;
        let providers = providers(&aimock);
        let setup = Setup::new().on_sqlite().with(|config| {
            for provider in providers.as_array().into_iter().flatten() {
                let id = provider["id"].as_str().unwrap_or_default();
                config["prices"][format!("{id}/m")] = json!({"input": "1.00", "output": "2.00"});
            }
            // The model that clients embed with.
            config["prices"]["openai/e"] = json!({"input": "1.00", "output": "0"});
            config["providers"] = providers;
        });
        let world = setup.start().await;
        let tenant = world.rich().await;
        House { _provider: aimock, world, tenant }
    }
}

/// The model that a caller asks for to be served by a target.
pub fn model(target: &str) -> String {
    format!("{target}/m")
}

fn providers(aimock: &Aimock) -> Value {
    let key = json!({"env": "FIRST_KEY"});
    json!([
        {"id": "openai", "kind": "openai", "base_url": aimock.at("/v1"), "api_key": key,
         "models": [all("m"), {"id": "e", "context": 8_000, "tasks": ["embeddings"]}]},
        {"id": "responses", "kind": "openai", "base_url": aimock.at("/v1"), "api_key": key,
         "models": [responses("m")]},
        {"id": "anthropic", "kind": "anthropic", "base_url": aimock.at("/v1"), "api_key": key, "models": [all("m")]},
        {"id": "gemini", "kind": "gemini", "base_url": aimock.at("/v1beta"), "api_key": key, "models": [all("m")]},
        {"id": "vertex", "kind": "vertex", "base_url": aimock.at("/v1"), "api_key": key, "models": [all("m")],
         "settings": {"project": "p", "location": "europe-west1"}},
        {"id": "bedrock", "kind": "bedrock", "base_url": aimock.at(""), "api_key": key, "models": [all("m")],
         "settings": {"aws_region": "eu-west-1"}},
        {"id": "azure", "kind": "azure", "base_url": aimock.at(""), "api_key": key, "models": [all("m")],
         "settings": {"api_version": "2024-10-21"}},
        {"id": "cohere", "kind": "cohere", "base_url": aimock.at("/v2"), "api_key": key, "models": [all("m")]},
    ])
}

/// A model that is served at `/responses` alone.
fn responses(id: &str) -> Value {
    let mut model = all(id);
    model["dialect"] = json!("responses");
    model
}

/// A model that can do everything that its dialect can say.
fn all(id: &str) -> Value {
    json!({"id": id, "context": 100_000, "max_output": 4_096, "images": true, "tools": true})
}
