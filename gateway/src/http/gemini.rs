//! Gemini's paths under `/v1beta/models`, and under `/v1/models` for its newer clients: which model, and what is asked of it, stand in the address.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{ConnectInfo, Path, Query, Request, State};
use axum::http::{HeaderMap, Response, Uri};
use bytes::Bytes;
use providers::{BadRequest, Outside, Shape, Target, Task};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::calls::take_with;
use super::count::count;
use super::models::{allowed, answer, known, names};
use super::refused;
use crate::app::App;
use crate::refusal::Refusal;
use crate::snapshot::Snapshot;

/// Google's own bounds on a page of models.
const USUAL_PAGE: usize = 50;
const LARGEST_PAGE: usize = 1_000;

/// What an address says behind its `?`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Said {
    alt: Option<String>,
    #[serde(rename = "pageSize", alias = "page_size")]
    page_size: Option<usize>,
    #[serde(rename = "pageToken", alias = "page_token")]
    page_token: Option<String>,
}

fn said(uri: &Uri) -> Result<Said, Refusal> {
    let said = Query::<Said>::try_from_uri(uri);
    said.map(|it| it.0).map_err(|_| bad("pageSize", "The query of this address cannot be read."))
}

fn bad(param: &str, message: &str) -> Refusal {
    let (param, message) = (Some(param.to_owned()), message.to_owned());
    Refusal::BadRequest(BadRequest { code: "invalid_value", param, message })
}

/// `POST /v1beta/models/{model}:{method}`. A name may have colons of its own: the last one counts.
pub async fn call(
    State(app): State<Arc<App>>,
    peer: ConnectInfo<SocketAddr>,
    Path(rest): Path<String>,
    request: Request,
) -> Response<Body> {
    let told = said(request.uri());
    let (model, method) = rest.rsplit_once(':').unwrap_or((&rest, ""));
    let outside = |stream| Outside { model: Some(model.to_owned()), stream: Some(stream), ..Outside::default() };
    match method {
        "generateContent" => take_with(app, Shape::Gemini, "generate_content", outside(false), peer, request).await,
        "streamGenerateContent" => match told {
            Ok(Said { alt: Some(alt), .. }) if alt == "sse" => {
                take_with(app, Shape::Gemini, "generate_content", outside(true), peer, request).await
            }
            _ => {
                let message = "A stream is told as server-sent events here: add '?alt=sse' to the address.";
                refused(&app, Shape::Gemini, &bad("alt", message))
            }
        },
        "countTokens" => match count(&app, Shape::Gemini, outside(false), peer, request, unwrapped).await {
            Ok(tokens) => answer(&app, &json!({"totalTokens": tokens})),
            Err(refusal) => refused(&app, Shape::Gemini, &refusal),
        },
        _ => refused(&app, Shape::Gemini, &Refusal::UnknownRoute),
    }
}

/// What is to be counted may come as it would be sent, or within `generateContentRequest`.
fn unwrapped(body: Bytes) -> Result<Bytes, BadRequest> {
    #[derive(Deserialize)]
    struct Wrapped<'a> {
        #[serde(borrow, default, rename = "generateContentRequest", alias = "generate_content_request")]
        request: Option<&'a RawValue>,
        #[serde(borrow, default)]
        contents: Option<&'a RawValue>,
    }
    match serde_json::from_slice::<Wrapped<'_>>(&body) {
        Ok(Wrapped { request: Some(_), contents: Some(_) }) => Err(BadRequest {
            code: "invalid_value",
            param: Some("generateContentRequest".to_owned()),
            message: "'generateContentRequest' and 'contents' exclude each other.".to_owned(),
        }),
        Ok(Wrapped { request: Some(inner), .. }) => Ok(body.slice_ref(inner.get().as_bytes())),
        // What cannot be read is told by who reads it next.
        _ => Ok(body),
    }
}

/// `GET /v1beta/models`: every conversation model that the key may use, a page at a time.
pub async fn list(
    State(app): State<Arc<App>>,
    peer: ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    uri: Uri,
) -> Response<Body> {
    let page = known(&app, peer, &headers, Shape::Gemini).and_then(|(snapshot, caller)| {
        let said = said(&uri)?;
        let size = said.page_size.filter(|size| *size > 0).unwrap_or(USUAL_PAGE).min(LARGEST_PAGE);
        let start = match said.page_token.as_deref() {
            None | Some("") => 0,
            Some(token) => token.parse().map_err(|_| bad("pageToken", "'pageToken' is none of this list's."))?,
        };
        let all: Vec<Value> = names(&snapshot, &caller).iter().filter_map(|name| model(&snapshot, name)).collect();
        let page: Vec<&Value> = all.iter().skip(start).take(size).collect();
        let next = start.saturating_add(page.len());
        let mut body = json!({"models": page});
        if next < all.len() && !page.is_empty() {
            body["nextPageToken"] = json!(next.to_string());
        }
        Ok(body)
    });
    match page {
        Ok(body) => answer(&app, &body),
        Err(refusal) => refused(&app, Shape::Gemini, &refusal),
    }
}

/// `GET /v1beta/models/{model}`.
pub async fn one(
    State(app): State<Arc<App>>,
    peer: ConnectInfo<SocketAddr>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response<Body> {
    let found = known(&app, peer, &headers, Shape::Gemini).and_then(|(snapshot, caller)| {
        allowed(&snapshot, &caller, &id)?;
        model(&snapshot, &id).ok_or_else(|| Refusal::UnknownModel { model: id.clone() })
    });
    match found {
        Ok(model) => answer(&app, &model),
        Err(refusal) => refused(&app, Shape::Gemini, &refusal),
    }
}

/// A model as Google's lists have it; none for one that holds no conversations.
fn model(snapshot: &Snapshot, name: &str) -> Option<Value> {
    let targets = snapshot.resolve(name)?.targets;
    let chats = |target: &&Arc<Target>| target.tasks.is_empty() || target.tasks.contains(&Task::Chat);
    let target = targets.iter().find(chats)?;
    let mut model = json!({
        "name": format!("models/{name}"), "displayName": name, "version": "",
        "supportedGenerationMethods": ["generateContent", "streamGenerateContent", "countTokens"],
    });
    for (member, limit) in [("inputTokenLimit", target.context), ("outputTokenLimit", target.max_output)] {
        if let Some(limit) = limit {
            model[member] = json!(limit);
        }
    }
    Some(model)
}
