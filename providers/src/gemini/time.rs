//! Google's timestamps, RFC 3339 in UTC, as seconds since 1970. A dialect has no clock and no calendar beyond this.

/// The seconds of `2026-11-20T19:25:23.123456Z`; none of what is no such time.
pub(super) fn unix_seconds(text: &str) -> Option<u64> {
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<u64>().ok();
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if !text.ends_with('Z') || marks.iter().any(|(at, mark)| text.as_bytes().get(*at) != Some(mark)) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years begin in March here, so that the day of a leap year is the last of one.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    let since = days.checked_sub(719_468)?;
    Some(since * 86_400 + hour * 3_600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use super::unix_seconds;

    #[test]
    fn a_timestamp_is_told_in_seconds() {
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T12:00:00Z", Some(951_825_600)),
            ("2026-11-20T19:25:23.123456Z", Some(1_795_202_723)),
            ("2026-11-20T19:25:23+02:00", None),
            ("1969-12-31T00:00:00Z", None),
            ("2026-13-01T00:00:00Z", None),
            ("", None),
            ("🦀🦀🦀🦀🦀Z", None),
        ] {
            assert_eq!(unix_seconds(text), seconds, "{text}");
        }
    }
}
