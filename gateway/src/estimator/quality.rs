//! How good the estimates are, on a seeded workload. `cargo test -p gateway --lib estimator::quality -- --nocapture`
//! prints the figures of docs/benchmarks.md.

use super::*;

/// Agents that call one after the other, all at once, on one wallet.
const AGENTS: usize = 50;
const MODELS: [&str; 4] = ["a/small", "a/large", "b/small", "b/large"];
/// Tokens that each call may be cut at: what an agent's framework sends.
const MAX_TOKENS: u64 = 64_000;
/// Tokens that the wallet can pay.
const WALLET: u64 = 8_000_000;

/// SplitMix64: the same numbers on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to 1.
    fn share(&mut self) -> f64 {
        ((self.roll() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.share().ln()).sqrt() * (std::f64::consts::TAU * self.share()).cos()
    }
}

/// An agent's answers: log-normal, with a median and a spread of its own, which drift.
struct Agent {
    key: Id<Key>,
    model: &'static str,
    median: f64,
    spread: f64,
}

impl Agent {
    fn all(dice: &mut Dice) -> Vec<Agent> {
        let agent = |n: usize| Agent {
            key: Id::from_uuid(uuid::Uuid::from_u128(n as u128)),
            model: MODELS[n % MODELS.len()],
            median: 60.0 * (40.0_f64).powf(dice.share()), // 60 to 2,400
            spread: 0.2 + 0.7 * dice.share(),
        };
        (0..AGENTS).map(agent).collect()
    }

    fn answer(&mut self, dice: &mut Dice) -> u64 {
        self.median *= 1.0 + 0.002 * dice.normal();
        ((self.median * (self.spread * dice.normal()).exp()) as u64).clamp(1, MAX_TOKENS)
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Holding {
    Worst,
    Fixed,
    Learned,
}

struct Running {
    agent: usize,
    held: u64,
    output: u64,
    told: u64,
}

#[derive(Debug, Default)]
struct Figures {
    calls: u64,
    /// Answers longer than what was held for them at first.
    longer: u64,
    /// Answers that ended because no more could be held.
    cut: u64,
    held: u64,
    idle: u64,
    /// Spent when the first call was refused.
    spent_at_refusal: Option<u64>,
    spent: u64,
}

/// Spends a wallet until nobody is admitted any more. All stream at the same speed, and grow their holds ahead of it.
fn spend(holding: Holding) -> Figures {
    const STEP: u64 = 16;
    let mut dice = Dice(20_261_120);
    let mut agents = Agent::all(&mut dice);
    let mut estimator = Estimator::default();
    let (mut figures, mut held, mut idle): (Figures, u64, Vec<usize>) = (Figures::default(), 0, (0..AGENTS).collect());
    let mut running: Vec<Running> = Vec::new();
    loop {
        let mut refused = Vec::new();
        for agent in idle.drain(..) {
            let Agent { key, model, .. } = agents[agent];
            let asked = match holding {
                Holding::Worst => MAX_TOKENS,
                Holding::Fixed => UNKNOWN,
                Holding::Learned => estimator.estimate(key, model, MAX_TOKENS),
            };
            if figures.spent + held + asked > WALLET {
                figures.spent_at_refusal.get_or_insert(figures.spent);
                refused.push(agent);
                continue;
            }
            let output = agents[agent].answer(&mut dice);
            figures.calls += 1;
            figures.longer += u64::from(output > (asked + 2).max(asked + asked / 100));
            figures.held += asked;
            figures.idle += asked.saturating_sub(output);
            held += asked;
            running.push(Running { agent, held: asked, output, told: 0 });
        }
        idle = refused;
        if running.is_empty() {
            return figures;
        }
        running.retain_mut(|call| {
            call.told += STEP;
            let ahead = call.told.min(call.output) + STEP;
            if ahead > call.held && call.told < call.output {
                let by = (ahead - call.held).max(call.held / 10);
                if figures.spent + held + by <= WALLET {
                    (call.held, held) = (call.held + by, held + by);
                }
            }
            let finished = call.told >= call.output;
            let cut = !finished && call.told > (call.held + 2).max(call.held + call.held / 100);
            if finished || cut {
                let output = call.told.min(call.output);
                held -= call.held;
                figures.spent += output.min(call.held);
                figures.cut += u64::from(cut);
                estimator.learn(agents[call.agent].key, agents[call.agent].model, output);
                idle.push(call.agent);
            }
            !(finished || cut)
        });
    }
}

fn share(part: u64, of: u64) -> f64 {
    100.0 * part as f64 / of as f64
}

#[test]
fn nearly_every_admitted_call_finishes_and_little_lies_idle() {
    println!(
        "| held | calls | longer than held at first | cut | idle in holds | spent at the first refusal | spent in the end |"
    );
    println!("|---|---|---|---|---|---|---|");
    let rows = [("worst case", Holding::Worst), ("1,024 tokens", Holding::Fixed), ("estimate", Holding::Learned)];
    let [worst, _, learned] = rows.map(|(name, holding)| {
        let figures = spend(holding);
        println!(
            "| {name} | {} | {:.1} % | {:.2} % | {:.1} % | {:.1} % | {:.1} % |",
            figures.calls,
            share(figures.longer, figures.calls),
            share(figures.cut, figures.calls),
            share(figures.idle, figures.held),
            share(figures.spent_at_refusal.unwrap_or(figures.spent), WALLET),
            share(figures.spent, WALLET),
        );
        figures
    });
    assert!(share(learned.longer, learned.calls) < 8.0, "{learned:?}");
    assert!(share(learned.cut, learned.calls) < 1.0, "{learned:?}");
    assert!(share(learned.idle, learned.held) < share(worst.idle, worst.held) - 20.0, "{learned:?}");
    assert!(share(learned.spent_at_refusal.unwrap_or(0), WALLET) > 95.0, "{learned:?}");
}
