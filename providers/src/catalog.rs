//! The catalogue: providers, their models, prices and quirks, as data in `catalog/*.yaml`, compiled in.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use url::Url;

use crate::config::Fault;
use crate::credentials::Secret;
use crate::request::Task;

mod price;

pub use price::{CatalogPrice, CatalogTier};

/// One file of the catalogue.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provider {
    pub kind: String,
    #[serde(default)]
    pub base_url: Option<String>,
    pub dialect: DialectName,
    /// The day on which a price in this file last changed; names their version.
    #[serde(default)]
    pub revised: String,
    #[serde(default)]
    pub auth: Auth,
    #[serde(default = "global")]
    pub region: String,
    /// It works without a key.
    #[serde(default)]
    pub keyless: bool,
    /// The provider goes on computing, and bills, when the connection is dropped. Said where it is known; most stop.
    #[serde(default)]
    pub bills_after_cancel: bool,
    #[serde(default)]
    pub tokenizer: Tokenizer,
    #[serde(default)]
    pub quirks: Quirks,
    /// Take the models of another kind (the same models, served elsewhere).
    #[serde(default)]
    pub models_of: Option<String>,
    #[serde(default)]
    pub models: Vec<Model>,
}

/// Which code speaks to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DialectName {
    Openai,
    Anthropic,
    Responses,
    Sim,
}

/// One model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    pub id: String,
    /// It is served in another dialect than its provider's other models.
    #[serde(default)]
    pub dialect: Option<DialectName>,
    #[serde(default)]
    pub context: Option<u64>,
    #[serde(default)]
    pub max_output: Option<u64>,
    #[serde(default)]
    pub tokenizer: Option<Tokenizer>,
    #[serde(default)]
    pub price: Option<CatalogPrice>,
    #[serde(default)]
    pub hidden_output: bool,
    #[serde(default)]
    pub images: bool,
    #[serde(default = "yes")]
    pub tools: bool,
    /// The most tokens that one image may be billed as.
    #[serde(default)]
    pub image_tokens: Option<u64>,
    #[serde(default)]
    pub quirks: Option<Quirks>,
    /// What it can be asked for; nothing said is a conversation.
    #[serde(default)]
    pub tasks: Vec<Task>,
}

/// How tokens can be counted here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tokenizer {
    /// OpenAI's since GPT-4o.
    O200k,
    /// OpenAI's before.
    Cl100k,
    /// Not public: bounded by bytes, estimated with `o200k`.
    #[default]
    None,
}

/// How the provider key is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Auth {
    /// `authorization: Bearer …`
    #[default]
    Bearer,
    /// `x-api-key: …`
    XApiKey,
    /// `api-key: …`
    ApiKey,
}

impl Auth {
    /// The header that shows this key; none if no header can carry it.
    pub fn header(self, key: &Secret) -> Option<(HeaderName, HeaderValue)> {
        let (name, text) = match self {
            Auth::Bearer => (http::header::AUTHORIZATION, zeroize::Zeroizing::new(format!("Bearer {}", key.expose()))),
            Auth::XApiKey => (HeaderName::from_static("x-api-key"), zeroize::Zeroizing::new(key.expose().to_owned())),
            Auth::ApiKey => (HeaderName::from_static("api-key"), zeroize::Zeroizing::new(key.expose().to_owned())),
        };
        let mut value = HeaderValue::from_str(&text).ok()?;
        value.set_sensitive(true);
        Some((name, value))
    }
}

/// What a target wants otherwise than the rest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Quirks {
    /// The cap must be `max_completion_tokens`, whatever the caller wrote.
    pub needs_max_completion_tokens: bool,
    /// The cap must be `max_tokens`, whatever the caller wrote.
    pub needs_max_tokens: bool,
    /// It refuses `stream_options`.
    pub no_stream_options: bool,
    /// It refuses to be asked for encrypted reasoning, as models that do not reason do.
    pub no_encrypted_reasoning: bool,
}

fn yes() -> bool {
    true
}

fn global() -> String {
    "global".to_owned()
}

const FILES: [(&str, &str); 15] = [
    ("openai.yaml", include_str!("../catalog/openai.yaml")),
    ("azure.yaml", include_str!("../catalog/azure.yaml")),
    ("anthropic.yaml", include_str!("../catalog/anthropic.yaml")),
    ("mistral.yaml", include_str!("../catalog/mistral.yaml")),
    ("groq.yaml", include_str!("../catalog/groq.yaml")),
    ("deepseek.yaml", include_str!("../catalog/deepseek.yaml")),
    ("together.yaml", include_str!("../catalog/together.yaml")),
    ("fireworks.yaml", include_str!("../catalog/fireworks.yaml")),
    ("xai.yaml", include_str!("../catalog/xai.yaml")),
    ("gemini.yaml", include_str!("../catalog/gemini.yaml")),
    ("openrouter.yaml", include_str!("../catalog/openrouter.yaml")),
    ("ollama.yaml", include_str!("../catalog/ollama.yaml")),
    ("vllm.yaml", include_str!("../catalog/vllm.yaml")),
    ("openai-compatible.yaml", include_str!("../catalog/openai-compatible.yaml")),
    ("sim.yaml", include_str!("../catalog/sim.yaml")),
];

/// The catalogue as it was built in, by kind; or everything that is wrong with it.
pub(crate) fn load() -> Result<BTreeMap<String, Provider>, Vec<Fault>> {
    let mut providers = BTreeMap::new();
    let mut faults = Vec::new();
    for (file, text) in FILES {
        match serde_yaml_ng::from_str::<Provider>(text) {
            Ok(provider) => {
                faults.extend(faults_of(file, &provider));
                providers.insert(provider.kind.clone(), provider);
            }
            Err(e) => faults.push(Fault::new(format!("catalog/{file}"), e.to_string())),
        }
    }
    for provider in providers.values() {
        if let Some(other) = provider.models_of.as_ref().filter(|it| !providers.contains_key(*it)) {
            faults.push(Fault::new(format!("catalog/{}", provider.kind), format!("there is no kind {other}")));
        }
    }
    if faults.is_empty() { Ok(providers) } else { Err(faults) }
}

/// Everything that is wrong with the built-in catalogue; for `alfred config check`.
pub fn check_catalog() -> Vec<Fault> {
    load().err().unwrap_or_default()
}

fn faults_of(file: &str, provider: &Provider) -> Vec<Fault> {
    let mut faults = Vec::new();
    let at = |what: &str| format!("catalog/{file}: {what}");
    if let Some(Err(e)) = provider.base_url.as_deref().map(Url::parse) {
        faults.push(Fault::new(at("base_url"), e.to_string()));
    }
    for (i, model) in provider.models.iter().enumerate() {
        let place = at(&format!("models[{i}] {}", model.id));
        if provider.models[..i].iter().any(|it| it.id == model.id) {
            faults.push(Fault::new(&*place, "given twice"));
        }
        for fault in model.price.iter().flat_map(CatalogPrice::faults) {
            faults.push(Fault::new(&*place, fault));
        }
    }
    let is_day = |text: &str| text.len() == 10 && text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
    if provider.models.iter().any(|model| model.price.is_some()) && !is_day(&provider.revised) {
        faults.push(Fault::new(
            at("revised"),
            "must be the day of the last change of a price, such as 2026-11-20: it names their version",
        ));
    }
    faults
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_has_no_faults() {
        assert_eq!(check_catalog(), vec![]);
    }
}
