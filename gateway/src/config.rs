//! One struct tree, read once from a file and the environment; every fault is reported with its place.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use providers::{CatalogPrice, CatalogTier, EgressConfig, ProviderConfig, VaultConfig};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_yaml_ng::{Mapping, Value};

use crate::alerts::SinkConfig;
use crate::connections::ConnectionConfig;
use crate::hops::RegionConfig;
use crate::limits::{ModelLimits, SharedConfig};
use crate::policy::PolicyConfig;
use crate::pricing::{self, PriceFault};
use crate::reload::ReloadConfig;
pub use crate::routing::ModelConfig;
use crate::routing::{self, RetryConfig, TargetConfig};
use crate::telemetry::{CallLog, TelemetryConfig};
use crate::tls::TlsConfig;

/// Everything that an operator can set.
#[derive(Debug, Clone)]
pub struct Config {
    /// All that was said, file and environment together, as it was written: to tell what another configuration changes.
    pub tree: Tree,
    /// Where the one port listens.
    pub listen: SocketAddr,
    /// Where the data of an embedded database lives.
    pub data_dir: PathBuf,
    pub database: DatabaseConfig,
    /// Where provider keys may be kept.
    pub vault: Option<VaultConfig>,
    /// What stands between the house and the providers.
    pub egress: EgressConfig,
    /// The port speaks HTTPS; plain HTTP without it.
    pub tls: Option<TlsConfig>,
    pub providers: Vec<ProviderConfig>,
    pub models: Vec<ModelConfig>,
    /// Asking the same target again within a call.
    pub retries: RetryConfig,
    /// USD per million tokens, by `provider/model`; overrides the catalogue.
    pub prices: BTreeMap<String, PriceConfig>,
    /// What the tenant pays is what the provider costs times this; at least 1.
    pub markup: String,
    pub policies: PolicyConfig,
    pub limits: LimitConfig,
    pub connections: ConnectionConfig,
    pub deadlines: DeadlineConfig,
    pub holds: HoldConfig,
    pub cache: CacheConfig,
    pub log: LogConfig,
    pub reload: ReloadConfig,
    pub telemetry: TelemetryConfig,
    /// Whom to tell of limits reached and spending unlike before.
    pub alerts: Vec<SinkConfig>,
    /// Where this process, its database and those who are told things lie.
    pub regions: RegionConfig,
    /// Networks whose `x-forwarded-for` is believed.
    pub trusted_proxies: Vec<String>,
}

/// What was written, word for word, to be compared with what is written later. Not shown: addresses in it may be secrets.
#[derive(Clone, Default, PartialEq)]
pub struct Tree(serde_json::Value);

impl std::ops::Deref for Tree {
    type Target = serde_json::Value;

    fn deref(&self) -> &serde_json::Value {
        &self.0
    }
}

impl fmt::Debug for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tree(…)")
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// `sqlite://path` or `postgres://…`; SQLite under `data_dir` if unset.
    pub url: Option<String>,
}

/// USD per million tokens.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PriceConfig {
    pub input: String,
    pub cached_input: Option<String>,
    pub cache_write: Option<String>,
    pub cache_write_1h: Option<String>,
    pub audio_input: Option<String>,
    pub image_input: Option<String>,
    pub output: String,
    pub reasoning: Option<String>,
    pub audio_output: Option<String>,
    pub image_output: Option<String>,
    /// Each call, beside its tokens.
    pub request: Option<String>,
    /// Each search.
    pub search: Option<String>,
    /// Each image that is made.
    pub image: Option<String>,
    /// Each second that is heard or spoken.
    pub second: Option<String>,
    /// A million characters that are spoken.
    pub characters: Option<String>,
    /// What of the price of tokens remains in a batch, as a factor.
    pub batch: Option<String>,
    /// Other rates for the whole call above so many tokens of input.
    #[serde(default)]
    pub long_context: Vec<CatalogTier>,
    /// The model bills output that it does not stream.
    pub hidden_output: Option<bool>,
    /// The provider goes on billing after a stream was cancelled.
    pub bills_after_cancel: Option<bool>,
}

impl PriceConfig {
    /// What was written, as prices.
    ///
    /// # Errors
    /// The first member that is no price.
    pub fn rates(&self) -> Result<ledger::Rates, PriceFault> {
        let price = self.clone();
        let rates = pricing::rates(&CatalogPrice {
            input: price.input,
            cached_input: price.cached_input,
            cache_write: price.cache_write,
            cache_write_1h: price.cache_write_1h,
            audio_input: price.audio_input,
            image_input: price.image_input,
            output: price.output,
            reasoning: price.reasoning,
            audio_output: price.audio_output,
            image_output: price.image_output,
            request: price.request,
            search: price.search,
            image: price.image,
            second: price.second,
            characters: price.characters,
            batch: price.batch,
            long_context: price.long_context,
        })?;
        let (hidden_output, bills_after_cancel) = (self.hidden_output, self.bills_after_cancel);
        Ok(ledger::Rates { hidden_output, bills_after_cancel, ..rates })
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitConfig {
    pub max_body_bytes: u64,
    /// Request bodies held in memory at once, over all calls.
    pub max_bodies_bytes: u64,
    /// Calls in flight before more are shed.
    pub max_in_flight: usize,
    /// Failed verifications a minute and address before they are answered 429.
    pub failed_verifications_per_minute: u32,
    /// Below so many calls in flight nothing is shed.
    pub shed_from: usize,
    /// Where several processes keep one account.
    pub shared: Option<SharedConfig>,
}

impl Default for LimitConfig {
    fn default() -> Self {
        LimitConfig {
            max_body_bytes: 32 << 20,
            max_bodies_bytes: 512 << 20,
            max_in_flight: 4_096,
            failed_verifications_per_minute: 60,
            shed_from: 1_024,
            shared: None,
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeadlineConfig {
    pub connect_ms: u64,
    /// Until a stream begins.
    pub first_byte_ms: u64,
    /// Until an answer that is not streamed begins: it is made before its head is sent.
    pub whole_ms: u64,
    pub idle_ms: u64,
    /// A whole call, all attempts and the last byte included.
    pub total_ms: u64,
    /// How long an answer whose client has gone is read on for its usage, where hanging up would save nothing.
    pub drain_ms: u64,
    /// What is in flight at shutdown may go on for so long.
    pub shutdown_ms: u64,
}

impl Default for DeadlineConfig {
    fn default() -> Self {
        DeadlineConfig {
            connect_ms: 5_000,
            first_byte_ms: 120_000,
            whole_ms: 300_000,
            idle_ms: 60_000,
            total_ms: 900_000,
            drain_ms: 120_000,
            shutdown_ms: 30_000,
        }
    }
}

impl DeadlineConfig {
    pub fn total(&self) -> Duration {
        Duration::from_millis(self.total_ms)
    }
    pub fn drain(&self) -> Duration {
        Duration::from_millis(self.drain_ms)
    }
    pub fn shutdown(&self) -> Duration {
        Duration::from_millis(self.shutdown_ms)
    }
}

/// How money is set aside.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HoldConfig {
    /// A call that does not fit only because of what others hold waits so long for them.
    pub patience_ms: u64,
}

impl HoldConfig {
    /// Whoever waits keeps a place among the calls in flight: no longer than most clients would.
    const MOST_PATIENCE_MS: u64 = 60_000;

    pub fn patience(&self) -> Duration {
        Duration::from_millis(self.patience_ms)
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// Memory for answers that policy allows to be cached.
    pub max_bytes: u64,
    /// Memory for answers kept for a repeated `Idempotency-Key`.
    pub replay_bytes: u64,
}

impl Default for CacheConfig {
    fn default() -> Self {
        CacheConfig { max_bytes: 64 << 20, replay_bytes: 64 << 20 }
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    pub format: LogFormat,
    /// A `tracing` filter such as `info` or `info,gateway=debug`.
    pub filter: String,
    /// Which calls have a line of their own.
    pub calls: CallLog,
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig { format: LogFormat::Text, filter: "info".into(), calls: CallLog::Off }
    }
}

/// One thing wrong with the configuration, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub file: String,
    pub line: Option<usize>,
    /// Dotted, as in `models[1].targets`.
    pub path: String,
    pub message: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.path.is_empty() {
            write!(f, ": {}", self.path)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Variables that begin with `ALFRED_` and are no settings.
const NOT_SETTINGS: [&str; 2] = ["ALFRED_BOOTSTRAP_ADMIN_KEY", "ALFRED_CONFIG"];

const SECTIONS: &[&str] = &[
    "listen",
    "data_dir",
    "database",
    "vault",
    "egress",
    "tls",
    "providers",
    "models",
    "retries",
    "prices",
    "markup",
    "policies",
    "limits",
    "connections",
    "deadlines",
    "holds",
    "cache",
    "log",
    "reload",
    "telemetry",
    "alerts",
    "regions",
    "trusted_proxies",
];

/// What was read, and what an operator should know although it is no fault.
#[derive(Debug)]
pub struct Loaded {
    pub config: Config,
    pub notes: Vec<String>,
    /// Every fault found, not the first. With any, the configuration is only good for finding more.
    pub faults: Vec<Fault>,
    /// What was read, to find lines in.
    pub text: String,
}

/// Reads a file (none: defaults) under the environment's overrides.
///
/// # Errors
/// When the file cannot be read at all.
pub fn load(file: Option<&Path>, environment: &[(String, String)]) -> Result<Loaded, Fault> {
    let name = file.map_or_else(|| "(no file)".to_owned(), |path| path.display().to_string());
    let text = match file {
        None => String::new(),
        Some(path) => std::fs::read_to_string(path).map_err(|error| Fault {
            file: name.clone(),
            line: None,
            path: String::new(),
            message: format!("cannot be read: {error}"),
        })?,
    };
    Ok(parse(&name, &text, environment))
}

/// The same, of a text.
pub fn parse(name: &str, text: &str, environment: &[(String, String)]) -> Loaded {
    let mut reader = Reader { file: name.to_owned(), text: text.to_owned(), faults: Vec::new() };
    let mut tree = reader.tree();
    let notes = overlay(&mut tree, environment, &mut reader);
    for key in tree.keys() {
        let key = key.as_str().unwrap_or("(not a text)");
        if !SECTIONS.contains(&key) {
            reader.fault(key, format!("unknown setting; known are {}", SECTIONS.join(", ")));
        }
    }
    let defaults = Defaults::default();
    let mut config = Config {
        tree: Tree(serde_json::to_value(&tree).unwrap_or_default()),
        listen: reader.section(&tree, "listen").unwrap_or(defaults.listen),
        data_dir: reader.section(&tree, "data_dir").unwrap_or(defaults.data_dir),
        database: reader.section(&tree, "database").unwrap_or_default(),
        vault: reader.section(&tree, "vault"),
        egress: reader.section(&tree, "egress").unwrap_or_default(),
        tls: reader.section(&tree, "tls"),
        providers: reader.list(&tree, "providers"),
        models: reader.list(&tree, "models"),
        retries: reader.section(&tree, "retries").unwrap_or_default(),
        prices: reader.section(&tree, "prices").unwrap_or_default(),
        markup: reader.section(&tree, "markup").map_or_else(|| "1".to_owned(), |Scalar(text)| text),
        policies: reader.section(&tree, "policies").unwrap_or_default(),
        limits: reader.section(&tree, "limits").unwrap_or_default(),
        connections: reader.section(&tree, "connections").unwrap_or_default(),
        deadlines: reader.section(&tree, "deadlines").unwrap_or_default(),
        holds: reader.section(&tree, "holds").unwrap_or_default(),
        cache: reader.section(&tree, "cache").unwrap_or_default(),
        log: reader.section(&tree, "log").unwrap_or_default(),
        reload: reader.section(&tree, "reload").unwrap_or_default(),
        telemetry: reader.section(&tree, "telemetry").unwrap_or_default(),
        alerts: reader.list(&tree, "alerts"),
        regions: reader.section(&tree, "regions").unwrap_or_default(),
        trusted_proxies: reader.section(&tree, "trusted_proxies").unwrap_or_default(),
    };
    let said = |name: &str| environment.iter().find(|(it, _)| it == name).map(|(_, text)| text.clone());
    if let Err(it) = config.egress.give_to(&mut config.providers, &said) {
        reader.fault(&it.path, it.message);
    }
    reader.check(&config);
    // What was read so far is handed on even so: whoever checks it further wants to tell all faults at once.
    Loaded { config, notes, faults: reader.faults, text: text.to_owned() }
}

impl Config {
    /// The database to use: the one set, or SQLite under the data directory.
    pub fn database_url(&self) -> String {
        self.database.url.clone().unwrap_or_else(|| format!("sqlite://{}", self.data_dir.join("alfred.db").display()))
    }
}

struct Defaults {
    listen: SocketAddr,
    data_dir: PathBuf,
}

impl Default for Defaults {
    fn default() -> Self {
        Defaults { listen: SocketAddr::from(([127, 0, 0, 1], 8080)), data_dir: PathBuf::from("data") }
    }
}

/// A number or a text, kept as it was written.
struct Scalar(String);

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match Value::deserialize(deserializer)? {
            Value::String(text) => Ok(Scalar(text)),
            Value::Number(number) => Ok(Scalar(number.to_string())),
            _ => Err(serde::de::Error::custom("not a number")),
        }
    }
}

struct Reader {
    file: String,
    text: String,
    faults: Vec<Fault>,
}

impl Reader {
    fn fault(&mut self, path: &str, message: String) {
        self.faults.push(Fault {
            file: self.file.clone(),
            line: line_of(&self.text, path),
            path: path.into(),
            message,
        });
    }

    fn tree(&mut self) -> Mapping {
        match serde_yaml_ng::from_str::<Option<Value>>(&self.text) {
            Ok(None) => Mapping::new(),
            Ok(Some(Value::Mapping(tree))) => tree,
            Ok(Some(_)) => {
                self.fault("", "must be a mapping of settings".into());
                Mapping::new()
            }
            Err(error) => {
                let line = error.location().map(|at| at.line());
                self.faults.push(Fault {
                    file: self.file.clone(),
                    line,
                    path: String::new(),
                    message: format!("not YAML: {error}"),
                });
                Mapping::new()
            }
        }
    }

    fn typed<T: DeserializeOwned>(&mut self, value: Value, path: &str) -> Option<T> {
        match serde_path_to_error::deserialize::<_, T>(value) {
            Ok(typed) => Some(typed),
            Err(error) => {
                let inner = error.path().to_string();
                let whole = match inner.as_str() {
                    "." => path.to_owned(),
                    inner if inner.starts_with('[') => format!("{path}{inner}"),
                    inner => format!("{path}.{inner}"),
                };
                self.fault(&whole, error.inner().to_string());
                None
            }
        }
    }

    fn section<T: DeserializeOwned>(&mut self, tree: &Mapping, name: &str) -> Option<T> {
        match tree.get(name)? {
            Value::Null => None,
            value => self.typed(value.clone(), name),
        }
    }

    /// Item by item, so that a fault in one hides none in the next.
    fn list<T: DeserializeOwned>(&mut self, tree: &Mapping, name: &str) -> Vec<T> {
        match tree.get(name) {
            None | Some(Value::Null) => Vec::new(),
            Some(Value::Sequence(items)) => {
                let items = items.clone();
                items.into_iter().enumerate().filter_map(|(i, v)| self.typed(v, &format!("{name}[{i}]"))).collect()
            }
            Some(_) => {
                self.fault(name, "must be a list".into());
                Vec::new()
            }
        }
    }

    /// What the types cannot say.
    fn check(&mut self, config: &Config) {
        let mut seen = std::collections::BTreeSet::new();
        for (i, provider) in config.providers.iter().enumerate() {
            if !seen.insert(provider.id.as_str()) {
                self.fault(&format!("providers[{i}].id"), format!("'{}' is there twice", provider.id));
            }
        }
        let mut aliases = std::collections::BTreeSet::new();
        for (i, model) in config.models.iter().enumerate() {
            if !aliases.insert(model.id.as_str()) {
                self.fault(&format!("models[{i}].id"), format!("'{}' is there twice", model.id));
            }
            if model.id.is_empty() || model.id.len() > 256 {
                self.fault(&format!("models[{i}].id"), "must have 1 to 256 characters".into());
            }
            if model.targets.is_empty() {
                self.fault(&format!("models[{i}].targets"), "names no target".into());
            }
            for (j, TargetConfig { target, .. }) in model.targets.iter().enumerate() {
                let provider = target.split_once('/').map(|(provider, _)| provider);
                if !provider.is_some_and(|p| config.providers.iter().any(|known| known.id == p)) {
                    let path = format!("models[{i}].targets[{j}]");
                    self.fault(&path, format!("'{target}' is not 'provider/model' of a configured provider"));
                }
            }
        }
        config.regions.check(&config.alerts, &mut |path, message| self.fault(&path, message));
        routing::check(&config.models, &config.retries, &mut |path, message| self.fault(&path, message));
        for (name, price) in &config.prices {
            if let Err(it) = price.rates() {
                self.fault(&format!("prices.{name}.{}", it.member), it.message);
            }
        }
        if let Err(error) = config.markup.parse::<ledger::Markup>() {
            self.fault("markup", error.to_string());
        }
        for (i, network) in config.trusted_proxies.iter().enumerate() {
            if let Err(error) = network.parse::<crate::limits::Network>() {
                self.fault(&format!("trusted_proxies[{i}]"), error.to_string());
            }
        }
        if config.limits.max_in_flight == 0 || config.limits.max_body_bytes == 0 {
            self.fault("limits", "max_in_flight and max_body_bytes must be above 0".into());
        }
        let deadlines = &config.deadlines;
        for (name, millis) in [
            ("connect_ms", deadlines.connect_ms),
            ("first_byte_ms", deadlines.first_byte_ms),
            ("whole_ms", deadlines.whole_ms),
            ("idle_ms", deadlines.idle_ms),
            ("total_ms", deadlines.total_ms),
        ] {
            if millis == 0 {
                self.fault(&format!("deadlines.{name}"), "must be above 0: no call could be answered in time".into());
            }
        }
        if let Some((path, message)) = config.connections.fault() {
            self.fault(path, message.into());
        }
        for (member, message) in config.limits.shared.iter().flat_map(SharedConfig::faults) {
            self.fault(&format!("limits.shared.{member}"), message);
        }
        for (i, model) in config.models.iter().enumerate() {
            if let Some((member, message)) = model.limits.and_then(ModelLimits::fault) {
                self.fault(&format!("models[{i}].limits.{member}"), message);
            }
        }
        if config.holds.patience_ms > HoldConfig::MOST_PATIENCE_MS {
            self.fault("holds.patience_ms", format!("must be at most {}", HoldConfig::MOST_PATIENCE_MS));
        }
        if let Some(url) = &config.database.url
            && !["sqlite:", "postgres:", "postgresql:"].iter().any(|scheme| url.starts_with(scheme))
        {
            self.fault("database.url", "must begin with sqlite:// or postgres://".into());
        }
    }
}

/// Lays `ALFRED_A__B=value` over `a.b`. A value is read as YAML, so that lists and mappings can be given too.
fn overlay(tree: &mut Mapping, environment: &[(String, String)], reader: &mut Reader) -> Vec<String> {
    let mut notes = Vec::new();
    for (name, text) in environment {
        let Some(path) = name.strip_prefix("ALFRED_").filter(|_| !NOT_SETTINGS.contains(&name.as_str())) else {
            continue;
        };
        let steps: Vec<String> = path.split("__").map(str::to_lowercase).collect();
        if !SECTIONS.contains(&steps[0].as_str()) {
            notes.push(format!("the environment variable {name} names no setting and is ignored"));
            continue;
        }
        let value = serde_yaml_ng::from_str::<Value>(text).unwrap_or_else(|_| Value::String(text.clone()));
        // A path or an address must not turn into a number or a date on the way.
        let value = match value {
            Value::Mapping(_) | Value::Sequence(_) | Value::Number(_) | Value::Bool(_) => value,
            _ => Value::String(text.clone()),
        };
        if !place(tree, &steps, value) {
            reader.faults.push(Fault {
                file: "(environment)".into(),
                line: None,
                path: name.clone(),
                message: "cannot be laid over the file: a part of its path is not a mapping".into(),
            });
        }
    }
    notes
}

fn place(tree: &mut Mapping, steps: &[String], value: Value) -> bool {
    let key = Value::String(steps[0].clone());
    if steps.len() == 1 {
        tree.insert(key, value);
        return true;
    }
    let inner = tree.entry(key).or_insert_with(|| Value::Mapping(Mapping::new()));
    if inner.is_null() {
        *inner = Value::Mapping(Mapping::new());
    }
    match inner {
        Value::Mapping(inner) => place(inner, &steps[1..], value),
        _ => false,
    }
}

/// The line where the setting at `path` begins, as far as block style shows it; else its nearest parent's.
pub fn line_of(text: &str, path: &str) -> Option<usize> {
    let steps = path.split(['.', '[']).map(|step| step.trim_end_matches(']')).filter(|step| !step.is_empty());
    let lines: Vec<&str> = text.lines().collect();
    let (mut from, mut indent, mut found) = (0, 0, None);
    // Keys may hold dots (`prices.openai/gpt-4.1`): a step that is not found alone is joined with the next.
    let mut pending = String::new();
    for step in steps {
        let wanted = if pending.is_empty() { step.to_owned() } else { format!("{pending}.{step}") };
        let hit = match wanted.parse::<usize>() {
            Ok(index) => nth_item(&lines, from, indent, index),
            Err(_) => key_line(&lines, from, indent, &wanted),
        };
        match hit {
            Some((line, inner)) => {
                found = Some(line + 1);
                from = line;
                indent = inner;
                pending.clear();
            }
            None => pending = wanted,
        }
    }
    found
}

fn depth(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

fn key_line(lines: &[&str], from: usize, least: usize, key: &str) -> Option<(usize, usize)> {
    for (i, line) in lines.iter().enumerate().skip(from) {
        let content = line.trim_start().trim_start_matches("- ").trim_start();
        let at = line.len() - content.len();
        if i > from && !content.is_empty() && depth(line) < least {
            return None;
        }
        let bare = content.strip_prefix(['"', '\'']).unwrap_or(content);
        let follows = bare.strip_prefix(key).map(|rest| rest.trim_start_matches(['"', '\'']).starts_with(':'));
        if at >= least && follows == Some(true) {
            return Some((i, at + 1));
        }
    }
    None
}

fn nth_item(lines: &[&str], from: usize, least: usize, index: usize) -> Option<(usize, usize)> {
    let mut column = None;
    let mut count = 0;
    for (i, line) in lines.iter().enumerate().skip(from + 1) {
        let at = depth(line);
        if line.trim().is_empty() || line.trim_start().starts_with('#') {
            continue;
        }
        let is_item = line.trim_start().starts_with('-');
        if at + 1 < least || (!is_item && column.is_some_and(|c| at <= c)) {
            return None;
        }
        if is_item && column.is_none_or(|c| c == at) {
            column = Some(at);
            if count == index {
                return Some((i, at + 1));
            }
            count += 1;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        parse("alfred.yaml", text, &[]).faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn no_file_means_sqlite_under_data_on_loopback() {
        let config = parse("", "", &[]).config;
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert_eq!(config.database_url(), "sqlite://data/alfred.db");
        assert_eq!(config.limits.max_body_bytes, 32 << 20);
        assert!(config.limits.max_in_flight >= 1_024);
    }

    #[test]
    fn the_environment_overrides_the_file() {
        let set = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let environment = [
            set("ALFRED_LISTEN", "127.0.0.1:9"),
            set("ALFRED_DATABASE__URL", "postgres://a@b/c"),
            set("ALFRED_LIMITS__MAX_IN_FLIGHT", "2000"),
            set("ALFRED_MODELS", "[{id: m, targets: []}]"),
            set("ALFRED_BOOTSTRAP_ADMIN_KEY", "not a setting"),
        ];
        let faults = parse("alfred.yaml", "listen: 127.0.0.1:8", &environment).faults;
        assert_eq!(faults.len(), 1, "{faults:?}");
        let loaded = parse("alfred.yaml", "listen: 127.0.0.1:8", &environment[..3]);
        assert_eq!(loaded.config.listen.port(), 9);
        assert_eq!(loaded.config.database_url(), "postgres://a@b/c");
        assert_eq!(loaded.config.limits.max_in_flight, 2_000);
        let noted = parse("alfred.yaml", "", &[set("ALFRED_LISTENN", "x")]).notes;
        assert!(noted[0].contains("ALFRED_LISTENN"), "{noted:?}");
    }

    #[test]
    fn every_fault_is_reported_with_line_and_path() {
        let text = "listen: here\nmodels:\n  - id: a\n    targets: [nowhere/x]\n  - id: a\n    targetz: []\nprices:\n  sim/echo: { input: \"1e3\", output: \"1\" }\ncolour: red\nholds:\n  patience_ms: 60001\ndeadlines:\n  total_ms: 0\n";
        let found = faults(text);
        let has = |start: &str| assert!(found.iter().any(|f| f.starts_with(start)), "{start} in {found:#?}");
        has("alfred.yaml:1: listen: ");
        has("alfred.yaml:4: models[0].targets[0]: 'nowhere/x'");
        has("alfred.yaml:6: models[1].targetz: unknown field");
        has("alfred.yaml:8: prices.sim/echo.input: not a decimal");
        has("alfred.yaml:9: colour: unknown setting");
        has("alfred.yaml:11: holds.patience_ms: must be at most 60000");
        has("alfred.yaml:13: deadlines.total_ms: must be above 0");
    }

    #[test]
    fn broken_yaml_names_its_line() {
        let found = faults("listen: 1\nmodels: [\n");
        assert!(found[0].starts_with("alfred.yaml:"), "{found:?}");
    }
}
