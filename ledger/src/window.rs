//! The periods in which a wallet counts what was spent. All of them begin at midnight UTC.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use chrono::{Datelike, Days, Months, NaiveDate};

use crate::clock::Timestamp;

/// How long a limit counts before it starts anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Window {
    /// For ever.
    #[default]
    None,
    Day,
    /// From Monday.
    Week,
    /// A calendar month.
    Month,
}

const DAY: Duration = Duration::from_secs(86_400);

impl Window {
    /// The window of this kind that `at` lies in.
    pub fn period(self, at: Timestamp) -> Period {
        Period { kind: self, start: self.start(at) }
    }

    /// When the window that `at` lies in began; the epoch for a window without end.
    pub fn start(self, at: Timestamp) -> Timestamp {
        let day = |date: NaiveDate| {
            Timestamp::from_micros(date.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros())
        };
        match (self, date(at)) {
            (Window::None, _) | (_, None) => Timestamp::default(),
            (Window::Day, Some(date)) => day(date),
            (Window::Week, Some(date)) => day(date - Days::new(u64::from(date.weekday().num_days_from_monday()))),
            (Window::Month, Some(date)) => day(date.with_day(1).unwrap_or(date)),
        }
    }

    /// When the window that began at `start` ends.
    pub fn end(self, start: Timestamp) -> Option<Timestamp> {
        match self {
            Window::None => None,
            Window::Day => Some(start.after(DAY)),
            Window::Week => Some(start.after(DAY * 7)),
            Window::Month => {
                let next = date(start)?.checked_add_months(Months::new(1))?;
                Some(Timestamp::from_micros(next.and_time(chrono::NaiveTime::MIN).and_utc().timestamp_micros()))
            }
        }
    }

    /// As it is written in requests and rows.
    pub const fn as_str(self) -> &'static str {
        match self {
            Window::None => "none",
            Window::Day => "day",
            Window::Week => "week",
            Window::Month => "month",
        }
    }
}

/// One window of a wallet. Two of different kinds count apart, also where they begin together: a wallet whose kind of window
/// changes counts from nothing, and what is in flight settles where it was held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Period {
    kind: Window,
    start: Timestamp,
}

/// Windows begin at whole seconds, which leaves the microseconds to tell their kind.
const SECOND: i64 = 1_000_000;
const KINDS: [Window; 4] = [Window::None, Window::Day, Window::Week, Window::Month];

impl Period {
    /// How long it counts.
    pub const fn kind(self) -> Window {
        self.kind
    }

    /// When it began.
    pub const fn start(self) -> Timestamp {
        self.start
    }

    /// When it ends.
    pub fn end(self) -> Option<Timestamp> {
        self.kind.end(self.start)
    }

    /// As columns `window_start` and `legs` have it: its start, and its kind as the number of microseconds on top.
    pub const fn key(self) -> i64 {
        self.start.micros() + self.kind as i64
    }

    /// What `key` stored.
    pub fn from_key(key: i64) -> Option<Period> {
        let kind = usize::try_from(key.rem_euclid(SECOND)).ok()?;
        let start = Timestamp::from_micros(key - key.rem_euclid(SECOND));
        Some(Period { kind: *KINDS.get(kind)?, start })
    }
}

fn date(at: Timestamp) -> Option<NaiveDate> {
    chrono::DateTime::from_timestamp_micros(at.micros()).map(|at| at.date_naive())
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The text names no window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a window: none, day, week or month")]
pub struct WindowError;

impl FromStr for Window {
    type Err = WindowError;

    fn from_str(text: &str) -> Result<Self, WindowError> {
        KINDS.into_iter().find(|window| window.as_str() == text).ok_or(WindowError)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_begin_and_end_at_midnight_utc() {
        for (window, at, start, end) in [
            (Window::Day, "2026-03-01T23:59:59Z", "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"),
            (Window::Week, "2026-03-01T12:00:00Z", "2026-02-23T00:00:00Z", "2026-03-02T00:00:00Z"), // a Sunday
            (Window::Week, "2026-03-02T00:00:00Z", "2026-03-02T00:00:00Z", "2026-03-09T00:00:00Z"), // a Monday
            (Window::Month, "2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            (Window::Month, "2028-02-29T00:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
        ] {
            let began = window.start(at.parse().unwrap());
            assert_eq!(began, start.parse().unwrap(), "{window} of {at}");
            assert_eq!(window.end(began), Some(end.parse().unwrap()), "{window} of {at}");
            let period = window.period(at.parse().unwrap());
            assert_eq!(Period::from_key(period.key()), Some(period), "{window} of {at}");
        }
        assert_eq!(Window::None.start("2026-03-01T00:00:00Z".parse().unwrap()), Timestamp::default());
        assert_eq!(Window::None.end(Timestamp::default()), None);
        assert_eq!("fortnight".parse::<Window>(), Err(WindowError));
    }
}
