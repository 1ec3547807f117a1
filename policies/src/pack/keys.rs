//! Keys that bundles are signed and verified with. The algorithm belongs to the key, never to what the bundle says.

use std::collections::BTreeMap;
use std::fmt;

use aws_lc_rs::hmac;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, ED25519, EcdsaKeyPair, Ed25519KeyPair, ParsedPublicKey,
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_SHA256, RSA_PSS_2048_8192_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
    VerificationAlgorithm,
};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

/// A shorter secret could be guessed; RFC 7518 asks for as much.
const SHORTEST_SECRET: usize = 32;

/// How a bundle is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// A shared secret.
    Hs256,
    /// RSA, PKCS#1.
    Rs256,
    /// RSA, PSS.
    Ps256,
    /// ECDSA on P-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    const ALL: [Algorithm; 5] =
        [Algorithm::Hs256, Algorithm::Rs256, Algorithm::Ps256, Algorithm::Es256, Algorithm::EdDsa];

    /// Its name in a signature's header.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Hs256 => "HS256",
            Algorithm::Rs256 => "RS256",
            Algorithm::Ps256 => "PS256",
            Algorithm::Es256 => "ES256",
            Algorithm::EdDsa => "EdDSA",
        }
    }

    /// The algorithm of that name, or which there are.
    pub fn named(name: &str) -> Result<Algorithm, String> {
        Algorithm::ALL.into_iter().find(|it| it.name() == name).ok_or_else(|| {
            let names: Vec<&str> = Algorithm::ALL.into_iter().map(Algorithm::name).collect();
            format!("there is no algorithm {name:?}: use one of {}", names.join(", "))
        })
    }

    fn verifying(self) -> Option<&'static dyn VerificationAlgorithm> {
        match self {
            Algorithm::Hs256 => None,
            Algorithm::Rs256 => Some(&RSA_PKCS1_2048_8192_SHA256),
            Algorithm::Ps256 => Some(&RSA_PSS_2048_8192_SHA256),
            Algorithm::Es256 => Some(&ECDSA_P256_SHA256_FIXED),
            Algorithm::EdDsa => Some(&ED25519),
        }
    }
}

/// A key to sign with.
pub struct SigningKey {
    pub(super) id: String,
    pub(super) algorithm: Algorithm,
    pub(super) scope: Option<String>,
    secret: Secret,
}

enum Secret {
    Shared(Box<hmac::Key>),
    Rsa(Box<RsaKeyPair>, &'static dyn RsaEncoding),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl SigningKey {
    /// Reads a private key in PEM, or a shared secret as it is.
    pub fn read(id: &str, algorithm: Algorithm, text: &str, scope: Option<&str>) -> Result<SigningKey, String> {
        let rejected = |_| format!("is no private key for {}", algorithm.name());
        let rsa = |text: &str| match pem(text)? {
            (label, der) if label == "RSA PRIVATE KEY" => RsaKeyPair::from_der(&der).map_err(rejected),
            (_, der) => RsaKeyPair::from_pkcs8(&der).map_err(rejected),
        };
        let secret = match algorithm {
            Algorithm::Hs256 => Secret::Shared(shared(text)?),
            Algorithm::Rs256 => Secret::Rsa(Box::new(rsa(text)?), &RSA_PKCS1_SHA256),
            Algorithm::Ps256 => Secret::Rsa(Box::new(rsa(text)?), &RSA_PSS_SHA256),
            Algorithm::Es256 => Secret::Ec(
                EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_FIXED_SIGNING, &pem(text)?.1)
                    .map_err(rejected)?,
            ),
            Algorithm::EdDsa => {
                Secret::Ed(Ed25519KeyPair::from_pkcs8_maybe_unchecked(&pem(text)?.1).map_err(rejected)?)
            }
        };
        Ok(SigningKey { id: id.to_owned(), algorithm, scope: scope.map(str::to_owned), secret })
    }

    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, String> {
        let failed = |_| "the signature could not be made".to_owned();
        let random = SystemRandom::new();
        match &self.secret {
            Secret::Shared(key) => Ok(hmac::sign(key, message).as_ref().to_vec()),
            Secret::Rsa(key, encoding) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(*encoding, &random, message, &mut signature).map_err(failed)?;
                Ok(signature)
            }
            Secret::Ec(key) => Ok(key.sign(&random, message).map_err(failed)?.as_ref().to_vec()),
            Secret::Ed(key) => Ok(key.sign(message).as_ref().to_vec()),
        }
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("id", &self.id).field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// The keys that a bundle may be signed with, by id.
#[derive(Debug, Default)]
pub struct Keys {
    keys: BTreeMap<String, Key>,
}

pub(super) struct Key {
    pub algorithm: Algorithm,
    /// What a signature by this key must say that it is for; without one it must not say so.
    pub scope: Option<String>,
    public: Public,
}

enum Public {
    Shared(Box<hmac::Key>),
    Pair(ParsedPublicKey),
}

impl Keys {
    /// Adds a public key in PEM, or a shared secret as it is.
    pub fn add(&mut self, id: &str, algorithm: Algorithm, text: &str, scope: Option<&str>) -> Result<(), String> {
        let public = match algorithm.verifying() {
            None => Public::Shared(shared(text)?),
            Some(verifying) => {
                let (label, der) = pem(text)?;
                if !label.ends_with("PUBLIC KEY") {
                    return Err(format!("is a {}: hand in the public key", label.to_lowercase()));
                }
                let parsed = ParsedPublicKey::new(verifying, &der);
                Public::Pair(parsed.map_err(|_| format!("is no public key for {}", algorithm.name()))?)
            }
        };
        let key = Key { algorithm, scope: scope.map(str::to_owned), public };
        match self.keys.insert(id.to_owned(), key) {
            None => Ok(()),
            Some(_) => Err("stands there twice".into()),
        }
    }

    /// Whether there is no key, so that no bundle can be verified.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub(super) fn get(&self, id: &str) -> Option<&Key> {
        self.keys.get(id)
    }

    /// The key's id where there is but one, for bundles that name none.
    pub(super) fn only(&self) -> Option<&str> {
        let mut ids = self.keys.keys();
        ids.next().filter(|_| ids.next().is_none()).map(String::as_str)
    }
}

impl Key {
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.public {
            Public::Shared(key) => hmac::verify(key, message, signature).is_ok(),
            Public::Pair(key) => key.verify_sig(message, signature).is_ok(),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("algorithm", &self.algorithm).field("scope", &self.scope).finish_non_exhaustive()
    }
}

fn shared(text: &str) -> Result<Box<hmac::Key>, String> {
    let secret = text.trim_end_matches(['\r', '\n']);
    if secret.trim_start().starts_with("-----BEGIN") {
        return Err("is a key in PEM, and HS256 needs a shared secret".into());
    }
    match secret.len() < SHORTEST_SECRET {
        true => Err(format!("is a secret of {} bytes, at least {SHORTEST_SECRET}", secret.len())),
        false => Ok(Box::new(hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes()))),
    }
}

/// The first block of a PEM text: its label and what it holds. What stands before it is left out, as openssl writes parameters.
fn pem(text: &str) -> Result<(String, Vec<u8>), String> {
    let wrong = || "is not in PEM (-----BEGIN …-----)".to_owned();
    let mut rest = text;
    loop {
        let (_, begun) = rest.split_once("-----BEGIN ").ok_or_else(wrong)?;
        let (label, body) = begun.split_once("-----").ok_or_else(wrong)?;
        let (body, after) = body.split_once("-----END ").ok_or_else(wrong)?;
        if label == "EC PARAMETERS" {
            rest = after;
            continue;
        }
        let letters: String = body.split_whitespace().collect();
        let der = BASE64_STANDARD.decode(letters).map_err(|_| wrong())?;
        return Ok((label.to_owned(), der));
    }
}
