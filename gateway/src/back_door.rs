//! The admin API under this roof: what it needs of the process around it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use admin_api::configuration::Configuration;
use admin_api::{AdminState, Refresh};
use axum::Router;
use axum::extract::ConnectInfo;
use futures_util::future::BoxFuture;
use ledger::OperatorCredential;

use crate::app::App;
use crate::refusal::Refusal;
use crate::reload::{Desk, Reloader};

/// The admin API, to be mounted at `/admin/v1`.
pub fn router(app: &Arc<App>, reloader: &Arc<Reloader>) -> Router {
    let refresh: Arc<dyn Refresh> = Arc::new(BackDoor(Arc::clone(app)));
    let configuration: Arc<dyn Configuration> = Arc::new(Desk { app: Arc::clone(app), reloader: Arc::clone(reloader) });
    admin_api::router(AdminState {
        ledger: app.ledger.clone(),
        refresh,
        configuration,
        replaying: Arc::new(tokio::sync::Semaphore::new(1)),
    })
}

struct BackDoor(Arc<App>);

impl Refresh for BackDoor {
    fn refresh(&self) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async { self.0.refresh().await.map_err(|error| error.to_string()) })
    }

    fn operators(&self) -> Option<Arc<[OperatorCredential]>> {
        self.0.snapshot().ok().map(|snapshot| Arc::clone(&snapshot.operators))
    }

    fn serves(&self, target: &str) -> Option<bool> {
        self.0.snapshot().ok().map(|snapshot| crate::pricing::serves(&snapshot, target))
    }

    fn rulebook(&self) -> Option<Arc<policies::Rulebook>> {
        Some(Arc::clone(&self.0.present().policies))
    }

    fn goes_by(&self, target: &str) -> Option<String> {
        let target = self.0.snapshot().ok()?.routes.fleet.target(target)?;
        Some(format!("{}/{}", target.kind, target.model))
    }

    fn failed_verification(&self, request: &axum::http::request::Parts) -> Option<Duration> {
        let app = &self.0;
        let peer = request.extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip();
        let (address, now) = (app.limits.address(peer, &request.headers), app.clock().now());
        let refusal = app.limits.failed_verification(address, now);
        app.limits.count(None, address, refusal.code(), now);
        match refusal {
            Refusal::RateLimited { retry_after, .. } => Some(retry_after),
            _ => None,
        }
    }
}
