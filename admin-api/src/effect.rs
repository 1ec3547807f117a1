//! What holds for every answer: a change is in force before its answer leaves, and no answer is kept by a cache.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderValue, Method, header};

use crate::AdminState;

/// Puts a successful write into force in this process before it is answered.
pub(crate) async fn in_force(State(state): State<AdminState>, request: Request, next: Next) -> Response {
    let is_write = !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS);
    let response = next.run(request).await;
    if is_write && response.status().is_success() {
        // The change is durable and its answer may hold a secret that is shown once: it leaves all the same. A process
        // that cannot refresh stops trusting its own snapshot within seconds.
        if let Err(error) = state.refresh.refresh().await {
            tracing::error!(error, "an admin change is durable but not yet in force in this process");
        }
    }
    response
}

/// Answers may hold secrets and live amounts.
pub(crate) async fn uncached(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
