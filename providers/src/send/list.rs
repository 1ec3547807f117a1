//! Asking a provider for its own list of models: one bounded question, apart from all calls.

use http::Request;
use http_body_util::Full;
use tokio::time::timeout;

use super::{LARGEST_ERROR, Outbound, Source, failed, wall_clock};
use crate::error::{Class, ProviderError};
use crate::fleet::Fleet;
use crate::listing::{self, ListedModel};

/// The longest list there is has some thousand models of a few thousand bytes each.
const LARGEST_LIST: usize = 16 << 20;

impl Outbound {
    /// What the configured provider of this name says that it has; nothing where it keeps no list that can be asked for.
    ///
    /// # Errors
    /// It cannot be reached, will not answer, or answers what is no list.
    pub async fn list_models(&self, fleet: &Fleet, provider: &str) -> Result<Option<Vec<ListedModel>>, ProviderError> {
        let Some(target) = fleet.provider(provider) else { return Ok(None) };
        let Some(base_url) = &target.wire.base_url else { return Ok(None) };
        let token = self.token(&target).await?;
        let key = target.wire.keys.pick(self.now());
        let aim = target.aim(base_url, 0, key.as_deref(), wall_clock()).with_token(token.as_ref());
        let Some(encoded) = target.dialect().list_models(&aim) else { return Ok(None) };
        let encoded = encoded?;
        let unaskable =
            || ProviderError::new(Class::Misconfigured, format!("the base_url of {provider} cannot be called"));
        let mut call = Request::new(Full::new(encoded.body));
        *call.method_mut() = encoded.method;
        *call.uri_mut() = encoded.url.as_str().parse().map_err(|_| unaskable())?;
        *call.headers_mut() = encoded.headers;
        let deadline = self.deadlines().first_byte;
        let response = timeout(deadline, self.client(target.wire.way.as_ref()).request(call))
            .await
            .map_err(|_| ProviderError::new(Class::Timeout, "the provider did not begin to answer in time"))?
            .map_err(|e| failed(&e))?;
        let (head, body) = response.into_parts();
        let (mut source, status) = (Source::Network(body), head.status.as_u16());
        let bound = if head.status.is_success() { LARGEST_LIST } else { LARGEST_ERROR };
        let body = timeout(deadline, source.at_most(bound, self.deadlines().idle))
            .await
            .map_err(|_| ProviderError::new(Class::Timeout, "the provider stopped answering"))?;
        match status {
            200..=299 => listing::read(&body).map(Some).ok_or_else(|| ProviderError {
                status: Some(status),
                ..ProviderError::broken("the provider's answer is no list of models")
            }),
            // There is a server, but no list.
            404 | 405 | 501 => Ok(None),
            _ => Err(target.dialect().explain(status, &head.headers, &body)),
        }
    }
}
