//! How a target's own count of its output compares with ours: the tokenizers of most models are not public, and what a
//! provider bills is what counts. Pure but for one lock.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// So many recent answers speak for a target; their median does, so one odd answer says nothing.
const RECENT: usize = 32;
/// An answer of fewer tokens says more about rounding than about the tokenizer.
const LEAST_TOKENS: u64 = 16;
/// Names of models come from callers too: more targets than these keep the count as it is.
const MOST_TARGETS: usize = 1_024;
/// Once a target is known, one answer in so many is looked at for its sake alone.
const SAMPLE: u64 = 128;
const WHOLE: u64 = 1_000;
const LEAST: u64 = WHOLE / 2;
const MOST: u64 = WHOLE * 4;

/// What is known of all targets, by name. Shared.
#[derive(Debug, Default)]
pub struct Calibration {
    targets: Mutex<HashMap<String, Recent>>,
}

/// The provider's count over ours, in thousandths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio(u64);

#[derive(Debug)]
struct Recent {
    /// In thousandths, oldest first.
    ratios: VecDeque<u64>,
    ratio: Ratio,
    asked: u64,
}

impl Default for Ratio {
    fn default() -> Ratio {
        Ratio(WHOLE)
    }
}

impl Ratio {
    /// Our count as the provider would count it, rounded up.
    pub fn apply(self, counted: u64) -> u64 {
        counted.saturating_mul(self.0).div_ceil(WHOLE)
    }
}

impl Calibration {
    /// Nothing known: every count is taken as it is.
    pub fn new() -> Calibration {
        Calibration::default()
    }

    /// What this target's answers of late say.
    pub fn ratio(&self, target: &str) -> Ratio {
        self.lock().get(target).map(|recent| recent.ratio).unwrap_or_default()
    }

    /// Whether an answer that nobody had to count should be counted for this: all while little is known, few later.
    pub fn wants(&self, target: &str) -> bool {
        let mut targets = self.lock();
        let room = targets.len() < MOST_TARGETS;
        let Some(recent) = targets.get_mut(target) else { return room };
        recent.asked += 1;
        recent.ratios.len() < RECENT || recent.asked % SAMPLE == 0
    }

    /// Takes in a complete answer: what the provider says it bills as output, and what was counted here.
    pub fn learn(&self, target: &str, reported: u64, counted: u64) {
        if counted < LEAST_TOKENS || reported == 0 {
            return;
        }
        let mut targets = self.lock();
        if !targets.contains_key(target) && targets.len() >= MOST_TARGETS {
            return;
        }
        let recent = targets.entry(target.to_owned()).or_insert_with(|| Recent {
            ratios: VecDeque::with_capacity(RECENT),
            ratio: Ratio::default(),
            asked: 0,
        });
        if recent.ratios.len() == RECENT {
            recent.ratios.pop_front();
        }
        recent.ratios.push_back((reported.saturating_mul(WHOLE) / counted).clamp(LEAST, MOST));
        let mut sorted: Vec<u64> = recent.ratios.iter().copied().collect();
        sorted.sort_unstable();
        recent.ratio = Ratio(sorted[sorted.len() / 2]);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Recent>> {
        self.targets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(answers: &[(u64, u64)]) -> u64 {
        let calibration = Calibration::new();
        answers.iter().for_each(|(reported, counted)| calibration.learn("t", *reported, *counted));
        calibration.ratio("t").apply(1_000)
    }

    #[test]
    fn a_count_is_told_as_the_provider_would_tell_it() {
        for (answers, thousand, why) in [
            (&[][..], 1_000, "nothing is known"),
            (&[(130, 100)], 1_300, "one answer"),
            (&[(130, 100), (130, 100), (9_000, 100)], 1_300, "one odd answer says nothing"),
            (&[(90, 100), (110, 100), (100, 100)], 1_000, "the middle"),
            (&[(10_000, 100)], 4_000, "hidden output is no tokenizer"),
            (&[(1, 100)], 500, "nor is an answer that was hardly billed"),
            (&[(30, 15)], 1_000, "too short to say anything"),
            (&[(0, 100)], 1_000, "no usage at all"),
        ] {
            assert_eq!(after(answers), thousand, "{why}");
        }
        let mut late = vec![(100, 100); 40];
        late.extend([(125, 100); 17]);
        assert_eq!(after(&late), 1_250, "a change of the model is followed");
    }

    #[test]
    fn counts_round_up() {
        let calibration = Calibration::new();
        calibration.learn("t", 1_001, 1_000);
        assert_eq!(calibration.ratio("t").apply(1), 2);
        assert_eq!(calibration.ratio("t").apply(0), 0);
    }

    #[test]
    fn targets_are_bounded_and_looked_at_often_while_they_are_new() {
        let calibration = Calibration::new();
        for i in 0..MOST_TARGETS + 10 {
            calibration.learn(&format!("t{i}"), 200, 100);
        }
        assert_eq!(calibration.ratio("t0").apply(10), 20);
        assert_eq!(calibration.ratio(&format!("t{MOST_TARGETS}")).apply(10), 10);
        assert!(!calibration.wants("one more"));
        assert!((0..1_000).all(|_| calibration.wants("t0")));
        (0..RECENT).for_each(|_| calibration.learn("t0", 200, 100));
        let looked = (0..12_800).filter(|_| calibration.wants("t0")).count();
        assert_eq!(looked, 100);
    }
}
