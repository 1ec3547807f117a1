//! Ten thousand random fleets under random faults: plan, walk, breakers, budgets and key rings as they are in production, only time is
//! moved by hand. What must hold whatever happens is checked after each step; a failure names its seed, and `SIM_SEED` repeats it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::chance::mixed;
use crate::credentials::{KeyRing, LiveKey, Pick, Secret};
use crate::error::{Class, ProviderError};
use crate::health::{Health, InFlight, Outcome};
use crate::{Fleet, ProviderConfig};

const FLEETS: u64 = 10_000;
const CALLS: usize = 24;
const TOTAL: Duration = Duration::from_secs(60);

/// Draws one number after another.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = mixed(self.0);
        self.0 % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// How a simulated target behaves for some time.
#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Well,
    Down,
    Limited { after: Option<u64> },
    Hangs,
}

struct Simulated {
    target: Arc<Target>,
    ring: KeyRing,
    /// From when on it behaves how; it ends as it last was.
    moods: Vec<(u64, Mood)>,
    latency: u64,
    /// Requests that were sent and have not been answered, with whether they left for an open breaker.
    open_now: u32,
    firsts: u64,
    beside: u64,
}

impl Simulated {
    fn mood(&self, now: u64) -> Mood {
        self.moods.iter().rev().find(|(from, _)| *from <= now).map_or(Mood::Well, |(_, mood)| *mood)
    }

    fn always_well(&self) -> bool {
        self.moods.iter().all(|(_, mood)| *mood == Mood::Well)
    }
}

/// A request under way.
struct Sent {
    done_at: u64,
    at: usize,
    flight: InFlight,
    pick: Option<Pick>,
    while_open: bool,
}

/// A call under way.
struct Call {
    began: u64,
    walk: Walk,
    wakes_at: u64,
    sent: Option<Sent>,
    /// Whom it has asked.
    asked: Vec<usize>,
    /// Someone permitted is well all along, with no breaker open when the call was planned.
    has_hope: bool,
    answered: bool,
    over: bool,
}

struct World {
    seed: u64,
    dice: Dice,
    health: Health,
    rules: RetryRules,
    routing: Routing,
    targets: Vec<Simulated>,
    now: u64,
}

fn fleet() -> Vec<Arc<Target>> {
    let yaml = "{ id: up, kind: vllm, models: [{ id: a }, { id: b }, { id: c }, { id: d }, { id: e }] }";
    let config: ProviderConfig = serde_yaml_ng::from_str(yaml).unwrap();
    let fleet = Fleet::build(&[config], &|_| None).unwrap();
    ["a", "b", "c", "d", "e"].iter().map(|it| fleet.target(&format!("up/{it}")).unwrap()).collect()
}

impl World {
    fn of(seed: u64, all: &[Arc<Target>]) -> World {
        let mut dice = Dice(seed);
        let several = 1 + dice.below(all.len() as u64) as usize;
        let targets: Vec<_> = all[..several].iter().map(|target| Simulated::of(target, &mut dice)).collect();
        let strategies = [
            Strategy::Ordered,
            Strategy::Weighted,
            Strategy::LeastLatency,
            Strategy::LeastCost,
            Strategy::LeastBusy,
            Strategy::Sticky,
        ];
        let strategy = strategies[dice.below(6) as usize];
        let weights = targets.iter().map(|it| (it.target.name.clone(), 1 + dice.below(9) as u32)).collect();
        let rules = RetryRules {
            attempts: 1 + dice.below(4) as u32,
            budget_percent: dice.below(50) as u32,
            base_ms: 10 + dice.below(200),
            max_ms: 200 + dice.below(3_000),
        };
        let routing = Routing { strategy, weights, hedge: None };
        World { seed, dice, health: Health::new(), rules, routing, targets, now: 0 }
    }

    #[track_caller]
    fn holds(&self, so: bool, what: &str) {
        assert!(so, "{what} (at {} ms; SIM_SEED={} repeats it)", self.now, self.seed);
    }

    fn call(&mut self) -> Call {
        let now = self.now;
        let targets: Vec<_> = self.targets.iter().map(|it| Arc::clone(&it.target)).collect();
        let costs: Vec<_> = (0..targets.len()).map(|_| self.dice.below(100) as i64).collect();
        let seed = self.dice.below(u64::MAX);
        let demand = Demand {
            routing: Some(&self.routing),
            seed,
            kinship: seed % 7,
            costs: &costs,
            ..Demand::of(&targets, Features::default(), Task::Chat, 5)
        };
        let view = self.health.view(now);
        let plan = plan(&demand, &view, now);
        let again = plan_names(&super::plan(&demand, &view, now));
        self.holds(plan_names(&plan) == again, "the same seed and sight plan the same");
        self.holds(!plan.targets.is_empty(), "there is always somebody to ask");
        let has_hope = self.targets.iter().any(|it| it.always_well() && view.healthy(&it.target.name));
        let walk = Walk::new(plan, self.rules, seed);
        Call { began: now, walk, wakes_at: now, sent: None, asked: Vec::new(), has_hope, answered: false, over: false }
    }

    /// Moves one call on that is due.
    fn advance(&mut self, call: &mut Call) {
        let now = self.now;
        if let Some(sent) = call.sent.take() {
            self.hear(call, sent);
            if call.over {
                return;
            }
        }
        loop {
            let state = |world: &World, name: &str| world.health.view(now).sight(name, true).state;
            match call.walk.step(&self.health, now) {
                Move::Over => {
                    call.over = true;
                    return;
                }
                Move::Wait(wait) => {
                    self.holds(wait > Duration::ZERO, "who waits waits for something");
                    call.wakes_at = now + wait.as_millis() as u64;
                    self.holds(call.wakes_at < call.began + TOTAL.as_millis() as u64, "nobody waits into its own end");
                    return;
                }
                Move::Skip(target, why) => {
                    let so = why == "retry_budget" || state(self, &target.name) != BreakerState::Closed;
                    self.holds(so, "only who is not well is called unwell");
                }
                Move::Ask(asked) => {
                    let sent = self.send(asked);
                    self.count(sent.at, call.asked.contains(&sent.at));
                    call.asked.push(sent.at);
                    call.sent = Some(sent);
                    call.wakes_at = call.sent.as_ref().map_or(now, |sent| sent.done_at);
                    return;
                }
            }
        }
    }

    fn send(&mut self, asked: Asked) -> Sent {
        let now = self.now;
        let at = self.targets.iter().position(|it| it.target.name == asked.target.name).unwrap();
        let state = self.health.view(now).sight(&asked.target.name, true).state;
        let while_open = state != BreakerState::Closed;
        let ring = self.targets[at].ring.clone();
        let resting_before = ring.resting(now);
        let pick = ring.pick(now);
        if let Some(pick) = &pick {
            let wrong = resting_before[pick.index()] && resting_before.iter().any(|rests| !rests);
            self.holds(!wrong, "no key is shown that rests while another is free");
        }
        if while_open {
            self.targets[at].open_now += 1;
            self.holds(self.targets[at].open_now <= 1, "of an open target one probe at a time is all that is asked");
        }
        let simulated = &self.targets[at];
        let took = match simulated.mood(now) {
            Mood::Well => simulated.latency,
            Mood::Down | Mood::Limited { .. } => 1 + simulated.latency / 10,
            Mood::Hangs => 5_000,
        };
        Sent { done_at: now + took, at, flight: asked.flight, pick, while_open }
    }

    /// However many calls fail together, a target gets its share of requests beside the first ones, and the floor.
    fn count(&mut self, at: usize, again: bool) {
        let percent = u64::from(self.rules.budget_percent);
        let it = &mut self.targets[at];
        if again {
            it.beside += 1;
        } else {
            it.firsts += 1;
        }
        let allowed = 10_000 + it.firsts * percent * 10 + self.now;
        let within = it.beside * 1_000 <= allowed;
        self.holds(within, "retries stay within their budget");
    }

    fn hear(&mut self, call: &mut Call, mut sent: Sent) {
        let now = self.now;
        let simulated = &mut self.targets[sent.at];
        if sent.while_open {
            simulated.open_now -= 1;
        }
        let error = match simulated.mood(now) {
            Mood::Well => None,
            Mood::Down => Some(ProviderError { status: Some(503), ..ProviderError::new(Class::Server, "down") }),
            Mood::Hangs => Some(ProviderError::new(Class::Timeout, "nothing")),
            Mood::Limited { after } => {
                let retry_after = after.map(Duration::from_millis);
                let limited = ProviderError::new(Class::RateLimited, "limited");
                Some(ProviderError { status: Some(429), retry_after, ..limited })
            }
        };
        let Some(error) = error else {
            simulated.ring.served(sent.pick.as_ref());
            sent.flight.measured(true, Duration::from_millis(simulated.latency), now);
            sent.flight.ended(Outcome::Good, now);
            (call.answered, call.over) = (true, true);
            return;
        };
        let error = simulated.ring.refused(sent.pick.as_ref(), error, now);
        sent.flight.ended(Outcome::from(&error), now);
        drop(sent.flight);
        let left = TOTAL.saturating_sub(Duration::from_millis(now - call.began));
        let target = Arc::clone(&simulated.target);
        call.over = !call.walk.failed(&target, &error, now, left);
    }

    fn run(mut self) -> BTreeMap<&'static str, u64> {
        let mut calls = Vec::new();
        let (mut starts, mut seen) = (CALLS, BTreeMap::new());
        let mut next_start = 0;
        while starts > 0 || calls.iter().any(|call: &Call| !call.over) {
            let waking = calls.iter().filter(|call| !call.over).map(|call| call.wakes_at).min();
            let start = (starts > 0).then_some(next_start);
            self.now = [waking, start].into_iter().flatten().min().unwrap_or(self.now).max(self.now);
            if start.is_some_and(|at| at <= self.now) {
                calls.push(self.call());
                starts -= 1;
                // Calls come in bursts, and then for a while there are none.
                next_start = self.now + if self.dice.one_in(4) { self.dice.below(9_000) } else { self.dice.below(30) };
            }
            for call in &mut calls {
                if call.over || call.wakes_at > self.now {
                    continue;
                }
                self.advance(call);
                if call.over && call.has_hope {
                    self.holds(call.answered, "where one permitted target is well there is an answer");
                }
                if call.over {
                    *seen.entry(if call.answered { "answered" } else { "refused" }).or_insert(0) += 1;
                }
            }
        }
        seen
    }
}

impl Simulated {
    fn of(target: &Arc<Target>, dice: &mut Dice) -> Simulated {
        let keys = (0..dice.below(4)).map(|n| Arc::new(LiveKey::new(Secret::new(format!("key-{n}")))));
        let ring = KeyRing::new(keys.collect());
        let mut moods = Vec::new();
        if !dice.one_in(3) {
            let mut at = 0;
            for _ in 0..=dice.below(5) {
                let mood = match dice.below(5) {
                    0 | 1 => Mood::Well,
                    2 => Mood::Down,
                    3 => Mood::Limited { after: dice.one_in(2).then(|| dice.below(8_000)) },
                    _ => Mood::Hangs,
                };
                moods.push((at, mood));
                at += dice.below(20_000);
            }
        }
        let latency = 1 + dice.below(800);
        Simulated { target: Arc::clone(target), ring, moods, latency, open_now: 0, firsts: 0, beside: 0 }
    }
}

fn plan_names(plan: &Plan) -> Vec<String> {
    plan.targets.iter().map(|it| it.name.clone()).collect()
}

#[test]
fn ten_thousand_random_fleets_are_never_hammered_and_always_answer_where_somebody_is_well() {
    let all = fleet();
    let seeds: Vec<u64> = match std::env::var("SIM_SEED") {
        Ok(seed) => vec![seed.parse().expect("SIM_SEED is a number")],
        Err(_) => (0..FLEETS).map(|n| mixed(n ^ 0xa1f4_ed00)).collect(),
    };
    let mut seen = BTreeMap::new();
    for seed in &seeds {
        for (what, times) in World::of(*seed, &all).run() {
            *seen.entry(what).or_insert(0) += times;
        }
    }
    if seeds.len() > 1 {
        // Neither would a world without faults prove anything, nor one without answers.
        assert!(seen["answered"] > 10_000 && seen["refused"] > 10_000, "{seen:?}");
    }
}

#[test]
fn shares_come_out_as_they_weigh_and_whoever_is_unwell_leaves_its_share_to_the_others_in_proportion() {
    const PLANS: u64 = 2_000;
    let all = fleet();
    for fleet in 0..40 {
        let mut dice = Dice(mixed(fleet));
        let weights: Vec<_> = all.iter().map(|it| (it.name.clone(), 1 + dice.below(9) as u32)).collect();
        let out = &all[dice.below(all.len() as u64) as usize].name;
        let view = match dice.one_in(2) {
            true => HealthView::default().with(out, BreakerState::Open { until: 9 }),
            false => HealthView::default(),
        };
        let counts = |name: &String| view.healthy(name);
        let whole: u32 = weights.iter().filter(|(name, _)| counts(name)).map(|(_, weight)| weight).sum();
        let routing = Routing { strategy: Strategy::Weighted, weights: weights.clone(), hedge: None };
        let mut first = BTreeMap::new();
        for seed in 0..PLANS {
            let plain = Demand::of(&all, Features::default(), Task::Chat, 5);
            let plan = plan(&Demand { routing: Some(&routing), seed: mixed(seed), ..plain }, &view, 0);
            *first.entry(plan.targets[0].name.clone()).or_insert(0_u64) += 1;
        }
        for (name, weight) in weights.iter().filter(|(name, _)| counts(name)) {
            let share = first.get(name).copied().unwrap_or(0) as f64 / PLANS as f64;
            let due = f64::from(*weight) / f64::from(whole);
            assert!((share - due).abs() < 0.05, "{name} has {share} instead of {due} in fleet {fleet}");
        }
        assert!(counts(out) || !first.contains_key(out), "{out} is unwell in fleet {fleet}");
    }
}
