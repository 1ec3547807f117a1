//! How many tokens a conversation has, by our own tokenizer: never forwarded, so it costs nothing; but for valid keys and models that
//! they may use, and within their requests per minute.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::http::header;
use bytes::Bytes;
use providers::{BadRequest, ModelRequest, Outside, Shape};

use super::models::{allowed, known};
use crate::app::App;
use crate::parse::{on_this_thread_if_small, receive};
use crate::refusal::Refusal;

/// A whole body has so long.
const BODY_TOTAL: Duration = Duration::from_secs(60);

/// Counts what `unwrapped` takes out of the body.
pub(super) async fn count(
    app: &Arc<App>,
    shape: Shape,
    outside: Outside,
    peer: ConnectInfo<SocketAddr>,
    request: Request,
    unwrapped: fn(Bytes) -> Result<Bytes, BadRequest>,
) -> Result<u64, Refusal> {
    let _place = Arc::clone(&app.places).try_acquire_owned().map_err(|_| Refusal::Overloaded)?;
    let (head, body) = request.into_parts();
    let (snapshot, caller) = known(app, peer, &head.headers, shape)?;
    app.limits.question_alone(&caller, app.clock().now()).await?;
    let length = head.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    let idle = app.connections.body_idle();
    let whole = receive(body, length, app.limits.max_body_bytes(), &app.bodies, idle);
    let (bytes, _room) = tokio::time::timeout(BODY_TOTAL.min(app.connections.body()), whole)
        .await
        .map_err(|_| Refusal::BodyStalled)??;
    on_this_thread_if_small(bytes.len(), || {
        let asked = unwrapped(bytes).and_then(|bytes| ModelRequest::parse_with(shape, bytes, outside));
        let asked = asked.map_err(Refusal::BadRequest)?;
        let targets = allowed(&snapshot, &caller, asked.model())?;
        let unknown = || Refusal::UnknownModel { model: asked.model().to_owned() };
        targets.first().map(|target| target.count_input(&asked)).ok_or_else(unknown)
    })
}
