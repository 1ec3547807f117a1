//! Fetches the tokens that some providers are shown in place of a key, with the one outbound client.

use std::time::Duration;

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderValue, Request};
use http_body_util::{BodyExt, Full, Limited};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{Outbound, wall_clock};
use crate::credentials::Secret;
use crate::credentials::token::{Granted, TokenRequest, unknown};
use crate::error::{Class, ProviderError};
use crate::fleet::Target;

/// More than any token server answers.
const LARGEST_ANSWER: usize = 256 << 10;
/// How long a token lasts where its server does not say, and the longest that is believed.
const USUAL: u64 = 300;
const LONGEST: u64 = 86_400;

impl Outbound {
    /// What this target is shown in place of a key, if its tokens are fetched. Every request to a target asks for it anew, and is told
    /// here if what should be shown is not known: nothing is sent without it.
    pub(crate) async fn token(&self, target: &Target) -> Result<Option<Secret>, ProviderError> {
        if !target.wire.is_open() {
            return Err(unknown());
        }
        let Some(tokens) = &target.wire.tokens else { return Ok(None) };
        tokens.current(wall_clock(), |request| self.fetch(target, request)).await.map(Some)
    }

    async fn fetch(&self, target: &Target, request: TokenRequest) -> Result<Granted, ProviderError> {
        let mut call =
            Request::post(request.url.as_str()).body(Full::from(request.form.as_bytes().to_vec())).map_err(|_| {
                ProviderError::new(Class::Misconfigured, "the address of the token server cannot be called")
            })?;
        let form = HeaderValue::from_static("application/x-www-form-urlencoded");
        call.headers_mut().insert(CONTENT_TYPE, form);
        call.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        let unreachable = || ProviderError::new(Class::Connect, "the provider's token server cannot be reached");
        let answer = self.client(target.wire.token_way.as_ref()).request(call).await.map_err(|_| unreachable())?;
        let status = answer.status().as_u16();
        tracing::debug!(status, "a token server has answered");
        match status {
            200..=299 => {}
            // 408 and 429 pass; every other refusal is about the account.
            408 | 429 | 500.. => {
                return Err(ProviderError::new(
                    Class::Connect,
                    format!("the provider's token server answered {status}"),
                ));
            }
            _ => {
                let message = format!("the provider's token server refused our account with status {status}");
                return Err(ProviderError::new(Class::Misconfigured, message));
            }
        }
        let body = Limited::new(answer.into_body(), LARGEST_ANSWER).collect().await.map_err(|_| unreachable())?;
        read(&body.to_bytes()).ok_or_else(|| {
            ProviderError::new(Class::Connect, "the provider's token server gave no token that can be read")
        })
    }
}

fn read(body: &[u8]) -> Option<Granted> {
    #[derive(Deserialize)]
    struct Answer {
        access_token: String,
        #[serde(default)]
        expires_in: Option<Seconds>,
    }
    /// Some servers write the number as a text.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Seconds {
        Number(u64),
        Text(String),
    }
    let answer: Answer = serde_json::from_slice(body).ok()?;
    let whole = Zeroizing::new(answer.access_token);
    let token = whole.trim();
    if token.is_empty() || !token.bytes().all(|b| (0x21..0x7f).contains(&b)) {
        return None;
    }
    let lasts = match answer.expires_in {
        Some(Seconds::Number(it)) => it,
        Some(Seconds::Text(it)) => it.parse().ok()?,
        None => USUAL,
    };
    Some(Granted { token: Secret::new(token), lasts: Duration::from_secs(lasts.min(LONGEST)) })
}

#[cfg(test)]
mod tests;
