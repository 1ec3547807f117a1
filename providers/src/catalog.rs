//! The catalogue: providers, their models, prices and quirks, as data in `catalog/*.yaml`, compiled in.

use http::{HeaderName, HeaderValue};
use serde::Deserialize;

use crate::abilities::Ability;
use crate::config::Fault;
use crate::credentials::Secret;
use crate::request::Task;

mod address;
mod check;
#[cfg(test)]
mod docs;
mod price;

use address::fill;
pub(crate) use address::{Gap, filled};
pub use price::{CatalogPrice, CatalogTier};

/// One file of the catalogue.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Provider {
    pub kind: String,
    /// Up to and including the version. `{word}` stands for a word of the configuration's `settings`.
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
    /// All its models take OpenAI's Responses as they are, at `/responses`.
    #[serde(default)]
    pub responses: bool,
    /// It serves OpenAI's files and batches, at `/files` and `/batches`.
    #[serde(default)]
    pub batches: bool,
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
    Azure,
    Anthropic,
    Bedrock,
    Responses,
    Cohere,
    Gemini,
    Sim,
}

/// What a model is asked in, where its provider's other models are asked in chat completions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ModelDialect {
    Responses,
}

/// One model.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Model {
    pub id: String,
    /// It is served in another dialect than its provider's other models.
    #[serde(default)]
    pub dialect: Option<ModelDialect>,
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
    /// What else it can.
    #[serde(default)]
    pub can: Vec<Ability>,
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
    /// `x-goog-api-key: …`
    XGoogApiKey,
}

impl Auth {
    /// The header that shows this key; none if no header can carry it.
    pub fn header(self, key: &Secret) -> Option<(HeaderName, HeaderValue)> {
        let (name, text) = match self {
            Auth::Bearer => (http::header::AUTHORIZATION, zeroize::Zeroizing::new(format!("Bearer {}", key.expose()))),
            Auth::XApiKey => (HeaderName::from_static("x-api-key"), zeroize::Zeroizing::new(key.expose().to_owned())),
            Auth::ApiKey => (HeaderName::from_static("api-key"), zeroize::Zeroizing::new(key.expose().to_owned())),
            Auth::XGoogApiKey => {
                (HeaderName::from_static("x-goog-api-key"), zeroize::Zeroizing::new(key.expose().to_owned()))
            }
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
    /// It takes OpenAI's Responses as they are, at `/responses`.
    pub serves_responses: bool,
    /// It refuses OpenAI's hints: `user`, `safety_identifier`, `prompt_cache_key`…
    pub no_hints: bool,
    /// It calls `seed` `random_seed`.
    pub seed_is_random_seed: bool,
    /// It knows no `developer`: they are the `system`.
    pub no_developer_role: bool,
    /// It refuses what earlier answers said beside their content: reasoning, annotations, empty members.
    pub no_reasoning_history: bool,
    /// It refuses what answers of other providers said beside their content: thinking, signatures.
    pub no_foreign_history: bool,
    /// Ids of tool calls must be nine letters and digits.
    pub short_call_ids: bool,
}

#[cfg(test)]
impl Quirks {
    /// Nothing otherwise than the rest; for constants of tests.
    pub(crate) const NONE: Quirks = Quirks {
        needs_max_completion_tokens: false,
        needs_max_tokens: false,
        no_stream_options: false,
        no_encrypted_reasoning: false,
        serves_responses: false,
        no_hints: false,
        seed_is_random_seed: false,
        no_developer_role: false,
        no_reasoning_history: false,
        no_foreign_history: false,
        short_call_ids: false,
    };
}

fn yes() -> bool {
    true
}

fn global() -> String {
    "global".to_owned()
}

include!(concat!(env!("OUT_DIR"), "/catalog.rs"));

/// Every kind there is.
pub(crate) fn kinds() -> impl Iterator<Item = &'static str> {
    FILES.iter().map(|(kind, _)| *kind)
}

/// How many providers the catalogue knows.
pub fn known_providers() -> usize {
    FILES.len()
}

/// One entry; nothing where there is no such kind. Only what is asked for is read: a start that needs three providers does
/// not wait for a hundred.
pub(crate) fn find(kind: &str) -> Result<Option<Provider>, Vec<Fault>> {
    let Ok(at) = FILES.binary_search_by_key(&kind, |(it, _)| it) else { return Ok(None) };
    let (_, text) = FILES[at];
    let provider: Provider =
        serde_yaml_ng::from_str(text).map_err(|e| vec![Fault::new(format!("catalog/{kind}.yaml"), e.to_string())])?;
    let faults = check::faults(kind, &provider);
    if faults.is_empty() { Ok(Some(provider)) } else { Err(faults) }
}

/// Everything that is wrong with the built-in catalogue; for `alfred config check`.
pub fn check_catalog() -> Vec<Fault> {
    kinds().filter_map(|kind| find(kind).err()).flatten().collect()
}

/// The kinds that someone who wrote this may have meant: the nearest by letters, else those that hold the word.
pub(crate) fn meant(kind: &str) -> Vec<&'static str> {
    let bare = |text: &str| text.to_ascii_lowercase().replace(|c: char| !c.is_ascii_alphanumeric(), "");
    let wanted = bare(kind);
    let far = |known: &&str| distance(&bare(known), &wanted);
    match kinds().map(|it| far(&it)).min() {
        Some(least) if least * 3 <= wanted.len() => kinds().filter(|it| far(it) == least).collect(),
        _ => kinds().filter(|it| wanted.len() > 2 && bare(it).contains(&wanted)).collect(),
    }
}

/// How many letters must be put in, left out or changed.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut corner = row[0];
        row[0] = i + 1;
        for (j, y) in b.bytes().enumerate() {
            let changed = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = changed.min(corner + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_catalogue_knows_a_hundred_providers_and_has_no_faults() {
        assert_eq!(check_catalog(), vec![]);
        assert!(known_providers() >= 100, "{}", known_providers());
    }

    #[test]
    fn a_slip_of_the_pen_is_understood() {
        for (written, meant_kind) in
            [("opnai", "openai"), ("Mistral", "mistral"), ("open-router", "openrouter"), ("llama", "ollama")]
        {
            assert!(meant(written).contains(&meant_kind), "{written}: {:?}", meant(written));
        }
        assert_eq!(meant("nonesuch"), Vec::<&str>::new());
    }
}
