//! How fast a wallet spends, held against its own history. Pure: time and samples are handed in.
//!
//! What is spent in the last 15 minutes (the running 5-minute bucket and the two before it) is a spike when it is more than
//!
//! ```text
//! threshold = max( minimum,
//!                  ratio × median,
//!                  median + deviations × 1.4826 × MAD,
//!                  2 × the highest quarter of an hour seen around this time of day on earlier days )
//! ```
//!
//! Median and MAD (median absolute deviation) are those of the quarters of an hour of the last 14 days in which anything
//! was spent: how much this wallet spends when it spends. Both are deaf to outliers, which a mean and its deviation are not,
//! and 1.4826 × MAD estimates the standard deviation of a normal distribution (Iglewicz & Hoaglin, "How to Detect and Handle
//! Outliers", 1993, whose modified z-score this is; Rousseeuw & Croux, JASA 88, 1993). `ratio` keeps a wallet that always
//! spends the same, whose MAD is 0, from being stopped by a trifle. The last term knows jobs of the night and of the week,
//! and lets a rise that takes days pass. With less than 24 hours of history, or fewer than twelve quarters of an hour with
//! spending in it, nothing is judged.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::clock::Timestamp;
use crate::money::Money;

/// Spending is sampled into buckets of this length.
pub const BUCKET: Duration = Duration::from_secs(300);
/// What is held against the history: three buckets.
pub const SPAN: Duration = Duration::from_secs(900);
/// So much history is kept.
pub const KEPT: Duration = Duration::from_secs(14 * 86_400);
/// With less history nothing is judged.
pub const LEAST_HISTORY: Duration = Duration::from_secs(86_400);
/// With fewer spans in which anything was spent nothing is judged.
const LEAST_ACTIVE: usize = 12;

const BUCKET_MICROS: i64 = 300_000_000;
const SPAN_MICROS: i64 = 3 * BUCKET_MICROS;
const HOUR_MICROS: i64 = 3_600_000_000;
const DAY_MICROS: i64 = 24 * HOUR_MICROS;

/// A wallet as it stood at the end of a bucket. Buckets in which nothing changed have no point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Point {
    /// When the bucket began.
    pub bucket: Timestamp,
    /// What was spent in all windows together by then.
    pub total: Money,
    /// What came since the point before is no history: a spike that was stopped, or the catch-up after a pause in sampling.
    pub left_out: bool,
}

/// The bucket that `at` lies in.
pub fn bucket(at: Timestamp) -> Timestamp {
    Timestamp::from_micros(at.micros() - at.micros().rem_euclid(BUCKET_MICROS))
}

/// When the running span began: two buckets before the present one.
pub fn span_start(now: Timestamp) -> Timestamp {
    Timestamp::from_micros(bucket(now).micros() - 2 * BUCKET_MICROS)
}

/// What is done about a spike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Nothing is looked for.
    Off,
    /// It is told. Nothing is stopped by an estimate that nobody asked to be stopped by.
    #[default]
    Alert,
    /// It is told, and the wallet is suspended.
    Suspend,
}

impl Mode {
    /// Every one of them.
    pub const ALL: [Mode; 3] = [Mode::Off, Mode::Alert, Mode::Suspend];

    /// The word for it in JSON and SQL.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::Off => "off",
            Mode::Alert => "alert",
            Mode::Suspend => "suspend",
        }
    }

    /// The one that is called `word`.
    pub fn from_word(word: &str) -> Option<Mode> {
        Mode::ALL.into_iter().find(|mode| mode.as_str() == word)
    }
}

/// When a wallet's breaker trips, and for how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    pub mode: Mode,
    /// Spending below this is never a spike.
    pub minimum: Money,
    /// So many times the median at least.
    pub ratio: u32,
    /// So many robust deviations above the median at least.
    pub deviations: u32,
    /// How long a tripped breaker stays open before some spending is tried again.
    pub cool_down: Duration,
}

impl Default for Rule {
    fn default() -> Self {
        Rule {
            mode: Mode::Alert,
            minimum: Money::from_nanos(1_000_000_000),
            ratio: 5,
            deviations: 6,
            cool_down: Duration::from_secs(900),
        }
    }
}

/// What the history says of the running span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Too little is known of this wallet.
    Unknown,
    Normal {
        spent: Money,
        threshold: Money,
    },
    Spike {
        spent: Money,
        threshold: Money,
    },
}

/// Holds what was spent in the running span against the threshold that the history gives.
pub(crate) fn judge(spent: Money, threshold: Option<Money>) -> Verdict {
    match threshold {
        None => Verdict::Unknown,
        Some(threshold) if spent > threshold => Verdict::Spike { spent, threshold },
        Some(threshold) => Verdict::Normal { spent, threshold },
    }
}

/// What was spent in the running span.
pub fn recent(points: &[Point], now: Timestamp) -> Money {
    let start = span_start(now).micros();
    let sum =
        steps(points).filter(|(bucket, _)| *bucket >= start).fold(0_i64, |sum, (_, step)| sum.saturating_add(step));
    Money::from_nanos(sum)
}

/// Above this the running span is a spike; nothing, where too little is known.
pub fn threshold(points: &[Point], now: Timestamp, rule: &Rule) -> Option<Money> {
    let start = span_start(now).micros();
    let began = points.first()?.bucket;
    if now.since(began) < LEAST_HISTORY {
        return None;
    }
    let mut spans: BTreeMap<i64, i64> = BTreeMap::new();
    for (bucket, step) in steps(points).filter(|(_, step)| *step > 0) {
        let span = bucket - bucket.rem_euclid(SPAN_MICROS);
        if span + SPAN_MICROS <= start {
            let sum = spans.entry(span).or_default();
            *sum = sum.saturating_add(step);
        }
    }
    if spans.len() < LEAST_ACTIVE {
        return None;
    }
    let Usual { median, deviation } = usual(spans.values().copied())?;
    let peak =
        spans.iter().filter(|(span, _)| same_time_earlier(**span, start)).map(|(_, sum)| *sum).max().unwrap_or(0);
    let by_ratio = i128::from(median) * i128::from(rule.ratio);
    let by_deviation = i128::from(median) + i128::from(rule.deviations) * deviation;
    let most = by_ratio.max(by_deviation).max(2 * i128::from(peak)).max(i128::from(rule.minimum.nanos()));
    Some(Money::from_nanos(i64::try_from(most).unwrap_or(i64::MAX)))
}

/// Within an hour of this time of day, on an earlier day.
fn same_time_earlier(span: i64, start: i64) -> bool {
    let apart = (start - span).rem_euclid(DAY_MICROS);
    start - span >= DAY_MICROS - HOUR_MICROS && apart.min(DAY_MICROS - apart) <= HOUR_MICROS
}

/// The middle of some amounts, and how far from it the rest usually is: 1.4826 × MAD.
pub(crate) struct Usual {
    pub median: i64,
    pub deviation: i128,
}

pub(crate) fn usual(amounts: impl Iterator<Item = i64>) -> Option<Usual> {
    let amounts: Vec<i64> = amounts.collect();
    let median = median(amounts.clone())?;
    let mad = self::median(amounts.into_iter().map(|amount| amount.saturating_sub(median).saturating_abs()).collect())?;
    Some(Usual { median, deviation: i128::from(mad) * 14_826 / 10_000 })
}

// The lower of the two middle ones, where there are two: nothing is invented between them.
fn median(mut amounts: Vec<i64>) -> Option<i64> {
    let middle = amounts.len().checked_sub(1)? / 2;
    Some(*amounts.select_nth_unstable(middle).1)
}

/// What each point added. The first only says where counting began; what was given back adds nothing.
pub(crate) fn steps(points: &[Point]) -> impl Iterator<Item = (i64, i64)> {
    points.windows(2).filter(|pair| !pair[1].left_out).map(|pair| {
        let step = pair[1].total.nanos().saturating_sub(pair[0].total.nanos());
        (pair[1].bucket.micros(), step.max(0))
    })
}

/// Where a wallet's breaker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Breaker {
    /// Calls pass.
    #[default]
    Closed,
    /// The wallet is suspended.
    Open { since: Timestamp, until: Timestamp, threshold: Money },
    /// Calls pass again, as long as no more than `allowance` is spent on top of `from`.
    HalfOpen { since: Timestamp, until: Timestamp, threshold: Money, from: Money, allowance: Money },
}

impl Breaker {
    /// The word for it in JSON and SQL.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Breaker::Closed => "closed",
            Breaker::Open { .. } => "open",
            Breaker::HalfOpen { .. } => "half_open",
        }
    }
}

/// What a breaker does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// A spike is told, and nothing stopped.
    Tell { spent: Money, threshold: Money },
    /// A spike stops the wallet; so does too much spent on trial.
    Trip { spent: Money, threshold: Money, to: Breaker },
    /// After the cool-down some spending is tried.
    Try { to: Breaker },
    /// The trial went well.
    Close,
}

/// Decides what a breaker does at `now`. `total` is what the wallet has spent in all. Until `quiet_until` nothing new is
/// judged: a spike was told, or an operator said that all is well.
pub fn step(
    rule: &Rule,
    breaker: &Breaker,
    quiet_until: Option<Timestamp>,
    now: Timestamp,
    total: Money,
    verdict: Verdict,
) -> Option<Step> {
    let open = |threshold| Breaker::Open { since: now, until: now.after(rule.cool_down), threshold };
    match (*breaker, verdict) {
        (Breaker::Closed, _) if quiet_until.is_some_and(|until| now < until) => None,
        (Breaker::Closed, Verdict::Unknown | Verdict::Normal { .. }) => None,
        (Breaker::Closed, Verdict::Spike { spent, threshold }) => match rule.mode {
            Mode::Off => None,
            Mode::Alert => Some(Step::Tell { spent, threshold }),
            Mode::Suspend => Some(Step::Trip { spent, threshold, to: open(threshold) }),
        },
        (Breaker::Open { until, .. }, _) if now < until => None,
        (Breaker::Open { threshold, .. }, _) => {
            let allowance = Money::from_nanos(threshold.nanos() / 2);
            let to = Breaker::HalfOpen { since: now, until: now.after(SPAN), threshold, from: total, allowance };
            Some(Step::Try { to })
        }
        (Breaker::HalfOpen { until, threshold, from, allowance, .. }, _) => {
            let spent = total.minus(from).unwrap_or(Money::MAX);
            if spent > allowance {
                return Some(Step::Trip { spent, threshold: allowance, to: open(threshold) });
            }
            (now >= until).then_some(Step::Close)
        }
    }
}

#[cfg(test)]
mod tests;
