//! `GET /v1/models`: what this key can ask for.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Path, State};
use axum::http::{HeaderMap, HeaderValue, Response, header};
use providers::Shape;
use serde_json::{Value, json};

use super::{presented, refused};
use crate::app::App;
use crate::authenticate::authenticate;
use crate::case::Caller;
use crate::refusal::Refusal;
use crate::snapshot::Snapshot;

/// Every model that the key may use: the aliases first, in the order of the configuration.
pub async fn list(State(app): State<Arc<App>>, peer: ConnectInfo<SocketAddr>, headers: HeaderMap) -> Response<Body> {
    match known(&app, peer, &headers) {
        Ok((snapshot, caller)) => {
            let data: Vec<Value> = names(&snapshot, &caller).iter().map(|name| model(&snapshot, name)).collect();
            answer(&app, &json!({"object": "list", "data": data}))
        }
        Err(refusal) => refused(&app, Shape::OpenAi, &refusal),
    }
}

/// One of them.
pub async fn one(
    State(app): State<Arc<App>>,
    peer: ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    let found = known(&app, peer, &headers).and_then(|(snapshot, caller)| {
        let allowed = caller.credential.models.as_ref().is_none_or(|models| models.contains(&id));
        match allowed && snapshot.resolve(&id).is_some() {
            true => Ok(model(&snapshot, &id)),
            false => Err(Refusal::UnknownModel { model: id }),
        }
    });
    match found {
        Ok(model) => answer(&app, &model),
        Err(refusal) => refused(&app, Shape::OpenAi, &refusal),
    }
}

fn known(app: &App, peer: ConnectInfo<SocketAddr>, headers: &HeaderMap) -> Result<(Arc<Snapshot>, Caller), Refusal> {
    let snapshot = app.snapshot()?;
    let presented = presented(app, headers, peer, Shape::Anthropic);
    match authenticate(app, &snapshot, &presented) {
        Ok(caller) => Ok((snapshot, caller)),
        Err(refusal) => {
            app.limits.count(None, presented.address, refusal.code(), presented.at);
            Err(refusal)
        }
    }
}

fn names(snapshot: &Snapshot, caller: &Caller) -> Vec<String> {
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

fn model(snapshot: &Snapshot, name: &str) -> Value {
    let owner = snapshot.resolve(name).and_then(|found| found.targets.first().map(|target| target.provider.clone()));
    json!({"id": name, "object": "model", "created": 0, "owned_by": owner.unwrap_or_default()})
}

fn answer(app: &App, body: &Value) -> Response<Body> {
    let mut response = Response::new(Body::from(body.to_string()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    crate::reply::identify(&mut response, app.ledger.new_id());
    response
}
