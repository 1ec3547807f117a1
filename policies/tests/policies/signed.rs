//! Signed bundles: what one of our keys vouches for is read, and nothing else.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
use aws_lc_rs::{encoding, hmac};
use base64::Engine;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use policies::pack::{Algorithm, Keys, SigningKey, sign};
use policies::{Manifest, Pack, PackLimits, Source};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::pack::{gzip, tar};

const SECRET: &str = "a secret of thirty-two bytes or more";
const NOW: i64 = 1_795_180_814;
const RULE: &str = "package alfred.rules.house\n";

fn limits() -> PackLimits {
    PackLimits::default()
}

fn bundle() -> Vec<u8> {
    let data = json!({"acme": {"limit": 1}});
    Pack::new(vec![Source::new("house.rego", RULE)], data, Manifest::of_revision("7")).write()
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
}

/// A fresh pair of PEM texts: private, public.
fn pair(algorithm: Algorithm) -> (String, String) {
    let (private, public) = match algorithm {
        Algorithm::Hs256 => return (SECRET.into(), SECRET.into()),
        Algorithm::Rs256 | Algorithm::Ps256 => {
            let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
            let private: Pkcs8V1Der<'_> = key.as_der().unwrap();
            let public: encoding::PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
            (private.as_ref().to_vec(), public.as_ref().to_vec())
        }
        Algorithm::Es256 => {
            let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
            let public: encoding::PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
            (key.to_pkcs8v1().unwrap().as_ref().to_vec(), public.as_ref().to_vec())
        }
        Algorithm::EdDsa => {
            let key = Ed25519KeyPair::generate().unwrap();
            let public: encoding::PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
            (key.to_pkcs8().unwrap().as_ref().to_vec(), public.as_ref().to_vec())
        }
    };
    (pem("PRIVATE KEY", &private), pem("PUBLIC KEY", &public))
}

fn keys(id: &str, algorithm: Algorithm, text: &str) -> Keys {
    let mut keys = Keys::default();
    keys.add(id, algorithm, text, None).unwrap();
    keys
}

fn shared() -> Keys {
    keys("house", Algorithm::Hs256, SECRET)
}

#[test]
fn what_a_key_has_signed_is_verified_by_its_other_half_alone() {
    for algorithm in ["HS256", "RS256", "PS256", "ES256", "EdDSA"] {
        let algorithm = Algorithm::named(algorithm).unwrap();
        let (private, public) = pair(algorithm);
        let key = SigningKey::read("house", algorithm, &private, None).unwrap();
        let signed = sign(&bundle(), &key, &Map::new(), &limits()).unwrap();
        let verified = keys("house", algorithm, &public).verify(&signed, &limits(), NOW).unwrap();
        assert_eq!((&*verified.key, &verified.pack), ("house", &Pack::read(&bundle(), &limits()).unwrap()));
        // Signed anew, it has one signature; without keys it can be read all the same.
        let again = sign(&signed, &key, &Map::new(), &limits()).unwrap();
        keys("house", algorithm, &public).verify(&again, &limits(), NOW).unwrap();
        assert_eq!(Pack::read(&signed, &limits()).unwrap(), verified.pack);
        if algorithm != Algorithm::Hs256 {
            let stranger = keys("house", algorithm, &pair(algorithm).1);
            let faults = stranger.verify(&signed, &limits(), NOW).unwrap_err();
            assert_eq!(faults[0].message, "the signature is not one of the key \"house\"");
        }
    }
}

/// A bundle with a token that is made here by hand, as OPA would.
fn by_hand(files: &[(&str, &[u8])], header: Value, payload: Value) -> Vec<u8> {
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(payload));
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes()), message.as_bytes());
    let token = format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature));
    let signatures = json!({ "signatures": [token] }).to_string();
    gzip(&tar(&[files, &[("/.signatures.json", signatures.as_bytes())]].concat()))
}

const FILES: [(&str, &[u8]); 3] =
    [("/data.json", br#"{ "b": 1.0, "a": "x" }"#), ("/house.rego", RULE.as_bytes()), ("/README.md", b"read me")];

fn listed() -> Vec<Value> {
    let hash = |bytes: &[u8]| hex::encode(Sha256::digest(bytes));
    let file = |name: &str, bytes: &[u8]| json!({"name": name, "hash": hash(bytes), "algorithm": "SHA-256"});
    vec![file("data.json", br#"{"a":"x","b":1.0}"#), file("house.rego", RULE.as_bytes()), file("README.md", b"read me")]
}

#[test]
fn a_bundle_as_opa_signs_it_is_verified() {
    for (header, payload) in [
        (json!({"alg": "HS256", "kid": "house", "typ": "JWT"}), json!({"files": listed(), "iss": "ci"})),
        (json!({"alg": "HS256"}), json!({"files": listed(), "keyid": "house", "iat": NOW - 5, "exp": NOW + 5})),
        (json!({"alg": "HS256"}), json!({"files": listed()})),
    ] {
        let verified = shared().verify(&by_hand(&FILES, header, payload), &limits(), NOW).unwrap();
        assert_eq!(verified.pack.modules.len(), 1);
    }
}

#[test]
fn whatever_does_not_fit_is_named() {
    let header = |alg: &str, kid: &str| json!({"alg": alg, "kid": kid, "typ": "JWT"});
    let good = || header("HS256", "house");
    let with = |change: &dyn Fn(&mut Vec<Value>)| {
        let mut files = listed();
        change(&mut files);
        json!({ "files": files })
    };
    let all = || with(&|_| {});
    for (header, payload, expected) in [
        (header("none", "house"), all(), ".signatures.json: is signed with none, and the key \"house\" is for HS256"),
        (header("RS256", "house"), all(), ".signatures.json: is signed with RS256, and"),
        (header("HS256", "other"), all(), ".signatures.json: is signed with the key \"other\", which is not known"),
        (json!({"alg": "HS256", "kid": "house", "crit": ["b64"]}), all(), ".signatures.json: asks for an extension"),
        (json!({"kid": "house"}), all(), ".signatures.json: holds no JWT: missing field `alg`"),
        (good(), json!({"files": listed(), "exp": NOW}), ".signatures.json: the signature has expired"),
        (good(), json!({"files": listed(), "iat": NOW + 61}), ".signatures.json: the signature is from the future"),
        (good(), json!({"files": listed(), "nbf": NOW + 61}), ".signatures.json: the signature is from the future"),
        (good(), json!({"files": listed(), "scope": "write"}), ".signatures.json: is signed for scope \"write\", and"),
        (good(), json!({"nothing": []}), ".signatures.json: what is signed cannot be read"),
        (good(), with(&|files| drop(files.remove(1))), "house.rego: was added: it is not signed"),
        (good(), with(&|files| drop(files.remove(2))), "README.md: was added: it is not signed"),
        (good(), with(&|files| files[0]["hash"] = "00".into()), "data.json: was changed"),
        (good(), with(&|files| files[1]["algorithm"] = "MD5".into()), "house.rego: is hashed with \"MD5\""),
        (good(), with(&|files| files[1]["name"] = "gone.rego".into()), "house.rego: was added"),
        (good(), with(&|files| files.push(files[1].clone())), "house.rego: is signed twice"),
        (
            good(),
            with(&|files| files.push(json!({"name": "gone.rego", "hash": "", "algorithm": "SHA-256"}))),
            "gone.rego: is missing: it was signed",
        ),
    ] {
        let bundle = by_hand(&FILES, header, payload);
        let faults = shared().verify(&bundle, &limits(), NOW).expect_err(expected);
        assert!(faults[0].to_string().starts_with(expected), "{faults:#?}\n{expected}");
    }
    for (signatures, expected) in [
        (r#"{"signatures": []}"#, "holds 0 signatures"),
        (r#"{"signatures": ["a.b.c", "a.b.c"]}"#, "holds 2 signatures"),
        (r#"{"signatures": ["nonsense"]}"#, "holds no JWT"),
        (r#"{"signatures": ["!.!.!"]}"#, "holds no JWT"),
        (r#"{"signatures": ["a.b.c"], "plugin": "own"}"#, "is for a plugin"),
        ("{", "cannot be read"),
    ] {
        let bundle = gzip(&tar(&[(".signatures.json", signatures.as_bytes())]));
        let faults = shared().verify(&bundle, &limits(), NOW).expect_err(expected);
        assert!(faults[0].message.starts_with(expected), "{faults:#?}\n{expected}");
    }
    let faults = shared().verify(&bundle(), &limits(), NOW).unwrap_err();
    assert_eq!(faults[0].message, "is not signed: it has no .signatures.json");
    assert_eq!(
        Keys::default().verify(&by_hand(&FILES, json!({"alg": "HS256"}), all()), &limits(), NOW).unwrap_err()[0]
            .message,
        "names no key"
    );
}

#[test]
fn a_scope_must_be_the_key_s_own() {
    let key = |scope| SigningKey::read("house", Algorithm::Hs256, SECRET, scope).unwrap();
    let of = |scope| {
        let mut keys = Keys::default();
        keys.add("house", Algorithm::Hs256, SECRET, scope).unwrap();
        keys
    };
    let signed = |scope| sign(&bundle(), &key(scope), &Map::new(), &limits()).unwrap();
    for (signing, verifying, fits) in [
        (None, None, true),
        (Some("write"), Some("write"), true),
        (Some("write"), Some("read"), false),
        (None, Some("read"), false),
        (Some(""), None, true),
    ] {
        assert_eq!(of(verifying).verify(&signed(signing), &limits(), NOW).is_ok(), fits, "{signing:?} {verifying:?}");
    }
}

#[test]
fn keys_that_are_none_are_refused() {
    let (private, public) = pair(Algorithm::Es256);
    let mut keys = Keys::default();
    for (algorithm, text, expected) in [
        (Algorithm::Es256, private.as_str(), "is a private key: hand in the public key"),
        (Algorithm::Rs256, &public, "is no public key for RS256"),
        (Algorithm::Es256, "nonsense", "is not in PEM"),
        (Algorithm::Es256, "-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----", "is not in PEM"),
        (Algorithm::Hs256, "short", "is a secret of 5 bytes, at least 32"),
        (Algorithm::Hs256, &public, "is a key in PEM, and HS256 needs a shared secret"),
    ] {
        let wrong = keys.add("k", algorithm, text, None).unwrap_err();
        assert!(wrong.starts_with(expected), "{wrong}");
    }
    assert!(keys.is_empty());
    assert!(SigningKey::read("k", Algorithm::Es256, &public, None).unwrap_err().starts_with("is no private key"));
    assert!(Algorithm::named("none").unwrap_err().starts_with("there is no algorithm \"none\": use one of HS256"));
    assert!(!format!("{:?}", shared()).contains("secret of"));
}
