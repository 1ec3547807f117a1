//! What the ledger promises, on both databases.

#![expect(clippy::unwrap_used, reason = "unwrap belongs to tests")]

mod books;
mod idempotency;
mod money;
mod orphans;
mod postgres;
mod tenants;
mod trail;
mod wallets;
mod world;
