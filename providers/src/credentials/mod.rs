//! Provider keys: read once at start, wiped from memory when dropped, never shown. Some fetch tokens, which are shown in their place:
//! see [`token`].

mod entra;
pub(crate) mod google;
mod ring;
pub(crate) mod token;

use std::fmt;

use zeroize::Zeroizing;

use crate::config::{AwsSource, Fault, KeySource, ProviderConfig};
pub use ring::{KeyRing, LiveKey, Pick};
use token::{Grant, TokenSource};

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

/// Reads the key of `provider` from where the configuration says; `path` names that place in faults.
pub(crate) fn read(
    provider: &str,
    path: &str,
    source: &KeySource,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Secret, Fault> {
    let text = read_text(provider, path, source, env)?;
    if !text.expose().bytes().all(|b| (0x21..0x7f).contains(&b)) {
        return Err(Fault::new(path, format!("provider {provider}: the key has characters that no header can carry")));
    }
    Ok(text)
}

/// What fetches the tokens of this provider, if its configuration says that they are fetched.
pub(crate) fn tokens(
    path: &str,
    config: &ProviderConfig,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<TokenSource>, Fault> {
    let id = &config.id;
    let one_of = || Fault::new(path, format!("provider {id}: give exactly one of api_key, aws, google, entra"));
    let grant = match (&config.google, &config.entra) {
        (None, None) => return Ok(None),
        _ if config.has_key() || config.aws.is_some() => return Err(one_of()),
        (Some(google), None) => {
            let path = format!("{path}.google.service_account");
            let file = read_text(id, &path, &google.service_account, env)?;
            Grant::Google(google::ServiceAccount::read(file.expose()).map_err(|why| Fault::new(path, why))?)
        }
        (None, Some(entra)) => {
            let path = format!("{path}.entra");
            let secret = read_text(id, &format!("{path}.client_secret"), &entra.client_secret, env)?;
            Grant::Entra(
                entra::Client::new(entra, secret).map_err(|(name, why)| Fault::new(format!("{path}.{name}"), why))?,
            )
        }
        _ => return Err(one_of()),
    };
    Ok(Some(TokenSource::new(grant)))
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

/// A secret of any characters, trimmed.
fn read_text(
    provider: &str,
    path: &str,
    source: &KeySource,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<Secret, Fault> {
    let text = match (&source.env, &source.file, &source.vault) {
        (Some(name), None, None) => env(name).map(Zeroizing::new).ok_or_else(|| {
            Fault::new(
                format!("{path}.env"),
                format!("provider {provider} needs the environment variable {name}, which is not set"),
            )
        })?,
        (None, Some(file), None) => std::fs::read_to_string(file).map(Zeroizing::new).map_err(|e| {
            Fault::new(
                format!("{path}.file"),
                format!("provider {provider}: key file {file} cannot be read: {}", e.kind()),
            )
        })?,
        (None, None, Some(_)) => {
            return Err(Fault::new(
                format!("{path}.vault"),
                format!("provider {provider}: keys from a vault are not served yet; use env or file"),
            ));
        }
        _ => return Err(Fault::new(path, format!("provider {provider}: give exactly one of env, file, vault"))),
    };
    let trimmed = text.trim();
    if trimmed.is_empty() {
        return Err(Fault::new(path, format!("provider {provider}: the key is empty")));
    }
    Ok(Secret::new(trimmed))
}

/// Reads the keys that sign for `provider`; `path` names their place.
pub(crate) fn read_aws(
    provider: &str,
    path: &str,
    source: &AwsSource,
    env: &dyn Fn(&str) -> Option<String>,
) -> Result<AwsKeys, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut read = |name: &str, source: &Option<KeySource>, needed: bool| {
        let path = format!("{path}.{name}");
        let found = match source {
            Some(source) => read(provider, &path, source, env).map(Some),
            None if needed => Err(Fault::new(path, format!("provider {provider} needs its {name}"))),
            None => Ok(None),
        };
        found.unwrap_or_else(|fault| {
            faults.push(fault);
            None
        })
    };
    let id = read("access_key_id", &source.access_key_id, true);
    let secret = read("secret_access_key", &source.secret_access_key, true);
    let session_token = read("session_token", &source.session_token, false);
    match (id, secret) {
        (Some(id), Some(secret_access_key)) if faults.is_empty() => {
            Ok(AwsKeys { access_key_id: id.expose().to_owned(), secret_access_key, session_token })
        }
        _ => Err(faults),
    }
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
        match (read("openai", "providers[0].api_key", source, &env), expected) {
            (Ok(secret), Ok(text)) => assert_eq!(secret.expose(), text),
            (Err(fault), Err(part)) => assert!(fault.to_string().contains(part), "{fault}"),
            (got, _) => panic!("{got:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn a_key_is_read_from_exactly_one_place() {
        check(&source(Some("SET"), None, None), Ok("sk-1"));
        check(&source(Some("UNSET"), None, None), Err("provider openai needs the environment variable UNSET"));
        check(&source(Some("EMPTY"), None, None), Err("the key is empty"));
        check(&source(Some("TORN"), None, None), Err("no header can carry"));
        check(&source(None, Some("/nowhere/key"), None), Err("key file /nowhere/key cannot be read"));
        check(&source(None, None, Some("kv/a#b")), Err("not served yet"));
        check(&source(Some("SET"), Some("f"), None), Err("exactly one"));
        check(&source(None, None, None), Err("exactly one"));
    }

    #[test]
    fn a_secret_never_prints() {
        let secret = Secret::new("sk-secret");
        assert!(!format!("{secret:?} {secret}").contains("sk-secret"));
    }
}
