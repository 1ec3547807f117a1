//! What operators and orchestrators ask: alive, ready, figures; and a plain front page.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderValue, Response, StatusCode, header};

use crate::app::App;
use crate::telemetry::Now;

/// The process is alive.
pub async fn healthz() -> &'static str {
    "ok\n"
}

/// A call could be accounted for and forwarded.
pub async fn readyz(State(app): State<Arc<App>>) -> Response<Body> {
    let fault = match (app.stopping.is_cancelled(), app.ledger.readiness(), app.snapshot()) {
        (true, ..) => Some("shutting down".to_owned()),
        (_, Err(unready), _) => Some(unready.to_string()),
        (_, _, Err(_)) => Some("the view of the keys is stale".to_owned()),
        (_, _, Ok(snapshot)) if snapshot.routes.providers == 0 => {
            Some("no providers: add some under 'providers' in the configuration".to_owned())
        }
        _ => None,
    };
    match fault {
        None => text(StatusCode::OK, "ready\n".to_owned()),
        Some(fault) => text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {fault}\n")),
    }
}

/// The page that Prometheus reads.
pub async fn metrics(State(app): State<Arc<App>>) -> Response<Body> {
    let now = Now {
        ledger: &app.ledger.gauges(),
        waiting: app.patience.waiting(),
        in_flight: app.most_in_flight.saturating_sub(app.places.available_permits()),
        health: &app.health.view(app.millis()),
    };
    let mut page = app.telemetry.render(&now);
    // Whoever looks for a leak looks here: connections, calls and what they left behind.
    let tasks = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    page.push_str(&format!(
        "# HELP alfred_tasks tasks that are alive\n# TYPE alfred_tasks gauge\nalfred_tasks {tasks}\n"
    ));
    let mut response = text(StatusCode::OK, page);
    let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

const FRONT_PAGE: &str = "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>Alfred</title>\
<meta name=\"viewport\" content=\"width=device-width\"></head><body><main><h1>Alfred</h1>\
<p>An AI governance gateway. Point your OpenAI SDK's base URL at <code>/v1</code> on this address.</p>\
<ul><li><a href=\"/readyz\">/readyz</a></li><li><a href=\"/metrics\">/metrics</a></li>\
<li><a href=\"/admin/v1/openapi.json\">/admin/v1/openapi.json</a></li></ul></main></body></html>\n";

pub async fn front_page() -> Response<Body> {
    let mut response = text(StatusCode::OK, FRONT_PAGE.to_owned());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert("content-security-policy", HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    response
}

pub async fn not_found() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "not found\n".to_owned())
}

fn text(status: StatusCode, body: String) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
