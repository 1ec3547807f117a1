//! An upstream that costs as little as possible: answers made once. Below `/v1` it answers at once, below `/slow/v1` a
//! chunk every tenth of a second, below `/broken/v1` with 500.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Request, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use qa::upstream::openai;
use serde_json::json;
use tokio::task::JoinSet;

/// Content chunks of a stream.
pub const CHUNKS: usize = 200;
/// Words of an answer that is not streamed.
pub const JSON_WORDS: usize = 20;
/// What an answer says, over and over: one of the peers breaks a stream off that repeats the same chunk a hundred times.
pub const WORDS: [&str; 5] = ["word", "of", "the", "quarterly", "report"];
/// Between the chunks of a slow stream.
pub const PAUSE: Duration = Duration::from_millis(100);

/// The upstream, on a thread of its own until the process ends.
pub struct Fast(SocketAddr);

#[derive(Clone)]
struct Answers {
    json: Bytes,
    stream: Vec<Bytes>,
    /// Content chunks of a slow stream, then its end.
    slow: Vec<Bytes>,
}

impl Fast {
    /// Starts it; slow streams have so many chunks.
    pub fn start(slow_chunks: usize) -> Fast {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let address = listener.local_addr().expect("an address");
        let text: String = words(JSON_WORDS).collect();
        let answers = Answers {
            json: openai::body(&text, Some((150, JSON_WORDS as u64))).to_string().into(),
            stream: chunks(CHUNKS),
            slow: chunks(slow_chunks),
        };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(serve(listener, answers));
        });
        Fast(address)
    }

    pub fn address(&self) -> SocketAddr {
        self.0
    }

    /// The base URL of a way to answer: none, `slow` or `broken`.
    pub fn v1(&self, way: &str) -> String {
        let slash = if way.is_empty() { "" } else { "/" };
        format!("http://{}{slash}{way}/v1", self.0)
    }
}

fn words(many: usize) -> impl Iterator<Item = String> {
    WORDS.into_iter().cycle().take(many).map(|word| format!("{word} "))
}

fn chunks(content: usize) -> Vec<Bytes> {
    let mut stream: Vec<Bytes> =
        words(content).map(|word| openai::event(&openai::delta(json!({"content": word}), None))).collect();
    let last = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [],
        "usage": openai::usage((150, content as u64))});
    stream.push(openai::event(&openai::delta(json!({}), Some("stop"))));
    stream.push(openai::event(&last));
    stream.push(Bytes::from_static(b"data: [DONE]\n\n"));
    stream
}

async fn serve(listener: std::net::TcpListener, answers: Answers) {
    let listener = tokio::net::TcpListener::from_std(listener).expect("a listener");
    let mut connections = JoinSet::new();
    loop {
        let Ok((socket, _)) = listener.accept().await else { continue };
        let _ = socket.set_nodelay(true);
        let answers = answers.clone();
        connections.spawn(async move {
            let service = service_fn(|request| answer(answers.clone(), request));
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
        while connections.try_join_next().is_some() {}
    }
}

type Body = UnsyncBoxBody<Bytes, Infallible>;

async fn answer(answers: Answers, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    if head.uri.path().starts_with("/broken/") {
        let error = r#"{"error":{"message":"broken","type":"server_error","param":null,"code":null}}"#;
        let answer = Response::builder().status(500).header("content-type", "application/json");
        return Ok(answer.body(Full::new(Bytes::from_static(error.as_bytes())).boxed_unsync()).expect("a response"));
    }
    let wants_stream = std::str::from_utf8(&body)
        .is_ok_and(|body| body.contains("\"stream\":true") || body.contains("\"stream\": true"));
    let (kind, body) = match wants_stream {
        false => ("application/json", Full::new(answers.json).boxed_unsync()),
        true if head.uri.path().starts_with("/slow/") => {
            let last = answers.slow.len() - 3;
            let frames = stream::iter(answers.slow.into_iter().enumerate()).then(move |(index, chunk)| async move {
                // The end comes with the last chunk.
                if index > 0 && index < last {
                    tokio::time::sleep(PAUSE).await;
                }
                Ok(Frame::data(chunk))
            });
            ("text/event-stream", StreamBody::new(frames).boxed_unsync())
        }
        true => {
            let frames = answers.stream.into_iter().map(|chunk| Ok(Frame::data(chunk)));
            ("text/event-stream", StreamBody::new(stream::iter(frames)).boxed_unsync())
        }
    };
    Ok(Response::builder().header("content-type", kind).body(body).expect("a response"))
}
