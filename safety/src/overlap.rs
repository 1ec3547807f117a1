//! Makes one sorted list without overlaps out of everything the detectors saw.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;

use crate::{Finding, Kind};

/// Credentials win over all else, then the longer finding wins. What a loser saw outside of its winners is kept, so
/// that no overlap leaves a part of either behind.
pub(crate) fn resolve(mut hits: Vec<Finding>) -> Vec<Finding> {
    hits.sort_unstable_by_key(|hit| (hit.range.start, Reverse(hit.range.end)));
    let mut kept = Vec::with_capacity(hits.len());
    let mut from = 0;
    while from < hits.len() {
        let mut end = hits[from].range.end;
        let mut to = from + 1;
        while to < hits.len() && hits[to].range.start < end {
            end = end.max(hits[to].range.end);
            to += 1;
        }
        match &mut hits[from..to] {
            [alone] => kept.push(alone.clone()),
            cluster => settle(cluster, &mut kept),
        }
        from = to;
    }
    kept
}

fn settle(cluster: &mut [Finding], kept: &mut Vec<Finding>) {
    cluster.sort_by_key(|hit| {
        (hit.kind != Kind::ApiKey, Reverse(hit.range.len()), rank(hit.kind), hit.range.start, hit.detector)
    });
    let mut taken: BTreeMap<usize, Finding> = BTreeMap::new();
    for hit in cluster.iter() {
        for range in free(&taken, &hit.range) {
            taken.insert(range.start, Finding { range, ..hit.clone() });
        }
    }
    kept.extend(taken.into_values());
}

/// The parts of `range` that nobody has taken.
fn free(taken: &BTreeMap<usize, Finding>, range: &Range<usize>) -> Vec<Range<usize>> {
    let mut from = range.start;
    if let Some((_, earlier)) = taken.range(..=range.start).next_back() {
        from = from.max(earlier.range.end);
    }
    let mut parts = Vec::new();
    for later in taken.range(range.start..range.end).map(|(_, later)| &later.range) {
        if from < later.start {
            parts.push(from..later.start);
        }
        from = from.max(later.end);
    }
    if from < range.end {
        parts.push(from..range.end);
    }
    parts
}

const fn rank(kind: Kind) -> u8 {
    match kind {
        Kind::ApiKey => 0,
        Kind::PaymentCard => 1,
        Kind::Iban => 2,
        Kind::UsSsn => 3,
        Kind::Email => 4,
        Kind::Phone => 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hit(kind: Kind, range: Range<usize>) -> Finding {
        Finding { kind, detector: "test", range }
    }

    #[test]
    fn overlaps_are_settled_by_severity_then_length_and_lose_no_byte() {
        let check = |hits: Vec<Finding>, expected: Vec<(Kind, Range<usize>)>| {
            let kept: Vec<_> = resolve(hits).into_iter().map(|f| (f.kind, f.range)).collect();
            assert_eq!(kept, expected);
        };
        check(vec![], vec![]);
        check(vec![hit(Kind::Phone, 9..12), hit(Kind::Email, 0..9)], vec![(Kind::Email, 0..9), (Kind::Phone, 9..12)]);
        check(vec![hit(Kind::Phone, 2..8), hit(Kind::Iban, 0..20)], vec![(Kind::Iban, 0..20)]);
        check(vec![hit(Kind::Phone, 0..9), hit(Kind::UsSsn, 0..9)], vec![(Kind::UsSsn, 0..9)]);
        check(
            vec![hit(Kind::Email, 0..30), hit(Kind::ApiKey, 5..15)],
            vec![(Kind::Email, 0..5), (Kind::ApiKey, 5..15), (Kind::Email, 15..30)],
        );
        check(vec![hit(Kind::Email, 0..10), hit(Kind::Iban, 5..25)], vec![(Kind::Email, 0..5), (Kind::Iban, 5..25)]);
        check(
            vec![hit(Kind::ApiKey, 0..4), hit(Kind::ApiKey, 6..9), hit(Kind::Email, 2..12)],
            vec![(Kind::ApiKey, 0..4), (Kind::Email, 4..6), (Kind::ApiKey, 6..9), (Kind::Email, 9..12)],
        );
    }
}
