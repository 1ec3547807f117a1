//! Uses of what was granted: taken before a call goes, corrected to what it cost, given back when it did not happen.
//!
//! The rows of the grants are locked in the order of their ids, whatever process asks, and counted there: that is what makes
//! one use one call. Each step of a call is a row of its own, so a repeat is known and changes nothing.

use super::{Approvals, Choice, Needs, choose, entry, kind, rows};
use crate::audit::{Actor, Entry};
use crate::error::StoreError;
use crate::id::{Approval, Call, Id, Key};
use crate::money::Money;
use crate::store::audit;

/// A call that shows approvals.
#[derive(Debug, Clone, Copy)]
pub struct Spend<'a> {
    pub call: Id<Call>,
    pub needs: Needs<'a>,
    /// As the client has them.
    pub shown: &'a [Id<Approval>],
}

/// What a call was let through with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spent {
    /// Each was used once for it.
    Granted(Vec<Id<Approval>>),
    /// Nothing was used.
    Barred(Choice),
}

impl Approvals<'_> {
    /// Uses the approvals that a call needs, all of them or none. Durable when it returns; once for a call, however often it
    /// is asked.
    pub async fn spend(&self, spend: Spend<'_>) -> Result<Spent, StoreError> {
        let Spend { call, needs, shown } = spend;
        let mut ids = shown.to_vec();
        ids.sort_unstable();
        ids.dedup();
        let now = self.now();
        let mut tx = self.db().begin().await?;
        let grants = rows::lock(&mut tx, &ids).await?;
        let before = rows::used_by(&mut tx, call).await?;
        if !before.is_empty() {
            return Ok(Spent::Granted(before));
        }
        let choice = choose(&needs, shown, &grants, now);
        if !choice.unmet.is_empty() {
            return Ok(Spent::Barred(choice));
        }
        let mut entries = Vec::new();
        for row in grants.iter().filter(|row| choice.grants.contains(&row.id)) {
            rows::change(&mut tx, row.id, call, ("used", 1, needs.amount), now).await?;
            entries.push(about(entry(row, kind::APPROVAL_USED, Actor::Key(needs.key)), call, needs.key, needs.amount));
        }
        audit::append(&mut tx, now, &entries).await?;
        tx.commit().await?;
        Ok(Spent::Granted(choice.grants))
    }

    /// Gives back what a call has used: it did not happen.
    pub async fn give_back(&self, call: Id<Call>, grants: &[Id<Approval>]) -> Result<(), StoreError> {
        let now = self.now();
        let mut tx = self.db().begin().await?;
        let mut entries = Vec::new();
        for row in rows::lock(&mut tx, &sorted(grants)).await? {
            let Some(used) = rows::open_use(&mut tx, row.id, call).await? else { continue };
            let back = Money::ZERO.minus(used).unwrap_or(Money::ZERO);
            rows::change(&mut tx, row.id, call, ("returned", -1, back), now).await?;
            let entry = entry(&row, kind::APPROVAL_RETURNED, Actor::System).with("request_id", call);
            entries.push(entry.with("amount_usd", used));
        }
        audit::append(&mut tx, now, &entries).await?;
        tx.commit().await
    }

    /// Corrects what a call has used to what it cost. The books have the cost already: this is no entry of its own.
    pub async fn cost(&self, call: Id<Call>, grants: &[Id<Approval>], price: Money) -> Result<(), StoreError> {
        let now = self.now();
        let mut tx = self.db().begin().await?;
        for row in rows::lock(&mut tx, &sorted(grants)).await? {
            let Some(used) = rows::open_use(&mut tx, row.id, call).await? else { continue };
            let difference = price.minus(used).unwrap_or(Money::ZERO);
            rows::change(&mut tx, row.id, call, ("settled", 0, difference), now).await?;
        }
        tx.commit().await
    }
}

fn sorted(grants: &[Id<Approval>]) -> Vec<Id<Approval>> {
    let mut ids = grants.to_vec();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// The key that used it may be another than the one that asked.
fn about(entry: Entry, call: Id<Call>, key: Id<Key>, amount: Money) -> Entry {
    entry.with("request_id", call).with("key_id", key).with("amount_usd", amount)
}
