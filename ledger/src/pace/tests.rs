//! Tables of wallets and what the breaker makes of them.

use super::*;

/// 2026-03-11 12:00, a Wednesday.
const NOON: i64 = 1_773_230_400_000_000;
const SPANS_A_DAY: i64 = 96;

fn usd(dollars: i64) -> Money {
    Money::from_nanos(dollars * 1_000_000_000)
}

/// The points of `days` before noon in which each span's spending is told by `cents`, given the span's number before noon
/// and its hour of the day, and then `last` dollars in the running bucket.
fn history(days: i64, cents: impl Fn(i64, i64) -> i64, last: i64) -> Vec<Point> {
    let mut total = 0;
    let first = NOON - days * DAY_MICROS;
    let mut points =
        vec![Point { bucket: Timestamp::from_micros(first - BUCKET_MICROS), total: usd(0), left_out: false }];
    for back in (1..=days * SPANS_A_DAY).rev() {
        let at = NOON - back * SPAN_MICROS;
        let step = cents(back, at.rem_euclid(DAY_MICROS) / HOUR_MICROS);
        if step > 0 {
            total += step * 10_000_000;
            points.push(Point { bucket: Timestamp::from_micros(at), total: Money::from_nanos(total), left_out: false });
        }
    }
    total += last * 1_000_000_000;
    let bucket = Timestamp::from_micros(NOON + 2 * BUCKET_MICROS);
    points.push(Point { bucket, total: Money::from_nanos(total), left_out: false });
    points
}

fn now() -> Timestamp {
    Timestamp::from_micros(NOON + 2 * BUCKET_MICROS + 10_000_000)
}

/// Numbers that look random and are the same each time, from 0 to 99.
fn dice(n: i64) -> i64 {
    let mixed = n.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (mixed >> 33).rem_euclid(100)
}

fn verdict(points: &[Point]) -> &'static str {
    match judge(recent(points, now()), threshold(points, now(), &Rule::default())) {
        Verdict::Unknown => "unknown",
        Verdict::Normal { .. } => "normal",
        Verdict::Spike { .. } => "spike",
    }
}

#[test]
fn a_spike_is_what_this_wallet_does_not_do() {
    type Cents = fn(i64, i64) -> i64;
    let steady: Cents = |_, _| 200;
    let noisy: Cents = |n, _| 100 + 2 * dice(n);
    let bursty: Cents = |n, _| if dice(n) < 10 { 100 + 20 * dice(n + 7_000) } else { 0 };
    let office: Cents = |_, hour| if (9..17).contains(&hour) { 300 } else { 20 };
    let weekly: Cents = |n, _| if (670..=674).contains(&n) { 6_000 } else { 100 };
    let nightly_elsewhere: Cents = |_, hour| if hour == 2 { 6_000 } else { 100 };
    let nightly_now: Cents = |_, hour| if hour == 12 { 6_000 } else { 100 };
    let ramp: Cents = |n, _| 200 + (1_344 - n) * 3;
    let doubling: Cents = |n, _| 100 << ((1_344 - n) / SPANS_A_DAY).min(13) >> 8;
    let outlier: Cents = |n, _| if n == 500 { 90_000 } else { 200 };
    for (name, days, cents, last, expected) in [
        ("steady, as ever", 14, steady, 2, "normal"),
        ("steady, four times as much", 14, steady, 8, "normal"),
        ("steady, eleven dollars instead of two", 14, steady, 11, "spike"),
        ("noisy, as ever", 14, noisy, 3, "normal"),
        ("noisy, a runaway loop", 14, noisy, 40, "spike"),
        ("bursty, its largest burst", 14, bursty, 20, "normal"),
        ("bursty, three bursts in one", 14, bursty, 120, "spike"),
        ("office hours, a busy noon", 14, office, 6, "normal"),
        ("office hours, a runaway loop", 14, office, 40, "spike"),
        ("the job of every week runs again", 14, weekly, 60, "normal"),
        ("the job of every week runs wild", 14, weekly, 600, "spike"),
        ("the job of every night runs at its hour", 14, nightly_now, 60, "normal"),
        ("the job of every night, at noon", 14, nightly_elsewhere, 60, "spike"),
        ("a ramp of two weeks", 14, ramp, 43, "normal"),
        ("a wallet that doubles each day", 14, doubling, 40, "normal"),
        ("a single outlier makes no room for others", 14, outlier, 30, "spike"),
        ("nothing spent, ever", 14, |_, _| 0, 0, "unknown"),
        ("never spent before", 14, |_, _| 0, 500, "unknown"),
        ("a dozen spans are needed", 14, |n, _| i64::from(n < 12) * 100, 500, "unknown"),
        ("hardly a day old", 1, steady, 500, "spike"),
    ] {
        assert_eq!(verdict(&history(days, cents, last)), expected, "{name}");
    }
}

#[test]
fn with_less_than_a_day_of_history_nothing_is_judged() {
    let points = history(1, |_, _| 200, 500);
    let later = &points[points.len() - 60..];
    assert_eq!(verdict(later), "unknown");
}

#[test]
fn small_change_is_no_spike() {
    let points = history(14, |_, _| 1, 1);
    assert_eq!(verdict(&points), "normal", "one dollar is the minimum, a hundred times the median or not");
    assert_eq!(verdict(&history(14, |_, _| 1, 2)), "spike");
}

#[test]
fn what_was_left_out_is_neither_recent_nor_history() {
    let mut points = history(14, |_, _| 200, 50);
    let last = points.len() - 1;
    points[last].left_out = true;
    assert_eq!(recent(&points, now()), Money::ZERO);
    assert_eq!(verdict(&points), "normal");
    // A stopped spike of yesterday noon does not make today's usual.
    let mut points = history(14, |n, _| if n == SPANS_A_DAY { 5_000 } else { 200 }, 50);
    assert_eq!(verdict(&points), "normal");
    let yesterday = NOON - DAY_MICROS;
    for point in points.iter_mut().filter(|point| point.bucket.micros() == yesterday) {
        point.left_out = true;
    }
    assert_eq!(verdict(&points), "spike");
}

#[test]
fn money_given_back_adds_nothing() {
    let mut points = history(14, |_, _| 200, 0);
    let last = points.len() - 1;
    points[last].total = Money::ZERO;
    assert_eq!(recent(&points, now()), Money::ZERO);
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_micros(NOON).after(Duration::from_secs(seconds))
}

#[test]
fn a_breaker_trips_tries_again_and_closes() {
    let rule = Rule { mode: Mode::Suspend, ..Rule::default() };
    let (spent, threshold) = (usd(50), usd(10));
    let spike = Verdict::Spike { spent, threshold };
    let normal = Verdict::Normal { spent: usd(1), threshold };
    // Once it is open, the history has no say.
    let never = spike;
    let closed = Breaker::Closed;
    assert_eq!(step(&rule, &closed, None, at(0), usd(100), normal), None);
    assert_eq!(step(&rule, &closed, None, at(0), usd(100), Verdict::Unknown), None);
    let open = Breaker::Open { since: at(0), until: at(900), threshold };
    assert_eq!(step(&rule, &closed, None, at(0), usd(100), spike), Some(Step::Trip { spent, threshold, to: open }));
    assert_eq!(step(&rule, &open, None, at(899), usd(100), never), None);
    let allowance = usd(5);
    let trial = Breaker::HalfOpen { since: at(900), until: at(1_800), threshold, from: usd(100), allowance };
    assert_eq!(step(&rule, &open, None, at(900), usd(100), never), Some(Step::Try { to: trial }));
    assert_eq!(step(&rule, &trial, None, at(901), usd(105), never), None, "the allowance may be spent");
    let again = Breaker::Open { since: at(902), until: at(1_802), threshold };
    let tripped = Some(Step::Trip { spent: usd(6), threshold: allowance, to: again });
    assert_eq!(step(&rule, &trial, None, at(902), usd(106), never), tripped);
    assert_eq!(step(&rule, &trial, None, at(1_799), usd(105), never), None);
    assert_eq!(step(&rule, &trial, None, at(1_800), usd(105), never), Some(Step::Close));
}

#[test]
fn a_spike_is_told_or_stopped_as_its_mode_says_and_not_while_it_is_quiet() {
    let (spent, threshold) = (usd(50), usd(10));
    let spike = Verdict::Spike { spent, threshold };
    let trip = Step::Trip { spent, threshold, to: Breaker::Open { since: at(0), until: at(900), threshold } };
    for (mode, quiet_until, expected) in [
        (Mode::Off, None, None),
        (Mode::Alert, None, Some(Step::Tell { spent, threshold })),
        (Mode::Alert, Some(at(1)), None),
        (Mode::Alert, Some(at(0)), Some(Step::Tell { spent, threshold })),
        (Mode::Suspend, Some(at(1)), None),
        (Mode::Suspend, Some(at(0)), Some(trip)),
    ] {
        let rule = Rule { mode, ..Rule::default() };
        assert_eq!(step(&rule, &Breaker::Closed, quiet_until, at(0), usd(100), spike), expected, "{mode:?}");
    }
}
