//! Speaks to models: reads a caller's request, knows the providers, plans where it may go, sends it,
//! and turns every answer, streamed or not, into one sequence of [`ChatEvent`]s.
//!
//! A dialect does no IO; `send.rs` is the one place that does. Nothing here knows of money, policy or tenants.

mod anthropic;
mod canonical;
mod catalog;
mod chat;
mod config;
mod credentials;
mod dialect;
mod error;
mod fleet;
mod health;
mod json;
mod openai;
mod plan;
mod send;
mod sim;
mod splice;
mod sse;
mod tokens;

pub use catalog::{Auth, CatalogPrice, CatalogTier, Quirks, Tokenizer, check_catalog};
pub use chat::{BadRequest, ChatEvent, ChatRequest, Delta, End, Features, Shape, TextPart, Usage};
pub use config::{ConfiguredModel, Fault, KeySource, ProviderConfig};
pub use credentials::Secret;
pub use dialect::{Aim, Decoder, Dialect, Finish, HttpRequest, Outlet, Unsupported};
pub use error::{Class, ProviderError, Retry};
pub use fleet::{Fleet, Target};
pub use health::{Breaker, BreakerState, Health, HealthView, Outcome};
pub use plan::{Demand, Plan, SetAside, Why, plan};
pub use send::{Answer, Deadlines, Outbound};
pub use sse::{SseEvent, SseReader};
