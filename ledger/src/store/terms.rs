//! A wallet's terms as columns have them, the same in both databases.

use crate::book::Terms;
use crate::error::StoreError;
use crate::money::Money;
use crate::soft::{SoftAction, Threshold, Thresholds};
use crate::window::{Calendar, Zone};

/// Columns of a wallet that bound what it admits.
pub(crate) struct TermsColumns<'a> {
    pub status: &'a str,
    pub closed_at: Option<i64>,
    pub hard_limit: Option<i64>,
    pub soft_limit: Option<i64>,
    pub thresholds: Option<&'a str>,
    pub soft_action: &'a str,
    pub window_kind: &'a str,
    pub time_zone: Option<&'a str>,
    pub anchor: Option<i64>,
    pub funding: &'a str,
    pub funded: i64,
}

impl TermsColumns<'_> {
    pub fn read(&self) -> Result<Terms, StoreError> {
        Ok(Terms {
            suspended: self.status != "active",
            closed: self.closed_at.is_some(),
            hard_limit: self.hard_limit.map(Money::from_nanos),
            soft_limit: self.soft_limit.map(Money::from_nanos),
            thresholds: thresholds(self.thresholds)?,
            soft_action: soft_action(self.soft_action)?,
            window: calendar(self.window_kind, self.time_zone, self.anchor)?,
            prepaid: self.funding == "prepaid",
            funded: Money::from_nanos(self.funded),
        })
    }
}

/// A calendar; nothing told of the zone means UTC, nothing told of the day the first.
pub(crate) fn calendar(kind: &str, zone: Option<&str>, anchor: Option<i64>) -> Result<Calendar, StoreError> {
    let read = || {
        let zone = zone.map_or(Some(Zone::UTC), |zone| zone.parse().ok())?;
        let anchor = anchor.map(u8::try_from).transpose().ok()?;
        Calendar::new(kind.parse().ok()?, zone, anchor)
    };
    read().ok_or_else(|| StoreError::Corrupt(format!("window {kind:?} {zone:?} {anchor:?}")))
}

pub(crate) fn thresholds(json: Option<&str>) -> Result<Thresholds, StoreError> {
    let Some(json) = json else { return Ok(Thresholds::default()) };
    let all: Option<Vec<Threshold>> = serde_json::from_str(json).ok();
    all.and_then(|all| Thresholds::new(&all)).ok_or_else(|| StoreError::Corrupt(format!("thresholds {json:?}")))
}

pub(crate) fn soft_action(word: &str) -> Result<SoftAction, StoreError> {
    SoftAction::from_word(word).ok_or_else(|| StoreError::Corrupt(format!("soft action {word:?}")))
}
