use super::*;
use crate::{Limits, PolicySet, RequestFacts, Source, TimeFacts, shipped};

/// The shipped rules with some of one's own.
fn rules(rego: &str) -> Arc<Rulebook> {
    let mut sources = shipped();
    if !rego.is_empty() {
        sources.push(Source::new("mine.rego", format!("package alfred.rules.mine\nimport rego.v1\n{rego}\n")));
    }
    let set = PolicySet::compile(&sources, serde_json::json!({"alfred": {}}), Limits::default()).unwrap();
    Arc::new(Rulebook::new(Arc::new(set)))
}

const FREEZE: &str =
    r#"deny contains {"code": "policy_denied", "message": "big is frozen"} if input.request.model == "big""#;

fn candidate(name: &str, target: &str, price: &str) -> Candidate {
    let (provider, model) = target.split_once('/').unwrap();
    Candidate {
        target: target.into(),
        name: name.into(),
        provider: provider.into(),
        model: model.into(),
        region: "eu".into(),
        price_input: Some(price.into()),
        price_output: Some(price.into()),
        healthy: true,
        ..Candidate::default()
    }
}

/// A call for a model, decided by these rules.
fn call(number: u32, model: &str, under: &Rulebook, paid: Option<(i64, u64, u64)>) -> Recorded {
    let candidates = match model {
        "big" => vec![candidate("big", "up/big", "10"), candidate("big", "other/big", "4")],
        small => vec![candidate(small, "up/small", "1")],
    };
    let facts = Facts {
        request: RequestFacts {
            kind: "chat.completions".into(),
            model: model.into(),
            input_tokens: 1_000,
            ..RequestFacts::default()
        },
        candidates,
        time: TimeFacts::at(i64::from(number)),
        ..Facts::default()
    };
    Recorded {
        id: format!("dec_{number:032}"),
        team: (number.is_multiple_of(2)).then(|| "team_1".to_owned()),
        model: model.into(),
        decisions: vec![under.decide(&facts).decision],
        questions: vec![facts],
        receipt: paid.map(|(price, input_tokens, output_tokens)| Paid { price, input_tokens, output_tokens }),
        masked: false,
    }
}

fn replay(calls: &[Recorded], under: &Arc<Rulebook>) -> Report {
    let mut replay = Replay::new(Arc::clone(under));
    calls.iter().for_each(|call| replay.add(call));
    replay.finish()
}

#[test]
fn rules_that_change_nothing_change_nothing() {
    let live = rules("");
    let calls: Vec<Recorded> = (0..4).map(|n| call(n, "big", &live, Some((1_000, 10, 10)))).collect();
    let report = replay(&calls, &live);
    assert_eq!((report.decisions, report.replayed), (4, 4));
    for class in [&report.newly_denied, &report.newly_allowed, &report.rerouted, &report.duties_changed, &report.faults]
    {
        assert_eq!(class.calls, 0, "{report:?}");
    }
    assert_eq!(report.money.estimated_delta_usd, "0");
}

#[test]
fn who_would_be_refused_is_told_with_what_was_charged() {
    let live = rules("");
    let calls =
        [call(1, "big", &live, Some((2_500, 10, 10))), call(2, "big", &live, None), call(3, "small", &live, None)];
    let report = replay(&calls, &rules(FREEZE));
    let denied = &report.newly_denied;
    assert_eq!((denied.calls, denied.charge_delta_usd.as_str()), (2, "-0.0000025"));
    assert_eq!(denied.by_team["team_1"], Share { calls: 1, charge_delta_usd: "0".into() });
    assert_eq!(denied.by_team["-"], Share { calls: 1, charge_delta_usd: "-0.0000025".into() });
    assert_eq!(denied.by_model.keys().collect::<Vec<_>>(), ["big"]);
    assert_eq!(denied.reasons, BTreeMap::from([("big is frozen".to_owned(), 2)]));
    assert_eq!(denied.examples, [calls[1].id.clone(), calls[0].id.clone()], "newest first");
    assert_eq!((&*report.money.saved_by_refusals_usd, &*report.money.estimated_delta_usd), ("0.0000025", "-0.0000025"));
}

#[test]
fn what_calls_that_were_refused_would_cost_is_estimated_by_others_of_that_model() {
    let (live, frozen) = (rules(""), rules(FREEZE));
    // Two that went, with 100 and 300 tokens of answer; one that was refused.
    let calls = [
        call(1, "big", &live, Some((1, 10, 100))),
        call(2, "big", &live, Some((1, 10, 300))),
        call(4, "big", &frozen, None),
    ];
    let report = replay(&calls, &live);
    assert_eq!(report.newly_allowed.calls, 1);
    // 1,000 tokens in and 200 out, at 10 dollars a million.
    assert_eq!(report.money.estimated_cost_of_allowed_usd, "0.012");
    assert_eq!(report.newly_allowed.by_team["team_1"].charge_delta_usd, "0.012");
}

#[test]
fn what_goes_elsewhere_is_priced_at_both_places() {
    let live = rules("");
    let elsewhere = rules(
        "allow contains target if {\n\tsome candidate in input.candidates\n\tcandidate.provider == \"other\"\n\ttarget := candidate.target\n}\n\
         allow contains target if {\n\tsome candidate in input.candidates\n\tcandidate.name != \"big\"\n\ttarget := candidate.target\n}",
    );
    let calls = [call(1, "big", &live, Some((1, 1_000_000, 500_000))), call(2, "small", &live, None)];
    let report = replay(&calls, &elsewhere);
    // 1.5 million tokens at 4 instead of 10 dollars.
    assert_eq!((report.rerouted.calls, report.rerouted.charge_delta_usd.as_str()), (1, "-9"));
    let back = replay(
        &[Recorded { decisions: vec![elsewhere.decide(&calls[0].questions[0]).decision], ..calls[0].clone() }],
        &live,
    );
    assert_eq!(back.money.estimated_rerouting_delta_usd, "9");
}

#[test]
fn rules_that_cannot_decide_are_told_apart() {
    let live = rules("");
    let torn = rules(
        "verdict := true if input.request.model == \"big\"\nverdict := false if input.request.input_tokens == 1000\n\
         deny contains {\"code\": \"policy_denied\", \"message\": \"torn\"} if verdict == 7",
    );
    let report = replay(&[call(1, "big", &live, Some((7, 1, 1))), call(2, "small", &live, None)], &torn);
    assert_eq!((report.faults.calls, report.newly_denied.calls), (1, 0), "{report:?}");
}

#[test]
fn other_duties_are_a_class_of_their_own() {
    let live = rules("");
    let capped = rules("max_output_tokens contains 9");
    let report = replay(&[call(1, "big", &live, None)], &capped);
    assert_eq!((report.duties_changed.calls, report.rerouted.calls), (1, 0));
}

#[test]
fn whatever_the_parts_the_report_is_the_same() {
    let (live, frozen) = (rules(""), rules(FREEZE));
    let calls: Vec<Recorded> = (0..60)
        .map(|n| {
            let model = if n % 3 == 0 { "big" } else { "small" };
            call(n, model, if n % 5 == 0 { &frozen } else { &live }, Some((i64::from(n), 10, 20)))
        })
        .collect();
    let whole = replay(&calls, &frozen);
    assert_eq!(whole.newly_denied.examples.len(), 16);
    for at in [0, 7, 31, 60] {
        let mut parts = [Replay::new(Arc::clone(&frozen)), Replay::new(Arc::clone(&frozen))];
        calls.iter().enumerate().for_each(|(n, call)| parts[usize::from(n >= at)].add(call));
        let [mut first, second] = parts;
        first.merge(second);
        assert_eq!(first.finish(), whole, "{at}");
    }
}

#[test]
fn what_was_not_kept_is_counted_and_nothing_more() {
    let mut replay = Replay::new(rules(""));
    replay.without_facts();
    replay.unreadable();
    replay.add(&Recorded::default());
    let report = replay.finish();
    assert_eq!((report.decisions, report.replayed, report.without_facts, report.unreadable), (3, 0, 1, 2));
}
