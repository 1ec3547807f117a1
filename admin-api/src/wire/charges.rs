//! Charges on the wire that do not come from a call.

use ledger::{Id, Key, Money, Wallet};
use serde::Deserialize;
use utoipa::ToSchema;

/// Something that was delivered outside the gateway and is charged here.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewCharge {
    /// The wallet that pays, and with it all above it.
    #[schema(value_type = String, example = "wal_0192f0c1a2b37c4d8e5f60718293a4b5")]
    pub wallet_id: Id<Wallet>,
    /// On whose behalf: a key of this wallet.
    #[schema(value_type = Option<String>)]
    pub key_id: Option<Id<Key>>,
    /// What the tenant is charged. All of it must fit the limits of the wallet and of those above it.
    #[schema(value_type = String, example = "1.50")]
    pub price_usd: Money,
    /// What it cost the platform; nothing, unless said.
    #[schema(value_type = Option<String>, example = "1.20")]
    pub cost_usd: Option<Money>,
    /// One line of 1 to 200 characters. It is kept for good: name no person.
    #[schema(example = "nightly evaluation run", min_length = 1, max_length = 200)]
    pub reason: String,
    /// The system that asks for it.
    #[schema(example = "eval-runner", min_length = 1, max_length = 100)]
    pub source: String,
    /// Its name for it; each is charged once.
    #[schema(example = "run-4711", min_length = 1, max_length = 200)]
    pub reference: String,
}
