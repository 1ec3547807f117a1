//! One question to a vault and its answer, in time and within bounds.

use http::header::CONTENT_TYPE;
use http::{HeaderValue, Method, Request};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client as Pool;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;
use url::Url;
use zeroize::Zeroizing;

use super::super::Secret;
use super::{VaultConfig, VaultError};
use crate::config::Fault;
use crate::pem::LiveIdentity;
use crate::send::connect::Connector;
use crate::way::{Way, authorities};

/// More than any entry has: the vault itself takes 1 MiB.
const LARGEST: usize = 2 << 20;

pub(super) struct Client {
    pool: Pool<Connector, Full<bytes::Bytes>>,
    base: Url,
    namespace: Option<HeaderValue>,
    patience: Duration,
}

/// What is asked.
pub(super) struct Question<'a> {
    pub method: Method,
    /// The path below `/v1/`.
    pub path: &'a str,
    pub token: Option<&'a Secret>,
    /// What is posted, if anything.
    pub body: Option<Zeroizing<String>>,
}

impl Client {
    pub(super) fn new(config: &VaultConfig) -> Result<Client, Vec<Fault>> {
        let fault = |name: &str, why: String| vec![Fault::new(format!("vault.{name}"), why)];
        let base = Url::parse(&config.address).map_err(|_| fault("address", "is no address".to_owned()))?;
        let roots = match &config.ca_file {
            Some(file) => Some(authorities(Path::new(file)).map_err(|why| fault("ca_file", why))?),
            None => None,
        };
        let identity = match (&config.client_cert_file, &config.client_key_file) {
            (Some(chain), Some(key)) => {
                let read = |name: &str, file: &str| {
                    let read = std::fs::read(file).map(Zeroizing::new);
                    read.map_err(|e| fault(name, format!("{file} cannot be read: {}", e.kind())))
                };
                let live = LiveIdentity::default();
                let (chain, key) = (read("client_cert_file", chain)?, read("client_key_file", key)?);
                live.replace(&chain, &key).map_err(|why| fault("client_cert_file", why))?;
                Some(Arc::new(live))
            }
            _ => None,
        };
        let way = Way::new(roots, identity, None, None);
        let connector = Connector::of_old(Some(&way), config.timeout());
        let pool = Pool::builder(TokioExecutor::new())
            .pool_idle_timeout(Duration::from_secs(90))
            .pool_max_idle_per_host(1)
            .pool_timer(TokioTimer::new())
            .build(connector);
        let namespace = match &config.namespace {
            Some(text) => Some(
                HeaderValue::from_str(text).map_err(|_| fault("namespace", "is no name of a namespace".to_owned()))?,
            ),
            None => None,
        };
        Ok(Client { pool, base, namespace, patience: config.timeout() })
    }

    /// Asks, and reads the answer; an error status is its own answer.
    pub(super) async fn ask<T: DeserializeOwned>(&self, question: Question<'_>) -> Result<T, VaultError> {
        timeout(self.patience, self.exchange(question)).await.unwrap_or(Err(VaultError::Late))
    }

    async fn exchange<T: DeserializeOwned>(&self, question: Question<'_>) -> Result<T, VaultError> {
        let Question { method, path, token, body } = question;
        let mut url = self.base.clone();
        url.path_segments_mut()
            .map_err(|()| VaultError::Unreachable)?
            .pop_if_empty()
            .push("v1")
            .extend(path.split('/'));
        let body = body.map_or_else(bytes::Bytes::new, |it| bytes::Bytes::copy_from_slice(it.as_bytes()));
        let mut call = Request::builder().method(method).uri(url.as_str()).body(Full::new(body));
        if let Ok(call) = &mut call {
            let headers = call.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            headers.insert("x-vault-request", HeaderValue::from_static("true"));
            if let Some(namespace) = &self.namespace {
                headers.insert("x-vault-namespace", namespace.clone());
            }
            if let Some(token) = token {
                let mut value = HeaderValue::from_str(token.expose()).map_err(|_| {
                    VaultError::Unprepared("the vault's token has characters that no header can carry".to_owned())
                })?;
                value.set_sensitive(true);
                headers.insert("x-vault-token", value);
            }
        }
        let call = call.map_err(|_| VaultError::Unreachable)?;
        let answer = self.pool.request(call).await.map_err(|_| VaultError::Unreachable)?;
        let status = answer.status().as_u16();
        match status {
            200..=299 => {}
            300..=399 => return Err(VaultError::Elsewhere(status)),
            403 => return Err(VaultError::Denied(path.to_owned())),
            404 => return Err(VaultError::Missing(path.to_owned())),
            429 | 472 | 473 | 500.. => return Err(VaultError::Unready(status)),
            _ => return Err(VaultError::NoEntry(status)),
        }
        let mut text = Zeroizing::new(Vec::new());
        let mut body = answer.into_body();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|_| VaultError::Unreachable)?;
            let Some(data) = frame.data_ref() else { continue };
            if text.len() + data.len() > LARGEST {
                return Err(VaultError::Torn);
            }
            // Grown by hand: what a vector leaves behind when it grows is not wiped.
            let mut longer = Zeroizing::new(Vec::with_capacity(text.len() + data.len()));
            longer.extend_from_slice(&text);
            longer.extend_from_slice(data);
            text = longer;
        }
        serde_json::from_slice(&text).map_err(|_| VaultError::Torn)
    }
}
