//! What a caller's wallets have left, for rules that ask. Advice as of at most a second ago; the limits themselves hold exactly.

use std::time::Duration;

use ledger::{Id, Money, Standing, Wallet};
use moka::sync::Cache as Moka;

use crate::app::App;
use crate::case::Caller;
use crate::snapshot::Snapshot;

/// What was read stays good for so long.
const FRESH: Duration = Duration::from_secs(1);
/// A read that takes longer tells nothing: rules are written so that what is not known closes.
const PATIENCE: Duration = Duration::from_millis(250);
/// So many wallets are remembered.
const MOST: u64 = 10_000;

/// The tightest wallet of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    pub free: Money,
    /// Of its limit, in whole percent, rounded down.
    pub percent: u8,
}

/// What was read lately, by the wallet of a key.
pub struct Headroom(Moka<Id<Wallet>, Option<Left>>);

impl Headroom {
    pub fn new() -> Headroom {
        Headroom(Moka::builder().max_capacity(MOST).time_to_live(FRESH).build())
    }

    /// What is left; nothing where no wallet has a limit, no rule asks, or nobody can say in time.
    pub async fn left(&self, app: &App, snapshot: &Snapshot, caller: &Caller) -> Option<Left> {
        if !snapshot.policies.asks_headroom() {
            return None;
        }
        let wallet = caller.credential.wallet;
        if let Some(known) = self.0.get(&wallet) {
            return known;
        }
        match tokio::time::timeout(PATIENCE, app.ledger.chain_standings(wallet)).await {
            Ok(Ok(chain)) => {
                let left = tightest(&chain);
                self.0.insert(wallet, left);
                left
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "what a wallet has left could not be read for a rule that asks");
                None
            }
            Err(_) => None,
        }
    }
}

/// Where the least is free.
fn tightest(chain: &[Standing]) -> Option<Left> {
    let left = |it: &Standing| {
        let free = it.available?;
        let limit = i128::from(free.nanos()) + i128::from(it.spent.nanos()) + i128::from(it.held.nanos());
        let percent = if limit > 0 { i128::from(free.nanos()) * 100 / limit } else { 0 };
        Some(Left { free, percent: u8::try_from(percent.clamp(0, 100)).unwrap_or(0) })
    };
    chain.iter().filter_map(left).min_by_key(|left| (left.free, left.percent))
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::Timestamp;

    #[test]
    fn the_wallet_with_the_least_free_is_told_and_one_without_a_limit_is_none() {
        let usd = |text: &str| text.parse::<Money>().expect("money");
        let wallet = |spent: &str, held: &str, available: Option<&str>| Standing {
            spent: usd(spent),
            held: usd(held),
            available: available.map(usd),
            window_start: Timestamp::from_micros(0),
            resets_at: None,
        };
        let told = |chain: &[Standing]| tightest(chain).map(|left| (left.free.to_string(), left.percent));
        assert_eq!(told(&[wallet("7", "0", None)]), None);
        assert_eq!(told(&[wallet("7", "1", Some("2")), wallet("90", "0", Some("10"))]), Some(("2".into(), 20)));
        assert_eq!(told(&[wallet("0", "0", Some("0"))]), Some(("0".into(), 0)));
        assert_eq!(told(&[wallet("2", "0", Some("1"))]), Some(("1".into(), 33)), "rounded down");
    }
}
