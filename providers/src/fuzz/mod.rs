//! Fuzzing: every reader of what others write is fed ever new mutations of the golden files, for a few seconds in each test run
//! and for as long as somebody likes by hand: `make fuzz SECONDS=600`. What was ever found lies minimized in `fuzz-corpus/`, a
//! folder a target, and is run first. See docs/fuzzing.md.

mod answers;
mod framing;
mod mutate;
mod requests;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use mutate::Dice;

/// In a test run, so that all targets together stay below a minute.
const SECONDS: u64 = 4;
/// One execution is done in far less, even where nothing is optimised and others work beside it.
const SLOW: Duration = Duration::from_secs(10);

/// Makes an input of the seeds.
type Mutate = dyn Fn(&mut Dice, &[Vec<u8>]) -> Vec<u8>;

/// What is fuzzed. An input is checked in one of several cases: another caller, another split, another lie about its type.
struct Target<'a> {
    /// The folder of its corpus.
    name: &'a str,
    seeds: Vec<Vec<u8>>,
    cases: usize,
    mutate: &'a Mutate,
    /// Panics where something is wrong.
    check: &'a dyn Fn(&[u8], usize),
}

impl Target<'_> {
    /// Corpus and seeds in every case, then mutations until the time is over.
    fn run(&self) {
        let mut seeds = corpus(self.name);
        seeds.extend(self.seeds.iter().cloned());
        assert!(!seeds.is_empty(), "{} has seeds", self.name);
        for (number, seed) in seeds.iter().enumerate() {
            for case in 0..self.cases {
                if self.fails(seed, case) {
                    panic!("{}: seed {number} in case {case}: {:?}", self.name, shown(seed));
                }
            }
        }
        let (first, seconds) = (setting("FUZZ_SEED"), setting("FUZZ_SECONDS").unwrap_or(SECONDS));
        let first = first.unwrap_or_else(|| mutate::hash(self.name.as_bytes()) ^ u64::from(std::process::id()));
        let from = Instant::now();
        let mut executions = 0;
        while from.elapsed() < Duration::from_secs(seconds) {
            let seed = first.wrapping_add(executions);
            let mut dice = Dice::new(seed);
            let input = (self.mutate)(&mut dice, &seeds);
            let case = dice.below(self.cases);
            let begun = Instant::now();
            if self.fails(&input, case) {
                let least = self.minimized(input, case);
                let kept = keep(self.name, &least);
                // Said once more, as the last panic, with what repeats it.
                eprintln!("FUZZ_SEED={seed}, case {case}, kept as {}: {:?}", kept.display(), shown(&least));
                (self.check)(&least, case);
                panic!("{}: FUZZ_SEED={seed} fails only sometimes", self.name);
            }
            assert!(begun.elapsed() < SLOW, "{}: FUZZ_SEED={seed}, {} bytes take too long", self.name, input.len());
            executions += 1;
        }
        println!("fuzz {}: {executions} executions in {seconds} s, seeds from FUZZ_SEED={first}", self.name);
    }

    fn fails(&self, input: &[u8], case: usize) -> bool {
        catch_unwind(AssertUnwindSafe(|| (self.check)(input, case))).is_err()
    }

    /// Leaves out what it fails without.
    fn minimized(&self, mut input: Vec<u8>, case: usize) -> Vec<u8> {
        let (until, mut size) = (Instant::now() + Duration::from_secs(20), input.len().div_ceil(2));
        while size > 0 && Instant::now() < until {
            let mut at = 0;
            while at < input.len() && Instant::now() < until {
                let mut less = input.clone();
                less.drain(at..(at + size).min(input.len()));
                match self.fails(&less, case) {
                    true => input = less,
                    false => at += size,
                }
            }
            size /= 2;
        }
        input
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// What was found earlier, in the order of the files' names.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(Path::new("fuzz-corpus").join(target)).into_iter().flatten().flatten() {
        files.push(entry.path());
    }
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// By hand a find goes into the corpus, in a test run beside the build: tests leave the tree as it is.
fn keep(target: &str, input: &[u8]) -> PathBuf {
    let by_hand = setting("FUZZ_SECONDS").is_some();
    let folder = if by_hand { PathBuf::from("fuzz-corpus") } else { std::env::temp_dir().join("alfred-fuzz") };
    let folder = folder.join(target);
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join(format!("found-{:08x}", mutate::hash(input) & 0xffff_ffff));
    std::fs::write(&file, input).unwrap();
    file
}

fn shown(input: &[u8]) -> String {
    String::from_utf8_lossy(&input[..input.len().min(2_000)]).into_owned()
}

/// All golden files whose path has one of these pieces and does not belong to another half.
fn golden(pieces: &[&str]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("src")];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            let text = path.to_string_lossy();
            if path.is_dir() {
                folders.push(path);
            } else if text.contains("testdata")
                && pieces.iter().any(|piece| piece.split('*').all(|it| text.contains(it)))
            {
                found.push(std::fs::read(&path).unwrap());
            }
        }
    }
    found
}
