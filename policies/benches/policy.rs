//! What a decision costs, and what makes it so: `make bench-policy` (`ARGS=--short` for a quick look). Prints Markdown for
//! docs/benchmarks.md. Nothing is remembered here: every decision is made.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark for people at a terminal")]

use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use policies::{
    AttributeFacts, BudgetFacts, CallerFacts, Candidate, Decision, Facts, Limits, PolicySet, RequestFacts, Rulebook,
    Scope, Source, TimeFacts, shipped,
};
use serde_json::json;

const TEAMS: usize = 40;
const MODELS: [&str; 8] = ["gpt-4o", "gpt-4o-mini", "o3", "opus", "sonnet", "gemini-pro", "mistral-large", "llama-70b"];

fn main() {
    let short = std::env::args().any(|argument| argument == "--short");
    let (rounds, replayed) = if short { (4_000, 20_000) } else { (100_000, 1_000_000) };
    let calls: Vec<Facts> = (1..=1_024).map(|seed| facts(&mut Chance(seed * 7_919))).collect();

    println!("| what | p50 µs | p99 µs |\n|---|---|---|");
    let house = Arc::new(compile(&[], json!({})));
    let shipped_only = Rulebook::new(Arc::clone(&house));
    row("shipped rules", rounds, &calls, |facts| shipped_only.judge(facts).unwrap());
    let with_org = shipped_only.with(Scope::Org("org_1".into()), Some(Arc::new(layer(200))));
    row("shipped rules and 200 of an organisation", rounds, &calls, |facts| with_org.judge(facts).unwrap());
    let both = compile(&rules(200), data());
    let indexed = row("the same in one set", rounds, &calls, |facts| both.decide(facts));
    let all = row("the same, every rule evaluated", rounds / 4, &calls, |facts| both.decide_unindexed(facts));
    let ratio = all.as_secs_f64() / indexed.as_secs_f64();

    println!("\n| what | measured |\n|---|---|");
    println!("| every rule evaluated, as a multiple of those that can apply | {ratio:.1} |");
    threads(&with_org, &calls, rounds);
    let (rules, started) = (rules(1_000), Instant::now());
    let thousand = Arc::new(compile(&rules, data()));
    println!("| 1,000 rules beside the shipped ones, compiled | {:.0} ms |", started.elapsed().as_secs_f64() * 1e3);
    swapped(&rules, thousand, &calls);
    replay(&with_org, &calls, replayed);
}

/// Prints one row and answers the median.
fn row(name: &str, rounds: usize, calls: &[Facts], mut decide: impl FnMut(&Facts) -> Decision) -> Duration {
    let mut took: Vec<Duration> = Vec::with_capacity(rounds);
    for round in 0..rounds + rounds / 10 {
        let started = Instant::now();
        black_box(decide(&calls[round % calls.len()]));
        if round >= rounds / 10 {
            took.push(started.elapsed());
        }
    }
    took.sort_unstable();
    let at = |share: usize| took[(took.len() * share / 100).min(took.len() - 1)];
    println!("| {name} | {:.1} | {:.1} |", at(50).as_secs_f64() * 1e6, at(99).as_secs_f64() * 1e6);
    at(50)
}

/// How many decisions so many threads make in a second of a core's time that each has, on average.
fn each(book: &Rulebook, calls: &[Facts], rounds: usize, threads: usize) -> f64 {
    let spent: Vec<Duration> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads)
            .map(|thread| {
                scope.spawn(move || {
                    let before = on_core();
                    for round in 0..rounds {
                        drop(black_box(book.judge(&calls[(round + thread * 311) % calls.len()])));
                    }
                    on_core().saturating_sub(before)
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    (rounds * threads) as f64 / spent.iter().sum::<Duration>().as_secs_f64()
}

/// What this thread has spent on a core: other work on the machine leaves it as it is.
fn on_core() -> Duration {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(stat.split(' ').next().unwrap().parse().unwrap())
}

fn threads(book: &Rulebook, calls: &[Facts], rounds: usize) {
    let first = each(book, calls, 500, 2);
    book.layers().for_each(|(_, set)| set.warm());
    let mut shares: Vec<(f64, f64, f64)> = (0..7)
        .map(|_| {
            let (one, two) = (each(book, calls, rounds / 2, 1), each(book, calls, rounds / 2, 2));
            (two / one, one, two)
        })
        .collect();
    shares.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (share, one, two) = shares[shares.len() / 2];
    println!("| decisions of one thread in a second of a core | {one:.0} |");
    println!(
        "| of each of two threads | {two:.0} ({share:.2} times; {first:.0} before each has an engine of its own) |"
    );
}

/// Calls go on while a thousand rules are compiled and swapped in again and again.
fn swapped(rules: &[Source], first: Arc<PolicySet>, calls: &[Facts]) {
    let book = std::sync::RwLock::new(Arc::new(Rulebook::new(first)));
    let (stop, faults) = (AtomicBool::new(false), AtomicUsize::new(0));
    let slowest = std::thread::scope(|scope| {
        let decider = scope.spawn(|| {
            let mut took = Vec::new();
            for facts in calls.iter().cycle() {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let started = Instant::now();
                let snapshot = Arc::clone(&book.read().unwrap());
                if snapshot.judge(facts).is_err() {
                    faults.fetch_add(1, Ordering::Relaxed);
                }
                took.push(started.elapsed());
            }
            took.sort_unstable();
            (took.len(), took[took.len() * 99 / 100])
        });
        for _ in 0..5 {
            let set = Arc::new(compile(rules, data()));
            *book.write().unwrap() = Arc::new(Rulebook::new(set));
        }
        stop.store(true, Ordering::Relaxed);
        decider.join().unwrap()
    });
    let (decisions, p99) = slowest;
    let faults = faults.load(Ordering::Relaxed);
    println!(
        "| decisions while they are compiled and swapped in five times | {decisions}, {faults} failed, p99 {:.0} µs |",
        p99.as_secs_f64() * 1e6
    );
}

/// As rehearsal does: decisions on recorded facts, all anew, on two threads.
fn replay(book: &Rulebook, calls: &[Facts], decisions: usize) {
    let (next, denied, started) = (AtomicUsize::new(0), AtomicUsize::new(0), Instant::now());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    if at >= decisions {
                        break;
                    }
                    let decision = book.judge(&calls[at % calls.len()]).unwrap();
                    denied.fetch_add(usize::from(matches!(decision, Decision::Deny(_))), Ordering::Relaxed);
                }
            });
        }
    });
    let share = denied.load(Ordering::Relaxed) as f64 / decisions as f64 * 100.0;
    println!(
        "| {decisions} decisions replayed on two threads | {:.1} s ({share:.0} % denied) |",
        started.elapsed().as_secs_f64()
    );
}

fn compile(added: &[Source], data: serde_json::Value) -> PolicySet {
    let sources: Vec<Source> = shipped().into_iter().chain(added.iter().cloned()).collect();
    PolicySet::compile(&sources, data, Limits::default()).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

/// An organisation's rules by themselves.
fn layer(count: usize) -> PolicySet {
    PolicySet::compile(&rules(count), data(), Limits::default()).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn data() -> serde_json::Value {
    let teams: Vec<String> = (0..6).map(|team| format!("team_{team}")).collect();
    json!({"acme": {"trusted": teams, "finance": "team_7", "frontier": ["opus", "o3"], "limits": {"large": 60_000}}})
}

/// Ten to a package; three of twenty ask for nothing that can be looked up.
fn rules(count: usize) -> Vec<Source> {
    let packages = (0..count.div_ceil(10)).map(|package| {
        let rules: Vec<String> = (package * 10..count.min(package * 10 + 10)).map(rule).collect();
        let text = format!("package alfred.rules.acme_{package}\n\nimport rego.v1\n\n{}\n", rules.join("\n\n"));
        Source::new(format!("acme/{package}.rego"), text)
    });
    packages.collect()
}

fn rule(at: usize) -> String {
    let (team, model) = (at % TEAMS, MODELS[at % MODELS.len()]);
    let deny = |body: &str| {
        format!("deny contains {{\"code\": \"policy_denied\", \"message\": \"rule {at}\"}} if {{\n\t{body}\n}}")
    };
    match at % 20 {
        0 => deny("some candidate in input.candidates\n\tcandidate.region == \"cn\""),
        1 => deny(&format!("startswith(input.request.model, \"beta-{at}\")")),
        2 => deny(&format!("input.request.input_tokens * 2 > data.acme.limits.large * {}", at + 20)),
        3 => deny(
            "input.caller.team == data.acme.finance\n\tinput.request.model in data.acme.frontier\n\tinput.time.hour < 6",
        ),
        4 => deny("\"interns\" in input.caller.groups\n\tinput.request.tools"),
        5 => deny("some kind, count in input.findings\n\tkind == \"us_ssn\"\n\tcount > 3"),
        6 => format!("max_output_tokens contains {} if \"group_{team}\" in input.caller.groups", 1_000 + at),
        7 => format!(
            "max_output_tokens contains cap if {{\n\tinput.request.model == \"{model}\"\n\tcap := {}\n}}",
            900 + at
        ),
        8 => deny(&format!("input.caller.org == \"org_{}\"\n\tinput.request.images", at % 50 + 2)),
        9 => deny(&format!(
            "input.request.intent == \"code\"\n\tinput.caller.team == \"team_{team}\"\n\tinput.request.tier > 3"
        )),
        10 => deny(&format!("input.caller.attributes.user.clearance == \"none-{at}\"\n\tcount(input.findings) > 2")),
        11 => deny(&format!("object.get(input.request.claims, \"feature\", \"\") == \"blocked-{at}\"")),
        12 => deny(&format!(
            "not input.caller.team in data.acme.trusted\n\tinput.request.model == \"{model}\"\n\tinput.budget.left_percent < 3"
        )),
        _ => deny(&format!(
            "input.caller.team == \"team_{team}\"\n\tinput.request.input_tokens > {}\n\tsome candidate in input.candidates\n\tcandidate.provider == \"nobody\"",
            at * 100
        )),
    }
}

struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % most as u64) as usize
    }

    fn one_in(&mut self, of: usize) -> bool {
        self.below(of) == 0
    }
}

/// A call of an organisation with forty teams, three candidates, sometimes findings.
fn facts(chance: &mut Chance) -> Facts {
    let model = MODELS[chance.below(MODELS.len())];
    let candidates = ["eu", "us", "eu"].iter().enumerate().map(|(at, region)| Candidate {
        target: format!("provider{at}/{model}"),
        name: model.into(),
        provider: format!("provider{at}"),
        model: model.into(),
        region: (*region).into(),
        alias: true,
        price_input: Some("2.50".into()),
        price_output: Some("10.00".into()),
        context_tokens: Some(128_000),
        healthy: true,
    });
    let groups = (0..chance.below(4)).map(|_| format!("group_{}", chance.below(TEAMS))).collect();
    let mut findings = BTreeMap::new();
    if chance.one_in(4) {
        findings.insert("email".to_owned(), 1 + chance.below(3) as u64);
    }
    if chance.one_in(20) {
        findings.insert("us_ssn".to_owned(), 1 + chance.below(6) as u64);
    }
    Facts {
        caller: CallerFacts {
            org: "org_1".into(),
            team: Some(format!("team_{}", chance.below(TEAMS))),
            user: Some(format!("usr_{}", chance.below(1_000))),
            key: format!("key_{}", chance.below(1_000)),
            wallet: Some("wal_1".into()),
            models: None,
            tags: BTreeMap::from([("cost_centre".into(), "search".into())]),
            groups,
            attributes: AttributeFacts {
                org: BTreeMap::from([("sector".into(), "bank".into())]),
                team: BTreeMap::new(),
                user: BTreeMap::from([("clearance".into(), "low".into())]),
            },
        },
        request: RequestFacts {
            kind: "chat.completions".into(),
            model: model.into(),
            stream: chance.one_in(2),
            max_output_tokens: Some(500),
            input_tokens: chance.below(40_000) as u64,
            tools: chance.one_in(3),
            images: chance.one_in(10),
            tool_names: vec!["search".into()],
            mcp_servers: Vec::new(),
            intent: ["chat", "code", "extraction"][chance.below(3)].into(),
            intent_confidence: 80,
            tier: 1 + chance.below(4) as u8,
            claims: BTreeMap::from([("feature".into(), "rank".into())]),
        },
        candidates: candidates.collect(),
        findings,
        time: TimeFacts::at(1_795_180_814 + chance.below(1_000_000) as i64),
        budget: BudgetFacts { downgrade: false, left_usd: Some("12.5".into()), left_percent: Some(40) },
        hops: BTreeMap::new(),
    }
}
