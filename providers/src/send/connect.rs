//! Connections: TCP without delay, through a proxy where there is one, TLS by rustls, and one deadline over all of it.
//! Each remembers whether it has answered before: only then may its breaking off mean that it had merely grown old.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Extensions, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::client::legacy::connect::proxy::Tunnel;
use hyper_util::client::legacy::connect::{Connected, Connection, HttpConnector};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tower::Service;

use crate::proxy::Proxy;
use crate::way::Way;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Whether a connection has answered before. Travels with the answers and errors of the connection.
#[derive(Clone, Default)]
pub(super) struct Served(Arc<AtomicBool>);

impl Served {
    /// Notes, from an answer's extensions, that its connection has served.
    pub(super) fn note(extensions: &Extensions) {
        if let Some(served) = extensions.get::<Served>() {
            served.0.store(true, Ordering::Relaxed);
        }
    }

    /// Whether the connection that failed had served before; false where that is not known.
    pub(super) fn before(connection: Option<&Connected>) -> bool {
        let mut extensions = Extensions::new();
        if let Some(connection) = connection {
            connection.get_extras(&mut extensions);
        }
        extensions.get::<Served>().is_some_and(|served| served.0.load(Ordering::Relaxed))
    }
}

/// A connection and its memory.
pub(crate) struct Stream {
    inner: MaybeHttpsStream<TokioIo<TcpStream>>,
    served: Served,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.inner.connected().extra(self.served.clone())
    }
}

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
}

/// Connects within a deadline.
#[derive(Clone)]
pub(crate) struct Connector {
    inner: HttpsConnector<Tcp>,
    deadline: Duration,
}

impl Connector {
    /// On this way, or the plain one.
    pub(crate) fn new(way: Option<&Way>, deadline: Duration) -> Connector {
        Connector::speaking(way, deadline, true)
    }

    /// For HTTP/1.1 alone.
    pub(crate) fn of_old(way: Option<&Way>, deadline: Duration) -> Connector {
        Connector::speaking(way, deadline, false)
    }

    fn speaking(way: Option<&Way>, deadline: Duration, newer: bool) -> Connector {
        let mut direct = HttpConnector::new();
        direct.set_nodelay(true);
        direct.enforce_http(false);
        direct.set_keepalive(Some(Duration::from_secs(60)));
        let tcp = Tcp { direct, proxy: way.and_then(|it| it.proxy.clone()) };
        let builder = match way {
            Some(way) => HttpsConnectorBuilder::new().with_tls_config(way.tls.clone()),
            None => HttpsConnectorBuilder::new()
                .with_provider_and_webpki_roots(rustls::crypto::aws_lc_rs::default_provider())
                .expect("aws-lc-rs offers the default protocol versions"),
        };
        let builder = builder.https_or_http();
        let builder = match way.and_then(|it| it.server_name.clone()) {
            Some(name) => builder.with_server_name_resolver(FixedServerNameResolver::new(name)),
            None => builder,
        };
        let speaks = builder.enable_http1();
        let inner = if newer { speaks.enable_http2().wrap_connector(tcp) } else { speaks.wrap_connector(tcp) };
        Connector { inner, deadline }
    }
}

/// Bare connections: straight, or through a proxy.
#[derive(Clone)]
struct Tcp {
    direct: HttpConnector,
    proxy: Option<Arc<Proxy>>,
}

impl Service<Uri> for Tcp {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.direct.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let Some(proxy) = self.proxy.as_ref().filter(|it| it.covers(&uri)) else {
            let connecting = self.direct.call(uri);
            return Box::pin(async move { Ok(connecting.await?) });
        };
        let tunnel = Tunnel::new(proxy.address.clone(), self.direct.clone());
        let authorization = proxy.authorization();
        Box::pin(async move {
            let mut tunnel = match authorization? {
                Some(shown) => tunnel.with_auth(shown),
                None => tunnel,
            };
            Ok(tunnel.call(uri).await?)
        })
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.inner.call(uri);
        let deadline = self.deadline;
        Box::pin(async move {
            match tokio::time::timeout(deadline, connecting).await {
                Ok(connected) => connected.map(|inner| Stream { inner, served: Served::default() }),
                Err(_) => Err("no connection within the deadline".into()),
            }
        })
    }
}
