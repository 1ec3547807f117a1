//! The configured providers, and the targets they make: `provider/model`.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::{HeaderName, HeaderValue};
use url::Url;

use crate::abilities::Ability;
use crate::anthropic::AnthropicDialect;
use crate::bedrock::{self, BedrockDialect};
use crate::catalog::{self, Auth, CatalogPrice, DialectName, Gap, Model, ModelDialect, Provider, Quirks, Tokenizer};
use crate::cohere::CohereDialect;
use crate::config::{ConfiguredModel, Fault, HealthCheck, ProviderConfig};
use crate::credentials::token::TokenSource;
use crate::credentials::{AwsKeys, KeyRing, Live, Secret, Sources, Watched};
use crate::dialect::{Aim, Dialect};
use crate::gather;
use crate::gemini::GeminiDialect;
use crate::openai::{AzureDialect, OpenAiDialect};
use crate::request::{ModelRequest, Task};
use crate::responses::outbound::{AzureResponsesDialect, ResponsesDialect};
use crate::way::{Way, Ways};

/// All configured providers.
pub struct Fleet {
    providers: HashMap<String, Arc<Configured>>,
    listed: Vec<Arc<Target>>,
    by_name: HashMap<String, Arc<Target>>,
}

/// One model at one provider. Shows no key.
#[derive(Clone)]
pub struct Target {
    /// `provider/model`.
    pub name: String,
    /// The provider's id in the configuration.
    pub provider: String,
    /// The provider's own name of the model.
    pub model: String,
    /// What it is asked as, where that is another name.
    pub upstream_id: Option<String>,
    /// Where it computes.
    pub region: String,
    /// Tokens out.
    pub max_output: Option<u64>,
    /// Tokens in and out together.
    pub context: Option<u64>,
    /// The catalogue's price; the configuration may know better.
    pub price: Option<CatalogPrice>,
    /// The day that names the version of that price: when a price of its file last changed.
    pub revised: String,
    /// The kind of its provider: what it is at home, whatever the configuration calls it.
    pub kind: String,
    /// It bills output that it does not show.
    pub hidden_output: bool,
    /// It goes on computing, and bills, when the connection is dropped.
    pub bills_after_cancel: bool,
    /// It takes images; unknown for models that no catalogue describes.
    pub images: Option<bool>,
    /// It takes tools; unknown for models that no catalogue describes.
    pub tools: Option<bool>,
    /// What else it is known to be able to do.
    pub can: Vec<Ability>,
    /// The most tokens one image may be billed as.
    pub image_tokens: Option<u64>,
    /// How its tokens can be counted here.
    pub tokenizer: Tokenizer,
    /// What it wants otherwise than the rest.
    pub quirks: Quirks,
    /// What it can be asked for; nothing said is a conversation.
    pub tasks: Vec<Task>,
    /// It serves OpenAI's files and batches.
    pub batches: bool,
    /// A first content that comes later is slow.
    pub slow: Option<Duration>,
    /// What is spoken to it, where that is not what is spoken to its provider.
    spoken: Option<&'static dyn Dialect>,
    pub(crate) wire: Arc<Wire>,
}

/// How to reach a provider.
pub(crate) struct Wire {
    pub dialect: Box<dyn Dialect>,
    /// None: built in, no network.
    pub base_url: Option<Url>,
    pub keys: KeyRing,
    /// Fetches what is shown in place of a key.
    pub tokens: Option<TokenSource>,
    pub auth: Auth,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub settings: BTreeMap<String, String>,
    pub aws: Option<Arc<Live<AwsKeys>>>,
    /// How it is reached; the plain way where nothing is said.
    pub way: Option<Arc<Way>>,
    /// How whoever gives its tokens is reached.
    pub token_way: Option<Arc<Way>>,
}

impl Wire {
    /// All that must be shown to it is known.
    pub(crate) fn is_open(&self) -> bool {
        self.keys.is_known()
            && self.aws.as_ref().is_none_or(|it| it.get().is_some())
            && self.way.as_ref().is_none_or(|it| it.is_open())
    }
}

struct Configured {
    id: String,
    region: String,
    entry: Provider,
    wire: Arc<Wire>,
    slow: Option<Duration>,
    health_check: Option<HealthCheck>,
    /// What of its keys has to be read again.
    watched: Vec<Arc<Watched>>,
}

impl Fleet {
    /// Reads keys and builds all targets, or tells everything that is wrong. `env` looks up environment variables.
    pub fn build(providers: &[ProviderConfig], env: &dyn Fn(&str) -> Option<String>) -> Result<Fleet, Vec<Fault>> {
        let (fleet, faults) = Fleet::renew(providers, env, &|_| None);
        if faults.is_empty() { Ok(fleet) } else { Err(faults.into_iter().flat_map(|(_, faults)| faults).collect()) }
    }

    /// The same where some may be wrong: those are left out, and told of by their place. Where `before` knows a fleet that has the
    /// provider at a place exactly so, it is taken over from there: with its keys as they are by now, its tokens and its connections.
    pub fn renew<'a>(
        providers: &[ProviderConfig],
        env: &dyn Fn(&str) -> Option<String>,
        before: &dyn Fn(usize) -> Option<&'a Fleet>,
    ) -> (Fleet, Vec<(usize, Vec<Fault>)>) {
        let mut fleet = Fleet { providers: HashMap::new(), listed: Vec::new(), by_name: HashMap::new() };
        let mut faults = Vec::new();
        for (i, config) in providers.iter().enumerate() {
            let known = before(i).is_some_and(|before| fleet.take_over(&config.id, before));
            if !known && let Err(found) = fleet.admit(&format!("providers[{i}]"), config, env) {
                faults.push((i, found));
            }
        }
        (fleet, faults)
    }

    fn admit(
        &mut self,
        path: &str,
        config: &ProviderConfig,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(), Vec<Fault>> {
        if self.providers.contains_key(&config.id) {
            return Err(vec![Fault::new(format!("{path}.id"), format!("provider {} is given twice", config.id))]);
        }
        let Some(entry) = catalog::find(&config.kind)? else {
            return Err(vec![Fault::new(format!("{path}.kind"), no_kind(&config.kind))]);
        };
        let mut configured = configure(path, config, &entry, env)?;
        let lender = entry.models_of.as_deref().map(catalog::find).transpose()?.flatten();
        if let Some(lender) = &lender {
            configured.entry.revised.clone_from(&lender.revised);
        }
        self.add(configured, lender.map_or_else(Vec::new, |it| it.models), &config.models);
        Ok(())
    }

    /// False where there is none to take, or one of this name is there already.
    fn take_over(&mut self, id: &str, before: &Fleet) -> bool {
        let Some(provider) = before.providers.get(id).filter(|_| !self.providers.contains_key(id)) else {
            return false;
        };
        self.providers.insert(id.to_owned(), Arc::clone(provider));
        for target in before.listed.iter().filter(|target| target.provider == id) {
            self.by_name.insert(target.name.clone(), Arc::clone(target));
            self.listed.push(Arc::clone(target));
        }
        true
    }

    /// What has to be read again while it is in use.
    pub(crate) fn watched(&self) -> Vec<Arc<Watched>> {
        self.providers.values().flat_map(|it| it.watched.iter().cloned()).collect()
    }

    /// The target of this name. A model that no catalogue describes is still a target of a configured provider, without a price.
    pub fn target(&self, name: &str) -> Option<Arc<Target>> {
        if let Some(target) = self.by_name.get(name) {
            return Some(Arc::clone(target));
        }
        let (provider, model) = name.split_once('/')?;
        let provider = self.providers.get(provider)?;
        if model.is_empty() || provider.entry.dialect == DialectName::Sim {
            return None;
        }
        Some(Arc::new(provider.target(&Model::unknown(model))))
    }

    /// Whether a provider is configured under this name, or is of this kind.
    pub fn has_provider(&self, name: &str) -> bool {
        self.providers.contains_key(name) || self.providers.values().any(|it| it.entry.kind == name)
    }

    /// A target that stands for the provider itself, to ask it what it has; none for one that is built in or not configured.
    pub(crate) fn provider(&self, id: &str) -> Option<Arc<Target>> {
        let provider = self.providers.get(id).filter(|it| it.wire.base_url.is_some())?;
        Some(Arc::new(provider.target(&Model::unknown(""))))
    }

    /// The providers that are to be looked after, and how.
    pub fn health_checks(&self) -> impl Iterator<Item = (&str, HealthCheck)> {
        self.providers.values().filter_map(|it| Some((it.id.as_str(), it.health_check?)))
    }

    /// Loads the tokenizers that calls to these providers will need: that of estimates, and those of listed models. What is not
    /// needed is not loaded; a vocabulary takes some 30 MB. Belongs into the start, on a blocking thread.
    pub fn warm(&self) {
        crate::tokens::warm(Tokenizer::O200k);
        if self.listed.iter().any(|target| target.tokenizer == Tokenizer::Cl100k) {
            crate::tokens::warm(Tokenizer::Cl100k);
        }
    }

    /// The described models of the configured providers, in the order of the configuration and the catalogue.
    pub fn models(&self) -> &[Arc<Target>] {
        &self.listed
    }

    fn add(&mut self, provider: Configured, borrowed: Vec<Model>, configured: &[ConfiguredModel]) {
        let provider = Arc::new(provider);
        let mut models: Vec<Model> = provider.entry.models.iter().cloned().chain(borrowed).collect();
        for given in configured {
            let at = models.iter().position(|it| it.id == given.id).unwrap_or_else(|| {
                models.push(Model::unknown(&given.id));
                models.len() - 1
            });
            models[at].correct(given);
        }
        for model in &models {
            let mut target = provider.target(model);
            // What only the configuration describes stays unknown where the configuration is silent.
            if let Some(given) = configured.iter().find(|it| it.id == model.id) {
                target.images = given.images.or(target.images);
                target.tools = given.tools.or(target.tools);
                target.upstream_id.clone_from(&given.upstream_id);
            }
            let target = Arc::new(target);
            self.by_name.insert(target.name.clone(), Arc::clone(&target));
            self.listed.push(target);
        }
        self.providers.insert(provider.id.clone(), provider);
    }
}

impl Configured {
    fn target(&self, model: &Model) -> Target {
        let described = model.price.is_some() || model.context.is_some();
        let quirks = model.quirks.unwrap_or(self.entry.quirks);
        let family_wants_it = self.entry.tokenizer != Tokenizer::None && openai_reasoning(&model.id);
        Target {
            name: format!("{}/{}", self.id, model.id),
            provider: self.id.clone(),
            model: model.id.clone(),
            upstream_id: None,
            region: match self.entry.dialect {
                DialectName::Bedrock if bedrock::place::is_everywhere(&model.id) => "global".to_owned(),
                _ => self.region.clone(),
            },
            max_output: model.max_output,
            context: model.context,
            price: model.price.clone(),
            revised: self.entry.revised.clone(),
            kind: self.entry.kind.clone(),
            hidden_output: model.hidden_output || (!described && family_wants_it),
            bills_after_cancel: self.entry.bills_after_cancel,
            images: described.then_some(model.images),
            tools: described.then_some(model.tools),
            can: model.can.clone(),
            image_tokens: model.image_tokens,
            tokenizer: model.tokenizer.unwrap_or(self.entry.tokenizer),
            quirks: Quirks {
                needs_max_completion_tokens: quirks.needs_max_completion_tokens || family_wants_it,
                serves_responses: quirks.serves_responses || self.entry.responses,
                no_foreign_history: quirks.no_foreign_history || self.entry.quirks.no_foreign_history,
                ..quirks
            },
            tasks: model.tasks.clone(),
            batches: self.entry.batches,
            slow: self.slow,
            spoken: model
                .dialect
                .or((!described && family_wants_it).then(|| answers_only(&model.id)).flatten())
                .map(|it| spoken(it, self.entry.dialect)),
            wire: Arc::clone(&self.wire),
        }
    }
}

fn no_kind(kind: &str) -> String {
    match catalog::meant(kind) {
        near if near.is_empty() => format!(
            "there is no provider kind {kind} among the {} known ones (docs/providers); for whatever speaks OpenAI's chat \
             completions there is openai-compatible",
            catalog::known_providers()
        ),
        near => format!("there is no provider kind {kind}; did you mean {}?", near.join(" or ")),
    }
}

/// OpenAI's families that refuse `max_tokens`, should the catalogue not list one yet.
fn openai_reasoning(model: &str) -> bool {
    let o_series = model.strip_prefix('o').is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    o_series || model.starts_with("gpt-5") || model.starts_with("gpt-6")
}

/// OpenAI's families that are served at `/responses` alone, should the catalogue not list one yet.
fn answers_only(model: &str) -> Option<ModelDialect> {
    let pro = model.ends_with("-pro") || model.contains("-pro-20");
    (pro || model.contains("-codex")).then_some(ModelDialect::Responses)
}

/// The code that speaks to a model in another dialect than its provider's.
fn spoken(model: ModelDialect, provider: DialectName) -> &'static dyn Dialect {
    match (model, provider) {
        (ModelDialect::Responses, DialectName::Azure) => &AzureResponsesDialect,
        (ModelDialect::Responses, _) => &ResponsesDialect,
    }
}

fn configure(
    path: &str,
    config: &ProviderConfig,
    entry: &Provider,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Configured, Vec<Fault>> {
    let (mut faults, mut sources) = (Vec::new(), Sources::new(env));
    let id = &config.id;
    // A path of the admin API ends in it: dots alone would lead elsewhere.
    if id.bytes().all(|b| b == b'.') || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)) {
        faults.push(Fault::new(format!("{path}.id"), format!("{id:?} is no name: letters, digits, '-', '_', '.'")));
    }
    let built_in = entry.dialect == DialectName::Sim;
    let mut base_url = None;
    let amazons = (entry.dialect == DialectName::Bedrock).then(|| bedrock::place::region(&config.settings));
    if amazons == Some(None) {
        let setting = bedrock::place::SETTING;
        faults.push(Fault::new(format!("{path}.settings.{setting}"), "no region, such as eu-central-1".to_owned()));
    }
    let amazons = amazons.flatten();
    let regional = amazons.map(bedrock::place::base_url);
    match config.base_url.as_ref().or(regional.as_ref()).or(entry.base_url.as_ref()) {
        _ if built_in => {}
        None => faults.push(Fault::new(format!("{path}.base_url"), format!("provider {id} needs a base_url"))),
        Some(text) => match catalog::filled(text, &config.settings).map(|it| Url::parse(&it)) {
            Err(gap) => {
                let place = match &gap {
                    Gap::Silent { name, .. } | Gap::Word { name } => format!("{path}.settings.{name}"),
                    Gap::Torn(_) => format!("{path}.base_url"),
                };
                faults.push(Fault::new(place, gap.to_string()));
            }
            Ok(Err(e)) => {
                faults.push(Fault::new(format!("{path}.base_url"), format!("is not an address: {e}")));
            }
            Ok(Ok(url)) if !matches!(url.scheme(), "http" | "https") || url.host().is_none() => {
                faults.push(Fault::new(format!("{path}.base_url"), "is not an http address".to_owned()));
            }
            Ok(Ok(url)) if !url.username().is_empty() || url.password().is_some() => {
                faults.push(Fault::new(
                    format!("{path}.base_url"),
                    "keys belong into api_key, not into the address".to_owned(),
                ));
            }
            Ok(Ok(url)) => base_url = Some(url),
        },
    }
    let mut aws = None;
    match &config.aws {
        Some(_) if entry.dialect != DialectName::Bedrock || config.has_key() => faults.push(Fault::new(
            format!("{path}.aws"),
            format!("provider {id} signs nothing with them: they are for bedrock, where there is no api_key"),
        )),
        Some(source) => match sources.aws(id, &format!("{path}.aws"), source) {
            Ok(keys) => aws = Some(keys),
            Err(found) => faults.extend(found),
        },
        None => {}
    }
    let tokens = sources.tokens(path, config).unwrap_or_else(|fault| {
        faults.push(fault);
        None
    });
    let mut keys = Vec::new();
    for (place, source) in config.keys() {
        match sources.key(id, &format!("{path}.{place}"), source) {
            Ok(key) => keys.push(key),
            Err(fault) => faults.push(fault),
        }
    }
    match config.has_key().then_some(()) {
        Some(()) => {}
        None if entry.keyless || config.aws.is_some() || config.google.is_some() || config.entra.is_some() => {}
        None if entry.dialect == DialectName::Bedrock => {
            faults.push(Fault::new(format!("{path}.aws"), format!("provider {id} {}", bedrock::place::NEEDS)));
        }
        None => faults.push(Fault::new(
            format!("{path}.api_key"),
            format!(
                "provider {id} needs an api_key, for example {{ env: {}_API_KEY }}",
                config.kind.to_uppercase().replace('-', "_")
            ),
        )),
    }
    if config.slow_ms == Some(0) {
        faults.push(Fault::new(format!("{path}.slow_ms"), "must be above 0".to_owned()));
    }
    if config.health_check.is_some_and(|it| it.every_ms < HealthCheck::SHORTEST_MS) {
        let message = format!("must be at least {}", HealthCheck::SHORTEST_MS);
        faults.push(Fault::new(format!("{path}.health_check.every_ms"), message));
    }
    let ways = Ways::choose(path, config, &mut sources).unwrap_or_else(|found| {
        faults.extend(found);
        Ways::default()
    });
    let mut headers = Vec::new();
    for (name, value) in &config.headers {
        match (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(value)) {
            (Ok(name), Ok(value)) => headers.push((name, value)),
            _ => faults.push(Fault::new(format!("{path}.headers.{name}"), "not a header".to_owned())),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let dialect: Box<dyn Dialect> = match entry.dialect {
        DialectName::Openai | DialectName::Sim => Box::new(OpenAiDialect),
        DialectName::Azure => Box::new(AzureDialect),
        DialectName::Anthropic => Box::new(AnthropicDialect),
        DialectName::Bedrock => Box::new(BedrockDialect),
        DialectName::Responses => Box::new(ResponsesDialect),
        DialectName::Cohere => Box::new(CohereDialect),
        DialectName::Gemini => Box::new(GeminiDialect),
    };
    Ok(Configured {
        id: id.clone(),
        region: match (&config.region, amazons) {
            (Some(said), _) => said.clone(),
            (None, Some(region)) => bedrock::place::label(region).to_owned(),
            (None, None) => entry.region.clone(),
        },
        entry: entry.clone(),
        watched: sources.watched(),
        wire: Arc::new(Wire {
            dialect,
            base_url,
            keys: KeyRing::new(keys),
            tokens,
            auth: entry.auth,
            headers,
            settings: config.settings.clone(),
            aws,
            way: ways.own,
            token_way: ways.tokens,
        }),
        slow: config.slow_ms.map(Duration::from_millis),
        health_check: config.health_check,
    })
}

impl Model {
    fn unknown(id: &str) -> Model {
        Model {
            id: id.to_owned(),
            dialect: None,
            context: None,
            max_output: None,
            tokenizer: None,
            price: None,
            hidden_output: false,
            images: false,
            tools: true,
            can: Vec::new(),
            image_tokens: None,
            quirks: None,
            tasks: Vec::new(),
        }
    }

    fn correct(&mut self, given: &ConfiguredModel) {
        self.dialect = given.dialect.or(self.dialect);
        self.context = given.context.or(self.context);
        self.max_output = given.max_output.or(self.max_output);
        if !given.tasks.is_empty() {
            self.tasks.clone_from(&given.tasks);
        }
        if !given.can.is_empty() {
            self.can.clone_from(&given.can);
        }
        self.tokenizer = given.tokenizer.or(self.tokenizer);
        self.images = given.images.unwrap_or(self.images);
        self.tools = given.tools.unwrap_or(self.tools);
        self.hidden_output = given.hidden_output.unwrap_or(self.hidden_output);
    }
}

impl Target {
    /// What is spoken to it.
    pub fn dialect(&self) -> &dyn Dialect {
        self.spoken.unwrap_or(&*self.wire.dialect)
    }

    /// The host that it is asked at, and its port; none for the built-in provider.
    pub fn server(&self) -> Option<(&str, u16)> {
        let url = self.wire.base_url.as_ref()?;
        Some((url.host_str()?, url.port_or_known_default()?))
    }

    /// What its provider calls the model.
    pub fn upstream_name(&self) -> &str {
        self.upstream_id.as_ref().unwrap_or(&self.model)
    }

    /// Where a request with this cap goes; none for the built-in provider.
    pub(crate) fn aim<'a>(&'a self, base_url: &'a Url, cap: u64, key: Option<&'a Secret>, now: SystemTime) -> Aim<'a> {
        Aim {
            base_url,
            model: self.upstream_name(),
            cap,
            key,
            auth: self.wire.auth,
            headers: &self.wire.headers,
            quirks: &self.quirks,
            settings: &self.wire.settings,
            aws: self.wire.aws.as_deref(),
            now,
        }
    }

    /// Whether the answer for a caller who wants JSON can be asked as a stream, so that its tokens are seen as they come.
    pub fn can_gather(&self, request: &ModelRequest) -> bool {
        gather::can_gather(self.dialect(), request)
    }

    /// Whether it serves this; who is not described may well.
    pub fn serves(&self, task: Task) -> bool {
        match self.tasks.is_empty() {
            true => !self.is_described() || task == Task::Chat,
            false => self.tasks.contains(&task),
        }
    }

    fn is_described(&self) -> bool {
        self.price.is_some() || self.context.is_some()
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target").field("name", &self.name).field("region", &self.region).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::Shape;

    fn build(configs: &[&str]) -> Result<Fleet, Vec<Fault>> {
        let configs: Vec<ProviderConfig> = configs.iter().map(|it| serde_yaml_ng::from_str(it).unwrap()).collect();
        Fleet::build(&configs, &|name| (name == "K").then(|| "sk-secret".to_owned()))
    }

    const OPENAI: &str = "{ id: openai, kind: openai, api_key: { env: K } }";

    #[test]
    fn a_fleet_is_renewed_with_what_is_as_it_was_and_without_what_is_wrong() {
        let before = build(&[OPENAI, "{ id: sim, kind: sim }"]).expect("good");
        let texts = ["{ id: bad, kind: nonesuch }", "{ id: sim, kind: sim }", OPENAI, OPENAI];
        let configs: Vec<ProviderConfig> = texts.iter().map(|it| serde_yaml_ng::from_str(it).unwrap()).collect();
        // Whose key is no longer to be had is not asked for it again.
        let (fleet, faults) = Fleet::renew(&configs, &|_| None, &|i| (i == 2).then_some(&before));
        let places: Vec<_> = faults.iter().map(|(i, faults)| (*i, faults[0].path.as_str())).collect();
        assert_eq!(places, [(0, "providers[0].kind"), (3, "providers[3].id")]);
        let wire = |fleet: &Fleet, name: &str| Arc::clone(&fleet.target(name).expect(name).wire);
        assert!(Arc::ptr_eq(&wire(&fleet, "openai/gpt-4o"), &wire(&before, "openai/gpt-4o")), "keys and all");
        assert!(!Arc::ptr_eq(&wire(&fleet, "sim/echo"), &wire(&before, "sim/echo")), "made anew");
        assert_eq!(fleet.models()[0].provider, "sim", "in the new order");
        assert_eq!(fleet.models().len(), before.models().len());
    }

    #[test]
    fn every_fault_is_told_with_its_place() {
        let check = |configs: &[&str], expected: &[&str]| {
            let faults = build(configs).err().expect("faults");
            let paths: Vec<_> = faults.iter().map(|it| &*it.path).collect();
            assert_eq!(paths, expected, "{faults:?}");
        };
        check(&["{ id: x, kind: nonesuch }"], &["providers[0].kind"]);
        check(&["{ id: openai, kind: openai }"], &["providers[0].api_key"]);
        check(&["{ id: openai, kind: openai, api_key: { env: UNSET } }"], &["providers[0].api_key.env"]);
        check(&[OPENAI, OPENAI], &["providers[1].id"]);
        check(&["{ id: a, kind: azure, api_key: { env: K } }"], &["providers[0].base_url"]);
        check(&["{ id: .., kind: vllm, base_url: \"http://x\" }"], &["providers[0].id"]);
        check(&["{ id: \"a/b\", kind: vllm, base_url: \"ftp://x\" }"], &["providers[0].id", "providers[0].base_url"]);
        check(&["{ id: a, kind: vllm, base_url: \"http://u:p@x/\" }"], &["providers[0].base_url"]);
        let bedrock = |more: &str| format!("{{ id: a, kind: bedrock, {more} }}");
        let keys = "access_key_id: { env: K }, secret_access_key: { env: K }";
        for (more, expected) in [
            ("headers: {}".to_owned(), &["providers[0].aws"][..]),
            ("aws: { access_key_id: { env: K } }".to_owned(), &["providers[0].aws.secret_access_key"]),
            (
                "aws: { access_key_id: { file: /nowhere }, secret_access_key: { env: UNSET } }".to_owned(),
                &["providers[0].aws.access_key_id.file", "providers[0].aws.secret_access_key.env"],
            ),
            (format!("api_key: {{ env: K }}, aws: {{ {keys} }}"), &["providers[0].aws"]),
            (format!("settings: {{ aws_region: eu }}, aws: {{ {keys} }}"), &["providers[0].settings.aws_region"]),
        ] {
            check(&[&bedrock(&more)], expected);
        }
        check(&[&format!("{{ id: a, kind: vllm, base_url: \"http://x\", aws: {{ {keys} }} }}")], &["providers[0].aws"]);
        check(
            &["{ id: a, kind: vllm, slow_ms: 0, health_check: { every_ms: 999 } }"],
            &["providers[0].slow_ms", "providers[0].health_check.every_ms"],
        );
        check(
            &["{ id: openai, kind: openai, api_key: { env: UNSET }, api_keys: [{ env: K }, { env: UNSET }] }"],
            &["providers[0].api_key.env", "providers[0].api_keys[1].env"],
        );
        check(&["{ id: a, kind: vllm, headers: { \"a b\": x } }"], &["providers[0].headers.a b"]);
    }

    #[test]
    fn a_target_knows_what_the_catalogue_and_the_configuration_say() {
        let azure = "{ id: az, kind: azure, base_url: \"https://n.openai.azure.com/openai/v1\", region: eu, api_key: { env: K } }";
        let groq =
            "{ id: groq, kind: groq, api_key: { env: K }, models: [{ id: llama-3.1-8b-instant, max_output: 5 }] }";
        let fleet = build(&[OPENAI, azure, groq]).unwrap();
        let target = fleet.target("openai/gpt-4o").unwrap();
        assert_eq!((target.context, target.images, &*target.region), (Some(128_000), Some(true), "us"));
        assert_eq!(target.price.as_ref().map(|it| &*it.output), Some("10.00"));
        assert_eq!(fleet.target("az/gpt-4o").map(|it| it.revised.clone()).as_ref(), Some(&target.revised), "borrowed");
        let target = fleet.target("az/gpt-5").unwrap();
        assert_eq!(
            (&*target.region, target.hidden_output, target.quirks.needs_max_completion_tokens),
            ("eu", true, true)
        );
        assert_eq!((&*target.kind, target.revised.len()), ("azure", 10));
        let target = fleet.target("groq/llama-3.1-8b-instant").unwrap();
        assert_eq!((target.max_output, target.context), (Some(5), Some(131_072)));
        assert_eq!(fleet.target("groq/openai/gpt-oss-20b").unwrap().model, "openai/gpt-oss-20b");
        assert!(
            fleet.target("nonesuch/x").is_none()
                && fleet.target("openai/").is_none()
                && fleet.target("gpt-4o").is_none()
        );
        assert_eq!(fleet.models()[0].name, "openai/gpt-4o");
    }

    #[test]
    fn a_key_in_an_address_is_not_repeated_whatever_is_wrong_with_it() {
        for address in
            ["https://user:canary@up.example/v1", "https://user:canary@up example/v1", "ftp://user:canary@up/v1"]
        {
            let yaml = format!("{{ id: up, kind: openai, base_url: '{address}', api_key: {{ env: UP }} }}");
            let config: ProviderConfig = serde_yaml_ng::from_str(&yaml).unwrap();
            let faults = Fleet::build(&[config], &|_| Some("fixed".to_owned())).err().unwrap_or_default();
            assert_eq!(faults.len(), 1, "{address}");
            assert!(faults[0].path == "providers[0].base_url" && !faults[0].message.contains("canary"), "{faults:?}");
        }
    }

    #[test]
    fn a_gap_of_an_address_is_filled_from_the_settings_or_told() {
        let cloudflare = |settings: &str| {
            build(&[&format!("{{ id: cf, kind: cloudflare, api_key: {{ env: K }}, settings: {settings} }}")])
        };
        let target = cloudflare("{ account: 0a1b }").unwrap().target("cf/@cf/openai/gpt-oss-120b").unwrap();
        let url = target.wire.base_url.as_ref().map(Url::as_str);
        assert_eq!(url, Some("https://api.cloudflare.com/client/v4/accounts/0a1b/ai/v1"));
        assert!(target.price.is_some() && target.can(Ability::Reasoning));
        for settings in ["{}", "{ account: a/../../b }", "{ account: '' }"] {
            let faults = cloudflare(settings).err().expect("a fault");
            assert_eq!(faults.iter().map(|it| &*it.path).collect::<Vec<_>>(), ["providers[0].settings.account"]);
        }
    }

    #[test]
    fn a_kind_that_is_misspelt_is_understood_and_one_that_is_unknown_is_pointed_on() {
        for (kind, part) in [("opnai", "did you mean openai?"), ("telepathy", "there is openai-compatible")] {
            let faults = build(&[&format!("{{ id: a, kind: {kind} }}")]).err().expect("a fault");
            assert!(faults[0].message.contains(part), "{}", faults[0].message);
        }
    }

    #[test]
    fn a_model_that_nobody_describes_is_a_target_without_a_price() {
        let fleet = build(&[OPENAI, "{ id: local, kind: ollama }"]).unwrap();
        let target = fleet.target("local/tiny:1b").unwrap();
        assert_eq!((target.price.clone(), target.context, target.images, target.tools), (None, None, None, None));
        let newer = fleet.target("openai/o9-next").unwrap();
        assert!(newer.quirks.needs_max_completion_tokens && newer.hidden_output && newer.tokenizer == Tokenizer::O200k);
        assert!(!fleet.target("openai/chatgpt-4o-latest").unwrap().quirks.needs_max_completion_tokens);
    }

    #[test]
    fn bedrock_is_where_its_region_is_but_a_global_profile_is_everywhere() {
        let keys = "aws: { access_key_id: { env: K }, secret_access_key: { env: K }, session_token: { env: K } }";
        let check = |more: &str, model: &str, region: &str, host: &str| {
            let fleet = build(&[&format!("{{ id: b, kind: bedrock, {more} }}")]).unwrap();
            let target = fleet.target(&format!("b/{model}")).unwrap();
            assert_eq!(&*target.region, region, "{more} {model}");
            assert_eq!(target.wire.base_url.as_ref().and_then(Url::host_str), Some(host));
            assert!(target.wire.aws.is_some() == target.wire.keys.is_keyless());
        };
        let usual = "bedrock-runtime.us-east-1.amazonaws.com";
        let eu = format!("settings: {{ aws_region: eu-central-1 }}, {keys}");
        check(keys, "amazon.nova-lite-v1:0", "us", usual);
        check("api_key: { env: K }", "us.x", "us", usual);
        check(&eu, "eu.amazon.nova-lite-v1:0", "eu", "bedrock-runtime.eu-central-1.amazonaws.com");
        check(&eu, "global.amazon.nova-2-lite-v1:0", "global", "bedrock-runtime.eu-central-1.amazonaws.com");
        check(&format!("region: de, base_url: \"http://proxy/\", {eu}"), "x", "de", "proxy");
    }

    #[test]
    fn a_model_may_be_asked_by_another_name_than_it_is_priced_by() {
        let azure = "{ id: az, kind: azure, base_url: \"https://n.openai.azure.com\", api_key: { env: K }, models: [{ id: gpt-4o, deployment: team-4o }, { id: own, upstream_id: ours }] }";
        let fleet = build(&[azure]).unwrap();
        let base_url = Url::parse("https://n.openai.azure.com").unwrap();
        let asked = |name: &str| {
            let target = fleet.target(name).unwrap();
            let aim = target.aim(&base_url, 1, None, SystemTime::UNIX_EPOCH);
            (aim.model.to_owned(), target.price.is_some())
        };
        assert_eq!(asked("az/gpt-4o"), ("team-4o".to_owned(), true));
        assert_eq!(asked("az/gpt-4o-mini"), ("gpt-4o-mini".to_owned(), true));
        assert_eq!(asked("az/own"), ("ours".to_owned(), false));
    }

    #[test]
    fn tokens_are_fetched_in_place_of_a_key() {
        let az = |more: &str| format!("{{ id: az, kind: azure, base_url: \"https://n.openai.azure.com\", {more} }}");
        let entra = "entra: { tenant: t, client_id: c, client_secret: { env: K } }";
        assert!(build(&[&az(entra)]).is_ok());
        for (config, path) in [
            (az(&format!("api_key: {{ env: K }}, {entra}")), "providers[0]"),
            (
                az("entra: { tenant: t, client_id: c, client_secret: { env: UNSET } }"),
                "providers[0].entra.client_secret.env",
            ),
            (az("entra: { tenant: \"\", client_id: c, client_secret: { env: K } }"), "providers[0].entra.tenant"),
            (az("google: { service_account: { env: K } }"), "providers[0].google.service_account"),
        ] {
            let faults = build(&[&config]).err().expect("a fault");
            assert_eq!(faults.iter().map(|it| &*it.path).collect::<Vec<_>>(), [path]);
            assert!(!faults[0].to_string().contains("sk-secret"), "{faults:?}");
        }
    }

    #[test]
    fn a_model_may_be_asked_in_another_dialect_than_its_providers_others() {
        let azure = "{ id: az, kind: azure, base_url: \"https://n.openai.azure.com/openai/v1\", api_key: { env: K } }";
        let local = "{ id: local, kind: ollama, models: [{ id: mine, dialect: responses }] }";
        let fleet = build(&[OPENAI, azure, local]).unwrap();
        let check = |name: &str, expected: Shape| {
            assert_eq!(fleet.target(name).unwrap().dialect().own_shape(), Some(expected), "{name}");
        };
        check("openai/gpt-5-pro", Shape::Responses);
        check("openai/gpt-5", Shape::OpenAi);
        check("az/gpt-5-codex", Shape::Responses);
        check("local/mine", Shape::Responses);
        check("local/other-codex-pro", Shape::OpenAi);
        check("openai/gpt-6.9-pro-2027-01-01", Shape::Responses);
        check("openai/gpt-6.9", Shape::OpenAi);
    }

    #[test]
    fn a_provider_may_have_several_keys() {
        let fleet = build(&["{ id: openai, kind: openai, api_keys: [{ env: K }, { env: K }] }"]).unwrap();
        let keys = &fleet.target("openai/gpt-4o").unwrap().wire.keys;
        assert_eq!((0..3).map(|_| keys.pick(0).unwrap().index()).collect::<Vec<_>>(), [0, 1, 0]);
        assert_eq!(keys.home().map(|it| it.index()), Some(0));
    }

    #[test]
    fn a_target_shows_no_key() {
        let shown = format!("{:?}", build(&[OPENAI]).unwrap().target("openai/gpt-4o").unwrap());
        assert!(!shown.contains("sk-secret"), "{shown}");
    }
}
