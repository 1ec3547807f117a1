//! How a wallet changes, and how it ends.

use super::scope::Tags;
use super::wallet::{Anchor, WalletKind, WalletRow, WalletStatus, terms};
use super::{TenantError, Tenants, breaker, check, kind};
use crate::audit::{Actor, Entry};
use crate::clock::Timestamp;
use crate::id::{Id, Wallet};
use crate::money::Money;
use crate::soft::{SoftAction, Threshold};
use crate::store::tenants::{self as rows, Change};
use crate::window::{Window, Zone};

/// What to change of a wallet; what is none stays as it is. `Some(None)` takes a limit away.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WalletChange {
    pub name: Option<String>,
    pub hard_limit: Option<Option<Money>>,
    pub soft_limit: Option<Option<Money>>,
    /// All of them anew.
    pub thresholds: Option<Vec<Threshold>>,
    pub soft_action: Option<SoftAction>,
    pub window: Option<Window>,
    pub zone: Option<Zone>,
    /// A window of another kind begins on its first day unless this says otherwise.
    pub anchor: Option<Option<Anchor>>,
    /// Of a scope.
    pub models: Option<Vec<String>>,
    /// Of a scope.
    pub tags: Option<Tags>,
    pub status: Option<WalletStatus>,
}

impl Tenants<'_> {
    /// Changes name, limits, window, coverage or status. A limit below what is spent and held admits nothing more and breaks
    /// nothing. Windows of another calendar count from nothing, unless the wallet had that calendar before within the same
    /// window; what is held goes on counting, and settles, in the window that it was held in. A wallet that calls hold
    /// something in cannot be closed, and a closed one stays as it is.
    pub async fn change_wallet(
        &self,
        id: Id<Wallet>,
        to: WalletChange,
        actor: &Actor,
    ) -> Result<WalletRow, TenantError> {
        let now = self.now();
        let mut change = Change::begin(self.db()).await?;
        // The writer holds these locks while it admits: nothing is held from here on that is not seen below, and what it
        // remembers of the wallet is of the revision before this one.
        let old = rows::lock_wallet(&mut change.tx, id).await?;
        let old = old.ok_or_else(|| TenantError::Unknown(id.to_string()))?;
        let asked = to.status;
        let new = changed(&old, to, now)?;
        let overruled = match asked {
            Some(asked) => breaker::overruled(&mut change.tx, &old, asked, actor, now).await?,
            None => None,
        };
        if new == old && overruled.is_none() {
            return Ok(old);
        }
        if old.status == WalletStatus::Closed {
            return Err(TenantError::Closed(id.to_string()));
        }
        if new.status == WalletStatus::Closed {
            let calls = rows::calls_in_flight(&mut change.tx, id).await?;
            if calls > 0 {
                return Err(TenantError::InUse { wallet: id.to_string(), calls });
            }
        }
        rows::update_wallet(&mut change.tx, &new).await?;
        let entry = Entry::new(Some(new.org), kind::WALLET_CHANGED, *actor)
            .with("wallet_id", new.id)
            .with("renamed", (old.name != new.name).then_some(true))
            .with("from", terms(&old))
            .with("to", terms(&new));
        let entries: Vec<Entry> = std::iter::once(entry).chain(overruled).collect();
        self.commit(change, now, &entries).await?;
        Ok(new)
    }
}

fn changed(old: &WalletRow, to: WalletChange, now: Timestamp) -> Result<WalletRow, TenantError> {
    let mut new = old.clone();
    if let Some(name) = to.name {
        check::name(&name)?;
        new.name = name;
    }
    if let Some(limit) = to.hard_limit {
        check::amount("hard_limit", limit)?;
        new.hard_limit = limit;
    }
    if let Some(limit) = to.soft_limit {
        check::amount("soft_limit", limit)?;
        // Only a soft limit that is being set is measured: the hard limit can always be lowered, in one call.
        check::soft_within_hard(limit, new.hard_limit)?;
        new.soft_limit = limit;
    }
    if let Some(thresholds) = to.thresholds {
        new.thresholds = check::thresholds(&thresholds, new.hard_limit)?;
    }
    new.soft_action = to.soft_action.unwrap_or(old.soft_action);
    let kind = to.window.unwrap_or(old.window.kind());
    let kept = (kind == old.window.kind()).then(|| match kind {
        Window::Week => Some(Anchor::Weekday(old.window.anchor())),
        Window::Month => Some(Anchor::Day(old.window.anchor())),
        Window::None | Window::Day => None,
    });
    let anchor = to.anchor.unwrap_or(kept.flatten());
    new.window = check::calendar(kind, to.zone.unwrap_or(old.window.zone()), anchor)?;
    for (given, field) in [(to.models.is_some(), "models"), (to.tags.is_some(), "tags")] {
        if given && old.kind != WalletKind::Scope {
            return Err(check::invalid(field, "must be left out: only a scope has them"));
        }
    }
    if let Some(coverage) = &mut new.coverage {
        coverage.models = to.models.unwrap_or_else(|| std::mem::take(&mut coverage.models));
        coverage.tags = to.tags.unwrap_or_else(|| std::mem::take(&mut coverage.tags));
        check::coverage(coverage)?;
    }
    new.status = to.status.unwrap_or(old.status);
    if new.status == WalletStatus::Closed {
        new.closed_at = old.closed_at.or(Some(now));
    }
    Ok(new)
}
