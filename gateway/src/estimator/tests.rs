use proptest::prelude::*;

use super::*;

fn key(n: u128) -> Id<Key> {
    Id::from_uuid(uuid::Uuid::from_u128(n))
}

/// What was learned, as (key, model, outputs), and what is then thought of key 1 and model "a" with at most `most`.
fn check(learned: &[(u128, &str, &[u64])], most: u64, expected: u64, why: &str) {
    let mut estimator = Estimator::default();
    for (of, model, outputs) in learned {
        outputs.iter().for_each(|output| estimator.learn(key(*of), model, *output));
    }
    assert_eq!(estimator.estimate(key(1), "a", most), expected, "{why}");
}

#[test]
fn a_call_is_thought_to_be_as_long_as_its_like_have_been() {
    let hundred: Vec<u64> = (1..=100).collect();
    let twenty: Vec<u64> = (1..=20).collect();
    let mut long_ago = vec![9_000; 1_000];
    long_ago.extend([7; WINDOW]);
    for (learned, most, expected, why) in [
        (&[][..], 64_000, 1_024, "nothing is known"),
        (&[], 50, 50, "never more than the worst case"),
        (&[(1, "a", &hundred[..])], 64_000, 95, "19 of 20 of this key and model"),
        (&[(1, "a", &hundred)], 90, 90, "never more than the worst case"),
        (&[(1, "a", &hundred)], 0, 0, "not even of nothing"),
        (&[(1, "a", &twenty)], 64_000, 19, "20 are enough"),
        (&[(1, "a", &twenty[..19])], 64_000, 1_024, "19 are not"),
        (&[(1, "a", &twenty[..19]), (2, "a", &[700; 20])], 64_000, 700, "but with those of others on this model"),
        (&[(1, "a", &twenty), (2, "a", &[700; 256])], 64_000, 19, "whose answers do not count where there are enough"),
        (&[(1, "b", &hundred), (2, "b", &hundred)], 64_000, 1_024, "another model says nothing"),
        (&[(1, "a", &long_ago)], 64_000, 7, "what was long ago is forgotten"),
        (&[(1, "a", &[0; 20])], 64_000, 0, "answers without a word"),
        (&[(1, "a", &[u64::MAX; 20])], u64::MAX, u64::from(u32::MAX), "more than any answer has"),
    ] {
        check(learned, most, expected, why);
    }
}

#[test]
fn there_is_room_for_so_many_windows_and_those_not_used_for_longest_go_first() {
    let mut recent: Recent<usize> = Recent::new(64);
    for of in 0..1_000 {
        (0..ENOUGH).for_each(|_| recent.window(of).add(of as u64));
        recent.find(&0);
        assert!(recent.windows.len() <= 64, "{}", recent.windows.len());
    }
    let known = |recent: &mut Recent<usize>, of| recent.find(&of).and_then(Window::percentile_95);
    assert_eq!(known(&mut recent, 0), Some(0), "in use all the time");
    assert_eq!(known(&mut recent, 999), Some(999));
    assert_eq!(known(&mut recent, 500), None);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn the_estimate_is_never_below_the_true_percentile_and_at_most_two_per_cent_above(
        outputs in prop::collection::vec(prop_oneof![0_u64..50, 0_u64..5_000, 0_u64..1_000_000], ENOUGH..700),
        most in prop_oneof![0_u64..100, Just(64_000), Just(u64::MAX)],
    ) {
        let mut estimator = Estimator::default();
        outputs.iter().for_each(|output| estimator.learn(key(1), "a", *output));
        let mut lately = outputs[outputs.len().saturating_sub(WINDOW)..].to_vec();
        lately.sort_unstable();
        // The oracle counts: the smallest output that at least 95 of 100 are not above.
        let not_above = |output: u64| lately.iter().filter(|other| **other <= output).count();
        let truth = lately.iter().copied().find(|output| not_above(*output) * 100 >= lately.len() * 95).unwrap().min(most);
        let estimate = estimator.estimate(key(1), "a", most);
        prop_assert!(estimate >= truth && estimate * 100 <= truth * 102, "{estimate} of {truth}");
        prop_assert!(estimate <= most);
    }
}
