//! The door itself: takes connections within a bound, gives each a deadline for its head, and lets those in flight finish.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tower::ServiceExt;

use crate::app::App;

/// A request's head must be there within so long.
const HEAD: Duration = Duration::from_secs(30);
/// Connections beyond the calls that may be in flight: idle ones, and those that are turned away.
const SPARE: usize = 4_096;
/// After accepting failed (too many open files, mostly), a moment's rest.
const REST: Duration = Duration::from_millis(100);

/// Serves until `app.stopping`; then waits for the connections in flight as long as the configuration grants.
pub async fn listen(app: &Arc<App>, listener: TcpListener, router: Router, most_calls: usize) {
    let graceful = GracefulShutdown::new();
    let places = Arc::new(Semaphore::new(most_calls.saturating_add(SPARE).min(Semaphore::MAX_PERMITS)));
    let mut builder = Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(Some(HEAD)).max_concurrent_streams(1_024);
    loop {
        // The connection waits in the system's queue until there is a place for it.
        let place = tokio::select! {
            place = Arc::clone(&places).acquire_owned() => place,
            () = app.stopping.cancelled() => break,
        };
        let Ok(place) = place else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = app.stopping.cancelled() => break,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(REST).await;
                continue;
            }
        };
        // Small chunks of a stream must leave at once.
        let _ = stream.set_nodelay(true);
        let (builder, router, watcher) = (builder.clone(), router.clone(), graceful.watcher());
        let tls = app.trust.tls.clone();
        app.tasks.spawn(async move {
            // How a client's connection ends is the client's business.
            match tls {
                None => drop(watcher.watch(connection(&builder, stream, peer, router)).await),
                // The handshake is the connection's own: whoever draws it out keeps nobody else waiting.
                Some(tls) => {
                    if let Some(stream) = tls.shake(stream).await {
                        drop(watcher.watch(connection(&builder, stream, peer, router)).await);
                    }
                }
            }
            drop(place);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(app.deadlines.shutdown(), graceful.shutdown()).await;
}

fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    builder: &Builder<TokioExecutor>,
    stream: S,
    peer: SocketAddr,
    router: Router,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = Box<dyn std::error::Error + Send + Sync>> + Send + 'static
{
    let service = router.map_request(move |mut request: axum::http::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(peer));
        request.map(axum::body::Body::new)
    });
    builder.serve_connection_with_upgrades(TokioIo::new(stream), TowerToHyperService::new(service)).into_owned()
}
