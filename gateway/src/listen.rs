//! The door itself: takes connections within a bound, refuses what could be read in two ways, and lets those in flight finish.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderValue, Request, Response, StatusCode, Version, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tower::ServiceExt;

use crate::app::App;
use crate::connections::{Answering, ConnectionConfig, Connections, Seat, raise_descriptors};

/// HTTP/2 connections are asked whether they live so often.
const PING: Duration = Duration::from_secs(30);
/// A request's head: so many lines, and so many bytes. Cookies and tokens fit ten times over.
const MOST_HEADERS: usize = 100;
const LARGEST_HEAD: usize = 128 << 10;
/// Streams of one HTTP/2 connection, and those that were taken back before anybody looked at them: more end the connection.
const MOST_STREAMS: u32 = 1_024;
const MOST_RESETS: usize = 20;
/// After accepting failed (too many open files, mostly), a moment's rest.
const REST: Duration = Duration::from_millis(100);

/// Serves until `app.stopping`; then waits for the connections in flight as long as the configuration grants.
pub async fn listen(
    app: &Arc<App>,
    listener: TcpListener,
    router: Router,
    most_calls: usize,
    config: &ConnectionConfig,
) {
    let graceful = GracefulShutdown::new();
    let connections = Connections::new(config, raise_descriptors(), most_calls);
    tracing::info!(most = connections.most(), "clients may connect");
    let builder = builder(config.idle());
    let (sweeping, stopping) = (Arc::clone(&connections), app.stopping.clone());
    app.tasks.spawn(async move {
        while stopping.run_until_cancelled(tokio::time::sleep(sweeping.every())).await.is_some() {
            sweeping.sweep();
        }
    });
    loop {
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
        // Everybody who is connected is being answered: whoever comes now is better told at once than kept waiting.
        let Some(seated) = connections.enter() else { continue };
        // Small chunks of a stream must leave at once.
        let _ = stream.set_nodelay(true);
        let (builder, router, watcher) = (builder.clone(), router.clone(), graceful.watcher());
        let (tls, seat) = (app.trust.tls.clone(), Arc::clone(&seated.seat));
        app.tasks.spawn(async move {
            let served = async {
                // How a client's connection ends is the client's business.
                match tls {
                    None => drop(watcher.watch(connection(&builder, stream, peer, router, seat)).await),
                    // The handshake is the connection's own: whoever draws it out keeps nobody else waiting.
                    Some(tls) => {
                        if let Some(stream) = tls.shake(stream).await {
                            drop(watcher.watch(connection(&builder, stream, peer, router, seat)).await);
                        }
                    }
                }
            };
            tokio::select! {
                () = served => {}
                () = seated.seat.left() => {}
            }
            drop(seated);
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(app.deadlines.shutdown(), graceful.shutdown()).await;
}

/// What one connection may ask of us.
fn builder(idle: Duration) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    let timer = TokioTimer::new;
    // The time for a head runs from the end of the answer before.
    builder.http1().timer(timer()).header_read_timeout(idle).max_headers(MOST_HEADERS).max_buf_size(LARGEST_HEAD);
    let mut http2 = builder.http2();
    http2.timer(timer()).keep_alive_interval(Some(PING)).max_concurrent_streams(MOST_STREAMS);
    http2.max_pending_accept_reset_streams(MOST_RESETS).max_header_list_size(LARGEST_HEAD as u32);
    builder
}

fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    builder: &Builder<TokioExecutor>,
    stream: S,
    peer: SocketAddr,
    router: Router,
    seat: Arc<Seat>,
) -> impl hyper_util::server::graceful::GracefulConnection<Error = Box<dyn std::error::Error + Send + Sync>> + Send + 'static
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (router, busy) = (router.clone(), seat.busy());
        request.extensions_mut().insert(ConnectInfo(peer));
        async move {
            let framing = Framing::of(&request);
            let mut response = match framing {
                Framing::Twofold => refused(),
                Framing::Length | Framing::Chunks => {
                    router.oneshot(request.map(Body::new)).await.unwrap_or_else(|never: Infallible| match never {})
                }
            };
            if framing != Framing::Length {
                response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(response.map(|body| Answering::new(body, busy)))
        }
    });
    builder.serve_connection_with_upgrades(TokioIo::new(stream), service).into_owned()
}

/// How a request says where it ends.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// By its length, by having no body, or by the frames of HTTP/2.
    Length,
    /// By chunks. A proxy that saw a length as well may see another end than we do, and hyper keeps a length silent that comes after
    /// the chunks are announced: so nothing that follows on such a connection is read as a request.
    Chunks,
    /// In two ways at once.
    Twofold,
}

impl Framing {
    fn of(request: &Request<Incoming>) -> Framing {
        let headers = request.headers();
        if request.version() > Version::HTTP_11 || !headers.contains_key(header::TRANSFER_ENCODING) {
            return Framing::Length;
        }
        let mut codings = headers.get_all(header::TRANSFER_ENCODING).iter();
        let plain = codings.next().is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"chunked"));
        let only = plain && codings.next().is_none() && request.version() == Version::HTTP_11;
        if only && !headers.contains_key(header::CONTENT_LENGTH) { Framing::Chunks } else { Framing::Twofold }
    }
}

fn refused() -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::BAD_REQUEST;
    response
}
