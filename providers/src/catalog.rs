//! The catalogue: providers, their models, prices and quirks, as data in `catalog/*.yaml`, compiled in.

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue};
use serde::Deserialize;
use url::Url;

use crate::chat::Shape;
use crate::config::Fault;
use crate::credentials::Secret;

/// One file of the catalogue.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provider {
    pub kind: String,
    #[serde(default)]
    pub base_url: Option<String>,
    pub dialect: DialectName,
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
    Sim,
}

/// One model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    pub id: String,
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
}

/// US dollars per million tokens, as decimal strings. A missing class costs what input costs.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogPrice {
    /// Input.
    pub input: String,
    /// Input read from the provider's cache.
    #[serde(default)]
    pub cached_input: Option<String>,
    /// Input written to the provider's cache.
    #[serde(default)]
    pub cache_write: Option<String>,
    /// Output, hidden reasoning included.
    pub output: String,
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
        let prices = model.price.iter().flat_map(|it| {
            [Some(&it.input), it.cached_input.as_ref(), it.cache_write.as_ref(), Some(&it.output)].into_iter().flatten()
        });
        for price in prices.filter(|it| !is_price(it)) {
            faults.push(Fault::new(&*place, format!("{price:?} is not a price such as \"2.50\"")));
        }
    }
    faults
}

/// At most nine decimals, never negative.
fn is_price(text: &str) -> bool {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |it: &str| !it.is_empty() && it.bytes().all(|b| b.is_ascii_digit());
    digits(whole) && digits(part) && whole.len() <= 9 && part.len() <= 9
}

impl DialectName {
    pub(crate) fn shape(self) -> Shape {
        match self {
            DialectName::Openai | DialectName::Sim => Shape::OpenAi,
            DialectName::Anthropic => Shape::Anthropic,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_has_no_faults() {
        assert_eq!(check_catalog(), vec![]);
    }

    #[test]
    fn a_price_is_a_decimal_string() {
        for (text, good) in [
            ("2.50", true),
            ("0", true),
            ("0.0375", true),
            ("-1", false),
            ("", false),
            ("1e3", false),
            (".5", false),
            ("1.", false),
            ("0.0000000001", false),
        ] {
            assert_eq!(is_price(text), good, "{text:?}");
        }
    }
}
