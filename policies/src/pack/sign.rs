//! `.signatures.json`, as OPA writes and reads it: a JWT over the hash of every file, so that none can be added, taken
//! away or changed.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::archive::{self, File};
use super::canonical;
use super::keys::{Keys, SigningKey};
use super::{Pack, PackLimits};
use crate::Fault;
use crate::source::fault;

const SIGNATURES: &str = ".signatures.json";

/// A clock may be so far ahead of ours.
const LEEWAY_SECONDS: i64 = 60;

#[derive(Deserialize)]
struct Signatures {
    #[serde(default)]
    signatures: Vec<String>,
    plugin: Option<String>,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: Option<String>,
    /// Extensions that a reader must understand; we understand none.
    crit: Option<Value>,
}

#[derive(Deserialize)]
struct Payload {
    files: Vec<Signed>,
    scope: Option<String>,
    /// Where older versions of OPA put the key's id.
    keyid: Option<String>,
    iat: Option<i64>,
    nbf: Option<i64>,
    exp: Option<i64>,
}

#[derive(Deserialize)]
struct Signed {
    name: String,
    hash: String,
    algorithm: String,
}

/// The same bundle, signed; a signature that it had is replaced. `claims` join what is signed: `iss`, `iat`, `exp`.
pub fn sign(
    bundle: &[u8],
    key: &SigningKey,
    claims: &Map<String, Value>,
    limits: &PackLimits,
) -> Result<Vec<u8>, Vec<Fault>> {
    let mut files = archive::unpack(bundle, limits)?;
    files.retain(|file| file.path != SIGNATURES);
    let mut signed = Vec::new();
    let mut faults = Vec::new();
    for File { path, bytes } in &files {
        match canonical::hash("SHA-256", path, bytes) {
            Ok(hash) => signed.push(json!({"name": path, "hash": hash, "algorithm": "SHA-256"})),
            Err(message) => faults.push(fault(path, message)),
        }
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut payload = claims.clone();
    payload.extend([("files".to_owned(), signed.into()), ("keyid".to_owned(), key.id.clone().into())]);
    if let Some(scope) = &key.scope {
        payload.insert("scope".into(), scope.clone().into());
    }
    let header = json!({"alg": key.algorithm.name(), "kid": key.id, "typ": "JWT"});
    let part = |value: Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(payload.into()));
    let signature = key.sign(message.as_bytes()).map_err(|message| vec![fault(SIGNATURES, message)])?;
    let token = format!("{message}.{}", BASE64_URL_SAFE_NO_PAD.encode(signature));
    let bytes = json!({ "signatures": [token] }).to_string().into_bytes();
    files.push(File { path: SIGNATURES.into(), bytes });
    files.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(archive::zipped(&archive::joined(&files)))
}

/// A bundle that one of the keys vouches for.
#[derive(Clone, Debug, PartialEq)]
pub struct Verified {
    /// The key that signed it.
    pub key: String,
    /// What it holds.
    pub pack: Pack,
}

impl Keys {
    /// Reads a bundle if one of the keys has signed all of it; `at` is now, in seconds since 1970.
    pub fn verify(&self, bundle: &[u8], limits: &PackLimits, at: i64) -> Result<Verified, Vec<Fault>> {
        let mut files = archive::unpack(bundle, limits)?;
        let Some(place) = files.iter().position(|file| file.path == SIGNATURES) else {
            return Err(vec![fault("bundle", "is not signed: it has no .signatures.json")]);
        };
        let signatures = files.remove(place).bytes;
        let (key, payload) = self.vouched(&signatures, at).map_err(|message| vec![fault(SIGNATURES, message)])?;
        let faults = differences(&files, payload.files);
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Verified { key, pack: Pack::of_files(files)? })
    }

    /// What was signed and by which key, or why that is not believed.
    fn vouched(&self, signatures: &[u8], at: i64) -> Result<(String, Payload), String> {
        let read: Signatures =
            serde_json::from_slice(signatures).map_err(|error| format!("cannot be read: {error}"))?;
        if let Some(plugin) = read.plugin.filter(|plugin| plugin != "_default") {
            return Err(format!("is for a plugin {plugin:?}, which is not here"));
        }
        let [token] = read.signatures.as_slice() else {
            return Err(format!("holds {} signatures, and one is read", read.signatures.len()));
        };
        let wrong = || "holds no JWT".to_owned();
        let (message, signature) = token.rsplit_once('.').ok_or_else(wrong)?;
        let (header, payload) = message.split_once('.').ok_or_else(wrong)?;
        let part = |text: &str| BASE64_URL_SAFE_NO_PAD.decode(text).map_err(|_| wrong());
        let header: Header = serde_json::from_slice(&part(header)?).map_err(|error| format!("{}: {error}", wrong()))?;
        let (payload, signature) = (part(payload)?, part(signature)?);

        let claimed = |payload: &[u8]| serde_json::from_slice::<Payload>(payload).ok().and_then(|it| it.keyid);
        let id = header.kid.or_else(|| claimed(&payload)).or_else(|| self.only().map(str::to_owned));
        let id = id.ok_or("names no key")?;
        let key = self.get(&id).ok_or_else(|| format!("is signed with the key {id:?}, which is not known here"))?;
        if header.alg != key.algorithm.name() {
            return Err(format!("is signed with {}, and the key {id:?} is for {}", header.alg, key.algorithm.name()));
        }
        if header.crit.is_some() {
            return Err("asks for an extension of JWT, and none is understood".into());
        }
        if !key.verifies(message.as_bytes(), &signature) {
            return Err(format!("the signature is not one of the key {id:?}"));
        }
        let payload: Payload =
            serde_json::from_slice(&payload).map_err(|error| format!("what is signed cannot be read: {error}"))?;
        let none = |scope: &Option<String>| scope.as_deref().filter(|it| !it.is_empty()).map(str::to_owned);
        if none(&payload.scope) != none(&key.scope) {
            let said = |scope: &Option<String>| none(scope).map_or("no scope".to_owned(), |it| format!("scope {it:?}"));
            return Err(format!(
                "is signed for {}, and the key {id:?} is for {}",
                said(&payload.scope),
                said(&key.scope)
            ));
        }
        if payload.exp.is_some_and(|exp| exp <= at) {
            return Err("the signature has expired".into());
        }
        if [payload.iat, payload.nbf].iter().flatten().any(|from| *from > at.saturating_add(LEEWAY_SECONDS)) {
            return Err("the signature is from the future: is the clock right?".into());
        }
        Ok((id, payload))
    }
}

/// Where the files are not those that were signed.
fn differences(files: &[File], signed: Vec<Signed>) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut expected: BTreeMap<String, Signed> = BTreeMap::new();
    for it in signed {
        let name = it.name.trim_start_matches('/').to_owned();
        if expected.insert(name.clone(), it).is_some() {
            faults.push(fault(&name, "is signed twice"));
        }
    }
    for File { path, bytes } in files {
        let Some(signed) = expected.remove(path) else {
            faults.push(fault(path, "was added: it is not signed"));
            continue;
        };
        match canonical::hash(&signed.algorithm, path, bytes) {
            Ok(hash) if hash.eq_ignore_ascii_case(&signed.hash) => {}
            Ok(_) => faults.push(fault(path, "was changed: it is not what was signed")),
            Err(message) => faults.push(fault(path, message)),
        }
    }
    faults.extend(expected.into_keys().map(|path| fault(&path, "is missing: it was signed")));
    faults
}
