//! `GET /v1/realtime?model=…`: a WebSocket. All that can be refused is refused before it is one, as a plain answer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::{ConnectInfo, FromRequestParts, Query, Request, State};
use axum::http::{HeaderMap, Response, Uri, header};
use providers::{BadRequest, Outside, Shape};
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

use super::calls::tags;
use super::{presented, refused};
use crate::app::App;
use crate::approvals;
use crate::case::{Call, Case};
use crate::realtime::run;
use crate::refusal::Refusal;
use crate::telemetry::Parent;

/// More than any event has: the same as towards providers.
const LARGEST_EVENT: usize = 16 << 20;
/// How a browser shows its key, which can set no header.
const BROWSERS_KEY: &str = "openai-insecure-api-key.";
/// What such a client is answered.
const PROTOCOL: &str = "realtime";

pub async fn connect(State(app): State<Arc<App>>, peer: ConnectInfo<SocketAddr>, request: Request) -> Response<Body> {
    let started = Instant::now();
    let shape = Shape::Realtime;
    let Ok(place) = Arc::clone(&app.places).try_acquire_owned() else {
        return refused(&app, shape, &Refusal::Overloaded);
    };
    if app.stopping.is_cancelled() {
        return refused(&app, shape, &Refusal::Overloaded);
    }
    let (mut head, body) = request.into_parts();
    let mut shown = presented(&app, &head.headers, peer, shape);
    shown.key = shown.key.or_else(|| browsers_key(&head.headers));
    let call = Call {
        id: app.ledger.new_id(),
        shape,
        kind: "realtime",
        started,
        presented: shown,
        idempotency_key: None,
        tags: tags(&head.headers),
        approvals: approvals::shown(&head.headers),
        content_length: None,
        compressed: false,
        outside: Outside { model: model(&head.uri), ..Outside::default() },
        parent: Parent::read(&head.headers),
        body,
        gone: CancellationToken::new(),
    };
    let id = call.id;
    let upgrade = WebSocketUpgrade::from_request_parts(&mut head, &app).await;
    let told = refusal(&head.uri, &head.headers, upgrade.is_ok());
    let case = Case::open(&call, place, app.deadlines.total());
    let (answer, answered) = oneshot::channel();
    let (socket, waits) = oneshot::channel();
    app.tasks.spawn(run(Arc::clone(&app), call, case, told, answer, waits));
    let (upgrade, head) = match (answered.await, upgrade) {
        (Ok(Ok(head)), Ok(upgrade)) => (upgrade, head),
        (Ok(Err(answered)), _) => return answered.into_response(shape),
        _ => {
            tracing::error!(call = %id, "a call's task panicked");
            return refused(&app, shape, &Refusal::Internal);
        }
    };
    let upgrade = upgrade.protocols([PROTOCOL]).max_message_size(LARGEST_EVENT).max_frame_size(LARGEST_EVENT);
    // Each event leaves at once.
    let upgrade = upgrade.write_buffer_size(0).max_write_buffer_size(2 * LARGEST_EVENT);
    let mut response = upgrade.on_upgrade(|client| async move { drop(socket.send(client)) });
    head.put_on(&mut response);
    response
}

/// The key among the protocols. It is never answered.
fn browsers_key(headers: &HeaderMap) -> Option<String> {
    let offered = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter().filter_map(|it| it.to_str().ok());
    offered.flat_map(|it| it.split(',')).find_map(|it| it.trim().strip_prefix(BROWSERS_KEY)).map(str::to_owned)
}

fn query(uri: &Uri) -> Vec<(String, String)> {
    Query::try_from_uri(uri).map(|it| it.0).unwrap_or_default()
}

fn model(uri: &Uri) -> Option<String> {
    query(uri).into_iter().find(|(name, _)| name == "model").map(|(_, model)| model)
}

/// What an address or a head asks for that is not served here.
fn refusal(uri: &Uri, headers: &HeaderMap, upgrades: bool) -> Option<Refusal> {
    let mut models = 0;
    for (name, _) in query(uri) {
        models += usize::from(name == "model");
        if name != "model" || models > 1 {
            let message = format!("'{name}' has no place in the address of a conversation here");
            return Some(Refusal::Unsupported { param: Some(name), message });
        }
    }
    let beta = headers.get("openai-beta").and_then(|it| it.to_str().ok());
    if beta.is_some_and(|it| it.contains("realtime=v1")) {
        let message =
            "the events of realtime's beta are not served any more: leave out the header OpenAI-Beta".to_owned();
        return Some(Refusal::Unsupported { param: Some("OpenAI-Beta".to_owned()), message });
    }
    (!upgrades).then(|| {
        let message = "This address is a WebSocket's: the request must ask for an upgrade.".to_owned();
        Refusal::BadRequest(BadRequest { code: "websocket_required", param: None, message })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    #[test]
    fn a_browser_shows_its_key_as_a_protocol() {
        for (offered, key) in [
            ("realtime, openai-insecure-api-key.sk-alf-x", Some("sk-alf-x")),
            ("openai-insecure-api-key.sk-alf-x,realtime", Some("sk-alf-x")),
            ("realtime", None),
        ] {
            let headers = [(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(offered))];
            assert_eq!(browsers_key(&headers.into_iter().collect()).as_deref(), key, "{offered}");
        }
    }

    #[test]
    fn what_an_address_asks_for_beside_a_model_is_refused_by_name() {
        for (uri, param) in [
            ("/v1/realtime?model=a%2Fb", None),
            ("/v1/realtime?intent=transcription", Some("intent")),
            ("/v1/realtime?model=a&call_id=rtc_1", Some("call_id")),
            ("/v1/realtime?model=a&model=b", Some("model")),
        ] {
            let told = refusal(&Uri::from_static(uri), &HeaderMap::new(), true);
            let named = told.map(|it| match it {
                Refusal::Unsupported { param, .. } => param.unwrap_or_default(),
                _ => String::new(),
            });
            assert_eq!(named.as_deref(), param, "{uri}");
        }
        assert_eq!(model(&Uri::from_static("/v1/realtime?model=a%2Fb")).as_deref(), Some("a/b"));
    }
}
