//! The front of the house: an OpenAI-compatible port on which every call is governed.
//! Start with `pipeline.rs`: the life of one call.

mod alerts;
pub mod app;
mod authenticate;
mod back_door;
mod cache;
mod card;
mod case;
mod close;
pub mod commands;
pub mod config;
mod cover;
mod demo;
mod door;
mod estimator;
mod forward;
mod growth;
mod housekeeper;
mod http;
mod limits;
mod listen;
mod meter;
mod parse;
mod patience;
mod permit;
mod pipeline;
pub mod prices_command;
mod pricing;
mod quote;
mod recall;
mod refusal;
mod relay;
mod reply;
mod scan;
mod serve;
mod snapshot;
mod telemetry;
