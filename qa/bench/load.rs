//! A closed loop: so many connections, each asking again as soon as it was answered. No two requests are alike, so that
//! nobody answers from a cache.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::upstream::WORDS;

/// So many words are in each prompt.
pub const PROMPT_WORDS: usize = 120;
/// What is still unanswered so long after the end of a span is let go, and counted as an error.
const PATIENCE: Duration = Duration::from_secs(20);
/// Where each prompt differs.
const PLACE: &[u8; 12] = b"@@@@@@@@@@@@";
/// What the first words of an answer hold.
const FIRST: &str = WORDS[0];
const DONE: &[u8] = b"[DONE]";

/// What is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Json,
    Stream,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Json => "JSON",
            Kind::Stream => "stream",
        }
    }
}

/// Who is asked, and for which model.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    pub path: String,
    pub model: String,
    pub key: String,
}

impl Target {
    /// The same place, asked for another model.
    pub fn model(&self, model: impl Into<String>) -> Target {
        Target { model: model.into(), ..self.clone() }
    }
}

/// What was measured, in microseconds.
#[derive(Default)]
pub struct Figures {
    whole: Vec<u32>,
    first: Vec<u32>,
    span: Duration,
    /// Answers that were none, and those that did not come in time.
    pub errors: usize,
    /// What the first of them was.
    pub why: Option<String>,
}

impl Figures {
    /// Whole answers.
    pub fn count(&self) -> usize {
        self.whole.len()
    }

    pub fn rate(&self) -> f64 {
        self.whole.len() as f64 / self.span.as_secs_f64()
    }

    /// Until the last byte, in milliseconds.
    pub fn whole(&self, quantile: f64) -> f64 {
        at(&self.whole, quantile) / 1_000.0
    }

    /// Until the first word of content, in milliseconds.
    pub fn first(&self, quantile: f64) -> f64 {
        at(&self.first, quantile) / 1_000.0
    }

    fn fail(&mut self, why: &str) {
        self.errors += 1;
        self.why.get_or_insert_with(|| why.to_owned());
    }

    /// More of the same run.
    pub fn add(&mut self, more: &Figures) {
        self.whole.extend(&more.whole);
        self.first.extend(&more.first);
        self.errors += more.errors;
        self.why = self.why.take().or_else(|| more.why.clone());
        self.whole.sort_unstable();
        self.first.sort_unstable();
    }
}

/// The value at a quantile of sorted values.
fn at(sorted: &[u32], quantile: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * quantile).round() as usize).copied().map_or(0.0, f64::from)
}

/// A body with a place in it that is other in each request.
#[derive(Clone)]
struct Prompt {
    bytes: Bytes,
    place: usize,
}

impl Prompt {
    fn new(kind: Kind, model: &str) -> Prompt {
        let words = "please summarise the quarterly report ".repeat(PROMPT_WORDS / 5);
        let place = std::str::from_utf8(PLACE).expect("ASCII");
        let mut body = json!({"model": model, "max_tokens": 400, "messages": [
            {"role": "system", "content": "You are a careful assistant."},
            {"role": "user", "content": format!("{words}{place}")}]});
        if kind == Kind::Stream {
            body["stream"] = json!(true);
            body["stream_options"] = json!({"include_usage": true});
        }
        let bytes = Bytes::from(body.to_string());
        let place = bytes.windows(PLACE.len()).position(|window| window == PLACE).expect("it was written");
        Prompt { bytes, place }
    }

    fn next(&self) -> Bytes {
        static ASKED: AtomicU64 = AtomicU64::new(0);
        let mut body = BytesMut::from(&self.bytes[..]);
        let mut number = ASKED.fetch_add(1, Ordering::Relaxed);
        // Letters: numbers of some length could be taken for those of a telephone or a card.
        for byte in &mut body[self.place..self.place + PLACE.len()] {
            *byte = b'a' + u8::try_from(number % 26).expect("below 26");
            number /= 26;
        }
        body.freeze()
    }
}

/// What one answer was.
struct Answer {
    whole: u32,
    first: Option<u32>,
}

/// Runs the loop for a span of time.
pub async fn run(target: &Target, kind: Kind, connections: usize, span: Duration) -> Figures {
    let until = Instant::now() + span;
    loops(target, kind, connections, until, usize::MAX, Duration::ZERO).await
}

/// So many requests one after the other on one connection, all begun within `patience`.
pub async fn ask(target: &Target, kind: Kind, times: usize, patience: Duration) -> Figures {
    loops(target, kind, 1, Instant::now() + patience, times, Duration::ZERO).await
}

/// One request on each of so many connections; they begin one after the other, all within `spread`.
pub async fn crowd(target: &Target, kind: Kind, connections: usize, spread: Duration, patience: Duration) -> Figures {
    loops(target, kind, connections, Instant::now() + patience, 1, spread).await
}

async fn loops(
    target: &Target,
    kind: Kind,
    connections: usize,
    until: Instant,
    each: usize,
    spread: Duration,
) -> Figures {
    let prompt = Prompt::new(kind, &target.model);
    let mut loops = JoinSet::new();
    let from = Instant::now();
    let apart = spread.as_secs_f64() / connections as f64;
    for index in 0..connections {
        let (target, prompt) = (target.clone(), prompt.clone());
        loops.spawn(async move {
            tokio::time::sleep(Duration::from_secs_f64(apart * index as f64)).await;
            connection(target, kind, prompt, until, each).await
        });
    }
    let mut figures = Figures::default();
    for more in loops.join_all().await {
        figures.whole.extend(more.whole);
        figures.first.extend(more.first);
        figures.errors += more.errors;
        figures.why = figures.why.or(more.why);
    }
    figures.span = from.elapsed();
    figures.whole.sort_unstable();
    figures.first.sort_unstable();
    figures
}

/// What one answer held: the value of a header, and how many words of the upstream's. Says why where it is no answer.
pub async fn probe(target: &Target, kind: Kind, header: &str) -> Result<(String, usize), String> {
    let attempt = async {
        let mut connection = Connection::open(target).await.ok_or("nobody listens")?;
        let answer = connection.send(target, Prompt::new(kind, &target.model).next()).await?;
        let status = answer.status();
        let value = answer.headers().get(header).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
        let body = answer.into_body().collect().await.map_err(|error| error.to_string())?.to_bytes();
        let text = String::from_utf8_lossy(&body);
        if status == StatusCode::OK {
            Ok((value, text.matches(FIRST).count() * WORDS.len()))
        } else {
            Err(format!("status {status}"))
        }
    };
    tokio::time::timeout(PATIENCE, attempt).await.unwrap_or_else(|_| Err("no answer in time".to_owned()))
}

async fn connection(target: Target, kind: Kind, prompt: Prompt, until: Instant, each: usize) -> Figures {
    let mut figures = Figures::default();
    let mut asked = 0;
    while Instant::now() < until && asked < each {
        let Some(mut connection) = Connection::open(&target).await else {
            figures.fail("no connection");
            asked += 1;
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        while Instant::now() < until && asked < each {
            asked += 1;
            let deadline = tokio::time::Instant::from_std(until + PATIENCE);
            match tokio::time::timeout_at(deadline, connection.ask(&target, kind, prompt.next())).await {
                Ok(Ok(answer)) => {
                    figures.whole.push(answer.whole);
                    figures.first.extend(answer.first);
                }
                Ok(Err(why)) => {
                    figures.fail(&why);
                    break;
                }
                Err(_) => {
                    figures.fail("no whole answer in time");
                    break;
                }
            }
        }
    }
    figures
}

/// One connection, and the task that drives it.
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _driver: JoinSet<hyper::Result<()>>,
}

impl Connection {
    async fn open(target: &Target) -> Option<Connection> {
        let socket = TcpStream::connect(target.address).await.ok()?;
        let _ = socket.set_nodelay(true);
        let (sender, connection) = http1::handshake(TokioIo::new(socket)).await.ok()?;
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        Some(Connection { sender, _driver: driver })
    }

    async fn send(&mut self, target: &Target, body: Bytes) -> Result<Response<Incoming>, String> {
        let request = Request::post(&target.path)
            .header("host", target.address.to_string())
            .header("authorization", format!("Bearer {}", target.key))
            .header("content-type", "application/json")
            .body(Full::new(body))
            .expect("a request");
        self.sender.ready().await.map_err(|error| error.to_string())?;
        self.sender.send_request(request).await.map_err(|error| error.to_string())
    }

    async fn ask(&mut self, target: &Target, kind: Kind, body: Bytes) -> Result<Answer, String> {
        let from = Instant::now();
        let answer = self.send(target, body).await?;
        let status = answer.status();
        let mut body = answer.into_body();
        let (mut first, mut size, mut tail) = (None, 0, Vec::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| error.to_string())?;
            let Some(data) = frame.data_ref() else { continue };
            if kind == Kind::Stream
                && first.is_none()
                && data.windows(FIRST.len()).any(|found| found == FIRST.as_bytes())
            {
                first = Some(micros(from));
            }
            size += data.len();
            tail.extend_from_slice(&data[data.len().saturating_sub(16)..]);
            let more = tail.len().saturating_sub(16);
            tail.drain(..more);
        }
        if status != StatusCode::OK {
            return Err(format!("status {status}"));
        }
        if size == 0 {
            return Err("an empty answer".to_owned());
        }
        if kind == Kind::Stream && !tail.windows(DONE.len()).any(|window| window == DONE) {
            return Err("a stream without an end".to_owned());
        }
        Ok(Answer { whole: micros(from), first })
    }
}

fn micros(from: Instant) -> u32 {
    u32::try_from(from.elapsed().as_micros()).unwrap_or(u32::MAX)
}
