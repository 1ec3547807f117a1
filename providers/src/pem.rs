//! Certificates and keys in PEM, and one that may be renewed while connections stand on its older self.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use rustls::client::ResolvesClientCert;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, RootCertStore, SignatureScheme};

/// The authorities in a text, as roots of trust.
///
/// # Errors
/// There is none, or one cannot be read.
pub fn authorities(pem: &[u8]) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in chain(pem)? {
        roots.add(certificate).map_err(|_| "holds a certificate that is none of an authority".to_owned())?;
    }
    Ok(roots)
}

/// A chain and its key. That they belong together is seen here, not at the first handshake.
///
/// # Errors
/// One of them cannot be read, or they do not belong together. Nothing of them is repeated.
pub fn certified(chain_pem: &[u8], key_pem: &[u8]) -> Result<CertifiedKey, String> {
    let chain = chain(chain_pem)?;
    let key = PrivateKeyDer::from_pem_slice(key_pem)
        .map_err(|_| "the key is no private key in PEM (PKCS #8, PKCS #1 or SEC 1, not encrypted)".to_owned())?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => "the key is not that of the certificate".to_owned(),
        Error::InvalidCertificate(_) => "the certificate cannot be read".to_owned(),
        _ => "the key is of a kind that is not served: RSA, ECDSA or Ed25519 is needed".to_owned(),
    })
}

fn chain(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match read {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err("holds no certificate in PEM".to_owned()),
        Err(_) => Err("holds PEM that cannot be read".to_owned()),
    }
}

/// A certificate with its key that may be replaced at any moment: new connections show the new one.
#[derive(Default)]
pub struct LiveIdentity(ArcSwapOption<CertifiedKey>);

impl LiveIdentity {
    /// From now on it is this.
    ///
    /// # Errors
    /// As [`certified`]; then the old one stays.
    pub fn replace(&self, chain: &[u8], key: &[u8]) -> Result<(), String> {
        let certified = certified(chain, key)?;
        self.0.store(Some(Arc::new(certified)));
        Ok(())
    }

    /// From now on there is none.
    pub fn clear(&self) {
        self.0.store(None);
    }

    /// There is one.
    pub fn is_known(&self) -> bool {
        self.0.load().is_some()
    }
}

impl fmt::Debug for LiveIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LiveIdentity(…)")
    }
}

impl ResolvesClientCert for LiveIdentity {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.0.load_full().filter(|it| it.key.choose_scheme(schemes).is_some())
    }

    fn has_certs(&self) -> bool {
        self.is_known()
    }
}

impl ResolvesServerCert for LiveIdentity {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.0.load_full()
    }
}
