//! `GET /v1/models`: what this key can ask for, told as OpenAI tells it or, to its clients, as Anthropic does.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, HeaderValue, Response, Uri, header};
use providers::{Shape, Target};
use serde_json::{Value, json};

use super::{gemini, presented, refused};
use crate::app::App;
use crate::authenticate::authenticate;
use crate::card::Card;
use crate::case::Caller;
use crate::pricing::Buyer;
use crate::refusal::Refusal;
use crate::snapshot::Snapshot;

/// Every model that the key may use: the aliases first, in the order of the configuration.
pub async fn list(
    State(app): State<Arc<App>>,
    peer: ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
) -> Response<Body> {
    let shape = shape(&headers);
    if shape == Shape::Gemini {
        return gemini::list(State(app), peer, headers, uri).await;
    }
    match known(&app, peer, &headers, Shape::Anthropic) {
        Ok((snapshot, caller)) => {
            let buyer = Buyer::new(&caller, app.clock().now());
            let cards = names(&snapshot, &caller).into_iter().map(|name| Card::of(&snapshot, &buyer, &name));
            let data: Vec<Value> = cards.map(|card| written(&card, shape)).collect();
            answer(&app, &page(data, shape))
        }
        Err(refusal) => refused(&app, shape, &refusal),
    }
}

/// One of them.
pub async fn one(
    State(app): State<Arc<App>>,
    peer: ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    let shape = shape(&headers);
    if shape == Shape::Gemini {
        return gemini::one(State(app), peer, Path(id), headers).await;
    }
    let found = known(&app, peer, &headers, Shape::Anthropic).and_then(|(snapshot, caller)| {
        allowed(&snapshot, &caller, &id)?;
        Ok(Card::of(&snapshot, &Buyer::new(&caller, app.clock().now()), &id))
    });
    match found {
        Ok(card) => answer(&app, &written(&card, shape)),
        Err(refusal) => refused(&app, shape, &refusal),
    }
}

/// Anthropic's and Google's clients ask at the same path. The former tell themselves by the version that they always send, the
/// latter by how they show their key.
fn shape(headers: &HeaderMap) -> Shape {
    match (headers.contains_key("anthropic-version"), headers.contains_key("x-goog-api-key")) {
        (true, _) => Shape::Anthropic,
        (_, true) => Shape::Gemini,
        _ => Shape::OpenAi,
    }
}

fn written(card: &Card, shape: Shape) -> Value {
    match shape {
        Shape::Anthropic => card.anthropic(),
        _ => card.openai(),
    }
}

/// The whole list is one page.
fn page(data: Vec<Value>, shape: Shape) -> Value {
    if shape != Shape::Anthropic {
        return json!({"object": "list", "data": data});
    }
    let id = |card: Option<&Value>| card.map_or(Value::Null, |card| card["id"].clone());
    let (first_id, last_id) = (id(data.first()), id(data.last()));
    json!({"data": data, "has_more": false, "first_id": first_id, "last_id": last_id})
}

/// Who asks, by the headers in which clients of this shape show their keys.
pub(super) fn known(
    app: &App,
    peer: ConnectInfo<SocketAddr>,
    headers: &HeaderMap,
    shape: Shape,
) -> Result<(Arc<Snapshot>, Caller), Refusal> {
    let snapshot = app.snapshot()?;
    let presented = presented(app, headers, peer, shape);
    match authenticate(app, &snapshot, &presented) {
        Ok(caller) => Ok((snapshot, caller)),
        Err(refusal) => {
            app.limits.count(None, presented.address, refusal.code(), presented.at);
            Err(refusal)
        }
    }
}

/// The targets of a model that this key may ask for.
pub(super) fn allowed(snapshot: &Snapshot, caller: &Caller, model: &str) -> Result<Vec<Arc<Target>>, Refusal> {
    let listed = caller.credential.models.as_ref().is_none_or(|models| models.iter().any(|it| it == model));
    let found = snapshot.resolve(model).filter(|_| listed);
    found.map(|found| found.targets).ok_or_else(|| Refusal::UnknownModel { model: model.to_owned() })
}

pub(super) fn names(snapshot: &Snapshot, caller: &Caller) -> Vec<String> {
    let aliases = snapshot.routes.aliases.iter().map(|(alias, _)| alias.clone());
    let all = aliases.chain(snapshot.routes.fleet.models().iter().map(|target| target.name.clone()));
    match &caller.credential.models {
        None => all.collect(),
        Some(allowed) => {
            let mut listed: Vec<String> = all.filter(|name| allowed.contains(name)).collect();
            // What no catalogue lists can still be asked for by name.
            let further = allowed.iter().filter(|name| !listed.contains(name) && snapshot.resolve(name).is_some());
            listed.extend(further.cloned().collect::<Vec<_>>());
            listed
        }
    }
}

pub(super) fn answer(app: &App, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    crate::reply::identify(&mut response, app.ledger.new_id());
    response
}
