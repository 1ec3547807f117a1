//! The client of the suites: no retries, no decoding, every header and byte to be seen.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

/// A pool of connections to one test's gateway.
#[derive(Clone)]
pub struct Http {
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Default for Http {
    fn default() -> Self {
        Http::new()
    }
}

/// A request that got no whole answer: refused, cut, or reset.
#[derive(Debug)]
pub struct Broken(pub String);

impl Http {
    /// A client with a pool of its own.
    pub fn new() -> Http {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        Http { client: Client::builder(TokioExecutor::new()).build(connector) }
    }

    /// Sends a request and hands the answer over as soon as its headers are there.
    pub async fn open(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Flow, Broken> {
        let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).expect("a method")).uri(url);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(body.into())).expect("a request that can be sent");
        let answer = self.client.request(request).await.map_err(|e| Broken(format!("{e:?}")))?;
        Ok(Flow::new(answer))
    }

    /// Sends a request and waits for its whole answer.
    pub async fn send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, Broken> {
        self.open(method, url, headers, body).await?.whole().await
    }
}

/// An answer that is still coming. Dropping it hangs up.
pub struct Flow {
    /// The HTTP status.
    pub status: u16,
    /// The answer's headers.
    pub headers: HeaderMap,
    body: Incoming,
    seen: Vec<u8>,
}

impl Flow {
    fn new(answer: Response<Incoming>) -> Flow {
        let (parts, body) = answer.into_parts();
        Flow { status: parts.status.as_u16(), headers: parts.headers, body, seen: Vec::new() }
    }

    /// The next bytes as they come; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Bytes, Broken>> {
        loop {
            match self.body.frame().await? {
                Ok(frame) => match frame.into_data() {
                    Ok(bytes) => {
                        self.seen.extend_from_slice(&bytes);
                        return Some(Ok(bytes));
                    }
                    Err(_) => continue,
                },
                Err(e) => return Some(Err(Broken(format!("{e:?}")))),
            }
        }
    }

    /// Reads on until the text so far contains `what`.
    pub async fn until(&mut self, what: &str) -> &str {
        while !String::from_utf8_lossy(&self.seen).contains(what) {
            match self.next().await {
                Some(Ok(_)) => {}
                end => panic!("no {what:?} before the end ({end:?}) of {:?}", String::from_utf8_lossy(&self.seen)),
            }
        }
        std::str::from_utf8(&self.seen).expect("UTF-8")
    }

    /// Reads the rest.
    pub async fn whole(mut self) -> Result<Answer, Broken> {
        while let Some(piece) = self.next().await {
            piece?;
        }
        Ok(Answer { status: self.status, headers: self.headers, body: self.seen.into() })
    }

    /// Reads the rest; says whether it ended as HTTP says it should.
    pub async fn drain(mut self) -> (Answer, bool) {
        let mut clean = true;
        while let Some(piece) = self.next().await {
            if piece.is_err() {
                clean = false;
                break;
            }
        }
        (Answer { status: self.status, headers: self.headers, body: self.seen.into() }, clean)
    }
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The answer's headers.
    pub headers: HeaderMap,
    /// The body, byte for byte.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(&self.body) {
            Ok(value) => value,
            Err(e) => panic!("not JSON ({e}), status {}: {}", self.status, self.text()),
        }
    }

    /// A header, if it is there once and printable.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }

    /// A header that must be there.
    #[track_caller]
    pub fn must(&self, name: &str) -> &str {
        match self.header(name) {
            Some(value) => value,
            None => panic!("no {name} on status {} {:?}: {}", self.status, self.headers, self.text()),
        }
    }

    /// The same answer, of which a status is demanded.
    #[track_caller]
    pub fn expect(self, status: u16) -> Answer {
        assert_eq!(self.status, status, "{:?} {}", self.headers, self.text());
        self
    }

    /// The `data:` of each server-sent event, in order.
    #[track_caller]
    pub fn events(&self) -> Vec<String> {
        events(&self.text())
    }

    /// The events as JSON, without the closing `[DONE]`.
    #[track_caller]
    pub fn chunks(&self) -> Vec<Value> {
        self.events()
            .iter()
            .filter(|e| *e != "[DONE]")
            .map(|e| serde_json::from_str(e).unwrap_or_else(|x| panic!("event is not JSON ({x}): {e}")))
            .collect()
    }

    /// What the model said, whatever the form of the answer (OpenAI JSON or stream, Anthropic JSON or stream).
    #[track_caller]
    pub fn said(&self) -> String {
        let stream = self.header("content-type").is_some_and(|t| t.starts_with("text/event-stream"));
        let parts = if stream { self.chunks() } else { vec![self.json()] };
        let mut said = String::new();
        for part in &parts {
            for place in ["/choices/0/message/content", "/choices/0/delta/content", "/delta/text"] {
                said.push_str(part.pointer(place).and_then(Value::as_str).unwrap_or(""));
            }
            for block in part["content"].as_array().into_iter().flatten() {
                said.push_str(block["text"].as_str().unwrap_or(""));
            }
        }
        said
    }
}

/// The `data:` of each server-sent event of a text.
pub fn events(text: &str) -> Vec<String> {
    text.replace("\r\n", "\n")
        .split("\n\n")
        .map(|event| {
            let lines: Vec<&str> = event
                .lines()
                .filter_map(|line| line.strip_prefix("data:"))
                .map(|d| d.strip_prefix(' ').unwrap_or(d))
                .collect();
            lines.join("\n")
        })
        .filter(|data| !data.is_empty())
        .collect()
}
