//! The periods in which a wallet counts what was spent: by which calendar, and of when to when. Pure.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Datelike, Days, LocalResult, Months, NaiveDate, NaiveTime, TimeZone};
use chrono_tz::{GapInfo, Tz};

use crate::clock::Timestamp;

/// How long a limit counts before it starts anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Window {
    /// For ever.
    #[default]
    None,
    Day,
    Week,
    Month,
}

impl Window {
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

/// A time zone of the IANA database, such as `Europe/Berlin`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Zone(Tz);

impl Zone {
    pub const UTC: Zone = Zone(Tz::UTC);

    /// Its name in the IANA database.
    pub fn as_str(self) -> &'static str {
        self.0.name()
    }

    // Every admission asks for the windows of its wallets, most of which are in UTC: there nothing is looked up.
    fn date(self, at: Timestamp) -> Option<NaiveDate> {
        let at = DateTime::from_timestamp_micros(at.micros())?;
        Some(if self == Zone::UTC { at.date_naive() } else { at.with_timezone(&self.0).date_naive() })
    }

    /// When a day begins: at its first midnight where clocks are set back over it, and at its first moment where clocks are
    /// set forward over midnight, or over the day.
    fn midnight(self, date: NaiveDate) -> Option<Timestamp> {
        let midnight = date.and_time(NaiveTime::MIN);
        if self == Zone::UTC {
            return Some(Timestamp::from_micros(midnight.and_utc().timestamp_micros()));
        }
        let first = match self.0.from_local_datetime(&midnight) {
            LocalResult::Single(first) | LocalResult::Ambiguous(first, _) => first,
            LocalResult::None => GapInfo::new(&midnight, &self.0)?.end?,
        };
        Some(Timestamp::from_micros(first.timestamp_micros()))
    }
}

/// By which days a wallet's windows are told: how long they are, where midnight is, and on which day they begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Calendar {
    kind: Window,
    zone: Zone,
    /// The day that a week (1 is Monday) or a month begins on; 1 for the others.
    anchor: u8,
}

impl Calendar {
    /// A calendar whose windows begin on the day `anchor`: 1 (Monday) to 7 of a week, 1 to 31 of a month, a month that has
    /// no such day begins on its last. Without it on the first. None where there is no such day.
    pub fn new(kind: Window, zone: Zone, anchor: Option<u8>) -> Option<Calendar> {
        let last = match kind {
            Window::None | Window::Day => 1,
            Window::Week => 7,
            Window::Month => 31,
        };
        let anchor = anchor.unwrap_or(1);
        (1..=last).contains(&anchor).then_some(Calendar { kind, zone, anchor })
    }

    /// How long its windows are.
    pub const fn kind(self) -> Window {
        self.kind
    }

    /// Where its midnights are.
    pub const fn zone(self) -> Zone {
        self.zone
    }

    /// The day that a week (1 is Monday) or a month begins on; 1 for the others.
    pub const fn anchor(self) -> u8 {
        self.anchor
    }

    /// The window that `at` lies in.
    pub fn period(self, at: Timestamp) -> Period {
        Period { kind: self.kind, tag: self.tag(), start: self.start(at).unwrap_or_default() }
    }

    /// When a window of this calendar ends. One of another calendar, which a wallet had before, does not end by this one.
    pub fn end(self, period: Period) -> Option<Timestamp> {
        if (period.kind, period.tag) != (self.kind, self.tag()) || self.kind == Window::None {
            return None;
        }
        self.zone.midnight(self.next(self.first_day(self.zone.date(period.start)?)?)?)
    }

    fn start(self, at: Timestamp) -> Option<Timestamp> {
        if self.kind == Window::None {
            return None;
        }
        let first = self.first_day(self.zone.date(at)?)?;
        let start = self.zone.midnight(first)?;
        if self.zone == Zone::UTC {
            return Some(start);
        }
        // Where clocks are set back from just after midnight, yesterday comes again after today has begun. It counts as today,
        // so that each moment lies in one window and windows follow one another.
        let next = self.zone.midnight(self.next(first)?)?;
        Some(if next <= at { next } else { start })
    }

    /// The first day of the window that has this day.
    fn first_day(self, date: NaiveDate) -> Option<NaiveDate> {
        match self.kind {
            Window::None | Window::Day => Some(date),
            Window::Week => {
                let weekday = date.weekday().number_from_monday();
                date.checked_sub_days(Days::new(u64::from((weekday + 7 - u32::from(self.anchor)) % 7)))
            }
            Window::Month => {
                let first = self.in_month_of(date)?;
                if first <= date { Some(first) } else { self.in_month_of(date.checked_sub_months(Months::new(1))?) }
            }
        }
    }

    /// The first day of the window after the one that begins on `first`.
    fn next(self, first: NaiveDate) -> Option<NaiveDate> {
        match self.kind {
            Window::None | Window::Day => first.checked_add_days(Days::new(1)),
            Window::Week => first.checked_add_days(Days::new(7)),
            // The day of the month is found anew: after a short month the anchor is where it was.
            Window::Month => self.in_month_of(first.with_day(1)?.checked_add_months(Months::new(1))?),
        }
    }

    /// The anchor's day in the month of `date`; the last day of a month that has none.
    fn in_month_of(self, date: NaiveDate) -> Option<NaiveDate> {
        let last = u32::from(date.num_days_in_month());
        date.with_day(u32::from(self.anchor).min(last))
    }

    /// What tells windows of this calendar from those of others of its kind: see [`Period`].
    fn tag(self) -> u32 {
        if self.kind == Window::None || (self.zone == Zone::UTC && self.anchor == 1) {
            return 0;
        }
        // FNV-1a of the zone's name and the day: the same in every process and release, whatever order zones come in.
        let mut hash = 0x811c_9dc5_u32;
        for byte in self.zone.as_str().bytes().chain([0, self.anchor]) {
            hash = (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        }
        1 + hash % (TAGS - 1)
    }
}

/// In UTC, from Monday, from the first of the month.
impl From<Window> for Calendar {
    fn from(kind: Window) -> Self {
        Calendar { kind, zone: Zone::UTC, anchor: 1 }
    }
}

impl Default for Calendar {
    fn default() -> Self {
        Window::None.into()
    }
}

/// One window of a wallet. Windows of different calendars count apart, also where they begin together: a wallet whose kind of
/// window, zone or first day changes counts from nothing (or, changed back within the same window, from where it was), and
/// what is in flight settles where it was held.
///
/// Shared counters would be wrong, not just unusual, because windows that begin together may end apart. A day's counter has
/// seen its day and no more: a month that took it over would miss what the days between had spent, and a day that took over a
/// month's would find its limit used up by others. Of the 30th of April, a month from the 30th and one from the 31st differ so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Period {
    kind: Window,
    tag: u32,
    start: Timestamp,
}

/// Windows begin at whole seconds, which leaves the microseconds to tell their calendar: its kind in the lowest two bits, its
/// zone and first day above them. Two of the many thousand zones and days may share a tag; then a wallet that is changed from
/// one to the other, in windows that begin together, resumes instead of starting from nothing. Nothing else depends on it.
const SECOND: i64 = 1_000_000;
const KINDS: [Window; 4] = [Window::None, Window::Day, Window::Week, Window::Month];
const TAGS: u32 = 250_000;

impl Period {
    /// How long it counts.
    pub const fn kind(self) -> Window {
        self.kind
    }

    /// When it began; the epoch for a window without end.
    pub const fn start(self) -> Timestamp {
        self.start
    }

    /// As columns `window_start` and `legs` have it: its start, and its calendar as the number of microseconds on top.
    pub const fn key(self) -> i64 {
        self.start.micros() + self.kind as i64 + 4 * self.tag as i64
    }

    /// What `key` stored.
    pub fn from_key(key: i64) -> Option<Period> {
        let (start, calendar) = (key - key.rem_euclid(SECOND), u32::try_from(key.rem_euclid(SECOND)).ok()?);
        let kind = *KINDS.get(usize::try_from(calendar % 4).ok()?)?;
        Some(Period { kind, tag: calendar / 4, start: Timestamp::from_micros(start) })
    }
}

impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for Zone {
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

/// The text names no time zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a time zone of the IANA database, such as UTC or Europe/Berlin")]
pub struct ZoneError;

impl FromStr for Zone {
    type Err = ZoneError;

    fn from_str(text: &str) -> Result<Self, ZoneError> {
        text.parse().map(Zone).map_err(|_| ZoneError)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn calendar(kind: Window, zone: &str, anchor: u8) -> Calendar {
        Calendar::new(kind, zone.parse().expect(zone), Some(anchor)).expect("a day that there is")
    }

    /// A window is the one of its first and of its last moment, is told by its key, and ends where the next begins.
    fn check(calendar: Calendar, at: &str, start: &str, end: &str) {
        let (start, end): (Timestamp, Timestamp) = (start.parse().expect(start), end.parse().expect(end));
        let period = calendar.period(at.parse().expect(at));
        assert_eq!(period.start(), start, "{calendar:?} of {at} begins {}", period.start());
        assert_eq!(calendar.end(period), Some(end), "{calendar:?} of {at}");
        assert_eq!(calendar.period(start), period, "{calendar:?}");
        assert_eq!(calendar.period(Timestamp::from_micros(end.micros() - 1)), period, "{calendar:?}");
        assert_eq!(calendar.period(end).start(), end, "{calendar:?}");
        assert_eq!(Period::from_key(period.key()), Some(period), "{calendar:?}");
    }

    #[test]
    fn unless_said_windows_begin_at_midnight_utc_on_monday_and_on_the_first() {
        for (window, at, start, end) in [
            (Window::Day, "2026-03-01T23:59:59Z", "2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z"),
            (Window::Week, "2026-03-01T12:00:00Z", "2026-02-23T00:00:00Z", "2026-03-02T00:00:00Z"), // a Sunday
            (Window::Week, "2026-03-02T00:00:00Z", "2026-03-02T00:00:00Z", "2026-03-09T00:00:00Z"), // a Monday
            (Window::Month, "2026-12-31T23:59:59Z", "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"),
            (Window::Month, "2028-02-29T00:00:00Z", "2028-02-01T00:00:00Z", "2028-03-01T00:00:00Z"),
        ] {
            check(window.into(), at, start, end);
            let key = Calendar::from(window).period(at.parse().expect(at)).key();
            assert_eq!(key % SECOND, window as i64, "as it was stored before there were zones");
        }
        let for_ever = Calendar::default().period("2026-03-01T00:00:00Z".parse().expect("a moment"));
        assert_eq!((for_ever.start(), for_ever.key()), (Timestamp::default(), 0));
        assert_eq!(Calendar::default().end(for_ever), None);
        assert_eq!("fortnight".parse::<Window>(), Err(WindowError));
    }

    #[test]
    fn days_are_as_long_as_clocks_make_them() {
        for (zone, at, start, end) in [
            ("Europe/Berlin", "2026-01-31T23:00:00Z", "2026-01-31T23:00:00Z", "2026-02-01T23:00:00Z"),
            ("Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z"), // 23 hours
            ("Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z"), // 25 hours
            ("America/New_York", "2026-11-01T05:30:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"),
            ("Asia/Kolkata", "2026-05-05T18:29:59Z", "2026-05-04T18:30:00Z", "2026-05-05T18:30:00Z"),
            ("Pacific/Kiritimati", "2026-05-05T09:59:59Z", "2026-05-04T10:00:00Z", "2026-05-05T10:00:00Z"), // +14
            ("America/Santiago", "2026-09-06T12:00:00Z", "2026-09-06T04:00:00Z", "2026-09-07T03:00:00Z"), // no midnight
            ("America/Santiago", "2026-04-05T03:30:00Z", "2026-04-04T03:00:00Z", "2026-04-05T04:00:00Z"), // 23:30 again
            ("America/Havana", "2026-11-01T05:30:00Z", "2026-11-01T04:00:00Z", "2026-11-02T05:00:00Z"), // two midnights
            ("Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29T10:00:00Z", "2011-12-30T10:00:00Z"),   // then no 30th
            ("Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-30T10:00:00Z", "2011-12-31T10:00:00Z"),
            ("America/St_Johns", "1988-10-30T02:31:30Z", "1988-10-30T01:30:00Z", "1988-10-31T03:30:00Z"), // 00:01 to 22:01
        ] {
            check(calendar(Window::Day, zone, 1), at, start, end);
        }
    }

    #[test]
    fn weeks_begin_on_their_day_in_their_zone() {
        for (zone, day, at, start, end) in [
            ("UTC", 7, "2026-03-07T23:59:59Z", "2026-03-01T00:00:00Z", "2026-03-08T00:00:00Z"), // from Sunday
            ("UTC", 7, "2026-03-01T00:00:00Z", "2026-03-01T00:00:00Z", "2026-03-08T00:00:00Z"),
            ("UTC", 5, "2026-03-05T00:00:00Z", "2026-02-27T00:00:00Z", "2026-03-06T00:00:00Z"),
            ("Europe/Berlin", 1, "2026-03-29T21:59:59Z", "2026-03-22T23:00:00Z", "2026-03-29T22:00:00Z"), // an hour less
            ("Asia/Tokyo", 1, "2026-03-01T15:00:00Z", "2026-03-01T15:00:00Z", "2026-03-08T15:00:00Z"),
        ] {
            check(calendar(Window::Week, zone, day), at, start, end);
        }
    }

    #[test]
    fn months_begin_on_their_day_or_on_the_last_that_there_is() {
        for (zone, day, at, start, end) in [
            ("UTC", 15, "2026-03-14T23:59:59Z", "2026-02-15T00:00:00Z", "2026-03-15T00:00:00Z"),
            ("UTC", 15, "2026-01-01T00:00:00Z", "2025-12-15T00:00:00Z", "2026-01-15T00:00:00Z"),
            ("UTC", 31, "2026-02-10T00:00:00Z", "2026-01-31T00:00:00Z", "2026-02-28T00:00:00Z"),
            ("UTC", 31, "2026-02-28T00:00:00Z", "2026-02-28T00:00:00Z", "2026-03-31T00:00:00Z"), // and back to the 31st
            ("UTC", 31, "2028-02-28T23:59:59Z", "2028-01-31T00:00:00Z", "2028-02-29T00:00:00Z"), // a leap year
            ("UTC", 29, "2028-02-29T00:00:00Z", "2028-02-29T00:00:00Z", "2028-03-29T00:00:00Z"),
            ("UTC", 29, "2100-02-28T00:00:00Z", "2100-02-28T00:00:00Z", "2100-03-29T00:00:00Z"), // not a leap year
            ("UTC", 30, "2026-03-29T00:00:00Z", "2026-02-28T00:00:00Z", "2026-03-30T00:00:00Z"),
            ("UTC", 31, "2026-04-30T00:00:00Z", "2026-04-30T00:00:00Z", "2026-05-31T00:00:00Z"),
            ("Europe/Berlin", 1, "2026-03-31T21:59:59Z", "2026-02-28T23:00:00Z", "2026-03-31T22:00:00Z"),
            ("America/Los_Angeles", 31, "2026-12-31T08:00:00Z", "2026-12-31T08:00:00Z", "2027-01-31T08:00:00Z"),
        ] {
            check(calendar(Window::Month, zone, day), at, start, end);
        }
    }

    #[test]
    fn windows_that_begin_together_are_told_apart_by_their_calendar() {
        let at = "2026-06-30T12:00:00Z".parse().expect("a moment"); // a Tuesday
        let all = [
            calendar(Window::Day, "UTC", 1),
            calendar(Window::Week, "UTC", 2),
            calendar(Window::Month, "UTC", 30),
            calendar(Window::Month, "UTC", 31),
            calendar(Window::Day, "Africa/Abidjan", 1), // where it is always as late as in UTC
            calendar(Window::Week, "Africa/Abidjan", 2),
            calendar(Window::Month, "Africa/Abidjan", 31),
        ];
        for (n, one) in all.iter().enumerate() {
            assert_eq!(one.period(at).start(), "2026-06-30T00:00:00Z".parse().expect("a moment"));
            for other in &all[..n] {
                assert_ne!(one.period(at).key(), other.period(at).key(), "{one:?} {other:?}");
                assert_eq!(one.end(other.period(at)), None, "not its window");
            }
        }
        let (berlin, utc) = (Calendar::new(Window::None, Zone(Tz::Europe__Berlin), None), Calendar::default());
        assert_eq!(berlin.map(|it| it.period(at)), Some(utc.period(at)), "what never ends is the same everywhere");
    }

    #[test]
    fn what_is_no_zone_or_no_day_is_refused() {
        for text in ["", "Berlin", "europe/berlin", "Mars/Olympus", "UTC+1", "+01:00", " UTC"] {
            assert_eq!(text.parse::<Zone>(), Err(ZoneError), "{text:?}");
        }
        for (kind, day) in
            [(Window::Week, 0), (Window::Week, 8), (Window::Month, 0), (Window::Month, 32), (Window::Day, 2)]
        {
            assert_eq!(Calendar::new(kind, Zone::UTC, Some(day)), None, "{kind} {day}");
        }
    }

    proptest! {
        #[test]
        fn each_moment_lies_in_one_window_of_each_calendar(
            zone in prop::sample::select(&chrono_tz::TZ_VARIANTS[..]),
            kind in prop::sample::select(&KINDS[1..]),
            anchor in 1_u8..32,
            seconds in 0_i64..4_000_000_000, // to the year 2096
        ) {
            let anchor = match kind { Window::Month => anchor, Window::Week => 1 + anchor % 7, _ => 1 };
            let calendar = Calendar::new(kind, Zone(zone), Some(anchor)).expect("a day that there is");
            let at = Timestamp::from_micros(seconds * SECOND);
            let period = calendar.period(at);
            let end = calendar.end(period).expect("an end");
            prop_assert!(period.start() <= at && at < end, "{:?} {} {} {}", calendar, period.start(), at, end);
            prop_assert_eq!(calendar.period(Timestamp::from_micros(end.micros() - 1)), period);
            prop_assert_eq!(calendar.period(end).start(), end);
            prop_assert_eq!(Period::from_key(period.key()), Some(period));
        }
    }
}
