//! The way to a provider: whose certificates are believed, which one is shown, and the proxy between. Each way keeps connections of
//! its own, so that none that was made as one caller ever serves another.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use hyper_rustls::ConfigBuilderExt;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};

use crate::config::{Fault, KeySource, ProviderConfig, UpstreamTls};
use crate::credentials::Sources;
use crate::pem::{self, LiveIdentity};
use crate::proxy::Proxy;
use crate::send::Pool;

/// A way, and the connections on it.
pub(crate) struct Way {
    pub tls: ClientConfig,
    pub server_name: Option<ServerName<'static>>,
    pub proxy: Option<Arc<Proxy>>,
    identity: Option<Arc<LiveIdentity>>,
    pool: OnceLock<Pool>,
}

impl Way {
    /// Without own roots the web's are believed.
    pub(crate) fn new(
        roots: Option<RootCertStore>,
        identity: Option<Arc<LiveIdentity>>,
        server_name: Option<ServerName<'static>>,
        proxy: Option<Arc<Proxy>>,
    ) -> Way {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("aws-lc-rs offers the default protocol versions");
        let builder = match roots {
            Some(roots) => builder.with_root_certificates(roots),
            None => builder.with_webpki_roots(),
        };
        let tls = match &identity {
            Some(identity) => builder.with_client_cert_resolver(Arc::clone(identity) as Arc<_>),
            None => builder.with_no_client_auth(),
        };
        Way { tls, server_name, proxy, identity, pool: OnceLock::new() }
    }

    /// Everything that is to be shown on it is known.
    pub(crate) fn is_open(&self) -> bool {
        self.identity.as_ref().is_none_or(|it| it.is_known())
    }

    pub(crate) fn pool(&self, make: impl FnOnce() -> Pool) -> &Pool {
        self.pool.get_or_init(make)
    }
}

/// The ways of one provider; none is the plain one.
#[derive(Default)]
pub(crate) struct Ways {
    /// To the provider.
    pub own: Option<Arc<Way>>,
    /// To whoever gives tokens for it: through the same proxy, but not as the same caller.
    pub tokens: Option<Arc<Way>>,
}

impl Ways {
    /// As the provider at `path` is configured.
    pub(crate) fn choose(path: &str, config: &ProviderConfig, sources: &mut Sources<'_>) -> Result<Ways, Vec<Fault>> {
        let proxy = match &config.proxy {
            None => None,
            Some(proxy) => Some(Arc::new(Proxy::build(path, proxy, &config.id, sources)?)),
        };
        let tokens = proxy.clone().map(|proxy| Arc::new(Way::new(None, None, None, Some(proxy))));
        let Some(tls) = &config.tls else { return Ok(Ways { own: tokens.clone(), tokens }) };
        let own = secured(&format!("{path}.tls"), &config.id, tls, proxy, sources)?;
        Ok(Ways { own: Some(Arc::new(own)), tokens })
    }
}

/// A way with an identity of its own.
fn secured(
    path: &str,
    id: &str,
    tls: &UpstreamTls,
    proxy: Option<Arc<Proxy>>,
    sources: &mut Sources<'_>,
) -> Result<Way, Vec<Fault>> {
    let mut faults = Vec::new();
    let mut note = |fault: Fault| faults.push(fault);
    let roots = tls.ca_file.as_ref().and_then(|file| {
        authorities(Path::new(file)).map_err(|why| note(Fault::new(format!("{path}.ca_file"), why))).ok()
    });
    let server_name = tls.server_name.as_ref().and_then(|name| {
        let wrong = |_| note(Fault::new(format!("{path}.server_name"), format!("{name:?} is no host name")));
        ServerName::try_from(name.clone()).map_err(wrong).ok()
    });
    let key = match (&tls.client_key_file, &tls.client_key) {
        (Some(file), None) => {
            Some((format!("{path}.client_key_file"), KeySource { env: None, file: Some(file.clone()), vault: None }))
        }
        (None, Some(source)) => Some((format!("{path}.client_key"), source.clone())),
        (None, None) => None,
        (Some(_), Some(_)) => {
            note(Fault::new(path, "give client_key_file or client_key, not both"));
            None
        }
    };
    let identity = match (&tls.client_cert_file, key) {
        (Some(file), Some((place, key))) => {
            let chain = KeySource { env: None, file: Some(file.clone()), vault: None };
            match sources.identity(id, (format!("{path}.client_cert_file"), &chain), (place, &key)) {
                Ok(identity) => Some(identity),
                Err(found) => {
                    faults.extend(found);
                    None
                }
            }
        }
        (None, None) => None,
        _ if !faults.is_empty() => None,
        _ => {
            faults.push(Fault::new(path, "client_cert_file and its key must be given together"));
            None
        }
    };
    if faults.is_empty() { Ok(Way::new(roots, identity, server_name, proxy)) } else { Err(faults) }
}

/// The authorities in a file.
pub(crate) fn authorities(file: &Path) -> Result<RootCertStore, String> {
    let text = std::fs::read(file).map_err(|e| format!("{} cannot be read: {}", file.display(), e.kind()))?;
    pem::authorities(&text).map_err(|why| format!("{} {why}", file.display()))
}
