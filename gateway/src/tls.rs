//! TLS on the one port: certificates that are read again when their files change, clients that may have to show one, and a handshake
//! that nobody can draw out.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{NoClientAuth, WebPkiClientVerifier, danger::ClientCertVerifier};
use rustls::sign::SingleCertAndKey;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

/// A handshake takes no longer.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// How TLS begins: a record of the handshake.
const RECORD: u8 = 0x16;
/// For whoever speaks plain HTTP here. The words are fixed, so there is nothing of the caller's in them.
const PLAIN: &[u8] = b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 35\r\n\
connection: close\r\n\r\nthis port speaks https, and no http";

/// The `tls:` section of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The chain, the server's own certificate first, in PEM.
    pub cert_file: PathBuf,
    /// Its key, in PEM.
    pub key_file: PathBuf,
    /// The authorities whose certificates clients show.
    #[serde(default)]
    pub client_ca_file: Option<PathBuf>,
    /// Whether they must; they must, where authorities are named.
    #[serde(default)]
    pub client_auth: Option<ClientAuth>,
    /// How often the files are looked at.
    #[serde(default = "reload_ms")]
    pub reload_ms: u64,
}

fn reload_ms() -> u64 {
    10_000
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ClientAuth {
    Required,
    /// Who shows none is let in; who shows a wrong one is not.
    Optional,
}

/// The door's lock: the present certificate, and the files it came from.
pub struct TlsDoor {
    config: TlsConfig,
    present: ArcSwap<ServerConfig>,
    /// What was read last, good or bad.
    seen: Mutex<Option<Files>>,
}

/// The files as they were read. The key is kept as a fingerprint alone.
#[derive(Clone, PartialEq, Eq)]
struct Files {
    chain: Vec<u8>,
    key: [u8; 32],
    authorities: Option<Vec<u8>>,
}

/// What is wrong, and with which member of the section.
pub type TlsFault = (&'static str, String);

impl TlsDoor {
    /// Reads everything that the section names.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn open(config: &TlsConfig) -> Result<TlsDoor, TlsFault> {
        let (present, files) = read(config)?;
        Ok(TlsDoor { config: config.clone(), present: ArcSwap::from(present), seen: Mutex::new(Some(files)) })
    }

    /// Reads the files again. New connections are shown what is new; those that stand go on. Whether anything was new.
    ///
    /// # Errors
    /// What is new cannot be used; the old stays. The same fault is told once.
    pub fn reload(&self) -> Result<bool, TlsFault> {
        let files = match peek(&self.config) {
            Ok(files) => files,
            Err(fault) => {
                let told = self.seen().take().is_none();
                return if told { Ok(false) } else { Err(fault) };
            }
        };
        if self.seen().as_ref() == Some(&files) {
            return Ok(false);
        }
        *self.seen() = Some(files);
        let (present, _) = read(&self.config)?;
        self.present.store(present);
        Ok(true)
    }

    /// Looks at the files again and again. Ends only when it is dropped.
    pub async fn keep(&self) {
        loop {
            tokio::time::sleep(Duration::from_millis(self.config.reload_ms)).await;
            match self.reload() {
                Ok(true) => tracing::info!("the certificate has changed: new connections are shown the new one"),
                Ok(false) => {}
                Err((member, why)) => {
                    tracing::error!(member, why, "the new certificate cannot be used; the old one stays");
                }
            }
        }
    }

    /// The connection, once its handshake is done; none where it came to nothing.
    pub async fn shake(&self, stream: TcpStream) -> Option<TlsStream<TcpStream>> {
        let acceptor = TlsAcceptor::from(self.present.load_full());
        match tokio::time::timeout(HANDSHAKE, shake(acceptor, stream)).await {
            Ok(Ok(stream)) => Some(stream),
            // What it says is about a client's certificate or its version of TLS: of use to whoever looks for it, to nobody else.
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                None
            }
            Err(_) => None,
        }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Option<Files>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn shake(acceptor: TlsAcceptor, mut stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let mut first = [0];
    if stream.peek(&mut first).await? == 1 && first[0] != RECORD {
        stream.write_all(PLAIN).await?;
        stream.shutdown().await?;
        // What it sent is read away, lest the system answers with a reset and our words are lost.
        let mut rest = [0; 4_096];
        for _ in 0..16 {
            if stream.try_read(&mut rest).unwrap_or(0) == 0 {
                break;
            }
        }
        return Err(io::Error::other("the client speaks no TLS"));
    }
    acceptor.accept(stream).await
}

fn peek(config: &TlsConfig) -> Result<Files, TlsFault> {
    use sha2::Digest;
    let chain = bytes("cert_file", &config.cert_file)?;
    let key: [u8; 32] = sha2::Sha256::digest(bytes("key_file", &config.key_file)?).into();
    let authorities = config.client_ca_file.as_deref().map(|it| bytes("client_ca_file", it)).transpose()?;
    Ok(Files { chain, key, authorities })
}

fn read(config: &TlsConfig) -> Result<(Arc<ServerConfig>, Files), TlsFault> {
    let files = peek(config)?;
    let key = bytes("key_file", &config.key_file)?;
    let certified = providers::certified(&files.chain, &key).map_err(|why| {
        let member = if why.contains("key") { "key_file" } else { "cert_file" };
        (member, why)
    })?;
    let provider = Arc::new(aws_lc_rs::default_provider());
    let clients: Arc<dyn ClientCertVerifier> = match (&files.authorities, config.client_auth) {
        (None, None) => Arc::new(NoClientAuth),
        (None, Some(_)) => return Err(("client_auth", "needs client_ca_file beside it".to_owned())),
        (Some(pem), asked) => {
            let roots = providers::authorities(pem).map_err(|why| ("client_ca_file", why))?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
            let verifier = match asked.unwrap_or(ClientAuth::Required) {
                ClientAuth::Required => verifier,
                ClientAuth::Optional => verifier.allow_unauthenticated(),
            };
            verifier.build().map_err(|error| ("client_ca_file", error.to_string()))?
        }
    };
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| ("cert_file", error.to_string()))?
        .with_client_cert_verifier(clients)
        .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok((Arc::new(server), files))
}

fn bytes(member: &'static str, file: &Path) -> Result<Vec<u8>, TlsFault> {
    std::fs::read(file).map_err(|error| (member, format!("{} cannot be read: {}", file.display(), error.kind())))
}
