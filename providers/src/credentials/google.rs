//! A service account of Google's cloud: its key signs an assertion (RFC 7523), which buys a token for an hour.

use std::time::{Duration, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde::Deserialize;
use serde_json::json;
use url::Url;
use url::form_urlencoded::Serializer;
use zeroize::Zeroizing;

use super::is_private;
use super::token::TokenRequest;

const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// The longest that Google takes.
const LASTS: Duration = Duration::from_secs(3_600);

/// What signs.
pub(crate) struct ServiceAccount {
    email: String,
    key_id: Option<String>,
    key: RsaKeyPair,
    token_uri: Url,
}

/// The file that Google makes for a key; what is not needed is passed over.
#[derive(Deserialize)]
struct File {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    client_email: String,
    #[serde(default)]
    private_key_id: Option<String>,
    #[serde(default)]
    private_key: String,
    #[serde(default)]
    token_uri: Option<String>,
}

impl ServiceAccount {
    /// Reads the JSON of a key. What is wrong is told without any of it.
    pub(super) fn read(text: &str) -> Result<ServiceAccount, &'static str> {
        let mut file: File = serde_json::from_str(text).map_err(|_| "is not the JSON of a service account's key")?;
        let pem = Zeroizing::new(std::mem::take(&mut file.private_key));
        if file.kind != "service_account" || file.client_email.is_empty() {
            return Err("is not the key of a service account: its type must be service_account, with a client_email");
        }
        let key = pkcs8(&pem).and_then(|der| RsaKeyPair::from_pkcs8(&der).ok());
        let key = key.ok_or("has no private_key that can be read: an RSA key in PEM, as PKCS #8, is needed")?;
        let token_uri = Url::parse(file.token_uri.as_deref().unwrap_or(TOKEN_URI)).ok();
        let token_uri = token_uri.filter(is_private).ok_or("has a token_uri that is no https address")?;
        Ok(ServiceAccount { email: file.client_email, key_id: file.private_key_id, key, token_uri })
    }

    /// What is posted for a token; none if the signing fails.
    pub(super) fn request(&self, now: SystemTime) -> Option<TokenRequest> {
        let assertion = self.assertion(now)?;
        let form = Serializer::new(String::new())
            .append_pair("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
            .append_pair("assertion", &assertion)
            .finish();
        Some(TokenRequest { url: self.token_uri.clone(), form: Zeroizing::new(form) })
    }

    fn assertion(&self, now: SystemTime) -> Option<Zeroizing<String>> {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).ok()?;
        let mut header = json!({"alg": "RS256", "typ": "JWT"});
        if let Some(id) = &self.key_id {
            header["kid"] = json!(id);
        }
        let claims = json!({
            "iss": self.email,
            "scope": SCOPE,
            "aud": self.token_uri.as_str(),
            "iat": now.as_secs(),
            "exp": now.saturating_add(LASTS).as_secs(),
        });
        let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        let mut text =
            Zeroizing::new(encode(header.to_string().as_bytes()) + "." + &encode(claims.to_string().as_bytes()));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature).ok()?;
        text.push('.');
        text.push_str(&encode(&signature));
        Some(text)
    }
}

/// The bytes of a private key in PEM.
fn pkcs8(pem: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (_, rest) = pem.split_once("-----BEGIN PRIVATE KEY-----")?;
    let (inside, _) = rest.split_once("-----END PRIVATE KEY-----")?;
    let packed: Zeroizing<String> = Zeroizing::new(inside.split_ascii_whitespace().collect());
    STANDARD.decode(packed.as_bytes()).ok().map(Zeroizing::new)
}

#[cfg(test)]
pub(crate) mod tests {
    use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{KeyPair, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey};
    use serde_json::Value;

    use super::*;

    /// A key of its own for each test, and the file that Google would have made of it.
    pub(crate) fn account(token_uri: &str) -> (RsaKeyPair, String) {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
        let packed = STANDARD.encode(der.as_ref());
        let lines: Vec<&str> = packed.as_bytes().chunks(64).map(|it| std::str::from_utf8(it).unwrap()).collect();
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", lines.join("\n"));
        let file = json!({
            "type": "service_account", "project_id": "p", "private_key_id": "kid-1", "private_key": pem,
            "client_email": "alfred@p.iam.gserviceaccount.com", "client_id": "1", "token_uri": token_uri,
        });
        (key, file.to_string())
    }

    /// Header and claims of an assertion whose signature is good.
    pub(crate) fn verified(assertion: &str, key: &RsaKeyPair) -> (Value, Value) {
        let (signed, signature) = assertion.rsplit_once('.').unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key().as_ref());
        public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).unwrap()).expect("a good signature");
        let read = |part: &str| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        let (header, claims) = signed.split_once('.').unwrap();
        (read(header), read(claims))
    }

    #[test]
    fn an_assertion_says_who_asks_for_what_until_when_and_is_signed() {
        let (key, file) = account("https://oauth2.googleapis.com/token");
        let account = ServiceAccount::read(&file).unwrap();
        let request = account.request(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000)).unwrap();
        assert_eq!(request.url.as_str(), "https://oauth2.googleapis.com/token");
        let form: Vec<(String, String)> = url::form_urlencoded::parse(request.form.as_bytes()).into_owned().collect();
        assert_eq!(form[0], ("grant_type".to_owned(), "urn:ietf:params:oauth:grant-type:jwt-bearer".to_owned()));
        let (header, claims) = verified(&form[1].1, &key);
        assert_eq!(header, json!({"alg": "RS256", "typ": "JWT", "kid": "kid-1"}));
        let expected = json!({
            "iss": "alfred@p.iam.gserviceaccount.com", "scope": "https://www.googleapis.com/auth/cloud-platform",
            "aud": "https://oauth2.googleapis.com/token", "iat": 1_000, "exp": 4_600,
        });
        assert_eq!(claims, expected);
    }

    #[test]
    fn what_is_no_key_of_a_service_account_is_refused_without_being_repeated() {
        let check = |text: &str, part: &str| {
            let why = ServiceAccount::read(text).err().expect(part);
            assert!(why.contains(part) && !why.contains("canary"), "{why}");
        };
        check("canary", "is not the JSON");
        check(r#"{"type":"authorized_user","refresh_token":"canary"}"#, "must be service_account");
        check(r#"{"type":"service_account","client_email":"a@b","private_key":"canary"}"#, "PKCS #8");
        check(&account("http://elsewhere.example/canary").1, "token_uri");
    }
}
