//! The `providers:` section of the configuration.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::abilities::Ability;
use crate::catalog::{ModelDialect, Tokenizer};
use crate::credentials::Secret;
use crate::request::Task;

/// One configured provider.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderConfig {
    /// The name in `openai/gpt-4o`.
    pub id: String,
    /// The adapter: a name from the catalogue (`openai`, `anthropic`, `groq`, `openai-compatible`, `sim`…).
    pub kind: String,
    /// Up to and including the version; the catalogue's if absent.
    #[serde(default)]
    pub base_url: Option<String>,
    /// Where its key is.
    #[serde(default, deserialize_with = "key_source")]
    pub api_key: Option<KeySource>,
    /// Where the keys are that sign for it; Amazon's cloud only, instead of `api_key`.
    #[serde(default)]
    pub aws: Option<AwsSource>,
    /// In place of a key: a service account of Google's cloud, which fetches tokens.
    #[serde(default)]
    pub google: Option<GoogleConfig>,
    /// In place of a key: an application in Microsoft's directory, which fetches tokens.
    #[serde(default)]
    pub entra: Option<EntraConfig>,
    /// Whose certificates are believed of it, and which one is shown to it.
    #[serde(default)]
    pub tls: Option<UpstreamTls>,
    /// The proxy that it is reached through, in place of that of all.
    #[serde(default, deserialize_with = "proxy_config")]
    pub proxy: Option<ProxyConfig>,
    /// Where it computes: `us`, `eu`…; the catalogue's if absent.
    #[serde(default)]
    pub region: Option<String>,
    /// What its dialect is told beside the address: `api_version`, `project`, `location`, `aws_region`… Not for secrets.
    #[serde(default)]
    pub settings: BTreeMap<String, String>,
    /// Further headers to send. Not for secrets.
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    /// Models beside those of the catalogue, and corrections to them.
    #[serde(default)]
    pub models: Vec<ConfiguredModel>,
}

/// A service account of Google's cloud.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoogleConfig {
    /// Where its JSON is: the content itself in a variable, or a file.
    #[serde(deserialize_with = "required_key_source")]
    pub service_account: KeySource,
}

/// An application in Microsoft's directory (Entra ID).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EntraConfig {
    /// The directory: its id or one of its domains.
    pub tenant: String,
    /// The application.
    pub client_id: String,
    /// Where its secret is.
    #[serde(deserialize_with = "required_key_source")]
    pub client_secret: KeySource,
    /// Who gives tokens; the public cloud's, unless it is a sovereign one.
    #[serde(default)]
    pub authority: Option<String>,
    /// What the token is for; Azure's model services, unless they stand in a sovereign cloud.
    #[serde(default)]
    pub scope: Option<String>,
}

/// A model that the catalogue does not know, or knows otherwise.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ConfiguredModel {
    /// The provider's own name of it.
    pub id: String,
    /// It is served in another dialect than its provider's other models: `responses`.
    #[serde(default)]
    pub(crate) dialect: Option<ModelDialect>,
    /// What it is asked as, where that is another name: Azure's deployment, an inference profile.
    #[serde(default, alias = "deployment")]
    pub upstream_id: Option<String>,
    /// Tokens in and out together.
    #[serde(default)]
    pub context: Option<u64>,
    /// Tokens out.
    #[serde(default)]
    pub max_output: Option<u64>,
    /// How its tokens can be counted here.
    #[serde(default)]
    pub tokenizer: Option<Tokenizer>,
    /// It takes images.
    #[serde(default)]
    pub images: Option<bool>,
    /// It takes tools.
    #[serde(default)]
    pub tools: Option<bool>,
    /// It bills output that it does not show.
    #[serde(default)]
    pub hidden_output: Option<bool>,
    /// What it can be asked for: `[embeddings]`; nothing said is what the catalogue says, or a conversation.
    #[serde(default)]
    pub tasks: Vec<Task>,
    /// What else it can: `[audio, documents, video, reasoning, json_schema, paints, speaks]`; nothing said is what the
    /// catalogue says.
    #[serde(default)]
    pub can: Vec<Ability>,
}

/// Where the keys of Amazon's cloud are. They change together: whatever is read again is taken over only as a whole.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AwsSource {
    /// Names the key.
    #[serde(default, deserialize_with = "key_source")]
    pub access_key_id: Option<KeySource>,
    /// Signs.
    #[serde(default, deserialize_with = "key_source")]
    pub secret_access_key: Option<KeySource>,
    /// With keys that were lent for a time.
    #[serde(default, deserialize_with = "key_source")]
    pub session_token: Option<KeySource>,
}

/// How a provider is reached.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamTls {
    /// Only certificates of these authorities are believed, in place of the web's.
    pub ca_file: Option<String>,
    /// What is shown to a provider that asks who calls: a chain in PEM.
    pub client_cert_file: Option<String>,
    /// The key of that certificate, in PEM: a file…
    pub client_key_file: Option<String>,
    /// …or wherever else keys are.
    #[serde(deserialize_with = "key_source")]
    pub client_key: Option<KeySource>,
    /// The name that the provider's certificate must bear, where it is not that of the address.
    pub server_name: Option<String>,
}

/// What stands between us and the providers.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EgressConfig {
    /// The proxy that connections are made through.
    #[serde(deserialize_with = "proxy_config")]
    pub proxy: Option<ProxyConfig>,
    /// Hosts that are reached without it: names, names with all that ends in them (`.internal`), addresses, networks, `*`.
    pub no_proxy: Vec<String>,
    /// Takes both from `HTTPS_PROXY` and `NO_PROXY`. Without it those variables mean nothing here.
    pub from_environment: bool,
}

/// A proxy that serves HTTP's `CONNECT`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProxyConfig {
    /// `http://host:port`.
    pub address: String,
    /// Who connects, where it asks.
    #[serde(default)]
    pub username: Option<String>,
    /// Where the password is.
    #[serde(default, deserialize_with = "key_source")]
    pub password: Option<KeySource>,
    /// Hosts that are reached without it.
    #[serde(default)]
    pub no_proxy: Vec<String>,
    /// The password, where the environment tells it.
    #[serde(skip)]
    pub(crate) told: Option<Secret>,
    /// It is that of all, from the section `egress`.
    #[serde(skip)]
    pub(crate) common: bool,
}

/// The address alone says enough where the proxy asks for no password.
fn proxy_config<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<ProxyConfig>, D::Error> {
    struct Proxy;
    impl<'de> serde::de::Visitor<'de> for Proxy {
        type Value = Option<ProxyConfig>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("http://host:port or { address, username, password }")
        }

        fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Some(ProxyConfig {
                address: text.to_owned(),
                username: None,
                password: None,
                no_proxy: Vec::new(),
                told: None,
                common: false,
            }))
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            ProxyConfig::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(Some)
        }
    }
    deserializer.deserialize_any(Proxy)
}

/// The usual slip is the key itself in this place: the error must not repeat it.
pub(crate) fn key_source<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<KeySource>, D::Error> {
    struct Source;
    impl<'de> serde::de::Visitor<'de> for Source {
        type Value = Option<KeySource>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("{ env: VARIABLE }, { file: PATH } or { vault: mount/path#field }")
        }

        fn visit_str<E: serde::de::Error>(self, _: &str) -> Result<Self::Value, E> {
            Err(E::custom(
                "a key must not stand in the configuration itself: use { env: VARIABLE }, { file: PATH } or { vault: mount/path#field }",
            ))
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
            KeySource::deserialize(serde::de::value::MapAccessDeserializer::new(map)).map(Some)
        }
    }
    deserializer.deserialize_any(Source)
}

pub(crate) fn required_key_source<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<KeySource, D::Error> {
    key_source(deserializer)?.ok_or_else(|| {
        serde::de::Error::custom("give { env: VARIABLE }, { file: PATH } or { vault: mount/path#field }")
    })
}

/// Where a key is. Exactly one of the three.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeySource {
    /// An environment variable.
    #[serde(default)]
    pub env: Option<String>,
    /// A file whose whole content, trimmed, is the key.
    #[serde(default)]
    pub file: Option<String>,
    /// `mount/path#field` in the vault of the section `vault`.
    #[serde(default)]
    pub vault: Option<String>,
}

/// What is wrong with the configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct Fault {
    /// As in `providers[0].api_key`.
    pub path: String,
    /// Lower case, names the thing.
    pub message: String,
}

impl Fault {
    /// A fault at a place.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Fault {
        Fault { path: path.into(), message: message.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_stands_in_the_file_is_refused_without_being_repeated() {
        let read =
            |key: &str| serde_yaml_ng::from_str::<ProviderConfig>(&format!("{{id: a, kind: openai, api_key: {key}}}"));
        let error = read("sk-proj-canary").expect_err("a key").to_string();
        assert!(error.contains("env") && !error.contains("canary"), "{error}");
        assert_eq!(
            read("{env: OPENAI_API_KEY}").expect("a source").api_key.and_then(|it| it.env).as_deref(),
            Some("OPENAI_API_KEY")
        );
        assert!(read("null").expect("nothing").api_key.is_none());
        let aws = "{id: a, kind: bedrock, aws: {access_key_id: {env: A}, secret_access_key: canary}}";
        let error = serde_yaml_ng::from_str::<ProviderConfig>(aws).expect_err("a key").to_string();
        assert!(error.contains("env") && !error.contains("canary"), "{error}");
    }

    #[test]
    fn so_is_one_that_fetches_tokens() {
        for given in [
            "google: { service_account: canary }",
            "google: { service_account: null }",
            "entra: { tenant: t, client_id: c, client_secret: canary }",
            "entra: { tenant: t, client_secret: { env: K } }",
        ] {
            let error = serde_yaml_ng::from_str::<ProviderConfig>(&format!("{{id: a, kind: azure, {given}}}"));
            let error = error.expect_err(given).to_string();
            assert!(!error.contains("canary"), "{error}");
        }
    }
}
