//! An upstream that costs as little as possible: two answers, made once.

use std::convert::Infallible;
use std::net::SocketAddr;

use bytes::Bytes;
use futures_util::stream;
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
const CHUNKS: usize = 20;

/// The upstream, on a thread of its own until the process ends.
pub struct Fast(SocketAddr);

#[derive(Clone)]
struct Answers {
    json: Bytes,
    stream: Vec<Bytes>,
}

impl Fast {
    /// Starts it.
    pub fn start() -> Fast {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket that does not block");
        let address = listener.local_addr().expect("an address");
        let text = "word ".repeat(CHUNKS);
        let usage = (150, CHUNKS as u64);
        let mut stream: Vec<Bytes> =
            (0..CHUNKS).map(|_| openai::event(&openai::delta(json!({"content": "word "}), None))).collect();
        stream.push(openai::event(&openai::delta(json!({}), Some("stop"))));
        let last = json!({"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [],
            "usage": openai::usage(usage)});
        stream.push(openai::event(&last));
        stream.push(Bytes::from_static(b"data: [DONE]\n\n"));
        let answers = Answers { json: openai::body(&text, Some(usage)).to_string().into(), stream };
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(serve(listener, answers));
        });
        Fast(address)
    }

    pub fn address(&self) -> SocketAddr {
        self.0
    }

    pub fn v1(&self) -> String {
        format!("http://{}/v1", self.0)
    }
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
    let body = request.into_body().collect().await.map(|b| b.to_bytes()).unwrap_or_default();
    let wants_stream = body.windows(13).any(|w| w == b"\"stream\":true");
    let (kind, body) = match wants_stream {
        false => ("application/json", Full::new(answers.json).boxed_unsync()),
        true => {
            let frames = answers.stream.into_iter().map(|chunk| Ok(Frame::data(chunk)));
            ("text/event-stream", StreamBody::new(stream::iter(frames)).boxed_unsync())
        }
    };
    Ok(Response::builder().header("content-type", kind).body(body).expect("a response"))
}
