//! A scripted provider of realtime conversations, and a client of them: events over WebSockets, as JSON.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};

/// What a response of [`Provider`] is billed: 10 tokens in, 5 out, all of text.
pub const USAGE: (u64, u64) = (10, 5);

/// What the provider saw.
#[derive(Default)]
struct Seen {
    heads: Vec<(String, String)>,
    events: Vec<Value>,
}

/// Answers `response.create` at once with "Hello there"; after an item that says "go on" it speaks until it is cancelled, and is then
/// billed 10 tokens in and as many out as it said. An item that says "unasked" begins a response that nobody asked for; after one that
/// says "break" the connection breaks off in the middle of a response.
pub struct Provider {
    port: u16,
    seen: Arc<Mutex<Seen>>,
    server: JoinHandle<()>,
}

impl Drop for Provider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Provider {
    /// Starts it.
    pub async fn start() -> Provider {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let seen = Arc::new(Mutex::new(Seen::default()));
        let sees = Arc::clone(&seen);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(converse(stream, Arc::clone(&sees)));
            }
        });
        Provider { port, seen, server }
    }

    /// Its base URL.
    pub fn v1(&self) -> String {
        format!("http://127.0.0.1:{}/v1", self.port)
    }

    /// Path and key of every conversation.
    pub fn heads(&self) -> Vec<(String, String)> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).heads.clone()
    }

    /// Every event that came.
    pub fn events(&self) -> Vec<Value> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).events.clone()
    }

    /// Those of a kind.
    pub fn of(&self, kind: &str) -> Vec<Value> {
        self.events().into_iter().filter(|it| it["type"] == kind).collect()
    }
}

#[expect(clippy::result_large_err, reason = "the handshake's own type")]
async fn converse(stream: TcpStream, seen: Arc<Mutex<Seen>>) {
    let note = |kept: &mut Seen, request: &Request| {
        let key = request.headers().get("authorization").and_then(|it| it.to_str().ok()).unwrap_or_default();
        kept.heads.push((request.uri().to_string(), key.to_owned()));
    };
    let shaken = tokio_tungstenite::accept_hdr_async(stream, |request: &Request, response: Response| {
        note(&mut seen.lock().unwrap_or_else(PoisonError::into_inner), request);
        Ok::<Response, ErrorResponse>(response)
    });
    let Ok(mut socket) = shaken.await else { return };
    let session = json!({"type": "session.created", "session": {"type": "realtime", "model": "test-voice"}});
    if say(&mut socket, session).await.is_err() {
        return;
    }
    let (mut mood, mut number) = (String::new(), 0_u64);
    let mut endless: Option<(String, u64)> = None;
    loop {
        let heard = tokio::select! {
            heard = socket.next() => heard,
            () = tokio::time::sleep(Duration::from_millis(20)), if endless.is_some() => {
                if let Some((id, said)) = &mut endless {
                    *said += 10;
                    let more = json!({"type": "response.output_text.delta", "response_id": id, "delta": "and on it goes and on and on an"});
                    if say(&mut socket, more).await.is_err() {
                        return;
                    }
                }
                continue;
            }
        };
        let Some(Ok(Message::Text(text))) = heard else {
            if matches!(heard, Some(Ok(Message::Ping(_) | Message::Pong(_)))) {
                continue;
            }
            return;
        };
        let event: Value = serde_json::from_str(&text).expect("an event is JSON");
        seen.lock().unwrap_or_else(PoisonError::into_inner).events.push(event.clone());
        let kind = event["type"].as_str().unwrap_or_default().to_owned();
        let mut begins = kind == "response.create";
        let mut answers = Vec::new();
        match &*kind {
            "session.update" => answers.push(json!({"type": "session.updated", "session": event["session"]})),
            "conversation.item.create" => {
                mood = event["item"]["content"][0]["text"].as_str().unwrap_or_default().to_owned();
                answers.push(json!({"type": "conversation.item.added", "item": event["item"]}));
                begins = mood.contains("unasked");
            }
            "response.cancel" => {
                if let Some((id, said)) = endless.take() {
                    answers.push(done(&id, "cancelled", (USAGE.0, said)));
                }
            }
            _ => {}
        }
        if begins {
            number += 1;
            let id = format!("resp_{number}");
            answers.push(json!({"type": "response.created", "response": {"id": id, "status": "in_progress"}}));
            if mood.contains("go on") {
                endless = Some((id, 0));
            } else {
                for delta in ["Hello", " there"] {
                    answers.push(json!({"type": "response.output_text.delta", "response_id": id, "delta": delta}));
                }
                if !mood.contains("break") {
                    answers.push(done(&id, "completed", USAGE));
                }
            }
        }
        for answer in answers {
            if say(&mut socket, answer).await.is_err() {
                return;
            }
        }
        if begins && mood.contains("break") {
            return;
        }
    }
}

fn done(id: &str, status: &str, (input, output): (u64, u64)) -> Value {
    json!({"type": "response.done", "response": {"id": id, "status": status, "usage": {
        "total_tokens": input + output, "input_tokens": input, "output_tokens": output,
        "input_token_details": {"text_tokens": input, "audio_tokens": 0, "cached_tokens": 0},
        "output_token_details": {"text_tokens": output, "audio_tokens": 0}}}})
}

async fn say(socket: &mut WebSocketStream<TcpStream>, event: Value) -> Result<(), Error> {
    socket.send(Message::text(event.to_string())).await
}

/// A client in a conversation.
pub struct Conversation {
    socket: WebSocketStream<TcpStream>,
    /// The head of the answer to the upgrade.
    pub head: http::HeaderMap,
}

/// An upgrade that was refused.
#[derive(Debug)]
pub struct NoUpgrade {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: Value,
}

impl Conversation {
    /// Opens a conversation.
    ///
    /// # Errors
    /// The refusal, as a plain answer.
    pub async fn open(url: &str, model: &str, headers: &[(&str, &str)]) -> Result<Conversation, NoUpgrade> {
        let host = url.trim_start_matches("http://");
        let mut request =
            format!("ws://{host}/v1/realtime{model}").into_client_request().expect("an address of a WebSocket");
        for (name, value) in headers {
            let name: http::HeaderName = name.parse().expect("a header's name");
            request.headers_mut().insert(name, value.parse().expect("a header's value"));
        }
        let stream = TcpStream::connect(host).await.expect("a connection");
        let config = WebSocketConfig::default();
        match tokio_tungstenite::client_async_with_config(request, stream, Some(config)).await {
            Ok((socket, response)) => Ok(Conversation { socket, head: response.headers().clone() }),
            Err(Error::Http(answer)) => {
                let (head, body) = answer.into_parts();
                let body = serde_json::from_slice(&body.unwrap_or_default()).unwrap_or_default();
                Err(NoUpgrade { status: head.status.as_u16(), headers: head.headers, body })
            }
            Err(error) => panic!("no upgrade, and no refusal: {error}"),
        }
    }

    /// Sends an event.
    pub async fn say(&mut self, event: Value) {
        say(&mut self.socket, event).await.expect("the event is taken");
    }

    /// Says a text, and asks for a response.
    pub async fn ask(&mut self, text: &str) {
        self.item(text).await;
        self.say(json!({"type": "response.create"})).await;
    }

    /// Says a text.
    pub async fn item(&mut self, text: &str) {
        let content = json!([{"type": "input_text", "text": text}]);
        let item = json!({"type": "message", "role": "user", "content": content});
        self.say(json!({"type": "conversation.item.create", "item": item})).await;
    }

    /// The next event, or the code that the conversation was closed with.
    pub async fn next(&mut self) -> Result<Value, Option<u16>> {
        loop {
            let heard =
                tokio::time::timeout(Duration::from_secs(20), self.socket.next()).await.expect("an event in time");
            return match heard {
                Some(Ok(Message::Text(text))) => Ok(serde_json::from_str(&text).expect("an event is JSON")),
                Some(Ok(Message::Close(frame))) => Err(frame.map(|it| it.code.into())),
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => Err(None),
            };
        }
    }

    /// Reads up to the next event of this kind.
    pub async fn until(&mut self, kind: &str) -> Value {
        loop {
            match self.next().await {
                Ok(event) if event["type"] == kind => return event,
                Ok(_) => {}
                Err(code) => panic!("closed with {code:?} before {kind}"),
            }
        }
    }

    /// Reads to the end: the code that it was closed with.
    pub async fn closed(&mut self) -> Option<u16> {
        loop {
            if let Err(code) = self.next().await {
                return code;
            }
        }
    }

    /// Leaves as a client should.
    pub async fn leave(mut self) {
        let _ = self.socket.close(None).await;
    }
}
