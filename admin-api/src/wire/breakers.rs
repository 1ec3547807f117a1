//! Spend-spike breakers on the wire.

use std::time::Duration;

use ledger::pace::{Breaker, Mode, Rule};
use ledger::{BreakerRow, Money, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::word;
use crate::problem::Problem;

/// When a wallet's breaker trips. What is left out has its default.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SetBreaker {
    /// `off`, `alert` (a spike is told; the default) or `suspend` (it is told, and the wallet suspended).
    #[schema(example = "suspend", pattern = "^(off|alert|suspend)$")]
    pub mode: Option<String>,
    /// What is spent in 15 minutes is no spike below this. `1` unless said.
    #[schema(value_type = Option<String>, example = "5.00")]
    pub minimum_usd: Option<Money>,
    /// So many times the median of its own history at least. 5 unless said.
    #[schema(minimum = 2, maximum = 1000, example = 5)]
    pub ratio: Option<u32>,
    /// So many robust deviations (1.4826 × MAD) above that median at least. 6 unless said.
    #[schema(minimum = 1, maximum = 1000, example = 6)]
    pub deviations: Option<u32>,
    /// How long it stays open before some spending is tried. 900 unless said.
    #[schema(minimum = 60, maximum = 604800, example = 900)]
    pub cool_down_seconds: Option<u32>,
}

impl SetBreaker {
    pub(crate) fn read(self) -> Result<Rule, Problem> {
        let usual = Rule::default();
        let mode = self.mode.map(|mode| word("mode", &mode, Mode::from_word, "off, alert, suspend")).transpose()?;
        Ok(Rule {
            mode: mode.unwrap_or(usual.mode),
            minimum: self.minimum_usd.unwrap_or(usual.minimum),
            ratio: self.ratio.unwrap_or(usual.ratio),
            deviations: self.deviations.unwrap_or(usual.deviations),
            cool_down: self.cool_down_seconds.map_or(usual.cool_down, |s| Duration::from_secs(u64::from(s))),
        })
    }
}

/// A wallet's spend-spike breaker: what it goes by, and where it stands. A wallet with less than 24 hours of history has
/// nothing to be held against, and is left alone.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Breaker)]
pub(crate) struct BreakerBody {
    /// `off`, `alert` or `suspend`.
    #[schema(example = "alert")]
    pub mode: &'static str,
    #[schema(value_type = String, example = "1")]
    pub minimum_usd: Money,
    #[schema(example = 5)]
    pub ratio: u32,
    #[schema(example = 6)]
    pub deviations: u32,
    #[schema(example = 900)]
    pub cool_down_seconds: u64,
    /// `closed`, `open` (the wallet is suspended) or `half_open` (some spending is tried).
    #[schema(example = "closed")]
    pub state: &'static str,
    /// When it came to this state; null while it is closed.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub since: Option<Timestamp>,
    /// When it tries, or closes, of itself.
    #[schema(value_type = Option<String>, format = DateTime, required)]
    pub until: Option<Timestamp>,
    /// What may be spent while it is half open.
    #[schema(value_type = Option<String>, required)]
    pub allowance_usd: Option<Money>,
}

impl From<BreakerRow> for BreakerBody {
    fn from(row: BreakerRow) -> BreakerBody {
        let (since, until, allowance_usd) = match row.breaker {
            Breaker::Closed => (None, None, None),
            Breaker::Open { since, until, .. } => (Some(since), Some(until), None),
            Breaker::HalfOpen { since, until, allowance, .. } => (Some(since), Some(until), Some(allowance)),
        };
        BreakerBody {
            mode: row.rule.mode.as_str(),
            minimum_usd: row.rule.minimum,
            ratio: row.rule.ratio,
            deviations: row.rule.deviations,
            cool_down_seconds: row.rule.cool_down.as_secs(),
            state: row.breaker.as_str(),
            since,
            until,
            allowance_usd,
        }
    }
}
