//! Fuzzing: Rego by a grammar and by spoiling what is shipped, data, and bundles, for a few seconds in each test run and for
//! as long as somebody likes: `make fuzz SECONDS=600`, `FUZZ_SEED=…` to repeat. Whatever it finds becomes a refusal and a
//! row in tests/policies/bombs.rs. Nothing may panic, and nothing may take longer than its limits.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::engine::sample;
use crate::pack::{Keys, SigningKey, sign};
use crate::{Decision, Limits, Manifest, Pack, PackLimits, PolicySet, Source, lint, shipped};

const SECONDS: u64 = 3;
/// Far more than the limits of one evaluation come to, on a machine with other things to do.
const SLOW: Duration = Duration::from_secs(30);

/// Numbers from a seed (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, most: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % most.max(1)
    }

    fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.below(of.len())]
    }
}

/// Runs until the time is over. What is tried is written down first, since a stack that overflows tells nothing.
fn fuzz(name: &str, mut execute: impl FnMut(&mut Dice, &mut dyn FnMut(&[u8]))) {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let seconds = number("FUZZ_SECONDS").unwrap_or(SECONDS);
    let first = number("FUZZ_SEED").unwrap_or_else(|| u64::from(std::process::id()) << 20);
    let folder = std::env::temp_dir().join("alfred-fuzz");
    std::fs::create_dir_all(&folder).unwrap();
    let current = folder.join(format!("policies-{name}-{}", std::process::id()));
    let (from, mut executions) = (Instant::now(), 0);
    while from.elapsed() < Duration::from_secs(seconds) {
        let seed = first + executions;
        let begun = Instant::now();
        execute(&mut Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1), &mut |input| {
            std::fs::write(&current, [format!("FUZZ_SEED={seed}\n").as_bytes(), input].concat()).unwrap();
        });
        assert!(begun.elapsed() < SLOW, "{name}: FUZZ_SEED={seed} takes {:?}", begun.elapsed());
        executions += 1;
    }
    std::fs::remove_file(&current).ok();
    println!("fuzz {name}: {executions} executions in {seconds} s, seeds from FUZZ_SEED={first}");
}

/// Compiles and decides; there is always an answer.
fn decide(sources: &[Source], data: &Value) -> bool {
    match PolicySet::compile(sources, data.clone(), Limits::default()) {
        Ok(set) => {
            if let Decision::Deny(reasons) = set.decide(&sample()) {
                assert!(!reasons.is_empty(), "a denial says why");
            }
            true
        }
        Err(faults) => {
            assert!(!faults.is_empty(), "a refusal says why");
            assert!(faults.iter().all(|fault| !fault.shown().is_empty()));
            false
        }
    }
}

const ATOMS: [&str; 22] = [
    "1",
    "0",
    "-1",
    "1e9",
    "\"a\"",
    "`b`",
    "true",
    "null",
    "[]",
    "{}",
    "set()",
    "input",
    "input.request.model",
    "input.caller.team",
    "input.candidates",
    "input.findings",
    "data.acme",
    "data.alfred.rules",
    "x",
    "y",
    "_",
    "helper",
];
const CALLS: [&str; 14] = [
    "count",
    "lower",
    "sort",
    "sum",
    "max",
    "walk",
    "json.marshal",
    "object.keys",
    "helper",
    "numbers.range",
    "concat",
    "regex.match",
    "to_number",
    "union",
];

fn expression(dice: &mut Dice, depth: usize) -> String {
    if depth == 0 {
        return dice.pick(&ATOMS).to_owned();
    }
    let part = |dice: &mut Dice| expression(dice, depth - 1);
    match dice.below(10) {
        0 => format!("[{}, {}]", part(dice), part(dice)),
        1 => format!("{{{}: {}}}", part(dice), part(dice)),
        2 => format!("{}({})", dice.pick(&CALLS), part(dice)),
        3 => format!("{}({}, {})", dice.pick(&CALLS), part(dice), part(dice)),
        4 => format!("{} {} {}", part(dice), dice.pick(&["+", "-", "*", "/", "%", "|", "&"]), part(dice)),
        5 => format!("{} {} {}", part(dice), dice.pick(&["==", "!=", "<", ">=", "=", ":=", "in"]), part(dice)),
        6 => format!("[{} | some x in {}]", part(dice), part(dice)),
        7 => format!("{{{}: {} | some x, y in {}}}", part(dice), part(dice), part(dice)),
        8 => format!("{}[{}]", dice.pick(&["input", "data", "x", "input.candidates"]), part(dice)),
        _ => part(dice),
    }
}

fn module(dice: &mut Dice) -> String {
    let mut text = "package alfred.rules.fuzzed\n\nimport rego.v1\n\n".to_owned();
    for _ in 0..=dice.below(4) {
        let depth = dice.below(4);
        let body = format!(
            "{{\n\t{}{}\n\t{}\n}}",
            dice.pick(&["", "not ", "some x in ", "x := ", "every x in [1] { y } ; "]),
            expression(dice, depth),
            expression(dice, depth)
        );
        let head = match dice.below(5) {
            0 => format!("helper := {}", expression(dice, 1)),
            1 => "helper(x) := y".to_owned(),
            2 => format!("default helper := {}", expression(dice, 0)),
            _ => format!(
                "{} contains x",
                dice.pick(&["deny", "allow", "tags", "max_output_tokens", "regions", "routing"])
            ),
        };
        text.push_str(&format!("{head} if {body}\n\n"));
    }
    text
}

/// Bytes flipped, cut, doubled and spliced with another text.
fn spoiled(dice: &mut Dice, mut bytes: Vec<u8>, other: &[u8]) -> Vec<u8> {
    for _ in 0..=dice.below(4) {
        let (a, b) = (dice.below(bytes.len()), dice.below(bytes.len()));
        let range = a.min(b)..a.max(b).min(a.min(b) + 200);
        match dice.below(4) {
            0 if !bytes.is_empty() => bytes[a] = dice.below(256) as u8,
            1 => drop(bytes.drain(range)),
            2 => {
                let piece: Vec<u8> = bytes[range].repeat(1 + dice.below(20));
                bytes.splice(a..a, piece);
            }
            _ => {
                let from = dice.below(other.len());
                let piece = other[from..other.len().min(from + dice.below(60))].to_vec();
                bytes.splice(a..a, piece);
            }
        }
    }
    bytes
}

fn value(dice: &mut Dice, depth: usize) -> Value {
    match dice.below(if depth == 0 { 5 } else { 7 }) {
        0 => Value::Null,
        1 => json!(dice.below(3) == 0),
        2 => json!(dice.below(1 << 20) as i64 - (1 << 19)),
        3 => json!(1e300 * dice.below(9) as f64),
        4 => json!(dice.pick(&["", "eu", "org_0", "*", "\u{0}", "gpt-4o", "block"])),
        5 => (0..dice.below(4)).map(|_| value(dice, depth - 1)).collect::<Vec<_>>().into(),
        _ => {
            let names =
                ["regions", "orgs", "teams", "org_0", "models", "max_output_tokens", "actions", "email", "enabled"];
            (0..dice.below(4))
                .map(|_| (dice.pick(&names).to_owned(), value(dice, depth - 1)))
                .collect::<serde_json::Map<_, _>>()
                .into()
        }
    }
}

#[test]
fn rego_by_a_grammar_is_refused_or_decides() {
    let mut loaded = 0;
    fuzz("grammar", |dice, tell| {
        let text = module(dice);
        tell(text.as_bytes());
        let sources = [shipped(), vec![Source::new("fuzzed.rego", text)]].concat();
        loaded += usize::from(decide(&sources, &json!({"acme": {"x": [1, 2]}})));
    });
    println!("{loaded} were loaded");
}

#[test]
fn spoiled_rules_are_refused_or_decide() {
    let ours = shipped();
    fuzz("spoiled", |dice, tell| {
        let (at, other) = (dice.below(ours.len()), dice.below(ours.len()));
        let text = spoiled(dice, ours[at].text.clone().into_bytes(), ours[other].text.as_bytes());
        let text = String::from_utf8_lossy(&text).replace("package alfred.rules.", "package alfred.rules.my_");
        tell(text.as_bytes());
        let sources = [ours.clone(), vec![Source::new("fuzzed.rego", text)]].concat();
        if dice.below(8) == 0 {
            lint::check(&sources, &json!({}), Limits::default(), &ours);
        }
        decide(&sources, &json!({}));
    });
}

#[test]
fn any_data_is_refused_or_decided_by() {
    let ours = shipped();
    fuzz("data", |dice, tell| {
        let names: Vec<&str> = crate::data::names().collect();
        let settings = (0..dice.below(3)).map(|_| (dice.pick(&names).to_owned(), value(dice, 3)));
        let data = json!({"alfred": settings.collect::<serde_json::Map<_, _>>(), "acme": value(dice, 4)});
        tell(data.to_string().as_bytes());
        decide(&ours, &data);
    });
}

#[test]
fn any_bundle_is_read_or_refused_and_only_what_was_signed_is_believed() {
    const SECRET: &str = "a secret of thirty-two bytes or more";
    let data = json!({"acme": {"x": [1.5, "text"]}});
    let pack = Pack::new(shipped().into_iter().take(4).collect(), data, Manifest::of_revision("7"));
    let limits = PackLimits { unpacked_bytes: 1 << 20, ..PackLimits::default() };
    let mut keys = Keys::default();
    keys.add("k", crate::pack::Algorithm::Hs256, SECRET, None).unwrap();
    let key = SigningKey::read("k", crate::pack::Algorithm::Hs256, SECRET, None).unwrap();
    let signed = sign(&pack.write(), &key, &serde_json::Map::new(), &limits).unwrap();
    let within = crate::pack::unzipped(&signed);
    fuzz("bundles", |dice, tell| {
        let bundle = match dice.below(3) {
            0 => spoiled(dice, signed.clone(), &within),
            _ => crate::pack::zipped(&spoiled(dice, within.clone(), &within)),
        };
        tell(&bundle);
        if let Ok(read) = Pack::read(&bundle, &limits) {
            assert_eq!(
                Pack::read(&read.write(), &limits).as_ref(),
                Ok(&read),
                "what was read is written and read again"
            );
        }
        if let Ok(verified) = keys.verify(&bundle, &limits, 0) {
            assert_eq!(verified.pack, pack, "what is believed is what was signed");
        }
    });
}
