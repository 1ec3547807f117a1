//! How often a target may be asked again: a share of what it is asked anyway, and a small floor. So a storm is not amplified. Pure.

/// Thousandths of a request.
const WHOLE: u64 = 1_000;
/// The most that can be saved up, and what there is at first.
const MOST: u64 = 10 * WHOLE;
/// One a second comes by itself: a thousandth each millisecond.
const FLOOR_PER_MS: u64 = 1;

/// A bucket of requests that may be made beside the first one of each call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budget {
    saved: u64,
    at: u64,
    /// The floor; hedges have none.
    by_itself: u64,
}

impl Budget {
    /// For retries: full at first, and never quite without income.
    pub fn with_floor(now: u64) -> Budget {
        Budget { saved: MOST, at: now, by_itself: FLOOR_PER_MS }
    }

    /// For hedges: nothing but the share, and one to begin with.
    pub fn of_shares(now: u64) -> Budget {
        Budget { saved: WHOLE, at: now, by_itself: 0 }
    }

    /// A request was made anyway.
    pub fn earn(&mut self, percent: u32) {
        self.saved = (self.saved + u64::from(percent) * WHOLE / 100).min(MOST);
    }

    /// Takes one out, if there is one.
    pub fn take(&mut self, now: u64) -> bool {
        let passed = now.saturating_sub(self.at);
        self.saved = self.saved.saturating_add(passed.saturating_mul(self.by_itself)).min(MOST);
        self.at = self.at.max(now);
        let enough = self.saved >= WHOLE;
        if enough {
            self.saved -= WHOLE;
        }
        enough
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_gets_its_share_and_the_floor_and_no_more() {
        let mut budget = Budget::with_floor(0);
        let taken = (0..1_000).filter(|_| {
            budget.earn(20);
            budget.take(0)
        });
        assert_eq!(taken.count(), 209, "ten saved up, and a fifth of what was asked; the first share found it full");
        assert!(!budget.take(100) && budget.take(200) && !budget.take(1_199) && budget.take(1_200), "one a second");
    }

    #[test]
    fn what_is_saved_up_has_a_bound() {
        let mut budget = Budget::with_floor(0);
        (0..10_000).for_each(|_| budget.earn(100));
        assert_eq!((0..50).filter(|_| budget.take(1_000_000)).count(), 10);
    }

    #[test]
    fn hedges_have_no_floor() {
        let mut budget = Budget::of_shares(0);
        assert!(budget.take(0) && !budget.take(1_000_000));
        (0..20).for_each(|_| budget.earn(5));
        assert!(budget.take(0) && !budget.take(0));
    }
}
