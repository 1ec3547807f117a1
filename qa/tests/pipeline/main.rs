//! The life of a call, seen from outside: what an app may rely on when it swaps its base URL.

mod admission;
mod alerts;
mod bedrock;
mod budget;
mod cache;
mod failover;
mod gemini;
mod growth;
mod headers;
mod holds;
mod idempotency;
mod keys;
mod lifecycle;
mod messages;
mod models;
mod parse;
mod passthrough;
mod policy;
mod prices;
mod providers;
mod relay;
mod safety;
mod scopes;
mod secrets;
