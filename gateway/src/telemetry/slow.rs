//! Lines of the log about single calls: those that took too long, and those that the operator wants to see. Ids and figures, nothing of
//! what was said.

use std::fmt::Write;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::Finished;

/// So many lines at once, and so many a second after that: a log must not become the outage.
const BURST: u32 = 20;
const LINES_A_SECOND: u64 = 5;

/// Lets so many lines pass, and counts the others.
#[derive(Default)]
pub struct Lines(Mutex<Bucket>);

#[derive(Default)]
struct Bucket {
    used: u32,
    since_ms: u64,
    withheld: u64,
}

impl Lines {
    /// Whether a line may be written now; with how many were withheld since the last.
    pub fn admit(&self, now_ms: u64) -> Option<u64> {
        let mut bucket = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let earned = now_ms.saturating_sub(bucket.since_ms) * LINES_A_SECOND / 1_000;
        if earned > 0 {
            bucket.used = bucket.used.saturating_sub(u32::try_from(earned).unwrap_or(u32::MAX));
            bucket.since_ms = now_ms;
        }
        if bucket.used >= BURST {
            bucket.withheld += 1;
            return None;
        }
        bucket.used += 1;
        Some(std::mem::take(&mut bucket.withheld))
    }
}

/// A call took longer than the operator wants to see.
pub fn slow(call: &Finished<'_>, withheld: u64) {
    let case = call.case;
    let caller = case.caller.as_ref().map(|caller| &caller.credential);
    tracing::warn!(
        target: "alfred::slow",
        call = %case.id,
        kind = case.kind,
        outcome = call.outcome,
        org = %caller.map(|it| it.org.to_string()).unwrap_or_default(),
        key = %caller.map(|it| it.key.to_string()).unwrap_or_default(),
        model = %case.model,
        target = call.target_name(),
        attempts = case.tried,
        total_ms = crate::case::millis(call.end),
        overhead_us = micros(call.overhead),
        first_byte_ms = case.first_byte.map(crate::case::millis),
        steps_us = %steps(call),
        withheld,
        "slow call"
    );
}

/// `authenticate=12 limits=1 …`, in microseconds.
fn steps(call: &Finished<'_>) -> String {
    let mut text = String::with_capacity(192);
    for (step, from, to) in call.case.marks.steps(call.end) {
        let gap = if text.is_empty() { "" } else { " " };
        let _ = write!(text, "{gap}{}={}", step.as_str(), micros(to.saturating_sub(from)));
    }
    text
}

/// One line a call, for whoever turns it on.
pub fn line(call: &Finished<'_>, aloud: bool) {
    let case = call.case;
    macro_rules! say {
        ($level:ident) => {
            tracing::$level!(
                target: "alfred::calls",
                call = %case.id,
                kind = case.kind,
                outcome = call.outcome,
                model = %case.model,
                target = call.target_name(),
                attempts = case.tried,
                overhead_us = micros(call.overhead),
                total_ms = crate::case::millis(call.end),
                "call closed"
            )
        };
    }
    if aloud { say!(info) } else { say!(debug) }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_lines_is_cut_and_the_next_line_says_how_many_were_withheld() {
        let lines = Lines::default();
        let passed = (0..1_000).filter(|_| lines.admit(0).is_some()).count();
        assert_eq!(passed, 20);
        assert_eq!(lines.admit(100), None, "nothing is earned yet");
        assert_eq!(lines.admit(200), Some(981));
        assert_eq!(lines.admit(200), None);
        assert_eq!(lines.admit(10_000), Some(1));
        assert_eq!(
            (0..100).filter(|_| lines.admit(3_600_000).is_some()).count(),
            20,
            "an hour earns no more than a burst"
        );
    }
}
