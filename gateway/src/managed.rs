//! Providers and models of two sources: the configuration, which comes first, and what operators store through the admin API. Both
//! are read by the same code; what is stored may be wrong without harm to others.

use std::sync::Arc;

use ledger::{DefinitionKind, DefinitionRow};
use providers::ProviderConfig;
use serde_json::{Map, Value, json};

use crate::config::{self, Config, Fault, ModelConfig};

/// What was stored at one moment.
#[derive(Debug, Default)]
pub struct Stored {
    /// How many versions there were of all.
    pub count: i64,
    pub rows: Vec<DefinitionRow>,
}

/// What routes were made of.
pub struct Made {
    /// What the configuration is called in faults.
    pub file: String,
    pub config: Arc<Config>,
    pub stored: Arc<Stored>,
    pub providers: Vec<Known>,
    pub models: Vec<Known>,
}

/// A provider or model that somebody has said something of.
pub struct Known {
    pub id: String,
    /// None: the configuration says it.
    pub row: Option<DefinitionRow>,
    pub definition: Value,
    pub state: State,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    Serving,
    /// The configuration names the same.
    Overridden,
    /// It cannot be built, or not whole.
    Faulty(Vec<Fault>),
}

impl Known {
    pub fn serves(&self) -> bool {
        self.state == State::Serving
    }
}

impl Made {
    /// Whether a provider was built of the same words, and is reached on the same way.
    pub fn has(&self, known: &Known, config: &Config) -> bool {
        let same_way = self.config.tree["egress"] == config.tree["egress"];
        same_way
            && self.providers.iter().any(|it| it.serves() && it.id == known.id && it.definition == known.definition)
    }
}

/// All providers, and what those of them that can be read are to be built of, with their place; the configuration's first.
pub fn providers(config: &Config, stored: &Stored) -> (Vec<Known>, Vec<(usize, ProviderConfig)>) {
    let own = config.providers.iter().enumerate();
    let mut known: Vec<Known> = own.clone().map(|(i, it)| configured(config, "providers", i, &it.id)).collect();
    let mut configs: Vec<(usize, ProviderConfig)> = own.map(|(i, it)| (i, it.clone())).collect();
    for row in stored.rows.iter().filter(|row| row.kind == DefinitionKind::Provider) {
        let read = match config.providers.iter().any(|it| it.id == row.name) {
            true => Err(State::Overridden),
            false => provider(definition(row), config).map_err(State::Faulty),
        };
        if let Ok(config) = &read {
            configs.push((known.len(), config.clone()));
        }
        known.push(told(row, read.err()));
    }
    (known, configs)
}

/// The same of models.
pub fn models(config: &Config, stored: &Stored, providers: &[Known]) -> (Vec<Known>, Vec<(usize, ModelConfig)>) {
    let own = config.models.iter().enumerate();
    let mut known: Vec<Known> = own.map(|(i, it)| configured(config, "models", i, &it.id)).collect();
    let mut configs = Vec::new();
    for row in stored.rows.iter().filter(|row| row.kind == DefinitionKind::Model) {
        let read = match config.models.iter().any(|it| it.id == row.name) {
            true => Err(State::Overridden),
            false => model(definition(row), providers).map_err(State::Faulty),
        };
        if let Ok(config) = &read {
            configs.push((known.len(), config.clone()));
        }
        known.push(told(row, read.err()));
    }
    (known, configs)
}

fn definition(row: &DefinitionRow) -> &Value {
    row.body.as_ref().unwrap_or(&Value::Null)
}

fn configured(config: &Config, section: &str, at: usize, id: &str) -> Known {
    let definition = config.tree[section][at].clone();
    Known { id: id.to_owned(), row: None, definition, state: State::Serving }
}

fn told(row: &DefinitionRow, state: Option<State>) -> Known {
    let state = state.unwrap_or(State::Serving);
    Known { id: row.name.clone(), row: Some(row.clone()), definition: definition(row).clone(), state }
}

/// Reads one provider as the configuration's reader does; it is reached on the way that `config` says.
///
/// # Errors
/// Every fault found.
pub fn provider(definition: &Value, config: &Config) -> Result<ProviderConfig, Vec<Fault>> {
    let faults = screen(definition);
    if !faults.is_empty() {
        return Err(faults);
    }
    let loaded = read("providers", json!({"providers": [definition], "egress": config.tree["egress"]}))?;
    loaded.providers.into_iter().next().ok_or_else(|| vec![fault("", "is no provider")])
}

/// Reads one model as the configuration's reader does; `providers` are those that it may name.
///
/// # Errors
/// Every fault found.
pub fn model(definition: &Value, providers: &[Known]) -> Result<ModelConfig, Vec<Fault>> {
    // Only those that are named: the reader asks no more of them than that they are there.
    let named = serde_json::to_string(definition).unwrap_or_default();
    let named = providers.iter().filter(|it| named.contains(&format!("{}/", it.id)));
    let named: Vec<Value> = named.map(|it| json!({"id": it.id, "kind": "sim"})).collect();
    let loaded = read("models", json!({"providers": named, "models": [definition]}))?;
    loaded.models.into_iter().next().ok_or_else(|| vec![fault("", "is no model")])
}

fn read(section: &str, tree: Value) -> Result<Config, Vec<Fault>> {
    // JSON is YAML.
    let loaded = config::parse("", &tree.to_string(), &proxies());
    if loaded.faults.is_empty() {
        return Ok(loaded.config);
    }
    let place = format!("{section}[0]");
    let strip = |path: &str| path.strip_prefix(&place).map_or(path, |rest| rest.trim_start_matches('.')).to_owned();
    Err(loaded.faults.into_iter().map(|it| fault(&strip(&it.path), &it.message)).collect())
}

/// What the environment says of the way out; the settings in it are the house's and not this one's.
fn proxies() -> Vec<(String, String)> {
    crate::commands::environment().into_iter().filter(|(name, _)| !name.starts_with("ALFRED_")).collect()
}

fn fault(path: &str, message: &str) -> Fault {
    Fault { file: String::new(), line: None, path: path.to_owned(), message: message.to_owned() }
}

/// Members that say where a secret is.
const SOURCES: [&str; 10] = [
    "api_key",
    "api_keys",
    "access_key_id",
    "secret_access_key",
    "session_token",
    "service_account",
    "client_secret",
    "client_key",
    "password",
    "key",
];
/// Members with texts of anybody's choice, which are stored in clear.
const OPEN: [&str; 2] = ["headers", "settings"];
const WHERE: &str =
    "must say where the key is, never the key itself: { env: VARIABLE }, { file: PATH } or { vault: PATH#FIELD }";

/// What would put a secret into the database, or into the words of a fault. Nothing of what is found is repeated.
fn screen(definition: &Value) -> Vec<Fault> {
    let Value::Object(members) = definition else { return vec![fault("", "must be an object")] };
    let mut faults = Vec::new();
    look(members, "", &mut faults);
    let address = members.get("base_url").and_then(Value::as_str).unwrap_or_default();
    if address.contains(['?', '#', '@']) {
        let why = "what is stored must hold no secret: an address without a name, a password or a query";
        faults.push(fault("base_url", why));
    }
    for name in OPEN {
        for (member, value) in members.get(name).and_then(Value::as_object).into_iter().flatten() {
            if is_secret(member) || value.as_str().is_some_and(is_key) {
                let path = format!("{name}.{member}");
                faults.push(fault(&path, "what is stored must hold no secret: the key belongs into api_key"));
            }
        }
    }
    faults
}

fn look(members: &Map<String, Value>, path: &str, faults: &mut Vec<Fault>) {
    for (name, value) in members {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        match (SOURCES.contains(&name.as_str()), value) {
            (true, Value::Array(items)) => {
                let wrong = items.iter().filter_map(source);
                faults.extend(wrong.take(1).map(|why| fault(&path, why)));
            }
            (true, Value::Null) => {}
            (true, value) => faults.extend(source(value).map(|why| fault(&path, why))),
            (false, Value::Object(inner)) if !OPEN.contains(&name.as_str()) => look(inner, &path, faults),
            _ => {}
        }
    }
}

/// Why this does not say where a secret is.
fn source(value: &Value) -> Option<&'static str> {
    let Value::Object(members) = value else { return Some(WHERE) };
    let known = |name: &str| matches!(name, "env" | "file" | "vault");
    if members.is_empty() || members.iter().any(|(name, value)| !known(name) || !value.is_string()) {
        return Some(WHERE);
    }
    let variable = members.get("env")?.as_str()?;
    let plain = variable.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if variable.is_empty() || !plain || variable.starts_with(|c: char| c.is_ascii_digit()) {
        return Some("must be the name of an environment variable, never the key itself");
    }
    // Whoever may add a provider says where its key is sent: the house's own secrets are not for that.
    variable.starts_with("ALFRED_").then_some("must not be a variable of the house itself (ALFRED_…)")
}

/// Whether a text has the looks of a key: a well-known beginning, or a long run of letters and digits mixed.
fn is_key(text: &str) -> bool {
    let begins = ["sk-", "sk_", "Bearer ", "Basic ", "AIza", "AKIA", "ghp_", "xox", "eyJ"];
    let is_mixed = |run: &str| {
        run.len() >= 24 && run.bytes().any(|b| b.is_ascii_digit()) && run.bytes().any(|b| b.is_ascii_alphabetic())
    };
    begins.iter().any(|begin| text.trim_start().starts_with(begin))
        || text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(is_mixed)
}

fn is_secret(member: &str) -> bool {
    let member = member.to_ascii_lowercase();
    ["auth", "key", "token", "secret", "password", "cookie"].iter().any(|word| member.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(definition: Value, expected: &[&str]) {
        let config = config::parse("", "", &[]).config;
        let faults = provider(&definition, &config).err().unwrap_or_default();
        let paths: Vec<_> = faults.iter().map(|it| it.path.as_str()).collect();
        assert_eq!(paths, expected, "{faults:?}");
        assert!(!format!("{faults:?}").contains("canary"), "{faults:?}");
    }

    #[test]
    fn a_stored_provider_names_its_key_and_never_tells_it() {
        let with = |api_key: Value| json!({"id": "up", "kind": "openai", "api_key": api_key});
        check(with(json!({"env": "UP_KEY"})), &[]);
        check(with(json!({"vault": "kv/up#key"})), &[]);
        check(with(Value::Null), &[]);
        for key in [
            json!("sk-canary"),
            json!(["sk-canary"]),
            json!({"env": "sk-canary"}),
            json!({"env": ["canary"]}),
            json!({"value": "canary"}),
            json!({"canary": "x"}),
            json!({}),
            json!({"env": "ALFRED_BOOTSTRAP_ADMIN_KEY"}),
        ] {
            check(with(key), &["api_key"]);
        }
        let headers = |name: &str| json!({"id": "up", "kind": "openai", "headers": {name: "canary"}});
        check(headers("Authorization"), &["headers.Authorization"]);
        check(headers("x-api-key"), &["headers.x-api-key"]);
        check(headers("openai-organization"), &[]);
        let said = |value: &str| json!({"id": "up", "kind": "openai", "headers": {"x-team": value}});
        check(said("sk-canary1"), &["headers.x-team"]);
        check(said("team=c4n4ryc4n4ryc4n4ryc4n4ry;canary"), &["headers.x-team"]);
        check(said("prompt-caching-2024-07-31,a-long-list-of-names-2025"), &[]);
        let at = |address: &str| json!({"id": "up", "kind": "openai", "api_key": {"env": "K"}, "base_url": address});
        check(at("https://up.example/v1?key=canary"), &["base_url"]);
        check(at("https://me:canary@up.example/v1"), &["base_url"]);
        check(at("https://up.example/v1"), &[]);
        check(json!({"id": "a", "kind": "azure", "entra": {"client_secret": "canary"}}), &["entra.client_secret"]);
    }

    #[test]
    fn what_is_stored_is_read_as_the_configuration_is() {
        check(json!({"id": "up"}), &[""]);
        check(json!({"id": "up", "kind": "openai", "regoin": "eu"}), &["regoin"]);
        check(json!([]), &[""]);
        let known = |id: &str| configured(&config::parse("", "", &[]).config, "providers", 0, id);
        let read = |definition| model(&definition, &[known("up")]).map(|it| it.id).map_err(|it| it[0].path.clone());
        assert_eq!(read(json!({"id": "chat", "targets": ["up/x"]})), Ok("chat".into()));
        assert_eq!(read(json!({"id": "chat", "targets": ["down/x"]})), Err("targets[0]".into()));
        assert_eq!(read(json!({"id": "chat", "targets": []})), Err("targets".into()));
        assert_eq!(read(json!({"id": "", "targets": ["up/x"]})), Err("id".into()));
    }
}
