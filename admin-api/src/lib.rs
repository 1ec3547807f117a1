//! Operators' HTTP, mounted at `/admin/v1`: tenants, wallets, keys, requests, audit.
//!
//! A handler reads what was asked, makes one ledger call and answers a wire type. Three layers hold for every route:
//! who is asking ([`operator`]), the change being in force before the answer leaves ([`effect`]), and problem
//! documents for whatever no route takes.

mod alerts;
mod approvals;
mod audit;
mod body;
mod charges;
mod config;
pub mod configuration;
mod decisions;
mod definitions;
mod document;
mod effect;
mod keys;
mod layers;
mod models;
mod once;
mod operator;
mod operators;
mod orgs;
mod page;
mod policies;
mod prices;
mod problem;
mod providers;
mod reconcile;
pub mod rehearsal;
mod requests;
pub mod rules;
mod teams;
mod users;
mod wallets;
mod wire;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use futures_util::future::BoxFuture;
use ledger::{Ledger, OperatorCredential};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use configuration::Configuration;
use problem::Problem;

/// What the admin API stands on.
#[derive(Clone)]
pub struct AdminState {
    /// The system of record.
    pub ledger: Ledger,
    /// The process that it runs in.
    pub refresh: Arc<dyn Refresh>,
    /// Its configuration.
    pub configuration: Arc<dyn Configuration>,
    /// Room for one replay at a time: calls come first.
    pub replaying: Arc<tokio::sync::Semaphore>,
}

/// What the process around the admin API provides.
pub trait Refresh: Send + Sync {
    /// Puts every committed change into force in this process. Awaited after each successful write.
    fn refresh(&self) -> BoxFuture<'_, Result<(), String>>;

    /// Living operators' keys, from memory; none when they could not be confirmed for too long (answered 503).
    fn operators(&self) -> Option<Arc<[OperatorCredential]>>;

    /// Whether a configured provider could serve what this name or pattern of targets means; none when what is configured
    /// could not be confirmed for too long (answered 503).
    fn serves(&self, _target: &str) -> Option<bool> {
        Some(true)
    }

    /// What else a target is called: by the kind of its provider, whatever the configuration calls that.
    fn goes_by(&self, _target: &str) -> Option<String> {
        None
    }

    /// The rules in force in this process; none where there are none.
    fn rulebook(&self) -> Option<Arc<::policies::Rulebook>> {
        None
    }

    /// Counts a failed verification against the address that `request` came from. Where that address has had too many,
    /// says how long it has to wait (answered 429). A valid key is never asked about.
    fn failed_verification(&self, request: &http::request::Parts) -> Option<Duration>;
}

/// The admin API, to be nested at `/admin/v1`.
pub fn router(state: AdminState) -> Router {
    let (router, _) = guarded().split_for_parts();
    router
        .fallback(async || Problem::NoRoute)
        .method_not_allowed_fallback(async || Problem::NoMethod)
        .layer(from_fn_with_state(state.clone(), effect::in_force))
        .layer(from_fn_with_state(state.clone(), operator::authenticate))
        // After the layer of authentication, so outside it: tools read the document before they have a key, and it holds
        // nothing that the published file does not.
        .merge(Router::from(public()))
        .layer(from_fn(effect::uncached))
        .with_state(state)
}

/// The OpenAPI 3.1 document of the admin API, as it is served and as it is committed in `docs/api`.
pub fn openapi() -> String {
    document::text()
}

fn routes() -> OpenApiRouter<AdminState> {
    guarded().merge(public())
}

/// What anybody may read.
fn public() -> OpenApiRouter<AdminState> {
    OpenApiRouter::with_openapi(document::frame()).routes(routes!(document::serve))
}

/// What only an operator may touch.
fn guarded() -> OpenApiRouter<AdminState> {
    OpenApiRouter::with_openapi(document::frame())
        .routes(routes!(orgs::create, orgs::list))
        .routes(routes!(orgs::get, orgs::change))
        .routes(routes!(prices::terms, prices::set_terms))
        .routes(routes!(teams::create, teams::list))
        .routes(routes!(teams::get, teams::change))
        .routes(routes!(users::create, users::list))
        .routes(routes!(users::get, users::change))
        .routes(routes!(wallets::create, wallets::list))
        .routes(routes!(wallets::get, wallets::change))
        .routes(routes!(wallets::fund))
        .routes(routes!(wallets::entries))
        .routes(routes!(wallets::set_breaker))
        .routes(routes!(keys::create, keys::list))
        .routes(routes!(keys::get, keys::change, keys::revoke))
        .routes(routes!(keys::rotate))
        .routes(routes!(requests::list))
        .routes(routes!(requests::get))
        .routes(routes!(requests::refund))
        .routes(routes!(requests::correct))
        .routes(routes!(requests::confirm))
        .routes(routes!(requests::amendments))
        .routes(routes!(charges::create))
        .routes(routes!(reconcile::create))
        .routes(routes!(prices::create, prices::list))
        .routes(routes!(prices::get))
        .routes(routes!(prices::import))
        .routes(routes!(prices::rerate))
        .routes(routes!(prices::set_markup, prices::markups))
        .routes(routes!(providers::create, providers::list))
        .routes(routes!(providers::get, providers::change, providers::delete))
        .routes(routes!(providers::versions))
        .routes(routes!(providers::roll_back))
        .routes(routes!(models::create, models::list))
        .routes(routes!(models::get, models::change, models::delete))
        .routes(routes!(models::versions))
        .routes(routes!(models::roll_back))
        .routes(routes!(policies::create, policies::list))
        .routes(routes!(policies::get))
        .routes(routes!(policies::diff))
        .routes(routes!(policies::activate))
        .routes(routes!(layers::list))
        .routes(routes!(layers::remove))
        .routes(routes!(layers::roll_back))
        .routes(routes!(layers::activations))
        .routes(routes!(layers::shadow, layers::set_shadow, layers::clear_shadow))
        .routes(routes!(decisions::list))
        .routes(routes!(decisions::get))
        .routes(routes!(decisions::explain))
        .routes(routes!(decisions::replay))
        .routes(routes!(config::reload))
        .routes(routes!(config::status))
        .routes(routes!(alerts::list))
        .routes(routes!(alerts::redeliver))
        .routes(routes!(approvals::list))
        .routes(routes!(approvals::get))
        .routes(routes!(approvals::decide))
        .routes(routes!(operators::create, operators::list))
        .routes(routes!(operators::revoke))
        .routes(routes!(audit::list))
        .routes(routes!(audit::export))
}
