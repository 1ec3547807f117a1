//! Chance that can be repeated: everything that is drawn here is a function of a seed that was handed in.

/// A number that looks like chance, from a seed (the last step of splitmix64).
pub(crate) fn mixed(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The same, from a seed and a text: another one for every text (FNV-1a underneath).
pub(crate) fn drawn(seed: u64, text: &str) -> u64 {
    let start = 0xcbf2_9ce4_8422_2325 ^ mixed(seed);
    mixed(text.bytes().fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)))
}

/// Between 0 and 1, and neither of them: it has a logarithm.
#[expect(clippy::cast_precision_loss, reason = "52 bits and a half fit")]
pub(crate) fn unit(drawn: u64) -> f64 {
    ((drawn >> 12) as f64 + 0.5) / (1_u64 << 52) as f64
}

/// The place in an order in which whoever weighs more tends to come first, and is first exactly as often as it weighs.
pub(crate) fn weighed(drawn: u64, weight: u32) -> f64 {
    -unit(drawn).ln() / f64::from(weight.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chance_is_even_and_the_same_seed_draws_the_same() {
        let mut tens = [0_u32; 10];
        for seed in 0..100_000 {
            let it = unit(drawn(seed, "a/x"));
            assert!(it > 0.0 && it < 1.0);
            tens[(it * 10.0) as usize] += 1;
        }
        assert!(tens.iter().all(|it| (9_500..10_500).contains(it)), "{tens:?}");
        assert_eq!(drawn(7, "a/x"), drawn(7, "a/x"));
        assert!(drawn(7, "a/x") != drawn(7, "a/y") && drawn(7, "a/x") != drawn(8, "a/x"));
        assert!(unit(0) > 0.0 && unit(u64::MAX) < 1.0);
    }
}
