//! From scores to what is told: the likeliest, how likely, and a tier that would rather be too high than too low.

/// A tier is enough when it is this likely that no higher one is needed. Half would be the middle; the further above it, the
/// seldomer a hard prompt is taken for an easy one, and the less is saved. Chosen on the training set (train.py --cv).
const ENOUGH: f32 = 0.7;
/// Four tiers, nine intents: room for either.
const MOST: usize = 16;

/// The best score's place, and how likely it is.
pub(super) fn most_likely(scores: &[i32], temperature: f32) -> (usize, f32) {
    let likely = softmax(scores, temperature);
    let mut best = 0;
    for at in 1..scores.len() {
        if scores[at] > scores[best] {
            best = at;
        }
    }
    (best, likely[best])
}

/// The lowest tier that is likely enough to do.
pub(super) fn tier(scores: &[i32], temperature: f32) -> u8 {
    let likely = softmax(scores, temperature);
    let mut sum = 0.0;
    let mut tier = 1;
    for it in &likely[..scores.len().saturating_sub(1)] {
        sum += it;
        if sum >= ENOUGH {
            break;
        }
        tier += 1;
    }
    tier
}

/// Whole percent.
pub(super) fn percent(likely: f32) -> u8 {
    (likely * 100.0).round().clamp(0.0, 100.0) as u8
}

/// `temperature` is in units of the scores: the model's scale times its temperature.
fn softmax(scores: &[i32], temperature: f32) -> [f32; MOST] {
    let top = scores.iter().copied().max().unwrap_or_default();
    let mut likely = [0.0; MOST];
    let mut sum = 0.0;
    for (likely, score) in likely.iter_mut().zip(scores) {
        *likely = (score.saturating_sub(top) as f32 / temperature).exp();
        sum += *likely;
    }
    likely.map(|it| it / sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_doubtful_tier_is_the_higher_one() {
        for (scores, expected) in [
            ([90, 0, 0, 0], 1),
            ([0, 0, 0, 0], 3),   // half of it lies above 2
            ([10, 10, 0, 0], 2), // all but even between 1 and 2
            ([0, 0, 90, 90], 4),
            ([-9_000, -9_000, -9_000, 9_000], 4),
        ] {
            assert_eq!(tier(&scores, 3.0), expected, "{scores:?}");
        }
    }

    #[test]
    fn the_best_score_is_the_likeliest_and_never_counts_for_more_than_all() {
        assert_eq!(most_likely(&[3, 7, i32::MIN / 2], 1.0).0, 1);
        assert_eq!(percent(most_likely(&[0, 5_000, 0], 1.0).1), 100);
        assert_eq!(percent(most_likely(&[4, 4, 4, 4], 1.0).1), 25);
    }
}
