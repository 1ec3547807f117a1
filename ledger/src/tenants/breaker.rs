//! A wallet's spend-spike breaker, as operators set it and overrule it. What it does of itself is in `watch`.

use std::collections::HashMap;
use std::time::Duration;

use serde::Serialize;

use super::{TenantError, Tenants, WalletRow, WalletStatus, check, kind};
use crate::audit::{Actor, Entry};
use crate::clock::Timestamp;
use crate::error::StoreError;
use crate::id::{Id, Wallet};
use crate::money::Money;
use crate::pace::{Breaker, Mode, Rule};
use crate::store::Tx;
use crate::store::pace::{self as rows, BreakerRow};
use crate::store::tenants::{self as wallets, Change};

/// After an operator closed a breaker nothing new is judged for so long.
const QUIET: Duration = Duration::from_secs(3_600);
const LEAST_COOL_DOWN: Duration = Duration::from_secs(60);
const LONGEST_COOL_DOWN: Duration = Duration::from_secs(7 * 86_400);

#[derive(Serialize)]
struct Terms {
    mode: &'static str,
    minimum_usd: Money,
    ratio: u32,
    deviations: u32,
    cool_down_seconds: u64,
}

fn terms(rule: &Rule) -> Terms {
    Terms {
        mode: rule.mode.as_str(),
        minimum_usd: rule.minimum,
        ratio: rule.ratio,
        deviations: rule.deviations,
        cool_down_seconds: rule.cool_down.as_secs(),
    }
}

impl Tenants<'_> {
    /// The breakers of these wallets; one that is not there has the defaults and is closed.
    pub async fn breakers(&self, wallets: &[Id<Wallet>]) -> Result<HashMap<Id<Wallet>, BreakerRow>, StoreError> {
        rows::breakers_of(self.db(), wallets).await
    }

    /// Sets when a wallet's breaker trips. A mode that suspends nothing closes it, if it is open.
    pub async fn set_breaker(&self, id: Id<Wallet>, rule: Rule, actor: &Actor) -> Result<BreakerRow, TenantError> {
        check_rule(&rule)?;
        let mut change = Change::begin(self.db()).await?;
        let wallet = wallets::lock_wallet(&mut change.tx, id).await?;
        let wallet = wallet.ok_or_else(|| TenantError::Unknown(id.to_string()))?;
        let old = rows::lock_breaker(&mut change.tx, id).await?;
        let mut new = BreakerRow { rule, ..old };
        if rule.mode != Mode::Suspend {
            new.breaker = Breaker::Closed;
        }
        if new == old {
            return Ok(old);
        }
        rows::save_breaker(&mut change.tx, id, &new).await?;
        let set = Entry::new(Some(wallet.org), kind::BREAKER_SET, *actor)
            .with("wallet_id", id)
            .with("from", terms(&old.rule))
            .with("to", terms(&rule));
        let mut entries = vec![set];
        if new.breaker != old.breaker {
            if matches!(old.breaker, Breaker::Open { .. }) && wallet.status == WalletStatus::Suspended {
                let active = WalletRow { status: WalletStatus::Active, ..wallet.clone() };
                wallets::update_wallet(&mut change.tx, &active).await?;
            }
            entries.push(closed(&wallet, &old.breaker, actor));
        }
        self.commit(change, self.now(), &entries).await?;
        Ok(new)
    }
}

/// An operator's word on a wallet's status ends whatever its breaker was at: made active, it is closed, and what tripped it
/// counts as usual from now on; suspended, it is the operator's suspension that holds.
pub(super) async fn overruled(
    tx: &mut Tx,
    wallet: &WalletRow,
    asked: WalletStatus,
    actor: &Actor,
    now: Timestamp,
) -> Result<Option<Entry>, StoreError> {
    let old = rows::lock_breaker(tx, wallet.id).await?;
    let (Breaker::Open { since, .. } | Breaker::HalfOpen { since, .. }) = old.breaker else { return Ok(None) };
    let well = asked == WalletStatus::Active;
    let quiet_until = if well { Some(now.after(QUIET)) } else { old.quiet_until };
    rows::save_breaker(tx, wallet.id, &BreakerRow { breaker: Breaker::Closed, quiet_until, ..old }).await?;
    if well {
        let from = since.micros().saturating_sub(86_400_000_000);
        rows::leave_out(tx, wallet.id, Timestamp::from_micros(from), false).await?;
    }
    Ok(Some(closed(wallet, &old.breaker, actor)))
}

fn closed(wallet: &WalletRow, was: &Breaker, actor: &Actor) -> Entry {
    Entry::new(Some(wallet.org), kind::BREAKER_CLOSED, *actor).with("wallet_id", wallet.id).with("was", was.as_str())
}

fn check_rule(rule: &Rule) -> Result<(), TenantError> {
    check::amount("minimum", Some(rule.minimum))?;
    if !(2..=1_000).contains(&rule.ratio) {
        return Err(check::invalid("ratio", "must be from 2 to 1000"));
    }
    if !(1..=1_000).contains(&rule.deviations) {
        return Err(check::invalid("deviations", "must be from 1 to 1000"));
    }
    if !(LEAST_COOL_DOWN..=LONGEST_COOL_DOWN).contains(&rule.cool_down) {
        let (least, most) = (LEAST_COOL_DOWN.as_secs(), LONGEST_COOL_DOWN.as_secs());
        return Err(check::invalid("cool_down", format!("must be from {least} to {most} seconds")));
    }
    Ok(())
}
