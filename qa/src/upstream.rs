//! A provider that does exactly as told: byte for byte, late, broken or not at all. It speaks whatever its script says;
//! without a script it answers OpenAI's chat completions and Anthropic's messages politely, streamed or whole.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Something that a script waits for and a test opens.
#[derive(Clone)]
pub struct Gate(Arc<watch::Sender<bool>>);

impl Default for Gate {
    fn default() -> Self {
        Gate::new()
    }
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Gate {
        Gate(Arc::new(watch::Sender::new(false)))
    }

    /// Lets everybody through, now and later.
    pub fn open(&self) {
        self.0.send_replace(true);
    }

    async fn pass(&self) {
        // The sender lives in `self`: waiting cannot fail.
        let _ = self.0.subscribe().wait_for(|open| *open).await;
    }
}

/// One step of an answer's body.
#[derive(Clone)]
pub enum Step {
    /// Send these bytes as one write.
    Bytes(Bytes),
    /// Wait so long.
    Pause(Duration),
    /// Wait for the test.
    Wait(Gate),
    /// Break the connection.
    Cut,
}

/// What the provider does with one request.
#[derive(Clone)]
pub struct Script {
    status: u16,
    headers: Vec<(String, String)>,
    before: Vec<Step>,
    body: Vec<Step>,
}

impl Script {
    /// An answer of any kind.
    pub fn bytes(status: u16, content_type: &str, body: impl Into<Bytes>) -> Script {
        let headers = vec![("content-type".to_owned(), content_type.to_owned())];
        Script { status, headers, before: Vec::new(), body: vec![Step::Bytes(body.into())] }
    }

    /// A JSON answer.
    pub fn json(status: u16, body: &Value) -> Script {
        Script::bytes(status, "application/json", body.to_string())
    }

    /// A provider's error as OpenAI tells it; the message is a canary that no caller may ever see.
    pub fn error(status: u16, code: &str) -> Script {
        Script::json(
            status,
            &json!({"error": {"message": PROVIDER_WORDS, "type": "server_error", "param": null, "code": code}}),
        )
    }

    /// A stream, one write an item.
    pub fn stream<T: Into<Bytes>>(items: impl IntoIterator<Item = T>) -> Script {
        let mut script = Script::bytes(200, "text/event-stream", "");
        script.body = items.into_iter().map(|item| Step::Bytes(item.into())).collect();
        script
    }

    /// Takes the request and never answers.
    pub fn hangs() -> Script {
        Script::bytes(200, "application/json", "").behind(Gate::new())
    }

    /// Breaks the connection instead of answering.
    pub fn hangs_up() -> Script {
        let mut script = Script::bytes(200, "application/json", "");
        script.before.push(Step::Cut);
        script
    }

    /// With one more header.
    pub fn header(mut self, name: &str, value: &str) -> Script {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Not before the gate opens.
    pub fn behind(mut self, gate: Gate) -> Script {
        self.before.push(Step::Wait(gate));
        self
    }

    /// Not before so much time has passed.
    pub fn after(mut self, wait: Duration) -> Script {
        self.before.push(Step::Pause(wait));
        self
    }

    /// With one more step at the end of its body.
    pub fn then(mut self, step: Step) -> Script {
        self.body.push(step);
        self
    }

    /// With all of `more`'s body after its own.
    pub fn and(mut self, more: Script) -> Script {
        self.body.extend(more.body);
        self
    }

    /// The same bytes, cut into writes of `size` bytes wherever that falls.
    pub fn split(mut self, size: usize) -> Script {
        let whole: Vec<u8> =
            self.body.iter().flat_map(|s| if let Step::Bytes(b) = s { b.to_vec() } else { Vec::new() }).collect();
        self.body = whole.chunks(size).map(|c| Step::Bytes(Bytes::copy_from_slice(c))).collect();
        self
    }
}

/// What a provider's own error texts hold; never to be seen by a caller.
pub const PROVIDER_WORDS: &str = "PROVIDER-OWN-WORDS about account acct-4711";

/// A request that arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    /// GET, POST, DELETE.
    pub method: String,
    /// The path that was asked for.
    pub path: String,
    /// The request's headers.
    pub headers: HeaderMap,
    /// The body, byte for byte.
    pub body: Bytes,
}

impl Seen {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("the gateway sends JSON")
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

#[derive(Default)]
struct Inner {
    next: Mutex<VecDeque<Script>>,
    usual: Mutex<Option<Script>>,
    fixed: Mutex<BTreeMap<String, Script>>,
    seen: Mutex<Vec<Seen>>,
    forget: Mutex<bool>,
    count: AtomicUsize,
    abandoned: AtomicUsize,
    changed: watch::Sender<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The provider. Stops when dropped.
pub struct Upstream {
    address: SocketAddr,
    inner: Arc<Inner>,
    stop: watch::Sender<bool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Upstream {
    /// Starts a provider on a free port of the loopback, on a thread of its own.
    pub fn start() -> Upstream {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let address = listener.local_addr().expect("an address");
        let inner = Arc::new(Inner::default());
        let (stop, stopped) = watch::channel(false);
        let serving = inner.clone();
        let thread = std::thread::Builder::new()
            .name("upstream".into())
            .spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                runtime.block_on(serve(listener, serving, stopped));
            })
            .expect("a thread");
        Upstream { address, inner, stop, thread: Some(thread) }
    }

    /// The base URL without a path.
    pub fn root(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The base URL as OpenAI's clients want it.
    pub fn v1(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What to do with the next request that has no script yet.
    pub fn next(&self, script: Script) {
        lock(&self.inner.next).push_back(script);
    }

    /// What to do with every request that has no script of its own.
    pub fn always(&self, script: Script) {
        *lock(&self.inner.usual) = Some(script);
    }

    /// What to do with every request for this (`GET /v1/batches/batch_1`), whatever is in line.
    pub fn at(&self, what: &str, script: Script) {
        lock(&self.inner.fixed).insert(what.to_owned(), script);
    }

    /// Polite answers again.
    pub fn behave(&self) {
        *lock(&self.inner.usual) = None;
        lock(&self.inner.next).clear();
    }

    /// Forgets the second script in line.
    pub fn drop_second(&self) {
        lock(&self.inner.next).remove(1);
    }

    /// Counts requests, but keeps none of them (for load).
    pub fn forget(&self) {
        *lock(&self.inner.forget) = true;
    }

    /// How many requests have arrived.
    pub fn count(&self) -> usize {
        self.inner.count.load(Ordering::SeqCst)
    }

    /// How many answers were dropped by the asker before their end.
    pub fn abandoned(&self) -> usize {
        self.inner.abandoned.load(Ordering::SeqCst)
    }

    /// Every request that has arrived.
    pub fn seen(&self) -> Vec<Seen> {
        lock(&self.inner.seen).clone()
    }

    /// The last request that has arrived.
    #[track_caller]
    pub fn last(&self) -> Seen {
        lock(&self.inner.seen).last().cloned().expect("the provider was asked")
    }

    /// Waits until `so` is true of this provider; fails after ten seconds.
    pub async fn until(&self, what: &str, so: impl Fn(&Upstream) -> bool) {
        let mut changes = self.inner.changed.subscribe();
        let wait = async {
            while !so(self) {
                let _ = tokio::time::timeout(Duration::from_millis(50), changes.changed()).await;
            }
        };
        assert!(tokio::time::timeout(Duration::from_secs(10), wait).await.is_ok(), "never happened: {what}");
    }

    /// Closes the port: connections are refused from now on.
    pub fn stop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn serve(listener: std::net::TcpListener, inner: Arc<Inner>, mut stopped: watch::Receiver<bool>) {
    let listener = TcpListener::from_std(listener).expect("a listener");
    let mut connections = JoinSet::new();
    loop {
        let socket = tokio::select! {
            _ = stopped.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => match accepted { Ok((socket, _)) => socket, Err(_) => continue },
        };
        let _ = socket.set_nodelay(true);
        let inner = inner.clone();
        connections.spawn(async move {
            let service = service_fn(|request| answer(inner.clone(), request));
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).half_close(false);
            let _ = server.serve_connection(TokioIo::new(socket), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

fn cut() -> std::io::Error {
    std::io::Error::new(std::io::ErrorKind::ConnectionAborted, "cut by the script")
}

async fn answer(inner: Arc<Inner>, request: Request<Incoming>) -> Result<Response<Body>, std::io::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| cut())?.to_bytes();
    let path = parts.uri.path().to_owned();
    let method = parts.method.to_string();
    let fixed = lock(&inner.fixed).get(&format!("{method} {path}")).cloned();
    let script = fixed.or_else(|| lock(&inner.next).pop_front()).or_else(|| lock(&inner.usual).clone());
    let script = script.unwrap_or_else(|| polite(&path, &body));
    if !*lock(&inner.forget) {
        lock(&inner.seen).push(Seen { method, path, headers: parts.headers, body });
    }
    inner.count.fetch_add(1, Ordering::SeqCst);
    inner.changed.send_replace(());

    let mut watched = Watched { inner, left: true };
    for step in &script.before {
        match step {
            Step::Cut => return Err(cut()),
            Step::Pause(wait) => tokio::time::sleep(*wait).await,
            Step::Wait(gate) => gate.pass().await,
            Step::Bytes(_) => {}
        }
    }
    let mut response = Response::builder().status(script.status);
    for (name, value) in &script.headers {
        response = response.header(name, value);
    }
    // A single piece goes with its length, as real servers do with JSON.
    if let [Step::Bytes(whole)] = &script.body[..] {
        watched.left = false;
        let body = http_body_util::Full::new(whole.clone()).map_err(|never: Infallible| match never {});
        return Ok(response.body(body.boxed_unsync()).expect("a response"));
    }
    let steps = stream::iter(script.body).then(|step| async move {
        match step {
            Step::Bytes(bytes) => Ok(Some(bytes)),
            Step::Pause(wait) => {
                tokio::time::sleep(wait).await;
                Ok(None)
            }
            Step::Wait(gate) => {
                gate.pass().await;
                Ok(None)
            }
            Step::Cut => {
                // Give what was written before time to leave, then break off.
                tokio::time::sleep(Duration::from_millis(20)).await;
                Err(cut())
            }
        }
    });
    let frames = steps.filter_map(|item| async move {
        match item {
            Ok(Some(bytes)) if !bytes.is_empty() => Some(Ok(Frame::data(bytes))),
            Ok(_) => None,
            Err(e) => Some(Err(e)),
        }
    });
    let body = StreamBody::new(Guarded { frames: Box::pin(frames), watched });
    Ok(response.body(body.boxed_unsync()).expect("a response"))
}

/// Counts an answer as abandoned when it is dropped before its end.
struct Watched {
    inner: Arc<Inner>,
    left: bool,
}

impl Drop for Watched {
    fn drop(&mut self) {
        if self.left {
            self.inner.abandoned.fetch_add(1, Ordering::SeqCst);
            self.inner.changed.send_replace(());
        }
    }
}

type Frames = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, std::io::Error>> + Send>>;

struct Guarded {
    frames: Frames,
    watched: Watched,
}

impl Stream for Guarded {
    type Item = Result<Frame<Bytes>, std::io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.frames.as_mut().poll_next(context);
        if matches!(next, Poll::Ready(None | Some(Err(_)))) {
            self.watched.left = false;
        }
        next
    }
}

/// What a well-behaved provider answers.
fn polite(path: &str, body: &[u8]) -> Script {
    let request: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    let stream = request["stream"] == json!(true);
    if path.ends_with("/messages") {
        return if stream {
            anthropic::stream(&["Hello", " there"], 10, 5)
        } else {
            anthropic::message("Hello there", 10, 5)
        };
    }
    if path.ends_with("/responses") {
        return if stream {
            responses::stream(&["Hello", " there"], 10, 5)
        } else {
            Script::json(200, &responses::body("Hello there", 10, 5))
        };
    }
    if !path.ends_with("/chat/completions") {
        return Script::error(404, "not_found");
    }
    if !stream {
        return openai::chat("Hello there", 10, 5);
    }
    let usage = request["stream_options"]["include_usage"] == json!(true);
    openai::stream(&["Hello", " there"], usage.then_some((10, 5)))
}

/// Answers in the words of OpenAI's Responses.
pub mod responses {
    use super::*;

    /// A whole answer's body.
    pub fn body(text: &str, input: u64, output: u64) -> Value {
        let part = json!({"type": "output_text", "annotations": [], "logprobs": [], "text": text});
        let item =
            json!({"id": "msg_1", "type": "message", "status": "completed", "role": "assistant", "content": [part]});
        let mut body = head("completed");
        body["output"] = json!([item]);
        body["usage"] = json!({
            "input_tokens": input, "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": output, "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": input + output,
        });
        body
    }

    fn head(status: &str) -> Value {
        json!({
            "id": "resp_1", "object": "response", "created_at": 1_700_000_000, "status": status, "error": null,
            "incomplete_details": null, "model": "test-chat-2026", "output": [], "parallel_tool_calls": true,
            "tool_choice": "auto", "tools": [], "usage": null,
        })
    }

    /// One event of a stream.
    pub fn event(number: usize, kind: &str, members: Value) -> Bytes {
        let mut data = json!({"type": kind, "sequence_number": number});
        data.as_object_mut().expect("an object").extend(members.as_object().cloned().unwrap_or_default());
        Bytes::from(format!("event: {kind}\ndata: {data}\n\n"))
    }

    /// The events up to, and without, the last.
    pub fn begin(words: &[&str]) -> Vec<Bytes> {
        let item =
            json!({"id": "msg_1", "type": "message", "status": "in_progress", "role": "assistant", "content": []});
        let part = json!({"type": "output_text", "annotations": [], "logprobs": [], "text": ""});
        let at = |more: Value| {
            let mut members = json!({"item_id": "msg_1", "output_index": 0, "content_index": 0});
            members.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
            members
        };
        let mut told = vec![
            ("response.created", json!({"response": head("in_progress")})),
            ("response.output_item.added", json!({"output_index": 0, "item": item})),
            ("response.content_part.added", at(json!({"part": part}))),
        ];
        told.extend(
            words.iter().map(|word| ("response.output_text.delta", at(json!({"delta": word, "logprobs": []})))),
        );
        told.into_iter().enumerate().map(|(number, (kind, members))| event(number, kind, members)).collect()
    }

    /// A whole stream.
    pub fn stream(words: &[&str], input: u64, output: u64) -> Script {
        let text = words.concat();
        let mut events = begin(words);
        let whole = body(&text, input, output);
        let place = json!({"item_id": "msg_1", "output_index": 0, "content_index": 0, "text": text, "logprobs": []});
        for (kind, members) in [
            ("response.output_text.done", place),
            ("response.output_item.done", json!({"output_index": 0, "item": whole["output"][0]})),
            ("response.completed", json!({"response": whole})),
        ] {
            events.push(event(events.len(), kind, members));
        }
        Script::stream(events)
    }
}

/// Answers in OpenAI's words.
pub mod openai {
    use super::*;

    /// A whole answer.
    pub fn chat(text: &str, input: u64, output: u64) -> Script {
        Script::json(200, &body(text, Some((input, output))))
    }

    /// A whole answer's body; without usage if none is given.
    pub fn body(text: &str, usage: Option<(u64, u64)>) -> Value {
        let mut body = json!({
            "id": "chatcmpl-1", "object": "chat.completion", "created": 1_700_000_000, "model": "test-chat-2026",
            "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}],
        });
        if let Some(usage) = usage {
            body["usage"] = self::usage(usage);
        }
        body
    }

    /// A usage object.
    pub fn usage((input, output): (u64, u64)) -> Value {
        json!({"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output})
    }

    /// One event of a stream.
    pub fn event(chunk: &Value) -> Bytes {
        Bytes::from(format!("data: {chunk}\n\n"))
    }

    /// A chunk with some content.
    pub fn delta(delta: Value, finish: Option<&str>) -> Value {
        json!({
            "id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1_700_000_000, "model": "test-chat-2026",
            "choices": [{"index": 0, "delta": delta, "finish_reason": finish}],
        })
    }

    /// A stream up to, and without, its end: role and content only.
    pub fn begin(words: &[&str]) -> Script {
        let first = delta(json!({"role": "assistant", "content": ""}), None);
        let rest = words.iter().map(|word| delta(json!({"content": word}), None));
        Script::stream(std::iter::once(first).chain(rest).map(|chunk| event(&chunk)))
    }

    /// What ends a stream: finish reason, usage if given, `[DONE]`.
    pub fn end(usage: Option<(u64, u64)>) -> Script {
        let mut items = vec![event(&delta(json!({}), Some("stop")))];
        if let Some(usage) = usage {
            let mut last = delta(json!({}), None);
            last["choices"] = json!([]);
            last["usage"] = self::usage(usage);
            items.push(event(&last));
        }
        items.push(Bytes::from_static(b"data: [DONE]\n\n"));
        Script::stream(items)
    }

    /// A whole stream.
    pub fn stream(words: &[&str], usage: Option<(u64, u64)>) -> Script {
        begin(words).and(end(usage))
    }
}

/// Answers in Anthropic's words.
pub mod anthropic {
    use super::*;

    /// A whole answer.
    pub fn message(text: &str, input: u64, output: u64) -> Script {
        Script::json(
            200,
            &json!({
                "id": "msg_1", "type": "message", "role": "assistant", "model": "test-claude-2026",
                "content": [{"type": "text", "text": text}], "stop_reason": "end_turn", "stop_sequence": null,
                "usage": {"input_tokens": input, "output_tokens": output},
            }),
        )
    }

    /// One event of a stream.
    pub fn event(value: &Value) -> Bytes {
        Bytes::from(format!("event: {}\ndata: {value}\n\n", value["type"].as_str().unwrap_or("ping")))
    }

    /// A whole stream.
    pub fn stream(words: &[&str], input: u64, output: u64) -> Script {
        let start = json!({"type": "message_start", "message": {
            "id": "msg_1", "type": "message", "role": "assistant", "model": "test-claude-2026", "content": [],
            "stop_reason": null, "stop_sequence": null, "usage": {"input_tokens": input, "output_tokens": 1}}});
        let mut items = vec![
            start,
            json!({"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}),
            json!({"type": "ping"}),
        ];
        for word in words {
            items.push(
                json!({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}}),
            );
        }
        items.push(json!({"type": "content_block_stop", "index": 0}));
        items.push(json!({"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": null},
            "usage": {"output_tokens": output}}));
        items.push(json!({"type": "message_stop"}));
        Script::stream(items.iter().map(event))
    }
}
