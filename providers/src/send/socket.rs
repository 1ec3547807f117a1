//! A conversation over one connection: a WebSocket to a provider, on the house's own TLS and under its deadlines. Messages are
//! pulled one by one, so a slow client holds the provider back.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use http::header::USER_AGENT;
use http::{HeaderMap, HeaderValue, Uri};
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tower::{Service, ServiceExt};

use super::connect::{Connector, Stream};
use super::{LARGEST_ERROR, Outbound, wall_clock};
use crate::error::{Class, ProviderError};
use crate::fleet::Target;

/// More than any event has: OpenAI takes and sends up to 15 MiB of sound in one.
pub(super) const LARGEST_MESSAGE: usize = 16 << 20;
/// A provider that takes nothing for so long is gone.
const SENDING: Duration = Duration::from_secs(30);

/// An open conversation. Dropping it hangs up.
pub struct Socket {
    inner: WebSocketStream<TokioIo<Stream>>,
}

impl Outbound {
    /// Opens a realtime conversation with a target.
    ///
    /// # Errors
    /// It has none, cannot be reached, or says no.
    pub async fn realtime(&self, target: &Arc<Target>) -> Result<Socket, ProviderError> {
        let unserved = || ProviderError {
            param: Some("model".to_owned()),
            ..ProviderError::new(Class::Unsupported, format!("{} has no realtime conversations", target.name))
        };
        let base_url = target.wire.base_url.as_ref().ok_or_else(unserved)?;
        let token = self.token(target).await?;
        let key = target.wire.keys.pick(self.now());
        let aim = target.aim(base_url, 0, key.as_deref(), wall_clock()).with_token(token.as_ref());
        let encoded = target.dialect().realtime(&aim).ok_or_else(unserved)??;
        let uncallable = || {
            ProviderError::new(Class::Misconfigured, format!("the base_url of {} cannot be called", target.provider))
        };
        let uri: Uri = encoded.url.as_str().parse().map_err(|_| uncallable())?;
        // `http` becomes `ws`, and `https` `wss`.
        let url = encoded.url.as_str().replacen("http", "ws", 1);
        let mut call = url.into_client_request().map_err(|_| uncallable())?;
        call.headers_mut().extend(encoded.headers);
        call.headers_mut()
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(concat!("alfred/", env!("CARGO_PKG_VERSION"))));

        let unreachable = || ProviderError::new(Class::Connect, "the provider cannot be reached");
        // Upgraded connections are HTTP/1.1's, and nobody's after them: they are in no pool.
        let mut connector = Connector::of_old(target.wire.way.as_deref(), self.deadlines().connect);
        let ready = connector.ready().await.map_err(|_| unreachable())?;
        let stream = ready.call(uri).await.map_err(|error| {
            tracing::debug!(cause = %error, "a provider cannot be reached");
            unreachable()
        })?;
        let mut config = WebSocketConfig::default();
        config.max_message_size = Some(LARGEST_MESSAGE);
        config.max_frame_size = Some(LARGEST_MESSAGE);
        // One message at a time: what is sent is flushed before the next is taken.
        config.write_buffer_size = 0;
        config.max_write_buffer_size = 2 * LARGEST_MESSAGE;
        let shaking = tokio_tungstenite::client_async_with_config(call, TokioIo::new(stream), Some(config));
        let shaken = timeout(self.deadlines().first_byte, shaking)
            .await
            .map_err(|_| ProviderError::new(Class::Timeout, "the provider did not begin to answer in time"))?;
        match shaken {
            Ok((inner, _)) => Ok(Socket { inner }),
            Err(Error::Http(answer)) => {
                let (head, body) = answer.into_parts();
                let status = head.status.as_u16();
                if let (401, Some(tokens), Some(token)) = (status, &target.wire.tokens, &token) {
                    tokens.forget(token);
                }
                let mut body = body.unwrap_or_default();
                body.truncate(LARGEST_ERROR);
                let headers: HeaderMap = head.headers;
                Err(target.dialect().explain(status, &headers, &body))
            }
            Err(error) => {
                tracing::debug!(cause = %error, "a provider does not upgrade");
                Err(ProviderError::broken("the connection to the provider broke before it answered"))
            }
        }
    }
}

impl Socket {
    /// The next event; none once the provider has closed. May be dropped and asked again without losing anything.
    pub async fn next(&mut self) -> Option<Result<Bytes, ProviderError>> {
        loop {
            return match self.inner.next().await? {
                Ok(Message::Text(text)) => Some(Ok(text.into())),
                Ok(Message::Close(_)) => None,
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_)) => continue,
                Ok(Message::Binary(_)) => Some(Err(ProviderError::broken("the provider sent what is no event"))),
                Err(Error::Capacity(_)) => {
                    Some(Err(ProviderError::new(Class::TooLarge, "an event of the provider is too large")))
                }
                Err(error) => {
                    tracing::debug!(cause = %error, "a conversation with a provider broke");
                    Some(Err(ProviderError::broken("the connection to the provider broke")))
                }
            };
        }
    }

    /// Sends an event, and waits until the provider's side has taken it.
    ///
    /// # Errors
    /// It is gone, or takes nothing.
    pub async fn send(&mut self, event: Bytes) -> Result<(), ProviderError> {
        let text = Utf8Bytes::try_from(event).map_err(|_| ProviderError::broken("an event must be UTF-8"))?;
        match timeout(SENDING, self.inner.send(Message::Text(text))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(ProviderError::broken("the connection to the provider broke")),
            Err(_) => Err(ProviderError::new(Class::Timeout, "the provider takes nothing more")),
        }
    }

    /// Says goodbye; waits no longer than a moment for it.
    pub async fn close(mut self) {
        let _ = timeout(Duration::from_secs(1), self.inner.close(None)).await;
    }
}
