//! The one outbound client: pooled connections, deadlines, bounds. Answers are pulled, so a slow client holds the provider back;
//! dropping an answer drops its connection, which is how a provider learns that nobody listens.

mod answer;
mod batches;
pub(crate) mod connect;
mod count;
mod list;
mod socket;
mod token;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, Request};
use http_body_util::Full;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout};
use url::Url;

pub use answer::Answer;
pub use batches::Content;
pub use socket::Socket;

use crate::error::{Class, ProviderError, Retry};
use crate::fleet::Target;
use crate::gather::gather;
use crate::request::ModelRequest;
use crate::sim;
use crate::way::Way;
use answer::Source;
use connect::{Connector, Served};

/// So much of an error's body is read, to sort it.
const LARGEST_ERROR: usize = 64 << 10;

/// How long to wait.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// For a connection, TLS included.
    pub connect: Duration,
    /// From sending to the answer's head, where a stream is asked for.
    pub first_byte: Duration,
    /// From sending to the answer's head, where none is: a whole answer is made before its head is sent.
    pub whole: Duration,
    /// Between two pieces of the answer.
    pub idle: Duration,
}

impl Default for Deadlines {
    fn default() -> Deadlines {
        Deadlines {
            connect: Duration::from_secs(5),
            first_byte: Duration::from_secs(60),
            whole: Duration::from_secs(300),
            idle: Duration::from_secs(60),
        }
    }
}

/// Connections that are kept for later calls.
pub(crate) type Pool = Client<Connector, Full<Bytes>>;

/// The client. Cheap to clone.
#[derive(Clone)]
pub struct Outbound {
    /// On the plain way.
    plain: Pool,
    deadlines: Arc<ArcSwap<Deadlines>>,
    /// Rests of keys are measured from here.
    began: tokio::time::Instant,
}

impl Outbound {
    /// A client with a connection pool.
    pub fn new(deadlines: Deadlines) -> Outbound {
        let live = Arc::new(ArcSwap::from_pointee(deadlines));
        Outbound { plain: pool(None, deadlines.connect), deadlines: live, began: tokio::time::Instant::now() }
    }

    /// From now on it waits so long, with the connections that it has. The time to connect stays what it was.
    pub fn wait(&self, deadlines: Deadlines) {
        self.deadlines.store(Arc::new(deadlines));
    }

    fn deadlines(&self) -> Deadlines {
        **self.deadlines.load()
    }

    /// The connections on this way.
    fn client<'a>(&'a self, way: Option<&'a Arc<Way>>) -> &'a Pool {
        way.map_or(&self.plain, |way| way.pool(|| pool(Some(way), self.deadlines().connect)))
    }

    /// Sends, and waits for the answer's head. `cap` is the output cap per choice. An error's `retry` says whether to try elsewhere;
    /// telling [`crate::Health`] is the caller's part.
    pub async fn send(&self, target: &Arc<Target>, request: &ModelRequest, cap: u64) -> Result<Answer, ProviderError> {
        let patience = if request.stream() { self.deadlines().first_byte } else { self.deadlines().whole };
        let asked = Asked { request, sent: request, cap, patience };
        match &target.wire.base_url {
            None => self.simulate(target, asked).await,
            Some(base_url) => self.ask(target, base_url, asked).await,
        }
    }

    /// The same for a caller who wants JSON, asked of the provider as a stream: the tokens are seen as they come, the caller gets the
    /// whole answer at its end.
    pub async fn gather(
        &self,
        target: &Arc<Target>,
        request: &ModelRequest,
        cap: u64,
    ) -> Result<Answer, ProviderError> {
        if !target.can_gather(request) {
            return self.send(target, request, cap).await;
        }
        let (streamed, patience) = (request.streamed(), self.deadlines().first_byte);
        let asked = Asked { request, sent: &streamed, cap, patience };
        match &target.wire.base_url {
            None => self.simulate(target, asked).await,
            Some(base_url) => self.ask(target, base_url, asked).await,
        }
    }

    /// Milliseconds of a clock that does not run backwards.
    pub(crate) fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    async fn ask(&self, target: &Arc<Target>, base_url: &Url, asked: Asked<'_>) -> Result<Answer, ProviderError> {
        let token = self.token(target).await?;
        let key = target.wire.keys.pick(self.now());
        let aim = target.aim(base_url, asked.cap, key.as_deref(), wall_clock()).with_token(token.as_ref());
        let encoded = target.dialect().encode(asked.sent, &aim)?;
        let mut call = Request::new(Full::new(encoded.body));
        *call.method_mut() = encoded.method;
        *call.uri_mut() = encoded.url.as_str().parse().map_err(|_| {
            ProviderError::new(Class::Misconfigured, format!("the base_url of {} cannot be called", target.provider))
        })?;
        *call.headers_mut() = encoded.headers;
        asked.sent.put_trace(call.headers_mut());
        call.headers_mut()
            .entry(USER_AGENT)
            .or_insert(HeaderValue::from_static(concat!("alfred/", env!("CARGO_PKG_VERSION"))));

        let response = timeout(asked.patience, self.client(target.wire.way.as_ref()).request(call))
            .await
            .map_err(|_| ProviderError::new(Class::Timeout, "the provider did not begin to answer in time"))?
            .map_err(|e| failed(&e))?;
        let (head, body) = response.into_parts();
        Served::note(&head.extensions);
        if let (401, Some(tokens), Some(token)) = (head.status.as_u16(), &target.wire.tokens, &token) {
            tokens.forget(token);
        }
        let source = Source::Network(body);
        let begun = self.begin(target, asked, head.status.as_u16(), &head.headers, source).await;
        begun
            .inspect(|_| target.wire.keys.served(key.as_ref()))
            .map_err(|error| target.wire.keys.refused(key.as_ref(), error, self.now()))
    }

    async fn simulate(&self, target: &Arc<Target>, asked: Asked<'_>) -> Result<Answer, ProviderError> {
        let nowhere = Url::parse("http://sim.invalid/v1").expect("an address");
        let encoded =
            target.dialect().encode(asked.sent, &target.aim(&nowhere, asked.cap, None, SystemTime::UNIX_EPOCH))?;
        let script = match asked.sent.shape().is_chat() {
            true => sim::answer(&target.model, &encoded.body),
            false => sim::answer_task(&target.model, asked.sent),
        };
        if script.ending == sim::Ending::Silent {
            tokio::time::sleep(asked.patience).await;
            return Err(ProviderError::new(Class::Timeout, "the provider did not begin to answer in time"));
        }
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(script.content_type));
        script.retry_after.map(|it| headers.insert(RETRY_AFTER, HeaderValue::from_static(it)));
        self.begin(target, asked, script.status, &headers, Source::scripted(script)).await
    }

    async fn begin(
        &self,
        target: &Arc<Target>,
        asked: Asked<'_>,
        status: u16,
        headers: &HeaderMap,
        mut source: Source,
    ) -> Result<Answer, ProviderError> {
        if !(200..300).contains(&status) {
            let body = source.at_most(LARGEST_ERROR, self.deadlines().idle).await;
            return Err(target.dialect().explain(status, headers, &body));
        }
        // Nobody asked for that, and nobody here could read it on its way through.
        if headers.get(CONTENT_ENCODING).is_some_and(|it| !it.as_bytes().eq_ignore_ascii_case(b"identity")) {
            return Err(ProviderError::broken("the provider compressed its answer, unasked"));
        }
        let content_type = headers.get(CONTENT_TYPE).and_then(|it| it.to_str().ok()).unwrap_or_default();
        let (dialect, idle) = (target.dialect(), self.deadlines().idle);
        // What keeps a connection alive is no answer: some providers send it for minutes, and a broken one for ever.
        let begins_by = Instant::now() + self.deadlines().whole;
        if asked.sent.stream() == asked.request.stream() {
            let decoder = dialect.decoder(asked.request, content_type);
            return Ok(Answer::new(status, source, decoder, idle).that_begins_by(begins_by));
        }
        let gather = gather(dialect, asked.request, asked.sent, content_type)?;
        Ok(Answer::new(status, source, gather, idle).event_by_event().that_begins_by(begins_by))
    }
}

fn pool(way: Option<&Way>, deadline: Duration) -> Pool {
    Client::builder(TokioExecutor::new())
        .pool_idle_timeout(Duration::from_secs(60))
        .pool_max_idle_per_host(512)
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .http2_adaptive_window(true)
        .http2_keep_alive_interval(Duration::from_secs(30))
        .http2_keep_alive_timeout(Duration::from_secs(20))
        .build(Connector::new(way, deadline))
}

/// Signatures carry the time; dialects are handed it.
#[expect(clippy::disallowed_methods, reason = "this is the rim where the one outbound client acts")]
fn wall_clock() -> SystemTime {
    SystemTime::now()
}

/// What is asked, and how.
#[derive(Clone, Copy)]
struct Asked<'a> {
    /// As the caller wants it.
    request: &'a ModelRequest,
    /// As it is sent: the same, or asking for a stream.
    sent: &'a ModelRequest,
    cap: u64,
    patience: Duration,
}

/// What a failed exchange means. The cause is logged, without the request.
fn failed(error: &hyper_util::client::legacy::Error) -> ProviderError {
    tracing::debug!(cause = %chain(error), "a provider cannot be reached");
    if error.is_connect() {
        return ProviderError::new(Class::Connect, "the provider cannot be reached");
    }
    let mut failure = ProviderError::broken("the connection to the provider broke before it answered");
    // Cancelled: it was never sent. Incomplete on a pooled connection: most likely the provider was just closing it. On a fresh
    // one the provider may have run the request and bill it, so it is not asked twice.
    let cause = std::error::Error::source(error).and_then(|it| it.downcast_ref::<hyper::Error>());
    let grown_old = || Served::before(error.connect_info());
    if cause.is_some_and(|it| it.is_canceled() || (it.is_incomplete_message() && grown_old())) {
        failure.retry = Retry::Here;
    }
    failure
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        out.push_str(": ");
        out.push_str(&cause.to_string());
        source = cause.source();
    }
    out
}

#[cfg(test)]
mod tests;
