//! Ten thousand calls through random fleets under random bounds, rules and failures, by the very functions that decide in production:
//! policy, permit, plan and walk, hedges and fallbacks included. Nothing beyond the bound is ever asked. A failure names its seed.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use bytes::Bytes;
use ledger::prices::PriceBook;
use ledger::{Credential, CredentialAttributes, CredentialSet, Id, Tags, Timestamp};
use policies::{Limits, PolicySet, Rulebook, Scope, Source, shipped};
use providers::{Class, Demand, Health, ModelRequest, Move, Outcome, Outside, ProviderError, Retry, Shape, Walk, plan};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::authenticate::Presented;
use crate::case::{Call, Caller, Case};
use crate::config;
use crate::permit::permit;
use crate::quote::seed;
use crate::refusal::Refusal;
use crate::scan::Found;
use crate::snapshot::{Snapshot, routes};

const FLEETS: u64 = 2_500;
const CALLS: u64 = 4;
const REGIONS: [&str; 4] = ["eu", "ch", "us", ""];
const BOUNDS: [&[&str]; 4] = [&["eu"], &["eu", "ch"], &["us"], &[]];
const LONG: Duration = Duration::from_secs(60);

/// What else rules may say: none of it leads out.
const STIR: &str = r#"package alfred.rules.stir
import rego.v1
stir := input.request.claims.stir
reroute contains "m1" if stir == "reroute"
order contains ["p2/a", "p1/b", "p0/a"] if stir == "order"
weights contains {"p0/a": 1, "p1/a": 3, "p2/b": 1} if stir == "weights"
downgrade contains "m2" if input.budget.downgrade
"#;

/// Draws one number after another.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % n as u64).expect("below n")
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

fn id<K: ledger::Kind>(n: u8) -> Id<K> {
    Id::new(Timestamp::from_micros(0), [n; 10])
}

fn layer(bound: Option<&[&str]>, more: Vec<Source>) -> Arc<PolicySet> {
    let data = bound.map_or(json!({}), |bound| json!({"alfred": {"residency": {"regions": bound}}}));
    let limits = Limits { time: Duration::from_secs(30), ..Limits::default() };
    Arc::new(PolicySet::compile(&more, data, limits).unwrap_or_else(|faults| panic!("{faults:#?}")))
}

/// The rules with a bound of the house and one of the organisation, where there are any.
fn rulebooks() -> Vec<(Vec<&'static [&'static str]>, Arc<Rulebook>)> {
    let mut house = shipped();
    house.push(Source::new("stir.rego", STIR));
    let of_org: Vec<Source> = shipped().into_iter().filter(|it| it.path.contains("residency")).collect();
    let bounds = || std::iter::once(None).chain(BOUNDS.into_iter().map(Some));
    let houses: Vec<_> = bounds().map(|bound| (bound, layer(bound, house.clone()))).collect();
    let orgs: Vec<_> = bounds().map(|bound| (bound, layer(bound, of_org.clone()))).collect();
    let org = Scope::Org(id::<ledger::Org>(1).to_string());
    let pair = |(of_house, house): &(_, Arc<PolicySet>), (of_org, set): &(_, Arc<PolicySet>)| {
        let book = Rulebook::new(Arc::clone(house)).with(org.clone(), Some(Arc::clone(set)));
        ([*of_house, *of_org].into_iter().flatten().collect(), Arc::new(book))
    };
    houses.iter().flat_map(|house| orgs.iter().map(move |org| pair(house, org)).collect::<Vec<_>>()).collect()
}

/// Three providers somewhere, three models in front of them, each with its own way.
fn fleet(dice: &mut Dice) -> String {
    let mut text = String::from("providers:\n");
    for i in 0..3 {
        let region = match *dice.of(&REGIONS) {
            "" => String::new(),
            region => format!(", region: {region}"),
        };
        text += &format!(
            "  - {{id: p{i}, kind: vllm, base_url: 'http://127.0.0.1:9/v1', models: [{{id: a}}, {{id: b}}]{region}}}\n"
        );
    }
    text += "models:\n";
    let target = |dice: &mut Dice| format!("p{}/{}", dice.below(3), dice.of(&["a", "b"]));
    for i in 0..3 {
        let targets: BTreeSet<String> = (0..=dice.below(4)).map(|_| target(dice)).collect();
        let mut targets: Vec<String> = targets.into_iter().collect();
        let turn = dice.below(targets.len());
        targets.rotate_left(turn);
        let strategy = dice.of(&["ordered", "weighted", "least_latency", "least_busy", "sticky"]);
        let hedge = if dice.one_in(2) { ", hedge: {after_ms: 1, most_percent: 100}" } else { "" };
        let others = |dice: &mut Dice| match dice.below(3) {
            0 => String::new(),
            1 => format!("m{}", (i + 1) % 3),
            _ => target(dice),
        };
        let (long, filtered) = (others(dice), others(dice));
        text += &format!(
            "  - {{id: m{i}, targets: [{}], strategy: {strategy}, context_fallbacks: [{long}], content_filter_fallbacks: [{filtered}]{hedge}}}\n",
            targets.join(", ")
        );
    }
    text += "prices:\n";
    for i in 0..3 {
        text += &format!("  p{i}/a: {{input: '1', output: '2'}}\n  p{i}/b: {{input: '1', output: '2'}}\n");
    }
    text
}

fn caller() -> Caller {
    let credential = Credential {
        key: id(3),
        org: id(1),
        wallet: id(2),
        team: None,
        user: None,
        secret_hash: [0; 32],
        overlap: None,
        models: None,
        rpm: None,
        tpm: None,
        max_parallel: None,
        team_limits: ledger::Limits::default(),
        priority: ledger::Priority::default(),
        tags: Tags::new(),
        groups: Arc::default(),
        attributes: CredentialAttributes::default(),
        expires_at: None,
    };
    Caller { credential: Arc::new(credential) }
}

fn case(number: u64) -> Case {
    let mut tail = [7; 10];
    tail[2..].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    let at = Timestamp::from_micros(1_795_180_814_000_000);
    let call = Call {
        id: Id::new(at, tail),
        shape: Shape::OpenAi,
        kind: "chat.completions",
        started: Instant::now(),
        presented: Presented { key: None, address: IpAddr::V4(Ipv4Addr::LOCALHOST), at },
        idempotency_key: None,
        tags: Vec::new(),
        approvals: Default::default(),
        content_length: None,
        compressed: false,
        outside: Outside::default(),
        parent: None,
        body: Body::empty(),
        gone: CancellationToken::new(),
    };
    let place = Arc::new(Semaphore::new(1)).try_acquire_owned().expect("a place");
    Case::open(&call, place, LONG)
}

fn asked(dice: &mut Dice) -> ModelRequest {
    let name = |dice: &mut Dice| match dice.below(3) {
        0 => format!("p{}/{}", dice.below(3), dice.of(&["a", "b"])),
        _ => format!("m{}", dice.below(3)),
    };
    let fallbacks: Vec<String> = (0..dice.below(3)).map(|_| name(dice)).collect();
    let body = json!({"model": name(dice), "fallbacks": fallbacks, "messages": [{"role": "user", "content": "hi"}]});
    ModelRequest::parse(Shape::OpenAi, Bytes::from(body.to_string())).expect("a request")
}

fn failure(dice: &mut Dice) -> ProviderError {
    let rejected = |code| ProviderError { code, status: Some(400), ..ProviderError::new(Class::Rejected, "x") };
    match dice.below(7) {
        0 => ProviderError { status: Some(503), ..ProviderError::new(Class::Server, "x") },
        1 => ProviderError { status: Some(429), ..ProviderError::new(Class::RateLimited, "x") },
        2 => ProviderError { retry: Retry::Here, ..ProviderError::broken("x") },
        3 => ProviderError::new(Class::Timeout, "x"),
        4 => ProviderError { retry: Retry::NextKey, ..ProviderError::new(Class::RateLimited, "x") },
        5 => rejected("context_length_exceeded"),
        _ => rejected("provider_content_filter"),
    }
}

/// Every target that one call asks until it is answered or nobody is left.
fn walked(walk: &mut Walk, health: &Health, hedged: bool, now: &mut u64, dice: &mut Dice) -> Vec<(String, String)> {
    let mut seen = Vec::new();
    loop {
        match walk.step(health, *now) {
            Move::Over => return seen,
            Move::Skip(..) => {}
            Move::Wait(wait) => *now += u64::try_from(wait.as_millis()).expect("short"),
            Move::Ask(first) => {
                let second = if hedged { walk.beside(&first.target, health, *now) } else { None };
                for mut asked in std::iter::once(first).chain(second) {
                    seen.push((asked.target.name.clone(), asked.target.region.clone()));
                    if dice.one_in(6) {
                        asked.flight.ended(Outcome::Good, *now);
                        return seen;
                    }
                    let error = failure(dice);
                    asked.flight.ended(Outcome::from(&error), *now);
                    walk.failed(&asked.target, &error, *now, LONG);
                }
            }
        }
    }
}

#[test]
fn nothing_beyond_a_bound_is_asked_in_ten_thousand_random_fleets_and_failures() {
    let books = rulebooks();
    let caller = caller();
    let (mut asked_inside, mut refused, mut beyond_when_free, mut after_failures) = (0_u64, 0_u64, 0_u64, 0_u64);
    for number in 0..FLEETS {
        let mut dice = Dice(number);
        let text = fleet(&mut dice);
        let loaded = config::parse("alfred.yaml", &text, &[]);
        assert!(loaded.faults.is_empty(), "seed {number}: {:?}\n{text}", loaded.faults);
        let routes =
            routes("alfred.yaml", &loaded.config, &|_| None).unwrap_or_else(|it| panic!("seed {number}: {it:?}"));
        let routes = Arc::new(routes);
        let (health, mut now) = (Health::new(), 0);
        for call in 0..CALLS {
            let (bounds, book) = dice.of(&books);
            let book = Arc::clone(book);
            let prices = Arc::new(PriceBook::new(vec![], vec![], vec![]));
            let snapshot = Snapshot::new(CredentialSet::default(), prices, Arc::clone(&routes), book);
            let mut case = case(number * CALLS + call);
            case.claims.insert("stir".to_owned(), (*dice.of(&["", "reroute", "order", "weights"])).to_owned());
            case.downgraded = dice.one_in(4);
            let request = asked(&mut dice);
            let view = health.view(now);
            let permit = match permit(&snapshot, &caller, &request, &Found::default(), &view, &mut case) {
                Ok(permit) => permit,
                Err(Refusal::Denied { code: "residency_violation", .. }) => {
                    refused += 1;
                    continue;
                }
                Err(other) => panic!("seed {number}: {}", other.code()),
            };
            let routing = permit.routing.as_ref().map(|it| &it.routing);
            let demand = Demand {
                instead: &permit.instead,
                routing,
                seed: seed(&case),
                ..Demand::of(&permit.targets, request.features(), request.task(), case.input_tokens)
            };
            let plan = plan(&demand, &view, now);
            let hedged = routing.is_some_and(|it| it.hedge.is_some());
            let mut walk = Walk::new(plan, routes.retries, seed(&case));
            let seen = walked(&mut walk, &health, hedged, &mut now, &mut dice);
            after_failures += seen.len().saturating_sub(1) as u64;
            for (target, region) in &seen {
                let is_inside = bounds.iter().all(|bound| bound.contains(&region.as_str()));
                assert!(is_inside, "seed {number}, call {call}: {target} in '{region}' beyond {bounds:?}\n{text}");
            }
            match bounds.is_empty() {
                true => beyond_when_free += seen.iter().filter(|(_, region)| region != "eu").count() as u64,
                false => asked_inside += seen.len() as u64,
            }
        }
    }
    // A simulation in which nothing happens shows nothing.
    assert!(asked_inside > 1_000 && refused > 1_000, "{asked_inside} asked, {refused} refused");
    assert!(
        beyond_when_free > 100 && after_failures > 1_000,
        "{beyond_when_free} beyond, {after_failures} after failures"
    );
}
