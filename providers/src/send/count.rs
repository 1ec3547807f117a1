//! Asks a provider how many tokens a request has, where it has a path for that.

use std::sync::Arc;

use http::header::USER_AGENT;
use http::{HeaderValue, Request};
use http_body_util::Full;
use serde::Deserialize;
use tokio::time::timeout;

use super::{LARGEST_ERROR, Outbound, Source, failed, wall_clock};
use crate::error::{Class, ProviderError};
use crate::fleet::Target;
use crate::request::ModelRequest;

impl Outbound {
    /// What the provider would bill as input; none if it cannot be asked in this caller's words.
    pub async fn count_input(
        &self,
        target: &Arc<Target>,
        request: &ModelRequest,
    ) -> Result<Option<u64>, ProviderError> {
        let Some(base_url) = &target.wire.base_url else { return Ok(None) };
        let token = self.token(target).await?;
        let key = target.wire.keys.pick(self.now());
        let aim = target.aim(base_url, 0, key.as_deref(), wall_clock()).with_token(token.as_ref());
        let Some(encoded) = target.dialect().counting(request, &aim) else { return Ok(None) };
        let encoded = encoded?;
        let mut call = Request::new(Full::new(encoded.body));
        *call.method_mut() = encoded.method;
        *call.uri_mut() = encoded.url.as_str().parse().map_err(|_| {
            ProviderError::new(Class::Misconfigured, format!("the base_url of {} cannot be called", target.provider))
        })?;
        *call.headers_mut() = encoded.headers;
        call.headers_mut()
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(concat!("alfred/", env!("CARGO_PKG_VERSION"))));
        let response = timeout(self.deadlines().first_byte, self.client(target.wire.way.as_ref()).request(call))
            .await
            .map_err(|_| ProviderError::new(Class::Timeout, "the provider did not begin to answer in time"))?
            .map_err(|e| failed(&e))?;
        let (head, body) = response.into_parts();
        let mut source = Source::Network(body);
        let body = source.at_most(LARGEST_ERROR, self.deadlines().idle).await;
        if !head.status.is_success() {
            return Err(target.dialect().explain(head.status.as_u16(), &head.headers, &body));
        }
        read(&body).map(Some)
    }
}

fn read(body: &[u8]) -> Result<u64, ProviderError> {
    #[derive(Deserialize)]
    struct Count {
        input_tokens: u64,
    }
    let count: Count =
        serde_json::from_slice(body).map_err(|_| ProviderError::broken("the provider's count cannot be read"))?;
    Ok(count.input_tokens)
}
