//! What is asked: the body is taken off the wire within bounds and read; what the client claims is kept in safe words.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use ledger::Claim;
use providers::{BadRequest, ModelRequest};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::app::App;
use crate::case::{Call, Case};
use crate::refusal::Refusal;

/// What a call may claim about itself: enough for attribution, too little to store a prompt in.
const MOST_CLAIMS: usize = 32;
const LONGEST_CLAIM: usize = 256;
/// The room for bodies is counted in pieces of this size.
const PIECE: u64 = 4_096;

/// Takes the body off the wire.
pub async fn body(app: &Arc<App>, call: &mut Call, case: &mut Case) -> Result<Bytes, Refusal> {
    if call.compressed {
        // What is inflated here could be a thousand times what came; and no client of a model's API compresses.
        let message = "The body must not be compressed: this gateway takes no content-encoding.".to_owned();
        let param = Some("content-encoding".to_owned());
        return Err(Refusal::BadRequest(BadRequest { code: "invalid_value", param, message }));
    }
    let body = std::mem::replace(&mut call.body, Body::empty());
    let idle = app.connections.body_idle();
    let whole = receive(body, call.content_length, app.limits.max_body_bytes(), &app.bodies, idle);
    // A byte now and then would hold a place for hours.
    let in_time = tokio::time::timeout(app.connections.body().min(case.total), whole).await;
    let (bytes, room) = in_time.map_err(|_| Refusal::BodyStalled)??;
    case.room = Some(room);
    Ok(bytes)
}

/// Reads the body and what it asks.
pub async fn parse(app: &Arc<App>, call: &mut Call, case: &mut Case) -> Result<ModelRequest, Refusal> {
    let bytes = body(app, call, case).await?;
    let is_form = call.shape.takes_forms();
    if let Some(name) = call.idempotency_key.as_ref().filter(|_| !is_form) {
        case.claim = Some(claim(app, call, case, name, &bytes)?);
    }
    let outside = std::mem::take(&mut call.outside);
    let request = on_this_thread_if_small(bytes.len(), || ModelRequest::parse_with(call.shape, bytes, outside))
        .map_err(Refusal::BadRequest)?;
    if let Some(name) = call.idempotency_key.as_ref().filter(|_| is_form) {
        // A client that repeats a form gives it another boundary: what it says is the same.
        case.claim = Some(claim(app, call, case, name, &request.identity())?);
    }
    case.stream = request.stream();
    case.claims = claims(app, &request, &call.tags)?;
    Ok(request)
}

/// Long work leaves the other calls of this thread alone.
pub fn on_this_thread_if_small<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    const LARGE: usize = 128 << 10;
    if bytes < LARGE { work() } else { tokio::task::block_in_place(work) }
}

pub async fn receive(
    mut body: Body,
    announced: Option<u64>,
    limit: u64,
    room: &Arc<Semaphore>,
    idle: Duration,
) -> Result<(Bytes, OwnedSemaphorePermit), Refusal> {
    let too_large = || Refusal::TooLarge { limit };
    if announced.is_some_and(|length| length > limit) {
        return Err(too_large());
    }
    let mut taken = take(room, announced.unwrap_or(PIECE))?;
    let mut first: Option<Bytes> = None;
    let mut all = BytesMut::new();
    loop {
        let frame = match tokio::time::timeout(idle, body.frame()).await {
            Err(_) => return Err(Refusal::BodyStalled),
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(bad("invalid_body", "The request body broke off before its end.")),
            Ok(Some(Ok(frame))) => frame,
        };
        let Ok(data) = frame.into_data() else { continue };
        let length = (all.len() + first.as_ref().map_or(0, Bytes::len) + data.len()) as u64;
        if length > limit {
            return Err(too_large());
        }
        let held = taken.num_permits() as u64 * PIECE;
        if length > held {
            taken.merge(take(room, length - held)?);
        }
        match first.take() {
            // The usual body comes in one piece and is never copied.
            None if all.is_empty() => first = Some(data),
            None => all.extend_from_slice(&data),
            Some(begun) => {
                all.extend_from_slice(&begun);
                all.extend_from_slice(&data);
            }
        }
    }
    Ok((first.unwrap_or_else(|| all.freeze()), taken))
}

fn take(room: &Arc<Semaphore>, bytes: u64) -> Result<OwnedSemaphorePermit, Refusal> {
    let pieces = u32::try_from(bytes.div_ceil(PIECE)).map_err(|_| Refusal::Overloaded)?;
    Arc::clone(room).try_acquire_many_owned(pieces).map_err(|_| Refusal::Overloaded)
}

fn bad(code: &'static str, message: &str) -> Refusal {
    Refusal::BadRequest(BadRequest { code, param: None, message: message.to_owned() })
}

/// The Idempotency-Key and the body that it came with, as keyed hashes: neither is stored in clear.
pub fn claim(app: &App, call: &Call, case: &Case, name: &str, body: &[u8]) -> Result<Claim, Refusal> {
    if name.is_empty() || name.len() > 255 || !name.bytes().all(|b| (0x20..0x7f).contains(&b)) {
        return Err(bad("invalid_value", "The Idempotency-Key header must have 1 to 255 printable ASCII characters."));
    }
    // What the address says is asked too: the same body to another model is another request.
    let address = match (&call.outside.model, call.outside.stream) {
        (None, None) => String::new(),
        (model, stream) => format!(" {stream:?} {}", model.as_deref().unwrap_or_default()),
    };
    let key = case.caller.as_ref().map(|caller| caller.credential.key.to_string()).unwrap_or_default();
    Ok(Claim {
        name: app.ledger.keyed_hash("idempotency-name", format!("{key}\n{name}").as_bytes()),
        body: app.ledger.keyed_hash(&format!("idempotency-body {}{address}", call.kind), body),
    })
}

/// What the client says of itself. It can never choose a wallet; what looks personal in it is masked before it is kept.
pub fn claims(app: &App, request: &ModelRequest, headers: &[String]) -> Result<BTreeMap<String, String>, Refusal> {
    let mut claims = BTreeMap::new();
    let mut keep = |name: &str, value: &str| {
        if claims.len() < MOST_CLAIMS && !name.is_empty() && name.len() <= LONGEST_CLAIM && value.len() <= LONGEST_CLAIM
        {
            claims.insert(app.masked(name), app.masked(value));
        }
    };
    if let Some(user) = request.user() {
        keep("user", user);
    }
    for (name, value) in request.metadata() {
        keep(name, value);
    }
    for header in headers {
        match header.trim_start().starts_with('{') {
            true => {
                let parsed: BTreeMap<String, serde_json::Value> = serde_json::from_str(header)
                    .map_err(|_| bad("invalid_value", "The metadata header is not a JSON object of texts."))?;
                for (name, value) in &parsed {
                    match value {
                        serde_json::Value::String(text) => keep(name, text),
                        other => keep(name, &other.to_string()),
                    }
                }
            }
            false => {
                for tag in header.split(',').map(str::trim).filter(|tag| !tag.is_empty()) {
                    let (name, value) = tag.split_once('=').unwrap_or((tag, "true"));
                    keep(name.trim(), value.trim());
                }
            }
        }
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn received(pieces: &[&'static str], limit: u64, room: usize) -> Result<String, &'static str> {
        let stream = futures_util::stream::iter(
            pieces.iter().map(|p| Ok::<_, std::io::Error>(Bytes::from_static(p.as_bytes()))).collect::<Vec<_>>(),
        );
        let body = Body::from_stream(stream);
        let room = Arc::new(Semaphore::new(room));
        receive(body, None, limit, &room, Duration::from_secs(60))
            .await
            .map(|(b, _)| String::from_utf8_lossy(&b).into_owned())
            .map_err(|r| r.code())
    }

    #[tokio::test]
    async fn a_body_arrives_whole_however_it_is_cut_and_never_above_its_bounds() {
        assert_eq!(received(&["{\"a\"", ":1}"], 100, 4).await.as_deref(), Ok("{\"a\":1}"));
        assert_eq!(received(&["{}"], 100, 4).await.as_deref(), Ok("{}"));
        assert_eq!(received(&["1", "2", "3"], 100, 4).await.as_deref(), Ok("123"));
        assert_eq!(received(&[], 100, 4).await.as_deref(), Ok(""));
        assert_eq!(received(&["12345", "678901"], 10, 4).await, Err("request_too_large"));
        assert_eq!(received(&["{}"], 100, 0).await, Err("overloaded"), "no room for another body");
    }
}
