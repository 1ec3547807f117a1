//! What the ledger promises, on both databases.

mod books;
mod idempotency;
mod money;
mod orphans;
mod postgres;
mod tenants;
mod trail;
mod world;
