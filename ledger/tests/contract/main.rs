//! What the ledger promises, on both databases.

#![expect(clippy::unwrap_used, reason = "unwrap belongs to tests")]

mod approvals;
mod attributes;
mod batches;
mod books;
mod charges;
mod decisions;
mod definitions;
mod idempotency;
mod money;
mod operators;
mod orphans;
mod outbox;
mod pace;
mod policies;
mod postgres;
mod prices;
mod tenants;
mod trail;
mod wallets;
mod world;
