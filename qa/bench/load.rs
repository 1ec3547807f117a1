//! A closed loop: so many connections, each asking again as soon as it was answered.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

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

/// Who is asked.
#[derive(Clone)]
pub struct Target {
    pub address: SocketAddr,
    pub model: String,
    pub key: String,
}

/// What was measured, in microseconds.
pub struct Figures {
    whole: Vec<u32>,
    first: Vec<u32>,
    span: Duration,
    /// Answers that were none.
    pub errors: usize,
}

impl Figures {
    pub fn rate(&self) -> f64 {
        self.whole.len() as f64 / self.span.as_secs_f64()
    }

    /// Until the last byte.
    pub fn whole(&self, quantile: f64) -> f64 {
        at(&self.whole, quantile)
    }

    /// Until the first byte of content.
    pub fn first(&self, quantile: f64) -> f64 {
        at(&self.first, quantile)
    }
}

/// The value at a quantile of sorted values.
pub fn at(sorted: &[u32], quantile: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((last as f64 * quantile).round() as usize).copied().map_or(0.0, f64::from)
}

fn body(kind: Kind, model: &str) -> Bytes {
    let prompt = "please summarise the quarterly report ".repeat(super::PROMPT_WORDS / 5);
    let mut body = json!({"model": model, "max_tokens": 100, "messages": [
        {"role": "system", "content": "You are a careful assistant."}, {"role": "user", "content": prompt}]});
    if kind == Kind::Stream {
        body["stream"] = json!(true);
        body["stream_options"] = json!({"include_usage": true});
    }
    Bytes::from(body.to_string())
}

/// Runs the loop for a span of time.
pub async fn run(target: &Target, kind: Kind, connections: usize, span: Duration) -> Figures {
    let body = body(kind, &target.model);
    let mut loops = JoinSet::new();
    let from = Instant::now();
    for _ in 0..connections {
        loops.spawn(connection(target.clone(), kind, body.clone(), from + span));
    }
    let mut figures = Figures { whole: Vec::new(), first: Vec::new(), span, errors: 0 };
    for (whole, first, errors) in loops.join_all().await {
        figures.whole.extend(whole);
        figures.first.extend(first);
        figures.errors += errors;
    }
    figures.span = from.elapsed();
    figures.whole.sort_unstable();
    figures.first.sort_unstable();
    figures
}

fn micros(from: Instant) -> u32 {
    u32::try_from(from.elapsed().as_micros()).unwrap_or(u32::MAX)
}

async fn connection(target: Target, kind: Kind, body: Bytes, until: Instant) -> (Vec<u32>, Vec<u32>, usize) {
    let (mut whole, mut first, mut errors) = (Vec::new(), Vec::new(), 0);
    while Instant::now() < until {
        let Ok(socket) = TcpStream::connect(target.address).await else {
            errors += 1;
            continue;
        };
        let _ = socket.set_nodelay(true);
        let Ok((mut sender, connection)) = http1::handshake(TokioIo::new(socket)).await else {
            errors += 1;
            continue;
        };
        let mut driver = JoinSet::new();
        driver.spawn(connection);
        while Instant::now() < until && sender.ready().await.is_ok() {
            let request = Request::post("/v1/chat/completions")
                .header("host", target.address.to_string())
                .header("authorization", format!("Bearer {}", target.key))
                .header("content-type", "application/json")
                .body(Full::new(body.clone()))
                .expect("a request");
            let from = Instant::now();
            let Ok(answer) = sender.send_request(request).await else {
                errors += 1;
                break;
            };
            if answer.status() != StatusCode::OK {
                errors += 1;
                let _ = answer.into_body().collect().await;
                continue;
            }
            let mut body = answer.into_body();
            let mut seen = false;
            let mut broke = false;
            while let Some(frame) = body.frame().await {
                broke |= frame.is_err();
                if !seen && kind == Kind::Stream {
                    seen = true;
                    first.push(micros(from));
                }
            }
            if broke {
                errors += 1;
                break;
            }
            whole.push(micros(from));
        }
    }
    (whole, first, errors)
}

/// The means of Alfred's own histograms and summaries, from its metrics page.
pub fn means(metrics: &str) -> Vec<String> {
    let value = |name: &str| -> f64 {
        let lines =
            metrics.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    };
    let names = [
        "alfred_overhead_seconds",
        "alfred_auth_verify_seconds",
        "alfred_ledger_reserve_seconds",
        "gen_ai_client_operation_duration",
    ];
    let mut lines = Vec::new();
    for name in names {
        for full in [name.to_owned(), format!("{name}_seconds")] {
            let (sum, count) = (value(&format!("{full}_sum")), value(&format!("{full}_count")));
            if count > 0.0 {
                lines.push(format!("`{full}`: {:.3} ms over {count} observations", sum / count * 1000.0));
            }
        }
    }
    lines
}
