//! Routes and extractors; no decisions.

mod batches;
mod calls;
mod count;
mod gemini;
mod models;
mod operations;
mod realtime;

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Response, header};
use axum::routing::{any, get, post};
use ledger::{Call, Id};
use providers::{Family, Shape};
use tower_http::catch_panic::CatchPanicLayer;

use crate::app::App;
use crate::authenticate::Presented;
use crate::refusal::Refusal;
use crate::reply::identify;

/// Everything on the one port.
pub fn router(app: Arc<App>, admin: Router) -> Router {
    let panicking = Arc::clone(&app);
    Router::new()
        .route("/v1/chat/completions", post(calls::chat_completions).fallback(wrong_method))
        .route("/v1/messages", post(calls::messages).fallback(wrong_method))
        .route("/v1/messages/count_tokens", post(calls::count_tokens).fallback(wrong_method))
        .route("/v1/completions", post(calls::completions).fallback(wrong_method))
        .route("/v1/embeddings", post(calls::embeddings).fallback(wrong_method))
        .route("/v1/moderations", post(calls::moderations).fallback(wrong_method))
        .route("/v1/images/generations", post(calls::images).fallback(wrong_method))
        .route("/v1/images/edits", post(calls::image_edits).fallback(wrong_method))
        .route("/v1/audio/speech", post(calls::speech).fallback(wrong_method))
        .route("/v1/audio/transcriptions", post(calls::transcriptions).fallback(wrong_method))
        .route("/v1/audio/translations", post(calls::translations).fallback(wrong_method))
        .route("/v1/rerank", post(calls::rerank).fallback(wrong_method))
        .route("/v2/rerank", post(calls::rerank).fallback(wrong_method))
        .route("/v1/responses", post(calls::responses).fallback(wrong_method))
        .route("/v1/responses/{*rest}", any(stored_response))
        .route("/v1/files", get(batches::files).post(batches::upload).fallback(wrong_method))
        .route("/v1/files/{id}", get(batches::file).delete(batches::delete_file).fallback(wrong_method))
        .route("/v1/files/{id}/content", get(batches::content).fallback(wrong_method))
        .route("/v1/batches", get(batches::list).post(batches::submit).fallback(wrong_method))
        .route("/v1/batches/{id}", get(batches::one).fallback(wrong_method))
        .route("/v1/batches/{id}/cancel", post(batches::cancel).fallback(wrong_method))
        .route("/v1/realtime", get(realtime::connect).fallback(wrong_method))
        .route("/v1/models", get(models::list).fallback(wrong_method))
        // Google's newer clients ask under /v1, its older ones and its documents under /v1beta.
        .route("/v1/models/{*id}", get(models::one).post(gemini::call).fallback(wrong_method))
        .route("/v1beta/models", get(gemini::list).fallback(wrong_method))
        .route("/v1beta/models/{*rest}", get(gemini::one).post(gemini::call).fallback(wrong_method))
        // Whatever else begins like a provider's path is refused, never forwarded: it could not be metered.
        .route("/v1/{*rest}", any(unknown_route))
        .route("/v1/", any(unknown_route))
        .route("/v1", any(unknown_route))
        .route("/v1beta/{*rest}", any(unknown_route))
        .route("/v1beta", any(unknown_route))
        .route("/healthz", get(operations::healthz))
        .route("/readyz", get(operations::readyz))
        .route("/metrics", get(operations::metrics))
        .route("/", get(operations::front_page))
        .fallback(operations::not_found)
        .with_state(app)
        .nest("/admin/v1", admin)
        .layer(CatchPanicLayer::custom(move |_| panicked(&panicking)))
}

async fn unknown_route(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    refused(&app, shape_of(&request), &Refusal::UnknownRoute)
}

/// Answers are read, cancelled and deleted where they are stored, which is not here. What else lies below is not served.
async fn stored_response(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    let path = request.uri().path();
    let other = ["/input_tokens", "/compact"].iter().any(|it| path.trim_end_matches('/').ends_with(it));
    let refusal = if other { Refusal::UnknownRoute } else { Refusal::NotStored };
    refused(&app, Shape::Responses, &refusal)
}

async fn wrong_method(State(app): State<Arc<App>>, request: Request) -> Response<Body> {
    refused(&app, shape_of(&request), &Refusal::WrongMethod)
}

/// In whose words a refusal is told where no handler knows it.
fn shape_of(request: &Request) -> Shape {
    match request.uri().path() {
        path if path.starts_with("/v1/messages") => Shape::Anthropic,
        path if path.starts_with("/v1/responses") => Shape::Responses,
        path if path.starts_with("/v1beta") => Shape::Gemini,
        path if path.starts_with("/v1/models") && request.headers().contains_key("x-goog-api-key") => Shape::Gemini,
        _ => Shape::OpenAi,
    }
}

/// A refusal outside the pipeline.
fn refused(app: &App, shape: Shape, refusal: &Refusal) -> Response<Body> {
    if matches!(refusal, Refusal::Overloaded) {
        app.telemetry.shed();
    }
    let id: Id<Call> = app.ledger.new_id();
    let mut response = refusal.response(shape, id);
    identify(&mut response, id);
    response
}

/// What panicked is not told: a message could hold a client's words.
fn panicked(app: &App) -> Response<Body> {
    tracing::error!("a handler panicked");
    refused(app, Shape::OpenAi, &Refusal::Internal)
}

/// Who shows which key. `x-api-key` counts where Anthropic's clients send it.
fn presented(app: &App, headers: &HeaderMap, peer: ConnectInfo<SocketAddr>, shape: Shape) -> Presented {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let bearer = text(header::AUTHORIZATION.as_str()).and_then(|value| {
        let (scheme, key) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
    });
    let key = match shape.family() {
        Family::Anthropic => text("x-api-key").or(bearer),
        Family::Gemini => text("x-goog-api-key").or(bearer),
        Family::OpenAi => bearer,
    };
    Presented { key: key.map(str::to_owned), address: app.limits.address(peer.0.ip(), headers), at: app.clock().now() }
}
