//! When a limit will be reached, if spending goes on as it did. Pure.
//!
//! The rate is the smaller of two means of hourly spending: over the last week (or what there is of it) and over the last
//! day. So one busy day does not empty a month, and a busy week that is over does not either. Each hour counts for at most
//! median + 6 × 1.4826 × MAD of the hours in which anything was spent (see `pace`), so that one outlier moves neither mean
//! far. At least six hours must be known. The limit has to be reached within the first nine tenths of the time that is left:
//! what is on the edge would be told and taken back with every call.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::money::Money;
use crate::pace::{Point, steps, usual};

/// Where a limit has no window that ends, it is told so long before it is reached.
pub const HORIZON: Duration = Duration::from_secs(3 * 86_400);

const HOUR: i64 = 3_600_000_000;
const LEAST_HOURS: usize = 6;
const DAY_HOURS: usize = 24;
const WEEK_HOURS: usize = 7 * 24;
const DEVIATIONS: i128 = 6;

/// When `available` will be spent, if that is well before `ends`.
pub fn run_out(points: &[Point], now: Timestamp, available: Money, ends: Timestamp) -> Option<Timestamp> {
    let left = ends.micros().checked_sub(now.micros()).filter(|left| *left > 0)?;
    if available <= Money::ZERO {
        return None; // that is no forecast any more
    }
    let rate = hourly(points, now)?;
    let wait = i128::from(available.nanos()) * i128::from(HOUR) / rate;
    let wait = i64::try_from(wait).ok().filter(|wait| *wait <= left / 10 * 9)?;
    Some(Timestamp::from_micros(now.micros().checked_add(wait)?))
}

/// What is spent in an hour, for a forecast; nothing where nothing is spent or too little is known.
fn hourly(points: &[Point], now: Timestamp) -> Option<i128> {
    let known = now.micros().checked_sub(points.first()?.bucket.micros())? / HOUR;
    let hours = usize::try_from(known).ok()?.min(WEEK_HOURS);
    if hours < LEAST_HOURS {
        return None;
    }
    // Hour 0 is the last sixty minutes.
    let mut spent = vec![0_i64; hours];
    for (bucket, step) in steps(points) {
        let back = usize::try_from(now.micros().saturating_sub(bucket) / HOUR).unwrap_or(usize::MAX);
        if let Some(hour) = spent.get_mut(back) {
            *hour = hour.saturating_add(step);
        }
    }
    let usual = usual(spent.iter().copied().filter(|hour| *hour > 0))?;
    let most = i128::from(usual.median) + DEVIATIONS * usual.deviation;
    let mean = |hours: &[i64]| {
        let sum: i128 = hours.iter().map(|hour| i128::from(*hour).min(most)).sum();
        i128::try_from(hours.len()).ok().map(|count| sum / count)
    };
    let rate = mean(&spent)?.min(mean(&spent[..hours.min(DAY_HOURS)])?);
    (rate > 0).then_some(rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_773_230_400_000_000;

    /// One point an hour: `cents` of each hour, told by how many hours ago it was.
    fn points(hours: i64, cents: impl Fn(i64) -> i64) -> Vec<Point> {
        let mut total = 0;
        let point = |back: i64, total: i64| Point {
            bucket: Timestamp::from_micros(NOW - back * HOUR - HOUR / 2),
            total: Money::from_nanos(total * 10_000_000),
            left_out: false,
        };
        let mut points = vec![point(hours, 0)];
        for back in (0..hours).rev() {
            total += cents(back);
            points.push(point(back, total));
        }
        points
    }

    /// After how many hours `dollars` run out, with so many hours to go.
    fn check(points: &[Point], dollars: i64, to_go: i64, expected: Option<i64>) {
        let available = Money::from_nanos(dollars * 1_000_000_000);
        let found = run_out(points, Timestamp::from_micros(NOW), available, Timestamp::from_micros(NOW + to_go * HOUR));
        assert_eq!(found.map(|at| (at.micros() - NOW) / HOUR), expected, "{dollars} dollars, {to_go} hours to go");
    }

    #[test]
    fn what_goes_on_as_it_did_runs_out_when_it_does() {
        let steady = points(200, |_| 100);
        check(&steady, 10, 24, Some(10));
        check(&steady, 21, 24, Some(21));
        check(&steady, 22, 24, None); // on the edge
        check(&steady, 100, 24, None);
        check(&steady, 0, 24, None);
        check(&steady, 10, 0, None);
        check(&points(200, |_| 0), 10, 24, None);
    }

    #[test]
    fn too_little_is_no_ground_for_a_forecast() {
        check(&points(5, |_| 100), 1, 24, None);
        check(&points(6, |_| 100), 1, 24, Some(1));
        check(&[], 1, 24, None);
    }

    #[test]
    fn one_outlier_is_no_trend() {
        // A thousand dollars in one hour, a dollar in each other.
        check(&points(200, |back| if back == 3 { 100_000 } else { 100 }), 100, 72, None);
    }

    #[test]
    fn both_the_day_and_the_week_have_to_agree() {
        let busy_day = points(200, |back| if back < 24 { 1_000 } else { 100 });
        check(&busy_day, 200, 72, None);
        let busy_week_that_is_over = points(200, |back| if back < 24 { 10 } else { 1_000 });
        check(&busy_week_that_is_over, 100, 72, None);
        check(&points(200, |_| 1_000), 200, 72, Some(20));
    }
}
