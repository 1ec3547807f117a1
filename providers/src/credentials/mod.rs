//! Provider keys: from the environment, files and a vault, read again while the house runs, wiped from memory when dropped, never
//! shown. Some fetch tokens, which are shown in their place: see [`token`].

mod entra;
pub(crate) mod google;
mod keeper;
mod ring;
pub(crate) mod token;
mod vault;
mod watched;

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::config::{AwsSource, Fault, KeySource, ProviderConfig};
use crate::pem::LiveIdentity;
pub use keeper::{Keeper, KeyStanding, KeyTrouble};
pub use ring::{KeyRing, LiveKey, Pick};
use token::{Grant, TokenSource};
pub use vault::VaultConfig;
use vault::VaultPath;
pub use watched::Live;
pub(crate) use watched::Watched;
use watched::{Origin, Sink, Whence};

/// A text that is never printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(Zeroizing::new(text.into()))
    }

    /// The text itself; for the one header it goes into.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Keys of Amazon's cloud: they sign, and are never sent.
#[derive(Debug, Clone)]
pub struct AwsKeys {
    /// Names the key.
    pub access_key_id: String,
    /// Signs.
    pub secret_access_key: Secret,
    /// With keys that were lent for a time.
    pub session_token: Option<Secret>,
}

/// Reads the secrets of a fleet, and remembers which have to be read again while the house runs.
pub(crate) struct Sources<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    watched: Vec<Arc<Watched>>,
}

impl<'a> Sources<'a> {
    pub(crate) fn new(env: &'a dyn Fn(&str) -> Option<String>) -> Sources<'a> {
        Sources { env, watched: Vec::new() }
    }

    /// What has to be read again.
    pub(crate) fn watched(self) -> Vec<Arc<Watched>> {
        self.watched
    }

    /// A key of `provider` that goes into a header; `path` names its place. One from a vault is empty until it is fetched.
    pub(crate) fn key(&mut self, provider: &str, path: &str, source: &KeySource) -> Result<Arc<LiveKey>, Fault> {
        let key = Arc::new(LiveKey::default());
        self.one(provider, path, source, Sink::Key(Arc::clone(&key)))?;
        Ok(key)
    }

    /// A secret of any characters.
    pub(crate) fn text(&mut self, provider: &str, path: &str, source: &KeySource) -> Result<Arc<LiveKey>, Fault> {
        let key = Arc::new(LiveKey::default());
        self.one(provider, path, source, Sink::Text(Arc::clone(&key)))?;
        Ok(key)
    }

    /// A certificate and its key, for connections to `provider`.
    pub(crate) fn identity(
        &mut self,
        provider: &str,
        (chain_place, chain): (String, &KeySource),
        (key_place, key): (String, &KeySource),
    ) -> Result<Arc<LiveIdentity>, Vec<Fault>> {
        let live = Arc::new(LiveIdentity::default());
        self.watch(provider, Sink::Identity(Arc::clone(&live)), vec![(chain_place, chain), (key_place, key)])?;
        Ok(live)
    }

    /// The keys that sign for `provider`.
    pub(crate) fn aws(
        &mut self,
        provider: &str,
        path: &str,
        source: &AwsSource,
    ) -> Result<Arc<Live<AwsKeys>>, Vec<Fault>> {
        let (mut sources, mut faults) = (Vec::new(), Vec::new());
        for (name, source, needed) in [
            ("access_key_id", &source.access_key_id, true),
            ("secret_access_key", &source.secret_access_key, true),
            ("session_token", &source.session_token, false),
        ] {
            let path = format!("{path}.{name}");
            match source {
                Some(source) => sources.push((path, source)),
                None if needed => faults.push(Fault::new(path, format!("provider {provider} needs its {name}"))),
                None => {}
            }
        }
        if !faults.is_empty() {
            faults.extend(sources.iter().filter_map(|(place, it)| begin(provider, place, it, self.env).err()));
            return Err(faults);
        }
        let live = Arc::new(Live::default());
        self.watch(provider, Sink::Aws(Arc::clone(&live)), sources)?;
        Ok(live)
    }

    /// What fetches the tokens of this provider, if its configuration says that they are fetched.
    pub(crate) fn tokens(&mut self, path: &str, config: &ProviderConfig) -> Result<Option<TokenSource>, Fault> {
        let id = &config.id;
        let one_of = || Fault::new(path, format!("provider {id}: give exactly one of api_key, aws, google, entra"));
        let grant = match (&config.google, &config.entra) {
            (None, None) => return Ok(None),
            _ if config.has_key() || config.aws.is_some() => return Err(one_of()),
            (Some(google), None) => {
                let path = format!("{path}.google.service_account");
                let live = Arc::new(Live::default());
                self.one(id, &path, &google.service_account, Sink::Google(Arc::clone(&live)))?;
                Grant::Google(live)
            }
            (None, Some(entra)) => {
                let path = format!("{path}.entra");
                let secret = self.text(id, &format!("{path}.client_secret"), &entra.client_secret)?;
                Grant::Entra(
                    entra::Client::new(entra, secret)
                        .map_err(|(name, why)| Fault::new(format!("{path}.{name}"), why))?,
                )
            }
            _ => return Err(one_of()),
        };
        Ok(Some(TokenSource::new(grant)))
    }

    fn one(&mut self, provider: &str, path: &str, source: &KeySource, sink: Sink) -> Result<(), Fault> {
        let first = |mut faults: Vec<Fault>| faults.swap_remove(0);
        self.watch(provider, sink, vec![(path.to_owned(), source)]).map_err(first)
    }

    fn watch(&mut self, provider: &str, sink: Sink, sources: Vec<(String, &KeySource)>) -> Result<(), Vec<Fault>> {
        let watched = Watched::begin(provider, sink, sources, self.env)?;
        if watched.changes() {
            self.watched.push(Arc::new(watched));
        }
        Ok(())
    }
}

/// An address that may be told a secret: encrypted, or on this machine.
fn is_private(url: &url::Url) -> bool {
    let loopback = match url.host() {
        Some(url::Host::Ipv4(it)) => it.is_loopback(),
        Some(url::Host::Ipv6(it)) => it.is_loopback(),
        Some(url::Host::Domain(it)) => it == "localhost",
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}

/// Where a secret comes from, and the secret itself, trimmed, if it is to be had without asking anybody.
fn begin(
    provider: &str,
    path: &str,
    source: &KeySource,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<(Whence, Option<Secret>), Fault> {
    let empty = || Fault::new(path, format!("provider {provider}: the key is empty"));
    match (&source.env, &source.file, &source.vault) {
        // The usual slip is the key itself in this place: it must not be repeated.
        (Some(name), None, None) if !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_') => {
            let message = format!("provider {provider}: this is no name of an environment variable");
            Err(Fault::new(format!("{path}.env"), message))
        }
        (Some(name), None, None) => {
            let text = env(name).map(Zeroizing::new).ok_or_else(|| {
                let message = format!("provider {provider} needs the environment variable {name}, which is not set");
                Fault::new(format!("{path}.env"), message)
            })?;
            let secret = trimmed(&text).ok_or_else(empty)?;
            Ok((Whence::Environment(secret.clone()), Some(secret)))
        }
        (None, Some(file), None) => {
            let text = std::fs::read_to_string(file).map(Zeroizing::new).map_err(|e| {
                let message = format!("provider {provider}: key file {file} cannot be read: {}", e.kind());
                Fault::new(format!("{path}.file"), message)
            })?;
            Ok((Whence::Elsewhere(Origin::File(file.into())), Some(trimmed(&text).ok_or_else(empty)?)))
        }
        (None, None, Some(at)) => {
            let at = VaultPath::parse(at)
                .map_err(|why| Fault::new(format!("{path}.vault"), format!("provider {provider}: {why}")))?;
            Ok((Whence::Elsewhere(Origin::Vault(at)), None))
        }
        _ => Err(Fault::new(path, format!("provider {provider}: give exactly one of env, file, vault"))),
    }
}

fn trimmed(text: &str) -> Option<Secret> {
    Some(text.trim()).filter(|it| !it.is_empty()).map(Secret::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(env: Option<&str>, file: Option<&str>, vault: Option<&str>) -> KeySource {
        KeySource { env: env.map(Into::into), file: file.map(Into::into), vault: vault.map(Into::into) }
    }

    fn check(source: &KeySource, expected: Result<&str, &str>) {
        let env = |name: &str| match name {
            "SET" => Some(" sk-1 \n".to_owned()),
            "EMPTY" => Some(" ".to_owned()),
            "TORN" => Some("sk\n1".to_owned()),
            _ => None,
        };
        match (Sources::new(&env).key("openai", "providers[0].api_key", source), expected) {
            (Ok(key), Ok(text)) => {
                assert_eq!(key.get().map(|it| it.expose().to_owned()).unwrap_or_default(), text);
            }
            (Err(fault), Err(part)) => assert!(fault.to_string().contains(part), "{fault}"),
            (got, _) => panic!("{got:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn a_key_is_read_from_exactly_one_place() {
        check(&source(Some("SET"), None, None), Ok("sk-1"));
        check(&source(Some("UNSET"), None, None), Err("provider openai needs the environment variable UNSET"));
        check(
            &source(Some("sk-canary"), None, None),
            Err("provider openai: this is no name of an environment variable"),
        );
        check(&source(Some("EMPTY"), None, None), Err("the key is empty"));
        check(&source(Some("TORN"), None, None), Err("no header can carry"));
        check(&source(None, Some("/nowhere/key"), None), Err("key file /nowhere/key cannot be read"));
        check(&source(None, None, Some("kv/a#b")), Ok(""));
        check(&source(None, None, Some("kv/a")), Err("mount/path#field"));
        check(&source(Some("SET"), Some("f"), None), Err("exactly one"));
        check(&source(None, None, None), Err("exactly one"));
    }

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::new("sk-secret");
        assert!(!format!("{secret:?} {secret}").contains("sk-secret"));
    }
}
