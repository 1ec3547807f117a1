//! What holds whatever rules say: an added denial never allows more, and an added layer never loosens anything above it.

use proptest::prelude::*;
use serde_json::json;

use super::{Said, decision};
use crate::rulebook::Scope;
use crate::{ACTIONS, Candidate, Decision, Facts, KINDS, Obligations};

const TARGETS: [&str; 4] = ["a/m", "b/m", "c/m", "d/m"];
const REGIONS: [&str; 3] = ["eu", "us", ""];

fn layers() -> [Scope; 4] {
    [Scope::House, Scope::Platform, Scope::Org("org_1".into()), Scope::Team("team_1".into())]
}

fn facts() -> impl Strategy<Value = Facts> {
    let regions = prop::collection::vec(prop::sample::select(&REGIONS[..]), TARGETS.len());
    (regions, any::<bool>()).prop_map(|(regions, downgrade)| {
        let candidate = |(target, region): (&&str, &str)| Candidate {
            target: (*target).to_owned(),
            region: region.to_owned(),
            ..Candidate::default()
        };
        let mut facts = Facts { candidates: TARGETS.iter().zip(regions).map(candidate).collect(), ..Facts::default() };
        facts.request.model = "m".into();
        facts.budget.downgrade = downgrade;
        facts
    })
}

/// One value of a member: usually a usable one.
fn value() -> impl Strategy<Value = (&'static str, serde_json::Value)> {
    let targets = || prop::sample::subsequence(TARGETS.to_vec(), 0..=TARGETS.len()).prop_shuffle();
    let name = || prop::sample::select(vec!["m", "n", "o"]);
    let member = |name: &'static str| move |value: serde_json::Value| (name, value);
    prop_oneof![
        denial(),
        targets().prop_map(|it| json!(it)).prop_map(member("order")),
        (targets(), 0..4_u64).prop_map(|(it, weight)| {
            let table = it.iter().enumerate().map(|(at, target)| ((*target).to_owned(), json!(weight + at as u64)));
            ("weights", serde_json::Value::Object(table.collect()))
        }),
        (0..KINDS.len(), 0..ACTIONS.len())
            .prop_map(|(kind, action)| ("actions", json!({KINDS[kind]: ACTIONS[action]}))),
        (1..5_u64).prop_map(|cap| ("max_output_tokens", json!(cap))),
        (1..5_u64).prop_map(|usd| ("max_cost_usd", json!(format!("0.{usd}")))),
        prop::sample::subsequence(REGIONS.to_vec(), 0..=3).prop_map(|it| json!(it)).prop_map(member("regions")),
        (0..3_u64, prop::sample::select(vec!["read", "read_write"]))
            .prop_map(|(seconds, mode)| ("cache", json!({"ttl_seconds": seconds, "mode": mode}))),
        name().prop_map(|it| ("downgrade", json!(it))),
        name().prop_map(|it| ("reroute", json!(it))),
        name().prop_map(|it| ("tags", json!({"project": it}))),
        name().prop_map(|it| ("approvals", json!({"name": it, "reason": "why"}))),
        name().prop_map(|it| ("remove_tools", json!(it))),
        prop::sample::select(vec!["result", "facts"]).prop_map(|it| ("log", json!(it))),
        Just(("routing", json!("a sentence"))),
        prop::sample::select(&crate::check::CONTRIBUTIONS[..]).prop_map(|it| (it, json!(7.5))),
    ]
}

fn denial() -> impl Strategy<Value = (&'static str, serde_json::Value)> {
    let deny = |log_only: bool| ("deny", json!({"code": "policy_denied", "message": "no", "log_only": log_only}));
    prop_oneof![6 => Just(deny(true)), 1 => Just(deny(false)), 1 => Just(("deny", json!("no")))]
}

/// What packages of one layer say; sometimes one of them says which targets it admits.
fn layer(scope: Scope) -> impl Strategy<Value = Vec<Said>> {
    let package =
        (0..3_usize, prop::bool::weighted(0.1), value()).prop_map(move |(package, log_only, (member, it))| {
            said(&scope, &format!("p{package}"), member, vec![it], log_only)
        });
    (prop::collection::vec(package, 0..6), prop::option::weighted(0.3, 1..16_usize)).prop_map(|(mut all, admits)| {
        if let (Some(bits), Some(first)) = (admits, all.first().cloned()) {
            let admitted = TARGETS.iter().enumerate().filter(|(at, _)| bits & (1 << at) != 0);
            let names = admitted.map(|(_, target)| json!(target)).collect();
            all.push(said(&first.layer, &first.package, "allow", names, first.log_only));
        }
        all.sort_by(|a, b| (a.member, &a.package).cmp(&(b.member, &b.package)));
        all
    })
}

fn said(scope: &Scope, package: &str, member: &'static str, values: Vec<serde_json::Value>, log_only: bool) -> Said {
    let values = values.into_iter().map(regorus::Value::from).collect();
    Said { layer: scope.clone(), package: package.to_owned(), member, values, log_only }
}

/// What the shipped rules say always: every target, and something about every kind.
fn base() -> Vec<Said> {
    let every: serde_json::Map<_, _> = KINDS.iter().map(|kind| ((*kind).to_owned(), json!("allow"))).collect();
    let admitted = TARGETS.iter().map(|target| json!(target)).collect();
    vec![
        said(&Scope::House, "models", "allow", admitted, false),
        said(&Scope::House, "safety", "actions", vec![every.into()], false),
    ]
}

/// The base beside everything that is said in the first `most` layers.
fn all(most: usize) -> impl Strategy<Value = Vec<Said>> {
    let layers: Vec<_> = layers().into_iter().take(most).map(|scope| layer(scope).boxed()).collect();
    layers.prop_map(|said| base().into_iter().chain(said.into_iter().flatten()).collect())
}

fn allowed(said: &[Said], facts: &Facts) -> Option<Obligations> {
    match decision(said, facts) {
        Ok(Decision::Allow(obligations)) => Some(obligations),
        Ok(Decision::Deny(reasons)) => {
            assert!(!reasons.is_empty());
            None
        }
        Err(_) => None,
    }
}

/// Whether what every bound of one is there in the other, or a stricter one.
fn is_no_looser(above: &Obligations, below: &Obligations, above_said: &[Said]) -> Result<(), TestCaseError> {
    let in_order =
        |of: &[String]| -> Vec<String> { of.iter().filter(|it| below.targets.contains(it)).cloned().collect() };
    let strict = |action: &String| ACTIONS.iter().position(|known| known == action);
    let at_most = |above: Option<u64>, below: Option<u64>| above.is_none_or(|a| below.is_some_and(|b| b <= a));
    let tenths = |usd: &Option<String>| usd.as_ref().map(|it| it.trim_start_matches("0.").parse::<u64>().unwrap());
    let heard = |member: &str| above_said.iter().any(|it| it.member == member && !it.log_only);

    prop_assert!(below.targets.iter().all(|it| above.targets.contains(it)), "a target was added");
    if heard("order") || heard("weights") {
        prop_assert_eq!(in_order(&above.targets), below.targets.clone(), "the order above is kept");
        let all_to_the_first = |of: &Obligations| of.weights.iter().eq([(&of.targets[0], &1)]);
        let left = above.weights.iter().filter(|(name, _)| below.targets.contains(name));
        prop_assert!(all_to_the_first(below) || left.eq(below.weights.iter()), "{:?}", below.weights);
    }
    for (kind, action) in &above.actions {
        prop_assert!(strict(&below.actions[kind]) >= strict(action), "{}", kind);
    }
    prop_assert!(at_most(above.max_output_tokens, below.max_output_tokens));
    prop_assert!(at_most(tenths(&above.max_cost_usd), tenths(&below.max_cost_usd)));
    if let Some(regions) = &above.regions {
        let inner = below.regions.as_ref().expect("a bound is never lifted");
        prop_assert!(inner.iter().all(|it| regions.contains(it)));
    }
    if heard("cache") {
        // Whoever spoke of it above, for it or against it, bounds what those below may do.
        match (&above.cache, &below.cache) {
            (_, None) => {}
            (None, Some(_)) => prop_assert!(false, "the cache was forbidden above"),
            (Some(a), Some(b)) => prop_assert!(b.ttl_seconds <= a.ttl_seconds && b.mode <= a.mode),
        }
    }
    prop_assert!(above.approvals.iter().all(|it| below.approvals.contains(it)));
    prop_assert!(above.remove_tools.iter().all(|it| below.remove_tools.contains(it)));
    prop_assert!(below.log <= above.log);
    prop_assert!(above.tags.iter().all(|(name, text)| below.tags.get(name) == Some(text)));
    if heard("reroute") {
        prop_assert_eq!(&above.reroute, &below.reroute);
    }
    if heard("downgrade") {
        prop_assert_eq!(&above.downgrade, &below.downgrade);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_module_that_only_denies_never_allows_more(
        rules in all(4), facts in facts(), at in 0..4_usize, denials in prop::collection::vec(denial(), 1..4), log_only: bool,
    ) {
        let scope = &layers()[at];
        let mut more = rules.clone();
        let values = denials.into_iter().map(|(_, value)| value).collect();
        more.push(said(scope, "added", "deny", values, log_only));
        more.sort_by(|a, b| a.layer.cmp(&b.layer));
        if let Some(after) = allowed(&more, &facts) {
            let before = allowed(&rules, &facts);
            prop_assert!(before.is_some(), "denied before, and now allowed");
            let silent = |it: Obligations| Obligations { observed: Vec::new(), ..it };
            prop_assert_eq!(before.map(silent), Some(silent(after)), "and nothing else is changed");
        }
    }

    #[test]
    fn a_layer_that_is_added_below_never_loosens_what_is_above(
        (above, below) in (1..4_usize).prop_flat_map(|most| (all(most), layer(layers()[most].clone()))), facts in facts(),
    ) {
        let both: Vec<Said> = above.iter().chain(&below).cloned().collect();
        if let Some(after) = allowed(&both, &facts) {
            let before = allowed(&above, &facts);
            prop_assert!(before.is_some(), "denied before, and now allowed");
            is_no_looser(&before.expect("asserted"), &after, &above)?;
        }
    }
}

#[test]
fn the_rules_that_are_made_up_here_allow_often_enough_to_show_anything() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let (mut both, mut allowed_both) = (0, 0);
    for _ in 0..500 {
        let (rules, facts) = (all(4), facts()).new_tree(&mut runner).unwrap().current();
        both += 1;
        allowed_both += usize::from(allowed(&rules, &facts).is_some());
    }
    assert!(allowed_both * 10 > both, "{allowed_both} of {both}");
}
