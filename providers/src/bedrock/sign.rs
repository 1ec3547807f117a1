//! Signature Version 4 of a request to Amazon. Pure: the time is handed in. The keys sign and are never sent, but for the token
//! that comes with keys lent for a time.

use std::fmt::Write;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign as calculate};
use aws_sigv4::sign::v4;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};
use tracing::subscriber::{NoSubscriber, with_default};

use crate::credentials::AwsKeys;
use crate::dialect::{HttpRequest, Unsupported};

/// The name under which the service knows its own signatures.
pub(super) const SERVICE: &str = "bedrock";

/// Adds the headers that sign this request. Host, content type and whatever begins with `x-amz-` are signed; other headers may be
/// changed on the way without harm.
pub(super) fn sign(
    request: &mut HttpRequest,
    keys: &AwsKeys,
    region: &str,
    service: &str,
    now: SystemTime,
) -> Result<(), Unsupported> {
    let unsigned = || Unsupported::new("the request cannot be signed");
    let token = keys.session_token.as_ref().map(|it| it.expose().to_owned());
    let credentials =
        Credentials::new(&*keys.access_key_id, keys.secret_access_key.expose(), token, None, "configuration");
    let identity = credentials.into();
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(region)
        .name(service)
        .time(now)
        .settings(SigningSettings::default())
        .build()
        .map_err(|_| unsigned())?
        .into();
    let signed = |name: &HeaderName| *name == CONTENT_TYPE || name.as_str().starts_with("x-amz-");
    let headers: Vec<(&str, &str)> = request
        .headers
        .iter()
        .filter(|(name, _)| signed(name))
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)))
        .collect();
    // The library is given the hash, not the body: what it may write into a trace holds no prompt.
    let body = SignableBody::Precomputed(hex(&Sha256::digest(&request.body)));
    let signable = SignableRequest::new(request.method.as_str(), request.url.as_str(), headers.into_iter(), body)
        .map_err(|_| unsigned())?;
    // It writes whose key signs what into traces: nobody listens.
    let signed = with_default(NoSubscriber::default(), || calculate(signable, &params));
    let (instructions, _) = signed.map_err(|_| unsigned())?.into_parts();
    for (name, value) in instructions.headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| unsigned())?;
        let mut value = HeaderValue::from_str(value).map_err(|_| unsigned())?;
        value.set_sensitive(true);
        request.headers.insert(name, value);
    }
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(64), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
