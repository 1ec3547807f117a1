//! Speaks to models: reads a caller's request, knows the providers, plans where it may go, sends it,
//! and turns every answer, streamed or not, into one sequence of [`AnswerEvent`]s.
//!
//! A dialect does no IO; `send.rs` is the one place that does. Nothing here knows of money, policy or tenants.

mod abilities;
mod anthropic;
mod batches;
mod bedrock;
mod calibration;
mod canonical;
mod catalog;
mod chance;
mod cohere;
mod config;
mod counter;
mod credentials;
mod dialect;
mod error;
#[cfg(test)]
mod estimates;
mod fleet;
#[cfg(test)]
mod fuzz;
mod gather;
mod gemini;
mod health;
mod json;
mod listing;
mod members;
mod merge;
mod one_call;
mod openai;
mod pem;
mod plan;
mod proxy;
mod realtime;
mod request;
mod responses;
mod send;
mod sim;
mod splice;
mod sse;
mod tasks;
mod tokens;
mod told;
mod translate;
mod way;
mod words;

pub use abilities::Ability;
pub use batches::{AnsweredLine, AskedLine, BatchEndpoint, Lines, RemoteBatch};
pub use calibration::{Calibration, Ratio};
pub use catalog::{Auth, CatalogPrice, CatalogTier, Quirks, Tokenizer, check_catalog, known_providers};
pub use config::{
    AwsSource, ConfiguredModel, EgressConfig, EntraConfig, Fault, GoogleConfig, HealthCheck, KeySource, ProviderConfig,
    ProxyConfig, UpstreamTls,
};
pub use counter::Counter;
pub use credentials::{AwsKeys, Keeper, KeyRing, KeyStanding, KeyTrouble, Live, LiveKey, Pick, Secret, VaultConfig};
pub use dialect::{Aim, Decoder, Dialect, Finish, HttpRequest, Outlet, Unsupported};
pub use error::{Class, ProviderError, Retry};
pub use fleet::{Fleet, Target};
pub use gather::Assembly;
pub use health::{Breaker, BreakerState, Health, HealthView, InFlight, Knock, Outcome, Report as HealthReport, Sight};
pub use listing::{Comparison, ListedModel, compare};
pub use pem::{LiveIdentity, authorities, certified};
pub use plan::{
    After, Asked, Demand, Hedge, Instead, Move, Plan, RetryRules, Routing, SetAside, Strategy, Walk, Why, plan,
};
pub use realtime::{Formats, Told as RealtimeTold, capped as realtime_capped, for_target as realtime_for_target};
pub use request::{
    AnswerEvent, Attachment, BadRequest, Delta, End, Family, Features, FileForm, ModelRequest, Offered, Outside, Shape,
    Task, TextPart, Usage,
};
pub use send::{Answer, Content, Deadlines, Outbound, Socket};
pub use sse::{SseEvent, SseReader};
pub use told::Told;
