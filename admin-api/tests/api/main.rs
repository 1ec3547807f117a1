//! The admin API as an operator meets it: over its router, on a real ledger.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on says where")]

mod alerts;
mod approvals;
mod charges;
mod configuration;
mod decisions;
mod document;
mod faults;
mod keys;
mod money;
mod once;
mod paging;
mod prices;
mod reconcile;
mod routes;
mod tenants;
mod wallets;
mod world;
